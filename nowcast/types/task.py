"""What is forecast from what: how many frames go in, how many come out, how far apart they are."""

from dataclasses import dataclass

import numpy as np

from nowcast.runtime.errors import UserError

QUANTITIES = ("rain_rate", "grey_level")


@dataclass(frozen=True)
class Task:
    """A forecasting task.

    Args:
        context_length: number of past frames the model reads.
        forecast_length: number of future frames it is trained and evaluated on.
        timestep: minutes between two frames (for Moving MNIST: 1, a frame).
        quantity: "rain_rate" [mm/h], or "grey_level" in [0, 1] for Moving MNIST.
    """

    context_length: int
    forecast_length: int
    timestep: float = 5
    quantity: str = "rain_rate"

    def __post_init__(self) -> None:
        for name in ("context_length", "forecast_length"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise UserError(
                    f"task.{name} is {value!r}, but it must be a whole number of frames, at "
                    "least 1."
                )
        if self.quantity not in QUANTITIES:
            raise UserError(
                f"task.quantity is {self.quantity!r}; accepted are {' and '.join(QUANTITIES)}."
            )
        seconds = self.timestep * 60 if isinstance(self.timestep, (int, float)) else 0
        if not seconds >= 1 or seconds != int(seconds):
            raise UserError(
                f"task.timestep is {self.timestep!r}, but it must be in minutes and a whole "
                "number of seconds, e.g. 5."
            )

    @property
    def window_length(self) -> int:
        """Frames of one training case: context and target."""
        return self.context_length + self.forecast_length

    @property
    def timedelta(self) -> np.timedelta64:
        """The timestep as timedelta64[s]."""
        return np.timedelta64(int(self.timestep * 60), "s")

    @property
    def lead_minutes(self) -> float | None:
        """Minutes from one lead time to the next; None where frames have no times (grey levels)."""
        return float(self.timestep) if self.quantity == "rain_rate" else None

    def lead_times(self, forecast_length: int | None = None) -> np.ndarray:
        """Lead times of a forecast, (forecast_length,) timedelta64[s], from one timestep on."""
        return np.arange(1, (forecast_length or self.forecast_length) + 1) * self.timedelta
