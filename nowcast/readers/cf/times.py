"""UTC times of the fields of a data set, and the intervals that their bounds state."""

import math
from typing import NamedTuple

import numpy as np

from nowcast.readers.cf import units
from nowcast.readers.cf.grid import require_length
from nowcast.readers.cf.source import Source, Variable
from nowcast.readers.decoding import equals
from nowcast.runtime.errors import UserError

TIME_NAMES = ("time", "valid_time")


class Times(NamedTuple):
    """Times of a field's maps as they are stored.

    Attributes:
        ends: UTC, (T,) datetime64[s]; ends of intervals where there are bounds.
        minutes: lengths of the intervals, (T,); None without bounds.
        axis: the field's axis of time; None if it has a single one.
    """

    ends: np.ndarray
    minutes: np.ndarray | None
    axis: int | None

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
    axis, coordinate = _time_coordinate(source, field)
    bounds = source.variables.get(coordinate.text("bounds"))
    if bounds is None:
        return Times(decoded(source, coordinate).reshape(-1), None, axis)
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


def _time_coordinate(source: Source, field: Variable) -> tuple[int | None, Variable]:
    """(the field's axis of time, None if the field has a single one; its coordinate)."""
    named = source.find(field.text("coordinates"))
    for axis, dim in enumerate(field.dims):
        for one in [*source.find([dim]), *named]:
            if one.dims == (dim,) and _is_time(one):
                require_length(field, axis, one)
                return axis, one
    for one in [*named, *source.variables.values()]:
        if math.prod(one.shape) == 1 and len(one.shape) <= 1 and _is_time(one):
            return None, one
    raise UserError(
        f"{source.path}: {field.name} has no time: no coordinate with the standard name time and "
        "units such as 'minutes since 2020-01-01 00:00'."
    )


def _is_time(variable: Variable) -> bool:
    name = variable.text("standard_name")
    named = name == "time" or (not name and variable.name.lower() in TIME_NAMES)
    return (named or variable.text("axis") == "T") and variable.counts_time
