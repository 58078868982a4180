"""What happens beside the steps of a training: checkpoints, and what ends it early."""

import math
import os
import signal
import threading
import time
from pathlib import Path

import torch
from torch import Tensor

from nowcast.runtime import library_private
from nowcast.runtime.errors import Terminated
from nowcast.training import checkpoints
from nowcast.training.lightning_names import (
    Callback,
    EarlyStopping,
    ModelCheckpoint,
    Trainer,
    WeightAveraging,
)
from nowcast.training.settings import TrainingSettings

# seconds after a SIGTERM in which another one is the same: launchers pass on what the whole group
# of processes got already
REPEATED = 2.0
WEIGHTS = "current_model_state"
"""Entry of a checkpoint whose ``state_dict`` is a mean: the weights that training goes on with."""


class BestCheckpoint(ModelCheckpoint):
    """Keeps the best and the last checkpoint, and finds them again after the run folder was moved.

    Args:
        folder: of the checkpoints.
        settings: say which weights are the best.
    """

    def __init__(self, folder: Path, settings: TrainingSettings):
        monitor, mode = settings.monitor
        super().__init__(
            folder,
            filename=Path(checkpoints.BEST).stem,
            monitor=monitor,
            mode=mode,
            save_last=True,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )

    @property
    def state_key(self) -> str:
        """The name of its state in checkpoints, which is that of older versions."""
        return super().state_key.replace(type(self).__qualname__, "_Best", 1)

    def on_train_epoch_end(self, trainer, module) -> None:
        """Save the last checkpoint, which Lightning leaves as it was unless it is the best."""
        super().on_train_epoch_end(trainer, module)
        library_private.save_last(self, trainer)

    def load_state_dict(self, state: dict) -> None:
        """Take over its state, with paths in the folder of now."""
        old = str(state["dirpath"])

        def moved(value):
            if isinstance(value, dict):
                return {moved(key): moved(item) for key, item in value.items()}
            if isinstance(value, str) and value.startswith(old):
                return value.replace(old, str(self.dirpath), 1)
            return value

        super().load_state_dict(moved(state))


class Patience(EarlyStopping):
    """Stops early, with the patience of now where a run goes on with another one."""

    def __init__(self, settings: TrainingSettings):
        monitor, mode = settings.monitor
        patience = int(settings.patience)
        super().__init__(monitor, mode=mode, patience=patience, check_on_train_epoch_end=True)

    @property
    def state_key(self) -> str:
        """The name of its state in checkpoints, that of Lightning's class."""
        return super().state_key.replace(type(self).__qualname__, EarlyStopping.__qualname__, 1)

    def load_state_dict(self, state: dict) -> None:
        """Take over its state, but for the patience."""
        super().load_state_dict(state | {"patience": self.patience})


def ended_by_patience(settings: TrainingSettings, checkpoint: dict) -> bool:
    """Whether a training ended so; Lightning would look at that only after another epoch."""
    if settings.patience is None:
        return False
    return any(
        name.startswith(EarlyStopping.__name__) and state["wait_count"] >= settings.patience
        for name, state in checkpoint.get("callbacks", {}).items()
    )


class AveragedWeights(WeightAveraging):
    """Validates, selects and saves the mean of the weights after every step so far, in which a step
    counts ``average`` times as much as the one after it; training goes on with the weights
    themselves.

    Its place is before all callbacks that save checkpoints, which else lack the last step.
    """

    def __init__(self, average: float):
        self._average = average
        super().__init__(use_buffers=False, avg_fn=self._mean)

    def _mean(self, mean: Tensor, weights: Tensor, steps: Tensor) -> Tensor:
        """The mean with the weights after another step, besides those of so many before."""
        # (1 - average) alone would let the weights after the first step count for all before it
        share = (1 - self._average) / (1 - self._average ** (int(steps) + 1))
        return torch.lerp(mean, weights, share)

    def setup(self, trainer, module, stage: str) -> None:
        """Make a copy of the module, without the checkpoint that it goes on with."""
        going_on, module.going_on = module.going_on, None
        super().setup(trainer, module, stage)
        module.going_on = going_on

    def on_fit_start(self, trainer, module) -> None:
        """Move the copy to where the module is by now."""
        library_private.average_beside(self, module)

    def on_load_checkpoint(self, trainer, module, checkpoint: dict) -> None:
        """Take over mean and weights; of a training without a mean it begins with the next step."""
        if WEIGHTS in checkpoint:
            super().on_load_checkpoint(trainer, module, checkpoint)


class Termination(Callback):
    """Answers SIGTERM: the step is finished, a checkpoint is saved, the training ends.

    A second SIGTERM ends the process at once. In a validation, and after the last step before one,
    nothing can be saved from which Lightning would go on with that validation: the checkpoint is
    then the one of the step before the last, kept in memory since.

    Args:
        path: of the checkpoint.
    """

    def __init__(self, path: Path):
        self.path = path
        self.requested = False
        self.requested_at = math.inf
        self.kept: dict | None = None

    def listen(self) -> None:
        """Take over SIGTERM."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._handle)

    def _handle(self, number: int, frame) -> None:
        if self.requested and time.monotonic() - self.requested_at > REPEATED:
            os._exit(128 + number)
        if not self.requested:
            self.requested, self.requested_at = True, time.monotonic()

    def on_train_start(self, trainer, module) -> None:
        """Take over again from Lightning's handler, which would end the training without saving."""
        self.listen()
        self.requested = self.requested or trainer.received_sigterm
        library_private.forget_received_sigterm(trainer)

    def on_train_batch_end(self, trainer, module, outputs, batch, index: int) -> None:
        """Keep the state before the last step; end after a step where that was requested."""
        to_come = trainer.num_training_batches - 1 - index
        if to_come == 1:  # the last state from which Lightning goes on into the validation
            self.kept = library_private.training_state(trainer)
        if self._requested_anywhere(trainer):
            if to_come > 0:
                trainer.save_checkpoint(self.path)
            else:
                self._save_kept(trainer)
            raise Terminated

    def on_validation_batch_end(self, trainer, *args, **more) -> None:
        """End after a step of the validation."""
        if self._requested_anywhere(trainer):
            self._save_kept(trainer)
            raise Terminated

    def on_train_epoch_end(self, trainer, module) -> None:
        """Forget the state of the epoch that is done."""
        self.kept = None

    def _requested_anywhere(self, trainer: Trainer) -> bool:
        if trainer.world_size == 1:
            return self.requested
        return trainer.strategy.reduce_boolean_decision(self.requested, all=False)

    def _save_kept(self, trainer: Trainer) -> None:
        if self.kept and trainer.is_global_zero:
            checkpoints.save(self.kept, self.path)
        trainer.strategy.barrier()  # nobody leaves before it is written
