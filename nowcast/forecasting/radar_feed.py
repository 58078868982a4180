"""A radar that is played back: each frame becomes a file when its time has come, or has a fault."""

from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np

from nowcast.forecasting.clock import SimulatedClock
from nowcast.output.netcdf import write_forecast
from nowcast.types.frames import Forecast, Frames

LATENCY = np.timedelta64(60, "s")  # from a frame's time to its file
_DEPTH = {"standard_name": "thickness_of_rainfall_amount", "units": "mm"}


@dataclass(frozen=True)
class _Arrival:
    """A file that comes.

    Args:
        delay: from the frame's time on.
        frame: what is in it, (1, H, W).
        attributes: changes of those that say what its numbers are.
        share: of the file's bytes that have come.
        name: added to its name.
    """

    delay: np.timedelta64
    frame: Frames
    attributes: dict[str, str] | None = None
    share: float = 1.0
    name: str = ""


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
        self.hidden = folder / ".hidden"  # not part of what arrives
        self.hidden.mkdir()

    def schedule(self, index: int, fault: str | None) -> None:
        """Let a frame's file come, with a fault or without (None)."""
        time = self.frames.times[index]
        for arrival in self._arrivals(self.frames[index : index + 1], fault):
            name = f"radar_{str(time).replace(':', '')}{arrival.name}.nc"
            self.clock.at(time + arrival.delay, lambda a=arrival, name=name: self._write(a, name))

    def _arrivals(self, frame: Frames, fault: str | None) -> list[_Arrival]:
        """What comes of a frame, and when."""
        values, step = frame.values, self.timestep
        sides = [side for side in frame.grid.spacing[::-1] if side > 0]  # NaN of a single cell
        shift = 3 * (sides[0] if sides else 1.0)
        other = np.where(values < 1, values + 1, values - 1)  # everywhere
        in_time = _Arrival(LATENCY, frame)
        later = replace(in_time, delay=LATENCY + LATENCY / 2)

        def instead(arrival=in_time, **changes) -> _Arrival:
            return replace(arrival, frame=replace(frame, **changes))

        def part(seconds: int, share: float) -> _Arrival:
            return replace(in_time, delay=LATENCY + np.timedelta64(seconds, "s"), share=share)

        return {
            None: [in_time],
            "missing": [],
            # After the deadline, before the next frame; and after the next frame.
            "late": [replace(in_time, delay=step + LATENCY / 2)],
            "out of order": [replace(in_time, delay=step + 2 * LATENCY)],
            "truncated": [part(0, 0.5)],
            "slow": [part(0, 0.2), part(40, 0.6), part(80, 1.0)],
            "duplicate": [in_time, replace(later, name="_again")],
            "contradicted": [in_time, instead(replace(later, name="_other"), values=other)],
            "other grid": [instead(grid=replace(frame.grid, x=frame.grid.x + shift))],
            "all missing": [instead(values=np.full_like(values, np.nan))],
            "all dry": [instead(values=np.where(np.isnan(values), values, 0))],
            "from the future": [instead(times=frame.times + 5 * step)],
            "of another quantity": [replace(in_time, attributes=_DEPTH)],
        }[fault]

    def _write(self, arrival: _Arrival, name: str) -> None:
        """A frame as a NetCDF file, which appears whole or in the part that has come."""
        frame, path = arrival.frame, self.hidden / name
        forecast = Forecast(
            frame.values, frame.times[0] - self.timestep, [self.timestep], frame.grid
        )
        write_forecast(forecast, path, attributes={"title": "observed"})
        # Without what makes it a forecast, which a reader of observations refuses.
        with h5py.File(path, "r+") as file:
            del file["forecast_period"], file["forecast_reference_time"]
            del file["rainfall_rate"].attrs["coordinates"]
            file["rainfall_rate"].attrs.update(arrival.attributes or {})
        content = path.read_bytes()
        path.write_bytes(content[: int(arrival.share * len(content))])
        path.replace(self.folder / name)
