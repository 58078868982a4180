import math

import numpy as np
import pytest
import torch

from nowcast.transform import Identity, LogRainRate


def test_log_rain_rate_has_the_stated_formula():
    values, observed = LogRainRate(knee=0.5, ceiling=150).normalise(np.array([0.0, 0.5, 150.0, 1000.0]))
    assert values.tolist() == pytest.approx([0, math.log(2) / math.log(301), 1, 1], rel=1e-6)
    assert observed.all()


@pytest.mark.parametrize("transform", [Identity(), LogRainRate()])
def test_the_way_back_restores_rain_rates_up_to_the_ceiling(transform):
    rain_rate = np.array([0, 0.01, 0.1, 0.5, 1, 7.3, 29.9, 149], dtype=np.float32)
    np.testing.assert_allclose(transform.restore(transform.normalise(rain_rate)[0]), rain_rate, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("transform", [Identity(), LogRainRate()])
def test_missing_is_masked_and_a_constant_underneath_and_missing_again_on_the_way_back(transform):
    values, observed = transform.normalise(np.array([np.nan, 2.0, 0.0], dtype=np.float32))
    assert observed.tolist() == [False, True, True]
    assert values[0] == 0 and values[1] > 0
    assert np.isnan(transform.restore(torch.tensor([torch.nan]))[0])


def test_a_network_output_outside_0_to_1_gives_no_negative_and_no_absurd_rain():
    assert LogRainRate(ceiling=150).restore(torch.tensor([-0.2, 1.7])).tolist() == pytest.approx([0, 150])


@pytest.mark.parametrize(("knee", "ceiling"), [(0, 10), (-1, 10), (5, 5), (1, math.inf)])
def test_impossible_settings_are_refused(knee, ceiling):
    with pytest.raises(ValueError, match="must fulfil 0 < knee < ceiling"):
        LogRainRate(knee=knee, ceiling=ceiling)
