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
        return tuple(
            {
                "standard_name": f"grid_{name}",
                "long_name": f"{name} in rotated pole grid",
                "units": "degrees",
                "axis": axis,
            }
            for name, axis in (("longitude", "X"), ("latitude", "Y"))
        )
    if crs.is_geographic:
        return LAT_LON["longitude"] | {"axis": "X"}, LAT_LON["latitude"] | {"axis": "Y"}
    factor = crs.axis_info[0].unit_conversion_factor
    units = {1.0: "m", 1000.0: "km"}.get(factor, f"{factor!r} m")
    return tuple(
        {
            "standard_name": f"projection_{axis}_coordinate",
            "long_name": f"{axis} coordinate of projection",
            "units": units,
            "axis": axis.upper(),
        }
        for axis in "xy"
    )


def grid_mapping(crs: pyproj.CRS) -> dict:
    """CF attributes of the grid mapping; for a projection CF has no name for, its WKT alone."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", UserWarning
            )  # what the CF parameters cannot say, crs_wkt says
            if is_rotated(crs) and "+o_lon_p" not in crs.to_proj4():
                crs = pyproj.CRS.from_user_input(
                    f"{crs.to_proj4()} +o_lon_p=0"
                )  # its default; CF wants it said
            attributes = crs.to_cf()
    except KeyError:
        return {"crs_wkt": crs.to_wkt()}
    if attributes.get("grid_mapping_name") == "polar_stereographic":
        # CF demands it; PROJ leaves it out where a standard parallel is given.
        attributes.setdefault(
            "latitude_of_projection_origin",
            float(np.copysign(90, attributes.get("standard_parallel", 90))),
        )
    return {
        name: np.array(value) if isinstance(value, tuple) else value
        for name, value in attributes.items()
    }
