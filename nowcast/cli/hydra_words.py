"""What users of Hydra type: options, and settings of Hydra's own.

A training is an application of Hydra: nearly all of it has its usual meaning there. The other
commands compose their settings with Hydra, but are not run by it. What has no meaning is refused
with what to type instead; nothing is accepted and ignored.
"""

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from nowcast.cli.hydra_keys import in_our_words, refuse_without_meaning
from nowcast.cli.places import Places, folder_of
from nowcast.runtime.errors import UserError

CFG, RESOLVE, PACKAGE, INFO = "--cfg", "--resolve", "--package", "--info"
MULTIRUN, HYDRA_HELP, COMPLETION = "--multirun", "--hydra-help", "--shell-completion"
CONFIG_DIR, CONFIG_PATH, CONFIG_NAME = "--config-dir", "--config-path", "--config-name"
APPLICATIONS = ("train", "compare")
"""Commands whose jobs are run by Hydra."""

AUTO = "auto"
"""In place of a folder: resume=auto."""

_RESUME = "resume="
_JOB, _PARTS_OF_HYDRA = "job", ("hydra", "all")
_INFORMATION = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
_SHORT = {
    "-c": CFG,
    "-p": PACKAGE,
    "-m": MULTIRUN,
    "-r": "--run",
    "-i": INFO,
    "-cd": CONFIG_DIR,
    "-cp": CONFIG_PATH,
    "-cn": CONFIG_NAME,
    "-sc": COMPLETION,
}
_ONE_JOB = (
    "this command runs one job; nowcast train --multirun trains with several values, and nowcast "
    "compare several models"
)
_RERUN = (
    "it would run whatever code a pickled file contains; type nowcast train resume=DIR to go on "
    "with a run, whose settings are in DIR/config.yaml"
)
_SEARCH_PATH = "hydra.searchpath"


@dataclass(frozen=True)
class Words:
    """What was typed after a command whose jobs are run by Hydra.

    Args:
        settings: KEY=VALUE of ours, but for resume.
        resumed: what was typed after resume=; None: nothing.
        of_hydra: hydra.KEY=VALUE and hydra/GROUP=CHOICE.
        options: of those that show something the names, e.g. "--cfg=hydra".
        multirun: whether several jobs are wanted.
    """

    settings: list[str]
    resumed: str | None
    of_hydra: list[str]
    options: list[str]
    multirun: bool

    @classmethod
    def of(cls, arguments: list[str]) -> "Words":
        """From what ``translated`` returned.

        Raises:
            UserError: resume without a value, or twice.
        """
        options = [item for item in arguments if item.startswith("-")]
        rest = [item for item in arguments if not item.startswith("-")]
        of_hydra = [item for item in rest if is_of_hydra(item)]
        resumed, settings = _resumed([item for item in rest if item not in of_hydra])
        return cls(settings, resumed, of_hydra, options, MULTIRUN in options)

    @property
    def of_old_run(self) -> bool:
        """Whether a run of which the folder was typed goes on."""
        return self.resumed not in (None, AUTO)

    def value(self, option: str) -> str | None:
        """The value of an option, "" for one without; None where it was not typed."""
        found = [item.partition("=")[2] for item in self.options if _name(item) == option]
        return found[0] if found else None


def _name(option: str) -> str:
    return option.partition("=")[0]


def _resumed(settings: list[str]) -> tuple[str | None, list[str]]:
    """What was typed after resume=, and all other settings."""
    typed = [item.removeprefix(_RESUME) for item in settings if item.startswith(_RESUME)]
    if "" in typed:
        raise UserError("resume is empty; give the run folder to go on with, or auto.")
    if len(typed) > 1:
        raise UserError(f"resume was given {len(typed)} times; one run goes on at a time.")
    rest = [item for item in settings if not item.startswith(_RESUME)]
    return (typed[0] if typed else None), rest


def config_places(arguments: list[str]) -> tuple[Places, list[str]]:
    """Where the configuration files lie, as --config-dir, --config-path, --config-name and
    hydra.searchpath say, and all else that was typed.

    Raises:
        UserError: one of them without a value, or twice.
    """
    found: dict[str, list[str]] = {CONFIG_DIR: [], CONFIG_PATH: [], CONFIG_NAME: []}
    rest, waiting = [], list(arguments)
    while waiting:
        item = waiting.pop(0)
        name, equals, value = item.partition("=")
        name = _SHORT.get(name, name)
        if item.lstrip("+").startswith(f"{_SEARCH_PATH}="):
            found[CONFIG_DIR] += _search_path(item)
        elif name not in found:
            rest.append(item)
        else:
            if not equals and waiting and not waiting[0].startswith("-"):
                value = waiting.pop(0)
            if not value:
                example = "train" if name == CONFIG_NAME else "conf"
                what = "a name" if name == CONFIG_NAME else "a folder"
                raise UserError(f"{name} takes {what}, e.g. {name} {example}.")
            found[name].append(value)
    for name in (CONFIG_PATH, CONFIG_NAME):
        if len(found[name]) > 1:
            raise UserError(f"{name} was given {len(found[name])} times; one is needed.")
    folders = tuple(Path(value).expanduser() for value in found[CONFIG_DIR])
    main = next((Path(value).expanduser() for value in found[CONFIG_PATH]), None)
    name = next((value.removesuffix(".yaml") for value in found[CONFIG_NAME]), None)
    return Places(main, folders, name=name), rest


def _search_path(item: str) -> list[str]:
    """The folders of hydra.searchpath=[FOLDER,file://FOLDER,pkg://PACKAGE]."""
    try:
        (parsed,) = OverridesParser.create().parse_overrides([item])
        folders = parsed.value()
    except HydraException:
        folders = None
    if not isinstance(folders, list) or not all(isinstance(one, str) for one in folders):
        raise UserError(
            f"{item!r} is not a list of folders; type --config-dir FOLDER, or "
            "'hydra.searchpath=[file://FOLDER,pkg://PACKAGE.conf]'."
        )
    return [str(folder_of(one)) for one in folders]


def translated(command: str, arguments: list[str]) -> list[str]:
    """What was typed, in one spelling.

    Returns:
        The settings, and the options with their values: --cfg (of the job), --cfg=hydra,
        --package=PART, --info=PART ...

    Raises:
        UserError: an option or a setting of Hydra's that has no meaning for this command.
    """
    found, by_hydra, rest = [], [], list(arguments)
    while rest:
        item = rest.pop(0)
        if item.startswith("-") and item != "-":
            found += _option(command, item, rest)
        elif is_of_hydra(item):
            ours = in_our_words(command, item)
            by_hydra += [one for one in ours if one.startswith("output_dir=")]
            found += ours
        else:
            found.append(item)
    _refuse_lonely(found)
    if command in APPLICATIONS:
        words = Words.of(found)
        shown = any(item.startswith((f"{CFG}=", INFO)) for item in words.options)
        if not shown:
            refuse_without_meaning(command, words.of_hydra, multirun=words.multirun)
    folders = {item for item in found if item.startswith("output_dir=")}
    if by_hydra and len(folders) > 1:  # of several output_dir the last one counts
        raise UserError("output_dir and hydra.run.dir both name the run folder; type one of them.")
    return found


def is_of_hydra(item: str) -> bool:
    """Whether it is a setting below hydra, and not a file."""
    key, equals, _ = item.partition("=")
    plain = key.lstrip("+~").replace("/", ".")
    return plain.partition(".")[0] == "hydra" and bool(equals or key.startswith("~"))


def _option(command: str, item: str, rest: list[str]) -> list[str]:
    """An option in one spelling; the value of one that takes it is removed from the rest."""
    name, equals, value = item.partition("=")
    name = _SHORT.get(name, name)
    if name == "--run":
        return []  # what every command does
    if name == "--experimental-rerun":
        raise UserError(f"there is no {name} here: {_RERUN}.")
    if name in (MULTIRUN, HYDRA_HELP):
        if command not in APPLICATIONS or (name == MULTIRUN and command == "compare"):
            reason = _ONE_JOB if name == MULTIRUN else "type nowcast train --hydra-help"
            raise UserError(f"there is no {item} here: {reason}.")
        return [name]
    if name == CFG:
        parts = (_JOB, *_PARTS_OF_HYDRA)
        return [_cfg(command, value if equals else _taken(CFG, rest, parts, _JOB))]
    if name == INFO:
        value = value if equals else _taken(INFO, rest, _INFORMATION, "all")
        if value not in _INFORMATION:
            raise UserError(_not_accepted(INFO, value, _INFORMATION))
        return [f"{INFO}={value}"]
    if name == PACKAGE:
        value = value if equals or not rest else rest.pop(0)
        if not value:
            raise UserError(
                "--package takes a part of the configuration, e.g. --cfg job --package training."
            )
        return [f"{PACKAGE}={value}"]
    if item == RESOLVE:
        return [item]
    raise UserError(
        f"there is no option {item!r}; settings are given as KEY=VALUE, see nowcast {command} "
        "--help."
    )


def _taken(option: str, rest: list[str], accepted: tuple[str, ...], usual: str) -> str:
    """The value that stands behind an option, removed from the rest; the usual one without.

    Raises:
        UserError: a word that is neither a value, nor a setting, nor a file.
    """
    if not rest or rest[0].startswith(("-", "~")) or "=" in rest[0]:
        return usual
    if rest[0] in accepted:
        return rest.pop(0)
    if get_close_matches(rest[0], accepted) and not Path(rest[0]).exists():
        raise UserError(_not_accepted(option, rest[0], accepted))
    return usual


def _not_accepted(option: str, value: str, accepted: tuple[str, ...]) -> str:
    near = get_close_matches(value, accepted, n=1)
    hint = f"; did you mean {near[0]}?" if near else "."
    return f"{option} {value!r}: accepted are {', '.join(accepted)}{hint}"


def _cfg(command: str, part: str) -> str:
    if part == _JOB:
        return CFG
    if part not in _PARTS_OF_HYDRA:
        raise UserError(_not_accepted(CFG, part, (_JOB, *_PARTS_OF_HYDRA)))
    if command not in APPLICATIONS:
        raise UserError(
            f"--cfg {part} would show settings of Hydra's own, which do not act here: nowcast "
            f"{command} is not run by Hydra. Type --cfg job."
        )
    return f"{CFG}={part}"


def _refuse_lonely(found: list[str]) -> None:
    """Refuse options that go with others, and those that exclude one another."""
    shows = [item for item in found if item.startswith((CFG, INFO, HYDRA_HELP, MULTIRUN))]
    names = list(dict.fromkeys(item.partition("=")[0] for item in shows))
    if len(names) > 1:
        raise UserError(f"{' and '.join(names)} cannot be done at once; type one of them.")
    for item in found:
        name = item.partition("=")[0]
        if name in (RESOLVE, PACKAGE) and CFG not in names:
            raise UserError(f"{name} goes with --cfg, which shows the configuration; type both.")
