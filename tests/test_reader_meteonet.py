"""MeteoNet's files: hundredths of mm become mm/h at the dates of the file, which are read without
running anything in it.
"""

import io
import os
import pickle
import zipfile
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from nowcast.readers import meteonet
from nowcast.readers.meteonet import MeteoNet
from nowcast.readers.pickled_times import pickled_times
from nowcast.runtime.errors import UserError
from tests.factories_readers import (
    cut_everywhere,
    first_real_file,
    from_settings_file,
    read_and_compare,
)

NAN = np.nan
START = datetime(2016, 8, 21)


def dates_after(*minutes):
    return np.array([START + timedelta(minutes=m) for m in minutes], dtype=object)


def array_bytes(array):
    content = io.BytesIO()
    np.lib.format.write_array(content, array, allow_pickle=True)
    return content.getvalue()


def write_meteonet(
    folder, data, minutes=None, *, name="rainfall_NW_2016_08.3.npz", dates=None, members=()
):
    """A file of frames so many minutes after 2016-08-21 00:00 on a grid of 0.01 degrees from 48
    north, 2 west; None leaves a member out.
    """
    data = np.asarray(data, np.int16) if isinstance(data, list) else data
    dates = dates_after(*(minutes or range(0, 5 * len(data), 5))) if dates is None else dates
    members = {
        "data": array_bytes(data),
        "dates": array_bytes(dates),
        "miss_dates": array_bytes(np.zeros(0)),
    } | dict(members)
    with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in members.items():
            if content is not None:
                archive.writestr(f"{member}.npy", content)
    lons, lats = np.meshgrid(
        -2 + 0.01 * np.arange(data.shape[2]), 48 - 0.01 * np.arange(data.shape[1])
    )
    np.savez(folder / "radar_coords_NW.npz", lons=lons, lats=lats)
    return folder / name


def test_a_real_file_has_the_pixels_that_were_decoded_independently():
    frames = read_and_compare(MeteoNet(), "meteonet_NW")
    assert len(frames) == 45 and frames.quantity == "rain depth in 5 min"
    np.testing.assert_allclose(
        [*frames.grid.x[[0, -1]], *frames.grid.y[[0, -1]]],
        [-5.837, 1.993, 51.891, 46.251],
        atol=1e-9,
    )


def test_the_dates_of_a_real_file_are_those_that_unpickling_it_gives():
    path, _ = first_real_file("meteonet_NW")
    with np.load(path, allow_pickle=True) as trusted:  # this once, on a file we know
        np.testing.assert_array_equal(
            MeteoNet().read(path).times, trusted["dates"].astype("datetime64[s]")
        )


def test_hundredths_of_mm_in_5_minutes_become_mm_per_hour_and_gaps_stay_gaps(tmp_path):
    path = write_meteonet(tmp_path, [[[0, 1, 120], [-1, 0, 254]], [[0, 0, 0], [0, 0, 0]]], [5, 60])
    frames = MeteoNet().read(path)
    assert MeteoNet().recognises(path)
    np.testing.assert_allclose(
        frames.values, [[[0, 0.12, 14.4], [NAN, 0, 30.48]], [[0, 0, 0], [0, 0, 0]]], rtol=1e-6
    )
    assert list(frames.times) == [
        np.datetime64("2016-08-21T00:05"),
        np.datetime64("2016-08-21T01:00"),
    ]
    np.testing.assert_allclose([*frames.grid.x, *frames.grid.y], [-2, -1.99, -1.98, 48, 47.99])
    assert frames.grid.crs == "EPSG:4326"


@pytest.mark.parametrize(
    "name", ["reflectivity_old_NW_2016_08.3.npz", "reflectivity_new_NW_2016_08.3.npz"]
)
def test_reflectivity_255_is_missing_and_0_is_dry(tmp_path, name):
    frames = MeteoNet().read(write_meteonet(tmp_path, [[[0, 8, 23, 255]]], name=name))
    np.testing.assert_allclose(
        frames.values, [[[0, 0.1153, 0.99851, NAN]]], rtol=1e-3
    )  # (10^0.8 / 200)^(1 / 1.6), (10^2.3 / 200)^(1 / 1.6)
    assert frames.quantity == "reflectivity, Z = 200 R^1.6"
    assert MeteoNet(z_r_a=10.0, z_r_b=2.0).read(
        write_meteonet(tmp_path, [[[30]]], name=name)
    ).values[0, 0, 0] == pytest.approx(10.0)
    with pytest.raises(UserError, match="z_r_a is 0; a positive number is needed"):
        MeteoNet(z_r_a=0)


def test_a_real_file_of_reflectivity_is_read():
    path, _ = first_real_file("meteonet_NW")
    frames = MeteoNet().read(path.with_name("reflectivity_old_NW_2016_08.3.npz"))
    assert len(frames) == 29 and np.nanmax(frames.values) == pytest.approx(
        (10**5.2 / 200) ** (1 / 1.6), rel=1e-6
    )  # 52 dBZ


def test_coordinates_may_lie_elsewhere_and_must_fit(tmp_path):
    path = write_meteonet(tmp_path, [[[0, 1]]])
    (tmp_path / "radar_coords_NW.npz").rename(tmp_path / "elsewhere.npz")
    assert MeteoNet(coordinates=str(tmp_path / "elsewhere.npz")).read(path).grid.shape == (1, 2)
    with pytest.raises(
        UserError, match="radar_coords_NW.npz does not exist; give the path of a .npz file"
    ):
        MeteoNet().read(path)
    np.savez(tmp_path / "radar_coords_NW.npz", lons=np.zeros((2, 2)), lats=np.zeros((2, 2)))
    with pytest.raises(
        UserError,
        match="contains int16 of 1x1x2, but whole numbers of 1 dates x 2x2 coordinates are "
        "needed|must be evenly spaced",
    ):
        MeteoNet().read(path)
    np.savez(tmp_path / "radar_coords_NW.npz", lons=np.eye(2), lats=np.eye(2))
    with pytest.raises(
        UserError,
        match="lons do not form columns: they differ by up to 1 in one of them, .*; a grid that "
        "is regular in its projection",
    ):
        MeteoNet().read(path)


def test_all_dry_all_missing_and_a_single_pixel(tmp_path):
    assert (MeteoNet().read(write_meteonet(tmp_path, [[[0]]])).values == 0).all()
    assert np.isnan(
        MeteoNet().read(write_meteonet(tmp_path, np.full((2, 3, 4), -1, np.int16))).values
    ).all()


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("count", [1, 2, 300, 3168])
def test_times_are_listed_from_a_pickle_of_any_protocol_and_length(protocol, count):
    dates = dates_after(*range(0, 5 * count, 5))
    np.testing.assert_array_equal(
        pickled_times(pickle.dumps(dates, protocol), "a.npz"), dates.astype("datetime64[s]")
    )


class Hostile:
    def __reduce__(self):
        return os.mkdir, (self.place,)


def hostile(tmp_path):
    bomb = Hostile()
    bomb.place = str(tmp_path / "executed")
    return np.array([START, bomb], dtype=object)


@pytest.mark.parametrize(
    "make, message",
    [
        (hostile, "its dates are something else than plain times in whole seconds"),
        (
            lambda _: np.array([START.replace(tzinfo=UTC)], dtype=object),
            "its dates are something else than plain times",
        ),
        (
            lambda _: np.array([START.replace(microsecond=1)], dtype=object),
            "its dates are something else than plain times",
        ),
        (
            lambda _: np.array([START.date()], dtype=object),
            "its dates are something else than plain times",
        ),
        (lambda _: np.array(["2016-08-21"], dtype=object), "has 0 dates, but declares 1"),
    ],
)
def test_nothing_but_plain_times_is_taken_from_a_pickle_and_nothing_is_executed(
    tmp_path, make, message
):
    path = write_meteonet(tmp_path, [[[0]], [[0]]], dates=make(tmp_path))
    with pytest.raises(UserError, match=f"rainfall_NW_2016_08.3.npz:? {message}"):
        MeteoNet().read(path)
    assert not (tmp_path / "executed").exists()


def test_any_altered_byte_of_a_pickle_gives_times_or_a_user_error():
    content = bytearray(pickle.dumps(dates_after(0, 5, 10), 3))
    refused = 0
    for place in range(len(content)):
        for value in (0, 46, 99, 255):
            altered = content.copy()
            altered[place] = value
            try:
                assert pickled_times(bytes(altered), "a.npz").dtype == "datetime64[s]"
            except UserError as error:
                assert "\n" not in str(error)
                refused += 1
    assert refused > 2 * len(content)


def test_a_pickle_that_is_no_array_or_cut_short_is_refused():
    for value in (START, [START], {"a": START}, np.zeros(3)):
        with pytest.raises(
            UserError,
            match="a.npz: its dates are no row of datetimes as NumPy writes it; nothing else is "
            "read from a pickle",
        ):
            pickled_times(pickle.dumps(value), "a.npz")
    whole = pickle.dumps(dates_after(0, 5), 3)
    for length in range(len(whole)):
        with pytest.raises(UserError, match="a.npz: its dates"):
            pickled_times(whole[:length], "a.npz")
    with pytest.raises(UserError, match="a.npz: its dates are damaged; fetch it again"):
        pickled_times(b"\xff", "a.npz")


TWO = [[[0]], [[0]]]


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"minutes": [5, 5]},
            "has the time 2016-08-21T00:05:00 after 2016-08-21T00:05:00; expected times in ascending order",
        ),
        (
            {"minutes": [5, 0]},
            "has the time 2016-08-21T00:00:00 after 2016-08-21T00:05:00; expected times in ascending order",
        ),
        ({"minutes": [0, 4]}, "has the date 2016-08-21T00:04:00, expected whole 5 minutes"),
        (
            {"minutes": [0, 5, 10]},
            "contains int16 of 2x1x1, but whole numbers of 3 dates x 1x1 coordinates are needed",
        ),
        (
            {"minutes": [0, 60 * 24 * 11]},
            "has dates from 2016-08-21T00:00:00 to 2016-09-01T00:00:00, but is named for part 3 "
            ".days 21 to 31. of 2016-08",
        ),
        (
            {"name": "rainfall_NW_2016_08.2.npz"},
            "but is named for part 2 .days 10 to 20. of 2016-08",
        ),
        (
            {"name": "rainfall_NW_2016_13.3.npz"},
            "but is named for part 3 .days 21 to 31. of 2016-13",
        ),
        ({"name": "rainfall_NW_2015_08.3.npz"}, "but is named for part 3"),
        (
            {"name": "rain.npz"},
            "only its name says what a MeteoNet file contains; rainfall_ZONE_YYYY_MM.PART.npz",
        ),
        (
            {"name": "rainfall_mean_quality-code_NW_2016_08.3.npz"},
            "only its name says what a MeteoNet file contains",
        ),
        ({"dates": np.zeros(2)}, "its dates are float64 of 2; one row of datetimes is needed"),
        (
            {"members": {"dates": array_bytes(dates_after(0, 5)).replace(b"(2,)", b"(7,)")}},
            "has 2 dates, but declares 7; it is damaged",
        ),
        (
            {"members": {"dates": None, "data": None}},
            "has no array 'dates'; it contains miss_dates",
        ),
        (
            {"members": {"data": array_bytes(np.zeros((2, 1, 1), np.float32))}},
            "contains float32 of 2x1x1, but whole numbers of 2 dates",
        ),
        (
            {"members": {"data": array_bytes(np.full((2, 1, 1), -2, np.int16))}},
            "rates that are negative or above 5000 mm/h",
        ),
        (
            {"members": {"data": array_bytes(np.zeros((2, 1, 1), np.int16))[:-1]}},
            "data is cut short: it contains 1 of 2 bytes",
        ),
        (
            {"members": {"data": array_bytes(np.zeros((2, 1, 1), np.int16)) + b"\0"}},
            "data contains more than the 2 bytes",
        ),
        (
            {
                "members": {
                    "data": array_bytes(np.asfortranarray(np.zeros((2, 2, 2), np.int16))).replace(
                        b"(2, 2, 2)", b"(2, 1, 1)"
                    )
                }
            },
            "data has 3 axes in Fortran order; 3 .time, row, column. in C order are needed",
        ),
    ],
)
def test_a_file_that_contradicts_itself_is_refused_by_name(tmp_path, changes, message):
    path = write_meteonet(tmp_path, TWO, **changes)
    with pytest.raises(UserError, match=f"{path.name}.*{message}"):
        MeteoNet().read(path)


def test_dates_beyond_measure_are_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(meteonet, "_MAX_DATES_BYTES", 100)
    with pytest.raises(
        UserError, match="dates is over 100 bytes long; it is damaged or of another format"
    ):
        MeteoNet().read(write_meteonet(tmp_path, TWO))


def test_a_file_cut_anywhere_is_refused(tmp_path):
    path = write_meteonet(
        tmp_path, np.random.default_rng(0).integers(0, 99, (3, 8, 9)).astype(np.int16)
    )
    reader = MeteoNet(coordinates=str(tmp_path / "radar_coords_NW.npz"))
    assert cut_everywhere(reader, path) >= 60


def test_only_the_three_arrays_of_meteonet_are_recognised(tmp_path):
    path = write_meteonet(tmp_path, TWO)
    assert [
        MeteoNet().recognises(p)
        for p in (path, tmp_path / "radar_coords_NW.npz", tmp_path, tmp_path / "none")
    ] == [True, False, False, False]


def test_the_settings_file_builds_the_reader():
    assert from_settings_file("meteonet") == MeteoNet()
