"""The header of a Nimrod file: numbers and texts, called by their place in the Met Office's
description of the format, from 1.
"""

import math
import struct
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from nowcast.runtime.errors import UserError

LAYOUT = struct.Struct(">31h28f45f8s24s24s51h")
NOT_STATED = -32767


@dataclass(frozen=True)
class NimrodHeader:
    """The header of a field.

    Args:
        path: the file.
        values: whole numbers 1 to 31, others 32 to 104, texts 105 (unit), 106 (source) and 107
            (title), whole numbers 108 to 158.
    """

    path: str | Path
    values: tuple

    def __getitem__(self, number: int) -> int | float | bytes:
        return self.values[number - 1]

    def number(self, number: int) -> float:
        """A finite number, `NOT_STATED` where there is none."""
        value = float(self[number])
        return value if math.isfinite(value) else float(NOT_STATED)

    def text(self, number: int) -> str:
        """A text without what cannot be printed."""
        text = self[number].decode("ascii", errors="replace")
        return "".join(one if one.isprintable() else " " for one in text).strip()

    def time(self, first: int, last: int) -> np.datetime64:
        """The UTC time in the numbers from the year on.

        Raises:
            UserError: there is none.
        """
        year, month, day, hour, *rest = self.values[first - 1 : last]
        minute, second = (*rest, 0)[:2]
        try:
            second = max(second, 0)  # -32767 where it is not stated
            # checks the ranges, which text would hide: "12:-5" is a time in another zone for NumPy
            return np.datetime64(datetime(year, month, day, hour, minute, second), "s")
        except ValueError:
            raise UserError(
                f"{self.path}: the time in numbers {first} to {last} of its header is "
                f"{year}, {month}, {day}, {hour}, {minute}; expected year, month, day, hour, "
                "minute; it is damaged."
            ) from None
