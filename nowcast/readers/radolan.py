"""DWD's RADOLAN binary format: rain depths of Germany's radar composites (RY, YW, RW and their
like) and reflectivities (RX, EX, WX, WN).

After a text header that ends with the byte 3 come little-endian numbers, southernmost row first.

Those of 16 bits have 12 bits of value, then flags. In rain depths "interpolated" and "clutter" say
how a value was found (cleaned of clutter, it is mostly dry, never the clutter itself): it counts,
as in DWD's own sums. "No data" is missing; so is "negative", which only differences between
products can be, not rain. Reflectivities that are clutter are the clutter itself, and missing.

Those of 8 bits are reflectivities, dBZ = n / 2 - 32.5; 249 is clutter, 250 no data.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nowcast.readers.base import Reader
from nowcast.readers.content import beginning, read_exactly, refuse_other_kind, unpacked
from nowcast.readers.decoding import Coding
from nowcast.readers.projection import project
from nowcast.readers.radolan_header import (
    REFLECTIVITY,
    header,
    is_header,
    minutes_of,
    number_bytes,
    time_of,
)
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Frames, Grid

_VALUE, _NO_DATA, _NEGATIVE, _CLUTTER = 0x0FFF, 0x2000, 0x4000, 0x8000
_NOT_OBSERVED = -1  # free in 16 bits, as all values are of 12
_DBZ_STEP, _LOWEST_DBZ = 0.5, -32.5
_CLUTTER_8, _NO_DATA_8, _UNSET_8 = 249, 250, 255
_CLUTTER_16, _NO_DATA_16 = 2490, 2500  # the same in tenths, where the flags are not set
# by (rows, columns): 1 km cells that lie south and west of 9 degrees east, 51 degrees north
_REFERENCE = {
    (900, 900): (450, 450),
    (1100, 900): (550, 370),
    (1200, 1100): (600, 470),
    (1500, 1400): (800, 600),
}
_PROJECTION = "+proj=stere +lat_0=90 +lat_ts=60 +lon_0=10 +x_0=0 +y_0=0 {earth} +units=m"
_SPHERE, _ELLIPSOID = "+R=6370040", "+ellps=WGS84"
_FIRST_VERSION_ON_THE_ELLIPSOID = 5


@dataclass(frozen=True)
class Radolan(Reader):
    """Reader for RADOLAN composites with rain depths or reflectivities, plain, gzipped or bzipped.

    Args:
        z_r_a: factor of the Z-R relation Z = a R^b, used for reflectivities.
        z_r_b: its exponent.
    """

    z_r_a: float = 200.0
    z_r_b: float = 1.6
    format = "DWD RADOLAN (rain depths or reflectivities)"
    path_parts = 0  # nothing is taken from the name of a file

    def __post_init__(self):
        Coding(z_r_a=self.z_r_a, z_r_b=self.z_r_b)

    def recognises(self, path: str | Path) -> bool:
        """Whether the file starts with a header of this family; never raises."""
        return is_header(beginning(path, 64))

    def read(self, path: str | Path) -> Frames:
        """One frame [mm/h]; its time ends the interval of a depth. NaN: no data.

        Raises:
            UserError: another format or product, a forecast, an unknown grid, or damage.
        """
        if not self.recognises(path):
            refuse_other_kind(path, "a RADOLAN file")
        with unpacked(path, "a RADOLAN file") as stream:
            head = header(stream, path)
            grid = _grid(head, path)
            coding = self._coding(head, path)
            size = number_bytes(head)
            content = read_exactly(stream, size * grid.y.size * grid.x.size, path)
        numbers = np.frombuffer(content, f"<u{size}").reshape(grid.shape)[::-1]
        is_reflectivity = head["product"] in REFLECTIVITY
        values = _values(numbers, is_reflectivity=is_reflectivity) if size == 2 else numbers
        return coding.single_frame(values, time_of(head, path), grid, path)

    def _coding(self, head: dict[str, str | None], path: str | Path) -> Coding:
        """How the numbers stand for rain."""
        if head["product"] not in REFLECTIVITY:
            minutes = minutes_of(head, path)
            return Coding("rain_depth", minutes, _unit(head, path), missing=(_NOT_OBSERVED,))
        unit = _unit(head, path)
        missing = (_NOT_OBSERVED, _CLUTTER_16, _NO_DATA_16)
        if number_bytes(head) == 1:
            missing = (_CLUTTER_8, _NO_DATA_8, _UNSET_8)
            if unit != 1:
                raise UserError(
                    f"{path} has the precision E{head['power']}; reflectivities of 8 bits have "
                    "E+00."
                )
        gain, z_r = _DBZ_STEP * unit, (self.z_r_a, self.z_r_b)
        return Coding("reflectivity", None, gain, _LOWEST_DBZ, missing, 0, *z_r)


def _values(numbers: np.ndarray, *, is_reflectivity: bool) -> np.ndarray:
    """Values of numbers of 16 bits, with those that were not observed as `_NOT_OBSERVED`."""
    not_observed = _NO_DATA | _NEGATIVE | (_CLUTTER if is_reflectivity else 0)
    values = (numbers & _VALUE).astype(np.int16)
    values[(numbers & not_observed) != 0] = _NOT_OBSERVED
    return values


def _unit(head: dict[str, str | None], path: str | Path) -> float:
    """What the number 1 stands for [mm]; of reflectivities, in half dBZ."""
    power = int(head["power"])
    if not -3 <= power <= 0:
        raise UserError(f"{path} has the precision E{head['power']}; E-03 to E+00 mm are accepted.")
    return 1 / 10**-power


def _grid(head: dict[str, str | None], path: str | Path) -> Grid:
    """Cell centres [m]; cells are counted from the corner at 9 degrees east, 51 degrees north."""
    shape = int(head["rows"]), int(head["columns"])
    if shape not in _REFERENCE:
        known = ", ".join("{}x{}".format(*known) for known in _REFERENCE)
        raise UserError(
            f"{path} has {shape[0]}x{shape[1]} pixels, a grid whose place is not known here; "
            f"accepted are {known}."
        )
    earth = _ELLIPSOID if int(head["version"]) >= _FIRST_VERSION_ON_THE_ELLIPSOID else _SPHERE
    projection = _PROJECTION.format(earth=earth)
    x, y = project(projection, 9.0, 51.0, path=path)
    south, west = _REFERENCE[shape]
    return Grid(
        projection,
        x + 1000 * (np.arange(shape[1]) - west + 0.5),
        y + 1000 * (np.arange(shape[0])[::-1] - south + 0.5),
    )
