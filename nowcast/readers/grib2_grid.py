"""Where the pixels of a GRIB2 file are: a regular grid of longitudes and latitudes."""

import struct
from pathlib import Path

import numpy as np

from nowcast.readers.limits import require_pixels
from nowcast.readers.longitudes import near_zero
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Grid
from nowcast.types.tolerance import in_force

_EARTHS = {
    0: "+R=6367470",
    2: "+a=6378160 +b=6356775",
    4: "+ellps=GRS80",
    5: "+ellps=WGS84",
    6: "+R=6371229",
    8: "+R=6371200",
}
_FROM_NORTH, _FROM_SOUTH = 0x00, 0x40
_MILLIONTHS = 1_000_000
_NOT_STATED = (0, 2**32 - 1)
_TURN = 360.0  # degrees


def grid_of(section: bytes, path: str | Path) -> Grid:
    """Cell centres [degrees], longitudes from -180 on.

    Args:
        section: section 3 with its header.
        path: the file, for messages.

    Raises:
        UserError: another grid, or one that contradicts itself.
    """
    points, template, earth = struct.unpack_from(">I2xHB", section, 6)
    columns, rows, basic_angle, subdivisions = struct.unpack_from(">IIII", section, 30)
    if template != 0:
        raise UserError(
            f"{path}: its grid definition template is 3.{template}, expected 3.0 (longitudes and "
            "latitudes)."
        )
    if earth not in _EARTHS:
        raise UserError(
            f"{path}: its shape of the earth is {earth}, expected one of "
            f"{', '.join(map(str, _EARTHS))}."
        )
    if points != columns * rows:
        raise UserError(
            f"{path}: its number of data points is {points}, expected {columns * rows} for "
            f"{rows}x{columns} pixels; it contradicts itself."
        )
    require_pixels(str(path), rows, columns)
    unit = _unit_of_angles(basic_angle, subdivisions, path)
    first_row, first_column, last_row, last_column, dx, dy = (
        _signed_number(section, place) * unit for place in (46, 50, 55, 59, 63, 67)
    )
    _check_order(section[71], first_row, last_row, path)
    if last_column < first_column:  # over Greenwich, or the date line
        last_column += _TURN
    north, south = max(first_row, last_row), min(first_row, last_row)
    x, y = first_column + dx * np.arange(columns), north - dy * np.arange(rows)
    off = in_force().off_corner
    ends = (("longitude", last_column, x[-1], dx), ("latitude", south, y[-1], dy))
    for name, stated, reached, step in ends:
        if abs(reached - stated) > off * step:
            raise UserError(
                f"{path}: the last {name} of its grid is {stated:g}, expected {reached:g} for "
                f"{rows}x{columns} cells of {dy:g}x{dx:g}, give or take {off:g} of one; it "
                "contradicts itself."
            )
    return Grid(f"+proj=longlat {_EARTHS[earth]} +no_defs", near_zero(x), y)


def _check_order(scanning: int, first_row: float, last_row: float, path: str | Path) -> None:
    """Refuse rows that are in another order than the scanning mode says."""
    if scanning not in (_FROM_NORTH, _FROM_SOUTH):
        raise UserError(
            f"{path}: its scanning mode is {scanning:#04x}, expected {_FROM_NORTH:#04x} or "
            f"{_FROM_SOUTH:#04x} (rows from the west)."
        )
    if (scanning == _FROM_NORTH) != (first_row >= last_row):
        order = "north to south" if scanning == _FROM_NORTH else "south to north"
        raise UserError(
            f"{path}: its latitudes run from {first_row:g} to {last_row:g}, but its scanning mode "
            f"is {scanning:#04x}; expected rows from {order}."
        )


def _unit_of_angles(basic_angle: int, subdivisions: int, path: str | Path) -> float:
    """Degrees that the number 1 stands for: a basic angle by its subdivisions, or a millionth where
    neither is stated.
    """
    if basic_angle in _NOT_STATED:
        return 1 / _MILLIONTHS
    if subdivisions in _NOT_STATED:
        raise UserError(
            f"{path}: its subdivisions of the basic angle {basic_angle} are {subdivisions}, "
            f"expected a number such as {_MILLIONTHS}."
        )
    return basic_angle / subdivisions


def _signed_number(section: bytes, place: int) -> int:
    return signed(struct.unpack_from(">I", section, place)[0], 31)


def signed(number: int, bit: int) -> int:
    """A whole number whose highest bit is its sign."""
    return (-1 if number >> bit else 1) * (number & ~(1 << bit))
