"""Training with Lightning, which only this file and ``training_processes`` import."""

import functools
import logging
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from pathlib import Path

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    LearningRateMonitor,
    ModelCheckpoint,
    ProgressBar,
    RichProgressBar,
)
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.plugins.io import CheckpointIO

from nowcast.data.sampling import loader
from nowcast.evaluation.statistics.scores import csi
from nowcast.forecasting.forecaster import Forecaster
from nowcast.models.base import ForecastModel
from nowcast.models.prediction import Prediction
from nowcast.runtime import library_private
from nowcast.runtime.errors import Terminated, UserError, first_line
from nowcast.runtime.precision import check_precision, precision_of
from nowcast.runtime.processes import Processes
from nowcast.runtime.progress import ProgressLine, in_notebook
from nowcast.runtime.surroundings import signal_handlers
from nowcast.runtime.world import check_devices, started_world
from nowcast.training import checkpoints, resuming
from nowcast.training import processes as training_processes
from nowcast.training.losses import CrossEntropy, counting_with
from nowcast.types.scale import Scale

LIGHTNING = {"float32": "32-true", "bf16-mixed": "bf16-mixed"}  # its names for our precisions
WARMUP = 0.05  # share of the training in which the learning rate rises to its full value
CHECKPOINTS = checkpoints.FOLDER
# seconds after a SIGTERM in which another one is the same: launchers pass on what the whole group
# of processes got already
REPEATED = 2.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Training:
    """How to train.

    Args:
        batch_size: sequences in a step of each device; two devices with batch_size=8 make the steps
            of one with batch_size=16.
        max_epochs: epochs at most.
        learning_rate: at its highest.
        optimizer: "adam", or "rmsprop" as in Shi et al. 2015 (decay 0.9, epsilon 1e-6).
        schedule: "constant", or "cosine": a short warm-up, then down to 0 along a cosine.
        gradient_clip: largest norm of the gradient; None for no limit.
        precision: "float32", "bf16-mixed" (float32 weights and cell states), or "auto": bf16-mixed
            where the hardware multiplies it fast.
        select: what makes weights the best, and patience count: "validation_loss", or "csi": the
            critical success index of the forecasts of the validation part, hits, misses and false
            alarms summed over all of its observed pixels and leads and divided once. As long as no
            event is hit, the validation loss decides.
        select_threshold: rain rate [mm/h] that makes an event of the CSI; read with select=csi
            only.
        patience: epochs without better weights before training stops; None to go on.
        skipped: steps of an epoch that may be left out because their loss or gradient is no finite
            number; one more ends the training.
        workers: processes that prepare batches; any number gives the same batches.
        accelerator, devices: as for Lightning: "auto", "cpu", "gpu"; a number, or "auto" for all of
            them. There is a process for each.
    """

    max_epochs: int
    batch_size: int = 16
    learning_rate: float = 1e-3
    optimizer: str = "adam"
    schedule: str = "constant"
    gradient_clip: float | None = None
    precision: str = "auto"
    select: str = "validation_loss"
    select_threshold: float = 10.0
    patience: int | None = None
    skipped: int = 5
    workers: int = 0
    accelerator: str = "auto"
    devices: str | int = 1

    def __post_init__(self):
        accepted = {
            "optimizer": ("adam", "rmsprop"),
            "schedule": ("constant", "cosine"),
            "select": ("validation_loss", "csi"),
        }
        for name, values in accepted.items():
            if getattr(self, name) not in values:
                raise UserError(
                    f"training.{name} is {getattr(self, name)!r}; accepted are {', '.join(values)}."
                )
        check_precision(self.precision, "training.precision")
        for name, least in (("max_epochs", 1), ("batch_size", 1), ("skipped", 0), ("workers", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise UserError(
                    f"training.{name} is {value!r}; a whole number, at least {least}, is needed."
                )
        for name in ("learning_rate", "select_threshold", "gradient_clip", "patience"):
            value = getattr(self, name)
            if value is None and name in ("gradient_clip", "patience"):
                continue
            if not isinstance(value, (int, float)) or not 0 < value < math.inf:
                raise UserError(f"training.{name} is {value!r}; a number above 0 is needed.")

    @property
    def criterion(self) -> str:
        """What makes weights the best, in words."""
        return (
            f"the CSI at {self.select_threshold:g} mm/h"
            if self.select == "csi"
            else "the validation loss"
        )


@dataclass(frozen=True)
class History:
    """Every epoch so far: mean loss in training and validation, and the CSI where it selects (NaN:
    no event, observed or forecast).
    """

    train_loss: list[float]
    validation_loss: list[float]
    validation_csi: list[float] = field(default_factory=list)


def forecast_of(model: torch.nn.Module, batch: dict, *, members: int | None = None) -> torch.Tensor:
    """A model's forecast, or that many members of one; a batch is what
    ``nowcast.data.sampling.loader`` gives.
    """
    prediction = predicted(model, batch)
    return prediction.point() if members is None else prediction.members(members)


def predicted(model: ForecastModel, batch: dict) -> Prediction:
    """What a model predicts of a batch."""
    scale = batch.get("scale")
    if scale is not None:
        scale = Scale(scale[:, 0], scale[:, 1])
    elif model.capabilities.needs_scale:
        raise UserError(
            f"{type(model).__name__} must know the minutes between frames and the kilometres "
            "between pixels; these data have none."
        )
    length = batch["target"].shape[1]
    return model(batch["context"], length, batch["context_observed"], scale)


def exceedance_loss(
    model: torch.nn.Module, loss, batch: dict, *, generator: torch.Generator | None = None
) -> torch.Tensor:
    """The loss of probabilities to exceed the loss's levels, on every other pixel of rows and
    columns; which ones is drawn from a generator, or torch's.
    """
    first = torch.randint(2, (2,), generator=generator).tolist()
    levels = loss.levels.to(batch["context"].device)
    logits, known = predicted(model, batch).exceedance_logits(levels, every=2, first=first)
    some = (..., slice(first[0], None, 2), slice(first[1], None, 2))
    return loss(
        logits[:, :, :, None],
        batch["target"][some],
        batch["target_observed"][some] & known[:, :, None],
    )


def contingency(forecast: torch.Tensor, batch: dict, event: float) -> torch.Tensor:
    """Hits, misses and false alarms of a forecast, (3,) int64, over the observed pixels that a
    ``Forecaster`` has a forecast for.

    Args:
        event: the normalised value from which on a pixel is an event.
    """
    judged = (
        batch["target_observed"]
        & batch["context_observed"].any(dim=1, keepdim=True)
        & ~forecast.isnan()
    )
    forecasts, observations = (values.ge(event) & judged for values in (forecast, batch["target"]))
    hits = (forecasts & observations).sum()
    return torch.stack([hits, observations.sum() - hits, forecasts.sum() - hits])


def training_loss(
    model: torch.nn.Module,
    loss,
    batch: dict,
    *,
    progress: float,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """The loss of a model's forecast; a model that is to see the truth now and then while it learns
    forecasts every frame but the first.

    Args:
        progress: the share of the training that lies behind, in [0, 1].
        generator: see ``exceedance_loss``.
    """
    if hasattr(loss, "levels"):
        return exceedance_loss(model, loss, batch, generator=generator)
    if not model.capabilities.rehearses or hasattr(loss, "members"):
        return loss(
            forecast_of(model, batch, members=getattr(loss, "members", None)),
            batch["target"],
            batch["target_observed"],
        )
    window, observed = (
        torch.cat([batch[f"context{name}"], batch[f"target{name}"]], dim=1)
        for name in ("", "_observed")
    )
    forecast = model.rehearse(window, observed, batch["context"].shape[1], progress)
    counted = observed[:, 1:]
    if (
        "key" in batch
        # of a sample that only keeps pace with other processes nothing counts, the frames that were
        # seen neither
    ):
        counted = counted & (batch["key"][:, 1] >= 0)[:, None, None, None, None]
    return loss(forecast, window[:, 1:], counted)


def optimizer_of(
    parameters: Iterable[torch.nn.Parameter], settings: Training
) -> torch.optim.Optimizer:
    """The optimiser of a training."""
    rate = settings.learning_rate
    if settings.optimizer == "rmsprop":
        return torch.optim.RMSprop(parameters, lr=rate, alpha=0.9, eps=1e-6)
    fused = (
        settings.gradient_clip is None
    )  # one pass over all weights; Lightning does not clip the gradients of such an optimiser
    return torch.optim.Adam(parameters, lr=rate, fused=fused)


def lay_like_parameters(states: dict[int, dict], parameters: list[torch.nn.Parameter]) -> None:
    """Lay what an optimiser remembers of each parameter in memory as the parameter lies; values
    stay, ``states`` is changed in place.

    A fused optimiser walks through both in the order of memory. Checkpoints of earlier versions
    have weights, and so what is remembered of them, with the channels last.

    Args:
        states: number of a parameter -> what is remembered of it, as in
            ``Optimizer.state_dict()["state"]``.
        parameters: in the optimiser's order.
    """
    for index, remembered in states.items():
        parameter = parameters[index]
        for name, value in remembered.items():
            if (
                isinstance(value, torch.Tensor)
                and value.shape == parameter.shape
                and value.stride() != parameter.stride()
            ):
                remembered[name] = torch.empty_like(
                    parameter, dtype=value.dtype, device=value.device
                ).copy_(value)


def fit(
    forecaster: Forecaster,
    data,
    *,
    loss,
    settings: Training,
    folder: str | Path,
    seed: int,
    resume: bool = False,
    before: Training | None = None,
    begun: Callable[[list[str]], None] | None = None,
    processes: Processes | None = None,
) -> History:
    """Train a forecaster's model; it ends with the best weights by ``settings.criterion``.

    Args:
        forecaster: its model is trained in place.
        data: has ``part("train")`` and ``part("validation")``, see ``nowcast.data``.
        loss: called as loss(forecast, target, observed) on normalised (B, T, 1, H, W) tensors.
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
    _check(forecaster.model, loss)
    _check_processes(settings, processes)
    if processes is None or processes.first:
        checkpoints.tidy(folder / CHECKPOINTS)
    resumed = checkpoints.newest(folder / CHECKPOINTS) if resume else None
    task = forecaster.task
    batches = {
        "context_length": task.context_length,
        "batch_size": settings.batch_size,
        "workers": settings.workers,
    }
    train = loader(data.part("train"), forecaster.transform, seed=seed, **batches)
    validation = loader(data.part("validation"), forecaster.transform, **batches)
    event = (
        _event(forecaster, settings, data.part("validation")) if settings.select == "csi" else None
    )
    module = _Module(
        forecaster.model.train(), loss, settings, seed, event
    )  # it may have made a forecast before
    best = _Best(
        folder / CHECKPOINTS,
        filename=Path(checkpoints.BEST).stem,
        monitor=_monitor(settings)[0],
        mode=_monitor(settings)[1],
        save_last=True,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )
    with training_processes.quiet():
        trainer = _trainer(settings, folder, best, processes)
        if (
            resumed
        ):  # with workers, batches are drawn before Lightning tells the sampler which epoch it is
            _check_weights(resumed.path, resumed.content, module)
            for reason in resumed.passed_over:
                _log.warning(
                    f"{reason} Going on from {resumed.path.name}, of step "
                    f"{resumed.content['global_step']}."
                )
            criterion = resumed.content["criterion"]
            if criterion != settings.criterion:
                raise UserError(
                    f"{folder} has its best weights by {criterion}, not by {settings.criterion}; "
                    "resume with the run's own training.select settings."
                )
            going_on = resuming.resumption(
                resumed,
                settings,
                folder,
                before=before,
                processes=trainer.world_size,
                batches=len(train),
                had_enough=_had_enough(settings, resumed.content),
            )
            module.going_on = going_on
            trainer.strategy.checkpoint_io = _CheckpointFiles(going_on.content())
            train.sampler.set_epoch(resumed.epochs)
            train.sampler.done = (resumed.epochs, going_on.batches * settings.batch_size)
        module.begun = begun
        if resumed and _had_enough(settings, resumed.content):
            module.on_load_checkpoint(resumed.content)
        else:
            _fit(trainer, module, train, validation, str(resumed.path) if resumed else None)
        module.tell_begun()  # a training without a step left
    forecaster.model.cpu()
    best_path = folder / CHECKPOINTS / checkpoints.BEST
    content = checkpoints.load(best_path)
    _check_weights(best_path, content, module)
    module.load_state_dict(content["state_dict"])
    return History(module.train_losses, module.validation_losses, module.validation_csi)


def _check(model: torch.nn.Module, loss) -> None:
    """Refuse a model and a loss that do not go together."""
    names = f"{type(loss).__name__}", f"this {type(model).__name__}"
    can = model.capabilities
    if hasattr(loss, "levels") != can.probabilistic:
        raise UserError(
            f"{names[0]} and {names[1]} do not go together: loss=exceedance_error is for models "
            "of probabilities (model=lagrangian), and they are for it."
        )
    if hasattr(loss, "members") and not can.members:
        hint = "model=convlstm_small model.state_noise=0.1"
        raise UserError(
            f"{names[0]} is a loss for ensembles, but {names[1]} has no members; use {hint}."
        )
    if isinstance(loss, CrossEntropy) and not can.unit_range:
        raise UserError(
            f"{names[0]} needs values between 0 and 1, but {names[1]} has output=linear; "
            "use output=sigmoid, or loss=squared_error."
        )


def _check_processes(settings: Training, processes: Processes | None) -> None:
    """Refuse processes that the settings do not stand for."""
    world = started_world() if processes is None else processes.world
    count = training_processes.device_count(settings.accelerator, settings.devices)
    check_devices(world, count, settings.devices)
    if processes is None and count > 1:
        raise UserError(
            f"training.devices is {settings.devices}: one process trains on one device. Use "
            "nowcast train, which starts the others, or torchrun."
        )


def _event(forecaster: Forecaster, settings: Training, cases) -> float:
    """The normalised value from which on a pixel is an event of the CSI that selects.

    Normalised values are compared, so that an observation equal to the threshold is an event:
    normalised and restored it may fall below.
    """
    threshold = settings.select_threshold
    if forecaster.task.quantity != "rain_rate":
        raise UserError(
            "training.select=csi counts rain, but the task forecasts "
            f"{forecaster.task.quantity}; use training.select=validation_loss."
        )
    event = forecaster.transform.normalise(np.array([threshold]))[0]
    restored = forecaster.transform.restore(event).item()
    if not math.isclose(restored, threshold, rel_tol=1e-3):
        raise UserError(
            f"training.select_threshold is {threshold:g} mm/h, which the transform makes "
            f"{restored:g} mm/h; choose one between its limits."
        )
    future = slice(forecaster.task.context_length, None)
    if not any(
        (cases.case(0, index)[future] >= np.float32(threshold)).any() for index in range(len(cases))
    ):
        raise UserError(
            f"none of the {len(cases)} validation cases has rain of {threshold:g} mm/h to "
            "forecast; choose a lower training.select_threshold, "
            "more data.validation_samples, or training.select=validation_loss."
        )
    return event.item()


def _had_enough(settings: Training, checkpoint: dict) -> bool:
    """Whether a training ended by its patience; Lightning would look at that only after another
    epoch.
    """
    states = [
        state
        for name, state in checkpoint.get("callbacks", {}).items()
        if name.startswith(EarlyStopping.__name__)
    ]
    return settings.patience is not None and any(
        state["wait_count"] >= settings.patience for state in states
    )


def _monitor(settings: Training) -> tuple[str, str]:
    """The logged number that selects the best weights, and which of its values are better."""
    return ("selection", "max") if settings.select == "csi" else ("validation_loss", "min")


def _fit(
    trainer: lightning.Trainer,
    module: lightning.LightningModule,
    train,
    validation,
    checkpoint: str | None,
) -> None:
    termination = next(
        callback for callback in trainer.callbacks if isinstance(callback, _Termination)
    )
    try:
        with (
            signal_handlers(),
            torch.inference_mode(False),
            torch.enable_grad(),
        ):  # Lightning leaves Ctrl-C without an answer
            termination.listen()
            trainer.fit(module, train, validation, ckpt_path=checkpoint)
    except SystemExit as stop:  # what Lightning makes of Ctrl-C
        raise KeyboardInterrupt from stop
    except (
        UserError
    ) as error:  # from a loader worker it comes with the worker's traceback as its text
        raise UserError(str(error).rsplit("UserError: ", 1)[-1].strip()) from error
    except RuntimeError as error:
        if "DataLoader" not in str(error):
            raise
        raise UserError(_lost(train, trainer, first_line(error))) from error


def _lost(train, trainer: lightning.Trainer, reason: str) -> str:
    """What is told of a process that prepares batches and died, or took too long: the samples it
    can have been at.
    """
    done = trainer.fit_loop.epoch_loop.batch_progress.current.ready * train.batch_size - (
        train.sampler.done[1] if train.sampler.done[0] == train.sampler.epoch else 0
    )
    ahead = train.batch_size * (1 + train.prefetch_factor * train.num_workers)
    samples = [index for _, index in train.sampler if index >= 0][max(0, done) :][:ahead]
    among = (
        f"samples {', '.join(map(str, samples))} were being prepared"
        if samples
        else "validation samples were being prepared"
    )
    return (
        f"a process that prepares batches was lost in epoch {trainer.current_epoch} while "
        f"{among} ({reason}); the last checkpoint is intact. training.workers=0 shows what is "
        "wrong with them."
    )


def _check_weights(path: Path, content: dict, module: lightning.LightningModule) -> None:
    """Refuse a checkpoint of another model."""
    shapes = {name: tensor.shape for name, tensor in content["state_dict"].items()}
    if shapes != {name: tensor.shape for name, tensor in module.state_dict().items()}:
        raise UserError(
            f"{path} holds the weights of another model than the config.yaml of its run "
            "describes; restore that file, or begin another run."
        )


def _trainer(
    settings: Training, folder: Path, best: ModelCheckpoint, processes: Processes | None
) -> lightning.Trainer:
    bar = _Line() if in_notebook() else _Bar(leave=True)
    callbacks = [
        _Termination(folder / CHECKPOINTS / checkpoints.LAST),
        best,
        bar,
        LearningRateMonitor("step"),
    ]
    if settings.patience is not None:
        monitor, mode = _monitor(settings)
        callbacks.append(
            _Patience(
                monitor, mode=mode, patience=int(settings.patience), check_on_train_epoch_end=True
            )
        )
    csv = CSVLogger(folder, name="logs")
    options = training_processes.trainer_options(processes)
    plugins = [_CheckpointFiles(), *options.pop("plugins")]
    trainer = lightning.Trainer(
        **options,
        accelerator=settings.accelerator,
        devices=settings.devices,
        max_epochs=settings.max_epochs,
        logger=[csv, TensorBoardLogger(folder, name="logs", version=csv.version)],
        callbacks=callbacks,
        plugins=plugins,
        precision=_precision(settings),
        gradient_clip_val=settings.gradient_clip,
        num_sanity_val_steps=0,
        log_every_n_steps=10,
        use_distributed_sampler=False,  # EpochSampler shares out the samples itself
        enable_model_summary=False,
    )
    library_private.leave_signals_alone(
        trainer
        # Lightning's handlers would send and wait inside of a signal; ours are there from the
        # beginning
    )
    return trainer


def _precision(settings: Training) -> str:
    gpu = settings.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    return LIGHTNING[precision_of(settings.precision, "cuda" if gpu else "cpu")]


class _Best(ModelCheckpoint):
    """Keeps the best and the last checkpoint, and knows them again after the run folder was moved."""

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule
    ) -> None:
        super().on_train_epoch_end(trainer, module)
        library_private.save_last(
            self, trainer
        )  # Lightning leaves the last one as it was where it was not the best

    def load_state_dict(self, state: dict) -> None:
        def moved(value):
            if isinstance(value, dict):
                return {moved(key): moved(item) for key, item in value.items()}
            return (
                value.replace(old, str(self.dirpath), 1)
                if isinstance(value, str) and value.startswith(old)
                else value
            )

        old = str(state["dirpath"])
        super().load_state_dict(moved(state))


class _Termination(Callback):
    """Answers SIGTERM: the step is finished, a checkpoint is saved, the training ends; a second
    SIGTERM ends the process at once.

    In a validation, and after the last step before one, nothing can be saved from which Lightning
    would go on with that validation: the checkpoint is then the one of the step before the last,
    held in memory since.
    """

    def __init__(self, path: Path):
        self.path, self.asked, self.held = path, False, None
        self.since = math.inf

    def listen(self) -> None:
        """Take over SIGTERM."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._handle)

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        # where Lightning's handler came in its place, which would end the training without saving
        self.listen()
        self.asked = self.asked or trainer.received_sigterm
        library_private.forget_received_sigterm(trainer)

    def _handle(self, number: int, frame) -> None:
        if self.asked and time.monotonic() - self.since > REPEATED:
            os._exit(128 + number)
        if not self.asked:
            self.asked, self.since = True, time.monotonic()

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        module: lightning.LightningModule,
        outputs,
        batch,
        index: int,
    ) -> None:
        before_last = index == trainer.num_training_batches - 2
        if before_last:
            self.held = library_private.training_state(trainer)
        if self._all_asked(trainer):
            if index < trainer.num_training_batches - 1:
                trainer.save_checkpoint(self.path)
            else:
                self._save_held(trainer)
            raise Terminated

    def on_validation_batch_end(
        self,
        trainer: lightning.Trainer,
        module: lightning.LightningModule,
        outputs,
        batch,
        index: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self._all_asked(trainer):
            self._save_held(trainer)
            raise Terminated

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule
    ) -> None:
        self.held = None

    def _all_asked(self, trainer: lightning.Trainer) -> bool:
        return (
            self.asked
            if trainer.world_size == 1
            else trainer.strategy.reduce_boolean_decision(self.asked, all=False)
        )

    def _save_held(self, trainer: lightning.Trainer) -> None:
        if self.held and trainer.is_global_zero:
            checkpoints.save(self.held, self.path)
        trainer.strategy.barrier()  # nobody leaves before it is written


class _NotFinite(Exception):
    """The gradient of a step holds numbers that are not finite."""


class _Bar(RichProgressBar):
    """Progress of every epoch, with its losses and the CSI where it selects."""

    def get_metrics(self, *args) -> dict:
        found = self.trainer.callback_metrics
        names = {
            "train": "train_loss_step",
            "validation": "validation_loss",
            "CSI": "validation_csi",
        }
        return {
            short: f"{float(found[name]):.5g}" for short, name in names.items() if name in found
        }


class _Line(ProgressBar):
    """The same in a notebook, as a line of text for each epoch."""

    def __init__(self):
        super().__init__()
        self._line: ProgressLine | None = None

    def on_train_epoch_start(self, trainer: lightning.Trainer, *args) -> None:
        if trainer.is_global_zero:
            self._line = ProgressLine(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}")

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module, outputs, batch, index: int
    ) -> None:
        if self._line is not None:
            self._line.show(index + 1, int(self.total_train_batches))

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, module: lightning.LightningModule
    ) -> None:
        if self._line is not None:
            sum_of_losses, steps = module.sums.tolist()
            losses = [f"train {sum_of_losses / steps:.5g}"] if steps else []
            if "validation_loss" in trainer.callback_metrics:
                losses.append(
                    f"validation {float(trainer.callback_metrics['validation_loss']):.5g}"
                )
            total = int(self.total_train_batches)
            self._line.show(total, total, ", ".join(losses), now=True)
            self._line.end()

    def on_exception(self, *args) -> None:
        if self._line is not None:
            self._line.end()

    def disable(self) -> None:
        """Nothing to do: only the main process has a line."""


class _Patience(EarlyStopping):
    """Stops early, with the patience of now where a run goes on with another one."""

    @property
    def state_key(self) -> str:
        return super().state_key.replace(type(self).__qualname__, EarlyStopping.__qualname__, 1)

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict(state | {"patience": self.patience})


class _Module(lightning.LightningModule):
    """Model, loss and optimiser as Lightning wants them."""

    def __init__(
        self, model: torch.nn.Module, loss, settings: Training, seed: int, event: float | None
    ):
        super().__init__()
        self.model, self.loss, self.settings, self.seed, self.event = (
            model,
            loss,
            settings,
            seed,
            event,
        )
        self.train_losses: list[float] = []
        self.validation_losses: list[float] = []
        self.validation_csi: list[float] = []
        self.counts = torch.zeros(3, dtype=torch.int64)
        self.register_buffer(
            "sums", torch.zeros(2, dtype=torch.float64), persistent=False
        )  # of the epoch so far: losses, and steps with one
        self.skipped = 0
        self.keys: list[list[int]] = []
        self.going_on: resuming.Resumption | None = None
        self.begun: Callable[[list[str]], None] | None = None

    def _draw_anew(self, *place: int) -> torch.Generator | None:
        """Whatever a model draws at random is a function of (seed, place in the training, process),
        so that a resumed run draws the same.

        Returns:
            A generator of what all processes draw alike; None where there is one, and torch's own
            does.
        """

        def seed(rank: int) -> int:
            return int(np.random.SeedSequence([self.seed, rank, *place]).generate_state(1)[0])

        torch.manual_seed(seed(self.global_rank))
        return torch.Generator().manual_seed(seed(0)) if self.trainer.world_size > 1 else None

    def _loss_of_all(
        self, batch: dict, compute: Callable[[], torch.Tensor]
    ) -> tuple[torch.Tensor, float, int]:
        """A loss, scaled so that the mean over the processes is that of their batches as one.

        Returns:
            The loss of this process, with its gradient; that of all of them; and the number of
            samples that it is of.
        """
        size = len(batch["key"])
        if self.trainer.world_size == 1:
            loss = compute()
            return loss, loss.item(), size
        processes = self.trainer.world_size
        counts = bool(
            (batch["key"][:, 1] >= 0).all()
        )  # else the batch is there only to keep pace with the others
        counted = []

        def mean(count: torch.Tensor) -> torch.Tensor:
            counted.append(count)
            return (
                training_processes.total(count.to(self.device, torch.float64) * counts) / processes
            )

        with counting_with(mean):
            loss = compute()
        # a loss of somebody else, which says nothing of what it divides by; samples weigh alike
        # then
        if not counted:
            weight = size * counts / mean(torch.tensor(size))
            loss = loss * weight.to(loss.dtype)
        sums = training_processes.total(
            torch.stack(
                [loss.detach().double(), loss.new_tensor(size * counts, dtype=torch.float64)]
            )
        )
        whole, samples = sums.tolist()
        return loss, whole / processes, round(samples)

    @property
    def shift(self) -> int:
        """Steps to add to those made, to know how far the training is; 0 unless epochs had another
        number of steps before.
        """
        return self.going_on.shift if self.going_on else 0

    def tell_begun(self) -> None:
        """Say once that the training begins, and which settings are others than before."""
        if self.begun is not None and self.trainer.is_global_zero:
            self.begun(self.going_on.sentences() if self.going_on else [])
        self.begun = None

    def on_train_start(self) -> None:
        if self.going_on:
            resuming.take_over(
                self.trainer.optimizers[0], self.trainer.lr_scheduler_configs[0].scheduler
            )
        self.tell_begun()

    def training_step(self, batch: dict, index: int) -> torch.Tensor:
        shared = self._draw_anew(0, self.global_step)
        progress = (self.global_step + self.shift) / self.trainer.estimated_stepping_batches
        loss, whole, samples = self._loss_of_all(
            batch,
            lambda: training_loss(
                self.model, self.loss, batch, progress=progress, generator=shared
            ),
        )
        self.keys = batch["key"].tolist()
        self.log(
            "train_loss_step",
            whole,
            prog_bar=True,
            on_step=True,
            on_epoch=False,
            batch_size=samples,
        )
        if math.isfinite(whole):
            self.sums += torch.tensor([whole, 1], dtype=torch.float64, device=self.sums.device)
            return loss
        return (
            loss * math.nan
        )  # the gradient of every process says so then, and all of them leave the step out

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        gradients = [
            parameter.grad for parameter in self.parameters() if parameter.grad is not None
        ]
        if gradients and not torch.isfinite(torch.nn.utils.get_total_norm(gradients)):
            raise _NotFinite

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer, optimizer_closure=None) -> None:
        """A step; one whose loss or gradient is no finite number changes nothing, and too many of
        them end the training.
        """
        try:
            super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        except _NotFinite:
            self.skipped += 1
            samples = ", ".join(map(str, self._samples()))
            what = (
                f"the loss or its gradient is no finite number in epoch {epoch}, step "
                f"{batch_idx}, samples {samples}"
            )
            if self.skipped > self.settings.skipped:
                raise UserError(
                    f"{what}; {self.skipped} steps of this epoch were left out, and "
                    f"training.skipped allows {self.settings.skipped}. "
                    "The last checkpoint is intact. Look at these samples, try a lower "
                    "training.learning_rate, or training.gradient_clip=1."
                ) from None
            if self.trainer.is_global_zero:
                _log.warning(
                    f"{what}: the step is left out ({self.skipped} of at most "
                    f"{self.settings.skipped})"
                )

    def _samples(self) -> list[int]:
        """The samples of the step, of all processes, in the order in which one would have taken
        them.
        """
        keys = [self.keys]
        if self.trainer.world_size > 1:
            keys = [None] * self.trainer.world_size
            torch.distributed.all_gather_object(keys, self.keys)
        in_order = chain.from_iterable(zip_longest(*keys))
        return [key[1] for key in in_order if key is not None and key[1] >= 0]

    def validation_step(self, batch: dict, index: int) -> None:
        shared = self._draw_anew(1, self.current_epoch, index)
        members = getattr(self.loss, "members", None)
        forecast = None

        def compute() -> torch.Tensor:
            nonlocal forecast
            if hasattr(self.loss, "levels"):
                return exceedance_loss(self.model, self.loss, batch, generator=shared)
            forecast = forecast_of(self.model, batch, members=members)
            return self.loss(forecast, batch["target"], batch["target_observed"])

        _, whole, samples = self._loss_of_all(batch, compute)
        if not math.isfinite(whole):
            raise UserError(
                f"the validation loss is {whole} after epoch {self.current_epoch}; try a lower "
                "training.learning_rate."
            )
        self.log("validation_loss", whole, prog_bar=True, batch_size=samples)
        if (
            self.event is not None
        ):  # members are not judged one by one, but by the forecast that will be published
            judged = (
                forecast
                if members is None and forecast is not None
                else forecast_of(self.model, batch)
            )
            self.counts = self.counts.to(self.device) + contingency(judged, batch, self.event)

    def on_validation_epoch_start(self) -> None:
        self.counts = torch.zeros_like(self.counts)

    def on_validation_epoch_end(self) -> None:
        if self.event is not None:
            self.validation_csi.append(float(csi(*training_processes.total(self.counts).tolist())))
            self.log("validation_csi", self.validation_csi[-1])

    def on_train_epoch_end(self) -> None:
        total, steps = self.sums.tolist()  # the same in every process
        self.train_losses.append(total / steps if steps else math.nan)
        self.log("train_loss_epoch", self.train_losses[-1])
        self.validation_losses.append(float(self.trainer.callback_metrics["validation_loss"]))
        self.sums.zero_()
        self.skipped = 0
        if self.event is not None:
            score = self.validation_csi[-1]
            self.log("selection", score if score > 0 else -self.validation_losses[-1])

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        checkpoint["history"] = [
            list(values)
            for values in (self.train_losses, self.validation_losses, self.validation_csi)
        ]
        checkpoint["epoch_so_far"] = [*self.sums.tolist(), self.skipped]
        checkpoint["criterion"] = self.settings.criterion
        checkpoint[resuming.SETTINGS] = resuming.settings_in_checkpoint(
            self.settings, processes=self.trainer.world_size
        )
        checkpoint[resuming.SHIFT] = self.shift

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        self.train_losses, self.validation_losses, self.validation_csi = (
            list(values) for values in checkpoint["history"]
        )
        *sums, self.skipped = checkpoint["epoch_so_far"]
        self.sums.copy_(torch.tensor(sums, dtype=torch.float64))
        for states in checkpoint["optimizer_states"]:
            lay_like_parameters(states["state"], list(self.parameters()))

    def configure_optimizers(self) -> dict:
        optimizer = optimizer_of(self.parameters(), self.settings)
        total = self.trainer.estimated_stepping_batches
        constant = self.settings.schedule == "constant"
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer,
            (lambda step: 1.0) if constant else functools.partial(_cosine, total, shift=self.shift),
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _cosine(total: int, step: int, *, shift: int = 0) -> float:
    """Share of the full learning rate at a step: a linear warm-up, then a cosine down to 0 at
    ``total`` steps; not kept in a checkpoint, so that a resumed run with more or fewer epochs gets
    down to 0, too.
    """
    step += shift
    warmup = max(1, round(WARMUP * total))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * min(1, (step - warmup) / max(1, total - warmup))))


class _CheckpointFiles(CheckpointIO):
    """Our checkpoints, for Lightning.

    Args:
        content: of the checkpoint to go on with, if any.
    """

    def __init__(self, content: dict | None = None):
        self._content = content

    def save_checkpoint(self, checkpoint: dict, path: str, storage_options=None) -> None:
        checkpoints.save(checkpoint, path)

    def load_checkpoint(
        self, path: str, map_location=None, weights_only: bool | None = None
    ) -> dict:
        return checkpoints.load(path) if self._content is None else self._content

    def remove_checkpoint(self, path: str) -> None:
        Path(path).unlink(missing_ok=True)
