"""What the nowcasts of pysteps share: frames of rain rates in, case by case, forecasts out.

Axes: B batch, M members, T time, H rows, W columns.
"""

from abc import abstractmethod
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from nowcast.baselines.extrapolation import (
    case_by_case,
    check_motion,
    has_dry_frame,
    motion_of,
    quiet,
    seed_of,
)
from nowcast.models.base import Capabilities, ForecastModel
from nowcast.models.network import check_context
from nowcast.models.prediction import DrawnEnsemble, Prediction, SingleField
from nowcast.runtime.errors import UserError
from nowcast.types.scale import Scale

_MOTION_FRAMES = 3  # that the motion is estimated from, as in pysteps' examples
_USUAL_SCALE = Scale(5.0, 1.0)  # minutes and kilometres, where none are given


class _AlongMotion(ForecastModel):
    """What all of them are: rain rates [mm/h] that go along the motion of their context.

    A context with a dry frame stays where it is.

    Args:
        motion: method of optical flow, one of ``nowcast.baselines.extrapolation.MOTIONS``.
    """

    capabilities = Capabilities(partial=True, slow=True)

    def __init__(self, motion: str):
        super().__init__()
        check_motion(motion)
        self.motion = motion

    def motion_in(self, frames: np.ndarray) -> np.ndarray:
        """The motion of the last frames, (2, H, W) pixels a frame."""
        return motion_of(frames[-_MOTION_FRAMES:], self.motion)


class PystepsMethod(_AlongMotion):
    """A nowcast of pysteps that is one field; a subclass defines ``nowcast``."""

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
            frames = rain_rate[-self.context_length :]
            if has_dry_frame(frames):
                return np.repeat(frames[-1:], forecast_length, 0)
            motion = self.motion_in(frames)
            with quiet():
                return self.nowcast(frames, motion, forecast_length)

        return SingleField(case_by_case(forecast, context, observed))

    @abstractmethod
    def nowcast(self, frames: np.ndarray, motion: np.ndarray, forecast_length: int) -> np.ndarray:
        """The forecast of a case.

        Args:
            frames: (context_length, H, W) rain rates [mm/h], NaN where not observed.
            motion: (2, H, W) pixels a frame.
            forecast_length: T.

        Returns:
            (T, H, W) rain rates [mm/h], NaN where there is no forecast.
        """


class PystepsEnsemble(_AlongMotion):
    """An ensemble of pysteps, whose mean is the forecast; a subclass defines ``members_of``.

    Args:
        members: M that are judged, and whose mean is the forecast.
        motion: method of optical flow.
        seed: of the members; a case has the same members in every process and order.
    """

    # the scale, because perturbations of the motion are made in km/h
    capabilities = replace(_AlongMotion.capabilities, needs_scale=True, members=True)

    def __init__(self, members: int, motion: str, seed: int):
        if members < 2 or seed < 0:
            raise UserError(
                f"{type(self).__name__} expected at least 2 members and a seed of 0 or more, got "
                f"members={members} and seed={seed}."
            )
        super().__init__(motion)
        self.capabilities = replace(self.capabilities, own_members=members)
        self.members, self.seed = members, seed

    def forward(
        self,
        context: Tensor,
        forecast_length: int,
        observed: Tensor | None = None,
        scale: Scale | None = None,
    ) -> Prediction:
        """(B, T, 1, H, W) rain rate [mm/h] -> members that are drawn when they are asked for."""
        check_context(self, context, forecast_length, observed)
        timestep, spacing = (scale or _USUAL_SCALE).of_each(context)

        def draw(members: int, generator: torch.Generator | None) -> Tensor:
            def forecast(rain_rate: np.ndarray, timestep: float, spacing: float) -> np.ndarray:
                frames = rain_rate[-self.context_length :]
                if has_dry_frame(frames):
                    shape = members, forecast_length, *frames.shape[1:]
                    return np.broadcast_to(frames[-1], shape).copy()
                settings = {
                    "velocity": self.motion_in(frames),
                    "timesteps": forecast_length,
                    "n_ens_members": members,
                    "kmperpixel": spacing,
                    "timestep": timestep,
                    "seed": seed_of(frames, self.seed),
                }
                with quiet():
                    return self.members_of(frames, settings)

            return case_by_case(forecast, context, observed, timestep, spacing)

        return DrawnEnsemble(draw, self.members)

    @abstractmethod
    def members_of(self, frames: np.ndarray, settings: dict) -> np.ndarray:
        """The members of a case.

        Args:
            frames: (context_length, H, W) rain rates [mm/h], NaN where not observed.
            settings: what all of pysteps' ensembles take: motion, lengths, scale and seed.

        Returns:
            (M, T, H, W) rain rates [mm/h], NaN where there is no forecast.
        """
