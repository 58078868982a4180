"""Grids are equal where their pixels lie in the same places, whatever the projection is called; and
they stay grids all the way to the files.
"""

import pickle
import warnings

import numpy as np
import pyproj
import pytest
from factories import KNMI, MemoryReader, times

from nowcast.data.archive import Archive
from nowcast.data.conversion import convert
from nowcast.data.inputs import read_frames
from nowcast.data.preparation import Preparation
from nowcast.data.reading import ReadingProcess
from nowcast.data.regrid import Regular
from nowcast.output.geotiff import write_geotiff
from nowcast.output.netcdf import read_forecast, write_forecast
from nowcast.output.odim import write_odim
from nowcast.runtime.errors import UserError
from nowcast.types import places
from nowcast.types.frames import Forecast, Frames, Grid

EUROPE = "+proj=laea +lat_0=52 +lon_0=10 +x_0=4321000 +y_0=3210000 +ellps=GRS80 +units=m +no_defs"
CODES = (
    3035,
    3067,
    2056,
    21781,
    27700,
    31467,
    25832,
    32633,
    3857,
    3034,
    3413,
    3031,
    28992,
    31287,
    5514,
    2154,
    3006,
    2180,
    26917,
    2193,
    4326,
    4258,
    4269,
)


def around(
    crs: pyproj.CRS, spacing: float = 1000.0, *, side: int = 200
) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of a grid in the middle of where a projection is used."""
    area = crs.area_of_use
    to_map = pyproj.Transformer.from_crs(crs.geodetic_crs, crs, always_xy=True)
    x, y = to_map.transform((area.west + area.east) / 2, (area.south + area.north) / 2)
    step = spacing if crs.is_projected else spacing / 100_000
    return x + step * np.arange(-side // 2, side // 2), y - step * np.arange(-side // 2, side // 2)


def spellings(crs: pyproj.CRS) -> dict[str, str]:
    """Ways to write a projection."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        proj = crs.to_proj4()
    found = {
        "code": crs.to_string(),
        "lower": crs.to_string().lower(),
        "urn": crs.to_string().replace("EPSG:", "urn:ogc:def:crs:EPSG::"),
        "PROJ": proj,
        "JSON": crs.to_json(),
    }
    found |= {
        name: crs.to_wkt(name) for name in ("WKT2_2019", "WKT2_2015", "WKT1_GDAL", "WKT1_ESRI")
    }
    if "towgs84" not in proj and "datum" not in proj:
        found["towgs84"] = f"{proj.replace('+type=crs', '')} +towgs84=0,0,0,0,0,0,0"
    return {name: text for name, text in found.items() if text}


@pytest.mark.parametrize("code", CODES)
def test_every_spelling_of_a_projection_is_the_same_grid_and_half_a_pixel_is_another(code):
    crs = pyproj.CRS(code)
    x, y = around(crs)
    step = x[1] - x[0]
    grids = {name: Grid(text, x, y) for name, text in spellings(crs).items()}
    for name, one in grids.items():
        assert one.difference(grids["code"]) is None and grids["code"].difference(one) is None, name
        for moved in (
            Grid(one.crs, x + step / 2, y),
            Grid(one.crs, x, y - step / 2),
            Grid(one.crs, x + (x - x[0]) * 0.01, y),
        ):
            assert "pixels apart where 0.1 are accepted" in grids["code"].difference(
                moved
            ) or "apart where 0.1 pixels are accepted" in grids["code"].difference(moved), name


def test_parameters_of_cf_are_the_same_grid_as_the_code():
    crs = pyproj.CRS(3035)
    parameters = {name: value for name, value in crs.to_cf().items() if name != "crs_wkt"}
    x, y = around(crs)
    assert Grid(crs, x, y).difference(Grid(pyproj.CRS.from_cf(parameters), x, y)) is None


def test_units_earths_in_kilometres_and_longitudes_that_count_on_do_not_matter():
    x, y = 500.0 + 1000 * np.arange(50), -3_650_500.0 - 1000 * np.arange(40)
    metres = KNMI.replace("6378.137", "6378137").replace("6356.752", "6356752")
    one = Grid(f"{metres} +units=m", x, y)
    assert one.difference(Grid(f"{metres} +units=km", x / 1000, y / 1000)) is None
    assert (
        one.difference(Grid(KNMI, x / 1000, y / 1000)) is None
        and Grid(KNMI, x / 1000, y / 1000).difference(one) is None
    )
    longitudes, latitudes = 5 + 0.01 * np.arange(50), 50 - 0.01 * np.arange(40)
    degrees = Grid("EPSG:4326", longitudes, latitudes)
    for crs in (
        "EPSG:4326",
        "+proj=longlat",
        "+proj=longlat +datum=WGS84 +no_defs",
        "OGC:CRS84",
        "EPSG:4979",
    ):
        for turn in (-360, 0, 360):
            assert degrees.difference(Grid(crs, longitudes + turn, latitudes)) is None, (crs, turn)
        assert degrees.difference(Grid(crs, longitudes + 0.005, latitudes)) is not None


@pytest.mark.parametrize(
    ("change", "apart"),
    [
        (("+ellps=GRS80", "+R=6371000"), "1..4 m .0.8"),
        (("+lon_0=10", "+lon_0=10.01"), "7.. m .0.3"),
        (("+x_0=4321000", "+x_0=4322000"), "1000 m .0.5 pixels"),
        (("+lat_0=52", "+lat_0=53"), "m .5"),
        (("laea +lat_0=52", "aeqd +lat_0=52"), "m"),
    ],
)
def test_grids_that_truly_differ_are_named_with_both_projections_the_metres_and_the_pixels(
    change, apart
):
    x, y = (
        4_321_000 - 500_000 + 2000.0 * np.arange(500),
        3_210_000 + 400_000 - 2000.0 * np.arange(400),
    )
    difference = Grid("EPSG:3035", x, y).difference(Grid(EUROPE.replace(*change), x, y))
    assert (
        difference.startswith("projection EPSG:3035 against +proj=")
        and "where 0.1 pixels are accepted (tolerance.pixels)" in difference
    )
    assert pytest.importorskip("re").search(f"pixels lie up to .*{apart}", difference), difference


def test_a_tenth_of_a_pixel_is_accepted_and_the_tolerance_can_be_set():
    x, y = 2000.0 * np.arange(100), -2000.0 * np.arange(80)
    one = Grid(EUROPE, x, y)
    for crs in (EUROPE, "EPSG:3035"):
        assert (
            one.difference(Grid(crs, x + 2.5, y - 2.5)) is None
            and one.difference(Grid(crs, x + 199, y)) is None
        )
        assert (
            one.difference(Grid(crs, x + 201, y)) is not None
            and one.difference(Grid(crs, x + 2.5, y), pixels=0.001) is not None
        )
        assert one.difference(Grid(crs, x + 300, y), pixels=0.2) is None
    assert (
        one.difference(Grid(EUROPE, x + 201, y))
        == "x from 0 to 198000 against 201 to 198201, 0.101 pixels apart where 0.1 are accepted "
        "(tolerance.pixels)"
    )


def test_what_proj_cannot_transform_is_said(monkeypatch):
    x, y = 2000.0 * np.arange(3), -2000.0 * np.arange(3)

    def refuse(*_):
        raise pyproj.exceptions.ProjError("no operation")

    monkeypatch.setattr(places, "_moved", refuse)
    places._difference.cache_clear()
    assert "PROJ cannot transform one into the other (no operation" in Grid(
        "EPSG:3035", x, y
    ).difference(Grid("EPSG:3034", x, y))
    places._difference.cache_clear()
    globe = Grid(
        "+proj=geos +h=35785831 +lon_0=0 +ellps=WGS84",
        1e7 + 1000 * np.arange(3),
        1e7 - 1000 * np.arange(3),
    )  # in space
    monkeypatch.undo()
    assert "no pixel of the one has a place in the other" in globe.difference(
        Grid("EPSG:3035", x, y)
    )


def test_comparing_the_same_pair_again_costs_no_transformation(monkeypatch):
    x, y = around(pyproj.CRS(3035))
    one, other = Grid("EPSG:3035", x, y), Grid(EUROPE, x, y)
    assert one.difference(other) is None
    monkeypatch.setattr(places, "_moved", None)
    assert one.difference(other) is None


def descriptions() -> dict:
    """EPSG:3035 as the objects of several libraries."""
    rasterio = pytest.importorskip("rasterio.crs")
    crs = pyproj.CRS(3035)
    return {
        "pyproj": crs, "number": 3035, "NumPy's number": np.int64(3035), "NumPy's text": np.str_("EPSG:3035"), "pair": ("EPSG", 3035), "rasterio": rasterio.CRS.from_epsg(3035),
        "PROJ's parameters": {"proj": "laea", "lat_0": 52, "lon_0": 10, "x_0": 4321000, "y_0": 3210000, "ellps": "GRS80", "units": "m"}, "PROJJSON": crs.to_json_dict(),
        "of a PROJ string": pyproj.CRS(EUROPE), "of CF": pyproj.CRS.from_cf(crs.to_cf()), "of ESRI": pyproj.CRS.from_wkt(crs.to_wkt("WKT1_ESRI")), "with "
                                                                                                                                                   "heights": pyproj.CRS("EPSG:3035+5773"),
        "rasterio of PROJ": rasterio.CRS.from_string(EUROPE),
    }  # fmt: skip


def test_a_grid_of_any_object_reaches_every_file_and_process_as_text(tmp_path):
    x, y = 4_321_000 + 2000.0 * np.arange(6), 3_210_000 - 2000.0 * np.arange(5)
    expected = Grid("EPSG:3035", x, y)
    for number, (name, crs) in enumerate(descriptions().items()):
        place = Grid(crs, x, y)
        assert (
            type(place.crs) is str
            and pickle.loads(pickle.dumps(place)).difference(expected) is None
        ), name
        if name not in ("pyproj", "rasterio", "PROJ's parameters", "with heights"):
            continue
        forecast = Forecast(np.ones((2, 5, 6)), times(0)[0], [300, 600], place)
        write_forecast(forecast, tmp_path / "f.nc", attributes={})
        assert read_forecast(tmp_path / "f.nc").grid.difference(expected) is None, name
        assert len(write_odim(forecast, tmp_path / "f.h5", attributes={})) == 2 and write_geotiff(
            forecast, tmp_path / "f.tif", attributes={}
        ), name
        reader = MemoryReader({"a": Frames(np.ones((1, 5, 6)), times(0), place)})
        convert(["a"], tmp_path / f"{number}.nc", reader=reader)
        assert Archive(tmp_path / f"{number}.nc").grid.difference(expected) is None, name
    with ReadingProcess(reader) as process:
        assert process.read("a").grid.difference(expected) is None


@pytest.mark.parametrize(
    "crs", [None, 3.5, 99999, b"EPSG:3035", [], "", {"a": 1}, object(), pyproj.CRS(4978)]
)
def test_what_is_no_projection_is_refused(crs):
    with pytest.raises(UserError, match="is not one PROJ knows|is no map"):
        Grid(crs, [0, 1], [1, 0])


def test_files_that_spell_their_projection_differently_are_one_set_and_one_archive(tmp_path):
    crs = pyproj.CRS(3035)
    x, y = 2000.0 * np.arange(6), -2000.0 * np.arange(5)
    frames = {
        str(i): Frames(np.full((1, 5, 6), i), times(5 * i), Grid(text, x + 0.3 * i, y))
        for i, text in enumerate(spellings(crs).values())
    }
    assert len(read_frames(frames, reader=MemoryReader(frames))) == len(frames)
    names = sorted(frames)
    convert(names[:3], tmp_path / "a.nc", reader=MemoryReader(frames))
    assert convert(names[3:], tmp_path / "a.nc", reader=MemoryReader(frames)).frames == len(frames)
    with pytest.raises(UserError, match="another grid than .*tolerance.pixels"):
        read_frames(
            ["0", "off"],
            reader=MemoryReader(
                frames | {"off": Frames(np.ones((1, 5, 6)), times(99), Grid(EUROPE, x + 1000, y))}
            ),
        )


def test_a_regridded_archive_takes_files_with_the_target_in_other_words_but_not_another_target(
    tmp_path,
):
    source = Grid("+proj=longlat +ellps=GRS80", 9 + 0.02 * np.arange(60), 53 - 0.02 * np.arange(60))
    frames = {str(i): Frames(np.full((1, 60, 60), i), times(5 * i), source) for i in range(4)}
    edges = {"x": [4_280_000, 4_300_000], "y": [3_200_000, 3_220_000]}

    def add(name, crs):
        return convert(
            [name],
            tmp_path / "a.nc",
            reader=MemoryReader(frames),
            prepare=Preparation(
                {"_target_": "tests.Memory"}, regrid=Regular(2000.0, crs=crs, **edges)
            ),
        ).frames

    assert [add("0", "EPSG:3035"), add("1", EUROPE), add("2", pyproj.CRS(3035).to_wkt())] == [
        1,
        2,
        3,
    ]
    with pytest.raises(
        UserError, match=r"made with other settings: regrid.crs \"EPSG:3035\" against \"EPSG:3034\""
    ):
        add("3", "EPSG:3034")
    with pytest.raises(
        UserError, match="regrid.crs: the projection 'EPSG:1' is not one PROJ knows"
    ):
        Regular(2000.0, crs="EPSG:1", **edges)
