"""A day of radar again, as fast as the machine allows, through the same watch that works in
operation, with faults on purpose.

Each frame becomes a file in a folder of its own, when a radar would have delivered it; every sixth
one has a fault. The clock is a simulated one, so the order of everything is the same in every run.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from nowcast.data.cadence import are_regular, on_time
from nowcast.forecasting.calibration import OnlineCalibration
from nowcast.forecasting.calibration_fit import brier_skill_of, mean_probability_of
from nowcast.forecasting.clock import SimulatedClock
from nowcast.forecasting.decision import frames_to_keep
from nowcast.forecasting.forecaster import Forecaster
from nowcast.forecasting.incoming import Incoming
from nowcast.forecasting.radar_feed import RadarFeed
from nowcast.forecasting.recalibration import RATES
from nowcast.forecasting.watch import Operation, Watch
from nowcast.readers.cf_netcdf import CfNetcdf
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Frames

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


OPERATION = Operation(poll_seconds=10.0, page=False)
"""How the watch of a replay works."""


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
    on_end: Callable[[Watch], None] = lambda watch: None,
) -> list[Cycle]:
    """Let a watch live through some frames, each n-th of them with a fault, one kind after the
    other.

    Args:
        frames: without a gap, one timestep of the forecaster's task apart, or of a cadence that its
            model follows.
        forecaster: the network.
        output: folder of the watch; it must be empty or absent.
        every: how often a frame has a fault; 0 for never.
        operation: of the watch; its cadence is that of the frames. None: ``OPERATION``.
        on_record: called with each status of a cycle, when it is written.
        on_end: called with the watch after the last one.

    Raises:
        UserError: too few frames, a gap, or a folder with something in it.
    """
    forecaster.follow(frames.times)
    task, frames = forecaster.task, forecaster.one_of_each_time(frames)
    if len(frames) <= task.context_length or not are_regular(frames.times, task.timedelta):
        raise UserError(
            f"expected more than {task.context_length} frames, all {task.timestep:g} minutes "
            f"apart, got {len(frames)}."
        )
    frames = replace(frames, times=on_time(frames.times, task.timedelta))
    output = Path(output)
    if output.is_dir() and any(output.iterdir()):
        raise UserError(f"{output} is not empty; a replay needs a folder of its own.")
    first = task.context_length  # the first frame after a whole context
    unseen = np.isnan(frames.values).all(axis=(1, 2))
    faults = _planned_faults(first, every, unseen)
    end = frames.times[-1] + 2 * task.timedelta - np.timedelta64(1, "s")
    clock = SimulatedClock(frames.times[0] - task.timedelta, end)
    records = []

    def record(status: dict) -> None:
        records.append(status)
        on_record(status)

    with tempfile.TemporaryDirectory() as folder:
        feed = RadarFeed(frames, Path(folder), clock, task.timedelta)
        for index in range(len(frames)):
            feed.schedule(index, faults.get(index))
        incoming = Incoming(
            folder,
            CfNetcdf().read,
            keep=frames_to_keep(task),
            switch_after=task.context_length,
            timestep=task.timedelta,
        )
        watch = Watch(
            incoming,
            forecaster,
            output,
            operation or OPERATION,
            clock=clock,
            run="replay",
            report=record,
        )
        watch.run()
        on_end(watch)
    expected = {index: FAULTS[fault] for index, fault in faults.items()}
    expected |= dict.fromkeys(np.flatnonzero(unseen), FAULTS["all missing"])
    return [
        _cycle(time, faults.get(index), expected.get(index, ("forecast",)), records)
        for index, time in enumerate(frames.times)
        if index >= first
    ]


def _planned_faults(first: int, every: int, unseen: np.ndarray) -> dict[int, str]:
    """Every n-th frame from the first has a fault, one kind after the other; frames without an
    observation have none beside.
    """
    if not every:
        return {}
    kinds, planned = list(FAULTS), range(first + every - 1, len(unseen), every)
    numbers = {index: (index - first) // every for index in planned if not unseen[index]}
    return {index: kinds[number % len(kinds)] for index, number in numbers.items()}


def _cycle(
    time: np.datetime64, fault: str | None, expected: tuple[str, ...], records: list[dict]
) -> Cycle:
    """What the records say of one cycle."""
    of_time = [record for record in records if record["analysis_time"] == f"{time}Z"]
    outcomes = tuple(record["outcome"] for record in of_time)
    return Cycle(time, fault, expected, outcomes, tuple(record["reason"] for record in of_time))


def table(cycles: list[Cycle]):
    """What became of the cycles, by fault, as a table for the terminal."""
    from rich.table import Table

    shown = Table(title="outcomes by fault of the newest frame", title_style="")
    for name in ("fault", "cycles", "documented outcome", "as documented", "next cycle a forecast"):
        shown.add_column(name)
    for fault in (None, *FAULTS):
        alike = [pair for pair in pairwise([*cycles, None]) if pair[0].fault == fault]
        if not alike:
            continue
        after = [following for _, following in alike if following is not None]
        recovered = sum("forecast" in cycle.outcomes for cycle in after)
        good = sum(cycle.as_documented for cycle, _ in alike)
        shown.add_row(
            fault or "none",
            str(len(alike)),
            ", then ".join(alike[0][0].expected),
            f"{good} of {len(alike)}",
            f"{recovered} of {len(after)}" if fault else "–",
        )
    return shown


def calibration_table(calibration: OnlineCalibration):
    """What online calibration brought in all cycles, by rain rate, as a table for the terminal."""
    from rich.table import Table

    shown = Table(
        title="probabilities as predicted, and as issued with calibration", title_style=""
    )
    columns = ("rate", "pairs", "observed", "mean predicted", "mean issued")
    for name in (*columns, "Brier skill predicted", "Brier skill issued"):
        shown.add_column(name)
    counts = calibration.ever
    skills, means = brier_skill_of(counts), mean_probability_of(counts)
    for k, rate in enumerate(RATES):
        pairs, events = counts[0, k].sum(axis=-1)
        observed = events / pairs if pairs else np.nan
        numbers = [f"{100 * share:.3g} %" for share in (observed, *means[:, k])]
        numbers += [f"{skill:.4f}" for skill in skills[:, k]]
        # without a pair, or without an event, there is no such number
        numbers = ["–" if "nan" in number else number for number in numbers]
        shown.add_row(f"{rate:g} mm/h", f"{pairs:,.0f}", *numbers)
    return shown
