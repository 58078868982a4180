"""The coordinates of a field's columns and rows: variables that CF's attributes, names or settings
say to be such, one for each column or one for each pixel, or numbers that are given.
"""

from typing import NamedTuple

import numpy as np
import pyproj

from nowcast.readers.axes import along_columns, straight_axis
from nowcast.readers.cf import units
from nowcast.readers.cf.source import Source, Variable
from nowcast.readers.limits import require_pixels
from nowcast.runtime.errors import UserError

_STANDARD_NAMES = {
    "x": ("projection_x_coordinate", "longitude", "grid_longitude"),
    "y": ("projection_y_coordinate", "latitude", "grid_latitude"),
}
_DIRECTIONS = {"x": "east", "y": "north"}  # as in degrees_east
_DEGREES_NAMES = {
    "x": ("lon", "long", "lons", "longitude", "longitudes", "nav_lon", "xlong"),
    "y": ("lat", "lats", "latitude", "latitudes", "nav_lat", "xlat"),
}
_LENGTH_NAMES = {
    "x": ("x", "xc", "x_c", "easting", "eastings", "x_coordinate", "projection_x_coordinate"),
    "y": ("y", "yc", "y_c", "northing", "northings", "y_coordinate", "projection_y_coordinate"),
}


class Along(NamedTuple):
    """Coordinates along one axis of a field.

    Args:
        axis: of the field.
        variable: that has them; None: they are given as numbers.
        values: as stored, one for each column or row, in the unit they are stated in.
        is_degrees: whether they are longitudes or latitudes.
    """

    axis: int
    variable: Variable | None
    values: np.ndarray
    is_degrees: bool

    @property
    def states_unit(self) -> bool:
        """Whether it says what its numbers count."""
        return self.variable is not None and bool(self.variable.text("units"))

    @property
    def is_count(self) -> bool:
        """Whether they only count columns or rows: 0, 1, 2 or 1, 2, 3."""
        counted = self.values[:1] + np.arange(self.values.size)
        is_counted = self.values.size and self.values[0] in (0, 1)
        return bool(is_counted and not self.states_unit and np.array_equal(self.values, counted))


def along(source: Source, field: Variable, kind: str) -> Along | None:
    """The coordinates of the field's columns (kind x) or rows (y); None: there are none.

    Raises:
        UserError: a setting names what is not there, or coordinates of another length.
    """
    told = getattr(source.told, kind)
    if told is None:
        found = _by_attributes(source, field, kind)
    elif isinstance(told, str):
        found = _by_setting(source, field, kind, told)
    else:
        return _by_numbers(source, field, kind, float(told))
    if found is None:
        return None
    axis, variable = found
    require_length(field, axis, variable)
    values = variable.unpacked(variable.all().astype(np.float64))
    return Along(axis, variable, values, is_in_degrees(variable, kind))


def is_in_degrees(variable: Variable, kind: str) -> bool:
    """Whether coordinates are longitudes (of kind x) or latitudes (y)."""
    standard_name = variable.text("standard_name").lower()
    if standard_name:
        return standard_name == _STANDARD_NAMES[kind][1]
    named = any(name in _DEGREES_NAMES[kind] for name in _names(variable))
    return named or variable.text("units").lower().startswith(f"degrees_{_DIRECTIONS[kind][0]}")


def _names(variable: Variable) -> tuple[str, ...]:
    """What a coordinate is called, by its own name and at length."""
    return variable.name.lower(), variable.text("long_name").lower()


def require_length(field: Variable, axis: int, coordinate: Variable) -> None:
    """Refuse a coordinate that is not as long as the field (NetCDF cannot be so, zarr can)."""
    if coordinate.shape != (field.shape[axis],):
        raise UserError(
            f"{field.path}: {field.name} has {field.shape[axis]} values along {coordinate.name}, "
            f"but {coordinate.name} has {coordinate.shape}; it contradicts itself."
        )


def _by_attributes(source: Source, field: Variable, kind: str) -> tuple[int, Variable] | None:
    """(axis, the coordinate along it) that attributes or names say to be of that kind."""
    listed = source.find(field.text("coordinates"))
    others = [one for one in source.variables.values() if one.dtype.kind in "iuf"]
    # those that are said to belong to the field count before those that happen to lie along it
    for group in (None, others):
        for axis, dim in enumerate(field.dims):
            for one in group or [*source.find([dim]), *listed]:
                if one.dims == (dim,) and _kind(one) == kind:
                    return axis, one
    return None


def _by_setting(source: Source, field: Variable, kind: str, name: str) -> tuple[int, Variable]:
    """(axis, the coordinate along it) of the name that is set."""
    where = f"variable for reader.{kind}"
    source.told.require_name(name, source.variables, source.path, where)
    one = source.variables[name]
    axes = [axis for axis, dim in enumerate(field.dims) if one.dims == (dim,)]
    if not axes and len(one.shape) == 1:  # dimensions may have no names in common
        axes = [axis for axis, side in enumerate(field.shape) if one.shape == (side,)]
    if len(axes) != 1:
        raise UserError(
            f"{source.path}: reader.{kind} is {name!r}, which has the shape {one.shape} and lies "
            f"along no single axis of {field.name}{field.shape}; name a one-dimensional variable, "
            f"or leave reader.{kind} null where places are stated for each pixel."
        )
    return axes[0], one


def _by_numbers(source: Source, field: Variable, kind: str, first: float) -> Along:
    """Coordinates from the first and the distance to the next."""
    axis = len(field.dims) - (1 if kind == "x" else 2)
    for place, dim in enumerate(field.dims):
        if dim.lower() in _LENGTH_NAMES[kind] + _DEGREES_NAMES[kind]:
            axis = place
    values = first + getattr(source.told, f"d{kind}") * np.arange(field.shape[axis])
    return Along(axis, None, values, is_degrees=False)


def _kind(variable: Variable) -> str | None:
    """Whether a coordinate is the x or the y of a map; None: neither."""
    standard_name = variable.text("standard_name").lower()
    axis = variable.text("axis").lower()
    for kind, names in _STANDARD_NAMES.items():
        stated = axis == kind or _DIRECTIONS[kind] in variable.text("units")
        known = _LENGTH_NAMES[kind] + _DEGREES_NAMES[kind]
        named = not axis and any(name in known for name in _names(variable))
        if standard_name in names or (not standard_name and (stated or named)):
            return kind
    return None


def flat(source: Source, field: Variable) -> tuple[Variable, Variable] | None:
    """(longitudes, latitudes) for each pixel of a field; None: there are none."""
    found = {}
    candidates = [*source.find(field.text("coordinates")), *source.variables.values()]
    for one in candidates:
        is_map = len(one.dims) == 2 and set(one.dims) <= set(field.dims)
        if not is_map or one.dtype.kind not in "iuf" or one is field:
            continue
        for kind in ("x", "y"):
            if is_in_degrees(one, kind):
                found.setdefault(kind, one)
    if len(found) < 2 or found["x"].dims != found["y"].dims:
        return None
    return found["x"], found["y"]


def pixel_places(
    source: Source, field: Variable, crs: pyproj.CRS, pair: tuple[Variable, Variable]
) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """Columns and rows by the longitudes and latitudes of all pixels.

    Returns:
        (x, y, as they are stored, in metres or degrees; the field's axes of y and of x).

    Raises:
        UserError: they form no columns and rows in the projection.
    """
    dims, shape = pair[0].dims, pair[0].shape
    if pair[0].shape != pair[1].shape or min(shape) < 2:
        raise UserError(
            f"{source.path}: {pair[0].name} and {pair[1].name} have the shapes {shape} and "
            f"{pair[1].shape}; expected the same, of two rows and columns at least."
        )
    require_pixels(f"{source.path}: {pair[0].name}", *shape)
    index = (slice(None), slice(None))
    lon, lat = (one.unpacked(np.asarray(one.read(index, True), np.float64)) for one in pair)
    for one, values in zip(pair, (lon, lat)):
        for mark in source.missing_marks(one):
            values[values == mark] = np.nan
    try:
        x, y = (lon, lat) if crs.is_geographic else pyproj.Proj(crs)(lon, lat)
    except pyproj.exceptions.ProjError:
        x = np.full(shape, np.inf)
        y = x
    of_columns = along_columns(np.where(np.isfinite(x), x, 0.0))
    if not of_columns:
        x, y = x.T, y.T
    y_dim, x_dim = dims if of_columns else dims[::-1]
    try:
        x = straight_axis(x, pair[0].name, source.path, of_columns=True)
        y = straight_axis(y, pair[1].name, source.path, of_columns=False)
    except UserError as error:
        raise UserError(
            f"{source.path}: {field.name} has only two-dimensional {pair[1].name} and "
            f"{pair[0].name}, which are no regular grid in {crs.name!r} ({error}) "
            f"{source.told.setting('crs')} to the projection in which they are one."
        ) from None
    return _even(x), _even(y), (field.dims.index(y_dim), field.dims.index(x_dim))


def _even(values: np.ndarray) -> np.ndarray:
    """The evenly spaced coordinates that are meant, as degrees of few digits do not give them."""
    even = np.linspace(values[0], values[-1], values.size)
    step = abs(even[1] - even[0])
    off = np.abs(values - even).max()
    return even if off <= 0.1 * step else values


def counts_degrees(variable: Variable | None) -> bool:
    """Whether coordinates of a geographic grid say, or are named so, that they are degrees."""
    if variable is None:
        return True
    stated = variable.text("units")
    names = _DEGREES_NAMES["x"] + _DEGREES_NAMES["y"]
    named = any(name in names for name in _names(variable)) or variable.text("standard_name")
    return units.is_degrees(stated) or (bool(named) and not stated)
