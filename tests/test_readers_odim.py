"""The dialects of ODIM_H5 2.0 to 2.4: wherever a file says something, and in whatever type, the
same rain comes out.
"""

import h5py
import numpy as np
import pyproj
import pytest

from nowcast.readers.auto import Auto
from nowcast.readers.hdf5 import Hdf5File
from nowcast.readers.odim_hdf5 import OdimHdf5
from nowcast.readers.projection import projection_in_metres
from nowcast.runtime.errors import UserError
from tests.factories import LAEA, shared_data, write_odim
from tests.factories_readers import cut_everywhere, read_and_compare

NAN = np.nan
SCALING = {"gain": 0.5, "offset": -1.0, "nodata": 255.0, "undetect": 0.0}
RAW = np.uint8([[0, 2, 5], [7, 100, 255]])
RATES = [[0, 0, 1.5], [2.5, 49, NAN]]


def test_every_real_file_is_recognised_and_read_with_what_it_declares():
    wradlib = pytest.importorskip("wradlib.io")
    paths = sorted((shared_data() / "radar/opera/20180824/odyssey").iterdir())
    assert len(paths) == 8
    for number, path in enumerate(paths):
        frames = Auto().read(path)
        assert frames.times[0] == np.datetime64("2018-08-24T18:00") + np.timedelta64(
            15 * number, "m"
        )
        assert (
            frames.values.shape == (1, 2200, 1900)
            and 0.125
            < (frames.values >= np.float32(0.1)).sum() / np.isfinite(frames.values).sum()
            < 0.135
        )
    raw = wradlib.read_opera_hdf5(str(paths[-1]))["dataset1/data1/data"]
    np.testing.assert_array_equal(
        frames.values[0],
        np.where(raw == -9999000, NAN, np.where(raw == -8888000, 0, raw)).astype("f4"),
    )


def test_the_real_file_is_the_one_decoded_independently():
    assert read_and_compare(OdimHdf5(), "opera").quantity == "rain rate"


@pytest.mark.parametrize("place", ["dataset1/data1/what", "dataset1/what", "what"])
def test_gain_offset_and_marks_count_wherever_they_stand(tmp_path, place):
    np.testing.assert_array_equal(
        OdimHdf5().read(write_odim(tmp_path / "a.h5", RAW, place=place, scaling=SCALING)).values,
        [RATES],
    )


def test_the_nearest_statement_counts(tmp_path):
    path = write_odim(tmp_path / "a.h5", RAW, scaling=SCALING)
    with h5py.File(path, "a") as file:
        for place in ("what", "dataset1/what"):
            file[place].attrs.update({"gain": 7.0, "offset": 9.0, "nodata": 1.0, "undetect": 2.0})
    np.testing.assert_array_equal(OdimHdf5().read(path).values, [RATES])


def test_whole_numbers_as_gain_and_offset_do_not_wrap_round(tmp_path):
    whole = {"gain": np.int64(2), "offset": np.int64(-6), "nodata": 255.0, "undetect": 0.0}
    np.testing.assert_array_equal(
        OdimHdf5()
        .read(write_odim(tmp_path / "a.h5", np.uint8([[3, 128, 200, 0, 255]]), scaling=whole))
        .values,
        [[[0, 250, 394, 0, NAN]]],
    )


@pytest.mark.parametrize("quantity_in", ["dataset1/data1/what", "dataset1/what", "what"])
def test_the_quantity_counts_wherever_it_stands(tmp_path, quantity_in):
    path = write_odim(tmp_path / "a.h5", [[23.0103]])
    with h5py.File(path, "a") as file:
        del file["dataset1/what"].attrs["quantity"]
        file.require_group(quantity_in).attrs["quantity"] = "DBZH"
    assert OdimHdf5().read(path).values[0, 0, 0] == pytest.approx(1.0, rel=1e-5)


def test_without_scaling_the_numbers_are_the_values_and_nothing_is_missing(tmp_path):
    np.testing.assert_array_equal(
        OdimHdf5().read(write_odim(tmp_path / "a.h5", np.uint8([[0, 1, 255]]))).values,
        [[[0, 1, 255]]],
    )


TEXTS = {
    "fixed": lambda text: np.bytes_(text.encode()),
    "padded": lambda text: np.array(text.encode(), "S40"),
    "variable": str,
    "one in a row": lambda text: np.array([text.encode()]),
}
NUMBERS = {"float64": np.float64, "float32": np.float32, "int64": lambda number: np.int64(number) if number == int(number) else number, "one "
                                                                                                                                        "in "
                                                                                                                                        "a "
                                                                                                                                        "row": lambda number: np.array([number]),
           "text": lambda number: str(float(number)), "one by one": lambda number: np.array([[number]])}  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("number", NUMBERS)
def test_attributes_may_be_of_any_type_that_holds_them(tmp_path, text, number):
    path = write_odim(tmp_path / "a.h5", RAW, scaling=SCALING)
    with h5py.File(path, "a") as file:
        for place in ("what", "where", "dataset1/what", "dataset1/data1/what"):
            for name, value in list(file[place].attrs.items()):
                del file[place].attrs[name]
                if isinstance(value, (bytes, str)):
                    file[place].attrs[name] = TEXTS[text](
                        value if isinstance(value, str) else value.decode()
                    )
                elif place == "where" and name[:2] in ("UL", "LR") and number == "float32":
                    file[place].attrs[name] = value  # a corner needs more digits
                else:
                    file[place].attrs[name] = NUMBERS[number](value)
        file.attrs["Conventions"] = TEXTS[text]("ODIM_H5/V2_3")
    frames = OdimHdf5().read(path)
    np.testing.assert_array_equal(frames.values, [RATES])
    assert frames.times[0] == np.datetime64("2018-08-24T18:00") and OdimHdf5().recognises(path)


@pytest.mark.parametrize("version", ["V2_0", "V2_1", "V2_2", "V2_3", "V2_4"])
def test_every_version_is_recognised_by_its_conventions_or_its_object(tmp_path, version):
    path = write_odim(tmp_path / "a.h5", RAW, scaling=SCALING)
    with h5py.File(path, "a") as file:
        file.attrs["Conventions"] = f"ODIM_H5/{version}"
        file["what"].attrs["version"] = f"H5rad {version[1:].replace('_', '.')}"
    assert OdimHdf5().recognises(path)
    with h5py.File(path, "a") as file:
        del file.attrs["Conventions"]
    assert OdimHdf5().recognises(path) and OdimHdf5().read(path).values[0, 0, 2] == 1.5


@pytest.mark.parametrize(
    "kind", ["u1", "i1", "u2", "i2", "i4", "u8", "i8", "f4", "f8", ">u2", ">f4"]
)
def test_numbers_of_every_type_are_read(tmp_path, kind):
    raw = np.array([[0, 2, 5], [7, 100, 127]], kind)
    frames = OdimHdf5().read(
        write_odim(tmp_path / "a.h5", raw, scaling=SCALING | {"nodata": 127.0})
    )
    np.testing.assert_array_equal(frames.values, [RATES])


def test_whole_marks_beyond_what_floats_tell_apart_are_found_exactly(tmp_path):
    raw = np.int64([[2**62 + 1, -(2**62) - 1, 5]])
    frames = OdimHdf5().read(
        write_odim(
            tmp_path / "a.h5",
            raw,
            scaling={"nodata": np.int64(2**62 + 1), "undetect": np.int64(-(2**62) - 1)},
        )
    )
    np.testing.assert_array_equal(frames.values, [[[NAN, 0, 5]]])
    with pytest.raises(UserError, match="the marks for missing and dry are wrong or not declared"):
        OdimHdf5().read(
            write_odim(
                tmp_path / "b.h5",
                raw,
                scaling={"nodata": np.int64(2**62 + 2), "undetect": np.int64(-(2**62) - 1)},
            )
        )


def test_a_mark_that_is_not_a_number_finds_nan_and_nothing_else(tmp_path):
    np.testing.assert_array_equal(
        OdimHdf5()
        .read(
            write_odim(
                tmp_path / "a.h5", [[NAN, 0.0, 2.0]], scaling={"nodata": NAN, "undetect": -1.0}
            )
        )
        .values,
        [[[NAN, 0, 2]]],
    )


@pytest.mark.parametrize("kind", ["COMP", "IMAGE", "CVOL"])
def test_maps_are_read_whatever_their_object_is_called(tmp_path, kind):
    assert (
        OdimHdf5()
        .read(write_odim(tmp_path / "a.h5", RAW, scaling=SCALING, object=kind))
        .values[0, 0, 2]
        == 1.5
    )


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("SCAN", "a polar scan"),
        ("PVOL", "a polar volume"),
        ("RAY", "a single polar ray"),
        ("AZIM", "a part of a polar scan"),
        ("ELEV", "a vertical scan"),
        ("VP", "a vertical profile"),
        ("XSEC", "a vertical section"),
        ("PIC", "a picture"),
    ],
)
def test_sweeps_and_profiles_are_recognised_and_refused_with_what_makes_maps_of_them(
    tmp_path, kind, what
):
    path = write_odim(tmp_path / "a.h5", RAW, object=kind)
    assert OdimHdf5().recognises(path)
    with pytest.raises(
        UserError,
        match=f"what/object is '{kind}', expected COMP, IMAGE, CVOL: maps, no sweeps: it is {what}; "
        "make a composite of it first, e.g. with BALTRAD's radarcomp, with wradlib.comp, or with "
        "grid_from_radars of Py-ART",
    ):
        OdimHdf5().read(path)


def test_a_map_without_an_object_is_known_by_its_projection(tmp_path):
    path = write_odim(tmp_path / "a.h5", RAW, scaling=SCALING, object=None)
    np.testing.assert_array_equal(Auto().read(path).values, [RATES])
    assert (
        len(OdimHdf5(crs=LAEA).read(write_odim(tmp_path / "b.h5", RAW, object=None, projdef=None)))
        == 1
    )
    with h5py.File(path, "a") as file:
        file.attrs["object"] = "PVOL"
    with pytest.raises(UserError, match="it is a polar volume"):
        Auto().read(path)


def test_a_volume_of_several_levels_is_refused_and_a_composite_whose_fields_nothing_tells_apart_gives_the_first(
    tmp_path,
):
    def two(kind):
        path = write_odim(tmp_path / f"{kind}.h5", [[1.0]], object=kind)
        with h5py.File(path, "a") as file:
            file["dataset2/data1/data"] = np.full((1, 1), 9.0)
            file.require_group("dataset2/what").attrs["quantity"] = "RATE"
        return path

    assert OdimHdf5().read(two("COMP")).values[0, 0, 0] == 1.0
    with pytest.raises(UserError, match="is a volume with 2 levels of RATE; one map is needed"):
        OdimHdf5().read(two("CVOL"))


def test_quality_fields_are_not_taken_for_rain(tmp_path):
    path = write_odim(tmp_path / "a.h5", RAW, scaling=SCALING)
    with h5py.File(path, "a") as file:
        for place in ("dataset1/quality1", "dataset1/data1/quality1"):
            file[f"{place}/data"] = np.ones((2, 3))
            file.require_group(f"{place}/what").attrs["quantity"] = "RATE"
    np.testing.assert_array_equal(OdimHdf5().read(path).values, [RATES])


def with_corners(tmp_path, names, place="where"):
    """A file of 2 x 3 pixels of 1 km whose corners are those named."""
    path = write_odim(tmp_path / f"{'_'.join(names)}.h5", RAW, scaling=SCALING)
    with h5py.File(path, "a") as file:
        for name in ("UL_lon", "UL_lat", "LR_lon", "LR_lat"):
            del file["where"].attrs[name]
        for name in names:
            x, y = {"L": 0.0, "R": 3000.0}[name[1]], {"U": 0.0, "L": -2000.0}[name[0]]
            file["where"].attrs[f"{name}_lon"], file["where"].attrs[f"{name}_lat"] = pyproj.Proj(
                LAEA
            )(x, y, inverse=True)
        if place != "where":
            file.move("where", place)
    return path


@pytest.mark.parametrize("names", [("UL", "LR"), ("LL", "UR"), ("LL", "LR", "UL", "UR")])
def test_two_opposite_corners_are_enough_whichever_they_are(tmp_path, names):
    grid = OdimHdf5().read(with_corners(tmp_path, names)).grid
    np.testing.assert_allclose([*grid.x, *grid.y], [500, 1500, 2500, -500, -1500], atol=1e-3)


@pytest.mark.parametrize("names", [("LL", "LR"), ("UL", "UR"), ("UL", "LL"), ("LR",)])
def test_corners_of_one_side_are_enough_with_the_scales(tmp_path, names):
    grid = OdimHdf5().read(with_corners(tmp_path, names)).grid
    np.testing.assert_allclose([*grid.x, *grid.y], [500, 1500, 2500, -500, -1500], atol=1e-3)


def test_a_dataset_may_say_itself_where_it_is(tmp_path):
    assert OdimHdf5().read(
        with_corners(tmp_path, ("UL", "LR"), place="dataset1/where")
    ).grid.shape == (2, 3)


@pytest.mark.parametrize(
    "projdef",
    [
        "+init=epsg:3067",
        "+init=EPSG:3067 +no_defs",
        "EPSG:3067",
        "init=epsg:3067",
        "+proj=utm +zone=35 +ellps=GRS80 +units=m +no_defs",
    ],
)
def test_a_projection_may_be_a_code(tmp_path, projdef):
    path = write_odim(tmp_path / "a.h5", RAW, scaling=SCALING, projdef=projdef)
    to_degrees = pyproj.Proj("+proj=utm +zone=35 +ellps=GRS80")
    with h5py.File(path, "a") as file:
        for name, place in (("UL", (500_000, 6_702_000)), ("LR", (503_000, 6_700_000))):
            file["where"].attrs[f"{name}_lon"], file["where"].attrs[f"{name}_lat"] = to_degrees(
                *place, inverse=True
            )
    grid = OdimHdf5().read(path).grid
    np.testing.assert_allclose(
        [*grid.x, *grid.y], [500_500, 501_500, 502_500, 6_701_500, 6_700_500], atol=1e-3
    )


@pytest.mark.parametrize(
    ("definition", "message"),
    [("+init=epsg:999999", "the projection EPSG:999999 counts in nothing, it is unknown; metres "
                           "or degrees are needed"), ("EPSG:2225", "the "
                                                                                                                                       "projection "
                                                                                                                                       "EPSG:2225 "
                                                                                                                                       "counts "
                                                                                                                                       "in "
                                                                                                                                       "US "
                                                                                                                                       "survey "
                                                                                                                                       "foot"),
     ("+init=/etc/passwd:1", "has 'init'"), ("+init=epsg:3067 +nadgrids=/etc/passwd", "has 'init', 'nadgrids'"),
     ("+proj=laea +nadgrids=@null,/etc/passwd", "has 'nadgrids'"), ("", "has no .proj")],
)  # fmt: skip
def test_a_code_that_is_unknown_or_not_metric_and_an_init_file_are_refused(definition, message):
    with pytest.raises(UserError, match=f"a.h5: .*{message}"):
        projection_in_metres(definition, "a.h5")


def test_the_interval_of_an_accumulation_is_the_nearest_that_is_stated(tmp_path):
    path = write_odim(
        tmp_path / "a.h5", np.uint16([[3, 0]]), quantity="ACRR", scaling={"undetect": 0.0}
    )
    assert OdimHdf5().read(path).values.tolist() == [[[12, 0]]]  # 15 minutes, in dataset1/what
    with h5py.File(path, "a") as file:
        file["dataset1/data1/what"].attrs["starttime"] = "173000"
    frames = OdimHdf5().read(path)
    assert (
        frames.values.tolist() == [[[6, 0]]]
        and frames.quantity == "rain depth in 30 min"
        and frames.times[0] == np.datetime64("2018-08-24T18:00")
    )


def test_a_time_of_hours_and_minutes_is_not_taken_for_seconds(tmp_path):
    assert OdimHdf5().read(write_odim(tmp_path / "a.h5", [[1.0]], time=b"1815")).times[
        0
    ] == np.datetime64("2018-08-24T18:15")
    for wrong in (b"18150", b"18:15:00", b"1815000", b" ", b"246000"):
        with pytest.raises(
            UserError,
            match="date and time of what are '20180824' and .*; expected YYYYMMDD and HHMMSS",
        ):
            OdimHdf5().read(write_odim(tmp_path / "a.h5", [[1.0]], time=wrong))


def test_the_first_quantity_of_several_is_the_rate_and_others_are_chosen(tmp_path):
    path = write_odim(tmp_path / "a.h5", [[23.0103]], quantity="TH")
    with h5py.File(path, "a") as file:
        for number, (quantity, value) in enumerate(
            [("DBZH", 30.0), ("ACRR", 2.0), ("RATE", 7.0), ("QIND", 1.0)], start=2
        ):
            file[f"dataset1/data{number}/data"] = np.full((1, 1), value)
            file.require_group(f"dataset1/data{number}/what").attrs["quantity"] = quantity
    rates = {
        quantity: float(OdimHdf5(quantity=quantity).read(path).values[0, 0, 0])
        for quantity in (None, "RATE", "ACRR", "TH")
    }
    assert rates == {None: 7.0, "RATE": 7.0, "ACRR": 8.0, "TH": pytest.approx(1.0, rel=1e-5)}


def test_wholly_missing_wholly_dry_and_single_pixels_stay_what_they_are(tmp_path):
    assert np.isnan(
        OdimHdf5()
        .read(write_odim(tmp_path / "a.h5", np.full((2, 2), 255, "u1"), scaling=SCALING))
        .values
    ).all()
    assert (
        OdimHdf5()
        .read(write_odim(tmp_path / "b.h5", np.zeros((2, 2), "u1"), scaling=SCALING))
        .values
        == 0
    ).all()
    frames = OdimHdf5().read(write_odim(tmp_path / "c.h5", np.uint8([[4]]), scaling=SCALING))
    assert frames.values.tolist() == [[[1]]] and np.isnan(frames.grid.spacing).all()


def test_a_file_cut_anywhere_is_refused(tmp_path):
    assert (
        cut_everywhere(
            OdimHdf5(), write_odim(tmp_path / "a.h5", np.arange(600, dtype="f4").reshape(20, 30))
        )
        >= 60
    )


def test_bytes_changed_anywhere_give_frames_or_one_line(tmp_path):
    whole, random, refused = (
        write_odim(tmp_path / "a.h5", RAW, scaling=SCALING).read_bytes(),
        np.random.default_rng(2),
        0,
    )
    for place in random.choice(len(whole), 200, replace=False):
        content = bytearray(whole)
        content[place] ^= int(random.integers(1, 256))
        (tmp_path / "b.h5").write_bytes(content)
        OdimHdf5().recognises(tmp_path / "b.h5")
        try:
            OdimHdf5().read(tmp_path / "b.h5")
        except UserError as error:
            assert "b.h5" in str(error) and "\n" not in str(error)
            refused += 1
    assert refused > 10


def test_an_empty_attribute_as_netcdf_writes_it_is_none(tmp_path):
    path = write_odim(tmp_path / "a.h5", RAW, scaling=SCALING)
    with h5py.File(path, "a") as file:
        file["dataset1/data1/what"].attrs["nodata"] = h5py.Empty("f8")
        file["dataset1/what"].attrs["nodata"] = 255.0
    assert Hdf5File(path).attribute("dataset1/data1/what", "nodata") is None
    np.testing.assert_array_equal(OdimHdf5().read(path).values, [RATES])


def test_a_map_declared_larger_than_the_file_is_refused_at_once(tmp_path):
    path = write_odim(tmp_path / "a.h5", RAW, scaling=SCALING)
    with h5py.File(path, "a") as file:
        del file["dataset1/data1/data"]
        file.create_dataset("dataset1/data1/data", (2**14, 2**14), "u1", chunks=(1, 1))[0, 0] = 1
    with pytest.raises(UserError, match="dataset1/data1/data is incomplete"):
        OdimHdf5().read(path)
