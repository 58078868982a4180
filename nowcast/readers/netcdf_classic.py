"""Classic NetCDF: the variants CDF-1 and CDF-2 (NetCDF-3) and CDF-5 (of 64 bits), whose header is a
list of dimensions, attributes and variables with the place of their values.

Nothing is read but the header, and of the values what is asked for; every count and offset is
compared with the length of the file before memory is taken.
"""

import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from nowcast.readers.cf.source import Source, Variable
from nowcast.readers.limits import require_part
from nowcast.runtime.errors import UserError
from nowcast.runtime.unreadable import mend

VARIANTS = (1, 2, 5)
_DIMENSION, _VARIABLE, _ATTRIBUTE = 10, 11, 12  # tags of lists
_CHAR = 2
_TYPES = {  # by their numbers; from 7 on only in CDF-5
    **{1: ">i1", _CHAR: "S1", 3: ">i2", 4: ">i4", 5: ">f4", 6: ">f8"},
    **{7: ">u1", 8: ">u2", 9: ">u4", 10: ">i8", 11: ">u8"},
}
_MAX_LIST = 10_000  # dimensions, attributes or variables
_MAX_NAME = 1000  # bytes
_MAX_ATTRIBUTE = 2**20  # bytes
_MAX_HEADER = 2**24  # bytes
_MAX_DIMS = 32


class _Stored(NamedTuple):
    """A variable of a file.

    Args:
        dims: numbers of its dimensions.
        attributes: by name.
        dtype: of the values in the file.
        begin: bytes before them.
    """

    dims: tuple[int, ...]
    attributes: dict
    dtype: np.dtype
    begin: int


@contextmanager
def classic_source(path: Path) -> Iterator[Source]:
    """The variables of a classic NetCDF file, open for reading.

    Raises:
        UserError: it is damaged, cut short, or claims what cannot be.
    """
    with open(path, "rb") as file:
        header = _Header(path, file)
        variables = {name: header.variable(name) for name in header.stored}
        yield Source(path, variables, attributes=header.attributes)


class _Header:
    """What a file says at its beginning."""

    def __init__(self, path: Path, file: BinaryIO):
        self.path, self._file = path, file
        self._length = file.seek(0, 2)
        file.seek(0)
        variant = self._bytes(4)[3]
        self._is_wide = variant == 5
        self._offset = ">i" if variant == 1 else ">q"
        records = self._count()
        # a writer that was still at work when the file was copied leaves all ones
        self._records = None if records in (2**32 - 1, 2**64 - 1) else records
        self.dimensions = self._list(_DIMENSION, self._dimension)
        self.attributes = dict(self._list(_ATTRIBUTE, self._attribute))
        self.stored = dict(self._list(_VARIABLE, self._variable))
        self._record_size = self._size_of_record()

    def _damaged(self, what: str) -> UserError:
        return UserError(
            f"{self.path} is damaged or cut short: its NetCDF header {what}; {mend(self.path)}."
        )

    def _bytes(self, size: int) -> bytes:
        if self._file.tell() + size > min(self._length, _MAX_HEADER):
            raise self._damaged(f"claims {size} bytes behind byte {self._file.tell()}")
        return self._file.read(size)

    def _number(self, form: str) -> int:
        return struct.unpack(form, self._bytes(struct.calcsize(form)))[0]

    def _count(self) -> int:
        """A number of elements: of 64 bits in CDF-5."""
        return self._number(">Q" if self._is_wide else ">I")

    def _padded(self, size: int) -> bytes:
        """So many bytes, which fill whole words of four."""
        return self._bytes(size + -size % 4)[:size]

    def _list(self, tag: int, element) -> list:
        found, count = self._number(">I"), self._count()
        if found == 0 and count == 0:
            return []
        if found != tag or count > _MAX_LIST:
            raise self._damaged(f"has a list of the kind {found} with {count} elements")
        return [element() for _ in range(count)]

    def _name(self) -> str:
        size = self._count()
        if size > _MAX_NAME:
            raise self._damaged(f"has a name of {size} bytes")
        name = self._padded(size).decode(errors="replace")
        if not name.isprintable():
            raise self._damaged(f"has the name {name[:80]!r}")
        return name

    def _dimension(self) -> tuple[str, int]:
        return self._name(), self._count()

    def _type(self) -> int:
        number = self._number(">I")
        if number not in _TYPES:
            raise self._damaged(f"has a type {number}")
        return number

    def _attribute(self) -> tuple[str, str | float | np.ndarray]:
        name, kind, count = self._name(), self._type(), self._count()
        dtype = np.dtype(_TYPES[kind])
        if count * dtype.itemsize > _MAX_ATTRIBUTE:
            raise self._damaged(f"has an attribute {name[:80]} of {count} values")
        stored = self._padded(count * dtype.itemsize)
        if kind == _CHAR:
            return name, stored.decode(errors="replace").rstrip("\0")
        values = np.frombuffer(stored, dtype).astype(dtype.newbyteorder("="))
        return name, values[0] if values.size == 1 else values

    def _variable(self) -> tuple[str, _Stored]:
        name, rank = self._name(), self._count()
        if rank > _MAX_DIMS:
            raise self._damaged(f"has a variable {name[:80]} of {rank} dimensions")
        dims = tuple(self._count() for _ in range(rank))
        if any(dim >= len(self.dimensions) for dim in dims):
            raise self._damaged(f"names dimensions of {name[:80]} that are not there")
        attributes = dict(self._list(_ATTRIBUTE, self._attribute))
        kind = self._type()
        self._count()  # bytes of all its values, which do not fit there where they are many
        begin = self._number(self._offset)
        return name, _Stored(dims, attributes, np.dtype(_TYPES[kind]), begin)

    def _is_record(self, stored: _Stored) -> bool:
        """Whether values lie in records, of which there is no fixed number."""
        return bool(stored.dims) and self.dimensions[stored.dims[0]][1] == 0

    def _part_size(self, stored: _Stored) -> int:
        """Bytes of a variable's values in one record, or (of a fixed one) all of them."""
        sides = [self.dimensions[dim][1] for dim in stored.dims[int(self._is_record(stored)) :]]
        return math.prod(sides) * stored.dtype.itemsize

    def _size_of_record(self) -> int:
        """Bytes from one record to the next."""
        sizes = [self._part_size(one) for one in self.stored.values() if self._is_record(one)]
        if len(sizes) == 1:  # as the format says, a single one is not filled up to whole words
            return sizes[0]
        return sum(size + -size % 4 for size in sizes)

    def variable(self, name: str) -> Variable:
        """A variable, not read yet."""
        stored = self.stored[name]
        shape = [self.dimensions[dim][1] for dim in stored.dims]
        if self._is_record(stored):
            shape[0] = self._number_of_records()
        dims = tuple(self.dimensions[dim][0] for dim in stored.dims)
        dtype = stored.dtype.newbyteorder("=")
        read = partial(self._read, name, stored, tuple(shape))
        return Variable(self.path, name, dims, tuple(shape), dtype, stored.attributes, read)

    def _number_of_records(self) -> int:
        if self._records is not None:
            return self._records
        first = min(one.begin for one in self.stored.values() if self._is_record(one))
        there = self._length - first + 3  # the last one need not be filled up to whole words
        return max(0, there // self._record_size) if self._record_size else 0

    def _read(
        self, name: str, stored: _Stored, shape: tuple[int, ...], index: tuple, holes: bool
    ) -> np.ndarray:
        """Part of a variable; an index or a slice (of step 1) for every dimension."""
        where = f"{self.path}: {name}"
        if not shape:
            return self._values(where, stored, stored.begin, ())
        if not self._is_record(stored):
            first, *others = index
            rows = range(shape[0])[first] if isinstance(first, slice) else range(first, first + 1)
            row_size = math.prod(shape[1:]) * stored.dtype.itemsize
            begin = stored.begin + rows.start * row_size
            found = self._values(where, stored, begin, (len(rows), *shape[1:]))
            return found[(slice(None) if isinstance(first, slice) else 0, *others)]
        first, *others = index
        records = range(shape[0])[first] if isinstance(first, slice) else range(first, first + 1)
        require_part(where, shape, len(records) * math.prod(shape[1:]), (1, 1))
        parts = []
        for record in records:
            begin = stored.begin + record * self._record_size
            parts.append(self._values(where, stored, begin, shape[1:])[tuple(others)])
        if not isinstance(first, slice):
            return parts[0]
        return np.stack(parts) if parts else np.empty((0, *shape[1:]))[(slice(None), *others)]

    def _values(
        self, where: str, stored: _Stored, begin: int, shape: tuple[int, ...]
    ) -> np.ndarray:
        """Values that lie together, in the byte order of this machine."""
        require_part(where, shape, math.prod(shape), (1, 1))
        size = math.prod(shape) * stored.dtype.itemsize
        if begin < 0 or begin + size > self._length:
            raise UserError(
                f"{where} is damaged or cut short: it ends at byte {begin + size} of "
                f"{self._length}; {mend(self.path)}."
            )
        self._file.seek(begin)
        found = np.frombuffer(self._file.read(size), stored.dtype).reshape(shape)
        return found.astype(stored.dtype.newbyteorder("="))
