"""The archive of one radar: a CF NetCDF-4/HDF5 file with every frame in time order, made from the
provider's files.

The file's metadata are checksummed (HDF5 1.10 layout) and all its data are compressed, so that
damage shows as an error, not as a dry frame. One chunk is a part of one frame: a crop of a few
frames is read without the rest. Tiles of 64 pixels with plain deflate were best for training's
crops (docs/benchmarks.md): of a real event they take half the space and a quarter of the time of
tiles of 256 pixels with shuffled bytes. Rates have few distinct values (radars count), which
deflate finds as they stand; shuffling tears them apart. Several frames in a chunk would slow whole
frames and the choice of rainy crops.
"""

import json
import os
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import h5netcdf
import h5py
import numpy as np

import nowcast
from nowcast.data.windows import newest_of_each_time, utc_text, without_twins
from nowcast.readers.content import damage_reported
from nowcast.readers.hdf5 import Hdf5File
from nowcast.runtime.errors import Unavailable, UserError
from nowcast.runtime.files import require_space
from nowcast.runtime.renamed import with_todays_names
from nowcast.types.cf_grid import axis_attributes, grid_mapping
from nowcast.types.frames import Frames, Grid
from nowcast.types.places import projection
from nowcast.types.tolerance import DEFAULT, Tolerance
from nowcast.types.units import RAIN_RATE

_MARK = "nowcast_archive_version"
_VERSION = 2
_READ = (
    1,
    2,
    # version 1 says neither what was measured nor how its files were read: it is read, but nothing
    # is added to it
)
_LARGEST_TILE = 64
_MOST_OPEN = 16  # files of packed frames at a time
UNREAD = (
    0  # the digest of a file that could not be read for it, which is never taken for a known one
)


def is_archive(path: str | Path) -> bool:
    """Whether the file is an archive made by `convert`.

    Raises:
        Unavailable: nobody can tell, because it is in use or out of reach.
    """
    try:
        with Hdf5File(path) as file:
            return file.attribute("/", _MARK) is not None
    except Unavailable:
        raise
    except UserError:
        return False


class Archive:
    """An archive open for reading. The file is opened on first use, anew in every process.

    Args:
        path: a file made by `convert`.

    Attributes:
        times: UTC, (T,) datetime64[s], strictly ascending; gaps are allowed.
        grid: where the pixels are.
        quantity: what the radar files held, see ``nowcast.types.frames``.
        settings: how they were read, as `convert` was told; None in an archive of version 1.
        discarded: pixels of each frame that became missing because they were negative or
            implausible, (T,).

    Raises:
        UserError: another kind of file, another version, or a damaged one.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._file = self._values = self._process = None
        self._places: np.ndarray | None = None  # of the frames in the file; None: all of them
        with Hdf5File(path) as file:
            version = file.attribute("/", _MARK)
            if version not in _READ:
                if isinstance(version, (int, np.integer)) and version > _VERSION:
                    raise UserError(
                        f"{path} is an archive of version {version}, made by a newer nowcast; "
                        f"this one reads up to version {_VERSION}: update nowcast."
                    )
                found = "no archive" if version is None else f"an archive of version {version}"
                raise UserError(
                    f"{path} is {found}, but one of version {_VERSION} is needed; make it with "
                    "`nowcast convert`."
                )
            self.quantity = file.text("/", "quantity") if version > 1 else RAIN_RATE
            self.settings = _settings(file) if version > 1 else None
            seconds, y, x = (file.dataset(name, axes=1)[()] for name in ("time", "y", "x"))
            self.times = seconds.astype("datetime64[s]")
            self.grid = Grid(file.text("/", "projection"), x, y)
            stored = file.find(_DISCARDED) is not None
            self.discarded = (
                file.dataset(_DISCARDED, axes=1)[()].astype(np.int64)
                if stored
                else np.zeros(len(seconds), np.int64)
            )
            shape = file.dataset("rainfall_rate", axes=3).shape
            ascending = (np.diff(self.times) > np.timedelta64(0, "s")).all()
        if (
            shape != self.shape
            or not ascending
            or not len(self.times)
            or len(self.discarded) != len(self.times)
        ):
            found = f"{shape} values, {len(self.times)} times, ascending: {bool(ascending)}"
            raise UserError(f"{path} is damaged: {found}; convert the radar files again.")
        self._identity = self._stamp()

    @property
    def shape(self) -> tuple[int, int, int]:
        """(T, H, W)."""
        return len(self.times), *self.grid.shape

    def __len__(self) -> int:
        return len(self.times)

    def __enter__(self) -> "Archive":
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def __getstate__(self) -> dict:
        kept = {name: value for name, value in self.__dict__.items() if name != "origins"}
        return kept | {"_file": None, "_values": None, "_process": None}

    def close(self) -> None:
        """Close the file; the next read opens it again."""
        if self._file is not None:
            self._file.close()
        self._file = self._values = self._process = None

    def _stamp(self) -> tuple:
        try:
            status = os.stat(self.path)
        except OSError as error:
            raise UserError(f"{self.path} cannot be read: {error.strerror}.") from error
        return status.st_ino, status.st_size, status.st_mtime_ns

    def require_unchanged(self) -> None:
        """Raise a UserError if the file is not the one any more that was opened."""
        if self._stamp() != self._identity:
            raise UserError(f"{self.path} was replaced while it was in use; start again.")

    def _dataset(self) -> h5py.Dataset:
        """The rain rates, through a handle of this process: one inherited by a fork is closed, not
        used.
        """
        if self._process != os.getpid():
            self.close()
            self.require_unchanged()
            self._file = Hdf5File(self.path)
            self._values = self._file.dataset("rainfall_rate", axes=3)
            self._process = os.getpid()
        return self._values

    def read(
        self, start: int, stop: int, *, rows: slice = slice(None), columns: slice = slice(None)
    ) -> np.ndarray:
        """Rain rates [mm/h] of frames start to stop - 1, (T, h, w) float32, NaN = not observed;
        only these are read.

        Raises:
            UserError: no such frames, or the file is damaged there.
        """
        if not 0 <= start < stop <= len(self):
            raise UserError(
                f"frames {start} to {stop} were asked for, but {self.path} holds frames 0 to "
                f"{len(self)}."
            )
        with damage_reported(self.path):
            dataset = self._dataset()
            if self._places is None:
                return dataset[start:stop, rows, columns]
            return dataset[self._places[start:stop], rows, columns]

    def use_one_of_each_time(self, step: np.timedelta64) -> "Archive":
        """Leave out frames that another one of the same regular time is nearer to (see
        ``nowcast.data.windows.without_twins``); this archive.

        Args:
            step: between regular times.
        """
        kept = without_twins(self.times, step, self.tolerance)
        if len(kept) < len(self.times):
            self.__dict__.pop("origins", None)
            self._places = kept if self._places is None else self._places[kept]
            self.times, self.discarded = self.times[kept], self.discarded[kept]
        return self

    def frames(self, start: int, stop: int) -> Frames:
        """The same, whole and with times and grid."""
        return Frames(
            self.read(start, stop),
            self.times[start:stop],
            self.grid,
            str(self.path),
            self.quantity,
            self.discarded[start:stop],
        )

    @property
    def tolerance(self) -> Tolerance:
        """How far frames were allowed to be off, as `convert` was told; the usual tolerance in an
        archive of an older nowcast.
        """
        kept = (self.settings or {}).get("tolerance")
        known = (
            {name: value for name, value in kept.items() if name in vars(DEFAULT)}
            if isinstance(kept, dict)
            else {}
        )
        return Tolerance(**known)

    @cached_property
    def origins(self) -> list["Origin"]:
        """Where each frame was read from; empty for an archive of version 1."""
        if self.settings is None:
            return []
        with damage_reported(self.path):
            self._dataset()
            characters = self._file.require("source")[()]
            names = [row.tobytes().rstrip(b"\0").decode(errors="replace") for row in characters]
            found = [
                Origin(name, int(digest))
                for name, digest in zip(names, self._file.dataset("source_digest", axes=1)[()])
            ]
        return found if self._places is None else [found[place] for place in self._places]


@dataclass(frozen=True)
class NewestFrames:
    """Reads the newest frames of an archive, and radar files as they are: a reader for a
    ``nowcast.data.reading.ReadingProcess``.

    Args:
        reader: of radar files.
        count: how many frames.
        until: UTC time of the last one; None: the newest.
        tolerance: how far the frame of that time may lie off it.
    """

    reader: object
    count: int
    until: np.datetime64 | None = None
    tolerance: Tolerance = DEFAULT

    def read(self, path: str | Path) -> Frames:
        """The frames.

        Raises:
            UserError: a file that cannot be read, or an archive whose frames are all later.
        """
        if not is_archive(path):
            return self.reader.read(path)
        with Archive(path) as archive:
            latest = (
                None
                if self.until is None
                else self.until + self.tolerance.off_time(np.timedelta64(1, "D"))
            )
            stop = (
                len(archive)
                if latest is None
                else int(np.searchsorted(archive.times, latest, side="right"))
            )
            if stop == 0:
                raise UserError(
                    f"{path} holds no frame at the analysis time {utc_text(self.until)}; all "
                    "frames are later."
                )
            chosen = newest_of_each_time(archive.times[:stop], self.count, self.tolerance)
            frames = archive.frames(chosen[0], chosen[-1] + 1)
            return frames if len(chosen) == len(frames) else frames[chosen - chosen[0]]


def _settings(file: Hdf5File) -> dict:
    text = file.text("/", "settings")
    try:
        settings = with_todays_names(json.loads(text))
    except ValueError:
        settings = None
    if not isinstance(settings, dict):
        raise UserError(
            f"{file.path} is damaged: its settings are {text[:80]!r}; convert the radar files "
            "again."
        )
    return settings


@dataclass(frozen=True)
class Origin:
    """The file a frame was read from: what its frames depend on.

    Two dry frames may have the same content, and not the same name.

    Args:
        name: of the file; with those of its folders that the reader takes the time from, no others.
        digest: the first eight bytes of the SHA-256 of its content, as a signed number; `UNREAD`
            where it could not be taken.
    """

    name: str
    digest: int


def layout(rows: int, columns: int) -> dict:
    """How the rain rates of a grid are stored: chunks (frames, rows, columns) and filters, as h5py
    names them.
    """
    tiles = (-(-side // -(-side // _LARGEST_TILE)) for side in (rows, columns))
    return {"chunks": (1, *tiles), "compression": "gzip", "compression_opts": 4, "shuffle": False}


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


def write_archive(
    frames: list[StoredFrame], path: Path, *, grid: Grid, quantity: str, settings: dict
) -> None:
    """Write an archive from packed frames, which are copied as they are packed.

    The same frames, grid, quantity and settings give the same bytes.

    Args:
        frames: in time order, each time once.
        path: the file to write; it is overwritten.
        grid: of all of them.
        quantity: what the radar files held.
        settings: how they were read; anything JSON can hold.
    """
    require_space(path, 1024 * len(frames))
    with h5netcdf.File(path, "w", libver=_LIBVER) as file:
        file.dimensions = {"time": None, "y": grid.shape[0], "x": grid.shape[1]}
        file.resize_dimension("time", len(frames))
        file.attrs["Conventions"] = "CF-1.11"
        file.attrs["title"] = "Rain rates observed by radar"
        file.attrs["history"] = (
            # without a time: the same frames, the same bytes
            f"converted from radar files by nowcast {nowcast.__version__}"
        )
        file.attrs[_MARK] = _VERSION
        for name, text in (
            ("projection", grid.crs),
            ("quantity", quantity),
            ("settings", json.dumps(settings, sort_keys=True)),
        ):
            file.attrs[name] = np.bytes_(
                text.encode()
            )  # fixed length at the root: covered by a checksum
        _write_grid(file, grid)
        _variable(file, "time", ("time",), np.int64, _TIME, chunks=(1024,))[:] = np.array(
            [f.time for f in frames], "datetime64[s]"
        ).astype(np.int64)
        _write_names(file, [frame.origin.name for frame in frames])
        digest = {
            "long_name": "first eight bytes of the SHA-256 of the file the frame was read from"
        }
        _variable(file, "source_digest", ("time",), np.int64, digest, chunks=(1024,))[:] = np.array(
            [f.origin.digest for f in frames], np.int64
        )
        discarded = np.array([f.discarded for f in frames], np.int64)
        if discarded.any():
            _variable(file, _DISCARDED, ("time",), np.int64, _DISCARDED_PIXELS, chunks=(1024,))[
                :
            ] = discarded
        missing = np.float32(np.nan)
        _variable(
            file,
            "rainfall_rate",
            ("time", "y", "x"),
            np.float32,
            _RAINFALL_RATE,
            fillvalue=missing,
            **layout(*grid.shape),
        )
    with h5py.File(path, "r+", libver=_LIBVER) as file:
        values = file["rainfall_rate"]
        for index, frame in enumerate(frames):
            require_space(path, 4 * grid.shape[0] * grid.shape[1])
            _copy(frame, values, index)


def _copy(frame: StoredFrame, to: h5py.Dataset, index: int) -> None:
    """One frame, chunk by chunk; packed anew where it was packed in another layout."""
    stored = frame.dataset
    packed = [
        (d.chunks, d.compression, d.compression_opts, d.shuffle, d.fletcher32, d.dtype)
        for d in (stored, to)
    ]
    if packed[0] != packed[1]:
        to[index] = stored[frame.place]
        return
    for row in range(0, to.shape[1], to.chunks[1]):
        for column in range(0, to.shape[2], to.chunks[2]):
            mask, chunk = stored.id.read_direct_chunk((frame.place, row, column))
            to.id.write_direct_chunk((index, row, column), chunk, mask)


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
        self._path, self._file = path, h5py.File(path, "w", libver=_LIBVER)
        for name, text in (("projection", grid.crs), ("quantity", quantity)):
            self._file.attrs[name] = np.bytes_(text.encode())
        self._file["x"], self._file["y"] = grid.x, grid.y
        shape = (0, *grid.shape)
        self._values = self._file.create_dataset(
            "rainfall_rate",
            shape,
            np.float32,
            maxshape=(None, *grid.shape),
            fillvalue=np.nan,
            **layout(*grid.shape),
        )
        self._times, self._origins, self._discarded = [], [], []

    def __len__(self) -> int:
        return len(self._times)

    def append(
        self, time: np.datetime64, values: np.ndarray, origin: Origin, discarded: int = 0
    ) -> StoredFrame:
        """One more frame, (H, W) [mm/h], with its bad pixels that became missing; where it lies
        now.
        """
        place = len(self)
        require_space(self._path, values.nbytes)
        self._values.resize(place + 1, axis=0)
        self._values[place] = values
        self._times.append(time.astype("datetime64[s]").astype(np.int64))
        self._origins.append(origin)
        self._discarded.append(int(discarded))
        return StoredFrame(time, origin, lambda: self._values, place, int(discarded))

    def close(self) -> None:
        """Complete the file."""
        require_space(
            self._path, sum(32 + 2 * len(os.fsencode(origin.name)) for origin in self._origins)
        )
        self._file["time"] = np.array(self._times, np.int64)
        self._file["source_digest"] = np.array(
            [origin.digest for origin in self._origins], np.int64
        )
        self._file[_DISCARDED] = np.array(self._discarded, np.int64)
        self._file["source"] = np.array(
            [os.fsencode(origin.name).hex() for origin in self._origins], dtype="S"
        )
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
                values = self._dataset(path)
                file = self._open[path]
                grid = Grid(
                    file.text("/", "projection"),
                    file.dataset("x", axes=1)[()],
                    file.dataset("y", axes=1)[()],
                )
                times, digests = (
                    file.dataset("time", axes=1)[()],
                    file.dataset("source_digest", axes=1)[()],
                )
                names = [
                    os.fsdecode(bytes.fromhex(name.decode())) for name in file.require("source")[()]
                ]
                counted = (
                    file.find(_DISCARDED) is not None
                )  # in a part of an older nowcast it is not
                discarded = (
                    file.dataset(_DISCARDED, axes=1)[()]
                    if counted
                    else np.zeros(len(times), np.int64)
                )
                frames = [
                    StoredFrame(
                        np.datetime64(int(time), "s"),
                        Origin(name, int(digest)),
                        partial(self._dataset, path),
                        place,
                        int(count),
                    )
                    for place, (time, name, digest, count) in enumerate(
                        zip(times, names, digests, discarded)
                    )
                ]
                if len(frames) != len(values):
                    raise UserError(
                        f"{path} holds {len(values)} frames but names {len(frames)}; it is damaged."
                    )
                return frames, grid, file.text("/", "quantity")
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
        return file.dataset("rainfall_rate", axes=3)


def _variable(
    file: h5netcdf.File, name: str, dimensions: tuple, kind, attributes: dict, **settings
):
    stored = {"compression": "gzip", "compression_opts": 4, "shuffle": True} | settings
    variable = file.create_variable(name, dimensions, kind, **stored)
    variable.attrs.update(attributes)
    return variable


def _write_grid(file: h5netcdf.File, grid: Grid) -> None:
    crs = projection(grid.crs)
    file.create_variable("crs", (), np.int32).attrs.update(grid_mapping(crs))
    for axis, attributes in zip("xy", axis_attributes(crs)):
        centres = getattr(grid, axis)
        _variable(file, axis, (axis,), np.float64, attributes, chunks=(centres.size,))[:] = centres


def _write_names(file: h5netcdf.File, names: list[str]) -> None:
    """Names of files as CF's characters: deflated like everything else, where variable-length text
    would lie bare.
    """
    encoded = [name.encode(errors="replace") for name in names]
    length = max(map(len, encoded))
    file.dimensions["source_length"] = length
    described = {"long_name": "name of the file the frame was read from", "_Encoding": "utf-8"}
    characters = np.frombuffer(
        b"".join(name.ljust(length, b"\0") for name in encoded), "S1"
    ).reshape(len(names), length)
    _variable(
        file,
        "source",
        ("time", "source_length"),
        "S1",
        described,
        chunks=(256, length),
        shuffle=False,
    )[:] = characters


_LIBVER = ("v110", "v110")
_DISCARDED = "discarded_pixels"
_DISCARDED_PIXELS = {
    "long_name": "pixels that became missing because the file has them negative or implausibly high",
    "units": "1",
}
_TIME = {
    "standard_name": "time",
    "long_name": "time of the frame; of an accumulation, the end of its interval",
    "units": "seconds since 1970-01-01 00:00:00",
    "calendar": "standard",
    "axis": "T",
}
_RAINFALL_RATE = {
    "standard_name": "rainfall_rate",
    "long_name": "rain rate, missing where not observed",
    "units": "mm h-1",
    "grid_mapping": "crs",
}
