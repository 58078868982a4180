"""The archive of one radar: a CF NetCDF-4/HDF5 file with every frame in time order, made from the provider's files.

The file's metadata are checksummed (HDF5 1.10 layout) and all its data are compressed, so that damage shows as an error,
not as a dry frame. One chunk is a part of one frame: a crop of a few frames is read without the rest. Tiles of 64 pixels with
plain deflate are what `nowcast benchmark what=data` found best for training's crops: of a real event they take half the space
and a quarter of the time of tiles of 256 pixels with shuffled bytes. Rates have few distinct values (radars count), which deflate
finds as they stand; shuffling tears them apart. Several frames in a chunk would slow whole frames and the choice of rainy crops.
"""

import glob
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import h5netcdf
import h5py
import numpy as np
import pyproj

from nowcast.data.readers.hdf5 import Hdf5File, damage_reported
from nowcast.errors import UserError, first_line
from nowcast.files import is_one_of, replacing
from nowcast.frames import Frames, Grid

_MARK = "nowcast_archive_version"
_VERSION = 1
_LARGEST_TILE = 64
_RAIN = 0.1
_GAPS_LISTED = 20


def is_archive(path: str | Path) -> bool:
    """Whether the file is an archive made by `convert`; never raises."""
    try:
        with Hdf5File(path) as file:
            return file.attribute("/", _MARK) is not None
    except UserError:
        return False


class Archive:
    """An archive open for reading. The file is opened on first use, anew in every process.

    Args:
        path: a file made by `convert`.

    Attributes:
        times: UTC, (T,) datetime64[s], strictly ascending; gaps are allowed.
        grid: where the pixels are.

    Raises:
        UserError: another kind of file, another version, or a damaged one.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._file = self._values = self._process = None
        with Hdf5File(path) as file:
            version = file.attribute("/", _MARK)
            if version != _VERSION:
                found = "no archive" if version is None else f"an archive of version {version}"
                raise UserError(f"{path} is {found}, but one of version {_VERSION} is needed; make it with `nowcast convert`.")
            seconds, y, x = (file.dataset(name, axes=1)[()] for name in ("time", "y", "x"))
            self.times = seconds.astype("datetime64[s]")
            self.grid = Grid(file.text("/", "projection"), x, y)
            shape = file.dataset("rainfall_rate", axes=3).shape
            ascending = (np.diff(self.times) > np.timedelta64(0, "s")).all()
        if shape != self.shape or not ascending or not len(self.times):
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
        return self.__dict__ | {"_file": None, "_values": None, "_process": None}

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

    def _dataset(self) -> h5py.Dataset:
        """The rain rates, through a handle of this process: one inherited by a fork is closed, not used."""
        if self._process != os.getpid():
            self.close()
            if self._stamp() != self._identity:
                raise UserError(f"{self.path} was replaced while it was in use; start again.")
            self._file = Hdf5File(self.path)
            self._values = self._file.dataset("rainfall_rate", axes=3)
            self._process = os.getpid()
        return self._values

    def read(self, start: int, stop: int, *, rows: slice = slice(None), columns: slice = slice(None)) -> np.ndarray:
        """Rain rates [mm/h] of frames start to stop - 1, (T, h, w) float32, NaN = not observed; only these are read.

        Raises:
            UserError: no such frames, or the file is damaged there.
        """
        if not 0 <= start < stop <= len(self):
            raise UserError(f"frames {start} to {stop} were asked for, but {self.path} holds frames 0 to {len(self)}.")
        with damage_reported(self.path):
            return self._dataset()[start:stop, rows, columns]

    def frames(self, start: int, stop: int) -> Frames:
        """The same, whole and with times and grid."""
        return Frames(self.read(start, stop), self.times[start:stop], self.grid, str(self.path))


@dataclass(frozen=True)
class ArchiveSummary:
    """What `convert` has written.

    Args:
        path: the archive.
        frames: number of frames in it.
        duplicates: frames that came again with the same values and were left out.
        start: time of the first frame, UTC.
        end: time of the last frame, UTC.
    """

    path: Path
    frames: int
    duplicates: int
    start: np.datetime64
    end: np.datetime64

    def __str__(self) -> str:
        again = f", {self.duplicates} that came twice left out" if self.duplicates else ""
        return f"{self.path}: {self.frames} frames, {self.start} to {self.end} UTC{again}"


def convert(
    paths: Iterable[str | Path], output: str | Path, *, reader, progress: Callable[[int, int], None] | None = None
) -> ArchiveSummary:
    """Write radar files into one archive, in time order whatever the order of the files.

    Args:
        paths: the radar files, all of one grid.
        output: the archive; replaced if it exists, untouched if anything fails.
        reader: has ``read(path) -> Frames``; see ``nowcast.data.readers``.
        progress: called after each file with the number of files done and of all.

    Raises:
        UserError: no files, one that cannot be read, another grid, two different frames of one time, or a full disk.
    """
    paths, output = [Path(path) for path in paths], Path(output)
    if not paths:
        raise UserError("there are no radar files to convert; give at least one.")
    if is_one_of(output, paths):
        raise UserError(f"{output} is one of the radar files; give the archive another path.")
    with replacing(output) as temporary:
        unordered = temporary.with_name(f"{temporary.name}.unordered")
        try:
            writer, duplicates = _append_all(paths, temporary, reader, progress)
            times, sources = np.array(list(writer.index), dtype="datetime64[s]"), writer.sources
            if (np.diff(times) < np.timedelta64(0, "s")).any():
                os.replace(temporary, unordered)
                _rewrite_in_order(unordered, temporary, writer.grid, times, sources)
        except (OSError, RuntimeError) as error:
            raise UserError(f"{output} could not be written: {first_line(error)}.") from error
        finally:
            unordered.unlink(missing_ok=True)
    return ArchiveSummary(output, len(times), duplicates, times.min(), times.max())


def _append_all(paths: list[Path], temporary: Path, reader, progress) -> tuple["_Writer", int]:
    """Append the files' frames as they come; (the closed writer, number of duplicates)."""
    writer, duplicates = None, 0
    try:
        for done, path in enumerate(paths, start=1):
            frames = reader.read(path)
            writer = writer or _Writer(temporary, frames.grid)
            _refuse_other_grid(writer.grid, frames, path, paths[0])
            for time, values in zip(frames.times, frames.values):
                if time in writer.index:
                    place = writer.index[time]
                    _refuse_other_values(time, writer.values[place], values, writer.sources[place], path.name)
                    duplicates += 1
                else:
                    writer.append(time, values, path.name)
            if progress is not None:
                progress(done, len(paths))
    finally:
        if writer is not None:
            writer.close()
    return writer, duplicates


def _rewrite_in_order(unordered: Path, ordered: Path, grid: Grid, times: np.ndarray, sources: list[str]) -> None:
    writer = _Writer(ordered, grid)
    try:
        with h5py.File(unordered, "r") as file:
            for place in np.argsort(times):
                writer.append(times[place], file["rainfall_rate"][place], sources[place])
    finally:
        writer.close()


def _refuse_other_grid(grid: Grid, frames: Frames, path, first) -> None:
    difference = grid.difference(frames.grid)
    if difference:
        raise UserError(f"{path} has another grid than {first}: {difference}; take the files of one grid at a time.")


def _refuse_other_values(time, values: np.ndarray, again: np.ndarray, source: str, source_again: str) -> None:
    if not np.array_equal(values, again, equal_nan=True):
        raise UserError(f"{source} and {source_again} both hold a frame of {time} UTC, with different values; leave one of them out.")


def layout(rows: int, columns: int) -> dict:
    """How the rain rates of a grid are stored: chunks (frames, rows, columns) and filters, as h5py names them."""
    tiles = (-(-side // -(-side // _LARGEST_TILE)) for side in (rows, columns))
    return {"chunks": (1, *tiles), "compression": "gzip", "compression_opts": 4, "shuffle": False}


class _Writer:
    """An archive being written; frames are appended in any order."""

    def __init__(self, path: Path, grid: Grid):
        self.grid, self.index, self.sources = grid, {}, []
        self._file = h5netcdf.File(path, "w", libver=("v110", "v110"))
        self._file.dimensions = {"time": None, "y": grid.shape[0], "x": grid.shape[1]}
        self._file.attrs["Conventions"] = "CF-1.11"
        self._file.attrs["title"] = "Rain rates observed by radar"
        self._file.attrs[_MARK] = _VERSION
        self._file.attrs["projection"] = np.bytes_(self.grid.crs.encode())  # fixed length at the root: covered by a checksum
        self._write_grid()
        self._time = self._variable("time", ("time",), np.int64, _TIME, chunks=(1024,))
        self._source = self._file.create_variable("source", ("time",), h5py.string_dtype(), chunks=(256,))
        self._source.attrs["long_name"] = "name of the file the frame was read from"
        axes, missing = ("time", "y", "x"), np.float32(np.nan)
        self.values = self._variable("rainfall_rate", axes, np.float32, _RAINFALL_RATE, fillvalue=missing, **layout(*grid.shape))

    def _variable(self, name: str, dimensions: tuple, kind, attributes: dict, **settings):
        stored = {"compression": "gzip", "compression_opts": 4, "shuffle": True} | settings
        variable = self._file.create_variable(name, dimensions, kind, **stored)
        variable.attrs.update(attributes)
        return variable

    def _write_grid(self) -> None:
        crs = pyproj.CRS.from_user_input(self.grid.crs)
        variable = self._file.create_variable("crs", (), np.int32)
        variable.attrs.update({key: value for key, value in crs.to_cf().items() if value is not None})
        for axis, name in (("x", "longitude"), ("y", "latitude")):
            centres = getattr(self.grid, axis)
            geographic = {"standard_name": name, "units": f"degrees_{'east' if axis == 'x' else 'north'}"}
            projected = {"standard_name": f"projection_{axis}_coordinate", "units": "m"}
            attributes = {"axis": axis.upper()} | (geographic if crs.is_geographic else projected)
            self._variable(axis, (axis,), np.float64, attributes, chunks=(centres.size,))[:] = centres

    def append(self, time: np.datetime64, values: np.ndarray, source: str) -> None:
        """One more frame."""
        place = len(self.sources)
        self._file.resize_dimension("time", place + 1)
        self._time[place] = time.astype("datetime64[s]").astype(np.int64)
        self._source[place] = source
        self.values[place] = values
        self.index[time] = place
        self.sources.append(source)

    def close(self) -> None:
        self._file.close()


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


def info(path: str | Path) -> str:
    """What an archive holds, in lines to read; one frame at a time is in memory.

    Raises:
        UserError: not an archive, or a damaged one.
    """
    with Archive(path) as archive:
        observed = raining = 0
        highest = np.nan
        for index in range(len(archive)):
            values = archive.read(index, index + 1)
            observed += np.count_nonzero(~np.isnan(values))
            raining += np.count_nonzero(values >= _RAIN)
            highest = np.fmax(highest, np.fmax.reduce(values, axis=None))
        pixels = float(np.prod(archive.shape, dtype=np.float64))
        share = f"{100 * raining / observed:.2f} % of the observed pixels (>= {_RAIN} mm/h)" if observed else "nothing was observed"
        lines = {
            "archive": str(path),
            "frames": str(len(archive)),
            "period": f"{archive.times[0]} to {archive.times[-1]} UTC",
            **_cadence(archive.times),
            "grid": archive.grid.describe(),
            "missing": f"{100 * (1 - observed / pixels):.2f} % of the pixels",
            "raining": share,
            "maximum": f"{highest:.2f} mm/h" if observed else "nothing was observed",
        }
    return "\n".join(f"{name:<9}{text}" for name, text in lines.items())


def _minutes(step: np.timedelta64) -> str:
    return f"{step / np.timedelta64(60, 's'):g} min"


def _cadence(times: np.ndarray) -> dict[str, str]:
    """The most common step between frames, and where it is exceeded."""
    if len(times) == 1:
        return {"cadence": "one frame only", "gaps": "0"}
    steps, counts = np.unique(np.diff(times), return_counts=True)
    step = steps[counts.argmax()]
    gaps = np.flatnonzero(np.diff(times) > step)
    indent = "\n" + " " * 9
    lines = [f"{indent}{times[gap]} to {times[gap + 1]}: {_minutes(times[gap + 1] - times[gap])}" for gap in gaps[:_GAPS_LISTED]]
    more = f"{indent}and {len(gaps) - _GAPS_LISTED} more" if len(gaps) > _GAPS_LISTED else ""
    return {"cadence": f"{_minutes(step)} ({counts.max()} of {counts.sum()} steps)", "gaps": f"{len(gaps)}{''.join(lines)}{more}"}


def expand_inputs(pattern: str | Path) -> list[Path]:
    """The files a user means by a file, a folder (the files in it) or a pattern with ``*``, ``**``, ``?`` or ``[...]``.

    The part of the path that exists as it is written is taken literally, whatever characters are in it.

    Raises:
        UserError: there is no such file.
    """
    text = os.fspath(pattern)
    if os.path.isfile(text):
        return [Path(text)]
    if os.path.isdir(text):
        found = [Path(text, name) for name in os.listdir(text) if not name.startswith(".")]
    else:
        parts = Path(text).parts
        literal = next((n for n in range(len(parts) - 1, 0, -1) if os.path.isdir(Path(*parts[:n]))), 0)
        folder = Path(*parts[:literal])
        found = [folder / name for name in glob.glob(os.path.join("", *parts[literal:]), root_dir=folder, recursive=True)]
    files = sorted(path for path in found if path.is_file())
    if not files:
        what = "is a folder without files" if os.path.isdir(text) else "matches no file"
        raise UserError(f"{text!r} {what}; give a file, a folder with files or a pattern such as 'radar/**/*.h5'.")
    return files


def read_frames(paths: Iterable[str | Path], *, reader, last: int | None = None, until: np.datetime64 | None = None) -> Frames:
    """Read radar files into Frames in time order, whatever the order of the files.

    Args:
        paths: the radar files, all of one grid.
        reader: has ``read(path) -> Frames``; see ``nowcast.data.readers``.
        last: keep only that many of the newest frames; no more than these are held in memory.
        until: leave out frames after this time, UTC.

    Raises:
        UserError: no files, one that cannot be read, another grid, two different frames of one time, or no frame up to ``until``.
    """
    if last is not None and last < 1:
        raise UserError(f"the last {last} frames were asked for; at least 1 is needed.")
    kept, grid, first, count = {}, None, None, 0
    for count, path in enumerate(map(Path, paths), start=1):
        frames = reader.read(path)
        grid, first = grid or frames.grid, first or path
        _refuse_other_grid(grid, frames, path, first)
        for time, values in zip(frames.times, frames.values):
            if time in kept:
                _refuse_other_values(time, kept[time][0], values, kept[time][1], path.name)
            elif until is None or time <= until:
                kept[time] = values, path.name
                if last is not None and len(kept) > last:
                    del kept[min(kept)]
    if not kept:
        found = f"{count} radar files hold no frame up to {until}; give files that do."
        raise UserError(found if count else "there are no radar files to read; give at least one.")
    times = sorted(kept)
    source = " to ".join(dict.fromkeys(kept[time][1] for time in (times[0], times[-1])))
    return Frames(np.stack([kept[time][0] for time in times]), np.array(times), grid, source)
