"""Training losses on normalised tensors; what was not observed counts for nothing.

Every loss is called as loss(forecast, target, observed) on tensors (B, T, C, H, W) and gives a
scalar in float32 (float64 stays), whatever the precision of the network. Values that were not
observed, also NaN and infinite ones, change neither it nor its gradient; where nothing at all was
observed, both are 0.

Axes: B batch, M members, T time, C channels, H rows, W columns.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from nowcast.runtime.errors import UserError

PROBABILITY_MARGIN = 1e-7  # probabilities are clipped to [1e-7, 1 - 1e-7], as in Shi et al. 2015
SSIM_WINDOW = 7
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2  # (K data range)^2
ROUNDING = 1e-5  # 2 mm/h, normalised and restored in float32, may be 1.999999 mm/h

_mean_count: ContextVar[Callable[[Tensor], Tensor] | None] = ContextVar("mean_count", default=None)


@contextmanager
def counting_with(mean: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Losses called inside divide by counts of several processes that share a batch.

    The mean of the processes' losses, and of their gradients, is then the loss of the whole batch,
    however unevenly what was observed is spread over them: 3 observed pixels here and 1 there weigh
    3 to 1.

    Args:
        mean: called with what this process counted, a scalar; gives the mean over all processes.
            They all call it equally often.
    """
    token = _mean_count.set(mean)
    try:
        yield
    finally:
        _mean_count.reset(token)


@dataclass(frozen=True)
class CrossEntropy:
    """Cross-entropy of grey targets, summed over time and pixels, mean over the batch [nats per
    sequence].

    ``absolute_weight`` times the summed absolute error is added to it. 0 is the loss of Shi et al.
    2015. Cross-entropy alone answers uncertainty with a grey veil; the absolute error prefers the
    likelier of black and white.
    """

    absolute_weight: float = 0.0

    def __post_init__(self):
        _at_least_zero(absolute_weight=self.absolute_weight)

    def __call__(self, forecast: Tensor, target: Tensor, observed: Tensor) -> Tensor:
        """All (B, T, C, H, W) -> scalar; forecast and target in [0, 1]."""
        forecast, target = _without_hidden(forecast, target, observed)
        probability = forecast.clamp(PROBABILITY_MARGIN, 1 - PROBABILITY_MARGIN)
        with torch.autocast(
            forecast.device.type, enabled=False
        ):  # which forbids this function on GPUs, even in float32
            loss = F.binary_cross_entropy(probability, target, reduction="none")
        if self.absolute_weight:
            loss = loss + self.absolute_weight * (forecast - target).abs()
        return torch.where(observed, loss, 0.0).sum() / _divisor(
            torch.tensor(len(target)), loss.dtype
        )


@dataclass(frozen=True)
class SquaredError:
    """Squared error, mean over observed pixels."""

    def __call__(self, forecast: Tensor, target: Tensor, observed: Tensor) -> Tensor:
        """All (B, T, C, H, W) -> scalar."""
        forecast, target = _without_hidden(forecast, target, observed)
        return _mean((forecast - target).square(), observed)


@dataclass(frozen=True)
class AbsoluteError:
    """Absolute error, mean over observed pixels."""

    def __call__(self, forecast: Tensor, target: Tensor, observed: Tensor) -> Tensor:
        """All (B, T, C, H, W) -> scalar."""
        forecast, target = _without_hidden(forecast, target, observed)
        return _mean((forecast - target).abs(), observed)


@dataclass(frozen=True)
class WeightedError:
    """Weighted squared plus absolute error, mean over observed pixels.

    The weight 1 + ``rain_weight`` * target makes the few rainy pixels count against the many dry
    ones (the idea of HKO-7's B-MSE and B-MAE, Shi et al. 2017, with a weight that grows evenly).
    """

    rain_weight: float = 5.0

    def __post_init__(self):
        _at_least_zero(rain_weight=self.rain_weight)

    def __call__(self, forecast: Tensor, target: Tensor, observed: Tensor) -> Tensor:
        """All (B, T, C, H, W) -> scalar."""
        forecast, target = _without_hidden(forecast, target, observed)
        difference = forecast - target
        return _mean(
            (1 + self.rain_weight * target) * (difference.square() + difference.abs()), observed
        )


@dataclass(frozen=True)
class BalancedError:
    """B-MSE + B-MAE of HKO-7: squared plus absolute error, each pixel weighted by its true rain
    rate.

    The weights are those of Shi et al. 2017 (arXiv 1706.03458): 1 below 2 mm/h, 2 from there, 5
    from 5, 10 from 10 and 30 from 30 mm/h of the truth. Two things differ from the paper. Errors
    are taken on the normalised scale of ``LogRainRate``, not on the pixel scale (dBZ + 10) / 70:
    both run from 0 to 1 and are logarithmic in rain, but the paper's must be cut off below 0.017
    mm/h, where a forecast that is dry where it rains would have no gradient and could never learn
    better. And the weighted errors are divided by the number of observed pixels, where the paper
    sums over a frame, so that one learning rate fits frames of all sizes.

    Args:
        knee, ceiling: those of the transform [mm/h]; they give the rain rate of a normalised truth.
        thresholds: rising rain rates [mm/h]; a rate equal to one belongs above it.
        weights: of the truth below the first threshold, then from each threshold on.
        squared_weight, absolute_weight: of the two errors in their sum.
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
        if not all(lower < upper for lower, upper in zip(bounds, bounds[1:])):
            raise UserError(
                f"loss.thresholds is {self.thresholds}; rising rain rates above 0 [mm/h] are "
                "needed."
            )
        if len(self.weights) != len(self.thresholds) + 1:
            raise UserError(
                f"loss.weights is {self.weights}; for {len(self.thresholds)} thresholds "
                f"{len(self.thresholds) + 1} weights are needed, "
                "one for below the first."
            )
        _at_least_zero(
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

    def __call__(self, forecast: Tensor, target: Tensor, observed: Tensor) -> Tensor:
        """All (B, T, C, H, W), normalised by ``LogRainRate`` -> scalar."""
        forecast, target = _without_hidden(forecast, target, observed)
        difference = forecast - target
        error = self.squared_weight * difference.square() + self.absolute_weight * difference.abs()
        return _mean(self.pixel_weights(target) * error, observed)

    def pixel_weights(self, target: Tensor) -> Tensor:
        """Normalised truth, any shape -> weights of its shape."""
        rain_rate = self.rain_rate(target)
        weights = torch.full_like(rain_rate, self.weights[0])
        for threshold, weight in zip(self.thresholds, self.weights[1:]):
            weights = torch.where(rain_rate >= threshold * (1 - ROUNDING), weight, weights)
        return weights

    def rain_rate(self, normalised: Tensor) -> Tensor:
        """Normalised values, any shape -> rain rate [mm/h], as ``LogRainRate.restore``."""
        scale = math.log1p(self.ceiling / self.knee)
        return (torch.expm1(normalised.clamp(0.0, 1.0) * scale) * self.knee).clamp(max=self.ceiling)


@dataclass(frozen=True)
class StructuralError:
    """1 - SSIM, mean over windows, plus ``absolute_weight`` times the absolute error, mean over
    observed pixels.

    Structural similarity (Wang et al. 2004) as in the Moving MNIST scores: a uniform 7 x 7 window,
    K1 = 0.01, K2 = 0.03, sample covariances, a data range of 1. Windows lie inside the frame, and
    one that holds an unobserved pixel counts for nothing; the absolute error still counts around
    it.

    Alone it trains badly: far from the truth it is almost flat (a forecast of 0.5 everywhere on a
    dry truth has a slope of 0.0016, the absolute error one of 1). The absolute error leads out of
    there and sets the values, the structure keeps the forecast sharp (Zhao et al. 2015, arXiv
    1511.08861).
    """

    absolute_weight: float = 1.0

    def __post_init__(self):
        _at_least_zero(absolute_weight=self.absolute_weight)

    def __call__(self, forecast: Tensor, target: Tensor, observed: Tensor) -> Tensor:
        """All (B, T, C, H, W) -> scalar; H and W at least 7.

        Raises:
            UserError: smaller frames.
        """
        height, width = target.shape[-2:]
        if min(height, width) < SSIM_WINDOW:
            raise UserError(
                f"frames of {height} x {width} pixels came, but StructuralError compares windows "
                f"of {SSIM_WINDOW} x {SSIM_WINDOW}; "
                "take larger frames or another loss."
            )
        forecast, target = _without_hidden(forecast, target, observed)
        whole = F.max_pool2d((~observed).flatten(0, 2).to(target.dtype), SSIM_WINDOW, stride=1) == 0
        structural = _mean(1 - _similarity(forecast.flatten(0, 2), target.flatten(0, 2)), whole)
        return structural + self.absolute_weight * _mean((forecast - target).abs(), observed)


@dataclass(frozen=True)
class CRPS:
    """Continuous ranked probability score of an ensemble, mean over observed pixels.

    Of members x_1 .. x_M and truth y it is mean |x_i - y| - sum_ij |x_i - x_j| / (2 M (M - 1)).
    This fair version (Ferro 2014, doi 10.1002/qj.2270) is on average lowest for members drawn from
    the truth's own distribution, whatever M. The ordinary one divides by 2 M^2 and so rewards a few
    members for being too much alike.

    Args:
        members: how many the model draws in training, at least 2.
        fair: the fair version, or the ordinary one.
    """

    members: int = 4
    fair: bool = True

    def __post_init__(self):
        if not self.members >= 2:
            raise UserError(f"loss.members is {self.members}; it must be 2 or more.")

    def __call__(self, forecast: Tensor, target: Tensor, observed: Tensor) -> Tensor:
        """Forecast (B, M, T, C, H, W) with any M from 2, target and observed (B, T, C, H, W) ->
        scalar.

        Raises:
            UserError: a forecast without members.
        """
        if forecast.ndim != target.ndim + 1 or forecast.shape[1] < 2:
            raise UserError(
                f"a forecast of shape {tuple(forecast.shape)} came for a target of shape "
                f"{tuple(target.shape)}, but CRPS compares "
                "at least 2 members (B, M, T, C, H, W) with it; take a model that draws members "
                "(model.ensemble), or another loss."
            )
        members = forecast.shape[1]
        forecast, target = _without_hidden(
            forecast, *(torch.stack([values] * members, dim=1) for values in (target, observed))
        )
        error = (forecast - target).abs().mean(1)
        below = torch.arange(
            1, members, device=forecast.device
        )  # members below each gap between neighbours
        gaps = forecast.sort(dim=1, stable=True).values.diff(dim=1)
        pairs = ((below * (members - below)).reshape(-1, *[1] * (forecast.ndim - 2)) * gaps).sum(
            1
        )  # |x_i - x_j| over i < j
        return _mean(error - pairs / (members * (members - 1 if self.fair else members)), observed)


@dataclass(frozen=True)
class ExceedanceError:
    """Cross-entropy of the probabilities that rain rates exceed thresholds, for models that give
    such probabilities; a proper score, the sum over the thresholds of the mean over observed
    pixels.

    Args:
        knee, ceiling: of the transform, ``nowcast.types.transform.LogRainRate`` [mm/h].
        thresholds: rain rates [mm/h], ascending.
        weights: of the thresholds; heavy rain is rare, and would else count for next to nothing.
    """

    knee: float
    ceiling: float
    thresholds: list[float]
    weights: list[float]

    def __post_init__(self):
        if (
            not self.thresholds
            or len(self.thresholds) != len(self.weights)
            or not all(a < b for a, b in pairwise([0.0, *self.thresholds, self.ceiling]))
        ):
            raise UserError(
                f"loss.thresholds is {self.thresholds} and loss.weights {self.weights}; "
                f"ascending rates between 0 and {self.ceiling:g} mm/h, and a weight for each, "
                "are needed."
            )
        _at_least_zero(weights=self.weights)

    @property
    def levels(self) -> Tensor:
        """The thresholds, normalised, a rounding error below: (K,)."""
        return (
            (1 - ROUNDING)
            * torch.log1p(torch.tensor(self.thresholds) / self.knee)
            / math.log1p(self.ceiling / self.knee)
        )

    def __call__(self, forecast: Tensor, target: Tensor, observed: Tensor) -> Tensor:
        """Logits (B, K, T, C, H, W), target and observed (B, T, C, H, W) -> scalar.

        Raises:
            UserError: logits of another shape.
        """
        if (
            forecast.shape != (len(target), len(self.thresholds), *target.shape[1:])
            or observed.shape != target.shape
        ):
            shapes = ", ".join(str(tuple(values.shape)) for values in (forecast, target, observed))
            raise UserError(
                f"forecast, target and observed have the shapes {shapes}; they must be the same, "
                f"but for the thresholds of the forecast: (B, {len(self.thresholds)}, T, C, H, "
                "W)."
            )
        counted = observed[:, None].expand_as(forecast)
        forecast = forecast.to(torch.promote_types(forecast.dtype, torch.float32))
        exceeds = target[:, None] >= self.levels.to(target.device)[:, None, None, None, None]
        error = F.binary_cross_entropy_with_logits(
            torch.where(counted, forecast, 0.0), exceeds.to(forecast.dtype), reduction="none"
        )
        by_level = torch.where(counted, error, 0.0).sum((0, 2, 3, 4, 5)) / _divisor(
            observed.sum(), forecast.dtype
        )
        return (
            by_level * torch.tensor(self.weights, device=by_level.device, dtype=by_level.dtype)
        ).sum()


def _without_hidden(forecast: Tensor, target: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
    """Forecast and target with 0 wherever it was not observed, both in float32 or float64.

    Done before all arithmetic: 0 times what is hidden would be NaN for a NaN, and so would its
    gradient.

    Raises:
        UserError: shapes that differ; they would be broadcast to a loss of no meaning.
    """
    if not forecast.shape == target.shape == observed.shape:
        shapes = ", ".join(str(tuple(values.shape)) for values in (forecast, target, observed))
        raise UserError(
            f"forecast, target and observed have the shapes {shapes}; they must be the same."
        )
    precision = torch.promote_types(
        torch.promote_types(forecast.dtype, target.dtype), torch.float32
    )
    forecast, target = (
        torch.where(observed, values, 0.0).to(precision) for values in (forecast, target)
    )
    return forecast, target


def _mean(error: Tensor, counted: Tensor) -> Tensor:
    """Mean of what counts, any shape -> scalar; 0 if nothing does."""
    return torch.where(counted, error, 0.0).sum() / _divisor(counted.sum(), error.dtype)


def _divisor(count: Tensor, dtype: torch.dtype) -> Tensor:
    """What a sum over so many things, a scalar, is divided by: their number, or in
    ``counting_with`` the mean one of all processes.
    """
    mean = _mean_count.get()
    if mean is None:
        return count.clamp(min=1)
    count = mean(count)
    return torch.where(count > 0, count, 1.0).to(dtype)  # where nothing counts, the sum is 0


def _similarity(f: Tensor, t: Tensor) -> Tensor:
    """SSIM of all windows inside the frames, (N, H, W) -> (N, H - 6, W - 6); no root and no
    division by 0, so that gradients are finite.
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


def _at_least_zero(**settings: float | list[float]) -> None:
    """Refuse a setting, or a number in a list of them, below 0."""
    for name, value in settings.items():
        if not all(
            number >= 0 for number in (value if isinstance(value, (list, tuple)) else [value])
        ):
            raise UserError(f"loss.{name} is {value}; it must be 0 or more.")
