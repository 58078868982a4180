"""What a byte of a field on the page means.

A byte of an amount (rain rate, accumulation) is 0 for a pixel that was not observed, 1 below 0.1
(dry), else 2 + k for the k-th of 254 steps: each is at most 3 % wide, and colour classes begin
where a step begins, so that the browser's colours are exactly those of the pictures. A byte of a
probability is 0 for no forecast, else 1 + per cent.
"""

import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np

from nowcast.drawing.cells import shrink
from nowcast.drawing.colours import RAIN_CLASSES, RAIN_COLOURS
from nowcast.types.arrays import as_numbers

STEP = 1.03
"""No step of the amount scale is wider than this ratio."""
_STEPS = 254  # all that a byte can say, without "not observed" and "dry"

_PERCENT_CLASSES = (10, 30, 50, 70, 90)
_PERCENT_COLOURS = [
    [255, 255, 255],
    [253, 228, 190],
    [250, 184, 110],
    [228, 122, 56],
    [176, 66, 22],
    [100, 28, 6],
]


def amount_bounds() -> np.ndarray:
    """Lower bounds of the steps of the amount scale, (254,) float32: 0.1, 0.103, ... 0.5, ... 50,
    ...; every bound of a colour class is among them.
    """
    parts = []
    for low, high in pairwise(RAIN_CLASSES):
        steps = int(np.ceil(np.log(high / low) / np.log(STEP)))
        parts.append(low * (high / low) ** (np.arange(steps) / steps))
    above = _STEPS - sum(map(len, parts))
    parts.append(RAIN_CLASSES[-1] * STEP ** np.arange(above))
    return np.concatenate(parts).astype(np.float32)


def amounts(values: np.ndarray) -> np.ndarray:
    """Rain rates [mm/h] or accumulations [mm], any shape -> uint8 as the module says."""
    values = as_numbers(values, "amounts of rain")
    codes = np.searchsorted(amount_bounds(), values, side="right") + 1
    return np.where(np.isnan(values), 0, codes).astype(np.uint8)


def percents(values: np.ndarray) -> np.ndarray:
    """Probabilities 0 to 1, any shape -> uint8: 0 for NaN, else 1 + per cent."""
    values = as_numbers(values, "probabilities")
    return np.where(np.isnan(values), 0, np.round(100 * np.nan_to_num(values)) + 1).astype(np.uint8)


_CODERS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {"amount": amounts, "percent": percents}


def packed(
    fields: Mapping[str, tuple[np.ndarray, str]], size: tuple[int, int], *, level: int
) -> Iterator[tuple[str, bytes]]:
    """Fields as the page gets them: one byte a pixel, rows from north, deflated (zlib); two at a
    time.

    Args:
        fields: by name, each (H, W) and the scale it is coded in, "amount" or "percent".
        size: height and width on the page; larger fields become means over blocks.
        level: of deflate.
    """

    def pack(item: tuple[str, tuple[np.ndarray, str]]) -> tuple[str, bytes]:
        name, (field, scale) = item
        coded = _CODERS[scale](shrink(field, *size))
        return name, zlib.compress(coded.tobytes(), level)

    with ThreadPoolExecutor(2) as pool:
        yield from pool.map(pack, fields.items())


def amount_scale() -> dict:
    """Bounds and shown values of the codes 2 to 255, the colour class of every code, the legend."""
    bounds = amount_bounds().astype(np.float64)
    shown = np.sqrt(bounds * np.append(bounds[1:], bounds[-1] * STEP))
    classes = np.searchsorted(np.float32(RAIN_CLASSES), bounds.astype(np.float32), side="right")
    return {
        "edges": [float(f"{bound:.6g}") for bound in bounds],
        "values": [float(f"{value:.5g}") for value in shown],
        "classes": [-1, 0, *classes.tolist()],
        "legend": _legend(RAIN_CLASSES),
        "colours": RAIN_COLOURS.tolist(),
    }


def percent_scale() -> dict:
    """The same of probabilities."""
    classes = np.searchsorted(_PERCENT_CLASSES, np.arange(101), side="right")
    return {
        "edges": list(range(1, 101)),
        "values": list(range(1, 101)),
        "classes": [-1, *classes.tolist()],
        "legend": _legend(_PERCENT_CLASSES),
        "colours": _PERCENT_COLOURS,
    }


def _legend(classes: tuple[float, ...]) -> list[dict]:
    return [{"from": bound} for bound in (0, *classes)]
