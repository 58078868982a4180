"""A batch of training samples: what a model sees, and what was observed afterwards."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

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

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        """The same with each of its tensors changed, but for the scale."""
        tensors = {
            name: change(value) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return Batch(**tensors, scale=self.scale)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "Batch":
        """The same on another device."""
        moved = self._each(lambda value: value.to(device, non_blocking=non_blocking))
        if self.scale is None:
            return moved
        return replace(moved, scale=self.scale.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "Batch":
        """The same in memory that a GPU copies from; called by torch's ``DataLoader``."""
        return self._each(Tensor.pin_memory)

    @classmethod
    def complete(cls, context: Tensor, target: Tensor) -> "Batch":
        """A batch of which everything was observed and every sample counts."""
        context_observed = torch.ones_like(context, dtype=torch.bool)
        return cls(context, target, context_observed, torch.ones_like(target, dtype=torch.bool))

    @classmethod
    def of_samples(cls, samples: Sequence["Batch"]) -> "Batch":
        """One batch of samples that are batches of one each, of one size; a ``collate_fn``."""
        names = ("context", "target", "context_observed", "target_observed")
        joined = {name: torch.cat([getattr(sample, name) for sample in samples]) for name in names}
        keys = [sample.key for sample in samples if sample.key is not None]
        scales = [sample.scale for sample in samples if sample.scale is not None]
        key = torch.cat(keys) if keys else None
        return cls(**joined, key=key, scale=Scale.joined(scales) if scales else None)
