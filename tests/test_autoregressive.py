"""What recurrent networks share: reading their own forecasts, and meeting the truth in training."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from nowcast.models.autoregressive import Autoregressive
from nowcast.models.convlstm_stack import ConvLSTMStack
from nowcast.models.predrnn import PredRNN


class PlusOne(Autoregressive):
    """Forecasts what it read, plus 1, and keeps a list of what it read."""

    def __init__(self, *, patch=1, sampling="none", sampling_until=0.625, observed_channel=False):
        super().__init__(
            patch=patch,
            sampling=sampling,
            sampling_until=sampling_until,
            output="linear",
            observed_channel=observed_channel,
        )

    def initial_state(self, batch, height, width):
        self.read = []
        return 0

    def step(self, frame, state):
        self.read.append(frame)
        return frame[:, : self.patch**2] + 1, state + 1


TENS = torch.tensor([10.0, 20, 30, 40, 50, 60]).reshape(
    1, 6, 1, 1, 1
)  # six frames; the first three are the context


def values(frames):
    return [float(frame.flatten()[0]) for frame in frames]


@pytest.mark.parametrize(
    ("context", "length", "read", "forecast"),
    [
        (3, 3, [10, 20, 30, 31, 32], [31, 32, 33]),
        (1, 3, [10, 11, 12], [11, 12, 13]),
        (2, 1, [10, 20], [21]),
        (6, 1, [10, 20, 30, 40, 50, 60], [61]),
    ],
)
def test_the_context_is_read_then_the_own_output(context, length, read, forecast):
    model = PlusOne()
    assert values(model(TENS[:, :context], length).point()[0]) == forecast
    assert values(model.read) == read


TRUTH, OWN = [10, 20, 30, 40, 50], [10, 20, 30, 31, 32]


@pytest.mark.parametrize(
    ("sampling", "progress", "read"),
    [
        ("none", 0.0, OWN),
        ("none", 1.0, OWN),
        ("forward", 0.0, TRUTH),
        ("forward", 0.625, OWN),
        ("forward", 1.0, OWN),
        ("reverse", 0.625, OWN),
    ],
)
def test_scheduled_sampling_forecasts_every_frame_but_the_first_from_what_was_read_before_it(
    sampling, progress, read
):
    model = PlusOne(sampling=sampling)
    assert values(model.scheduled_sampling(TENS, None, 3, progress)[0]) == [
        value + 1 for value in read
    ]
    assert values(model.read) == read


def chances(sampling, step):
    """The reference's schedules (thuml/predrnn-pytorch, run.py), in iterations: chances of the
    truth in the context and after it.
    """
    if sampling == "forward":
        return 1.0, max(0.0, 1.0 - 0.00002 * step)
    if step < 25_000:
        return 0.5, 0.5
    if step < 50_000:
        return 1.0 - 0.5 * math.exp(-(step - 25_000) / 5_000), 0.5 - (0.5 / 25_000) * (
            step - 25_000
        )
    return 1.0, 0.0


@pytest.mark.parametrize("sampling", ["forward", "reverse"])
def test_the_chances_are_those_of_the_reference_in_80000_iterations(sampling):
    model, steps = PlusOne(sampling=sampling), range(0, 80_001, 250)
    found = [model.truth_shares(step / 80_000) for step in steps]
    np.testing.assert_allclose(
        found, [chances(sampling, step) for step in steps], rtol=0, atol=1e-12
    )


def test_the_schedules_are_stretched_with_sampling_until():
    assert PlusOne(sampling="forward", sampling_until=0.5).truth_shares(0.125) == (1.0, 0.75)
    assert PlusOne(sampling="reverse", sampling_until=1.0).truth_shares(0.4) == (0.5, 0.5)
    assert PlusOne(sampling="reverse", sampling_until=1.0).truth_shares(0.7) == pytest.approx(
        (1 - 0.5 * math.exp(-2), 0.3)
    )
    assert PlusOne(sampling="reverse", sampling_until=0.0).truth_shares(0.0) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("sampling", "step"),
    [
        ("forward", 0),
        ("forward", 20_000),
        ("forward", 40_000),
        ("reverse", 0),
        ("reverse", 30_000),
        ("reverse", 45_000),
        ("reverse", 60_000),
    ],
)
def test_the_truth_is_read_as_often_as_the_schedule_says_by_one_draw_per_sample_and_frame(
    sampling, step
):
    torch.manual_seed(0)
    model, samples = PlusOne(sampling=sampling), 20_000
    model.scheduled_sampling(TENS.expand(samples, -1, -1, -1, -1), None, 3, step / 80_000)
    read = torch.cat(model.read, dim=1).flatten(1)
    truth = read == TENS.flatten()[:5]
    assert torch.equal(
        read[:, 1:], torch.where(truth, TENS.flatten()[:5], F.pad(read, (1, 0))[:, :5] + 1)[:, 1:]
    )
    context, future = chances(sampling, step)
    expected = torch.tensor([1.0, context, context, future, future])
    torch.testing.assert_close(truth.float().mean(0), expected, rtol=0, atol=4 * 0.5 / samples**0.5)
    drawn = truth[:, (expected > 0) & (expected < 1)].float().T
    if len(drawn) > 1:  # frames are drawn independently of each other
        off_diagonal = torch.corrcoef(drawn) - torch.eye(len(drawn))
        assert off_diagonal.abs().max() < 4 / samples**0.5


def test_the_draws_follow_the_global_seed():
    def draw(seed):
        torch.manual_seed(seed)
        return PlusOne(sampling="reverse").scheduled_sampling(
            TENS.expand(50, -1, -1, -1, -1), None, 3, 0.1
        )

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))


def test_a_truth_in_scheduled_sampling_is_read_as_a_context_is_with_zeros_and_the_mask_where_it_was_not_observed():
    torch.manual_seed(0)
    observed = torch.rand(2, 6, 1, 3, 3) > 0.4
    window = torch.where(observed, torch.rand(2, 6, 1, 3, 3), math.nan)
    model = PlusOne(patch=2, sampling="forward", observed_channel=True)
    model.scheduled_sampling(window, observed, 3, 0.0)
    read = torch.stack(model.read, dim=1)
    model(window[:, :5], 1, observed[:, :5]).point()
    assert torch.equal(read, torch.stack(model.read, dim=1))
    value, mask = F.pixel_shuffle(read, 2).unbind(2)
    assert torch.equal(mask[..., :3, :3].bool(), observed[:, :5, 0])
    assert torch.equal(value[..., :3, :3], window[:, :5, 0].nan_to_num(0.0))


def test_what_is_fed_back_is_the_activated_forecast_all_of_it_observed():
    torch.manual_seed(0)
    model = ConvLSTMStack([3], kernel=3, patch=2, observed_channel=True)
    frames = torch.rand(1, 1, 2, 4, 6)
    raw = model.unroll(frames, 3)
    state = model.initial_state(1, 2, 3)
    frame = frames[:, 0]
    for t in range(3):
        folded, state = model.step(F.pixel_unshuffle(frame, 2), state)
        expected = F.pixel_shuffle(folded, 2)
        torch.testing.assert_close(raw[:, t], expected, rtol=0, atol=1e-6)
        frame = torch.cat([torch.sigmoid(expected), torch.ones(1, 1, 4, 6)], dim=1)


def test_the_gradient_flows_back_through_what_was_fed_back():
    frames = TENS.clone().requires_grad_()
    PlusOne().scheduled_sampling(frames, None, 3, 0.0)[0, -1].sum().backward()
    assert frames.grad.flatten().tolist() == [0, 0, 1, 0, 0, 0]


def network(kind, **settings):
    torch.manual_seed(0)
    return kind([3, 3], kernel=3, patch=2, **settings).double()


NETWORKS = pytest.mark.parametrize("kind", [ConvLSTMStack, PredRNN])


def window(*shape):
    torch.manual_seed(1)
    return torch.rand(shape, dtype=torch.float64), torch.rand(shape) > 0.3


@NETWORKS
@pytest.mark.parametrize(
    ("sampling", "progress"),
    [
        ("none", 0.2),
        ("forward", 0.0),
        ("forward", 0.3),
        ("reverse", 0.2),
        ("reverse", 0.5),
        ("reverse", 1.0),
    ],
)
@pytest.mark.parametrize("observed_channel", [False, True])
def test_a_sampled_forecast_of_a_frame_depends_on_no_frame_from_it_on(
    kind, sampling, progress, observed_channel
):
    model = network(kind, sampling=sampling, observed_channel=observed_channel)
    frames, observed = window(3, 6, 1, 4, 4)

    def sampled(frames, observed):
        torch.manual_seed(2)
        return model.scheduled_sampling(frames, observed, 3, progress)

    forecasts = sampled(frames, observed)
    for known in range(1, 6):
        other, others_mask = frames.clone(), observed.clone()
        other[:, known:] += 100
        others_mask[:, known:] ^= True
        assert torch.equal(sampled(other, others_mask)[:, :known], forecasts[:, :known])
    other = frames.clone()
    other[:, 0] += 1
    assert all((sampled(other, observed) != forecasts).flatten(2).any(2).flatten())


@NETWORKS
@pytest.mark.parametrize(
    ("sampling", "progress"), [("none", 0.0), ("forward", 0.7), ("reverse", 0.7)]
)
def test_without_the_truth_scheduled_sampling_of_the_future_is_the_forecast_bit_for_bit(
    kind, sampling, progress
):
    model = network(kind, sampling=sampling, observed_channel=True)
    frames, observed = window(2, 7, 1, 5, 7)
    sampled = model.scheduled_sampling(frames, observed, 4, progress)
    assert sampled.shape == (2, 6, 1, 5, 7)
    assert torch.equal(sampled[:, 3:], model(frames[:, :4], 3, observed[:, :4]).point())
    for known in range(1, 4):  # and in the context each is a forecast by one frame
        torch.testing.assert_close(
            sampled[:, known - 1 : known],
            model(frames[:, :known], 1, observed[:, :known]).point(),
            rtol=0,
            atol=1e-6,
        )


@NETWORKS
@pytest.mark.parametrize("sampling", ["none", "forward", "reverse"])
def test_hidden_values_never_act_not_in_the_gradient_either(kind, sampling):
    frames, observed = window(2, 5, 1, 4, 4)
    found = []
    for hidden in (0.5, math.nan, math.inf):
        model = network(kind, sampling=sampling)
        torch.manual_seed(2)
        model.scheduled_sampling(
            torch.where(observed, frames, hidden), observed, 3, 0.25
        ).sum().backward()
        found.append(torch.cat([weight.grad.flatten() for weight in model.parameters()]))
    assert found[0].isfinite().all()
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@NETWORKS
def test_a_longer_forecast_begins_with_the_shorter_one_and_any_context_will_do(kind):
    model = network(kind)
    frames, _ = window(1, 6, 1, 4, 4)
    for context in (1, 2, 6):
        torch.testing.assert_close(
            model(frames[:, :context], 7).point()[:, :2],
            model(frames[:, :context], 2).point(),
            rtol=0,
            atol=1e-7,
        )


@NETWORKS
@pytest.mark.parametrize("size", [(1, 1), (5, 7), (16, 3)])
def test_any_size_comes_back_and_equals_the_forecast_of_the_frame_extended_by_its_edge(kind, size):
    model = network(kind)
    context, _ = window(1, 2, 1, *size)
    extended = np.pad(
        context.numpy(), ((0, 0),) * 3 + tuple((0, -side % 2) for side in size), mode="edge"
    )
    expected = model(torch.from_numpy(extended), 3).point()[..., : size[0], : size[1]]
    torch.testing.assert_close(model(context, 3).point(), expected, rtol=0, atol=1e-7)


@NETWORKS
def test_states_stay_float32_under_bfloat16_autocast_and_the_forecast_close_to_that_of_float32(
    kind,
):
    model, states = network(kind, sampling="reverse").float(), []

    def flat(state):
        return (
            [state]
            if torch.is_tensor(state)
            else [tensor for part in state for tensor in flat(part)]
        )

    step = model.step
    model.step = lambda frame, state: states.append(flat(state)) or step(frame, state)
    frames, observed = window(2, 6, 1, 8, 8)
    plain = model(frames[:, :3].float(), 3).point()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        forecast = model(frames[:, :3].float(), 3).point()
        sampled = model.scheduled_sampling(frames.float(), observed, 3, 0.2)
    assert {tensor.dtype for state in states for tensor in state} == {torch.float32}
    assert (forecast.dtype, sampled.dtype) == (torch.float32, torch.float32)
    torch.testing.assert_close(forecast, plain, rtol=0, atol=0.01)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sampling": "backward"}, "sampling is 'backward'; accepted are none, forward, reverse"),
        ({"sampling_until": -0.1}, "sampling_until is -0.1; a share of the training, from 0 to 1"),
        ({"sampling_until": 50_000}, "a share of the training, from 0 to 1"),
        ({"patch": 0}, "patch is 0; it must be at least 1"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        PlusOne(**settings)


@pytest.mark.parametrize(
    ("shape", "context"),
    [
        ((1, 6, 1, 4, 4), 0),
        ((1, 6, 1, 4, 4), 6),
        ((1, 6, 2, 4, 4), 3),
        ((6, 1, 4, 4), 3),
        ((0, 6, 1, 4, 4), 3),
        ((1, 1, 1, 4, 4), 1),
    ],
)
def test_a_window_that_cannot_be_sampled_is_refused(shape, context):
    with pytest.raises(
        ValueError, match=r"and from 1 to T - 1 of its frames as context, are needed"
    ):
        PlusOne().scheduled_sampling(torch.zeros(shape), None, context, 0.0)
