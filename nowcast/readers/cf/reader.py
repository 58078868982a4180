"""What the readers of CF data sets share, whatever these are stored in."""

from abc import abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from nowcast.readers.base import Reader
from nowcast.readers.cf import rain
from nowcast.readers.cf.choice import has_rain
from nowcast.readers.cf.groups import SeveralGroups
from nowcast.readers.cf.source import Source
from nowcast.readers.decoding import Coding
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Frames


@dataclass(frozen=True)
class CfReader(Reader):
    """Base of readers of rain rate, rain depth or reflectivity by standard name and units.

    Args:
        variable: the variable with the rain, of one in a group its path; None: the one with a
            standard name of rain, rates before depths before reflectivities, in the outermost group
            that has one.
        minutes: interval of rain depths where the times have no bounds; the times are then the ends
            of the intervals.
        z_r_a: factor of the Z-R relation Z = a R^b that turns reflectivities into rain rates.
        z_r_b: its exponent; the defaults are those of Marshall and Palmer (1948).
    """

    variable: str | None = None
    minutes: float | None = None
    z_r_a: float = 200.0
    z_r_b: float = 1.6
    path_parts = 0  # nothing is taken from the name of a file

    def __post_init__(self):
        _ = self.coding  # refuses what cannot be

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
            return rain.frames(source, variable, self.coding)
