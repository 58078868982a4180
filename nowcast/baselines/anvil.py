"""ANVIL (Pulkkinen et al. 2020) by pysteps: extrapolation with growth and decay, of rain rates."""

import numpy as np
from torch import Tensor

from nowcast.baselines.extrapolation import (
    case_by_case,
    check_motion,
    enough,
    has_dry_frame,
    known_only,
    motion_of,
    quiet,
)
from nowcast.models.base import Capabilities, ForecastModel
from nowcast.models.prediction import Prediction, SingleField
from nowcast.runtime.errors import UserError
from nowcast.types.scale import Scale

FRAMES = 4  # an autoregression of second order, of differences
_WINDOW = 50  # pixels: radius of the window that the autoregression is estimated in, pysteps' own


class Anvil(ForecastModel):
    """Autoregressive nowcasting of a cascade of scales by their changes, with coefficients that
    differ from place to place.

    Args:
        cascade_levels: number of scales.
        motion: method of optical flow, see ``nowcast.baselines.extrapolation``.

    Made for vertically integrated liquid, it takes rain rates [mm/h] here, as pysteps allows;
    pysteps' own settings otherwise. What the advection brings in from outside the grid, or from
    where the last frame was not observed, has no forecast (NaN); other missing pixels are taken as
    dry by the regression. A context with a dry frame stays where it is.
    """

    capabilities = Capabilities(partial=True, slow=True)

    def __init__(self, cascade_levels: int = 6, motion: str = "lucaskanade"):
        super().__init__()
        if cascade_levels < 2:
            raise UserError(f"cascade_levels is {cascade_levels}; ANVIL needs at least 2 scales.")
        check_motion(motion)
        self.cascade_levels, self.motion = cascade_levels, motion

    def forward(
        self,
        context: Tensor,
        forecast_length: int,
        observed: Tensor | None = None,
        scale: Scale | None = None,
    ) -> Prediction:
        """(B, T, 1, H, W) rain rate [mm/h] -> (B, forecast_length, 1, H, W)."""
        enough(context, FRAMES, "ANVIL")
        return SingleField(
            case_by_case(
                lambda rain_rate: self._forecast(rain_rate[-FRAMES:], forecast_length),
                context,
                observed,
            )
        )

    def _forecast(self, rain_rate: np.ndarray, forecast_length: int) -> np.ndarray:
        """(4, H, W) -> (forecast_length, H, W)."""
        if has_dry_frame(rain_rate):
            return np.repeat(rain_rate[-1:], forecast_length, 0)
        motion = motion_of(rain_rate[1:], self.motion)
        with quiet():
            from pysteps.nowcasts.anvil import forecast

            filled = np.nan_to_num(rain_rate.astype(np.float64), nan=0.0)
            found = forecast(
                filled,
                motion,
                forecast_length,
                n_cascade_levels=self.cascade_levels,
                ar_window_radius=_WINDOW,
            )
        return known_only(found, rain_rate[-1], motion)
