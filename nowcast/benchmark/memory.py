"""What a training step holds in memory: the ConvLSTM layer beside a textbook's cell, time
checkpointing, and the largest sizes that fit.

Axes: B batch, T time, C channels, H rows, W columns.
"""

import math
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from nowcast.benchmark.layer import PRECISIONS, Case, Stack, TextbookLayer, pairs, step_of
from nowcast.benchmark.measuring import (
    MEGABYTE,
    PHASES,
    RECORDED,
    Host,
    Report,
    check_settings,
    device,
    grid,
    measure_together,
    number,
    peak_memory,
    random_batch,
    title,
    training_step,
)
from nowcast.benchmark.resident import resident
from nowcast.runtime.build import part
from nowcast.runtime.errors import UserError, first_line
from nowcast.runtime.memory import keep_freed_memory
from nowcast.runtime.precision import check_precision, precision_of

GIGABYTE = 1e9
FRAMES = 64  # side of the frames of Moving MNIST, for which shi2015 was made
TENSORS = (
    "Memory of a step is that of its tensors at the peak, in 1e6 bytes, beyond weights and "
    "inputs; on a CPU the libraries' own buffers are not seen."
)
CHECKPOINT = (
    "Checkpoint N keeps only the states between blocks of N steps and computes each "
    "block once more on the way back; 0 keeps everything."
)
LIMITS = (
    "Largest: an extrapolation, nothing of that size was run. A training (batch 1: forward, "
    "loss, backward, Adam) of each size is made in a process of its own, whose "
    "memory at its peak holds interpreter, libraries, weights, Adam's state and buffers besides "
    "the tensors; a line through all sizes but the last gives what is "
    "held at any size (fixed) and the growth, and the largest size is where it meets the memory. "
    "The last size was not used for the line and checks it: the growth from the first size to "
    "it, without what is fixed; a largest size is no surer than that. Cautious: from the largest "
    "size that was run, with the steepest growth between any two neighbouring sizes."
)
APART = (
    "Of that memory at most {share:.1%} are fixed; the process grows by {least:.2f} to "
    "{most:.2f} times what its tensors do."
)
NOT_TOLD = (
    "This system does not tell the memory of a process, so largest sizes are of the "
    "tensors alone: weights, libraries and buffers come on top."
)


class Line(NamedTuple):
    """bytes = fixed + slope x amount."""

    fixed: float
    slope: float

    def at(self, amount: float) -> float:
        return self.fixed + self.slope * amount

    def reach(self, limit: float) -> float | None:
        """The amount at which the line meets the limit; None where it does not grow, or is above it
        from the start.
        """
        return (limit - self.fixed) / self.slope if self.slope > 0 and limit > self.fixed else None


def line_through(amounts: Sequence[float], values: Sequence[float]) -> Line:
    """The line of least squares; at least two amounts differ."""
    slope, fixed = np.polyfit(amounts, values, 1)
    return Line(float(fixed), float(slope))


class Held(NamedTuple):
    """What one training holds at its peak [bytes], None where it is not known or was not asked for,
    and the time of its second step.
    """

    process: int | None
    tensors: int | None
    milliseconds: float


class Quest(NamedTuple):
    """A largest size that is sought: a model by the training it belongs to, and what grows
    ("length" or "side").
    """

    case: str
    overrides: tuple[str, ...]
    grows: str

    def amount(self, size: int) -> int:
        """What memory is linear in: frames or pixels."""
        return size if self.grows == "length" else size**2

    def size(self, amount: float) -> int:
        """The largest size with no more than that amount; sequences have two equal halves."""
        return int(amount) // 2 * 2 if self.grows == "length" else math.isqrt(int(amount))


QUESTS = (
    Quest(f"shi2015 {FRAMES}x{FRAMES}", ("model=shi2015",), "length"),
    Quest("default radar model", ("experiment=radar_quickstart", "data.archive=none"), "side"),
)


@dataclass(frozen=True)
class Memory:
    """Memory of training.

    Args:
        case: channels of the input and of each layer, kernel, height and width, e.g. "64>64 5x5
            16x16".
        length: T of the comparison with the textbook's cell.
        batch_size: B of it and of the table of checkpoints.
        checkpoints: steps between the states that are kept, of the table; 0 keeps everything.
        checkpoint_length: T of that table.
        memory_gb: of the machine [1e9 bytes], for the largest sizes.
        limit_checkpoints: with which these are sought.
        lengths: frames of sequences, even, growing, at least three; the last checks the line
            through the others.
        sides: of square frames, likewise.
        precision: "float32" or "bf16-mixed", of checkpoints and largest sizes; "auto": bf16-mixed
            where the hardware is fast at it.
        seconds: of every timing; there are at least three repeats.

    Raises:
        UserError: a setting that makes no sense.
    """

    case: str = "64>64 5x5 16x16"
    length: int = 10
    batch_size: int = 16
    checkpoints: list[int] = field(default_factory=lambda: [0, 1, 2, 5, 10])
    checkpoint_length: int = 20
    memory_gb: int = 24
    limit_checkpoints: list[int] = field(default_factory=lambda: [0, 10])
    lengths: list[int] = field(default_factory=lambda: [96, 192, 288, 576])
    sides: list[int] = field(default_factory=lambda: [256, 384, 512, 1024])
    precision: str = "auto"
    seconds: float = 1.0

    def __post_init__(self):
        check_settings(self)
        check_precision(self.precision)
        Case.parse(self.case)
        for name in ("checkpoints", "limit_checkpoints"):
            values = getattr(self, name)
            if 0 not in values or min(values) < 0 or len(set(values)) < len(values):
                raise UserError(
                    f"{name} is {values}; numbers of steps that differ are needed, among them 0, "
                    "which the others are compared with."
                )
        for name, least in (("lengths", 4), ("sides", 1)):
            values = getattr(self, name)
            if len(values) < 3 or min(values) < least or sorted(set(values)) != list(values):
                raise UserError(
                    f"{name} is {values}; at least three sizes that grow, from {least} on, are "
                    "needed: a line through all but the last, which checks it."
                )
        if any(length % 2 for length in self.lengths):
            raise UserError(
                f"lengths is {self.lengths}; even numbers are needed, half context and half "
                "forecast."
            )

    def run(self, host: Host) -> Report:
        """Measure; a training that fails, or that is killed for its memory, does not keep the rest
        from being measured.
        """
        on, failed = device(), {}
        layers = [
            record
            for precision in host.progress(list(PRECISIONS))
            for record in self._against_textbook(precision, on)
        ]
        blocks = self._checkpointed(on)
        trained, limits = [], []
        for quest, checkpoint in host.progress(
            [(quest, checkpoint) for quest in QUESTS for checkpoint in self.limit_checkpoints]
        ):
            try:
                records = list(
                    self._trained(quest, checkpoint, host.settings_of(list(quest.overrides)), on)
                )
                trained += records
                limits.append(self._limit(quest, checkpoint, records))
            # whatever torch says for want of memory, or the system by ending the process
            except Exception as error:
                failed[f"{quest.case}, checkpoint {checkpoint}"] = first_line(error)
        tables = [
            self._textbook_table(layers),
            self._checkpoint_table(blocks),
            *([self._limit_table(limits)] if limits else []),
        ]
        told = all(limit["of"] == "process" for limit in limits)
        factors = [limit["factor"] for limit in limits if limit["factor"]]
        fixed = max((limit["fixed_mb"] * MEGABYTE for limit in limits), default=0)
        apart = (
            [
                APART.format(
                    share=fixed / (self.memory_gb * GIGABYTE), least=min(factors), most=max(factors)
                )
            ]
            if factors
            else []
        )
        return Report(
            layers + blocks + trained,
            tables,
            [TENSORS, CHECKPOINT, LIMITS, *(apart if told else [NOT_TOLD])],
            failed,
            {"limits": limits, "device": on.type},
        )

    def _against_textbook(self, precision: str, on: torch.device) -> Iterator[dict]:
        case, inputs = Case.parse(self.case), self._inputs(self.length, on)
        made = {
            "nowcast": Stack(case),
            "textbook": nn.Sequential(
                *(TextbookLayer(*sides, case.kernel) for sides in pairs(case))
            ),
        }
        steps = {
            (label, phase): step_of(module.to(on), inputs, phase, precision)
            for label, module in made.items()
            for phase in PHASES
        }
        memory = {key: peak_memory(step, on) for key, step in steps.items()}
        times = measure_together(steps, on, seconds=self.seconds)
        for label, phase in steps:
            yield self._record(
                self.case,
                label,
                precision,
                phase,
                times[label, phase],
                memory[label, phase],
                checkpoint=0,
                length=self.length,
                batch_size=self.batch_size,
            )

    def _checkpointed(self, on: torch.device) -> list[dict]:
        precision, inputs = (
            RECORDED[precision_of(self.precision, on.type)],
            self._inputs(self.checkpoint_length, on),
        )
        steps = {}
        for count in self.checkpoints:
            stack = Stack(Case.parse(self.case)).to(on)
            for layer in stack.layers:
                layer.checkpoint = count
            steps[count] = step_of(stack, inputs, "train", precision)
        memory = {count: peak_memory(step, on) for count, step in steps.items()}
        times = measure_together(steps, on, seconds=self.seconds)
        return [
            self._record(
                self.case,
                "nowcast",
                precision,
                "train",
                times[count],
                memory[count],
                checkpoint=count,
                length=self.checkpoint_length,
                batch_size=self.batch_size,
            )
            for count in steps
        ]

    def _inputs(self, length: int, on: torch.device) -> Tensor:
        case = Case.parse(self.case)
        return torch.randn(
            self.batch_size,
            length,
            case.channels[0],
            case.height,
            case.width,
            generator=torch.Generator().manual_seed(0),
        ).to(on)

    def _record(
        self,
        case: str,
        implementation: str,
        precision: str,
        phase: str,
        milliseconds: float,
        memory: int | None,
        **own,
    ) -> dict:
        record = {
            "case": case,
            "implementation": implementation,
            "precision": precision,
            "phase": phase,
            "milliseconds": milliseconds,
        }
        return record | {"peak_memory_mb": None if memory is None else memory / MEGABYTE} | own

    def _trained(
        self, quest: Quest, checkpoint: int, settings: dict, on: torch.device
    ) -> Iterator[dict]:
        """A training step of each size; the tensors of the last, which only checks, are not
        counted: the profiler would need long.
        """
        settings = settings | {"model": settings["model"] | {"checkpoint": checkpoint}}
        precision, sizes = (
            precision_of(self.precision, on.type),
            self.lengths if quest.grows == "length" else self.sides,
        )
        context, forecast = (settings["task"][f"{name}_length"] for name in ("context", "forecast"))
        for size in sizes:
            shape = (
                (size // 2, size // 2, FRAMES)
                if quest.grows == "length"
                else (context, forecast, size)
            )
            held = in_own_process(
                train_twice,
                {"model": settings["model"], "loss": settings["loss"]},
                shape,
                precision,
                size != sizes[-1],
                torch.get_num_threads(),
            )
            yield self._record(
                quest.case,
                "nowcast",
                RECORDED[precision],
                "train",
                held.milliseconds,
                held.tensors,
                checkpoint=checkpoint,
                length=shape[0] + shape[1],
                side=shape[2],
                batch_size=1,
                process_memory_mb=None if held.process is None else held.process / MEGABYTE,
            )

    def _limit(self, quest: Quest, checkpoint: int, records: list[dict]) -> dict:
        """The line through all but the last record, where it meets the memory, and how well it
        meets the last.

        Raises:
            UserError: memory that does not grow with the size.
        """
        told = all(record["process_memory_mb"] is not None for record in records)
        amounts, of = (
            [quest.amount(record[quest.grows]) for record in records],
            "process_memory_mb" if told else "peak_memory_mb",
        )
        values = [record[of] for record in records]
        line, tensors = (
            line_through(amounts[:-1], values[:-1]),
            line_through(amounts[:-1], [record["peak_memory_mb"] for record in records[:-1]]),
        )
        reached = line.reach(self.memory_gb * GIGABYTE / MEGABYTE)
        if reached is None or values[-1] <= values[0]:
            raise UserError(
                f"no largest {quest.grows}: {self.memory_gb} GB are not met by {values[0]:,.0f} "
                f"to {values[-1]:,.0f} MB, measured at {records[0][quest.grows]} to "
                f"{records[-1][quest.grows]}; take larger sizes."
            )
        steepest = max(
            (b - a) / (after - before)
            for a, b, before, after in zip(values, values[1:], amounts, amounts[1:], strict=False)
        )
        cautious = Line(values[-1] - steepest * amounts[-1], steepest).reach(
            self.memory_gb * GIGABYTE / MEGABYTE
        )
        return {
            "case": quest.case,
            "checkpoint": checkpoint,
            "grows": quest.grows,
            "of": "process" if told else "tensors",
            "memory_gb": self.memory_gb,
            "fixed_mb": line.fixed,
            "bytes_each": 1e6 * line.slope,
            "factor": line.slope / tensors.slope if told and tensors.slope > 0 else None,
            "largest": quest.size(reached),
            "cautious": None if cautious is None else quest.size(cautious),
            "checked_at": records[-1][quest.grows],
            "predicted_mb": line.at(amounts[-1]),
            "measured_mb": values[-1],
            "growth_error": (line.at(amounts[-1]) - values[0]) / (values[-1] - values[0]) - 1,
        }

    def _textbook_table(self, records: list[dict]):
        found = {
            (record["precision"], record["phase"], record["implementation"]): record[
                "peak_memory_mb"
            ]
            for record in records
        }
        rows = [
            [
                f"{precision} {phase}",
                *(f"{found[precision, phase, label]:,.1f}" for label in ("nowcast", "textbook")),
                f"{found[precision, phase, 'nowcast'] / found[precision, phase, 'textbook']:.2f}",
            ]
            for precision in PRECISIONS
            for phase in PHASES
        ]
        return grid(
            title(f"Memory of {self.case}, T {self.length}, batch {self.batch_size}"),
            ["step", "nowcast\n[MB]", "textbook\n[MB]", "ratio"],
            rows,
        )

    def _checkpoint_table(self, records: list[dict]):
        base = next(record for record in records if record["checkpoint"] == 0)
        ratios = [
            [record[name] / base[name] for name in ("peak_memory_mb", "milliseconds")]
            for record in records
        ]
        rows = [
            [
                str(record["checkpoint"]),
                f"{record['peak_memory_mb']:,.1f}",
                f"{memory:.2f}",
                f"{record['milliseconds']:,.1f}",
                f"{duration:.2f}",
            ]
            for record, (memory, duration) in zip(records, ratios, strict=True)
        ]
        what = (
            f"Time checkpointing of {self.case}, T {self.checkpoint_length}, batch "
            f"{self.batch_size}"
        )
        return grid(
            title(what, f"a training step in {base['precision']}"),
            ["checkpoint", "memory\n[MB]", "ratio", "time\n[ms]", "ratio"],
            rows,
        )

    def _limit_table(self, limits: list[dict]):
        rows = []
        for found in limits:
            form, each = (
                ("{:,} frames", "{:,.0f} kB/frame")
                if found["grows"] == "length"
                else ("{0:,}x{0:,}", "{:,.2f} kB/pixel")
            )
            largest = [number(found[name], form) for name in ("largest", "cautious")]
            rows.append(
                [
                    found["case"],
                    str(found["checkpoint"]),
                    f"{found['fixed_mb']:,.0f}",
                    each.format(found["bytes_each"] / 1000),
                    f"{found['growth_error']:+.0%}",
                    *largest,
                ]
            )
        return grid(
            title(
                f"Largest training in {self.memory_gb} GB, batch 1",
                "check: growth to the size that checks the line, predicted against measured; "
                "largest is extrapolated",
            ),
            ["model", "check-\npoint", "fixed\n[MB]", "growth", "check", "largest", "cautious"],
            rows,
        )


def in_own_process(function: Callable, *arguments):
    """What a function returns in a fresh process; what it raises is raised here."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def train_twice(
    settings: dict, shape: tuple[int, int, int], precision: str, count_tensors: bool, threads: int
) -> Held:
    """Two training steps of one sequence; the first makes Adam's state. Memory of a GPU is what
    torch holds of it.

    Args:
        settings: of the model and the loss.
        shape: frames of context, frames of forecast, side of the square frames.
        precision: "float32" or "bf16-mixed".
        count_tensors: make a third step that is profiled.
        threads: to compute with.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # as in the command line
    keep_freed_memory()  # as in training
    torch.set_num_threads(threads)
    on = device()
    step = training_step(
        part(settings, "model").to(on),
        part(settings, "loss"),
        random_batch(1, *shape, on),
        precision=precision,
    )
    step()
    start = time.perf_counter()
    step()
    if on.type == "cuda":
        torch.cuda.synchronize(on)
    milliseconds = 1000 * (time.perf_counter() - start)
    process = (
        torch.cuda.max_memory_reserved(on) if on.type == "cuda" else resident("self", peak=True)
    )
    return Held(
        process, peak_memory(step, on) if count_tensors or process is None else None, milliseconds
    )
