"""Longitudes that jump by a turn of 360 degrees between two columns, made to run on."""

import numpy as np

_TURN = 360.0


def continuous(longitudes: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Longitudes without jumps of 360 degrees, and the columns they belong to.

    A grid over Greenwich counts 358, 359, 0, 1, one over the date line 179, 180, -179; both run on.
    One that was cut out of 0 to 360 degrees has its western half behind its eastern one (0, 1, 358,
    359): its columns are put in order.

    Args:
        longitudes: of the columns as they are stored [degrees], (W,), in either direction.

    Returns:
        (longitudes [degrees], (W,), evenly rising or falling if they can be, the westernmost from
        -180 to 180 where they jumped; indices of the columns in that order, None: as stored).
    """
    if longitudes.size < 2 or not np.isfinite(longitudes).all():
        return longitudes, None
    order = None
    run_on = np.unwrap(longitudes, period=_TURN)
    if not _is_monotonic(longitudes) or _has_gap(longitudes):
        if _is_monotonic(run_on) and not _has_gap(run_on):
            longitudes = run_on
        else:
            longitudes, order = _after_widest_gap(longitudes)
        longitudes = longitudes - _TURN * np.floor(
            (longitudes.min() + _TURN / 2) / _TURN
        )  # one way to count, whatever was stored
    return longitudes, order


def near_zero(longitudes: np.ndarray) -> np.ndarray:
    """The same places, turned by 360 degrees where all of them lie beyond 180."""
    turns = 0.0
    if longitudes.min() >= _TURN / 2:
        turns = -np.ceil((longitudes.min() - _TURN / 2 + 1e-9) / _TURN)
    elif longitudes.max() <= -_TURN / 2:
        turns = np.ceil((-longitudes.max() - _TURN / 2 + 1e-9) / _TURN)
    return longitudes + _TURN * turns if turns else longitudes


def _is_monotonic(values: np.ndarray) -> bool:
    steps = np.diff(values)
    return bool((steps > 0).all() or (steps < 0).all())


def _has_gap(values: np.ndarray) -> bool:
    """Whether one step is far wider than the others, as where the western half of a grid was cut
    off.
    """
    steps = np.abs(np.diff(values))
    return bool(steps.max() > _TURN / 2) or (
        steps.size > 1 and bool(steps.max() > 1.5 * np.median(steps))
    )


def _after_widest_gap(longitudes: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Rising longitudes from behind the widest gap on the circle, and the columns in that order; as
    they are where that is no better.
    """
    around = np.mod(longitudes, _TURN)
    order = np.argsort(around, kind="stable")
    gaps = np.diff(around[order], append=around[order][0] + _TURN)
    order = np.roll(order, -(int(np.argmax(gaps)) + 1))
    sorted_longitudes = np.unwrap(around[order], period=_TURN)
    if not _is_monotonic(sorted_longitudes) or _has_gap(sorted_longitudes):
        return longitudes, None
    return sorted_longitudes, order
