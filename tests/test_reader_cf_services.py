"""NetCDF as services and people write it, without all that CF asks for: real files with the values
that were decoded independently, and small files with the same structure.
"""

import re
import tarfile

import numpy as np
import pyproj
import pytest

from nowcast.data.reading import opened_inputs
from nowcast.data.unpacking import Unpacking
from nowcast.readers.auto import Auto
from nowcast.readers.cf_netcdf import CfNetcdf
from nowcast.readers.odim_hdf5 import OdimHdf5
from nowcast.runtime.errors import UserError
from tests.factories import write_odim
from tests.factories_cf import LAEA_MAPPING, write_cf
from tests.factories_readers import case

NAN = np.nan
NO_NAME = "C14_netcdf_no_standard_name"
BARE = {"standard_name": None, "units": None, "grid_mapping": None}
NO_UNITS = {"x_is": {"units": None}, "y_is": {"units": None}}
LAEA = "+proj=laea +lat_0=55 +lon_0=10 +x_0=1950000 +y_0=-2100000 +ellps=WGS84"


def places(file, *, off=0.0):
    """Add longitudes and latitudes of all pixels, off by so many of them, as people do: without an
    attribute.
    """
    x, y = np.meshgrid(file["x"][:] + 1000 * off, file["y"][:])
    lon, lat = pyproj.Proj(LAEA)(x, y, inverse=True)
    for name, values in (("lon", lon), ("lat", lat)):
        file.createVariable(name, "f8", ("y", "x"))[...] = values


# real files


def test_a_composite_of_the_met_office_without_a_standard_name_is_offered_and_read_by_its_name():
    path = case(f"{NO_NAME}/data_standardise_radarnet_kgo_preciprate.nc")
    with pytest.raises(
        UserError,
        match="could be rain: rainfall_rate_composite.projection_y_coordinate 704, .* 548. "
        "'Rainfall rate Composite' in 'mm/h'. If one is, with reader=cf_netcdf set reader.vari",
    ):
        Auto().read(path)
    frames = CfNetcdf(variable="rainfall_rate_composite").read(path)
    observed = frames.values[~np.isnan(frames.values)].astype(np.float64)
    assert frames.values.size - observed.size == 112171 and observed.max() == 39.34375
    assert observed.mean() == pytest.approx(0.0072620979, rel=1e-7)
    assert frames.times.tolist() == [np.datetime64("2018-08-03T22:45", "s").item()]
    assert frames.grid.y[[0, -1]].tolist() == [1222000, -184000]


def test_a_korean_radar_without_units_is_offered_and_read_by_its_name_and_units():
    path = case(f"{NO_NAME}/KFWS_DPR_201905020230_RATE.nc")
    with pytest.raises(UserError, match="could be rain: RATE.* without units .lacks reader.units"):
        Auto().read(path)
    frames = CfNetcdf(variable="RATE", units="mm/h").read(path)
    assert frames.values.max() == pytest.approx(156.06145)
    assert frames.times.tolist() == [np.datetime64("2019-05-02T02:30", "s").item()]
    # its coordinates say "unit" instead of "units"
    assert frames.grid.x[[0, -1]].tolist() == [-99500, 99500]
    assert frames.grid.y[[0, -1]].tolist() == [99500, -99500] and frames.remarks == ()


def test_openmrg_has_its_projection_in_a_global_attribute_and_coordinates_without_units():
    path = case(f"{NO_NAME}/openMRG_Radar_180minutes.nc")
    with pytest.raises(UserError, match="could be rain: rainfall_amount.*lacks reader.units"):
        Auto().read(path)
    frames = CfNetcdf(variable="rainfall_amount", units="mm", minutes=5).read(path)
    assert len(frames) == 36 and frames.values.max() == pytest.approx(12 * 68.68411859773074)
    assert frames.remarks == (
        "its projection is the global attribute proj_string",
        "its coordinates state no unit and count in m",
    )
    there = pyproj.Proj(frames.grid.crs)(frames.grid.x[0], frames.grid.y[0], inverse=True)
    np.testing.assert_allclose(there, (11.41280369, 58.04000702), atol=1e-8)


def test_the_other_openmrg_does_not_name_its_grid_mapping():
    path = case(f"{NO_NAME}/openMRG_example_rad_20150827_90minutes.nc")
    frames = CfNetcdf(variable="rainfall").read(path)
    assert len(frames) == 19 and frames.values.max() == pytest.approx(68.68)
    assert frames.times[[0, -1]].tolist() == [
        np.datetime64("2015-08-27T01:00", "s").item(),
        np.datetime64("2015-08-27T02:30", "s").item(),
    ]
    assert "rainfall names no grid mapping: crs, the only one, was taken" in frames.remarks


def test_openrainer_has_coordinates_by_name_and_its_interval_in_an_attribute():
    frames = Auto().read(case("C15_latlon_no_attributes/openrainer_RAD.nc"))
    assert frames.values.shape == (11, 290, 373) and frames.quantity == "rain depth in 15 min"
    assert np.isnan(frames.values).sum() == 1202
    assert np.nanmax(frames.values) == pytest.approx(46.14, abs=0.005)
    assert (
        frames.times.tolist()
        == (np.datetime64("2022-09-17T08:00", "s") + 900 * np.arange(11)).tolist()
    )
    assert frames.grid.y[-1] == pytest.approx(43.4, abs=1e-4)
    assert frames.remarks == ("its interval is that of the attribute rainfall_amount:accum_time_h",)


def members_read(path):
    """What is read of each member of an archive: frames, or what is wrong."""
    inputs, found = opened_inputs([path], separately=False), {}
    reader = Unpacking(Auto(), inputs.refused)
    for member in inputs.paths:
        try:
            found[str(member).rpartition(": ")[2]] = reader.read(member)
        except UserError as error:
            found[str(member).rpartition(": ")[2]] = str(error)
    return found


def test_of_dwds_tar_both_members_are_seen_although_the_first_is_hdf5_at_byte_512():
    path = case("C04_tar_first_member/composite_rv_20250923_0855.tar")
    for reader in (Auto(), OdimHdf5()):
        with pytest.raises(UserError, match="is a tar archive.*unpack it"):
            reader.read(path)
    found = members_read(path)
    assert list(found) == [f"composite_rv_20250923_0855_{lead}-hd5" for lead in ("000", "050")]
    frames = found["composite_rv_20250923_0855_000-hd5"]
    assert np.nanmax(frames.values) == pytest.approx(22.176, rel=1e-6)
    assert np.isnan(frames.values).sum() == 621995
    assert "is a forecast, not an observation" in found["composite_rv_20250923_0855_050-hd5"]


# files with the same structure


def test_of_a_tar_of_hdf5_files_every_member_is_seen_and_the_tar_is_no_hdf5_file(tmp_path):
    for number in range(3):
        write_odim(tmp_path / f"a{number}.h5", [[float(number)]], time=f"18{number}000".encode())
    path = tmp_path / "all.tar"
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for number in range(3):
            archive.add(tmp_path / f"a{number}.h5", f"a{number}.h5")
    with open(path, "rb") as file:
        assert file.read(520)[512:] == b"\x89HDF\r\n\x1a\n"
    found = members_read(path)
    assert [frames.values.item() for frames in found.values()] == [0.0, 1.0, 2.0]
    with pytest.raises(UserError, match="is a tar archive"):
        OdimHdf5().read(path)


def test_what_lacks_everything_is_offered_with_all_the_settings_that_say_it(tmp_path):
    def bare(file):
        for name in ("x", "y", "time"):
            file.renameVariable(name, f"of_{name}")
            file[f"of_{name}"].setncatts({"standard_name": "", "units": ""})

    path = write_cf(tmp_path / "a.nc", [[[1.0, 2.0]] * 2], field=BARE, mapping=None, more=bare)
    with pytest.raises(
        UserError,
        match="has no variable with a standard name of rain or reflectivity .such as rainfall_rate"
        ".; it has .*rain. These could be rain: rain.time 1, y 2, x 2. without units .lacks "
        "reader.units, reader.x, reader.y, reader.time.. If one is, with reader=cf_netcdf set "
        "reader.variable to it, and the settings",
    ):
        Auto().read(path)
    with pytest.raises(UserError, match="has the units ''; .*set reader.units to what it counts"):
        CfNetcdf(variable="rain").read(path)
    told = {"variable": "rain", "units": "dBZ", "crs": LAEA}
    with pytest.raises(UserError, match="no coordinates of x and y .* set reader.x and reader.y"):
        CfNetcdf(**told).read(path)
    told |= {"x": "of_x", "y": "of_y"}
    with pytest.raises(UserError, match="rain has no time.* set reader.time to the variable or at"):
        CfNetcdf(**told).read(path)


def test_settings_say_what_a_file_does_not(tmp_path):
    def bare(file):
        for name in ("x", "y", "time"):
            file.renameVariable(name, f"of_{name}")
        for name in ("of_x", "of_y"):
            file[name].setncatts({"standard_name": "", "units": ""})
        file["of_time"].standard_name = "age"

    path = write_cf(tmp_path / "a.nc", [[[23.0103, -99]] * 2], field=BARE, mapping=None, more=bare)
    reader = CfNetcdf(
        variable="rain",
        units="dBZ",
        missing=[-99],
        crs=f"{LAEA} +units=km",
        x="of_x",
        y="of_y",
        time="of_time",
    )
    frames = reader.read(path)
    np.testing.assert_allclose(frames.values, [[[1.0, NAN]] * 2], rtol=1e-5)
    assert frames.times.tolist() == [np.datetime64("2020-06-01T00:00", "s").item()]
    assert frames.grid.x.tolist() == [500_000, 1_500_000]  # they count in the projection's unit
    assert pyproj.Proj(frames.grid.crs)(10, 55) == pytest.approx((1_950_000, -2_100_000))


def test_places_may_be_given_by_the_first_pixel_and_the_distance_to_the_next(tmp_path):
    def bare(file):
        for name in ("x", "y"):
            file.renameVariable(name, f"of_{name}")
            file[f"of_{name}"].setncatts({"standard_name": "index"})

    path = write_cf(tmp_path / "a.nc", [[[1.0, 2.0], [3.0, 4.0]]], more=bare)
    frames = CfNetcdf(x=-500.0, y=200.0, dx=1000, dy=1000).read(path)
    np.testing.assert_array_equal(frames.values, [[[3, 4], [1, 2]]])  # its first row is south
    assert (frames.grid.x.tolist(), frames.grid.y.tolist()) == ([-500, 500], [1200, 200])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"units": "furlongs"}, "reader.units is 'furlongs'; a rate such as"),
        ({"x": 3.0}, "reader.x is 3.0 and reader.dx None; either the name of a variable alone"),
        ({"x": "lon", "dx": 2.0}, "reader.x is 'lon' and reader.dx 2.0; either"),
        ({"y": 1.0, "dy": 0.0}, "reader.y is 1.0 and reader.dy 0.0; either"),
        ({"y": NAN, "dy": 1.0}, "reader.y is nan; a finite number is needed"),
        ({"time": "%Y"}, "reader.time is '%Y'; a pattern of year"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(UserError, match=re.escape(message)):
        CfNetcdf(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"x": "lon"}, "has no variable for reader.x 'lon'; expected one of x, y, time"),
        ({"y": "crs"}, "reader.y is 'crs', which has the shape () and lies along no single axis"),
        ({"time": "date"}, "has no variable or attribute for reader.time 'date'; expected one of"),
        ({"time": "Conventions"}, "Conventions is 'CF-1.8', which is no UTC time such as"),
        ({"time": "%Y%m%d%H%M"}, "its name contains no time of the form '%Y%m%d%H%M'"),
    ],
)
def test_settings_that_name_what_is_not_there_are_refused(tmp_path, settings, message):
    path = write_cf(tmp_path / "a.nc", [[[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]])
    with pytest.raises(UserError, match=re.escape(message)):
        CfNetcdf(**settings).read(path)


def test_the_time_may_stand_in_attributes_or_in_the_files_name(tmp_path):
    def without_time(file):
        file.renameVariable("time", "clock")
        file["clock"].setncatts({"standard_name": "age", "units": "min"})
        file.setncatts({"valid": "2023-08-15T01:05:00Z", "date": "20230815", "hour": "013000"})

    path = write_cf(tmp_path / "rain_202308150200.nc", [[[1.0]]], more=without_time)
    with pytest.raises(
        UserError, match="rain has no time.*variable or attribute that has it .valid"
    ):
        CfNetcdf().read(path)
    for told, minute in (("valid", 65), ("date hour", 90), ("%Y%m%d%H%M", 120)):
        moment = np.datetime64("2023-08-15", "s") + 60 * minute
        reader = CfNetcdf(time=told)
        assert reader.read(path).times.tolist() == [moment.item()]
        assert reader.path_parts == ("%" in told)


def test_units_that_are_set_overrule_those_of_the_file(tmp_path):
    path = write_cf(tmp_path / "a.nc", [[[2.0]]], field={"units": "mm"})
    with pytest.raises(UserError, match="mend one of them, or with reader=cf_netcdf set reader.un"):
        CfNetcdf().read(path)
    assert CfNetcdf(units="mm/h").read(path).values.item() == 2.0


@pytest.mark.parametrize("place", ["the only mapping", "global"])
@pytest.mark.parametrize("kilometres", [False, True])
def test_an_unnamed_projection_is_taken_if_stated_places_confirm_it(tmp_path, place, kilometres):
    def more(file, off=0.0):
        places(file, off=off)
        if place == "global":
            file.proj4 = LAEA
        if kilometres:
            file["x"][:] = file["x"][:] / 1000
            file["y"][:] = file["y"][:] / 1000

    mapping = LAEA_MAPPING if place == "the only mapping" else None
    raw, field = np.ones((1, 3, 4)), {"grid_mapping": None}
    told = {"mapping": mapping, "field": field, **NO_UNITS}
    frames = CfNetcdf().read(write_cf(tmp_path / "a.nc", raw, more=more, **told))
    assert frames.grid.x.tolist() == [500, 1500, 2500, 3500]
    assert frames.remarks[-1] == f"its coordinates state no unit and count in {'k' * kilometres}m"
    off = write_cf(tmp_path / "b.nc", raw, more=lambda file: more(file, 1.0), **told)
    expected = "the units ''; m or km"
    if place == "global" and not kilometres:
        expected = "lie 1.0 pixels from where"
    with pytest.raises(UserError, match=expected):
        CfNetcdf().read(off)


def test_a_mapping_without_an_earth_has_that_of_the_proj_string_beside_it_or_says_what_it_took(
    tmp_path,
):
    earth = ("semi_major_axis", "inverse_flattening")
    mapping = {name: value for name, value in LAEA_MAPPING.items() if name not in earth}
    sphere = LAEA.replace("+ellps=WGS84", "+R=6370040")

    def with_proj(file):
        file.projection = sphere

    frames = CfNetcdf().read(
        write_cf(tmp_path / "a.nc", [[[1.0]]], mapping=mapping, more=with_proj)
    )
    assert pyproj.CRS(frames.grid.crs).ellipsoid.semi_major_metre == 6370040
    assert frames.remarks == (
        "its grid mapping states no earth: that of the global attribute projection was taken",
    )
    frames = CfNetcdf().read(write_cf(tmp_path / "b.nc", [[[1.0]]], mapping=mapping))
    assert frames.remarks == ("its grid mapping states no earth: that of WGS84 was taken",)
    frames = CfNetcdf().read(write_cf(tmp_path / "c.nc", [[[1.0]]], more=with_proj))
    assert pyproj.CRS(frames.grid.crs).ellipsoid.semi_major_metre == 6378137
    assert frames.remarks == ()


@pytest.mark.parametrize("index", [False, True])
@pytest.mark.parametrize("turned", [False, True])
def test_places_of_all_pixels_are_a_grid_in_the_projection_in_which_they_are_regular(
    tmp_path, index, turned
):
    def more(file):
        places(file)
        for name in ("x", "y"):
            if index:  # they only count
                file[name][:] = np.arange(file[name].size)
            else:
                file.renameVariable(name, f"of_{name}")
            file["x" if index and name == "x" else ("y" if index else f"of_{name}")].setncatts(
                {"standard_name": "", "units": ""}
            )

    raw = np.arange(12.0).reshape(1, 3, 4)
    dims = ("time", "x", "y") if turned else ("time", "y", "x")
    path = write_cf(
        tmp_path / "a.nc", raw.transpose(0, 2, 1) if turned else raw, dims=dims, more=more
    )
    frames = CfNetcdf().read(path)
    np.testing.assert_array_equal(frames.values, raw)
    np.testing.assert_allclose(frames.grid.x, [500, 1500, 2500, 3500], atol=0.01)
    np.testing.assert_allclose(frames.grid.y, [-500, -1500, -2500], atol=0.01)
    assert frames.remarks == ("its pixels lie where the two-dimensional lon and lat put them",)
    with pytest.raises(
        UserError, match="which are no regular grid in .*set reader.crs to the proj"
    ):
        CfNetcdf(crs="EPSG:4326").read(path)


@pytest.mark.parametrize(
    ("raw", "field", "mark"),
    [
        ([[-99.0, -99], [20, 30]], {"units": "dBZ", "standard_name": None}, "are -99, which looks"),
        ([[999.0, 999], [2, 3]], {}, "2 of 4 pixels of rain are 999, which looks like a mark"),
        (np.int16([[32767, 32767], [2, 3]]), {"scale_factor": 0.01}, "are 327.67, which looks"),
        (np.uint8([[255, 255], [2, 3]]), {"scale_factor": 0.5}, "pixels of rain are 255, which"),
        (np.int16([[32767, 32767], [2, 3]]), {"scale_factor": 0.02}, "rain are 32767, which looks"),
    ],
)
def test_a_mark_that_many_pixels_have_and_nothing_declares_is_refused(tmp_path, raw, field, mark):
    path = write_cf(tmp_path / "a.nc", np.asarray(raw)[None], field=field)
    with pytest.raises(UserError, match=f"{mark}.*set reader.missing to the numbers that mean not"):
        CfNetcdf(variable="rain").read(path)
    number = np.asarray(raw).ravel()[0].item()
    values = CfNetcdf(variable="rain", missing=[number]).read(path).values
    assert np.isnan(values[0]).tolist() == [[True, True], [False, False]]


def test_a_number_like_a_mark_is_a_value_where_that_is_said(tmp_path):
    path = write_cf(tmp_path / "a.nc", [[[99.0, 99.0], [2.0, 3.0]]])
    with pytest.raises(
        UserError, match="are 99, which looks like a mark .*, or to .. if it is a v"
    ):
        CfNetcdf().read(path)
    assert CfNetcdf(missing=[]).read(path).values.max() == 99
    one = write_cf(tmp_path / "b.nc", [[[99.0, 4.0], [2.0, 3.0]]])
    assert CfNetcdf().read(one).values.max() == 99


@pytest.mark.parametrize(
    ("attributes", "minutes"),
    [
        ({"accum_time_h": 0.25}, 15),
        ({"accumulation_time": "5 min"}, 5),
        ({"accumulation_period": "PT10M"}, 10),
        ({"integration_time_seconds": np.int32(3600)}, 60),
        ({"accumulation_time": 5}, None),
        ({"accumulation_time": "long"}, None),
        ({"accumulation_time_h": 1e9}, None),
    ],
)
def test_an_attribute_may_state_the_interval_of_depths_with_its_unit(tmp_path, attributes, minutes):
    depth = {"standard_name": "rainfall_amount", "units": "mm"}
    path = write_cf(tmp_path / "a.nc", [[[1.0]]], field=depth | attributes)
    if minutes is None:
        with pytest.raises(UserError, match="nothing says over how long"):
            CfNetcdf().read(path)
    else:
        assert CfNetcdf().read(path).quantity == f"rain depth in {minutes} min"
    assert CfNetcdf(minutes=30).read(path).quantity == "rain depth in 30 min"


def test_rays_of_a_radar_are_refused_by_name(tmp_path):
    def polar(file):
        file.Conventions = "CF/Radial instrument_parameters"

    path = write_cf(tmp_path / "a.nc", [[[1.0]]], more=polar)
    with pytest.raises(UserError, match="is CfRadial: rain.time, y, x. lies on the rays of a rad"):
        Auto().read(path)

    def scan(file):
        file.renameDimension("y", "azimuth")
        file.renameVariable("y", "azimuth")

    path = write_cf(tmp_path / "b.nc", [[[1.0]]], more=scan)
    with pytest.raises(UserError, match="is a polar scan: rain.time, azimuth, x. lies on the rays"):
        Auto().read(path)


def test_the_composites_of_met_norway_are_missing_where_a_mask_beside_them_says_so(tmp_path):
    netcdf = pytest.importorskip("netCDF4")
    path = tmp_path / "yrwms-nordic.mos.pcappi-0-dbz.nordiclcc-1000.20260813T193000Z.nc"
    with netcdf.Dataset(path, "w") as file:  # the structure of its files on THREDDS
        file.setncatts({"Conventions": "CF-1.6"})
        for dim, side in {"time": None, "Yc": 2, "Xc": 3}.items():
            file.createDimension(dim, side)
        for name, first, step in (("Xc", -796000.0, 1000.0), ("Yc", 1125000.0, -1000.0)):
            one = file.createVariable(name, "f8", (name,))
            one[:] = first + step * np.arange(file.dimensions[name].size)
            one.setncatts(
                {"standard_name": f"projection_{name[0].lower()}_coordinate", "units": "m"}
            )
        file.createVariable("time", "f8", ("time",)).units = "seconds since 1970-01-01 00:00:00"
        file["time"][:] = 1786649400
        lambert = file.createVariable("projection_lambert", "i4")
        lambert.setncatts(
            {
                "grid_mapping_name": "lambert_conformal_conic",
                "standard_parallel": [63.0, 63.0],
                "longitude_of_central_meridian": 15.0,
                "latitude_of_projection_origin": 63.0,
                "earth_radius": 6371000.0,
                "proj4": "+proj=lcc +lat_0=63 +lon_0=15 +lat_1=63 +lat_2=63 +no_defs +R=6.371e+06",
            }
        )
        dims = ("time", "Yc", "Xc")
        dbz = file.createVariable("equivalent_reflectivity_factor", "f4", dims)
        dbz[:] = [[[-32, 23.0103, -32], [33.0103, -32, 9.96921e36]]]
        dbz.setncatts(
            {
                "standard_name": "equivalent_reflectivity_factor",
                "units": "dBZ",
                "grid_mapping": "projection_lambert",
                "coordinates": "lon lat",
            }
        )
        for name, values in (
            ("is_nodata", [[1, 0, 0], [0, 0, 1]]),
            ("is_blocked", [[0, 0, 0], [0, 1, 0]]),
            ("is_seaclutter", [[0, 1, 0], [0, 0, 0]]),
        ):
            file.createVariable(name, "i1", dims)[:] = [values]
    frames = Auto().read(path)
    expected = [[NAN, 1.0, 0.0], [10 ** (1 / 1.6), NAN, NAN]]
    np.testing.assert_allclose(frames.values[0], expected, rtol=1e-5, atol=1e-3)
    assert frames.times.tolist() == [np.datetime64("2026-08-13T19:30", "s").item()]
    assert frames.remarks == (
        "where is_nodata is 1 nothing was observed",
        "where is_blocked is 1 nothing was observed",
    )
    lon, lat = pyproj.Proj(frames.grid.crs)(frames.grid.x[0], frames.grid.y[0], inverse=True)
    assert (lon, lat) == pytest.approx((-7.999, 71.7), abs=2)


@pytest.mark.parametrize(
    "projection",
    [
        "+proj=stere +lat_0=90 +lon_0=10 +lat_ts=60 +a=6370.04 +b=6370.04 +x_0=0 +y_0=0",
        "+proj=aea +lon_0=144.752 +lat_0=-37.852 +lat_1=-18 +lat_2=-36 +R=6370040",
        "+proj=tmerc +lat_0=42 +lon_0=12.5 +ellps=WGS84",
    ],
)
def test_what_pysteps_writes_has_the_earth_of_its_proj_string(tmp_path, projection):
    exporters = pytest.importorskip("pysteps.io.exporters")
    metadata = {
        "unit": "mm/h",
        "projection": projection,
        "cartesian_unit": "km" if "6370.04 " in projection else "m",
        "yorigin": "upper",
    }
    unit = 1 if metadata["cartesian_unit"] == "km" else 1000
    metadata |= {"x1": -2.0 * unit, "x2": 2.0 * unit, "y1": -3.0 * unit, "y2": 0.0}
    start = np.datetime64("2020-06-01T12:00").item()
    values = np.arange(24.0).reshape(2, 3, 4)
    exporter = exporters.initialize_forecast_exporter_netcdf(
        str(tmp_path), "a", start, 5, 2, (3, 4), metadata, n_ens_members=1
    )
    exporters.export_forecast_dataset(values, exporter)
    exporters.close_forecast_files(exporter)
    with CfNetcdf(variable="precip_intensity").forecast(tmp_path / "a.nc") as forecast:
        np.testing.assert_allclose(forecast.values()[0], values, atol=0.01)
        x, y = forecast.grid.x, forecast.grid.y
        assert (x.tolist(), y.tolist()) == ([-1500, -500, 500, 1500], [-500, -1500, -2500])
        here = pyproj.Proj(projection)(*pyproj.Proj(forecast.grid.crs)(x[0], y[0], inverse=True))
        assert here == pytest.approx((-1.5 * unit, -0.5 * unit), abs=1e-6 * unit)
    with pytest.raises(UserError, match="is a forecast, not an observation: .*pysteps-generated"):
        CfNetcdf(variable="precip_intensity").read(tmp_path / "a.nc")
