"""What users of a forecast ask for beside the rain rate: accumulated rain, probabilities, and where
to trust it. numpy only.

Legend: K thresholds, M members, T lead times, H rows, W columns.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from nowcast.runtime.errors import UserError
from nowcast.types.frames import Forecast, Frames

OBSERVED_ALWAYS, OBSERVED_SOMETIMES, OBSERVED_NEVER = 0, 1, 2
"""Values of ``Products.quality``."""
QUALITY_MEANINGS = (
    "observed_in_every_context_frame",
    "observed_in_some_context_frames",
    "observed_in_no_context_frame",
)
"""The same in words, by value."""
PROBABILITY_SOURCES = {
    "model": "of the pixel itself, as the model learnt it; see its model card for how reliable",
    "calibrated": "of the pixel itself, as the model learnt it, those of heavy rain corrected by "
    "how reliable they were in the last hours; the attribute calibration of the file says how",
    "ensemble": "share of the ensemble's members that reach the threshold; not calibrated",
    "neighbourhood": "share of the neighbouring pixels that reach the threshold; not calibrated",
}
"""Where probabilities come from, in words."""


@dataclass(frozen=True, eq=False)
class Products:
    """A forecast and what was derived from it.

    Args:
        forecast: rain rates [mm/h], (T, H, W).
        depth: rain [mm] from the analysis time to each lead time, (T, H, W) float32; a pixel
            without a forecast at one lead time has no depth from there on (NaN).
        thresholds: K rain rates [mm/h], ascending.
        probability: of a rain rate that reaches the threshold, 0 to 1, (K, T, H, W) float32, NaN
            where there is no forecast. Shares of a neighbourhood or of an ensemble are **not
            calibrated**: 0.3 need not come true in 3 cases of 10; a model's own are as good as its
            training.
        probability_source: a key of ``PROBABILITY_SOURCES``.
        quality: (H, W) uint8: 0 the pixel was observed in every context frame, 1 in some, 2 in none
            (there is no forecast there); None where the context was not given.
    """

    forecast: Forecast
    depth: np.ndarray
    thresholds: tuple[float, ...]
    probability: np.ndarray
    probability_source: str
    quality: np.ndarray | None


def derive(
    forecast: Forecast,
    context: Frames | None,
    *,
    thresholds: Sequence[float] = (0.1, 1.0, 5.0),
    radius_km_per_hour: float = 30.0,
) -> Products:
    """Derive depth, probabilities and quality from a forecast.

    Probabilities that the model itself predicted (``Forecast.probability``) are taken as they are;
    else those of an ensemble (``Forecast.members``) are the share of its members with a value.
    Those of any other single forecast come from its neighbourhood (Theis et al. 2005, Meteorol.
    Appl. 12; Schwartz et al. 2010, Weather and Forecasting 25): the share of the pixels with a
    forecast that reach the threshold, in a square around the pixel that grows with lead time. By
    default its half width is 30 km per hour of lead time, so its side is the 1 km a minute that
    Germann and Zawadzki (2004, J. Appl. Meteorol. 43) found best for a continent. The square is ``2
    n + 1`` pixels wide with the most n that keep ``n`` pixels within the half width; pixels are
    measured as the map projection has them (degrees: on a sphere, at the latitude of the grid's
    middle row). At the edges only pixels on the grid count. That is not calibrated.

    Args:
        forecast: what to derive from.
        context: the frames it was made from, for the quality; None where they are not at hand.
        thresholds: rain rates [mm/h], positive and ascending; those of the forecast's own
            probabilities, where it has such.
        radius_km_per_hour: half width of the neighbourhood [km] per hour of lead time; 0 looks at
            the pixel alone.

    Raises:
        UserError: a context of another grid or time, thresholds that are not ascending or not those
            of the forecast's own probabilities, or a bad radius.
    """
    thresholds = checked_thresholds(thresholds)
    if not 0 <= radius_km_per_hour < math.inf:
        raise UserError(
            f"radius_km_per_hour is {radius_km_per_hour!r}; the neighbourhood must grow by 0 or "
            "more kilometres an hour, e.g. 30."
        )
    quality = None if context is None else _quality(forecast, context)
    if quality is not None:
        forecast = _without_unobserved(forecast, quality)
    if forecast.probability is not None:
        source = "model"
        probability = _of_model(forecast, thresholds)
    elif forecast.members is not None:
        source = "ensemble"
        probability = _share_of_members(forecast, thresholds)
    else:
        source = "neighbourhood"
        probability = _share_of_neighbours(forecast, thresholds, radius_km_per_hour)
    return Products(forecast, rain_depth(forecast), thresholds, probability, source, quality)


def _of_model(forecast: Forecast, thresholds: tuple[float, ...]) -> np.ndarray:
    """The forecast's own probabilities, (K, T, H, W), where it has rain rates."""
    if forecast.thresholds != thresholds:
        raise UserError(
            f"the forecast has probabilities of the rain rates {forecast.thresholds}, but the "
            f"thresholds {thresholds} were given; give those it was made with."
        )
    return np.where(np.isnan(forecast.values), np.float32(np.nan), forecast.probability)


def checked_thresholds(thresholds: Sequence[float]) -> tuple[float, ...]:
    """Thresholds [mm/h] as numbers, or a UserError where they are not positive and ascending."""
    try:
        checked = tuple(float(threshold) for threshold in thresholds)
    except (TypeError, ValueError):
        checked = ()
    ascending = all(low < high for low, high in zip((0.0, *checked), (*checked, math.inf)))
    if not checked or not ascending:
        raise UserError(
            "expected one or more positive thresholds [mm/h] in ascending order, e.g. 0.1, 1, 5, "
            f"got {thresholds!r}."
        )
    return checked


def _quality(forecast: Forecast, context: Frames) -> np.ndarray:
    """In how many of the context frames a pixel was observed, (H, W) uint8."""
    difference = forecast.grid.difference(context.grid)
    if difference:
        raise UserError(
            f"the forecast and its context lie on different grids: {difference}; give the frames "
            "the forecast was made from."
        )
    if not len(context) or context.times[-1] != forecast.analysis_time:
        newest = f"ends at {context.times[-1]} UTC" if len(context) else "is empty"
        raise UserError(
            f"the context {newest}, but the forecast starts at {forecast.analysis_time} UTC; "
            "give the frames the forecast was made from."
        )
    missing = np.zeros(context.grid.shape, np.int32)
    for frame in context.values:
        missing += np.isnan(frame)
    quality = np.full(missing.shape, OBSERVED_SOMETIMES, np.uint8)
    quality[missing == 0] = OBSERVED_ALWAYS
    quality[missing == len(context)] = OBSERVED_NEVER
    return quality


def _without_unobserved(forecast: Forecast, quality: np.ndarray) -> Forecast:
    """The forecast with NaN where nothing was ever observed; what `Forecaster` gives is so already
    and returned as it is.
    """
    never = quality == OBSERVED_NEVER
    if all(np.isnan(field[never]).all() for field in forecast.values):
        return forecast
    values, expected = forecast.values, forecast.expected
    if expected is not None:
        expected = np.where(never, np.float32(np.nan), expected)
    return replace(forecast, values=np.where(never, np.float32(np.nan), values), expected=expected)


def rain_depth(forecast: Forecast) -> np.ndarray:
    """Rain [mm] from the analysis time on, (T, H, W); a rate holds for the step that ends at its
    time.

    Of a distribution it is that of the mean rates, whichever number of it the forecast is: the
    mean of a sum is the sum of the means, while sums of medians are no median and too small.
    """
    hours = np.diff(forecast.lead_times, prepend=np.timedelta64(0, "s")) / np.timedelta64(3600, "s")
    total = np.zeros(forecast.grid.shape, np.float64)
    rates = forecast.values if forecast.expected is None else forecast.expected
    depth = np.empty_like(rates)
    for rate, duration, sum_so_far in zip(rates, hours, depth):
        total += rate * duration
        sum_so_far[...] = total
    return depth


def _share_of_members(forecast: Forecast, thresholds: tuple[float, ...]) -> np.ndarray:
    """Of the members that have a value, the share that reaches each threshold, (K, T, H, W)."""
    probability = np.empty((len(thresholds), *forecast.values.shape), np.float32)
    for lead, field in enumerate(forecast.values):
        ensemble = forecast.members[:, lead]
        weight = _one_over(np.count_nonzero(~np.isnan(ensemble), axis=0), where=~np.isnan(field))
        for share, threshold in zip(probability[:, lead], thresholds):
            share[...] = np.count_nonzero(ensemble >= threshold, axis=0) * weight
    return probability


def _share_of_neighbours(
    forecast: Forecast, thresholds: tuple[float, ...], radius_km_per_hour: float
) -> np.ndarray:
    """Of the pixels around with a forecast, the share that reaches each threshold, (K, T, H, W)."""
    probability = np.empty((len(thresholds), *forecast.values.shape), np.float32)
    spacing, rates = forecast.grid.kilometres, forecast.values
    if forecast.expected is not None:  # the single field, of which the values say yes or no
        rates = forecast.expected
    for lead, (field, time) in enumerate(zip(rates, forecast.lead_times)):
        radius = radius_km_per_hour * (time / np.timedelta64(3600, "s"))
        reach = [_pixels_within(radius, *side) for side in zip(spacing, field.shape)]
        known = ~np.isnan(field)
        weight = _one_over(box_sum(known, *reach), where=known)
        for share, threshold in zip(probability[:, lead], thresholds):
            share[...] = box_sum(field >= threshold, *reach) * weight
    return probability


def _one_over(count: np.ndarray, *, where: np.ndarray) -> np.ndarray:
    """1 / count in float64 (a count times it is 1 to the last bit of float32); NaN elsewhere and
    where nothing was counted.
    """
    return np.divide(1.0, count, out=np.full(count.shape, np.nan), where=where & (count > 0))


def box_sum(values: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Number of True within so many rows and columns on each side, (H, W) bool -> int32; outside
    the array nothing counts.
    """
    if not values.any():
        return np.zeros(values.shape, np.int32)
    return _sum_along_columns(_sum_along_rows(values, columns), rows)


def _sum_along_rows(values: np.ndarray, reach: int) -> np.ndarray:
    """Sums from ``reach`` columns to the left to ``reach`` to the right, (H, W) -> int32:
    differences of cumulative sums.
    """
    if reach == 0:
        return values.astype(np.int32)
    width = values.shape[1]
    reach = min(reach, width)
    total = np.cumsum(values, axis=1, dtype=np.int32)
    sums = np.empty_like(total)
    sums[:, : width - reach] = total[:, reach:]
    sums[:, width - reach :] = total[:, -1:]
    sums[:, reach + 1 :] -= total[:, : max(width - reach - 1, 0)]
    return sums


def _sum_along_columns(values: np.ndarray, reach: int) -> np.ndarray:
    """Sums from ``reach`` rows above to ``reach`` below, (H, W) int32: a row enters, a row leaves;
    four times as fast as cumulative sums.
    """
    if reach == 0:
        return values
    sums, total = np.empty_like(values), values[:reach].sum(axis=0, dtype=np.int32)
    for row, sum_here in enumerate(sums):
        if row + reach < len(values):
            total += values[row + reach]
        if row > reach:
            total -= values[row - reach - 1]
        sum_here[...] = total
    return sums


def _pixels_within(radius: float, pixel: float, size: int) -> int:
    """Whole pixels [km] within a radius [km], at most the grid's size; 0 on an axis with one cell,
    whose width is unknown.
    """
    if not pixel > 0:
        return 0
    # A radius of 2.5 km contains 5 pixels of 0.5 km, whatever the rounding.
    return int(min(radius / pixel + 1e-6, size))
