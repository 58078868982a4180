"""What corners and scales of an ODIM_H5 map may mean, and whether one meaning makes them agree.

The standard's corners are the outer ones of the image, and its scales are in metres. Files are
about whose corners are the centres of their pixels, or whose scales are in kilometres, so each
reading is tried, and the one that makes all statements agree within half a pixel is taken.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from nowcast.types.tolerance import in_force

NAMES = ("UL", "LR", "LL", "UR")  # in the order in which they count
_OPPOSITE = ({"UL", "LR"}, {"LL", "UR"})
# no pixel of a weather radar is smaller; a scale of 1.0 or 0.5 is in kilometres
_SMALLEST_PIXEL_IN_METRES = 20.0
_EXACT = 0.02  # pixels; corners in degrees with four decimals are so exact on 1 km


@dataclass(frozen=True)
class Corner:
    """A corner that a file states.

    Args:
        name: UL, LR, LL or UR: upper or lower, left or right.
        x: in the projection.
        y: in the projection.
        is_mapped: whether the file states x and y (UL_x, UL_y) and not longitude and latitude.
    """

    name: str
    x: float
    y: float
    is_mapped: bool = False

    @property
    def is_left(self) -> bool:
        """Whether it lies in the west."""
        return self.name[1] == "L"

    @property
    def is_upper(self) -> bool:
        """Whether it lies in the north."""
        return self.name[0] == "U"

    @property
    def stated_as(self) -> str:
        """What a file calls it."""
        parts = ("x", "y") if self.is_mapped else ("lon", "lat")
        return " and ".join(f"{self.name}_{part}" for part in parts)


@dataclass(frozen=True)
class Statements:
    """What a file states of its grid.

    Args:
        shape: (rows, columns).
        scales: size of a pixel (x, y) as stated; None: not, or not both.
        corners: in the order of `NAMES`.
        is_geographic: whether x and y are degrees.
    """

    shape: tuple[int, int]
    scales: tuple[float, float] | None
    corners: tuple[Corner, ...]
    is_geographic: bool = False

    @property
    def span(self) -> bool:
        """Whether there are corners of two sides, which prove or disprove a reading."""
        sides = {corner.is_left for corner in self.corners}
        return len(sides) == 2 or len({corner.is_upper for corner in self.corners}) == 2


@dataclass(frozen=True)
class Reading:
    """What numbers of a file may mean.

    Args:
        unit: of its scales, in that of the projection: 1, or 1000 where they are in kilometres.
        centres: whether its corners are the centres of the corner pixels, not the outer corners.
        map_unit: of UL_x and UL_y, where a file has them.
    """

    unit: float = 1.0
    centres: bool = False
    map_unit: float = 1.0

    def steps(self, stated: Statements) -> tuple[float, float]:
        """Size of a pixel (x, y) in the unit of the projection."""
        x, y = stated.scales
        return x * self.unit, y * self.unit

    def origin(self, stated: Statements, corner: Corner) -> tuple[float, float]:
        """Where the map's outer upper left corner lies by one of its corners."""
        (step_x, step_y), (rows, columns) = self.steps(stated), stated.shape
        unit = self.map_unit if corner.is_mapped else 1.0
        inset_x, inset_y = (step_x / 2, step_y / 2) if self.centres else (0.0, 0.0)
        x, y = corner.x * unit, corner.y * unit
        left = x - inset_x if corner.is_left else x + inset_x - columns * step_x
        top = y + inset_y if corner.is_upper else y - inset_y + rows * step_y
        return left, top


def readings(stated: Statements) -> Iterator[Reading]:
    """The readings to try, the standard's first; of corners that prove nothing, the likely one."""
    kilometres = () if stated.is_geographic else (1000.0,)
    kinds = {corner.is_mapped for corner in stated.corners}
    units, meanings, map_units = (1.0, *kilometres), (False, True), (1.0, *kilometres)
    if not stated.span:
        units, meanings = (likely(stated).unit,), (False,)
    for unit, centres in product(units, meanings):
        if len(kinds) == 1:  # there is nothing to compare with
            yield Reading(unit, centres, unit)
        else:
            yield from (Reading(unit, centres, map_unit) for map_unit in map_units)


def likely(stated: Statements) -> Reading:
    """The reading of scales that nothing confirms: in kilometres where pixels would be absurdly
    small in metres.
    """
    if stated.is_geographic or min(stated.scales) >= _SMALLEST_PIXEL_IN_METRES:
        return Reading()
    return Reading(unit=1000.0, map_unit=1000.0)


def agreeing(stated: Statements, reading: Reading) -> tuple[Corner, ...]:
    """The corners that agree by a reading within half a pixel (tolerance.corners), where they are
    enough to go by; else none.

    Enough are all of them. One or two may be wrong where others that lie opposite each other agree,
    as the size of the map then confirms them in both directions; but never UL_x and UL_y.
    """
    found: tuple[Corner, ...] = ()
    for reference in stated.corners:
        those = tuple(_near(stated, reading, reference))
        if len(those) > len(found):
            found = those
    names = {corner.name for corner in found if not corner.is_mapped}
    left_out = set(stated.corners).difference(found)
    is_confirmed = any(pair <= names for pair in _OPPOSITE)
    is_doubtful = any(corner.is_mapped for corner in left_out)
    return found if not left_out or (is_confirmed and not is_doubtful) else ()


def _near(stated: Statements, reading: Reading, reference: Corner) -> Iterator[Corner]:
    """The corners that put the map where the reference puts it."""
    off = in_force().off_corner
    for corner in stated.corners:
        if max(pixels_apart(stated, reading, reference, corner)) <= off:
            yield corner


def pixels_apart(
    stated: Statements, reading: Reading, one: Corner, other: Corner
) -> tuple[float, float]:
    """How far two corners' statements of where the map lies are apart, in pixels (x, y)."""
    step_x, step_y = reading.steps(stated)
    (left, top), (other_left, other_top) = (reading.origin(stated, c) for c in (one, other))
    return (abs(around(left - other_left, stated)) / step_x, abs(top - other_top) / step_y)


def around(difference: float, stated: Statements) -> float:
    """A difference of x; of longitudes, the shorter way round the earth."""
    return (difference + 180.0) % 360.0 - 180.0 if stated.is_geographic else difference


def extents(stated: Statements) -> tuple[float | None, float | None]:
    """How far the corners lie apart in x and in y as they are stated; None where they are on one
    side. Of several pairs, that of corners that lie opposite each other.
    """
    own = by_degrees(stated)
    left, right = (first(c for c in own if c.is_left is side) for side in (True, False))
    upper, lower = (first(c for c in own if c.is_upper is side) for side in (True, False))
    x = right.x - left.x if left and right else None
    y = upper.y - lower.y if upper and lower else None
    if x is not None and x < 0 and stated.is_geographic:
        x += 360.0  # over the date line
    return x, y


def by_degrees(stated: Statements) -> tuple[Corner, ...]:
    """The corners with longitudes and latitudes; where there are none, those in the projection."""
    return tuple(corner for corner in stated.corners if not corner.is_mapped) or stated.corners


def first(corners: Iterable[Corner]) -> Corner | None:
    """The first of some corners; None where there are none."""
    return next(iter(corners), None)


def snapped(
    stated: Statements, reading: Reading, corners: tuple[Corner, ...]
) -> tuple[float, float] | None:
    """Where a map lies whose corners were rounded or projected roughly: at whole multiples of its
    pixels; None where they are exact, or no such place is near.

    A provider's formula may be some hundred metres off outside its country, so that the corners
    contradict each other; the place that is meant is then no further from them than they are
    from each other, or little more.
    """
    origins = np.array([reading.origin(stated, corner) for corner in corners])
    steps = np.array(reading.steps(stated))
    spread, middle = np.ptp(origins, axis=0), origins.mean(axis=0)
    if len(corners) < 3 or (spread <= _EXACT * steps).all():
        return None
    near = np.round(middle / steps) * steps
    is_near = (np.abs(near - middle) <= 2 * spread).all()
    is_within = (np.abs(near - origins) <= in_force().off_corner * steps).all()
    return tuple(near.tolist()) if is_near and is_within else None
