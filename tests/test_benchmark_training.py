"""A training step beside the loaders that feed it."""

import json

import pytest
import torch

from nowcast.benchmark.measuring import Host, random_batch, training_step
from nowcast.benchmark.training import Training, batches_of, loaded_per_second
from nowcast.cli import config, main
from nowcast.runtime.build import build_part

TINY = [
    "data.size=32",
    "data.train_sequences=6",
    "training.batch_size=4",
    "model.hidden_channels=[2,3]",
    "training.precision=float32",
]
HOST = Host(lambda overrides: config.plain(config.compose("train", overrides)), config.choices)


def test_a_step_learns_with_the_optimiser_of_the_training_and_leaves_no_gradients():
    settings = HOST.settings_of([*TINY, "training.optimizer=rmsprop"])
    model, loss, training = (build_part(settings, name) for name in ("model", "loss", "training"))
    before = [weight.detach().clone() for weight in model.parameters()]
    batch = random_batch(4, 5, 5, 8, torch.device("cpu"))
    training_step(model, loss, batch, precision="float32", training=training)()
    assert all(weight.grad is None for weight in model.parameters())
    moved = torch.cat(
        [(new - old).abs().flatten() for new, old in zip(model.parameters(), before, strict=True)]
    )
    # the first step of RMSprop is rate / sqrt(1 - 0.9), of Adam the rate itself
    rate = training.learning_rate
    assert moved.max().item() == pytest.approx(rate / 0.1**0.5, rel=0.01)


@pytest.mark.parametrize("precision", ["float32", "bf16-mixed"])
def test_a_step_computes_in_the_precision_that_it_is_given(precision):
    settings, seen = HOST.settings_of(TINY), []
    model = build_part(settings, "model")
    for layer in model.modules():
        layer.register_forward_pre_hook(lambda *_: seen.append(torch.is_autocast_enabled("cpu")))
    batch = random_batch(4, 5, 5, 8, torch.device("cpu"))
    training_step(model, build_part(settings, "loss"), batch, precision=precision)()
    assert any(seen) == (precision == "bf16-mixed")  # the last layer always computes in float32


def test_batches_are_those_of_a_training_epoch_after_epoch():
    batches = batches_of(HOST.settings_of(TINY), 0)
    keys = [next(batches).key.tolist() for _ in range(4)]
    assert [len(of_batch) for of_batch in keys] == [4, 2, 4, 2]
    for epoch in (0, 1):
        drawn = keys[2 * epoch] + keys[2 * epoch + 1]
        assert sorted(drawn) == [[epoch, index] for index in range(6)]


@pytest.mark.parametrize("workers", [0, 1])
def test_loaders_deliver_sequences(workers):
    assert loaded_per_second(HOST.settings_of(TINY), workers, seconds=0) > 0


def test_the_command_compares_the_step_with_its_loaders(tmp_path, capsys):
    typed = ",".join(f"'{override}'" for override in TINY)
    main(
        [
            "benchmark",
            "what=training",
            "what.experiments=[default,smoke]",
            f"what.overrides=[{typed}]",
            "what.workers=[0,1]",
            "what.seconds=0",
            f"output_dir={tmp_path}",
        ]
    )
    records = json.loads((tmp_path / "benchmark.json").read_text())["records"]
    assert [(record["case"], record["phase"], record.get("workers")) for record in records] == [
        (name, *found)
        for name in ("default", "smoke")
        for found in (("train", None), ("load", 0), ("load", 1))
    ]
    step, alone, _ = records[:3]
    assert step["precision"] == "float32" and step["peak_memory_mb"] > 0
    assert step["sequences_per_second"] == pytest.approx(4000 / step["milliseconds"])
    assert step["first_step_milliseconds"] > 0
    assert alone["milliseconds"] == pytest.approx(4000 / alone["sequences_per_second"])
    ratio = alone["sequences_per_second"] / step["sequences_per_second"]
    assert alone["ratio"] == pytest.approx(ratio)
    text = capsys.readouterr().out
    assert "default, float32" in text and "loader, workers: 1" in text


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(
        ValueError, match=r"experiments is \['none'\]; expected a list of these: default, "
    ):
        Training(["none"]).run(HOST)


@pytest.mark.parametrize("workers", [[], [0, True], [-1], [1.5]])
def test_numbers_of_workers_that_make_no_sense_are_refused(workers):
    with pytest.raises(ValueError, match="expected a list of whole numbers, 0 or more"):
        Training(workers=workers)
