"""Rain in data sets that follow the CF conventions, whatever they are stored in (NetCDF-3,
NetCDF-4, zarr).

Nothing is assumed that a file does not say: a unit, an interval or a projection that is missing is
an error.
"""

import math
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field as defaulted
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyproj

from nowcast.readers import cf_units
from nowcast.readers.cf_forecasts import MEMBERS, refuse_by_times, refuse_by_words, refuse_predicted
from nowcast.readers.decoding import Coding, equals, interval_minutes
from nowcast.readers.hdf5 import MAX_PIXELS
from nowcast.readers.longitudes import continuous, near_zero
from nowcast.readers.projection import projection_in_metres
from nowcast.runtime.errors import UserError, first_line
from nowcast.types.frames import Frames, Grid

STANDARD_NAMES = {  # what each of them measures
    **dict.fromkeys(
        ("rainfall_rate", "lwe_precipitation_rate", "precipitation_flux", "rainfall_flux"),
        "rain_rate",
    ),
    **dict.fromkeys(("rainfall_amount", "precipitation_amount"), "rain_depth"),
    **dict.fromkeys(
        ("thickness_of_rainfall_amount", "lwe_thickness_of_precipitation_amount"), "rain_depth"
    ),
    **dict.fromkeys(
        ("equivalent_reflectivity_factor", "radar_equivalent_reflectivity_factor_h"), "reflectivity"
    ),
}
_ORDER = ("rain_rate", "rain_depth", "reflectivity")
_MAX_VALUES = 2 * MAX_PIXELS  # of all frames of a file together
_MAX_COORDINATES = 2**20
_DEFAULT_FILLS = {  # what the NetCDF libraries put where nothing was written
    "i2": -32767, "u2": 65535, "i4": -2147483647, "u4": 4294967295, "i8": -9223372036854775806, "u8": 18446744073709551614,
    "f4": 9.969209968386869e36, "f8": 9.969209968386869e36,
}  # fmt: skip
_DRY_FLAG = re.compile(
    r"(no|zero)_?(rain|rainfall|precip|precipitation|echo)|dry|undetect(ed)?|not_?detected|below_(detection|threshold)(_limit|_level)?",
    re.IGNORECASE,
)
_PACKING_NOISE = 1e-6  # mm/h; scale and offset can turn a stored 0 into as little below 0
_PROJ_STRINGS = ("proj4", "proj4_params", "proj4_string", "proj4text", "proj_params")
_X = ("projection_x_coordinate", "longitude", "grid_longitude")
_Y = ("projection_y_coordinate", "latitude", "grid_latitude")
_NAMES = {
    "x": ("x", "lon", "long", "longitude"),
    "y": ("y", "lat", "latitude"),
}  # where nothing else says what a coordinate is
_NO_DATUM = ("undefined", "unknown")
_SMALLEST_EARTH = 1e6  # metres; smaller ones are kilometres


@dataclass(frozen=True)
class Variable:
    """A variable whose values were not read yet.

    Args:
        path: where it is stored.
        name: its name.
        dims: names of its dimensions.
        shape: their lengths.
        dtype: of the stored values.
        attributes: texts, numbers and rows of numbers by name.
        read: called with an index or slice for every dimension and whether values that were never
            written may be read as ``fill``; gives the stored values.
        fill: what is read where nothing was written; None if that is not known or cannot happen.
    """

    path: Path
    name: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype
    attributes: dict
    read: Callable[[tuple, bool], np.ndarray]
    fill: int | float | None = None

    def text(self, attribute: str) -> str:
        """An attribute as text; empty if it is missing or no text."""
        value = self.attributes.get(attribute)
        return value.strip() if isinstance(value, str) else ""

    def all(self) -> np.ndarray:
        """All values of a small variable, in its own shape."""
        if math.prod(self.shape) > _MAX_COORDINATES or self.dtype.kind not in "iuf":
            raise UserError(
                f"{self.path}: {self.name} has {math.prod(self.shape)} values of type "
                f"{self.dtype}; a coordinate is up to {_MAX_COORDINATES} numbers."
            )
        return np.asarray(self.read((slice(None),) * len(self.shape), True))


@dataclass(frozen=True)
class Source:
    """A data set: where it is, its variables by name, and whether NetCDF's default fill values mean
    missing among integers, too.

    Among floats (9.97e36) they always do: copies of a NetCDF file keep them and declare another.
    The variables of outer groups are seen in ``group``, too; those of its own, where the rain is
    looked for, are ``own`` (None: all).
    """

    path: Path
    variables: dict[str, Variable]
    default_fills: bool = True
    attributes: dict = defaulted(default_factory=dict)
    group: str = ""
    own: frozenset[str] | None = None

    def find(self, names: str | list[str]) -> list[Variable]:
        """Those of the named variables that exist."""
        return [
            self.variables[name]
            for name in (names.split() if isinstance(names, str) else names)
            if name in self.variables
        ]


def has_rain(source: Source, variable: str | None = None) -> bool:
    """Whether there is a field with a standard name of rain or reflectivity, or the variable of
    that name.
    """
    return bool(variable in source.variables if variable else _candidates(source))


def frames(
    source: Source, *, variable: str | None, minutes: float | None, z_r: tuple[float, float]
) -> Frames:
    """The rain fields of a data set.

    Args:
        source: the data set.
        variable: its variable with the rain; None: the one whose standard name says so, rates
            before depths before reflectivities.
        minutes: interval of rain depths, where no time bounds say it; times are then the ends of
            intervals.
        z_r: a and b of Z = a R^b for reflectivities.

    Raises:
        UserError: something is missing, not understood, contradictory, or not on a regular grid.
    """
    chosen = _field(source, variable)
    analysis = refuse_predicted(source, chosen, partial(_valid, source))
    try:
        rain = _Rain.of(source, variable=variable, minutes=minutes, z_r=z_r)
    except UserError:
        if not analysis:  # that it is a forecast says more than what else is amiss
            refuse_by_words(source, chosen)
        raise
    refuse_by_times(
        source, chosen, (rain.times, rain.starts), partial(_moments, source), analysis=analysis
    )
    return Frames(
        rain.values()[0],
        rain.times[rain.order],
        rain.grid,
        str(source.path),
        rain.coding.measured(source.path),
    )


@dataclass(frozen=True)
class PredictedRain:
    """What a file of another system says about a forecast.

    Args:
        analysis_time: UTC, the time it was made from.
        valid_times: UTC, (T,), ascending.
        members: M; None: it is no ensemble.
        grid: where the pixels are.
        values: gives the rain rates [mm/h], (M, T, H, W), M = 1 without members; NaN = no forecast.
    """

    analysis_time: np.datetime64
    valid_times: np.ndarray
    members: int | None
    grid: Grid
    values: Callable[[], np.ndarray]


def forecast(
    source: Source, *, variable: str | None, minutes: float | None, z_r: tuple[float, float]
) -> PredictedRain:
    """A forecast of one analysis time, whose fields are read when they are asked for. Arguments as
    for ``frames``.

    The analysis time is that of the coordinate with the standard name forecast_reference_time; a
    file without one (pysteps writes none) is taken to begin one step after it. An ensemble has an
    axis whose coordinate is called or named realization, member or ens_number.

    Raises:
        UserError: as ``frames``, or a forecast whose analysis time cannot be told, or is not before
            its fields.
    """
    rain = _Rain.of(source, variable=variable, minutes=minutes, z_r=z_r, with_members=True)
    times = rain.times[rain.order]
    stated = [
        one
        for one in source.variables.values()
        if one.text("standard_name") == "forecast_reference_time" and math.prod(one.shape) == 1
    ]
    if stated:
        analysis_time = _decoded(source, stated[0], stated[0]).reshape(-1)[0]
    elif len(times) > 1:
        analysis_time = times[0] - (times[1] - times[0])
    else:
        raise UserError(
            f"{source.path} has neither a forecast_reference_time nor a second lead time to tell "
            "its analysis time by; add the coordinate."
        )
    if analysis_time >= times[0]:
        raise UserError(
            f"{source.path} has a field for {times[0]} UTC, not after its analysis time "
            f"{analysis_time} UTC; a forecast is needed."
        )
    return PredictedRain(analysis_time, times, rain.members, rain.grid, rain.values)


class _Layout(NamedTuple):
    """How a map is stored: its axes of y and x, whether each must be turned round, and the columns
    in the order of the grid (None: as stored).
    """

    y_axis: int
    x_axis: int
    y_turned: bool
    x_turned: bool
    columns: np.ndarray | None


@dataclass(frozen=True)
class _Rain:
    """The rain fields of a data set: all but their values, which are read when they are asked for."""

    source: Source
    field: Variable
    grid: Grid
    axes: _Layout
    coding: Coding
    times: np.ndarray
    starts: np.ndarray
    order: np.ndarray
    time_axis: int | None
    member_axis: int | None

    @classmethod
    def of(
        cls,
        source: Source,
        *,
        variable: str | None,
        minutes: float | None,
        z_r: tuple[float, float],
        with_members: bool = False,
    ) -> "_Rain":
        path, field = source.path, _field(source, variable)
        measured, factor = _measured(source, field)
        grid, axes = _grid(source, field)
        times, interval, time_axis = _times(source, field)
        if measured == "rain_depth":
            minutes = _interval(path, field, interval, minutes)
        coding = Coding(
            measured,
            minutes if measured == "rain_depth" else None,
            gain=factor,
            z_r_a=z_r[0],
            z_r_b=z_r[1],
        )
        if not times.size:
            raise UserError(f"{path} holds no frame: its time has length 0; leave it out.")
        order = np.argsort(times, kind="stable")
        if (np.diff(times[order]) == np.timedelta64(0, "s")).any():
            raise UserError(
                f"{path} holds several frames of "
                f"{times[order][:-1][np.diff(times[order]) == np.timedelta64(0, 's')][0]} UTC; "
                "one is needed."
            )
        starts = times if interval is None else times - (60 * interval).astype("timedelta64[s]")
        rain = cls(
            source,
            field,
            grid,
            axes,
            coding,
            times,
            starts,
            order,
            time_axis,
            _member_axis(source, field) if with_members else None,
        )
        if (rain.members or 1) * times.size * math.prod(grid.shape) > _MAX_VALUES:
            raise UserError(
                f"{path} holds {times.size} frames of {grid.shape[0]}x{grid.shape[1]} pixels; "
                f"more than {_MAX_VALUES} values in one file are refused, split it by time."
            )
        return rain

    @property
    def members(self) -> int | None:
        """How many fields there are for each time, where they are the members of an ensemble."""
        return None if self.member_axis is None else self.field.shape[self.member_axis]

    def values(self) -> np.ndarray:
        """Rain rates [mm/h], (M, T, H, W) float32, in the order of time; M = 1 without members."""
        rates = np.empty((self.members or 1, self.times.size, *self.grid.shape), np.float32)
        index = _place(self.field, self.axes, (self.time_axis, self.member_axis))
        holes = _holes(self.source, self.field)
        for member, place in np.ndindex(*rates.shape[:2]):
            for axis, number in (
                (self.time_axis, int(self.order[place])),
                (self.member_axis, member),
            ):
                if axis is not None:
                    index[axis] = number
            rates[member, place] = _rain_rate(
                self.source,
                self.field,
                _oriented(self.field.read(tuple(index), holes), self.axes),
                self.coding,
            )
        return rates


def _member_axis(source: Source, field: Variable) -> int | None:
    """The field's axis of ensemble members."""
    for axis, dim in enumerate(field.dims):
        coordinates = [
            one
            for one in source.find([dim, *field.text("coordinates").split()])
            if one.dims == (dim,)
        ]
        if dim.lower() in MEMBERS or any(
            one.text("standard_name") == "realization" for one in coordinates
        ):
            return axis
    return None


def moment(source: Source, name: str) -> np.datetime64:
    """The UTC time in a variable with a single one.

    Raises:
        UserError: there is no such variable, or no single time in it.
    """
    variable = source.variables.get(name)
    if variable is None or math.prod(variable.shape) != 1:
        shape = "missing" if variable is None else f"of shape {variable.shape}"
        raise UserError(
            f"{source.path}: {name} is {shape}; expected a single time, it is cut short or of "
            "another format."
        )
    return _decoded(source, variable, variable).reshape(())[()]


def _candidates(source: Source) -> list[Variable]:
    return [
        one
        for name, one in source.variables.items()
        if one.text("standard_name") in STANDARD_NAMES
        and len(one.shape) >= 2
        and (source.own is None or name in source.own)
    ]


def ranks(source: Source, variable: str | None) -> dict[str, int]:
    """The variables with rain, or the one of that name, and the rank of what they measure: a rate
    before a depth before a reflectivity.
    """
    if variable is not None:
        return {variable: 0} if variable in source.variables else {}
    return {
        one.name: _ORDER.index(STANDARD_NAMES[one.text("standard_name")])
        for one in _candidates(source)
    }


def _field(source: Source, wanted: str | None) -> Variable:
    """The variable with the rain."""
    path, names = source.path, ", ".join(list(source.variables)[:20]) or "none"
    if wanted is not None:
        if wanted not in source.variables:
            raise UserError(
                f"{path} has no variable {wanted!r}; it has {names}; set reader.variable to one "
                "of them."
            )
        return source.variables[wanted]
    found = _candidates(source)
    if not found:
        raise UserError(
            f"{path} has no variable with a standard name of rain or reflectivity (such as "
            f"rainfall_rate); it has {names}; set reader.variable to one of them."
        )
    kinds = [STANDARD_NAMES[one.text("standard_name")] for one in found]
    first = min(kinds, key=_ORDER.index)
    best = [one for one, kind in zip(found, kinds) if kind == first]
    if len(best) > 1:  # a single forecast, with its ensemble beside it
        best = [one for one in best if _member_axis(source, one) is None] or best
    if len(best) > 1:
        raise UserError(
            f"{path} has several variables of {first.replace('_', ' ')}: "
            f"{', '.join(one.name for one in best)}; set reader.variable to one of them."
        )
    return best[0]


def _measured(source: Source, field: Variable) -> tuple[str, float]:
    """(rain_rate, rain_depth or reflectivity; what to multiply with to have mm/h, mm or dBZ), by
    units and standard name.
    """
    units, name = field.text("units"), field.text("standard_name")
    found = cf_units.quantity(units)
    if found is None:
        raise UserError(
            f"{source.path}: {field.name} has the units {units!r}; a rate such as 'mm h-1' or "
            "'kg m-2 s-1', a depth such as 'mm', or 'dBZ' is needed."
        )
    stated = STANDARD_NAMES.get(name, found[0])
    if stated != found[0]:
        raise UserError(
            f"{source.path}: {field.name} is {name}, a {stated.replace('_', ' ')}, but its units "
            f"{units!r} are of a {found[0].replace('_', ' ')}; mend one of them."
        )
    return found


def _valid(source: Source, variable: Variable) -> np.ndarray:
    """The values of a small variable that are not missing, in one row."""
    values = np.ravel(variable.all())
    missing = np.isnan(values)
    for mark in _marks(source, variable):
        missing |= equals(values, mark)
    return values[~missing]


def _moments(source: Source, variable: Variable) -> np.ndarray:
    """The UTC times in a variable."""
    return _decoded(source, variable, variable)


# grid


def _grid(source: Source, field: Variable) -> tuple[Grid, _Layout]:
    """(where the pixels are; how they are stored)."""
    found = {}
    for axis, dim in enumerate(field.dims):
        for one in [*source.find([dim]), *source.find(field.text("coordinates"))]:
            kind = _axis(one) if one.dims == (dim,) else None
            if kind and kind not in found:
                found[kind] = axis, one
    if "x" not in found or "y" not in found:
        flat = [
            one.name
            for one in source.find(field.text("coordinates"))
            if len(one.dims) == 2 and one.text("standard_name") in _X + _Y
        ]
        why = (
            f"only two-dimensional {' and '.join(flat)}, which are no regular grid"
            if flat
            else "no coordinates of x and y along them"
        )
        raise UserError(
            f"{source.path}: {field.name}({', '.join(field.dims)}) has {why}; one-dimensional "
            "projection or longitude and latitude coordinates are needed."
        )
    for axis, one in found.values():
        _refuse_other_length(field, axis, one)
    crs = _projection(source, field, found["x"][1], found["y"][1])
    (x_axis, x), (y_axis, y) = (
        (axis, _centres(source, one, crs)) for axis, one in (found["x"], found["y"])
    )
    columns = None
    if crs.is_geographic:
        x, columns = continuous(x)
        x = _even(found["x"][1], x if crs.is_derived else near_zero(x))
    turned = bool(y.size > 1 and y[0] < y[-1]), bool(x.size > 1 and x[0] > x[-1])
    try:
        grid = Grid(_text(crs, x, y), x[::-1] if turned[1] else x, y[::-1] if turned[0] else y)
    except UserError as error:
        raise UserError(f"{source.path}: {error}") from None
    if math.prod(grid.shape) > MAX_PIXELS:
        raise UserError(
            f"{source.path} claims {grid.shape[0]}x{grid.shape[1]} pixels; more than "
            f"{MAX_PIXELS} in a frame are refused."
        )
    return grid, _Layout(y_axis, x_axis, *turned, columns)


def _refuse_other_length(field: Variable, axis: int, coordinate: Variable) -> None:
    """Refuse a coordinate that is not as long as the field (NetCDF cannot be so, zarr can)."""
    if coordinate.shape != (field.shape[axis],):
        raise UserError(
            f"{field.path}: {field.name} has {field.shape[axis]} values along {coordinate.name}, "
            f"but {coordinate.name} has {coordinate.shape}; it contradicts itself."
        )


def _axis(variable: Variable) -> str | None:
    """Whether a coordinate is the x or the y of a map."""
    name, axis, units = (
        variable.text(attribute) for attribute in ("standard_name", "axis", "units")
    )
    for kind, names, direction in (("x", _X, "east"), ("y", _Y, "north")):
        if name in names or (
            not name
            and (
                axis.lower() == kind
                or direction in units
                or (not axis and variable.name.lower() in _NAMES[kind])
            )
        ):
            return kind
    return None


def _projection(source: Source, field: Variable, x: Variable, y: Variable) -> pyproj.CRS:
    """The projection of a field's coordinates, in metres or degrees."""
    mapping, path = _mapping(source, field, (x, y)), source.path
    if mapping is None:
        if (
            x.text("standard_name") == "longitude"
            or x.name.lower() in ("lon", "long", "longitude")
            or x.text("units").lower().startswith("degrees_e")
        ):
            return pyproj.CRS("EPSG:4326")
        raise UserError(
            f"{path}: {field.name} has no grid_mapping, so where its {x.name} and {y.name} lie "
            "is not known; a projection is needed."
        )
    try:
        crs = _crs(mapping, path)
        if any(axis.unit_name not in ("metre", "degree") for axis in crs.axis_info[:2]):
            crs = _in_metres(crs)
        earth = crs.ellipsoid.semi_major_metre
    except UserError:
        raise
    except (
        pyproj.exceptions.CRSError,
        KeyError,
        ValueError,
        TypeError,
        AttributeError,
        IndexError,
        OverflowError,
    ) as error:
        raise UserError(
            f"{path}: the grid mapping {mapping.name} is not understood ({first_line(error)}); "
            "CF parameters, crs_wkt or a PROJ string are needed."
        ) from None
    if earth < _SMALLEST_EARTH:
        raise UserError(
            f"{path}: the grid mapping {mapping.name} has an earth radius of {earth:g} m; "
            "lengths must be in metres."
        )
    return crs


def _mapping(
    source: Source, field: Variable, coordinates: tuple[Variable, Variable]
) -> Variable | None:
    """The grid mapping; of several ("name: x y other: lat lon") the one of these coordinates."""
    words = field.text("grid_mapping").split()
    if not words:
        return None
    names, chosen = {coordinate.name for coordinate in coordinates}, words[0].rstrip(":")
    current = chosen
    for word in words:
        if word.endswith(":"):
            current = word[:-1]
        elif word in names:
            chosen = current
    if chosen not in source.variables:
        raise UserError(
            f"{source.path}: the grid mapping {chosen} of {field.name} is not in the file; it is "
            "cut short or incomplete."
        )
    return source.variables[chosen]


def _crs(mapping: Variable, path: Path) -> pyproj.CRS:
    """The coordinate system a grid mapping describes: by WKT, else by CF parameters, else by a PROJ
    string.
    """
    wkt = mapping.text("crs_wkt") or mapping.text("spatial_ref")
    if wkt:
        return pyproj.CRS.from_wkt(wkt)
    if mapping.text("grid_mapping_name"):
        parameters = (
            (name, np.asarray(value).tolist()) for name, value in mapping.attributes.items()
        )
        return _from_cf(
            tuple(
                (name, tuple(value) if isinstance(value, list) else value)
                for name, value in parameters
            )
        )
    return pyproj.CRS(
        projection_in_metres(next(filter(None, map(mapping.text, _PROJ_STRINGS)), ""), path)
    )


@lru_cache(maxsize=64)
def _from_cf(parameters: tuple) -> pyproj.CRS:
    """The coordinate system of CF parameters; PROJ takes up to half a second to find it, and files
    come in hundreds.
    """
    return pyproj.CRS.from_cf(
        {name: list(value) if isinstance(value, tuple) else value for name, value in parameters}
    )


def _in_metres(crs: pyproj.CRS) -> pyproj.CRS:
    """The same projection with coordinates in metres (parameters such as false eastings carry their
    own units).
    """
    description = crs.to_json_dict()
    description.pop("id", None)
    for axis in description["coordinate_system"]["axis"]:
        axis["unit"] = "metre"
    return pyproj.CRS.from_json_dict(description)


def _text(crs: pyproj.CRS, x: np.ndarray, y: np.ndarray) -> str:
    """A coordinate system as a short text that means the same: a code, or a PROJ string that puts
    the grid's corners at the same place.
    """
    code = crs.to_json_dict().get("id")
    if code and pyproj.CRS(f"{code['authority']}:{code['code']}") == crs:
        return f"{code['authority']}:{code['code']}"
    if not crs.is_projected or crs.datum is None or crs.datum.name.lower() not in _NO_DATUM:
        return crs.to_wkt()
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", UserWarning
        )  # of a datum that is lost, which there is none of
        words = [
            word
            for word in crs.to_proj4().split()
            if not word.startswith(("+ellps=", "+a=", "+b=", "+R=", "+rf=", "+type="))
        ]
    short = " ".join(
        [*words, f"+a={crs.ellipsoid.semi_major_metre!r}", f"+b={crs.ellipsoid.semi_minor_metre!r}"]
    )
    corners = np.array([(east, north) for east in (x[0], x[-1]) for north in (y[0], y[-1])]).T
    try:
        same = np.allclose(
            pyproj.Proj(short)(*corners, inverse=True),
            pyproj.Proj(crs)(*corners, inverse=True),
            rtol=0,
            atol=1e-9,
        )
    except (pyproj.exceptions.CRSError, pyproj.exceptions.ProjError):
        same = False
    return short if same else crs.to_wkt()


def _centres(source: Source, coordinate: Variable, crs: pyproj.CRS) -> np.ndarray:
    """Cell centres in metres or degrees, as they are ordered in the file."""
    values, units = coordinate.all().astype(np.float64), coordinate.text("units")
    values = values * _number(coordinate, "scale_factor", 1.0) + _number(
        coordinate, "add_offset", 0.0
    )
    named = not units and coordinate.name.lower() in _NAMES["x"][1:] + _NAMES["y"][1:]
    factor = (
        (1.0 if named or cf_units.is_degrees(units) else None)
        if crs.is_geographic
        else cf_units.metres(units)
    )
    if factor is None:
        needed = "degrees" if crs.is_geographic else "m or km"
        raise UserError(
            f"{source.path}: the coordinate {coordinate.name} has the units {units!r}; {needed} "
            "are needed for its projection."
        )
    if not values.size or not np.isfinite(values).all():
        count = np.isfinite(values).sum()
        raise UserError(
            f"{source.path}: the coordinate {coordinate.name} has {count} numbers for its length "
            f"of {values.size}; expected one for each, and at least one."
        )
    return _even(coordinate, values) * factor


def _even(coordinate: Variable, values: np.ndarray) -> np.ndarray:
    """Evenly spaced coordinates, where 32 bits alone made them uneven: these tell places beyond 256
    degrees apart by 0.00003 only.
    """
    if coordinate.dtype.str[1:] != "f4":
        return values
    even = np.linspace(values[0], values[-1], values.size)
    step = np.spacing(np.abs(coordinate.all()).max().astype(np.float64), dtype=np.float32)
    return even if (np.abs(values - even) <= 2 * step).all() else values


# time


def _times(source: Source, field: Variable) -> tuple[np.ndarray, np.ndarray | None, int | None]:
    """(UTC times (T,), ends of intervals where there are bounds; minutes (T,) where there are
    bounds; the field's axis of time).
    """
    axis, coordinate = _time_coordinate(source, field)
    bounds = source.variables.get(coordinate.text("bounds"))
    if bounds is None:
        return _decoded(source, coordinate, coordinate).reshape(-1), None, axis
    if bounds.shape != (*coordinate.shape, 2):
        raise UserError(
            f"{source.path}: {bounds.name} has the shape {bounds.shape}; bounds of "
            f"{coordinate.name} are two for each time."
        )
    start, end = _decoded(source, bounds, coordinate).reshape(-1, 2).T
    if (end < start).any():
        first = int(np.argmax(end < start))
        raise UserError(
            f"{source.path}: an interval in {bounds.name} runs from {start[first]} to "
            f"{end[first]} UTC; expected one that does not end before it starts."
        )
    return end, (end - start) / np.timedelta64(60, "s"), axis


def _time_coordinate(source: Source, field: Variable) -> tuple[int | None, Variable]:
    """(the field's axis of time, None if the field has a single one; its coordinate)."""
    named = source.find(field.text("coordinates"))
    for axis, dim in enumerate(field.dims):
        for one in [*source.find([dim]), *named]:
            if one.dims == (dim,) and _is_time(one):
                _refuse_other_length(field, axis, one)
                return axis, one
    for one in [*named, *source.variables.values()]:
        if math.prod(one.shape) == 1 and len(one.shape) <= 1 and _is_time(one):
            return None, one
    raise UserError(
        f"{source.path}: {field.name} has no time: no coordinate with the standard name time and "
        "units such as 'minutes since 2020-01-01 00:00'."
    )


def _is_time(variable: Variable) -> bool:
    named = variable.text("standard_name") == "time" or (
        not variable.text("standard_name") and variable.name.lower() in ("time", "valid_time")
    )
    return (named or variable.text("axis") == "T") and " since " in variable.text("units").lower()


def _decoded(source: Source, values: Variable, coordinate: Variable) -> np.ndarray:
    """UTC times of a time coordinate or its bounds, which have the coordinate's units."""
    where = f"{source.path}: {values.name}"
    numbers = values.all()
    if values.text("units"):
        coordinate = values
    if any(name in coordinate.attributes for name in ("scale_factor", "add_offset")):
        numbers = numbers * _number(coordinate, "scale_factor", 1.0) + _number(
            coordinate, "add_offset", 0.0
        )
    for mark in _marks(source, values):
        if equals(numbers, mark).any():
            raise UserError(
                f"{where} has a time that is missing ({mark:g}); expected a number for each."
            )
    return cf_units.times(
        numbers, coordinate.text("units"), coordinate.text("calendar") or "standard", where
    )


def _interval(
    path: Path, field: Variable, stated: np.ndarray | None, minutes: float | None
) -> float:
    """Minutes of a rain depth, by bounds or by the setting."""
    if stated is None or not stated.size:
        if minutes is None:
            raise UserError(
                f"{path}: {field.name} is a rain depth, but nothing says over how long (its time "
                "has no bounds); set reader.minutes."
            )
        return minutes
    lengths = np.unique([interval_minutes(length) for length in stated.tolist()])
    if lengths.size > 1 or lengths[0] <= 0 or minutes not in (None, lengths[0]):
        wanted = "one length above 0" if minutes is None else f"{minutes:g} (reader.minutes)"
        raise UserError(
            f"{path}: its time bounds are {', '.join(f'{one:g}' for one in lengths[:5])} minutes "
            f"apart; {wanted} is needed."
        )
    return float(lengths[0])


# values


def _place(field: Variable, axes: _Layout, others: tuple[int | None, ...]) -> list:
    """An index of the field that takes a whole map and the only one of what else there is; the axes
    of the others are filled in later.
    """
    index = []
    for axis, (dim, length) in enumerate(zip(field.dims, field.shape)):
        if axis not in (*axes[:2], *others) and length != 1:
            raise UserError(
                f"{field.path}: {field.name} has {length} fields along {dim} for each time; a "
                "single one is needed."
            )
        index.append(slice(None) if axis in axes[:2] else 0)
    return index


def _oriented(raw: np.ndarray, axes: _Layout) -> np.ndarray:
    """A map as it is stored, with row 0 north and column 0 west."""
    raw = np.asarray(raw) if axes.y_axis < axes.x_axis else np.asarray(raw).T
    if axes.columns is not None:
        raw = raw[:, axes.columns]
    return raw[:: -1 if axes.y_turned else 1, :: -1 if axes.x_turned else 1]


def _rain_rate(source: Source, field: Variable, raw: np.ndarray, coding: Coding) -> np.ndarray:
    """Rain rate [mm/h] of stored values, (H, W) float32; NaN = not observed."""
    raw = raw.view(_stored(field))
    missing, dry = np.isnan(raw), np.zeros(raw.shape, bool)
    for mark in _marks(source, field):
        missing |= equals(raw, mark)
    for mark, is_dry in _flags(field):
        (dry if is_dry else missing)[equals(raw, mark)] = True
    packed = "scale_factor" in field.attributes or "add_offset" in field.attributes
    values = raw * _number(field, "scale_factor", 1.0) + _number(field, "add_offset", 0.0)
    for name, place, outside in (("valid_min", 0, np.less), ("valid_max", -1, np.greater)):
        limit = _limit(field, name, place)
        if limit is not None:
            unpacked = (
                packed and raw.dtype.kind in "iu" and isinstance(limit, float)
            )  # as NUG says: the type tells what it is compared with
            with np.errstate(invalid="ignore"):
                missing |= outside(values if unpacked else raw, limit)
    values[missing | dry] = np.nan
    if packed and coding.quantity != "reflectivity":
        rounded = values >= -_offset_rounding(field)
        values[(values < 0) & (rounded | (values * coding.gain > -_PACKING_NOISE))] = 0.0
    rates = coding.rain_rate(values, field.path)
    rates[dry & ~missing] = 0.0
    return rates


def _offset_rounding(field: Variable) -> float:
    """How far below 0 a stored 0 may come out where the offset is a number of 32 bits, in the
    field's unit.
    """
    offset = abs(_number(field, "add_offset", 0.0))
    return float(np.spacing(np.float32(offset))) if 0 < offset < 1e6 else 0.0


def _holes(source: Source, field: Variable) -> bool:
    """Whether what was never written reads as missing, so that it may be read."""
    if field.fill is None:
        return False
    return bool(
        np.isnan(field.fill)
        or any(
            equals(np.asarray([field.fill], field.dtype).view(_stored(field)), mark).any()
            for mark in _marks(source, field)
        )
    )


def _stored(variable: Variable) -> np.dtype:
    """The type the stored numbers are meant to have: NetCDF-3 knows unsigned ones by an attribute
    only.
    """
    if (
        str(variable.attributes.get("_Unsigned", "")).lower() == "true"
        and variable.dtype.kind == "i"
    ):
        return np.dtype(variable.dtype.str.replace("i", "u"))
    return variable.dtype


def _marks(source: Source, variable: Variable) -> list[int | float]:
    """Stored numbers that mean missing."""
    marks = [mark for name in ("_FillValue", "missing_value") for mark in _numbers(variable, name)]
    whole = variable.dtype.kind in "iu"
    if variable.dtype.str[1:] in _DEFAULT_FILLS and not (
        whole and ("_FillValue" in variable.attributes or not source.default_fills)
    ):
        marks.append(_unsigned(variable, _DEFAULT_FILLS[variable.dtype.str[1:]]))
    return marks


def _flags(field: Variable) -> list[tuple[int | float, bool]]:
    """(stored number, whether it means dry; else it means missing) of a field's flags."""
    values, meanings = _numbers(field, "flag_values"), field.text("flag_meanings").split()
    if len(values) != len(meanings):
        raise UserError(
            f"{field.path}: {field.name} has {len(values)} flag_values, but {len(meanings)} "
            "flag_meanings; the file contradicts itself."
        )
    return [
        (value, _DRY_FLAG.fullmatch(meaning) is not None)
        for value, meaning in zip(values, meanings)
    ]


def _limit(field: Variable, name: str, place: int) -> int | float | None:
    """An end of the valid range."""
    found, both = _numbers(field, name), _numbers(field, "valid_range")
    for attribute, numbers, counts in ((name, found, (0, 1)), ("valid_range", both, (0, 2))):
        if len(numbers) not in counts:
            raise UserError(
                f"{field.path}: {field.name} has {len(numbers)} numbers in {attribute}; expected "
                f"{counts[1]}."
            )
    return found[0] if found else both[place] if both else None


def _numbers(variable: Variable, attribute: str) -> list[int | float]:
    """An attribute's numbers, whole ones of the stored values' sign."""
    try:
        values = np.ravel(variable.attributes.get(attribute, ())).tolist()
        numbers = [float(value) if isinstance(value, str) else value for value in values]
    except ValueError:
        raise UserError(
            f"{variable.path}: {variable.name} has {attribute} "
            f"{variable.attributes[attribute]!r}; a number is needed."
        ) from None
    return [_unsigned(variable, number) for number in numbers]


def _number(variable: Variable, attribute: str, default: float) -> float:
    """A finite number, or the default where there is none."""
    numbers = _numbers(variable, attribute) or [default]
    if (
        len(numbers) > 1
        or not math.isfinite(numbers[0])
        or (attribute == "scale_factor" and numbers[0] == 0)
    ):
        raise UserError(
            f"{variable.path}: {variable.name} has {attribute} "
            f"{variable.attributes[attribute]!r}; one number is needed, a scale_factor not 0."
        )
    return float(numbers[0])


def _unsigned(variable: Variable, number: int | float) -> int | float:
    stored = _stored(variable)
    return (
        number + 2 ** (8 * stored.itemsize)
        if stored != variable.dtype and isinstance(number, int) and number < 0
        else number
    )
