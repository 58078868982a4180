"""The rain fields of a data set as frames, or as a forecast of another system."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from nowcast.readers.cf.choice import measured, member_axis, rain_variable
from nowcast.readers.cf.forecasts import refuse_by_times, refuse_by_words, refuse_predicted
from nowcast.readers.cf.grid import Layout, located
from nowcast.readers.cf.source import Source, Variable
from nowcast.readers.cf.times import Times, decoded, times_of
from nowcast.readers.decoding import Coding, equals, interval_minutes
from nowcast.readers.limits import MAX_PIXELS
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Frames, Grid

_MAX_VALUES = 2 * MAX_PIXELS  # of all frames of a file together
_DRY_FLAG = re.compile(
    r"(no|zero)_?(rain|rainfall|precip|precipitation|echo)|dry|undetect(ed)?|not_?detected"
    r"|below_(detection|threshold)(_limit|_level)?",
    re.IGNORECASE,
)
_PACKING_NOISE = 1e-6  # mm/h; scale and offset can turn a stored 0 into as little below 0


@dataclass(frozen=True)
class PredictedRain:
    """What a file of another system says about a forecast.

    Args:
        analysis_time: UTC, the time it was made from.
        valid_times: UTC, (T,), ascending.
        members: M; None: it is no ensemble.
        grid: where the pixels are.
        values: gives the rain rates [mm/h], (M, T, H, W), M = 1 without members; NaN = no forecast.
    """

    analysis_time: np.datetime64
    valid_times: np.ndarray
    members: int | None
    grid: Grid
    values: Callable[[], np.ndarray]


def frames(source: Source, variable: str | None, coding: Coding) -> Frames:
    """The rain fields of a data set.

    Args:
        source: the data set.
        variable: its variable with the rain; None: the one whose standard name says so, rates
            before depths before reflectivities.
        coding: the interval of rain depths where no time bounds say it (times are then the ends of
            intervals), and a and b of Z = a R^b for reflectivities.

    Raises:
        UserError: something is missing, not understood, contradictory, or not on a regular grid.
    """
    field = rain_variable(source, variable)
    is_analysis = refuse_predicted(source, field)
    try:
        rain = _RainFields.of(source, field, coding)
    except UserError:
        if not is_analysis:  # that it is a forecast says more than what else is amiss
            refuse_by_words(source, field)
        raise
    refuse_by_times(source, field, rain.times, is_analysis=is_analysis)
    quantity = rain.coding.measured(source.path)
    return Frames(rain.values()[0], rain.valid_times, rain.grid, str(source.path), quantity)


def forecast(source: Source, variable: str | None, coding: Coding) -> PredictedRain:
    """A forecast of one analysis time, whose fields are read when they are asked for. Arguments as
    for ``frames``.

    The analysis time is that of the coordinate with the standard name forecast_reference_time; a
    file without one (pysteps writes none) is taken to begin one step after it. An ensemble has an
    axis whose coordinate is called or named realization, member or ens_number.

    Raises:
        UserError: as ``frames``, or a forecast whose analysis time is not stated, or is not before
            its fields.
    """
    field = rain_variable(source, variable)
    rain = _RainFields.of(source, field, coding, member_axis(source, field))
    times = rain.valid_times
    stated = [
        one
        for one in source.variables.values()
        if one.text("standard_name") == "forecast_reference_time" and math.prod(one.shape) == 1
    ]
    if stated:
        analysis_time = decoded(source, stated[0]).reshape(-1)[0]
    elif len(times) > 1:
        analysis_time = times[0] - (times[1] - times[0])
    else:
        raise UserError(
            f"{source.path} has neither a forecast_reference_time nor a second lead time, so "
            "its analysis time is unknown; add the coordinate."
        )
    if analysis_time >= times[0]:
        raise UserError(
            f"{source.path} has a field for {times[0]} UTC, not after its analysis time "
            f"{analysis_time} UTC; a forecast is needed."
        )
    return PredictedRain(analysis_time, times, rain.members, rain.grid, rain.values)


@dataclass(frozen=True)
class _RainFields:
    """The rain fields of a data set: all but their values, which are read when asked for."""

    source: Source
    field: Variable
    grid: Grid
    layout: Layout
    coding: Coding
    times: Times
    order: np.ndarray
    member_axis: int | None

    @classmethod
    def of(
        cls, source: Source, field: Variable, coding: Coding, member_axis: int | None = None
    ) -> "_RainFields":
        path = source.path
        quantity, factor = measured(field)
        grid, layout = located(source, field)
        times = times_of(source, field)
        minutes = None
        if quantity == "rain_depth":
            minutes = _interval(field, times.minutes, coding.minutes)
        coding = replace(coding, quantity=quantity, minutes=minutes, gain=factor)
        if not times.ends.size:
            raise UserError(f"{path} contains no frame: its time has length 0; leave it out.")
        # stored in any order; a stable one keeps that of equal times, which are then refused
        order = np.argsort(times.ends, kind="stable")
        sorted_times = times.ends[order]
        twice = sorted_times[:-1][np.diff(sorted_times) == np.timedelta64(0, "s")]
        if twice.size:
            raise UserError(f"{path} contains several frames of {twice[0]} UTC; one is needed.")
        rain = cls(source, field, grid, layout, coding, times, order, member_axis)
        if (rain.members or 1) * order.size * math.prod(grid.shape) > _MAX_VALUES:
            raise UserError(
                f"{path} contains {order.size} frames of {grid.shape[0]}x{grid.shape[1]} pixels; "
                f"more than {_MAX_VALUES} values in one file are refused, split it by time."
            )
        return rain

    @property
    def valid_times(self) -> np.ndarray:
        """UTC, (T,), ascending."""
        return self.times.ends[self.order]

    @property
    def members(self) -> int | None:
        """How many fields there are for each time, where they are the members of an ensemble."""
        return None if self.member_axis is None else self.field.shape[self.member_axis]

    def values(self) -> np.ndarray:
        """Rain rates [mm/h], (M, T, H, W) float32, in the order of time; M = 1 without members."""
        rates = np.empty((self.members or 1, self.order.size, *self.grid.shape), np.float32)
        holes = self.source.reads_unwritten_as_missing(self.field)
        index = self._index()
        for member, place in np.ndindex(*rates.shape[:2]):
            if self.times.axis is not None:
                index[self.times.axis] = int(self.order[place])
            if self.member_axis is not None:
                index[self.member_axis] = member
            stored = self.layout.oriented(np.asarray(self.field.read(tuple(index), holes)))
            rates[member, place] = _rain_rate(self.source, self.field, stored, self.coding)
        return rates

    def _index(self) -> list[int | slice]:
        """An index of the field that takes a whole map; those of time and member are set later."""
        index: list[int | slice] = [0] * len(self.field.dims)
        index[self.layout.y_axis] = index[self.layout.x_axis] = slice(None)
        for axis, (dim, length) in enumerate(zip(self.field.dims, self.field.shape)):
            is_known = index[axis] != 0 or axis in (self.times.axis, self.member_axis)
            if length != 1 and not is_known:
                raise UserError(
                    f"{self.field.path}: {self.field.name} has {length} fields along {dim} for "
                    "each time; a single one is needed."
                )
        return index


def _interval(field: Variable, stated: np.ndarray | None, minutes: float | None) -> float:
    """Minutes of a rain depth, by bounds or by the setting."""
    if stated is None or not stated.size:
        if minutes is None:
            raise UserError(
                f"{field.path}: {field.name} is a rain depth, but nothing says over how long (its "
                "time has no bounds); set reader.minutes."
            )
        return minutes
    lengths = np.unique([interval_minutes(length) for length in stated.tolist()])
    if lengths.size > 1 or lengths[0] <= 0 or minutes not in (None, lengths[0]):
        wanted = "one length above 0" if minutes is None else f"{minutes:g} (reader.minutes)"
        raise UserError(
            f"{field.path}: its time bounds are {', '.join(f'{one:g}' for one in lengths[:5])} "
            f"minutes apart; {wanted} is needed."
        )
    return float(lengths[0])


def _rain_rate(source: Source, field: Variable, stored: np.ndarray, coding: Coding) -> np.ndarray:
    """Rain rate [mm/h] of stored values, (H, W) float32; NaN = not observed."""
    stored = stored.view(field.stored_dtype)
    missing, dry = np.isnan(stored), np.zeros(stored.shape, bool)
    for mark in source.missing_marks(field):
        missing |= equals(stored, mark)
    for mark, is_dry in _flags(field):
        (dry if is_dry else missing)[equals(stored, mark)] = True
    values = field.unpacked(stored)
    missing |= _outside(field, "valid_min", stored, values)
    missing |= _outside(field, "valid_max", stored, values)
    values[missing | dry] = np.nan
    # reflectivities may well be below 0; rates and depths are so by rounding only
    if field.is_packed and coding.quantity != "reflectivity":
        rounded = values >= -_offset_rounding(field)
        values[(values < 0) & (rounded | (values * coding.gain > -_PACKING_NOISE))] = 0.0
    rates = coding.rain_rate(values, field.path)
    rates[dry & ~missing] = 0.0
    return rates


def _offset_rounding(field: Variable) -> float:
    """How far below 0 a stored 0 may come out where the offset is a number of 32 bits, in the
    field's unit.
    """
    offset = abs(field.number("add_offset", 0.0))
    return float(np.spacing(np.float32(offset))) if 0 < offset < 1e6 else 0.0


def _flags(field: Variable) -> list[tuple[int | float, bool]]:
    """(stored number, whether it means dry; else it means missing) of a field's flags."""
    values, meanings = field.numbers("flag_values"), field.text("flag_meanings").split()
    if len(values) != len(meanings):
        raise UserError(
            f"{field.path}: {field.name} has {len(values)} flag_values, but {len(meanings)} "
            "flag_meanings; the file contradicts itself."
        )
    return [(value, bool(_DRY_FLAG.fullmatch(word))) for value, word in zip(values, meanings)]


def _outside(field: Variable, name: str, stored: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Where values lie outside the end of the valid range that ``name`` is, (H, W)."""
    both = field.numbers("valid_range")
    limits = field.numbers(name)
    for attribute, found, count in ((name, limits, 1), ("valid_range", both, 2)):
        if len(found) not in (0, count):
            raise UserError(
                f"{field.path}: {field.name} has {len(found)} numbers in {attribute}; expected "
                f"{count}."
            )
    limits = limits or (both[:1] if name == "valid_min" else both[1:])
    if not limits:
        return np.zeros(stored.shape, bool)
    (limit,) = limits
    # as the NetCDF guide says: the limit's type decides whether it is of packed or unpacked values
    of_values = field.is_packed and stored.dtype.kind in "iu" and isinstance(limit, float)
    compared = values if of_values else stored
    with np.errstate(invalid="ignore"):
        return compared < limit if name == "valid_min" else compared > limit
