"""Composing a configuration with Hydra inside any program, also one that is a Hydra application
itself.

Hydra keeps its state in singletons: the initialised application, the version whose defaults it
follows, a store of configurations, resolvers. Here a configuration is composed from the files of
one folder by Hydra's own loader, which needs none of them but the version; another program's store
can then neither add to our files nor be changed by us. The loader is private to Hydra. Where it is
not as expected, Hydra's public functions are used, and what they set is put back afterwards.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hydra import compose, initialize_config_dir, version
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.singleton import Singleton
from omegaconf import DictConfig, OmegaConf

try:
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra._internal.config_repository import CachingConfigRepository, ConfigRepository
    from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
    from hydra._internal.defaults_list import create_defaults_list
    from hydra.core.plugins import Plugins
    from hydra.plugins.config_source import ConfigLoadError

    _LOADER_IS_KNOWN = all(
        hasattr(ConfigLoaderImpl, name)
        for name in (
            "_compose_config_from_defaults_list",
            "_apply_overrides_to_config",
            "validate_sweep_overrides_legal",
        )
    )
except ImportError:
    ConfigRepository = object
    _LOADER_IS_KNOWN = False

VERSION_BASE = (
    "1.3"  # whose defaults Hydra follows in our files, whatever the program around us asked for
)
_OF_HYDRA = (
    "hydra",
    "_dummy_empty_config_.yaml",
)  # what Hydra itself keeps in the store of configurations
_lock = threading.RLock()  # Hydra's version is one for the whole process


def compose_files(folders: Sequence[str], name: str, overrides: list[str]) -> DictConfig:
    """The configuration that a file and the files it names make with some overrides; without
    Hydra's own settings.

    Args:
        folders: absolute paths of the folders of the configuration files; of two files of one name
            the one in the first folder counts.
        name: of the file to begin with, without its ending.
        overrides: in Hydra's grammar.

    Raises:
        HydraException, OmegaConfBaseException: as Hydra does.
    """
    with _lock, _version_base():
        return (
            _by_loader(folders, name, overrides)
            if _LOADER_IS_KNOWN
            else _by_public_functions(folders, name, overrides)
        )


class _Files(ConfigRepository):
    """The files of a folder alone: no store of the program around us gives schemas or further
    choices.
    """

    def get_schema_source(self):
        raise ConfigLoadError(
            "the files of nowcast have no schemas; their settings are compared with the classes "
            "they build"
        )


def _by_loader(folders: Sequence[str], name: str, overrides: list[str]) -> DictConfig:
    Plugins.instance()  # knows what reads files
    search_path = ConfigSearchPathImpl()
    for number, folder in enumerate(folders):
        search_path.append("main" if number == 0 else f"further {number}", f"file://{folder}")
    loader = ConfigLoaderImpl(search_path)
    files = CachingConfigRepository(_Files(search_path))
    parsed = OverridesParser.create().parse_overrides(overrides)
    found = create_defaults_list(
        repo=files, config_name=name, overrides_list=parsed, prepend_hydra=False, skip_missing=False
    )
    config = loader._compose_config_from_defaults_list(defaults=found.defaults, repo=files)
    OmegaConf.set_struct(config, True)
    ConfigLoaderImpl._apply_overrides_to_config(found.config_overrides, config)
    return config


def _by_public_functions(folders: Sequence[str], name: str, overrides: list[str]) -> DictConfig:
    """The same by what Hydra documents; its singletons and resolvers are put back as they were."""
    from hydra.core.utils import JobRuntime
    from omegaconf.basecontainer import BaseContainer

    kinds = (GlobalHydra, JobRuntime)
    before = {kind: Singleton._instances.get(kind) for kind in kinds}
    resolvers = dict(BaseContainer._resolvers)
    store = ConfigStore.instance()
    stored = store.repo
    try:
        for kind in kinds:
            Singleton._instances.pop(kind, None)
        store.repo = {name: node for name, node in stored.items() if name in _OF_HYDRA}
        further = ",".join(f"'file://{folder}'" for folder in folders[1:])
        search = [f"hydra.searchpath=[{further}]"] if further else []
        with initialize_config_dir(folders[0], version_base=VERSION_BASE):
            return compose(name, [*overrides, *search])
    finally:
        for kind, instance in before.items():
            Singleton._instances.pop(kind, None)
            if instance is not None:
                Singleton._instances[kind] = instance
        store.repo = stored
        BaseContainer._resolvers.clear()
        BaseContainer._resolvers.update(resolvers)


@contextmanager
def _version_base() -> Iterator[None]:
    """Hydra's defaults as our files are written for; those of the program around us come back
    afterwards.
    """
    base = version.VersionBase.instance()
    before = base.version_base
    if before != version.Version(VERSION_BASE):
        base.version_base = version.Version(VERSION_BASE)
    try:
        yield
    finally:
        base.version_base = before
