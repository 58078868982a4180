"""Motion of rain, and what is carried along it, in torch: made for networks that move with the
rain.

A displacement field is (B, 2, H, W): how far, along x and along y, in pixels of its own grid. Axes:
B batch, T time, C channels, H rows, W columns.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from nowcast.models import free_sizes
from nowcast.models.network import without_autocast
from nowcast.models.steps_in_time import repeated

_SHARES = (
    1.0,
    0.03,
    0.003,
)  # how much the windows, each twice as wide as the one before, have to say
_EVERYWHERE = 1e-4  # the same of the whole field, which speaks where there is no rain
_POINTS = 4  # of the grid on which a window is summed up, to its standard deviation, at least
_PASSES = 3  # warp, look at what is left, and correct


def places(
    height: int,
    width: int,
    *,
    like: Tensor,
    every: int = 1,
    first: tuple[int, int] = (0, 0),
    per_pixel: int = 1,
) -> tuple[Tensor, Tensor]:
    """Where pixels of a grid lie on a coarser one.

    Args:
        height, width: of the grid.
        like: gives type and device.
        every, first: only every so many pixels of a row and of a column, from a row and a column
            on.
        per_pixel: pixels of the grid to a side of one of the coarser grid.

    Returns:
        x (1, 1, W') and y (1, H', 1), in pixels of the coarser grid, whose first has its centre at
        0.
    """
    rows = torch.arange(first[0], height, every, device=like.device, dtype=like.dtype)
    columns = torch.arange(first[1], width, every, device=like.device, dtype=like.dtype)
    return (columns[None, None] + 0.5) / per_pixel - 0.5, (
        rows[None, :, None] + 0.5
    ) / per_pixel - 0.5


def at(
    fields: Tensor, x: Tensor, y: Tensor, size: tuple[int, int], *, beyond: str = "zeros"
) -> Tensor:
    """Fields at places, linearly.

    Args:
        fields: (B, C, h, w), on any grid that covers the same area as one of ``size``.
        x, y: in pixels of the grid of ``size``, shapes that broadcast to (B, H', W').
        size: (H, W).
        beyond: what lies outside the grid: "zeros", or "border" for the outermost pixel.

    Returns:
        (B, C, H', W').
    """
    x, y = torch.broadcast_tensors((2 * x + 1) / size[1] - 1, (2 * y + 1) / size[0] - 1)
    points = torch.stack([x, y], dim=-1).expand(fields.shape[0], -1, -1, -1)
    settings = {"mode": "bilinear", "padding_mode": beyond, "align_corners": False}
    if torch.compiler.is_exporting():
        return F.grid_sample(fields, points, **settings)
    cores, (rows, columns) = torch.get_num_threads(), points.shape[1:3]
    each = (
        rows // cores
        if fields.device.type == "cpu" and len(fields) == 1 and not fields.requires_grad
        else 0
    )  # its gradient would be as dense for each core
    if not each or not columns:
        return F.grid_sample(fields, points, **settings)
    shared, rest = points.split(
        [cores * each, rows - cores * each], dim=1
    )  # the cores share a batch alone, so some rows are one of it
    found = F.grid_sample(
        fields.expand(cores, -1, -1, -1), shared.reshape(cores, each, columns, 2), **settings
    )
    found = found.transpose(0, 1).reshape(1, -1, cores * each, columns)
    return (
        torch.cat([found, F.grid_sample(fields, rest, **settings)], dim=2)
        if len(rest[0])
        else found
    )


def sample(fields: Tensor, displacement: Tensor, *, beyond: str = "zeros") -> Tensor:
    """Fields (B, C, h, w) at places that lie a displacement (B, 2, H, W) away from its pixels: (B,
    C, H, W).
    """
    size = displacement.shape[-2:]
    x, y = places(*size, like=displacement)
    return at(fields, x + displacement[:, 0], y + displacement[:, 1], size, beyond=beyond)


def departures(motion: Tensor, steps: int) -> list[Tensor]:
    """Where what arrives at each pixel after 1, 2, ... ``steps`` steps came from.

    Args:
        motion: (B, 2, H, W) displacement in one step, steady.

    Returns:
        ``steps`` displacements from a pixel to its departure, (B, 2, H, W); the motion is taken in
        the middle of each step (semi-Lagrangian).
    """
    step = departure(motion)
    found = [step]
    for _ in range(steps - 1):
        found.append(a_step_further(step, found[-1]))
    return found


def departure(motion: Tensor) -> Tensor:
    """The first of ``departures``."""
    half = -motion / 2
    for _ in range(2):
        half = -sample(motion, half, beyond="border") / 2
    return 2 * half


def a_step_further(step: Tensor, back: Tensor) -> Tensor:
    """The next of ``departures`` after one of them, and the first."""
    return back + sample(step, back, beyond="border")


def smooth(fields: Tensor, width: float) -> Tensor:
    """A Gaussian mean of standard deviation ``width`` pixels, with zeros beyond the edge, (B, C, H,
    W), finite -> the same.
    """
    if torch.compiler.is_exporting():
        with without_autocast(fields.device.type):
            return free_sizes.smooth(fields, width)
    radius = max(1, min(round(3 * width), 2 * max(fields.shape[-2:])))
    kernel = torch.exp(
        -0.5
        * (torch.arange(-radius, radius + 1, device=fields.device, dtype=fields.dtype) / width) ** 2
    )
    block = 32 if radius <= 32 else 64
    lag = (
        torch.arange(block + 2 * radius, device=fields.device)
        - torch.arange(block, device=fields.device)[:, None]
    )
    band = torch.where(
        (lag >= 0) & (lag <= 2 * radius), (kernel / kernel.sum())[lag.clamp(0, 2 * radius)], 0.0
    )
    with without_autocast(
        fields.device.type
    ):  # bfloat16 would leave 8 bits, and small differences of frames make the motion
        return _along_rows(_along_rows(fields, band, radius).mT, band, radius).mT.contiguous()


def _along_rows(fields: Tensor, band: Tensor, radius: int) -> Tensor:
    """A running mean over rows, (..., H, W) -> the same, as products with a banded matrix (block,
    block + 2 radius): many times faster than to convolve single channels.
    """
    block, height = len(band), fields.shape[-2]
    blocks = -(-height // block)
    padded = F.pad(fields, (0, 0, radius, radius + blocks * block - height))
    return (band @ padded.unfold(-2, block + 2 * radius, block).mT).flatten(-3, -2)[..., :height, :]


def averaged(
    fields: Tensor, weights: Tensor, side: int, *, multiple: int = 1
) -> tuple[Tensor, Tensor]:
    """Fields and their weights, (B, C, H, W) each, on a grid of ``side`` times the spacing, which
    need not divide it; pixels without weight do not count.

    Args:
        multiple: of which height and width are known to be multiples, for graphs in which they are
            symbols.
    """
    if side == 1:
        return fields, weights
    weight = in_squares(weights, side, multiple)
    return in_squares(fields * weights, side, multiple) / weight.clamp(min=1e-6), weight


def in_squares(fields: Tensor, side: int, multiple: int = 1) -> Tensor:
    """Means over squares of ``side`` pixels, (B, C, H, W), the last ones over what there is of
    them.
    """
    if torch.compiler.is_exporting():
        return free_sizes.averaged_in_squares(fields, side, exact=multiple % side == 0)
    return F.avg_pool2d(fields, side, ceil_mode=True, count_include_pad=False)


def averaged_to(fields: Tensor, size: tuple[int, int]) -> Tensor:
    """Means on a coarser grid of a size that need not divide that of the fields, (B, C, H, W) ->
    (B, C, *size).
    """
    return (
        free_sizes.averaged_to(fields, size)
        if torch.compiler.is_exporting()
        else F.adaptive_avg_pool2d(fields, size)
    )


def motion_between(
    frames: Tensor,
    observed: Tensor,
    *,
    window: float,
    levels: int = 3,
    smallest: int = 0,
    multiple: int = 1,
) -> Tensor:
    """Steady motion of frames, coarse to fine: Lucas and Kanade's least squares in Gaussian
    windows, over all frames at once.

    Args:
        frames: (B, T, H, W) of something that moves with the rain and is smooth in it, such as the
            logarithm of its rate; T at least 2.
        observed: (B, T, H, W), 1 where a pixel was observed, else 0.
        window: standard deviation of the smallest window, in pixels.
        levels: grids, at most, each of twice the spacing of the one before, on which the motion is
            looked for; the coarsest first.
        smallest: pixels that the shorter side of a coarser grid has at least, a power of 2; 0 for
            no such bound.
        multiple: as for ``averaged``.

    Returns:
        (B, 2, H, W) pixels a frame, at the time of the last frame; where no rain shows the motion,
        that of a wider surrounding, and 0 where there is none anywhere.
    """
    shorter, exporting = torch.sym_min(*frames.shape[-2:]), torch.compiler.is_exporting()
    if smallest and not exporting:
        levels = max(1, min(levels, shorter.bit_length() + 1 - smallest.bit_length()))
    pyramid = [(frames, observed)]
    for _ in range(levels - 1):
        pyramid.append(averaged(*pyramid[-1], 2, multiple=multiple))
        multiple = multiple // 2 if multiple % 2 == 0 else 1
    motion = frames.new_zeros(frames.shape[0], 2, *pyramid[-1][0].shape[-2:])
    for level, (field, weight) in reversed(list(enumerate(pyramid))):
        size = field.shape[-2:]
        if motion.shape[-2:] != size:
            motion = 2 * F.interpolate(motion, size=size, mode="bilinear", align_corners=False)
        values, known = smooth_both(field * weight, weight, 1.0)
        field = values / known.clamp(min=1e-3)
        motion = repeated(partial(_better, field, weight, window / 2**level), motion, _PASSES)
        if (
            exporting and smallest and level
        ):  # of a grid that would not be there the motion is nothing
            motion = torch.where(
                free_sizes.number(shorter, frames) >= smallest * 2**level, motion, 0.0
            )
    return motion


def _better(frames: Tensor, weights: Tensor, window: float, motion: Tensor) -> Tensor:
    """A motion, (B, 2, H, W), with what ``_correction`` finds missing from it, smooth again."""
    correction = _correction(frames, weights, motion, max(1.0, window))
    return smooth_by_edge(motion + correction, max(0.7, window / 2))


def smooth_by_edge(fields: Tensor, width: float) -> Tensor:
    """``smooth`` that counts only what lies inside the grid."""
    values, inside = smooth_both(fields, torch.ones_like(fields[:, :1]), width)
    return values / inside


def smooth_both(fields: Tensor, weights: Tensor, width: float) -> tuple[Tensor, Tensor]:
    """``smooth`` of fields, (B, C, H, W), and of their weights, (B, D, H, W); in a graph by one
    operation, which keeps it short.
    """
    if not torch.compiler.is_exporting():
        return smooth(fields, width), smooth(weights, width)
    return smooth(torch.cat([fields, weights], dim=1), width).split(
        [fields.shape[1], weights.shape[1]], dim=1
    )


def _correction(frames: Tensor, weights: Tensor, motion: Tensor, window: float) -> Tensor:
    """What is missing from a motion, by least squares over the differences that are left when the
    frames are carried along it.
    """
    length, height, width = frames.shape[1:]
    back = departures(motion, length - 1)
    if torch.compiler.is_exporting() and length > 2:
        sums = _products_at_once(frames, weights, back)
    else:
        sums = 0
        for lag, displacement in enumerate(back, start=1):
            earlier = torch.cat(
                [frames[:, -1 - lag : length - lag], weights[:, -1 - lag : length - lag]], dim=1
            )
            sums = sums + _products(earlier, frames[:, -1:], weights[:, -1:], displacement, lag)
    everywhere = sums.mean((2, 3), keepdim=True)
    side = max(
        1, int(window / _POINTS)
    )  # what a window sums up can be summed on a coarser grid first
    sums, window = in_squares(sums, side), window / side
    total, wide = 0, window
    for share in _SHARES:
        blurred = _within(sums, wide)
        total, wide = total + share * blurred, wide * 2
    a, b, c, p, q = (total + _EVERYWHERE * everywhere).unbind(dim=1)
    flat = 1e-3 * everywhere[:, 0:1].add(everywhere[:, 2:3]).squeeze(1) * _EVERYWHERE + 1e-9
    a, c = a + flat, c + flat
    determinant = (a * c - b * b).clamp(min=1e-18)
    step = torch.stack([(c * p - b * q) / determinant, (a * q - b * p) / determinant], dim=1).clamp(
        -2.0, 2.0
    )
    return (
        step
        if side == 1
        else at(
            step,
            *places(height, width, like=frames, per_pixel=side),
            step.shape[-2:],
            beyond="border",
        )
    )


def _products(
    earlier: Tensor, last: Tensor, last_weight: Tensor, displacement: Tensor, lag: int | Tensor
) -> Tensor:
    """What least squares sum up of a frame, carried along the motion, and the last one: (B, 5, H,
    W).

    Args:
        earlier: (B, 2, H, W), a frame and its weight.
        last, last_weight: (B, 1, H, W).
        displacement: (B, 2, H, W).
        lag: how many frames earlier, of all or of each, (B, 1, 1, 1).
    """
    carried = sample(earlier, displacement)
    earlier, known = carried[:, :1], (carried[:, 1:] * last_weight).detach()
    mean = (earlier + last) / 2
    padded = F.pad(mean, (1, 1, 1, 1), mode="replicate")
    gx = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    gy = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    rest = (last - earlier) / lag  # = -(gx u + gy v) of what is missing, a frame
    known = known * (known > 0.5)
    robust = known / (
        1 + (rest * lag) ** 2 / (rest * lag).square().mean((2, 3), keepdim=True).clamp(min=1e-8)
    )
    weight = robust * lag  # the longer the lag, the better a motion shows
    return torch.cat([gx * gx, gx * gy, gy * gy, -gx * rest, -gy * rest], dim=1) * weight


def _products_at_once(frames: Tensor, weights: Tensor, back: list[Tensor]) -> Tensor:
    """The sum of ``_products`` of all earlier frames as operations on one batch, which keep a graph
    short.
    """
    lags = len(back)
    earlier = torch.stack([frames[:, :-1], weights[:, :-1]], dim=2).flatten(
        0, 1
    )  # the oldest first
    last, last_weight = (
        field[:, -1:, None].expand(-1, lags, -1, -1, -1).flatten(0, 1)
        for field in (frames, weights)
    )
    displacement = torch.stack(back[::-1], dim=1).flatten(0, 1)
    lag = torch.arange(lags, 0, -1, device=frames.device, dtype=frames.dtype).repeat(
        frames.shape[0]
    )[:, None, None, None]
    return (
        _products(earlier, last, last_weight, displacement, lag).unflatten(0, (-1, lags)).sum(dim=1)
    )


def _within(fields: Tensor, width: float) -> Tensor:
    """``smooth`` of a width that is at most a third of the longer side of the grid."""
    if not torch.compiler.is_exporting():
        return smooth(fields, min(width, max(fields.shape[-2:]) / 3))
    with without_autocast(fields.device.type):
        return free_sizes.smooth(
            fields, width, free_sizes.number(torch.sym_max(*fields.shape[-2:]), fields) / 3
        )
