"""The numbers that someone chose for the network that moves with the rain, each with its reason.

The shipped weights were trained with these, so another number needs another training; what is of
grids, times and rates is in kilometres, minutes and mm/h, so that it serves any spacing and
cadence.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class LagrangianSettings:
    """What is fixed of a ``LagrangianConvLSTM``.

    Args:
        levels: mm/h, whose exceedance the network predicts. In between, and beyond the last, the
            logit is linear in the logarithm of the rate; two to a decade are enough for that.
        lowest: mm/h, where the distribution begins: what does not reach it has no rain.
        highest: mm/h, where it ends.
        hail_cap: mm/h, as which what is beyond it counts in the mean (as hail does where radars
            measure rain): how often such rates come differs from place to place. On radar that
            nothing was learnt from the squared error is smaller by 6 % so.
        beyond: how far beyond the last level, as a factor, the distribution ends: farther a
            straight line says too much of rain that never comes.
        cell: km, of the network's own grid: rain evolves on no finer scale for long.
        fine: km, of the details; much finer grids are averaged to about it.
        motion_grid: km, of the grid on which the motion is looked for.
        motion_window: km, standard deviation of the smallest window of the least squares.
        motion_smallest: pixels to a side of a grid on which the motion is looked for, except of the
            finest; a power of 2.
        motion_coarsest: km, of the grid on which it is looked for first; rain moves by less than
            that in a step.
        noise_grid: km, of the grid on which the members' noise of the details is drawn; that of
            wider scales is drawn on cells.
        detail_widths: km, of the Gaussian means that separate the details of a frame.
        pattern_widths: km, of those that separate its larger patterns, on the cells.
        lifetimes: minutes, of details, patterns and the rest, to begin with; then they are learnt.
        narrow_scales: number of scales, up to 16 km, whose change is seen within the rain; of wider
            ones there is too little in there.
        dry_weight: what a dry pixel counts where the change of the narrow ones is estimated.
        memory: minutes, in which the weight of the frame before the last falls by e at the most:
            how strong a tendency can be.
        overlap: share of the newest frame's observed pixels that the frames before must have in
            common with it, for a correlation to be estimated.
        regression_window: km, standard deviation of the windows in which the narrow scales'
            regression is estimated for each place; None: of the whole field.
        regression_prior: how much of the whole field's mean strength counts beside a window's.
        shares: indices of ``levels``: of each cell the network sees which share of its pixels
            reaches them.
        change_scales: number of scales of which the network sees how much they change from frame to
            frame.
        steepness: of the logits to begin with, in the normalised rate.
        sharpness: factor of the details, so that coefficients near 1 are useful ones.
        blunting: minutes, after which the steepness of the probabilities is halved.
        stripe: pixels of a forecast that each core of a CPU makes at a time: what is worked on
            stays in its caches.
        growth_scales: number of the widest scales, from 6 km on, that grow or decay in a member
            beyond what the regression says; narrower ones err as it says.
        growth_time: minutes, in which the weight of that growth comes to 1 - 1/e of that of all
            other noise. With both, the noise has the covariance of the errors that forecasts of
            real rain have (RADKLIM, up to 3 hours): of their variance, patterns of more than 40 km
            have 5 % after 10 minutes, 18 % after 60 and 35 % after 180.
    """

    levels: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
    lowest: float = 0.1
    highest: float = 50.0
    hail_cap: float = 50.0
    beyond: float = 5 / 3
    cell: float = 4.0
    fine: float = 0.6
    motion_grid: float = 1.0
    motion_window: float = 24.0
    motion_smallest: int = 8
    motion_coarsest: float = 16.0
    noise_grid: float = 2.0
    detail_widths: tuple[float, ...] = (1.0, 2.5)
    pattern_widths: tuple[float, ...] = (6.0, 16.0, 40.0, 100.0)
    lifetimes: tuple[float, ...] = (4.0, 12.0, 35.0, 110.0, 300.0, 600.0, 1200.0)
    narrow_scales: int = 4
    dry_weight: float = 0.02
    memory: float = 47.0
    overlap: float = 0.01
    regression_window: float | None = None
    regression_prior: float = 0.3
    shares: tuple[int, ...] = (0, 1, 2, 3)
    change_scales: int = 3
    steepness: float = 20.0
    sharpness: float = 10.0
    blunting: float = 35.0
    stripe: int = 2**14
    growth_scales: int = 4
    growth_time: float = 75.0

    def with_levels(
        self, levels: Sequence[float], regression_window: float | None
    ) -> "LagrangianSettings":
        """These with other levels, and so with another end, and another window."""
        levels = tuple(float(level) for level in levels)
        highest = self.beyond * levels[-1]
        return replace(self, levels=levels, highest=highest, regression_window=regression_window)

    @property
    def scales(self) -> int:
        """Details, patterns, and the rest."""
        return len(self.lifetimes)

    @property
    def coefficients(self) -> int:
        """Of each scale: as the regression forecasts it, what its tendency adds, and the frames
        before; and of what stays where it is.
        """
        return 3 * self.scales + 1

    @property
    def outputs(self) -> int:
        """Channels of the head: a constant and a gain of each level, and the coefficients."""
        return 2 * len(self.levels) + self.coefficients

    @property
    def frame_fields(self) -> int:
        """Channels that the network sees of each frame: mean, spread, share observed, shares."""
        return 3 + len(self.shares)

    @property
    def scalars(self) -> int:
        """Channels beside them: motion (2), cadence, spacing, minutes to the lead, the changes
        (strength in a cell, everywhere, and their ratio), and the regression.
        """
        return 5 + 3 * self.change_scales + 2 * self.scales


SETTINGS = LagrangianSettings()


@dataclass(frozen=True)
class RainScale:
    """How rain rates are normalised, as ``nowcast.types.transform.LogRainRate`` does it.

    Args:
        knee: mm/h, below which the scale is almost linear.
        ceiling: mm/h, that is 1.
    """

    knee: float
    ceiling: float

    def normalised(self, rates: Tensor) -> Tensor:
        """Of rain rates [mm/h], any shape."""
        return _log1p(rates / self.knee) / math.log1p(self.ceiling / self.knee)


def _log1p(values: Tensor) -> Tensor:
    """As ``torch.log1p``, of numbers of 0 or more; of many on a CPU five times as fast."""
    if torch.compiler.is_exporting() or values.requires_grad or values.dtype != torch.float32:
        return torch.log1p(values)
    more = 1 + values
    # what rounding made of the sum, the ratio makes good (Kahan); of the smallest it would be 0 / 0
    return more.log().mul_(values).div_(more.sub_(1).add_(torch.finfo(values.dtype).tiny))
