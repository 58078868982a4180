"""S-PROG (Seed 2003) by pysteps: extrapolation that lets the small scales fade as fast as they
change.
"""

import numpy as np
from torch import Tensor

from nowcast.baselines.extrapolation import (
    DRY,
    case_by_case,
    check_motion,
    decibels,
    enough,
    has_dry_frame,
    motion_of,
    quiet,
)
from nowcast.models.base import Capabilities, ForecastModel
from nowcast.models.prediction import Prediction, SingleField
from nowcast.runtime.errors import UserError
from nowcast.types.scale import Scale

FRAMES = 3  # an autoregression of second order
MATCHINGS = ("mean", "cdf")


class Sprog(ForecastModel):
    """Spectral prognosis: a cascade of scales, each carried along the motion and regressed on its
    own past; works on rain rates [mm/h].

    Args:
        cascade_levels: number of scales.
        motion: method of optical flow, see ``nowcast.baselines.extrapolation``.
        matching: what the forecast keeps of the last frame: its area of rain and its mean rate,
            "mean", or the whole distribution of its rates, "cdf" (as pysteps' function comes),
            which makes it less smooth.

    With pysteps' own settings otherwise: an autoregression of second order. What the advection
    brings in from outside the grid, or from where a frame was not observed, has no forecast (NaN).
    A context with a dry frame stays where it is.
    """

    capabilities = Capabilities(partial=True, slow=True)

    def __init__(
        self, cascade_levels: int = 6, motion: str = "lucaskanade", matching: str = "mean"
    ):
        super().__init__()
        if cascade_levels < 2:
            raise UserError(f"cascade_levels is {cascade_levels}; S-PROG needs at least 2 scales.")
        if matching not in MATCHINGS:
            raise UserError(f"matching is {matching!r}; accepted are {' and '.join(MATCHINGS)}.")
        check_motion(motion)
        self.cascade_levels, self.motion, self.matching = cascade_levels, motion, matching

    def forward(
        self,
        context: Tensor,
        forecast_length: int,
        observed: Tensor | None = None,
        scale: Scale | None = None,
    ) -> Prediction:
        """(B, T, 1, H, W) rain rate [mm/h] -> (B, forecast_length, 1, H, W)."""
        enough(context, FRAMES, "S-PROG")
        return SingleField(
            case_by_case(
                lambda rain_rate: self._forecast(rain_rate[-FRAMES:], forecast_length),
                context,
                observed,
            )
        )

    def _forecast(self, rain_rate: np.ndarray, forecast_length: int) -> np.ndarray:
        """(3, H, W) -> (forecast_length, H, W)."""
        if has_dry_frame(rain_rate):
            return np.repeat(rain_rate[-1:], forecast_length, 0)
        motion = motion_of(rain_rate, self.motion)
        with quiet():
            from pysteps.nowcasts.sprog import forecast

            settings = {
                "n_cascade_levels": self.cascade_levels,
                "probmatching_method": self.matching,
                "precip_thr": 10 * np.log10(DRY),
            }
            return rain_of(forecast(decibels(rain_rate), motion, forecast_length, **settings))


def rain_of(decibel: np.ndarray) -> np.ndarray:
    """Rain rates [mm/h] of 10 log10 of them, any shape; dry below ``DRY``, NaN stays NaN."""
    with np.errstate(invalid="ignore"):
        rain = np.where(decibel < 10 * np.log10(DRY), 0, 10 ** (decibel / 10))
    return np.where(np.isnan(decibel), np.nan, rain).astype(np.float32)
