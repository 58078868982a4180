"""What a reader is: the contract that every file format keeps, and those of other packages, too.

A reader turns one file into `Frames`: rain rates [mm/h] with their UTC times and their grid, NaN
where nothing was observed. A file that lacks something, is damaged or was predicted is refused by
a `UserError` that says what was expected, what was found, and what to do.
"""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from nowcast.types.frames import Frames


class Reader(ABC):
    """Base of all readers, best of a frozen dataclass whose fields are its settings.

    Its attributes are its settings: plain data, which an archive records, and which the process
    that reads files gets. ``reader=auto`` asks those whose settings all have defaults.

    Attributes:
        format: what it reads, in words for messages and lists of formats.
        path_parts: how many of the last parts of a path decide, with the content, what is read:
            1 (the file's name) unless it says otherwise, 0 where only the content counts, more
            where folders are part of a time. Files of equal content and parts are read once.
    """

    format: ClassVar[str]
    path_parts: ClassVar[int] = 1

    @abstractmethod
    def recognises(self, path: str | Path) -> bool:
        """Whether the content says that this reader can read it; never raises."""

    @abstractmethod
    def read(self, path: str | Path) -> Frames:
        """All frames of the file, in time order.

        A time is the end of an interval where the file has rain depths; row 0 is north.

        Raises:
            UserError: something is missing, damaged, contradictory, or a forecast.
        """

    def choose(self, path: str | Path) -> "Reader":
        """The reader that reads this file: itself, unless it is one that looks for another.

        Raises:
            UserError: none reads it.
        """
        return self
