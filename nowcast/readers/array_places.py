"""Where the columns and rows of an array are, in metres (or degrees), whatever their unit."""

import numpy as np
import pyproj

from nowcast.readers.array_files import ArrayFile
from nowcast.readers.axes import straight_axis
from nowcast.readers.cf import units as cf_units
from nowcast.readers.longitudes import continuous, near_zero
from nowcast.readers.projection import projection_in_metres
from nowcast.runtime.errors import UserError
from nowcast.types import places

_KILOMETRE = 1000.0
_SMALLEST_EARTH = 10_000.0  # a radius below is in kilometres
_SMALLEST_PIXEL = 10.0  # metres; no radar's is smaller


def in_metres(crs: str | int) -> tuple[str | int, float]:
    """(the projection in metres, metres of its unit); (itself, 1) of degrees, and of what is no
    PROJ string.

    Raises:
        UserError: PROJ does not know it.
    """
    known = places.projection(places.projection_text(crs))
    if not isinstance(crs, str) or "proj" not in crs or not known.is_projected:
        return crs, 1.0
    unit = known.axis_info[0].unit_conversion_factor
    if known.ellipsoid is not None and known.ellipsoid.semi_major_metre < _SMALLEST_EARTH:
        unit = _KILOMETRE
    if unit == 1.0:
        return crs, 1.0
    return projection_in_metres(crs, "reader.grid.crs"), unit


def axis(
    start: float | str,
    step: float | None,
    count: int,
    file: ArrayFile,
    *,
    of_columns: bool,
    turned: bool,
    unit: float,
) -> np.ndarray:
    """Coordinates of columns or rows: counted from the first, or those in the file, which may have
    a unit of their own.

    Args:
        start: that of the first, or the path of a dataset.
        step: between two of them, None for a dataset.
        count: how many there are.
        file: the open file.
        of_columns: whether they are the columns'.
        turned: whether a dataset with a coordinate for each pixel is columns x rows.
        unit: metres of the unit of the projection.

    Raises:
        UserError: a dataset of another number or order.
    """
    if not isinstance(start, str):
        return (start + step * np.arange(count)) * unit
    coordinates = file.read(start)
    if turned and coordinates.ndim == 2:
        coordinates = coordinates.T
    found = straight_axis(coordinates, start, file.path, of_columns=of_columns)
    if found.size != count:
        raise UserError(
            f"{file.path}: {start} has {found.size} coordinates, but the field has {count} "
            f"{'columns' if of_columns else 'rows'}."
        )
    own = cf_units.metres(file.units(start) or "")
    factor = unit if own is None else own
    return found if factor == 1.0 else found * factor


def require_size(crs: str | int, steps: dict[str, float | None], unit: float) -> None:
    """Refuse pixels of a few metres, which come of kilometres beside a projection in metres.

    Raises:
        UserError: so it is.
    """
    if not pyproj.CRS.from_user_input(crs).is_projected:
        return
    for name, step in steps.items():
        if step is not None and step * unit < _SMALLEST_PIXEL:
            raise UserError(
                f"reader.grid.{name} is {step:g}, pixels of {step * unit:g} m; are the numbers in "
                "kilometres? Add +units=km to reader.grid.crs, or give metres."
            )


def from_the_west(x: np.ndarray, crs: str | int) -> tuple[np.ndarray, np.ndarray | None]:
    """(rising coordinates of columns, the columns in that order)."""
    order = None
    if pyproj.CRS.from_user_input(crs).is_geographic:
        x, order = continuous(x)
        x = near_zero(x)
    if x.size > 1 and x[0] > x[-1]:
        order = np.arange(x.size)[::-1] if order is None else order[::-1]
        x = x[::-1]
    return x, order
