from pathlib import Path

import numpy as np
import pytest

from nowcast.data.radar_events import RadarEvents
from nowcast.runtime.errors import UserError
from nowcast.types.task import Task
from tests.factories import times, write_archive

TASK = Task(2, 1, 5)


@pytest.fixture
def archives(tmp_path):
    first = np.arange(6, dtype=np.float32)[:, None, None] * np.ones((6, 2, 3), np.float32)
    return [
        str(write_archive(tmp_path / "a.nc", first, (0, 5, 10, 15, 25, 30))),
        str(write_archive(tmp_path / "b.nc", 10 + first[:3, :, :2], (0, 5, 10))),
    ]


def test_cases_are_the_complete_windows_of_every_archive_on_its_own_grid(archives):
    cases = RadarEvents(archives, TASK).part("test")
    assert (
        len(cases) == 3
    )  # two before the gap of the first archive, none after it, one of the second
    assert [cases.case(0, index)[:, 0, 0].tolist() for index in range(3)] == [
        [0, 1, 2],
        [1, 2, 3],
        [10, 11, 12],
    ]
    assert [cases.source(index) for index in range(3)] == ["a", "a", "b"] and [
        cases.size_of(index) for index in range(3)
    ] == [(2, 3), (2, 3), (2, 2)]
    assert cases.analysis_time(1) == times(10)[0] and cases.grid_of(2).shape == (2, 2)


def test_a_stride_counts_in_each_archive_anew_and_a_pattern_names_archives(archives):
    cases = RadarEvents(archives[0].replace("a.nc", "*.nc"), TASK, test_stride=2).part("test")
    assert [cases.case(0, index)[0, 0, 0] for index in range(len(cases))] == [0, 10]
    typed = RadarEvents(f"[{archives[1]}, '{archives[0]}']", TASK).part(
        "test"
    )  # as a list on the terminal
    assert [typed.source(index) for index in range(3)] == ["b", "a", "a"]


def test_archives_of_one_name_or_none_are_refused(archives):
    for wrong in ([], [archives[0], archives[0]]):
        with pytest.raises(
            UserError, match="one or more archives with different file names are needed"
        ):
            RadarEvents(wrong, TASK)


def test_an_archive_of_another_cadence_is_refused_with_the_setting_that_takes_it(tmp_path):
    path = write_archive(tmp_path / "six.nc", np.ones((4, 2, 3)), (0, 6, 12, 18))
    with pytest.raises(
        UserError, match=r"come every 6 min: set task\.timestep=6, or leave it out\.$"
    ):
        RadarEvents([str(path)], TASK)
    assert len(RadarEvents([str(path)], Task(2, 1, 6)).part("test")) == 2


def test_events_are_split_by_name_and_crops_come_from_them_in_turn(archives):
    events = RadarEvents(archives, TASK, seed=3, test=["b"], crop=2, samples_per_epoch=5)
    assert [events.part("test").source(index) for index in range(len(events.part("test")))] == ["b"]
    train = events.part("train")
    assert len(train) == 5 and {train.source(index) for index in range(5)} == {"a"}
    assert all(
        train.case(epoch, index).shape == (3, 2, 2) and train.case(epoch, index)[0, 0, 0] in (0, 1)
        for epoch in range(2)
        for index in range(5)
    )
    assert train.scale(0, 0)[0] == 5 and train.size_of(0) == (2, 2)
    with pytest.raises(UserError, match="has no event for the validation part"):
        events.part("validation")
    turns = RadarEvents([*archives, write_again(archives[0])], TASK, test=["b"], crop=2).part(
        "train"
    )
    assert [turns.source(index) for index in range(4)] == ["a", "c", "a", "c"] and turns.case(0, 1)[
        0, 0, 0
    ] >= 20
    assert (
        len(
            RadarEvents(
                archives, TASK, test=["a"], validation=["b"], crop=2, validation_samples=7
            ).part("validation")
        )
        == 7
    )


def write_again(path):
    values = 20 + np.arange(4, dtype=np.float32)[:, None, None] * np.ones((4, 2, 3), np.float32)
    return str(write_archive(Path(path).with_name("c.nc"), values, (0, 5, 10, 15)))


def test_a_split_that_cannot_be_is_refused(archives):
    with pytest.raises(
        UserError,
        match="data.test names x; different ones of a, b are needed, each without folder and ending",
    ):
        RadarEvents(archives, TASK, test=["x"])
    with pytest.raises(
        UserError, match="a is in data.test and in data.validation; an event can be in one of them"
    ):
        RadarEvents(archives, TASK, test=["a"], validation=["a"])
    with pytest.raises(
        UserError, match="crops of 3 from several grids need that many on each side"
    ):
        RadarEvents(archives, TASK, test=["b"], crop=3).part("train")
    with pytest.raises(
        UserError, match="has no event for the train part; parts are train, validation, test"
    ):
        RadarEvents(archives, TASK).part("train")
