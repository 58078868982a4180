"""Nimrod: 32nds of mm/h become mm/h at the validity time, on the National Grid, row 0 north. The
files are made here, after the Met Office's description of the format.
"""

import gzip
import struct
from datetime import datetime

import numpy as np
import pyproj
import pytest

from nowcast.readers.auto import Auto
from nowcast.readers.nimrod import Nimrod
from nowcast.runtime.errors import UserError
from tests.factories_nimrod import NOT_STATED, ORIGIN, write_nimrod
from tests.factories_readers import cut_everywhere, from_settings_file

NAN = np.nan
FIELD = [[-1, 0, 32], [48, 4096, 1]]
RATES = [[NAN, 0, 1], [1.5, 128, 1 / 32]]


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_32nds_of_mm_per_hour_are_read_at_the_validity_time_with_minus_1_missing(tmp_path, pack):
    path = write_nimrod(tmp_path / "a.dat", FIELD, pack=pack)
    frames = Auto().read(path)
    np.testing.assert_array_equal(frames.values, np.float32([RATES]))
    assert list(frames.times) == [np.datetime64("2018-06-16T10:05")]
    assert frames.quantity == "rain rate" and type(Auto().choose(path)) is Nimrod


def test_pixels_are_on_the_national_grid_from_the_centre_of_the_north_western_one(tmp_path):
    grid = Nimrod().read(write_nimrod(tmp_path / "a.dat", FIELD)).grid
    np.testing.assert_array_equal(grid.x, [-404_500, -403_500, -402_500])
    np.testing.assert_array_equal(grid.y, [1_549_500, 1_548_500])
    assert pyproj.CRS(grid.crs) == pyproj.CRS("EPSG:27700")


@pytest.mark.parametrize(
    "origin", [(NOT_STATED,) * 5, (49.0, -2.0, 400.0, -100.0, 0.9996), (*ORIGIN[:4], NOT_STATED)]
)
def test_an_origin_that_is_missing_or_in_kilometres_is_that_of_the_national_grid(tmp_path, origin):
    grid = Nimrod().read(write_nimrod(tmp_path / "a.dat", FIELD, origin=origin)).grid
    assert grid.crs == "EPSG:27700"


def test_another_transverse_mercator_is_the_one_that_is_stated(tmp_path):
    path = write_nimrod(
        tmp_path / "a.dat", FIELD, n15=4, n28=1, origin=(0.0, 9.0, 500_000.0, 0.0, 0.9996)
    )
    stated = pyproj.Proj(Nimrod().read(path).grid.crs)
    utm = pyproj.Proj("+proj=utm +zone=32 +ellps=intl")
    np.testing.assert_allclose(stated(5.0, 52.0), utm(5.0, 52.0), atol=0.05)


def test_longitudes_and_latitudes_are_degrees(tmp_path):
    corner = {"y": 60.0, "x": -10.0, "dy": 0.5, "dx": 0.25}
    grid = Nimrod().read(write_nimrod(tmp_path / "a.dat", FIELD, n15=1, n28=1, corner=corner)).grid
    np.testing.assert_array_equal(grid.x, [-10, -9.75, -9.5])
    np.testing.assert_array_equal(grid.y, [60, 59.5])
    assert "+proj=longlat +ellps=intl" in grid.crs


@pytest.mark.parametrize(
    "kind, unit, values, expected",
    [
        ("i2", "mm/hr*32", [[32, -1]], [1, NAN]),
        ("i2", "mmh-1*32", [[32, -32767]], [1, NAN]),
        ("i4", "mm/h", [[7, -1]], [7, NAN]),
        ("i1", "mm/h*4", [[10, -1]], [2.5, NAN]),
        ("u1", "mm/h*4", [[200, 255]], [50, NAN]),
        ("f4", "mm/h", [[0.25, -1]], [0.25, NAN]),
        ("f4", "mm/h", [[0.25, -32767]], [0.25, NAN]),
    ],
)
def test_every_type_of_number_and_every_factor_of_the_unit_is_read(
    tmp_path, kind, unit, values, expected
):
    frames = Nimrod().read(write_nimrod(tmp_path / "a.dat", values, kind=kind, unit=unit))
    np.testing.assert_array_equal(frames.values[0, 0], np.float32(expected))


@pytest.mark.parametrize(
    "numbers, quantity, rate",
    [
        ({"n26": 15}, "rain depth in 15 min", 8.0),
        ({"n26": 32767, "n158": 300}, "rain depth in 5 min", 24.0),
        ({"n26": 60, "unit": "mm*10^1"}, "rain depth in 60 min", 6.4),
    ],
)
def test_a_depth_is_spread_over_its_period(tmp_path, numbers, quantity, rate):
    path = write_nimrod(tmp_path / "a.dat", [[64, 0]], **({"unit": "mm*32"} | numbers))
    frames = Nimrod().read(path)
    assert frames.quantity == quantity and frames.values[0, 0, 0] == np.float32(rate)


def test_reflectivities_become_mm_per_hour_by_the_z_r_relation_of_the_settings(tmp_path):
    path = write_nimrod(tmp_path / "a.dat", [[230, -1]], unit="dBZ*10")
    rate = (10**2.3 / 200) ** (1 / 1.6)
    assert Nimrod().read(path).values[0, 0, 0] == pytest.approx(rate)
    rate = (10**2.3 / 300) ** (1 / 1.4)
    assert Nimrod(300, 1.4).read(path).values[0, 0, 0] == pytest.approx(rate)


@pytest.mark.parametrize(
    "changes, said",
    [
        (
            {"n10": 9},
            "is a forecast, not an observation: the data time in numbers 7 to 11 of its header is "
            "2018-06-16T09:05:00 UTC, expected none before its validity time, 2018-06-16T10:05:00",
        ),
        ({"n29": 3}, "the ensemble member in number 29 of its header is 3, expected 0"),
        ({"title": "Rain rate forecast"}, "its header's title is 'Rain rate forecast', expected"),
        ({"unit": "K"}, "has the unit 'K' and the title 'Rainfall rate Composite'; expected rain"),
        ({"title": "Snowfall rate"}, "has the unit 'mm/h.32' and the title 'Snowfall rate'"),
        ({"unit": "mm/h*0"}, "has the unit 'mm/h.0'; a factor above 0 is needed"),
        ({"unit": "mm"}, "has depths over 0 minutes .number 26 of its header.; expected the min"),
        ({"n15": 3}, "has a grid of type 3 .polar stereographic. .number 15 of its header.; exp"),
        ({"n15": 9}, "has a grid of type 9 .number 15 of its header.; expected 0"),
        (
            {"n15": 4, "origin": (NOT_STATED,) * 5},
            "has a transverse Mercator grid without its origin .numbers 43 to 47 of its header",
        ),
        ({"corner": {"dx": 0.0}}, "has the step 0 between pixels .number 37 of its header.; exp"),
        ({"corner": {"dy": np.nan}}, "has the step -32767 between pixels .number 35 of its head"),
        ({"n5": -5}, "the time in numbers 1 to 6 of its header is 2018, 6, 16, 10, -5; expected y"),
        ({"n2": 13}, "the time in numbers 1 to 6 of its header is 2018, 13, 16, 10, 5; expected y"),
        ({"n12": 1, "n13": 3}, "has values of type 1 in 3 bytes .numbers 12 and 13 of its header"),
        ({"n24": 1}, "begins in the corner 1 .number 24 of its header.; expected 0, the top left"),
        ({"n16": -1}, "number 16 of its header is -1; expected 1 to 65536 pixels"),
        ({"size": 10}, "has 10 bytes of values, expected 12 for 2x3 pixels; it contradicts itself"),
        ({"more": b"x"}, "contains more than the 16 bytes of data that it declares"),
    ],
)
def test_a_file_that_says_something_else_is_refused_by_name(tmp_path, changes, said):
    with pytest.raises(UserError, match=f"a.dat:? ?.*{said}"):
        Nimrod().read(write_nimrod(tmp_path / "a.dat", FIELD, **changes))


def test_seconds_that_are_not_stated_and_a_data_time_that_is_not_stated_are_no_fault(tmp_path):
    path = write_nimrod(tmp_path / "a.dat", FIELD, n6=NOT_STATED, n7=NOT_STATED, n29=NOT_STATED)
    assert Nimrod().read(path).times[0] == np.datetime64("2018-06-16T10:05")


def test_values_without_the_count_at_their_end_are_refused(tmp_path):
    path = write_nimrod(tmp_path / "a.dat", FIELD)
    path.write_bytes(path.read_bytes()[:-4] + struct.pack(">I", 11))
    with pytest.raises(UserError, match="its values do not end with the count of their bytes"):
        Nimrod().read(path)


def test_a_real_size_of_the_united_kingdom_is_read(tmp_path):
    field = np.random.default_rng(0).integers(-1, 4096, (2175, 1725))
    frames = Nimrod().read(write_nimrod(tmp_path / "a.dat", field, time=datetime(2006, 8, 30)))
    expected = np.where(field == -1, NAN, field / 32)
    np.testing.assert_array_equal(frames.values[0], expected.astype(np.float32))
    assert [*frames.grid.x[[0, -1]], *frames.grid.y[[0, -1]]] == [
        *(-404_500, 1_319_500),
        *(1_549_500, -624_500),
    ]


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_file_cut_anywhere_is_refused(tmp_path, pack):
    field = np.random.default_rng(0).integers(-1, 4096, (20, 30))
    path = write_nimrod(tmp_path / "a.dat", field, pack=pack)
    assert cut_everywhere(Nimrod(), path) >= 60


def test_bytes_changed_anywhere_give_frames_or_one_line(tmp_path):
    whole = write_nimrod(tmp_path / "a.dat", FIELD).read_bytes()
    random = np.random.default_rng(0)
    for _ in range(300):
        changed = bytearray(whole)
        for place in random.integers(0, len(whole), random.integers(1, 5)):
            changed[place] = random.integers(256)
        (tmp_path / "b.dat").write_bytes(changed)
        try:
            assert len(Nimrod().read(tmp_path / "b.dat")) == 1
        except UserError as error:
            assert "\n" not in str(error) and "b.dat" in str(error)


@pytest.mark.parametrize("content", [b"no radar data", struct.pack(">I", 512) + bytes(600)])
def test_other_content_is_not_recognised_and_refused(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    assert not Nimrod().recognises(tmp_path / "a") and not Nimrod().recognises(tmp_path)
    with pytest.raises(UserError, match="is not a Nimrod file"):
        Nimrod().read(tmp_path / "a")


def test_it_is_built_from_its_settings_file():
    assert from_settings_file("nimrod") == Nimrod()
