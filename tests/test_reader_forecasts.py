"""A forecast is never read as an observation, however its format says it; its twin with lead time 0
is read.
"""

import shutil
import struct
from datetime import datetime

import h5py
import numpy as np
import pytest
import rasterio
import zarr

from nowcast.data.conversion import convert
from nowcast.output.geotiff import write_geotiff
from nowcast.output.netcdf import write_forecast
from nowcast.output.odim import write_odim as write_odim_forecast
from nowcast.readers.array_grid import ArrayGrid
from nowcast.readers.arrays import Arrays
from nowcast.readers.auto import Auto
from nowcast.readers.decoding import Coding
from nowcast.readers.forecasts import is_ahead, is_lead_name, is_reference_name, says_forecast
from nowcast.readers.geotiff import GeoTiff
from nowcast.readers.moments import moment_of
from nowcast.readers.zarr_composite import ZarrComposite
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Forecast, Grid
from tests.factories import LAEA, shared_data, write_knmi, write_odim
from tests.factories_cf import write_cf
from tests.factories_grib2 import data_sections, grid_section, product_section, write_mrms
from tests.test_reader_bom_rainfields import write_bom
from tests.test_reader_fmi_pgm import write_pgm
from tests.test_reader_geotiff import write_tif
from tests.test_reader_mch_gif import COMMENT, write_gif
from tests.test_reader_radolan import RADARS, write_radolan
from tests.test_reader_zarr_composite import write_zarr

REFUSED = "is a forecast, not an observation: "
SINCE = "minutes since 2020-06-01 00:00:00"


def refused(path, said, reader=None):
    """The message of the refusal, which names the file, the field and its value."""
    with pytest.raises(UserError, match=REFUSED) as error:
        (reader or Auto()).read(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    assert said in str(error.value).split(REFUSED)[1]


# words and names


@pytest.mark.parametrize("name", [
    "leadtime", "lead_time", "leadTime", "lead-time", "LEADTIME", "lead_time_minutes", "forecast_hour", "forecast_period", "fcst_lead",
    "prediction_timedelta", "forecast_step", "NETCDF_DIM_leadtime", "NC_GLOBAL#lead_time", "GRIB_FORECAST_SECONDS", "forecast_horizon",
])  # fmt: skip
def test_a_name_of_lead_times_is_known_however_it_is_spelt(name):
    assert is_lead_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "time",
        "leader",
        "misleading",
        "lead_institute",
        "step",
        "rain",
        "x",
        "time_step",
        "period",
        "height",
    ],
)
def test_a_name_of_something_else_is_no_lead_time(name):
    assert not is_lead_name(name) and not is_reference_name(name)


@pytest.mark.parametrize("text, expected", [
    ("Rain rate forecast", True), ("pysteps-generated nowcast", True), ("rain_nowcast", True), ("FC", True), ("Extrapolation "
                                                                                                              "forecast "
                                                                                                              "based "
                                                                                                              "on "
                                                                                                              "COTREC", True),
    ("Radar composite", False), ("Observations for the nowcast of tomorrow", False), ("National "
                                                                                      "Forecast "
                                                                                      "Centre "
                                                                                      "composite", False), ("nowcasting "
                                                                                                                                     "archive", False),
    ("", False), ("not a forecast", False), ("forecast: no", False), ("no forecast data included", False), ("Used "
                                                                                                            "in "
                                                                                                            "the "
                                                                                                            "forecast "
                                                                                                            "room", False),
    ("VPR extrapolated to the ground", False), ("gaps filled by spatial extrapolation", False), ("freezing "
                                                                                                 "level "
                                                                                                 "from "
                                                                                                 "model "
                                                                                                 "forecast", False),
    ("clutter prediction by CNN", False), ("nowcast.preprocessing", False), ("Nowcast dataset", False), ("These "
                                                                                                         "data "
                                                                                                         "are "
                                                                                                         "not "
                                                                                                         "forecasts", False),
    ("NCEP/EMC 4KM Stage IV, Environmental Modeling and Prediction", False), ("Radar rain rate "
                                                                              "(nowcast domain)", False), ("nwc", False),
    ("Rain rates extrapolated to the surface with a VPR correction", False), ("forecast zone", False), ("nowcast "
                                                                                                        "preprocess "
                                                                                                        "2", False),
    ("Reference frames of the DGMR nowcast benchmark, UK radar composites", False), ("Forecast "
                                                                                     "of rain "
                                                                                     "rate", True), ("predicted "
                                                                                                                      "rainfall", True),
    ("Niederschlagsvorhersage", True), ("Neerslagverwachting", True), ("rain forecast +30 min", True), ("forecaster", False), ("Rain "
                                                                                                                               "analysis "
                                                                                                                               "and "
                                                                                                                               "forecast "
                                                                                                                               "input", False), ("Niederschlagsvorhersage "
                                                                                                                                                                            "Vorhersage", True),
])  # fmt: skip
def test_a_text_says_forecast_of_itself_or_not(text, expected):
    assert says_forecast(text) == expected


@pytest.mark.parametrize("value, expected", [
    (5, True), (0, False), (-5, False), ("+30 min", True), ("PT30M", True), ("0", False), ("00:00", False), ("PT0S", False), (np.array([0, 5]), True),
    (np.nan, False), (b"15", True), ("2020-06-01T00:30", False), ("-10", False), ("", False), (True, True),
])  # fmt: skip
def test_a_lead_time_is_above_0_or_not(value, expected):
    assert is_ahead(value) == expected


def test_moments_are_read_as_text_digits_or_seconds_since_1970():
    assert moment_of("2020060103") == np.datetime64("2020-06-01T03:00")
    for text in (
        "2020-06-01T02:30:00+02:00",
        "2020-06-01T00:30:00Z",
        "20200601003000",
        "202006010030",
        "2020-06-01 00:30",
        "1590971400 sec UTC",
    ):
        assert moment_of(text) == np.datetime64("2020-06-01T00:30")
    assert moment_of("unknown") is None and moment_of("20209901003000") is None


# ODIM


def with_attributes(path, group, attributes):
    with h5py.File(path, "r+") as file:
        file.require_group(group).attrs.update(attributes)
    return path


@pytest.mark.parametrize(
    "group", ["how", "dataset1/how", "dataset1/data1/how", "how/POLARA", "dataset1/how/producer"]
)
@pytest.mark.parametrize(
    "true, false",
    [
        (b"True", b"False"),
        ("true", "false"),
        (np.bool_(True), np.bool_(False)),
        (np.int64(1), np.int64(0)),
        ("1", "0"),
        ("YES", "no"),
    ],
)
def test_odim_that_is_simulated_is_refused_in_any_how_group_and_what_is_not_is_read(
    tmp_path, group, true, false
):
    refused(
        with_attributes(write_odim(tmp_path / "a.h5", [[1.0, 2.0]]), group, {"simulated": true}),
        f"{group}/simulated",
    )
    assert Auto().read(
        with_attributes(write_odim(tmp_path / "b.h5", [[1.0, 2.0]]), group, {"simulated": false})
    ).values.tolist() == [[[1, 2]]]


@pytest.mark.parametrize("name, ahead, none", [
    ("lead_time", 20, 0), ("leadtime", "20", "0"), ("lead_time_min", np.float32(5), np.float32(0)), ("forecast_period", "PT20M", "PT0M"),
    ("fcst_minutes", "+020", "+000"), ("leadTime", b"00:20", b"00:00"), ("analysis_time", "2018-08-24T17:40:00Z", "2018-08-24T18:00:00Z"),
    ("forecast_reference_time", "20180824175500", "20180824180000"), ("valid_time", "20180824182000", "20180824180000"),
])  # fmt: skip
@pytest.mark.parametrize("group", ["how", "dataset1/how"])
def test_odim_with_a_lead_time_is_refused_and_an_analysis_is_read(
    tmp_path, group, name, ahead, none
):
    refused(
        with_attributes(write_odim(tmp_path / "a.h5", [[1.0]]), group, {name: ahead}),
        f"{group}/{name}",
    )
    assert (
        len(
            Auto().read(
                with_attributes(write_odim(tmp_path / "b.h5", [[1.0]]), group, {name: none})
            )
        )
        == 1
    )


@pytest.mark.parametrize("quantity", ["RATE", "ACRR", "DBZH"])
@pytest.mark.parametrize("start, end, accepted", [
    ("174500", "180000", "RATE ACRR DBZH"), ("175500", "180000", "RATE ACRR DBZH"), ("180000", "180000", "RATE "
                                                                                                         "DBZH"), ("175000", "180500", "RATE "
                                                                                                                                            "ACRR "
                                                                                                                                            "DBZH"),
    ("180021", "180459", "RATE DBZH"), ("180000", "180500", "RATE DBZH"), ("180500", "181000", ""), ("182000", "182000", ""), ("184000", "184500", ""),
    ("180000", "183000", ""), ("175500", "190000", ""),
])  # fmt: skip
def test_odim_with_an_interval_after_its_nominal_time_is_refused(
    tmp_path, quantity, start, end, accepted
):
    path = write_odim(
        tmp_path / "a.h5",
        [[1.0]],
        quantity=quantity,
        starttime=start.encode(),
        endtime=end.encode(),
    )
    if quantity in accepted.split():
        assert len(Auto().read(path)) == 1
    elif start == end and "RATE" in accepted:
        with pytest.raises(UserError, match="a rain depth needs one that ends after it starts"):
            Auto().read(path)
    else:
        refused(path, "what/date and what/time, 2018-08-24T18:00:00 UTC")


@pytest.mark.parametrize("group, name, value", [
    ("what", "object", "FORECAST"), ("dataset1/what", "product", "NOWCAST"), ("dataset1/what", "prodname", "RV "
                                                                                                           "forecast"), ("how", "task", "nowcast"),
    ("how", "comment", "Extrapolation forecast based on COTREC method"), ("dataset1/what", "product", "FCST"),
])  # fmt: skip
def test_odim_whose_object_or_product_says_forecast_is_refused(tmp_path, group, name, value):
    refused(
        with_attributes(write_odim(tmp_path / "a.h5", [[1.0]]), group, {name: value}),
        f"{group}/{name} is '{value}'",
    )


# CF: NetCDF, zarr, Rainfields


def coordinate(name, values, dims=(), **attributes):
    """What adds a variable to an open NetCDF file, and to the field's coordinates."""

    def add(file):
        created = file.createVariable(name, np.asarray(values).dtype, dims)
        created[...] = values
        created.setncatts(attributes)

    return add


PERIOD = {"standard_name": "forecast_period", "units": "minutes"}
CF_DIALECTS = [  # (name, value of a forecast, value of an analysis at 00:10, attributes)
    ("forecast_period", 300.0, 0.0, {"standard_name": "forecast_period", "units": "s"}),
    ("ahead", 5, 0, PERIOD), ("leadtime", 5, 0, {}), ("lead_time", 5.0, 0.0, {"units": "minutes"}), ("forecast_hour", 1, 0, {"units": "h"}),
    ("step", 5, 0, {"units": "minutes"}), ("prediction_timedelta", 3 * 10**11, 0, {"units": "nanoseconds"}), ("fcst_lead", 5, 0, {"units": "min"}),
    ("forecast_reference_time", 5, 10, {"units": SINCE}), ("made", 5, 10, {"standard_name": "forecast_reference_time", "units": SINCE}),
    ("analysis_time", 0, 10, {"units": SINCE}), ("init_time", 5, 10, {"units": SINCE}), ("base_time", 5, 10, {"units": SINCE}),
    ("realization", 3, 0, {"standard_name": "realization", "units": "1"}),
]  # fmt: skip


@pytest.mark.parametrize("name, ahead, none, attributes", CF_DIALECTS)
@pytest.mark.parametrize("dims", [(), ("time",)])
@pytest.mark.parametrize("kind", ["NETCDF4", "NETCDF3_CLASSIC"])
def test_cf_with_a_lead_time_a_reference_time_or_a_member_is_refused_and_an_analysis_is_read(
    tmp_path, kind, dims, name, ahead, none, attributes
):
    if name == "step" and not dims:
        dims = ("time",)  # a single step that nothing connects with the field may be of anything
    ahead, none = (
        value if kind == "NETCDF4" or abs(value) < 2**31 else float(value)
        for value in (ahead, none)
    )
    ahead, none = (
        np.int32(value) if isinstance(value, int) and abs(value) < 2**31 else value
        for value in (ahead, none)
    )
    values = {"ahead": ahead, "none": none}
    paths = {
        which: write_cf(
            tmp_path / which,
            [[[2.0]]],
            minutes=np.int32([10]),
            kind=kind,
            more=coordinate(name, value, dims, **attributes),
        )
        for which, value in values.items()
    }
    refused(paths["ahead"], f"{name} is ")
    assert Auto().read(paths["none"]).times[0] == np.datetime64("2020-06-01T00:10")


@pytest.mark.parametrize("name, value, attributes", [
    ("step", 5, {"units": "minutes"}), ("tau", 5.0, {"units": "minutes"}), ("timedelta", 300, {"units": "s"}), ("horizon", 300, {"units": "s"}),
    ("number", 12, {}),
])  # fmt: skip
def test_a_single_number_that_nothing_connects_with_the_field_makes_no_forecast(
    tmp_path, name, value, attributes
):
    path = write_cf(
        tmp_path / "a.nc",
        [[[2.0]]],
        minutes=np.int32([10]),
        more=coordinate(name, np.int32(value), **attributes),
    )
    assert len(Auto().read(path)) == 1


@pytest.mark.parametrize(
    "dim",
    ["leadtime", "lead_time", "forecast_hour", "step", "prediction_timedelta", "forecast_period"],
)
@pytest.mark.parametrize("attributes", [None, {}, {"units": "minutes"}, PERIOD])
@pytest.mark.parametrize(
    "dims",
    [("time", "DIM", "y", "x"), ("DIM", "y", "x"), ("DIM", "time", "y", "x"), ("y", "x", "DIM")],
)
def test_cf_with_several_lead_times_along_a_dimension_is_refused(tmp_path, dim, attributes, dims):
    dims = tuple(dim if one == "DIM" else one for one in dims)
    shape = [{"time": 1, dim: 3, "y": 2, "x": 2}[one] for one in dims]
    add = (
        None if attributes is None else coordinate(dim, np.array([0, 5, 10]), (dim,), **attributes)
    )
    path = write_cf(tmp_path / "a.nc", np.ones(shape), dims=dims, more=add)
    if (
        dim == "step" and attributes is None and dims[0] == "time"
    ):  # an axis of a name that may mean anything
        with pytest.raises(UserError, match="has 3 fields along step for each time"):
            Auto().read(path)
    else:
        try:
            Auto().read(path)
        except UserError as error:
            assert REFUSED in str(error) and dim in str(error) or dim == "step"
        else:
            pytest.fail("a forecast was read")


@pytest.mark.parametrize("dim", ["realization", "ens_number", "member", "ensemble", "number"])
def test_members_of_an_ensemble_are_refused_and_a_single_field_of_its_own_is_read(tmp_path, dim):
    refused(
        write_cf(tmp_path / "a.nc", np.ones((3, 1, 2, 2)), dims=(dim, "time", "y", "x")),
        f"the dimension {dim} is 3 members of an ensemble",
    )
    assert (
        len(
            Auto().read(
                write_cf(tmp_path / "b.nc", np.ones((1, 1, 2, 2)), dims=(dim, "time", "y", "x"))
            )
        )
        == 1
    )


@pytest.mark.parametrize("place", ["file", "rain", "time"])
@pytest.mark.parametrize("name, value, none", [
    ("title", "Rain rate forecast", "Rain rate"), ("lead_time", 30, 0), ("forecast_hour", "+01", "+00"), ("simulated", "true", "false"), ("product_type", "nowcast", "composite"),
    ("long_name", "forecast rain rate", "rain rate"), ("GRIB_dataType", "fc", "an"), ("analysis_time", "2020-05-31T23:00:00Z", "2020-06-01T00:10:00Z"),
])  # fmt: skip
def test_attributes_of_the_file_the_field_or_its_time_say_forecast(
    tmp_path, place, name, value, none
):
    def add(value):
        return lambda file: (file if place == "file" else file[place]).setncattr(name, value)

    refused(write_cf(tmp_path / "a.nc", [[[2.0]]], minutes=[10.0], more=add(value)), name)
    assert (
        len(Auto().read(write_cf(tmp_path / "b.nc", [[[2.0]]], minutes=[10.0], more=add(none))))
        == 1
    )


def test_a_stated_lead_time_of_0_counts_more_than_a_title(tmp_path):
    def analysis(file):
        file.title = "Model forecast"
        coordinate("forecast_period", 0, **PERIOD)(file)

    assert len(Auto().read(write_cf(tmp_path / "a.nc", [[[2.0]]], more=analysis))) == 1


def test_a_lead_time_of_another_field_or_a_base_time_with_offsets_refuses_nothing(tmp_path):
    def other(file):
        file.createDimension("leadtime", 2)
        coordinate("leadtime", np.array([5, 10]), ("leadtime",), units="minutes")(file)
        coordinate("base_time", 0, units=SINCE)(file)
        coordinate("time_offset", 10.0, units="s")(file)

    assert len(Auto().read(write_cf(tmp_path / "a.nc", [[[2.0]]], minutes=[10.0], more=other))) == 1


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize(
    "name, ahead, none, attributes", [dialect for dialect in CF_DIALECTS if dialect[0] != "step"]
)
def test_the_same_in_zarr(tmp_path, version, name, ahead, none, attributes):
    for which, value in (("ahead", ahead), ("none", none)):
        group = zarr.open_group(
            write_zarr(tmp_path / which, np.ones((1, 2, 2)), version=version, minutes=[10]),
            mode="r+",
        )
        array = group.create_array(
            name,
            shape=(),
            dtype=np.asarray(value).dtype,
            **({"dimension_names": []} if version == 3 else {}),
        )
        array[...] = value
        array.attrs.update(attributes | ({"_ARRAY_DIMENSIONS": []} if version == 2 else {}))
    refused(tmp_path / "ahead", f"{name} is ")
    assert len(ZarrComposite().read(tmp_path / "none")) == 1
    zarr.open_group(tmp_path / "none", mode="r+").attrs["title"] = "nowcast"
    if name != "realization":
        assert len(ZarrComposite().read(tmp_path / "none")) == 1  # it states an analysis
    else:
        refused(tmp_path / "none", "the global attribute title is 'nowcast'")


def test_rainfields_with_a_lead_time_are_refused(tmp_path):
    assert len(Auto().read(write_bom(tmp_path / "a.nc", [[0, 40]]))) == 1
    for name, value, attributes in (
        ("lead_time", 6, {"units": "min"}),
        ("base_time", 1529143200, {"units": "seconds since 1970-01-01"}),
    ):
        path = write_bom(tmp_path / f"{name}.nc", [[0, 40]])
        with h5py.File(path, "r+") as file:
            file[name] = value
            file[name].attrs.update(attributes)
        refused(path, f"{name} is ")


# RADOLAN, GRIB2, GeoTIFF, images


@pytest.mark.parametrize("rest, said", [
    ("VV 015" + RADARS, "VV in its header is 015"), ("VV015" + RADARS, "VV"), ("MF 00000001VV 005" + RADARS, "VV "
                                                                                                             "in "
                                                                                                             "its "
                                                                                                             "header "
                                                                                                             "is "
                                                                                                             "005"), ("VV "
                                                                                                                                          "120MF "
                                                                                                                                          "00000001" + RADARS, "VV"),
])  # fmt: skip
@pytest.mark.parametrize("product", ["RY", "RV", "RQ"])
def test_radolan_with_a_lead_time_is_refused_wherever_its_header_says_it(
    tmp_path, product, rest, said
):
    refused(write_radolan(tmp_path / "a", [10], product=product, rest=rest), said)
    none = rest.replace("015", "000").replace("005", "000").replace("120", "000")
    assert (
        len(Auto().read(write_radolan(tmp_path / "b_000", [10], product=product, rest=none))) == 1
    )


def test_radolan_products_and_names_of_forecasts_are_refused(tmp_path):
    for product in ("FX", "FZ", "FS", "FQ"):
        refused(write_radolan(tmp_path / "a", [10], product=product), f"its product is '{product}'")
    refused(
        write_radolan(tmp_path / "DE1200_RV2001011500_005", [10], product="RV"),
        "the end of its name is '_005'",
    )
    assert (
        len(Auto().read(write_radolan(tmp_path / "DE1200_RV2001011500_000", [10], product="RV")))
        == 1
    )
    assert (
        len(Auto().read(write_radolan(tmp_path / "raa01-ry_10000-2001011500-dwd---bin", [10]))) == 1
    )


def grib(path, *, process=8, data=7, significance=3, ahead=0, template=0, end=None):
    """A rain rate, or with template 8 a depth of 1 h, whose fields about its making are set."""
    product = bytearray(
        product_section(2 if template == 8 else 1, ahead=ahead, template=template, end=end)
    )
    product[11] = process
    write_mrms(
        path,
        [[1.0, 2.0]],
        sections=grid_section(1, 2) + bytes(product) + data_sections(np.array([[1.0, 2.0]])),
    )
    content = bytearray(path.read_bytes())
    content[16 + 11], content[16 + 20] = significance, data
    path.write_bytes(bytes(content))
    return path


NOON = datetime(2024, 1, 15, 12)


@pytest.mark.parametrize("fields, said", [
    ({"ahead": 5}, "its forecast time is 5"), ({"process": 2}, "its type of generating process "
                                                               "is 2 (forecast)"), ({"process": 4}, "generating "
                                                                                                                                   "process "
                                                                                                                                   "is "
                                                                                                                                   "4"), ({"process": 14}, "(nowcast)"),
    ({"data": 1}, "its type of processed data is 1 (forecast)"), ({"data": 4}, "perturbed forecast"), ({"significance": 2}, "the "
                                                                                                                            "significance "
                                                                                                                            "of "
                                                                                                                            "its "
                                                                                                                            "reference "
                                                                                                                            "time "
                                                                                                                            "is "
                                                                                                                            "2"),
    ({"template": 8, "significance": 1, "end": datetime(2024, 1, 15, 13)}, "the significance of "
                                                                           "its reference time "
                                                                           "is 1"), ({"template": 8, "ahead": 60, "end": NOON}, "its "
                                                                                                                                                                       "forecast "
                                                                                                                                                                       "time "
                                                                                                                                                                       "is "
                                                                                                                                                                       "60"),
    ({"template": 1}, "its product definition template is 4.1"),
])  # fmt: skip
def test_grib2_that_was_predicted_is_refused_by_the_field_that_says_so(tmp_path, fields, said):
    refused(grib(tmp_path / "a.grib2", **fields), said)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"process": 0, "data": 0, "significance": 0},
        {"significance": 1},
        {"data": 2},
        {"template": 8, "end": NOON},
        {"template": 8, "significance": 1, "end": NOON},
    ],
)
def test_grib2_that_was_observed_or_analysed_is_read(tmp_path, fields):
    assert len(Auto().read(grib(tmp_path / "a.grib2", **fields))) == 1


def test_grib2_counts_angles_by_its_basic_angle_as_real_files_do(tmp_path):
    values = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    for basic, parts, scale in (
        (0, 2**32 - 1, 1),
        (1, 1_000_000, 1),
        (2, 2_000_000, 1),
        (1, 1000, 1000),
        (1, 8, 125_000),
        (3, 24, 125_000),
    ):
        section = bytearray(grid_section(2, 3, north=55.0, west=230.0, step=1.0))
        struct.pack_into(">II", section, 38, basic, parts)
        for place in (46, 50, 55, 59, 63, 67):
            struct.pack_into(
                ">I", section, place, struct.unpack_from(">I", section, place)[0] // scale
            )
        path = write_mrms(
            tmp_path / "a.grib2",
            values,
            sections=bytes(section) + product_section(1) + data_sections(values),
        )
        grid = Auto().read(path).grid
        np.testing.assert_allclose([*grid.x, *grid.y], [-130, -129, -128, 55, 54], atol=1e-9)


def test_the_real_mrms_file_has_the_pixels_that_were_decoded_independently():
    path = shared_data() / "cases" / "C21_mrms" / "PrecipRate_00.00_20190610-000000.grib2"
    if not path.exists():
        pytest.skip("the real MRMS file is not here")
    frames = Auto().read(path)
    observed = frames.values[~np.isnan(frames.values)].astype(np.float64)
    assert frames.times.tolist() == [datetime(2019, 6, 10)] and frames.values.shape == (
        1,
        3500,
        7000,
    )
    assert frames.values.size - observed.size == 8769493 and observed.max() == pytest.approx(148.8)
    assert (observed.mean(), (observed >= np.float32(0.1)).mean()) == (
        pytest.approx(0.13519997, abs=5e-9),
        pytest.approx(0.062482538, abs=5e-10),
    )


def test_real_forecasts_are_refused_and_the_real_analysis_beside_one_is_read():
    cases = shared_data() / "cases"
    if not cases.exists():
        pytest.skip("the real cases are not here")
    refused(
        cases / "C03_dwd_rv_forecast" / "composite_rv_20250923_0855_050-hd5",
        "how/simulated is 'True', expected False",
    )
    refused(
        cases / "C06_chmi" / "T_PABV23_C_OKPR_20260726203000_ft20.hdf",
        "how/simulated is 'True', expected False",
    )
    frames = Auto().read(cases / "C03_dwd_rv_forecast" / "composite_rv_20250923_0855_000-hd5")
    observed = frames.values[~np.isnan(frames.values)].astype(np.float64)
    assert (
        frames.times.tolist() == [datetime(2025, 9, 23, 8, 55)]
        and frames.values.size - observed.size == 621995
    )
    assert observed.max() == pytest.approx(22.176, abs=5e-6) and observed.mean() == pytest.approx(
        0.041904849, abs=5e-9
    )
    assert (observed >= np.float32(0.1)).mean() == pytest.approx(0.035991146, abs=5e-9)


TIF = GeoTiff(Coding("rain_rate", missing=(-1,)), time="%Y%m%d%H%M")


def tagged(path, description=None, **tags):
    write_tif(path, [[1.0, 2.0]])
    with rasterio.open(path, "r+") as file:
        file.update_tags(**tags)
        if description:
            file.set_band_description(1, description)
    return path


@pytest.mark.parametrize("tags, analysis", [
    ({"LEADTIME": "30"}, {"LEADTIME": "0"}), ({"lead_time": "+30 min"}, {"lead_time": "0 min"}), ({"GRIB_FORECAST_SECONDS": "1800 "
                                                                                                                            "sec"}, {"GRIB_FORECAST_SECONDS": "0 "
                                                                                                                                                                   "sec"}),
    ({"GRIB_REF_TIME": "1577836800 sec UTC"}, {"GRIB_REF_TIME": "1577837100 sec UTC"}), ({"NETCDF_DIM_leadtime": "30"}, {"NETCDF_DIM_leadtime": "0"}),
    ({"TIFFTAG_IMAGEDESCRIPTION": "rain forecast"}, {"TIFFTAG_IMAGEDESCRIPTION": "rain rate"}), ({"simulated": "True"}, {"simulated": "False"}), ({"forecast": "yes"}, {"forecast": "no"}),
    ({"NC_GLOBAL#title": "nowcast"}, {"NC_GLOBAL#title": "radar"}), ({"description": "T+30 min"}, {"description": "T+0 "
                                                                                                                  "min"}), ({"description": "forecast"}, {"description": "rain"}),
    ({"VALID_TIME": "2020-01-01T00:35:00Z"}, {"VALID_TIME": "2020-01-01T00:05:00Z"}),
])  # fmt: skip
def test_geotiff_whose_tags_or_band_say_forecast_is_refused_and_an_analysis_is_read(
    tmp_path, tags, analysis
):
    with pytest.raises(UserError, match=REFUSED):
        TIF.read(tagged(tmp_path / "202001010005.tif", **tags))
    assert TIF.read(tagged(tmp_path / "202001010005b.tif", **analysis)).values.tolist() == [
        [[1, 2]]
    ]


@pytest.mark.parametrize(
    "name",
    [
        "forecast_202001010005",
        "202001010005_lead030",
        "202001010005_ft20",
        "202001010005+30min",
        "nowcast-202001010005",
        "rain_202001010005_leadtime_5min",
    ],
)
def test_a_name_that_says_forecast_is_refused_where_only_names_tell(tmp_path, name):
    refused(tagged(tmp_path / f"{name}.tif"), "its name is", TIF)
    grid = ArrayGrid(LAEA, 0.0, 0.0, dx=1000.0, dy=1000.0)
    for ending, dataset in ((".npy", None), (".npz", "rain"), (".h5", "rain")):
        reader = Arrays(grid, dataset, Coding("rain_rate"), time_in_name="%Y%m%d%H%M")
        for stem in (
            name,
            "radar_202001010005",
            "202001010005_lead000",
            "202001010005_ft00",
            "forecast_202001010005_lead000",
        ):
            path = tmp_path / f"{stem}{ending}"
            if ending == ".h5":
                with h5py.File(path, "w") as file:
                    file["rain"] = np.ones((1, 2))
            else:
                np.savez(path, rain=np.ones((1, 2))) if ending == ".npz" else np.save(
                    path, np.ones((1, 2))
                )
            refused(path, "its name is", reader) if stem == name else reader.read(path)


@pytest.mark.parametrize("add, none", [
    (lambda file: file.attrs.update(lead_time=30), lambda file: file.attrs.update(lead_time=0)),
    (lambda file: file["rain"].attrs.update(simulated=True), lambda file: file["rain"].attrs.update(simulated=False)),
    (lambda file: file.create_dataset("leadtime", data=[5]), lambda file: file.create_dataset("leadtime", data=[0])),
    (lambda file: file.create_group("how").attrs.update(simulated="True"), lambda file: file.create_group("how").attrs.update(simulated="False")),
    (lambda file: file.attrs.update(title="nowcast"), lambda file: file.attrs.update(title="radar")),
    (lambda file: file.attrs.update(analysis_time="2020-01-01T00:00Z"), lambda file: file.attrs.update(analysis_time="2020-01-01T00:05Z")),
])  # fmt: skip
def test_plain_arrays_whose_file_says_forecast_are_refused(tmp_path, add, none):
    reader = Arrays(
        ArrayGrid(LAEA, 0.0, 0.0, dx=1000.0, dy=1000.0),
        "rain",
        Coding("rain_rate"),
        time_in_name="%Y%m%d%H%M",
    )
    for name, change in (("202001010005.h5", add), ("202001010005b.h5", none)):
        with h5py.File(tmp_path / name, "w") as file:
            file["rain"] = np.ones((1, 2))
            change(file)
    with pytest.raises(UserError, match=REFUSED):
        reader.read(tmp_path / "202001010005.h5")
    assert len(reader.read(tmp_path / "202001010005b.h5")) == 1
    np.savez(tmp_path / "202001010005.npz", rain=np.ones((1, 2)), leadtimes=np.array([5.0]))
    refused(tmp_path / "202001010005.npz", "leadtimes is 5", reader)


def test_images_and_knmi_files_whose_comments_or_images_say_forecast_are_refused(tmp_path):
    for name, value, none in (
        ("leadtime", "30", "0"),
        ("fctime", "", ""),
        ("forecasttime", "201609281515", "201609281445"),
        ("producttype", "FORECAST", "CAPPI"),
        ("reftime", "201609281415", "201609281445"),
    ):
        if value:
            refused(write_pgm(tmp_path / "a.pgm", [[0, 1]], **{name: value}), f"the comment {name}")
        assert len(Auto().read(write_pgm(tmp_path / "b.pgm", [[0, 1]], **{name: none}))) == 1
    refused(write_gif(tmp_path / "a.gif", comment=COMMENT + b" LEADTIME=000030"), "its comment")
    assert (
        len(Auto().read(write_gif(tmp_path / "b.gif", comment=COMMENT + b" LEADTIME=000000"))) == 1
    )
    for changes, said in (
        (
            {"image_datetime_valid": b"26-AUG-2010;00:35:00.000"},
            "image1/image_datetime_valid is 2010-08-26T00:35:00 UTC",
        ),
        (
            {"image_product_name": b"RAD_NL25_RAC_FM"},
            "image1/image_product_name is 'RAD_NL25_RAC_FM'",
        ),
        ({"lead_time": 30}, "image1/lead_time is 30"),
    ):
        refused(with_attributes(write_knmi(tmp_path / "a.h5", [[1]]), "image1", changes), said)
    valid = {
        "image_datetime_valid": b"26-AUG-2010;00:05:00.000",
        "image_product_name": b"RAD_NL25_RAC_MFBS_EM",
    }
    assert (
        len(Auto().read(with_attributes(write_knmi(tmp_path / "b.h5", [[1]]), "image1", valid)))
        == 1
    )


# sets, and our own


def test_our_own_forecasts_are_refused_in_every_format(tmp_path):
    grid = Grid(LAEA, 500.0 + 1000 * np.arange(4), -500.0 - 1000 * np.arange(3))
    forecast = Forecast(
        np.ones((2, 3, 4), np.float32),
        np.datetime64("2020-01-01T00:00"),
        np.array([300, 600], "timedelta64[s]"),
        grid,
    )
    write_forecast(forecast, tmp_path / "f.nc", attributes={})
    paths = [
        *write_odim_forecast(forecast, tmp_path / "f.h5", attributes={}),
        *write_geotiff(forecast, tmp_path / "202001010000.tif", attributes={}),
    ]
    refused(tmp_path / "f.nc", "forecast_period is 300 s, expected 0")
    for path in paths:
        refused(
            path,
            "how/lead_time_minutes" if path.suffix == ".h5" else "the tag software",
            None if path.suffix == ".h5" else TIF,
        )


def test_what_pysteps_exports_is_refused(tmp_path):
    exporters = pytest.importorskip("pysteps.io.exporters")
    metadata = {
        "projection": LAEA,
        "x1": 0,
        "x2": 4000,
        "y1": -3000,
        "y2": 0,
        "unit": "mm/h",
        "yorigin": "upper",
        "cartesian_unit": "m",
        "zerovalue": 0,
        "threshold": 0.1,
        "transform": None,
    }
    for members in (1, 3):
        exporter = exporters.initialize_forecast_exporter_netcdf(
            str(tmp_path),
            f"p{members}",
            datetime(2020, 1, 1),
            5,
            2,
            (3, 4),
            metadata,
            n_ens_members=members,
            incremental=None,
        )
        exporters.export_forecast_dataset(
            np.ones((2, 3, 4) if members == 1 else (members, 2, 3, 4)), exporter
        )
        exporters.close_forecast_files(exporter)
        from nowcast.readers.cf_netcdf import CfNetcdf

        with pytest.raises(UserError, match=REFUSED):
            CfNetcdf(variable="precip_intensity").read(tmp_path / f"p{members}.nc")


def test_of_a_folder_with_analyses_and_forecasts_only_the_analyses_become_an_archive(tmp_path):
    paths = []
    for minute in (0, 5, 10):
        for lead in (0, 5, 10):
            path = write_odim(
                tmp_path / f"rv_18{minute:02d}_{lead:03d}.h5",
                [[1.0 + minute + lead, 2.0]],
                time=f"18{minute + lead:02d}00".encode(),
            )
            paths.append(with_attributes(path, "how", {"simulated": b"True" if lead else b"False"}))
    summary = convert(paths, tmp_path / "a.nc", reader=Auto())
    assert (summary.frames, str(summary.start), str(summary.end), len(summary.quarantine)) == (
        3,
        "2018-08-24T18:00:00",
        "2018-08-24T18:10:00",
        6,
    )
    assert all("how/simulated is 'True'" in reason for _, reason in summary.quarantine)
    shutil.rmtree(tmp_path)


# observations that only speak of forecasts


@pytest.mark.parametrize("group, name, value", [
    ("how", "comment", "VPR extrapolated to the ground"), ("how", "task", "nowcast.preprocessing"), ("dataset1/how", "description", "not "
                                                                                                                                    "a "
                                                                                                                                    "forecast"),
    ("how", "comment", "freezing level from model forecast"), ("how", "model_origin_time", "1970-01-01T00:00:00Z"),
])  # fmt: skip
def test_odim_that_only_speaks_of_forecasts_is_read(tmp_path, group, name, value):
    assert (
        len(
            Auto().read(
                with_attributes(write_odim(tmp_path / "a.h5", [[1.0]]), group, {name: value})
            )
        )
        == 1
    )


def test_odim_whose_scan_begins_some_seconds_after_its_nominal_time_is_read(tmp_path):
    for quantity in ("RATE", "DBZH"):
        path = write_odim(
            tmp_path / "a.h5", [[1.0]], quantity=quantity, starttime=b"180130", endtime=b"180400"
        )
        assert len(Auto().read(path)) == 1


@pytest.mark.parametrize(
    "stem",
    [
        "rain_nowcast_input",
        "nowcast.obs.",
        "prediction_target_",
        "uk-forecast-domain-radar_",
        "radar_ft2_",
        "RADAR_LT1_",
        "fc3_",
    ],
)
def test_a_name_that_says_what_forecasts_are_made_from_is_that_of_an_observation(tmp_path, stem):
    assert len(TIF.read(tagged(tmp_path / f"{stem}202001010005.tif"))) == 1


def test_a_refused_name_is_shown_as_it_is(tmp_path):
    with pytest.raises(UserError, match="its name is 'RADAR_FCST_202001010005.tif' with 'fcst'"):
        TIF.read(tagged(tmp_path / "RADAR_FCST_202001010005.tif"))


def test_a_reference_time_of_ten_digits_is_an_hour_and_one_with_an_offset_is_counted_in_utc(
    tmp_path,
):
    refused(
        with_attributes(write_odim(tmp_path / "a.h5", [[1.0]]), "how", {"model_run": "2018082412"}),
        "how/model_run",
    )
    refused(
        with_attributes(
            write_odim(tmp_path / "b.h5", [[1.0]]),
            "how",
            {"analysis_time": "2018-08-24T19:00:00+02:00"},
        ),
        "how/analysis_time",
    )
    whole = with_attributes(
        write_odim(tmp_path / "c.h5", [[1.0]]),
        "how",
        {"analysis_time": "2018-08-24T20:00:00+02:00"},
    )
    assert len(Auto().read(whole)) == 1
