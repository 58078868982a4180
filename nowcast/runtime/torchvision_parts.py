"""Parts of torchvision, loaded where they are needed: the rest works without it.

Loading it takes longer than loading torch, and one that was made for another torch fails in ways of
its own.
"""

from importlib import import_module
from types import ModuleType

from nowcast.runtime.errors import MissingDependency, first_line


def torchvision_part(name: str, needed_by: str) -> ModuleType:
    """A module of torchvision, e.g. "ops".

    Args:
        name: its name behind "torchvision.".
        needed_by: what asks for it, for the message.

    Raises:
        MissingDependency: torchvision is not installed, or does not load.
    """
    try:
        return import_module(f"torchvision.{name}")
    except Exception as error:  # made for another torch it raises RuntimeError, AttributeError ...
        raise MissingDependency(
            f"{needed_by} needs torchvision, which does not load here ({first_line(error)}); "
            "install the pair that belongs together: pip install --upgrade torch torchvision."
        ) from error
