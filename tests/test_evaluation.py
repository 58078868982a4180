from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch

from nowcast.baselines.persistence import Persistence
from nowcast.data.base import Cases
from nowcast.evaluation.batches import _identity
from nowcast.evaluation.blocks import by_time, groups
from nowcast.evaluation.cache import ForecastCache
from nowcast.evaluation.plan import EvaluationPlan
from nowcast.evaluation.results import Results
from nowcast.evaluation.running import evaluate
from nowcast.evaluation.shown import small
from nowcast.evaluation.source import ModelSource
from nowcast.evaluation.statistics.moving_mnist import MovingMnistScores
from nowcast.evaluation.statistics.rain import RainScores
from nowcast.evaluation.statistics.sums import ScoreKey
from nowcast.forecasting.forecaster import Forecaster
from nowcast.models.base import Capabilities
from nowcast.models.prediction import Ensemble, SingleField
from nowcast.runtime.build import build_part
from nowcast.runtime.errors import UserError
from nowcast.types.scale import Scale
from nowcast.types.task import Task
from nowcast.types.transform import Identity

HERE = EvaluationPlan(workers=0, cache=None, show=False)
START = np.datetime64("2020-06-01T00:00", "s")
SCORES = {"_target_": "nowcast.evaluation.statistics.rain.RainScores", "thresholds": [0.5]}


class Plain(Cases):
    def __init__(self, values):
        self.values = np.asarray(values, dtype=np.float32)

    def __len__(self):
        return len(self.values)

    def case(self, epoch, index):
        return self.values[index]


class TimedCases(Plain):
    def __init__(self, values, hours):
        super().__init__(values)
        self.hours = hours

    def analysis_time(self, index):
        return START + np.timedelta64(int(60 * self.hours[index]), "m")


class Double(Persistence):
    """Twice the last frame, without a forecast in the first column."""

    def forward(self, context, forecast_length, observed=None, scale=None):
        forecast = super().forward(context, forecast_length, observed).point() * 2
        forecast[..., 0] = float("nan")
        return SingleField(forecast)


class Fails(Persistence):
    """A slow baseline that refuses contexts without rain."""

    capabilities = Capabilities(slow=True)

    def forward(self, context, forecast_length, observed=None, scale=None):
        if not (context > 0).any():
            raise ValueError("no rain to follow\nsecond line")
        return SingleField(super().forward(context, forecast_length, observed).point() + 1)


class Triple(Persistence):
    """Three members: 0, 1 and 2 times the last frame."""

    capabilities = Capabilities(slow=True, members=True, own_members=3)

    def forward(self, context, forecast_length, observed=None, scale=None):
        last = super().forward(context, forecast_length, observed).point()
        return Ensemble(torch.stack([0 * last, last, 2 * last], dim=1))


def forecaster(model, context_length=1, forecast_length=1):
    return Forecaster(model, Identity(), Task(context_length, forecast_length))


def evaluated(
    cases,
    baselines=None,
    scores=None,
    *,
    forecast_length=1,
    plan=HERE,
    limit=None,
    model=None,
    members=0,
):
    source = ModelSource(
        {"nowcast": model or forecaster(Persistence(), 1, forecast_length)},
        cases,
        forecast_length=forecast_length,
        limit=limit,
        members=members,
    )
    task = {
        "_target_": "nowcast.types.task.Task",
        "context_length": 1,
        "forecast_length": forecast_length,
    }
    scores = scores or RainScores((0.5,))
    settings = {"task": task, "scores": SCORES}
    return evaluate(
        source,
        {name: forecaster(model, 1, forecast_length) for name, model in (baselines or {}).items()},
        scores,
        plan=plan,
        settings=settings,
    )


def overall(results, score):
    return {
        model: next(
            row.value for row in results.rows(model) if row.score == score and row.lead is None
        )
        for model in results.models
    }


def same(one, other):
    assert one.models == other.models and one.blocks == other.blocks
    for model in one.models:
        for name, array in one.totals[model].items():
            np.testing.assert_array_equal(array, other.totals[model][name])


def test_all_models_are_scored_over_the_pixels_that_all_of_them_forecast_and_that_were_observed():
    # one case, one row of four pixels: context 1 1 1 1, observation 9 1 2 missing
    results = evaluated(Plain([[[[1, 1, 1, 1]], [[9, 1, 2, np.nan]]]]), {"double": Double()})
    # left are the second and third pixel: |1-1| + |1-2| and |2-1| + |2-2|
    assert overall(results, "mae") == {"nowcast": 0.5, "double": 0.5}
    assert overall(results, "mse") == {"nowcast": 0.5, "double": 0.5}
    assert results.totals["nowcast"]["pixels.pixels"].tolist() == [[2]]


def test_batches_of_any_size_give_the_same_sums(monkeypatch):
    cases = Plain(np.random.default_rng(0).gamma(0.5, 2, (7, 3, 4, 4)))
    found = []
    for pixels in (1, 48, 2**18):
        monkeypatch.setattr("nowcast.evaluation.source.PIXELS_PER_BATCH", pixels)
        found.append(evaluated(cases, forecast_length=2))
    for other in found[1:]:
        for name, array in found[0].totals["nowcast"].items():
            np.testing.assert_allclose(other.totals["nowcast"][name], array, rtol=1e-12)


def test_cases_of_another_cadence_or_spacing_are_in_a_batch_of_their_own():
    class Scaled(Plain):
        def scale(self, epoch, index):
            return 5.0, (1.0, 1.0, 2.0, 2.0, 1.0)[index]

    source = ModelSource(
        {"nowcast": forecaster(Persistence())}, Scaled(np.zeros((5, 2, 4, 4))), forecast_length=1
    )
    assert source.ranges() == [range(0, 2), range(2, 4), range(4, 5)]


def test_a_model_is_not_evaluated_at_a_cadence_or_spacing_it_is_not_made_for():
    class Scaled(TimedCases):
        def scale(self, epoch, index):
            return (5.0, 60.0)[index], 1.0

    class AnyCadence(Persistence):
        capabilities = Capabilities(needs_scale=True, any_scale=True)

    with pytest.raises(
        UserError,
        match="the frames of analysis time 2020-06-01 01:00:00 UTC lie 60 minutes apart; this "
        "model forecasts from frames every 2 to 15 minutes",
    ):
        ModelSource(
            {"nowcast": forecaster(AnyCadence())},
            Scaled(np.zeros((2, 2, 4, 4)), [0, 1]),
            forecast_length=1,
        )


def test_slow_baselines_get_the_scale_of_each_case_and_are_kept_by_it(tmp_path, monkeypatch):
    monkeypatch.setattr("nowcast.evaluation.batches._is_of_nowcast", lambda forecaster: True)

    class Scaled(Plain):
        def scale(self, epoch, index):
            return 5.0, (1.0, 2.0)[index]

    class TimesSpacing(Persistence):
        capabilities = Capabilities(slow=True, needs_scale=True)

        def forward(self, context, forecast_length, observed=None, scale=None):
            last = super().forward(context, forecast_length, observed).point()
            return SingleField(last * scale.spacing)

    cases = Scaled(np.ones((2, 2, 4, 4)))
    for _ in range(2):
        results = evaluated(
            cases,
            {"scaled": TimesSpacing().eval()},
            plan=EvaluationPlan(workers=0, cache=str(tmp_path), show=False),
        )
        assert (
            results.totals["scaled"]["pixels.absolute_error"].sum() == 16
        )  # the second is off by 1 everywhere
    assert len(list(tmp_path.rglob("*.h5"))) == 2


def test_cases_of_several_sizes_are_each_evaluated_on_their_own_grid():
    class Sizes(Plain):
        def __init__(self):
            self.values = [np.full((2, side, side + 1), side, np.float32) for side in (2, 2, 5, 3)]

        def size_of(self, index):
            return self.values[index].shape[1:]

    results = evaluated(Sizes())
    assert (
        results.totals["nowcast"]["pixels.pixels"].sum() == 6 + 6 + 30 + 12 and results.cases == 4
    )


def test_one_two_and_no_processes_give_identical_numbers_with_and_without_a_cache(tmp_path):
    values = np.random.default_rng(0).gamma(0.5, 2, (5, 2, 6, 6))
    values[2, 0] = 0  # a context that Fails refuses
    cases, baselines = TimedCases(values, range(5)), {"fails": Fails(), "triple": Triple()}
    here = evaluated(cases, baselines, plan=HERE)
    before = None
    for workers in (0, 1, 2):
        plan = EvaluationPlan(
            workers=workers, cache=str(tmp_path / f"{workers}"), show=False, block_hours=1.0
        )
        first, again = (
            evaluated(cases, baselines, plan=plan),
            evaluated(cases, baselines, plan=plan),
        )
        assert [block.cases for block in first.blocks] == [1] * 5
        same(first, again)
        assert (
            first.facts["failures"]
            == {"fails": {"cases": 1, "reason": "no rain to follow"}}
            == again.facts["failures"]
        )
        for model in here.models:
            for name, array in here.totals[model].items():
                np.testing.assert_allclose(
                    first.totals[model][name].sum(0), array.sum(0), rtol=1e-12
                )
        if before is not None:
            same(first, before)
        before = first


def test_where_a_baseline_fails_persistence_stands_in_for_it_and_the_case_is_counted():
    cases = Plain([[[[2.0]], [[5.0]]], [[[0.0]], [[3.0]]]])
    results = evaluated(cases, {"fails": Fails()})
    assert overall(results, "mae")["fails"] == (abs(3 - 5) + abs(0 - 3)) / 2
    assert results.facts["failures"] == {"fails": {"cases": 1, "reason": "no rain to follow"}}


def test_an_ensemble_is_evaluated_by_its_mean_by_its_members_and_as_an_ensemble():
    results = evaluated(Plain([[[[2.0]], [[3.0]]]]), {"triple": Triple()})
    assert results.models == ["nowcast", "triple", "triple member"] and results.members == {
        "triple": 3
    }
    assert overall(results, "mae")["triple"] == 1  # the mean of 0, 2 and 4 is 2
    assert overall(results, "mae")["triple member"] == pytest.approx((3 + 1 + 1) / 3)
    # CRPS of 0, 2, 4 against 3: mean |x - y| = 5/3, half the mean |x - x'| over the 9 pairs = 16/18
    crps = next(
        row.value for row in results.rows("triple") if row.score == "crps" and row.lead is None
    )
    assert crps == pytest.approx(5 / 3 - 16 / 18)


def test_the_crps_of_a_single_field_beside_an_ensemble_is_its_absolute_error():
    results = evaluated(Plain([[[[2.0]], [[3.5]]]]), {"triple": Triple()})
    assert overall(results, "crps")["nowcast"] == overall(results, "mae")["nowcast"] == 1.5
    (row,) = [row for row in results.rows("nowcast") if row.score == "crps" and row.lead is None]
    assert row.functional == "field"


class Rising(Plain):
    """Cases of 30 minutes a frame and 8 km a pixel, on 2 by 4 pixels: 2 mm/h, then 4 and 6."""

    def __init__(self):
        super().__init__(np.ones((2, 3, 2, 4)) * np.array([2, 4, 6.0])[:, None, None])

    def scale(self, epoch, index):
        return 30.0, 8.0


def of_sums(length=2, timestep=30):
    """Persistence and its multiples on rising rain, with accumulations and boxes."""
    scores = RainScores((0.5,), pools=(), accumulations=(60,), boxes=(16,))
    found = evaluated(Rising(), {"triple": Triple()}, scores, forecast_length=length)
    settings = {"task": found.settings["task"] | {"timestep": timestep}}
    settings["scores"] = SCORES | {"pools": [], "accumulations": [60], "boxes": [16]}
    return replace(found, settings=settings, statistic=None)


def test_sums_over_an_hour_and_boxes_are_scored_of_single_fields_and_of_ensembles(tmp_path):
    results = of_sums()
    results.save(tmp_path)
    for found in (results, Results.load(tmp_path)):
        own, triple = found.values("nowcast"), found.values("triple")
        # 2 mm are forecast, 5 mm come
        assert own[ScoreKey("crps", accumulation=60.0)][-1] == 3
        assert own[ScoreKey("mse", box=16.0, accumulation=60.0)][-1] == 9
        # 0, 2 and 4 mm against 5: mean |x - y| = 3, half the mean |x - x'| = 8/9
        assert triple[ScoreKey("crps", accumulation=60.0)][-1] == pytest.approx(3 - 8 / 9)
        assert triple[ScoreKey("mae", box=16.0)].tolist() == [2, 4, 3]
        assert ScoreKey("crps", box=16.0) not in found.values("triple member")
        difference = found.differences("nowcast", "triple")[ScoreKey("crps", accumulation=60.0)]
        assert difference.value[-1] == pytest.approx(8 / 9)
        rows = [row for row in found.rows("triple") if row.accumulation == 60]
        assert {row.lead for row in rows} == {2}
        by = {row.score: row.functional for row in rows}
        assert (by["crps"], by["mae"], by["mse"]) == ("distribution", "median", "mean")


def test_an_evaluation_of_before_has_no_sums_over_an_hour_and_reads_as_ever(tmp_path):
    new = of_sums()
    names = [name for name in new.settings["scores"] if name not in ("accumulations", "boxes")]
    scores = {name: new.settings["scores"][name] for name in names}
    older = replace(new, aggregates={}, settings=new.settings | {"scores": scores})
    older.save(tmp_path)
    found = Results.load(tmp_path)
    assert not any(key.is_aggregated for key in found.values("nowcast"))
    assert overall(found, "mae") == overall(new, "mae")


def test_the_tables_have_sums_over_an_hour_and_boxes_and_say_which_sums_are_left_out():
    text = " ".join(str(of_sums()).split())
    assert "Accumulations of the first 60 minutes, in mm" in text
    assert "score model pixels 16 km boxes" in text and "CRPS nowcast 3.000 3.000" in text
    assert "Mean rates in boxes, over all leads" in text
    short = " ".join(str(of_sums(length=1)).split())
    assert "Accumulations of" not in short
    assert "No lead time ends after 60 minutes: rain is not added up over them." in short


def test_scores_without_ensembles_and_networks_without_members_are_refused():
    with pytest.raises(
        UserError, match="MovingMnistScores has no scores of ensembles; take scores=rain"
    ):
        evaluated(Plain([[[[1.0]], [[1.0]]]]), {"triple": Triple()}, MovingMnistScores())
    with pytest.raises(
        UserError, match="Persistence draws no members; take a network with state noise"
    ):
        evaluated(Plain([[[[1.0]], [[1.0]]]]), members=2)


def test_a_case_without_a_comparable_pixel_is_counted():
    results = evaluated(Plain([[[[1.0]], [[np.nan]]], [[[1.0]], [[2.0]]]]))
    assert results.facts["no_pixels"] == 1 and overall(results, "mae") == {"nowcast": 1}


def test_progress_sees_every_batch(monkeypatch):
    monkeypatch.setattr("nowcast.evaluation.source.PIXELS_PER_BATCH", 1)
    seen = []
    source = ModelSource(
        {"nowcast": forecaster(Persistence())},
        Plain(np.ones((5, 2, 2, 2))),
        forecast_length=1,
        limit=3,
    )
    evaluate(
        source,
        {},
        RainScores((0.5,)),
        plan=HERE,
        settings={},
        progress=lambda batches: seen.extend(batches) or batches,
    )
    assert [list(batch) for batch in seen] == [[0], [1], [2]]


def test_no_case_is_a_users_error():
    with pytest.raises(UserError, match="there is no case to evaluate; choose other data"):
        evaluated(Plain(np.zeros((0, 2, 2, 2))))


def test_worst_typical_and_best_are_chosen_by_the_error_relative_to_the_first_baseline():
    # the network is persistence (1); the baseline forecasts 2 everywhere but in the first column:
    # its errors are 1, 2, 4
    values = [
        [[[1, 1]], [[1, observed]]] for observed in (3, 1.5, 1.25, 2)
    ]  # errors 4, 0.25, 0.0625, 1 against 1, 0.25, 0.5625, 0
    results = evaluated(
        Plain(values), {"double": Double()}, plan=EvaluationPlan(workers=0, cache=None)
    )
    assert [(case.kind, case.title) for case in results.shown] == [
        ("worst", "case 0"),
        ("typical", "case 1"),
        ("best", "case 2"),
    ]
    assert (
        results.shown[0].observation.tolist() == [[[1, 3]]]
        and results.shown[0].forecasts["double"][0, 0, 1] == 2
    )


def test_fields_for_pictures_are_means_of_the_observed_part_of_squares(monkeypatch):
    monkeypatch.setattr("nowcast.evaluation.shown._SHOWN_SIDE", 2)
    values = np.array([[[1, 3, np.nan, np.nan], [np.nan, 5, np.nan, 7], [2, 2, 4, 4]]], np.float32)
    assert small(values).tolist()[0][0][0] == 3 and np.isnan(
        small(values)[0, 0, 1]
    )  # one of four is too little
    assert small(values)[0, 1].tolist() == [2, 4]  # a square that reaches over the edge


def test_whole_days_are_blocks_where_there_are_ten_and_a_gap_of_six_hours_parts_events():
    times = START + np.arange(0, 24 * 60 * 11, 60) * np.timedelta64(1, "m")
    times = times[(np.arange(len(times)) < 100) | (np.arange(len(times)) >= 110)]
    blocks = by_time(times, [""] * len(times), window_hours=1.0)
    assert (
        len(blocks.labels) == 12
        and blocks.of_case[:24].tolist() == [0] * 24
        and blocks.of_case[24] == 1
    )  # the gap cuts a day
    assert len(set(blocks.events)) == 2 and "24 hours" in blocks.rule


def test_cases_far_apart_on_purpose_are_not_as_many_events():
    times = START + 7 * np.arange(21) * np.timedelta64(60, "m")
    assert len(set(by_time(times, [""] * 21, window_hours=1.0, stride_hours=7.0).events)) == 1
    assert len(set(by_time(times, [""] * 21, window_hours=1.0).events)) == 21
    times[11:] += np.timedelta64(600, "m")
    assert len(set(by_time(times, [""] * 21, window_hours=1.0, stride_hours=7.0).events)) == 2


def test_of_a_short_event_blocks_are_as_long_as_a_case_or_as_asked_for():
    times = START + np.arange(0, 240, 5) * np.timedelta64(1, "m")
    blocks = by_time(times, [""] * 48, window_hours=80 / 60)
    assert np.bincount(blocks.of_case).tolist() == [16, 16, 16] and set(blocks.events) == {
        "2020-06-01 00:00 to 03:55"
    }
    assert np.bincount(by_time(times, [""] * 48, 1.0, hours=2.0).of_case).tolist() == [24, 24]


def test_cases_of_two_archives_are_two_events_however_close():
    times = START + np.array([0, 5, 0, 5]) * np.timedelta64(1, "m")
    blocks = by_time(times, ["a", "a", "b", "b"], window_hours=1.0)
    assert blocks.of_case.tolist() == [0, 0, 1, 1] and blocks.events == [
        "a: 2020-06-01 00:00 to 00:05",
        "b: 2020-06-01 00:00 to 00:05",
    ]


def test_what_is_kept_of_independent_cases_does_not_grow_beyond_a_hundred_groups():
    blocks = groups(1000)
    assert (
        np.bincount(blocks.of_case).tolist() == [10] * 100 and blocks.labels[1] == "cases 10 to 19"
    )
    assert len(groups(7).labels) == 7


def test_a_kept_forecast_comes_back_to_the_bit_and_a_damaged_one_counts_as_none(tmp_path):
    cache, forecast = ForecastCache(tmp_path / "c", 1e9), np.array([[[0.1, np.nan]]], np.float32)
    key = cache.key("a", np.zeros((1, 2, 2)), 1)
    assert cache.get(key) is None
    cache.put(key, forecast)
    np.testing.assert_array_equal(cache.get(key), forecast)
    assert (
        len(
            {
                key,
                cache.key("b", np.zeros((1, 2, 2)), 1),
                cache.key("a", np.ones((1, 2, 2)), 1),
                cache.key("a", np.zeros((1, 2, 2)), 2),
                cache.key("a", np.zeros((1, 1, 4)), 1),
            }
        )
        == 5
    )
    (path,) = (tmp_path / "c").glob("*/*.h5")
    path.write_bytes(path.read_bytes()[:-100])
    assert cache.get(key) is None


def test_the_forecasts_used_longest_ago_are_deleted_first(tmp_path):
    import os

    cache = ForecastCache(tmp_path, 1e9)
    for k in range(3):
        cache.put(f"{k}{k}", np.full((1, 4, 4), k, np.float32))
        os.utime(cache._path(f"{k}{k}"), (k, k))
    assert cache.get("00") is not None  # used just now
    cache.limit = 1.5 * cache._path("00").stat().st_size
    cache.prune()
    assert [cache.get(f"{k}{k}") is not None for k in range(3)] == [True, False, False]


def test_a_cache_that_cannot_be_written_does_not_stop_an_evaluation(tmp_path):
    (tmp_path / "file").write_text("")
    cache = ForecastCache(tmp_path / "file", 1e9)
    cache.put("aa", np.zeros((1, 2, 2), np.float32))
    assert cache.get("aa") is None


def test_a_second_evaluation_takes_slow_forecasts_from_the_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("nowcast.evaluation.batches._is_of_nowcast", lambda forecaster: True)
    plan = EvaluationPlan(workers=0, cache=str(tmp_path), show=False)
    cases = Plain([[[[2.0]], [[5.0]]]])
    first = evaluated(cases, {"slow": Fails()}, plan=plan)
    (path,) = tmp_path.glob("*/*.h5")
    with h5py.File(path, "r+") as file:
        del file["forecast"]
        file["forecast"] = np.full((1, 1, 1), 5, np.float32)
    again = evaluated(cases, {"slow": Fails()}, plan=plan)
    assert overall(first, "mae")["slow"] == 2 and overall(again, "mae")["slow"] == 0


@pytest.mark.parametrize(
    "settings",
    [
        {"workers": -1},
        {"workers": 1000},
        {"members": -1},
        {"cache_gb": 0.0},
        {"block_hours": -1.0},
        {"block_hours": 1e-4},
    ],
)
def test_a_plan_out_of_range_is_refused(settings):
    with pytest.raises(UserError, match="is out of range; workers are 0 to 256"):
        EvaluationPlan(**settings)


@pytest.mark.parametrize("settings", [{"draws": 10}, {"level": 1.0}, {"seed": -1}])
def test_intervals_that_cannot_be_made_are_refused(settings):
    with pytest.raises(UserError, match="expected 100 to 100000 draws, a level between 0 and 1"):
        EvaluationPlan(**settings)


def die(batch):
    import os

    os._exit(1)


def test_a_worker_process_that_dies_is_one_sentence(monkeypatch):
    monkeypatch.setattr("nowcast.evaluation.workers._evaluated", die)
    with pytest.raises(UserError, match="a process that made the baselines' forecasts died"):
        evaluated(
            Plain([[[[1.0]], [[1.0]]]]), plan=EvaluationPlan(workers=1, cache=None, show=False)
        )


def test_a_plan_is_built_by_the_name_that_it_had_in_older_runs():
    settings = {"evaluation": {"_target_": "nowcast.evaluation.plan.Plan", "workers": 0}}
    assert build_part(settings, "evaluation") == EvaluationPlan(workers=0)


def test_forecasts_that_older_versions_kept_are_found_by_their_key():
    """The text that the key was made of before the baselines had a folder of their own."""
    settings = {"_target_": "nowcast.baselines.steps.Steps", "members": 20}
    forecaster = Forecaster(Persistence(), Identity(), Task(2, 2), settings={"model": settings})
    old = '{"_target_": "nowcast.models.steps.Steps", "members": 20}'
    assert _identity(forecaster, None) == old
    assert _identity(forecaster, Scale.of_samples([(5, 1)])) == f"{old} [[5.0, 1.0]]"


def test_forecasts_of_a_baseline_from_elsewhere_are_made_anew_each_time(tmp_path):
    class Changing(Fails):
        capabilities = Capabilities(slow=True)

    values = np.ones((2, 2, 1, 1), np.float32)
    plan = EvaluationPlan(workers=0, cache=str(tmp_path), show=False)
    evaluated(Plain(values), {"changing": Changing()}, plan=plan)
    assert list(tmp_path.rglob("*.h5")) == []
