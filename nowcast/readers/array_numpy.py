"""Arrays in NumPy's .npz and .npy files."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from nowcast.readers.array_axes import Order
from nowcast.readers.array_files import MAX_TIMES, ArrayFile, along
from nowcast.readers.content import unpacked
from nowcast.readers.npy import NpyArray, member
from nowcast.runtime.errors import UserError


class NumpyArrays(ArrayFile):
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
        with unpacked(self.path, "a .npy file") as stream:
            yield NpyArray(stream, str(self.path))

    def shape(self, name: str | None) -> tuple[int, ...]:
        """As of `ArrayFile`."""
        with self._array(name) as array:
            return array.numbers().shape

    def beside(self, name: str | None) -> list[str]:
        """As of `ArrayFile`."""
        entries = [] if self._archive is None else self._archive.namelist()
        return [entry.removesuffix(".npy") for entry in entries]

    def fields(self, name: str | None, order: Order) -> Iterator[np.ndarray]:
        """As of `ArrayFile`."""
        with self._array(name) as array:
            if order == Order(0, 1, 2) and len(array.shape) == 3 and not array.columns_first:
                yield from array.frames()  # one by one, so that the whole is never in memory twice
                return
            whole = array.read()
        index = [slice(None) if axis in order else 0 for axis in range(whole.ndim)]
        yield from along(whole[tuple(index)], order)

    def read(self, name: str) -> np.ndarray:
        """As of `ArrayFile`."""
        with self._array(name) as array:
            return array.read()

    def times(self, name: str) -> list:
        """As of `ArrayFile`."""
        with self._array(name) as array:
            count = math.prod(array.shape)
            if count > MAX_TIMES:
                raise UserError(
                    f"{self.path}: {name} contains {count} times; {MAX_TIMES} at most are accepted."
                )
            return list(np.ravel(array.read(times=True)))
