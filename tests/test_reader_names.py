"""The time in a file's name is found where the pattern says, and only if there is exactly one."""

import numpy as np
import pytest

from nowcast.readers.names import name_pattern, time_in_name
from nowcast.runtime.errors import UserError


@pytest.mark.parametrize(
    "name, pattern, expected",
    [
        (
            "201609281445_fmi.radar.composite.lowest_FIN_SUOMI1.pgm.gz",
            "%Y%m%d%H%M",
            "2016-09-28T14:45",
        ),
        ("AQC151351545F_00005.801.gif", "AQC%y%j%H%M", "2015-05-15T15:45"),
        ("raa01-yw2017.002_10000-1708160055-dwd---bin.gz", "%y%m%d%H%M", "2017-08-16T00:55"),
        ("2_20180616_100600.prcp-cscn.nc", "%Y%m%d_%H%M%S", "2018-06-16T10:06"),
        ("SRI_29-02-2024-13.h5", "%d-%m-%Y-%H", "2024-02-29T13:00"),
        ("S20230101T0000_E20230101T0005.h5", "E%Y%m%dT%H%M", "2023-01-01T00:05"),
        ("20230101T0005_twice_20230101T0005.h5", "%Y%m%dT%H%M", "2023-01-01T00:05"),
        ("a.b(1)_2016366T0005.tif", "(1)_%Y%jT%H%M", "2016-12-31T00:05"),
        ("CPC2335513304_00060.001.h5", "%y%j%H%M", "2023-12-21T13:30"),
        ("CPC2335513304_00060.001.h5", "CPC%y%j%H%M", "2023-12-21T13:30"),
        ("RZC2013512057VL.801.h5", "RZC%y%j%H%M", "2020-05-14T12:05"),
        ("rain_2016092814450123.h5", "%Y%m%d%H%M*", "2016-09-28T14:45"),
        ("rain_1720160928144501.h5", "_17%Y%m%d%H%M*", "2016-09-28T14:45"),
        ("rain_20160928_v7_1445.h5", "%Y%m%d_*_%H%M", "2016-09-28T14:45"),
    ],
)
def test_a_time_is_found_inside_a_name(name, pattern, expected):
    assert time_in_name(f"/201001010000/{name}", pattern, "reader.time") == np.datetime64(expected)


@pytest.mark.parametrize(
    "name, message",
    [
        (
            "rain.h5",
            "its name contains no time of the form '%Y%m%d%H%M'; rename it, or set reader.time",
        ),
        ("20160928144500.h5", "contains no time of the form"),  # seconds follow: another number
        ("2016092814450012.h5", "contains no time of the form"),
        ("201613281445.h5", "contains no time of the form"),
        ("٢٠١٦٠٩٢٨١٤٤٥.h5", "contains no time of the form"),
        ("201609281440-201609281445.h5", "its name contains several times of the form"),
    ],
)
def test_a_name_without_exactly_one_time_is_refused(name, message):
    with pytest.raises(UserError, match=f"{name}: .*{message}"):
        time_in_name(name, "%Y%m%d%H%M", "reader.time")


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "%Y%m%d",
        "%Y%j%m%H",
        "%Y%y%m%d%H",
        "%Y%m%d%H%H",
        "%Y%m%d%H%q",
        "%Y%m%d%H%",
        "%H%M",
        "%Y%m%d%M",
    ],
)
def test_a_pattern_that_is_no_complete_time_is_refused(pattern):
    with pytest.raises(
        UserError,
        match="reader.time is .*; a pattern of year, month, day and hour .minute, second. such "
        "as '%Y%m%d%H%M'",
    ):
        name_pattern(pattern, "reader.time")
