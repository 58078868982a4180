"""bfloat16 where it is fast, and nothing of it in what comes out."""

import numpy as np
import pytest
import torch

from nowcast.forecasting.forecaster import Forecaster
from nowcast.models.encoder_forecaster import EncoderForecaster
from nowcast.models.network import precisely
from nowcast.runtime.errors import UserError
from nowcast.runtime.precision import autocast, bf16_is_fast, precision_of
from nowcast.types.task import Task
from nowcast.types.transform import Identity


@pytest.fixture
def forecasts():
    """Forecasts of one network in each precision, by name."""

    def run(**settings):
        torch.manual_seed(0)
        network = EncoderForecaster([8, 8], output="linear", **settings)
        context = np.random.default_rng(0).random((2, 4, 32, 32), dtype=np.float32)
        made = {
            precision: Forecaster(network, Identity(), Task(4, 3), precision=precision)
            for precision in ("float32", "bf16-mixed", "auto")
        }
        return {name: forecaster.forecast_values(context) for name, forecaster in made.items()}

    return run


def test_a_forecast_in_bfloat16_is_float32_near_that_of_float32_and_finer_than_8_bits(forecasts):
    found = forecasts()
    exact, half = found["float32"], found["bf16-mixed"]
    assert exact.dtype == half.dtype == np.float32 and not np.array_equal(exact, half)
    assert np.abs(exact - half).max() < 0.01 * np.abs(exact).max()
    rounded = torch.from_numpy(half).to(torch.bfloat16).float().numpy()
    assert (rounded != half).mean() > 0.95  # bfloat16 numbers would stay as they are


def test_auto_is_the_one_that_is_fast_here(forecasts, monkeypatch):
    for fast, name in ((True, "bf16-mixed"), (False, "float32")):
        monkeypatch.setattr(
            "nowcast.runtime.precision.bf16_is_fast", lambda device, fast=fast: fast
        )
        found = forecasts()
        np.testing.assert_array_equal(found["auto"], found[name])


def test_what_the_hardware_says_decides(monkeypatch):
    for amx, avx in ((True, False), (False, True), (False, False)):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda amx=amx: amx, raising=False)
        monkeypatch.setattr(
            torch.cpu, "_is_avx512_bf16_supported", lambda avx=avx: avx, raising=False
        )
        assert bf16_is_fast("cpu") == (amx or avx)
    assert not bf16_is_fast("mps")
    assert [precision_of(name, "mps") for name in ("auto", "float32", "bf16-mixed")] == [
        "float32",
        "float32",
        "bf16-mixed",
    ]


def test_a_last_layer_keeps_the_type_of_its_weights():
    head, values = torch.nn.Linear(3, 2), torch.rand(4, 3)
    exact = head(values)
    with autocast("cpu", "bf16-mixed"):
        assert head(values).dtype == torch.bfloat16
        assert torch.equal(precisely(head, values), exact)
    assert precisely(head.double(), values).dtype == torch.float64


def test_another_precision_is_refused():
    with pytest.raises(
        UserError, match="precision is 'fp8'; accepted are auto, float32, bf16-mixed"
    ):
        Forecaster(torch.nn.Identity(), Identity(), Task(4, 3), precision="fp8")


def test_a_run_forecasts_in_the_precision_it_was_trained_in_unless_told_otherwise(tmp_path):
    model = {
        "_target_": "nowcast.models.encoder_forecaster.EncoderForecaster",
        "hidden_channels": [2],
    }
    task = {"_target_": "nowcast.types.task.Task", "context_length": 4, "forecast_length": 3}
    settings = {
        "model": model,
        "transform": {"_target_": "nowcast.types.transform.Identity"},
        "task": task,
    }
    Forecaster.from_settings(settings, precision="bf16-mixed").save(tmp_path)
    assert [
        Forecaster.load(tmp_path).precision,
        Forecaster.load(tmp_path, precision="float32").precision,
    ] == ["bf16-mixed", "float32"]
    path = tmp_path / "forecaster.json"
    path.write_text(
        path.read_text().replace('"precision": "bf16-mixed",', "")
    )  # as older versions wrote it
    assert Forecaster.load(tmp_path).precision == "float32"
