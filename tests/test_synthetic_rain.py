"""Synthetic rain: what it is made of, and that it is what it says."""

from dataclasses import replace

import numpy as np
import pytest

from nowcast.data.sampling import SequenceDataset
from nowcast.data.synthetic.fields import Layer, carried_rain, spectrum
from nowcast.data.synthetic.motion import Motion
from nowcast.data.synthetic.ranges import CONVECTIVE, SEVERE, STRATIFORM
from nowcast.data.synthetic_rain import SyntheticRain
from nowcast.runtime.errors import UserError
from nowcast.types.task import Task
from nowcast.types.transform import LogRainRate


def rain(**settings):
    defaults = {"size": 48, "samples_per_epoch": 6, "validation_samples": 3, "test_samples": 2}
    return SyntheticRain(Task(4, 8, 5), seed=1, **{**defaults, **settings})


SCALE = {"timestep": 5.0, "spacing": 1.0}
# decibels rise with the field, without end
_UNSHAPED = {"plateau": 1000.0, "cell_scale": 20.0, "cell_strength": 0.0}


def layer(**settings):
    defaults = {
        "wet": 0.4,
        "gain": 6.0,
        "slopes": (2.5, 4.5),
        "scales": (40.0, 10.0),
        "lifetime": 30.0,
        "lifetime_exponent": 1.0,
        "stretch": 1.0,
        "angle": 0.0,
        "growth": 0.0,
        "smooth_in_time": False,
    }
    return Layer(**{**defaults, **_UNSHAPED, **settings})


class Still:
    """A motion that moves nothing."""

    side = 128

    def displacements(self, length):
        return np.zeros((length, 2, 16, 16))


def test_a_case_is_a_function_of_seed_part_epoch_and_index():
    train = rain().part("train")
    assert np.array_equal(train.case(1, 2), rain().part("train").case(1, 2), equal_nan=True)
    others = [
        train.case(0, 2),
        train.case(1, 3),
        rain().part("validation").case(0, 2),
        SyntheticRain(Task(4, 8, 5), seed=2, size=48).part("train").case(1, 2),
    ]
    assert not any(np.array_equal(train.case(1, 2), other, equal_nan=True) for other in others)
    assert np.array_equal(
        rain().part("validation").case(0, 1), rain().part("validation").case(7, 1), equal_nan=True
    )
    assert [len(rain().part(name)) for name in ("train", "validation", "test")] == [6, 3, 2]


def test_a_kept_sequence_is_turned_and_mirrored_and_renewed_in_time():
    kept = rain(renew=3).part("train")
    first, second, third, fourth = (
        np.sort(np.nan_to_num(kept.case(epoch, 0)[0]), axis=None) for epoch in range(4)
    )
    assert (
        np.array_equal(first, second)
        and np.array_equal(second, third)
        and not np.array_equal(third, fourth)
    )
    assert len({kept.case(epoch, 0).tobytes() for epoch in range(3)}) > 1
    again = rain(renew=3).part("train")
    assert np.array_equal(
        again.case(2, 0), kept.case(2, 0), equal_nan=True
    )  # whatever was asked for before
    assert kept.scale(2, 0) == kept.scale(0, 0)


def test_rates_are_not_negative_some_are_wet_and_some_missing():
    cases = [
        rain(size=64, samples_per_epoch=40).part("train").case(0, index) for index in range(40)
    ]
    assert all(
        case.dtype == np.float32
        and case.shape == (12, 64, 64)
        and np.nanmin(case) >= 0
        and np.nanmax(case) <= 150
        for case in cases
        if not np.isnan(case).all()
    )
    assert 0.1 < np.mean([np.isnan(case).any() for case in cases]) < 0.6
    assert 0.1 < np.nanmean([np.nanmean(case >= 0.1) for case in cases]) < 0.6
    assert not any(
        np.isnan(rain(missing=0.0).part("train").case(0, index)).any() for index in range(6)
    )


def test_each_case_has_its_own_cadence_and_spacing_and_the_network_gets_them():
    data = rain(timesteps=[2.0, 10.0], spacings=[0.5, 2.0])
    scales = np.array([data.part("train").scale(0, index) for index in range(6)])
    assert (
        set(scales[:, 0]) == {2.0, 10.0}
        and (scales[:, 1] >= 0.5).all()
        and (scales[:, 1] <= 2.0).all()
        and len(set(scales[:, 1])) == 6
    )
    sample = SequenceDataset(data.part("train"), LogRainRate(), context_length=4)[0, 3]
    assert [sample.scale.timestep.item(), sample.scale.spacing.item()] == pytest.approx(
        scales[3].tolist()
    )
    assert rain().part("train").scale(0, 0)[0] == 5.0
    assert {data.part("test").scale(0, index)[0] for index in range(2)} == {
        5.0
    }  # scores are by lead time


@pytest.mark.parametrize("smooth_in_time", [False, True])
def test_the_share_of_wet_pixels_is_the_one_asked_for_in_the_first_and_in_the_last_frame(
    smooth_in_time,
):
    generator = np.random.default_rng(0)
    wet = np.mean(
        [
            (
                carried_rain(
                    generator,
                    layer(wet=0.3, smooth_in_time=smooth_in_time),
                    Still(),
                    (6, 64, 64),
                    **SCALE,
                )
                > 0
            ).mean((1, 2))
            for _ in range(60)
        ],
        axis=0,
    )
    assert wet == pytest.approx(np.full(6, 0.3), abs=0.05)


def test_small_patterns_fade_first_and_all_as_fast_as_their_lifetime_says():
    """Correlation in time at two wavelengths against exp(-t / (a (L / 10 km)^b))."""
    generator, still = np.random.default_rng(1), Still()
    found = {8.0: [], 32.0: []}
    for _ in range(60):
        # a gain of 1 dB and everything wet: rates are exp of the Gaussian field
        rates = carried_rain(
            generator,
            layer(wet=0.9999, gain=1.0, scales=(200.0, 100.0), slopes=(2.0, 2.0)),
            still,
            (4, 128, 128),
            **SCALE,
        )
        spectra = np.fft.rfft2(np.log(np.maximum(rates, 0.1)))
        for wavelength, sums in found.items():
            k = round(128 / wavelength)
            a, b = spectra[0, k, 0], spectra[3, k, 0]
            sums.append([(a * b.conj()).real, abs(a) ** 2, abs(b) ** 2])
    for wavelength, sums in found.items():
        product, one, other = np.sum(sums, axis=0)
        assert product / np.sqrt(one * other) == pytest.approx(
            np.exp(-15 / (30 * wavelength / 10)), abs=0.12
        )


def test_rain_rises_to_a_plateau_and_only_small_cells_rise_above_it():
    """-10 dB + 15 dB is 3.2 mm/h; what lies above is the waves shorter than 20 km alone."""

    def rates(strength):
        return carried_rain(
            np.random.default_rng(4),
            layer(wet=0.5, gain=12.0, plateau=15.0, cell_scale=20.0, cell_strength=strength),
            Still(),
            (1, 128, 128),
            **SCALE,
        )[0]

    flat, with_cells = rates(0.0), rates(1.5)
    assert 2 < flat.max() < 10**0.5 + 1e-3 < with_cells.max()
    assert np.array_equal(flat > 0, with_cells > 0)
    heavy = np.float32(with_cells > 10**0.5)
    assert (
        0 < heavy.mean() < 0.3
        and heavy.mean() * heavy.size / (np.abs(np.diff(heavy, axis=0)).sum() + 1) < 10
    )  # many small ones: few pixels to an edge


def test_the_field_has_variance_1_and_falls_with_its_two_slopes():
    amplitude, wavelength = spectrum(layer(scales=(1000.0, 16.0), slopes=(2.0, 4.0)), 256, 1.0)
    twice = np.full(amplitude.shape[1], 2.0)
    twice[[0, -1]] = 1
    assert ((amplitude / 256) ** 2 * twice).sum() == pytest.approx(1, rel=1e-3)
    power = amplitude[0] ** 2  # along x
    assert np.log(power[2] / power[4]) / np.log(2) == pytest.approx(2, abs=0.2)
    assert np.log(power[64] / power[128]) / np.log(2) == pytest.approx(4, abs=0.2)
    assert wavelength[0, 8] == pytest.approx(32)


def test_a_wind_carries_the_rain_by_its_speed():
    motion = Motion(128, np.array([2.0, -1.0]), np.zeros((2, 16, 16)), turning=0.0, quickening=1.0)
    displacement = motion.displacements(4)
    assert np.allclose(displacement[3, 0], -6) and np.allclose(displacement[3, 1], 3)
    still = layer(lifetime=1e9, lifetime_exponent=0.0, smooth_in_time=False)
    rates = carried_rain(np.random.default_rng(3), still, motion, (4, 48, 48), **SCALE)
    first, last = (
        np.log(np.maximum(rates[0, :-3, 6:], 0.05)),
        np.log(np.maximum(rates[3, 3:, :-6], 0.05)),
    )  # x + 6, y - 3
    assert (
        np.corrcoef(first.ravel(), last.ravel())[0, 1]
        < 0.9
        < np.corrcoef(
            np.log(np.maximum(rates[0, 3:, :-6], 0.05)).ravel(),
            np.log(np.maximum(rates[3, :-3, 6:], 0.05)).ravel(),
        )[0, 1]
    )


def test_layers_are_drawn_from_ranges_about_published_values():
    drawn = [Layer.drawn(np.random.default_rng(seed), STRATIFORM) for seed in range(50)]
    assert all(
        0 < one.wet < 1
        and one.slopes[0] < one.slopes[1]
        and 8 <= one.lifetime <= 40
        and 10 <= one.plateau <= 22
        for one in drawn
    )


def test_thunderstorms_have_more_rain_of_5_mm_an_hour_than_showers_and_it_lasts_longer():
    def heavy(ranges):
        overlap = both = 0
        for seed in range(12):
            layer = replace(Layer.drawn(np.random.default_rng(seed), ranges), growth=0.0)
            generator = np.random.default_rng(seed)
            frames = carried_rain(generator, layer, Still(), (7, 96, 96), **SCALE)
            first, later = frames[0] >= 5, frames[6] >= 5
            overlap += np.count_nonzero(first & later)
            both += (np.count_nonzero(first) + np.count_nonzero(later)) / 2
        return both / (12 * 96 * 96), overlap / both

    (of_showers, showers_last), (of_storms, storms_last) = heavy(CONVECTIVE), heavy(SEVERE)
    assert of_storms > 1.5 * of_showers > 0
    assert storms_last > showers_last + 0.1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 16}, "at least 32, 0 to 1, and at least 1 are needed"),
        ({"missing": 1.5}, "data.missing 1.5"),
        ({"renew": 0}, "'renew': 0"),
        ({"spacings": [2.0, 1.0]}, "within 0.1 to 10 km, are needed"),
        ({"timesteps": []}, "cadences of 0.5 to 60 minutes are needed"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        rain(**settings)


def test_other_tasks_and_parts_are_refused():
    with pytest.raises(
        UserError, match="synthetic rain is rain rates, but the task forecasts grey_level"
    ):
        SyntheticRain(Task(4, 8, 1, "grey_level"), seed=1)
    with pytest.raises(
        UserError, match="synthetic rain has the parts train, validation, test, not 'all'"
    ):
        rain().part("all")
    with pytest.raises(IndexError, match="the test part has cases 0 to 1, not 2"):
        rain().part("test").case(0, 2)
