"""Extrapolation of rain along its own motion, by pysteps (optical flow, semi-Lagrangian advection),
and what all of its methods share.
"""

import contextlib
import hashlib
import io
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from nowcast.models.base import Capabilities, ForecastModel
from nowcast.models.network import check_context
from nowcast.models.prediction import Prediction, SingleField
from nowcast.runtime.distribution import install_hint
from nowcast.runtime.errors import MissingDependency, UserError
from nowcast.types.scale import Scale

DRY = 0.1  # mm/h: below it a pixel gives the optical flow nothing to follow
DRY_DECIBEL = -15.0  # what pysteps' own examples put there
MOTIONS = ("lucaskanade", "darts", "vet", "proesmans", "farneback")
"""Methods of optical flow: Lucas-Kanade, DARTS (spectral, of many frames), VET (variational),
Proesmans (anisotropic diffusion) and Farneback (polynomials).
"""
# pysteps' own (waves of the fields along each side, and below along time); fewer on small grids and
# in few frames
_DARTS_WAVES = 50
_DARTS_TIMES = 4


def load_pysteps():
    """The motion and extrapolation functions (dense_lucaskanade, extrapolate) of pysteps.

    Raises:
        MissingDependency: pysteps or OpenCV is not installed.
    """
    try:
        import cv2  # noqa: F401  (pysteps imports it only when used, and then fails with a message of its own)

        with contextlib.redirect_stdout(
            io.StringIO()
        ):  # pysteps announces its configuration file on import
            from pysteps.extrapolation.semilagrangian import extrapolate
            from pysteps.motion.lucaskanade import dense_lucaskanade
    except ImportError as error:
        raise MissingDependency(
            f"optical flow needs pysteps and OpenCV ({error}); install them with: "
            f"{install_hint('flow')} (pysteps is built by a C compiler)."
        ) from error
    return dense_lucaskanade, extrapolate


def decibels(rain_rate: np.ndarray) -> np.ndarray:
    """10 log10 of rain rates [mm/h], any shape; ``DRY_DECIBEL`` below ``DRY``, NaN stays NaN."""
    with np.errstate(invalid="ignore", divide="ignore"):
        decibel = np.where(rain_rate >= DRY, 10 * np.log10(rain_rate), DRY_DECIBEL)
    decibel[np.isnan(rain_rate)] = np.nan
    return decibel


def has_dry_frame(rain_rate: np.ndarray) -> bool:
    """Whether one of the frames [mm/h], (T, H, W), has no rain to follow."""
    return any(not (frame >= DRY).any() for frame in rain_rate)


def complete(rain_rate: np.ndarray) -> np.ndarray:
    """Frames [mm/h], (T, H, W), those of which no pixel was observed made from the one before, else
    from the one after, carried along the motion of the two nearest. A radar that was silent for a
    frame has not seen dry weather. Where the last frame or all others are missing they stay so.
    """
    seen = np.flatnonzero(~np.isnan(rain_rate).all(axis=(1, 2)))
    missing = np.setdiff1d(np.arange(len(rain_rate)), seen)
    if not missing.size or len(seen) < 2 or seen[-1] != len(rain_rate) - 1:
        return rain_rate
    completed, motions = rain_rate.copy(), {}
    for place in missing:
        first = max(np.searchsorted(seen, place) - 1, 0)
        before, after = seen[first], seen[first + 1]
        if first not in motions:
            motions[first] = motion_of(rain_rate[[before, after]]) / (after - before)
        completed[place] = carried(
            rain_rate[before],
            motions[first] if before < place else -motions[first],
            int(abs(place - before)),
        )[-1]
    return completed


def case_by_case(
    forecast: Callable[..., np.ndarray],
    context: Tensor,
    observed: Tensor | None,
    *numbers: Tensor | float,
) -> Tensor:
    """Forecasts of NumPy for a batch: (T, H, W), NaN where not observed -> (..., H, W), for (B, T,
    1, H, W) -> (B, ..., 1, H, W); see ``complete``.

    Args:
        forecast: called with each case, and with its number of each of ``numbers``.
        context: as for models.
        observed: as for models.
        numbers: of all cases, or of each (B,).
    """
    values = context if observed is None else torch.where(observed, context, torch.nan)
    of_each = [torch.as_tensor(number).expand(len(context)).tolist() for number in numbers]
    cases = zip(values[:, :, 0].cpu().numpy(), *of_each, strict=True)
    forecasts = [forecast(complete(case), *rest) for case, *rest in cases]
    return torch.from_numpy(np.stack(forecasts)).unsqueeze(-3).to(context.device)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Pysteps reports every step, and divides by nothing in fields without rain."""
    with (
        contextlib.redirect_stdout(io.StringIO()),
        warnings.catch_warnings(),
        np.errstate(all="ignore"),
    ):
        warnings.simplefilter("ignore")
        yield


def check_motion(motion: str) -> None:
    """Refuse a method that is not there.

    Raises:
        UserError: it is none of ``MOTIONS``.
        MissingDependency: pysteps or OpenCV is not installed.
    """
    if motion not in MOTIONS:
        raise UserError(f"motion is {motion!r}; accepted are {', '.join(MOTIONS)}.")
    load_pysteps()


def motion_of(rain_rate: np.ndarray, method: str = "lucaskanade") -> np.ndarray:
    """Motion of frames [mm/h], (T, H, W) -> (2, H, W), pixels a frame along x and y; 0 where a
    frame has no rain to follow.

    Args:
        rain_rate: at least 2 frames; NaN = not observed. VET and Proesmans see the last two of
            them; DARTS needs three, and sees less than the whole motion in fewer than about ten.
        method: one of ``MOTIONS``.
    """
    if has_dry_frame(rain_rate):
        return np.zeros((2, *rain_rate.shape[1:]))
    lucas_kanade, decibel = load_pysteps()[0], decibels(rain_rate)
    if method == "lucaskanade":
        return lucas_kanade(np.ma.masked_invalid(decibel), verbose=False)
    filled = np.where(np.isnan(decibel), DRY_DECIBEL, decibel).astype(np.float64)
    with quiet():
        return np.asarray(_flow(method, decibel, filled))


def _flow(method: str, decibel: np.ndarray, filled: np.ndarray) -> np.ndarray:
    """The motion by another method than Lucas-Kanade, of frames with NaN and of the same with dry
    pixels there.
    """
    if method == "vet":
        from pysteps.motion.vet import vet

        return vet(np.ma.masked_invalid(decibel[-2:]), verbose=False)
    if method == "proesmans":
        from pysteps.motion.proesmans import proesmans

        return proesmans(filled[-2:], verbose=False)
    if method == "farneback":
        from pysteps.motion.farneback import farneback

        return farneback(filled, verbose=False)
    frames, *shape = filled.shape
    if frames < 3 or min(shape) < 10:
        raise UserError(
            f"DARTS needs at least 3 frames of at least 10x10 pixels to see motion; {frames} of "
            f"{shape[0]}x{shape[1]} came."
        )
    from pysteps.motion.darts import DARTS

    waves = [min(_DARTS_WAVES, side // 4) for side in shape]
    return DARTS(
        filled,
        N_y=waves[0],
        N_x=waves[1],
        N_t=max(1, min(_DARTS_TIMES, frames // 3)),
        verbose=False,
    )


def carried(frame: np.ndarray, motion: np.ndarray, forecast_length: int) -> np.ndarray:
    """A frame [mm/h] carried along a motion, (H, W) -> (forecast_length, H, W); NaN where it comes
    from outside or from a missing pixel.
    """
    forecast = load_pysteps()[1](
        frame.astype(np.float64), motion, forecast_length, allow_nonfinite_values=True
    )
    return np.maximum(forecast, 0).astype(np.float32)  # maximum keeps NaN


def known_only(forecast: np.ndarray, frame: np.ndarray, motion: np.ndarray) -> np.ndarray:
    """A forecast [mm/h], (..., T, H, W), NaN also for what the motion brings in from outside, or
    from where the last frame, (H, W), is missing.
    """
    known = ~np.isnan(carried(frame, motion, forecast.shape[-3]))
    return np.where(known, np.maximum(forecast, 0), np.nan).astype(np.float32)


def seed_of(rain_rate: np.ndarray, seed: int) -> int:
    """A seed for the members of a case: of its frames and a seed alone, whatever came before it."""
    digest = hashlib.blake2b(
        np.ascontiguousarray(rain_rate, np.float32).tobytes(),
        digest_size=4,
        key=seed.to_bytes(8, "little"),
    )
    return int.from_bytes(digest.digest(), "little")


class Extrapolation(ForecastModel):
    """Motion of the context, last frame carried along it; works on rain rates [mm/h].

    Args:
        motion_frames: how many of the last context frames the motion is estimated from (pysteps'
            examples use 3).
        motion: method of optical flow: "lucaskanade", "darts" (spectral, of many frames), "vet"
            (variational), "proesmans" (anisotropic diffusion) or "farneback" (polynomials).

    Motion is estimated on 10 log10 of the rain rate. Pixels that the advection brings in from
    outside the grid, or from where the last frame was not observed, have no forecast (NaN). A
    context without rain stays where it is.
    """

    capabilities = Capabilities(partial=True, slow=True)
    context_length = 2

    def __init__(self, motion_frames: int = 3, motion: str = "lucaskanade"):
        super().__init__()
        if motion_frames < 2:
            raise UserError(f"motion_frames is {motion_frames}; motion needs at least 2 frames.")
        check_motion(motion)
        self.motion_frames, self.motion = motion_frames, motion

    def forward(
        self,
        context: Tensor,
        forecast_length: int,
        observed: Tensor | None = None,
        scale: Scale | None = None,
    ) -> Prediction:
        """(B, T, 1, H, W) rain rate [mm/h] -> a prediction of (B, forecast_length, 1, H, W)."""
        check_context(self, context, forecast_length, observed)

        def forecast(rain_rate: np.ndarray) -> np.ndarray:
            motion = motion_of(rain_rate[-self.motion_frames :], self.motion)
            return carried(rain_rate[-1], motion, forecast_length)

        return SingleField(case_by_case(forecast, context, observed))
