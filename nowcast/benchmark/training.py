"""How fast trainings are on this machine: a step, and whether loaders keep up with it."""

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from nowcast.benchmark.measuring import (
    MEGABYTE,
    RECORDED,
    REPEATS,
    Host,
    Report,
    check_settings,
    grid,
    measure,
    number,
    peak_memory,
    title,
    training_step,
)
from nowcast.data.sampling import loader
from nowcast.runtime.build import build_part
from nowcast.runtime.errors import UserError
from nowcast.runtime.precision import fastest_device, precision_of
from nowcast.types.batch import Batch

DEFAULT = "default"
MEANING = (
    "Step: forward, loss, backward, optimiser, of one batch; first: of the model in this process, "
    "with all that is made then. Memory: of the tensors of a step, beyond weights, the state of "
    "the optimiser and the batch. Loaders run alone, after the batches they prepare ahead; workers "
    "of a real training share the cores with it, so several times the rate of the step are wanted."
)


@dataclass(frozen=True)
class Training:
    """Training steps of experiments, and the loaders that feed them.

    Args:
        experiments: names in conf/experiment; "default" is the main job.
        overrides: further settings of the trainings, as typed behind ``nowcast train``.
        workers: numbers of loader processes.
        seconds: of every timing; there are at least three repeats.
    """

    experiments: list[str] = field(default_factory=lambda: [DEFAULT, "shi2015_moving_mnist"])
    overrides: list[str] = field(default_factory=list)
    workers: list[int] = field(default_factory=lambda: [0, 1, 2])
    seconds: float = 5.0

    def __post_init__(self):
        check_settings(self)
        counts = [count for count in self.workers if type(count) is int and count >= 0]
        if not self.workers or counts != list(self.workers):
            raise UserError(
                f"workers is {self.workers!r}; expected a list of whole numbers, 0 or more."
            )

    def run(self, host: Host) -> Report:
        """Measure them.

        Raises:
            UserError: an experiment that is not there, or that cannot be composed.
        """
        known = [DEFAULT, *host.choices("experiment")]
        if not self.experiments or set(self.experiments) - set(known):
            raise UserError(
                f"experiments is {self.experiments!r}; expected a list of these: "
                f"{', '.join(known)}."
            )
        records = []
        for name in host.progress(list(self.experiments)):
            experiment = [] if name == DEFAULT else [f"experiment={name}"]
            records += self._records(name, host.settings_of([*experiment, *self.overrides]))
        return Report(records, [self._table(records)], [MEANING])

    def _records(self, name: str, settings: dict) -> Iterator[dict]:
        """One of the step, then one of each number of workers."""
        on, training = fastest_device(), build_part(settings, "training")
        precision = precision_of(training.precision, on.type)
        batch = next(batches_of(settings, 0))
        step = training_step(
            build_part(settings, "model").to(on),
            build_part(settings, "loss"),
            batch.to(on),
            precision=precision,
            training=training,
        )
        start = time.perf_counter()
        step()
        first = 1000 * (time.perf_counter() - start)
        memory = peak_memory(step, on)
        milliseconds = measure(step, on, seconds=self.seconds)
        consumed = 1000 * training.batch_size / milliseconds
        record = {"case": name, "implementation": "nowcast", "precision": RECORDED[precision]}
        yield record | {
            "phase": "train",
            "milliseconds": milliseconds,
            "peak_memory_mb": memory / MEGABYTE,
            "sequences_per_second": consumed,
            "first_step_milliseconds": first,
        }
        for count in self.workers:
            rate = loaded_per_second(settings, count, seconds=self.seconds)
            yield record | {
                "phase": "load",
                "milliseconds": 1000 * training.batch_size / rate,
                "workers": count,
                "sequences_per_second": rate,
                "ratio": rate / consumed,
            }

    def _table(self, records: list[dict]):
        rows = []
        for record in records:
            if record["phase"] == "train":
                what = f"{record['case']}, {record['precision']}"
            else:
                what = f"  loader, workers: {record['workers']}"
            rows.append(
                [
                    what,
                    number(record["milliseconds"], "{:,.1f}"),
                    number(record["sequences_per_second"], "{:,.1f}"),
                    number(record.get("ratio"), "{:.1f}"),
                    number(record.get("first_step_milliseconds"), "{:,.0f}"),
                    number(record.get("peak_memory_mb"), "{:,.0f}"),
                ]
            )
        heading = title("Training steps and their loaders", "x: times what the step consumes")
        headings = ["", "batch\n[ms]", "seq/s", "x", "first\n[ms]", "memory\n[MB]"]
        return grid(heading, headings, rows)


def batches_of(settings: dict, workers: int) -> Iterator[Batch]:
    """A training's batches as ``nowcast.training.loop`` loads them, epoch after epoch, endless."""
    task = build_part(settings, "task")
    found = loader(
        build_part(settings, "data").part("train"),
        build_part(settings, "transform"),
        context_length=task.context_length,
        batch_size=build_part(settings, "training").batch_size,
        workers=workers,
        seed=settings["seed"],
    )
    for epoch in itertools.count():
        found.sampler.set_epoch(epoch)
        yield from found


def loaded_per_second(settings: dict, workers: int, *, seconds: float) -> float:
    """Sequences that so many loader processes deliver per second, for so long or three batches."""
    batches = batches_of(settings, workers)
    # torch prepares two batches a worker ahead; these were made before the clock started
    for _ in range(2 * workers + 1):
        next(batches)
    sequences, start = 0, time.perf_counter()
    for count in itertools.count(1):
        sequences += len(next(batches))
        passed = time.perf_counter() - start
        if passed >= seconds and count >= REPEATS:
            break
    batches.close()
    return sequences / passed
