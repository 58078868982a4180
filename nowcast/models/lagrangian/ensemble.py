"""Members: noise of every scale, which moves with the rain, and the ranks that it gives them.

The noise is made as the errors of forecasts are, in space and in time, so that sums over an hour or
an area spread as much as they err, too. How these errors hang together was measured by the normal
scores of what was observed, each in the distribution that was forecast of it.

Axes: B batch, M members, R rates, S scales, H rows, W columns.
"""

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor

from nowcast.models.lagrangian.context import WorkingGrid
from nowcast.models.lagrangian.maps import gaussian_means
from nowcast.models.lagrangian.scales import Regression
from nowcast.models.lagrangian.settings import LagrangianSettings

_WIDEST_NOISE = 16.0  # standard deviations; what lies further is as far


class ScaleNoise:
    """Noise for each member, of variance 1, in the frame that moves with the rain: the sum of two
    parts.

    The errors of a forecast by regression: each scale goes on by its own, of second order, and what
    it cannot know enters anew at each step (the noise of STEPS, Bowler et al. 2006). It grows from
    nothing, the small scales first; where a scale keeps its tendency its errors do so, too.

    Growth and decay of wide patterns, which no frame shows and which a member keeps: the longer the
    forecast, the more it counts.

    What is smaller than a kilometre or so is left out: a forecast says nothing of its place, and it
    would make all else ragged.

    Args:
        members: M.
        regression: how each scale goes on, and how strong it is.
        timestep: (B,) minutes.
        size: of the working grid.
        grid: that grid.
        settings: of the network.
        generator: of the draws; None: torch's own.
    """

    def __init__(
        self,
        members: int,
        regression: Regression,
        timestep: Tensor,
        size: tuple[int, int],
        grid: WorkingGrid,
        settings: LagrangianSettings,
        generator: torch.Generator | None = None,
    ):
        correlation, tendency, strength = (values[:, 1:] for values in regression)
        self._last, self._before = correlation * (1 - tendency), tendency
        # what enters anew keeps a scale as strong as it is
        self._fresh = ((1 - correlation.square()) * (1 - tendency.square())).sqrt()
        self._strength = strength.clamp(min=0).sqrt()
        # of all that entered so far: what is left after a step, two steps, ... of one of them
        self._left = torch.ones_like(correlation), torch.zeros_like(correlation)
        self._variance = torch.zeros_like(correlation)
        self._timestep, self._settings, self._generator = timestep, settings, generator
        self._grids = []
        for kilometres, widths in (
            (settings.noise_grid, settings.detail_widths[1:]),
            (settings.cell, settings.pattern_widths),
        ):
            side = max(1, round(kilometres / grid.spacing))
            shape = members, *(-(-length // side) for length in size)
            self._grids.append((shape, [width / (grid.spacing * side) for width in widths]))
        self._states = [(0.0, 0.0)] * correlation.shape[1]  # of the last lead and the one before it
        self._growth = _of_variance_1(sum(self._draw_patterns()[-settings.growth_scales :]))
        self._lead = 0

    def next(self) -> tuple[Tensor, Tensor]:
        """Of the next lead, in two parts, each on a grid of its own over the same area, which
        belong together by their sum: (B, M, h, w).
        """
        self._lead += 1
        self._go_on([*self._draw_details(), *self._draw_patterns()])
        grown = 1 - torch.exp(-self._lead * self._timestep / self._settings.growth_time)
        errors = (self._strength.square() * self._variance).sum(dim=1).sqrt().clamp(min=1e-6)
        norm = (1 + grown.square()).sqrt()
        weights = self._strength / (errors * norm)[:, None]
        detail, *patterns = (
            _on_maps(weights[:, scale]) * state for scale, (state, _) in enumerate(self._states)
        )
        return detail, sum(patterns) + _on_maps(grown / norm) * self._growth

    def _go_on(self, drawn: list[Tensor]) -> None:
        """Take each scale's errors one lead on, and their variance."""
        for scale, noise in enumerate(drawn):
            last, before = self._states[scale]
            now = _on_maps(self._last[:, scale]) * last + _on_maps(self._before[:, scale]) * before
            self._states[scale] = now + _on_maps(self._fresh[:, scale]) * noise, last
        now, last = self._left
        self._variance = self._variance + (self._fresh * now).square()
        self._left = self._last * now + self._before * last, now

    def _draw_details(self) -> list[Tensor]:
        """Fresh noise of the details, each of variance 1."""
        means = self._drawn_means(*self._grids[0])
        return [_of_variance_1(a - b) for a, b in pairwise(means)]

    def _draw_patterns(self) -> list[Tensor]:
        """Fresh noise of the patterns and of the rest, each of variance 1."""
        means = self._drawn_means(*self._grids[1])
        return [_of_variance_1(a - b) for a, b in pairwise(means)] + [_of_variance_1(means[-1])]

    def _drawn_means(self, shape: tuple[int, ...], widths: list[float]) -> list[Tensor]:
        """White noise and its ever wider means; what lies between two of them is a scale."""
        like = self._last
        size = len(like), *shape
        white = torch.randn(size, generator=self._generator, dtype=like.dtype, device=like.device)
        return gaussian_means(white, torch.ones_like(white[:, :1]), widths)


def _on_maps(values: Tensor) -> Tensor:
    """Numbers of the batch, (B,), beside maps (B, M, H, W)."""
    return values[:, None, None, None]


def _of_variance_1(noise: Tensor) -> Tensor:
    """Noise of all members, (B, M, H, W), divided by its standard deviation."""
    return noise / noise.std((1, 2, 3), keepdim=True).clamp(min=1e-6)


def middles_of_equal_shares(logits: Tensor, rates: Tensor, count: int) -> Tensor:
    """The normalised rain rates in the middle of so many equal shares of the distribution at each
    pixel, ascending, (B, M, H, W); 0 where that is below the first of the rates.

    The fewer there are, the further is their mean below that of the distribution.

    Args:
        logits: (B, R, H, W), that a rate is reached; they fall from rate to rate, linearly between.
        rates: (R,), normalised.
        count: M.
    """
    share = (torch.arange(count, dtype=logits.dtype, device=logits.device) + 0.5) / count
    limit = -torch.logit(share)[:, None, None]
    margin = logits[:, :1] - limit
    value = (margin >= 0) * rates[0]
    drops = (logits[:, :-1] - logits[:, 1:]).clamp(min=1e-6).reciprocal()
    for level, step in enumerate(rates.diff().tolist()):
        # how much of the step from this rate to the next one is reached
        reach = torch.sub(logits[:, level : level + 1], limit).mul_(drops[:, level : level + 1])
        value.add_(reach.clamp_(0, 1), alpha=step)
    return value


def ranked(quantiles: Tensor, noise: Tensor) -> Tensor:
    """Each member's share of the distribution at each pixel, (B, M, H, W), by the order of its
    noise among the others (ensemble copula coupling, Schefzik et al. 2013).

    Args:
        quantiles: (B, M, H, W), the middles of M equal shares, ascending.
        noise: (B, M, H, W), of variance 1.
    """
    count = noise.shape[1]
    bits = max(1, (count - 1).bit_length())
    # noise in steps that leave room for the member's number behind it, in 31 bits and a sign
    steps = 2.0 ** (30 - bits) / _WIDEST_NOISE
    keys = (noise * steps).clamp(-(2.0 ** (30 - bits)), 2.0 ** (30 - bits)).int() << bits
    planes = [plane | member for member, plane in enumerate(keys.unbind(dim=1))]
    for one, other in _exchanges(count):
        low, high = planes[one], planes[other]
        planes[one], planes[other] = torch.minimum(low, high), torch.maximum(low, high)
    member = (torch.stack(planes, dim=1) & ((1 << bits) - 1)).long()
    return torch.empty_like(quantiles).scatter_(1, member, quantiles)


def _exchanges(count: int) -> Iterator[tuple[int, int]]:
    """Pairs of places whose entries are to be put in order, one pair after the other, so that any
    sequence is sorted in the end (Batcher's merge exchange; Knuth, TAOCP 3, 5.2.2 M).

    Whole maps are compared at a time: several times faster than a sort at each pixel.
    """
    largest = 1 << max(0, (count - 1).bit_length() - 1)
    step = largest
    while step:
        reach, rest, distance = largest, 0, step
        while True:
            for place in range(count - distance):
                if place & step == rest:
                    yield place, place + distance
            if reach == step:
                break
            distance, reach, rest = reach - step, reach // 2, step
        step //= 2
