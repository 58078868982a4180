"""KNMI's reflectivities: 0 is no echo, what no radar sees is missing, dBZ becomes mm/h; what is no
rain is refused by what it is. (Its rain depths are in ``test_readers``.)
"""

import h5py
import numpy as np
import pytest

from nowcast.readers.auto import Auto
from nowcast.readers.knmi_hdf5 import KnmiHdf5
from nowcast.runtime.errors import UserError
from tests.factories import write_knmi
from tests.factories_readers import case, from_settings_file, read_case

NAN = np.nan
DBZ = {
    "product_datetime_start": b"26-AUG-2010;00:05:00.000",
    "image_geo_parameter": b"REFLECTIVITY_[DBZ]",
    "calibration_formulas": b"GEO = 0.500000 * PV + -32.000000",
    "calibration_missing_data": np.int32([0]),
    "calibration_out_of_image": np.int32([255]),
}
COUNTS = [[0, 110, 255], [1, 150, 110]]  # 110: 23 dBZ, 150: 43 dBZ
Z_23 = (10**2.3 / 200) ** (1 / 1.6)
Z_43 = (10**4.3 / 200) ** (1 / 1.6)
LOWEST = (10**-3.15 / 200) ** (1 / 1.6)


def test_a_real_reflectivity_has_the_pixels_that_were_decoded_independently():
    frames = read_case(
        "C08_knmi_pcp/RAD_NL25_PCP_CM_202106222000.h5",
        time="2021-06-22T20:00",
        missing=104443,
        highest=9.29194,
        mean=0.035667903,
        wet=0.05475842,
    )
    assert (frames.values == 0).sum() == 373019
    assert frames.quantity == "reflectivity, Z = 200 R^1.6" and frames.grid.shape == (765, 700)


def test_a_real_echo_top_is_refused_as_an_echo_top():
    path = case("C08_knmi_pcp/RAD_NL25_ETH_NA_202004301315.h5")
    with pytest.raises(UserError, match="image_geo_parameter is 'HEIGHT_.KM.' .an echo top., exp"):
        Auto().read(path)


def test_dbz_become_mm_per_hour_with_0_dry_and_255_missing(tmp_path):
    frames = Auto().read(write_knmi(tmp_path / "a.h5", COUNTS, **DBZ))
    expected = [[[0, Z_23, NAN], [LOWEST, Z_43, Z_23]]]
    np.testing.assert_allclose(frames.values, expected, rtol=1e-6)
    assert list(frames.times) == [np.datetime64("2010-08-26T00:05")]


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({"calibration_missing_data": np.int32([255])}, [0, Z_23, NAN]),
        ({"calibration_missing_data": np.int32([255]), "calibration_out_of_image": None}, None),
        ({"calibration_missing_data": np.int32([110])}, [0, NAN, NAN]),
        ({"image_geo_parameter": b"Reflectivity [dBZ]"}, [0, Z_23, NAN]),
    ],
)
def test_other_marks_for_missing_are_those_of_the_file(tmp_path, changes, expected):
    frames = Auto().read(write_knmi(tmp_path / "a.h5", COUNTS, **(DBZ | changes)))
    np.testing.assert_allclose(frames.values[0, 0], expected or [0, Z_23, NAN], rtol=1e-6)


@pytest.mark.parametrize("outside", [None, np.int32([0])])
def test_a_file_that_does_not_tell_what_no_radar_sees_from_no_echo_asks_for_it(tmp_path, outside):
    path = write_knmi(tmp_path / "a.h5", COUNTS, **(DBZ | {"calibration_out_of_image": outside}))
    with pytest.raises(UserError, match="is 0, which is no echo in KNMI's reflectivities, and no"):
        Auto().read(path)
    told = KnmiHdf5(missing=(255,)).read(path).values[0, 0]
    np.testing.assert_allclose(told, [0, Z_23, NAN], rtol=1e-6)
    assert np.isnan(KnmiHdf5(missing=(0, 255)).read(path).values[0, 0, 0])


def test_another_z_r_relation_is_a_setting(tmp_path):
    frames = KnmiHdf5(z_r_a=300, z_r_b=1.4).read(write_knmi(tmp_path / "a.h5", COUNTS, **DBZ))
    assert frames.values[0, 0, 1] == pytest.approx((10**2.3 / 300) ** (1 / 1.4))
    with pytest.raises(UserError, match="z_r_a is -1; a positive number is needed"):
        KnmiHdf5(z_r_a=-1)


@pytest.mark.parametrize(
    "parameter, said",
    [
        (b"HEIGHT_[KM]", "'HEIGHT_.KM.' .an echo top., expected ACCUMULATED_PRECIPITATION"),
        (b"PROBABILITY_[%]", "'PROBABILITY_.%.' .a probability, such as that of hail., expected"),
        (b"WIND_[M/S]", "'WIND_.M/S.', expected ACCUMULATED_PRECIPITATION_.MM. or REFLECTIVITY_."),
    ],
)
def test_what_is_no_rain_is_refused_by_what_it_is(tmp_path, parameter, said):
    path = write_knmi(tmp_path / "a.h5", COUNTS, **(DBZ | {"image_geo_parameter": parameter}))
    with pytest.raises(UserError, match=f"image1/image_geo_parameter is {said}"):
        Auto().read(path)


def test_a_polar_volume_is_refused_with_the_tools_that_make_a_grid_of_it(tmp_path):
    path = write_knmi(tmp_path / "a.h5", COUNTS, **DBZ)
    with h5py.File(path, "a") as file:
        del file["image1"]
        file["scan1/scan_Z_data"] = np.zeros((360, 240), np.uint8)
    with pytest.raises(UserError, match="contains the scans of a radar .a polar volume.; expected"):
        Auto().read(path)


def test_it_is_built_from_its_settings_file():
    assert from_settings_file("knmi_hdf5") == KnmiHdf5()
