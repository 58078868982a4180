"""Windows come from timestamps: no gap and no edge of a split is ever crossed."""

import numpy as np
import pytest
from factories import times

from nowcast.data.cadence import usual_step, without_twins
from nowcast.data.windows import TimeSplit, longest_run, window_starts
from nowcast.runtime.errors import UserError
from nowcast.types.task import Task
from nowcast.types.tolerance import Tolerance

FOUR = Task(context_length=2, forecast_length=2, timestep=5)


def test_ten_frames_in_a_row_hold_seven_windows_of_four():
    assert list(window_starts(times(*range(0, 50, 5)), FOUR)) == [0, 1, 2, 3, 4, 5, 6]


def test_a_window_never_crosses_a_gap():
    moments = times(0, 5, 10, 15, 20, 30, 35, 40, 45)  # 25 is missing
    assert list(window_starts(moments, FOUR)) == [0, 1, 5]


def test_a_frame_between_two_regular_ones_breaks_the_window_like_a_gap():
    assert list(window_starts(times(0, 5, 10, 12, 15, 20, 25, 30), FOUR)) == [4]


def test_frames_every_10_minutes_hold_no_window_of_5_minutes_but_one_of_10():
    moments = times(0, 10, 20, 30)
    assert list(window_starts(moments, FOUR)) == []
    assert list(window_starts(moments, Task(2, 2, timestep=10))) == [0]


def test_fewer_frames_than_a_window_hold_none():
    assert [len(window_starts(times(*range(0, 5 * n, 5)), FOUR)) for n in (0, 1, 3, 4)] == [
        0,
        0,
        0,
        1,
    ]


def test_a_window_starts_at_the_start_or_later_and_ends_before_the_end():
    moments = times(*range(0, 50, 5))
    assert list(window_starts(moments, FOUR, start=times(10)[0], end=times(35)[0])) == [
        2,
        3,
    ]  # 10 to 25, 15 to 30


def test_random_gaps_give_the_windows_of_a_frame_by_frame_search():
    generator = np.random.default_rng(1)
    minutes = np.flatnonzero(generator.random(300) < 0.8) * 5
    moments, present = times(*minutes), set(minutes.tolist())
    expected = [
        i
        for i, m in enumerate(minutes)
        if all(m + 5 * k in present for k in range(4)) and m >= 200 and m + 15 < 1200
    ]
    assert list(window_starts(moments, FOUR, start=times(200)[0], end=times(1200)[0])) == expected
    assert len(expected) > 50


def test_the_longest_run_is_counted_in_frames():
    five = np.timedelta64(300, "s")
    assert longest_run(times(0, 5, 10, 20, 25, 30, 35, 50), five) == 4
    assert [longest_run(times(*range(0, 5 * n, 5)), five) for n in (0, 1, 2)] == [0, 1, 2]


def test_the_default_split_is_at_60_and_80_percent_of_the_period_on_a_frame_time():
    moments = times(*range(0, 505, 5))  # 0 to 500 minutes: edges at 300 and 400
    assert [TimeSplit().interval(part, moments) for part in ("train", "validation", "test")] == [
        (None, times(300)[0]),
        (times(300)[0], times(400)[0]),
        (times(400)[0], None),
    ]


def test_a_share_between_two_frames_goes_to_the_nearer_one():
    assert TimeSplit().interval("validation", times(0, 50, 63, 78, 100)) == (
        times(63)[0],
        times(78)[0],
    )


def test_the_three_parts_share_no_frame_and_no_window_crosses_an_edge():
    moments = times(*range(0, 500, 5))
    split = TimeSplit(validation_from="2020-06-01T02:00", test_from="2020-06-01T05:00")
    used = []
    for part in ("train", "validation", "test"):
        start, end = split.interval(part, moments)
        used.append(
            {
                frame
                for first in window_starts(moments, FOUR, start=start, end=end)
                for frame in range(first, first + 4)
            }
        )
    assert [(min(frames), max(frames)) for frames in used] == [(0, 23), (24, 59), (60, 99)]


def test_a_time_with_an_offset_is_brought_to_utc():
    split = TimeSplit("2020-06-01T02:00+02:00", "2020-06-01T01:00Z")
    assert split.interval("validation", times(0, 100)) == (times(0)[0], times(60)[0])


@pytest.mark.parametrize("wrong", ["yesterday", 2020, "2020-13-01"])
def test_a_time_that_is_none_is_refused(wrong):
    with pytest.raises(
        UserError,
        match=f"data.test_from is {wrong!r}; a UTC time such as 2020-06-01T00:00 is needed",
    ):
        TimeSplit(test_from=wrong)


def test_edges_in_the_wrong_order_are_refused():
    with pytest.raises(
        UserError, match="data.validation_from 2020-06-02 is after data.test_from 2020-06-01"
    ):
        TimeSplit(validation_from="2020-06-02", test_from="2020-06-01")


def test_an_edge_on_the_wrong_side_of_the_others_default_is_refused():
    with pytest.raises(
        UserError,
        match="validation would start at 2020-06-01T01:00:00, after the test at "
        "2020-06-01T00:20:00; set both",
    ):
        TimeSplit(test_from="2020-06-01T00:20").interval("train", times(*range(0, 105, 5)))


def test_an_unknown_part_is_refused():
    with pytest.raises(
        UserError, match="the part 'val' is unknown; accepted are train, validation, test"
    ):
        TimeSplit().interval("val", times(0, 5))


# several frames of one time

SECOND = np.timedelta64(1, "s")


@pytest.mark.parametrize("step", [120, 300, 600, 900])
def test_of_frames_that_are_meant_for_one_time_the_nearest_is_used_and_the_step_stays(step):
    for seed in range(30):
        generator = np.random.default_rng(seed)
        slots = np.flatnonzero(generator.random(40) < 0.9)
        regular = times(0)[0] + slots * step * SECOND
        chosen = generator.choice(len(slots), 8, replace=False)
        twins = regular[chosen] + generator.choice([-14, -7, -1, 1, 3, 8, 15], 8) * SECOND
        both = np.unique(np.concatenate([regular, twins]))
        assert usual_step(both) == step * SECOND
        np.testing.assert_array_equal(both[without_twins(both, step * SECOND)], regular)
        newest = both[-3:]
        if (np.diff(newest) <= 30 * SECOND).any() and (np.diff(newest) > 30 * SECOND).any():
            assert usual_step(newest) in np.diff(regular[-3:])


def test_frames_without_twins_all_stay_whatever_their_step():
    for step in (5, 10, 20, 30, 60, 120, 300):
        regular = times(0)[0] + np.delete(np.arange(30), [7, 20]) * step * SECOND
        assert len(without_twins(regular, step * SECOND)) == 28
        assert step < 60 or usual_step(regular) == step * SECOND
    late = (
        times(0, 5, 10, 15) + np.array([0, 0, 20, 0]) * SECOND
    )  # alone at its time: nothing is nearer
    assert list(without_twins(late, 300 * SECOND)) == [0, 1, 2, 3]
    pair = np.sort(np.append(times(0, 5, 10, 15), times(10) + 7 * SECOND))
    assert list(without_twins(pair, 300 * SECOND)) == [0, 1, 2, 4] and list(
        without_twins(pair, None)
    ) == [0, 1, 2, 3, 4]
    assert len(without_twins(pair, 300 * SECOND, Tolerance(seconds=0))) == 5
