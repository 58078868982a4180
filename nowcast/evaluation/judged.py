"""What a model is judged by: its single field, or its distribution by the functionals that scores
reward.

B cases, M members, T leads, H rows, W columns.
"""

import numpy as np
import torch

from nowcast.evaluation.statistics.base import Statistic
from nowcast.evaluation.statistics.by_functional import ByFunctional, Forecast, event, field_of
from nowcast.forecasting.forecaster import Forecaster
from nowcast.models.prediction import Ensemble
from nowcast.models.yes_no import where_forecast
from nowcast.types.scale import Scale


def forecast_of(
    forecaster: Forecaster,
    context: np.ndarray,
    length: int,
    scale: Scale | None,
    statistic: Statistic | None,
) -> Forecast:
    """A model's forecast as it is judged.

    Args:
        forecaster: the model.
        context: (B, T_context, H, W) physical values, NaN = not observed.
        length: T.
        scale: of the cases.
        statistic: whose scores say what is asked of a distribution; None: its usual forecast.
    """
    if statistic is None or not forecaster.model.capabilities.probabilistic:
        return forecaster.forecast_values(context, length, scale=scale)
    thresholds = thresholds_of(statistic)
    decided = _decided_by_probability(statistic, thresholds)
    asked = [functional for functional in statistic.functionals if functional not in decided]
    fields, probability = forecaster.forecast_functionals(
        context, asked, length, thresholds=thresholds, scale=scale
    )
    return _judged(fields, probability, statistic)


def forecast_of_members(members: np.ndarray, statistic: Statistic | None) -> Forecast:
    """An ensemble's forecast as it is judged: its members are the distribution.

    Args:
        members: (B, M, T, H, W), NaN where one has no value.
        statistic: as for ``forecast_of``; None: their mean.
    """
    if statistic is None:
        return mean_of_members(members)
    ensemble = Ensemble(torch.from_numpy(members)[:, :, :, None])
    thresholds = thresholds_of(statistic)
    decided, fields = _decided_by_probability(statistic, thresholds), {}
    for functional in statistic.functionals:
        if functional == "mean":
            fields[functional] = mean_of_members(members)
        elif functional not in decided:
            fields[functional] = ensemble.point(functional)[:, :, 0].numpy()
    probability = None
    if thresholds:
        limits = torch.tensor(thresholds, dtype=torch.float32)  # like the members
        probability = ensemble.exceedance(limits)[:, :, :, 0].numpy()
    return _judged(fields, probability, statistic)


def mean_of_members(members: np.ndarray) -> np.ndarray:
    """(B, M, T, H, W) -> (B, T, H, W); NaN where any member has no value."""
    return members.mean(axis=1, dtype=np.float64).astype(np.float32)


def thresholds_of(statistic: Statistic) -> tuple[float, ...]:
    """The rain rates whose probabilities are scored."""
    scored = statistic.probabilities()
    return () if scored is None else scored.thresholds


def map_of(forecast: Forecast) -> np.ndarray:
    """The one field that is shown, and says where there is a forecast."""
    return field_of(forecast, "mean")


def _decided_by_probability(statistic: Statistic, thresholds: tuple[float, ...]) -> dict[str, int]:
    """The yes/no forecasts among its functionals that need no pass of their own: the number of the
    threshold whose probability they are made of.
    """
    numbers = {event(threshold): k for k, threshold in enumerate(thresholds)}
    return {name: numbers[name] for name in statistic.functionals if name in numbers}


def _judged(
    fields: dict[str, np.ndarray], probability: np.ndarray | None, statistic: Statistic
) -> ByFunctional:
    """A distribution by the functionals that a statistic rewards."""
    thresholds = thresholds_of(statistic)
    found = dict(fields)
    for functional, k in _decided_by_probability(statistic, thresholds).items():
        chance = torch.from_numpy(probability[:, k])
        found[functional] = where_forecast(chance, ~chance.isnan()).numpy()
    return ByFunctional(found, thresholds, probability)
