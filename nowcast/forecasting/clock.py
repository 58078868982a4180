"""The time, as a thing that is passed in: the real one, or one that runs as fast as what is done
with it.
"""

import threading
from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np


class Clock:
    """The machine's clock, and a way to be woken from waiting."""

    def __init__(self):
        self._stop = threading.Event()

    def now(self) -> np.datetime64:
        """UTC, datetime64[ms]."""
        return np.datetime64(datetime.now(UTC).replace(tzinfo=None), "ms")

    def wait(self, seconds: float) -> None:
        """Until so much time has passed, or `stop` was called."""
        self._stop.wait(seconds)

    def stop(self) -> None:
        """End what runs by this clock; not to be called in a signal handler, which may have come
        while `wait` has the same lock.
        """
        self._stop.set()

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stop.is_set()


class SimulatedClock(Clock):
    """A clock that stands still until somebody waits; then what was to happen in the meantime
    happens.

    Args:
        start: UTC time it begins with.
        end: UTC time at which it stops whatever runs by it.
    """

    def __init__(self, start: np.datetime64, end: np.datetime64):
        super().__init__()
        self._now, self._end = np.datetime64(start, "ms"), np.datetime64(end, "ms")
        self._due: list[tuple[np.datetime64, int, Callable[[], None]]] = []

    def now(self) -> np.datetime64:
        """UTC, datetime64[ms]; it changes in ``wait`` alone."""
        return self._now

    def at(self, time: np.datetime64, action: Callable[[], None]) -> None:
        """Let something happen at a time."""
        self._due.append((np.datetime64(time, "ms"), len(self._due), action))
        self._due.sort(key=lambda item: item[:2])

    def wait(self, seconds: float) -> None:
        """Let so much time pass, and what was to happen in it happen."""
        until = self._now + np.timedelta64(round(seconds * 1000), "ms")
        while self._due and self._due[0][0] <= until:
            time, _, action = self._due.pop(0)
            self._now = max(self._now, time)
            action()
        self._now = until
        if self._now >= self._end:
            self.stop()
