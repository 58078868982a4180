"""What CF calls grids: attributes of coordinates and of grid mappings, for every file we write."""

import warnings

import numpy as np
import pyproj

LAT_LON = {
    "longitude": {"standard_name": "longitude", "long_name": "longitude", "units": "degrees_east"},
    "latitude": {"standard_name": "latitude", "long_name": "latitude", "units": "degrees_north"},
}
"""CF attributes of true longitudes and latitudes."""


def is_rotated(crs: pyproj.CRS) -> bool:
    """Whether coordinates are longitudes and latitudes around another pole."""
    return crs.is_geographic and crs.is_derived


def axis_attributes(crs: pyproj.CRS) -> tuple[dict, dict]:
    """CF attributes of the x and y coordinates."""
    if is_rotated(crs):
        return _rotated("longitude", "X"), _rotated("latitude", "Y")
    if crs.is_geographic:
        return LAT_LON["longitude"] | {"axis": "X"}, LAT_LON["latitude"] | {"axis": "Y"}
    factor = crs.axis_info[0].unit_conversion_factor
    units = {1.0: "m", 1000.0: "km"}.get(factor, f"{factor!r} m")
    return _projected("x", units), _projected("y", units)


def _rotated(name: str, axis: str) -> dict:
    found = {"standard_name": f"grid_{name}", "long_name": f"{name} in rotated pole grid"}
    return found | {"units": "degrees", "axis": axis}


def _projected(axis: str, units: str) -> dict:
    return {
        "standard_name": f"projection_{axis}_coordinate",
        "long_name": f"{axis} coordinate of projection",
        "units": units,
        "axis": axis.upper(),
    }


def grid_mapping(crs: pyproj.CRS) -> dict:
    """CF attributes of the grid mapping; for a projection CF has no name for, its WKT alone."""
    try:
        with warnings.catch_warnings():
            # what the CF parameters cannot say, crs_wkt says
            warnings.simplefilter("ignore", UserWarning)
            if is_rotated(crs) and "+o_lon_p" not in crs.to_proj4():
                # its default; CF wants it stated
                crs = pyproj.CRS.from_user_input(f"{crs.to_proj4()} +o_lon_p=0")
            attributes = crs.to_cf()
    except KeyError:
        return {"crs_wkt": crs.to_wkt()}
    if attributes.get("grid_mapping_name") == "polar_stereographic":
        # CF demands it; PROJ leaves it out where a standard parallel is given
        pole = float(np.copysign(90, attributes.get("standard_parallel", 90)))
        attributes.setdefault("latitude_of_projection_origin", pole)
    return {
        name: np.array(value) if isinstance(value, tuple) else value
        for name, value in attributes.items()
    }
