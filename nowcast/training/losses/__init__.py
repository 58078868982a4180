"""Losses: what a training makes small. What was not observed counts for nothing.

Read `base` first: the contract of all losses. They are made of models' predictions on normalised
tensors and may import ``runtime``, ``types`` and the contracts in ``nowcast.models``; nothing of
data, scores or Lightning.

How to add one, also in a package of your own. A loss of one forecast derives from `PixelLoss` and
defines ``of``; scheduled sampling, hidden pixels and several processes are taken care of:

    @dataclass(frozen=True)
    class RootError(PixelLoss):
        def of(self, forecast, target, observed):
            return observed_mean((forecast - target).abs().sqrt(), observed)

A loss of an ensemble or of a distribution derives from `TrainingLoss` and takes from the model's
prediction what it needs, as `CRPS` and `ExceedanceError` do. A file in conf/loss names the class.

Every loss is a scalar in float32 (float64 stays), whatever the precision of the network. Values
that were not observed, also NaN and infinite ones, change neither it nor its gradient; where
nothing at all was observed, both are 0.

Axes: B batch, M members, K thresholds, T time, C channels, H rows, W columns.
"""

from nowcast.training.losses.base import PixelLoss, TrainingLoss, counting_with, observed_mean
from nowcast.training.losses.ensemble import CRPS
from nowcast.training.losses.exceedance import ExceedanceError
from nowcast.training.losses.pixels import (
    AbsoluteError,
    BalancedError,
    CrossEntropy,
    SquaredError,
    StructuralError,
    WeightedError,
)

__all__ = [
    "CRPS",
    "AbsoluteError",
    "BalancedError",
    "CrossEntropy",
    "ExceedanceError",
    "PixelLoss",
    "SquaredError",
    "StructuralError",
    "TrainingLoss",
    "WeightedError",
    "counting_with",
    "observed_mean",
]
