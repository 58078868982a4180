"""What the readers of CF data sets share, whatever these are stored in."""

from abc import abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from nowcast.readers.base import Reader
from nowcast.readers.cf import rain
from nowcast.readers.cf.choice import has_rain
from nowcast.readers.cf.groups import SeveralGroups
from nowcast.readers.cf.source import Source
from nowcast.readers.cf.told import DEFAULT_READER, Told
from nowcast.readers.decoding import Coding
from nowcast.readers.names import parts_looked_at
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Frames


@dataclass(frozen=True)
class CfReader(Reader):
    """Base of readers of rain rate, rain depth or reflectivity by standard name and units.

    Args:
        variable: the variable with the rain, of one in a group its path; None: the one with a
            standard name of rain, rates before depths before reflectivities, in the outermost group
            that has one.
        minutes: interval of rain depths where neither bounds of the times nor an attribute state
            it; the times are then the ends of the intervals.
        z_r_a: factor of the Z-R relation Z = a R^b that turns reflectivities into rain rates.
        z_r_b: its exponent; the defaults are those of Marshall and Palmer (1948).
        units: of the rain, such as "mm/h", "mm" or "dBZ"; None here and below: as it is stated.
        missing: stored numbers that mean "not observed" beside those that _FillValue, missing_value
            and flags declare; () where there are no others. Where it is set, no number is suspected
            of being a mark; marks under other names and flags of unknown words are left out, and
            of limits whose meaning is unclear what they hide in one reading only.
        crs: projection, as PROJ string or EPSG code; coordinates without units count in its unit.
        x: the variable with the coordinates of the columns, or the centre of the first as stored.
        y: the variable with those of the rows, or the centre of the first as stored.
        dx: where ``x`` is a number, the distance to the next column, below 0 westwards.
        dy: where ``y`` is a number, the distance to the next row, below 0 southwards.
        time: the variable or the attribute with the UTC time ("date time" for two attributes that
            make one), or the form of the time in the file's name, such as "%Y%m%d%H%M".
    """

    variable: str | None = None
    minutes: float | None = None
    z_r_a: float = 200.0
    z_r_b: float = 1.6
    units: str | None = None
    missing: tuple[float, ...] | None = None
    crs: str | int | None = None
    x: str | float | None = None
    y: str | float | None = None
    dx: float | None = None
    dy: float | None = None
    time: str | None = None
    name: ClassVar[str] = DEFAULT_READER  # in messages and settings

    def __post_init__(self):
        _ = self.coding  # refuses what cannot be
        if self.missing is not None:
            object.__setattr__(self, "missing", tuple(self.missing))  # it is hashed
        _ = self.told

    @property
    def path_parts(self) -> int:
        """How many of the last parts of a path decide, with the content, what is read."""
        in_name = self.time is not None and "%" in self.time
        return parts_looked_at(self.time) if in_name else 0

    @property
    def told(self) -> Told:
        """What the settings say of a data set.

        Raises:
            UserError: something that cannot be.
        """
        return Told(
            units=self.units,
            crs=self.crs,
            x=self.x,
            y=self.y,
            dx=self.dx,
            dy=self.dy,
            time=self.time,
            missing=self.missing,
            reader=self.name,
        )

    @property
    def coding(self) -> Coding:
        """What the settings say about the values.

        Raises:
            UserError: an interval or a Z-R relation that cannot be.
        """
        return Coding(minutes=self.minutes, z_r_a=self.z_r_a, z_r_b=self.z_r_b)

    @abstractmethod
    def opened(self, path: str | Path) -> AbstractContextManager[tuple[Source, str | None]]:
        """(variables of the group that has the rain, open for reading; name of the one with the
        rain, None if not set).
        """

    def takes(self, source: Source) -> bool:
        """Whether no other reader takes such a data set."""
        return True

    @abstractmethod
    def opens(self, path: str | Path) -> bool:
        """Whether it is of the kind that is opened here, whatever is in it; never raises."""

    def recognises(self, path: str | Path) -> bool:
        """Whether it is a data set with rain that it names as CF says; never raises."""
        try:
            with self.opened(path) as (source, variable):
                return has_rain(source, variable) and self.takes(source)
        except SeveralGroups:
            return True  # reading it says what to set
        except UserError:
            return False

    def read(self, path: str | Path) -> Frames:
        """All frames [mm/h]; a time is the end of its interval where there are bounds, NaN is
        missing.

        Raises:
            UserError: something is missing, damaged, contradictory or not understood; nothing is
                assumed in its place.
        """
        with self.opened(path) as (source, variable):
            return rain.frames(replace(source, told=self.told), variable, self.coding)
