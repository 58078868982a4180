"""The files in conf/ mirror the package: every one is composed, built and compared with its
constructor.
"""

import inspect
import re

import pytest
import torch
import yaml

from nowcast.cli import config, places
from nowcast.runtime.build import build, resolve
from nowcast.runtime.errors import UserError
from tests.factories import write_archive

NODES = [
    path for path in sorted(config.folder().glob("*/*.yaml")) if path.parent.name != "experiment"
]
EXPERIMENTS = config.choices("experiment")


def targets(node):
    if isinstance(node, dict):
        if "_target_" in node:
            yield node
        for value in node.values():
            yield from targets(value)


@pytest.mark.parametrize("path", NODES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_keys_of_a_file_are_the_settings_of_its_constructor(path):
    nodes = list(targets(yaml.safe_load(path.read_text())))
    assert nodes
    for node in nodes:
        signature = inspect.signature(resolve(node["_target_"], path.stem)).parameters
        accepted = {
            name
            for name, parameter in signature.items()
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        }
        assert set(node) - {"_target_"} == accepted


@pytest.fixture
def archive(tmp_path):
    import numpy as np

    write_archive(tmp_path / "ten.nc", np.ones((100, 8, 8)), range(0, 1000, 10))
    return write_archive(tmp_path / "a.nc", np.ones((100, 8, 8)), range(0, 500, 5))


def overrides(experiment, archive):
    text = (config.folder() / "experiment" / f"{experiment}.yaml").read_text()
    data = {
        "override /data: radar\n": [f"data.archive={archive}"],
        "override /data: radar_events\n": [f"data.archives={archive}"],
        "override /data: mixture\n": [
            f"data.parts.radar.data.archive={archive}",
            f"data.parts.radar_10.data.archive={archive.with_name('ten.nc')}",
            f"data.parts.fine.data.archive={archive}",
            f"data.parts.held_out.data.archives={archive}",
            "data.parts.held_out.data.validation=[a]",
        ],
    }
    return [f"experiment={experiment}"] + [
        item for named, items in data.items() if named in text for item in items
    ]


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_composes_and_builds(experiment, archive):
    settings = config.plain(config.compose("train", overrides(experiment, archive)))
    assert settings["name"] == experiment
    for name in ("task", "transform", "data", "model", "loss", "scores", "training", "baselines"):
        built = build(
            {
                key: value
                for key, value in settings[name].items()
                if key not in ("extrapolation", "sprog")
            },
            name,
        )
        assert built is not None
    assert settings["data"]["task"] == settings["task"]


@pytest.mark.parametrize("command", ["evaluate", "predict", "convert"])
def test_every_command_composes(command):
    assert "???" in config.text(config.compose(command, []))


def test_shi2015_is_the_network_and_protocol_of_the_paper():
    settings = config.plain(config.compose("train", ["experiment=shi2015_moving_mnist"]))
    data, training = settings["data"], settings["training"]
    assert [data[f"{part}_sequences"] for part in ("train", "validation", "test")] == [
        10_000,
        2_000,
        3_000,
    ]
    assert (
        data["shared_digits"],
        data["fixed"],
        settings["task"]["context_length"],
        settings["task"]["forecast_length"],
    ) == (500, True, 10, 10)
    assert (
        training["optimizer"],
        training["learning_rate"],
        training["batch_size"],
        training["max_epochs"],
    ) == ("rmsprop", 1e-3, 16, 200)
    model = build(settings["model"], "model")
    assert sum(weight.numel() for weight in model.parameters()) == 7_585_296
    assert model.head.bias.abs().max() == 0


# further rows of table 1 of Shi et al. 2015, and its radar network, as conf/model/shi2015.yaml says
# to type them
ROWS = [
    (["hidden_channels=[256]"], 13_524_496),
    (["hidden_channels=[128,128]"], 10_042_896),
    (["hidden_channels=[128,128]", "input_kernel=9", "state_kernel=1"], 11_550_224),
    (["hidden_channels=[128,64,64]", "input_kernel=9", "state_kernel=1"], 8_830_480),
    (["hidden_channels=[64,64]", "input_kernel=3", "state_kernel=3", "patch=2"], 896_260),
]


@pytest.mark.parametrize(("changes", "parameters"), ROWS)
def test_the_other_rows_of_table_1_are_overrides(changes, parameters):
    text = (config.folder() / "model" / "shi2015.yaml").read_text()
    typed = [f"model.{change}" for change in changes]
    assert " ".join(typed) in text
    assert count(["experiment=shi2015_moving_mnist", *typed]) == parameters


def count(overrides):
    """Parameters of the model of a configuration, without memory for them."""
    with torch.device("meta"):
        model = build(config.plain(config.compose("train", overrides))["model"], "model")
    return sum(weight.numel() for weight in model.parameters())


def test_the_models_of_a_comparison_are_of_one_size():
    models = config.plain(config.compose("compare", []))["models"]
    sizes = {name: count(overrides) for name, overrides in models.items()}
    assert len(sizes) == 7 and sizes["ConvLSTM"] == 241_552
    assert all(abs(size / 241_552 - 1) < 0.05 for size in sizes.values()), sizes


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("trainin.max_epochs=3", "trainin"),
        ("training.max_epoch=3", "max_epoch"),
        ("experiment=none_such", "none_such"),
        ("data=none_such", "none_such"),
        ("max_epochs", "is not of the form KEY=VALUE"),
        ("--epochs=3", "there is no option '--epochs=3'"),
        ("training.max_epochs=[3", r"cannot be read: it has 1 \[ and 0 \]"),
        ("data.archive=x.nc", "there is no setting 'data.archive' here"),
        ("output_dir=", "output_dir is empty; give a value, or null for none"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(typed, message):
    with pytest.raises(UserError, match=message) as caught:
        config.compose("train", [typed])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("# @package _global_\nseeed: 3\n", "unknown key 'seeed'; accepted are baselines, data"),
        (
            "# @package _global_\ntraining: {max_epoch: 3}\n",
            "training has no setting 'max_epoch'; did you mean max_epochs. TrainingSettings takes max_epochs",
        ),
        ("# @package _global_\ntraining: [\n", "expected the node|while parsing|experiment/wrong"),
    ],
)
def test_a_mistake_inside_an_experiment_file_is_refused(tmp_path, monkeypatch, content, message):
    import shutil

    copy = tmp_path / "conf"
    shutil.copytree(config.folder(), copy)
    (copy / "experiment" / "wrong.yaml").write_text(content)
    monkeypatch.setattr(places, "folder", lambda: copy)
    with pytest.raises(UserError, match=message):
        build(config.plain(config.compose("train", ["experiment=wrong"]))["training"], "training")


NAMES = [
    "plain.nc",
    "with space.nc",
    "a,b.nc",
    "[x].nc",
    "a=b=c.nc",
    "Zürich é.nc",
    "{a}.nc",
    "it's.nc",
    '"q".nc',
    "back\\slash.nc",
    "${seed}.nc",
    "#1.nc",
    "~t(1).nc",
    "100%.nc",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_path_reaches_the_program_as_it_was_typed(tmp_path, name):
    settings = config.plain(
        config.compose(
            "train",
            ["data=radar", f"data.archive={tmp_path}/{name}", f"output_dir={tmp_path}/{name}"],
        )
    )
    assert settings["data"]["archive"] == f"{tmp_path}/{name}"
    assert settings["output_dir"] == f"{tmp_path}/{name}"


@pytest.mark.parametrize("name", NAMES)
def test_a_path_survives_in_the_stored_configuration(tmp_path, name):
    composed = config.compose("train", ["data=radar", f"data.archive={tmp_path}/{name}"])
    (tmp_path / "config.yaml").write_text(config.text(composed))
    assert config.plain(config.load(tmp_path))["data"]["archive"] == f"{tmp_path}/{name}"


def test_a_relative_path_is_kept_absolute_and_the_home_folder_is_known(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    composed = config.compose("evaluate", ["run=runs/a", "output_dir=~/b"])
    assert (composed.run, composed.output_dir) == (f"{tmp_path}/runs/a", "/home/someone/b")


def test_a_stored_configuration_takes_single_changes_and_no_unknown_ones(tmp_path):
    (tmp_path / "config.yaml").write_text(config.text(config.compose("train", ["seed=3"])))
    stored = config.load(tmp_path)
    config.override(stored, ["training.max_epochs=99", "data.test_file=/a b.npy"])
    settings = config.plain(stored)
    assert (
        settings["training"]["max_epochs"],
        settings["data"]["test_file"],
        settings["data"]["seed"],
    ) == (99, "/a b.npy", 3)
    for wrong in ("training.max_epoch=1", "+new=1", "~seed", "seed=1,2"):
        with pytest.raises(UserError, match="cannot be applied to a stored run"):
            config.override(stored, [wrong])


def test_parts_that_do_not_go_together_are_told_in_one_line():
    with pytest.raises(
        UserError, match="'transform.knee' not found; two chosen parts do not go together"
    ) as caught:
        config.plain(config.compose("train", ["loss=balanced_error"]))
    assert "\n" not in str(caught.value)


def test_a_missing_setting_is_named():
    with pytest.raises(
        UserError,
        match=r"data.archive must be given \(an archive, which nowcast convert makes\), e.g. data.archive",
    ):
        config.plain(config.compose("train", ["data=radar"]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is not a run folder: it holds no config.yaml"),
        ("[1, 2]", "is damaged"),
        ("a: [", "is damaged"),
        ("", "is damaged|holds no"),
    ],
)
def test_a_damaged_stored_configuration_is_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(UserError, match=message):
        config.plain(config.load(tmp_path))["seed"]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("lr=0.1", "did you mean training.learning_rate?"),
        ("trainer.max_epochs=1", "did you mean training.max_epochs?"),
        ("optimizer.lr=1", "did you mean training.learning_rate?"),
        ("epochs=3", "did you mean training.max_epochs?"),
        ("trainer.gpus=1", "there is no setting 'trainer' here; accepted are baselines"),
        ("data.archive=x.nc", "archive is of data=radar; type it, too"),
    ],
)
def test_what_other_programs_call_a_setting_leads_to_its_name_here(typed, meant):
    with pytest.raises(UserError, match=re.escape(meant)):
        config.compose("train", [typed])


def test_everything_that_must_be_given_is_said_with_an_example():
    with pytest.raises(UserError) as refusal:
        config.plain(config.compose("predict", []))
    assert str(refusal.value) == (
        "input must be given (radar files, a folder, a pattern or an archive), e.g. "
        "input=data/knmi.nc; output must be given (what to write; for watch and replay a folder), "
        "e.g. output=new.nc."
    )
