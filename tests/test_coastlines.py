import numpy as np
import pyproj
import pytest

from nowcast.drawing import cells, coastlines
from nowcast.drawing.coastlines import lines_on
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Grid

KNMI = "+proj=stere +lat_0=90 +lon_0=0 +lat_ts=60 +a=6378137 +b=6356752 +units=m"
DWD = "+proj=stere +lat_0=90 +lat_ts=60 +lon_0=10 +R=6370040 +units=m"
GREENLAND_TO_SPAIN = "+proj=ob_tran +o_proj=longlat +o_lon_p=0 +o_lat_p=39.25 +lon_0=18"


def around(longitude, latitude, *, size=200, km=1.0, crs=None) -> Grid:
    """A square grid of ``size`` x ``size`` cells with a place in its middle."""
    crs = crs or f"+proj=aeqd +lat_0={latitude} +lon_0={longitude} +ellps=WGS84 +units=km"
    to_map = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    unit = 1000 if "units=m" in crs or crs.startswith("EPSG") else 1
    step = km / 111.2 if "longlat" in crs or crs == "EPSG:4326" else km * unit
    x, y = to_map.transform(longitude, latitude)
    offsets = (np.arange(size) - (size - 1) / 2) * step
    return Grid(crs, x + offsets, y - offsets)


def pixel(grid, longitude, latitude):
    x, y = pyproj.Transformer.from_crs("EPSG:4326", grid.crs, always_xy=True).transform(
        longitude, latitude
    )
    dy, dx = grid.spacing
    return np.array([(x - grid.x[0]) / dx, (grid.y[0] - y) / dy])


def distance(lines, point):
    """From a point to the nearest place on any line, in pixels."""
    nearest = np.inf
    for line in lines:
        start, step = line[:-1].astype(float), np.diff(line.astype(float), axis=0)
        part = (((point - start) * step).sum(1) / np.maximum((step**2).sum(1), 1e-12)).clip(0, 1)
        nearest = min(nearest, np.hypot(*(start + part[:, None] * step - point).T).min())
    return nearest


def crossings(lines, row):
    """Columns at which lines cross a row."""
    found = []
    for line in lines:
        x, y = line.T.astype(float)
        at = np.flatnonzero((y[:-1] < row) != (y[1:] < row))
        found += list(x[at] + (row - y[at]) / (y[at + 1] - y[at]) * (x[at + 1] - x[at]))
    return np.sort(found)


PLACES = [  # longitude, latitude of places at the water's edge, from maps
    ("Scheveningen", 4.272, 52.110),
    ("Cap Gris-Nez", 1.584, 50.871),
    ("South Foreland", 1.375, 51.141),
    ("Texel lighthouse", 4.856, 53.183),
]


@pytest.mark.parametrize(("name", "longitude", "latitude"), PLACES)
@pytest.mark.parametrize(
    "crs",
    [
        KNMI,
        DWD,
        "EPSG:4326",
        "EPSG:32631",
        GREENLAND_TO_SPAIN,
        "+proj=gnom +lat_0=52 +lon_0=4 +units=m",
    ],
)
def test_known_places_at_the_sea_lie_within_two_kilometres_of_the_coast_in_every_projection(
    name, longitude, latitude, crs
):
    grid = around(3.0, 52.0, size=450, crs=crs)
    # a degree of longitude is shorter than one of latitude
    narrow = np.cos(np.radians(latitude)) if crs == "EPSG:4326" else 1
    assert distance(lines_on(grid, kinds=("coast",)), pixel(grid, longitude, latitude)) * narrow < 2


def test_a_row_through_the_strait_of_dover_meets_no_coast_and_one_further_south_meets_france_once():
    lines = lines_on(around(1.46, 50.97, size=44), kinds=("coast",))
    assert len(crossings(lines, row=15)) == 0  # latitude 51.03
    # latitude 50.89: the beach of Wissant, longitude 1.66, 14 km east of the middle
    assert crossings(lines, row=30) == pytest.approx([35.5], abs=2)


def test_inland_there_are_borders_only_and_three_of_them_meet_at_vaalserberg():
    grid = around(6.0208, 50.7547, size=60)
    assert lines_on(grid, kinds=("coast",)) == []
    borders = lines_on(grid)
    assert distance(borders, np.array([29.5, 29.5])) < 2  # where three countries meet
    rim = np.concatenate([line[[0, -1]] for line in borders])
    assert ((rim == -0.5) | (rim == 59.5)).any(1).sum() == 3  # and three borders leave


def test_lake_constance_is_drawn_on_a_grid_of_400_kilometres_and_not_on_one_of_3000():
    near, far = around(9.2, 47.7, size=400), around(9.2, 47.7, size=600, km=5.0)
    # Friedrichshafen
    assert distance(lines_on(near, kinds=("coast",)), pixel(near, 9.480, 47.654)) < 2
    assert distance(lines_on(far, kinds=("coast",)), pixel(far, 9.480, 47.654)) > 20


def test_an_ocean_is_empty():
    assert lines_on(around(-35.0, 30.0, size=500)) == []


@pytest.mark.parametrize(
    "grid",
    [
        around(4.0, 52.0, size=101, crs=KNMI),
        around(25.0, 62.0, size=300),
        around(8.0, 47.0, size=333, crs="EPSG:21781"),
    ],
)
def test_no_line_leaves_the_grid_and_each_is_a_row_of_points(grid):
    lines = lines_on(grid)
    assert len(lines) > 3
    for line in lines:
        assert line.dtype == np.float32 and line.ndim == 2 and line.shape[1] == 2 and len(line) >= 2
        assert line.min() >= -0.5
        assert line[:, 0].max() <= grid.shape[1] - 0.5
        assert line[:, 1].max() <= grid.shape[0] - 0.5


def test_every_coast_ends_at_the_rim_or_is_closed():
    coast = lines_on(around(4.0, 52.0, size=300), kinds=("coast",))
    for line in coast:
        at_rim = (np.isclose(line[[0, -1]], -0.5) | np.isclose(line[[0, -1]], 299.5)).any(1)
        assert at_rim.all() or np.array_equal(line[0], line[-1])


def test_leaving_out_points_moves_a_line_by_the_tolerance_at_most():
    grid = around(4.0, 52.0, size=400, km=2.0)
    fine, coarse = (
        lines_on(grid, kinds=("coast",), tolerance=tolerance) for tolerance in (0.0, 1.0)
    )
    assert sum(map(len, coarse)) < 0.75 * sum(map(len, fine))
    longest = max(fine, key=len)
    assert max(distance(coarse, point) for point in longest[::7]) <= 1 + 1e-3


def test_three_points_of_a_straight_line_become_two_and_a_corner_stays():
    points = np.array([[0, 0], [1, 0.1], [2, 0], [2, 2], [5, 5], [6, 5.4], [7, 5]], float)
    keep = coastlines._simple(points, np.array([0, 0, 0, 0, 1, 1, 1]), 0.3)
    # 0.1 off is left out, 0.4 off stays
    assert keep.tolist() == [True, False, True, True, True, True, True]


def test_a_line_is_cut_at_the_rim_of_the_pixels_and_comes_back_as_another():
    points = np.array([[-2, 3], [1, 3], [1, 6], [2, 6], [2, 3]], float)
    cut, line = coastlines._clipped(points, np.zeros(5, int), (6, 6))
    assert cut[line == line[0]].tolist() == [[-0.5, 3], [1, 3], [1, 5.5]]
    assert cut[line == line[-1]].tolist() == [[2, 5.5], [2, 3]]


def test_an_island_across_the_date_line_has_no_seam():
    taveuni = Grid("EPSG:4326", np.arange(179.0, 181.0, 0.01), np.arange(-16.0, -18.0, -0.01))
    lines = lines_on(taveuni, kinds=("coast",))
    assert distance(lines, np.array([100.0, (17.0 - 16.0) / 0.01])) < 60 and len(lines) >= 2
    for line in lines:
        step = np.diff(line, axis=0)
        along = (np.abs(line[:-1, 0] - 100) < 0.02) & (np.abs(line[1:, 0] - 100) < 0.02)
        assert np.abs(step[along]).max(initial=0) < 1  # no coast runs along longitude 180


def test_a_world_map_may_begin_anywhere():
    def length(first):
        lines = lines_on(
            Grid("EPSG:4326", first + np.arange(0.0, 360.0), 89.5 - np.arange(180.0)),
            kinds=("coast",),
            tolerance=0.0,
        )
        return sum(np.hypot(*np.diff(line, axis=0).T).sum() for line in lines)

    lengths = [length(first) for first in (-179.5, 0.5, -29.5)]
    assert lengths[1:] == pytest.approx([lengths[0]] * 2, rel=0.01) and lengths[0] > 2000


def test_both_poles_can_be_looked_at_from_above():
    north = Grid(
        "+proj=stere +lat_0=90 +lat_ts=60 +units=km",
        np.arange(-400.0, 401, 10),
        np.arange(400.0, -401, -10),
    )
    assert lines_on(north) == []  # Greenland ends 700 km from the pole
    south = Grid(
        "+proj=stere +lat_0=-90 +lat_ts=-60 +units=km",
        np.arange(-4000.0, 4001, 10),
        np.arange(4000.0, -4001, -10),
    )
    lines = lines_on(south, kinds=("coast",))
    radius = 10 * np.hypot(*(np.concatenate(lines) - 400).T)
    angle = np.degrees(np.arctan2(*(np.concatenate(lines) - 400).T))
    # all around, none to the pole itself
    assert radius.min() > 400 and np.diff(np.sort(angle)).max() < 10


def test_the_rim_of_the_earth_may_be_in_the_picture():
    disc = Grid(
        "+proj=geos +h=35785831 +lon_0=0 +R=6378137",
        np.linspace(-6e6, 6e6, 300),
        np.linspace(6e6, -6e6, 300),
    )
    lines = lines_on(disc, kinds=("coast",))
    assert distance(lines, pixel(disc, -17.53, 14.75)) < 2  # Dakar
    assert max(np.abs(np.diff(line, axis=0)).max() for line in lines) < 40


def test_the_moon_has_no_coast():
    place = Grid("IAU_2015:30100", 4.0 + np.arange(3.0), 53.0 - np.arange(3.0))
    assert lines_on(place) == [] and np.isnan(cells.cell_kilometres(place)).all()


def test_far_off_the_map_there_is_no_coast():
    assert lines_on(Grid(KNMI, 1e12 + np.arange(3.0), -np.arange(3.0))) == []


def test_a_cell_is_as_large_as_on_the_earth_whatever_the_projection_says():
    # 1/111.2 degree
    assert cells.cell_kilometres(around(0.0, 60.0, size=3, crs="EPSG:4326")) == pytest.approx(
        (1.002, 0.502), abs=0.002
    )
    assert cells.cell_kilometres(around(0.0, 60.0, size=9, crs="EPSG:3857")) == pytest.approx(
        (0.5, 0.5), abs=0.005
    )
    assert np.isnan(
        cells.cell_kilometres(
            Grid("+proj=geos +h=35785831 +lon_0=0", 7e6 + np.arange(3.0), -np.arange(3.0))
        )
    ).all()


def test_other_cells_cover_the_same_part_of_the_map():
    # x edges 9 to 21, y edges 9.5 to 5.5
    wide = cells.resampled(Grid(KNMI, 10.0 + 2 * np.arange(6), 9.0 - np.arange(4)), 2, 3)
    assert wide.x.tolist() == [11, 15, 19] and wide.y.tolist() == [8.5, 6.5]
    assert cells.resampled(Grid(KNMI, np.array([5.0]), np.array([7.0])), 2, 2).x.tolist() == [
        4.75,
        5.25,
    ]


def test_an_unknown_kind_of_line_is_refused():
    with pytest.raises(
        UserError, match="lines of kind 'river' are unknown; 'coast' and 'border' can be drawn"
    ):
        lines_on(around(4.0, 52.0), kinds=("river",))


@pytest.mark.parametrize("there", [False, True])
def test_without_its_data_the_package_is_named(tmp_path, monkeypatch, there):
    (tmp_path / "gshhsmeta_i.dat").write_text("1 5.0 4 0 1 0 32 0\n")
    (tmp_path / "gshhs_i.dat").write_bytes(bytes(8))  # one point of four
    spec = type("Spec", (), {"submodule_search_locations": [str(tmp_path)]}) if there else None
    monkeypatch.setattr(coastlines, "find_spec", lambda name: spec)
    coastlines._shapes.cache_clear()
    with pytest.raises(
        UserError, match="gshhs_i.dat is missing or damaged; install it with 'pip install"
    ):
        lines_on(around(4.0, 52.0))
    coastlines._shapes.cache_clear()
