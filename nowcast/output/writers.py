"""Which writer makes which file."""

from pathlib import Path

from nowcast.output.base import Writer
from nowcast.output.geotiff import write_geotiff
from nowcast.output.netcdf import write_forecast
from nowcast.output.odim import write_odim
from nowcast.runtime.errors import UserError

ALL = (
    Writer("NetCDF", (".nc",), write_forecast, members=True, probabilities=True),
    Writer("ODIM_H5", (".h5", ".hdf"), write_odim),
    Writer("GeoTIFF", (".tif", ".tiff"), write_geotiff),
)
WRITERS = {suffix: writer for writer in ALL for suffix in writer.suffixes}


def writer_for(path: str | Path, *, members: int = 0) -> Writer:
    """The writer for a path's suffix, whatever its case.

    Args:
        path: of the file to be written.
        members: of the forecast's ensemble; 0: it has none.

    Raises:
        UserError: a suffix that no writer has, or whose writer does not write members.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in WRITERS:
        formats = ", ".join(f"{' or '.join(writer.suffixes)} ({writer.name})" for writer in ALL)
        raise UserError(f"{path} ends in {suffix!r}; a forecast can be written as {formats}.")
    if members and not WRITERS[suffix].members:
        able = [name for name, writer in WRITERS.items() if writer.members]
        accepted = " or ".join(f"output=FILE{name}" for name in able)
        raise UserError(
            f"members={members} cannot be written as {suffix}; give {accepted}, or members=0."
        )
    return WRITERS[suffix]
