"""Settings of Hydra's own (hydra.KEY=VALUE): which act for which command, and why others do not."""

import re

from omegaconf import DictConfig, OmegaConf

from nowcast.runtime.errors import UserError

_OWN_FOLDER = ("train", "evaluate", "compare", "benchmark", "demo")  # commands with output_dir
_ONE_JOB = (
    "this command runs one job; nowcast train --multirun trains with several values, and nowcast "
    "compare several models"
)
_NO_LOGGING = "this command logs nothing"
_OTHER_COMMANDS = (  # the beginning of a key, in its order
    ("hydra.sweep", _ONE_JOB),
    ("hydra.launcher", _ONE_JOB),
    ("hydra.mode", _ONE_JOB),
    ("hydra.verbose", _NO_LOGGING),
    ("hydra.job_logging", _NO_LOGGING),
    ("hydra.hydra_logging", _NO_LOGGING),
    ("hydra.output_subdir", "config.yaml lies in the folder of a run itself"),
    ("hydra.job.name", "type name=NAME, for the folder runs/NAME of a training"),
    (
        "hydra.job.chdir",
        "the current folder stays what it is; type output_dir=DIR for where files are written",
    ),
    ("hydra.job.env", "set environment variables in the shell, before nowcast"),
    ("hydra.help", "type nowcast --help"),
)
_OTHER_KEY = (
    "only trainings (nowcast train, nowcast compare) are run by Hydra, this command composes its "
    "settings with it; leave this one out"
)
_AS_IT_IS = (
    ("hydra.mode", "run"),
    ("hydra.job.chdir", "false"),
    ("hydra.job.chdir", "null"),
)  # what happens anyway
_FILLED_IN = "Hydra fills it in itself"
_OF_ANY_TRAINING = (
    ("hydra.help", "--help is made from nowcast's files and the docstrings of its classes"),
    ("hydra.hydra_help", "type --hydra-help for what Hydra says of itself"),
    ("hydra.runtime", _FILLED_IN),
    ("hydra.overrides", _FILLED_IN),
    ("hydra.job.num", _FILLED_IN),
    ("hydra.job.id", _FILLED_IN),
    ("hydra.job.override_dirname", _FILLED_IN),
    ("hydra.job.config_name", "type --config-name NAME"),
)
_ONE_TRAINING = (
    ("hydra.sweep", "it acts on the jobs of a multirun; type --multirun, too"),
    ("hydra.launcher", "it starts the jobs of a multirun; type --multirun, too"),
)
_SEVERAL_TRAININGS = (
    (
        "hydra.run",
        "in a multirun hydra.sweep.dir names the folder, and hydra.sweep.subdir the runs",
    ),
)
_COMPARISON = (
    ("hydra.run", "type output_dir=DIR for the folder of the comparison"),
    ("hydra.sweep", "a comparison makes its jobs of models and seeds, each in MODEL/seed-N"),
    ("hydra.mode", "a comparison is a multirun already"),
)
_JOB_NAME, _READS_JOB_NAME = "hydra.job.name", re.compile(r"\$\{hydra[.:]job\.name\}")
_FOLDER = {"train": ("hydra.run.dir",), "compare": ("hydra.run.dir", "hydra.sweep.dir")}


def plain_key(item: str) -> str:
    """The key of a setting of Hydra's, without signs and package: hydra.launcher."""
    return item.partition("=")[0].lstrip("+~").replace("/", ".").partition("@")[0]


def with_logging(typed: list[str]) -> list[str]:
    """What was typed, with Hydra's usual lines where hydra.verbose asks for more of them: our own
    configuration has none.
    """
    keys = {plain_key(item) for item in typed}
    if "hydra.verbose" not in keys:
        return typed
    groups = ("hydra/hydra_logging", "hydra/job_logging")
    return [
        *typed,
        *(f"{group}=default" for group in groups if group.replace("/", ".") not in keys),
    ]


def in_our_words(command: str, item: str) -> list[str]:
    """A setting below hydra as a command reads it; nothing where it asks for what happens anyway.

    Raises:
        UserError: it has no meaning for the command.
    """
    key, _, value = item.partition("=")
    plain = plain_key(item)
    if command == "train":
        return _mode(item, value) if plain == "hydra.mode" else [item]
    names_folder = plain in _FOLDER.get(command, ("hydra.run.dir",)) and not key.startswith("~")
    if names_folder:
        if command not in _OWN_FOLDER:
            raise UserError(
                f"{item!r}: nowcast {command} has no run folder; type output=PATH for what it "
                "writes."
            )
        if "${" in value:
            raise UserError(
                f"{item!r}: the folder is taken as it is typed; type output_dir=DIR without "
                "references."
            )
        return [f"output_dir={value}"]
    if command == "compare":
        return [item]
    if (plain, value.lower()) in _AS_IT_IS:
        return []
    _refuse(item, _OTHER_COMMANDS)
    raise UserError(f"{item!r} would have no effect: {_OTHER_KEY}.")


def _mode(item: str, value: str) -> list[str]:
    """hydra.mode as an option."""
    if value.lower() not in ("run", "multirun", "null"):
        raise UserError(f"{item!r}: accepted are RUN and MULTIRUN.")
    return ["--multirun"] if value.lower() == "multirun" else []


def refuse_unread_job_name(config: DictConfig, typed: list[str]) -> None:
    """Refuse a name of the job where nothing reads it: no folder, no log and no launcher.

    Args:
        config: of the job, or of all jobs, with its references.
        typed: all settings.

    Raises:
        UserError: with what names a run.
    """
    named = [item for item in typed if plain_key(item) == _JOB_NAME]
    if not named:
        return
    settings = OmegaConf.to_container(config, resolve=False)
    settings["hydra"].pop("help", None)  # it takes the name, and is never shown
    if not _READS_JOB_NAME.search(f"{settings} {typed}"):
        raise UserError(
            f"{named[-1]!r} would have no effect: no folder, log or launcher takes the name of the "
            "job; type name=NAME for the folder runs/NAME."
        )


def refuse_without_meaning(command: str, items: list[str], *, multirun: bool) -> None:
    """Refuse settings of Hydra's that would not act on trainings.

    Args:
        command: "train" or "compare".
        items: hydra.KEY=VALUE.
        multirun: whether several jobs are wanted.

    Raises:
        UserError: names the first one, with the reason.
    """
    rules = _OF_ANY_TRAINING
    if command == "compare":
        rules += _COMPARISON
    elif not multirun:
        rules += _ONE_TRAINING
    else:
        rules += _SEVERAL_TRAININGS
    for item in items:
        _refuse(item, rules)


def _refuse(item: str, rules: tuple[tuple[str, str], ...]) -> None:
    plain = plain_key(item)
    reason = next((text for start, text in rules if plain.startswith(start)), None)
    if reason is not None:
        raise UserError(f"{item!r} would have no effect: {reason}.")
