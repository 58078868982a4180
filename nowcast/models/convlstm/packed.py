"""Convolutions of one weight with many maps, one after the other: what a recurrence does.

On a CPU, oneDNN would bring the weight into its own order at every call and write every result
beside the sum it belongs to. Here the order is made once, and the result added in place, by the
operators that torch.compile uses for it; wherever those cannot be had, the common ones do the same.

Axes: B batch, C input channels, G gates (four for each hidden channel), H rows, W columns.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nowcast.runtime import torch_private
from nowcast.runtime.threads import in_new_thread


class Settings(NamedTuple):
    """What is not differentiated: of the input convolution, as for ``F.conv2d``, and what is added
    to the forget gate.
    """

    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    forget_offset: float = 0.0


def convolution_backward(
    gradient: Tensor, maps: Tensor, weight: Tensor, settings: Settings, wanted: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of maps and weight."""
    sides = list(settings.stride), list(settings.padding), list(settings.dilation)
    return torch.ops.aten.convolution_backward(
        gradient, maps, weight, None, *sides, False, [0, 0], settings.groups, [*wanted, False]
    )[:2]


def same_padding(weight: Tensor) -> tuple[int, int]:
    """The padding that keeps a map's size under an odd kernel."""
    return weight.shape[2] // 2, weight.shape[3] // 2


class Packed:
    """A convolution that keeps the size of maps.

    Args:
        weight: (G, C, k, l), k and l odd, in the type of the maps.
        like: the shape of maps it will meet, (B, C, H, W).
    """

    def __init__(self, weight: Tensor, like: torch.Size):
        self.settings = Settings(padding=same_padding(weight))
        self._padding = list(self.settings.padding)
        self._ordered, self._turned = _ordered(weight, self._padding, list(like)), None
        if self._ordered is None:  # else oneDNN's own order is made of it faster as it comes
            weight = weight.to(memory_format=torch.channels_last)
        self.weight = weight

    def __call__(self, maps: Tensor, bias: Tensor | None) -> Tensor:
        """(B, C, H, W) -> (B, G, H, W)."""
        if self._ordered is None:
            return F.conv2d(maps, self.weight, bias, padding=self._padding)
        return torch_private.convolve_ordered(maps, self._ordered, bias, self._padding)

    def add_to(self, sums: Tensor, maps: Tensor) -> bool:
        """Add the convolution of maps to sums (B, G, H, W) in place; False, and nothing done, where
        that cannot be.
        """
        if self._ordered is None:
            return False
        torch_private.add_convolution_ordered(sums, maps, self._ordered, self._padding)
        return True

    def gradient(self, gradient: Tensor) -> Tensor:
        """The gradient of the maps from that of their convolution: (B, G, H, W) -> (B, C, H, W)."""
        if (
            self._turned is None and self._ordered is not None
        ):  # it is a convolution with the turned weight
            turned = self.weight.flip(2, 3).transpose(0, 1).contiguous()
            self._turned = _ordered(turned, self._padding, list(gradient.shape))
        if self._turned is None:
            maps = gradient.new_empty(1).expand(
                gradient.shape[0], self.weight.shape[1], *gradient.shape[2:]
            )  # only its shape counts
            return convolution_backward(gradient, maps, self.weight, self.settings, (True, False))[
                0
            ]
        return torch_private.convolve_ordered(gradient, self._turned, None, self._padding)


def _ordered(weight: Tensor, padding: list[int], shape: list[int]) -> Tensor | None:
    """The weight in oneDNN's order for maps of a shape; None where oneDNN would not take them."""
    if (
        weight.device.type != "cpu"
        or not torch_private.is_plain(weight)
        or not torch.backends.mkldnn.is_available()
    ):
        return None
    if weight.dtype not in (torch.float32, torch.bfloat16) or not _works():
        return None
    try:
        return torch_private.order_convolution_weight(weight.detach(), padding, shape)
    except RuntimeError:  # bfloat16 on a processor without instructions for it
        return None


_found: list[bool] = []


def _works() -> bool:
    """Whether this torch's oneDNN operators, which are not part of its public interface, compute
    what the common ones do; tried once.
    """
    if not _found:
        _found.append(True)  # for the attempt itself
        try:
            _found[0] = in_new_thread(_try)
        except BaseException:
            _found.clear()
            raise
    return _found[0]


def _try() -> bool:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu").to(
            memory_format=torch.channels_last
        )

    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        for dtype, tolerance in ((torch.float32, 1e-4), (torch.bfloat16, 0.2)):
            maps, weight, sums = (
                part.to(dtype) for part in (draw(2, 3, 6, 5), draw(8, 3, 3, 3), draw(2, 8, 6, 5))
            )
            plain, back = (
                F.conv2d(maps.float(), weight.float(), padding=1),
                F.conv_transpose2d(sums.float(), weight.float(), padding=1),
            )
            try:
                packed, total = (
                    Packed(weight, maps.shape),
                    sums.clone(memory_format=torch.channels_last),
                )
                added = packed.add_to(total, maps)
                pairs = [
                    (packed(maps, None), plain),
                    (packed.gradient(sums), back),
                    *([(total, sums.float() + plain)] if added else []),
                ]
            except (AttributeError, RuntimeError, TypeError):  # another version's operators
                return False
            if (not added and dtype == torch.float32) or not all(
                torch.allclose(found.float(), right, rtol=tolerance / 4, atol=tolerance)
                for found, right in pairs
            ):
                return False
    return True
