"""Every setting that can be typed acts, or is refused with a reason.

``CHANGED`` names each setting of each class that a configuration builds, with another value for it:
what is built must be another object then. ``OF_COMMANDS`` does the same for the settings that
commands read themselves: what a command does must be another thing. A setting without an entry
fails the test.
"""

import inspect

import numpy as np
import pytest
import torch
import yaml

from nowcast.cli import (
    compare,
    config,
    evaluate,
    experiment,
    folders,
    forecasting,
    radar,
    request,
    run,
)
from nowcast.forecasting import prediction
from nowcast.forecasting.forecaster import Forecaster
from nowcast.runtime.build import build, resolve
from nowcast.runtime.errors import UserError
from tests.factories import write_archive

TASK = {
    "_target_": "nowcast.types.task.Task",
    "context_length": 2,
    "forecast_length": 2,
    "timestep": 5,
    "quantity": "rain_rate",
}
GREY = TASK | {"quantity": "grey_level"}
GRID = {
    "_target_": "nowcast.readers.array_grid.ArrayGrid",
    "crs": "EPSG:3035",
    "x": 0.0,
    "y": 0.0,
    "dx": 1.0,
    "dy": 1.0,
    "rows_from": "north",
    "reach": None,
}
DEPTH = {"_target_": "nowcast.readers.decoding.Coding", "quantity": "rain_depth", "minutes": 5}

NETWORK = {"output": "linear", "observed_channel": True}
Z_R = {"z_r_a": 300.0, "z_r_b": 1.4}
RADAR_DATA = {
    "task": TASK | {"context_length": 3},
    "seed": 7,
    "crop": 6,
    "crop_candidates": 2,
    "samples_per_epoch": 3,
    "validation_samples": 2,
    "test_stride": 2,
    "memory_mb": 0,
}
RAIN = {"_target_": "nowcast.data.synthetic_rain.SyntheticRain", "task": TASK, "seed": 7}
CF = {  # of every reader of CF data sets
    "variable": "rain",
    "minutes": 5,
    "units": "mm/h",
    "missing": [7],
    "crs": "EPSG:3857",
    "x": "columns",
    "y": "rows",
    "dx": 2.0,
    "dy": 2.0,
    "time": "when",
    **Z_R,
}
CHANGED = {  # class -> each of its settings and another value
    "Task": {"context_length": 3, "forecast_length": 3, "timestep": 10, "quantity": "grey_level"},
    "LogRainRate": {"knee": 1.0, "ceiling": 100.0},
    "FlooredLogRainRate": {"floor": 0.1, "ceiling": 100.0},
    "Radar": {
        "archive": "other.nc",
        "validation_from": "2020-06-01T02:00",
        "test_from": "2020-06-01T07:00",
        **RADAR_DATA,
    },
    "RadarEvents": {"archives": "other.nc", "test": ["a"], "validation": ["a"], **RADAR_DATA},
    "Mixture": {
        "parts": {"radar": {"_target_": "nowcast.data.mixture.Part", "share": 1.0, "data": RAIN}},
        "task": TASK | {"context_length": 3},
        "seed": 7,
        "validation": ["synthetic"],
        "test": ["synthetic"],
        "samples_per_epoch": 30,
    },
    "Part": {"data": RAIN, "share": 0.1},
    "SyntheticRain": {
        "task": TASK | {"context_length": 3},
        "seed": 7,
        "size": 64,
        "spacings": [1.0, 1.2],
        "timesteps": [5, 10],
        "samples_per_epoch": 3,
        "renew": 2,
        "validation_samples": 3,
        "test_samples": 3,
        "missing": 0.1,
    },
    "MovingMnist": {
        "task": GREY | {"context_length": 3},
        "seed": 7,
        "digits": "torchvision",
        "digits_folder": "elsewhere",
        "train_sequences": 3,
        "validation_sequences": 3,
        "test_sequences": 3,
        "fixed": True,
        "shared_digits": 7,
        "digits_per_frame": 3,
        "size": 70,
        "test_file": "test.npy",
    },
    "EncoderForecaster": {
        "hidden_channels": [4],
        "input_kernel": 5,
        "state_kernel": 5,
        "patch": 2,
        "peephole": False,
        "norm_groups": 1,
        "forget_bias": 1.0,
        "dropout": 0.1,
        "initialisation": "keras",
        "checkpoint": 2,
        "state_noise": 0.1,
        "output_bias": 1.0,
        **NETWORK,
    },
    "Hko7EncoderForecaster": {
        "hidden_channels": [8, 8, 8],
        "state_kernels": [[3, 1]] * 3,
        "links": [5, 5, 5],
        "lstm_kernels": [3, 3, 3],
        "down": [[5, 5, 0], [5, 3, 1], [3, 2, 1]],
        "up": [[5, 5, 0], [5, 3, 1], [4, 2, 1]],
        "frame_channels": 4,
        "patch": 2,
        "coordinates": False,
        "output_bias": 1.0,
        **NETWORK,
    },
    "ConvLSTMStack": {
        "hidden_channels": [4],
        "kernel": 3,
        "patch": 2,
        "forget_bias": 1.0,
        "sampling": "reverse",
        "sampling_until": 0.5,
        "output_bias": 1.0,
        **NETWORK,
    },
    "PredRNN": {
        "hidden_channels": [4],
        "kernel": 3,
        "patch": 2,
        "layer_norm": True,
        "sampling": "reverse",
        "sampling_until": 0.5,
        "output_bias": 1.0,
        **NETWORK,
    },
    "FCLSTM": {"hidden_channels": [4], "tile": 32, "output_bias": 1.0, **NETWORK},
    "Conv2dLSTM": {
        "conv_channels": [8, 8, 8, 8],
        "hidden_units": 8,
        "layers": 2,
        "tile": 32,
        "output_bias": 1.0,
        **NETWORK,
    },
    "SimVP": {
        "context_length": 3,
        "spatial_channels": 8,
        "hidden_channels": 16,
        "spatial_layers": 2,
        "blocks": 2,
        "drop_path": 0.1,
        "output_bias": 1.0,
        **NETWORK,
    },
    "UNet": {
        "context_length": 3,
        "steps": 3,
        "base_channels": 4,
        "levels": 2,
        "output_bias": 1.0,
        **NETWORK,
    },
    "LagrangianConvLSTM": {
        "hidden_channels": [8, 8, 8],
        "knee": 1.0,
        "ceiling": 110.0,
        "levels": [0.1, 1.0, 5.0, 20.0],
        "regression_window": 30.0,
    },
    "BalancedError": {
        "knee": 1.0,
        "ceiling": 100.0,
        "thresholds": [1.0, 5.0, 10.0, 30.0],
        "weights": [1.0, 1.0, 1.0, 1.0, 1.0],
        "squared_weight": 0.5,
        "absolute_weight": 0.5,
    },
    "CRPS": {"members": 3, "fair": False},
    "CrossEntropy": {"absolute_weight": 1.0, "absolute_rise": [0.5, 0.75]},
    "ExceedanceError": {
        "knee": 1.0,
        "ceiling": 100.0,
        "thresholds": [1.0, 1.1, 1.2, 1.3, 1.4, 1.7, 3.0, 5.0, 10.0, 20.0, 30.0],
        "weights": [1.0] * 11,
    },
    "StructuralError": {"absolute_weight": 0.5},
    "WeightedError": {"rain_weight": 1.0},
    "RainScores": {
        "thresholds": [1],
        "windows": [2],
        "pools": [2],
        "sal": True,
        "spectra": False,
        "accumulations": [30],
        "accumulation_thresholds": [2],
        "boxes": [8],
        "cost_loss": [0.3],
    },
    "Extrapolation": {"motion_frames": 4, "motion": "vet"},
    "Anvil": {"cascade_levels": 4, "motion": "vet"},
    "Sprog": {"cascade_levels": 4, "motion": "vet", "matching": "cdf"},
    "Steps": {"members": 4, "cascade_levels": 4, "motion": "vet", "seed": 2},
    "Linda": {"members": 4, "motion": "vet", "seed": 2},
    "EvaluationPlan": {
        "workers": 2,
        "cache": "elsewhere",
        "cache_gb": 1,
        "block_hours": 3.0,
        "draws": 200,
        "level": 0.9,
        "seed": 2,
        "members": 3,
        "show": False,
    },
    "TrainingSettings": {
        "max_epochs": 2,
        "batch_size": 2,
        "learning_rate": 0.5,
        "optimizer": "rmsprop",
        "schedule": "constant",
        "gradient_clip": 1.0,
        "average": 0.9,
        "precision": "float32",
        "select": "csi",
        "select_threshold": 5.0,
        "patience": 3,
        "skipped": 1,
        "workers": 1,
        "accelerator": "cpu",
        "devices": 2,
    },
    "Onto": {"like": "a.nc", "crs": "EPSG:3035", "x": [0, 20, 3], "y": [20, 0, 3]},
    "Regular": {"spacing": 1000, "crs": "EPSG:3035", "x": [0, 10000], "y": [0, 10000]},
    "Operation": {
        "cadence_minutes": 10,
        "deadline_minutes": 2,
        "max_age_minutes": 10,
        "poll_seconds": 1.0,
        "keep": 3,
        "formats": ["tif"],
        "thresholds": [2.0],
        "page": False,
        "point": "median",
        "calibration": 6,
    },
    "Arrays": {
        "dataset": "other",
        "time_in_name": "%Y%m%d%H",
        "time_in_file": "when",
        "timestep": 10,
        "axes": "HWT",
        "values": DEPTH | {"minutes": 10},
        "grid": GRID | {"x": 5.0},
    },
    "Tolerance": {
        "negative_rate": 0.1,
        "bad_share": 0.01,
        "seconds": 5.0,
        "pixels": 0.2,
        "corners": 0.2,
        "negative_share": 0.1,
    },
    "ArrayGrid": {
        "crs": "EPSG:3857",
        "x": 5.0,
        "y": 5.0,
        "dx": 2.0,
        "dy": 2.0,
        "rows_from": "south",
        "reach": 2.0,
    },
    "Coding": {
        "quantity": "reflectivity",
        "minutes": 10,
        "gain": 2.0,
        "offset": 1.0,
        "missing": [7],
        "undetect": 3.0,
        **Z_R,
    },
    "GeoTiff": {"time": "%Y%m%d%H%M", "band": 2, "values": DEPTH},
    "CfNetcdf": CF,
    "ZarrComposite": {"fill_is_dry": True, **CF},
    "OdimHdf5": {
        "quantity": "DBZH",
        "dataset": "dataset1",
        "nominal": "start",
        "minutes": 10,
        "missing": [7],
        "grid": "corners",
        "crs": "EPSG:3857",
        "x": 5.0,
        "y": 5.0,
        "dx": 2.0,
        "dy": 2.0,
        **Z_R,
    },
    "FmiPgm": Z_R,
    "KnmiHdf5": {"missing": [7], **Z_R},
    "Radolan": Z_R,
    "Nimrod": Z_R,
    "MeteoNet": {"coordinates": "coords.npz", **Z_R},
    "Layer": {
        "cases": ["8>8 3x3 16x16"],
        "length": 5,
        "batch_size": 2,
        "checkpoints": [2],
        "seconds": 1,
    },
    "Models": {
        "models": ["unet"],
        "size": 32,
        "context_length": 5,
        "forecast_length": 5,
        "batch_size": 2,
        "precision": "float32",
        "seconds": 1,
    },
    "Prediction": {
        "trained": "run",
        "rows": 64,
        "columns": 64,
        "forecast_length": 3,
        "repeats": 2,
        "pysteps_repeats": 1,
        "thresholds": [2.0],
        "busy_processes": 0,
        "busy_repeats": 1,
    },
    "Training": {"experiments": ["smoke"], "overrides": ["seed=3"], "workers": [0], "seconds": 1},
}
WITH = {  # what must be typed beside a setting, or another setting would refuse it
    ("Hko7EncoderForecaster", "state_kernels"): {"links": None, "lstm_kernels": None},
    ("Hko7EncoderForecaster", "links"): {"state_kernels": None, "lstm_kernels": None},
    ("Hko7EncoderForecaster", "lstm_kernels"): {"state_kernels": None, "links": None},
    ("Regular", "crs"): {"x": [0, 10000], "y": [0, 10000]},
    ("RadarEvents", "validation"): {"test": ["other"]},
    ("Onto", "like"): {"crs": None, "x": None, "y": None},
    ("CfNetcdf", "dx"): {"x": 0.0},
    ("CfNetcdf", "dy"): {"y": 0.0},
    ("ZarrComposite", "dx"): {"x": 0.0},
    ("ZarrComposite", "dy"): {"y": 0.0},
    ("OdimHdf5", "x"): {"grid": "given", "y": 0.0},
    ("OdimHdf5", "y"): {"grid": "given", "x": 0.0},
    ("OdimHdf5", "dx"): {"grid": "given", "x": 0.0, "y": 0.0},
    ("OdimHdf5", "dy"): {"grid": "given", "x": 0.0, "y": 0.0},
    ("Arrays", "time_in_name"): {"time_in_file": None},
    ("Arrays", "time_in_file"): {"time_in_name": None},
}
GIVEN = {  # what a file leaves to whoever types
    "arrays": {"dataset": "rain", "time_in_name": "%Y%m%d%H%M"},
    "onto": {"crs": "EPSG:3857", "x": [0, 10, 3], "y": [10, 0, 3]},
    "radar": {"archive": "a.nc"},
    "radar_events": {"archives": "[ao]*.nc"},
    "mixture": {"archive": "a.nc"},
}
FILES = [
    path
    for path in sorted(config.folder().glob("*/*.yaml"))
    if path.parent.name not in ("experiment", "evaluation", "training")
]
FILES += [
    config.folder() / "evaluation" / "default.yaml",
    config.folder() / "training" / "minutes.yaml",
    config.folder() / "watch.yaml",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the files that settings above name."""
    place = tmp_path_factory.mktemp("files")
    for name in ("a.nc", "other.nc"):
        write_archive(place / name, np.ones((100, 8, 8)), range(0, 500, 5))
    np.save(place / "test.npy", np.zeros((20, 3, 64, 64), np.uint8))
    return place


def nodes(path):
    """Each node of a file that names a class, with values in place of references and of what must
    be given.
    """
    values = {
        "task": TASK,
        "seed": 1,
        "output_bias": -3.0,
        "observed_channel": False,
        "transform.knee": 0.5,
        "transform.ceiling": 150.0,
        "task.context_length": 2,
        "task.forecast_length": 2,
        "data.samples_per_epoch": 20,
    }
    stored = yaml.safe_load(path.read_text())
    if path.stem == "moving_mnist":
        values["task"] = GREY

    def filled(node):
        if isinstance(node, dict):
            given = GIVEN.get(path.stem, {})
            return {
                key: given.get(key, value) if value == "???" else filled(value)
                for key, value in node.items()
            }
        return values[node[2:-1]] if isinstance(node, str) and node.startswith("${") else node

    def found(node):
        if isinstance(node, dict):
            if "_target_" in node:
                yield node
            for value in node.values():
                yield from found(value)

    for node in found(filled(stored)):
        given = (
            GIVEN.get(path.stem, {})
            if node["_target_"].endswith((".Arrays", ".Onto", ".Radar", ".RadarEvents"))
            else {}
        )
        node = node | given
        if node["_target_"].endswith(".Arrays") and path.stem == "arrays":
            node |= {"values": DEPTH, "grid": GRID}
        if node["_target_"].endswith(".Coding"):
            node |= {"quantity": node["quantity"] if node["quantity"] != "???" else "rain_rate"}
        if "???" in node.values():
            node = GRID | {key: value for key, value in node.items() if value not in ("???", None)}
        yield node


def fingerprint(value):
    """All that is kept of a built object, for comparison."""
    if isinstance(value, torch.Tensor):
        return (
            tuple(value.shape),
            value.stride(),
            value.dtype,
            value.detach().flatten()[:64].tolist(),
        )
    if isinstance(value, (list, tuple)):
        return [fingerprint(item) for item in value]
    if isinstance(value, dict):
        return {str(key): fingerprint(item) for key, item in value.items()}
    if isinstance(value, (type(None), bool, int, float, str)) or not hasattr(value, "__dict__"):
        return repr(value)
    if type(value).__module__.startswith(("nowcast", "torch.nn")):
        return type(value).__name__, {
            key: fingerprint(item)
            for key, item in vars(value).items()
            if not key.endswith(("_opened", "_kept", "_hooks"))
        }
    return repr(value)


def built(node):
    torch.manual_seed(1)
    return fingerprint(build(node, "node"))


SETTINGS = {}
for path in FILES:
    for node in nodes(path):
        for key in node:
            if key != "_target_":
                SETTINGS.setdefault((node["_target_"].rpartition(".")[2], key), node)


def test_every_setting_of_every_class_has_an_entry_in_the_table():
    assert {name: set(settings) for name, settings in CHANGED.items()} == {
        name: {key for other, key in SETTINGS if other == name} for name, _ in SETTINGS
    }


@pytest.mark.parametrize("name", CHANGED)
def test_another_value_builds_another_object(name, folder, monkeypatch):
    monkeypatch.chdir(folder)
    if name in OF_PYSTEPS:
        pytest.importorskip("pysteps")
        pytest.importorskip("cv2")
    unchanged = []
    for key, value in CHANGED[name].items():
        node = SETTINGS[name, key]
        beside = WITH.get((name, key), {})
        small = node
        if (
            issubclass(resolve(node["_target_"], name), torch.nn.Module)
            and name != "LagrangianConvLSTM"
        ):
            small = node | {
                other: changed
                for other, changed in CHANGED[name].items()
                if other in SIZES and other != key
            }
        try:
            before = built(small | beside)
        except UserError:  # what stands beside it goes with the other value alone
            before = built(small)
        if before == built(small | beside | {key: value}):
            unchanged.append(key)
    assert unchanged == []


OF_PYSTEPS = ("Extrapolation", "Anvil", "Sprog", "Steps", "Linda")
SIZES = (
    "hidden_channels",
    "conv_channels",
    "hidden_units",
    "spatial_channels",
    "base_channels",
    "levels",
    "blocks",
    "tile",
)


class Done(Exception):
    """What a command was about to do."""


@pytest.fixture
def done(monkeypatch, folder):
    """A function that runs a command up to its work, and says what that was: everything passed to
    it, and written or printed.
    """
    monkeypatch.chdir(folder)

    def stopped(*arguments, **settings):
        raise Done(
            fingerprint(
                [
                    arguments,
                    {key: value for key, value in settings.items() if not inspect.isroutine(value)},
                ]
            )
        )

    torch.manual_seed(1)
    model = {
        "_target_": "nowcast.models.encoder_forecaster.EncoderForecaster",
        "hidden_channels": [2],
        "state_noise": 0.1,
    }
    settings = {
        "task": TASK,
        "transform": {"_target_": "nowcast.types.transform.LogRainRate"},
        "model": model,
    }
    for name in ("run", "other_run"):
        Forecaster.from_settings(settings, precision="float32").save(folder / name)
    from nowcast.training import loop  # with Lightning, for which only these tests wait

    for owner, name in (
        (loop, "fit"),
        (prediction, "publish"),
        (radar.conversion, "convert"),
        (forecasting, "Watch"),
        (forecasting.replaying, "replay"),
        (forecasting, "start_server"),
        (evaluate, "_write_evaluation"),
        (radar.checking, "check"),
        (compare, "_finish"),
    ):
        monkeypatch.setattr(owner, name, stopped)
    monkeypatch.setattr(experiment.Evaluation, "check", lambda *_: None)
    monkeypatch.setattr(compare, "new_folder", lambda kind: folder / "made" / kind)
    for owner in (folders, request):
        made = folder / "made"
        monkeypatch.setattr(owner, "claimed_by_time", lambda parent, **_: made / parent.name)

    def does(*typed):
        with pytest.raises((Done, UserError)) as caught:
            run(typed)
        return str(caught.value), caught.type is UserError

    return does


SMALL = ["model.hidden_channels=[2,2]", "data.train_sequences=4"]
BASE = {
    "train": ["train", *SMALL],
    "predict": ["predict", "run=run", "input=a.nc", "output=x.nc"],
    "convert": ["convert", "input=*.npy", "output=x.nc"],
    "watch": ["watch", "run=run", "input=incoming", "output=published"],
    "replay": ["replay", "run=run", "input=a.nc", "output=x"],
    "serve": ["serve", "incoming"],
    "check": ["check", "a.nc"],
}
OF_COMMANDS = {  # command -> each setting that it reads itself, and another value
    "train": {
        "name": "other",
        "seed": 2,
        "start_from": "run",
        "output_dir": "elsewhere",
        "observed_channel": "true",
        "output_bias": -1.0,
    },
    "predict": {
        "run": "other_run",
        "input": "other.nc",
        "output": "y.nc",
        "forecast_length": 3,
        "analysis_time": "2020-06-01T01:00",
        "thresholds": "[2.0]",
        "members": 2,
        "precision": "bf16-mixed",
        "pictures": "false",
        "page": "page.html",
        "point": "median",
    },
    "show": {"output": "y.html", "open": "false", "last": 3},
    "demo": {"output_dir": "elsewhere", "open": "true"},
    "convert": {
        "input": "*.nc",
        "output": "y.nc",
        "clip": 5.0,
        "workers": 0,
        "strict": "true",
        "replace": "true",
    },
    "watch": {
        "run": "other_run",
        "input": "other_incoming",
        "output": "elsewhere",
        "precision": "bf16-mixed",
        "reading_seconds": 5,
    },
    "replay": {
        "run": "other_run",
        "input": "other.nc",
        "output": "y",
        "every": 3,
        "page": "page.html",
        "precision": "bf16-mixed",
        "point": "median",
        "calibration": 6,
    },
    "serve": {"host": "0.0.0.0", "port": 8001},
    "check": {
        "context_length": 3,
        "forecast_length": 3,
        "timestep": 10,
        "validation_from": "2020-06-01T02:00",
        "test_from": "2020-06-01T07:00",
    },
    "evaluate": {"run": "other_run", "output_dir": "elsewhere", "precision": "bf16-mixed"},
    "report": {"run": "other_run", "output": "elsewhere.html"},
    "info": {},
    "benchmark": {"output_dir": "elsewhere"},
    "evaluate_forecasts": {
        "forecasts": "*.nc",
        "observations": "other.nc",
        "name": "other",
        "context_length": 3,
        "skip_unreadable": "true",
        "output_dir": "elsewhere",
    },
    "compare": {
        "runs": "run",
        "models": "{A: [model=unet]}",
        "only": "[PredRNN]",
        "common": "[seed=2]",
        "seeds": "[2]",
        "parallel": 2,
        "output_dir": "elsewhere",
    },
}
"""Where several settings are tested by name elsewhere: evaluate, report, benchmark,
evaluate_forecasts and compare in test_cli and test_comparison, show and demo in test_show and
test_demo.
"""


@pytest.mark.parametrize("command", OF_COMMANDS)
def test_every_setting_that_a_command_reads_itself_has_an_entry_in_the_table(command):
    composed = config.compose(command, [])
    own = {
        key
        for key in composed
        if not (
            config.OmegaConf.is_dict(composed._get_node(key))
            and "_target_" in (composed._get_node(key) or {})
        )
    }
    assert own - {"baselines"} == set(OF_COMMANDS[command])


@pytest.mark.parametrize("command", BASE)
def test_another_value_lets_a_command_do_another_thing(command, done, folder, monkeypatch):
    for name in ("incoming", "other_incoming"):
        (folder / name).mkdir(exist_ok=True)
    before, refused = done(*BASE[command])
    assert not refused, before
    unchanged = []
    for key, value in OF_COMMANDS[command].items():
        if (command, key) in SHOWN_ELSEWHERE:
            continue
        kept = [item for item in BASE[command] if not item.startswith(f"{key}=")]
        after, refused = done(*kept, f"{key}={value}")
        if after == before:
            unchanged.append(key)
    assert unchanged == []


# settings whose work is done before or after what is looked at here -> the test
SHOWN_ELSEWHERE = {
    (
        "predict",
        "input",
    ): "test_cli::test_predict_writes_a_cf_file_with_the_same_grid_a_picture_and_an_animation",
    (
        "predict",
        "analysis_time",
    ): "test_cli::test_forecasts_that_predict_wrote_can_be_judged_as_files",
    (
        "predict",
        "pictures",
    ): "test_cli::test_predict_writes_a_cf_file_with_the_same_grid_a_picture_and_an_animation",
    ("predict", "page"): "test_show::test_predict_writes_the_page_of_its_forecast_as_one_file",
    ("replay", "page"): "test_show::test_replay_writes_the_page_of_its_last_forecast",
    ("watch", "reading_seconds"): "test_reading",
    (
        "train",
        "start_from",
    ): "test_cli::test_a_run_is_trained_further_on_some_events_and_tested_on_another",
    ("serve", "host"): "test_page",
}


def typed(command, *arguments):
    """What a command says to settings that it must not accept."""
    with pytest.raises(UserError) as caught:
        run([command, *arguments])
    return " ".join(str(caught.value).split())


WITHOUT_EFFECT = [  # what would be accepted and read by nobody, and the reason that is told
    (["train", "training.select_threshold=5"], "it is the event of training.select=csi"),
    (["train", "experiment=smoke", "task.timestep=5"], "frames of Moving MNIST have no times"),
    (["train", "data.digits_folder=x"], "type data.digits=torchvision, too"),
    (
        ["train", "data.test_file=test.npy", "data.test_sequences=9"],
        "the test is all that data.test_file contains",
    ),
    (["train", "evaluation.cache=x"], "none of these is slow"),
    (["train", "evaluation.cache_gb=3"], "no forecasts are kept"),
    (
        [
            "train",
            "data=radar",
            "data.archive=a.nc",
            "evaluation.cache=null",
            "evaluation.cache_gb=3",
        ],
        "no forecasts are kept",
    ),
    (["train", "evaluation.block_hours=3"], "these cases have no times"),
    (
        ["train", "model=convlstm_s", "model.sampling=none", "model.sampling_until=0.3"],
        "the model never sees the truth",
    ),
    (["train", "model=predrnn", "output_bias=-3"], "the model here does not take it"),
    (
        [
            "train",
            "data=radar",
            "data.archive=a.nc",
            "model=lagrangian",
            "loss=exceedance_error",
            "observed_channel=false",
        ],
        "the model here does not take it",
    ),
    (["train", "model.output_bias=-2", "output_bias=-3"], "the model here does not take it"),
    (["train", "name=x", "output_dir=y"], "it names the folder under runs/"),
    (["train", "name=x", "hydra.run.dir=y"], "it names the folder under runs/"),
    (
        ["predict", "input=a.nc", "output=x.nc", "reader=geotiff", "reader.band=2"],
        "the input is an archive of nowcast",
    ),
    (
        [
            "predict",
            "input=*.tif",
            "output=x.nc",
            "reader=odim_hdf5",
            "reader.quantity=RATE",
            "reader.z_r_a=300",
        ],
        "reader.quantity names none",
    ),
    (
        ["predict", "input=a.nc", "output=x.tif", "thresholds=[3.0]"],
        "only NetCDF has a place for probabilities",
    ),
    (
        ["predict", "input=a.nc", "output=x.h5", "thresholds=[3.0]"],
        "only NetCDF has a place for probabilities",
    ),
    (["info", "a.nc", "reader=geotiff"], "the input is an archive of nowcast"),
    (
        [
            "watch",
            "input=.",
            "output=x",
            "operation.formats=[tif]",
            "operation.page=false",
            "operation.thresholds=[3.0]",
        ],
        "no probabilities are published",
    ),
    (
        [
            "convert",
            "input=*.npy",
            "output=x.nc",
            "reader=civil_protection",
            "reader.values.minutes=5",
        ],
        "interval of reader.values.quantity=rain_depth",
    ),
    (
        [
            "convert",
            "input=*.npy",
            "output=x.nc",
            "reader=radklim_example",
            "reader.values.z_r_a=300",
        ],
        "it turns reader.values.quantity=reflectivity",
    ),
    (
        ["benchmark", "what=layer", "what.cases=['8>8 3x3 16x16 batch 2']", "what.batch_size=3"],
        "names its own batch",
    ),
    (
        [
            "train",
            "data=radar",
            "data.archive=a.nc",
            "scores.accumulations=[]",
            "scores.accumulation_thresholds=[3]",
        ],
        "scores.accumulations names none",
    ),
    (
        ["train", "data=radar", "data.archive=a.nc", "scores.accumulations=[60,67]"],
        "does not end at a lead time",
    ),
    (["compare", "training.learning_rate=0.1"], "every model here has its own"),
    (["compare", "name=x"], "the comparison sets it itself"),
]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    WITHOUT_EFFECT,
    ids=[" ".join(arguments) for arguments, _ in WITHOUT_EFFECT],
)
def test_a_setting_that_nothing_would_read_is_refused_with_the_reason(
    arguments, reason, folder, monkeypatch
):
    monkeypatch.chdir(folder)
    said = typed(*arguments)
    assert reason in said and (" would have no effect: " in said or arguments[0] == "compare")
    assert not (folder / "runs" / "train").exists()


OF_EVALUATION = [
    "crop=8",
    "seed=3",
    "samples_per_epoch=3",
    "validation_samples=3",
    "crop_candidates=2",
    "memory_mb=5",
    "validation_from=2020-06-01T01:00",
]


@pytest.mark.parametrize("setting", OF_EVALUATION)
def test_settings_of_training_data_are_refused_where_only_the_test_part_is_read(
    setting, done, folder
):
    run = folder / "run"
    composed = config.compose("train", ["data=radar", f"data.archive={folder}/a.nc"])
    (run / "config.yaml").write_text(config.text(composed))
    said = typed("evaluate", f"run={run}", f"data.{setting}")
    assert "reads the test part of the data alone" in said
    told, refused = done("evaluate", f"run={run}", "data.test_stride=3")
    assert not refused, told


IDLE = [  # values that ask for what happens anyway
    [
        "train",
        *SMALL,
        "evaluation.cache=null",
        "evaluation.block_hours=null",
        "training.patience=null",
        "task.timestep=1",
    ],
    ["train", *SMALL, "hydra.job.chdir=false", "hydra.mode=RUN", "--run"],
    ["predict", "run=run", "input=a.nc", "output=x.tif", "thresholds=[]", "reader=auto"],
]


@pytest.mark.parametrize("arguments", IDLE, ids=" ".join)
def test_a_value_that_asks_for_what_happens_anyway_is_no_mistake(arguments, done):
    told, refused = done(*arguments)
    assert not refused, told


HYDRA = [  # what a training cannot do of what Hydra knows, and the words of the answer
    ("--config-dir=x", "--config-dir x is not a folder"),
    ("--config-path=x", "x is not a folder"),
    ("--config-name=x", "there is no x.yaml"),
    ("-cn", "--config-name takes a name"),
    ("--experimental-rerun=x", "resume=DIR"),
    ("--shell-completion", "bash, fish, zsh"),
    ("--resolve", "goes with --cfg"),
    ("--package=model", "goes with --cfg"),
    ("hydra.sweep.dir=x", "type --multirun, too"),
    ("hydra.sweep.subdir=x", "type --multirun, too"),
    ("hydra/launcher=joblib", "type --multirun, too"),
    ("hydra/sweeper=optuna", "type --multirun, too"),
    ("hydra.sweeper.params.seed=1", "type --multirun, too"),
    ("hydra.searchpath=[x]", "x is not a folder"),
    ("hydra.help.header=x", "--help is made from"),
    ("+hydra.job.id=3", "Hydra fills it in itself"),
    ("hydra.sweper.x=1", "hydra.sweep.dir"),
    ("hydra=x", "there is no setting 'hydra'"),
    ("seed=1,2", "type --multirun, too"),
    ("model=unet,simvp", "type --multirun, too"),
    ("training.learning_rate=choice(0.1,0.2)", "type --multirun, too"),
    ("seed=range(3)", "type --multirun, too"),
    ("training.learning_rate=interval(0,1)", "type --multirun, too"),
    ("model=glob(*)", "type --multirun, too"),
    ("+new=1", "unknown key 'new'"),
    ("+training.new=1", "training has no setting 'new'"),
    ("++model.new=1", "model has no setting 'new'"),
    ("~data", "every part of it is needed"),
    ("~seed", "every part of it is needed"),
    ("~nothing", "does not exist"),
    ("data@other=radar", "there is no setting"),
    ("+data@other=radar", "unknown key|Could not|task"),
    ("hydra.run.dir=", "hydra.run.dir is empty"),
]


@pytest.mark.parametrize(("word", "instead"), HYDRA, ids=[word for word, _ in HYDRA])
def test_a_word_of_hydra_that_has_no_meaning_here_is_refused_with_what_to_type_instead(
    word, instead, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    said = typed("train", word)
    assert any(part in said for part in instead.split("|")), said
    assert list(tmp_path.iterdir()) == []


def test_the_run_folder_of_hydra_is_the_run_folder(done, tmp_path):
    for setting in (
        f"hydra.run.dir={tmp_path}/a b",
        f"++hydra.run.dir={tmp_path}/a b",
        f"output_dir={tmp_path}/a b",
    ):
        told, refused = done("train", *SMALL, setting)
        assert not refused and f"{tmp_path}/a b" in told
    assert "both name the same folder; type one of them" in typed(
        "train", "output_dir=a", "hydra.run.dir=b"
    )
    assert "nowcast predict has no run folder; type output=PATH" in typed(
        "predict", "hydra.run.dir=x", "input=a.nc", "output=x.nc"
    )


def test_the_configuration_is_shown_as_hydra_shows_it(capsys):
    shown = {}
    for options in (
        ["--cfg"],
        ["--cfg", "job"],
        ["--cfg=job"],
        ["-c", "job"],
        ["--cfg", "job", "--resolve"],
        ["--cfg", "job", "--package", "data"],
        ["--cfg", "job", "-p", "training"],
    ):
        run(["train", "experiment=smoke", *options])
        shown[" ".join(options)] = capsys.readouterr().out
    assert shown["--cfg"] == shown["--cfg job"] == shown["--cfg=job"] == shown["-c job"]
    assert "task: ${task}" in shown["--cfg"] and "${" not in shown["--cfg job --resolve"]
    assert shown["--cfg job --package data"].startswith(
        "# @package data\n_target_: nowcast.data.moving_mnist"
    )
    assert yaml.safe_load(shown["--cfg job -p training"])["max_epochs"] == 2
    assert "the configuration has no part 'nothing'" in typed(
        "train", "--cfg", "job", "--package=nothing"
    )
    assert "the last" not in typed(
        "train", "resume=a", "resume=b"
    ) and "resume was given 2 times" in typed("train", "resume=a", "resume=b")


@pytest.mark.parametrize(("command", "typed", "sentence"), [
    ("train", "experimnt=smoke", "there is no setting 'experimnt' here; did you mean experiment?"),
    ("train", "training.learning_rat=2", "there is no setting 'training.learning_rat' here; did "
                                         "you mean training.learning_rate?"),
    ("train", "max_epochs=2", "there is no setting 'max_epochs' here; did you mean "
                              "training.max_epochs?"),
    ("predict", "seed=9", "there is no setting 'seed' here; accepted are analysis_time, "
                          "forecast_length, input"),
    ("convert", "regrid.spacing=2000", "there is no setting 'regrid.spacing' here; spacing is of regrid=regular; type it, too."),
    ("train", "+experiment=smoke", "'+experiment=smoke' adds a choice that is there already; "
                                   "type experiment=smoke."),
    ("train", "++model=unet", "type model=unet."),
])  # fmt: skip
def test_a_misspelled_key_names_its_nearest_neighbours(command, typed, sentence):
    with pytest.raises(UserError) as refused:
        config.compose(command, [typed])
    assert sentence in str(refused.value)


@pytest.mark.parametrize("command", ["predict", "info"])
def test_a_tolerance_that_an_archive_has_of_its_own_is_refused_beside_it(command, folder, tmp_path):
    archive, typed = str(folder / "a.nc"), "tolerance.negative_rate=0.2"
    words = (
        ["info", archive, typed]
        if command == "info"
        else ["predict", "run=shipped", f"input={archive}", f"output={tmp_path}/f.nc", typed]
    )
    with pytest.raises(
        UserError, match="tolerance.negative_rate=0.2 would have no effect: the input is an archive"
    ):
        run(words)
