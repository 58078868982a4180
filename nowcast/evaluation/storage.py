"""evaluation.h5: plain data and arrays in one file, which is safe to open whoever wrote it, and in
which damage is noticed.
"""

import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from nowcast.runtime.errors import Unavailable, UserError, first_line
from nowcast.runtime.files import replacing
from nowcast.runtime.unreadable import unreadable

_LARGEST = 2**31  # bytes of one array in the file
_DAMAGED = (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError)
_COMPRESSED = {"compression": "gzip", "compression_opts": 1, "shuffle": True, "fletcher32": True}


def save(path: Path, about: dict, arrays: Mapping[str, np.ndarray]) -> None:
    """Write plain data and arrays by name.

    Raises:
        UserError: the disk is full, or the folder cannot be written.
    """
    content = io.BytesIO()  # on a full disk HDF5 can crash, while writing bytes raises
    with h5py.File(content, "w", libver=("v110", "v110")) as file:
        text = np.frombuffer(json.dumps(about).encode(), np.uint8)
        file.create_dataset("about", data=text, fletcher32=True)
        for name, values in arrays.items():
            chunked = _COMPRESSED if values.ndim and values.size else {}
            file.create_dataset(name, data=values, **chunked)
    with replacing(path) as temporary:
        temporary.write_bytes(content.getbuffer())


@contextmanager
def opened(path: Path) -> Iterator["StoredFile"]:
    """A file that ``save`` wrote, in a block in which whatever is wrong with it is a UserError.

    Raises:
        UserError: it cannot be opened, or something that is read of it is damaged.
    """
    try:
        with h5py.File(path, "r") as file:
            yield StoredFile(file)
    except UserError:
        raise
    except _DAMAGED as error:
        reason = unreadable(path, error)
        if isinstance(reason, Unavailable):
            raise reason from error
        raise UserError(f"{path} is damaged ({first_line(error)}); evaluate again.") from error


class StoredFile:
    """The content of a file.

    Args:
        file: opened for reading.
    """

    def __init__(self, file: h5py.File):
        self._file = file

    def about(self) -> dict:
        """The plain data."""
        return json.loads(self.array("about").tobytes())

    def array(self, name: str) -> np.ndarray:
        """An array that lies in the file itself and is no larger than its limit.

        Raises:
            ValueError: it is not.
        """
        dataset = self._inside(name)
        if not isinstance(dataset, h5py.Dataset) or dataset.external or dataset.is_virtual:
            raise ValueError(f"{name} is no array of this file")
        if dataset.size * dataset.dtype.itemsize > _LARGEST:
            raise ValueError(f"{name} claims {dataset.size} values")
        return dataset[()]

    def arrays(self, name: str) -> dict[str, np.ndarray] | None:
        """The arrays of a group by name; None where there is no such group."""
        group = self._inside(name)
        return None if group is None else {one: self.array(f"{name}/{one}") for one in group}

    def _inside(self, name: str) -> h5py.Group | h5py.Dataset | None:
        """What lies at a path in the file itself, not behind links; None where nothing does."""
        found = self._file
        for step in name.split("/"):
            link = found.get(step, getlink=True) if isinstance(found, h5py.Group) else None
            if link is None:
                return None
            if not isinstance(link, h5py.HardLink):
                raise ValueError(f"{name} is no array of this file")
            found = found[step]
        return found
