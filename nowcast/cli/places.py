"""Where configuration files lie: nowcast's own, those of plug-ins, and those of one's own."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nowcast.cli.composing import compose_files
from nowcast.runtime.errors import UserError
from nowcast.runtime.plugins import plugins


@dataclass(frozen=True)
class Places:
    """Where the configuration files lie.

    Args:
        main: the folder in place of nowcast's own (--config-path); None: nowcast's own.
        further: folders of one's own (--config-dir, hydra.searchpath).
        command: whose configuration begins with another file.
        name: of that file (--config-name); None: it has the name of the command.
    """

    main: Path | None = None
    further: tuple[Path, ...] = ()
    command: str = ""
    name: str | None = None

    def primary(self, command: str) -> str:
        """The name of the file that the configuration of a command begins with."""
        return self.name if self.name and command == self.command else command


_USUAL = Places()
_places: ContextVar[Places] = ContextVar("places", default=_USUAL)


def folder() -> Path:
    """The folder of the configuration files: beside the package in a checkout, inside it in an
    installed wheel.
    """
    package = Path(__file__).parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


@contextmanager
def own_places(places: Places) -> Iterator[None]:
    """A block in which configuration files lie elsewhere, too.

    Raises:
        UserError: a folder, or the file to begin with, is not there.
    """
    named = [("--config-path", places.main)] if places.main else []
    for option, path in [*named, *(("--config-dir", path) for path in places.further)]:
        if not path.is_dir():
            raise UserError(
                f"{option} {path} is not a folder; give one with files such as "
                "model/MINE.yaml, which model=MINE then takes."
            )
    if places.main is not None and places.name is None and places.command:
        _refuse_without(places.main, f"{places.command}.yaml")
    main = None if places.main is None else places.main.absolute()
    further = tuple(path.absolute() for path in places.further)
    found = Places(main, further, places.command, places.name)
    token = _places.set(found)
    try:
        if places.name is not None:
            named = tuple(_named_in(_file_to_begin_with(places.name)))
            _places.set(replace(found, further=(*further, *named)))
        yield
    finally:
        _places.reset(token)


def _refuse_without(main: Path, file: str) -> None:
    """Refuse a folder in place of nowcast's own that has not the file to begin with."""
    if (folder() / file).is_file() and not (main / file).is_file():
        raise UserError(
            f"--config-path {main} has no {file}; --config-path takes a folder in place of "
            "nowcast's own files, and --config-dir one whose files are added to them."
        )


def folder_of(place: str) -> Path:
    """The folder that an element of hydra.searchpath names: FOLDER, file://FOLDER, pkg://PACKAGE.

    Raises:
        UserError: the package is not installed.
    """
    if not place.startswith("pkg://"):
        return Path(place.removeprefix("file://")).expanduser()
    package = place.removeprefix("pkg://").replace("/", ".")
    try:
        spec = find_spec(package)
    except ImportError:
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"hydra.searchpath names {place}, but no such package is installed.")
    return Path(next(iter(spec.submodule_search_locations)))


def _named_in(path: Path) -> list[Path]:
    """The folders of hydra.searchpath in a configuration file."""
    try:
        found = OmegaConf.select(OmegaConf.load(path), "hydra.searchpath")
    except (OSError, yaml.YAMLError, OmegaConfBaseException):  # said where it is composed
        return []
    return [folder_of(str(place)).absolute() for place in found or []]


def _file_to_begin_with(name: str) -> Path:
    """The file of --config-name.

    Raises:
        UserError: it is not there.
    """
    for place in search_folders():
        if (place / f"{name}.yaml").is_file():
            return place / f"{name}.yaml"
    known = [path.stem for place in search_folders() for path in place.glob("*.yaml")]
    near = get_close_matches(name, known, n=3)
    hint = f"; did you mean {' or '.join(near)}?" if near else "; give its folder by --config-dir."
    raise UserError(f"--config-name {name}: there is no {name}.yaml{hint}")


def search_folders() -> tuple[Path, ...]:
    """Where configuration files are looked for, in this order: nowcast's own folder, those of
    --config-dir, those of plug-ins.
    """
    places = _places.get()
    of_plugins = [plugin.conf_folder for plugin in plugins()]
    found = (places.main or folder(), *places.further, *of_plugins)
    return tuple(place for place in found if place is not None)


def primary(command: str) -> str:
    """The name of the file that the configuration of a command begins with."""
    return _places.get().primary(command)


def has_own_files() -> bool:
    """Whether configuration files of somebody else can be chosen, too."""
    places = _places.get()
    return places != replace(_USUAL, command=places.command) or len(search_folders()) > 1


def options() -> list[str]:
    """The options with which another command finds the same files."""
    places = _places.get()
    found = [] if places.main is None else [f"--config-path={places.main}"]
    found += [f"--config-dir={place}" for place in places.further]
    return found + ([] if places.name is None else [f"--config-name={places.name}"])


def choices(group: str) -> list[str]:
    """Names that can be chosen for a group, e.g. the experiments."""
    return sorted(
        {path.stem for place in search_folders() for path in (place / group).glob("*.yaml")}
    )


def composed(name: str, overrides: list[str], *, with_hydra: bool = False) -> DictConfig:
    """The configuration of a command with overrides in Hydra's grammar, see ``compose_files``."""
    folders = [str(place) for place in search_folders()]
    return compose_files(folders, primary(name), overrides, with_hydra=with_hydra)
