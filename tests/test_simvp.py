"""SimVP with gated spatiotemporal attention, against OpenSTL's figures and its equations written
out.
"""

import pytest
import torch
import torch.nn.functional as F
from torchvision.ops import StochasticDepth

from nowcast.models.simvp import GatedAttention, SimVP
from tests.equations import assert_extends_frames_by_their_edge


def small(*, context_length=3, **settings):
    """Evaluated, in double precision, after one call in training: the batch statistics are not
    those of the start.
    """
    torch.manual_seed(0)
    model = SimVP(
        context_length=context_length,
        spatial_channels=4,
        hidden_channels=10,
        spatial_layers=4,
        blocks=3,
        **settings,
    ).double()
    for weight in model.translator.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    model(torch.rand(3, context_length, 1, 8, 8, dtype=torch.float64), 1).point()
    return model.eval()


# OpenSTL, docs/en/model_zoos: SimVP+gSTA-S; ours, settings, parameters in millions as printed there
PUBLISHED = [
    ("Moving MNIST", 46_769_665, {"context_length": 10}, "46.8"),
    (
        "KTH",
        15_632_961,
        {"context_length": 10, "hidden_channels": 256, "spatial_layers": 2, "blocks": 6},
        "15.6",
    ),
    (
        "WeatherBench t2m",
        12_758_305,
        {"context_length": 12, "spatial_channels": 32, "hidden_channels": 256, "spatial_layers": 2},
        "12.76",
    ),
]


@pytest.mark.parametrize(
    ("parameters", "settings", "millions"), [pytest.param(*row[1:], id=row[0]) for row in PUBLISHED]
)
def test_parameter_counts_are_those_openstl_lists(parameters, settings, millions):
    with torch.device("meta"):
        model = SimVP(**settings)
    assert sum(weight.numel() for weight in model.parameters()) == parameters
    assert f"{parameters / 1e6:.{len(millions.split('.')[1])}f}" == millions


def test_the_count_for_moving_mnist_is_the_sum_of_its_parts():
    def block(
        d,
        # two normalisations, two scales; 1x1, 5x5 and 7x7 by channel, 1x1 to 2d, 1x1; 1x1 to 8d,
        # 3x3 by channel, 1x1
    ):
        return (
            4 * d
            + 2 * d
            + (d * d + d)
            + 26 * d
            + 50 * d
            + (2 * d * d + 2 * d)
            + (d * d + d)
            + (8 * d * d + 8 * d)
            + 80 * d
            + (8 * d * d + d)
        )

    translator = block(640) + 7 * block(512) + 2 * 640 * 512 + 512 + 640
    encoder = (9 * 64 + 3 * 64) + 3 * (9 * 64 * 64 + 3 * 64)
    decoder = 2 * (9 * 64 * 256 + 256 + 128) + 2 * (9 * 64 * 64 + 3 * 64) + 64 + 1
    assert translator + encoder + decoder == 46_769_665


def spatial(layer, x, *, stride=1):
    convolution, norm = layer[0], layer[-2]
    x = F.conv2d(x, convolution.weight, convolution.bias, stride=stride, padding=1)
    if (
        convolution.out_channels == 4 * norm.num_channels
    ):  # channel 4 k + 2 dy + dx becomes row dy, column dx of channel k
        n, _, height, width = x.shape
        x = (
            x.reshape(n, -1, 2, 2, height, width)
            .permute(0, 1, 4, 2, 5, 3)
            .reshape(n, -1, 2 * height, 2 * width)
        )
    x = F.group_norm(x, 2, norm.weight, norm.bias)
    return x * torch.sigmoid(x)


def pointwise(convolution, x):
    return (
        torch.einsum("bchw,oc->bohw", x, convolution.weight[:, :, 0, 0])
        + convolution.bias[:, None, None]
    )


def by_channel(convolution, x, *, padding, dilation=1):
    return F.conv2d(
        x,
        convolution.weight,
        convolution.bias,
        padding=padding,
        dilation=dilation,
        groups=x.shape[1],
    )


def standardised(norm, x):
    x = (x - norm.running_mean[:, None, None]) / torch.sqrt(norm.running_var[:, None, None] + 1e-5)
    return x * norm.weight[:, None, None] + norm.bias[:, None, None]


def attention_block(block, x):
    y = standardised(block.attention_norm, x)
    z = F.gelu(pointwise(block.enter[0], y))
    z = by_channel(block.gate[1], by_channel(block.gate[0], z, padding=2), padding=9, dilation=3)
    z = pointwise(block.gate[2], z)
    half = z.shape[1] // 2
    z = torch.sigmoid(z[:, half:]) * z[:, :half]
    x = x + block.attention_scale * (pointwise(block.leave, z) + y)
    z = by_channel(
        block.perceptron[1],
        pointwise(block.perceptron[0], standardised(block.perceptron_norm, x)),
        padding=1,
    )
    return x + block.perceptron_scale * pointwise(block.perceptron[3], F.gelu(z))


def test_the_forecast_is_that_of_openstl_written_out():
    model = small()
    context = torch.rand(2, 3, 1, 8, 12, dtype=torch.float64)
    first = spatial(model.encoder[0], context.reshape(6, 1, 8, 12))
    x = spatial(model.encoder[1], first, stride=2)
    x = spatial(model.encoder[3], spatial(model.encoder[2], x), stride=2)
    assert (first.shape, x.shape) == ((6, 4, 8, 12), (6, 4, 2, 3))
    x = x.reshape(2, 12, 2, 3)  # the maps of three frames side by side
    blocks = list(model.translator)
    assert [type(block) for block in blocks] == [
        GatedAttention,
        torch.nn.Conv2d,
        GatedAttention,
        GatedAttention,
        torch.nn.Conv2d,
    ]
    x = pointwise(blocks[1], attention_block(blocks[0], x))
    x = attention_block(blocks[3], attention_block(blocks[2], x))
    x = pointwise(blocks[4], x).reshape(6, 4, 2, 3)
    for layer in model.decoder[:3]:
        x = spatial(layer, x)
    x = pointwise(model.head, spatial(model.decoder[3], x + first))
    torch.testing.assert_close(
        model(context, 3).point(),
        torch.sigmoid(x).reshape(2, 3, 1, 8, 12).float(),
        rtol=0,
        atol=1e-6,
    )


def test_weights_start_as_in_openstl():
    torch.manual_seed(0)
    model = SimVP(
        context_length=2, spatial_channels=32, hidden_channels=64, blocks=2, output_bias=-5.0
    )
    block = model.translator[0]
    assert (
        block.attention_scale.unique().item()
        == block.perceptron_scale.unique().item()
        == pytest.approx(0.01)
    )
    assert model.encoder[1][0].weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert block.enter[0].weight.std().item() == pytest.approx((2 / 64) ** 0.5, rel=0.05)
    assert block.gate[0].weight.std().item() == pytest.approx((2 / 25) ** 0.5, rel=0.1)
    assert block.perceptron[0].weight.std().item() == pytest.approx((2 / 512) ** 0.5, rel=0.05)
    assert model.head.bias.tolist() == [-5]


def test_blocks_are_dropped_at_rates_from_0_01_to_the_one_asked_for_and_only_in_training():
    model = small(drop_path=0.4)
    assert [
        module.p for module in model.modules() if isinstance(module, StochasticDepth)
    ] == pytest.approx([0.01, 0.205, 0.4])
    context = torch.rand(8, 3, 1, 8, 8, dtype=torch.float64)
    assert torch.equal(model(context, 3).point(), model(context, 3).point())
    model.train()
    assert not torch.equal(model(context, 3).point(), model(context, 3).point())
    assert {
        module.p for module in small(drop_path=0.0).modules() if isinstance(module, StochasticDepth)
    } == {0.0}


@pytest.mark.parametrize("observed_channel", [False, True])
def test_a_longer_forecast_goes_on_from_its_own_frames_and_a_shorter_one_is_cut(observed_channel):
    model = small(observed_channel=observed_channel)
    context, observed = (
        torch.rand(1, 3, 1, 4, 8, dtype=torch.float64),
        torch.rand(1, 3, 1, 4, 8) > 0.3,
    )
    first = model(context, 3, observed).point()
    second = model(first.double(), 3).point()
    third = model(second.double(), 3).point()
    torch.testing.assert_close(
        model(context, 7, observed).point(),
        torch.cat([first, second, third[:, :1]], 1),
        rtol=0,
        atol=1e-6,
    )
    torch.testing.assert_close(model(context, 2, observed).point(), first[:, :2])


def test_it_sees_nothing_but_the_last_frames_of_its_context_and_its_own_sequence():
    model, context = small(), torch.rand(2, 5, 1, 4, 4, dtype=torch.float64)
    forecast = model(context, 4).point()
    other = torch.cat([torch.rand(2, 2, 1, 4, 4, dtype=torch.float64), context[:, 2:]], 1)
    assert torch.equal(model(other, 4).point(), forecast)
    torch.testing.assert_close(model(context[:1], 4).point(), forecast[:1], rtol=0, atol=1e-7)
    other[:, 2] += 0.1
    assert not torch.allclose(model(other, 4).point(), forecast)
    with pytest.raises(ValueError, match="SimVP expected at least 3 context frames, got 2"):
        model(context[:, :2], 4).point()


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (16, 3)])
def test_any_size_comes_back_and_equals_the_forecast_of_the_frame_extended_by_its_edge(size):
    assert_extends_frames_by_their_edge(
        small(), size, multiple=4, context_length=3, forecast_length=5
    )


def test_bfloat16_autocast_gives_about_the_same_forecast():
    model, context = small().float(), torch.rand(1, 3, 1, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        forecast = model(context, 5).point()
    assert forecast.dtype == torch.float32
    torch.testing.assert_close(forecast, model(context, 5).point(), rtol=0, atol=0.03)


def test_every_parameter_gets_a_gradient():
    model = small(observed_channel=True).train()
    model(
        torch.rand(2, 3, 1, 8, 8, dtype=torch.float64), 3, torch.rand(2, 3, 1, 8, 8) > 0.5
    ).point().square().sum().backward()
    assert [
        name
        for name, weight in model.named_parameters()
        if weight.grad is None or weight.grad.abs().max() == 0
    ] == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"context_length": 0}, "context_length is 0; it must be at least 1"),
        ({"blocks": 1}, "blocks is 1; it must be at least 2"),
        ({"hidden_channels": 0}, "hidden_channels is 0; it must be at least 1"),
        ({"spatial_layers": 0}, "spatial_layers is 0; it must be at least 2"),
        (
            {"spatial_layers": 3},
            "spatial_channels and spatial_layers are 64 and 3; both must be even",
        ),
        ({"spatial_channels": 7}, "are 7 and 4; both must be even"),
        (
            {"drop_path": 1.0},
            "drop_path is 1.0, but a share of at least 0 and less than 1 is needed",
        ),
        ({"drop_path": -0.1}, "drop_path is -0.1, but a share"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        SimVP(**{"context_length": 3, **settings})
