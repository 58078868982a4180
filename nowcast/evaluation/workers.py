"""Batches evaluated in their order, in this process or in several."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context

from nowcast.evaluation.batches import BatchEvaluator, CaseBatch, CaseSums
from nowcast.runtime.errors import UserError

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

_evaluator: BatchEvaluator | None = None  # of a worker process


@contextmanager
def evaluating(
    evaluator: BatchEvaluator, processes: int
) -> Iterator[Callable[[Iterable[CaseBatch]], Iterator[CaseSums]]]:
    """A function that evaluates batches, here or in worker processes with one thread each.

    Raises:
        UserError: a worker process died.
    """
    if processes == 0:
        yield lambda batches: map(evaluator, batches)
        return
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    context = get_context("spawn")
    try:
        with ProcessPoolExecutor(processes, context, _become, (evaluator,)) as pool:
            yield lambda batches: _in_order(pool, batches, ahead=processes + 1)
    except BrokenProcessPool:
        raise UserError(
            "a process that made the baselines' forecasts died (out of memory?); evaluate with "
            "fewer: evaluation.workers=0."
        ) from None
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _become(evaluator: BatchEvaluator) -> None:
    """Set up a worker process."""
    import torch

    global _evaluator
    _evaluator = evaluator
    torch.set_num_threads(1)


def _evaluated(batch: CaseBatch) -> CaseSums:
    return _evaluator(batch)


def _in_order(
    pool: ProcessPoolExecutor, batches: Iterable[CaseBatch], *, ahead: int
) -> Iterator[CaseSums]:
    """Sums in the order of the batches, of which only so many are in memory at once."""
    running: deque = deque()
    for batch in batches:
        running.append(pool.submit(_evaluated, batch))
        if len(running) >= ahead:
            yield running.popleft().result()
    while running:
        yield running.popleft().result()
