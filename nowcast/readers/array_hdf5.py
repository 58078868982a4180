"""Arrays in HDF5 files, plain or written as NetCDF-4."""

import math
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from nowcast.readers.array_axes import Order
from nowcast.readers.array_files import MAX_TIMES, ArrayFile, along, axis_name
from nowcast.readers.array_moments import moments
from nowcast.readers.content import damage_reported
from nowcast.readers.hdf5 import Hdf5File
from nowcast.readers.moments import as_text
from nowcast.runtime.errors import UserError

_MOST_AT_ONCE = 2**26  # values of an array whose first axis is not time, read as a whole
_LABELS = ("DIMENSION_LABELS", "_ARRAY_DIMENSIONS", "DimensionNames", "dimensions", "dims")


class Hdf5Arrays(ArrayFile):
    """An HDF5 file, open for reading.

    Args:
        path: the file.
        file: the same, open.
    """

    def __init__(self, path: str | Path, file: Hdf5File):
        super().__init__(path)
        self._file = file

    def shape(self, name: str | None) -> tuple[int, ...]:
        """As of `ArrayFile`."""
        if name is None:
            raise UserError(
                f"{self.path} is an HDF5 file; set reader.dataset to the path of the field in it."
            )
        return self._file.dataset(name).shape

    def names(self, name: str) -> list[str | None]:
        """As of `ArrayFile`."""
        shape, scales = self.shape(name), self._file.scales(name)
        if scales is not None and len(scales) == len(shape):
            return [
                axis_name(scale.rpartition("/")[2], self._file.described(scale)) for scale in scales
            ]
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
        """As of `ArrayFile`."""
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
        """As of `ArrayFile`."""
        places = set()
        for group in ("", name.strip("/").rpartition("/")[0]):
            places |= {f"{group}/{one}".strip("/") for one in self._file.members(group)}
        return sorted(place for place in places if _is_small(self._file.find(place)))

    def fields(self, name: str, order: Order) -> Iterator[np.ndarray]:
        """As of `ArrayFile`."""
        shape = self.shape(name)
        index = [slice(None) if axis in order[1:] else 0 for axis in range(len(shape))]
        if order.time not in (None, 0) and math.prod(shape) <= _MOST_AT_ONCE:
            index[order.time] = slice(None)  # every chunk has values of many frames
            yield from along(self._file.part(name, tuple(index), holes=False), order)
            return
        for frame in range(order.lengths(shape)[0]):
            if order.time is not None:
                index[order.time] = frame
            field = self._file.part(name, tuple(index), holes=False)
            yield field.T if order.columns < order.rows else field

    def read(self, name: str) -> np.ndarray:
        """As of `ArrayFile`."""
        return self._file.part(name, (slice(None),) * len(self.shape(name)), holes=False)

    def times(self, name: str) -> list:
        """As of `ArrayFile`."""
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
        if not is_stored or not 1 <= node.size <= MAX_TIMES:
            raise UserError(
                f"{self.path}: {name} must be 1 to {MAX_TIMES} times stored in this file, but it "
                f"is {node!r}."
            )
        with damage_reported(self.path):
            values = np.ravel(node[()])
        calendar = str(self._file.attribute(name, "calendar") or "standard")
        return moments(values, self.units(name), calendar, f"{self.path}: {name}")

    def units(self, name: str) -> str | None:
        """As of `ArrayFile`."""
        units = self._file.attribute(name, "units")
        return units if isinstance(units, str) else None


def _is_small(node) -> bool:
    is_array = isinstance(node, h5py.Dataset) and node.shape is not None
    return is_array and node.dtype.kind in "iuf" and node.size <= MAX_TIMES
