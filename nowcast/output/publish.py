"""Which writer makes which file."""

from collections.abc import Callable
from pathlib import Path

from nowcast.output.geotiff import write_geotiff
from nowcast.output.netcdf import write_forecast
from nowcast.output.odim import write_odim
from nowcast.runtime.errors import UserError

WRITERS = {
    ".nc": write_forecast,
    ".h5": write_odim,
    ".hdf": write_odim,
    ".tif": write_geotiff,
    ".tiff": write_geotiff,
}
"""Writers by suffix; each is called as write(forecast or products, path, attributes=...) and
returns the files it wrote.
"""
WRITE_MEMBERS = (write_forecast,)
"""Those that write the members of an ensemble, too."""


def writer_for(path: str | Path, *, members: int = 0) -> Callable[..., list[Path]]:
    """The writer for a path's suffix, whatever its case.

    Args:
        path: of the file to be written.
        members: that the forecast brings along; 0: none.

    Raises:
        UserError: a suffix that is none of ``WRITERS``, or whose writer does not write members.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in WRITERS:
        raise UserError(
            f"{path} ends in {suffix!r}; a forecast can be written as .nc (NetCDF), .h5 or .hdf "
            "(ODIM_H5), .tif or .tiff (GeoTIFF)."
        )
    if members and WRITERS[suffix] not in WRITE_MEMBERS:
        accepted = " or ".join(
            f"output=FILE{name}" for name, writer in WRITERS.items() if writer in WRITE_MEMBERS
        )
        raise UserError(
            f"members={members} cannot be written as {suffix}; give {accepted}, or members=0."
        )
    return WRITERS[suffix]
