"""LINDA (Pulkkinen et al. 2021) by pysteps: an ensemble for convective rain, with kernels fitted
around its cells.
"""

import numpy as np

from nowcast.baselines.extrapolation import known_only
from nowcast.baselines.pysteps_methods import PystepsEnsemble

_FEATURES = "shitomasi"  # by OpenCV, which is here anyway; pysteps' own choice needs scikit-image


class Linda(PystepsEnsemble):
    """Lagrangian integro-difference equation model with autoregression; works on rain rates [mm/h].
    It takes minutes for a large grid.

    Args:
        members: M that are judged, and whose mean is the forecast.
        motion: method of optical flow: "lucaskanade", "darts", "vet", "proesmans", "farneback".
        seed: of the members; a case has the same members in every process and order.

    With pysteps' own settings otherwise. What the advection brings in from outside the grid, or
    from where the last frame was not observed, has no forecast in any member (NaN); other missing
    pixels are taken as dry. A context with a dry frame stays where it is, in all members.
    """

    context_length = 3  # an autoregression of first order, of differences

    def __init__(self, members: int = 6, motion: str = "lucaskanade", seed: int = 1):
        super().__init__(members, motion, seed)

    def members_of(self, frames: np.ndarray, settings: dict) -> np.ndarray:
        """(3, H, W) -> (M, T, H, W)."""
        from pysteps.nowcasts.linda import forecast

        filled = np.nan_to_num(frames.astype(np.float64), nan=0.0)
        found = forecast(filled, feature_method=_FEATURES, **settings)
        return known_only(np.nan_to_num(found, nan=0.0), frames[-1], settings["velocity"])
