"""The forecast that nothing changes."""

import torch
from torch import Tensor

from nowcast.models.base import Capabilities, ForecastModel
from nowcast.models.prediction import Prediction, SingleField
from nowcast.types.scale import Scale


class Persistence(ForecastModel):
    """Repeat the last context frame; where that was not observed there is no forecast (NaN)."""

    capabilities = Capabilities(any_length=True)

    def forward(
        self,
        context: Tensor,
        forecast_length: int,
        observed: Tensor | None = None,
        scale: Scale | None = None,
    ) -> Prediction:
        """(B, T, 1, H, W) -> (B, forecast_length, 1, H, W)."""
        last = context[:, -1:]
        if observed is not None:
            last = torch.where(observed[:, -1:], last, torch.nan)
        return SingleField(last.expand(-1, forecast_length, -1, -1, -1))
