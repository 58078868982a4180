import numpy as np
import pytest

from nowcast.evaluation import evaluate
from nowcast.forecaster import Forecaster
from nowcast.models.persistence import Persistence
from nowcast.task import Task
from nowcast.transform import Identity
from nowcast.verification.rain import RainScores


class Cases:
    def __init__(self, values):
        self.values = np.asarray(values, dtype=np.float32)

    def __len__(self):
        return len(self.values)

    def case(self, epoch, index):
        return self.values[index]


class Double(Persistence):
    """Twice the last frame, without a forecast in the first column."""

    def forward(self, context, forecast_length, observed=None):
        forecast = super().forward(context, forecast_length, observed).clone() * 2
        forecast[..., 0] = float("nan")
        return forecast


def forecaster(model):
    return Forecaster(model, Identity(), Task(1, 1))


def overall(sums, score):
    return {name: next(row.value for row in total.rows() if row.score == score and row.lead is None) for name, total in sums.items()}


def test_all_models_are_scored_over_the_pixels_that_all_of_them_forecast_and_that_were_observed():
    # one case, one row of four pixels: context 1 1 1 1, observation 9 1 2 missing
    cases = Cases([[[[1, 1, 1, 1]], [[9, 1, 2, np.nan]]]])
    sums = evaluate({"persistence": forecaster(Persistence()), "double": forecaster(Double())}, cases, RainScores([0.5]), forecast_length=1)
    # left are the second and third pixel: |1-1| + |1-2| and |2-1| + |2-2|
    assert overall(sums, "mae") == {"persistence": 0.5, "double": 0.5}
    assert overall(sums, "mse") == {"persistence": 0.5, "double": 0.5}


def test_batches_of_any_size_give_the_same_sums(monkeypatch):
    cases = Cases(np.random.default_rng(0).gamma(0.5, 2, (7, 3, 4, 4)))
    results = []
    for pixels in (1, 48, 2**18):
        monkeypatch.setattr("nowcast.evaluation.PIXELS_PER_BATCH", pixels)
        sums = evaluate({"persistence": forecaster(Persistence())}, cases, RainScores([1.0]), forecast_length=1)
        results.append([row.value for row in sums["persistence"].rows()])
    np.testing.assert_allclose(results[1], results[0], rtol=1e-12)
    np.testing.assert_allclose(results[2], results[0], rtol=1e-12)


def test_progress_sees_every_batch():
    seen = []
    evaluate({"p": forecaster(Persistence())}, Cases(np.zeros((3, 2, 2, 2))), RainScores([1.0]), forecast_length=1,
             progress=lambda items: [seen.append(item) or item for item in items])
    assert seen == [0]


def test_nothing_to_evaluate_is_refused():
    with pytest.raises(ValueError, match="there is no case to evaluate"):
        evaluate({"p": forecaster(Persistence())}, Cases(np.zeros((0, 2, 2, 2))), RainScores([1.0]), forecast_length=1)
