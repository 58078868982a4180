import numpy as np
import pytest
import torch
import torch.nn.functional as F

from nowcast.models.encoder_forecaster import EncoderForecaster

TABLE_1 = [  # hidden channels, input kernel, state kernel, parameters (Shi et al. 2015, table 1)
    ([256], 5, 5, 13_524_496),
    ([128, 128], 5, 5, 10_042_896),
    ([128, 64, 64], 5, 5, 7_585_296),
    ([128, 128], 9, 1, 11_550_224),
    ([128, 64, 64], 9, 1, 8_830_480),
]


@pytest.mark.parametrize(("hidden", "input_kernel", "state_kernel", "parameters"), TABLE_1)
def test_parameter_counts_are_those_of_table_1(hidden, input_kernel, state_kernel, parameters):
    with torch.device("meta"):
        model = EncoderForecaster(hidden, input_kernel=input_kernel, state_kernel=state_kernel)
    assert sum(weight.numel() for weight in model.parameters()) == parameters


def test_the_radar_network_of_the_paper_has_896260_parameters():
    with torch.device("meta"):
        model = EncoderForecaster([64, 64], input_kernel=3, state_kernel=3, patch=2)
    assert sum(weight.numel() for weight in model.parameters()) == 896_260


def small(**settings):
    torch.manual_seed(0)
    return EncoderForecaster([4, 3], input_kernel=3, state_kernel=3, patch=2, **settings).double()


def test_the_structure_is_that_of_figure_3_written_out_step_by_step():
    model = small()
    context = torch.rand(2, 3, 1, 4, 6, dtype=torch.float64)
    states = [layer.cell.initial_state(2, 2, 3) for layer in model.encoder]
    for t in range(3):
        x = F.pixel_unshuffle(context[:, t], 2)
        for index, layer in enumerate(model.encoder):
            states[index] = layer.cell(x, states[index])
            x = states[index][0]
    frames = []
    for t in range(4):
        if t > 0:
            x = None
            for index, layer in enumerate(model.forecaster):
                states[index] = layer.cell(x, states[index])
                x = states[index][0]
        frames.append(torch.sigmoid(F.pixel_shuffle(model.head(torch.cat([h for h, _ in states], 1)).float(), 2)))
    torch.testing.assert_close(model(context, 4), torch.stack(frames, 1), rtol=0, atol=1e-7)


def test_a_longer_forecast_begins_with_the_shorter_one():
    model, context = small(), torch.rand(1, 5, 1, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(model(context, 7)[:, :2], model(context, 2), rtol=0, atol=1e-7)


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (64, 3), (17, 16)])
def test_any_size_comes_back_and_equals_the_forecast_of_the_frame_extended_by_its_edge(size):
    model, context = small(), torch.rand(1, 2, 1, *size, dtype=torch.float64)
    extended = np.pad(context.numpy(), ((0, 0),) * 3 + tuple((0, -side % 2) for side in size), mode="edge")
    forecast = model(context, 3)
    assert forecast.shape == (1, 3, 1, *size)
    expected = model(torch.from_numpy(extended), 3)[..., : size[0], : size[1]]
    torch.testing.assert_close(forecast, expected, rtol=0, atol=1e-7)


def test_the_folded_channel_is_dy_times_patch_plus_dx(monkeypatch):
    model, seen = EncoderForecaster([1], patch=4), []
    model.encoder[0].register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    frame = torch.arange(64.0).reshape(1, 1, 1, 8, 8)
    model(frame, 1)
    assert seen[0].shape == (1, 1, 16, 2, 2)
    assert seen[0][0, 0, 2 * 4 + 3, 1, 0] == frame[0, 0, 0, 4 + 2, 3]


def test_every_parameter_gets_a_gradient():
    model = small(observed_channel=True)
    model(torch.rand(1, 3, 1, 4, 4, dtype=torch.float64), 3, torch.rand(1, 3, 1, 4, 4) > 0.5).sum().backward()
    assert [name for name, weight in model.named_parameters() if weight.grad is None or weight.grad.abs().max() == 0] == []


def test_a_linear_output_is_the_logit_of_the_sigmoid_output():
    context = torch.rand(1, 2, 1, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(torch.sigmoid(small(output="linear")(context, 2)), small()(context, 2))


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"hidden_channels": []}, r"hidden_channels is \[\]; it must be at least 1, one number per layer"), ({"hidden_channels": [4], "output": "relu"}, "accepted are sigmoid and linear"),
     ({"hidden_channels": [4], "patch": 0}, "patch is 0; it must be at least 1")],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        EncoderForecaster(**settings)
