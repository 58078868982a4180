"""The report as a text: what it says, that nothing in it can run, and what it refuses."""

import base64
import hashlib
import io
import re
from dataclasses import replace
from html import unescape

import numpy as np
import pytest
from PIL import Image

from nowcast import report
from nowcast.drawing.colours import MISSING_COLOUR, RAIN_COLOURS
from nowcast.evaluation.results import Block, ShownCase
from nowcast.evaluation.statistics.rain import RainScores
from nowcast.evaluation.statistics.sums import ScoreKey
from nowcast.evaluation.titles import best_models, digits
from nowcast.report import axes, charts, groups, pictures, runs, writing
from nowcast.report.markup import clean, shortened, tag
from nowcast.report.runs import Run
from nowcast.runtime.errors import UserError
from nowcast.runtime.files import run_folder
from nowcast.types.frames import Grid
from tests.factories import LAEA
from tests.factories_results import CSI, MAE, results

HOSTILE = "<script>alert(1)</script>\u202e\"'{{7*7}}"


def page(*found):
    """The page of results, named run0, run1, ..."""
    return writing.html([Run(f"run{k}", one) for k, one in enumerate(found)])


def words(html):
    """Its text without tags, in single spaces; scripts and styles left out."""
    body = re.sub(r"<(script|style)>.*?</\1>", " ", html, flags=re.S)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


# ---------------------------------------------------------------- parts


def test_an_axis_has_round_numbers_and_places_values_between_its_ends():
    axis = axes.linear(0, 0.47, "CSI")
    assert [text for _, text in axis.ticks] == ["0", "0.1", "0.2", "0.3", "0.4"]
    assert axis.at([0, 0.235, 0.47, 9, np.nan], 50, 150).tolist()[:4] == [50, 100, 150, 150]
    assert np.isnan(axis.at([np.nan], 50, 150))[0]
    upside_down = axes.logarithmic(100, 1, "wavelength", ticks=[1, 10, 100])
    assert upside_down.at([100, 10, 1], 0, 10) == pytest.approx([0, 5, 10])
    assert [text for _, text in axes.linear(-0.5, 0.5, "").ticks] == [
        "−0.4",
        "−0.2",
        "0",
        "0.2",
        "0.4",
    ]
    assert [text for _, text in axes.logarithmic(1e-6, 1e8, "").ticks] == [
        "1.0e−6",
        "0.001",
        "1",
        "1000",
        "1.0e6",
    ]


def test_an_axis_around_nothing_or_around_one_value_is_still_an_axis():
    for axis in (
        axes.around([], ""),
        axes.around([np.nan], "", zero=False),
        axes.around([3.0], "", zero=False),
        axes.around([0.0], ""),
        axes.around([], "", including=(1.0,)),
    ):
        assert axis.low < axis.high and axis.ticks
    assert axes.steps([5.0], ["5"], "").low < 5 < axes.steps([5.0], ["5"], "").high


def test_a_line_has_a_gap_where_a_value_is_undefined_and_a_marker_where_a_point_stands_alone():
    assert charts.path(np.array([0.0, 1, 2, 3]), np.array([5.0, np.nan, 7, 8])) == "M0 5M2 7L3 8"
    plot = charts.Plot(axes.linear(0, 3, ""), axes.linear(0, 10, ""))
    drawn = charts.series(
        plot,
        charts.Line(
            "x",
            0,
            np.arange(4.0),
            np.array([5.0, np.nan, 7, np.nan]),
            np.array([4.0, np.nan, 6, 6]),
            np.array([6.0, np.nan, 8, 8]),
        ),
    )
    assert drawn.count('class="marker"') == 2 and drawn.count('class="band"') == 2


def test_a_text_is_escaped_and_what_is_not_seen_is_written_out():
    assert (
        tag("p", 'a < b & "c"', title="'x' \"y\"")
        == '<p title="&#39;x&#39; &#34;y&#34;">a &lt; b &amp; &#34;c&#34;</p>'
    )
    assert clean("a\u202eb\x00\nc") == "a[U+202E]b[U+0000]\nc"
    assert clean("x" * 200_001).endswith("[1 more characters are left out]")
    assert shortened("many\nwords " * 9, 12) == "many words …"


def test_pictures_have_the_colours_of_the_rain_classes_and_missing_pixels_are_hatched_not_white():
    rain = np.array([[0, 0.3, 7.0], [60.0, np.nan, np.nan]], np.float32)
    image = np.asarray(Image.open(io.BytesIO(pictures.rain_png(rain))).convert("RGB"))
    assert image[0].tolist() == [
        RAIN_COLOURS[0].tolist(),
        RAIN_COLOURS[1].tolist(),
        RAIN_COLOURS[5].tolist(),
    ]
    assert image[1, 0].tolist() == RAIN_COLOURS[8].tolist()
    missing = np.asarray(
        Image.open(io.BytesIO(pictures.rain_png(np.full((20, 20), np.nan)))).convert("RGB")
    )
    assert {tuple(colour) for colour in missing.reshape(-1, 3)} == {
        tuple(MISSING_COLOUR),
        tuple(MISSING_COLOUR - 35),
    }
    grey = np.asarray(
        Image.open(io.BytesIO(pictures.grey_png(np.array([[0, 1.0, np.nan]])))).convert("RGB")
    )
    # what is missing is orange
    assert grey[0, 0].tolist() == [0, 0, 0]
    assert grey[0, 1].tolist() == [255, 255, 255]
    assert len(set(grey[0, 2].tolist())) == 3


def test_pictures_grow_smaller_until_they_fit_and_the_rest_is_left_out_and_reported(monkeypatch):
    fields = np.random.default_rng(0).gamma(0.5, 4, (2, 300, 200)).astype(np.float32)
    cells = np.arange(300.0) * 1000
    cases = [
        ShownCase(
            kind, kind, fields[:1], fields, {"nowcast": fields}, Grid(LAEA, cells[:200], -cells)
        )
        for kind in ("worst", "best")
    ]
    lines = {}
    found, side = pictures.animations(cases, grey=False, lead_minutes=5.0, lines=lines)
    assert len(found) == 2
    assert side == 512
    assert [panel.name for panel in found[0].panels] == ["observation", "nowcast"]
    # the same coastlines serve both
    assert [label for _, label in found[0].steps] == ["analysis time", "+5 min", "+10 min"]
    assert len(lines) == 1
    monkeypatch.setattr(pictures, "BUDGET", 60_000)
    found, side = pictures.animations(cases, grey=False, lead_minutes=5.0, lines={})
    assert len(found) == 2 and side <= 256
    monkeypatch.setattr(pictures, "BUDGET", 4_000)
    monkeypatch.setattr(pictures, "SIDES", (512, 64))
    shown = replace(results(), shown=cases)
    assert "1 of 2 cases are left out: their pictures would make this file too large" in words(
        page(shown)
    )


def test_the_best_model_is_the_one_nearest_to_0_where_0_is_best_and_nobody_where_all_are_alike():
    assert best_models("mean_error", {"dry": -0.5, "nowcast": 0.1}) == {"nowcast"}
    assert best_models("frequency_bias", {"a": 0.5, "b": 1.5}) == {"b"}
    assert best_models("mae", {"a": 0.5, "b": 0.50001}) == set()
    assert best_models("mae", {"a": 0.5, "b": 0.4, "c": float("nan")}) == {"b"}
    assert best_models("hits", {"a": 1.0, "b": 2.0}) == set()


# ---------------------------------------------------------------- runs


def test_runs_are_named_by_as_much_of_their_paths_as_distinguishes_them(tmp_path):
    for place in ("first/run", "second/run", "third"):
        results().save(tmp_path / place / "evaluation")
    assert [
        run.name
        for run in runs.load([tmp_path / "first/run", tmp_path / "second/run", tmp_path / "third"])
    ] == ["first/run", "second/run", f"{tmp_path.name}/third"]
    assert [run.name for run in runs.load([tmp_path / "third"])] == ["third"]
    (tmp_path / "third" / "config.yaml").write_text("a: 1\n")
    # named by its run, whose settings lie there
    (run,) = runs.load([tmp_path / "third" / "evaluation"])
    assert (run.name, run.config) == ("third", "a: 1\n")


def test_the_losses_of_a_training_are_read_over_all_its_parts_and_damaged_rows_are_passed_over(
    tmp_path,
):
    for version, text in {
        "version_0": "epoch,train_loss_epoch,validation_loss\n0,4.0,\n0,,3.0\n1,2.0,\nx,1,1\n",
        "version_10": "epoch,validation_loss\n1,1.5\n2,nan\n",
    }.items():
        (tmp_path / "logs" / version).mkdir(parents=True)
        (tmp_path / "logs" / version / "metrics.csv").write_text(text)
    results().save(tmp_path)
    (run,) = runs.load([tmp_path])
    assert run.training.epochs.tolist() == [1, 2]
    assert run.training.train_loss.tolist() == [4, 2]
    assert run.training.validation_loss.tolist() == [3, 1.5]
    text = words(writing.html([run]))
    assert "best validation 1.5 at epoch 2" in text


def test_runs_on_the_same_cases_are_one_table_with_equal_baselines_once():
    first = results(errors=(("nowcast", 0.1), ("persistence", 0.4)))
    second = results(errors=(("nowcast", 0.2), ("persistence", 0.4)))
    ((group, reason),) = groups.groups([Run("a", first), Run("b", second)])
    assert reason == ""
    assert group.scores.results.models == ["a", "b", "persistence"]
    assert (group.scores.own_models, group.scores.baselines) == (["a", "b"], ["persistence"])
    assert group.scores.results.values("b")[MAE] == pytest.approx([0.2] * 3, rel=1e-5)
    assert group.scores.opponents("b") == ["a", "persistence"]
    assert [case.forecasts.keys() for case in group.scores.results.shown] == [{"a", "b"}]
    other = results(errors=(("nowcast", 0.2), ("persistence", 0.3)))
    ((group, _),) = groups.groups([Run("a", first), Run("b", other)])
    assert group.scores.results.models == ["a", "b", "persistence", "b: persistence"]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (results(blocks=5), "b and a were evaluated on different cases"),
        (
            results(seed=1),
            "b and a were evaluated on different observations: their numbers do not belong",
        ),
        (
            replace(
                results(),
                settings=results().settings
                | {"task": results().settings["task"] | {"timestep": 10}},
            ),
            "b and a have different tasks",
        ),
    ],
)
def test_runs_that_cannot_be_compared_stand_apart_with_the_reason(other, said):
    found = groups.groups([Run("a", results()), Run("b", other)])
    assert [reason for _, reason in found][0] == "" and found[1][1].startswith(said)
    text = writing.html([Run("a", results()), Run("b", other)])
    assert said in words(text)
    assert 'id="summary-1"' in text
    assert 'id="summary-2"' in text
    assert "Summary: b" in text


def test_an_evaluation_of_before_accumulations_and_boxes_is_compared_in_all_else():
    old, new = results(), results(errors=(("nowcast", 0.2), ("persistence", 0.4)))
    scores = new.scores.aggregates(1)
    assert scores is None
    more = {"accumulations": [10], "boxes": [16], "cost_loss": [0.3]}
    settings = new.settings | {"scores": new.settings["scores"] | more}
    sums = RainScores((0.5, 2.0), (3,), accumulations=(10,), boxes=(16,)).aggregates(1).sums(2)
    field = np.ones((1, 2, 12, 12), np.float32)
    sums.add(2 * field, None, field, timestep=5.0, spacing=4.0)
    totals = {name: np.stack([array] * 6) for name, array in sums.totals().items()}
    new = replace(new, settings=settings, aggregates={"nowcast": totals})
    ((group, reason),) = groups.groups([Run("a", old), Run("b", new)])
    assert reason == ""
    found = group.scores.results
    assert found.values("b")[ScoreKey("mae", accumulation=10.0)][-1] == pytest.approx(1 / 6)
    assert not any(key.is_aggregated for key in found.values("a"))
    assert found.values("a")[MAE] == pytest.approx([0.1] * 3, rel=1e-5)
    assert "MAE of 10 min" in words(writing.html([Run("a", old), Run("b", new)]))


def with_fewer_pixels(found, names=("nowcast", "persistence")):
    """The same results where a tenth of the pixels of each kind lacked a forecast."""
    totals = {}
    for model, renamed in zip(found.totals, names, strict=True):
        totals[renamed] = {name: 0.9 * array for name, array in found.totals[model].items()}
    return replace(found, totals=totals)


@pytest.mark.parametrize(
    ("names", "lacking"),
    [
        (("nowcast", "persistence"), "the model of b has no forecast for some"),
        (("nowcast", "steps"), "the model of b or steps has no forecast for some"),
    ],
)
def test_runs_on_different_pixels_stand_apart_with_who_has_no_forecast_and_what_to_type(
    names, lacking, tmp_path, capsys
):
    from nowcast.cli import main

    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    one, fewer = results(), with_fewer_pixels(results(), names)
    one.facts["model"], fewer.facts["model"] = f"{tmp_path}/a", str(run_folder("shipped"))
    one.save(tmp_path / "a")
    fewer.save(tmp_path / "b")
    typed = f"run=[{tmp_path}/a,{tmp_path}/b]"
    main(["report", typed, f"output={tmp_path}/both.html"])
    said = capsys.readouterr().out
    assert "not compared: b and a were evaluated on different pixels, b on 10 % fewer" in said
    assert lacking in said and f"nowcast evaluate 'run=[{tmp_path}/a,shipped]'" in said
    assert lacking in words((tmp_path / "both.html").read_text())


def test_models_that_were_evaluated_together_are_all_its_own_in_the_report():
    found = results(errors=(("a", 0.1), ("b", 0.2), ("persistence", 0.4)))
    assert groups.own_models(found) == ["a"]
    found.facts["own_models"] = ["a", "b"]
    ((group, _),) = groups.groups([Run("both", found)])
    assert (group.scores.own_models, group.scores.baselines) == (["a", "b"], ["persistence"])
    found.facts["own_models"] = ["<script>", 3]  # of anybody's file
    assert groups.own_models(found) == ["a"]


def test_there_must_be_a_run_and_each_once(tmp_path):
    results().save(tmp_path / "run")
    with pytest.raises(UserError, match="there is no run to report on; give the folder of one"):
        report.write([], tmp_path / "a.html")
    with pytest.raises(UserError, match="is named twice; name each run once"):
        report.write([tmp_path / "run", tmp_path / "x" / ".." / "run"], tmp_path / "a.html")
    with pytest.raises(
        UserError, match=r"contains no evaluation.h5; make it with: nowcast evaluate run="
    ):
        report.write([tmp_path / "run", tmp_path], tmp_path / "a.html")
    with pytest.raises(
        UserError,
        match=r"expected one run or more with different names to report on, got \['a', 'a'\]",
    ):
        report.write_runs([Run("a", results()), Run("a", results())], tmp_path / "a.html")
    assert not (tmp_path / "a.html").exists()


def test_results_whose_arrays_do_not_fit_are_refused_before_anything_is_written(tmp_path):
    found = results()
    broken = {
        model: {name: array for name, array in totals.items() if name != "pixels.hits"}
        for model, totals in found.totals.items()
    }
    short = replace(found.shown[0], observation=found.shown[0].observation[:1])
    for one in (
        replace(found, totals=broken),
        replace(found, shown=[short]),
        replace(found, blocks=[]),
        replace(found, totals={}),
    ):
        with pytest.raises(
            UserError, match=r"the evaluation a cannot be shown \(.+\); evaluate again"
        ):
            report.write_runs([Run("a", one)], tmp_path / "a.html")
    assert not (tmp_path / "a.html").exists()


# ---------------------------------------------------------------- the page


def test_the_report_says_what_the_differences_say_and_what_may_be_concluded(tmp_path):
    found = results()
    text = words(report.write_runs([Run("r", found)], tmp_path / "r.html").read_text())
    assert (
        "The cases are of 2 events: differences that hold in each of them are an indication" in text
    )
    assert "Intervals from 6 blocks are too narrow" in text
    difference = found.differences("nowcast", "persistence")[MAE]
    assert difference.differs[-1]
    assert "−0.300" in text
    assert "against persistence, over all leads Better (" in text
    assert re.search(r"Better \(\d+\) CSI ≥ 0\.5 mm/h.*?MAE, MSE", text)
    csi = found.estimates("nowcast")[CSI]
    assert f"{csi.value[-1]:.3f} {csi.low[-1]:.3f} to {csi.high[-1]:.3f}" in text
    assert "Training" not in text and "nowcast report run=" not in text  # it came from no folder
    assert "model nowcast baselines persistence data made up cases 18" in text


def test_a_difference_whose_interval_contains_0_is_not_significant_and_one_the_wrong_way_is_worse():
    found = results()
    swapped = replace(
        found,
        totals={"persistence": found.totals["persistence"], "nowcast": found.totals["nowcast"]},
        shown=[],
    )
    assert "against nowcast, over all leads Worse (" in words(page(swapped))
    even = replace(
        found,
        totals={"nowcast": found.totals["persistence"], "persistence": found.totals["persistence"]},
        shown=[],
    )
    assert "Better (" not in words(page(even))
    assert "Worse (" not in words(page(even))
    assert "Not significant (" in words(page(even))


def test_one_block_is_reported_without_intervals_and_says_so():
    text = words(page(results(blocks=1)))
    assert "none: there is one block of cases" in text
    assert "No interval (" in text
    assert "One block of cases has no interval." in text
    assert "which of these differences are more than chance is not known" in text


def test_failures_and_what_was_left_out_are_reported_at_the_top():
    facts = {
        "failures": {"sprog": {"cases": 3, "reason": "all dry"}},
        "no_pixels": 2,
        "left_out": ["steps is left out: no pysteps"],
    }
    text = words(page(results(facts=facts)))
    assert (
        "sprog failed in 3 of 18 cases, and persistence stood in for it; the first reason: all dry"
        in text
    )
    assert "2 of 18 cases had no pixel that was observed and that all models forecast" in text
    assert "steps is left out: no pysteps" in text


def test_every_event_is_listed_and_wins_are_counted():
    text = words(page(results()))
    assert "nowcast is better than persistence in 2 of 2 events." in text
    assert "CSI ≥ 0.5 mm/h of each event, over all leads" in text
    first = results().of_event("first").values("nowcast")[CSI][-1]
    assert f"first 6 {first:.3f}" in text


def test_ensembles_have_ranks_reliability_and_roc():
    found = results(members=4)
    text = words(page(found))
    shares = (
        found.scores.ensemble(4)
        .sums(1)
        .rank_histogram(
            {
                name: array.sum(0).sum(-1, keepdims=True)
                for name, array in found.ensembles["nowcast"].items()
            }
        )[..., 0]
    )
    assert shares.sum() == pytest.approx(1) and f"rank 0 share {shares[0]:.3f} flat 0.200" in text
    assert "Ensembles" in text
    assert "Reliability ≥ 0.5 mm/h, all leads" in text
    assert "ROC ≥ 2 mm/h, all leads" in text
    assert "nowcast has 4 members" in text
    assert "Ensembles" not in words(page(results()))


def with_sums(found, members=None):
    """The same with accumulations over ten minutes and boxes of 16 km, 4 km a pixel."""
    more = {"accumulations": [10], "accumulation_thresholds": [0.1], "boxes": [16]}
    settings = found.settings | {"scores": found.settings["scores"] | more}
    new = replace(found, settings=settings, aggregates={"made": {}})
    generator, aggregates = np.random.default_rng(5), {}
    for model in found.models:
        count = found.members.get(model, 1)
        of_blocks = []
        for _ in found.blocks:
            rain = generator.gamma(0.5, 2, (1, 2, 12, 12)).astype(np.float32)
            drawn = (rain[:, None] + generator.random((1, count, 1, 1, 1))).astype(np.float32)
            sums = new.scores.aggregates(count).sums(2)
            sums.add(drawn.mean(1), drawn, rain, timestep=5.0, spacing=4.0)
            of_blocks.append(sums.totals())
        aggregates[model] = {
            name: np.stack([one[name] for one in of_blocks]) for name in of_blocks[0]
        }
    return replace(new, aggregates=aggregates)


def test_accumulations_and_boxes_have_tables_ranks_reliability_and_economic_values():
    found = with_sums(results(members=4))
    text = words(page(found))
    assert "Accumulations and boxes" in text and "10 min, 16 km boxes" in text
    crps = found.values("nowcast")[ScoreKey("crps", box=16.0, accumulation=10.0)][-1]
    assert f"CRPS of 10 min, 16 km boxes [mm] {crps:.3f}" in re.sub(" lower is better", "", text)
    assert "Rank histogram of nowcast, 10 min, pixels" in text
    assert "Reliability ≥ 0.1 mm, 10 min, pixels" in text
    assert "Economic value ≥ 0.1 mm, 10 min, 16 km boxes" in text
    assert "Economic value ≥ 0.5 mm/h, mean rate, 16 km boxes, all leads" in text
    assert "Accumulations and boxes" not in words(page(results(members=4)))


def test_probabilities_without_members_have_reliability_and_economic_values_beside_single_fields():
    found = results()
    generator, of_blocks = np.random.default_rng(6), []
    for _ in found.blocks:
        rain = generator.gamma(0.5, 2, (1, 2, 12, 12)).astype(np.float32)
        sums = found.scores.probabilities().sums(2)
        sums.add(np.clip(np.stack([rain / 2, rain / 8], 1), 0, 1), rain)
        of_blocks.append(sums.totals())
    totals = {name: np.stack([one[name] for one in of_blocks]) for name in of_blocks[0]}
    found = replace(found, probabilities={"nowcast": totals}, facts={"distributions": ["nowcast"]})
    text = words(page(found))
    assert "Ensembles" not in text and "Probabilities" in text
    assert "Reliability ≥ 0.5 mm/h, all leads" in text and "from 25 % on" in text
    assert "FSS of the probability" in text
    (row,) = re.findall(r"Economic value ≥ 2 mm/h, all leads cost-loss ratio (.*?) 0.02 ", text)[:1]
    assert row.startswith("nowcast persistence 0.01 ")
    of_one = [key for key in found.values("persistence") if key.score == "economic_value"]
    assert len(of_one) == 12


def test_spectra_and_the_performance_diagram_show_the_numbers_of_the_results():
    generator = np.random.default_rng(0)
    scores = RainScores((0.5,), (1,), spectra=True)
    settings = {
        "task": results().settings["task"],
        "scores": {
            "_target_": "nowcast.evaluation.statistics.rain.RainScores",
            "thresholds": [0.5],
            "windows": [1],
            "spectra": True,
        },
    }
    totals = {}
    for model in ("nowcast", "persistence"):
        sums = scores.sums(2)
        field = generator.gamma(0.5, 2, (1, 2, 64, 64)).astype(np.float32)
        sums.add(field * np.float32(0.5 if model == "nowcast" else 1), field)
        totals[model] = {name: array[None] for name, array in sums.totals().items()}
    found = replace(
        results(), settings=settings, blocks=[Block("b", "e", 1)], totals=totals, shown=[]
    )
    text = words(page(found))
    key = next(key for key in found.values("nowcast") if key.score == "power_forecast")
    assert "Share of the observed power at +5 min" in text
    assert digits(found.values("nowcast")[key][0]) in text
    ratio, detected = (
        found.values("nowcast")[ScoreKey(score, 0.5, 1)] for score in ("success_ratio", "pod")
    )
    assert f"nowcast, +5 min success ratio {ratio[0]:.3f} POD {detected[0]:.3f}" in text
    assert "Performance diagram" in text


def test_nothing_of_the_content_becomes_markup_and_only_the_page_s_own_blocks_may_run(tmp_path):
    facts = {
        "data": HOSTILE,
        "command": HOSTILE,
        "versions": {HOSTILE: HOSTILE},
        "left_out": [HOSTILE],
        "failures": {HOSTILE: {"cases": 1, "reason": HOSTILE}},
        HOSTILE: HOSTILE,
    }
    found = results(errors=((HOSTILE, 0.1), ("persistence", 0.4)), facts=facts, members=3)
    found = replace(
        found,
        blocks=[
            replace(block, label=HOSTILE, event=HOSTILE + str(k % 2))
            for k, block in enumerate(found.blocks)
        ],
        shown=[replace(found.shown[0], kind=HOSTILE, title=HOSTILE)],
    )
    training = runs.TrainingHistory(
        np.array([1, 2]), np.array([2.0, 1.0]), np.array([2.0, 1.0]), np.array([np.nan, np.nan])
    )
    html = report.write_runs(
        [Run(HOSTILE, found, folder=HOSTILE, config=HOSTILE, training=training)],
        tmp_path / "r.html",
    ).read_text()
    assert html.count("<script") == 1
    assert "alert(1)" in html
    assert "\u202e" not in html
    assert "{{7*7}}" in html
    assert "[U+202E]" in html
    assert "https:" not in html
    assert not re.findall(r'(?:src|href)="(?!data:|#)', html)
    assert not re.findall(r"<[^>]+\son\w+=", html)
    assert ' style="' not in html
    policy = unescape(re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', html)[1])
    for block in ("style", "script"):
        text = re.search(rf"<{block}>(.*?)</{block}>", html, re.S)[1]
        assert (
            f"{block}-src "
            f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
            in policy
        )
    assert policy.startswith("default-src 'none'; img-src data:;") and "unsafe" not in policy
    assert unescape(html).count("<script") > 20  # what would run without escaping


def test_a_report_says_how_it_was_made_and_can_be_made_again(tmp_path):
    folder = tmp_path / "my run's"
    results(facts={"command": "nowcast evaluate run=x", "versions": {"torch": "2.11"}}).save(folder)
    text = words(report.write([folder], tmp_path / "r.html").read_text())
    assert "nowcast evaluate run=x" in text and "torch 2.11" in text
    assert f"""nowcast report run='{str(tmp_path)}/my run'"'"'s'""" in text


def test_a_case_without_a_grid_or_all_missing_is_shown(tmp_path):
    found = results()
    empty = replace(
        found.shown[0], observation=np.full_like(found.shown[0].observation, np.nan), grid=None
    )
    text = page(replace(found, shown=[empty]))
    assert text.count("<img ") == 1 + 2 + 2 and "coast" in text  # of the style; no lines are drawn
    assert "<use" not in text


def test_a_report_that_cannot_be_written_leaves_the_old_one(tmp_path):
    (tmp_path / "r.html").write_text("old")
    with pytest.raises(UserError, match="cannot be shown"):
        report.write_runs([Run("a", replace(results(), totals={}))], tmp_path / "r.html")
    assert (tmp_path / "r.html").read_text() == "old"
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(UserError):
        report.write_runs([Run("a", results())], tmp_path / "folder.html")
    assert [
        path.name for path in tmp_path.iterdir() if "tmp" in path.name or path.name.startswith(".")
    ] == []
