"""Weights of Keras' ConvLSTM2D, in and out.

Keras holds kernel (rows, columns, C, 4F), recurrent kernel (rows, columns, F, 4F) and bias (4F),
the gates in the same order i, f, c, o as here; PyTorch's convolutions want (4F, C, rows, columns).
"""

from collections.abc import Sequence

import numpy as np
import torch

from nowcast.models.convlstm import ConvLSTM, ConvLSTMCell
from nowcast.runtime.errors import UserError


@torch.no_grad()
def load_keras_weights(layer: ConvLSTM | ConvLSTMCell, weights: Sequence[np.ndarray]) -> None:
    """Put what ``ConvLSTM2D.get_weights()`` gives into a layer of ours.

    Args:
        layer: changed in place; has an input, no peepholes and no normalisation, as Keras has
            neither.
        weights: kernel, recurrent kernel and, if the layer has one, bias.

    Raises:
        UserError: the layer has what Keras has not, or the shapes do not fit; then nothing was
            changed.
    """
    cell = _cell(layer)
    wanted = _in_keras_layout(cell)
    shapes, found = (
        [tuple(weight.shape) for weight in wanted],
        [np.shape(weight) for weight in weights],
    )
    if shapes != found:
        raise UserError(f"Keras weights of shapes {found} came; this layer needs {shapes}.")
    for own, weight in zip(wanted, weights, strict=True):
        own.copy_(torch.as_tensor(np.asarray(weight)))


def keras_weights(layer: ConvLSTM | ConvLSTMCell) -> list[np.ndarray]:
    """What ``ConvLSTM2D.set_weights()`` takes: kernel, recurrent kernel and, if there is one, bias.

    Raises:
        UserError: the layer has what Keras has not: peepholes, normalisation, no input, or two
            kernel sizes.
    """
    cell = _cell(layer)
    if cell.input_kernel != cell.state_kernel:
        raise UserError(
            f"Keras has one kernel size for input and state; this layer has {cell.input_kernel} "
            f"and {cell.state_kernel}."
        )
    return [
        weight.detach().cpu().to(torch.promote_types(weight.dtype, torch.float32)).numpy().copy()
        for weight in _in_keras_layout(cell)
    ]


def _in_keras_layout(cell: ConvLSTMCell) -> list[torch.Tensor]:
    """The cell's own weights, seen in Keras' order and layout."""
    weights = [cell.input_weight.permute(2, 3, 1, 0), cell.state_weight.permute(2, 3, 1, 0)]
    return weights if cell.bias is None else [*weights, cell.bias]


def _cell(layer: ConvLSTM | ConvLSTMCell) -> ConvLSTMCell:
    cell = layer.cell if isinstance(layer, ConvLSTM) else layer
    extras = {
        "peepholes (peephole=False)": cell.peephole is not None,
        "a normalisation (norm_groups=0)": cell.norm_groups > 0,
        "no input": cell.input_weight is None,
        "a constant in the forget gate (forget_bias=0)": cell.forget_offset != 0,
    }
    there = [name for name, is_there in extras.items() if is_there]
    if there:
        raise UserError(
            f"Keras' ConvLSTM2D has no equal of this layer, which has {' and '.join(there)}."
        )
    return cell
