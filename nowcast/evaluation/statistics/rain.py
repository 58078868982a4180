"""Scores of rain forecasts [mm/h]: event scores by threshold and neighbourhood, errors and
correlations, all by lead time.

T leads, K thresholds, N windows. Everything is summed over cases and pixels first and divided once.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar, Self

import numpy as np

from nowcast.evaluation.statistics import scores
from nowcast.evaluation.statistics.balanced import BalancedSums
from nowcast.evaluation.statistics.ensemble import EnsembleSums
from nowcast.evaluation.statistics.events import contingency, event_scores
from nowcast.evaluation.statistics.neighbourhood import LARGEST_WINDOW, fraction_sums
from nowcast.evaluation.statistics.pools import LARGEST_POOL, PoolSums
from nowcast.evaluation.statistics.scores import ScoreRow
from nowcast.evaluation.statistics.spectrum import SpectrumSums
from nowcast.evaluation.statistics.structure import StructureSums
from nowcast.evaluation.statistics.sums import (
    AddedSums,
    ScoreKey,
    SumsTogether,
    Values,
    fields_of,
    rows_of_values,
)
from nowcast.runtime.errors import UserError

_ROW = 2**13
_BLOCK = 4 * _ROW  # pixels worked on at once: their arrays stay in the processor's cache


@dataclass(frozen=True)
class RainScores:
    """Which rain scores to compute.

    Args:
        thresholds: rain rates [mm/h], ascending; an event is a rain rate ``>=`` one of them.
        windows: widths [pixels], ascending, of the neighbourhoods of the fractions skill score;
            none: it is left out.
        pools: widths [pixels], ascending, of the blocks whose largest rates are compared, for all
            event scores; none: they are left out.
        sal: whether structure, amplitude and location (Wernli et al. 2008) are computed.
        spectra: whether power spectra and the effective resolution are computed.

    Raises:
        UserError: thresholds that are empty, not ascending, not positive or not finite; windows or
            pools that are no ascending widths.
    """

    quantity: ClassVar[str] = "rain_rate"

    thresholds: tuple[float, ...] = (0.1, 0.5, 1, 2, 5, 10)
    windows: tuple[int, ...] = ()
    pools: tuple[int, ...] = (4, 16)
    sal: bool = False
    spectra: bool = False

    def __post_init__(self):
        given = self.thresholds
        numbers = isinstance(given, (list, tuple)) and all(
            isinstance(t, (int, float)) and not isinstance(t, bool) for t in given
        )
        # Compared as float32, like the rain rates: two thresholds that agree there would be one.
        ascending = np.array([0.0, *given, np.inf], np.float32) if numbers else np.zeros(2)
        if not numbers or not given or not (ascending[1:] > ascending[:-1]).all():
            raise UserError(
                f"thresholds are {given!r}; give one or more positive rain rates in mm/h, "
                "ascending, e.g. [0.1, 1, 5]."
            )
        object.__setattr__(self, "thresholds", tuple(float(t) for t in given))
        for name, least, most in (("windows", 1, LARGEST_WINDOW), ("pools", 2, LARGEST_POOL)):
            widths = getattr(self, name)
            whole = isinstance(widths, (list, tuple)) and all(
                isinstance(w, int) and not isinstance(w, bool) for w in widths
            )
            if not whole or list(widths) != sorted({w for w in widths if least <= w <= most}):
                raise UserError(
                    f"{name} are {widths!r}; give widths in whole pixels from {least} to {most}, "
                    "ascending, e.g. [4, 16], or [] for none."
                )
            object.__setattr__(self, name, tuple(widths))

    def sums(self, forecast_length: int) -> SumsTogether:
        """Empty sums for forecasts of ``forecast_length`` leads."""
        k = self.thresholds
        parts = {
            "pixels": PixelSums.zero(k, forecast_length),
            "balanced": BalancedSums.zero(forecast_length),
        }
        if self.windows:
            parts["fractions"] = FractionSums.zero(k, self.windows, forecast_length)
        if self.pools:
            parts["pools"] = PoolSums.zero(k, self.pools, forecast_length)
        if self.sal:
            parts["structure"] = StructureSums.zero(forecast_length)
        if self.spectra:
            parts["spectra"] = SpectrumSums.zero(forecast_length)
        return SumsTogether(forecast_length, parts)

    def ensemble_sums(self, forecast_length: int, members: int) -> EnsembleSums:
        """Empty sums for ensembles of so many members."""
        return EnsembleSums.zero(self.thresholds, members, forecast_length)


@dataclass
class PixelSums(AddedSums):
    """Counts of events, errors and moments over cases and pixels; ``a + b`` are the sums of both.

    Args:
        thresholds: K rain rates [mm/h].
        hits, misses, false_alarms: pixels, (K, T) int64.
        pixels: pixels where forecast and observation both hold a number, (T,) int64.
        absolute_error, squared_error: sums [mm/h, mm2/h2], (T,) float64.
        forecast_mean, observation_mean: means over those pixels [mm/h], (T,) float64.
        forecast_deviation, observation_deviation, codeviation: sums of squared deviations from
            those means, and of their product, (T,) float64. Kept around the means, not around 0: a
            difference of two huge sums would lose the digits.
    """

    SETTINGS: ClassVar[tuple[str, ...]] = ("thresholds",)

    thresholds: tuple[float, ...]
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

    @classmethod
    def zero(cls, thresholds: tuple[float, ...], forecast_length: int) -> Self:
        """Sums over nothing."""
        counts = (np.zeros((len(thresholds), forecast_length), np.int64) for _ in range(3))
        moments = (np.zeros(forecast_length) for _ in range(7))
        return cls(thresholds, *counts, np.zeros(forecast_length, np.int64), *moments)

    def add(self, forecast: np.ndarray, observation: np.ndarray) -> None:
        """Add a batch, see ``SumsTogether.add``.

        Raises:
            UserError: an infinite rain rate.
        """
        leads = [
            self._of_pixels(*lead)
            for lead in zip(forecast.swapaxes(0, 1), observation.swapaxes(0, 1))
        ]
        total = self + type(self)(
            self.thresholds, *(np.stack(column, axis=-1) for column in zip(*leads))
        )
        for f in fields(self):
            setattr(self, f.name, getattr(total, f.name))

    @np.errstate(all="ignore")  # of the product that looks for missing pixels
    def _of_pixels(self, forecast: np.ndarray, observation: np.ndarray) -> tuple:
        """The sums of one lead over single pixels, (B, H, W), in the order of the fields."""
        forecast, observation = forecast.reshape(-1), observation.reshape(-1)
        starts = range(0, forecast.size, _BLOCK)
        work = np.empty((3, min(forecast.size, _BLOCK)))
        counts, moments = (
            np.zeros((3, len(self.thresholds)), np.int64),
            np.zeros((max(len(starts), 1), 8)),
        )
        for row, start in zip(moments, starts):
            block = slice(start, start + _BLOCK)
            f, o = _observed(forecast[block], observation[block])
            row[:] = _moments(f, o, work)
            counts += contingency(f, o, self.thresholds)
        return *counts, *_pooled(*moments.T)

    def __add__(self, other: Self) -> Self:
        """The sums of both (Chan, Golub and LeVeque 1979 for the moments)."""
        total = super().__add__(other)
        share = other.pixels / np.maximum(total.pixels, 1)
        f_step, o_step = (
            other.forecast_mean - self.forecast_mean,
            other.observation_mean - self.observation_mean,
        )
        weight = self.pixels * share
        total.forecast_mean, total.observation_mean = (
            self.forecast_mean + share * f_step,
            self.observation_mean + share * o_step,
        )
        total.forecast_deviation += weight * f_step**2
        total.observation_deviation += weight * o_step**2
        total.codeviation += weight * f_step * o_step
        return total

    def totals(self) -> dict[str, np.ndarray]:
        """The sums with their moments around 0, which add up: of the last digits, a correlation may
        lose some.
        """
        f, o, n = self.forecast_mean, self.observation_mean, self.pixels
        own = {
            name: array
            for name, array in super().totals().items()
            if not name.endswith(("_mean", "deviation"))
        }
        return own | {
            "forecast_sum": n * f,
            "observation_sum": n * o,
            "forecast_square": self.forecast_deviation + n * f**2,
            "observation_square": self.observation_deviation + n * o**2,
            "product": self.codeviation + n * f * o,
        }

    def values(self, totals: Mapping[str, np.ndarray]) -> Values:
        """Event scores and counts (K, T) by threshold, errors and correlations."""
        t, n = totals, totals["pixels"]
        f_mean, o_mean = scores.ratio(t["forecast_sum"], n), scores.ratio(t["observation_sum"], n)
        f_deviation, o_deviation = (
            t["forecast_square"] - n * f_mean**2,
            t["observation_square"] - n * o_mean**2,
        )
        continuous = self._continuous(
            t,
            t["product"] - n * f_mean * o_mean,
            np.maximum(f_deviation, 0),
            np.maximum(o_deviation, 0),
        )
        counts = (np.moveaxis(t[name], -2, 0) for name in ("hits", "misses", "false_alarms"))
        events = {
            key: value
            for k, (h, m, f) in zip(self.thresholds, zip(*counts))
            for key, value in event_scores(h, m, f, n, k).items()
        }
        return events | {ScoreKey(score): value for score, value in continuous.items()}

    def rows(self) -> list[ScoreRow]:
        """All scores by lead, then over all leads; of the exact moments."""
        totals = self.totals()
        exact = self._continuous(
            totals, self.codeviation, self.forecast_deviation, self.observation_deviation
        )
        return rows_of_values(
            self.values(totals) | {ScoreKey(score): value for score, value in exact.items()}
        )

    def _continuous(
        self, totals: Mapping[str, np.ndarray], codeviation, f_deviation, o_deviation
    ) -> dict[str, np.ndarray]:
        n = totals["pixels"]
        mse = scores.ratio(totals["squared_error"], n)
        return {
            "mae": scores.ratio(totals["absolute_error"], n),
            "mse": mse,
            "rmse": np.sqrt(mse),
            "mean_error": scores.ratio(totals["forecast_sum"] - totals["observation_sum"], n),
            "correlation": scores.ratio(codeviation, np.sqrt(f_deviation) * np.sqrt(o_deviation)),
            "uncentred_correlation": scores.ratio(
                totals["product"],
                np.sqrt(totals["forecast_square"]) * np.sqrt(totals["observation_square"]),
            ),
        }


@dataclass
class FractionSums(AddedSums):
    """Sums of the fractions skill score, see ``nowcast.evaluation.statistics.neighbourhood``.

    Args:
        thresholds: K rain rates [mm/h].
        windows: N widths [pixels].
        events, pixels: observed events and pixels that count, (K, T), (T,).
        fraction_products, fraction_squares: sums of Sf So and of Sf^2 + So^2, (K, N, T) float64.
    """

    SETTINGS: ClassVar[tuple[str, ...]] = ("thresholds", "windows")

    thresholds: tuple[float, ...]
    windows: tuple[int, ...]
    events: np.ndarray
    pixels: np.ndarray
    fraction_products: np.ndarray
    fraction_squares: np.ndarray

    @classmethod
    def zero(
        cls, thresholds: tuple[float, ...], windows: tuple[int, ...], forecast_length: int
    ) -> Self:
        """Sums over nothing."""
        fractions = (np.zeros((len(thresholds), len(windows), forecast_length)) for _ in range(2))
        return cls(
            thresholds,
            windows,
            np.zeros((len(thresholds), forecast_length)),
            np.zeros(forecast_length),
            *fractions,
        )

    def add(self, forecast: np.ndarray, observation: np.ndarray) -> None:
        """Add a batch, see ``SumsTogether.add``."""
        for lead, f, o in fields_of(forecast, observation):
            products, squares = fraction_sums(f, o, self.thresholds, self.windows)
            self.fraction_products[..., lead] += products
            self.fraction_squares[..., lead] += squares
            counted = ~(np.isnan(f) | np.isnan(o))
            self.pixels[lead] += np.count_nonzero(counted)
            self.events[:, lead] += [
                np.count_nonzero((o >= threshold) & counted)
                for threshold in np.asarray(self.thresholds, np.float32)
            ]

    def values(self, totals: Mapping[str, np.ndarray]) -> Values:
        """FSS by threshold and window; by threshold what a random forecast has (the share of
        events, f0) and from where on it is useful, 0.5 + f0 / 2.
        """
        found = {}
        for k, threshold in enumerate(self.thresholds):
            for n, window in enumerate(self.windows):
                fss = scores.fss(
                    totals["fraction_products"][..., k, n, :],
                    totals["fraction_squares"][..., k, n, :],
                )
                found[ScoreKey("fss", threshold, window)] = fss
            random = scores.ratio(totals["events"][..., k, :], totals["pixels"])
            random = np.where(random > 0, random, np.nan)
            found |= {
                ScoreKey("fss_useful", threshold): 0.5 + random / 2,
                ScoreKey("fss_random", threshold): random,
            }
        return found


def _observed(forecast: np.ndarray, observation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rain rates (P,) -> those of the pixels where both hold a number.

    Most blocks lack none, which one product tells.
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
        int(pixels),
        absolute.sum(),
        squared.sum(),
        f_all,
        o_all,
        f_deviation.sum() + np.dot(count, f_step**2),
        o_deviation.sum() + np.dot(count, o_step**2),
        codeviation.sum() + np.dot(count, f_step * o_step),
    )
