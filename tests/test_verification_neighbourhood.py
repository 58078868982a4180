import math

import numpy as np
import pytest

from nowcast.evaluation.statistics.neighbourhood import fraction_sums
from nowcast.evaluation.statistics.rain import RainScores
from tests.factories import scored_rows


def fss(forecast, observation, threshold=1.0, window=3):
    """The fractions skill score of one field, rows of rain rates, through the sums that evaluation
    adds up.
    """
    forecast, observation = (
        np.array(field, np.float32, ndmin=2)[None, None] for field in (forecast, observation)
    )
    statistic = RainScores([threshold], windows=[window])
    rows = scored_rows(statistic, statistic.of(forecast, observation))
    return next(row.value for row in rows if row[:4] == ("fss", threshold, window, 1))


def test_a_displacement_of_one_pixel_has_no_skill_by_pixel_and_two_thirds_in_a_window_of_three():
    """Events in the windows of the five pixels: 1 1 1 0 0 forecast, 0 1 1 1 0 observed; 2 (1 + 1) /
    (3 + 3).
    """
    forecast, observation = [0, 5, 0, 0, 0], [0, 0, 5, 0, 0]
    assert fss(forecast, observation, window=1) == 0
    assert fss(forecast, observation, window=3) == 2 * 2 / 6
    assert fss(observation, observation, window=3) == 1


def test_a_missing_pixel_is_neither_an_event_nor_the_centre_of_a_window():
    """Left are the first, second, third and fifth window: 1 1 1 0 forecast, 0 1 1 0 observed; 2 * 2
    / (3 + 2).

    Had missing meant dry, the event forecast there would be a false alarm, and the score 2 * 4 / (8
    + 3).
    """
    forecast, observation = [0, 5, 0, 5, 0], [0, 0, 5, np.nan, 0]
    assert fss(forecast, observation) == fss([0, 5, 0, np.nan, 0], [0, 0, 5, 5, 0]) == 2 * 2 / 5


def rain(*shape, seed=0):
    """Rain in patches, and a forecast that is half right."""
    generator = np.random.default_rng(seed)
    noise = generator.normal(size=(2, *shape))
    noise[0] += noise[1]
    noise += sum(np.roll(noise, steps, axes) for steps in (1, -1) for axes in (1, 2))
    return (np.exp(noise - 1)).astype(np.float32)


@pytest.mark.parametrize("window", [1, 3, 4, 10])
def test_a_margin_of_missing_pixels_changes_nothing(window):
    forecast, observation = rain(20, 30)
    inside = fraction_sums(forecast, observation, (1.0, 5.0), (window,))
    forecast, observation = (
        np.pad(field, ((70, 9), (5, 80)), constant_values=9) for field in (forecast, observation)
    )
    observation[:70], observation[-9:], forecast[:, :5], forecast[:, -80:] = (
        np.nan,
        np.nan,
        np.nan,
        np.nan,
    )
    assert np.array_equal(fraction_sums(forecast, observation, (1.0, 5.0), (window,)), inside)


@pytest.mark.parametrize("shape", [(150, 131), (33, 300), (1, 40), (7, 1)])
def test_scores_agree_with_pysteps_on_fields_without_gaps(shape):
    oracle = pytest.importorskip("pysteps.verification.spatialscores").fss
    forecast, observation = rain(*shape)
    thresholds, windows = (0.5, 2.0, 8.0), (1, 2, 3, 5, 10, 20, 64, 301)
    products, squares = fraction_sums(forecast, observation, thresholds, windows)
    expected = [
        [oracle(forecast, observation, threshold, window) for window in windows]
        for threshold in thresholds
    ]
    np.testing.assert_allclose(2 * products / squares, expected, rtol=1e-9)


def test_few_events_far_apart_are_all_found():
    """An event of each field beside the other, and a false alarm in the far corner: on every side
    of where the strips of 128 rows meet.
    """
    oracle = pytest.importorskip("pysteps.verification.spatialscores").fss
    for row in (0, 43, 126, 127, 128, 129, 190):
        forecast, observation = np.zeros((2, 200, 90), np.float32)
        forecast[row, 3] = forecast[199, 89] = observation[row + 1, 5] = 5
        for window in (5, 20, 200):
            products, squares = fraction_sums(forecast, observation, (1.0,), (window,))
            assert 2 * products / squares == pytest.approx(
                oracle(forecast, observation, 1.0, window), rel=1e-9
            )


@pytest.mark.parametrize("window", [15, 16, 255, 256])
def test_windows_full_of_events_are_counted_whole(window):
    """The largest count is the area of the window, which must fit the type of the sums."""
    field = np.ones((window, window), np.float32)
    _, squares = fraction_sums(field, field, (1.0,), (window,))
    before = window // 2
    squared = sum(
        (min(i + window - before, window) - max(i - before, 0)) ** 2 for i in range(window)
    )
    assert squares.item() == 2 * squared**2


def test_without_an_event_the_score_is_undefined():
    assert math.isnan(fss([0, 0.5], [0, 0]))
    assert math.isnan(fss([np.nan, 5], [5, np.nan]))
    assert fss([0, 0], [0, 5]) == 0


def test_of_cases_the_sums_are_added_and_divided_once():
    """A perfect case of 1 event and a missed one of 3, pixel by pixel: 2 * 1 / (2 + 3); the mean of
    the scores would be 1/2.
    """
    statistic = RainScores([1], windows=[1])
    sums = statistic.of(
        np.array([[5, 0, 0], [0, 0, 0]], np.float32)[:, None, None],
        np.array([[5, 0, 0], [5, 5, 5]], np.float32)[:, None, None],
    )
    assert next(row.value for row in scored_rows(statistic, sums) if row.score == "fss") == 2 / 5
