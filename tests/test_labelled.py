"""Frames and forecasts as xarray: the same numbers, places and times as in the file, under CF's
names, and nothing is copied.
"""

import numpy as np
import pytest
import xarray
from factories import grid, times

from nowcast.output.netcdf import write_forecast
from nowcast.types.frames import Forecast, Frames, Grid

MINUTE = np.timedelta64(60, "s")
GENERATOR = np.random.default_rng(0)


def rates(*shape: int) -> np.ndarray:
    """Rain rates [mm/h] with a missing pixel in every field."""
    values = GENERATOR.gamma(0.5, 4.0, shape).astype(np.float32)
    values[..., 0, 0] = np.nan
    return values


def forecast(place: Grid) -> Forecast:
    probability = GENERATOR.integers(0, 101, (2, 3, *place.shape)).astype(np.float32) / 100
    return Forecast(
        rates(3, *place.shape),
        times(10)[0],
        np.array([5, 10, 15]) * MINUTE,
        place,
        probability=probability,
        thresholds=(0.5, 5.0),
        members=rates(4, 3, *place.shape),
    )


PLACES = {
    "laea": grid(5, 7),
    "longitudes": Grid("EPSG:4326", np.linspace(7.0, 8.0, 7), np.linspace(52.0, 51.0, 5)),
    "rotated": Grid(
        "+proj=ob_tran +o_proj=longlat +o_lat_p=39.25 +lon_0=18",
        np.linspace(-2.0, 2.0, 7),
        np.linspace(3.0, 1.0, 5),
    ),
}


def test_frames_are_labelled_without_a_copy():
    frames = Frames(rates(3, 5, 7), times(0, 5, 15), grid(5, 7), "radar.h5", "rain depth in 5 min")
    data = frames.to_xarray()
    rate = data["rainfall_rate"]
    assert rate.dims == ("time", "y", "x") and rate.attrs["units"] == "mm h-1"
    assert np.shares_memory(rate.values, frames.values)
    np.testing.assert_array_equal(data["time"].values, frames.times)
    np.testing.assert_array_equal(data["x"].values, frames.grid.x)
    np.testing.assert_array_equal(data["y"].values, frames.grid.y)
    assert data.attrs == {"source": "radar.h5", "quantity": "rain depth in 5 min"}
    at_a_time = rate.sel(time="2020-06-01T00:15")
    np.testing.assert_array_equal(at_a_time.values, frames.values[2])


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_the_grid_mapping_leads_back_to_the_grid(place):
    data = Frames(rates(1, *place.shape), times(0), place).to_xarray()
    again = Grid(data["crs"].attrs["crs_wkt"], data["x"].values, data["y"].values)
    assert place.difference(again) is None
    assert data["rainfall_rate"].attrs["grid_mapping"] == "crs"


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_a_forecast_is_labelled_as_its_file_is(place, tmp_path):
    made = forecast(place)
    ours = made.to_xarray()
    from_members = {"rainfall_rate", "rainfall_rate_members"}
    write_forecast(made, tmp_path / "f.nc", attributes={})
    with xarray.open_dataset(tmp_path / "f.nc", engine="h5netcdf") as file:
        for name in from_members:
            assert ours[name].dims == file[name].dims
            np.testing.assert_array_equal(ours[name].values, file[name].values)
            assert ours[name].attrs["standard_name"] == file[name].attrs["standard_name"]
        for name in ("time", "y", "x", "forecast_reference_time", "realization"):
            np.testing.assert_array_equal(ours[name].values, file[name].values)
        seconds = file["forecast_period"].values  # a plain number [s] in the file
        np.testing.assert_array_equal(
            ours["forecast_period"].values / np.timedelta64(1, "s"), seconds
        )
    np.testing.assert_array_equal(ours["probability"].values, made.probability)
    assert ours["threshold"].values.tolist() == [0.5, 5.0]
    assert ours["rainfall_rate_members"].mean("realization").dims == ("time", "y", "x")


def test_a_forecast_without_members_and_probabilities_has_neither():
    made = Forecast(rates(1, 5, 7), times(10)[0], [5 * MINUTE], grid(5, 7))
    assert set(made.to_xarray().data_vars) == {"rainfall_rate"}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_what_is_labelled_can_be_written_by_xarray(place, tmp_path):
    made = forecast(place)
    made.to_xarray().to_netcdf(tmp_path / "own.nc", engine="h5netcdf")
    with xarray.open_dataset(tmp_path / "own.nc", engine="h5netcdf") as file:
        np.testing.assert_array_equal(file["rainfall_rate"].values, made.values)
        assert file["rainfall_rate"].attrs["grid_mapping"] == "crs"
