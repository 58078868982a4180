"""Groups of configuration files, nowcast's and Hydra's own, and what was typed for them."""

from importlib.resources import files
from pathlib import Path

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigLoadError
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nowcast.cli.composing import HYDRA
from nowcast.cli.places import choices, search_folders
from nowcast.runtime.errors import UserError

_IN_HYDRA = f"{HYDRA}/"


def is_group(key: str) -> bool:
    """Whether files can be chosen from, as in model=unet."""
    group = key.partition("@")[0]
    if group.startswith(_IN_HYDRA):
        return bool(choices_of(group))
    return group != "" and any((place / group).is_dir() for place in search_folders())


def groups() -> list[str]:
    """The groups in all folders of configuration files."""
    found = {path.name for place in search_folders() for path in place.iterdir() if path.is_dir()}
    return sorted(found)


def choices_of(group: str) -> list[str]:
    """What can be chosen for a group, also for one of Hydra's such as hydra/launcher."""
    if not group.startswith(_IN_HYDRA):
        return choices(group)
    found = set(choices(group))
    folder = Path(str(files("hydra.conf"))) / group
    found |= {path.stem for path in folder.glob("*.yaml")}
    return sorted(found | set(_stored(group)))


def _stored(group: str) -> dict[str, DictConfig]:
    """Choices of a group that plug-ins of Hydra bring along, with their settings."""
    store = ConfigStore.instance()
    try:
        names = [name for name in store.list(group) if name.endswith(".yaml")]
    except (OSError, ConfigLoadError):
        return {}
    return {name.removesuffix(".yaml"): store.load(f"{group}/{name}").node for name in names}


def settings_of(group: str) -> dict[str, set[str]]:
    """The settings that each choice of a group has, as far as its own file names them."""
    found = {name: set(map(str, node)) for name, node in _stored(group).items()}
    for place in search_folders():
        for path in (place / group).glob("*.yaml"):
            try:
                node = OmegaConf.load(path)
            except (OSError, ValueError, OmegaConfBaseException):
                continue  # said where it is chosen
            node = node or {}
            inside = node.get(group)  # of a file that brings other parts along
            node = inside if isinstance(inside, DictConfig) else node
            found.setdefault(path.stem, set(map(str, node)))
    return found


def parsed(overrides: list[str]) -> list[Override]:
    """Overrides that can be read; others are said to be wrong by whatever composes them."""
    found: list[Override] = []
    for item in overrides:
        try:
            found += OverridesParser.create().parse_overrides([item])
        except HydraException:
            continue
    return found


def chosen(overrides: list[str]) -> list[str]:
    """Those of some overrides that choose one file, or none."""
    return [
        item.input_line or ""
        for item in parsed(overrides)
        if is_group(item.key_or_group)
        and not item.is_sweep_override()
        and (item.is_delete() or isinstance(item.value(), str | list))
    ]


def refuse_no_choice(overrides: list[str]) -> None:
    """Refuse a group that is set to null or a number, where a name is needed.

    Raises:
        UserError: says what can be chosen.
    """
    for item in parsed(overrides):
        group = item.key_or_group
        if item.is_delete() or item.is_sweep_override() or not is_group(group):
            continue
        if not isinstance(item.value(), str | list):
            names = ", ".join(choices_of(group))
            none = f"; leave {group} out for none" if group == "experiment" else ""
            raise UserError(
                f"{item.input_line!r} chooses nothing; type {group}=NAME with one of {names}{none}."
            )
