"""Careful access to HDF5 files: nothing outside the file is opened, and nothing huge is read
unasked.

HDF5 follows links into other files, external storage and virtual datasets silently, and hands out
zeros for chunks that a damaged file has lost; zero would mean "no rain". All of that is refused
here.
"""

import math
from pathlib import Path

import h5py
import numpy as np

from nowcast.readers.content import incomplete
from nowcast.readers.hdf5_chunks import corners, is_complete, keeping_decoded, require_filters
from nowcast.readers.hdf5_members import Hdf5Members
from nowcast.readers.limits import MAX_PIXELS, require_part
from nowcast.runtime.errors import UserError

_MAX_CHUNKS = 2**18  # of one map; HDF5 looks up a million or so in a minute


def ranges_of(index: tuple[int | slice, ...], shape: tuple[int, ...]) -> list[range]:
    """The places along each axis that an index, or a slice of step 1, takes."""
    places = []
    for one, side in zip(index, shape, strict=True):
        places.append(range(side)[one] if isinstance(one, slice) else range(one, one + 1))
    return places


class Hdf5File(Hdf5Members):
    """An HDF5 file open for reading: its members, their attributes, and what datasets contain.

    Args:
        path: the file; it must be a regular file.

    Raises:
        UserError: no such file, an empty one, one that is not HDF5, or a damaged one; also, in a
            ``with`` block, whatever h5py raises on damage.
    """

    def __init__(self, path: str | Path):
        super().__init__(path)
        # datasets of which parts are read, open so that their chunks stay decoded, and the corners
        # of chunks that are there
        self._open: dict[str, tuple[h5py.Dataset, set[tuple[int, ...]]]] = {}

    def axes(self, name: str) -> tuple[str, ...] | None:
        """Names of a dataset's axes as NetCDF-4 records them (the last part of their paths); None
        where it does not.
        """
        scales = self.scales(name)
        return None if scales is None else tuple(scale.rpartition("/")[2] for scale in scales)

    def scales(self, name: str) -> tuple[str, ...] | None:
        """Paths of the datasets that stand along a dataset's axes; None where the file does not say
        them.
        """
        node = self.require(name)
        if node.attrs.get("CLASS") == b"DIMENSION_SCALE" and len(node.shape) == 1:
            return (node.name,)
        if not node.shape:
            return ()
        scales = node.attrs.get("DIMENSION_LIST", ())
        if len(scales) != len(node.shape) or not all(len(one) == 1 and one[0] for one in scales):
            return None
        return tuple(str(self._file[scale[0]].name) for scale in scales)

    def dataset(self, name: str, *, axes: int | None = None) -> h5py.Dataset:
        """A dataset of numbers with that many axes (None: any number), all of it stored in this
        file; not read yet.

        Raises:
            UserError: it is missing, not of that kind, stored elsewhere, or over `MAX_PIXELS` large
                along its last two axes.
        """
        found = self.require(name)
        is_array = isinstance(found, h5py.Dataset) and found.shape is not None
        fits = is_array and axes in (None, found.ndim) and found.dtype.kind in "iuf"
        if not fits:
            raise UserError(
                f"{self.path}: {name} must be numbers with {axes or 'some'} axes, but it is "
                f"{found!r}."
            )
        if found.is_virtual or found.external:
            raise UserError(
                f"{self.path}: {name} is stored in another file, which is not followed; the data "
                "must be in the file itself."
            )
        chunk = found.chunks or ()
        for sides, counted in ((found.shape[-2:], "pixels"), (chunk, "values in a chunk")):
            if math.prod(sides) > MAX_PIXELS:
                shape = found.shape if counted == "pixels" else chunk
                raise UserError(
                    f"{self.path}: {name} claims {'x'.join(map(str, shape))} {counted}; more than "
                    f"{MAX_PIXELS} in a frame are refused."
                )
        require_filters(found, self.path)
        return found

    def part(self, name: str, index: tuple[int | slice, ...], *, holes: bool) -> np.ndarray:
        """Part of a dataset as it is stored; an index or a slice (of step 1) for every axis.

        Args:
            name: the dataset.
            index: what to read.
            holes: whether what was never written may be read as the dataset's fill value.

        Raises:
            UserError: as for `dataset`, the part is over `MAX_PIXELS` or `_MAX_CHUNKS` large, or
                (without ``holes``) not all of it is stored.
        """
        if name not in self._open:
            self._open[name] = keeping_decoded(self._file, self.dataset(name)), set()
        dataset, stored = self._open[name]
        places = ranges_of(index, dataset.shape)
        chunks = math.prod(map(len, corners(dataset, places))) if dataset.chunks else 1
        values = math.prod(map(len, places))
        require_part(f"{self.path}: {name}", dataset.shape, values, (chunks, _MAX_CHUNKS))
        if not holes and not is_complete(dataset, places, stored):
            raise incomplete(f"{self.path}: {name}", self.path)
        return dataset[index]

    def pixels(self, name: str) -> np.ndarray:
        """A two-dimensional field as it is stored, (H, W).

        Raises:
            UserError: as for `dataset`, or parts of the field were never written or are lost.
        """
        dataset = self.dataset(name, axes=2)
        places = [range(side) for side in dataset.shape]
        if not dataset.size or not is_complete(dataset, places, set()):
            raise incomplete(f"{self.path}: {name}", self.path)
        return dataset[()]
