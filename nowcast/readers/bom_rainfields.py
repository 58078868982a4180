"""Rainfields 3 of the Australian Bureau of Meteorology: NetCDF-4 with rain depths over a few
minutes.

The coordinates are taken as cell centres, as CF says where there are no bounds. That puts the 512 x
512 cells of Melbourne half a cell (250 m) to the west and north of the radar in the projection's
origin; the files hold nothing that would prove them corners. What is outside a radar's range is
stored as 0 like dry, so nothing there is missing.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nowcast.readers import cf
from nowcast.readers.base import Reader
from nowcast.readers.cf_netcdf import is_rainfields, opened
from nowcast.readers.decoding import interval_minutes
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
            with opened(path, _FIELD) as (source, _):
                return is_rainfields(source)
        except UserError:
            return False

    def read(self, path: str | Path) -> Frames:
        """One frame [mm/h]; its time is the end of the interval.

        Raises:
            UserError: something is missing, damaged or contradictory.
        """
        with opened(path, _FIELD) as (source, _):
            start, end = cf.moment(source, "start_time"), cf.moment(source, "valid_time")
            minutes = interval_minutes((end - start) / np.timedelta64(60, "s"))
            if minutes <= 0:
                raise UserError(
                    f"{path}: its interval runs from {start} to {end}; a rain depth needs one "
                    "that ends after it starts."
                )
            return cf.frames(source, variable=_FIELD, minutes=float(minutes), z_r=(200.0, 1.6))
