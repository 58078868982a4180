import inspect
import math
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch._subclasses.fake_tensor import FakeTensorMode

from nowcast.cli import config
from nowcast.evaluation.statistics.moving_mnist import ssim
from nowcast.models.base import Capabilities, ForecastModel
from nowcast.models.encoder_forecaster import EncoderForecaster
from nowcast.models.prediction import SingleField
from nowcast.runtime.build import build
from nowcast.training import losses
from nowcast.training.losses import (
    CRPS,
    AbsoluteError,
    BalancedError,
    CrossEntropy,
    ExceedanceError,
    PixelLoss,
    SquaredError,
    StructuralError,
    WeightedError,
    observed_mean,
)
from nowcast.types.batch import Batch
from nowcast.types.transform import LogRainRate

YES = torch.ones(1, 1, 1, 1, 2, dtype=torch.bool)
POISON = (0.3, 1e30, math.nan, math.inf)


def shipped(name):
    """The loss of a file in conf/loss, with the transform it may refer to."""
    loss, transform = (
        OmegaConf.load(config.folder() / path)
        for path in (f"loss/{name}.yaml", "transform/log_rain_rate.yaml")
    )
    return build(
        OmegaConf.to_container(
            OmegaConf.create({"transform": transform, "loss": loss}), resolve=True
        )["loss"],
        "loss",
    )


LOSSES = {name: shipped(name) for name in config.choices("loss")}
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


def row(*values):
    return torch.tensor(values).reshape(1, 1, 1, 1, -1)


def members(*values):
    """An ensemble for one pixel, (1, M, 1, 1, 1, 1)."""
    return torch.tensor(values).reshape(1, -1, 1, 1, 1, 1)


def batch(loss, *, dtype=torch.float32):
    """Forecast, target and mask of 2 sequences of 2 frames with 9 x 10 pixels; the forecast has
    members where the loss wants them.
    """
    random = torch.Generator().manual_seed(1)
    ensemble = []
    if isinstance(loss, CRPS):
        ensemble = [3]
    elif isinstance(loss, ExceedanceError):
        ensemble = [len(loss.thresholds)]
    forecast = torch.rand(2, *ensemble, 2, 1, 9, 10, generator=random, dtype=dtype)
    target = torch.rand(2, 2, 1, 9, 10, generator=random, dtype=dtype)
    observed = torch.ones(2, 2, 1, 9, 10, dtype=torch.bool)
    observed[0, 0, 0, 7:, 1::2] = observed[0, 1, 0, :, 8:] = observed[1, 1] = False
    return forecast, target, observed


def bits(*tensors):
    return [tensor.detach().numpy().tobytes() for tensor in tensors]


def test_every_loss_has_a_file_and_so_takes_part_in_the_tests_of_every_loss():
    classes = {
        value
        for _, value in inspect.getmembers(losses, inspect.isclass)
        if issubclass(value, losses.TrainingLoss) and not inspect.isabstract(value)
    }
    assert {type(loss) for loss in LOSSES.values()} == classes
    assert (
        LOSSES["balanced_error"] == BalancedError(knee=0.5, ceiling=150.0)
        and LOSSES["crps"] == CRPS()
    )


# Each loss by hand


def test_cross_entropy_is_summed_over_pixels_and_averaged_over_sequences():
    forecast = torch.cat([row(0.5, 0.5), row(0.25, 0.75)])
    target = torch.cat([row(1.0, 0.0), row(0.0, 1.0)])
    expected = (2 * math.log(2) + 2 * math.log(4 / 3)) / 2
    assert CrossEntropy().compare(
        forecast, target, YES.expand(2, -1, -1, -1, -1)
    ).item() == pytest.approx(expected, rel=1e-6)


def test_cross_entropy_clips_certainty_at_1e_minus_7():
    assert CrossEntropy().compare(row(0.0, 1.0), row(1.0, 1.0), YES).item() == pytest.approx(
        -math.log(1e-7) + 1e-7, rel=1e-2
    )


def test_the_absolute_error_is_added_with_its_weight():
    plain, added = (
        CrossEntropy(absolute_weight=weight).compare(row(0.5, 0.25), row(1.0, 0.0), YES).item()
        for weight in (0.0, 2.0)
    )
    assert added - plain == pytest.approx(2 * (0.5 + 0.25), rel=1e-6)


class Says(ForecastModel):
    """Forecasts one half everywhere."""

    capabilities = Capabilities(unit_range=True)

    def forward(self, context, forecast_length, observed=None, scale=None):
        return SingleField(torch.full_like(context, 0.5))


@pytest.mark.parametrize(
    ("rise", "progress", "share"),
    [
        ([0.5, 0.75], 0.0, 0.0),
        ([0.5, 0.75], 0.5, 0.0),
        ([0.5, 0.75], 0.625, 0.5),
        ([0.5, 0.75], 0.75, 1.0),
        ([0.5, 0.75], 1.0, 1.0),
        ([0.5, 0.5], 0.49, 0.0),
        ([0.5, 0.5], 0.5, 1.0),
        ([0.0, 0.0], 0.0, 1.0),
    ],
)
def test_the_weight_of_the_absolute_error_rises_in_training_and_is_full_in_validation(
    rise, progress, share
):
    batch = Batch.complete(row(1.0, 0.0), row(1.0, 0.0))
    loss, plain = CrossEntropy(absolute_weight=4.0, absolute_rise=rise), CrossEntropy()
    added = loss(Says(), batch, progress) - plain(Says(), batch, progress)
    assert added.item() == pytest.approx(4 * share * (0.5 + 0.5), rel=1e-6)
    full = loss.of_prediction(Says()(batch.context, 1), batch)
    assert (full - plain(Says(), batch, progress)).item() == pytest.approx(4.0, rel=1e-6)


def test_squared_and_absolute_error_are_means_over_observed_pixels():
    forecast, target, observed = (
        row(0.3, 0.1, 0.9),
        row(0.5, 0.0, 0.0),
        torch.tensor([True, True, False]).reshape(1, 1, 1, 1, 3),
    )
    assert SquaredError().compare(forecast, target, observed).item() == pytest.approx(
        (0.04 + 0.01) / 2, rel=1e-6
    )
    assert AbsoluteError().compare(forecast, target, observed).item() == pytest.approx(
        (0.2 + 0.1) / 2, rel=1e-6
    )


def test_weighted_error_is_the_weighted_mean_of_square_and_absolute_error():
    # target 0.5 weighs 1 + 4 * 0.5 = 3: 3 * (0.04 + 0.2) = 0.72; target 0 weighs 1: 0.01 + 0.1 =
    # 0.11
    assert WeightedError(rain_weight=4).compare(
        row(0.3, 0.1), row(0.5, 0.0), YES
    ).item() == pytest.approx((0.72 + 0.11) / 2, rel=1e-6)


def test_balanced_error_weighs_squared_and_absolute_error_by_the_true_rain_rate():
    # knee 1, ceiling 99: log(1 + R) / log(100), so 0.5 is 9 mm/h (weight 5) and 1 is 99 mm/h
    # (weight 30)
    squared = 5 * 0.25**2 + 30 * 0.1**2
    absolute = 5 * 0.25 + 30 * 0.1
    for weights in ((1.0, 1.0), (2.0, 0.0), (0.0, 3.0)):
        loss = BalancedError(
            knee=1.0, ceiling=99.0, squared_weight=weights[0], absolute_weight=weights[1]
        )
        expected = (weights[0] * squared + weights[1] * absolute) / 2
        assert loss.compare(row(0.25, 0.9), row(0.5, 1.0), YES).item() == pytest.approx(
            expected, rel=1e-6
        )


def test_the_weights_are_those_of_hko_7_also_at_the_thresholds():
    rain_rate = np.array([0, 1.9, 2, 4.9, 5, 9.9, 10, 29.9, 30, 150, 1000], np.float32)
    transform = LogRainRate()
    weights = BalancedError(knee=transform.knee, ceiling=transform.ceiling).pixel_weights(
        transform.normalise(rain_rate)[0]
    )
    assert weights.tolist() == [1, 1, 2, 2, 5, 5, 10, 10, 30, 30, 30]


@pytest.mark.parametrize(("knee", "ceiling"), [(0.5, 150.0), (0.1, 100.0), (2.0, 60.0)])
def test_no_rain_rate_a_radar_measures_gets_the_weight_of_a_neighbour_by_rounding(knee, ceiling):
    rain_rate = np.arange(0, 5000) / np.float32(100)  # steps of 0.01 mm/h
    expected = np.array([1, 2, 5, 10, 30])[
        np.digitize(rain_rate, np.array([2, 5, 10, 30], np.float32))
    ]
    normalised, _ = LogRainRate(knee=knee, ceiling=ceiling).normalise(rain_rate)
    np.testing.assert_array_equal(
        BalancedError(knee=knee, ceiling=ceiling).pixel_weights(normalised), expected
    )


@pytest.mark.parametrize(("knee", "ceiling"), [(0.5, 150.0), (0.1, 100.0)])
def test_the_loss_restores_rain_rates_as_the_transform_does(knee, ceiling):
    normalised = torch.linspace(-0.2, 1.2, 1001)
    np.testing.assert_array_equal(
        BalancedError(knee=knee, ceiling=ceiling).rain_rate(normalised),
        LogRainRate(knee=knee, ceiling=ceiling).restore(normalised),
    )


def test_a_dry_forecast_of_heavy_rain_is_drawn_towards_it():
    forecast = row(0.0, 0.0).requires_grad_()
    BalancedError(knee=1.0, ceiling=99.0).compare(forecast, row(1.0, 0.0), YES).backward()
    assert forecast.grad.flatten().tolist() == pytest.approx([-30 * (2 * 1 + 1) / 2, 0], rel=1e-6)


def test_the_structural_error_of_black_for_white_is_almost_1_plus_the_absolute_error():
    forecast, target, observed = (
        torch.zeros(1, 1, 1, 7, 7),
        torch.ones(1, 1, 1, 7, 7),
        torch.ones(1, 1, 1, 7, 7, dtype=torch.bool),
    )
    for weight in (0.0, 1.0, 2.5):  # C1 / (1 + C1) with C1 = 0.0001
        assert StructuralError(absolute_weight=weight).compare(
            forecast, target, observed
        ).item() == pytest.approx(1 - 1e-4 / 1.0001 + weight, rel=1e-6)


def test_the_structural_error_alone_is_flat_far_from_a_dry_truth():
    for weight, slope in ((0.0, 0.0016), (1.0, 1.0016)):
        forecast = torch.full((1, 1, 1, 7, 7), 0.5, requires_grad=True)
        StructuralError(absolute_weight=weight).compare(
            forecast, torch.zeros(1, 1, 1, 7, 7), torch.ones(1, 1, 1, 7, 7, dtype=torch.bool)
        ).backward()
        assert forecast.grad.sum().item() == pytest.approx(slope, rel=1e-3)


def test_the_structural_error_is_1_minus_the_ssim_of_the_scores():
    forecast, target, observed = batch(StructuralError(), dtype=torch.float64)
    expected = (
        1 - ssim(forecast[:, :, 0].numpy(), target[:, :, 0].numpy(), data_ranges=(1,))[0].mean()
    )
    assert StructuralError(absolute_weight=0.0).compare(
        forecast, target, torch.ones_like(observed)
    ).item() == pytest.approx(expected, rel=1e-12)


def test_a_window_with_an_unobserved_pixel_counts_for_nothing():
    forecast, target, observed = batch(StructuralError(), dtype=torch.float64)
    errors = []
    for f, t, o in zip(
        forecast.flatten(0, 2).numpy(), target.flatten(0, 2).numpy(), observed.flatten(0, 2).numpy()
    ):
        for window in (np.s_[i : i + 7, j : j + 7] for i in range(3) for j in range(4)):
            if o[window].all():
                (f_variance, both), (_, t_variance) = np.cov(f[window].ravel(), t[window].ravel())
                fm, tm = f[window].mean(), t[window].mean()
                errors.append(
                    1
                    - (2 * fm * tm + 1e-4)
                    * (2 * both + 9e-4)
                    / ((fm**2 + tm**2 + 1e-4) * (f_variance + t_variance + 9e-4))
                )
    assert len(errors) == 4 + 6 + 12 + 0
    absolute = (forecast - target).abs()[observed].mean().item()
    assert StructuralError(absolute_weight=2.0).compare(
        forecast, target, observed
    ).item() == pytest.approx(np.mean(errors) + 2 * absolute, rel=1e-12)


def test_the_crps_is_the_error_of_the_members_less_half_their_mean_difference():
    # |0.2 - 0.9| and |0.6 - 0.9| have the mean 0.5; the pairs (1, 2) and (2, 1) differ by 0.4 each
    arguments = members(0.2, 0.6), torch.tensor(0.9).reshape(1, 1, 1, 1, 1), YES[..., :1]
    assert CRPS(members=2).compare(*arguments).item() == pytest.approx(
        0.5 - 0.8 / (2 * 2 * 1), rel=1e-6
    )
    assert CRPS(members=2, fair=False).compare(*arguments).item() == pytest.approx(
        0.5 - 0.8 / (2 * 2 * 2), rel=1e-6
    )


@pytest.mark.parametrize("count", [2, 3, 7])
@pytest.mark.parametrize("fair", [True, False])
def test_the_crps_is_that_of_a_double_loop_over_members(count, fair):
    random = np.random.default_rng(2)
    forecast, target, observed = (
        random.random((2, count, 3, 1, 4, 5)),
        random.random((2, 3, 1, 4, 5)),
        random.random((2, 3, 1, 4, 5)) < 0.7,
    )
    error = sum(np.abs(forecast[:, i] - target) for i in range(count)) / count
    difference = sum(
        np.abs(forecast[:, i] - forecast[:, j]) for i in range(count) for j in range(count)
    )
    expected = (error - difference / (2 * count * (count - 1 if fair else count)))[observed].mean()
    assert CRPS(fair=fair).compare(
        *map(torch.from_numpy, (forecast, target, observed))
    ).item() == pytest.approx(expected, rel=1e-12)


def test_equal_members_have_the_absolute_error_as_their_crps():
    forecast, target, observed = batch(SquaredError())
    same = forecast.unsqueeze(1).expand(-1, 5, -1, -1, -1, -1)
    assert CRPS().compare(same, target, observed).item() == pytest.approx(
        AbsoluteError().compare(forecast, target, observed).item(), rel=1e-6
    )


def test_only_the_fair_crps_is_best_for_members_from_the_distribution_of_the_truth():
    random = torch.Generator().manual_seed(3)
    shape = (50_000, 1, 1, 1, 1)
    target = torch.randn(shape, generator=random)
    noise = torch.randn(shape[0], 2, *shape[1:], generator=random)
    observed = torch.ones(shape, dtype=torch.bool)
    score = {
        (fair, bias, spread): CRPS(fair=fair)
        .compare(bias + spread * noise, target, observed)
        .item()
        for fair in (True, False)
        for bias, spread in ((0, 1), (0.3, 1), (0, 1.5), (0, 0.6))
    }
    assert score[True, 0, 1] == pytest.approx(
        1 / math.sqrt(math.pi), abs=0.01
    )  # CRPS of N(0, 1) for itself
    assert all(
        score[True, 0, 1] < score[True, bias, spread] - 0.01
        for bias, spread in ((0.3, 1), (0, 1.5), (0, 0.6))
    )
    assert score[False, 0, 0.6] < score[False, 0, 1] - 0.01


# What every loss keeps


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@every_loss
def test_no_value_that_was_not_observed_changes_a_bit_of_loss_or_gradient(loss, precision):
    forecast, target, observed = batch(loss)
    mask = (observed.unsqueeze(1) if forecast.ndim == 6 else observed).expand_as(forecast)
    results = []
    for in_forecast, in_target in [
        (0.0, 0.0),
        *((poison, 0.0) for poison in POISON),
        *((0.0, poison) for poison in POISON),
        *zip(POISON, POISON),
    ]:
        leaf = forecast.where(mask, in_forecast).requires_grad_()
        low = precision == "bfloat16"
        with torch.autocast("cpu", dtype=torch.bfloat16) if low else nullcontext():
            value = loss.compare(
                leaf.bfloat16() if low else leaf, target.where(observed, in_target), observed
            )
        value.backward()
        assert value.dtype == torch.float32 and math.isfinite(value.item())
        assert leaf.grad[mask].abs().sum() > 0 and not leaf.grad[~mask].any()
        results.append(bits(value, leaf.grad))
    assert all(result == results[0] for result in results)


@pytest.mark.parametrize(
    "name", ["squared_error", "absolute_error", "weighted_error", "balanced_error"]
)
def test_an_error_of_pixels_is_their_mean_over_the_observed_ones_alone(name):
    forecast, target, observed = batch(LOSSES[name], dtype=torch.float64)
    alone = (values[observed].reshape(1, 1, 1, 1, -1) for values in (forecast, target, observed))
    assert LOSSES[name].compare(forecast, target, observed).item() == pytest.approx(
        LOSSES[name].compare(*alone).item(), rel=1e-12
    )


@every_loss
def test_a_wholly_missing_target_has_loss_and_gradient_0(loss):
    forecast, target, observed = batch(loss)
    for hidden in (0.3, math.nan):
        leaf = forecast.clone().requires_grad_()
        value = loss.compare(leaf, torch.full_like(target, hidden), torch.zeros_like(observed))
        value.backward()
        assert value.item() == 0 and leaf.grad.count_nonzero() == 0


@every_loss
def test_a_network_learns_the_same_whatever_stands_where_nothing_was_observed(loss):
    _, window, observed = batch(
        SquaredError()
    )  # the first frame is the context, the second the target
    learnt = []
    for poison in (0.0, *POISON):
        torch.manual_seed(4)
        model = EncoderForecaster(
            [2], input_kernel=3, state_kernel=3, patch=2, observed_channel=True
        )
        before = bits(*model.parameters())
        context, target = window.where(observed, poison).split(1, dim=1)
        forecast = model(context, 1, observed[:, :1]).point()
        if isinstance(loss, CRPS):
            forecast = torch.stack([forecast, forecast.square()], dim=1)
        elif isinstance(loss, ExceedanceError):
            forecast = torch.stack([forecast - level for level in loss.levels], dim=1)
        loss.compare(forecast, target, observed[:, 1:]).backward()
        torch.optim.Adam(model.parameters(), lr=0.01).step()
        learnt.append(bits(*model.parameters()))
    assert all(weights == learnt[0] for weights in learnt) and learnt[0] != before


@every_loss
def test_the_gradient_is_that_of_finite_differences(loss):
    forecast, target, observed = (values[:1] for values in batch(loss, dtype=torch.float64))
    truth = target.unsqueeze(1) if forecast.ndim == 6 else target
    forecast = 0.05 + 0.9 * forecast
    forecast = torch.where(
        (forecast - truth).abs() < 1e-3, truth + 0.01, forecast
    )  # away from the kink of |x|
    assert torch.autograd.gradcheck(
        lambda values: loss.compare(values, target, observed), forecast.requires_grad_()
    )


@every_loss
def test_constant_frames_have_a_finite_gradient(loss):
    forecast, target, observed = batch(loss)
    for constants in ((0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0), (0.5, 0.5)):
        leaf = torch.full_like(forecast, constants[0]).requires_grad_()
        loss.compare(leaf, torch.full_like(target, constants[1]), observed).backward()
        assert leaf.grad.isfinite().all()


@every_loss
def test_a_network_in_low_precision_is_judged_in_float32(loss):
    forecast, target, observed = batch(loss)
    low = forecast.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = loss.compare(low, target, observed)
    assert bits(inside) == bits(loss.compare(low.float(), target, observed))


@every_loss
def test_a_loss_can_be_taken_under_the_autocast_of_a_gpu(loss):
    torch.set_autocast_enabled(
        "cuda", True
    )  # torch.autocast("cuda") would do nothing without a GPU
    try:
        with FakeTensorMode() as fake:
            assert (
                loss.compare(*(fake.from_tensor(values).cuda() for values in batch(loss))).dtype
                == torch.float32
            )
    finally:
        torch.set_autocast_enabled("cuda", False)


@dataclass(frozen=True)
class RootError(PixelLoss):
    """As in the docstring of the losses: what somebody writes who adds one."""

    def of(self, forecast, target, observed):
        return observed_mean((forecast - target).abs().sqrt(), observed)


def test_a_loss_of_ones_own_is_called_with_what_was_observed_and_zeros():
    forecast, target = row(0.3, math.nan).requires_grad_(), row(0.05, math.inf)
    value = RootError().compare(forecast, target, row(True, False))
    value.backward()
    assert value.item() == pytest.approx(0.5)  # of |0.3 - 0.05| = 0.25
    assert forecast.grad.flatten().tolist() == [pytest.approx(1.0), 0.0]


# What is refused


class Probabilities(ForecastModel):
    """A model of probabilities."""

    capabilities = Capabilities(probabilistic=True)

    def forward(self, context, forecast_length, observed=None, scale=None):
        raise NotImplementedError


def test_only_a_loss_of_probabilities_trains_a_model_of_probabilities():
    for loss in (SquaredError(), CRPS(), CrossEntropy()):
        with pytest.raises(ValueError, match="and this Probabilities do not go together"):
            loss.check(Probabilities())
    loss = LOSSES["exceedance_error"]
    loss.check(Probabilities())
    field = torch.zeros(1, 1, 1, 2, 2)
    with pytest.raises(ValueError, match="expected a LogitPrediction, .* got a SingleField"):
        loss.of_prediction(SingleField(field), Batch.complete(field, field))


@every_loss
def test_shapes_that_would_be_broadcast_are_refused(loss):
    forecast, target, observed = batch(loss)
    for shapes in (
        (target[:, :1], observed[:, :1]),
        (target[:, :1], observed),
        (target, observed[:, :1]),
    ):
        with pytest.raises(
            ValueError,
            match=r"forecast, target and observed have the shapes \(2, .*; they must be the same",
        ):
            loss.compare(forecast, *shapes)


def test_an_ensemble_is_refused_by_a_loss_for_one_forecast():
    forecast, target, observed = batch(CRPS())
    with pytest.raises(
        ValueError,
        match=r"have the shapes \(2, 3, 2, 1, 9, 10\), \(2, 2, 1, 9, 10\), \(2, 2, 1, 9, 10\); "
        r"they must be the same",
    ):
        SquaredError().compare(forecast, target, observed)


@pytest.mark.parametrize("shape", [(2, 2, 1, 9, 10), (2, 1, 2, 1, 9, 10)])
def test_a_forecast_without_members_is_refused_by_the_crps(shape):
    _, target, observed = batch(CRPS())
    message = (
        r"expected at least 2 members \(B, M, T, C, H, W\), got a forecast of shape .*; take a "
        r"model that draws members \(model.state_noise=0.1\)"
    )
    with pytest.raises(ValueError, match=message):
        CRPS().compare(torch.zeros(shape), target, observed)


@pytest.mark.parametrize("shape", [(1, 1, 1, 6, 9), (1, 1, 1, 9, 6)])
def test_frames_smaller_than_the_window_are_refused(shape):
    with pytest.raises(
        ValueError,
        match="expected frames of at least 7 x 7 pixels, the windows that StructuralError "
        r"compares, got \d x \d; take larger frames",
    ):
        StructuralError().compare(
            torch.zeros(shape), torch.zeros(shape), torch.ones(shape, dtype=torch.bool)
        )


def balanced(**settings):
    return BalancedError(**{"knee": 0.5, "ceiling": 150.0} | settings)


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (CrossEntropy, {"absolute_weight": -2}, "loss.absolute_weight is -2; it must be 0 or more"),
        (
            CrossEntropy,
            {"absolute_rise": [0.5, 0.4]},
            r"loss.absolute_rise is \[0.5, 0.4\]; expected two shares of the training, from 0 to 1, "
            "the second not below the first",
        ),
        (CrossEntropy, {"absolute_rise": [0.5]}, r"loss.absolute_rise is \[0.5\]; expected two"),
        (CrossEntropy, {"absolute_rise": [0, 1.5]}, "expected two shares of the training"),
        (WeightedError, {"rain_weight": -1}, "loss.rain_weight is -1; it must be 0 or more"),
        (
            StructuralError,
            {"absolute_weight": math.nan},
            "loss.absolute_weight is nan; it must be 0 or more",
        ),
        (balanced, {"squared_weight": -1}, "loss.squared_weight is -1; it must be 0 or more"),
        (balanced, {"absolute_weight": -0.5}, "loss.absolute_weight is -0.5; it must be 0 or more"),
        (
            balanced,
            {"knee": 0},
            r"loss.knee is 0 and loss.ceiling is 150.0; give those of the transform, 0 < knee < "
            r"ceiling \[mm/h\]",
        ),
        (
            balanced,
            {"ceiling": 0.4},
            "loss.knee is 0.5 and loss.ceiling is 0.4; give those of the transform",
        ),
        (
            balanced,
            {"thresholds": [2.0, 10.0, 5.0, 30.0]},
            r"loss.thresholds is \[2.0, 10.0, 5.0, 30.0\]; expected rising rain rates above 0",
        ),
        (
            balanced,
            {"thresholds": [0.0, 5.0, 10.0, 30.0]},
            r"loss.thresholds is \[0.0, 5.0, 10.0, 30.0\]; expected rising rain rates above 0",
        ),
        (
            balanced,
            {"weights": [1.0, 2.0, 5.0, 10.0]},
            r"loss.weights is \[1.0, 2.0, 5.0, 10.0\]; expected 5 weights for 4 thresholds",
        ),
        (
            balanced,
            {"weights": [1.0, 2.0, 5.0, 10.0, -1.0]},
            r"loss.weights is \[1.0, 2.0, 5.0, 10.0, -1.0\]; it must be 0 or more",
        ),
        (
            balanced,
            {"squared_weight": 0, "absolute_weight": 0},
            "loss.squared_weight 0, loss.absolute_weight 0; nothing is left to learn from",
        ),
        (
            balanced,
            {"weights": [0.0] * 5},
            r"loss.weights is \[0.0, 0.0, 0.0, 0.0, 0.0\], .* nothing is left to learn from",
        ),
        (CRPS, {"members": 1}, "loss.members is 1; it must be 2 or more"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(make, settings, message):
    with pytest.raises(ValueError, match=message):
        make(**settings)


def test_exceedance_error_is_the_cross_entropy_of_each_threshold_by_its_weight():
    loss = ExceedanceError(0.5, 150.0, [1.0, 5.0], [1.0, 3.0])
    target, observed = LogRainRate().normalise(
        np.array([1.0, 4.0, np.nan], np.float32).reshape(1, 1, 1, 1, 3)
    )  # on the threshold is an event
    logits = torch.tensor([[0.0, 2.0, 9.0], [-1.0, -2.0, 9.0]]).reshape(1, 2, 1, 1, 1, 3)
    events = (
        (math.log(2) + math.log1p(math.exp(-2))) / 2,
        (math.log1p(math.exp(-1)) + math.log1p(math.exp(-2))) / 2,
    )
    assert loss.compare(logits, target, observed).item() == pytest.approx(
        events[0] + 3 * events[1], rel=1e-6
    )


@pytest.mark.parametrize(
    ("thresholds", "weights"),
    [([], []), ([1.0], [1.0, 2.0]), ([5.0, 1.0], [1.0, 1.0]), ([1.0, 200.0], [1.0, 1.0])],
)
def test_exceedance_error_needs_ascending_rates_and_a_weight_for_each(thresholds, weights):
    with pytest.raises(
        ValueError, match="expected ascending rates between 0 and 150 mm/h, and a weight for each"
    ):
        ExceedanceError(0.5, 150.0, thresholds, weights)


def test_exceedance_error_refuses_logits_of_another_shape():
    with pytest.raises(
        ValueError, match=r"but for the thresholds of the forecast: \(B, 2, T, C, H, W\)"
    ):
        ExceedanceError(0.5, 150.0, [1.0, 5.0], [1.0, 1.0]).compare(
            torch.zeros(1, 1, 1, 1, 1, 2), row(0.1, 0.2), YES
        )
