"""UTC times of the fields of a data set, and the intervals that their bounds state."""

import math
import re
from typing import NamedTuple

import numpy as np

from nowcast.readers.cf import units
from nowcast.readers.cf.coordinates import require_length
from nowcast.readers.cf.source import Source, Variable
from nowcast.readers.cf.told import Lacking
from nowcast.readers.decoding import equals
from nowcast.readers.moments import as_text, moment_of
from nowcast.readers.names import time_in_name
from nowcast.runtime.errors import UserError

TIME_NAMES = ("time", "valid_time")
_INTERVAL = "(interval|period|accumulation|integration|aggregation|measurement|window|step|bin|sum)"
_START = re.compile(
    rf"\b(starts?|begin(s|ning)?)( time)?( of)?( the| each| an?)?( [a-z]+)? {_INTERVAL}\b"
    rf"|\b{_INTERVAL}( period| interval| time)? (starts?|begin(s|ning)?)\b"
    r"|^(start|begin(ning)?) (time|date)s?\b"
)
_END = re.compile(rf"\bend(s|ing)?( time)?( of)?( the| each| an?)?( [a-z]+)? {_INTERVAL}\b")


class Times(NamedTuple):
    """Times of a field's maps as they are stored.

    Attributes:
        ends: UTC, (T,) datetime64[s]; ends of intervals where there are bounds.
        minutes: lengths of the intervals, (T,); None without bounds.
        axis: the field's axis of time; None if it has a single one.
        remarks: where they were found, if that is unusual.
        are_starts: whether they are said to be the starts of intervals, which have no bounds.
    """

    ends: np.ndarray
    minutes: np.ndarray | None
    axis: int | None
    remarks: tuple[str, ...] = ()
    are_starts: bool = False

    def after(self, minutes: float) -> "Times":
        """The ends of intervals of this length where the times are said to be their starts, else
        these times.
        """
        if not self.are_starts:
            return self
        length = np.timedelta64(round(60 * minutes), "s")
        remark = "its times are said to be the starts of intervals; their ends were taken"
        return Times(
            self.ends + length,
            np.full(self.ends.shape, float(minutes)),
            self.axis,
            (*self.remarks, remark),
        )

    @property
    def starts(self) -> np.ndarray:
        """Where the intervals begin; the times themselves without bounds."""
        if self.minutes is None:
            return self.ends
        return self.ends - (60 * self.minutes).astype("timedelta64[s]")


def times_of(source: Source, field: Variable) -> Times:
    """The times of a field.

    Raises:
        UserError: none, more than one for a map, or bounds that do not fit.
    """
    told = source.told.time
    if told is not None and told not in source.variables:
        return Times(_told_moment(source, field, told).reshape(1), None, None)
    axis, coordinate = _time_coordinate(source, field)
    bounds = source.variables.get(coordinate.text("bounds"))
    if bounds is None:
        ends = decoded(source, coordinate).reshape(-1)
        return Times(ends, None, axis, are_starts=_says_start(coordinate))
    if bounds.shape != (*coordinate.shape, 2):
        raise UserError(
            f"{source.path}: {bounds.name} has the shape {bounds.shape}; bounds of "
            f"{coordinate.name} are two for each time."
        )
    start, end = decoded(source, bounds, coordinate).reshape(-1, 2).T
    if (end < start).any():
        first = int(np.argmax(end < start))
        raise UserError(
            f"{source.path}: an interval in {bounds.name} runs from {start[first]} to "
            f"{end[first]} UTC; expected one that does not end before it starts."
        )
    return Times(end, (end - start) / np.timedelta64(60, "s"), axis)


def moment(source: Source, name: str) -> np.datetime64:
    """The UTC time in a variable with a single one.

    Raises:
        UserError: there is no such variable, or no single time in it.
    """
    variable = source.variables.get(name)
    if variable is None or math.prod(variable.shape) != 1:
        found = "missing" if variable is None else f"of shape {variable.shape}"
        raise UserError(
            f"{source.path}: {name} is {found}; expected a single time, it is cut short or of "
            "another format."
        )
    return decoded(source, variable).reshape(())[()]


def decoded(source: Source, values: Variable, coordinate: Variable | None = None) -> np.ndarray:
    """UTC times of a time coordinate, or of its bounds, whose units may stand with the coordinate.

    Raises:
        UserError: a time is missing, or the units are not understood.
    """
    described = values if coordinate is None or values.text("units") else coordinate
    where, numbers = f"{source.path}: {values.name}", values.all()
    if described.is_packed:
        numbers = described.unpacked(numbers)
    for mark in source.missing_marks(values):
        if equals(numbers, mark).any():
            raise UserError(
                f"{where} has a time that is missing ({mark:g}); expected a number for each."
            )
    calendar = described.text("calendar") or "standard"
    return units.times(numbers, described.text("units"), calendar, where)


def _told_moment(source: Source, field: Variable, told: str) -> np.ndarray:
    """The UTC time of a field's only map, by the form of file names or the attributes that are set
    ("date time": two of them together).
    """
    if "%" in told:
        return np.asarray(time_in_name(source.path, told, "reader.time"))
    known = source.attributes | field.attributes
    words = []
    for name in told.split():
        where = "variable or attribute for reader.time"
        source.told.require_name(name, [*source.variables, *known], source.path, where)
        words.append(str(as_text(known.get(name, ""))))
    moment = moment_of(" ".join(words))
    if moment is None:
        raise UserError(
            f"{source.path}: {told} is {' '.join(words)!r:.200}, which is no UTC time such as "
            "'2020-01-01 00:00'; set reader.time to another variable or attribute."
        )
    return np.asarray(moment)


def _time_coordinate(source: Source, field: Variable) -> tuple[int | None, Variable]:
    """(the field's axis of time, None if the field has a single one; its coordinate)."""
    if source.told.time is not None:
        candidates = source.find([source.told.time])
    else:
        candidates = [one for one in source.variables.values() if _is_time(one)]
    named = source.find(field.text("coordinates"))
    for axis, dim in enumerate(field.dims):
        for one in [*source.find([dim]), *named, *candidates]:
            if one.dims == (dim,) and one in candidates:
                require_length(field, axis, one)
                return axis, one
    for one in [*named, *candidates]:
        if math.prod(one.shape) == 1 and len(one.shape) <= 1 and one in candidates:
            return None, one
    raise Lacking(
        f"{source.path}: {field.name} has no time: no coordinate with the standard name time and "
        f"units such as 'minutes since 2020-01-01 00:00'; {source.told.setting('time')} to the "
        f"variable or attribute that has it{_seen_times(source)}, or to the form of the time in "
        "the file's name, such as %Y%m%d%H%M.",
        ("time",),
    )


def _seen_times(source: Source) -> str:
    """Names of variables and attributes that could be a time, in brackets."""
    found = [one.name for one in source.variables.values() if one.counts_time]
    for name, value in source.attributes.items():
        if isinstance(value, str) and moment_of(value) is not None:
            found.append(name)
    return f" ({', '.join(found[:10])})" if found else ""


def _says_start(coordinate: Variable) -> bool:
    """Whether a coordinate of times says that they are the starts of intervals, and not of ends."""
    texts = [coordinate.text(name) for name in ("long_name", "description", "comment")]
    said = re.sub(r"[^a-z]+", " ", " . ".join(texts).lower()).strip()
    return _START.search(said) is not None and _END.search(said) is None


def _is_time(variable: Variable) -> bool:
    name = variable.text("standard_name")
    named = name == "time" or (not name and variable.name.lower() in TIME_NAMES)
    return (named or variable.text("axis") == "T") and variable.counts_time
