"""A day of radar again, as fast as the machine allows, through the same watch that works in
operation, with faults on purpose.

Each frame becomes a file in a folder of its own, when a radar would have delivered it; every sixth
one has a fault. The clock is a simulated one, so the order of everything is the same in every run.
"""

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np

from nowcast.data.cadence import are_regular, on_time
from nowcast.forecasting.clock import SimulatedClock
from nowcast.forecasting.decision import frames_to_keep
from nowcast.forecasting.forecaster import Forecaster
from nowcast.forecasting.incoming import Incoming
from nowcast.forecasting.watch import Operation, Watch
from nowcast.output.netcdf import write_forecast
from nowcast.readers.cf_netcdf import CfNetcdf
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Forecast, Frames, Grid

LATENCY = np.timedelta64(60, "s")  # from a frame's time to its file
FAULTS = {
    "missing": ("fallback",),
    "late": ("fallback", "forecast"),
    "truncated": ("fallback",),
    "slow": ("forecast",),
    "duplicate": ("forecast",),
    "contradicted": ("forecast",),
    "out of order": ("fallback",),
    "other grid": ("fallback",),
    "all missing": ("fallback",),
    "all dry": ("forecast",),
    "from the future": ("fallback",),
    "of another quantity": ("fallback",),
}
"""Faults, and the outcomes that a cycle must have with each, in their order."""


@dataclass(frozen=True)
class Cycle:
    """What became of one cycle.

    Args:
        time: UTC.
        fault: of its frame; None for a good one.
        expected: outcomes it must have, in their order.
        outcomes: those it had.
        reasons: what the statuses said.
    """

    time: np.datetime64
    fault: str | None
    expected: tuple[str, ...]
    outcomes: tuple[str, ...]
    reasons: tuple[str | None, ...]

    @property
    def as_documented(self) -> bool:
        """Whether everything was as it should be."""
        return self.outcomes == self.expected


def replay(
    frames: Frames,
    forecaster: Forecaster,
    output: Path,
    *,
    every: int = 6,
    operation: Operation | None = None,
    on_record: Callable[[dict], None] = lambda record: None,
) -> list[Cycle]:
    """Let a watch live through some frames, each n-th of them with a fault, one kind after the
    other.

    Args:
        frames: without a gap, one timestep of the forecaster's task apart, or of a cadence that its
            model follows.
        forecaster: the network.
        output: folder of the watch; it must be empty or absent.
        every: how often a frame has a fault; 0 for never.
        operation: of the watch; its cadence is that of the frames.
        on_record: called with each status of a cycle, when it is written.

    Raises:
        UserError: too few frames, a gap, or a folder with something in it.
    """
    forecaster.follow(frames.times)
    task, frames = forecaster.task, forecaster.one_of_each_time(frames)
    if len(frames) <= task.context_length or not are_regular(frames.times, task.timedelta):
        raise UserError(
            f"{len(frames)} frames came; more than {task.context_length}, all {task.timestep:g} "
            "minutes apart, are needed for a replay."
        )
    frames = replace(frames, times=on_time(frames.times, task.timedelta))
    output = Path(output)
    if output.is_dir() and any(output.iterdir()):
        raise UserError(f"{output} is not empty; a replay needs a folder of its own.")
    kinds = list(FAULTS)
    first = task.context_length  # the first frame after a whole context
    unseen = np.isnan(frames.values).all(axis=(1, 2))
    planned = range(first + every - 1, len(frames), every) if every else ()
    faults = {
        index: kinds[(index - first) // every % len(kinds)]
        for index in planned
        if not unseen[index]
    }
    clock = SimulatedClock(
        frames.times[0] - task.timedelta,
        frames.times[-1] + 2 * task.timedelta - np.timedelta64(1, "s"),
    )
    with tempfile.TemporaryDirectory() as folder:
        feeder = _Feeder(frames, Path(folder), clock, task.timedelta)
        for index in range(len(frames)):
            feeder.plan(index, faults.get(index))
        reader = CfNetcdf()
        incoming = Incoming(
            folder,
            reader.read,
            keep=frames_to_keep(task),
            switch_after=task.context_length,
            timestep=task.timedelta,
        )
        records = []
        settings = operation or Operation(poll_seconds=10.0, page=False)
        Watch(
            incoming,
            forecaster,
            output,
            settings,
            clock=clock,
            run="replay",
            report=lambda record: (records.append(record), on_record(record)),
        ).run()
    return [
        _judged(time, faults.get(index), records, unseen=bool(unseen[index]))
        for index, time in enumerate(frames.times)
        if index >= first
    ]


def _judged(time: np.datetime64, fault: str | None, records: list[dict], *, unseen: bool) -> Cycle:
    own = [record for record in records if record["analysis_time"] == f"{time}Z"]
    return Cycle(
        time,
        fault,
        FAULTS["all missing"] if unseen else FAULTS.get(fault, ("forecast",)),
        tuple(record["outcome"] for record in own),
        tuple(record["reason"] for record in own),
    )


def table(cycles: list[Cycle]):
    """What became of the cycles, by fault, as a table for the terminal."""
    from rich.table import Table

    shown = Table(title="outcomes by fault of the newest frame", title_style="")
    for name in ("fault", "cycles", "documented outcome", "as documented", "next cycle a forecast"):
        shown.add_column(name)
    for fault in (None, *FAULTS):
        own = [index for index, cycle in enumerate(cycles) if cycle.fault == fault]
        if own:
            after = [cycles[index + 1] for index in own if index + 1 < len(cycles)]
            good, recovered = (
                sum(cycles[index].as_documented for index in own),
                sum("forecast" in cycle.outcomes for cycle in after),
            )
            next_one = f"{recovered} of {len(after)}" if fault else "–"
            shown.add_row(
                fault or "none",
                str(len(own)),
                ", then ".join(cycles[own[0]].expected),
                f"{good} of {len(own)}",
                next_one,
            )
    return shown


class _Feeder:
    """Writes the files of the frames when their time has come."""

    def __init__(
        self, frames: Frames, folder: Path, clock: SimulatedClock, timestep: np.timedelta64
    ):
        self.frames, self.folder, self.clock, self.timestep = frames, folder, clock, timestep
        self.aside = folder / ".aside"  # hidden: not part of what arrives
        self.aside.mkdir()

    def plan(self, index: int, fault: str | None) -> None:
        """Let the frame's file come, with a fault or without."""
        arrival = self.frames.times[index] + LATENCY
        getattr(self, f"_{(fault or 'good').replace(' ', '_')}")(index, arrival)

    def _name(self, index: int, extra: str = "") -> Path:
        return self.folder / f"radar_{str(self.frames.times[index]).replace(':', '')}{extra}.nc"

    def _written(self, index: int, *, values=None, time=None, grid: Grid | None = None) -> Path:
        """A frame as a NetCDF file, in a place where nobody looks."""
        frame = self.frames[index : index + 1]
        time = frame.times[0] if time is None else time
        path = self.aside / "frame.nc"
        fields = frame.values if values is None else values
        write_forecast(
            Forecast(fields, time - self.timestep, [self.timestep], grid or frame.grid),
            path,
            attributes={"title": "observed"},
        )
        with h5py.File(
            path, "r+"
        ) as file:  # without what makes it a forecast, which a reader of observations refuses
            del file["forecast_period"], file["forecast_reference_time"]
            del file["rainfall_rate"].attrs["coordinates"]
        return path

    def _comes(self, when: np.datetime64, index: int, extra: str = "", **changes) -> None:
        self.clock.at(
            when, lambda: os.replace(self._written(index, **changes), self._name(index, extra))
        )

    def _good(self, index, arrival):
        self._comes(arrival, index)

    def _missing(self, index, arrival):
        pass

    def _late(self, index, arrival):
        self._comes(
            self.frames.times[index] + self.timestep + LATENCY / 2, index
        )  # after the deadline, before the next frame

    def _out_of_order(self, index, arrival):
        self._comes(
            self.frames.times[index] + self.timestep + 2 * LATENCY, index
        )  # after the next frame

    def _truncated(self, index, arrival):
        def cut():
            content = self._written(index).read_bytes()
            self._name(index).write_bytes(content[: len(content) // 2])

        self.clock.at(arrival, cut)

    def _slow(self, index, arrival):
        def part(share):
            content = self._written(index).read_bytes()
            self._name(index).write_bytes(content[: int(share * len(content))])

        for number, share in enumerate((0.2, 0.6, 1.0)):
            self.clock.at(
                arrival + number * np.timedelta64(40, "s"), lambda share=share: part(share)
            )

    def _duplicate(self, index, arrival):
        self._comes(arrival, index)
        self.clock.at(
            arrival + LATENCY / 2,
            lambda: shutil.copyfile(self._name(index), self._name(index, "_again")),
        )

    def _contradicted(self, index, arrival):
        self._comes(arrival, index)
        self._comes(
            arrival + LATENCY / 2,
            index,
            "_other",
            values=self.frames.values[index : index + 1] + np.float32(1),
        )

    def _other_grid(self, index, arrival):
        grid = self.frames.grid
        pixel = next(
            (side for side in grid.spacing[::-1] if side > 0), 1.0
        )  # NaN along an axis of one cell
        self._comes(arrival, index, grid=Grid(grid.crs, grid.x + 3 * pixel, grid.y))

    def _all_missing(self, index, arrival):
        self._comes(
            arrival, index, values=np.full_like(self.frames.values[index : index + 1], np.nan)
        )

    def _all_dry(self, index, arrival):
        values = self.frames.values[index : index + 1]
        self._comes(arrival, index, values=np.where(np.isnan(values), values, 0))

    def _from_the_future(self, index, arrival):
        self._comes(arrival, index, time=self.frames.times[index] + 5 * self.timestep)

    def _of_another_quantity(self, index, arrival):
        def depth():
            path = self._written(index)
            with h5py.File(path, "r+") as file:
                file["rainfall_rate"].attrs.update(
                    {"standard_name": "thickness_of_rainfall_amount", "units": "mm"}
                )
            os.replace(path, self._name(index))

        self.clock.at(arrival, depth)
