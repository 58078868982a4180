"""What every model of conf/model must do, each built from its own YAML in a small size, for both
kinds of data.
"""

import copy

import numpy as np
import pytest
import torch

from nowcast.cli import config
from nowcast.forecasting.forecaster import Forecaster
from nowcast.runtime.build import build
from nowcast.training.losses import PixelLoss
from nowcast.types.batch import Batch

SMALL = {  # what makes a model small enough to overfit one batch within seconds
    "conv2d_lstm": ["model.tile=16", "model.conv_channels=[8,16]", "model.hidden_units=64"],
    "convgru_hko7": ["model.hidden_channels=[8,8,8]"],
    "convgru_moving_mnist": ["model.hidden_channels=[8,8,8]"],
    "convlstm_coarse_to_fine": ["model.hidden_channels=[12,12]", "model.frame_channels=8"],
    "convlstm_s": ["model.hidden_channels=[16,16]", "model.kernel=3", "model.output_bias=-3.0"],
    "convlstm_small": ["model.hidden_channels=[12,12]"],
    "fc_lstm": ["model.tile=16", "model.hidden_channels=[48]"],
    "predrnn": ["model.hidden_channels=[12,12]", "model.kernel=3", "model.output_bias=-3.0"],
    "shi2015": ["model.hidden_channels=[16,16]", "model.input_kernel=3", "model.state_kernel=3"],
    "simvp": ["model.spatial_channels=8", "model.hidden_channels=32", "model.blocks=2"],
    "trajgru_hko7": ["model.hidden_channels=[8,8,8]", "model.links=[3,3,2]"],
    "trajgru_moving_mnist": ["model.hidden_channels=[8,8,8]", "model.links=[3,3,3]"],
    "unet": ["model.base_channels=8", "model.levels=2"],
}
FEEDS_BACK = (
    "simvp",
    "unet",
)  # no recurrence: what was predicted at once is put in again for a longer forecast
OF_ITS_OWN = (
    "lagrangian",
    # for radar alone, told a scale, with NaN for what comes from outside and a loss of
    # probabilities: tests/test_lagrangian.py
)
NAMES = [name for name in config.choices("model") if name not in OF_ITS_OWN]
KINDS = {
    "moving_mnist": ["data=moving_mnist"],
    "radar": [
        "data=radar",
        "data.archive=none.nc",
        "task.context_length=5",
        "task.forecast_length=5",
    ],
}


def settings(name, kind="moving_mnist"):
    return config.plain(config.compose("train", [*KINDS[kind], f"model={name}", *SMALL[name]]))


def model(name, kind="moving_mnist"):
    torch.manual_seed(0)
    return build(settings(name, kind)["model"], "model")


def moving_squares(frames=10, size=16):
    """Two sequences (2, T, 1, 16, 16) of one square each, going right and going down."""
    values = np.zeros((2, frames, 1, size, size), np.float32)
    for t in range(frames):
        values[0, t, 0, 5:9, t : t + 4] = 1
        values[1, t, 0, t : t + 4, 9:12] = 1
    return torch.from_numpy(values)


def test_every_model_has_a_small_size_here():
    assert sorted(SMALL) == NAMES


LARGE = (
    "shi2015",
    "trajgru_hko7",
    "trajgru_moving_mnist",
    "predrnn",
)  # learn one kind of data in every run of the tests, and the other with -m ''
CASES = [
    pytest.param(name, kind, marks=[pytest.mark.slow] if name in LARGE and kind == "radar" else [])
    for name in NAMES
    for kind in KINDS
]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_one_batch_is_learnt_by_heart(name, kind):
    network, window = model(name, kind), moving_squares()
    batch = Batch.complete(window[:, :5], window[:, 5:])
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)

    class Entropy(PixelLoss):
        def of(self, forecast, target, observed):
            return torch.nn.functional.binary_cross_entropy(forecast.clamp(1e-6, 1 - 1e-6), target)

    def error():
        with torch.no_grad():
            forecast = network.eval()(batch.context, 5, batch.context_observed).point()
            return (forecast - batch.target).square().mean().item()

    constant = batch.target.var(correction=0).item()  # the error of the best constant frame
    for step in range(900):
        if step % 50 == 0 and error() < 0.1 * constant:
            break
        network.train()
        optimizer.zero_grad()
        Entropy()(network, batch, min(1.0, step / 100)).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
    assert error() < 0.1 * constant


@pytest.mark.parametrize("size", [(1, 1), (17, 23), (70, 5)])
@pytest.mark.parametrize("name", NAMES)
def test_odd_sizes_other_lengths_and_a_batch_of_any_size_work(name, size):
    network = model(name).eval()
    context = torch.rand(3, 7, 1, *size)
    with torch.no_grad():
        forecast = network(context, 7).point()
        assert forecast.shape == (3, 7, 1, *size) and forecast.dtype == torch.float32
        assert forecast.isfinite().all() and forecast.min() >= 0 and forecast.max() <= 1
        torch.testing.assert_close(
            network(context[1:2], 7).point()[0], forecast[1], rtol=0, atol=1e-5
        )  # no sample sees another
        for length in (1, 2):  # no frame sees a later one
            torch.testing.assert_close(
                network(context, length).point(), forecast[:, :length], rtol=0, atol=1e-5
            )


@pytest.mark.parametrize("name", NAMES)
def test_the_whole_context_counts_and_nothing_hidden_in_it(name):
    network = model(name, "radar").eval()
    for (
        parameter
    ) in network.parameters():  # some start at zero, which would hide what depends on them
        torch.nn.init.normal_(parameter, std=0.1)
    context = torch.rand(1, 5, 1, 16, 16)
    observed = torch.rand(1, 5, 1, 16, 16) > 0.2
    with torch.no_grad():
        forecast = network(context, 3, observed).point()
        for poison in (0.7, float("nan"), float("inf")):
            assert torch.equal(
                network(torch.where(observed, context, poison), 3, observed).point(), forecast
            )
        for frame in range(5):
            changed = context.clone()
            changed[:, frame] = 1 - changed[:, frame]
            assert not torch.equal(network(changed, 3, observed).point(), forecast)
        assert not torch.equal(
            network(torch.where(observed, context, 0.0), 3).point(), forecast
        )  # missing is not dry


@pytest.mark.parametrize(
    "name", [name for name in NAMES if model(name).capabilities.scheduled_sampling]
)
@pytest.mark.parametrize("progress", [0.0, 0.4, 1.0])
def test_in_training_no_forecast_sees_its_own_frame_or_a_later_one(name, progress):
    network, window = model(name), torch.rand(2, 8, 1, 8, 8)
    observed = torch.ones_like(window, dtype=torch.bool)

    def sampled(window):
        torch.manual_seed(7)
        with torch.no_grad():
            return network.scheduled_sampling(window, observed, 4, progress)

    first = sampled(window)
    assert first.shape == (2, 7, 1, 8, 8)
    for frame in range(1, 8):
        changed = window.clone()
        changed[:, frame:] = torch.rand_like(changed[:, frame:])
        torch.testing.assert_close(
            sampled(changed)[:, :frame], first[:, :frame], rtol=0, atol=1e-6
        )  # of frames 1 to `frame`


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_a_saved_model_forecasts_the_same_bits(name, kind, tmp_path):
    torch.manual_seed(0)
    forecaster = Forecaster.from_settings(settings(name, kind))
    forecaster.save(tmp_path)
    torch.manual_seed(1)
    loaded = Forecaster.load(tmp_path)
    values = np.random.default_rng(0).random((1, 5, 16, 16), np.float32)
    values[:, :, :3, :4] = np.nan
    forecast = forecaster.forecast_values(values, 3)
    np.testing.assert_array_equal(loaded.forecast_values(values, 3), forecast)
    assert np.isnan(forecast[..., :3, :4]).all() and np.isfinite(forecast[..., 3:, 4:]).all()


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_stays_near_float32_and_float64_is_possible(name):
    network, context = model(name).eval(), moving_squares(5)
    with torch.no_grad():
        exact = network(context, 3).point()
        with torch.autocast("cpu", torch.bfloat16):
            assert (network(context, 3).point() - exact).abs().max() < 0.05
        torch.testing.assert_close(
            copy.deepcopy(network).double()(context.double(), 3).point(), exact, rtol=0, atol=1e-4
        )


@pytest.mark.parametrize("name", NAMES)
def test_every_weight_is_trained(name):
    network = model(name, "radar").train()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    torch.manual_seed(0)
    context, observed = torch.rand(1, 5, 1, 16, 16), torch.rand(1, 5, 1, 16, 16) > 0.2
    network(context, 5, observed).point().square().sum().backward()
    assert [
        key
        for key, weight in network.named_parameters()
        if weight.grad is None or not weight.grad.abs().max() > 0
    ] == []
