"""The critical success index that selects the best weights (training.select=csi)."""

import math

import numpy as np
import torch
from torch import Tensor

from nowcast.data.base import Cases
from nowcast.forecasting.forecaster import Forecaster
from nowcast.runtime.errors import UserError
from nowcast.types.batch import Batch


def normalised_event(forecaster: Forecaster, threshold: float, cases: Cases) -> float:
    """The normalised value from which on a pixel is an event.

    Normalised values are compared, so that an observation equal to the threshold is an event:
    normalised and restored it may fall below.

    Args:
        forecaster: that is trained.
        threshold: rain rate [mm/h] of the event.
        cases: of the validation part.

    Raises:
        UserError: no rain is forecast, the transform does not know the threshold, or no case has
            an event.
    """
    if forecaster.task.quantity != "rain_rate":
        raise UserError(
            "training.select=csi counts rain, but the task forecasts "
            f"{forecaster.task.quantity}; use training.select=validation_loss."
        )
    event = forecaster.transform.normalise(np.array([threshold]))[0]
    restored = forecaster.transform.restore(event).item()
    if not math.isclose(restored, threshold, rel_tol=1e-3):
        raise UserError(
            f"training.select_threshold is {threshold:g} mm/h, which the transform makes "
            f"{restored:g} mm/h; choose one between its limits."
        )
    for index in range(len(cases)):
        target = cases.case(0, index)[forecaster.task.context_length :]
        if (target >= np.float32(threshold)).any():  # one event is enough
            return event.item()
    raise UserError(
        f"none of the {len(cases)} validation cases has rain of {threshold:g} mm/h to forecast; "
        "choose a lower training.select_threshold, more data.validation_samples, or "
        "training.select=validation_loss."
    )


def contingency(forecast: Tensor, batch: Batch, event: float) -> Tensor:
    """Hits, misses and false alarms of a forecast, (3,) int64.

    Counted are the observed pixels that a ``Forecaster`` has a forecast for: those that were
    observed in the context, too.

    Args:
        forecast: (B, T, 1, H, W), normalised.
        batch: that it is of.
        event: the normalised value from which on a pixel is an event.
    """
    seen = batch.context_observed.any(dim=1, keepdim=True)
    judged = batch.target_observed & seen & ~forecast.isnan()
    forecasts = forecast.ge(event) & judged
    observations = batch.target.ge(event) & judged
    hits = (forecasts & observations).sum()
    return torch.stack([hits, observations.sum() - hits, forecasts.sum() - hits])
