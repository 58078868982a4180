"""Configuration: Hydra composes it, everything below gets plain data.

Paths and times are taken from the command line as they were typed: Hydra's override grammar would
stumble over spaces, commas, brackets, equals signs and accents in them.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nowcast.cli.composing import compose_files
from nowcast.runtime.errors import UserError
from nowcast.runtime.files import SHIPPED, run_folder
from nowcast.runtime.plugins import plugins
from nowcast.runtime.renamed import with_todays_names
from nowcast.runtime.unreadable import os_error

_OF_DATA = (
    "observed_channel",
    "output_bias",
)  # brought along by nowcast's own data; others need not

_own_folders: ContextVar[tuple[Path, ...]] = ContextVar("own_folders", default=())

PATHS = (
    "run",
    "start_from",
    "input",
    "output",
    "output_dir",
    "page",
    "forecasts",
    "observations",
    "evaluation.cache",
    "data.archives",
    "data.archive",
    "data.digits_folder",
    "data.test_file",
    "what.trained",
)
LITERALS = (
    *PATHS,
    "name",
    "analysis_time",
    "data.validation_from",
    "data.test_from",
    "validation_from",
    "test_from",
)
REQUIRED = ("run", "input", "output", "forecasts", "observations")
_RUNS = ("run", "start_from")
# kept as typed: made absolute by whoever expands them
PATTERNS = ("input", "forecasts", "data.archives")


def folder() -> Path:
    """The folder of the configuration files: beside the package in a checkout, inside it in an
    installed wheel.
    """
    package = Path(__file__).parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


@contextmanager
def own_folders(folders: Sequence[Path]) -> Iterator[None]:
    """A block in which files in some folders of one's own can be chosen, too (--config-dir).

    Raises:
        UserError: one of them is no folder.
    """
    for path in folders:
        if not path.is_dir():
            raise UserError(
                f"--config-dir {path} is not a folder; give one with files such as "
                "model/MINE.yaml, which model=MINE then takes."
            )
    token = _own_folders.set(tuple(path.absolute() for path in folders))
    try:
        yield
    finally:
        _own_folders.reset(token)


def search_folders() -> tuple[Path, ...]:
    """Where configuration files are looked for, in this order: nowcast's own folder, those of
    --config-dir, those of plug-ins.
    """
    of_plugins = [plugin.conf_folder for plugin in plugins()]
    return (folder(), *_own_folders.get(), *(found for found in of_plugins if found is not None))


def own_folder_options() -> list[str]:
    """The options --config-dir with which another process finds the same files."""
    return [f"--config-dir={path}" for path in _own_folders.get()]


def choices(group: str) -> list[str]:
    """Names that can be chosen for a group, e.g. the experiments."""
    return sorted(
        {path.stem for place in search_folders() for path in (place / group).glob("*.yaml")}
    )


def _composed(name: str, overrides: list[str]) -> DictConfig:
    return compose_files([str(place) for place in search_folders()], name, overrides)


def compose(name: str, overrides: list[str]) -> DictConfig:
    """The configuration of a command with what was typed.

    Raises:
        UserError: an unknown key, group, choice or value, wherever it was written.
    """
    literals, rest = _split(overrides)
    try:
        _refuse_sweeps(rest)
        data = tuple(item for item in rest if item.startswith("data="))
        known = _known_keys(search_folders(), name, data)
        config = _composed(name, rest)
    except (
        HydraException,
        OmegaConfBaseException,
        yaml.YAMLError,
        ValueError,
    ) as error:  # ValueError: a group set to a number
        raise UserError(_explained(name, rest, error)) from error
    unknown, lacking = sorted(set(config) - known), sorted(known - set(config) - set(_OF_DATA))
    if lacking:
        raise UserError(
            f"the configuration lacks {', '.join(map(repr, lacking))}; every part of it is needed."
        )
    if unknown:
        raise UserError(
            f"the configuration has an unknown key {', '.join(map(repr, unknown))}; accepted are "
            f"{', '.join(sorted(known))}."
        )
    _set_literals(config, literals)
    return config


@lru_cache(maxsize=64)
def _known_keys(folders: tuple[Path, ...], name: str, data: tuple[str, ...]) -> frozenset[str]:
    """The keys that a command's configuration has, with those that its data bring along."""
    return frozenset(compose_files([str(place) for place in folders], name, list(data)))


def _refuse_sweeps(overrides: list[str]) -> None:
    """Refuse several values for one setting, which only Hydra's multirun would know what to do
    with.
    """
    for item in OverridesParser.create().parse_overrides(overrides):
        if item.is_sweep_override():
            raise UserError(
                f"{item.input_line!r} gives several values, but a command takes one; where a "
                "list is meant type "
                f"{item.key_or_group}=[A,B], and to train with each value side by side see "
                "nowcast compare --cfg."
            )


def typed_settings(config: DictConfig, overrides: list[str]) -> dict[str, object]:
    """Each single setting that was typed, and the value that it has now; of a group its name, of a
    dictionary its entries.

    Args:
        config: composed, or changed, with the overrides.
        overrides: as typed, KEY=VALUE.
    """
    found: dict[str, object] = {}
    for item in overrides:
        key, _, value = item.partition("=")
        if key.startswith("~"):
            continue  # what is taken away has no value that could be without effect
        key = key.lstrip("+").partition("@")[0]
        now = OmegaConf.select(config, key, throw_on_missing=False)
        if isinstance(now, DictConfig) and not value.startswith("{"):
            found[key] = value  # the choice of a group
        elif isinstance(now, DictConfig):
            found |= {
                f"{key}.{name}": OmegaConf.select(now, name)
                for name in _leaves(OmegaConf.to_container(now, resolve=False))
                if name in value
            }
        else:
            found[key] = (
                OmegaConf.to_container(now, resolve=True) if OmegaConf.is_config(now) else now
            )
    return found


def is_referred_to(config: DictConfig, key: str) -> bool:
    """Whether another setting is made of a single one at the top, by a reference such as
    ``${output_bias}``.
    """
    text = OmegaConf.to_yaml(config)
    return f"${{{key}}}" in text


def _leaves(settings: dict, before: str = "") -> list[str]:
    """Names of all single settings, e.g. "model.hidden_channels"."""
    names = []
    for name, value in settings.items():
        if isinstance(value, dict):
            names += _leaves(value, f"{before}{name}.")
        else:
            names.append(f"{before}{name}")
    return names


def override(config: DictConfig, overrides: list[str]) -> None:
    """Change single values of a stored configuration in place.

    Raises:
        UserError: a key that is not there, or not of the form KEY=VALUE.
    """
    literals, rest = _split(overrides)
    try:
        for item in OverridesParser.create().parse_overrides(rest):
            if (
                not item.is_add()
                and not item.is_delete()
                and not item.is_sweep_override()
                and OmegaConf.select(config, item.key_or_group, default=item) is not item
            ):
                OmegaConf.update(config, item.key_or_group, item.value())
            else:
                raise UserError(
                    f"{item.input_line!r} cannot be applied to a stored run: there is no single "
                    f"setting {item.key_or_group!r} in its config.yaml."
                )
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(_one_line(error)) from error
    _set_literals(config, literals)


def plain(config: DictConfig, *, optional: Sequence[str] = ()) -> dict:
    """Plain data with every reference followed.

    Args:
        config: composed.
        optional: settings that other commands must be given, and that may be null here.

    Raises:
        UserError: a setting that must be given was not.
    """
    try:
        missing = sorted(
            OmegaConf.missing_keys(config)
            | {
                key
                for key in REQUIRED
                if key in config and key not in optional and config[key] is None
            }
        )
        if missing:
            raise UserError(f"{', '.join(missing)} must be given, e.g. {missing[0]}=...")
        return OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise UserError(_one_line(error)) from error


def literal(value: str) -> str:
    """A value that stays as it is in a configuration, also where it looks like a reference."""
    return value.replace("${", "\\${")


def text(config: DictConfig, *, resolve: bool = False, package: str | None = None) -> str:
    """The configuration as YAML.

    Args:
        config: the configuration.
        resolve: follow references; else they are kept.
        package: a part of it alone, e.g. "training".

    Raises:
        UserError: there is no such part, or a reference leads nowhere.
    """
    try:
        if package is None:
            return OmegaConf.to_yaml(config, resolve=resolve)
        part = OmegaConf.select(config, package, throw_on_missing=False)
        if not OmegaConf.is_config(part):
            raise UserError(
                f"the configuration has no part {package!r}; parts are {', '.join(sorted(config))}."
            )
        return f"# @package {package}\n{OmegaConf.to_yaml(part, resolve=resolve)}"
    except OmegaConfBaseException as error:
        raise UserError(_one_line(error)) from error


def load(run: str | Path) -> DictConfig:
    """The configuration stored in a run folder; data only, nothing in it is run.

    Raises:
        UserError: there is none, or it is damaged.
    """
    path = Path(run) / "config.yaml"
    if not path.is_file():
        raise UserError(
            f"{run} is not a run folder: it holds no config.yaml. Give the folder that `nowcast "
            "train` printed."
        )
    try:
        config = OmegaConf.load(path)
        if not isinstance(config, DictConfig) or not config:
            raise UserError(f"{path} is damaged: it holds no settings.")
        config = OmegaConf.create(with_todays_names(OmegaConf.to_container(config, resolve=False)))
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
            raise UserError(
                f"there is no option {item!r}; settings are given as KEY=VALUE, see --help."
            )
        if not key or (not equals and not key.startswith("~")):
            raise UserError(
                f"{item!r} is not of the form KEY=VALUE (quote values that hold spaces)."
            )
        if key.lstrip("+") in LITERALS:
            literals[key.lstrip("+")] = None if value == "null" else value
        else:
            rest.append(item)
    return literals, rest


def _set_literals(config: DictConfig, literals: dict[str, str | None]) -> None:
    for key, value in literals.items():
        if OmegaConf.select(config, key, default=literals) is literals and not OmegaConf.is_missing(
            *_parent(config, key)
        ):
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


def _explained(name: str, overrides: list[str], error: Exception) -> str:
    """What Hydra says of an override, in words that help where the mistake is a key or a sign
    before it.
    """
    for item in overrides:
        key, _, value = item.lstrip("+~").partition("=")
        group = key.partition("@")[0]
        if item.startswith("+") and any((place / group).is_dir() for place in search_folders()):
            return f"{item!r} adds a choice that is there already; type {group}={value}."
    text = _one_line(error)
    found = re.match(r"Could not override '([^']*)'", text)
    return text if found is None else _no_such_setting(name, found[1])


def _no_such_setting(name: str, key: str) -> str:
    """That there is no setting of that name, with those that it may have been meant for."""
    config = _composed(name, [])
    place, _, last = key.partition("@")[0].rpartition(".")
    inside = OmegaConf.select(config, place, throw_on_missing=False) if place else config
    if not isinstance(inside, DictConfig):
        return _no_such_setting(name, place)
    everywhere = [*_leaves(OmegaConf.to_container(config, resolve=False)), *map(str, config)]
    everywhere = [other for other in everywhere if not other.endswith("_target_")]
    everywhere += ["experiment"] if name == "train" else []
    near = get_close_matches(key, everywhere, n=3, cutoff=0.7)
    near += [other for other in everywhere if other.endswith(f".{last}") and other not in near]
    sentence = f"there is no setting {key!r} here"
    if near:
        return f"{sentence}; did you mean {' or '.join(near[:3])}?"
    names = ", ".join(sorted(str(other) for other in inside if other != "_target_")) or "none"
    accepted = f"{place} has {names}" if place else f"accepted are {names}"
    others = choices(place) if place else []
    more = f"; another choice such as {place}={others[0]} has other settings" if others else ""
    return f"{sentence}; {accepted}{more}."


def _one_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    noise = (
        r"(full_key:|object_type=|reference_type=|Set the environment|Config search "
        r"path|provider=|To append to your config|See https|Use --multirun)"
    )
    text = " ".join(line for line in lines if not re.match(noise, line))[:400]
    text = re.sub(r" ?To append to your (default list|config) use .*", "", text)
    if text.startswith("Interpolation key"):
        text += (
            "; two chosen parts do not go together: loss=balanced_error, for instance, weighs "
            "rain rates and needs data=radar, and nowcast's networks need data that set "
            "observed_channel and output_bias."
        )
    return text
