"""How to train, as a file of conf/training says it."""

import math
from dataclasses import dataclass

from nowcast.runtime.errors import UserError
from nowcast.runtime.precision import check_precision

_ACCEPTED = {
    "optimizer": ("adam", "rmsprop", "muon"),
    "schedule": ("constant", "cosine"),
    "select": ("validation_loss", "csi"),
}
_SMALLEST = {"max_epochs": 1, "batch_size": 1, "skipped": 0, "workers": 0}
_ABOVE_ZERO = ("learning_rate", "select_threshold", "gradient_clip", "patience", "average")
_MAY_BE_NONE = ("gradient_clip", "patience", "average")


@dataclass(frozen=True)
class TrainingSettings:
    """How to train.

    Args:
        max_epochs: epochs at most.
        batch_size: sequences in a step of each device; two devices with batch_size=8 make the steps
            of one with batch_size=16.
        learning_rate: at its highest.
        optimizer: "adam"; "rmsprop" as in Shi et al. 2015 (decay 0.9, epsilon 1e-6); or "muon",
            Adam for everything but convolutions, whose steps go along orthogonal momentum: fewer
            steps to the same loss in short trainings.
        schedule: "constant", or "cosine": a short warm-up, then down to 0 along a cosine.
        gradient_clip: largest norm of the gradient; None for no limit.
        average: validated, selected and saved is the mean of the weights after every step so far,
            in which a step counts this many times (below 1) as much as the one after it: with 0.99
            the last hundred steps or so. None: the weights after the last step.
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
        accelerator: as for Lightning: "auto", "cpu", "gpu".
        devices: as for Lightning: a number, or "auto" for all of them. There is a process for each.

    Raises:
        UserError: a setting that is none of these.
    """

    max_epochs: int
    batch_size: int = 16
    learning_rate: float = 1e-3
    optimizer: str = "adam"
    schedule: str = "constant"
    gradient_clip: float | None = None
    average: float | None = None
    precision: str = "auto"
    select: str = "validation_loss"
    select_threshold: float = 10.0
    patience: int | None = None
    skipped: int = 5
    workers: int = 0
    accelerator: str = "auto"
    devices: str | int = 1

    def __post_init__(self):
        for name, accepted in _ACCEPTED.items():
            value = getattr(self, name)
            if value not in accepted:
                raise UserError(
                    f"training.{name} is {value!r}; accepted are {', '.join(accepted)}."
                )
        check_precision(self.precision, "training.precision")
        for name, smallest in _SMALLEST.items():
            value = getattr(self, name)
            if not isinstance(value, int) or value < smallest:
                raise UserError(
                    f"training.{name} is {value!r}; expected a whole number, at least {smallest}."
                )
        for name in _ABOVE_ZERO:
            value = getattr(self, name)
            if value is None and name in _MAY_BE_NONE:
                continue
            if not isinstance(value, (int, float)) or not 0 < value < math.inf:
                raise UserError(f"training.{name} is {value!r}; expected a number above 0.")
        if self.average is not None and self.average >= 1:
            raise UserError(
                f"training.average is {self.average!r}; expected a number above 0 and below 1, "
                "such as 0.99, or null."
            )

    @property
    def criterion(self) -> str:
        """What makes weights the best, in words."""
        if self.select == "csi":
            return f"the CSI at {self.select_threshold:g} mm/h"
        return "the validation loss"

    @property
    def monitor(self) -> tuple[str, str]:
        """The logged number that selects the best weights, and which of its values are better."""
        return ("selection", "max") if self.select == "csi" else ("validation_loss", "min")
