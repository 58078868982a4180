"""The README's own commands and examples, run as they stand there, on small data."""

import re
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest

from nowcast.cli import main
from nowcast.data.examples import write_civil_protection_files
from nowcast.training import checkpoints
from tests.factories import write_knmi

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
TINY = [
    "data.train_sequences=4",
    "data.validation_sequences=2",
    "data.test_sequences=2",
    "training.max_epochs=1",
    "model.hidden_channels=[2]",
]
TINY_RADAR = [
    "data.samples_per_epoch=2",
    "data.validation_samples=2",
    "data.test_stride=6",
    "training.max_epochs=1",
    "model.hidden_channels=[2]",
    "data.crop=16",
]
TINY_RECIPE = [
    "data.samples_per_epoch=2",
    "data.validation_samples=8",
    "data.test_stride=9",
    "training.max_epochs=1",
    "model.hidden_channels=[2]",
    "data.crop=24",
]
TINY_SYNTHETIC = [
    "data.samples_per_epoch=2",
    "data.validation_samples=2",
    "data.test_samples=2",
    "data.size=32",
    "training.max_epochs=1",
    "training.workers=0",
    "model.hidden_channels=[2,2,2]",
]
TINY_TUNING = [
    "data.samples_per_epoch=2",
    "data.validation_samples=2",
    "training.max_epochs=1",
    "training.batch_size=2",
]
TINY_COMPARISON = ["only=[Conv2D-LSTM]", "seeds=[1]", *TINY[:-1], "output_dir=runs/comparison"]
TINY_BENCHMARKS = {  # all others are only composed here; each has a test of its own that runs it
    "layer": [
        "what.cases=['2>3 3x3 8x8']",
        "what.length=2",
        "what.batch_size=1",
        "what.seconds=0",
        "output_dir=runs/benchmark",
    ],
    "models": ["what.models=[convlstm_small]", "what.size=8", "output_dir=runs/benchmark"],
}


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands():
    return [
        line
        for block in blocks("bash")
        for line in block.splitlines()
        if line.startswith("nowcast ")
    ]


def words(line):
    import shlex

    return shlex.split(line)[1:]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What a newcomer has: 92 radar files, files for Moving MNIST, and what is unpacked of a
    package.
    """
    folder = tmp_path_factory.mktemp("newcomer")
    (folder / "radar").mkdir()
    (folder / "data" / "mnist").mkdir(parents=True)
    generator = np.random.default_rng(0)
    for index in range(92):
        end = np.datetime64("2010-08-26T00:00") + 5 * index
        clock = [f"26-AUG-2010;{str(time)[11:16]}:00.000" for time in (end - 5, end)]
        write_knmi(
            folder / "radar" / f"{index:03}.h5",
            generator.integers(0, 60, (24, 30)),
            product_datetime_start=clock[0].replace("26", "25", index == 0),
            product_datetime_end=clock[1],
        )
    digits = generator.integers(0, 256, (20, 28, 28), dtype=np.uint8)
    (folder / "data" / "mnist" / "train-images-idx3-ubyte").write_bytes(
        np.array([2051, 20, 28, 28], ">i4").tobytes() + digits.tobytes()
    )
    example = (
        folder
        / "pycomlink"
        / "pycomlink"
        / "io"
        / "example_data"
        / "example_areal_reference_data.nc"
    )
    example.parent.mkdir(parents=True)
    with h5py.File(
        example, "w"
    ) as file:  # three runs of 20 frames, for training, validation and test
        file["rainfall_amount"] = np.where(
            generator.random((60, 24, 30)) < 0.02, -9999, generator.integers(0, 60, (60, 24, 30))
        ).astype(np.int16)
        file["time"] = np.concatenate([24.0 * day + np.arange(20) / 12 for day in (6, 7, 9)])
        file["time"].attrs["units"] = "hours since 2018-05-10T00:00:00"
    np.save(
        folder / "data" / "mnist_test_seq.npy",
        generator.integers(0, 256, (20, 2, 64, 64), dtype=np.uint8),
    )
    return folder


def test_every_command_runs_as_it_stands(folder, monkeypatch):
    """In the README's order; training gets fewer and smaller steps, nothing else is changed."""
    monkeypatch.chdir(folder)
    write_civil_protection_files(
        folder / "sri", frames=144, shape=(64, 48), seed=4
    )  # what `python -m nowcast.data.examples sri` writes, smaller
    lines = commands()
    assert [words(line)[0] for line in lines].count("train") == 10 and len(lines) == 32
    for line in lines:
        arguments = words(line)
        if arguments[0] in ("watch", "serve"):
            arguments = [
                arguments[0],
                *[item for item in arguments[1:] if "=" in item],
                "--cfg",
            ]  # they never end; tests/test_cli.py runs them
        if arguments[0] == "train" and not any(word.startswith("resume=") for word in arguments):
            tiny = TINY_RADAR if "experiment=radar_quickstart" in arguments else TINY
            for experiment, smaller in (
                ("civil_protection", TINY_RECIPE),
                ("lagrangian", TINY_SYNTHETIC),
                ("fine_tuning", TINY_TUNING),
            ):
                if f"experiment={experiment}" in arguments:
                    arguments, tiny = arguments + smaller, []
            arguments += [
                item
                for item in tiny
                if item.split("=")[0] not in {word.split("=")[0] for word in arguments}
            ]
        if arguments[0] == "benchmark":
            what = next(
                (word.removeprefix("what=") for word in arguments if word.startswith("what=")),
                "layer",
            )
            arguments += TINY_BENCHMARKS.get(what, ["--cfg"])
        arguments += TINY_COMPARISON if arguments[0] == "compare" else []
        main(arguments)
    assert (folder / "runs" / "knmi" / "evaluation" / "scores.csv").is_file()
    with h5py.File(folder / "forecast.nc") as file:
        assert file["rainfall_rate"].shape == (24, 24, 30)
    assert (
        len(checkpoints.load(folder / "runs" / "again" / "checkpoints" / "last.ckpt")["history"][0])
        == 4
    )
    assert (folder / "runs" / "comparison" / "comparison.csv").is_file() and (
        folder / "runs" / "benchmark" / "benchmark.json"
    ).is_file()
    python = next(block for block in blocks("python") if "nowcast.load(" in block)
    with h5py.File(folder / "forecast.nc") as file:
        before = file["rainfall_rate"][()]
    exec(compile(python, "README.md", "exec"), {})
    with h5py.File(folder / "forecast.nc") as file:
        np.testing.assert_array_equal(file["rainfall_rate"][()], before)


def test_the_example_of_the_layer_runs():
    scope = {}
    exec(next(block for block in blocks("python") if "norm_groups" in block), scope)
    assert scope["outputs"].shape == (8, 5, 64, 32, 32)


def test_the_two_commands_are_those_of_the_ci_script():
    assert "pip install -e . && python train.py" in blocks("bash")[0]
    script = Path(__file__).parents[1] / ".ci" / "run"
    pattern = re.search(r"sed -n '(.*)' README.md", script.read_text()).group(1)
    found = subprocess.run(
        ["sed", "-n", pattern, "README.md"],
        cwd=script.parents[1],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert found == "pip install -e '.[test]' && python -m pytest\n"


def test_every_file_the_readme_names_is_there():
    root = Path(__file__).parents[1]
    named = re.findall(
        r"`((?:nowcast|models|data|tests)/[\w./]+\.py)`|\]\((?!http)([^)]+)\)", README
    )
    paths = [one or two for one, two in named]
    assert paths
    missing = [
        path
        for path in paths
        if not (root / path).exists() and not (root / "nowcast" / path).exists()
    ]
    assert missing == []
