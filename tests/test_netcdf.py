import re
from dataclasses import replace

import h5py
import numpy as np
import pyproj
import pytest
import xarray
from factories import complaints
from factories_fields import POLAR, forecast, frames

from nowcast.forecasting.products import derive
from nowcast.output.netcdf import is_forecast, read_attributes, read_forecast, write_forecast
from nowcast.readers.cf_netcdf import CfNetcdf
from nowcast.runtime.errors import UserError

VALUES = np.array(
    [[[0.0, 0.1, 12.5], [np.nan, 3.0, 200.0]], [[1.0, 0.0, 0.0], [np.nan, np.nan, 7.25]]],
    np.float32,
)


ROTATED = "+proj=ob_tran +o_proj=longlat +o_lat_p=39.25 +lon_0=18"


def products(crs: str = POLAR):
    """The forecast with its products; the pixel at row 0, column 1 was observed in one context
    frame of two, the one at row 1, column 0 in none.
    """
    context = np.zeros((2, 2, 3), np.float32)
    context[0, 0, 1] = context[:, 1, 0] = np.nan
    return derive(
        forecast(VALUES, crs=crs), frames(context, crs=crs), thresholds=(1, 5), radius_km_per_hour=0
    )


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
        assert (rate.attrs["units"], rate.attrs["standard_name"], rate.attrs["grid_mapping"]) == (
            "mm h-1",
            "rainfall_rate",
            "crs",
        )


def test_xarray_decodes_valid_reference_and_lead_times(path):
    with xarray.open_dataset(path, engine="h5netcdf") as dataset:
        assert (
            dataset["time"].values.astype("M8[s]").tolist()
            == np.array(["2010-08-27T00:00:00", "2010-08-27T00:05:00"], "M8[s]").tolist()
        )
        assert dataset["forecast_reference_time"].values == np.datetime64("2010-08-26T23:55")
        assert dataset["forecast_period"].values.tolist() == [300, 600]
        assert dataset["forecast_period"].attrs["units"] == "s"
        assert set(dataset["rainfall_rate"].coords) == {
            "time",
            "x",
            "y",
            "forecast_reference_time",
            "forecast_period",
        }


def test_the_bytes_on_disk_hold_a_fill_value_that_is_no_rain_rate_and_are_compressed(path):
    with h5py.File(path) as file:
        rate = file["rainfall_rate"]
        assert rate.attrs["_FillValue"][0] == np.float32(9.96921e36)
        assert (rate[:] == rate.attrs["_FillValue"]).sum() == 3
        assert (rate[:] == 0).sum() == 3
        assert (rate.compression, rate.chunks) == ("gzip", (1, 2, 3))
        assert (file["time"].attrs["units"], file["time"][0]) == (
            b"seconds since 1970-01-01",
            1282867200,
        )
        assert "_FillValue" not in file["x"].attrs


def test_the_projection_can_be_rebuilt_from_the_wkt_and_from_the_cf_parameters(path):
    with xarray.open_dataset(path, engine="h5netcdf") as dataset:
        attributes = dataset["crs"].attrs
        assert pyproj.CRS.from_wkt(attributes["crs_wkt"]) == pyproj.CRS.from_user_input(POLAR)
        assert attributes["grid_mapping_name"] == "polar_stereographic"
        assert (attributes["latitude_of_projection_origin"], attributes["standard_parallel"]) == (
            90,
            60,
        )
        assert dataset["x"].attrs["standard_name"] == "projection_x_coordinate"
        assert (dataset["x"].values.tolist(), dataset["y"].values.tolist()) == (
            [0.5, 1.5, 2.5],
            [50.5, 49.5],
        )


@pytest.mark.parametrize(
    "crs, x_name, y_name, units",
    [
        ("EPSG:4326", "longitude", "latitude", ("degrees_east", "degrees_north")),
        ("EPSG:3035", "projection_x_coordinate", "projection_y_coordinate", ("m", "m")),
        (POLAR, "projection_x_coordinate", "projection_y_coordinate", ("km", "km")),
        (
            "EPSG:2263",
            "projection_x_coordinate",
            "projection_y_coordinate",
            ("0.30480060960121924 m",) * 2,
        ),
        (ROTATED, "grid_longitude", "grid_latitude", ("degrees", "degrees")),
    ],
)
def test_coordinates_say_what_they_are_and_the_grid_reads_back(
    tmp_path, crs, x_name, y_name, units
):
    written = forecast(VALUES, crs=crs)
    write_forecast(written, tmp_path / "f.nc", attributes={})
    with xarray.open_dataset(tmp_path / "f.nc", engine="h5netcdf") as dataset:
        assert (dataset["x"].attrs["standard_name"], dataset["y"].attrs["standard_name"]) == (
            x_name,
            y_name,
        )
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
        assert re.fullmatch(
            r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ written by nowcast .+", dataset.attrs["history"]
        )


def test_members_lie_beside_the_forecast_and_both_are_read_back(tmp_path):
    members = np.stack([VALUES, VALUES + 1, 2 * VALUES])
    write_forecast(replace(forecast(VALUES), members=members), tmp_path / "m.nc", attributes={})
    with xarray.open_dataset(tmp_path / "m.nc", engine="h5netcdf") as file:
        assert file.rainfall_rate_members.dims == ("realization", "time", "y", "x") and list(
            file.realization
        ) == [0, 1, 2]
        np.testing.assert_array_equal(file.rainfall_rate_members, members)
        np.testing.assert_array_equal(file.rainfall_rate, VALUES)
    np.testing.assert_array_equal(read_forecast(tmp_path / "m.nc").values, VALUES)
    for variable, expected, count in (
        (None, VALUES[None], None),
        ("rainfall_rate_members", members, 3),
    ):
        with CfNetcdf(variable=variable).forecast(tmp_path / "m.nc") as read:
            assert read.members == count
            np.testing.assert_allclose(read.values(), expected, rtol=1e-6)


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


def test_a_forecast_is_known_by_its_content_and_its_attributes_read_back(path, tmp_path):
    write_forecast(
        forecast(VALUES),
        tmp_path / "f.bin",
        attributes={"institution": "Zürich", "model": "m", "comment": ""},
    )
    assert is_forecast(path) and is_forecast(tmp_path / "f.bin")
    attributes = read_attributes(tmp_path / "f.bin")
    assert (
        attributes["institution"],
        attributes["model"],
        attributes["comment"],
        attributes["Conventions"],
    ) == ("Zürich", "m", "", "CF-1.11")
    with xarray.open_dataset(tmp_path / "f.bin", engine="h5netcdf") as dataset:
        assert {name: dataset.attrs[name] for name in ("institution", "model", "comment")} == {
            "institution": "Zürich",
            "model": "m",
            "comment": "",
        }
    (tmp_path / "text.nc").write_text("no NetCDF")
    xarray.Dataset({"rainfall_rate": ("x", [1.0])}).to_netcdf(
        tmp_path / "other.nc", engine="h5netcdf"
    )
    assert not any(is_forecast(tmp_path / name) for name in ("text.nc", "other.nc", "none.nc"))


def test_all_that_describes_the_rates_is_checksummed_and_damage_is_never_read_as_something_else(
    path,
):
    with h5py.File(path) as file:
        members = [file, *(file[name] for name in file)]
        assert not [
            (member.name, name)
            for member in members
            for name in member.attrs
            if not name.isupper()
            and member.attrs.get_id(name).get_type().get_class() == h5py.h5t.STRING
            and member.attrs.get_id(name).get_type().is_variable_str()
        ]
    content, rng, outcomes = path.read_bytes(), np.random.default_rng(0), set()
    for _ in range(150):
        damaged = bytearray(content)
        damaged[rng.integers(len(content))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            outcomes.add(
                "same"
                if np.array_equal(read_forecast(path).values, VALUES, equal_nan=True)
                else "other"
            )
        except UserError:
            outcomes.add("refused")
    assert outcomes == {"same", "refused"}


def test_a_missing_file_and_one_of_another_kind_are_refused(tmp_path):
    (tmp_path / "text.nc").write_text("no NetCDF")
    with pytest.raises(UserError, match="none.nc does not exist"):
        read_forecast(tmp_path / "none.nc")
    with pytest.raises(UserError, match="text.nc is not an HDF5 file"):
        read_forecast(tmp_path / "text.nc")


def test_a_file_without_a_forecast_is_refused_with_what_is_missing(tmp_path):
    xarray.Dataset({"temperature": ("x", [1.0])}).to_netcdf(tmp_path / "t.nc", engine="h5netcdf")
    with pytest.raises(
        UserError, match="t.nc has no rainfall_rate; it is cut short or of another format"
    ):
        read_forecast(tmp_path / "t.nc")


def test_rain_rates_in_another_unit_are_refused(path):
    with h5py.File(path, "r+") as file:
        file["rainfall_rate"].attrs["units"] = "m s-1"
    with pytest.raises(
        UserError,
        match=r"has rainfall_rate in 'm s-1'; expected rainfall_rate\(time, y, x\) in 'mm h-1'",
    ):
        read_forecast(path)


def test_a_file_that_claims_more_than_its_bytes_can_hold_is_refused_before_it_is_read(path):
    with h5py.File(path, "r+") as file:
        attributes = dict(file["rainfall_rate"].attrs)
        del file["rainfall_rate"]
        file.create_dataset(
            "rainfall_rate", (1000, 8192, 8192), "f4", chunks=(1, 8192, 8192), compression="gzip"
        ).attrs["units"] = attributes["units"]
    with pytest.raises(
        UserError,
        match="claims 268435456000 bytes of rain rates, but contains too few bytes for them",
    ):
        read_forecast(path)


@pytest.mark.parametrize("length", [0, 100, 3000, -100])
def test_a_forecast_that_was_cut_short_is_refused(path, length):
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(
        UserError, match="forecast.nc is (empty|not an HDF5 file|damaged or cut short)"
    ):
        read_forecast(path)


def test_a_field_that_was_lost_reads_as_missing_never_as_dry(path):
    with h5py.File(path, "r+") as file:
        rate = file["rainfall_rate"]
        stored = {
            "dtype": "f4",
            "chunks": rate.chunks,
            "compression": "gzip",
            "shuffle": True,
            "fillvalue": rate.fillvalue,
        }
        attributes = dict(rate.attrs)
        first = rate[:1]
        del file["rainfall_rate"]
        rate = file.create_dataset("rainfall_rate", VALUES.shape, **stored)
        rate[:1] = first
        rate.attrs.update({"units": "mm h-1", "_FillValue": attributes["_FillValue"]})
    values = read_forecast(path).values
    assert np.array_equal(values[0], VALUES[0], equal_nan=True) and np.isnan(values[1]).all()


@pytest.mark.parametrize("crs", [POLAR, "EPSG:4326", "EPSG:3035", "EPSG:2263", ROTATED])
@pytest.mark.parametrize(
    "given",
    [{}, {"institution": "a weather service", "comment": "a \x00 \ud800 b", "model": "m" * 70_000}],
)
def test_the_cf_checker_finds_no_error_in_a_forecast_nor_in_products(tmp_path, crs, given):
    pytest.importorskip("compliance_checker")
    for name, written in (
        ("f.nc", forecast(VALUES, crs=crs)),
        ("p.nc", products(crs)),
        ("m.nc", replace(forecast(VALUES, crs=crs), members=np.stack([VALUES, VALUES + 1]))),
        ("mean.nc", replace(forecast(VALUES, crs=crs), point="mean")),
        ("event.nc", replace(forecast(VALUES, crs=crs), point="event:1@0.2")),
    ):
        write_forecast(written, tmp_path / name, attributes=given)
        assert complaints(tmp_path / name) == {"high": [], "medium": []}


def test_the_cf_checker_misses_only_what_it_asks_for_wrongly_or_cf_has_no_name_for(tmp_path):
    pytest.importorskip("compliance_checker")
    write_forecast(products("EPSG:21781"), tmp_path / "swiss.nc", attributes={})
    assert complaints(tmp_path / "swiss.nc")["high"] == [
        "azimuth is a required attribute for grid mapping oblique_mercator"
    ]  # CF: azimuth_of_central_line
    write_forecast(products("EPSG:3857"), tmp_path / "web.nc", attributes={})
    assert {text.partition(".")[0] for text in complaints(tmp_path / "web.nc")["high"]} == {
        "None is not a valid grid_mapping_name"
    }


def test_products_read_back_with_depth_exact_and_probability_in_whole_per_cent(tmp_path):
    written = products()
    written.probability[0, 0, 0, :2] = 0.004, 0.996
    assert write_forecast(written, tmp_path / "p.nc", attributes={}) == [tmp_path / "p.nc"]
    with xarray.open_dataset(tmp_path / "p.nc", engine="h5netcdf") as dataset:
        depth, probability = dataset["rain_depth"], dataset["probability"]
        assert np.array_equal(dataset["rainfall_rate"].values, VALUES, equal_nan=True)
        assert np.array_equal(depth.values, written.depth, equal_nan=True) and (
            depth.dtype,
            depth.attrs["units"],
        ) == (np.float32, "mm")
        assert depth.values[1, 0].tolist() == np.float32([1 / 12, 0.1 / 12, 12.5 / 12]).tolist()
        assert probability.dims == ("threshold", "time", "y", "x") and dataset[
            "threshold"
        ].values.tolist() == [1, 5]
        assert (
            probability.attrs["comment"].startswith("share of the neighbouring pixels")
            and "Theis et al. 2005" in dataset.attrs["references"]
        )
        np.testing.assert_allclose(probability.values[0, 0], [[0, 1, 1], [np.nan, 1, 1]], atol=1e-6)
        np.testing.assert_allclose(
            probability.values[1, 1], [[0, 0, 0], [np.nan, np.nan, 1]], atol=1e-6
        )
        assert dataset["quality"].values.tolist() == [[0, 1, 0], [2, 0, 0]]
        assert dataset["quality"].attrs["flag_values"].tolist() == [0, 1, 2]
        assert (
            dataset["quality"].attrs["flag_meanings"].split()[2] == "observed_in_no_context_frame"
        )
        for name in ("rainfall_rate", "rain_depth", "probability"):
            assert dataset[name].attrs["ancillary_variables"] == "quality"
    assert np.array_equal(read_forecast(tmp_path / "p.nc").values, VALUES, equal_nan=True)


def test_rates_are_means_of_their_step_and_depths_are_sums_from_the_analysis_time(tmp_path):
    write_forecast(products(), tmp_path / "p.nc", attributes={})
    with xarray.open_dataset(tmp_path / "p.nc", engine="h5netcdf") as dataset:
        assert (
            dataset["rainfall_rate"].attrs["cell_methods"],
            dataset["rain_depth"].attrs["cell_methods"],
        ) == ("time: mean", "accumulation_time: sum")
        clock = {
            name: dataset[name].values.astype("M8[m]").astype(str).tolist()
            for name in ("time_bounds", "accumulation_time_bounds")
        }
        assert (dataset["accumulation_time"].values == dataset["time"].values).all()
    assert clock["time_bounds"] == [
        ["2010-08-26T23:55", "2010-08-27T00:00"],
        ["2010-08-27T00:00", "2010-08-27T00:05"],
    ]
    assert clock["accumulation_time_bounds"] == [
        ["2010-08-26T23:55", "2010-08-27T00:00"],
        ["2010-08-26T23:55", "2010-08-27T00:05"],
    ]


def test_a_rotated_pole_has_true_latitudes_and_longitudes(tmp_path):
    write_forecast(forecast(VALUES, crs=ROTATED), tmp_path / "f.nc", attributes={})
    with xarray.open_dataset(tmp_path / "f.nc", engine="h5netcdf") as dataset:
        longitude, latitude = pyproj.Transformer.from_crs(
            "EPSG:4326", ROTATED, always_xy=True
        ).transform(dataset["longitude"].values, dataset["latitude"].values)
        np.testing.assert_allclose(longitude, [[0.5, 1.5, 2.5]] * 2, atol=1e-9)
        np.testing.assert_allclose(latitude, [[50.5] * 3, [49.5] * 3], atol=1e-9)
        assert (
            dataset["crs"].attrs["grid_north_pole_latitude"] == 39.25
            and dataset["crs"].attrs["grid_north_pole_longitude"] == -162
        )


@pytest.mark.parametrize("name", ["rainfall_rate", "rain_depth", "probability", "quality"])
def test_gdal_finds_every_variable_in_its_place(tmp_path, name):
    rasterio = pytest.importorskip("rasterio")
    write_forecast(products("EPSG:3035"), tmp_path / "p.nc", attributes={})
    with rasterio.open(f"netcdf:{tmp_path}/p.nc:{name}") as dataset:
        assert dataset.crs.to_epsg() == 3035 and dataset.transform[:6] == (1, 0, 0, 0, -1, 51)


def test_a_projection_without_a_name_in_cf_is_found_by_gdal(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    write_forecast(forecast(VALUES, crs="EPSG:3857"), tmp_path / "f.nc", attributes={})
    with rasterio.open(f"netcdf:{tmp_path}/f.nc:rainfall_rate") as dataset:
        assert (
            dataset.crs.to_epsg() == 3857 and dataset.read(1)[0].tolist() == VALUES[0, 0].tolist()
        )


def test_hostile_attributes_are_made_harmless_and_bad_names_refused(tmp_path):
    write_forecast(
        forecast(VALUES),
        tmp_path / "f.nc",
        attributes={"model": "a\x00b\nc\ud800", "long": "\N{EURO SIGN}" * 70_000},
    )
    with xarray.open_dataset(tmp_path / "f.nc", engine="h5netcdf") as dataset:
        assert dataset.attrs["model"] == "a\ufffdb c\ufffd"
        assert len(dataset.attrs["long"].encode()) <= 16_000 and dataset.attrs["long"].endswith(
            "..."
        )
    with pytest.raises(UserError, match="'a/b' is no name of an attribute"):
        write_forecast(forecast(VALUES), tmp_path / "g.nc", attributes={"a/b": "c"})
