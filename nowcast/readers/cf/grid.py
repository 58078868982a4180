"""Where the pixels of a field are, by the coordinates along it, and how a map is stored."""

from typing import NamedTuple

import numpy as np
import pyproj

from nowcast.readers.cf.coordinates import Along, along, flat, pixel_places
from nowcast.readers.cf.lengths import centres, evened
from nowcast.readers.cf.mapping import Projection, projection_of
from nowcast.readers.cf.projection_text import short_text
from nowcast.readers.cf.source import Source, Variable
from nowcast.readers.cf.told import Lacking
from nowcast.readers.limits import require_pixels
from nowcast.readers.longitudes import continuous, near_zero
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Grid

_AGREE = 0.51  # pixels that places stated in degrees may be off; half a one, and rounding


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


class Located(NamedTuple):
    """Where the pixels of a field are, how they are stored, and what was unusual in it."""

    grid: Grid
    layout: Layout
    remarks: tuple[str, ...]


def located(source: Source, field: Variable) -> Located:
    """Where the pixels of a field are.

    Raises:
        UserError: no coordinates of a regular grid, no projection, or too many pixels.
    """
    x_along, y_along = along(source, field, "x"), along(source, field, "y")
    pair = flat(source, field)
    only_counted = pair is not None and any(one and one.is_count for one in (x_along, y_along))
    if x_along is not None and y_along is not None and not only_counted:
        is_geographic = x_along.is_degrees
        projection = projection_of(source, field, is_geographic=is_geographic)
        x, y, remarks = _along_axes(source, field, projection, x_along, y_along)
        axes = y_along.axis, x_along.axis
    else:
        if pair is None or _all_equal(pair):
            raise _without(source, field, pair)
        projection = projection_of(source, field, is_geographic=True)
        x, y, axes = pixel_places(source, field, projection.crs, pair)
        names = f"{pair[0].name} and {pair[1].name}"
        remarks = (f"its pixels lie where the two-dimensional {names} put them",)
    return _on_grid(source, projection, (x, y), axes, remarks)


def _all_equal(pair: tuple[Variable, Variable]) -> bool:
    """Whether longitudes and latitudes name one place for all pixels, as where nothing was
    written.
    """
    last = tuple(slice(side - 1, side) for side in pair[0].shape)
    first = (slice(0, 1), slice(0, 1))
    return all(one.read(first, True) == one.read(last, True) for one in pair)


def _on_grid(
    source: Source,
    projection: Projection,
    centres_as_stored: tuple[np.ndarray, np.ndarray],
    axes: tuple[int, int],
    remarks: tuple[str, ...],
) -> Located:
    """The grid of columns and rows as they are stored."""
    (x, y), (y_axis, x_axis), columns = centres_as_stored, axes, None
    crs = projection.crs
    if crs.is_geographic:
        x, columns = continuous(x)
        # longitudes around another pole are no places on the globe, which turns by 360 degrees
        x = x if crs.is_derived else near_zero(x)
    y_turned, x_turned = bool(y.size > 1 and y[0] < y[-1]), bool(x.size > 1 and x[0] > x[-1])
    try:
        grid = Grid(short_text(crs, x, y), x[::-1] if x_turned else x, y[::-1] if y_turned else y)
    except UserError as error:
        raise UserError(f"{source.path}: {error}") from None
    require_pixels(str(source.path), *grid.shape)
    layout = Layout(y_axis, x_axis, y_turned, x_turned, columns)
    return Located(grid, layout, (*projection.remarks, *remarks))


def _along_axes(
    source: Source, field: Variable, projection: Projection, x_along: Along, y_along: Along
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """(x, y, as they are stored, in metres or degrees; remarks)."""
    pair = flat(source, field)
    unit, remarks = projection.unit, ()
    stated = all(one.states_unit for one in (x_along, y_along))
    if not stated and pair is not None and projection.crs.is_projected:
        unit = _unit_by_places(source, field, projection, x_along, y_along, pair) or unit
    x, y = (centres(source, one, projection.crs, unit) for one in (x_along, y_along))
    if not stated and projection.crs.is_projected:
        remarks = (f"its coordinates state no unit and count in {'k' if unit == 1000 else ''}m",)
    # what is taken for want of a statement must agree with the places that are stated
    if pair is not None and (remarks or projection.remarks) and source.told.crs is None:
        off = _off_by(projection, (x, y), (x_along.axis, y_along.axis), pair, field)
        if off > _AGREE:
            raise UserError(
                f"{source.path}: {pair[0].name} and {pair[1].name} of {field.name} lie "
                f"{off:.1f} pixels from where its projection and coordinates put them; "
                f"{source.told.setting('crs')} to its projection."
            )
    if projection.crs.is_geographic:
        x = evened(x_along, x)
    return x, y, remarks


def _unit_by_places(
    source: Source,
    field: Variable,
    projection: Projection,
    x_along: Along,
    y_along: Along,
    pair: tuple[Variable, Variable],
) -> float | None:
    """Metres of the unit of coordinates that state none, by the longitudes and latitudes of the
    pixels; None where no unit agrees with them.
    """
    for unit in (1.0, 1000.0):
        try:
            places = tuple(centres(source, one, projection.crs, unit) for one in (x_along, y_along))
        except Lacking:
            continue
        if _off_by(projection, places, (x_along.axis, y_along.axis), pair, field) <= _AGREE:
            return unit
    return None


def _off_by(
    projection: Projection,
    places: tuple[np.ndarray, np.ndarray],
    axes: tuple[int, int],
    pair: tuple[Variable, Variable],
    field: Variable,
) -> float:
    """How many pixels the stated longitudes and latitudes of three corners lie off, at most."""
    x, y = places
    if min(x.size, y.size) < 2:
        return 0.0
    x_dim, y_dim = (field.dims[axis] for axis in axes)
    steps, worst = (abs(x[1] - x[0]), abs(y[1] - y[0])), 0.0
    for column, row in ((0, 0), (x.size - 1, 0), (0, y.size - 1)):
        at = {x_dim: slice(column, column + 1), y_dim: slice(row, row + 1)}
        stated = [one.read(tuple(at[dim] for dim in one.dims), True) for one in pair]
        lon, lat = (float(one.unpacked(value).item()) for one, value in zip(pair, stated))
        try:
            here = pyproj.Proj(projection.crs)(lon, lat)
        except pyproj.exceptions.ProjError:
            return np.inf
        offs = (abs(here[0] - x[column]) / steps[0], abs(here[1] - y[row]) / steps[1])
        worst = max(worst, *offs)
    return worst if np.isfinite(worst) else np.inf


def _without(source: Source, field: Variable, pair) -> Lacking:
    """What to raise where nothing says where the pixels are."""
    why = "no coordinates of x and y along them"
    if pair is not None:
        names = f"{pair[1].name} and {pair[0].name}"
        why = f"only two-dimensional {names}, which are no regular grid"
    return Lacking(
        f"{source.path}: {field.name}({', '.join(field.dims)}) has {why}; one-dimensional "
        "projection or longitude and latitude coordinates are needed: "
        f"{source.told.setting('x', 'y')} to the variables with them, or to the centres of the "
        "first column and row, with reader.dx and reader.dy.",
        ("x", "y"),
    )
