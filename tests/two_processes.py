"""Trainings that the tests run in one process and in two, and what is compared of them; `python
tests/two_processes.py FOLDER` is one of the two.
"""

import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import torch

from nowcast.cli import config
from nowcast.data.base import Cases, DataSet
from nowcast.data.synthetic_rain import SyntheticRain
from nowcast.forecasting.forecaster import Forecaster
from nowcast.runtime.errors import Terminated
from nowcast.runtime.processes import Processes
from nowcast.runtime.world import started_world
from nowcast.training.loop import fit
from nowcast.training.losses import (
    CRPS,
    AbsoluteError,
    BalancedError,
    CrossEntropy,
    ExceedanceError,
    PixelLoss,
    SquaredError,
    StructuralError,
    WeightedError,
)
from nowcast.training.settings import TrainingSettings
from nowcast.types.task import Task

SMALL = {
    "conv2d_lstm": ["model.tile=16", "model.conv_channels=[4,4]", "model.hidden_units=8"],
    "convgru_hko7": ["model.hidden_channels=[4,4,4]"],
    "convgru_moving_mnist": ["model.hidden_channels=[4,4,4]"],
    "convlstm_coarse_to_fine": ["model.hidden_channels=[4,4]"],
    "convlstm_s": ["model.hidden_channels=[4,4]", "model.kernel=3", "model.sampling=none"],
    "convlstm_small": ["model.hidden_channels=[4,4]"],
    "fc_lstm": ["model.tile=16", "model.hidden_channels=[8]"],
    "lagrangian": ["model.hidden_channels=[4,4,4]"],
    "predrnn": ["model.hidden_channels=[4,4]", "model.kernel=3", "model.sampling=none"],
    "shi2015": ["model.hidden_channels=[4,4]", "model.input_kernel=3", "model.state_kernel=3"],
    "simvp": [
        "model.spatial_channels=4",
        "model.hidden_channels=8",
        "model.spatial_layers=2",
        "model.blocks=2",
    ],
    "trajgru_hko7": ["model.hidden_channels=[4,4,4]", "model.links=[3,3,2]"],
    "trajgru_moving_mnist": ["model.hidden_channels=[4,4,4]", "model.links=[3,3,3]"],
    "unet": ["model.base_channels=4", "model.levels=2"],
}
KNEE, CEILING = 0.1, 100.0
LOSSES = {
    "cross_entropy": CrossEntropy(),
    "cross_entropy_absolute": CrossEntropy(absolute_weight=1.0),
    "squared_error": SquaredError(),
    "absolute_error": AbsoluteError(),
    "weighted_error": WeightedError(),
    "balanced_error": BalancedError(KNEE, CEILING),
    "structural_error": StructuralError(),
    "crps": CRPS(members=2),
    "exceedance_error": ExceedanceError(KNEE, CEILING, [0.1, 1.0, 5.0], [1.0, 1.0, 1.0]),
}


class Rain(DataSet, Cases):
    """Cases of four frames of 32 x 32 pixels, from 0 to 40 mm/h; of the first sample a tenth is
    missing, of the second two tenths, and so on.
    """

    def __init__(self, train: int = 3, validation: int = 3):
        self.lengths, self.name = {"train": train, "validation": validation}, "train"

    def part(self, name):
        part = Rain(**self.lengths)
        part.name = name
        return part

    def __len__(self):
        return self.lengths[self.name]

    def case(self, epoch, index):
        generator = np.random.default_rng([epoch, index, len(self.name)])
        values = 40 * generator.random((1, 32, 32)) ** 3 * generator.uniform(0.9, 1, (4, 32, 32))
        return np.where(generator.random(values.shape) < 0.1 * (index + 1), np.nan, values).astype(
            np.float32
        )


class Foreign(PixelLoss):
    """A loss that somebody else wrote: it knows nothing of several processes; mean over samples."""

    def of(self, forecast, target, observed):
        error = torch.where(observed, forecast - target, 0.0).square()
        return error.flatten(1).sum(1).mean()


class Broken(Foreign):
    """The same, but no number for the batch with the sample that has most missing pixels."""

    def of(self, forecast, target, observed):
        broken = observed.flatten(1).float().mean(1).min() < 0.4
        loss = super().of(forecast, target, observed)
        return loss * torch.nan if broken and forecast.requires_grad else loss


class Drawing(Foreign):
    """The same; it remembers what torch's random numbers began with."""

    def __init__(self):
        self.seeds = []

    def of(self, forecast, target, observed):
        self.seeds.append(torch.initial_seed())
        return super().of(forecast, target, observed)


class Stopped(Foreign):
    """The same; one of the processes gets SIGTERM when it trains for the n-th time."""

    def __init__(self, calls: int, rank: int):
        self.calls, self.rank = calls, rank

    def of(self, forecast, target, observed):
        self.calls -= forecast.requires_grad
        if self.calls == 0 and os.environ.get("RANK", "0") == str(self.rank):
            self.calls = -1
            os.kill(os.getpid(), signal.SIGTERM)
        return super().of(forecast, target, observed)


def train(
    folder,
    *,
    model="convlstm_small",
    overrides=(),
    loss=None,
    source=None,
    epochs=1,
    size=2,
    processes=None,
    resume=False,
    **settings,
):
    """Train a small model of a file in conf/model, ``size`` samples a step in all; its losses and
    weights as numbers.
    """
    count = 1 if processes is None else processes.world.size
    radar = [
        "data=radar",
        "data.archive=x",
        "task.context_length=2",
        "task.forecast_length=2",
        f"transform.knee={KNEE}",
        f"transform.ceiling={CEILING}",
    ]
    composed = config.plain(
        config.compose(
            "train",
            [*radar, f"model={model}", "transform=log_rain_rate", *SMALL[model], *overrides],
        )
    )
    torch.manual_seed(1)
    forecaster = Forecaster.from_settings(composed)
    options = {"learning_rate": 1e-3, "precision": "float32", "accelerator": "cpu"} | settings
    plan = TrainingSettings(max_epochs=epochs, batch_size=size // count, devices=count, **options)
    how = {"folder": folder, "seed": 1, "processes": processes, "resume": resume}
    history = fit(forecaster, source or Rain(), loss=loss or SquaredError(), settings=plan, **how)
    weights = torch.cat(
        [weight.detach().double().flatten() for weight in forecaster.model.parameters()]
    )
    return {
        "train": history.train_loss,
        "validation": history.validation_loss,
        "csi": history.validation_csi,
        "weights": [
            weights.sum().item(),
            weights.abs().sum().item(),
            weights.square().sum().item(),
        ],
    }


def synthetic() -> SyntheticRain:
    return SyntheticRain(
        Task(2, 2, 5),
        1,
        size=48,
        timesteps=[5.0, 10.0],
        samples_per_epoch=3,
        renew=1,
        validation_samples=3,
        missing=0.3,
    )


def trainings(folder: Path, processes=None) -> dict:
    """Every training that has to give the same in one process and in two, by name."""
    found = {}
    for model in SMALL:
        of_its_own = (
            {"loss": LOSSES["exceedance_error"], "source": synthetic()}
            if model == "lagrangian"
            else {}
        )
        found[model] = train(folder / model, model=model, processes=processes, **of_its_own)
    for name, loss in LOSSES.items():
        if name not in (
            "crps",
            "exceedance_error",
        ):  # members draw at random; the other one was among the models
            found[name] = train(folder / name, loss=loss, processes=processes)
    of_csi = {"select": "csi", "learning_rate": 0.1, "patience": 2, "epochs": 4}
    found["csi"] = train(
        folder / "csi", source=Rain(5, 5), loss=WeightedError(), processes=processes, **of_csi
    )
    found["foreign"] = train(
        folder / "foreign", loss=Foreign(), source=Rain(7, 5), size=4, epochs=2, processes=processes
    )
    found["broken"] = train(
        folder / "broken", loss=Broken(), source=Rain(7, 5), size=4, epochs=2, processes=processes
    )
    found["clipped"] = train(
        folder / "clipped",
        gradient_clip=0.01,
        schedule="cosine",
        source=Rain(5, 5),
        epochs=2,
        processes=processes,
    )
    found["one sample"] = train(folder / "one", source=Rain(1, 1), processes=processes)
    return found


STEADY = {"source": Rain(5, 5), "epochs": 3, "learning_rate": 1e-2}


def of_two_alone(folder: Path, processes) -> dict:
    """What only two processes do: random draws, what becomes of trainings that one of them is told
    to stop, and of one that one process began.
    """
    found = {"drawn": [], "stopped": {}}
    noise = {"model": "convlstm_s", "overrides": ["model.sampling=forward"], "source": Rain(4, 2)}
    members = {"overrides": ["model.state_noise=0.1"], "loss": CRPS(members=2)}
    for name in ("first", "again"):
        found["drawn"].append(
            [
                train(folder / f"{name}-{kind}", processes=processes, **how)
                for kind, how in (("noise", noise), ("members", members))
            ]
        )
    drawing = Drawing()
    train(folder / "drawing", loss=drawing, processes=processes)
    (folder / f"seeds-{processes.world.rank}.json").write_text(json.dumps(drawing.seeds))
    for rank, calls, workers in ((0, 1, 0), (1, 2, 1), (1, 6, 0)):
        name = f"{rank}-{calls}"
        stop = folder / f"stopped-{name}"
        how = STEADY | {"processes": processes, "workers": workers}
        try:
            train(stop, loss=Stopped(calls, rank), **how)
            found["stopped"][name] = "went on"
        except Terminated:
            found["stopped"][name] = train(stop, loss=Foreign(), resume=True, **how)
    how = STEADY | {"processes": processes, "loss": Foreign()}
    found["undisturbed"] = train(folder / "undisturbed", **how)
    train(folder / "begun by two", **(how | {"epochs": 1}))
    found["begun by one"] = train(folder / "begun by one", **how, resume=True)
    return found


def main(folder: str) -> None:
    processes = Processes(started_world(), say=sys.stderr.write)
    with processes:
        processes.met()
        result = {
            "same": trainings(Path(folder), processes),
            "alone": of_two_alone(Path(folder), processes),
        }
        if processes.first:
            Path(folder, "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1])
