"""What a unit in a CF file measures: rain rate, rain depth, reflectivity, a length, an angle; and
times since a moment.
"""

import re
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction

import numpy as np

from nowcast.runtime.errors import UserError
from nowcast.types.tolerance import in_force

Powers = tuple[int, int, int]  # of mass, length and time
_NUMBER, _MASS, _LENGTH, _TIME = (0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)
_SPELLINGS = (  # (names, powers, how many kg, m or s)
    ("kg kilogram kilograms", _MASS, Fraction(1)),
    ("g gram grams", _MASS, Fraction(1, 1000)),
    ("m meter meters metre metres", _LENGTH, Fraction(1)),
    ("km kilometer kilometers kilometre kilometres", _LENGTH, Fraction(1000)),
    ("cm centimeter centimeters centimetre centimetres", _LENGTH, Fraction(1, 100)),
    ("mm millimeter millimeters millimetre millimetres", _LENGTH, Fraction(1, 1000)),
    ("in inch inches", _LENGTH, Fraction(254, 10000)),
    ("s sec secs second seconds", _TIME, Fraction(1)),
    ("min mins minute minutes", _TIME, Fraction(60)),
    ("h hr hrs hour hours", _TIME, Fraction(3600)),
    ("d day days", _TIME, Fraction(86400)),
)
_BASES = {name: unit for names, *unit in _SPELLINGS for name in names.split()}
_FACTOR = re.compile(
    r"(?P<divided>/)?(?P<base>[a-z]+|\d{1,9}(?:\.\d{1,9})?(?:e[+-]?\d{1,2})?)"
    r"(?:(?:\^|\*\*)?(?P<power>[+-]?\d{1,2}))?",
    re.ASCII,
)
_DIVISOR = re.compile(r" /\(([^()/]{1,40})\)")  # in brackets: kg/(m2 h)
# what is measured, in units of rain in mm (a layer of 1 kg/m2 of water is 1 mm thick)
_QUANTITIES = {
    (0, 1, -1): ("rain_rate", Fraction(1000 * 3600)),
    (1, -2, -1): ("rain_rate", Fraction(3600)),
    (0, 1, 0): ("rain_depth", Fraction(1000)),
    (1, -2, 0): ("rain_depth", Fraction(1)),
}
_SIZES = Fraction(1, 10**12), Fraction(10**12)  # kg, m or s; a text beyond them is no unit of ours
_FRACTIONS_OF_A_SECOND = ("nanoseconds", "microseconds", "milliseconds", "ns", "us", "ms")
_DEGREES = re.compile(
    r"(decimal[_ ]?)?deg(ree)?s?([_ ]?(east|north|e|n)|_in_wgs84_projection)?|\u00b0[en]?"
)
_SINCE = re.compile(
    r"(?P<unit>[a-z]+)\s+since\s+(?P<year>\d{1,4})-(?P<month>\d{1,2})-(?P<day>\d{1,2})"
    r"(?:[t\s]\s*(?P<hour>\d{1,2})(?::(?P<minute>\d{1,2})(?::(?P<second>\d{1,2})(?:\.0*)?)?)?)?"
    r"\s*(?:utc|gmt|z|(?P<sign>[+-])?(?P<zone_hour>\d{1,2}):?(?P<zone_minute>\d\d)?)?",
    re.ASCII,
)
_CALENDARS = ("standard", "gregorian", "proleptic_gregorian")
_GREGORIAN_SINCE = datetime(1582, 10, 15, tzinfo=UTC)
_FURTHEST = 2**37  # seconds, 4,000 years


def _dimension(text: str) -> tuple[Powers | None, Fraction | None]:
    """(powers; size in kg, m and s) of a unit, (None, None) if it is not understood."""
    rest = re.sub(r"\s*/\s*", " /", text.strip().lower().replace(" per ", " /"))
    rest = _DIVISOR.sub(lambda group: re.sub(r"[\s*·.]+", " /", f" /{group[1].strip()}"), rest)
    rest = re.sub(r"\^\{([+-]?\d+)\}", r"\1", rest)  # mm h^{-1}
    total, size = list(_NUMBER), Fraction(1)
    for part in re.split(r"[\s·]+|\.(?=[a-z])|(?<!\*)\*(?!\*)", rest):
        for piece in re.findall(r"/?[^/]+", part):
            match = _FACTOR.fullmatch(piece)
            powers, unit = _base(match["base"]) if match else (None, 0)
            if unit == 0:
                return None, None
            power = int(match["power"] or 1) * (-1 if match["divided"] else 1)
            total = [before + power * one for before, one in zip(total, powers)]
            size *= unit**power
    return (tuple(total), size) if _SIZES[0] < size < _SIZES[1] else (None, None)


def _base(text: str) -> tuple[Powers | None, Fraction]:
    """(powers, size) of a number or the name of a unit; size 0 if it is none."""
    if text[0].isdigit():
        return _NUMBER, Fraction(text)
    return _BASES.get(text, (None, Fraction(0)))


def quantity(units: str) -> tuple[str, float] | None:
    """(rain_rate, rain_depth or reflectivity; what to multiply with to have mm/h, mm or dBZ); None
    if it is none of them.
    """
    if units.strip().lower() == "dbz":
        return "reflectivity", 1.0
    powers, size = _dimension(units)
    if powers not in _QUANTITIES:
        return None
    name, factor = _QUANTITIES[powers]
    return name, float(factor * size)


def metres(units: str) -> float | None:
    """How many metres a unit of length has; None if it is none."""
    powers, size = _dimension(units)
    return float(size) if powers == _LENGTH else None


def seconds(units: str) -> float | None:
    """How many seconds a unit of time has; None if it is none."""
    powers, size = _dimension(units)
    return float(size) if powers == _TIME else None


def is_duration(units: str) -> bool:
    """Whether it is a unit of time: seconds (also nanoseconds), minutes, hours, days."""
    powers, _ = _dimension(units)
    return powers == _TIME or units.strip().lower() in _FRACTIONS_OF_A_SECOND


def is_degrees(units: str) -> bool:
    """Whether it is one of the units of longitudes and latitudes."""
    return _DEGREES.fullmatch(units.strip().lower()) is not None


def times(values: np.ndarray, units: str, calendar: str, where: str) -> np.ndarray:
    """UTC times of numbers "since" a moment, rounded to a second, datetime64[s] in the shape of the
    values.

    Args:
        values: whole numbers or floats.
        units: for example "minutes since 2020-01-01 00:00:00".
        calendar: one that counts days as we do.
        where: file and variable, for messages.

    Raises:
        UserError: units or a calendar that are not understood, numbers that are missing, absurd, or
            too coarse to distinguish seconds.
    """
    start, second = _start_and_seconds(units, calendar, where)
    if values.dtype == np.float32:
        step = np.spacing(np.abs(values)).astype(np.float64)
        is_rounded = (values != np.round(values)) | (step > 1.0)
        if (is_rounded & (step * second > max(1.0, 2 * in_force().seconds))).any():
            raise UserError(
                f"{where} is float32, which gives times {units!r} only to "
                f"{np.nanmax(step) * second:g} s; store it as float64 or integers."
            )
    with np.errstate(invalid="ignore", over="ignore"):
        seconds = values.astype(np.float64) * second
    if not (np.abs(seconds) <= _FURTHEST).all():
        raise UserError(
            f"{where} has times that are missing or absurd ({values.min()} to {values.max()} "
            f"{units}); mend it, or leave the file out."
        )
    since = np.datetime64(start.replace(tzinfo=None), "s")
    return since + np.round(seconds).astype(np.int64).astype("timedelta64[s]")


def _start_and_seconds(units: str, calendar: str, where: str) -> tuple[datetime, int]:
    """(the moment that numbers count from, UTC; the seconds that 1 stands for)."""
    match = _SINCE.fullmatch(units.strip().lower())
    powers, second = _BASES.get(match["unit"], (None, 0)) if match else (None, 0)
    if powers != _TIME:
        raise UserError(
            f"{where} has the units {units!r}; seconds, minutes, hours or days since a date are "
            "accepted, e.g. 'minutes since 2020-01-01 00:00'."
        )
    start = _moment(match, where)
    if calendar.lower() not in _CALENDARS:
        raise UserError(
            f"{where} has the calendar {calendar!r}; expected one of {', '.join(_CALENDARS)}."
        )
    if calendar.lower() != "proleptic_gregorian" and start < _GREGORIAN_SINCE:
        raise UserError(
            f"{where} counts from {start:%Y-%m-%d} in the calendar {calendar!r}; expected a date "
            "from 1582-10-15 on."
        )
    return start, int(second)


def _moment(match: re.Match, where: str) -> datetime:
    """The moment times are counted from, UTC."""
    stated = {name: value for name, value in match.groupdict().items() if value}
    numbers = {name: int(value) for name, value in stated.items() if value.isdigit()}
    offset = timedelta(hours=numbers.pop("zone_hour", 0), minutes=numbers.pop("zone_minute", 0))
    zone = -offset if match["sign"] == "-" else offset
    try:
        return datetime(**numbers, tzinfo=timezone(zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise UserError(
            f"{where} counts times since {match[0]!r}, which is no date; e.g. 'minutes since "
            "2020-01-01 00:00' is accepted."
        ) from None
