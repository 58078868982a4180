"""docs/reference/files.md beside files that were really written: the same variables, dimensions,
units, attributes, columns and keys, no more and no fewer.
"""

import csv
import json

import h5netcdf
import h5py
import numpy as np
import pytest

from nowcast.baselines.persistence import Persistence
from nowcast.cli import run
from nowcast.data.conversion import convert
from nowcast.data.packed_frames import DISCARDED
from nowcast.forecasting.forecaster import Forecaster
from nowcast.forecasting.products import derive
from nowcast.forecasting.replay import replay
from nowcast.forecasting.saving import SETTINGS_FILE
from nowcast.output.netcdf import write_forecast
from nowcast.output.odim import write_odim
from nowcast.output.origin import GAPS, origin_attributes
from nowcast.readers.knmi_hdf5 import KnmiHdf5
from nowcast.training.comparison.table import write_csv as write_comparison
from nowcast.types.frames import Forecast, Frames, Grid
from nowcast.types.task import Task
from nowcast.types.transform import Identity
from tests.factories import grid, one_file_each, times, write_knmi
from tests.test_docs_reference import table

SHARED = slice(4, None)  # of the attributes of a forecast: those that all formats have
ROTATED = "+proj=ob_tran +o_proj=longlat +o_lon_p=0 +o_lat_p=40 +lon_0=10 +R=6371229 +no_defs"


def rows(label, *columns):
    """Some columns of a table of the page."""
    return sorted(tuple(row[column] for column in columns) for row in table(label))


def products(*, on=None, members=0, gap=False, neighbours=True):
    """A forecast of three lead times from two frames, with all that can come with one."""
    place = on or grid(8, 9)
    values = np.full((3, *place.shape), 2.0, np.float32)
    if gap:
        values[1] = np.nan
    drawn = np.stack([values] * members) if members else None
    lead_times = np.arange(1, 4) * np.timedelta64(300, "s")
    forecast = Forecast(values, times(5)[0], lead_times, place, members=drawn, point="mean")
    context = Frames(np.ones((2, *place.shape), np.float32), times(0, 5), place)
    return derive(forecast, context)


def attributes():
    """All that can be said of where a forecast comes from."""
    return {"title": "a test"} | origin_attributes(
        model="run",
        analysis_time=times(5)[0],
        inputs=[("a.h5", times(5)[0])],
        model_sha256="0" * 64,
        method="persistence",
        fallback_reason="a test",
        institution="nobody",
        calibration="a test",
    )


def variables_of(path):
    """(name, dimensions, unit, standard name) of the variables of a NetCDF file."""
    with h5netcdf.File(path) as file:
        for name, variable in file.variables.items():
            dimensions = ", ".join(variable.dimensions)
            told = [variable.attrs.get(key, "") for key in ("units", "standard_name")]
            yield name, dimensions, *told


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """An archive in whose second frame a pixel was implausible."""
    folder = tmp_path_factory.mktemp("archive")
    reader = one_file_each(np.ones((3, 40, 40)), (0, 5, 10))
    frames = reader.frames_by_name["1.h5"]
    reader.frames_by_name["1.h5"] = Frames(
        frames.values, frames.times, frames.grid, discarded=np.array([1])
    )
    convert(list(reader.frames_by_name), folder / "a.nc", reader=reader)
    return folder / "a.nc"


def test_the_variables_of_an_archive_are_those_of_the_page(archive):
    assert sorted(variables_of(archive)) == rows("table-archive-variables", 0, 1, 2, 3)
    assert "discarded" in DISCARDED


def test_the_attributes_of_an_archive_are_those_of_the_page(archive):
    with h5netcdf.File(archive) as file:
        assert sorted(file.attrs) == sorted(row[0] for row in table("table-archive-attributes"))


def test_the_columns_of_a_quarantine_are_those_of_the_page(tmp_path):
    write_knmi(tmp_path / "whole.h5", np.ones((3, 4)))
    (tmp_path / "broken.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    convert(sorted(tmp_path.glob("*.h5")), tmp_path / "a.nc", reader=KnmiHdf5())
    first = (tmp_path / "a.nc.quarantine.csv").read_text().splitlines()[0]
    assert first.split(",") == [row[0] for row in table("table-quarantine-columns")]


def test_the_variables_of_a_netcdf_forecast_are_those_of_the_page(tmp_path):
    write_forecast(products(members=2), tmp_path / "a.nc", attributes={})
    rotated = Grid(ROTATED, np.arange(9) * 0.1, -np.arange(8) * 0.1)
    write_forecast(products(on=rotated), tmp_path / "b.nc", attributes={})
    plain = list(variables_of(tmp_path / "a.nc"))
    known = {row[0] for row in plain}
    positions = [row for row in variables_of(tmp_path / "b.nc") if row[0] not in known]
    assert sorted(plain + positions) == rows("table-forecast-variables", 0, 1, 2, 3)


def test_the_attributes_of_a_netcdf_forecast_are_those_of_the_page(tmp_path):
    write_forecast(products(gap=True), tmp_path / "a.nc", attributes=attributes())
    with h5netcdf.File(tmp_path / "a.nc") as file:
        assert sorted(file.attrs) == rows_of_attributes()
    assert GAPS in rows_of_attributes()


def rows_of_attributes():
    return sorted(row[0] for row in table("table-forecast-attributes"))


def test_the_groups_and_attributes_of_an_odim_forecast_are_those_of_the_page(tmp_path):
    path = write_odim(products(gap=True), tmp_path / "a.h5", attributes=attributes())[0]
    found = set()
    with h5py.File(path) as file:
        found |= {("/", name) for name in file.attrs}
        file.visititems(lambda group, item: found.update((group, name) for name in item.attrs))
        assert file["dataset2/data1/what"].attrs["quantity"] == b"ACRR"
    shared = {("how", row[0]) for row in table("table-forecast-attributes")[SHARED]}
    second = {(group.replace("dataset1", "dataset2"), name) for group, name in found}
    page = {(group, name) for group, name, *_ in table("table-odim-attributes")}
    assert found == page | second | shared | {("how", "title")}


def test_the_tags_of_a_geotiff_forecast_are_those_of_the_page(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    from nowcast.output.geotiff import write_geotiff

    write_geotiff(products(gap=True), tmp_path / "a.tif", attributes=attributes())
    with rasterio.open(tmp_path / "a.tif") as file:
        tags = set(file.tags()) - {"AREA_OR_POINT"}  # GDAL's own
        assert set(file.tags(1)) == {"valid_time"} and file.nodata == -9999
    shared = {row[0] for row in table("table-forecast-attributes")[SHARED]}
    assert tags == {row[0] for row in table("table-geotiff-tags")} | shared | {"title"}


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A run of the smallest training that there is."""
    folder = tmp_path_factory.mktemp("runs") / "smoke"
    few = ["data.train_sequences=4", "data.validation_sequences=2", "data.test_sequences=2"]
    small = ["training.max_epochs=2", "model.hidden_channels=[2,2]", f"output_dir={folder}"]
    run(["train", "experiment=smoke", *few, *small])
    return folder


def files_below(folder):
    """Paths of the files below a folder; the log of TensorBoard without its time and process."""
    found = set()
    for path in folder.rglob("*"):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            found.add(name.partition(".tfevents")[0] + ".tfevents" if "tfevents" in name else name)
    return found


def test_the_files_of_a_run_and_of_its_evaluation_are_those_of_the_page(run_folder):
    listed = {row[0] for row in table("table-run-files")} - {"evaluation/"}
    listed |= {f"evaluation/{row[0]}" for row in table("table-evaluation-files")}
    assert files_below(run_folder) == listed


def test_the_keys_of_a_saved_forecaster_are_those_of_the_page(run_folder):
    keys = json.loads((run_folder / SETTINGS_FILE).read_text())
    assert list(keys) == [row[0] for row in table("table-forecaster-keys")]


@pytest.mark.parametrize("name", ["scores", "differences"])
def test_the_columns_of_the_tables_of_scores_are_those_of_the_page(run_folder, name):
    with open(run_folder / "evaluation" / f"{name}.csv", newline="") as file:
        columns = next(csv.reader(file))
    assert columns == [row[0] for row in table(f"table-{name}-columns")]


def test_the_columns_of_a_comparison_are_those_of_the_page(tmp_path):
    write_comparison([], tmp_path / "a.csv", lead_minutes=None)
    first = (tmp_path / "a.csv").read_text().splitlines()[0]
    assert first.split(",") == [row[0] for row in table("table-comparison-columns")]


def test_the_keys_of_a_status_are_those_of_the_page(tmp_path):
    values = np.ones((20, 24, 30), np.float32)
    frames = Frames(values, times(*range(0, 100, 5)), grid(24, 30))
    model = Forecaster(Persistence(), Identity(), Task(4, 3, 5))
    replay(frames, model, tmp_path / "out")
    keys = set()
    for text in (tmp_path / "out" / "status.jsonl").read_text().splitlines():
        keys |= set(json.loads(text))
    keys |= set(json.loads((tmp_path / "out" / "status.json").read_text()))
    assert keys == {row[0] for row in table("table-status-keys")}
