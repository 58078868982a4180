"""Motion of rain, by least squares over all frames, coarse to fine (Lucas and Kanade 1981).

A displacement field is (B, 2, H, W): how far, along x and along y, in pixels of its own grid. Axes:
B batch, T time, H rows, W columns.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from nowcast.models import free_sizes
from nowcast.models.lagrangian.carrying import departures, displaced, pixel_positions, sampled_at
from nowcast.models.lagrangian.maps import (
    averaged,
    averaged_in_squares,
    smooth_both,
    smooth_up_to_a_third,
    smooth_within_grid,
)
from nowcast.models.steps_in_time import repeated

# how much the windows, each twice as wide as the one before, count
_WINDOW_WEIGHTS = (1.0, 0.03, 0.003)
_EVERYWHERE_WEIGHT = 1e-4  # the same of the whole field, which speaks where there is no rain
_POINTS_PER_WINDOW = 4  # of the grid on which a window is summed up, to its standard deviation
_PASSES = 3  # warp, look at what is left, and correct
_LONGEST_STEP = 2.0  # pixels of a correction; farther the frames are not linear any more


def motion_between(
    frames: Tensor,
    observed: Tensor,
    *,
    window: float,
    levels: int = 3,
    smallest: int = 0,
    multiple: int = 1,
) -> Tensor:
    """Steady motion of frames, in Gaussian windows, over all frames at once.

    Args:
        frames: (B, T, H, W) of something that moves with the rain and is smooth in it, such as the
            logarithm of its rate; T at least 2.
        observed: (B, T, H, W), 1 where a pixel was observed, else 0.
        window: standard deviation of the smallest window, in pixels.
        levels: grids, at most, each of twice the spacing of the one before, on which the motion is
            looked for; the coarsest first.
        smallest: pixels that the shorter side of a coarser grid has at least, a power of 2; 0 for
            no such bound.
        multiple: of which height and width are known to be multiples; only a graph needs it.

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
        motion = repeated(partial(_improved, field, weight, window / 2**level), motion, _PASSES)
        if exporting and smallest and level:
            # a graph contains every grid: of one that would not be there the motion is nothing
            large = free_sizes.number(shorter, frames) >= smallest * 2**level
            motion = torch.where(large, motion, 0.0)
    return motion


def _improved(frames: Tensor, weights: Tensor, window: float, motion: Tensor) -> Tensor:
    """A motion, (B, 2, H, W), with what ``_correction`` finds missing from it, smooth again."""
    correction = _correction(frames, weights, motion, max(1.0, window))
    return smooth_within_grid(motion + correction, max(0.7, window / 2))


def _correction(frames: Tensor, weights: Tensor, motion: Tensor, window: float) -> Tensor:
    """What is missing from a motion, by least squares over the differences that are left when the
    frames are carried along it.
    """
    height, width = frames.shape[-2:]
    products = _summed_products(frames, weights, list(departures(motion, frames.shape[1] - 1)))
    everywhere = products.mean((2, 3), keepdim=True)
    # what a window sums up can be summed on a coarser grid first
    side = max(1, int(window / _POINTS_PER_WINDOW))
    products, wide = averaged_in_squares(products, side), window / side
    total = 0
    for share in _WINDOW_WEIGHTS:
        total = total + share * smooth_up_to_a_third(products, wide)
        wide = wide * 2
    step = _least_squares(total + _EVERYWHERE_WEIGHT * everywhere, everywhere)
    if side == 1:
        return step
    x, y = pixel_positions(height, width, like=frames, per_pixel=side)
    return sampled_at(step, x, y, step.shape[-2:], beyond="border")


def _least_squares(sums: Tensor, everywhere: Tensor) -> Tensor:
    """The step (B, 2, H, W) that explains the products (B, 5, H, W) best, regularised where rain is
    flat.
    """
    a, b, c, p, q = sums.unbind(dim=1)
    trace = everywhere[:, 0:1].add(everywhere[:, 2:3]).squeeze(1)
    flat = 1e-3 * trace * _EVERYWHERE_WEIGHT + 1e-9
    a, c = a + flat, c + flat
    determinant = (a * c - b * b).clamp(min=1e-18)
    step = torch.stack([(c * p - b * q) / determinant, (a * q - b * p) / determinant], dim=1)
    return step.clamp(-_LONGEST_STEP, _LONGEST_STEP)


def _summed_products(frames: Tensor, weights: Tensor, back: list[Tensor]) -> Tensor:
    """The sum of ``_products`` of all earlier frames with the last one, (B, 5, H, W)."""
    length = frames.shape[1]
    if torch.compiler.is_exporting() and length > 2:
        return _products_at_once(frames, weights, back)
    sums = 0
    for lag, displacement in enumerate(back, start=1):
        before = slice(-1 - lag, length - lag)
        earlier = torch.cat([frames[:, before], weights[:, before]], dim=1)
        sums = sums + _products(earlier, frames[:, -1:], weights[:, -1:], displacement, lag)
    return sums


def _products(
    earlier: Tensor, last: Tensor, last_weight: Tensor, displacement: Tensor, lag: int | Tensor
) -> Tensor:
    """What least squares sum up of a frame, carried along the motion, and the last one: (B, 5, H,
    W).

    Args:
        earlier: (B, 2, H, W), a frame and its weight.
        last: (B, 1, H, W).
        last_weight: of its shape.
        displacement: (B, 2, H, W).
        lag: how many frames earlier, of all or of each, (B, 1, 1, 1).
    """
    carried = displaced(earlier, displacement)
    earlier, known = carried[:, :1], (carried[:, 1:] * last_weight).detach()
    padded = F.pad((earlier + last) / 2, (1, 1, 1, 1), mode="replicate")
    gx = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    gy = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    rest = (last - earlier) / lag  # = -(gx u + gy v) of what is missing, a frame
    known = known * (known > 0.5)
    typical = (rest * lag).square().mean((2, 3), keepdim=True).clamp(min=1e-8)
    robust = known / (1 + (rest * lag) ** 2 / typical)
    weight = robust * lag  # the longer the lag, the better a motion shows
    return torch.cat([gx * gx, gx * gy, gy * gy, -gx * rest, -gy * rest], dim=1) * weight


def _products_at_once(frames: Tensor, weights: Tensor, back: list[Tensor]) -> Tensor:
    """As ``_summed_products``, as operations on one batch, which keep a graph short."""
    lags = len(back)

    def repeated_last(field: Tensor) -> Tensor:
        return field[:, -1:, None].expand(-1, lags, -1, -1, -1).flatten(0, 1)

    earlier = torch.stack([frames[:, :-1], weights[:, :-1]], dim=2).flatten(0, 1)  # oldest first
    displacement = torch.stack(back[::-1], dim=1).flatten(0, 1)
    lag = torch.arange(lags, 0, -1, device=frames.device, dtype=frames.dtype)
    lag = lag.repeat(frames.shape[0])[:, None, None, None]
    last, last_weight = repeated_last(frames), repeated_last(weights)
    found = _products(earlier, last, last_weight, displacement, lag)
    return found.unflatten(0, (-1, lags)).sum(dim=1)
