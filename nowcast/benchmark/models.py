"""What models cost on this machine: parameters, multiply-adds, memory and time.

Axes: B batch, T time, C channels, H rows, W columns.
"""

import gc
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from nowcast.benchmark.measuring import (
    MEGABYTE,
    PHASES,
    RECORDED,
    Host,
    Report,
    check_settings,
    forecasting_step,
    grid,
    measure,
    number,
    peak_memory,
    random_batch,
    short,
    title,
    training_step,
)
from nowcast.runtime.build import build_part
from nowcast.runtime.errors import UserError, first_line
from nowcast.runtime.precision import check_precision, fastest_device, precision_of

NOT_COUNTED = (
    "Multiply-adds are those of convolutions, matrix products and LSTM layers in one forecast of "
    "one sequence; element-wise work, normalisation, pooling and bilinear warps are not counted."
)
MEMORY = (
    "Memory is that of the tensors of a training step of one batch (activations, gradients) at "
    "its peak, in 1e6 bytes; weights, the state of Adam and the batch itself come on top, and on "
    "a CPU the libraries' own buffers, too."
)


@dataclass(frozen=True)
class Models:
    """One training step and one forecast of every model.

    Args:
        models: names in conf/model; None for all of them.
        size: side of the square frames [pixels].
        context_length, forecast_length: frames in and out.
        batch_size: sequences at once.
        precision: "float32" or "bf16-mixed"; "auto": bf16-mixed where the hardware is fast at it,
            as nowcast itself does.
        seconds: of every timing; there are at least three repeats.
    """

    models: list[str] | None = None
    size: int = 64
    context_length: int = 10
    forecast_length: int = 10
    batch_size: int = 4
    precision: str = "auto"
    seconds: float = 3.0

    def __post_init__(self):
        check_settings(self)
        check_precision(self.precision)

    def run(self, host: Host) -> Report:
        """Measure them; one that fails, or needs more memory than there is, does not keep the
        others from it.

        Raises:
            UserError: a model that is not there, or none that could be measured.
        """
        known = host.choices("model")
        names = known if self.models is None else list(dict.fromkeys(self.models))
        if not names or set(names) - set(known):
            raise UserError(
                f"models is {self.models!r}; expected a list of these: {', '.join(known)}."
            )
        lengths = [
            f"task.context_length={self.context_length}",
            f"task.forecast_length={self.forecast_length}",
            f"data.size={self.size}",
        ]
        on, records, failed = fastest_device(), [], {}
        for name in host.progress(names):
            try:
                settings = host.settings_of([f"model={name}", *lengths])
                # one by one, so that the forecast stays where the training fails
                for record in self._records_of(name, settings, on):
                    records.append(record)
            except Exception as error:  # whatever a model refuses, or torch for want of memory
                failed[name] = first_line(error)
            gc.collect()
            torch.cuda.empty_cache()
        if not records:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
            raise UserError(f"none of the models could be measured: {reasons}")
        table = self._table(names, records, on)
        facts = {"models": names, "device": on.type}
        return Report(records, [table], [NOT_COUNTED, MEMORY], failed, facts)

    def _records_of(self, name: str, settings: dict, device: torch.device) -> Iterator[dict]:
        model, loss = build_part(settings, "model"), build_part(settings, "loss")
        sizes = self.context_length, self.forecast_length, self.size
        one = random_batch(1, *sizes, torch.device("cpu"))
        facts = {
            "parameters": parameters(model),
            "multiply_adds": multiply_adds(
                model, one.context, self.forecast_length, one.context_observed
            ),
        }
        model, batch = model.to(device), random_batch(self.batch_size, *sizes, device)
        precision = precision_of(self.precision, device.type)
        for phase in reversed(PHASES):  # what has too little memory to train may still forecast
            if phase == "train":
                step = training_step(model, loss, batch, precision=precision)
            else:
                step = forecasting_step(model, batch, precision=precision)
            step()  # Adam makes its state
            memory = peak_memory(step, device)
            milliseconds = measure(step, device, seconds=self.seconds)
            yield {
                "case": name,
                "implementation": "nowcast",
                "precision": RECORDED[precision],
                "phase": phase,
                "milliseconds": milliseconds,
                "peak_memory_mb": memory / MEGABYTE,
                **facts,
                "sequences_per_second": 1000 * self.batch_size / milliseconds,
            }

    def _table(self, names: list[str], records: list[dict], device: torch.device):
        found = {(record["case"], record["phase"]): record for record in records}
        sizes = (
            f"{self.context_length} → {self.forecast_length} frames of "
            f"{self.size}x{self.size}, batch {self.batch_size}"
        )
        rows = []
        for name in names:
            training, forecasting = (found.get((name, phase), {}) for phase in PHASES)
            either = training or forecasting
            rows.append(
                [
                    name,
                    number(either.get("parameters"), "{:,}"),
                    short(either.get("multiply_adds")),
                    number(training.get("peak_memory_mb"), "{:,.0f}"),
                    number(training.get("sequences_per_second"), "{:.3g}"),
                    number(forecasting.get("sequences_per_second"), "{:.3g}"),
                ]
            )
        headings = ["model", "parameters", "multiply-\nadds", "memory\n[MB]"]
        headings += ["training\n[seq/s]", "forecast\n[seq/s]"]
        return grid(title(sizes, f"in {precision_of(self.precision, device.type)}"), headings, rows)


def parameters(model: nn.Module) -> int:
    """Number of trained weights."""
    return sum(weight.numel() for weight in model.parameters())


def multiply_adds(model: nn.Module, *inputs) -> int:
    """Multiply-adds of convolutions, matrix products and LSTM layers in one forward pass on the
    CPU; nothing else is counted.
    """
    counter = FlopCounterMode(
        display=False, custom_mapping={torch.ops.aten.mkldnn_rnn_layer: _lstm_operations}
    )
    with torch.inference_mode(), counter:
        model.eval()(*inputs)
    return counter.get_total_flops() // 2


def _lstm_operations(inputs: tuple, input_weight: tuple, state_weight: tuple, *_, **__) -> int:
    """Operations of what ``nn.LSTM`` becomes on the CPU, one layer and direction, from the shapes
    (T, B, C), (4F, C) and (4F, F).
    """
    return 2 * math.prod(inputs[:-1]) * (math.prod(input_weight) + math.prod(state_weight))
