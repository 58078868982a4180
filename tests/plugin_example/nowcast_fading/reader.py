"""A reader: rain rates as text, one frame in a file.

The first line is ``RAIN-TEXT 2024-05-01T12:00 EPSG:3035 4321000 3210000 1000``: time (UTC),
projection, x and y of the centre of the north-western pixel, and metres between pixels. Each line
that follows is a row, from north to south, of rain rates in mm/h; ``-`` is not observed.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from nowcast import Frames, Grid, Reader, UserError

_MAGIC = b"RAIN-TEXT "


@dataclass(frozen=True)
class RainText(Reader):
    """Reader for RAIN-TEXT."""

    format: ClassVar[str] = "RAIN-TEXT"
    path_parts: ClassVar[int] = 0  # the time is in the file, whatever it is called

    def recognises(self, path: str | Path) -> bool:
        """Whether the file begins as such files do; never raises."""
        try:
            with Path(path).open("rb") as file:
                return file.read(len(_MAGIC)) == _MAGIC
        except OSError:
            return False

    def read(self, path: str | Path) -> Frames:
        """The file's frame.

        Raises:
            UserError: it is not such a file.
        """
        first, *rows = Path(path).read_text(encoding="utf-8").splitlines()
        try:
            _, time, crs, west, north, step = first.split()
            table = [
                [np.nan if word == "-" else float(word) for word in row.split()] for row in rows
            ]
            values = np.array(table, np.float32)
            x = float(west) + float(step) * np.arange(values.shape[1])
            y = float(north) - float(step) * np.arange(values.shape[0])
        except (ValueError, IndexError) as error:
            raise UserError(f"{path} is not RAIN-TEXT as it should be ({error}).") from error
        return Frames(values[None], [np.datetime64(time, "s")], Grid(crs, x, y), str(path))
