"""Counts of events, errors and correlations over single pixels.

P pixels, T leads, K thresholds.
"""

import math
from collections.abc import Mapping
from typing import Self

import numpy as np

from nowcast.evaluation.statistics.by_functional import ByFunctional, Forecast, event, field_of
from nowcast.evaluation.statistics.events import contingency, event_scores
from nowcast.evaluation.statistics.scores import economic_value, ratio
from nowcast.evaluation.statistics.sums import AddedSums, ScoreKey, Values
from nowcast.runtime.errors import UserError

_ROW = 2**13
_BLOCK = 4 * _ROW  # pixels worked on at once: their arrays stay in the processor's cache


class PixelSums(AddedSums):
    """Counts of events, errors and moments over cases and pixels.

    Args:
        thresholds: K rain rates [mm/h].
        forecast_length: T.
        cost_loss: cost-loss ratios of economic values.

    Attributes:
        hits, misses, false_alarms: pixels, (K, T).
        pixels: pixels where forecast and observation are both numbers, (T,).
        absolute_error, squared_error: sums [mm/h, mm2/h2], (T,).
        forecast_mean, observation_mean: means over those pixels [mm/h], (T,).
        forecast_deviation, observation_deviation, codeviation: sums of squared deviations from
            those means, and of their product, (T,). Kept around the means, not around 0: a
            difference of two huge sums would lose the digits.
    """

    def __init__(
        self, thresholds: tuple[float, ...], forecast_length: int, cost_loss: tuple[float, ...] = ()
    ):
        self.thresholds, self.cost_loss = thresholds, cost_loss
        counts = np.zeros((3, len(thresholds), forecast_length))
        self.hits, self.misses, self.false_alarms = counts
        self.pixels, self.absolute_error, self.squared_error = np.zeros((3, forecast_length))
        self.forecast_mean, self.observation_mean = np.zeros((2, forecast_length))
        deviations = np.zeros((3, forecast_length))
        self.forecast_deviation, self.observation_deviation, self.codeviation = deviations

    def add(self, forecast: Forecast, observation: np.ndarray) -> None:
        """Add a batch, see ``SumsTogether.add``.

        Raises:
            UserError: an infinite rain rate.
        """
        batch = PixelSums(self.thresholds, self.pixels.size, self.cost_loss)
        mean, median = field_of(forecast, "mean"), field_of(forecast, "median")
        for lead in range(self.pixels.size):
            counts, moments = _of_lead(mean[:, lead], observation[:, lead], self.thresholds)
            if isinstance(forecast, ByFunctional):
                counts = _decided(forecast, observation[:, lead], self.thresholds, lead)
            batch.hits[:, lead], batch.misses[:, lead], batch.false_alarms[:, lead] = counts
            for array, moment in zip(batch._moments(), moments):
                array[lead] = moment
            if median is not mean:
                _, (_, absolute, *_) = _of_lead(median[:, lead], observation[:, lead], ())
                batch.absolute_error[lead] = absolute
        vars(self).update(vars(self + batch))

    def _moments(self) -> tuple[np.ndarray, ...]:
        """What ``_of_lead`` gives beside the counts, in that order."""
        return (
            self.pixels,
            self.absolute_error,
            self.squared_error,
            self.forecast_mean,
            self.observation_mean,
            self.forecast_deviation,
            self.observation_deviation,
            self.codeviation,
        )

    def __add__(self, other: Self) -> Self:
        """The sums of both (Chan, Golub and LeVeque 1979 for the moments)."""
        total = super().__add__(other)
        share = other.pixels / np.maximum(total.pixels, 1)
        weight = self.pixels * share
        f_step = other.forecast_mean - self.forecast_mean
        o_step = other.observation_mean - self.observation_mean
        total.forecast_mean = self.forecast_mean + share * f_step
        total.observation_mean = self.observation_mean + share * o_step
        total.forecast_deviation += weight * f_step**2
        total.observation_deviation += weight * o_step**2
        total.codeviation += weight * f_step * o_step
        return total

    def totals(self) -> dict[str, np.ndarray]:
        """The sums with their moments around 0, which add up: of the last digits, a correlation may
        lose some.
        """
        f, o, n = self.forecast_mean, self.observation_mean, self.pixels
        around_means = ("_mean", "deviation")
        found = {
            name: array
            for name, array in super().totals().items()
            if not name.endswith(around_means)
        }
        return found | {
            "forecast_sum": n * f,
            "observation_sum": n * o,
            "forecast_square": self.forecast_deviation + n * f**2,
            "observation_square": self.observation_deviation + n * o**2,
            "product": self.codeviation + n * f * o,
        }

    def values(self, totals: Mapping[str, np.ndarray]) -> Values:
        """Event scores, counts and economic values by threshold, errors and correlations."""
        found, n = {}, totals["pixels"]
        for k, threshold in enumerate(self.thresholds):
            counts = [totals[name][..., k, :] for name in ("hits", "misses", "false_alarms")]
            found |= event_scores(*counts, n, threshold)
            for cost_loss in self.cost_loss:
                key = ScoreKey("economic_value", threshold, cost_loss=cost_loss)
                found[key] = economic_value(*counts, n, cost_loss)
        mse = ratio(totals["squared_error"], n)
        f_sum, o_sum, product = (
            totals[name] for name in ("forecast_sum", "observation_sum", "product")
        )
        f_square, o_square = totals["forecast_square"], totals["observation_square"]
        f_mean, o_mean = ratio(f_sum, n), ratio(o_sum, n)
        # rounding can leave a little below 0 of a constant field
        f_deviation = np.maximum(f_square - n * f_mean**2, 0)
        o_deviation = np.maximum(o_square - n * o_mean**2, 0)
        codeviation = product - n * f_mean * o_mean
        return found | {
            ScoreKey("mae"): ratio(totals["absolute_error"], n),
            ScoreKey("mse"): mse,
            ScoreKey("rmse"): np.sqrt(mse),
            ScoreKey("mean_error"): ratio(f_sum - o_sum, n),
            ScoreKey("correlation"): ratio(
                codeviation, np.sqrt(f_deviation) * np.sqrt(o_deviation)
            ),
            ScoreKey("uncentred_correlation"): ratio(
                product, np.sqrt(f_square) * np.sqrt(o_square)
            ),
        }


def _decided(
    forecast: ByFunctional, observation: np.ndarray, thresholds: tuple[float, ...], lead: int
) -> np.ndarray:
    """Hits, misses and false alarms of yes/no forecasts at one lead, (3, K)."""
    known = ~(np.isnan(observation) | np.isnan(forecast.mean[:, lead]))
    counts = np.zeros((3, len(thresholds)))
    for k, threshold in enumerate(thresholds):
        yes = forecast.fields[event(threshold)][:, lead] & known
        came = (observation >= np.float32(threshold)) & known
        hits = np.count_nonzero(yes & came)
        counts[:, k] = hits, np.count_nonzero(came) - hits, np.count_nonzero(yes) - hits
    return counts


@np.errstate(all="ignore")  # of the product that looks for missing pixels
def _of_lead(
    forecast: np.ndarray, observation: np.ndarray, thresholds: tuple[float, ...]
) -> tuple[np.ndarray, tuple]:
    """Counts (3, K) and moments of one lead over single pixels, (B, H, W)."""
    forecast, observation = forecast.reshape(-1), observation.reshape(-1)
    starts = range(0, forecast.size, _BLOCK)
    work = np.empty((3, min(forecast.size, _BLOCK)))
    counts, moments = np.zeros((3, len(thresholds))), np.zeros((max(len(starts), 1), 8))
    for row, start in zip(moments, starts):
        block = slice(start, start + _BLOCK)
        f, o = _observed(forecast[block], observation[block])
        row[:] = _moments(f, o, work)
        counts += contingency(f, o, thresholds)
    return counts, _pooled(*moments.T)


def _observed(forecast: np.ndarray, observation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rain rates (P,) -> those of the pixels where both are numbers.

    Most blocks lack none, which one product shows.
    """
    if math.isfinite(_dot(forecast, observation)):
        return forecast, observation
    both = ~(np.isnan(forecast) | np.isnan(observation))
    return forecast[both], observation[both]


def _dot(one: np.ndarray, other: np.ndarray) -> float:
    """Inner product of (P,), row by row: BLAS would spread a longer one over threads that wait for
    each other on a busy machine.
    """
    whole = one.size - one.size % _ROW
    rows = np.vecdot(one[:whole].reshape(-1, _ROW), other[:whole].reshape(-1, _ROW)).sum()
    return rows + np.dot(one[whole:], other[whole:])


def _moments(forecast: np.ndarray, observation: np.ndarray, work: np.ndarray) -> tuple:
    """Number, sums of |f - o| and (f - o)^2, means, deviations and codeviation of rain rates (P,)
    without NaN; work is (3, P or more) float64.
    """
    f, o, error = work[:, : forecast.size]
    f[:], o[:] = forecast, observation
    f_mean, o_mean = f.sum() / max(f.size, 1), o.sum() / max(o.size, 1)
    if not (math.isfinite(f_mean) and math.isfinite(o_mean)):
        raise UserError("a rain rate to verify is infinite; mark pixels without a value with NaN.")
    np.subtract(f, o, out=error)
    squared = _dot(error, error)
    absolute = np.abs(error, out=error).sum()
    f -= f_mean
    o -= o_mean
    return f.size, absolute, squared, f_mean, o_mean, _dot(f, f), _dot(o, o), _dot(f, o)


def _pooled(
    count, absolute, squared, f_mean, o_mean, f_deviation, o_deviation, codeviation
) -> tuple:
    """Moments of blocks, (N,) each -> those of all their pixels."""
    pixels = count.sum()
    f_all, o_all = np.dot(count, f_mean) / max(pixels, 1), np.dot(count, o_mean) / max(pixels, 1)
    f_step, o_step = f_mean - f_all, o_mean - o_all
    return (
        pixels,
        absolute.sum(),
        squared.sum(),
        f_all,
        o_all,
        f_deviation.sum() + np.dot(count, f_step**2),
        o_deviation.sum() + np.dot(count, o_step**2),
        codeviation.sum() + np.dot(count, f_step * o_step),
    )
