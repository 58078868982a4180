"""STEPS (Bowler et al. 2006; Seed et al. 2013) by pysteps: an ensemble of S-PROG with noise in the
place of what fades.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from nowcast.baselines.extrapolation import (
    DRY,
    case_by_case,
    check_motion,
    decibels,
    enough,
    has_dry_frame,
    known_only,
    motion_of,
    quiet,
    seed_of,
)
from nowcast.baselines.sprog import rain_of
from nowcast.models.base import Capabilities, ForecastModel
from nowcast.models.prediction import DrawnEnsemble, Prediction
from nowcast.runtime.errors import UserError
from nowcast.types.scale import Scale

FRAMES = 3  # an autoregression of second order


class Steps(ForecastModel):
    """Short-Term Ensemble Prediction System: a cascade of scales with stochastic perturbations of
    rain and motion; works on rain rates [mm/h].

    Args:
        members: M that are judged, and whose mean is the forecast.
        cascade_levels: number of scales.
        motion: method of optical flow, see ``nowcast.baselines.extrapolation``.
        seed: of the members; a case has the same members in every process and order.

    With pysteps' own settings otherwise (nonparametric noise, incremental mask, probability
    matching). What the advection brings in from outside the grid, or from where the last frame was
    not observed, has no forecast in any member (NaN); what the perturbed motion of a member brings
    in has none in this member. A context with a dry frame stays where it is, in all members.
    """

    capabilities = Capabilities(needs_scale=True, members=True, partial=True, slow=True)

    def __init__(
        self, members: int = 20, cascade_levels: int = 6, motion: str = "lucaskanade", seed: int = 1
    ):
        super().__init__()
        if members < 2 or cascade_levels < 2 or seed < 0:
            raise UserError(
                f"STEPS with members={members}, cascade_levels={cascade_levels} and seed={seed} "
                "cannot run; "
                "at least 2 members and scales and a seed of 0 or more are needed."
            )
        check_motion(motion)
        # the perturbations of the motion are made in km/h
        self.capabilities = replace(self.capabilities, own_members=members)
        self.members, self.cascade_levels, self.motion, self.seed = (
            members,
            cascade_levels,
            motion,
            seed,
        )

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
        enough(context, FRAMES, "STEPS")
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
            from pysteps.nowcasts.steps import forecast

            found = forecast(
                decibels(rain_rate),
                motion,
                forecast_length,
                n_ens_members=members,
                n_cascade_levels=self.cascade_levels,
                precip_thr=10 * np.log10(DRY),
                kmperpixel=spacing,
                timestep=timestep,
                seed=seed_of(rain_rate, self.seed),
            )
        return known_only(rain_of(found), rain_rate[-1], motion)
