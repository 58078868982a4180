"""Rain in a group of a file, longitudes that jump by a turn, columns before rows: read where they
are, or asked for by one setting.
"""

import shutil

import h5py
import netCDF4
import numpy as np
import pytest
import zarr

from nowcast.readers.array_grid import ArrayGrid
from nowcast.readers.arrays import Arrays
from nowcast.readers.auto import Auto
from nowcast.readers.cf_netcdf import CfNetcdf
from nowcast.readers.decoding import Coding
from nowcast.readers.longitudes import continuous, near_zero
from nowcast.readers.zarr_composite import ZarrComposite
from nowcast.runtime.errors import UserError
from tests.factories import shared_data, write_odim
from tests.factories_cf import LAEA_MAPPING, RATE, TIME, write_cf
from tests.factories_grib2 import write_mrms

DEGREES = {
    "x_is": {"standard_name": "longitude", "units": "degrees_east"},
    "y_is": {"standard_name": "latitude", "units": "degrees_north"},
}
VALUES = np.arange(1.0, 7.0).reshape(1, 2, 3)
PARTS = {
    "x": (500.0 + 1000 * np.arange(3), ("x",), {"standard_name": "projection_x_coordinate", "units": "m"}),
    "y": (-500.0 - 1000 * np.arange(2), ("y",), {"standard_name": "projection_y_coordinate", "units": "m"}),
    "time": (np.array([0]), ("time",), TIME), "crs": (np.zeros((), "i4"), (), LAEA_MAPPING), "rain": (VALUES, ("time", "y", "x"), RATE),
}  # fmt: skip


def grouped(path, places, *, change=None):
    """A NetCDF file or zarr store whose variables lie in groups: ``places`` says where (default:
    the top).
    """
    if str(path).endswith(".nc"):
        with netCDF4.Dataset(path, "w") as file:
            for name, (values, dims, attributes) in PARTS.items():
                for place in np.atleast_1d(places.get(name, "")):
                    group = file.createGroup(str(place)) if place else file
                    for dim, length in zip(dims, values.shape):
                        if not any(dim in one.dimensions for one in (group, file)):
                            group.createDimension(dim, length)
                    group.createVariable(name, values.dtype, dims)[...] = values
                    group[name].setncatts(attributes)
            if change:
                change(file)
        return path
    root = zarr.open_group(path, mode="w", zarr_format=3 if str(path).endswith("3.zarr") else 2)
    for name, (values, dims, attributes) in PARTS.items():
        for place in np.atleast_1d(places.get(name, "")):
            group = root.require_group(str(place)) if place else root
            named = {"dimension_names": dims} if root.metadata.zarr_format == 3 else {}
            array = group.create_array(
                name, shape=values.shape, dtype=values.dtype, fill_value=-1, **named
            )
            array[...] = values
            array.attrs.update(
                attributes if named else attributes | {"_ARRAY_DIMENSIONS": list(dims)}
            )
    return path


STORES = ["a.nc", "a2.zarr", "a3.zarr"]
EVERYTHING = dict.fromkeys(PARTS, "radar/composite")


def reader_of(name, **settings):
    return CfNetcdf(**settings) if name.endswith(".nc") else ZarrComposite(**settings)


@pytest.mark.parametrize("name", STORES)
@pytest.mark.parametrize("places", [
    {}, dict.fromkeys(PARTS, "radar"), EVERYTHING, {"rain": "radar"}, {"rain": "a/b/c"}, EVERYTHING | {"time": "radar", "x": "", "y": ""}, EVERYTHING | {"crs": ""},
])  # fmt: skip
def test_rain_in_one_group_is_read_with_what_its_outer_groups_have(tmp_path, name, places):
    path = grouped(tmp_path / name, places)
    frames = Auto().read(path)
    np.testing.assert_array_equal(frames.values, np.float32(VALUES))
    assert frames.grid.x.tolist() == [500, 1500, 2500] and frames.times[0] == np.datetime64(
        "2020-06-01"
    )
    group = places.get("rain", "")
    for variable in ("rain", f"{group}/rain", f"/{group}/rain".replace("//", "/")):
        np.testing.assert_array_equal(
            reader_of(name, variable=variable).read(path).values, np.float32(VALUES)
        )
    if name != "a.nc":
        packed = shutil.make_archive(str(tmp_path / "zipped"), "zip", path)
        np.testing.assert_array_equal(Auto().read(packed).values, np.float32(VALUES))


@pytest.mark.parametrize("name", STORES)
def test_rain_in_several_groups_is_chosen_by_its_path(tmp_path, name):
    path = grouped(tmp_path / name, {"rain": ["gauge", "radar/composite"]})
    with pytest.raises(
        UserError,
        match="has rain in several groups: gauge/rain, radar/composite/rain; set reader.variable "
        "to one of these paths",
    ):
        reader_of(name).read(path)
    for refused in (Auto().read, Auto().choose(path).read):  # as convert and as info reads
        with pytest.raises(
            UserError,
            match="several groups: .*; set reader.variable to one of these paths, with "
            f"reader=.*{reader_of(name).__module__.rpartition('.')[2]}",
        ):
            refused(path)
    with pytest.raises(
        UserError,
        match="reader.variable is 'lidar/rain', but there is no group 'lidar'; expected one of "
        "the groups gauge, radar, radar/composite",
    ):
        reader_of(name, variable="lidar/rain").read(path)
    with pytest.raises(UserError, match="has no variable 'snow'"):
        reader_of(name, variable="gauge/snow").read(path)
    for variable in ("gauge/rain", "radar/composite/rain"):
        np.testing.assert_array_equal(
            reader_of(name, variable=variable).read(path).values, np.float32(VALUES)
        )


@pytest.mark.parametrize("name", STORES)
def test_rain_at_the_top_counts_before_that_in_groups(tmp_path, name):
    path = grouped(tmp_path / name, {"rain": ["", "radar"]})
    np.testing.assert_array_equal(Auto().read(path).values, np.float32(VALUES))


@pytest.mark.parametrize("name", STORES)
def test_a_group_that_is_called_a_forecast_is_refused(tmp_path, name):
    with pytest.raises(
        UserError,
        match="is a forecast, not an observation: the name of the variable or its group is "
        "'forecast'",
    ):
        Auto().read(grouped(tmp_path / name, {"rain": "forecast"}))


def test_coordinates_in_a_group_beside_are_found_along_the_axes(tmp_path):
    path = tmp_path / "a.nc"
    with h5py.File(path, "w") as file:
        for name, (values, _dims, attributes) in PARTS.items():
            place = "coordinates" if name in ("x", "y", "time") else "data"
            file[f"{place}/{name}"] = values
            file[f"{place}/{name}"].attrs.update(attributes)
            if place == "coordinates":
                file[f"{place}/{name}"].make_scale(name)
        for axis, dim in enumerate(("time", "y", "x")):
            file["data/rain"].dims[axis].attach_scale(file[f"coordinates/{dim}"])
    np.testing.assert_array_equal(Auto().read(path).values, np.float32(VALUES))


def test_plain_hdf5_takes_the_path_of_its_array(tmp_path):
    with h5py.File(tmp_path / "202001010005.h5", "w") as file:
        file["deep/in/it/rain"] = VALUES[0]
    reader = Arrays(
        ArrayGrid("EPSG:3035", 0.0, 0.0, dx=1000.0, dy=1000.0),
        "deep/in/it/rain",
        Coding("rain_rate"),
        time_in_name="%Y%m%d%H%M",
    )
    np.testing.assert_array_equal(
        reader.read(tmp_path / "202001010005.h5").values, np.float32(VALUES)
    )


def test_a_link_out_of_a_group_of_a_zarr_folder_is_not_followed(tmp_path):
    inside, outside = (
        grouped(tmp_path / "a2.zarr", {"rain": "radar"}),
        grouped(tmp_path / "b2.zarr", {}),
    )
    shutil.rmtree(inside / "radar" / "rain")
    (inside / "radar" / "rain").symlink_to(outside / "rain")
    with pytest.raises(
        UserError, match="is a link that leads out of the folder, which is not followed"
    ):
        ZarrComposite().read(inside)


def test_files_with_thousands_of_groups_are_refused(tmp_path):
    with h5py.File(tmp_path / "a.nc", "w") as file:
        for number in range(1000):
            file.create_group(f"g{number // 100}/g{number}")
    with pytest.raises(UserError, match="has 1001 groups or more; up to 1000 are accepted"):
        CfNetcdf().read(tmp_path / "a.nc")


# longitudes

WRAPS = {  # longitudes as stored, and as they run on
    "over Greenwich": ([358.0, 359.0, 0.0, 1.0], [-2, -1, 0, 1]), "over the date line": ([178.0, 179.0, 180.0, -179.0], [178, 179, 180, 181]),
    "beyond the date line": ([179.0, -180.0, -179.0, -178.0], [179, 180, 181, 182]), "of the "
                                                                                     "other half": ([200.0, 201.0, 202.0], [-160, -159, -158]),
    "falling": ([1.0, 0.0, 359.0, 358.0], [-2, -1, 0, 1]), "falling over the date line": ([-179.0, 180.0, 179.0], [179, 180, 181]),
    "cut over Greenwich": ([0.0, 1.0, 358.0, 359.0], [-2, -1, 0, 1]), "cut and falling": ([359.0, 358.0, 1.0, 0.0], [-2, -1, 0, 1]), "two "
                                                                                                                                     "columns": ([359.5, 0.5], [-0.5, 0.5]),
    "as ever": ([10.0, 11.0, 12.0], [10, 11, 12]), "the whole circle from 0": (np.arange(0.0, 360, 30), np.arange(0.0, 360, 30)),
    "the whole circle from 180": ([*np.arange(180.0, 360, 30), *np.arange(0.0, 180, 30)], np.arange(-180.0, 180, 30)),
    "the halves of the circle changed": ([*np.arange(0.0, 180, 30), *np.arange(-180.0, 0, 30)], np.arange(0.0, 360, 30)),
    "below -180": ([-200.0, -199.0, -198.0], [160, 161, 162]),
}  # fmt: skip


@pytest.mark.parametrize("which", WRAPS)
@pytest.mark.parametrize("kind", ["f8", "f4"])
@pytest.mark.parametrize(
    "dims", [("time", "y", "x"), ("time", "x", "y"), ("x", "y", "time"), ("x", "time", "y")]
)
def test_longitudes_that_jump_run_on_and_every_pixel_stays_at_its_place(
    tmp_path, which, kind, dims
):
    stored, expected = np.asarray(WRAPS[which][0]), np.asarray(WRAPS[which][1], float)
    values = (
        1.0 + stored[None, :] % 360 + np.array([0.0, 1000.0])[:, None]
    )  # a pixel says where it lies
    raw = values[None].transpose([("time", "y", "x").index(dim) for dim in dims])
    path = write_cf(
        tmp_path / "a.nc",
        raw,
        dims=dims,
        x=stored.astype(kind),
        y=[51.0, 50.0],
        mapping=None,
        **DEGREES,
    )
    frames = Auto().read(path)
    np.testing.assert_allclose(frames.grid.x, expected, atol=1e-9)
    np.testing.assert_allclose(
        frames.values[0], 1.0 + expected[None, :] % 360 + np.array([0.0, 1000.0])[:, None]
    )
    np.savez(
        tmp_path / "202001010005.npz",
        rain=values,
        lon=stored.astype(kind),
        lat=np.array([51.0, 50.0]),
    )
    arrays = Arrays(
        ArrayGrid("EPSG:4326", "lon", "lat"), "rain", Coding("rain_rate"), time_in_name="%Y%m%d%H%M"
    ).read(tmp_path / "202001010005.npz")
    np.testing.assert_array_equal(arrays.values, frames.values)
    np.testing.assert_allclose(arrays.grid.x, expected, atol=1e-9)


@pytest.mark.parametrize("step", [0.01, 0.05, 0.25, 1.0, 7.5])
@pytest.mark.parametrize("kind", ["f8", "f4"])
def test_any_stretch_of_the_circle_runs_on_in_either_direction_and_precision(tmp_path, step, kind):
    rng = np.random.default_rng(int(100 * step))
    for first in rng.uniform(-360, 360, 8).round(2):
        there = first + step * np.arange(40)
        for stored in (
            np.mod(there, 360),
            np.mod(there + 180, 360) - 180,
            np.mod(there, 360)[::-1],
        ):
            grid = (
                Auto()
                .read(
                    write_cf(
                        tmp_path / "a.nc",
                        np.ones((1, 1, 40)),
                        x=stored.astype(kind),
                        y=[50.0],
                        mapping=None,
                        **DEGREES,
                    )
                )
                .grid
            )
            np.testing.assert_allclose(np.diff(grid.x), step, rtol=2e-3)
            np.testing.assert_allclose((grid.x - there + 180) % 360, 180, atol=1e-4)
            assert -180 <= grid.x[0] < 360 and grid.x[-1] < 540


def test_longitudes_that_form_no_even_row_stay_as_they_are():
    for values in ([0.0, 5.0, 7.0], [0.0, 1.0, 150.0, 100.0], [1.0], [np.nan, 1.0]):
        found, order = continuous(np.array(values))
        np.testing.assert_array_equal(found, values)
        assert order is None
    assert near_zero(np.array([540.0, 541.0])).tolist() == [-180, -179] and near_zero(
        np.array([-180.0, -179.0])
    ).tolist() == [-180, -179]


def test_grids_over_the_date_line_and_greenwich_in_grib2_and_odim(tmp_path):
    for west, expected in (
        (359.0, [-1, 0, 1]),
        (179.0, [179, 180, 181]),
        (230.0, [-130, -129, -128]),
        (10.0, [10, 11, 12]),
    ):
        path = write_mrms(
            tmp_path / "a.grib2", np.ones((2, 3)), grid={"west": west, "step": 1.0, "north": 50.0}
        )
        content = path.read_bytes()
        if west + 2 >= 360:  # the last longitude as files store it
            content = content.replace(
                int((west + 2) * 1e6).to_bytes(4, "big"),
                int((west + 2 - 360) * 1e6).to_bytes(4, "big"),
                1,
            )
        path.write_bytes(content)
        np.testing.assert_allclose(Auto().read(path).grid.x, expected, atol=1e-9)
    where = {
        "projdef": b"+proj=longlat +ellps=WGS84",
        "UL_lon": 178.0,
        "UL_lat": 51.0,
        "LR_lon": -179.0,
        "LR_lat": 49.0,
        "xscale": 1.0,
        "yscale": 1.0,
    }
    np.testing.assert_allclose(
        Auto().read(write_odim(tmp_path / "a.h5", np.ones((2, 3)), **where)).grid.x,
        [178.5, 179.5, 180.5],
    )


# names of coordinates


@pytest.mark.parametrize("names", [("lon", "lat"), ("longitude", "latitude"), ("LON", "LAT")])
@pytest.mark.parametrize("units", [None, "degrees", "degrees_east", "degrees_in_WGS84_projection"])
@pytest.mark.parametrize(
    "dims", [("time", "lat", "lon"), ("time", "lon", "lat"), ("lon", "lat", "time")]
)
def test_longitudes_and_latitudes_are_known_by_their_names_in_any_order(
    tmp_path, names, units, dims
):
    values = np.arange(1.0, 7.0).reshape(2, 3)
    place = {"time": "time", "lon": names[0], "lat": names[1]}
    with netCDF4.Dataset(tmp_path / "a.nc", "w") as file:
        for dim, coordinates in (
            ("time", np.array([0])),
            ("lon", np.array([10.0, 10.5, 11.0])),
            ("lat", np.array([44.0, 44.5])),
        ):
            file.createDimension(place[dim], coordinates.size)
            file.createVariable(place[dim], coordinates.dtype, (place[dim],))[...] = coordinates
            if dim == "time":
                file["time"].setncatts(TIME)
            elif units:
                file[place[dim]].units = units.replace("east", "north") if dim == "lat" else units
        rain = file.createVariable("rain", "f4", [place[dim] for dim in dims])
        rain[...] = values[None].transpose([("time", "lat", "lon").index(dim) for dim in dims])
        rain.setncatts({name: value for name, value in RATE.items() if name != "grid_mapping"})
    frames = Auto().read(tmp_path / "a.nc")
    np.testing.assert_array_equal(frames.values[0], np.float32(values[::-1]))
    assert frames.grid.x.tolist() == [10, 10.5, 11] and frames.grid.y.tolist() == [44.5, 44]


def test_the_real_file_of_arpae_is_read_with_its_interval():
    path = shared_data() / "cases" / "C15_latlon_no_attributes" / "openrainer_RAD.nc"
    if not path.exists():
        pytest.skip("the real file of ARPAE is not here")
    frames = CfNetcdf(minutes=15).read(path)
    assert (
        frames.values.shape == (11, 290, 373)
        and np.isnan(frames.values).sum() == 1202
        and np.nanmax(frames.values) == pytest.approx(46.14, abs=5e-3)
    )
    assert [str(frames.times[0]), str(frames.times[-1])] == [
        "2022-09-17T08:00:00",
        "2022-09-17T10:30:00",
    ] and frames.grid.y[-1] == pytest.approx(43.4, abs=1e-5)
