"""What every epoch of a training came to, and the score that selected its weights."""

import math
from dataclasses import dataclass, field
from pathlib import Path

from nowcast.training import checkpoints


@dataclass(frozen=True)
class History:
    """Every epoch so far.

    Args:
        train_loss: mean loss in training.
        validation_loss: mean loss in validation.
        validation_csi: CSI where it selects; NaN: no event, observed or forecast.
    """

    train_loss: list[float]
    validation_loss: list[float]
    validation_csi: list[float] = field(default_factory=list)

    @property
    def score(self) -> float:
        """The score of the weights that are kept: the highest CSI where it selects, else the lowest
        validation loss.
        """
        if self.validation_csi:
            return max(0.0 if math.isnan(value) else value for value in self.validation_csi)
        return min(self.validation_loss)


def history_of(folder: str | Path) -> History:
    """The history of a run up to its best weights.

    Raises:
        UserError: the checkpoint of these weights is missing or damaged.
    """
    best = Path(folder) / checkpoints.FOLDER / checkpoints.BEST
    return History(*checkpoints.load(best)["history"])
