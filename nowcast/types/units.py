"""Conversions into rain rate [mm/h], and names for what it came from.

Pure functions; NaN stays NaN, and a mask becomes NaN.
"""

import re
from typing import Any

import numpy as np

from nowcast.types.arrays import as_numbers

RAIN_RATE = "rain rate"
"""Quantity of fields that were rates from the start."""


_QUANTITY = re.compile(r"rain depth in \S+ min|reflectivity, Z = \S+ R\^\S+")


def is_quantity(text: object) -> bool:
    """Whether a text is one of the quantities that are named here."""
    return isinstance(text, str) and (text == RAIN_RATE or bool(_QUANTITY.fullmatch(text)))


def rain_depth_quantity(minutes: float) -> str:
    """Quantity of fields that were depths over ``minutes``, e.g. "rain depth in 5 min"."""
    return f"rain depth in {minutes:g} min"


def reflectivity_quantity(a: float, b: float) -> str:
    """Quantity of fields that were reflectivities, with the relation Z = a R^b that made them
    rates.
    """
    return f"reflectivity, Z = {a:g} R^{b:g}"


def rain_rate_from_depth(depth: Any, minutes: float) -> Any:
    """Rain rate [mm/h] of a rain depth [mm] that fell in ``minutes``."""
    return depth * (60.0 / minutes)


def rain_rate_from_reflectivity(reflectivity: Any, a: float, b: float) -> np.ndarray:
    """Rain rate [mm/h] of a reflectivity [dBZ] by Z = a R^b (Marshall, Palmer 1948: 200, 1.6)."""
    z = 10.0 ** (as_numbers(reflectivity, "reflectivities", np.float64) / 10.0)
    return (z / a) ** (1.0 / b)


def reflectivity_from_rain_rate(rain_rate: Any, a: float, b: float) -> np.ndarray:
    """Reflectivity [dBZ] of a rain rate [mm/h] by Z = a R^b; no rain is -inf dBZ."""
    with np.errstate(divide="ignore"):
        return 10.0 * np.log10(a * as_numbers(rain_rate, "rain rates", np.float64) ** b)
