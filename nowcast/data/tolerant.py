"""Any reader under a tolerance of one's own, which also notes what was made of bad pixels."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nowcast.readers.base import Reader
from nowcast.types.frames import Frames
from nowcast.types.tolerance import DEFAULT, Tolerance, applied


@dataclass(frozen=True)
class Tolerant(Reader):
    """A reader whose files may be off by a tolerance.

    Args:
        reader: the reader of the files.
        tolerance: how far values, coordinates and times may be off.
    """

    reader: Reader
    tolerance: Tolerance = DEFAULT

    @property
    def format(self) -> str:
        """What it reads, as the reader says."""
        return self.reader.format

    @property
    def path_parts(self) -> int:
        """How many of the last parts of a path decide what is read, as the reader says."""
        return self.reader.path_parts

    def recognises(self, path: str | Path) -> bool:
        """Whether the reader recognises the file; never raises."""
        return self.reader.recognises(path)

    def choose(self, path: str | Path) -> "Tolerant":
        """The one that reads this file, under the same tolerance.

        Raises:
            UserError: none does.
        """
        return Tolerant(self.reader.choose(path), self.tolerance)

    def read(self, path: str | Path) -> Frames:
        """The file's frames, with the number of pixels of each that became missing.

        Raises:
            UserError: as the reader's own.
        """
        with applied(self.tolerance) as discarded:
            frames = self.reader.read(path)
        return noted(frames, discarded) if isinstance(frames, Frames) else frames


def noted(frames: Frames, discarded: list[int]) -> Frames:
    """Frames with the pixels that became missing in each field that was read; in the first frame
    where fields are no frames.
    """
    if not any(discarded):
        return frames
    counts = np.array(discarded, np.int64)
    # of fields that are summed or averaged, nobody knows which frame they became
    if counts.size != len(frames):
        counts = np.zeros(len(frames), np.int64)
        counts[:1] = sum(discarded)
    return replace(frames, discarded=frames.discarded + counts)
