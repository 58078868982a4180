"""A set of cases from its first batch to results with intervals."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime

import numpy as np

from nowcast.evaluation.batches import BatchEvaluator, CaseSums
from nowcast.evaluation.blocks import Blocks
from nowcast.evaluation.cache import ForecastCache
from nowcast.evaluation.plan import EvaluationPlan
from nowcast.evaluation.results import Block, Results
from nowcast.evaluation.shown import shown_cases
from nowcast.evaluation.source import ForecastSource
from nowcast.evaluation.statistics.base import Statistic
from nowcast.evaluation.statistics.sums import Sums
from nowcast.evaluation.workers import evaluating
from nowcast.forecasting.forecaster import Forecaster
from nowcast.runtime.errors import UserError


def evaluate(
    source: ForecastSource,
    baselines: dict[str, Forecaster],
    scores: Statistic,
    *,
    plan: EvaluationPlan,
    settings: dict,
    progress: Callable[[Sequence], Iterable] = iter,
    strict: bool = False,
) -> Results:
    """Evaluate models and baselines on all cases of a source.

    Args:
        source: of the cases, with the forecasts of the models.
        baselines: by name; all get the same context.
        scores: what is measured.
        plan: processes, cache, intervals.
        settings: {"task": ..., "scores": ...} as data, kept with the results.
        progress: wraps the iteration over batches.
        strict: whether a baseline that says that it cannot run ends the evaluation; else it is
            counted, and persistence stands in for it.

    Returns:
        Results whose first model is the first one of the source. A pixel counts where it was
        observed and every forecaster has a value for it, so that all of them are evaluated on the
        same pixels. The numbers are the same whatever the number of processes.

    Raises:
        UserError: scores without ensembles for ensembles, or a worker process that died.
    """
    begun = time.monotonic()
    source.judged_by = scores
    _refuse_ensembles(source, baselines, scores)
    blocks = source.blocks(plan.block_hours)
    folder = plan.cache_folder
    cache = None if folder is None else ForecastCache(folder, plan.cache_gb * 1e9)
    evaluator = BatchEvaluator(baselines, scores, cache, strict)
    found = _all_batches(source, evaluator, plan, blocks, progress)
    shown = shown_cases(source, evaluator, found, blocks.of_case) if plan.show else []
    facts = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - begun, 1),
        "block_rule": blocks.rule,
        "distributions": found.distributions,
        "failures": {name: vars(failed) for name, failed in found.failures.items()},
        "no_pixels": int(np.isnan(next(iter(found.squared_errors.values()))).sum()),
    }
    cases = np.bincount(blocks.of_case[: source.count], minlength=len(blocks.labels)).tolist()
    return Results(
        settings,
        [Block(*block) for block in zip(blocks.labels, blocks.events, cases)],
        _totals(found.sums),
        found.members,
        _totals(found.ensembles),
        plan.resampling,
        facts,
        shown,
        scores,
        _totals(found.probabilities),
        _totals(found.aggregates),
    )


def _refuse_ensembles(
    source: ForecastSource, baselines: Mapping[str, Forecaster], scores: Statistic
) -> None:
    """Refuse ensembles where nothing scores them.

    Raises:
        UserError: there is an ensemble, and no scores of ensembles.
    """
    models = (forecaster.model for forecaster in baselines.values())
    ensembles = source.members or any(model.capabilities.own_members for model in models)
    if ensembles and scores.ensemble(1) is None:
        raise UserError(
            f"{type(scores).__name__} has no scores of ensembles; take scores=rain, and "
            "evaluation.members=0 and baselines without members for others."
        )


def _all_batches(
    source: ForecastSource,
    evaluator: BatchEvaluator,
    plan: EvaluationPlan,
    blocks: Blocks,
    progress: Callable[[Sequence], Iterable],
) -> CaseSums:
    """The sums over all cases."""
    ranges, found = source.ranges(), CaseSums()
    slow = any(one.model.capabilities.slow for one in evaluator.baselines.values())
    processes = min(plan.processes(slow), len(ranges))
    with evaluating(evaluator, processes) as evaluated:
        batches = (source.batch(indices, blocks.of_case) for indices in progress(ranges))
        for sums in evaluated(batches):
            found.add(sums)
    return found


def _totals(found: Mapping[tuple[str, int], Sums]) -> dict[str, dict[str, np.ndarray]]:
    """Totals by model and name, (N, ...) each, of sums by model and block."""
    by_model: dict[str, dict[str, list[np.ndarray]]] = {}
    for model, block in sorted(found, key=lambda key: key[1]):
        arrays = by_model.setdefault(model, {})
        for name, total in found[model, block].totals().items():
            arrays.setdefault(name, []).append(total)
    stacked = {}
    for model, arrays in by_model.items():
        stacked[model] = {name: np.stack(totals) for name, totals in arrays.items()}
    return stacked
