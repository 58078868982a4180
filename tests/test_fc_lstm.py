"""The fully connected LSTM of Shi et al. 2015, and the tiles it works in."""

import numpy as np
import pytest
import torch

from nowcast.models.convlstm import ConvLSTM
from nowcast.models.fc_lstm import FCLSTM, FCLSTMLayer
from nowcast.models.tiles import cut, put_together
from tests.equations import assert_extends_frames_by_their_edge, sigmoid


def small(hidden_channels=(5, 3), *, tile=4, **settings):
    """In double precision, with peepholes and biases that are not zero."""
    torch.manual_seed(0)
    model = FCLSTM(list(hidden_channels), tile=tile, **settings).double()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    return model


@pytest.mark.parametrize(
    ("hidden", "tile", "parameters"),
    [([2048, 2048], 64, 142_667_776), ([11, 11], 64, 232_588), ([11], 64, 230_498)],
)
def test_parameter_counts_are_those_of_the_papers_formula_and_table_1(hidden, tile, parameters):
    with torch.device("meta"):
        model = FCLSTM(hidden, tile=tile)
    assert sum(weight.numel() for weight in model.parameters()) == parameters


def written_out(layer, x, h, c):
    """One step for one sample by the equations of the paper, each gate with its own matrices; x is
    None without an input.
    """
    weights = {name: weight.detach().numpy() for name, weight in layer.named_parameters()}
    units = len(h)
    sums = {}
    for index, gate in enumerate("ifco"):
        rows = slice(index * units, (index + 1) * units)
        sums[gate] = weights["state_weight"][rows] @ h + weights["bias"][rows]
        if x is not None:
            sums[gate] = sums[gate] + weights["input_weight"][rows] @ x
    w_ci, w_cf, w_co = weights["peephole"]
    i = sigmoid(sums["i"] + w_ci * c)
    f = sigmoid(sums["f"] + w_cf * c)
    c = f * c + i * np.tanh(sums["c"])
    o = sigmoid(sums["o"] + w_co * c)
    return o * np.tanh(c), c


@pytest.mark.parametrize("forecast_length", [1, 4])
def test_the_forecast_is_that_of_the_equations_and_figure_3_in_numpy(forecast_length):
    model = small()
    context = torch.rand(2, 3, 1, 4, 4, dtype=torch.float64)
    forecast = model(context, forecast_length).point().detach().numpy()
    head, bias = model.head.weight.detach().numpy(), model.head.bias.detach().numpy()
    for sample in range(2):
        states = [(np.zeros(units), np.zeros(units)) for units in (5, 3)]
        for t in range(3):
            x = context[sample, t].numpy().ravel()
            for index, layer in enumerate(model.encoder):
                states[index] = written_out(layer, x, *states[index])
                x = states[index][0]
        for t in range(forecast_length):
            if t > 0:  # the first frame is read from the encoder's final states
                x = None
                for index, layer in enumerate(model.forecaster):
                    states[index] = written_out(layer, x, *states[index])
                    x = states[index][0]
            frame = sigmoid(head @ states[-1][0] + bias).reshape(4, 4)
            np.testing.assert_allclose(forecast[sample, t, 0], frame, atol=1e-7)


def test_a_layer_is_the_convlstm_whose_features_all_stand_in_one_pixel():
    torch.manual_seed(0)
    layer, conv = (
        FCLSTMLayer(7, 5).double(),
        ConvLSTM(7, 5, input_kernel=1, state_kernel=1).double(),
    )
    for weight, other in zip(layer.parameters(), conv.parameters(), strict=True):
        torch.nn.init.normal_(weight, std=0.5)
        other.data = weight.data.reshape(other.shape)
    sequence = torch.rand(2, 4, 7, dtype=torch.float64)
    outputs, (h, c) = layer(sequence, None, 4)
    expected, (h_conv, c_conv) = conv(sequence[..., None, None])
    for ours, theirs in ((outputs, expected), (h, h_conv), (c, c_conv)):
        torch.testing.assert_close(ours, theirs[..., 0, 0])


def test_weights_start_as_in_the_paper():
    torch.manual_seed(0)
    model = FCLSTM([50, 50], tile=8, output_bias=-5.0)
    for layer in [*model.encoder, *model.forecaster]:
        assert layer.bias.abs().max() == layer.peephole.abs().max() == 0
        assert 0.9 * 50**-0.5 < layer.state_weight.abs().max() <= 50**-0.5
    assert 0.9 * 64**-0.5 < model.encoder[0].input_weight.abs().max() <= 64**-0.5
    assert model.forecaster[0].input_weight is None
    assert model.head.bias.unique().tolist() == [-5]


def test_tiles_go_row_by_row_and_come_back():
    frame = torch.tensor([[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14, 15]])
    tiles = cut(frame.reshape(1, 1, 1, 4, 4), 2)
    assert tiles[:, 0, 0].tolist() == [
        [[0, 1], [4, 5]],
        [[2, 3], [6, 7]],
        [[8, 9], [12, 13]],
        [[10, 11], [14, 15]],
    ]
    frames = torch.rand(3, 2, 2, 4, 6)
    assert cut(frames, 2).shape == (18, 2, 2, 2, 2)
    assert torch.equal(cut(frames, 2)[6:12], cut(frames[1:2], 2))
    assert torch.equal(put_together(cut(frames, 2), 4, 6), frames)


def test_a_frame_of_two_tiles_is_two_forecasts():
    model, context = small(), torch.rand(2, 3, 1, 4, 8, dtype=torch.float64)
    expected = torch.cat(
        [model(context[..., :4], 3).point(), model(context[..., 4:], 3).point()], dim=-1
    )
    torch.testing.assert_close(model(context, 3).point(), expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (4, 9)])
def test_any_size_comes_back_and_equals_the_forecast_of_the_frame_extended_by_its_edge(size):
    assert_extends_frames_by_their_edge(
        small(), size, multiple=4, context_length=2, forecast_length=3
    )


def test_a_longer_forecast_begins_with_the_shorter_one_and_nothing_is_left_over_from_the_call_before():
    model, context = small(), torch.rand(1, 5, 1, 4, 4, dtype=torch.float64)
    longer = model(context, 7).point()
    model(torch.rand(1, 2, 1, 4, 4, dtype=torch.float64), 3).point()
    torch.testing.assert_close(longer[:, :2], model(context, 2).point(), rtol=0, atol=1e-7)
    assert torch.equal(model(context, 7).point(), longer)


def test_the_state_stays_in_float32_under_autocast():
    torch.manual_seed(0)
    model, context = FCLSTM([16, 16], tile=8), torch.rand(2, 5, 1, 8, 8)
    expected = model(context, 5).point()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs, (h, c) = model.encoder[0](context.flatten(2), None, 5)
        forecast = model(context, 5).point()
    assert outputs.dtype == h.dtype == c.dtype == forecast.dtype == torch.float32
    torch.testing.assert_close(forecast, expected, rtol=0, atol=0.01)
    assert not torch.equal(forecast, expected)


def test_every_parameter_gets_a_gradient():
    model = small(observed_channel=True)
    model(
        torch.rand(1, 3, 1, 4, 4, dtype=torch.float64), 3, torch.rand(1, 3, 1, 4, 4) > 0.5
    ).point().sum().backward()
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
        ({"hidden_channels": [4], "tile": 0}, "tile is 0; it must be at least 1"),
        ({"hidden_channels": [4], "output": "relu"}, "accepted are sigmoid and linear"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        FCLSTM(**settings)
