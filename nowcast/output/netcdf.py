"""Forecasts as CF-1.11 NetCDF-4 files that any geoscience tool can open."""

import io
import math
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

import nowcast
from nowcast.forecasting.products import PROBABILITY_SOURCES, Products
from nowcast.output.base import forecast_and_products
from nowcast.output.chunks import packed, side_by_side
from nowcast.output.netcdf_variables import Layer, coordinates, layers
from nowcast.output.origin import POINT, file_attributes, known_point
from nowcast.readers.hdf5 import Hdf5File
from nowcast.runtime.errors import UserError
from nowcast.runtime.files import replacing
from nowcast.types.frames import Forecast, Grid

# Of HDF5 1.10 (2016): metadata are checksummed, so that damage shows as an error.
_LAYOUT = ("v110", "v110")
_NEIGHBOURHOOD = {
    "references": "probabilities: Theis et al. 2005, Meteorol. Appl. 12; Schwartz et al. 2010, "
    "Weather and Forecasting 25"
}
_WORDS = {
    "rainfall_rate": "rain rates",
    "rainfall_rate_members": "members",
    "rain_depth": "rain depths",
    "probability": "probabilities",
}
_RESERVED = ("Conventions", "history")
_MOST_DEFLATE = 1032  # times smaller than its content can deflated data be


def write_forecast(
    forecast: Forecast | Products, path: str | Path, *, attributes: dict[str, str]
) -> list[Path]:
    """Write a forecast with its times, projection, origin, and members where it has any; of
    products also accumulated rain, probabilities and quality.

    A rate is the mean over the step that ends at its time. Rates and accumulations are stored as
    they are, to the last bit; probabilities in whole per cent. Accumulations have a time of their
    own, `accumulation_time`, whose bounds all begin at the analysis time.

    Args:
        forecast: T fields of rain rate [mm/h], NaN where there is no forecast, or products with
            such a forecast.
        path: the file to write; it appears complete or not at all.
        attributes: global attributes, e.g. of ``nowcast.output.origin``.

    Returns:
        The file that was written.

    Raises:
        UserError: an attribute that is written here anyway or has a bad name, or a path that cannot
            be written.
    """
    for name in _RESERVED:
        if name in attributes:
            raise UserError(
                f"the attribute {name!r} is written by nowcast itself; give it another name, "
                "e.g. 'comment'."
            )
    forecast, products = forecast_and_products(forecast)
    of_neighbours = products is not None and products.probability_source == "neighbourhood"
    software = f"nowcast {nowcast.__version__}"
    attributes = {
        "Conventions": "CF-1.11",
        "title": f"Rain rate forecast from {forecast.analysis_time} UTC",
        "source": software,
        **(_NEIGHBOURHOOD if of_neighbours else {}),
        **file_attributes(forecast, attributes),
        "history": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} written by {software}",
    }
    fields = layers(forecast, products)
    # In memory, where it is smaller than the forecast itself: on a full disk HDF5 can crash, while
    # writing bytes raises.
    file = io.BytesIO()
    _write_all_but_fields(forecast, products, fields, file, attributes)
    _write_fields(fields, file)
    with replacing(path) as temporary:
        temporary.write_bytes(file.getbuffer())
    return [Path(path)]


def _write_all_but_fields(
    forecast: Forecast,
    products: Products | None,
    fields: list[Layer],
    to: io.BytesIO,
    attributes: dict[str, str],
) -> None:
    """The file with its attributes, coordinates and empty variables for the fields."""
    import h5netcdf

    sizes = dict(zip(("time", "y", "x"), forecast.values.shape)) | {"bounds": 2}
    if products:
        sizes |= {"accumulation_time": len(forecast.values), "threshold": len(products.thresholds)}
    if forecast.members is not None:
        sizes["realization"] = len(forecast.members)
    with h5netcdf.File(to, "w", libver=_LAYOUT) as file:
        file.attrs.update(_checksummed(attributes))
        file.dimensions = sizes
        for name, dimensions, values, described in coordinates(forecast, products):
            variable = file.create_variable(name, dimensions, values.dtype, data=values)
            variable.attrs.update(_checksummed(described))
        for layer in fields:
            variable = file.create_variable(layer.name, layer.dimensions, **layer.settings)
            variable.attrs.update(_checksummed(layer.attributes))


def _checksummed(attributes: dict) -> dict:
    """Attributes with texts of fixed length: HDF5 checksums these; the others lie in a heap where
    damage can make it loop for ever.
    """
    import h5py

    found = {}
    for name, value in attributes.items():
        if isinstance(value, str):
            content = value.encode()
            # A single character would be read as bytes.
            value = np.array(content, h5py.string_dtype("utf-8", max(len(content), 2)))
        found[name] = value
    return found


def _write_fields(fields: list[Layer], to: io.BytesIO) -> None:
    """Fields into the file that was made for them, one chunk a field."""
    import h5py

    with h5py.File(to, "r+", libver=_LAYOUT) as file:
        for layer in fields:
            dataset = file[layer.name].id
            places = list(np.ndindex(layer.values.shape[:-2]))
            chunks = side_by_side(lambda place, of=layer: packed(of.stored(place)), places)
            for place, chunk in zip(places, chunks):
                dataset.write_direct_chunk((*place, 0, 0), chunk)


def is_forecast(path: str | Path) -> bool:
    """Whether the file is a forecast that ``write_forecast`` wrote; never raises."""
    names = ("rainfall_rate", "forecast_reference_time", "forecast_period")
    try:
        with Hdf5File(path) as file:
            return all(file.find(name) is not None for name in names)
    except UserError:
        return False


def read_attributes(path: str | Path) -> dict[str, str]:
    """The global text attributes of a forecast that ``write_forecast`` wrote.

    Raises:
        UserError: the file is missing or damaged.
    """
    with Hdf5File(path) as file:
        values = {name: file.attribute("/", name) for name in file.find("/").attrs}
    return {name: value for name, value in values.items() if isinstance(value, str)}


def read_products(path: str | Path) -> Forecast | Products:
    """Read all of a forecast that ``write_forecast`` wrote: its members, and the accumulations and
    probabilities, where it has them.

    Raises:
        UserError: as ``read_forecast``, or fields of another shape than the rain rates.
    """
    forecast = read_forecast(path)
    with Hdf5File(path) as file:
        if file.find("rainfall_rate_members") is not None:
            members = _stored_fields(file, "rainfall_rate_members", axes=4)
            forecast = replace(forecast, members=members)
        if file.find("probability") is None or file.find("rain_depth") is None:
            return forecast
        thresholds = tuple(file.dataset("threshold", axes=1)[()].tolist())
        depth = _stored_fields(file, "rain_depth", axes=3)
        probability = _stored_fields(file, "probability", axes=4)
        if depth.shape != forecast.values.shape or probability.shape != (
            len(thresholds),
            *depth.shape,
        ):
            raise UserError(
                f"{path} has rain depths of shape {depth.shape} and probabilities of shape "
                f"{probability.shape} beside rain rates of shape {forecast.values.shape}; expected "
                "the same fields: fetch it again."
            )
        source = _probability_source(str(file.attribute("probability", "comment")))
        quality = None
        if file.find("quality") is not None:
            quality = file.dataset("quality", axes=2)[()]
        return Products(forecast, depth, thresholds, probability, source, quality)


def _probability_source(comment: str) -> str:
    """Where probabilities come from, as the comment of their variable says; "model" for one of
    another nowcast.
    """
    for source, words in PROBABILITY_SOURCES.items():
        if comment.startswith(words):
            return source
    return "model"


def _stored_fields(file: Hdf5File, name: str, *, axes: int) -> np.ndarray:
    """A variable of fields, float32, NaN where it has none.

    Raises:
        UserError: it claims more than its bytes can hold.
    """
    stored = file.dataset(name, axes=axes)
    size = math.prod(stored.shape) * stored.dtype.itemsize
    if size > _MOST_DEFLATE * stored.id.get_storage_size():
        raise UserError(
            f"{file.path} claims {size} bytes of {_WORDS[name]}, but contains too few bytes for "
            "them; fetch it again or leave it out."
        )
    values, fill = stored[()], file.attribute(name, "_FillValue")
    missing = values == fill if fill is not None else np.zeros(values.shape, bool)
    scale = file.attribute(name, "scale_factor")
    values = values.astype(np.float32) * np.float32(1 if scale is None else scale)
    values[missing] = np.nan
    return values


def read_forecast(path: str | Path) -> Forecast:
    """Read the rain rates of a forecast that ``write_forecast`` wrote, without probabilities and
    members.

    Raises:
        UserError: the file is missing, damaged, or no forecast of rain rates in mm/h.
    """
    with Hdf5File(path) as file:
        file.dataset("rainfall_rate", axes=3)  # it is there
        units = file.attribute("rainfall_rate", "units")
        if units != "mm h-1":
            raise UserError(
                f"{path} has rainfall_rate in {units!r}; expected rainfall_rate(time, y, x) in "
                "'mm h-1'."
            )
        values = _stored_fields(file, "rainfall_rate", axes=3)
        y, x, seconds = (file.dataset(name, axes=1)[()] for name in ("y", "x", "forecast_period"))
        analysis_time = np.datetime64(int(file.dataset("forecast_reference_time", axes=0)[()]), "s")
        crs = file.attribute("crs", "crs_input") or file.text("crs", "crs_wkt")
        point = known_point(file.attribute("/", POINT))
        leads = seconds.astype("timedelta64[s]")
        return Forecast(values, analysis_time, leads, Grid(crs, x, y), point=point)
