"""Training losses on normalised tensors; what was not observed counts for nothing."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nowcast.errors import UserError

PROBABILITY_MARGIN = 1e-7  # probabilities are clipped to [1e-7, 1 - 1e-7], as in Shi et al. 2015


@dataclass(frozen=True)
class CrossEntropy:
    """Cross-entropy of grey targets, summed over time and pixels, mean over the batch [nats per sequence].

    ``absolute_weight`` times the summed absolute error is added to it. 0 is the loss of Shi et al. 2015. Cross-entropy
    alone answers uncertainty with a grey veil; the absolute error prefers the likelier of black and white.
    """

    absolute_weight: float = 0.0

    def __post_init__(self):
        if not self.absolute_weight >= 0:
            raise UserError(f"loss.absolute_weight is {self.absolute_weight}; it must be 0 or more.")

    def __call__(self, forecast: Tensor, target: Tensor, observed: Tensor) -> Tensor:
        """All (B, T, C, H, W) -> scalar; forecast and target in [0, 1]."""
        probability = forecast.clamp(PROBABILITY_MARGIN, 1 - PROBABILITY_MARGIN)
        loss = F.binary_cross_entropy(probability, target, reduction="none")
        if self.absolute_weight:
            loss = loss + self.absolute_weight * (forecast - target).abs()
        return torch.where(observed, loss, 0.0).sum() / len(target)


@dataclass(frozen=True)
class WeightedError:
    """Weighted squared plus absolute error, mean over observed pixels.

    The weight 1 + ``rain_weight`` * target makes the few rainy pixels count against the many dry ones (the idea of
    HKO-7's B-MSE and B-MAE, Shi et al. 2017, with a weight that grows evenly).
    """

    rain_weight: float = 5.0

    def __post_init__(self):
        if not self.rain_weight >= 0:
            raise UserError(f"loss.rain_weight is {self.rain_weight}; it must be 0 or more.")

    def __call__(self, forecast: Tensor, target: Tensor, observed: Tensor) -> Tensor:
        """All (B, T, C, H, W) -> scalar; 0 where nothing at all was observed."""
        difference = forecast - target
        error = (1 + self.rain_weight * target) * (difference.square() + difference.abs())
        return torch.where(observed, error, 0.0).sum() / observed.sum().clamp(min=1)
