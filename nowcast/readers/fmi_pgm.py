"""FMI's radar composites as PGM images, with their time and place in comment lines."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from nowcast.readers.axes import require_extent
from nowcast.readers.base import Reader
from nowcast.readers.content import beginning, read_exactly, refuse_other_kind, unpacked
from nowcast.readers.decoding import Coding
from nowcast.readers.forecasts import refuse_by_attributes
from nowcast.readers.limits import require_pixels
from nowcast.readers.moments import moment_of_digits
from nowcast.readers.projection import project
from nowcast.runtime.errors import UserError
from nowcast.runtime.unreadable import mend
from nowcast.types.frames import Frames, Grid

_MAX_LINE_BYTES, _MAX_LINES = 1000, 200
_TYPE, _PARAMETER = "stereographic", "CorrectedReflectivity"
# FMI's sphere, and the origin in the lower left corner; not in the file
_EARTH = "+R=6371288 +x_0=380886.31 +y_0=3395677.92"
_CODING = Coding("reflectivity", gain=0.5, offset=-32.0, missing=(255,), undetect=0)


@dataclass(frozen=True)
class FmiPgm(Reader):
    """Reader for FMI's PGM composites of reflectivity, plain or gzipped.

    Args:
        z_r_a: factor of the Z-R relation Z = a R^b.
        z_r_b: its exponent; the defaults are those FMI uses for rain.
    """

    z_r_a: float = 223.0
    z_r_b: float = 1.53
    format = "FMI PGM (reflectivity)"
    path_parts = 0  # nothing is taken from the name of a file

    def __post_init__(self):
        self._coding()

    def recognises(self, path: str | Path) -> bool:
        """Whether the file is a PGM with FMI's comments; never raises."""
        start = beginning(path, 4096)
        has_comments = b"\n# obstime " in start and b"\n# projection " in start
        return start.startswith(b"P5\n#") and has_comments

    def read(self, path: str | Path) -> Frames:
        """One frame [mm/h]: 0 where nothing was detected, NaN where there is no data; the time is
        the file's obstime.

        Raises:
            UserError: another format, quantity or projection, or something is missing, damaged or
                contradictory.
        """
        if not re.match(rb"P\d", beginning(path, 2)):
            refuse_other_kind(path, "a PGM file")
        with unpacked(path, "a PGM file") as stream:
            comments, shape = _header(stream, path)
            time = comments.time()
            times = np.array([time], "datetime64[s]")
            refuse_by_attributes(path, "the comment ", comments.texts, times)
            grid = _grid(comments, shape, path)
            comments.require("param", _PARAMETER)
            content = read_exactly(stream, shape[0] * shape[1], path)
        stored = np.frombuffer(content, np.uint8).reshape(shape)
        return self._coding().single_frame(stored, time, grid, path)

    def _coding(self) -> Coding:
        return replace(_CODING, z_r_a=self.z_r_a, z_r_b=self.z_r_b)


@dataclass(frozen=True)
class _Comments:
    """What the comment lines of a file say.

    Args:
        path: the file.
        texts: of each line, by its first word.
    """

    path: str | Path
    texts: dict[str, str]

    def refused(self, name: str, needed: str) -> UserError:
        """What to raise where a line is missing, or not as it is needed."""
        found = repr(self.texts[name]) if name in self.texts else "missing"
        return UserError(f"{self.path}: its comment {name} is {found}; {needed}.")

    def require(self, name: str, expected: str) -> None:
        """Refuse another text than the expected one."""
        if self.texts.get(name) != expected:
            raise self.refused(name, f"expected {expected!r}")

    def time(self) -> np.datetime64:
        """When it was observed, UTC."""
        text = self.texts.get("obstime", "")
        moment = moment_of_digits(text) if len(text) == 12 else None
        if moment is None:
            raise self.refused("obstime", "a time such as 201609281445 is needed")
        return moment

    def numbers(self, name: str, count: int = 1) -> list[float]:
        """Finite numbers of a line."""
        try:
            numbers = [float(word) for word in self.texts[name].split()]
        except (KeyError, ValueError):
            numbers = []
        if len(numbers) != count or not np.isfinite(numbers).all():
            raise self.refused(name, f"{count} number(s) are needed")
        return numbers


def _header(stream: BinaryIO, path: str | Path) -> tuple[_Comments, tuple[int, int]]:
    """(comment lines, (rows, columns)); the stream then stands at the pixels."""
    texts, numbers, magic = {}, [], _line(stream, path)
    if magic != "P5":
        raise UserError(
            f"{path} starts with {magic[:20]!r}; a PGM file of FMI starts with a line P5."
        )
    for _ in range(_MAX_LINES):
        if len(numbers) >= 3:
            break
        line = _line(stream, path)
        if line.startswith("#"):
            name, *words = line[1:].split() or [""]
            texts[name] = " ".join(words)
        else:
            numbers += line.split()
    if len(numbers) != 3 or not all(re.fullmatch(r"[0-9]{1,9}", number) for number in numbers):
        raise UserError(
            f"{path} has the header {' '.join(numbers)[:60]!r}; columns, rows and 255 are needed "
            "after its comments."
        )
    columns, rows, largest = map(int, numbers)
    if largest != 255:
        raise UserError(
            f"{path} has values up to {largest}; 255 is needed, as FMI's 8-bit composites have."
        )
    require_pixels(str(path), rows, columns)
    return _Comments(path, texts), (rows, columns)


def _line(stream: BinaryIO, path: str | Path) -> str:
    line = stream.readline(_MAX_LINE_BYTES)
    if not line.endswith(b"\n"):
        raise UserError(
            f"{path} has a header that ends within a line, or no PGM header at all; {mend(path)}."
        )
    return line.decode("ascii", errors="replace").strip()


def _grid(comments: _Comments, shape: tuple[int, int], path: str | Path) -> Grid:
    """Cell centres [m] from the outer corners, checked against the stated size of the pixels."""
    comments.require("type", _TYPE)
    (longitude,), (latitude,) = map(comments.numbers, ("centrallongitude", "centrallatitude"))
    (true_latitude,) = comments.numbers("truelatitude")
    projection = (
        f"+proj=stere +lat_0={latitude:g} +lon_0={longitude:g} +lat_ts={true_latitude:g} {_EARTH} "
        "+units=m"
    )
    left, bottom = project(projection, *comments.numbers("bottomleft", 2), path=path)
    right, top = project(projection, *comments.numbers("topright", 2), path=path)
    rows, columns = shape
    counts = {"x": ("columns", columns), "y": ("rows", rows)}
    for axis, extent in (("x", right - left), ("y", top - bottom)):
        name = f"metersperpixel_{axis}"
        size = f"its comment {name}", *comments.numbers(name)
        require_extent(path, ("bottomleft and topright", extent), axis, counts[axis], size)
    x = left + (np.arange(columns) + 0.5) * (right - left) / columns
    return Grid(projection, x, top - (np.arange(rows) + 0.5) * (top - bottom) / rows)
