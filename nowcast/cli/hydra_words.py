"""What users of Hydra type: put into nowcast's words where both mean the same, refused with what to
type instead elsewhere.

Nothing of Hydra's is accepted and ignored.
"""

from pathlib import Path

from nowcast.runtime.errors import UserError

CFG, RESOLVE, PACKAGE = "--cfg", "--resolve", "--package"
CONFIG_DIR = "--config-dir"
OWN_FOLDER = (
    "train",
    "evaluate",
    "compare",
    "benchmark",
)  # commands with output_dir, which is Hydra's hydra.run.dir
_JOB, _PARTS_OF_HYDRA = "job", ("hydra", "all")
_SHORT = {
    "-c": CFG,
    "-p": PACKAGE,
    "-m": "--multirun",
    "-r": "--run",
    "-i": "--info",
    "-cd": "--config-dir",
}
_SHORT |= {"-cp": "--config-path", "-cn": "--config-name", "-sc": "--shell-completion"}
_ONE_JOB = (
    "a command runs one job; nowcast compare trains several side by side, as nowcast "
    "compare --cfg shows"
)
_OWN_FILES = (
    "settings of your own are files in a folder of yours, e.g. experiment/MINE.yaml for "
    "experiment=MINE; type --config-dir FOLDER"
)
_NO_LOGGING = (
    "there are no settings of logging; what a training logs is in the folder logs of its run"
)
_OPTIONS = {
    "--multirun": _ONE_JOB,
    "--config-path": _OWN_FILES,
    "--config-name": "a command has one configuration; type another command, or experiment=NAME "
    "for other settings",
    "--info": "type --cfg job for the composed configuration, and nowcast --help for what can be "
    "chosen",
    "--experimental-rerun": "type nowcast train resume=DIR to go on with a run; its settings are "
    "in DIR/config.yaml",
    "--shell-completion": "there is no completion; nowcast --help lists the commands and what "
    "can be chosen",
    "--hydra-help": "type nowcast --help",
}
_KEYS = (  # the beginning of a key, in its order
    ("hydra.sweep", _ONE_JOB),
    ("hydra.launcher", _ONE_JOB),
    ("hydra.mode", _ONE_JOB),
    ("hydra.verbose", _NO_LOGGING),
    ("hydra.job_logging", _NO_LOGGING),
    ("hydra.hydra_logging", _NO_LOGGING),
    ("hydra.searchpath", _OWN_FILES),
    ("hydra.output_subdir", "config.yaml lies in the run folder itself"),
    ("hydra.job.name", "type name=NAME, for the folder runs/NAME of a training"),
    (
        "hydra.job.chdir",
        "the current folder stays what it is; type output_dir=DIR for where files are written",
    ),
    ("hydra.job.env", "set environment variables in the shell, before nowcast"),
    ("hydra.help", "type nowcast --help"),
)
_OTHER_KEY = "nowcast composes its settings with Hydra, but is not run by it; leave this one out"
_AS_IT_IS = (
    ("hydra.mode", "run"),
    ("hydra.job.chdir", "false"),
    ("hydra.job.chdir", "null"),
)  # what happens anyway


def config_folders(arguments: list[str]) -> tuple[list[Path], list[str]]:
    """The folders typed as --config-dir FOLDER, and all else.

    Raises:
        UserError: the option without a folder.
    """
    folders, rest, waiting = [], [], False
    for item in arguments:
        name, equals, value = item.partition("=")
        if waiting and item and not item.startswith("-"):
            folders.append(Path(item).expanduser())
            waiting = False
        elif waiting:
            break  # another option, or nothing, where the folder should be
        elif _SHORT.get(name, name) != CONFIG_DIR:
            rest.append(item)
        elif equals:
            waiting = not value
            folders += [Path(value).expanduser()] if value else []
            if waiting:
                break
        else:
            waiting = True
    if waiting:
        raise UserError("--config-dir takes a folder, e.g. --config-dir conf.")
    return folders, rest


def translated(command: str, arguments: list[str]) -> list[str]:
    """What was typed, without Hydra's own words.

    Returns:
        The settings, and of the options --cfg, --resolve and --package=PART those that were typed.

    Raises:
        UserError: an option or a setting of Hydra's that has no meaning here.
    """
    found, rest = [], list(arguments)
    while rest:
        item = rest.pop(0)
        if item.startswith("-") and item != "-":
            found += _option(item, rest)
        elif _is_of_hydra(item):
            found += _key(command, item)
        else:
            found.append(item)
    lonely = [item for item in found if item == RESOLVE or item.startswith(PACKAGE)]
    if lonely and CFG not in found:
        raise UserError(
            f"{lonely[0].partition('=')[0]} goes with --cfg job, which shows the configuration; "
            "type both."
        )
    folders = [item for item in found if item.startswith("output_dir=")]
    if len(folders) > 1 and any(
        item.lstrip("+").startswith("hydra.run.dir=") for item in arguments
    ):
        raise UserError("output_dir and hydra.run.dir both name the run folder; type one of them.")
    return found


def _is_of_hydra(item: str) -> bool:
    """Whether it is a setting below hydra, and not a file."""
    key, equals, _ = item.partition("=")
    plain = key.lstrip("+~").replace("/", ".")
    return plain.partition(".")[0] == "hydra" and bool(equals or key.startswith("~"))


def _option(item: str, rest: list[str]) -> list[str]:
    """An option in our words; the value of one that takes it is removed from the rest."""
    name, equals, value = item.partition("=")
    name = _SHORT.get(name, name)
    if name == "--run":
        return []  # what every command does
    if name in _OPTIONS:
        raise UserError(f"there is no {item.partition('=')[0]} here: {_OPTIONS[name]}.")
    if name == CFG:
        if not equals:
            value = rest.pop(0) if rest and rest[0] in (_JOB, *_PARTS_OF_HYDRA) else _JOB
        if value != _JOB:
            raise UserError(
                f"--cfg {value} would show settings of Hydra's own, which nowcast has not; type "
                "--cfg job."
            )
        return [CFG]
    if name == PACKAGE:
        if not equals:
            value = rest.pop(0) if rest else ""
        if not value:
            raise UserError(
                "--package takes a part of the configuration, e.g. --cfg job --package training."
            )
        return [f"{PACKAGE}={value}"]
    return [item]


def _key(command: str, item: str) -> list[str]:
    """A setting below hydra in our words."""
    key, _, value = item.partition("=")
    plain = key.lstrip("+~").replace("/", ".").partition("@")[0]
    if plain == "hydra.run.dir" and not key.startswith("~"):
        if command not in OWN_FOLDER:
            raise UserError(
                f"{item!r}: nowcast {command} has no run folder; type output=PATH for what it "
                "writes."
            )
        if "${" in value:
            raise UserError(
                f"{item!r}: the run folder is taken as it is typed; type output_dir=DIR without "
                "references."
            )
        return [f"output_dir={value}"]
    if (plain, value.lower()) in _AS_IT_IS:
        return []
    reason = next((text for start, text in _KEYS if plain.startswith(start)), _OTHER_KEY)
    raise UserError(f"{item!r} would have no effect: {reason}.")
