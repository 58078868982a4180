"""Radar files in any order, in several goes, interrupted or damaged: one and the same archive, or
an error that says why.
"""

import csv
import fcntl
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from factories import (
    MemoryReader,
    grid,
    one_file_each,
    shared_data,
    times,
    write_archive,
    write_knmi,
    write_odim,
)

from nowcast.data import conversion, parts
from nowcast.data.archive import Archive
from nowcast.data.conversion import convert
from nowcast.data.inputs import expand_inputs, read_frames
from nowcast.data.preparation import Preparation
from nowcast.data.regrid import Regular
from nowcast.readers.auto import Auto
from nowcast.readers.knmi_hdf5 import KnmiHdf5
from nowcast.runtime.errors import UserError
from nowcast.runtime.files import locked, replacing
from nowcast.types.frames import Frames, Grid

NAN = np.nan
THREE = np.float32(
    [[[0, 0.1, NAN], [1, 2, 3]], [[0, 0, NAN], [4, 5, 6]], [[7, 8, 9], [0.3, NAN, NAN]]]
)


def test_files_in_any_order_give_the_same_content_to_the_byte(tmp_path):
    values = np.random.default_rng(2).random((6, 2, 3)).astype(np.float32)
    reader = one_file_each(values, (0, 5, 10, 20, 25, 30))
    names = [f"{i}.h5" for i in range(6)]
    reader.frames_by_name["again.h5"] = reader.frames_by_name["2.h5"]
    expected = None
    for number, order in enumerate(
        [names, names[::-1], [names[i] for i in (3, 0, 5, 1, 4, 2)], [*names, "again.h5"]]
    ):
        summary = convert(order, tmp_path / f"{number}.nc", reader=reader)
        expected = expected or (tmp_path / f"{number}.nc").read_bytes()
        assert (tmp_path / f"{number}.nc").read_bytes() == expected
        assert (summary.frames, summary.start, summary.end) == (6, times(0)[0], times(30)[0])
    assert summary.duplicates == 1 and str(summary).endswith(
        "6 frames, 2020-06-01T00:00:00 to 2020-06-01T00:30:00 UTC, 1 that came twice left out"
    )
    assert sorted(os.listdir(tmp_path)) == ["0.nc", "1.nc", "2.nc", "3.nc"]


def test_real_files_shuffled_give_the_frames_of_the_reader(tmp_path):
    paths = expand_inputs(shared_data() / "radar/knmi/20100826/*.h5")[:6]
    convert([paths[i] for i in (4, 1, 0, 5, 3, 2)], tmp_path / "a.nc", reader=Auto())
    archive = Archive(tmp_path / "a.nc")
    for index, path in enumerate(paths):
        frame = Auto().read(path)
        np.testing.assert_array_equal(archive.read(index, index + 1), frame.values)
        assert (
            archive.times[index] == frame.times[0] and archive.grid.difference(frame.grid) is None
        )


def test_progress_counts_the_files(tmp_path):
    seen = []
    convert(
        ["0.h5", "1.h5"],
        tmp_path / "a.nc",
        reader=one_file_each(THREE[:2], (0, 5)),
        progress=lambda *numbers: seen.append(numbers),
    )
    assert seen == [(1, 2), (2, 2)]


def two_files(first: Frames, second: Frames) -> MemoryReader:
    return MemoryReader({"a.h5": first, "b.h5": second})


def test_two_different_frames_of_one_time_are_refused_and_nothing_is_written(tmp_path):
    reader = two_files(Frames(THREE[:1], times(0), grid()), Frames(THREE[1:2], times(0), grid()))
    with pytest.raises(
        UserError,
        match="a.h5 and b.h5 both have a frame of 2020-06-01T00:00:00 UTC, with different values",
    ):
        convert(["a.h5", "b.h5"], tmp_path / "out.nc", reader=reader)
    with pytest.raises(UserError, match="a.h5 and b.h5 both have a frame"):
        read_frames(["a.h5", "b.h5"], reader=reader)
    assert os.listdir(tmp_path) == []


CHANGED = {  # of the second file, against the first
    "2x2 cells against 2x3": grid(2, 2),
    "x from 1500 to 3500 against 500 to 2500": grid(left=1000.0),
    "projection EPSG:3035 against .*": Grid("EPSG:3035", grid().x, grid().y),
}


@pytest.mark.parametrize("difference", CHANGED)
def test_a_change_of_grid_is_refused_with_the_difference_and_the_file(tmp_path, difference):
    other = CHANGED[difference]
    reader = two_files(
        Frames(THREE[:1], times(0), grid()), Frames(np.zeros((1, *other.shape)), times(5), other)
    )
    for attempt in (
        lambda: convert(["a.h5", "b.h5"], tmp_path / "o.nc", reader=reader),
        lambda: read_frames(["a.h5", "b.h5"], reader=reader),
    ):
        with pytest.raises(UserError, match=f"b.h5 has another grid than a.h5: ({difference})"):
            attempt()


def test_no_files_are_refused():
    with pytest.raises(UserError, match="there are no radar files to convert"):
        convert([], "a.nc", reader=Auto())
    with pytest.raises(UserError, match="there are no radar files to read"):
        read_frames([], reader=Auto())


def test_a_radar_file_is_never_overwritten_by_the_archive(tmp_path):
    path = write_odim(tmp_path / "a.h5", [[1.0]])
    before = path.read_bytes()
    with pytest.raises(
        UserError, match="a.h5 is one of the radar files; give the archive another path"
    ):
        convert([path], tmp_path / "." / "a.h5", reader=Auto())
    assert path.read_bytes() == before


def test_a_failed_conversion_leaves_the_old_archive_as_it_was(tmp_path):
    path = write_archive(tmp_path / "a.nc", THREE, (0, 5, 15))
    (tmp_path / "bad.h5").write_text("nonsense")
    before = path.read_bytes()
    with pytest.raises(UserError, match="bad.h5 is not an HDF5 file"):
        convert([tmp_path / "bad.h5"], path, reader=KnmiHdf5(), replace=True, strict=True)
    assert path.read_bytes() == before and sorted(os.listdir(tmp_path)) == ["a.nc", "bad.h5"]


def test_a_full_disk_is_reported_by_the_name_of_the_archive_and_what_was_read_is_kept(
    tmp_path, monkeypatch
):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    reader = one_file_each(THREE, (0, 5, 15))
    files = [tmp_path / name for name in reader.frames_by_name]
    for path in files:
        path.write_text(path.name)
    (tmp_path / "out").mkdir()
    with (
        monkeypatch.context() as context,
        pytest.raises(UserError, match="a.nc could not be written: .*No space left on device"),
    ):
        context.setattr(conversion, "write_archive", full)
        convert(files, tmp_path / "out" / "a.nc", reader=reader)
    assert os.listdir(tmp_path / "out") == [".a.nc.parts"]
    assert (
        convert(files, tmp_path / "out" / "a.nc", reader=reader).frames == 3
        and len(reader.was_read) == 3
    )
    assert os.listdir(tmp_path / "out") == ["a.nc"]


def knmi_files(folder: Path, count: int, *, start: int = 0) -> list[Path]:
    """Files of consecutive five minutes, whose only pixel holds 1, 2, 3, ... hundredths of a
    millimetre.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stamps = [
        np.datetime64("2010-08-26T00:00") + np.timedelta64(5 * i, "m")
        for i in range(start, start + count + 1)
    ]
    text = [stamp.item().strftime("%d-AUG-2010;%H:%M:00.000").encode() for stamp in stamps]
    return [
        write_knmi(
            folder / f"{start + i:03d}.h5",
            [[start + i + 1]],
            product_datetime_start=text[i],
            product_datetime_end=text[i + 1],
        )
        for i in range(count)
    ]


def depths(path: Path) -> list[float]:
    """The hundredths of a millimetre that the frames of an archive were made from."""
    with Archive(path) as archive:
        return (archive.read(0, len(archive)).ravel() / 0.12).round(3).tolist()


def test_an_archive_that_exists_gets_the_new_frames_and_equals_one_made_in_one_go(tmp_path):
    files = knmi_files(tmp_path / "in", 6)
    convert(files, tmp_path / "whole.nc", reader=KnmiHdf5())
    convert(files[3:5], tmp_path / "parts.nc", reader=KnmiHdf5())
    summary = convert([*files[:4], files[5]], tmp_path / "parts.nc", reader=KnmiHdf5())
    assert (summary.frames, summary.added) == (6, 4) and "6 frames (4 of them new)" in str(summary)
    assert depths(tmp_path / "parts.nc") == [1, 2, 3, 4, 5, 6]
    assert (tmp_path / "parts.nc").read_bytes() == (tmp_path / "whole.nc").read_bytes()


def test_a_file_that_says_its_time_itself_is_not_read_again_under_another_name(tmp_path):
    files = knmi_files(tmp_path / "in", 3)
    convert(files, tmp_path / "a.nc", reader=KnmiHdf5())
    before = (tmp_path / "a.nc").stat().st_mtime_ns
    copy = tmp_path / "in" / "copy.h5"
    copy.write_bytes(files[1].read_bytes())
    summary = convert(
        [*files, copy],
        tmp_path / "a.nc",
        reader=KnmiHdf5(),
        progress=lambda *_: pytest.fail("a file was read"),
    )
    assert (summary.frames, summary.added) == (3, 0) and (
        tmp_path / "a.nc"
    ).stat().st_mtime_ns == before


def test_replace_makes_a_new_archive(tmp_path):
    convert(knmi_files(tmp_path / "in", 3), tmp_path / "a.nc", reader=KnmiHdf5())
    convert(
        knmi_files(tmp_path / "in", 2, start=7), tmp_path / "a.nc", reader=KnmiHdf5(), replace=True
    )
    assert depths(tmp_path / "a.nc") == [8, 9]


def test_other_settings_a_foreign_file_and_an_old_archive_get_no_frames(tmp_path):
    files, reader = knmi_files(tmp_path / "in", 2), KnmiHdf5()
    convert(files[:1], tmp_path / "a.nc", reader=reader)
    with pytest.raises(
        UserError,
        match="a.nc was made with other settings: clip null against 50.0; give another output "
        ".replace=true would start anew, without the 1 frames that are in it",
    ):
        convert(
            files,
            tmp_path / "a.nc",
            reader=reader,
            prepare=Preparation({"_target_": "nowcast.readers.knmi_hdf5.KnmiHdf5"}, clip=50.0),
        )
    (tmp_path / "b.nc").write_text("my notes")
    with pytest.raises(
        UserError,
        match="b.nc exists and is no archive that frames could be added to; give another output",
    ):
        convert(files, tmp_path / "b.nc", reader=reader)
    assert (tmp_path / "b.nc").read_text() == "my notes"
    with h5py.File(tmp_path / "a.nc", "a") as file:
        file.attrs["nowcast_archive_version"] = 1
    with pytest.raises(
        UserError, match="a.nc was made by an older nowcast, which frames cannot be added to"
    ):
        convert(files, tmp_path / "a.nc", reader=reader)
    assert Archive(tmp_path / "a.nc").read(0, 1) == np.float32(0.12)


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_files_are_listed_with_their_reasons_and_the_others_converted(tmp_path, workers):
    files = knmi_files(tmp_path / "in", 4)
    files[1].write_bytes(files[1].read_bytes()[:500])
    odd = tmp_path / "in" / 'notes, "draft"\nof today.txt'
    odd.write_text("rain?")
    twin = tmp_path / "in" / "twin.txt"
    twin.write_text("rain?")
    summary = convert([*files, odd, twin], tmp_path / "a.nc", reader=KnmiHdf5(), workers=workers)
    assert depths(tmp_path / "a.nc") == [1, 3, 4]
    with open(tmp_path / "a.nc.quarantine.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["file", "reason"] and sorted(row[0] for row in rows[1:]) == sorted(
        map(str, (files[1], odd, twin))
    )
    assert (
        all("damaged" in row[1] or "not an HDF5 file" in row[1] for row in rows[1:])
        and len(summary.quarantine) == 3
    )
    again = convert(files[2:], tmp_path / "a.nc", reader=KnmiHdf5(), workers=workers)
    assert again.report is None and not (tmp_path / "a.nc.quarantine.csv").exists()


def test_strict_makes_an_unreadable_file_an_error_and_nothing_readable_is_one_too(tmp_path):
    files = knmi_files(tmp_path / "in", 2)
    files[1].write_text("no")
    with pytest.raises(UserError, match="001.h5 is not an HDF5 file"):
        convert(files, tmp_path / "a.nc", reader=KnmiHdf5(), strict=True)
    files[0].write_text("nor this")
    with pytest.raises(
        UserError,
        match="none of the 2 files could be read .listed in .*a.nc.quarantine.csv.; the first: "
        ".*000.h5 is not",
    ):
        convert(files, tmp_path / "a.nc", reader=KnmiHdf5())
    assert not (tmp_path / "a.nc").exists()


def test_a_set_of_two_quantities_is_refused_with_both(tmp_path):
    reader = two_files(
        Frames(THREE[:1], times(0), grid()),
        Frames(THREE[:1], times(5), grid(), quantity="rain depth in 5 min"),
    )
    for attempt in (
        lambda: convert(["a.h5", "b.h5"], tmp_path / "o.nc", reader=reader),
        lambda: read_frames(["a.h5", "b.h5"], reader=reader),
    ):
        with pytest.raises(
            UserError,
            match="b.h5 has another quantity than a.h5: rain depth in 5 min against rain rate",
        ):
            attempt()


def test_clipping_and_regridding_act_and_stand_in_the_archive(tmp_path):
    reader = one_file_each([[[1, 3, 200, 200], [NAN, 5, 4, NAN]]], [0])
    prepare = Preparation({"_target_": "tests.Memory"}, clip=100.0, regrid=Regular(2000.0))
    convert(["0.h5"], tmp_path / "a.nc", reader=reader, prepare=prepare)
    archive = Archive(tmp_path / "a.nc")
    np.testing.assert_array_equal(
        archive.read(0, 1), np.float32([[[3, 68]]])
    )  # (1 + 3 + 5) / 3, (100 + 100 + 4) / 3
    assert (list(archive.grid.x), list(archive.grid.y)) == ([1000, 3000], [-1000])
    assert archive.settings == {
        "reader": {"_target_": "tests.Memory"},
        "clip": 100.0,
        "regrid": {
            "_target_": "nowcast.data.regrid.Regular",
            "spacing": 2000.0,
            "crs": None,
            "x": None,
            "y": None,
        },
        "tolerance": {
            "negative_rate": 0.05,
            "bad_share": 0.001,
            "seconds": 15.0,
            "pixels": 0.1,
            "corners": 0.5,
            "negative_share": 0.01,
        },
    }


@pytest.mark.parametrize("clip", [0.0, -1.0, float("nan"), float("inf")])
def test_a_clip_that_is_no_rate_is_refused(clip):
    with pytest.raises(UserError, match="the highest rate .mm/h. to keep, above 0, is needed"):
        Preparation({}, clip=clip)


def test_a_number_of_workers_that_is_none_is_refused(tmp_path):
    with pytest.raises(UserError, match="workers is -1; a whole number of processes, 0 or more"):
        convert(["a.h5"], tmp_path / "a.nc", reader=KnmiHdf5(), workers=-1)


class Failing(KnmiHdf5):
    """A reader that fails for good after some files."""

    def __init__(self, after: int):
        self.left, self.was_read = after, []

    def read(self, path):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        self.was_read.append(Path(path).name)
        return super().read(path)


def test_an_interrupted_conversion_goes_on_from_its_last_part_and_gives_the_same_archive(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(parts, "MOST_FRAMES", 4)
    files = knmi_files(tmp_path / "in", 11)
    target = {"_target_": "nowcast.readers.knmi_hdf5.KnmiHdf5"}
    convert(files, tmp_path / "whole.nc", reader=KnmiHdf5(), prepare=Preparation(target))
    with pytest.raises(KeyboardInterrupt):
        convert(files, tmp_path / "a.nc", reader=Failing(10), prepare=Preparation(target))
    assert sorted(os.listdir(tmp_path / ".a.nc.parts")) == [
        "part-000001.h5",
        "part-000002.h5",
        "settings.json",
    ]
    second = Failing(99)
    convert(files, tmp_path / "a.nc", reader=second, prepare=Preparation(target))
    assert second.was_read == ["008.h5", "009.h5", "010.h5"]
    assert (tmp_path / "a.nc").read_bytes() == (tmp_path / "whole.nc").read_bytes() and not (
        tmp_path / ".a.nc.parts"
    ).exists()


def test_a_conversion_of_more_parts_than_a_process_may_have_files_open_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "MOST_FRAMES", 1)
    files = knmi_files(tmp_path / "in", 60)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 25, most[1])
    )
    try:
        with pytest.raises(KeyboardInterrupt):
            convert(files, tmp_path / "a.nc", reader=Failing(50))
        assert len(list((tmp_path / ".a.nc.parts").glob("part-*"))) >= 50
        assert convert(files, tmp_path / "a.nc", reader=KnmiHdf5()).frames == 60
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, most)
    assert depths(tmp_path / "a.nc") == list(range(1, 61))


def test_on_a_disk_that_becomes_full_the_archive_stays_as_it_was_and_that_is_one_line(
    tmp_path, monkeypatch
):
    files = knmi_files(tmp_path / "in", 6)
    convert(files[:2], tmp_path / "a.nc", reader=KnmiHdf5())
    before, free = (tmp_path / "a.nc").read_bytes(), shutil.disk_usage(tmp_path)
    for rooms in (
        [2**30] * 4,
        [2**30] * 8,
    ):  # while frames are packed, and while the archive is written
        left = iter(rooms)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: free._replace(free=next(left, 0)))
        with pytest.raises(UserError, match="a.nc.* could not be written: No space left on device"):
            convert(files, tmp_path / "a.nc", reader=KnmiHdf5())
        assert (tmp_path / "a.nc").read_bytes() == before
    monkeypatch.undo()
    assert convert(files, tmp_path / "a.nc", reader=KnmiHdf5()).frames == 6 and sorted(
        os.listdir(tmp_path)
    ) == ["a.nc", "in"]


def test_an_archive_made_before_a_reader_got_a_new_setting_gets_more_frames(tmp_path):
    """What it did not note was as by default; where another value is asked for now, the two differ."""
    target = "nowcast.readers.arrays.Arrays"
    now = {"_target_": target, "dataset": "rain", "axes": None}
    before = {"_target_": target, "dataset": "rain"}
    convert(
        ["0.h5"],
        tmp_path / "a.nc",
        reader=one_file_each(THREE, (0, 5, 10)),
        prepare=Preparation(before),
    )
    summary = convert(
        ["1.h5"],
        tmp_path / "a.nc",
        reader=one_file_each(THREE, (0, 5, 10)),
        prepare=Preparation(now),
    )
    assert (summary.frames, summary.added) == (2, 1)
    with pytest.raises(UserError, match='made with other settings: reader.axes null against "HWT"'):
        convert(
            ["2.h5"],
            tmp_path / "a.nc",
            reader=one_file_each(THREE, (0, 5, 10)),
            prepare=Preparation(now | {"axes": "HWT"}),
        )


def test_a_lock_that_its_holder_removed_while_another_waited_for_it_is_no_lock(
    tmp_path, monkeypatch
):
    flock = fcntl.flock

    def removed_meanwhile(file, how):
        flock(file, how)
        (tmp_path / "lock").unlink()
        (tmp_path / "lock").touch()

    monkeypatch.setattr("nowcast.runtime.files.fcntl.flock", removed_meanwhile)
    with (
        pytest.raises(UserError, match="somebody else holds it"),
        locked(tmp_path / "lock", busy="somebody else holds it", unwritable="no"),
    ):
        pass


def test_a_name_of_as_many_bytes_as_a_file_may_have_can_be_written(tmp_path):
    with replacing(tmp_path / f"{'雨' * 82}.nc") as temporary:
        temporary.write_text("rain")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["rain"]


def test_what_an_interrupted_conversion_left_is_used_only_for_the_same_settings_and_the_files_asked_for(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(parts, "MOST_FRAMES", 2)
    files = knmi_files(tmp_path / "in", 5)
    target = {"_target_": "nowcast.readers.knmi_hdf5.KnmiHdf5"}
    for prepare, wanted, read in (
        (Preparation(target, clip=0.3), files, 5),
        (Preparation(target), files[3:], 1),
    ):
        with pytest.raises(KeyboardInterrupt):
            convert(files, tmp_path / "a.nc", reader=Failing(4), prepare=Preparation(target))
        reader = Failing(99)
        convert(wanted, tmp_path / "a.nc", reader=reader, prepare=prepare)
        assert len(reader.was_read) == read
        assert depths(tmp_path / "a.nc") == ([1, 2, 2.5, 2.5, 2.5] if prepare.clip else [4, 5])
        (tmp_path / "a.nc").unlink()


def test_a_conversion_that_is_killed_goes_on_and_gives_the_archive_it_would_have_given(tmp_path):
    files = knmi_files(tmp_path / "in", 60)
    convert(files, tmp_path / "whole.nc", reader=KnmiHdf5())
    program = (
        "import sys, time\nfrom nowcast.data import conversion, parts\nfrom nowcast.readers.knmi_hdf5 "
        "import KnmiHdf5\n"
        "parts.MOST_FRAMES = 5\n"
        "conversion.convert(sys.argv[2:], sys.argv[1], reader=KnmiHdf5(), progress=lambda *_: "
        "time.sleep(0.05))"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "a.nc"), *map(str, files)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[1])
    deadline = time.monotonic() + 60
    while (
        not (tmp_path / ".a.nc.parts" / "part-000003.h5").exists() and time.monotonic() < deadline
    ):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and not (tmp_path / "a.nc").exists()
    summary = convert(files, tmp_path / "a.nc", reader=KnmiHdf5())
    assert (
        summary.frames == 60
        and (tmp_path / "a.nc").read_bytes() == (tmp_path / "whole.nc").read_bytes()
    )
    assert sorted(os.listdir(tmp_path)) == ["a.nc", "in", "whole.nc"]


def test_the_archive_and_its_report_in_the_folder_of_the_radar_files_are_no_radar_files(tmp_path):
    files = knmi_files(tmp_path, 2)
    convert(files, tmp_path / "a.nc", reader=KnmiHdf5())
    (tmp_path / "a.nc.quarantine.csv").write_text("file,reason\n")
    left = [
        path.name
        for path in expand_inputs(tmp_path)
        if not conversion.is_own(path, tmp_path / "a.nc")
    ]
    assert left == ["000.h5", "001.h5"]


def test_two_conversions_do_not_write_one_archive(tmp_path):
    files = knmi_files(tmp_path / "in", 2)
    with (
        conversion.alone(tmp_path / "a.nc"),
        pytest.raises(UserError, match="another conversion is writing .*a.nc; wait for it"),
    ):
        convert(files, tmp_path / "a.nc", reader=KnmiHdf5())
    convert(files, tmp_path / "a.nc", reader=KnmiHdf5())
    assert sorted(os.listdir(tmp_path)) == ["a.nc", "in"]


def test_an_archive_that_somebody_else_replaced_meanwhile_is_not_overwritten(tmp_path):
    files = knmi_files(tmp_path / "in", 3)
    convert(files[:1], tmp_path / "a.nc", reader=KnmiHdf5())
    convert(files[1:2], tmp_path / "b.nc", reader=KnmiHdf5())
    with pytest.raises(UserError, match="a.nc was replaced while it was in use; start again"):
        convert(
            files,
            tmp_path / "a.nc",
            reader=KnmiHdf5(),
            progress=lambda *_: (
                os.replace(tmp_path / "b.nc", tmp_path / "a.nc")
                if (tmp_path / "b.nc").exists()
                else None
            ),
        )
    assert depths(tmp_path / "a.nc") == [2]


def test_a_link_to_an_archive_stays_a_link_and_leftovers_of_killed_conversions_go(tmp_path):
    (tmp_path / "far").mkdir()
    os.symlink(tmp_path / "far" / "a.nc", tmp_path / "a.nc")
    (tmp_path / "far" / ".a.nc.abcdefgh.nc").touch()
    convert(knmi_files(tmp_path / "in", 2), tmp_path / "a.nc", reader=KnmiHdf5())
    assert (
        (tmp_path / "a.nc").is_symlink()
        and os.listdir(tmp_path / "far") == ["a.nc"]
        and depths(tmp_path / "a.nc") == [1, 2]
    )


def test_a_folder_that_cannot_be_looked_into_is_one_line(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("nowcast.data.inputs.os.listdir", refuse)
    with pytest.raises(
        UserError, match="may not be looked into by this user; change its permissions"
    ):
        expand_inputs(tmp_path)
