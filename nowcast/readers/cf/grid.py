"""Where the pixels of a field are, by the coordinates along it, and how a map is stored."""

from typing import NamedTuple

import numpy as np
import pyproj

from nowcast.readers.cf import units
from nowcast.readers.cf.mapping import projection_of, short_text
from nowcast.readers.cf.source import Source, Variable
from nowcast.readers.limits import require_pixels
from nowcast.readers.longitudes import continuous, near_zero
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Grid

_STANDARD_NAMES = {
    "x": ("projection_x_coordinate", "longitude", "grid_longitude"),
    "y": ("projection_y_coordinate", "latitude", "grid_latitude"),
}
_DIRECTIONS = {"x": "east", "y": "north"}  # as in degrees_east
_DEGREES_NAMES = {"x": ("lon", "long", "longitude"), "y": ("lat", "latitude")}


class Layout(NamedTuple):
    """How a map is stored: its axes of y and x, whether each must be turned round, and the columns
    in the order of the grid (None: as stored).
    """

    y_axis: int
    x_axis: int
    y_turned: bool
    x_turned: bool
    columns: np.ndarray | None

    def oriented(self, stored: np.ndarray) -> np.ndarray:
        """A map as it is stored, with row 0 north and column 0 west."""
        values = stored if self.y_axis < self.x_axis else stored.T
        if self.columns is not None:
            values = values[:, self.columns]
        return values[:: -1 if self.y_turned else 1, :: -1 if self.x_turned else 1]


def located(source: Source, field: Variable) -> tuple[Grid, Layout]:
    """(where the pixels are; how they are stored).

    Raises:
        UserError: no coordinates of a regular grid, no projection, or too many pixels.
    """
    (x_axis, x_variable), (y_axis, y_variable) = _coordinates(source, field)
    crs = projection_of(source, field, x_variable, y_variable)
    x, y = _centres(x_variable, crs), _centres(y_variable, crs)
    columns = None
    if crs.is_geographic:
        x, columns = continuous(x)
        # longitudes around another pole are no places on the globe, which turns by 360 degrees
        x = _evened(x_variable, x if crs.is_derived else near_zero(x))
    y_turned, x_turned = bool(y.size > 1 and y[0] < y[-1]), bool(x.size > 1 and x[0] > x[-1])
    try:
        grid = Grid(short_text(crs, x, y), x[::-1] if x_turned else x, y[::-1] if y_turned else y)
    except UserError as error:
        raise UserError(f"{source.path}: {error}") from None
    require_pixels(str(source.path), *grid.shape)
    return grid, Layout(y_axis, x_axis, y_turned, x_turned, columns)


def require_length(field: Variable, axis: int, coordinate: Variable) -> None:
    """Refuse a coordinate that is not as long as the field (NetCDF cannot be so, zarr can)."""
    if coordinate.shape != (field.shape[axis],):
        raise UserError(
            f"{field.path}: {field.name} has {field.shape[axis]} values along {coordinate.name}, "
            f"but {coordinate.name} has {coordinate.shape}; it contradicts itself."
        )


def _coordinates(source: Source, field: Variable) -> list[tuple[int, Variable]]:
    """(axis of the field, coordinate along it), of x and of y."""
    found: dict[str, tuple[int, Variable]] = {}
    listed = source.find(field.text("coordinates"))
    for axis, dim in enumerate(field.dims):
        for one in [*source.find([dim]), *listed]:
            kind = _kind(one) if one.dims == (dim,) else None
            if kind is not None:
                found.setdefault(kind, (axis, one))
    if len(found) < 2:
        two_dimensional = _STANDARD_NAMES["x"] + _STANDARD_NAMES["y"]
        flat = [
            one.name
            for one in listed
            if len(one.dims) == 2 and one.text("standard_name") in two_dimensional
        ]
        why = "no coordinates of x and y along them"
        if flat:
            why = f"only two-dimensional {' and '.join(flat)}, which are no regular grid"
        raise UserError(
            f"{source.path}: {field.name}({', '.join(field.dims)}) has {why}; one-dimensional "
            "projection or longitude and latitude coordinates are needed."
        )
    for axis, one in found.values():
        require_length(field, axis, one)
    return [found["x"], found["y"]]


def _kind(variable: Variable) -> str | None:
    """Whether a coordinate is the x or the y of a map; None: neither."""
    standard_name, axis = variable.text("standard_name"), variable.text("axis").lower()
    for kind, names in _STANDARD_NAMES.items():
        stated = axis == kind or _DIRECTIONS[kind] in variable.text("units")
        named = not axis and variable.name.lower() in (kind, *_DEGREES_NAMES[kind])
        if standard_name in names or (not standard_name and (stated or named)):
            return kind
    return None


def _centres(coordinate: Variable, crs: pyproj.CRS) -> np.ndarray:
    """Cell centres in metres or degrees, as they are ordered in the file."""
    values = coordinate.unpacked(coordinate.all().astype(np.float64))
    stated = coordinate.text("units")
    needed, factor = "m or km", units.metres(stated)
    if crs.is_geographic:
        named = coordinate.name.lower() in _DEGREES_NAMES["x"] + _DEGREES_NAMES["y"]
        is_degrees = units.is_degrees(stated) or (named and not stated)
        needed, factor = "degrees", 1.0 if is_degrees else None
    where = f"{coordinate.path}: the coordinate {coordinate.name}"
    if factor is None:
        raise UserError(
            f"{where} has the units {stated!r}; {needed} are needed for its projection."
        )
    if not values.size or not np.isfinite(values).all():
        raise UserError(
            f"{where} has {np.isfinite(values).sum()} numbers for its length of {values.size}; "
            "expected one for each, and at least one."
        )
    return _evened(coordinate, values) * factor


def _evened(coordinate: Variable, values: np.ndarray) -> np.ndarray:
    """Evenly spaced coordinates, where 32 bits alone made them uneven: beyond 256 degrees these
    distinguish places only 0.00003 apart.
    """
    if coordinate.dtype.str[1:] != "f4":
        return values
    even = np.linspace(values[0], values[-1], values.size)
    step = np.spacing(np.abs(coordinate.all()).max().astype(np.float64), dtype=np.float32)
    return even if (np.abs(values - even) <= 2 * step).all() else values
