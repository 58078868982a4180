"""What every benchmark shares: the machine, the clock, memory, a step of a model, tables, the file.

Axes: B batch, T time, C channels, H rows, W columns.
"""

import contextlib
import itertools
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

import nowcast
from nowcast.models.base import ForecastModel
from nowcast.models.convlstm.gates import implementation
from nowcast.runtime.errors import UserError
from nowcast.runtime.files import replacing
from nowcast.runtime.precision import autocast, fastest_device
from nowcast.runtime.threads import WAITING_VARIABLES, cores
from nowcast.training.losses.base import TrainingLoss
from nowcast.training.optimizers import optimizer_of
from nowcast.training.settings import TrainingSettings
from nowcast.types.batch import Batch

PHASES = ("train", "forward")
REPEATS = 3  # at least, of every timing: the fewest that have a median
MEGABYTE = 1e6
RECORDED = {"float32": "float32", "bf16-mixed": "bfloat16"}
"""Precision of a training -> what benchmark.json calls it."""

_PROCESSES = Path("/proc")
_BUSY_PROGRAM = """
import os
parent = os.getppid()
while os.getppid() == parent:
    sum(range(100_000))
"""  # it ends by itself where the process that started it was killed


@dataclass(frozen=True)
class Host:
    """What a benchmark gets from the command line.

    Args:
        settings_of: overrides, as typed behind ``nowcast train`` -> the configuration of that
            training as plain data.
        choices: a group of the configuration -> the names that can be chosen for it.
        progress: wraps an iteration.
    """

    settings_of: Callable[[list[str]], dict]
    choices: Callable[[str], list[str]]
    progress: Callable[[Iterable], Iterable] = iter


@dataclass(frozen=True)
class Report:
    """What a benchmark measured.

    Args:
        records: one per measurement: case, implementation, precision ("float32" or "bfloat16"),
            phase, milliseconds, and what else the benchmark measures.
        tables: for the terminal, of ``rich``.
        sentences: what readers of the tables must know.
        failed: why a case has no records, or lacks some.
        facts: further plain data for the file.
    """

    records: list[dict]
    tables: list
    sentences: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    facts: dict = field(default_factory=dict)


def check_settings(benchmark, *, may_be_0: tuple[str, ...] = ()) -> None:
    """Refuse numbers that a benchmark cannot work with.

    Args:
        benchmark: has the settings as attributes: ``seconds`` finite and not negative, all other
            numbers whole and at least 1.
        may_be_0: names of counts that may be 0.

    Raises:
        UserError: names the setting.
    """
    for name, value in vars(benchmark).items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            continue
        if name == "seconds":
            if not 0 <= value < math.inf:
                raise UserError(f"seconds is {value!r}; expected a number, 0 or more.")
            continue
        smallest = int(name not in may_be_0)
        if not isinstance(value, int) or value < smallest:
            raise UserError(f"{name} is {value!r}; expected a whole number, at least {smallest}.")


def machine() -> dict:
    """What is measured on; memory in GB (1e9 bytes), GPU None where there is none."""
    gpu = torch.cuda.get_device_properties(0) if torch.cuda.is_available() else None
    return {
        "cpu": _cpu_name(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "memory_gb": _memory_gb(),
        "gpu": gpu and gpu.name,
        "gpu_memory_gb": gpu and round(gpu.total_memory / 1e9, 1),
        "system": platform.platform(),
        "waiting": {name: os.environ[name] for name in WAITING_VARIABLES if name in os.environ},
    }


def _cpu_name() -> str:
    path = Path("/proc/cpuinfo")
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1)
    except (AttributeError, ValueError):  # Windows has neither function nor names
        return None


def versions() -> dict:
    """Versions of what takes part, and what computes a ConvLSTM's gates; cuda and cudnn are None
    where no GPU is used.
    """
    gpu = torch.cuda.is_available()
    return {
        "python": platform.python_version(),
        "nowcast": nowcast.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "gates": implementation(fastest_device()),
        "cuda": torch.version.cuda if gpu else None,
        "cudnn": torch.backends.cudnn.version() if gpu else None,
    }


def peak_memory(step: Callable[[], object], device: torch.device) -> int:
    """Bytes of tensors at the peak of a step, beyond what was allocated before it; libraries' own
    buffers are seen on a GPU only.

    A step that frees what was allocated before it is charged too much on the CPU, where such blocks
    are not known.
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
    events = recorded.profiler.kineto_results.events()
    changes = [event for event in events if event.name() == "[memory]"]
    changes.sort(key=lambda event: event.start_ns())
    return max(itertools.accumulate(event.nbytes() for event in changes), default=0)


def resident(process: int | str, *, peak: bool = False) -> int | None:
    """Resident memory of a process [bytes], now or at its peak so far; None where the system does
    not report it (only Linux does), or the process has ended.
    """
    try:
        lines = (_PROCESSES / str(process) / "status").read_text().splitlines()
    except OSError:
        return None
    wanted = "VmHWM:" if peak else "VmRSS:"
    kilobytes = (int(line.split()[1]) for line in lines if line.startswith(wanted))
    return next((1024 * count for count in kilobytes), None)


@contextlib.contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """While the block runs, so many other processes compute without a pause.

    Args:
        count: number of processes, 0 or more; each would take a whole core.
    """
    with contextlib.ExitStack() as running:
        for _ in range(count):
            process = subprocess.Popen([sys.executable, "-c", _BUSY_PROGRAM])
            running.callback(process.wait)
            running.callback(process.kill)  # called before it is waited for
        yield


def measure(step: Callable[[], object], device: torch.device, *, seconds: float) -> float:
    """Median time of a step in milliseconds, see ``measure_together``."""
    return measure_together({"step": step}, device, seconds=seconds)["step"]


def measure_together(
    steps: dict[str, Callable[[], object]], device: torch.device, *, seconds: float
) -> dict[str, float]:
    """Median times of steps in milliseconds, after one of each that does not count; they take
    turns, so that all see the same noise.

    Args:
        steps: what is timed; work it leaves to a GPU is waited for.
        device: where it works.
        seconds: how long to go on, for each step; at least three repeats are made.
    """

    def timed(step: Callable[[], object]) -> float:
        start = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    def unfinished(found: list[float]) -> bool:
        return len(found) < REPEATS or sum(found) < seconds

    times: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        timed(step)
    while any(map(unfinished, times.values())):
        for name, found in times.items():
            if unfinished(found):
                found.append(timed(steps[name]))
    return {name: 1000 * statistics.median(found) for name, found in times.items()}


def random_batch(
    batch_size: int, context_length: int, forecast_length: int, side: int, device: torch.device
) -> Batch:
    """A batch of noise in [0, 1], (B, T, 1, H, W), all of it observed."""
    shape = (batch_size, context_length + forecast_length, 1, side, side)
    frames = torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(device)
    return Batch.complete(frames[:, :context_length], frames[:, context_length:])


def training_step(
    model: ForecastModel,
    loss: TrainingLoss,
    batch: Batch,
    *,
    precision: str,
    training: TrainingSettings | None = None,
) -> Callable[[], None]:
    """Forward, loss, backward and optimiser as one call, as in a training.

    It leaves no gradients behind.

    Args:
        model: what is trained.
        loss: as in a training.
        batch: the same for all steps.
        precision: "float32" or "bf16-mixed".
        training: whose optimiser is taken; None for Adam.
    """
    optimizer = optimizer_of(model.parameters(), training or TrainingSettings(max_epochs=1))
    model.train()

    def step() -> None:
        with autocast(batch.context.device.type, precision):
            value = loss(model, batch, progress=0.5)
        value.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def forecasting_step(model: ForecastModel, batch: Batch, *, precision: str) -> Callable[[], None]:
    """A forecast of a batch as one call."""
    model.eval()

    def step() -> None:
        with torch.inference_mode(), autocast(batch.context.device.type, precision):
            model(batch.context, batch.forecast_length, batch.context_observed).point()

    return step


def write(path: str | Path, settings: dict, report: Report) -> None:
    """Write what was measured as JSON.

    Args:
        path: the file.
        settings: plain data that say what was measured.
        report: what was measured.
    """
    content = {
        "machine": machine(),
        "versions": versions(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "settings": settings | report.facts,
        "records": report.records,
        "failed": report.failed,
    }
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def title(*lines: str) -> str:
    """Lines above a table, the first with the machine that was measured."""
    where = machine()
    on = where["gpu"] or f"{where['cpu']}, threads: {where['threads']}"
    return "\n".join([f"{lines[0]}, on {on}", *lines[1:]])


def grid(title: str, headings: list[str], rows: list[list[str]]):
    """A ``rich.table.Table`` for terminals of 80 columns; the first column contains names, all
    others numbers.
    """
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    result = Table(title=escape(title), box=SIMPLE_HEAD, title_justify="left", pad_edge=False)
    result.add_column(escape(headings[0]), overflow="fold")
    for heading in headings[1:]:
        result.add_column(escape(heading), justify="right", no_wrap=True)
    for row in rows:
        result.add_row(*map(escape, row))
    return result


def number(value: float | None, form: str) -> str:
    """A cell of a table, a dash for None."""
    return "–" if value is None else form.format(value)


def short(value: int | None) -> str:
    """18.5 G, 940 M, 12 k."""
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value is not None and value >= factor:
            return f"{value / factor:.{max(0, 2 - int(math.log10(value / factor)))}f} {letter}"
    return number(value, "{}")
