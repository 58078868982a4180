"""U-Net: frames as channels, a fixed number of them at once."""

import pytest
import torch
import torch.nn.functional as F

from nowcast.models.unet import UNet
from tests.equations import assert_extends_frames_by_their_edge


def small(*, context_length=3, steps=2, **settings):
    torch.manual_seed(0)
    return UNet(
        context_length=context_length, steps=steps, base_channels=8, levels=2, **settings
    ).double()


@pytest.mark.parametrize(
    ("settings", "parameters"),
    [
        ({"context_length": 3, "steps": 1}, 31_037_633),
        ({"context_length": 3, "steps": 2}, 31_037_698),
        ({"context_length": 5, "steps": 5}, 31_039_045),
        ({"context_length": 5, "steps": 5, "base_channels": 11, "levels": 3}, 228_838),
    ],
)
def test_parameter_counts_are_those_published_for_the_u_net_with_3_input_channels(
    settings, parameters
):
    # milesial/Pytorch-UNet with transposed convolutions: 31,037,633 for 1 class, 31,037,698 for 2
    with torch.device("meta"):
        model = UNet(**settings)
    assert sum(weight.numel() for weight in model.parameters()) == parameters


def twice(layers, x):
    """Convolution, normalisation of groups of channels by their mean and variance, ReLU; two times."""
    for convolution, norm in ((layers[0], layers[1]), (layers[3], layers[4])):
        x = F.conv2d(x, convolution.weight, padding=1)
        grouped = x.reshape(len(x), norm.num_groups, -1)
        grouped = (grouped - grouped.mean(2, keepdim=True)) / torch.sqrt(
            grouped.var(2, unbiased=False, keepdim=True) + 1e-5
        )
        x = torch.relu(
            grouped.reshape(x.shape) * norm.weight[:, None, None] + norm.bias[:, None, None]
        )
    return x


def test_the_forecast_is_the_one_written_out():
    model = small()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    context = torch.rand(2, 3, 1, 8, 12, dtype=torch.float64)
    fine = twice(model.down[0], context[:, :, 0])
    middle = twice(model.down[1], F.max_pool2d(fine, 2))
    coarse = twice(model.down[2], F.max_pool2d(middle, 2))
    assert (fine.shape, middle.shape, coarse.shape) == ((2, 8, 8, 12), (2, 16, 4, 6), (2, 32, 2, 3))
    up = F.conv_transpose2d(coarse, model.enlarge[0].weight, model.enlarge[0].bias, stride=2)
    middle = twice(model.up[0], torch.cat([middle, up], 1))
    up = F.conv_transpose2d(middle, model.enlarge[1].weight, model.enlarge[1].bias, stride=2)
    fine = twice(model.up[1], torch.cat([fine, up], 1))
    frames = (
        torch.einsum("bchw,tc->bthw", fine, model.head.weight[:, :, 0, 0])
        + model.head.bias[:, None, None]
    )
    torch.testing.assert_close(
        model(context, 2).point(), torch.sigmoid(frames).unsqueeze(2).float(), rtol=0, atol=1e-6
    )


def test_channels_are_normalised_in_groups_of_16_or_all_together():
    def groups(**settings):
        return [layer[1].num_groups for layer in UNet(context_length=1, steps=1, **settings).down]

    assert groups(base_channels=32, levels=2) == [2, 4, 8]
    assert groups(base_channels=11, levels=2) == [1, 1, 1]


@pytest.mark.parametrize("observed_channel", [False, True])
def test_a_longer_forecast_goes_on_from_its_own_frames_and_a_shorter_one_is_cut(observed_channel):
    model = small(observed_channel=observed_channel)
    context, observed = (
        torch.rand(1, 3, 1, 4, 8, dtype=torch.float64),
        torch.rand(1, 3, 1, 4, 8) > 0.3,
    )
    first = model(context, 2, observed).point().double()
    seen = (
        torch.cat([context[:, 2:], first], 1),
        torch.cat([observed[:, 2:], torch.ones_like(first).bool()], 1),
    )
    second = model(seen[0], 2, seen[1]).point().double()
    seen = torch.cat([first[:, 1:], second], 1)
    third = model(seen, 2).point().double()
    expected = torch.cat([first, second, third[:, :1]], 1).float()
    torch.testing.assert_close(model(context, 5, observed).point(), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(model(context, 1, observed).point(), expected[:, :1])


def test_more_steps_than_context_are_fed_back_as_the_last_frames():
    model, context = (
        small(context_length=2, steps=3),
        torch.rand(1, 2, 1, 4, 4, dtype=torch.float64),
    )
    first = model(context, 3).point().double()
    torch.testing.assert_close(
        model(context, 6).point()[:, 3:], model(first[:, 1:], 3).point(), rtol=0, atol=1e-6
    )


def test_it_sees_nothing_but_the_last_frames_of_its_context_and_its_own_sequence():
    model, context = small(), torch.rand(2, 5, 1, 4, 4, dtype=torch.float64)
    forecast = model(context, 4).point()
    other = torch.cat([torch.rand(2, 2, 1, 4, 4, dtype=torch.float64), context[:, 2:]], 1)
    assert torch.equal(model(other, 4).point(), forecast)
    torch.testing.assert_close(model(context[:1], 4).point(), forecast[:1], rtol=0, atol=1e-7)
    other[:, 2] += 0.1
    assert not torch.allclose(model(other, 4).point(), forecast)
    with pytest.raises(ValueError, match="UNet expected at least 3 context frames, got 2"):
        model(context[:, :2], 4).point()


def test_the_mask_of_every_frame_is_an_input_channel_after_its_values():
    model, seen = small(observed_channel=True), []
    model.down[0].register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    context = (
        torch.arange(1.0, 4.0, dtype=torch.float64).reshape(1, 3, 1, 1, 1).expand(1, 3, 1, 4, 4)
    )
    observed = torch.tensor([True, False, True]).reshape(1, 3, 1, 1, 1).expand(1, 3, 1, 4, 4)
    model(context, 1, observed).point()
    assert seen[0][0, :, 0, 0].tolist() == [1, 1, 0, 0, 3, 1]


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (16, 3)])
def test_any_size_comes_back_and_equals_the_forecast_of_the_frame_extended_by_its_edge(size):
    assert_extends_frames_by_their_edge(
        small(), size, multiple=4, context_length=3, forecast_length=3
    )


def test_bfloat16_autocast_gives_about_the_same_forecast():
    model, context = small().float(), torch.rand(1, 3, 1, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        forecast = model(context, 5).point()
    assert forecast.dtype == torch.float32
    torch.testing.assert_close(forecast, model(context, 5).point(), rtol=0, atol=0.03)


def test_every_parameter_gets_a_gradient_from_one_sequence():
    model = small(observed_channel=True)
    model(
        torch.rand(1, 3, 1, 4, 4, dtype=torch.float64), 2, torch.rand(1, 3, 1, 4, 4) > 0.5
    ).point().sum().backward()
    assert [
        name
        for name, weight in model.named_parameters()
        if weight.grad is None or weight.grad.abs().max() == 0
    ] == []


def test_the_output_bias_is_where_the_last_bias_starts():
    assert small(output_bias=-5.0).head.bias.tolist() == [-5, -5]


@pytest.mark.parametrize("name", ["context_length", "steps", "base_channels", "levels"])
def test_wrong_settings_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} is 0; it must be at least 1"):
        UNet(**{"context_length": 3, "steps": 2, name: 0})
