"""Composites stored as zarr (version 2 or 3), a folder or a zip file, with rain that follows the CF
conventions.

No codec that could run code is used. A chunk that is not there reads as the array's fill value,
whether its writer left it out or a copy lost it; it is taken for missing where that value means
missing, and refused where it would become dry, unless the settings say that it is.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from nowcast.readers.cf.groups import ancestors, group_with_rain
from nowcast.readers.cf.reader import CfReader
from nowcast.readers.cf.source import Source, Variable
from nowcast.readers.content import damage_reported
from nowcast.readers.zarr_arrays import StoredArray
from nowcast.readers.zarr_files import files_of
from nowcast.runtime.errors import UserError


@dataclass(frozen=True)
class ZarrComposite(CfReader):
    """Reader for zarr folders (or zip files) with rain rate, rain depth or reflectivity by standard
    name and units.

    Args:
        variable, minutes, z_r_a, z_r_b, units, missing, crs, x, y, dx, dy, time: as in `CfReader`.
        fill_is_dry: an array's fill value of 0 means dry, and so do chunks that are not there; else
            both are refused.
    """

    fill_is_dry: bool = False
    format = "zarr (CF rain rate, rain depth or reflectivity)"
    name = "zarr_composite"

    def opens(self, path: str | Path) -> bool:
        """Whether it is a store of zarr; never raises."""
        try:
            files_of(Path(path))
        except (UserError, OSError, ValueError):
            return False
        return True

    @contextmanager
    def opened(self, path: str | Path) -> Iterator[tuple[Source, str | None]]:
        """(arrays of the group of a store that has the rain, open for reading; name of that with
        the rain, None if not set).

        Raises:
            UserError: no store of zarr, no such group, or damage.
        """
        path = Path(path)
        with damage_reported(path):
            files = files_of(path)
            import zarr

            if path.is_dir():
                store = zarr.storage.LocalStore(path, read_only=True)
            else:
                store = zarr.storage.ZipStore(path, mode="r")

            # consolidated metadata may be older than the arrays that they describe
            @cache
            def node(group: str):
                return zarr.open_group(store, path=group, mode="r", use_consolidated=False)

            @cache
            def members(group: str) -> dict[str, Variable]:
                found = {}
                for name, array in node(group).arrays():
                    found[name] = StoredArray(
                        path, name, array, files, self.fill_is_dry
                    ).as_variable()
                return found

            try:
                group, name = group_with_rain(path, files.groups, members, self.variable)
                seen, attributes = {}, {}
                for outer in ancestors(group):
                    seen |= members(outer)
                    attributes |= dict(node(outer).attrs)
                own = frozenset(members(group))
                yield Source(path, seen, False, attributes, group, own), name
            finally:
                store.close()
