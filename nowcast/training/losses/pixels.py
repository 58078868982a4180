"""Errors of one forecast, pixel by pixel.

Axes: B batch, T time, C channels, H rows, W columns.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nowcast.models.base import ForecastModel
from nowcast.runtime.errors import UserError
from nowcast.training.losses.base import PixelLoss, observed_mean, refuse_below_zero, shared_count

PROBABILITY_MARGIN = 1e-7  # probabilities are clipped to [1e-7, 1 - 1e-7], as in Shi et al. 2015


@dataclass(frozen=True)
class CrossEntropy(PixelLoss):
    """Cross-entropy of grey targets, summed over time and pixels, mean over the batch.

    In nats per sequence. Cross-entropy alone answers uncertainty with a grey veil; the absolute
    error prefers the likelier of black and white.

    Args:
        absolute_weight: of the summed absolute error that is added; 0 is the loss of Shi et al.
            2015.
    """

    absolute_weight: float = 0.0

    def __post_init__(self):
        refuse_below_zero(absolute_weight=self.absolute_weight)

    def check(self, model: ForecastModel) -> None:
        """Refuse a model whose values may lie outside of (0, 1)."""
        super().check(model)
        if not model.capabilities.unit_range:
            raise UserError(
                f"{type(self).__name__} needs values between 0 and 1, but this "
                f"{type(model).__name__} has output=linear; use output=sigmoid, or "
                "loss=squared_error."
            )

    def of(self, forecast: Tensor, target: Tensor, observed: Tensor) -> Tensor:
        """All (B, T, C, H, W) -> scalar; forecast and target in [0, 1]."""
        probability = forecast.clamp(PROBABILITY_MARGIN, 1 - PROBABILITY_MARGIN)
        # autocast forbids this function on GPUs, even in float32
        with torch.autocast(forecast.device.type, enabled=False):
            loss = F.binary_cross_entropy(probability, target, reduction="none")
        if self.absolute_weight:
            loss = loss + self.absolute_weight * (forecast - target).abs()
        sequences = shared_count(torch.tensor(len(target)), loss.dtype)
        return torch.where(observed, loss, 0.0).sum() / sequences


@dataclass(frozen=True)
class SquaredError(PixelLoss):
    """Squared error, mean over observed pixels."""

    def of(self, forecast: Tensor, target: Tensor, observed: Tensor) -> Tensor:
        """All (B, T, C, H, W) -> scalar."""
        return observed_mean((forecast - target).square(), observed)


@dataclass(frozen=True)
class AbsoluteError(PixelLoss):
    """Absolute error, mean over observed pixels."""

    def of(self, forecast: Tensor, target: Tensor, observed: Tensor) -> Tensor:
        """All (B, T, C, H, W) -> scalar."""
        return observed_mean((forecast - target).abs(), observed)


@dataclass(frozen=True)
class WeightedError(PixelLoss):
    """Weighted squared plus absolute error, mean over observed pixels.

    Args:
        rain_weight: the weight 1 + ``rain_weight`` * target makes the few rainy pixels count
            against the many dry ones (the idea of HKO-7's B-MSE and B-MAE, Shi et al. 2017, with a
            weight that grows evenly).
    """

    rain_weight: float = 5.0

    def __post_init__(self):
        refuse_below_zero(rain_weight=self.rain_weight)

    def of(self, forecast: Tensor, target: Tensor, observed: Tensor) -> Tensor:
        """All (B, T, C, H, W) -> scalar."""
        difference = forecast - target
        error = difference.square() + difference.abs()
        return observed_mean((1 + self.rain_weight * target) * error, observed)
