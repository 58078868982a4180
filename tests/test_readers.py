"""The provider's numbers come out in mm/h, at the right time, at the right place, and missing stays
missing.
"""

import json
from pathlib import Path

import h5py
import numpy as np
import pyproj
import pytest
from factories import LAEA, shared_data, write_knmi, write_odim
from omegaconf import OmegaConf

from nowcast.data.tolerant import Tolerant
from nowcast.readers.auto import Auto, readers
from nowcast.readers.base import Reader
from nowcast.readers.hdf5 import Hdf5File
from nowcast.readers.knmi_hdf5 import KnmiHdf5
from nowcast.readers.odim_hdf5 import OdimHdf5
from nowcast.readers.projection import project, projection_in_metres
from nowcast.runtime.build import build
from nowcast.runtime.errors import UserError

NAN = np.nan


def first_real_file(name):
    expected = json.loads((shared_data() / "reference.json").read_text())[name]
    return Auto().read(shared_data() / expected["file"]), expected


@pytest.mark.parametrize("name", ["knmi", "opera"])
def test_a_real_file_has_the_pixels_that_were_decoded_independently(name):
    frames, expected = first_real_file(name)
    observed = frames.values[~np.isnan(frames.values)]
    assert list(frames.values.shape[1:]) == expected["shape"]
    assert np.isnan(frames.values).sum() == expected["missing_px"]
    assert observed.max() == np.float32(expected["max_mm_h"])
    assert observed.mean(dtype=np.float64) == pytest.approx(expected["mean_mm_h_valid"], abs=5e-6)
    assert (observed >= 0.1).mean() == pytest.approx(expected["frac_ge_0p1_valid"], abs=5e-6)
    assert (observed >= 1).mean() == pytest.approx(expected["frac_ge_1_valid"], abs=5e-6)
    assert list(frames.times) == [np.datetime64(expected["valid_time_utc"])]


def outer_corners(grid):
    dy, dx = grid.spacing
    left, right = grid.x[0] - dx / 2, grid.x[-1] + dx / 2
    top, bottom = grid.y[0] + dy / 2, grid.y[-1] - dy / 2
    to_degrees = pyproj.Transformer.from_crs(
        pyproj.CRS(grid.crs), pyproj.CRS(grid.crs).geodetic_crs, always_xy=True
    )
    return [
        to_degrees.transform(x, y)
        for x, y in ((left, bottom), (left, top), (right, top), (right, bottom))
    ]


def test_the_corners_of_a_real_knmi_grid_are_the_longitudes_and_latitudes_the_file_states():
    frames, expected = first_real_file("knmi")
    with h5py.File(shared_data() / expected["file"]) as file:
        stated = file["geographic"].attrs["geo_product_corners"].reshape(4, 2)
    np.testing.assert_allclose(outer_corners(frames.grid), stated, atol=1e-3)
    assert [*frames.grid.x[[0, -1]], *frames.grid.y[[0, -1]]] == [
        500,
        699_500,
        -3_650_500,
        -4_414_500,
    ]


def test_the_corners_of_a_real_odim_grid_are_the_longitudes_and_latitudes_the_file_states():
    frames, expected = first_real_file("opera")
    with h5py.File(shared_data() / expected["file"]) as file:
        stated = [
            [file["where"].attrs[f"{corner}_{name}"] for name in ("lon", "lat")]
            for corner in ("LL", "UL", "UR", "LR")
        ]
    np.testing.assert_allclose(outer_corners(frames.grid), stated, atol=1e-6)
    np.testing.assert_allclose(
        [*frames.grid.x[[0, -1]], *frames.grid.y[[0, -1]]],
        [1000, 3_799_000, -1000, -4_399_000],
        atol=0.01,
    )


def test_knmi_counts_of_a_hundredth_mm_in_5_minutes_become_mm_per_hour_and_both_marks_are_missing(
    tmp_path,
):
    frames = KnmiHdf5().read(write_knmi(tmp_path / "a.h5", [[0, 1, 72], [65535, 65534, 1000]]))
    np.testing.assert_allclose(frames.values, [[[0, 0.12, 8.64], [NAN, NAN, 120]]], rtol=1e-6)


def test_a_knmi_time_is_the_end_of_its_interval_and_a_depth_over_an_hour_is_its_rate(tmp_path):
    path = write_knmi(
        tmp_path / "a.h5", [[100, 250]], product_datetime_end=b"26-AUG-2010;01:00:00.000"
    )
    frames = KnmiHdf5().read(path)
    assert frames.times[0] == np.datetime64("2010-08-26T01:00")
    np.testing.assert_allclose(frames.values, [[[1.0, 2.5]]])


@pytest.mark.parametrize(
    "formula, expected",
    [
        (b"GEO=0.01*PV+0.0", 12.0),
        (b"GEO = 0.010000 * PV + 0.000000", 12.0),
        (b"geo=.1*pv-1", 108.0),
        (b"GEO=1e-2*PV", 12.0),
        (b"GEO=0.01*PV + -0.5", 6.0),
    ],
)
def test_a_calibration_formula_is_understood_as_factor_and_offset(tmp_path, formula, expected):
    assert KnmiHdf5().read(
        write_knmi(tmp_path / "a.h5", [[100]], calibration_formulas=formula)
    ).values[0, 0, 0] == pytest.approx(expected)


def test_knmi_cell_centres_are_in_metres_with_row_0_in_the_north(tmp_path):
    grid = KnmiHdf5().read(write_knmi(tmp_path / "a.h5", [[0, 1, 2], [3, 4, 5]])).grid
    np.testing.assert_allclose(grid.x, [500, 1500, 2500])
    np.testing.assert_allclose(grid.y, [-3_650_500, -3_651_500])
    assert "+a=6378137 +b=6356752" in grid.crs


def test_knmi_offsets_count_pixels_of_the_older_2_5_km_grid(tmp_path):
    size = {
        "geo_pixel_size_x": np.float32([2.5]),
        "geo_pixel_size_y": np.float32([-2.5]),
        "geo_row_offset": np.float32([1490.8]),
    }
    path = write_knmi(tmp_path / "a.h5", [[0], [1]], geo_product_corners=None, **size)
    np.testing.assert_allclose(KnmiHdf5().read(path).grid.y, [-3_728_250, -3_730_750], atol=0.1)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"calibration_formulas": None}, "has no text image1/calibration/calibration_formulas"),
        (
            {"calibration_formulas": b"__import__('os').system('x')"},
            "a formula such as GEO=0.01\\*PV\\+0.0 is needed",
        ),
        (
            {"calibration_missing_data": None},
            "has no number image1/calibration/calibration_missing_data",
        ),
        (
            {"calibration_missing_data": b"none"},
            "has no number image1/calibration/calibration_missing_data",
        ),
        (
            {"calibration_formulas": b"GEO=0.01*PV-1"},
            "rates that are negative or above 5000 mm.h .from -11.88 to -11.76. in 2 of 2 pixels",
        ),
        (
            {"image_geo_parameter": b"HEIGHT_[KM]"},
            "image1/image_geo_parameter is 'HEIGHT_.KM.' .an echo top., expected "
            "ACCUMULATED_PRECIPITATION_.MM. or REFLECTIVITY_.DBZ.",
        ),
        (
            {"product_datetime_end": b"26-XXX-2010;00:05:00.000"},
            "a time such as 26-AUG-2010;00:05:00.000 is needed",
        ),
        (
            {"product_datetime_end": b"tomorrow"},
            "a time such as 26-AUG-2010;00:05:00.000 is needed",
        ),
        (
            {"product_datetime_end": b"26-AUG-2010;00:00:00.000"},
            "a rain depth needs one that ends after it starts",
        ),
        ({"geo_pixel_def": b"CC"}, "geographic/geo_pixel_def is 'CC', expected 'LU'"),
        ({"geo_dim_pixel": b"M,M"}, "geographic/geo_dim_pixel is 'M,M', expected 'KM,KM'"),
        ({"geo_number_rows": np.int32([-1])}, "geo_number_rows is -1; expected 1 to 65536 pixels"),
        (
            {"geo_number_rows": np.int32([7]), "geo_product_corners": None},
            "its values form \\(1, 2\\), but its grid \\(7, 2\\); it contradicts itself",
        ),
        (
            {"geo_row_offset": np.float32([1.0, 2.0])},
            "geographic/geo_row_offset contains 2 values; a single one is expected",
        ),
        (
            {"geo_product_corners": np.float32([0, 0, 0])},
            "geo_product_corners contains 3 numbers; 8 are needed",
        ),
        (
            {"geo_row_offset": np.float32([3652.0])},
            "has a corner at x 0, y -3650[0-9]{3} m, but offsets and pixel sizes give x 0, y "
            "-3652000 m",
        ),
        ({"projection_proj4_params": b"+proj=stere +a=big"}, "has a length that is not a number"),
    ],
)
def test_a_knmi_file_that_says_too_little_or_something_else_is_refused_by_name(
    tmp_path, changes, message
):
    with pytest.raises(UserError, match=f"a.h5.*{message}"):
        KnmiHdf5().read(write_knmi(tmp_path / "a.h5", [[1, 2]], **changes))


def test_a_knmi_file_with_fractional_counts_is_refused(tmp_path):
    path = write_knmi(tmp_path / "a.h5", [[1]])
    with h5py.File(path, "a") as file:
        del file["image1/image_data"]
        file["image1/image_data"] = np.ones((1, 1), np.float32)
    with pytest.raises(UserError, match="image1/image_data is float32; whole numbers are needed"):
        KnmiHdf5().read(path)


@pytest.mark.parametrize("place", ["dataset1/data1/what", "dataset1/what"])
@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32, np.float64])
def test_odim_values_are_gain_times_raw_plus_offset_with_undetect_dry_and_nodata_missing_wherever_they_are_stated(
    tmp_path, place, kind
):
    raw = np.array([[0, 2, 5], [7, 100, 255 if kind is np.uint8 else 9999]], kind)
    scaling = {"gain": 0.5, "offset": -1.0, "nodata": float(raw[1, 2]), "undetect": 0.0}
    frames = OdimHdf5().read(write_odim(tmp_path / "a.h5", raw, place=place, scaling=scaling))
    np.testing.assert_allclose(frames.values, [[[0, 0, 1.5], [2.5, 49, NAN]]])


def test_odim_values_without_gain_offset_and_marks_are_taken_as_they_are(tmp_path):
    frames = OdimHdf5().read(write_odim(tmp_path / "a.h5", np.array([[0.0, 0.25, np.nan]])))
    np.testing.assert_allclose(frames.values, [[[0, 0.25, NAN]]])


def test_a_gain_of_the_field_wins_over_the_one_of_its_dataset(tmp_path):
    path = write_odim(tmp_path / "a.h5", np.array([[3.0]]), scaling={"gain": 2.0})
    with h5py.File(path, "a") as file:
        file["dataset1/what"].attrs["gain"] = 10.0
    assert OdimHdf5().read(path).values[0, 0, 0] == 6.0


def test_a_pixel_marked_with_a_value_that_is_both_nodata_and_undetect_is_missing(tmp_path):
    frames = OdimHdf5().read(
        write_odim(tmp_path / "a.h5", np.uint8([[0, 1]]), scaling={"nodata": 0.0, "undetect": 0.0})
    )
    np.testing.assert_array_equal(frames.values, [[[NAN, 1]]])


def test_a_float32_field_finds_its_nodata_although_the_attribute_has_more_digits(tmp_path):
    frames = OdimHdf5().read(
        write_odim(
            tmp_path / "a.h5", np.float32([[-8888000.1, 2.0]]), scaling={"nodata": -8888000.1}
        )
    )
    np.testing.assert_array_equal(frames.values, [[[NAN, 2]]])


def test_an_accumulation_of_3_mm_in_15_minutes_is_12_mm_per_hour_at_the_end_of_the_interval(
    tmp_path,
):
    path = write_odim(
        tmp_path / "a.h5",
        np.uint16([[3, 0]]),
        quantity="ACRR",
        endtime=b"180500",
        starttime=b"175000",
        scaling={"undetect": 0.0},
    )
    frames = OdimHdf5().read(path)
    np.testing.assert_allclose(frames.values, [[[12, 0]]])
    assert frames.times[0] == np.datetime64("2018-08-24T18:05")


def test_the_time_of_a_rate_is_the_nominal_one_not_the_end_of_its_interval(tmp_path):
    assert OdimHdf5().read(write_odim(tmp_path / "a.h5", [[1.0]], endtime=b"180500")).times[
        0
    ] == np.datetime64("2018-08-24T18:00")


@pytest.mark.parametrize("quantity", ["DBZH", "TH"])
def test_23_dbz_is_1_mm_per_hour_by_marshall_and_palmer_and_undetected_is_dry_not_minus_32_dbz(
    tmp_path, quantity
):
    scaling = {"gain": 0.5, "offset": -32.0, "nodata": 255.0, "undetect": 0.0}
    frames = OdimHdf5().read(
        write_odim(tmp_path / "a.h5", np.uint8([[110, 0, 255]]), quantity=quantity, scaling=scaling)
    )
    np.testing.assert_allclose(
        frames.values, [[[0.99851, 0, NAN]]], rtol=1e-4
    )  # (10^2.3 / 200)^(1 / 1.6)


def test_the_z_r_relation_is_the_one_set(tmp_path):
    path = write_odim(tmp_path / "a.h5", [[30.0]], quantity="DBZH")
    assert OdimHdf5(z_r_a=10.0, z_r_b=2.0).read(path).values[0, 0, 0] == pytest.approx(
        10.0
    )  # (1000 / 10)^(1 / 2)


def add_field(path, name, value, quantity):
    with h5py.File(path, "a") as file:
        file[f"{name}/data"] = np.full((1, 1), value)
        file.require_group(f"{name}/what").attrs["quantity"] = quantity


def test_the_first_accepted_quantity_is_read_and_another_one_on_request(tmp_path):
    path = write_odim(tmp_path / "a.h5", [[0.9]], quantity="QIND")
    add_field(path, "dataset10/data1", 4.0, "RATE")
    add_field(path, "dataset2/data1", 23.0103, "DBZH")
    add_field(path, "dataset2/data2", 7.0, "RATE")
    assert OdimHdf5().read(path).values[0, 0, 0] == 7.0
    assert OdimHdf5(quantity="DBZH").read(path).values[0, 0, 0] == pytest.approx(1.0, rel=1e-5)
    with pytest.raises(
        UserError,
        match="what/quantity of dataset1/data1 and others is 'QIND', 'DBZH', 'RATE'; expected ACRR",
    ):
        OdimHdf5(quantity="ACRR").read(path)


def test_odim_cell_centres_are_half_a_pixel_inside_the_corners(tmp_path):
    grid = OdimHdf5().read(write_odim(tmp_path / "a.h5", np.zeros((2, 3)))).grid
    np.testing.assert_allclose(grid.x, [500, 1500, 2500], atol=1e-3)
    np.testing.assert_allclose(grid.y, [-500, -1500], atol=1e-3)


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"object": None, "projdef": None},
            "has no text what/object, and no where/projdef by which it would be a map",
        ),
        ({"object": b"PVOL"}, "what/object is 'PVOL', expected COMP, IMAGE, CVOL: maps, no sweeps"),
        (
            {"date": b"20181324"},
            "date and time of what are '20181324' and '180000'; expected YYYYMMDD and HHMMSS",
        ),
        ({"projdef": None}, "has no text where/projdef"),
        ({"projdef": b"+proj=nonsense"}, "cannot be projected with"),
        (
            {"projdef": b"+proj=laea +nadgrids=@/etc/passwd"},
            "has 'nadgrids'; a PROJ string such as",
        ),
        ({"projdef": b"+lat_0=55"}, "has no \\+proj; a PROJ string such as"),
        ({"UL_lon": np.nan}, "has no number where/UL_lon"),
        ({"xscale": 0.0}, "where/xscale is 0; expected a size of pixels above 0"),
        (
            {"xscale": 2000.0},
            "the corners in where are 2000 apart in x, expected 4000 for xsize 2 and where/xscale 2000",
        ),
        (
            {"quantity": "VRAD"},
            "what/quantity of dataset1/data1 is 'VRAD'; expected RATE, ACRR, DBZH, TH",
        ),
        (
            {"quantity": "ACRR", "starttime": b"180000"},
            "a rain depth needs one that ends after it starts",
        ),
        (
            {"quantity": "ACRR", "enddate": None},
            "date and time of dataset1/data1, end are None and '180000'; expected",
        ),
    ],
)
def test_an_odim_file_that_says_too_little_or_something_else_is_refused_by_name(
    tmp_path, changes, message
):
    with pytest.raises(UserError, match=f"a.h5.*{message}"):
        OdimHdf5().read(write_odim(tmp_path / "a.h5", [[1.0, 2.0]], **changes))


def test_a_field_of_another_size_than_the_grid_is_refused(tmp_path):
    path = write_odim(tmp_path / "a.h5", [[1.0, 2.0]])
    with h5py.File(path, "a") as file:
        del file["dataset1/data1/data"]
        file["dataset1/data1/data"] = np.zeros((3, 2))
    with pytest.raises(
        UserError, match="dataset1/data1: its values form \\(3, 2\\), but its grid \\(1, 2\\)"
    ):
        OdimHdf5().read(path)


def test_a_missing_mark_that_is_not_declared_is_refused_instead_of_becoming_rain_or_dry(tmp_path):
    with pytest.raises(
        UserError,
        match="negative or above 5000 mm/h \\(from -9999 to 2\\) .* the marks for missing and dry "
        "are wrong or not declared",
    ):
        OdimHdf5().read(write_odim(tmp_path / "a.h5", [[-9999.0, 2.0]]))


def test_an_undeclared_missing_mark_is_refused_and_does_not_become_rain(tmp_path):
    path = write_odim(
        tmp_path / "a.h5",
        np.array([[255, 100]], np.uint8),
        quantity="DBZH",
        scaling={"gain": 0.5, "offset": -32.0},
    )
    with pytest.raises(
        UserError,
        match="negative or above 5000 mm/h .* the marks for missing and dry are wrong or not declared",
    ):
        OdimHdf5().read(path)


def test_a_gain_that_is_not_a_number_is_refused(tmp_path):
    with pytest.raises(UserError, match="gain of dataset1/data1 is 'half'; a number is needed"):
        OdimHdf5().read(write_odim(tmp_path / "a.h5", [[1.0]], scaling={"gain": b"half"}))


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"quantity": "RAIN"}, "'RAIN'; accepted are RATE"),
        ({"z_r_a": 0}, "z_r_a is 0; a positive"),
        ({"z_r_b": "x"}, "z_r_b is 'x'"),
    ],
)
def test_settings_out_of_range_are_refused_at_once(settings, message):
    with pytest.raises(UserError, match=message):
        OdimHdf5(**settings)


def test_each_reader_recognises_its_own_files_by_content_and_auto_reads_both(tmp_path):
    knmi, odim = write_knmi(tmp_path / "a.bin", [[100]]), write_odim(tmp_path / "b.bin", [[2.0]])
    assert [
        reader.recognises(path)
        for path in (knmi, odim)
        for reader in (KnmiHdf5(), OdimHdf5(), Auto())
    ] == [True, False, True, False, True, True]
    assert [float(Auto().read(path).values[0, 0, 0]) for path in (knmi, odim)] == [12.0, 2.0]


def foreign(tmp_path, kind):
    path = tmp_path / "foreign.h5"
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("no radar data")
    elif kind == "folder":
        path.mkdir()
    elif kind == "truncated":
        path.write_bytes(write_knmi(tmp_path / "whole.h5", [[1]]).read_bytes()[:900])
    elif kind == "other":
        h5py.File(path, "w").close()
    return path


FOREIGN = {
    "empty": "is empty",
    "text": "is of no format that is known here .it is a text that begins 'no radar data'; .*; "
    "accepted are KNMI HDF5",
    "folder": "is of no format that is known here",
    "truncated": "is damaged or cut short",
    "other": "is of no format that is known here",
    "absent": "does not exist",
}


@pytest.mark.parametrize("kind, message", FOREIGN.items())
def test_a_foreign_file_is_recognised_by_nobody_and_refused_by_name(tmp_path, kind, message):
    path = foreign(tmp_path, kind)
    assert [reader.recognises(path) for reader in (KnmiHdf5(), OdimHdf5(), Auto())] == [False] * 3
    with pytest.raises(UserError, match=f"foreign.h5 {message}|foreign.h5.*{message}"):
        Auto().read(path)


class Greedy(Reader):
    """A reader that recognises everything."""

    format = "greedy"

    def recognises(self, path):
        return True

    def read(self, path):
        raise UserError(f"{path} is read by nobody")


def test_a_file_that_two_readers_recognise_is_refused_with_both(tmp_path, monkeypatch):
    path = write_odim(tmp_path / "a.h5", [[1.0]])
    monkeypatch.setattr("nowcast.readers.auto.readers", lambda: (KnmiHdf5(), OdimHdf5(), Greedy()))
    with pytest.raises(
        UserError,
        match="a.h5 looks like ODIM_H5 .* and like greedy; say which one with reader=NAME",
    ):
        Auto().read(path)


def test_a_file_that_may_not_be_read_is_refused(tmp_path, monkeypatch):
    path = write_odim(tmp_path / "a.h5", [[1.0]])
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(
        UserError, match="a.h5 may not be read by this user; change its permissions"
    ):
        OdimHdf5().read(path)


def test_cutting_a_real_layout_anywhere_never_gives_frames(tmp_path):
    whole = write_knmi(tmp_path / "whole.h5", np.arange(600).reshape(20, 30)).read_bytes()
    refused = 0
    for length in range(0, len(whole) - 1, len(whole) // 40):
        (tmp_path / "cut.h5").write_bytes(whole[:length])
        with pytest.raises(UserError, match="cut.h5"):
            Auto().read(tmp_path / "cut.h5")
        refused += 1
    assert refused >= 40


def with_data_replaced(tmp_path, make):
    """An ODIM file of one pixel whose data is whatever ``make(group, tmp_path)`` puts there."""
    path = write_odim(tmp_path / "a.h5", [[1.0]])
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["data"] = np.full((1, 1), 42.0)
    (tmp_path / "secret.bin").write_bytes(np.float64(42).tobytes())
    with h5py.File(path, "a") as file:
        del file["dataset1/data1/data"]
        make(file["dataset1/data1"], tmp_path)
    return path


def half_of_the_chunks(group, _):
    group.create_dataset("data", (1, 2), float, chunks=(1, 1))[0, 1] = 1.0


def virtual(group, folder):
    layout = h5py.VirtualLayout((1, 1), np.float64)
    layout[:] = h5py.VirtualSource(folder / "secret.h5", "data", (1, 1))
    group.create_virtual_dataset("data", layout)


def through_a_soft_link(group, folder):
    group.file["out"] = h5py.ExternalLink(str(folder / "secret.h5"), "/")
    group["data"] = h5py.SoftLink("/out/data")


def circle(group, folder):
    group["data"] = h5py.SoftLink("data")


HOSTILE = {
    "external link": (
        lambda group, folder: group.__setitem__(
            "data", h5py.ExternalLink(str(folder / "secret.h5"), "/data")
        ),
        "is a link into another file",
    ),
    "soft link outwards": (through_a_soft_link, "is a link into another file"),
    "external storage": (
        lambda g, folder: g.create_dataset(
            "data", (1, 1), float, external=[(str(folder / "secret.bin"), 0, 8)]
        ),
        "is stored in another file",
    ),
    "virtual": (virtual, "is stored in another file"),
    "circle": (circle, "lead in a circle"),
    "bomb": (
        lambda group, _: group.create_dataset("data", (2**20, 2**20), np.uint8, chunks=(64, 64)),
        "more than 268435456 in a frame are refused",
    ),
    "large chunk": (
        lambda group, _: group.create_dataset(
            "data", (1, 1), np.uint8, chunks=(2**15, 2**15), maxshape=(None, None)
        ),
        "claims 32768x32768 values in a chunk",
    ),
    "lost chunk": (
        lambda group, _: group.create_dataset("data", (1, 1), float, chunks=(1, 1)),
        "is incomplete, parts of it were lost",
    ),
    "half of the chunks": (half_of_the_chunks, "is incomplete, parts of it were lost"),
    "never written": (
        lambda group, _: group.create_dataset("data", (1, 1), float),
        "is incomplete, parts of it were lost",
    ),
    "text": (
        lambda group, _: group.create_dataset("data", data=[[b"x"]]),
        "must be numbers with 2 axes",
    ),
    "three axes": (
        lambda group, _: group.create_dataset("data", data=np.zeros((1, 1, 1))),
        "must be numbers with 2 axes",
    ),
    "a group": (lambda group, _: group.create_group("data"), "must be numbers with 2 axes"),
    "nothing": (
        lambda group, _: None,
        "has no dataset1/data1/data; it is cut short or of another format",
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_data_outside_the_file_or_beyond_measure_is_refused(tmp_path, kind):
    make, message = HOSTILE[kind]
    with pytest.raises(UserError, match=f"a.h5.*{message}"):
        OdimHdf5().read(with_data_replaced(tmp_path, make))


def test_a_chunk_filed_under_another_place_is_refused_instead_of_read_as_dry(tmp_path):
    path = write_odim(tmp_path / "a.h5", np.full((4, 4), 7.0))
    content = bytearray(path.read_bytes())
    key = (
        content.index(b"TREE\x01") + 24
    )  # chunk index: header, then size, filter mask, row, column, 0 of its only chunk
    assert content[key + 8 : key + 32] == bytes(24)
    for place in (8, 16, 24):
        damaged = content.copy()
        damaged[key + place + 2] = 4
        path.write_bytes(damaged)
        with pytest.raises(
            UserError, match="dataset1/data1/data is incomplete, parts of it were lost"
        ):
            OdimHdf5().read(path)


def test_an_external_link_is_not_even_opened_by_recognises(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        for name in ("overview", "geographic", "what"):
            file[name] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "/")
    assert [KnmiHdf5().recognises(path), OdimHdf5().recognises(path)] == [False, False]


def test_a_soft_link_inside_the_file_is_followed(tmp_path):
    def elsewhere(group, _):
        group.file["elsewhere"] = np.full((1, 1), 5.0)
        group["data"] = h5py.SoftLink("/elsewhere")

    assert OdimHdf5().read(with_data_replaced(tmp_path, elsewhere)).values[0, 0, 0] == 5.0


def test_an_attribute_of_2_mb_is_refused_unread(tmp_path):
    path = write_odim(tmp_path / "a.h5", [[1.0]])
    with h5py.File(tmp_path / "b.h5", "w", libver="latest") as file:
        file.create_group("what").attrs["object"] = np.zeros(2**18)
    with pytest.raises(UserError, match="what/object is 2097152 bytes long, over 1048576"):
        Hdf5File(tmp_path / "b.h5").text("what", "object")
    assert Hdf5File(path).text("what", "object") == "COMP"


def test_kilometres_become_metres_and_degrees_stay_degrees():
    assert (
        projection_in_metres("+proj=stere +lat_0=90 +R=6371.2 +x_0=1", "a.h5")
        == "+proj=stere +lat_0=90 +R=6371200 +x_0=1000 +units=m"
    )
    assert (
        projection_in_metres("+proj=laea +units=km +ellps=WGS84", "a.h5")
        == "+proj=laea +units=m +ellps=WGS84"
    )
    assert (
        projection_in_metres("+proj=longlat +R=6371000 +no_defs", "a.h5")
        == "+proj=longlat +R=6371000 +no_defs"
    )


def test_the_centre_of_a_projection_is_its_false_origin():
    assert project(LAEA, 10.0, 55.0, path="a.h5") == pytest.approx((1_950_000, -2_100_000))


@pytest.mark.parametrize(
    "name, reader", [("knmi_hdf5", KnmiHdf5()), ("odim_hdf5", OdimHdf5()), ("auto", Auto())]
)
def test_each_reader_is_built_from_its_settings_file_with_the_values_of_its_defaults(name, reader):
    settings = OmegaConf.to_container(
        OmegaConf.load(Path(__file__).parents[1] / "conf" / "reader" / f"{name}.yaml")
    )
    assert build(settings) == reader


def test_every_reader_keeps_the_contract():
    for reader in (*readers(), Auto()):
        assert isinstance(reader, Reader) and isinstance(reader.format, str)
        assert reader.path_parts >= 0
        assert not reader.recognises("missing.h5")
    assert readers()[0].choose("missing.h5") is readers()[0]
    greedy = Greedy()
    assert greedy.path_parts == 1 and Tolerant(greedy).choose("a.h5") == Tolerant(greedy)


def test_a_reader_of_another_package_is_asked_like_those_that_are_built_in(tmp_path, monkeypatch):
    path = tmp_path / "a.mine"
    path.write_text("mine")
    monkeypatch.setattr("nowcast.readers.auto.other_readers", lambda: (Greedy,))
    readers.cache_clear()
    try:
        assert Auto().choose(path).format == Greedy.format
    finally:
        readers.cache_clear()
