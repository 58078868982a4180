"""The cells of a picture: their size on the earth, other cells for one area, means over blocks."""

import math
from collections.abc import Sequence

import numpy as np
import pyproj

from nowcast.types.frames import Grid

# An aspect outside of these limits is of a projection far from its centre, and no use in a picture.
_ASPECTS = (0.05, 20)
_SQUARE = 0.03  # a cell that is nearly a square is drawn as one


def to_map(grid: Grid) -> pyproj.Transformer | None:
    """From longitude and latitude to the grid's map; None for one of another planet."""
    try:
        return pyproj.Transformer.from_crs("EPSG:4326", grid.crs, always_xy=True)
    except pyproj.exceptions.ProjError:
        return None


def cell_size(grid: Grid) -> tuple[float, float]:
    """(dy, dx) in the unit of the grid; an axis of one cell takes the other's, or 1."""
    dy, dx = grid.spacing
    known = [step for step in (dx, dy) if not np.isnan(step)] or [1.0]
    return known[-1], known[0]


def cell_kilometres(grid: Grid) -> tuple[float, float]:
    """Height and width on the earth of the cell in the middle of a grid [km]; NaN where the
    projection has no such place.
    """
    transformer, (dy, dx) = to_map(grid), cell_size(grid)
    if transformer is None:
        return math.nan, math.nan
    x, y = (grid.x[0] + grid.x[-1]) / 2, (grid.y[0] + grid.y[-1]) / 2
    sides = np.array([(x, y - dy / 2), (x, y + dy / 2), (x - dx / 2, y), (x + dx / 2, y)]).T
    lon, lat = np.array(transformer.transform(*sides, direction="INVERSE"))
    if not np.isfinite([lon, lat]).all():
        return math.nan, math.nan
    _, _, metres = pyproj.Geod(ellps="WGS84").inv(lon[::2], lat[::2], lon[1::2], lat[1::2])
    return float(metres[0] / 1000), float(metres[1] / 1000)


def cell_aspect(grid: Grid | None) -> float:
    """Width over height of a cell on the earth, in the middle of a grid: 0.6 for degrees at 53
    north; 1 where the two hardly differ.
    """
    if grid is None:
        return 1.0
    tall, wide = cell_kilometres(grid)
    aspect = wide / tall if tall > 0 else 1.0
    usable = _ASPECTS[0] < aspect < _ASPECTS[1] and abs(aspect - 1) > _SQUARE
    return aspect if usable else 1.0


def resampled(grid: Grid, height: int, width: int) -> Grid:
    """The same area in other cells: (height, width) of them."""
    dy, dx = cell_size(grid)
    tall, wide = dy * grid.y.size / height, dx * grid.x.size / width
    x = grid.x[0] - dx / 2 + wide * (np.arange(width) + 0.5)
    return Grid(grid.crs, x, grid.y[0] + dy / 2 - tall * (np.arange(height) + 0.5))


def scale_bar(kilometres: float) -> tuple[float, str]:
    """The longest of 1, 2, 5, 10, 20, ... km that is no longer than this, and its label."""
    power = 10.0 ** math.floor(math.log10(kilometres))
    length = power * max(step for step in (1, 2, 5) if step <= kilometres / power + 1e-9)
    return length, f"{length:g} km"


def shrink(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Means over blocks, (H, W) -> at most (height, width) float32.

    NaN where less than half of a block was observed: a mean of a few pixels would draw rain where
    nobody looked.
    """
    if values.shape[0] <= height and values.shape[1] <= width:
        return values.astype(np.float32)
    starts = [
        np.arange(min(length, most)) * length // min(length, most)
        for length, most in zip(values.shape, (height, width))
    ]
    rows, columns = (np.diff(start, append=length) for start, length in zip(starts, values.shape))

    def block_sums(array: np.ndarray) -> np.ndarray:
        return np.add.reduceat(np.add.reduceat(array, starts[0], axis=0), starts[1], axis=1)

    observed = ~np.isnan(values)
    count = block_sums(observed.astype(np.float64))
    mean = block_sums(np.where(observed, values, 0.0).astype(np.float64)) / np.maximum(count, 1)
    return np.where(count * 2 >= np.outer(rows, columns), mean, np.nan).astype(np.float32)


def observed_window(fields: Sequence[np.ndarray]) -> tuple[slice, slice]:
    """Rows and columns around everything observed in any of the fields, each (H, W); all of them
    where nothing was.
    """
    seen = np.zeros(fields[0].shape, bool)
    for field in fields:  # one at a time: a stack of all would take their memory once more
        seen |= ~np.isnan(field)
    if not seen.any():
        return slice(None), slice(None)
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def cropped(grid: Grid, window: tuple[slice, slice]) -> Grid:
    """The grid of some rows and columns."""
    return Grid(grid.crs, grid.x[window[1]], grid.y[window[0]])
