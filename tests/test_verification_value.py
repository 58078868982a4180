"""Economic value by cost-loss ratio, and the fractions skill score of probabilities."""

import numpy as np
import pytest

from nowcast.evaluation.statistics.ensemble import EnsembleScores
from nowcast.evaluation.statistics.probability import ProbabilityScores
from nowcast.evaluation.statistics.rain import RainScores
from nowcast.evaluation.statistics.scores import economic_value
from nowcast.evaluation.statistics.sums import ScoreKey

RATIOS = (0.02, 0.1, 0.4, 0.8)


def value(cost_loss):
    return ScoreKey("economic_value", 1.0, cost_loss=cost_loss)


def of_probabilities(probability, observation, **settings):
    """Scores of probabilities (H, W) of 1 mm/h at one lead."""
    sums = ProbabilityScores((1.0,), **settings).sums(1)
    probability = np.asarray(probability, np.float32)[None, None, None]
    sums.add(probability, np.asarray(observation, np.float32)[None, None])
    found = sums.values(sums.totals())
    return {key: float(value[0]) for key, value in found.items()}


def made_up(shape=(30, 40), seed=0):
    """Probabilities in hundredths, and observations that come true as often."""
    random = np.random.default_rng(seed)
    probability = np.round(random.beta(0.4, 1.2, shape), 2).astype(np.float32)
    return probability, np.where(random.random(shape) < probability, 3.0, 0.0).astype(np.float32)


def test_the_value_of_a_forecast_by_hand():
    # 10 events in 100 pixels: never protecting costs 10, always 20, a perfect forecast 2; this one
    # protects 16 times (3.2) and loses twice
    assert economic_value(8, 2, 8, 100, 0.2) == pytest.approx((10 - 5.2) / (10 - 2))
    assert economic_value(10, 0, 0, 100, 0.2) == 1
    assert economic_value(0, 10, 0, 100, 0.2) == 0  # never
    assert economic_value(10, 0, 90, 100, 0.05) == 0  # always
    assert np.isnan(economic_value(0, 0, 5, 100, 0.2))


@pytest.mark.parametrize("cost_loss", RATIOS)
def test_values_agree_with_the_scores_package(cost_loss):
    theirs = pytest.importorskip("scores.probability")
    xarray = pytest.importorskip("xarray")
    # acting from the probability that is the cost-loss ratio on
    chance, observation = made_up()
    events = xarray.DataArray((observation >= 1).astype(float))

    def expected(probability):
        acted = xarray.DataArray((probability >= np.float32(cost_loss)).astype(float))
        return theirs.relative_economic_value(acted, events, cost_loss_ratios=cost_loss).item()

    steps = np.round(chance * 10)  # of 10 members: a probability that bins do not blur
    members = (np.arange(10)[:, None, None] < steps).astype(np.float32) * 3
    sums = EnsembleScores((1.0,), 10, RATIOS).sums(1)
    sums.add(members[None, :, None], observation[None, None])
    tenths = (steps / 10).astype(np.float32)
    assert sums.values(sums.totals())[value(cost_loss)][0] == pytest.approx(expected(tenths))
    found = of_probabilities(tenths, observation, cost_loss=RATIOS)
    assert found[value(cost_loss)] == pytest.approx(expected(tenths), abs=1e-6)
    # hundredths share bins: the value is that of the bins' means
    blurred = of_probabilities(chance, observation, cost_loss=RATIOS)
    assert blurred[value(cost_loss)] == pytest.approx(expected(chance), abs=0.03)


def test_the_value_of_a_single_field_is_that_of_its_yes_and_no_for_every_user():
    statistic = RainScores((1.0,), pools=(), cost_loss=RATIOS)
    forecast = np.array([[[[2, 2, 0, 0, 0]]]], np.float32)
    observation = np.array([[[[2, 0, 0, 2, 0]]]], np.float32)
    found = statistic.values(statistic.of(forecast, observation))
    for cost_loss in RATIOS:
        expected = economic_value(1, 1, 1, 5, cost_loss)
        assert found[value(cost_loss)][0] == pytest.approx(expected)


def fss_by_hand(probability, event, window):
    """With zero padding, centres where the probability is known."""
    before, after = window // 2, window - 1 - window // 2
    known = ~np.isnan(probability)
    shares = []
    for field in (np.where(known, probability, 0), event & known):
        padded = np.pad(field.astype(float), ((before, after), (before, after)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (window, window))
        shares.append(windows.mean((2, 3)) * known)
    f, o = shares
    return 1 - ((f - o) ** 2).sum() / ((f**2).sum() + (o**2).sum())


@pytest.mark.parametrize("window", [1, 4, 7])
def test_the_fss_of_probabilities_compares_their_means_in_windows_with_the_share_of_events(window):
    probability, observation = made_up((150, 23))
    probability[:40], observation[:40] = 0, 0  # dry strips are passed over
    probability[60:64, 3:9] = np.nan
    found = of_probabilities(probability, observation, windows=(window,))
    expected = fss_by_hand(probability, observation >= 1, window)
    assert found[ScoreKey("fss_probability", 1.0, window)] == pytest.approx(expected, rel=1e-5)


def test_the_fss_of_a_yes_no_forecast_s_probabilities_is_its_fss():
    random = np.random.default_rng(3)
    forecast, observation = random.gamma(0.5, 2, (2, 1, 1, 20, 30)).astype(np.float32)
    statistic = RainScores((1.0,), windows=(5,), pools=())
    expected = statistic.values(statistic.of(forecast, observation))[ScoreKey("fss", 1.0, 5)]
    found = of_probabilities(forecast[0, 0] >= 1, observation[0, 0], windows=(5,))
    assert found[ScoreKey("fss_probability", 1.0, 5)] == pytest.approx(expected[0], rel=1e-6)


def test_probabilities_of_evaluations_of_before_have_no_fss():
    sums = ProbabilityScores((1.0,), (3,)).sums(1)
    totals = sums.totals()
    older = {name: array for name, array in totals.items() if not name.startswith("fraction")}
    assert not any(key.score == "fss_probability" for key in sums.values(older))
    assert any(key.score == "fss_probability" for key in sums.values(totals))
