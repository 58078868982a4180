"""What a command loads: nobody waits for a library that the command does not use, or is stopped by
one that does not load.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nowcast.cli import run
from nowcast.runtime.errors import MissingDependency
from nowcast.runtime.torchvision_parts import torchvision_part
from tests.factories import write_archive, write_odim

ROOT = Path(__file__).parents[1]
BROKEN = 'raise RuntimeError("operator torchvision::nms does not exist")\n'
SMALL_TRAINING = [
    "data.train_sequences=4",
    "data.validation_sequences=2",
    "data.test_sequences=2",
    "model=convlstm_small",
    "model.hidden_channels=[2]",
    "model.patch=8",
    "training.max_epochs=1",
    "training.accelerator=cpu",
]
# The commands of the arguments, one after the other in one process; then what it has loaded.
COMMANDS = """
import json, sys
from nowcast.cli import main
for command in json.loads(sys.argv[1]):
    main(command)
    print("loaded", json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
"""


def loaded_after(*commands: list[str], folder: Path, first_on_path: Path = ROOT) -> list[set[str]]:
    """Names of the packages that a new process has loaded after each of some commands."""
    path = os.pathsep.join(map(str, (first_on_path, ROOT)))
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, json.dumps(commands)],
        env=os.environ | {"PYTHONPATH": path},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("loaded ")]
    assert len(lines) == len(commands)
    return [set(json.loads(line.removeprefix("loaded "))) for line in lines]


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder with four radar files, five minutes apart."""
    (tmp_path / "radar").mkdir()
    for minute in range(0, 20, 5):
        time = f"18{minute:02d}00".encode()
        rain = np.full((32, 32), 1 + minute / 10, np.float32)
        write_odim(tmp_path / "radar" / f"{minute}.h5", rain, time=time, endtime=time)
    return tmp_path


@pytest.fixture
def broken(tmp_path) -> Path:
    """A folder with a torchvision that was made for another torch."""
    place = tmp_path / "broken" / "torchvision"
    place.mkdir(parents=True)
    (place / "__init__.py").write_text(BROKEN)
    return place.parent


def test_commands_that_read_radar_files_load_neither_torch_nor_matplotlib(folder):
    commands = [
        ["--help"],
        ["info", "radar"],
        ["convert", "input=radar", "output=radar.nc"],
        ["check", "radar.nc"],
    ]
    loaded = loaded_after(*commands, folder=folder)
    assert "numpy" not in loaded[0] and "h5py" in loaded[1]
    unneeded = {"torch", "torchvision", "lightning", "matplotlib", "scipy", "pandas", "rasterio"}
    assert loaded[-1] & unneeded == set()


def test_a_forecast_loads_torch_and_nothing_that_only_training_needs(folder):
    command = ["predict", "input=radar", "output=now.nc", "pictures=false"]
    (loaded,) = loaded_after(command, folder=folder)
    unneeded = {"lightning", "torchmetrics", "torchvision", "tensorboard", "matplotlib"}
    unneeded |= {"sympy", "scipy", "pandas", "sklearn", "mlxtend", "rasterio", "zarr", "xarray"}
    assert "torch" in loaded and loaded & unneeded == set()


def test_training_evaluation_and_forecasts_work_beside_a_torchvision_that_does_not_load(
    folder, broken
):
    archive = write_archive(
        folder / "archive.nc", np.full((80, 32, 32), 2, np.float32), range(0, 400, 5)
    )
    commands = [
        ["train", *SMALL_TRAINING, "output_dir=run"],
        ["evaluate", "run=run", "output_dir=again"],
        [
            "evaluate",
            "run=shipped",
            "data=radar",
            f"data.archive={archive}",
            "output_dir=radar_run",
        ],
        ["report", "run=run", "output=report.html"],
        ["predict", "input=radar", "output=now.nc"],
    ]
    loaded = loaded_after(*commands, folder=folder, first_on_path=broken)
    assert "torchmetrics" in loaded[-1] and "torchvision" not in loaded[-1]
    assert (folder / "run/evaluation/scores.csv").is_file() and (folder / "now.nc").is_file()


def test_what_needs_torchvision_says_in_one_line_that_it_does_not_load(
    tmp_path, broken, monkeypatch
):
    loaded = [name for name in sys.modules if name.split(".")[0] == "torchvision"]
    for name in loaded:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(broken))
    expected = (
        r"needs torchvision, which does not load here \(operator torchvision::nms does not "
        r"exist\); install the pair that belongs together: pip install --upgrade torch torchvision"
    )
    with pytest.raises(MissingDependency, match=f"^the model SimVP {expected}"):
        run(["train", *SMALL_TRAINING[:3], "model=simvp", f"output_dir={tmp_path}/run"])
    with pytest.raises(MissingDependency, match=f"^data.digits=torchvision, .*{expected}"):
        run(["train", "data.digits=torchvision", f"output_dir={tmp_path}/run"])
    assert not (tmp_path / "run").exists()


def test_a_torchvision_that_is_not_there_is_missed_by_name(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)  # as the import system marks it
    monkeypatch.delitem(sys.modules, "torchvision.ops", raising=False)  # of a test before this one
    with pytest.raises(MissingDependency, match="SimVP needs torchvision, which does not load"):
        torchvision_part("ops", "SimVP")


def test_what_torchmetrics_takes_from_torchvision_is_there_when_it_is_used():
    program = """
import sys, importlib
import nowcast.training.lightning_names
assert "torchmetrics" in sys.modules and "torchvision" not in sys.modules
arniqa = importlib.import_module("torchmetrics.functional.image.arniqa")
network, transform = arniqa.resnet50(weights=None), arniqa.transforms.Normalize([0.5], [0.5])
import torchvision
assert type(network) is torchvision.models.ResNet
assert type(transform) is torchvision.transforms.Normalize
"""
    subprocess.run(
        [sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True
    )


def test_a_torchmetrics_that_cannot_do_without_torchvision_gets_it(tmp_path):
    for name, text in {
        "torchvision/__init__.py": "",
        "torchvision/extra.py": "found = 1\n",
        "torchmetrics/__init__.py": "from torchvision.extra import found\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    program = """
import sys
from nowcast.runtime.library_private import load_torchmetrics_without_torchvision
load_torchmetrics_without_torchvision()
assert not {"torchmetrics", "torchvision"} & set(sys.modules)
import torchmetrics
assert torchmetrics.found == 1
"""
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    subprocess.run(
        [sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": path}, check=True
    )
