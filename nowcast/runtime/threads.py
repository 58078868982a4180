"""How threads that compute wait for each other: shortly awake, then asleep.

torch shares out each operation over the cores by OpenMP. A thread that is done waits for the others
in a loop that does nothing, by default for milliseconds, so that the next operation finds it awake.
On a machine that other programs use as well, the core it keeps busy is the one that the thread it
waits for would need: forecasts then take ten times as long and more. `nowcast benchmark
what=prediction` measures both, alone and beside busy processes.
"""

import os
import sys
from collections.abc import Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")
SPIN_COUNT = "1000"
"""Turns of GNU OpenMP's waiting loop, some microseconds. What libgomp takes itself where there are
more threads than cores. 100 and 0 (`OMP_WAIT_POLICY=passive`) made forecasts on an idle machine 1.5
times as long, 1,000 1.15 times; 10,000 no longer, but 5 times as long beside two busy processes."""
_SPINNING = "GOMP_SPINCOUNT"
WAITING_VARIABLES = (_SPINNING, "OMP_WAIT_POLICY")  # that say how OpenMP's threads wait


def cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def wait_asleep(environment: MutableMapping[str, str] = os.environ) -> bool:
    """Let the threads of this process, and of those that it starts, wait asleep.

    OpenMP reads its variables once, when torch is loaded: call this before. Nothing is changed
    where the user said how threads wait (`GOMP_SPINCOUNT` or `OMP_WAIT_POLICY`), or where torch is
    loaded.

    Args:
        environment: the variables of the process.

    Returns:
        Whether they will wait asleep because of this call.
    """
    if "torch" in sys.modules or any(name in environment for name in WAITING_VARIABLES):
        return False
    environment[_SPINNING] = SPIN_COUNT
    return True


def in_new_thread(function: Callable[[], Result]) -> Result:
    """Call a function in a thread of its own: the caller's inference mode, autocast, checkpointing
    and tracing, whatever it is in the middle of, stay outside.
    """
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(function).result()
