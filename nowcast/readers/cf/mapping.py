"""The projection that a grid mapping describes, by WKT, by CF parameters or by a PROJ string."""

import warnings
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyproj

from nowcast.readers.cf.source import Source, Variable
from nowcast.readers.projection import projection_in_metres
from nowcast.runtime.errors import UserError, first_line

_PROJ_STRINGS = ("proj4", "proj4_params", "proj4_string", "proj4text", "proj_params")
# what pyproj raises on parameters of any kind
_NOT_UNDERSTOOD = (LookupError, ValueError, TypeError, AttributeError, OverflowError)
_NO_DATUM = ("undefined", "unknown")
_SMALLEST_EARTH = 1e6  # metres; the radius of a smaller one was given in kilometres


def projection_of(source: Source, field: Variable, x: Variable, y: Variable) -> pyproj.CRS:
    """The projection of a field's coordinates, in metres or degrees.

    Raises:
        UserError: there is none, or it is not understood.
    """
    mapping = _mapping(source, field, {x.name, y.name})
    if mapping is None:
        is_longitude = (
            x.text("standard_name") == "longitude"
            or x.name.lower() in ("lon", "long", "longitude")
            or x.text("units").lower().startswith("degrees_e")
        )
        if is_longitude:
            return pyproj.CRS("EPSG:4326")
        raise UserError(
            f"{source.path}: {field.name} has no grid_mapping, so where its {x.name} and {y.name} "
            "lie is not known; a projection is needed."
        )
    where = f"{source.path}: the grid mapping {mapping.name}"
    try:
        crs = _described(mapping, source.path)
        if any(axis.unit_name not in ("metre", "degree") for axis in crs.axis_info[:2]):
            crs = _in_metres(crs)
        earth = crs.ellipsoid.semi_major_metre
    except UserError:
        raise
    except (pyproj.exceptions.CRSError, *_NOT_UNDERSTOOD) as error:
        raise UserError(
            f"{where} is not understood ({first_line(error)}); CF parameters, crs_wkt or a PROJ "
            "string are needed."
        ) from None
    if earth < _SMALLEST_EARTH:
        raise UserError(f"{where} has an earth radius of {earth:g} m; lengths must be in metres.")
    return crs


def _mapping(source: Source, field: Variable, coordinates: set[str]) -> Variable | None:
    """The grid mapping; of several ("name: x y other: lat lon") the one of these coordinates."""
    words = field.text("grid_mapping").split()
    if not words:
        return None
    chosen = current = words[0].rstrip(":")
    for word in words:
        if word.endswith(":"):
            current = word[:-1]
        elif word in coordinates:
            chosen = current
    if chosen not in source.variables:
        raise UserError(
            f"{source.path}: the grid mapping {chosen} of {field.name} is not in the file; it is "
            "cut short or incomplete."
        )
    return source.variables[chosen]


def _described(mapping: Variable, path: Path) -> pyproj.CRS:
    # the WKT can say more than the parameters: a datum, projections that CF has no name for
    wkt = mapping.text("crs_wkt") or mapping.text("spatial_ref")
    if wkt:
        return pyproj.CRS.from_wkt(wkt)
    if mapping.text("grid_mapping_name"):
        parameters = []
        for name, value in mapping.attributes.items():
            plain = np.asarray(value).tolist()
            parameters.append((name, tuple(plain) if isinstance(plain, list) else plain))
        return _from_cf(tuple(parameters))
    stated = [text for text in map(mapping.text, _PROJ_STRINGS) if text]
    return pyproj.CRS(projection_in_metres(stated[0] if stated else "", path))


@lru_cache(maxsize=64)
def _from_cf(parameters: tuple) -> pyproj.CRS:
    """The coordinate system of CF parameters; PROJ takes up to half a second to find it, and files
    come in hundreds.
    """
    parameters = dict(parameters)
    for name, value in parameters.items():
        if isinstance(value, tuple):
            parameters[name] = list(value)
    return pyproj.CRS.from_cf(parameters)


def _in_metres(crs: pyproj.CRS) -> pyproj.CRS:
    """The same projection with coordinates in metres (parameters such as false eastings carry their
    own units).
    """
    description = crs.to_json_dict()
    description.pop("id", None)
    for axis in description["coordinate_system"]["axis"]:
        axis["unit"] = "metre"
    return pyproj.CRS.from_json_dict(description)


def short_text(crs: pyproj.CRS, x: np.ndarray, y: np.ndarray) -> str:
    """A coordinate system as a short text that means the same: a code, or a PROJ string that puts
    the corners of the grid x (W,), y (H,) at the same place; else its WKT.
    """
    code = crs.to_json_dict().get("id")
    if code and pyproj.CRS(f"{code['authority']}:{code['code']}") == crs:
        return f"{code['authority']}:{code['code']}"
    if not crs.is_projected or crs.datum is None or crs.datum.name.lower() not in _NO_DATUM:
        return crs.to_wkt()
    earth = ("+ellps=", "+a=", "+b=", "+R=", "+rf=", "+type=")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a datum that is lost: there is none
        words = [word for word in crs.to_proj4().split() if not word.startswith(earth)]
    # by its axes in full digits: PROJ's own text rounds them, or gives a name instead
    ellipsoid = crs.ellipsoid
    words += [f"+a={ellipsoid.semi_major_metre!r}", f"+b={ellipsoid.semi_minor_metre!r}"]
    short = " ".join(words)
    corners = np.array([(east, north) for east in (x[0], x[-1]) for north in (y[0], y[-1])]).T
    try:
        places = [pyproj.Proj(one)(*corners, inverse=True) for one in (short, crs)]
    except pyproj.exceptions.ProjError:
        return crs.to_wkt()
    return short if np.allclose(*places, rtol=0, atol=1e-9) else crs.to_wkt()
