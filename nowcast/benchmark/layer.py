"""The ConvLSTM layer against its convolutions alone, a textbook's cell, and Keras.

Axes: B batch, T time, C input channels, F hidden channels, H rows, W columns.
"""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nowcast.benchmark.measuring import (
    MEGABYTE,
    PHASES,
    Host,
    Report,
    check_settings,
    device,
    grid,
    measure_together,
    number,
    peak_memory,
    title,
)
from nowcast.models.convlstm import ConvLSTM
from nowcast.models.convlstm.packed import Settings, convolution_backward
from nowcast.runtime.errors import UserError

PRECISIONS = ("float32", "bfloat16")
CONVOLUTIONS = ("forward", "input gradient", "weight gradient")
SHARE = (
    "Share of the limit: the time of the same convolutions alone (forward, gradients of input "
    "and weight, each measured by itself, in the layout that "
    "is fastest for it, all time steps at once, none for the first hidden state of zeros) "
    "divided by the time of the layer."
)
TEXTBOOK = (
    "textbook: a loop over time that concatenates input and hidden state, convolves, splits, in "
    "torch's default layout; in bfloat16 by autocast. keras: "
    "ConvLSTM2D on its torch backend; in bfloat16 by its policy mixed_bfloat16. Training: "
    "forward, and backward to weights and input; no optimiser."
)
NO_KERAS = "Keras is not installed, so its rows are left out: pip install keras"


class Case(NamedTuple):
    """A stack of layers: channels from the input on, e.g. (64, 64) for one layer, side of the
    kernels, size of the maps, sequences (None: as for all).
    """

    channels: tuple[int, ...]
    kernel: int
    height: int
    width: int
    batch_size: int | None = None

    @classmethod
    def parse(cls, text: str) -> "Case":
        """From "16>128>64>64 5x5 16x16", or with its own number of sequences "128>128 3x3 64x64
        batch 4".
        """
        found = (
            re.fullmatch(r"(\d+(?:>\d+)+) (\d+)x(\d+) (\d+)x(\d+)(?: batch (\d+))?", text)
            if isinstance(text, str)
            else None
        )
        sides = [int(side) for side in found.groups()[1:5]] if found else [0]
        batch_size = int(found[6]) if found and found[6] else None
        channels = tuple(map(int, found[1].split(">"))) if found else (0,)
        if 0 in (*sides, *channels, batch_size) or sides[0] != sides[1] or not sides[0] % 2:
            raise UserError(
                f"a case {text!r} came; channels, an odd kernel and a size such as '64>64 5x5 "
                "16x16' are needed."
            )
        return cls(channels, sides[0], *sides[2:], batch_size)


@dataclass(frozen=True)
class Layer:
    """One training step and one forward pass of stacks of ConvLSTM layers.

    Args:
        cases: e.g. "64>64 5x5 16x16": channels of the input and of each layer, kernel, height and
            width.
        length: T.
        batch_size: B, unless a case says otherwise.
        seconds: of every timing; there are at least three repeats.
    """

    cases: list[str] = field(
        default_factory=lambda: [
            "64>64 5x5 16x16",
            "128>128 3x3 64x64 batch 4",
            "16>128>64>64 5x5 16x16",
        ]
    )
    length: int = 10
    batch_size: int = 16
    seconds: float = 3.0

    def __post_init__(self):
        check_settings(self)
        if not self.cases:
            raise UserError("cases is []; at least one such as '64>64 5x5 16x16' is needed.")
        for case in self.cases:
            Case.parse(case)

    def run(self, host: Host) -> Report:
        """Measure all cases in both precisions."""
        records = [
            record
            for name in host.progress(list(self.cases))
            for precision in PRECISIONS
            for record in self._records(name, precision)
        ]
        sentences = [SHARE, TEXTBOOK, *([] if find_spec("keras") else [NO_KERAS])]
        return Report(records, [self._table(records), self._limits(records)], sentences)

    def _records(self, name: str, precision: str) -> Iterator[dict]:
        case, on, dtype = Case.parse(name), device(), getattr(torch, precision)
        batch_size = case.batch_size or self.batch_size
        inputs = torch.randn(
            batch_size,
            self.length,
            case.channels[0],
            case.height,
            case.width,
            generator=torch.Generator().manual_seed(0),
        ).to(on)
        made = {
            "nowcast": Stack(case),
            "textbook": nn.Sequential(
                *(TextbookLayer(*sides, case.kernel) for sides in pairs(case))
            ),
        }
        made = {label: module.to(on) for label, module in made.items()}
        if find_spec("keras"):
            made["keras"] = KerasStack(case, precision, on)
        parts = limit_steps(case, self.length, batch_size, dtype, on)
        steps = {
            (label, phase): step_of(module, inputs, phase, precision)
            for label, module in made.items()
            for phase in PHASES
        }
        memory = {key: peak_memory(step, on) for key, step in steps.items()}
        times = measure_together({**steps, **parts}, on, seconds=self.seconds)
        limit = {
            operation: sum(
                min(times[key] for key in parts if key[:2] == (operation, place))
                for place in {key[1] for key in parts}
            )
            for operation in CONVOLUTIONS
        }
        for phase in PHASES:
            alone = sum(limit.values()) if phase == "train" else limit["forward"]
            found = {label: (times[label, phase], memory[label, phase]) for label in made} | {
                "convolutions": (alone, None)
            }
            for label, (milliseconds, peak) in found.items():
                record = {
                    "case": name,
                    "implementation": label,
                    "precision": precision,
                    "phase": phase,
                    "milliseconds": milliseconds,
                }
                record |= {
                    "share_of_limit": alone / milliseconds,
                    "peak_memory_mb": None if peak is None else peak / MEGABYTE,
                }
                if label == "convolutions":
                    operations = 2 * multiply_adds(case, self.length, batch_size)
                    parted = limit if phase == "train" else {"forward": alone}
                    record |= {
                        f"{operation.replace(' ', '_')}_milliseconds": value
                        for operation, value in parted.items()
                    }
                    record |= {
                        f"{operation.replace(' ', '_')}_gflops": operations / value / 1e6
                        for operation, value in parted.items()
                    }
                yield record

    def _table(self, records: list[dict]):
        found = {
            (record["case"], record["implementation"], record["precision"], record["phase"]): record
            for record in records
        }
        rows = []
        for case in self.cases:
            for precision in PRECISIONS:
                for label in ("nowcast", "textbook", "keras"):
                    if (case, label, precision, "train") not in found:
                        continue
                    train, forward = (found[case, label, precision, phase] for phase in PHASES)
                    same, plain = (
                        found[case, "textbook", kind, "train"]["milliseconds"]
                        / train["milliseconds"]
                        for kind in (precision, "float32")
                    )
                    rows.append(
                        [
                            f"{case} {precision}" if label == "nowcast" else "",
                            label,
                            number(train["milliseconds"], "{:,.1f}"),
                            f"{train['share_of_limit']:.0%}",
                            number(forward["milliseconds"], "{:,.1f}"),
                            f"{forward['share_of_limit']:.0%}",
                            number(train["peak_memory_mb"], "{:,.0f}"),
                            f"{same:.2f}",
                            f"{plain:.2f}",
                        ]
                    )
        headings = ["case", "by", "train\n[ms]", "share", "forw.\n[ms]", "share", "MB", "x", "x32"]
        return grid(
            title(
                f"ConvLSTM, T {self.length}, batch {self.batch_size}",
                "share of the limit; memory of training; training against the textbook's in the "
                "same precision (x), in float32 (x32)",
            ),
            headings,
            rows,
        )

    def _limits(self, records: list[dict]):
        rows = []
        for record in records:
            if record["implementation"] == "convolutions" and record["phase"] == "train":
                keys = [operation.replace(" ", "_") for operation in CONVOLUTIONS]
                rows.append(
                    [
                        f"{record['case']} {record['precision']}",
                        *(f"{record[f'{key}_milliseconds']:,.1f}" for key in keys),
                        *(f"{record[f'{key}_gflops']:,.0f}" for key in keys),
                    ]
                )
        headings = ["limit", "forward\n[ms]", "input\ngrad.", "weight\ngrad.", "GFLOP/s", "", ""]
        return grid("The same convolutions alone", headings, rows)


def pairs(case: Case) -> Iterator[tuple[int, int]]:
    """Input and hidden channels of each layer."""
    return zip(case.channels, case.channels[1:])  # noqa: B905


def multiply_adds(case: Case, length: int, batch_size: int) -> int:
    """Of the convolutions of a forward pass from a state of zeros."""
    return (
        batch_size
        * case.height
        * case.width
        * case.kernel**2
        * sum(4 * f * (length * c + (length - 1) * f) for c, f in pairs(case))
    )


class Stack(nn.Module):
    """nowcast's layers, one after the other."""

    def __init__(self, case: Case):
        super().__init__()
        self.layers = nn.ModuleList(
            ConvLSTM(c, f, input_kernel=case.kernel, state_kernel=case.kernel, peephole=False)
            for c, f in pairs(case)
        )

    def forward(self, inputs: Tensor) -> Tensor:
        for layer in self.layers:
            inputs, _ = layer(inputs)
        return inputs


class TextbookLayer(nn.Module):
    """A ConvLSTM as textbooks and most repositories write it: (B, T, C, H, W) -> (B, T, F, H, W)."""

    def __init__(self, input_channels: int, hidden_channels: int, kernel: int):
        super().__init__()
        self.hidden_channels = hidden_channels
        self.conv = nn.Conv2d(
            input_channels + hidden_channels, 4 * hidden_channels, kernel, padding=kernel // 2
        )

    def forward(self, inputs: Tensor) -> Tensor:
        h = c = inputs.new_zeros(inputs.shape[0], self.hidden_channels, *inputs.shape[-2:])
        outputs = []
        for step in range(inputs.shape[1]):
            i, f, g, o = self.conv(torch.cat([inputs[:, step], h], dim=1)).split(
                self.hidden_channels, dim=1
            )
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            outputs.append(h)
        return torch.stack(outputs, dim=1)


class KerasStack:
    """Keras' layers on its torch backend; they take channels last, as Keras does by default."""

    def __init__(self, case: Case, precision: str, device: torch.device):
        os.environ.setdefault("KERAS_BACKEND", "torch")
        import keras

        if keras.backend.backend() != "torch":
            raise UserError(
                f"KERAS_BACKEND is {keras.backend.backend()}; set it to torch to measure Keras "
                "beside nowcast."
            )
        policy = "mixed_bfloat16" if precision == "bfloat16" else "float32"
        with keras.device("gpu" if device.type == "cuda" else "cpu"):
            self.layers = [
                keras.layers.ConvLSTM2D(
                    f, case.kernel, padding="same", return_sequences=True, dtype=policy
                )
                for f in case.channels[1:]
            ]
            for channels, layer in zip(case.channels, self.layers, strict=False):
                layer.build((None, None, case.height, case.width, channels))

    def parameters(self):
        return [weight.value for layer in self.layers for weight in layer.trainable_weights]

    def __call__(self, inputs: Tensor) -> Tensor:
        for layer in self.layers:
            inputs = layer(inputs)
        return inputs


def step_of(module, inputs: Tensor, phase: str, precision: str) -> Callable[[], object]:
    """One forward pass, or one with its way back, as one call; it leaves no gradients behind."""
    keras = isinstance(module, KerasStack)
    inputs = inputs.permute(0, 1, 3, 4, 2).contiguous() if keras else inputs
    autocast = torch.autocast(
        inputs.device.type, torch.bfloat16, enabled=precision == "bfloat16" and not keras
    )
    with torch.no_grad(), autocast:
        gradient = torch.randn_like(
            module(inputs)
        )  # in the type and layout of the outputs, as a next layer gives it

    def forward() -> None:
        with torch.no_grad(), autocast:
            module(inputs)

    def train() -> None:
        leaf = inputs.detach().requires_grad_()
        with autocast:
            outputs = module(leaf)
        outputs.backward(gradient)
        for weight in module.parameters():
            weight.grad = None

    return train if phase == "train" else forward


def limit_steps(
    case: Case, length: int, batch_size: int, dtype: torch.dtype, device: torch.device
) -> dict[tuple[str, str, str], Callable[[], object]]:
    """The convolutions alone: (operation, which of them, layout) -> step."""
    steps = {}
    for index, (inputs, hidden) in enumerate(pairs(case)):
        for which, channels, count in (("input", inputs, length), ("state", hidden, length - 1)):
            if not count:
                continue
            for layout, memory_format in (
                ("channels last", torch.channels_last),
                ("contiguous", torch.contiguous_format),
            ):
                shapes = (
                    (count * batch_size, channels, case.height, case.width),
                    (4 * hidden, channels, case.kernel, case.kernel),
                    (count * batch_size, 4 * hidden, case.height, case.width),
                )
                maps, weight, gradient = (
                    torch.randn(shape, device=device).to(dtype, memory_format=memory_format)
                    for shape in shapes
                )
                settings = Settings(padding=(case.kernel // 2, case.kernel // 2))

                def forward(maps=maps, weight=weight, settings=settings):
                    with torch.no_grad():
                        F.conv2d(maps, weight, padding=settings.padding)

                def backward(
                    wanted, maps=maps, weight=weight, gradient=gradient, settings=settings
                ):
                    with torch.no_grad():
                        convolution_backward(gradient, maps, weight, settings, wanted)

                place = f"{which} {index}"
                steps["forward", place, layout] = forward
                steps["input gradient", place, layout] = lambda backward=backward: backward(
                    (True, False)
                )
                steps["weight gradient", place, layout] = lambda backward=backward: backward(
                    (False, True)
                )
    return steps
