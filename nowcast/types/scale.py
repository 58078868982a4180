"""How large the steps between frames and between pixels are."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Scale:
    """The scale of a batch of sequences, for models that must know it.

    Args:
        timestep: minutes between frames, (B,), or one number for all sequences.
        spacing: kilometres between pixels, (B,), or one number for all sequences.
    """

    timestep: Tensor | float
    spacing: Tensor | float

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "Scale":
        """The same on another device; numbers stay numbers."""
        moved = []
        for value in (self.timestep, self.spacing):
            if isinstance(value, Tensor):
                value = value.to(device, non_blocking=non_blocking)
            moved.append(value)
        return Scale(*moved)

    def of_each(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Minutes and kilometres of each sequence of a batch (B, ...), (B,) each, in its type."""
        found = []
        for value in (self.timestep, self.spacing):
            value = torch.as_tensor(value, dtype=like.dtype, device=like.device)
            # not len(like), which a graph would take for a constant
            found.append(value.expand(like.shape[0]))
        return found[0], found[1]

    def rows(self, index: slice | Sequence[int]) -> "Scale":
        """The scale of some sequences of the batch."""
        chosen = []
        for value in (self.timestep, self.spacing):
            chosen.append(value[index] if isinstance(value, Tensor) and value.ndim else value)
        return Scale(*chosen)

    @classmethod
    def of_samples(cls, scales: Sequence[tuple[float, float]]) -> "Scale":
        """The scale of a batch from the (minutes, kilometres) of each of its samples, float32."""
        table = torch.tensor(scales, dtype=torch.float32)
        return cls(table[:, 0], table[:, 1])

    @classmethod
    def joined(cls, scales: Sequence["Scale"]) -> "Scale":
        """The scale of a batch from those of its parts, a number being that of one sequence."""
        timesteps = [torch.as_tensor(scale.timestep).reshape(-1) for scale in scales]
        spacings = [torch.as_tensor(scale.spacing).reshape(-1) for scale in scales]
        return cls(torch.cat(timesteps), torch.cat(spacings))
