"""Other people's packages that add models, losses, readers, data sets or scores to nowcast.

A package becomes a plug-in by an entry point in its own pyproject.toml::

    [project.entry-points."nowcast.plugins"]
    fading = "nowcast_fading"

Its public classes can then be named by ``_target_``, readers that stand in the package's own
namespace are asked by ``reader=auto``, and YAML files in its folder ``conf`` are chosen like those
of nowcast. Installing a package is the act of trust: nothing of a package that is not installed, or
that is installed without such an entry point, is ever run.
"""

import importlib
import inspect
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path

from nowcast.runtime.errors import UserError, first_line

GROUP = "nowcast.plugins"


@dataclass(frozen=True)
class Plugin:
    """An installed package that adds to nowcast.

    Args:
        name: of its entry point.
        package: the package that the entry point names, e.g. "nowcast_fading".
        distribution: what is installed, as `pip` calls it.
        version: of the distribution.
    """

    name: str
    package: str
    distribution: str
    version: str

    def has(self, target: str) -> bool:
        """Whether a class of that name would be the package's own."""
        return target.startswith(f"{self.package}.")

    @property
    def conf_folder(self) -> Path | None:
        """The folder of its configuration files; None where it has none."""
        try:
            spec = find_spec(self.package)
        except ImportError:  # said where one of its classes is asked for
            return None
        places = [] if spec is None else list(spec.submodule_search_locations or [])
        folders = [Path(place) / "conf" for place in places]
        return next((folder for folder in folders if folder.is_dir()), None)


@cache
def plugins() -> tuple[Plugin, ...]:
    """The installed plug-ins, by name; none of them is loaded.

    Raises:
        UserError: an entry point that does not name a package of its own.
    """
    found = [_plugin(entry) for entry in entry_points(group=GROUP)]
    return tuple(sorted(found, key=lambda plugin: plugin.name))


def _plugin(entry: EntryPoint) -> Plugin:
    package = entry.value.partition(":")[0].strip()
    if package.split(".")[0] == "nowcast" or ":" in entry.value:
        raise UserError(
            f"the entry point {entry.name!r} of {GROUP} is {entry.value!r}; expected the name of a "
            "package other than nowcast, e.g. nowcast_fading."
        )
    dist = entry.dist
    name, version = ("", "") if dist is None else (dist.name, dist.version)
    return Plugin(entry.name, package, name, version)


def plugin_of(target: str) -> Plugin | None:
    """The plug-in that a class named by ``_target_`` is of; None where no installed one is."""
    return next((plugin for plugin in plugins() if plugin.has(target)), None)


def classes_of(contract: type) -> list[type]:
    """The classes in the plug-ins' own namespaces that keep a contract, such as ``Reader``."""
    found = []
    for plugin in plugins():
        try:
            module = importlib.import_module(plugin.package)
        except Exception as error:  # whatever somebody's package raises when it is loaded
            raise UserError(
                f"the plug-in {plugin.name} ({plugin.distribution} {plugin.version}) cannot be "
                f"loaded: {first_line(error)}. Mend it, or uninstall it."
            ) from error
        for name, value in sorted(vars(module).items()):
            if not inspect.isclass(value) or name.startswith("_"):
                continue
            own = plugin.has(f"{value.__module__}.{name}")  # not imported from somewhere else
            if own and issubclass(value, contract):
                found.append(value)
    return found


def plugins_named_in(settings) -> dict[str, str]:
    """Distribution -> version of the plug-ins whose classes settings, as data, name."""
    found: dict[str, str] = {}
    if isinstance(settings, list):
        for item in settings:
            found |= plugins_named_in(item)
    elif isinstance(settings, dict):
        for key, value in settings.items():
            if key == "_target_":
                plugin = plugin_of(str(value))
                found |= {} if plugin is None else {plugin.distribution: plugin.version}
            else:
                found |= plugins_named_in(value)
    return found


def refuse_missing(needed: dict[str, str], what: str) -> None:
    """Refuse to load what needs plug-ins that are not installed.

    Args:
        needed: distribution -> version that it was made with.
        what: what is to be loaded, for the message.

    Raises:
        UserError: names those that are missing, with their versions.
    """
    installed = {plugin.distribution for plugin in plugins()}
    missing = [f"{name} {version}" for name, version in needed.items() if name not in installed]
    if missing:
        raise UserError(
            f"{what} needs the plug-in {', '.join(missing)}, which is not installed; install it "
            "(pip install), if you trust it, and try again."
        )
