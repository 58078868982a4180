"""A model: the last frame fades away, as fast as the training finds best."""

import torch
from torch import Tensor, nn

from nowcast import Capabilities, ForecastModel, Prediction, Scale, SingleField


class Fading(ForecastModel):
    """The last frame, weaker with each lead time.

    Args:
        half_life: frames after which half of it is left, to begin with; it is learnt.
    """

    capabilities = Capabilities(unit_range=True)  # as the normalised frames that it takes

    def __init__(self, half_life: float = 10.0):
        super().__init__()
        self.log_half_life = nn.Parameter(torch.tensor(half_life).log())

    def forward(
        self,
        context: Tensor,
        forecast_length: int,
        observed: Tensor | None = None,
        scale: Scale | None = None,
    ) -> Prediction:
        """(B, T, 1, H, W), normalised -> a prediction of (B, forecast_length, 1, H, W)."""
        last = context[:, -1:]  # 0 where it was not observed
        leads = torch.arange(1, forecast_length + 1, device=context.device)
        left = 0.5 ** (leads / self.log_half_life.exp())
        return SingleField(last * left[:, None, None, None])
