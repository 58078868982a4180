"""Rain made up for benchmarks: as textured, as dry and as incomplete as a radar's, the same for the
same seed.
"""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import h5py
import numpy as np
import pyproj

from nowcast.data import examples
from nowcast.types.units import reflectivity_from_rain_rate

_PROJECTION = "+proj=laea +lat_0=50 +lon_0=10 +x_0=0 +y_0=0 +ellps=WGS84 +units=m"


@dataclass(frozen=True)
class _Coding:
    """Reflectivities as most services send them, in 8 bits.

    Args:
        z_r: a and b of Z = a R^b, of Marshall and Palmer, which the reader assumes.
        gain, offset: dBZ = gain x raw + offset.
        no_data, dry: raw values where nothing was observed, and where it does not rain.
    """

    z_r: tuple[float, float] = (200.0, 1.6)
    gain: float = 0.5
    offset: float = -32.0
    no_data: int = 255
    dry: int = 0

    def raw(self, rain_rate: np.ndarray) -> np.ndarray:
        """Rain rate [mm/h], NaN = not observed, as raw values."""
        reflectivity = reflectivity_from_rain_rate(rain_rate, *self.z_r)
        with np.errstate(invalid="ignore"):
            steps = np.round((reflectivity - self.offset) / self.gain)
            raw = np.where(rain_rate > 0, steps.clip(self.dry + 1, self.no_data - 1), self.dry)
        return np.where(np.isnan(rain_rate), self.no_data, raw).astype(np.uint8)


_CODING = _Coding()


def moving_rain(frames: int, rows: int, columns: int, *, seed: int = 0) -> np.ndarray:
    """The rain of ``nowcast.data.examples`` as one array; only an ellipse that touches the sides is
    observed, 79 % of the pixels.

    Args:
        frames: T.
        rows: H.
        columns: W.
        seed: of the noise.

    Returns:
        rain rate [mm/h], (T, H, W) float32: 0 below 0.1, at most 100, NaN = not observed.
    """
    values = np.stack(list(islice(examples.moving_rain(rows, columns, seed=seed), frames)))
    height, width = ((2 * np.arange(n) + 1) / n - 1 for n in (rows, columns))
    values[:, np.hypot(height[:, None], width) > 1] = np.nan
    return values


def write_radar_files(values: np.ndarray, times: np.ndarray, folder: Path) -> list[Path]:
    """ODIM_H5 composites of 1 km, one file a frame: reflectivities in 8 bits.

    Args:
        values: rain rate [mm/h], (T, H, W), NaN = not observed.
        times: UTC, (T,) datetime64[s].
        folder: where to write them.
    """
    where = _where(*values.shape[1:])
    paths = []
    for frame, time in zip(values, np.datetime_as_string(times.astype("datetime64[s]"))):
        date, clock = time.replace("-", "").replace(":", "").split("T")
        paths.append(folder / f"{date}{clock}.h5")
        with h5py.File(paths[-1], "w") as file:
            file.attrs["Conventions"] = "ODIM_H5/V2_2"
            file.create_dataset(
                "dataset1/data1/data",
                data=_CODING.raw(frame),
                compression="gzip",
                compression_opts=6,
            )
            file.require_group("what").attrs.update(object="COMP", date=date, time=clock)
            file.require_group("where").attrs.update(where)
            file["dataset1"].create_group("what").attrs.update(
                quantity="DBZH", startdate=date, starttime=clock, enddate=date, endtime=clock
            )
            file["dataset1/data1"].create_group("what").attrs.update(
                gain=_CODING.gain,
                offset=_CODING.offset,
                nodata=float(_CODING.no_data),
                undetect=float(_CODING.dry),
            )
    return paths


def _where(rows: int, columns: int) -> dict:
    """Attributes of a grid of 1 km around 50 N, 10 E."""
    project = pyproj.Proj(_PROJECTION)
    left, top = -500.0 * columns, 500.0 * rows
    found = {"projdef": _PROJECTION, "xsize": columns, "ysize": rows}
    found |= {"xscale": 1000.0, "yscale": 1000.0}
    for corner, x, y in (("UL", left, top), ("LR", -left, -top)):
        found[f"{corner}_lon"], found[f"{corner}_lat"] = project(x, y, inverse=True)
    return found
