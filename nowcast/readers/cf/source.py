"""A data set whose values were not read yet: variables, attributes, packing, marks for missing."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nowcast.readers.cf.told import NOTHING, Told
from nowcast.readers.decoding import equals
from nowcast.runtime.errors import UserError

_MAX_COORDINATES = 2**20
_DEFAULT_FILLS = {  # what the NetCDF libraries put where nothing was written
    "i2": -32767,
    "u2": 65535,
    "i4": -2147483647,
    "u4": 4294967295,
    "i8": -9223372036854775806,
    "u8": 18446744073709551614,
    "f4": 9.969209968386869e36,
    "f8": 9.969209968386869e36,
}


_SPELLINGS = {"units": ("unit",)}  # what people write for CF's names of attributes


def text_of(attributes: dict, name: str) -> str:
    """An attribute as text; empty if it is missing or no text.

    One whose name is in capitals, or spelled as people do, counts where CF's own is not there.
    """
    for spelled in (name, *_SPELLINGS.get(name, ())):
        for known in (spelled, spelled.capitalize(), spelled.upper()):
            value = attributes.get(known)
            if isinstance(value, str) and value.strip():
                # standard names are in small letters, whatever people write
                return value.strip().lower() if name == "standard_name" else value.strip()
    return ""


@dataclass(frozen=True)
class Variable:
    """A variable whose values were not read yet.

    Args:
        path: where it is stored.
        name: its name.
        dims: names of its dimensions.
        shape: their lengths.
        dtype: of the stored values.
        attributes: texts, numbers and rows of numbers by name.
        read: called with an index or slice for every dimension and whether values that were never
            written may be read as ``fill``; gives the stored values.
        fill: what is read where nothing was written; None if that is not known or cannot happen.
    """

    path: Path
    name: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype
    attributes: dict
    read: Callable[[tuple, bool], np.ndarray]
    fill: int | float | None = None

    @property
    def stored_dtype(self) -> np.dtype:
        """The type the numbers are meant to have: NetCDF-3 marks unsigned ones by an attribute."""
        marked = str(self.attributes.get("_Unsigned", "")).lower() == "true"
        return np.dtype(self.dtype.str.replace("i", "u")) if marked else self.dtype

    @property
    def is_packed(self) -> bool:
        """Whether the stored numbers are not the values themselves."""
        return "scale_factor" in self.attributes or "add_offset" in self.attributes

    @property
    def counts_time(self) -> bool:
        """Whether its numbers count time since a moment."""
        return " since " in self.text("units").lower()

    def text(self, attribute: str) -> str:
        """An attribute as text, however its name is spelled; empty if it is missing or no text."""
        return text_of(self.attributes, attribute)

    def numbers(self, attribute: str) -> list[int | float]:
        """An attribute's numbers, whole ones with the sign that stored values are meant to have.

        Raises:
            UserError: it is a text that is no number.
        """
        try:
            values = np.ravel(self.attributes.get(attribute, ())).tolist()
            values = [float(value) if isinstance(value, str) else value for value in values]
        except ValueError:
            raise self._refused(attribute, "a number is needed") from None
        return [self.as_stored(value) for value in values]

    def number(self, attribute: str, default: float) -> float:
        """A finite number, or the default where there is none.

        Raises:
            UserError: there are several, or it is not finite, or a scale_factor of 0.
        """
        number, *others = self.numbers(attribute) or [default]
        if others or not math.isfinite(number) or (attribute == "scale_factor" and number == 0):
            raise self._refused(attribute, "one number is needed, a scale_factor not 0")
        return float(number)

    def as_stored(self, number: int | float) -> int | float:
        """A number as the stored values are meant to have it: unsigned where they are."""
        turned = self.stored_dtype != self.dtype and isinstance(number, int) and number < 0
        return number + 2 ** (8 * self.dtype.itemsize) if turned else number

    def unpacked(self, stored: np.ndarray) -> np.ndarray:
        """What stored numbers stand for."""
        factor, offset = self.number("scale_factor", 1.0), self.number("add_offset", 0.0)
        with np.errstate(invalid="ignore", over="ignore"):  # of marks; what it makes is checked
            return stored * factor + offset

    def all(self) -> np.ndarray:
        """All values of a small variable, in its own shape.

        Raises:
            UserError: it has too many values, or they are no numbers.
        """
        size = math.prod(self.shape)
        if size > _MAX_COORDINATES or self.dtype.kind not in "iuf":
            raise UserError(
                f"{self.path}: {self.name} has {size} values of type {self.dtype}; a coordinate "
                f"is up to {_MAX_COORDINATES} numbers."
            )
        return np.asarray(self.read((slice(None),) * len(self.shape), True))

    def _refused(self, attribute: str, needed: str) -> UserError:
        stated = self.attributes[attribute]
        return UserError(f"{self.path}: {self.name} has {attribute} {stated!r}; {needed}.")


@dataclass(frozen=True)
class Source:
    """A data set, or what is seen in one group of it.

    Args:
        path: where it is.
        variables: by name; those of outer groups are seen, too.
        default_fills: whether NetCDF's default fill values mean missing among integers. Among
            floats (9.97e36) they always do: copies of a NetCDF file keep them and declare another.
        attributes: of the data set.
        group: the group's path.
        own: names of the group's own variables, where the rain is looked for; None: all.
        told: what is said of it beside what it says itself.
    """

    path: Path
    variables: dict[str, Variable]
    default_fills: bool = True
    attributes: dict = field(default_factory=dict)
    group: str = ""
    own: frozenset[str] | None = None
    told: Told = NOTHING

    def find(self, names: str | list[str]) -> list[Variable]:
        """Those of the named variables that exist."""
        names = names.split() if isinstance(names, str) else names
        return [self.variables[name] for name in names if name in self.variables]

    def missing_marks(self, variable: Variable) -> list[int | float]:
        """Stored numbers of a variable that mean missing."""
        marks = [*variable.numbers("_FillValue"), *variable.numbers("missing_value")]
        default = _DEFAULT_FILLS.get(variable.dtype.str[1:])
        replaced = "_FillValue" in variable.attributes or not self.default_fills
        if default is not None and not (replaced and variable.dtype.kind in "iu"):
            marks.append(variable.as_stored(default))
        return marks

    def reads_unwritten_as_missing(self, variable: Variable) -> bool:
        """Whether what was never written reads as a mark for missing, so that it may be read."""
        if variable.fill is None:
            return False
        fill = np.asarray([variable.fill], variable.dtype).view(variable.stored_dtype)
        marks = self.missing_marks(variable)
        return bool(np.isnan(variable.fill) or any(equals(fill, mark).any() for mark in marks))

    def present_values(self, variable: Variable) -> np.ndarray:
        """The values of a small variable that are not missing, in one row."""
        values = np.ravel(variable.all())
        missing = np.isnan(values)
        for mark in self.missing_marks(variable):
            missing |= equals(values, mark)
        return values[~missing]
