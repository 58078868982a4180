"""Cases are a pure function of (seed, epoch, index), rainier than chance, and never read more than
their window.
"""

import pickle

import numpy as np
import pytest
import torch
from factories import grid, times, write_archive

from nowcast.data.archive import Archive
from nowcast.data.radar import Radar
from nowcast.data.windows import window_starts
from nowcast.runtime.errors import UserError
from nowcast.types.task import Task

FOUR = Task(context_length=3, forecast_length=1, timestep=5)
HEIGHT, WIDTH, FRAMES = 12, 10, 60


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """60 frames in two runs; each pixel's value tells its frame, row and column: 50 frame + 5 row +
    column / 2.
    """
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    values = np.stack([50.0 * frame + 5 * rows + columns / 2 for frame in range(FRAMES)])
    minutes = [5 * i + (30 if i >= 20 else 0) for i in range(FRAMES)]
    return write_archive(tmp_path_factory.mktemp("radar") / "a.nc", values, minutes)


def radar(path, **settings):
    split = {"validation_from": "2020-06-01T03:00", "test_from": "2020-06-01T04:20"}
    return Radar(
        path,
        FOUR,
        **(
            {"seed": 7, "crop": 4, "samples_per_epoch": 50, "validation_samples": 20}
            | split
            | settings
        ),
    )


def first_frames(cases, epoch=0):
    return [int(cases.case(epoch, i)[0, 0, 0] // 50) for i in range(len(cases))]


def test_a_case_is_one_window_of_one_crop(path):
    case = radar(path).part("train").case(0, 3)
    corner = case[0, 0, 0]
    expected = (
        corner + 50 * np.arange(4)[:, None, None] + 5 * np.arange(4)[:, None] + np.arange(4) / 2
    )
    np.testing.assert_array_equal(case, expected)
    assert case.dtype == np.float32


def test_lengths_are_those_of_the_settings_and_test_has_every_window_or_every_third(path):
    # test: frames 46 to 59 start at 04:20, 14 frames with 11 windows
    assert [len(radar(path).part(part)) for part in ("train", "validation", "test")] == [50, 20, 11]
    assert first_frames(radar(path, test_stride=3).part("test")) == [46, 49, 52, 55]


def test_no_case_crosses_the_gap_or_an_edge_of_the_split(path):
    # frames 0 to 19, gap, 20 to 29 | 30 to 45 | 46 to 59
    train = radar(path, samples_per_epoch=400, crop_candidates=1).part("train")
    validation = radar(path, validation_samples=300, crop_candidates=1).part("validation")
    assert set(first_frames(train)) == {*range(0, 17), *range(20, 27)}
    assert set(first_frames(validation)) == set(range(30, 43))
    assert set(first_frames(radar(path).part("test"))) == set(range(46, 57))


def test_the_analysis_time_is_that_of_the_last_context_frame(path):
    part = radar(path).part("test")
    assert [part.analysis_time(i) for i in (0, 10)] == [
        times(30 + 5 * 48)[0],
        times(30 + 5 * 58)[0],
    ]
    train = radar(path).part("train")
    frame = int(train.case(2, 5)[2, 0, 0] // 50)
    assert train.analysis_time(5, epoch=2) == times(5 * frame + (30 if frame >= 20 else 0))[0]


def test_the_same_seed_epoch_and_index_give_the_same_case_and_any_other_gives_others(path):
    cases = radar(path).part("train")
    firsts = [cases.case(3, i) for i in range(50)]
    np.testing.assert_array_equal(firsts, [radar(path).part("train").case(3, i) for i in range(50)])
    for other in (cases, radar(path, seed=8).part("train")):
        epoch = 4 if other is cases else 3
        assert (
            np.mean([np.array_equal(a, other.case(epoch, i)) for i, a in enumerate(firsts)]) < 0.2
        )


def test_validation_and_test_cases_are_the_same_in_every_epoch_and_differ_from_training_draws(path):
    for part in ("validation", "test"):
        cases = radar(path).part(part)
        np.testing.assert_array_equal(
            [cases.case(0, i) for i in range(11)], [cases.case(9, i) for i in range(11)]
        )
    one_for_all = {
        "validation_from": "2020-06-01T00:00",
        "test_from": "2020-06-01T04:20",
        "crop_candidates": 1,
    }
    validation = radar(path, **one_for_all).part("validation")
    train = radar(path, crop_candidates=1, validation_from="2020-06-01T04:20").part("train")
    assert (
        np.mean([np.array_equal(validation.case(0, i), train.case(0, i)) for i in range(20)]) < 0.2
    )


def test_crops_reach_every_corner_of_the_grid(path):
    cases = radar(path, samples_per_epoch=600, crop_candidates=1).part("train")
    corners = np.array([2 * cases.case(0, i)[0, 0, 0] % 100 for i in range(600)])
    places = {(int(c) // 10 if c < 100 else 0, int(c) % 10) for c in corners}
    rows, columns = 8, 6  # HEIGHT - 4, WIDTH - 4
    assert {(0, 0), (rows, 0), (0, columns), (rows, columns)} <= places and len(places) == (
        rows + 1
    ) * (columns + 1)


def test_a_crop_larger_than_the_grid_takes_the_whole_side(path):
    cases = radar(path, crop=11).part("train")
    assert cases.shape == (4, 11, 10) and cases.case(0, 0).shape == (4, 11, 10)
    assert radar(path, crop=128).part("train").case(0, 0).shape == (4, 12, 10)


def test_test_cases_are_the_whole_grid_and_keep_what_is_missing(tmp_path):
    values = np.zeros((30, 2, 3))
    values[25, 1, 2] = np.nan
    cases = radar(
        write_archive(tmp_path / "a.nc", values, range(0, 150, 5)),
        validation_from="2020-06-01T01:00",
        test_from="2020-06-01T01:45",
    ).part("test")
    np.testing.assert_array_equal(
        np.argwhere(np.isnan(cases.case(0, 1))), [[3, 1, 2]]
    )  # frames 22 to 25
    assert cases.grid.difference(grid(2, 3)) is None and cases.shape == (4, 2, 3)


def test_of_several_candidates_the_wettest_last_context_frame_wins_and_ties_go_to_the_most_observed(
    tmp_path,
):
    values = np.full(
        (60, 1, 4), np.nan
    )  # one column observed and wet, one observed and dry, two not observed
    values[:, 0, 1], values[:, 0, 2] = 0.1, 0.09
    path = write_archive(tmp_path / "a.nc", values, range(0, 300, 5))
    kinds = {}
    for candidates in (1, 30):
        cases = radar(path, crop=1, crop_candidates=candidates, samples_per_epoch=100).part("train")
        kinds[candidates] = [cases.case(0, i)[3, 0, 0] for i in range(100)]
    assert np.mean(np.array(kinds[1]) == np.float32(0.1)) == pytest.approx(0.25, abs=0.12)
    assert np.mean(np.array(kinds[30]) == np.float32(0.1)) == 1.0
    values[:, 0, 1] = np.nan
    cases = radar(write_archive(path, values, range(0, 300, 5)), crop=1, crop_candidates=30).part(
        "train"
    )
    assert all(cases.case(0, i)[3, 0, 0] == np.float32(0.09) for i in range(20))


def test_wetness_is_judged_by_the_last_context_frame_alone_so_that_growth_is_not_chosen(tmp_path):
    values = np.zeros((60, 1, 2))
    values[::4, 0, 0] = 5.0  # rain in the left column every fourth frame
    cases = radar(
        write_archive(tmp_path / "a.nc", values, range(0, 300, 5)), crop=1, crop_candidates=60
    ).part("train")
    assert all(cases.case(0, i).ravel().tolist() == [0, 0, 5, 0] for i in range(20))


class Dataset(torch.utils.data.Dataset):
    def __init__(self, cases):
        self.cases = cases

    def __len__(self):
        return len(self.cases)

    def __getitem__(self, index):
        return torch.from_numpy(self.cases.case(1, index))


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_no_workers_and_two_workers_give_the_same_cases(path, part):
    cases = radar(path).part(part)
    alone, shared = (
        torch.cat(list(torch.utils.data.DataLoader(Dataset(cases), batch_size=4, num_workers=n)))
        for n in (0, 2)
    )
    assert torch.equal(alone, shared) and len(alone) == len(cases)


def test_pickled_cases_are_the_same(path):
    cases = radar(path).part("train")
    before = cases.case(0, 0)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(cases)).case(0, 0), before)


def test_never_more_than_a_window_of_a_crop_is_read(path, monkeypatch):
    pixels, read = [], Archive.read

    def counted(self, *arguments, **selection):
        values = read(self, *arguments, **selection)
        pixels.append(values.size)
        return values

    monkeypatch.setattr(Archive, "read", counted)
    cases = radar(path, memory_mb=0).part("train")
    assert pixels == []
    cases.case(0, 0)
    assert pixels == [16] * 4 + [64]  # four candidates of 4 x 4, then 4 frames of 4 x 4


def test_an_archive_that_fits_into_memory_is_decoded_once_and_gives_the_same_cases(
    tmp_path, monkeypatch
):
    values = (
        np.random.default_rng(1).random((30, 250, 200)).astype(np.float32)
    )  # 6 MB: 30 frames of 50,000 pixels, 4 bytes each
    values[values > 0.9] = np.nan
    large, frames, read = (
        write_archive(tmp_path / "a.nc", values, range(0, 150, 5)),
        [],
        Archive.read,
    )

    def counted(self, start, stop, **selection):
        frames.extend(range(start, stop))
        return read(self, start, stop, **selection)

    split = {"validation_from": "2020-06-01T01:00", "test_from": "2020-06-01T01:45", "crop": 40}
    some = {}
    for megabytes in (0, 5, 6):
        monkeypatch.setattr(Archive, "read", read)
        data = radar(large, memory_mb=megabytes, **split)
        monkeypatch.setattr(Archive, "read", counted)
        frames.clear()
        some[megabytes] = [
            data.part(part).case(epoch, index)
            for part in ("train", "validation")
            for epoch in (0, 1)
            for index in range(10)
        ]
        assert (len(frames) == len(set(frames))) == (megabytes == 6)  # 5 MB is too little for all
        data.part("test").case(0, 0), data.part("test").case(0, 0)
        assert frames[-8:] == [*range(21, 25)] * 2  # test cases are never kept
    np.testing.assert_array_equal(some[0], some[6])
    some[6][0][:] = -1  # what was handed out is a copy
    np.testing.assert_array_equal(data.part("train").case(0, 0), some[0][0])


def test_the_default_split_gives_each_part_its_windows(path):
    data = Radar(path, FOUR, seed=0, crop=4)
    firsts = {part: data.part(part)._starts for part in ("train", "validation", "test")}
    # 0 to 325 minutes: 60 % is 195, 80 % is 260
    assert (
        firsts["train"].max() + 3,
        firsts["validation"].min(),
        firsts["validation"].max() + 3,
        firsts["test"].min(),
    ) == (32, 33, 45, 46)
    assert sum(map(len, firsts.values())) < len(window_starts(Archive(path).times, FOUR))


def test_every_setting_out_of_range_is_named_at_once(path):
    with pytest.raises(
        UserError,
        match="data: crop 0, samples_per_epoch 1.5, test_stride True, seed -1, memory_mb 0.5 is "
        "out of range; counts .* seed and memory_mb of",
    ):
        radar(path, crop=0, samples_per_epoch=1.5, test_stride=True, seed=-1, memory_mb=0.5)


def test_an_archive_of_another_cadence_is_refused(path):
    with pytest.raises(
        UserError,
        match="a.nc has 60 frames, but a case needs 4 in a row every 10 min; the longest "
        "gap-free run is 1\\.",
    ):
        Radar(path, Task(3, 1, timestep=10), seed=0)
    with pytest.raises(
        UserError, match="needs 41 in a row every 5 min; the longest gap-free run is 40"
    ):
        Radar(path, Task(40, 1, timestep=5), seed=0)


def test_a_part_without_a_window_is_refused_with_what_it_holds(path):
    data = radar(path, test_from="2020-06-01T05:15")
    with pytest.raises(
        UserError,
        match="the test part of .*, 2020-06-01T05:15:00 to the end, has 3 frames, but a "
        "case needs 4 .* run is 3; change data",
    ):
        data.part("test")
    with pytest.raises(
        UserError, match="the train part of .*, the beginning to 2020-06-01T00:10:00, has 2 frames"
    ):
        radar(path, validation_from="2020-06-01T00:10").part("train")


def test_wrong_edges_and_wrong_parts_are_refused(path):
    with pytest.raises(UserError, match="data.test_from is 'soon'"):
        radar(path, test_from="soon")
    with pytest.raises(UserError, match="the part 'val' is unknown"):
        radar(path).part("val")


def test_a_case_beyond_the_last_is_an_index_error_so_that_loops_end(path):
    with pytest.raises(IndexError, match="the test part has cases 0 to 10, not 11"):
        radar(path).part("test").case(0, 11)
