"""Small CF data sets for tests, written by the NetCDF library itself."""

import warnings
from pathlib import Path

import numpy as np

LAEA_MAPPING = {
    "grid_mapping_name": "lambert_azimuthal_equal_area", "longitude_of_projection_origin": 10.0, "latitude_of_projection_origin": 55.0,
    "false_easting": 1950000.0, "false_northing": -2100000.0, "semi_major_axis": 6378137.0, "inverse_flattening": 298.257223563,
}  # fmt: skip
RATE = {"standard_name": "rainfall_rate", "units": "mm h-1", "grid_mapping": "crs"}
TIME = {"standard_name": "time", "units": "minutes since 2020-06-01 00:00:00"}
_X = {"standard_name": "projection_x_coordinate", "units": "m"}
_Y = {"standard_name": "projection_y_coordinate", "units": "m"}


def changed(attributes: dict, changes: dict) -> dict:
    """Attributes with changes; None leaves one out."""
    return {name: value for name, value in {**attributes, **changes}.items() if value is not None}


def write_cf(
    path: Path, raw, *, kind: str = "NETCDF4", dims: tuple = ("time", "y", "x"), field: dict | None = None, minutes=None, time: dict | None = None,
    x=None, y=None, x_is: dict | None = None, y_is: dict | None = None, mapping: dict | None = LAEA_MAPPING, name: str = "rain", storage: dict | None = None, more=None,
) -> Path:  # fmt: skip
    """A file of rain rates [mm/h] of 2020-06-01 on 1 km cells, (T, H, W) or as ``dims`` say.

    Args:
        path: the file.
        raw: stored values.
        kind: NetCDF's name of the variant.
        dims: of the field.
        field: changes of the field's attributes (None leaves one out); likewise time, x_is, y_is.
        minutes: times; None: 0, 5, ...
        time: see field.
        x: coordinates of columns; y: of rows, from north.
        y: see x.
        x_is: see field.
        y_is: see field.
        mapping: attributes of the grid mapping; None: there is none.
        name: of the field.
        storage: how the field is stored, for the library.
        more: called with the open file.
    """
    import netCDF4

    raw = np.asarray(raw)
    sides = dict(zip(dims, raw.shape, strict=True))
    x = 500.0 + 1000.0 * np.arange(sides["x"]) if x is None else np.asarray(x)
    y = -500.0 - 1000.0 * np.arange(sides["y"]) if y is None else np.asarray(y)
    minutes = (
        5 * np.arange(sides.get("time", 1), dtype="i4") if minutes is None else np.asarray(minutes)
    )
    with netCDF4.Dataset(path, "w", format=kind) as file:
        file.Conventions = "CF-1.8"
        for dim, length in sides.items():
            file.createDimension(dim, length)
        variables = [("x", x, ("x",), changed(_X, x_is or {})), ("y", y, ("y",), changed(_Y, y_is or {})),
                     ("time", minutes, ("time",) if "time" in sides else (), changed(TIME, time or {}))]  # fmt: skip
        for variable, values, on, attributes in variables:
            created = file.createVariable(variable, values.dtype, on)
            created[...] = values if on else np.ravel(values)[0]
            created.setncatts(attributes)
        if mapping is not None:
            file.createVariable("crs", "i4").setncatts(mapping)
        attributes = changed(
            RATE if mapping is not None else {**RATE, "grid_mapping": None}, field or {}
        )
        fill = attributes.pop("_FillValue", None)
        rain = file.createVariable(name, raw.dtype, dims, fill_value=fill, **(storage or {}))
        rain.set_auto_maskandscale(False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rain[...] = raw
        rain.setncatts(attributes)
        if more:
            more(file)
    return path


def add_bounds(file, minutes) -> None:
    """Bounds of the times, (T, 2) in their units."""
    minutes = np.asarray(minutes)
    file.createDimension("nv", 2)
    file.createVariable("time_bnds", minutes.dtype, (*file["time"].dimensions, "nv"))[...] = minutes
    file["time"].bounds = "time_bnds"
