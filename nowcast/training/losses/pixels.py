"""Losses of one forecast: errors of pixels, and of windows around them.

Axes: B batch, T time, C channels, H rows, W columns.
"""

import math
from dataclasses import dataclass, field, replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from nowcast.models.base import ForecastModel
from nowcast.runtime.errors import UserError
from nowcast.training.losses.base import (
    ROUNDING,
    PixelLoss,
    observed_mean,
    refuse_below_zero,
    shared_count,
)
from nowcast.types.batch import Batch

PROBABILITY_MARGIN = 1e-7  # probabilities are clipped to [1e-7, 1 - 1e-7], as in Shi et al. 2015
SSIM_WINDOW = 7  # pixels, as in the Moving MNIST scores
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2  # (K data range)^2


@dataclass(frozen=True)
class CrossEntropy(PixelLoss):
    """Cross-entropy of grey targets, summed over time and pixels, mean over the batch.

    In nats per sequence. Cross-entropy alone answers uncertainty with a grey veil; the absolute
    error prefers the likelier of black and white. But where nothing is likely yet it prefers black,
    and a network learns less from it of where things go: so it may come later.

    Args:
        absolute_weight: of the summed absolute error that is added; 0 is the loss of Shi et al.
            2015.
        absolute_rise: shares of the training between which that weight rises evenly from 0 to its
            full size; [0, 0]: it is full from the beginning. The validation loss always has the
            full weight.
    """

    absolute_weight: float = 0.0
    absolute_rise: list[float] = field(default_factory=lambda: [0.0, 0.0])

    def __post_init__(self):
        refuse_below_zero(absolute_weight=self.absolute_weight)
        rise = self.absolute_rise
        if len(rise) != 2 or not 0 <= rise[0] <= rise[1] <= 1:
            raise UserError(
                f"loss.absolute_rise is {rise}; expected two shares of the training, from 0 to 1, "
                "the second not below the first."
            )

    def check(self, model: ForecastModel) -> None:
        """Refuse a model whose values may lie outside of (0, 1)."""
        super().check(model)
        if not model.capabilities.unit_range:
            raise UserError(
                f"{type(self).__name__} needs values between 0 and 1, but this "
                f"{type(model).__name__} may predict others (capabilities.unit_range is False); "
                "give a network output=sigmoid, or use loss=squared_error."
            )

    def __call__(
        self,
        model: ForecastModel,
        batch: Batch,
        progress: float,
        generator: Generator | None = None,
    ) -> Tensor:
        """The loss of a model in training, with the weight of that moment."""
        weight = self.absolute_weight * self.absolute_share(progress)
        now = replace(self, absolute_weight=weight)
        return super(CrossEntropy, now).__call__(model, batch, progress, generator)

    def absolute_share(self, progress: float) -> float:
        """The share of its weight that the absolute error has, when that share of the training is
        done.
        """
        begin, end = self.absolute_rise
        if progress >= end:
            return 1.0
        return (progress - begin) / (end - begin) if progress > begin else 0.0

    def of(self, forecast: Tensor, target: Tensor, observed: Tensor) -> Tensor:
        """All (B, T, C, H, W) -> scalar; forecast and target in [0, 1]."""
        probability = forecast.clamp(PROBABILITY_MARGIN, 1 - PROBABILITY_MARGIN)
        # autocast forbids this function on GPUs, even in float32
        with torch.autocast(forecast.device.type, enabled=False):
            loss = F.binary_cross_entropy(probability, target, reduction="none")
        if self.absolute_weight:  # else the loss of the paper, to the last bit
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
        # rising thresholds: each overwrites the weights of the ones below it
        for threshold, weight in zip(self.thresholds, self.weights[1:], strict=True):
            weights = torch.where(rain_rate >= threshold * (1 - ROUNDING), weight, weights)
        return weights

    def rain_rate(self, normalised: Tensor) -> Tensor:
        """Normalised values, any shape -> rain rate [mm/h], as ``LogRainRate.restore``."""
        scale = math.log1p(self.ceiling / self.knee)
        return (torch.expm1(normalised.clamp(0.0, 1.0) * scale) * self.knee).clamp(max=self.ceiling)


@dataclass(frozen=True)
class StructuralError(PixelLoss):
    """1 - SSIM, mean over windows, plus the absolute error, mean over observed pixels.

    Structural similarity (Wang et al. 2004) as in the Moving MNIST scores: a uniform 7 x 7 window,
    K1 = 0.01, K2 = 0.03, sample covariances, a data range of 1. Windows lie inside the frame, and
    one that contains an unobserved pixel counts for nothing; the absolute error still counts around
    it.

    Alone it trains badly: far from the truth it is almost flat (a forecast of 0.5 everywhere on a
    dry truth has a slope of 0.0016, the absolute error one of 1). The absolute error leads out of
    there and sets the values, the structure keeps the forecast sharp (Zhao et al. 2015, arXiv
    1511.08861).

    Args:
        absolute_weight: of the absolute error.
    """

    absolute_weight: float = 1.0

    def __post_init__(self):
        refuse_below_zero(absolute_weight=self.absolute_weight)

    def of(self, forecast: Tensor, target: Tensor, observed: Tensor) -> Tensor:
        """All (B, T, C, H, W) -> scalar; H and W at least 7.

        Raises:
            UserError: smaller frames.
        """
        height, width = target.shape[-2:]
        if min(height, width) < SSIM_WINDOW:
            raise UserError(
                f"expected frames of at least {SSIM_WINDOW} x {SSIM_WINDOW} pixels, the windows "
                f"that StructuralError compares, got {height} x {width}; take larger frames or "
                "another loss."
            )
        # a window without an unobserved pixel: the largest of "hidden" in it is 0
        hidden = (~observed).flatten(0, 2).to(target.dtype)
        whole = F.max_pool2d(hidden, SSIM_WINDOW, stride=1) == 0
        similarity = _similarity(forecast.flatten(0, 2), target.flatten(0, 2))
        structural = observed_mean(1 - similarity, whole)
        absolute = observed_mean((forecast - target).abs(), observed)
        return structural + self.absolute_weight * absolute


def _similarity(f: Tensor, t: Tensor) -> Tensor:
    """SSIM of all windows inside the frames, (N, H, W) -> (N, H - 6, W - 6).

    No root and no division by 0, so that gradients are finite.
    """
    means = F.avg_pool2d(torch.cat([f, t, f * f + t * t, f * t]), SSIM_WINDOW, stride=1)
    f_mean, t_mean, squares, product = means.chunk(4)
    sample = SSIM_WINDOW**2 / (SSIM_WINDOW**2 - 1)
    mean_squares, mean_product = f_mean * f_mean + t_mean * t_mean, f_mean * t_mean
    variances, covariance = sample * (squares - mean_squares), sample * (product - mean_product)
    return (
        (2 * mean_product + SSIM_C1)
        * (2 * covariance + SSIM_C2)
        / ((mean_squares + SSIM_C1) * (variances + SSIM_C2))
    )
