"""The scales of a context, from details of a kilometre to patterns of a hundred, and how each of
them goes on.

Axes: B batch, T time, F frames (the newest first), S scales, H rows, W columns.
"""

from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nowcast.models.lagrangian.context import AlignedContext
from nowcast.models.lagrangian.maps import averaged, averaged_in_squares, gaussian_means, smooth
from nowcast.models.lagrangian.settings import LagrangianSettings

_REGRESSION_FRAMES = 3  # of second order: a frame and the two before it
_STRONGEST = 0.9995  # correlation; nothing lasts for ever
_STRONGEST_REVIVAL = 0.5  # weight of the frame before the last in the next one, at most


class Regression(NamedTuple):
    """How each scale goes on, by autoregression of second order.

    Args:
        correlation: (B, S), with the frame before.
        tendency: (B, S), weight in the next frame of the one before the last; negative where what
            grew goes on growing.
        strength: (B, S), variance of the last frame.
    """

    correlation: Tensor
    tendency: Tensor
    strength: Tensor

    def evolved(self, length: int) -> Tensor:
        """What is left at each lead of the last frame, of the one before it, and of the last frame
        had it no tendency: (length, 3, B, S).
        """
        first = self.correlation * (1 - self.tendency)  # the weight of the last frame in the next
        ahead = [torch.ones_like(first), first]
        before = [torch.zeros_like(first), self.tendency]
        for _ in range(length - 1):
            ahead.append(first * ahead[-1] + self.tendency * ahead[-2])
            before.append(first * before[-1] + self.tendency * before[-2])
        leads = []
        for lead in range(1, length + 1):
            leads.append(torch.stack([ahead[lead], before[lead], self.correlation**lead]))
        return torch.stack(leads)


class Scales(NamedTuple):
    """A context by scale.

    Args:
        fine: the frames of ``recent`` and their wider and wider means on the working grid, (B, F,
            h, w) each.
        wide: the same on the cells, from the widest of ``fine`` on.
        regression: how each scale goes on, everywhere together.
        local: how it goes on about each cell, (B, S, h, w), or (B, S, 1, 1) for everywhere.
    """

    fine: list[Tensor]
    wide: list[Tensor]
    regression: Regression
    local: Regression


def scales_of(context: AlignedContext, wet: Tensor | float, settings: LagrangianSettings) -> Scales:
    """A context by scale; ``wet``: the normalised rain rate from which on a pixel is wet."""
    grid, known = context.grid, context.ever_seen
    frames = recent(context.aligned, context.seen)
    fine = gaussian_means(frames, known, grid.widths(settings.detail_widths))
    on_cells = averaged(frames, known, grid.cell, multiple=grid.cell)
    wide = gaussian_means(*on_cells, grid.cell_widths(settings.pattern_widths))
    widest_detail = averaged(fine[-1], known, grid.cell, multiple=grid.cell)[0]
    wide = [widest_detail, *wide[1:]]
    everywhere = regression(fine, wide, context, wet, settings)
    local = local_regression(everywhere, fine, wide, context, wet, settings)
    return Scales(fine, wide, everywhere, local)


def recent(aligned: Tensor, seen: Tensor) -> Tensor:
    """The last frame, up to two before it, and the mean of all before it, each in place of one that
    was not observed: (B, T, H, W) -> (B, 3 or 4, H, W).
    """
    count = seen[:, :-1].sum(dim=1)
    before = (aligned[:, :-1] * seen[:, :-1]).sum(dim=1) / count.clamp(min=1)
    found = [torch.where(seen[:, -1] > 0.5, aligned[:, -1], before)]
    for lag in range(2, min(_REGRESSION_FRAMES, aligned.shape[1]) + 1):
        found.append(torch.where(seen[:, -lag] > 0.5, aligned[:, -lag], found[-1]))
    return torch.stack([*found, torch.where(count > 0.5, before, found[0])], dim=1)


def regression(
    fine: list[Tensor],
    wide: list[Tensor],
    context: AlignedContext,
    wet: Tensor | float,
    settings: LagrangianSettings,
) -> Regression:
    """Autoregression of second order along the motion, as in S-PROG (Seed 2003), from the last
    three frames.

    Rain grows and decays with a memory, and what the motion missed goes on, too: large patterns
    keep their tendency for tens of minutes. Where one of the three frames is missing there is no
    tendency, and where the newest overlaps with none the scales last as long as rain usually does.

    Args:
        fine: see ``Scales``,
        wide: see there.
        context: whose frames they are of.
        wet: the normalised rain rate from which on a pixel is wet.
        settings: of the network.
    """
    bands = _bands_of(fine, wide)
    frames = min(_REGRESSION_FRAMES, context.aligned.shape[1])

    def from_lags(lags: list[int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        weights, overlaps = _weights_of(context, lags, wet, settings)
        chosen = [band[:, lags] for band in bands]
        found = _correlations_of_all(chosen, weights, len(settings.detail_widths))
        return (*found, overlaps)

    one, two, strength, overlaps = from_lags(list(range(frames)))
    for lag in range(1, frames):  # a frame is missing: the newest with one of the others alone
        if torch.compiler.is_exporting() or not overlaps.all():
            other, _, variance, overlap = from_lags([0, lag])
            other = other.clamp(min=0) ** (1 / lag)
            one = torch.where(overlaps, one, other)
            two = torch.where(overlaps, two, other.square())
            strength = torch.where(overlaps, strength, variance)
            overlaps = overlaps | overlap
    return _limited(one, two, strength, overlaps, context.timestep, settings)


def _bands_of(fine: list[Tensor], wide: list[Tensor]) -> list[Tensor]:
    """What each scale is: differences of ever wider means, and the widest."""
    return [a - b for a, b in pairwise(fine)] + [a - b for a, b in pairwise(wide)] + [wide[-1]]


def local_regression(
    everywhere: Regression,
    fine: list[Tensor],
    wide: list[Tensor],
    context: AlignedContext,
    wet: Tensor | float,
    settings: LagrangianSettings,
) -> Regression:
    """How each scale goes on about each cell: the narrow ones, of which there is enough in a window
    of tens of kilometres, by the frames in there (as in ANVIL, Pulkkinen et al. 2020), so that
    lasting cells last beside rain that does not; the others as everywhere, (B, S, h, w).

    Args:
        everywhere: what it is where a window says nothing.
        fine: see ``Scales``,
        wide: see there.
        context: whose frames they are of.
        wet: the normalised rain rate from which on a pixel is wet.
        settings: of the network; without a window the regression is the same everywhere.
    """
    as_maps = Regression(*(value[:, :, None, None] for value in everywhere))
    frames = min(_REGRESSION_FRAMES, context.aligned.shape[1])
    if settings.regression_window is None or frames < _REGRESSION_FRAMES:
        return as_maps
    narrow, cell = settings.narrow_scales, context.grid.cell
    width = context.grid.cell_widths((settings.regression_window,))[0]
    weights, overlaps = _weights_of(context, list(range(frames)), wet, settings)
    found = []
    for number, band in enumerate(_bands_of(fine, wide)[:narrow]):
        scale = slice(number, number + 1)
        whole = Regression(*(value[:, scale] for value in as_maps))
        products = _products_of(band[:, :frames], weights[number])
        if number < len(settings.detail_widths):
            products = averaged_in_squares(products, cell, multiple=cell)
        found.append(_regression_in_windows(products, whole, width, context.timestep, settings))
    local = [torch.cat(values, dim=1) for values in zip(*found, strict=True)]
    size = local[0].shape[-2:]
    with_others = []
    for value, other in zip(local, as_maps, strict=True):
        same = other.expand(-1, -1, *size)
        value = torch.where(overlaps[:, :, None, None], value, same[:, :narrow])
        with_others.append(torch.cat([value, same[:, narrow:]], dim=1))
    return Regression(*with_others)


def _products_of(band: Tensor, weight: Tensor) -> Tensor:
    """What correlations are made of, (B, 6, H, W): squares of the three frames of a band (B, 3, H,
    W), products of neighbours, and of the first with the last; weighted.
    """
    newest, before, oldest = band.unbind(dim=1)
    pairs = [
        (newest, newest),
        (before, before),
        (oldest, oldest),
        (newest, before),
        (before, oldest),
        (newest, oldest),
    ]
    return weight * torch.stack([a * b for a, b in pairs], dim=1)


def _regression_in_windows(
    products: Tensor,
    whole: Regression,
    width: float,
    timestep: Tensor,
    settings: LagrangianSettings,
) -> Regression:
    """The regression of one scale, (B, 1, h, w), by Gaussian windows of ``width`` cells over its
    products (B, 6, h, w), and where they are weak by that of the whole field, (B, 1, 1, 1) each.
    """
    sums = smooth(products, width)
    # some of the whole field's, as if it were there too: a window that is dry says nothing
    typical = products.mean((2, 3), keepdim=True)[:, :3].mean(dim=1, keepdim=True)
    prior = settings.regression_prior * typical + 1e-9
    one, second = whole.correlation, whole.tendency
    two = one.square() + second * (1 - one.square())
    squares = sums[:, :3] + prior
    neighbours = sums[:, 3:5].sum(dim=1, keepdim=True) + 2 * one * prior
    correlation = neighbours / (squares[:, :2].sum(1) * squares[:, 1:].sum(1)).sqrt()[:, None]
    outer = (sums[:, 5:] + two * prior) / (squares[:, :1] * squares[:, 2:]).sqrt()
    return _within_what_rain_does(correlation, outer, squares[:, :1], timestep, settings)


def _limited(
    one: Tensor,
    two: Tensor,
    strength: Tensor,
    overlaps: Tensor,
    timestep: Tensor,
    settings: LagrangianSettings,
) -> Regression:
    """The regression of correlations with one and two frames before, (B, S), within what rain
    does.
    """
    usual = torch.tensor(settings.lifetimes, dtype=one.dtype, device=one.device)
    lasting = torch.exp(-timestep[:, None] / usual)
    one, two = torch.where(overlaps, one, lasting), torch.where(overlaps, two, lasting.square())
    return _within_what_rain_does(one, two, strength, timestep, settings)


def _within_what_rain_does(
    one: Tensor, two: Tensor, strength: Tensor, timestep: Tensor, settings: LagrangianSettings
) -> Regression:
    """The regression of correlations (B, S, ...) with one and two frames before."""
    one = one.clamp(0.0, _STRONGEST)
    two = torch.maximum(two, 2 * one.square() - 1)  # less no sequence can have
    longest = -torch.exp(-timestep / settings.memory).reshape(-1, *[1] * (one.dim() - 1))
    second = (two - one.square()) / (1 - one.square())
    return Regression(one, torch.maximum(second, longest).clamp(max=_STRONGEST_REVIVAL), strength)


def _weights_of(
    context: AlignedContext, lags: list[int], wet: Tensor | float, settings: LagrangianSettings
) -> tuple[list[Tensor], Tensor]:
    """What each pixel counts in each scale, where the frames of some lags are known: a map for each
    scale, and whether they overlap enough to say anything, (B, 1).
    """
    places = [-1 - lag for lag in lags]
    known = context.seen[:, places].amin(dim=1, keepdim=True)
    rains = context.aligned[:, places].amin(dim=1, keepdim=True) >= (1 - 1e-5) * wet
    within = known * rains.to(known.dtype) + settings.dry_weight * known
    cell, details = context.grid.cell, len(settings.detail_widths)
    weights = [within] * details
    weights += [F.avg_pool2d(within, cell)] * (settings.narrow_scales - details)
    weights += [F.avg_pool2d(known, cell)] * (settings.scales - settings.narrow_scales)
    common, newest = known.sum((2, 3)), context.seen[:, -1:].sum((2, 3))
    return weights, (common > 0) & (common >= settings.overlap * newest)


def _correlations_of_all(
    bands: list[Tensor], weights: list[Tensor], details: int
) -> tuple[Tensor, Tensor, Tensor]:
    """``correlations`` of each scale, (B, S) each; in a graph, which that keeps short, of all that
    share a grid at once: the details, and the patterns.
    """
    if not torch.compiler.is_exporting():
        found = [correlations(band, weight) for band, weight in zip(bands, weights, strict=True)]
    else:
        found = []
        for some in (slice(0, details), slice(details, None)):
            number = len(bands[some])
            values = correlations(torch.cat(bands[some]), torch.cat(weights[some]))
            found += zip(*(value.unflatten(0, (number, -1)) for value in values), strict=True)
    one, two, strength = (torch.stack(values, dim=1) for values in zip(*found, strict=True))
    return one, two, strength


def correlations(fields: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of frames (B, F, H, W), the newest first, with those one and two before them, and the
    newest's variance, (B,) each; of two frames alone, as if they had no tendency.
    """
    dtype = fields.dtype
    # other runtimes sum a large map one by one: float32 would leave 3 digits of what is missing to
    # a correlation of 1
    if torch.compiler.is_exporting():
        fields, weight = fields.double(), weight.double()
    total = weight.sum((2, 3), keepdim=True).clamp(min=1e-6)
    rest = fields - (weight * fields).sum((2, 3), keepdim=True) / total
    products = torch.einsum("bihw,bjhw->bij", weight * rest, rest).double()
    # of a field that is constant a variance is left, so that its correlation is 0
    floor = 1e-12 * torch.eye(fields.shape[1], device=fields.device)
    covariance = products / total[:, 0].double() + floor
    square = torch.diagonal(covariance, dim1=1, dim2=2)
    neighbours = covariance.diagonal(offset=1, dim1=1, dim2=2).sum(dim=1)
    one = neighbours / (square[:, :-1].sum(dim=1) * square[:, 1:].sum(dim=1)).sqrt()
    two = one.square()
    if fields.shape[1] > 2:
        two = covariance[:, 0, 2] / (square[:, 0] * square[:, 2]).sqrt()
    return one.to(dtype), two.to(dtype), square[:, 0].to(dtype)


def changes_of(fine: list[Tensor], known: Tensor, cell: int) -> Tensor:
    """How strong each fine scale of the last frame is and how far it lies from the frames before,
    in each cell and everywhere: (B, 3 scales, h, w).

    Of rain that lasts the frames differ little once they are aligned: it is the lifetime that
    S-PROG estimates, for each place.

    Args:
        fine: see ``Scales``.
        known: (B, 1, H, W).
        cell: points to a side of a cell.
    """
    details = torch.stack(fine, dim=1)
    bands = torch.cat([details[:, :-1] - details[:, 1:], details[:, -1:]], dim=1)
    last, earlier = bands[:, :, 0], bands[:, :, -1]
    squares = torch.cat([last.square(), (last - earlier).square()], dim=1) * known
    local = F.avg_pool2d(squares, cell) / F.avg_pool2d(known, cell).clamp(min=1e-3)
    everywhere = squares.sum((2, 3)) / known.sum((2, 3)).clamp(min=1) + 1e-6
    strength, change = everywhere.split(len(fine), dim=1)
    ratio = 0.5 * torch.log(change / strength)[:, :, None, None].expand(-1, -1, *local.shape[-2:])
    return torch.cat([10 * (local + 1e-6).sqrt(), ratio], dim=1)
