"""Named protocols: the published ways of counting, so that a number can stand beside a paper's.

Which one a table was made with decides more than many a model: a mean of leads and a score pooled
over all of them differ, and so do pixels that are left out and pixels that count as dry.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nowcast.evaluation.statistics.balanced import BalancedSums
from nowcast.evaluation.statistics.base import SummedStatistic
from nowcast.evaluation.statistics.by_functional import functionals_of
from nowcast.evaluation.statistics.pixels import PixelSums
from nowcast.evaluation.statistics.pools import PoolSums
from nowcast.evaluation.statistics.probability import ProbabilityScores
from nowcast.evaluation.statistics.sums import (
    ScoreKey,
    SumsTogether,
    Values,
    check_shapes,
    without_masks,
)

SHI_2015 = (0.5,)
HKO_7 = (0.5, 2.0, 5.0, 10.0, 30.0)
SEVIR = (16.0, 74.0, 133.0, 160.0, 181.0, 219.0)
_SEVIR_POOLS = (1, 4, 16)
_FULL = 255.0


@dataclass(frozen=True)
class Shi2015Scores(SummedStatistic):
    """The radar table of Shi et al. 2015: events of 0.5 mm/h or more, counted over all cases of a
    lead, and the mean of the leads.

    CSI, FAR and POD, Rainfall-MSE (``mse``) and the correlation around 0
    (``uncentred_correlation``). That paper's radar had no missing pixels; here they are left out.
    """

    several: ClassVar[bool] = True

    @property
    def functionals(self) -> tuple[str, ...]:
        """The mean, the median, and yes or no at every threshold."""
        return functionals_of(SHI_2015)

    def probabilities(self) -> ProbabilityScores:
        """Scores of probabilities of the same thresholds."""
        return ProbabilityScores(SHI_2015)

    def sums(self, forecast_length: int) -> SumsTogether:
        """Empty sums for forecasts of ``forecast_length`` leads; the paper has 15."""
        return SumsTogether(forecast_length, {"pixels": PixelSums(SHI_2015, forecast_length)})


@dataclass(frozen=True)
class Hko7Scores(SummedStatistic):
    """The benchmark of HKO-7 (Shi et al. 2017): events of 0.5, 2, 5, 10 and 30 mm/h or more,
    missing pixels left out, counts summed over the samples of a lead, a score for each lead, and
    the mean of the leads; CSI, HSS, B-MSE and B-MAE.
    """

    several: ClassVar[bool] = True

    @property
    def functionals(self) -> tuple[str, ...]:
        """The mean, the median, and yes or no at every threshold."""
        return functionals_of(HKO_7)

    def probabilities(self) -> ProbabilityScores:
        """Scores of probabilities of the same thresholds."""
        return ProbabilityScores(HKO_7)

    def sums(self, forecast_length: int) -> SumsTogether:
        """Empty sums for forecasts of ``forecast_length`` leads; the paper has 20."""
        parts = {
            "pixels": PixelSums(HKO_7, forecast_length),
            "balanced": BalancedSums(forecast_length),
        }
        return SumsTogether(forecast_length, parts)


@dataclass(frozen=True)
class SevirScores(SummedStatistic):
    """SEVIR as Earthformer (Gao et al. 2022) and its followers count it: grey levels of 255, events
    of 16, 74, 133, 160, 181 and 219 or more.

    A pixel that is missing in one field becomes 0 in both, so it counts as a correct negative.
    Counts are summed over all cases AND leads before they are divided: the value over all leads is
    this one. ``csi_mean`` is the mean of the six CSI (their "CSI-M"); with a width, of the largest
    values of blocks ("CSI-M pool 4, 16"). Earthformer adds 0.0001 to every denominator; here a
    score without events is undefined instead.
    """

    quantity: ClassVar[str] = "grey_level"
    pooled: ClassVar[bool] = True

    def sums(self, forecast_length: int) -> "SevirSums":
        """Empty sums for forecasts of ``forecast_length`` frames; the benchmark has 12."""
        return SevirSums(SEVIR, _SEVIR_POOLS, forecast_length)


class SevirSums(PoolSums):
    """Counts of events of grey levels from 0 to 255."""

    def add(self, forecast: np.ndarray, observation: np.ndarray) -> None:
        """Add a batch.

        Args:
            forecast: grey levels in [0, 1], (B, T, H, W) float32, NaN = missing.
            observation: the same.

        Raises:
            UserError: shapes that do not agree.
        """
        forecast, observation = without_masks(forecast, observation)
        check_shapes(forecast, observation, self.blocks.shape[-1], axis="frames")
        missing = np.isnan(forecast) | np.isnan(observation)
        super().add(_levels(forecast, missing), _levels(observation, missing))

    def values(self, totals: Mapping[str, np.ndarray]) -> Values:
        """All scores by frame."""
        found = super().values(totals)
        for pool in self.pools:
            by_threshold = [found[ScoreKey("csi", threshold, pool)] for threshold in SEVIR]
            found[ScoreKey("csi_mean", None, pool)] = np.mean(by_threshold, axis=0)
        return found


def _levels(grey: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Grey levels of 255 of those in [0, 1], 0 where missing."""
    scaled = np.where(missing, 0, np.clip(grey, 0, 1)).astype(np.float64) * _FULL
    # to a thousandth of a level: 16 / 255 in float32 times 255 can fall short of 16
    return np.round(scaled, 3).astype(np.float32)
