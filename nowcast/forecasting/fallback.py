"""Forecasts by a plan: the network's, or what is left where it cannot have what it needs."""

from collections.abc import Mapping, Sequence

import numpy as np

from nowcast.baselines.extrapolation import carried, load_pysteps, motion_of
from nowcast.baselines.persistence import Persistence
from nowcast.forecasting.decision import Plan
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


def context_of(plan: Plan, frames: Mapping[np.datetime64, Frames], task: Task) -> Frames:
    """The frames of a plan, with those filled in that are not there.

    Args:
        plan: says which.
        frames: those that are there, one in each, by their times.
        task: gives the timestep.
    """
    first = frames[plan.analysis_time]
    values = [
        between(frames[t - task.timedelta].values[0], frames[t + task.timedelta].values[0])
        if t in plan.filled
        else frames[t].values[0]
        for t in plan.times
    ]
    return Frames(np.stack(values), np.array(plan.times), first.grid, first.source, first.quantity)


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
    return np.where(count > 0, np.maximum(total, 0) / np.maximum(count, 1), np.nan).astype(
        np.float32
    )


def forecast_by(
    plan: Plan, context: Frames, forecaster: Forecaster, *, thresholds: Sequence[float] = ()
) -> Forecast:
    """The forecast a plan asks for, with the network's probabilities of these rain rates [mm/h], if
    it tells any; NaN where nothing can be said.
    """
    task = forecaster.task
    if plan.method == "nowcast":
        return forecaster(context, plan.forecast_length, thresholds=thresholds)
    if plan.method == "extrapolation":
        steps = (plan.times[1] - plan.times[0]) / task.timedelta
        motion = motion_of(context.values) / steps
        values = carried(context.values[-1], motion, plan.forecast_length)
        return Forecast(
            values, plan.analysis_time, task.lead_times(plan.forecast_length), context.grid
        )
    one = Task(1, task.forecast_length, task.timestep)
    return Forecaster(Persistence(), Identity(), one, precision="float32")(
        context[-1:], plan.forecast_length
    )
