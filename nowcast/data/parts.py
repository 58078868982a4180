"""What is kept of a conversion while it runs, and found by the next one where it was interrupted:
frames, packed into files of a folder beside the archive.
"""

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from nowcast.data.packed_frames import PackedFiles, PackedFrames, StoredFrame
from nowcast.runtime.errors import Unavailable, UserError
from nowcast.runtime.files import replacing
from nowcast.types.frames import Grid

# a part is closed after so many frames or seconds: more is never lost
MOST_FRAMES, _MOST_SECONDS = 256, 20.0


class Parts:
    """The folder of the parts of one archive.

    Args:
        output: the archive.
        settings: as data, how its files are read; parts made with others are of no use.
        packed: opens the files.
    """

    def __init__(self, output: Path, settings: dict, packed: PackedFiles):
        self._folder = output.with_name(f".{output.name}.parts")
        self._open = self._folder / "open.h5"
        self._mark = self._folder / "settings.json"
        self._remarks = self._folder / "remarks.json"
        self._settings = json.dumps(settings, sort_keys=True)
        self._packed = packed
        self._part: PackedFrames | None = None
        self._begun = 0.0

    def __enter__(self) -> "Parts":
        return self

    def __exit__(self, *error) -> None:
        """Drop what was being packed when the conversion failed; and the folder, where nothing else
        is in it.
        """
        if self._part is not None:
            with contextlib.suppress(OSError, RuntimeError):
                self._part.abandon()
        self._open.unlink(missing_ok=True)
        if not self._complete():
            self.remove()

    def _complete(self) -> list[Path]:
        return sorted(self._folder.glob("part-*.h5"))

    def remove(self) -> None:
        """Remove the folder: all of it is in the archive."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def interrupted(self) -> Iterator[tuple[list[StoredFrame], Grid, str]]:
        """(frames, their grid, what was measured) of each part of an interrupted conversion with
        the same settings; what is there of another one is removed.
        """
        if not (self._mark.is_file() and self._mark.read_text(encoding="utf-8") == self._settings):
            self.remove()
            return
        for path in self._complete():
            try:
                found = self._packed.frames(path)
            except Unavailable:
                raise  # it may be whole, and cannot be read just now
            except UserError:
                path.unlink()  # its files are read again
                continue
            yield found

    def remarked(self) -> list[str]:
        """What was remarked of the files of an interrupted conversion, as far as it can be read."""
        with contextlib.suppress(OSError, ValueError):
            found = json.loads(self._remarks.read_text(encoding="utf-8"))
            return [remark for remark in found if isinstance(remark, str)]
        return []

    def remark(self, remarks: Iterable[str]) -> None:
        """Keep what was remarked of the files until now."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with replacing(self._remarks) as temporary:
            temporary.write_text(json.dumps(sorted(remarks)), encoding="utf-8")

    def opened(self, grid: Grid, quantity: str) -> PackedFrames:
        """The part that frames are appended to."""
        if self._part is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            with replacing(self._mark) as temporary:
                temporary.write_text(self._settings, encoding="utf-8")
            self._part = PackedFrames(self._open, grid, quantity)
            self._begun = time.monotonic()
        return self._part

    @property
    def is_due(self) -> bool:
        """Whether the open part is to be closed."""
        if self._part is None:
            return False
        late = time.monotonic() - self._begun > _MOST_SECONDS
        return late or len(self._part) >= MOST_FRAMES

    def close_part(self) -> list[StoredFrame]:
        """Complete the open part, which survives whatever happens to this process; its frames."""
        if self._part is None:
            return []
        part, self._part = self._part, None
        part.close()
        number = max((int(path.stem.removeprefix("part-")) for path in self._complete()), default=0)
        path = self._folder / f"part-{number + 1:06d}.h5"
        # on the disk before it has its name, so that a part is never half of one
        with open(self._open, "rb") as file:
            os.fsync(file.fileno())
        os.replace(self._open, path)
        return self._packed.frames(path)[0]
