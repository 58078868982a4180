"""Marks for missing and dry that a variable declares under other names than CF's: those of ODIM and
of GDAL, and what people write.
"""

import math
import re
from dataclasses import dataclass

import numpy as np

from nowcast.readers.cf.source import Source, Variable
from nowcast.readers.decoding import equals

_CF_NAMES = ("_FillValue", "missing_value")
_MISSING_NAMES = re.compile(
    "(nodata|missing|missingdata|fill|novalue|nullvalue|null|undef|undefined|unobserved|notobserved"
    "|nocoverage|outofrange|outofimage)(value|val|mark|flag|number)?"
)
_DRY_NAMES = re.compile(
    "(undetect|undetected|undetectable|notdetected|nodetection|noecho|norain|noprecip"
    "|noprecipitation|dry|belowdetection|belowthreshold)(value|val|mark|flag|number)?"
)


@dataclass(frozen=True)
class NamedMark:
    """A number that an attribute declares to mean missing or dry.

    Args:
        attribute: its name.
        number: as it is written.
        is_dry: else it means missing.
        is_stored: whether it is a stored number; else what one stands for.
    """

    attribute: str
    number: int | float
    is_dry: bool
    is_stored: bool

    def found(self, stored: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Where it is met, (H, W)."""
        if self.is_stored:
            return equals(stored, self.number)
        return np.isclose(values, self.number, rtol=1e-6, atol=0)


def named_marks(source: Source, field: Variable) -> list[NamedMark]:
    """The marks of a field under unusual names, also among the attributes of the data set where the
    field itself declares none; those for missing only where no setting says which numbers mean
    missing. A text that is no number declares none.
    """
    marks = _marks_in(field.attributes, field)
    if not marks and not any(name in field.attributes for name in _CF_NAMES):
        marks = _marks_in(source.attributes, field)
    return [one for one in marks if one.is_dry or source.told.missing is None]


def _marks_in(attributes: dict, field: Variable) -> list[NamedMark]:
    marks = []
    for name, value in attributes.items():
        plain = re.sub("[^a-z]", "", name.lower())
        is_dry = _DRY_NAMES.fullmatch(plain) is not None
        is_missing = _MISSING_NAMES.fullmatch(plain) is not None
        is_read = attributes is field.attributes and name in _CF_NAMES
        if (is_dry or is_missing) and not is_read:
            for number in _numbers(field, value):
                marks.append(NamedMark(name, number, is_dry, _is_stored(field, number)))
    return marks


def remarks_on(field: Variable, marks: list[NamedMark]) -> tuple[str, ...]:
    """How marks under unusual names are understood; that 0 is dry needs no word."""
    return tuple(
        f"its {one.attribute} ({one.number:g}) means {'dry' if one.is_dry else 'missing'}"
        for one in marks
        if not one.is_dry or one.number != 0 or field.is_packed
    )


def _numbers(field: Variable, value) -> list[int | float]:
    try:
        stated = np.ravel(value).tolist()
        numbers = [float(one) if isinstance(one, str) else one for one in stated]
        known = [one for one in numbers if not isinstance(one, bool) and math.isfinite(one)]
    except (TypeError, ValueError, OverflowError):
        return []
    return [field.as_stored(number) for number in known]


def _is_stored(field: Variable, number: int | float) -> bool:
    """Whether the field's type can store it: marks are stored numbers where they can be."""
    if field.stored_dtype.kind not in "iu" or not field.is_packed:
        return True
    limits = np.iinfo(field.stored_dtype)
    return number == int(number) and limits.min <= number <= limits.max
