"""The files of a zarr store, in a folder or in a zip file: which are there, how long, which groups.

Only what is in the folder itself is looked at: no remote store, and no link that leads out of it.
"""

import json
import os
import zipfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import NamedTuple

from nowcast.readers.cf.groups import refuse_many
from nowcast.readers.content import refuse_other_kind
from nowcast.runtime.errors import UserError

_GROUPS = ("zarr.json", ".zgroup", ".zmetadata")
_METADATA = (*_GROUPS, ".zarray", ".zattrs", "")
_MAX_MEMBER = 2**31  # bytes of one file in a zip file, unpacked
_BLOSC_HEADER = 16  # bytes, the last four of them the length of the whole


class StoredFile(NamedTuple):
    """A file of a store: its length [bytes], and its first bytes where they say something more."""

    size: int
    beginning: bytes


class StoreFiles(ABC):
    """The files of a store.

    Attributes:
        groups: paths of the groups, the outermost first.
    """

    groups: list[str]

    @abstractmethod
    def look(self, key: str) -> StoredFile | None:
        """The file of that name; None if it is not there."""


def files_of(path: Path) -> StoreFiles:
    """The files of a store in a folder or a zip file.

    Raises:
        UserError: it is no zarr group, a link leads out of it, or a file is absurdly large.
    """
    if path.is_dir():
        return _Folder(path)
    if path.is_file() and zipfile.is_zipfile(path):
        return _Zip(path)
    if path.exists():
        refuse_other_kind(path, "a zarr folder or zip file")
        raise UserError(f"{path} is not a zarr folder or zip file.")
    raise UserError(
        f"{path} is no local zarr folder or zip file; remote stores are not read, copy it here "
        "first."
    )


class _Folder(StoreFiles):
    """Metadata are looked for right away, so that links are refused before anything is read."""

    def __init__(self, path: Path):
        self._path, self._root = path, os.path.realpath(path)
        if not any(map(self.look, _GROUPS)):
            raise UserError(
                f"{path} is a folder, but no zarr group (there is no zarr.json or .zgroup in it); "
                "give the folder of a zarr store."
            )
        self.groups, waiting = [], [""]
        while waiting:
            group = waiting.pop(0)
            self.groups.append(group)
            refuse_many(len(self.groups), path)
            for name in os.listdir(path / group):
                member = os.path.join(group, name)
                for metadata in _METADATA:
                    self.look(os.path.join(member, metadata))
                if os.path.isdir(path / member) and self._is_group(path / member):
                    waiting.append(member)

    def look(self, key: str) -> StoredFile | None:
        place = os.path.realpath(self._path / key)
        if os.path.commonpath((self._root, place)) != self._root:
            raise UserError(
                f"{self._path}: {key} is a link that leads out of the folder, which is not "
                "followed; the data must be in the folder itself."
            )
        if not os.path.isfile(place):
            return None
        with open(place, "rb") as file:
            return StoredFile(os.path.getsize(place), file.read(_BLOSC_HEADER))

    @staticmethod
    def _is_group(folder: Path) -> bool:
        """Whether a folder in a store has other arrays in it, and is no array itself."""
        if (folder / ".zarray").exists() or (folder / ".zgroup").exists():
            return not (folder / ".zarray").exists()
        try:
            return _says_group((folder / "zarr.json").read_bytes())
        except OSError:
            return False


class _Zip(StoreFiles):
    """A zip file has checksums: the beginning of a file in it is not looked at."""

    def __init__(self, path: Path):
        with zipfile.ZipFile(path) as file:
            self._sizes = {member.filename: member.file_size for member in file.infolist()}
            if not self._sizes.keys() & set(_GROUPS):
                raise UserError(
                    f"{path} is a zip file, but no zarr group (there is no zarr.json or .zgroup at "
                    "its root); zip what is inside the zarr folder."
                )
            largest = max(self._sizes.values())
            if largest > _MAX_MEMBER:
                raise UserError(
                    f"{path} claims a file of {largest} bytes; more than {_MAX_MEMBER} in one "
                    "chunk are refused."
                )
            self.groups = [""]
            for name in sorted(self._sizes):
                group, _, last = name.rpartition("/")
                is_group = last == ".zgroup" or (
                    last == "zarr.json" and _says_group(file.read(name))
                )
                if group and is_group:
                    self.groups.append(group)
                    refuse_many(len(self.groups), path)
        self.groups.sort(key=lambda group: (group.count("/"), group))

    def look(self, key: str) -> StoredFile | None:
        return StoredFile(self._sizes[key], b"") if key in self._sizes else None


def _says_group(metadata: bytes) -> bool:
    """Whether metadata of zarr 3 are a group's."""
    try:
        return json.loads(metadata).get("node_type") == "group"
    except (ValueError, AttributeError):
        return False
