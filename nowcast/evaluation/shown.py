"""The cases that are kept as fields, for pictures."""

import math

import numpy as np

from nowcast.evaluation.batches import BatchEvaluator, CaseSums, skills
from nowcast.evaluation.judged import map_of
from nowcast.evaluation.results import ShownCase
from nowcast.evaluation.source import ForecastSource
from nowcast.types.frames import Grid

# pixels: larger fields are kept for pictures as means over so many by so many of them
_SHOWN_SIDE = 512


def shown_cases(
    source: ForecastSource, evaluator: BatchEvaluator, found: CaseSums, of_case: np.ndarray
) -> list[ShownCase]:
    """The worst, a typical and the best case by the first model's squared error relative to the
    first baseline's.
    """
    reference = next(iter(evaluator.baselines), None)
    skill = skills(found.squared_errors, next(iter(found.squared_errors)), reference)
    order = [int(index) for index in np.argsort(skill) if np.isfinite(skill[index])]
    if not order:
        return []
    chosen = {"worst": order[0], "typical": order[len(order) // 2], "best": order[-1]}
    shown = []
    for kind, index in chosen.items():
        batch = source.batch([index], of_case)
        forecasts, _, _ = evaluator.forecasts(batch)
        context, observation = small(batch.context[0]), small(batch.observation[0])
        fields = {name: small(map_of(forecast)[0]) for name, forecast in forecasts.items()}
        grid = source.grid_of(index)
        if grid is not None:
            grid = _small_grid(grid, observation.shape[1:])
        shown.append(ShownCase(kind, source.title(index), context, observation, fields, grid))
    return shown


def _small_grid(grid: Grid, shape: tuple[int, int]) -> Grid:
    """The grid of fields that ``small`` made: a square's centre stands for it, also where it
    reaches over the edge.
    """
    step = math.ceil(max(grid.shape) / _SHOWN_SIDE)
    if step == 1:
        return grid

    def centres(first: float, spacing: float, count: int) -> np.ndarray:
        return first + spacing * ((step - 1) / 2 + step * np.arange(count))

    dy, dx = np.nan_to_num(grid.spacing)  # NaN: of a single row or column
    return Grid(grid.crs, centres(grid.x[0], dx, shape[1]), centres(grid.y[0], -dy, shape[0]))


def small(values: np.ndarray) -> np.ndarray:
    """Fields (T, H, W) for pictures of at most 512 pixels a side: means over squares, of the pixels
    in them that are numbers; NaN where these are fewer than half.
    """
    step = math.ceil(max(values.shape[1:]) / _SHOWN_SIDE)
    if step == 1:
        return values
    below, right = (-side % step for side in values.shape[1:])
    padded = np.pad(values, ((0, 0), (0, below), (0, right)), constant_values=np.nan)
    count, height, width = padded.shape
    squares = padded.reshape(count, height // step, step, width // step, step)
    known = ~np.isnan(squares)
    number = known.sum((2, 4))
    means = np.where(known, squares, 0).sum((2, 4)) / np.maximum(number, 1)
    return np.where(2 * number >= step * step, means, np.nan).astype(np.float32)
