"""A GeoTIFF's numbers become mm/h by what the file says, else by the settings, and never by a
guess.
"""

import warnings

import numpy as np
import pytest

from nowcast.readers import limits
from nowcast.readers.decoding import Coding
from nowcast.readers.geotiff import GeoTiff
from nowcast.runtime.errors import UserError
from tests.factories_readers import (
    cut_everywhere,
    first_real_file,
    from_settings_file,
    read_and_compare,
)

rasterio = pytest.importorskip("rasterio")
NAN = np.nan
NAMED = "%Y%m%d%H%M"
FMI = (
    '<GDALMetadata>\n<Item name="Observation time" '
    'format="YYYYMMDDhhmm">201609281445</Item>\n<Item name="Quantity" unit="dBZ">Corrected '
    "reflectivity</Item>\n"
    '<Item name="Gain">0.500000</Item>\n<Item name="Offset">-32.000000</Item>\n<Item '
    'name="Nodata">255</Item>\n<Item name="Undetect">0</Item>\n</GDALMetadata>\n'
)


def write_tif(
    path,
    *bands,
    crs="EPSG:3067",
    transform=None,
    metadata=None,
    scale=None,
    offset=None,
    unit=None,
    mask=None,
    written=None,
    **profile,
):
    """A GeoTIFF with 1 km pixels whose upper left corner is at 100 km, 7000 km; ``written``: only
    so many rows are stored.
    """
    bands = np.array(bands)
    place = (
        rasterio.Affine(1000, 0, 100_000, 0, -1000, 7_000_000)
        if transform is None
        else rasterio.Affine(*transform)
    )
    profile = {
        "driver": "GTiff",
        "count": len(bands),
        "height": bands.shape[1],
        "width": bands.shape[2],
        "dtype": bands.dtype,
        "crs": crs,
        "transform": place,
    } | profile
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "w", **profile) as file:
        if written is None:
            file.write(bands)
        else:
            file.write(bands[:, :written], window=((0, written), (0, bands.shape[2])))
        if mask is not None:
            file.write_mask(np.array(mask))
        if metadata:
            file.update_tags(GDAL_METADATA=metadata)
        if scale is not None:
            file.scales, file.offsets = [scale], [offset]
        if unit is not None:
            file.units = [unit]
    return path


def test_a_real_file_has_the_pixels_that_were_decoded_independently():
    frames = read_and_compare(GeoTiff(values=Coding(z_r_a=223.0, z_r_b=1.53)), "fmi_geotiff")
    assert frames.quantity == "reflectivity, Z = 223 R^1.53" and frames.grid.crs == "EPSG:3067"
    with rasterio.open(first_real_file("fmi_geotiff")[0]) as file:
        corners = [file.xy(0, 0), file.xy(7315, 4962)]  # centres
    np.testing.assert_allclose(
        [*frames.grid.x[[0, -1]], *frames.grid.y[[0, -1]]],
        [corners[0][0], corners[1][0], corners[0][1], corners[1][1]],
    )


def test_the_coarse_and_the_fine_real_composite_show_the_same_rain_at_the_same_place():
    import pyproj

    from nowcast.readers.fmi_pgm import FmiPgm

    fine = GeoTiff(values=Coding(z_r_a=223.0, z_r_b=1.53)).read(first_real_file("fmi_geotiff")[0])
    coarse = FmiPgm().read(first_real_file("fmi_pgm")[0])
    x, y = np.meshgrid(coarse.grid.x, coarse.grid.y)
    x, y = pyproj.Transformer.from_crs(coarse.grid.crs, fine.grid.crs, always_xy=True).transform(
        x, y
    )
    dy, dx = fine.grid.spacing
    column, row = (
        np.round((x - fine.grid.x[0]) / dx).astype(int),
        np.round((fine.grid.y[0] - y) / dy).astype(int),
    )
    inside = (row >= 0) & (row < 7316) & (column >= 0) & (column < 4963)
    there = np.where(inside, fine.values[0][row.clip(0, 7315), column.clip(0, 4962)], NAN)
    both = np.isfinite(there) & np.isfinite(coarse.values[0])
    assert (
        both.sum() > 600_000
        and np.corrcoef(there[both] >= 0.1, coarse.values[0][both] >= 0.1)[0, 1] > 0.9
    )


def test_a_file_of_fmi_says_everything_itself(tmp_path):
    frames = GeoTiff().read(
        write_tif(tmp_path / "a.tif", np.uint8([[0, 110], [255, 124]]), metadata=FMI)
    )
    np.testing.assert_allclose(
        frames.values[0], [[0, 0.99851], [NAN, 2.7343]], rtol=1e-4
    )  # (10^2.3 / 200)^(1 / 1.6), (1000 / 200)^(1 / 1.6)
    assert (
        frames.times[0] == np.datetime64("2016-09-28T14:45")
        and frames.quantity == "reflectivity, Z = 200 R^1.6"
    )
    np.testing.assert_allclose(
        [*frames.grid.x, *frames.grid.y], [100_500, 101_500, 6_999_500, 6_998_500]
    )


def test_scale_offset_nodata_and_unit_of_the_band_are_taken_from_the_file(tmp_path):
    path = write_tif(
        tmp_path / "202001010005.tif",
        np.int16([[0, 25, -1]]),
        nodata=-1,
        scale=0.1,
        offset=0.5,
        unit="mm/h",
    )
    frames = GeoTiff(time=NAMED).read(path)
    np.testing.assert_allclose(frames.values[0], [[0.5, 3.0, NAN]], rtol=1e-6)
    assert frames.times[0] == np.datetime64("2020-01-01T00:05") and frames.quantity == "rain rate"


def test_settings_rule_over_the_file(tmp_path):
    path = write_tif(tmp_path / "202001010005.tif", np.uint8([[0, 110, 255, 7]]), metadata=FMI)
    values = Coding("rain_depth", minutes=15, gain=0.1, offset=0.0, missing=(7,), undetect=255)
    frames = GeoTiff(values=values, time=NAMED).read(path)
    np.testing.assert_allclose(frames.values[0], [[0, 44, 0, NAN]], rtol=1e-6)  # 11 mm in 15 min
    assert (
        frames.times[0] == np.datetime64("2020-01-01T00:05")
        and frames.quantity == "rain depth in 15 min"
    )


def test_nan_and_nodata_of_a_float_file_are_missing(tmp_path):
    for nodata in (None, NAN, -9999.0):
        path = write_tif(
            tmp_path / "202001010005.tif",
            np.float32([[0, 2.5, NAN, -9999.0 if nodata == -9999 else 1]]),
            nodata=nodata,
            unit="mm h-1",
        )
        np.testing.assert_array_equal(
            GeoTiff(time=NAMED).read(path).values[0], [[0, 2.5, NAN, NAN if nodata == -9999 else 1]]
        )


def test_the_files_own_mask_is_missing_not_dry(tmp_path):
    path = write_tif(
        tmp_path / "202001010005.tif",
        np.float32([[0, 0, 3]]),
        unit="mm/h",
        mask=[[True, False, True]],
    )
    np.testing.assert_array_equal(GeoTiff(time=NAMED).read(path).values[0], [[0, NAN, 3]])


def test_rows_from_the_south_are_turned(tmp_path):
    path = write_tif(
        tmp_path / "202001010005.tif",
        np.float32([[1, 2], [3, 4]]),
        unit="mm/h",
        transform=(1000, 0, 0, 0, 1000, 5000),
    )
    frames = GeoTiff(time=NAMED).read(path)
    assert frames.values[0].tolist() == [[3, 4], [1, 2]] and frames.grid.y.tolist() == [6500, 5500]


def test_one_band_of_several_is_read_on_request(tmp_path):
    path = write_tif(tmp_path / "202001010005.tif", np.float32([[1]]), np.float32([[2]]))
    values = Coding("rain_rate")
    assert GeoTiff(values=values, time=NAMED, band=2).read(path).values[0, 0, 0] == 2
    for band in (None, 0, 3):
        with pytest.raises(
            UserError, match="has 2 band.s.; set reader.band to the one to read, 1 to 2"
        ):
            GeoTiff(values=values, time=NAMED, band=band).read(path)


def test_a_projection_without_a_code_is_kept_whole(tmp_path):
    import pyproj

    laea = "+proj=laea +lat_0=55 +lon_0=10 +x_0=1950000 +y_0=-2100000 +ellps=WGS84 +units=m"
    path = write_tif(tmp_path / "202001010005.tif", np.float32([[1]]), unit="mm/h", crs=laea)
    grid = GeoTiff(time=NAMED).read(path).grid
    np.testing.assert_allclose(
        pyproj.Proj(pyproj.CRS(grid.crs))(10.0, 55.0), (1_950_000, -2_100_000), atol=1e-3
    )


@pytest.mark.parametrize(
    "name",
    [
        "a#b 202001010005.tif",
        "a?b=202001010005.tif",
        "zip!202001010005.tif",
        "[x]{y}202001010005.tif",
        "GTIFF_DIR:1:202001010005.tif",
        "é202001010005",
    ],
)
def test_a_name_is_a_name_and_no_instruction_to_gdal(tmp_path, monkeypatch, name):
    write_tif(tmp_path / "a.tif", np.float32([[1]]), unit="mm/h").rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert GeoTiff(time=NAMED).read(name).values[0, 0, 0] == 1


def test_a_file_beside_it_changes_nothing(tmp_path):
    path = write_tif(tmp_path / "202001010005.tif", np.float32([[7, 1]]), unit="mm/h")
    (tmp_path / "202001010005.tif.aux.xml").write_text(
        "<PAMDataset><PAMRasterBand "
        "band='1'><NoDataValue>7</NoDataValue></PAMRasterBand></PAMDataset>"
    )
    assert GeoTiff(time=NAMED).read(path).values[0].tolist() == [[7, 1]]


def test_a_mask_in_a_second_file_is_asked_into_the_first(tmp_path):
    path = write_tif(tmp_path / "202001010005.tif", np.float32([[7, 1]]), unit="mm/h")
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as file:
        file.write_mask(np.array([[False, True]]))
    assert path.with_name(f"{path.name}.msk").exists()
    with pytest.raises(
        UserError,
        match="has its mask in a second file, 202001010005.tif.msk, without which what was not "
        "observed looks dry",
    ):
        GeoTiff(time=NAMED).read(path)


def test_all_dry_and_all_missing_are_told_apart(tmp_path):
    path = write_tif(tmp_path / "a.tif", np.zeros((3, 4), np.uint8), metadata=FMI)
    assert (GeoTiff().read(path).values == 0).all()
    assert np.isnan(
        GeoTiff().read(write_tif(path, np.full((3, 4), 255, np.uint8), metadata=FMI)).values
    ).all()


ONE = np.uint8([[9, 5]])


@pytest.mark.parametrize(
    "settings, changes, message",
    [
        (
            {},
            {},
            "does not say when it was observed: it has no item 'observation time'; set "
            "reader.time to the form its name has, e.g. '%Y%m%d%H%M'",
        ),
        (
            {},
            {"metadata": FMI.replace("201609281445", "201613281445")},
            "does not say when it was observed",
        ),
        (
            {},
            {"metadata": FMI.replace("YYYYMMDDhhmm", "local")},
            "does not say when it was observed",
        ),
        (
            {"time": "no-%Y%m%d%H%M"},
            {"metadata": FMI},
            "its name contains no time of the form 'no-%Y%m%d%H%M'",
        ),
        ({"time": NAMED}, {}, "does not say what its values are; set reader.values.quantity"),
        ({"time": NAMED}, {"unit": "furlong"}, "does not say what its values are"),
        (
            {"time": NAMED},
            {"unit": "mm"},
            "does not say how long its rain depths were collected; set reader.values.minutes",
        ),
        (
            {"time": NAMED},
            {"unit": "mm/h"},
            "does not say which number means missing; set reader.values.missing, e.g. to .255., "
            "or to .. if there is none",
        ),
        ({}, {"metadata": FMI, "crs": None}, "has no projection; a georeferenced TIFF is needed"),
        (
            {},
            {"metadata": FMI, "transform": (1000, 50, 0, 50, -1000, 0)},
            "its grid is rotated by 50 and 50 .of the geotransform., expected 0 and 0",
        ),
        (
            {},
            {"metadata": FMI, "transform": (-1000, 0, 0, 0, -1000, 0)},
            "its pixels are -1000 x -1000 wide and high .of the geotransform., expected a width "
            "above 0",
        ),
        (
            {},
            {"metadata": FMI.replace("0.500000", "0.0")},
            "gain is 0, which makes every value the same",
        ),
        (
            {},
            {"metadata": FMI.replace("0.500000", "500")},
            "rates that are negative or above 5000 mm/h",
        ),
    ],
)
def test_what_neither_the_file_nor_the_settings_say_is_asked_for_by_name(
    tmp_path, settings, changes, message
):
    with pytest.raises(UserError, match=f"202001010005.tif.*{message}"):
        GeoTiff(**settings).read(write_tif(tmp_path / "202001010005.tif", ONE, **changes))


def test_an_undeclared_mark_of_reflectivity_is_refused_instead_of_becoming_dry(tmp_path):
    path = write_tif(tmp_path / "202001010005.tif", np.float32([[-9999, 30]]), unit="dBZ")
    with pytest.raises(UserError, match="rates that are negative or above 5000 mm/h"):
        GeoTiff(time=NAMED).read(path)


def test_blocks_that_were_never_written_are_refused_or_missing_never_dry(tmp_path):
    field = np.full((64, 16), 3, np.float32)
    sparse = {"unit": "mm/h", "written": 16, "sparse_ok": True, "blockysize": 16}
    with pytest.raises(UserError, match="is incomplete, parts of it were lost or never written"):
        GeoTiff(time=NAMED).read(write_tif(tmp_path / "202001010005.tif", field, **sparse))
    values = (
        GeoTiff(time=NAMED)
        .read(write_tif(tmp_path / "202001010005.tif", field, nodata=-9999, **sparse))
        .values[0]
    )
    assert (values[:16] == 3).all() and np.isnan(values[16:]).all()
    with pytest.raises(
        UserError, match="is incomplete, parts of it were lost or never written"
    ):  # what is missing has another mark by the settings
        GeoTiff(values=Coding(missing=(255,)), time=NAMED).read(
            write_tif(tmp_path / "202001010005.tif", field, nodata=0, **sparse)
        )


def test_more_pixels_than_accepted_are_refused_unread(tmp_path, monkeypatch):
    path = write_tif(tmp_path / "a.tif", np.zeros((20, 30), np.uint8), metadata=FMI)
    monkeypatch.setattr(limits, "MAX_PIXELS", 599)
    with pytest.raises(UserError, match="claims 20x30 pixels; expected 1 to 599 in a frame"):
        GeoTiff().read(path)


def test_complex_numbers_are_refused(tmp_path):
    with pytest.raises(UserError, match="has values of type complex64; plain numbers are needed"):
        GeoTiff().read(write_tif(tmp_path / "a.tif", np.complex64([[1]])))


@pytest.mark.parametrize(
    "layout", [{}, {"compress": "deflate", "tiled": True, "blockxsize": 16, "blockysize": 16}]
)
def test_a_file_cut_anywhere_is_refused_or_whole(tmp_path, layout):
    field = np.random.default_rng(0).integers(0, 200, (40, 50)).astype(np.uint8)
    assert (
        cut_everywhere(GeoTiff(), write_tif(tmp_path / "a.tif", field, metadata=FMI, **layout))
        >= 60
    )


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "is empty; a GeoTIFF file is needed"),
        (b"no radar data", "is no GeoTIFF"),
        (b"II*\0\x08\0\0\0", "is damaged or cut short"),
    ],
)
def test_a_foreign_file_is_not_recognised_and_refused(tmp_path, content, message):
    (tmp_path / "a.tif").write_bytes(content)
    assert not GeoTiff().recognises(tmp_path / "a.tif")
    with pytest.raises(UserError, match=f"a.tif {message}"):
        GeoTiff().read(tmp_path / "a.tif")


def test_only_a_tiff_with_a_projection_is_recognised_and_nobody_is_warned(tmp_path):
    assert GeoTiff().recognises(write_tif(tmp_path / "a.tif", ONE))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = write_tif(tmp_path / "b.tif", ONE, crs=None, transform=(1, 0, 0, 0, 1, 0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [GeoTiff().recognises(path) for path in (plain, tmp_path, tmp_path / "none")] == [
            False
        ] * 3


def test_a_wrong_pattern_is_refused_at_once_and_the_settings_file_builds_the_reader():
    with pytest.raises(UserError, match="reader.time is 'today'; a pattern of year"):
        GeoTiff(time="today")
    assert from_settings_file("geotiff") == GeoTiff()


def test_an_undeclared_mark_is_refused_and_read_as_the_setting_says(tmp_path):
    for kind, mark, nodata in (("f4", 999, -1), ("f4", 999, None), ("u1", 255, 200)):
        raw = np.zeros((4, 5), kind)
        raw[0, :4] = mark
        path = write_tif(tmp_path / "201808241800.tif", raw, nodata=nodata)
        with pytest.raises(
            UserError, match=f"4 of 20 pixels are {mark}, .*; set reader.values.missing to"
        ):
            GeoTiff(Coding("rain_rate"), time=NAMED).read(path)
        frames = GeoTiff(Coding("rain_rate", missing=(mark,)), time=NAMED).read(path)
        assert np.isnan(frames.values).sum() == 4 and np.nanmax(frames.values) == 0


@pytest.mark.parametrize("kind", ["f4", "f8", "u1", "u2", "i2"])
@pytest.mark.parametrize("first", [False, True])
def test_where_alpha_is_0_it_is_missing_not_dry_whatever_its_type(tmp_path, kind, first):
    rain, alpha = [[0, 0, 2]], [[0, 1, 1]]
    path = write_tif(
        tmp_path / "201808241800.tif",
        *np.array([alpha, rain] if first else [rain, alpha], kind),
        unit=None,
    )
    colours = [rasterio.enums.ColorInterp.gray, rasterio.enums.ColorInterp.alpha]
    with rasterio.open(path, "r+") as file:
        file.colorinterp = colours[::-1] if first else colours
    frames = GeoTiff(Coding("rain_rate", missing=()), time=NAMED).read(path)
    np.testing.assert_array_equal(frames.values, [[[NAN, 0, 2]]])
    number = 1 if first else 2
    with pytest.raises(UserError, match=f"band {number} is alpha, which says where there are valu"):
        GeoTiff(Coding("rain_rate", missing=()), time=NAMED, band=number).read(path)


@pytest.mark.parametrize(
    ("unit", "rate"),
    [("kg m-2 s-1", 7200), ("mm/day", 2 / 24), ("m s-1", None), ("mm hr^-1", 2), ("inch/h", 50.8)],
)
def test_a_unit_is_understood_as_in_netcdf_files(tmp_path, unit, rate):
    raw = np.float32([[0, 2 if rate else 2e-6]])
    path = write_tif(tmp_path / "201808241800.tif", raw, unit=unit)
    if rate == 7200:
        with pytest.raises(UserError, match="above 5000 mm/h"):
            GeoTiff(time=NAMED).read(path)
        return
    frames = GeoTiff(time=NAMED).read(path)
    np.testing.assert_allclose(frames.values, [[[0, rate or 7.2]]], rtol=1e-6)
    told = GeoTiff(Coding("rain_depth", minutes=60), time=NAMED).read(path)
    np.testing.assert_allclose(told.values, raw[None], rtol=1e-6)  # the settings rule


def test_a_unit_in_a_tag_counts_and_an_unknown_one_is_asked_for(tmp_path):
    path = write_tif(tmp_path / "201808241800.tif", np.float32([[0, 3e-4]]))
    with rasterio.open(path, "r+") as file:
        file.update_tags(1, units="kg m-2 s-1")
    np.testing.assert_allclose(GeoTiff(time=NAMED).read(path).values, [[[0, 1.08]]], rtol=1e-6)
    path = write_tif(tmp_path / "201808241805.tif", np.float32([[0, 1]]), unit="furlongs")
    with pytest.raises(UserError, match="does not say what its values are; set reader.values.quan"):
        GeoTiff(time=NAMED).read(path)
