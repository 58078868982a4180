"""The context, brought to where its rain is at the analysis time.

Axes: B batch, T time, H rows, W columns; h and w those of the working grid.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nowcast.models.free_sizes import missing
from nowcast.models.lagrangian.carrying import departures, pixel_positions, sampled_at
from nowcast.models.lagrangian.maps import averaged, averaged_in_squares
from nowcast.models.lagrangian.motion import motion_between
from nowcast.models.lagrangian.settings import LagrangianSettings
from nowcast.runtime.errors import UserError
from nowcast.runtime.threads import in_new_thread
from nowcast.types.scale import Scale

CELLS_TO_A_SIDE = 4  # of the coarsest layer's cells: two layers halve the map


@dataclass(frozen=True)
class WorkingGrid:
    """The grids that a context is laid on.

    Args:
        spacing: kilometres between points of the working grid.
        pixels: of the frames, to a side of one of its points.
        cell: of its points, to a side of a cell of the network.
    """

    spacing: float
    pixels: int
    cell: int

    @classmethod
    def of(cls, pixel: float, settings: LagrangianSettings) -> "WorkingGrid":
        """For frames of so many kilometres a pixel."""
        pixels = max(1, round(settings.fine / pixel))
        cell = max(1, round(settings.cell / pixel / pixels))
        return cls(pixel * pixels, pixels, cell)

    def widths(self, kilometres: tuple[float, ...]) -> list[float]:
        """In points of the working grid."""
        return [width / self.spacing for width in kilometres]

    def cell_widths(self, kilometres: tuple[float, ...]) -> list[float]:
        """In cells."""
        return [width / (self.spacing * self.cell) for width in kilometres]


class AlignedContext(NamedTuple):
    """Frames where their rain is at the analysis time, on the working grid.

    Args:
        grid: that grid.
        timestep: (B,) minutes between frames.
        spacing: (B,) kilometres between points of the grid.
        frames: (B, T, h, w) where they were observed, 0 where they were not.
        mask: (B, T, h, w), how much of each was observed.
        aligned: (B, T, h, w), the frames moved on, the last one as it is.
        seen: (B, T, h, w), 1 where they are known.
        motion: (B, 2, ...) pixels of its own grid a frame.
        motion_side: points of the working grid to a side of one of the motion's.
    """

    grid: WorkingGrid
    timestep: Tensor
    spacing: Tensor
    frames: Tensor
    mask: Tensor
    aligned: Tensor
    seen: Tensor
    motion: Tensor
    motion_side: int

    @property
    def speed(self) -> Tensor:
        """The motion in units of 60 km/h, (B, 2, ...)."""
        return self.motion * (self.motion_side * self.spacing / self.timestep)[:, None, None, None]

    @property
    def ever_seen(self) -> Tensor:
        """1 where any frame is known, (B, 1, h, w)."""
        return self.seen.amax(dim=1, keepdim=True)


def motion_on_cells(context: AlignedContext) -> tuple[Tensor, int]:
    """The motion on the cells, in their sides a frame, and points of the working grid to a side; on
    its own grid where cells do not divide that.

    It was found in windows of many cells: whether paths follow it there or on its own grid, the log
    loss and the mean's squared error on RADKLIM are the same to 0.005 %.
    """
    cell, side = context.grid.cell, context.motion_side
    if cell % side:
        return context.motion, side
    coarser = cell // side
    means = averaged_in_squares(context.motion, coarser, multiple=coarser)
    return means / coarser, cell


def aligned_context(
    context: Tensor, observed: Tensor | None, scale: Scale, settings: LagrangianSettings
) -> AlignedContext:
    """A context (B, T, 1, H, W) along its motion.

    Raises:
        UserError: a graph is made, and the spacing is not one number.
    """
    timestep, spacing = scale.of_each(context)
    mask = torch.ones_like(context[:, :, 0])
    if observed is not None:
        mask = observed[:, :, 0].to(context.dtype)
    frames = torch.where(mask > 0, context[:, :, 0], 0.0)
    grid = WorkingGrid.of(_typical_spacing(spacing, scale.spacing), settings)
    frames, mask = _padded(frames, mask, grid.pixels * grid.cell * CELLS_TO_A_SIDE)
    frames, mask = averaged(frames, mask, grid.pixels, multiple=grid.pixels)
    motion, side = motion_of(frames, mask, grid, settings)
    aligned, seen = _moved_on(frames, mask, motion, side)
    spacing = spacing * grid.pixels
    return AlignedContext(grid, timestep, spacing, frames, mask, aligned, seen, motion, side)


def motion_of(
    frames: Tensor, mask: Tensor, grid: WorkingGrid, settings: LagrangianSettings
) -> tuple[Tensor, int]:
    """The motion on a grid of about a kilometre, in its pixels a frame, and how many points of the
    working grid make a side of one of them.
    """
    multiple = CELLS_TO_A_SIDE * grid.cell
    side = max(1, round(settings.motion_grid / grid.spacing))
    means, weights = averaged(frames, mask, side, multiple=multiple)
    coarser = settings.motion_coarsest / (grid.spacing * side)
    motion = motion_between(
        means,
        weights,
        window=settings.motion_window / (grid.spacing * side),
        levels=1 + max(0, round(math.log2(coarser))),
        smallest=settings.motion_smallest,
        multiple=multiple // side if multiple % side == 0 else 1,
    )
    return motion, side


def _moved_on(
    frames: Tensor, mask: Tensor, motion: Tensor, motion_side: int
) -> tuple[Tensor, Tensor]:
    """Frames and masks (B, T, h, w), each moved to the last one's time."""
    size = frames.shape[-2:]
    x, y = pixel_positions(*size, like=frames)
    aligned, seen = [frames[:, -1]], [mask[:, -1]]
    for lag, back in enumerate(departures(motion, frames.shape[1] - 1), start=1):
        moved = motion_side * sampled_at(back, x, y, size, beyond="border")
        weight = mask[:, -1 - lag]
        before = torch.stack([frames[:, -1 - lag] * weight, weight], dim=1)
        found = sampled_at(before, x + moved[:, 0], y + moved[:, 1], size)
        earlier, known = found.unbind(dim=1)
        aligned.append(earlier / known.clamp(min=0.5) * (known > 0.5))
        seen.append((known > 0.5).to(known.dtype))
    return torch.stack(aligned[::-1], dim=1), torch.stack(seen[::-1], dim=1)


def _typical_spacing(spacing: Tensor, nominal: Tensor | float) -> float:
    """The kilometres between pixels that the grids are laid out for, of (B,), or of the number
    that it was made of.
    """
    if not torch.compiler.is_exporting():
        return _geometric_mean(spacing)
    if isinstance(nominal, Tensor):
        raise UserError(
            "expected the spacing of an exported LagrangianConvLSTM as a number, e.g. spacing=1.0, "
            "for its grids are laid out for one; got a tensor."
        )
    # outside the graph, and in float32 as above: widths are rounded, and the last digit decides
    return in_new_thread(lambda: _geometric_mean(torch.full((1,), float(nominal), device="cpu")))


def _geometric_mean(spacing: Tensor) -> float:
    return float(spacing.log().mean().exp())


def _padded(frames: Tensor, mask: Tensor, multiple: int) -> tuple[Tensor, Tensor]:
    """Frames and mask, (B, T, H, W), with unobserved pixels below and to the right."""
    below, right = (missing(side, multiple) for side in frames.shape[-2:])
    return F.pad(frames, (0, right, 0, below)), F.pad(mask, (0, right, 0, below))
