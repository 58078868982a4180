"""The file that a path names as arrays: HDF5, NetCDF-3, .npz or .npy by its content."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from nowcast.readers.array_classic import ClassicArrays
from nowcast.readers.array_files import ArrayFile
from nowcast.readers.array_hdf5 import Hdf5Arrays
from nowcast.readers.array_numpy import NumpyArrays
from nowcast.readers.cf_netcdf import CfNetcdf
from nowcast.readers.content import beginning, is_compressed, require_file
from nowcast.readers.hdf5 import Hdf5File
from nowcast.readers.hdf5_members import is_hdf5
from nowcast.readers.npy import zip_of_arrays
from nowcast.runtime.errors import UserError
from nowcast.runtime.file_kinds import head_of, kind_of_content

_KIND = "an HDF5, NetCDF, .npz or .npy file"
_ZIP, _NUMPY, _CLASSIC = b"PK", b"\x93NUMPY", b"CDF"


@contextmanager
def opened(path: str | Path) -> Iterator[ArrayFile]:
    """The file, whichever of these kinds it is by its content; a .npy file may be packed.

    Raises:
        UserError: it is of none of these kinds, or damaged.
    """
    require_file(path, _KIND)
    if is_hdf5(path):
        with Hdf5File(path) as file:
            yield Hdf5Arrays(path, file)
        return
    start = beginning(path, 6)
    is_packed = is_compressed(path)
    if start.startswith(_CLASSIC) and not is_packed:
        with CfNetcdf().opened(path) as (source, _):
            yield ClassicArrays(source)
        return
    if is_packed and not start.startswith(_NUMPY) or not start.startswith((_ZIP, _NUMPY)):
        found = kind_of_content(head_of(path))
        what = f" It is {found.what}; {found.advice}." if found else ""
        raise UserError(
            f"{path} is neither HDF5, NetCDF nor NumPy's .npy or .npz; {_KIND} is needed.{what}"
        )
    with zip_of_arrays(path) if start.startswith(_ZIP) else nullcontext() as archive:
        yield NumpyArrays(path, archive)
