"""What online calibration knows, in a file beside the forecasts of a watch: it lives on when the
watch is started again.
"""

import math
import zipfile
from pathlib import Path

import numpy as np

from nowcast.forecasting.calibration import History, Issued, Verified
from nowcast.forecasting.calibration_fit import BINS, MISSING
from nowcast.forecasting.recalibration import RATES
from nowcast.runtime.errors import UserError, first_line
from nowcast.runtime.files import replacing
from nowcast.types.frames import Grid

FILE = "calibration.npz"
VERSION = 1


def save_history(history: History, folder: Path) -> None:
    """Write it, whole or not at all.

    Raises:
        UserError: the file cannot be written.
    """
    if history.grid is None:
        return
    verified, issued = history.verified, history.issued
    longest = max((one.valid_times.size for one in issued.values()), default=0)
    valid_times = np.full((len(issued), longest), np.datetime64("NaT"), "datetime64[s]")
    rows, columns = _thinned_shape(history)
    bins = np.full((len(issued), 2, len(RATES), longest, rows, columns), MISSING, np.uint8)
    for number, one in enumerate(issued.values()):
        leads = one.valid_times.size
        valid_times[number, :leads] = one.valid_times
        bins[number, :, :, :leads] = one.bins
    counts = np.zeros((len(verified), 2, len(RATES), 2, BINS), np.uint32)
    for number, seen in enumerate(verified.values()):
        counts[number] = seen.counts
    with replacing(folder / FILE) as path:
        np.savez_compressed(
            path,
            version=np.int64(VERSION),
            model=np.str_(history.model),
            rates=np.array(RATES),
            crs=np.str_(history.grid.crs),
            x=history.grid.x,
            y=history.grid.y,
            timestep=history.timestep.astype("timedelta64[s]"),
            verified_times=np.array(list(verified), "datetime64[s]"),
            verified_forecasts=np.array([seen.forecasts for seen in verified.values()], np.int64),
            verified_counts=counts,
            analysis_times=np.array(list(issued), "datetime64[s]"),
            valid_times=valid_times,
            bins=bins,
        )


def load_history(folder: Path) -> tuple[History | None, str | None]:
    """What the file of a folder knows.

    Returns:
        (the history, None); (None, None) where there is no file; (None, why) where it cannot be
        used.
    """
    path = folder / FILE
    if not path.exists():
        return None, None
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError("it is not a file of nowcast, or damaged")
        with np.load(path, allow_pickle=False) as stored:
            return _read(stored), None
    except (ValueError, UserError) as error:
        reason = first_line(error)
    # whatever a damaged file makes of the libraries that read it: a watch goes on
    except Exception as error:
        reason = f"it is damaged: {type(error).__name__}"
    return None, f"{path} cannot be used ({reason}); calibration starts afresh"


def _read(stored: "np.lib.npyio.NpzFile") -> History:
    """From the arrays of a file; ValueError where they do not fit together."""
    version = int(stored["version"])
    if version != VERSION:
        raise ValueError(f"it has version {version}, expected {VERSION}")
    if not np.array_equal(stored["rates"], RATES):
        raise ValueError(f"it is of the rates {stored['rates'].tolist()}, expected {list(RATES)}")
    grid = Grid(str(stored["crs"]), stored["x"], stored["y"])
    history = History(str(stored["model"]), grid, stored["timestep"][()])
    times, forecasts = stored["verified_times"], stored["verified_forecasts"]
    counts = stored["verified_counts"]
    analysis_times, valid_times = stored["analysis_times"], stored["valid_times"]
    bins = stored["bins"]
    each = (2, len(RATES))
    expected = (
        (forecasts.shape, times.shape),
        (counts.shape, (times.size, *each, 2, BINS)),
        (valid_times.shape[:1], analysis_times.shape),
        (
            bins.shape,
            (*valid_times.shape[:1], *each, *valid_times.shape[1:], *_thinned_shape(history)),
        ),
    )
    if any(got != wanted for got, wanted in expected) or bins.dtype != np.uint8:
        raise ValueError("its arrays do not fit together")
    known = (bins < BINS) | (bins == MISSING)
    positive = history.timestep > np.timedelta64(0, "s")  # not so of NaT
    # a pixel counts once in each forecast
    most = forecasts * math.prod(_thinned_shape(history))
    too_many = counts.sum(axis=-1, dtype=np.float64) > most[:, None, None, None]
    if (forecasts < 1).any() or not positive or not known.all() or too_many.any():
        raise ValueError("its numbers are impossible")
    for number, time in enumerate(times):
        seen = Verified(int(forecasts[number]), counts[number].astype(np.float64))
        history.verified[time] = seen
    for number, time in enumerate(analysis_times):
        known = ~np.isnat(valid_times[number])
        issued = Issued(valid_times[number][known], bins[number][:, :, known])
        history.issued[time] = issued
    return history


def _thinned_shape(history: History) -> tuple[int, int]:
    """Of the fields of pixels that are compared."""
    pixels = history.thinned(np.broadcast_to(np.False_, history.grid.shape))
    return pixels.shape
