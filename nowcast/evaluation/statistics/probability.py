"""Scores of probabilities that rain rates are reached, and of the yes/no forecasts that they make
at the probability which promises the best critical success index.

B cases, K thresholds, T leads, H rows, W columns, P bins of probability; ``...`` are axes of
resamples.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nowcast.evaluation.statistics.base import SummedStatistic
from nowcast.evaluation.statistics.events import event_scores
from nowcast.evaluation.statistics.neighbourhood import probability_sums
from nowcast.evaluation.statistics.scores import economic_value, fss, ratio
from nowcast.evaluation.statistics.sums import AddedSums, ScoreKey, Values, without_masks
from nowcast.runtime.errors import UserError

BINS = 40
_ROUNDING = 1e-6  # of a mean of probabilities: float32, and its sum
EDGES = (np.arange(BINS + 1) / BINS) ** 2
"""Of the bins: finer at low probabilities, which decide where rain is heavy."""


@dataclass(frozen=True)
class ProbabilityScores(SummedStatistic):
    """Scores of probabilities.

    Args:
        thresholds: K rain rates [mm/h] whose probabilities are scored.
        windows: N widths [pixels] of the neighbourhoods of the fractions skill score.
        cost_loss: cost-loss ratios of economic values.
    """

    thresholds: tuple[float, ...]
    windows: tuple[int, ...] = ()
    cost_loss: tuple[float, ...] = ()

    def sums(self, forecast_length: int) -> "ProbabilitySums":
        """Empty sums for probabilities of ``forecast_length`` leads."""
        return ProbabilitySums(self.thresholds, forecast_length, self.windows, self.cost_loss)


class ProbabilitySums(AddedSums):
    """Sums over the pixels where the probabilities and the observation are numbers.

    Args:
        thresholds: K rain rates [mm/h].
        forecast_length: T.
        windows: N widths [pixels] of the neighbourhoods of the fractions skill score.
        cost_loss: cost-loss ratios of economic values.

    Attributes:
        forecasts: pixels by bin of their probability, (K, P, T).
        events: those of them where the observation reaches the threshold, (K, P, T).
        expected: sums of the probabilities, (K, P, T).
        squared_error: sum of (probability - event)^2, (K, T).
        fraction_products, fraction_squares: sums over pixels of Sf So and of Sf^2 + So^2, where Sf
            is the sum of the probabilities in the window around a pixel and So the number of
            events in it, (K, N, T).
    """

    def __init__(
        self,
        thresholds: tuple[float, ...],
        forecast_length: int,
        windows: tuple[int, ...] = (),
        cost_loss: tuple[float, ...] = (),
    ):
        self.thresholds, self.windows, self.cost_loss = thresholds, windows, cost_loss
        shape = (3, len(thresholds), BINS, forecast_length)
        self.forecasts, self.events, self.expected = np.zeros(shape)
        self.squared_error = np.zeros((len(thresholds), forecast_length))
        fractions = np.zeros((2, len(thresholds), len(windows), forecast_length))
        self.fraction_products, self.fraction_squares = fractions

    def add(self, forecast: np.ndarray, observation: np.ndarray) -> None:
        """Add a batch.

        Args:
            forecast: probabilities, (B, K, T, H, W), NaN = missing.
            observation: rain rates [mm/h], (B, T, H, W).

        Raises:
            UserError: shapes that do not agree.
        """
        forecast, observation = without_masks(forecast, observation)
        leads = self.squared_error.shape[1]
        shape = (len(observation), len(self.thresholds), *observation.shape[1:])
        if forecast.shape != shape or observation.ndim != 4 or observation.shape[1] != leads:
            raise UserError(
                f"expected probabilities of shape (batch, {len(self.thresholds)} thresholds, "
                f"{leads} leads, height, width) and an observation of the same without thresholds, "
                f"got {forecast.shape} and {observation.shape}."
            )
        for case, observed in zip(forecast, observation):
            for lead in range(leads):
                known = ~np.isnan(observed[lead])
                truth = observed[lead][known]
                for k, threshold in enumerate(np.asarray(self.thresholds, np.float32)):
                    self._add_pixels(case[k, lead][known], truth >= threshold, (k, lead))
                    if self.windows:
                        event = observed[lead] >= threshold
                        sums = probability_sums(case[k, lead], event, known, self.windows)
                        self.fraction_products[k, :, lead] += sums[0]
                        self.fraction_squares[k, :, lead] += sums[1]

    def _add_pixels(self, probability: np.ndarray, event: np.ndarray, place: tuple) -> None:
        """Add pixels of one threshold and lead, (N,) each."""
        known = ~np.isnan(probability)
        p, event = probability[known].astype(np.float64), event[known]
        bins = np.minimum((np.sqrt(p) * BINS).astype(np.int64), BINS - 1)
        k, lead = place
        self.forecasts[k, :, lead] += np.bincount(bins, minlength=BINS)
        self.events[k, :, lead] += np.bincount(bins[event], minlength=BINS)
        self.expected[k, :, lead] += np.bincount(bins, p, BINS)
        self.squared_error[k, lead] += np.dot(p, p) - 2 * p[event].sum() + np.count_nonzero(event)

    def values(self, totals: Mapping[str, np.ndarray]) -> Values:
        """By threshold: Brier scores, ROC areas, economic values, FSS of the probabilities, and
        the scores of the yes/no forecasts.
        """
        found = {}
        for k, threshold in enumerate(self.thresholds):
            scores = self._of_probabilities(totals, k)
            found |= {ScoreKey(score, threshold): value for score, value in scores.items()}
            hits, misses, false_alarms, pixels, least = self.decided(totals, k)
            found |= event_scores(hits, misses, false_alarms, pixels, threshold)
            found[ScoreKey("decision_probability", threshold)] = least
            found |= self._of_fractions(totals, k)
            for cost_loss in self.cost_loss:
                key = ScoreKey("economic_value", threshold, cost_loss=cost_loss)
                found[key] = self.economic_value(totals, k, cost_loss)
        return found

    def _of_fractions(self, totals: Mapping[str, np.ndarray], k: int) -> Values:
        """FSS of the probabilities of threshold k; none of evaluations of older versions."""
        if "fraction_products" not in totals:
            return {}
        found = {}
        for n, window in enumerate(self.windows):
            products, squares = (
                totals[name][..., k, n, :] for name in ("fraction_products", "fraction_squares")
            )
            found[ScoreKey("fss_probability", self.thresholds[k], window)] = fss(products, squares)
        return found

    def economic_value(
        self, totals: Mapping[str, np.ndarray], k: int, cost_loss: float
    ) -> np.ndarray:
        """Of threshold k, (..., T), for users who act where the probability is at least their
        cost-loss ratio; where a bin lies on both sides of it, its mean probability decides.
        """
        forecasts, events = totals["forecasts"][..., k, :, :], totals["events"][..., k, :, :]
        acted = totals["expected"][..., k, :, :] >= cost_loss * forecasts * (1 - _ROUNDING)
        hits = np.where(acted, events, 0).sum(-2)
        alarms = np.where(acted, forecasts, 0).sum(-2) - hits
        return economic_value(hits, events.sum(-2) - hits, alarms, forecasts.sum(-2), cost_loss)

    def decided(self, totals: Mapping[str, np.ndarray], k: int) -> tuple[np.ndarray, ...]:
        """Hits, misses, false alarms and pixels of the yes/no forecasts of threshold k, and the
        probability from which on they say yes (NaN: nowhere), (..., T) each.

        It is the one that promises the best CSI over all pixels of a lead: of those that are at
        least as probable, sum p are expected to be hits. The observations have no say in it.
        """
        forecasts, events, expected = (
            totals[name][..., k, :, :] for name in ("forecasts", "events", "expected")
        )
        chosen, hits, expected_hits = map(_from_each_bin_on, (forecasts, events, expected))
        union = chosen + expected_hits[..., :1, :] - expected_hits
        index = np.nan_to_num(ratio(expected_hits, union))
        # of several that choose the same pixels the highest
        best = BINS - 1 - index[..., ::-1, :].argmax(-2)[..., None, :]
        ever = index.max(-2) > 0  # else no pixel has any probability, and none is a yes
        chosen, hits = (
            np.where(ever, np.take_along_axis(sums, best, -2)[..., 0, :], 0)
            for sums in (chosen, hits)
        )
        pixels, observed = forecasts.sum(-2), events.sum(-2)
        least = np.where(ever, EDGES[best[..., 0, :]], np.nan)
        return hits, observed - hits, chosen - hits, pixels, least

    def _of_probabilities(self, totals: Mapping[str, np.ndarray], k: int) -> dict[str, np.ndarray]:
        """Brier score, and its parts of the bins (Murphy 1973: about reliability - resolution +
        uncertainty), skill over the base rate, and ROC area.
        """
        forecasts, events = totals["forecasts"][..., k, :, :], totals["events"][..., k, :, :]
        probability, frequency, _ = self.reliability_curve(totals, k)
        n = forecasts.sum(-2)
        rate = ratio(events.sum(-2), n)
        away = np.nan_to_num(probability - frequency) ** 2
        apart = np.nan_to_num(frequency - rate[..., None, :]) ** 2
        uncertainty = rate * (1 - rate)
        brier = ratio(totals["squared_error"][..., k, :], n)
        hit_rate, false_rate = self.roc_curve(totals, k)
        steps = false_rate[..., 1:, :] - false_rate[..., :-1, :]
        return {
            "brier": brier,
            "brier_reliability": ratio((forecasts * away).sum(-2), n),
            "brier_resolution": ratio((forecasts * apart).sum(-2), n),
            "brier_uncertainty": uncertainty,
            "brier_skill": ratio(uncertainty - brier, uncertainty),
            "roc_area": (steps * (hit_rate[..., 1:, :] + hit_rate[..., :-1, :]) / 2).sum(-2),
        }

    def reliability_curve(
        self, totals: Mapping[str, np.ndarray], k: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of threshold k: mean probability, observed frequency and share of the forecasts of each
        bin, (..., P, T).
        """
        forecasts, events = totals["forecasts"][..., k, :, :], totals["events"][..., k, :, :]
        return (
            ratio(totals["expected"][..., k, :, :], forecasts),
            ratio(events, forecasts),
            ratio(forecasts, forecasts.sum(-2, keepdims=True)),
        )

    def roc_curve(self, totals: Mapping[str, np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
        """Of threshold k: hit rate and false alarm rate, (..., P + 1, T) each, of warnings from
        none over the highest bin alone to all of them.
        """
        forecasts, events = totals["forecasts"][..., k, :, :], totals["events"][..., k, :, :]
        return _rates(events), _rates(forecasts - events)

    @property
    def warned_from(self) -> list[str]:
        """From which probability on each bin warns, in words, P."""
        return [f"from {100 * edge:.3g} % on" for edge in EDGES[:-1]]


def _from_each_bin_on(counts: np.ndarray) -> np.ndarray:
    """Sums over the bins from each on, (..., P, T)."""
    return np.cumsum(counts[..., ::-1, :], axis=-2)[..., ::-1, :]


def _rates(counts: np.ndarray) -> np.ndarray:
    """The share that warnings catch, from the highest bin alone to all of them, (..., P + 1, T)."""
    warned = np.cumsum(counts[..., ::-1, :], axis=-2)
    none = np.zeros_like(warned[..., :1, :])
    return ratio(np.concatenate([none, warned], axis=-2), warned[..., -1:, :])
