"""Variables that other software has set in the environment, and what nowcast does about them.

QGIS, OSGeo4W, conda and HPC modules set variables for their own copies of PROJ, GDAL and HDF5; the wheels that nowcast uses
bring copies of their own, which then find another version's data, lose formats, or load foreign code. Decided here, once:

* As a command, `settle` takes such variables out of the process before the libraries are loaded.
* A process that reads radar files is started with `cleaned` variables.
* As a library in somebody else's program, no variable is changed. Around calls of rasterio stand `GDAL_OPTIONS`, and
  `working_rasterio` gives it its own map projections where those that it was led to do not work.

HDF5_PLUGIN_PATH stays: it is how the user gives HDF5 the filters of his files. What is in that folder runs only for files that need
a filter, in the process that can be killed.
"""

import importlib
import importlib.util
import os
import sys
import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from nowcast.errors import UserError, first_line

_PROJ = ("PROJ_DATA", "PROJ_LIB")
_GEOGRAPHIC = ("PROJ_", "GDAL_", "CPL_", "GTIFF_", "GRIB_", "OGR_", "OSR_", "VSI_")  # beginnings of names
_OF_INSTALLATION = ("GDAL_DATA", "GDAL_DRIVER_PATH")  # a GDAL that is no wheel may need them
_HDF5 = ("HDF5_DRIVER", "HDF5_DRIVER_CONFIG", "HDF5_VOL_CONNECTOR")  # another way to every file: not one that knows ours
_PICTURES = ("MPLBACKEND", "MATPLOTLIBRC")  # pictures are drawn without a window, and look the same everywhere
_PYTHON = ("PYTHONWARNINGS",)  # as errors, warnings of libraries would end them
_LOADED = {"PROJ_NETWORK": "OFF", "GDAL_CONFIG_FILE": os.devnull}  # no grids from the network; no gdalrc of the home folder
GDAL_OPTIONS = {"GDAL_SKIP": "", "GTIFF_POINT_GEO_IGNORE": "NO", "GTIFF_IGNORE_READ_ERRORS": "NO", "GDAL_IGNORE_ERRORS": ""}
"""Options for ``rasterio.Env``: what else would hide formats, move pixels, or read damaged blocks as 0, which is dry."""


def cleaned(variables: Mapping[str, str]) -> dict[str, str]:
    """Variables of the environment without those of other software that break reading, writing or drawing."""
    kept = {name: value for name, value in variables.items() if not _is_foreign(name, value)}
    return kept | _LOADED


def settle() -> None:
    """Make the environment of this process one that the libraries work in; before they are loaded, and only where the process is ours."""
    if "PYTHONWARNINGS" in os.environ:
        warnings.resetwarnings()
        for category in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):  # as Python begins
            warnings.simplefilter("ignore", category)
    wanted = cleaned(os.environ)
    for name in set(os.environ) - set(wanted):
        del os.environ[name]
    os.environ.update(wanted)


def _is_foreign(name: str, value: str) -> bool:
    if name in _HDF5 + _PICTURES + _PYTHON:
        return True
    if not name.startswith(_GEOGRAPHIC):
        return False
    if name in _PROJ:
        return _brings("rasterio", "proj_data/proj.db") and _brings("pyproj", "proj_dir/share/proj/proj.db") or not _has_file(value, "proj.db")
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
    return any(os.path.isfile(os.path.join(folder, name)) for folder in folders.split(os.pathsep) if folder)


@cache
def working_rasterio():
    """rasterio, with map projections that work.

    It looks for them where PROJ_DATA or PROJ_LIB were when it was loaded, and takes a projection that it then does not find for a
    drawing without one. Where that is so, it gets those it brings; nothing is changed where it works.

    Raises:
        UserError: there are none that work.
    """
    import rasterio

    reason = _lacking_projections(rasterio)
    own = Path(rasterio.__file__).with_name("proj_data")
    if reason is not None and own.is_dir():
        try:
            from rasterio._env import set_proj_data_search_path  # no public way leads there

            set_proj_data_search_path(str(own))
            reason = _lacking_projections(rasterio)
        except (ImportError, AttributeError, TypeError):
            pass  # another rasterio: the message says what to do
    if reason is not None:
        found = ", ".join(f"{name}={os.environ[name]}" for name in _PROJ if name in os.environ) or "no PROJ_DATA is set"
        raise UserError(f"rasterio finds no map projections ({reason}; {found}); unset PROJ_DATA and PROJ_LIB, or install rasterio again.")
    return rasterio


def _lacking_projections(rasterio) -> str | None:
    try:
        with rasterio.Env():  # which keeps GDAL's own words off the terminal
            rasterio.crs.CRS.from_epsg(4326).to_wkt()
    except rasterio.errors.CRSError as error:
        return first_line(error)
    return None


def loaded_without(module: str, variable: str):
    """A module; where it cannot be loaded because of a variable, without that one, which is there again afterwards."""
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


def suspects(variables: Mapping[str, str] = os.environ) -> list[str]:
    """NAME=VALUE of variables that make libraries fail in ways that do not name them; for messages of what was not foreseen."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "HDF5_PLUGIN_PATH", "HDF5_USE_FILE_LOCKING", "HOME", "TMPDIR", "XDG_CACHE_HOME", "COLUMNS")
    beginnings = ("TORCH", "PYTORCH", "HYDRA", "KMP", "LC_", "LD_", "MPL")
    return [f"{name}={value}" for name, value in sorted(variables.items()) if name in names or name.startswith(beginnings)]
