"""Forecasts as CF-1.11 NetCDF-4 files that any geoscience tool can open."""

import io
import os
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyproj

import nowcast
from nowcast.errors import UserError
from nowcast.files import replacing
from nowcast.frames import Forecast, Grid

# NetCDF's own fill value for floats: no rain rate can be mistaken for it, and programs that do not look at the attribute
# (or compare with ==, which never finds NaN) know it too. 0 is a dry pixel.
FILL_VALUE = np.float32(9.969209968386869e36)
_TIME_UNITS = "seconds since 1970-01-01"
_RAINFALL_RATE = {"standard_name": "rainfall_rate", "long_name": "rain rate", "units": "mm h-1", "grid_mapping": "crs",
                  "coordinates": "forecast_reference_time forecast_period"}
_SHUFFLED_AND_DEFLATED = {"compression": "gzip", "shuffle": True}  # what the chunks say they are; ``_chunk`` makes them
_RESERVED = ("Conventions", "history")


def write_forecast(forecast: Forecast, path: str | Path, *, attributes: dict[str, str]) -> None:
    """Write a forecast with its times, projection and origin.

    Args:
        forecast: T fields of rain rate [mm/h], NaN where there is no forecast.
        path: the file to write; it appears complete or not at all.
        attributes: global attributes, e.g. ``{"source": "ConvLSTM, weights sha256 ..."}``.

    Raises:
        UserError: an attribute that is written here anyway, or a path that cannot be written.
    """
    reserved = [name for name in _RESERVED if name in attributes]
    if reserved:
        raise UserError(f"the attribute {reserved[0]!r} is written by nowcast itself; give it another name, e.g. 'comment'.")
    attributes = {
        "Conventions": "CF-1.11",
        "title": f"Rain rate forecast from {forecast.analysis_time} UTC",
        **attributes,
        "history": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} written by nowcast {nowcast.__version__}",
    }
    file = io.BytesIO()  # smaller than the forecast itself; on a full disk HDF5 can crash, while writing bytes raises
    _write_all_but_rates(forecast, file, attributes)
    _write_rates(forecast.values, file)
    with replacing(path) as temporary:
        temporary.write_bytes(file.getbuffer())


def _write_all_but_rates(forecast: Forecast, to: io.BytesIO, attributes: dict[str, str]) -> None:
    """The file with its attributes, coordinates and an empty variable for the rain rates."""
    import h5netcdf

    with h5netcdf.File(to, "w") as file:
        file.attrs.update(attributes)
        file.dimensions = dict(zip(("time", "y", "x"), forecast.values.shape))
        for name, dimensions, values, described in _small_variables(forecast):
            file.create_variable(name, dimensions, values.dtype, data=values).attrs.update(described)
        rate = file.create_variable("rainfall_rate", ("time", "y", "x"), "<f4", fillvalue=FILL_VALUE, chunks=(1, *forecast.grid.shape), **_SHUFFLED_AND_DEFLATED)
        rate.attrs.update(_RAINFALL_RATE)


def _write_rates(values: np.ndarray, to: io.BytesIO) -> None:
    """Rain rates (T, H, W) into the file that was made for them, one chunk a field; zlib lets several be packed at the same time."""
    import h5py

    with h5py.File(to, "r+") as file, ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        chunks = file["rainfall_rate"].id
        for index, packed in enumerate(pool.map(_chunk, values)):
            chunks.write_direct_chunk((index, 0, 0), packed)


def _chunk(values: np.ndarray) -> bytes:
    """A field as HDF5's filters shuffle and deflate would store it: byte planes, deflated.

    Deflate searches for runs only (Z_RLE): in byte planes of rain rates longer matches are rare. Twice as fast as HDF5's own level 1.
    """
    filled = np.ascontiguousarray(np.where(np.isnan(values), FILL_VALUE, values), dtype="<f4")
    planes = np.ascontiguousarray(filled.reshape(-1, 1).view(np.uint8).T)
    deflate = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, 9, zlib.Z_RLE)
    return deflate.compress(planes) + deflate.flush()


def read_forecast(path: str | Path) -> Forecast:
    """Read a forecast that ``write_forecast`` wrote.

    Raises:
        UserError: the file is missing, damaged, or no forecast of rain rates in mm/h.
    """
    import xarray

    try:
        with xarray.open_dataset(path, engine="h5netcdf", decode_timedelta=False) as dataset:
            rate, crs = dataset["rainfall_rate"], dataset["crs"].attrs
            if rate.attrs.get("units") != "mm h-1" or rate.dims != ("time", "y", "x"):
                raise UserError(f"{path} holds rainfall_rate({', '.join(rate.dims)}) in {rate.attrs.get('units')!r}; "
                                "rainfall_rate(time, y, x) in 'mm h-1' is needed.")
            grid = Grid(crs.get("crs_input", crs["crs_wkt"]), dataset["x"].values, dataset["y"].values)
            lead_times = dataset["forecast_period"].values.astype("timedelta64[s]")
            return Forecast(rate.values, dataset["forecast_reference_time"].values.astype("datetime64[s]"), lead_times, grid)
    except KeyError as error:
        raise UserError(f"{path} is no forecast of nowcast: {error.args[0]} is missing in it.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read as NetCDF-4: {error}.") from None


def _small_variables(forecast: Forecast) -> list[tuple[str, tuple[str, ...], np.ndarray, dict]]:
    """Coordinates and grid mapping: name, dimensions, values, CF attributes."""
    crs = pyproj.CRS.from_user_input(forecast.grid.crs)
    x_attributes, y_attributes = _axis_attributes(crs)
    clock = {"units": _TIME_UNITS, "calendar": "standard"}
    return [
        ("time", ("time",), forecast.valid_times.astype(np.int64), {"standard_name": "time", "long_name": "valid time (UTC)", "axis": "T", **clock}),
        ("y", ("y",), forecast.grid.y, y_attributes),
        ("x", ("x",), forecast.grid.x, x_attributes),
        ("forecast_reference_time", (), forecast.analysis_time.astype(np.int64),
         {"standard_name": "forecast_reference_time", "long_name": "time of the last observed frame (UTC)", **clock}),
        ("forecast_period", ("time",), forecast.lead_times.astype(np.int32), {"standard_name": "forecast_period", "long_name": "lead time", "units": "s"}),
        ("crs", (), np.int32(0), _grid_mapping(crs) | {"crs_input": forecast.grid.crs}),
    ]


def _axis_attributes(crs: pyproj.CRS) -> tuple[dict, dict]:
    """CF attributes of the x and y coordinates."""
    if crs.is_geographic and crs.is_derived:  # a rotated pole
        return tuple({"standard_name": f"grid_{name}", "long_name": f"{name} in rotated pole grid", "units": "degrees", "axis": axis}
                     for name, axis in (("longitude", "X"), ("latitude", "Y")))
    if crs.is_geographic:
        return ({"standard_name": "longitude", "long_name": "longitude", "units": "degrees_east", "axis": "X"},
                {"standard_name": "latitude", "long_name": "latitude", "units": "degrees_north", "axis": "Y"})
    factor = crs.axis_info[0].unit_conversion_factor
    units = {1.0: "m", 1000.0: "km"}.get(factor, f"{factor!r} m")
    return tuple({"standard_name": f"projection_{axis}_coordinate", "long_name": f"{axis} coordinate of projection",
                  "units": units, "axis": axis.upper()} for axis in "xy")


def _grid_mapping(crs: pyproj.CRS) -> dict:
    """CF attributes of the grid mapping; for a projection CF has no name for, its WKT alone."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # what the CF parameters cannot say, crs_wkt says
            attributes = crs.to_cf()
    except KeyError:
        return {"crs_wkt": crs.to_wkt()}
    if attributes.get("grid_mapping_name") == "polar_stereographic":
        # CF demands it; PROJ leaves it out where a standard parallel is given.
        attributes.setdefault("latitude_of_projection_origin", float(np.copysign(90, attributes.get("standard_parallel", 90))))
    return {name: np.array(value) if isinstance(value, tuple) else value for name, value in attributes.items()}
