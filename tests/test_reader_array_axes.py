"""Arrays in any order of their axes are read right, or refused with the setting that says the
order; never read wrong.
"""

import itertools

import h5py
import numpy as np
import pytest

from nowcast.readers.array_axes import Known, Order, parsed, resolve
from nowcast.readers.array_grid import ArrayGrid
from nowcast.readers.arrays import Arrays
from nowcast.readers.decoding import Coding
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Frames

ITALY = "+proj=tmerc +lat_0=42 +lon_0=12.5 +ellps=WGS84 +units=m"
NUMBERS = ArrayGrid(ITALY, 500.0, -500.0, dx=1000.0, dy=1000.0)
PLACES = ArrayGrid(ITALY, "xs", "ys")
START = np.datetime64("2020-01-01T00:05")
ORDERS = ["".join(order) for order in itertools.permutations("THW")]
WITH_SINGLE = sorted({"".join(order) for order in itertools.permutations("THW1")})


def rain(times: int, rows: int, columns: int) -> np.ndarray:
    """Fields (T, H, W) of which no two values are equal, up to 3840 mm/h."""
    return np.arange(1.0, 1.0 + times * rows * columns).reshape(times, rows, columns) / 32


def stored(values: np.ndarray, order: str) -> np.ndarray:
    """(T, H, W) with its axes in another order, and axes of length 1."""
    letters = [letter for letter in order if letter != "1"]
    moved = values.transpose(["THW".index(letter) for letter in letters])
    for place, letter in enumerate(order):
        if letter == "1":
            moved = np.expand_dims(moved, place)
    return moved


def write(
    path, values, *, times=None, xs=None, ys=None, names=None, labels=None, fortran=False, **storage
):
    """A file with the field and what lies beside it, by the ending of its name."""
    beside = {
        name: array
        for name, array in (("when", times), ("xs", xs), ("ys", ys))
        if array is not None
    }
    values = np.asfortranarray(values) if fortran else np.ascontiguousarray(values)
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".npz":
        np.savez(path, rain=values, **beside)
    else:
        with h5py.File(path, "w") as file:
            file.create_dataset("rain", data=values, **storage)
            for name, array in beside.items():
                file[name] = array
            for axis, name in enumerate(names or ()):
                if name is not None:
                    if name not in file:
                        file[name] = np.arange(values.shape[axis])
                    file[name].make_scale(name) if not file[name].is_scale else None
                    file["rain"].dims[axis].attach_scale(file[name])
            for axis, label in enumerate(labels or ()):
                file["rain"].dims[axis].label = label
    return path


def read(path, *, grid=NUMBERS, axes=None, timed=True, **settings) -> Frames:
    time = {"time_in_file": "when"} if timed else {"time_in_name": "%Y%m%d%H%M", "timestep": 5.0}
    return Arrays(
        grid,
        None if path.suffix == ".npy" else "rain",
        Coding("rain_rate"),
        axes=axes,
        **time,
        **settings,
    ).read(path)


def seconds(count: int) -> np.ndarray:
    return 1577837100 + 300 * np.arange(count)


def right_or_refused(path, expected: np.ndarray, **settings) -> bool:
    """Whether it was read, and right; a refusal names the setting."""
    try:
        frames = read(path, **settings)
    except UserError as error:
        assert "reader.axes" in str(error) or "expected" in str(error)
        return False
    np.testing.assert_array_equal(frames.values, np.float32(expected))
    return True


@pytest.mark.parametrize("ending", [".h5", ".npz"])
@pytest.mark.parametrize("order", ORDERS + WITH_SINGLE)
def test_times_and_coordinates_in_the_file_tell_any_order(tmp_path, ending, order):
    for times, rows, columns in (
        (5, 4, 3),
        (3, 5, 4),
        (4, 3, 5),
        (1, 3, 4),
        (6, 6, 3),
        (3, 6, 6),
        (6, 3, 6),
    ):
        values = rain(times, rows, columns)
        path = write(
            tmp_path / f"a{ending}",
            stored(values, order),
            times=seconds(times),
            xs=500.0 + 1000 * np.arange(columns),
            ys=-500.0 - 1000 * np.arange(rows),
        )
        if rows == columns and order.index("W") < order.index("H"):
            assert right_or_refused(
                path, values, grid=PLACES, axes=order
            )  # rows come first where nothing tells them from columns
            continue
        was_read = right_or_refused(path, values, grid=PLACES)
        if times in (rows, columns) or rows == columns:
            assert right_or_refused(
                path, values, grid=PLACES, axes=order
            )  # the setting always says it
        else:
            assert was_read


@pytest.mark.parametrize("ending", [".h5", ".npz"])
@pytest.mark.parametrize("order", ORDERS + WITH_SINGLE)
def test_times_alone_tell_which_axis_is_time_and_rows_come_before_columns(tmp_path, ending, order):
    for times, rows, columns in ((5, 4, 3), (3, 5, 4), (4, 3, 5), (96, 3, 2)):
        values = rain(times, rows, columns)
        path = write(tmp_path / f"a{ending}", stored(values, order), times=seconds(times))
        assert right_or_refused(path, values, axes=order)
        if order.index("H") < order.index("W"):
            assert right_or_refused(path, values)


@pytest.mark.parametrize("ending", [".h5", ".npz", ".npy"])
@pytest.mark.parametrize("order", ORDERS + WITH_SINGLE)
def test_where_nothing_tells_which_axis_is_time_it_is_asked_for_by_name(tmp_path, ending, order):
    for shape in ((20, 96, 64), (64, 20, 96), (7, 7, 7)):
        values = rain(*shape)
        path = write(tmp_path / f"202001010005{ending}", stored(values, order))
        with pytest.raises(
            UserError,
            match="nothing says which of its axes is time .known: no length.; set reader.axes to "
            "their order, one of .*W",
        ) as error:
            read(path, timed=False)
        assert order in str(error.value)
        frames = read(path, timed=False, axes=order)
        np.testing.assert_array_equal(frames.values, np.float32(values))
        assert frames.times[-1] == START + np.timedelta64(5 * (shape[0] - 1), "m")


def test_ninety_six_false_frames_of_an_array_of_rows_columns_and_times_are_none(tmp_path):
    path = write(tmp_path / "202001010005.npy", stored(rain(20, 96, 64), "HWT"))
    with pytest.raises(
        UserError, match="the array is 96x64x20, and nothing says which of its axes is time"
    ):
        read(path, timed=False)
    assert (
        read(path, timed=False, axes="HWT").values.shape
        == read(path, timed=False, axes=["y", "x", "time"]).values.shape
        == (20, 96, 64)
    )
    for times in (96, 64):
        path = write(tmp_path / "a.npz", stored(rain(20, 96, 64), "HWT"), times=seconds(times))
        with pytest.raises(
            UserError, match=f"reader.axes=HWT makes 20 times; expected {times} times, as when has"
        ):
            read(path, axes="HWT")


@pytest.mark.parametrize("shape", [(5, 5, 5), (5, 5, 3), (5, 3, 5)])
@pytest.mark.parametrize("order", ORDERS)
def test_as_many_times_as_rows_or_columns_are_ambiguous(tmp_path, order, shape):
    values = rain(*shape)
    path = write(tmp_path / "a.npz", stored(values, order), times=seconds(5))
    with pytest.raises(
        UserError,
        match="nothing says which of its axes is time .known: 5 times .when..; set reader.axes",
    ):
        read(path)
    assert right_or_refused(path, values, axes=order)
    where = {"xs": 500.0 + 1000 * np.arange(shape[2]), "ys": -500.0 - 1000 * np.arange(shape[1])}
    right_or_refused(
        write(tmp_path / "b.npz", stored(values, order), times=seconds(5), **where),
        values,
        grid=PLACES,
    )


@pytest.mark.parametrize("order", ORDERS + WITH_SINGLE)
@pytest.mark.parametrize(
    "called",
    [
        ("time", "y", "x"),
        ("time", "lat", "lon"),
        ("t", "rows", "columns"),
        ("Time", "Latitude", "Longitude"),
        ("frame", "height", "width"),
    ],
)
@pytest.mark.parametrize("how", ["scales", "labels", "attribute"])
def test_names_of_axes_tell_any_order_even_of_a_cube(tmp_path, how, called, order):
    names = ["band" if letter == "1" else called["THW".index(letter)] for letter in order]
    for shape in ((4, 4, 4), (5, 4, 3)):
        values = rain(*shape)
        path = write(
            tmp_path / "202001010005.h5",
            stored(values, order),
            names=names if how == "scales" else None,
            labels=names if how == "labels" else None,
        )
        if how == "attribute":
            with h5py.File(path, "r+") as file:
                file["rain"].attrs["DimensionNames"] = ",".join(names)
        np.testing.assert_array_equal(read(path, timed=False).values, np.float32(values))
        other = order.replace("H", "?").replace("T", "H").replace("?", "T")
        with pytest.raises(
            UserError,
            match=f"but reader.axes is {other}, while the file calls axis . (times|rows); "
            "expected them to agree",
        ):
            read(path, timed=False, axes=other)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("pixels", ["HW", "WH"])
def test_coordinates_of_every_pixel_tell_rows_from_columns(tmp_path, order, pixels):
    for times, rows, columns in ((5, 4, 3), (5, 4, 4)):
        values = rain(times, rows, columns)
        xs, ys = np.meshgrid(500.0 + 1000 * np.arange(columns), -500.0 - 1000 * np.arange(rows))
        where = {"xs": xs, "ys": ys} if pixels == "HW" else {"xs": xs.T, "ys": ys.T}
        path = write(tmp_path / "a.h5", stored(values, order), times=seconds(times), **where)
        stored_as = "HW" if order.index("H") < order.index("W") else "WH"
        if (
            rows != columns or pixels == stored_as
        ):  # the pixels of a square are stored like their coordinates
            assert right_or_refused(path, values, grid=PLACES)


@pytest.mark.parametrize("ending", [".h5", ".npz"])
def test_rows_and_columns_in_any_direction_come_out_north_up_and_west_first(tmp_path, ending):
    values = rain(2, 3, 4)
    x, y = 500.0 + 1000 * np.arange(4), -500.0 - 1000 * np.arange(3)
    for row_step, column_step, order in itertools.product((1, -1), (1, -1), ORDERS):
        turned = stored(values[:, ::row_step, ::column_step], order)
        path = write(
            tmp_path / f"a{ending}", turned, times=seconds(2), xs=x[::column_step], ys=y[::row_step]
        )
        frames = read(
            path, grid=ArrayGrid(ITALY, "xs", "ys", rows_from="north" if row_step > 0 else "south")
        )
        np.testing.assert_array_equal(frames.values, np.float32(values))
        np.testing.assert_array_equal([*frames.grid.x, *frames.grid.y], [*x, *y])
        with pytest.raises(UserError, match="but reader.grid.rows_from is"):
            read(
                path,
                grid=ArrayGrid(ITALY, "xs", "ys", rows_from="south" if row_step > 0 else "north"),
            )


@pytest.mark.parametrize("order", ORDERS)
def test_fortran_order_and_chunks_over_time_give_the_same_frames(tmp_path, order):
    values = rain(6, 5, 4)
    for path in (
        write(tmp_path / "202001010005.npy", stored(values, order), fortran=True),
        write(tmp_path / "202001010005.npz", stored(values, order), fortran=True),
    ):
        np.testing.assert_array_equal(
            read(path, timed=False, axes=order).values, np.float32(values)
        )
    for chunks in ((1, 1, 1), (2, 3, 4), (4, 4, 4)):
        path = write(
            tmp_path / "202001010005.h5", stored(values, order), chunks=chunks, compression="gzip"
        )
        np.testing.assert_array_equal(
            read(path, timed=False, axes=order).values, np.float32(values)
        )


@pytest.mark.parametrize("limit", [2**26, 0])
def test_a_long_array_whose_first_axis_is_not_time_is_read_field_by_field(
    tmp_path, monkeypatch, limit
):
    monkeypatch.setattr("nowcast.readers.array_hdf5._MOST_AT_ONCE", limit)
    for order in ORDERS + WITH_SINGLE:
        path = write(tmp_path / "202001010005.h5", stored(rain(6, 5, 4), order))
        np.testing.assert_array_equal(
            read(path, timed=False, axes=order).values, np.float32(rain(6, 5, 4))
        )


@pytest.mark.parametrize("setting, expected", [
    ("THW", "THW"), ("hwt", "HWT"), ("T1HW", "T1HW"), ("TCYX", "T1HW"), ("time, y, x", "THW"), ("(lat, "
                                                                                                "lon, "
                                                                                                "time)", "HWT"), (["y", "x", "time"], "HWT"), ("time "
                                                                                                                                                          "lon "
                                                                                                                                                          "lat", "TWH"),
    (("Time", "Rows", "Columns"), "THW"), ([1, "y", "x"], "1HW"), ("HW", "HW"), ("YX", "HW"),
])  # fmt: skip
def test_an_order_may_be_written_in_letters_or_names(setting, expected):
    assert "".join(parsed(setting)) == expected


@pytest.mark.parametrize(
    "setting", ["TH", "THWW", "TTHW", "time, y", "east, north", [], 3, "T2HW", "time,y,x,q", ""]
)
def test_an_order_that_is_none_is_refused_at_once(setting):
    with pytest.raises(
        UserError, match="reader.axes is .*; expected H .or y., W .or x., at most one T"
    ):
        Arrays(NUMBERS, "rain", Coding("rain_rate"), time_in_file="when", axes=setting)


@pytest.mark.parametrize("setting, message", [
    ("HW", "rain is 5x4x3, 3 axes, but reader.axes is HW; expected 2 axes"), ("T1HW", "3 axes, "
                                                                                      "but "
                                                                                      "reader.axes "
                                                                                      "is T1HW; "
                                                                                      "expected "
                                                                                      "4 axes"),
    ("1HW", "but reader.axes is 1HW; expected the length 1 of axis 0, which is 5"), ("HWT", "reader.axes=HWT "
                                                                                            "makes "
                                                                                            "3 "
                                                                                            "times; "
                                                                                            "expected "
                                                                                            "5 "
                                                                                            "times, "
                                                                                            "as "
                                                                                            "when "
                                                                                            "has"),
    ("TWH", "reader.axes=TWH makes 3 rows; expected 4 rows, as ys has"),
])  # fmt: skip
def test_an_order_that_the_array_does_not_have_is_refused(tmp_path, setting, message):
    path = write(
        tmp_path / "a.npz",
        rain(5, 4, 3),
        times=seconds(5),
        xs=500.0 + 1000 * np.arange(3),
        ys=-500.0 - 1000 * np.arange(4),
    )
    with pytest.raises(UserError, match=message):
        read(path, grid=PLACES, axes=setting)


def test_every_shape_is_resolved_to_its_own_order_or_refused():
    rng = np.random.default_rng(0)
    outcomes = {True: 0, False: 0}
    for _ in range(400):
        letters = list(rng.permutation(list("THW") + ["1"] * rng.integers(0, 3)))
        lengths = {
            "T": int(rng.integers(1, 6)),
            "H": int(rng.integers(2, 6)),
            "W": int(rng.integers(2, 6)),
            "1": 1,
        }
        shape = tuple(lengths[letter] for letter in letters)
        place = {letter: letters.index(letter) for letter in "THW"}
        known = Known(lengths["T"] if lengths["T"] > 1 else None, lengths["H"], lengths["W"])
        expected = Order(None if lengths["T"] == 1 else place["T"], place["H"], place["W"])
        try:
            found = resolve(shape, setting=None, names=[None] * len(shape), known=known, what="a")
        except UserError:
            assert lengths["T"] in (lengths["H"], lengths["W"])
            outcomes[False] += 1
            continue
        if lengths["H"] == lengths["W"]:
            assert (
                found.time == expected.time
                and {found.rows, found.columns} == {expected.rows, expected.columns}
                and found.rows < found.columns
            )
        else:
            assert found == expected
        outcomes[True] += 1
    assert min(outcomes.values()) > 20
