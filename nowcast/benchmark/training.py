"""A whole training step of an encoder-forecaster against its ConvLSTM layers alone, and what
compiling costs.

Axes: B batch, T time, C channels, H rows, W columns.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch

from nowcast.benchmark.measuring import (
    RECORDED,
    Host,
    Report,
    check_settings,
    device,
    grid,
    measure_together,
    title,
    training_step,
)
from nowcast.data.sampling import loader
from nowcast.models.convlstm.gates import implementation
from nowcast.models.encoder_forecaster import EncoderForecaster
from nowcast.models.network import fold
from nowcast.runtime.build import part
from nowcast.runtime.errors import UserError
from nowcast.runtime.precision import autocast, precision_of
from nowcast.types.batch import Batch

DEFAULT = "default"
MEANING = (
    "Whole step: drawing a batch, forward, loss, backward, optimiser. Layers alone: forward and "
    "backward of the network's ConvLSTM layers on the same batch, as "
    "the network calls them. First step: of the model in this process, with all that is made then."
)
_PROGRAM = (
    "import time, torch; from nowcast.models.convlstm import gates; start = time.perf_counter(); "
    "gates.implementation(torch.device('cpu')); print(time.perf_counter() - start)"
)


@dataclass(frozen=True)
class Training:
    """Training steps of experiments whose model is an encoder-forecaster.

    Args:
        experiments: names in conf/experiment; "default" is the main job.
        overrides: further settings of the trainings, as typed behind ``nowcast train``.
        seconds: of every timing; there are at least three repeats.
    """

    experiments: list[str] = field(default_factory=lambda: [DEFAULT, "shi2015_moving_mnist"])
    overrides: list[str] = field(default_factory=list)
    seconds: float = 5.0

    def __post_init__(self):
        check_settings(self)

    def run(self, host: Host) -> Report:
        """Measure them.

        Raises:
            UserError: an experiment that is not there, or with another model.
        """
        known = [DEFAULT, *host.choices("experiment")]
        if not self.experiments or set(self.experiments) - set(known):
            raise UserError(
                f"experiments is {self.experiments!r}; a list of these is needed: "
                f"{', '.join(known)}."
            )
        records = [
            record
            for name in host.progress(list(self.experiments))
            for record in self._records(name, host)
        ]
        compiling = compile_seconds() if implementation(torch.device("cpu")) == "C" else None
        told = (
            "Gates are computed by torch: nothing is compiled."
            if compiling is None
            else (
                f"Compiling the gates took {compiling[0]:.2f} s, once for this machine; a later "
                f"process found them in {compiling[1]:.2f} s."
            )
        )
        facts = (
            {}
            if compiling is None
            else dict(zip(("compile_seconds", "load_seconds"), compiling, strict=True))
        )
        return Report(records, [self._table(records)], [MEANING, told], facts=facts)

    def _records(self, name: str, host: Host) -> Iterator[dict]:
        settings = host.settings_of(
            [*([] if name == DEFAULT else [f"experiment={name}"]), *self.overrides]
        )
        on, plan = device(), part(settings, "training")
        model = part(settings, "model")
        if not isinstance(model, EncoderForecaster):
            raise UserError(
                f"{name} trains a {type(model).__name__}; an experiment with an "
                "EncoderForecaster is needed."
            )
        loss, data, transform = (part(settings, key) for key in ("loss", "data", "transform"))
        model, precision = model.to(on).train(), precision_of(plan.precision, on.type)
        batches = loader(
            data.part("train"),
            transform,
            context_length=settings["task"]["context_length"],
            batch_size=plan.batch_size,
            workers=plan.workers,
            seed=0,
        )
        draw = endless(batches, on)
        steps = {
            "whole": training_step(model, loss, draw, precision=precision, plan=plan),
            "layers": layers_step(model, draw(), precision),
            "data": draw,
        }
        start = time.perf_counter()
        steps["whole"]()
        first = 1000 * (time.perf_counter() - start)
        times = measure_together(steps, on, seconds=self.seconds)
        for case, milliseconds in times.items():
            record = {
                "case": f"{name}: {case}",
                "implementation": "nowcast",
                "precision": RECORDED[precision],
                "phase": "train",
                "milliseconds": milliseconds,
            }
            if case == "whole":
                record |= {
                    "over_layers": milliseconds / times["layers"] - 1,
                    "sequences_per_second": 1000 * plan.batch_size / milliseconds,
                    "first_step_milliseconds": first,
                }
            yield record

    def _table(self, records: list[dict]):
        rows = []
        for name in self.experiments:
            whole, layers, data = (
                next(record for record in records if record["case"] == f"{name}: {case}")
                for case in ("whole", "layers", "data")
            )
            rows.append(
                [
                    name,
                    *(f"{record['milliseconds']:,.1f}" for record in (whole, layers, data)),
                    f"{whole['over_layers']:+.0%}",
                    f"{whole['sequences_per_second']:,.1f}",
                    f"{whole['first_step_milliseconds']:,.0f}",
                ]
            )
        headings = [
            "experiment",
            "step\n[ms]",
            "layers",
            "data",
            "over\nlayers",
            "seq/s",
            "first\n[ms]",
        ]
        return grid(
            title(
                "Training steps",
                f"in {records[0]['precision']}; over layers: what the step takes beyond its "
                "ConvLSTM layers alone",
            ),
            headings,
            rows,
        )


def endless(batches, device: torch.device) -> Callable[[], Batch]:
    """A function that draws the next batch, epoch after epoch."""

    def forever():
        while True:
            for batch in batches:
                yield batch.to(device)

    return forever().__next__


def layers_step(model: EncoderForecaster, batch: Batch, precision: str) -> Callable[[], None]:
    """Forward and backward of the ConvLSTM layers alone, with inputs, states and lengths as the
    network has them.
    """
    folded = fold(model.frames(batch.context, batch.context_observed), model.patch)
    steps = batch.forecast_length - 1
    weights, gradients = (
        [weight for layer in (*model.encoder, *model.forecaster) for weight in layer.parameters()],
        [],
    )

    def step() -> None:
        with autocast(folded.device.type, precision):
            sequence, states, hidden = folded, [], []
            for layer in model.encoder:
                sequence, state = layer(sequence)
                states.append(state)
            sequence = None
            for layer, state in zip(model.forecaster, states, strict=True):
                sequence, _ = layer(sequence, state, length=steps)
                hidden += [sequence, state[0]]
        if not gradients:
            gradients.extend(torch.randn_like(part) for part in hidden)
        torch.autograd.backward(hidden, gradients, inputs=weights)
        for weight in weights:
            weight.grad = None

    return step


def compile_seconds() -> tuple[float, float]:
    """Seconds until the gates are ready in a process that must compile them, and in the next one."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"XDG_CACHE_HOME": folder}
        found = [
            float(
                subprocess.run(
                    [sys.executable, "-c", _PROGRAM],
                    env=environment,
                    capture_output=True,
                    text=True,
                    check=True,
                ).stdout
            )
            for _ in range(2)
        ]
    return found[0], found[1]
