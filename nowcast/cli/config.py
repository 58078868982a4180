"""Configuration: Hydra composes it, everything below gets plain data."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from nowcast.cli.composing import HYDRA, compose_files
from nowcast.cli.groups import chosen
from nowcast.cli.hydra_values import refuse_odd_hydra
from nowcast.cli.mistakes import explained, leaves, one_sentence

# where configuration files lie, for those who ask here
from nowcast.cli.places import choices as choices
from nowcast.cli.places import composed, has_own_files, primary, search_folders
from nowcast.cli.places import folder as folder
from nowcast.cli.quoting import in_grammar
from nowcast.runtime.build import refuse_unknown, resolve
from nowcast.runtime.errors import UserError
from nowcast.runtime.files import run_folder as run_folder
from nowcast.runtime.renamed import with_todays_names
from nowcast.runtime.unreadable import os_error

_OF_DATA = (
    "observed_channel",
    "output_bias",
)  # brought along by nowcast's own data; others need not


_ARCHIVE = "an archive, which nowcast convert makes"
_TO_BE_GIVEN = {
    "data.archive": (_ARCHIVE, "data.archive=data/knmi.nc"),
    "data.archives": ("archives, which nowcast convert makes", "data.archives='archives/*.nc'"),
    "observations": (_ARCHIVE, "observations=data/knmi.nc"),
    "forecasts": ("NetCDF files, a folder or a pattern", "forecasts='forecasts/*.nc'"),
    "input": ("radar files, a folder, a pattern or an archive", "input=data/knmi.nc"),
    "output": ("what to write; for watch and replay a folder", "output=new.nc"),
    "run": ("the folder of a training, or shipped", "run=runs/mine"),
}
REQUIRED = ("run", "input", "output", "forecasts", "observations")


def compose(name: str, overrides: list[str]) -> DictConfig:
    """The configuration of a command with what was typed.

    Raises:
        UserError: an unknown key, group, choice or value, wherever it was written.
    """
    config = compose_typed(name, in_grammar(overrides))
    with open_dict(config):
        del config[HYDRA]
    return config


def compose_typed(name: str, overrides: list[str]) -> DictConfig:
    """The configuration of a command, with Hydra's own part.

    Args:
        name: of the command.
        overrides: in Hydra's grammar; a value for each.

    Raises:
        UserError: an unknown key, group, choice or value, wherever it was written.
    """
    try:
        _refuse_sweeps(name, overrides)
        data = tuple(item for item in overrides if item.startswith("data="))
        known = _known_keys(search_folders(), name, data)
        config = composed(name, overrides, with_hydra=True)
    except (
        HydraException,
        OmegaConfBaseException,
        yaml.YAMLError,
        ValueError,
    ) as error:  # ValueError: a group set to a number
        raise UserError(explained(name, overrides, error)) from error
    refuse_odd_hydra(config.hydra)
    found = set(config) - {HYDRA}
    unknown, lacking = sorted(found - known), sorted(known - found - set(_OF_DATA))
    if lacking:
        raise UserError(
            f"the configuration lacks {', '.join(map(repr, lacking))}; every part of it is needed."
        )
    if unknown:
        _refuse_without_package(unknown[0], overrides)
        raise UserError(
            f"the configuration has an unknown key {', '.join(map(repr, unknown))}; accepted are "
            f"{', '.join(sorted(known))}."
        )
    # nowcast's own files have no others
    if has_own_files() or any(item.startswith("+") for item in overrides):
        _refuse_unknown_of_classes(OmegaConf.to_container(config, resolve=False))
    return config


def _refuse_without_package(key: str, overrides: list[str]) -> None:
    """Refuse a chosen file whose settings stand below its group, where they were meant for all."""
    for item in chosen(overrides):
        group, _, name = item.partition("=")
        if group.partition("/")[0] != key:
            continue
        for place in search_folders():
            path = place / group / f"{name}.yaml"
            if path.is_file() and "@package" not in path.read_text(errors="replace"):
                raise UserError(
                    f"{path} lacks its first line '# @package _global_', so that its settings "
                    f"stand below {key!r}; add it."
                )


def _refuse_unknown_of_classes(settings: dict, before: str = "") -> None:
    """Refuse settings that their class does not take, wherever they were written."""
    for name, node in settings.items():
        place = f"{before}{name}"
        if not isinstance(node, dict) or place == HYDRA:
            continue
        if "_target_" in node:
            try:
                target = resolve(node["_target_"], place)
            except UserError:  # said by what builds it
                continue
            refuse_unknown(target, [key for key in node if key != "_target_"], place)
        _refuse_unknown_of_classes(node, f"{place}.")


@lru_cache(maxsize=64)
def _known_keys(folders: tuple[Path, ...], name: str, data: tuple[str, ...]) -> frozenset[str]:
    """The keys that a command's configuration has, with those that its data bring along."""
    own = any((place / f"{name}.yaml").is_file() for place in folders)
    begin = name if own else primary(name)
    return frozenset(compose_files([str(place) for place in folders], begin, list(data)))


def _refuse_sweeps(name: str, overrides: list[str]) -> None:
    """Refuse several values for one setting, which only a multirun knows what to do with."""
    for item in OverridesParser.create().parse_overrides(overrides):
        if item.is_sweep_override():
            more = "; to train with each value type --multirun, too" if name == "train" else ""
            raise UserError(
                f"{item.input_line!r} gives several values, but a command takes one; where a "
                f"list is meant type {item.key_or_group}=[A,B]{more}."
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
                for name in leaves(OmegaConf.to_container(now, resolve=False))
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


def override(config: DictConfig, overrides: list[str]) -> None:
    """Change single values of a stored configuration in place.

    Raises:
        UserError: a key that is not there, or not of the form KEY=VALUE.
    """
    try:
        for item in OverridesParser.create().parse_overrides(in_grammar(overrides)):
            key = item.key_or_group
            is_there = OmegaConf.select(config, key, default=item) is not item
            if item.is_add() or item.is_delete() or item.is_sweep_override() or not is_there:
                raise UserError(
                    f"{item.input_line!r} cannot be applied to a stored run: there is no single "
                    f"setting {key!r} in its config.yaml."
                )
            OmegaConf.update(config, key, item.value())
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(one_sentence(error)) from error


def _must_be_given(key: str) -> str:
    """What a setting that was not given is, and an example."""
    if key not in _TO_BE_GIVEN:
        return f"{key} must be given; --help says what it is"
    what, example = _TO_BE_GIVEN[key]
    return f"{key} must be given ({what}), e.g. {example}"


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
            raise UserError(f"{'; '.join(map(_must_be_given, missing))}.")
        return OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise UserError(one_sentence(error, config)) from error


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
        raise UserError(one_sentence(error, config)) from error


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
        raise UserError(f"{path} is damaged ({one_sentence(error)}).") from error
    OmegaConf.set_struct(config, True)
    return config
