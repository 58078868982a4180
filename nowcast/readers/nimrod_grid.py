"""Where the pixels of a Nimrod file are: Great Britain's National Grid, a transverse Mercator
projection, or longitudes and latitudes.
"""

import numpy as np

from nowcast.readers.limits import require_side
from nowcast.readers.nimrod_header import NOT_STATED, NimrodHeader
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Grid

_NATIONAL, _DEGREES, _MERCATOR = 0, 1, 4  # number 15
_OTHERS = {2: "as a satellite sees it", 3: "polar stereographic", 5: "rotated degrees"}
_NATIONAL_GRID = "EPSG:27700"
# numbers 43 to 47: latitude, longitude, easting, northing of the true origin; scale
_ORIGIN = (49.0, -2.0, 400_000.0, -100_000.0, 0.9996012717)
_ORIGIN_OFF = (1e-3, 1e-3, 1.0, 1.0, 1e-4)
_KILOMETRES = 1000.0  # some old files have the false origin in kilometres
_EARTHS = {0: "+ellps=airy", 1: "+ellps=intl"}  # number 28
_USUAL_EARTH = {_NATIONAL: 0, _DEGREES: 1, _MERCATOR: 1}


def grid_of(header: NimrodHeader) -> Grid:
    """Cell centres, as the header states them.

    Raises:
        UserError: a projection that is not known here, or no steps.
    """
    path, kind = header.path, header[15]
    if kind not in _USUAL_EARTH:
        what = f" ({_OTHERS[kind]})" if kind in _OTHERS else ""
        raise UserError(
            f"{path} has a grid of type {kind}{what} (number 15 of its header); expected 0 (the "
            "National Grid), 1 (longitudes and latitudes) or 4 (transverse Mercator)."
        )
    axes = []
    for side, first, step, sign in ((17, 36, 37, 1), (16, 34, 35, -1)):
        count = require_side(f"{path}: number {side} of its header", header[side])
        distance = header.number(step)
        if not distance > 0:
            raise UserError(
                f"{path} has the step {distance:g} between pixels (number {step} of its header); "
                "expected a positive number."
            )
        axes.append(header.number(first) + sign * distance * np.arange(count))
    try:
        return Grid(_projection(header, kind), *axes)
    except UserError as error:  # steps too small, or no such projection
        raise UserError(f"{path}: {error}") from None


def _projection(header: NimrodHeader, kind: int) -> str:
    earth = header[28] if header[28] in _EARTHS else _USUAL_EARTH[kind]
    if kind == _DEGREES:
        return f"+proj=longlat {_EARTHS[earth]} +no_defs"
    stated = [_stated(header, number) for number in range(43, 48)]
    if kind == _NATIONAL:
        stated = [usual if one is None else one for one, usual in zip(stated, _ORIGIN)]
        for place in (2, 3):
            if abs(stated[place] * _KILOMETRES - _ORIGIN[place]) <= _ORIGIN_OFF[place]:
                stated[place] = _ORIGIN[place]
        differences = np.abs(np.subtract(stated, _ORIGIN))
        if (differences <= _ORIGIN_OFF).all():
            return _NATIONAL_GRID
    if None in stated:
        raise UserError(
            f"{header.path} has a transverse Mercator grid without its origin (numbers 43 to 47 of "
            "its header)."
        )
    latitude, longitude, easting, northing, scale = stated
    return (
        f"+proj=tmerc +lat_0={latitude:.9g} +lon_0={longitude:.9g} +k={scale:.9g} "
        f"+x_0={easting:.9g} +y_0={northing:.9g} {_EARTHS[earth]} +units=m"
    )


def _stated(header: NimrodHeader, number: int) -> float | None:
    """A number of the header; None where it is not stated."""
    value, mark = header.number(number), header.number(38)
    is_mark = value == NOT_STATED or (value == mark and mark < -1000)
    return None if is_mark else value
