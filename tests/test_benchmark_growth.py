"""The growth of time and memory: exponents of known powers, and a run in a tiny size."""

import json

import pytest
import torch

from nowcast.benchmark.growth import Growth, fitted_exponent
from nowcast.benchmark.measuring import Host
from nowcast.cli import config, main

TINY = Growth(
    length=2,
    side=4,
    batch_size=1,
    input_channels=2,
    hidden_channels=2,
    kernel=3,
    doublings=2,
    precision="float32",
    seconds=0,
)
HOST = Host(lambda overrides: config.plain(config.compose("train", overrides)), config.choices)
KEYS = [
    "case",
    "implementation",
    "precision",
    "phase",
    "milliseconds",
    "peak_memory_mb",
    "axis",
    "size",
]
SIZES = ["length", "height", "width", "batch_size", "input_channels", "hidden_channels"]
AXES = ["length", "area", "batch", "input channels", "input and hidden channels"]


def test_the_exponent_of_a_power_is_its_own():
    assert fitted_exponent([1, 2, 4, 8], [3, 6, 12, 24]) == pytest.approx(1)
    assert fitted_exponent([5, 10, 20], [7, 28, 112]) == pytest.approx(2)
    assert fitted_exponent([1, 100], [9, 9]) == pytest.approx(0)


def test_the_exponent_is_the_least_squares_slope_of_the_logarithms():
    """log2: 0, 1, 2 against 0, 3, 2; the slope is ((-1)(-5/3) + (1)(1/3)) / 2 = 1."""
    assert fitted_exponent([1, 2, 4], [1, 8, 4]) == pytest.approx(1)


def test_one_axis_grows_while_the_others_stay():
    axes = Growth(
        length=10, side=16, batch_size=4, input_channels=64, hidden_channels=16, doublings=3
    ).axes()
    assert list(axes) == AXES
    assert [number for number, _ in axes["length"]] == [10, 20, 40, 80]
    assert [tuple(size) for _, size in axes["area"]] == [
        (10, 16, 16, 4, 64, 16),
        (10, 32, 16, 4, 64, 16),
        (10, 32, 32, 4, 64, 16),
        (10, 64, 32, 4, 64, 16),
    ]
    assert [number for number, _ in axes["area"]] == [256, 512, 1024, 2048]
    assert [size.batch_size for _, size in axes["batch"]] == [4, 8, 16, 32]
    assert [tuple(size[4:]) for _, size in axes["input channels"]] == [
        (64, 16),
        (128, 16),
        (256, 16),
        (512, 16),
    ]
    assert [tuple(size[4:]) for _, size in axes["input and hidden channels"]] == [
        (64, 16),
        (128, 32),
        (256, 64),
    ]
    assert (
        len(Growth(doublings=1).axes()["input and hidden channels"]) == 2
    )  # a line needs two points


def test_the_memory_of_a_forward_pass_grows_with_the_length_as_the_tensors_do():
    """What lies there for each step, beyond what a step needs once: 40 steps hold less than ten
    times what 4 hold, and more than five times.
    """
    axis = [
        record
        for record in Growth(**{**vars(TINY), "length": 4, "side": 8, "doublings": 3})
        .run(HOST)
        .records
        if record["axis"] == "length" and record["phase"] == "train"
    ]
    memory = [record["peak_memory_mb"] for record in axis]
    steps = [
        (after - before) / (b - a)
        for before, after, a, b in zip(memory, memory[1:], (4, 8, 16), (8, 16, 32), strict=False)
    ]
    assert min(steps) > 0 and max(steps) == pytest.approx(min(steps), rel=0.05)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"doublings": 0}, "doublings is 0; a whole number, at least 1"),
        ({"side": 2.5}, "side is 2.5; a whole number, at least 1"),
        ({"doublings": 11}, "at most 10 are accepted"),
        ({"kernel": 4}, "kernel is 4; an odd side is needed"),
        ({"precision": "fp8"}, "precision is 'fp8'; accepted are auto"),
        ({"seconds": -1}, "seconds is -1; a number, 0 or more"),
    ],
)
def test_a_load_that_makes_no_sense_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Growth(**settings)


def test_auto_is_the_precision_that_is_fast_here(monkeypatch):
    monkeypatch.setattr("nowcast.runtime.precision.bf16_is_fast", lambda device: True)
    report = Growth(**{**vars(TINY), "precision": "auto", "doublings": 1}).run(HOST)
    assert {record["precision"] for record in report.records} == {"bfloat16"}


def test_the_command_prints_the_exponents_and_writes_every_size(tmp_path, capsys):
    changes = [f"what.{name}={value}" for name, value in vars(TINY).items()]
    main(["benchmark", "what=growth", f"output_dir={tmp_path}/out", *changes])
    content = json.loads((tmp_path / "out" / "benchmark.json").read_text())
    records = content["records"]
    assert all(list(record) == KEYS + SIZES for record in records) and content["failed"] == {}
    assert len(records) == 2 * (4 * 3 + 2) and all(
        record["milliseconds"] > 0 and record["peak_memory_mb"] > 0 for record in records
    )
    first = records[0]
    assert (first["case"], first["implementation"], first["phase"], first["size"]) == (
        "2>2 3x3 4x4",
        "nowcast",
        "train",
        2,
    )
    exponents = content["settings"]["exponents"]
    assert [(found["axis"], found["phase"]) for found in exponents] == [
        (axis, phase) for axis in AXES for phase in ("train", "forward")
    ]
    times = [
        record["milliseconds"]
        for record in records
        if record["axis"] == "batch" and record["phase"] == "forward"
    ]
    assert exponents[5]["milliseconds"] == pytest.approx(fitted_exponent([1, 2, 4], times))
    assert content["settings"]["device"] == ("cuda" if torch.cuda.is_available() else "cpu")
    text = capsys.readouterr().out
    assert (
        text.count("exponent") >= 5
        and "ConvLSTM 2>2 3x3 4x4, T 2, batch 1" in text
        and "2 is expected of the time" in text.replace("\n", " ")
    )
