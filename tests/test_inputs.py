"""The files that are meant, and their frames in time order."""

from pathlib import Path

import numpy as np
import pytest
from factories import one_file_each, times

from nowcast.data.inputs import expand_inputs, read_frames
from nowcast.errors import UserError

NAN = np.nan
THREE = np.float32([[[0, 0.1, NAN], [1, 2, 3]], [[0, 0, NAN], [4, 5, 6]], [[7, 8, 9], [0.3, NAN, NAN]]])


@pytest.fixture
def tree(tmp_path):
    for name in ("b.h5", "a.h5", "night/c.h5", "night/deep/d.h5", "run [1], é=x/e.h5", "run [1], é=x/e[2].h5", "1/f.h5", ".hidden.h5"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    "pattern, expected",
    [
        ("a.h5", ["a.h5"]),
        ("*.h5", ["a.h5", "b.h5"]),
        (".", ["a.h5", "b.h5"]),
        ("night", ["night/c.h5"]),
        ("night/**/*.h5", ["night/c.h5", "night/deep/d.h5"]),
        ("[ab].h5", ["a.h5", "b.h5"]),
        ("run [1], é=x", ["run [1], é=x/e.h5", "run [1], é=x/e[2].h5"]),
        ("run [1], é=x/e.h5", ["run [1], é=x/e.h5"]),
        ("run [1], é=x/e[2].h5", ["run [1], é=x/e[2].h5"]),
        ("run [1], é=x/*].h5", ["run [1], é=x/e[2].h5"]),
        ("?/*.h5", ["1/f.h5"]),
    ],
)
def test_a_path_that_exists_is_taken_literally_and_anything_else_as_a_pattern(tree, monkeypatch, pattern, expected):
    assert [path.relative_to(tree).as_posix() for path in expand_inputs(tree / pattern)] == expected
    monkeypatch.chdir(tree)
    assert [path.as_posix() for path in expand_inputs(pattern)] == expected


@pytest.mark.parametrize("pattern", ["absent.h5", "*.tif", "absent/*.h5", ""])
def test_a_pattern_without_a_file_is_refused(tree, monkeypatch, pattern):
    monkeypatch.chdir(tree)
    with pytest.raises(UserError, match="matches no file; give a file, a folder with files or a pattern such as"):
        expand_inputs(pattern)


def test_files_are_read_into_time_order_and_a_repeated_one_counts_once():
    frames = read_frames(["2.h5", "0.h5", "1.h5", "0.h5"], reader=one_file_each(THREE, (0, 5, 15)))
    np.testing.assert_array_equal(frames.values, THREE)
    assert list(frames.times) == list(times(0, 5, 15)) and frames.source == "0.h5 to 2.h5"


def test_only_the_newest_frames_up_to_a_time_are_kept():
    reader = one_file_each(np.arange(5.0).reshape(5, 1, 1), (0, 5, 10, 15, 20))
    names = [f"{i}.h5" for i in (4, 0, 3, 1, 2)]
    assert read_frames(names, reader=reader, last=2).values.ravel().tolist() == [3, 4]
    assert read_frames(names, reader=reader, until=times(12)[0]).values.ravel().tolist() == [0, 1, 2]
    assert read_frames(names, reader=reader, last=2, until=times(10)[0]).values.ravel().tolist() == [1, 2]
    assert read_frames(names[:1], reader=reader, last=9).source == "4.h5"


def test_no_frame_up_to_a_time_and_no_frame_wanted_are_refused():
    reader = one_file_each(THREE, (0, 5, 15))
    with pytest.raises(UserError, match="2 radar files hold no frame up to 2020-05-31T23:00:00; give files that do"):
        read_frames(["1.h5", Path("2.h5")], reader=reader, until=times(-60)[0])
    with pytest.raises(UserError, match="the last 0 frames were asked for; at least 1 is needed"):
        read_frames(["1.h5"], reader=reader, last=0)
