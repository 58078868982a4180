"""ODIM_H5 composites of forecasts, read back by pysteps, by wradlib and by our own reader."""

import h5py
import numpy as np
import pyproj
import pytest
from factories_fields import POLAR, forecast, observed

import nowcast
from nowcast.forecasting.products import derive
from nowcast.output.odim import write_odim
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Forecast, Grid

VALUES = np.array(
    [[[0.0, 0.1, 12.5], [np.nan, 3.0, 200.0]], [[1.0, 0.0, 0.0], [np.nan, np.nan, 7.25]]],
    np.float32,
)
LAEA = "+proj=laea +lat_0=55.0 +lon_0=10.0 +x_0=1950000.0 +y_0=-2100000.0 +units=m +ellps=WGS84"
ROTATED = "+proj=ob_tran +o_proj=longlat +o_lat_p=39.25 +lon_0=18"


def europe(
    values=VALUES,
    *,
    crs: str = LAEA,
    spacing: float = 2000.0,
    left: float = 1e6,
    top: float = -1e6,
    minutes=(5, 10),
) -> Forecast:
    """A forecast from 2010-08-26T23:55 whose upper left corner lies at (left, top)."""
    height, width = values.shape[1:]
    grid = Grid(
        crs, left + spacing * (np.arange(width) + 0.5), top - spacing * (np.arange(height) + 0.5)
    )
    return Forecast(
        values, np.datetime64("2010-08-26T23:55"), np.array(minutes) * np.timedelta64(60, "s"), grid
    )


def rain(height: int, width: int) -> np.ndarray:
    """Two fields of which a third is dry and a tenth missing."""
    rng = np.random.default_rng(0)
    values = np.where(
        rng.random((2, height, width)) < 0.3, 0, rng.gamma(0.4, 6, (2, height, width))
    )
    values[rng.random(values.shape) < 0.1] = np.nan
    return values.astype(np.float32)


def test_every_lead_time_is_a_file_with_the_rates_unchanged_for_our_own_reader(tmp_path):
    paths = write_odim(europe(), tmp_path / "out" / "rain.h5", attributes={})
    assert (
        [path.name for path in paths]
        == ["rain_005min.h5", "rain_010min.h5"]
        == sorted(path.name for path in (tmp_path / "out").iterdir())
    )
    for path, values, time in zip(paths, VALUES, ("2010-08-27T00:00", "2010-08-27T00:05")):
        frames = observed(path)
        np.testing.assert_array_equal(frames.values[0], values)
        assert (
            frames.times.tolist() == [np.datetime64(time, "s").item()]
            and frames.quantity == "rain rate"
        )
        assert frames.grid.difference(europe().grid) is None


def test_pysteps_reads_identical_rates_and_depths_in_their_place(tmp_path):
    importers = pytest.importorskip("pysteps.io.importers")
    values = rain(40, 30)
    products = derive(europe(values), None)
    for lead, path in enumerate(write_odim(products, tmp_path / "f.h5", attributes={})):
        rate, _, metadata = importers.import_opera_hdf5(str(path), qty="RATE", dtype="double")
        np.testing.assert_array_equal(np.float32(rate), values[lead])
        depth, _, _ = importers.import_opera_hdf5(str(path), qty="ACRR", dtype="double")
        np.testing.assert_array_equal(np.float32(depth), products.depth[lead])
        corners = [metadata[name] for name in ("x1", "x2", "y1", "y2")]
        np.testing.assert_allclose(
            corners, [1e6, 1e6 + 30 * 2000, -1e6 - 40 * 2000, -1e6], atol=1
        )  # metres
        assert (
            metadata["unit"],
            metadata["yorigin"],
            metadata["xpixelsize"],
            metadata["ypixelsize"],
        ) == ("mm/h", "upper", 2000, 2000)


def test_wradlib_reads_identical_values_times_and_projection(tmp_path):
    wradlib_io = pytest.importorskip("wradlib.io")
    values = rain(20, 25)
    products = derive(europe(values, minutes=(5, 20)), None)
    paths = write_odim(
        products, tmp_path / "f.h5", attributes={"model": "run 7"}, source="NOD:nlhrw,CMT:nowcast"
    )
    content = wradlib_io.read_opera_hdf5(paths[1])
    for dataset, expected in (("dataset1", values[1]), ("dataset2", products.depth[1])):
        scaling, raw = content[f"{dataset}/data1/what"], content[f"{dataset}/data1/data"]
        decoded = np.where(
            raw == scaling["nodata"], np.nan, raw * scaling["gain"] + scaling["offset"]
        )
        np.testing.assert_array_equal(np.where(raw == scaling["undetect"], 0, decoded), expected)
    clock = {name: content[f"{name}/what"] for name in ("dataset1", "dataset2")}
    assert [
        clock["dataset1"][part] for part in ("startdate", "starttime", "enddate", "endtime")
    ] == [b"20100827", b"000000", b"20100827", b"001500"]
    assert [
        clock["dataset2"][part] for part in ("startdate", "starttime", "enddate", "endtime")
    ] == [b"20100826", b"235500", b"20100827", b"001500"]
    assert [content[f"dataset{n}/data1/what"]["quantity"] for n in (1, 2)] == [b"RATE", b"ACRR"]
    assert content["what"] == {
        "object": b"COMP",
        "version": b"H5rad 2.4",
        "date": b"20100827",
        "time": b"001500",
        "source": b"NOD:nlhrw,CMT:nowcast",
    }
    assert (
        content["how"]["model"] == b"run 7"
        and content["how"]["analysis_time"] == b"2010-08-26T23:55:00Z"
        and content["how"]["lead_time_minutes"] == b"20"
    )
    assert content["how"]["sw_version"].decode() == nowcast.__version__
    where = content["where"]
    assert (where["xsize"], where["ysize"], where["projdef"].decode()) == (25, 20, LAEA)
    corner = pyproj.Proj(where["projdef"].decode())(where["LR_lon"], where["LR_lat"])
    np.testing.assert_allclose(corner, [1e6 + 25 * 2000, -1e6 - 20 * 2000], atol=1)


def test_our_reader_makes_the_depth_since_the_analysis_time_a_rate_over_that_time(tmp_path):
    paths = write_odim(derive(europe(), None), tmp_path / "f.h5", attributes={})
    frames = observed(paths[1], quantity="ACRR")
    # 12.5 mm/h, then none: 12.5 / 12 mm in 10 min
    assert frames.quantity == "rain depth in 10 min" and frames.values[0, 0, 2] == pytest.approx(
        6.25
    )


def test_dry_missing_and_lost_are_told_apart_on_disk(tmp_path):
    path = write_odim(europe(), tmp_path / "f.h5", attributes={})[0]
    with h5py.File(path) as file:
        data, scaling = file["dataset1/data1/data"], file["dataset1/data1/what"].attrs
        assert data.dtype == np.float32 and data.compression == "gzip"
        assert (scaling["gain"], scaling["offset"], scaling["undetect"], scaling["nodata"]) == (
            1,
            0,
            0,
            -9999000,
        )
        assert data[0].tolist() == [0, np.float32(0.1), 12.5] and data[1, 0] == -9999000
        assert data.fillvalue == -9999000  # what HDF5 gives for a chunk it cannot find


def test_the_file_is_one_that_hdf5_1_8_reads_and_its_attributes_have_the_types_of_odim(tmp_path):
    path = write_odim(europe(), tmp_path / "f.h5", attributes={"institution": "Zürich"})[0]
    assert path.read_bytes()[8] == 2  # version of the superblock: 3 came with HDF5 1.10
    with h5py.File(path) as file:
        assert file.attrs["Conventions"] == b"ODIM_H5/V2_4"
        kinds = {
            name: file[group].attrs.get_id(name).get_type()
            for group, name in (
                ("what", "object"),
                ("how", "institution"),
                ("where", "xsize"),
                ("where", "xscale"),
                ("where", "LL_lon"),
            )
        }
        assert (
            kinds["object"].get_size(),
            kinds["object"].get_strpad(),
            kinds["object"].is_variable_str(),
        ) == (5, h5py.h5t.STR_NULLTERM, False)
        assert (
            kinds["object"].get_cset() == h5py.h5t.CSET_ASCII
            and kinds["institution"].get_cset() == h5py.h5t.CSET_UTF8
        )
        assert file["how"].attrs["institution"].decode() == "Zürich"
        assert (
            kinds["xsize"].dtype == np.int64
            and kinds["xscale"].dtype == kinds["LL_lon"].dtype == np.float64
        )


@pytest.mark.parametrize(
    ("crs", "unit"),
    [
        (POLAR, 1000),
        ("+proj=stere +lat_0=90 +lon_0=0 +lat_ts=60 +a=6378.137 +b=6356.752", 1000),
        ("EPSG:21781", 1),
        ("EPSG:3857", 1),
        ("EPSG:2263", 0.3048006096),
        ("EPSG:4326", 1),
        ("+proj=longlat +R=6371229", 1),
        ("+proj=stere +lat_0=90 +lon_0=10 +lat_ts=60 +R=6370040 +units=m", 1),
    ],
)
def test_any_projection_becomes_metres_and_degrees_stay_degrees(tmp_path, crs, unit):
    given = forecast(VALUES, crs=crs)
    path = write_odim(given, tmp_path / "f.h5", attributes={})[0]
    grid = observed(path).grid
    np.testing.assert_allclose(grid.x, unit * given.grid.x, atol=0.01)
    np.testing.assert_allclose(grid.y, unit * given.grid.y, atol=0.01)
    with h5py.File(path) as file:
        assert file["where"].attrs["xscale"] == pytest.approx(unit, rel=1e-8)


@pytest.mark.parametrize(
    "given", [forecast(VALUES, crs=ROTATED), europe(crs="EPSG:4326", spacing=1, left=190, top=50)]
)
def test_a_grid_that_readers_would_put_elsewhere_is_refused(tmp_path, given):
    with pytest.raises(
        UserError, match="which do not lead back to this grid in .*; write it as NetCDF"
    ):
        write_odim(given, tmp_path / "f.h5", attributes={})
    assert list(tmp_path.iterdir()) == []


def test_a_projection_without_a_proj_string_is_refused(tmp_path):
    earth = (
        'BASEGEOGCRS["WGS 84",DATUM["World Geodetic System 1984",ELLIPSOID["WGS '
        '84",6378137,298.257223563]]]'
    )
    local = (
        f'PROJCRS["here",{earth},CONVERSION["here",METHOD["a secret '
        'one"]],CS[Cartesian,2],AXIS["x",east],AXIS["y",north],LENGTHUNIT["metre",1]]'
    )
    with pytest.raises(
        UserError, match="has no PROJ string, which ODIM_H5 needs; write it as NetCDF"
    ):
        write_odim(forecast(VALUES, crs=local), tmp_path / "f.h5", attributes={})


def test_a_grid_of_one_row_is_refused(tmp_path):
    with pytest.raises(
        UserError,
        match="a grid of 1 x 3 cells has no cell size, which ODIM_H5 needs; 2 x 2 cells or more "
        "can be written",
    ):
        write_odim(forecast(VALUES[:, :1]), tmp_path / "f.h5", attributes={})


@pytest.mark.parametrize(
    "source", ["", "nowcast", "NOD:", "NOD:a,b", "XXX:a", "NOD:a\n", "CMT:é", None]
)
def test_a_source_that_odim_does_not_know_is_refused(tmp_path, source):
    with pytest.raises(
        UserError, match="is none; comma-separated pairs of an identifier and a value are needed"
    ):
        write_odim(europe(), tmp_path / "f.h5", attributes={}, source=source)


@pytest.mark.parametrize(
    ("minutes", "names"),
    [
        ((5, 120), ["f_005min.h5", "f_120min.h5"]),
        ((60, 1440), ["f_0060min.h5", "f_1440min.h5"]),
        ((1.5, 3), ["f_00090s.h5", "f_00180s.h5"]),
    ],
)
def test_names_sort_by_lead_time(tmp_path, minutes, names):
    seconds = np.array([int(60 * minute) for minute in minutes]) * np.timedelta64(1, "s")
    given = Forecast(VALUES, europe().analysis_time, seconds, europe().grid)
    assert [path.name for path in write_odim(given, tmp_path / "f.h5", attributes={})] == names


def test_hostile_attributes_are_made_harmless(tmp_path):
    path = write_odim(
        europe(),
        tmp_path / "f.h5",
        attributes={f"a{n}": "\x00\ud800\N{EURO SIGN}" * 40_000 for n in range(12)},
    )[0]
    with h5py.File(path) as file:
        text = file["how"].attrs["a11"].decode()
        assert (
            text.startswith("\ufffd\ufffd\N{EURO SIGN}")
            and text.endswith("...")
            and len(text.encode()) <= 16_000
        )
    assert observed(path).values[0, 0, 2] == 12.5
    with pytest.raises(UserError, match="'a b' is no name of an attribute"):
        write_odim(europe(), tmp_path / "f.h5", attributes={"a b": ""})


def test_a_full_disk_leaves_all_files_of_the_forecast_before(tmp_path):
    resource = pytest.importorskip("resource")
    paths = write_odim(europe(), tmp_path / "f.h5", attributes={})
    larger = VALUES.repeat(
        20, axis=1
    )  # both of its files are larger than those before; the second one is the largest
    larger[1] = np.random.default_rng(0).random(larger.shape[1:])
    sizes = [
        path.stat().st_size
        for path in write_odim(europe(larger), tmp_path / "larger.h5", attributes={})
    ]
    assert sizes[0] < sizes[1]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (sizes[0], before[1]))
    try:
        with pytest.raises(UserError, match="f_010min.h5 could not be written: File too large"):
            write_odim(europe(larger), tmp_path / "f.h5", attributes={})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    np.testing.assert_array_equal([observed(path).values[0] for path in paths], VALUES)
    assert len(list(tmp_path.iterdir())) == 4
