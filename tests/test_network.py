"""The borders all networks share, on a network that shows what it was given."""

import pytest
import torch

from nowcast.models.network import Network


class Last(Network):
    """Repeats what it sees of the last frame: value plus 10 times the mask."""

    def __init__(self, *, multiple=1, output="linear", observed_channel=False, context_length=1):
        super().__init__(
            multiple=multiple,
            output=output,
            observed_channel=observed_channel,
            context_length=context_length,
        )

    def unroll(self, frames, forecast_length):
        self.seen = frames
        raw = frames[:, -1:, :1] + (10 * frames[:, -1:, 1:] if self.channels == 2 else 0)
        return raw.expand(-1, forecast_length, -1, -1, -1)


ROW = torch.tensor([1.0, 2.0, 3.0]).reshape(1, 1, 1, 1, 3)
MASK = torch.tensor([True, False, True]).reshape(1, 1, 1, 1, 3)


def test_what_was_not_observed_is_zero_whatever_stood_there():
    for hidden in (2.0, -7.0, float("nan"), float("inf")):
        context = torch.where(MASK, ROW, hidden)
        assert Last()(context, 1, MASK).point().flatten().tolist() == [1, 0, 3]


def test_the_mask_is_a_second_channel_where_asked_for():
    assert Last(observed_channel=True)(ROW, 1, MASK).point().flatten().tolist() == [11, 0, 13]
    assert Last(observed_channel=True)(ROW, 1).point().flatten().tolist() == [11, 12, 13]


def test_frames_are_padded_by_their_edge_which_counts_as_unobserved_and_cut_back():
    model = Last(multiple=4, observed_channel=True)
    assert model(ROW, 2, MASK).point().shape == (1, 2, 1, 1, 3)
    assert model.seen.shape == (1, 1, 2, 4, 4)
    assert model.seen[0, 0, 0].tolist() == [[1, 0, 3, 3]] * 4
    assert model.seen[0, 0, 1].tolist() == [[1, 0, 1, 0], [0] * 4, [0] * 4, [0] * 4]


def test_a_sigmoid_is_taken_at_the_end_and_of_what_is_fed_back():
    model = Last(output="sigmoid", observed_channel=True)
    torch.testing.assert_close(model(ROW, 1).point(), torch.sigmoid(ROW + 10))
    fed = model.as_input(torch.zeros(1, 1, 1, 2))
    assert fed.flatten().tolist() == [0.5, 0.5, 1, 1]
    assert Last().as_input(torch.zeros(1, 1, 1, 2)).flatten().tolist() == [0, 0]


def test_a_context_longer_than_the_network_was_made_for_is_welcome_a_shorter_one_not():
    assert Last(context_length=2)(ROW.expand(1, 3, 1, 1, 3), 1).point().shape == (1, 1, 1, 1, 3)
    with pytest.raises(ValueError, match="Last expected at least 2 context frames, got 1"):
        Last(context_length=2)(ROW, 1).point()


@pytest.mark.parametrize(
    ("shape", "length"),
    [
        ((1, 2, 4, 4), 2),
        ((1, 2, 3, 4, 4), 2),
        ((1, 2, 1, 4, 4), 0),
        ((1, 0, 1, 4, 4), 2),
        ((1, 1, 1, 0, 4), 2),
    ],
)
def test_a_wrong_context_or_length_is_refused(shape, length):
    with pytest.raises(
        ValueError, match="without an empty axis and a forecast length of at least 1, got"
    ):
        Last()(torch.zeros(shape), length).point()


@pytest.mark.parametrize("mask", [MASK.expand(3, 1, 1, 1, 3), MASK.float(), MASK[..., :2]])
def test_a_mask_that_is_not_of_the_context_is_refused(mask):
    with pytest.raises(
        ValueError,
        match=r"expected a boolean observed mask of the shape of the frames, \(1, 1, 1, 1, 3\)",
    ):
        Last()(ROW, 1, mask).point()


def test_an_unknown_output_and_a_length_of_zero_are_refused():
    with pytest.raises(ValueError, match="output is 'relu'; accepted are sigmoid and linear"):
        Last(output="relu")
    with pytest.raises(ValueError, match="context_length is 0; it must be at least 1"):
        Last(context_length=0)
