"""What a mask hides changes nothing, whatever it is: forecasts, losses and gradients have the same
bits for zeros, NaN, infinities and rain.

The gradient of a product with NaN is NaN even where the product is masked afterwards, so hidden
values have to be replaced before.
"""

import pytest
import torch

from nowcast.models.convlstm import ConvLSTM
from nowcast.models.lagrangian import LagrangianConvLSTM
from nowcast.training import losses
from nowcast.types.batch import Batch
from nowcast.types.scale import Scale
from tests.test_models import NAMES, model

POISONS = (0.7, float("nan"), float("inf"), float("-inf"), 3e38)


def draw_layer(generator):
    """A ConvLSTM with settings drawn from numpy's generator, its input and its mask."""
    stride, dilation = [(1, 1), ((2, 1), 1), (1, (1, 2))][generator.integers(3)]
    settings = {
        "input_kernel": int(generator.integers(1, 5)),
        "state_kernel": int(generator.integers(1, 5)),
        "stride": stride,
        "dilation": dilation,
        "padding": str(generator.choice(["same", "valid"])),
        "activation": str(generator.choice(["tanh", "relu", "leaky_relu"])),
        "gate_activation": str(generator.choice(["sigmoid", "hard_sigmoid"])),
        "bias": bool(generator.integers(2)),
        "peephole": bool(generator.integers(2)),
        "norm_groups": int(generator.integers(0, 3)),
        "dropout": float(generator.choice([0.0, 0.4])),
        "state_dropout": float(generator.choice([0.0, 0.4])),
        "go_backwards": bool(generator.integers(2)),
        "channels_last": bool(generator.integers(2)),
        "checkpoint": int(generator.integers(0, 3)),
    }
    torch.manual_seed(int(generator.integers(1000)))
    layer = ConvLSTM(2, 4, **settings)
    shape = (2, 4, 9, 8, 2) if settings["channels_last"] else (2, 4, 2, 9, 8)
    mask = torch.rand(2, 4) > 0.4
    mask[0, 0] = False
    return layer, torch.randn(shape), mask


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("hooked", [False, True])
def test_inputs_at_masked_steps_change_neither_outputs_nor_gradients_of_a_convlstm(
    seed, hooked, numpy_generator
):
    layer, inputs, mask = draw_layer(numpy_generator(seed))
    if hooked:
        layer.cell.register_forward_hook(lambda *_: None)
    found = []
    for poison in (0.0, *POISONS):
        leaf = torch.where(mask[:, :, None, None, None], inputs, poison).requires_grad_()
        layer.zero_grad()
        torch.manual_seed(1)
        outputs, (h, c) = layer(leaf, mask=mask)
        (outputs.square().sum() + h.sum() + c.square().sum()).backward()
        found.append([outputs, h, c, leaf.grad, *(weight.grad for weight in layer.parameters())])
    for values in found:
        assert all(value.isfinite().all() for value in values)
        assert all(torch.equal(*same) for same in zip(values, found[0], strict=True))
    assert found[0][3][~mask].abs().max() == 0 and found[0][3].abs().max() > 0


LOSSES = {
    "cross entropy": losses.CrossEntropy(absolute_weight=0.1),
    "squared": losses.SquaredError(),
    "absolute": losses.AbsoluteError(),
    "weighted": losses.WeightedError(),
    "balanced": losses.BalancedError(knee=0.1, ceiling=100.0),
    "structural": losses.StructuralError(),
}


def poisoned_batch(poison, *, shape=(2, 9, 1, 16, 16), context=5):
    """A batch of rain in [0, 1], of which a third is hidden: single pixels, a whole frame of the
    context and one of the target.
    """
    generator = torch.Generator().manual_seed(3)
    frames, observed = (
        torch.rand(shape, generator=generator),
        torch.rand(shape, generator=generator) > 0.3,
    )
    observed[0, 1] = observed[1, context + 1] = False
    frames = torch.where(observed, frames, poison)
    return Batch(
        frames[:, :context],
        frames[:, context:],
        observed[:, :context],
        observed[:, context:],
        scale=Scale.of_samples([(5.0, 1.0)] * len(frames)),
    )


def gradients(network, loss, batch):
    network.train().zero_grad()
    torch.manual_seed(5)
    value = loss(network, batch, progress=0.4)
    value.backward()
    return [
        value.detach(),
        *(weight.grad.clone() for weight in network.parameters() if weight.grad is not None),
    ]


def assert_same_whatever_is_hidden(network, loss, **batch):
    expected = gradients(network, loss, poisoned_batch(0.0, **batch))
    assert len(expected) > 3 and all(value.isfinite().all() for value in expected)
    for poison in (0.7, float("nan"), float("-inf")):
        found = gradients(network, loss, poisoned_batch(poison, **batch))
        assert all(torch.equal(*same) for same in zip(found, expected, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_hidden_pixels_change_neither_the_loss_nor_the_gradients_of_any_model(name):
    assert_same_whatever_is_hidden(model(name, "radar"), losses.SquaredError())


@pytest.mark.parametrize("loss", LOSSES)
def test_hidden_pixels_change_neither_the_loss_nor_the_gradients_under_any_loss(loss):
    assert_same_whatever_is_hidden(model("convlstm_small", "radar"), LOSSES[loss])


def test_hidden_pixels_change_nothing_under_the_loss_of_an_ensemble():
    from nowcast.models.encoder_forecaster import EncoderForecaster

    assert_same_whatever_is_hidden(
        EncoderForecaster([4, 4], input_kernel=3, state_kernel=3, state_noise=0.3),
        losses.CRPS(members=3),
    )


@pytest.mark.parametrize("loss", ["exceedance", "squared"])
def test_hidden_pixels_change_nothing_of_the_network_that_moves_with_the_rain(loss):
    torch.manual_seed(0)
    network = LagrangianConvLSTM([4, 4, 4], knee=0.1, ceiling=100.0)
    levels = losses.ExceedanceError(
        knee=0.1, ceiling=100.0, thresholds=[0.1, 1.0, 10.0], weights=[1.0, 1.0, 1.0]
    )
    batch = {"shape": (2, 6, 1, 32, 40), "context": 3}
    if loss == "exceedance":
        assert_same_whatever_is_hidden(network, levels, **batch)
    else:  # its frames have NaN where the rain comes from outside, which the target may know
        assert_same_whatever_is_hidden(network, WhereForecast(), **batch)


class WhereForecast(losses.SquaredError):
    """The squared error, without the pixels that have no forecast."""

    def compare(self, forecast, target, observed):
        return super().compare(forecast, target, observed & ~forecast.isnan())


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("poison", POISONS)
def test_hidden_forecasts_and_targets_change_neither_a_loss_nor_its_gradient(loss, poison):
    generator = torch.Generator().manual_seed(0)
    forecast, target = torch.rand(2, 2, 3, 1, 9, 10, generator=generator)
    observed = torch.rand(forecast.shape, generator=generator) > 0.4
    found = []
    for hidden in (0.0, poison):
        leaf = torch.where(observed, forecast, hidden).requires_grad_()
        value = LOSSES[loss].compare(leaf, torch.where(observed, target, hidden), observed)
        value.backward()
        found.append((value.detach(), leaf.grad))
    assert all(torch.equal(*same) and same[0].isfinite().all() for same in zip(*found, strict=True))
