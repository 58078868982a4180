"""How ODIM_H5 says that a field was predicted: marks in its how groups, or an interval that its
nominal time does not fit.
"""

from collections.abc import Iterator

import h5py
import numpy as np

from nowcast.readers.forecasts import refuse, refuse_by_attributes, says_forecast, states_analysis
from nowcast.readers.hdf5 import Hdf5File

_ROUNDING = np.timedelta64(60, "s")  # nominal times are rounded to the minute
_LONGEST_SCAN = np.timedelta64(
    900, "s"
)  # a composite is observed to up to 15 minutes after its nominal time (OPERA: 5)
_LATE_SCAN = np.timedelta64(
    180, "s"
)  # a scan may begin so long after its nominal time; forecasts are 5 minutes ahead or more
_MOST_GROUPS = 100


def refuse_forecast(file: Hdf5File, field: str) -> None:
    """Refuse a field that any group above it says to be predicted.

    Args:
        file: the open file.
        field: path of the field, e.g. ``dataset1/data1``.

    Raises:
        UserError: how/simulated is true, a lead time is above 0, or object, product or a text says
            forecast.
    """
    if (
        file.attribute("how", "lead_time_minutes") is not None
    ):  # as nowcast writes it, whatever its value
        refuse(
            file.path,
            "how/lead_time_minutes",
            repr(file.attribute("how", "lead_time_minutes")),
            "none",
        )
    described = [(name, file.described(name)) for name in _places(file, field)]
    for name, attributes in described:
        refuse_by_attributes(file.path, attributes, f"{name}/".lstrip("/"), words=False)
    if not any(states_analysis(attributes) for _, attributes in described):
        for name, attributes in described:
            refuse_by_attributes(file.path, attributes, f"{name}/".lstrip("/"))


def refuse_object(file: Hdf5File, kind: str) -> None:
    """Refuse a file whose object says that it is a forecast."""
    if says_forecast(kind):
        refuse(file.path, "what/object", repr(kind), "COMP, IMAGE or CVOL")


def refuse_reference(file: Hdf5File, field: str, time: np.datetime64) -> None:
    """Refuse a field that was made from an earlier time, as a how group says."""
    for name in _places(file, field):
        refuse_by_attributes(
            file.path,
            file.described(name),
            f"{name}/".lstrip("/"),
            times=np.array([time], "datetime64[s]"),
            words=False,
        )


def refuse_later_interval(
    file: Hdf5File,
    field: str,
    nominal: np.datetime64,
    interval: tuple[np.datetime64, np.datetime64],
    *,
    summed: bool,
) -> None:
    """Refuse a field whose interval lies after the nominal time.

    A composite may be nominal within its interval (OPERA: 10 minutes before to 5 after), and a scan
    may begin at the nominal time. A sum of what comes after it, or anything that begins later or is
    over long after, was not observed.

    Args:
        file: the open file.
        field: path of the field, for messages.
        nominal: what/date and what/time.
        interval: start and end of the field.
        summed: whether the field is an accumulation.

    Raises:
        UserError: so it is.
    """
    start, end = interval
    if start >= nominal + (_ROUNDING if summed else _LATE_SCAN):
        refuse(
            file.path,
            f"the start of {field} (startdate, starttime)",
            f"{start} UTC",
            f"none after what/date and what/time, {nominal} UTC",
        )
    after = start > nominal - _ROUNDING and summed
    if end >= nominal + _ROUNDING + (0 if after else _LONGEST_SCAN):
        refuse(
            file.path,
            f"the end of {field} (enddate, endtime)",
            f"{end} UTC",
            f"none after what/date and what/time, {nominal} UTC",
        )


def _places(file: Hdf5File, field: str) -> Iterator[str]:
    """Groups that describe a field: the file's, its dataset's and its own, with what is in their
    how.
    """
    for place in ("", field.rpartition("/")[0], field):
        yield from _groups(file, f"{place}/how".lstrip("/"))
        yield from (
            name
            for name in (f"{place}/what".lstrip("/"), place or "/")
            if file.find(name) is not None
        )


def _groups(file: Hdf5File, name: str) -> Iterator[str]:
    """A group and those in it, as far as there are any."""
    waiting, seen = [name], 0
    while waiting and seen < _MOST_GROUPS:
        current, seen = waiting.pop(0), seen + 1
        if isinstance(file.find(current), h5py.Group):
            yield current
            waiting += [f"{current}/{member}" for member in file.members(current)]
