"""B-MSE and B-MAE of HKO-7 (Shi et al. 2017): errors on the scale of radar pixels, weighted by how
hard it rained. T leads.
"""

from collections.abc import Mapping

import numpy as np

from nowcast.evaluation.statistics.by_functional import Forecast, field_of
from nowcast.evaluation.statistics.scores import ratio
from nowcast.evaluation.statistics.sums import AddedSums, ScoreKey, Values, fields_of

STEPS = np.array([2, 5, 10, 30], np.float32)
"""Rain rates [mm/h] of the truth from which on a pixel weighs more."""
WEIGHTS = np.array([1, 2, 5, 10, 30], np.float32)
_A, _B = 58.53, 1.56  # Z = a R^b of HKO-7
_BLOCK = 2**15  # pixels worked on at once: their arrays stay in the processor's cache


class BalancedSums(AddedSums):
    """Weighted errors, summed over frames.

    Args:
        forecast_length: T.

    Attributes:
        squared_error, absolute_error: (T,).
        frames: with at least one pixel that counts, (T,).
    """

    def __init__(self, forecast_length: int):
        self.squared_error, self.absolute_error, self.frames = np.zeros((3, forecast_length))

    def add(self, forecast: Forecast, observation: np.ndarray) -> None:
        """Add a batch, see ``SumsTogether.add``."""
        mean, median = field_of(forecast, "mean"), field_of(forecast, "median")
        for lead, f, o in fields_of(mean, observation):
            squared, absolute, counted = _frame(f.reshape(-1), o.reshape(-1))
            self.squared_error[lead] += squared
            self.absolute_error[lead] += absolute if median is mean else 0
            self.frames[lead] += counted
        if median is not mean:
            for lead, f, o in fields_of(median, observation):
                self.absolute_error[lead] += _frame(f.reshape(-1), o.reshape(-1))[1]

    def values(self, totals: Mapping[str, np.ndarray]) -> Values:
        """Means over frames of the sums over their pixels."""
        return {
            ScoreKey("b_mse"): ratio(totals["squared_error"], totals["frames"]),
            ScoreKey("b_mae"): ratio(totals["absolute_error"], totals["frames"]),
        }


def pixel_scale(rain_rate: np.ndarray) -> np.ndarray:
    """Rain rates [mm/h] -> (dBZ + 10) / 70, clipped to [0, 1], float32: a pixel of HKO-7."""
    with np.errstate(divide="ignore"):
        dbz = 10 * np.log10(_A) + 10 * _B * np.log10(rain_rate)
    return np.clip((dbz + 10) / 70, 0, 1).astype(np.float32)


def _frame(forecast: np.ndarray, observation: np.ndarray) -> tuple[float, float, bool]:
    """Weighted sums of squared and absolute errors over the pixels (P,) where both are numbers, and
    whether there is one.
    """
    squared = absolute = 0.0
    counted = False
    for start in range(0, forecast.size, _BLOCK):
        f, o = forecast[start : start + _BLOCK], observation[start : start + _BLOCK]
        known = ~(np.isnan(f) | np.isnan(o))
        counted = counted or bool(known.any())
        wet = known & ((f > 0) | (o > 0))  # elsewhere both pixels are 0
        f, o = f[wet], o[wet]
        error = np.abs(pixel_scale(f) - pixel_scale(o))
        weighted = WEIGHTS[np.searchsorted(STEPS, o, side="right")] * error
        absolute += weighted.sum(dtype=np.float64)
        squared += (weighted * error).sum(dtype=np.float64)
    return squared, absolute, counted
