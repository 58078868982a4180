"""Physical values <-> normalised tensors. What happens to missing data is decided here, once.

A transform takes physical values with NaN for "not observed" and gives a tensor without NaN, plus
the mask of what was observed. The values under the mask are a constant, so that nothing hidden
there can reach a weight.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from nowcast.runtime.errors import UserError
from nowcast.types.arrays import as_numbers

_ROUNDING = 1e-5  # of a rain rate that was normalised and restored in float32


def _split(values: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Values with NaN, or a mask -> (values with 0 there, observed mask)."""
    values = np.ascontiguousarray(as_numbers(values, "physical values"))
    # false for NaN; NumPy compares ten times as fast as torch.isnan
    observed = torch.from_numpy(np.equal(values, values))
    return torch.from_numpy(values).nan_to_num(0.0, posinf=math.inf, neginf=-math.inf), observed


@dataclass(frozen=True)
class Identity:
    """Values as they are: grey levels in [0, 1], or rain rates [mm/h] for models that work in
    physical units.
    """

    def normalise(self, values: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Any shape -> (float32 tensor, observed mask), both of that shape; 0 where not observed."""
        return _split(values)

    def normalise_(self, values: torch.Tensor) -> torch.Tensor:
        """The same of a tensor without NaN, in place."""
        return values

    def levels(self, thresholds: Sequence[float]) -> torch.Tensor:
        """Physical values, (K,), on the model's scale."""
        return torch.tensor(thresholds, dtype=torch.float32)

    def restore(self, tensor: torch.Tensor) -> np.ndarray:
        """The way back, any shape; NaN stays NaN."""
        return self.restored(tensor).cpu().numpy()

    def restored(self, tensor: torch.Tensor) -> torch.Tensor:
        """The same as a tensor."""
        return tensor.detach().float()


@dataclass(frozen=True)
class LogRainRate:
    """Rain rate [mm/h] <-> log(1 + R / knee) / log(1 + ceiling / knee), in [0, 1].

    Linear for drizzle below ``knee``, logarithmic above it, 0 for dry. Rates above ``ceiling``
    (clutter, hail) are clipped to it on the way in; on the way back the result lies in [0,
    ceiling].
    """

    knee: float = 0.5
    ceiling: float = 150.0

    def __post_init__(self):
        if not 0 < self.knee < self.ceiling < math.inf:
            raise UserError(
                f"transform: knee {self.knee} and ceiling {self.ceiling} must fulfil 0 < knee < "
                "ceiling [mm/h]."
            )

    @property
    def _scale(self) -> float:
        return math.log1p(self.ceiling / self.knee)

    def normalise(self, values: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Rain rate [mm/h], any shape -> (normalised float32 tensor, observed mask); 0 where not
        observed.
        """
        rain_rate, observed = _split(values)
        return self.normalise_(rain_rate), observed

    def normalise_(self, rain_rate: torch.Tensor) -> torch.Tensor:
        """The same of a tensor without NaN, in place."""
        return rain_rate.clamp_(0.0, self.ceiling).div_(self.knee).log1p_().div_(self._scale)

    def levels(self, thresholds: Sequence[float]) -> torch.Tensor:
        """Rain rates [mm/h], (K,), on the model's scale; not clipped."""
        rates = torch.tensor(thresholds, dtype=torch.float32)
        return torch.log1p(rates / self.knee) / self._scale

    def restore(self, tensor: torch.Tensor) -> np.ndarray:
        """Normalised tensor -> rain rate [mm/h], any shape; NaN stays NaN."""
        return self.restored(tensor).cpu().numpy()

    def restored(self, tensor: torch.Tensor) -> torch.Tensor:
        """The same as a tensor."""
        normalised = (
            tensor.detach().float().clamp(0.0, 1.0)
        )  # a copy, which the rest works on in place
        return normalised.mul_(self._scale).expm1_().mul_(self.knee).clamp_(max=self.ceiling)


@dataclass(frozen=True)
class FlooredLogRainRate:
    """Rain rate [mm/h] <-> log(R / dry) / log(ceiling / dry) with dry = ``floor`` / 2, in [0, 1];
    everything below ``floor`` is dry.

    Dry is 0 in both directions. The weakest rain lies at log(2) / log(ceiling / dry), a step above
    it (0.095 as it comes), so that dry and the weakest rain are two values to a network. Rates
    above ``ceiling`` are clipped to it on the way in; on the way back the result is 0, or lies in
    [floor, ceiling].
    """

    floor: float = 0.2
    ceiling: float = 150.0

    def __post_init__(self):
        if not 0 < self.floor < self.ceiling < math.inf:
            raise UserError(
                f"transform: floor {self.floor} and ceiling {self.ceiling} must fulfil 0 < floor "
                "< ceiling [mm/h]."
            )

    @property
    def _dry(self) -> float:
        return self.floor / 2

    @property
    def _scale(self) -> float:
        return math.log(self.ceiling / self._dry)

    def normalise(self, values: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Rain rate [mm/h], any shape -> (normalised float32 tensor, observed mask); 0 where dry or
        not observed.
        """
        rain_rate, observed = _split(values)
        return self.normalise_(rain_rate), observed

    def normalise_(self, rain_rate: torch.Tensor) -> torch.Tensor:
        """The same of a tensor without NaN, in place."""
        dry = (
            rain_rate < np.float32(self.floor).item()
        )  # a rate of 0.2 mm/h is float32, too, and not below the floor
        return (
            rain_rate.clamp_(self._dry, self.ceiling)
            .div_(self._dry)
            .log_()
            .div_(self._scale)
            .masked_fill_(dry, 0.0)
        )

    def levels(self, thresholds: Sequence[float]) -> torch.Tensor:
        """Rain rates [mm/h], (K,), on the model's scale; not clipped."""
        rates = torch.tensor(thresholds, dtype=torch.float32)
        return torch.log(rates / self._dry) / self._scale

    def restore(self, tensor: torch.Tensor) -> np.ndarray:
        """Normalised tensor -> rain rate [mm/h], any shape; NaN stays NaN."""
        return self.restored(tensor).cpu().numpy()

    def restored(self, tensor: torch.Tensor) -> torch.Tensor:
        """The same as a tensor."""
        rain_rate = tensor.detach().float().clamp(0.0, 1.0).mul_(self._scale).exp_().mul_(self._dry)
        dry = rain_rate < (1 - _ROUNDING) * self.floor
        return rain_rate.clamp_(self.floor, self.ceiling).masked_fill_(dry, 0.0)
