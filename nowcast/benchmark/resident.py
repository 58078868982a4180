"""Resident memory of processes, where the system (Linux) tells."""

from collections.abc import Callable
from pathlib import Path

_PROCESSES = Path("/proc")


def resident(process: int | str, *, peak: bool = False) -> int | None:
    """Resident memory of a process [bytes], now or at its peak so far; None where the system does
    not tell, or the process has ended.
    """
    try:
        lines = (_PROCESSES / str(process) / "status").read_text().splitlines()
    except OSError:
        return None
    return next(
        (
            1024 * int(line.split()[1])
            for line in lines
            if line.startswith("VmHWM:" if peak else "VmRSS:")
        ),
        None,
    )


def peak_resident(step: Callable[[], float]) -> tuple[int | None, float]:
    """Resident memory of this process [bytes] at its peak during a step, all that was there before
    included, and what the step returns.
    """
    try:
        (_PROCESSES / "self" / "clear_refs").write_text("5")  # the peak is counted from now on
    except OSError:
        return None, step()
    result = step()
    return resident("self", peak=True), result
