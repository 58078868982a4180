"""What the guarantees share: a folder, a size, random draws, processes that can be killed, small
models and rain.
"""

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from nowcast.runtime.errors import UserError
from nowcast.types.frames import Frames, Grid

CRS = "+proj=laea +lat_0=55 +lon_0=10 +x_0=1950000 +y_0=-2100000 +units=m +ellps=WGS84"
_PRELOADED = [
    "torch",
    "lightning",
    "nowcast.training.loop",
    "tests.battery.workers",
    "nowcast.cli.train",
    "nowcast.training.losses",
]
_MOST_TOLD = 5


@dataclass
class Outcome:
    """What became of a guarantee.

    Args:
        cases: how many were tried.
        failures: a sentence for each that failed.
        note: a number worth telling.
    """

    cases: int = 0
    failures: list[str] = field(default_factory=list)
    note: str = ""

    def count(self, holds: bool, sentence: str) -> None:
        """One more case."""
        self.cases += 1
        if not holds:
            self.failures.append(sentence)

    def refused(self, call: Callable[[], object], name: str) -> None:
        """One more case: a call that must end with a one-line error for the user."""
        try:
            call()
        except UserError as error:
            self.count("\n" not in str(error).strip(), f"{name}: the error has more than one line")
        except Exception as error:
            self.count(False, f"{name}: {type(error).__name__}: {error}")
        else:
            self.count(False, f"{name}: accepted")

    def told(self) -> str:
        """The first failures, in lines."""
        more = len(self.failures) - _MOST_TOLD
        return "\n".join(
            [
                *(f"  {failure}" for failure in self.failures[:_MOST_TOLD]),
                *([f"  and {more} more"] if more > 0 else []),
            ]
        )


@dataclass
class Stage:
    """Where guarantees are put to the test.

    Args:
        folder: an empty one, for files.
        fast: the small number of cases.
        seed: of all draws.
    """

    folder: Path
    fast: bool
    seed: int = 1

    def number(self, fast: int, full: int) -> int:
        """How many cases."""
        return fast if self.fast else full

    @cached_property
    def generator(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)

    @cached_property
    def processes(self):
        """Processes start from one that has loaded everything already."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_PRELOADED)
        return context

    @contextmanager
    def process(
        self, target: Callable, *arguments
    ) -> Iterator[tuple[multiprocessing.Process, object]]:
        """A process that runs target(pipe, *arguments), and the pipe's other end; killed when the
        block is left.
        """
        ours, theirs = self.processes.Pipe()
        process = self.processes.Process(target=target, args=(theirs, *arguments))
        process.start()
        theirs.close()
        try:
            yield process, ours
        finally:
            process.kill()
            process.join()
            ours.close()


def apart(guarantee: Callable[[Stage], Outcome]) -> Callable[[Stage], Outcome]:
    """The guarantee, tried in a process of its own, whose memory nothing else has used."""

    def tried(stage: Stage) -> Outcome:
        from tests.battery import workers

        with stage.process(
            workers.outcome_of, guarantee, Stage(stage.folder, stage.fast, stage.seed)
        ) as (_, pipe):
            return pipe.recv()

    return tried


def rain(count: int, height: int = 24, width: int = 30, *, seed: int = 0) -> np.ndarray:
    """Rain that wanders to the right, (count, height, width) [mm/h], at least 1 mm/h everywhere;
    the left edge is never observed.
    """
    generator = np.random.default_rng(seed)
    field_ = 1 + generator.gamma(1.0, 3.0, (height, width)).astype(np.float32)
    values = np.stack([np.roll(field_, step, axis=1) for step in range(count)])
    values[:, :, 0] = np.nan
    return values


def frames(values: np.ndarray, *, minutes: float = 5.0, start: str = "2020-06-01T00:00") -> Frames:
    """Rain rates (T, H, W) every so many minutes, on cells of 1 km."""
    height, width = values.shape[1:]
    times = np.datetime64(start, "s") + (np.arange(len(values)) * round(60 * minutes)).astype(
        "timedelta64[s]"
    )
    return Frames(
        values.astype(np.float32),
        times,
        Grid(CRS, 500.0 + 1000.0 * np.arange(width), -500.0 - 1000.0 * np.arange(height)),
        "battery",
    )


def network(context_length: int = 4, forecast_length: int = 3):
    """A small ConvLSTM for radar with the weights it begins with."""
    import torch

    from nowcast.forecasting.forecaster import Forecaster

    torch.manual_seed(1)
    return Forecaster.from_settings(
        {
            "task": {
                "_target_": "nowcast.types.task.Task",
                "context_length": context_length,
                "forecast_length": forecast_length,
                "timestep": 5,
                "quantity": "rain_rate",
            },
            "transform": {"_target_": "nowcast.types.transform.LogRainRate"},
            "model": {
                "_target_": "nowcast.models.encoder_forecaster.EncoderForecaster",
                "hidden_channels": [4],
                "input_kernel": 3,
                "state_kernel": 3,
                "observed_channel": True,
            },
        },
        precision="float32",
    )
