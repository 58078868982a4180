"""Forecasts of models and baselines against what came: all through the same call, over the same pixels."""

from collections.abc import Callable, Iterable

import numpy as np

from nowcast.errors import UserError
from nowcast.forecaster import Forecaster

PIXELS_PER_BATCH = 2**18  # in one frame of all cases of a batch: 64 sequences of 64x64, or one radar composite


def evaluate(forecasters: dict[str, Forecaster], cases, scores, *, forecast_length: int, progress: Callable[[Iterable], Iterable] = iter, limit: int | None = None) -> dict:
    """Sums for the scores of several forecasters.

    Args:
        forecasters: name -> forecaster; all see the same context.
        cases: has ``len()`` and ``case(epoch, index) -> (T, H, W)``, physical values with NaN for "not observed".
        scores: has ``sums(forecast_length)``, see ``nowcast.verification``.
        forecast_length: number of frames; the cases hold at least as many after the context.
        progress: wraps the iteration over batches.
        limit: evaluate only the first cases.

    Returns:
        name -> sums. A pixel counts where it was observed and every forecaster has a value for it, so that all of them
        are judged on the same pixels.
    """
    if len(cases) == 0:
        raise UserError("there is no case to evaluate; choose other data or another split.")
    sums = {name: scores.sums(forecast_length) for name in forecasters}
    first = cases.case(0, 0)
    size, count = max(1, PIXELS_PER_BATCH // first[0].size), min(len(cases), limit or len(cases))
    for start in progress(range(0, count, size)):
        _add_batch(sums, forecasters, np.stack([cases.case(0, index) for index in range(start, min(start + size, count))]), forecast_length)
    return sums


def _add_batch(sums: dict, forecasters: dict[str, Forecaster], values: np.ndarray, forecast_length: int) -> None:
    """Add cases (B, T, H, W) to the sums; nothing of them stays in memory while the next batch is read."""
    forecasts, observation = forecasts_of(forecasters, values, forecast_length)
    comparable = np.logical_and.reduce([~np.isnan(forecast) for forecast in forecasts.values()])
    observation = np.where(comparable, observation, np.nan)
    for name, forecast in forecasts.items():
        sums[name].add(forecast, observation)


def forecasts_of(forecasters: dict[str, Forecaster], values: np.ndarray, forecast_length: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Forecasts by name and the observation, (B, forecast_length, H, W) each, of cases (B, T, H, W)."""
    context, observation = values[:, :-forecast_length], values[:, -forecast_length:]
    return {name: forecaster.forecast_values(context, forecast_length) for name, forecaster in forecasters.items()}, observation
