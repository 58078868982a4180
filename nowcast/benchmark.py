"""What models cost on this machine: parameters, multiply-adds, memory and time.

Axes: B batch, T time, C channels, H rows, W columns.
"""

import gc
import itertools
import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import nowcast
from nowcast.build import part
from nowcast.errors import UserError, first_line
from nowcast.files import replacing
from nowcast.training import PRECISIONS, precision_of, training_loss

PHASES = ("train", "forward")
REPEATS = 3  # at least, of every timing
MEGABYTE = 1e6
NOT_COUNTED = (
    "Multiply-adds are those of convolutions, matrix products and LSTM layers in one forecast of one sequence; element-wise work, "
    "normalisation, pooling and bilinear warps are not counted."
)
MEMORY = (
    "Memory is that of the tensors of a training step of one batch (activations, gradients) at its peak, in 1e6 bytes; weights, the state of "
    "Adam and the batch itself come on top, and on a CPU the libraries' own buffers, too."
)


@dataclass(frozen=True)
class Load:
    """What is measured.

    Args:
        size: side of the square frames [pixels].
        context_length, forecast_length: frames in and out.
        batch_size: sequences at once.
        precision: "float32" or "bf16-mixed"; "auto": as nowcast itself does it, training as in ``Training`` and forecasts in float32.
        seconds: of every timing; there are at least three repeats.
    """

    size: int = 64
    context_length: int = 10
    forecast_length: int = 10
    batch_size: int = 4
    precision: str = "auto"
    seconds: float = 3.0

    def __post_init__(self):
        for name in ("size", "context_length", "forecast_length", "batch_size"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise UserError(f"{name} is {value!r}; a whole number, at least 1, is needed.")
        if self.precision not in ("auto", *PRECISIONS):
            raise UserError(f"precision is {self.precision!r}; accepted are auto, {', '.join(PRECISIONS)}.")
        if not isinstance(self.seconds, (int, float)) or isinstance(self.seconds, bool) or not 0 <= self.seconds < math.inf:
            raise UserError(f"seconds is {self.seconds!r}; a number, 0 or more, is needed.")

    def precision_in(self, phase: str, device: torch.device) -> str:
        """The precision of "train" or "forward" on a device."""
        return "float32" if self.precision == "auto" and phase == "forward" else precision_of(self.precision, device.type)


def machine() -> dict:
    """What the measurements were made on; memory in GB (1e9 bytes), GPU None where there is none."""
    gpu = torch.cuda.get_device_properties(0) if torch.cuda.is_available() else None
    return {
        "cpu": _cpu_name(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1) if hasattr(os, "sysconf") else None,
        "gpu": gpu and gpu.name,
        "gpu_memory_gb": gpu and round(gpu.total_memory / 1e9, 1),
        "system": platform.platform(),
    }


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu_name() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def versions() -> dict:
    """Versions of what takes part; cuda and cudnn are None where no GPU is used."""
    gpu = torch.cuda.is_available()
    return {
        "python": platform.python_version(),
        "nowcast": nowcast.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "cuda": torch.version.cuda if gpu else None,
        "cudnn": torch.backends.cudnn.version() if gpu else None,
    }


def parameters(model: nn.Module) -> int:
    """Number of trained weights."""
    return sum(weight.numel() for weight in model.parameters())


def multiply_adds(model: nn.Module, *inputs) -> int:
    """Multiply-adds of convolutions, matrix products and LSTM layers in one forward pass on the CPU; nothing else is counted."""
    counter = FlopCounterMode(display=False, custom_mapping={torch.ops.aten.mkldnn_rnn_layer: _lstm_operations})
    with torch.inference_mode(), counter:
        model.eval()(*inputs)
    return counter.get_total_flops() // 2


def _lstm_operations(inputs: tuple, input_weight: tuple, state_weight: tuple, *_, **__) -> int:
    """Operations of what ``nn.LSTM`` becomes on the CPU, one layer and direction, from the shapes (T, B, C), (4F, C) and (4F, F)."""
    return 2 * math.prod(inputs[:-1]) * (math.prod(input_weight) + math.prod(state_weight))


def peak_memory(step: Callable[[], object], device: torch.device) -> int:
    """Bytes of tensors at the peak of a step, beyond what was allocated before it; libraries' own buffers are seen on a GPU only.

    A step that frees what was allocated before it is charged too much on the CPU, where such blocks are not known.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        step()
    changes = [event for event in recorded.profiler.kineto_results.events() if event.name() == "[memory]"]
    changes.sort(key=lambda event: event.start_ns())
    return max(itertools.accumulate(event.nbytes() for event in changes), default=0)


def measure(step: Callable[[], object], device: torch.device, *, seconds: float) -> float:
    """Median time of a step in milliseconds, after one that does not count.

    Args:
        step: what is timed; work it leaves to a GPU is waited for.
        device: where it works.
        seconds: how long to go on; at least three repeats are made.
    """

    def timed() -> float:
        start = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    timed()
    times: list[float] = []
    while len(times) < REPEATS or sum(times) < seconds:
        times.append(timed())
    return 1000 * statistics.median(times)


def training_step(model: nn.Module, loss, batch: dict[str, Tensor], *, precision: str) -> Callable[[], None]:
    """Forward, loss, backward and Adam as one call; as in ``nowcast.training``. It leaves no gradients behind."""
    optimizer = torch.optim.Adam(model.parameters())
    model.train()

    def step() -> None:
        with autocast(batch["context"].device, precision):
            value = training_loss(model, loss, batch, progress=0.5)
        value.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def forecasting_step(model: nn.Module, batch: dict[str, Tensor], *, precision: str) -> Callable[[], None]:
    """A forecast of a batch as one call."""
    model.eval()

    def step() -> None:
        with torch.inference_mode(), autocast(batch["context"].device, precision):
            model(batch["context"], batch["target"].shape[1], batch["context_observed"])

    return step


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The precision as Lightning applies it."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16-mixed", cache_enabled=False)


def batch_of(load: Load, device: torch.device, *, batch_size: int | None = None) -> dict[str, Tensor]:
    """A batch as ``nowcast.data.sampling.loader`` gives it: noise in [0, 1], (B, T, 1, H, W), all of it observed."""
    length = load.context_length + load.forecast_length
    shape = (batch_size or load.batch_size, length, 1, load.size, load.size)
    frames = torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(device)
    parts = {"context": frames[:, : load.context_length], "target": frames[:, load.context_length :]}
    return parts | {f"{name}_observed": torch.ones_like(values, dtype=torch.bool) for name, values in parts.items()}


def models(
    names: Iterable[str], settings_of: Callable[[str], dict], load: Load, *, device: torch.device, progress: Callable[[Iterable], Iterable] = iter
) -> tuple[list[dict], dict[str, str]]:
    """Measure models; one that fails, or needs more memory than there is, does not keep the others from it.

    Args:
        names: of the models.
        settings_of: name -> configuration of a training, whose model and loss are taken.
        load: what is measured.
        device: where.
        progress: wraps the iteration.

    Returns:
        Records, one per model and phase, see ``write``; and why there are none, or only some, by name.
    """
    records, failed = [], {}
    for name in progress(list(names)):
        try:
            for record in _records_of(name, settings_of(name), load, device):
                records.append(record)
        except Exception as error:  # whatever a model refuses, or torch for want of memory
            failed[name] = first_line(error)
        gc.collect()
        torch.cuda.empty_cache()
    return records, failed


def _records_of(name: str, settings: dict, load: Load, device: torch.device) -> Iterator[dict]:
    model, loss = part(settings, "model"), part(settings, "loss")
    one = batch_of(load, torch.device("cpu"), batch_size=1)
    facts = {"parameters": parameters(model), "multiply_adds": multiply_adds(model, one["context"], load.forecast_length, one["context_observed"])}
    model, batch = model.to(device), batch_of(load, device)
    for phase in reversed(PHASES):  # what has too little memory to train may still forecast
        precision = load.precision_in(phase, device)
        if phase == "train":
            step = training_step(model, loss, batch, precision=precision)
        else:
            step = forecasting_step(model, batch, precision=precision)
        step()  # Adam makes its state
        memory = peak_memory(step, device)
        milliseconds = measure(step, device, seconds=load.seconds)
        yield {
            "case": name,
            "implementation": "nowcast",
            "precision": precision,
            "phase": phase,
            "milliseconds": milliseconds,
            "peak_memory_mb": memory / MEGABYTE,
            **facts,
            "sequences_per_second": 1000 * load.batch_size / milliseconds,
        }


def write(path: str | Path, *, settings: dict, records: list[dict], failed: dict[str, str]) -> None:
    """Write what was measured as JSON.

    Args:
        path: the file.
        settings: plain data that say what was measured.
        records: one per measurement: case, implementation, precision, phase ("train": forward, loss, backward and optimiser;
            or "forward"), milliseconds (a batch), peak_memory_mb (1e6 bytes), parameters, multiply_adds (one forecast of one
            sequence, in both phases), sequences_per_second.
        failed: why a case has no records, or lacks some.
    """
    content = {
        "machine": machine(),
        "versions": versions(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "settings": settings,
        "records": records,
        "failed": failed,
    }
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def table(names: Iterable[str], records: list[dict], load: Load, *, device: torch.device):
    """A ``rich.table.Table`` for terminals of 80 columns: one row per model, dashes for what could not be measured."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    found = {(record["case"], record["phase"]): record for record in records}
    train, forward = (load.precision_in(phase, device) for phase in PHASES)
    where = machine()
    on = where["gpu"] if device.type == "cuda" else f"{where['cpu']}, threads: {where['threads']}"
    sizes = f"{load.context_length} → {load.forecast_length} frames of {load.size}x{load.size}, batch {load.batch_size}"
    title = f"{sizes}, on {on}\ntraining in {train}, forecasting in {forward}"
    result = Table(title=escape(title), box=SIMPLE_HEAD, title_justify="left", pad_edge=False)
    result.add_column("model", overflow="fold")
    for heading in ("parameters", "multiply-\nadds", "memory\n\\[MB]", "training\n\\[seq/s]", "forecast\n\\[seq/s]"):
        result.add_column(heading, justify="right", no_wrap=True)
    for name in names:
        training, forecasting = (found.get((name, phase), {}) for phase in PHASES)
        either = training or forecasting
        cells = (_number(either.get("parameters"), "{:,}"), _short(either.get("multiply_adds")), _number(training.get("peak_memory_mb"), "{:,.0f}"),
                 _number(training.get("sequences_per_second"), "{:.3g}"), _number(forecasting.get("sequences_per_second"), "{:.3g}"))
        result.add_row(escape(name), *cells)
    return result


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)


def _short(value: int | None) -> str:
    """18.5 G, 940 M, 12 k."""
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value is not None and value >= factor:
            return f"{value / factor:.{max(0, 2 - int(math.log10(value / factor)))}f} {letter}"
    return _number(value, "{}")
