"""ANVIL (Pulkkinen et al. 2020) by pysteps: extrapolation with growth and decay, of rain rates."""

import numpy as np

from nowcast.baselines.extrapolation import known_only
from nowcast.baselines.pysteps_methods import PystepsMethod
from nowcast.runtime.errors import UserError

_WINDOW = 50  # pixels: radius of the window that the autoregression is estimated in, pysteps' own


class Anvil(PystepsMethod):
    """Autoregressive nowcasting of a cascade of scales by their changes, with coefficients that
    differ from place to place.

    Args:
        cascade_levels: number of scales.
        motion: method of optical flow: "lucaskanade", "darts", "vet", "proesmans", "farneback".

    Made for vertically integrated liquid, it takes rain rates [mm/h] here, as pysteps allows;
    pysteps' own settings otherwise. What the advection brings in from outside the grid, or from
    where the last frame was not observed, has no forecast (NaN); other missing pixels are taken as
    dry by the regression. A context with a dry frame stays where it is.
    """

    context_length = 4  # an autoregression of second order, of differences

    def __init__(self, cascade_levels: int = 6, motion: str = "lucaskanade"):
        if cascade_levels < 2:
            raise UserError(f"cascade_levels is {cascade_levels}; ANVIL needs at least 2 scales.")
        super().__init__(motion)
        self.cascade_levels = cascade_levels

    def nowcast(self, frames: np.ndarray, motion: np.ndarray, forecast_length: int) -> np.ndarray:
        """(4, H, W) -> (T, H, W)."""
        from pysteps.nowcasts.anvil import forecast

        settings = {"n_cascade_levels": self.cascade_levels, "ar_window_radius": _WINDOW}
        filled = np.nan_to_num(frames.astype(np.float64), nan=0.0)
        return known_only(forecast(filled, motion, forecast_length, **settings), frames[-1], motion)
