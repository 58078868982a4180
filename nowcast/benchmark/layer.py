"""The ConvLSTM layer beside a textbook's cell and Keras: time and memory.

Axes: B batch, T time, C input channels, F hidden channels, H rows, W columns.
"""

import itertools
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nowcast.benchmark.measuring import (
    MEGABYTE,
    PHASES,
    Host,
    Report,
    check_settings,
    grid,
    measure_together,
    number,
    peak_memory,
    title,
)
from nowcast.models.convlstm import ConvLSTM
from nowcast.runtime.errors import UserError
from nowcast.runtime.precision import fastest_device

PRECISIONS = ("float32", "bfloat16")
TEXTBOOK = (
    "textbook: a loop over time that concatenates input and hidden state, convolves, splits, in "
    "torch's default layout; in bfloat16 by autocast. keras: ConvLSTM2D on its torch backend; in "
    "bfloat16 by its policy mixed_bfloat16. Training: forward, and backward to weights and input; "
    "no optimiser."
)
MEMORY = (
    "Memory is that of the tensors at the peak of a step, in 1e6 bytes, beyond weights and inputs; "
    "on a CPU the libraries' own buffers are not seen."
)
CHECKPOINT = (
    "Checkpoint N keeps only the states between blocks of N steps and computes each block once "
    "more on the way back."
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

        Raises:
            UserError: other text, a number 0, or a kernel that is even or not square.
        """
        form = r"(\d+(?:>\d+)+) (\d+)x(\d+) (\d+)x(\d+)(?: batch (\d+))?"
        found = re.fullmatch(form, str(text))
        if found:
            channels = tuple(map(int, found[1].split(">")))
            rows, columns, height, width = map(int, found.groups()[1:5])
            batch_size = int(found[6]) if found[6] else None
            numbers = (*channels, rows, columns, height, width, batch_size)
            if 0 not in numbers and rows == columns and rows % 2:
                return cls(channels, rows, height, width, batch_size)
        raise UserError(
            "expected a case of channels, an odd kernel and a size such as '64>64 5x5 16x16', got "
            f"{text!r}."
        )

    def layers(self) -> Iterator[tuple[int, int]]:
        """Input and hidden channels of each layer."""
        return itertools.pairwise(self.channels)


@dataclass(frozen=True)
class Layer:
    """One training step and one forward pass of stacks of ConvLSTM layers.

    Args:
        cases: e.g. "64>64 5x5 16x16": channels of the input and of each layer, kernel, height and
            width.
        length: T.
        batch_size: B, unless a case says otherwise.
        checkpoints: nowcast's layer once more for each of these, with ``checkpoint`` so many steps.
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
    checkpoints: list[int] = field(default_factory=list)
    seconds: float = 3.0

    def __post_init__(self):
        check_settings(self)
        if not self.cases:
            raise UserError("cases is []; expected at least one such as '64>64 5x5 16x16'.")
        for case in self.cases:
            Case.parse(case)
        if any(not isinstance(steps, int) or steps < 1 for steps in self.checkpoints):
            raise UserError(
                f"checkpoints is {self.checkpoints}; expected numbers of steps, at least 1."
            )

    def run(self, host: Host) -> Report:
        """Measure all cases in both precisions."""
        records = []
        for name in host.progress(list(self.cases)):
            for precision in PRECISIONS:
                records += self._records(name, precision)
        sentences = [TEXTBOOK, MEMORY]
        if self.checkpoints:
            sentences.append(CHECKPOINT)
        if not find_spec("keras"):
            sentences.append(NO_KERAS)
        return Report(records, [self._table(records)], sentences)

    def _records(self, name: str, precision: str) -> list[dict]:
        case, on = Case.parse(name), fastest_device()
        shape = (case.batch_size or self.batch_size, self.length, case.channels[0])
        inputs = torch.randn(
            *shape, case.height, case.width, generator=torch.Generator().manual_seed(0)
        ).to(on)
        steps = {}
        for label, module in self._implementations(case, precision, on).items():
            for phase in PHASES:
                steps[label, phase] = step_of(module, inputs, phase, precision)
        memory = {key: peak_memory(step, on) for key, step in steps.items()}
        times = measure_together(steps, on, seconds=self.seconds)
        return [
            {
                "case": name,
                "implementation": label,
                "precision": precision,
                "phase": phase,
                "milliseconds": times[label, phase],
                "peak_memory_mb": memory[label, phase] / MEGABYTE,
            }
            for label, phase in steps
        ]

    def _implementations(self, case: Case, precision: str, on: torch.device) -> dict:
        """What is measured, by name."""
        found = {"nowcast": Stack(case).to(on)}
        for steps in self.checkpoints:
            found[f"checkpoint {steps}"] = Stack(case, checkpoint=steps).to(on)
        textbook = [TextbookLayer(*sides, case.kernel) for sides in case.layers()]
        found["textbook"] = nn.Sequential(*textbook).to(on)
        if find_spec("keras"):
            found["keras"] = KerasStack(case, precision, on)
        return found

    def _table(self, records: list[dict]):
        by_case: dict[tuple[str, str], dict] = {}
        for record in records:
            found = by_case.setdefault((record["case"], record["precision"]), {})
            found[record["implementation"], record["phase"]] = record
        rows = []
        for (case, precision), found in by_case.items():
            textbook = found["textbook", "train"]["milliseconds"]
            plain = by_case[case, "float32"]["textbook", "train"]["milliseconds"]
            for label in dict.fromkeys(label for label, _ in found):
                training, forward = (found[label, phase] for phase in PHASES)
                milliseconds = training["milliseconds"]
                row = [f"{case} {precision}", label] if label == "nowcast" else ["", label]
                row += [number(milliseconds, "{:,.1f}"), number(forward["milliseconds"], "{:,.1f}")]
                row += [number(training["peak_memory_mb"], "{:,.0f}")]
                rows.append([*row, f"{textbook / milliseconds:.2f}", f"{plain / milliseconds:.2f}"])
        heading = title(
            f"ConvLSTM, T {self.length}, batch {self.batch_size}",
            "memory of training; how many times faster than the textbook's cell it trains, in "
            "the same precision (x), in float32 (x32)",
        )
        return grid(heading, ["case", "by", "train\n[ms]", "forward", "MB", "x", "x32"], rows)


class Stack(nn.Module):
    """nowcast's layers, one after the other: (B, T, C, H, W) -> (B, T, F, H, W)."""

    def __init__(self, case: Case, *, checkpoint: int = 0):
        super().__init__()
        self.layers = nn.ModuleList()
        for channels, hidden in case.layers():
            layer = ConvLSTM(
                channels, hidden, input_kernel=case.kernel, state_kernel=case.kernel, peephole=False
            )
            layer.checkpoint = checkpoint
            self.layers.append(layer)

    def forward(self, inputs: Tensor) -> Tensor:
        """Hidden states of the last layer."""
        for layer in self.layers:
            inputs, _ = layer(inputs)
        return inputs


class TextbookLayer(nn.Module):
    """A ConvLSTM as most repositories write it: (B, T, C, H, W) -> (B, T, F, H, W)."""

    def __init__(self, input_channels: int, hidden_channels: int, kernel: int):
        super().__init__()
        self.hidden_channels = hidden_channels
        self.conv = nn.Conv2d(
            input_channels + hidden_channels, 4 * hidden_channels, kernel, padding=kernel // 2
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Hidden states of all steps."""
        h = c = inputs.new_zeros(inputs.shape[0], self.hidden_channels, *inputs.shape[-2:])
        outputs = []
        for step in range(inputs.shape[1]):
            gates = self.conv(torch.cat([inputs[:, step], h], dim=1))
            i, f, g, o = gates.split(self.hidden_channels, dim=1)
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
        self.layers = []
        with keras.device("gpu" if device.type == "cuda" else "cpu"):
            for channels, hidden in case.layers():
                layer = keras.layers.ConvLSTM2D(
                    hidden, case.kernel, padding="same", return_sequences=True, dtype=policy
                )
                layer.build((None, None, case.height, case.width, channels))
                self.layers.append(layer)

    def parameters(self) -> list:
        """The weights, as torch's parameters."""
        return [weight.value for layer in self.layers for weight in layer.trainable_weights]

    def __call__(self, inputs: Tensor) -> Tensor:
        """Hidden states of the last layer, (B, T, H, W, F) of (B, T, H, W, C)."""
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
        # in the type and layout of the outputs, as a next layer gives it
        gradient = torch.randn_like(module(inputs))

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
