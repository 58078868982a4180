"""What numbers in CF files mean where they are said in other ways than CF's own: dry, missing, or
rain; a file that does not say it is refused.
"""

import numpy as np
import pytest

from nowcast.readers.cf.words import DRY, MISSING, OBSERVED, meaning
from nowcast.readers.cf_netcdf import CfNetcdf
from nowcast.runtime.errors import UserError
from tests.factories_cf import write_cf

NAN = np.nan


def read(tmp_path, raw, settings=None, **changes):
    """The frames of a file with one map."""
    path = write_cf(tmp_path / "a.nc", np.asarray(raw)[None], **changes)
    return CfNetcdf(**(settings or {})).read(path)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("clear clear_air no_signal no_detection no_echoes nothing_detected below_noise dry", DRY),
        ("no_rain NO_PRECIPITATION undetect not_detected below_detection_limit below_noise", DRY),
        ("no_data missing outside not_observed blocked no_coverage out_of_range clutter", MISSING),
        ("below_detection_limit_or_missing nodata unobserved beam_blockage bad_data", MISSING),
        ("good valid ok not_missing rain", OBSERVED),
        ("interpolated class_3 melting_layer", None),
    ],
)
def test_words_of_flags_are_known_as_dry_missing_or_observed(words, expected):
    assert [meaning(word) for word in words.split()] == [expected] * len(words.split())


def test_a_flag_whose_word_is_not_known_is_refused_by_name_where_pixels_have_it(tmp_path):
    field = {"flag_values": np.int16([-1, -2, -3]), "flag_meanings": "no_data clear_air melting"}
    values = read(tmp_path, np.int16([[-1, -2, 5]]), field=field).values
    np.testing.assert_array_equal(values, [[[NAN, 0, 5]]])
    with pytest.raises(
        UserError,
        match="flag -3 of rain means 'melting', which is not known as dry or as not observed; with "
        "reader=cf_netcdf set reader.missing to .-3. if it was not observed, or to .. if it is a v",
    ):
        read(tmp_path, np.int16([[-1, -3, 5]]), field=field)
    values = read(tmp_path, np.int16([[-1, -3, 5]]), {"missing": [-3]}, field=field).values
    np.testing.assert_array_equal(values, [[[NAN, NAN, 5]]])


def beside(name, numbers, **attributes):
    """What adds a variable beside the field."""

    def more(file):
        numbers_ = np.asarray(numbers)[None]
        one = file.createVariable(name, numbers_.dtype, ("time", "y", "x"))
        one[...] = numbers_
        one.setncatts(attributes)

    return more


def test_an_ancillary_variable_says_by_its_words_where_nothing_was_observed(tmp_path):
    flags = {"flag_values": np.uint8([0, 1, 2]), "flag_meanings": "good no_data interpolated"}
    field = {"ancillary_variables": "status"}
    status = beside("status", np.uint8([[0, 1, 2, 1]]), standard_name="status_flag", **flags)
    frames = read(tmp_path, [[0.0, 0, 3, 4]], field=field, more=status)
    np.testing.assert_array_equal(frames.values, [[[0, NAN, 3, NAN]]])
    assert frames.remarks == ("where status is no_data nothing was observed",)


def test_an_ancillary_variable_may_say_it_by_bits(tmp_path):
    flags = {"flag_masks": np.uint8([1, 2]), "flag_meanings": "interpolated outside_range"}
    status = beside("status", np.uint8([[0, 1, 2, 3]]), **flags)
    field = {"ancillary_variables": "status"}
    frames = read(tmp_path, [[0.0, 1, 3, 4]], field=field, more=status)
    np.testing.assert_array_equal(frames.values, [[[0, 1, NAN, NAN]]])


def test_a_mask_that_does_not_say_what_it_means_is_not_used_but_named(tmp_path):
    frames = read(tmp_path, [[0.0, 1]], more=beside("mask", np.uint8([[0, 1]])))
    np.testing.assert_array_equal(frames.values, [[[0, 1]]])
    assert frames.remarks == (
        "mask beside rain looks like a mask, but nothing says what it means: it is not used",
    )


@pytest.mark.parametrize("name", ["undetect", "Undetected", "undetectable", "no_echo_value"])
def test_a_number_named_undetect_is_dry(tmp_path, name):
    field = {"scale_factor": 0.5, "add_offset": 0.5, name: 0, "_FillValue": np.uint8(255)}
    frames = read(tmp_path, np.uint8([[0, 1, 255]]), field=field)
    np.testing.assert_array_equal(frames.values, [[[0, 1, NAN]]])
    assert frames.remarks == (f"its {name} (0) means dry",)
    frames = read(tmp_path, np.float32([[-1, 1, 0]]), field={name: -1.0})
    np.testing.assert_array_equal(frames.values, [[[0, 1, 0]]])


def test_a_number_that_the_type_cannot_store_is_what_stored_ones_stand_for(tmp_path):
    field = {"scale_factor": 0.5, "add_offset": -1.0, "undetect": -1.0, "nodata": 126.5}
    frames = read(tmp_path, np.uint8([[0, 4, 255]]), field=field)
    np.testing.assert_array_equal(frames.values, [[[0, 1, NAN]]])


@pytest.mark.parametrize(
    "name",
    ["nodata", "no_data", "NoData", "missing", "fill_value", "FillValue", "_nodata", "missingValue"]
    + ["no_data_value", "missing_data", "MissingValue"],
)
def test_a_mark_for_missing_under_another_name_is_used_and_remarked(tmp_path, name):
    frames = read(tmp_path, [[300.0, 1, 0]], field={name: 300.0})
    np.testing.assert_array_equal(frames.values, [[[NAN, 1, 0]]])
    assert frames.remarks == (f"its {name} (300) means missing",)
    assert read(tmp_path, [[300.0, 1]], {"missing": []}, field={name: 300.0}).values.max() == 300
    assert read(tmp_path, [[300.0, 1]], field={name: "none"}).values.max() == 300
    packed = {"scale_factor": 0.1, name: np.int16(3000)}
    np.testing.assert_allclose(
        read(tmp_path, np.int16([[3000, 5]]), field=packed).values, [[[NAN, 0.5]]]
    )


@pytest.mark.parametrize("limits", [{"valid_range": [0, 200]}, {"valid_max": np.int32(200)}])
def test_whole_limits_of_another_type_than_packed_values_are_refused_where_it_matters(
    tmp_path, limits
):
    field = {"scale_factor": 0.01, **limits}
    raw = np.int16([[0, 150, 201, 5000]])
    with pytest.raises(
        UserError,
        match="of rain would hide 2 pixels as stored numbers, but 0 as unpacked ones, and its type "
        ".int(32|64). does not say which it counts; with reader=cf_netcdf set reader.missing",
    ):
        read(tmp_path, raw, field=field)
    values = read(tmp_path, raw, {"missing": []}, field=field).values
    np.testing.assert_allclose(values, [[[0, 1.5, 2.01, 50]]])
    np.testing.assert_allclose(read(tmp_path, raw[:, :2], field=field).values, [[[0, 1.5]]])


def test_whole_limits_of_another_type_count_where_both_readings_hide_the_same(tmp_path):
    field = {"scale_factor": 0.5, "valid_range": [0, 250]}
    values = read(tmp_path, np.int16([[-1, 0, 9, 600]]), field=field).values
    np.testing.assert_array_equal(values, [[[NAN, 0, 4.5, NAN]]])
    values = read(tmp_path, np.int16([[-1, 0, 300, 600]]), {"missing": []}, field=field).values
    np.testing.assert_array_equal(values, [[[NAN, 0, 150, NAN]]])


def test_a_lowest_valid_value_that_would_hide_all_zeros_is_refused(tmp_path):
    field = {"valid_min": np.float32(0.1)}
    raw = np.float32([[0, 0, 0.1, 2]])
    with pytest.raises(
        UserError,
        match="valid_min .0.1. of rain excludes the 0 of 2 pixels, which may be dry or not obs",
    ):
        read(tmp_path, raw, field=field)
    dry = read(tmp_path, raw, {"missing": []}, field=field).values
    np.testing.assert_array_equal(dry, raw[None])
    missing = read(tmp_path, raw, {"missing": [0]}, field=field).values
    np.testing.assert_array_equal(np.isnan(missing), [[[True, True, False, False]]])


DEPTH = {"standard_name": "rainfall_amount", "units": "mm"}


@pytest.mark.parametrize(
    "words",
    [
        "start of the accumulation interval",
        "Start of interval",
        "beginning of each 5-minute period",
        "accumulation start time",
        "interval_start",
        "start time",
    ],
)
def test_times_said_to_be_starts_of_intervals_of_depths_become_their_ends(tmp_path, words):
    time = {"long_name": words}
    frames = read(tmp_path, [[1.0, 0]], {"minutes": 5}, field=DEPTH, time=time)
    assert frames.times.tolist() == [np.datetime64("2020-06-01T00:05", "s").item()]
    assert frames.remarks == (
        "its times are said to be the starts of intervals; their ends were taken",
    )


@pytest.mark.parametrize(
    "words", ["end of interval", "time", "time since start of the year", "interval end"]
)
def test_times_of_depths_said_to_be_anything_else_are_ends(tmp_path, words):
    frames = read(tmp_path, [[1.0]], {"minutes": 5}, field=DEPTH, time={"long_name": words})
    assert frames.times.tolist() == [np.datetime64("2020-06-01T00:00", "s").item()]


@pytest.mark.parametrize("mark", [888, 1000, 500])
def test_one_high_rate_of_many_pixels_far_above_all_others_is_refused(tmp_path, mark):
    raw = np.float32([[0, 3, 60, mark], [0, 0, 2, mark]])
    with pytest.raises(
        UserError,
        match=f"2 of 8 pixels of rain are {mark} .{mark} mm/h., far above all others, which looks",
    ):
        read(tmp_path, raw)
    assert read(tmp_path, raw, {"missing": []}).values.max() == mark
    assert np.isnan(read(tmp_path, raw, {"missing": [mark]}).values).sum() == 2


def test_high_rates_that_differ_or_come_close_or_are_one_pixels_are_rain(tmp_path):
    for raw in ([[0, 3, 300, 301]], [[150, 150, 90, 0]], [[0, 0, 3, 500]], [[90, 90, 0, 0]]):
        assert read(tmp_path, np.float32(raw)).values.max() == np.max(raw)


def test_a_standard_name_in_capitals_is_understood(tmp_path):
    upper = {"standard_name": "RAINFALL_RATE"}
    assert read(tmp_path, [[1.0]], field=upper, x_is={"standard_name": "Projection_X_Coordinate"})
    path = write_cf(tmp_path / "b.nc", [[[1.0]]], field=upper, time={"standard_name": "TIME"})
    assert CfNetcdf().recognises(path)


def test_flags_may_have_an_axis_of_length_1_that_the_field_lacks(tmp_path):
    def more(file):
        file.createDimension("one", 1)
        status = file.createVariable("status", "u1", ("one", "y", "x"))
        status[...] = [[[0, 1]]]
        status.setncatts({"flag_values": np.uint8([0, 1]), "flag_meanings": "ok not_observed"})

    path = write_cf(
        *(tmp_path / "a.nc", [[0.0, 0]]),
        dims=("y", "x"),
        field={"ancillary_variables": "status"},
        more=more,
    )
    np.testing.assert_array_equal(CfNetcdf().read(path).values, [[[0, NAN]]])


def test_flags_that_do_not_lie_along_the_field_are_remarked(tmp_path):
    def more(file):
        status = file.createVariable("status", "u1", ("x", "y"))
        status[...] = [[0], [1]]
        status.setncatts({"flag_values": np.uint8([0, 1]), "flag_meanings": "ok not_observed"})

    frames = read(tmp_path, [[0.0, 0]], field={"ancillary_variables": "status"}, more=more)
    assert frames.remarks == ("the flags of status do not lie along rain: not used",)


def test_a_mark_among_the_attributes_of_the_data_set_counts_where_the_field_has_none(tmp_path):
    def more(file):
        file.setncatts({"nodata": 300.0, "undetect": -1.0})

    raw = np.float32([[300, -1, 2]])
    np.testing.assert_array_equal(read(tmp_path, raw, more=more).values, [[[NAN, 0, 2]]])
    own = {"_FillValue": np.float32(-1)}
    np.testing.assert_array_equal(
        read(tmp_path, raw, field=own, more=more).values, [[[300, NAN, 2]]]
    )
