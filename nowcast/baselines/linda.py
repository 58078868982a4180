"""LINDA (Pulkkinen et al. 2021) by pysteps: an ensemble for convective rain, with kernels fitted
around its cells.
"""

from typing import ClassVar

import numpy as np
from torch import Tensor, nn

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
from nowcast.runtime.errors import UserError

FRAMES = 3  # an autoregression of first order, of differences
_FEATURES = "shitomasi"  # by OpenCV, which is here anyway; pysteps' own choice needs scikit-image


class Linda(nn.Module):
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

    SLOW: ClassVar[bool] = True
    SCALED: ClassVar[bool] = True  # the perturbations of the motion are made in km/h

    def __init__(self, members: int = 6, motion: str = "lucaskanade", seed: int = 1):
        super().__init__()
        if members < 2 or seed < 0:
            raise UserError(
                f"LINDA with members={members} and seed={seed} cannot run; "
                "at least 2 members and a seed of 0 or more are needed."
            )
        check_motion(motion)
        self.members, self.motion, self.seed = members, motion, seed

    def forward(
        self,
        context: Tensor,
        forecast_length: int,
        observed: Tensor | None = None,
        *,
        timestep: Tensor | float = 5.0,
        spacing: Tensor | float = 1.0,
    ) -> Tensor:
        """(B, T, 1, H, W) rain rate [mm/h] -> the mean of the members, (B, forecast_length, 1, H,
        W).
        """
        return self.ensemble(
            context,
            forecast_length,
            observed,
            members=self.members,
            timestep=timestep,
            spacing=spacing,
        ).mean(1)

    def ensemble(
        self,
        context: Tensor,
        forecast_length: int,
        observed: Tensor | None = None,
        *,
        members: int,
        timestep: Tensor | float = 5.0,
        spacing: Tensor | float = 1.0,
    ) -> Tensor:
        """(B, T, 1, H, W) rain rate [mm/h], minutes between frames and kilometres between pixels,
        of all or of each case -> (B, members, forecast_length, 1, H, W).
        """
        enough(context, FRAMES, "LINDA")
        return case_by_case(
            lambda rain_rate, *scale: self._forecast(
                rain_rate[-FRAMES:], forecast_length, members, *scale
            ),
            context,
            observed,
            timestep,
            spacing,
        )

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
