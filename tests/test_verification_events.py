"""Every score of events, by hand and by other libraries."""

import numpy as np
import pytest
import xarray

from nowcast.evaluation.statistics import scores
from nowcast.evaluation.statistics.balanced import pixel_scale
from nowcast.evaluation.statistics.events import event_scores
from nowcast.evaluation.statistics.rain import RainScores
from nowcast.evaluation.statistics.sums import ScoreKey
from tests.factories import scored_rows

H, M, F, R = 30, 10, 20, 140


def test_the_scores_of_a_table_are_those_worked_by_hand():
    found = {
        key.score: float(value)
        for key, value in event_scores(*map(np.array, (H, M, F, H + M + F + R)), 1.0).items()
    }
    assert (
        found["csi"] == 30 / 60
        and found["pod"] == 30 / 40
        and found["far"] == 20 / 50
        and found["success_ratio"] == 30 / 50
    )
    assert (
        found["accuracy"] == 170 / 200
        and found["f1"] == 60 / 90
        and found["frequency_bias"] == 50 / 40
    )
    assert found["peirce"] == pytest.approx(30 / 40 - 20 / 160)
    chance = 40 * 50 / 200
    assert found["ets"] == pytest.approx((30 - chance) / (60 - chance))
    assert found["hss"] == pytest.approx(2 * found["ets"] / (1 + found["ets"]))
    assert [found[name] for name in ("hits", "misses", "false_alarms", "correct_negatives")] == [
        30,
        10,
        20,
        140,
    ]


def test_sedi_is_one_for_a_perfect_limit_zero_for_chance_and_undefined_without_misses():
    assert scores.sedi(10, 10, 10, 10) == pytest.approx(0)  # POD = POFD
    pod, pofd = 30 / 40, 20 / 160
    logs = np.log([pofd, pod, 1 - pofd, 1 - pod])
    assert scores.sedi(H, M, F, R) == pytest.approx(
        (logs[0] - logs[1] - logs[2] + logs[3]) / logs.sum()
    )
    assert np.isnan(scores.sedi(10, 0, 1, 10)) and np.isnan(scores.sedi(0, 0, 0, 5))


def test_the_scores_agree_with_pysteps():
    pysteps = pytest.importorskip("pysteps.verification.detcatscores")
    rng = np.random.default_rng(0)
    forecast, observation = (rng.gamma(0.4, 4, (60, 70)).astype(np.float32) for _ in range(2))
    forecast = 0.5 * forecast + 0.5 * observation
    statistic = RainScores((1.0,), pools=())
    sums = statistic.of(forecast[None, None], observation[None, None])
    ours = {row.score: row.value for row in scored_rows(statistic, sums) if row.lead == 1}
    oracle = pysteps.det_cat_fct(forecast, observation, np.nextafter(np.float32(1), np.float32(0)))
    for name, theirs in (
        ("accuracy", "ACC"),
        ("csi", "CSI"),
        ("far", "FAR"),
        ("pod", "POD"),
        ("ets", "GSS"),
        ("peirce", "HK"),
        ("hss", "HSS"),
        ("sedi", "SEDI"),
        ("f1", "F1"),
        ("frequency_bias", "BIAS"),
    ):
        assert ours[name] == pytest.approx(oracle[theirs], rel=1e-6), name


def test_the_scores_agree_with_the_library_scores():
    categorical = pytest.importorskip("scores.categorical")
    counts = {
        "tp_count": H,
        "fn_count": M,
        "fp_count": F,
        "tn_count": R,
        "total_count": H + M + F + R,
    }
    contingency = categorical.BasicContingencyManager(
        {name: xarray.DataArray(float(count)) for name, count in counts.items()}
    )
    ours = {
        key.score: float(value)
        for key, value in event_scores(*map(np.array, (H, M, F, H + M + F + R)), 1.0).items()
    }
    for name, theirs in (
        ("csi", "critical_success_index"),
        ("ets", "gilberts_skill_score"),
        ("peirce", "peirce_skill_score"),
        ("hss", "heidke_skill_score"),
        ("sedi", "symmetric_extremal_dependence_index"),
        ("f1", "f1_score"),
        ("accuracy", "accuracy"),
        ("frequency_bias", "frequency_bias"),
    ):
        assert ours[name] == pytest.approx(float(getattr(contingency, theirs)())), name


def added(forecast, observation, **settings):
    """(score, threshold, window) -> value at lead 1, of single fields (H, W)."""
    statistic = RainScores(**settings)
    fields = (np.asarray(field, np.float32)[None, None] for field in (forecast, observation))
    return {
        row[:3]: row.value for row in scored_rows(statistic, statistic.of(*fields)) if row.lead == 1
    }


def test_root_mean_square_and_mean_error_are_those_of_the_pixels():
    found = added([[1, 5, np.nan]], [[2, 2, 9]], thresholds=(1.0,), pools=())
    assert found["mean_error", None, None] == (-1 + 3) / 2 and found["rmse", None, None] == np.sqrt(
        (1 + 9) / 2
    )


def test_a_random_forecast_has_the_fss_of_the_share_of_events_and_half_way_up_it_is_useful():
    found = added(np.zeros((4, 5)), np.eye(4, 5), thresholds=(1.0,), windows=(3,), pools=())
    assert (
        found["fss_random", 1.0, None] == 4 / 20 and found["fss_useful", 1.0, None] == 0.5 + 2 / 20
    )


def test_the_largest_of_each_block_is_an_event_missing_pixels_and_rests_are_out():
    nan = np.nan
    forecast = [[0, 3, 0, 0, 9], [0, 0, 0, 0, 9], [nan, 0, 5, 0, 9], [nan, nan, 0, 0, 9]]
    observation = [[0, 0, 0, 0, 0], [2, 0, 0, 1, 0], [8, 0, nan, 0, 0], [0, 0, 0, 0, 0]]
    found = added(forecast, observation, thresholds=(1.0, 4.0), pools=(2, 4))
    # blocks of 2: a hit, a miss; below, the 8 is missing in the forecast and the 5 in the
    # observation: two correct negatives
    assert [
        found[name, 1.0, 2] for name in ("hits", "misses", "false_alarms", "correct_negatives")
    ] == [1, 1, 0, 2]
    assert (
        found["csi", 1.0, 2] == 1 / 2
        and found["csi", 1.0, 4] == 1
        and found["correct_negatives", 4.0, 4] == 1
    )
    found = added(np.full((2, 2), nan), np.ones((2, 2)), thresholds=(1.0,), pools=(2,))
    assert found["hits", 1.0, 2] + found["misses", 1.0, 2] + found["correct_negatives", 1.0, 2] == 0


def test_blocks_are_those_of_max_pool2d():
    import torch

    rng = np.random.default_rng(1)
    forecast, observation = (rng.gamma(0.1, 4, (37, 50)).astype(np.float32) for _ in range(2))
    found = added(forecast, observation, thresholds=(2.0,), pools=(3, 4, 8))
    for pool in (3, 4, 8):
        f, o = (
            torch.nn.functional.max_pool2d(torch.from_numpy(field)[None], pool)[0].numpy() >= 2
            for field in (forecast, observation)
        )
        assert found["csi", 2.0, pool] == (f & o).sum() / (f | o).sum()


def test_b_mse_and_b_mae_weigh_by_the_truth_on_the_scale_of_pixels():
    """The truth is 3 mm/h (weight 2) where 40 (no weight of its own) is forecast; 50 mm/h (weight
    30) where 6 is; dry (weight 1) where 1 is.
    """

    def pixel(rate):
        return (10 * np.log10(58.53 * rate**1.56) + 10) / 70

    errors = np.array([abs(pixel(40) - pixel(3)), abs(pixel(6) - pixel(50)), pixel(1)])
    found = added([[40, 6, 1, np.nan]], [[3, 50, 0, 9]], thresholds=(1.0,), pools=())
    assert found["b_mae", None, None] == pytest.approx(
        (np.array([2, 30, 1]) * errors).sum(), rel=1e-5
    )
    assert found["b_mse", None, None] == pytest.approx(
        (np.array([2, 30, 1]) * errors**2).sum(), rel=1e-5
    )


@pytest.mark.parametrize(
    ("rate", "weight"),
    [(1.99, 1), (2.0, 2), (4.99, 2), (5.0, 5), (10.0, 10), (29.9, 10), (30.0, 30)],
)
def test_a_rate_on_a_step_has_the_higher_weight(rate, weight):
    found = added([[0]], [[rate]], thresholds=(1.0,), pools=())
    assert found["b_mae", None, None] == pytest.approx(
        weight * pixel_scale(np.float32(rate)), rel=1e-5
    )


def test_balanced_errors_are_sums_over_a_frame_and_means_over_frames():
    statistic = RainScores((1.0,), pools=())
    sums = statistic.sums(1)
    for pixels in (1, 3):
        sums.add(np.zeros((1, 1, 1, pixels), np.float32), np.full((1, 1, 1, pixels), 6, np.float32))
    sums.add(
        np.full((1, 1, 1, 2), np.nan, np.float32), np.full((1, 1, 1, 2), 6, np.float32)
    )  # a frame without a pixel is none
    value = next(row.value for row in scored_rows(statistic, sums.totals()) if row.score == "b_mae")
    assert value == pytest.approx(2 * 5 * pixel_scale(np.float32(6)), rel=1e-5)


def test_scores_of_many_draws_at_once_are_those_of_each():
    settings = RainScores((0.5, 2.0), windows=(3,), pools=(2,), sal=True, spectra=True)
    rng = np.random.default_rng(2)
    found = []
    for _ in range(3):
        sums = settings.sums(2)
        sums.add(*(rng.gamma(0.5, 2, (1, 2, 12, 16)).astype(np.float32) for _ in range(2)))
        found.append(sums)
    together = {name: np.stack([one.totals()[name] for one in found]) for name in found[0].totals()}
    values = settings.sums(2).values(together)
    assert {"pools", "fractions", "structure", "spectra", "balanced", "pixels"} == set(
        found[0].parts
    )
    for number, one in enumerate(found):
        for key, by_lead in one.values(one.totals()).items():
            np.testing.assert_allclose(values[key][number], by_lead, rtol=1e-12, err_msg=str(key))
    whole = found[0] + found[1]
    for name, array in whole.totals().items():
        np.testing.assert_allclose(array, together[name][:2].sum(0), rtol=1e-12)
    assert ScoreKey("sal_location") in values


@pytest.mark.parametrize("pools", [[1], [0], [4, 2], [4.0], ["4"], 4, [2000]])
def test_pools_that_are_no_ascending_widths_are_refused(pools):
    with pytest.raises(
        ValueError, match="pools are .*; give widths in whole pixels from 2 to 1000, ascending"
    ):
        RainScores((1.0,), pools=pools)
