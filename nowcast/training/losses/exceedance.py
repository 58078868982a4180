"""The loss of probabilities to exceed rain rates.

Axes: B batch, K thresholds, T time, C channels, H rows, W columns.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from nowcast.models.base import ForecastModel
from nowcast.models.prediction import LogitPrediction, Prediction
from nowcast.runtime.errors import UserError
from nowcast.training.losses.base import (
    ROUNDING,
    TrainingLoss,
    not_together,
    refuse_below_zero,
    shapes_text,
    shared_count,
)
from nowcast.types.batch import Batch

_STEP = 2  # a loss of every other pixel costs a quarter, and neighbours know much of each other


@dataclass(frozen=True)
class ExceedanceError(TrainingLoss):
    """Cross-entropy of the probabilities that rain rates exceed thresholds.

    For models that predict such probabilities. A proper score: the sum over the thresholds of the
    mean over observed pixels.

    Args:
        knee: of the transform, ``nowcast.types.transform.LogRainRate`` [mm/h].
        ceiling: of the transform [mm/h].
        thresholds: rain rates [mm/h], ascending.
        weights: of the thresholds; heavy rain is rare, and would else count for next to nothing.
    """

    knee: float
    ceiling: float
    thresholds: list[float]
    weights: list[float]

    def __post_init__(self):
        rates = [0.0, *self.thresholds, self.ceiling]
        ascending = all(lower < upper for lower, upper in pairwise(rates))
        if not self.thresholds or len(self.thresholds) != len(self.weights) or not ascending:
            raise UserError(
                f"loss.thresholds is {self.thresholds} and loss.weights {self.weights}; expected "
                f"ascending rates between 0 and {self.ceiling:g} mm/h, and a weight for each."
            )
        refuse_below_zero(weights=self.weights)

    def check(self, model: ForecastModel) -> None:
        """Refuse a model without probabilities."""
        if not model.capabilities.probabilistic:
            raise UserError(not_together(self, model))

    @property
    def levels(self) -> Tensor:
        """The thresholds, normalised, a rounding error below: (K,)."""
        rates = torch.log1p(torch.tensor(self.thresholds) / self.knee)
        return (1 - ROUNDING) * rates / math.log1p(self.ceiling / self.knee)

    def of_prediction(
        self, prediction: Prediction, batch: Batch, generator: Generator | None = None
    ) -> Tensor:
        """The loss on every other pixel of rows and columns; which ones is drawn.

        Raises:
            UserError: a prediction without logits.
        """
        if not isinstance(prediction, LogitPrediction):
            raise UserError(
                f"expected a LogitPrediction, from whose logits {type(self).__name__} learns, got "
                f"a {type(prediction).__name__}."
            )
        row, column = torch.randint(_STEP, (2,), generator=generator).tolist()
        levels = self.levels.to(batch.context.device)
        logits, known = prediction.exceedance_logits(levels, every=_STEP, first=(row, column))
        chosen = (..., slice(row, None, _STEP), slice(column, None, _STEP))
        observed = batch.target_observed[chosen] & known[:, :, None]
        return self.compare(logits[:, :, :, None], batch.target[chosen], observed)

    def compare(self, logits: Tensor, target: Tensor, observed: Tensor) -> Tensor:
        """Logits (B, K, T, C, H, W), target and observed (B, T, C, H, W) -> scalar.

        Raises:
            UserError: logits of another shape.
        """
        expected = (len(target), len(self.thresholds), *target.shape[1:])
        if logits.shape != expected or observed.shape != target.shape:
            raise UserError(
                f"{shapes_text(logits, target, observed)}; they must be the same, but for the "
                f"thresholds of the forecast: (B, {len(self.thresholds)}, T, C, H, W)."
            )
        # replaced before and after: neither a loss nor a gradient of what counts for nothing
        counted = observed[:, None].expand_as(logits)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        exceeds = target[:, None] >= self.levels.to(target.device)[:, None, None, None, None]
        error = F.binary_cross_entropy_with_logits(
            torch.where(counted, logits, 0.0), exceeds.to(logits.dtype), reduction="none"
        )
        sums = torch.where(counted, error, 0.0).sum((0, 2, 3, 4, 5))
        means = sums / shared_count(observed.sum(), logits.dtype)
        return (means * torch.tensor(self.weights, device=means.device, dtype=means.dtype)).sum()
