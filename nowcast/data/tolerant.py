"""Any reader under a tolerance of one's own, which also notes what was made of bad pixels."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nowcast.types.frames import Frames
from nowcast.types.tolerance import DEFAULT, Tolerance, applied


@dataclass(frozen=True)
class Tolerant:
    """A reader whose files may be off by a tolerance.

    Args:
        reader: has ``read(path) -> Frames``; see ``nowcast.readers``.
        tolerance: how far values, coordinates and times may be off.
    """

    reader: object
    tolerance: Tolerance = DEFAULT

    @property
    def path_parts(self) -> int:
        """How many of the last parts of a path decide, with the content, what is read; as the
        reader says.
        """
        return getattr(self.reader, "path_parts", 1)

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
    if counts.size != len(frames):
        counts = np.zeros(len(frames), np.int64)
        counts[:1] = sum(discarded)
    return replace(frames, discarded=frames.discarded + counts)
