"""Frames that stay in memory: training comes back to the same frames in every epoch."""

import numpy as np

from nowcast.data.archive import Archive

_MEGABYTE = 1e6


def fits(archive: Archive, megabytes: int) -> bool:
    """Whether all frames of an archive, as float32, take no more than so many 1e6 bytes."""
    return (
        np.prod(archive.shape, dtype=np.float64) * np.dtype(np.float32).itemsize
        <= megabytes * _MEGABYTE
    )


class KeptFrames:
    """Reads as an ``Archive`` does, but every frame only once: it is kept, whole, by the process
    that read it.

    Args:
        archive: where the frames are; all of them may end up in memory.
    """

    def __init__(self, archive: Archive):
        self._archive, self._frames = archive, {}

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_frames": {}}

    def read(
        self, start: int, stop: int, *, rows: slice = slice(None), columns: slice = slice(None)
    ) -> np.ndarray:
        """A copy of rain rates [mm/h] of frames start to stop - 1, (T, h, w) float32, NaN = not
        observed.

        Raises:
            UserError: as ``Archive.read``.
        """
        frames = [self._frame(index)[rows, columns] for index in range(start, stop)]
        values = np.empty((len(frames), *frames[0].shape), dtype=np.float32)
        for place, frame in zip(values, frames, strict=True):
            place[...] = frame
        return values

    def _frame(self, index: int) -> np.ndarray:
        found = self._frames.get(index)
        if found is None:
            found = self._frames[index] = self._archive.read(index, index + 1)[0]
        return found
