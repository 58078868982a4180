"""What whoever reads a data set says of it where the data set itself does not, or is wrong; and the
refusals that name the setting which says it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nowcast.readers.cf import units
from nowcast.readers.names import name_pattern
from nowcast.runtime.errors import UserError

DEFAULT_READER = "cf_netcdf"


class Lacking(UserError):
    """A data set does not say something that a setting can say.

    Args:
        message: a sentence that names the settings.
        settings: their names.
    """

    def __init__(self, message: str, settings: Sequence[str] = ()):
        super().__init__(message)
        self.settings = tuple(settings)


@dataclass(frozen=True)
class Told:
    """What is said of a data set; None: what it states itself counts.

    Args:
        units: of the rain, such as "mm/h", "mm" or "dBZ".
        crs: projection, as PROJ string or EPSG code; coordinates that state no unit count in its.
        x: the variable with the coordinates of the columns, or the centre of the first as stored.
        y: likewise of the rows.
        dx: where ``x`` is a number, from one column to the next as stored (below 0: westwards).
        dy: likewise for ``y`` (below 0: southwards).
        time: the variable or the global attribute with the UTC times, or the form of the time in
            the file's name, such as "%Y%m%d%H%M".
        missing: stored numbers that mean "not observed", beside those that are declared; () says
            that there are no others, so that none is suspected.
        reader: name of the reader whose settings these are.

    Raises:
        UserError: something that cannot be.
    """

    units: str | None = None
    crs: str | int | None = None
    x: str | float | None = None
    y: str | float | None = None
    dx: float | None = None
    dy: float | None = None
    time: str | None = None
    missing: tuple[float, ...] | None = None
    reader: str = DEFAULT_READER

    def __post_init__(self):
        if self.units is not None and units.quantity(str(self.units)) is None:
            raise UserError(
                f"reader.units is {self.units!r}; a rate such as 'mm/h' or 'kg m-2 s-1', a depth "
                "such as 'mm', or 'dBZ' is needed."
            )
        if self.time is not None and "%" in self.time:
            name_pattern(self.time, "reader.time")
        for axis in ("x", "y"):
            self._require_axis(axis)

    def _require_axis(self, axis: str) -> None:
        place, step = getattr(self, axis), getattr(self, f"d{axis}")
        is_number = not isinstance(place, str) and place is not None
        for name, number in ((axis, place if is_number else None), (f"d{axis}", step)):
            if number is not None and not _is_finite(number):
                raise UserError(f"reader.{name} is {number!r}; a finite number is needed.")
        if is_number != (step is not None) or step == 0:
            raise UserError(
                f"reader.{axis} is {place!r} and reader.d{axis} {step!r}; either the name of a "
                "variable alone is needed, or the centre of the first pixel with the distance to "
                "the next, which is not 0."
            )

    def setting(self, *names: str) -> str:
        """What to set, in words: "with reader=cf_netcdf set reader.x and reader.y"."""
        return f"with reader={self.reader} set {' and '.join(f'reader.{one}' for one in names)}"

    def require_name(self, name: str, known, path: Path, what: str) -> None:
        """Refuse a setting that names what a data set does not have."""
        if name not in known:
            shown = ", ".join(list(known)[:20]) or "none"
            raise UserError(f"{path} has no {what} {name!r}; expected one of {shown}.")


def _is_finite(number) -> bool:
    is_number = isinstance(number, (int, float)) and not isinstance(number, bool)
    return is_number and bool(np.isfinite(number))


NOTHING = Told()
