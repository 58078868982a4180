"""The files that are meant, and their frames in time order."""

import os
from pathlib import Path

import numpy as np
import pytest
from factories import one_file_each, times

from nowcast.data.inputs import expand_inputs, read_frames
from nowcast.runtime.errors import UserError

NAN = np.nan
THREE = np.float32(
    [[[0, 0.1, NAN], [1, 2, 3]], [[0, 0, NAN], [4, 5, 6]], [[7, 8, 9], [0.3, NAN, NAN]]]
)


@pytest.fixture
def tree(tmp_path):
    for name in (
        "b.h5",
        "a.h5",
        "night/c.h5",
        "night/deep/d.h5",
        "run [1], é=x/e.h5",
        "run [1], é=x/e[2].h5",
        "1/f.h5",
        ".hidden.h5",
    ):
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
def test_a_path_that_exists_is_taken_literally_and_anything_else_as_a_pattern(
    tree, monkeypatch, pattern, expected
):
    assert [path.relative_to(tree).as_posix() for path in expand_inputs(tree / pattern)] == expected
    monkeypatch.chdir(tree)
    assert [path.as_posix() for path in expand_inputs(pattern)] == expected


@pytest.mark.parametrize("pattern", ["absent.h5", "*.tif", "absent/*.h5", ""])
def test_a_pattern_without_a_file_is_refused(tree, monkeypatch, pattern):
    monkeypatch.chdir(tree)
    with pytest.raises(
        UserError, match="matches no file; give a file, a folder with files or a pattern such as"
    ):
        expand_inputs(pattern)


def test_files_are_read_into_time_order_and_a_repeated_one_counts_once():
    frames = read_frames(["2.h5", "0.h5", "1.h5", "0.h5"], reader=one_file_each(THREE, (0, 5, 15)))
    np.testing.assert_array_equal(frames.values, THREE)
    assert list(frames.times) == list(times(0, 5, 15)) and frames.source == "0.h5 to 2.h5"


def test_only_the_newest_frames_up_to_a_time_are_kept():
    reader = one_file_each(np.arange(5.0).reshape(5, 1, 1), (0, 5, 10, 15, 20))
    names = [f"{i}.h5" for i in (4, 0, 3, 1, 2)]
    assert read_frames(names, reader=reader, last=2).values.ravel().tolist() == [3, 4]
    assert read_frames(names, reader=reader, until=times(12)[0]).values.ravel().tolist() == [
        0,
        1,
        2,
    ]
    assert read_frames(
        names, reader=reader, last=2, until=times(10)[0]
    ).values.ravel().tolist() == [1, 2]
    assert read_frames(names[:1], reader=reader, last=9).source == "4.h5"


def test_no_frame_up_to_a_time_and_no_frame_wanted_are_refused():
    reader = one_file_each(THREE, (0, 5, 15))
    with pytest.raises(
        UserError, match="2 radar files have no frame up to 2020-05-31T23:00:00; give files that do"
    ):
        read_frames(["1.h5", Path("2.h5")], reader=reader, until=times(-60)[0])
    with pytest.raises(UserError, match="the last 0 frames were asked for; at least 1 is needed"):
        read_frames(["1.h5"], reader=reader, last=0)


LIST_NAMES = [
    "a.h5",
    "b c.h5",
    "d,e.h5",
    "f, g.h5",
    "[1].h5",
    "it's.h5",
    'say "x".h5',
    "h=i.h5",
    "é${x}.h5",
    "'q'.h5",
    "sub/j.h5",
    "sub/k,l.h5",
    "a: b.h5",
    "x].h5",
    "-rf.h5",
    "#.h5",
]


def in_quotes(name):
    return f"'{name}'" if "'" not in name else f'"{name}"'


@pytest.mark.parametrize("seed", range(8))
def test_a_list_of_any_names_gives_these_files_in_its_order_however_it_is_typed(
    tmp_path, monkeypatch, seed
):
    for name in LIST_NAMES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(seed)
    names = list(generator.permutation(LIST_NAMES)[: 1 + seed])
    expected = [Path(name) for name in names]
    assert expand_inputs(names) == expand_inputs([Path(name) for name in names]) == expected
    # quotes and brackets in a name ask for quotes around it
    plain = [name for name in names if not set(name) & set("'\"[]")]
    for between in (",", ", ", " ,  "):
        quoted = between.join(
            map(in_quotes, (name for name in names if "'" not in name or '"' not in name))
        )
        assert expand_inputs(f"[{quoted}]") == expected
        if plain:
            assert (
                expand_inputs(f"[{between.join(plain)}]")
                == expand_inputs(f" [ {between.join(plain)} ] ")
                == [Path(name) for name in plain]
            )
            mixed = [in_quotes(name) if generator.random() < 0.5 else name for name in plain]
            assert expand_inputs(f"[{between.join(mixed)}]") == [Path(name) for name in plain]


def test_a_list_may_mix_files_folders_and_patterns_and_names_each_file_once(tree, monkeypatch):
    monkeypatch.chdir(tree)
    monkeypatch.setenv("HOME", str(tree))
    mixed = "[b.h5,night/**/*.h5,[ab].h5,1,'run [1], é=x',~/a.h5,]"
    found = [
        "b.h5",
        "night/c.h5",
        "night/deep/d.h5",
        "a.h5",
        "1/f.h5",
        "run [1], é=x/e.h5",
        "run [1], é=x/e[2].h5",
        f"{tree}/a.h5",
    ]
    assert [path.as_posix() for path in expand_inputs(mixed)] == found
    (tree / "x").touch()
    assert expand_inputs("[xy]") == [Path("x")]  # a pattern where it matches
    assert expand_inputs("[1]") == expand_inputs("['1']") == [Path("1/f.h5")] and expand_inputs(
        "[a.h5]"
    ) == [Path("a.h5")]
    (tree / "[a.h5,b.h5]").touch()
    # what is there as it is written comes first
    assert expand_inputs("[a.h5,b.h5]") == [Path("[a.h5,b.h5]")]


@pytest.mark.parametrize(
    ("text", "message"),
    [("[]", "is a list without files; give at least one"), ("[ , ]", "is a list without files"), ("[a.h5,'b.h5]", "a "
                                                                                                                  "quote "
                                                                                                                  "(') "
                                                                                                                  "that "
                                                                                                                  "is "
                                                                                                                  "not "
                                                                                                                  "closed"), ('["a.h5"x]', "is "
                                                                                                                                                                   "not "
                                                                                                                                                                   "closed "
                                                                                                                                                                   "before "
                                                                                                                                                                   "the "
                                                                                                                                                                   "next "
                                                                                                                                                                   "comma"),
     ("[a.h5,none.h5]", "'none.h5' matches no file"), ("[a.h5,none,more.h5]", "'none' matches no " "file"), ("[a.h5,b*.tif]", "'b*.tif' "
                                                                                                                              "matches "
                                                                                                                              "no "
                                                                                                                              "file"), ([], "the "
                                                                                                                                                                "list "
                                                                                                                                                                "of "
                                                                                                                                                                "files "
                                                                                                                                                                "is "
                                                                                                                                                                "empty")],
)  # fmt: skip
def test_a_list_with_what_is_not_there_is_refused_by_that(tree, monkeypatch, text, message):
    monkeypatch.chdir(tree)
    with pytest.raises(UserError) as caught:
        expand_inputs(text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("typed", "closed"),
    [("in", "in"), ("in/b.h5", "in"), ("in/*.h5", "in"), ("in/**/*.h5", "in"), ("in/deep/b.h5", "in"),
     ("in/deep/*.h5", "in"), ("*/*.h5", "in"), ("**/*.h5", "in"), ("[in/b.h5]", "in"),
     ("free/a.h5", None), ("free/*.tif", None), ("none/b.h5", None), ("b.h5", None), ("*.h5", None)],
)  # fmt: skip
def test_a_folder_that_may_not_be_looked_into_is_named_where_it_hides_what_was_typed(
    tmp_path, monkeypatch, typed, closed
):
    (tmp_path / "in").mkdir()  # as for a user without rights: what is in it cannot be seen
    (tmp_path / "free").mkdir()
    monkeypatch.chdir(tmp_path)
    may = os.access
    monkeypatch.setattr(
        "nowcast.data.inputs.os.access", lambda path, mode: str(path) != "in" and may(path, mode)
    )
    says = "matches no file"
    if closed:
        says = f"{closed} may not be looked into by this user; change its permissions"
    with pytest.raises(UserError, match=says):
        expand_inputs(typed)


def test_a_folder_with_folders_alone_is_refused_with_their_names_and_the_pattern(tmp_path):
    for name in ("pgm", "geotiff", ".hidden"):
        (tmp_path / name).mkdir()
    (tmp_path / "pgm" / "a.pgm").touch()
    with pytest.raises(UserError) as refusal:
        expand_inputs(tmp_path)
    assert str(refusal.value) == (
        f"'{tmp_path}' has no files, but folders (geotiff, pgm); for all files in them type "
        f"'{tmp_path}/**/*'."
    )
    assert expand_inputs(f"{tmp_path}/**/*") == [tmp_path / "pgm" / "a.pgm"]
    for number in range(6):
        (tmp_path / f"z{number}").mkdir()
    with pytest.raises(UserError, match=r"folders \(geotiff, pgm, z0, z1, z2, \.\.\.\); for"):
        expand_inputs(tmp_path)
