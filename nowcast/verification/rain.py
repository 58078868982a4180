"""Scores of rain forecasts [mm/h]: event scores by threshold and neighbourhood, errors and correlations, all by lead time.

T leads, K thresholds, N windows. Everything is summed over cases and pixels first and divided once.
"""

import math
from dataclasses import dataclass, fields
from typing import ClassVar, Self

import numpy as np

from nowcast.errors import UserError
from nowcast.verification import scores
from nowcast.verification.neighbourhood import LARGEST_WINDOW, fraction_sums
from nowcast.verification.scores import ScoreRow, rows_of

_BLOCK = 2**15  # pixels worked on at once: their arrays stay in the processor's cache


@dataclass(frozen=True)
class RainScores:
    """Which rain scores to compute.

    Args:
        thresholds: rain rates [mm/h], ascending; an event is a rain rate ``>=`` one of them.
        windows: widths [pixels], ascending, of the neighbourhoods of the fractions skill score; none: it is left out.

    Raises:
        UserError: thresholds that are empty, not ascending, not positive or not finite; windows that are no ascending widths.
    """

    quantity: ClassVar[str] = "rain_rate"

    thresholds: tuple[float, ...] = (0.1, 0.5, 1, 2, 5, 10)
    windows: tuple[int, ...] = ()

    def __post_init__(self):
        given = self.thresholds
        numbers = isinstance(given, (list, tuple)) and all(isinstance(t, (int, float)) and not isinstance(t, bool) for t in given)
        # Compared as float32, like the rain rates: two thresholds that agree there would be one.
        ascending = np.array([0.0, *given, np.inf], np.float32) if numbers else np.zeros(2)
        if not numbers or not given or not (ascending[1:] > ascending[:-1]).all():
            raise UserError(f"thresholds are {given!r}; give one or more positive rain rates in mm/h, ascending, e.g. [0.1, 1, 5].")
        object.__setattr__(self, "thresholds", tuple(float(t) for t in given))
        widths = self.windows
        whole = isinstance(widths, (list, tuple)) and all(isinstance(w, int) and not isinstance(w, bool) for w in widths)
        if not whole or list(widths) != sorted({w for w in widths if 1 <= w <= LARGEST_WINDOW}):
            raise UserError(f"windows are {widths!r}; give widths in whole pixels from 1 to {LARGEST_WINDOW}, ascending, e.g. [1, 5, 20], or [] for none.")
        object.__setattr__(self, "windows", tuple(widths))

    def sums(self, forecast_length: int) -> "RainSums":
        """Empty sums for forecasts of ``forecast_length`` leads."""
        return RainSums.zero(self.thresholds, self.windows, forecast_length)


@dataclass
class RainSums:
    """Sums over cases and pixels; ``a + b`` are the sums of both.

    Args:
        thresholds: K rain rates [mm/h].
        windows: N widths [pixels].
        hits, misses, false_alarms: pixels, (K, T) int64.
        pixels: pixels where forecast and observation both hold a number, (T,) int64.
        absolute_error, squared_error: sums [mm/h, mm2/h2], (T,) float64.
        forecast_mean, observation_mean: means over those pixels [mm/h], (T,) float64.
        forecast_deviation, observation_deviation, codeviation: sums of squared deviations from those means, and of their
            product, (T,) float64. Kept around the means, not around 0: a difference of two huge sums would lose the digits.
        fraction_products, fraction_squares: sums of Sf So and of Sf^2 + So^2, see ``nowcast.verification.neighbourhood``, (K, N, T) float64.
    """

    thresholds: tuple[float, ...]
    windows: tuple[int, ...]
    hits: np.ndarray
    misses: np.ndarray
    false_alarms: np.ndarray
    pixels: np.ndarray
    absolute_error: np.ndarray
    squared_error: np.ndarray
    forecast_mean: np.ndarray
    observation_mean: np.ndarray
    forecast_deviation: np.ndarray
    observation_deviation: np.ndarray
    codeviation: np.ndarray
    fraction_products: np.ndarray
    fraction_squares: np.ndarray

    @classmethod
    def zero(cls, thresholds: tuple[float, ...], windows: tuple[int, ...], forecast_length: int) -> Self:
        """Sums over nothing."""
        counts = (np.zeros((len(thresholds), forecast_length), np.int64) for _ in range(3))
        moments = (np.zeros(forecast_length) for _ in range(7))
        fractions = (np.zeros((len(thresholds), len(windows), forecast_length)) for _ in range(2))
        return cls(thresholds, windows, *counts, np.zeros(forecast_length, np.int64), *moments, *fractions)

    def add(self, forecast: np.ndarray, observation: np.ndarray) -> None:
        """Add a batch.

        Args:
            forecast, observation: rain rate [mm/h], (B, T, H, W) float32, NaN = missing. A pixel counts only where both hold a number.

        Raises:
            UserError: shapes that do not agree, or an infinite rain rate.
        """
        if forecast.shape != observation.shape or forecast.ndim != 4 or forecast.shape[1] != self.pixels.size:
            raise UserError(f"a forecast of shape {forecast.shape} and an observation of shape {observation.shape} came; "
                            f"both must be (batch, {self.pixels.size} leads, height, width).")
        leads = [(*self._of_pixels(*lead), *self._of_windows(*lead)) for lead in zip(forecast.swapaxes(0, 1), observation.swapaxes(0, 1))]
        batch = type(self)(self.thresholds, self.windows, *(np.stack(column, axis=-1) for column in zip(*leads)))
        total = self + batch
        for f in fields(self):
            setattr(self, f.name, getattr(total, f.name))

    @np.errstate(all="ignore")  # of the product that looks for missing pixels
    def _of_pixels(self, forecast: np.ndarray, observation: np.ndarray) -> tuple:
        """The sums of one lead over single pixels, (B, H, W), in the order of the fields."""
        forecast, observation = forecast.reshape(-1), observation.reshape(-1)
        starts = range(0, forecast.size, _BLOCK)
        work = np.empty((3, min(forecast.size, _BLOCK)))
        counts, moments = np.zeros((3, len(self.thresholds)), np.int64), np.zeros((max(len(starts), 1), 8))
        for row, start in zip(moments, starts):
            block = slice(start, start + _BLOCK)
            f, o = _observed(forecast[block], observation[block])
            row[:] = _moments(f, o, work)
            counts += _contingency(f, o, self.thresholds)
        return *counts, *_pooled(*moments.T)

    def _of_windows(self, forecast: np.ndarray, observation: np.ndarray) -> np.ndarray:
        """The sums of one lead over neighbourhoods, (B, H, W) -> (2, K, N)."""
        sums = np.zeros((2, len(self.thresholds), len(self.windows)))
        for case in zip(forecast, observation) if self.windows else ():
            sums += fraction_sums(*case, self.thresholds, self.windows)
        return sums

    def __add__(self, other: Self) -> Self:
        """The sums of both (Chan, Golub and LeVeque 1979 for the moments)."""
        settings = {"thresholds": self.thresholds, "windows": self.windows}
        if settings != {name: getattr(other, name) for name in settings} or self.pixels.size != other.pixels.size:
            mine, theirs = (f"{sums.pixels.size} leads, thresholds {list(sums.thresholds)} and windows {list(sums.windows)}" for sums in (self, other))
            raise UserError(f"sums over {mine} cannot be added to sums over {theirs}; verify both with the same settings.")
        total = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self) if f.name not in settings}
        share = other.pixels / np.maximum(total["pixels"], 1)
        f_step, o_step = other.forecast_mean - self.forecast_mean, other.observation_mean - self.observation_mean
        weight = self.pixels * share
        return type(self)(**total | settings | {
            "forecast_mean": self.forecast_mean + share * f_step,
            "observation_mean": self.observation_mean + share * o_step,
            "forecast_deviation": total["forecast_deviation"] + weight * f_step**2,
            "observation_deviation": total["observation_deviation"] + weight * o_step**2,
            "codeviation": total["codeviation"] + weight * f_step * o_step,
        })

    def rows(self) -> list[ScoreRow]:
        """All scores by lead, then over all leads."""
        rows = []
        for k, threshold in enumerate(self.thresholds):
            h, m, f = self.hits[k], self.misses[k], self.false_alarms[k]
            by_lead = {
                "csi": scores.csi(h, m, f),
                "pod": scores.pod(h, m),
                "far": scores.far(h, f),
                "hss": scores.hss(h, m, f, self.pixels - h - m - f),
                "frequency_bias": scores.frequency_bias(h, m, f),
            }
            for score, values in by_lead.items():
                rows += rows_of(score, values, threshold=threshold, window=1)
            for n, window in enumerate(self.windows):
                rows += rows_of("fss", scores.fss(self.fraction_products[k, n], self.fraction_squares[k, n]), threshold=threshold, window=window)
        for score, values in self._continuous().items():
            rows += rows_of(score, values)
        return rows

    def _continuous(self) -> dict[str, np.ndarray]:
        n, f_mean, o_mean = self.pixels, self.forecast_mean, self.observation_mean
        f_square, o_square = self.forecast_deviation + n * f_mean**2, self.observation_deviation + n * o_mean**2
        return {
            "mae": scores.ratio(self.absolute_error, n),
            "mse": scores.ratio(self.squared_error, n),
            "correlation": scores.ratio(self.codeviation, np.sqrt(self.forecast_deviation) * np.sqrt(self.observation_deviation)),
            "uncentred_correlation": scores.ratio(self.codeviation + n * f_mean * o_mean, np.sqrt(f_square) * np.sqrt(o_square)),
        }


def _observed(forecast: np.ndarray, observation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rain rates (P,) -> those of the pixels where both hold a number. Most blocks lack none, which one product tells."""
    if math.isfinite(np.dot(forecast, observation)):
        return forecast, observation
    both = ~(np.isnan(forecast) | np.isnan(observation))
    return forecast[both], observation[both]


def _moments(forecast: np.ndarray, observation: np.ndarray, work: np.ndarray) -> tuple:
    """Number, sums of |f - o| and (f - o)^2, means, deviations and codeviation of rain rates (P,) without NaN; work is (3, P or more) float64."""
    f, o, error = work[:, : forecast.size]
    f[:], o[:] = forecast, observation
    f_mean, o_mean = f.sum() / max(f.size, 1), o.sum() / max(o.size, 1)
    if not (math.isfinite(f_mean) and math.isfinite(o_mean)):
        raise UserError("a rain rate to verify is infinite; mark pixels without a value with NaN.")
    np.subtract(f, o, out=error)
    squared = np.dot(error, error)
    absolute = np.abs(error, out=error).sum()
    f -= f_mean
    o -= o_mean
    return f.size, absolute, squared, f_mean, o_mean, np.dot(f, f), np.dot(o, o), np.dot(f, o)


def _pooled(count, absolute, squared, f_mean, o_mean, f_deviation, o_deviation, codeviation) -> tuple:
    """Moments of blocks, (N,) each -> those of all their pixels."""
    pixels = count.sum()
    f_all, o_all = np.dot(count, f_mean) / max(pixels, 1), np.dot(count, o_mean) / max(pixels, 1)
    f_step, o_step = f_mean - f_all, o_mean - o_all
    return (int(pixels), absolute.sum(), squared.sum(), f_all, o_all, f_deviation.sum() + np.dot(count, f_step**2),
            o_deviation.sum() + np.dot(count, o_step**2), codeviation.sum() + np.dot(count, f_step * o_step))


def _contingency(forecast: np.ndarray, observation: np.ndarray, thresholds: tuple[float, ...]) -> np.ndarray:
    """Hits, misses and false alarms, (3, K), of rain rates (P,) without NaN.

    The thresholds are rounded to float32 like the rain rates, or a rate of exactly 0.7 mm/h would miss the threshold 0.7.
    """
    counts = np.zeros((3, len(thresholds)), np.int64)
    f, o = np.empty((2, forecast.size), bool)
    for k, threshold in enumerate(np.asarray(thresholds, np.float32)):
        np.greater_equal(forecast, threshold, out=f)
        np.greater_equal(observation, threshold, out=o)
        forecasts, observations = np.count_nonzero(f), np.count_nonzero(o)
        if not forecasts and not observations:
            break  # nor do they reach a higher one
        np.logical_and(f, o, out=f)
        hits = np.count_nonzero(f)
        counts[:, k] = hits, observations - hits, forecasts - hits
    return counts
