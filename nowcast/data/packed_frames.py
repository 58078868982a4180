"""Frames that lie packed in HDF5 files with the archive's layout, until `write_archive` puts them
into one, as they are packed.

One chunk is a part of one frame: a crop of a few frames is read without the rest. Tiles of 64
pixels with plain deflate are what `nowcast benchmark what=data` found best for training's crops: of
a real event they take half the space and a quarter of the time of tiles of 256 pixels with shuffled
bytes. Rates have few distinct values (radars count), which deflate finds as they stand; shuffling
tears them apart. Several frames in a chunk would slow whole frames and the choice of rainy crops.
"""

import os
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import h5py
import numpy as np

from nowcast.data.origin import Origin
from nowcast.readers.content import damage_reported
from nowcast.readers.hdf5 import Hdf5File
from nowcast.runtime.errors import UserError
from nowcast.runtime.files import require_space
from nowcast.types.frames import Grid

LIBVER = ("v110", "v110")  # its metadata are checksummed, so that damage shows
RATES, DISCARDED = "rainfall_rate", "discarded_pixels"
_LARGEST_TILE = 64
_MOST_OPEN = 16  # files of packed frames at a time


def layout(rows: int, columns: int) -> dict:
    """How the rain rates of a grid are stored: chunks (frames, rows, columns) and filters, as h5py
    names them.
    """
    tiles = (-(-side // -(-side // _LARGEST_TILE)) for side in (rows, columns))
    return {"chunks": (1, *tiles), "compression": "gzip", "compression_opts": 4, "shuffle": False}


def discarded_pixels(file: Hdf5File, frames: int) -> np.ndarray:
    """How many pixels of each frame became missing, (T,) int64; none where a file of an older
    nowcast does not say.
    """
    if file.find(DISCARDED) is None:
        return np.zeros(frames, np.int64)
    return file.dataset(DISCARDED, axes=1)[()].astype(np.int64)


def read_grid(file: Hdf5File) -> Grid:
    """The grid of an archive or of packed frames."""
    y, x = (file.dataset(name, axes=1)[()] for name in "yx")
    return Grid(file.text("/", "projection"), x, y)


@dataclass(frozen=True)
class StoredFrame:
    """A frame that lies packed in an HDF5 file with the archive's layout.

    Args:
        time: UTC, datetime64[s].
        origin: the file it was read from.
        stored: gives the rain rates (T, H, W) it is one of, see `PackedFiles`.
        place: its index there.
        discarded: pixels of it that became missing because they were negative or implausible.
    """

    time: np.datetime64
    origin: Origin
    stored: Callable[[], h5py.Dataset]
    place: int
    discarded: int = 0

    @property
    def dataset(self) -> h5py.Dataset:
        """The rain rates (T, H, W) it is one of, open."""
        return self.stored()

    def copy_to(self, rates: h5py.Dataset, index: int) -> None:
        """Copy the frame chunk by chunk to rain rates (T, H, W) of another file; it is packed anew
        where it was packed in another layout.
        """
        stored = self.dataset
        packed = [
            (d.chunks, d.compression, d.compression_opts, d.shuffle, d.fletcher32, d.dtype)
            for d in (stored, rates)
        ]
        if packed[0] != packed[1]:  # of an older nowcast, with other chunks
            rates[index] = stored[self.place]
            return
        for row in range(0, rates.shape[1], rates.chunks[1]):
            for column in range(0, rates.shape[2], rates.chunks[2]):
                mask, chunk = stored.id.read_direct_chunk((self.place, row, column))
                rates.id.write_direct_chunk((index, row, column), chunk, mask)


class PackedFrames:
    """An HDF5 file that frames are packed into one after the other, for `write_archive` to put in
    order.

    Args:
        path: the file to write.
        grid: of all frames.
        quantity: what was measured.
    """

    def __init__(self, path: Path, grid: Grid, quantity: str):
        require_space(path, 8 * (grid.x.size + grid.y.size))
        self._path, self._file = path, h5py.File(path, "w", libver=LIBVER)
        for name, text in (("projection", grid.crs), ("quantity", quantity)):
            self._file.attrs[name] = np.bytes_(text.encode())
        self._file["x"], self._file["y"] = grid.x, grid.y
        self._values = self._file.create_dataset(
            RATES,
            (0, *grid.shape),
            np.float32,
            maxshape=(None, *grid.shape),
            fillvalue=np.nan,
            **layout(*grid.shape),
        )
        self._frames: list[StoredFrame] = []

    def __len__(self) -> int:
        return len(self._frames)

    def append(
        self, time: np.datetime64, values: np.ndarray, origin: Origin, discarded: int = 0
    ) -> StoredFrame:
        """One more frame, (H, W) [mm/h], with its bad pixels that became missing; where it lies
        now.
        """
        place = len(self)
        # HDF5 itself can crash on a full disk
        require_space(self._path, values.nbytes)
        self._values.resize(place + 1, axis=0)
        self._values[place] = values
        self._frames.append(StoredFrame(time, origin, lambda: self._values, place, int(discarded)))
        return self._frames[-1]

    def close(self) -> None:
        """Complete the file."""
        names = [os.fsencode(frame.origin.name) for frame in self._frames]
        require_space(self._path, sum(32 + 2 * len(name) for name in names))
        times = np.array([frame.time for frame in self._frames], "datetime64[s]")
        self._file["time"] = times.astype(np.int64)
        self._file["source_digest"] = np.array(
            [frame.origin.digest for frame in self._frames], np.int64
        )
        self._file[DISCARDED] = np.array([frame.discarded for frame in self._frames], np.int64)
        # in hexadecimal: names may be any bytes, and fixed-length text must not end in zeros
        self._file["source"] = np.array([name.hex() for name in names], dtype="S")
        self._file.close()

    def abandon(self) -> None:
        """Close the file as it is; it cannot be read."""
        self._file.close()


class PackedFiles:
    """Files of `PackedFrames`, open while the block runs, but never more than some at a time: a
    long conversion makes thousands of them.
    """

    def __init__(self):
        self._open: OrderedDict[Path, Hdf5File] = OrderedDict()  # the one used last comes last

    def __enter__(self) -> "PackedFiles":
        return self

    def __exit__(self, *error) -> None:
        while self._open:
            self._open.popitem()[1].close()

    def frames(self, path: Path) -> tuple[list[StoredFrame], Grid, str]:
        """(frames, their grid, what was measured) of a file.

        Raises:
            UserError: a damaged file.
        """
        try:
            with damage_reported(path):
                values, file = self._dataset(path), self._open[path]
                times = file.dataset("time", axes=1)[()].astype("datetime64[s]")
                digests = file.dataset("source_digest", axes=1)[()]
                names = file.require("source")[()]
                discarded = discarded_pixels(file, len(times))
                frames = []
                for place, (time, digest, name, count) in enumerate(
                    zip(times, digests, names, discarded)
                ):
                    origin = Origin(os.fsdecode(bytes.fromhex(name.decode())), int(digest))
                    stored = partial(self._dataset, path)
                    frames.append(StoredFrame(time, origin, stored, place, int(count)))
                if len(frames) != len(values):
                    raise UserError(
                        f"{path} has {len(values)} frames but names {len(frames)}; it is damaged."
                    )
                return frames, read_grid(file), file.text("/", "quantity")
        except UserError:
            if path in self._open:
                self._open.pop(path).close()
            raise

    def _dataset(self, path: Path) -> h5py.Dataset:
        """The rain rates of a file, which is opened anew where it had to make room for others."""
        file = self._open.pop(path, None) or Hdf5File(path)
        self._open[path] = file
        while len(self._open) > _MOST_OPEN:
            self._open.popitem(last=False)[1].close()
        return file.dataset(RATES, axes=3)
