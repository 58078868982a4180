"""CF NetCDF: what units, fill values, bounds and grid mappings say comes out in mm/h, UTC and north
up; what they do not say is refused.
"""

from functools import partial

import h5py
import numpy as np
import pyproj
import pytest
import xarray

from nowcast.readers import limits
from nowcast.readers.bom_rainfields import BomRainfields
from nowcast.readers.cf import rain as cf_rain
from nowcast.readers.cf import source as cf_source
from nowcast.readers.cf_netcdf import CfNetcdf
from nowcast.readers.knmi_hdf5 import KnmiHdf5
from nowcast.readers.odim_hdf5 import OdimHdf5
from nowcast.runtime.errors import UserError
from tests.factories import LAEA, shared_data, write_archive, write_knmi, write_odim
from tests.factories_cf import LAEA_MAPPING, add_bounds, write_cf
from tests.factories_readers import (
    cut_everywhere,
    first_real_file,
    from_settings_file,
    read_and_compare,
)

NAN = np.nan
KINDS = [
    *("NETCDF4", "NETCDF4_CLASSIC", "NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET"),
    "NETCDF3_64BIT_DATA",
]


def read_one(tmp_path, raw, **changes):
    """The values (H, W) of a file with one field."""
    return CfNetcdf().read(write_cf(tmp_path / "a.nc", np.asarray(raw)[None], **changes)).values[0]


def test_a_real_file_has_the_pixels_that_were_decoded_independently():
    frames = read_and_compare(CfNetcdf(), "ukmo")
    assert frames.quantity == "rain rate"
    assert [*frames.grid.x[[0, -1]], *frames.grid.y[[0, -1]]] == [
        -458_000,
        -60_000,
        2_000,
        -396_000,
    ]
    assert pyproj.CRS(frames.grid.crs).to_cf()["latitude_of_projection_origin"] == 54.9


def test_every_real_file_is_pixel_for_pixel_what_the_netcdf_library_reads_with_row_0_north():
    netcdf = pytest.importorskip("netCDF4")
    paths = sorted((shared_data() / "radar/ukmo/20181103").iterdir())
    assert len(paths) == 3
    for path in paths:
        with netcdf.Dataset(path) as file:
            expected = file["lwe_precipitation_rate"][:].astype("f8").filled(NAN)[::-1] * 3.6e6
            time = np.datetime64("1970-01-01", "s") + int(file["time"][...])
        frames = CfNetcdf().read(path)
        np.testing.assert_allclose(frames.values[0], expected, rtol=1e-6)
        assert list(frames.times) == [time]


def test_the_fill_value_that_xarray_returns_as_a_number_is_missing():
    path, _ = first_real_file("ukmo")
    with xarray.open_dataset(path, engine="netcdf4") as file:
        trap = file["lwe_precipitation_rate"].values[::-1] > 1e36
    np.testing.assert_array_equal(np.isnan(CfNetcdf().read(path).values[0]), trap)
    assert trap.sum() == 2


@pytest.mark.parametrize("kind", KINDS)
def test_all_variants_of_netcdf_are_read_alike(tmp_path, kind):
    path = write_cf(
        tmp_path / "a.nc",
        np.float32([[[0, 1.5], [-9, 4]], [[2, 0], [0, 0]]]),
        kind=kind,
        field={"_FillValue": np.float32(-9)},
    )
    frames = CfNetcdf().read(path)
    np.testing.assert_array_equal(frames.values, [[[0, 1.5], [NAN, 4]], [[2, 0], [0, 0]]])
    assert list(frames.times) == [
        np.datetime64("2020-06-01T00:00"),
        np.datetime64("2020-06-01T00:05"),
    ]
    np.testing.assert_array_equal(frames.grid.x, [500, 1500])
    np.testing.assert_array_equal(frames.grid.y, [-500, -1500])
    assert pyproj.Proj(frames.grid.crs)(10, 55) == pytest.approx((1_950_000, -2_100_000))
    assert (
        CfNetcdf().recognises(path)
        and frames.quantity == "rain rate"
        and frames.source == str(path)
    )


@pytest.mark.parametrize(
    ("name", "units", "stored", "expected"),
    [
        ("rainfall_rate", "m s-1", 1e-6, 3.6),
        ("lwe_precipitation_rate", "mm hr^-1", 2.0, 2.0),
        ("precipitation_flux", "kg m-2 s-1", 0.001, 3.6),
        ("rainfall_flux", "kg m-2 h-1", 5.0, 5.0),
    ],
)
def test_a_rate_is_converted_by_its_units(tmp_path, name, units, stored, expected):
    assert read_one(
        tmp_path, [[stored]], field={"standard_name": name, "units": units}
    ) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "units", "stored"),
    [
        ("rainfall_amount", "kg m-2", 2.0),
        ("precipitation_amount", "kg m-2", 2.0),
        ("thickness_of_rainfall_amount", "m", 0.002),
        ("lwe_thickness_of_precipitation_amount", "cm", 0.2),
    ],
)
def test_2_mm_in_5_minutes_are_24_mm_per_hour_at_the_end_of_the_bounds(
    tmp_path, name, units, stored
):
    path = write_cf(
        tmp_path / "a.nc",
        [[[stored]]],
        field={"standard_name": name, "units": units},
        minutes=[7],
        more=partial(add_bounds, minutes=[[5, 10]]),
    )
    frames = CfNetcdf().read(path)
    assert frames.values[0, 0, 0] == pytest.approx(24.0)
    assert (
        frames.times[0] == np.datetime64("2020-06-01T00:10")
        and frames.quantity == "rain depth in 5 min"
    )


def test_without_bounds_the_setting_says_the_interval_and_with_them_it_may_not_contradict(tmp_path):
    depth = {"standard_name": "rainfall_amount", "units": "mm"}
    plain = write_cf(tmp_path / "a.nc", [[[1.0]]], field=depth, minutes=[10])
    frames = CfNetcdf(minutes=15).read(plain)
    assert (frames.values[0, 0, 0], frames.times[0], frames.quantity) == (
        4.0,
        np.datetime64("2020-06-01T00:10"),
        "rain depth in 15 min",
    )
    with pytest.raises(
        UserError,
        match="rain is a rain depth, but nothing says over how long .its time has no bounds.; "
        "set reader.minutes",
    ):
        CfNetcdf().read(plain)
    bounded = write_cf(
        tmp_path / "b.nc",
        [[[1.0]], [[2.0]]],
        field=depth,
        more=partial(add_bounds, minutes=[[0, 5], [5, 10]]),
    )
    assert CfNetcdf(minutes=5).read(bounded).values.ravel().tolist() == [12, 24]
    with pytest.raises(
        UserError, match="its time bounds are 5 minutes apart; 15 .reader.minutes. is needed"
    ):
        CfNetcdf(minutes=15).read(bounded)


def test_a_rate_with_bounds_is_of_their_end_too_and_bounds_count_in_the_units_of_the_time(tmp_path):
    path = write_cf(
        tmp_path / "a.nc",
        [[[1.0]]],
        minutes=[0.0],
        time={"units": "hours since 2020-06-01"},
        more=partial(add_bounds, minutes=[[0.0, 0.25]]),
    )
    assert CfNetcdf().read(path).times[0] == np.datetime64("2020-06-01T00:15")


@pytest.mark.parametrize(
    ("bounds", "message"),
    [([[0, 5], [5, 15]], "its time bounds are 5, 10 minutes apart; one length above 0 is needed"), ([[0, 0], [5, 5]], "its "
                                                                                                                      "time "
                                                                                                                      "bounds "
                                                                                                                      "are "
                                                                                                                      "0 "
                                                                                                                      "minutes "
                                                                                                                      "apart"),
     ([[5, 0], [10, 5]], "an interval in time_bnds runs from 2020-06-01T00:05:00 to "
                         "2020-06-01T00:00:00 UTC; expected one that does not end")],
)  # fmt: skip
def test_bounds_that_contradict_each_other_are_refused(tmp_path, bounds, message):
    path = write_cf(
        tmp_path / "a.nc",
        np.zeros((2, 1, 1)),
        field={"standard_name": "rainfall_amount", "units": "mm"},
        more=partial(add_bounds, minutes=bounds),
    )
    with pytest.raises(UserError, match=f"a.nc: {message}"):
        CfNetcdf().read(path)


def test_bounds_of_another_shape_are_refused(tmp_path):
    def three(file):
        file.createDimension("nv", 3)
        file.createVariable("time_bnds", "i4", ("time", "nv"))[...] = 0
        file["time"].bounds = "time_bnds"

    with pytest.raises(
        UserError, match="time_bnds has the shape .1, 3.; bounds of time are two for each time"
    ):
        CfNetcdf().read(write_cf(tmp_path / "a.nc", [[[1.0]]], more=three))


def test_23_dbz_are_1_mm_per_hour_by_marshall_and_palmer_and_the_relation_can_be_set(tmp_path):
    field = {"standard_name": "equivalent_reflectivity_factor", "units": "dBZ", "_FillValue": -99.0}
    path = write_cf(tmp_path / "a.nc", [[[23.0103, -99.0, -np.inf]]], field=field)
    frames = CfNetcdf().read(path)
    np.testing.assert_allclose(frames.values, [[[1.0, NAN, 0.0]]], rtol=1e-5)
    assert frames.quantity == "reflectivity, Z = 200 R^1.6"
    assert CfNetcdf(z_r_a=10.0, z_r_b=2.0).read(path).values[0, 0, 0] == pytest.approx(
        (200 / 10) ** 0.5, rel=1e-5
    )


@pytest.mark.parametrize(
    ("units", "message"),
    [(None, "rain has the units ''; a rate such as"), ("1", "rain has the units '1'; a rate such "
                                                            "as 'mm h-1' or 'kg m-2 s-1', a "
                                                            "depth such as 'mm', or 'dBZ' is "
                                                            "needed"),
     ("mm/5min", "rain has the units 'mm/5min'"), ("mm", "rain is rainfall_rate, a rain rate, "
                                                         "but its units 'mm' are of a rain "
                                                         "depth; mend one of them")],
)  # fmt: skip
def test_units_that_are_missing_unknown_or_contradict_the_name_are_refused(
    tmp_path, units, message
):
    with pytest.raises(UserError, match=f"a.nc: {message}"):
        read_one(tmp_path, [[1.0]], field={"units": units})


# marks


@pytest.mark.parametrize("kind", KINDS)
def test_packed_values_are_scale_times_stored_plus_offset_and_marks_are_packed(tmp_path, kind):
    field = {
        "scale_factor": 0.1,
        "add_offset": 10.0,
        "_FillValue": np.int16(-1),
        "missing_value": np.int16(-2),
        "valid_min": np.int16(-100),
        "valid_max": np.int16(1000),
    }
    values = read_one(
        tmp_path,
        np.int16([[-100, 0, 1000], [-1, -2, -101], [1001, 5, -99]]),
        kind=kind,
        field=field,
    )
    np.testing.assert_allclose(
        values, [[0, 10, 110], [NAN, NAN, NAN], [NAN, 10.5, 0.1]], rtol=1e-6, atol=1e-12
    )


def test_packed_values_are_those_the_netcdf_library_unpacks(tmp_path):
    import netCDF4

    raw = np.random.default_rng(3).integers(-5, 2000, (2, 30, 40)).astype("i2")
    path = write_cf(
        tmp_path / "a.nc",
        raw,
        field={
            "scale_factor": 0.05,
            "add_offset": 0.25,
            "_FillValue": np.int16(-5),
            "missing_value": np.int16([7, 8]),
            "valid_range": np.int16([0, 1900]),
        },
    )
    with netCDF4.Dataset(path) as file:
        expected = np.ma.filled(file["rain"][:].astype("f8"), NAN)
    np.testing.assert_allclose(CfNetcdf().read(path).values, expected, rtol=1e-6)
    assert np.isnan(expected).sum() > 100


def test_a_valid_range_in_floats_is_of_the_unpacked_values_of_integers(tmp_path):
    values = read_one(
        tmp_path,
        np.int16([[-1, 0, 50, 51]]),
        field={"scale_factor": 2.0, "valid_range": [0.0, 100.0]},
    )
    np.testing.assert_array_equal(values, [[NAN, 0, 100, NAN]])


@pytest.mark.parametrize(
    ("kind", "fill"),
    [
        ("f4", 9.969209968386869e36),
        ("f8", 9.969209968386869e36),
        ("i2", -32767),
        ("u2", 65535),
        ("i4", -2147483647),
        ("i8", -9223372036854775806),
    ],
)
def test_the_librarys_own_fill_value_is_missing_where_no_attribute_says_so(tmp_path, kind, fill):
    np.testing.assert_array_equal(read_one(tmp_path, np.array([[fill, 2]], kind)), [[NAN, 2]])


def test_what_was_never_written_is_missing_where_it_reads_as_the_fill_value(tmp_path):
    import netCDF4

    path = write_cf(
        tmp_path / "a.nc", np.float32([[[1, 2]]]), storage={"chunksizes": (1, 1, 1), "zlib": True}
    )
    with netCDF4.Dataset(path, "a") as file:
        file.createDimension("late", None)
        hole = file.createVariable(
            "hole", "f4", ("time", "y", "x"), chunksizes=(1, 1, 1), fill_value=-1.0
        )
        hole.setncatts({"units": "mm h-1", "grid_mapping": "crs"})
        hole[0, 0, 0] = 3.0
    np.testing.assert_array_equal(CfNetcdf(variable="hole").read(path).values, [[[3, NAN]]])


def test_what_was_never_written_and_would_read_as_dry_is_refused(tmp_path):
    path = write_cf(tmp_path / "a.nc", np.float32([[[1, 2]]]))
    with h5py.File(path, "a") as file:
        scales, attributes = file["rain"].attrs["DIMENSION_LIST"], dict(file["rain"].attrs)
        del file["rain"]
        hole = file.create_dataset("rain", (1, 1, 2), "f4", chunks=(1, 1, 1))
        hole[0, 0, 0] = 3.0
        for axis, name in enumerate(("time", "y", "x")):
            hole.dims[axis].attach_scale(file[name])
        for name in ("standard_name", "units", "grid_mapping"):
            hole.attrs[name] = attributes[name]
    assert len(scales) == 3
    with pytest.raises(
        UserError, match="rain is incomplete, parts of it were lost or never written"
    ):
        CfNetcdf().read(path)


def test_unsigned_bytes_of_netcdf_3_are_told_by_an_attribute(tmp_path):
    field = {
        "_Unsigned": "true",
        "_FillValue": np.int8(-1),
        "scale_factor": 0.5,
        "valid_max": np.int8(-6),
    }
    values = read_one(
        tmp_path,
        np.array([[0, 127, 200, 250, 251, 255]], np.uint8).view(np.int8),
        kind="NETCDF3_CLASSIC",
        field=field,
    )
    np.testing.assert_array_equal(values, [[0, 63.5, 100, 125, NAN, NAN]])


def test_flags_are_missing_unless_they_say_dry(tmp_path):
    meanings = (
        "no_coverage no_rain clutter below_detection_limit no_signal "
        "below_detection_limit_or_missing"
    )
    field = {
        "flag_values": -np.arange(1, 7, dtype=np.int16),
        "flag_meanings": meanings,
        "scale_factor": 0.1,
    }
    np.testing.assert_allclose(
        read_one(tmp_path, np.int16([[-1, -2, -3, -4, -5, -6, 0, 20]]), field=field),
        [[NAN, 0, NAN, 0, 0, NAN, 0, 2]],
    )


def test_an_undeclared_mark_is_refused_instead_of_becoming_rain_or_dry(tmp_path):
    for mark in (-1.0, -9999.0, 1e20, np.inf):
        with pytest.raises(UserError, match="a.nc has rates that are negative or above 5000 mm/h"):
            read_one(tmp_path, [[0.0, mark]])


def test_noise_of_packing_is_dry(tmp_path):
    raw = np.int16([[-3]])
    assert -1e-15 < -3 * 0.1 + 0.3 < 0 or -3 * 0.1 + 0.3 == 0
    assert read_one(tmp_path, raw, field={"scale_factor": 0.1, "add_offset": 0.3 - 1e-12}) == 0


@pytest.mark.parametrize(
    ("field", "message"),
    [({"flag_values": np.int16([-1, -2]), "flag_meanings": "no_coverage"}, "rain has 2 "
                                                                           "flag_values, but 1 "
                                                                           "flag_meanings"),
     ({"missing_value": "none"}, "rain has missing_value 'none'; a number is needed"),
     ({"scale_factor": 0.0}, "rain has scale_factor .*0.*; one number is needed, a scale_factor "
                             "not 0"),
     ({"scale_factor": [1.0, 2.0]}, "rain has scale_factor .*; one number is needed"), ({"add_offset": NAN}, "rain "
                                                                                                             "has "
                                                                                                             "add_offset "
                                                                                                             ".*nan.*; "
                                                                                                             "one "
                                                                                                             "number "
                                                                                                             "is "
                                                                                                             "needed"),
     ({"valid_range": np.int16([1, 2, 3])}, "rain has 3 numbers in valid_range; expected 2")],
)  # fmt: skip
def test_marks_and_scales_that_make_no_sense_are_refused(tmp_path, field, message):
    with pytest.raises(UserError, match=f"a.nc: {message}"):
        read_one(tmp_path, np.int16([[1]]), field=field)


# variables


def add_field(file, name, value, attributes, dims=("time", "y", "x")):
    variable = file.createVariable(name, "f8", dims)
    variable[...] = value
    variable.setncatts(attributes)


def test_a_rate_comes_before_a_depth_and_a_reflectivity_and_another_variable_on_request(tmp_path):
    def more(file):
        add_field(
            file,
            "dbz",
            23.0103,
            {
                "standard_name": "equivalent_reflectivity_factor",
                "units": "dBZ",
                "grid_mapping": "crs",
            },
        )
        add_field(
            file, "quality", 0.5, {"standard_name": "rainfall_rate status_flag", "units": "1"}
        )
        add_field(file, "unnamed", 7.0, {"units": "mm/h", "grid_mapping": "crs"})

    path = write_cf(tmp_path / "a.nc", [[[2.0]]], more=more)
    assert [
        CfNetcdf(variable=name).read(path).values[0, 0, 0] for name in (None, "dbz", "unnamed")
    ] == [2, pytest.approx(1, rel=1e-5), 7]
    with pytest.raises(
        UserError,
        match="has no variable 'rate'; it has .*dbz.*; set reader.variable to one of them",
    ):
        CfNetcdf(variable="rate").read(path)


def test_two_rates_must_be_chosen_from(tmp_path):
    path = write_cf(
        tmp_path / "a.nc",
        [[[2.0]]],
        more=lambda file: add_field(
            file,
            "other",
            3.0,
            {"standard_name": "rainfall_flux", "units": "mm/h", "grid_mapping": "crs"},
        ),
    )
    with pytest.raises(
        UserError, match="has several variables of rain rate: .*; set reader.variable"
    ):
        CfNetcdf().read(path)
    assert CfNetcdf(variable="other").read(path).values[0, 0, 0] == 3


def test_a_file_without_a_name_of_rain_is_not_recognised_and_says_what_it_has(tmp_path):
    path = write_cf(tmp_path / "a.nc", [[[2.0]]], field={"standard_name": None})
    with pytest.raises(
        UserError,
        match="has no variable with a standard name of rain or reflectivity .such as "
        "rainfall_rate.; it has .*rain",
    ):
        CfNetcdf().read(path)
    assert not CfNetcdf().recognises(path)
    assert CfNetcdf(variable="rain").recognises(path)


def test_a_forecast_is_no_observation(tmp_path):
    def lead(file):
        add_field(
            file,
            "forecast_period",
            300.0,
            {"standard_name": "forecast_period", "units": "s"},
            dims=("time",),
        )

    with pytest.raises(
        UserError, match="is a forecast, not an observation: forecast_period is 300 s, expected 0"
    ):
        CfNetcdf().read(write_cf(tmp_path / "a.nc", [[[2.0]]], more=lead))


@pytest.mark.parametrize(("minutes", "refused"), [(-5.0, True), (10.0, False)])
def test_a_field_of_a_time_after_the_one_it_was_made_at_is_a_forecast(tmp_path, minutes, refused):
    def made(file):
        add_field(
            file,
            "made",
            minutes,
            {
                "standard_name": "forecast_reference_time",
                "units": "minutes since 2020-06-01 00:00:00",
            },
            dims=(),
        )

    path = write_cf(tmp_path / "a.nc", [[[2.0]]], minutes=[10.0], more=made)
    if refused:
        with pytest.raises(
            UserError,
            match="is a forecast, not an observation: made is 2020-05-31T23:55:00 UTC, expected "
            "none before the time of the field, 2020-06-01T00:10:00",
        ):
            CfNetcdf().read(path)
    else:
        assert CfNetcdf().read(path).times[0] == np.datetime64("2020-06-01T00:10")

        def together(
            file,
        ):  # observations that keep the first one's time, and say that they are none of a forecast
            made(file)
            add_field(
                file, "ahead", 0.0, {"standard_name": "forecast_period", "units": "s"}, dims=()
            )

        assert (
            len(
                CfNetcdf().read(
                    write_cf(
                        tmp_path / "b.nc", [[[2.0]], [[3.0]]], minutes=[10.0, 15.0], more=together
                    )
                )
            )
            == 2
        )
        with pytest.raises(UserError, match="not an observation: made is 2020-06-01T00:10:00 UTC"):
            CfNetcdf().read(
                write_cf(tmp_path / "c.nc", [[[2.0]], [[3.0]]], minutes=[10.0, 15.0], more=made)
            )


def test_longitudes_beyond_256_in_32_bits_are_evenly_spaced_as_they_were_before_rounding(tmp_path):
    x = (300.005 + 0.01 * np.arange(50)).astype("f4")
    assert np.ptp(np.diff(x)) > 2e-5
    grid = (
        CfNetcdf()
        .read(
            write_cf(
                tmp_path / "a.nc", np.zeros((1, 1, 50)), x=x, y=[50.0], mapping=None, **DEGREES
            )
        )
        .grid
    )
    np.testing.assert_allclose(np.diff(grid.x), 0.01, rtol=1e-4)
    x[25] += 0.005
    with pytest.raises(UserError, match="grid coordinate x must be evenly spaced"):
        CfNetcdf().read(
            write_cf(
                tmp_path / "a.nc", np.zeros((1, 1, 50)), x=x, y=[50.0], mapping=None, **DEGREES
            )
        )


def test_no_other_format_is_taken_for_it_nor_it_for_another(tmp_path):
    mine = write_cf(tmp_path / "a.nc", [[[2.0]]])
    others = [
        write_knmi(tmp_path / "b.h5", [[1]]),
        write_odim(tmp_path / "c.h5", [[1.0]]),
        write_archive(tmp_path / "d.nc", np.ones((1, 8, 8)), [0]),
    ]
    assert [CfNetcdf().recognises(path) for path in (mine, *others)] == [True, False, False, False]
    assert [reader.recognises(mine) for reader in (KnmiHdf5(), OdimHdf5(), BomRainfields())] == [
        False
    ] * 3
    for path in others[1:]:
        with pytest.raises(UserError, match="is an HDF5 file, but no NetCDF; give a NetCDF file"):
            CfNetcdf().read(path)


# grids


def test_rows_from_the_south_columns_from_the_east_and_swapped_axes_are_turned_to_north_up(
    tmp_path,
):
    values = np.array([[1.0, 2, 3], [4, 5, 6]])
    x, y = np.array([500.0, 1500, 2500]), np.array([-500.0, -1500])
    south_up = write_cf(tmp_path / "a.nc", values[None, ::-1], y=y[::-1])
    east_first = write_cf(tmp_path / "b.nc", values[None, :, ::-1], x=x[::-1])
    swapped = write_cf(tmp_path / "c.nc", values.T[..., None], dims=("x", "y", "time"))
    for path in (south_up, east_first, swapped):
        frames = CfNetcdf().read(path)
        np.testing.assert_array_equal(frames.values[0], values)
        np.testing.assert_array_equal(frames.grid.x, x)
        np.testing.assert_array_equal(frames.grid.y, y)


def test_coordinates_in_kilometres_become_metres(tmp_path):
    path = write_cf(
        tmp_path / "a.nc",
        [[[1.0, 2.0], [3.0, 4.0]]],
        x=[0.5, 1.5],
        y=[-0.5, -1.5],
        x_is={"units": "km"},
        y_is={"units": "kilometre"},
    )
    grid = CfNetcdf().read(path).grid
    assert [*grid.x, *grid.y] == [500, 1500, -500, -1500]


def test_a_projection_in_kilometres_is_brought_to_metres(tmp_path):
    wkt = pyproj.CRS(
        "+proj=laea +lat_0=55 +lon_0=10 +x_0=1950000 +y_0=-2100000 +ellps=WGS84 +units=km"
    ).to_wkt()
    grid = (
        CfNetcdf()
        .read(
            write_cf(
                tmp_path / "a.nc",
                [[[1.0, 2.0]]],
                x=[0.5, 1.5],
                y=[-0.5],
                x_is={"units": "km"},
                y_is={"units": "km"},
                mapping={"crs_wkt": wkt},
            )
        )
        .grid
    )
    assert pyproj.CRS(grid.crs).axis_info[0].unit_name == "metre"
    assert pyproj.Proj(grid.crs)(10, 55) == pytest.approx((1_950_000, -2_100_000))


@pytest.mark.parametrize(
    "mapping", [LAEA_MAPPING, {"crs_wkt": pyproj.CRS(LAEA).to_wkt()}, {"spatial_ref": pyproj.CRS(LAEA).to_wkt()}, {"proj4": LAEA}, {"proj4_params": LAEA + " "
                                                                                                                                                           "+no_defs"}],
    ids=["CF", "crs_wkt", "spatial_ref", "proj4", "proj4_params"],
)  # fmt: skip
def test_a_projection_is_understood_however_it_is_written(tmp_path, mapping):
    crs = CfNetcdf().read(write_cf(tmp_path / "a.nc", [[[1.0]]], mapping=mapping)).grid.crs
    place = pyproj.Proj(LAEA)(20, 50)
    assert pyproj.Proj(crs)(20, 50) == pytest.approx(place, abs=1e-6)


def test_an_epsg_code_is_kept_as_one_and_cf_parameters_become_a_proj_string(tmp_path):
    assert (
        CfNetcdf()
        .read(
            write_cf(
                tmp_path / "a.nc", [[[1.0]]], mapping={"crs_wkt": pyproj.CRS("EPSG:3067").to_wkt()}
            )
        )
        .grid.crs
        == "EPSG:3067"
    )
    crs = CfNetcdf().read(write_cf(tmp_path / "b.nc", [[[1.0]]])).grid.crs
    assert crs.startswith("+proj=laea") and "+a=6378137.0 +b=6356752.3142" in crs
    rotated = {
        "grid_mapping_name": "rotated_latitude_longitude",
        "grid_north_pole_latitude": 39.25,
        "grid_north_pole_longitude": -162.0,
    }
    axes = {
        "x_is": {"standard_name": "grid_longitude", "units": "degrees"},
        "y_is": {"standard_name": "grid_latitude", "units": "degrees"},
    }
    grid = (
        CfNetcdf()
        .read(write_cf(tmp_path / "c.nc", [[[1.0]]], x=[0.0], y=[0.0], mapping=rotated, **axes))
        .grid
    )
    assert pyproj.Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True).transform(
        0, 0
    ) == pytest.approx((18, 50.75))


DEGREES = {
    "x_is": {"standard_name": "longitude", "units": "degrees_east"},
    "y_is": {"standard_name": "latitude", "units": "degrees_north"},
}


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        ([5.0, 5.01], [5.0, 5.01]),
        ([230.0, 230.01], [-130.0, -129.99]),
        ([179.99, 180.0], [179.99, 180.0]),
    ],
)
def test_longitudes_and_latitudes_without_a_mapping_are_wgs84_and_run_from_minus_180(
    tmp_path, x, expected
):
    grid = (
        CfNetcdf()
        .read(write_cf(tmp_path / "a.nc", [[[1.0, 2.0]]], x=x, y=[50.0], mapping=None, **DEGREES))
        .grid
    )
    assert grid.crs == "EPSG:4326"
    np.testing.assert_allclose(grid.x, expected)


def test_a_latitude_longitude_mapping_keeps_its_earth(tmp_path):
    mapping = {"grid_mapping_name": "latitude_longitude", "earth_radius": 6371229.0}
    grid = (
        CfNetcdf()
        .read(write_cf(tmp_path / "a.nc", [[[1.0]]], x=[5.0], y=[50.0], mapping=mapping, **DEGREES))
        .grid
    )
    assert pyproj.CRS(grid.crs).ellipsoid.semi_major_metre == 6371229.0


def test_of_several_mappings_the_one_of_the_coordinates_is_taken(tmp_path):
    def more(file):
        file.createVariable("other", "i4").grid_mapping_name = "latitude_longitude"
        file["rain"].grid_mapping = "other: lat lon crs: x y"

    assert (
        "+proj=laea" in CfNetcdf().read(write_cf(tmp_path / "a.nc", [[[1.0]]], more=more)).grid.crs
    )


def only_two_dimensional(file):
    for name in ("lat", "lon"):
        add_field(
            file,
            name,
            0.0,
            {"standard_name": {"lat": "latitude", "lon": "longitude"}[name]},
            dims=("y", "x"),
        )
    file["rain"].coordinates = "lat lon"
    for name in ("x", "y"):
        file.renameVariable(name, f"index_{name}")
        file[f"index_{name}"].standard_name = "index"


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"mapping": None}, "rain has no grid_mapping, so where its pixels lie is not known"),
     ({"field": {"grid_mapping": "proj"}}, "the grid mapping proj of rain is not in the file"),
     ({"mapping": {"grid_mapping_name": "nonsense"}}, "the grid mapping crs is not understood"),
     ({"mapping": {"crs_wkt": "PROJCS["}}, "the grid mapping crs is not understood"),
     ({"mapping": {"long_name": "x"}}, "the projection '' has no .proj"),
     ({"mapping": {"proj4": "+proj=laea +nadgrids=@/etc/passwd"}}, "has 'nadgrids'; a PROJ string"),
     ({"mapping": {**LAEA_MAPPING, "semi_major_axis": 6378.137}}, "the grid mapping crs has an "
                                                                  "earth radius of 6378.14 m; "
                                                                  "lengths must be in metres"),
     ({"x_is": {"units": None}}, "the coordinate x has the units ''; m or km are needed"), ({"x_is": {"units": "degrees"}}, "the "
                                                                                                                            "coordinate "
                                                                                                                            "x "
                                                                                                                            "has "
                                                                                                                            "the "
                                                                                                                            "units "
                                                                                                                            "'degrees'; "
                                                                                                                            "m "
                                                                                                                            "or "
                                                                                                                            "km"),
     ({"x_is": {"standard_name": "air_temperature"}}, "has no coordinates of x and y along them"),
     ({"x": [500.0, 1500, 4500]}, "grid coordinate x must be evenly spaced"), ({"y": [0.0, 0.0]}, "grid "
                                                                                                  "coordinate "
                                                                                                  "y "
                                                                                                  "must "
                                                                                                  "be "
                                                                                                  "evenly "
                                                                                                  "spaced"),
     ({"x": [500.0, NAN, 2500]}, "the coordinate x has 2 numbers for its length of 3; expected "
                                 "one for each"),
     ({"more": only_two_dimensional}, "has only two-dimensional lat and lon, which are no "
                                      "regular grid; one-dimensional")],
)  # fmt: skip
def test_a_grid_that_is_not_said_or_not_regular_is_refused(tmp_path, changes, message):
    with pytest.raises(UserError, match=f"a.nc: .*{message}"):
        CfNetcdf().read(write_cf(tmp_path / "a.nc", np.zeros((1, 2, 3)), **changes))


def test_degrees_are_needed_for_longitudes(tmp_path):
    with pytest.raises(
        UserError, match="the coordinate x has the units 'm'; degrees are needed for its projection"
    ):
        CfNetcdf().read(
            write_cf(
                tmp_path / "a.nc", [[[1.0]]], mapping={"grid_mapping_name": "latitude_longitude"}
            )
        )


def test_a_single_pixel_has_a_grid_of_no_spacing(tmp_path):
    frames = CfNetcdf().read(write_cf(tmp_path / "a.nc", [[[1.0]]]))
    assert frames.grid.shape == (1, 1) and np.isnan(frames.grid.spacing).all()


def test_wholly_missing_and_wholly_dry_fields_stay_what_they_are(tmp_path):
    assert np.isnan(read_one(tmp_path, np.full((3, 3), 9.969209968386869e36, "f4"))).all()
    assert (read_one(tmp_path, np.zeros((3, 3), "f4")) == 0).all()


# time and further dimensions


@pytest.mark.parametrize("kind", ["NETCDF4", "NETCDF3_CLASSIC"])
def test_a_single_time_beside_a_field_of_two_axes_and_axes_of_length_1_are_understood(
    tmp_path, kind
):
    flat = write_cf(
        tmp_path / "a.nc", [[1.0, 2.0]], dims=("y", "x"), minutes=np.int32([35]), kind=kind
    )
    deep = write_cf(
        tmp_path / "b.nc",
        np.array([1.0, 2.0]).reshape(1, 1, 1, 2),
        dims=("height", "time", "y", "x"),
        minutes=np.int32([35]),
        kind=kind,
    )
    for path in (flat, deep):
        frames = CfNetcdf().read(path)
        np.testing.assert_array_equal(frames.values, [[[1, 2]]])
        assert frames.times[0] == np.datetime64("2020-06-01T00:35")


def test_frames_come_in_time_order_whatever_their_order_in_the_file(tmp_path):
    frames = CfNetcdf().read(
        write_cf(tmp_path / "a.nc", [[[1.0]], [[2.0]], [[3.0]]], minutes=[10, 0, 5])
    )
    assert frames.values.ravel().tolist() == [2, 3, 1]
    assert (np.diff(frames.times) == np.timedelta64(5, "m")).all()


def without_time(file):
    file.renameVariable("time", "clock")
    file["clock"].setncatts({"standard_name": "age", "units": "min"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"dims": ("height", "y", "x")}, "rain has 2 fields along height for each time; a single "
                                      "one is needed"),
     ({"minutes": [5, 5]}, "contains several frames of 2020-06-01T00:05:00 UTC; one is needed"),
     ({"more": without_time}, "rain has no time: no coordinate with the standard name time"),
     ({"time": {"calendar": "noleap"}}, "time has the calendar 'noleap'; expected one of standard"), ({"time": {"units": "months "
                                                                                                                         "since "
                                                                                                                         "2020-01-01"}}, "time "
                                                                                                                                                      "has "
                                                                                                                                                      "the "
                                                                                                                                                      "units "
                                                                                                                                                      "'months "
                                                                                                                                                      "since"),
     ({"minutes": np.int32([-2147483647, 5])}, "time has a time that is missing"), ({"minutes": [NAN, 5.0]}, "time "
                                                                                                             "has "
                                                                                                             "times "
                                                                                                             "that "
                                                                                                             "are "
                                                                                                             "missing "
                                                                                                             "or "
                                                                                                             "absurd")],
)  # fmt: skip
def test_times_that_are_missing_double_or_not_understood_are_refused(tmp_path, changes, message):
    with pytest.raises(UserError, match=f"a.nc:? .*{message}|a.nc:? {message}"):
        CfNetcdf().read(write_cf(tmp_path / "a.nc", np.zeros((2, 1, 1)), **changes))


@pytest.mark.parametrize("kind", ["NETCDF4", "NETCDF3_CLASSIC"])
def test_a_file_whose_unlimited_time_has_no_frame_yet_is_refused(tmp_path, kind):
    import netCDF4

    path = tmp_path / "a.nc"
    with (
        netCDF4.Dataset(write_cf(tmp_path / "b.nc", [[[1.0]]])) as model,
        netCDF4.Dataset(path, "w", format=kind) as file,
    ):
        for name, dim in model.dimensions.items():
            file.createDimension(name, None if name == "time" else dim.size)
        for name, variable in model.variables.items():
            file.createVariable(
                name, variable.dtype if name != "time" else "i4", variable.dimensions
            ).setncatts(variable.__dict__)
        file["x"][:], file["y"][:] = [500.0], [-500.0]
    with pytest.raises(
        UserError, match="a.nc contains no frame: its time has length 0; leave it out"
    ):
        CfNetcdf().read(path)


# damage and malice


@pytest.mark.parametrize("kind", ["NETCDF4", "NETCDF3_CLASSIC", "NETCDF3_64BIT_DATA"])
def test_a_file_cut_anywhere_is_refused_or_whole(tmp_path, kind):
    values = np.random.default_rng(1).gamma(1.0, 2.0, (2, 20, 30)).astype("f4")
    assert (
        cut_everywhere(CfNetcdf(), write_cf(tmp_path / "a.nc", values, kind=kind), cuts=150) >= 140
    )


@pytest.mark.parametrize("kind", ["NETCDF4", "NETCDF3_CLASSIC", "NETCDF3_64BIT_DATA"])
def test_bytes_changed_anywhere_give_frames_or_one_line(tmp_path, kind):
    whole = write_cf(tmp_path / "a.nc", np.ones((1, 4, 5), "f4"), kind=kind).read_bytes()
    random, path = np.random.default_rng(2), tmp_path / "b.nc"
    refused = 0
    for place in random.choice(len(whole), 60, replace=False):
        content = bytearray(whole)
        content[place] ^= int(random.integers(1, 256))
        path.write_bytes(content)
        CfNetcdf().recognises(path)
        try:
            CfNetcdf().read(path)
        except UserError as error:
            assert "b.nc" in str(error) and "\n" not in str(error)
            refused += 1
    assert refused > 5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; a NetCDF file is needed"),
        (b"no radar data", "is not an HDF5 file"),
        (b"CDF\x06" + bytes(40), "variant CDF-6; CDF-1, CDF-2, CDF-5 and NetCDF-4 are accepted"),
        (b"CDF", "is NetCDF of the variant CDF-."),
        (b"CDF\x01", "is damaged or cut short"),
        (b"CDF\x05" + bytes(20), "is damaged or cut short: its NetCDF header claims 4 bytes beh"),
        (b"CDF\x01" + b"\xff" * 400, "a.nc"),
        (b"\x89HDF\r\n\x1a\n" + bytes(400), "is damaged or cut short"),
    ],
)
def test_other_content_is_refused_by_name(tmp_path, content, message):
    path = tmp_path / "a.nc"
    path.write_bytes(content)
    assert not CfNetcdf().recognises(path)
    with pytest.raises(UserError, match=message):
        CfNetcdf().read(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    assert [CfNetcdf().recognises(path) for path in (tmp_path, tmp_path / "absent.nc")] == [
        False,
        False,
    ]
    with pytest.raises(UserError, match="absent.nc does not exist; give the path of a NetCDF file"):
        CfNetcdf().read(tmp_path / "absent.nc")


def rain_of(path, make):
    """A NetCDF-4 file whose field is what ``make(file)`` puts there under its name."""
    with h5py.File(path, "a") as file:
        attributes = {
            name: file["rain"].attrs[name] for name in ("standard_name", "units", "grid_mapping")
        }
        del file["rain"]
        made = make(file)
        if made is not None:
            for name, value in attributes.items():
                made.attrs[name] = value
            for axis, name in enumerate(("time", "y", "x")):
                made.dims[axis].attach_scale(file[name])
    return path


HOSTILE = {
    "external link": (
        lambda file: file.__setitem__("rain", h5py.ExternalLink("secret.h5", "/data")),
        "is a link into another file",
    ),
    "external storage": (
        lambda file: file.create_dataset("rain", (1, 1, 2), "f8", external=[("secret.bin", 0, 16)]),
        "is stored in another file",
    ),
    "frame too large": (
        lambda file: file.create_dataset("rain", (1, 2**20, 2**20), "u1", chunks=(1, 64, 64)),
        "rain has 1048576 values along [xy], but [xy] has .*; it contradicts itself",
    ),
    "times without end": (
        lambda file: file.create_dataset("rain", (2**40, 1, 2), "u1", chunks=(1, 1, 2)),
        ".",
    ),
    "large chunk": (
        lambda file: file.create_dataset(
            "rain", (1, 1, 2), "u1", chunks=(2**10, 2**10, 2**10), maxshape=(None,) * 3
        ),
        "more than 268435456",
    ),
    "text": (
        lambda file: file.create_dataset("rain", data=np.full((1, 1, 2), b"x")),
        "must be numbers",
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_data_outside_the_file_or_beyond_measure_is_refused(tmp_path, kind):
    make, message = HOSTILE[kind]
    with pytest.raises(UserError, match=f"a.nc.*{message}"):
        CfNetcdf().read(rain_of(write_cf(tmp_path / "a.nc", [[[1.0, 2.0]]]), make))


def test_more_frames_than_memory_should_hold_are_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(cf_rain, "_MAX_VALUES", 5)
    with pytest.raises(
        UserError,
        match="contains 3 frames of 1x2 pixels; more than 5 values in one file are refused, split "
        "it by time",
    ):
        CfNetcdf().read(write_cf(tmp_path / "a.nc", np.zeros((3, 1, 2))))
    monkeypatch.setattr(limits, "MAX_PIXELS", 3)
    with pytest.raises(UserError, match="a.nc claims 2x2 pixels; expected 1 to 3 in a frame"):
        CfNetcdf().read(write_cf(tmp_path / "a.nc", np.zeros((3, 2, 2))))


def test_a_map_in_too_many_chunks_is_refused_unread(tmp_path, monkeypatch):
    from nowcast.readers import hdf5

    monkeypatch.setattr(hdf5, "_MAX_CHUNKS", 3)
    with pytest.raises(
        UserError,
        match="rain claims 1x2x2 values in 4 chunks; more than 268435456 values or 3 chunks at "
        "once are refused",
    ):
        CfNetcdf().read(
            write_cf(tmp_path / "a.nc", np.ones((1, 2, 2)), storage={"chunksizes": (1, 1, 1)})
        )


def test_more_variables_than_a_radar_file_has_are_refused(tmp_path, monkeypatch):
    from nowcast.readers import cf_netcdf

    monkeypatch.setattr(cf_netcdf, "_MAX_VARIABLES", 3)
    for kind in ("NETCDF4", "NETCDF3_CLASSIC"):
        with pytest.raises(UserError, match="variables; up to 3 are accepted"):
            CfNetcdf().read(write_cf(tmp_path / "a.nc", [[[1.0]]], kind=kind))


def test_a_coordinate_of_millions_of_values_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(cf_source, "_MAX_COORDINATES", 3)
    with pytest.raises(
        UserError, match="x has 4 values of type .*; a coordinate is up to 3 numbers"
    ):
        CfNetcdf().read(write_cf(tmp_path / "a.nc", np.zeros((1, 1, 4))))


# settings


def test_the_settings_file_has_the_defaults_and_wrong_settings_are_refused_at_once():
    assert from_settings_file("cf_netcdf") == CfNetcdf()
    with pytest.raises(UserError, match="minutes is 0; a positive number is needed"):
        CfNetcdf(minutes=0)
