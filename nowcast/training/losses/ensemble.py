"""The loss of an ensemble.

Axes: B batch, M members, T time, C channels, H rows, W columns.
"""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from nowcast.models.base import ForecastModel
from nowcast.models.prediction import Prediction
from nowcast.runtime.errors import UserError
from nowcast.training.losses.base import TrainingLoss, not_together, observed_mean, without_hidden
from nowcast.types.batch import Batch


@dataclass(frozen=True)
class CRPS(TrainingLoss):
    """Continuous ranked probability score of an ensemble, mean over observed pixels.

    Of members x_1 .. x_M and truth y it is mean |x_i - y| - sum_ij |x_i - x_j| / (2 M (M - 1)).
    This fair version (Ferro 2014, doi 10.1002/qj.2270) is on average lowest for members drawn from
    the truth's own distribution, whatever M. The ordinary one divides by 2 M^2 and so rewards a few
    members for being too much alike.

    Args:
        members: how many the model draws in training, at least 2.
        fair: the fair version, or the ordinary one.
    """

    members: int = 4
    fair: bool = True

    def __post_init__(self):
        if not self.members >= 2:
            raise UserError(f"loss.members is {self.members}; it must be 2 or more.")

    def check(self, model: ForecastModel) -> None:
        """Refuse a model that draws no members."""
        if model.capabilities.probabilistic:
            raise UserError(not_together(self, model))
        if not model.capabilities.members:
            raise UserError(
                f"{type(self).__name__} is a loss for ensembles, but this {type(model).__name__} "
                "has no members; use model=convlstm_small model.state_noise=0.1."
            )

    def of_prediction(
        self, prediction: Prediction, batch: Batch, generator: Generator | None = None
    ) -> Tensor:
        """The loss of ``members`` members; each process draws its own, from torch's generator."""
        members = prediction.members(self.members)
        return self.compare(members, batch.target, batch.target_observed)

    def compare(self, forecast: Tensor, target: Tensor, observed: Tensor) -> Tensor:
        """Forecast (B, M, T, C, H, W), target and observed (B, T, C, H, W) -> scalar.

        Raises:
            UserError: a forecast without at least 2 members.
        """
        if forecast.ndim != target.ndim + 1 or forecast.shape[1] < 2:
            raise UserError(
                "expected at least 2 members (B, M, T, C, H, W), got a forecast of shape "
                f"{tuple(forecast.shape)} for a target of shape {tuple(target.shape)}; take a "
                "model that draws members (model.state_noise=0.1), or another loss than CRPS."
            )
        count = forecast.shape[1]
        targets = torch.stack([target] * count, dim=1)
        everywhere = torch.stack([observed] * count, dim=1)
        forecast, targets = without_hidden(forecast, targets, everywhere)
        error = (forecast - targets).abs().mean(1)
        # the sum of |x_i - x_j| over i < j from the gaps between neighbours in order of size: one
        # with k members below it lies between k (M - k) pairs
        gaps = forecast.sort(dim=1, stable=True).values.diff(dim=1)
        below = torch.arange(1, count, device=forecast.device)
        pairs_at_gap = (below * (count - below)).reshape(-1, *[1] * (forecast.ndim - 2))
        pairs = (pairs_at_gap * gaps).sum(1)
        divisor = count * (count - 1) if self.fair else count * count
        return observed_mean(error - pairs / divisor, observed)
