"""Where an ODIM_H5 map lies by one kind of statement alone: because somebody says which counts, or
because the file has no other.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nowcast.readers.odim_corners import (
    Corner,
    Reading,
    Statements,
    agreeing,
    by_degrees,
    extents,
    first,
    likely,
)
from nowcast.runtime.errors import UserError

SOURCES = ("corners", "centres", "scales", "given")
BY_NAME = "with reader=odim_hdf5"  # the default reader, auto, has no settings
OVERRULE = (
    f"{BY_NAME} set reader.grid to what is true: corners (the outer ones of the image), centres "
    "(corners that are centres of pixels), scales, or given (with reader.x and reader.y)"
)
_FALSE_ORIGIN = re.compile(r"\+([xy])_0=(\S+)")
# pixels are square by one meaning of corners if their sides differ by so much less than by another
_SQUARER = 0.25

Length = tuple[float, float]  # in x and in y


@dataclass(frozen=True)
class Placement:
    """What whoever reads a file says of its grid.

    Args:
        source: which of the file's statements counts, one of `SOURCES`; None: all of them.
        crs: the projection; None: the file's.
        x: centre of the first column, for ``given``.
        y: centre of the first row, for ``given``.
        dx: distance between the centres of columns, for ``given``; None: the file's scale.
        dy: distance between the centres of rows, for ``given``; None: the file's scale.

    Raises:
        UserError: another source, or numbers without ``given``, or the reverse.
    """

    source: str | None = None
    crs: str | int | None = None
    x: float | None = None
    y: float | None = None
    dx: float | None = None
    dy: float | None = None

    def __post_init__(self):
        if self.source is not None and self.source not in SOURCES:
            raise UserError(
                f"reader.grid is {self.source!r}; accepted are {', '.join(SOURCES)}, or null for "
                "whatever a file states consistently."
            )
        for name in ("x", "y", "dx", "dy"):
            number = getattr(self, name)
            if number is None:
                continue
            is_number = isinstance(number, (int, float)) and np.isfinite(number)
            if not is_number or (name in ("dx", "dy") and number <= 0):
                raise UserError(
                    f"reader.{name} is {number!r}; a finite number is needed, and above 0 for dx "
                    "and dy."
                )
            if self.source != "given":
                raise UserError(
                    f"reader.{name} counts only where reader.grid is given; set that, or leave "
                    f"reader.{name} null."
                )
        if self.source == "given" and None in (self.x, self.y):
            raise UserError(
                "reader.grid is given, which needs reader.x and reader.y: the centres of the first "
                "column and of the first row."
            )

    @property
    def counts_corners(self) -> bool:
        """Whether corners of the file count."""
        return self.source != "given"

    @property
    def counts_scales(self) -> bool:
        """Whether scales of the file count."""
        if self.source == "given":
            return None in (self.dx, self.dy)
        return self.source in (None, "scales")

    def given(self, stated: Statements, path: Path) -> tuple[Length, Length]:
        """(step, origin) as they are given."""
        steps = [self.dx, self.dy]
        if None in steps:
            scales = scales_alone(stated, path)
            steps = [step or scale for step, scale in zip(steps, scales)]
        return tuple(steps), (self.x - steps[0] / 2, self.y + steps[1] / 2)


def scales_alone(stated: Statements, path: Path) -> Length:
    """The size of a pixel by scales that nothing confirms.

    Raises:
        UserError: there are none.
    """
    if stated.scales is None:
        raise UserError(
            f"{path} has no number where/xscale and where/yscale in the unit of its projection; "
            f"{BY_NAME} set reader.grid to given, and reader.x, reader.y, reader.dx and reader.dy."
        )
    return likely(stated).steps(stated)


def by_scales(
    stated: Statements, projection: str, path: Path, *, is_sure: bool
) -> tuple[Length, Length]:
    """(step, origin) by the scales and the first of the corners; without any, by where the
    projection puts its origin.

    Args:
        stated: by the file.
        projection: PROJ string.
        path: the file, for messages.
        is_sure: whether somebody says that the map begins at the projection's origin.

    Raises:
        UserError: no scales, or nothing says where the map begins.
    """
    step = scales_alone(stated, path)
    if stated.corners:
        return step, likely(stated).origin(stated, stated.corners[0])
    rows, columns = stated.shape
    false_origin = {axis: _number(text) for axis, text in _FALSE_ORIGIN.findall(projection)}
    across, down = false_origin.get("x", 0.0) / step[0], -false_origin.get("y", 0.0) / step[1]
    # a false origin is chosen so that a corner of the map becomes 0, 0; which one, the centre of
    # the projection shows, as it lies in the map
    if is_sure or (0 < across < columns and 0 < down < rows):
        return step, (0.0, 0.0)
    if 0 < across < columns and 0 < -down < rows:
        return step, (0.0, rows * step[1])
    raise UserError(
        f"{path} has no corner (UL_lon, UL_lat and so on) and no UL_x, UL_y, so that nothing says "
        f"where its pixels are; {BY_NAME} set reader.grid to scales where the upper left corner of "
        "the map is the origin of its projection, or to given, and reader.x and reader.y."
    )


@dataclass(frozen=True)
class FromCorners:
    """A grid whose pixels are as large as its corners and their number say.

    Args:
        stated: the same statements, with the size of the pixels that follows.
        reading: what the corners mean.
        corners: those that agree.
    """

    stated: Statements
    reading: Reading
    corners: tuple[Corner, ...]


def by_corners(stated: Statements, path: Path, *, centres: bool | None) -> FromCorners:
    """The grid by corners that lie opposite each other, and by those of the others that agree.

    Args:
        stated: by the file; its scales do not count.
        path: the file, for messages.
        centres: whether corners are centres of pixels; None: what makes the pixels square, else
            not.

    Raises:
        UserError: the corners are too few, or contradict each other.
    """
    own = by_degrees(stated)
    by_name = {corner.name: corner for corner in own}
    candidates = []
    for western, eastern in (("UL", "LR"), ("LL", "UR")):
        if western in by_name and eastern in by_name:
            candidates += _sized(stated, (by_name[western], by_name[eastern]), centres)
    if not candidates:
        raise UserError(
            f"{path} has no corners (UL_lon, UL_lat and so on) that lie opposite each other, by "
            f"which the size of its pixels is known; {BY_NAME} set reader.grid to scales or given."
        )
    best = max(candidates, key=lambda found: len(found.corners))
    # one of four may be wrong, as the other three confirm each other
    if len(best.corners) < min(3, len(own)):
        raise UserError(
            f"{path}: the corners in where contradict each other (UL_lon, UL_lat and so on form no "
            f"rectangle in the projection); {BY_NAME} set reader.grid to scales or given."
        )
    return best


def _sized(
    stated: Statements, pair: tuple[Corner, Corner], centres: bool | None
) -> Iterator[FromCorners]:
    """The grid by two corners that lie opposite each other; none where they have no pixels between
    them.
    """
    x, y = extents(replace(stated, corners=pair))
    rows, columns = stated.shape
    has_centres = min(rows, columns) > 1
    if min(x, y) <= 0 or (centres and not has_centres):
        return
    outer = x / columns, y / rows
    inner = (x / (columns - 1), y / (rows - 1)) if has_centres else outer
    if centres is None:
        centres = not stated.is_geographic and _oblong(inner) < _SQUARER * _oblong(outer)
    own = by_degrees(stated)
    sized = replace(stated, scales=inner if centres else outer, corners=own)
    reading = Reading(centres=centres)
    yield FromCorners(sized, reading, agreeing(sized, reading))


def origin_by(stated: Statements, reading: Reading, corners: tuple[Corner, ...]) -> Length:
    """Where the map's outer upper left corner lies by corners that agree: by one that is stated in
    the projection itself, else each coordinate by a corner on that side.
    """
    mapped = first(corner for corner in corners if corner.is_mapped)
    western = mapped or first(corner for corner in corners if corner.is_left) or corners[0]
    northern = mapped or first(corner for corner in corners if corner.is_upper) or corners[0]
    return reading.origin(stated, western)[0], reading.origin(stated, northern)[1]


def _oblong(step: Length) -> float:
    """How far pixels are from squares: 0 for a square."""
    return abs(step[0] / step[1] - 1)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:  # PROJ takes it for 0, too
        return 0.0
