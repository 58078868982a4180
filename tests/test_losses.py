import math

import pytest
import torch

from nowcast.losses import CrossEntropy, WeightedError

YES = torch.ones(1, 1, 1, 1, 2, dtype=torch.bool)


def row(*values):
    return torch.tensor(values).reshape(1, 1, 1, 1, -1)


def test_cross_entropy_is_summed_over_pixels_and_averaged_over_sequences():
    forecast = torch.cat([row(0.5, 0.5), row(0.25, 0.75)])
    target = torch.cat([row(1.0, 0.0), row(0.0, 1.0)])
    expected = (2 * math.log(2) + 2 * math.log(4 / 3)) / 2
    assert CrossEntropy()(forecast, target, YES.expand(2, -1, -1, -1, -1)).item() == pytest.approx(expected, rel=1e-6)


def test_cross_entropy_clips_certainty_at_1e_minus_7():
    assert CrossEntropy()(row(0.0, 1.0), row(1.0, 1.0), YES).item() == pytest.approx(-math.log(1e-7) + 1e-7, rel=1e-2)


def test_weighted_error_is_the_weighted_mean_of_square_and_absolute_error():
    # target 0.5 weighs 1 + 4 * 0.5 = 3: 3 * (0.04 + 0.2) = 0.72; target 0 weighs 1: 0.01 + 0.1 = 0.11
    assert WeightedError(rain_weight=4)(row(0.3, 0.1), row(0.5, 0.0), YES).item() == pytest.approx((0.72 + 0.11) / 2, rel=1e-6)


def test_the_absolute_error_is_added_with_its_weight():
    plain, added = (CrossEntropy(absolute_weight=weight)(row(0.5, 0.25), row(1.0, 0.0), YES).item() for weight in (0.0, 2.0))
    assert added - plain == pytest.approx(2 * (0.5 + 0.25), rel=1e-6)


@pytest.mark.parametrize("loss", [CrossEntropy(), CrossEntropy(absolute_weight=3.0), WeightedError()])
def test_what_was_not_observed_changes_neither_loss_nor_gradient(loss):
    results = []
    for hidden in (0.0, 0.9):
        forecast = row(0.3, 0.6).requires_grad_()
        value = loss(forecast, row(0.5, hidden), torch.tensor([True, False]).reshape(YES.shape))
        value.backward()
        results.append((value.item(), *forecast.grad.flatten().tolist()))
    assert results[0] == results[1]
    assert results[0][1] != 0 and results[0][2] == 0


def test_weighted_error_of_a_wholly_missing_target_is_zero():
    assert WeightedError()(row(0.3, 0.6), row(0.5, 0.5), ~YES).item() == 0


def test_a_negative_absolute_weight_is_refused():
    with pytest.raises(ValueError, match="loss.absolute_weight is -2; it must be 0 or more"):
        CrossEntropy(absolute_weight=-2)


def test_a_negative_rain_weight_is_refused():
    with pytest.raises(ValueError, match="loss.rain_weight is -1; it must be 0 or more"):
        WeightedError(rain_weight=-1)
