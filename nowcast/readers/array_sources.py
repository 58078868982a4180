"""Arrays in HDF5, .npy and .npz files: what `Arrays` asks of any of them."""

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import h5py
import numpy as np

from nowcast.readers.array_axes import Order
from nowcast.readers.cf import units as cf_units
from nowcast.readers.content import beginning, damage_reported, require_file
from nowcast.readers.hdf5 import Hdf5File, is_hdf5
from nowcast.readers.moments import as_text
from nowcast.readers.npy import NpyArray, member, zip_of_arrays
from nowcast.runtime.errors import UserError
from nowcast.runtime.file_kinds import head_of, kind_of_content

_KIND = "an HDF5, .npy or .npz file"
_MAX_TIMES = 100_000
_MOST_AT_ONCE = 2**26  # values of an array whose first axis is not time, read as a whole
# units in which a number without a moment is no time
_NO_SECONDS = re.compile(r"milliseconds|ms|minutes?|min|hours?|h|days?|d")
_LABELS = ("DIMENSION_LABELS", "_ARRAY_DIMENSIONS", "DimensionNames", "dimensions", "dims")


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


class _Hdf5(ArrayFile):
    def __init__(self, path: str | Path, file: Hdf5File):
        super().__init__(path)
        self._file = file

    def shape(self, name: str | None) -> tuple[int, ...]:
        if name is None:
            raise UserError(
                f"{self.path} is an HDF5 file; set reader.dataset to the path of the field in it."
            )
        return self._file.dataset(name).shape

    def names(self, name: str) -> list[str | None]:
        shape, scales = self.shape(name), self._file.scales(name)
        if scales is not None and len(scales) == len(shape):
            return [_scale_name(scale, self._file.described(scale)) for scale in scales]
        attributes = self._file.described(name)
        for attribute in _LABELS:
            labels = attributes.get(attribute, ())
            if isinstance(labels, str):
                labels = labels.replace(",", " ").split()
            labels = [str(as_text(label)) for label in np.ravel(labels)]
            if len(labels) == len(shape) and any(labels):
                return [label or None for label in labels]
        return [None] * len(shape)

    def described(self, name: str) -> list[tuple[str, dict]]:
        parts = [part for part in name.split("/") if part]
        found = []
        for depth in range(len(parts) + 1):
            place = "/".join(parts[:depth])
            shown = f"{place}/" if place else "the attribute "
            found.append((shown, self._file.described(place or "/")))
            for group in ("how", "what") if depth < len(parts) else ():
                beside = f"{place}/{group}".strip("/")
                if isinstance(self._file.find(beside), h5py.Group):
                    found.append((f"{beside}/", self._file.described(beside)))
        return found

    def beside(self, name: str) -> list[str]:
        places = set()
        for group in ("", name.strip("/").rpartition("/")[0]):
            places |= {f"{group}/{one}".strip("/") for one in self._file.members(group)}
        return sorted(place for place in places if _is_small(self._file.find(place)))

    def fields(self, name: str, order: Order) -> Iterator[np.ndarray]:
        shape = self.shape(name)
        index = [slice(None) if axis in order[1:] else 0 for axis in range(len(shape))]
        if order.time not in (None, 0) and math.prod(shape) <= _MOST_AT_ONCE:
            index[order.time] = slice(None)  # every chunk has values of many frames
            yield from _along(self._file.part(name, tuple(index), holes=False), order)
            return
        for frame in range(order.lengths(shape)[0]):
            if order.time is not None:
                index[order.time] = frame
            field = self._file.part(name, tuple(index), holes=False)
            yield field.T if order.columns < order.rows else field

    def read(self, name: str) -> np.ndarray:
        return self._file.part(name, (slice(None),) * len(self.shape(name)), holes=False)

    def times(self, name: str) -> list:
        node = self._file.find(name)
        if node is None:
            group, _, attribute = name.rpartition("/")
            value = self._file.attribute(group or "/", attribute)
            if value is None:
                raise UserError(
                    f"{self.path} has no dataset or attribute {name}; set reader.time_in_file to "
                    "one that it has."
                )
            return [value]
        is_array = isinstance(node, h5py.Dataset) and node.size is not None
        is_stored = is_array and not (node.is_virtual or node.external)
        if not is_stored or not 1 <= node.size <= _MAX_TIMES:
            raise UserError(
                f"{self.path}: {name} must be 1 to {_MAX_TIMES} times stored in this file, but it "
                f"is {node!r}."
            )
        with damage_reported(self.path):
            values = np.ravel(node[()])
        units = self._file.attribute(name, "units")
        if values.dtype.kind in "iuf" and isinstance(units, str):
            calendar = str(self._file.attribute(name, "calendar") or "standard")
            if "since" in units.lower() or _NO_SECONDS.fullmatch(units.strip().lower()):
                values = cf_units.times(values, units, calendar, f"{self.path}: {name}")
        return list(values)


class _Npz(ArrayFile):
    """A .npz file, or (with one array and no archive) a .npy file."""

    def __init__(self, path: str | Path, archive):
        super().__init__(path)
        self._archive = archive

    @contextmanager
    def _array(self, name: str | None) -> Iterator[NpyArray]:
        if self._archive is not None:
            if name is None:
                raise UserError(
                    f"{self.path} is a .npz file; set reader.dataset to the name of the field in "
                    "it."
                )
            with member(self._archive, name) as array:
                yield array
            return
        if name is not None:
            raise UserError(
                f"{self.path} is a .npy file, which contains a single array and no {name!r}; use "
                "null, or a .npz file."
            )
        with open(self.path, "rb") as stream:
            yield NpyArray(stream, str(self.path))

    def shape(self, name: str | None) -> tuple[int, ...]:
        with self._array(name) as array:
            return array.numbers().shape

    def beside(self, name: str | None) -> list[str]:
        entries = [] if self._archive is None else self._archive.namelist()
        return [entry.removesuffix(".npy") for entry in entries]

    def fields(self, name: str | None, order: Order) -> Iterator[np.ndarray]:
        with self._array(name) as array:
            if order == Order(0, 1, 2) and len(array.shape) == 3 and not array.columns_first:
                yield from array.frames()  # one by one, so that the whole is never in memory twice
                return
            whole = array.read()
        index = [slice(None) if axis in order else 0 for axis in range(whole.ndim)]
        yield from _along(whole[tuple(index)], order)

    def read(self, name: str) -> np.ndarray:
        with self._array(name) as array:
            return array.read()

    def times(self, name: str) -> list:
        with self._array(name) as array:
            count = math.prod(array.shape)
            if count > _MAX_TIMES:
                raise UserError(
                    f"{self.path}: {name} contains {count} times; {_MAX_TIMES} at most are "
                    "accepted."
                )
            return list(np.ravel(array.read(times=True)))


def _along(values: np.ndarray, order: Order) -> Iterator[np.ndarray]:
    """The fields of an array with the axes of an order alone, in their sequence: rows x columns,
    one after the other.
    """
    kept = sorted(axis for axis in order if axis is not None)
    axes = [kept.index(axis) for axis in order if axis is not None]
    fields = values.transpose(axes)
    yield from fields[None] if order.time is None else fields


def _scale_name(path: str, attributes: dict) -> str:
    """What an axis is called by the dataset that stands along it; its attributes say more than its
    name.
    """
    units, axis = str(attributes.get("units", "")).lower(), str(attributes.get("axis", "")).upper()
    if " since " in units or axis == "T":
        return "time"
    if units.startswith("degrees_n") or axis == "Y":
        return "y"
    if units.startswith("degrees_e") or axis == "X":
        return "x"
    return path.rpartition("/")[2]


def _is_small(node) -> bool:
    is_array = isinstance(node, h5py.Dataset) and node.shape is not None
    return is_array and node.dtype.kind in "iuf" and node.size <= _MAX_TIMES


@contextmanager
def opened(path: str | Path) -> Iterator[ArrayFile]:
    """The file, whichever of the three kinds it is by its content.

    Raises:
        UserError: it is of none of these kinds, or damaged.
    """
    require_file(path, _KIND)
    if is_hdf5(path):
        with Hdf5File(path) as file:
            yield _Hdf5(path, file)
        return
    start = beginning(path, 6)
    if not start.startswith((b"PK", b"\x93NUMPY")):
        found = kind_of_content(head_of(path))
        what = f" It is {found.what}; {found.advice}." if found else ""
        raise UserError(
            f"{path} is neither HDF5 nor NumPy's .npy or .npz; {_KIND} is needed.{what}"
        )
    with zip_of_arrays(path) if start.startswith(b"PK") else nullcontext() as archive:
        yield _Npz(path, archive)
