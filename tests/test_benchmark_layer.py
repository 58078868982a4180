"""What is measured beside the ConvLSTM layer computes the same as it, and the limit counts the
right convolutions.
"""

import json
from importlib.util import find_spec

import pytest
import torch

from nowcast.benchmark import layer as benchmark
from nowcast.benchmark.layer import (
    Case,
    KerasStack,
    Layer,
    Stack,
    TextbookLayer,
    limit_steps,
    multiply_adds,
    pairs,
    step_of,
)
from nowcast.benchmark.measuring import measure_together
from nowcast.cli import main

CPU = torch.device("cpu")
CASE = Case((3, 4, 2), 3, 5, 6)


def with_equal_weights(case):
    """nowcast's stack, the textbook's and, where it is installed, Keras'; the textbook's gates come
    in the order i, f, g, o, too.
    """
    torch.manual_seed(0)
    stack = Stack(case)
    textbook = torch.nn.Sequential(*(TextbookLayer(*sides, case.kernel) for sides in pairs(case)))
    made = [stack, textbook]
    for ours, theirs in zip(stack.layers, textbook, strict=True):
        with torch.no_grad():
            theirs.conv.weight.copy_(
                torch.cat([ours.cell.input_weight, ours.cell.state_weight], dim=1)
            )
            theirs.conv.bias.copy_(ours.cell.bias.normal_())
    if find_spec("keras"):
        from nowcast.models.convlstm.keras_weights import keras_weights

        keras = KerasStack(case, "float32", CPU)
        for ours, theirs in zip(stack.layers, keras.layers, strict=True):
            theirs.set_weights(keras_weights(ours))
        made.append(keras)
    return made


def test_all_of_them_compute_the_same():
    made, inputs = with_equal_weights(CASE), torch.rand(2, 4, 3, 5, 6)
    expected = made[0](inputs)
    torch.testing.assert_close(made[1](inputs), expected, rtol=1e-5, atol=1e-6)
    for keras in made[2:]:
        torch.testing.assert_close(
            keras(inputs.movedim(2, -1)).movedim(-1, 2), expected, rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_training_step_reaches_the_input_and_all_weights_and_leaves_no_gradient(
    precision, monkeypatch
):
    for module in with_equal_weights(CASE):
        reached = []
        for weight in module.parameters():
            weight.register_hook(lambda gradient: reached.append(gradient.abs().sum() > 0))
        step_of(module, torch.rand(2, 3, 3, 5, 6), "forward", precision)()
        assert reached == []
        step_of(module, torch.rand(2, 3, 3, 5, 6), "train", precision)()
        assert len(reached) == len(list(module.parameters())) and all(reached)
        assert all(weight.grad is None for weight in module.parameters())


def test_the_limit_are_the_convolutions_of_the_layers_without_the_first_hidden_states(monkeypatch):
    """T 4, batch 2: eight maps meet the input weights, six the state weights; each layout once."""
    met = []
    monkeypatch.setattr(
        benchmark.F,
        "conv2d",
        lambda maps, weight, padding: met.append((tuple(maps.shape), tuple(weight.shape), padding)),
    )
    monkeypatch.setattr(
        benchmark,
        "convolution_backward",
        lambda gradient, maps, weight, settings, wanted: met.append(
            (tuple(gradient.shape), wanted)
        ),
    )
    steps = limit_steps(CASE, 4, 2, torch.float32, CPU)
    for (operation, _, layout), step in steps.items():
        if layout == "contiguous" and operation == "forward":
            step()
    assert met == [
        ((8, 3, 5, 6), (16, 3, 3, 3), (1, 1)),
        ((6, 4, 5, 6), (16, 4, 3, 3), (1, 1)),
        ((8, 4, 5, 6), (8, 4, 3, 3), (1, 1)),
        ((6, 2, 5, 6), (8, 2, 3, 3), (1, 1)),
    ]
    met.clear()
    steps["input gradient", "state 0", "channels last"]()
    steps["weight gradient", "input 1", "contiguous"]()
    assert met == [((6, 16, 5, 6), (True, False)), ((8, 8, 5, 6), (False, True))]
    products = 8 * 30 * 9 * (16 * 3 + 8 * 4) + 6 * 30 * 9 * (16 * 4 + 8 * 2)
    assert multiply_adds(CASE, 4, 2) == products


def test_the_share_is_the_time_of_the_fastest_layouts_over_that_of_the_layer(monkeypatch):
    """One layer, T 2: forward of inputs takes 2 or 1 ms, everything else 1 ms; all implementations
    take 10 ms.
    """

    def times(steps, device, seconds):
        return {
            key: 10.0
            if len(key) == 2
            else 2.0
            if key == ("forward", "input 0", "contiguous")
            else 1.0
            for key in steps
        }

    monkeypatch.setattr(benchmark, "measure_together", times)
    monkeypatch.setattr(benchmark, "find_spec", lambda name: None)
    records = {
        (record["implementation"], record["phase"]): record
        for record in Layer(["2>2 3x3 4x4"], length=2, batch_size=1)._records(
            "2>2 3x3 4x4", "float32"
        )
    }
    assert (
        records["convolutions", "train"]["milliseconds"] == 6
        and records["convolutions", "forward"]["milliseconds"] == 2
    )
    assert (
        records["nowcast", "train"]["share_of_limit"] == 0.6
        and records["textbook", "forward"]["share_of_limit"] == 0.2
    )
    assert records["convolutions", "train"]["weight_gradient_gflops"] == pytest.approx(
        2 * multiply_adds(Case((2, 2), 3, 4, 4), 2, 1) / 2e6
    )


def test_steps_take_turns(monkeypatch):
    order = []
    measure_together(
        {"a": lambda: order.append("a"), "b": lambda: order.append("b")}, CPU, seconds=0
    )
    assert order == ["a", "b"] * 4


@pytest.mark.parametrize(
    "case",
    [
        "64>64 5x5",
        "64 5x5 16x16",
        "0>4 3x3 8x8",
        "4>4 3x5 8x8",
        "4>4 4x4 8x8",
        "4>4 3x3 8x8 batch 0",
        3,
    ],
)
def test_a_case_that_cannot_be_understood_is_refused(case):
    with pytest.raises(ValueError, match="channels, an odd kernel and a size such as"):
        Layer([case])


def test_a_case_may_have_its_own_number_of_sequences():
    assert Case.parse("16>8>4 3x3 12x20 batch 5") == Case((16, 8, 4), 3, 12, 20, 5)
    assert Case.parse("16>8 3x3 12x20").batch_size is None


def test_no_case_is_refused():
    with pytest.raises(ValueError, match="at least one such as"):
        Layer([])


def test_the_command_writes_one_record_for_each_measurement(tmp_path, capsys):
    main(
        [
            "benchmark",
            "what=layer",
            "what.cases=['2>3 3x3 8x8','2>3>2 1x1 4x4']",
            "what.length=2",
            "what.batch_size=1",
            "what.seconds=0",
            f"output_dir={tmp_path}",
        ]
    )
    content = json.loads((tmp_path / "benchmark.json").read_text())
    implementations = [
        "nowcast",
        "textbook",
        *(["keras"] if find_spec("keras") else []),
        "convolutions",
    ]
    found = [
        (record["case"], record["precision"], record["phase"], record["implementation"])
        for record in content["records"]
    ]
    assert found == [
        (case, precision, phase, name)
        for case in ("2>3 3x3 8x8", "2>3>2 1x1 4x4")
        for precision in ("float32", "bfloat16")
        for phase in ("train", "forward")
        for name in implementations
    ]
    keys = [
        "case",
        "implementation",
        "precision",
        "phase",
        "milliseconds",
        "share_of_limit",
        "peak_memory_mb",
    ]
    assert all(
        list(record)[:7] == keys and record["milliseconds"] > 0 for record in content["records"]
    )
    assert content["versions"]["gates"] in ("C", "Triton", "torch")
    text = capsys.readouterr().out
    assert (
        "2>3 3x3 8x8" in text
        and "textbook" in text
        and "The same convolutions alone" in text
        and ("Keras is not installed" in text) != bool(find_spec("keras"))
    )
