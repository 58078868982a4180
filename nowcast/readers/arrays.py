"""Plain HDF5 and NumPy files that say nothing of themselves: the settings say what the numbers
mean, when and where they are.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nowcast.readers.array_axes import Known, Order, parsed, resolve
from nowcast.readers.array_files import ArrayFile
from nowcast.readers.array_forecasts import refuse_forecast
from nowcast.readers.array_grid import ArrayGrid
from nowcast.readers.array_moments import moment, moments_of_days
from nowcast.readers.array_sources import opened
from nowcast.readers.base import Reader
from nowcast.readers.decoding import Coding
from nowcast.readers.marks import refuse_undeclared
from nowcast.readers.moments import require_ascending
from nowcast.readers.names import name_pattern, parts_looked_at, time_in_name
from nowcast.readers.npy import MAX_VALUES
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Frames, Grid


@dataclass(frozen=True)
class Arrays(Reader):
    """Reader for HDF5, NetCDF-3, .npy and .npz files as the settings describe them.

    Args:
        grid: where the pixels are.
        dataset: path of the field in an HDF5 file, or its name in a .npz file; rows x columns, or
            with times in any place. None: a .npy file.
        values: what the numbers mean.
        time_in_name: pattern of the time in the file's name, e.g. "%Y%m%d%H%M", with a folder
            "%Y%m%d/%H%M"; UTC, that of the first frame.
        time_in_file: path of a dataset or attribute with the time in UTC (of the first frame, or of
            each): ISO text, numbers in the ``units`` that the dataset has as CF says it ("hours
            since 2000-01-01"), else seconds since 1970, or NumPy's own times. Two paths are those
            of a date and of a time of day.
        timestep: minutes between frames where only the time of the first one is stated.
        axes: order of the array's axes, e.g. THW, HWT, T1HW or [y, x, time]; None: as names and
            lengths in the file say it, rows before columns. It is needed where these leave open
            which axis is time.
    """

    grid: ArrayGrid
    dataset: str | None
    values: Coding = field(default_factory=Coding)
    time_in_name: str | None = None
    time_in_file: str | tuple[str, str] | None = None
    timestep: float | None = None
    axes: str | tuple[str, ...] | None = None
    format = "arrays (HDF5, NetCDF-3, .npy, .npz) as the settings say"

    def __post_init__(self):
        if (self.time_in_name is None) == (self.time_in_file is None):
            raise UserError(
                "reader.time_in_name or reader.time_in_file must say where the time is, and only "
                "one of them."
            )
        if self.time_in_name is not None:
            name_pattern(self.time_in_name, "reader.time_in_name")
        if self.time_in_file is not None and not isinstance(self.time_in_file, str):
            object.__setattr__(self, "time_in_file", tuple(self.time_in_file))
            if len(self.time_in_file) != 2:
                raise UserError(
                    f"reader.time_in_file is {self.time_in_file!r}; one path, or two of a date and "
                    "a time of day, are needed."
                )
        if self.timestep is not None and not self.timestep > 0:
            raise UserError(
                f"reader.timestep is {self.timestep}; a positive number of minutes is needed."
            )
        parsed(self.axes)
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
        with opened(path) as file:
            shape, what = file.shape(self.dataset), f"{path}: {self.dataset or 'the array'}"
            if math.prod(shape) > MAX_VALUES or min(shape, default=0) < 1:
                raise UserError(
                    f"{what} is {'x'.join(map(str, shape))}; rows x columns, or times x rows x "
                    f"columns are needed, {MAX_VALUES} values at most."
                )
            # a forecast is refused before anything else is amiss: that is what helps most
            names, times = file.names(self.dataset), self._stated_times(file)
            refuse_forecast(file, self.dataset, names, times)
            rows, columns, columns_first = self.grid.known(file)
            known_times = times.size if times.size > 1 else None
            places = (self.time_in_file, self.grid.y, self.grid.x)
            known = Known(known_times, rows, columns, columns_first, places)
            order = resolve(shape, setting=parsed(self.axes), names=names, known=known, what=what)
            count, *field_shape = order.lengths(shape)
            located = self.grid.locate(tuple(field_shape), file, columns_first=bool(columns_first))
            return self._frames(file, order, self._times(path, times, count), *located)

    def _frames(
        self,
        file: ArrayFile,
        order: Order,
        times: np.ndarray,
        grid: Grid,
        columns: np.ndarray | None,
    ) -> Frames:
        """The frames, once it is known what lies along the axes."""
        values = np.empty((len(times), *grid.shape), np.float32)
        hidden = self.grid.beyond_reach(grid)
        for frame, raw in zip(values, file.fields(self.dataset, order), strict=True):
            raw = raw if columns is None else raw[:, columns]
            if self.values.missing is None and raw.dtype.kind == "f":
                refuse_undeclared(self.values, raw, file.path, "set reader.values.missing")
            rates = self.values.rain_rate(raw, file.path)
            frame[:] = rates if self.grid.rows_from == "north" else rates[::-1]
            if hidden is not None:
                frame[hidden] = np.nan
        return Frames(values, times, grid, str(file.path), self.values.measured(file.path))

    def _stated_times(self, file: ArrayFile) -> np.ndarray:
        """Times of the frames as name or file state them, (T,) datetime64[s]; of the first frame
        alone (1,).
        """
        if self.time_in_name is not None:
            time = time_in_name(file.path, self.time_in_name, "reader.time_in_name")
            return np.atleast_1d(time)
        if not isinstance(self.time_in_file, str):
            dates, clocks = map(file.times, self.time_in_file)
            return moments_of_days(dates, clocks, file.path, self.time_in_file)
        values = file.times(self.time_in_file)
        stated = [moment(value, file.path, self.time_in_file) for value in values]
        return np.array(stated, dtype="datetime64[s]")

    def _times(self, path: str | Path, times: np.ndarray, count: int) -> np.ndarray:
        """Times of all frames, (T,) datetime64[s]."""
        if times.size == 1 < count:
            if self.timestep is None:
                raise UserError(
                    f"{path} has {count} frames, but the time of one only; set reader.timestep to "
                    "the minutes between them."
                )
            times = times + np.round(np.arange(count) * self.timestep * 60).astype("timedelta64[s]")
        if times.size != count:
            raise UserError(
                f"{path} has {times.size} times for {count} frames; expected one for each."
            )
        require_ascending(times, path)
        return times
