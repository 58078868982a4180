"""Structure, amplitude and location; spectra and the effective resolution."""

import numpy as np
import pytest
from scipy import ndimage

from nowcast.evaluation.statistics.rain import RainScores
from nowcast.evaluation.statistics.spectrum import (
    BANDS,
    CENTRES,
    FLOOR,
    SpectrumSums,
    bands_of,
    power_by_band,
)
from nowcast.evaluation.statistics.structure import sal
from nowcast.evaluation.statistics.sums import ScoreKey


def disc(row, column, radius, rate, shape=(60, 80)):
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return np.where((rows - row) ** 2 + (columns - column) ** 2 <= radius**2, rate, 0).astype(
        np.float32
    )


def test_the_same_field_is_perfect_and_half_the_rain_is_an_amplitude_of_two_thirds():
    field = disc(30, 40, 8, 5)
    assert sal(field, field) == (0, 0, 0)
    structure, amplitude, location = sal(field / 2, field)
    assert (structure, location) == (0, 0) and amplitude == pytest.approx(
        -2 / 3
    )  # 2 (1 - 2) / (1 + 2)


def test_a_shifted_field_has_a_location_of_its_shift_over_the_diagonal():
    structure, amplitude, location = sal(disc(30, 40, 8, 5), disc(30, 20, 8, 5))
    assert (structure, amplitude) == (0, 0) and location == pytest.approx(20 / np.hypot(60, 80))


def test_wider_and_flatter_objects_have_a_positive_structure():
    """As much rain on four times the area: the scaled volume, mass over peak, is four times as
    large: 2 (4 - 1) / (4 + 1).
    """
    wide, narrow = np.zeros((2, 40, 40), np.float32)
    wide[10:20, 10:20], narrow[12:17, 12:17] = 1, 4
    structure, amplitude, _ = sal(wide, narrow)
    assert structure == pytest.approx(6 / 5) and amplitude == pytest.approx(0)


def test_two_objects_apart_and_one_in_the_middle_differ_in_the_second_part_of_the_location():
    two = disc(30, 20, 5, 5) + disc(30, 60, 5, 5)
    structure, _, location = sal(two, disc(30, 40, 5, 5))
    assert structure == pytest.approx(0) and location == pytest.approx(2 * 20 / np.hypot(60, 80))


def test_missing_pixels_are_out_of_both_fields_and_a_dry_field_has_none():
    forecast, observation = disc(30, 40, 8, 5), disc(30, 40, 8, 5)
    forecast[:, :20], observation[:, 60:] = np.nan, np.nan
    observation[0, 0] = 99
    assert sal(forecast, observation) == (0, 0, 0)
    assert np.isnan(sal(np.zeros((9, 9), np.float32), disc(4, 4, 2, 3, (9, 9)))).all()


def test_amplitude_and_the_distance_of_centres_are_those_of_pysteps():
    theirs = pytest.importorskip("pysteps.verification.salscores")
    rng = np.random.default_rng(0)
    fields = [
        np.maximum(ndimage.gaussian_filter(rng.normal(size=(60, 80)), 5) * 40, 0).astype(np.float32)
        for _ in range(2)
    ]
    assert sal(*fields)[1] == pytest.approx(theirs.sal_amplitude(*fields), rel=1e-5)
    one = [disc(20, 30, 6, 5), disc(41, 50, 6, 5)]
    assert sal(*one)[2] == pytest.approx(
        theirs._sal_l1_param(*one), rel=1e-6
    )  # one object each: the second part is 0


def test_sal_is_a_mean_over_the_cases_with_objects():
    sums = RainScores((1.0,), pools=(), sal=True).sums(1)
    for forecast in (disc(30, 40, 8, 5), disc(30, 40, 8, 2.5), np.zeros((60, 80), np.float32)):
        sums.add(forecast[None, None], disc(30, 40, 8, 5)[None, None])
    values = sums.values(sums.totals())
    assert values[ScoreKey("sal_cases")] == [2]
    assert values[ScoreKey("sal_amplitude")] == pytest.approx(-1 / 3) and values[
        ScoreKey("sal_amplitude_size")
    ] == pytest.approx(1 / 3)


def added(forecast, observation):
    sums = SpectrumSums(1)
    sums.add(
        np.asarray(forecast, np.float32)[None, None],
        np.asarray(observation, np.float32)[None, None],
    )
    return sums.values(sums.totals())


def wave(length, size=64, amplitude=10):
    """Rain whose decibels are a plane wave around 20 dB."""
    return 10 ** (
        (
            20
            + amplitude * np.sin(2 * np.pi * np.arange(size) / length)[None, :] * np.ones((size, 1))
        )
        / 10
    )


@pytest.mark.parametrize("length", [4, 8, 16, 32])
def test_a_plane_wave_has_its_power_in_its_band(length):
    values = added(wave(length), wave(length))
    power = {
        key.window: float(value[0])
        for key, value in values.items()
        if key.score == "power_forecast"
    }
    strongest = max(power, key=power.get)
    band = np.searchsorted(BANDS, length * (1 + 1e-9), side="right") - 1
    assert (
        strongest == round(float(CENTRES[band]))
        and power[strongest] > 100 * sorted(power.values())[-2]
    )


def test_power_is_that_of_parseval_and_of_white_noise_the_variance_at_every_scale():
    field = np.random.default_rng(3).normal(0, 3, (128, 96)).astype(np.float32)
    bands = bands_of(field.shape)
    power = power_by_band(field, bands)
    assert bands[1].sum() < field.size  # without the mean and the diagonals
    assert power[:6] == pytest.approx(9, rel=0.2)  # wavelengths of 2 to 16 pixels, many waves each
    exact = np.abs(np.fft.fft2(field)) ** 2 / field.size
    frequency = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.fftfreq(96))
    inside = (frequency > 0) & (frequency <= 0.5)
    assert (power * bands[1]).sum() == pytest.approx(exact[inside].sum(), rel=1e-4)


def test_spectra_follow_pysteps():
    rapsd = pytest.importorskip("pysteps.utils.spectral").rapsd
    field = ndimage.gaussian_filter(np.random.default_rng(4).normal(size=(128, 128)), 2).astype(
        np.float32
    )
    ours = power_by_band(field, bands_of(field.shape))
    theirs, frequencies = rapsd(field, fft_method=np.fft, return_freq=True, d=1.0)
    for band in range(0, 8):  # wavelengths up to 32 pixels, where bands hold several of their rings
        inside = (
            (frequencies > 0)
            & (1 / np.maximum(frequencies, 1e-9) >= BANDS[band])
            & (1 / np.maximum(frequencies, 1e-9) < BANDS[band + 1])
        )
        assert ours[band] == pytest.approx(
            np.average(theirs[inside], weights=frequencies[inside]), rel=0.25
        )


def test_a_smoothed_forecast_has_the_effective_resolution_of_its_filter():
    """A Gaussian of sigma 2 halves the power at the wavelength 2 pi sigma / sqrt(ln 2 / ... ):
    |G(f)|^2 = exp(-4 pi^2 sigma^2 f^2) = 1/2.
    """
    noise = np.random.default_rng(5).normal(20, 3, (256, 256))
    smooth = ndimage.gaussian_filter(noise, 2, mode="wrap")
    values = added(10 ** (smooth / 10), 10 ** (noise / 10))
    wavelength = 2 * np.pi * 2 / np.sqrt(np.log(2))  # 15.1 pixels
    assert wavelength / 2**0.5 <= values[ScoreKey("effective_resolution")][0] <= wavelength * 2**0.5
    assert added(10 ** (noise / 10), 10 ** (noise / 10))[ScoreKey("effective_resolution")][0] == 2


def test_missing_pixels_are_equal_in_both_spectra_and_a_missing_field_is_none():
    field = np.random.default_rng(6).gamma(0.5, 3, (32, 32))
    other = field.copy()
    field[:5], other[20:] = np.nan, np.nan
    values = added(field, other)
    for key, value in values.items():
        if key.score == "power_forecast":
            assert value == values[ScoreKey("power_observation", None, key.window)]
    assert np.isnan(
        added(np.zeros((8, 8)), np.zeros((8, 8)))[ScoreKey("effective_resolution")][0]
    )  # without rain there is nothing to resolve
    assert set(added(np.full((8, 8), np.nan), np.ones((8, 8)))) == {
        ScoreKey("effective_resolution")
    }


def test_fields_of_two_sizes_add_up_band_by_band():
    sums = SpectrumSums(1)
    for size in (16, 64):
        sums.add(*(np.full((1, 1, size, size), FLOOR, np.float32),) * 2)
    counted = {
        round(float(CENTRES[band])): int(cases) for band, cases in enumerate(sums.cases[:, 0])
    }
    assert counted[10] == 2 and counted[54] == 1 and counted[861] == 0
