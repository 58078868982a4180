"""Times of arrays: numbers, texts and NumPy's own times as UTC, and a date beside a time of day."""

import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from nowcast.readers.cf import units as cf_units
from nowcast.readers.moments import as_text, moment_of
from nowcast.runtime.errors import UserError

_EARLIEST, _LATEST = 0, 4_102_444_800  # 1970 to 2100; a number such as 202001010005 is no epoch
# units in which a number without a moment is no time
_NO_SECONDS = re.compile(r"milliseconds|ms|minutes?|min|hours?|h|days?|d")
_DATE = re.compile(r"(\d{4})[-/.]?(\d\d)[-/.]?(\d\d)(?:[T ]00:?00(?::?00)?Z?)?", re.ASCII)
_CLOCK = re.compile(r"(\d\d):?(\d\d)(?::?(\d\d)(?:\.\d*)?)?(?:Z| ?UTC)?", re.ASCII)


def moments(values: np.ndarray, units: str | None, calendar: str, where: str) -> list:
    """What values in one row say of times; numbers with units of time, as CF has them, as NumPy's
    times.

    Raises:
        UserError: units that are not understood.
    """
    unit = (units or "").strip().lower()
    is_counted = "since" in unit or _NO_SECONDS.fullmatch(unit)
    if values.dtype.kind in "iuf" and is_counted:
        values = cf_units.times(values, units, calendar, where)
    return list(values)


def moment(value, path: str | Path, where: str) -> np.datetime64:
    """The UTC time that a text, a number or a time of NumPy's means.

    Raises:
        UserError: it means none.
    """
    try:
        if isinstance(value, np.datetime64):
            seconds = float(value.astype("datetime64[s]").astype(np.int64))
        elif isinstance(value, (str, bytes)):
            seconds = _seconds_of_text(as_text(value).strip())
        else:
            seconds = float(value)
        if not _EARLIEST <= seconds <= _LATEST:
            raise ValueError
        return np.datetime64(round(seconds), "s")
    except (ValueError, TypeError, OverflowError):
        raise UserError(
            f"{path}: {where} is {str(value)[:40]!r}; ISO text such as 2020-01-01T00:05 or seconds "
            "since 1970 (to 2100) are needed."
        ) from None


def _seconds_of_text(text: str) -> float:
    """Seconds since 1970 of ISO text, or of the digits of a date and a time of day."""
    try:
        stated = datetime.fromisoformat(text)
    except ValueError:
        found = moment_of(text)
        if found is None:
            raise
        return float(found.astype(np.int64))
    return (stated if stated.tzinfo else stated.replace(tzinfo=UTC)).timestamp()


def moments_of_days(
    dates: list, clocks: list, path: str | Path, where: tuple[str, str]
) -> np.ndarray:
    """UTC times of dates and times of day, (T,) datetime64[s]; one date may stand for all times.

    Args:
        dates: texts or whole numbers such as 20200101.
        clocks: texts such as 00:05 or 000500.
        path: the file, for messages.
        where: what they are called, for messages.

    Raises:
        UserError: one is none, or they are not as many.
    """
    if len(dates) == 1:
        dates = dates * len(clocks)
    if len(dates) != len(clocks):
        raise UserError(
            f"{path} has {len(dates)} dates in {where[0]} and {len(clocks)} times in {where[1]}; "
            "expected as many of each, or a single date."
        )
    found = []
    for date, clock in zip(dates, clocks):
        day, hour = _DATE.fullmatch(_plain(date)), _CLOCK.fullmatch(_plain(clock))
        try:
            if not day or not hour:
                raise ValueError
            found.append(np.datetime64("-".join(day.groups()) + "T" + ":".join(hour.groups("00"))))
        except ValueError:
            raise UserError(
                f"{path}: {where[0]} and {where[1]} are {_plain(date)[:40]!r} and "
                f"{_plain(clock)[:40]!r}; a date such as 20200101 and a time of day as text such "
                "as 000500 (or 0005) are needed."
            ) from None
    return np.array(found, "datetime64[s]")


def _plain(value) -> str:
    """A value as text; a time of day as a number has lost the zeros before it, and is none unless
    it has hours of two digits and seconds.
    """
    if isinstance(value, np.datetime64):
        return str(value.astype("datetime64[s]"))
    return str(as_text(value)).strip().removesuffix(".0")
