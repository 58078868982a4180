"""Frames out of a folder that somebody else fills: slowly, late, twice, damaged, of another grid."""

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nowcast.data.cadence import at_time
from nowcast.data.containers import OpenedInputs
from nowcast.data.inputs import Inputs, expand_inputs, literal_folder, separate_inputs
from nowcast.data.members import short_name
from nowcast.data.reading import TooSlow
from nowcast.runtime.errors import Unavailable, UserError
from nowcast.types.frames import Frames, Grid
from nowcast.types.tolerance import DEFAULT, Tolerance

_FUTURE = np.timedelta64(60, "s")  # clocks of a radar and of this machine may differ by so much
# read at one look: of a folder with history, only the newest files can hold frames that still
# matter
_MOST_FILES = 64
_AGAIN = (
    np.timedelta64(30, "s"),
    np.timedelta64(150, "s"),
    # after which a file that could not be read is tried again: what was in the way may have been
    # the machine
)
_MOST_EARLY = 16  # frames that are kept until their time has come


@dataclass
class FrameSet:
    """Frames of one grid and one quantity by time, one in each."""

    grid: Grid
    quantity: str
    pixels: float = DEFAULT.pixels
    frames: dict[np.datetime64, Frames] = field(default_factory=dict)

    def holds(self, frames: Frames) -> bool:
        """Whether frames are of this grid and quantity."""
        return (
            self.quantity == frames.quantity
            and self.grid.difference(frames.grid, self.pixels) is None
        )


@dataclass
class _File:
    """What is known of a file: its size and times of change at the last look, whether it was read
    like that, and, of one that could not be, how often that was tried and when it is tried again
    (None: not any more).
    """

    signature: tuple[int, int, int]
    done: bool = False
    tried: int = 0
    again: np.datetime64 | None = None


@dataclass(frozen=True)
class News:
    """What a look into the folder brought.

    Args:
        times: frames that are new or were replaced.
        rejected: (file name, reason) of files that were read and not taken.
    """

    times: tuple[np.datetime64, ...] = ()
    rejected: tuple[tuple[str, str], ...] = ()


def _tried_again(tried: int, error: UserError, now: np.datetime64) -> np.datetime64 | None:
    """When a file that could not be read is tried again, None for never.

    That is twice; one that is in use or out of reach until it is not, one that took too long never.
    """
    if isinstance(error, TooSlow):
        return None
    if tried >= len(_AGAIN) and not isinstance(error, Unavailable):
        return None
    return now + _AGAIN[min(tried, len(_AGAIN) - 1)]


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
        self.pattern, self.read, self.look_into, self.keep = pattern, read, look_into, keep
        self.switch_after, self.timestep, self.tolerance = switch_after, timestep, tolerance
        self._files: dict[Path, _File] = {}
        self._sets: list[FrameSet] = []
        self._early: list[tuple[str, Frames]] = []
        self._was_there: dict[str, Path] = {}  # the folders, once they were seen
        self._blind: str | None = None  # why the folder could not be looked into last time
        self.current: FrameSet | None = None

    @property
    def frames(self) -> dict[np.datetime64, Frames]:
        """The frames that forecasts are made from."""
        return self.current.frames if self.current is not None else {}

    def look(self, now: np.datetime64) -> News:
        """Look into the folder and read what has settled.

        Args:
            now: UTC; frames of a later time are rejected.
        """
        came, times, rejected = [], [], []
        before = self._blind
        settled = self._settled(now)
        if self._blind not in (None, before):
            rejected.append((Path(str(self.pattern)).name, self._blind))
        for path in settled:
            known = self._files[path]
            failed = None
            for name, result in self._contents(path):
                if isinstance(result, UserError):
                    if failed is None or isinstance(result, Unavailable):
                        failed = result
                    if known.tried == 0:
                        rejected.append((name, str(result).replace(str(path), path.name)))
                else:
                    came += [(name, result[index : index + 1]) for index in range(len(result))]
            known.again = None
            if failed is not None:
                known.again = _tried_again(known.tried, failed, now)
                known.tried += 1
        due = [item for item in self._early if item[1].times[0] <= now + _FUTURE]
        self._early = [item for item in self._early if item[1].times[0] > now + _FUTURE][
            -_MOST_EARLY:
        ]
        present = [frame for _, frame in [*due, *came] if frame.times[0] <= now + _FUTURE]
        if self.current is None and present:
            self._begin(present)
        for name, frame in [*due, *came]:
            reason = self._take(frame, name, now)
            if reason is None:
                times.append(frame.times[0])
            elif reason:
                rejected.append((name, reason))
        if self.current is not None:
            self._forget()
        return News(tuple(sorted(set(times))), tuple(rejected))

    def _contents(self, path: Path) -> Iterator[tuple[str, Frames | UserError]]:
        """(name, frames or the reason for none) of a file, or of the newest in an archive."""
        inputs = OpenedInputs([path]) if self.look_into is None else self.look_into(path)
        newest_last = sorted(
            inputs.paths, key=lambda one: (inputs.changed.get(one, math.inf), one.name)
        )
        for one in newest_last[-_MOST_FILES:]:
            refusal = inputs.refused.get(str(one))
            try:
                yield short_name(one), self.read(one) if refusal is None else refusal
            except UserError as error:
                yield short_name(one), error

    def _settled(self, now: np.datetime64) -> list[Path]:
        """Files that did not change since the last look and were not read as they are, oldest
        change first.
        """
        found = {}
        self._blind = None
        for pattern in separate_inputs(self.pattern):
            found |= self._found(pattern)
        self._files = {path: known for path, known in self._files.items() if path in found}
        ready = []
        for path, signature in found.items():
            known = self._files.get(path)
            if known is None or known.signature != signature:
                self._files[path] = _File(signature)
            elif not known.done or (known.again is not None and now >= known.again):
                known.done = True
                ready.append(path)
        ready.sort(key=lambda path: (self._files[path].signature[1], path.name))
        return ready[-_MOST_FILES:]

    def _found(self, pattern: str) -> dict[Path, tuple[int, int, int]]:
        """Size and times of change of the files of one folder or pattern."""
        found, folder = {}, literal_folder(pattern)
        if os.path.isdir(folder):
            self._was_there[pattern] = folder
        try:
            for path in expand_inputs([pattern]):
                try:
                    status = os.stat(path)
                except OSError:
                    continue  # it is gone again
                found[path] = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        except UserError as error:  # nothing is there yet, or the folder is gone or closed to us
            before = self._was_there.get(pattern)
            if before is not None and not os.path.isdir(before):
                self._blind = f"there is no folder {before} any more"
            elif os.path.isdir(folder) and not os.access(folder, os.R_OK | os.X_OK):
                self._blind = str(error)
        return found

    def _begin(self, came: list[Frames]) -> None:
        """The grid and quantity that most of the first frames have are those that count."""
        for frame in came:
            if not any(known.holds(frame) for known in self._sets):
                self._sets.append(FrameSet(frame.grid, frame.quantity, self.tolerance.pixels))
        self.current = max(self._sets, key=lambda known: sum(known.holds(frame) for frame in came))

    def _take(self, frame: Frames, name: str, now: np.datetime64) -> str | None:
        """Add one frame; None if it was new, "" if it is of no interest, else the reason for
        rejecting it.
        """
        time = frame.times[0]
        if time > now + _FUTURE:
            self._early.append((name, frame))
            return f"its time {time} UTC lies in the future; it is taken when that has come"
        own = next((known for known in self._sets if known.holds(frame)), None)
        if own is None:
            own = FrameSet(frame.grid, frame.quantity, self.tolerance.pixels)
            self._sets.append(own)
        before = own.frames.get(time)
        if before is not None and before.source != frame.source:
            return (
                ""
                if np.array_equal(before.values, frame.values, equal_nan=True)
                else f"it holds another frame of {time} UTC than {short_name(before.source)}, "
                "which came first"
            )
        if before is not None and np.array_equal(before.values, frame.values, equal_nan=True):
            return ""
        own.frames[time] = frame
        if own is self.current:
            return None
        if own.quantity != self.current.quantity:
            return f"it holds {own.quantity}, the frames before {self.current.quantity}"
        if self._takes_over(own):
            self.current, self._sets = own, [own]
            return None
        return (
            "it has another grid than the frames before: "
            f"{self.current.grid.difference(own.grid, self.tolerance.pixels)}"
        )

    def _takes_over(self, other: FrameSet) -> bool:
        """Whether another grid has come to stay."""
        newest, times = max(other.frames), np.sort(np.array(list(other.frames), "datetime64[s]"))
        row = all(
            at_time(times, newest - step * self.timestep, self.timestep, self.tolerance) is not None
            for step in range(self.switch_after)
        )
        return row and all(
            time < newest - (self.switch_after - 1) * self.timestep for time in self.current.frames
        )

    def _forget(self) -> None:
        """Drop frames that are too old to be of use."""
        for known in self._sets:
            newest = max(known.frames, default=np.datetime64("NaT"))
            for time in [time for time in known.frames if time < newest - self.keep]:
                del known.frames[time]
        newest = max(self.current.frames, default=np.datetime64("NaT"))
        self._sets = [
            known
            for known in self._sets
            if known is self.current
            or (known.frames and not max(known.frames) < newest - self.keep)
        ]
