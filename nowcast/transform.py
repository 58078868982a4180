"""Physical values <-> normalised tensors. What happens to missing data is decided here, once.

A transform takes physical values with NaN for "not observed" and gives a tensor without NaN, plus the mask of what
was observed. The values under the mask are a constant, so that nothing hidden there can reach a weight.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

from nowcast.errors import UserError


def _split(values: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Values with NaN -> (values with 0 there, observed mask)."""
    values = np.ascontiguousarray(values, dtype=np.float32)
    observed = torch.from_numpy(np.equal(values, values))  # false for NaN; NumPy compares ten times as fast as torch.isnan
    return torch.from_numpy(values).nan_to_num(0.0, posinf=math.inf, neginf=-math.inf), observed


@dataclass(frozen=True)
class Identity:
    """Values as they are: grey levels in [0, 1], or rain rates [mm/h] for models that work in physical units."""

    def normalise(self, values: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Any shape -> (float32 tensor, observed mask), both of that shape; 0 where not observed."""
        return _split(values)

    def restore(self, tensor: torch.Tensor) -> np.ndarray:
        """The way back, any shape; NaN stays NaN."""
        return tensor.detach().float().cpu().numpy()


@dataclass(frozen=True)
class LogRainRate:
    """Rain rate [mm/h] <-> log(1 + R / knee) / log(1 + ceiling / knee), in [0, 1].

    Linear for drizzle below ``knee``, logarithmic above it, 0 for dry. Rates above ``ceiling`` (clutter, hail) are
    clipped to it on the way in; on the way back the result lies in [0, ceiling].
    """

    knee: float = 0.5
    ceiling: float = 150.0

    def __post_init__(self):
        if not 0 < self.knee < self.ceiling < math.inf:
            raise UserError(f"transform: knee {self.knee} and ceiling {self.ceiling} must fulfil 0 < knee < ceiling [mm/h].")

    @property
    def _scale(self) -> float:
        return math.log1p(self.ceiling / self.knee)

    def normalise(self, values: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Rain rate [mm/h], any shape -> (normalised float32 tensor, observed mask); 0 where not observed."""
        rain_rate, observed = _split(values)
        return rain_rate.clamp_(0.0, self.ceiling).div_(self.knee).log1p_().div_(self._scale), observed

    def restore(self, tensor: torch.Tensor) -> np.ndarray:
        """Normalised tensor -> rain rate [mm/h], any shape; NaN stays NaN."""
        normalised = tensor.detach().float().clamp(0.0, 1.0)  # a copy, which the rest works on in place
        return normalised.mul_(self._scale).expm1_().mul_(self.knee).clamp_(max=self.ceiling).cpu().numpy()
