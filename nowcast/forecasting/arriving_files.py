"""Files that somebody else writes into a folder: which of them have settled and are to be read."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nowcast.data.inputs import Inputs, expand_inputs, literal_folder, separate_inputs
from nowcast.data.reading import TooSlow
from nowcast.runtime.errors import Unavailable, UserError

# Read at one look: of a folder with history, only the newest files can have frames that still
# matter.
MOST_FILES = 64
# After which a file that could not be read is tried again: what was in the way may have been the
# machine.
_AGAIN = (np.timedelta64(30, "s"), np.timedelta64(150, "s"))


@dataclass
class _File:
    """What is known of a file.

    Args:
        signature: its size and times of change at the last look.
        done: whether it was read like that.
        tried: how often that failed.
        again: when it is tried again; None: not any more.
    """

    signature: tuple[int, int, int]
    done: bool = False
    tried: int = 0
    again: np.datetime64 | None = None


class ArrivingFiles:
    """The files of a folder, a pattern, or a list of these, and what became of each.

    Args:
        pattern: as for `nowcast predict`.
    """

    def __init__(self, pattern: Inputs):
        self.pattern = pattern
        self.known: dict[Path, _File] = {}
        self._was_there: dict[str, Path] = {}  # the folders, once they were seen
        self._blind: str | None = None  # why a folder could not be looked into last time

    def settled(self, now: np.datetime64) -> tuple[list[Path], str | None]:
        """(files that did not change since the last look and were not read as they are, oldest
        change first; why a folder cannot be looked into, if that is new).
        """
        found, before = {}, self._blind
        self._blind = None
        for pattern in separate_inputs(self.pattern):
            found |= self._signatures(pattern)
        self.known = {path: known for path, known in self.known.items() if path in found}
        ready = []
        for path, signature in found.items():
            known = self.known.get(path)
            if known is None or known.signature != signature:
                self.known[path] = _File(signature)
            elif not known.done or (known.again is not None and now >= known.again):
                known.done = True
                ready.append(path)
        ready.sort(key=lambda path: (self.known[path].signature[1], path.name))
        return ready[-MOST_FILES:], None if self._blind == before else self._blind

    @property
    def all_read(self) -> bool:
        """Whether no file is still to be read as it is now; a file is read once it has settled."""
        return all(file.done for file in self.known.values())

    def was_tried(self, path: Path) -> bool:
        """Whether a file could not be read before as it is."""
        return self.known[path].tried > 0

    def was_read(self, path: Path, error: UserError | None, now: np.datetime64) -> None:
        """Remember that a file was read.

        Args:
            path: the file.
            error: why it could not be; it is tried again twice, one that is in use or out of reach
                until it is not, one that took too long never.
            now: UTC.
        """
        known = self.known[path]
        known.again = None
        if error is None:
            return
        tries_left = known.tried < len(_AGAIN) or isinstance(error, Unavailable)
        if tries_left and not isinstance(error, TooSlow):
            known.again = now + _AGAIN[min(known.tried, len(_AGAIN) - 1)]
        known.tried += 1

    def _signatures(self, pattern: str) -> dict[Path, tuple[int, int, int]]:
        """Size and times of change of the files of one folder or pattern."""
        found, folder = {}, literal_folder(pattern)
        if os.path.isdir(folder):
            self._was_there[pattern] = folder
        try:
            for path in expand_inputs([pattern]):
                try:
                    status = os.stat(path)
                except OSError:
                    continue  # it is gone again
                found[path] = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        except UserError as error:  # nothing is there yet, or the folder is gone or closed to us
            before = self._was_there.get(pattern)
            if before is not None and not os.path.isdir(before):
                self._blind = f"there is no folder {before} any more"
            elif os.path.isdir(folder) and not os.access(folder, os.R_OK | os.X_OK):
                self._blind = str(error)
        return found
