import numpy as np
import pytest
import torch
import torch.nn.functional as F

from nowcast.models.convlstm_stack import ConvLSTMStack
from tests.equations import convolve, sigmoid


def test_four_layers_of_128_have_the_parameters_that_openstl_uses():
    with torch.device("meta"):
        model = ConvLSTMStack([128, 128, 128, 128], output_bias=None)
    layers = 4 * 128 * (16 + 128) * 25 + 3 * 4 * 128 * (128 + 128) * 25
    assert sum(weight.numel() for weight in model.parameters()) == layers + 128 * 16 == 11_675_648


def test_a_bias_of_the_head_is_16_parameters_more_and_starts_where_asked():
    model = ConvLSTMStack([3], kernel=3, output_bias=-5.0)
    assert model.head.bias.tolist() == [-5.0] * 16
    assert ConvLSTMStack([3], kernel=3, output_bias=None).head.bias is None


def test_weights_start_uniform_within_the_inverse_root_of_what_they_sum_over():
    torch.manual_seed(0)
    model = ConvLSTMStack([6, 5], kernel=3, patch=2)
    sums = [
        4 * 9,
        6 * 9,
        6 * 9,
        5 * 9,
    ]  # input channels x kernel area: of the input and of the state, layer by layer
    for weight, terms in zip(model.cells.parameters(), sums, strict=True):
        assert 0.95 * terms**-0.5 < weight.abs().max() <= terms**-0.5


def cell(x, h, c, input_weight, state_weight, forget_bias):
    i, f, g, o = np.split(convolve(x, input_weight) + convolve(h, state_weight), 4)
    c = sigmoid(f + forget_bias) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


@pytest.mark.parametrize(("forget_bias", "output_bias"), [(1.0, None), (0.0, None), (1.0, -2.0)])
def test_forecasts_are_those_of_the_equations_written_out_in_numpy(forget_bias, output_bias):
    torch.manual_seed(0)
    model = ConvLSTMStack(
        [4, 3], kernel=3, patch=2, forget_bias=forget_bias, output_bias=output_bias
    ).double()
    with torch.no_grad():
        for weight in model.cells.parameters():
            weight.mul_(3)  # gates far from their middle
    context = torch.rand(1, 3, 1, 4, 6, dtype=torch.float64)
    weights = [
        (layer.input_weight.detach().numpy(), layer.state_weight.detach().numpy())
        for layer in model.cells
    ]
    states = [(np.zeros((hidden, 2, 3)), np.zeros((hidden, 2, 3))) for hidden in (4, 3)]
    frames, forecasts = [F.pixel_unshuffle(frame, 2).numpy() for frame in context[0]], []
    for t in range(6):
        x = frames[t] if t < 3 else forecasts[t - 1]
        for layer in (0, 1):
            states[layer] = cell(x, *states[layer], *weights[layer], forget_bias)
            x = states[layer][0]
        forecasts.append(
            sigmoid(convolve(x, model.head.weight.detach().numpy()) + (output_bias or 0.0))
        )
    expected = F.pixel_shuffle(torch.from_numpy(np.stack(forecasts[2:])), 2)
    torch.testing.assert_close(model(context, 4).point()[0], expected.float(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("sampling", ["none", "forward", "reverse"])
def test_every_parameter_gets_a_gradient(sampling):
    torch.manual_seed(0)
    model = ConvLSTMStack([4, 3], kernel=3, patch=2, sampling=sampling, observed_channel=True)
    model.scheduled_sampling(
        torch.rand(2, 5, 1, 4, 4), torch.rand(2, 5, 1, 4, 4) > 0.5, 2, 0.2
    ).square().sum().backward()
    assert [
        name
        for name, weight in model.named_parameters()
        if weight.grad is None or weight.grad.abs().max() == 0
    ] == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"hidden_channels": []},
            r"hidden_channels is \[\]; it must be at least 1, one number per layer",
        ),
        ({"hidden_channels": [4], "kernel": 0}, "kernel is 0; it must be at least 1"),
        ({"hidden_channels": [4], "output": "relu"}, "accepted are sigmoid and linear"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ConvLSTMStack(**settings)
