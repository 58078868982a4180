"""Arrays in NumPy's own files, .npy and .npz, read without ever unpickling: what the header claims
is checked before memory is taken.
"""

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy

from nowcast.readers.content import damage_reported, read_exactly, require_file
from nowcast.readers.limits import MAX_PIXELS
from nowcast.runtime.errors import UserError
from nowcast.runtime.file_kinds import head_of, kind_of_content
from nowcast.runtime.unreadable import mend, unreadable

MAX_VALUES = 8 * MAX_PIXELS
_MAX_HEADER_BYTES = 10_000
_MAX_TEXT_BYTES = 256  # of a time as text, of up to 4 bytes a character


class NpyArray:
    """One array of numbers in a stream, read from front to back.

    Args:
        stream: the bytes of a .npy file, at its start.
        name: what to call it in messages.

    Attributes:
        shape, dtype: what the header says.
        columns_first: whether the values are in Fortran's order.

    Raises:
        UserError: no .npy data, values that are not plain numbers, or too many of them.
    """

    def __init__(self, stream: BinaryIO, name: str):
        self._stream, self.name = stream, name
        with damage_reported(name):
            version = npy.read_magic(stream)
            # later ones are for names of fields, which plain numbers do not have
            if version != (1, 0):
                raise UserError(
                    f"{name} is of NumPy format {version[0]}.{version[1]}; 1.0 is needed, as "
                    "plain numbers have."
                )
            self.shape, self.columns_first, self.dtype = npy.read_array_header_1_0(
                stream, max_header_size=_MAX_HEADER_BYTES
            )

    def numbers(self, *, times: bool = False) -> "NpyArray":
        """Itself, if it contains plain numbers (or ``times``, too, also as short texts), and not
        too many.

        Raises:
            UserError: it contains objects or other text, or more values than are accepted.
        """
        is_number = self.dtype.kind in "iuf" and self.dtype.itemsize <= 8
        is_time = self.dtype.kind in "MSU" and self.dtype.itemsize <= _MAX_TEXT_BYTES
        if not (is_number or (times and is_time)):
            raise UserError(
                f"{self.name} contains values of type {self.dtype}; plain "
                f"numbers{' or times' if times else ''} are needed."
            )
        too_many = math.prod(self.shape[-2:]) > MAX_PIXELS or math.prod(self.shape) > MAX_VALUES
        if too_many or min(self.shape, default=1) < 1:
            raise UserError(
                f"{self.name} claims {'x'.join(map(str, self.shape))} values; 1 to {MAX_PIXELS} "
                f"in a frame and to {MAX_VALUES} in all are accepted."
            )
        return self

    def read(self, *, times: bool = False) -> np.ndarray:
        """All values: numbers (or ``times``, too).

        Raises:
            UserError: as `numbers`; there are fewer values than the header says, or more.
        """
        return self._next(self.numbers(times=times).shape, last=True)

    def frames(self) -> Iterator[np.ndarray]:
        """The fields along the first of three axes one by one, so that the whole is never in memory
        twice.

        Raises:
            UserError: as `read`; also another number of axes.
        """
        if len(self.numbers().shape) != 3 or self.columns_first:
            order = " in Fortran order" if self.columns_first else ""
            raise UserError(
                f"{self.name} has {len(self.shape)} axes{order}; 3 (time, row, column) in C "
                "order are needed."
            )
        for index in range(self.shape[0]):
            yield self._next(self.shape[1:], last=index == self.shape[0] - 1)

    def raw(self, limit: int) -> bytes:
        """The bytes after the header as they are, at most ``limit``.

        Raises:
            UserError: there are more.
        """
        with damage_reported(self.name):
            content = self._stream.read(limit + 1)
        if len(content) > limit:
            raise UserError(
                f"{self.name} is over {limit} bytes long; it is damaged or of another format."
            )
        return content

    def _next(self, shape: tuple[int, ...], *, last: bool) -> np.ndarray:
        size, order = math.prod(shape) * self.dtype.itemsize, "F" if self.columns_first else "C"
        with damage_reported(self.name):
            content = read_exactly(self._stream, size, self.name, last=last)
        return np.frombuffer(content, self.dtype).reshape(shape, order=order)


@contextmanager
def zip_of_arrays(path: str | Path) -> Iterator[zipfile.ZipFile]:
    """A .npz file open for reading.

    Raises:
        UserError: no such file, another format, or, in the ``with`` block, whatever damage makes
            the library raise.
    """
    require_file(path, "a .npz file")
    with damage_reported(path):
        try:
            archive = zipfile.ZipFile(path)
        except zipfile.BadZipFile as error:
            found = kind_of_content(head_of(path))
            if found is not None and "zip" not in found.what:
                raise UserError(
                    f"{path} is not a .npz file, but {found.what}; {found.advice}."
                ) from error
            raise UserError(
                f"{path} is not a .npz file, or cut short ({error}); {mend(path)}."
            ) from error
        with archive:
            try:
                yield archive
            except (zipfile.BadZipFile, NotImplementedError) as error:
                raise unreadable(path, error) from error


@contextmanager
def member(archive: zipfile.ZipFile, name: str) -> Iterator[NpyArray]:
    """One array of a .npz file; nothing but its header is read yet.

    Raises:
        UserError: the file has no such array, or it is none.
    """
    if f"{name}.npy" not in archive.namelist():
        found = ", ".join(sorted(entry.removesuffix(".npy") for entry in archive.namelist())[:20])
        raise UserError(f"{archive.filename} has no array {name!r}; it contains {found or 'none'}.")
    with archive.open(f"{name}.npy") as stream:
        yield NpyArray(stream, f"{archive.filename}: {name}")


def array_names(path: str | Path) -> list[str]:
    """Names of the arrays in a file that is a .npz file by its content, in order; empty if it is
    none. Never raises.
    """
    if not head_of(path).startswith(b"PK"):
        return []
    names = sorted(member_names(path))
    try:
        with zip_of_arrays(path) as archive:
            all_arrays = all(name.endswith(".npy") for name in archive.namelist())
    except UserError:
        return []
    return names if all_arrays else []


def member_names(path: str | Path) -> set[str]:
    """Names of the arrays in a .npz file; empty if it is none. Never raises."""
    try:
        with zip_of_arrays(path) as archive:
            return {name.removesuffix(".npy") for name in archive.namelist()}
    except UserError:
        return set()
