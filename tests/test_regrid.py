"""Fields on another grid: means over the pixels under a cell, missing where too little was
observed.
"""

import numpy as np
import pyproj
import pytest
from factories import grid, times, write_archive
from factories_cf import write_cf

from nowcast.data.conversion import convert
from nowcast.data.preparation import Preparation
from nowcast.data.regrid import Onto, Regular, Unchanged, clipped
from nowcast.readers.cf_netcdf import CfNetcdf
from nowcast.runtime.build import as_settings, build
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Frames, Grid

NAN = np.nan


def frames(values, on=None):
    values = np.float32(values)
    return Frames(
        values,
        times(*range(0, 5 * len(values), 5)),
        on or grid(*values.shape[1:]),
        "a.h5",
        "rain depth in 5 min",
    )


def test_a_cell_of_two_by_two_pixels_is_their_mean_and_missing_where_less_than_half_was_observed():
    result = Regular(2000.0)(frames([[[1, 3, 0, NAN, 7, NAN], [5, 7, NAN, 4, NAN, NAN]]]))
    np.testing.assert_array_equal(
        result.values, np.float32([[[4, 2, NAN]]])
    )  # (0 + 4) / 2: half will do; 7 alone will not
    assert (list(result.grid.x), list(result.grid.y), result.grid.crs) == (
        [1000, 3000, 5000],
        [-1000],
        grid().crs,
    )
    assert (result.source, result.quantity) == ("a.h5", "rain depth in 5 min")


def test_a_dry_cell_stays_dry_and_a_missing_one_missing():
    result = Regular(2000.0)(frames([[[0, 0, NAN, NAN], [0, 0, NAN, NAN]]]))
    np.testing.assert_array_equal(result.values, np.float32([[[0, NAN]]]))


def test_edges_choose_a_part_and_what_lies_outside_is_missing():
    result = Regular(1000.0, x=[1000, 4000], y=[-2000, 0])(frames([[[1, 2, 3], [4, 5, 6]]]))
    np.testing.assert_array_equal(result.values, np.float32([[[2, 3, NAN], [5, 6, NAN]]]))


def test_a_finer_grid_repeats_the_pixel_it_lies_in():
    result = Regular(500.0)(frames([[[1, 2], [3, 4]]]))
    np.testing.assert_array_equal(result.values[0], np.kron([[1, 2], [3, 4]], np.ones((2, 2))))


def test_another_projection_takes_the_pixel_that_is_at_the_same_place():
    source = grid(50, 60)
    fields = np.random.default_rng(0).random((1, 50, 60)).astype(np.float32)
    west, north = pyproj.Transformer.from_crs(source.crs, "EPSG:4326", always_xy=True).transform(
        0, 0
    )
    result = Regular(
        0.01, crs="EPSG:4326", x=[west - 0.1, west + 0.6], y=[north - 0.5, north + 0.1]
    )(frames(fields, source))
    to_metres = pyproj.Transformer.from_crs("EPSG:4326", source.crs, always_xy=True)
    row, column = 12, 20
    x, y = to_metres.transform(result.grid.x[column], result.grid.y[row])
    nearest = np.abs(source.x - x).argmin(), np.abs(source.y - y).argmin()
    inside = abs(source.x[nearest[0]] - x) <= 500 and abs(source.y[nearest[1]] - y) <= 500
    expected = fields[0, nearest[1], nearest[0]] if inside else NAN
    np.testing.assert_equal(result.values[0, row, column], np.float32(expected))
    assert np.isfinite(result.values).any() and np.isnan(result.values).any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"spacing": 0.0}, "regrid.spacing is 0.0; a width of the cells above 0"),
        ({"spacing": 1.0, "x": [3, 1]}, "two edges in ascending order are needed"),
        ({"spacing": 1.0, "crs": "nonsense", "x": [0, 1], "y": [0, 1]}, "is not one PROJ knows"),
        ({"spacing": 1.0, "crs": "EPSG:3035"}, "so regrid.x and regrid.y are needed"),
    ],
)
def test_settings_that_make_no_grid_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        Regular(**settings)


def test_a_grid_outside_one_too_large_and_one_without_a_cell_width_are_refused():
    with pytest.raises(UserError, match="lies wholly outside that of the files"):
        Regular(1000.0, x=[1e6, 1.1e6], y=[0, 1e5])(frames(np.zeros((1, 4, 4))))
    with pytest.raises(UserError, match="has 4000000 cells of 0.001; 1 to 16384 are accepted"):
        Regular(0.001)(frames(np.zeros((1, 4, 4))))
    with pytest.raises(UserError, match="has no cell width, so it cannot be regridded"):
        Regular(1000.0)(frames(np.zeros((1, 1, 4))))


@pytest.mark.parametrize("first", [176.0, -184.0])
def test_longitudes_beyond_180_are_found_as_the_old_grid_counts_them(first):
    source = Frames(
        np.ones((1, 2, 80), np.float32),
        times(0),
        Grid("EPSG:4326", first + 0.1 * np.arange(80), [-17.0, -19.0]),
    )
    assert np.isfinite(
        Regular(20_000.0, crs="EPSG:3460", x=[1_800_000, 2_400_000], y=[3_900_000, 3_960_000])(
            source
        ).values
    ).all()


def test_clipping_limits_rates_and_leaves_missing_alone():
    np.testing.assert_array_equal(
        clipped(frames([[[1, 500, NAN]]]), 100.0).values, np.float32([[[1, 100, NAN]]])
    )
    same = frames([[[1, 500, NAN]]])
    assert clipped(same, None) is same and Unchanged()(same) is same


# onto the grid of a file


def test_the_grid_of_an_archive_or_a_file_is_taken_and_recorded_itself_not_by_its_name(tmp_path):
    like = write_archive(tmp_path / "a.h5", np.zeros((1, 3, 4), np.float32), [0])
    onto = Onto(like=str(like))
    assert as_settings(onto) == {
        "_target_": "nowcast.data.regrid.Onto",
        "crs": grid().crs,
        "x": [500.0, 3500.0, 4],
        "y": [-500.0, -2500.0, 3],
    }
    assert build(as_settings(onto), "regrid") == onto
    same = write_cf(tmp_path / "b.nc", np.zeros((1, 3, 4)), x_is={"units": "m"})
    other = Onto(like=str(same))
    assert (other.x, other.y) == (onto.x, onto.y)


def test_a_grid_that_is_off_by_a_third_of_a_pixel_takes_the_pixels_under_the_centres():
    near = Grid(grid().crs, [833.0, 1833, 2833, 3833], [-500.0, -1500, -2500])
    onto = Onto(crs=grid().crs, x=(500.0, 3500.0, 4), y=(-500.0, -2500.0, 3))
    values = np.arange(12.0).reshape(1, 3, 4)
    result = onto(frames(values, near))
    np.testing.assert_array_equal(result.values, values)
    assert not result.grid.difference(onto.grid)
    # by two thirds: every cell has the pixel west of it, the first none
    far = Grid(grid().crs, near.x + 334, near.y)
    result = onto(frames(values, far)).values[0]
    np.testing.assert_array_equal(result[:, 1:], values[0, :, :-1])
    assert np.isnan(result[:, 0]).all()


def test_cells_need_not_be_square_and_one_of_four_pixels_is_their_mean():
    onto = Onto(crs=grid().crs, x=(1000.0, 3000.0, 2), y=(-500.0, -1500.0, 2))
    result = onto(frames([[[1, 3, 5, 7], [2, 4, NAN, NAN]]]))
    np.testing.assert_allclose(result.values, [[[2, 6], [3, NAN]]])


def test_a_file_in_another_projection_comes_onto_the_grid(tmp_path):
    onto = Onto(crs="EPSG:4326", x=(5.0, 5.5, 6), y=(52.5, 52.0, 6))
    source = Grid(
        "EPSG:3035", 3_900_000.0 + 2000 * np.arange(60), 3_310_000.0 - 2000 * np.arange(60)
    )
    result = onto(frames(np.ones((1, 60, 60)), source))
    assert not result.grid.difference(onto.grid) and (result.values == 1).any()


def test_files_of_slightly_different_grids_join_in_one_archive(tmp_path):
    first = write_cf(tmp_path / "a.nc", np.ones((1, 3, 4)))
    moved = np.array([700.0, 1700, 2700, 3700])
    second = write_cf(tmp_path / "b.nc", 2 * np.ones((1, 3, 4)), x=moved, minutes=[5])
    output = tmp_path / "all.h5"
    reader = CfNetcdf()
    with pytest.raises(UserError, match="has another grid than"):
        convert([first, second], output, reader=reader, strict=True)
    prepare = Preparation(as_settings(reader), regrid=Onto(like=str(first)))
    summary = convert([first, second], output, reader=reader, prepare=prepare, strict=True)
    assert summary.frames == 2
    with pytest.raises(UserError, match="was made with other settings: .*regrid .*Onto"):
        convert([first], output, reader=reader, strict=True)
    third = write_cf(tmp_path / "c.nc", 3 * np.ones((1, 3, 4)), minutes=[10])
    again = Preparation(as_settings(reader), regrid=Onto(like=str(output)))
    assert convert([third], output, reader=reader, prepare=again).frames == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "regrid.like is None and regrid.crs, x and y .None, None, None.; either a file"),
        ({"crs": "EPSG:3035"}, "either a file is needed, or all three of its grid"),
        ({"like": "absent.h5", "crs": "EPSG:3035"}, "either a file is needed"),
        ({"like": "absent.h5"}, "regrid.like: absent.h5 does not exist.*taken as an archive of it"),
        (
            {"crs": "EPSG:3035", "x": (0.0, 1.0, 1), "y": (0.0, 1.0, 2)},
            "regrid.x is .0.0, 1.0, 1.; the first centre, the last one and the number of cells",
        ),
    ],
)
def test_a_grid_that_no_file_or_no_numbers_state_is_refused(settings, message):
    with pytest.raises(UserError, match=message):
        Onto(**settings)
