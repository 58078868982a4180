"""The forecast that it stays dry, or becomes so: what a score is worth without any skill."""

import torch
from torch import Tensor

from nowcast.models.base import Capabilities, ForecastModel
from nowcast.models.prediction import Prediction, SingleField
from nowcast.types.scale import Scale


class Dry(ForecastModel):
    """0 mm/h everywhere."""

    capabilities = Capabilities(any_length=True)

    def forward(
        self,
        context: Tensor,
        forecast_length: int,
        observed: Tensor | None = None,
        scale: Scale | None = None,
    ) -> Prediction:
        """(B, T, 1, H, W) -> (B, forecast_length, 1, H, W)."""
        zeros = torch.zeros_like(context[:, -1:])
        return SingleField(zeros.expand(-1, forecast_length, -1, -1, -1))
