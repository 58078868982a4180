"""The projection that a grid mapping describes, by WKT, by CF parameters or by a PROJ string."""

import math
import re
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyproj

from nowcast.readers.cf.source import Source, Variable
from nowcast.readers.cf.told import Lacking
from nowcast.readers.projection import projection_in_metres, unit_of
from nowcast.runtime.errors import UserError, first_line

_PROJ_STRINGS = (
    *("proj4", "proj4_params", "proj4_string", "proj4text", "proj_params", "proj_string"),
    *("projection", "projdef", "proj", "proj4_definition"),
)
_GLOBAL_NAMES = {re.sub("[^a-z0-9]", "", name) for name in _PROJ_STRINGS} | {
    *("crs", "crswkt", "spatialref", "srs", "epsg", "epsgcode", "projparams", "proj4str"),
    *("mapprojection", "gridprojection", "projstr", "projectionstring", "projectiondef"),
}
_IS_PROJECTION = re.compile(r"\+proj=|^\s*epsg:\d|^\s*\w+\[", re.IGNORECASE)
_EARTH = (  # what says of which earth a grid mapping is
    *("semi_major_axis", "semi_minor_axis", "inverse_flattening", "earth_radius", "crs_wkt"),
    *("reference_ellipsoid_name", "horizontal_datum_name", "geographic_crs_name", "spatial_ref"),
)
_PROJ_NAMES = {  # what PROJ calls a projection that CF has a name for
    "albers_conical_equal_area": ("aea",),
    "azimuthal_equidistant": ("aeqd",),
    "geostationary": ("geos",),
    "lambert_azimuthal_equal_area": ("laea",),
    "lambert_conformal_conic": ("lcc",),
    "lambert_cylindrical_equal_area": ("cea",),
    "latitude_longitude": ("longlat", "latlong", "lonlat", "latlon"),
    "mercator": ("merc",),
    "oblique_mercator": ("omerc",),
    "orthographic": ("ortho",),
    "polar_stereographic": ("stere", "ups"),
    "stereographic": ("stere", "sterea"),
    "transverse_mercator": ("tmerc", "utm", "etmerc"),
}
# what pyproj raises on parameters of any kind
_NOT_UNDERSTOOD = (LookupError, ValueError, TypeError, AttributeError, OverflowError)
_SMALLEST_EARTH = 1e6  # metres; the radius of a smaller one was given in kilometres


class Projection(NamedTuple):
    """A projection as a data set states it, or as it was said.

    Args:
        crs: in metres or degrees.
        unit: metres of the unit its coordinates count in, where it is stated; None: it is not.
        remarks: how it was found, where that is unusual.
    """

    crs: pyproj.CRS
    unit: float | None
    remarks: tuple[str, ...] = ()


def projection_of(source: Source, field: Variable, *, is_geographic: bool) -> Projection:
    """The projection of a field's coordinates: what was said of it, else its grid mapping, else
    the only one of the data set, or a PROJ string among its global attributes.

    Args:
        source: the data set.
        field: its variable with the rain.
        is_geographic: whether the coordinates are longitudes and latitudes, which need none.

    Raises:
        UserError: there is none, or it is not understood.
    """
    if source.told.crs is not None:
        return _understood(_of_text, str(source.told.crs), "reader.crs", source.path)
    mapping = _mapping(source, field)
    if mapping is None and is_geographic:
        return Projection(pyproj.CRS("EPSG:4326"), None)
    if mapping is not None:
        return _of_mapping(source, mapping)
    alone = [one for one in source.variables.values() if _is_mapping(one)]
    if len(alone) == 1:
        found = _of_mapping(source, alone[0])
        remark = f"{field.name} names no grid mapping: {alone[0].name}, the only one, was taken"
        return found._replace(remarks=(remark, *found.remarks))
    name = _global_projection(source.attributes)
    if name is not None:
        where, text = f"the global attribute {name}", source.attributes[name]
        found = _understood(_of_text, text, where, source.path)
        return found._replace(remarks=(f"its projection is {where}",))
    raise Lacking(
        f"{source.path}: {field.name} has no grid_mapping, so where its pixels lie is not known; "
        f"{source.told.setting('crs')} to its projection.",
        ("crs",),
    )


def _understood(read, what, where: str, path: Path) -> Projection:
    """A projection in metres or degrees, of an earth in metres."""
    where = f"{path}: {where}"
    try:
        crs, unit = read(what, path)
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
    return Projection(crs, unit)


def _of_text(text: str, path: Path) -> tuple[pyproj.CRS, float | None]:
    """(coordinate system, metres of its unit) of a PROJ string, an EPSG code or WKT."""
    text = text.strip()
    if text.isdecimal():
        text = f"EPSG:{text}"
    if "[" in text:
        return _of_wkt(text)
    crs = pyproj.CRS(projection_in_metres(text, path))
    if "+proj" in text:
        return crs, unit_of(text)
    return crs, 1.0 if crs.is_projected else None


def _of_wkt(text: str) -> tuple[pyproj.CRS, float | None]:
    crs = pyproj.CRS.from_wkt(text)
    return crs, crs.axis_info[0].unit_conversion_factor if crs.is_projected else None


def _of_mapping(source: Source, mapping: Variable) -> Projection:
    """The projection of a grid mapping; one without an earth has that of a PROJ string that stands
    with it, or among the global attributes.
    """
    remarks = ()
    if mapping.text("grid_mapping_name") and not _has_earth(mapping):
        where, text = _proj_string_beside(source, mapping)
        if text:
            remarks = (f"its grid mapping states no earth: that of {where} was taken",)
            found = _understood(_of_text, text, where, source.path)
            return found._replace(remarks=remarks)
        if mapping.text("grid_mapping_name") != "latitude_longitude":
            remarks = ("its grid mapping states no earth: that of WGS84 was taken",)
    where = f"the grid mapping {mapping.name}"
    return _understood(_described, mapping, where, source.path)._replace(remarks=remarks)


def _has_earth(mapping: Variable) -> bool:
    return any(mapping.attributes.get(name) is not None for name in _EARTH)


def _proj_string_beside(source: Source, mapping: Variable) -> tuple[str, str]:
    """(where it stands, a PROJ string of the same kind of projection); two "" if there is none."""
    own = [(f"{mapping.name}:{name}", mapping.text(name)) for name in _PROJ_STRINGS]
    name = _global_projection(source.attributes)
    if name is not None:
        own.append((f"the global attribute {name}", source.attributes[name]))
    for where, text in own:
        kind = re.search(r"\+proj=(\w+)", text)
        if kind and kind[1] in _PROJ_NAMES.get(mapping.text("grid_mapping_name"), ()):
            return where, text
    return "", ""


def _global_projection(attributes: dict) -> str | None:
    """The name of the global attribute that is a PROJ string, an EPSG code or WKT."""
    for name, value in attributes.items():
        plain = re.sub("[^a-z0-9]", "", name.lower())
        if plain in _GLOBAL_NAMES and isinstance(value, str) and _IS_PROJECTION.search(value):
            return name
    return None


def _is_mapping(variable: Variable) -> bool:
    """Whether a variable describes a projection."""
    names = ("grid_mapping_name", "crs_wkt", "spatial_ref", *_PROJ_STRINGS)
    return any(map(variable.text, names)) and math.prod(variable.shape) <= 1


def _mapping(source: Source, field: Variable) -> Variable | None:
    """The grid mapping; of several ("name: x y other: lat lon") the one of the field's own
    coordinates.
    """
    words = field.text("grid_mapping").split()
    if not words:
        return None
    coordinates = set(field.dims)
    for one in source.find(field.text("coordinates")):
        if len(one.dims) == 1:
            coordinates.add(one.name)
    chosen = current = words[0].rstrip(":")
    for word in words:
        if word.endswith(":"):
            current = word[:-1]
        elif word in coordinates:
            chosen = current
    if chosen not in source.variables:
        raise UserError(
            f"{source.path}: the grid mapping {chosen} of {field.name} is not in the file; it is "
            f"cut short or incomplete, or {source.told.setting('crs')} to its projection."
        )
    return source.variables[chosen]


def _described(mapping: Variable, path: Path) -> tuple[pyproj.CRS, float | None]:
    """(coordinate system, metres of its unit where that is stated) of a grid mapping."""
    # the WKT can say more than the parameters: a datum, projections that CF has no name for
    wkt = mapping.text("crs_wkt") or mapping.text("spatial_ref")
    if wkt:
        return _of_text(wkt, path) if "+proj" in wkt else _of_wkt(wkt)
    if mapping.text("grid_mapping_name"):
        parameters = []
        for name, value in mapping.attributes.items():
            plain = np.asarray(value).tolist()
            parameters.append((name, tuple(plain) if isinstance(plain, list) else plain))
        return _from_cf(tuple(parameters)), None
    stated = [text for text in map(mapping.text, _PROJ_STRINGS) if text]
    return _of_text(stated[0] if stated else "", path)


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
