"""A set of cases from its first batch to results with intervals."""

import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from datetime import UTC, datetime
from multiprocessing import get_context

import numpy as np

from nowcast.data.base import Cases
from nowcast.evaluation.blocks import Blocks, by_time, groups
from nowcast.evaluation.cache import ForecastCache
from nowcast.evaluation.judging import Batch, Judge, Judgement, skills
from nowcast.evaluation.plan import Plan
from nowcast.evaluation.results import Block, Results, ShownCase
from nowcast.evaluation.source import ForecastSource
from nowcast.forecasting.forecaster import Forecaster
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Grid
from nowcast.types.scale import Scale

PIXELS_PER_BATCH = (
    2**18
)  # in one frame of all cases of a batch: 64 sequences of 64x64, or one radar composite
_SHOWN_SIDE = (
    512  # pixels: larger fields are kept for pictures as means over so many by so many of them
)
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

_judge: Judge | None = None  # of a worker process


class Source(ForecastSource):
    """Where batches come from: cases of a data set, forecast by a network in this process.

    Args:
        judged: forecasters by name.
        cases: of the test part of a data set.
        forecast_length: number of leads; the cases hold as many frames after the context.
        members: to draw of each judged network; 0: none.
        limit: only the first so many cases.

    Raises:
        UserError: there is none, or a model is not made for its cadence or grid spacing.
    """

    def __init__(
        self,
        judged: dict[str, Forecaster],
        cases: Cases,
        *,
        forecast_length: int,
        members: int = 0,
        limit: int | None = None,
    ):
        if len(cases) == 0:
            raise UserError("there is no case to evaluate; choose other data or another split.")
        self.judged, self.cases, self.forecast_length, self.members = (
            judged,
            cases,
            forecast_length,
            members,
        )
        self.count = min(len(cases), limit or len(cases))
        for forecaster in judged.values():
            if not forecaster.any_cadence:
                continue
            for index in range(self.count):
                scale = cases.scale(0, index)
                if scale is not None:
                    forecaster.refuse_scale(*scale, self.title(index))

    def blocks(self, hours: float | None) -> Blocks:
        """The cases in blocks."""
        times = [self.cases.analysis_time(index) for index in range(self.count)]
        if any(time is None for time in times):
            return groups(self.count)
        task = next(iter(self.judged.values())).task
        return by_time(
            np.array(times),
            [self.cases.source(index) for index in range(self.count)],
            task.window_length * task.timestep / 60,
            hours,
            stride_hours=self.cases.stride_hours,
        )

    def ranges(self) -> list[range]:
        """The cases of each batch: so many of one size and scale that a batch has a useful size; a
        forecast does not depend on what else is in it.
        """
        found: list[range] = []
        size, before = 1, None
        for index in range(self.count):
            shape = self.cases.size_of(index)
            alike = (shape, self.cases.scale(0, index))
            if len(found[-1] if found else ()) < size and alike == before:
                found[-1] = range(found[-1].start, index + 1)
                continue
            size, before = max(1, PIXELS_PER_BATCH // math.prod(shape)), alike
            found.append(range(index, index + 1))
        return found

    def batch(self, indices: Iterable[int], of_case: np.ndarray) -> Batch:
        """Cases with the judged networks' forecasts."""
        indices = list(indices)
        values = np.stack([self.cases.case(0, index) for index in indices])
        context, observation = (
            values[:, : -self.forecast_length],
            values[:, -self.forecast_length :],
        )
        scale = self.scale(indices)
        forecasts = {
            name: forecaster.forecast_values(context, self.forecast_length, scale=scale)
            for name, forecaster in self.judged.items()
        }
        members = {
            name: forecaster.forecast_members(
                context, self.members, self.forecast_length, scale=scale
            )
            for name, forecaster in self.judged.items()
            if self.members
        }
        return Batch(context, observation, forecasts, members, of_case[indices], scale)

    def scale(self, indices: Sequence[int]) -> Scale | None:
        """Minutes between frames and kilometres between pixels of some cases; None where they have
        none.
        """
        scales = [self.cases.scale(0, index) for index in indices]
        return None if None in scales else Scale.of_samples(scales)

    def grid_of(self, index: int) -> Grid | None:
        """Where its pixels are."""
        return self.cases.grid_of(index)

    def title(self, index: int) -> str:
        """Which case it is."""
        time, source = self.cases.analysis_time(index), self.cases.source(index)
        if time is None:
            return f"case {index}"
        return f"{source + ', ' if source else ''}analysis time {str(time).replace('T', ' ')} UTC"


def evaluate(
    source: ForecastSource,
    baselines: dict[str, Forecaster],
    scores,
    *,
    plan: Plan,
    settings: dict,
    progress: Callable[[Sequence], Iterable] = iter,
    strict: bool = False,
) -> Results:
    """Judge models and baselines on all cases of a source.

    Args:
        source: of the cases, with the forecasts of the judged models.
        baselines: by name; all get the same context.
        scores: see ``nowcast.evaluation``.
        plan: processes, cache, intervals.
        settings: {"task": ..., "scores": ...} as data, kept with the results.
        progress: wraps the iteration over batches.
        strict: whether a baseline that says that it cannot run ends the evaluation; else it is
            counted, and persistence stands in for it.

    Returns:
        Results whose first model is the first judged one. A pixel counts where it was observed and
        every forecaster has a value for it, so that all of them are judged on the same pixels. The
        numbers are the same whatever the number of processes.

    Raises:
        UserError: no case, or a worker process that died.
    """
    begun = time.monotonic()
    ensembles = source.members or any(
        forecaster.model.capabilities.own_members for forecaster in baselines.values()
    )
    if ensembles and scores.ensemble(1) is None:
        raise UserError(
            f"{type(scores).__name__} has no scores of ensembles; take scores=rain, and "
            "evaluation.members=0 and baselines without members for others."
        )
    blocks = source.blocks(plan.block_hours)
    cache = (
        None if plan.cache_folder is None else ForecastCache(plan.cache_folder, plan.cache_gb * 1e9)
    )
    judge = Judge(baselines, scores, cache, strict)
    ranges = source.ranges()
    slow = any(forecaster.model.capabilities.slow for forecaster in baselines.values())
    judgement = Judgement()
    with _judging(judge, min(plan.processes(slow), len(ranges))) as judged:
        for one in judged(source.batch(indices, blocks.of_case) for indices in progress(ranges)):
            judgement.add(one)
    names = list(dict.fromkeys(name for name, _ in judgement.sums))
    shown = (
        _shown(source, judge, judgement, blocks.of_case, next(iter(baselines), None))
        if plan.show
        else []
    )
    nothing = int(np.isnan(judgement.squared_errors[names[0]]).sum())
    facts = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - begun, 1),
        "block_rule": blocks.rule,
        "failures": {
            name: {"cases": failed.cases, "reason": failed.reason}
            for name, failed in judgement.failures.items()
        },
        "no_pixels": nothing,
    }
    counts = np.bincount(blocks.of_case[: source.count], minlength=len(blocks.labels))
    found = [
        Block(label, event, int(count))
        for label, event, count in zip(blocks.labels, blocks.events, counts)
    ]
    ensembles = list(dict.fromkeys(name for name, _ in judgement.ensembles))
    members = {
        name: next(
            sums.members for (model, _), sums in judgement.ensembles.items() if model == name
        )
        for name in ensembles
    }
    return Results(
        settings,
        found,
        {name: _stacked(judgement.sums, name, len(found)) for name in names},
        members,
        {name: _stacked(judgement.ensembles, name, len(found)) for name in ensembles},
        plan.resampling,
        facts,
        shown,
    )


def _stacked(sums: dict, model: str, blocks: int) -> dict[str, np.ndarray]:
    """Totals of a model, (N, ...) each."""
    by_block = [sums[model, block].totals() for block in range(blocks)]
    return {name: np.stack([totals[name] for totals in by_block]) for name in by_block[0]}


@contextmanager
def _judging(
    judge: Judge, processes: int
) -> Iterator[Callable[[Iterable[Batch]], Iterator[Judgement]]]:
    """A function that judges batches, in their order, here or in worker processes with one thread
    each.
    """
    if processes == 0:
        yield lambda batches: map(judge, batches)
        return
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        with ProcessPoolExecutor(
            processes, mp_context=get_context("spawn"), initializer=_become, initargs=(judge,)
        ) as pool:
            yield lambda batches: _in_order(pool, batches, ahead=processes + 1)
    except BrokenProcessPool:
        raise UserError(
            "a process that made the baselines' forecasts died (out of memory?); evaluate with "
            "fewer: evaluation.workers=0."
        ) from None
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _become(judge: Judge) -> None:
    """Set up a worker process."""
    import torch

    global _judge
    _judge = judge
    torch.set_num_threads(1)


def _judged(batch: Batch) -> Judgement:
    return _judge(batch)


def _in_order(
    pool: ProcessPoolExecutor, batches: Iterable[Batch], *, ahead: int
) -> Iterator[Judgement]:
    """Judgements in the order of the batches, of which only so many are held at once."""
    running: deque = deque()
    for batch in batches:
        running.append(pool.submit(_judged, batch))
        if len(running) >= ahead:
            yield running.popleft().result()
    while running:
        yield running.popleft().result()


def _shown(
    source, judge: Judge, judgement: Judgement, of_case: np.ndarray, reference: str | None
) -> list[ShownCase]:
    """The worst, a typical and the best case by the first judged model's squared error relative to
    the first baseline's.
    """
    skill = skills(judgement.squared_errors, next(iter(judgement.squared_errors)), reference)
    order = [int(index) for index in np.argsort(skill) if np.isfinite(skill[index])]
    chosen = (
        {
            kind: order[place]
            for kind, place in (("worst", 0), ("typical", len(order) // 2), ("best", -1))
        }
        if order
        else {}
    )
    shown = []
    for kind, index in chosen.items():
        batch = source.batch([index], of_case)
        forecasts, _, _ = judge.forecasts(batch)
        fields = {name: small(forecast[0]) for name, forecast in forecasts.items()}
        grid = source.grid_of(index)
        kept = ShownCase(
            kind,
            source.title(index),
            small(batch.context[0]),
            small(batch.observation[0]),
            fields,
            grid and _small_grid(grid, fields),
        )
        shown.append(kept)
    return shown


def _small_grid(grid: Grid, fields: dict[str, np.ndarray]) -> Grid:
    """The grid of fields that ``small`` made: a square's centre stands for it, also where it
    reaches over the edge.
    """
    height, width = next(iter(fields.values())).shape[1:]
    step = math.ceil(max(grid.shape) / _SHOWN_SIDE)

    def centres(first: float, spacing: float, count: int) -> np.ndarray:
        return first + spacing * ((step - 1) / 2 + step * np.arange(count))

    dy, dx = (0.0 if math.isnan(spacing) else spacing for spacing in grid.spacing)
    return (
        Grid(grid.crs, centres(grid.x[0], dx, width), centres(grid.y[0], -dy, height))
        if step > 1
        else grid
    )


def small(values: np.ndarray) -> np.ndarray:
    """Fields (T, H, W) for pictures of at most 512 pixels a side: means over squares, of the pixels
    in them that hold a number.
    """
    step = math.ceil(max(values.shape[1:]) / _SHOWN_SIDE)
    if step == 1:
        return values
    padded = np.pad(
        values, ((0, 0), *((0, -side % step) for side in values.shape[1:])), constant_values=np.nan
    )
    squares = padded.reshape(
        len(values), padded.shape[1] // step, step, padded.shape[2] // step, step
    )
    known = ~np.isnan(squares)
    count = known.sum((2, 4))
    with np.errstate(invalid="ignore"):
        return np.where(
            2 * count >= step * step,
            np.where(known, squares, 0).sum((2, 4)) / np.maximum(count, 1),
            np.nan,
        ).astype(np.float32)
