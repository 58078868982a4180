"""How far a training is, on a terminal and in a notebook."""

from nowcast.runtime.progress import ProgressLine, in_notebook
from nowcast.training.lightning_names import ProgressBar, RichProgressBar


def progress_bar() -> ProgressBar:
    """The one for where this runs."""
    return EpochLines() if in_notebook() else EpochBars(leave=True)


class EpochBars(RichProgressBar):
    """Progress of every epoch, with its losses and the CSI where it selects."""

    NAMES = {"train": "train_loss_step", "validation": "validation_loss", "CSI": "validation_csi"}

    def get_metrics(self, *args) -> dict:
        """What stands beside the bar."""
        logged = self.trainer.callback_metrics
        return {
            shown: f"{float(logged[name]):.5g}"
            for shown, name in self.NAMES.items()
            if name in logged
        }


class EpochLines(ProgressBar):
    """The same in a notebook, as a line of text for each epoch."""

    def __init__(self):
        super().__init__()
        self._line: ProgressLine | None = None  # only the main process has one

    def on_train_epoch_start(self, trainer, *args) -> None:
        """Begin a line."""
        if trainer.is_global_zero:
            self._line = ProgressLine(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}")

    def on_train_batch_end(self, trainer, module, outputs, batch, index: int) -> None:
        """Show a step."""
        if self._line is not None:
            self._line.show(index + 1, int(self.total_train_batches))

    def on_train_epoch_end(self, trainer, module) -> None:
        """End the line with the losses."""
        if self._line is None:
            return
        losses, total = [], int(self.total_train_batches)
        sum_of_losses, steps = module.sums.tolist()
        if steps:
            losses.append(f"train {sum_of_losses / steps:.5g}")
        if "validation_loss" in trainer.callback_metrics:
            losses.append(f"validation {float(trainer.callback_metrics['validation_loss']):.5g}")
        self._line.show(total, total, ", ".join(losses), now=True)
        self._line.end()

    def on_exception(self, *args) -> None:
        """Leave the line as it is."""
        if self._line is not None:
            self._line.end()

    def disable(self) -> None:
        """Nothing to do: only the main process has a line."""
