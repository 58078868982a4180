"""Members: noise of every scale, which moves with the rain, and the ranks that it gives them.

Axes: B batch, M members, H rows, W columns.
"""

from itertools import pairwise

import torch
from torch import Tensor

from nowcast.models.lagrangian.context import WorkingGrid
from nowcast.models.lagrangian.maps import gaussian_means
from nowcast.models.lagrangian.scales import Regression
from nowcast.models.lagrangian.settings import LagrangianSettings


class ScaleNoise:
    """Noise of each scale for each member, in the frame that moves with the rain: it grows from
    nothing as the scale forgets its last frame (the noise of STEPS, Bowler et al. 2006).

    What is smaller than a kilometre or so is left out: a forecast says nothing of its place, and it
    would make all else ragged.

    Args:
        members: M.
        regression: how long each scale lasts, and how strong it is.
        size: of the working grid.
        grid: that grid.
        settings: of the network.
        generator: of the draws; None: torch's own.
    """

    def __init__(
        self,
        members: int,
        regression: Regression,
        size: tuple[int, int],
        grid: WorkingGrid,
        settings: LagrangianSettings,
        generator: torch.Generator | None = None,
    ):
        self._correlation = regression.correlation[:, 1:]
        self._strength = regression.strength[:, 1:].clamp(min=0).sqrt()
        self._generator = generator
        self._maps = []
        for kilometres, widths in (
            (settings.noise_grid, settings.detail_widths[1:]),
            (settings.cell, settings.pattern_widths),
        ):
            side = max(1, round(kilometres / grid.spacing))
            shape = members, *(-(-length // side) for length in size)
            self._maps.append((shape, [width / (grid.spacing * side) for width in widths]))
        self._state = [0.0] * self._correlation.shape[1]

    def next(self) -> tuple[Tensor, Tensor]:
        """Of the next lead, in two parts, each on a grid of its own over the same area, which
        belong together by their sum: (B, M, h, w).
        """
        fields = []
        for scale, drawn in enumerate(self._draw()):
            kept = self._correlation[:, scale, None, None, None]
            fresh = (1 - kept.square()).sqrt() * drawn
            spread = drawn.std((1, 2, 3), keepdim=True).clamp(min=1e-6)
            self._state[scale] = kept * self._state[scale] + fresh / spread
            fields.append(self._strength[:, scale, None, None, None] * self._state[scale])
        detail, *patterns = fields
        return detail, sum(patterns)

    def _draw(self) -> list[Tensor]:
        """Fresh noise of each scale: what lies between the means of two widths, and at last the
        widest mean.
        """
        drawn, like = [], self._correlation
        for shape, widths in self._maps:
            size = len(like), *shape
            white = torch.randn(
                size, generator=self._generator, dtype=like.dtype, device=like.device
            )
            means = gaussian_means(white, torch.ones_like(white[:, :1]), widths)
            drawn += [a - b for a, b in pairwise(means)]
        return [*drawn, means[-1]]


def ranked(quantiles: Tensor, noise: Tensor) -> Tensor:
    """Each member's share of the distribution at each pixel, (B, M, H, W), by the order of its
    noise among the others (ensemble copula coupling, Schefzik et al. 2013).

    Args:
        quantiles: (B, M, H, W), the middles of M equal shares, ascending.
        noise: (B, M, H, W).
    """
    # counting orders so few ten times as fast as sorting; of equal ones the first is lower
    ranks = torch.zeros_like(noise)
    for member in range(1, noise.shape[1]):
        lower = (noise[:, member, None] - noise[:, :member]).ge_(0)  # 1 or 0
        ranks[:, member] = lower.sum(dim=1)
        ranks[:, :member] += 1 - lower
    return quantiles.gather(1, ranks.long())
