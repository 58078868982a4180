"""The Met Office's Nimrod files: radar composites of the United Kingdom and Europe.

Written after the Met Office's description of the format: big-endian records as Fortran writes them,
each between two counts of its bytes. The first is a header of 512 bytes, the second has the values,
northernmost row first.
"""

import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from nowcast.readers.base import Reader
from nowcast.readers.content import beginning, read_exactly, refuse_other_kind, unpacked
from nowcast.readers.decoding import Coding, stored_mark
from nowcast.readers.forecasts import refuse, refuse_by_attributes
from nowcast.readers.limits import require_pixels, require_side
from nowcast.readers.nimrod_grid import grid_of
from nowcast.readers.nimrod_header import LAYOUT, NOT_STATED, NimrodHeader
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Frames

_COUNT = struct.Struct(">I")  # of bytes, before and after a record
_KINDS = {  # numbers 12 and 13: type and bytes of a value
    (0, 4): ">f4",
    (1, 1): ">i1",
    (1, 2): ">i2",
    (1, 4): ">i4",
    (2, 1): ">u1",
}
_IN_SECONDS = 32767  # number 26, where the period stands in the last number instead
_UNIT = re.compile(r"(?P<unit>[^*\s]+)(?:\s*\*\s*(?P<base>\d+(?:\.\d+)?)(?:\^(?P<power>\d))?)?")
_QUANTITIES = {
    **dict.fromkeys(("mm/h", "mm/hr", "mm/hour", "mmh-1"), "rain_rate"),
    "mm": "rain_depth",
    "dbz": "reflectivity",
}
_FROM_TOP_LEFT = 0


@dataclass(frozen=True)
class Nimrod(Reader):
    """Reader for Nimrod files with rain rates, rain depths or reflectivities, plain or packed.

    Args:
        z_r_a: factor of the Z-R relation Z = a R^b, used for reflectivities.
        z_r_b: its exponent.
    """

    z_r_a: float = 200.0
    z_r_b: float = 1.6
    format = "Met Office Nimrod (rain rates, depths or reflectivities)"
    path_parts = 0  # nothing is taken from the name of a file

    def __post_init__(self):
        Coding(z_r_a=self.z_r_a, z_r_b=self.z_r_b)

    def recognises(self, path: str | Path) -> bool:
        """Whether the file begins with a record of 512 bytes; never raises."""
        start, size = beginning(path, LAYOUT.size + 8), _COUNT.pack(LAYOUT.size)
        return len(start) == LAYOUT.size + 8 and start.startswith(size) and start.endswith(size)

    def read(self, path: str | Path) -> Frames:
        """One frame [mm/h]; its time is the validity time, at which the period of a depth ends.

        Raises:
            UserError: another format or quantity, a forecast, an unknown grid, or damage.
        """
        if not self.recognises(path):
            refuse_other_kind(path, "a Nimrod file")
            raise UserError(
                f"{path} is not a Nimrod file, which begins with a record of {LAYOUT.size} bytes."
            )
        with unpacked(path, "a Nimrod file") as stream:
            content = read_exactly(stream, LAYOUT.size + 8, path, last=False)
            header = NimrodHeader(path, LAYOUT.unpack(content[4:-4]))
            time = header.time(1, 6)
            _refuse_forecast(header, time)
            coding = self._coding(header)
            grid = grid_of(header)
            values = _values(stream, header)
        return coding.single_frame(values, time, grid, path)

    def _coding(self, header: NimrodHeader) -> Coding:
        """How the numbers stand for rain."""
        quantity, gain = _unit(header)
        minutes = _minutes(header) if quantity == "rain_depth" else None
        kind = np.dtype(_kind(header))
        mark = header.number(38) if kind.kind == "f" else header[25]
        missing = (stored_mark(mark, kind), NOT_STATED)
        return Coding(quantity, minutes, gain, 0.0, missing, None, self.z_r_a, self.z_r_b)


def _refuse_forecast(header: NimrodHeader, time: np.datetime64) -> None:
    """Refuse what was made before it is valid, members of an ensemble, and titles of forecasts."""
    if header[7] > 0:
        made = header.time(7, 11)
        if made < time:
            name = "the data time in numbers 7 to 11 of its header"
            refuse(header.path, name, f"{made} UTC", f"none before its validity time, {time} UTC")
    if header[29] not in (NOT_STATED, 0, -1):
        refuse(header.path, "the ensemble member in number 29 of its header", header[29], "0")
    titles = {"title": header.text(107)}
    refuse_by_attributes(header.path, "its header's ", titles, np.array([time]))


def _unit(header: NimrodHeader) -> tuple[str, float]:
    """(what the values are, what the number 1 stands for in mm/h, mm or dBZ)."""
    text = header.text(105)
    match = _UNIT.fullmatch(text)
    quantity = _QUANTITIES.get(match["unit"].lower()) if match else None
    title = header.text(107).lower()
    if quantity is None or ("snow" in title and "rain" not in title):
        raise UserError(
            f"{header.path} has the unit {text!r} and the title {header.text(107)!r}; expected "
            "rain in mm/h, mm or dBZ, such as 'mm/h*32'."
        )
    divisor = float(match["base"] or 1) ** int(match["power"] or 1)
    if divisor <= 0:
        raise UserError(f"{header.path} has the unit {text!r}; a factor above 0 is needed.")
    return quantity, 1 / divisor


def _minutes(header: NimrodHeader) -> float:
    """The period of a rain depth."""
    minutes = float(header[26])
    if minutes == _IN_SECONDS:
        minutes = header[158] / 60
    if minutes <= 0:
        raise UserError(
            f"{header.path} has depths over {minutes:g} minutes (number 26 of its header); "
            "expected the minutes in which they fell."
        )
    return minutes


def _kind(header: NimrodHeader) -> str:
    """The type of the values."""
    kind = _KINDS.get((header[12], header[13]))
    if kind is None:
        raise UserError(
            f"{header.path} has values of type {header[12]} in {header[13]} bytes (numbers 12 and "
            "13 of its header); expected 0 in 4, 1 in 1, 2 or 4, or 2 in 1."
        )
    return kind


def _values(stream: BinaryIO, header: NimrodHeader) -> np.ndarray:
    """The values, (H, W), row 0 north."""
    path, kind = header.path, _kind(header)
    if header[24] != _FROM_TOP_LEFT:
        raise UserError(
            f"{path} begins in the corner {header[24]} (number 24 of its header); expected "
            f"{_FROM_TOP_LEFT}, the top left one, as the Met Office's composites do."
        )
    rows, columns = (
        require_side(f"{path}: number {number} of its header", header[number])
        for number in (16, 17)
    )
    require_pixels(str(path), rows, columns)
    size = rows * columns * np.dtype(kind).itemsize
    (stated,) = _COUNT.unpack(read_exactly(stream, 4, path, last=False))
    if stated != size:
        raise UserError(
            f"{path} has {stated} bytes of values, expected {size} for {rows}x{columns} pixels; it "
            "contradicts itself."
        )
    content = read_exactly(stream, size + 4, path)
    if _COUNT.unpack(content[-4:])[0] != size:
        raise UserError(f"{path}: its values do not end with the count of their bytes; damaged.")
    return np.frombuffer(content, kind, rows * columns).reshape(rows, columns)
