"""Other programs on the same cores, made on purpose: what a forecast takes beside them."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator

_PROGRAM = """
import os
parent = os.getppid()
while os.getppid() == parent:
    sum(range(100_000))
"""  # it ends by itself where the process that started it was killed


@contextlib.contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """While the block runs, so many other processes compute without a pause.

    Args:
        count: number of processes, 0 or more; each would take a whole core.
    """
    with contextlib.ExitStack() as running:
        for _ in range(count):
            process = subprocess.Popen([sys.executable, "-c", _PROGRAM])
            running.callback(process.wait)
            running.callback(process.kill)  # called before it is waited for
        yield
