"""Extrapolation along the motion that the Lagrangian network moves with: the network without its
network. Needs no pysteps.
"""

import torch
from torch import Tensor

from nowcast.models.base import ForecastModel
from nowcast.models.lagrangian.carrying import departures, pixel_positions, sampled_at
from nowcast.models.lagrangian.maps import averaged
from nowcast.models.lagrangian.motion import motion_between
from nowcast.models.network import check_context
from nowcast.models.prediction import Prediction, SingleField
from nowcast.types.scale import Scale

_DRY = 0.1  # mm/h
_COARSER = 2  # pixels to a side of those on which the motion is looked for
_WINDOW = 7.0  # of them


class Advection(ForecastModel):
    """The last frame carried along the motion of all context frames; works on rain rates [mm/h].

    The motion is that of ``nowcast.models.lagrangian.motion``, on pixels of twice the size. What it
    brings in from outside the grid, or from where the last frame was not observed, has no forecast
    (NaN).
    """

    context_length = 2

    def forward(
        self,
        context: Tensor,
        forecast_length: int,
        observed: Tensor | None = None,
        scale: Scale | None = None,
    ) -> Prediction:
        """(B, T, 1, H, W) rain rate [mm/h] -> (B, forecast_length, 1, H, W)."""
        check_context(self, context, forecast_length, observed)
        frames, size = context[:, :, 0], context.shape[-2:]
        mask = torch.ones_like(frames) if observed is None else observed[:, :, 0].to(frames.dtype)
        frames = torch.where(mask > 0, frames, 0.0)
        means, weights = averaged(torch.log1p(frames.clamp(min=0) / _DRY), mask, _COARSER)
        motion = motion_between(means, weights, window=_WINDOW, levels=4, smallest=4)
        x, y = pixel_positions(*size, like=frames)
        last = torch.stack([frames[:, -1], mask[:, -1]], dim=1)
        covered = tuple(side * _COARSER for side in means.shape[-2:])
        forecast = []
        for back in departures(motion, forecast_length):
            moved = _COARSER * sampled_at(back, x, y, covered, beyond="border")
            rain, known = sampled_at(last, x + moved[:, 0], y + moved[:, 1], size).unbind(dim=1)
            forecast.append(torch.where(known > 0.999, rain, torch.nan))
        return SingleField(torch.stack(forecast, dim=1)[:, :, None])
