"""Frames that stay in memory: training comes back to the same frames in every epoch."""

import numpy as np

from nowcast.data.archive import Archive

_MEGABYTE = 1e6


class KeptFrames:
    """Reads as an ``Archive`` does, but every frame only once: it is kept, whole, by the process
    that read it.

    Args:
        archive: where the frames are; all of them may end up in memory.
    """

    def __init__(self, archive: Archive):
        self._archive, self._frames = archive, {}

    # workers read their own copy: frames would be pickled to each of them
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
        for index in range(start, stop):
            if index not in self._frames:
                self._frames[index] = self._archive.read(index, index + 1)[0]
        # a copy, so that what a caller changes is not changed here
        return np.stack([self._frames[index][rows, columns] for index in range(start, stop)])


def kept_in_memory(archive: Archive, megabytes: int) -> Archive | KeptFrames:
    """Where to read frames of an archive: from memory, if all of them, as float32, take no more
    than so many 1e6 bytes; else from the archive.
    """
    size = np.prod(archive.shape, dtype=np.float64) * np.dtype(np.float32).itemsize
    return KeptFrames(archive) if size <= megabytes * _MEGABYTE else archive
