"""The ConvGRU against its equations, written out here once more with plain NumPy loops, and against
PyTorch's GRU.
"""

import numpy as np
import pytest
import torch

from nowcast.models import conv_gru
from nowcast.models.conv_gru import ConvGRU, ConvGRUCell, initialise
from tests.equations import sigmoid


def convolve(image, convolution):
    """Zero-padded "same" cross-correlation of an image (C, H, W) with a Conv2d's weights (O, C, k,
    k), bias and dilation.
    """
    weight, bias = convolution.weight.detach().numpy(), convolution.bias.detach().numpy()
    side, step = weight.shape[-1], convolution.dilation[0]
    out = np.zeros((len(weight), *image.shape[1:])) + bias[:, None, None]
    for row in range(image.shape[1]):
        for column in range(image.shape[2]):
            for i in range(side):
                for j in range(side):
                    y, x = row + step * (i - side // 2), column + step * (j - side // 2)
                    if 0 <= y < image.shape[1] and 0 <= x < image.shape[2]:
                        out[:, row, column] += weight[:, :, i, j] @ image[:, y, x]
    return out


def leaky(x):
    return np.where(x > 0, x, 0.2 * x)


def equations(cell, inputs, h):
    """The equations for one sequence (T, C, H, W), from h (F, H, W); returns all h."""
    outputs = []
    for x in inputs:
        xr, xu, xc = np.split(
            np.zeros((3 * len(h), 1, 1))
            if cell.from_input is None
            else convolve(x, cell.from_input),
            3,
        )
        hr, hu, hc = np.split(convolve(h, cell.from_state), 3)
        r, u = sigmoid(xr + hr), sigmoid(xu + hu)
        h = u * h + (1 - u) * leaky(xc + r * hc)
        outputs.append(h)
    return np.stack(outputs)


def random_layer(input_channels=2, hidden=3, *, state_kernel=3, dilation=1):
    torch.manual_seed(0)
    layer = ConvGRU(input_channels, hidden, state_kernel=state_kernel, dilation=dilation).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return layer


@pytest.mark.parametrize(("state_kernel", "dilation"), [(3, 1), (3, 2), (5, 1), (1, 1)])
def test_a_layer_computes_the_equations_from_any_state(state_kernel, dilation):
    layer = random_layer(state_kernel=state_kernel, dilation=dilation)
    inputs, h = (
        torch.randn(2, 3, 2, 5, 4, dtype=torch.float64),
        torch.randn(2, 3, 5, 4, dtype=torch.float64),
    )
    outputs, last = layer(inputs, h)
    for b in range(2):
        np.testing.assert_allclose(
            outputs[b].detach(),
            equations(layer.cell, inputs[b].numpy(), h[b].numpy()),
            rtol=0,
            atol=1e-12,
        )
        np.testing.assert_array_equal(last[b].detach(), outputs[b, -1].detach())


def test_one_pixel_worked_by_hand():
    cell = ConvGRUCell(1, 1)
    for parameter in cell.parameters():
        torch.nn.init.zeros_(parameter)
    state = torch.full((1, 1, 1, 1), 2.0)
    with torch.no_grad():
        cell.from_input.bias.copy_(torch.tensor([0.0, 0.0, -1.0]))
    assert cell(torch.zeros(1, 1, 1, 1), state).item() == pytest.approx(0.5 * 2 + 0.5 * (0.2 * -1))
    with torch.no_grad():
        cell.from_state.bias.copy_(torch.tensor([0.0, 0.0, 4.0]))
    assert cell(torch.zeros(1, 1, 1, 1), state).item() == pytest.approx(
        0.5 * 2 + 0.5 * (-1 + 0.5 * 4)
    )


def test_with_tanh_on_one_pixel_it_is_the_gru_of_pytorch(monkeypatch):
    monkeypatch.setattr(conv_gru, "leaky", torch.tanh)
    layer, gru = random_layer(), torch.nn.GRU(2, 3, batch_first=True).double()
    with torch.no_grad():
        gru.weight_ih_l0.copy_(layer.cell.from_input.weight[:, :, 1, 1])
        gru.weight_hh_l0.copy_(layer.cell.from_state.weight[:, :, 1, 1])
        gru.bias_ih_l0.copy_(layer.cell.from_input.bias)
        gru.bias_hh_l0.copy_(layer.cell.from_state.bias)
    inputs = torch.randn(2, 6, 2, dtype=torch.float64)
    torch.testing.assert_close(
        layer(inputs[..., None, None])[0][..., 0, 0], gru(inputs)[0], rtol=0, atol=1e-12
    )


def test_the_state_is_zero_where_none_is_given():
    layer = random_layer()
    inputs = torch.randn(1, 3, 2, 4, 6, dtype=torch.float64)
    np.testing.assert_allclose(
        layer(inputs)[0][0].detach(),
        equations(layer.cell, inputs[0].numpy(), np.zeros((3, 4, 6))),
        rtol=0,
        atol=1e-12,
    )


def test_a_layer_without_input_is_driven_by_its_state_alone():
    layer = random_layer(0)
    h = torch.randn(1, 3, 4, 5, dtype=torch.float64)
    outputs, _ = layer(None, h, length=3)
    np.testing.assert_allclose(
        outputs[0].detach(), equations(layer.cell, [None] * 3, h[0].numpy()), rtol=0, atol=1e-12
    )
    assert [name for name, _ in layer.named_parameters()] == [
        "cell.from_state.weight",
        "cell.from_state.bias",
    ]


def test_two_halves_with_the_state_handed_over_equal_the_whole():
    layer = random_layer()
    inputs = torch.randn(1, 6, 2, 4, 4, dtype=torch.float64)
    whole, last = layer(inputs)
    first, state = layer(inputs[:, :2])
    second, state = layer(inputs[:, 2:], state)
    torch.testing.assert_close(torch.cat([first, second], 1), whole, rtol=0, atol=1e-12)
    torch.testing.assert_close(state, last, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (13, 2)])
def test_any_map_size_works_with_the_same_weights(size):
    layer = random_layer(dilation=2)
    inputs = torch.randn(1, 2, 2, *size, dtype=torch.float64)
    np.testing.assert_allclose(
        layer(inputs)[0][0].detach(),
        equations(layer.cell, inputs[0].numpy(), np.zeros((3, *size))),
        rtol=0,
        atol=1e-12,
    )


def test_gradients_of_every_weight_agree_with_finite_differences():
    layer = random_layer(1, 2)
    inputs = torch.randn(1, 2, 1, 3, 2, dtype=torch.float64, requires_grad=True)
    names, values = zip(*layer.named_parameters(), strict=True)
    assert len(names) == 4

    def run(inputs, *values):
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (inputs,))[
            0
        ]

    assert torch.autograd.gradcheck(run, (inputs, *values))


def test_weights_start_normal_as_in_the_authors_code_and_biases_at_zero():
    torch.manual_seed(0)
    cell = ConvGRUCell(16, 32, state_kernel=5)
    expected = {
        "from_input.weight": (2 / 1.04 / (9 * (16 + 96) / 2)) ** 0.5,
        "from_state.weight": (2 / 1.04 / (25 * (32 + 96) / 2)) ** 0.5,
    }
    for name, weight in cell.named_parameters():
        if name in expected:
            assert weight.std().item() == pytest.approx(expected.pop(name), rel=0.02)
            assert weight.abs().max() > 3 * weight.std()  # not uniform
        else:
            assert weight.abs().max() == 0
    assert expected == {}


def test_a_transposed_convolution_starts_like_a_convolution():
    torch.manual_seed(0)
    convolution = torch.nn.ConvTranspose2d(24, 40, 4, bias=False)
    initialise(convolution)
    assert convolution.weight.std().item() == pytest.approx((2 / 1.04 / (16 * 32)) ** 0.5, rel=0.02)


def test_the_state_stays_float32_under_bfloat16_autocast_and_the_result_stays_near():
    torch.manual_seed(0)
    layer = ConvGRU(2, 8)
    inputs = torch.rand(1, 6, 2, 8, 8)
    exact, _ = layer(inputs)
    with torch.autocast("cpu", torch.bfloat16):
        outputs, state = layer(inputs)
    assert state.dtype == outputs.dtype == torch.float32
    assert (outputs - exact).abs().max() < 0.02 * exact.abs().max()


def test_an_even_kernel_is_refused():
    with pytest.raises(ValueError, match="but a ConvGRU kernel needs an odd side"):
        ConvGRUCell(1, 4, state_kernel=4)


@pytest.mark.parametrize(
    "settings",
    [{"input_channels": -1, "hidden_channels": 2}, {"input_channels": 1, "hidden_channels": 0}],
)
def test_impossible_channels_are_refused(settings):
    with pytest.raises(ValueError, match="channels is -?[01]; it must be at least [01]"):
        ConvGRUCell(**settings)


def test_an_input_for_a_layer_without_one_is_refused_and_the_reverse():
    with pytest.raises(
        ValueError, match="this ConvGRUCell has 0 input channels, but an input came"
    ):
        random_layer(0)(torch.zeros(1, 1, 2, 3, 3))
    with pytest.raises(
        ValueError, match="this ConvGRUCell has 2 input channels, but no input came"
    ):
        random_layer()(None)


@pytest.mark.parametrize(
    ("state", "length"), [(None, 3), (torch.zeros(1, 3, 2, 2), None), (torch.zeros(1, 3, 2, 2), 0)]
)
def test_a_layer_without_input_asks_for_state_and_length(state, length):
    with pytest.raises(
        ValueError, match="without input needs a state to start from and a length of at least 1"
    ):
        random_layer(0)(None, state, length=length)


def test_a_wrong_number_of_channels_is_refused():
    with pytest.raises(
        ValueError, match=r"an input of shape \(1, 1, 3, 4, 4\) came; \(B, T, 2, H, W\) is needed"
    ):
        random_layer()(torch.zeros(1, 1, 3, 4, 4))
