"""The grid of an ODIM_H5 map, from whichever consistent statements its file has: corners as
longitudes and latitudes or in the projection, scales, and where the projection puts its origin.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyproj

from nowcast.readers.limits import require_side
from nowcast.readers.odim_attributes import OdimField
from nowcast.readers.odim_corners import (
    NAMES,
    Corner,
    Reading,
    Statements,
    agreeing,
    extents,
    likely,
    pixels_apart,
    readings,
    snapped,
)
from nowcast.readers.odim_placement import (
    BY_NAME,
    OVERRULE,
    FromCorners,
    Length,
    Placement,
    by_corners,
    by_scales,
    origin_by,
)
from nowcast.readers.projection import project, projection_in_metres, without_wkt
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Grid
from nowcast.types.tolerance import in_force

_KILOMETRES = "its scales are in kilometres"
_LARGEST_DEGREES = 10.0  # of a pixel; a larger scale of longitudes is in metres


Located = tuple[Grid, tuple[str, ...]]  # with remarks on how unusual statements were read


def locate(field: OdimField, shape: tuple[int, int], placement: Placement) -> Located:
    """Where a field's pixels are: their centres in metres or degrees.

    Args:
        field: of the open file.
        shape: of its array (rows, columns), for sizes that are not stated.
        placement: what overrules the file's statements.

    Raises:
        UserError: nothing says where the pixels are, or statements contradict each other.
    """
    path, remarks = field.file.path, []
    projection = _projection(field, placement.crs)
    source = placement.source
    stated = _statements(field, shape, projection, placement, remarks)
    if source == "given":
        step, origin = placement.given(stated, path)
    elif source == "scales" or not stated.corners:
        step, origin = by_scales(stated, projection, path, is_sure=source == "scales")
        if likely(stated).unit != 1:
            remarks.append(_KILOMETRES)
        if not stated.corners:
            remarks.append("its map is taken to begin at the origin of its projection")
    elif source is not None or stated.scales is None:
        centres = None if source is None else source == "centres"
        found = by_corners(stated, path, centres=centres)
        step, origin = found.stated.scales, origin_by(found.stated, found.reading, found.corners)
        if source is None:
            remarks.append(_sizes_derived(found))
        remarks += _left_out(found.stated, found.reading, found.corners)
    else:
        step, origin = _consistent(stated, path, remarks)
    return _grid(projection, origin, step, stated.shape), tuple(remarks)


def _sizes_derived(found: FromCorners) -> str:
    """What is to be said of pixels whose size is only known by corners."""
    step = found.stated.scales
    meaning = "centres of pixels" if found.reading.centres else "outer corners"
    return (
        f"it states no scales; its pixels are {step[0]:.6g} x {step[1]:.6g} as its corners, taken "
        f"as {meaning}, say"
    )


def _left_out(stated: Statements, reading: Reading, corners: tuple[Corner, ...]) -> Iterator[str]:
    """What is to be said of each corner that does not agree with those that were used."""
    for corner in stated.corners:
        if corner not in corners:
            apart = max(pixels_apart(stated, reading, corners[0], corner))
            yield (
                f"its {corner.stated_as} lie {apart:.3g} pixels off what the other corners say, "
                "and were not used"
            )


def _grid(projection: str, origin: Length, step: Length, shape: tuple[int, int]) -> Grid:
    """Centres of pixels from the outer upper left corner of a map."""
    rows, columns = shape
    x, y = (np.arange(columns) + 0.5) * step[0], (np.arange(rows) + 0.5) * step[1]
    return Grid(projection, origin[0] + x, origin[1] - y)


def _projection(field: OdimField, crs: str | int | None) -> str:
    definition = field.text("where", "projdef") if crs is None else crs
    if definition is None:
        raise UserError(
            f"{field.file.path} has no text where/projdef, the projection of its pixels; {BY_NAME} "
            "set reader.crs to it."
        )
    if isinstance(definition, int):
        definition = f"EPSG:{definition}"
    path = field.file.path
    return projection_in_metres(without_wkt(definition, path), path)


def _statements(
    field: OdimField,
    shape: tuple[int, int],
    projection: str,
    placement: Placement,
    remarks: list[str],
) -> Statements:
    """What the file states of its grid, as far as it counts."""
    path = field.file.path
    sides = []
    for axis, length in zip("yx", shape):
        size = field.length(f"{axis}size")
        size = length if size is None else size
        sides.append(require_side(f"{path}: where/{axis}size", size))
    is_geographic = _is_geographic(projection)
    corners = _corners(field, projection) if placement.counts_corners else ()
    scales = [None, None]
    if placement.counts_scales:
        scales = [field.length(f"{axis}scale") for axis in "xy"]
    for axis, scale in zip("xy", scales):
        if scale is not None and not scale > 0:
            raise UserError(
                f"{path}: where/{axis}scale is {scale:g}; expected a size of pixels above 0."
            )
    if is_geographic and max(scale or 0.0 for scale in scales) > _LARGEST_DEGREES:
        remarks.append("its scales are no degrees and were not used")
        scales = [None, None]
    if not is_geographic and None in scales and scales != [None, None]:
        scales = [scales[0] or scales[1]] * 2
        remarks.append("one of its scales is missing: its pixels are taken to be square")
    known = None if None in scales else tuple(scales)
    return Statements(tuple(sides), known, corners, is_geographic)


def _is_geographic(projection: str) -> bool:
    try:
        return pyproj.CRS.from_user_input(projection).is_geographic
    except pyproj.exceptions.CRSError:  # whoever projects a corner says so
        return False


def _corners(field: OdimField, projection: str) -> tuple[Corner, ...]:
    """The corners that are stated, those in the projection's own coordinates after the others."""
    found = []
    for is_mapped, (first_part, second_part) in ((False, ("lon", "lat")), (True, ("x", "y"))):
        for name in NAMES:
            parts = [f"{name}_{first_part}", f"{name}_{second_part}"]
            numbers = [field.length(part) for part in parts]
            if numbers == [None, None]:
                continue
            if None in numbers:
                raise UserError(
                    f"{field.file.path} has no number where/{parts[numbers.index(None)]}; expected "
                    f"{parts[0]} and {parts[1]}, or neither."
                )
            if not is_mapped:
                numbers = project(projection, *numbers, path=field.file.path)
            found.append(Corner(name, *numbers, is_mapped))
    return tuple(found)


def _consistent(stated: Statements, path: Path, remarks: list[str]) -> tuple[Length, Length]:
    """(step, origin) by the first reading that makes corners and scales agree."""
    for reading in readings(stated):
        corners = agreeing(stated, reading)
        if not corners:
            continue
        if reading.unit != 1:
            remarks.append(_KILOMETRES)
        if reading.map_unit != 1 and any(corner.is_mapped for corner in stated.corners):
            remarks.append("its UL_x and UL_y are in kilometres")
        if reading.centres:
            remarks.append("its corners are the centres of the corner pixels")
        remarks += _left_out(stated, reading, corners)
        is_by_the_standard = reading.unit == 1 and not reading.centres
        exact = None if is_by_the_standard else snapped(stated, reading, corners)
        if exact is not None:
            remarks.append("its corners are inexact: the map begins at whole multiples of a pixel")
        return reading.steps(stated), exact or origin_by(stated, reading, corners)
    raise UserError(_contradiction(stated, path))


def _contradiction(stated: Statements, path: Path) -> str:
    """What corners and scales say instead of the same, with the numbers."""
    off = in_force().off_corner
    for axis, extent, count, step in zip("xy", extents(stated), stated.shape[::-1], stated.scales):
        if extent is not None and not abs(extent - count * step) <= off * step:
            return (
                f"{path}: the corners in where are {extent:.7g} apart in {axis}, expected "
                f"{count * step:.7g} for {axis}size {count} and where/{axis}scale {step:g}, give "
                f"or take {off:g} pixels ({(count - 1) * step:.7g} between centres of pixels), "
                f"be the scale in metres or kilometres; {OVERRULE}."
            )
    reading = next(readings(stated))
    places = []
    for corner in stated.corners:
        left, top = reading.origin(stated, corner)
        places.append(f"x {left:.7g} and y {top:.7g} by {corner.stated_as}")
    return (
        f"{path}: the corners in where contradict each other, as the upper left corner of the map "
        f"is {', '.join(places)}, which is more than {off:g} pixels apart; {OVERRULE}."
    )
