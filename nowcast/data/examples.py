"""Files to try things with: made-up rain in the form of the Italian Civil Protection's surface-rain
composites.

    python -m nowcast.data.examples FOLDER

writes twelve hours of them. They say as little of themselves as the real ones: a field of rain
rates [mm/h] at /dataset1/data1/data, -9999 where no radar looks, and the time in the file's name.
conf/reader/civil_protection.yaml has the rest. Their rain moves evenly, which flatters every kind
of extrapolation: it shows that the parts fit together, not which forecast is the better one.
"""

import argparse
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import h5py
import numpy as np

from nowcast.runtime.errors import UserError
from nowcast.runtime.files import replacing

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
    rows, columns = shape
    if min(frames, rows, columns) < 1:
        raise UserError(
            f"{frames} frames of {rows} rows and {columns} columns were asked for; at least one "
            "of each is needed."
        )
    y, x = (np.arange(rows)[:, None] + 0.5) / rows, (np.arange(columns) + 0.5) / columns
    observed = np.zeros(shape, bool)
    for row, column in zip(_RADAR_ROWS, _RADAR_COLUMNS, strict=True):
        observed |= np.hypot((y - row) * rows, (x - column) * columns) <= _RANGE * max(shape)
    paths = []
    for index, frame in enumerate(islice(moving_rain(rows, columns, seed=seed), frames)):
        time = f"{(_START + index * _TIMESTEP).item():%Y%m%d%H%M}"
        paths.append(Path(folder) / f"SRI_{time}.h5")
        values = np.where(observed, np.round(frame, 2), np.float32(MISSING))
        with replacing(paths[-1]) as temporary, h5py.File(temporary, "w") as file:
            file.create_dataset("dataset1/data1/data", data=values, compression="gzip")
    return paths


def main(arguments: list[str] | None = None) -> None:
    """The command line; a user's mistake is one line on stderr and exit code 2."""
    parser = argparse.ArgumentParser(
        prog="python -m nowcast.data.examples",
        description="Write made-up rain in the form of the Italian Civil Protection's composites.",
    )
    parser.add_argument("folder", help="where to write the files")
    for name, default in (("frames", 144), ("rows", 1400), ("columns", 1200), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default: {default}")
    given = parser.parse_args(arguments)
    try:
        paths = write_civil_protection_files(
            given.folder, frames=given.frames, shape=(given.rows, given.columns), seed=given.seed
        )
    except UserError as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")
    sys.stdout.write(
        f"wrote {len(paths)} files, {paths[0]} to {paths[-1].name}, "
        f"{sum(path.stat().st_size for path in paths) / 1e6:.1f} MB\n"
    )


if __name__ == "__main__":
    main()
