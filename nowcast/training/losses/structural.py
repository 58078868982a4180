"""The loss of structural similarity.

Axes: B batch, T time, C channels, H rows, W columns.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nowcast.runtime.errors import UserError
from nowcast.training.losses.base import PixelLoss, observed_mean, refuse_below_zero

SSIM_WINDOW = 7  # pixels, as in the Moving MNIST scores
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2  # (K data range)^2


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
