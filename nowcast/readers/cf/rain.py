"""The rain fields of a data set as frames, or as a forecast of another system."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from nowcast.readers.cf.candidates import rain_field
from nowcast.readers.cf.choice import measured, member_axis
from nowcast.readers.cf.declared import named_marks, remarks_on
from nowcast.readers.cf.forecasts import refuse_by_times, refuse_by_words, refuse_predicted
from nowcast.readers.cf.grid import Layout, located
from nowcast.readers.cf.intervals import interval_of
from nowcast.readers.cf.masks import masks_beside, unused_masks
from nowcast.readers.cf.polar import refuse_polar
from nowcast.readers.cf.source import Source, Variable
from nowcast.readers.cf.times import Times, decoded, times_of
from nowcast.readers.cf.values import rain_rate
from nowcast.readers.decoding import Coding
from nowcast.readers.limits import MAX_PIXELS
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Frames, Grid

_MAX_VALUES = 2 * MAX_PIXELS  # of all frames of a file together


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
    field = rain_field(source, variable)
    refuse_polar(source, field)
    is_analysis = refuse_predicted(source, field)
    try:
        rain = _RainFields.of(source, field, coding)
    except UserError:
        if not is_analysis:  # that it is a forecast says more than what else is amiss
            refuse_by_words(source, field)
        raise
    refuse_by_times(source, field, rain.times, is_analysis=is_analysis)
    quantity = rain.coding.measured(source.path)
    values, times = rain.values()[0], rain.valid_times
    return Frames(values, times, rain.grid, str(source.path), quantity, remarks=rain.remarks)


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
    field = rain_field(source, variable)
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
    remarks: tuple[str, ...]

    @classmethod
    def of(
        cls, source: Source, field: Variable, coding: Coding, member_axis: int | None = None
    ) -> "_RainFields":
        path = source.path
        quantity, factor = measured(source, field)
        grid, layout, remarks = located(source, field)
        times = times_of(source, field)
        minutes = None
        if quantity == "rain_depth":
            minutes, remark = interval_of(source, field, times.minutes, coding.minutes)
            times, remarks = times.after(minutes), remarks + remark
        coding = replace(coding, quantity=quantity, minutes=minutes, gain=factor)
        if not times.ends.size:
            raise UserError(f"{path} contains no frame: its time has length 0; leave it out.")
        # stored in any order; a stable one keeps that of equal times, which are then refused
        order = np.argsort(times.ends, kind="stable")
        sorted_times = times.ends[order]
        twice = sorted_times[:-1][np.diff(sorted_times) == np.timedelta64(0, "s")]
        if twice.size:
            raise UserError(f"{path} contains several frames of {twice[0]} UTC; one is needed.")
        remarks += times.remarks
        masks = masks_beside(source, field)
        remarks += tuple(mask.remark for mask in masks) + unused_masks(source, field, masks)
        remarks += remarks_on(field, named_marks(source, field))
        rain = cls(source, field, grid, layout, coding, times, order, member_axis, remarks)
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
        index, masks = self._index(), masks_beside(self.source, self.field)
        for member, place in np.ndindex(*rates.shape[:2]):
            if self.times.axis is not None:
                index[self.times.axis] = int(self.order[place])
            if self.member_axis is not None:
                index[self.member_axis] = member
            stored = np.asarray(self.field.read(tuple(index), holes))
            beside = False
            for mask in masks:
                beside = beside | mask.missing(self.field, index)
            rate = rain_rate(self.source, self.field, stored, self.coding, beside)
            rates[member, place] = self.layout.oriented(rate)
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
