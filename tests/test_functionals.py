"""Which number of a distribution is forecast, and by which it is judged."""

import math
import re
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
import xarray
from factories import grid, write_archive

from nowcast.baselines.persistence import Persistence
from nowcast.cli import main
from nowcast.evaluation.judged import forecast_of, forecast_of_members
from nowcast.evaluation.plan import EvaluationPlan
from nowcast.evaluation.results import Results
from nowcast.evaluation.results_text import text_of
from nowcast.evaluation.running import evaluate
from nowcast.evaluation.score_files import read_csv, write_csv
from nowcast.evaluation.source import MadeForecasts
from nowcast.evaluation.statistics.base import Statistic
from nowcast.evaluation.statistics.by_functional import ByFunctional
from nowcast.evaluation.statistics.probability import ProbabilityScores
from nowcast.evaluation.statistics.rain import RainScores
from nowcast.evaluation.statistics.scores import Score, ScoreRow
from nowcast.evaluation.statistics.sums import ScoreKey
from nowcast.forecasting.forecaster import Forecaster
from nowcast.forecasting.replay import OPERATION, replay
from nowcast.models.base import Capabilities, ForecastModel
from nowcast.models.prediction import DrawnEnsemble, Ensemble, SingleField
from nowcast.output import geotiff, netcdf
from nowcast.page.content import forecast_content
from nowcast.page.opened import open_files
from nowcast.readers.cf_netcdf import CfNetcdf
from nowcast.runtime.build import as_settings
from nowcast.runtime.errors import UserError
from nowcast.training.comparison.table import Result, note_on_functionals
from nowcast.types.frames import Frames
from nowcast.types.functional import Functional, in_words
from nowcast.types.task import Task
from nowcast.types.transform import Identity

# three values of equal chance: mean 2, median 0, 1 mm/h reached with a probability of a third
VALUES = (0.0, 0.0, 6.0)
GRID = grid(8, 12)


def ensemble(*pixels):
    """(1, M, 1, 1, 1, W) of the members of each pixel."""
    return torch.tensor(pixels).T.reshape(1, len(pixels[0]), 1, 1, 1, len(pixels))


class ThreeValues(ForecastModel):
    """Says of every pixel that it has one of three values."""

    capabilities = Capabilities(probabilistic=True)

    def __init__(self, values=VALUES):
        super().__init__()
        self.values, self.calls = values, 0

    def forward(self, context, forecast_length, observed=None, scale=None):
        self.calls += 1
        last = torch.ones_like(context[:, -1:]).expand(-1, forecast_length, -1, -1, -1)
        return Ensemble(torch.stack([value * last for value in self.values], dim=1))


def forecaster(model=None, context=2, length=2):
    return Forecaster(model or ThreeValues(), Identity(), Task(context, length, 5))


def frames(rates, count=2):
    """Frames of one rate each, on the grid."""
    times = np.datetime64("2020-06-01T00:00", "s") + 300 * np.arange(count)
    return Frames(np.full((count, *GRID.shape), rates, np.float32), times, GRID)


def test_a_functional_reads_back_from_its_words():
    for text in ("mean", "median", "quantile:0.9", "event:1", "event:0.5@0.2"):
        assert str(Functional.parse(text)) == text
    assert Functional.parse("event:1@0.25") == ("event", 1.0, 0.25)
    assert in_words("quantile:0.9") == "90 % quantile" and in_words("") == ""
    assert in_words("event:1@0.2") == "yes or no: ≥ 1 mm/h from 20 % on"


@pytest.mark.parametrize(
    "text",
    ["mode", "quantile", "quantile:1", "event:0", "event:nan", "event:1@", "event:1@1", "mean:1"]
    + ["event:1@0", "quantile:0.5@0.2", 0.9, "event:1@x"],
)
def test_what_is_no_functional_is_refused(text):
    with pytest.raises(UserError, match=r"expected mean, median, quantile:P .*, got "):
        Functional.parse(text)


def test_mean_median_quantile_and_decision_of_three_values_differ():
    prediction = ensemble(VALUES)
    found = {
        name: Ensemble(prediction).point(name).item()
        for name in ("mean", "median", "quantile:0.75", "event:1", "event:1@0.3", "event:1@0.4")
    }
    # yes promises a CSI of 1/3, no promises 0; at a cost of 0.4 of the loss it does not pay
    assert found == pytest.approx(
        {"mean": 2, "median": 0, "quantile:0.75": 3, "event:1": 1, "event:1@0.3": 1}
        | {"event:1@0.4": 0}
    )


def test_each_field_of_an_ensemble_decides_where_an_event_promises_the_best_csi():
    # of two members: probabilities 1, 0.5, 0.5, 0: 1 / (1 + 1), 2 / 3 for three, 2 / 4 for all
    members = ensemble((2.0, 2.0), (2.0, 0.0), (0.0, 2.0), (0.0, 0.0), (math.nan, 2.0))
    event = Ensemble(members).point("event:1.5").flatten()
    assert event[:4].tolist() == [1.5, 1.5, 1.5, 0] and event[4].isnan()


def test_a_quantile_of_many_members_is_that_of_numpy():
    values = torch.rand(2, 7, 3, 1, 5, 6)
    found = Ensemble(values).point("quantile:0.85")
    expected = np.quantile(values.numpy(), 0.85, axis=1)
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-6)


def test_a_single_field_is_the_answer_to_whatever_is_asked():
    field = SingleField(torch.tensor([0.5, 2.0, math.nan]).reshape(1, 1, 1, 1, 3))
    points, exceedance = field.answers(["mean", "median", "quantile:0.9", "event:1@0.9"], [1.0])
    for found in points[:3]:
        assert torch.equal(found.nan_to_num(), field.values.nan_to_num())
    for found in (points[3], exceedance[:, 0]):
        assert found.flatten().tolist()[:2] == [0, 1] and found.flatten()[2].isnan()


def test_members_are_drawn_once_for_all_that_is_asked():
    draws = []

    def draw(count, generator):
        draws.append(count)
        return torch.rand(1, count, 1, 1, 2, 2)

    prediction = DrawnEnsemble(draw, 4, best=lambda: torch.zeros(1, 1, 1, 2, 2))
    points, exceedance = prediction.answers([None, "mean", "event:0.5"], [0.5])
    assert draws == [4] and points[0].sum() == 0 and points[1].sum() > 0
    assert exceedance.shape == (1, 1, 1, 1, 2, 2)
    prediction.answers([None])
    assert draws == [4]


def test_a_forecast_says_which_number_it_is_and_brings_the_mean_for_its_sums():
    model = ThreeValues()
    made = {
        point: forecaster(model)(frames(1.0), point=point, thresholds=(1.0,))
        for point in (None, "mean", "median", "event:3")
    }
    assert model.calls == 4  # one pass each, whatever is asked
    assert made[None].point == made["mean"].point == "mean" and made["mean"].expected is None
    assert (made["mean"].values == 2).all()
    for point, value in (("median", 0), ("event:3", 3)):
        assert made[point].point == point
        assert (made[point].values == value).all() and (made[point].expected == 2).all()
    assert np.allclose(made["event:3"].probability, 1 / 3)
    assert "values        median" in repr(made["median"])


def test_a_model_of_one_field_forecasts_it_whatever_is_asked_but_yes_or_no():
    still = forecaster(Persistence())
    for point in (None, "median", "quantile:0.9"):
        forecast = still(frames(1.5), point=point)
        assert forecast.point == "" and (forecast.values == 1.5).all()
    event = still(frames(1.5), point="event:1")
    assert event.point == "event:1" and (event.values == 1).all() and (event.expected == 1.5).all()
    with pytest.raises(UserError, match="expected mean, median"):
        still(frames(1.5), point="mode")


def showers(count=10):
    """Showers that move to the right, and come from nowhere."""
    rows, columns = np.mgrid[:48, :60]
    fields = [
        12 * np.exp(-((rows - 24) ** 2 + (columns - 10 - 2 * t) ** 2) / 60) for t in range(count)
    ]
    return np.where(np.stack(fields) < 0.1, 0, fields).astype(np.float32)


def test_predict_writes_what_was_asked_for_and_the_file_picture_and_page_say_it(tmp_path, capsys):
    write_archive(tmp_path / "a.nc", showers(), range(0, 50, 5))
    found = {}
    for point in ("null", "median", "quantile:0.9", "event:1", "event:1@0.2"):
        path = tmp_path / f"{re.sub('[:@.]', '_', point)}.nc"
        typed = [f"input={tmp_path}/a.nc", f"output={path}", "forecast_length=6"]
        main(["predict", *typed, f"point={point}", "pictures=false"])
        products = found[point] = netcdf.read_products(path)
        own = "mean" if point == "null" else point
        assert netcdf.read_attributes(path)["nowcast_point"] == products.forecast.point == own
        assert f"({in_words(own)})" in capsys.readouterr().out
        # the same accumulation, of the means
        np.testing.assert_array_equal(products.depth, found["null"].depth)
    mean, median, upper, event, risk = (one.forecast.values for one in found.values())
    known = ~np.isnan(mean)
    assert (upper[known] >= median[known]).all() and not np.array_equal(mean, median)
    assert set(np.unique(event[known])) == {0, 1} and (event == 1).sum() < (risk == 1).sum()
    probability = found["null"].probability[1]  # in whole per cent
    assert (probability[risk == 1] >= 0.195).all() and (probability[risk == 0] <= 0.205).all()
    with xarray.open_dataset(tmp_path / "median.nc") as data:
        assert data["rainfall_rate"].attrs["nowcast_point"] == "median"
        assert "median of the predicted distribution" in data["rainfall_rate"].attrs["long_name"]
    opened = open_files(tmp_path / "event_1.nc", reader=CfNetcdf(), last=1)
    assert opened.content.layers[0].title == "Rain rate, yes or no: ≥ 1 mm/h"
    assert ("Of its distribution", "yes or no: ≥ 1 mm/h") in opened.about


def test_predict_refuses_what_is_no_functional_and_says_what_a_single_field_is(tmp_path, capsys):
    write_archive(tmp_path / "a.nc", showers(), range(0, 50, 5))
    typed = ["predict", f"input={tmp_path}/a.nc", f"output={tmp_path}/f.nc", "pictures=false"]
    with pytest.raises(SystemExit):
        main([*typed, "point=mode"])
    assert "point=mode: expected mean, median, quantile:P" in capsys.readouterr().err
    assert not (tmp_path / "f.nc").exists()
    settings = {
        "task": as_settings(Task(2, 2, 5)),
        "transform": as_settings(Identity()),
        "model": {"_target_": "nowcast.baselines.persistence.Persistence"},
    }
    Forecaster.from_settings(settings).save(tmp_path / "still")
    main([*typed, f"run={tmp_path}/still", "point=median"])
    said = "the model predicts a single field, which is written for point=median, too"
    assert said in capsys.readouterr().out
    assert "nowcast_point" not in netcdf.read_attributes(tmp_path / "f.nc")


def test_odim_and_geotiff_say_which_number_they_are_and_geotiff_reads_it_back(tmp_path):
    forecast = forecaster()(frames(1.0), point="event:3@0.2")
    forecast.save(tmp_path / "f.tif")
    read, tags = geotiff.read_geotiff(tmp_path / "f.tif")
    assert read.point == tags["nowcast_point"] == "event:3@0.2"
    (first, *_) = forecast.save(tmp_path / "f.h5")
    with h5py.File(first) as file:
        assert file["how"].attrs["nowcast_point"].decode() == "event:3@0.2"
    assert forecast.to_xarray()["rainfall_rate"].attrs["nowcast_point"] == "event:3@0.2"


def test_watch_and_replay_publish_the_number_that_was_asked_for(tmp_path):
    still = frames(1.0, count=5)
    operation = replace(OPERATION, point="median")
    cycles = replay(still, forecaster(), tmp_path / "out", every=0, operation=operation)
    assert all(cycle.outcomes == ("forecast",) for cycle in cycles)
    first, *_, last = sorted((tmp_path / "out").glob("forecast_*.nc"))
    assert netcdf.read_attributes(last)["nowcast_point"] == "median"
    # made of one frame by persistence, which is a single field
    assert "nowcast_point" not in netcdf.read_attributes(first)
    with pytest.raises(UserError, match="expected mean, median"):
        replace(OPERATION, point="mode")


def test_sums_of_a_median_are_not_shown_as_rain():
    forecast = forecaster()(frames(1.0), point="median")
    names = [layer.name for layer in forecast_content(forecast).layers]
    assert "depth" in names  # of the means, which came along
    alone = replace(forecast, expected=None)
    assert "depth" not in [layer.name for layer in forecast_content(alone).layers]
    with pytest.raises(UserError, match="expected mean rates of shape"):
        replace(forecast, expected=np.zeros((1, *GRID.shape), np.float32))


def scored(model, came, scores):
    """Results of one case in which a rate came at all pixels."""
    context = frames(1.0)
    own = forecast_of(forecaster(model), context.values[None], 2, None, scores)
    beside = np.full((2, *GRID.shape), 1.0, np.float32)
    task, later = Task(2, 2, 5), replace(came, times=came.times + np.timedelta64(600, "s"))
    return evaluate(
        MadeForecasts(context, later, {"model": own, "still": beside}),
        {},
        scores,
        plan=EvaluationPlan(workers=0, cache=None, show=True),
        settings={"task": as_settings(task), "scores": as_settings(scores)},
    )


def test_each_score_is_of_the_number_that_it_rewards():
    scores = RainScores(thresholds=(1.0, 10.0), windows=(3,), pools=(4,), spectra=True)
    results = scored(ThreeValues(), frames(0.0), scores)
    values = results.values("model")
    assert values[ScoreKey("mse")][-1] == 4 and values[ScoreKey("mean_error")][-1] == 2
    assert values[ScoreKey("mae")][-1] == 0
    pixels = math.prod(GRID.shape)
    for window in (1, 4):  # yes everywhere, and nothing came
        counts = [values[ScoreKey(name, 1.0, window)][0] for name in ("hits", "false_alarms")]
        assert counts == [0, pixels if window == 1 else pixels // 16]
    assert values[ScoreKey("false_alarms", 10.0, 1)][-1] == 0
    assert values[ScoreKey("brier", 1.0)][-1] == pytest.approx(1 / 9)
    # no more than a third is promised, from the bin on that a third is in
    assert 0.3 < values[ScoreKey("decision_probability", 1.0)][-1] <= 1 / 3
    said = {row.score: row.functional for row in results.rows("model")}
    assert (said["mse"], said["mae"], said["csi"], said["fss"]) == (
        *("mean", "median"),
        *("decision", "decision"),
    )
    assert (said["brier"], said["b_mae"], said["effective_resolution"]) == (
        *("distribution", "median", "mean"),
    )
    assert {row.functional for row in results.rows("still")} == {"field"}
    assert (results.shown[0].forecasts["model"] == 2).all()
    assert "judged by" in text_of(results) and "model predicts a distribution" in text_of(results)


def test_an_evaluation_by_functionals_is_kept_and_an_older_one_is_read(tmp_path):
    results = scored(ThreeValues(), frames(6.0), RainScores(thresholds=(1.0,), cost_loss=()))
    results.save(tmp_path)
    again = Results.load(tmp_path)
    assert repr(again.rows("model")) == repr(results.rows("model"))
    reliability = again.reliability("model", 1.0)
    known = reliability.share > 0
    assert reliability.probability[known].tolist() == pytest.approx([1 / 3])
    assert reliability.frequency[known].tolist() == [1]
    older = replace(results, probabilities={}, facts={})
    older.save(tmp_path)
    assert {row.functional for row in Results.load(tmp_path).rows("model")} == {"field"}
    rows = {"model": results.rows("model")}
    write_csv(rows, tmp_path / "scores.csv", lead_minutes=5)
    assert repr(read_csv(tmp_path / "scores.csv", lead_minutes=5)) == repr(rows)
    lines = (tmp_path / "scores.csv").read_text().splitlines()
    written = "\n".join(line.rsplit(",", 4)[0] for line in lines)  # without the last four columns
    (tmp_path / "scores.csv").write_text(written)
    found = read_csv(tmp_path / "scores.csv", lead_minutes=5)["model"]
    assert {row.functional for row in found} == {""}
    assert repr(found) == repr([row._replace(functional="") for row in rows["model"]])


def test_the_yes_no_forecasts_of_a_lead_are_made_at_one_probability_of_all_cases():
    # case 1: 0.4 at two pixels, case 2: 0.1 at two; 0.8 / (2 + 0.2) = 0.36, 1 / 4 = 0.25
    probability = np.array([[0.4, 0.4], [0.1, 0.1]], np.float32).reshape(2, 1, 1, 1, 2)
    came = np.array([[2.0, 0.0], [2.0, 0.0]], np.float32).reshape(2, 1, 1, 2)
    sums = ProbabilityScores((1.0,)).sums(1)
    sums.add(probability[:1], came[:1])
    other = ProbabilityScores((1.0,)).sums(1)
    other.add(probability[1:], came[1:])
    values = sums.values((sums + other).totals())
    counts = [values[ScoreKey(name, 1.0, 1)].item() for name in ("hits", "misses", "false_alarms")]
    assert counts == [1, 1, 1] and values[ScoreKey("csi", 1.0, 1)].item() == pytest.approx(1 / 3)
    assert 0.1 < values[ScoreKey("decision_probability", 1.0)].item() <= 0.4
    # (0.36 + 0.16 + 0.81 + 0.01) / 4
    assert values[ScoreKey("brier", 1.0)].item() == pytest.approx(0.335)
    with pytest.raises(UserError, match="expected probabilities of shape"):
        sums.add(probability[:, 0], came)


def test_the_brier_score_and_roc_area_of_probabilities_are_those_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(0)
    probability = (random.random((3, 1, 2, 20, 20)) ** 2).astype(np.float32)
    came = (random.random((3, 2, 20, 20)) < probability[:, 0]).astype(np.float32)
    sums = ProbabilityScores((1.0,)).sums(2)
    sums.add(probability, came)
    values = sums.values(sums.totals())
    for lead in (0, 1):
        event, chance = came[:, lead].ravel(), probability[:, 0, lead].ravel()
        found = values[ScoreKey("brier", 1.0)][lead]
        assert found == pytest.approx(metrics.brier_score_loss(event, chance), abs=1e-6)
        area = metrics.roc_auc_score(event, chance)
        assert values[ScoreKey("roc_area", 1.0)][lead] == pytest.approx(area, abs=0.002)


def test_members_are_judged_by_their_mean_median_and_shares():
    members = np.array(VALUES, np.float32).reshape(1, 3, 1, 1, 1)
    found = forecast_of_members(members, RainScores(thresholds=(1.0,)))
    assert isinstance(found, ByFunctional) and found.mean.item() == 2
    assert found.field("median").item() == 0 and found.field("event:1").item() == 1
    assert found.probability.item() == pytest.approx(1 / 3)
    assert forecast_of_members(members, None).item() == 2


def test_a_comparison_says_what_is_judged_by_which_number_and_what_is_older():
    def result(model, *functionals):
        rows = [ScoreRow("mse", None, None, None, 1.0, functional=text) for text in functionals]
        return Result(model, 1, 10, rows)

    whole, still = result("A", "mean", "median"), result("persistence", "field")
    assert note_on_functionals([still]) == note_on_functionals([result("B", "")]) == []
    (said,) = note_on_functionals([whole, still])
    assert said.startswith("A: each score is of the number of the predicted distribution")
    _, older = note_on_functionals([whole, still, result("B", "")])
    assert older.startswith("B: evaluated by an older nowcast")


class UpperErrors(Statistic):
    """A score of somebody else's, of an upper quantile."""

    functional = "quantile:0.75"
    scores = {"upper_error": Score("lower", title="error of the upper quartile")}

    def of(self, forecast, observation):
        return {"error": np.abs(forecast - observation).mean((0, 2, 3))}

    def values(self, sums):
        return {"upper_error": sums["error"]}


def test_a_score_of_another_package_is_given_the_number_that_it_names():
    results = scored(ThreeValues(), frames(0.0), UpperErrors())
    assert results.values("model")[ScoreKey("upper_error")][-1] == 3
    assert results.scores.judged_by("upper_error") == "quantile:0.75"


def test_no_other_field_of_a_distribution_has_smaller_errors_than_its_own_functional():
    """Over rain drawn from it, the mean has the smallest squared and the median the smallest
    absolute errors, and no other probability than the promised one the better CSI.
    """
    random = np.random.default_rng(1)
    scale = random.gamma(0.5, 2, (1, 1, 60, 60)).astype(np.float32)
    members = scale[:, None] * random.gamma(0.4, 2, (1, 60, 1, 60, 60)).astype(np.float32)
    came = scale * random.gamma(0.4, 2, (1, 1, 60, 60)).astype(np.float32)
    found = forecast_of_members(members, RainScores(thresholds=(2.0,)))
    fields = {name: found.field(name) for name in ("mean", "median")}
    fields["upper"] = np.quantile(members, 0.75, axis=1).astype(np.float32)
    squared = {name: ((field - came) ** 2).mean() for name, field in fields.items()}
    absolute = {name: np.abs(field - came).mean() for name, field in fields.items()}
    assert min(squared, key=squared.get) == "mean" and min(absolute, key=absolute.get) == "median"

    def csi(yes):
        return (yes & (came >= 2)).sum() / (yes | (came >= 2)).sum()

    own = csi(found.fields["event:2"])
    for probability in (0.5, 0.7, 0.02):
        assert own > csi(found.probability[:, 0] >= probability)
    assert own > csi(fields["mean"] >= 2) and own > csi(fields["median"] >= 2)
