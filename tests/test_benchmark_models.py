"""What a model costs, against arithmetic and allocations that are known."""

import dataclasses
import json
import math

import pytest
import torch
from torch import nn

from nowcast.benchmark import measuring
from nowcast.benchmark.measuring import Host, measure, peak_memory, random_batch, training_step
from nowcast.benchmark.models import Models, multiply_adds, parameters
from nowcast.cli import config, main
from nowcast.models.base import Capabilities, ForecastModel
from nowcast.runtime.build import build
from nowcast.training.losses import PixelLoss

CPU = torch.device("cpu")
MODEL = {
    "_target_": "nowcast.models.encoder_forecaster.EncoderForecaster",
    "hidden_channels": [2],
    "input_kernel": 3,
    "state_kernel": 3,
}
SETTINGS = {"model": MODEL, "loss": {"_target_": "nowcast.training.losses.CrossEntropy"}}
TINY = Models(
    ["whole"],
    size=8,
    context_length=2,
    forecast_length=2,
    batch_size=3,
    precision="float32",
    seconds=0,
)


def host(**settings) -> Host:
    """The command line of a configuration with these models."""
    return Host(
        lambda overrides: settings[overrides[0].removeprefix("model=")],
        lambda group: list(settings),
    )


def test_the_network_of_shi2015_takes_18_4_billion_multiply_adds_for_ten_frames_from_ten():
    """Gates: pixels x 25 x (inputs + hidden) x 4 hidden, on maps of 16 x 16 = 64 x 64 in patches of
    4 x 4.
    """
    widths, inputs = [128, 64, 64], [16, 128, 64]
    encoder = sum(256 * 25 * (i + h) * 4 * h for i, h in zip(inputs, widths, strict=True))
    forecaster = sum(
        256 * 25 * (i + h) * 4 * h for i, h in zip([0, *inputs[1:]], widths, strict=True)
    )
    expected = 10 * encoder + 9 * forecaster + 10 * 256 * sum(widths) * 16
    model = build(config.plain(config.compose("train", ["model=shi2015"]))["model"])
    found = multiply_adds(model, torch.zeros(1, 10, 1, 64, 64), 10)
    assert found == expected == 18_465_423_360  # 36.9 billion operations


@pytest.mark.parametrize(("layers", "both_ways"), [(1, False), (2, False), (2, True)])
def test_the_products_inside_an_lstm_layer_are_counted(layers, both_ways):
    """T B 4F (C + F), where a further layer reads the outputs of all directions of the layer
    before.
    """
    lstm = nn.LSTM(5, 11, layers, bidirectional=both_ways)
    directions = 2 if both_ways else 1
    read = [5, *[11 * directions] * (layers - 1)]
    assert multiply_adds(lstm, torch.zeros(7, 3, 5)) == sum(
        7 * 3 * directions * 4 * 11 * (c + 11) for c in read
    )


def test_convolutions_and_matrix_products_are_counted_and_element_wise_work_is_not():
    convolution = nn.Conv2d(6, 8, 3, padding=1, groups=2)
    assert multiply_adds(convolution, torch.zeros(2, 6, 5, 4)) == 2 * 5 * 4 * 8 * 3 * 9
    assert (
        multiply_adds(nn.ConvTranspose2d(6, 8, 4, 2, 1), torch.zeros(1, 6, 5, 4))
        == 5 * 4 * 6 * 8 * 16
    )
    assert multiply_adds(nn.Sequential(nn.Linear(3, 7), nn.Tanh()), torch.zeros(4, 3)) == 4 * 3 * 7
    assert multiply_adds(nn.GRU(5, 11), torch.zeros(7, 3, 5)) == 7 * 3 * 3 * 11 * (5 + 11)
    assert multiply_adds(nn.Sequential(nn.Sigmoid(), nn.AvgPool2d(2)), torch.zeros(1, 1, 8, 8)) == 0


def test_peak_memory_is_what_lies_there_at_the_same_time():
    values, kept = torch.ones(1000, 1000), []

    def step():
        a = values * 2  # 4 MB
        b = a + 1  # 8
        del a  # 4
        kept.append(b.sqrt())  # 8
        kept.append(kept[-1] + b)  # 12, of which 8 stay

    assert peak_memory(step, CPU) == peak_memory(step, CPU) == 12_000_000


def test_the_peak_of_a_training_step_holds_what_backward_needs():
    """A chain of products by element, 1 MB each: every factor is kept until the way back, so 10
    more products take 10 MB more.
    """
    weight = nn.Parameter(torch.full((250_000,), 0.5))

    def step(count):
        value = torch.ones(250_000)
        for _ in range(count):
            value = value * weight
        value.sum().backward()
        weight.grad = None

    small, large = (peak_memory(lambda count=count: step(count), CPU) for count in (4, 14))
    assert large - small == 10_000_000
    assert small > 5_000_000


def test_a_time_is_the_median_after_a_step_that_does_not_count(monkeypatch):
    clock = iter([0, 100, 200, 201, 300, 307, 400, 402])  # seconds: 100 to warm up, then 1, 7, 2
    monkeypatch.setattr(measuring.time, "perf_counter", lambda: next(clock))
    steps = []
    assert measure(lambda: steps.append(1), CPU, seconds=10) == 2000
    assert len(steps) == 4


def test_a_step_trains_with_the_truth_of_a_model_with_scheduled_sampling_and_leaves_no_gradients():
    class Sampling(ForecastModel):
        capabilities = Capabilities(scheduled_sampling=True)

        def __init__(self):
            super().__init__()
            self.weight, self.seen = nn.Parameter(torch.tensor(1.0)), []

        def forward(self, context, forecast_length, observed=None, scale=None):
            raise AssertionError("in training the truth is shown now and then")

        def scheduled_sampling(self, window, observed, context_length, progress):
            autocast = torch.is_autocast_enabled("cpu")
            self.seen.append((window.shape[1], context_length, 0 <= progress <= 1, autocast))
            return self.weight * window[:, 1:]

    class Triple(PixelLoss):
        def of(self, forecast, target, observed):
            return (forecast - 3 * target).square().mean()

    model = Sampling()
    training_step(model, Triple(), random_batch(3, 2, 2, 8, CPU), precision="bf16-mixed")()
    assert model.seen == [(4, 2, True, True)]
    # Adam's first step is its learning rate
    assert model.weight.item() == pytest.approx(1.001) and model.weight.grad is None


def test_a_model_that_fails_does_not_keep_the_others_from_being_measured():
    broken = SETTINGS | {"model": MODEL | {"hidden_channels": [0]}}
    report = dataclasses.replace(TINY, models=["broken", "whole"]).run(
        host(broken=broken, whole=SETTINGS)
    )
    assert report.failed == {
        "broken": "hidden_channels is [0]; it must be at least 1, one number per layer."
    }
    assert [(record["case"], record["phase"]) for record in report.records] == [
        ("whole", "forward"),
        ("whole", "train"),
    ]
    with pytest.raises(
        ValueError, match="none of the models could be measured: broken: hidden_channels is"
    ):
        dataclasses.replace(TINY, models=["broken"]).run(host(broken=broken))


def test_what_cannot_be_trained_may_still_forecast(monkeypatch):
    def too_large(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate much.")

    monkeypatch.setattr(measuring, "optimizer_of", too_large)
    report = TINY.run(host(whole=SETTINGS))
    assert [record["phase"] for record in report.records] == ["forward"]
    assert report.failed == {"whole": "CUDA out of memory."}
    columns = [list(column.cells)[0] for column in report.tables[0].columns]
    assert columns[0] == "whole" and columns[3] == columns[4] == "–" != columns[5]


def test_auto_is_the_precision_that_is_fast_here(monkeypatch):
    for fast, name in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(
            "nowcast.runtime.precision.bf16_is_fast", lambda device, fast=fast: fast
        )
        report = dataclasses.replace(TINY, precision="auto").run(host(whole=SETTINGS))
        assert [record["precision"] for record in report.records] == [name, name]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 0}, "size is 0; expected a whole number, at least 1"),
        ({"batch_size": 2.5}, "batch_size is 2.5; expected a whole number, at least 1"),
        ({"precision": "fp8"}, "precision is 'fp8'; accepted are auto"),
        ({"seconds": -1}, "seconds is -1; expected a number, 0 or more"),
        ({"seconds": math.inf}, "seconds is inf; expected a number, 0 or more"),
    ],
)
def test_a_load_that_makes_no_sense_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Models(**settings)


def test_the_command_measures_several_models_in_one_run(tmp_path, capsys):
    changes = [
        "models=[convlstm_small,shi2015]",
        "size=32",
        "context_length=2",
        "forecast_length=2",
        "batch_size=1",
        "seconds=0",
        "precision=float32",
    ]
    main(
        [
            "benchmark",
            "what=models",
            f"output_dir={tmp_path}/out",
            *(f"what.{change}" for change in changes),
        ]
    )
    content = json.loads((tmp_path / "out" / "benchmark.json").read_text())
    assert list(content) == ["machine", "versions", "date", "settings", "records", "failed"]
    assert (
        content["machine"]["cores"] >= 1
        and content["machine"]["cpu"]
        and content["versions"]["torch"] == torch.__version__
    )
    assert content["settings"]["what"]["batch_size"] == 1 and content["failed"] == {}
    cases = {(record["case"], record["phase"]): record for record in content["records"]}
    assert set(cases) == {
        (name, phase) for name in ("convlstm_small", "shi2015") for phase in ("train", "forward")
    }
    record = cases["shi2015", "train"]
    assert list(record) == [
        "case",
        "implementation",
        "precision",
        "phase",
        "milliseconds",
        "peak_memory_mb",
        "parameters",
        "multiply_adds",
        "sequences_per_second",
    ]
    assert (
        record["parameters"] == 7_585_296
        and record["precision"] == "float32"
        and record["implementation"] == "nowcast"
    )
    assert record["sequences_per_second"] == pytest.approx(1000 / record["milliseconds"])
    assert (
        record["peak_memory_mb"] > 4 * 7.585296 > cases["shi2015", "forward"]["peak_memory_mb"]
    )  # gradients are float32
    text = capsys.readouterr().out
    assert (
        "2 → 2 frames of 32x32, batch 1" in text
        and "7,585,296" in text
        and "multiply-" in text
        and "bilinear warps are not counted" in text
    )


def test_parameters_are_counted_without_buffers():
    assert parameters(nn.BatchNorm2d(3)) == 6
