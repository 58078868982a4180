"""What an array says of itself is believed: axes, units, packing and coordinates that do not fit
are refused, never dropped.
"""

import h5py
import numpy as np
import pytest
import xarray
from factories import grid, times

from nowcast.runtime.errors import UserError
from nowcast.types.frames import Forecast, Frames, Grid
from nowcast.types.labels import is_other_unit

VALUES = np.arange(27, dtype=np.float32).reshape(
    3, 3, 3
)  # a cube: nothing but its labels tells its axes
CUBE = grid(3, 3)


def frames_of(values, on: Grid = CUBE) -> Frames:
    return Frames(values, times(0, 5, 10), on)


# axes


@pytest.mark.parametrize(
    ("dims", "wanted"),
    [
        (("time", "x", "y"), "'time', 'y', 'x'"),
        (("x", "y", "time"), "'time', 'y', 'x'"),
        (("y", "x", "time"), "'time', 'y', 'x'"),
        (("t", "longitude", "latitude"), "'t', 'latitude', 'longitude'"),
        (("valid_time", "lon", "lat"), "'valid_time', 'lat', 'lon'"),
        (("lat", "lon", "Time"), "'Time', 'lat', 'lon'"),
        (("time", "easting", "northing"), "'time', 'northing', 'easting'"),
        (("time", "cols", "rows"), "'time', 'rows', 'cols'"),
        (("rows", "time", "columns"), "'time', 'rows', 'columns'"),
        (("dim_0", "x", "y"), "'dim_0', 'y', 'x'"),
        (("time", "x", "dim_2"), "'time', 'dim_2', 'x'"),
    ],
)
def test_named_axes_in_another_order_are_refused_with_the_way_to_turn_them(dims, wanted):
    array = xarray.DataArray(VALUES, dims=dims)
    message = (
        rf"its axes are \({', '.join(dims)}\), expected \({wanted}\): pass "
        rf"data.transpose\({wanted}\)"
    )
    with pytest.raises(
        UserError,
        match=message.replace(f"expected \\({wanted}", "expected \\(" + wanted.replace("'", "")),
    ):
        frames_of(array)
    with pytest.raises(UserError, match="its axes are"):
        Forecast(array.variable, times(0)[0], [300, 600, 900], CUBE)
    turned = array.transpose(*[name.strip("' ") for name in wanted.split(",")])
    np.testing.assert_array_equal(frames_of(turned).values, turned.values)


@pytest.mark.parametrize(
    "dims",
    [
        ("time", "y", "x"),
        ("t", "lat", "lon"),
        ("a", "b", "c"),
        ("T", "row", "col"),
        ("time", "dim_1", "dim_2"),
    ],
)
def test_named_axes_in_the_order_that_is_needed_and_names_that_say_nothing_are_taken(dims):
    np.testing.assert_array_equal(frames_of(xarray.DataArray(VALUES, dims=dims)).values, VALUES)


def test_axes_of_lists_and_of_files_are_read_too(tmp_path):
    fields = [xarray.DataArray(field, dims=("x", "y")) for field in VALUES]
    with pytest.raises(
        UserError,
        match=r"its axes are \(x, y\), expected \(y, x\): pass data.transpose\('y', 'x'\)",
    ):
        frames_of(fields)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        rate = file.create_dataset("rate", data=VALUES)
        for number, label in enumerate(("time", "lon", "lat")):
            rate.dims[number].label = label
        with pytest.raises(UserError, match=r"pass numpy.transpose\(data, \(0, 2, 1\)\)"):
            frames_of(rate)
    members = xarray.DataArray(VALUES[None], dims=("time", "member", "y", "x"))
    with pytest.raises(
        UserError, match=r"its axes are \(time, member, y, x\), expected \(member, time, y, x\)"
    ):
        Forecast(VALUES, times(0)[0], [300, 600, 900], CUBE, members=members)


def test_what_nowcast_labels_itself_comes_back():
    frames = frames_of(VALUES)
    np.testing.assert_array_equal(frames_of(frames.to_xarray().rainfall_rate).values, VALUES)
    forecast = Forecast(
        VALUES, times(0)[0], [300, 600, 900], CUBE, VALUES[None] / 30, (1.0,), VALUES[None]
    )
    labelled = forecast.to_xarray()
    again = Forecast(
        labelled.rainfall_rate,
        times(0)[0],
        [300, 600, 900],
        CUBE,
        labelled.probability,
        (1.0,),
        labelled.rainfall_rate_members,
    )
    np.testing.assert_array_equal(again.members, forecast.members)


# units


@pytest.mark.parametrize(
    "units",
    [
        "m s-1",
        "m/s",
        "mm",
        "dBZ",
        "kg m-2 s-1",
        "kg m**-2 s**-1",
        "kg/m2/s",
        "mm s-1",
        "mm/day",
        "mm d-1",
        "mm/5min",
        "kg m-2",
        "m",
        "cm/h",
        "in/h",
        "inches per hour",
        "mm min-1",
        "0.1 mm/h",
        "mm6 m-3",
        "K",
        "%",
        "MM",
        "meters per second",
    ],
)
def test_a_known_unit_other_than_mm_per_hour_is_refused(units):
    assert is_other_unit(units)
    with pytest.raises(UserError, match="rain rates have the unit .*, expected mm/h: convert them"):
        frames_of(xarray.DataArray(VALUES, attrs={"units": units}))


@pytest.mark.parametrize(
    "units",
    [
        "mm h-1",
        "mm/h",
        "mm/hr",
        "mm hr^-1",
        "mm h**-1",
        "mm/hour",
        "mm per hour",
        "millimetres/hour",
        "kg m-2 h-1",
        "kg/m2/h",
        "mm.h-1",
        "mm·h⁻¹",
        "",
        "whatever",
    ],
)
def test_mm_per_hour_in_every_spelling_and_unknown_texts_are_taken(units):
    assert frames_of(xarray.DataArray(VALUES, attrs={"units": units})).values[0, 0, 1] == 1


def test_units_in_files_are_read_too(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["rate"] = VALUES
        for units in (b"m s-1", "m s-1", np.bytes_(b"m s-1")):
            file["rate"].attrs["units"] = units
            with pytest.raises(UserError, match="have the unit 'm s-1'"):
                frames_of(file["rate"])


# packing


@pytest.mark.parametrize(
    "attribute",
    [{"scale_factor": 0.1}, {"add_offset": -20.0}, {"scale_factor": np.float32([0.01])}],
)
def test_packed_arrays_of_files_are_refused_as_packed_arrays_of_xarray_are(tmp_path, attribute):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["rate"] = VALUES.astype(np.int16)
        file["rate"].attrs.update(attribute)
        for values in (file["rate"], xarray.DataArray(VALUES, attrs=attribute)):
            with pytest.raises(
                UserError, match=f"rain rates are still packed .{next(iter(attribute))} is"
            ):
                frames_of(values)


def test_files_that_are_not_packed_are_taken_with_their_marks(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        rate = file.create_dataset("rate", data=VALUES)
        rate.attrs.update(
            {"scale_factor": 1.0, "add_offset": 0.0, "_FillValue": np.float32(5), "units": "mm/h"}
        )
        np.testing.assert_array_equal(frames_of(rate).values, np.where(VALUES == 5, np.nan, VALUES))


def test_a_variable_of_netcdf4_is_taken_when_it_unpacks_itself_and_refused_when_it_does_not(
    tmp_path,
):
    netcdf4 = pytest.importorskip("netCDF4")
    with netcdf4.Dataset(tmp_path / "a.nc", "w") as file:
        for name in ("time", "y", "x"):
            file.createDimension(name, 3)
        rate = file.createVariable("rate", "i2", ("time", "y", "x"), fill_value=4)
        rate.scale_factor = 0.5
        rate[...] = np.where(VALUES == 4, 8, VALUES)  # 4 mm/h, whose number is 8, is no mark
        rate[0, 0, 0] = np.ma.masked
        expected = np.where(VALUES == 4, 8, VALUES)
        expected[0, 0, 0] = np.nan
        expected[0, 0, 2] = np.nan  # 2 mm/h is stored as 4
        np.testing.assert_array_equal(frames_of(rate).values, expected)
        rate.set_auto_mask(False)
        np.testing.assert_array_equal(frames_of(rate).values, expected)
        rate.set_auto_scale(False)
        with pytest.raises(
            UserError,
            match=r"still packed .scale_factor is 0.5.; call set_auto_maskandscale\(True\)",
        ):
            frames_of(rate)


# coordinates


@pytest.mark.parametrize("name", ["y", "lat", "northing"])
def test_rows_that_run_the_other_way_round_than_the_grid_are_refused(name):
    array = xarray.DataArray(
        VALUES, dims=("time", name, "x"), coords={name: CUBE.y[::-1], "x": CUBE.x}
    )
    with pytest.raises(
        UserError,
        match=rf"their coordinate {name} runs from .* but the grid's y from .* pass "
        rf"data.isel\({name}=slice\(None, None, -1\)\)",
    ):
        frames_of(array)
    assert frames_of(array.isel({name: slice(None, None, -1)})).values[0, 0, 0] == 6
    assert (
        len(frames_of(array.assign_coords({name: [1.0, 2.0, 3.0]}))) == 3
    )  # of another projection: nothing is said
    with pytest.raises(UserError, match="their coordinate x runs from"):
        frames_of(xarray.DataArray(VALUES, dims=("time", "y", "x"), coords={"x": CUBE.x[::-1]}))


# counts and times


@pytest.mark.parametrize(
    ("discarded", "message"),
    [
        ([1, 2], r"shape \(2,\), expected \(3,\)"),
        (3, r"shape \(\), expected \(3,\)"),
        (np.zeros((3, 3, 3), bool), r"shape \(3, 3, 3\)"),
        ([0, -1, 0], "contains -1, expected whole numbers of at least 0"),
        ([True, False, True], "values of type bool"),
        (np.ma.masked_array([1, 2, 3], [0, 1, 0]), "contains masked numbers"),
        ([0.5, 1, 1], "values of type float"),
        ([np.nan, 1, 1], "values of type float"),
    ],
)
def test_numbers_of_discarded_pixels_that_cannot_be_are_refused(discarded, message):
    with pytest.raises(UserError, match=message):
        Frames(VALUES, times(0, 5, 10), CUBE, discarded=discarded)
    assert Frames(
        VALUES, times(0, 5, 10), CUBE, discarded=np.uint8([1, 2, 3])
    ).discarded.tolist() == [1, 2, 3]


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@pytest.mark.parametrize("kind", [np.int64, list, object])
def test_whole_numbers_that_are_no_seconds_are_refused_with_the_unit_that_they_have(unit, kind):
    counts = times(0, 5, 10).astype(f"datetime64[{unit}]").astype(np.int64)
    given = counts.tolist() if kind is list else counts.astype(kind)
    with pytest.raises(
        UserError,
        match=r"too large for seconds since 1970 \(years beyond 2262 or before 1900\); convert "
        r"them to datetime64 with the unit that they have, e.g. "
        rf"numpy.array\(values\).astype\('datetime64.{unit}.'\)",
    ):
        Frames(VALUES, given, CUBE)
    with pytest.raises(UserError, match="too large for seconds"):
        Forecast(VALUES[:1], -counts[0], [300], CUBE)
    seconds = times(0, 5, 10).astype(np.int64)
    assert list(
        Frames(VALUES, seconds.tolist() if kind is list else seconds.astype(kind), CUBE).times
    ) == list(times(0, 5, 10))
    with pytest.raises(UserError, match=r"lead times contain whole numbers .*'timedelta64.ns.'"):
        Forecast(VALUES[:1], times(0)[0], [300 * 10**9], CUBE)


# rounding


def test_rounding_of_floats_below_zero_is_dry_in_frames_and_forecasts_and_more_is_negative():
    for value in (-1e-6, -1e-9, -1e-30, -0.0):
        values = VALUES.copy()
        values[:, 1] = value
        before = values.copy()
        for made in (
            frames_of(values),
            Forecast(values, times(0)[0], [300, 600, 900], CUBE, members=values[None]),
        ):
            assert (made.values[:, 1] == 0).all() and (
                np.delete(made.values, 1, axis=1) == np.delete(VALUES, 1, axis=1)
            ).all()
        np.testing.assert_array_equal(values, before)
    values[0, 0, 0] = -1e-5
    with pytest.raises(
        UserError,
        match=r"1 rain rates are negative \(e.g. -1e-05 mm/h\); where they are rounding of dry "
        r"pixels, set them to 0",
    ):
        frames_of(values)
    values[0, 0, 1] = -np.inf
    with pytest.raises(
        UserError, match="1 rain rates are infinite; mark pixels that were not observed with NaN"
    ):
        frames_of(values)
