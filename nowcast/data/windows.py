"""Which frames make a training or evaluation window, and which period they are of: decided from
timestamps, never from positions in a file.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from nowcast.data.cadence import is_step, lie_on_regular_times
from nowcast.runtime.errors import UserError
from nowcast.types.task import Task
from nowcast.types.tolerance import DEFAULT, Tolerance

PARTS = ("train", "validation", "test")
_SHARE_BEFORE_VALIDATION, _SHARE_BEFORE_TEST = 0.60, 0.80


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
    # from timestamps, never from positions: frames may be missing
    complete = lie_on_regular_times(times, length, task.timedelta, tolerance)
    if start is not None:
        complete &= times[: len(times) - length + 1] >= start
    if end is not None:
        complete &= times[length - 1 :] < end
    return np.flatnonzero(complete)


def longest_run(
    times: np.ndarray, timedelta: np.timedelta64, tolerance: Tolerance = DEFAULT
) -> int:
    """The largest number of frames in a row that are ``timedelta`` apart, to the tolerance; 0 for
    no frames.
    """
    if len(times) == 0:
        return 0
    gaps = np.flatnonzero(~is_step(np.diff(times), timedelta, tolerance))
    return int(np.diff(np.concatenate([[-1], gaps, [len(times) - 1]])).max())


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
    # without a zone it is UTC, whatever this machine's zone is
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
        given = []
        for name, text in vars(self).items():
            if text is not None:
                given.append(utc_time(f"data.{name}", text))
        if len(given) == 2 and given[0] > given[1]:
            raise UserError(
                f"data.validation_from {self.validation_from} is after data.test_from "
                f"{self.test_from}; it must come before."
            )

    def _bound(self, name: str, share: float, times: np.ndarray) -> np.datetime64:
        """Where a part begins: as it was given, or at a share of the period."""
        given = vars(self)[name]
        if given is not None:
            return utc_time(f"data.{name}", given)
        seconds = (times - times[0]).astype(np.int64)
        return times[np.abs(seconds - share * seconds[-1]).argmin()]

    def interval(
        self, part: str, times: np.ndarray
    ) -> tuple[np.datetime64 | None, np.datetime64 | None]:
        """[start, end) of "train", "validation" or "test" for an archive with these frame times;
        None: no limit.

        Raises:
            UserError: an unknown part, or the given bound and the other one's default are in the
                wrong order.
        """
        if part not in PARTS:
            raise UserError(f"the part {part!r} is unknown; accepted are {', '.join(PARTS)}.")
        validation = self._bound("validation_from", _SHARE_BEFORE_VALIDATION, times)
        test = self._bound("test_from", _SHARE_BEFORE_TEST, times)
        # one bound may be given, and the other one's default lie on its wrong side
        if validation > test:
            raise UserError(
                f"validation would start at {validation}, after the test at {test}; set both "
                "data.validation_from and data.test_from."
            )
        bounds = (None, validation, test, None)
        number = PARTS.index(part)
        return bounds[number], bounds[number + 1]
