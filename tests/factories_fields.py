"""Small rain fields, frames and forecasts for tests."""

import h5py
import numpy as np
import pytest

from nowcast.readers.odim_hdf5 import OdimHdf5
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Forecast, Frames, Grid

POLAR = "+proj=stere +lat_0=90 +lon_0=0 +lat_ts=60 +a=6378137 +b=6356752 +units=km"


def grid(height: int, width: int, crs: str = POLAR) -> Grid:
    """Cells of 1 unit; the first centre lies at x 0.5, y 50.5."""
    return Grid(crs, np.arange(width) + 0.5, 50.5 - np.arange(height))


def frames(values, start: str = "2010-08-26T23:50", crs: str = POLAR) -> Frames:
    """Frames every 5 minutes of values (T, H, W)."""
    values = np.asarray(values, np.float32)
    times = np.datetime64(start, "s") + np.arange(len(values)) * np.timedelta64(300, "s")
    return Frames(values, times, grid(*values.shape[1:], crs))


def forecast(values, analysis_time: str = "2010-08-26T23:55", crs: str = POLAR) -> Forecast:
    """A forecast every 5 minutes of values (T, H, W)."""
    values = np.asarray(values, np.float32)
    lead_times = np.arange(1, len(values) + 1) * np.timedelta64(300, "s")
    return Forecast(
        values, np.datetime64(analysis_time, "s"), lead_times, grid(*values.shape[1:], crs)
    )


def observed(path, **settings):
    """The frame of a file by our own reader, which refuses it while it says that it is a forecast."""
    with pytest.raises(
        UserError, match="is a forecast, not an observation: how/lead_time_minutes is"
    ):
        OdimHdf5(**settings).read(path)
    copy = path.with_name(f"observed_{path.name}")
    copy.write_bytes(path.read_bytes())
    with h5py.File(copy, "r+") as file:
        for name in ("lead_time_minutes", "analysis_time"):
            del file["how"].attrs[name]
        for name in [name for name in file if name.startswith("dataset")]:
            del file[name]["what"].attrs["prodname"]
    frames = OdimHdf5(**settings).read(copy)
    copy.unlink()
    return frames
