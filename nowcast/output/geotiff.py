"""Forecasts as GeoTIFF, for GDAL and every geographic information system: rain rates, one band a
lead time.
"""

from pathlib import Path

import numpy as np

import nowcast
from nowcast.forecasting.products import Products
from nowcast.output.base import forecast_and_products, spacing_of
from nowcast.output.origin import POINT, file_attributes, known_point
from nowcast.readers.content import damage_reported
from nowcast.readers.moments import moment_of
from nowcast.runtime.environment import gdal
from nowcast.runtime.errors import UserError, first_line
from nowcast.runtime.files import replacing
from nowcast.runtime.library_private import gdal_errors
from nowcast.types.frames import Forecast, Grid

NODATA = -9999.0
"""Stored where there is no forecast; 0 is dry."""

_CREATION = {
    "driver": "GTiff",
    "dtype": "float32",
    "nodata": NODATA,
    "compress": "deflate",
    "predictor": 3,  # of floating-point numbers
    "zlevel": 1,
    "tiled": True,
    "blockxsize": 256,
    "blockysize": 256,
    "interleave": "band",
    "bigtiff": "if_safer",
    "num_threads": "all_cpus",
}


def write_geotiff(
    forecast: Forecast | Products, path: str | Path, *, attributes: dict[str, str]
) -> list[Path]:
    """Write the rain rates [mm/h] of a forecast as float32 bands, the first lead time first, each
    described by the time it is valid for.

    Args:
        forecast: rain rates with NaN where there is no forecast, or products, of which only the
            rates are written.
        path: the file to write; it appears complete or not at all.
        attributes: tags of the file, e.g. of ``nowcast.output.origin``.

    Returns:
        The file that was written.

    Raises:
        UserError: a grid without a cell size, an attribute with a bad name, a projection that
            GeoTIFF cannot contain, or a path that cannot be written.
    """
    forecast, _ = forecast_and_products(forecast)
    spacing = spacing_of(forecast.grid, path, "GeoTIFF")
    tags = {
        "software": f"nowcast {nowcast.__version__}",
        **file_attributes(forecast, attributes),
        "analysis_time": f"{forecast.analysis_time}Z",
        "units": "mm/h",
    }
    try:
        content = _content(forecast, spacing, tags)
    except gdal_errors() as error:
        raise UserError(
            f"{path}: GDAL cannot write this forecast as GeoTIFF ({first_line(error)}); write it "
            "as NetCDF (.nc)."
        ) from error
    if content is None:
        raise UserError(
            f"{path}: GeoTIFF cannot express the projection {forecast.grid.crs!r:.200}; write it "
            "as NetCDF (.nc)."
        )
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return [Path(path)]


def is_forecast(path: str | Path) -> bool:
    """Whether the file is a forecast that ``write_geotiff`` wrote; never raises."""
    import rasterio

    try:
        with gdal(), rasterio.open(Path(path).absolute(), driver="GTiff") as file:
            tags = file.tags()
            return tags.get("software", "").startswith("nowcast ") and "analysis_time" in tags
    except (rasterio.errors.RasterioError, UserError, OSError):
        return False


def read_geotiff(path: str | Path) -> tuple[Forecast, dict[str, str]]:
    """Read a forecast that ``write_geotiff`` wrote, and its tags.

    Raises:
        UserError: it is another file, or damaged.
    """
    import rasterio

    with damage_reported(path), gdal(), rasterio.open(Path(path).absolute()) as file:
        tags = file.tags()
        times = [file.tags(band).get("valid_time", "") for band in file.indexes]
        moments = [moment_of(text) for text in (tags.get("analysis_time", ""), *times)]
        if None in moments:
            raise UserError(
                f"{path} does not say in its tags what it was made from and what its bands are "
                "valid for; expected a GeoTIFF that nowcast wrote."
            )
        place = file.transform
        x = place.c + (np.arange(file.width) + 0.5) * place.a
        y = place.f + (np.arange(file.height) + 0.5) * place.e
        values = file.read().astype(np.float32)
        values[values == np.float32(NODATA)] = np.nan
        start, *valid = moments
        leads = np.array(valid) - start
        grid, point = Grid(file.crs.to_wkt(), x, y), known_point(tags.get(POINT))
        return Forecast(values, start, leads, grid, point=point), tags


def _content(forecast: Forecast, spacing: tuple[float, float], tags: dict) -> bytes | None:
    """The bytes of the file; None where GDAL would put the projection into a second one.

    It is made in memory, because GDAL notices a full disk only when it closes a file, and rasterio
    does not pass that on.
    """
    import rasterio

    grid, (dy, dx) = forecast.grid, spacing
    with gdal(), rasterio.MemoryFile() as memory:
        shape = {"count": len(forecast.values), "height": grid.shape[0], "width": grid.shape[1]}
        crs = rasterio.crs.CRS.from_user_input(grid.crs)
        transform = rasterio.Affine(dx, 0, grid.x[0] - dx / 2, 0, -dy, grid.y[0] + dy / 2)
        with memory.open(**_CREATION, **shape, crs=crs, transform=transform) as file:
            file.update_tags(**tags)
            for band, (field, time) in enumerate(zip(forecast.values, forecast.valid_times), 1):
                file.write(np.where(np.isnan(field), np.float32(NODATA), field), band)
                file.set_band_description(band, f"rain rate [mm/h] valid {time}Z")
                file.update_tags(band, valid_time=f"{time}Z")
        content = memory.read()
    with gdal(), rasterio.MemoryFile(content) as memory, memory.open() as file:
        return None if file.crs is None else content
