"""The equations of a ConvLSTM's gates in torch's operators, for any device and type.

Axes: N rows (one for each pixel of each sequence), F hidden channels; the four gates lie side by
side in the order i, f, c, o.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def equations(
    gates: tuple[Tensor, ...],
    c: Tensor,
    peephole: Tensor | None,
    forget_offset: float,
    gate_activation: Callable = torch.sigmoid,
    activation: Callable = torch.tanh,
) -> tuple[Tensor, Tensor]:
    """One step of a ConvLSTM from what enters its gates; see ``nowcast.models.convlstm.cell``.

    Args:
        gates: i, f, c and o, of one shape each.
        c: the cell state before, of that shape.
        peephole: three weights that spread over that shape, along the first axis; or None.
        forget_offset: is added to f.
        gate_activation: of i, f and o.
        activation: of the candidate, and of the cell state on its way out.

    Returns:
        The new h and c, in the type of c.
    """
    i, f, g, o = gates
    if forget_offset:
        f = f + forget_offset
    if peephole is not None:
        i, f = i + peephole[0] * c, f + peephole[1] * c
    c = gate_activation(f) * c + gate_activation(i) * activation(g)
    if peephole is not None:
        o = o + peephole[2] * c
    return gate_activation(o) * activation(c), c


class Plain:
    """The calls of ``gates`` in torch's operators; documented there."""

    name = "torch"

    @staticmethod
    def parts(before: Tensor) -> int:
        """Rows of ``zero_sums``."""
        return 1

    @staticmethod
    def forward(conv, add, keep, before, after, h, peephole, forget_offset) -> None:
        """One step."""
        parts = [part.to(before.dtype) for part in (conv, add) if part is not None]
        z = parts[0] if len(parts) == 1 else parts[0] + parts[1]
        if keep is not None:
            keep.copy_(z)
        new_h, new_c = equations(z.chunk(4, dim=1), before, peephole, forget_offset)
        after.copy_(new_c)
        h.copy_(new_h)

    @staticmethod
    def backward(z, before, dh, more_dh, dc, dz, peephole, forget_offset, sums) -> None:
        """The gradient of one step."""
        with torch.enable_grad():
            leaves = [z.detach().to(before.dtype), before.detach()]
            if peephole is not None:
                leaves.append(peephole.detach())
            inputs = [leaf.requires_grad_() for leaf in leaves]
            gates, cell, *weights = inputs
            weights = weights[0] if weights else None
            h, c = equations(gates.chunk(4, dim=1), cell, weights, forget_offset)
            parts = [part.to(h.dtype) for part in (dh, more_dh) if part is not None]
            gradient = sum(parts[1:], parts[0]) if parts else torch.zeros_like(h)
            # of a single number: to compare shapes of several outputs, torch would load sympy
            whole = (h * gradient).sum() + (c * dc).sum()
        from_z, from_before, *from_peephole = torch.autograd.grad(whole, inputs)
        features = before.shape[1]
        sums[0, : 4 * features] += from_z.sum(0)
        if from_peephole:
            sums[0, 4 * features :] += from_peephole[0].flatten()
        dz.copy_(from_z)
        dc.copy_(from_before)
