"""From what the network says of the cells to the logits of each pixel and lead.

Each pixel looks up where its rain departed from: the context by scale, as it goes on from there,
and the network's coefficients, which say what of it holds. So rain of any speed is displaced
without blur.

Axes: B batch, T time, K knots, L levels, S scales, H rows, W columns; h and w those of the working
grid.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nowcast.models.lagrangian.carrying import (
    departures,
    first_departure,
    next_departure,
    pixel_positions,
    sampled_at,
)
from nowcast.models.lagrangian.context import WorkingGrid
from nowcast.models.lagrangian.ensemble import ScaleNoise
from nowcast.models.lagrangian.maps import stripes
from nowcast.models.lagrangian.scales import Regression
from nowcast.models.lagrangian.settings import LagrangianSettings
from nowcast.models.steps_in_time import follow

_LARGEST_DROP = 80.0  # of a logit from level to level

FieldOfPixels = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""Makes a field (B, any, H', W') of some pixels: of their logits (B, L, H', W'), of which of them
are known, booleans (B, H', W'), and of noise (B, M, H', W'), of which only the order of the members
at a pixel means something; None: no noise."""


class Pixels(NamedTuple):
    """Pixels of a forecast, or some of their rows.

    Args:
        x: (1, 1, W') on the working grid.
        y: (1, H', 1).
        stationary: (B, 1, H', W'), what stays at each of them.
    """

    x: Tensor
    y: Tensor
    stationary: Tensor

    def shared(self, first: int, end: int, cores: int) -> "Pixels":
        """Some of the rows, as if a like number of them were a sample of a batch of its own for
        each core: cores share a batch, but not one map.
        """
        y, stationary = self.y[:, first:end], self.stationary[:, :, first:end]
        if cores > 1:
            y = y.unflatten(1, (cores, -1)).flatten(0, 1)
            stationary = stationary.unflatten(2, (cores, -1)).transpose(1, 2).flatten(0, 1)
        return Pixels(self.x, y, stationary)

    def without(
        self, left: int, right: int, x: Tensor, y: Tensor
    ) -> tuple["Pixels", tuple[Tensor, Tensor]]:
        """Without some columns, and so two fields (B, H', W') of them."""
        columns = slice(left, self.stationary.shape[-1] - right)
        pixels = Pixels(self.x[..., columns], self.y, self.stationary[..., columns])
        return pixels, (x[..., columns], y[..., columns])


class KnownSides(NamedTuple):
    """Between which columns anything is known in each row of a map.

    Args:
        first: (h,) column; beyond the last one where nothing is known.
        last: (h,); -1 where nothing is known.
    """

    first: Tensor
    last: Tensor

    @classmethod
    def of(cls, known: Tensor) -> "KnownSides":
        """Of a map (B, h, w), in any sample."""
        width = known.shape[-1]
        columns = torch.arange(width)
        somewhere = (known > 0).any(dim=0)
        first = torch.where(somewhere, columns, width).amin(dim=1)
        return cls(first, torch.where(somewhere, columns, -1).amax(dim=1))

    def not_reached(self, x: Tensor, y: Tensor) -> tuple[int, int]:
        """How many columns of pixels (B, H', W') on the left and on the right, of which nothing
        that departed from these columns and rows of the map is known.
        """
        low, high = int(y.min().floor()), int(y.max().floor()) + 2
        rows = slice(max(low, 0), max(high, 0))
        first, last = self.first[rows], self.last[rows]
        if not len(first):
            return x.shape[-1], 0
        after, before = x.amax(dim=(0, 1)) > first.amin() - 1, x.amin(dim=(0, 1)) < last.amax() + 1
        reached = (after & before).nonzero()
        if not len(reached):
            return x.shape[-1], 0
        return int(reached[0]), x.shape[-1] - 1 - int(reached[-1])


def as_rows(fields: Tensor, batch: int) -> Tensor:
    """Fields of ``Pixels.shared``, of a batch of so many samples, as (B, any, H', W')."""
    if len(fields) == batch:
        return fields
    return fields.unflatten(0, (batch, -1)).transpose(1, 2).flatten(2, 3)


class Lead(NamedTuple):
    """What is known of a lead beside the context.

    Args:
        back: (B, 2, ...), displacement to the departure, on the motion's grid.
        wide: (B, 2 * L + 3 * details + 2, ...), see ``RainInMotion.on_cells``.
        minutes: (B,) to the lead.
    """

    back: Tensor
    wide: Tensor
    minutes: Tensor


@dataclass(frozen=True)
class RainInMotion:
    """What all leads of a forecast are made of, computed once.

    Args:
        grid: the working grid.
        height: of the frames.
        width: of the frames.
        motion: (B, 2, ...) pixels of its own grid a frame.
        motion_side: points of the working grid to a side of one of the motion's.
        timestep: (B,) minutes.
        details: (B, 3 * (details + 1) + 1, h, w), of each of the details' means, the frame itself
            first, the last frame, the one before it and the mean of all before it; the last field
            is where anything is known.
        patterns: (B, 3 * patterns, ...), the same on the cells.
        stationary: (B, 1, h, w), what stays where it is.
        coarse: (B, K, outputs, ...), the network's answers at the knots, on the cells.
        knots: the leads that these are of.
        regression: how each scale goes on.
        evolved: (leads, 3, B, S, ...), see ``Regression.evolved``; on the cells, or of size 1.
        log_lifetimes: (S,) of minutes, as learnt.
        settings: of the network.
    """

    grid: WorkingGrid
    height: int
    width: int
    motion: Tensor
    motion_side: int
    timestep: Tensor
    details: Tensor
    patterns: Tensor
    stationary: Tensor
    coarse: Tensor
    knots: list[int]
    regression: Regression
    evolved: Tensor
    log_lifetimes: Tensor
    settings: LagrangianSettings

    @property
    def size(self) -> torch.Size:
        """Rows and columns of the working grid."""
        return self.details.shape[-2:]

    @property
    def dtype(self) -> torch.dtype:
        """Of the logits."""
        return torch.promote_types(self.details.dtype, self.log_lifetimes.dtype)

    @torch.no_grad()
    def pixels(self, every: int = 1, first: tuple[int, int] = (0, 0)) -> Pixels:
        """The pixels of the forecast, or every so many of each row and column, from a row and a
        column on.
        """
        x, y = pixel_positions(
            self.height,
            self.width,
            like=self.stationary,
            every=every,
            first=first,
            per_pixel=self.grid.pixels,
        )
        rows = stripes(y, x.shape[-1], self.settings.stripe)
        found = [sampled_at(self.stationary, x, some, self.size) for some in rows]
        return Pixels(x, y, torch.cat(found, dim=-2))

    def answer(self, lead: int) -> Tensor:
        """The network's answer for a lead, (B, outputs, ...), interpolated between the knots."""
        after = bisect_left(self.knots, lead)
        if self.knots[after] == lead:
            return self.coarse[:, after]
        begin, end = self.knots[after - 1], self.knots[after]
        share = (end - lead) / (end - begin)
        return torch.lerp(self.coarse[:, after], self.coarse[:, after - 1], share)

    def leads(
        self, pixels: Pixels, field_of: FieldOfPixels, noise: ScaleNoise | None = None
    ) -> Iterator[Tensor]:
        """What a function makes of some pixels, lead by lead, (B, any, H', W').

        Args:
            pixels: see there.
            field_of: is called for some rows of the pixels at a time; without gradients not for
                columns that nothing known can have come to, where there is NaN.
            noise: of the members, which the function is given, too.
        """
        batch, parts, sides = len(pixels.stationary), self._parts(pixels), self._sides()
        for number, back in enumerate(departures(self.motion, len(self.evolved)), start=1):
            minutes = self.timestep * number
            wide = self.on_cells(self.answer(number), self.evolved[number - 1], minutes)
            lead, fields = Lead(back, wide, minutes), []
            drawn = () if noise is None else noise.next()
            for part in parts:
                departed = self._departed(lead, part)
                left, right = 0, 0
                if sides is not None:
                    left, right = sides.not_reached(*departed)
                    part, departed = part.without(left, right, *departed)
                logits, known, *some = self._at(lead, part, departed, drawn)
                field = field_of(logits, known > 0.5, sum(some) if some else None)
                if left or right:
                    field = F.pad(field, (left, right), value=torch.nan)
                fields.append(as_rows(field, batch))
            yield torch.cat(fields, dim=-2)

    def _parts(self, pixels: Pixels) -> list[Pixels]:
        """Some rows of the pixels at a time, shared out among the cores of a CPU."""
        rows, columns = pixels.stationary.shape[-2:]
        if self.details.device.type != "cpu" or torch.compiler.is_exporting():
            return [pixels]
        cores = torch.get_num_threads()
        # a gradient would be as large as the map for each core
        together = len(self.details) == 1 and not self.coarse.requires_grad
        some, parts = cores * max(1, self.settings.stripe // max(1, columns)), []
        for first in range(0, rows, some):
            end = min(first + some, rows)
            like = end - (end - first) % cores if together else first
            if like > first:
                parts.append(pixels.shared(first, like, cores))
            if end > like:
                parts.append(pixels.shared(like, end, 1))
        return parts or [pixels]

    def _sides(self) -> KnownSides | None:
        """Where anything is known; None where all pixels are to be looked at: where gradients flow,
        and on a GPU, which would wait.
        """
        if self.details.device.type != "cpu" or torch.compiler.is_exporting():
            return None
        return None if self.coarse.requires_grad else KnownSides.of(self.details[:, -1])

    def leads_in_a_loop(self, frame_of: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """What ``frame_of(logits, known)`` makes of each lead, (B, H, W), in a graph, which
        contains the loop's step once: (leads, B, H, W).
        """
        length, pixels = len(self.evolved), self.pixels()
        answers = torch.stack([self.answer(number) for number in range(1, length + 1)])
        numbers = torch.arange(
            1, length + 1, dtype=self.timestep.dtype, device=self.timestep.device
        )
        minutes = self.timestep * numbers[:, None]
        step = first_departure(self.motion)

        def one(
            carried: tuple[Tensor, ...], entries: tuple[Tensor, ...]
        ) -> tuple[tuple[Tensor, ...], Tensor]:
            (back,), (answer, evolved, minutes) = carried, entries
            wide = self.on_cells(answer, evolved, minutes)
            lead = Lead(back, wide, minutes)
            logits, known = self._at(lead, pixels, self._departed(lead, pixels))
            return (next_departure(step, back),), frame_of(logits, known > 0.5)

        return follow(one, (step,), (answers, self.evolved, minutes))[1]

    def _departed(self, lead: Lead, pixels: Pixels) -> tuple[Tensor, Tensor]:
        """Where the rain of some pixels departed from, (B, H', W') columns and rows of the working
        grid.
        """
        back = sampled_at(lead.back, pixels.x, pixels.y, self.size, beyond="border")
        moved = self.motion_side * back
        return pixels.x + moved[:, 0], pixels.y + moved[:, 1]

    def _at(
        self,
        lead: Lead,
        pixels: Pixels,
        departed: tuple[Tensor, Tensor],
        drawn: tuple[Tensor, ...] = (),
    ) -> list[Tensor]:
        """Logits, how much is known, (B, H', W'), and fields (B, M, h, w) of some pixels, whose
        rain departed from there.
        """
        details = sampled_at(self.details, *departed, self.size)
        wide = sampled_at(lead.wide, *departed, self.size, beyond="border")
        known = details[:, -1]
        found = [self._logits(details, wide, lead, pixels.stationary), known]
        for field in drawn:
            found.append(sampled_at(field, *departed, self.size, beyond="border"))
        return found

    def on_cells(self, answer: Tensor, evolved: Tensor, minutes: Tensor) -> Tensor:
        """What a lead's pixels look up on the cells, (B, 2 * L + 3 * details + 2, ...): the
        constants and gains of the levels, how much each of the frame's narrow means counts (of the
        last frame, the one before it, and those before), what the wide patterns come to, and how
        much what stays where it is counts.

        The network weighs bands, differences of ever wider means: of each as the regression
        continues it, what its tendency adds, and what is left of the frames before. A band's weight
        so is that of a mean, less that of the next narrower band.

        Args:
            answer: (B, outputs, ...) of the network.
            evolved: (3, B, S, ...), see ``Regression.evolved``.
            minutes: (B,) to the lead.
        """
        settings = self.settings
        scales, narrow = settings.scales, len(settings.detail_widths) + 1
        levels, weights = answer.split([2 * len(settings.levels), settings.coefficients], dim=1)
        forecast, tendency, past, stationary = weights.split([scales, scales, scales, 1], dim=1)
        left = torch.exp(-minutes[:, None] / self.log_lifetimes.exp())[:, :, None, None]
        ahead, before, without = evolved
        together = forecast + tendency
        bands = [together * ahead - tendency * without, together * before, past * left]
        patterns = self.patterns.unflatten(1, (-1, 3))
        means, rest = [], 0
        for frame, band in enumerate(bands):
            of_mean = torch.cat([band[:, :1], band.diff(dim=1)], dim=1)
            means.append(of_mean[:, :narrow])
            rest = rest + (of_mean[:, narrow:] * patterns[:, :, frame]).sum(dim=1, keepdim=True)
        # the widest scale goes back to its own last value
        widest = patterns[:, -1:, 0]
        rest = rest + (forecast[:, -1:] - sum(band[:, -1:] for band in bands)) * widest
        details = torch.stack(means, dim=2).flatten(1, 2)
        return torch.cat([levels, details, rest, stationary], dim=1)

    def _logits(self, details: Tensor, wide: Tensor, lead: Lead, stationary: Tensor) -> Tensor:
        """Logits at the levels, (B, L, H', W'): they fall from level to level.

        Args:
            details: (B, ..., H', W'), see ``RainInMotion``, where the pixels' rain departed from.
            wide: the same of ``Lead.wide``.
            lead: which.
            stationary: (B, 1, H', W').
        """
        settings, minutes = self.settings, lead.minutes[:, None, None, None]
        levels, fields = len(settings.levels), details.shape[1] - 1
        constant, gain, weights, patterns, of_stationary = wide.split(
            [levels, levels, fields, 1, 1], dim=1
        )
        fine, known = details.split([fields, 1], dim=1)
        # what is not observed is 0 in a frame; the means are made of what is observed alone
        frame = (weights[:, :3] * fine[:, :3]).sum(dim=1, keepdim=True) / known.clamp(min=0.5)
        carried = frame + (weights[:, 3:] * fine[:, 3:]).sum(dim=1, keepdim=True) + patterns
        value = settings.sharpness * (carried + of_stationary * stationary)
        steepness = 1 / (1 + minutes / settings.blunting)
        return steepness * falling(torch.addcmul(constant, gain, value))


def falling(values: Tensor) -> Tensor:
    """Logits that fall from level to level, (B, L, H, W), by the softplus of values of all levels
    but the first.

    On a CPU ``F.softplus`` takes ten times as long, for digits that no logit needs.
    """
    if torch.compiler.is_exporting() or values.requires_grad:
        first, drops = values[:, :1], values[:, 1:]
        return torch.cat([first, -F.softplus(drops)], dim=1).cumsum(dim=1)
    # the exponential of more would not be a number of float32
    values[:, 1:].clamp_(max=_LARGEST_DROP).neg_().sigmoid_().log_()
    return values.cumsum(dim=1)


def knots_up_to(length: int) -> list[int]:
    """Leads at which the network is asked, 1, 2, 3, 5, 8, 12, ... up to a forecast's length at
    least; in between, its answers are interpolated.
    """
    knots = [1, 2]
    while knots[-1] < length:
        knots.append(knots[-1] + len(knots) - 1)
    return knots
