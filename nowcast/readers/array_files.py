"""What `Arrays` asks of a file with arrays, of whatever format."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nowcast.readers.array_axes import Order

MAX_TIMES = 100_000


class ArrayFile(ABC):
    """A file with arrays, open for reading: shapes, fields one by one, whole coordinates, times.

    Args:
        path: the file.
    """

    def __init__(self, path: str | Path):
        self.path = path

    @abstractmethod
    def shape(self, name: str | None) -> tuple[int, ...]:
        """Of an array of numbers; None: the only one."""

    @abstractmethod
    def fields(self, name: str | None, order: Order) -> Iterator[np.ndarray]:
        """The fields of an array one after the other, (rows, columns) each."""

    @abstractmethod
    def read(self, name: str) -> np.ndarray:
        """All values of a small array."""

    @abstractmethod
    def times(self, name: str) -> list:
        """What an array (or an attribute) says of times: texts, numbers, or NumPy's times."""

    def names(self, name: str | None) -> list[str | None]:
        """What the axes of an array are called, None for each that has no name."""
        return [None] * len(self.shape(name))

    def described(self, name: str | None) -> list[tuple[str, dict]]:
        """(what stands before their names in messages, attributes) of the file, the groups of an
        array, and itself.
        """
        return []

    def beside(self, name: str | None) -> list[str]:
        """Names of the small arrays beside one."""
        return []

    def units(self, name: str) -> str | None:
        """The unit of an array, as an attribute of it says; None: none does."""
        return None


def along(values: np.ndarray, order: Order) -> Iterator[np.ndarray]:
    """The fields of an array with the axes of an order alone, in their sequence: rows x columns,
    one after the other.
    """
    kept = sorted(axis for axis in order if axis is not None)
    axes = [kept.index(axis) for axis in order if axis is not None]
    fields = values.transpose(axes)
    yield from fields[None] if order.time is None else fields


def axis_name(name: str, attributes: dict) -> str:
    """What an axis is called by the coordinate that stands along it; its attributes say more than
    its name.
    """
    units, axis = str(attributes.get("units", "")).lower(), str(attributes.get("axis", "")).upper()
    if " since " in units or axis == "T":
        return "time"
    if units.startswith("degrees_n") or axis == "Y":
        return "y"
    if units.startswith("degrees_e") or axis == "X":
        return "x"
    return name
