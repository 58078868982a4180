"""Rain made up for benchmarks: as textured, as dry and as incomplete as a radar's, the same for the
same seed.
"""

from pathlib import Path

import h5py
import numpy as np
import pyproj

from nowcast.data import examples

_PROJECTION = "+proj=laea +lat_0=50 +lon_0=10 +x_0=0 +y_0=0 +ellps=WGS84 +units=m"
_Z_R = (200.0, 1.6)  # of Marshall and Palmer, which the reader assumes
_GAIN, _OFFSET, _NO_DATA, _DRY = (
    0.5,
    -32.0,
    255,
    0,
)  # of reflectivities in 8 bits, as most services send them


def moving_rain(
    frames: int, rows: int, columns: int, *, seed: int = 0, gaps: bool = True
) -> np.ndarray:
    """The rain of ``nowcast.data.examples`` as one array.

    Args:
        frames, rows, columns: T, H, W.
        seed: of the noise.
        gaps: whether only an ellipse that touches the sides is observed, 79 % of the pixels; else
            all are.

    Returns:
        rain rate [mm/h], (T, H, W) float32: 0 below 0.1, at most 100, NaN = not observed.
    """
    values = np.empty((frames, rows, columns), np.float32)
    for frame, rain in zip(values, examples.moving_rain(rows, columns, seed=seed)):
        frame[:] = rain
    if gaps:
        height, width = ((2 * np.arange(n) + 1) / n - 1 for n in (rows, columns))
        values[:, np.hypot(height[:, None], width) > 1] = np.nan
    return values


def write_radar_files(values: np.ndarray, times: np.ndarray, folder: Path) -> list[Path]:
    """ODIM_H5 composites of 1 km, one file a frame: reflectivities in 8 bits, as most services send
    them.

    Args:
        values: rain rate [mm/h], (T, H, W), NaN = not observed.
        times: UTC, (T,) datetime64[s].
        folder: where to write them.
    """
    rows, columns = values.shape[1:]
    project = pyproj.Proj(_PROJECTION)
    left, top = -500.0 * columns, 500.0 * rows
    corners = {"UL": project(left, top, inverse=True), "LR": project(-left, -top, inverse=True)}
    where = {
        "projdef": _PROJECTION,
        "xsize": columns,
        "ysize": rows,
        "xscale": 1000.0,
        "yscale": 1000.0,
    }
    where |= {
        f"{name}_{axis}": degrees
        for name, point in corners.items()
        for axis, degrees in zip(("lon", "lat"), point)
    }
    paths = []
    for frame, time in zip(values, np.datetime_as_string(times.astype("datetime64[s]"))):
        with np.errstate(divide="ignore", invalid="ignore"):
            decibels = 10 * np.log10(_Z_R[0] * frame ** _Z_R[1])
            raw = np.where(
                frame > 0,
                np.clip(np.round((decibels - _OFFSET) / _GAIN), _DRY + 1, _NO_DATA - 1),
                _DRY,
            )
        raw = np.where(np.isnan(frame), _NO_DATA, raw).astype(np.uint8)
        date, clock = time.replace("-", "").replace(":", "").split("T")
        paths.append(folder / f"{date}{clock}.h5")
        with h5py.File(paths[-1], "w") as file:
            file.attrs["Conventions"] = "ODIM_H5/V2_2"
            file.create_dataset(
                "dataset1/data1/data", data=raw, compression="gzip", compression_opts=6
            )
            file.require_group("what").attrs.update(object="COMP", date=date, time=clock)
            file.require_group("where").attrs.update(where)
            file["dataset1"].create_group("what").attrs.update(
                quantity="DBZH", startdate=date, starttime=clock, enddate=date, endtime=clock
            )
            file["dataset1/data1"].create_group("what").attrs.update(
                gain=_GAIN, offset=_OFFSET, nodata=float(_NO_DATA), undetect=float(_DRY)
            )
    return paths
