"""A loss: the logarithm of the hyperbolic cosine of the error."""

import math
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from nowcast import PixelLoss
from nowcast.training.losses import observed_mean


@dataclass(frozen=True)
class LogCosh(PixelLoss):
    """Like the squared error for small errors and the absolute error for large ones, mean over the
    observed pixels.

    Args:
        sharpness: errors beyond about 1 / sharpness count as large.
    """

    sharpness: float = 10.0

    def of(self, forecast: Tensor, target: Tensor, observed: Tensor) -> Tensor:
        """All (B, T, 1, H, W) -> scalar."""
        error = self.sharpness * (forecast - target).abs()  # 0 where it was not observed
        by_pixel = (error + F.softplus(-2 * error) - math.log(2)) / self.sharpness
        return observed_mean(by_pixel, observed)
