"""A refusal names the one field that is wrong, the value it has and the one that was expected; no
other field is blamed.
"""

import struct

import h5py
import numpy as np
import pytest

from nowcast.readers.auto import Auto
from nowcast.readers.cf_netcdf import CfNetcdf
from nowcast.readers.zarr_composite import ZarrComposite
from nowcast.runtime.errors import UserError
from tests.factories import write_knmi, write_odim
from tests.factories_cf import write_cf
from tests.factories_grib2 import data_sections, grid_section, product_section, write_mrms
from tests.test_reader_fmi_pgm import write_pgm
from tests.test_reader_radolan import write_radolan
from tests.test_reader_zarr_composite import write_zarr

ONE = [[1.0, 2.0]]
# what is made, (the field, its value, what is expected), fields that are right and must not be
# blamed
CASES = {
    "ODIM object": (lambda path: write_odim(path, ONE, object=b"PVOL"), ("what/object", "PVOL", "COMP"), "quantity "
                                                                                                         "where"),
    "ODIM quantity": (lambda path: write_odim(path, ONE, quantity="VRAD"), ("what/quantity", "VRAD", "RATE"), "object "
                                                                                                              "where"),
    "ODIM start": (lambda path: write_odim(path, ONE, startdate=b"x"), ("dataset1/data1, start", "x", "YYYYMMDD"), "quantity "
                                                                                                                   "where"),
    "ODIM xscale": (lambda path: write_odim(path, ONE, xscale=-1.0), ("where/xscale", "-1", "above "
                                                                                            "0"), "yscale "
                                                                                                        "xsize "
                                                                                                        "ysize"),
    "ODIM yscale": (lambda path: write_odim(path, ONE, yscale=0.0), ("where/yscale", "0", "above 0"), "xscale "
                                                                                                      "xsize "
                                                                                                      "ysize"),
    "ODIM xsize": (lambda path: write_odim(path, ONE, xsize=70000), ("where/xsize", "70000", "65536"), "yscale "
                                                                                                       "ysize"),
    "ODIM columns": (lambda path: write_odim(path, ONE, xsize=4), ("xsize 4", "2000", "4000"), "ysize "
                                                                                               "yscale"),
    "ODIM rows": (lambda path: write_odim(path, ONE, yscale=3000.0), ("yscale 3000", "1000", "3000"), "xsize "
                                                                                                      "xscale"),
    "ODIM time": (lambda path: write_odim(path, ONE, time=b"250000"), ("date and time of what", "250000", "HHMMSS"), "startdate "
                                                                                                                     "enddate"),
    "KNMI unit": (lambda path: write_knmi(path, [[1]], geo_dim_pixel=b"M,M"), ("geo_dim_pixel", "M,M", "KM,KM"), "geo_pixel_def"),
    "KNMI corner": (lambda path: write_knmi(path, [[1]], geo_pixel_def=b"CC"), (": "
                                                                                "geographic/geo_pixel_def", "CC", "LU"), "geo_dim_pixel"),
    "KNMI parameter": (lambda path: write_knmi(path, [[1]], image_geo_parameter=b"ECHO"), ("image1/image_geo_parameter", "ECHO", "ACCUMULATED_PRECIPITATION_[MM]"), "geo_pixel_def"),
    "RADOLAN interval": (lambda path: write_radolan(path, scale="PR E-02INT   0"), ("INT", "0", "1 "
                                                                                                "minute "
                                                                                                "to "
                                                                                                "366 "
                                                                                                "days"), "BY "
                                                                                                                         "GP"),
    "RADOLAN unit": (lambda path: write_radolan(path, scale="PR E-02INT   5U7"), ("unit of INT", "U7", "U0"), "BY "
                                                                                                              "GP"),
    "RADOLAN bytes": (lambda path: write_radolan(path, size=810133), ("BY", "810133", "1620141"), "INT "
                                                                                                  "PR"),
    "RADOLAN header": (lambda path: write_radolan(path, scale="XX E-02INT   5"), ("PR", "XX", "expected "
                                                                                              "one "
                                                                                              "such "
                                                                                              "as"), "without "
                                                                                                                       "BY "
                                                                                                                       "without "
                                                                                                                       "GP"),
    "PGM columns": (lambda path: write_pgm(path, [[0, 1]], metersperpixel_x="700"), ("metersperpixel_x "
                                                                                     "700", "2000", "1400"), "metersperpixel_y"),
    "PGM size": (lambda path: write_pgm(path, [[0, 1]], metersperpixel_y="-1"), ("metersperpixel_y", "-1", "above "
                                                                                                           "0"), "metersperpixel_x"),
    "PGM parameter": (lambda path: write_pgm(path, [[0, 1]], param="VRAD"), ("param", "VRAD", "CorrectedReflectivity"), "metersperpixel_x"),
    "CF calendar": (lambda path: write_cf(path, [[[1.0]]], time={"calendar": "noleap"}), ("calendar", "noleap", "gregorian"), "2020"),
    "CF units": (lambda path: write_cf(path, [[[1.0]]], field={"units": "K"}), ("rain has the units", "K", "mm "
                                                                                                           "h-1"), "time"),
    "zarr codec": (lambda path: write_zarr(path, np.ones((1, 1, 2)), compressors=None, field={"units": "K"}), ("rain "
                                                                                                               "has "
                                                                                                               "the "
                                                                                                               "units", "K", "mm "
                                                                                                                                          "h-1"), "codecs"),
}  # fmt: skip


@pytest.mark.parametrize("which", CASES)
def test_one_wrong_field_is_named_with_its_value_and_the_one_expected(tmp_path, which):
    make, told, innocent = CASES[which]
    with pytest.raises(UserError) as error:
        Auto().read(make(tmp_path / "a"))
    message = str(error.value).replace(str(tmp_path), "")
    assert all(part in message for part in told), message
    assert not [
        name
        for name in innocent.split()
        if name not in told[0]
        and f" {name} is" in message
        or f"/{name} is" in message
        and name not in told[0]
    ]


GRIB = {  # place in section 3, new value; the field and what is expected
    "template": (12, ">H", 30, "grid definition template is 3.30, expected 3.0"), "earth": (14, ">B", 3, "shape "
                                                                                                         "of "
                                                                                                         "the "
                                                                                                         "earth "
                                                                                                         "is "
                                                                                                         "3, "
                                                                                                         "expected "
                                                                                                         "one "
                                                                                                         "of "
                                                                                                         "0, "
                                                                                                         "2, "
                                                                                                         "4"),
    "scanning": (71, ">B", 0x80, "scanning mode is 0x80, expected 0x00 or 0x40"), "points": (6, ">I", 7, "number "
                                                                                                         "of "
                                                                                                         "data "
                                                                                                         "points "
                                                                                                         "is "
                                                                                                         "7, "
                                                                                                         "expected "
                                                                                                         "6"),
    "columns": (30, ">I", 4, "number of data points is 6, expected 8"), "last row": (55, ">I", 50_000_000, "the "
                                                                                                           "last "
                                                                                                           "latitude "
                                                                                                           "of "
                                                                                                           "its "
                                                                                                           "grid "
                                                                                                           "is "
                                                                                                           "50, "
                                                                                                           "expected "
                                                                                                           "54"),
    "last column": (59, ">I", 240_000_000, "the last longitude of its grid is 240, expected 232"), "first "
                                                                                                   "row": (46, ">I", 1, "its "
                                                                                                                              "latitudes "
                                                                                                                              "run "
                                                                                                                              "from "
                                                                                                                              "1e-06 "
                                                                                                                              "to "
                                                                                                                              "54"),
    "subdivisions": (38, ">I", 1, "subdivisions of the basic angle 1 are 4294967295, expected a "
                                  "number"),
}  # fmt: skip


@pytest.mark.parametrize("which", GRIB)
def test_one_wrong_field_of_a_grib2_grid_is_named_alone(tmp_path, which):
    place, kind, value, told = GRIB[which]
    section = bytearray(grid_section(2, 3, north=55.0, west=230.0, step=1.0))
    struct.pack_into(kind, section, place, value)
    path = write_mrms(
        tmp_path / "a",
        np.ones((2, 3)),
        sections=bytes(section) + product_section(1) + data_sections(np.ones((2, 3))),
    )
    with pytest.raises(UserError) as error:
        Auto().read(path)
    assert told in str(error.value)
    assert sum(
        name in str(error.value)
        for name in (
            "template",
            "shape of the earth",
            "scanning mode is",
            "data points",
            "last latitude",
            "last longitude",
            "basic angle",
        )
    ) == (which != "first row" or 1)


def test_an_odim_field_without_a_quantity_and_none_at_all_are_told_apart(tmp_path):
    for change, message in (
        (
            lambda file: file["dataset1/what"].attrs.pop("quantity"),
            "what/quantity of dataset1/data1 is missing; expected RATE",
        ),
        (lambda file: file.pop("dataset1"), "has no dataset1/data1; expected one with RATE"),
    ):
        path = write_odim(tmp_path / "a.h5", ONE)
        with h5py.File(path, "r+") as file:
            change(file)
        with pytest.raises(UserError, match=message):
            Auto().read(path)


def test_text_in_a_zarr_array_is_named_by_its_type(tmp_path):
    import zarr

    path = write_zarr(tmp_path / "a.zarr", np.ones((1, 1, 2)), version=2)
    group = zarr.open_group(path, mode="r+")
    del group["rain"]
    array = group.create_array("rain", shape=(1, 1, 2), dtype="S1")
    array.attrs.update(
        {
            "standard_name": "rainfall_rate",
            "units": "mm h-1",
            "grid_mapping": "crs",
            "_ARRAY_DIMENSIONS": ["time", "y", "x"],
        }
    )
    with pytest.raises(UserError, match=r"rain is .S1; expected numbers .integers or floats."):
        ZarrComposite().read(path)


def test_what_of_two_orders_of_times_is_wrong_is_named(tmp_path):
    with pytest.raises(
        UserError,
        match="time counts from 1500-01-01 in the calendar 'standard'; expected a date from "
        "1582-10-15 on",
    ):
        CfNetcdf().read(
            write_cf(tmp_path / "a.nc", [[[1.0]]], time={"units": "days since 1500-01-01"})
        )
