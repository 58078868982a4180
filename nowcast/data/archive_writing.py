"""An archive as a CF NetCDF-4 file, written from frames that are packed already.

All its data are compressed and its metadata checksummed (HDF5 1.10 layout), so that damage shows as
an error, not as a dry frame.
"""

import json
from collections.abc import Iterable
from pathlib import Path

import h5netcdf
import h5py
import numpy as np

import nowcast
from nowcast.data.packed_frames import DISCARDED, LIBVER, RATES, StoredFrame, layout
from nowcast.runtime.files import require_space
from nowcast.types.cf_grid import axis_attributes, grid_mapping
from nowcast.types.frames import Grid
from nowcast.types.places import projection

MARK = "nowcast_archive_version"
VERSION = 2
_MOST_REMARKS = 100  # they differ where files state different numbers; some are enough
_DISCARDED = {
    "long_name": "pixels that became missing because the file has them negative or "
    "implausibly high",
    "units": "1",
}
_TIME = {
    "standard_name": "time",
    "long_name": "time of the frame; of an accumulation, the end of its interval",
    "units": "seconds since 1970-01-01 00:00:00",
    "calendar": "standard",
    "axis": "T",
}
_RATE = {
    "standard_name": "rainfall_rate",
    "long_name": "rain rate, missing where not observed",
    "units": "mm h-1",
    "grid_mapping": "crs",
}
_DIGEST = {"long_name": "first eight bytes of the SHA-256 of the file the frame was read from"}
_SOURCE = {"long_name": "name of the file the frame was read from", "_Encoding": "utf-8"}


def write_archive(
    frames: list[StoredFrame],
    path: Path,
    *,
    grid: Grid,
    quantity: str,
    settings: dict,
    remarks: Iterable[str] = (),
) -> None:
    """Write an archive from packed frames, which are copied as they are packed.

    The same frames, grid, quantity, settings and remarks give the same bytes.

    Args:
        frames: in time order, each time once.
        path: the file to write; it is overwritten.
        grid: of all of them.
        quantity: what the radar files held.
        settings: how they were read; anything JSON can hold.
        remarks: how unusual statements of the files were understood.
    """
    require_space(path, 1024 * len(frames))
    with h5netcdf.File(path, "w", libver=LIBVER) as file:
        file.dimensions = {"time": None, "y": grid.shape[0], "x": grid.shape[1]}
        file.resize_dimension("time", len(frames))
        file.attrs["Conventions"] = "CF-1.11"
        file.attrs["title"] = "Rain rates observed by radar"
        # without a time: the same frames, the same bytes
        file.attrs["history"] = f"converted from radar files by nowcast {nowcast.__version__}"
        file.attrs[MARK] = VERSION
        texts = {
            "projection": grid.crs,
            "quantity": quantity,
            "settings": json.dumps(settings, sort_keys=True),
        }
        kept = sorted(remarks)[:_MOST_REMARKS]
        if kept:  # most archives have none, and stay as an older nowcast wrote them
            texts["remarks"] = json.dumps(kept)
        for name, text in texts.items():
            # of fixed length, at the root: covered by a checksum
            file.attrs[name] = np.bytes_(text.encode())
        _write_grid(file, grid)
        _write_frames(file, frames)
        chunks = layout(*grid.shape)
        fill = np.float32(np.nan)
        _variable(file, RATES, ("time", "y", "x"), np.float32, _RATE, fillvalue=fill, **chunks)
    # h5netcdf cannot write packed chunks as they are, h5py can
    with h5py.File(path, "r+", libver=LIBVER) as file:
        for index, frame in enumerate(frames):
            require_space(path, 4 * grid.shape[0] * grid.shape[1])
            frame.copy_to(file[RATES], index)


def _variable(
    file: h5netcdf.File, name: str, dimensions: tuple, kind, attributes: dict, **settings
):
    stored = {"compression": "gzip", "compression_opts": 4, "shuffle": True} | settings
    variable = file.create_variable(name, dimensions, kind, **stored)
    variable.attrs.update(attributes)
    return variable


def _write_grid(file: h5netcdf.File, grid: Grid) -> None:
    crs = projection(grid.crs)
    file.create_variable("crs", (), np.int32).attrs.update(grid_mapping(crs))
    for axis, centres, attributes in zip("xy", (grid.x, grid.y), axis_attributes(crs)):
        _variable(file, axis, (axis,), np.float64, attributes, chunks=(centres.size,))[:] = centres


def _write_frames(file: h5netcdf.File, frames: list[StoredFrame]) -> None:
    """What is known of each frame but its rain rates."""

    def write(name: str, values: np.ndarray, attributes: dict) -> None:
        _variable(file, name, ("time",), np.int64, attributes, chunks=(1024,))[:] = values

    times = np.array([frame.time for frame in frames], "datetime64[s]")
    write("time", times.astype(np.int64), _TIME)
    _write_names(file, [frame.origin.name for frame in frames])
    write("source_digest", np.array([frame.origin.digest for frame in frames], np.int64), _DIGEST)
    discarded = np.array([frame.discarded for frame in frames], np.int64)
    if discarded.any():  # most archives have none, and stay as an older nowcast wrote them
        write(DISCARDED, discarded, _DISCARDED)


def _write_names(file: h5netcdf.File, names: list[str]) -> None:
    """Names of files as CF's characters: deflated like everything else, where variable-length text
    would lie bare.
    """
    encoded = [name.encode(errors="replace") for name in names]
    length = max(map(len, encoded))
    file.dimensions["source_length"] = length
    text = b"".join(name.ljust(length, b"\0") for name in encoded)
    characters = np.frombuffer(text, "S1").reshape(len(names), length)
    settings = {"chunks": (256, length), "shuffle": False}
    _variable(file, "source", ("time", "source_length"), "S1", _SOURCE, **settings)[:] = characters
