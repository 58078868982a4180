"""GeoTIFF of forecasts, read back by GDAL."""

import numpy as np
import pyproj
import pytest
from factories_fields import POLAR, forecast

from nowcast.forecasting.products import derive
from nowcast.output.geotiff import write_geotiff
from nowcast.runtime.errors import UserError

rasterio = pytest.importorskip("rasterio")

VALUES = np.array(
    [[[0.0, 0.1, 12.5], [np.nan, 3.0, 200.0]], [[1.0, 0.0, 0.0], [np.nan, np.nan, 7.25]]],
    np.float32,
)
ROTATED = "+proj=ob_tran +o_proj=longlat +o_lat_p=39.25 +lon_0=18"


@pytest.fixture
def path(tmp_path):
    """A file with two lead times of 2 x 3 pixels from 23:55 UTC."""
    assert write_geotiff(
        forecast(VALUES, crs="EPSG:3035"), tmp_path / "f.tif", attributes={"model": "run 7"}
    ) == [tmp_path / "f.tif"]
    return tmp_path / "f.tif"


def test_gdal_reads_the_same_rates_one_band_a_lead_time_with_dry_and_missing_apart(path):
    with rasterio.open(path) as file:
        assert (file.count, file.dtypes, file.nodata) == (2, ("float32", "float32"), -9999)
        raw = file.read()
        np.testing.assert_array_equal(np.where(raw == -9999, np.nan, raw), VALUES)
        assert raw[0, 0, 0] == 0 and file.read(1, masked=True).mask.tolist() == [
            [False] * 3,
            [True, False, False],
        ]


def test_row_0_is_north_and_cells_lie_where_the_grid_has_them(path):
    with rasterio.open(path) as file:
        assert file.crs.to_epsg() == 3035
        assert file.transform[:6] == (
            1,
            0,
            0,
            0,
            -1,
            51,
        )  # corner half a cell up and left of the first centre (0.5, 50.5)
        assert (file.xy(0, 0), file.xy(1, 2)) == ((0.5, 50.5), (2.5, 49.5))


def test_bands_and_tags_say_when_what_and_from_what(path):
    with rasterio.open(path) as file:
        assert file.descriptions == (
            "rain rate [mm/h] valid 2010-08-27T00:00:00Z",
            "rain rate [mm/h] valid 2010-08-27T00:05:00Z",
        )
        assert file.tags(2)["valid_time"] == "2010-08-27T00:05:00Z"
        tags = file.tags()
        assert (tags["analysis_time"], tags["units"], tags["model"]) == (
            "2010-08-26T23:55:00Z",
            "mm/h",
            "run 7",
        )
        assert tags["software"].startswith("nowcast ")


def test_large_fields_are_tiled_deflated_with_a_predictor_and_exact(tmp_path):
    rng = np.random.default_rng(0)
    values = np.where(rng.random((2, 300, 530)) < 0.7, 0, rng.gamma(0.4, 6, (2, 300, 530))).astype(
        np.float32
    )
    write_geotiff(forecast(values), tmp_path / "f.tif", attributes={})
    with rasterio.open(tmp_path / "f.tif") as file:
        assert np.array_equal(file.read(), values)
        assert (
            file.profile["tiled"]
            and file.profile["compress"] == "deflate"
            and file.block_shapes == [(256, 256)] * 2
        )
        assert file.tags(ns="IMAGE_STRUCTURE")["PREDICTOR"] == "3"
    assert (tmp_path / "f.tif").stat().st_size < values.nbytes * 0.6


@pytest.mark.parametrize(
    "crs",
    [
        POLAR,
        "+proj=stere +lat_0=90 +lon_0=10 +lat_ts=60 +R=6370040 +units=m",
        "+proj=aeqd +lat_0=50 +lon_0=9 +R=6371000",
        "+proj=longlat +R=6371229",
        "+proj=stere +lat_0=90 +lon_0=0 +lat_ts=60 +a=6378.137 +b=6356.752",
        "+proj=gnom +lat_0=50 +lon_0=9",
        "EPSG:21781",
        "EPSG:2263",
        "EPSG:3857",
        "EPSG:4326",
    ],
)
def test_any_projection_survives_also_one_on_a_sphere(tmp_path, crs):
    write_geotiff(forecast(VALUES, crs=crs), tmp_path / "f.tif", attributes={})
    with rasterio.open(tmp_path / "f.tif") as file:
        read, given = pyproj.CRS.from_wkt(file.crs.to_wkt()), pyproj.CRS(crs)
    assert read.ellipsoid.semi_major_metre == given.ellipsoid.semi_major_metre
    places = [
        pyproj.Transformer.from_crs(system, system.geodetic_crs, always_xy=True).transform(
            2.5, 49.5
        )
        for system in (read, given)
    ]
    np.testing.assert_allclose(places[0], places[1], rtol=0, atol=1e-9)  # degrees


def test_a_projection_that_geotiff_loses_is_refused(tmp_path):
    with pytest.raises(
        UserError,
        match=r"GeoTIFF cannot express the projection '\+proj=ob_tran .*; write it as NetCDF",
    ):
        write_geotiff(forecast(VALUES, crs=ROTATED), tmp_path / "f.tif", attributes={})
    assert list(tmp_path.iterdir()) == []


def test_what_gdal_refuses_is_said_in_one_line(tmp_path, monkeypatch):
    def refused(*_, **__):
        raise rasterio.errors.RasterioIOError("no such thing\nreally")

    monkeypatch.setattr(rasterio.MemoryFile, "open", refused)
    with pytest.raises(
        UserError,
        match=r"GDAL cannot write this forecast as GeoTIFF \(no such thing\); write it as NetCDF",
    ):
        write_geotiff(forecast(VALUES), tmp_path / "f.tif", attributes={})


def test_a_grid_of_one_column_is_refused(tmp_path):
    with pytest.raises(
        UserError,
        match="a grid of 2 x 1 cells has no cell size, which GeoTIFF needs; 2 x 2 cells or more "
        "can be written",
    ):
        write_geotiff(forecast(VALUES[:, :, :1]), tmp_path / "f.tif", attributes={})


def test_of_products_the_rates_are_written(tmp_path):
    write_geotiff(derive(forecast(VALUES), None), tmp_path / "f.tif", attributes={})
    with rasterio.open(tmp_path / "f.tif") as file:
        assert file.count == 2 and file.read(1)[1].tolist() == [-9999, 3, 200]


def test_hostile_attributes_are_made_harmless_and_cannot_overrule_ours(tmp_path):
    hostile = {
        "model": "<a>&\x00\ud800\n" + "\N{EURO SIGN}" * 70_000,
        "analysis_time": "yesterday",
        "units": "furlong",
    }
    write_geotiff(forecast(VALUES), tmp_path / "f.tif", attributes=hostile)
    with rasterio.open(tmp_path / "f.tif") as file:
        tags = file.tags()
        assert tags["model"].startswith("<a>&\ufffd\ufffd \N{EURO SIGN}") and tags[
            "model"
        ].endswith("...")
        assert (tags["analysis_time"], tags["units"]) == ("2010-08-26T23:55:00Z", "mm/h")
    with pytest.raises(UserError, match="'a=b' is no name of an attribute"):
        write_geotiff(forecast(VALUES), tmp_path / "f.tif", attributes={"a=b": ""})


def test_a_full_disk_leaves_the_old_file(path):
    resource = pytest.importorskip("resource")
    before, old = resource.getrlimit(resource.RLIMIT_FSIZE), path.read_bytes()
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(UserError, match="f.tif could not be written: File too large"):
            write_geotiff(forecast(VALUES + 1), path, attributes={})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == old and [file.name for file in path.parent.iterdir()] == ["f.tif"]
