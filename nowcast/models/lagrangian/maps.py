"""Means of maps: over squares, on coarser grids, and in Gaussian windows.

While a graph is made, sizes are symbols, and ``nowcast.models.free_sizes`` computes the same.

Axes: B batch, C channels, H rows, W columns.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from nowcast.models import free_sizes
from nowcast.models.network import without_autocast


def averaged_in_squares(fields: Tensor, side: int, multiple: int = 1) -> Tensor:
    """Means over squares of ``side`` pixels, the last ones over what there is of them.

    Args:
        fields: (B, C, H, W).
        side: of a square.
        multiple: of which height and width are known to be multiples; only a graph needs it.
    """
    if torch.compiler.is_exporting():
        return free_sizes.averaged_in_squares(fields, side, exact=multiple % side == 0)
    return F.avg_pool2d(fields, side, ceil_mode=True, count_include_pad=False)


def averaged(
    fields: Tensor, weights: Tensor, side: int, *, multiple: int = 1
) -> tuple[Tensor, Tensor]:
    """Fields and their weights on a grid of ``side`` times the spacing, which need not divide it.

    Args:
        fields: (B, C, H, W).
        weights: of its shape, or (B, 1, H, W); pixels without weight do not count.
        side: pixels to a side of one of the coarser grid.
        multiple: as in ``averaged_in_squares``.
    """
    if side == 1:
        return fields, weights
    weight = averaged_in_squares(weights, side, multiple)
    total = averaged_in_squares(fields * weights, side, multiple)
    return total / weight.clamp(min=1e-6), weight


def averaged_to(fields: Tensor, size: tuple[int, int]) -> Tensor:
    """Means on a coarser grid whose size need not divide that of the fields: (B, C, H, W) -> (B, C,
    *size).
    """
    if torch.compiler.is_exporting():
        return free_sizes.averaged_to(fields, size)
    return F.adaptive_avg_pool2d(fields, size)


def smooth(fields: Tensor, width: float) -> Tensor:
    """A Gaussian mean of standard deviation ``width`` pixels, with zeros beyond the edge, (B, C, H,
    W), finite -> the same.
    """
    # bfloat16 would leave 8 bits, and small differences of frames make the motion
    with without_autocast(fields.device.type):
        if torch.compiler.is_exporting():
            return free_sizes.smooth(fields, width)
        radius = max(1, min(round(3 * width), 2 * max(fields.shape[-2:])))
        band = _gaussian_band(radius, width, fields)
        return _along_rows(_along_rows(fields, band, radius).mT, band, radius).mT.contiguous()


def _gaussian_band(radius: int, width: float, like: Tensor) -> Tensor:
    """The matrix (block, block + 2 radius) that takes Gaussian means along an axis."""
    device = like.device
    lags = torch.arange(-radius, radius + 1, device=device, dtype=like.dtype)
    kernel = torch.exp(-0.5 * (lags / width) ** 2)
    block = 32 if radius <= 32 else 64
    columns = torch.arange(block + 2 * radius, device=device)
    lag = columns - torch.arange(block, device=device)[:, None]
    inside = (lag >= 0) & (lag <= 2 * radius)
    return torch.where(inside, (kernel / kernel.sum())[lag.clamp(0, 2 * radius)], 0.0)


def _along_rows(fields: Tensor, band: Tensor, radius: int) -> Tensor:
    """A running mean over rows, (..., H, W) -> the same, as products with a banded matrix: many
    times faster than to convolve single channels.
    """
    block, height = len(band), fields.shape[-2]
    blocks = -(-height // block)
    padded = F.pad(fields, (0, 0, radius, radius + blocks * block - height))
    return (band @ padded.unfold(-2, block + 2 * radius, block).mT).flatten(-3, -2)[..., :height, :]


def smooth_up_to_a_third(fields: Tensor, width: float) -> Tensor:
    """``smooth`` of a width that is at most a third of the longer side of the grid."""
    if not torch.compiler.is_exporting():
        return smooth(fields, min(width, max(fields.shape[-2:]) / 3))
    with without_autocast(fields.device.type):
        longer = free_sizes.number(torch.sym_max(*fields.shape[-2:]), fields)
        return free_sizes.smooth(fields, width, longer / 3)


def smooth_within_grid(fields: Tensor, width: float) -> Tensor:
    """``smooth`` that counts only what lies inside the grid."""
    values, inside = smooth_both(fields, torch.ones_like(fields[:, :1]), width)
    return values / inside


def smooth_both(fields: Tensor, weights: Tensor, width: float) -> tuple[Tensor, Tensor]:
    """``smooth`` of fields, (B, C, H, W), and of their weights, (B, D, H, W); in a graph by one
    operation, which keeps it short.
    """
    if not torch.compiler.is_exporting():
        return smooth(fields, width), smooth(weights, width)
    both = smooth(torch.cat([fields, weights], dim=1), width)
    return both.split([fields.shape[1], weights.shape[1]], dim=1)


def gaussian_means(fields: Tensor, known: Tensor, widths: list[float]) -> list[Tensor]:
    """Fields (B, C, H, W) and their Gaussian means of ever larger widths [pixels] over what is
    known, (B, 1, H, W).
    """
    means = [fields]
    for width in widths:
        values, weights = smooth_both(fields * known, known, width)
        means.append(values / weights.clamp(min=1e-3))
    return means


def stripes(fields: Tensor, width: int, pixels: int) -> tuple[Tensor, ...]:
    """Fields (..., H, any) in parts of some rows, a like number for each core of a CPU; on other
    devices, and in a graph, in one part.

    Args:
        fields: to be split.
        width: columns of the map that they belong to.
        pixels: of a part, for each core.
    """
    if fields.device.type != "cpu" or torch.compiler.is_exporting():
        return (fields,)
    return fields.split(max(1, pixels // max(1, width)) * torch.get_num_threads(), dim=-2)
