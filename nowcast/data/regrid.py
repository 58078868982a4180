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
        for name in "xy":
            edges = getattr(self, name)
            if edges is not None and not (len(edges) == 2 and edges[0] < edges[1]):
                raise UserError(
                    f"regrid.{name} is {edges!r}; two edges in ascending order are needed, e.g. "
                    "[0, 500000]."
                )
            object.__setattr__(
                self, name, edges if edges is None else tuple(edges)
            )  # so that a grid is looked up once
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
        mean[2 * count < values.shape[-1]] = np.nan
        return replace(frames, values=mean, grid=grid)


@lru_cache(maxsize=4)
def _lookup(
    regular: Regular, crs: str, x: bytes, y: bytes
) -> tuple[Grid, np.ndarray, np.ndarray, np.ndarray]:
    """(new grid, rows and columns of the old one (H, W, samples), whether they lie inside it)."""
    source = Grid(crs, np.frombuffer(x), np.frombuffer(y))
    dy, dx = source.spacing
    if math.isnan(dy) or math.isnan(dx):
        raise UserError(
            f"a grid of {source.shape[0]}x{source.shape[1]} cells has no cell width, so it "
            "cannot be regridded; at least 2x2 are needed."
        )
    grid = Grid(
        regular.crs or crs,
        _centres(regular, "x", source.x, dx),
        _centres(regular, "y", source.y[::-1], dy)[::-1],
    )
    samples = (
        min(_MOST_SAMPLES, max(1, round(regular.spacing / max(dx, dy))))
        if regular.crs is None
        else _samples(grid, source)
    )
    offsets = ((np.arange(samples) + 0.5) / samples - 0.5) * regular.spacing
    across, down = np.meshgrid(offsets, offsets)
    at_x = grid.x[None, :, None] + across.reshape(1, 1, -1)
    at_y = grid.y[:, None, None] + down.reshape(1, 1, -1)
    at_x, at_y = np.broadcast_arrays(at_x, at_y)
    if regular.crs is not None:
        at_x, at_y = pyproj.Transformer.from_crs(regular.crs, crs, always_xy=True).transform(
            at_x, at_y
        )
        if projection(
            crs
        ).is_geographic:  # longitudes as the old grid counts them, which may go beyond 180
            middle = (source.x[0] + source.x[-1]) / 2
            with np.errstate(invalid="ignore"):  # infinite where the new grid leaves its projection
                at_x = middle + (at_x - middle + 180) % 360 - 180
    with np.errstate(invalid="ignore"):
        columns, rows = (
            np.floor((at_x - source.x[0]) / dx + 0.5),
            np.floor((source.y[0] - at_y) / dy + 0.5),
        )
        inside = (columns >= 0) & (columns < source.x.size) & (rows >= 0) & (rows < source.y.size)
    if not inside.any():
        raise UserError(
            f"the new grid ({grid.describe()}) lies wholly outside that of the files "
            f"({source.describe()}); set regrid.x and regrid.y."
        )
    return (
        grid,
        np.where(inside, rows, 0).astype(np.int32),
        np.where(inside, columns, 0).astype(np.int32),
        inside,
    )


def _samples(grid: Grid, source: Grid) -> int:
    """Samples along a side of a cell when the projections differ: the cell in the middle measured
    in pixels of the old grid.
    """
    middle_x, middle_y = grid.x[grid.x.size // 2], grid.y[grid.y.size // 2]
    half = grid.spacing[1] / 2 if grid.x.size > 1 else 0.5
    transform = pyproj.Transformer.from_crs(grid.crs, source.crs, always_xy=True).transform
    (left, _), (right, _) = (transform(middle_x + side, middle_y) for side in (-half, half))
    pixels = abs(right - left) / source.spacing[1]
    return min(_MOST_SAMPLES, max(1, round(pixels))) if math.isfinite(pixels) else 1


def _centres(regular: Regular, axis: str, old: np.ndarray, width: float) -> np.ndarray:
    """Cell centres, ascending, from the edges asked for or those of the old centres."""
    low, high = getattr(regular, axis) or (old[0] - width / 2, old[-1] + width / 2)
    count = round((high - low) / regular.spacing)
    if not 1 <= count <= math.isqrt(MAX_PIXELS):
        raise UserError(
            f"regrid: {axis} from {low:g} to {high:g} holds {count} cells of "
            f"{regular.spacing:g}; 1 to {math.isqrt(MAX_PIXELS)} are accepted."
        )
    return low + (np.arange(count) + 0.5) * regular.spacing


def clipped(frames: Frames, highest: float | None) -> Frames:
    """Rates above ``highest`` [mm/h] (clutter, hail, a mark that is no rate) set to it; None: as
    they are.
    """
    if highest is None:
        return frames
    return replace(
        frames, values=np.minimum(frames.values, np.float32(highest))
    )  # minimum keeps NaN
