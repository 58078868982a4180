"""Moments that files state as text, digits or seconds, as UTC times."""

import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from nowcast.runtime.errors import UserError

_ISO = re.compile(
    r"(\d{4})-?(\d\d)-?(\d\d)[T _]?(\d\d):?(\d\d)(?::?(\d\d))?(?:\.\d*)?\s*(?:Z|UTC)?",
    re.ASCII | re.IGNORECASE,
)
_HOUR = re.compile(r"((?:19|20)\d\d)(\d\d)(\d\d)(\d\d)", re.ASCII)  # 2024011509
_EPOCH = re.compile(r"(\d{9,10})(?:\.\d*)?(?:\s*sec)?(?:\s*UTC)?", re.ASCII | re.IGNORECASE)


def moment_of(value) -> np.datetime64 | None:
    """The UTC time in an attribute (ISO text, digits, seconds since 1970); None if it is none."""
    text = str(as_text(value)).strip()
    try:
        for pattern in (_ISO, _HOUR):
            if match := pattern.fullmatch(text):
                year, month, day, *clock = match.groups("00")
                return np.datetime64(f"{year}-{month}-{day}T{':'.join(clock)}", "s")
        if match := _EPOCH.fullmatch(text):
            return np.datetime64(int(match[1]), "s")
        if re.match(r"\d{4}-\d\d-\d\d[T ]", text):
            moment = datetime.fromisoformat(text)  # with the difference from UTC
            return np.datetime64(moment.astimezone(UTC).replace(tzinfo=None), "s")
    except ValueError:
        pass
    return None


def moment_of_digits(text: str) -> np.datetime64 | None:
    """The UTC time in YYYYMMDDhhmm or YYYYMMDDhhmmss; None if it is none.

    Other numbers of digits are refused: 1815 could be 18:15 or 18:01:05.
    """
    return moment_of(text) if re.fullmatch(r"\d{12}(\d\d)?", text, re.ASCII) else None


def require_ascending(times: np.ndarray, path: str | Path) -> None:
    """Refuse times of frames, (T,), that are not in order.

    Raises:
        UserError: so it is.
    """
    falling = np.diff(times) <= np.timedelta64(0, "s")
    if falling.any():
        place = int(np.argmax(falling))
        raise UserError(
            f"{path} has the time {times[place + 1]} after {times[place]}; expected times in "
            "ascending order, one for each frame."
        )


def is_date(text: str) -> bool:
    """Whether a text is a date with a time of day."""
    return _ISO.fullmatch(text) is not None


def as_text(value):
    """A value as it is, but bytes as text."""
    is_bytes = isinstance(value, (bytes, np.bytes_))
    return value.decode(errors="replace") if is_bytes else value
