"""Scores of ensembles, by hand and by pysteps and scores."""

import numpy as np
import pytest

from nowcast.evaluation.statistics.ensemble import EnsembleSums
from nowcast.evaluation.statistics.rain import RainScores
from nowcast.runtime.errors import UserError


def added(members, observation, thresholds=(1.0,)):
    """Sums of one lead: members (M, P) and observation (P,)."""
    members, observation = np.asarray(members, np.float32), np.asarray(observation, np.float32)
    sums = RainScores(thresholds).ensemble(len(members)).sums(1)
    sums.add(members[None, :, None, None], observation[None, None, None])
    return sums


def values(members, observation, thresholds=(1.0,)):
    sums = added(members, observation, thresholds)
    return {key[:2]: float(value[0]) for key, value in sums.values(sums.totals()).items()}


def test_two_members_and_three_pixels_by_hand():
    found = values([[0, 2, 4], [2, 2, 0]], [1, 3, 1])
    # mean |x - y|: 1, 1, 2; sum_ij |x_i - x_j|: 4, 0, 8, of which 1 / (2 M^2) = 1/8 and 1 / (2 M (M
    # - 1)) = 1/4 count
    assert found["crps", None] == pytest.approx(((1 - 4 / 8) + 1 + (2 - 8 / 8)) / 3)
    assert found["crps_fair", None] == pytest.approx(((1 - 4 / 4) + 1 + (2 - 8 / 4)) / 3)
    assert found["rmse_of_mean", None] == pytest.approx(np.sqrt((0 + 1 + 1) / 3))
    # variances around the mean, divided by M: 1, 0, 4; by M - 1 they are 2, 0, 8, and (M + 1) / M
    # is 3/2
    assert found["spread", None] == pytest.approx(np.sqrt(10 / 3 * 3 / 2))
    assert found["spread_skill", None] == pytest.approx(np.sqrt(5 / (2 / 3)))


def test_one_member_has_the_mean_absolute_error_as_crps_and_no_spread():
    found = values([[1, 5]], [2, 2])
    assert (
        found["crps", None] == 2
        and np.isnan(found["crps_fair", None])
        and np.isnan(found["spread", None])
    )


def test_a_missing_member_or_observation_takes_the_pixel_out():
    nan = np.nan
    whole, gaps = (
        added([[0, 2], [2, 2]], [1, 3]),
        added([[0, 2, nan, 9], [2, 2, 5, 9]], [1, 3, 7, nan]),
    )
    for name, array in whole.totals().items():
        np.testing.assert_array_equal(gaps.totals()[name], array)


def test_ties_share_their_ranks_equally():
    sums = added([[0, 0, 1], [0, 2, 3], [5, 4, 4]], [0, 1, 9])
    # below all but tied with two of three: ranks 0, 1 and 2, a third each; between the first and
    # second: rank 1; above all: rank 3
    assert sums.ranks[:, 0] == pytest.approx([1 / 3, 1 / 3 + 1, 1 / 3, 1])
    assert sums.rank_histogram(sums.totals())[:, 0].sum() == pytest.approx(1)


def test_the_brier_score_and_its_parts_are_those_of_the_probabilities():
    members, observation = (
        np.random.default_rng(0).gamma(0.8, 1, (4, 5000)),
        np.random.default_rng(1).gamma(0.8, 1, 5000),
    )
    members = 0.5 * members + 0.5 * observation
    found = values(members, observation)
    probability, event = (
        (members.astype(np.float32) >= 1).mean(0),
        observation.astype(np.float32) >= 1,
    )
    assert found["brier", 1.0] == pytest.approx(((probability - event) ** 2).mean())
    assert found["brier_uncertainty", 1.0] == pytest.approx(event.mean() * (1 - event.mean()))
    assert found["brier", 1.0] == pytest.approx(
        found["brier_reliability", 1.0]
        - found["brier_resolution", 1.0]
        + found["brier_uncertainty", 1.0]
    )
    assert found["brier_skill", 1.0] == pytest.approx(
        1 - found["brier", 1.0] / found["brier_uncertainty", 1.0]
    )


def test_a_perfect_ensemble_has_a_roc_area_of_one_and_a_constant_one_a_half():
    rain = np.array([0, 0, 2, 3.0])
    assert values([rain, rain], rain)["roc_area", 1.0] == 1
    assert values([[2, 2, 2, 2], [0, 0, 0, 0]], rain)["roc_area", 1.0] == 0.5


def test_members_like_the_truth_have_a_spread_skill_of_one_and_a_flat_rank_histogram():
    rng = np.random.default_rng(2)
    centre = rng.normal(20, 5, 40_000)
    sums = added(centre + rng.normal(0, 1, (5, 40_000)), centre + rng.normal(0, 1, 40_000))
    found = {
        key.score: float(value[0])
        for key, value in sums.values(sums.totals()).items()
        if key.threshold is None
    }
    assert found["spread_skill"] == pytest.approx(1, abs=0.02)
    assert sums.rank_histogram(sums.totals())[:, 0] == pytest.approx(1 / 6, abs=0.01)


def test_the_scores_agree_with_pysteps():
    theirs = pytest.importorskip("pysteps.verification")
    rng = np.random.default_rng(3)
    observation = rng.gamma(0.8, 2, 3000).astype(np.float32)
    members = (0.6 * observation + 0.4 * rng.gamma(0.8, 2, (6, 3000))).astype(np.float32)
    sums = added(members, observation)
    found = {key[:2]: float(value[0]) for key, value in sums.values(sums.totals()).items()}
    assert found["crps", None] == pytest.approx(
        theirs.probscores.CRPS(members.astype(float), observation.astype(float)), rel=1e-6
    )
    probability = (members >= 1).mean(0)
    roc = theirs.probscores.ROC_curve_init(1.0, n_prob_thrs=7)
    theirs.probscores.ROC_curve_accum(roc, probability, np.where(observation >= 1, 2.0, 0.0))
    *_, area = theirs.probscores.ROC_curve_compute(roc, compute_area=True)
    assert found["roc_area", 1.0] == pytest.approx(
        area, abs=0.01
    )  # they put thresholds between the probabilities
    ranks = theirs.ensscores.rankhist_init(6)
    theirs.ensscores.rankhist_accum(ranks, members.astype(float), observation.astype(float))
    assert sums.rank_histogram(sums.totals())[:, 0] == pytest.approx(
        theirs.ensscores.rankhist_compute(ranks)
    )


def test_the_crps_agrees_with_the_library_scores():
    probability = pytest.importorskip("scores.probability")
    import xarray

    rng = np.random.default_rng(4)
    members, observation = rng.gamma(0.8, 2, (5, 200)), rng.gamma(0.8, 2, 200)
    found = values(members, observation)
    given = (
        xarray.DataArray(members.astype(np.float32).astype(float), dims=("member", "x")),
        xarray.DataArray(observation.astype(np.float32).astype(float), dims="x"),
    )
    for name, method in (("crps", "ecdf"), ("crps_fair", "fair")):
        assert found[name, None] == pytest.approx(
            float(probability.crps_for_ensemble(*given, "member", method=method)), rel=1e-6
        )


def test_reliability_and_roc_curves_are_by_number_of_members():
    sums = added([[2, 2, 0, 0], [2, 0, 0, 2]], [2, 0, 0, 2])
    probability, frequency, share = sums.reliability_curve(sums.totals(), 0)
    assert (
        probability.tolist() == [0, 0.5, 1]
        and frequency[:, 0].tolist() == [0, 0.5, 1]
        and share[:, 0].tolist() == [0.25, 0.5, 0.25]
    )
    hit_rate, false_rate = sums.roc_curve(sums.totals(), 0)
    assert hit_rate[:, 0].tolist() == [0, 0.5, 1, 1] and false_rate[:, 0].tolist() == [0, 0, 0.5, 1]


def test_pieces_add_up_and_other_members_do_not():
    rng = np.random.default_rng(5)
    members, observation = (
        rng.gamma(0.8, 2, (3, 30_000)).astype(np.float32),
        rng.gamma(0.8, 2, 30_000).astype(np.float32),
    )
    whole, pieces = (
        added(members, observation),
        added(members[:, :11], observation[:11]) + added(members[:, 11:], observation[11:]),
    )
    for name, array in whole.totals().items():
        np.testing.assert_allclose(pieces.totals()[name], array, rtol=1e-12)
    with pytest.raises(
        UserError,
        match="members 3, cost_loss .* cannot be added to sums over 1 leads, thresholds .*members 2, .*; verify both",
    ):
        whole + EnsembleSums((1.0,), 2, 1)


@pytest.mark.parametrize(
    ("members", "observation"),
    [
        ((1, 2, 1, 4, 4), (1, 1, 4, 4)),
        ((1, 3, 1, 4, 4), (1, 1, 4, 5)),
        ((1, 3, 2, 4, 4), (1, 2, 4, 4)),
    ],
)
def test_members_of_another_shape_are_refused(members, observation):
    with pytest.raises(
        UserError,
        match=r"\(batch, 3 members, 1 leads, height, width\) and an observation of the same",
    ):
        EnsembleSums((1.0,), 3, 1).add(
            np.zeros(members, np.float32), np.zeros(observation, np.float32)
        )
