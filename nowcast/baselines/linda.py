"""LINDA (Pulkkinen et al. 2021) by pysteps: an ensemble for convective rain, with kernels fitted
around its cells.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from nowcast.baselines.extrapolation import (
    case_by_case,
    check_motion,
    enough,
    has_dry_frame,
    known_only,
    motion_of,
    quiet,
    seed_of,
)
from nowcast.models.base import Capabilities, ForecastModel
from nowcast.models.prediction import DrawnEnsemble, Prediction
from nowcast.runtime.errors import UserError
from nowcast.types.scale import Scale

FRAMES = 3  # an autoregression of first order, of differences
_FEATURES = "shitomasi"  # by OpenCV, which is here anyway; pysteps' own choice needs scikit-image


class Linda(ForecastModel):
    """Lagrangian integro-difference equation model with autoregression; works on rain rates [mm/h].
    It takes minutes for a large grid.

    Args:
        members: M that are judged, and whose mean is the forecast.
        motion: method of optical flow, see ``nowcast.baselines.extrapolation``.
        seed: of the members; a case has the same members in every process and order.

    With pysteps' own settings otherwise. What the advection brings in from outside the grid, or
    from where the last frame was not observed, has no forecast in any member (NaN); other missing
    pixels are taken as dry. A context with a dry frame stays where it is, in all members.
    """

    capabilities = Capabilities(needs_scale=True, members=True, partial=True, slow=True)

    def __init__(self, members: int = 6, motion: str = "lucaskanade", seed: int = 1):
        super().__init__()
        if members < 2 or seed < 0:
            raise UserError(
                f"LINDA with members={members} and seed={seed} cannot run; "
                "at least 2 members and a seed of 0 or more are needed."
            )
        check_motion(motion)
        # the perturbations of the motion are made in km/h
        self.capabilities = replace(self.capabilities, own_members=members)
        self.members, self.motion, self.seed = members, motion, seed

    def forward(
        self,
        context: Tensor,
        forecast_length: int,
        observed: Tensor | None = None,
        scale: Scale | None = None,
    ) -> Prediction:
        """(B, T, 1, H, W) rain rate [mm/h] -> an ensemble whose mean is the forecast, of the scale
        given, or 5 minutes and 1 km.
        """
        enough(context, FRAMES, "LINDA")
        timestep, spacing = (scale or Scale(5.0, 1.0)).of_each(context)

        def draw(members: int, generator: torch.Generator | None) -> Tensor:
            return case_by_case(
                lambda rain_rate, *scale: self._forecast(
                    rain_rate[-FRAMES:], forecast_length, members, *scale
                ),
                context,
                observed,
                timestep,
                spacing,
            )

        return DrawnEnsemble(draw, self.members)

    def _forecast(
        self,
        rain_rate: np.ndarray,
        forecast_length: int,
        members: int,
        timestep: float,
        spacing: float,
    ) -> np.ndarray:
        """(3, H, W) -> (members, forecast_length, H, W)."""
        if has_dry_frame(rain_rate):
            return np.broadcast_to(
                rain_rate[-1], (members, forecast_length, *rain_rate.shape[1:])
            ).copy()
        motion = motion_of(rain_rate, self.motion)
        with quiet():
            from pysteps.nowcasts.linda import forecast

            filled = np.nan_to_num(rain_rate.astype(np.float64), nan=0.0)
            found = forecast(
                filled,
                motion,
                forecast_length,
                feature_method=_FEATURES,
                n_ens_members=members,
                kmperpixel=spacing,
                timestep=timestep,
                seed=seed_of(rain_rate, self.seed),
            )
        return known_only(np.nan_to_num(found, nan=0.0), rain_rate[-1], motion)
