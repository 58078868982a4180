"""Sums of the fractions skill score (Roberts and Lean 2008): events counted in a window around
every pixel.

With the share S of a window's pixels that have an event, FSS = 1 - sum (Sf - So)^2 / (sum Sf^2 +
sum So^2) = 2 sum Sf So / (sum Sf^2 + sum So^2). The window's area cancels, so that S may be the
number of events in it: all sums are whole numbers. A window that leaves the grid finds no events
outside. A missing pixel is treated like one outside: it has no event in either field, and is no
centre of a window.

H rows, W columns, K thresholds, N windows.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from nowcast.evaluation.statistics.by_functional import Forecast, event_fields, field_of
from nowcast.evaluation.statistics.scores import fss, ratio
from nowcast.evaluation.statistics.sums import AddedSums, ScoreKey, Values, fields_of
from nowcast.types.arrays import unmasked

# pixels; 10^12 events squared times 10^4 pixels a side are still whole numbers in float64
LARGEST_WINDOW = 1000
_EXACT = 2**24  # up to which every whole number is a float32
_LEAST = 64  # columns for which float32 is still the faster one
_STRIP = 128  # rows worked on at once: their counts stay in the processor's cache


class FractionSums(AddedSums):
    """Sums of the fractions skill score over fields.

    Args:
        thresholds: K rain rates [mm/h].
        windows: N widths [pixels].
        forecast_length: T.

    Attributes:
        events, pixels: observed events and pixels that count, (K, T), (T,).
        fraction_products, fraction_squares: sums of Sf So and of Sf^2 + So^2, (K, N, T).
    """

    def __init__(
        self, thresholds: tuple[float, ...], windows: tuple[int, ...], forecast_length: int
    ):
        self.thresholds, self.windows = thresholds, windows
        self.events = np.zeros((len(thresholds), forecast_length))
        self.pixels = np.zeros(forecast_length)
        fractions = np.zeros((2, len(thresholds), len(windows), forecast_length))
        self.fraction_products, self.fraction_squares = fractions

    def add(self, forecast: Forecast, observation: np.ndarray) -> None:
        """Add a batch, see ``SumsTogether.add``."""
        for which, field in event_fields(forecast, self.thresholds):
            for lead, f, o in fields_of(field, observation):
                sums = fraction_sums(f, o, self.thresholds[which], self.windows)
                self.fraction_products[which, :, lead] += sums[0]
                self.fraction_squares[which, :, lead] += sums[1]
        thresholds = np.asarray(self.thresholds, np.float32)[:, None, None]
        for lead, f, o in fields_of(field_of(forecast, "mean"), observation):
            counted = ~(np.isnan(f) | np.isnan(o))
            self.pixels[lead] += np.count_nonzero(counted)
            self.events[:, lead] += np.count_nonzero((o >= thresholds) & counted, axis=(1, 2))

    def values(self, totals: Mapping[str, np.ndarray]) -> Values:
        """FSS by threshold and window; by threshold what a random forecast has (the share of
        events, f0) and from where on it is useful, 0.5 + f0 / 2.
        """
        found = {}
        for k, threshold in enumerate(self.thresholds):
            products = totals["fraction_products"][..., k, :, :]
            squares = totals["fraction_squares"][..., k, :, :]
            for n, window in enumerate(self.windows):
                found[ScoreKey("fss", threshold, window)] = fss(
                    products[..., n, :], squares[..., n, :]
                )
            random = ratio(totals["events"][..., k, :], totals["pixels"])
            random = np.where(random > 0, random, np.nan)
            found[ScoreKey("fss_useful", threshold)] = 0.5 + random / 2
            found[ScoreKey("fss_random", threshold)] = random
        return found


@np.errstate(invalid="ignore")
def fraction_sums(
    forecast: np.ndarray,
    observation: np.ndarray,
    thresholds: tuple[float, ...],
    windows: tuple[int, ...],
) -> np.ndarray:
    """Sums over the pixels of one field.

    Args:
        forecast: rain rate [mm/h], (H, W) float32, NaN = missing.
        observation: the same.
        thresholds: rain rates [mm/h], ascending; compared as float32, like the rain rates.
        windows: widths [pixels]; an even one reaches one pixel further up and left, as in SciPy and
            pysteps.

    Returns:
        (2, K, N) float64: the sums of Sf So, and of Sf^2 + So^2, where S is a number of events.
    """
    forecast, observation = unmasked(forecast, "forecasts"), unmasked(observation, "observations")
    missing = np.isnan(forecast) | np.isnan(observation)
    observed = ~missing if missing.any() else None
    sums = np.zeros((2, len(thresholds), len(windows)))
    for k, threshold in enumerate(np.asarray(thresholds, np.float32)):
        events = np.stack([forecast >= threshold, observation >= threshold])
        if observed is not None:
            events &= observed
        if not events.any():
            break  # nor does anything reach a higher one
        for n, window in enumerate(windows):
            sums[:, k, n] = _of_events(events, observed, window)
    return sums


def probability_sums(
    probability: np.ndarray, event: np.ndarray, known: np.ndarray, windows: tuple[int, ...]
) -> np.ndarray:
    """The same sums of probabilities in place of forecast events, over the pixels of one field.

    Args:
        probability: in [0, 1], (H, W) float32, NaN = missing.
        event: whether it came, (H, W) booleans.
        known: whether a pixel counts, (H, W) booleans.
        windows: N widths [pixels].

    Returns:
        (2, N) float64: the sums of Sf So, and of Sf^2 + So^2, where S is a sum over the window.
    """
    observed = known & ~np.isnan(probability)
    both = np.zeros((2, *probability.shape), np.float32)
    np.copyto(both[0], probability, where=observed)
    np.copyto(both[1], event, where=observed)
    sums = np.zeros((2, len(windows)))
    for n, window in enumerate(windows):
        for rows, columns in _occupied(both > 0, window):
            f, o = _window_sums(both, rows, columns, window) * observed[rows, columns]
            sums[0, n] += np.vecdot(f, o).sum(dtype=np.float64)
            squares = np.vecdot(f, f).sum(dtype=np.float64), np.vecdot(o, o).sum(dtype=np.float64)
            sums[1, n] += sum(squares)
    return sums


def _of_events(events: np.ndarray, observed: np.ndarray | None, window: int) -> tuple[float, float]:
    """The two sums of one window; events (2, H, W) of forecast and observation."""
    product = squares = 0.0
    # columns over which a sum of products in float32 is a whole number for certain
    exact = _EXACT // window**4
    kind, most = (np.float32, exact) if exact >= _LEAST else (np.float64, events.shape[2])
    for rows, columns in _occupied(events, window):
        counts = _window_sums(events, rows, columns, window)
        width = counts.shape[2]
        pieces = -(-width // most)
        each = -(-width // pieces)
        whole = np.zeros((2, counts.shape[1], pieces * each), kind)
        whole[..., :width] = counts
        if observed is not None:
            whole[..., :width] *= observed[rows, columns]
        # piece by piece: BLAS would spread longer products over threads that wait for each other
        f, o = whole.reshape(2, -1, each)
        product += np.vecdot(f, o).sum(dtype=np.float64)
        squares += np.vecdot(f, f).sum(dtype=np.float64) + np.vecdot(o, o).sum(dtype=np.float64)
    return product, squares


def _occupied(events: np.ndarray, window: int) -> Iterator[tuple[slice, slice]]:
    """Strips (rows, columns) that contain all pixels whose window may contain an event."""
    height, width = events.shape[1:]
    either = events.any(0)
    wet_rows = either.any(1)
    for top in range(0, height, _STRIP):
        bottom = min(top + _STRIP, height)
        near = slice(max(top - window, 0), bottom + window)
        if wet_rows[near].any():
            wet = np.flatnonzero(either[near].any(0))
            yield (
                slice(top, bottom),
                slice(max(wet[0] - window, 0), min(wet[-1] + window + 1, width)),
            )


def _window_sums(fields: np.ndarray, rows: slice, columns: slice, window: int) -> np.ndarray:
    """Sums over the window around the pixels of a strip, (2, rows, columns), of numbers in float32
    or of events, whose number it is.
    """
    before, after = window // 2, window - 1 - window // 2
    height, width = rows.stop - rows.start, columns.stop - columns.start
    kinds = fields.dtype, fields.dtype
    if fields.dtype == bool:
        # the smallest whole numbers that reach so far: the more of them are worked on at once
        kinds = np.min_scalar_type(window), np.min_scalar_type(window**2)
    padded = np.zeros((2, height + window - 1, width + window - 1), kinds[0])
    top, left = max(rows.start - before, 0), max(columns.start - before, 0)
    part = fields[:, top : rows.stop + after, left : columns.stop + after]
    top, left = top - rows.start + before, left - columns.start + before
    padded[:, top : top + part.shape[1], left : left + part.shape[2]] = part
    along_columns = _sums_of(padded.reshape(-1), window, padded.shape[2])
    sums = _sums_of(along_columns.astype(kinds[1], copy=False), window, 1)
    strides = [sums.itemsize * step for step in (padded[0].size, padded.shape[2], 1)]
    # without the windows that run over an edge
    return np.lib.stride_tricks.as_strided(sums, (2, height, width), strides, writeable=False)


def _sums_of(values: np.ndarray, window: int, step: int) -> np.ndarray:
    """Sums of each value, (n,), with the next ``window - 1`` that are ``step`` apart, put together
    from sums of 1, 2, 4, ... of them.

    In one long row, as fast as memory gives them; sums that run over the end of a line of the field
    are not used.
    """
    length = values.size - (window - 1) * step
    total, start, span = None, 0, 1
    while True:
        if window & span:
            part = values[start * step : start * step + length]
            total = part if total is None else total + part
            start += span
        if 2 * span > window:
            return total
        values = values[: -span * step] + values[span * step :]
        span *= 2
