import numpy as np
import pytest

from nowcast.data.radar_events import RadarEvents
from nowcast.errors import UserError
from nowcast.task import Task
from tests.factories import times, write_archive

TASK = Task(2, 1, 5)


@pytest.fixture
def archives(tmp_path):
    first = np.arange(6, dtype=np.float32)[:, None, None] * np.ones((6, 2, 3), np.float32)
    return [str(write_archive(tmp_path / "a.nc", first, (0, 5, 10, 15, 25, 30))), str(write_archive(tmp_path / "b.nc", 10 + first[:3, :, :2], (0, 5, 10)))]


def test_cases_are_the_complete_windows_of_every_archive_on_its_own_grid(archives):
    cases = RadarEvents(archives, TASK).part("test")
    assert len(cases) == 3  # two before the gap of the first archive, none after it, one of the second
    assert [cases.case(0, index)[:, 0, 0].tolist() for index in range(3)] == [[0, 1, 2], [1, 2, 3], [10, 11, 12]]
    assert [cases.source(index) for index in range(3)] == ["a", "a", "b"] and [cases.size_of(index) for index in range(3)] == [(2, 3), (2, 3), (2, 2)]
    assert cases.analysis_time(1) == times(10)[0] and cases.grid_of(2).shape == (2, 2)


def test_a_stride_counts_in_each_archive_anew_and_a_pattern_names_archives(archives):
    cases = RadarEvents(archives[0].replace("a.nc", "*.nc"), TASK, test_stride=2).part("test")
    assert [cases.case(0, index)[0, 0, 0] for index in range(len(cases))] == [0, 10]


def test_archives_of_one_name_or_none_are_refused(archives):
    for wrong in ([], [archives[0], archives[0]]):
        with pytest.raises(UserError, match="one or more archives with different file names are needed"):
            RadarEvents(wrong, TASK)
