"""What a file holds, in lines to read: an archive, a forecast, or a radar file of any service."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nowcast.data import inspection
from nowcast.data.archive import is_archive
from nowcast.data.tolerant import Tolerant
from nowcast.output.netcdf import is_forecast, read_attributes, read_forecast
from nowcast.output.provenance import GAPS
from nowcast.types.tolerance import DEFAULT, Tolerance

_ORIGIN = (
    "method",
    "fallback_reason",
    "model",
    "model_sha256",
    "input_files",
    "data_age_minutes",
    GAPS,
)  # what a forecast says of itself


@dataclass(frozen=True)
class Contents:
    """Reads a file as lines of text instead of frames, in a
    ``nowcast.data.reading.ReadingProcess``, too.

    Args:
        reader: of radar files.
        tolerance: how far their values, coordinates and times may be off.
    """

    reader: object
    tolerance: Tolerance = DEFAULT

    def read(self, path: str | Path) -> str:
        """What a file holds.

        Raises:
            UserError: no file that is known here, or a damaged one.
        """
        if is_archive(path):
            return inspection.info(path)
        if is_forecast(path):
            return _of_forecast(path)
        reader = self.reader.choose(path) if hasattr(self.reader, "choose") else self.reader
        return inspection.info_of_frames(
            Tolerant(reader, self.tolerance).read(path), reader.format, self.tolerance
        )


def _of_forecast(path: str | Path) -> str:
    """What a forecast holds, and what it says of its origin."""
    forecast, attributes = read_forecast(path), read_attributes(path)
    lead = forecast.lead_times / np.timedelta64(60, "s")
    entries = {
        "forecast": str(path),
        "analysis": f"{forecast.analysis_time} UTC",
        "lead times": f"{len(lead)}, {lead[0]:g} to {lead[-1]:g} min",
    }
    entries |= {name: attributes[name] for name in _ORIGIN if name in attributes}
    return inspection.in_lines(
        entries
        | inspection.info_of_fields(
            forecast.values, forecast.grid, "nothing: no pixel has a forecast at any lead time"
        )
    )
