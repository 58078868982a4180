"""A batch of samples: joined, moved to a device, and which of them count."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from nowcast.types.batch import Batch
from nowcast.types.scale import Scale


def sample(value, *, index=0, scale=(5.0, 1.0)):
    """One sequence of 2 context frames and 3 target frames."""
    complete = Batch.complete(torch.full((1, 2, 1, 4, 4), value), torch.zeros(1, 3, 1, 4, 4))
    key = torch.tensor([(7, index)])
    scale = None if scale is None else Scale.of_samples([scale])
    return Batch(**(vars(complete) | {"key": key, "scale": scale}))


def test_samples_are_joined_in_their_order_with_their_keys_and_scales():
    batch = Batch.of_samples([sample(1.0), sample(2.0, index=4, scale=(10.0, 2.0))])
    assert len(batch) == 2 and batch.forecast_length == 3
    assert batch.context[:, 0, 0, 0, 0].tolist() == [1, 2]
    assert batch.key.tolist() == [[7, 0], [7, 4]]
    assert batch.scale.timestep.tolist() == [5, 10] and batch.scale.spacing.tolist() == [1, 2]


def test_what_samples_have_not_a_batch_has_not():
    plain = Batch.complete(torch.zeros(1, 2, 1, 4, 4), torch.zeros(1, 3, 1, 4, 4))
    batch = Batch.of_samples([plain, plain])
    assert batch.key is None and batch.scale is None and batch.counts.tolist() == [True, True]
    assert Batch.of_samples([sample(1.0, scale=None)]).scale is None


def test_a_sample_with_an_index_below_0_does_not_count():
    assert Batch.of_samples([sample(1.0), sample(1.0, index=-3)]).counts.tolist() == [True, False]


@pytest.mark.parametrize("scale", [None, (5.0, 1.0)])
def test_a_batch_goes_to_a_device_as_a_whole(scale):
    with FakeTensorMode(allow_non_fake_inputs=True) as fake:
        batch = sample(1.0, scale=scale)
        tensors = {
            name: fake.from_tensor(value)
            for name, value in vars(batch).items()
            if isinstance(value, torch.Tensor)
        }
        moved = Batch(**tensors, scale=batch.scale).to("cuda", non_blocking=True)
        assert {getattr(moved, name).device.type for name in tensors} == {"cuda"}
        assert scale is None or moved.scale.timestep.device.type == "cuda"
