"""Rainfields 3 of the Australian Bureau of Meteorology: NetCDF-4 with rain depths over a few
minutes.

The coordinates are taken as cell centres, as CF says where there are no bounds. That puts the 512 x
512 cells of Melbourne half a cell (250 m) to the west and north of the radar in the projection's
origin; the files contain nothing that would prove them corners. What is outside a radar's range is
stored as 0 like dry, so nothing there is missing.
"""

from dataclasses import dataclass
from pathlib import Path

from nowcast.readers.base import Reader
from nowcast.readers.cf import rain
from nowcast.readers.cf.times import moment
from nowcast.readers.cf_netcdf import CfNetcdf, is_rainfields
from nowcast.readers.decoding import Coding
from nowcast.readers.intervals import minutes_between
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Frames

_FIELD = "precipitation"


@dataclass(frozen=True)
class BomRainfields(Reader):
    """Reader for Rainfields 3 files with accumulated precipitation (prcp-c and its like)."""

    format = "BoM Rainfields 3 NetCDF (accumulated precipitation)"
    path_parts = 0  # nothing is taken from the name of a file

    def recognises(self, path: str | Path) -> bool:
        """Whether the file's content is a Rainfields accumulation; never raises."""
        try:
            with CfNetcdf(_FIELD).opened(path) as (source, _):
                return is_rainfields(source)
        except UserError:
            return False

    def read(self, path: str | Path) -> Frames:
        """One frame [mm/h]; its time is the end of the interval.

        Raises:
            UserError: something is missing, damaged or contradictory.
        """
        with CfNetcdf(_FIELD).opened(path) as (source, _):
            start, end = moment(source, "start_time"), moment(source, "valid_time")
            minutes = minutes_between(start, end, f"{path}: its interval")
            return rain.frames(source, _FIELD, Coding(minutes=minutes))
