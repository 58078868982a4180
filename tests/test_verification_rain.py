import math
import pickle

import numpy as np
import pytest

from nowcast.evaluation.statistics import scores
from nowcast.evaluation.statistics.pixels import PixelSums
from nowcast.evaluation.statistics.rain import RainScores
from nowcast.runtime.errors import UserError
from tests.factories import scored_rows

COUNTS = ("hits", "misses", "false_alarms", "correct_negatives")


def fields(*values):
    """One case with one lead and one row of pixels, (1, 1, 1, W)."""
    return np.array(values, np.float32)[None, None, None]


def verified(forecast, observation, thresholds=(1.0,)):
    """{(score, threshold, lead): value} of arrays (B, T, H, W)."""
    statistic = RainScores(thresholds, pools=[])
    rows = scored_rows(statistic, statistic.of(forecast, observation))
    return {(row.score, row.threshold, row.lead): row.value for row in rows}


def test_two_hits_one_miss_one_false_alarm_and_four_correct_negatives_give_csi_one_half():
    forecast = fields(2, 3, 0, 1, 0, 0, 0, 0)
    observation = fields(1, 5, 4, 0, 0, 0.9, 0, 0.5)
    value = verified(forecast, observation)
    assert value["csi", 1, 1] == 2 / 4
    assert value["pod", 1, 1] == 2 / 3
    assert value["far", 1, 1] == 1 / 3
    assert value["frequency_bias", 1, 1] == 3 / 3
    assert value["hss", 1, 1] == pytest.approx(2 * (2 * 4 - 1 * 1) / (3 * 5 + 3 * 5))


def test_twice_as_many_forecast_as_observed_events_is_a_frequency_bias_of_two():
    assert verified(fields(1, 1, 1, 1), fields(1, 1, 0, 0))["frequency_bias", 1, 1] == 2


def test_a_rain_rate_on_the_threshold_is_an_event():
    assert verified(fields(0.7, 0.1), fields(0.7, 0.1), thresholds=(0.1, 0.7))["csi", 0.7, 1] == 1
    assert verified(fields(0.7), fields(0.69999), thresholds=(0.7,))["csi", 0.7, 1] == 0


def test_each_threshold_counts_its_own_events():
    value = verified(fields(0, 1, 5, 10), fields(0, 5, 1, 10), thresholds=(1, 5, 10))
    assert [value["csi", t, 1] for t in (1, 5, 10)] == [1, 1 / 3, 1]


def test_one_of_one_and_ten_of_a_hundred_pool_to_eleven_of_101_not_to_the_mean_of_the_ratios():
    observation = np.zeros((2, 1, 1, 100), np.float32)
    forecast = observation.copy()
    observation[0, ..., :1] = forecast[0, ..., :1] = 5
    observation[1], forecast[1, ..., :10] = 5, 5
    assert (
        verified(forecast, observation)["csi", 1, 1] == 11 / 101
    )  # the mean of 1/1 and 10/100 would be 0.55


def test_a_pixel_missing_in_either_field_is_counted_nowhere():
    nan = np.nan
    value = verified(fields(2, nan, 2, nan, 0), fields(2, 9, nan, nan, 3))
    assert (value["csi", 1, 1], value["pod", 1, 1], value["hss", 1, 1]) == (1 / 2, 1 / 2, 0)
    assert (value["mae", None, 1], value["mse", None, 1]) == (3 / 2, 9 / 2)


def test_without_any_event_event_scores_are_undefined_and_errors_are_not():
    value = verified(fields(0, 0), fields(0, 0.5))
    assert all(
        math.isnan(value[score, 1, 1]) for score in ("csi", "pod", "far", "hss", "frequency_bias")
    )
    assert (value["mae", None, 1], value["mse", None, 1]) == (0.25, 0.125)


def test_a_score_undefined_at_one_lead_is_undefined_over_all_leads():
    value = verified(
        np.array([5, 0], np.float32).reshape(1, 2, 1, 1),
        np.array([5, 0], np.float32).reshape(1, 2, 1, 1),
    )
    assert value["csi", 1, 1] == 1
    assert math.isnan(value["csi", 1, 2]) and math.isnan(value["csi", 1, None])


def test_over_all_leads_means_the_mean_of_the_leads():
    forecast = np.array([[1, 1, 1, 1], [1, 0, 0, 0]], np.float32).reshape(1, 2, 1, 4)
    observation = np.ones((1, 2, 1, 4), np.float32)
    value = verified(forecast, observation)
    assert (value["csi", 1, 1], value["csi", 1, 2], value["csi", 1, None]) == (1, 1 / 4, 5 / 8)
    assert value["mse", None, None] == 3 / 8


def test_centred_correlation_ignores_an_offset_and_uncentred_does_not():
    value = verified(fields(11, 12, 13), fields(1, 2, 3))
    assert value["correlation", None, 1] == pytest.approx(1)
    assert value["uncentred_correlation", None, 1] == pytest.approx(74 / math.sqrt(434 * 14))


def test_a_constant_field_has_no_centred_correlation():
    value = verified(fields(0.3, 0.3, 0.3), fields(1, 2, 3))
    assert math.isnan(value["correlation", None, 1])
    assert value["uncentred_correlation", None, 1] == pytest.approx(6 / math.sqrt(3 * 14))


def test_pooled_moments_keep_their_digits_beside_a_huge_mean():
    rng = np.random.default_rng(1)
    a = rng.normal(size=(8, 1, 1, 50)).round(1)
    b = (a + rng.normal(size=a.shape)).round(1)
    pixels = PixelSums((1.0,), 1)
    for case in range(8):
        pixels.add(a[case : case + 1] + 2.0**26, b[case : case + 1] + 2.0**26)
    spread = np.sqrt(pixels.forecast_deviation * pixels.observation_deviation)
    expected = np.corrcoef(a.ravel(), b.ravel())[0, 1]
    assert pixels.codeviation / spread == pytest.approx(expected, abs=1e-6)


def test_sums_added_in_pieces_are_the_sums_at_once():
    rng = np.random.default_rng(2)
    forecast, observation = (rng.gamma(0.3, 5, (7, 3, 8, 9)).astype(np.float32) for _ in range(2))
    forecast[rng.random(forecast.shape) < 0.2] = np.nan
    observation[:, :, :, 0] = np.nan
    settings = RainScores([0.1, 1, 5], windows=[1, 3])
    once, first, second, third = (settings.sums(3) for _ in range(4))
    once.add(forecast, observation)
    first.add(forecast[:1], observation[:1])
    second.add(forecast[1:5], observation[1:5])
    third.add(forecast[5:], observation[5:])
    pooled = settings.sums(3) + pickle.loads(pickle.dumps(third)) + (first + second)
    exact = (
        "pixels.hits",
        "pixels.misses",
        "pixels.false_alarms",
        "pixels.pixels",
        "fractions.fraction_products",
        "fractions.fraction_squares",
        "fractions.events",
    )
    for name in exact:
        assert np.array_equal(pooled.totals()[name], once.totals()[name])
    rows = (scored_rows(settings, sums.totals()) for sums in (pooled, once))
    for one, other in zip(*rows):
        assert one[:4] == other[:4] and one.value == pytest.approx(
            other.value, rel=1e-12, nan_ok=True
        )


def test_sums_over_nothing_and_over_only_missing_pixels_are_undefined_everywhere():
    statistic = RainScores([1], windows=[3])
    missing = np.full((1, 2, 2, 2), np.nan, np.float32), np.ones((1, 2, 2, 2), np.float32)
    for totals in (statistic.sums(2).totals(), statistic.of(*missing)):
        assert totals["pixels.pixels"].tolist() == [0, 0]
        for row in scored_rows(statistic, totals):
            assert math.isnan(row.value) or row.score in COUNTS and row.value == 0


def test_hss_of_more_pixels_than_int64_products_hold_is_right():
    h, m, f, r = np.int64(4 * 10**9), np.int64(10**9), np.int64(10**9), np.int64(4 * 10**9)
    assert scores.hss(h, m, f, r) == pytest.approx(0.6)


def test_rows_name_threshold_window_and_lead():
    statistic = RainScores([0.5, 2], pools=[])
    ones = np.ones((1, 2, 1, 1), np.float32)
    rows = scored_rows(statistic, statistic.of(ones, ones))
    # with B-MSE and B-MAE, and economic values of six cost-loss ratios
    assert len(rows) == ((15 + 6) * 2 + 6 + 2) * 3
    assert rows[0][:5] == ("csi", 0.5, 1, 1, 1.0)
    assert [row[:4] for row in rows if row.score == "mae"] == [
        ("mae", None, None, 1),
        ("mae", None, None, 2),
        ("mae", None, None, None),
    ]


def test_scores_agree_with_pysteps_on_fields_without_gaps():
    detection = pytest.importorskip("pysteps.verification.detcatscores")
    continuous = pytest.importorskip("pysteps.verification.detcontscores")
    rng = np.random.default_rng(3)
    forecast, observation = (rng.gamma(0.4, 4, (1, 1, 60, 70)).astype(np.float32) for _ in range(2))
    forecast = (0.5 * forecast + 0.5 * observation).astype(np.float32)
    value = verified(forecast, observation, thresholds=(0.5, 2))
    for threshold in (0.5, 2):
        # pysteps counts > threshold: just below it, that is the same event.
        oracle = detection.det_cat_fct(
            forecast[0, 0], observation[0, 0], np.nextafter(np.float32(threshold), np.float32(0))
        )
        for ours, theirs in (
            ("csi", "CSI"),
            ("pod", "POD"),
            ("far", "FAR"),
            ("hss", "HSS"),
            ("frequency_bias", "BIAS"),
        ):
            assert value[ours, threshold, 1] == pytest.approx(oracle[theirs], rel=1e-9)
    oracle = continuous.det_cont_fct(
        forecast[0, 0], observation[0, 0], scores=["MAE", "MSE", "corr_p"]
    )
    assert value["mae", None, 1] == pytest.approx(oracle["MAE"], rel=1e-6)
    assert value["mse", None, 1] == pytest.approx(oracle["MSE"], rel=1e-6)
    assert value["correlation", None, 1] == pytest.approx(oracle["corr_p"], rel=1e-6)


@pytest.mark.parametrize(
    "thresholds",
    [
        [],
        [0],
        [-1, 1],
        [2, 1],
        [1, 1],
        [math.nan],
        [math.inf],
        ["1"],
        [True],
        5,
        [0.1, 0.1 + 1e-12],
    ],
)
def test_thresholds_that_are_no_ascending_rain_rates_are_refused(thresholds):
    with pytest.raises(
        UserError,
        match="thresholds are .*; give one or more positive rain rates in mm/h, ascending",
    ):
        RainScores(thresholds)


@pytest.mark.parametrize(
    "windows", [[0], [-1, 1], [5, 1], [5, 5], [1.0], ["1"], [True], 5, [1, 1001]]
)
def test_windows_that_are_no_ascending_widths_are_refused(windows):
    with pytest.raises(
        UserError, match="windows are .*; give widths in whole pixels from 1 to 1000, ascending"
    ):
        RainScores([1], windows=windows)


@pytest.mark.parametrize(
    "forecast, observation",
    [((1, 2, 4, 4), (1, 2, 4, 5)), ((2, 4, 4), (2, 4, 4)), ((1, 3, 4, 4), (1, 3, 4, 4))],
)
def test_fields_of_another_shape_are_refused(forecast, observation):
    with pytest.raises(UserError, match=r"of shape \(batch, 2 leads, height, width\), got"):
        RainScores([1]).sums(2).add(
            np.zeros(forecast, np.float32), np.zeros(observation, np.float32)
        )


def test_an_infinite_rain_rate_is_refused():
    with pytest.raises(UserError, match="infinite; mark pixels without a value with NaN"):
        RainScores([1]).sums(1).add(fields(np.inf), fields(1))


def test_sums_of_other_thresholds_or_leads_are_refused():
    with pytest.raises(
        UserError,
        match=r"2 leads, thresholds \[1.0\], .* cannot be added to sums over 2 leads, thresholds "
        r"\[2.0\], .*; verify",
    ):
        RainScores([1]).sums(2) + RainScores([2]).sums(2)
    with pytest.raises(
        UserError,
        match=r"windows \[3\] cannot be added to sums over 2 leads, thresholds \[1.0\], windows "
        r"\[5\]; verify",
    ):
        RainScores([1], windows=[3]).sums(2) + RainScores([1], windows=[5]).sums(2)
    with pytest.raises(UserError, match="cannot be added to sums over 3 leads"):
        RainScores([1]).sums(2) + RainScores([1]).sums(3)
    with pytest.raises(
        UserError,
        match="sums of pixels, balanced, fractions, pools cannot be added to sums of pixels, "
        "balanced, pools; verify",
    ):
        RainScores([1], windows=[3]).sums(2) + RainScores([1]).sums(2)
