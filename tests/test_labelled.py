"""Frames and forecasts as xarray: the same numbers, places and times as in the file, under CF's
names, and nothing is copied; and frames of whatever xarray has that says what it is.
"""

import numpy as np
import pytest
import xarray
from factories import grid, times, write_archive
from factories_cf import add_bounds, write_cf

from nowcast.data.archive import Archive
from nowcast.output.netcdf import write_forecast
from nowcast.readers.cf_netcdf import CfNetcdf
from nowcast.runtime.errors import UserError
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
    "kilometres": Grid(
        "+proj=stere +lat_0=90 +lon_0=0 +lat_ts=60 +a=6378137 +b=6356752 +units=km",
        np.arange(7.0),
        -3650 - np.arange(5.0),
    ),
}


def require_equal(one: Frames, other: Frames) -> None:
    """The same to the last bit, and where and what it is to the last letter."""
    np.testing.assert_array_equal(one.values, other.values)
    for name in ("times", "discarded"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for name in ("x", "y"):
        np.testing.assert_array_equal(getattr(one.grid, name), getattr(other.grid, name))
    assert one.grid.crs == other.grid.crs
    assert (one.source, one.quantity) == (other.source, other.quantity)


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


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("is_kept", [False, True], ids=["in memory", "written by xarray"])
def test_frames_come_back_exactly(place, is_kept, tmp_path):
    values = rates(3, *place.shape)
    for details in (("radar.h5", "rain depth in 5 min", [0, 7, 0]), ("", "rain rate", None)):
        frames = Frames(values, times(0, 5, 15), place, *details)
        data = frames.to_xarray()
        if is_kept:
            data.to_netcdf(tmp_path / "own.nc", engine="h5netcdf")
            data = xarray.load_dataset(tmp_path / "own.nc", engine="h5netcdf")
        require_equal(Frames.from_xarray(data), frames)
    backwards = data.isel(time=slice(None, None, -1), y=slice(None, None, -1)).transpose("x", ...)
    require_equal(Frames.from_xarray(backwards), frames)
    require_equal(
        Frames.from_xarray(data["rainfall_rate"].assign_attrs(source="")),
        Frames(values, times(0, 5, 15), place),
    )


def test_of_lazy_data_only_the_selected_frames_are_computed():
    import dask.array

    frames = Frames(rates(6, 5, 7), times(0, 5, 10, 15, 20, 25), grid(5, 7), "made up")
    data = frames.to_xarray()
    read = []

    def field(block_info=None):
        start = block_info[None]["array-location"][0][0]
        read.append(start)
        return frames.values[start : start + 1]

    lazy = dask.array.map_blocks(field, chunks=((1,) * 6, (5,), (7,)), dtype=np.float32)
    data["rainfall_rate"] = data["rainfall_rate"].copy(data=lazy)
    read.clear()
    chosen = Frames.from_xarray(data.sel(time=slice("2020-06-01T00:10", "2020-06-01T00:15")))
    assert sorted(read) == [2, 3]
    np.testing.assert_array_equal(chosen.values, frames.values[2:4])


CF_FILES = {
    "m s-1": {"field": {"units": "m s-1"}},
    "kg m-2 s-1": {"field": {"units": "kg m-2 s-1", "standard_name": "rainfall_flux"}},
    "inches a day, packed": {
        "raw": np.int16([[[0, 4, -1], [5, 6, 30]]]),
        "field": {
            "units": "in d-1",
            "_FillValue": np.int16(-1),
            "scale_factor": np.float32(0.1),
            "add_offset": np.float32(0.0),
            "valid_range": np.int16([0, 20]),
        },
    },
    "unsigned bytes of NetCDF-3": {
        "raw": np.array([[[0, 127, 200], [250, 251, 255]]], np.uint8).view(np.int8),
        "kind": "NETCDF3_CLASSIC",
        "field": {
            "_Unsigned": "true",
            "_FillValue": np.int8(-1),
            "scale_factor": 0.5,
            "valid_max": np.int8(-6),
        },
    },
    "depths with bounds": {
        "field": {"units": "mm", "standard_name": "thickness_of_rainfall_amount"},
        "more": lambda file: add_bounds(file, [[-5, 0]]),
    },
    "kilometres from the south": {
        "x": [0.5, 1.5, 2.5],
        "y": [-1.5, -0.5],
        "x_is": {"units": "km"},
        "y_is": {"units": "km"},
    },
    "longitudes of 0 to 360": {
        "x": [358.0, 359.0, 0.0],
        "y": [51.0, 50.0],
        "mapping": None,
        "x_is": {"standard_name": "longitude", "units": "degrees_east"},
        "y_is": {"standard_name": "latitude", "units": "degrees_north"},
    },
    "reflectivities": {
        "field": {"units": "dBZ", "standard_name": "equivalent_reflectivity_factor"}
    },
}


@pytest.mark.parametrize("decode_coords", [True, "all"])
@pytest.mark.parametrize("name", CF_FILES)
def test_what_xarray_opens_becomes_what_the_reader_of_the_file_returns(
    name, decode_coords, tmp_path
):
    settings = {"raw": np.float32([[[0, 1e-6, np.nan], [2e-6, 5e-7, 1e-5]]])} | CF_FILES[name]
    path = write_cf(tmp_path / "a.nc", settings.pop("raw"), **settings)
    with xarray.open_dataset(path, engine="netcdf4", decode_coords=decode_coords) as data:
        ours = Frames.from_xarray(data)
    expected = CfNetcdf().read(path)
    np.testing.assert_allclose(ours.values, expected.values, rtol=1e-6)
    np.testing.assert_array_equal(ours.times, expected.times)
    assert ours.grid.difference(expected.grid) is None
    assert (ours.source, ours.quantity) == (str(path), expected.quantity)


def test_an_archive_opened_by_xarray_has_the_same_frames(tmp_path):
    path = write_archive(tmp_path / "a.nc", rates(2, 5, 7), [0, 5])
    with xarray.open_dataset(path, engine="h5netcdf") as data, Archive(path) as archive:
        require_equal(Frames.from_xarray(data), archive.frames(0, 2))


def test_times_of_cftime_are_times():
    data = Frames(rates(2, 5, 7), times(0, 5), grid(5, 7)).to_xarray()
    calendar_times = data["time"].to_index().to_series().dt.to_pydatetime()
    cftime = pytest.importorskip("cftime")
    data["time"] = [cftime.DatetimeGregorian(*one.timetuple()[:6]) for one in calendar_times]
    np.testing.assert_array_equal(Frames.from_xarray(data).times, times(0, 5))


def changed(**attributes):
    """A change of the attributes of a data set's rain."""
    return lambda data: data.assign(rainfall_rate=data["rainfall_rate"].assign_attrs(attributes))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed(units="K"), "radar.h5: rainfall_rate has the units 'K'; a rate such as"),
        (changed(grid_mapping="none"), "the grid mapping none of rainfall_rate is not in the file"),
        (lambda data: data.drop_vars("time"), "rainfall_rate has no time"),
        (lambda data: data.isel(time=[0, 0]), "several frames of 2020-06-01T00:00:00 UTC"),
        (lambda data: data.to_dataarray().values, "expected a Dataset or DataArray of xarray, got"),
    ],
)
def test_what_does_not_say_what_it_is_is_refused_as_a_file_is(change, message):
    data = Frames(rates(2, 5, 7), times(0, 5), grid(5, 7), "radar.h5").to_xarray()
    with pytest.raises(UserError, match=message):
        Frames.from_xarray(change(data))


def test_a_forecast_is_not_taken_for_observed_frames():
    with pytest.raises(UserError, match="is a forecast, not an observation"):
        Frames.from_xarray(forecast(grid(5, 7)).to_xarray())


def test_a_scale_of_0_would_make_everything_dry_and_is_refused():
    data = Frames(rates(1, 5, 7), times(0), grid(5, 7)).to_xarray()
    data["rainfall_rate"].encoding = {"scale_factor": 0.0}
    with pytest.raises(UserError, match="has scale_factor 0.0 and add_offset 0; finite numbers"):
        Frames.from_xarray(data)


@pytest.mark.parametrize(
    ("attributes", "arguments", "message"),
    [
        ({"units": "mm"}, {"variable": "rain"}, "nothing says over how long .* pass minutes=.$"),
        ({"units": "mm"}, {}, "If one is, pass the name of it as variable=, and"),
        ({}, {"variable": "no"}, "it has rain; pass the name of one of them as variable=.$"),
        ({}, {}, "lacks units.* says these in its attributes and coordinates, as CF does.$"),
    ],
)
def test_a_refused_data_set_names_arguments_of_python_and_no_settings(
    attributes, arguments, message
):
    coordinates = {"time": times(0, 5), "lat": np.arange(50, 54.0), "lon": np.arange(5.0)}
    values = np.ones((2, 4, 5))
    data = xarray.Dataset(
        {"rain": (("time", "lat", "lon"), values, attributes)}, coords=coordinates
    )
    with pytest.raises(UserError, match=message) as refusal:
        Frames.from_xarray(data, **arguments)
    assert "reader" not in str(refusal.value)
