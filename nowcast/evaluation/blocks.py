"""Cases in blocks that hardly depend on each other: what intervals are drawn from."""

from dataclasses import dataclass

import numpy as np

from nowcast.evaluation.results import ALL_CASES

_DAY = 24.0
_ENOUGH = 10  # blocks: with fewer whole days, shorter blocks are taken
_EVENT_GAP = np.timedelta64(
    6, "h"
)  # without any case, and the rain that comes then is another event
_GROUPS = 100


@dataclass(frozen=True)
class Blocks:
    """Which block each case is in.

    Args:
        labels: of the blocks, N.
        events: the event that each block belongs to, N.
        of_case: number of the block of each case.
        rule: how they were made, in words.
    """

    labels: list[str]
    events: list[str]
    of_case: np.ndarray
    rule: str


def groups(cases: int) -> Blocks:
    """Blocks of cases that do not depend on each other: at most 100 groups of equal size, so that
    what is kept of them does not grow.
    """
    count = min(cases, _GROUPS)
    of_case = np.arange(cases) * count // max(cases, 1)
    labels = [
        f"cases {np.flatnonzero(of_case == k)[0]} to {np.flatnonzero(of_case == k)[-1]}"
        for k in range(count)
    ]
    return Blocks(labels, [ALL_CASES] * count, of_case, f"{count} groups of independent cases")


def by_time(
    times: np.ndarray,
    sources: list[str],
    window_hours: float,
    hours: float | None = None,
    *,
    stride_hours: float = 0.0,
) -> Blocks:
    """Blocks of consecutive analysis times.

    Args:
        times: analysis times, UTC, (cases,), ascending within a source.
        sources: where each case comes from, e.g. its archive; cases of two sources are never in one
            block.
        window_hours: from the first context frame to the last lead.
        hours: the length of a block; None: whole days where that makes ten blocks or more, else so
            many windows that cases of two blocks share few frames.
        stride_hours: at which cases were taken, others between them left out on purpose; 0: there
            are no others.

    Returns:
        Blocks in the order of the cases. An event ends where the source changes, or where no case
        comes for six hours, or for one and a half strides.
    """
    change = np.array([one != other for one, other in zip(sources[1:], sources)], bool)
    gap = max(_EVENT_GAP, np.timedelta64(int(1.5 * 3600 * stride_hours), "s"))
    new_event = np.concatenate([[True], change | (np.diff(times) > gap)])
    event = np.cumsum(new_event) - 1
    chosen = hours or _DAY
    if hours is None and len(_cut(times, event, chosen)[1]) < _ENOUGH:
        chosen = window_hours
    of_case, firsts = _cut(times, event, chosen)
    names = [
        _event_name(
            times[event == k], sources[int(np.flatnonzero(event == k)[0])], len(set(sources)) > 1
        )
        for k in range(event[-1] + 1)
    ]
    labels = [
        f"{sources[i] + ' ' if len(set(sources)) > 1 else ''}{_minute(times[i])}" for i in firsts
    ]
    return Blocks(
        labels,
        [names[event[i]] for i in firsts],
        of_case,
        f"{len(firsts)} blocks of {chosen:.3g} hours of consecutive analysis times",
    )


def _cut(times: np.ndarray, event: np.ndarray, hours: float) -> tuple[np.ndarray, np.ndarray]:
    """The number of each case's block, and the first case of each block: events cut every so many
    hours, whole days at midnight.
    """
    if hours == _DAY:
        piece = times.astype("datetime64[D]").astype(np.int64)
    else:
        first = times[np.searchsorted(event, event)]  # of the case's event
        piece = (times - first).astype("timedelta64[s]").astype(np.int64) // int(hours * 3600)
    new = np.concatenate([[True], (np.diff(event) != 0) | (np.diff(piece) != 0)])
    return np.cumsum(new) - 1, np.flatnonzero(new)


def _event_name(times: np.ndarray, source: str, with_source: bool) -> str:
    first, last = _minute(times[0]), _minute(times[-1])
    period = (
        first if first == last else f"{first} to {last[11:] if last[:10] == first[:10] else last}"
    )
    return f"{source}: {period}" if with_source else period


def _minute(time: np.datetime64) -> str:
    return str(time.astype("datetime64[m]")).replace("T", " ")
