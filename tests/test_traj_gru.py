"""The TrajGRU against its equations and a bilinear warp in plain NumPy loops, and against the
ConvGRUs it contains.
"""

from math import floor

import numpy as np
import pytest
import torch

from nowcast.models.conv_gru import ConvGRU
from nowcast.models.traj_gru import TrajGRU, TrajGRUCell, warp
from tests.test_conv_gru import convolve, leaky, sigmoid


def warp_by_hand(image, flow):
    """An image (F, H, W) along one flow (2, H, W): the pixel from (row - y, column - x), bilinear,
    zeros outside.
    """
    out = np.zeros(image.shape)
    for row in range(image.shape[1]):
        for column in range(image.shape[2]):
            x, y = column - flow[0, row, column], row - flow[1, row, column]
            for i in (floor(y), floor(y) + 1):
                for j in (floor(x), floor(x) + 1):
                    if 0 <= i < image.shape[1] and 0 <= j < image.shape[2]:
                        out[:, row, column] += (1 - abs(y - i)) * (1 - abs(x - j)) * image[:, i, j]
    return out


def equations(cell, inputs, h):
    """The equations for one sequence (T, C, H, W), from h (F, H, W); returns all h."""
    outputs = []
    for x in inputs:
        features = convolve(h, cell.flow_from_state)
        if cell.from_input is not None:
            features = features + convolve(x, cell.flow_from_input)
        flow = convolve(leaky(features), cell.flow_output)
        links = len(flow) // 2
        warped = [warp_by_hand(h, flow[2 * link : 2 * link + 2]) for link in range(links)]
        weight = (
            cell.from_state.weight.detach().numpy()[:, :, 0, 0].reshape(3 * len(h), len(h), links)
        )
        from_state = sum(
            np.einsum("of,fyx->oyx", weight[:, :, link], warped[link]) for link in range(links)
        )
        hr, hu, hc = np.split(from_state + cell.from_state.bias.detach().numpy()[:, None, None], 3)
        xr, xu, xc = np.split(
            np.zeros((3 * len(h), 1, 1))
            if cell.from_input is None
            else convolve(x, cell.from_input),
            3,
        )
        r, u = sigmoid(xr + hr), sigmoid(xu + hu)
        h = u * h + (1 - u) * leaky(xc + r * hc)
        outputs.append(h)
    return np.stack(outputs)


def random_layer(input_channels=2, hidden=3, *, links=2):
    torch.manual_seed(0)
    layer = TrajGRU(input_channels, hidden, links=links).double()
    for name, parameter in layer.named_parameters():
        torch.nn.init.normal_(parameter, std=0.4 if "flow" in name else 0.5)
    return layer


@pytest.mark.parametrize("size", [(5, 4), (1, 1), (1, 7), (9, 3)])
def test_a_warp_is_the_bilinear_one_written_out_also_across_borders(size):
    torch.manual_seed(1)
    values, flow = (
        torch.randn(2, 3, *size, dtype=torch.float64),
        2 * torch.randn(2, 4, *size, dtype=torch.float64),
    )
    warped = warp(values, flow)
    assert warped.shape == (2, 3, 2, *size)
    for b in range(2):
        for link in range(2):
            expected = warp_by_hand(values[b].numpy(), flow[b, 2 * link : 2 * link + 2].numpy())
            np.testing.assert_allclose(warped[b, :, link], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        (1, 0, [[0, 1, 2], [0, 4, 5]]),
        (-1, 0, [[2, 3, 0], [5, 6, 0]]),
        (0, 1, [[0, 0, 0], [1, 2, 3]]),
        (0.5, 0, [[0.5, 1.5, 2.5], [2, 4.5, 5.5]]),
        (3, 0, [[0, 0, 0], [0, 0, 0]]),
    ],
)
def test_a_flow_is_the_motion_in_pixels(x, y, expected):
    values = torch.tensor([[1.0, 2, 3], [4, 5, 6]])[None, None]
    flow = torch.tensor([float(x), float(y)])[None, :, None, None].expand(1, 2, 2, 3)
    torch.testing.assert_close(
        warp(values, flow)[0, 0, 0], torch.tensor(expected, dtype=torch.float32)
    )


def test_a_flow_of_zero_is_the_identity_bit_by_bit_on_sides_that_are_powers_of_two():
    for size, tolerance in (((16, 64), 0), ((1, 32), 0), ((96, 30), 1e-4), ((7, 13), 1e-5)):
        values = torch.rand(1, 2, *size)
        torch.testing.assert_close(
            warp(values, torch.zeros(1, 2, *size))[:, :, 0], values, rtol=0, atol=tolerance
        )


def test_gradients_of_a_warp_agree_with_finite_differences():
    torch.manual_seed(0)
    values = torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    flow = (
        torch.randint(-2, 3, (1, 4, 3, 4)) + 0.2 + 0.6 * torch.rand(1, 4, 3, 4, dtype=torch.float64)
    ).requires_grad_()  # between pixels
    assert torch.autograd.gradcheck(warp, (values, flow))


@pytest.mark.parametrize("size", [(5, 4), (1, 1), (1, 7)])
def test_a_layer_computes_the_equations_from_any_state(size):
    layer = random_layer()
    inputs, h = (
        torch.randn(2, 3, 2, *size, dtype=torch.float64),
        torch.randn(2, 3, *size, dtype=torch.float64),
    )
    outputs, last = layer(inputs, h)
    for b in range(2):
        np.testing.assert_allclose(
            outputs[b].detach(),
            equations(layer.cell, inputs[b].numpy(), h[b].numpy()),
            rtol=0,
            atol=1e-11,
        )
        np.testing.assert_array_equal(last[b].detach(), outputs[b, -1].detach())
    assert (
        layer.cell.flows(None, h).abs().max() > 0.5
    )  # pixels: the test would not see a flow of nothing


def test_a_layer_without_input_is_driven_by_its_state_alone():
    layer = random_layer(0)
    h = torch.randn(1, 3, 4, 5, dtype=torch.float64)
    outputs, _ = layer(None, h, length=3)
    np.testing.assert_allclose(
        outputs[0].detach(), equations(layer.cell, [None] * 3, h[0].numpy()), rtol=0, atol=1e-11
    )


def test_a_fresh_layer_is_a_gru_with_1x1_connections_whatever_its_links():
    torch.manual_seed(0)
    layer, plain = TrajGRU(2, 4, links=5).double(), ConvGRU(2, 4, state_kernel=1).double()
    plain.cell.from_input.load_state_dict(layer.cell.from_input.state_dict())
    with torch.no_grad():
        plain.cell.from_state.weight.copy_(layer.cell.from_state.weight.unflatten(1, (4, 5)).sum(2))
    inputs = torch.randn(2, 4, 2, 7, 5, dtype=torch.float64)
    torch.testing.assert_close(layer(inputs)[0], plain(inputs)[0], rtol=0, atol=1e-12)


def test_nine_links_to_the_neighbours_make_a_3x3_conv_gru():
    torch.manual_seed(0)
    layer, plain = TrajGRU(2, 3, links=9).double(), ConvGRU(2, 3, state_kernel=3).double()
    plain.cell.from_input.load_state_dict(layer.cell.from_input.state_dict())
    with torch.no_grad():
        offsets = [
            (-x, -y) for y in (-1, 0, 1) for x in (-1, 0, 1)
        ]  # the kernel's point to the right shows what moves to the left
        layer.cell.flow_output.bias.copy_(torch.tensor(offsets).flatten())
        plain.cell.from_state.weight.copy_(layer.cell.from_state.weight.reshape(9, 3, 3, 3))
    inputs = torch.randn(2, 4, 2, 6, 5, dtype=torch.float64)
    torch.testing.assert_close(layer(inputs)[0], plain(inputs)[0], rtol=0, atol=1e-12)


def test_gradients_of_every_weight_agree_with_finite_differences():
    layer = random_layer(1, 2, links=1)
    inputs = torch.randn(1, 2, 1, 2, 3, dtype=torch.float64, requires_grad=True)
    h = torch.randn(1, 2, 2, 3, dtype=torch.float64, requires_grad=True)
    names, values = zip(*layer.named_parameters(), strict=True)
    assert len(names) == 10

    def run(inputs, h, *values):
        return torch.func.functional_call(
            layer, dict(zip(names, values, strict=True)), (inputs, h)
        )[0]

    assert torch.autograd.gradcheck(run, (inputs, h, *values), fast_mode=True)


def test_flows_start_at_zero_and_the_rest_as_in_the_authors_code():
    torch.manual_seed(0)
    cell = TrajGRUCell(16, 32, links=5)
    expected = {
        "from_input": 9 * (16 + 96),
        "from_state": 5 * 32 + 96,
        "flow_from_input": 25 * (16 + 32),
        "flow_from_state": 25 * (32 + 32),
    }
    for name, fans in expected.items():
        assert getattr(cell, name).weight.std().item() == pytest.approx(
            (2 / 1.04 / (fans / 2)) ** 0.5, rel=0.02
        )
        assert getattr(cell, name).bias.abs().max() == 0
    assert cell.flow_output.weight.abs().max() == cell.flow_output.bias.abs().max() == 0


def test_the_first_step_of_training_already_moves_the_flows():
    torch.manual_seed(0)
    layer = TrajGRU(1, 4, links=3)
    layer(torch.rand(2, 3, 1, 6, 6))[0].square().sum().backward()
    assert (layer.cell.flow_output.weight.grad.abs().amax((1, 2, 3)) > 0).all()


def test_the_state_stays_float32_under_bfloat16_autocast_and_the_result_stays_near():
    torch.manual_seed(0)
    layer = TrajGRU(2, 8, links=3)
    torch.nn.init.normal_(layer.cell.flow_output.weight, std=0.02)
    inputs = torch.rand(1, 6, 2, 8, 8)
    exact, _ = layer(inputs)
    with torch.autocast("cpu", torch.bfloat16):
        outputs, state = layer(inputs)
    assert state.dtype == outputs.dtype == torch.float32
    assert (outputs - exact).abs().max() < 0.02 * exact.abs().max()


def test_no_link_is_refused_and_so_is_a_missing_input():
    with pytest.raises(ValueError, match="links is 0; it must be at least 1"):
        TrajGRUCell(1, 4, links=0)
    with pytest.raises(
        ValueError, match="this TrajGRUCell has 2 input channels, but no input came"
    ):
        random_layer()(None)
