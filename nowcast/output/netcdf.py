"""Forecasts as CF-1.11 NetCDF-4 files that any geoscience tool can open."""

import io
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyproj

import nowcast
from nowcast.forecasting.products import PROBABILITY_SOURCES, QUALITY_MEANINGS, Products
from nowcast.output.chunks import FILTERS, packed, side_by_side
from nowcast.output.provenance import checked_attributes, gaps
from nowcast.readers.hdf5 import Hdf5File
from nowcast.runtime.errors import UserError
from nowcast.runtime.files import replacing
from nowcast.types.cf_grid import LAT_LON, axis_attributes, grid_mapping, is_rotated
from nowcast.types.frames import Forecast, Grid

# NetCDF's own fill value for floats: no rain rate can be mistaken for it, and programs that do not
# look at the attribute
# (or compare with ==, which never finds NaN) know it too. 0 is a dry pixel.
FILL_VALUE = np.float32(9.969209968386869e36)
_NO_PER_CENT = np.int8(-1)  # CF packs into signed bytes
_CLOCK = {"units": "seconds since 1970-01-01", "calendar": "standard"}
_RAINFALL_RATE = {
    "standard_name": "rainfall_rate",
    "long_name": "rain rate",
    "units": "mm h-1",
    "cell_methods": "time: mean",
    "grid_mapping": "crs",
    "coordinates": "forecast_reference_time forecast_period",
}
_MEMBERS = {
    "long_name": "rain rate of each member of an ensemble",
    "coordinates": "realization forecast_reference_time forecast_period",
}
_RAIN_DEPTH = {
    "standard_name": "thickness_of_rainfall_amount",
    "long_name": "rain depth since the last observed frame",
    "units": "mm",
    "cell_methods": "accumulation_time: sum",
    "grid_mapping": "crs",
    "coordinates": "forecast_reference_time",
}
_PROBABILITY = {
    "long_name": "probability that the rain rate reaches the threshold",
    "units": "1",
    "scale_factor": np.float32(0.01),
    "valid_range": np.array([0, 100], np.int8),
    "grid_mapping": "crs",
    "coordinates": "forecast_reference_time forecast_period",
}
_NEIGHBOURHOOD = {
    "references": "probabilities: Theis et al. 2005, Meteorol. Appl. 12; Schwartz et al. 2010, "
    "Weather and Forecasting 25"
}
_QUALITY = {
    "standard_name": "quality_flag",
    "long_name": "whether the pixel was observed in the frames the forecast was made from",
    "flag_values": np.arange(len(QUALITY_MEANINGS), dtype=np.uint8),
    "flag_meanings": " ".join(QUALITY_MEANINGS),
    "grid_mapping": "crs",
}
_LAYOUT = (
    "v110",
    "v110",
)  # of HDF5 1.10 (2016): metadata are checksummed, so that damage shows as an error
_RESERVED = ("Conventions", "history")
_MOST_DEFLATE = 1032  # times smaller than its content can deflated data be


@dataclass(frozen=True)
class _Layer:
    """A variable of fields, each (H, W) one chunk.

    Args:
        name: of the variable.
        dimensions: their names; the last two are y and x.
        values: (..., H, W).
        fill: stands for NaN; its type is the stored one. None: nothing can be missing, and the
            values are stored as they are.
        stored: makes a stored field of a field.
        attributes: of CF.
    """

    name: str
    dimensions: tuple[str, ...]
    values: np.ndarray
    fill: np.generic | None
    stored: Callable[[np.ndarray], np.ndarray]
    attributes: dict

    @property
    def settings(self) -> dict:
        """How h5netcdf is to create it."""
        return {
            "dtype": self.values.dtype if self.fill is None else self.fill.dtype,
            "fillvalue": self.fill,
            "chunks": (1,) * (self.values.ndim - 2) + self.values.shape[-2:],
            **FILTERS,
        }


def write_forecast(
    forecast: Forecast | Products, path: str | Path, *, attributes: dict[str, str]
) -> list[Path]:
    """Write a forecast with its times, projection, origin, and members where it has any; of
    products also depth, probabilities and quality.

    A rate is the mean over the step that ends at its time. Rates and depths are stored as they are,
    to the last bit; probabilities in whole per cent. Depths have a time of their own,
    `accumulation_time`, whose bounds all begin at the analysis time.

    Args:
        forecast: T fields of rain rate [mm/h], NaN where there is no forecast, or products with
            such a forecast.
        path: the file to write; it appears complete or not at all.
        attributes: global attributes, e.g. of ``nowcast.output.provenance``.

    Returns:
        The file that was written.

    Raises:
        UserError: an attribute that is written here anyway or has a bad name, or a path that cannot
            be written.
    """
    reserved = [name for name in _RESERVED if name in attributes]
    if reserved:
        raise UserError(
            f"the attribute {reserved[0]!r} is written by nowcast itself; give it another name, "
            "e.g. 'comment'."
        )
    products = forecast if isinstance(forecast, Products) else None
    forecast = products.forecast if products else forecast
    attributes = {
        "Conventions": "CF-1.11",
        "title": f"Rain rate forecast from {forecast.analysis_time} UTC",
        "source": f"nowcast {nowcast.__version__}",
        **(_NEIGHBOURHOOD if products and products.probability_source == "neighbourhood" else {}),
        **checked_attributes(gaps(forecast) | attributes),
        "history": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} written by nowcast "
        f"{nowcast.__version__}",
    }
    layers = _layers(forecast, products)
    file = (
        io.BytesIO()
    )  # smaller than the forecast itself; on a full disk HDF5 can crash, while writing bytes raises
    _write_all_but_fields(forecast, products, layers, file, attributes)
    _write_fields(layers, file)
    with replacing(path) as temporary:
        temporary.write_bytes(file.getbuffer())
    return [Path(path)]


def _layers(forecast: Forecast, products: Products | None) -> list[_Layer]:
    """All variables of fields."""
    positions = _positions(forecast.grid)
    ancillary = (
        {"ancillary_variables": "quality"} if products and products.quality is not None else {}
    )

    def described(attributes: dict) -> dict:
        return (
            attributes
            | ancillary
            | {
                "coordinates": " ".join(
                    [attributes["coordinates"], *(layer.name for layer in positions)]
                )
            }
        )

    layers = [
        _Layer(
            "rainfall_rate",
            ("time", "y", "x"),
            forecast.values,
            FILL_VALUE,
            _filled,
            described(_RAINFALL_RATE),
        ),
        *positions,
    ]
    if forecast.members is not None:
        layers.append(
            _Layer(
                "rainfall_rate_members",
                ("realization", "time", "y", "x"),
                forecast.members,
                FILL_VALUE,
                _filled,
                described(_RAINFALL_RATE | _MEMBERS),
            )
        )
    if products:
        probability = _PROBABILITY | {
            "comment": f"{PROBABILITY_SOURCES[products.probability_source]}; in steps of 0.01"
        }
        layers += [
            _Layer(
                "rain_depth",
                ("accumulation_time", "y", "x"),
                products.depth,
                FILL_VALUE,
                _filled,
                described(_RAIN_DEPTH),
            ),
            _Layer(
                "probability",
                ("threshold", "time", "y", "x"),
                products.probability,
                _NO_PER_CENT,
                _per_cent,
                described(probability),
            ),
        ]
    if ancillary:
        places = {"coordinates": " ".join(layer.name for layer in positions)} if positions else {}
        layers.append(
            _Layer("quality", ("y", "x"), products.quality, None, np.asarray, _QUALITY | places)
        )
    return layers


def _positions(grid: Grid) -> list[_Layer]:
    """Latitudes and longitudes of the pixels, where CF demands them: on a rotated pole and in
    projections that CF cannot name.
    """
    crs = pyproj.CRS.from_user_input(grid.crs)
    rotated = is_rotated(crs)
    if not rotated and (crs.is_geographic or "grid_mapping_name" in grid_mapping(crs)):
        return []
    to_degrees = pyproj.Transformer.from_crs(
        crs, crs.source_crs if rotated else crs.geodetic_crs, always_xy=True
    )
    degrees = to_degrees.transform(*np.meshgrid(grid.x, grid.y))
    return [
        _Layer(
            name,
            ("y", "x"),
            np.where(np.isfinite(values), values, np.nan),
            None,
            np.asarray,
            LAT_LON[name],
        )
        for name, values in zip(("longitude", "latitude"), degrees)
    ]


def _filled(values: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(values), FILL_VALUE, values).astype("<f4", copy=False)


def _per_cent(probability: np.ndarray) -> np.ndarray:
    return np.where(
        np.isnan(probability), np.float32(_NO_PER_CENT), np.rint(probability * np.float32(100))
    ).astype(np.int8)


def _write_all_but_fields(
    forecast: Forecast,
    products: Products | None,
    layers: list[_Layer],
    to: io.BytesIO,
    attributes: dict[str, str],
) -> None:
    """The file with its attributes, coordinates and empty variables for the fields."""
    import h5netcdf

    with h5netcdf.File(to, "w", libver=_LAYOUT) as file:
        file.attrs.update(_checksummed(attributes))
        more = (
            {"accumulation_time": len(forecast.values), "threshold": len(products.thresholds)}
            if products
            else {}
        )
        more |= {} if forecast.members is None else {"realization": len(forecast.members)}
        file.dimensions = (
            dict(zip(("time", "y", "x"), forecast.values.shape)) | {"bounds": 2} | more
        )
        for name, dimensions, values, described in _small_variables(forecast, products):
            file.create_variable(name, dimensions, values.dtype, data=values).attrs.update(
                _checksummed(described)
            )
        for layer in layers:
            file.create_variable(layer.name, layer.dimensions, **layer.settings).attrs.update(
                _checksummed(layer.attributes)
            )


def _checksummed(attributes: dict) -> dict:
    """Attributes with texts of fixed length: HDF5 checksums these; the others lie in a heap where
    damage can make it loop for ever.
    """
    import h5py

    def text(value: str) -> np.ndarray:
        content = value.encode()
        return np.array(
            content, h5py.string_dtype("utf-8", max(len(content), 2))
        )  # a single character would read as bytes

    return {
        name: text(value) if isinstance(value, str) else value for name, value in attributes.items()
    }


def _write_fields(layers: list[_Layer], to: io.BytesIO) -> None:
    """Fields into the file that was made for them, one chunk a field."""
    import h5py

    with h5py.File(to, "r+", libver=_LAYOUT) as file:
        for layer in layers:
            chunks = file[layer.name].id
            places = list(np.ndindex(layer.values.shape[:-2]))
            for place, chunk in zip(
                places,
                side_by_side(lambda place: packed(layer.stored(layer.values[place])), places),
            ):
                chunks.write_direct_chunk((*place, 0, 0), chunk)


def is_forecast(path: str | Path) -> bool:
    """Whether the file is a forecast that ``write_forecast`` wrote; never raises."""
    try:
        with Hdf5File(path) as file:
            return all(
                file.find(name) is not None
                for name in ("rainfall_rate", "forecast_reference_time", "forecast_period")
            )
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


def read_forecast(path: str | Path) -> Forecast:
    """Read the rain rates of a forecast that ``write_forecast`` wrote, without probabilities and
    members.

    Raises:
        UserError: the file is missing, damaged, or no forecast of rain rates in mm/h.
    """
    with Hdf5File(path) as file:
        rate, units = (
            file.dataset("rainfall_rate", axes=3),
            file.attribute("rainfall_rate", "units"),
        )
        if units != "mm h-1":
            raise UserError(
                f"{path} holds rainfall_rate in {units!r}; rainfall_rate(time, y, x) in 'mm h-1' "
                "is needed."
            )
        size = math.prod(rate.shape) * rate.dtype.itemsize
        if size > _MOST_DEFLATE * rate.id.get_storage_size():
            raise UserError(
                f"{path} claims {size} bytes of rain rates, but holds too few bytes for them; "
                "fetch it again or leave it out."
            )
        values, fill = rate[()], file.attribute("rainfall_rate", "_FillValue")
        if fill is not None:
            values[values == fill] = np.nan
        y, x, lead_times = (
            file.dataset(name, axes=1)[()] for name in ("y", "x", "forecast_period")
        )
        analysis_time = np.datetime64(int(file.dataset("forecast_reference_time", axes=0)[()]), "s")
        crs = file.attribute("crs", "crs_input") or file.text("crs", "crs_wkt")
        return Forecast(values, analysis_time, lead_times.astype("timedelta64[s]"), Grid(crs, x, y))


def _small_variables(
    forecast: Forecast, products: Products | None
) -> Iterator[tuple[str, tuple[str, ...], np.ndarray, dict]]:
    """Coordinates, their bounds and the grid mapping: name, dimensions, values, CF attributes."""
    crs = pyproj.CRS.from_user_input(forecast.grid.crs)
    x_attributes, y_attributes = axis_attributes(crs)
    analysis_time, valid_times = (
        forecast.analysis_time.astype(np.int64),
        forecast.valid_times.astype(np.int64),
    )
    starts = np.concatenate([[analysis_time], valid_times[:-1]])
    yield from _time(
        "time",
        "valid time (UTC): the end of the step that the rate is a mean of",
        starts,
        valid_times,
    )
    yield "y", ("y",), forecast.grid.y, y_attributes
    yield "x", ("x",), forecast.grid.x, x_attributes
    reference = {
        "standard_name": "forecast_reference_time",
        "long_name": "time of the last observed frame (UTC)",
        **_CLOCK,
    }
    yield "forecast_reference_time", (), analysis_time, reference
    period = {"standard_name": "forecast_period", "long_name": "lead time", "units": "s"}
    yield "forecast_period", ("time",), forecast.lead_times.astype(np.int32), period
    yield "crs", (), np.int32(0), grid_mapping(crs) | {"crs_input": forecast.grid.crs}
    if forecast.members is not None:
        yield (
            "realization",
            ("realization",),
            np.arange(len(forecast.members), dtype=np.int32),
            {"standard_name": "realization", "long_name": "member", "units": "1"},
        )
    if products:
        yield from _time(
            "accumulation_time",
            "end of the accumulation (UTC)",
            np.full_like(valid_times, analysis_time),
            valid_times,
        )
        thresholds = {
            "standard_name": "rainfall_rate",
            "long_name": "rain rate that is reached or exceeded",
            "units": "mm h-1",
        }
        yield "threshold", ("threshold",), np.array(products.thresholds), thresholds


def _time(
    name: str, long_name: str, starts: np.ndarray, ends: np.ndarray
) -> Iterator[tuple[str, tuple[str, ...], np.ndarray, dict]]:
    """A time coordinate at the end of its intervals, and their bounds."""
    bounds = f"{name}_bounds"
    yield (
        name,
        (name,),
        ends,
        {"standard_name": "time", "long_name": long_name, "axis": "T", "bounds": bounds, **_CLOCK},
    )
    yield bounds, (name, "bounds"), np.stack([starts, ends], axis=1), {}
