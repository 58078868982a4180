"""How ODIM_H5 says that a field was predicted: marks in its how groups, or an interval that its
nominal time does not fit.
"""

from collections.abc import Iterator

import h5py
import numpy as np

from nowcast.readers.forecasts import refuse, refuse_by_marks, refuse_by_texts, says_forecast
from nowcast.readers.hdf5 import Hdf5File
from nowcast.readers.odim_attributes import OdimField
from nowcast.readers.odim_placement import BY_NAME

_ROUNDING = np.timedelta64(60, "s")  # nominal times are rounded to the minute
# a composite is observed to up to 15 minutes after its nominal time (OPERA: 5)
_LONGEST_SCAN = np.timedelta64(900, "s")
# a scan may begin so long after its nominal time; forecasts are 5 minutes ahead or more
_LATE_SCAN = np.timedelta64(180, "s")
_MOST_GROUPS = 100


def refuse_forecast(file: Hdf5File, field: OdimField) -> None:
    """Refuse a field that any group above it says to be predicted.

    Args:
        file: the open file.
        field: the field.

    Raises:
        UserError: how/simulated is true, a lead time is above 0, or object, product or a text says
            forecast.
    """
    lead = file.attribute("how", "lead_time_minutes")
    if lead is not None:  # as nowcast writes it, whatever its value
        refuse(file.path, "how/lead_time_minutes", repr(lead), "none")
    described = _described(file, field)
    if not refuse_by_marks(file.path, described):
        refuse_by_texts(file.path, described)


def refuse_object(file: Hdf5File, kind: str) -> None:
    """Refuse a file whose object says that it is a forecast."""
    if says_forecast(kind):
        refuse(file.path, "what/object", repr(kind), "COMP, IMAGE or CVOL")


def refuse_reference(file: Hdf5File, field: OdimField, time: np.datetime64) -> None:
    """Refuse a field that was made from an earlier time, as a how group says."""
    refuse_by_marks(file.path, _described(file, field), np.array([time], "datetime64[s]"))


def refuse_later_interval(
    file: Hdf5File,
    field: str,
    nominal: np.datetime64,
    interval: tuple[np.datetime64, np.datetime64],
    *,
    summed: bool,
    begins: bool = False,
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
        begins: whether the settings say that an accumulation begins at its nominal time.

    Raises:
        UserError: so it is.
    """
    start, end = interval
    expected = f"none after what/date and what/time, {nominal} UTC"
    if start >= nominal + (_ROUNDING if summed else _LATE_SCAN):
        name = f"the start of {field} (startdate, starttime)"
        refuse(file.path, name, f"{start} UTC", expected)
    is_sum_of_later = summed and start > nominal - _ROUNDING
    if is_sum_of_later and begins:
        return
    if is_sum_of_later:
        expected += (
            f" (if that is the start of what was observed, {BY_NAME} set reader.nominal=start)"
        )
    if end >= nominal + _ROUNDING + (0 if is_sum_of_later else _LONGEST_SCAN):
        refuse(file.path, f"the end of {field} (enddate, endtime)", f"{end} UTC", expected)


def _described(file: Hdf5File, field: OdimField) -> list[tuple[str, dict]]:
    """(what stands before their names in messages, attributes) of the file, the field's dataset and
    itself, with what is in their groups how and what.
    """
    names = {}
    for place in reversed(field.places("how")):
        names |= dict.fromkeys(_groups(file, place) if place.endswith("how") else (place,))
    names |= dict.fromkeys(reversed(field.places("what")))
    return [(f"{name}/".lstrip("/"), file.described(name)) for name in names]


def _groups(file: Hdf5File, name: str) -> Iterator[str]:
    """A group and those in it, as far as there are any."""
    waiting, seen = [name], 0
    while waiting and seen < _MOST_GROUPS:
        current, seen = waiting.pop(0), seen + 1
        if isinstance(file.find(current), h5py.Group):
            yield current
            waiting += [f"{current}/{member}" for member in file.members(current)]
