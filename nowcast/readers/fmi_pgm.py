"""FMI's radar composites as PGM images, with their time and place in comment lines."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from nowcast.readers.base import Reader
from nowcast.readers.content import beginning, instead, mend, read_exactly, require_file, unpacked
from nowcast.readers.decoding import Coding
from nowcast.readers.forecasts import refuse_by_attributes
from nowcast.readers.hdf5 import MAX_PIXELS
from nowcast.readers.projection import project
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Frames, Grid
from nowcast.types.tolerance import in_force

_MAX_LINE_BYTES, _MAX_LINES = 1000, 200
_TYPE, _PARAMETER = "stereographic", "CorrectedReflectivity"
# FMI's sphere, and the origin in the lower left corner; not in the file
_EARTH = "+R=6371288 +x_0=380886.31 +y_0=3395677.92"
_MISSING, _UNDETECT = 255, 0


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
        return (
            start.startswith(b"P5\n#") and b"\n# obstime " in start and b"\n# projection " in start
        )

    def read(self, path: str | Path) -> Frames:
        """One frame [mm/h]: 0 where nothing was detected, NaN where there is no data; the time is
        the file's obstime.

        Raises:
            UserError: another format, quantity or projection, or something is missing, damaged or
                contradictory.
        """
        if not re.match(rb"P\d", beginning(path, 2)) and instead(path):
            require_file(path, "a PGM file")
            raise UserError(f"{path} is not a PGM file{instead(path)}.")
        with unpacked(path, "a PGM file") as stream:
            comments, (columns, rows) = _header(stream, path)
            time = _time(comments, path)
            texts = {name: " ".join(words) for name, words in comments.items()}
            refuse_by_attributes(
                path, texts, "the comment ", times=np.array([time], "datetime64[s]")
            )
            grid = _grid(comments, columns, rows, path)
            if comments.get("param") != [_PARAMETER]:
                found = repr(" ".join(comments["param"])) if "param" in comments else "missing"
                raise UserError(
                    f"{path}: its comment param is {found}, expected {_PARAMETER!r} [dBZ]."
                )
            index = np.frombuffer(read_exactly(stream, rows * columns, path), np.uint8).reshape(
                rows, columns
            )
        coding = self._coding()
        return Frames(
            coding.rain_rate(index, path)[None], time, grid, str(path), coding.measured(path)
        )

    def _coding(self) -> Coding:
        return Coding(
            "reflectivity",
            gain=0.5,
            offset=-32.0,
            missing=(_MISSING,),
            undetect=_UNDETECT,
            z_r_a=self.z_r_a,
            z_r_b=self.z_r_b,
        )


def _header(stream: BinaryIO, path: str | Path) -> tuple[dict[str, list[str]], tuple[int, int]]:
    """(words of the comment lines by their first word, (columns, rows)); the stream then stands at
    the pixels.
    """
    comments, numbers, magic = {}, [], _line(stream, path)
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
            comments[name] = words
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
    if not 0 < columns * rows <= MAX_PIXELS:
        raise UserError(f"{path} claims {rows}x{columns} pixels; 1 to {MAX_PIXELS} are accepted.")
    return comments, (columns, rows)


def _line(stream: BinaryIO, path: str | Path) -> str:
    line = stream.readline(_MAX_LINE_BYTES)
    if not line.endswith(b"\n"):
        raise UserError(
            f"{path} has a header that ends within a line, or no PGM header at all; {mend(path)}."
        )
    return line.decode("ascii", errors="replace").strip()


def _time(comments: dict[str, list[str]], path: str | Path) -> np.datetime64:
    text = " ".join(comments.get("obstime", []))
    try:
        year, month, day, hour, minute = re.fullmatch(
            r"([0-9]{4})([0-9]{2})([0-9]{2})([0-9]{2})([0-9]{2})", text
        ).groups()
        return np.datetime64(f"{year}-{month}-{day}T{hour}:{minute}", "s")
    except (AttributeError, ValueError):
        raise UserError(
            f"{path}: its comment obstime is {text!r}; a time such as 201609281445 is needed."
        ) from None


def _numbers(
    comments: dict[str, list[str]], name: str, count: int, path: str | Path
) -> list[float]:
    """Finite numbers of a comment line."""
    try:
        numbers = [float(word) for word in comments[name]]
    except (KeyError, ValueError):
        numbers = []
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise UserError(
            f"{path}: its comment {name} is {' '.join(comments.get(name, ['missing']))!r}; "
            f"{count} number(s) are needed."
        )
    return numbers


def _grid(comments: dict[str, list[str]], columns: int, rows: int, path: str | Path) -> Grid:
    """Cell centres [m] from the outer corners, checked against the stated size of the pixels."""
    if comments.get("type") != [_TYPE]:
        raise UserError(
            f"{path}: its comment type is {' '.join(comments.get('type', ['missing']))!r}; the "
            f"projection {_TYPE} is needed."
        )
    (longitude,), (latitude,), (true_latitude,) = (
        _numbers(comments, name, 1, path)
        for name in ("centrallongitude", "centrallatitude", "truelatitude")
    )
    projection = (
        f"+proj=stere +lat_0={latitude:g} +lon_0={longitude:g} "
        f"+lat_ts={true_latitude:g} {_EARTH} +units=m"
    )
    (left, bottom), (right, top) = (
        project(projection, *_numbers(comments, corner, 2, path), path=path)
        for corner in ("bottomleft", "topright")
    )
    (dx,), (dy,) = (_numbers(comments, f"metersperpixel_{axis}", 1, path) for axis in "xy")
    off = in_force().off_corner
    for axis, count, step, apart in (
        ("x", columns, dx, right - left),
        ("y", rows, dy, top - bottom),
    ):
        if not step > 0:
            raise UserError(
                f"{path}: its comment metersperpixel_{axis} is {step:g}; expected a size of "
                "pixels above 0."
            )
        if not abs(apart - count * step) <= off * step:
            raise UserError(
                f"{path}: bottomleft and topright are {apart:.0f} m apart in {axis}, expected "
                f"{count * step:.0f} m for {count} pixels of "
                f"metersperpixel_{axis} {step:g}, give or take {off:g} pixels; the file "
                "contradicts itself."
            )
    x = left + (np.arange(columns) + 0.5) * (right - left) / columns
    return Grid(projection, x, top - (np.arange(rows) + 0.5) * (top - bottom) / rows)
