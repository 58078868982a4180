"""MRMS GRIB2: NOAA's rates and depths become mm/h, its two marks become missing, longitudes run
from -180. The files are made here.
"""

import gzip
import struct
from datetime import datetime

import numpy as np
import pyproj
import pytest

from nowcast.readers import mrms_grib2
from nowcast.readers.mrms_grib2 import MrmsGrib2
from nowcast.runtime.errors import UserError
from tests.factories_grib2 import data_sections, grid_section, product_section, write_mrms
from tests.factories_readers import cut_everywhere, from_settings_file, read_case

NAN = np.nan
FIELD = np.array([[-3, -1, 0, 0.1], [2.5, 100, -3, 7.3], [0, 0, 1, 250.7]])
RATES = [[NAN, NAN, 0, 0.1], [2.5, 100, NAN, 7.3], [0, 0, 1, 250.7]]


def test_a_real_file_has_the_pixels_that_were_decoded_independently():
    frames = read_case(
        "C21_mrms/PrecipRate_00.00_20190610-000000.grib2",
        time="2019-06-10T00:00",
        missing=8769493,
        highest=148.8,
        mean=0.13519997,
        wet=0.062482538,
    )
    assert frames.grid.shape == (3500, 7000) and frames.quantity == "rain rate"
    x, y = frames.grid.x, frames.grid.y
    np.testing.assert_allclose([x[0], x[-1], y[0], y[-1]], [-129.995, -60.005, 54.995, 20.005])


def test_angles_count_in_the_subdivisions_of_a_basic_angle_of_1_as_in_real_files(tmp_path):
    grid = {"basic_angle": 1, "subdivisions": 1_000_000}
    frames = MrmsGrib2().read(write_mrms(tmp_path / "a", FIELD, grid=grid))
    np.testing.assert_array_equal(frames.values, np.float32([RATES]))
    np.testing.assert_allclose(frames.grid.x, -129.995 + 0.01 * np.arange(4), atol=1e-9)
    grid = {"basic_angle": 10, "subdivisions": 1_000_000, "west": 23.0005, "north": 5, "step": 0.01}
    frames = MrmsGrib2().read(write_mrms(tmp_path / "b", FIELD, grid=grid))
    np.testing.assert_allclose(frames.grid.y, [50, 49.9, 49.8], atol=1e-9)


@pytest.mark.parametrize("packing", [0, 41])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_rates_are_read_to_the_last_digit_and_missing_and_no_coverage_are_nan(
    tmp_path, packing, pack
):
    path = write_mrms(tmp_path / "a", FIELD, packing=packing, pack=pack)
    frames = MrmsGrib2().read(path)
    np.testing.assert_array_equal(frames.values, np.float32([RATES]))
    assert (
        list(frames.times) == [np.datetime64("2024-01-15T12:00")] and frames.quantity == "rain rate"
    )
    assert MrmsGrib2().recognises(path)


def test_longitudes_230_to_300_east_are_130_to_60_west_and_row_0_is_north(tmp_path):
    grid = MrmsGrib2().read(write_mrms(tmp_path / "a", np.zeros((3, 7000)))).grid
    np.testing.assert_allclose(grid.x[[0, -1]], [-129.995, -60.005], atol=1e-9)
    np.testing.assert_allclose(grid.y, [54.995, 54.985, 54.975], atol=1e-9)
    assert pyproj.CRS(grid.crs).ellipsoid.semi_major_metre == 6378160


def test_rows_from_the_south_are_turned(tmp_path):
    frames = MrmsGrib2().read(write_mrms(tmp_path / "a", FIELD, grid={"scanning": 0x40}))
    np.testing.assert_array_equal(frames.values, np.float32([RATES]))
    assert frames.grid.y[0] > frames.grid.y[-1]


@pytest.mark.parametrize(
    ("west", "expected"), [(0.005, 0.005), (184.005, -175.995), (179.995, 179.995)]
)
def test_other_longitudes_are_kept_between_minus_180_and_where_they_end(tmp_path, west, expected):
    assert MrmsGrib2().read(write_mrms(tmp_path / "a", FIELD, grid={"west": west})).grid.x[
        0
    ] == pytest.approx(expected)


def test_the_grid_is_the_one_gdal_makes_of_the_file(tmp_path):
    import rasterio

    path = write_mrms(tmp_path / "a.grib2", FIELD)
    with rasterio.open(path) as source:
        bounds, ellipsoid = source.bounds, pyproj.CRS.from_wkt(source.crs.to_wkt()).ellipsoid
        assert (
            source.tags(1)["GRIB_ELEMENT"] == "PrecipRate"
            and source.tags(1)["GRIB_UNIT"] == "[mm/hr]"
        )
    grid = MrmsGrib2().read(path).grid
    edges = (grid.x[0] - 0.005, grid.y[-1] - 0.005, grid.x[-1] + 0.005, grid.y[0] + 0.005)
    np.testing.assert_allclose(edges, bounds, atol=1e-6)
    assert pyproj.CRS(grid.crs).ellipsoid.inverse_flattening == pytest.approx(
        ellipsoid.inverse_flattening
    )


@pytest.mark.parametrize(("product", "name", "minutes"), [(2, "RadarOnly_QPE_01H", 60), (6, "RadarOnly_QPE_24H", 1440), (45, "RadarOnly_QPE_15M", 15), (9, "GaugeCorrQPE01H", 60),
                                                          (30, "MultiSensor_QPE_01H_Pass1", 60), (32, "MultiSensor_QPE_06H_Pass1", 360), (37, "MultiSensor_QPE_01H_Pass2", 60), (43, "MultiSensor_QPE_72H_Pass2", 4320)])  # fmt: skip
def test_a_depth_is_spread_over_the_hours_of_its_product_and_ends_at_the_reference_time(
    tmp_path, product, name, minutes
):
    import rasterio

    path = write_mrms(tmp_path / "a.grib2", [[12.0, -3, 0]], product=product)
    with rasterio.open(path) as source:
        assert source.tags(1)["GRIB_ELEMENT"] == name  # in GDAL's copy of NOAA's table
    frames = MrmsGrib2().read(path)
    np.testing.assert_allclose(frames.values, [[[12 * 60 / minutes, NAN, 0]]], rtol=1e-6)
    assert (
        frames.times[0] == np.datetime64("2024-01-15T12:00")
        and frames.quantity == f"rain depth in {minutes} min"
    )


def test_every_depth_of_the_table_has_the_hours_of_its_name():
    from pathlib import Path

    import rasterio

    table = (
        (Path(rasterio.__file__).parent / "gdal_data/grib2_table_4_2_local_MRMS.csv")
        .read_text()
        .splitlines()
    )
    names = {
        int(number): name.strip('"')
        for discipline, category, number, name, *_ in (line.split(",") for line in table[1:])
        if (discipline, category) == ("209", "6")
    }
    for number, minutes in mrms_grib2._DEPTHS.items():
        hours = names[number].replace("_", "").replace("Pass1", "").replace("Pass2", "")[-3:]
        assert minutes == (15 if hours == "15M" else 60 * int(hours[:2])) and "QPE" in names[number]
    assert names[mrms_grib2._RATE] == "PrecipRate"


def test_a_product_over_an_interval_is_of_the_end_that_it_states(tmp_path):
    path = write_mrms(
        tmp_path / "a", [[6.0]], product=37, about={"template": 8, "end": datetime(2024, 1, 15, 13)}
    )
    frames = MrmsGrib2().read(path)
    assert (frames.times[0], frames.values[0, 0, 0]) == (np.datetime64("2024-01-15T13:00"), 6)


@pytest.mark.parametrize("packing", [0, 41])
def test_what_a_bitmap_leaves_out_is_missing(tmp_path, packing):
    frames = MrmsGrib2().read(write_mrms(tmp_path / "a", FIELD, packing=packing, bitmap=FIELD > 0))
    np.testing.assert_array_equal(
        frames.values,
        np.float32([[[NAN, NAN, NAN, 0.1], [2.5, 100, NAN, 7.3], [NAN, NAN, 1, 250.7]]]),
    )


@pytest.mark.parametrize("packing", [0, 41])
@pytest.mark.parametrize(("stored", "expected"), [(0, 0), (-3, NAN), (4.2, np.float32(4.2))])
def test_a_field_of_one_value_needs_no_bits(tmp_path, packing, stored, expected):
    np.testing.assert_array_equal(
        MrmsGrib2()
        .read(write_mrms(tmp_path / "a", np.full((3, 4), stored), packing=packing))
        .values,
        np.full((1, 3, 4), expected, "f4"),
    )


def test_a_single_pixel_is_read(tmp_path):
    frames = MrmsGrib2().read(write_mrms(tmp_path / "a", [[1.5]]))
    assert frames.values.tolist() == [[[1.5]]] and np.isnan(frames.grid.spacing).all()


def test_other_negative_numbers_are_refused_and_are_neither_dry_nor_missing(tmp_path):
    with pytest.raises(
        UserError, match="has rates that are negative or above 5000 mm/h .from -2 to 1."
    ):
        MrmsGrib2().read(write_mrms(tmp_path / "a", [[-2.0, 1]]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"product": 0}, "its parameter number is 0, expected one of 1, 2, 3"), ({"product": 16}, "its "
                                                                                               "parameter "
                                                                                               "number "
                                                                                               "is "
                                                                                               "16, "
                                                                                               "expected "
                                                                                               "one "
                                                                                               "of "
                                                                                               "1, "
                                                                                               "2, "
                                                                                               "3"),
     ({"about": {"category": 10}}, "its parameter category is 10, expected 6"), ({"about": {"ahead": 5}}, "is "
                                                                                                          "a "
                                                                                                          "forecast, "
                                                                                                          "not "
                                                                                                          "an "
                                                                                                          "observation: "
                                                                                                          "its "
                                                                                                          "forecast "
                                                                                                          "time "
                                                                                                          "is "
                                                                                                          "5 "
                                                                                                          "in "
                                                                                                          "units "
                                                                                                          "of "
                                                                                                          "code "
                                                                                                          "0, "
                                                                                                          "expected "
                                                                                                          "0"),
     ({"discipline": 0}, "is GRIB2 of discipline 0, expected 209"), (
         {"edition": 1},
         "is no GRIB2 file but a GRIB file of edition 1; convert it to NetCDF .*; an MRMS file such as",
     ),
     ({"grid": {"template": 30}}, "its grid definition template is 3.30, expected 3.0"), ({"grid": {"earth": 3}}, "its "
                                                                                                                  "shape "
                                                                                                                  "of "
                                                                                                                  "the "
                                                                                                                  "earth "
                                                                                                                  "is "
                                                                                                                  "3, "
                                                                                                                  "expected "
                                                                                                                  "one "
                                                                                                                  "of "
                                                                                                                  "0, "
                                                                                                                  "2, "
                                                                                                                  "4, "
                                                                                                                  "5, "
                                                                                                                  "6, "
                                                                                                                  "8"),
     ({"grid": {"scanning": 0x80}}, "its scanning mode is 0x80, expected 0x00 or 0x40"), ({"grid": {"basic_angle": 1}}, "its "
                                                                                                                        "subdivisions "
                                                                                                                        "of "
                                                                                                                        "the "
                                                                                                                        "basic "
                                                                                                                        "angle "
                                                                                                                        "1 "
                                                                                                                        "are "
                                                                                                                        "4294967295, "
                                                                                                                        "expected "
                                                                                                                        "a "
                                                                                                                        "number"), ({"grid": {"points": 7}}, "its "
                                                                                                                                                                                                                              "number "
                                                                                                                                                                                                                              "of "
                                                                                                                                                                                                                              "data "
                                                                                                                                                                                                                              "points "
                                                                                                                                                                                                                              "is "
                                                                                                                                                                                                                              "7, "
                                                                                                                                                                                                                              "expected "
                                                                                                                                                                                                                              "12 "
                                                                                                                                                                                                                              "for "
                                                                                                                                                                                                                              "3x4 "
                                                                                                                                                                                                                              "pixels"),
     ({"grid": {"south": 10.0}}, "the last latitude of its grid is 10, expected 54.975 for 3x4 "
                                 "cells of 0.01x0.01")],
)  # fmt: skip
def test_another_product_discipline_or_grid_is_refused(tmp_path, changes, message):
    with pytest.raises(UserError, match=f"a {message}|a: {message}|a .*{message}"):
        MrmsGrib2().read(write_mrms(tmp_path / "a", FIELD, **changes))


def test_a_time_that_is_none_is_refused(tmp_path):
    path = write_mrms(tmp_path / "a", FIELD)
    content = bytearray(path.read_bytes())
    content[16 + 14] = 13  # the month
    path.write_bytes(content)
    with pytest.raises(
        UserError, match="its time .2024, 13, 15, 12, 0, 0. is none; the file is damaged"
    ):
        MrmsGrib2().read(path)


SECTIONS = grid_section(3, 4) + product_section(1) + data_sections(FIELD)


@pytest.mark.parametrize(
    ("sections", "message"),
    [(SECTIONS + data_sections(FIELD), "has section 5 a second time; it is damaged, or contains "
                                       "more than one field"), (grid_section(3, 4), "has "
                                                                                                                                         "only "
                                                                                                                                         "the "
                                                                                                                                         "sections "
                                                                                                                                         ".1, "
                                                                                                                                         "3.; "
                                                                                                                                         "1 "
                                                                                                                                         "and "
                                                                                                                                         "3 "
                                                                                                                                         "to "
                                                                                                                                         "7 "
                                                                                                                                         "are "
                                                                                                                                         "needed"),
     (b"", "has only the sections .1.;"), (struct.pack(">IB", 2, 3), "has a section 3 of 2 bytes "
                                                                     "at byte 37"), (struct.pack(">IB", 2**32 - 1, 3), "has "
                                                                                                                                                  "a "
                                                                                                                                                  "section "
                                                                                                                                                  "3 "
                                                                                                                                                  "of "
                                                                                                                                                  "4294967295 "
                                                                                                                                                  "bytes"),
     (grid_section(2, 4) + SECTIONS[72:], "its number of packed values is 12, expected at most 8"),
     (grid_section(3, 4) + product_section(1) + data_sections(FIELD, packing=40), "its data "
                                                                                  "representation "
                                                                                  "template is "
                                                                                  "5.40, "
                                                                                  "expected 5.0"),
     (grid_section(3, 4) + product_section(1) + data_sections(FIELD).replace(struct.pack(">II", 4, 3), struct.pack(">II", 2**20, 2**20)), "its "
                                                                                                                                          "PNG "
                                                                                                                                          "claims "
                                                                                                                                          "1048576x1048576 "
                                                                                                                                          "values, "
                                                                                                                                          "expected "
                                                                                                                                          "the "
                                                                                                                                          "12 "
                                                                                                                                          "that "
                                                                                                                                          "are "
                                                                                                                                          "declared"),
     (grid_section(2**15, 2**15) + SECTIONS[72:], "claims 32768x32768 pixels; "
                                                  "expected 1 to 268435456")],
)  # fmt: skip
def test_sections_that_make_no_sense_are_refused_before_anything_is_unpacked(
    tmp_path, sections, message
):
    assert len(grid_section(3, 4)) == 72
    with pytest.raises(UserError, match=message):
        MrmsGrib2().read(write_mrms(tmp_path / "a", FIELD, sections=sections))


def test_a_message_that_claims_gigabytes_and_two_messages_are_refused(tmp_path):
    whole = write_mrms(tmp_path / "a", FIELD).read_bytes()
    (tmp_path / "b").write_bytes(whole[:8] + struct.pack(">Q", 2**40) + whole[16:])
    with pytest.raises(
        UserError, match="b claims a message of 1099511627776 bytes; up to 268435456 are accepted"
    ):
        MrmsGrib2().read(tmp_path / "b")
    (tmp_path / "c").write_bytes(whole + whole)
    with pytest.raises(
        UserError, match="c contains more than the .* bytes of data that it declares"
    ):
        MrmsGrib2().read(tmp_path / "c")


@pytest.mark.parametrize(
    "content", [b"", b"GRIB", b"no radar data at all", b"\x1f\x8b\x08\x00broken", bytes(100)]
)
def test_other_content_is_not_recognised_and_refused_by_name(tmp_path, content):
    (tmp_path / "a.grib2").write_bytes(content)
    assert not MrmsGrib2().recognises(tmp_path / "a.grib2")
    with pytest.raises(UserError, match="a.grib2 is "):
        MrmsGrib2().read(tmp_path / "a.grib2")


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_file_cut_anywhere_is_refused(tmp_path, pack):
    values = np.round(np.random.default_rng(1).gamma(1.0, 2.0, (20, 30)), 1)
    assert cut_everywhere(MrmsGrib2(), write_mrms(tmp_path / "a", values, pack=pack)) >= 60


def test_bytes_changed_anywhere_give_frames_or_one_line(tmp_path):
    values = np.round(np.random.default_rng(1).gamma(1.0, 2.0, (4, 5)), 1)
    whole, random, refused = (
        write_mrms(tmp_path / "a", values).read_bytes(),
        np.random.default_rng(2),
        0,
    )
    for place in range(len(whole)):
        content = bytearray(whole)
        content[place] ^= int(random.integers(1, 256))
        (tmp_path / "b").write_bytes(content)
        MrmsGrib2().recognises(tmp_path / "b")
        try:
            MrmsGrib2().read(tmp_path / "b")
        except UserError as error:
            assert "b" in str(error) and "\n" not in str(error)
            refused += 1
    assert refused > 60


def test_a_changed_pixel_of_a_png_is_refused_by_its_checksum(tmp_path):
    whole = write_mrms(tmp_path / "a", FIELD).read_bytes()
    place = whole.index(b"IDAT") + 10
    (tmp_path / "b").write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    with pytest.raises(UserError, match="b: its PNG has a part b'IDAT' with a wrong checksum"):
        MrmsGrib2().read(tmp_path / "b")


def test_values_of_another_shape_than_the_grid_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(mrms_grib2, "_unpacked", lambda message, path: np.zeros((2, 2)))
    with pytest.raises(
        UserError, match="its values form .2, 2., but its grid .3, 4.; it contradicts itself"
    ):
        MrmsGrib2().read(write_mrms(tmp_path / "a", FIELD))


def test_it_is_built_from_its_settings_file():
    assert from_settings_file("mrms_grib2") == MrmsGrib2()
