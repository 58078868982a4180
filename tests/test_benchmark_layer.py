"""What is measured beside the ConvLSTM layer computes the same as it."""

import json
from importlib.util import find_spec

import pytest
import torch

from nowcast.benchmark.layer import Case, KerasStack, Layer, Stack, TextbookLayer, step_of
from nowcast.benchmark.measuring import measure_together, peak_memory
from nowcast.cli import main

CPU = torch.device("cpu")
CASE = Case((3, 4, 2), 3, 5, 6)


def with_equal_weights(case):
    """nowcast's stack, the textbook's and, where it is installed, Keras'; the textbook's gates come
    in the order i, f, g, o, too.
    """
    torch.manual_seed(0)
    stack = Stack(case)
    textbook = torch.nn.Sequential(*(TextbookLayer(*sides, case.kernel) for sides in case.layers()))
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
            weight.register_hook(lambda gradient, to=reached: to.append(gradient.abs().sum() > 0))
        step_of(module, torch.rand(2, 3, 3, 5, 6), "forward", precision)()
        assert reached == []
        step_of(module, torch.rand(2, 3, 3, 5, 6), "train", precision)()
        assert len(reached) == len(list(module.parameters())) and all(reached)
        assert all(weight.grad is None for weight in module.parameters())


def test_checkpointing_computes_the_same_in_less_memory_and_is_measured_beside_the_layer():
    case = Case((4, 4), 3, 16, 16)
    torch.manual_seed(0)
    whole, blocks = Stack(case), Stack(case, checkpoint=2)
    blocks.load_state_dict(whole.state_dict())
    inputs = torch.rand(2, 8, 4, 16, 16)
    torch.testing.assert_close(blocks(inputs), whole(inputs))
    used = [peak_memory(step_of(each, inputs, "train", "float32"), CPU) for each in (whole, blocks)]
    assert used[1] < used[0]
    layer = Layer(["4>4 3x3 8x8"], length=4, batch_size=1, checkpoints=[1, 2], seconds=0)
    labels = [record["implementation"] for record in layer._records("4>4 3x3 8x8", "float32")]
    assert list(dict.fromkeys(labels))[:3] == ["nowcast", "checkpoint 1", "checkpoint 2"]


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


def test_no_case_and_no_steps_between_checkpoints_are_refused():
    with pytest.raises(ValueError, match="at least one such as"):
        Layer([])
    with pytest.raises(ValueError, match=r"checkpoints is \[0\]; expected numbers of steps"):
        Layer(checkpoints=[0])


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
    implementations = ["nowcast", "textbook", *(["keras"] if find_spec("keras") else [])]
    found = [
        (record["case"], record["precision"], record["phase"], record["implementation"])
        for record in content["records"]
    ]
    assert found == [
        (case, precision, phase, name)
        for case in ("2>3 3x3 8x8", "2>3>2 1x1 4x4")
        for precision in ("float32", "bfloat16")
        for name in implementations
        for phase in ("train", "forward")
    ]
    keys = ["case", "implementation", "precision", "phase", "milliseconds", "peak_memory_mb"]
    assert all(list(record) == keys and record["milliseconds"] > 0 for record in content["records"])
    assert content["versions"]["gates"] in ("C", "Triton", "torch")
    text = capsys.readouterr().out
    assert (
        "2>3 3x3 8x8" in text
        and "textbook" in text
        and ("Keras is not installed" in text) != bool(find_spec("keras"))
    )
