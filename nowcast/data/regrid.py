"""Fields on another grid: an explicit setting of ``nowcast convert``, recorded in the archive."""

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pyproj

from nowcast.readers.limits import MAX_PIXELS
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Frames, Grid
from nowcast.types.places import projection, projection_text

_MOST_SAMPLES = 8  # along one side of a cell


@dataclass(frozen=True)
class Unchanged:
    """The grid of the files."""

    def __call__(self, frames: Frames) -> Frames:
        """The same frames."""
        return frames


@dataclass(frozen=True)
class Regular:
    """A regular grid of square cells: each is the mean of the pixels under it, of which at least
    half must have been observed.

    The cell is sampled as densely as the files' pixels lie, at most 8 x 8 times, and each sample
    takes the pixel it falls into; a cell no larger than a pixel takes the pixel under its centre.

    Args:
        spacing: width of a cell, in the unit of the projection (metres; degrees for longitudes and
            latitudes).
        crs: PROJ string, WKT or EPSG code, or an object that describes one, as for ``Grid``; None:
            the projection of the files.
        x: outer edges [west, east] in that projection; None: those of the files, where the
            projection is theirs.
        y: outer edges [south, north], likewise.
    """

    spacing: float
    crs: str | int | None = None
    x: list[float] | None = None
    y: list[float] | None = None

    def __post_init__(self):
        if not 0 < self.spacing < math.inf:
            raise UserError(
                f"regrid.spacing is {self.spacing!r}; a width of the cells above 0 is needed, "
                "e.g. 2000 for 2 km."
            )
        for name, edges in (("x", self.x), ("y", self.y)):
            if edges is None:
                continue
            if not (len(edges) == 2 and edges[0] < edges[1]):
                raise UserError(
                    f"regrid.{name} is {edges!r}; two edges in ascending order are needed, e.g. "
                    "[0, 500000]."
                )
            # hashable, so that a grid is looked up once
            object.__setattr__(self, name, tuple(edges))
        if self.crs is not None:
            try:
                object.__setattr__(self, "crs", projection_text(self.crs))
                projection(self.crs)
            except UserError as error:
                raise UserError(f"regrid.crs: {error}") from None
            if self.x is None or self.y is None:
                raise UserError(
                    "regrid.crs is set, so regrid.x and regrid.y are needed: the edges of the "
                    "grid in that projection."
                )

    def __call__(self, frames: Frames) -> Frames:
        """The frames on the new grid; the same times, source and quantity.

        Raises:
            UserError: the new grid has no cell, too many, or lies wholly outside the old one.
        """
        source = frames.grid
        grid, rows, columns, inside = _lookup(
            self, source.crs, source.x.tobytes(), source.y.tobytes()
        )
        values = frames.values[:, rows, columns]  # (T, H, W, samples)
        values[:, ~inside] = np.nan
        observed = ~np.isnan(values)
        count = observed.sum(axis=-1)
        mean = np.where(observed, values, 0.0).sum(axis=-1, dtype=np.float64) / np.maximum(count, 1)
        # of a cell that is half outside the range, nobody knows the mean
        mean[2 * count < values.shape[-1]] = np.nan
        return replace(frames, values=mean, grid=grid)


@lru_cache(maxsize=4)
def _lookup(
    regular: Regular, crs: str, x: bytes, y: bytes
) -> tuple[Grid, np.ndarray, np.ndarray, np.ndarray]:
    """(new grid, rows and columns of the old one (H, W, samples), whether they lie inside it)."""
    # arrays cannot be keys of a cache, their bytes can
    source = Grid(crs, np.frombuffer(x), np.frombuffer(y))
    dy, dx = source.spacing
    if math.isnan(dy) or math.isnan(dx):
        raise UserError(
            f"a grid of {source.shape[0]}x{source.shape[1]} cells has no cell width, so it "
            "cannot be regridded; at least 2x2 are needed."
        )
    new_x = _centres("x", regular.x or _outer_edges(source.x, dx), regular.spacing)
    new_y = _centres("y", regular.y or _outer_edges(source.y[::-1], dy), regular.spacing)[::-1]
    grid = Grid(regular.crs or crs, new_x, new_y)
    if regular.crs is None:
        at_x, at_y = _sample_places(grid, regular.spacing, regular.spacing / max(dx, dy))
    else:
        at_x, at_y = _sample_places(grid, regular.spacing, _pixels_under_a_cell(grid, source))
        at_x, at_y = _in_projection_of(source, regular.crs, at_x, at_y)
    with np.errstate(invalid="ignore"):  # infinite where the new grid leaves its projection
        columns = np.floor((at_x - source.x[0]) / dx + 0.5)
        rows = np.floor((source.y[0] - at_y) / dy + 0.5)
        inside = (columns >= 0) & (columns < source.x.size) & (rows >= 0) & (rows < source.y.size)
    if not inside.any():
        raise UserError(
            f"the new grid ({grid.describe()}) lies wholly outside that of the files "
            f"({source.describe()}); set regrid.x and regrid.y."
        )
    rows, columns = (np.where(inside, index, 0).astype(np.int32) for index in (rows, columns))
    return grid, rows, columns, inside


def _outer_edges(centres: np.ndarray, width: float) -> tuple[float, float]:
    """From ascending centres of cells."""
    return centres[0] - width / 2, centres[-1] + width / 2


def _centres(axis: str, edges: tuple[float, float], spacing: float) -> np.ndarray:
    """Ascending centres of as many cells as lie between two edges."""
    low, high = edges
    count = round((high - low) / spacing)
    if not 1 <= count <= math.isqrt(MAX_PIXELS):
        raise UserError(
            f"regrid: {axis} from {low:g} to {high:g} has {count} cells of {spacing:g}; 1 to "
            f"{math.isqrt(MAX_PIXELS)} are accepted."
        )
    return low + (np.arange(count) + 0.5) * spacing


def _sample_places(grid: Grid, spacing: float, pixels: float) -> tuple[np.ndarray, np.ndarray]:
    """X and y of the samples of each cell, (H, W, samples): as many along its side as pixels lie
    there, within limits.
    """
    samples = min(_MOST_SAMPLES, max(1, round(pixels))) if math.isfinite(pixels) else 1
    offsets = ((np.arange(samples) + 0.5) / samples - 0.5) * spacing
    across, down = np.meshgrid(offsets, offsets)
    at_x = grid.x[None, :, None] + across.reshape(1, 1, -1)
    at_y = grid.y[:, None, None] + down.reshape(1, 1, -1)
    return np.broadcast_arrays(at_x, at_y)


def _pixels_under_a_cell(grid: Grid, source: Grid) -> float:
    """Pixels of the old grid along a side of the cell in the middle, where projections differ."""
    middle_x, middle_y = grid.x[grid.x.size // 2], grid.y[grid.y.size // 2]
    half = grid.spacing[1] / 2 if grid.x.size > 1 else 0.5
    transform = pyproj.Transformer.from_crs(grid.crs, source.crs, always_xy=True).transform
    (left, _), (right, _) = (transform(middle_x + side, middle_y) for side in (-half, half))
    return abs(right - left) / source.spacing[1]


def _in_projection_of(
    source: Grid, crs: str, x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Places of another projection; longitudes as the grid counts them, which may go beyond 180."""
    x, y = pyproj.Transformer.from_crs(crs, source.crs, always_xy=True).transform(x, y)
    if projection(source.crs).is_geographic:
        middle = (source.x[0] + source.x[-1]) / 2
        with np.errstate(invalid="ignore"):  # infinite where the new grid leaves its projection
            x = middle + (x - middle + 180) % 360 - 180
    return x, y


def clipped(frames: Frames, highest: float | None) -> Frames:
    """Rates above ``highest`` [mm/h] (clutter, hail, a mark that is no rate) set to it; None: as
    they are.
    """
    if highest is None:
        return frames
    values = np.minimum(frames.values, np.float32(highest))  # minimum keeps NaN
    return replace(frames, values=values)
