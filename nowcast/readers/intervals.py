"""The length of the interval in which a depth of rain was collected."""

import numpy as np

from nowcast.runtime.errors import UserError
from nowcast.types.tolerance import in_force


def interval_minutes(minutes: float) -> float:
    """The length of an interval [minutes] that a file states by its ends: the whole minutes that
    are meant, where it is some seconds off.

    Providers end an interval at 17:49:59, or begin it when the scan began; depths over 4 min 59 s
    and over 5 min are one quantity.
    """
    meant = float(round(minutes))
    if meant == minutes or meant < 1:
        return float(minutes)
    off = in_force().off_time(np.timedelta64(int(meant), "m")) / np.timedelta64(1, "m")
    return meant if abs(minutes - meant) <= off else float(minutes)


def minutes_between(start: np.datetime64, end: np.datetime64, what: str) -> float:
    """The length of an interval in which rain was collected [minutes], see `interval_minutes`.

    Raises:
        UserError: ``what`` (for messages) does not end after it starts.
    """
    minutes = interval_minutes((end - start) / np.timedelta64(60, "s"))
    if minutes <= 0:
        raise UserError(
            f"{what} runs from {start} to {end}; a rain depth needs one that ends after it starts."
        )
    return minutes
