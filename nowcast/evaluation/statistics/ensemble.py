"""Scores of ensembles of rain forecasts: CRPS, spread and skill, ranks, and the probabilities that
the members give.

B cases, M members, T leads, H rows, W columns, K thresholds, P probabilities (0, 1/M, ..., 1: P = M
+ 1).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nowcast.evaluation.statistics.base import SummedStatistic
from nowcast.evaluation.statistics.scores import economic_value, ratio
from nowcast.evaluation.statistics.sums import AddedSums, ScoreKey, Values, without_masks
from nowcast.runtime.errors import UserError

_ROUNDING = 1e-9  # of a number of members
_BLOCK = 2**15  # pixels worked on at once: their members stay in the processor's cache


@dataclass(frozen=True)
class EnsembleScores(SummedStatistic):
    """Scores of ensembles of rain forecasts.

    Args:
        thresholds: K rain rates [mm/h].
        members: M.
        cost_loss: cost-loss ratios of economic values.
    """

    thresholds: tuple[float, ...]
    members: int
    cost_loss: tuple[float, ...] = ()

    def sums(self, forecast_length: int) -> "EnsembleSums":
        """Empty sums for ensembles of ``forecast_length`` leads."""
        return EnsembleSums(self.thresholds, self.members, forecast_length, self.cost_loss)


class EnsembleSums(AddedSums):
    """Sums over the pixels where all members and the observation are numbers.

    Args:
        thresholds: K rain rates [mm/h].
        members: M.
        forecast_length: T.
        cost_loss: cost-loss ratios of economic values.

    Attributes:
        ranks: where the observation stands among the members, (M + 1, T): rank 0 below all of them.
            Of n ranks that ties leave open (all dry, for instance) each gets 1/n, which is what
            drawing one of them comes to on average, without chance.
        forecasts: pixels where so many members reach the threshold, (K, P, T).
        events: those of them where the observation reaches it, (K, P, T).
        pixels: (T,).
        error: sum over pixels of mean |x_i - y|, (T,) [mm/h].
        pairs: sum over pixels of sum_ij |x_i - x_j|, (T,) [mm/h].
        variance: sum over pixels of the members' variance around their mean (divided by M), (T,)
            [mm2/h2].
        squared_error: sum over pixels of the squared error of the mean, (T,) [mm2/h2].
    """

    def __init__(
        self,
        thresholds: tuple[float, ...],
        members: int,
        forecast_length: int,
        cost_loss: tuple[float, ...] = (),
    ):
        self.thresholds, self.members, self.cost_loss = thresholds, members, cost_loss
        self.ranks = np.zeros((members + 1, forecast_length))
        by_probability = np.zeros((2, len(thresholds), members + 1, forecast_length))
        self.forecasts, self.events = by_probability
        self.pixels, self.error, self.pairs = np.zeros((3, forecast_length))
        self.variance, self.squared_error = np.zeros((2, forecast_length))

    def add(self, forecast: np.ndarray, observation: np.ndarray) -> None:
        """Add a batch.

        Args:
            forecast: members, rain rate [mm/h], (B, M, T, H, W) float32, NaN = missing.
            observation: (B, T, H, W).

        Raises:
            UserError: shapes that do not agree.
        """
        forecast, observation = without_masks(forecast, observation)
        wanted = (len(observation), self.members, *observation.shape[1:])
        if (
            forecast.shape != wanted
            or observation.ndim != 4
            or observation.shape[1] != self.pixels.size
        ):
            raise UserError(
                f"expected members of shape (batch, {self.members} members, {self.pixels.size} "
                "leads, height, width) and an observation of the same without members, got "
                f"{forecast.shape} and {observation.shape}."
            )
        for case, observed in zip(forecast, observation):
            for lead in range(self.pixels.size):
                members, truth = case[:, lead].reshape(self.members, -1), observed[lead].reshape(-1)
                for start in range(0, truth.size, _BLOCK):
                    self._add_pixels(
                        members[:, start : start + _BLOCK], truth[start : start + _BLOCK], lead
                    )

    def _add_pixels(self, members: np.ndarray, truth: np.ndarray, lead: int) -> None:
        """Add pixels of one lead, (M, P) and (P,)."""
        most, least = members.max(0), members.min(0)
        known = ~(np.isnan(most) | np.isnan(truth))
        dry = (most == 0) & (least == 0) & (truth == 0)  # most pixels, which need no sorting
        self.pixels[lead] += np.count_nonzero(known)
        self.ranks[:, lead] += np.count_nonzero(dry) / (self.members + 1)
        self.forecasts[:, 0, lead] += np.count_nonzero(dry)
        known &= ~dry
        x, y = np.sort(members[:, known], axis=0), truth[known]
        below, reached = (x < y).sum(0), (x <= y).sum(0)
        self.ranks[:, lead] += _shared_ranks(below, reached, self.members)
        self._add_probabilities(x, y, lead)
        x = x.astype(np.float64)
        mean = x.mean(0)
        self.error[lead] += np.abs(x - y).mean(0).sum()
        # sum_ij |x_i - x_j| of sorted members
        weights = 2.0 * (2 * np.arange(1, self.members + 1) - self.members - 1)
        self.pairs[lead] += (weights[:, None] * x).sum()
        self.variance[lead] += ((x - mean) ** 2).mean(0).sum()
        self.squared_error[lead] += ((mean - y) ** 2).sum()

    def _add_probabilities(self, members: np.ndarray, truth: np.ndarray, lead: int) -> None:
        """Add how many members reach each threshold, at pixels that are not dry."""
        for k, threshold in enumerate(np.asarray(self.thresholds, np.float32)):
            number, event = (members >= threshold).sum(0), truth >= threshold
            self.forecasts[k, :, lead] += np.bincount(number, minlength=self.members + 1)
            self.events[k, :, lead] += np.bincount(number[event], minlength=self.members + 1)

    def values(self, totals: Mapping[str, np.ndarray]) -> Values:
        """CRPS, spread and skill, Brier scores, ROC areas and economic values.

        ``crps`` is mean|x - y| - sum_ij |x_i - x_j| / (2 M^2), ``crps_fair`` divides by 2 M (M - 1)
        (Ferro 2014): what the members' distribution would have with endless members. ``spread`` is
        the root of the mean variance, divided by M - 1 instead of M and times (M + 1) / M, so that
        members from the truth's own distribution have a ``spread_skill``, spread over the RMSE of
        the mean, of 1 (Fortin et al. 2014). With one member, the two are undefined.
        """
        n, m = totals["pixels"], self.members
        many = m / (m - 1) if m > 1 else np.nan
        error, pairs = ratio(totals["error"], n), ratio(totals["pairs"], n)
        spread = np.sqrt(ratio(totals["variance"], n) * many * (m + 1) / m)
        rmse = np.sqrt(ratio(totals["squared_error"], n))
        found = {
            ScoreKey("crps"): error - pairs / (2 * m**2),
            ScoreKey("crps_fair"): error - many * pairs / (2 * m**2),
            ScoreKey("spread"): spread,
            ScoreKey("rmse_of_mean"): rmse,
            ScoreKey("spread_skill"): ratio(spread, rmse),
        }
        for k, threshold in enumerate(self.thresholds):
            found |= {
                ScoreKey(score, threshold): value
                for score, value in self._of_probabilities(totals, k).items()
            }
            for cost_loss in self.cost_loss:
                key = ScoreKey("economic_value", threshold, cost_loss=cost_loss)
                found[key] = self.economic_value(totals, k, cost_loss)
        return found

    def economic_value(
        self, totals: Mapping[str, np.ndarray], k: int, cost_loss: float
    ) -> np.ndarray:
        """Of threshold k, (..., T), for users who act where the share of members that reach it is
        at least their cost-loss ratio.
        """
        forecasts, events = totals["forecasts"][..., k, :, :], totals["events"][..., k, :, :]
        # 2 of 5 members are 0.4, whatever binary fractions make of it
        acted = np.arange(self.members + 1) >= cost_loss * self.members - _ROUNDING
        hits = events[..., acted, :].sum(-2)
        alarms = forecasts[..., acted, :].sum(-2) - hits
        return economic_value(hits, events.sum(-2) - hits, alarms, forecasts.sum(-2), cost_loss)

    def _of_probabilities(self, totals: Mapping[str, np.ndarray], k: int) -> dict[str, np.ndarray]:
        """Brier score with its parts (Murphy 1973: reliability - resolution + uncertainty), skill
        over the base rate, and ROC area.
        """
        forecasts, events = totals["forecasts"][..., k, :, :], totals["events"][..., k, :, :]
        probability = (np.arange(self.members + 1) / self.members)[:, None]
        n = forecasts.sum(-2)
        rate, frequency = ratio(events.sum(-2), n), ratio(events, forecasts)
        frequency = np.where(forecasts > 0, frequency, 0)
        reliability = ratio((forecasts * (probability - frequency) ** 2).sum(-2), n)
        resolution = ratio((forecasts * (frequency - rate[..., None, :]) ** 2).sum(-2), n)
        uncertainty = rate * (1 - rate)
        brier = reliability - resolution + uncertainty
        hit_rate, false_rate = self.roc_curve(totals, k)
        steps = false_rate[..., 1:, :] - false_rate[..., :-1, :]
        return {
            "brier": brier,
            "brier_reliability": reliability,
            "brier_resolution": resolution,
            "brier_uncertainty": uncertainty,
            "brier_skill": ratio(uncertainty - brier, uncertainty),
            "roc_area": (steps * (hit_rate[..., 1:, :] + hit_rate[..., :-1, :]) / 2).sum(-2),
        }

    def rank_histogram(self, totals: Mapping[str, np.ndarray]) -> np.ndarray:
        """Share of the pixels in each rank, (..., M + 1, T); flat at 1 / (M + 1) where the truth is
        like a member.
        """
        return ratio(totals["ranks"], totals["pixels"][..., None, :])

    def reliability_curve(
        self, totals: Mapping[str, np.ndarray], k: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of threshold k: forecast probabilities (P,), observed frequencies (..., P, T), and shares
        of the forecasts (..., P, T).
        """
        forecasts, events = totals["forecasts"][..., k, :, :], totals["events"][..., k, :, :]
        return (
            np.arange(self.members + 1) / self.members,
            ratio(events, forecasts),
            ratio(forecasts, forecasts.sum(-2, keepdims=True)),
        )

    def roc_curve(self, totals: Mapping[str, np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
        """Of threshold k: hit rate and false alarm rate, (..., P + 1, T) each, of warnings from one
        more member than all down to none.
        """
        forecasts, events = totals["forecasts"][..., k, :, :], totals["events"][..., k, :, :]
        found = []
        for counts in (events, forecasts - events):
            warned = np.cumsum(counts[..., ::-1, :], axis=-2)
            none = np.zeros_like(warned[..., :1, :])
            found.append(ratio(np.concatenate([none, warned], axis=-2), warned[..., -1:, :]))
        return found[0], found[1]

    @property
    def warned_from(self) -> list[str]:
        """From how many members on there is a warning, in words, P."""
        return [f"{count} or more members" for count in range(self.members + 1)]


def _shared_ranks(below: np.ndarray, reached: np.ndarray, members: int) -> np.ndarray:
    """Pixels by rank, (M + 1,): of the ranks from ``below`` to ``reached`` that a pixel's ties
    leave open, each gets an equal share.
    """
    share = 1 / (reached - below + 1)
    ends = np.bincount(below, share, members + 2) - np.bincount(reached + 1, share, members + 2)
    return np.cumsum(ends)[: members + 1]
