"""What a file contains, in lines to read: an archive, a forecast, or a radar file."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nowcast.data import inspection
from nowcast.data.archive import is_archive
from nowcast.data.tolerant import Tolerant
from nowcast.output.netcdf import is_forecast, read_attributes, read_forecast
from nowcast.output.origin import GAPS, age_in_words
from nowcast.readers.base import Reader
from nowcast.types.tolerance import DEFAULT, Tolerance

_AGE = "data_age_minutes"
# The attributes of a forecast that are shown.
_ORIGIN = ("method", "fallback_reason", "calibration", "model", "model_sha256", "input_files")


@dataclass(frozen=True)
class Contents:
    """Reads a file as lines of text instead of frames, in a
    ``nowcast.data.reading.ReadingProcess``, too.

    Args:
        reader: of radar files.
        tolerance: how far their values, coordinates and times may be off.
    """

    reader: Reader
    tolerance: Tolerance = DEFAULT

    def read(self, path: str | Path) -> str:
        """What a file contains.

        Raises:
            UserError: no file that is known here, or a damaged one.
        """
        if is_archive(path):
            return inspection.info(path)
        if is_forecast(path):
            return _of_forecast(path)
        reader = Tolerant(self.reader, self.tolerance).choose(path)
        return inspection.info_of_frames(reader.read(path), reader.format, self.tolerance)


def _of_forecast(path: str | Path) -> str:
    """What a forecast contains, and where it says that it comes from."""
    forecast, attributes = read_forecast(path), read_attributes(path)
    minutes = forecast.lead_times / np.timedelta64(60, "s")
    entries = {
        "forecast": str(path),
        "analysis": f"{forecast.analysis_time} UTC",
        "lead times": f"{len(minutes)}, {minutes[0]:g} to {minutes[-1]:g} min",
    }
    entries |= {name: attributes[name] for name in (*_ORIGIN, GAPS) if name in attributes}
    if _AGE in attributes:
        entries["data age"] = _age(attributes[_AGE])
    nothing = "nothing: no pixel has a forecast at any lead time"
    entries |= inspection.info_of_fields(forecast.values, forecast.grid, nothing)
    return inspection.in_lines(entries)


def _age(minutes: str) -> str:
    """How old the newest frame was when the forecast was written, as people say it."""
    try:
        return f"{age_in_words(float(minutes))} when it was written"
    except ValueError:  # somebody else's words
        return minutes
