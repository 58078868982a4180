"""Where the pixels of an ODIM_H5 file are: by which of its statements, what is remarked, what is
refused with which numbers, and what overrules it.
"""

import h5py
import numpy as np
import pyproj
import pytest
import yaml

from nowcast.cli.config import folder
from nowcast.data.archive import Archive
from nowcast.data.conversion import convert
from nowcast.data.inputs import read_frames
from nowcast.data.inspection import info, info_of_files, info_of_frames
from nowcast.data.reading import ReadingProcess
from nowcast.data.tolerant import Tolerant
from nowcast.readers.auto import Auto
from nowcast.readers.odim_hdf5 import OdimHdf5
from nowcast.readers.projection import projection_in_metres
from nowcast.runtime.build import build
from nowcast.runtime.errors import UserError
from nowcast.types.tolerance import Tolerance
from tests.factories import LAEA
from tests.factories_odim import (
    COLUMNS,
    CORNERS,
    LEFT,
    ONE_PLACE,
    PIXEL,
    ROWS,
    TOP,
    Dialect,
    X,
    Y,
    corners_of,
    write_dialect,
    write_map,
)

CENTRES = "its corners are the centres of the corner pixels"
KILOMETRES = "its scales are in kilometres"


def changed(path, **changes):
    """A file with other attributes of the group where; None leaves one out."""
    with h5py.File(path, "a") as file:
        for name, value in changes.items():
            if value is None:
                del file["where"].attrs[name]
            else:
                file["where"].attrs[name] = value
    return path


def moved(path, corner, *, x=0.0, y=0.0):
    """A file one of whose corners lies so many metres off."""
    with h5py.File(path, "a") as file:
        where = file["where"].attrs
        to_map = pyproj.Proj(LAEA)
        place = to_map(where[f"{corner}_lon"], where[f"{corner}_lat"])
        degrees = to_map(place[0] + x, place[1] + y, inverse=True)
        where[f"{corner}_lon"], where[f"{corner}_lat"] = degrees
    return path


def plain(tmp_path, name="a.h5", **dialect):
    return write_dialect(tmp_path / name, Dialect(**dialect))


def assert_in_place(frames):
    np.testing.assert_allclose(frames.grid.x, X, atol=1e-3)
    np.testing.assert_allclose(frames.grid.y, Y, atol=1e-3)


# statements that contradict each other


@pytest.mark.parametrize("corner", ["UL", "UR", "LL", "LR"])
@pytest.mark.parametrize("centres", [False, True])
def test_one_wrong_corner_of_four_is_left_out_and_said(tmp_path, corner, centres):
    path = moved(plain(tmp_path, centres=centres), corner, y=15_000.0)
    frames = OdimHdf5().read(path)
    assert_in_place(frames)
    said = f"its {corner}_lon and {corner}_lat lie 7.5 pixels off what the other corners say, and w"
    assert [said in remark for remark in frames.remarks][-1] and len(frames.remarks) == 1 + centres


def test_two_corners_that_lie_opposite_each_other_are_enough_where_the_others_are_wrong(tmp_path):
    path = moved(moved(plain(tmp_path), "UR", x=9000.0), "LL", y=9000.0)
    frames = OdimHdf5().read(path)
    assert_in_place(frames)
    assert len(frames.remarks) == 2


@pytest.mark.parametrize("corners", ["UL and LR", "LL and UR", "those of the north"])
def test_two_corners_that_contradict_the_scales_are_refused_with_the_numbers(tmp_path, corners):
    path = moved(plain(tmp_path, corners=corners), corners[:2].replace("th", "UL"), x=-3000.0)
    with pytest.raises(
        UserError,
        match="a.h5: the corners in where are 13000 apart in x, expected 10000 for xsize 5 and "
        "where/xscale 2000, give or take 0.5 pixels .8000 between centres of pixels., be the scale "
        "in metres or kilometres; with reader=odim_hdf5 set reader.grid to what is true: corners",
    ):
        OdimHdf5().read(path)


def test_corners_of_one_side_that_contradict_each_other_are_refused_with_the_places(tmp_path):
    path = moved(plain(tmp_path, corners="those of the north"), "UR", y=-3000.0)
    with pytest.raises(
        UserError,
        match="contradict each other, as the upper left corner of the map is x 10000(.0*)? and y "
        "-20000(.0*)? by UL_lon and UL_lat, x 10000(.0*)? and y -23000(.0*)? by UR_lon and UR_lat, "
        "which is more than 0.5 pixels apart",
    ):
        OdimHdf5().read(path)


def test_coordinates_in_the_projection_are_never_left_out(tmp_path):
    path = changed(plain(tmp_path, corners="UL_x and all"), UL_x=LEFT + 3 * PIXEL)
    with pytest.raises(UserError, match="is x 10000.* by UL_lon .*, x 16000.* by UL_x and UL_y"):
        OdimHdf5().read(path)


def test_coordinates_in_the_projection_count_before_rounded_degrees(tmp_path):
    path = plain(tmp_path, corners="UL_x and all")
    with h5py.File(path, "a") as file:
        for name in [name for name in file["where"].attrs if name.endswith(("lon", "lat"))]:
            file["where"].attrs[name] = round(file["where"].attrs[name], 2)
    grid = OdimHdf5().read(path).grid
    assert [*grid.x, *grid.y] == [*X, *Y]


def test_a_corner_of_which_half_is_stated_is_refused_by_name(tmp_path):
    with pytest.raises(
        UserError, match="no number where/UR_lat; expected UR_lon and UR_lat, or neither"
    ):
        OdimHdf5().read(changed(plain(tmp_path), UR_lat=None))
    with pytest.raises(UserError, match="no number where/UL_y; expected UL_x and UL_y, or neither"):
        OdimHdf5().read(changed(plain(tmp_path, corners="UL_x"), UL_y=None))


def test_the_tolerance_of_corners_holds_for_every_reading(tmp_path):
    for centres, kilometres in ((False, False), (True, False), (False, True), (True, True)):
        path = plain(tmp_path, corners="UL and LR", centres=centres, kilometres=kilometres)
        path = moved(path, "LR", x=0.4 * PIXEL)
        assert OdimHdf5().read(path).grid.shape == (ROWS, COLUMNS)
        with pytest.raises(UserError, match="give or take 0.3 pixels"):
            Tolerant(OdimHdf5(), Tolerance(corners=0.3)).read(path)


def test_corners_of_a_wrong_projection_are_refused(tmp_path):
    path = changed(plain(tmp_path), projdef=LAEA.replace("lon_0=10.0", "lon_0=70.0"))
    with pytest.raises(UserError, match="the corners in where are .* apart in x, expected 10000"):
        OdimHdf5().read(path)


# corners that are rounded, or projected roughly


def rough(tmp_path, offsets, *, kilometres):
    """A file whose corners lie some metres off, each in its own way, in the order of LL UL UR LR."""
    path = plain(tmp_path, kilometres=kilometres)
    for corner, (x, y) in zip(("LL", "UL", "UR", "LR"), offsets):
        moved(path, corner, x=x, y=y)
    return path


ROUGH = [(48.0, 236.0), (58.0, 514.0), (126.0, 484.0), (146.0, 248.0)]


def test_a_map_whose_corners_are_rough_begins_at_whole_multiples_of_its_pixels(tmp_path):
    frames = OdimHdf5().read(rough(tmp_path, ROUGH, kilometres=True))
    assert [*frames.grid.x, *frames.grid.y] == [*X, *Y]
    said = "its corners are inexact: the map begins at whole multiples of a pixel"
    assert frames.remarks == (KILOMETRES, said)


def test_rough_corners_in_the_standards_own_words_are_where_an_older_nowcast_had_them(tmp_path):
    frames = OdimHdf5().read(rough(tmp_path, ROUGH, kilometres=False))
    assert frames.remarks == ()
    np.testing.assert_allclose(
        [frames.grid.x[0], frames.grid.y[0]], [X[0] + 58, Y[0] + 514], atol=0.01
    )


def test_exact_corners_off_multiples_of_a_pixel_stay_where_they_are(tmp_path):
    frames = OdimHdf5().read(rough(tmp_path, [(600.0, 600.0)] * 4, kilometres=True))
    np.testing.assert_allclose(frames.grid.x, X + 600, atol=1e-3)
    a_little_rough = [(600.0, 600.0), (660.0, 600.0), (600.0, 660.0), (600.0, 600.0)]
    frames = OdimHdf5().read(rough(tmp_path, a_little_rough, kilometres=True))
    assert frames.remarks == (KILOMETRES,) and abs(frames.grid.x[0] - X[0] - 600) <= 60


# scales


@pytest.mark.parametrize(
    "scale, metres", [(0.25, 250), (1.0, 1000), (2.0, 2000), (19.0, 19_000), (20.0, 20), (500, 500)]
)
def test_a_scale_that_nothing_confirms_is_in_metres_unless_no_radar_has_such_pixels(
    tmp_path, scale, metres
):
    path = changed(plain(tmp_path, corners="UL"), xscale=scale, yscale=scale)
    frames = OdimHdf5().read(path)
    np.testing.assert_allclose(frames.grid.spacing, metres, rtol=1e-9)
    assert frames.remarks == ((KILOMETRES,) if metres != scale else ())


def test_one_scale_of_two_is_that_of_both(tmp_path):
    frames = OdimHdf5().read(changed(plain(tmp_path), yscale=None))
    assert_in_place(frames)
    assert frames.remarks == ("one of its scales is missing: its pixels are taken to be square",)


def test_pixels_need_not_be_square(tmp_path):
    path = plain(tmp_path)
    wide = corners_of(LAEA, left=LEFT, top=TOP, width=COLUMNS * 3000.0, height=ROWS * PIXEL)
    frames = OdimHdf5().read(changed(path, xscale=3.0, yscale=2.0, **wide))
    np.testing.assert_allclose(frames.grid.spacing, (2000, 3000))


def longitudes(tmp_path, **where):
    stated = {
        "projdef": "+proj=longlat +datum=WGS84",
        "UL_lon": 5.0,
        "UL_lat": 54.0,
        "LR_lon": 5.5,
        "LR_lat": 53.7,
    }
    groups = {
        "what": {"object": "COMP", "date": "20180824", "time": "180000", "quantity": "RATE"},
        "where": stated | where,
    }
    return write_map(tmp_path / "a.h5", np.ones((ROWS, COLUMNS)), groups)


def test_scales_in_metres_say_nothing_of_degrees(tmp_path):
    frames = OdimHdf5().read(longitudes(tmp_path, xscale=1000.0, yscale=1000.0))
    np.testing.assert_allclose(frames.grid.x, [5.05, 5.15, 5.25, 5.35, 5.45])
    np.testing.assert_allclose(frames.grid.y, [53.95, 53.85, 53.75])
    assert frames.remarks[0] == "its scales are no degrees and were not used"


def test_longitudes_may_be_stated_over_the_date_line_and_in_centres(tmp_path):
    where = {"xscale": 0.1, "yscale": 0.1, "UL_lon": 179.8, "LR_lon": -179.8, "LR_lat": 53.8}
    frames = OdimHdf5().read(longitudes(tmp_path, **where))
    np.testing.assert_allclose(frames.grid.x, [179.8, 179.9, 180.0, 180.1, 180.2])
    assert frames.remarks == (CENTRES,)


# few corners, or none


@pytest.mark.parametrize("corners", ["those of the north", "UL", "UL_x"])
def test_without_scales_corners_that_do_not_lie_opposite_are_not_enough(tmp_path, corners):
    with pytest.raises(UserError, match="has no corners .*that lie opposite each other, by which"):
        OdimHdf5().read(plain(tmp_path, corners=corners, scales=False))


def test_without_scales_corners_that_form_no_rectangle_are_refused(tmp_path):
    path = moved(moved(plain(tmp_path, scales=False), "UR", x=9000.0), "LL", y=9000.0)
    with pytest.raises(UserError, match="form no rectangle in the projection"):
        OdimHdf5().read(path)


def test_without_scales_one_wrong_corner_of_four_is_left_out_and_said(tmp_path):
    frames = OdimHdf5().read(moved(plain(tmp_path, scales=False), "LR", y=15_000.0))
    assert_in_place(frames)
    assert "its LR_lon and LR_lat lie" in frames.remarks[1]


def without_corners(tmp_path, projdef):
    path = plain(tmp_path, corners="UL")
    return changed(path, UL_lon=None, UL_lat=None, projdef=projdef)


def test_a_false_origin_that_puts_the_projections_centre_into_the_map_says_where_it_begins(
    tmp_path,
):
    origin = ("its map is taken to begin at the origin of its projection",)
    upper = without_corners(tmp_path, "+proj=laea +lat_0=55 +lon_0=10 +x_0=5000 +y_0=-3000")
    frames = OdimHdf5().read(upper)
    assert [*frames.grid.x[[0, -1]], *frames.grid.y[[0, -1]]] == [1000, 9000, -1000, -5000]
    assert frames.remarks == origin
    lower = without_corners(tmp_path, "+proj=laea +lat_0=55 +lon_0=10 +x_0=5000 +y_0=3000")
    frames = OdimHdf5().read(lower)
    assert [*frames.grid.x[[0, -1]], *frames.grid.y[[0, -1]]] == [1000, 9000, 5000, 1000]


@pytest.mark.parametrize(
    "projdef",
    [
        "+proj=laea +lat_0=55 +lon_0=10",
        "+proj=stere +lat_0=90 +lon_0=10 +lat_ts=60 +x_0=543196.8 +y_0=3622588.9",
        LAEA,
    ],
)
def test_without_corners_a_map_that_could_lie_anywhere_is_refused_unless_somebody_says_it(
    tmp_path, projdef
):
    path = without_corners(tmp_path, projdef)
    with pytest.raises(
        UserError,
        match="has no corner .*nothing says where its pixels are; .*reader.grid to scales",
    ):
        OdimHdf5().read(path)
    grid = OdimHdf5(grid="scales").read(path).grid
    assert [*grid.x[[0, -1]], *grid.y[[0, -1]]] == [1000, 9000, -1000, -5000]


# what overrules a file


def test_the_source_that_is_named_counts_alone(tmp_path):
    path = moved(plain(tmp_path, corners="UL and LR"), "LR", x=5000.0, y=-3000.0)
    with pytest.raises(UserError, match="15000 apart in x, expected 10000"):
        OdimHdf5().read(path)
    corners = OdimHdf5(grid="corners").read(path)
    np.testing.assert_allclose(corners.grid.spacing, (3000, 3000), atol=1e-3)
    np.testing.assert_allclose(corners.grid.x[0], LEFT + 1500, atol=1e-3)
    centres = OdimHdf5(grid="centres").read(path).grid
    np.testing.assert_allclose(centres.spacing, (4500, 3750), atol=1e-3)
    np.testing.assert_allclose([centres.x[0], centres.y[0]], [LEFT, TOP], atol=1e-3)
    assert_in_place(OdimHdf5(grid="scales").read(path))
    given = OdimHdf5(grid="given", x=500.0, y=-500.0, dx=1000.0, dy=1000.0).read(path).grid
    assert [*given.x, *given.y] == [500, 1500, 2500, 3500, 4500, -500, -1500, -2500]


@pytest.mark.parametrize("corners", ["all", "LL and UR", "UL", "LR", "UL_x", "UL_x and all"])
@pytest.mark.parametrize("kilometres", [False, True])
def test_by_scales_alone_the_first_corner_is_an_outer_one(tmp_path, corners, kilometres):
    path = plain(tmp_path, corners=corners, kilometres=kilometres)
    frames = OdimHdf5(grid="scales").read(path)
    assert_in_place(frames)
    assert frames.remarks == ((KILOMETRES,) if kilometres else ())


def test_where_the_grid_is_given_the_scales_are_the_files_unless_they_are_given_too(tmp_path):
    frames = OdimHdf5(grid="given", x=0.0, y=0.0, dy=500.0).read(plain(tmp_path, kilometres=True))
    assert frames.grid.spacing == (500, 2000) and frames.grid.x[0] == frames.grid.y[0] == 0
    with pytest.raises(UserError, match="has no number where/xscale and where/yscale in the unit"):
        OdimHdf5(grid="given", x=0.0, y=0.0, dy=500.0).read(plain(tmp_path, scales=False))


def test_what_does_not_count_may_be_broken(tmp_path):
    wrong_scale = changed(plain(tmp_path), xscale=0.0)
    with pytest.raises(UserError, match="where/xscale is 0; expected a size of pixels above 0"):
        OdimHdf5().read(wrong_scale)
    assert_in_place(OdimHdf5(grid="corners").read(wrong_scale))
    wrong_both = changed(wrong_scale, UL_lon=np.nan)
    grid = OdimHdf5(grid="given", x=X[0], y=Y[0], dx=PIXEL, dy=PIXEL).read(wrong_both).grid
    assert [*grid.x, *grid.y] == [*X, *Y]


def test_a_projection_that_is_set_counts_instead_of_the_files(tmp_path):
    path = changed(plain(tmp_path), projdef=None)
    with pytest.raises(
        UserError, match="has no text where/projdef, .*; with reader=odim_hdf5 set reader.crs to it"
    ):
        OdimHdf5().read(path)
    assert_in_place(OdimHdf5(crs=LAEA).read(path))
    utm = OdimHdf5(crs=32632, grid="given", x=0.0, y=0.0).read(plain(tmp_path)).grid
    assert utm.crs == "EPSG:32632"


@pytest.mark.parametrize(
    "settings, message",
    [
        (
            {"grid": "corner"},
            "reader.grid is 'corner'; accepted are corners, centres, scales, given",
        ),
        ({"grid": "given"}, "reader.grid is given, which needs reader.x and reader.y"),
        ({"grid": "given", "x": 1.0}, "reader.grid is given, which needs reader.x and reader.y"),
        ({"x": 1.0}, "reader.x counts only where reader.grid is given; set that, or leave"),
        ({"grid": "corners", "dy": 1.0}, "reader.dy counts only where reader.grid is given"),
        ({"grid": "given", "x": "a", "y": 0}, "reader.x is 'a'; a finite number is needed"),
        ({"grid": "given", "x": 0, "y": 0, "dx": -1}, "reader.dx is -1; a finite number is needed"),
        ({"minutes": 0}, "minutes is 0; a positive number is needed"),
    ],
)
def test_settings_that_contradict_each_other_are_refused_at_once(settings, message):
    with pytest.raises(UserError, match=message):
        OdimHdf5(**settings)


def test_the_file_in_conf_names_every_setting_with_its_default():
    node = yaml.safe_load((folder() / "reader/odim_hdf5.yaml").read_text())
    assert build(node, "reader") == OdimHdf5()


def test_centres_of_a_single_column_do_not_say_how_wide_it_is(tmp_path):
    where = corners_of(LAEA, left=0.0, top=0.0, width=1000.0, height=3000.0)
    groups = {
        "what": {"object": "COMP", "date": "20180824", "time": "180000", "quantity": "RATE"},
        "where": {"projdef": LAEA, **where},
    }
    path = write_map(tmp_path / "a.h5", np.ones((3, 1)), groups)
    assert OdimHdf5().read(path).grid.shape == (3, 1)
    with pytest.raises(UserError, match="that lie opposite each other, by which the size of its"):
        OdimHdf5(grid="centres").read(path)


# projections


@pytest.mark.parametrize(
    "stated, meant",
    [
        ("+proj=merc +a=6378137 +b=6378137 +nadgrids=@null +wktext", "+proj=merc +a=6378137 +b=6378137"),
        ("+proj=merc +lon_0=18.7 +lon_ts=0 +lat_ts=48.43 +ellps=sphere", "+proj=merc +lon_0=18.7 +lat_ts=48.43 +ellps=sphere"),
        ("+lon_0=10 +units=m +lat_0=55 +ellps=WGS84 +proj=laea +type=crs", "+proj=laea +lat_0=55 +lon_0=10 +ellps=WGS84"),
        ("proj=laea lat_0=55 lon_0=10 ellps=WGS84", "+proj=laea +lat_0=55 +lon_0=10 +ellps=WGS84"),
        ("+proj=laea +lat_0 = 55 +lon_0= 10 +ellps=WGS84", "+proj=laea +lat_0=55 +lon_0=10 +ellps=WGS84"),
        ("+proj=laea +lat_0=55 +lat_0=40 +lon_0=10 +ellps=WGS84", "+proj=laea +lat_0=55 +lon_0=10 +ellps=WGS84"),
        ("+proj=laea +lat_0=55 +towgs84=0,0,0,0,0,0,0 +ellps=WGS84 +geoidgrids=egm96.gtx +vunits=m", "+proj=laea +lat_0=55 +ellps=WGS84"),
        ("+proj=lcc +lat_1=49.8 +lat_2=51.2 +lat_0=50.8 +lon_0=4.36 +ellps=GRS80 +R_A", "+proj=lcc +lat_1=49.8 +lat_2=51.2 +lat_0=50.8 +lon_0=4.36 +ellps=GRS80 +R_A"),
    ],
)  # fmt: skip
def test_a_projection_is_what_proj_makes_of_it(stated, meant):
    text = projection_in_metres(stated, "a.h5")
    for place in ((12.0, 56.0), (-3.0, 48.0)):
        np.testing.assert_allclose(pyproj.Proj(text)(*place), pyproj.Proj(meant)(*place), atol=1e-6)
    assert "nadgrids" not in text and "geoidgrids" not in text


def test_a_code_may_have_a_datum_grid_that_shifts_nothing():
    assert projection_in_metres("+init=epsg:3067 +nadgrids=@null", "a.h5") == "EPSG:3067"


# where remarks go


def test_remarks_are_shown_and_kept_in_the_archive(tmp_path):
    paths = []
    for minute in (0, 5, 10):
        path = plain(tmp_path, f"{minute}.h5", centres=True, kilometres=minute > 0)
        with h5py.File(path, "a") as file:
            file["what"].attrs["time"] = f"18{minute:02d}00"
            for name in ("starttime", "startdate"):
                del file["dataset1/data1/what"].attrs[name]
        paths.append(path)
    said = f"remarks     {CENTRES}"
    first = Auto().read(paths[0])
    assert said in info_of_frames(first, "ODIM_H5")
    assert read_frames(paths, reader=Auto()).remarks == (CENTRES, KILOMETRES)
    together = info_of_files(tmp_path, [(path, Auto().read(path)) for path in paths])
    assert said in together and KILOMETRES in together
    with ReadingProcess(Auto()) as process:
        assert process.read(paths[1]).remarks == (KILOMETRES, CENTRES)

    archive = tmp_path / "a.nc"
    assert convert(paths[:1], archive, reader=Auto()).remarks == (CENTRES,)
    before = archive.read_bytes()
    assert convert(paths, archive, reader=Auto(), workers=1).remarks == (CENTRES, KILOMETRES)
    assert Archive(archive).remarks == (CENTRES, KILOMETRES)
    assert Archive(archive).frames(0, 1).remarks == (CENTRES, KILOMETRES)
    assert KILOMETRES in info(archive) and KILOMETRES.encode() not in before


def test_remarks_survive_an_interrupted_conversion(tmp_path):
    path = plain(tmp_path, centres=True)

    class Interrupted(OdimHdf5):
        def read(self, path):
            if "b.h5" in str(path):
                raise KeyboardInterrupt
            return super().read(path)

    other = plain(tmp_path, "b.h5")
    with h5py.File(other, "a") as file:
        file["what"].attrs["time"] = "180500"
    archive = tmp_path / "a.nc"
    with pytest.raises(KeyboardInterrupt):
        convert([path, other], archive, reader=Interrupted())
    assert convert([path, other], archive, reader=Interrupted.__base__()).remarks == (CENTRES,)


def test_what_was_remarked_and_cannot_be_read_is_nothing(tmp_path):
    path = plain(tmp_path)
    archive = tmp_path / "a.nc"
    assert convert([path], archive, reader=Auto()).remarks == ()
    with h5py.File(archive, "a") as file:
        assert "remarks" not in file.attrs
        file.attrs["remarks"] = np.bytes_(b"{broken")
    assert Archive(archive).remarks == ()


def test_every_set_of_corners_is_tried_above():
    assert set(ONE_PLACE) < set(CORNERS)


WELL_KNOWN = {
    "a rounded ellipsoid": "+proj=stere +lat_0=90 +lat_ts=60 +lon_0=10 +a=6378388 +b=6356911.946",
    "a named datum": "+proj=laea +lat_0=55 +lon_0=10 +x_0=1950000 +y_0=-2100000 +datum=WGS84",
    "two parallels": "+proj=lcc +lat_1=46.5 +lat_2=48 +lat_0=47 +lon_0=13 +ellps=GRS80",
    "an oblique Mercator map": "+proj=somerc +lat_0=46.95 +lon_0=7.44 +k_0=1 +ellps=bessel",
    "the sphere of DWD": "+proj=stere +lat_0=90 +lat_ts=60 +lon_0=10 +R=6370040",
}


@pytest.mark.parametrize("version", ["WKT1_GDAL", "WKT1_ESRI", "WKT2_2019"])
@pytest.mark.parametrize("definition", WELL_KNOWN.values(), ids=WELL_KNOWN)
def test_a_projection_as_well_known_text_gives_the_grid_of_its_proj_string(
    tmp_path, definition, version
):
    try:
        text = pyproj.CRS(definition).to_wkt(version)
    except pyproj.exceptions.CRSError:
        pytest.skip("PROJ has no such text")
    grids = []
    for projdef in (text, definition):
        corners = corners_of(definition, left=-50_000, top=40_000, width=5000, height=3000)
        where = {"projdef": projdef, "xscale": 1000.0, "yscale": 1000.0, **corners}
        stated = {"object": "COMP", "date": "20180824", "time": "180000"}
        groups = {"what": stated, "where": where, "dataset1/what": {"quantity": "RATE"}}
        path = write_map(tmp_path / "a.h5", np.zeros((3, 5)), groups)
        grids.append(OdimHdf5().read(path).grid)
    read, expected = grids
    np.testing.assert_allclose(read.x, expected.x, atol=0.1)
    np.testing.assert_allclose(read.y, expected.y, atol=0.1)
    at = [pyproj.Proj(one.crs)(one.x[0], one.y[0], inverse=True) for one in grids]
    np.testing.assert_allclose(*at, atol=1e-6)


def test_a_well_known_text_that_is_no_projection_is_refused(tmp_path):
    for text in ('PROJCS["nothing"]', 'GEOGCS["', "PROJCRS[" + "[" * 100_000):
        where = {"projdef": text[:60_000], "xscale": 1000.0, "yscale": 1000.0, "UL_x": 0.0}
        stated = {"object": "COMP", "date": "20180824", "time": "180000"}
        groups = {"what": stated, "where": where, "dataset1/what": {"quantity": "RATE"}}
        path = write_map(tmp_path / "a.h5", np.zeros((3, 5)), groups)
        with pytest.raises(UserError, match="the well-known text .* is no projection that PROJ kn"):
            OdimHdf5().read(path)
