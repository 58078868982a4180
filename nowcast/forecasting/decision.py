"""What is forecast from what: a pure function of the frames that are there. It never fails, and
never takes missing for dry.

The ladder, from the top:
1. every frame of the context is there: the network's own forecast.
2. one frame inside the context is missing, both its neighbours are there: it is filled in between
  them, and the network forecasts.
3. the newest frame is missing: the same from the newest one that is there, with so many more lead
  times that the forecast ends when it would have ended.
4. more is missing: extrapolation from the two newest frames, where pysteps is installed.
5. only one frame is there: it persists.
6. no frame is younger than ``max_age``: nothing; an old forecast is not sold as a new one.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nowcast.types.task import Task

_LONG_AGO = np.timedelta64(48, "h")  # from which an age is told in days
_BEFORE = 3  # steps before the context in which a frame still helps to fill a gap or to see motion


@dataclass(frozen=True)
class Decision:
    """What to forecast from.

    Args:
        method: "nowcast", "extrapolation" or "persistence".
        times: of the frames to use, ascending; the last one is the analysis time. For "nowcast" the
            task's context, where those in ``filled`` are not there and are made from their
            neighbours.
        filled: times among them without a frame.
        forecast_length: lead times, so many that the last one is as late as it would be without
            anything missing.
        reason: why this is not the network's forecast from complete frames; None where it is.
    """

    method: str
    times: tuple[np.datetime64, ...]
    filled: tuple[np.datetime64, ...]
    forecast_length: int
    reason: str | None

    @property
    def analysis_time(self) -> np.datetime64:
        """The newest frame used."""
        return self.times[-1]


def frames_to_keep(task: Task, *, slowest: float = 0.0) -> np.timedelta64:
    """How far back frames can be of use, at the slowest cadence [minutes] that they may have."""
    slowest_step = np.timedelta64(round(60 * slowest), "s")
    return (task.context_length + _BEFORE) * max(task.timedelta, slowest_step)


def decide(
    usable: Mapping[np.datetime64, object],
    cycle: np.datetime64,
    task: Task,
    *,
    max_age: np.timedelta64,
    problems: Mapping[np.datetime64, str],
    can_extrapolate: bool,
) -> tuple[Decision | None, str | None]:
    """Choose a forecast for a cycle.

    Args:
        usable: times of the frames that are there and contain at least one observation.
        cycle: the time the newest frame should have.
        task: what the network was made for.
        max_age: an analysis time further behind the cycle is refused.
        problems: what is wrong with a frame that is not usable, in words, where that is known.
        can_extrapolate: whether pysteps is installed.

    Returns:
        (decision, None), or (None, why there is no forecast).
    """

    def missing(time: np.datetime64) -> str:
        return f"the frame of {_clock(time)} {problems.get(time, 'did not come')}"

    step = task.timedelta
    newest = max((time for time in usable if time <= cycle), default=None)
    if newest is None:
        return None, f"{missing(cycle)}, and no frame at all"
    if cycle - newest > max_age:
        age = f"the newest usable frame, of {_clock(newest, cycle)}, is {_older(cycle - newest)}"
        limit = f"at most {_minutes(max_age)} are accepted"
        if cycle - newest >= _LONG_AGO:
            limit = f"at most {_minutes(max_age)} minutes are accepted"
        return None, f"{missing(cycle)}, and {age} older than that; {limit}"
    length = task.forecast_length + math.ceil((cycle - newest) / step)
    context = tuple(newest - back * step for back in reversed(range(task.context_length)))
    absent = tuple(time for time in context if time not in usable)
    late = () if newest == cycle else (cycle,)
    reason = "; ".join(map(missing, late + absent)) or None
    if not absent:
        return Decision("nowcast", context, (), length, reason), None
    gap = absent[0]
    if len(absent) == 1 and gap - step in usable and gap + step in usable:
        reason = f"{reason}; it was filled in between its neighbours"
        return Decision("nowcast", context, absent, length, reason), None
    oldest = newest - frames_to_keep(task)
    earlier = [time for time in usable if oldest <= time < newest and is_whole(newest - time, step)]
    if earlier and can_extrapolate:
        return Decision("extrapolation", (max(earlier), newest), (), length, reason), None
    return Decision("persistence", (newest,), (), length, reason), None


def is_whole(span: np.timedelta64, step: np.timedelta64) -> bool:
    """Whether a span is a whole number of steps."""
    return span % step == np.timedelta64(0, "s")


def _clock(time: np.datetime64, other: np.datetime64 | None = None) -> str:
    """The time of the day; with the day where that is another one's."""
    day, clock = str(time).split("T")
    is_same = other is None or str(other).startswith(day)
    return f"{clock[:5]} UTC" if is_same else f"{day} {clock[:5]} UTC"


def _older(span: np.timedelta64) -> str:
    if span < _LONG_AGO:
        return f"{_minutes(span)} minutes"
    return f"{int(span / np.timedelta64(1, 'D')):,} days"


def _minutes(span: np.timedelta64) -> str:
    return f"{span / np.timedelta64(60, 's'):g}"
