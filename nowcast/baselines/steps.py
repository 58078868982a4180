"""STEPS (Bowler et al. 2006; Seed et al. 2013) by pysteps: an ensemble of S-PROG with noise in the
place of what fades.
"""

import numpy as np

from nowcast.baselines.extrapolation import DRY, decibels, known_only
from nowcast.baselines.pysteps_methods import PystepsEnsemble
from nowcast.baselines.sprog import rain_of
from nowcast.runtime.errors import UserError


class Steps(PystepsEnsemble):
    """Short-Term Ensemble Prediction System: a cascade of scales with stochastic perturbations of
    rain and motion; works on rain rates [mm/h].

    Args:
        members: M that are judged, and whose mean is the forecast.
        cascade_levels: number of scales.
        motion: method of optical flow: "lucaskanade", "darts", "vet", "proesmans", "farneback".
        seed: of the members; a case has the same members in every process and order.

    With pysteps' own settings otherwise (nonparametric noise, incremental mask, probability
    matching). What the advection brings in from outside the grid, or from where the last frame was
    not observed, has no forecast in any member (NaN); what the perturbed motion of a member brings
    in has none in this member. A context with a dry frame stays where it is, in all members.
    """

    context_length = 3  # an autoregression of second order

    def __init__(
        self, members: int = 20, cascade_levels: int = 6, motion: str = "lucaskanade", seed: int = 1
    ):
        if cascade_levels < 2:
            raise UserError(f"cascade_levels is {cascade_levels}; STEPS needs at least 2 scales.")
        super().__init__(members, motion, seed)
        self.cascade_levels = cascade_levels

    def members_of(self, frames: np.ndarray, settings: dict) -> np.ndarray:
        """(3, H, W) -> (M, T, H, W)."""
        from pysteps.nowcasts.steps import forecast

        cascade = {"n_cascade_levels": self.cascade_levels, "precip_thr": 10 * np.log10(DRY)}
        found = forecast(decibels(frames), **settings, **cascade)
        return known_only(rain_of(found), frames[-1], settings["velocity"])
