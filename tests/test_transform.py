import math

import numpy as np
import pytest
import torch

from nowcast.types.transform import FlooredLogRainRate, Identity, LogRainRate


def test_log_rain_rate_has_the_stated_formula():
    values, observed = LogRainRate(knee=0.5, ceiling=150).normalise(
        np.array([0.0, 0.5, 150.0, 1000.0])
    )
    assert values.tolist() == pytest.approx([0, math.log(2) / math.log(301), 1, 1], rel=1e-6)
    assert observed.all()


@pytest.mark.parametrize("transform", [Identity(), LogRainRate()])
def test_the_way_back_restores_rain_rates_up_to_the_ceiling(transform):
    rain_rate = np.array([0, 0.01, 0.1, 0.5, 1, 7.3, 29.9, 149], dtype=np.float32)
    np.testing.assert_allclose(
        transform.restore(transform.normalise(rain_rate)[0]), rain_rate, rtol=2e-6, atol=1e-7
    )


@pytest.mark.parametrize("transform", [Identity(), LogRainRate(), FlooredLogRainRate()])
def test_missing_is_masked_and_a_constant_underneath_and_missing_again_on_the_way_back(transform):
    values, observed = transform.normalise(np.array([np.nan, 2.0, 0.0], dtype=np.float32))
    assert observed.tolist() == [False, True, True]
    assert values[0] == 0 and values[1] > 0
    assert np.isnan(transform.restore(torch.tensor([torch.nan]))[0])


def test_a_network_output_outside_0_to_1_gives_no_negative_and_no_absurd_rain():
    assert LogRainRate(ceiling=150).restore(torch.tensor([-0.2, 1.7])).tolist() == pytest.approx(
        [0, 150]
    )


@pytest.mark.parametrize(("knee", "ceiling"), [(0, 10), (-1, 10), (5, 5), (1, math.inf)])
def test_impossible_settings_are_refused(knee, ceiling):
    with pytest.raises(ValueError, match="must fulfil 0 < knee < ceiling"):
        LogRainRate(knee=knee, ceiling=ceiling)


def test_a_floored_logarithm_has_the_stated_formula():
    """Dry stands at 0.1 mm/h, half the floor: 0.2 is one factor of two above it, 1 a factor of ten,
    100 a factor of a thousand.
    """
    values, observed = FlooredLogRainRate(floor=0.2, ceiling=100).normalise(
        np.array([0.2, 1.0, 10.0, 100.0, 1000.0])
    )
    assert values.tolist() == pytest.approx([math.log10(2) / 3, 1 / 3, 2 / 3, 1, 1], rel=1e-6)
    assert observed.all()


def test_below_the_floor_everything_is_dry_in_both_directions_and_at_it_nothing():
    transform = FlooredLogRainRate(floor=0.2, ceiling=100)
    values, observed = transform.normalise(np.array([0.0, 0.01, 0.1999, 0.2], np.float32))
    assert values[:3].tolist() == [0, 0, 0] and values[3] > 0.1 and observed.all()
    assert transform.restore(values).tolist() == [0, 0, 0, np.float32(0.2)]
    weakest = math.log10(2) / 3
    assert transform.restore(
        torch.tensor([-0.2, 0.0, weakest - 0.001, weakest + 0.001, 1.7])
    ).tolist() == pytest.approx([0, 0, 0, 0.2 * 10**0.003, 100], rel=1e-5)


@pytest.mark.parametrize("floor", [0.2, 0.1, 0.3, 1.0])
def test_the_way_back_restores_every_rain_rate_from_the_floor_to_the_ceiling(floor):
    transform = FlooredLogRainRate(floor=floor)
    rain_rate = np.concatenate([[floor], np.geomspace(floor, 150, 10_000)[1:], [150]]).astype(
        np.float32
    )
    np.testing.assert_allclose(
        transform.restore(transform.normalise(rain_rate)[0]), rain_rate, rtol=3e-6
    )


@pytest.mark.parametrize(
    ("floor", "ceiling"), [(0, 10), (-1, 10), (5, 5), (1, math.inf), (math.nan, 10)]
)
def test_an_impossible_floor_is_refused(floor, ceiling):
    with pytest.raises(ValueError, match="must fulfil 0 < floor < ceiling"):
        FlooredLogRainRate(floor=floor, ceiling=ceiling)
