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
