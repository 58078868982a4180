"""The contract of statistics: a score of one's own, from its sums to tables, files and the report."""

import textwrap

import numpy as np
import pytest
from rich.console import Console

from nowcast.baselines.persistence import Persistence
from nowcast.data.base import Cases
from nowcast.drawing.curves import score_curves
from nowcast.evaluation import statistics
from nowcast.evaluation.plan import EvaluationPlan
from nowcast.evaluation.results import Results
from nowcast.evaluation.running import evaluate
from nowcast.evaluation.score_files import write_csv
from nowcast.evaluation.source import ModelSource
from nowcast.evaluation.statistics.base import Statistic
from nowcast.evaluation.statistics.moving_mnist import MovingMnistScores
from nowcast.evaluation.statistics.protocols import SevirScores
from nowcast.evaluation.statistics.rain import RainScores
from nowcast.evaluation.statistics.scores import Score, about, ratio
from nowcast.evaluation.statistics.sums import ScoreKey
from nowcast.evaluation.summary_scores import SummaryScores
from nowcast.evaluation.tables import difference_table, text_tables
from nowcast.evaluation.titles import best_models, direction
from nowcast.forecasting.forecaster import Forecaster
from nowcast.models.base import Capabilities
from nowcast.models.prediction import Ensemble, SingleField
from nowcast.runtime.errors import UserError
from nowcast.runtime.plugins import Plugin
from nowcast.types.task import Task
from nowcast.types.transform import Identity

ROOT_ERROR = ScoreKey("root_error")
RAIN = np.random.default_rng(3).gamma(0.5, 2, (6, 3, 4, 5)).astype(np.float32)


class RootError(Statistic):
    scores = {"root_error": Score("lower", title="error of square roots", unit="√(mm/h)")}

    def of(self, forecast, observation):
        error = np.abs(np.sqrt(forecast) - np.sqrt(observation))
        known = ~np.isnan(error)
        return {"error": error.sum((0, 2, 3), where=known), "pixels": known.sum((0, 2, 3))}

    def values(self, sums):
        return {"root_error": ratio(sums["error"], sums["pixels"])}


class WithSpread(RootError):
    """The same, and of ensembles the difference of the largest and the smallest member."""

    def ensemble(self, members):
        return Range()


class Range(Statistic):
    scores = {"member_range": Score(unit="mm/h")}

    def of(self, forecast, observation):
        assert forecast.ndim == 5 and observation.ndim == 4
        return {
            "range": np.ptp(forecast, axis=1).mean((2, 3)).sum(0),
            "cases": len(forecast) + np.zeros(2),
        }

    def values(self, sums):
        return {ScoreKey("member_range"): ratio(sums["range"], sums["cases"])}


class Given(Cases):
    def __len__(self):
        return len(RAIN)

    def case(self, epoch, index):
        return RAIN[index]


class Half(Persistence):
    def forward(self, context, forecast_length, observed=None, scale=None):
        last = super().forward(context, forecast_length, observed).point()
        return SingleField(last / 2)


class Pair(Persistence):
    capabilities = Capabilities(slow=True, members=True, own_members=2)

    def forward(self, context, forecast_length, observed=None, scale=None):
        last = super().forward(context, forecast_length, observed).point()
        return Ensemble(last[:, None] * last.new_tensor([1, 3]).reshape(1, 2, 1, 1, 1, 1))


def evaluated(statistic, baseline, workers=0):
    def forecaster(model):
        return Forecaster(model, Identity(), Task(1, 2, 5))

    settings = {
        "task": {
            "_target_": "nowcast.types.task.Task",
            "context_length": 1,
            "forecast_length": 2,
            "timestep": 5,
        },
        "scores": {"_target_": f"{__name__}.{type(statistic).__name__}"},
    }
    return evaluate(
        ModelSource({"nowcast": forecaster(Persistence())}, Given(), forecast_length=2),
        {"half": forecaster(baseline)},
        statistic,
        plan=EvaluationPlan(workers=workers, cache=None, show=False, draws=100),
        settings=settings,
    )


def printed(tables):
    console = Console(width=100, force_terminal=False)
    with console.capture() as capture:
        console.print(*tables)
    return " ".join(capture.get().split())


@pytest.mark.parametrize("workers", [0, 1])
def test_a_score_of_ones_own_is_evaluated_with_intervals_and_paired_differences(workers):
    results = evaluated(RootError(), Half(), workers)
    roots = np.sqrt(RAIN.astype(np.float64))
    by_lead = np.abs(roots[:, :1] - roots[:, 1:]).mean((0, 2, 3))
    estimate = results.estimates("nowcast")[ROOT_ERROR]
    assert estimate.value == pytest.approx([*by_lead, by_lead.mean()], rel=1e-5)
    assert (estimate.low < estimate.value).all() and (estimate.value < estimate.high).all()
    difference = results.differences("nowcast", "half")[ROOT_ERROR]
    halves = np.abs(roots[:, :1] / np.sqrt(2) - roots[:, 1:]).mean((0, 2, 3))
    assert difference.value[:2] == pytest.approx(by_lead - halves, rel=1e-4)


def test_a_score_of_ones_own_has_its_title_unit_and_direction_in_tables_files_and_pictures(
    tmp_path,
):
    results = evaluated(RootError(), Half())
    rows = {model: results.rows(model) for model in results.models}
    text = printed(text_tables(rows, lead_minutes=5))
    worse, better = (results.values(model)[ROOT_ERROR][-1] for model in ("nowcast", "half"))
    assert f"error of square roots lower {worse:.3f} {better:.3f}*" in text
    assert "error of square roots nowcast" in text  # and by lead time
    differences = {"half": results.differences("nowcast", "half")}
    assert "error of square roots half +" in printed(
        [difference_table("nowcast", differences, lead_minutes=5)]
    )
    write_csv(rows, tmp_path / "scores.csv", lead_minutes=5)
    assert "nowcast,root_error,,,5,0." in (tmp_path / "scores.csv").read_text()
    score_curves(rows, tmp_path / "scores.png", lead_minutes=5)
    scores = SummaryScores(results, ["nowcast"])
    assert scores.main == [ROOT_ERROR]
    assert scores.title(ROOT_ERROR) == "error of square roots [√(mm/h)]"
    assert direction("root_error") == "lower is better"
    assert best_models("root_error", {"a": 1.0, "b": 2.0}) == {"a"}


def test_an_evaluation_with_a_score_of_a_plug_in_reads_back(tmp_path, monkeypatch):
    results = evaluated(RootError(), Half())
    results.save(tmp_path)
    again = Results.load(tmp_path)
    with pytest.raises(UserError, match="RootError' is not a part of nowcast"):
        again.rows("nowcast")
    mine = Plugin("mine", __name__, "mine", "1.0")
    monkeypatch.setattr(
        "nowcast.runtime.build.plugin_of", lambda target: mine if mine.has(target) else None
    )
    assert repr(Results.load(tmp_path).rows("half")) == repr(results.rows("half"))


def test_a_score_of_ones_own_can_be_one_of_ensembles():
    results = evaluated(WithSpread(), Pair())
    assert results.members == {"half": 2}
    # one and three times the last frame
    expected = [2 * RAIN[:, 0].mean()] * 3
    assert results.values("half")[ScoreKey("member_range")] == pytest.approx(expected, rel=1e-5)
    with pytest.raises(UserError, match="RootError has no scores of ensembles; take scores=rain"):
        evaluated(RootError(), Pair())


def test_the_example_in_the_documentation_is_that_score():
    code = statistics.__doc__.split("::\n", 1)[1].split("\n``of``")[0]
    names = {"Statistic": Statistic, "Score": Score, "ratio": ratio, "np": np}
    exec(textwrap.dedent(code), names)
    example, fields = names["RootError"](), (RAIN[:, :2], RAIN[:, 1:])
    assert example.scored(example.of(*fields), 2)[ROOT_ERROR] == pytest.approx(
        RootError().scored(RootError().of(*fields), 2)[ROOT_ERROR]
    )


def test_statistics_of_nowcast_keep_the_contract():
    for statistic in (RainScores((0.5,), sal=True), MovingMnistScores(), SevirScores()):
        fields = RAIN[:, :2] / RAIN.max(), RAIN[:, 1:] / RAIN.max()
        once, sums = statistic.of(*fields), statistic.sums(2)
        sums.add(*fields)
        assert once.keys() == sums.totals().keys()
        for name, total in sums.totals().items():
            np.testing.assert_array_equal(once[name], total)
        assert all(values.shape == (3,) for values in statistic.scored(once, 2).values())
    assert (RainScores.quantity, SevirScores.quantity) == ("rain_rate", "grey_level")
    assert SevirScores.pooled and not RainScores.pooled
    assert RainScores().ensemble(3).members == 3 and SevirScores().ensemble(3) is None


def test_values_of_another_number_of_leads_are_named():
    class Wrong(RootError):
        def values(self, sums):
            return {"root_error": np.zeros(3)}

    with pytest.raises(UserError, match=r"Wrong has values of shape \(3,\) for the score 'root_er"):
        evaluated(Wrong(), Half()).values("nowcast")


def test_a_name_stands_for_one_score_and_a_direction_is_one_of_four():
    with pytest.raises(UserError, match="describes its score 'csi' as .*; choose another name"):
        type("Other", (RootError,), {"scores": {"csi": Score("lower")}})
    with pytest.raises(UserError, match="'upwards'; .* near 0 or an empty text where no direction"):
        Score("upwards")
    assert about("csi").better == "higher" and not about("unheard_of").shown
