"""Projections as radar files give them, brought to metres."""

import math
import re
import warnings
from pathlib import Path

import numpy as np
import pyproj

from nowcast.runtime.errors import UserError

_LENGTHS = ("a", "b", "R", "x_0", "y_0")
_MEANINGFUL = {  # what PROJ reads of a map without opening further files, such as datum grids
    *("proj", "type", "no_defs", "wktext", "over", "axis", "units", "to_meter", "pm", "lon_wrap"),
    *("lat_0", "lon_0", "lat_1", "lat_2", "lat_3", "lat_b", "lat_t", "lat_ts", "lon_1", "lon_2"),
    *("lon_3", "lonc", "o_proj", "o_lat_p", "o_lon_p", "o_alpha", "o_lat_c", "o_lon_c", "o_lat_1"),
    *("o_lon_1", "o_lat_2", "o_lon_2", "x_0", "y_0", "k", "k_0", "h", "alpha", "gamma", "zone"),
    *("south", "no_off", "no_uoff", "no_rot", "approx", "sweep", "tilt", "azi", "theta", "m", "n"),
    *("q", "W", "M", "sym", "czech", "guam", "ns", "lsat", "path", "north_square", "south_square"),
    *("a", "b", "R", "f", "rf", "e", "es", "ellps", "datum", "towgs84"),
    *("R_A", "R_V", "R_C", "R_a", "R_g", "R_h", "R_lat_a", "R_lat_g"),
}
_OPENS_FILES = ("init", "nadgrids")
_NO_SHIFT = "@null"  # of +nadgrids: nothing moves between datums, as without it
_LONGITUDES = ("longlat", "latlong", "lonlat", "latlon")
_EPSG = re.compile(
    r"(?:\+?init=)?epsg:(\d{4,6})(?:\s+\+(?:no_defs|wktext|type=crs|nadgrids=@null))*",
    re.ASCII | re.IGNORECASE,
)
_WKT = re.compile(r"\s*(?:PROJ|GEOG|GEOD|BOUND|COMPD|COMPOUND)[A-Z]*\s*\[", re.IGNORECASE)
_LONGEST_WKT = 20_000
_SMALLEST_RADIUS_IN_METRES = 10_000.0


def projection_in_metres(definition: str, path: str | Path) -> str:
    """A PROJ string (or EPSG code) whose coordinates are metres (degrees for longitudes and
    latitudes).

    An earth radius below 10,000 can only be in kilometres; all lengths are then multiplied by 1000.
    Parameters that PROJ knows nothing of are left out, as PROJ does.

    Raises:
        UserError: not a PROJ string, or one with parameters that read further files (datum grids,
            init files).
    """
    if code := _EPSG.fullmatch(definition.strip()):
        return _known_code(f"EPSG:{code[1]}", path)
    settings = _parameters(definition)
    opening = [repr(name) for name in _OPENS_FILES if name in settings]
    if opening or "proj" not in settings:
        reason = f"has {', '.join(opening)}" if opening else "has no +proj"
        raise UserError(
            f"{path}: the projection {definition!r} {reason}; a PROJ string such as '+proj=laea "
            "+lat_0=55 +lon_0=10' is needed."
        )
    try:
        if float(settings.get("a", settings.get("R", "inf"))) < _SMALLEST_RADIUS_IN_METRES:
            for name in settings.keys() & set(_LENGTHS):
                settings[name] = f"{1000 * float(settings[name]):.12g}"
    except ValueError:
        raise UserError(
            f"{path}: the projection {definition!r} has a length that is not a number."
        ) from None
    if settings["proj"] not in _LONGITUDES:
        settings.pop("to_meter", None)
        settings["units"] = "m"
    return " ".join(f"+{name}={value}" if value else f"+{name}" for name, value in settings.items())


def without_wkt(definition: str, path: str | Path) -> str:
    """A projection as PROJ string, if it is well-known text (WKT), else as it is.

    Raises:
        UserError: a well-known text that PROJ does not understand, or has no string for.
    """
    if not _WKT.match(definition):
        return definition
    text = ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of names that are lost
        try:
            crs = pyproj.CRS.from_wkt(definition[:_LONGEST_WKT])
            text = crs.to_proj4()
        except pyproj.exceptions.CRSError:
            crs = None
    if crs is None or "+proj" not in text:
        raise UserError(
            f"{path}: the well-known text {definition[:60]!r}... is no projection that PROJ knows; "
            "a PROJ string such as '+proj=laea +lat_0=55 +lon_0=10' is needed."
        )
    words = text.split()
    axes = ("+a=", "+b=", "+R=", "+rf=")
    if crs.ellipsoid is not None and any(word.startswith(axes) for word in words):
        # in full digits, which PROJ rounds
        words = [word for word in words if not word.startswith(axes)]
        earth = crs.ellipsoid
        words += [f"+a={earth.semi_major_metre!r}", f"+b={earth.semi_minor_metre!r}"]
    return " ".join(words)


def unit_of(definition: str) -> float | None:
    """How many metres the unit has that a PROJ string counts its coordinates in; 1 where it states
    none, as for PROJ, None for degrees and for codes.
    """
    settings = _parameters(definition)
    if settings.get("proj") in (None, *_LONGITUDES):
        return None
    try:
        if float(settings.get("a", settings.get("R", "inf"))) < _SMALLEST_RADIUS_IN_METRES:
            return 1000.0
        if "to_meter" in settings:
            return float(settings["to_meter"])
    except ValueError:  # it is refused by `projection_in_metres`
        return None
    unit = settings.get("units", "m")
    known = pyproj.get_units_map(category="linear")
    by_name = {one.proj_short_name: one.conv_factor for one in known.values()}
    return by_name.get(unit)


def _parameters(definition: str) -> dict[str, str]:
    """The parameters of a PROJ string that mean something, or open files; of one that comes twice
    the first counts, as for PROJ.
    """
    settings: dict[str, str] = {}
    for token in re.sub(r"\s*=\s*", "=", definition).split():
        name, _, value = token.lstrip("+").partition("=")
        is_nothing = (name, value) == ("nadgrids", _NO_SHIFT)
        if not is_nothing and name in _MEANINGFUL.union(_OPENS_FILES):
            settings.setdefault(name, value)
    return settings


def _known_code(code: str, path: str | Path) -> str:
    """The code itself, if its coordinates are metres or degrees."""
    try:
        units = {axis.unit_name for axis in pyproj.CRS(code).axis_info}
    except pyproj.exceptions.CRSError:
        units = {"nothing, it is unknown"}
    if units not in ({"metre"}, {"degree"}):
        raise UserError(
            f"{path}: the projection {code} counts in {' and '.join(sorted(units))}; metres or "
            "degrees are needed."
        )
    return code


def project(
    projection: str, longitude: float, latitude: float, *, path: str | Path
) -> tuple[float, float]:
    """Map coordinates (x, y) of a longitude and latitude [degrees] on the projection's own earth.

    Raises:
        UserError: PROJ does not know the projection, or it has no such point.
    """
    try:
        x, y = pyproj.Proj(projection)(longitude, latitude)
    except pyproj.exceptions.ProjError:
        x = y = math.inf
    if not np.isfinite([x, y]).all():
        raise UserError(
            f"{path}: longitude {longitude:g}, latitude {latitude:g} cannot be projected with "
            f"{projection!r}."
        )
    return x, y
