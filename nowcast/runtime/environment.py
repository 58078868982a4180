"""Variables that other software has set in the environment, and what nowcast does about them.

QGIS, OSGeo4W, conda and HPC modules set variables for their own copies of PROJ, GDAL and HDF5. The
wheels that nowcast uses bring copies of their own, which then find another version's data, lose
formats, or load foreign code. Decided here, once:

* As a command, `settle` takes such variables out of the process before the libraries are loaded.
* A process that reads radar files is started with `cleaned` variables.
* As a library in somebody else's program, no variable is changed. Calls of rasterio stand in
  `gdal`, which has options of its own, and map projections that work.

HDF5_PLUGIN_PATH stays: it is how the user gives HDF5 the filters of his files. What is in that
folder runs only for files that need a filter, in the process that can be killed.
"""

import importlib
import importlib.util
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType

from nowcast.runtime.errors import UserError, first_line
from nowcast.runtime.library_private import lead_gdal_to

_PROJ = ("PROJ_DATA", "PROJ_LIB")
# Beginnings of names.
_GEOGRAPHIC = ("PROJ_", "GDAL_", "CPL_", "GTIFF_", "GRIB_", "OGR_", "OSR_", "VSI_")
_OF_INSTALLATION = ("GDAL_DATA", "GDAL_DRIVER_PATH")  # a GDAL that is no wheel may need them
_NEVER_OURS = {
    # Another way to every file: not one that knows ours.
    "HDF5_DRIVER",
    "HDF5_DRIVER_CONFIG",
    "HDF5_VOL_CONNECTOR",
    # Pictures are drawn without a window, and look the same everywhere.
    "MPLBACKEND",
    "MATPLOTLIBRC",
    # As errors, warnings of libraries would end them.
    "PYTHONWARNINGS",
}
# Beginnings of names.
_COMPUTING = ("TORCH", "PYTORCH", "KMP_", "OMP_", "MKL_", "CUDA_", "NCCL_")
_OF_LIBRARIES = (*_GEOGRAPHIC, *_COMPUTING, "HYDRA", "MPL", "HDF5_", "LC_")
# EPSG code of a projection that the program has hardly used before: GDAL remembers those that it
# found.
_UNCOMMON = 31287
_SHOWN_FROM = 4  # characters of a value: a shorter one stands in any text
# No grids from the network; no gdalrc of the home folder.
_ALWAYS_SET = {"PROJ_NETWORK": "OFF", "GDAL_CONFIG_FILE": os.devnull}
# For `gdal`: what else would hide formats, move pixels, or read damaged blocks as 0, which is dry.
GDAL_OPTIONS = {
    "GDAL_SKIP": "",
    "GTIFF_POINT_GEO_IGNORE": "NO",
    "GTIFF_IGNORE_READ_ERRORS": "NO",
    "GDAL_IGNORE_ERRORS": "",
}
# The categories of warnings that Python ignores when it starts.
_IGNORED = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)


def cleaned(variables: Mapping[str, str]) -> dict[str, str]:
    """Variables of the environment without those of other software that break reading, writing or
    drawing.
    """
    kept = {name: value for name, value in variables.items() if not _is_foreign(name, value)}
    return kept | _ALWAYS_SET


def settle() -> None:
    """Make the environment of this process one that the libraries work in; before they are loaded,
    and only where the process is ours.
    """
    if "PYTHONWARNINGS" in os.environ:
        warnings.resetwarnings()
        for category in _IGNORED:
            warnings.simplefilter("ignore", category)
    wanted = cleaned(os.environ)
    for name in set(os.environ) - set(wanted):
        del os.environ[name]
    os.environ.update(wanted)
    # that it found no place for its settings, as in a home folder that cannot be written to
    logging.getLogger("matplotlib").setLevel(logging.ERROR)


def _is_foreign(name: str, value: str) -> bool:
    if name in _NEVER_OURS:
        return True
    if not name.startswith(_GEOGRAPHIC):
        return False
    if name in _PROJ:
        rasterio_has_it = _brings("rasterio", "proj_data/proj.db")
        pyproj_has_it = _brings("pyproj", "proj_dir/share/proj/proj.db")
        return (rasterio_has_it and pyproj_has_it) or not _has_file(value, "proj.db")
    if name in _OF_INSTALLATION:
        return _brings("rasterio", "gdal_data/gdalvrt.xsd") or not os.path.isdir(value)
    return True


@cache
def _brings(package: str, file: str) -> bool:
    """Whether an installed package has a file, without loading it."""
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations or [] if spec else []
    return any(Path(folder, file).is_file() for folder in folders)


def _has_file(folders: str, name: str) -> bool:
    return any(Path(folder, name).is_file() for folder in folders.split(os.pathsep) if folder)


@contextmanager
def gdal(**options: str) -> Iterator[ModuleType]:
    """rasterio, for calls that variables of the environment do not reach: its options are ours,
    and its map projections work.

    Each ``rasterio.Env`` leads GDAL to PROJ_DATA or PROJ_LIB anew; where nothing is found there, a
    projection is taken for a drawing without one. Where that is so, GDAL gets the projections that
    rasterio brings; nothing is changed where it works.

    Args:
        options: of GDAL, beside `GDAL_OPTIONS`.

    Raises:
        UserError: there are no projections that work.
    """
    import rasterio

    own = _own_projections()
    with rasterio.Env(**GDAL_OPTIONS, **options):
        if own is not None and not lead_gdal_to(own):
            raise UserError(f"rasterio cannot be led to its own map projections; {_advice()}")
        yield rasterio


@cache
def _own_projections() -> Path | None:
    """Where the projections lie that rasterio brings; None where those that it was led to work."""
    import rasterio

    try:
        with rasterio.Env(**GDAL_OPTIONS):
            rasterio.crs.CRS.from_epsg(_UNCOMMON)
            return None
    except rasterio.errors.CRSError as error:
        reason = first_line(error)
    own = Path(rasterio.__file__).with_name("proj_data")
    if not _has_file(str(own), "proj.db"):
        raise UserError(f"rasterio finds no map projections ({reason}); {_advice()}")
    return own


def _advice() -> str:
    found = " and ".join(f"{name}={os.environ[name]}" for name in _PROJ if name in os.environ)
    return f"unset {found}." if found else "install it again."


def loaded_without(module: str, variable: str):
    """A module; where it cannot be loaded because of a variable, without that one, which is there
    again afterwards.
    """
    before = set(sys.modules)
    try:
        return importlib.import_module(module)
    except ValueError:
        for name in set(sys.modules) - before:
            if name.split(".")[0] == module.split(".")[0]:
                del sys.modules[name]  # half a module would be taken for a whole one
        value = os.environ.pop(variable, None)
        if value is None:
            raise
        try:
            return importlib.import_module(module)
        finally:
            os.environ[variable] = value


def named_in(error: BaseException, variables: Mapping[str, str] = os.environ) -> list[str]:
    """NAME=VALUE of the variables of other software that an exception speaks of, by name or by
    value.
    """
    text, found = str(error), []
    for name, value in sorted(variables.items()):
        is_named = name in text or (len(value) >= _SHOWN_FROM and value in text)
        if is_named and name.startswith(_OF_LIBRARIES):
            found.append(f"{name}={value}")
    return found
