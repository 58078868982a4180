"""Other people's packages: an example that is installed, trained, evaluated, saved and loaded; and what happens
where it is not installed.
"""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import numpy as np
import pytest

from nowcast.runtime import plugins
from nowcast.runtime.errors import UserError

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "tests" / "plugin_example"


def install(folder: Path) -> Path:
    """What pip makes of the example: its package, and a dist-info with its entry point. With
    NOWCAST_EXAMPLE_PLUGIN it is what pip did make, as .ci/run has it.
    """
    made = os.environ.get("NOWCAST_EXAMPLE_PLUGIN")
    if made:
        return Path(made)
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    shutil.copytree(EXAMPLE / "nowcast_fading", folder / "nowcast_fading")
    about = folder / f"nowcast_fading-{project['version']}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = [f"{name} = {value}" for name, value in project["entry-points"][plugins.GROUP].items()]
    (about / "entry_points.txt").write_text(f"[{plugins.GROUP}]\n" + "\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    return install(tmp_path_factory.mktemp("site"))


def nowcast(*arguments: str, site: Path | None = None, folder: Path) -> subprocess.CompletedProcess:
    path = os.pathsep.join(map(str, filter(None, [ROOT, site])))
    return subprocess.run(
        [sys.executable, "-m", "nowcast", *arguments],
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=280,
    )


@pytest.fixture(scope="module")
def trained(site, tmp_path_factory) -> Path:
    """A run of everything that the example brings."""
    folder = tmp_path_factory.mktemp("plugin")
    done = nowcast("train", "experiment=fading", "output_dir=run", site=site, folder=folder)
    assert done.returncode == 0, done.stderr
    return folder / "run"


@pytest.fixture
def here(site, monkeypatch):
    """The example, installed for this process."""
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setattr(plugins, "entry_points", entry_points)
    forget()
    yield plugins.plugins()
    monkeypatch.undo()
    forget()
    for name in [name for name in sys.modules if name.startswith("nowcast_fading")]:
        del sys.modules[name]


def forget() -> None:
    """What this process knows of plug-ins and their readers."""
    from nowcast.readers import auto

    plugins.plugins.cache_clear()
    auto.readers.cache_clear()


def text_frames(folder: Path, count: int) -> None:
    """Files of one frame each, five minutes apart: rain that halves from file to file."""
    for index in range(count):
        rate = 8.0 * 0.5**index
        rows = "\n".join(" ".join(f"{rate:.6f}" for _ in range(12)) for _ in range(10))
        head = f"RAIN-TEXT 2024-05-01T12:{5 * index:02d} EPSG:3035 4321000 3210000 1000"
        (folder / f"frame{index}.rain").write_text(f"{head}\n{rows}\n")


def test_a_model_learns_with_a_loss_on_data_by_a_score_and_the_run_says_what_it_needs(trained):
    settings = json.loads((trained / "forecaster.json").read_text())
    assert settings["model"]["_target_"] == "nowcast_fading.model.Fading"
    assert settings["plugins"] == {"nowcast-fading": "1.2"}
    table = (trained / "evaluation" / "scores.csv").read_text()
    assert "wet_area" in table and "persistence" in table
    text = (trained / "config.yaml").read_text()
    assert "nowcast_fading.loss.LogCosh" in text and "nowcast_fading.data.DriftingCells" in text


def test_it_is_evaluated_again_and_predicts_from_files_of_its_own_format(trained, site):
    folder = trained.parent
    text_frames(folder, 5)
    again = nowcast("evaluate", "run=run", "output_dir=again", site=site, folder=folder)
    assert again.returncode == 0, again.stderr
    one, other = (trained / "evaluation" / "scores.csv", folder / "again" / "scores.csv")
    assert one.read_text() == other.read_text()
    for reader in ([], ["reader=rain_text"]):
        done = nowcast(
            "predict",
            "run=run",
            "input=*.rain",
            "output=now.nc",
            "pictures=false",
            *reader,
            site=site,
            folder=folder,
        )
        assert done.returncode == 0, done.stderr


def test_where_it_is_not_installed_one_line_says_what_is_missing(trained):
    folder = trained.parent
    for command in (
        ["predict", "run=run", "input=*.rain", "output=none.nc"],
        ["evaluate", "run=run"],
        ["report", "run=run"],
    ):
        refused = nowcast(*command, folder=folder)
        assert refused.returncode == 2 and refused.stderr.count("\n") == 1
        assert "needs the plug-in nowcast-fading 1.2, which is not installed" in refused.stderr
    refused = nowcast("train", "experiment=fading", folder=folder)
    assert refused.returncode == 2 and "fading" in refused.stderr
    resumed = nowcast("train", "resume=run", "training.max_epochs=9", folder=folder)
    assert (
        resumed.returncode == 2
        and "nor of an installed plug-in (none is installed)" in resumed.stderr
    )


def test_in_a_program_it_is_built_by_name_saved_and_loaded(here, trained, tmp_path):
    import nowcast

    forecaster = nowcast.load(trained, device="cpu")
    forecaster.save(tmp_path / "copy")
    text_frames(tmp_path, 4)
    frames = nowcast.read(str(tmp_path / "*.rain"))
    assert len(frames) == 4 and frames.values[0, 0, 0] == 8
    forecast = nowcast.load(tmp_path / "copy", device="cpu")(frames[-4:], 2)
    half_life = float(forecaster.model.log_half_life.exp())
    np.testing.assert_array_equal(forecast.values, forecaster(frames[-4:], 2).values)
    assert 0 < forecast.values[1].mean() < forecast.values[0].mean() < 1 and half_life > 0


def test_a_plugin_is_known_by_its_name_and_version_and_not_loaded_before_it_is_needed(here):
    (plugin,) = here
    assert (plugin.name, plugin.package) == ("fading", "nowcast_fading")
    assert (plugin.distribution, plugin.version) == ("nowcast-fading", "1.2")
    assert (plugin.conf_folder / "model" / "fading.yaml").is_file()
    assert "nowcast_fading.model" not in sys.modules


def test_only_a_class_that_keeps_the_contract_of_its_part_can_be_named(here):
    from nowcast.runtime.build import resolve

    assert resolve("nowcast_fading.model.Fading", "model", kind="model").__name__ == "Fading"
    for target, kind, reason in (
        ("nowcast_fading.loss.LogCosh", "model", "derives from nowcast.models.base.ForecastModel"),
        (
            "nowcast_fading.model.Fading",
            "task",
            "expected a class that derives from a class of nowcast",
        ),
        ("nowcast_fading.model.np", "model", "has no nowcast_fading.model.np"),
        ("nowcast_fading.loss.math", "loss", "is not a class defined there"),
        ("nowcast_fading.nothing.Net", "model", "has no nowcast_fading.nothing.Net"),
        ("somebody_else.Net", "model", r"nor of an installed plug-in \(fading\)"),
    ):
        with pytest.raises(UserError, match=reason):
            resolve(target, kind, kind=kind)


def test_a_folder_of_ones_own_settings_is_searched_after_those_of_nowcast(tmp_path):
    folder = tmp_path / "with space, and = é"
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "mine.yaml").write_text(
        "_target_: nowcast.models.convlstm_stack.ConvLSTMStack\nhidden_channels: [3]\n"
    )
    (folder / "model" / "convlstm_small.yaml").write_text("_target_: nowcast.models.unet.UNet\n")
    for option in (["--config-dir", str(folder)], [f"--config-dir={folder}"], ["-cd", str(folder)]):
        shown = nowcast("train", "model=mine", "--cfg", "job", *option, folder=tmp_path)
        assert shown.returncode == 0 and "ConvLSTMStack" in shown.stdout
    usual = nowcast("train", "--cfg", "job", "--config-dir", str(folder), folder=tmp_path)
    assert "EncoderForecaster" in usual.stdout and "UNet" not in usual.stdout
    for typed, reason in (
        (["--config-dir"], "--config-dir takes a folder"),
        (["--config-dir", "nowhere"], "--config-dir nowhere is not a folder"),
    ):
        refused = nowcast("train", *typed, folder=tmp_path)
        assert refused.returncode == 2 and reason in refused.stderr


def test_an_entry_point_that_names_nowcast_itself_is_refused(monkeypatch):
    for value in ("nowcast.models", "fine:attribute"):
        entry = EntryPoint("odd", value, plugins.GROUP)
        monkeypatch.setattr(plugins, "entry_points", lambda group, entry=entry: [entry])
        plugins.plugins.cache_clear()
        with pytest.raises(UserError, match="expected the name of a package other than nowcast"):
            plugins.plugins()
    plugins.plugins.cache_clear()


def another(folder: Path, monkeypatch, **files: str) -> None:
    """A plug-in of some modules, installed for this process."""
    package = folder / "odd_rain"
    package.mkdir()
    for name, text in files.items():
        (package / f"{name}.py").write_text(text)
    entry = EntryPoint("odd", "odd_rain", plugins.GROUP)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [entry])
    monkeypatch.syspath_prepend(str(folder))
    for name in [name for name in sys.modules if name.split(".")[0] == "odd_rain"]:
        del sys.modules[name]
    forget()


READER = """
from nowcast.readers.base import Reader
class Odd(Reader):
    format = "odd"
    def {constructor}
    def recognises(self, path): {recognises}
    def read(self, path): raise ValueError("no licence")
class Unfinished(Reader):
    format = "a reader that others derive from"
"""


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"__init__": "1 / 0"}, "the plug-in odd .* cannot be loaded: division by zero"),
        (
            {"__init__": READER.format(constructor="x(self): pass", recognises="1 / 0")},
            "the reader odd_rain.Odd of a plug-in failed: division by zero",
        ),
        (
            {"__init__": READER.format(constructor="x(self): pass", recognises="return True")},
            "the reader odd_rain.Odd of a plug-in failed: no licence",
        ),
    ],
)
def test_a_fault_of_a_plug_in_is_called_its_own_and_not_the_files(
    files, message, tmp_path, monkeypatch
):
    from nowcast.readers.auto import Auto

    another(tmp_path, monkeypatch, **files)
    (tmp_path / "file.odd").write_text("rain")
    try:
        with pytest.raises(UserError, match=message):
            Auto().read(tmp_path / "file.odd")
    finally:
        forget()


def test_a_reader_that_must_be_given_settings_is_not_asked_by_auto(tmp_path, monkeypatch):
    from nowcast.readers.auto import readers

    text = READER.format(constructor="__init__(self, scale): pass", recognises="return True")
    another(tmp_path, monkeypatch, __init__=text)
    assert "odd" not in [reader.format for reader in readers()]
    forget()


MODEL = """
from __future__ import annotations
from typing import TYPE_CHECKING, Any
import torch
from nowcast.models.base import ForecastModel
if TYPE_CHECKING:
    from pathlib import Path
class Encoder(torch.nn.Module):
    def __init__(self, width: Any = 3):
        super().__init__()
class Net(ForecastModel):
    def __init__(self, encoder: Encoder, place: Path | None = None):
        super().__init__()
        self.encoder = encoder
    def forward(self, context, forecast_length, observed=None, scale=None):
        return context
"""


def test_a_model_of_a_plug_in_may_be_made_of_other_classes_of_it(tmp_path, monkeypatch):
    from nowcast.runtime.build import build, build_part

    another(tmp_path, monkeypatch, __init__="", net=MODEL, broken="raise OSError('disk')")
    encoder = {"_target_": "odd_rain.net.Encoder", "width": "any"}
    built = build_part({"model": {"_target_": "odd_rain.net.Net", "encoder": encoder}}, "model")
    assert type(built.encoder).__name__ == "Encoder"
    with pytest.raises(UserError, match="expected a class that derives from"):
        build(encoder, "encoder")
    with pytest.raises(UserError, match="odd_rain.broken.Net cannot be loaded: disk"):
        build({"_target_": "odd_rain.broken.Net"}, "model", kind="model")
    forget()
