"""Models and layers as graphs that run without nowcast: torch.export and ONNX."""

import json
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from nowcast.baselines.dry import Dry
from nowcast.baselines.extrapolation import Extrapolation
from nowcast.baselines.persistence import Persistence
from nowcast.cli.config import run_folder
from nowcast.forecasting.export import _moving, export_onnx, export_program
from nowcast.forecasting.forecaster import Forecaster
from nowcast.models import free_sizes, steps_in_time
from nowcast.models.conv2d_lstm import Conv2dLSTM
from nowcast.models.convlstm import ConvLSTM
from nowcast.models.encoder_forecaster import EncoderForecaster
from nowcast.models.fc_lstm import FCLSTM
from nowcast.models.hko7 import Hko7EncoderForecaster
from nowcast.models.lagrangian import LagrangianConvLSTM
from nowcast.models.lagrangian.maps import smooth
from nowcast.models.lagrangian.settings import SETTINGS
from nowcast.runtime import torch_private
from nowcast.runtime.errors import MissingDependency, UserError
from nowcast.types.scale import Scale

SIZES = (
    (1, 1, 7, 9),
    (3, 6, 13, 8),
    (1, 9, 30, 21),
)  # batch, length, height, width; the graphs are made with others
SMALL = {"input_kernel": 3, "state_kernel": 3}


def layer(**settings) -> ConvLSTM:
    torch.manual_seed(0)
    return ConvLSTM(2, 4, **(SMALL | settings)).eval()


def inputs_of(cell, batch: int, length: int, height: int, width: int) -> tuple[torch.Tensor, ...]:
    """Inputs, h, c and a mask."""
    shape = (batch, cell.hidden_channels, *cell.state_size(height, width))
    return (
        torch.randn(batch, length, 2, height, width),
        torch.randn(shape).tanh(),
        torch.randn(shape),
        torch.rand(batch, length) > 0.3,
    )


def scan_in_steps(step, state, sequences):
    """What torch's scan operator does, without making a graph."""
    outputs = []
    for place in range(len(sequences[0])):
        state, output = step(state, tuple(sequence[place] for sequence in sequences))
        outputs.append(output)
    return state, torch.stack(outputs)


def hko7(**recurrent) -> Hko7EncoderForecaster:
    return Hko7EncoderForecaster(
        [2], frame_channels=2, down=[[3, 2, 1]], up=[[4, 2, 1]], **recurrent
    )


OTHERS = {
    "ConvGRU": lambda: hko7(state_kernels=[[3, 1]]),
    "TrajGRU": lambda: hko7(links=[2]),
    "ConvLSTM on folded frames": lambda: hko7(lstm_kernels=[3], patch=2, coordinates=False),
    "FCLSTM": lambda: FCLSTM([4], tile=8),
    "Conv2dLSTM": lambda: Conv2dLSTM([2], hidden_units=4, tile=8),
    "Persistence": Persistence,
    "Dry": Dry,
}


@pytest.fixture(scope="module")
def encoder_forecaster() -> Forecaster:
    torch.manual_seed(0)
    model = {
        "_target_": "nowcast.models.encoder_forecaster.EncoderForecaster",
        "hidden_channels": [3, 3],
        "patch": 2,
        "observed_channel": True,
    }
    transform = {"_target_": "nowcast.types.transform.LogRainRate"}
    task = {"_target_": "nowcast.types.task.Task", "context_length": 3, "forecast_length": 2}
    return Forecaster.from_settings(
        {"task": task, "transform": transform, "model": model | SMALL}, precision="float32"
    )


@pytest.fixture(scope="module")
def onnx_file(encoder_forecaster, tmp_path_factory):
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    folder = tmp_path_factory.mktemp("run")
    encoder_forecaster.save(folder)
    return export_onnx(folder, folder / "model.onnx")


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"dilation": 2, "go_backwards": True}, marks=pytest.mark.slow),
        {"stride": (3, 2), "norm_groups": 2},
        {
            "padding": "valid",
            "dropout": 0.2,
            "state_dropout": 0.2,
            "state_kernel": 4,
            "checkpoint": 2,
        },
    ],
    ids=lambda settings: "-".join(settings) if isinstance(settings, dict) else None,
)
def test_a_layer_with_other_settings_exported_with_4_steps_computes_1_6_and_9_steps_of_maps_of_other_sizes(
    settings,
):
    model = layer(**settings)
    program = export_program(model, verify=False).module()
    for size in SIZES:
        inputs = inputs_of(model.cell, *size)[0]
        outputs, state = model(inputs)
        assert not model.training
        for came, wanted in zip(program(inputs), (outputs, *state), strict=True):
            torch.testing.assert_close(came, wanted, rtol=1e-5, atol=1e-5)


def test_a_layer_with_state_and_mask_is_the_same_in_onnxruntime_at_other_batches_lengths_and_sizes(
    tmp_path,
):
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    model = layer(norm_groups=2, stride=2)
    session = runtime.InferenceSession(
        export_onnx(model, tmp_path / "layer.onnx", state=True, mask=True)
    )
    assert [given.name for given in session.get_inputs()] == ["inputs", "h", "c", "mask"]
    assert session.get_inputs()[0].shape == ["batch", "time", 2, "height", "width"]
    for size in SIZES:
        inputs, h, c, mask = arguments = inputs_of(model.cell, *size)
        outputs, state = model(inputs, (h, c), mask=mask)
        found = session.run(
            None, dict(zip(("inputs", "h", "c", "mask"), (part.numpy() for part in arguments)))
        )
        for came, wanted in zip(found, (outputs, *state), strict=True):
            np.testing.assert_allclose(came, wanted.detach().numpy(), rtol=1e-4, atol=1e-5)


def test_a_run_as_onnx_takes_rain_rates_with_gaps_and_returns_the_forecasters_own_forecast_at_other_sizes(
    encoder_forecaster, onnx_file
):
    session = pytest.importorskip("onnxruntime").InferenceSession(onnx_file)
    for batch, length, height, width in ((1, 2, 9, 8), (3, 5, 16, 21)):
        rain = (
            np.random.default_rng(1)
            .gamma(0.5, 4.0, (batch, length, height, width))
            .astype(np.float32)
        )
        rain[:, :, :2, :3], rain[0, -1] = np.nan, np.nan
        (came,) = session.run(None, {"rain_rate": rain})
        np.testing.assert_allclose(
            came, encoder_forecaster.forecast_values(rain), rtol=1e-3, atol=1e-3
        )


def test_an_onnx_file_says_its_axes_units_and_what_it_was_made_of(onnx_file):
    session = pytest.importorskip("onnxruntime").InferenceSession(onnx_file)
    said = session.get_modelmeta().custom_metadata_map
    assert (
        json.loads(said["nowcast.inputs"]) == {"rain_rate": "B T H W"}
        and json.loads(said["nowcast.units"])["forecast"] == "mm h-1"
    )
    task, transform = (json.loads(said[f"nowcast.{name}"]) for name in ("task", "transform"))
    assert (
        task["context_length"] == 3
        and transform["_target_"] == "nowcast.types.transform.LogRainRate"
    )
    assert said["nowcast.forecast_length"] == "2" and said["nowcast.missing"] == "NaN"
    assert session.get_outputs()[0].shape == ["batch", 2, "height", "width"]


def test_a_saved_program_runs_in_a_process_that_has_torch_alone(tmp_path):
    model = layer()
    torch.export.save(export_program(model, verify=False), tmp_path / "layer.pt2")
    inputs = torch.randn(1, 5, 2, 12, 11)
    torch.save(inputs, tmp_path / "inputs.pt")
    code = (
        "import sys, torch; p = torch.export.load(sys.argv[1]); "
        "torch.save(p.module()(torch.load(sys.argv[2]))[0], sys.argv[2]); assert 'nowcast' "
        "not in sys.modules"
    )
    subprocess.run(
        [sys.executable, "-I", "-c", code, tmp_path / "layer.pt2", tmp_path / "inputs.pt"],
        check=True,
        timeout=300,
    )
    torch.testing.assert_close(
        torch.load(tmp_path / "inputs.pt"), model(inputs)[0], rtol=1e-5, atol=1e-5
    )


def test_without_torchs_scan_a_layer_is_exported_with_one_length_and_free_sizes(monkeypatch):
    monkeypatch.setattr(torch_private, "scan", lambda: None)
    model = layer()
    program = export_program(model, context_length=4, verify=False).module()
    inputs = torch.randn(3, 4, 2, 13, 8)
    torch.testing.assert_close(program(inputs)[0], model(inputs)[0], rtol=1e-5, atol=1e-5)
    with pytest.raises(UserError, match="ConvLSTM cannot be exported"):
        export_program(model)


@pytest.mark.parametrize(
    ("model", "given", "reason"),
    [
        (lambda: ConvLSTM(1, 2, stateful=True), {}, "remembers nothing"),
        (lambda: ConvLSTM(0, 2), {}, "has no input"),
        (lambda: ConvLSTM(1, 2), {"forecast_length": 3}, "takes no forecast_length"),
        (lambda: EncoderForecaster([2]), {}, "give forecast_length"),
        (
            lambda: EncoderForecaster([2]),
            {"forecast_length": 3, "state": True},
            "arguments of a ConvLSTM",
        ),
        (
            lambda: LagrangianConvLSTM([2, 2, 2], knee=0.5, ceiling=150.0),
            {"forecast_length": 3},
            "give spacing",
        ),
        (lambda: 3, {"forecast_length": 3}, "int is not exported"),
    ],
)
def test_what_cannot_be_exported_is_refused_with_the_reason(model, given, reason):
    with pytest.raises(UserError, match=reason):
        export_program(model(), **given)


def test_a_method_of_pysteps_has_no_graph():
    pytest.importorskip("cv2")
    pytest.importorskip("pysteps")
    with pytest.raises(UserError, match="outside torch"):
        export_program(Extrapolation(), forecast_length=3)


def test_without_onnx_the_message_names_the_extra_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(
        MissingDependency, match=r"an ONNX file needs onnx.* pip install 'nowcast-radar\[export\]'"
    ):
        export_onnx(layer(), tmp_path / "layer.onnx")


def test_a_program_that_does_not_do_what_the_model_does_is_not_returned(monkeypatch):
    wrong = SimpleNamespace(module=lambda: lambda *arguments: [torch.zeros(1)] * 3)
    monkeypatch.setattr("nowcast.forecasting.export._program", lambda found: wrong)
    with pytest.raises(UserError, match="does not do what the model does"):
        export_program(layer())


@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 7), (8, 24), (33, 10), (70, 41)])
def test_operations_for_sizes_that_are_free_compute_what_torch_does_at_sizes_that_are_not(
    height, width
):
    maps = torch.randn(2, 3, height, width)
    for side in (1, 2, 3, 8):
        wanted = F.avg_pool2d(maps, side, ceil_mode=True, count_include_pad=False)
        torch.testing.assert_close(free_sizes.averaged_in_squares(maps, side, exact=False), wanted)
    for size in ((1, 1), (3, 4), (height, 2)):
        torch.testing.assert_close(
            free_sizes.averaged_to(maps, size), F.adaptive_avg_pool2d(maps, size)
        )
    for spread in (0.3, 1.0, 4.0, 30.0):
        torch.testing.assert_close(
            free_sizes.smooth(maps, spread), smooth(maps, spread), rtol=1e-4, atol=1e-5
        )
        least = torch.tensor(max(height, width) / 3)
        torch.testing.assert_close(
            free_sizes.smooth(maps, spread, least),
            smooth(maps, min(spread, least.item())),
            rtol=1e-4,
            atol=1e-5,
        )
    for below, right in ((0, 0), (3, 1)):
        room = (0, right, 0, below)
        assert torch.equal(
            free_sizes.padded(maps, below, right, repeat=True), F.pad(maps, room, mode="replicate")
        )
        assert torch.equal(free_sizes.padded(maps, below, right, repeat=False), F.pad(maps, room))
    torch.testing.assert_close(free_sizes.places(height, maps), torch.linspace(-1, 1, height))


@pytest.mark.parametrize("spacing", [0.3, 0.6, 1.0, 2.0])
def test_what_a_graph_of_the_shipped_model_would_compute_is_its_forecast_on_grids_of_any_size(
    monkeypatch, spacing
):
    """The branches that a graph is made of, run without making one: rounding moves fewer than one
    pixel of a thousand over a threshold.
    """
    model = Forecaster.load(run_folder("shipped")).model.eval()
    for batch, length, height, width in ((1, 4, 61, 150), (2, 2, 20, 24), (2, 5, 90, 70)):
        rain = _moving(batch, length, height, width)[:, :, None] / 20
        context, observed = rain.nan_to_num(0.0), ~rain.isnan()
        observed[0, 0] = False
        with torch.no_grad():
            wanted = model(context, 2, observed, Scale(5.0, spacing)).point()
            with monkeypatch.context() as patch:
                patch.setattr(torch.compiler, "is_exporting", lambda: True)
                patch.setattr(torch_private, "scan", lambda: scan_in_steps)
                came = model(context, 2, observed, Scale(5.0, spacing)).point()
        close = (came - wanted).abs() < 1e-3
        assert (close | (came.isnan() & wanted.isnan())).float().mean() > 0.999


@pytest.mark.parametrize("name", OTHERS)
def test_other_models_made_for_2_frames_are_programs_for_other_batches_and_sizes(name):
    torch.manual_seed(0)
    export_program(OTHERS[name](), forecast_length=2, context_length=2)  # compares on other sizes


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_other_models_made_for_2_frames_are_the_same_in_onnxruntime(name, tmp_path):
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    export_onnx(OTHERS[name](), tmp_path / "model.onnx", forecast_length=2, context_length=2)


def test_a_graph_that_onnx_cannot_express_is_refused_with_the_reason_and_no_file(
    monkeypatch, tmp_path
):
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")

    def unable(*arguments, **settings):
        raise RuntimeError("no operator for it")

    monkeypatch.setattr(torch.onnx, "export", unable)
    with pytest.raises(UserError, match="Persistence is not expressed in ONNX: no operator for it"):
        export_onnx(Persistence(), tmp_path / "model.onnx", forecast_length=2)
    assert not list(tmp_path.iterdir())


def test_repeated_steps_are_one_step_in_a_graph_and_the_same_numbers():
    class Thrice(torch.nn.Module):
        def forward(self, values):
            return steps_in_time.repeated(lambda found: 2 * found + values.mean(), values, 3)

    values = torch.arange(6.0).reshape(2, 3)
    program = torch.export.export(Thrice(), (values,))
    scans = [node for node in program.graph.nodes if "scan" in str(node.target)]
    assert scans and torch.equal(program.module()(values), Thrice()(values))


def parts_that_agree(came: torch.Tensor, wanted: torch.Tensor) -> float:
    """Share of the pixels that differ by no more than 1e-3, relative above 1 mm/h; NaN agrees with
    NaN.
    """
    close = (came - wanted).abs() <= 1e-3 * wanted.abs().clamp(min=1)
    return (close | (came.isnan() & wanted.isnan())).float().mean().item()


@pytest.mark.slow
def test_a_small_lagrangian_network_exported_on_35x49_forecasts_3_leads_of_other_grids_and_batches_in_onnxruntime(
    tmp_path,
):
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    model = LagrangianConvLSTM([4, 4, 4], knee=0.5, ceiling=150.0)
    # two grids of the motion instead of three
    model.settings = replace(SETTINGS, motion_coarsest=10.0)
    export_onnx(
        model, tmp_path / "model.onnx", forecast_length=3, context_length=3, spacing=5.0
    )  # compares on other sizes


@pytest.mark.slow
def test_the_shipped_model_as_a_file_of_less_than_100_mb_forecasts_12_leads_as_it_does_itself_at_two_other_sizes(
    tmp_path,
):
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    path = export_onnx("shipped", tmp_path / "shipped.onnx", spacing=1.0, forecast_length=12)
    assert path.stat().st_size < 100e6
    session, forecaster = (
        runtime.InferenceSession(path),
        Forecaster.load(run_folder("shipped"), precision="float32"),
    )
    for batch, height, width in ((1, 150, 97), (3, 64, 130)):
        rain = _moving(batch, 4, height, width)
        (came,) = session.run(
            None, {"rain_rate": rain.numpy(), "timestep": np.full(batch, 5.0, np.float32)}
        )
        scale = Scale.of_samples([(5.0, 1.0)] * batch)
        wanted = torch.from_numpy(forecaster.forecast_values(rain.numpy(), 12, scale=scale))
        assert parts_that_agree(torch.from_numpy(came), wanted) >= 0.999
