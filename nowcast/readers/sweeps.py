"""NetCDF and HDF5 files with sweeps of a radar in polar coordinates, which are refused by name."""

import re
from pathlib import Path

from nowcast.readers.content import stored_beginning
from nowcast.readers.hdf5 import Hdf5File, is_hdf5
from nowcast.runtime.errors import UserError

_CLASSIC = (b"CDF\x01", b"CDF\x02", b"CDF\x05")
_HEADER = 2**16  # bytes of a NetCDF-3 file in which its attributes stand
_RADIAL = re.compile(r"CF/?-?Radial|RadialSet", re.IGNORECASE)
_RADIAL_BYTES = re.compile(_RADIAL.pattern.encode(), re.IGNORECASE)


def refuse_sweeps(path: str | Path) -> None:
    """Refuse CfRadial, and radial sets of WDSS-II.

    Raises:
        UserError: so it is.
    """
    start = stored_beginning(path, _HEADER)
    if start.startswith(_CLASSIC):
        found = _RADIAL_BYTES.search(start)
        found = found and found[0].decode()
    elif is_hdf5(path):
        with Hdf5File(path) as file:
            stated = [file.attribute("/", name) for name in ("Conventions", "DataType")]
        found = next((one for one in stated if _RADIAL.search(str(one))), None)
    else:
        found = None
    if found:
        raise UserError(
            f"{path} contains sweeps of a radar in polar coordinates ({found}), expected a map; "
            "make one with Py-ART (grid_from_radars) or wradlib (comp.togrid)."
        )
