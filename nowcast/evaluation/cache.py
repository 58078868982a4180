"""Forecasts of slow baselines, kept by what they were made from: the same context, model and
settings never run twice.
"""

import hashlib
import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

import nowcast
from nowcast.evaluation.storage import opened, save
from nowcast.runtime.errors import UserError

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
        made_by = f"{nowcast.__version__} {_METHODS}\n{_pysteps_version()}\n{model}"
        about = f"{made_by}\n{forecast_length}\n{context.shape}\n"
        digest = hashlib.blake2b(about.encode(), digest_size=20)
        digest.update(np.ascontiguousarray(context, np.float32).view(np.uint8).data)
        return digest.hexdigest()

    def get(self, key: str) -> np.ndarray | None:
        """A kept forecast, or None; one that is damaged counts as none."""
        path = self._path(key)
        if not path.is_file():
            return None
        try:
            with opened(path) as file:
                values = file.array("forecast")
            os.utime(path)  # those used longest ago are deleted first
        except (UserError, OSError):
            return None
        return values

    def put(self, key: str, forecast: np.ndarray) -> None:
        """Keep a forecast; where the disk is full it is not kept, and the evaluation goes on."""
        try:
            save(self._path(key), {}, {"forecast": forecast})
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
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self.limit:
                return
            path.unlink(missing_ok=True)
            total -= size

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.h5"


def _pysteps_version() -> str:
    try:
        return version("pysteps")
    except PackageNotFoundError:
        return "none"
