"""Cases in blocks that hardly depend on each other: what intervals are drawn from."""

from dataclasses import dataclass

import numpy as np

from nowcast.evaluation.results import ALL_CASES

_DAY = 24.0
_FEWEST_DAYS = 10  # with fewer whole days, shorter blocks are taken
# without any case, and the rain that comes then is another event
_EVENT_GAP = np.timedelta64(6, "h")
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
    firsts, ends = np.searchsorted(of_case, [range(count), range(1, count + 1)])
    labels = [f"cases {first} to {end - 1}" for first, end in zip(firsts, ends)]
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
    if hours is None and len(_cut(times, event, chosen)[1]) < _FEWEST_DAYS:
        chosen = window_hours
    of_case, firsts = _cut(times, event, chosen)
    several = len(set(sources)) > 1
    names = []
    for first in np.flatnonzero(new_event):
        name = _period(times[event == event[first]])
        names.append(f"{sources[first]}: {name}" if several else name)
    labels = []
    for first in firsts:
        label = _minute(times[first])
        labels.append(f"{sources[first]} {label}" if several else label)
    events = [names[event[first]] for first in firsts]
    rule = f"{len(firsts)} blocks of {chosen:.3g} hours of consecutive analysis times"
    return Blocks(labels, events, of_case, rule)


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


def _period(times: np.ndarray) -> str:
    """From the first time to the last, which is written without its day if that is the first's."""
    first, last = _minute(times[0]), _minute(times[-1])
    if first == last:
        return first
    return f"{first} to {last[11:] if last[:10] == first[:10] else last}"


def _minute(time: np.datetime64) -> str:
    return str(time.astype("datetime64[m]")).replace("T", " ")
