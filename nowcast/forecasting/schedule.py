"""When a watch forecasts: its cycles, which of them are over, and which one is due."""

from collections.abc import Collection

import numpy as np

from nowcast.data.cadence import regular_phase
from nowcast.forecasting.decision import is_whole
from nowcast.types.tolerance import Tolerance


class Schedule:
    """The cycles of a watch: one every cadence, where the times of the radar are.

    Args:
        timestep: between frames; may change.
        cadence_minutes: between two cycles; None: the timestep.
        deadline_minutes: from a cycle's time until a forecast is made from what is there; None: the
            cadence.
        max_age_minutes: a forecast is not made from frames further behind its cycle.
    """

    def __init__(
        self,
        timestep: np.timedelta64,
        *,
        cadence_minutes: float | None,
        deadline_minutes: float | None,
        max_age_minutes: float,
    ):
        self.timestep = timestep
        self._cadence, self._deadline = _span(cadence_minutes), _span(deadline_minutes)
        self.max_age = _span(max_age_minutes)
        self.judged: np.datetime64 | None = None  # the last cycle with a status
        self.analysed: np.datetime64 | None = None  # the newest frame a forecast was tried from

    @property
    def cadence(self) -> np.timedelta64:
        """Between two cycles."""
        return self.timestep if self._cadence is None else self._cadence

    @property
    def deadline(self) -> np.timedelta64:
        """From a cycle's time until a forecast is made from what is there."""
        return self.cadence if self._deadline is None else self._deadline

    def current(
        self, now: np.datetime64, times: Collection[np.datetime64], tolerance: Tolerance
    ) -> np.datetime64:
        """The newest cycle that has begun.

        Args:
            now: UTC.
            times: of the frames that are there.
            tolerance: how far they may lie off regular times.
        """
        frames = np.array(list(times), "datetime64[s]")
        phase = regular_phase(frames, min(self.cadence, self.timestep), tolerance).astype(np.int64)
        seconds, step = now.astype("datetime64[s]").astype(np.int64), self.cadence.astype(np.int64)
        return np.datetime64(int(seconds - (seconds - phase) % step), "s")

    def due(
        self,
        now: np.datetime64,
        current: np.datetime64,
        usable: Collection[np.datetime64],
        arrived: Collection[np.datetime64],
    ) -> tuple[np.datetime64 | None, np.datetime64 | None]:
        """Which cycle is to be forecast now.

        Args:
            now: UTC.
            current: the newest cycle that has begun.
            usable: times of frames with an observation.
            arrived: times of those that are new or were replaced.

        Returns:
            (the cycle, None: none is due; the newest frame that it could be made from, if any).
        """
        if self.judged is None or self.judged > current:
            # Not what was before this process began, nor what a clock that ran ahead has judged.
            self.judged = current - self.cadence
        if self.analysed is not None and self.analysed > current:
            self.analysed = None
        oldest = current - self.max_age
        recent = [time for time in usable if oldest <= time <= current]
        fitting = [time for time in recent if self._begins_a_cycle(time, current)]
        newest = max(fitting, default=None)
        if newest is not None and (
            self.analysed is None
            or newest > self.analysed
            or (newest == self.analysed and newest in arrived)
        ):
            return newest, newest
        overdue = max(0, -int((now - self.deadline - current) // self.cadence))
        cycle = current - overdue * self.cadence
        return (cycle if cycle > self.judged else None), newest

    def _begins_a_cycle(self, time: np.datetime64, current: np.datetime64) -> bool:
        """Whether a frame's time is a cycle; where a cycle is every so many frames, those between
        have no forecast of their own.
        """
        every_frame = self.cadence <= self.timestep or not is_whole(self.cadence, self.timestep)
        return every_frame or is_whole(current - time, self.cadence)

    def passed_over(self, due: np.datetime64) -> list[np.datetime64]:
        """Cycles that have no status yet and lie before the one that is due, oldest first."""
        count = int((due - self.judged) // self.cadence) + 1
        cycles = [due - step * self.cadence for step in range(count, 0, -1)]
        return [cycle for cycle in cycles if cycle > self.judged]


def _span(minutes: float | None) -> np.timedelta64 | None:
    return None if minutes is None else np.timedelta64(round(60 * minutes), "s")
