"""Training with Lightning: what is checked before, how a run goes on, and what comes out."""

import logging
from collections.abc import Callable
from pathlib import Path

from torch.utils.data import DataLoader

from nowcast.data.base import DataSet
from nowcast.data.sampling import loader
from nowcast.forecasting.forecaster import Forecaster
from nowcast.runtime.errors import UserError
from nowcast.runtime.processes import Processes
from nowcast.runtime.world import check_devices, started_world
from nowcast.training import checkpoints, resuming
from nowcast.training.callbacks import ended_by_patience
from nowcast.training.history import History
from nowcast.training.lightning_names import Trainer
from nowcast.training.losses.base import TrainingLoss
from nowcast.training.module import TrainingModule
from nowcast.training.processes import device_count, quiet
from nowcast.training.selection import normalised_event
from nowcast.training.settings import TrainingSettings
from nowcast.training.trainer import CheckpointFiles, make_trainer, run_trainer

_log = logging.getLogger(__name__)


def fit(
    forecaster: Forecaster,
    data: DataSet,
    *,
    loss: TrainingLoss,
    settings: TrainingSettings,
    folder: str | Path,
    seed: int,
    resume: bool = False,
    before: TrainingSettings | None = None,
    begun: Callable[[list[str]], None] | None = None,
    processes: Processes | None = None,
) -> History:
    """Train a forecaster's model; it ends with the best weights by ``settings.criterion``.

    Args:
        forecaster: its model is trained in place.
        data: its "train" and "validation" parts are used.
        loss: what is made small.
        settings: how to train.
        folder: checkpoints/best.ckpt, checkpoints/last.ckpt and logs/ are written here.
        seed: of the order of the training samples.
        resume: go on from the newest whole checkpoint; with the same settings equal to a run that
            was never interrupted, with others these act from there on.
        before: the settings so far, for a checkpoint of an older nowcast, which does not say.
        begun: called once by the first process when all is accepted and the first step is to come,
            with a sentence for each setting that is another one than before.
        processes: those that train together, each of which calls this; None for one.

    Raises:
        UserError: nothing to resume from, settings that a training cannot go on with, a model and a
            loss or a selection that do not go together, or losses that are no longer finite
            numbers.
        Terminated: SIGTERM came; the step is finished and a checkpoint is saved.
    """
    folder = Path(folder)
    loss.check(forecaster.model)
    _check_processes(settings, processes)
    if processes is None or processes.first:
        checkpoints.tidy(folder / checkpoints.FOLDER)
    resumed = checkpoints.newest(folder / checkpoints.FOLDER) if resume else None
    train, validation = _loaders(forecaster, data, settings, seed)
    event = None
    if settings.select == "csi":
        event = normalised_event(forecaster, settings.select_threshold, data.part("validation"))
    # the model may have made a forecast before, which left it in evaluation mode
    module = TrainingModule(forecaster.model.train(), loss, settings, seed, event)
    with quiet():
        trainer = make_trainer(settings, folder, processes)
        if resumed:
            _check_content(resumed, module, settings, folder)
            module.going_on = resuming.resumption(
                resumed,
                settings,
                folder,
                before=before,
                processes=trainer.world_size,
                batches=len(train),
                had_enough=ended_by_patience(settings, resumed.content),
            )
            _begin_at(module.going_on, trainer, train)
        module.begun = begun
        if resumed and ended_by_patience(settings, resumed.content):
            module.on_load_checkpoint(resumed.content)
        else:
            run_trainer(trainer, module, train, validation, resumed and resumed.path)
        module.report_begun()  # of a training without a step left
    forecaster.model.cpu()
    best = folder / checkpoints.FOLDER / checkpoints.BEST
    content = checkpoints.load(best)
    _check_weights(best, content, module)
    module.load_state_dict(content["state_dict"])
    return History(module.train_losses, module.validation_losses, module.validation_csi)


def _check_processes(settings: TrainingSettings, processes: Processes | None) -> None:
    """Refuse processes that the settings do not stand for."""
    world = started_world() if processes is None else processes.world
    count = device_count(settings.accelerator, settings.devices)
    check_devices(world, count, settings.devices)
    if processes is None and count > 1:
        raise UserError(
            f"training.devices is {settings.devices}: one process trains on one device. Use "
            "nowcast train, which starts the others, or torchrun."
        )


def _loaders(
    forecaster: Forecaster, data: DataSet, settings: TrainingSettings, seed: int
) -> tuple[DataLoader, DataLoader]:
    """Batches of the training part, shuffled, and of the validation part."""
    how = {
        "context_length": forecaster.task.context_length,
        "batch_size": settings.batch_size,
        "workers": settings.workers,
    }
    train = loader(data.part("train"), forecaster.transform, seed=seed, **how)
    return train, loader(data.part("validation"), forecaster.transform, **how)


def _check_content(
    resumed: checkpoints.Checkpoint,
    module: TrainingModule,
    settings: TrainingSettings,
    folder: Path,
) -> None:
    """Refuse a checkpoint of another model or selection; report newer ones that are damaged."""
    _check_weights(resumed.path, resumed.content, module)
    for reason in resumed.passed_over:
        _log.warning(
            f"{reason} Going on from {resumed.path.name}, of step {resumed.content['global_step']}."
        )
    criterion = resumed.content["criterion"]
    if criterion != settings.criterion:
        raise UserError(
            f"{folder} has its best weights by {criterion}, not by {settings.criterion}; "
            "resume with the run's own training.select settings."
        )


def _check_weights(path: Path, content: dict, module: TrainingModule) -> None:
    """Refuse a checkpoint of another model."""
    shapes = {name: tensor.shape for name, tensor in content["state_dict"].items()}
    if shapes != {name: tensor.shape for name, tensor in module.state_dict().items()}:
        raise UserError(
            f"{path} contains the weights of another model than the config.yaml of its run "
            "describes; restore that file, or begin another run."
        )


def _begin_at(going_on: resuming.Resumption, trainer: Trainer, train: DataLoader) -> None:
    """Let a trainer and its samples begin where a checkpoint is."""
    trainer.strategy.checkpoint_io = CheckpointFiles(going_on.content())
    # with workers, batches are drawn before Lightning sets the epoch of the sampler
    train.sampler.set_epoch(going_on.checkpoint.epochs)
    train.sampler.done = (going_on.checkpoint.epochs, going_on.batches * train.batch_size)
