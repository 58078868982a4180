"""Forecasts as they were decided on: the network's, or what is left where frames are missing."""

from collections.abc import Mapping, Sequence

import numpy as np

from nowcast.baselines.extrapolation import carried, load_pysteps, motion_of
from nowcast.baselines.persistence import Persistence
from nowcast.forecasting.decision import Decision
from nowcast.forecasting.forecaster import Forecaster
from nowcast.runtime.errors import MissingDependency
from nowcast.types.frames import Forecast, Frames
from nowcast.types.task import Task
from nowcast.types.transform import Identity


def can_extrapolate() -> bool:
    """Whether pysteps and OpenCV are installed."""
    try:
        load_pysteps()
    except MissingDependency:
        return False
    return True


def context_of(decision: Decision, frames: Mapping[np.datetime64, Frames], task: Task) -> Frames:
    """The frames of a decision, with those filled in that are not there.

    Args:
        decision: says which.
        frames: those that are there, one in each, by their times.
        task: gives the timestep.
    """

    def values(time: np.datetime64) -> np.ndarray:
        if time not in decision.filled:
            return frames[time].values[0]
        step = task.timedelta
        return between(frames[time - step].values[0], frames[time + step].values[0])

    newest = frames[decision.analysis_time]
    fields = np.stack([values(time) for time in decision.times])
    times = np.array(decision.times)
    return Frames(fields, times, newest.grid, newest.source, newest.quantity)


def between(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """A field half way between two, (H, W) [mm/h]: both carried half the way along the motion
    between them, and their mean.

    Where only one of them has a value that one is taken; where neither has, the field is missing.
    Without pysteps nothing is carried.
    """
    if can_extrapolate():
        motion = motion_of(np.stack([before, after])) / 2
        before, after = carried(before, motion, 1)[0], carried(after, -motion, 1)[0]
    both = np.stack([before, after])
    known = ~np.isnan(both)
    total = np.where(known, both, 0.0).sum(axis=0)
    count = known.sum(axis=0)
    mean = np.where(count > 0, np.maximum(total, 0) / np.maximum(count, 1), np.nan)
    return mean.astype(np.float32)


def forecast_by(
    decision: Decision,
    context: Frames,
    forecaster: Forecaster,
    *,
    thresholds: Sequence[float] = (),
    point: str | None = None,
) -> Forecast:
    """The forecast that was decided on; NaN where nothing can be said.

    Args:
        decision: by which method, and how far.
        context: what it is made from.
        forecaster: the network.
        thresholds: rain rates [mm/h] whose probabilities the network's forecast brings along, if
            it predicts any.
        point: which number of its distribution the network's forecast is, see ``Forecaster``.
    """
    task, length = forecaster.task, decision.forecast_length
    if decision.method == "nowcast":
        return forecaster(context, length, thresholds=thresholds, point=point)
    if decision.method == "extrapolation":
        steps = (decision.times[1] - decision.times[0]) / task.timedelta
        values = carried(context.values[-1], motion_of(context.values) / steps, length)
        return Forecast(values, decision.analysis_time, task.lead_times(length), context.grid)
    single = Task(1, task.forecast_length, task.timestep)
    persistence = Forecaster(Persistence(), Identity(), single, precision="float32")
    return persistence(context[-1:], length)
