"""The ConvLSTM that moves with the rain."""

import math
from dataclasses import replace

import pytest
import torch

from nowcast.cli.config import run_folder
from nowcast.forecasting.forecaster import Forecaster
from nowcast.models.lagrangian import LagrangianConvLSTM
from nowcast.models.lagrangian import context as context_module
from nowcast.models.lagrangian.context import (
    AlignedContext,
    WorkingGrid,
    motion_of,
    motion_on_cells,
)
from nowcast.models.lagrangian.distribution import RainDistribution, RateLadder, quantile
from nowcast.models.lagrangian.ensemble import ScaleNoise, middles_of_equal_shares, ranked
from nowcast.models.lagrangian.evolution import KnownSides, RainInMotion, falling
from nowcast.models.lagrangian.scales import (
    Regression,
    correlations,
    local_regression,
    recent,
    regression,
)
from nowcast.models.lagrangian.settings import SETTINGS, RainScale
from nowcast.models.yes_no import best_probability
from nowcast.runtime.errors import UserError
from nowcast.types.functional import Functional
from nowcast.types.scale import Scale
from tests.test_motion import blobs

KNEE, CEILING = 0.1, 100.0


def model(seed=0):
    torch.manual_seed(seed)
    return LagrangianConvLSTM([4, 6, 8], knee=KNEE, ceiling=CEILING)


def normalised(rate):
    return torch.log1p(torch.as_tensor(rate, dtype=torch.float32) / KNEE) / math.log1p(
        CEILING / KNEE
    )


def moving(u, v, *, size=(64, 80), frames=4):
    """Showers up to about 10 mm/h that move by (u, v) pixels a frame, (1, T, 1, H, W)."""
    return torch.stack(
        [
            normalised((10 * blobs(u * t, v * t, size=size) - 0.3).clamp(min=0))
            for t in range(frames)
        ]
    )[None, :, None]


def test_before_any_training_the_forecast_is_the_rain_moved_on():
    context = moving(4.0, -2.0, frames=8)
    forecast = model()(context[:, :4], 4).point()
    csi = csi_of(forecast[0, :, 0], context[0, 4:, 0])
    persistence = csi_of(
        torch.where(forecast[0, :, 0].isnan(), torch.nan, context[0, 3, 0]), context[0, 4:, 0]
    )
    assert csi > 0.75 > 0.5 > persistence


def test_what_comes_from_outside_has_no_forecast_and_everything_else_has_one():
    forecast = model()(moving(3.0, 0.0), 5).point()[0, :, 0]
    for lead in range(5):
        missing = forecast[lead].isnan()
        assert (
            missing[8:-8, : 3 * (lead + 1) - 2].all()
            and not missing[8:-8, 3 * (lead + 1) + 2 : -3].any()
        )


@pytest.mark.parametrize("batch", [1, 2])
def test_a_forecast_made_in_stripes_is_the_forecast(batch, set_threads):
    context = torch.cat([moving(2.0, 1.0, size=(61, 80)), moving(-1.0, 1.0, size=(61, 80))])[:batch]
    observed = torch.ones_like(context, dtype=torch.bool)
    observed[..., :9] = False
    set_threads(2)
    found = []
    for pixels in (10**6, 500, 1):
        torch.manual_seed(0)
        network = model()
        network.settings = replace(SETTINGS, stripe=pixels)
        prediction = network(context, 3, observed)
        levels = normalised([0.5, 5.0])
        points, probability = prediction.answers(["mean", "quantile:0.8", "event:0.3"], levels)
        found.append((*points, probability, prediction.members(3)))
    for other in found[1:]:
        for one, same in zip(found[0], other):
            assert (one.isnan() == same.isnan()).all()
            assert (
                (one - same).nan_to_num().abs() > 2e-5
            ).sum() <= 3  # what lies on a threshold may fall to either side


def test_columns_that_nothing_known_reaches_are_left_out_and_the_forecast_is_the_same():
    # where gradients flow every pixel is looked at
    context, observed = moving(2.0, 1.0), torch.zeros(1, 4, 1, 64, 80, dtype=torch.bool)
    observed[..., 10:50, 20:45] = True
    prediction = model()(context, 3, observed)
    everywhere = prediction.point()
    with torch.no_grad():
        found = model()(context, 3, observed).point()
    assert 0 < found.isnan().sum() < found.numel()
    torch.testing.assert_close(found, everywhere.detach(), rtol=0, atol=1e-5, equal_nan=True)


def test_the_columns_that_nothing_known_reaches_are_counted_on_both_sides():
    known = torch.zeros(1, 4, 10)
    known[0, 1, 3:5], known[0, 2, 4:6] = 1, 1
    sides = KnownSides.of(known)
    assert sides.first.tolist() == [10, 3, 4, 10] and sides.last.tolist() == [-1, 4, 5, -1]
    x, y = torch.arange(10.0)[None, None], torch.ones(1, 1, 10)
    # row 1 and half a pixel of row 2: columns 3 to 5, of which those beside them get a share, too
    assert sides.not_reached(x, y + 0.5) == (3, 4)
    assert sides.not_reached(x + 0.5, y) == (2, 4)
    assert sides.not_reached(x + 2.0, y) == (1, 6)  # from two columns farther right
    assert sides.not_reached(x, y + 2.0) == (10, 0)  # row 3, of which nothing is known
    assert sides.not_reached(x, y - 9.0) == (10, 0) == sides.not_reached(x + 30.0, y)


def test_the_motion_on_cells_is_that_of_their_pixels_in_their_sides():
    context = moving(2.0, -1.0)[:, :, 0]
    grid, observed = WorkingGrid.of(1.0, SETTINGS), torch.ones_like(context)
    motion, side = motion_of(context, observed, grid, SETTINGS)
    found, cell = motion_on_cells(
        AlignedContext(grid, *[None] * 6, motion=motion, motion_side=side)
    )
    assert (side, cell) == (1, 4) and found.shape == (1, 2, 16, 20)
    torch.testing.assert_close(found[0, :, 3, 5], motion[0, :, 12:16, 20:24].mean((1, 2)) / 4)


def test_logits_fall_by_the_softplus_of_what_the_network_says():
    values = torch.linspace(-30, 100, 60).view(1, 6, 1, 10)
    drops = torch.nn.functional.softplus(values[:, 1:].double()).clamp(max=80)
    expected = values[:, :1] - torch.cat([torch.zeros(1, 1, 1, 10), drops], dim=1).cumsum(dim=1)
    torch.testing.assert_close(falling(values.clone()).double(), expected, rtol=1e-6, atol=1e-6)
    with_gradients = falling(values.clone().requires_grad_())[:, :4]
    torch.testing.assert_close(falling(values.clone())[:, :4], with_gradients.detach())


def test_the_logarithm_of_rates_is_that_of_torch():
    rates = torch.logspace(-9, 3, 1000)
    expected = torch.log1p(rates.double() / KNEE) / math.log1p(CEILING / KNEE)
    found = RainScale(KNEE, CEILING).normalised(torch.cat([torch.zeros(1), rates]))
    assert found[0] == 0
    torch.testing.assert_close(found[1:].double(), expected, rtol=1e-6, atol=1e-8)


def test_what_stands_under_the_mask_changes_nothing():
    context, observed = moving(1.0, 1.0), torch.ones(1, 4, 1, 64, 80, dtype=torch.bool)
    observed[:, 1], observed[..., :10, :] = False, False
    one, other = (
        model()(torch.where(observed, context, value), 3, observed).point() for value in (0.0, 0.9)
    )
    torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


def csi_of(forecast, truth, level=1.0):
    """Of (T, H, W) normalised, where there is a forecast."""
    known, wet, came = ~forecast.isnan(), forecast >= normalised(level), truth >= normalised(level)
    return ((wet & came & known).sum() / ((wet | came) & known).sum()).item()


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_frame_that_is_missing_costs_next_to_nothing(missing):
    context, observed = moving(2.0, -1.0, frames=8), torch.ones(1, 4, 1, 64, 80, dtype=torch.bool)
    complete = csi_of(model()(context[:, :4], 4).point()[0, :, 0], context[0, 4:, 0])
    observed[:, missing] = False
    assert (
        csi_of(model()(context[:, :4], 4, observed).point()[0, :, 0], context[0, 4:, 0])
        > complete - 0.02
        > 0.75
    )


def test_where_the_newest_frame_is_missing_there_is_a_forecast_from_those_before():
    context, observed = moving(1.0, 0.0), torch.ones(1, 4, 1, 64, 80, dtype=torch.bool)
    observed[:, -1] = False
    forecast = model()(context, 2, observed).point()[0, :, 0]
    assert forecast[..., 10:].isfinite().all() and csi_of(forecast[:1], context[0, 3:, 0]) > 0.3


def test_rain_carried_to_where_no_radar_looks_decides_nothing(monkeypatch):
    network, context = model(), moving(3.0, 0.0)
    observed = torch.ones(1, 4, 1, 64, 80, dtype=torch.bool)
    observed[..., 50:] = False
    seen = []

    def watched(probability, decides):
        seen.append(decides)
        return best_probability(probability, decides)

    monkeypatch.setattr("nowcast.models.yes_no.best_probability", watched)
    forecast = network(context, 4, observed).point("event:0.3")
    assert (
        forecast[0, 3, 0, :, 50:58].isfinite().any()
        and not any(known[..., 50:].any() for known in seen)
        and all(known[..., 20:50].all() for known in seen)
    )


def test_probabilities_fall_from_level_to_level_and_are_read_between_them():
    network = model()
    torch.nn.init.normal_(network.head.weight, std=2.0)
    prediction = network(moving(1.0, 0.0), 2)
    logits, known = prediction.exceedance_logits(network.levels)
    logits, known = logits[:, :, 0], known[:, 0]
    assert (logits.diff(dim=1) <= 0).all() and known.shape == (1, 64, 80)
    middle = (network.levels[2] + network.levels[3]) / 2
    between, _ = prediction.exceedance_logits(middle[None])
    torch.testing.assert_close(between[:, 0, 0], logits[:, 2:4].mean(1))
    found, where = prediction.exceedance_logits(network.levels, every=2, first=(1, 0))
    torch.testing.assert_close(found[:, :, 0], logits[:, :, 1::2, ::2])
    assert (found.shape, where.dtype) == ((1, len(SETTINGS.levels), 2, 32, 40), torch.bool)


def rough(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_regression_of_second_order_is_found_again_from_three_frames():
    keep, drag = 1.5, -0.6
    frames = [rough(1, 256, 256, seed=seed) for seed in (0, 1)]
    for seed in range(2, 40):
        frames.append(keep * frames[-1] + drag * frames[-2] + 0.2 * rough(1, 256, 256, seed=seed))
    newest_first = torch.stack(frames[:-4:-1], dim=1)
    one, two, variance = correlations(newest_first, torch.ones(1, 1, 256, 256))
    expected = keep / (1 - drag)  # by Yule and Walker
    assert one.item() == pytest.approx(expected, abs=0.01) and two.item() == pytest.approx(
        keep * expected + drag, abs=0.01
    )
    assert variance.item() == pytest.approx(frames[-1].var().item(), rel=1e-3)
    assert correlations(newest_first[:, :2], torch.ones(1, 1, 256, 256))[1].item() == pytest.approx(
        one.item() ** 2, abs=0.01
    )  # no third frame, no tendency
    assert correlations(torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 8, 8))[0].item() == 0


def test_a_pattern_that_grows_is_expected_to_grow_on_and_no_tendency_is_stronger_than_its_memory_allows():
    rows, columns = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing="ij")
    lasting, growing = (
        torch.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 200)
        for row, column in ((30, 30), (70, 60))
    )
    aligned = (
        0.2 + torch.stack([0.5 * lasting + size * growing for size in (0.1, 0.2, 0.3, 0.4)])[None]
    )
    seen = torch.ones_like(aligned)
    fields = recent(aligned, seen)
    torch.testing.assert_close(fields[0, :3], aligned[0, [3, 2, 1]])
    fine, wide = (
        [fields] * 3,
        [torch.nn.functional.avg_pool2d(fields, 4)] * 4 + [0.2 * torch.ones(1, 4, 24, 24)],
    )
    wide[1:4] = [torch.zeros(1, 4, 24, 24)] * 3  # all of the pattern is in the third scale
    grid = WorkingGrid(1.0, 1, 4)
    unmoved = AlignedContext(
        grid, torch.tensor([5.0]), torch.ones(1), aligned, seen, aligned, seen, None, 1
    )
    found = regression(fine, wide, unmoved, 0.1, SETTINGS)
    correlation, tendency, strength = found
    assert correlation.shape == tendency.shape == strength.shape == (1, SETTINGS.scales)
    assert (
        tendency[0, 2].item() == pytest.approx(-math.exp(-5 / 47)) and 0.97 < correlation[0, 2] < 1
    )
    ahead, before, without = found.evolved(3)[:, :, 0, 2].unbind(dim=1)
    last, previous, onward = 0.4, 0.3, correlation[0, 2] * (1 - tendency[0, 2])
    expected = [onward * last + tendency[0, 2] * previous]
    expected.append(onward * expected[0] + tendency[0, 2] * last)
    expected.append(onward * expected[1] + tendency[0, 2] * expected[0])
    torch.testing.assert_close(ahead * last + before * previous, torch.stack(expected))
    torch.testing.assert_close(without, correlation[0, 2] ** torch.arange(1, 4))
    assert expected[0] > last * without[0]


def scales_of_noise(lasting):
    """Three frames of noise of one pixel, newest first; the left half of the area is the same in
    all, the right half new in each (or not there); by scale, as ``scales_of`` has them.
    """
    frames = torch.stack([rough(1, 128, 128, seed=seed)[0] for seed in range(3)])
    frames[:, :, :64] = frames[0, :, :64]
    if not lasting:
        frames[:, :, 64:] = 0
    frames = torch.cat([frames, frames[-1:]])[None]
    nothing = torch.zeros(1, 4, 32, 32)
    fine = [frames, torch.zeros_like(frames), torch.zeros_like(frames)]
    rain = torch.ones(1, 4, 128, 128)
    context = AlignedContext(
        WorkingGrid(1.0, 1, 4), torch.tensor([5.0]), torch.ones(1), rain, rain, rain, rain, None, 1
    )
    return fine, [nothing] * 5, context


def test_cells_that_last_are_expected_to_last_beside_rain_that_does_not():
    fine, wide, context = scales_of_noise(lasting=True)
    everywhere = regression(fine, wide, context, 0.1, SETTINGS)
    assert everywhere.correlation[0, 0].item() == pytest.approx(0.5, abs=0.05)
    windows = replace(SETTINGS, regression_window=12.0, regression_prior=0.1)
    local = local_regression(everywhere, fine, wide, context, 0.1, windows)
    assert local.correlation.shape == (1, SETTINGS.scales, 32, 32)
    assert local.correlation[0, 0, 12:20, 4].min() > 0.9
    assert local.correlation[0, 0, 12:20, 27].max() < 0.2
    # wider scales go on as everywhere
    assert (local.correlation[0, 5] == everywhere.correlation[0, 5]).all()
    # without a window all do, in maps of one point
    same = local_regression(everywhere, fine, wide, context, 0.1, SETTINGS)
    torch.testing.assert_close(same.tendency[:, :, 0, 0], everywhere.tendency)
    assert same.correlation.shape == (1, SETTINGS.scales, 1, 1)


def test_where_there_is_nothing_details_are_expected_to_go_on_as_elsewhere():
    fine, wide, context = scales_of_noise(lasting=False)
    everywhere = regression(fine, wide, context, 0.1, SETTINGS)
    windows = replace(SETTINGS, regression_window=4.0)
    local = local_regression(everywhere, fine, wide, context, 0.1, windows)
    far = local.correlation[0, 0, :, 28:]
    torch.testing.assert_close(far, everywhere.correlation[0, 0].expand_as(far), atol=1e-4, rtol=0)


def with_levels(*more, **settings):
    torch.manual_seed(3)
    levels = [*SETTINGS.levels, *more]
    return LagrangianConvLSTM([4, 6, 8], knee=KNEE, ceiling=CEILING, levels=levels, **settings)


def test_weights_of_fewer_levels_begin_a_model_with_more_and_their_logits_go_on_in_a_line():
    old, new, context = model(), with_levels(60.0), moving(1.0, 0.5)
    new.take_weights(old)
    before, _ = old(context, 2).exceedance_logits(old.levels)
    after, _ = new(context, 2).exceedance_logits(new.levels)
    torch.testing.assert_close(after[:, :6], before)
    line, _ = old(context, 2).exceedance_logits(new.levels)  # beyond the last it is one
    drop, expected = after[:, 5] - after[:, 6], line[:, 5] - line[:, 6]
    assert (drop / expected - 1).abs().median() < 0.02
    with pytest.raises(UserError, match="expected weights of the levels .* or of the first"):
        old.take_weights(new)
    # how far the probabilities are believed goes with the levels
    assert (old.settings.highest, new.settings.highest) == pytest.approx((50.0, 100.0))


def test_levels_and_windows_that_are_none_are_refused():
    several = (
        [0.1, 1.0, 10.0],
        [0.1, 1.0, 1.0, 10.0],
        [0.1, 1.0, 5.0, 100.0],
        [0.1, 0.3, 1.0, 3.0],
        ["a", "b", "c", "d"],
        [0.1, 1.0, None, 10.0],
        5,
    )
    for levels in several:
        with pytest.raises(UserError, match="model.levels is .* expected at least four rates"):
            LagrangianConvLSTM([4, 6, 8], knee=KNEE, ceiling=CEILING, levels=levels)
    for window in (0, "20", True):
        with pytest.raises(UserError, match="model.regression_window is .*; expected 4 to 200 km"):
            with_levels(regression_window=window)


def test_two_frames_are_enough_for_a_forecast():
    forecast = model()(moving(2.0, 1.0, frames=2), 3).point()
    assert forecast[..., 12:-12, 12:-12].isfinite().all()


def least(probability, known=None):
    known = torch.ones_like(probability, dtype=torch.bool) if known is None else known
    return best_probability(probability, known).item()


def test_a_rate_is_forecast_where_that_promises_the_best_csi():
    # sum p / (number + sum of the other p): 1.8 / (2 + 0.4) = 0.75 for the two likely pixels, 0.9 /
    # (1 + 1.3) for one, 2.2 / 4 for all
    assert 0.2 < least(torch.tensor([[[0.9, 0.9], [0.2, 0.2]]])) <= 0.9
    # rare rain, 0.3 / (1 + 0.06) for the likeliest pixel, 0.32 / 2 for the first two: the
    # likeliest, though it is unlikely
    assert 0.02 < least(torch.tensor([[[0.3, 0.02], [0.02, 0.02]]])) <= 0.3
    # 0.5 / (1 + 0.4 + 0.4) = 0.28 for one pixel, 1.3 / 3 = 0.43 for all three
    assert 0.05 < least(torch.tensor([[[0.5, 0.4], [0.4, 0.0]]])) <= 0.4
    # what is nowhere likely is forecast nowhere
    assert least(torch.full((1, 2, 2), 0.04)) > 1 and least(torch.full((1, 2, 2), 0.06)) <= 0.06
    # what has no forecast has no say: the first pixel alone is left, and it is forecast
    known = torch.tensor([[[True, False], [False, False]]])
    assert least(torch.tensor([[[0.2, 0.9], [0.9, 0.9]]]), known) <= 0.2


def ladder():
    scale = RainScale(KNEE, CEILING)
    return RateLadder.of(normalised(SETTINGS.levels), scale, SETTINGS)


def test_finer_pixels_of_the_same_rain_have_the_same_forecast():
    context = moving(1.0, -1.0)
    fine = context[0, :, 0].repeat_interleave(2, -1).repeat_interleave(2, -2)[None, :, None]
    one, other = (
        model()(frames, 2, scale=Scale(5.0, spacing)).point()
        for frames, spacing in ((context, 1.0), (fine, 0.5))
    )
    assert other.shape == (1, 2, 1, 128, 160)
    error = (other[..., ::2, ::2] - one).abs()[..., 8:-8, 8:-8]
    assert error.nanmean() < 0.02


@pytest.mark.parametrize("spacing", [0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("size", [(1, 1), (5, 33), (40, 40)])
def test_any_size_and_spacing_has_a_forecast_of_its_size(size, spacing):
    context, scale = torch.rand(2, 4, 1, *size) * 0.3, Scale(torch.tensor([2.0, 15.0]), spacing)
    forecast = model()(context, 2, scale=scale).point()
    assert forecast.shape == (2, 2, 1, *size)
    assert ((forecast.nan_to_num() >= 0) & (forecast.nan_to_num() <= 1)).all()


@pytest.mark.parametrize("size", [(8, 1), (1, 8), (1, 1)])
def test_an_area_one_pixel_wide_can_be_trained_on(size):
    model = LagrangianConvLSTM([4, 4, 4], knee=0.1, ceiling=100.0)
    for first in ((0, 0), (1, 1)):
        prediction = model(torch.rand(1, 3, 1, *size), 2)
        logits, known = prediction.exceedance_logits(model.levels, every=2, first=first)
        assert (
            logits.shape[-2:]
            == known.shape[-2:]
            == tuple(-(-(side - start) // 2) for side, start in zip(size, first))
        )


def test_it_learns():
    network, context = model(), moving(1.0, 0.0, frames=6)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    losses = []
    for _ in range(25):
        logits, known = network(context[:, :4], 2).exceedance_logits(network.levels)
        wet = (context[:, None, 4:, 0] >= network.levels[:, None, None, None]).float()
        error = torch.nn.functional.binary_cross_entropy_with_logits(logits, wet, reduction="none")
        loss = error[known[:, None].expand_as(error)].mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    assert all(
        weight.grad is not None and weight.grad.isfinite().all() for weight in network.parameters()
    )


def test_a_wrong_call_is_refused():
    with pytest.raises(
        UserError, match="expected three hidden_channels, for cells of 4, 8 and 16 km"
    ):
        LagrangianConvLSTM([4, 6], knee=KNEE, ceiling=CEILING)
    with pytest.raises(UserError, match="expected at least 2 context frames, got 1"):
        model()(torch.rand(1, 1, 1, 8, 8), 2)


def test_its_members_are_at_each_pixel_the_middles_of_equal_shares_of_its_distribution():
    network, context = model(), moving(1.0, 0.5)
    levels = normalised([0.5, 5.0])
    members = network(context, 2).members(200)
    (frames,), probability = network(context, 2).answers([None], levels)
    assert members.shape == (1, 200, 2, 1, *context.shape[-2:])
    assert (members.isnan() == frames[:, None].isnan()).all() and torch.equal(
        frames.nan_to_num(-1), network(context, 2).point().nan_to_num(-1)
    )
    for k, level in enumerate(levels):
        share = torch.where(members.isnan(), torch.nan, (members >= level).float()).mean(dim=1)
        known = ~share.isnan()
        assert (
            probability[:, k][known].std() > 0.02
            and (share - probability[:, k])[known].abs().max() <= 0.005 + 1e-4
        )
    with pytest.raises(UserError, match="members"):
        network(context, 2).members(0)


def test_its_members_hang_together_in_space_and_time_and_no_two_draws_are_alike():
    network, context = model(), moving(1.0, 0.5)
    torch.manual_seed(1)
    members = network(context, 6).members(20)[0, :, :, 0, 16:48, 20:60]
    torch.manual_seed(1)
    assert torch.equal(network(context, 6).members(20)[0, :, :, 0, 16:48, 20:60], members)
    assert not torch.equal(network(context, 6).members(20)[0, :, :, 0, 16:48, 20:60], members)
    uncertain = members.amax(dim=0) > members.amin(dim=0)
    above = torch.where(
        uncertain, (members - members.mean(dim=0)).sign(), torch.nan
    )  # which members say more than most
    assert (above[:, :, :, 1:] * above[:, :, :, :-1]).nanmean() > 0.5 and (
        above[:, :, :, 16:] * above[:, :, :, :-16]
    ).nanmean().abs() < 0.4
    assert (above[:, 2:] * above[:, 1:-1]).nanmean() > 0.3
    total = members.mean(
        dim=(2, 3)
        # over the area: members drawn pixel by pixel would all agree, members of all lowest and all
        # highest values not at all
    )
    pixel, area = members.std(dim=0).mean(dim=(1, 2)), total.std(dim=0)
    assert ((0.15 * pixel < area) & (area < 0.8 * pixel)).all()


def noise_of(correlation, tendency, *, minutes=5.0, growth_time=SETTINGS.growth_time):
    """Noise of 64 members for 256 x 240 km of rain that has nothing but patterns of 6 to 16 km."""
    ones, strength = torch.ones(1, SETTINGS.scales), torch.zeros(1, SETTINGS.scales)
    strength[0, 3] = 4.0  # a variance
    rain = Regression(correlation * ones, tendency * ones, strength)
    settings, grid = replace(SETTINGS, growth_time=growth_time), WorkingGrid(1.0, 1, 4)
    return ScaleNoise(64, rain, torch.tensor([minutes]), (256, 240), grid, settings)


def correlation_of(first, second):
    return (
        (first * second).mean() / (first.square().mean() * second.square().mean()).sqrt()
    ).item()


def test_noise_is_of_variance_1_and_correlated_in_time_as_the_errors_of_the_regression():
    torch.manual_seed(0)
    # correlation 0.8 and no tendency: of 5 leads' errors each has 0.8 of the one before
    noise = noise_of(0.8, 0.0, growth_time=1e9)
    fields = [noise.next() for _ in range(5)]
    assert all(detail.abs().max() == 0 and wide.shape == (1, 64, 64, 60) for detail, wide in fields)
    assert [wide.std().item() for _, wide in fields] == pytest.approx(5 * [1.0], abs=0.03)
    assert correlation_of(fields[3][1], fields[4][1]) == pytest.approx(
        0.8 * math.sqrt((1 - 0.8**8) / (1 - 0.8**10)), abs=0.03
    )


def test_the_errors_of_rain_that_keeps_its_tendency_persist():
    torch.manual_seed(0)
    persists = []
    for tendency in (0.0, -0.7):
        noise = noise_of(0.99, tendency, growth_time=1e9)
        fields = [noise.next()[1] for _ in range(6)]
        assert fields[5].std().item() == pytest.approx(1, abs=0.05)
        persists.append(correlation_of(fields[2], fields[5]))
    # errors that add up: the sums of 3 and of 6 correlate by the root of 3/6 but for what is
    # forgotten; errors that go on growing hang together closer than that
    assert persists[0] == pytest.approx(
        0.99**3 * math.sqrt((1 - 0.99**6) / (1 - 0.99**12)), abs=0.03
    )
    assert persists[1] > persists[0] + 0.05


@pytest.mark.parametrize("minutes", [15.0, 30.0])
def test_growth_of_wide_patterns_counts_the_more_the_longer_the_forecast_whatever_the_cadence(
    minutes,
):
    torch.manual_seed(0)
    noise = noise_of(0.0, 0.0, minutes=minutes)  # of which each lead has another
    fields = [noise.next()[1] for _ in range(round(180 / minutes))]
    at = {lead: fields[round(lead / minutes) - 1] for lead in (30, 60, 180)}
    assert [field.std().item() for field in at.values()] == pytest.approx(3 * [1.0], abs=0.1)
    # 1 - exp(-t / 75 min): 0.33, 0.55 and 0.91 times the rest, which no two leads share
    share = {lead: a / math.sqrt(1 + a**2) for lead, a in zip(at, (0.330, 0.551, 0.909))}
    assert correlation_of(at[30], at[60]) == pytest.approx(share[30] * share[60], abs=0.03)
    assert correlation_of(at[60], at[180]) == pytest.approx(share[60] * share[180], abs=0.05)


@pytest.mark.parametrize("count", [1, 2, 3, 20, 33])
def test_the_members_ranked_by_noise_are_in_the_order_of_a_sort(count):
    torch.manual_seed(0)
    noise, shares = torch.randn(2, count, 5, 7), torch.rand(2, count, 5, 7).sort(dim=1).values
    by_sorting = shares.gather(1, noise.argsort(dim=1).argsort(dim=1))
    assert torch.equal(ranked(shares, noise), by_sorting)
    same = ranked(shares, torch.zeros_like(noise))  # a tie goes by number
    assert torch.equal(same, shares)


def test_the_middles_of_equal_shares_are_the_quantiles_of_each():
    torch.manual_seed(0)
    rates = torch.tensor([0.1, 0.25, 0.3, 0.6, 1.0])
    drops = 4 * torch.rand(2, 4, 5, 7)
    drops[:, 2, 0] = 0.0  # a share that no rate has
    logits = torch.cat([torch.zeros(2, 1, 5, 7), -drops.cumsum(dim=1)], dim=1)
    logits = logits + 3 * torch.randn(2, 1, 5, 7)
    middles = middles_of_equal_shares(logits, rates, 20)
    for member in range(20):
        expected = quantile(logits, (member + 0.5) / 20, rates)
        assert (middles[:, member] - expected).abs().max() < 1e-5
    assert 0.1 < (middles == 0).float().mean() < 0.9


def test_the_shipped_weights_leave_dry_what_lies_far_from_all_rain_on_a_large_grid():
    network = Forecaster.load(run_folder("shipped")).model.eval()
    context = torch.nn.functional.pad(
        moving(1.0, 0.0), (0, 520, 0, 336)
    )  # showers in one corner of 400 x 600 km
    with torch.no_grad():
        (forecast,), probability = network(context, 12).answers(["mean"], normalised([0.1]))
    assert forecast[0, 11, 0, 250:, 300:].isfinite().float().mean() > 0.5
    assert forecast[0, 11, 0, :64, 12:80].nanmean() > normalised(0.1) and forecast[
        0, 11, 0, 250:, 300:
    ].nan_to_num().max() < normalised(0.1)
    assert probability[0, 0, 11, 0, 250:, 300:].nan_to_num().max() < 0.1


def test_rain_is_not_pulled_dry_at_the_edge_of_what_is_observed(monkeypatch):
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(80.0), indexing="ij")
    context = normalised(3 + torch.sin(rows / 9) + torch.cos(columns / 7)).expand(1, 4, 1, 64, 80)
    observed = ((rows - 30) ** 2 + (columns - 40) ** 2 < 24**2).expand_as(context)
    network = model()
    torch.nn.init.zeros_(
        network.head.weight
    )  # the same everywhere, whatever its layers see of the edge
    steady = torch.full((1, 2, 32, 40), 0.2)  # 0.4 pixels: values are read between pixels
    monkeypatch.setattr(context_module, "motion_of", lambda *_: (steady, 2))
    (complete, _), (partly, known) = (
        network(context, 1, seen).exceedance_logits(network.levels) for seen in (None, observed)
    )
    complete, partly, known = complete[:, :, 0], partly[:, :, 0], known[:, 0]
    differences = (partly - complete)[0, 2][known[0]]
    assert len(differences) > 1000 and differences.abs().max() < 0.15 * complete[0, 2].abs().max()


class KnownLeads:
    """In place of a network's rain: the same logits (1, L, H, W) at two leads; those of the second
    are lower by 1. Nothing is known of the first column.
    """

    dtype = torch.float32

    def __init__(self, logits):
        self._leads, self._known = [logits, logits - 1], torch.ones_like(logits[:, 0] > 0)
        self._known[..., 0] = False

    def pixels(self):
        return None

    def leads(self, pixels, field_of):
        for logits in self._leads:
            yield field_of(logits, self._known, None)


def known(logits):
    return RainDistribution(KnownLeads(logits), ladder(), None)


def logistic(middles, steepness=20.0):
    """Logits, (1, levels, 1, W), of logistic distributions of the normalised rate with these
    medians.
    """
    levels = normalised(SETTINGS.levels)
    return (steepness * (torch.as_tensor(middles)[:, None] - levels)).T[None, :, None]


def test_medians_and_quantiles_are_those_of_a_distribution_that_is_known():
    middles = [0.0, 0.3, 0.5, 0.6]
    prediction = known(logistic(middles))
    for functional, share in (("median", 0.5), ("quantile:0.8", 0.8), ("quantile:0.2", 0.2)):
        found = prediction.point(functional)
        assert found.shape == (1, 2, 1, 1, 4) and found[..., 0].isnan().all()
        # of a logistic distribution a quantile lies at the median + log(share / (1 - share)) / 20
        for lead, shift in enumerate((0.0, 1.0)):
            expected = torch.tensor(middles[1:]) + (math.log(share / (1 - share)) - shift) / 20
            torch.testing.assert_close(found[0, lead, 0, 0, 1:], expected, rtol=0, atol=1e-5)
    dry = known(logistic([0.0, -0.5]))
    assert (dry.point("median")[..., 1] == 0).all()


def test_the_mean_is_that_of_the_rain_rate_of_many_members_where_none_counts_more_than_the_hail_cap():
    middles = torch.tensor([0.0, 0.2, 0.4, 0.6])
    prediction = known(logistic(middles))
    shares = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    values = middles[:, None] + torch.log(shares / (1 - shares)) / 20
    rates = KNEE * torch.expm1(values * math.log1p(CEILING / KNEE))
    rates = torch.where(rates < SETTINGS.lowest, 0.0, rates.clamp(max=SETTINGS.hail_cap))
    expected = normalised(rates.mean(dim=1))
    found = prediction.point("mean")[0, 0, 0, 0]
    torch.testing.assert_close(found[1:], expected[1:], rtol=0.001, atol=0)


def test_an_event_is_forecast_where_it_promises_the_best_csi_or_from_a_probability_on():
    # probabilities of 1 mm/h: 0.9, 0.9, 0.2, 0.2, of which the first two are forecast, as above
    shares, level = torch.tensor([0.5, 0.9, 0.9, 0.2, 0.2]), normalised(1.0)
    distribution = known(logistic(level + torch.logit(shares) / 20))
    event = distribution.point(f"event:{level.item()}")
    assert event[0, 0, 0, 0, 0].isnan()
    assert event[0, 0, 0, 0, 1:].tolist() == pytest.approx([level.item()] * 2 + [0.0] * 2)
    for probability, count in ((0.15, 4), (0.25, 2), (0.95, 0)):
        event = distribution.point(Functional("event", level.item(), probability))
        assert (event[0, 0] > 0).sum() == count


def test_one_pass_over_the_leads_gives_every_functional_and_probability(monkeypatch):
    prediction, passes = model()(moving(1.0, 0.5), 3), []
    asked, levels = ["median", "event:0.3", "mean", "quantile:0.9"], normalised([0.5, 5.0])
    expected = [prediction.point(one) for one in asked]
    probability = prediction.exceedance(levels)
    monkeypatch.setattr(type(prediction._rain), "leads", counted(passes))
    points, exceedance = prediction.answers(asked, levels)
    assert len(passes) == 1
    for found, wanted in zip([*points, exceedance], [*expected, probability], strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6, equal_nan=True)


def counted(passes, leads=RainInMotion.leads):
    def noted(*arguments):
        passes.append(1)
        return leads(*arguments)

    return noted


def test_an_unknown_functional_is_refused():
    with pytest.raises(UserError, match="expected mean, median, quantile:P"):
        model()(moving(1.0, 0.0), 1).point("mode")


def test_members_of_a_generator_are_drawn_from_it_and_leave_that_of_torch_alone():
    prediction, before = model()(moving(1.0, 0.5), 2), torch.get_rng_state()
    one, other = (
        prediction.members(3, torch.Generator().manual_seed(seed)).nan_to_num() for seed in (1, 2)
    )
    again = prediction.members(3, torch.Generator().manual_seed(1)).nan_to_num()
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_context_is_looked_at_once_for_the_forecast_its_probabilities_and_members(monkeypatch):
    calls = []

    def counted(*arguments):
        calls.append(1)
        return motion_of(*arguments)

    motion_of = context_module.motion_of
    monkeypatch.setattr(context_module, "motion_of", counted)
    prediction = model()(moving(1.0, 0.5), 2)
    prediction.point(), prediction.exceedance([0.3]), prediction.members(2)
    assert len(calls) == 1
