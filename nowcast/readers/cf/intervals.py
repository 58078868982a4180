"""Over how long a rain depth was collected: by bounds, by an attribute, or by the setting."""

import re

import numpy as np

from nowcast.readers.cf import units
from nowcast.readers.cf.source import Source, Variable
from nowcast.readers.cf.told import Lacking
from nowcast.readers.intervals import interval_minutes
from nowcast.runtime.errors import UserError

_NAME = re.compile(  # accum_time_h, accumulationPeriod, integration_time_minutes ...
    r"(?:rain|rainfall|precip|precipitation)?"
    r"(?:accum(?:ulation|ulated)?|integration|aggregation|sum(?:mation)?)"
    r"(?:time|period|interval|duration|length)(?:in)?"
    r"(?P<unit>s|sec|secs|seconds?|mins?|minutes?|h|hr|hrs|hours?)?"
)
_TEXT = re.compile(r"\s*(?P<number>\d+(?:\.\d+)?)\s*[-_ ]?(?P<unit>[a-zA-Z]+)\.?\s*", re.ASCII)
_ISO = re.compile(r"PT(?P<number>\d+(?:\.\d+)?)(?P<unit>[HMS])", re.ASCII)
_LETTERS = {"H": "h", "M": "min", "S": "s"}
_LONGEST = 7 * 24 * 60.0  # minutes


def interval_of(
    source: Source, field: Variable, bounds: np.ndarray | None, minutes: float | None
) -> tuple[float, tuple[str, ...]]:
    """(minutes of a rain depth, remarks).

    Args:
        source: the data set.
        field: its variable with the rain.
        bounds: lengths between the bounds of the times [minutes]; None: there are none.
        minutes: the setting; None: not set.

    Raises:
        UserError: nothing says it, or what does contradicts itself.
    """
    if bounds is None or not bounds.size:
        if minutes is not None:
            return minutes, ()
        for where, attributes in ((f"{field.name}:", field.attributes), ("", source.attributes)):
            for name, value in attributes.items():
                stated = _minutes(name, value)
                if stated is not None:
                    return stated, (f"its interval is that of the attribute {where}{name}",)
        raise Lacking(
            f"{field.path}: {field.name} is a rain depth, but nothing says over how long (its "
            f"time has no bounds); set reader.minutes (with reader={source.told.reader}).",
            ("minutes",),
        )
    lengths = np.unique([interval_minutes(length) for length in bounds.tolist()])
    if lengths.size > 1 or lengths[0] <= 0 or minutes not in (None, lengths[0]):
        wanted = "one length above 0" if minutes is None else f"{minutes:g} (reader.minutes)"
        raise UserError(
            f"{field.path}: its time bounds are {', '.join(f'{one:g}' for one in lengths[:5])} "
            f"minutes apart; {wanted} is needed."
        )
    return float(lengths[0]), ()


def _minutes(name: str, value) -> float | None:
    """The minutes in an attribute that states an interval with its unit; None if it does not."""
    found = _NAME.fullmatch(re.sub("[^a-z]", "", name.lower()))
    if found is None:
        return None
    unit, number = found["unit"], value
    if isinstance(value, str):
        text = value.strip()
        iso = _ISO.fullmatch(text)
        stated = iso or _TEXT.fullmatch(text)
        if stated is not None:
            number = stated["number"]
            unit = _LETTERS[stated["unit"]] if iso else stated["unit"]
    try:
        number = float(number)
    except (TypeError, ValueError):
        return None
    seconds = None if unit is None else units.seconds(unit)
    minutes = None if seconds is None else number * seconds / 60
    return interval_minutes(minutes) if minutes and 0 < minutes <= _LONGEST else None
