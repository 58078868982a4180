"""MeteoSwiss AQC: rain depths as an 8-bit palette GIF, where the palette index is the value and the
colour is not.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nowcast.readers.base import Reader
from nowcast.readers.content import beginning, damage_reported, refuse_other_kind, require_file
from nowcast.readers.decoding import plausible
from nowcast.readers.forecast_names import refuse_label
from nowcast.readers.names import time_in_name
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Frames, Grid
from nowcast.types.units import (
    rain_depth_quantity,
    rain_rate_from_depth,
    rain_rate_from_reflectivity,
)

_ROWS, _COLUMNS = 640, 710
# centre of the first pixel in LV03, as MeteoSwiss lays its 1 km composites; not in the file
_WEST, _NORTH = 255_500.0, 479_500.0
_DRY, _MISSING = (0, 1, 251, 252, 253, 254), 255
_COMMENT = re.compile(rb"PRDT=AQC(\d{9})\b.*?\bACCUm=(\d{1,6})\b", re.DOTALL)
_BEGINNING = 4096  # bytes in which size, palette and comment are


@dataclass(frozen=True)
class MchGif(Reader):
    """Reader for MeteoSwiss AQC files (AQCyyjjjHHMM...gif, 640x710 pixels of 1 km, Swiss LV03)."""

    format = "MeteoSwiss AQC (GIF)"

    def recognises(self, path: str | Path) -> bool:
        """Whether the file is a GIF whose comment names the product AQC; never raises."""
        start = beginning(path, _BEGINNING)
        return start.startswith((b"GIF87a", b"GIF89a")) and b"PRDT=AQC" in start

    def read(self, path: str | Path) -> Frames:
        """One frame [mm/h]; its time is the one in the file's comment, else in its name: the end of
        the interval.

        Raises:
            UserError: no GIF, another size, damaged, an index far beyond those MeteoSwiss uses (2
                to 151), or neither comment nor name has a time.
        """
        require_file(path, "a GIF file")
        if not beginning(path, 4).startswith(b"GIF8"):
            refuse_other_kind(path, "a GIF file")
        index, comment = _palette_index(path)
        refuse_label(path, "its comment", comment.decode("latin-1"))
        # a file that lost its comment is taken for the usual 5 minutes, at the time in its name
        stated, named, minutes = _COMMENT.search(comment), path, 5
        if stated:
            named, minutes = f"AQC{stated[1].decode()}", int(stated[2])
        if not minutes:
            raise UserError(
                f"{path}: its comment says ACCUm=0; rain depths need an interval of minutes."
            )
        time = time_in_name(named, "AQC%y%j%H%M", "the name")
        x, y = _WEST + 1000.0 * np.arange(_COLUMNS), _NORTH - 1000.0 * np.arange(_ROWS)
        rates = plausible(_rain_rate_by_index(minutes)[index], path)
        grid = Grid("EPSG:21781", x, y)
        return Frames(rates[None], time, grid, str(path), rain_depth_quantity(minutes))


def _palette_index(path: str | Path) -> tuple[np.ndarray, bytes]:
    """(palette index, (H, W) uint8; the file's comment)."""
    from PIL import Image

    with damage_reported(path):
        try:
            with Image.open(path, formats=["GIF"]) as image:
                if image.size != (_COLUMNS, _ROWS):
                    raise UserError(
                        f"{path} has {image.height}x{image.width} pixels, expected "
                        f"{_ROWS}x{_COLUMNS} as AQC has."
                    )
                if image.mode not in ("P", "L"):  # L is a palette of greys in order
                    raise UserError(
                        f"{path} has pixels of mode {image.mode}, expected a palette (P) as AQC "
                        "has."
                    )
                if image.tile[0][1] != (0, 0, *image.size):
                    raise UserError(
                        f"{path} fills only a part of its {_ROWS}x{_COLUMNS} pixels; it is damaged "
                        "or of another format."
                    )
                image.load()
                return np.asarray(image), image.info.get("comment", b"")
        except Image.DecompressionBombError as error:
            raise UserError(
                f"{path} claims too many pixels ({error}); AQC has {_ROWS}x{_COLUMNS}."
            ) from error


def _rain_rate_by_index(minutes: int) -> np.ndarray:
    """Rain rate [mm/h] of each palette index, (256,) float32: by MeteoSwiss' Z = 316 R^1.5 of the
    depth in mm; NaN = missing.
    """
    depth = rain_rate_from_reflectivity((np.arange(256) - 71.5) / 2, 316.0, 1.5)
    rates = rain_rate_from_depth(depth, minutes).astype(np.float32)
    rates[list(_DRY)], rates[_MISSING] = 0.0, np.nan
    return rates
