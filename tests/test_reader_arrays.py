"""Arrays without a word about themselves become fields by the settings, and only if the two agree."""

from pathlib import Path

import h5py
import numpy as np
import pyproj
import pytest
import yaml

from nowcast.cli.config import folder
from nowcast.readers.array_grid import ArrayGrid
from nowcast.readers.arrays import Arrays
from nowcast.readers.axes import straight_axis
from nowcast.readers.decoding import Coding
from nowcast.runtime.build import build
from nowcast.runtime.errors import UserError
from tests.factories_readers import cut_everywhere

NAN = np.nan
ITALY = "+proj=tmerc +lat_0=42 +lon_0=12.5 +ellps=WGS84 +units=m"
GRID = ArrayGrid(ITALY, 500.0, -500.0, dx=1000.0, dy=1000.0)
NAMED = {"time_in_name": "%Y%m%d%H%M"}
RATES = Coding("rain_rate")


def reader(dataset="rain", *, grid=GRID, values=RATES, **settings):
    return Arrays(grid, dataset, values, **(settings or NAMED))


def write_hdf5(path, **datasets):
    with h5py.File(path, "w") as file:
        for name, values in datasets.items():
            file[name] = values
    return path


def write(path, **datasets):
    """An HDF5, .npz or (with one array) .npy file, by the ending of the name."""
    if path.suffix == ".h5":
        return write_hdf5(path, **datasets)
    np.savez(path, **datasets) if path.suffix == ".npz" else np.save(path, *datasets.values())
    return path


def test_the_surface_rain_of_the_italian_civil_protection_is_read_by_its_settings(tmp_path):
    field = np.full((1400, 1200), -9999.0, np.float32)
    field[0, :3], field[-1, -1] = [0, 0.25, 50], 12
    with h5py.File(tmp_path / "SRI_202410190005.h5", "w") as file:
        file.create_dataset("dataset1/data1/data", data=field, compression="gzip")
    settings = yaml.safe_load((folder() / "reader" / "arrays.yaml").read_text())
    settings |= {"dataset": "/dataset1/data1/data", "time_in_name": "%Y%m%d%H%M"}
    settings["values"] |= {"quantity": "rain_rate", "missing": [-9999]}
    settings["grid"] |= {"crs": ITALY, "x": -599_500, "y": 649_500, "dx": 1000, "dy": 1000}
    frames = build(settings, "reader").read(tmp_path / "SRI_202410190005.h5")
    np.testing.assert_array_equal(frames.values[0, 0, :4], [0, 0.25, 50, NAN])
    assert frames.values[0, -1, -1] == 12 and np.isnan(frames.values).sum() == 1400 * 1200 - 4
    assert frames.times[0] == np.datetime64("2024-10-19T00:05") and frames.quantity == "rain rate"
    to_degrees = pyproj.Proj(ITALY)
    corner = to_degrees(frames.grid.x[0] - 500, frames.grid.y[0] + 500, inverse=True)
    np.testing.assert_allclose(
        [*corner, *to_degrees(0, 0, inverse=True)], [4.52339, 47.57086, 12.5, 42], atol=1e-5
    )


@pytest.mark.parametrize("ending", [".h5", ".npz", ".npy"])
def test_values_marks_and_rows_are_as_the_settings_say(tmp_path, ending):
    path = write(tmp_path / f"202001010005{ending}", rain=np.int16([[0, 10, -1], [20, -2, 30]]))
    values = Coding("rain_depth", minutes=5, gain=0.1, offset=-1.0, missing=(-1, -2), undetect=0)
    grid = ArrayGrid(ITALY, 500.0, -500.0, dx=1000.0, dy=2000.0, rows_from="south")
    frames = reader(None if ending == ".npy" else "rain", grid=grid, values=values).read(path)
    np.testing.assert_allclose(
        frames.values[0], [[12, NAN, 24], [0, 0, NAN]], rtol=1e-6
    )  # (20 / 10 - 1) mm in 5 min
    assert frames.grid.x.tolist() == [500, 1500, 2500] and frames.grid.y.tolist() == [1500, -500]
    assert frames.quantity == "rain depth in 5 min" and frames.times.tolist() == [
        np.datetime64("2020-01-01T00:05:00").item()
    ]


def test_thumbnails_of_taasrad19_are_rates_inside_the_circle_of_their_radar(tmp_path):
    """52.5 dBZ are 69.7 mm/h by Z = 200 R^1.6; code 0 is dry inside the circle, missing outside:
    844 of 64 x 64 samples lie farther than 120.5 km from its middle.
    """
    code = np.zeros((3, 64, 64), np.uint8)
    code[1, 20, 40], code[2, 0, 0] = 255, 255
    times = 1_444_037_100 + 300 * np.arange(3)
    path = write(tmp_path / "train.npz", code=code, time=times, sequence=np.zeros(3, np.int16))
    settings = yaml.safe_load((folder() / "reader" / "taasrad19.yaml").read_text())
    frames = build(settings, "reader").read(path)
    assert np.isnan(frames.values).sum() == 3 * 844
    assert frames.values[1, 20, 40] == pytest.approx((10**5.25 / 200) ** (1 / 1.6), rel=1e-5)
    assert np.nanmax(frames.values[2]) == 0 and frames.values[0, 32, 32] == 0
    assert frames.times.tolist()[0] == np.datetime64("2015-10-05T09:25:00").item()
    assert frames.grid.pixel_km == 3.75


def test_beyond_the_reach_of_the_radar_nothing_is_observed_whatever_number_stands_there(tmp_path):
    """Pixels of 1 km, 2 x 2 km from the middle at most: the corners lie 2.12 km away."""
    path = write(tmp_path / "202001010005.npz", rain=np.ones((4, 4)))
    grid = ArrayGrid(ITALY, 500.0, 500.0, dx=1000.0, dy=1000.0, reach=2000.0)
    seen = ~np.isnan(reader("rain", grid=grid).read(path).values[0])
    corners = [[False, True, True, False], [True] * 4]
    assert seen.tolist() == corners + corners[::-1]


@pytest.mark.parametrize("ending", [".h5", ".npz", ".npy"])
def test_three_axes_are_frames_a_timestep_apart_from_the_time_told(tmp_path, ending):
    path = write(tmp_path / f"202001010005{ending}", rain=np.arange(12.0).reshape(3, 2, 2))
    frames = reader(None if ending == ".npy" else "rain", timestep=2.5, axes="THW", **NAMED).read(
        path
    )
    np.testing.assert_array_equal(frames.values, np.arange(12.0).reshape(3, 2, 2))
    assert list(frames.times) == [
        np.datetime64(f"2020-01-01T00:{moment}") for moment in ("05:00", "07:30", "10:00")
    ]
    with pytest.raises(
        UserError, match="has 3 frames, but the time of one only; set reader.timestep"
    ):
        reader(None if ending == ".npy" else "rain", axes="THW", **NAMED).read(path)


TIME = np.datetime64("2020-01-01T00:05")


@pytest.mark.parametrize(
    "value",
    [
        "2020-01-01T00:05",
        b"2020-01-01 00:05:00",
        "20200101T000500Z",
        "2020-01-01T02:05+02:00",
        1577837100,
        1577837100.2,
    ],
)
@pytest.mark.parametrize("as_attribute", [True, False])
def test_a_time_in_an_hdf5_file_is_text_or_seconds_in_a_dataset_or_an_attribute(
    tmp_path, value, as_attribute
):
    path = write_hdf5(tmp_path / "a.h5", rain=np.zeros((1, 1)))
    with h5py.File(path, "a") as file:
        group = file.create_group("about")
        if as_attribute:
            group.attrs["when"] = value
        else:
            group["when"] = value
    assert reader(time_in_file="about/when").read(path).times[0] == TIME


@pytest.mark.parametrize(
    "times", [["2020-01-01T00:05", "2020-01-01T00:20"], [1577837100, 1577838000]]
)
def test_each_frame_may_have_its_own_time(tmp_path, times):
    path = write_hdf5(tmp_path / "a.h5", rain=np.zeros((2, 1, 1)), when=times)
    assert list(reader(time_in_file="when").read(path).times) == [TIME, TIME + 15]
    if isinstance(times[0], int):
        for kind in ("<i8", "datetime64[ns]", "datetime64[s]"):
            moments = (
                np.array(times).astype("datetime64[s]").astype(kind)
                if kind != "<i8"
                else np.array(times)
            )
            path = write(tmp_path / "a.npz", rain=np.zeros((2, 1, 1)), when=moments)
            assert list(reader(time_in_file="when").read(path).times) == [TIME, TIME + 15]


def test_numbers_with_units_of_time_are_what_these_say(tmp_path):
    path = write_hdf5(tmp_path / "a.h5", rain=np.zeros((2, 1, 1)), when=[0.25, 0.5])
    with h5py.File(path, "a") as file:
        file["when"].attrs["units"] = "hours since 2019-12-31T23:50:00"
    assert list(reader(time_in_file="when").read(path).times) == [TIME, TIME + 15]
    for units in (
        "fortnights since 2019-12-31",
        "seconds since 2019-12-31 00:00 Etc/UTC",
        "hours",
    ):  # no epoch is taken for what is not understood
        with h5py.File(path, "a") as file:
            file["when"].attrs["units"] = units
        with pytest.raises(
            UserError, match="seconds, minutes, hours or days since a date are accepted"
        ):
            reader(time_in_file="when").read(path)


@pytest.mark.skipif(
    not Path("/proc/self/io").exists(), reason="what a process has read is told by Linux"
)
def test_a_chunk_that_holds_many_frames_is_read_once_not_for_each(tmp_path):
    path = tmp_path / "202001010005.h5"
    rain = np.random.default_rng(1).random((96, 64, 64)).astype(np.float32)
    with h5py.File(path, "w") as file:
        file.create_dataset("rain", data=rain, chunks=rain.shape, compression="gzip")

    def bytes_read() -> int:
        return int(Path("/proc/self/io").read_text().split()[1])

    before = bytes_read()
    frames = reader(timestep=5.0, axes="THW", **NAMED).read(path)
    assert bytes_read() - before < 6 * path.stat().st_size  # of 96 frames
    np.testing.assert_array_equal(frames.values, rain)


@pytest.mark.parametrize("ending", [".h5", ".npz"])
@pytest.mark.parametrize("per_pixel", [True, False])
def test_coordinates_may_come_from_the_file_and_their_order_must_be_the_one_set(
    tmp_path, ending, per_pixel
):
    x, y = np.array([10.0, 10.5, 11.0]), np.array([44.0, 44.5])
    if per_pixel:
        x, y = np.meshgrid(x, y)
    path = write(
        tmp_path / f"202001010005{ending}", rain=np.float32([[1, 2, 3], [4, 5, 6]]), lon=x, lat=y
    )
    frames = reader(grid=ArrayGrid("EPSG:4326", "lon", "lat", rows_from="south")).read(path)
    assert frames.values[0].tolist() == [[4, 5, 6], [1, 2, 3]]
    assert frames.grid.x.tolist() == [10, 10.5, 11] and frames.grid.y.tolist() == [44.5, 44]
    with pytest.raises(
        UserError,
        match="y runs from 44 to 44.5, but reader.grid.rows_from is north; set it to south",
    ):
        reader(grid=ArrayGrid("EPSG:4326", "lon", "lat")).read(path)


def test_coordinates_that_form_no_grid_are_refused(tmp_path):
    assert straight_axis(
        np.array([[1.0, 2.0], [1.0, 2.0]]), "x", "a", of_columns=True
    ).tolist() == [1, 2]
    with pytest.raises(
        UserError,
        match="a: x do not form rows: .*tolerance.pixels=0.1 is accepted; a grid that is regular",
    ):
        straight_axis(np.array([[1.0, 2.0], [1.0, 2.0]]), "x", "a", of_columns=False)
    for wrong in (np.array([1.0, NAN]), np.zeros((0,)), np.zeros((1, 1, 1))):
        with pytest.raises(
            UserError,
            match="expected one coordinate per column or row, or one per pixel|has 1 coordinates "
            "that are not finite; expected a number for each of 2",
        ):
            straight_axis(wrong, "x", "a", of_columns=True)
    path = write_hdf5(
        tmp_path / "202001010005.h5", rain=np.zeros((2, 3)), x=np.arange(4.0), y=np.arange(2.0)
    )
    with pytest.raises(
        UserError,
        match="rain is 2x3; expected axes of rows and columns, with times in any place, and of 2 "
        "rows .y., 4 columns .x.",
    ):
        reader(grid=ArrayGrid(ITALY, "x", "y", rows_from="south")).read(path)


@pytest.mark.parametrize("ending", [".h5", ".npz", ".npy"])
def test_all_dry_all_missing_and_a_single_pixel(tmp_path, ending):
    name = None if ending == ".npy" else "rain"
    path = tmp_path / f"202001010005{ending}"
    assert reader(name).read(write(path, rain=np.zeros((1, 1)))).values.tolist() == [[[0]]]
    assert np.isnan(
        reader(name, values=Coding("rain_rate", missing=(-9999,)))
        .read(write(path, rain=np.full((3, 4), -9999, np.int32)))
        .values
    ).all()


@pytest.mark.parametrize(
    "datasets, settings, message",
    [
        (
            {"snow": np.zeros((1, 1))},
            {},
            "has no rain; it is cut short|has no array 'rain'; it contains snow",
        ),
        (
            {"rain": np.zeros(3)},
            {},
            "rain has 1 axes .3.; expected rows x columns, with times in any place",
        ),
        (
            {"rain": np.zeros((2, 2, 2, 2))},
            {},
            "rain is 2x2x2x2; expected axes of rows and columns, with times in any place",
        ),
        (
            {"rain": np.array([[b"x"]])},
            {},
            "rain must be numbers with some axes|rain contains values of type .S1",
        ),
        (
            {"rain": np.zeros((1, 1), np.uint8)},
            {},
            "does not say which number means missing; set reader.values.missing",
        ),
        ({"rain": np.full((1, 1), -9999.0)}, {}, "rates that are negative or above 5000 mm/h"),
        (
            {"rain": np.zeros((1, 1))},
            {"time_in_name": "x%Y%m%d%H"},
            "its name contains no time of the form 'x%Y%m%d%H'",
        ),
        (
            {"rain": np.zeros((1, 1))},
            {"time_in_file": "when"},
            "has no dataset or attribute when; set reader.time_in_file|has no array 'when'",
        ),
        (
            {"rain": np.zeros((1, 1)), "when": 202001010005},
            {"time_in_file": "when"},
            "when is '202001010005'; ISO text such as 2020-01-01T00:05 or seconds since 1970",
        ),
        (
            {"rain": np.zeros((1, 1)), "when": NAN},
            {"time_in_file": "when"},
            "when is 'nan'; ISO text",
        ),
        (
            {"rain": np.zeros((1, 1)), "when": -1},
            {"time_in_file": "when"},
            "when is '-1'; ISO text",
        ),
        (
            {"rain": np.zeros((2, 1, 1)), "when": [300, 300]},
            {"time_in_file": "when"},
            "has the time 1970-01-01T00:05:00 after 1970-01-01T00:05:00; expected times in "
            "ascending order",
        ),
        (
            {"rain": np.zeros((3, 1, 1)), "when": [300, 600]},
            {"time_in_file": "when"},
            "rain is 3x1x1; expected axes of rows and columns, with times in any place, and of 2 "
            "times .when.",
        ),
        (
            {"rain": np.zeros((1, 1)), "when": np.zeros(100_001)},
            {"time_in_file": "when"},
            "when must be 1 to 100000 times stored in this file|when contains 100001 times; 100000 "
            "at most",
        ),
    ],
)
@pytest.mark.parametrize("ending", [".h5", ".npz"])
def test_a_file_that_does_not_match_the_settings_is_refused_by_name(
    tmp_path, ending, datasets, settings, message
):
    path = write(tmp_path / f"202001010005{ending}", **datasets)
    with pytest.raises(UserError, match=f"202001010005{ending}.*{message}"):
        reader(**settings).read(path)


def test_the_name_of_the_field_is_needed_where_there_can_be_several_and_refused_where_not(tmp_path):
    for ending, name, message in (
        (".h5", None, "is an HDF5 file; set reader.dataset to the path of the field in it"),
        (".npz", None, "is a .npz file; set reader.dataset to the name of the field in it"),
        (".npy", "rain", "is a .npy file, which contains a single array and no 'rain'; use null"),
    ):
        with pytest.raises(UserError, match=message):
            reader(name).read(write(tmp_path / f"202001010005{ending}", rain=np.zeros((1, 1))))


def test_more_values_than_accepted_and_lost_chunks_are_refused(tmp_path):
    path = tmp_path / "202001010005.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("rain", (2**20, 2**6, 2**6), np.uint8, chunks=(1, 64, 64))
        file.create_dataset("lost", (2, 4, 4), float, chunks=(1, 4, 4))[0] = 1.0
    with pytest.raises(
        UserError, match="rain is 1048576x64x64; .* are needed, 2147483648 values at most"
    ):
        reader().read(path)
    with pytest.raises(
        UserError, match="lost is incomplete, parts of it were lost or never written"
    ):
        reader("lost", timestep=5, axes="THW", **NAMED).read(path)


@pytest.mark.parametrize("ending", [".h5", ".npz", ".npy"])
def test_a_file_cut_anywhere_is_refused(tmp_path, ending):
    path = write(tmp_path / f"202001010005{ending}", rain=np.random.default_rng(0).random((20, 30)))
    assert cut_everywhere(reader(None if ending == ".npy" else "rain"), path) >= 55


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "is empty; an HDF5, NetCDF, .npz or .npy file is needed"),
        (b"no radar data", "is neither HDF5, NetCDF nor NumPy's .npy or .npz"),
    ],
)
def test_a_foreign_file_is_refused_and_none_is_recognised(tmp_path, content, message):
    path = tmp_path / "202001010005.h5"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        reader().read(path)
    assert not reader().recognises(path) and not reader().recognises(
        write_hdf5(path, rain=np.zeros((1, 1)))
    )


@pytest.mark.parametrize(
    "make, message",
    [
        (
            lambda: Arrays(GRID, "rain", Coding("rain_rate")),
            "reader.time_in_name or reader.time_in_file must say where the time is",
        ),
        (lambda: reader(time_in_name="%Y%m%d%H", time_in_file="when"), "and only one of them"),
        (lambda: reader(time_in_name="%Y"), "reader.time_in_name is '%Y'; a pattern of year"),
        (
            lambda: reader(timestep=0, **NAMED),
            "reader.timestep is 0; a positive number of minutes is needed",
        ),
        (
            lambda: reader(values=Coding()),
            "the configuration does not say what its values are; set reader.values.quantity",
        ),
        (
            lambda: reader(values=Coding("rain_depth")),
            "does not say how long its rain depths were collected",
        ),
        (
            lambda: ArrayGrid(ITALY, 0.0, 0.0, dx=1.0, dy=-1.0),
            "reader.grid.dy is -1.0; a positive number is needed",
        ),
        (
            lambda: ArrayGrid(ITALY, 0.0, 0.0, dy=1.0),
            "reader.grid.dx is None; a positive number is needed",
        ),
        (
            lambda: ArrayGrid(ITALY, "x", "y", dx=1.0),
            "reader.grid.dx is 1.0; a positive number is needed, or null if reader.grid.x is the "
            "path of a dataset",
        ),
        (
            lambda: ArrayGrid(ITALY, "x", "y", reach=0.0),
            "reader.grid.reach is 0.0; a distance above 0 is needed, or null",
        ),
        (
            lambda: ArrayGrid(ITALY, "x", "y", rows_from="top"),
            "reader.grid.rows_from is 'top'; north or south is needed",
        ),
    ],
)
def test_settings_that_say_too_little_or_contradict_themselves_are_refused_at_once(make, message):
    with pytest.raises(UserError, match=message):
        make()


def test_the_settings_file_asks_for_what_has_no_default():
    settings = yaml.safe_load((folder() / "reader" / "arrays.yaml").read_text())
    with pytest.raises(UserError, match="reader.grid needs 'crs', 'x', 'y'"):
        build(settings | {"values": None}, "reader")
