"""ConvLSTM beside Keras' ConvLSTM2D: the cases, both sides of the comparison, the golden file and
the table of docs/explanation/convlstm.md.

python -m tests.keras_cases     writes tests/golden/keras_convlstm2d.npz with Keras on its PyTorch backend, prints the table
"""

import os
from pathlib import Path

import numpy as np
import torch

from nowcast.models.convlstm.cell import DropoutMasks
from nowcast.models.convlstm.keras_weights import load_keras_weights
from nowcast.models.convlstm.layer import ConvLSTM

GOLDEN = Path(__file__).parent / "golden" / "keras_convlstm2d.npz"
B, T, H, W, C, F = 2, 4, 6, 5, 2, 3  # all different where it matters
TOLERANCE = {"float64": 1e-10, "float32": 1e-5}
KERNEL = (3, 2)

# name -> (Keras' settings, what the call gets, how the documentation names it). Inputs, weights, states,
# masks are random.
CASES = {
    "defaults": ({}, (), "padding valid (the default)"),
    "same": ({"padding": "same"}, (), "padding same"),
    "stride": ({"strides": 2}, (), "strides 2, valid"),
    "stride_same": ({"strides": (2, 3), "padding": "same"}, (), "strides (2, 3), same"),
    "dilation": ({"dilation_rate": 2}, (), "dilation 2, valid"),
    "dilation_same": ({"dilation_rate": (2, 3), "padding": "same"}, (), "dilation (2, 3), same"),
    "even_kernel": ({"kernel_size": (4, 2), "padding": "same"}, (), "even kernel 4x2, same"),
    "even_kernel_valid": (
        {"kernel_size": (2, 4), "strides": (1, 2)},
        (),
        "even kernel 2x4, valid, strides (1, 2)",
    ),
    "kernel_1": ({"kernel_size": 1}, (), "kernel 1x1"),
    "activation": ({"activation": "relu"}, (), "activation relu"),
    "activation_linear": ({"activation": "linear"}, (), "activation linear"),
    "recurrent_activation": ({"recurrent_activation": "tanh"}, (), "recurrent activation tanh"),
    "hard_sigmoid": (
        {"recurrent_activation": "hard_sigmoid"},
        (),
        "recurrent activation hard_sigmoid",
    ),
    "no_bias": ({"use_bias": False}, (), "no bias"),
    "last_output": ({"return_sequences": False}, (), "return_sequences=False (`outputs[:, -1]`)"),
    "initial_state": ({}, ("state",), "initial_state"),
    "go_backwards": ({"go_backwards": True}, (), "go_backwards"),
    "stateful": ({"stateful": True}, ("calls",), "stateful over two calls"),
    "stateful_backwards": (
        {"stateful": True, "go_backwards": True, "padding": "same"},
        ("calls",),
        "stateful, go_backwards, same",
    ),
    "mask": ({}, ("mask",), "mask (a first and a middle step masked)"),
    "mask_state_backwards": (
        {"go_backwards": True},
        ("mask", "state"),
        "mask, initial_state, go_backwards",
    ),
    "channels_first": (
        {"data_format": "channels_first"},
        ("state",),
        "channels first, initial_state",
    ),
    "channels_first_same": (
        {"data_format": "channels_first", "padding": "same", "strides": 2},
        ("mask",),
        "channels first, same, strides 2, mask",
    ),
    "dropout": (
        {"dropout": 0.3},
        ("training",),
        "dropout, training (the same four masks given to both)",
    ),
    "recurrent_dropout": (
        {"recurrent_dropout": 0.4, "padding": "same"},
        ("training",),
        "recurrent_dropout, training (the same four masks)",
    ),
    "both_dropouts": (
        {"dropout": 0.3, "recurrent_dropout": 0.4, "strides": 2},
        ("training", "mask"),
        "both dropouts, strides 2, mask, training",
    ),
    "dropout_evaluation": (
        {"dropout": 0.3, "recurrent_dropout": 0.4},
        (),
        "both dropouts, evaluation",
    ),
}


def full(settings: dict) -> dict:
    """Keras' settings with its defaults, those of this module among them."""
    return {
        "kernel_size": KERNEL, "strides": 1, "padding": "valid", "data_format": "channels_last", "dilation_rate": 1, "activation": "tanh",
        "recurrent_activation": "sigmoid", "use_bias": True, "dropout": 0.0, "recurrent_dropout": 0.0, "return_sequences": True,
        "go_backwards": False, "stateful": False, **settings,
    }  # fmt: skip


def ours(settings: dict) -> ConvLSTM:
    """Our layer with Keras' settings."""
    s = full(settings)
    return ConvLSTM(
        C, F, input_kernel=s["kernel_size"], state_kernel=s["kernel_size"], stride=s["strides"], padding=s["padding"], dilation=s["dilation_rate"],
        activation=s["activation"], gate_activation=s["recurrent_activation"], bias=s["use_bias"], forget_bias=float(s["use_bias"]), peephole=False,
        dropout=s["dropout"], state_dropout=s["recurrent_dropout"], go_backwards=s["go_backwards"], stateful=s["stateful"],
        channels_last=s["data_format"] == "channels_last",
    )  # fmt: skip


def arrays(name: str) -> dict[str, np.ndarray]:
    """Random inputs of a case, float64."""
    settings, given, _ = CASES[name]
    s = full(settings)
    generator = np.random.RandomState(
        list(CASES).index(name)
    )  # numpy promises never to change its numbers: the golden file rests on them
    kernel = (s["kernel_size"],) * 2 if isinstance(s["kernel_size"], int) else s["kernel_size"]
    size = ours(settings).cell.state_size(H, W)
    first = s["data_format"] == "channels_first"

    def normal(*shape, scale=1.0):
        return generator.normal(scale=scale, size=shape)

    state = (B, F, *size) if first else (B, *size, F)
    steps = (1,) if not s["return_sequences"] else (T,)
    found = {
        "x": normal(B, T, C, H, W) if first else normal(B, T, H, W, C),
        "kernel": normal(*kernel, C, 4 * F, scale=0.5),
        "recurrent": normal(*kernel, F, 4 * F, scale=0.5),
        "weight_outputs": normal(B, *steps, *state[1:]),
        "weight_h": normal(*state),
        "weight_c": normal(*state),
    }
    if s["use_bias"]:
        found["bias"] = normal(4 * F)
    if "state" in given:
        found |= {"h": normal(*state, scale=0.5), "c": normal(*state)}
    if "mask" in given:
        found["mask"] = np.array([[False, True, False, True], [True, True, False, False]])
    if "training" in given:
        inside = {"dropout": (C, H, W), "recurrent_dropout": (F, *size)}
        for kind, shape in inside.items():
            if s[kind]:
                kept = generator.random_sample((4, B, *shape)) >= s[kind]
                found[kind] = kept / (1 - s[kind])  # always channels first here
    return found


def _tensors(found: dict, dtype: str) -> dict[str, torch.Tensor]:
    return {
        key: torch.from_numpy(value).to(torch.bool if key == "mask" else getattr(torch, dtype))
        for key, value in found.items()
    }


def _results(outputs, h, c, variables: dict, t: dict) -> dict[str, np.ndarray]:
    """Values, and gradients of one random weighting of all of them."""
    loss = (
        (outputs * t["weight_outputs"]).sum()
        + (h * t["weight_h"]).sum()
        + (c * t["weight_c"]).sum()
    )
    gradients = torch.autograd.grad(loss, list(variables.values()))
    values = {"outputs": outputs, "h": h, "c": c} | {
        f"d_{key}": gradient for key, gradient in zip(variables, gradients, strict=True)
    }
    return {key: value.detach().numpy() for key, value in values.items()}


def run_ours(name: str, found: dict, dtype: str) -> dict[str, np.ndarray]:
    """Outputs, final state and gradients of our layer, gradients of the weights in Keras' layout."""
    settings, given, _ = CASES[name]
    t = _tensors(found, dtype)
    layer = ours(settings).to(getattr(torch, dtype))
    load_keras_weights(
        layer, [found[key] for key in ("kernel", "recurrent", "bias") if key in found]
    )
    if "training" in given:
        masks = [
            t[kind].transpose(0, 1).flatten(1, 2) if kind in t else None
            for kind in ("dropout", "recurrent_dropout")
        ]
        layer.cell.dropout_masks = lambda inputs, state: DropoutMasks(*masks)
    else:
        layer.eval()
    x = t["x"].requires_grad_()
    state = tuple(t[key].requires_grad_() for key in "hc") if "state" in given else None
    calls = [x[:, : T // 2], x[:, T // 2 :]] if "calls" in given else [x]
    parts = []
    for call in calls:
        outputs, (h, c) = layer(call, state, mask=t.get("mask"))
        parts.append(outputs)
    outputs = torch.cat(parts, dim=1)
    if not full(settings)["return_sequences"]:
        outputs = outputs[:, -1:]
    cell = layer.cell
    variables = {"x": x, "kernel": cell.input_weight, "recurrent": cell.state_weight}
    variables |= {"bias": cell.bias} if cell.bias is not None else {}
    variables |= {"h": state[0], "c": state[1]} if state else {}
    results = _results(outputs, h, c, variables, t)
    return results | {
        f"d_{key}": results[f"d_{key}"].transpose(2, 3, 1, 0) for key in ("kernel", "recurrent")
    }


def keras_module():
    """Keras on its PyTorch backend; ImportError where it is not installed."""
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    assert keras.backend.backend() == "torch"
    return keras


def run_keras(name: str, found: dict, dtype: str) -> dict[str, np.ndarray]:
    """The same from Keras."""
    settings, given, _ = CASES[name]
    s, t = full(settings), _tensors(found, dtype)
    layer = keras_module().layers.ConvLSTM2D(F, **s, return_state=True, dtype=dtype)
    layer.build((B, *t["x"].shape[1:]))
    layer.set_weights([found[key] for key in ("kernel", "recurrent", "bias") if key in found])
    if "training" in given:
        masks = {
            s[kind]: [
                mask if s["data_format"] == "channels_first" else mask.movedim(1, -1)
                for mask in t[kind]
            ]
            for kind in ("dropout", "recurrent_dropout")
            if kind in t
        }
        layer.cell._create_dropout_mask = lambda step_input, rate: masks[rate]
    x = t["x"].requires_grad_()
    state = [t[key].requires_grad_() for key in "hc"] if "state" in given else None
    calls = [x[:, : T // 2], x[:, T // 2 :]] if "calls" in given else [x]
    parts = []
    for call in calls:
        outputs, h, c = layer(
            call, initial_state=state, mask=t.get("mask"), training="training" in given
        )
        parts.append(outputs)
    outputs = torch.cat(parts, dim=1) if s["return_sequences"] else parts[-1].unsqueeze(1)
    weights = [weight.value for weight in layer.trainable_weights]
    variables = {"x": x} | dict(
        zip([key for key in ("kernel", "recurrent", "bias") if key in found], weights, strict=True)
    )
    variables |= {"h": state[0], "c": state[1]} if state else {}
    return _results(outputs, h, c, variables, t)


def table() -> str:
    """The parity matrix as it stands in docs/explanation/convlstm.md."""
    bounds = " | ".join(f"<= {TOLERANCE[dtype]:g}" for dtype in TOLERANCE)
    rows = [f"| {text} | {bounds} | yes |" for _, _, text in CASES.values()]
    return "\n".join(
        [
            "| option of Keras' ConvLSTM2D | float64 | float32 | golden file |",
            "|---|---|---|---|",
            *rows,
        ]
    )


if __name__ == "__main__":
    stored = {}
    for case in CASES:
        stored |= {
            f"{case}/{key}": value
            for key, value in run_keras(case, arrays(case), "float64").items()
        }
    GOLDEN.parent.mkdir(exist_ok=True)
    np.savez_compressed(GOLDEN, **stored)
    print(
        f"{GOLDEN}: {len(CASES)} cases, {GOLDEN.stat().st_size / 1e3:.0f} kB, Keras "
        f"{keras_module().__version__}\n\n{table()}"
    )
