"""Members of an HDF5 file and their attributes, without leaving the file.

HDF5 follows links into other files silently; that is refused here.
"""

import math
from pathlib import Path
from typing import Self

import h5py
import numpy as np

from nowcast.readers.content import (
    TAR_BLOCK,
    archive_kind,
    damage_reported,
    refuse_other_kind,
    require_file,
    stored_beginning,
)
from nowcast.runtime.errors import UserError
from nowcast.runtime.unreadable import os_error

_MAX_ATTRIBUTE_BYTES = 2**20
_MAX_LINK_HOPS = 10
_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def is_hdf5(path: str | Path) -> bool:
    """Whether a file has HDF5's signature, at its beginning or after a block of the user's.

    An archive of files, in which an HDF5 file lies where such a block would end, is none.

    Raises:
        Unavailable: it cannot be looked into.
    """
    try:
        with open(path, "rb") as file:
            size, place = file.seek(0, 2), 0
            while place + len(_SIGNATURE) <= size:
                file.seek(place)
                if file.read(len(_SIGNATURE)) == _SIGNATURE:
                    return archive_kind(stored_beginning(path, TAR_BLOCK)) is None
                place = max(512, 2 * place)
    except OSError as error:
        raise os_error(path, error) from error
    return False


class Hdf5Members:
    """An HDF5 file open for reading, whose members are named by paths such as ``dataset1/what``.

    Args:
        path: the file; it must be a regular file.

    Raises:
        UserError: no such file, an empty one, one that is not HDF5, or a damaged one; also, in a
            ``with`` block, whatever h5py raises on damage.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        require_file(path, "an HDF5 file")
        if not is_hdf5(path):
            refuse_other_kind(path, "an HDF5 file")
            raise UserError(f"{path} is not an HDF5 file; give a radar file in HDF5.")
        with damage_reported(self.path):
            self._file = h5py.File(path, "r")
        self._described: dict[str, dict] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind, error, traceback) -> None:
        with damage_reported(self.path):
            try:
                if error is not None:
                    raise error
            finally:
                self.close()

    def close(self) -> None:
        """Close the file; the second time does nothing."""
        self._file.close()

    def find(self, name: str, *, hops: int = 0):
        """The group or dataset of that path, None if there is none.

        Raises:
            UserError: the way leads out of the file, or in a circle.
        """
        if hops > _MAX_LINK_HOPS:
            raise UserError(
                f"{self.path}: the links at {name} lead in a circle; the file cannot be read."
            )
        # step by step, as h5py itself would follow a link into another file
        node, parts = self._file, [part for part in name.split("/") if part not in ("", ".")]
        for depth, part in enumerate(parts):
            key = part.encode()
            if not isinstance(node, h5py.Group) or not node.id.links.exists(key):
                return None
            kind = node.id.links.get_info(key).type
            if kind == h5py.h5l.TYPE_SOFT:
                target = node.id.links.get_val(key).decode()
                base = [] if target.startswith("/") else parts[:depth]
                return self.find("/".join([*base, target, *parts[depth + 1 :]]), hops=hops + 1)
            if kind != h5py.h5l.TYPE_HARD:
                raise UserError(
                    f"{self.path}: {name} is a link into another file, which is not followed; the "
                    "data must be in the file itself."
                )
            node = node[part]
        return node

    def require(self, name: str):
        """As `find`, but a missing member is a UserError that names it."""
        node = self.find(name)
        if node is None:
            raise self._without(name)
        return node

    def members(self, name: str) -> list[str]:
        """Names of what is in a group; empty if there is no such group."""
        node = self.find(name)
        return list(node.keys()) if isinstance(node, h5py.Group) else []

    def _values(self, name: str, attribute: str, node=None) -> np.ndarray | None:
        """All values of an attribute in one row; None if it, or its member, is missing.

        ``node``: the member, where it is known.
        """
        node = self.find(name) if node is None else node
        if node is None or attribute not in node.attrs:
            return None
        identity = node.attrs.get_id(attribute)
        if identity.shape is None:  # NetCDF's C library stores an empty text so
            return None
        claimed = math.prod(identity.shape) * identity.dtype.itemsize
        size = max(identity.get_storage_size(), claimed)
        if size > _MAX_ATTRIBUTE_BYTES:
            raise UserError(
                f"{self.path}: {name}/{attribute} is {size} bytes long, over "
                f"{_MAX_ATTRIBUTE_BYTES}; a single value is expected."
            )
        return np.ravel(node.attrs[attribute])

    def attribute(self, name: str, attribute: str):
        """An attribute of a single value as str or number; None if it or its member is missing."""
        values = self._values(name, attribute)
        if values is None:
            return None
        if values.size != 1:
            raise UserError(
                f"{self.path}: {name}/{attribute} contains {values.size} values; a single one is "
                "expected."
            )
        return _plain(values[0])

    def numbers(self, name: str, attribute: str) -> np.ndarray | None:
        """An attribute with several numbers, (N,) float64; None if it or its member is missing."""
        values = self._values(name, attribute)
        return None if values is None else values.astype(np.float64)

    def text(self, name: str, attribute: str) -> str:
        """A required attribute, as str."""
        value = self.attribute(name, attribute)
        if not isinstance(value, str):
            raise self._without(f"text {name}/{attribute} ({value!r})")
        return value

    def number(self, name: str, attribute: str) -> float:
        """A required attribute, as a finite float; digits in a text will do."""
        value = self.attribute(name, attribute)
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise self._without(f"number {name}/{attribute} ({value!r})")
        return number

    def _without(self, name: str) -> UserError:
        return UserError(f"{self.path} has no {name}; it is cut short or of another format.")

    def described(self, name: str) -> dict[str, str | float | np.ndarray]:
        """All attributes of a member that are text or numbers: one value as str or number, several
        numbers in one row.
        """
        if name in self._described:  # looked at more than once: before and after times are known
            return self._described[name]
        node = self.require(name)
        found = {}
        for attribute in node.attrs:
            kind = node.attrs.get_id(attribute).dtype
            if kind.kind in "biufSU" or h5py.check_string_dtype(kind) is not None:
                values = self._values(name, attribute, node)
                if values is not None and values.size:
                    found[attribute] = _plain(values[0]) if values.size == 1 else values
        self._described[name] = found
        return found


def _plain(value):
    """A value of an attribute as str or number."""
    value = value.decode(errors="replace") if isinstance(value, bytes) else value
    return value.strip() if isinstance(value, str) else value
