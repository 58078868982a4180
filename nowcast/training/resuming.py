"""Going on with a training under other settings: what can change, and how it acts from there on.

A checkpoint brings the state of the optimiser, the schedule and the callbacks along, and with it
the settings they were made with. Without changes that state is all; a run goes on bit for bit. What
was changed replaces what came along, or is refused before anything is written.

Steps are counted from the beginning of a run. Where their number in an epoch changes (another batch
size, another number of processes), ``Resumption.shift`` is what must be added to that count to know
how far the training is.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from nowcast.runtime.errors import UserError
from nowcast.training.checkpoints import Checkpoint
from nowcast.training.settings import TrainingSettings

SETTINGS, SHIFT = "training", "shift"
"""Entries of a checkpoint: the settings it was trained with, as data, and ``Resumption.shift``."""

_BEFORE_THEY_WERE_SETTINGS = {"average": None}  # what older checkpoints were trained with
_ENDING = ("max_epochs", "patience")  # what can end a training that has nothing else to do


@dataclass(frozen=True)
class Resumption:
    """How a training goes on from a checkpoint.

    Args:
        checkpoint: where it goes on.
        changes: name of each changed setting -> (value before, value now).
        shift: steps to add to the steps made, for the place in the schedule.
        anew: whether the epoch that had begun begins anew, as its batches are others now.
    """

    checkpoint: Checkpoint
    changes: dict[str, tuple] = field(default_factory=dict)
    shift: int = 0
    anew: bool = False

    @property
    def batches(self) -> int:
        """Batches of the epoch that has begun that need not be trained on again."""
        return 0 if self.anew else self.checkpoint.batches

    def sentences(self) -> list[str]:
        """What is changed, and from where on."""
        step, epoch = self.checkpoint.content["global_step"], self.checkpoint.epochs
        found = [
            f"from epoch {epoch}, step {step} on: training.{name}={_as_typed(now)} in place of "
            f"{_as_typed(before)}"
            for name, (before, now) in self.changes.items()
        ]
        if self.anew:
            found.append(f"epoch {epoch} begins anew, as its batches are others now")
        return found

    def content(self) -> dict:
        """The checkpoint's content, for Lightning to go on with."""
        content = self.checkpoint.content
        return _at_the_beginning_of_its_epoch(content) if self.anew else content


def settings_in_checkpoint(settings: TrainingSettings, *, processes: int) -> dict:
    """The settings of a training as a checkpoint keeps them."""
    return {**asdict(settings), "processes": processes}


def resumption(
    checkpoint: Checkpoint,
    settings: TrainingSettings,
    folder: Path,
    *,
    before: TrainingSettings | None = None,
    processes: int,
    batches: int,
    had_enough: bool,
) -> Resumption:
    """How a training goes on with settings that may be others than before.

    Args:
        checkpoint: where it goes on.
        settings: of the training from here on.
        folder: of the run, for messages.
        before: the settings so far, for checkpoints that do not say; None: the same.
        processes: of the training from here on.
        batches: of an epoch from here on.
        had_enough: whether its patience has ended the training.

    Raises:
        UserError: a setting that cannot change, or one that is changed while no step is left for
            it.
    """
    now = settings_in_checkpoint(settings, processes=processes)
    known = checkpoint.content.get(SETTINGS)
    if known is None:
        known = settings_in_checkpoint(before or settings, processes=processes)
    known = _BEFORE_THEY_WERE_SETTINGS | known
    changes = {}
    for name, value in asdict(settings).items():
        if known.get(name, value) != value:
            changes[name] = (known[name], value)
    _refuse_other_optimizer(changes, folder)
    done = checkpoint.epochs
    if done > settings.max_epochs:
        raise UserError(
            f"{folder} has {done} epochs behind it, more than "
            f"training.max_epochs={settings.max_epochs}; give a larger number."
        )
    finished = done == settings.max_epochs
    if finished or had_enough:
        _refuse_changes_without_a_step(changes, settings, folder, had_enough=had_enough)
    if _samples_a_step(known) == _samples_a_step(now):
        return Resumption(checkpoint, changes, checkpoint.content.get(SHIFT, 0))
    shift = done * batches - checkpoint.content["global_step"]
    return Resumption(checkpoint, changes, shift, checkpoint.batches > 0 and not finished)


def _samples_a_step(settings: dict) -> int:
    """How many samples a step is made of, in all processes together.

    An epoch that has begun cannot change it.
    """
    return settings["batch_size"] * settings["processes"]


def _refuse_other_optimizer(changes: dict[str, tuple], folder: Path) -> None:
    if "optimizer" in changes:
        before, now = changes["optimizer"]
        raise UserError(
            f"{folder} was trained with training.optimizer={before}, whose averages of gradients "
            f"{now} cannot go on with; "
            f"go on with {before}, or begin another run with {now}."
        )


def _refuse_changes_without_a_step(
    changes: dict[str, tuple], settings: TrainingSettings, folder: Path, *, had_enough: bool
) -> None:
    """Refuse what would be written down and never be used, as the training is at its end."""
    ending = ("patience",) if had_enough else _ENDING
    idle = [name for name in changes if name not in ending]
    if not idle:
        return
    why, more = f"its {settings.max_epochs} epochs are done", "training.max_epochs"
    if had_enough:
        why = f"its patience of {settings.patience} epochs has ended it"
        more = "training.patience"
    raise UserError(
        f"training.{idle[0]} would have no effect: no step is left in {folder}, {why}; give a "
        f"larger {more}, too."
    )


def take_over(
    optimizer: torch.optim.Optimizer, schedule: torch.optim.lr_scheduler.LambdaLR
) -> None:
    """Let the settings of now act, after the state of an optimiser and a schedule was restored.

    Restored, they have the settings of the checkpoint. Where nothing changed this changes nothing.
    """
    rate = optimizer.defaults["lr"]
    schedule.base_lrs = [rate] * len(optimizer.param_groups)
    for group, share in zip(optimizer.param_groups, schedule.lr_lambdas, strict=True):
        group.update(optimizer.defaults)  # also fused, which gradient_clip decides
        group["initial_lr"] = rate
        group["lr"] = rate * share(schedule.last_epoch)
    schedule._last_lr = [group["lr"] for group in optimizer.param_groups]


def _at_the_beginning_of_its_epoch(content: dict) -> dict:
    """A checkpoint as if the epoch that had begun had not.

    Its weights are kept, its batches come again.
    """
    fit = content["loops"]["fit_loop"]
    batches, epochs = fit["epoch_loop.batch_progress"], fit["epoch_progress"]
    none_done = dict.fromkeys(batches["current"], 0)
    all_done = dict.fromkeys(epochs["current"], epochs["current"]["processed"])
    fit = fit | {
        "epoch_loop.batch_progress": batches | {"current": none_done, "is_last_batch": False},
        "epoch_progress": epochs | {"current": all_done},
    }
    loops = content["loops"] | {"fit_loop": fit}
    return content | {"loops": loops, "epoch_so_far": [0.0, 0.0, 0]}


def _as_typed(value) -> str:
    """A value as it is written on the command line."""
    return "null" if value is None else str(value)
