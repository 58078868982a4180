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
