"""Units and times of CF files: what is understood, and that nothing else is."""

import numpy as np
import pytest
import xarray

from nowcast.readers.cf.units import is_degrees, metres, quantity, times
from nowcast.runtime.errors import UserError


@pytest.mark.parametrize(
    "spelling", ["mm/h", "mm h-1", "mm hr-1", "mm/hr", "mm h^-1", "mm h**-1", "mm.h-1", "mm*h-1", "mm "
                                                                                                  "hour-1", "mm "
                                                                                                               "/ "
                                                                                                               "hour", "mm "
                                                                                                                            "per "
                                                                                                                            "hour", "millimeters "
                                                                                                                                           "per "
                                                                                                                                           "hour",
                 "MM/H", "kg m-2 h-1", "kg/m2/h", "kg m**-2 hr**-1", "kg/m^2/hour", "mm·h-1"],
)  # fmt: skip
def test_a_millimetre_an_hour_is_one_however_it_is_spelled(spelling):
    assert quantity(spelling) == ("rain_rate", 1.0)


@pytest.mark.parametrize(
    ("units", "kind", "factor"),
    [("m s-1", "rain_rate", 3.6e6), ("kg m-2 s-1", "rain_rate", 3600.0), ("mm s-1", "rain_rate", 3600.0), ("mm "
                                                                                                           "d-1", "rain_rate", 1 / 24), ("mm "
                                                                                                                                            "min-1", "rain_rate", 60.0),
     ("inch/hour", "rain_rate", 25.4), ("mm", "rain_depth", 1.0), ("m", "rain_depth", 1000.0), ("cm", "rain_depth", 10.0), ("kg "
                                                                                                                            "m-2", "rain_depth", 1.0), ("kg/m^2", "rain_depth", 1.0),
     ("0.01 mm", "rain_depth", 0.01), ("1e-3 m", "rain_depth", 1.0), ("10^-3 m", "rain_depth", 1.0), ("dBZ", "reflectivity", 1.0), ("dbz", "reflectivity", 1.0)],
)  # fmt: skip
def test_a_unit_says_what_is_measured_and_how_many_mm_per_hour_mm_or_dbz_it_is(units, kind, factor):
    assert quantity(units) == (kind, pytest.approx(factor, rel=1e-15))


@pytest.mark.parametrize(
    "units",
    [
        "",
        "1",
        "K",
        "%",
        "mm6 m-3",
        "dB",
        "mm/5min",
        "mm 5min-1",
        "m2",
        "mm h -1",
        "h",
        "mm h",
        "/",
        "-",
        "0 mm",
        "1e99^99 m",
        "mm " * 50,
        "9" * 99,
        "mm\n\0",
    ],
)
def test_what_is_no_rate_depth_or_reflectivity_is_not_taken_for_one(units):
    assert quantity(units) is None


def test_lengths_and_angles_are_told_apart():
    assert [metres(units) for units in ("m", "km", "1000 m", "metre", "degrees", "mm/h", "")] == [
        1,
        1000,
        1000,
        1,
        None,
        None,
        None,
    ]
    assert [
        is_degrees(units)
        for units in ("degrees_east", "degree_north", "degrees", "degreeE", "m", "radians", "")
    ] == [True] * 4 + [False] * 3


@pytest.mark.parametrize(
    ("value", "units", "expected"),
    [(1577836800, "seconds since 1970-01-01 00:00:00 UTC", "2020-01-01T00:00"), (1577836800, "seconds "
                                                                                             "since "
                                                                                             "1970-01-01T00:00:00Z", "2020-01-01T00:00"),
     (90, "minutes since 2020-01-01", "2020-01-01T01:30"), (1.5, "hours since 2020-1-1 0:0:0", "2020-01-01T01:30"), (0.0625, "days "
                                                                                                                             "since "
                                                                                                                             "2020-01-01 "
                                                                                                                             "00:00:00.0", "2020-01-01T01:30"),
     (0, "hours since 2020-01-01 12:00 +02:00", "2020-01-01T10:00"), (0, "h since 2020-01-01 "
                                                                         "12:00:00 -0330", "2020-01-01T15:30"), (-1, "d "
                                                                                                                                        "since "
                                                                                                                                        "1970-01-01", "1969-12-31T00:00"),
     (18262.0208333333, "days since 1970-01-01", "2020-01-01T00:30"), (0, "Seconds Since "
                                                                          "2020-01-01 00:00:00 "
                                                                          "GMT", "2020-01-01T00:00"), (0, "hours "
                                                                                                                                            "since "
                                                                                                                                            "2020-01-01 "
                                                                                                                                            "06", "2020-01-01T06:00")],
)  # fmt: skip
def test_a_number_since_a_moment_is_a_utc_time_rounded_to_a_second(value, units, expected):
    assert times(np.array([value]), units, "standard", "a.nc: time")[0] == np.datetime64(
        expected, "s"
    )


@pytest.mark.parametrize(
    "units",
    [
        "seconds since 2001-02-03 04:05:06",
        "minutes since 1995-12-31",
        "hours since 1900-01-01 00:00:00.0",
        "days since 2020-02-28",
    ],
)
def test_times_are_those_xarray_decodes(units):
    numbers = np.array([0, 300, 20_000])
    decoded = xarray.decode_cf(xarray.Dataset({"time": ("time", numbers, {"units": units})}))[
        "time"
    ].values
    np.testing.assert_array_equal(
        times(numbers, units, "standard", "a.nc: time"), decoded.astype("datetime64[s]")
    )


@pytest.mark.parametrize(
    ("value", "units", "calendar", "message"),
    [(0, "months since 2020-01-01", "standard", "has the units 'months since 2020-01-01'; "
                                                "seconds, minutes, hours or days since a date "
                                                "are accepted"),
     (0, "", "standard", "has the units ''; seconds, minutes, hours"), (0, "hours", "standard", "has "
                                                                                                "the "
                                                                                                "units "
                                                                                                "'hours'"),
     (0, "days since 2020-13-01", "standard", "counts times since 'days since 2020-13-01', which "
                                              "is no date"),
     (0, "days since 2020-01-01 00:00 +99:00", "standard", "which is no date"),
     (0, "days since 2020-01-01", "360_day", "has the calendar '360_day'; expected one of "
                                             "standard, gregorian, proleptic_gregorian"),
     (0, "hours since 1-1-1 00:00:0.0", "standard", "counts from 1-01-01 in the calendar 'standard'"),
     (np.nan, "days since 2020-01-01", "standard", "has times that are missing or absurd"), (9.96921e36, "days "
                                                                                                         "since "
                                                                                                         "2020-01-01", "standard", "missing "
                                                                                                                                              "or "
                                                                                                                                              "absurd"),
     (2**62, "seconds since 2020-01-01", "standard", "missing or absurd"),
     (np.float32(1577836800), "seconds since 1970-01-01", "standard", "is float32, which gives "
                                                                      "times 'seconds since "
                                                                      "1970-01-01' only to 128 s"),
     (np.float32(438288.25), "hours since 1970-01-01", "standard", "is float32, which gives "
                                                                   "times 'hours since "
                                                                   "1970-01-01' only to 112.5 s")],
)  # fmt: skip
def test_a_time_that_is_not_understood_is_refused(value, units, calendar, message):
    with pytest.raises(UserError, match=f"a.nc: time {message}|a.nc: time .*{message}"):
        times(np.array([value]), units, calendar, "a.nc: time")


def test_whole_hours_in_float32_and_a_proleptic_calendar_from_year_1_are_read():
    assert times(np.float32([438288]), "hours since 1970-01-01", "standard", "")[
        0
    ] == np.datetime64("2020-01-01T00:00")
    assert times(np.array([737424]), "days since 1-1-1", "proleptic_gregorian", "")[
        0
    ] == np.datetime64("2020-01-01T00:00")
