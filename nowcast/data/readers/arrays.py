"""Plain HDF5 and NumPy files that say nothing of themselves: the settings say what the numbers mean, when and where they are."""

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import ClassVar

import h5py
import numpy as np

from nowcast.data.readers import cf_units
from nowcast.data.readers.axes import straight_axis
from nowcast.data.readers.content import (
    beginning,
    damage_reported,
    head_of,
    kind_of_content,
    require_file,
)
from nowcast.data.readers.decoding import Coding
from nowcast.data.readers.hdf5 import Hdf5File, is_hdf5
from nowcast.data.readers.names import name_pattern, parts_looked_at, time_in_name
from nowcast.data.readers.npy import MAX_VALUES, NpyArray, member, zip_of_arrays
from nowcast.errors import UserError
from nowcast.frames import Frames, Grid

_KIND = "an HDF5, .npy or .npz file"
_MAX_TIMES = 100_000
_NO_SECONDS = ("milliseconds", "ms", "minutes", "minute", "min", "hours", "hour", "h", "days", "day", "d")  # without a moment they tell no time
_EARLIEST, _LATEST = 0, 4_102_444_800  # 1970 to 2100; a number such as 202001010005 is no epoch


@dataclass(frozen=True)
class ArrayGrid:
    """Where the pixels of an array are.

    Args:
        crs: PROJ string, WKT or EPSG code of the projection.
        x: centre of the first column in the unit of the projection (metres; degrees for longitudes), or the path of the dataset that
            holds those of all columns.
        y: centre of the first row as it is stored, or the path of a dataset.
        dx: distance between the centres of columns, > 0; None for a dataset.
        dy: distance between the centres of rows, > 0; None for a dataset.
        rows_from: north or south: where the first row as it is stored lies.
    """

    crs: str
    x: float | str
    y: float | str
    dx: float | None = None
    dy: float | None = None
    rows_from: str = "north"

    def __post_init__(self):
        if self.rows_from not in ("north", "south"):
            raise UserError(f"reader.grid.rows_from is {self.rows_from!r}; north or south is needed, where the first row of the array lies.")
        for start, step in (("x", "dx"), ("y", "dy")):
            given = getattr(self, step)
            if isinstance(getattr(self, start), str) != (given is None) or (given is not None and not given > 0):
                raise UserError(f"reader.grid.{step} is {given}; a positive number is needed, or null if reader.grid.{start} is the path of a dataset.")

    def locate(self, shape: tuple[int, int], source: "_Source") -> Grid:
        """The grid of a field of that shape, row 0 in the north.

        Raises:
            UserError: coordinates in the file are of another number or order, or PROJ does not know the projection.
        """
        rows, columns = shape
        x = self._axis("x", columns, source, step=self.dx)
        y = self._axis("y", rows, source, step=self.dy if self.rows_from == "south" else self.dy and -self.dy)
        upwards = rows > 1 and y[1] > y[0]
        if rows > 1 and upwards != (self.rows_from == "south"):
            raise UserError(f"{source.path}: y runs from {y[0]:g} to {y[-1]:g}, but reader.grid.rows_from is {self.rows_from}; set it to {'south' if upwards else 'north'}.")
        return Grid(self.crs, x, y[::-1] if upwards else y)

    def _axis(self, name: str, count: int, source: "_Source", *, step: float | None) -> np.ndarray:
        place = getattr(self, name)
        if not isinstance(place, str):
            return place + step * np.arange(count)
        axis = straight_axis(source.read(place), place, source.path, of_columns=name == "x")
        if axis.size != count:
            raise UserError(f"{source.path}: {place} has {axis.size} coordinates, but the field has {count} {'columns' if name == 'x' else 'rows'}.")
        return axis


@dataclass(frozen=True)
class Arrays:
    """Reader for HDF5, .npy and .npz files as the settings describe them.

    Args:
        grid: where the pixels are.
        dataset: path of the field in an HDF5 file, or its name in a .npz file; (H, W), or (T, H, W). None: a .npy file.
        values: what the numbers mean.
        time_in_name: pattern of the time in the file's name, e.g. "%Y%m%d%H%M", with a folder
            "%Y%m%d/%H%M"; UTC, that of the first frame.
        time_in_file: path of a dataset or attribute with the time in UTC (of the first frame, or of each): ISO text, numbers in the ``units`` that
            the dataset has as CF says it ("hours since 2000-01-01"), else seconds since 1970, or NumPy's own times.
        timestep: minutes between frames where only the time of the first one is told.
    """

    grid: ArrayGrid
    dataset: str | None
    values: Coding = field(default_factory=Coding)
    time_in_name: str | None = None
    time_in_file: str | None = None
    timestep: float | None = None
    format: ClassVar[str] = "arrays (HDF5, .npy, .npz) as the settings say"

    def __post_init__(self):
        if (self.time_in_name is None) == (self.time_in_file is None):
            raise UserError("reader.time_in_name or reader.time_in_file must say where the time is, and only one of them.")
        if self.time_in_name is not None:
            name_pattern(self.time_in_name, "reader.time_in_name")
        if self.timestep is not None and not self.timestep > 0:
            raise UserError(f"reader.timestep is {self.timestep}; a positive number of minutes is needed.")
        self.values.measured("the configuration")

    @property
    def path_parts(self) -> int:
        """How many of the last parts of a path decide, with the content, what is read."""
        return 0 if self.time_in_name is None else parts_looked_at(self.time_in_name)

    def recognises(self, path: str | Path) -> bool:
        """Never: such a file does not say what it is, so this reader must be asked for by name."""
        return False

    def read(self, path: str | Path) -> Frames:
        """The file's frames [mm/h], NaN = missing.

        Raises:
            UserError: another format, damage, or contents that do not match the settings.
        """
        with _opened(path) as source:
            shape = source.shape(self.dataset)
            if len(shape) not in (2, 3) or math.prod(shape) > MAX_VALUES or min(shape) < 1:
                raise UserError(f"{path}: {self.dataset or 'the array'} is {'x'.join(map(str, shape))}; rows x columns, or times x rows x columns are needed, {MAX_VALUES} values at most.")
            grid = self.grid.locate(shape[-2:], source)
            times = self._times(source, shape[0] if len(shape) == 3 else 1)
            values = np.empty((len(times), *grid.shape), np.float32)
            for frame, raw in zip(values, source.fields(self.dataset), strict=True):
                rates = self.values.rain_rate(raw, path)
                frame[:] = rates if self.grid.rows_from == "north" else rates[::-1]
        return Frames(values, times, grid, str(path), self.values.measured(path))

    def _times(self, source: "_Source", count: int) -> np.ndarray:
        """Times of the frames, (T,) datetime64[s]."""
        if self.time_in_name is not None:
            times = np.atleast_1d(time_in_name(source.path, self.time_in_name, "reader.time_in_name"))
        else:
            times = np.array([_moment(value, source.path, self.time_in_file) for value in source.times(self.time_in_file)], dtype="datetime64[s]")
        if times.size == 1 < count:
            if self.timestep is None:
                raise UserError(f"{source.path} has {count} frames, but the time of one only; set reader.timestep to the minutes between them.")
            times = times + np.round(np.arange(count) * self.timestep * 60).astype("timedelta64[s]")
        if times.size != count or (np.diff(times) <= np.timedelta64(0, "s")).any():
            raise UserError(f"{source.path} has {times.size} times for {count} frames, from {times[0]} to {times[-1]}; one each in ascending order is needed.")
        return times


def _moment(value, path: str | Path, where: str | None) -> np.datetime64:
    """The UTC time that a text, a number or a time of NumPy's means."""
    try:
        if isinstance(value, np.datetime64):
            seconds = float(value.astype("datetime64[s]").astype(np.int64))
        elif isinstance(value, (str, bytes)):
            moment = datetime.fromisoformat((value.decode() if isinstance(value, bytes) else value).strip())
            seconds = (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
        else:
            seconds = float(value)
        if not _EARLIEST <= seconds <= _LATEST:
            raise ValueError
        return np.datetime64(round(seconds), "s")
    except (ValueError, TypeError, OverflowError):
        raise UserError(f"{path}: {where} is {str(value)[:40]!r}; ISO text such as 2020-01-01T00:05 or seconds since 1970 (to 2100) are needed.") from None


class _Source:
    """What all kinds of files can do for `Arrays`: shapes, fields one by one, whole coordinates, times."""

    def __init__(self, path: str | Path):
        self.path = path


class _Hdf5(_Source):
    def __init__(self, path: str | Path, file: Hdf5File):
        super().__init__(path)
        self._file = file

    def shape(self, name: str | None) -> tuple[int, ...]:
        if name is None:
            raise UserError(f"{self.path} is an HDF5 file; set reader.dataset to the path of the field in it.")
        return self._file.dataset(name).shape

    def fields(self, name: str) -> Iterator[np.ndarray]:
        shape = self.shape(name)
        for index in range(shape[0]) if len(shape) == 3 else [()]:
            place = (index,) if len(shape) == 3 else ()
            yield self._file.part(name, (*place, slice(None), slice(None)), holes=False)

    def read(self, name: str) -> np.ndarray:
        return self._file.part(name, (slice(None),) * len(self.shape(name)), holes=False)

    def times(self, name: str) -> list:
        node = self._file.find(name)
        if node is None:
            group, _, attribute = name.rpartition("/")
            value = self._file.attribute(group or "/", attribute)
            if value is None:
                raise UserError(f"{self.path} has no dataset or attribute {name}; set reader.time_in_file to one that it has.")
            return [value]
        if not isinstance(node, h5py.Dataset) or node.size is None or not 1 <= node.size <= _MAX_TIMES or node.is_virtual or node.external:
            raise UserError(f"{self.path}: {name} must be 1 to {_MAX_TIMES} times stored in this file, but it is {node!r}.")
        with damage_reported(self.path):
            values = np.ravel(node[()])
        units = self._file.attribute(name, "units")
        if values.dtype.kind in "iuf" and isinstance(units, str) and ("since" in units.lower() or units.strip().lower() in _NO_SECONDS):
            values = cf_units.times(values, units, str(self._file.attribute(name, "calendar") or "standard"), f"{self.path}: {name}")
        return list(values)


class _Npz(_Source):
    """A .npz file, or (with one array and no archive) a .npy file."""

    def __init__(self, path: str | Path, archive):
        super().__init__(path)
        self._archive = archive

    @contextmanager
    def _array(self, name: str | None) -> Iterator[NpyArray]:
        with ExitStack() as stack:
            if self._archive is None:
                if name is not None:
                    raise UserError(f"{self.path} is a .npy file, which holds a single array and no {name!r}; use null, or a .npz file.")
                yield NpyArray(stack.enter_context(open(self.path, "rb")), str(self.path))
            elif name is None:
                raise UserError(f"{self.path} is a .npz file; set reader.dataset to the name of the field in it.")
            else:
                yield stack.enter_context(member(self._archive, name))

    def shape(self, name: str | None) -> tuple[int, ...]:
        with self._array(name) as array:
            return array.numbers().shape

    def fields(self, name: str | None) -> Iterator[np.ndarray]:
        with self._array(name) as array:
            yield from array.frames() if len(array.shape) == 3 else [array.read()]

    def read(self, name: str) -> np.ndarray:
        with self._array(name) as array:
            return array.read()

    def times(self, name: str) -> list:
        with self._array(name) as array:
            if math.prod(array.shape) > _MAX_TIMES:
                raise UserError(f"{self.path}: {name} holds {math.prod(array.shape)} times; {_MAX_TIMES} at most are accepted.")
            return list(np.ravel(array.read(times=True)))


@contextmanager
def _opened(path: str | Path) -> Iterator[_Source]:
    """The file, whichever of the three kinds it is by its content.

    Raises:
        UserError: it is of none of these kinds, or damaged.
    """
    require_file(path, _KIND)
    if is_hdf5(path):
        with Hdf5File(path) as file:
            yield _Hdf5(path, file)
    elif beginning(path, 2) == b"PK":
        with zip_of_arrays(path) as archive:
            yield _Npz(path, archive)
    elif beginning(path, 6) == b"\x93NUMPY":
        yield _Npz(path, None)
    else:
        found = kind_of_content(head_of(path))
        what = f" It is {found.what}; {found.advice}." if found else ""
        raise UserError(f"{path} is neither HDF5 nor NumPy's .npy or .npz; {_KIND} is needed.{what}")
