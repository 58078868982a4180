"""Variables that other software leaves in the environment break nothing; in somebody else's
program they stay as they are."""

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pyproj
import pytest
import rasterio

from nowcast.cli import main
from nowcast.readers.decoding import Coding
from nowcast.readers.geotiff import GeoTiff
from nowcast.runtime import environment
from nowcast.runtime.errors import UserError
from tests.factories import write_odim
from tests.factories_grib2 import write_mrms
from tests.test_reader_geotiff import write_tif

NOWHERE = "/proc/nowhere"  # where nothing can be made, not even by root


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Folders that PROJ_DATA may point to, and a file of each library."""
    place = tmp_path_factory.mktemp("environment")
    for name in ("empty", "old", "junk"):
        (place / name).mkdir()
    (place / "junk/proj.db").write_text("no database")
    shutil.copy(Path(pyproj.datadir.get_data_dir(), "proj.db"), place / "old/proj.db")
    with sqlite3.connect(place / "old/proj.db") as database:
        database.execute(
            "UPDATE metadata SET value = '0' WHERE key = 'DATABASE.LAYOUT.VERSION.MINOR'"
        )
    write_tif(place / "point_202001010000.tif", np.uint8([[1, 2]]), crs="EPSG:3067")
    with rasterio.open(place / "point_202001010000.tif", "r+") as file:
        file.update_tags(AREA_OR_POINT="Point")
    write_odim(place / "odim.h5", [[1.0, 2.0]])
    write_mrms(place / "mrms.grib2", np.ones((2, 3)))
    return place


# Each child of one process that has loaded no library yet gets other variables; what it changed or
# could not do is told.
LIBRARY = """
import os, sys, traceback
folder, variants = sys.argv[1], [item.split("|") for item in sys.argv[2:]]
# shared by all, and none of the libraries that the variables are for:
import h5py, numpy as np, scipy, nowcast.cli
def work():
    from nowcast.readers.decoding import Coding
    from nowcast.readers.geotiff import GeoTiff
    from nowcast.readers.mrms_grib2 import MrmsGrib2
    from nowcast.readers.odim_hdf5 import OdimHdf5
    from nowcast.types.frames import Forecast, Grid
    from nowcast.output.geotiff import write_geotiff
    reader = GeoTiff(Coding("rain_rate", missing=()), time="%Y%m%d%H%M")
    frames = reader.read(f"{folder}/point_202001010000.tif")
    assert frames.grid.crs == "EPSG:3067" and frames.grid.x.tolist() == [100500, 101500]
    assert frames.values.tolist() == [[[1, 2]]]
    assert MrmsGrib2().read(f"{folder}/mrms.grib2").values.tolist() == [[[1, 1, 1]] * 2]
    assert OdimHdf5().read(f"{folder}/odim.h5").values.tolist() == [[[1, 2]]]
    grid = Grid("EPSG:3035", 4e6 + 1000.0 * np.arange(2), 3e6 - 1000.0 * np.arange(2))
    start, lead = np.datetime64("2020-01-01T00:00", "s"), np.array([300], "timedelta64[s]")
    forecast = Forecast(np.ones((1, 2, 2), np.float32), start, lead, grid)
    path = f"{folder}/{os.getpid()}.tif"
    write_geotiff(forecast, path, attributes={})
    import rasterio
    with rasterio.open(path) as file:
        assert file.crs.to_epsg() == 3035 and file.read().tolist() == [[[1, 1], [1, 1]]]
def draw():
    from nowcast.drawing import figures
    figures.save(figures.new_figure(1, 1), f"{folder}/{os.getpid()}.png")
for variables in variants:
    child = os.fork()
    if child == 0:
        try:
            os.environ.update(item.partition("=")[::2] for item in variables)
            before = dict(os.environ)
            draw() if variables[0].startswith("M") else work()
            after = dict(os.environ)
            changed = {name for name in {*after, *before} if after.get(name) != before.get(name)}
            # rasterio, as it is loaded, tells GDAL where certificates lie
            assert changed <= {"PROJ_CURL_CA_BUNDLE", "GDAL_CURL_CA_BUNDLE"}, changed
            os._exit(0)
        except BaseException:
            print(variables, flush=True)
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
    os.waitpid(child, 0)
print("done")
"""


def test_in_a_program_that_imports_nowcast_all_works_and_no_variable_is_changed(folder):
    variants = [
        f"PROJ_DATA={place}"
        for place in (NOWHERE, folder / "empty", folder / "old", folder / "junk", "")
    ]
    variants += [
        f"PROJ_LIB={folder}/old",
        f"GDAL_DATA={NOWHERE}|GDAL_DRIVER_PATH={NOWHERE}|GDAL_CONFIG_FILE={NOWHERE}",
        "GDAL_SKIP=GTiff GRIB|GTIFF_POINT_GEO_IGNORE=TRUE",
    ]
    variants += ["MPLBACKEND=nonsense"]
    done = subprocess.run(
        [sys.executable, "-c", LIBRARY, str(folder), *variants],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.stdout == "done\n", done.stdout + done.stderr
    assert "Cannot find proj.db" not in done.stderr


COMMANDS = """
import sys
from nowcast.cli import main
folder = sys.argv[1]
main(["info", f"{folder}/odim.h5"])
told = ["reader.time=%Y%m%d%H%M", "reader.values.quantity=rain_rate", "reader.values.missing=[]"]
main(["info", "reader=geotiff", *told, f"{folder}/point_202001010000.tif"])
main(["convert", f"input={folder}/*.grib2", f"output={folder}/out.nc"])
from nowcast.drawing import figures
figures.save(figures.new_figure(1, 1), f"{folder}/figure.png")
"""
ALL = {
    **dict.fromkeys(
        (
            "PROJ_DATA",
            "GDAL_DATA",
            "GDAL_DRIVER_PATH",
            "HDF5_PLUGIN_PATH",
            "TMPDIR",
            "HOME",
            "XDG_CACHE_HOME",
            "MPLCONFIGDIR",
            "CPL_LOG",
        ),
        NOWHERE,
    ),
    **dict.fromkeys(
        (
            "HDF5_DRIVER",
            "HDF5_VOL_CONNECTOR",
            "HDF5_USE_FILE_LOCKING",
            "MPLBACKEND",
            "LC_ALL",
            "LANG",
            "COLUMNS",
            "TERM",
            "TZ",
            "CC",
        ),
        "nonsense",
    ),
    "PROJ_NETWORK": "ON",
    "GDAL_SKIP": "GTiff GRIB",
    "GTIFF_POINT_GEO_IGNORE": "TRUE",
    "PYTHONWARNINGS": "error",
    "LINES": "0",
    "NO_COLOR": "1",
    "HYDRA_FULL_ERROR": "1",
}


def test_commands_work_with_every_variable_at_once_and_say_nothing_of_it(folder):
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, str(folder)],
        env=os.environ | ALL,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (
        "EPSG:3067" in done.stdout
        and "wrote " in done.stdout
        and "Error" not in done.stderr
        and "Warning" not in done.stderr
    )


def test_an_error_that_speaks_of_a_variable_is_one_line_that_names_it(monkeypatch, capsys):
    def fail(arguments):
        raise RuntimeError(arguments[0])

    monkeypatch.setenv("TORCH_LOGS", "no_such_thing")
    monkeypatch.setattr("nowcast.cli.radar.info", fail)
    with pytest.raises(SystemExit, match="2"):
        main(["info", "Invalid log settings: no_such_thing\nmore of it"])
    expected = (
        "Invalid log settings: no_such_thing (RuntimeError); this comes from "
        "TORCH_LOGS=no_such_thing in the environment: unset it.\n"
    )
    assert capsys.readouterr().err == f"nowcast info: error: {expected}"
    with pytest.raises(RuntimeError, match="another thing"):
        main(["info", "another thing"])
    assert (
        environment.named_in(ValueError("bad 'abc'"), {"TORCH_LOGS": "abc", "USER": "bad "}) == []
    )


@pytest.mark.parametrize("wheels", [True, False])
def test_a_process_of_ours_keeps_of_foreign_variables_what_an_installation_without_wheels_needs(
    monkeypatch, folder, wheels
):
    monkeypatch.setattr(environment, "_brings", lambda package, file: wheels)
    good = {
        "PROJ_DATA": f"{NOWHERE}{os.pathsep}{folder / 'old'}",
        "GDAL_DATA": str(folder),
        "GDAL_DRIVER_PATH": str(folder),
    }
    bad = {
        "PROJ_LIB": NOWHERE,
        "GDAL_SKIP": "GTiff",
        "OSR_WKT_FORMAT": "WKT2",
        "HDF5_DRIVER": "mpio",
        "MPLBACKEND": "QtAgg",
        "PYTHONWARNINGS": "error",
        "PROJ_NETWORK": "ON",
    }
    own = {
        "PATH": "/bin",
        "HDF5_PLUGIN_PATH": str(folder),
        "HDF5_USE_FILE_LOCKING": "FALSE",
        "OMP_NUM_THREADS": "2",
        "PYTHONPATH": "x",
        "CUDA_VISIBLE_DEVICES": "0",
    }
    left = environment.cleaned(good | bad | own)
    assert left == own | ({} if wheels else good) | {
        "PROJ_NETWORK": "OFF",
        "GDAL_CONFIG_FILE": os.devnull,
    }


def test_rasterio_that_finds_no_projections_and_cannot_be_helped_is_one_sentence_with_the_way(
    monkeypatch, tmp_path
):
    monkeypatch.setenv("PROJ_DATA", NOWHERE)
    environment._own_projections.cache_clear()
    try:
        monkeypatch.setattr(environment, "_UNCOMMON", 999_999)  # as if it were not found
        assert environment._own_projections() == Path(rasterio.__file__).with_name("proj_data")
        monkeypatch.setitem(
            sys.modules, "rasterio._env", ModuleType("rasterio._env")
        )  # of another rasterio
        with (
            pytest.raises(
                UserError,
                match="rasterio cannot be led to its own map projections; unset "
                f"PROJ_DATA={NOWHERE}.",
            ),
            environment.gdal(),
        ):
            pass
        environment._own_projections.cache_clear()
        monkeypatch.setattr(rasterio, "__file__", str(tmp_path / "__init__.py"))
        with (
            pytest.raises(
                UserError, match=f"rasterio finds no map projections .*; unset PROJ_DATA={NOWHERE}."
            ),
            environment.gdal(),
        ):
            pass
    finally:
        environment._own_projections.cache_clear()


def test_options_of_gdal_around_our_calls_leave_those_of_the_program_alone(folder):
    with rasterio.Env(GTIFF_POINT_GEO_IGNORE="YES", GDAL_SKIP="GRIB") as outer:
        frames = GeoTiff(Coding("rain_rate", missing=()), time="%Y%m%d%H%M").read(
            folder / "point_202001010000.tif"
        )
        assert frames.grid.x.tolist() == [100_500, 101_500]
        assert {name: outer.options[name] for name in ("GTIFF_POINT_GEO_IGNORE", "GDAL_SKIP")} == {
            "GTIFF_POINT_GEO_IGNORE": "YES",
            "GDAL_SKIP": "GRIB",
        }
        assert rasterio.env.getenv()["GTIFF_POINT_GEO_IGNORE"] == "YES"
