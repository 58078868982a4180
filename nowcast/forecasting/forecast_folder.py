"""The folder that a watch publishes to: forecasts by their cycle, and `latest`, which leads to the
newest.
"""

import contextlib
import os
import re
from pathlib import Path

import numpy as np

from nowcast.forecasting.products import Products
from nowcast.output.writers import WRITERS, writer_for
from nowcast.runtime.errors import UserError, first_line

_NAME = r"forecast_\d{8}T\d{6}Z(_\d+(min|s))?"
_PUBLISHED = re.compile(rf"{_NAME}({'|'.join(map(re.escape, WRITERS))})", re.ASCII)
# What a process left that was killed while writing.
_LEFTOVERS = re.compile(
    rf"\.({_NAME}|status\.json|calibration\.npz|latest|index\.html|page\.(css|js))\..*", re.ASCII
)


class ForecastFolder:
    """Forecasts of several cycles, each in one or more formats.

    Args:
        path: the folder.
        formats: suffixes without the dot; `latest` points to files of each.
        keep: forecasts that stay; older ones are deleted.
    """

    def __init__(self, path: Path, formats: list[str], keep: int):
        self.path, self.formats, self.keep = path, formats, keep
        self.latest: str | None = None  # name of the newest forecast, in the first of its formats

    def open(self) -> None:
        """Take up what another process left: the latest forecast, and files to be removed."""
        for path in self.path.iterdir():
            if _LEFTOVERS.fullmatch(path.name):
                _remove(path)
        for suffix in self.formats:
            link = self.path / f"latest.{suffix}"
            if link.is_symlink() and link.exists():
                self.latest = os.readlink(link)
                return

    def publish(
        self, products: Products, cycle: np.datetime64, attributes: dict[str, str]
    ) -> list[str]:
        """Write a forecast, point `latest` to it, and delete the oldest ones.

        Args:
            products: the forecast.
            cycle: which gives the files their names; those that it has already are replaced.
            attributes: texts about it.

        Returns:
            A sentence for each format that could not be written.

        Raises:
            UserError: none could be written.
        """
        name = f"forecast_{re.sub('[-:]', '', str(cycle.astype('datetime64[s]')))}Z"
        self._prune(keep=self.keep - 1)  # first, so that a full disk finds room
        written, failed = [], []
        for suffix in self.formats:
            path = self.path / f"{name}.{suffix}"
            try:
                files = writer_for(path).write(products, path, attributes=attributes)
                written += [file.name for file in files]
                if len(files) == 1:
                    self._point_latest_to(files[0].name)
            # Whatever a format's library refuses: the others are there, and a folder that knows no
            # links has the forecasts.
            except Exception as error:
                failed.append(f"{suffix}: {first_line(error)}")
        if not written:
            raise UserError("; ".join(failed))
        for path in self._forecasts().get(name, []):
            if path.name not in written:
                _remove(path)  # of an earlier forecast of this cycle, with more lead times
        for link in self._links():
            if os.readlink(link) not in written:
                _remove(link)  # of a format that is not written any more, or was not this time
        self.latest = written[0]
        self._prune(keep=self.keep)
        return failed

    def _point_latest_to(self, name: str) -> None:
        """`latest.SUFFIX` becomes a link to a forecast, in one step."""
        link = self.path / f"latest{Path(name).suffix}"
        new = link.with_name(f".{link.name}.new")
        new.unlink(missing_ok=True)
        os.symlink(name, new)
        os.replace(new, link)

    def _links(self) -> list[Path]:
        return [link for link in self.path.glob("latest.*") if link.is_symlink()]

    def _forecasts(self) -> dict[str, list[Path]]:
        """Files of forecasts, by the beginning of their names up to the cycle."""
        found = {}
        for path in self.path.iterdir():
            if _PUBLISHED.fullmatch(path.name) and path.is_file() and not path.is_symlink():
                found.setdefault(path.name[: path.name.index("Z") + 1], []).append(path)
        return found

    def _prune(self, *, keep: int) -> None:
        """Delete the oldest forecasts, and nothing else; what `latest` leads to stays until there
        is a newer one.
        """
        found = self._forecasts()
        current = {self.latest, *map(os.readlink, self._links())}
        for name in sorted(found)[: max(0, len(found) - keep)]:
            for path in found[name]:
                if path.name not in current:
                    _remove(path)


def _remove(path: Path) -> None:
    """Delete a file; one that cannot be deleted stays."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
