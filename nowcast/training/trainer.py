"""Lightning's trainer, as this project wants it, and what is made of its errors."""

from pathlib import Path

import torch
from torch.utils.data import DataLoader

from nowcast.runtime import library_private
from nowcast.runtime.errors import UserError, first_line
from nowcast.runtime.precision import precision_of
from nowcast.runtime.processes import Processes
from nowcast.runtime.surroundings import signal_handlers
from nowcast.training import checkpoints
from nowcast.training.callbacks import AveragedWeights, BestCheckpoint, Patience, Termination
from nowcast.training.lightning_names import (
    CheckpointIO,
    CSVLogger,
    LearningRateMonitor,
    LightningModule,
    TensorBoardLogger,
    Trainer,
)
from nowcast.training.processes import trainer_options
from nowcast.training.progress_bars import progress_bar
from nowcast.training.settings import TrainingSettings

_PRECISIONS = {"float32": "32-true", "bf16-mixed": "bf16-mixed"}  # Lightning's names for ours


class CheckpointFiles(CheckpointIO):
    """Our checkpoints, for Lightning.

    Args:
        content: of the checkpoint to go on with, if any.
    """

    def __init__(self, content: dict | None = None):
        self._content = content

    def save_checkpoint(self, checkpoint: dict, path: str, storage_options=None) -> None:
        """Write one, see ``checkpoints.save``."""
        checkpoints.save(checkpoint, path)

    def load_checkpoint(
        self, path: str, map_location=None, weights_only: bool | None = None
    ) -> dict:
        """The one to go on with, or that of a file."""
        return checkpoints.load(path) if self._content is None else self._content

    def remove_checkpoint(self, path: str) -> None:
        """Remove a file."""
        Path(path).unlink(missing_ok=True)


def lightning_precision(settings: TrainingSettings) -> str:
    """What Lightning calls the precision of a training."""
    gpu = settings.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    return _PRECISIONS[precision_of(settings.precision, "cuda" if gpu else "cpu")]


def make_trainer(settings: TrainingSettings, folder: Path, processes: Processes | None) -> Trainer:
    """The trainer of a run folder."""
    callbacks = [
        Termination(folder / checkpoints.FOLDER / checkpoints.LAST),
        BestCheckpoint(folder / checkpoints.FOLDER, settings),
        progress_bar(),
        LearningRateMonitor("step"),
    ]
    if settings.average is not None:
        callbacks.insert(0, AveragedWeights(settings.average))  # before those that save
    if settings.patience is not None:
        callbacks.append(Patience(settings))
    csv = CSVLogger(folder, name="logs")
    options = trainer_options(processes)
    trainer = Trainer(
        **options | {"plugins": [CheckpointFiles(), *options["plugins"]]},
        accelerator=settings.accelerator,
        devices=settings.devices,
        max_epochs=settings.max_epochs,
        logger=[csv, TensorBoardLogger(folder, name="logs", version=csv.version)],
        callbacks=callbacks,
        precision=lightning_precision(settings),
        gradient_clip_val=settings.gradient_clip,
        num_sanity_val_steps=0,
        log_every_n_steps=10,
        use_distributed_sampler=False,  # EpochSampler shares out the samples itself
        enable_model_summary=False,  # the command says the number of parameters
    )
    # Lightning's handlers would send and wait inside of a signal; ours are there from the beginning
    library_private.leave_signals_alone(trainer)
    return trainer


def run_trainer(
    trainer: Trainer,
    module: LightningModule,
    train: DataLoader,
    validation: DataLoader,
    checkpoint: Path | None,
) -> None:
    """Train; SIGTERM, Ctrl-C and a lost loader process are answered as ``loop.fit`` says."""
    (termination,) = (found for found in trainer.callbacks if isinstance(found, Termination))
    try:
        with signal_handlers(), torch.inference_mode(False), torch.enable_grad():
            termination.listen()
            trainer.fit(module, train, validation, ckpt_path=checkpoint and str(checkpoint))
    except SystemExit as stop:  # what Lightning makes of Ctrl-C
        raise KeyboardInterrupt from stop
    except UserError as error:
        # from a loader worker it comes with the worker's traceback as its text
        raise UserError(str(error).rsplit("UserError: ", 1)[-1].strip()) from error
    except RuntimeError as error:
        if "DataLoader" not in str(error):
            raise
        samples = _samples_being_prepared(train, trainer)
        raise UserError(
            "a process that prepares batches was lost in epoch "
            f"{trainer.current_epoch} while {samples} were being prepared ({first_line(error)}); "
            "the last checkpoint is intact. training.workers=0 shows what is wrong with them."
        ) from error


def _samples_being_prepared(train: DataLoader, trainer: Trainer) -> str:
    """The samples that a process which prepares batches can have been at."""
    sampler = train.sampler
    done = trainer.fit_loop.epoch_loop.batch_progress.current.ready * train.batch_size
    if sampler.done[0] == sampler.epoch:
        done -= sampler.done[1]  # the sampler itself begins after these
    ahead = train.batch_size * (1 + train.prefetch_factor * train.num_workers)
    begin = max(0, done)
    samples = [str(index) for _, index in sampler if index >= 0][begin : begin + ahead]
    return f"samples {', '.join(samples)}" if samples else "validation samples"
