"""Stored numbers become mm/h by gain, offset and quantity; marks become dry or missing, whatever
the type of the numbers.
"""

import numpy as np
import pytest

from nowcast.readers.decoding import Coding, equals
from nowcast.readers.odim_hdf5 import OdimHdf5
from nowcast.runtime.errors import UserError
from tests.factories import write_odim

NAN = np.nan


@pytest.mark.parametrize(
    "kind",
    [np.uint8, np.int16, ">i2", np.uint16, np.int32, np.int64, np.float32, ">f4", np.float64],
)
def test_gain_offset_and_both_marks_hold_for_every_type(kind):
    coding = Coding("rain_depth", minutes=5, gain=0.5, offset=-1.0, missing=(255, 254), undetect=0)
    rates = coding.rain_rate(np.array([[0, 2, 3], [102, 254, 255]]).astype(kind), "a.h5")
    np.testing.assert_array_equal(
        rates, [[0, 0, 6], [600, NAN, NAN]]
    )  # (3 / 2 - 1) mm in 5 min, (102 / 2 - 1) mm in 5 min
    assert rates.dtype == np.float32


def test_int16_marks_below_zero_are_missing_and_values_keep_their_sign():
    np.testing.assert_array_equal(
        Coding("rain_depth", minutes=5, gain=0.01, missing=(-1,)).rain_rate(
            np.int16([[-1, 0, 120]]), "a.npz"
        ),
        [[NAN, 0, np.float32(14.4)]],
    )
    with pytest.raises(
        UserError,
        match="rates that are negative or above 5000 mm/h .from -0.24 to 0.*; gain, offset or "
        "the marks for missing and dry are wrong",
    ):
        Coding("rain_depth", minutes=5, gain=0.01, missing=(-1,)).rain_rate(
            np.int16([[-1, 0, -2]]), "a.npz"
        )


def test_23_dbz_is_1_mm_per_hour_by_marshall_and_palmer_and_undetected_is_dry_not_minus_32_dbz():
    coding = Coding("reflectivity", gain=0.5, offset=-32.0, missing=(255,), undetect=0)
    np.testing.assert_allclose(
        coding.rain_rate(np.uint8([[110, 0, 255]]), "a.tif"), [[0.99851, 0, NAN]], rtol=1e-4
    )  # (10^2.3 / 200)^(1 / 1.6)
    assert Coding("reflectivity", z_r_a=10.0, z_r_b=2.0).rain_rate(np.float32([[30.0]]), "a.tif")[
        0, 0
    ] == pytest.approx(10.0)  # (1000 / 10)^(1 / 2)


def test_nan_is_missing_and_minus_infinity_dbz_is_dry():
    np.testing.assert_array_equal(
        Coding("reflectivity").rain_rate(np.float32([[NAN, -np.inf]]), "a.h5"), [[NAN, 0]]
    )
    np.testing.assert_array_equal(
        Coding("rain_rate", missing=(-9999,)).rain_rate(np.float64([[NAN, -9999, 0, 2.5]]), "a.h5"),
        [[NAN, NAN, 0, 2.5]],
    )


def test_a_value_that_is_both_marks_is_missing():
    np.testing.assert_array_equal(
        Coding("rain_rate", missing=(0,), undetect=0).rain_rate(np.uint8([[0, 1]]), "a.h5"),
        [[NAN, 1]],
    )


def test_a_float32_field_finds_its_mark_although_the_setting_has_more_digits():
    np.testing.assert_array_equal(
        Coding("rain_rate", missing=(-8888000.1,)).rain_rate(np.float32([[-8888000.1, 2]]), "a.h5"),
        [[NAN, 2]],
    )
    np.testing.assert_array_equal(equals(np.float32([-8888000.1, 1]), -8888000.1), [True, False])
    np.testing.assert_array_equal(equals(np.uint8([0, 255]), -9999.0), [False, False])
    np.testing.assert_array_equal(equals(np.uint8([0, 255]), None), [False, False])


def test_rows_are_decoded_alike_before_and_after_the_block_of_512():
    raw = np.arange(1300.0 * 2).reshape(2, 650, 2)
    np.testing.assert_array_equal(Coding("rain_rate").rain_rate(raw, "a.h5"), raw)


def test_all_missing_stays_missing_and_a_single_pixel_is_read():
    assert np.isnan(
        Coding("rain_rate", missing=(-1,)).rain_rate(np.full((3, 3), -1.0), "a.h5")
    ).all()
    assert Coding("rain_rate", missing=()).rain_rate(np.uint8([[7]]), "a.h5").tolist() == [[7.0]]


@pytest.mark.parametrize(
    "raw, quantity",
    [
        ([[-9999.0, 2]], "rain_rate"),
        ([[9999.0]], "reflectivity"),
        ([[-9999.0, 30]], "reflectivity"),
        ([[np.inf]], "rain_rate"),
        ([[-np.inf]], "rain_rate"),
        ([[5001.0]], "rain_rate"),
    ],
)
def test_a_mark_that_is_not_declared_is_refused_instead_of_becoming_rain_or_dry(raw, quantity):
    with pytest.raises(UserError, match="a.h5 has rates that are negative or above 5000 mm/h"):
        Coding(quantity).rain_rate(np.array(raw), "a.h5")


def test_whole_numbers_need_a_statement_of_what_is_missing_but_floats_have_nan():
    with pytest.raises(
        UserError,
        match="a.h5 does not say which number means missing; set reader.values.missing, e.g. to "
        ".255., or to .. if there is none",
    ):
        Coding("rain_rate").rain_rate(np.uint8([[7]]), "a.h5")


def test_an_undeclared_mark_of_an_odim_file_in_dbz_is_refused_too_and_a_declared_one_is_dry(
    tmp_path,
):
    path = write_odim(tmp_path / "a.h5", np.float64([[-8888, 30]]), quantity="DBZH")
    with pytest.raises(UserError, match="rates that are negative or above 5000 mm/h .from -inf to"):
        OdimHdf5().read(path)
    path = write_odim(
        tmp_path / "a.h5",
        np.float64([[-8888, -30]]),
        quantity="DBZH",
        scaling={"undetect": -8888.0},
    )
    assert OdimHdf5().read(path).values[0, 0].tolist() == [
        0,
        pytest.approx((1e-3 / 200) ** (1 / 1.6)),
    ]


def test_a_file_completes_what_the_settings_leave_open_and_nothing_else():
    settings = Coding(gain=2.0)
    assert settings.completed(
        "a.tif", quantity="rain_rate", gain=0.5, offset=None, missing=(255,)
    ) == Coding("rain_rate", gain=2.0, missing=(255,))
    with pytest.raises(UserError, match="^a.tif: gain is 0"):
        Coding().completed("a.tif", gain=0.0)
    assert Coding(missing=[1, 2]) == Coding(missing=(1, 2))


def test_what_was_measured_has_the_words_of_the_units():
    assert Coding("rain_rate").measured("a") == "rain rate"
    assert Coding("rain_depth", minutes=5).measured("a") == "rain depth in 5 min"
    assert (
        Coding("reflectivity", z_r_a=223, z_r_b=1.53).measured("a")
        == "reflectivity, Z = 223 R^1.53"
    )
    with pytest.raises(
        UserError,
        match="a.tif does not say what its values are; set reader.values.quantity to rain_rate, "
        "rain_depth or reflectivity",
    ):
        Coding().measured("a.tif")
    with pytest.raises(
        UserError,
        match="a.tif does not say how long its rain depths were collected; set "
        "reader.values.minutes",
    ):
        Coding("rain_depth").measured("a.tif")


@pytest.mark.parametrize(
    "settings, message",
    [
        (
            {"quantity": "rain"},
            "quantity is 'rain'; accepted are rain_rate, rain_depth, reflectivity",
        ),
        ({"minutes": 0}, "minutes is 0; a positive number is needed"),
        ({"z_r_a": -1.0}, "z_r_a is -1.0; a positive number is needed"),
        ({"z_r_b": float("inf")}, "z_r_b is inf; a positive number is needed"),
        ({"gain": 0.0}, "gain is 0, which makes every value the same"),
    ],
)
def test_settings_out_of_range_are_refused_at_once(settings, message):
    with pytest.raises(UserError, match=message):
        Coding(**settings)
