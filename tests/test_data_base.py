"""A data set of one's own needs no more than the contract says."""

import numpy as np
import pytest

from nowcast.data.base import Cases, DataSet
from nowcast.data.moving_mnist import MovingMnist
from nowcast.data.sampling import SequenceDataset
from nowcast.data.synthetic_rain import SyntheticRain
from nowcast.evaluation.source import ModelSource
from nowcast.types.task import Task
from nowcast.types.transform import Identity


class Few(Cases):
    """Two cases of four frames of 3 x 5 pixels, and how often they were read."""

    def __init__(self):
        self.read = 0

    def __len__(self):
        return 2

    def case(self, epoch, index):
        self.read += 1
        return np.full((4, 3, 5), index, np.float32)


def test_cases_with_a_length_and_values_alone_have_no_time_no_scale_and_no_place():
    few = Few()
    assert (few.scale(0, 1), few.analysis_time(1), few.source(1)) == (None, None, "")
    assert few.grid_of(1) is None and few.stride_hours == 0
    assert [few.size_of(index) for index in (0, 1, 0)] == [(3, 5)] * 3 and few.read == 1


def test_such_cases_train_and_are_evaluated():
    sample = SequenceDataset(Few(), Identity(), context_length=3)[0, 1]
    assert sample.scale is None and sample.target.shape == (1, 1, 1, 3, 5)
    source = ModelSource({}, Few(), forecast_length=1)
    assert source.ranges() == [range(0, 2)] and source.title(1) == "case 1"


def test_what_a_data_set_lacks_is_named_when_it_is_made():
    class WithoutValues(Cases):
        def __len__(self):
            return 1

    with pytest.raises(TypeError, match="abstract method '?case"):
        WithoutValues()


def test_data_that_are_made_anew_have_no_bounds_to_keep():
    mnist, rain = Task(1, 1, 1, "grey_level"), Task(1, 1)
    for data in (MovingMnist(mnist, 1), SyntheticRain(rain, 1, size=32)):
        assert isinstance(data, DataSet) and data.bounds() == {}
