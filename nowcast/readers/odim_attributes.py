"""Where ODIM_H5 files keep their attributes: beside the data, in the dataset, at the top of the
file, in groups what, where and how, or on the groups above these and on the array itself.
"""

import math
import re

import h5py
import numpy as np

from nowcast.readers.hdf5 import Hdf5File
from nowcast.readers.moments import moment_of_digits
from nowcast.runtime.errors import UserError

_MOST_FIELDS = 1000  # of a file; a volume of 30 sweeps with 15 quantities has 450
_NO_NUMBER = ("none", "null", "n/a")  # how a text says that there is no such mark


class OdimField:
    """A field of an open ODIM_H5 file, and what is stated of it, from the nearest place outward.

    Args:
        file: the open file.
        name: path of the field, e.g. ``dataset1/data1``, whose array is its member ``data``, or
            which is an array itself; "" for what the file as a whole states.

    Attributes:
        array: path of the array.
    """

    def __init__(self, file: Hdf5File, name: str):
        self.file, self.name = file, name
        self.array = name if isinstance(file.find(name), h5py.Dataset) else f"{name}/data"
        levels = dict.fromkeys((self.array, name, name.rpartition("/")[0])) if name else {}
        levels.pop("", None)
        self._levels = [level for level in (*levels, "/") if file.find(level) is not None]
        self._places: dict[str, list[str]] = {}

    def places(self, section: str) -> list[str]:
        """Paths of what may state something of a section (what, where or how), the nearest first.

        The array has no groups; of each group, its section counts before the group itself.
        """
        if section in self._places:
            return self._places[section]
        found = self._places[section] = []
        for level in self._levels:
            group = f"{level}/{section}".lstrip("/")
            if self.file.find(group) is not None:
                found.append(group)
            found.append(level)
        return found

    def stated(self, section: str, attribute: str):
        """What the nearest place states, as text or number; None where none does.

        Raises:
            UserError: it states several values.
        """
        for place in self.places(section):
            value = self.file.described(place).get(attribute)
            if isinstance(value, np.ndarray):
                raise UserError(
                    f"{self.file.path}: {place}/{attribute} contains {value.size} values; a single "
                    "one is expected."
                )
            if value is not None and value != "":
                return value
        return None

    def text(self, section: str, attribute: str) -> str | None:
        """What is stated, as text; None where nothing is."""
        value = self.stated(section, attribute)
        return None if value is None else str(value)

    def length(self, attribute: str) -> float | None:
        """A number of the section where, finite; None where it is not stated.

        Raises:
            UserError: something else than a finite number is stated.
        """
        value = self.stated("where", attribute)
        if value is None:
            return None
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise UserError(
                f"{self.file.path} has no number where/{attribute} ({value!r}); a finite number is "
                "expected."
            )
        return number

    def value(self, attribute: str) -> int | float | None:
        """A number of the section what, which may be NaN or infinite; None where it is not stated.

        A whole one stays whole: a mark in 64 bits may be beyond floats.
        """
        value = self.stated("what", attribute)
        if value is None or isinstance(value, np.integer):
            return None if value is None else int(value)
        if isinstance(value, str) and value.lower() in _NO_NUMBER:
            return None
        try:
            return float(value)
        except ValueError:
            raise UserError(
                f"{self.file.path}: {attribute} of {self.name} is {value!r}; a number is needed."
            ) from None

    def moment(self, what: str, prefix: str = "") -> np.datetime64:
        """The UTC time that date and time (with the prefix: startdate and starttime) mean.

        Args:
            what: whose time it is, for messages.
            prefix: "", start or end.

        Raises:
            UserError: one of them is missing, or they are none.
        """
        date, time = (self.stated("what", f"{prefix}{part}") for part in ("date", "time"))
        # a number has no leading zeros
        digits = _digits(date, 8), _digits(time, 6)
        moment = moment_of_digits("".join(digits)) if len(digits[0]) == 8 else None
        if moment is None:
            raise UserError(
                f"{self.file.path}: date and time of {what} are {date!r} and {time!r}; expected "
                "YYYYMMDD and HHMMSS."
            )
        return moment

    def has_moment(self, prefix: str = "") -> bool:
        """Whether date and time are stated, see `moment`."""
        return None not in [self.stated("what", f"{prefix}{part}") for part in ("date", "time")]


def fields(file: Hdf5File) -> list[OdimField]:
    """All fields of a file, by the numbers of their datasets and then by their own.

    Raises:
        UserError: there are too many.
    """
    names = []
    for dataset in _numbered(file, "", "dataset"):
        own = _numbered(file, dataset, "data")
        if not own and isinstance(file.find(f"{dataset}/data"), h5py.Dataset):
            own = [dataset]
        names += own
        if len(names) > _MOST_FIELDS:
            raise UserError(
                f"{file.path} has more than {_MOST_FIELDS} fields (dataset1/data1 and so on); "
                "expected the few of a composite."
            )
    return [OdimField(file, name) for name in names]


def _numbered(file: Hdf5File, group: str, prefix: str) -> list[str]:
    """Paths of a group's members prefix1, prefix2, ... in the order of their numbers."""
    numbers = []
    for name in file.members(group):
        match = re.fullmatch(rf"{prefix}(\d{{1,4}})", name, re.ASCII)
        if match:
            numbers.append(int(match[1]))
    return [f"{group}/{prefix}{number}".lstrip("/") for number in sorted(numbers)]


def _digits(value, length: int) -> str:
    """A date or a time of day as digits, where it is a text or a whole number."""
    if isinstance(value, str) or value is None:
        return str(value)
    return f"{int(value):0{length}d}" if value == value // 1 else str(value)
