"""Rainfields: millimetres in 6 minutes become mm/h at the end of the interval, on the coordinates
of the file.
"""

import numpy as np
import pytest

from nowcast.readers.bom_rainfields import BomRainfields
from nowcast.readers.cf_netcdf import CfNetcdf
from nowcast.runtime.errors import UserError
from tests.factories import shared_data
from tests.factories_cf import write_cf
from tests.factories_readers import (
    case,
    cut_everywhere,
    first_real_file,
    from_settings_file,
    read_and_compare,
    read_case,
)

ALBERS = {
    "grid_mapping_name": "albers_conical_equal_area", "standard_parallel": [-18.0, -36.0], "longitude_of_central_meridian": 144.752, "latitude_of_projection_origin": -37.852,
    "false_easting": 0.0, "false_northing": 0.0, "semi_major_axis": 6378137.0, "inverse_flattening": 298.2572221,
}  # fmt: skip
DEPTH = {
    "standard_name": "precipitation_amount",
    "units": "kg m-2",
    "scale_factor": 0.05,
    "add_offset": 0.0,
    "_FillValue": np.int16(-32768),
    "grid_mapping": "proj",
}


def write_bom(path, counts, *, start=0, end=360, leave_out=(), **field):
    """A file of 2018-06-16 10:00 + ``start`` to ``end`` seconds on cells of 500 m."""

    def more(file):
        file.renameVariable("crs", "proj")
        for name, seconds, attributes in (
            ("start_time", start, {}),
            ("valid_time", end, {"standard_name": "time"}),
        ):
            if name not in leave_out:
                file.createVariable(name, "i8")[...] = 1529143200 + seconds
                file[name].setncatts(
                    {"units": "seconds since 1970-01-01 00:00:00 UTC"} | attributes
                )
        file.renameVariable("time", "unused")
        file["unused"].setncatts({"standard_name": "age", "units": "s"})

    counts = np.asarray(counts, np.int16)
    height, width = counts.shape
    places = {
        "x": np.float32(-0.5 * (width // 2) + 0.5 * np.arange(width)),
        "y": np.float32(0.5 * (height // 2) - 0.5 * np.arange(height)),
        "x_is": {"units": "km"},
        "y_is": {"units": "km"},
    }
    return write_cf(
        path,
        counts,
        dims=("y", "x"),
        name="precipitation",
        mapping=ALBERS,
        field=DEPTH | field,
        minutes=np.int32([0]),
        more=more,
        **places,
    )


def test_a_real_file_has_the_pixels_that_were_decoded_independently():
    frames = read_and_compare(BomRainfields(), "bom")
    assert frames.quantity == "rain depth in 6 min"
    assert [*frames.grid.x[[0, -1]], *frames.grid.y[[0, -1]]] == [
        -128_000,
        127_500,
        128_000,
        -127_500,
    ]


def test_three_negative_pixels_beside_two_of_the_fill_are_missing_and_the_rest_is_read():
    frames = read_case(
        "C10_bom_negative/66_20201031_004000.prcp-c10.nc",
        time="2020-10-31T00:40",
        missing=5,
        highest=20.4,
        mean=None,
        wet=None,
    )
    netcdf = pytest.importorskip("netCDF4").Dataset
    with netcdf(case("C10_bom_negative/66_20201031_004000.prcp-c10.nc")) as file:
        file.set_auto_maskandscale(False)
        counts = file["precipitation"][...].astype(np.float64)
    assert (counts == -2).sum() == 3 and (counts == -1).sum() == 2
    expected = np.where(counts < 0, np.nan, counts * 0.05 * 6)
    np.testing.assert_allclose(frames.values[0], expected, rtol=1e-6)


def test_a_count_of_minus_2_beside_another_fill_is_missing_in_few_pixels_and_refused_in_many(
    tmp_path,
):
    counts, fill = np.full((40, 50), 20, np.int16), np.int16(-1)
    counts[0, 0], counts[0, 1] = -2, fill
    path = write_bom(tmp_path / "a.nc", counts, _FillValue=fill)
    rates = BomRainfields().read(path).values[0]
    assert np.isnan(rates).sum() == 2 and (rates[1:] == 10).all()
    counts[0, :5] = -2
    with pytest.raises(UserError, match="rates that are negative .* in 5 of 2000 pixels"):
        BomRainfields().read(write_bom(tmp_path / "b.nc", counts, _FillValue=fill))


def test_a_real_file_is_pixel_for_pixel_what_pysteps_reads():
    importers = pytest.importorskip("pysteps.io.importers")
    path, _ = first_real_file("bom")
    depth, _, about = importers.import_bom_rf3(str(path))
    frames = BomRainfields().read(path)
    np.testing.assert_allclose(frames.values[0], np.asarray(depth) * 10, rtol=1e-6)
    assert about["accutime"] == 6 and (about["x1"], about["x2"], about["y1"], about["y2"]) == (
        -128_000,
        127_500,
        -127_500,
        128_000,
    )


def test_the_real_files_are_6_minutes_apart_and_named_by_the_end_of_their_interval():
    paths = sorted((shared_data() / "radar/bom/20180616/prcp-cscn_2").iterdir())
    assert len(paths) == 61
    for number, path in enumerate(paths[:3]):
        time = BomRainfields().read(path).times[0]
        assert time == np.datetime64("2018-06-16T10:00") + np.timedelta64(6 * number, "m")
        assert f"{time.item():%Y%m%d_%H%M%S}" in path.name


def test_20_counts_of_a_twentieth_mm_in_6_minutes_are_10_mm_per_hour_at_the_end(tmp_path):
    path = write_bom(tmp_path / "a.nc", [[20, 0], [-32768, 1]])
    frames = BomRainfields().read(path)
    np.testing.assert_allclose(frames.values, [[[10, 0], [np.nan, 0.5]]])
    assert list(frames.times) == [np.datetime64("2018-06-16T10:06")]
    assert [*frames.grid.x, *frames.grid.y] == [-500, 0, 500, 0]
    assert BomRainfields().recognises(path) and not CfNetcdf().recognises(path)


def test_the_interval_is_that_of_the_file(tmp_path):
    frames = BomRainfields().read(write_bom(tmp_path / "a.nc", [[20]], start=-1440))
    assert (frames.values[0, 0, 0], frames.quantity) == (2.0, "rain depth in 30 min")


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"start": 360}, "its interval runs from 2018-06-16T10:06:00 to 2018-06-16T10:06:00; a rain "
                      "depth needs one that ends after it starts"),
     ({"leave_out": ["start_time"]}, "start_time is missing; expected a single time"), ({"leave_out": ["valid_time"]}, "valid_time "
                                                                                                                       "is "
                                                                                                                       "missing; "
                                                                                                                       "expected "
                                                                                                                       "a "
                                                                                                                       "single "
                                                                                                                       "time"),
     ({"units": None}, "precipitation has the units ''; a rate such as"), ({"units": "mm h-1"}, "precipitation "
                                                                                                "is "
                                                                                                "precipitation_amount, "
                                                                                                "a "
                                                                                                "rain "
                                                                                                "depth, "
                                                                                                "but "
                                                                                                "its "
                                                                                                "units"),
     ({"grid_mapping": "absent"}, "the grid mapping absent of precipitation is not in the file")],
)  # fmt: skip
def test_a_file_that_says_too_little_or_contradicts_itself_is_refused(tmp_path, changes, message):
    with pytest.raises(UserError, match=f"a.nc:? {message}"):
        BomRainfields().read(write_bom(tmp_path / "a.nc", [[1, 2]], **changes))


def test_a_file_cut_anywhere_is_refused_or_whole(tmp_path):
    assert (
        cut_everywhere(
            BomRainfields(), write_bom(tmp_path / "a.nc", np.arange(600).reshape(20, 30))
        )
        >= 60
    )


def test_it_is_built_from_its_settings_file():
    assert from_settings_file("bom_rainfields") == BomRainfields()
