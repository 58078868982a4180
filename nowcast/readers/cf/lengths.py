"""The numbers of coordinates as metres or degrees."""

import numpy as np
import pyproj

from nowcast.readers.cf import units
from nowcast.readers.cf.coordinates import Along, counts_degrees
from nowcast.readers.cf.source import Source
from nowcast.readers.cf.told import Lacking
from nowcast.runtime.errors import UserError

_SMALLEST_STEP = 50.0  # metres: a finer map is none of a radar, but a count of pixels


def centres(source: Source, along: Along, crs: pyproj.CRS, unit: float | None) -> np.ndarray:
    """Cell centres in metres or degrees, as they are ordered in the file.

    Args:
        source: the data set.
        along: the coordinates.
        crs: the projection.
        unit: metres of what they count in where they do not say so themselves; None: not known.

    Raises:
        UserError: units that do not fit the projection, or are not known, or no finite numbers.
    """
    values, variable = along.values, along.variable
    name = "given" if variable is None else variable.name
    where = f"{source.path}: the coordinate {name}"
    if not values.size or not np.isfinite(values).all():
        raise UserError(
            f"{where} has {np.isfinite(values).sum()} numbers for its length of {values.size}; "
            "expected one for each, and at least one."
        )
    stated = "" if variable is None else variable.text("units")
    if crs.is_geographic:
        needed, factor = "degrees", 1.0 if counts_degrees(variable) else None
    elif variable is None:
        needed, factor = "m or km", unit or 1.0
    else:
        needed, factor = "m or km", units.metres(stated) if stated else unit
        if not stated and factor is not None and _is_count(values, factor):
            factor = None
    if factor is None:
        advice = f"{source.told.setting('crs')} to one that has them (+units=m or +units=km)"
        raise Lacking(
            f"{where} has the units {stated!r}; {needed} are needed for its projection; {advice}.",
            ("crs",),
        )
    return evened(along, values) * factor


def _is_count(values: np.ndarray, factor: float) -> bool:
    """Whether numbers without a unit rather count pixels than metres."""
    return values.size > 1 and abs(values[1] - values[0]) * factor < _SMALLEST_STEP


def evened(along: Along, values: np.ndarray) -> np.ndarray:
    """Evenly spaced coordinates, where 32 bits alone made them uneven: beyond 256 degrees these
    distinguish places only 0.00003 apart.
    """
    if along.variable is None or along.variable.dtype.str[1:] != "f4":
        return values
    even = np.linspace(values[0], values[-1], values.size)
    step = np.spacing(np.abs(along.values).max().astype(np.float64), dtype=np.float32)
    return even if (np.abs(values - even) <= 2 * step).all() else values
