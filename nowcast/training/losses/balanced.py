"""The loss of HKO-7, which weighs a pixel by its rain.

Axes: B batch, T time, C channels, H rows, W columns.
"""

import math
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

from nowcast.runtime.errors import UserError
from nowcast.training.losses.base import PixelLoss, observed_mean, refuse_below_zero

ROUNDING = 1e-5  # 2 mm/h, normalised and restored in float32, may be 1.999999 mm/h


@dataclass(frozen=True)
class BalancedError(PixelLoss):
    """B-MSE + B-MAE of HKO-7: squared plus absolute error, weighted by the true rain rate.

    The weights are those of Shi et al. 2017 (arXiv 1706.03458): 1 below 2 mm/h, 2 from there, 5
    from 5, 10 from 10 and 30 from 30 mm/h of the truth. Two things differ from the paper. Errors
    are taken on the normalised scale of ``LogRainRate``, not on the pixel scale (dBZ + 10) / 70:
    both run from 0 to 1 and are logarithmic in rain, but the paper's must be cut off below 0.017
    mm/h, where a forecast that is dry where it rains would have no gradient and could never learn
    better. And the weighted errors are divided by the number of observed pixels, where the paper
    sums over a frame, so that one learning rate fits frames of all sizes.

    Args:
        knee: of the transform [mm/h]; with the ceiling it gives the rain rate of a normalised
            truth.
        ceiling: of the transform [mm/h].
        thresholds: rising rain rates [mm/h]; a rate equal to one belongs above it.
        weights: of the truth below the first threshold, then from each threshold on.
        squared_weight: of the squared error in the sum of both.
        absolute_weight: of the absolute error.
    """

    knee: float
    ceiling: float
    thresholds: list[float] = field(default_factory=lambda: [2.0, 5.0, 10.0, 30.0])
    weights: list[float] = field(default_factory=lambda: [1.0, 2.0, 5.0, 10.0, 30.0])
    squared_weight: float = 1.0
    absolute_weight: float = 1.0

    def __post_init__(self):
        if not 0 < self.knee < self.ceiling < math.inf:
            raise UserError(
                f"loss.knee is {self.knee} and loss.ceiling is {self.ceiling}; give those of the "
                "transform, 0 < knee < ceiling [mm/h]."
            )
        bounds = [0, *self.thresholds, math.inf]
        if not all(lower < upper for lower, upper in pairwise(bounds)):
            raise UserError(
                f"loss.thresholds is {self.thresholds}; expected rising rain rates above 0 [mm/h]."
            )
        expected = len(self.thresholds) + 1
        if len(self.weights) != expected:
            raise UserError(
                f"loss.weights is {self.weights}; expected {expected} weights for "
                f"{len(self.thresholds)} thresholds, one of them for below the first."
            )
        refuse_below_zero(
            weights=self.weights,
            squared_weight=self.squared_weight,
            absolute_weight=self.absolute_weight,
        )
        if not any(self.weights) or not (self.squared_weight or self.absolute_weight):
            raise UserError(
                f"loss.weights is {self.weights}, loss.squared_weight {self.squared_weight}, "
                f"loss.absolute_weight {self.absolute_weight}; "
                "nothing is left to learn from, give one of them above 0."
            )

    def of(self, forecast: Tensor, target: Tensor, observed: Tensor) -> Tensor:
        """All (B, T, C, H, W), normalised by ``LogRainRate`` -> scalar."""
        difference = forecast - target
        error = self.squared_weight * difference.square() + self.absolute_weight * difference.abs()
        return observed_mean(self.pixel_weights(target) * error, observed)

    def pixel_weights(self, target: Tensor) -> Tensor:
        """Normalised truth, any shape -> weights of its shape."""
        rain_rate = self.rain_rate(target)
        weights = torch.full_like(rain_rate, self.weights[0])
        for threshold, weight in zip(self.thresholds, self.weights[1:], strict=True):
            weights = torch.where(rain_rate >= threshold * (1 - ROUNDING), weight, weights)
        return weights

    def rain_rate(self, normalised: Tensor) -> Tensor:
        """Normalised values, any shape -> rain rate [mm/h], as ``LogRainRate.restore``."""
        scale = math.log1p(self.ceiling / self.knee)
        return (torch.expm1(normalised.clamp(0.0, 1.0) * scale) * self.knee).clamp(max=self.ceiling)
