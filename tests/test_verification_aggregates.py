"""Scores of accumulations and of means in boxes, by hand and by other libraries."""

import numpy as np
import pytest

from nowcast.evaluation.statistics.aggregates import (
    Aggregation,
    accumulated,
    aggregations_of,
    box_means,
)
from nowcast.evaluation.statistics.rain import RainScores
from nowcast.evaluation.statistics.sums import ScoreKey
from nowcast.runtime.errors import UserError

NAN = np.nan


def aggregated(members, mean, observation, *, timestep=30.0, spacing=2.0, **settings):
    """Scores by lead and over all of members (M, T, H, W), a mean and an observation (T, H, W)."""
    statistic = RainScores((1.0,), pools=(), **settings)
    count = 1 if members is None else len(members)
    scores = statistic.aggregates(count)
    sums = scores.sums(len(observation))
    sums.add(
        np.asarray(mean, np.float32)[None],
        None if members is None else np.asarray(members, np.float32)[None],
        np.asarray(observation, np.float32)[None],
        timestep=timestep,
        spacing=spacing,
    )
    return scores.scored(sums.totals(), len(observation), timestep)


def made_up(members=6, leads=4, side=9, seed=0):
    random = np.random.default_rng(seed)
    observation = random.gamma(0.6, 4, (leads, side, side)).astype(np.float32)
    noise = random.gamma(0.6, 4, (members, leads, side, side))
    return (0.6 * observation + 0.4 * noise).astype(np.float32), observation


def test_rates_of_6_and_2_mm_per_hour_over_half_an_hour_each_are_4_mm():
    rates = np.array([6, 2, 100.0], np.float32)[:, None, None]
    assert accumulated(rates, 2, 30.0).tolist() == [[[4.0]]]


def test_a_box_is_known_where_at_least_half_of_its_pixels_are_and_its_mean_is_theirs():
    field = np.array([[1, 3, 8, NAN], [5, NAN, NAN, NAN]], np.float32)
    found = box_means(field, ~np.isnan(field), 2)
    assert found[0, 0] == 3 and np.isnan(found[0, 1])
    half = np.array([[1, NAN], [NAN, 5]], np.float32)
    assert box_means(half, ~np.isnan(half), 2).tolist() == [[3.0]]


def test_boxes_that_an_edge_cuts_are_left_out():
    assert box_means(np.ones((7, 5), np.float32), np.ones((7, 5), bool), 3).shape == (2, 1)


def test_the_width_of_a_box_is_the_nearest_number_of_pixels():
    box = Aggregation(box=16.0)
    assert [box.width(spacing) for spacing in (1.0, 0.6, 3.75, 10.0, 40.0)] == [16, 27, 4, 2, 0]


@pytest.mark.parametrize(
    "timestep, length, leads", [(5, 12, 12), (5, 24, 12), (5, 6, 0), (7, 24, 0), (7.5, 8, 8)]
)
def test_an_accumulation_needs_lead_times_that_end_where_it_does(timestep, length, leads):
    assert Aggregation(minutes=60.0).leads(length, timestep) == leads


def test_accumulations_come_by_pixel_and_in_every_box_and_rates_in_boxes_alone():
    assert [str(one) for one in aggregations_of((60.0,), (16.0, 32.0))] == [
        "sum60",
        "sum60_box16",
        "sum60_box32",
        "box16",
        "box32",
    ]


def test_forecast_and_observation_are_means_over_the_same_pixels_of_a_box():
    # of the first box two pixels are known, where 1 was forecast and 4 observed; what is forecast
    # at the others does not count
    mean = np.array([[[1, 1, 5, 5], [99, 99, 5, 5]]])
    observation = np.array([[[4, 4, 5, 5], [NAN, NAN, 5, 5]]])
    found = aggregated(None, mean, observation, spacing=8.0, boxes=(16,))
    assert found[ScoreKey("mae", box=16.0)].tolist() == [1.5, 1.5]
    assert found[ScoreKey("mse", box=16.0)].tolist() == [4.5, 4.5]
    assert found[ScoreKey("mean_error", box=16.0)].tolist() == [-1.5, -1.5]


def test_a_pixel_whose_rate_is_missing_at_one_lead_has_no_accumulation():
    mean = np.array([[[2.0, 2.0]], [[4.0, 4.0]]])
    observation = np.array([[[2.0, 2.0]], [[NAN, 2.0]]])
    found = aggregated(None, mean, observation, accumulations=(60,))
    # 3 mm forecast, 2 mm observed in the pixel that is left
    assert found[ScoreKey("mae", accumulation=60.0)][-1] == 1.0


def test_the_crps_of_a_single_field_is_its_absolute_error_and_it_has_no_spread():
    members, observation = made_up()
    found = aggregated(None, members[0], observation, accumulations=(60,), boxes=(6,))
    for key, value in found.items():
        if key.score == "crps":
            np.testing.assert_allclose(value, found[key._replace(score="mae")], rtol=1e-6)
    assert not {"spread", "spread_skill", "crps_fair"} & {key.score for key in found}


def test_an_accumulation_stands_at_the_lead_where_it_ends_and_over_all():
    members, observation = made_up()
    value = aggregated(members, members.mean(0), observation, accumulations=(60,))[
        ScoreKey("crps", accumulation=60.0)
    ]
    assert np.isnan(value[[0, 2, 3]]).all() and value[1] == value[4] > 0
    assert not aggregated(members, members.mean(0), observation, accumulations=(45,))


def test_crps_of_accumulations_in_boxes_is_that_of_pysteps_of_sums_and_means_by_hand():
    theirs = pytest.importorskip("pysteps.verification.probscores")
    members, observation = made_up()
    found = aggregated(
        members, members.mean(0), observation, accumulations=(60,), boxes=(6,), spacing=2.0
    )

    def by_hand(rates):
        total = rates[..., :2, :, :].sum(-3) / 2
        return total.reshape(*total.shape[:-2], 3, 3, 3, 3).mean((-3, -1))

    x, y = by_hand(members.astype(float)), by_hand(observation.astype(float))
    key = ScoreKey("crps", box=6.0, accumulation=60.0)
    assert found[key][-1] == pytest.approx(theirs.CRPS(x.reshape(6, -1), y.reshape(-1)), rel=1e-5)
    median = np.median(x, axis=0)
    assert found[key._replace(score="mae")][-1] == pytest.approx(
        np.abs(median - y).mean(), rel=1e-5
    )
    assert found[key._replace(score="mse")][-1] == pytest.approx(
        ((x.mean(0) - y) ** 2).mean(), rel=1e-5
    )


def test_spread_and_skill_of_box_rates_are_those_of_the_scores_package_lead_by_lead():
    probability = pytest.importorskip("scores.probability")
    xarray = pytest.importorskip("xarray")
    members, observation = made_up(leads=2)
    found = aggregated(members, members.mean(0), observation, boxes=(6,))
    x = members.reshape(6, 2, 3, 3, 3, 3).mean((3, 5))
    y = observation.reshape(2, 3, 3, 3, 3).mean((2, 4))
    expected = probability.crps_for_ensemble(
        xarray.DataArray(x, dims=["member", "lead", "y", "x"]),
        xarray.DataArray(y, dims=["lead", "y", "x"]),
        "member",
        preserve_dims="lead",
    )
    np.testing.assert_allclose(found[ScoreKey("crps", box=6.0)][:2], expected, rtol=1e-5)
    spread = np.sqrt(x.var(0, ddof=1).mean((1, 2)) * 7 / 6)
    rmse = np.sqrt(((x.mean(0) - y) ** 2).mean((1, 2)))
    ratio = found[ScoreKey("spread_skill", box=6.0)]
    np.testing.assert_allclose(ratio[:2], spread / rmse, rtol=1e-5)
    assert ratio[2] == pytest.approx(ratio[:2].mean())


def test_the_brier_score_of_a_sum_is_that_of_the_members_that_reach_it():
    members, observation = made_up()
    found = aggregated(
        members, members.mean(0), observation, accumulations=(60,), accumulation_thresholds=(2,)
    )
    x, y = (rates[..., :2, :, :].sum(-3) / 2 for rates in (members, observation))
    expected = (((x >= 2).mean(0) - (y >= 2)) ** 2).mean()
    assert found[ScoreKey("brier", 2.0, accumulation=60.0)][-1] == pytest.approx(expected)


def test_sums_of_two_cases_are_added_and_other_boxes_are_refused():
    members, observation = made_up()
    scores = RainScores((1.0,), boxes=(6,)).aggregates(6)

    def of(cases):
        sums = scores.sums(4)
        many = (cases, *(1,) * 3)
        sums.add(
            np.tile(members.mean(0), many),
            np.tile(members, (cases, *(1,) * 4)),
            np.tile(observation, many),
            timestep=5.0,
            spacing=2.0,
        )
        return sums

    twice, both = of(2).totals(), (of(1) + of(1)).totals()
    for name, array in twice.items():
        np.testing.assert_allclose(array, both[name])
    other = RainScores((1.0,), boxes=(8,)).aggregates(6).sums(4)
    with pytest.raises(
        UserError, match="sums of box6 cannot be added to sums of box8; verify both"
    ):
        of(1) + other


def test_grids_smaller_than_a_box_and_pixels_larger_than_two_count_nowhere():
    members, observation = made_up()
    for spacing in (1.0, 40.0):
        found = aggregated(members, members.mean(0), observation, boxes=(16,), spacing=spacing)
        assert np.isnan(found[ScoreKey("crps", box=16.0)]).all()


@pytest.mark.parametrize(
    "setting, given, words",
    [
        ("boxes", [32, 16], "boxes is .*; give kilometres above 0 and below 10000, ascending"),
        ("accumulations", [0], "accumulations is .*; give minutes above 0"),
        ("accumulations", "60", "accumulations is '60'; give minutes"),
        ("cost_loss", [0.5, 1], "cost_loss is .*; give cost-loss ratios above 0 and below 1,"),
        ("accumulation_thresholds", [], "accumulation_thresholds are .*; give one or more"),
        ("accumulation_thresholds", [5, 1], "positive accumulations in mm, ascending"),
    ],
)
def test_settings_that_are_no_ascending_sizes_are_refused(setting, given, words):
    with pytest.raises(UserError, match=words):
        RainScores((1.0,), **{setting: given})
