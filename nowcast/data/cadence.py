"""The regular times of a series some of whose frames are missing, late, early or doubled: decided
from timestamps, never from positions in a file.

Times are UTC, (T,) datetime64[s], strictly ascending, with gaps, wherever nothing else is said.
"""

import numpy as np

from nowcast.types.tolerance import DEFAULT, Tolerance

_SECOND, _MINUTE = np.timedelta64(1, "s"), np.timedelta64(60, "s")


def is_step(gaps: np.ndarray, step: np.timedelta64, tolerance: Tolerance = DEFAULT) -> np.ndarray:
    """Whether times between frames are a step, where both frames may be off by the tolerance, (N,)
    bool.
    """
    return is_near(np.abs(gaps - step), step, tolerance)


def is_near(apart: np.ndarray, step: np.timedelta64, tolerance: Tolerance = DEFAULT) -> np.ndarray:
    """Whether frames so far apart may be meant for one time, where both are off, (N,) bool."""
    return apart <= 2 * tolerance.off_time(step)


def lie_on_regular_times(
    times: np.ndarray, length: int, step: np.timedelta64, tolerance: Tolerance
) -> np.ndarray:
    """Whether the ``length`` frames from each one on lie on regular times, a step apart, (T -
    length + 1,) bool.

    That is so where their deviations from steps of exactly that length differ by no more than twice
    what each may be off.
    """
    breaks = np.concatenate([[0], np.cumsum(np.diff(times) != step)])
    exact = breaks[length - 1 :] == breaks[: len(times) - length + 1]
    accepted = 2 * tolerance.off_time(step) / _SECOND
    if not accepted or exact.all():
        return exact
    # frames that drift by a second each are no series, though each step is nearly right
    late = (times - times[0]) / _SECOND - np.arange(len(times)) * (step / _SECOND)
    windows = np.lib.stride_tricks.sliding_window_view(late, length)
    return exact | (windows.max(axis=1) - windows.min(axis=1) <= accepted)


def are_regular(times: np.ndarray, step: np.timedelta64, tolerance: Tolerance = DEFAULT) -> bool:
    """Whether all frames lie on regular times, a step apart, to the tolerance."""
    if len(times) < 2:
        return True
    return bool(lie_on_regular_times(times, len(times), step, tolerance).all())


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
    # twins are often one frame on the minute and one of a second scan, a few seconds later
    seconds = _whole_seconds(times) % 60
    alike = np.bincount(seconds, minlength=60)[seconds]
    from_minute = _distance(seconds, 60)
    best = [
        max(range(start, end), key=lambda index: (alike[index], -from_minute[index], -index))
        for start, end in zip(first, after)
    ]
    return np.array(best), widest


def _most_common_step(times: np.ndarray, tolerance: Tolerance) -> np.timedelta64 | None:
    """The step that most gaps are, to the tolerance; None without a gap."""
    steps, counts = np.unique(np.diff(times), return_counts=True)
    if not steps.size:
        return None
    alike = [int(counts[is_step(steps, step, tolerance)].sum()) for step in steps]
    best = max(range(steps.size), key=lambda index: (alike[index], counts[index], -index))
    near = is_step(steps, steps[best], tolerance)
    if np.count_nonzero(near) == 1:
        return steps[best]
    # frames are off by seconds: what is meant is a whole minute, if one is near enough
    usual = np.median(np.repeat(steps[near].astype(np.int64), counts[near]))
    minute = max(1, round(usual / 60)) * _MINUTE
    off = abs(minute - np.timedelta64(round(usual), "s"))
    return minute if off <= tolerance.off_time(minute) else steps[best]


def regular_phase(
    times: np.ndarray, step: np.timedelta64, tolerance: Tolerance = DEFAULT
) -> np.timedelta64:
    """Where the regular times lie that frames are meant for: how far after whole multiples of a
    step since 1970, timedelta64[s].

    It is the most common place of the frames; where they are off by different seconds, the whole
    minute next to it, if that is within the tolerance.
    """
    if not len(times):
        return np.timedelta64(0, "s")
    seconds = int(step / _SECOND)
    places, counts = np.unique(_whole_seconds(times) % seconds, return_counts=True)
    # on a circle: 10:59:58 and 11:00:03 are five seconds apart for any step
    off = float(tolerance.off_time(step) / _SECOND)
    near = _distance(places[:, None] - places, seconds) <= 2 * off
    alike = [counts[one].sum() for one in near]
    best = max(range(places.size), key=lambda index: (alike[index], counts[index], -index))
    place = int(places[best])
    minute = 60 * round(place / 60) % seconds
    if np.count_nonzero(near[best]) > 1 and _distance(place - minute, seconds) <= off:
        place = minute
    return np.timedelta64(place, "s")


def _whole_seconds(times: np.ndarray) -> np.ndarray:
    """Seconds since 1970, int64."""
    return times.astype("datetime64[s]").astype(np.int64)


def _distance(apart, whole: int):
    """How far apart places on a circle of that length are, the shorter way round."""
    return np.minimum(apart % whole, -apart % whole)


def _slots(
    times: np.ndarray, step: np.timedelta64, tolerance: Tolerance
) -> tuple[np.ndarray, np.ndarray]:
    """(number of the regular time next to each frame, that time as datetime64[s])."""
    phase, seconds = regular_phase(times, step, tolerance), int(step / _SECOND)
    slots = (_whole_seconds(times - phase) + seconds // 2) // seconds
    return slots, (slots * seconds).astype("datetime64[s]") + phase


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
    if step is None or len(times) < 2 or not is_near(np.diff(times), step, tolerance).any():
        return np.arange(len(times))
    slots, meant = _slots(times, step, tolerance)
    off = np.abs(times - meant)
    far = ~is_near(off, step, tolerance)
    # of each regular time the nearest frame; the loop is over frames near to one alone
    best: dict[int, int] = {}
    for index in np.flatnonzero(~far).tolist():
        slot = int(slots[index])
        if slot not in best or off[index] < off[best[slot]]:
            best[slot] = index
    nearest = np.fromiter(best.values(), np.int64, len(best))
    return np.sort(np.concatenate([np.flatnonzero(far), nearest]))


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
    # twice as many, and one, contain enough even where every frame has a twin
    before = max(0, len(times) - 2 * count - 1)
    recent = times[before:]
    return before + without_twins(recent, usual_step(recent, tolerance), tolerance)[-count:]


def on_time(times: np.ndarray, step: np.timedelta64, tolerance: Tolerance = DEFAULT) -> np.ndarray:
    """The regular times that frames are meant for, (T,) datetime64[s]; a frame that is further off
    keeps its own time.
    """
    times = np.asarray(times, "datetime64[s]")
    _, meant = _slots(times, step, tolerance)
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
