"""Configuration: Hydra composes it, everything below gets plain data.

Paths and times are taken from the command line as they were typed: Hydra's override grammar would stumble over spaces,
commas, brackets, equals signs and accents in them.
"""

import re
from pathlib import Path

import hydra
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nowcast.errors import UserError
from nowcast.runtime.unreadable import os_error

PATHS = ("run", "start_from", "input", "output", "output_dir", "forecasts", "observations", "evaluation.cache", "data.archives", "data.archive", "data.digits_folder", "data.test_file", "what.trained", "what.archive", "what.archives")
LITERALS = (*PATHS, "name", "analysis_time", "data.validation_from", "data.test_from", "validation_from", "test_from", "what.start")
REQUIRED = ("run", "input", "output", "forecasts", "observations")
_RUNS = ("run", "start_from")
SHIPPED = "shipped"  # in place of a run's folder: the model that comes with nowcast; a folder of that name is ./shipped
PATTERNS = ("input", "forecasts", "data.archives", "what.archives")  # kept as typed: made absolute by whoever expands them


def folder() -> Path:
    """The folder of the configuration files: beside the package in a checkout, inside it in an installed wheel."""
    inside = Path(__file__).parent / "conf"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "conf"


def run_folder(run: str) -> Path:
    """The folder of a run, or of the model that comes with nowcast."""
    return Path(__file__).parent / SHIPPED if run == SHIPPED else Path(run)


def choices(group: str) -> list[str]:
    """Names that can be chosen for a group, e.g. the experiments."""
    return sorted(path.stem for path in (folder() / group).glob("*.yaml"))


def compose(name: str, overrides: list[str]) -> DictConfig:
    """The configuration of a command with what was typed.

    Raises:
        UserError: an unknown key, group, choice or value, wherever it was written.
    """
    literals, rest = _split(overrides)
    try:
        with hydra.initialize_config_dir(str(folder()), version_base="1.3"):
            known = set(hydra.compose(name, [item for item in rest if item.startswith("data=")]))
            config = hydra.compose(name, rest)
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError) as error:  # ValueError: a group set to a number
        raise UserError(_one_line(error)) from error
    unknown, lacking = sorted(set(config) - known), sorted(known - set(config))
    if lacking:
        raise UserError(f"the configuration lacks {', '.join(map(repr, lacking))}; every part of it is needed.")
    if unknown:
        raise UserError(f"the configuration has an unknown key {', '.join(map(repr, unknown))}; accepted are {', '.join(sorted(known))}.")
    _set_literals(config, literals)
    return config


def override(config: DictConfig, overrides: list[str]) -> None:
    """Change single values of a stored configuration in place.

    Raises:
        UserError: a key that is not there, or not of the form KEY=VALUE.
    """
    literals, rest = _split(overrides)
    try:
        for item in OverridesParser.create().parse_overrides(rest):
            if not item.is_add() and not item.is_delete() and not item.is_sweep_override() and OmegaConf.select(config, item.key_or_group, default=item) is not item:
                OmegaConf.update(config, item.key_or_group, item.value())
            else:
                raise UserError(f"{item.input_line!r} cannot be applied to a stored run: there is no single setting {item.key_or_group!r} in its config.yaml.")
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(_one_line(error)) from error
    _set_literals(config, literals)


def plain(config: DictConfig) -> dict:
    """Plain data with every reference followed.

    Raises:
        UserError: a setting that must be given was not.
    """
    try:
        missing = sorted(OmegaConf.missing_keys(config) | {key for key in REQUIRED if key in config and config[key] is None})
        if missing:
            raise UserError(f"{', '.join(missing)} must be given, e.g. {missing[0]}=...")
        return OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise UserError(_one_line(error)) from error


def literal(value: str) -> str:
    """A value that stays as it is in a configuration, also where it looks like a reference."""
    return value.replace("${", "\\${")


def text(config: DictConfig) -> str:
    """The configuration as YAML, references kept."""
    return OmegaConf.to_yaml(config)


def load(run: str | Path) -> DictConfig:
    """The configuration stored in a run folder; data only, nothing in it is run.

    Raises:
        UserError: there is none, or it is damaged.
    """
    path = Path(run) / "config.yaml"
    if not path.is_file():
        raise UserError(f"{run} is not a run folder: it holds no config.yaml. Give the folder that `nowcast train` printed.")
    try:
        config = OmegaConf.load(path)
        if not isinstance(config, DictConfig) or not config:
            raise UserError(f"{path} is damaged: it holds no settings.")
    except UserError:
        raise
    except OSError as error:
        raise os_error(path, error) from error
    except (ValueError, RecursionError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"{path} is damaged ({_one_line(error)}).") from error
    OmegaConf.set_struct(config, True)
    return config


def _split(overrides: list[str]) -> tuple[dict[str, str | None], list[str]]:
    """Overrides taken as typed, and those for Hydra."""
    literals, rest = {}, []
    for item in overrides:
        key, equals, value = item.partition("=")
        if key.startswith("-"):
            raise UserError(f"there is no option {item!r}; settings are given as KEY=VALUE, see --help.")
        if not key or (not equals and not key.startswith("~")):
            raise UserError(f"{item!r} is not of the form KEY=VALUE (quote values that hold spaces).")
        if key in LITERALS:
            literals[key] = None if value == "null" else value
        else:
            rest.append(item)
    return literals, rest


def _set_literals(config: DictConfig, literals: dict[str, str | None]) -> None:
    for key, value in literals.items():
        if OmegaConf.select(config, key, default=literals) is literals and not OmegaConf.is_missing(*_parent(config, key)):
            raise UserError(f"there is no setting {key!r} here.")
        if value == "":
            raise UserError(f"{key} is empty; give a value, or null for none.")
        if value is not None and key in PATHS and not (key in _RUNS and value == SHIPPED):
            path = (run_folder(value) if key == "what.trained" else Path(value)).expanduser()
            value = str(path if key in PATTERNS else path.absolute())
        OmegaConf.update(config, key, value if value is None else literal(value))


def _parent(config: DictConfig, key: str) -> tuple[DictConfig, str]:
    head, _, tail = key.rpartition(".")
    return (OmegaConf.select(config, head) if head else config), tail


def _one_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    noise = r"(full_key:|object_type=|reference_type=|Set the environment|Config search path|provider=|To append to your config|See https|Use --multirun)"
    text = " ".join(line for line in lines if not re.match(noise, line))[:400]
    if text.startswith("Interpolation key"):
        text += "; two chosen parts do not go together (loss=balanced_error, for instance, weighs rain rates: it needs data=radar)."
    return text
