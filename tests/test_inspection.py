"""What is said of an archive or a radar file is what lies in it."""

import numpy as np
from factories import MemoryReader, grid, times, write_archive, write_knmi

from nowcast.cli import main
from nowcast.data.archive import Archive
from nowcast.data.checking import check
from nowcast.data.conversion import convert
from nowcast.data.inspection import info, info_of_files, info_of_frames
from nowcast.data.radar import Radar
from nowcast.readers.knmi_hdf5 import KnmiHdf5
from nowcast.types.frames import Frames
from nowcast.types.task import Task

NAN = np.nan
THREE = np.float32(
    [[[0, 0.1, NAN], [1, 2, 3]], [[0, 0, NAN], [4, 5, 6]], [[7, 8, 9], [0.3, NAN, NAN]]]
)


def test_info_counts_missing_and_raining_pixels_and_names_the_gap(tmp_path):
    lines = info(write_archive(tmp_path / "a.nc", THREE, (0, 5, 15))).splitlines()
    text = "\n".join(lines)
    assert (
        "frames      3" in lines
        and "period      2020-06-01T00:00:00 to 2020-06-01T00:15:00 UTC" in lines
    )
    assert "cadence     5 min (1 of 2 steps)" in lines
    assert "gaps        1\n            2020-06-01T00:05:00 to 2020-06-01T00:15:00: 10 min" in text
    assert "missing     22.22 % of the pixels" in lines  # 4 of 18
    assert "raining     78.57 % of the observed pixels (>= 0.1 mm/h)" in lines  # 11 of 14
    assert "maximum     9.00 mm/h" in lines
    assert "grid        2 x 3 cells of 1000 x 1000 metre" in text


def test_info_of_one_frame_without_a_single_observation(tmp_path):
    lines = info(write_archive(tmp_path / "a.nc", np.full((1, 2, 3), NAN), [0])).splitlines()
    assert {
        "cadence     one frame only",
        "missing     100.00 % of the pixels",
        "raining     nothing was observed",
        "maximum     nothing was observed",
    } <= set(lines)


def test_info_lists_20_of_30_gaps_and_counts_the_rest(tmp_path):
    minutes = [15 * (i // 3) * 2 + 5 * (i % 3) for i in range(93)]  # three frames, then a pause
    text = info(write_archive(tmp_path / "a.nc", np.zeros((93, 1, 1)), minutes))
    assert "gaps        30\n" in text and text.count(": 20 min") == 20 and "and 10 more" in text


def test_info_reads_one_frame_at_a_time(tmp_path, monkeypatch):
    path, sizes, read = write_archive(tmp_path / "a.nc", THREE, (0, 5, 15)), [], Archive.read
    monkeypatch.setattr(
        Archive,
        "read",
        lambda self, start, stop: sizes.append(stop - start) or read(self, start, stop),
    )
    info(path)
    assert sizes == [1, 1, 1]


def test_info_of_a_radar_file_names_its_format_and_what_was_measured(tmp_path):
    frames = KnmiHdf5().read(write_knmi(tmp_path / "a.h5", [[0, 100], [65535, 10]]))
    lines = info_of_frames(frames, KnmiHdf5.format).splitlines()
    assert {
        f"format      {KnmiHdf5.format}",
        "quantity    rain depth in 5 min",
        "missing     25.00 % of the pixels",
        "maximum     12.00 mm/h",
    } <= set(lines)


def some_files(folder, count, *, height=2, quantity="rain_rate", first=0):
    """Path and frames of files of one time each."""
    for number in range(count):
        time = np.datetime64("2020-01-01T00:00", "s") + np.timedelta64(5 * (first + number), "m")
        values = np.full((1, height, 3), 2.5)
        yield folder / f"{number}", Frames(values, [time], grid(height, 3), "", quantity)


def test_info_of_files_that_do_not_belong_together_counts_each_grid_and_quantity(tmp_path):
    files = [
        *some_files(tmp_path, 2, height=5),
        *some_files(tmp_path, 4),
        *some_files(tmp_path, 3, quantity="reflectivity, Z = 200 R^1.6", first=4),
    ]
    lines = info_of_files(tmp_path, files).splitlines()
    place = lines.index(
        "mixture     2 quantities and 2 grids, to be converted apart; below is the first alone"
    )
    assert [" ".join(line.split()) for line in lines[place + 1 : place + 4]] == [
        f"4 frames of rain_rate in 4 files, on {grid(2, 3).describe()}",
        f"3 frames of reflectivity, Z = 200 R^1.6 in 3 files, on {grid(2, 3).describe()}",
        f"2 frames of rain_rate in 2 files, on {grid(5, 3).describe()}",
    ]
    assert {"frames      4", "gaps        0", "quantity    rain_rate"} <= set(lines)
    alike = info_of_files(tmp_path, [*some_files(tmp_path, 3)])
    assert "mixture" not in alike and "frames      3" in alike


def test_info_of_several_unreadable_files_names_the_known_formats_once(tmp_path, capsys):
    (tmp_path / "README").write_text("three hours of rain\n")
    (tmp_path / "notes.txt").write_text("see README\n")
    np.savez(tmp_path / "train.npz", sequence=np.zeros((2, 3)), time=np.arange(2))
    main(["info", str(tmp_path)])
    said = capsys.readouterr().out
    assert "files       3, of which 0 can be read" in said
    assert said.count("is of no format that is known here") == 2
    assert said.count("accepted are") == 1 and said.count("MeteoSwiss AQC") == 1
    assert (
        "train.npz is a NumPy archive with the arrays sequence, time; say which of them is rain, "
        "and where everything else is: reader=arrays reader.dataset=NAME ..."
    ) in said


def made(tmp_path, values, minutes=None):
    values = np.float32(values)
    return write_archive(
        tmp_path / "a.nc", values, minutes if minutes is not None else range(0, 5 * len(values), 5)
    )


def raining(frames, side=20):
    """Rain that differs from frame to frame and wets about a third of the pixels at a time."""
    values = np.random.default_rng(1).random((frames, side, side)).astype(np.float32)
    return np.where(values > 2 / 3, values, 0)


def test_frames_that_repeat_the_one_before_are_frozen_only_where_it_rains(tmp_path):
    values = raining(10)
    values[4] = values[5] = values[3]
    values[7:] = 0
    text = check(made(tmp_path, values))
    assert (
        "frozen      1 runs of equal frames with rain in them\n            2020-06-01T00:15:00 "
        "to 2020-06-01T00:25:00: 3 equal frames\n" in text
    )


def test_a_change_of_what_is_observed_and_an_empty_frame_are_told(tmp_path):
    values = raining(6)
    values[2:, :, :5] = NAN
    values[4] = NAN
    text = check(made(tmp_path, values))
    assert "2020-06-01T00:10:00: 100.00 % observed before, 75.00 % then" in text
    assert (
        "coverage    3 changes of more than 0.5 %" in text
        and "empty       1 frames without any observation\n            2020-06-01T00:20:00" in text
    )


def test_a_pixel_that_is_always_wet_is_a_clutter_suspect_and_one_that_never_is_may_be_blocked(
    tmp_path,
):
    values = raining(30)
    values[:, 4, 6], values[:, 12, 9] = 2.0, 0.0
    text = check(made(tmp_path, values))
    assert (
        "clutter     1 pixels wet at least 40" in text and "blocked     1 pixels never wet" in text
    )
    assert (
        "row 4, column 6 (" in text
        and "wet in 100 % of the frames, around it 33 %" in text
        or "around it 34 %" in text
        or "around it 32 %" in text
    )
    assert "row 12, column 9 (" in text and "wet in 0 % of the frames" in text


def test_few_frames_do_not_judge_single_pixels(tmp_path):
    assert (
        check(made(tmp_path, raining(23))).count(
            "not judged: 23 frames say nothing about single pixels, 24 are needed"
        )
        == 2
    )


def test_high_rates_and_odd_times_are_told(tmp_path):
    values = raining(5)
    values[1, 0, :3] = 400.5
    text = check(made(tmp_path, values, (0, 5, 10, 16, 20)))
    assert (
        "high        1 frames with rates above 150 mm/h" in text
        and "2020-06-01T00:05:00: 3 pixels, up to 400.5 mm/h" in text
    )
    assert (
        "odd times   1 frames beside the most common times (every 5 min)\n            "
        "2020-06-01T00:16:00" in text
    )


def test_the_split_plan_counts_the_windows_of_each_part(tmp_path):
    path = made(tmp_path, np.zeros((30, 1, 1)))
    text = check(path, Task(2, 3, 5), test_from="2020-06-01T02:00")
    # frames 0 to 29; validation from frame 17 (60 % of 145 min), test from frame 24: 17 - 4, 7 - 4
    # and 6 - 4 windows of 5
    assert (
        "train: 13 windows, 17 frames, from 2020-06-01T00:00:00, before 2020-06-01T01:25:00" in text
    )
    assert (
        "validation: 3 windows, 7 frames, from 2020-06-01T01:25:00, before 2020-06-01T02:00:00"
        in text
    )
    assert "test: 2 windows, 6 frames, from 2020-06-01T02:00:00" in text


def test_a_part_without_windows_is_not_enough_to_train_and_the_remedy_is_said(tmp_path):
    path = made(tmp_path, np.zeros((30, 1, 1)))
    # of 18, 6 and 6 frames: only the first part has windows of 5 + 3
    assert (
        "not enough to train: validation and test have no window; shorten task.forecast_length "
        "(now 3) or task.context_length, set data.validation_from and data.test_from, or add frames"
    ) in check(path, Task(5, 3, 5))
    assert "not enough to train" not in check(path, Task(2, 3, 5))


def test_a_frame_beside_another_of_the_same_time_is_named_and_breaks_no_run(tmp_path):
    moments = np.sort(
        np.append(times(*range(0, 60, 5)), times(20) + np.timedelta64(7, "s"))
    )  # frame 5 is the twin of frame 4
    values = np.broadcast_to(np.arange(13, dtype=np.float32)[:, None, None], (13, 2, 3))
    convert(["a"], tmp_path / "a.nc", reader=MemoryReader({"a": Frames(values, moments, grid())}))
    text = check(tmp_path / "a.nc", Task(2, 2, 5))
    assert (
        "twins       1 frames that another one of the same time is used instead of\n            "
        "2020-06-01T00:20:07 beside 2020-06-01T00:20:00\n" in text
    )
    assert (
        "cadence     5 min (11 of 11 steps)" in text
        and "the longest gap-free run is 12 frames" in text
    )
    cases = Radar(
        tmp_path / "a.nc",
        Task(2, 2, 5),
        seed=0,
        validation_from="2020-06-01T00:00",
        test_from="2020-06-01T00:00",
    ).part("test")
    assert [cases.case(0, index)[:, 0, 0].tolist() for index in range(len(cases))][3:5] == [
        [3, 4, 6, 7],
        [4, 6, 7, 8],
    ] and len(cases) == 9
    assert str(cases.analysis_time(3)) == "2020-06-01T00:20:00"
    whole, thinned = (
        Archive(tmp_path / "a.nc"),
        Archive(tmp_path / "a.nc").use_one_of_each_time(np.timedelta64(300, "s")),
    )
    assert (
        len(whole) == 13
        and len(thinned.origins) == len(thinned.discarded) == thinned.shape[0] == 12
    )
    assert thinned.frames(4, 6).values[:, 0, 0].tolist() == [4, 6]


def test_an_archive_without_twins_says_so(tmp_path):
    assert "twins       0 frames" in check(made(tmp_path, raining(4)))
