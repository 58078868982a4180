"""One field in every combination of file format, order of axes, unit of places, direction of rows,
code of values and spelling of times reads back the same; and what says too little is refused.
"""

import gzip
import itertools

import h5py
import numpy as np
import pytest
from scipy.io import netcdf_file

from nowcast.readers.array_grid import ArrayGrid
from nowcast.readers.arrays import Arrays
from nowcast.readers.decoding import Coding
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Grid

NAN = np.nan
METRES = "+proj=laea +lat_0=52 +lon_0=10 +ellps=GRS80 +units=m"
KILOMETRES = "+proj=laea +lat_0=52 +lon_0=10 +ellps=GRS80 +units=km"
SMALL_EARTH = "+proj=laea +lat_0=52 +lon_0=10 +a=6378.137 +b=6356.7523141"
RATES = np.array(  # (T, H, W), row 0 north
    [[[0, 1.2, NAN, 24], [6, 0, 12, 2.4]], [[NAN, 0, 0, 1.2], [0, 36, 12, 0]]]
    + [[[6, 6, 0, 0], [1.2, NAN, 0, 120]]]
)
TIMES = np.datetime64("2024-02-29T23:55", "s") + 300 * np.arange(3)
X, Y = np.array([1000.0, 3000, 5000, 7000]), np.array([-500.0, -2500])
CODES = {
    "rates in floats": (Coding("rain_rate"), lambda rates: rates.astype(np.float32)),
    "rates with a mark": (
        Coding("rain_rate", missing=(-9999,)),
        lambda rates: np.where(np.isnan(rates), -9999, rates).astype(np.float64),
    ),
    "depths in hundredths": (
        Coding("rain_depth", minutes=5, gain=0.01, missing=(-1,)),
        lambda rates: np.where(np.isnan(rates), -1, np.round(rates / 12 * 100)).astype(np.int16),
    ),
    "shifted bytes": (
        Coding("rain_rate", gain=1.2, offset=-2.4, missing=(255,), undetect=0),
        lambda rates: np.select(
            [np.isnan(rates), rates == 0], [255, 0], np.round((rates + 2.4) / 1.2)
        ).astype(np.uint8),
    ),
}
ORDERS = {"THW": (0, 1, 2), "HWT": (1, 2, 0), "WTH": (2, 0, 1), "TWH": (0, 2, 1)}
UNITS = {  # projection, metres of its unit, unit of coordinates in the file
    "metres": (METRES, 1.0, None),
    "kilometres": (KILOMETRES, 1000.0, None),
    "an earth in kilometres": (SMALL_EARTH, 1000.0, None),
    "coordinates in kilometres": (METRES, 1000.0, "km"),
    "coordinates in metres": (KILOMETRES, 1.0, "m"),
}
SECONDS = (TIMES - np.datetime64(0, "s")).astype(np.int64)


def stored_times(spelling):
    """(arrays by name, what reader.time_in_file says) of a spelling of times."""
    if spelling == "epoch":
        return {"when": SECONDS.astype(np.float64)}, "when"
    if spelling == "digits":
        texts = [f"{one.item():%Y%m%d%H%M}" for one in TIMES]
        return {"when": np.array(texts, "S12")}, "when"
    dates = np.array([int(f"{one.item():%Y%m%d}") for one in TIMES], np.int32)
    clocks = np.array([f"{one.item():%H%M%S}" for one in TIMES], "S6")
    return {"date": dates, "clock": clocks}, ("date", "clock")


def write_hdf5(path, arrays, units):
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = values
            if name in units:
                file[name].attrs["units"] = units[name]
    return path


def write_classic(path, arrays, units):
    with netcdf_file(path, "w") as file:
        for name, values in arrays.items():
            kind = values.dtype
            if kind.kind == "S":
                values = values.view("S1").reshape(len(values), -1)
            elif kind == np.uint8:
                values = values.astype(np.int16)  # NetCDF-3 has no unsigned bytes
            elif kind == np.int64:
                values = values.astype(np.int32)
            dims = [f"{name}_{axis}" for axis in range(values.ndim)]
            for dim, length in zip(dims, values.shape):
                file.createDimension(dim, length)
            file.createVariable(name, values.dtype.newbyteorder(">"), dims)[:] = values
            if name in units:
                file.variables[name].units = units[name]
    return path


def write_npz(path, arrays, units):
    np.savez(path, **arrays)
    return path


WRITERS = {"a.h5": write_hdf5, "a.nc": write_classic, "a.npz": write_npz}


@pytest.mark.parametrize("spelling", ["epoch", "digits", "date and clock"])
@pytest.mark.parametrize("name", WRITERS)
def test_one_field_in_every_dialect_reads_back_the_same(tmp_path, name, spelling):
    expected = Grid(METRES, X, Y)
    times, where = stored_times(spelling)
    count = 0
    for (crs, unit, said), code, axes, from_south, typed in itertools.product(
        UNITS.values(), CODES, ORDERS, (False, True), (False, True)
    ):
        if said and (typed or name == "a.npz"):
            continue  # typed numbers have the unit of the projection, and .npz has no attributes
        values, encode = CODES[code]
        field = encode(RATES[:, ::-1] if from_south else RATES).transpose(ORDERS[axes])
        y = (Y[::-1] if from_south else Y) / unit
        arrays = {"rain": field, "xs": X / unit, "ys": y} | times
        path = WRITERS[name](tmp_path / name, arrays, {"xs": said, "ys": said} if said else {})
        rows_from = "south" if from_south else "north"
        place = ArrayGrid(crs, "xs", "ys", rows_from=rows_from)
        if typed:
            place = ArrayGrid(crs, X[0] / unit, y[0], 2000 / unit, 2000 / unit, rows_from)
        frames = Arrays(place, "rain", values, time_in_file=where, axes=axes).read(path)
        np.testing.assert_allclose(frames.values, RATES, rtol=1e-6, atol=1e-6)
        assert frames.times.tolist() == TIMES.tolist()
        assert frames.grid.difference(expected) is None
        assert frames.grid.pixel_km == pytest.approx(2.0)
        count += 1
    assert count >= 192


@pytest.mark.parametrize("crs", [KILOMETRES, SMALL_EARTH])
def test_a_projection_in_kilometres_gives_pixels_of_1000_metres_and_not_of_1(tmp_path, crs):
    np.save(tmp_path / "202001010005.npy", np.ones((2, 3)))
    place = ArrayGrid(crs, 0.5, -0.5, dx=1.0, dy=1.0)
    reader = Arrays(place, None, Coding("rain_rate"), time_in_name="%Y%m%d%H%M")
    grid = reader.read(tmp_path / "202001010005.npy").grid
    assert grid.x.tolist() == [500, 1500, 2500] and grid.y.tolist() == [-500, -1500]
    assert "cells of 1000 x 1000 metre" in grid.describe()
    place = ArrayGrid(METRES, 0.5, -0.5, dx=1.0, dy=1.0)
    reader = Arrays(place, None, Coding("rain_rate"), time_in_name="%Y%m%d%H%M")
    with pytest.raises(UserError, match="reader.grid.dx is 1, pixels of 1 m; are the numbers in k"):
        reader.read(tmp_path / "202001010005.npy")


def test_a_packed_npy_file_is_read_and_another_packed_one_called_packed(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((2, 3)))
    path = tmp_path / "202001010005.npy.gz"
    path.write_bytes(gzip.compress((tmp_path / "a.npy").read_bytes()))
    place = ArrayGrid(METRES, 500.0, -500.0, dx=1000.0, dy=1000.0)
    reader = Arrays(place, None, Coding("rain_rate"), time_in_name="%Y%m%d%H%M")
    assert reader.read(path).values.tolist() == [[[1, 1, 1], [1, 1, 1]]]
    write_hdf5(tmp_path / "b.h5", {"rain": np.ones((2, 3))}, {})
    path.write_bytes(gzip.compress((tmp_path / "b.h5").read_bytes()))
    with pytest.raises(UserError, match="is neither HDF5, NetCDF nor.*packed with gzip.*gunzip"):
        reader.read(path)


def reader(time_in_file, dataset="rain", place=None):
    place = place or ArrayGrid(METRES, 500.0, -500.0, dx=1000.0, dy=1000.0)
    return Arrays(place, dataset, Coding("rain_rate"), time_in_file=time_in_file)


@pytest.mark.parametrize(
    "date, clock, time",
    [
        ("20240115", "000500", "2024-01-15T00:05"),
        ("2024-01-15", "00:05:30", "2024-01-15T00:05:30"),
        (20240115, "0005", "2024-01-15T00:05"),
        (20240115, 170500, "2024-01-15T17:05"),
    ],
)
def test_a_date_and_a_time_of_day_in_two_attributes_are_one_time(tmp_path, date, clock, time):
    path = write_hdf5(tmp_path / "a.h5", {"rain": np.ones((2, 3))}, {})
    with h5py.File(path, "a") as file:
        file.create_group("what").attrs.update({"date": date, "time": clock})
    frames = reader(["what/date", "what/time"]).read(path)
    assert frames.times.tolist() == [np.datetime64(time, "s").item()]


@pytest.mark.parametrize("date, clock", [("20241315", "0005"), (20240115, 500), ("today", "0005")])
def test_a_date_or_a_time_of_day_that_is_none_is_refused(tmp_path, date, clock):
    path = write_hdf5(tmp_path / "a.h5", {"rain": np.ones((2, 3))}, {})
    with h5py.File(path, "a") as file:
        file.attrs.update({"date": date, "time": clock})
    with pytest.raises(UserError, match="date and time are .*; a date such as 20200101 and a time"):
        reader(("date", "time")).read(path)


def test_dates_and_times_of_day_must_be_as_many(tmp_path):
    arrays = {
        "rain": np.ones((2, 3)),
        "d": np.array([b"20240115"] * 3),
        "t": np.array([b"0005"] * 2),
    }
    path = write_hdf5(tmp_path / "a.h5", arrays, {})
    with pytest.raises(UserError, match="has 3 dates in d and 2 times in t; expected as many of"):
        reader(("d", "t")).read(path)
    with pytest.raises(UserError, match="reader.time_in_file is .'d',.; one path, or two of a dat"):
        reader(["d"])


@pytest.mark.parametrize(
    "dataset, time, said",
    [
        (
            "snow",
            "when",
            "has no variable snow, expected one of (rain|when|text), .*; set reader.dataset",
        ),
        ("text", "when", "text is of type .S1; numbers are needed"),
        ("rain", "then", "has no dataset or attribute then; set reader.time_in_file to one"),
        ("rain", "rain/then", "has no dataset or attribute rain/then; set reader.time_in_file"),
        ("rain", "none", "none must be 1 to 100000 times, but its shape is .0,."),
    ],
)
def test_a_netcdf_3_file_without_what_the_settings_name_is_refused_by_name(
    tmp_path, dataset, time, said
):
    arrays = {"rain": np.ones((2, 3)), "when": np.array([1.7e9]), "text": np.array([b"abc"])}
    if time == "none":
        arrays["none"] = np.ones(0)
    path = write_classic(tmp_path / "a.nc", arrays, {})
    with pytest.raises(UserError, match=f"a.nc:? {said}"):
        reader(time, dataset).read(path)


def test_a_variable_of_absurdly_many_values_is_no_coordinate(tmp_path, monkeypatch):
    monkeypatch.setattr("nowcast.readers.array_classic.MAX_PIXELS", 2)
    arrays = {"rain": np.ones((2, 3)), "xs": np.arange(3.0), "ys": np.arange(2.0)}
    path = write_classic(tmp_path / "a.nc", arrays, {"rain": "2024-01-15T00:05"})
    with pytest.raises(UserError, match="xs claims 3 values; more than 2 are refused"):
        reader("rain/units", place=ArrayGrid(METRES, "xs", "ys")).read(path)


def test_a_netcdf_3_file_has_its_time_in_an_attribute_or_in_units_of_time(tmp_path):
    path = write_classic(
        tmp_path / "a.nc",
        {"rain": np.ones((2, 3)), "when": np.array([0.5])},
        {"when": "hours since 2024-01-15", "rain": "2024-01-15T00:05"},
    )
    assert str(reader("when").read(path).times[0]) == "2024-01-15T00:30:00"
    assert str(reader("rain/units").read(path).times[0]) == "2024-01-15T00:05:00"
