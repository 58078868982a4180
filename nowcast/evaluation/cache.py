"""Forecasts of slow baselines, kept by what they were made from: the same context, model and
settings never run twice.
"""

import hashlib
import io
import os
from pathlib import Path

import h5py
import numpy as np

import nowcast
from nowcast.runtime.errors import UserError
from nowcast.runtime.files import replacing

# raised when the baselines forecast in another way, so that what they made before is not taken
_METHODS = 2
_PRUNE_EVERY = 64  # new files, between two looks at the size of the folder


class ForecastCache:
    """A folder of forecasts.

    Args:
        folder: made on first use.
        limit: bytes; the forecasts used longest ago go when there are more.
    """

    def __init__(self, folder: Path, limit: float):
        self.folder, self.limit, self._added = folder, limit, 0

    def key(self, model: str, context: np.ndarray, forecast_length: int) -> str:
        """Name of the forecast that a model makes of a context (T, H, W): the digest of everything
        that decides it.

        Args:
            model: its class and settings, in words.
            context: physical values, NaN = not observed.
            forecast_length: number of leads.
        """
        digest = hashlib.blake2b(
            f"{nowcast.__version__} "
            f"{_METHODS}\n{_pysteps_version()}\n{model}\n{forecast_length}\n{context.shape}\n".encode(),
            digest_size=20,
        )
        digest.update(np.ascontiguousarray(context, np.float32).view(np.uint8).data)
        return digest.hexdigest()

    def get(self, key: str) -> np.ndarray | None:
        """A kept forecast, or None; one that is damaged counts as none."""
        path = self._path(key)
        try:
            with h5py.File(path, "r") as file:
                values = file["forecast"][()]
            os.utime(path)
            return values
        except (OSError, KeyError, RuntimeError):
            return None

    def put(self, key: str, forecast: np.ndarray) -> None:
        """Keep a forecast; where the disk is full it is not kept, and the evaluation goes on."""
        content = io.BytesIO()  # on a full disk HDF5 can crash, while writing bytes raises
        with h5py.File(content, "w") as file:
            chunks = (1,) * (forecast.ndim - 2) + forecast.shape[-2:]
            file.create_dataset(
                "forecast",
                data=forecast,
                chunks=chunks,
                compression="gzip",
                compression_opts=1,
                shuffle=True,
                fletcher32=True,
            )
        try:
            with replacing(self._path(key)) as temporary:
                temporary.write_bytes(content.getbuffer())
        except UserError:
            return
        self._added += 1
        if self._added % _PRUNE_EVERY == 1:
            self.prune()

    def prune(self) -> None:
        """Delete the forecasts used longest ago, until the folder keeps to its limit."""
        found = []
        for path in self.folder.glob("*/*.h5"):
            try:
                status = path.stat()
            except OSError:
                continue  # another process deleted it
            found.append((status.st_mtime, status.st_size, path))
        size = sum(entry[1] for entry in found)
        for _, bytes_, path in sorted(found):
            if size <= self.limit:
                return
            path.unlink(missing_ok=True)
            size -= bytes_

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.h5"


def _pysteps_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("pysteps")
    except PackageNotFoundError:
        return "none"
