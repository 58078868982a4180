"""torch's convolutions with contiguous weights that still run with the channels last in memory, the
order they are fast in.

A weight that lies in that order for good cannot be flattened, sharded, pruned or written by
safetensors, so it is put into it where it is used. Of a weight of 400,000 numbers this takes a
tenth of a millisecond, less than a tenth of what the convolution itself does with it.
"""

import inspect
import threading
from contextlib import contextmanager, nullcontext
from itertools import chain

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nowcast.runtime import torch_private


def ordered(weight: Tensor) -> Tensor:
    """A weight (G, C, k, l) with its channels last in memory; its gradient comes back contiguous.

    Compilers, exporters and transforms choose the order themselves, and so do tensors that are not
    torch's own: these get the weight as it is.
    """
    if (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or torch_private.transforms_active()
        or not torch_private.is_plain(weight)
    ):
        return weight
    made = _this_thread.made
    if made is None:
        return _ordered(weight)
    key = id(weight), torch.is_grad_enabled()
    if key not in made:
        made[key] = weight, _ordered(weight)  # the weight is kept, so that no other gets its number
    return made[key][1]


class _ThisThread(threading.local):
    made: dict | None = None  # weights that were ordered, within ``ordered_once``


_this_thread = _ThisThread()


def ordered_once():
    """A context in which each weight is ordered once: for the steps of one sequence, between which
    no weight changes.
    """
    return (
        nullcontext()
        if torch.compiler.is_compiling() or torch.jit.is_tracing()
        else _ordered_once()
    )


@contextmanager
def _ordered_once():
    before = _this_thread.made
    _this_thread.made = {} if before is None else before
    try:
        yield
    finally:
        _this_thread.made = before


def _ordered(weight: Tensor) -> Tensor:
    result = weight.to(memory_format=torch.channels_last)
    if result.requires_grad and result is not weight:
        result.register_hook(_contiguous)
    return result


def _contiguous(gradient: Tensor | None) -> Tensor | None:
    return None if gradient is None else gradient.contiguous()


class Conv2d(nn.Conv2d):
    """As ``torch.nn.Conv2d``, padded with zeros."""

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, G, H', W')."""
        return F.conv2d(
            maps,
            ordered(self.weight),
            self.bias,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
        )


class ConvTranspose2d(nn.ConvTranspose2d):
    """As ``torch.nn.ConvTranspose2d``, padded with zeros."""

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, G, H', W')."""
        return F.conv_transpose2d(
            maps,
            ordered(self.weight),
            self.bias,
            self.stride,
            self.padding,
            self.output_padding,
            self.groups,
            self.dilation,
        )


def a_tensor_of(module: nn.Module) -> Tensor:
    """One of a module's weights, for its type and device: those it has registered, for others may
    be left from an earlier call.
    """
    return next(chain(module.parameters(), module.buffers()))


def settings_text(module: nn.Module, *names: str, **values) -> str:
    """What a module was made with, for its ``extra_repr``: every setting that is not the default of
    its constructor.

    Args:
        module: whose settings they are.
        names: of attributes called as the argument.
        values: of arguments that are no attributes.
    """
    defaults = inspect.signature(type(module).__init__).parameters
    shown = []
    for name in (*names, *(name for name in values if name not in names)):
        value = values[name] if name in values else getattr(module, name)
        default = defaults[name].default if name in defaults else inspect.Parameter.empty
        if isinstance(value, tuple) and isinstance(
            default, int
        ):  # one number stands for both sides
            default = (default,) * len(value)
        if type(value) is not type(default) or value != default:
            shown.append(f"{name}={value!r}")
    return ", ".join(shown)
