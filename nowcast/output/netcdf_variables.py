"""The variables of a forecast's NetCDF file, with the names and attributes of CF 1.11."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyproj

from nowcast.forecasting.products import PROBABILITY_SOURCES, QUALITY_MEANINGS, Products
from nowcast.output.chunks import FILTERS
from nowcast.output.origin import POINT
from nowcast.types.cf_grid import LAT_LON, axis_attributes, grid_mapping, is_rotated
from nowcast.types.frames import Forecast, Grid
from nowcast.types.functional import Functional, in_words

# NetCDF's own fill value for floats: no rain rate can be mistaken for it, and programs that do not
# look at the attribute (or compare with ==, which never finds NaN) know it, too. 0 is a dry pixel.
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
_MEMBERS = _RAINFALL_RATE | {
    "long_name": "rain rate of each member of an ensemble",
    "coordinates": "realization forecast_reference_time forecast_period",
}
_ACCUMULATION = {
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
_QUALITY = {
    "standard_name": "quality_flag",
    "long_name": "whether the pixel was observed in the frames the forecast was made from",
    "flag_values": np.arange(len(QUALITY_MEANINGS), dtype=np.uint8),
    "flag_meanings": " ".join(QUALITY_MEANINGS),
    "grid_mapping": "crs",
}
_THRESHOLD = {
    "standard_name": "rainfall_rate",
    "long_name": "rain rate that is reached or exceeded",
    "units": "mm h-1",
}
_REFERENCE_TIME = {
    "standard_name": "forecast_reference_time",
    "long_name": "time of the last observed frame (UTC)",
    **_CLOCK,
}
_PERIOD = {"standard_name": "forecast_period", "long_name": "lead time", "units": "s"}
_REALIZATION = {"standard_name": "realization", "long_name": "member", "units": "1"}


@dataclass(frozen=True)
class Layer:
    """A variable of fields, each (H, W) one chunk.

    Args:
        name: of the variable.
        dimensions: their names; the last two are y and x.
        values: (..., H, W).
        attributes: of CF.
        fill: stands for NaN; its type is the stored one, and int8 stands for whole per cent. None:
            nothing can be missing, and the values are stored as they are.
    """

    name: str
    dimensions: tuple[str, ...]
    values: np.ndarray
    attributes: dict
    fill: np.generic | None = FILL_VALUE

    @property
    def settings(self) -> dict:
        """How h5netcdf is to create it."""
        return {
            "dtype": self.values.dtype if self.fill is None else self.fill.dtype,
            "fillvalue": self.fill,
            "chunks": (1,) * (self.values.ndim - 2) + self.values.shape[-2:],
            **FILTERS,
        }

    def stored(self, place: tuple[int, ...]) -> np.ndarray:
        """One of its fields as it is stored, (H, W)."""
        field = self.values[place]
        if self.fill is None:
            return field
        if self.fill.dtype.kind == "i":
            field = np.rint(field * np.float32(100))
        filled = np.where(np.isnan(field), np.float32(self.fill), field)
        return filled.astype(self.fill.dtype, copy=False)


class Coordinate(NamedTuple):
    """A small variable: a coordinate, its bounds, or the grid mapping."""

    name: str
    dimensions: tuple[str, ...]
    values: np.ndarray
    attributes: dict


def layers(forecast: Forecast, products: Products | None) -> list[Layer]:
    """All variables of fields."""
    positions = _positions(forecast.grid)
    position_names = [layer.name for layer in positions]
    has_quality = products is not None and products.quality is not None

    def layer(name: str, along: tuple[str, ...], values, attributes: dict, fill=FILL_VALUE):
        places = {"coordinates": " ".join([attributes["coordinates"], *position_names])}
        quality = {"ancillary_variables": "quality"} if has_quality else {}
        return Layer(name, (*along, "y", "x"), values, attributes | quality | places, fill)

    found = [layer("rainfall_rate", ("time",), forecast.values, _of_point(forecast)), *positions]
    if forecast.members is not None:
        along = ("realization", "time")
        found.append(layer("rainfall_rate_members", along, forecast.members, _MEMBERS))
    if products:
        source = PROBABILITY_SOURCES[products.probability_source]
        attributes = _PROBABILITY | {"comment": f"{source}; in steps of 0.01"}
        along = ("threshold", "time")
        found += [
            layer("rain_depth", ("accumulation_time",), products.depth, _depth_of(forecast)),
            layer("probability", along, products.probability, attributes, _NO_PER_CENT),
        ]
    if has_quality:
        places = {"coordinates": " ".join(position_names)} if positions else {}
        found.append(Layer("quality", ("y", "x"), products.quality, _QUALITY | places, None))
    return found


def _of_point(forecast: Forecast) -> dict:
    """Attributes of the rain rates, which say which number of the predicted distribution they are.

    In words and in an attribute of our own: cell methods can name a realization only where there is
    such a coordinate, and have no word for quantiles and events.
    """
    if not forecast.point:
        return _RAINFALL_RATE
    words = f"rain rate, {in_words(forecast.point)} of the predicted distribution"
    if Functional.parse(forecast.point).name == "event":
        words = f"rain rate, {in_words(forecast.point)}: that rate, or 0"
    return _RAINFALL_RATE | {"long_name": words, POINT: forecast.point}


def _depth_of(forecast: Forecast) -> dict:
    """Attributes of the rain depths: of a distribution they are means, whatever the rates are."""
    if not forecast.point:
        return _ACCUMULATION
    return _ACCUMULATION | {"long_name": f"mean {_ACCUMULATION['long_name']}"}


def _positions(grid: Grid) -> list[Layer]:
    """Latitudes and longitudes of the pixels, where CF demands them: on a rotated pole and in
    projections that CF cannot name.
    """
    crs = pyproj.CRS.from_user_input(grid.crs)
    rotated = is_rotated(crs)
    if not rotated and (crs.is_geographic or "grid_mapping_name" in grid_mapping(crs)):
        return []
    geographic = crs.source_crs if rotated else crs.geodetic_crs
    to_degrees = pyproj.Transformer.from_crs(crs, geographic, always_xy=True)
    degrees = to_degrees.transform(*np.meshgrid(grid.x, grid.y))
    return [
        Layer(name, ("y", "x"), np.where(np.isfinite(values), values, np.nan), LAT_LON[name], None)
        for name, values in zip(("longitude", "latitude"), degrees)
    ]


def coordinates(forecast: Forecast, products: Products | None) -> Iterator[Coordinate]:
    """Coordinates, their bounds and the grid mapping."""
    crs = pyproj.CRS.from_user_input(forecast.grid.crs)
    x_attributes, y_attributes = axis_attributes(crs)
    analysis_time = forecast.analysis_time.astype(np.int64)
    valid_times = forecast.valid_times.astype(np.int64)
    starts = np.concatenate([[analysis_time], valid_times[:-1]])
    meaning = "valid time (UTC): the end of the step that the rate is a mean of"
    yield from _time("time", meaning, starts, valid_times)
    yield Coordinate("y", ("y",), forecast.grid.y, y_attributes)
    yield Coordinate("x", ("x",), forecast.grid.x, x_attributes)
    yield Coordinate("forecast_reference_time", (), analysis_time, _REFERENCE_TIME)
    yield Coordinate("forecast_period", ("time",), forecast.lead_times.astype(np.int32), _PERIOD)
    mapping = grid_mapping(crs) | {"crs_input": forecast.grid.crs}
    yield Coordinate("crs", (), np.int32(0), mapping)
    if forecast.members is not None:
        numbers = np.arange(len(forecast.members), dtype=np.int32)
        yield Coordinate("realization", ("realization",), numbers, _REALIZATION)
    if products:
        starts = np.full_like(valid_times, analysis_time)
        yield from _time("accumulation_time", "end of the accumulation (UTC)", starts, valid_times)
        yield Coordinate("threshold", ("threshold",), np.array(products.thresholds), _THRESHOLD)


def _time(name: str, long_name: str, starts: np.ndarray, ends: np.ndarray) -> Iterator[Coordinate]:
    """A time coordinate at the end of its intervals, and their bounds."""
    bounds = f"{name}_bounds"
    attributes = {"standard_name": "time", "long_name": long_name, "axis": "T", "bounds": bounds}
    yield Coordinate(name, (name,), ends, attributes | _CLOCK)
    yield Coordinate(bounds, (name, "bounds"), np.stack([starts, ends], axis=1), {})
