"""Frames out of a folder that somebody else fills: slowly, late, twice, damaged, of another grid.

`ArrivingFiles` finds the files that have settled, `Incoming` reads them and keeps their frames.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nowcast.data.cadence import at_time
from nowcast.data.containers import OpenedInputs
from nowcast.data.inputs import Inputs
from nowcast.data.members import short_name
from nowcast.forecasting.arriving_files import MOST_FILES, ArrivingFiles
from nowcast.runtime.errors import Unavailable, UserError
from nowcast.types.frames import Frames, Grid
from nowcast.types.tolerance import DEFAULT, Tolerance

_FUTURE = np.timedelta64(60, "s")  # clocks of a radar and of this machine may differ by so much
_MOST_EARLY = 16  # frames that are kept until their time has come


@dataclass
class FrameSet:
    """Frames of one grid and one quantity by time, one in each."""

    grid: Grid
    quantity: str
    pixels: float = DEFAULT.pixels
    frames: dict[np.datetime64, Frames] = field(default_factory=dict)

    def is_kin(self, frames: Frames) -> bool:
        """Whether frames are of this grid and quantity."""
        if self.quantity != frames.quantity:
            return False
        return self.grid.difference(frames.grid, self.pixels) is None

    @property
    def newest(self) -> np.datetime64:
        """The time of the newest frame; NaT, which is before and after nothing, without any."""
        return max(self.frames, default=np.datetime64("NaT"))


@dataclass(frozen=True)
class Arrivals:
    """What a look into the folder brought.

    Args:
        times: frames that are new or were replaced.
        rejected: (file name, reason) of files that were read and not taken.
    """

    times: tuple[np.datetime64, ...] = ()
    rejected: tuple[tuple[str, str], ...] = ()


class Incoming:
    """A folder, a pattern, or a list of these, that radar files arrive in.

    A file is read once its size and times of change are the same at two looks; when they change
    later, it is read again. A file that cannot be read is rejected; it is tried twice more in the
    next minutes (one that is in use or out of reach until it can be read, one that took too long
    not at all), and whenever it changes.

    Args:
        pattern: a folder, a pattern or a list of these, as for `nowcast predict`.
        read: gives the frames of a file, or of a member of an archive of files, or raises a
            UserError.
        look_into: gives the members of an archive of files, see ``open_containers`` in
            ``nowcast.data.containers``; None: none is looked into.
        keep: frames older than the newest one by more than this are forgotten.
        switch_after: so many frames in a row of another grid, all newer than the others, take over;
            another quantity never does.
        timestep: between frames that follow each other.
        tolerance: how far grids and times may be off.
    """

    def __init__(
        self,
        pattern: Inputs,
        read: Callable[[Path], Frames],
        *,
        keep: np.timedelta64,
        switch_after: int,
        timestep: np.timedelta64,
        look_into: Callable[[Path], OpenedInputs] | None = None,
        tolerance: Tolerance = DEFAULT,
    ):
        self.files = ArrivingFiles(pattern)
        self.read, self.look_into, self.keep = read, look_into, keep
        self.switch_after, self.timestep, self.tolerance = switch_after, timestep, tolerance
        self.current: FrameSet | None = None
        self._sets: list[FrameSet] = []
        self._early: list[tuple[str, Frames]] = []  # whose time has not come yet

    @property
    def frames(self) -> dict[np.datetime64, Frames]:
        """The frames that forecasts are made from."""
        return self.current.frames if self.current is not None else {}

    def look(self, now: np.datetime64) -> Arrivals:
        """Look into the folder and read what has settled.

        Args:
            now: UTC; frames of a later time are rejected.
        """
        came, rejected = self._read_settled(now)
        due = [item for item in self._early if _has_come(item[1], now)]
        early = [item for item in self._early if not _has_come(item[1], now)]
        self._early = early[-_MOST_EARLY:]
        waiting = [*due, *came]
        present = [frame for _, frame in waiting if _has_come(frame, now)]
        if self.current is None and present:
            self._begin(present)
        times = set()
        for name, frame in waiting:
            reason = self._take(frame, name, now)
            if reason is None:
                times.add(frame.times[0])
            elif reason:
                rejected.append((name, reason))
        if self.current is not None:
            self._forget()
        return Arrivals(tuple(sorted(times)), tuple(rejected))

    def _read_settled(
        self, now: np.datetime64
    ) -> tuple[list[tuple[str, Frames]], list[tuple[str, str]]]:
        """(name and single frame of all that could be read; name and reason of what could not)."""
        came, rejected = [], []
        settled, blind = self.files.settled(now)
        if blind is not None:
            rejected.append((Path(str(self.files.pattern)).name, blind))
        for path in settled:
            failed = None
            for name, result in self._contents(path):
                if not isinstance(result, UserError):
                    came += [(name, result[index : index + 1]) for index in range(len(result))]
                    continue
                if failed is None or isinstance(result, Unavailable):
                    failed = result
                if not self.files.was_tried(path):
                    rejected.append((name, str(result).replace(str(path), path.name)))
            self.files.was_read(path, failed, now)
        return came, rejected

    def _contents(self, path: Path) -> Iterator[tuple[str, Frames | UserError]]:
        """(name, frames or the reason for none) of a file, or of the newest in an archive."""
        inputs = OpenedInputs([path]) if self.look_into is None else self.look_into(path)

        def changed(one) -> tuple[float, str]:
            return inputs.changed.get(one, math.inf), one.name

        for one in sorted(inputs.paths, key=changed)[-MOST_FILES:]:
            refusal = inputs.refused.get(str(one))
            try:
                yield short_name(one), self.read(one) if refusal is None else refusal
            except UserError as error:
                yield short_name(one), error

    def _set_of(self, frame: Frames) -> FrameSet:
        """The set that a frame belongs to; a new one where there is none yet."""
        for known in self._sets:
            if known.is_kin(frame):
                return known
        self._sets.append(FrameSet(frame.grid, frame.quantity, self.tolerance.pixels))
        return self._sets[-1]

    def _begin(self, came: list[Frames]) -> None:
        """The grid and quantity that most of the first frames have are those that count."""
        for frame in came:
            self._set_of(frame)
        self.current = max(self._sets, key=lambda known: sum(map(known.is_kin, came)))

    def _take(self, frame: Frames, name: str, now: np.datetime64) -> str | None:
        """Add one frame; None if it was new, "" if it is of no interest, else the reason for
        rejecting it.
        """
        time = frame.times[0]
        if not _has_come(frame, now):
            self._early.append((name, frame))
            return f"its time {time} UTC lies in the future; it is taken when that has come"
        own = self._set_of(frame)
        before = own.frames.get(time)
        if before is not None:
            if np.array_equal(before.values, frame.values, equal_nan=True):
                return ""
            if before.source != frame.source:
                first = short_name(before.source)
                return f"it contains another frame of {time} UTC than {first}, which came first"
        own.frames[time] = frame
        if own is self.current:
            return None
        if own.quantity != self.current.quantity:
            return f"it contains {own.quantity}, the frames before {self.current.quantity}"
        if self._takes_over(own):
            self.current, self._sets = own, [own]
            return None
        difference = own.grid.difference(self.current.grid, self.tolerance.pixels)
        return f"it has another grid than the frames before: {difference}"

    def _takes_over(self, other: FrameSet) -> bool:
        """Whether another grid has come to stay."""
        times = np.sort(np.array(list(other.frames), "datetime64[s]"))
        row = [other.newest - step * self.timestep for step in range(self.switch_after)]
        if any(at_time(times, time, self.timestep, self.tolerance) is None for time in row):
            return False
        return all(time < row[-1] for time in self.current.frames)

    def _forget(self) -> None:
        """Drop frames that are too old to be of use."""
        for known in self._sets:
            oldest = known.newest - self.keep
            known.frames = {t: frame for t, frame in known.frames.items() if not t < oldest}
        oldest = self.current.newest - self.keep
        self._sets = [
            known
            for known in self._sets
            if known is self.current or (known.frames and not known.newest < oldest)
        ]


def _has_come(frame: Frames, now: np.datetime64) -> bool:
    """Whether a frame's time is not in the future."""
    return frame.times[0] <= now + _FUTURE
