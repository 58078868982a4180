"""Axes of charts: from values to places, and the numbers that are written beside them."""

import math
from dataclasses import dataclass

import numpy as np

_STEPS = (1, 2, 5, 10)
_MOST_TICKS = 6


@dataclass(frozen=True)
class Axis:
    """One axis.

    Args:
        low, high: values at its ends; low may be the larger one.
        label: what it shows, with the unit.
        ticks: (value, text) of the numbers beside it.
        log: whether equal lengths are equal ratios.
    """

    low: float
    high: float
    label: str
    ticks: tuple[tuple[float, str], ...]
    log: bool = False

    def at(self, values, start: float, end: float) -> np.ndarray:
        """Places of values between those of the ends, which they do not leave; NaN stays."""
        low, high = (math.log(end) if self.log else end for end in (self.low, self.high))
        with np.errstate(divide="ignore", invalid="ignore"):
            values = (
                np.log(np.asarray(values, np.float64))
                if self.log
                else np.asarray(values, np.float64)
            )
        return start + np.clip((values - low) / (high - low), 0, 1) * (end - start)


def linear(low: float, high: float, label: str) -> Axis:
    """An axis with round numbers between two ends, which differ."""
    step = _round_step((high - low) / _MOST_TICKS)
    count = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    return Axis(low, high, label, tuple((k * step, _text(k * step)) for k in count))


def logarithmic(low: float, high: float, label: str, *, ticks=None) -> Axis:
    """An axis of ratios between two positive ends, with powers of ten, or the ticks that are given."""
    if ticks is None:
        smallest, largest = sorted((low, high))
        powers = range(
            math.ceil(math.log10(smallest) - 1e-9), math.floor(math.log10(largest) + 1e-9) + 1
        )
        every = max(1, math.ceil(len(powers) / _MOST_TICKS))
        ticks = [10.0**power for power in powers][::every]
    return Axis(low, high, label, tuple((value, _text(value)) for value in ticks), log=True)


def steps(values, texts, label: str) -> Axis:
    """An axis of steps, of which some are labelled; it begins and ends half a step beside them.

    Args:
        values: of the steps, ascending.
        texts: their labels.
        label: of the axis.
    """
    room = (values[-1] - values[0]) / max(len(values) - 1, 1) * 0.5 or 0.5
    every = math.ceil(len(values) / _MOST_TICKS)
    ticks = [(value, text) for value, text in zip(values, texts)][::-1][::every][::-1]
    return Axis(values[0] - room, values[-1] + room, label, tuple(ticks))


def around(values, label: str, *, zero: bool = True, holding: tuple[float, ...] = ()) -> Axis:
    """An axis around values, from 0 where ``zero``; ``holding`` are values that it shows, too."""
    finite = [float(value) for value in np.ravel(values) if math.isfinite(value)]
    low, high = (
        min([*finite, *holding, *([0.0] if zero else [])], default=0.0),
        max([*finite, *holding, *([0.0] if zero else [])], default=1.0),
    )
    if not finite and high <= low:
        low, high = 0.0, 1.0
    room = 0.06 * (high - low) or 0.06 * abs(high) or 1.0
    return linear(low - room if low < 0 or not zero else low, high + room, label)


def _round_step(step: float) -> float:
    """The next larger of 1, 2, 5, 10, 20, ..."""
    power = 10.0 ** math.floor(math.log10(step))
    return power * next(factor for factor in _STEPS if factor >= step / power - 1e-9)


def _text(value: float) -> str:
    return (
        (f"{value:.6g}" if 1e-4 < abs(value) < 1e6 or value == 0 else f"{value:.1e}")
        .replace("-", "−")
        .replace("e+0", "e")
        .replace("e−0", "e−")
    )
