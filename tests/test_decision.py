"""What is forecast from what: every pattern of missing frames has its outcome, and none of them is
a dry forecast.
"""

import itertools

import numpy as np
import pytest
from factories import grid, times

from nowcast.baselines.persistence import Persistence
from nowcast.forecasting import fallback
from nowcast.forecasting.decision import decide
from nowcast.forecasting.fallback import between, context_of, forecast_by
from nowcast.forecasting.forecaster import Forecaster
from nowcast.runtime.errors import MissingDependency
from nowcast.types.frames import Frames
from nowcast.types.task import Task
from nowcast.types.transform import Identity

NAN = np.nan
TASK = Task(4, 12, 5)
CYCLE = times(60)[0]


def decided(minutes, *, task=TASK, cycle=CYCLE, extrapolate=True, max_age=30, problems=None):
    usable = dict.fromkeys(times(*minutes))
    return decide(
        usable,
        cycle,
        task,
        max_age=np.timedelta64(max_age, "m"),
        problems=problems or {},
        can_extrapolate=extrapolate,
    )


def minutes(plan):
    return [int((time - times(0)[0]) / np.timedelta64(60, "s")) for time in plan.times]


def test_a_complete_context_is_the_networks_forecast_without_a_reason():
    plan, refusal = decided(range(0, 65, 5))
    assert (
        plan.method,
        minutes(plan),
        plan.filled,
        plan.forecast_length,
        plan.reason,
        refusal,
    ) == ("nowcast", [45, 50, 55, 60], (), 12, None, None)


def test_one_missing_frame_inside_the_context_is_filled_in_between_its_neighbours():
    plan, _ = decided([40, 45, 50, 60])
    assert (plan.method, minutes(plan), plan.forecast_length) == ("nowcast", [45, 50, 55, 60], 12)
    assert (
        plan.filled == tuple(times(55))
        and plan.reason
        == "the frame of 00:55 UTC did not come; it was filled in between its neighbours"
    )


def test_the_oldest_frame_of_a_context_is_filled_in_too_where_the_one_before_it_is_there():
    assert decided([40, 50, 55, 60])[0].filled == tuple(times(45))
    assert decided([50, 55, 60])[0].method == "extrapolation"


def test_a_missing_newest_frame_moves_the_analysis_back_and_makes_the_forecast_longer():
    plan, _ = decided([35, 40, 45, 50, 55], problems={times(60)[0]: "contains no observation"})
    assert (plan.method, minutes(plan), plan.forecast_length, plan.reason) == (
        "nowcast",
        [40, 45, 50, 55],
        13,
        "the frame of 01:00 UTC contains no observation",
    )
    assert decided([30, 35, 40, 45])[0].forecast_length == 15


def test_two_missing_frames_leave_extrapolation_from_the_two_newest_and_without_pysteps_persistence():
    plan, _ = decided([45, 60])
    assert (plan.method, minutes(plan)) == (
        "extrapolation",
        [45, 60],
    ) and plan.reason == "the frame of 00:50 UTC did not come; the frame of 00:55 UTC did not come"
    plan, _ = decided([45, 60], extrapolate=False)
    assert (plan.method, minutes(plan)) == ("persistence", [60])
    assert decided([60])[0].method == "persistence"


def test_frames_beside_the_timestep_show_no_motion():
    assert minutes(decided([43, 60])[0]) == [60]
    assert minutes(decided([24, 60])[0]) == [60]  # and those too old: seven steps are looked back


def test_nothing_younger_than_the_limit_is_no_forecast_and_says_why():
    plan, refusal = decided([20, 25, 29])
    assert (
        plan is None
        and refusal
        == "the frame of 01:00 UTC did not come, and the newest usable frame, of 00:29 UTC, is "
        "31 minutes older than that; at most 30 are accepted"
    )
    assert minutes(decided([20, 25, 30])[0]) == [25, 30]
    assert decided([]) == (None, "the frame of 01:00 UTC did not come, and no frame at all")
    assert (
        decided([65, 70])[1] == "the frame of 01:00 UTC did not come, and no frame at all"
    )  # later frames are no help


def test_a_cadence_shorter_than_the_timestep_still_finds_its_context():
    plan, _ = decided([0, 10, 15, 20, 25, 30, 35], task=Task(3, 6, 10), cycle=times(35)[0])
    assert minutes(plan) == [15, 25, 35]
    assert decided([5, 15, 25], task=Task(3, 6, 10), cycle=times(30)[0])[0].forecast_length == 7


@pytest.mark.parametrize("pattern", list(itertools.product([True, False], repeat=8)))
def test_every_pattern_of_missing_frames_has_one_rung_of_the_ladder(pattern):
    """The 256 patterns of the last eight frames: the rung is the one the module describes, found
    here another way.
    """
    present = [25 + 5 * index for index, there in enumerate(pattern) if there]
    plan, refusal = decided(present)
    if not present or max(present) < 30:
        assert plan is None and refusal
        return
    newest = max(present)
    context = [newest - 15, newest - 10, newest - 5, newest]
    absent = [minute for minute in context if minute not in present]
    fillable = len(absent) == 1 and absent[0] - 5 in present and absent[0] + 5 in present
    assert plan.analysis_time == times(newest)[0]
    assert plan.method == (
        "nowcast"
        if not absent or fillable
        else "extrapolation"
        if len(present) > 1
        else "persistence"
    )
    assert (plan.reason is None) == (present[-4:] == [45, 50, 55, 60])
    assert (
        newest + 5 * plan.forecast_length == 120
    )  # the forecast always ends an hour after the cycle


def frames(minutes, values):
    return {
        time: Frames(
            np.float32([field]), [time], grid(*np.shape(field)), f"{time}.h5", "rain depth in 5 min"
        )
        for time, field in zip(times(*minutes), values)
    }


@pytest.fixture
def no_pysteps(monkeypatch):
    def missing():
        raise MissingDependency("no pysteps here")

    monkeypatch.setattr(fallback, "load_pysteps", missing)


def test_without_motion_a_field_between_two_is_their_mean_and_what_one_of_them_has(no_pysteps):
    np.testing.assert_array_equal(
        between(np.float32([[0, 2, NAN, NAN]]), np.float32([[0, 4, 7, NAN]])),
        np.float32([[0, 3, 7, NAN]]),
    )


def test_with_motion_rain_in_between_lies_half_way():
    pytest.importorskip("cv2")
    pytest.importorskip("pysteps")
    y, x = np.mgrid[:80, :80]
    blobs = (
        sum(
            np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 18)
            for cx, cy in ((20, 20), (45, 30), (25, 55), (55, 60))
        ).astype(np.float32)
        * 10
    )
    before, after, truth = blobs, np.roll(blobs, 8, axis=1), np.roll(blobs, 4, axis=1)
    middle = between(before, after)
    inner = np.s_[10:70, 15:65]
    assert (
        np.abs(middle - truth)[inner].mean()
        < 0.35 * np.abs((before + after) / 2 - truth)[inner].mean()
    )


def test_a_context_holds_the_frames_of_the_plan_and_the_filled_one(no_pysteps):
    plan, _ = decided([40, 45, 50, 60])
    there = frames([40, 45, 50, 60], [[[0, 1]], [[2, NAN]], [[4, NAN]], [[8, 6]]])
    context = context_of(plan, there, TASK)
    np.testing.assert_array_equal(
        context.values, np.float32([[[2, NAN]], [[4, NAN]], [[6, 6]], [[8, 6]]])
    )
    assert (
        list(context.times) == list(times(45, 50, 55, 60))
        and context.quantity == "rain depth in 5 min"
    )


def test_persistence_repeats_the_newest_frame_and_keeps_missing_missing():
    plan, _ = decided([60])
    there = frames([60], [[[0, 1.5, NAN]]])
    forecast = forecast_by(
        plan, context_of(plan, there, TASK), Forecaster(Persistence(), Identity(), TASK)
    )
    assert forecast.values.shape == (12, 1, 3) and forecast.analysis_time == CYCLE
    for field in forecast.values:
        np.testing.assert_array_equal(field, np.float32([[0, 1.5, NAN]]))


def test_extrapolation_from_frames_that_are_two_steps_apart_moves_half_as_far_in_a_step():
    pytest.importorskip("cv2")
    pytest.importorskip("pysteps")
    y, x = np.mgrid[:80, :80]
    blobs = (
        sum(
            np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 18)
            for cx, cy in ((20, 20), (35, 30), (25, 55), (40, 60))
        ).astype(np.float32)
        * 10
    )
    plan, _ = decided([50, 60])
    forecast = forecast_by(
        plan,
        context_of(plan, frames([50, 60], [blobs, np.roll(blobs, 6, axis=1)]), TASK),
        Forecaster(Persistence(), Identity(), TASK),
    )
    expected = np.roll(blobs, 6 + 3 * 2, axis=1)  # three pixels a step, two steps on
    inner = np.s_[10:70, 25:70]
    assert (
        np.nanmean(np.abs(forecast.values[1] - expected)[inner])
        < 0.3 * np.abs(np.roll(blobs, 6, axis=1) - expected)[inner].mean()
    )


def test_extrapolation_of_a_dry_context_is_dry_where_it_was_observed():
    pytest.importorskip("cv2")
    pytest.importorskip("pysteps")
    plan, _ = decided([50, 60])
    dry = np.zeros((40, 40))
    dry[:, 30:] = NAN
    values = forecast_by(
        plan,
        context_of(plan, frames([50, 60], [dry, dry]), TASK),
        Forecaster(Persistence(), Identity(), TASK),
    ).values
    assert (values[:, :, :29] == 0).all() and np.isnan(values[:, :, 31:]).all()
