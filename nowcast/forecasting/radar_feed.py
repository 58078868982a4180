"""A radar that is played back: each frame becomes a file when its time has come, or has a fault."""

import os
import shutil
from pathlib import Path

import h5py
import numpy as np

from nowcast.forecasting.clock import SimulatedClock
from nowcast.output.netcdf import write_forecast
from nowcast.types.frames import Forecast, Frames, Grid

LATENCY = np.timedelta64(60, "s")  # from a frame's time to its file
_SLOW_SHARES = (0.2, 0.6, 1.0)  # of a file that grows while it is looked at
_SLOW_STEP = np.timedelta64(40, "s")


class RadarFeed:
    """Writes the files of frames by a simulated clock.

    Args:
        frames: observed.
        folder: where the files arrive.
        clock: the time.
        timestep: between frames.
    """

    def __init__(
        self, frames: Frames, folder: Path, clock: SimulatedClock, timestep: np.timedelta64
    ):
        self.frames, self.folder, self.clock, self.timestep = frames, folder, clock, timestep
        self.aside = folder / ".aside"  # hidden: not part of what arrives
        self.aside.mkdir()
        self._faults = {
            None: self._good,
            "missing": lambda index, arrival: None,
            "late": self._late,
            "truncated": self._truncated,
            "slow": self._slow,
            "duplicate": self._duplicate,
            "contradicted": self._contradicted,
            "out of order": self._out_of_order,
            "other grid": self._other_grid,
            "all missing": self._all_missing,
            "all dry": self._all_dry,
            "from the future": self._from_the_future,
            "of another quantity": self._of_another_quantity,
        }

    def schedule(self, index: int, fault: str | None) -> None:
        """Let a frame's file come, with a fault or without (None)."""
        self._faults[fault](index, self.frames.times[index] + LATENCY)

    def _name(self, index: int, extra: str = "") -> Path:
        return self.folder / f"radar_{str(self.frames.times[index]).replace(':', '')}{extra}.nc"

    def _written(self, index: int, *, values=None, time=None, grid: Grid | None = None) -> Path:
        """A frame as a NetCDF file, where nobody looks."""
        frame = self.frames[index : index + 1]
        time = frame.times[0] if time is None else time
        values = frame.values if values is None else values
        path = self.aside / "frame.nc"
        forecast = Forecast(values, time - self.timestep, [self.timestep], grid or frame.grid)
        write_forecast(forecast, path, attributes={"title": "observed"})
        # Without what makes it a forecast, which a reader of observations refuses.
        with h5py.File(path, "r+") as file:
            del file["forecast_period"], file["forecast_reference_time"]
            del file["rainfall_rate"].attrs["coordinates"]
        return path

    def _comes(self, when: np.datetime64, index: int, extra: str = "", **changes) -> None:
        def arrive():
            os.replace(self._written(index, **changes), self._name(index, extra))

        self.clock.at(when, arrive)

    def _comes_in_part(self, when: np.datetime64, index: int, share: float) -> None:
        def arrive():
            content = self._written(index).read_bytes()
            self._name(index).write_bytes(content[: int(share * len(content))])

        self.clock.at(when, arrive)

    def _good(self, index, arrival):
        self._comes(arrival, index)

    def _late(self, index, arrival):
        # After the deadline, before the next frame.
        self._comes(self.frames.times[index] + self.timestep + LATENCY / 2, index)

    def _out_of_order(self, index, arrival):
        # After the next frame.
        self._comes(self.frames.times[index] + self.timestep + 2 * LATENCY, index)

    def _truncated(self, index, arrival):
        self._comes_in_part(arrival, index, 0.5)

    def _slow(self, index, arrival):
        for number, share in enumerate(_SLOW_SHARES):
            self._comes_in_part(arrival + number * _SLOW_STEP, index, share)

    def _duplicate(self, index, arrival):
        self._comes(arrival, index)
        self.clock.at(
            arrival + LATENCY / 2,
            lambda: shutil.copyfile(self._name(index), self._name(index, "_again")),
        )

    def _contradicted(self, index, arrival):
        self._comes(arrival, index)
        other = self.frames.values[index : index + 1] + np.float32(1)
        self._comes(arrival + LATENCY / 2, index, "_other", values=other)

    def _other_grid(self, index, arrival):
        grid = self.frames.grid
        sides = [side for side in grid.spacing[::-1] if side > 0]  # NaN along an axis of one cell
        shift = 3 * (sides[0] if sides else 1.0)
        self._comes(arrival, index, grid=Grid(grid.crs, grid.x + shift, grid.y))

    def _all_missing(self, index, arrival):
        values = np.full_like(self.frames.values[index : index + 1], np.nan)
        self._comes(arrival, index, values=values)

    def _all_dry(self, index, arrival):
        values = self.frames.values[index : index + 1]
        self._comes(arrival, index, values=np.where(np.isnan(values), values, 0))

    def _from_the_future(self, index, arrival):
        self._comes(arrival, index, time=self.frames.times[index] + 5 * self.timestep)

    def _of_another_quantity(self, index, arrival):
        def arrive():
            path = self._written(index)
            with h5py.File(path, "r+") as file:
                depth = {"standard_name": "thickness_of_rainfall_amount", "units": "mm"}
                file["rainfall_rate"].attrs.update(depth)
            os.replace(path, self._name(index))

        self.clock.at(arrival, arrive)
