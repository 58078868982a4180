"""What is carried along a motion: where it comes from, and its values there.

A displacement field is (B, 2, H, W): how far, along x and along y, in pixels of its own grid. Axes:
B batch, C channels, H rows, W columns.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor


def pixel_positions(
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
        height: rows of the grid.
        width: its columns.
        like: gives type and device.
        every: only every so many pixels of a row and of a column,
        first: from a row and a column on.
        per_pixel: pixels of the grid to a side of one of the coarser grid.

    Returns:
        x (1, 1, W') and y (1, H', 1), in pixels of the coarser grid, whose first has its centre at
        0.
    """
    rows = torch.arange(first[0], height, every, device=like.device, dtype=like.dtype)
    columns = torch.arange(first[1], width, every, device=like.device, dtype=like.dtype)
    x = (columns[None, None] + 0.5) / per_pixel - 0.5
    y = (rows[None, :, None] + 0.5) / per_pixel - 0.5
    return x, y


def sampled_at(
    fields: Tensor, x: Tensor, y: Tensor, size: tuple[int, int], *, beyond: str = "zeros"
) -> Tensor:
    """Fields between their pixels, linearly.

    Args:
        fields: (B, C, h, w), on any grid that covers the same area as one of ``size``; one for all
            places, B = 1, except in a graph.
        x: columns in pixels of the grid of ``size``,
        y: rows; of shapes that broadcast to (B, H', W').
        size: (H, W).
        beyond: what lies outside the grid: "zeros", or "border" for the outermost pixel.

    Returns:
        (B, C, H', W').
    """
    x, y = torch.broadcast_tensors((2 * x + 1) / size[1] - 1, (2 * y + 1) / size[0] - 1)
    points = torch.stack([x, y], dim=-1)
    settings = {"mode": "bilinear", "padding_mode": beyond, "align_corners": False}
    if torch.compiler.is_exporting() or fields.device.type != "cpu":
        return F.grid_sample(fields, points.expand(fields.shape[0], -1, -1, -1), **settings)
    batch = max(len(fields), len(points))
    fields, points = (maps.expand(batch, -1, -1, -1) for maps in (fields, points))
    # torch shares a batch among the cores, but not one map; a gradient would be as dense for each
    if batch == 1 and not fields.requires_grad:
        return _sampled_by_all_cores(fields, points, settings)
    return F.grid_sample(fields, points, **settings)


def _sampled_by_all_cores(fields: Tensor, points: Tensor, settings: dict) -> Tensor:
    """One map at points (1, H', W', 2), a like number of rows by each core."""
    cores, (rows, columns) = torch.get_num_threads(), points.shape[1:3]
    each = rows // cores
    if not each or not columns:
        return F.grid_sample(fields, points, **settings)
    shared, rest = points.split([cores * each, rows - cores * each], dim=1)
    many = fields.expand(cores, -1, -1, -1)
    found = F.grid_sample(many, shared.reshape(cores, each, columns, 2), **settings)
    found = found.transpose(0, 1).reshape(1, -1, cores * each, columns)
    if rest.shape[1] == 0:
        return found
    return torch.cat([found, F.grid_sample(fields, rest, **settings)], dim=2)


def displaced(fields: Tensor, displacement: Tensor, *, beyond: str = "zeros") -> Tensor:
    """Fields (B, C, h, w) at places that lie a displacement (B, 2, H, W) away from its pixels: (B,
    C, H, W).
    """
    size = displacement.shape[-2:]
    x, y = pixel_positions(*size, like=displacement)
    return sampled_at(fields, x + displacement[:, 0], y + displacement[:, 1], size, beyond=beyond)


def departures(motion: Tensor, steps: int) -> Iterator[Tensor]:
    """Where what arrives at each pixel after 1, 2, ... steps came from, one after the other.

    Args:
        motion: (B, 2, H, W) displacement in one step, steady.
        steps: how many.

    Yields:
        ``steps`` displacements from a pixel to its departure, (B, 2, H, W); the motion is taken in
        the middle of each step (semi-Lagrangian).
    """
    if steps < 1:
        return
    step = back = first_departure(motion)
    yield back
    for _ in range(steps - 1):
        back = next_departure(step, back)
        yield back


def first_departure(motion: Tensor) -> Tensor:
    """The first of ``departures``."""
    half = -motion / 2
    for _ in range(2):
        half = -displaced(motion, half, beyond="border") / 2
    return 2 * half


def next_departure(step: Tensor, back: Tensor) -> Tensor:
    """The next of ``departures`` after one of them, and the first."""
    return back + displaced(step, back, beyond="border")
