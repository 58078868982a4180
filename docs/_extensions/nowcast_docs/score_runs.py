"""Which scores each choice of ``scores=`` gives: found by scoring a few made-up fields with it."""

from functools import cache

import numpy as np

from nowcast.cli import conf_files as configuration
from nowcast.evaluation.statistics.base import Statistic
from nowcast.evaluation.statistics.sums import ScoreKey
from nowcast.runtime.build import build

MEMBERS = 5
EVERYTHING = {"windows": [1, 5], "pools": [4], "sal": True, "spectra": True}
"""Settings with which ``scores=rain`` gives all that it can."""


def statistics() -> dict[str, Statistic]:
    """Every choice of ``scores=``, with all that it can give, by what is typed."""
    found: dict[str, Statistic] = {}
    for file in configuration.choices("scores"):
        (node,) = file.nodes
        more = EVERYTHING if file.name == "rain" else {}
        settings = {"_target_": node.target} | node.values | more
        found[f"scores={file.name}"] = build(settings, "scores", kind="scores")
    return found


def fields(quantity: str, *, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Made-up forecasts and observations of that quantity, (4, 3, 40, 40) each."""
    random = np.random.default_rng(seed)
    smooth = random.random((2, 4, 3, 10, 10)).repeat(4, -1).repeat(4, -2)
    noise = random.random((2, 4, 3, 40, 40))
    if quantity == "grey_level":
        forecast, observation = (0.7 * smooth + 0.3 * noise).astype(np.float32)
    else:
        rain = np.where(smooth > 0.5, 40 * (smooth - 0.5) ** 2 * noise * 8, 0)
        forecast, observation = rain.astype(np.float32)
    return forecast, observation


def scored(
    statistic: Statistic, forecast: np.ndarray, observation: np.ndarray
) -> dict[ScoreKey, np.ndarray]:
    """Its scores by lead and over all leads."""
    sums = statistic.sums(observation.shape[1])
    sums.add(forecast, observation)
    return statistic.scored(sums.totals(), observation.shape[1])


@cache
def givers() -> dict[str, list[str]]:
    """What is typed to get each score, by its name."""
    found: dict[str, list[str]] = {}
    for typed, statistic in statistics().items():
        forecast, observation = fields(statistic.quantity)
        for key in scored(statistic, forecast, observation):
            found.setdefault(key.score, []).append(typed)
        ensemble = statistic.ensemble(MEMBERS)
        if ensemble is not None:
            members = np.stack([forecast] * MEMBERS, axis=1)
            for key in scored(ensemble, members, observation):
                found.setdefault(key.score, []).append(f"{typed}, of members")
        probabilities = statistic.probabilities()
        if probabilities is not None:
            shape = (len(forecast), len(probabilities.thresholds), *forecast.shape[1:])
            for key in scored(probabilities, np.full(shape, 0.5, np.float32), observation):
                found.setdefault(key.score, []).append(f"{typed}, of a distribution")
    return {name: list(dict.fromkeys(typed)) for name, typed in found.items()}
