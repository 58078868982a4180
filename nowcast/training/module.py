"""One step of a training and of its validation: model, loss and optimiser as Lightning wants them.

Axes: B batch.
"""

import logging
import math
from collections.abc import Callable
from itertools import chain, zip_longest

import numpy as np
import torch
from torch import Generator, Tensor

from nowcast.evaluation.statistics.scores import csi
from nowcast.models.base import ForecastModel
from nowcast.runtime.errors import UserError
from nowcast.training import processes, resuming
from nowcast.training.callbacks import WEIGHTS
from nowcast.training.lightning_names import LightningModule
from nowcast.training.losses.base import TrainingLoss, predict
from nowcast.training.optimizers import lay_like_parameters, optimizer_of, schedule_of
from nowcast.training.selection import contingency
from nowcast.training.settings import TrainingSettings
from nowcast.types.batch import Batch

_log = logging.getLogger(__name__)


class _NotFinite(Exception):
    """The gradient of a step contains numbers that are not finite."""


class TrainingModule(LightningModule):
    """What Lightning's trainer trains.

    Args:
        model: trained in place.
        loss: of the training and of the validation.
        settings: of the training.
        seed: of everything that a model or a loss draws.
        event: the normalised value of the event whose CSI selects weights; None where the
            validation loss does.

    Attributes:
        train_losses, validation_losses, validation_csi: of every epoch so far.
        sums: of the epoch so far: losses, and steps with one.
        going_on: how the training goes on from a checkpoint; None where it is new.
        begun: called once when the first step is to come, see ``nowcast.training.loop.fit``.
    """

    def __init__(
        self,
        model: ForecastModel,
        loss: TrainingLoss,
        settings: TrainingSettings,
        seed: int,
        event: float | None,
    ):
        super().__init__()
        self.model, self.loss, self.settings = model, loss, settings
        self.seed, self.event = seed, event
        self.train_losses: list[float] = []
        self.validation_losses: list[float] = []
        self.validation_csi: list[float] = []
        self.register_buffer("sums", torch.zeros(2, dtype=torch.float64), persistent=False)
        self.going_on: resuming.Resumption | None = None
        self.begun: Callable[[list[str]], None] | None = None
        self._counts = torch.zeros(3, dtype=torch.int64)  # hits, misses and false alarms
        self._skipped = 0  # steps of this epoch that were left out
        self._keys: list[list[int]] = []  # of the samples of the step

    @property
    def shift(self) -> int:
        """Steps to add to those made, to know how far the training is.

        0 unless epochs had another number of steps before.
        """
        return self.going_on.shift if self.going_on else 0

    def report_begun(self) -> None:
        """Say once that the training begins, and which settings are others than before."""
        if self.begun is not None and self.trainer.is_global_zero:
            changes = [] if self.going_on is None else self.going_on.sentences()
            self.begun(changes)
        self.begun = None

    def transfer_batch_to_device(self, batch: Batch, device, dataloader_idx: int) -> Batch:
        """The batch on the device of the model, copied while the step before is computed."""
        return batch.to(device, non_blocking=device.type == "cuda")

    def _draw_anew(self, *place: int) -> Generator | None:
        """Begin torch's random numbers anew for a place in the training.

        Whatever a model draws at random is a function of (seed, place in the training, process), so
        that a resumed run draws the same.

        Returns:
            A generator of what all processes draw alike; None where there is one, and torch's own
            does.
        """

        def seed(rank: int) -> int:
            return int(np.random.SeedSequence([self.seed, rank, *place]).generate_state(1)[0])

        torch.manual_seed(seed(self.global_rank))
        return Generator().manual_seed(seed(0)) if self.trainer.world_size > 1 else None

    def on_train_start(self) -> None:
        """Let changed settings act, after Lightning has restored a checkpoint."""
        if self.going_on:
            schedule = self.trainer.lr_scheduler_configs[0].scheduler
            resuming.take_over(self.trainer.optimizers[0], schedule)
        self.report_begun()

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """The loss of a batch, with its gradient."""
        generator = self._draw_anew(0, self.global_step)
        progress = (self.global_step + self.shift) / self.trainer.estimated_stepping_batches
        loss = processes.shared_loss(
            lambda: self.loss(self.model, batch, progress, generator), batch
        )
        self._keys = batch.key.tolist()
        self.log("train_loss_step", loss.whole, prog_bar=True, batch_size=loss.samples)
        if not math.isfinite(loss.whole):
            # the gradient of every process says so then, and all of them leave the step out
            return loss.own * math.nan
        self.sums += torch.tensor([loss.whole, 1], dtype=torch.float64, device=self.sums.device)
        return loss.own

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Stop a step whose gradient is no finite number."""
        # one norm of all: a number that is not finite anywhere makes it not finite
        gradients = [weight.grad for weight in self.parameters() if weight.grad is not None]
        if gradients and not torch.isfinite(torch.nn.utils.get_total_norm(gradients)):
            raise _NotFinite

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer, optimizer_closure=None) -> None:
        """A step; one whose loss or gradient is no finite number changes nothing.

        Raises:
            UserError: there are too many of them in this epoch.
        """
        try:
            super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        except _NotFinite:
            self._skipped += 1
            what = (
                f"the loss or its gradient is no finite number in epoch {epoch}, step "
                f"{batch_idx}, samples {', '.join(map(str, self._samples()))}"
            )
            if self._skipped > self.settings.skipped:
                raise UserError(
                    f"{what}; {self._skipped} steps of this epoch were left out, and "
                    f"training.skipped allows {self.settings.skipped}. "
                    "The last checkpoint is intact. Look at these samples, try a lower "
                    "training.learning_rate, or training.gradient_clip=1."
                ) from None
            if self.trainer.is_global_zero:
                _log.warning(
                    f"{what}: the step is left out ({self._skipped} of at most "
                    f"{self.settings.skipped})"
                )

    def _samples(self) -> list[int]:
        """The samples of the step, of all processes, in the order of a single process."""
        in_order = chain.from_iterable(zip_longest(*processes.gathered(self._keys)))
        return [key[1] for key in in_order if key is not None and key[1] >= 0]

    def on_validation_epoch_start(self) -> None:
        """Count events from 0."""
        self._counts = torch.zeros_like(self._counts)

    def validation_step(self, batch: Batch, index: int) -> None:
        """The loss of a batch, and its events where the CSI selects."""
        generator = self._draw_anew(1, self.current_epoch, index)
        prediction = predict(self.model, batch)
        loss = processes.shared_loss(
            lambda: self.loss.of_prediction(prediction, batch, generator), batch
        )
        if not math.isfinite(loss.whole):
            raise UserError(
                f"the validation loss is {loss.whole} after epoch {self.current_epoch}; try a "
                "lower training.learning_rate."
            )
        self.log("validation_loss", loss.whole, prog_bar=True, batch_size=loss.samples)
        if self.event is not None:
            # members are not judged one by one, but by the forecast that will be published
            counts = contingency(prediction.point(), batch, self.event)
            self._counts = self._counts.to(self.device) + counts

    def on_validation_epoch_end(self) -> None:
        """The CSI of all validation batches of all processes."""
        if self.event is not None:
            self.validation_csi.append(float(csi(*processes.total(self._counts).tolist())))
            self.log("validation_csi", self.validation_csi[-1])

    def on_train_epoch_end(self) -> None:
        """Note the losses of the epoch, and log what selects the best weights."""
        total, steps = self.sums.tolist()  # the same in every process
        self.train_losses.append(total / steps if steps else math.nan)
        self.log("train_loss_epoch", self.train_losses[-1])
        self.validation_losses.append(float(self.trainer.callback_metrics["validation_loss"]))
        self.sums.zero_()
        self._skipped = 0
        if self.event is not None:
            # as long as no event is hit, the validation loss decides: below any CSI that is one
            score = self.validation_csi[-1]
            self.log("selection", score if score > 0 else -self.validation_losses[-1])

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        """Add what Lightning does not know to a checkpoint."""
        histories = (self.train_losses, self.validation_losses, self.validation_csi)
        checkpoint["history"] = [list(values) for values in histories]
        checkpoint["epoch_so_far"] = [*self.sums.tolist(), self._skipped]
        checkpoint["criterion"] = self.settings.criterion
        checkpoint[resuming.SETTINGS] = resuming.settings_in_checkpoint(
            self.settings, processes=self.trainer.world_size
        )
        checkpoint[resuming.SHIFT] = self.shift

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        """Take over what `on_save_checkpoint` added."""
        if self.settings.average is None and WEIGHTS in checkpoint:
            # the next step is made from these, not from the mean that was selected by
            checkpoint["state_dict"] = checkpoint[WEIGHTS]
        histories = [list(values) for values in checkpoint["history"]]
        self.train_losses, self.validation_losses, self.validation_csi = histories
        *sums, self._skipped = checkpoint["epoch_so_far"]
        self.sums.copy_(torch.tensor(sums, dtype=torch.float64))
        # before Lightning restores the optimiser, from these very states
        for states in checkpoint["optimizer_states"]:
            lay_like_parameters(states["state"], list(self.parameters()))

    def configure_optimizers(self) -> dict:
        """The optimiser, and the schedule of its learning rate by step."""
        optimizer = optimizer_of(self.parameters(), self.settings)
        steps = self.trainer.estimated_stepping_batches
        schedule = schedule_of(optimizer, self.settings, steps=steps, shift=self.shift)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
