"""What runs in the processes that the battery kills."""

import os
import sys
from pathlib import Path

import numpy as np
import torch

from nowcast.data.base import Cases, DataSet
from nowcast.forecasting.forecaster import Forecaster
from nowcast.runtime.errors import Terminated, UserError
from nowcast.training import checkpoints
from nowcast.training.loop import fit
from nowcast.training.losses import PixelLoss, SquaredError
from nowcast.training.settings import TrainingSettings

_TASK = {
    "_target_": "nowcast.types.task.Task",
    "context_length": 2,
    "forecast_length": 2,
    "timestep": 1,
    "quantity": "grey_level",
}
_MODEL = {
    "_target_": "nowcast.models.encoder_forecaster.EncoderForecaster",
    "hidden_channels": [4],
    "input_kernel": 3,
    "state_kernel": 3,
    "dropout": 0.2,
}
_BIG = 100_000  # numbers in a checkpoint that is written over and over


class Noise(DataSet, Cases):
    """Cases of random numbers, some of them missing, each a function of (epoch, index)."""

    def __init__(self, length: int):
        self.length = length

    def __len__(self) -> int:
        return self.length

    def part(self, name: str) -> "Noise":
        """As many cases for training as it says, 8 for anything else."""
        return self if name == "train" else Noise(8)

    def case(self, epoch: int, index: int) -> np.ndarray:
        """(4, 12, 12) numbers in [0, 1)."""
        generator = np.random.default_rng([self.length, epoch, index])
        values = generator.random((4, 12, 12), dtype=np.float32)
        values[generator.random(values.shape) < 0.1] = np.nan
        return values


class Diverging(PixelLoss):
    """A squared error that is no number from a step on."""

    def __init__(self, step: int):
        self.step, self.calls = step, 0

    def of(self, forecast, target, observed):
        """The error, or no number."""
        loss = (forecast - target).square().mean()
        self.calls += forecast.requires_grad
        return loss * float("nan") if forecast.requires_grad and self.calls > self.step else loss


def train(pipe, folder: Path, workers: int, epochs: int = 5, diverges: int | None = None) -> None:
    """Train a small network in a folder, from its newest checkpoint where there is one.

    Says "begun", and at the end "done"; exit code 143 after SIGTERM.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(1, 2)
    torch.multiprocessing.set_start_method(
        "fork", force=True
    )  # of loader workers; a process of a fork server would start one of its own
    torch.set_num_threads(1)
    torch.manual_seed(1)
    forecaster = Forecaster.from_settings(
        {
            "task": _TASK,
            "transform": {"_target_": "nowcast.types.transform.Identity"},
            "model": _MODEL,
        },
        precision="float32",
    )
    settings = TrainingSettings(
        max_epochs=epochs,
        batch_size=4,
        precision="float32",
        accelerator="cpu",
        schedule="cosine",
        learning_rate=1e-2,
        skipped=2,
        workers=workers,
    )
    resume = checkpoints.any_in(folder / checkpoints.FOLDER)
    pipe.send("begun")
    try:
        fit(
            forecaster,
            Noise(20),
            loss=SquaredError() if diverges is None else Diverging(diverges),
            settings=settings,
            folder=folder,
            seed=1,
            resume=resume,
        )
    except Terminated:
        sys.exit(143)
    except UserError as error:
        pipe.send(str(error))
        sys.exit(2)
    forecaster.save(folder)
    pipe.send("done")


def save_for_ever(pipe, folder: Path) -> None:
    """Save one checkpoint after the other, and say the step of each that is saved."""
    torch.set_num_threads(1)
    checkpoints.tidy(folder)
    start = checkpoints.newest(folder).content["global_step"] if checkpoints.any_in(folder) else 0
    for step in range(start + 1, sys.maxsize):
        checkpoints.save(state(step), folder / checkpoints.LAST)
        pipe.send(step)


def outcome_of(pipe, guarantee, stage) -> None:
    """Try a guarantee in a process of its own, whose memory nothing else has used."""
    pipe.send(guarantee(stage))


def state(step: int) -> dict:
    """What stands for the state of a training after a step."""
    progress = {
        "epoch_progress": {"current": {"processed": 0}},
        "epoch_loop.batch_progress": {"current": {"processed": 1, "completed": 1}},
    }
    return {
        "state_dict": {"weight": torch.full((_BIG,), float(step))},
        "global_step": step,
        "epoch": 0,
        "loops": {"fit_loop": progress},
    }


def keys_of_epochs(
    pipe, rank: int, world: int, address: str, epochs: list[int], length: int
) -> None:
    """The keys of a sampler in some epochs, as one of several processes sees them."""
    from nowcast.data.sampling import EpochSampler

    if world > 1:
        torch.distributed.init_process_group(
            "gloo", init_method=address, rank=rank, world_size=world
        )
    sampler, found = EpochSampler(length, seed=3), []
    for epoch in epochs:
        sampler.set_epoch(epoch)
        found.append(list(sampler))
    pipe.send(found)
    if world > 1:
        torch.distributed.destroy_process_group()


def read_over_and_over(pipe, path: Path) -> None:
    """Read a forecast that is being published again and again, until told to stop: how often it was
    read whole, and what else was found.
    """
    from nowcast.output.netcdf import read_forecast

    whole, wrong = 0, []
    while not pipe.poll():
        if not path.exists():
            continue
        try:
            values = read_forecast(path).values
            same = bool((values == values.flat[0]).all()) and np.isfinite(values).all()
            whole += same
            if not same:
                wrong.append("two forecasts in one file")
        except UserError as error:
            wrong.append(str(error))
    pipe.send((whole, wrong))
