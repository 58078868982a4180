"""Our ConvLSTM equals Keras' ConvLSTM2D in value and gradient: against Keras itself, and against
the golden file made with it.
"""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from nowcast.models.convlstm import ConvLSTM
from nowcast.models.convlstm.keras_weights import keras_weights, load_keras_weights
from tests import keras_cases as cases


@pytest.fixture
def keras():
    """Keras on its PyTorch backend; the test is skipped where it is not installed."""
    if importlib.util.find_spec("keras") is None:
        pytest.skip("Keras is not installed: parity is tested with the golden file alone")
    return cases.keras_module()


def assert_equal(found, expected, dtype):
    assert found.keys() == expected.keys() and len(found) >= 6
    for key, values in expected.items():
        assert np.abs(values).max() > 1e-2, f"{key} shows nothing"
        np.testing.assert_allclose(
            found[key],
            values,
            rtol=0,
            atol=cases.TOLERANCE[dtype] * max(1, np.abs(values).max()),
            err_msg=key,
        )


@pytest.mark.parametrize("dtype", cases.TOLERANCE)
@pytest.mark.parametrize("name", cases.CASES)
def test_values_and_gradients_are_those_of_keras(keras, name, dtype):
    given = cases.arrays(name)
    assert_equal(cases.run_ours(name, given, dtype), cases.run_keras(name, given, dtype), dtype)


@pytest.mark.parametrize("dtype", cases.TOLERANCE)
@pytest.mark.parametrize("name", cases.CASES)
def test_values_and_gradients_are_those_of_the_golden_file(name, dtype):
    with np.load(cases.GOLDEN) as golden:
        expected = {
            key.removeprefix(f"{name}/"): golden[key]
            for key in golden.files
            if key.startswith(f"{name}/")
        }
    assert_equal(cases.run_ours(name, cases.arrays(name), dtype), expected, dtype)


@pytest.mark.parametrize("change", ["permute", "transpose"])
def test_the_comparison_notices_permuted_gates_and_transposed_kernels(change):
    given = cases.arrays("same")
    wrong = dict(given)
    if change == "permute":
        blocks = np.split(given["kernel"], 4, axis=-1)
        wrong["kernel"] = np.concatenate([blocks[i] for i in (1, 0, 2, 3)], axis=-1)
    else:
        wrong["kernel"] = given["kernel"][::-1, ::-1].copy()
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        assert_equal(
            cases.run_ours("same", wrong, "float64"),
            cases.run_ours("same", given, "float64"),
            "float64",
        )


def test_weights_go_to_keras_and_come_back_unchanged(keras):
    torch.manual_seed(0)
    layer = ConvLSTM(
        cases.C,
        cases.F,
        input_kernel=(3, 2),
        state_kernel=(3, 2),
        peephole=False,
        forget_bias=1.0,
        channels_last=True,
    )
    theirs = keras.layers.ConvLSTM2D(
        cases.F, (3, 2), padding="same", return_sequences=True, return_state=True
    )
    theirs.build((None, None, 5, 6, cases.C))
    theirs.set_weights(keras_weights(layer))
    x = torch.randn(2, 3, 5, 6, cases.C)
    outputs, h, c = theirs(x)
    mine, (my_h, my_c) = layer(x)
    for one, other in ((mine, outputs), (my_h, h), (my_c, c)):
        np.testing.assert_allclose(one.detach(), other.detach(), rtol=0, atol=1e-5)
    again = ConvLSTM(cases.C, cases.F, input_kernel=(3, 2), state_kernel=(3, 2), peephole=False)
    load_keras_weights(again, theirs.get_weights())
    assert all(
        torch.equal(one, other)
        for one, other in zip(again.parameters(), layer.parameters(), strict=True)
    )


def test_the_keras_initialisation_has_its_forget_bias_and_its_spread(keras):
    torch.manual_seed(0)
    keras.utils.set_random_seed(0)
    layer = ConvLSTM(
        8,
        16,
        input_kernel=3,
        state_kernel=3,
        peephole=False,
        forget_bias=1.0,
        initialisation="keras",
    )
    theirs = keras.layers.ConvLSTM2D(16, 3)
    theirs.build((None, None, 5, 6, 8))
    mine, reference = keras_weights(layer), theirs.get_weights()
    np.testing.assert_array_equal(mine[2], reference[2])
    assert mine[2][16:32].tolist() == [1] * 16 and np.count_nonzero(mine[2]) == 16
    assert np.abs(mine[0]).max() == pytest.approx(
        np.abs(reference[0]).max(), rel=1e-3
    )  # the limit of the uniform distribution
    assert mine[0].std() == pytest.approx(reference[0].std(), rel=0.02)
    for weights in (mine[1], reference[1]):  # (3, 3, 16, 64): 144 rows of 64 orthonormal columns
        np.testing.assert_allclose(
            weights.reshape(-1, 64).T @ weights.reshape(-1, 64), np.eye(64), atol=1e-5
        )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"peephole": True}, r"has no equal of this layer, which has peepholes \(peephole=False\)"),
        ({"norm_groups": 1}, "which has a normalisation"),
        ({"bias": False, "forget_bias": 1.0}, "a constant in the forget gate"),
        (
            {"state_kernel": 1},
            r"one kernel size for input and state; this layer has \(3, 3\) and \(1, 1\)",
        ),
    ],
)
def test_what_keras_has_not_is_not_carried_over(settings, message):
    with pytest.raises(ValueError, match=message):
        keras_weights(
            ConvLSTM(2, 3, **{"input_kernel": 3, "state_kernel": 3, "peephole": False, **settings})
        )


def test_a_layer_without_input_has_no_equal_in_keras():
    with pytest.raises(ValueError, match="which has no input"):
        keras_weights(ConvLSTM(0, 3, peephole=False))


def test_weights_of_other_shapes_are_refused_and_nothing_is_changed():
    layer = ConvLSTM(2, 3, input_kernel=3, state_kernel=3, peephole=False)
    before = [weight.clone() for weight in layer.parameters()]
    weights = keras_weights(layer)
    with pytest.raises(
        ValueError, match=r"Keras weights of shapes \[\(3, 3, 2, 12\)\] came; this layer needs"
    ):
        load_keras_weights(layer, weights[:1])
    with pytest.raises(ValueError, match=r"Keras weights of shapes .*\(11,\)\] came"):
        load_keras_weights(layer, [np.zeros_like(weights[0]), weights[1], weights[2][:11]])
    assert all(
        torch.equal(one, other) for one, other in zip(before, layer.parameters(), strict=True)
    )


def test_the_matrix_in_the_documentation_is_the_one_tested_here():
    page = Path(__file__).parents[1] / "docs" / "explanation" / "convlstm.md"
    assert cases.table() in page.read_text(encoding="utf-8")
