import pytest
import torch
import torch.nn.functional as F

from nowcast.models.encoder_forecaster import EncoderForecaster
from tests.equations import assert_extends_frames_by_their_edge

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
        frames.append(
            torch.sigmoid(
                F.pixel_shuffle(model.head(torch.cat([h for h, _ in states], 1)).float(), 2)
            )
        )
    torch.testing.assert_close(model(context, 4).point(), torch.stack(frames, 1), rtol=0, atol=1e-7)


def test_a_longer_forecast_begins_with_the_shorter_one():
    model, context = small(), torch.rand(1, 5, 1, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(
        model(context, 7).point()[:, :2], model(context, 2).point(), rtol=0, atol=1e-7
    )


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (64, 3), (17, 16)])
def test_any_size_comes_back_and_equals_the_forecast_of_the_frame_extended_by_its_edge(size):
    assert_extends_frames_by_their_edge(
        small(), size, multiple=2, context_length=2, forecast_length=3
    )


def test_the_folded_channel_is_dy_times_patch_plus_dx(monkeypatch):
    model, seen = EncoderForecaster([1], patch=4), []
    model.encoder[0].register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    frame = torch.arange(64.0).reshape(1, 1, 1, 8, 8)
    model(frame, 1).point()
    assert seen[0].shape == (1, 1, 16, 2, 2)
    assert seen[0][0, 0, 2 * 4 + 3, 1, 0] == frame[0, 0, 0, 4 + 2, 3]


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


def test_members_differ_by_noise_on_the_states_alone():
    model = small(state_noise=0.5)
    context, mask = torch.rand(2, 3, 1, 5, 4, dtype=torch.float64), torch.rand(2, 3, 1, 5, 4) > 0.3
    torch.manual_seed(3)
    members = model(context, 2, mask).members(4)
    assert members.shape == (2, 4, 2, 1, 5, 4)
    torch.manual_seed(3)
    assert torch.equal(model(context, 2, mask).members(4), members)
    assert (members[:, 1:] - members[:, :1]).abs().amin(dim=(2, 3, 4, 5)).max() < 1 and (
        members[:, 1:] - members[:, :1]
    ).abs().amax(dim=(2, 3, 4, 5)).min() > 1e-3
    with torch.no_grad():
        for scale in model.noise:
            scale.zero_()
    torch.testing.assert_close(
        model(context, 2, mask).members(3),
        model(context, 2, mask).point()[:, None].expand(-1, 3, -1, -1, -1, -1),
    )


def test_the_noise_starts_at_its_setting_and_is_learnt_by_channel():
    model = small(state_noise=0.25)
    assert [tuple(scale.shape) for scale in model.noise] == [(2, 4), (2, 3)]
    assert all((scale == 0.25).all() for scale in model.noise)
    context = torch.rand(1, 3, 1, 4, 4, dtype=torch.float64)
    model(context, 2).members(3).square().sum().backward()
    assert all(scale.grad.abs().min() > 0 for scale in model.noise)
    assert len(small().noise) == 0


def test_without_noise_there_are_no_members():
    assert not small().capabilities.members and small(state_noise=0.1).capabilities.members
    with pytest.raises(ValueError, match="this model predicts a single field and draws none"):
        small()(torch.rand(1, 2, 1, 4, 4, dtype=torch.float64), 2).members(3)


@pytest.mark.parametrize(
    "option", [{"norm_groups": 1}, {"forget_bias": 1.0}, {"dropout": 0.5}, {"peephole": False}]
)
def test_an_option_of_the_layers_reaches_them_and_acts(option):
    plain, model, context = small(), small(**option), torch.rand(1, 3, 1, 4, 4, dtype=torch.float64)
    for parameter in plain.parameters():
        torch.nn.init.normal_(parameter)
    shared = {
        name: weight
        for name, weight in plain.state_dict().items()
        if "forget_bias" not in option or "bias" not in name
    }
    model.load_state_dict(shared, strict=False)
    assert (model(context, 3).point() - plain(context, 3).point()).abs().max() > 1e-4


def test_the_keras_initialisation_reaches_the_layers():
    limits = [
        weight.abs().max().item()
        for layer in small(initialisation="keras").encoder
        for weight in [layer.cell.input_weight]
    ]
    expected = [
        (6 / (9 * (inputs + 4 * hidden))) ** 0.5 for inputs, hidden in ((4, 4), (4, 3))
    ]  # Glorot's
    assert limits == pytest.approx(expected, rel=0.05)


def test_checkpointing_changes_no_gradient():
    gradients = []
    for checkpoint in (0, 2):
        model = small(checkpoint=checkpoint)
        model(
            torch.linspace(0, 1, 80, dtype=torch.float64).reshape(1, 5, 1, 4, 4), 4
        ).point().square().sum().backward()
        assert [layer.checkpoint for layer in (*model.encoder, *model.forecaster)] == [
            checkpoint
        ] * 4
        gradients.append([weight.grad for weight in model.parameters()])
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-12)


def test_a_linear_output_is_the_logit_of_the_sigmoid_output():
    context = torch.rand(1, 2, 1, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(
        torch.sigmoid(small(output="linear")(context, 2).point()), small()(context, 2).point()
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"hidden_channels": []},
            r"hidden_channels is \[\]; it must be at least 1, one number per layer",
        ),
        ({"hidden_channels": [4], "output": "relu"}, "accepted are sigmoid and linear"),
        (
            {"hidden_channels": [4], "state_noise": -1.0},
            "state_noise is -1.0; it must be at least 0",
        ),
        ({"hidden_channels": [4], "patch": 0}, "patch is 0; it must be at least 1"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        EncoderForecaster(**settings)
