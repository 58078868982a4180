import numpy as np
import pytest
import torch
import torch.nn.functional as F

from nowcast.models.predrnn import PredRNN, SpatioTemporalCell
from tests.equations import convolve, sigmoid


def test_four_layers_of_128_have_the_parameters_of_openstl():
    with torch.device("meta"):
        model = PredRNN([128, 128, 128, 128], output_bias=None)
    first, other = (
        (7 * inputs * 128 + 4 * 128 * 128 + 3 * 128 * 128 + 2 * 128 * 128) * 25 + 2 * 128 * 128
        for inputs in (16, 128)
    )
    assert (
        sum(weight.numel() for weight in model.parameters())
        == first + 3 * other + 128 * 16
        == 23_838_720
    )


def test_a_normalisation_adds_a_gain_and_a_bias_for_each_of_15_gates_and_channels():
    count = [
        sum(
            weight.numel()
            for weight in SpatioTemporalCell(4, 6, layer_norm=layer_norm).parameters()
        )
        for layer_norm in (False, True)
    ]
    assert count[1] - count[0] == 2 * 15 * 6


def normalise(maps):
    return (maps - maps.mean()) / np.sqrt(maps.var() + 1e-5)


def cell(model, x, h, c, m, after):
    """The equations of arXiv 2103.09504 with the weights of a cell; ``after`` is applied to what
    its convolutions give.
    """

    def weight(module):
        return (
            (module[0] if isinstance(module, torch.nn.Sequential) else module)
            .weight.detach()
            .numpy()
        )

    x_i, x_f, x_g, x_i2, x_f2, x_g2, x_o = np.split(after(convolve(x, weight(model.from_input))), 7)
    h_i, h_f, h_g, h_o = np.split(after(convolve(h, weight(model.from_hidden))), 4)
    m_i, m_f, m_g = np.split(after(convolve(m, weight(model.from_memory))), 3)
    c = sigmoid(x_f + h_f + 1) * c + sigmoid(x_i + h_i) * np.tanh(x_g + h_g)
    m = sigmoid(x_f2 + m_f + 1) * m + sigmoid(x_i2 + m_i) * np.tanh(x_g2 + m_g)
    both = np.concatenate([c, m])
    o = sigmoid(x_o + h_o + after(convolve(both, weight(model.from_memories))))
    return o * np.tanh(convolve(both, weight(model.merge))), c, m


@pytest.mark.parametrize(("layer_norm", "after"), [(False, np.asarray), (True, normalise)])
def test_a_cell_computes_the_equations_written_out_in_numpy(layer_norm, after):
    torch.manual_seed(0)
    model = SpatioTemporalCell(2, 3, kernel=5, layer_norm=layer_norm).double()
    x, h, c, m = (torch.randn(2, channels, 4, 6, dtype=torch.float64) for channels in (2, 3, 3, 3))
    found = model(x, h, c, m)
    for sample in range(2):
        expected = cell(model, *(tensor[sample].numpy() for tensor in (x, h, c, m)), after)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one[sample].detach().numpy(), other, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("layer_norm", "after"), [(False, np.asarray), (True, normalise)])
def test_the_memory_goes_up_through_the_layers_and_on_from_the_top_to_the_bottom_of_the_next_step(
    layer_norm, after
):
    torch.manual_seed(0)
    model = PredRNN([3, 3, 3], kernel=3, patch=2, layer_norm=layer_norm, output_bias=-1.0).double()
    context = torch.rand(1, 3, 1, 4, 6, dtype=torch.float64)
    frames, forecasts = [F.pixel_unshuffle(frame, 2).numpy() for frame in context[0]], []
    h, c, m = ([np.zeros((3, 2, 3))] * 3, [np.zeros((3, 2, 3))] * 3, np.zeros((3, 2, 3)))
    for t in range(6):
        x = frames[t] if t < 3 else forecasts[t - 1]
        for layer in range(3):
            h[layer], c[layer], m = cell(model.cells[layer], x, h[layer], c[layer], m, after)
            x = h[layer]
        forecasts.append(sigmoid(convolve(x, model.head.weight.detach().numpy()) - 1))
    expected = F.pixel_shuffle(torch.from_numpy(np.stack(forecasts[2:])), 2)
    torch.testing.assert_close(model(context, 4).point()[0], expected.float(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("sampling", ["none", "forward", "reverse"])
def test_every_parameter_gets_a_gradient(sampling, layer_norm):
    torch.manual_seed(0)
    model = PredRNN(
        [3, 3], kernel=3, patch=2, layer_norm=layer_norm, sampling=sampling, observed_channel=True
    )
    model.scheduled_sampling(
        torch.rand(2, 5, 1, 4, 4), torch.rand(2, 5, 1, 4, 4) > 0.5, 2, 0.2
    ).square().sum().backward()
    assert [
        name
        for name, weight in model.named_parameters()
        if weight.grad is None or weight.grad.abs().max() == 0
    ] == []


def test_normalised_states_stay_float32_under_bfloat16_autocast():
    torch.manual_seed(0)
    model = SpatioTemporalCell(2, 3, kernel=3, layer_norm=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        states = model(torch.rand(1, 2, 4, 4), *torch.rand(3, 1, 3, 4, 4))
    assert {state.dtype for state in states} == {torch.float32}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"hidden_channels": [4, 8]},
            r"hidden_channels is \[4, 8\], but all layers of a PredRNN share a memory; give each "
            r"the same number",
        ),
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
        PredRNN(**settings)
