"""Physical values <-> normalised tensors. What happens to missing data is decided here, once.

A transform takes physical values with NaN for "not observed" and returns a tensor without NaN, and
the mask of what was observed. The values under the mask are a constant, so that nothing hidden
there can reach a weight.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nowcast.runtime.errors import UserError
from nowcast.types.arrays import as_numbers

_ROUNDING = 1e-5  # of a rain rate that was normalised and restored in float32


class Transform(ABC):
    """The contract of transforms; a subclass defines `normalise_`, `levels` and `restored`."""

    def normalise(self, values: np.ndarray) -> tuple[Tensor, Tensor]:
        """Physical values as a model sees them.

        Args:
            values: any shape, NaN or masked where not observed.

        Returns:
            (normalised float32 tensor, observed mask), both of that shape; 0 where not observed.
        """
        values = np.ascontiguousarray(as_numbers(values, "physical values"))
        # false for NaN; NumPy compares ten times as fast as torch.isnan
        observed = torch.from_numpy(np.equal(values, values))
        filled = torch.from_numpy(values).nan_to_num(0.0, posinf=math.inf, neginf=-math.inf)
        return self.normalise_(filled), observed

    @abstractmethod
    def normalise_(self, values: Tensor) -> Tensor:
        """The same of a tensor without NaN, in place."""

    @abstractmethod
    def levels(self, thresholds: Sequence[float]) -> Tensor:
        """Physical values, (K,), on the model's scale; not clipped."""

    def restore(self, tensor: Tensor) -> np.ndarray:
        """Normalised tensor, any shape -> physical values; NaN stays NaN."""
        return self.restored(tensor).cpu().numpy()

    @abstractmethod
    def restored(self, tensor: Tensor) -> Tensor:
        """The same as a tensor."""


@dataclass(frozen=True)
class Identity(Transform):
    """Values as they are: grey levels in [0, 1], or rain rates [mm/h] for models that work in
    physical units.
    """

    def normalise_(self, values: Tensor) -> Tensor:
        """The values themselves."""
        return values

    def levels(self, thresholds: Sequence[float]) -> Tensor:
        """The thresholds themselves, (K,) float32."""
        return torch.tensor(thresholds, dtype=torch.float32)

    def restored(self, tensor: Tensor) -> Tensor:
        """The values themselves, float32."""
        return tensor.detach().float()


@dataclass(frozen=True)
class LogRainRate(Transform):
    """Rain rate [mm/h] <-> log(1 + R / knee) / log(1 + ceiling / knee), in [0, 1].

    Linear for drizzle below ``knee``, logarithmic above it, 0 for dry. Rates above ``ceiling``
    (clutter, hail) are clipped to it on the way in; on the way back the result lies in [0,
    ceiling].

    Args:
        knee: rain rate [mm/h] at which linear becomes logarithmic.
        ceiling: the highest rain rate [mm/h]; it becomes 1.
    """

    knee: float = 0.5
    ceiling: float = 150.0

    def __post_init__(self) -> None:
        if not 0 < self.knee < self.ceiling < math.inf:
            raise UserError(
                f"transform: knee {self.knee} and ceiling {self.ceiling} must fulfil 0 < knee < "
                "ceiling [mm/h]."
            )

    @property
    def _scale(self) -> float:
        return math.log1p(self.ceiling / self.knee)

    def normalise_(self, values: Tensor) -> Tensor:
        """Rain rates [mm/h] without NaN, in place."""
        return values.clamp_(0.0, self.ceiling).div_(self.knee).log1p_().div_(self._scale)

    def levels(self, thresholds: Sequence[float]) -> Tensor:
        """Rain rates [mm/h], (K,), on the model's scale; not clipped."""
        rates = torch.tensor(thresholds, dtype=torch.float32)
        return torch.log1p(rates / self.knee) / self._scale

    def restored(self, tensor: Tensor) -> Tensor:
        """Rain rates [mm/h]."""
        rates = tensor.detach().float().clamp(0.0, 1.0)  # a copy; the rest works on it in place
        return rates.mul_(self._scale).expm1_().mul_(self.knee).clamp_(max=self.ceiling)


@dataclass(frozen=True)
class FlooredLogRainRate(Transform):
    """Rain rate [mm/h] <-> log(R / dry) / log(ceiling / dry) with dry = ``floor`` / 2, in [0, 1];
    everything below ``floor`` is dry.

    Dry is 0 in both directions. The weakest rain lies at log(2) / log(ceiling / dry), a step above
    it (0.095 as it comes), so that dry and the weakest rain are two values to a network. Rates
    above ``ceiling`` are clipped to it on the way in; on the way back the result is 0, or lies in
    [floor, ceiling].

    Args:
        floor: rain rate [mm/h] below which everything is dry.
        ceiling: the highest rain rate [mm/h]; it becomes 1.
    """

    floor: float = 0.2
    ceiling: float = 150.0

    def __post_init__(self) -> None:
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

    def normalise_(self, values: Tensor) -> Tensor:
        """Rain rates [mm/h] without NaN, in place."""
        # a rate of 0.2 mm/h is float32, too, and not below the floor
        dry = values < np.float32(self.floor).item()
        values.clamp_(self._dry, self.ceiling).div_(self._dry).log_().div_(self._scale)
        return values.masked_fill_(dry, 0.0)

    def levels(self, thresholds: Sequence[float]) -> Tensor:
        """Rain rates [mm/h], (K,), on the model's scale; not clipped."""
        rates = torch.tensor(thresholds, dtype=torch.float32)
        return torch.log(rates / self._dry) / self._scale

    def restored(self, tensor: Tensor) -> Tensor:
        """Rain rates [mm/h]: 0, or in [floor, ceiling]."""
        rates = tensor.detach().float().clamp(0.0, 1.0).mul_(self._scale).exp_().mul_(self._dry)
        dry = rates < (1 - _ROUNDING) * self.floor
        return rates.clamp_(self.floor, self.ceiling).masked_fill_(dry, 0.0)
