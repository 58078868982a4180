"""Axes of charts: from values to places, and the numbers that are written along them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_STEPS = (1, 2, 5, 10)
_MOST_TICKS = 6
_ROOM = 0.06  # of the range, left free around values
_TOLERANCE = 1e-9  # a number that ends an axis is on it, whatever was rounded


@dataclass(frozen=True)
class Axis:
    """One axis.

    Args:
        low, high: values at its ends; low may be the larger one.
        label: what it shows, with the unit.
        ticks: (value, text) of the numbers along it.
        log: whether equal lengths are equal ratios.
    """

    low: float
    high: float
    label: str
    ticks: tuple[tuple[float, str], ...]
    log: bool = False

    def at(self, values, start: float, end: float) -> np.ndarray:
        """Places of values between those of the ends, which they do not leave; NaN stays."""
        scaled = np.asarray([self.low, self.high, *np.ravel(values)], np.float64)
        if self.log:
            with np.errstate(divide="ignore", invalid="ignore"):
                scaled = np.log(scaled)
        low, high = scaled[:2]  # scaled like the values: both meet exactly at the ends
        with np.errstate(invalid="ignore"):
            share = (scaled[2:] - low) / (high - low)
        return start + np.clip(share, 0, 1).reshape(np.shape(values)) * (end - start)


def linear(low: float, high: float, label: str) -> Axis:
    """An axis with round numbers between two ends, which differ."""
    step = _round_step((high - low) / _MOST_TICKS)
    first, last = math.ceil(low / step - _TOLERANCE), math.floor(high / step + _TOLERANCE)
    return Axis(low, high, label, _texts([k * step for k in range(first, last + 1)]))


def logarithmic(
    low: float, high: float, label: str, *, ticks: Sequence[float] | None = None
) -> Axis:
    """An axis of ratios between two positive ends, with powers of ten or given ticks."""
    if ticks is None:
        smallest, largest = sorted((low, high))
        first = math.ceil(math.log10(smallest) - _TOLERANCE)
        last = math.floor(math.log10(largest) + _TOLERANCE)
        every = max(1, math.ceil((last + 1 - first) / _MOST_TICKS))
        ticks = [10.0**power for power in range(first, last + 1, every)]
    return Axis(low, high, label, _texts(ticks), log=True)


def steps(values: Sequence[float], texts: Sequence[str], label: str) -> Axis:
    """An axis of steps, of which some are labelled, the last among them; it begins and ends half a
    step beyond them.

    Args:
        values: of the steps, ascending.
        texts: their labels.
        label: of the axis.
    """
    room = (values[-1] - values[0]) / max(len(values) - 1, 1) * 0.5 or 0.5
    every = math.ceil(len(values) / _MOST_TICKS)
    # counted from the last, the longest lead, of which most is said
    ticks = list(zip(values, texts))[::-1][::every][::-1]
    return Axis(values[0] - room, values[-1] + room, label, tuple(ticks))


def around(values, label: str, *, zero: bool = True, including: Sequence[float] = ()) -> Axis:
    """An axis around values, from 0 where ``zero``; ``including`` are values that it shows, too."""
    values = np.ravel(values)
    finite = values[np.isfinite(values)].tolist()
    shown = [*finite, *including, *([0.0] if zero else [])]
    low, high = min(shown, default=0.0), max(shown, default=1.0)
    if not finite and high <= low:  # nothing is known, but an axis there must be
        low, high = 0.0, 1.0
    room = _ROOM * (high - low) or _ROOM * abs(high) or 1.0
    if low < 0 or not zero:
        low -= room
    return linear(low, high + room, label)


def _round_step(step: float) -> float:
    """The next larger of 1, 2, 5, 10, 20, ..."""
    power = 10.0 ** math.floor(math.log10(step))
    return power * next(factor for factor in _STEPS if factor >= step / power - _TOLERANCE)


def _texts(values: Sequence[float]) -> tuple[tuple[float, str], ...]:
    return tuple((value, _text(value)) for value in values)


def _text(value: float) -> str:
    """A number in six digits, very small and large ones with a power: 1.0e−6, 1.0e6."""
    plain = value == 0 or 1e-4 < abs(value) < 1e6
    text = f"{value:.6g}" if plain else f"{value:.1e}"
    return text.replace("-", "−").replace("e+0", "e").replace("e−0", "e−")
