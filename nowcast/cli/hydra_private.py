"""Private names of Hydra and OmegaConf, but for the loader in ``composing``: each that nowcast uses
stands here, with what is done without it.
"""

from collections.abc import Callable

from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.basecontainer import BaseContainer

from nowcast.runtime.errors import UserError, first_line

try:
    from hydra._internal.callbacks import Callbacks
except ImportError:
    Callbacks = None
try:
    from hydra._internal.hydra import Hydra
    from hydra._internal.utils import get_args_parser
except ImportError:
    Hydra = get_args_parser = None


def resolvers() -> dict | None:
    """The functions behind references such as ``${now:%H}``; None where they are not known: those
    that Hydra registers stay then.
    """
    found = getattr(BaseContainer, "_resolvers", None)
    return None if found is None else dict(found)


def put_resolvers(before: dict | None) -> None:
    """Put back what ``resolvers`` returned."""
    if before is not None:
        BaseContainer._resolvers.clear()
        BaseContainer._resolvers.update(before)


class _NoCallbacks:
    """What a job tells that has no callbacks."""

    def __getattr__(self, name: str) -> Callable:
        if not name.startswith("on_"):
            raise AttributeError(name)
        return lambda **_: None


def callbacks_of(config: DictConfig):
    """The callbacks of hydra.callbacks.

    Raises:
        UserError: one cannot be made, or this version of Hydra calls them in another way.
    """
    if Callbacks is not None:
        try:
            return Callbacks(config)
        except HydraException as error:
            raise UserError(f"hydra.callbacks: {first_line(error)}") from error
    if config.hydra.callbacks:
        raise UserError(
            "hydra.callbacks cannot be called with this version of Hydra; leave them out."
        )
    return _NoCallbacks()


def shell_plugins(loader) -> dict:
    """What completes for a shell, by its name.

    Raises:
        UserError: this version of Hydra does it in another way.
    """
    if not hasattr(Hydra, "get_shell_to_plugin_map"):
        raise UserError("this version of Hydra completes in another way; see nowcast --help.")
    return {name: found[0] for name, found in Hydra.get_shell_to_plugin_map(loader).items()}


def show_hydra_help(hydra) -> None:
    """What Hydra says of itself.

    Raises:
        UserError: this version of Hydra does it in another way.
    """
    if get_args_parser is None or not hasattr(hydra, "hydra_help"):
        raise UserError("this version of Hydra shows no help of its own; see nowcast --help.")
    parser = get_args_parser()
    hydra.hydra_help(None, parser, parser.parse_args([]))
