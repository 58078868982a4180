"""DWD's RADOLAN binary format: rain depths of Germany's radar composites (RY, YW, RW and their
like).

After a text header that ends with the byte 3 come little-endian 16-bit numbers, southernmost row
first: 12 bits of value, then flags. "Interpolated" and "clutter" say how a value was found (cleaned
of clutter, it is mostly dry, never the clutter itself): it counts, as in DWD's own sums. "No data"
is missing; so is "negative", which only differences between products can be, not rain.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from nowcast.readers.base import Reader
from nowcast.readers.content import beginning, read_exactly, refuse_other_kind, unpacked
from nowcast.readers.decoding import Coding
from nowcast.readers.forecasts import refuse
from nowcast.readers.moments import moment_of_digits
from nowcast.readers.projection import project
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Frames, Grid

_END_OF_HEADER = b"\x03"
_MAX_HEADER_BYTES = 4096
_VALUE, _NO_DATA, _NEGATIVE = 0x0FFF, 0x2000, 0x4000
_START = re.compile(rb"[A-Z][A-Z0-9]\d{6}10000\d{4}BY[ \d]{7,10}VS[ \d]{2}")
_HEADER = re.compile(
    r"(?P<product>..)(?P<day>\d\d)(?P<clock>\d{4})10000(?P<month>\d\d)(?P<year>\d\d)"
    r"BY *(?P<bytes>\d+)VS *(?P<version>\d+)(?:SW.{9})?PR *E(?P<power>[+-]\d\d)"
    r"INT *(?P<interval>\d+)(?:U(?P<unit>\d))?GP *(?P<rows>\d+)x *(?P<columns>\d+)(?P<rest>\D.*)?",
    re.ASCII | re.DOTALL,
)
# products that are rain depths in 16 bits
_RAIN = (
    *("RY", "RZ", "RW", "RH", "RB", "RL", "RU", "RV", "RQ", "EH", "EB", "EW", "EY", "EZ"),
    *("YW", "SQ", "SH", "SF", "W1", "W2", "W3", "W4"),
)
_FORECASTS = ("FX", "FZ", "FQ", "FS", "WN")  # and those that come with their analyses
_WITH_FORECASTS = ("RV", "RQ")  # an analysis and its forecasts
_AHEAD = re.compile(r"VV *(\d{1,4})", re.ASCII)
# as in DE1200_RV2209301100_005
_NAME_AHEAD = re.compile(r"_(\d{3})(?:\.(?:gz|bz2|bin))*$", re.ASCII)
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
_UNITS_OF_INTERVAL = {"0": 1, "1": 1440}  # minutes


@dataclass(frozen=True)
class Radolan(Reader):
    """Reader for RADOLAN composites with rain depths, plain, gzipped or bzipped."""

    format = "DWD RADOLAN (rain depths)"
    path_parts = 0  # nothing is taken from the name of a file

    def recognises(self, path: str | Path) -> bool:
        """Whether the file starts with the header of a RADOLAN composite; never raises."""
        return bool(_START.match(beginning(path, 64)))

    def read(self, path: str | Path) -> Frames:
        """One frame [mm/h]; its time ends the interval. NaN: no data.

        Raises:
            UserError: another format or product, a forecast, an unknown grid, or damage.
        """
        if not self.recognises(path):
            refuse_other_kind(path, "a RADOLAN file")
        with unpacked(path, "a RADOLAN file") as stream:
            head = _header(stream, path)
            grid = _grid(head, path)
            gain, minutes = _depth_unit(head, path), _minutes(head, path)
            content = read_exactly(stream, 2 * grid.y.size * grid.x.size, path)
        numbers = np.frombuffer(content, "<u2").reshape(grid.shape)[::-1]
        # all values are of 12 bits, so that -1 is free for pixels that were not observed
        values = (numbers & _VALUE).astype(np.int16)
        values[(numbers & (_NO_DATA | _NEGATIVE)) != 0] = -1
        coding = Coding("rain_depth", minutes, gain, missing=(-1,))
        return coding.single_frame(values, _time(head, path), grid, path)


def _header(stream: BinaryIO, path: str | Path) -> dict[str, str | None]:
    """Fields of the text header by name, of a product and size that can be read; the stream then
    stands at the first number.
    """
    content = bytearray()
    while not content.endswith(_END_OF_HEADER):
        byte = stream.read(1)
        if not byte or len(content) > _MAX_HEADER_BYTES:
            raise UserError(
                f"{path} has no end of a RADOLAN header; it is cut short or of another format."
            )
        content += byte
    text = content[:-1].decode("ascii", errors="replace")
    match = _HEADER.fullmatch(text)
    if not match:
        lacking = [name for name in ("BY", "VS", "PR", "INT", "GP") if name not in text]
        raise UserError(
            f"{path} has the header {text[:100]!r} without "
            f"{', '.join(lacking) or 'numbers where they stand'}; expected one such as "
            "'RY...BY...VS...PR E-02INT   5GP 900x 900'."
        )
    head = match.groupdict()
    _refuse_forecast(head, path)
    if head["product"] not in _RAIN:
        raise UserError(
            f"{path} contains the product {head['product']!r}; rain depths ({', '.join(_RAIN)}) "
            "can be read."
        )
    expected = len(content) + 2 * int(head["rows"]) * int(head["columns"])
    if int(head["bytes"]) != expected:
        raise UserError(
            f"{path}: BY in its header is {head['bytes']} bytes, expected {expected} for "
            f"{head['rows']}x{head['columns']} 16-bit numbers; it is damaged."
        )
    return head


def _refuse_forecast(head: dict[str, str | None], path: str | Path) -> None:
    """Refuse a lead time above 0 in the header, or, where it has none, in the name; and products
    that are forecasts only.
    """
    # after MS come the names of radars, in which VV may stand by chance
    ahead = _AHEAD.search((head["rest"] or "").partition("MS")[0])
    if ahead and int(ahead[1]):
        refuse(path, "VV in its header", f"{ahead[1]} minutes", "000")
    named = _NAME_AHEAD.search(Path(path).name)
    comes_ahead = head["product"] in (*_WITH_FORECASTS, *_FORECASTS)
    if not ahead and comes_ahead and named and int(named[1]):
        refuse(path, "the end of its name", repr(named[0]), "_000 where the header has no VV")
    if not ahead and head["product"] in _FORECASTS:
        refuse(path, "its product", repr(head["product"]), f"one of {', '.join(_RAIN)}")


def _depth_unit(head: dict[str, str | None], path: str | Path) -> float:
    """Depth [mm] that the number 1 stands for."""
    power = int(head["power"])
    if not -3 <= power <= 0:
        raise UserError(f"{path} has the precision E{head['power']}; E-03 to E+00 mm are accepted.")
    return 1 / 10**-power


def _minutes(head: dict[str, str | None], path: str | Path) -> int:
    """Length of the interval; with unit 1 it is in days."""
    unit = head["unit"] or "0"
    if unit not in _UNITS_OF_INTERVAL:
        raise UserError(
            f"{path}: the unit of INT in its header is U{unit}, expected U0 (minutes) or U1 (days)."
        )
    minutes = int(head["interval"]) * _UNITS_OF_INTERVAL[unit]
    if not 0 < minutes <= 1440 * 366:
        raise UserError(
            f"{path}: INT in its header is {head['interval']} of unit {unit}, expected 1 minute "
            "to 366 days."
        )
    return minutes


def _time(head: dict[str, str | None], path: str | Path) -> np.datetime64:
    day, month, year, clock = (head[name] for name in ("day", "month", "year", "clock"))
    moment = moment_of_digits(f"20{year}{month}{day}{clock}")
    if moment is None:
        raise UserError(
            f"{path} has the time {day}.{month}.{year} {clock[:2]}:{clock[2:]} in its header, "
            "which does not exist; it is damaged."
        )
    return moment


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
