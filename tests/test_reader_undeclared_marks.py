"""A number that usually means missing, that many pixels have and nothing declares, is no rain."""

import numpy as np
import pytest

from nowcast.readers.array_grid import ArrayGrid
from nowcast.readers.arrays import Arrays
from nowcast.readers.decoding import Coding
from nowcast.readers.odim_hdf5 import OdimHdf5
from nowcast.runtime.errors import UserError
from tests.factories_odim import PIXEL, TIME, write_map

NAN = np.nan
PLACE = {"projdef": "+proj=laea +lat_0=55 +lon_0=10", "xscale": PIXEL, "yscale": PIXEL} | {
    "UL_x": 0.0,
    "UL_y": 0.0,
}


def field(mark, kind, rain=1):
    """4 x 5 pixels, four of them a mark, the others of 0 and ``rain``."""
    raw = np.zeros((4, 5), kind)
    raw[0, :4], raw[1] = mark, rain
    return raw


def write_odim(path, raw, **what):
    stated = {"object": "COMP", "date": "20180824", "time": "180000"}
    groups = {"what": stated, "where": PLACE, "dataset1/data1/what": {"quantity": "RATE"} | what}
    return write_map(path, raw, groups)


@pytest.mark.parametrize(
    ("raw", "what", "found"),
    [
        (field(999, "f4"), {}, "999"),
        (field(255, "f8"), {"nodata": -1.0}, "255"),
        (field(255, "u1"), {"gain": 0.5}, "255"),
        (field(255, "u1"), {"gain": 0.5, "nodata": -9999.0}, "255"),
        (field(255, "u1"), {"gain": 0.5, "nodata": 256.0}, "255"),
        (field(-32768, "i2"), {"gain": 0.0001}, "-32768"),
    ],
)
def test_odim_with_an_undeclared_mark_is_refused_and_read_as_the_setting_says(
    tmp_path, raw, what, found
):
    path = write_odim(tmp_path / "rate.h5", raw, **what)
    with pytest.raises(
        UserError,
        match=rf"4 of 20 pixels are {found}, which looks like a mark for missing ones, but nothing "
        r"declares it; with reader=odim_hdf5 set reader.missing to the numbers that mean not observed, or to \[\] if",
    ):
        OdimHdf5().read(path)
    frames = OdimHdf5(missing=(float(found),)).read(path)
    assert np.isnan(frames.values).sum() == 4 and frames.times[0] == TIME


def test_odims_declared_marks_and_a_single_pixel_of_255_mm_per_hour_are_no_undeclared_ones(
    tmp_path,
):
    raw = field(255, "u1")
    frames = OdimHdf5().read(write_odim(tmp_path / "a.h5", raw, gain=0.5, nodata=255.0))
    assert np.isnan(frames.values).sum() == 4
    raw = field(0, "f4")
    raw[3, 3] = 255
    assert OdimHdf5().read(write_odim(tmp_path / "b.h5", raw)).values.max() == 255


def test_an_array_with_an_undeclared_mark_is_refused_and_read_as_the_setting_says(tmp_path):
    np.savez(tmp_path / "201808241800.npz", rain=field(999, "f4"))
    grid = ArrayGrid("+proj=laea +lat_0=55 +lon_0=10", 500.0, -500.0, dx=1000.0, dy=1000.0)

    def read(**coding):
        reader = Arrays(grid, "rain", Coding("rain_rate", **coding), time_in_name="%Y%m%d%H%M")
        return reader.read(tmp_path / "201808241800.npz").values

    with pytest.raises(UserError, match="4 of 20 pixels are 999, .*; set reader.values.missing to"):
        read()
    assert np.isnan(read(missing=(999.0,))).sum() == 4
    assert read(missing=()).max() == 999
