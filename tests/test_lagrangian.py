"""The ConvLSTM that moves with the rain."""

import math
from dataclasses import replace

import pytest
import torch

from nowcast.cli.config import run_folder
from nowcast.forecasting.forecaster import Forecaster
from nowcast.models.lagrangian import LagrangianConvLSTM
from nowcast.models.lagrangian import context as context_module
from nowcast.models.lagrangian.context import AlignedContext, WorkingGrid
from nowcast.models.lagrangian.distribution import RainDistribution, RateLadder
from nowcast.models.lagrangian.ensemble import ScaleNoise
from nowcast.models.lagrangian.evolution import RainInMotion
from nowcast.models.lagrangian.scales import Regression, correlations, recent, regression
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
    levels, rates = (normalised(rates) for rates in (SETTINGS.levels, SETTINGS.rates))
    return RateLadder.of(levels, rates, scale, SETTINGS)


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


def test_the_noise_of_a_scale_grows_as_it_forgets_its_last_frame():
    torch.manual_seed(0)
    correlation, strength = torch.full((1, SETTINGS.scales), 0.8), torch.zeros(1, SETTINGS.scales)
    strength[0, 3] = 4.0  # a variance
    rain = Regression(correlation, torch.zeros_like(correlation), strength)
    noise = ScaleNoise(64, rain, (512, 480), WorkingGrid(1.0, 1, 4), SETTINGS)
    fields = [noise.next() for _ in range(5)]
    assert all(
        detail.abs().max() == 0 and wide.shape == (1, 64, 128, 120) for detail, wide in fields
    )
    for lead, (_, wide) in enumerate(fields, start=1):
        assert wide.std().item() == pytest.approx(2 * math.sqrt(1 - 0.8 ** (2 * lead)), rel=0.05)
    first, second = (wide for _, wide in fields[3:])
    assert ((first * second).mean() / (first.std() * second.std())).item() == pytest.approx(
        0.8 * math.sqrt((1 - 0.8**8) / (1 - 0.8**10)), abs=0.03
    )


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


def test_the_mean_is_that_of_the_rain_rate_and_of_many_members_of_the_distribution():
    middles = torch.tensor([0.0, 0.2, 0.4, 0.6])
    prediction = known(logistic(middles))
    shares = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    values = middles[:, None] + torch.log(shares / (1 - shares)) / 20
    rates = KNEE * torch.expm1(values * math.log1p(CEILING / KNEE))
    rates = torch.where(rates < SETTINGS.rates[0], 0.0, rates.clamp(max=SETTINGS.rates[-1]))
    expected = normalised(rates.mean(dim=1))
    found = prediction.point("mean")[0, 0, 0, 0]
    torch.testing.assert_close(found[1:], expected[1:], rtol=0, atol=0.01)


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
