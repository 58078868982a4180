"""Where pixels lie: projections in any spelling as one text, and how far two grids lie apart,
whatever their projections are called.
"""

import math
import numbers
from functools import lru_cache
from typing import Any

import numpy as np
import pyproj

from nowcast.runtime.errors import UserError, first_line
from nowcast.types.tolerance import ROUNDING

_SMALLEST_EARTH = 1e6  # metres; the radius of a smaller one was given in kilometres
_EARTH_RADIUS = 6_371_000.0  # metres, of the sphere on which degrees become metres in messages
_Ends = tuple[float, float, int]  # an axis by its first and last centre, and their number
_SINGLE = 1e-6  # of the coordinate itself: how far the only cell along an axis may be off


@lru_cache(maxsize=256)
def projection(text: str) -> pyproj.CRS:
    """The projection that a text describes.

    Raises:
        UserError: one that PROJ does not know.
    """
    try:
        return pyproj.CRS.from_user_input(text)
    except (pyproj.exceptions.CRSError, TypeError, ValueError) as error:
        raise UserError(
            f"the projection {text!r} is not one PROJ knows ({first_line(error)})."
        ) from None


def projection_text(crs: Any) -> str:
    """A projection as text that describes it wherever it is kept: in files, settings and other
    processes.

    Args:
        crs: PROJ string, WKT, EPSG code (a text or a number), or an object of pyproj, rasterio,
            cartopy, GDAL, or a dictionary of PROJ's parameters or of PROJJSON. A text is kept as it
            is.

    Raises:
        UserError: one that PROJ does not know.
    """
    if isinstance(crs, str):
        return str(crs)
    if isinstance(crs, numbers.Integral):
        crs = int(crs)
    if hasattr(crs, "ExportToWkt"):  # GDAL's own
        crs = crs.ExportToWkt()
    try:
        known = pyproj.CRS.from_user_input(crs)
    except (pyproj.exceptions.CRSError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"the projection {crs!r:.200} is not one PROJ knows ({first_line(error)})."
        ) from None
    if known.is_compound:
        known = known.sub_crs_list[0]  # a map has no heights
    code = known.to_json_dict().get("id")
    # the shortest text that means the same; WKT always does
    if code and _means(short := f"{code['authority']}:{code['code']}", known):
        return short
    return known.srs if "+proj=" in known.srs and _means(known.srs, known) else known.to_wkt()


def _means(text: str, crs: pyproj.CRS) -> bool:
    try:
        return pyproj.CRS.from_user_input(text) == crs
    except pyproj.exceptions.CRSError:
        return False


def same_projection(one: str, other: str, x: np.ndarray, y: np.ndarray, pixels: float) -> bool:
    """Whether the coordinates (W,) and (H,) of a grid mean the same places in two projections, to
    ``pixels`` of a pixel.
    """
    ends = _ends(x), _ends(y)
    return one == other or _difference(one, other, *ends, *ends, max(pixels, ROUNDING)) is None


def difference(
    one: tuple[str, np.ndarray, np.ndarray],
    other: tuple[str, np.ndarray, np.ndarray],
    pixels: float,
) -> str | None:
    """What differs between the places of two grids of the same shape, in words; None where no pixel
    is further off than accepted.

    Args:
        one: (projection, x (W,), y (H,)).
        other: the same of the other.
        pixels: how far pixels may lie apart, in pixels.
    """
    (crs, x, y), (other_crs, other_x, other_y) = one, other
    pixels = max(pixels, ROUNDING)
    if crs == other_crs:
        for name, mine, theirs in (("x", x, other_x), ("y", y, other_y)):
            apart = float(_apart(crs, name, mine, theirs).max())
            if apart > _accepted(mine, pixels):
                return _axis_in_words(name, mine, theirs, apart, pixels)
        return None
    return _difference(crs, other_crs, _ends(x), _ends(y), _ends(other_x), _ends(other_y), pixels)


def _apart(crs: str, axis: str, mine: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Distances between coordinates along an axis, longitudes the shorter way round the earth."""
    apart = np.abs(mine - theirs)
    if axis == "x" and apart.size and apart.max() > 0 and projection(crs).is_geographic:
        turn = 2 * math.pi / projection(crs).axis_info[0].unit_conversion_factor
        apart = np.minimum(apart % turn, turn - apart % turn)
    return apart


def _axis_in_words(
    name: str, mine: np.ndarray, theirs: np.ndarray, apart: float, pixels: float
) -> str:
    """How two rows of coordinates differ."""
    ends = [f"from {axis[0]:g} to {axis[-1]:g}" for axis in (mine, theirs)]
    if ends[0] == ends[1]:  # they differ in digits that were not shown
        ends = [f"from {axis[0]:.10g} to {axis[-1]:.10g}" for axis in (mine, theirs)]
    found, width = f"{name} {ends[0]} against {ends[1].removeprefix('from ')}", _width(mine)
    if not width:
        return found
    share = f"{apart / width:.3g} pixels apart where {pixels:g} are accepted (tolerance.pixels)"
    return f"{found}, {share}"


def _width(axis: np.ndarray) -> float:
    """Distance between centres; 0 along an axis with one cell."""
    return abs(axis[-1] - axis[0]) / (axis.size - 1) if axis.size > 1 else 0.0


def _accepted(axis: np.ndarray, pixels: float) -> float:
    return pixels * _width(axis) if axis.size > 1 else _SINGLE * float(np.abs(axis).max())


def _ends(axis: np.ndarray) -> _Ends:
    return float(axis[0]), float(axis[-1]), int(axis.size)


@lru_cache(maxsize=512)
def _difference(
    crs: str, other_crs: str, x: _Ends, y: _Ends, other_x: _Ends, other_y: _Ends, pixels: float
) -> str | None:
    """As ``difference`` for two spellings, by corners, middles of the sides and the middle of both
    grids.
    """
    named = f"projection {crs:.300} against {other_crs:.300}"
    theirs = _few_pixels(other_x, other_y)
    try:
        there = _moved(crs, other_crs, *_few_pixels(x, y))
    except (pyproj.exceptions.ProjError, pyproj.exceptions.CRSError) as error:
        return f"{named}: PROJ cannot transform one into the other ({first_line(error)})"
    known = np.isfinite(there[0]) & np.isfinite(there[1])
    if not known.any():
        return f"{named}: no pixel of the one has a place in the other"
    off, shares, accepted = [], [], True
    for name, moved, own, ends in zip("xy", there, theirs, (other_x, other_y)):
        apart = _apart(other_crs, name, moved[known], own[known])
        first, last, size = ends
        width = abs(last - first) / (size - 1) if size > 1 else 0.0
        off.append(apart)
        accepted &= bool(apart.max() <= (pixels * width or 1e-5 * max(1.0, abs(first))))
        if width:
            shares.append(float(apart.max()) / width)
    if accepted:
        return None
    unit = _metres_per_unit(other_crs, abs(float(np.mean(theirs[1]))))
    metres = float(np.hypot(off[0] * unit[0], off[1] * unit[1]).max())
    share = f" ({max(shares):.3g} pixels)" if shares else ""
    return (
        f"{named}: pixels lie up to {metres:.4g} m{share} apart where {pixels:g} pixels are"
        " accepted (tolerance.pixels)"
    )


def _few_pixels(x: _Ends, y: _Ends) -> tuple[np.ndarray, np.ndarray]:
    """Up to 3x3 pixels of a grid: corners, middles of the sides, the middle."""
    axes = [np.linspace(first, last, min(size, 3)) for first, last, size in (x, y)]
    columns, rows = np.meshgrid(*axes)
    return columns, rows


def _metres_per_unit(crs: str, y: float) -> tuple[float, float]:
    """How many metres a unit of x and of y is, in degrees at the latitude y."""
    known = projection(crs)
    factor = known.axis_info[0].unit_conversion_factor
    if not known.is_geographic:
        return factor, factor
    return factor * _EARTH_RADIUS * math.cos(min(y * factor, math.pi / 2)), factor * _EARTH_RADIUS


def _moved(crs: str, other_crs: str, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of the one projection in the other; infinite where there is no such place.

    Datums are transformed as PROJ does it. Where one of the earths is in kilometres, or PROJ has no
    way between the datums, both projections are taken to share their longitudes and latitudes.
    """
    known, other = projection(crs), projection(other_crs)
    if not (_in_kilometres(known) or _in_kilometres(other)):
        try:
            moved = _transformer(crs, other_crs).transform(x, y)
            if np.isfinite(moved).all(axis=0).any():
                return moved
        except (pyproj.exceptions.ProjError, pyproj.exceptions.CRSError):
            pass
    longitude, latitude = _to_degrees(crs).transform(x, y)
    return _to_degrees(other_crs).transform(longitude, latitude, direction="INVERSE")


def _in_kilometres(crs: pyproj.CRS) -> bool:
    return crs.ellipsoid is not None and crs.ellipsoid.semi_major_metre < _SMALLEST_EARTH


@lru_cache(maxsize=64)
def _transformer(crs: str, other_crs: str) -> pyproj.Transformer:
    one, other = (_without_null_shift(projection(text)) for text in (crs, other_crs))
    return pyproj.Transformer.from_crs(one, other, always_xy=True)


def _without_null_shift(crs: pyproj.CRS) -> pyproj.CRS:
    """The projection without a shift by nothing: +towgs84=0,0,0 is written out of habit, on earths
    where it cannot be true.
    """
    if not crs.is_bound or crs.source_crs is None or crs.coordinate_operation is None:
        return crs
    return crs if any(crs.coordinate_operation.towgs84) else crs.source_crs


@lru_cache(maxsize=64)
def _to_degrees(crs: str) -> pyproj.Transformer:
    """From map coordinates to longitudes and latitudes on the projection's own earth."""
    return pyproj.Transformer.from_crs(
        projection(crs), projection(crs).geodetic_crs, always_xy=True
    )
