"""A whole training step beside its ConvLSTM layers."""

import json

import pytest
import torch

from nowcast.benchmark.measuring import Host, training_step
from nowcast.benchmark.training import Training, endless, layers_step
from nowcast.cli import config, main
from nowcast.models.convlstm import ConvLSTM
from nowcast.models.encoder_forecaster import EncoderForecaster
from nowcast.runtime.build import part

TINY = [
    "data.size=32",
    "data.train_sequences=6",
    "training.batch_size=4",
    "model.hidden_channels=[2,3]",
    "training.precision=float32",
]
HOST = Host(lambda overrides: config.plain(config.compose("train", overrides)), config.choices)


def test_the_layers_alone_are_called_as_the_network_calls_them(monkeypatch):
    """Two layers each; 5 frames in, 3 out of 8x8 pixels, folded 4x4."""
    calls = []
    forward = ConvLSTM.forward

    def noted(layer, inputs, state=None, *, length=None, mask=None):
        calls.append((None if inputs is None else tuple(inputs.shape), state is not None, length))
        return forward(layer, inputs, state, length=length, mask=mask)

    monkeypatch.setattr(ConvLSTM, "forward", noted)
    network = EncoderForecaster([2, 3])
    parts = {"context": torch.rand(4, 5, 1, 8, 8), "target": torch.rand(4, 3, 1, 8, 8)}
    batch = parts | {
        f"{name}_observed": torch.ones_like(values, dtype=torch.bool)
        for name, values in parts.items()
    }
    network(batch["context"], 3, batch["context_observed"])
    expected = calls.copy()
    calls.clear()
    reached = []
    for weight in network.parameters():
        weight.register_hook(lambda gradient: reached.append(gradient))
    layers_step(network, batch, "float32")()
    assert calls == expected and len(expected) == 4
    assert (
        all(weight.grad is None for weight in network.parameters())
        and len(reached) == len(list(network.parameters())) - 2
    )  # all but the head


def test_a_whole_step_draws_learns_and_leaves_no_gradients():
    settings = HOST.settings_of(TINY)
    model, loss, plan = (part(settings, name) for name in ("model", "loss", "training"))
    batch = {"context": torch.rand(4, 5, 1, 8, 8), "target": torch.rand(4, 5, 1, 8, 8)}
    batch |= {
        f"{name}_observed": torch.ones_like(values, dtype=torch.bool)
        for name, values in batch.items()
    }
    drawn, before = [], [weight.detach().clone() for weight in model.parameters()]
    training_step(model, loss, lambda: drawn.append(1) or batch, precision="float32", plan=plan)()
    assert drawn == [1] and all(weight.grad is None for weight in model.parameters())
    assert any(not torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))


def test_batches_go_on_after_the_last_one():
    draw = endless([{"x": torch.tensor(1)}, {"x": torch.tensor(2)}], torch.device("cpu"))
    assert [draw()["x"].item() for _ in range(5)] == [1, 2, 1, 2, 1]


def test_the_command_compares_the_step_with_its_layers(tmp_path, capsys):
    typed = ",".join(f"'{override}'" for override in TINY)
    main(
        [
            "benchmark",
            "what=training",
            "what.experiments=[default]",
            f"what.overrides=[{typed}]",
            "what.seconds=0",
            f"output_dir={tmp_path}",
        ]
    )
    content = json.loads((tmp_path / "benchmark.json").read_text())
    whole, layers, data = content["records"]
    assert [record["case"] for record in content["records"]] == [
        "default: whole",
        "default: layers",
        "default: data",
    ]
    assert (
        whole["over_layers"] == pytest.approx(whole["milliseconds"] / layers["milliseconds"] - 1)
        and whole["precision"] == "float32"
    )
    assert (
        whole["sequences_per_second"] == pytest.approx(4000 / whole["milliseconds"])
        and data["milliseconds"] > 0
    )
    text = capsys.readouterr().out
    assert "default" in text and (
        "Compiling the gates took" in text or "nothing is compiled" in text
    )
    assert ("compile_seconds" in content["settings"]) == ("Compiling the gates took" in text)


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(
        ValueError, match=r"experiments is \['none'\]; a list of these is needed: default, "
    ):
        Training(["none"]).run(HOST)
    with pytest.raises(
        ValueError,
        match="default trains a FCLSTM; an experiment with an EncoderForecaster is needed",
    ):
        Training(["default"], [*TINY[:3], "model=fc_lstm"]).run(HOST)
