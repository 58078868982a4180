"""Forecasts as GeoTIFF, for GDAL and every geographic information system: rain rates, one band a
lead time.
"""

from pathlib import Path

import numpy as np

import nowcast
from nowcast.forecasting.products import Products
from nowcast.output.provenance import checked_attributes, gaps
from nowcast.runtime.environment import gdal
from nowcast.runtime.errors import UserError, first_line
from nowcast.runtime.files import replacing
from nowcast.runtime.library_private import gdal_errors
from nowcast.types.frames import Forecast

NODATA = -9999.0
"""Stored where there is no forecast; 0 is dry."""

_TILE = 256


def write_geotiff(
    forecast: Forecast | Products, path: str | Path, *, attributes: dict[str, str]
) -> list[Path]:
    """Write the rain rates [mm/h] of a forecast as float32 bands, the first lead time first, each
    described by the time it is valid for.

    Args:
        forecast: rain rates with NaN where there is no forecast, or products, of which only the
            rates are written.
        path: the file to write; it appears complete or not at all.
        attributes: tags of the file, e.g. of ``nowcast.output.provenance``.

    Returns:
        The file that was written.

    Raises:
        UserError: a grid without a cell size, an attribute with a bad name, a projection that
            GeoTIFF cannot hold, or a path that cannot be written.
    """
    import rasterio

    forecast = forecast.forecast if isinstance(forecast, Products) else forecast
    grid, values = forecast.grid, forecast.values
    dy, dx = grid.spacing
    if not (dx > 0 and dy > 0):
        raise UserError(
            f"{path}: a grid of {grid.shape[0]} x {grid.shape[1]} cells has no cell size, which "
            "GeoTIFF needs; 2 x 2 cells or more can be written."
        )
    tags = {
        "software": f"nowcast {nowcast.__version__}",
        **checked_attributes(gaps(forecast) | attributes),
        "analysis_time": f"{forecast.analysis_time}Z",
        "units": "mm/h",
    }
    form = {
        "driver": "GTiff",
        "count": len(values),
        "height": grid.shape[0],
        "width": grid.shape[1],
        "dtype": "float32",
        "nodata": NODATA,
        "compress": "deflate",
        "predictor": 3,
        "zlevel": 1,
        "tiled": True,
        "blockxsize": _TILE,
        "blockysize": _TILE,
        "interleave": "band",
        "bigtiff": "if_safer",
        "num_threads": "all_cpus",
    }
    try:
        # In memory, for GDAL finds out about a full disk when it closes a file, and rasterio does
        # not pass that on.
        with gdal(), rasterio.MemoryFile() as memory:
            place = {
                "crs": rasterio.crs.CRS.from_user_input(grid.crs),
                "transform": rasterio.Affine(dx, 0, grid.x[0] - dx / 2, 0, -dy, grid.y[0] + dy / 2),
            }
            with memory.open(**form, **place) as file:
                file.update_tags(**tags)
                for band, (field, time) in enumerate(zip(values, forecast.valid_times), start=1):
                    file.write(np.where(np.isnan(field), np.float32(NODATA), field), band)
                    file.set_band_description(band, f"rain rate [mm/h] valid {time}Z")
                    file.update_tags(band, valid_time=f"{time}Z")
            content = memory.read()
        with gdal(), rasterio.MemoryFile(content) as memory, memory.open() as file:
            if file.crs is None:  # GDAL has put it into a second file
                raise UserError(
                    f"{path}: GeoTIFF cannot hold the projection {grid.crs!r:.200}; write it as "
                    "NetCDF (.nc)."
                )
    except gdal_errors() as error:
        raise UserError(
            f"{path}: GDAL cannot write this forecast as GeoTIFF ({first_line(error)}); write it "
            "as NetCDF (.nc)."
        ) from error
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return [Path(path)]
