"""NOAA's MRMS (Multi-Radar Multi-Sensor) in GRIB2, plain or gzipped: rain rates and rain depths of
the radars.

Written after the GRIB2 standard and NOAA's tables of products. The sections that say what, when and
where are read here, and sizes are checked, before GDAL unpacks the numbers.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nowcast.readers.base import Reader
from nowcast.readers.content import beginning, damage_reported, instead, read_exactly, unpacked
from nowcast.readers.decoding import Coding
from nowcast.readers.grib2_forecasts import moment_in, refuse_forecast
from nowcast.readers.grib2_grid import grid_of, signed
from nowcast.runtime.environment import gdal
from nowcast.runtime.errors import UserError
from nowcast.runtime.unreadable import unreadable
from nowcast.types.frames import Frames, Grid

_START = 16  # bytes of section 0
_DISCIPLINE = 209  # MRMS
_PRECIPITATION = 6  # category
# minutes of rain depths, by the number of the product
_HOURS = (1, 3, 6, 12, 24, 48, 72)
# of RadarOnly_QPE_01H to 72H, GaugeCorr_QPE, MultiSensor_QPE of Pass1 and of Pass2
_FIRST_NUMBERS = (2, 9, 30, 37)
_DEPTHS = {n + i: 60 * hours for n in _FIRST_NUMBERS for i, hours in enumerate(_HOURS)}
_DEPTHS[45] = 15  # RadarOnly_QPE_15M
_RATE = 1  # PrecipRate
_NOT_OBSERVED = (-1.0, -3.0)  # "missing" and "no coverage" in NOAA's table
_PACKINGS = {0: "simple", 41: "PNG"}
_LONGEST = 2**28  # bytes of a message; a large map has 2**26 at most


@dataclass(frozen=True)
class MrmsGrib2(Reader):
    """Reader for MRMS files with PrecipRate, or with rain depths of the radars (RadarOnly_,
    GaugeCorr_ or MultiSensor_QPE).
    """

    format = "MRMS GRIB2 (PrecipRate or QPE)"
    path_parts = 0  # nothing is taken from the name of a file

    def recognises(self, path: str | Path) -> bool:
        """Whether the file's content is GRIB2 with MRMS' own table; never raises."""
        start = beginning(path, _START)
        is_grib = len(start) == _START and start.startswith(b"GRIB")
        return is_grib and start[6] == _DISCIPLINE and start[7] == 2

    def read(self, path: str | Path) -> Frames:
        """One frame [mm/h]: NaN is missing or not covered; the time is that of the rate, or the end
        of the depth's interval.

        Raises:
            UserError: another product, packing or grid, more than one field, or damage.
        """
        message = _message(path)
        with damage_reported(path):
            sections = dict(_sections(message, path))
            refuse_forecast(sections[1], sections[4], path)
            minutes = _minutes(sections[4], path)
            time = _time(sections, path)
            grid = grid_of(sections[3], path)
            _check_packing(sections, grid, path)
            values = _exact(_unpacked(message, path), sections[5])
        # GDAL unpacks in single precision, so the marks may come out a little off
        for mark in _NOT_OBSERVED:
            values[np.isclose(values, mark, rtol=0, atol=1e-3)] = np.nan
        coding = Coding("rain_depth" if minutes else "rain_rate", minutes)
        return coding.single_frame(values, time, grid, path)


def _message(path: str | Path) -> bytes:
    """The only GRIB2 message of a file."""
    with unpacked(path, "an MRMS GRIB2 file") as stream:
        start = stream.read(_START)
        if len(start) < _START or start[:4] != b"GRIB" or start[7] != 2:
            is_older = start[:4] == b"GRIB" and start[7:8] == b"\x01"
            other = instead(path) if is_older or start[:4] != b"GRIB" else ""
            raise UserError(
                f"{path} is no GRIB2 file{other}; an MRMS file such as "
                "MRMS_PrecipRate_00.00_20240115-120000.grib2.gz is needed."
            )
        if start[6] != _DISCIPLINE:
            raise UserError(
                f"{path} is GRIB2 of discipline {start[6]}, expected {_DISCIPLINE} (MRMS); no "
                "other is read: convert it to NetCDF with ecCodes (grib_to_netcdf) or CDO."
            )
        length = int.from_bytes(start[8:], "big")
        if not _START < length <= _LONGEST:
            raise UserError(
                f"{path} claims a message of {length} bytes; up to {_LONGEST} are accepted."
            )
        return start + bytes(read_exactly(stream, length - _START, path))


def _sections(message: bytes, path: str | Path) -> Iterator[tuple[int, bytes]]:
    """(number, content with its header) of sections 1 to 7."""
    place, seen = _START, []
    while message[place:] != b"7777":
        length, number = struct.unpack_from(">IB", message, place)
        if length < 5 or place + length > len(message) - 4 or number in seen:
            what = f"a section {number} of {length} bytes at byte {place}"
            if number in seen:
                what = f"section {number} a second time"
            raise UserError(f"{path} has {what}; it is damaged, or contains more than one field.")
        seen.append(number)
        yield number, message[place : place + length]
        place += length
    if not {1, 3, 4, 5, 6, 7} <= set(seen):
        raise UserError(
            f"{path} has only the sections {seen}; 1 and 3 to 7 are needed, it is damaged."
        )


def _minutes(section: bytes, path: str | Path) -> float | None:
    """Interval of a rain depth, None for a rate."""
    template, category, number = struct.unpack_from(">HBB", section, 7)
    if template not in (0, 8):
        raise UserError(
            f"{path}: its product definition template is 4.{template}, expected 4.0 or 4.8; only "
            "single fields can be read."
        )
    if category != _PRECIPITATION:
        raise UserError(
            f"{path}: its parameter category is {category}, expected {_PRECIPITATION} "
            "(precipitation); give PrecipRate or a QPE."
        )
    if number != _RATE and number not in _DEPTHS:
        known = ", ".join(map(str, sorted((_RATE, *_DEPTHS))))
        raise UserError(
            f"{path}: its parameter number is {number}, expected one of {known}: PrecipRate, "
            "RadarOnly_QPE, GaugeCorr_QPE or MultiSensor_QPE."
        )
    return _DEPTHS.get(number)


def _time(sections: dict[int, bytes], path: str | Path) -> np.datetime64:
    """The reference time, at which a depth ends; in a product over an interval (template 4.8) the
    end that it states.
    """
    over_interval = struct.unpack_from(">H", sections[4], 7)[0] == 8
    section, place = (sections[4], 34) if over_interval else (sections[1], 12)
    moment = moment_in(section, place)
    if moment is None:
        stated = struct.unpack_from(">HBBBBB", section, place)
        raise UserError(f"{path}: its time {stated} is none; the file is damaged.")
    return moment


def _check_packing(sections: dict[int, bytes], grid: Grid, path: str | Path) -> None:
    """Refuse what would unpack to anything but the grid's number of values."""
    points, template = struct.unpack_from(">IH", sections[5], 5)
    pixels = grid.shape[0] * grid.shape[1]
    if template not in _PACKINGS:
        raise UserError(
            f"{path}: its data representation template is 5.{template}, expected 5.0 (simple "
            "packing) or 5.41 (PNG)."
        )
    if points > pixels:
        raise UserError(
            f"{path}: its number of packed values is {points}, expected at most {pixels}, the "
            "pixels of its grid."
        )
    if template == 41 and sections[5][19]:
        _check_png(sections[7][5:], points, path)


def _check_png(content: bytes, points: int, path: str | Path) -> None:
    """Refuse a PNG of another size or with a wrong checksum, which GDAL unpacks all the same."""
    width, height = struct.unpack_from(">II", content, 16)
    if not content.startswith(b"\x89PNG\r\n\x1a\n"):
        raise UserError(
            f"{path}: its packed values start with {content[:8]!r}, expected those of a PNG; it "
            "is damaged."
        )
    if width * height != points:
        raise UserError(
            f"{path}: its PNG claims {height}x{width} values, expected the {points} that are "
            "declared; it is damaged."
        )
    place, kind = 8, b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", content, place)
        (checksum,) = struct.unpack_from(">I", content, place + 8 + length)
        if zlib.crc32(content[place + 4 : place + 8 + length]) != checksum:
            raise UserError(
                f"{path}: its PNG has a part {kind} with a wrong checksum; it is damaged, fetch "
                "it again."
            )
        place += length + 12


def _unpacked(message: bytes, path: str | Path) -> np.ndarray:
    """The values, (H, W) float64 with row 0 north; NaN where a bitmap leaves one out."""
    from rasterio.errors import RasterioError

    try:
        with (
            gdal(GRIB_NORMALIZE_UNITS="NO") as rasterio,
            rasterio.MemoryFile(message, ext=".grib2") as file,
            file.open(driver="GRIB") as source,
        ):
            return source.read(1, masked=True).astype(np.float64).filled(np.nan)
    except RasterioError as error:
        raise unreadable(path, error) from None


def _exact(values: np.ndarray, section: bytes) -> np.ndarray:
    """The values without what GDAL's single precision added, where they are whole numbers of a
    decimal place.
    """
    binary, decimals = (
        signed(struct.unpack_from(">H", section, place)[0], 15) for place in (15, 17)
    )
    return np.round(values, decimals) if binary == 0 and 0 <= decimals <= 6 else values
