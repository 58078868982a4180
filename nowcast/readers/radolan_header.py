"""The text header of RADOLAN composites: which product, of when, how long, how large, and whether
it is a forecast.
"""

import re
from pathlib import Path
from typing import BinaryIO

import numpy as np

from nowcast.readers.forecasts import refuse
from nowcast.readers.moments import moment_of_digits
from nowcast.runtime.errors import UserError

END = b"\x03"
_MAX_BYTES = 4096
_START = re.compile(rb"[A-Z%][A-Z0-9]\d{6}(\d{5})\d{4}BY[ \d]{4,10}(?:VS|LV)[ \d]{2}")
_COMPOSITE = "10000"
_HEADER = re.compile(
    r"(?P<product>..)(?P<day>\d\d)(?P<clock>\d{4})10000(?P<month>\d\d)(?P<year>\d\d)"
    r"BY *(?P<bytes>\d+)VS *(?P<version>\d+)(?:SW.{9})?PR *E(?P<power>[+-]\d\d)"
    r"INT *(?P<interval>\d+)(?:U(?P<unit>\d))?GP *(?P<rows>\d+)x *(?P<columns>\d+)(?P<rest>\D.*)?",
    re.ASCII | re.DOTALL,
)
# products that are rain depths in 16 bits
RAIN = (
    *("RY", "RZ", "RW", "RH", "RB", "RL", "RU", "RV", "RQ", "EH", "EB", "EW", "EY", "EZ"),
    *("YW", "SQ", "SH", "SF", "W1", "W2", "W3", "W4"),
)
# products that are reflectivities, with the bytes of a number
REFLECTIVITY = {"RX": 1, "EX": 1, "WX": 1, "WN": 2}
_DEPTH_BYTES = 2
_OTHERS = {  # what is often taken for rain
    "HG": "kinds of precipitation",
    "RE": "the share of solid precipitation",
    "RD": "differences between products",
    "PC": "reflectivities in a few classes",
    "PG": "reflectivities in a few classes",
    "PZ": "reflectivities in a few classes",
}
_FORECASTS = ("FX", "FZ", "FQ", "FS", "WN")  # and those that come with their analyses
_WITH_FORECASTS = ("RV", "RQ")  # an analysis and its forecasts
_AHEAD = re.compile(r"VV *(\d{1,4})", re.ASCII)
# as in DE1200_RV2209301100_005
_NAME_AHEAD = re.compile(r"_(\d{3})(?:\.(?:gz|bz2|bin))*$", re.ASCII)
_UNITS_OF_INTERVAL = {"0": 1, "1": 1440}  # minutes


def is_header(start: bytes) -> bool:
    """Whether a file that begins so is one of DWD's in this family, its first 64 bytes given."""
    return bool(_START.match(start))


def header(stream: BinaryIO, path: str | Path) -> dict[str, str | None]:
    """Fields of the text header by name, of a product and size that can be read; the stream then
    stands at the first number.

    Raises:
        UserError: another product, a forecast, or a header that contradicts itself.
    """
    content = bytearray()
    while not content.endswith(END):
        byte = stream.read(1)
        if not byte or len(content) > _MAX_BYTES:
            raise UserError(
                f"{path} has no end of a RADOLAN header; it is cut short or of another format."
            )
        content += byte
    text = content[:-1].decode("ascii", errors="replace")
    _refuse_other_products(bytes(content), path)
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
    if head["product"] not in (*RAIN, *REFLECTIVITY):
        raise UserError(f"{path} contains the product {head['product']!r}; {_readable()}.")
    size = number_bytes(head)
    expected = len(content) + size * int(head["rows"]) * int(head["columns"])
    if int(head["bytes"]) != expected:
        raise UserError(
            f"{path}: BY in its header is {head['bytes']} bytes, expected {expected} for "
            f"{head['rows']}x{head['columns']} {8 * size}-bit numbers; it is damaged."
        )
    return head


def _readable() -> str:
    return (
        f"rain depths ({', '.join(RAIN)}) and reflectivities ({', '.join(REFLECTIVITY)}) can be "
        "read"
    )


def _refuse_other_products(content: bytes, path: str | Path) -> None:
    """Refuse what has a header of the family, but no rain on a map of 1 km."""
    match = _START.match(content)
    if not match:
        return
    product, station = content[:2].decode("ascii"), match[1].decode("ascii")
    if station != _COMPOSITE:
        raise UserError(
            f"{path} is of the single radar {station} (product {product!r}, such as DX in polar "
            "coordinates), expected a composite; make a grid of it with wradlib (io.read_dx)."
        )
    if product in _OTHERS:
        raise UserError(
            f"{path} contains the product {product!r}, {_OTHERS[product]}; {_readable()}."
        )


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
        refuse(path, "its product", repr(head["product"]), f"one of {', '.join(RAIN)}")


def number_bytes(head: dict[str, str | None]) -> int:
    """How many bytes a number of the product has."""
    return REFLECTIVITY.get(head["product"], _DEPTH_BYTES)


def minutes_of(head: dict[str, str | None], path: str | Path) -> int:
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


def time_of(head: dict[str, str | None], path: str | Path) -> np.datetime64:
    """The UTC time of the field; of a rain depth, the end of its interval."""
    day, month, year, clock = (head[name] for name in ("day", "month", "year", "clock"))
    moment = moment_of_digits(f"20{year}{month}{day}{clock}")
    if moment is None:
        raise UserError(
            f"{path} has the time {day}.{month}.{year} {clock[:2]}:{clock[2:]} in its header, "
            "which does not exist; it is damaged."
        )
    return moment
