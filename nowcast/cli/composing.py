"""Composing a configuration with Hydra inside any program, also one that is a Hydra application
itself.

A configuration is composed from the files of some folders by Hydra's own loader, which needs none
of Hydra's singletons but the version; another program's store of configurations can then neither
add to our files nor be changed by us. The loader is private to Hydra. Where it is not as expected,
Hydra's public functions are used.
"""

from collections.abc import Sequence

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from omegaconf import DictConfig, OmegaConf, open_dict

from nowcast.cli.hydra_state import VERSION_BASE, own_hydra, version_base

try:
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra._internal.config_repository import CachingConfigRepository, ConfigRepository
    from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
    from hydra._internal.core_plugins.structured_config_source import StructuredConfigSource
    from hydra._internal.defaults_list import create_defaults_list
    from hydra.plugins.config_source import ConfigLoadError

    _LOADER_IS_KNOWN = all(
        hasattr(ConfigLoaderImpl, name)
        for name in ("_compose_config_from_defaults_list", "_apply_overrides_to_config")
    )
except ImportError:
    ConfigRepository = StructuredConfigSource = object
    _LOADER_IS_KNOWN = False

HYDRA = "hydra"
"""The part of a configuration that is Hydra's own."""


def compose_files(
    folders: Sequence[str], name: str, overrides: list[str], *, with_hydra: bool = False
) -> DictConfig:
    """The configuration that a file and the files it names make with some overrides.

    Args:
        folders: absolute paths of the folders of the configuration files; of two files of one name
            the one in the first folder counts.
        name: of the file to begin with, without its ending.
        overrides: in Hydra's grammar.
        with_hydra: keep the part that is Hydra's own.

    Raises:
        HydraException, OmegaConfBaseException: as Hydra does.
    """
    if _LOADER_IS_KNOWN:
        with version_base():
            config = _by_loader(folders, name, overrides)
    else:
        with own_hydra():
            config = _by_public_functions(folders, name, overrides, with_hydra=with_hydra)
    if not with_hydra and HYDRA in config:
        with open_dict(config):
            del config[HYDRA]
    return config


class _OfHydra(StructuredConfigSource):
    """Hydra's own configurations in the store, and none of the program around us."""

    def __init__(self):
        super().__init__("hydra", "structured://")
        everything = self.store.repo
        self.store = object.__new__(ConfigStore)  # the one of everybody is a singleton
        self.store.repo = {HYDRA: everything[HYDRA]}


class _Files(ConfigRepository):
    """The files of some folders, and Hydra's own: no store of the program around us gives schemas
    or further choices.
    """

    def initialize_sources(self, config_search_path) -> None:
        super().initialize_sources(config_search_path)
        self.sources.append(_OfHydra())

    def get_schema_source(self):
        raise ConfigLoadError(
            "the files of nowcast have no schemas; their settings are compared with the classes "
            "they build"
        )


def _by_loader(folders: Sequence[str], name: str, overrides: list[str]) -> DictConfig:
    Plugins.instance()  # knows what reads files
    search_path = ConfigSearchPathImpl()
    search_path.append(HYDRA, "pkg://hydra.conf")
    for number, folder in enumerate(folders):
        search_path.append("main" if number == 0 else f"further {number}", f"file://{folder}")
    loader = ConfigLoaderImpl(search_path)
    files = CachingConfigRepository(_Files(search_path))
    parsed = OverridesParser.create().parse_overrides(overrides)
    found = create_defaults_list(
        repo=files, config_name=name, overrides_list=parsed, prepend_hydra=True, skip_missing=False
    )
    config = loader._compose_config_from_defaults_list(defaults=found.defaults, repo=files)
    OmegaConf.set_struct(config, True)
    ConfigLoaderImpl._apply_overrides_to_config(found.config_overrides, config)
    return config


def _by_public_functions(
    folders: Sequence[str], name: str, overrides: list[str], *, with_hydra: bool
) -> DictConfig:
    """The same by what Hydra documents."""
    further = ",".join(f"'file://{folder}'" for folder in folders[1:])
    search = [f"hydra.searchpath=[{further}]"] if further else []
    with initialize_config_dir(folders[0], version_base=VERSION_BASE):
        return compose(name, [*overrides, *search], return_hydra_config=with_hydra)
