import importlib
import importlib.util

import numpy as np
import pytest
import torch

from nowcast.baselines import extrapolation
from nowcast.baselines.advection import Advection
from nowcast.baselines.dry import Dry
from nowcast.baselines.persistence import Persistence
from nowcast.baselines.sprog import Sprog
from nowcast.runtime.distribution import install_hint
from nowcast.runtime.errors import UserError
from nowcast.types.scale import Scale

needs_pysteps = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("pysteps", "cv2")),
    reason=f"pysteps is not here: {install_hint('flow')}",
)


def moving_rain(frames=4, size=96, step=2.0):
    """Smooth rain cells that move ``step`` pixels east a frame, (1, T, 1, H, W) mm/h."""
    rows, columns = np.mgrid[:size, :size].astype(float)
    centres = [(20, 20, 8), (45, 30, 5), (70, 25, 12), (30, 55, 6), (75, 60, 9), (55, 70, 4)]
    fields = [
        sum(
            10 * np.exp(-((rows - r) ** 2 + (columns - c - step * t) ** 2) / (2 * (2 + a / 3) ** 2))
            for r, c, a in centres
        )
        for t in range(frames)
    ]
    return torch.from_numpy(
        np.where(np.stack(fields) < 0.1, 0, np.stack(fields)).astype(np.float32)
    )[None, :, None]


def test_persistence_repeats_the_last_frame():
    context = torch.tensor([[[[[1.0, 2.0]]], [[[3.0, 4.0]]]]])
    assert Persistence()(context, 3).point().flatten().tolist() == [3, 4, 3, 4, 3, 4]


def test_persistence_has_no_forecast_where_the_last_frame_was_not_observed():
    context = torch.tensor([[[[[1.0, 2.0]]], [[[3.0, 0.0]]]]])
    observed = torch.tensor([[[[[True, True]]], [[[True, False]]]]])
    forecast = Persistence()(context, 1, observed).point().flatten()
    assert forecast[0] == 3 and torch.isnan(forecast[1])


@needs_pysteps
def test_extrapolation_carries_rain_along_its_motion():
    rain = moving_rain(frames=8)
    forecast = extrapolation.Extrapolation()(rain[:, :4], 4).point()
    inside = ~torch.isnan(forecast)
    assert inside[..., 10:-10, 14:-10].all()  # only what comes in from outside is unknown
    assert not inside[0, 3, 0, 10:-10, :3].any()
    error = (forecast - rain[:, 4:])[inside].abs().mean()
    persistence = (Persistence()(rain[:, :4], 4).point() - rain[:, 4:])[inside].abs().mean()
    assert error < 0.35 * persistence


@needs_pysteps
@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_radar_that_was_silent_for_a_frame_has_not_seen_dry_weather(missing):
    rain = moving_rain(frames=6)
    observed = torch.ones_like(rain[:, :4], dtype=torch.bool)
    observed[:, missing] = False
    hidden = torch.where(observed, rain[:, :4], 0)
    for model in (extrapolation.Extrapolation(), Sprog()):
        whole, forecast = model(rain[:, :4], 2).point(), model(hidden, 2, observed).point()
        known = ~torch.isnan(forecast) & ~torch.isnan(whole)
        assert known[..., 10:-10, 20:-20].all()
        apart, still = (
            (other - whole)[known].abs().mean()
            for other in (forecast, Persistence()(rain[:, :4], 2).point())
        )
        assert apart < 0.15 * still


@needs_pysteps
def test_a_missing_frame_is_made_from_the_one_before_or_after_it_along_the_motion_and_others_stay():
    rain = moving_rain(frames=5)[0, :, 0].numpy()
    for place in (0, 2, 3):
        hidden = rain.copy()
        hidden[[place] if place != 3 else [2, 3]] = np.nan
        made = extrapolation.complete(hidden)
        assert (
            np.nanmax(np.abs(made[place] - rain[place])[10:-10, 15:-15])
            < 0.25 * np.abs(rain[place] - rain[place - 1 if place else 1]).max()
        )
        assert np.array_equal(made[[1, 4]], rain[[1, 4]])
    for alone in (
        [4],
        [0, 1, 2],
    ):  # nothing to tell a motion by, and a newest frame that nobody saw
        hidden = np.full_like(rain, np.nan)
        hidden[alone] = rain[alone]
        assert np.array_equal(extrapolation.complete(hidden), hidden, equal_nan=True)


@needs_pysteps
def test_extrapolation_of_a_dry_context_is_dry_and_stays():
    forecast = extrapolation.Extrapolation()(torch.zeros(1, 3, 1, 32, 32), 2).point()
    assert forecast.shape == (1, 2, 1, 32, 32) and (forecast == 0).all()


@needs_pysteps
def test_extrapolation_keeps_missing_pixels_missing_and_never_dry():
    rain = moving_rain()
    observed = torch.ones_like(rain, dtype=torch.bool)
    observed[..., 80:] = False
    forecast = extrapolation.Extrapolation()(rain, 2, observed).point()
    assert torch.isnan(forecast[..., 86:]).all()
    assert not torch.isnan(forecast[..., 10:-10, 12:70]).any()


@needs_pysteps
def test_extrapolation_equals_pysteps_called_by_hand():
    from pysteps.extrapolation.semilagrangian import extrapolate
    from pysteps.motion.lucaskanade import dense_lucaskanade

    rain = moving_rain()[0, :, 0].numpy().astype(np.float64)
    decibel = np.where(rain >= 0.1, 10 * np.log10(np.maximum(rain, 0.1)), -15)
    expected = extrapolate(rain[-1], dense_lucaskanade(decibel[-3:], verbose=False), 3)
    forecast = extrapolation.Extrapolation()(moving_rain(), 3).point()[0, :, 0].numpy()
    np.testing.assert_allclose(forecast, expected, rtol=0, atol=1e-5)


@needs_pysteps
def test_extrapolation_needs_two_frames():
    with pytest.raises(ValueError, match="Extrapolation expected at least 2 context frames, got 1"):
        extrapolation.Extrapolation()(torch.zeros(1, 1, 1, 8, 8), 1).point()


def test_motion_needs_two_frames():
    with pytest.raises(ValueError, match="motion needs at least 2 frames"):
        extrapolation.Extrapolation(motion_frames=1)


def test_without_pysteps_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    with pytest.raises(
        ValueError,
        match=r"optical flow needs pysteps and OpenCV .*pip install 'nowcast-radar\[flow\]'",
    ):
        extrapolation.Extrapolation()


@needs_pysteps
@pytest.mark.parametrize("matching", ["mean", "cdf"])
def test_sprog_equals_pysteps_called_by_hand(matching):
    from pysteps.motion.lucaskanade import dense_lucaskanade
    from pysteps.nowcasts.sprog import forecast

    rain = moving_rain()[0, :, 0].numpy()
    decibel = np.where(rain >= 0.1, 10 * np.log10(np.maximum(rain, 0.1)), -15)[-3:]
    expected = forecast(
        decibel,
        dense_lucaskanade(decibel, verbose=False),
        3,
        n_cascade_levels=4,
        precip_thr=-10,
        probmatching_method=matching,
    )
    expected = np.where(
        expected >= -10, 10 ** (expected / 10), np.where(np.isnan(expected), np.nan, 0)
    )
    found = Sprog(4, matching=matching)(moving_rain(), 3).point()[0, :, 0].numpy()
    assert (found >= 0.1).any() and (found == 0).any()
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@needs_pysteps
def test_sprog_keeps_missing_pixels_missing_and_never_dry():
    rain = moving_rain()
    observed = torch.ones_like(rain, dtype=torch.bool)
    observed[..., 80:] = False
    forecast = Sprog(4)(rain, 2, observed).point()
    assert torch.isnan(forecast[..., 86:]).all()
    assert not torch.isnan(forecast[..., 10:-10, 12:70]).any()


@needs_pysteps
def test_sprog_of_a_context_with_a_dry_frame_stays():
    rain = moving_rain()
    rain[:, 1] = 0
    assert torch.equal(Sprog()(rain, 2).point(), rain[:, -1:].expand(-1, 2, -1, -1, -1))


@needs_pysteps
def test_sprog_needs_three_frames():
    with pytest.raises(ValueError, match="Sprog expected at least 3 context frames, got 2"):
        Sprog()(torch.zeros(1, 2, 1, 8, 8), 1).point()


def test_sprog_needs_two_scales():
    with pytest.raises(ValueError, match="S-PROG needs at least 2 scales"):
        Sprog(1)


def test_sprog_matches_means_or_distributions():
    with pytest.raises(ValueError, match="matching is 'median'; accepted are mean and cdf"):
        Sprog(matching="median")


@needs_pysteps
@pytest.mark.parametrize(
    ("method", "tolerance"),
    [("lucaskanade", 0.3), ("vet", 0.5), ("proesmans", 1.0), ("darts", 0.4), ("farneback", 1.0)],
)
def test_every_motion_sees_rain_that_moves_two_pixels_east(method, tolerance):
    rain = moving_rain(frames=12)[0, :, 0].numpy()
    motion = extrapolation.motion_of(rain, method)
    wet = rain[-1] > 1
    assert motion.shape == (2, 96, 96)
    assert np.median(motion[0][wet]) == pytest.approx(2, abs=tolerance) and np.median(
        motion[1][wet]
    ) == pytest.approx(0, abs=tolerance)


@needs_pysteps
@pytest.mark.parametrize("method", extrapolation.MOTIONS)
def test_every_motion_moves_the_forecast_and_stands_still_without_rain(method):
    rain = moving_rain(frames=16)
    model = extrapolation.Extrapolation(motion_frames=12, motion=method)
    forecast = model(rain[:, :12], 4).point()
    inside = ~torch.isnan(forecast)
    error, persistence = (
        (found - rain[:, 12:])[inside].abs().mean()
        for found in (forecast, Persistence()(rain[:, :12], 4).point())
    )
    assert error < 0.8 * persistence
    assert (model(torch.zeros(1, 4, 1, 32, 32), 2).point() == 0).all()


@needs_pysteps
def test_a_motion_that_is_unknown_or_sees_too_few_frames_is_refused():
    with pytest.raises(
        UserError,
        match="motion is 'lk'; accepted are lucaskanade, darts, vet, proesmans, farneback",
    ):
        Sprog(motion="lk")
    with pytest.raises(
        UserError,
        match="DARTS needs at least 3 frames of at least 10x10 pixels to see motion; 2 of 96x96 "
        "came",
    ):
        extrapolation.Extrapolation(motion_frames=2, motion="darts")(moving_rain(), 1).point()


NOWCASTS = [("anvil.Anvil", {}), ("steps.Steps", {"members": 3}), ("linda.Linda", {"members": 2})]


def made(name, settings):
    module, _, kind = name.partition(".")
    return getattr(importlib.import_module(f"nowcast.baselines.{module}"), kind)(**settings)


@needs_pysteps
@pytest.mark.parametrize(("name", "settings"), NOWCASTS)
def test_pysteps_nowcasts_are_better_than_persistence_and_have_no_forecast_for_what_is_not_known(
    name, settings
):
    rain = moving_rain(frames=8, size=64)
    observed = torch.ones_like(rain[:, :4], dtype=torch.bool)
    observed[..., 40:48, 20:28] = False
    forecast = made(name, settings)(rain[:, :4], 4, observed).point()
    assert forecast.shape == (1, 4, 1, 64, 64)
    for step in range(1, 5):  # a gap that moves east, and the edge
        east = 2 * step
        assert (
            torch.isnan(forecast[0, step - 1, 0, 42:46, 22 + east : 26 + east]).all()
            and torch.isnan(forecast[0, step - 1, 0, :, : east - 1]).all()
        )
    inside = ~torch.isnan(forecast)
    assert inside.float().mean() > 0.7 and (forecast[inside] >= 0).all()
    error, persistence = (
        (found - rain[:, 4:])[inside].abs().mean()
        for found in (forecast, Persistence()(rain[:, :4], 4).point())
    )
    assert error < persistence


@needs_pysteps
@pytest.mark.parametrize(("name", "settings"), NOWCASTS)
def test_a_context_with_a_dry_frame_stays_where_it_is_and_a_short_one_is_refused(name, settings):
    rain = moving_rain(size=32)
    rain[:, -2] = 0
    torch.testing.assert_close(
        made(name, settings)(rain, 2).point(), rain[:, -1:].expand(-1, 2, -1, -1, -1)
    )
    with pytest.raises(UserError, match="expected at least [34] context frames, got 2"):
        made(name, settings)(rain[:, :2], 2).point()


@needs_pysteps
@pytest.mark.parametrize(("name", "settings"), NOWCASTS[1:])
def test_members_differ_from_each_other_and_a_case_always_has_the_same(name, settings):
    rain, model = moving_rain(size=48), made(name, settings)
    members = model(rain.repeat(2, 1, 1, 1, 1), 2).members(2)
    assert members.shape == (2, 2, 2, 1, 48, 48)
    known = ~torch.isnan(members[0]).any(0)
    assert (members[0, 0] - members[0, 1])[known].abs().max() > 0.1
    again = made(name, settings | {"seed": 2})(rain, 2).members(2)
    assert torch.equal(
        torch.nan_to_num(members[0]), torch.nan_to_num(members[1])
    ) and not torch.equal(torch.nan_to_num(members[0]), torch.nan_to_num(again[0]))


@needs_pysteps
def test_steps_is_what_pysteps_computes():
    from pysteps.nowcasts.steps import forecast

    rain = moving_rain(size=48)
    frames = rain[0, 1:, 0].numpy()
    ours = made("steps.Steps", {"members": 2})(rain, 2).members(2)[0, :, :, 0].numpy()
    with extrapolation.quiet():
        theirs = forecast(
            extrapolation.decibels(frames),
            extrapolation.motion_of(frames),
            2,
            n_ens_members=2,
            n_cascade_levels=6,
            precip_thr=-10.0,
            kmperpixel=1.0,
            timestep=5.0,
            seed=extrapolation.seed_of(frames, 1),
        )
    of_4_km = made("steps.Steps", {"members": 2})(rain, 2, None, Scale(5.0, torch.tensor([4.0])))
    coarse = of_4_km.members(2)[0, :, :, 0].numpy()
    known = ~np.isnan(ours)
    assert known.mean() > 0.8 and not np.array_equal(
        coarse[known], ours[known], equal_nan=True
    )  # the motion is perturbed by km/h
    expected = np.where(theirs < -10, 0, 10 ** (theirs / 10))
    np.testing.assert_allclose(ours[known], expected[known], rtol=1e-5)


@needs_pysteps
@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("anvil.Anvil", {"cascade_levels": 1}, "ANVIL needs at least 2 scales"),
        (
            "steps.Steps",
            {"members": 1},
            "Steps expected at least 2 members and a seed of 0 or more",
        ),
        (
            "linda.Linda",
            {"seed": -1},
            "Linda expected at least 2 members and a seed of 0 or more, got members=6 and seed=-1",
        ),
        (
            "steps.Steps",
            {"cascade_levels": 1},
            "cascade_levels is 1; STEPS needs at least 2 scales",
        ),
    ],
)
def test_settings_that_cannot_run_are_refused(name, settings, said):
    with pytest.raises(UserError, match=said):
        made(name, settings)


def test_the_dry_forecast_is_dry():
    forecast = Dry()(moving_rain(), 3).point()
    assert forecast.shape == (1, 3, 1, 96, 96) and (forecast == 0).all()


def test_advection_carries_rain_along_its_motion_without_pysteps():
    rain = moving_rain(frames=8)
    forecast = Advection()(rain[:, :4], 4).point()
    error = (forecast - rain[:, 4:]).abs()
    still = (rain[:, 3:4] - rain[:, 4:]).abs()
    assert error.nanmean() < 0.5 * still[~error.isnan()].mean()
    assert forecast[:, 0].isfinite().any() and forecast.shape == (1, 4, 1, *rain.shape[-2:])


def test_advection_keeps_missing_pixels_missing_and_dry_ones_dry():
    rain = moving_rain()
    observed = torch.ones_like(rain, dtype=torch.bool)
    observed[..., :10, :10] = False
    assert Advection()(rain, 2, observed).point()[:, 0, 0, :6, :6].isnan().any()
    assert (Advection()(torch.zeros(1, 3, 1, 33, 31), 2).point() == 0).all()


def test_advection_needs_two_frames():
    with pytest.raises(ValueError, match="Advection expected at least 2 context frames, got 1"):
        Advection()(torch.zeros(1, 1, 1, 8, 8), 1).point()
