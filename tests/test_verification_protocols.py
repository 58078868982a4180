"""Published ways of counting, on fields where they differ."""

import numpy as np
import pytest

from nowcast.evaluation.statistics.protocols import Hko7Scores, SevirScores, Shi2015Scores
from nowcast.runtime.errors import UserError
from tests.factories import scored_rows


def verified(settings, forecast, observation):
    """(score, threshold, window, lead) -> value of one case, (T, H, W)."""
    forecast, observation = (
        np.asarray(field, np.float32)[None] for field in (forecast, observation)
    )
    rows = scored_rows(settings, settings.of(forecast, observation))
    return {row[:4]: row.value for row in rows}


def test_shi_2015_is_the_mean_of_the_leads_at_half_a_millimetre_an_hour():
    found = verified(Shi2015Scores(), [[[0.5, 0.4]], [[1, 1]]], [[[0.5, 0]], [[1, 0]]])
    assert found["csi", 0.5, 1, None] == (1 + 1 / 2) / 2  # pooled over the leads it would be 2/3
    assert found["far", 0.5, 1, None] == (0 + 1 / 2) / 2
    assert found["uncentred_correlation", None, None, 2] == pytest.approx(1 / np.sqrt(2))


def test_hko_7_leaves_missing_pixels_out_and_takes_the_mean_of_the_leads():
    found = verified(Hko7Scores(), [[[6, np.nan, 0]], [[6, 6, 0]]], [[[6, 6, 0]], [[6, 0, np.nan]]])
    assert (
        found["csi", 5.0, 1, 1] == 1
        and found["csi", 5.0, 1, 2] == 1 / 2
        and found["csi", 5.0, 1, None] == 3 / 4
    )
    assert {key[1] for key in found if key[0] == "csi"} == {0.5, 2.0, 5.0, 10.0, 30.0} and (
        "b_mse",
        None,
        None,
        None,
    ) in found


def test_sevir_is_pooled_over_everything_and_a_missing_pixel_is_a_correct_negative():
    level = np.array([[[16, 200]], [[16, 0]]]) / 255
    forecast, observation = level.astype(np.float32), level.astype(np.float32)
    forecast[0, 0, 1] = np.nan  # becomes 0 in both
    forecast[1, 0] = [0, 16 / 255]
    found = verified(SevirScores(), forecast, observation)
    assert found["csi", 16.0, 1, 1] == 1 and found["csi", 16.0, 1, 2] == 0
    assert (
        found["csi", 16.0, 1, None] == 1 / 3
    )  # 1 hit, 1 miss, 1 false alarm; the mean of the leads would be 1/2
    assert found["correct_negatives", 16.0, 1, None] == 1 and np.isnan(found["csi", 219.0, 1, None])


def test_every_level_of_255_is_an_event_of_its_own_threshold():
    levels = np.arange(256, dtype=np.float32) / np.float32(255)
    found = verified(SevirScores(), levels[None, None], levels[None, None])
    for threshold in (16, 74, 133, 160, 181, 219):
        assert found["hits", float(threshold), 1, None] == 256 - threshold


def test_csi_m_of_sevir_is_the_mean_of_the_thresholds_pixel_by_pixel_and_by_blocks():
    rng = np.random.default_rng(0)
    forecast, observation = rng.random((2, 2, 32, 32)).astype(np.float32)
    found = verified(SevirScores(), forecast, observation)
    for pool in (1, 4, 16):
        by_threshold = [
            found["csi", threshold, pool, None]
            for threshold in (16.0, 74.0, 133.0, 160.0, 181.0, 219.0)
        ]
        assert found["csi_mean", None, pool, None] == pytest.approx(np.mean(by_threshold))
    f, o = (np.round(field * 255, 3) >= 74 for field in (forecast, observation))
    assert found["csi", 74.0, 1, None] == (f & o).sum() / (f | o).sum()


def test_sums_of_sevir_add_up_and_other_shapes_are_refused():
    rng = np.random.default_rng(1)
    fields = rng.random((2, 3, 2, 8, 8)).astype(np.float32)
    whole, first, second = (SevirScores().sums(2) for _ in range(3))
    whole.add(*fields)
    first.add(fields[0, :1], fields[1, :1])
    second.add(fields[0, 1:], fields[1, 1:])
    both = first + second
    for name, array in whole.totals().items():
        assert (both.totals()[name] == array).all()
    with pytest.raises(UserError, match=r"of shape \(batch, 2 frames, height, width\), got"):
        whole.add(fields[0], fields[1, :, :1])
