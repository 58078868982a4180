"""Operations on maps whose height and width are not known yet: in a graph made by ``torch.export``.

What depends on the size of a map by a Python number (a padding, a radius, whether there is another
grid) would be fixed in such a graph at the size that it was made with. Here the same is computed
from the size within the graph, with the same numbers but for rounding.

Axes: B batch, C channels, H rows, W columns.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def missing(side: int, multiple: int) -> int:
    """Pixels that a side lacks to the next multiple; of positive numbers alone, because a division
    in ONNX rounds towards zero.
    """
    return (side + multiple - 1) // multiple * multiple - side


def padded(fields: Tensor, below: int, right: int, *, repeat: bool) -> Tensor:
    """Maps (..., H, W) with rows below and columns to the right: the outermost pixel again, or
    zeros.
    """
    for axis, more in ((-2, below), (-1, right)):
        side = fields.shape[axis]
        places = torch.arange(side + more, device=fields.device)
        fields = fields.index_select(axis, places.clamp(max=side - 1))
        if not repeat:
            fields = torch.where(
                places[:, None] < side if axis == -2 else places < side, fields, 0.0
            )
    return fields


def cropped(fields: Tensor, height: int, width: int) -> Tensor:
    """The first rows and columns of maps (..., H, W), as a copy: whether a view is contiguous would
    be asked of every size.
    """
    for axis, side in ((-2, height), (-1, width)):
        fields = fields.index_select(axis, torch.arange(side, device=fields.device))
    return fields


def averaged_in_squares(fields: Tensor, side: int, *, exact: bool) -> Tensor:
    """Means over squares of ``side`` pixels, (B, C, H, W), the last ones over what there is of
    them; as ``F.avg_pool2d`` with ``ceil_mode``.

    Args:
        fields: (B, C, H, W).
        side: of a square.
        exact: the squares are known to divide the map. Without a remainder to think of, sizes stay
            short expressions.
    """
    if exact:
        return F.avg_pool2d(fields, side)
    height, width = fields.shape[-2:]
    padded = F.pad(fields, (0, missing(width, side), 0, missing(height, side)))
    shares = (_share_inside(length, side, fields) for length in (height, width))
    rows, columns = shares
    return F.avg_pool2d(padded, side) / (rows[:, None] * columns)


def _share_inside(length: int, side: int, like: Tensor) -> Tensor:
    """How much of each square along an axis lies inside the map."""
    starts = torch.arange(0, length, side, device=like.device)
    return (length - starts).clamp(max=side).to(like.dtype) / side


def averaged_to(fields: Tensor, size: tuple[int, int]) -> Tensor:
    """As ``F.adaptive_avg_pool2d``, (B, C, H, W) -> (B, C, *size)."""
    rows, columns = (
        _means_along(length, parts, fields) for length, parts in zip(fields.shape[-2:], size)
    )
    return rows @ fields @ columns.mT


def _means_along(length: int, parts: int, like: Tensor) -> Tensor:
    """A matrix (parts, length) that takes the means of parts of an axis, which overlap where they
    do not divide it.
    """
    part, place = (
        torch.arange(parts, device=like.device)[:, None],
        torch.arange(length, device=like.device),
    )
    first, end = part * length // parts, ((part + 1) * length + parts - 1) // parts
    inside = ((place >= first) & (place < end)).to(like.dtype)
    return inside / inside.sum(dim=1, keepdim=True)


def places(number: int, like: Tensor) -> Tensor:
    """Numbers from -1 to 1, (number,), of the type and device of a tensor; as ``torch.linspace``,
    which would fix how many.
    """
    return (
        2
        * torch.arange(number, device=like.device, dtype=like.dtype)
        / torch.sym_max(number - 1, 1)
        - 1
    )


def number(value: int, like: Tensor) -> Tensor:
    """A size as a tensor without axes, of a tensor's type and device."""
    return torch.scalar_tensor(value, dtype=like.dtype, device=like.device)


def smooth(fields: Tensor, width: float, widest: Tensor | None = None) -> Tensor:
    """A Gaussian mean, (B, C, H, W); see ``nowcast.models.lagrangian.maps.smooth``.

    Args:
        fields: finite.
        width: standard deviation in pixels.
        widest: a tensor without axes, beyond which the standard deviation does not go; None for no
            such bound.
    """
    radius = max(
        1,
        round(3 * width),
        # rounded as a Python number, as where sizes are numbers: a tie would go the other way in
        # float32
    )
    lags = torch.arange(-radius, radius + 1, device=fields.device, dtype=fields.dtype)
    bound = 2 * number(torch.sym_max(*fields.shape[-2:]), fields)
    if widest is None:
        reach = bound.clamp(min=1, max=radius)
    else:
        width = widest.clamp(max=width)
        reach = torch.minimum(bound, (3 * widest).round()).clamp(min=1, max=radius)
    kernel = torch.exp(-0.5 * (lags / width) ** 2) * (lags.abs() <= reach)
    kernel = (kernel / kernel.sum())[None, None, :, None]
    return _along_rows(_along_rows(fields, kernel).mT, kernel).mT


def _along_rows(fields: Tensor, kernel: Tensor) -> Tensor:
    """A running mean over rows, (B, C, H, W) -> the same, by a kernel (1, 1, length, 1).

    Slower than the products with a banded matrix that take its place where sizes are numbers, but
    no size has to be computed.
    """
    maps = F.conv2d(fields.flatten(0, 1)[:, None], kernel, padding=(kernel.shape[2] // 2, 0))
    return maps.unflatten(0, fields.shape[:2])[:, :, 0]
