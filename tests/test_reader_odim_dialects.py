"""One field in every dialect of ODIM_H5: wherever attributes stand, whichever corners are stated,
whatever scales and corners mean, however values are coded, the same rates, time and corners come
out.
"""

from dataclasses import replace
from itertools import product

import h5py
import numpy as np
import pytest

from nowcast.readers.auto import Auto
from nowcast.readers.decoding import stored_mark
from nowcast.readers.odim_hdf5 import OdimHdf5
from nowcast.runtime.errors import UserError
from tests.factories import write_odim
from tests.factories_odim import (
    CODES,
    CORNERS,
    NUMBERS,
    ONE_PLACE,
    RATES,
    TIME,
    WHAT_PLACES,
    WHERE_PLACES,
    Dialect,
    X,
    Y,
    write_dialect,
)

PLACES = list(product(WHAT_PLACES, WHERE_PLACES))


def read_the_same(path, dialect):
    """The field of a dialect, after it was found to be the same as in every other one."""
    frames = Auto().read(write_dialect(path, dialect))
    np.testing.assert_allclose(frames.values, RATES[None], rtol=1e-6, err_msg=str(dialect))
    assert frames.times.tolist() == [TIME.item()], dialect
    np.testing.assert_allclose(frames.grid.x, X, atol=1e-3, err_msg=str(dialect))
    np.testing.assert_allclose(frames.grid.y, Y, atol=1e-3, err_msg=str(dialect))
    return frames


@pytest.mark.parametrize("corners", CORNERS)
def test_every_combination_of_corners_meanings_and_units_gives_the_same_field_wherever_they_stand(
    tmp_path, corners
):
    random = np.random.default_rng(list(CORNERS).index(corners))
    tried = 0
    for centres, kilometres, sizes in product((False, True), repeat=3):
        if centres and corners in ONE_PLACE:
            continue  # nothing in such a file says so
        for place in random.choice(len(PLACES), 6, replace=False):
            what, where = PLACES[place]
            dialect = Dialect(
                what=what,
                where=where,
                corners=corners,
                centres=centres,
                kilometres=kilometres,
                sizes=sizes,
                code=str(random.choice(list(CODES))),
                number=str(random.choice(list(NUMBERS))),
                nominal=str(random.choice(WHAT_PLACES)),
            )
            frames = read_the_same(tmp_path / "a.h5", dialect)
            assert ("its corners are the centres of the corner pixels" in frames.remarks) == centres
            assert ("its scales are in kilometres" in frames.remarks) == kilometres
            tried += 1
    assert tried == (24 if corners in ONE_PLACE else 48)


@pytest.mark.parametrize("code", CODES)
def test_every_code_gives_the_same_field_wherever_it_stands_and_in_whatever_type(tmp_path, code):
    for what, number in product(WHAT_PLACES, NUMBERS):
        if "32-bit floats" in code and number == "whole where it is":
            continue
        read_the_same(tmp_path / "a.h5", Dialect(what=what, number=number, code=code))


@pytest.mark.parametrize("corners", ["all", "UL and LR", "LL and UR", "three"])
@pytest.mark.parametrize("centres", [False, True])
def test_without_scales_pixels_are_as_large_as_opposite_corners_say_and_square(
    tmp_path, corners, centres
):
    dialect = Dialect(corners=corners, centres=centres, scales=False)
    frames = read_the_same(tmp_path / "a.h5", dialect)
    meaning = "centres of pixels" if centres else "outer corners"
    assert frames.remarks == (
        f"it states no scales; its pixels are 2000 x 2000 as its corners, taken as {meaning}, say",
    )


def test_a_plain_file_is_read_without_a_remark(tmp_path):
    assert read_the_same(tmp_path / "a.h5", Dialect()).remarks == ()


@pytest.mark.parametrize("name, value", [("gain", 7.0), ("nodata", 4.0), ("quantity", "ACRR")])
def test_of_two_places_the_nearer_one_counts(tmp_path, name, value):
    for near, far in zip(WHAT_PLACES, WHAT_PLACES[1:]):
        dialect = Dialect(what=near, nominal="what", extra={far: {name: value}})
        if far in ("/", "what") and name == "quantity":
            continue
        read_the_same(tmp_path / "a.h5", dialect)


def test_sizes_may_stand_in_the_dataset_and_the_projection_in_the_file(tmp_path):
    path = write_dialect(tmp_path / "a.h5", Dialect())
    with h5py.File(path, "a") as file:
        for name in ("xsize", "ysize", "xscale", "yscale"):
            file.require_group("dataset1/where").attrs[name] = file["where"].attrs[name]
            del file["where"].attrs[name]
    frames = OdimHdf5().read(path)
    np.testing.assert_allclose(frames.grid.x, X, atol=1e-3)
    np.testing.assert_array_equal(frames.values, RATES[None])


def test_an_array_may_stand_without_a_group_of_its_own(tmp_path):
    path = write_dialect(tmp_path / "a.h5", Dialect(what="dataset1/what"))
    for place in ("dataset1/data1", "dataset1/data"):
        with h5py.File(path, "a") as file:
            stored = file["dataset1/data1"]
            values = stored["data"][()] if isinstance(stored, h5py.Group) else stored[()]
            del file["dataset1/data1"]
            file[place] = values
        np.testing.assert_array_equal(OdimHdf5().read(path).values, RATES[None])


def test_dates_and_times_may_be_numbers_whose_leading_zeros_are_lost(tmp_path):
    dialect = Dialect(nominal="dataset1/data1", extra={})
    path = write_dialect(tmp_path / "a.h5", dialect)
    with h5py.File(path, "a") as file:
        file["dataset1/data1"].attrs["date"] = np.int64(20180824)
        file["dataset1/data1"].attrs["time"] = np.int64(500)
        for name in ("startdate", "starttime", "enddate", "endtime"):
            del file["dataset1/data1/what"].attrs[name]
    assert OdimHdf5().read(path).times[0] == np.datetime64("2018-08-24T00:05:00")


def test_without_a_nominal_time_a_field_has_that_of_the_end_of_its_interval(tmp_path):
    path = write_dialect(tmp_path / "a.h5", Dialect())
    with h5py.File(path, "a") as file:
        del file["what"].attrs["date"], file["what"].attrs["time"]
    assert OdimHdf5().read(path).times[0] == TIME
    with h5py.File(path, "a") as file:
        del file["dataset1/data1/what"].attrs["enddate"]
    with pytest.raises(UserError, match="date and time of what are None and None; expected YYYYMM"):
        OdimHdf5().read(path)


def test_marks_that_the_type_cannot_contain_are_those_of_the_same_bits(tmp_path):
    marks = {
        ("u1", -1.0): 255,
        ("u2", -1): 65535,
        ("u2", -32768.0): 32768,
        ("i1", 255.0): -1,
        ("i2", 65535.0): -1,
        ("u1", 255.0): 255.0,
        ("u1", -9999.0): -9999.0,
        ("u1", 65535.0): 65535.0,
        ("u1", 1.5): 1.5,
        ("f4", -1.0): -1.0,
    }
    assert {(kind, mark): stored_mark(mark, np.dtype(kind)) for kind, mark in marks} == marks
    assert stored_mark(None, np.dtype("u1")) is None
    assert np.isnan(stored_mark(np.nan, np.dtype("u1")))


@pytest.mark.parametrize("text", ["none", "None", "N/A", ""])
def test_a_text_may_say_that_there_is_no_mark(tmp_path, text):
    path = write_odim(tmp_path / "a.h5", np.uint8([[0, 5]]), scaling={"nodata": text})
    assert OdimHdf5().read(path).values.tolist() == [[[0, 5]]]


def test_the_marks_that_are_set_count_instead_of_those_of_the_file(tmp_path):
    path = write_odim(tmp_path / "a.h5", np.float32([[-999.0, 2.0]]))
    with pytest.raises(
        UserError,
        match="not declared; with reader=odim_hdf5 set reader.missing to the numbers that mean not "
        "observed",
    ):
        OdimHdf5().read(path)
    read = OdimHdf5(missing=(-999.0,)).read(path)
    np.testing.assert_array_equal(read.values, [[[np.nan, 2.0]]])


@pytest.mark.parametrize("quantity", ["DBZ", "dbzh", "Th", "rate"])
def test_quantities_are_known_by_their_names_in_any_case(tmp_path, quantity):
    path = write_odim(tmp_path / "a.h5", [[23.0103]], quantity=quantity)
    expected = 23.0103 if quantity == "rate" else 1.0
    assert OdimHdf5().read(path).values[0, 0, 0] == pytest.approx(expected, rel=1e-5)


def test_a_file_that_states_no_quantity_has_the_one_that_is_set(tmp_path):
    path = write_odim(tmp_path / "a.h5", [[23.0103]])
    with h5py.File(path, "a") as file:
        del file["dataset1/what"].attrs["quantity"]
    with pytest.raises(UserError, match="is missing; .*reader=odim_hdf5 set reader.quantity to wh"):
        OdimHdf5().read(path)
    read = OdimHdf5(quantity="DBZH").read(path)
    assert read.values[0, 0, 0] == pytest.approx(1.0, rel=1e-5)


def without_interval(tmp_path, names="startdate starttime enddate endtime"):
    path = write_odim(tmp_path / "a.h5", [[3.0]], quantity="ACRR")
    with h5py.File(path, "a") as file:
        for name in names.split():
            del file["dataset1/what"].attrs[name]
    return path


def test_the_interval_of_an_accumulation_may_be_set_where_a_file_states_none(tmp_path):
    path = without_interval(tmp_path)
    with pytest.raises(
        UserError, match="over which interval its rain was collected .*set reader.mi"
    ):
        OdimHdf5().read(path)
    frames = OdimHdf5(minutes=30).read(path)
    assert (frames.values.item(), frames.quantity) == (6.0, "rain depth in 30 min")
    assert frames.times[0] == TIME


def test_an_interval_without_length_is_refused_unless_one_is_set(tmp_path):
    path = write_odim(tmp_path / "a.h5", [[3.0]], quantity="ACRR", starttime=b"180000")
    with pytest.raises(
        UserError, match="ends after it starts: with reader=odim_hdf5 set reader.mi"
    ):
        OdimHdf5().read(path)
    assert OdimHdf5(minutes=60).read(path).values.item() == 3.0


def test_a_file_with_thousands_of_fields_is_refused(tmp_path):
    path = write_dialect(tmp_path / "a.h5", Dialect())
    with h5py.File(path, "a") as file:
        for number in range(2, 1003):
            file.create_group(f"dataset1/data{number}")
    with pytest.raises(UserError, match="has more than 1000 fields .dataset1/data1 and so on"):
        OdimHdf5().read(path)


def test_several_values_where_one_is_expected_are_refused_by_their_place(tmp_path):
    path = write_dialect(tmp_path / "a.h5", Dialect())
    with h5py.File(path, "a") as file:
        file["dataset1"].attrs["xscale"] = [1.0, 2.0]
    with pytest.raises(UserError, match="dataset1/xscale contains 2 values; a single one is"):
        OdimHdf5().read(path)


def test_a_length_that_is_no_number_is_refused_by_its_name(tmp_path):
    for value in (np.nan, np.inf, "wide"):
        dialect = Dialect(extra={"dataset1": {"xscale": value}})
        path = write_dialect(tmp_path / "a.h5", replace(dialect, number="float"))
        with pytest.raises(
            UserError, match="has no number where/xscale .*a finite number is expec"
        ):
            OdimHdf5().read(path)
