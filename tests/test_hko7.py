"""The encoder-forecaster of HKO-7: its numbers of parameters, and its structure written out step by
step.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml

from nowcast.cli import config
from nowcast.models.hko7 import Hko7EncoderForecaster

# file in conf/model, overrides, parameters of the authors' network with 4 input channels
PARAMETERS = [
    ("convgru_hko7", {}, 13_649_081),
    ("trajgru_hko7", {}, 12_150_053),
    ("convgru_moving_mnist", {}, 2_604_817),
    ("convgru_moving_mnist", {"state_kernels": [[5, 1]] * 3}, 4_767_505),
    ("convgru_moving_mnist", {"state_kernels": [[7, 1]] * 3}, 8_011_537),
    ("trajgru_moving_mnist", {"links": [5] * 3}, 2_842_157),
    ("trajgru_moving_mnist", {"links": [9] * 3}, 3_421_277),
    ("trajgru_moving_mnist", {}, 4_000_397),
    ("trajgru_moving_mnist", {"links": [17] * 3}, 4_579_517),
]


def from_file(name, **overrides):
    """The network of a file in conf/model, without memory for its weights."""
    settings = (
        yaml.safe_load((config.folder() / "model" / f"{name}.yaml").read_text())
        | {"output_bias": 0.0, "observed_channel": False}
        | overrides
    )
    assert settings.pop("_target_") == "nowcast.models.hko7.Hko7EncoderForecaster"
    with torch.device("meta"):
        return Hko7EncoderForecaster(**settings)


@pytest.mark.parametrize(("name", "overrides", "parameters"), PARAMETERS)
@pytest.mark.parametrize("observed_channel", [False, True])
def test_parameter_counts_are_those_of_the_authors(name, overrides, parameters, observed_channel):
    model = from_file(name, observed_channel=observed_channel, **overrides)
    assert sum(weight.numel() for weight in model.parameters()) == parameters


@pytest.mark.parametrize(
    ("name", "side", "multiple", "maps"),
    [
        ("convgru_hko7", 480, 30, [(64, 96), (192, 32), (192, 16)]),
        ("trajgru_hko7", 480, 30, [(64, 96), (192, 32), (192, 16)]),
        ("trajgru_moving_mnist", 64, 4, [(64, 64), (96, 32), (96, 16)]),
    ],
)
def test_the_maps_have_the_sizes_of_the_paper(name, side, multiple, maps):
    model, seen = from_file(name), []
    assert model.multiple == multiple
    for layer in (*model.encoder, *model.forecaster):
        layer.register_forward_hook(
            lambda layer, inputs, outputs: seen.append(tuple(outputs[0].shape[1:]))
        )
    assert model(torch.zeros(1, 2, 1, side, side, device="meta"), 3).point().shape == (
        1,
        3,
        1,
        side,
        side,
    )
    assert seen == [(2, channels, size, size) for channels, size in maps] + [
        (3, channels, size, size) for channels, size in reversed(maps)
    ]


CELLS = {
    "ConvGRU": {"state_kernels": [[3, 2], [5, 1]]},
    "TrajGRU": {"links": [2, 3]},
    "ConvLSTM": {"lstm_kernels": [3, 5]},
}
STAGES = {"down": [[5, 3, 1], [3, 2, 1]], "up": [[5, 3, 1], [4, 2, 1]]}


def small(cell="ConvGRU", **settings):
    """Two layers on maps a third and a sixth as wide as the frame; flows that move."""
    torch.manual_seed(0)
    model = Hko7EncoderForecaster(
        [3, 4], **(CELLS[cell] | STAGES | {"frame_channels": 2} | settings)
    ).double()
    for name, weight in model.named_parameters():
        if "flow_output" in name:
            torch.nn.init.normal_(weight, std=0.1)
    return model


@pytest.mark.parametrize("cell", ["ConvGRU", "TrajGRU"])
def test_the_structure_is_that_of_the_paper_written_out_step_by_step(cell):
    model, leaky = small(cell), torch.nn.LeakyReLU(0.2)
    context = torch.rand(2, 3, 1, 6, 12, dtype=torch.float64)
    x, y = np.meshgrid(np.arange(12) / 11 * 2 - 1, np.arange(6) / 5 * 2 - 1)
    planes = torch.from_numpy(np.stack([x, y, np.ones((6, 12))])).expand(2, 3, 6, 12)
    low, high = (
        torch.zeros(2, 3, 2, 4, dtype=torch.float64),
        torch.zeros(2, 4, 1, 2, dtype=torch.float64),
    )
    for t in range(3):
        frame = torch.cat([context[:, t], planes], 1)
        low = model.encoder[0].cell(
            leaky(F.conv2d(frame, model.down[0].weight, model.down[0].bias, stride=3, padding=1)),
            low,
        )
        high = model.encoder[1].cell(
            leaky(F.conv2d(low, model.down[1].weight, model.down[1].bias, stride=2, padding=1)),
            high,
        )
    frames = []
    for _ in range(4):
        high = model.forecaster[1].cell(None, high)
        low = model.forecaster[0].cell(
            leaky(F.conv_transpose2d(high, model.up[1].weight, stride=2, padding=1)), low
        )
        full = leaky(F.conv_transpose2d(low, model.up[0].weight, stride=3, padding=1))
        full = leaky(F.conv2d(full, model.smooth.weight, model.smooth.bias, padding=1))
        frames.append(torch.sigmoid(F.conv2d(full, model.head.weight, model.head.bias).float()))
    torch.testing.assert_close(model(context, 4).point(), torch.stack(frames, 1), rtol=0, atol=1e-6)


def test_convlstm_layers_on_folded_frames_stand_in_the_same_structure_step_by_step():
    torch.manual_seed(0)
    model = Hko7EncoderForecaster(
        [3, 4],
        **CELLS["ConvLSTM"],
        down=[[1, 1, 0], [3, 2, 1]],
        up=[[1, 1, 0], [4, 2, 1]],
        frame_channels=2,
        patch=2,
        coordinates=False,
    ).double()
    leaky, context = torch.nn.LeakyReLU(0.2), torch.rand(2, 3, 1, 8, 12, dtype=torch.float64)
    low = model.encoder[0].cell.initial_state(2, 4, 6)
    high = model.encoder[1].cell.initial_state(2, 2, 3)
    for t in range(3):
        # the four pixels of every 2 x 2 square, row by row, are the channels
        pixels = [context[:, t, 0, row::2, column::2] for row in (0, 1) for column in (0, 1)]
        folded = torch.stack(pixels, 1)
        low = model.encoder[0].cell(
            leaky(F.conv2d(folded, model.down[0].weight, model.down[0].bias)), low
        )
        high = model.encoder[1].cell(
            leaky(F.conv2d(low[0], model.down[1].weight, model.down[1].bias, stride=2, padding=1)),
            high,
        )
    frames = []
    for _ in range(4):
        high = model.forecaster[1].cell(None, high)
        low = model.forecaster[0].cell(
            leaky(F.conv_transpose2d(high[0], model.up[1].weight, stride=2, padding=1)), low
        )
        full = leaky(F.conv_transpose2d(low[0], model.up[0].weight))
        full = leaky(F.conv2d(full, model.smooth.weight, model.smooth.bias, padding=1))
        folded = torch.sigmoid(F.conv2d(full, model.head.weight, model.head.bias).float())
        frame = torch.zeros(2, 1, 8, 12)
        for place in range(4):
            frame[:, 0, place // 2 :: 2, place % 2 :: 2] = folded[:, place]
        frames.append(frame)
    torch.testing.assert_close(model(context, 4).point(), torch.stack(frames, 1), rtol=0, atol=1e-6)


def test_the_main_jobs_network_has_the_sum_of_its_parts_as_parameters():
    """Folded frames of 16 channels, 32 hidden channels on either map, 3x3 kernels."""

    def convlstm(inputs):  # gates of inputs and state, bias, peepholes
        return 4 * 32 * 9 * (inputs + 32) + 4 * 32 + 3 * 32

    encoder = (16 * 16 + 16) + convlstm(16) + (9 * 32 * 32 + 32) + convlstm(32)
    forecaster = convlstm(0) + 16 * 32 * 32 + convlstm(32) + 32 * 16
    head = (9 * 16 * 16 + 16) + (16 * 16 + 16)
    model = from_file("convlstm_coarse_to_fine")
    found = sum(weight.numel() for weight in model.parameters())
    assert found == encoder + forecaster + head == 269_520


def planes_seen(model, *arguments):
    seen = []
    model.down[0].register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    model(*arguments).point()
    return seen[0]


def test_the_network_sees_value_x_y_and_ones_or_in_their_place_the_mask():
    context = torch.arange(36, dtype=torch.float64).reshape(1, 1, 1, 6, 6) + 1
    observed = context < 30
    value, x, y, ones = planes_seen(small(), context, 1, observed)[0]
    assert torch.equal(value, (context * observed)[0, 0, 0])
    torch.testing.assert_close(
        x, torch.tensor([-1, -0.6, -0.2, 0.2, 0.6, 1], dtype=torch.float64).expand(6, 6)
    )
    assert torch.equal(y, x.T) and torch.equal(ones, torch.ones(6, 6, dtype=torch.float64))
    value2, x2, y2, mask = planes_seen(small(observed_channel=True), context, 1, observed)[0]
    assert (
        torch.equal(value2, value)
        and torch.equal(x2, x)
        and torch.equal(y2, y)
        and torch.equal(mask, observed[0, 0, 0].double())
    )


def test_without_coordinates_it_sees_the_frame_and_the_mask_alone():
    context = torch.rand(1, 2, 1, 6, 6, dtype=torch.float64)
    assert torch.equal(planes_seen(small(coordinates=False), context, 1), context[0])
    assert torch.equal(
        planes_seen(small(coordinates=False, observed_channel=True), context, 1, context > 0.5)[
            :, 1:
        ],
        (context > 0.5).double()[0],
    )


@pytest.mark.parametrize("cell", CELLS)
def test_a_longer_forecast_begins_with_the_shorter_one(cell):
    model, context = small(cell), torch.rand(1, 5, 1, 6, 6, dtype=torch.float64)
    torch.testing.assert_close(
        model(context, 7).point()[:, :2], model(context, 2).point(), rtol=0, atol=1e-7
    )


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("size", [(1, 1), (6, 6), (5, 7), (25, 3)])
def test_any_size_comes_back_and_equals_the_forecast_of_the_frame_extended_by_its_edge(cell, size):
    model, context = small(cell), torch.rand(1, 2, 1, *size, dtype=torch.float64)
    extended = np.pad(
        context.numpy(), ((0, 0),) * 3 + tuple((0, -side % 6) for side in size), mode="edge"
    )
    forecast = model(context, 3).point()
    assert forecast.shape == (1, 3, 1, *size)
    torch.testing.assert_close(
        forecast,
        model(torch.from_numpy(extended), 3).point()[..., : size[0], : size[1]],
        rtol=0,
        atol=1e-7,
    )


@pytest.mark.parametrize("cell", CELLS)
def test_every_parameter_gets_a_gradient(cell):
    model = small(cell, observed_channel=True)
    model(
        torch.rand(1, 3, 1, 12, 12, dtype=torch.float64), 3, torch.rand(1, 3, 1, 12, 12) > 0.5
    ).point().sum().backward()
    assert [
        name
        for name, weight in model.named_parameters()
        if weight.grad is None or weight.grad.abs().max() == 0
    ] == []


def test_a_linear_output_is_the_logit_of_the_sigmoid_output_and_starts_at_its_bias():
    context = torch.rand(1, 2, 1, 6, 6, dtype=torch.float64)
    torch.testing.assert_close(
        torch.sigmoid(small(output="linear")(context, 2).point()), small()(context, 2).point()
    )
    torch.testing.assert_close(
        small(output="linear", output_bias=-3.0)(context, 2).point(),
        small(output="linear")(context, 2).point() - 3,
    )


def test_transposed_convolutions_have_no_bias_and_all_biases_but_the_last_start_at_zero():
    model = small(output_bias=-5.0)
    biases = {name: weight for name, weight in model.named_parameters() if name.endswith("bias")}
    assert [name for name in biases if name.startswith("up")] == []
    assert biases.pop("head.bias").item() == -5
    assert max(bias.abs().max() for bias in biases.values()) == 0
    assert model.head.weight.std() > 0 and model.up[0].weight.std().item() == pytest.approx(
        (2 / 1.04 / (25 * 2.5)) ** 0.5, rel=0.1
    )


@pytest.mark.parametrize("cell", CELLS)
def test_under_bfloat16_autocast_a_forecast_stays_near_and_is_float32(cell):
    model, context = small(cell, output="linear").float(), torch.rand(1, 4, 1, 12, 12)
    exact = model(context, 4).point()
    with torch.autocast("cpu", torch.bfloat16):
        near = model(context, 4).point()
    assert near.dtype == torch.float32
    assert (near - exact).abs().max() < 0.03 * exact.abs().max()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"links": [3, 3]},
            "links is .3, 3., lstm_kernels is None; give state_kernels for ConvGRU layers, links "
            "for TrajGRU layers or lstm_kernels for ConvLSTM layers, and null for the rest",
        ),
        ({"lstm_kernels": [3, 3]}, "give state_kernels for ConvGRU layers"),
        (
            {"state_kernels": None},
            "state_kernels is None, links is None, lstm_kernels is None; give state_kernels",
        ),
        (
            {"state_kernels": None, "lstm_kernels": [3]},
            r"lstm_kernels, down and up have \[2, 1, 2, 2\] entries",
        ),
        ({"patch": 0}, "patch is 0; it must be at least 1"),
        (
            {"state_kernels": [[3, 1]]},
            r"state_kernels, down and up have \[2, 1, 2, 2\] entries; they need one each per layer",
        ),
        (
            {"state_kernels": None, "links": [1, 2, 3]},
            r"links, down and up have \[2, 3, 2, 2\] entries",
        ),
        (
            {"state_kernels": [[3, 1], [3]]},
            r"state_kernels has an entry \[3\], but \[side, dilation\] is needed",
        ),
        (
            {"down": [[5, 3, 1], [3, 1, 1]]},
            r"down has a stage \[3, 1, 1\] and up \[4, 2, 1\]; each is \[kernel, stride, padding\]",
        ),
        ({"down": [[9, 3, 1], [3, 2, 1]]}, r"down has a stage \[9, 3, 1\]"),
        ({"up": [[5, 3, 1], [3, 2, 1]]}, r"and up \[3, 2, 1\]; each is"),
        ({"up": [[5, 3, 1], [4, 2]]}, r"and up \[4, 2\]; each is"),
        ({"frame_channels": 0}, "frame_channels is 0; it must be at least 1"),
    ],
)
def test_lists_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        small(**settings)
