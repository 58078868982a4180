"""Conv2D layers frame by frame and an LSTM over time."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from nowcast.models.conv2d_lstm import Conv2dLSTM
from tests.equations import assert_extends_frames_by_their_edge, sigmoid


def small(*, layers=1, **settings):
    torch.manual_seed(0)
    return Conv2dLSTM([4, 6], hidden_units=5, layers=layers, tile=8, **settings).double()


def test_the_default_has_about_as_many_parameters_as_the_default_convlstm():
    with torch.device("meta"):
        model = Conv2dLSTM([16, 32, 32, 16], hidden_units=83)
    count = {
        name: sum(weight.numel() for weight in part.parameters())
        for name, part in model.named_children()
    }
    assert count["convolutions"] == 9 * (1 * 16 + 16 * 32 + 32 * 32 + 32 * 16) + 16 + 32 + 32 + 16
    assert count["encoder"] == 4 * 83 * (16 * 4 * 4 + 83 + 2)  # PyTorch's LSTM has two biases
    assert count["forecaster"] == 4 * 83 * (83 + 83 + 2)
    assert (
        count["decoder"]
        == (83 + 1) * 256 + 16 * (16 * 32 + 32 * 32 + 32 * 16 + 16 * 1) + 32 + 32 + 16 + 1
    )
    assert sum(count.values()) == 242_269


def lstm_step(lstm, layer, x, h, c):
    """The equations of torch.nn.LSTM for one sample; gates in its order i, f, g, o."""
    weights = {name: weight.detach().numpy() for name, weight in lstm.named_parameters()}
    gates = (
        weights[f"weight_ih_l{layer}"] @ x
        + weights[f"bias_ih_l{layer}"]
        + weights[f"weight_hh_l{layer}"] @ h
        + weights[f"bias_hh_l{layer}"]
    )
    i, f, g, o = np.split(gates, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


@pytest.mark.parametrize("layers", [1, 2])
def test_the_forecast_is_the_one_written_out_step_by_step(layers):
    model = small(layers=layers)
    context = torch.rand(1, 3, 1, 8, 8, dtype=torch.float64)
    states = [(np.zeros(5), np.zeros(5)) for _ in range(layers)]

    def advance(lstm, x):
        for layer in range(layers):
            states[layer] = lstm_step(lstm, layer, x, *states[layer])
            x = states[layer][0]
        return x

    first, second = model.convolutions[0], model.convolutions[2]
    for t in range(3):
        x = F.leaky_relu(
            F.conv2d(context[:, t], first.weight, first.bias, stride=2, padding=1), 0.2
        )
        x = F.leaky_relu(F.conv2d(x, second.weight, second.bias, stride=2, padding=1), 0.2)
        assert x.shape == (1, 6, 2, 2)
        summary = advance(model.encoder, x.detach().numpy().ravel())
    frames = []
    dense, first, second = model.decoder[0], model.decoder[3], model.decoder[5]
    for _ in range(4):
        hidden = torch.from_numpy(
            advance(model.forecaster, summary)
        )  # the same input at every step
        x = F.leaky_relu((dense.weight @ hidden + dense.bias).reshape(1, 6, 2, 2), 0.2)
        x = F.leaky_relu(F.conv_transpose2d(x, first.weight, first.bias, stride=2, padding=1), 0.2)
        frames.append(
            torch.sigmoid(F.conv_transpose2d(x, second.weight, second.bias, stride=2, padding=1))
        )
    torch.testing.assert_close(
        model(context, 4).point(), torch.stack(frames, 1).float(), rtol=0, atol=1e-6
    )


def test_a_frame_of_two_tiles_is_two_forecasts():
    model, context = small(), torch.rand(2, 3, 1, 8, 16, dtype=torch.float64)
    expected = torch.cat(
        [model(context[..., :8], 3).point(), model(context[..., 8:], 3).point()], dim=-1
    )
    torch.testing.assert_close(model(context, 3).point(), expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("size", [(1, 1), (9, 7), (17, 3)])
def test_any_size_comes_back_and_equals_the_forecast_of_the_frame_extended_by_its_edge(size):
    assert_extends_frames_by_their_edge(
        small(), size, multiple=8, context_length=2, forecast_length=3
    )


def test_a_longer_forecast_begins_with_the_shorter_one_and_nothing_is_left_over_from_the_call_before():
    model, context = small(), torch.rand(1, 5, 1, 8, 8, dtype=torch.float64)
    longer = model(context, 7).point()
    model(torch.rand(1, 2, 1, 8, 8, dtype=torch.float64), 1).point()
    torch.testing.assert_close(longer[:, :2], model(context, 2).point(), rtol=0, atol=1e-7)
    assert torch.equal(model(context, 7).point(), longer)


def test_the_state_stays_in_float32_under_autocast():
    model, context, seen = small().float(), torch.rand(2, 4, 1, 8, 8), []
    for lstm in (model.encoder, model.forecaster):
        lstm.register_forward_hook(
            lambda lstm, inputs, result: seen.extend(
                [inputs[0].dtype, result[0].dtype, result[1][1].dtype]
            )
        )
    expected = model(context, 3).point()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        forecast = model(context, 3).point()
    assert set(seen) == {torch.float32}
    torch.testing.assert_close(forecast, expected, rtol=0, atol=0.01)
    assert not torch.equal(forecast, expected)


def test_every_parameter_gets_a_gradient():
    model = small(layers=2, observed_channel=True)
    model(
        torch.rand(2, 3, 1, 8, 8, dtype=torch.float64), 3, torch.rand(2, 3, 1, 8, 8) > 0.5
    ).point().sum().backward()
    assert [
        name
        for name, weight in model.named_parameters()
        if weight.grad is None or weight.grad.abs().max() == 0
    ] == []


def test_the_output_bias_is_where_the_last_bias_starts():
    assert small(output_bias=-5.0).decoder[-1].bias.tolist() == [-5]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"conv_channels": []},
            r"conv_channels is \[\]; it must be at least 1, one number per layer",
        ),
        ({"hidden_units": 0}, "hidden_units is 0; it must be at least 1"),
        ({"layers": 0}, "layers is 0; it must be at least 1"),
        ({"tile": 0}, "tile is 0; it must be at least 1"),
        ({"tile": 30}, "tile is 30, but 2 strided convolutions need a multiple of 4; change it"),
        ({"output": "relu"}, "accepted are sigmoid and linear"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Conv2dLSTM(**{"conv_channels": [4, 4], "hidden_units": 3, **settings})
