"""Files that arrive slowly, twice, damaged or of another grid: each frame is taken once, whole, and
the rest is rejected with its reason.
"""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from factories import grid, times

from nowcast.data.reading import TooSlow
from nowcast.forecasting.incoming import Incoming
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Frames

FIVE = np.timedelta64(300, "s")
NOW = times(60)[0]


class TextReader:
    """Files that hold minutes, a value, and how far the grid lies to the right, as text."""

    def __init__(self):
        self.was_read = []

    def __call__(self, path: Path) -> Frames:
        self.was_read.append(path.name)
        try:
            minute, value, left, *quantity = path.read_text().split(",")
        except ValueError:
            raise UserError(f"{path} is cut short") from None
        return Frames(
            [[[float(value)]]],
            times(int(minute)),
            grid(1, 1, left=float(left)),
            str(path),
            *quantity,
        )


@pytest.fixture
def reader():
    return TextReader()


@pytest.fixture
def incoming(tmp_path, reader):
    return Incoming(tmp_path, reader, keep=7 * FIVE, switch_after=3, timestep=FIVE)


def put(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def held(incoming):
    return {
        int((time - times(0)[0]) / np.timedelta64(60, "s")): float(frames.values[0, 0, 0])
        for time, frames in sorted(incoming.frames.items())
    }


def looks(incoming, count=2, now=NOW):
    news = [incoming.look(now) for _ in range(count)]
    return [time for item in news for time in item.times], [
        rejected for item in news for rejected in item.rejected
    ]


def test_a_file_is_read_once_when_it_did_not_change_between_two_looks(tmp_path, incoming, reader):
    put(tmp_path, "a", "5,1.5,0")
    assert incoming.look(NOW).times == () and reader.was_read == []
    assert incoming.look(NOW).times == tuple(times(5)) and held(incoming) == {5: 1.5}
    assert looks(incoming) == ([], []) and reader.was_read == ["a"]


def test_a_file_that_grows_is_read_when_it_has_settled(tmp_path, incoming, reader):
    for text in ("5", "5,1.", "5,1.5,0"):
        put(tmp_path, "a", text)
        assert incoming.look(NOW).times == ()
    assert incoming.look(NOW).times == tuple(times(5)) and reader.was_read == ["a"]


def test_a_file_that_paused_half_way_is_rejected_and_read_again_when_it_goes_on(tmp_path, incoming):
    path = put(tmp_path, "a", "5,1.5")
    assert looks(incoming) == ([], [("a", "a is cut short")])
    assert looks(incoming, 5) == ([], [])  # once is enough
    path.write_text("5,1.5,0")
    assert looks(incoming) == (list(times(5)), []) and held(incoming) == {5: 1.5}


def test_a_folder_that_is_not_there_yet_is_waited_for(tmp_path, reader):
    incoming = Incoming(
        tmp_path / "later" / "*.h5", reader, keep=7 * FIVE, switch_after=3, timestep=FIVE
    )
    assert looks(incoming) == ([], [])
    (tmp_path / "later").mkdir()
    put(tmp_path / "later", "a.h5", "5,1.5,0")
    assert looks(incoming) == (list(times(5)), [])


def test_the_same_frame_again_is_ignored_and_a_contradicting_one_rejected(tmp_path, incoming):
    put(tmp_path, "a", "5,1.5,0")
    looks(incoming)
    put(tmp_path, "b", "5,1.5,0")
    put(tmp_path, "c", "5,9,0")
    assert looks(incoming) == (
        [],
        [("c", "it contains another frame of 2020-06-01T00:05:00 UTC than a, which came first")],
    )
    assert held(incoming) == {5: 1.5}


def test_a_file_that_is_written_again_with_other_values_replaces_its_frame(tmp_path, incoming):
    put(tmp_path, "a", "5,1.5,0")
    looks(incoming)
    put(tmp_path, "a", "5,2.25,0")
    assert looks(incoming) == (list(times(5)), []) and held(incoming) == {5: 2.25}


def test_a_file_that_could_not_be_read_is_tried_again_for_some_minutes_and_told_of_once(
    tmp_path, incoming, reader
):
    put(tmp_path, "a", "cut")
    put(tmp_path, "b", "5,1,0")
    told = [
        rejected
        for second in range(0, 600, 10)
        for rejected in incoming.look(NOW + np.timedelta64(second, "s")).rejected
    ]
    assert (
        told == [("a", "a is cut short")]
        and reader.was_read.count("a") == 3
        and reader.was_read.count("b") == 1
    )


def test_a_file_that_took_too_long_is_not_tried_again_and_a_folder_that_cannot_be_looked_at_is_waited_for(
    tmp_path, incoming, reader, monkeypatch
):
    def slow(path):
        reader.was_read.append(path.name)
        raise TooSlow(f"{path} could not be read within 30 seconds")

    incoming.read = slow
    put(tmp_path, "a", "5,1,0")
    for second in range(0, 600, 10):
        incoming.look(NOW + np.timedelta64(second, "s"))
    assert reader.was_read == ["a"]
    stat = os.stat

    def stale(path, *rest, **more):
        if str(path).startswith(str(tmp_path)):
            raise OSError(errno.ESTALE, "Stale file handle")
        return stat(path, *rest, **more)

    monkeypatch.setattr(os, "stat", stale)
    looks(incoming)


def test_a_file_whose_rights_change_is_read_again(tmp_path, incoming, reader):
    path = put(tmp_path, "a", "cut")
    looks(incoming)
    path.chmod(0o600)
    looks(incoming)
    assert reader.was_read == ["a", "a"]


def test_a_folder_that_is_gone_is_told_of_once(tmp_path, reader):
    (tmp_path / "in").mkdir()
    incoming = Incoming(
        tmp_path / "in" / "*.h5", reader, keep=7 * FIVE, switch_after=3, timestep=FIVE
    )
    assert looks(incoming, 2) == ([], [])
    (tmp_path / "in").rmdir()
    assert looks(incoming, 3)[1] == [("*.h5", f"there is no folder {tmp_path / 'in'} any more")]
    (tmp_path / "in").mkdir()
    assert looks(incoming, 2) == ([], [])


def test_a_frame_from_the_future_is_rejected(tmp_path, incoming):
    put(tmp_path, "a", "62,1,0")
    assert looks(incoming) == (
        [],
        [
            (
                "a",
                "its time 2020-06-01T01:02:00 UTC lies in the future; it is taken when that has "
                "come",
            )
        ],
    )
    assert looks(incoming) == ([], [])
    put(tmp_path, "b", "61,1,0")
    assert looks(incoming)[0] == list(times(61))  # a minute is within what clocks differ
    assert looks(incoming, now=times(62)[0]) == (list(times(62)), [])
    assert held(incoming) == {61: 1, 62: 1}


def test_a_first_frame_from_the_future_is_taken_when_its_time_has_come(tmp_path, incoming):
    put(tmp_path, "a", "65,1,0")
    assert looks(incoming)[1][0][1].endswith("lies in the future; it is taken when that has come")
    assert looks(incoming, now=times(65)[0]) == (list(times(65)), []) and held(incoming) == {65: 1}


def test_frames_of_another_grid_or_quantity_are_rejected_with_the_difference(tmp_path, incoming):
    put(tmp_path, "a", "5,1,0")
    looks(incoming)
    put(tmp_path, "b", "10,2,1000")
    put(tmp_path, "c", "10,2,0,rain depth in 5 min")
    assert looks(incoming)[1] == [
        ("b", "it has another grid than the frames before: x from 1500 to 1500 against 500 to 500"),
        ("c", "it contains rain depth in 5 min, the frames before rain rate"),
    ]
    assert held(incoming) == {5: 1}


def test_the_grid_of_most_files_counts_at_the_start_whichever_came_first(tmp_path, incoming):
    put(tmp_path, "a", "5,1,7000")
    for index in (2, 3):
        put(tmp_path, str(index), f"{5 * index},{index},0")
    assert [name for name, _ in looks(incoming)[1]] == ["a"] and held(incoming) == {10: 2, 15: 3}


def test_another_grid_that_has_come_to_stay_takes_over_after_three_frames(tmp_path, incoming):
    put(tmp_path, "a", "5,1,0")
    looks(incoming)
    for index in (2, 3):
        put(tmp_path, str(index), f"{5 * index},{index},1000")
        assert len(looks(incoming)[1]) == 1 and held(incoming) == {5: 1}
    put(tmp_path, "4", "20,4,1000")
    assert looks(incoming) == (list(times(20)), []) and held(incoming) == {10: 2, 15: 3, 20: 4}
    assert incoming.current.grid.x[0] == 1500


def test_another_quantity_never_takes_over(tmp_path, incoming):
    put(tmp_path, "a", "5,1,0")
    looks(incoming)
    for index in range(2, 8):
        put(tmp_path, str(index), f"{5 * index},{index},0,rain depth in 5 min")
        assert looks(incoming)[1] == [
            (str(index), "it contains rain depth in 5 min, the frames before rain rate")
        ]
    assert held(incoming) == {5: 1}


def test_old_frames_and_files_that_are_gone_are_forgotten(tmp_path, incoming):
    put(tmp_path, "a", "0,1,0")
    put(tmp_path, "b", "20,2,0")
    looks(incoming)
    put(tmp_path, "c", "40,3,0")
    looks(incoming)
    assert held(incoming) == {20: 2, 40: 3}  # 35 minutes are kept
    for name in "abc":
        (tmp_path / name).unlink()
    looks(incoming)
    assert incoming.files.known == {} and held(incoming) == {20: 2, 40: 3}


def test_of_a_long_history_only_the_newest_64_files_are_read(tmp_path, incoming, reader):
    import os

    for index in range(70):
        path = put(tmp_path, f"{index:02}", f"{index % 60},1,0")
        os.utime(path, (1e9 + index, 1e9 + index))
    looks(incoming)
    assert reader.was_read == [f"{index:02}" for index in range(6, 70)]
