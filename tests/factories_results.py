"""Evaluations on made-up rain, for tests."""

import numpy as np

from nowcast.evaluation.results import Block, Results, ShownCase
from nowcast.evaluation.statistics.rain import RainScores
from nowcast.evaluation.statistics.sums import ScoreKey
from nowcast.types.frames import Grid
from tests.factories import LAEA

CSI, MAE = ScoreKey("csi", 0.5, 1), ScoreKey("mae")
THRESHOLDS, WINDOWS = (0.5, 2.0), (3,)
SETTINGS = {
    "task": {
        "_target_": "nowcast.types.task.Task",
        "context_length": 1,
        "forecast_length": 2,
        "timestep": 5,
    },
    "scores": {
        "_target_": "nowcast.evaluation.statistics.rain.RainScores",
        "thresholds": [0.5, 2.0],
        "windows": [3],
    },
}
CELLS = np.arange(12.0)
GRID = Grid(LAEA, 1000 * CELLS, -1000 * CELLS)


def results(
    blocks=6, *, errors=(("nowcast", 0.1), ("persistence", 0.4)), seed=0, members=0, **changes
):
    """Models on made-up rain, off by so many mm/h each, in blocks of two events; the first has an
    ensemble of so many members.
    """
    generator = np.random.default_rng(seed)
    rain = [generator.gamma(0.5, 2, (1, 2, 12, 12)).astype(np.float32) for _ in range(blocks)]
    scores = RainScores(THRESHOLDS, WINDOWS)
    totals = {
        model: _totals(
            [(field + np.float32(error), field) for field in rain], lambda: scores.sums(2)
        )
        for model, error in errors
    }
    model_name = errors[0][0]
    shown = [
        ShownCase(
            "best", "case <b>1</b>", rain[0][0, :1], rain[0][0], {model_name: rain[0][0]}, GRID
        )
    ]
    ensembles = {}
    if members:
        noise = generator.normal(0, 0.3, (members, 1, 1, 1)).astype(np.float32)
        forecasts = [np.maximum(field[:, None] + noise, 0) for field in rain]
        ensembles = {
            model_name: _totals(zip(forecasts, rain), lambda: scores.ensemble(members).sums(2))
        }
    return Results(
        **{
            "settings": SETTINGS,
            "blocks": [Block(f"b{k}", "first" if k < 2 else "second", 3) for k in range(blocks)],
            "totals": totals,
            "members": {model_name: members} if members else {},
            "ensembles": ensembles,
            "facts": {"data": "made up"},
            "shown": shown,
        }
        | changes
    )


def _totals(pairs, new) -> dict[str, np.ndarray]:
    """Totals by block of (forecast, observation) of each, in new sums."""
    found = []
    for forecast, observation in pairs:
        sums = new()
        sums.add(forecast, observation)
        found.append(sums.totals())
    return {name: np.stack([one[name] for one in found]) for name in found[0]}
