"""A batch of training samples: what a model sees, and what was observed afterwards."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from nowcast.types.scale import Scale


@dataclass(frozen=True)
class Batch:
    """Sequences as a model wants them: normalised, without NaN, with masks of what was observed.

    Args:
        context: frames that go in, (B, T, 1, H, W), float32; 0 where not observed.
        target: frames that follow, (B, T', 1, H, W).
        context_observed: boolean mask of the context's shape.
        target_observed: boolean mask of the target's shape.
        key: (B, 2) epoch and index of each sample; an index below 0 is of a sample of which nothing
            counts, see ``nowcast.data.sampling.EpochSampler``. None: every sample counts.
        scale: minutes between frames and kilometres between pixels; None where the data have none.
    """

    context: Tensor
    target: Tensor
    context_observed: Tensor
    target_observed: Tensor
    key: Tensor | None = None
    scale: Scale | None = None

    def __len__(self) -> int:
        return len(self.context)

    @property
    def forecast_length(self) -> int:
        """T', how many frames are to be predicted."""
        return self.target.shape[1]

    @property
    def counts(self) -> Tensor:
        """Which samples count, (B,) boolean."""
        if self.key is None:
            return torch.ones(len(self), dtype=torch.bool, device=self.context.device)
        return self.key[:, 1] >= 0

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "Batch":
        """The same on another device."""
        moved = {
            name: value.to(device, non_blocking=non_blocking) for name, value in self._tensors()
        }
        scale = self.scale and self.scale.to(device, non_blocking=non_blocking)
        return replace(self, scale=scale, **moved)

    def pin_memory(self) -> "Batch":
        """The same in memory that a GPU copies from; called by torch's ``DataLoader``."""
        return replace(self, **{name: value.pin_memory() for name, value in self._tensors()})

    def _tensors(self) -> list[tuple[str, Any]]:
        return [(name, value) for name, value in vars(self).items() if isinstance(value, Tensor)]

    @classmethod
    def complete(cls, context: Tensor, target: Tensor) -> "Batch":
        """A batch of which everything was observed and every sample counts."""
        seen = torch.ones_like(context, dtype=torch.bool)
        return cls(context, target, seen, torch.ones_like(target, dtype=torch.bool))

    @classmethod
    def of_samples(cls, samples: Sequence["Batch"]) -> "Batch":
        """One batch of samples that are batches of one each, of one size; a ``collate_fn``."""
        keys = [sample.key for sample in samples if sample.key is not None]
        scales = [sample.scale for sample in samples if sample.scale is not None]
        timesteps = [torch.as_tensor(scale.timestep) for scale in scales]
        spacings = [torch.as_tensor(scale.spacing) for scale in scales]
        return cls(
            torch.cat([sample.context for sample in samples]),
            torch.cat([sample.target for sample in samples]),
            torch.cat([sample.context_observed for sample in samples]),
            torch.cat([sample.target_observed for sample in samples]),
            key=torch.cat(keys) if keys else None,
            scale=Scale(torch.cat(timesteps), torch.cat(spacings)) if scales else None,
        )
