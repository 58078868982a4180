"""The gates of a ConvLSTM in one pass over memory: in C on a CPU, in Triton on a GPU, in torch
where there is neither.

Axes: N rows (one for each pixel of each sequence), F hidden channels; the four gates lie side by
side in the order i, f, c, o.
"""

import functools
import os

import torch
from torch import Tensor

from nowcast.models.convlstm import gates_compiled
from nowcast.models.convlstm.equations import Plain


def forward(
    conv: Tensor | None,
    add: Tensor | None,
    keep: Tensor | None,
    before: Tensor,
    after: Tensor,
    h: Tensor,
    peephole: Tensor | None,
    forget_offset: float,
) -> None:
    """One step.

    Args:
        conv: (N, 4F), contiguous.
        add: of its shape and type; what enters the gates is their sum; one of them may be None.
        keep: (N, 4F), gets that sum; may be ``add``; None where no backward pass will come.
        before: cell state (N, F), float32 or wider.
        after: (N, F), gets the new one; may be ``before``.
        h: (N, F), gets the new hidden state.
        peephole: (3, F) in the type of the cell state, or None.
        forget_offset: as for ``equations``.
    """
    kernel = _kernel(before, h) or Plain
    kernel.forward(conv, add, keep, before, after, h, peephole, forget_offset)


def backward(
    z: Tensor,
    before: Tensor,
    dh: Tensor | None,
    more_dh: Tensor | None,
    dc: Tensor,
    dz: Tensor,
    peephole: Tensor | None,
    forget_offset: float,
    sums: Tensor,
) -> None:
    """The gradient of one step.

    Args:
        z: what entered the gates, kept by ``forward``.
        before: the cell state before the step.
        dh: gradient of h (N, F), or None,
        more_dh: to which this is added, or None.
        dc: gradient of the new cell state (N, F), becomes that of ``before``.
        dz: (N, 4F), gets the gradient of z; may be z.
        peephole: as for ``forward``.
        forget_offset: as for ``forward``.
        sums: from ``zero_sums``; the gradients of bias and peepholes are added to it.
    """
    kernel = _kernel(before, z) or Plain
    kernel.backward(z, before, dh, more_dh, dc, dz, peephole, forget_offset, sums)


def zero_sums(before: Tensor) -> Tensor:
    """Where ``backward`` adds up: (parts, 7F), bias first, then peepholes; the gradient is the sum
    over the first axis.
    """
    return before.new_zeros((_kernel(before, before) or Plain).parts(before), 7 * before.shape[1])


def implementation(device: torch.device) -> str:
    """What computes the gates in float32 and bfloat16 on a device: "C", "Triton" or "torch"."""
    probe = torch.empty(0, device=device, dtype=torch.float32)
    return (_kernel(probe, probe) or Plain).name


def _kernel(c: Tensor, z: Tensor):
    """What can work on tensors of these types, or None; only real memory has an address."""
    if c.dtype != torch.float32 or z.dtype not in gates_compiled.TYPES or type(c) is not Tensor:
        return None
    if c.device.type == "cpu":
        return gates_compiled.compiled()
    return _triton() if c.device.type == "cuda" else None


@functools.cache
def _triton():
    """The same in Triton, which comes with torch for CUDA; None without it."""
    if os.environ.get("NOWCAST_GATES") == "torch":
        return None
    try:
        from nowcast.models.convlstm import gates_triton
    except ImportError:
        return None
    return gates_triton.Fused()
