"""The forecast that it stays dry, or becomes so: what a score is worth without any skill."""

import torch
from torch import Tensor, nn


class Dry(nn.Module):
    """0 mm/h everywhere."""

    def forward(
        self, context: Tensor, forecast_length: int, observed: Tensor | None = None
    ) -> Tensor:
        """(B, T, 1, H, W) -> (B, forecast_length, 1, H, W)."""
        return torch.zeros_like(context[:, -1:]).expand(-1, forecast_length, -1, -1, -1)
