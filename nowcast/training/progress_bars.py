"""How far a training is: on a terminal, in a notebook, and in a file or a pipe."""

import sys
import time
from contextlib import suppress

from nowcast.runtime.progress import ProgressLine, ProgressLog, in_notebook, on_terminal
from nowcast.training.lightning_names import ProgressBar, RichProgressBar


def progress_bar() -> ProgressBar:
    """The one for where this runs."""
    if in_notebook():
        return EpochLines()
    if on_terminal(sys.stdout):
        return EpochBars(leave=True)
    return EpochLog()


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


class EpochLog(ProgressBar):
    """A line of text for each epoch when it is done, and every half minute of it, without control
    characters: for log files.
    """

    def __init__(self):
        super().__init__()
        self._begun = 0.0
        self._log: ProgressLog | None = None  # only the main process has one

    def on_train_start(self, trainer, *args) -> None:
        """Look at the clock, for an epoch that goes on in its middle has no start."""
        self.on_train_epoch_start(trainer)

    def on_train_epoch_start(self, trainer, *args) -> None:
        """Look at the clock."""
        self._begun = time.monotonic()
        if trainer.is_global_zero:
            epoch = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
            self._log = ProgressLog(f"{epoch}: step", to_output=True)

    def on_train_batch_end(self, trainer, module, outputs, batch, index: int) -> None:
        """Say now and then how far the epoch is."""
        if self._log is not None and self._log.is_due:
            self._log.show(index + 1, int(self.total_train_batches))

    def on_train_epoch_end(self, trainer, module) -> None:
        """Write the line; the work goes on where nobody can read it."""
        if not trainer.is_global_zero or sys.stdout is None:
            return
        seconds = time.monotonic() - self._begun
        line = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}: {_losses(trainer, module)}"
        with suppress(OSError):
            sys.stdout.write(f"{line} ({seconds:.0f} s)\n")
            sys.stdout.flush()

    def disable(self) -> None:
        """Nothing to do: only the main process writes."""


class EpochLines(ProgressBar):
    """The same in a notebook, as a line that fills up during the epoch."""

    def __init__(self):
        super().__init__()
        self._line: ProgressLine | None = None  # only the main process has one

    def on_train_start(self, trainer, *args) -> None:
        """Begin a line, for an epoch that goes on in its middle has no start."""
        self.on_train_epoch_start(trainer)

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
        total = int(self.total_train_batches)
        self._line.show(total, total, _losses(trainer, module), now=True)
        self._line.end()

    def on_exception(self, *args) -> None:
        """Leave the line as it is."""
        if self._line is not None:
            self._line.end()

    def disable(self) -> None:
        """Nothing to do: only the main process has a line."""


def _losses(trainer, module) -> str:
    """The losses of the epoch that ends, and the CSI where it selects."""
    found = []
    sum_of_losses, steps = module.sums.tolist()
    if steps:
        found.append(f"train {sum_of_losses / steps:.5g}")
    for name, logged in (("validation", "validation_loss"), ("CSI", "validation_csi")):
        if logged in trainer.callback_metrics:
            found.append(f"{name} {float(trainer.callback_metrics[logged]):.5g}")
    return ", ".join(found)
