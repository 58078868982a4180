"""When a field of an ODIM_H5 file was observed, over which interval, and what a forecast was made
from.
"""

import numpy as np

from nowcast.readers.intervals import minutes_between
from nowcast.readers.moments import moment_of
from nowcast.readers.odim_attributes import OdimField
from nowcast.readers.odim_placement import BY_NAME
from nowcast.runtime.errors import UserError

Interval = tuple[np.datetime64, np.datetime64]  # (start, end), UTC


def nominal_time(field: OdimField, interval: Interval | None) -> np.datetime64:
    """The nominal time; that of the end where a file states nothing else."""
    stated = [field.stated("what", part) for part in ("date", "time")]
    if stated == [None, None] and interval is not None:
        return interval[1]
    return field.moment("what")


def interval_of(field: OdimField, *, required: bool) -> Interval | None:
    """The interval of a field; None where it has none and needs none."""
    stated = [field.has_moment(prefix) for prefix in ("start", "end")]
    if not required and not all(stated):
        return None
    if not any(stated):
        raise UserError(
            f"{field.file.path} does not say over which interval its rain was collected "
            f"(startdate, starttime, enddate and endtime of what); {BY_NAME} set reader.minutes."
        )
    start, end = (field.moment(f"{field.name}, {prefix}", prefix) for prefix in ("start", "end"))
    return start, end


def minutes_of(field: OdimField, interval: Interval) -> float:
    """The length of the interval of an accumulation."""
    start, end = interval
    what = f"{field.file.path}: the interval of {field.name}"
    if start == end:  # some services repeat the nominal time
        raise UserError(
            f"{what} runs from {start} to {end}; a rain depth needs one that ends after it starts: "
            f"{BY_NAME} set reader.minutes to its length."
        )
    return minutes_between(start, end, what)


def predicted_times(field: OdimField) -> tuple[np.datetime64, np.datetime64]:
    """(what a forecast was made from, what it is valid for).

    Raises:
        UserError: no forecast is valid then.
    """
    interval = interval_of(field, required=False)
    nominal = nominal_time(field, interval)
    valid = nominal if interval is None else interval[1]
    stated = field.stated("how", "analysis_time")
    start = nominal if stated is None else moment_of(stated)
    if start is None or not start <= valid:
        raise UserError(
            f"{field.file.path} is made from {start} and valid for {valid} UTC; expected a "
            "forecast, whose field ends after what/date and what/time, or after how/analysis_time."
        )
    return start, valid
