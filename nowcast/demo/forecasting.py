"""The hour of radar, forecast by the model that comes with nowcast and by those it is measured
against, and what each is worth.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nowcast.baselines.advection import Advection
from nowcast.baselines.extrapolation import Extrapolation
from nowcast.baselines.persistence import Persistence
from nowcast.data.archive import Archive
from nowcast.demo.hour import ARCHIVE
from nowcast.evaluation.judged import forecast_of
from nowcast.evaluation.plan import EvaluationPlan
from nowcast.evaluation.results import Results
from nowcast.evaluation.running import evaluate
from nowcast.evaluation.source import MadeForecasts
from nowcast.evaluation.statistics.rain import RainScores
from nowcast.forecasting.forecaster import Forecaster
from nowcast.forecasting.products import Products, derive
from nowcast.models.base import ForecastModel
from nowcast.runtime.build import as_settings
from nowcast.runtime.errors import MissingDependency
from nowcast.types.frames import Frames
from nowcast.types.scale import Scale
from nowcast.types.task import Task
from nowcast.types.transform import Identity

THRESHOLDS = (0.1, 1.0, 5.0)
"""Rain rates [mm/h] of the probabilities."""
OWN = "nowcast"
PYSTEPS, ADVECTION, PERSISTENCE = "extrapolation", "advection", "persistence"
"""Names of what nowcast is measured against, in its tables. The first two carry the last frame
along its motion: by pysteps where it is installed, else by ``nowcast.baselines.advection``.
"""
WHOSE = {PYSTEPS: "pysteps", ADVECTION: "without pysteps", PERSISTENCE: ""}
"""What is said behind these names where there is room."""


def full_name(name: str, *, between: str = " ") -> str:
    """The name of a forecast, with what is said behind it."""
    whose = WHOSE.get(name)
    return f"{name}{between}({whose})" if whose else name


@dataclass(frozen=True)
class Demonstration:
    """What the hour gave.

    Args:
        context: the frames that were seen.
        came: those of the lead times.
        products: the forecast of nowcast and what was derived from it.
        others: what it is measured against: rain rates [mm/h] by name, (T, H, W), NaN = no
            forecast.
        results: the scores of all of them, over the pixels that all forecast.
    """

    context: Frames
    came: Frames
    products: Products
    others: Mapping[str, np.ndarray]
    results: Results


def demonstrate(forecaster: Forecaster) -> Demonstration:
    """Forecast the hour from its first frames, and compare with the others.

    Args:
        forecaster: the model that comes with nowcast; its task becomes that of the hour.
    """
    with Archive(ARCHIVE) as archive:
        frames = archive.frames(0, len(archive))
    forecaster.follow(frames.times)
    seen = forecaster.task.context_length
    context, came = frames[:seen], frames[seen:]
    task = Task(seen, len(came), forecaster.task.timestep)
    forecaster.task = task
    forecast = forecaster(context, len(came), thresholds=THRESHOLDS)
    others = {}
    for name, model in _others().items():
        others[name] = Forecaster(model, Identity(), task)(context, len(came)).values
    scores = RainScores()
    scale = Scale.of_samples([(task.timestep, context.grid.pixel_km)])
    own = forecast_of(forecaster, context.values[None], len(came), scale, scores)
    results = evaluate(
        MadeForecasts(context, came, {OWN: own, **others}),
        {},
        scores,
        plan=EvaluationPlan(workers=0, cache=None, show=False),
        settings={"task": as_settings(task), "scores": as_settings(scores)},
    )
    products = derive(forecast, context, thresholds=THRESHOLDS)
    return Demonstration(context, came, products, others, results)


def _others() -> dict[str, ForecastModel]:
    """What nowcast is measured against here."""
    try:
        carried = {PYSTEPS: Extrapolation()}
    except MissingDependency:
        carried = {ADVECTION: Advection()}
    return carried | {PERSISTENCE: Persistence()}
