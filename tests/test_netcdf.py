import re

import h5py
import numpy as np
import pyproj
import pytest
import xarray

from nowcast.errors import UserError
from nowcast.io.netcdf import read_forecast, write_forecast
from factories_fields import POLAR, forecast

VALUES = np.array([[[0.0, 0.1, 12.5], [np.nan, 3.0, 200.0]], [[1.0, 0.0, 0.0], [np.nan, np.nan, 7.25]]], np.float32)


@pytest.fixture
def path(tmp_path):
    """A file with two lead times of 2 x 3 pixels from 23:55 UTC."""
    write_forecast(forecast(VALUES), tmp_path / "forecast.nc", attributes={"source": "persistence"})
    return tmp_path / "forecast.nc"


def test_xarray_reads_the_same_rain_rates_with_nan_where_there_is_no_forecast(path):
    with xarray.open_dataset(path, engine="h5netcdf") as dataset:
        rate = dataset["rainfall_rate"]
        assert rate.dims == ("time", "y", "x") and rate.dtype == np.float32
        assert np.array_equal(rate.values, VALUES, equal_nan=True)
        assert (rate.attrs["units"], rate.attrs["standard_name"], rate.attrs["grid_mapping"]) == ("mm h-1", "rainfall_rate", "crs")


def test_xarray_decodes_valid_reference_and_lead_times(path):
    with xarray.open_dataset(path, engine="h5netcdf") as dataset:
        assert dataset["time"].values.astype("M8[s]").tolist() == np.array(["2010-08-27T00:00:00", "2010-08-27T00:05:00"], "M8[s]").tolist()
        assert dataset["forecast_reference_time"].values == np.datetime64("2010-08-26T23:55")
        assert dataset["forecast_period"].values.tolist() == [300, 600]
        assert dataset["forecast_period"].attrs["units"] == "s"
        assert set(dataset["rainfall_rate"].coords) == {"time", "x", "y", "forecast_reference_time", "forecast_period"}


def test_the_bytes_on_disk_hold_a_fill_value_that_is_no_rain_rate_and_are_compressed(path):
    with h5py.File(path) as file:
        rate = file["rainfall_rate"]
        assert rate.attrs["_FillValue"][0] == np.float32(9.96921e36)
        assert (rate[:] == rate.attrs["_FillValue"]).sum() == 3
        assert (rate[:] == 0).sum() == 3
        assert (rate.compression, rate.chunks) == ("gzip", (1, 2, 3))
        assert (file["time"].attrs["units"], file["time"][0]) == ("seconds since 1970-01-01", 1282867200)
        assert "_FillValue" not in file["x"].attrs


def test_the_projection_can_be_rebuilt_from_the_wkt_and_from_the_cf_parameters(path):
    with xarray.open_dataset(path, engine="h5netcdf") as dataset:
        attributes = dataset["crs"].attrs
        assert pyproj.CRS.from_wkt(attributes["crs_wkt"]) == pyproj.CRS.from_user_input(POLAR)
        assert attributes["grid_mapping_name"] == "polar_stereographic"
        assert (attributes["latitude_of_projection_origin"], attributes["standard_parallel"]) == (90, 60)
        assert dataset["x"].attrs["standard_name"] == "projection_x_coordinate"
        assert (dataset["x"].values.tolist(), dataset["y"].values.tolist()) == ([0.5, 1.5, 2.5], [50.5, 49.5])


@pytest.mark.parametrize("crs, x_name, y_name, units", [
    ("EPSG:4326", "longitude", "latitude", ("degrees_east", "degrees_north")),
    ("EPSG:3035", "projection_x_coordinate", "projection_y_coordinate", ("m", "m")),
    (POLAR, "projection_x_coordinate", "projection_y_coordinate", ("km", "km")),
    ("EPSG:2263", "projection_x_coordinate", "projection_y_coordinate", ("0.30480060960121924 m",) * 2),
    ("+proj=ob_tran +o_proj=longlat +o_lat_p=39.25 +lon_0=18", "grid_longitude", "grid_latitude", ("degrees", "degrees")),
])
def test_coordinates_say_what_they_are_and_the_grid_reads_back(tmp_path, crs, x_name, y_name, units):
    written = forecast(VALUES, crs=crs)
    write_forecast(written, tmp_path / "f.nc", attributes={})
    with xarray.open_dataset(tmp_path / "f.nc", engine="h5netcdf") as dataset:
        assert (dataset["x"].attrs["standard_name"], dataset["y"].attrs["standard_name"]) == (x_name, y_name)
        assert (dataset["x"].attrs["units"], dataset["y"].attrs["units"]) == units
    assert read_forecast(tmp_path / "f.nc").grid.difference(written.grid) is None


def test_a_projection_parallel_to_two_latitudes_keeps_both(tmp_path):
    write_forecast(forecast(VALUES, crs="EPSG:2263"), tmp_path / "f.nc", attributes={})
    with xarray.open_dataset(tmp_path / "f.nc", engine="h5netcdf") as dataset:
        assert dataset["crs"].attrs["standard_parallel"] == pytest.approx([41.0333333, 40.6666667])


def test_global_attributes_name_convention_title_history_and_what_was_given(path):
    with xarray.open_dataset(path, engine="h5netcdf") as dataset:
        assert dataset.attrs["Conventions"] == "CF-1.11"
        assert dataset.attrs["title"] == "Rain rate forecast from 2010-08-26T23:55:00 UTC"
        assert dataset.attrs["source"] == "persistence"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ written by nowcast .+", dataset.attrs["history"])


def test_a_forecast_reads_back_as_it_was(path):
    read, written = read_forecast(path), forecast(VALUES)
    assert np.array_equal(read.values, VALUES, equal_nan=True)
    assert read.analysis_time == written.analysis_time
    assert read.lead_times.tolist() == written.lead_times.tolist()
    assert read.grid.difference(written.grid) is None and read.grid.crs == POLAR


def test_writing_again_replaces_the_file_and_leaves_nothing_else(path):
    write_forecast(forecast(VALUES + 1), path, attributes={})
    assert read_forecast(path).values[0, 0, 0] == 1
    assert [file.name for file in path.parent.iterdir()] == ["forecast.nc"]


def test_a_full_disk_leaves_the_old_file(path):
    resource = pytest.importorskip("resource")
    before, size = resource.getrlimit(resource.RLIMIT_FSIZE), path.stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size - 1, before[1]))
    try:
        with pytest.raises(UserError, match="forecast.nc could not be written: File too large"):
            write_forecast(forecast(VALUES + 1), path, attributes={"source": "persistence"})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert read_forecast(path).values[0, 0, 0] == 0
    assert [file.name for file in path.parent.iterdir()] == ["forecast.nc"]


def test_large_fields_read_back_to_the_bit_and_dry_ones_take_no_space(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.gamma(0.3, 4, (7, 301, 203)).astype(np.float32)
    values[rng.random(values.shape) < 0.1] = np.nan
    values[1::2, 50:] = 0
    write_forecast(forecast(values), tmp_path / "f.nc", attributes={})
    assert np.array_equal(read_forecast(tmp_path / "f.nc").values, values, equal_nan=True)
    with h5py.File(tmp_path / "f.nc") as file:
        chunks = file["rainfall_rate"].id
        sizes = [chunks.get_chunk_info_by_coord((index, 0, 0)).size for index in range(7)]
        assert max(sizes[1::2]) < min(sizes[::2]) / 4 and max(sizes) < values[0].nbytes


@pytest.mark.parametrize("name", ["Conventions", "history"])
def test_an_attribute_that_is_written_anyway_is_refused(tmp_path, name):
    with pytest.raises(UserError, match=f"the attribute '{name}' is written by nowcast itself"):
        write_forecast(forecast(VALUES), tmp_path / "f.nc", attributes={name: "mine"})
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_and_one_of_another_kind_are_refused(tmp_path):
    (tmp_path / "text.nc").write_text("no NetCDF")
    for name in ("none.nc", "text.nc"):
        with pytest.raises(UserError, match=f"{name} cannot be read as NetCDF-4"):
            read_forecast(tmp_path / name)


def test_a_file_without_a_forecast_is_refused_with_what_is_missing(tmp_path):
    xarray.Dataset({"temperature": ("x", [1.0])}).to_netcdf(tmp_path / "t.nc", engine="h5netcdf")
    with pytest.raises(UserError, match="t.nc is no forecast of nowcast: .*rainfall_rate.* is missing in it"):
        read_forecast(tmp_path / "t.nc")


def test_rain_rates_in_another_unit_are_refused(path):
    with h5py.File(path, "r+") as file:
        file["rainfall_rate"].attrs["units"] = "m s-1"
    with pytest.raises(UserError, match=r"holds rainfall_rate\(time, y, x\) in 'm s-1'; rainfall_rate\(time, y, x\) in 'mm h-1' is needed"):
        read_forecast(path)
