"""The ConvLSTM against the paper's equations, written out here once more with plain NumPy loops."""

import numpy as np
import pytest
import torch

from nowcast.models.convlstm import ConvLSTM, ConvLSTMCell


def convolve(image, weight):
    """Zero-padded "same" cross-correlation: image (C, H, W), weight (O, C, k, k)."""
    side = weight.shape[-1]
    padded = np.pad(image, ((0, 0), (side // 2, side // 2), (side // 2, side // 2)))
    out = np.zeros((len(weight), *image.shape[1:]))
    for row in range(image.shape[1]):
        for column in range(image.shape[2]):
            out[:, row, column] = (weight * padded[:, row : row + side, column : column + side]).sum((1, 2, 3))
    return out


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def equations(cell, inputs, h, c):
    """Equations (3) of the paper for one sequence (T, C, H, W); returns all h and the last c."""
    p = {name: value.detach().double().numpy() for name, value in cell.named_parameters()}
    bi, bf, bg, bo = np.split(p["bias"][:, None, None], 4)
    wi, wf, wo = p.get("peephole", np.zeros((3, cell.hidden_channels)))[:, :, None, None]
    outputs = []
    for x in inputs:
        xi, xf, xg, xo = np.split(convolve(x, p["input_weight"]) if "input_weight" in p else np.zeros((4 * len(h), *h.shape[1:])), 4)
        hi, hf, hg, ho = np.split(convolve(h, p["state_weight"]), 4)
        i = sigmoid(xi + hi + wi * c + bi)
        f = sigmoid(xf + hf + wf * c + bf)
        c = f * c + i * np.tanh(xg + hg + bg)
        h = sigmoid(xo + ho + wo * c + bo) * np.tanh(c)
        outputs.append(h)
    return np.stack(outputs), c


def random_layer(input_channels=2, hidden=3, *, input_kernel=5, state_kernel=3, peephole=True):
    torch.manual_seed(0)
    layer = ConvLSTM(input_channels, hidden, input_kernel=input_kernel, state_kernel=state_kernel, peephole=peephole).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return layer


@pytest.mark.parametrize("peephole", [True, False])
@pytest.mark.parametrize(("input_kernel", "state_kernel"), [(5, 3), (1, 5), (3, 1)])
def test_a_layer_computes_the_equations_of_the_paper_from_any_state(peephole, input_kernel, state_kernel):
    layer = random_layer(input_kernel=input_kernel, state_kernel=state_kernel, peephole=peephole)
    inputs, h, c = (torch.randn(*shape, dtype=torch.float64) for shape in [(2, 4, 2, 5, 4), (2, 3, 5, 4), (2, 3, 5, 4)])
    outputs, (last_h, last_c) = layer(inputs, (h, c))
    for b in range(2):
        expected, expected_c = equations(layer.cell, inputs[b].numpy(), h[b].numpy(), c[b].numpy())
        np.testing.assert_allclose(outputs[b].detach(), expected, rtol=0, atol=1e-12)
        np.testing.assert_allclose(last_c[b].detach(), expected_c, rtol=0, atol=1e-12)
        np.testing.assert_array_equal(last_h[b].detach(), outputs[b, -1].detach())


def test_the_state_is_zero_where_none_is_given():
    layer = random_layer()
    inputs = torch.randn(1, 3, 2, 4, 6, dtype=torch.float64)
    expected, _ = equations(layer.cell, inputs[0].numpy(), np.zeros((3, 4, 6)), np.zeros((3, 4, 6)))
    np.testing.assert_allclose(layer(inputs)[0][0].detach(), expected, rtol=0, atol=1e-12)


def test_a_layer_without_input_is_driven_by_its_state_alone():
    layer = random_layer(0)
    h, c = torch.randn(2, 1, 3, 4, 5, dtype=torch.float64)
    outputs, (_, last_c) = layer(None, (h, c), length=3)
    expected, expected_c = equations(layer.cell, [None] * 3, h[0].numpy(), c[0].numpy())
    np.testing.assert_allclose(outputs[0].detach(), expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(last_c[0].detach(), expected_c, rtol=0, atol=1e-12)
    assert layer.cell.input_weight is None


def test_two_halves_with_the_state_handed_over_equal_the_whole():
    layer = random_layer()
    inputs = torch.randn(1, 6, 2, 4, 4, dtype=torch.float64)
    whole, (h, c) = layer(inputs)
    first, state = layer(inputs[:, :2])
    second, (h2, c2) = layer(inputs[:, 2:], state)
    torch.testing.assert_close(torch.cat([first, second], 1), whole, rtol=0, atol=1e-12)
    torch.testing.assert_close(c2, c, rtol=0, atol=1e-12)


def test_zero_steps_give_no_outputs_and_leave_the_state_alone():
    layer = random_layer(0)
    h, c = torch.randn(2, 1, 3, 4, 5, dtype=torch.float64)
    outputs, (last_h, last_c) = layer(None, (h, c), length=0)
    assert outputs.shape == (1, 0, 3, 4, 5)
    assert torch.equal(last_h, h) and torch.equal(last_c, c)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (13, 2)])
def test_any_map_size_works_with_the_same_weights(size):
    layer = random_layer()
    inputs = torch.randn(1, 2, 2, *size, dtype=torch.float64)
    expected, _ = equations(layer.cell, inputs[0].numpy(), np.zeros((3, *size)), np.zeros((3, *size)))
    np.testing.assert_allclose(layer(inputs)[0][0].detach(), expected, rtol=0, atol=1e-12)


def test_gradients_of_every_weight_agree_with_finite_differences():
    layer = random_layer(1, 2, input_kernel=3)
    inputs = torch.randn(1, 2, 1, 3, 2, dtype=torch.float64, requires_grad=True)
    names, values = zip(*layer.named_parameters(), strict=True)
    assert len(names) == 4

    def run(inputs, *values):
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (inputs,))[0]

    assert torch.autograd.gradcheck(run, (inputs, *values))


def test_peepholes_are_one_trainable_number_per_channel_that_acts():
    layer = random_layer()
    inputs = torch.randn(1, 3, 2, 4, 4, dtype=torch.float64)
    before = layer(inputs)[0].detach()
    assert layer.cell.peephole.shape == (3, 3)
    for gate in range(3):
        with torch.no_grad():
            layer.cell.peephole[gate] += 1
        after = layer(inputs)[0].detach()
        assert (after - before).abs().max() > 1e-3
        before = after


def test_weights_start_uniform_in_one_over_root_of_input_channels_and_the_rest_at_zero():
    torch.manual_seed(0)
    cell = ConvLSTMCell(16, 64, input_kernel=5, state_kernel=3)
    assert cell.input_weight.abs().max().item() == pytest.approx(16**-0.5, rel=1e-3)
    assert cell.state_weight.abs().max().item() == pytest.approx(64**-0.5, rel=1e-3)
    assert cell.input_weight.mean().item() == pytest.approx(0, abs=2e-3)
    assert cell.bias.abs().max() == 0 and cell.peephole.abs().max() == 0


def test_the_cell_state_stays_float32_under_bfloat16_autocast_and_the_result_stays_near():
    torch.manual_seed(0)
    layer = ConvLSTM(2, 8, input_kernel=3, state_kernel=3)
    inputs = torch.rand(1, 6, 2, 8, 8)
    exact, _ = layer(inputs)
    with torch.autocast("cpu", torch.bfloat16):
        outputs, (_, c) = layer(inputs)
    assert c.dtype == torch.float32
    assert (outputs - exact).abs().max() < 0.02


def test_an_even_kernel_is_refused():
    with pytest.raises(ValueError, match="needs an odd side"):
        ConvLSTMCell(1, 4, state_kernel=4)


def test_no_hidden_channel_is_refused():
    with pytest.raises(ValueError, match="a ConvLSTM needs input_channels"):
        ConvLSTMCell(1, 0)


def test_an_input_for_a_layer_without_one_is_refused_and_the_reverse():
    with pytest.raises(ValueError, match="input channels, but an input came"):
        random_layer(0)(torch.zeros(1, 1, 2, 3, 3))
    with pytest.raises(ValueError, match="input channels, but no input came"):
        random_layer()(None)


def test_a_layer_without_input_asks_for_state_and_length():
    with pytest.raises(ValueError, match="needs a state to start from and a length"):
        random_layer(0)(None, length=3)


def test_a_wrong_number_of_channels_is_refused():
    with pytest.raises(ValueError, match=r"shape \(1, 1, 3, 4, 4\) came; \(B, T, 2, H, W\) is needed"):
        random_layer()(torch.zeros(1, 1, 3, 4, 4))
