import math

import numpy as np
import pytest

from nowcast.evaluation.intervals import Estimate, Resampling, drawn, estimates, minus
from nowcast.evaluation.statistics.sums import ScoreKey, with_overall

MSE, ENTROPY = ScoreKey("mse"), ScoreKey("cross_entropy")


def mean_of(totals):
    return with_overall({MSE: totals["sum"] / totals["count"]})


def blocks_of(values):
    """Totals of blocks with one case of one lead each."""
    values = np.asarray(values, np.float64)[:, None]
    return {"sum": values, "count": np.ones_like(values)}


def estimate(values, resampling=None):
    resampling = resampling or Resampling()
    totals = blocks_of(values)
    whole = {name: array.sum(0) for name, array in totals.items()}
    return estimates(
        mean_of(whole), mean_of(drawn(totals, resampling.weights(len(values)))), resampling
    )[MSE]


def test_the_interval_of_a_mean_is_that_of_theory():
    values = np.random.default_rng(1).normal(5, 2, 400)
    found = estimate(values, Resampling(draws=4000))
    assert found.value[0] == pytest.approx(values.mean())
    half = 1.96 * values.std() / math.sqrt(400)
    assert [found.low[0], found.high[0]] == pytest.approx(
        [values.mean() - half, values.mean() + half], abs=0.1 * half
    )


def test_an_interval_of_95_per_cent_holds_the_truth_about_95_times_in_100():
    generator = np.random.default_rng(2)
    found = [estimate(generator.normal(1.0, 1.0, 60), Resampling(draws=300)) for _ in range(300)]
    held = np.mean([one.low[0] <= 1 <= one.high[0] for one in found])
    assert 0.9 < held < 0.98


def test_equal_blocks_have_an_interval_of_no_width():
    found = estimate([3.0, 3.0, 3.0])
    assert (found.value[0], found.low[0], found.high[0]) == (3, 3, 3)


def test_a_paired_difference_is_sure_where_neither_score_is():
    """Two models whose errors differ by 1 in every case, over cases that differ by hundreds."""
    generator, resampling = np.random.default_rng(3), Resampling()
    hard = generator.uniform(0, 1000, 50)
    totals = blocks_of(hard), blocks_of(hard + 1 + 0.1 * generator.normal(size=50))
    whole = [mean_of({name: array.sum(0) for name, array in one.items()}) for one in totals]
    samples = [mean_of(drawn(one, resampling.weights(50))) for one in totals]
    paired = estimates(minus(*whole), minus(*samples), resampling)[MSE]
    alone = estimates(whole[0], samples[0], resampling)[MSE]
    assert paired.differs.tolist() == [True, True] and -1.1 < paired.low[0] < paired.high[0] < -0.9
    assert alone.high[0] - alone.low[0] > 100


def test_a_difference_whose_interval_holds_zero_does_not_differ():
    ends = np.array([[-1.0, 1.0], [0.5, 1.0], [-2.0, -0.1], [np.nan, np.nan]]).T
    assert Estimate(np.zeros(4), *ends).differs.tolist() == [False, True, True, False]


def test_draws_are_the_same_for_every_model_and_with_every_run_and_others_with_another_seed():
    assert np.array_equal(Resampling().weights(7), Resampling().weights(7))
    assert (Resampling().weights(7).sum(1) == 7).all()
    assert not np.array_equal(Resampling().weights(7), Resampling(seed=2).weights(7))


def test_over_all_leads_is_their_mean_and_of_a_cross_entropy_their_sum():
    found = with_overall({MSE: np.array([1.0, 3.0]), ENTROPY: np.array([[1.0, 3.0], [2.0, 2.0]])})
    assert found[MSE].tolist() == [1, 3, 2] and found[ENTROPY].tolist() == [[1, 3, 4], [2, 2, 4]]


def test_a_score_undefined_in_more_than_a_tenth_of_the_draws_has_no_interval():
    samples = np.arange(100.0)[:, None]
    samples[:11] = np.nan
    low, high = Resampling().interval(samples)
    assert np.isnan(low).all() and np.isnan(high).all()
    samples[5:11] = 1
    low, high = Resampling().interval(samples)
    assert np.isfinite([low, high]).all()
