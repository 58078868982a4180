"""Memory of training: the line through known numbers, the sizes it reaches, and a run in a tiny
size.
"""

import json

import pytest
import torch

from nowcast.benchmark import memory
from nowcast.benchmark.measuring import Host
from nowcast.benchmark.memory import (
    Held,
    Line,
    Memory,
    Quest,
    in_own_process,
    line_through,
    train_twice,
)
from nowcast.cli import config, main

HOST = Host(lambda overrides: config.plain(config.compose("train", overrides)), config.choices)
TINY = {
    "case": "2>2 3x3 4x4",
    "length": 2,
    "batch_size": 1,
    "checkpoints": [0, 2],
    "checkpoint_length": 4,
    "lengths": [4, 6, 8],
    "sides": [10, 20, 30],
    "limit_checkpoints": [0, 5],
    "precision": "float32",
    "seconds": 0,
}
MODEL = {
    "_target_": "nowcast.models.encoder_forecaster.EncoderForecaster",
    "hidden_channels": [2],
    "input_kernel": 3,
    "state_kernel": 3,
}
SETTINGS = {"model": MODEL, "loss": {"_target_": "nowcast.training.losses.CrossEntropy"}}


@pytest.fixture
def linear(monkeypatch):
    """Trainings that hold 0.999 GB, and 2 MB for each frame or 1 kB for each pixel, of which
    tensors are half; checkpoints take a tenth.
    """
    asked = []

    def held(function, settings, shape, precision, count_tensors, threads):
        asked.append((shape, precision, count_tensors, settings["model"]["checkpoint"]))
        context, forecast, side = shape
        tensors = (1_000_000 * (context + forecast) if side == 64 else 500 * side**2) / (
            10 if settings["model"]["checkpoint"] else 1
        )
        return Held(999_000_000 + 2 * int(tensors), int(tensors) if count_tensors else None, 3.0)

    monkeypatch.setattr(memory, "in_own_process", held)
    return asked


def test_a_line_meets_the_points_it_goes_through_and_the_limit():
    line = line_through([1, 2, 4], [5, 7, 11])
    assert line == pytest.approx((3, 2))
    assert line.at(10) == pytest.approx(23) and line.reach(23) == pytest.approx(10)
    assert line_through([0, 1, 2], [0, 3, 0]) == pytest.approx(
        (1, 0)
    )  # least squares: the mean, where nothing grows


def test_a_line_that_does_not_grow_or_starts_above_the_limit_reaches_nothing():
    assert (
        Line(3, 0).reach(10) is None
        and Line(3, -1).reach(10) is None
        and Line(11, 1).reach(10) is None
    )


def test_the_largest_size_is_rounded_down_to_equal_halves_and_to_whole_pixels():
    assert Quest("a", (), "length").size(11.9) == 10 and Quest("a", (), "side").size(24.9) == 4
    assert Quest("a", (), "length").amount(6) == 6 and Quest("a", (), "side").amount(6) == 36


def test_the_largest_sizes_of_known_trainings(linear):
    """(24 - 0.999) GB / 2 MB = 11,500.5 frames; 23.001 GB / 1 kB = 23,001,000 pixels, 4796 squared
    is 23,001,616; with checkpoints ten times as many.
    """
    report = Memory(**TINY).run(HOST)
    limits = report.facts["limits"]
    assert [(found["case"], found["checkpoint"], found["largest"]) for found in limits] == [
        ("shi2015 64x64", 0, 11_500),
        ("shi2015 64x64", 5, 115_004),
        ("default radar model", 0, 4_795),
        ("default radar model", 5, 15_166),
    ]
    assert all(
        found["factor"] == pytest.approx(2)
        and found["fixed_mb"] == pytest.approx(999)
        and found["of"] == "process"
        for found in limits
    )
    assert all(found["predicted_mb"] == pytest.approx(found["measured_mb"]) for found in limits)
    assert [found["checked_at"] for found in limits] == [8, 8, 30, 30] and all(
        found["growth_error"] == pytest.approx(0, abs=1e-6) for found in limits
    )
    assert linear[:3] == [
        ((2, 2, 64), "float32", True, 0),
        ((3, 3, 64), "float32", True, 0),
        ((4, 4, 64), "float32", False, 0),
    ]
    assert linear[-1] == ((4, 12, 30), "float32", False, 5)
    assert report.failed == {} and any(
        "to 2.00 times what its tensors do" in sentence for sentence in report.sentences
    )


def test_the_check_judges_the_growth_and_not_what_is_fixed(monkeypatch):
    """1000, 1010 MB at 4 and 6 frames predict 1020 at 8; 1016 come: 20 MB of growth for 16, a
    quarter too much, though the wholes differ by 0.4 %.
    """
    process = {4: 1000, 6: 1010, 8: 1016}
    monkeypatch.setattr(
        memory,
        "in_own_process",
        lambda function, settings, shape, *rest: Held(
            1_000_000 * process.get(shape[0] + shape[1], shape[2] ** 2),
            1_000_000 * shape[2] + shape[0],
            3.0,
        ),
    )
    found = Memory(**TINY).run(HOST).facts["limits"][0]
    assert found["growth_error"] == pytest.approx(0.25) and found["predicted_mb"] == pytest.approx(
        1020
    )


def test_the_cautious_size_goes_on_from_the_last_with_the_steepest_growth(monkeypatch):
    """1000, 1010, 1040 MB at 4, 6, 8 frames: the line reaches 24 GB at (24000 - 980) / 5 = 4604, 15
    MB a frame at 8 + 22960 / 15 = 1538.7.
    """
    process = {4: 1000, 6: 1010, 8: 1040}
    monkeypatch.setattr(
        memory,
        "in_own_process",
        lambda function, settings, shape, *rest: Held(
            1_000_000 * process.get(shape[0] + shape[1], shape[2] ** 2),
            1_000_000 * shape[2] + shape[0],
            3.0,
        ),
    )
    found = Memory(**TINY).run(HOST).facts["limits"][0]
    assert found["cautious"] == 1538 and found["largest"] in (4602, 4604)  # 4604 up to rounding


def test_where_the_system_tells_no_memory_of_processes_that_of_tensors_is_taken(monkeypatch):
    monkeypatch.setattr(
        memory,
        "in_own_process",
        lambda function, settings, shape, *rest: Held(None, 1_000_000 * sum(shape) ** 2, 3.0),
    )
    report = Memory(**TINY).run(HOST)
    assert {found["of"] for found in report.facts["limits"]} == {"tensors"} and {
        found["factor"] for found in report.facts["limits"]
    } == {None}
    assert any("This system does not tell" in sentence for sentence in report.sentences)


def test_a_training_that_fails_does_not_keep_the_rest_from_being_measured(monkeypatch):
    def held(function, settings, shape, *rest):
        if shape[2] != 64:
            raise torch.OutOfMemoryError("out of memory\nmuch was asked for")
        return Held(5, 5, 3.0)

    monkeypatch.setattr(memory, "in_own_process", held)
    report = Memory(**TINY).run(HOST)
    assert report.failed["default radar model, checkpoint 0"] == "out of memory"
    assert "no largest length: 24 GB are not met by" in report.failed["shi2015 64x64, checkpoint 0"]
    assert report.facts["limits"] == [] and len(report.tables) == 2


def test_the_plain_cell_holds_more_in_training_and_checkpoints_save():
    """The textbook's cell keeps for every step: what it concatenated, convolved and split into, and
    each product of its gates.
    """
    report = Memory(
        **TINY
        | {"case": "8>8 3x3 16x16", "length": 6, "checkpoint_length": 12, "checkpoints": [0, 3]}
    )
    found = {
        record["implementation"]: record["peak_memory_mb"]
        for record in report._against_textbook("float32", torch.device("cpu"))
        if record["phase"] == "train"
    }
    assert 0 < found["nowcast"] < found["textbook"]
    kept = {
        record["checkpoint"]: record["peak_memory_mb"]
        for record in report._checkpointed(torch.device("cpu"))
    }
    assert 0 < kept[3] < kept[0]


@pytest.mark.slow
def test_a_training_in_a_process_of_its_own_holds_its_tensors_and_more():
    held = in_own_process(train_twice, SETTINGS, (2, 2, 16), "float32", True, 1)
    assert held.tensors > 4 * 16 * 16 and held.milliseconds > 0
    assert held.process is None or held.process > held.tensors


@pytest.mark.slow
def test_what_a_process_of_its_own_raises_is_raised_here():
    with pytest.raises(ValueError, match="hidden_channels is"):
        in_own_process(
            train_twice,
            SETTINGS | {"model": MODEL | {"hidden_channels": [0]}},
            (2, 2, 16),
            "float32",
            True,
            1,
        )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"checkpoints": [1, 2]}, r"checkpoints is \[1, 2\]; numbers of steps that differ"),
        ({"limit_checkpoints": [0, -1]}, "limit_checkpoints is .* numbers of steps that differ"),
        ({"checkpoints": [0, 2, 2]}, "numbers of steps that differ are needed"),
        ({"lengths": [4, 8]}, r"lengths is \[4, 8\]; at least three sizes that grow"),
        ({"sides": [8, 8, 9]}, "sides is .* at least three sizes that grow"),
        ({"lengths": [4, 7, 9]}, "even numbers are needed, half context and half forecast"),
        ({"memory_gb": 0}, "memory_gb is 0; a whole number, at least 1"),
        ({"case": "64"}, "a case '64' came"),
        ({"precision": "fp8"}, "precision is 'fp8'; accepted are auto"),
    ],
)
def test_a_load_that_makes_no_sense_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Memory(**settings)


def test_the_command_prints_three_tables_and_writes_every_training(tmp_path, capsys, linear):
    changes = [
        f"what.{name}={json.dumps(value).replace(' ', '') if isinstance(value, list) else value}"
        for name, value in TINY.items()
        if name != "case"
    ]
    main(
        [
            "benchmark",
            "what=memory",
            f"output_dir={tmp_path}/out",
            "what.case='2>2 3x3 4x4'",
            *changes,
        ]
    )
    content = json.loads((tmp_path / "out" / "benchmark.json").read_text())
    records = content["records"]
    keys = [
        "case",
        "implementation",
        "precision",
        "phase",
        "milliseconds",
        "peak_memory_mb",
        "checkpoint",
        "length",
    ]
    assert all(list(record)[:8] == keys for record in records) and content["failed"] == {}
    assert len(records) == 2 * 2 * 2 + 2 + 4 * 3
    assert [
        (record["implementation"], record["precision"], record["phase"]) for record in records[:4]
    ] == [
        (name, "float32", phase)
        for name in ("nowcast", "textbook")
        for phase in ("train", "forward")
    ]
    assert (
        records[-1]["side"] == 30
        and records[-1]["process_memory_mb"] > 999
        and records[-1]["peak_memory_mb"] is None
    )
    text = " ".join(capsys.readouterr().out.split())
    assert (
        "Memory of 2>2 3x3 4x4, T 2, batch 1" in text
        and "Time checkpointing of 2>2 3x3 4x4, T 4" in text
    )
    assert (
        "Largest training in 24 GB, batch 1" in text
        and "11,500 frames" in text
        and "4,795x4,795" in text
        and "an extrapolation" in text
    )
