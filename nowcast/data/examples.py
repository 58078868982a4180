"""Files to try things with: made-up rain in two forms of radar files.

    python -m nowcast.data.examples FOLDER
    python -m nowcast.data.examples FOLDER --format odim

The first writes twelve hours of surface-rain composites as those of the Italian Civil Protection.
They say as little of themselves as the real ones: a field of rain rates [mm/h] at
/dataset1/data1/data, -9999 where no radar looks, and the time in the file's name.
conf/reader/civil_protection.yaml has the rest.

The second writes eight hours of one radar as ODIM_H5, the exchange format of European weather
radars: reflectivities in half decibels, with time, grid and marks in the file.

Their rain moves evenly, which flatters every kind of extrapolation: it shows that the parts fit
together, not which forecast is the better one.
"""

import argparse
import sys
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path

import h5py
import numpy as np
import pyproj

from nowcast.runtime.errors import UserError
from nowcast.runtime.files import replacing
from nowcast.types.units import reflectivity_from_rain_rate

MISSING = -9999.0
_TIMESTEP = np.timedelta64(5, "m")
_START = np.datetime64("2026-11-25T00:00")
# exponent of the amplitude spectrum; wave number below which it is flat [1/pixel]
_SLOPE, _LARGEST = -1.6, 0.004
_MOTION = (1.4, 3.2)  # rows and columns a frame
_MEMORY = 0.98  # correlation of one frame with the next, in its own motion
_DECIBELS = 12.0  # standard deviation
_WET, _DRIEST, _HEAVIEST = 0.2, 0.1, 100.0  # share of wet pixels, mm/h, mm/h
_RADAR_ROWS = (0.20, 0.22, 0.36, 0.48, 0.60, 0.76, 0.62, 0.86)  # shares of the grid
_RADAR_COLUMNS = (0.28, 0.50, 0.42, 0.52, 0.64, 0.72, 0.24, 0.56)
_RANGE = 0.16  # of a radar, a share of the longer side
_ODIM_CRS = "+proj=laea +lat_0=47 +lon_0=11 +x_0=0 +y_0=0 +ellps=WGS84 +units=m"
_ODIM_RANGE = 0.5  # of its single radar, in the middle, likewise
_ODIM_GAIN, _ODIM_OFFSET, _ODIM_NODATA, _ODIM_UNDETECT = 0.5, -32.0, 255, 0  # as usual in 8 bits


def moving_rain(rows: int, columns: int, *, seed: int = 0) -> Iterator[np.ndarray]:
    """Rain that moves, grows and decays: filtered noise, a fifth of the pixels wet. Frames without
    end, the same for the same seed.

    Yields:
        rain rate [mm/h], (H, W) float32: 0 below 0.1, at most 100.
    """
    generator = np.random.default_rng(seed)
    y, x = np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(columns)
    amplitude = (np.hypot(y, x) + _LARGEST) ** _SLOPE
    amplitude[0, 0] = 0
    step = np.exp(-2j * np.pi * (y * _MOTION[0] + x * _MOTION[1]))

    def noise() -> np.ndarray:
        return np.fft.rfft2(generator.standard_normal((rows, columns))) * amplitude

    spectrum = noise()
    first = np.fft.irfft2(spectrum, s=(rows, columns))
    level, scale = np.quantile(first, 1 - _WET), _DECIBELS / max(first.std(), 1e-12)
    highest = 10 * np.log10(_HEAVIEST / _DRIEST)
    while True:
        field = np.fft.irfft2(spectrum, s=(rows, columns))
        spectrum = _MEMORY * spectrum * step + (1 - _MEMORY**2) ** 0.5 * noise()
        rain = _DRIEST * 10 ** (np.minimum((field - level) * scale, highest) / 10)
        yield np.where(rain >= _DRIEST, rain, 0).astype(np.float32)


def write_civil_protection_files(
    folder: str | Path, *, frames: int = 144, shape: tuple[int, int] = (1400, 1200), seed: int = 0
) -> list[Path]:
    """Write one HDF5 file every five minutes from 2026-11-25 00:00 UTC, SRI_202611250000.h5 and so
    on.

    Args:
        folder: where to write them; made where it is missing.
        frames: number of files.
        shape: rows and columns.
        seed: of the rain.

    Raises:
        UserError: numbers below 1, or a folder that cannot be written to.
    """
    _refuse_none(frames, shape)
    rows, columns = shape
    y, x = (np.arange(rows)[:, None] + 0.5) / rows, (np.arange(columns) + 0.5) / columns
    observed = np.zeros(shape, bool)
    for row, column in zip(_RADAR_ROWS, _RADAR_COLUMNS, strict=True):
        observed |= np.hypot((y - row) * rows, (x - column) * columns) <= _RANGE * max(shape)
    paths = []
    for time, frame in _timed_rain(frames, shape, seed):
        paths.append(Path(folder) / f"SRI_{time:%Y%m%d%H%M}.h5")
        values = np.where(observed, np.round(frame, 2), np.float32(MISSING))
        with replacing(paths[-1]) as temporary, h5py.File(temporary, "w") as file:
            file.create_dataset("dataset1/data1/data", data=values, compression="gzip")
    return paths


def write_odim_files(
    folder: str | Path, *, frames: int = 96, shape: tuple[int, int] = (160, 160), seed: int = 0
) -> list[Path]:
    """Write one ODIM_H5 composite every five minutes from 2026-11-25 00:00 UTC,
    radar_202611250000.h5 and so on: reflectivities (DBZH) on pixels of 1 km around one radar in the
    Alps, which sees a circle.

    Args:
        folder: where to write them; made where it is missing.
        frames: number of files.
        shape: rows and columns.
        seed: of the rain.

    Raises:
        UserError: numbers below 1, or a folder that cannot be written to.
    """
    _refuse_none(frames, shape)
    y, x = (np.arange(side) - (side - 1) / 2 for side in shape)
    observed = np.hypot(y[:, None], x) <= _ODIM_RANGE * max(shape)
    where, paths = _odim_place(shape), []
    for time, frame in _timed_rain(frames, shape, seed):
        paths.append(Path(folder) / f"radar_{time:%Y%m%d%H%M}.h5")
        moment = {"date": f"{time:%Y%m%d}", "time": f"{time:%H%M%S}"}
        groups = {
            "what": {"object": "COMP", "version": "H5rad 2.4", "source": "CMT:made-up", **moment},
            "where": where,
            "dataset1/what": {"product": "SURF"} | {f"end{key}": moment[key] for key in moment},
            "dataset1/data1/what": {
                "quantity": "DBZH",
                "gain": _ODIM_GAIN,
                "offset": _ODIM_OFFSET,
                "nodata": float(_ODIM_NODATA),
                "undetect": float(_ODIM_UNDETECT),
            },
        }
        with replacing(paths[-1]) as temporary, h5py.File(temporary, "w") as file:
            file.attrs["Conventions"] = "ODIM_H5/V2_4"
            for name, attributes in groups.items():
                file.create_group(name).attrs.update(attributes)
            codes = np.where(observed, _odim_codes(frame), np.uint8(_ODIM_NODATA))
            file["dataset1/data1"].create_dataset("data", data=codes, compression="gzip")
    return paths


def _odim_codes(rain: np.ndarray) -> np.ndarray:
    """Rain rates [mm/h] as reflectivities in 8 bits."""
    wet = rain > 0
    decibels = reflectivity_from_rain_rate(np.where(wet, rain, 1.0), 200.0, 1.6)
    codes = np.round((decibels - _ODIM_OFFSET) / _ODIM_GAIN)
    return np.where(wet, codes, _ODIM_UNDETECT).astype(np.uint8)


def _odim_place(shape: tuple[int, int]) -> dict:
    """ODIM's where: the projection, the number and size of the pixels, and the outer corners."""
    half_height, half_width = (500.0 * side for side in shape)
    place = {"projdef": _ODIM_CRS, "xscale": 1000.0, "yscale": 1000.0}
    place |= {"xsize": shape[1], "ysize": shape[0]}
    projection = pyproj.Proj(_ODIM_CRS)
    for corner in ("LL", "UL", "UR", "LR"):
        x = half_width if corner.endswith("R") else -half_width
        y = half_height if corner.startswith("U") else -half_height
        place[f"{corner}_lon"], place[f"{corner}_lat"] = projection(x, y, inverse=True)
    return place


def _timed_rain(
    frames: int, shape: tuple[int, int], seed: int
) -> Iterator[tuple[datetime, np.ndarray]]:
    """Times, and rain rates [mm/h]."""
    for index, frame in enumerate(islice(moving_rain(*shape, seed=seed), frames)):
        yield (_START + index * _TIMESTEP).item(), frame


def _refuse_none(frames: int, shape: tuple[int, int]) -> None:
    rows, columns = shape
    if min(frames, rows, columns) < 1:
        raise UserError(
            f"{frames} frames of {rows} rows and {columns} columns were asked for; at least one "
            "of each is needed."
        )


_FORMATS = {  # what writes them, and how many and how large they are where nothing is typed
    "civil_protection": (
        write_civil_protection_files,
        {"frames": 144, "rows": 1400, "columns": 1200},
    ),
    "odim": (write_odim_files, {"frames": 96, "rows": 160, "columns": 160}),
}


def main(arguments: list[str] | None = None) -> None:
    """The command line; a user's mistake is one line on stderr and exit code 2."""
    parser = argparse.ArgumentParser(
        prog="python -m nowcast.data.examples", description="Write radar files with made-up rain."
    )
    parser.add_argument("folder", help="where to write the files")
    parser.add_argument(
        "--format",
        choices=_FORMATS,
        default="civil_protection",
        help="composites of the Italian Civil Protection (the default), or ODIM_H5 of one radar",
    )
    for name in ("frames", "rows", "columns"):
        usual = [f"{sizes[name]} ({choice})" for choice, (_, sizes) in _FORMATS.items()]
        parser.add_argument(f"--{name}", type=int, help=f"default: {', '.join(usual)}")
    parser.add_argument("--seed", type=int, default=0, help="of the rain; default: 0")
    given = parser.parse_args(arguments)
    write, sizes = _FORMATS[given.format]
    sizes = sizes | {name: typed for name in sizes if (typed := getattr(given, name)) is not None}
    try:
        paths = write(
            given.folder,
            frames=sizes["frames"],
            shape=(sizes["rows"], sizes["columns"]),
            seed=given.seed,
        )
    except UserError as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")
    sys.stdout.write(
        f"wrote {len(paths)} files, {paths[0]} to {paths[-1].name}, "
        f"{sum(path.stat().st_size for path in paths) / 1e6:.1f} MB\n"
    )


if __name__ == "__main__":
    main()
