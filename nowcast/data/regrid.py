"""Fields on another grid: an explicit setting of ``nowcast convert``, recorded in the archive."""

import math
from abc import ABC, abstractmethod
from dataclasses import InitVar, dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyproj

from nowcast.data.archive import Archive, is_archive
from nowcast.data.reading import ReadingProcess
from nowcast.data.unpacking import Unpacking
from nowcast.readers.auto import Auto
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


class _Resampled(ABC):
    """Base of other grids: each cell is the mean of the pixels under it."""

    @abstractmethod
    def grid_for(self, source: Grid) -> Grid:
        """The grid that frames on another one are brought to.

        Raises:
            UserError: it has no cell, or too many.
        """

    @property
    @abstractmethod
    def cell(self) -> tuple[float, float]:
        """Height and width of a cell, in the unit of the projection."""

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


@dataclass(frozen=True)
class Regular(_Resampled):
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

    @property
    def cell(self) -> tuple[float, float]:
        """Height and width of a cell."""
        return self.spacing, self.spacing

    def grid_for(self, source: Grid) -> Grid:
        """The grid of that spacing, over the files' where no edges are set."""
        dy, dx = source.spacing
        x = _centres("x", self.x or _outer_edges(source.x, dx), self.spacing)
        y = _centres("y", self.y or _outer_edges(source.y[::-1], dy), self.spacing)[::-1]
        return Grid(self.crs or source.crs, x, y)


@dataclass(frozen=True)
class Onto(_Resampled):
    """The grid of a file, so that files whose grids differ slightly, or which changed over the
    years, make one set: each cell is the mean of the pixels under it, as of `Regular`.

    What is recorded is the grid itself, not the file's name.

    Args:
        like: an archive, or a radar file that is recognised by its content.
        crs: projection, where ``like`` is None.
        x: [centre of the first column, of the last, number of columns], likewise.
        y: [centre of the first row, of the last, number of rows], likewise.

    Raises:
        UserError: the file cannot be read, or its grid has a single row or column.
    """

    like: InitVar[str | None] = None
    crs: str | None = None
    x: tuple[float, float, int] | None = None
    y: tuple[float, float, int] | None = None

    def __post_init__(self, like: str | None):
        given = (self.crs, self.x, self.y)
        if (like is None) == (given == (None, None, None)) or (like is None and None in given):
            raise UserError(
                f"regrid.like is {like!r} and regrid.crs, x and y {given}; either a file is "
                "needed, or all three of its grid."
            )
        if like is not None:
            grid = grid_of(like)
            object.__setattr__(self, "crs", grid.crs)
            for name, centres in (("x", grid.x), ("y", grid.y)):
                ends = (float(centres[0]), float(centres[-1]), int(centres.size))
                object.__setattr__(self, name, ends)
        for name in ("x", "y"):
            ends = tuple(getattr(self, name))
            if len(ends) != 3 or not 2 <= ends[2] <= math.isqrt(MAX_PIXELS):
                raise UserError(
                    f"regrid.{name} is {ends}; the first centre, the last one and the number of "
                    f"cells, from 2 to {math.isqrt(MAX_PIXELS)}, are needed."
                )
            object.__setattr__(self, name, ends)  # hashable, so that a grid is looked up once

    @property
    def grid(self) -> Grid:
        """The grid itself."""
        return Grid(self.crs, np.linspace(*self.x), np.linspace(*self.y))

    @property
    def cell(self) -> tuple[float, float]:
        """Height and width of a cell."""
        return self.grid.spacing

    def grid_for(self, source: Grid) -> Grid:
        """The same grid for all files."""
        return self.grid


def grid_of(path: str | Path) -> Grid:
    """The grid of an archive, or of a radar file, which is read by a process of its own.

    Raises:
        UserError: it is neither, or cannot be read.
    """
    try:
        if is_archive(path):
            return Archive(path).grid
        with ReadingProcess(Unpacking(Auto())) as process:
            return process.read(path).grid
    except UserError as error:
        raise UserError(
            f"regrid.like: {error} A file that needs settings to be read is taken as an archive "
            "of it (nowcast convert)."
        ) from error


@lru_cache(maxsize=4)
def _lookup(
    resampled: _Resampled, crs: str, x: bytes, y: bytes
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
    grid, cell = resampled.grid_for(source), resampled.cell
    if grid.crs == crs:
        at_x, at_y = _sample_places(grid, cell, max(cell) / max(dx, dy))
    else:
        at_x, at_y = _sample_places(grid, cell, _pixels_under_a_cell(grid, source))
        at_x, at_y = _in_projection_of(source, grid.crs, at_x, at_y)
    with np.errstate(invalid="ignore"):  # infinite where the new grid leaves its projection
        columns = np.floor((at_x - source.x[0]) / dx + 0.5)
        rows = np.floor((source.y[0] - at_y) / dy + 0.5)
        inside = (columns >= 0) & (columns < source.x.size) & (rows >= 0) & (rows < source.y.size)
    if not inside.any():
        raise UserError(
            f"the new grid ({grid.describe()}) lies wholly outside that of the files "
            f"({source.describe()}); set regrid.x and regrid.y, or another regrid.like."
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


def _sample_places(
    grid: Grid, cell: tuple[float, float], pixels: float
) -> tuple[np.ndarray, np.ndarray]:
    """X and y of the samples of each cell, (H, W, samples): as many along its side as pixels lie
    there, within limits.
    """
    height, width = cell
    samples = min(_MOST_SAMPLES, max(1, round(pixels))) if math.isfinite(pixels) else 1
    offsets = (np.arange(samples) + 0.5) / samples - 0.5
    across, down = np.meshgrid(offsets * width, offsets * height)
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
