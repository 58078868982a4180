"""Which frames make a training or evaluation window: decided from timestamps, never from positions
in a file.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from nowcast.runtime.errors import UserError
from nowcast.types.task import Task
from nowcast.types.tolerance import DEFAULT, Tolerance

PARTS = ("train", "validation", "test")
_SHARE_BEFORE_VALIDATION, _SHARE_BEFORE_TEST = 0.60, 0.80


_MINUTE = np.timedelta64(60, "s")


def window_starts(
    times: np.ndarray,
    task: Task,
    *,
    start: np.datetime64 | None = None,
    end: np.datetime64 | None = None,
    tolerance: Tolerance = DEFAULT,
) -> np.ndarray:
    """Indices i for which frames i to i + window_length - 1 are one timestep apart and lie in
    [start, end).

    Args:
        times: UTC, (T,) datetime64[s], strictly ascending; gaps are allowed.
        task: gives window length and timestep.
        start: earliest time of a window's first frame; None: no limit.
        end: a window's last frame is before it; None: no limit.
        tolerance: how far frames may lie off regular times, a timestep apart.

    Returns:
        (N,) int64, ascending; empty if there is no such window.
    """
    length = task.window_length
    if len(times) < length:
        return np.zeros(0, dtype=np.int64)
    complete = _regular(times, length, task.timedelta, tolerance)
    if start is not None:
        complete &= times[: len(times) - length + 1] >= start
    if end is not None:
        complete &= times[length - 1 :] < end
    return np.flatnonzero(complete)


def _regular(
    times: np.ndarray, length: int, step: np.timedelta64, tolerance: Tolerance
) -> np.ndarray:
    """Whether the ``length`` frames from each one on lie on regular times, a step apart, (T -
    length + 1,) bool.

    That is so where their deviations from steps of exactly that length differ by no more than twice
    what each may be off.
    """
    gaps = np.diff(times)
    breaks = np.concatenate([[0], np.cumsum(gaps != step)])
    exact = breaks[length - 1 :] == breaks[: len(times) - length + 1]
    accepted = 2 * tolerance.off_time(step) / np.timedelta64(1, "s")
    if not accepted or exact.all():
        return exact
    late = (times - times[0]) / np.timedelta64(1, "s") - np.arange(len(times)) * (
        step / np.timedelta64(1, "s")
    )
    windows = np.lib.stride_tricks.sliding_window_view(late, length)
    return exact | (windows.max(axis=1) - windows.min(axis=1) <= accepted)


def longest_run(
    times: np.ndarray, timedelta: np.timedelta64, tolerance: Tolerance = DEFAULT
) -> int:
    """The largest number of frames in a row that are ``timedelta`` apart, to the tolerance; 0 for
    no frames.
    """
    if len(times) == 0:
        return 0
    edges = np.flatnonzero(~is_step(np.diff(times), timedelta, tolerance))
    return int(np.diff(np.concatenate([[-1], edges, [len(times) - 1]])).max())


def is_step(gaps: np.ndarray, step: np.timedelta64, tolerance: Tolerance = DEFAULT) -> np.ndarray:
    """Whether times between frames are a step, where both frames may be off by the tolerance, (N,)
    bool.
    """
    return np.abs(gaps - step) <= 2 * tolerance.off_time(step)


def are_regular(times: np.ndarray, step: np.timedelta64, tolerance: Tolerance = DEFAULT) -> bool:
    """Whether all frames lie on regular times, a step apart, to the tolerance."""
    return len(times) < 2 or bool(_regular(times, len(times), step, tolerance).all())


def usual_step(times: np.ndarray, tolerance: Tolerance = DEFAULT) -> np.timedelta64 | None:
    """The step of a series some of whose frames may be missing, late or early: the most common one;
    None for fewer than two frames.

    Where frames are off by seconds, it is the whole minute next to their usual distance, if that is
    within the tolerance. Frames that can only be twins (see ``without_twins``) count once.
    """
    single, widest = _one_of_each_group(times, tolerance)
    if widest:
        step = _most_common_step(times[single], tolerance)
        if step is not None and widest <= 2 * tolerance.off_time(step):
            return step
    return _most_common_step(times, tolerance)


def _one_of_each_group(
    times: np.ndarray, tolerance: Tolerance
) -> tuple[np.ndarray, np.timedelta64]:
    """(one of each group of frames that lie closer together than the tolerance, by index; the
    longest time from the first to the last frame of one); all frames and 0 where there are none, or
    where frames follow each other so closely that this is their step.

    Of a group it is the frame that has the seconds of a minute that most frames have, or the
    fewest.
    """
    limit, gaps = 2 * np.timedelta64(round(1000 * tolerance.seconds), "ms"), np.diff(times)
    near, nothing = gaps <= limit, np.timedelta64(0, "ms")
    if not near.any() or near.all():
        return np.arange(len(times)), nothing
    first = np.concatenate([[0], np.flatnonzero(~near) + 1])
    after = np.concatenate([first[1:], [len(times)]])
    widest = (times[after - 1] - times[first]).max()
    if widest > limit:
        return np.arange(len(times)), nothing
    seconds = times.astype("datetime64[s]").astype(np.int64) % 60
    alike = np.bincount(seconds, minlength=60)[seconds]
    from_minute = _round(seconds, 60)
    best = [
        max(range(start, end), key=lambda index: (alike[index], -from_minute[index], -index))
        for start, end in zip(first, after)
    ]
    return np.array(best), widest


def without_twins(
    times: np.ndarray, step: np.timedelta64 | None, tolerance: Tolerance = DEFAULT
) -> np.ndarray:
    """The frames to use where several are meant for one regular time, as 10:20:00 and 10:20:07 are:
    the one nearest to it, the first of equally near ones.

    Args:
        times: UTC, (T,) datetime64[s], strictly ascending.
        step: between regular times; None: it is not known, and all are used.
        tolerance: how far frames may lie off regular times. Frames further off than twice that are
            used in any case.

    Returns:
        Their indices, ascending, int64.
    """
    times = np.asarray(times, "datetime64[s]")
    if step is None or len(times) < 2 or not (np.diff(times) <= 2 * tolerance.off_time(step)).any():
        return np.arange(len(times))
    seconds = step.astype("timedelta64[s]").astype(np.int64)
    after = (times - regular_phase(times, step, tolerance)).astype(np.int64)
    slots = (after + seconds // 2) // seconds
    off = np.abs(after - slots * seconds)
    own = off * np.timedelta64(1, "s") > 2 * tolerance.off_time(step)
    best = {}
    for index in np.flatnonzero(~own).tolist():
        slot = int(slots[index])
        if slot not in best or off[index] < off[best[slot]]:
            best[slot] = index
    return np.sort(
        np.concatenate([np.flatnonzero(own), np.fromiter(best.values(), np.int64, len(best))])
    )


def newest_of_each_time(
    times: np.ndarray, count: int, tolerance: Tolerance = DEFAULT
) -> np.ndarray:
    """The newest frames to use, of several that are meant for one time the nearest to it.

    Args:
        times: UTC, (T,) datetime64[s], strictly ascending.
        count: how many are wanted.
        tolerance: how far frames may lie off regular times.

    Returns:
        Their indices, ascending, at most ``count``.
    """
    before = max(0, len(times) - 2 * count - 1)
    recent = times[before:]
    return before + without_twins(recent, usual_step(recent, tolerance), tolerance)[-count:]


def _most_common_step(times: np.ndarray, tolerance: Tolerance) -> np.timedelta64 | None:
    steps, counts = np.unique(np.diff(times), return_counts=True)
    if not steps.size:
        return None
    alike = [int(counts[is_step(steps, step, tolerance)].sum()) for step in steps]
    best = max(range(steps.size), key=lambda index: (alike[index], counts[index], -index))
    near = is_step(steps, steps[best], tolerance)
    if np.count_nonzero(near) == 1:
        return steps[best]
    usual = np.median(np.repeat(steps[near].astype(np.int64), counts[near]))
    minute = max(1, round(usual / 60)) * _MINUTE
    return (
        minute
        if abs(minute - np.timedelta64(round(usual), "s")) <= tolerance.off_time(minute)
        else steps[best]
    )


def regular_phase(
    times: np.ndarray, step: np.timedelta64, tolerance: Tolerance = DEFAULT
) -> np.timedelta64:
    """Where the regular times lie that frames are meant for: how far after whole multiples of a
    step since 1970, timedelta64[s].

    It is the most common place of the frames; where they are off by different seconds, the whole
    minute next to it, if that is within the tolerance.
    """
    seconds = int(step / np.timedelta64(1, "s"))
    places, counts = np.unique(
        times.astype("datetime64[s]").astype(np.int64) % seconds, return_counts=True
    )
    if not places.size:
        return np.timedelta64(0, "s")
    off = float(tolerance.off_time(step) / np.timedelta64(1, "s"))
    near = _round(places[:, None] - places, seconds) <= 2 * off
    best = max(
        range(places.size), key=lambda index: (counts[near[index]].sum(), counts[index], -index)
    )
    minute = 60 * round(int(places[best]) / 60) % seconds
    meant = (
        minute
        if np.count_nonzero(near[best]) > 1 and _round(places[best] - minute, seconds) <= off
        else int(places[best])
    )
    return np.timedelta64(meant, "s")


def _round(apart: np.ndarray, whole: int) -> np.ndarray:
    """Distances the shorter way round a circle."""
    return np.minimum(apart % whole, -apart % whole)


def on_time(times: np.ndarray, step: np.timedelta64, tolerance: Tolerance = DEFAULT) -> np.ndarray:
    """The regular times that frames are meant for, (T,) datetime64[s]; a frame that is further off
    keeps its own time.
    """
    times = np.asarray(times, "datetime64[s]")
    phase, seconds = (
        regular_phase(times, step, tolerance),
        step.astype("timedelta64[s]").astype(np.int64),
    )
    after = (times - phase).astype(np.int64)
    meant = ((after + seconds // 2) // seconds * seconds).astype("datetime64[s]") + phase
    return np.where(np.abs(meant - times) <= tolerance.off_time(step), meant, times)


def at_time(
    times: np.ndarray,
    wanted: np.datetime64,
    step: np.timedelta64 | None,
    tolerance: Tolerance = DEFAULT,
) -> int | None:
    """The index of the frame of a time, or of the one next to it within the tolerance; None if
    there is none.

    Args:
        times: UTC, (T,) datetime64[s], ascending.
        wanted: UTC.
        step: between frames; None: it is not known, and the tolerance holds in full.
        tolerance: how far the frame may lie off.
    """
    if not len(times):
        return None
    right = int(np.searchsorted(times, wanted))
    near = min(
        (index for index in (right - 1, right) if 0 <= index < len(times)),
        key=lambda index: abs(times[index] - wanted),
    )
    accepted = tolerance.off_time(np.timedelta64(1, "D") if step is None else step)
    return near if abs(times[near] - wanted) <= accepted else None


def utc_text(time: np.datetime64) -> str:
    """2010-08-26 05:00 UTC."""
    return f"{str(time)[:16].replace('T', ' ')} UTC"


def utc_time(name: str, text: str) -> np.datetime64:
    """A time as a person types it, in UTC unless it names another zone."""
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise UserError(
            f"{name} is {text!r}; a UTC time such as 2020-06-01T00:00 is needed, or null."
        ) from None
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    return np.datetime64(moment, "s")


@dataclass(frozen=True)
class TimeSplit:
    """An archive's period in three: training before ``validation_from``, validation before
    ``test_from``, test after it.

    Args:
        validation_from: ISO time, UTC; None: the frame time next to 60 % of the period.
        test_from: ISO time, UTC; None: the frame time next to 80 % of the period.
    """

    validation_from: str | None = None
    test_from: str | None = None

    def __post_init__(self):
        given = [
            utc_time(f"data.{name}", getattr(self, name))
            for name in ("validation_from", "test_from")
            if getattr(self, name) is not None
        ]
        if len(given) == 2 and given[0] > given[1]:
            raise UserError(
                f"data.validation_from {self.validation_from} is after data.test_from "
                f"{self.test_from}; it must come before."
            )

    def _edge(self, name: str, share: float, times: np.ndarray) -> np.datetime64:
        if getattr(self, name) is not None:
            return utc_time(f"data.{name}", getattr(self, name))
        seconds = (times - times[0]).astype(np.int64)
        return times[np.abs(seconds - share * seconds[-1]).argmin()]

    def interval(
        self, part: str, times: np.ndarray
    ) -> tuple[np.datetime64 | None, np.datetime64 | None]:
        """[start, end) of "train", "validation" or "test" for an archive with these frame times;
        None: no limit.

        Raises:
            UserError: an unknown part, or the given edge and the other one's default are in the
                wrong order.
        """
        if part not in PARTS:
            raise UserError(f"the part {part!r} is unknown; accepted are {', '.join(PARTS)}.")
        validation = self._edge("validation_from", _SHARE_BEFORE_VALIDATION, times)
        test = self._edge("test_from", _SHARE_BEFORE_TEST, times)
        if validation > test:
            raise UserError(
                f"validation would start at {validation}, after the test at {test}; set both "
                "data.validation_from and data.test_from."
            )
        return {
            "train": (None, validation),
            "validation": (validation, test),
            "test": (test, None),
        }[part]
