"""Frames and forecasts as xarray's labelled arrays, with the names and attributes of CF.

The arrays are not copied: what is labelled is the memory of the frames or of the forecast. xarray
is loaded when it is asked for. ``nowcast.readers.labelled`` leads back to frames.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from nowcast.types import places
from nowcast.types.cf_grid import axis_attributes, grid_mapping

if TYPE_CHECKING:
    import xarray

_RATE = {
    "standard_name": "rainfall_rate",
    "long_name": "rain rate",
    "units": "mm h-1",
    "grid_mapping": "crs",
}
_PROBABILITY = {
    "long_name": "probability that the rain rate reaches the threshold",
    "units": "1",
    "grid_mapping": "crs",
}
_REFERENCE = {
    "standard_name": "forecast_reference_time",
    "long_name": "time of the last observed frame (UTC)",
}
DISCARDED = "discarded_pixels"
"""The variable with the numbers of pixels that became missing, here and in archives."""

_DISCARDED = {"long_name": "pixels that became missing because they were negative or too high"}
_THRESHOLD = {"standard_name": "rainfall_rate", "long_name": "threshold", "units": "mm h-1"}


def frames_to_xarray(frames: Any) -> "xarray.Dataset":
    """Observed frames as ``rainfall_rate(time, y, x)`` [mm/h].

    Args:
        frames: ``nowcast.types.frames.Frames``.

    Returns:
        A data set with coordinates ``time`` (UTC), ``y`` and ``x``, and the grid mapping ``crs``;
        where pixels were discarded, also with ``discarded_pixels(time)``.
    """
    import xarray

    attributes = {"source": frames.source, "quantity": frames.quantity}
    variables: dict[str, tuple] = {"rainfall_rate": (("time", "y", "x"), frames.values, _RATE)}
    if frames.discarded.any():
        variables[DISCARDED] = (("time",), frames.discarded, _DISCARDED)
    return xarray.Dataset(
        variables,
        coords={"time": _time(frames.times, "time of the frame"), **_grid_coordinates(frames.grid)},
        attrs=attributes,
    )


def forecast_to_xarray(forecast: Any) -> "xarray.Dataset":
    """A forecast as ``rainfall_rate(time, y, x)`` [mm/h], named like its NetCDF file.

    Args:
        forecast: ``nowcast.types.frames.Forecast``; its members become ``rainfall_rate_members``
            and its probabilities ``probability``, where it has any.

    Returns:
        A data set whose ``time`` is the valid time (UTC), with ``forecast_reference_time`` and
        ``forecast_period``.
    """
    import xarray

    rate = _RATE
    if forecast.point:
        rate = rate | {"nowcast_point": forecast.point}
    variables: dict[str, tuple] = {"rainfall_rate": (("time", "y", "x"), forecast.values, rate)}
    period = {"standard_name": "forecast_period", "long_name": "lead time"}
    coordinates: dict[str, tuple] = {
        "time": _time(forecast.valid_times, "time that the field is valid for"),
        "forecast_reference_time": ((), _nanoseconds(forecast.analysis_time), _REFERENCE),
        "forecast_period": (("time",), _nanoseconds(forecast.lead_times), period),
        **_grid_coordinates(forecast.grid),
    }
    if forecast.members is not None:
        axes = ("realization", "time", "y", "x")
        variables["rainfall_rate_members"] = (axes, forecast.members, _RATE)
        numbers = np.arange(len(forecast.members), dtype=np.int32)
        coordinates["realization"] = (("realization",), numbers, {"standard_name": "realization"})
    if forecast.probability is not None:
        axes = ("threshold", "time", "y", "x")
        variables["probability"] = (axes, forecast.probability, _PROBABILITY)
        thresholds = np.array(forecast.thresholds, np.float64)
        coordinates["threshold"] = (("threshold",), thresholds, _THRESHOLD)
    return xarray.Dataset(variables, coords=coordinates)


def _grid_coordinates(grid: Any) -> dict[str, tuple]:
    """Coordinates ``y`` and ``x``, and the grid mapping ``crs``."""
    projection = places.projection(grid.crs)
    along_x, along_y = axis_attributes(projection)
    return {
        "y": (("y",), grid.y, along_y),
        "x": (("x",), grid.x, along_x),
        "crs": ((), np.int32(0), grid_mapping(projection) | {"crs_input": grid.crs}),
    }


def _time(times: np.ndarray, long_name: str) -> tuple:
    attributes = {"standard_name": "time", "long_name": long_name, "axis": "T"}
    return ("time",), _nanoseconds(times), attributes


def _nanoseconds(times: np.ndarray) -> np.ndarray:
    """Times or spans in the unit that every version of xarray has."""
    kind = "datetime64[ns]" if times.dtype.kind == "M" else "timedelta64[ns]"
    return times.astype(kind)
