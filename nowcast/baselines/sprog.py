"""S-PROG (Seed 2003) by pysteps: extrapolation that lets the small scales fade as fast as they
change.
"""

import numpy as np

from nowcast.baselines.extrapolation import DRY, decibels
from nowcast.baselines.pysteps_methods import PystepsMethod
from nowcast.runtime.errors import UserError

MATCHINGS = ("mean", "cdf")


class Sprog(PystepsMethod):
    """Spectral prognosis: a cascade of scales, each carried along the motion and regressed on its
    own past; works on rain rates [mm/h].

    Args:
        cascade_levels: number of scales.
        motion: method of optical flow: "lucaskanade", "darts", "vet", "proesmans", "farneback".
        matching: what the forecast keeps of the last frame: its area of rain and its mean rate,
            "mean", or the whole distribution of its rates, "cdf" (as pysteps' function comes),
            which makes it less smooth.

    With pysteps' own settings otherwise: an autoregression of second order. What the advection
    brings in from outside the grid, or from where a frame was not observed, has no forecast (NaN).
    A context with a dry frame stays where it is.
    """

    context_length = 3  # an autoregression of second order

    def __init__(
        self, cascade_levels: int = 6, motion: str = "lucaskanade", matching: str = "mean"
    ):
        if cascade_levels < 2:
            raise UserError(f"cascade_levels is {cascade_levels}; S-PROG needs at least 2 scales.")
        if matching not in MATCHINGS:
            raise UserError(f"matching is {matching!r}; accepted are {' and '.join(MATCHINGS)}.")
        super().__init__(motion)
        self.cascade_levels, self.matching = cascade_levels, matching

    def nowcast(self, frames: np.ndarray, motion: np.ndarray, forecast_length: int) -> np.ndarray:
        """(3, H, W) -> (T, H, W)."""
        from pysteps.nowcasts.sprog import forecast

        settings = {
            "n_cascade_levels": self.cascade_levels,
            "probmatching_method": self.matching,
            "precip_thr": 10 * np.log10(DRY),
        }
        return rain_of(forecast(decibels(frames), motion, forecast_length, **settings))


def rain_of(decibel: np.ndarray) -> np.ndarray:
    """Rain rates [mm/h] of 10 log10 of them, any shape; dry below ``DRY``, NaN stays NaN."""
    with np.errstate(invalid="ignore"):
        rain = np.where(decibel < 10 * np.log10(DRY), 0, 10 ** (decibel / 10))
    return np.where(np.isnan(decibel), np.nan, rain).astype(np.float32)
