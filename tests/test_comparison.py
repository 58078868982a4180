"""Several models with several seeds: numbers worked by hand, and small trainings that are stopped
and gone on with.
"""

import csv
import io
import math
import re
import shutil
import subprocess
import sys

import pytest
from rich.console import Console

from nowcast.cli import main
from nowcast.cli.config import compose, plain
from nowcast.evaluation.statistics.scores import ScoreRow
from nowcast.forecasting.saving import SETTINGS_FILE
from nowcast.training import checkpoints
from nowcast.training.comparison.finding import found_in
from nowcast.training.comparison.runs import Run, refuse_other_settings
from nowcast.training.comparison.settings import (
    differences_of_finished,
    first_difference,
    overrides_by_model,
    training_differences,
)
from nowcast.training.comparison.table import (
    Result,
    interval,
    note_on_pixels,
    paired_interval,
    results_of,
    table,
    write_csv,
)

FILE = {
    "models": {"A": ["model=convlstm_small"], "B": ["model=shi2015", "training.learning_rate=0.1"]},
    "only": None,
    "common": [],
    "seeds": [1, 2],
    "parallel": 1,
    "output_dir": None,
}


def test_the_interval_is_students():
    """2, 4, 9: mean 5, deviations -3 -1 4, variance 26 / 2 = 13; t of 2 degrees of freedom is
    4.302653.
    """
    mean, half = interval([2, 4, 9])
    assert mean == 5
    assert half == pytest.approx(4.302653 * math.sqrt(13) / math.sqrt(3))
    assert interval([1, 3]) == pytest.approx((2, 12.706205 * math.sqrt(2) / math.sqrt(2)))


def test_a_single_seed_has_no_interval():
    mean, half = interval([7.0])
    assert mean == 7 and math.isnan(half)


def test_differences_are_taken_seed_by_seed_over_the_seeds_that_both_have():
    """Seeds 1 and 3: 3 - 2 = 1 and 12 - 9 = 3; the spread that both share cancels."""
    assert paired_interval({1: 3.0, 2: 5.0, 3: 12.0}, {3: 9.0, 1: 2.0, 4: 0.0}) == pytest.approx(
        (2, 12.706205)
    )
    assert paired_interval({1: 3.0}, {2: 3.0}) is None


def test_baselines_beside_a_model_without_a_forecast_for_some_pixels_are_named_after_it(tmp_path):
    from nowcast.evaluation.score_files import write_csv as write_scores

    def run(name, model, mse):
        folder = tmp_path / name
        (folder / "evaluation").mkdir(parents=True)
        (folder / SETTINGS_FILE).touch()
        write_scores(
            {
                "nowcast": [ScoreRow("mse", None, None, None, 1.0)],
                "persistence": [ScoreRow("mse", None, None, None, mse)],
            },
            folder / "evaluation" / "scores.csv",
            lead_minutes=5,
        )
        return Run(name, 1, folder, [], {"model": {"_target_": f"nowcast.models.{model}"}})

    runs = [
        run("A", "persistence.Persistence", 3.0),
        run("B", "lagrangian.LagrangianConvLSTM", 2.0),
    ]
    found = results_of(runs, parameters=lambda settings: 7, lead_minutes=5)
    assert [(one.model, one.rows[0].value) for one in found] == [
        ("A", 1.0),
        ("B", 1.0),
        ("persistence", 3.0),
        ("persistence beside B", 2.0),
    ]
    lines = printed(found, "A")[1]
    assert not any("−" in line for line in lines if "B" in line) and any(
        line.startswith("persistence 3") for line in lines
    )  # no difference over other pixels
    assert note_on_pixels(runs)[0].startswith(
        "B has no forecast for some pixels"
    ) and not note_on_pixels(runs[1:])


def result(model, seed, mse, parameters=10):
    rows = [
        ScoreRow("mse", None, None, 1, mse + 1),
        ScoreRow("mse", None, None, None, mse),
        ScoreRow("psnr", None, None, None, 1.0),
    ]
    return Result(model, seed, parameters, rows)


def printed(results, first):
    """The title, and the lines of the table from its heading to its last row."""
    console, shown = (
        Console(width=120, file=io.StringIO(), record=True),
        table(results, first=first),
    )
    console.print(shown)
    lines = [" ".join(line.split()) for line in console.export_text().splitlines() if line.strip()]
    start = next(index for index, line in enumerate(lines) if line.startswith("model "))
    return shown.title, lines[start:]


def test_a_row_of_the_table_holds_mean_interval_and_the_difference_to_the_first_model():
    """A: 100 ± 12.706 x 2 / sqrt 2 / sqrt 2 = 12.7; B: 90 and 94 give 92 ± 25.4; B - A is -9 and
    -7, -8 ± 12.7: no proof. C - A is +50 and +50.5: 50.25 ± 3.2.
    """
    results = [
        result("A", 1, 99.0),
        result("A", 2, 101.0),
        result("B", 1, 90.0),
        result("B", 2, 94.0),
        result("C", 1, 149.0, 1234),
        result("C", 2, 151.5, 1234),
    ]
    title, lines = printed(results, "A")
    assert title == "Over all leads: mean over 2 seeds ± 95 % interval (Student)"
    assert lines[0] == "model parameters MSE ↓"
    assert lines[2:7] == ["A 10 100 ±13", "B 10 92 ±25", "−8 ±13", "C 1,234 150 ±16", "+50.2 ±3.2*"]


def test_a_table_of_one_seed_says_that_it_has_no_intervals():
    title, lines = printed(
        [result("A", 1, 99.0), result("B", 1, 90.5), result("persistence", 1, 200.0, 0)], "A"
    )
    assert title == "Over all leads: one seed, so without intervals"
    assert lines[2:7] == ["A 10 99.00", "B 10 90.50", "−8.500", "persistence 200.0", "+101.0"]


def test_a_table_of_unequal_numbers_of_seeds_shows_them():
    _, lines = printed(
        [result("A", 1, 99.0), result("A", 2, 99.0), result("B", 1, float("nan"))], "A"
    )
    assert lines[0] == "model parameters seeds MSE ↓"
    assert lines[2:5] == ["A 10 2 99.00 ±0", "B 10 1 –", "–"]


def test_rain_is_shown_with_its_thresholds():
    rows = [
        ScoreRow("csi", threshold, window, None, 0.5)
        for threshold in (0.1, 1, 5, 10)
        for window in (1, 5)
    ] + [ScoreRow("far", 1, 1, None, 0.2)]
    assert (
        printed([Result("A", 1, 1, rows)], "A")[1][0]
        == "model parameters CSI ≥ 0.1 mm/h ↑ CSI ≥ 5 mm/h ↑ CSI ≥ 10 mm/h ↑"
    )


def test_scores_of_boxes_do_not_stand_for_those_of_pixels():
    rows = [
        ScoreRow("mse", None, None, None, 4.0),
        ScoreRow("mse", None, None, None, 1.0, box=16.0),
    ]
    found = " ".join(" ".join(printed([Result("A", 1, 1, rows)], "A")[1]).split())
    assert "4.000" in found and "1.000" not in found


def test_the_table_of_numbers_is_tidy(tmp_path):
    rows = [ScoreRow("csi", 0.5, 1, 2, 0.25), ScoreRow("csi", 0.5, 1, None, 1 / 3)]
    write_csv([Result("A", 3, 42, rows)], tmp_path / "a.csv", lead_minutes=5)
    assert (
        (tmp_path / "a.csv").read_text()
        == "model,seed,parameters,score,threshold,window,lead,value,functional,box,accumulation,"
        "cost_loss\n"
        "A,3,42,csi,0.5,1,10,0.25,,,,\nA,3,42,csi,0.5,1,,0.3333333333333333,,,,\n"
    )


def test_a_models_own_setting_counts_before_a_typed_one_and_that_before_one_for_all():
    found = overrides_by_model(
        FILE | {"common": ["data.size=40", "training.max_epochs=9"]},
        ["training.max_epochs=2", "training.learning_rate=0.5"],
    )
    assert found == {
        "A": [
            "data.size=40",
            "training.max_epochs=2",
            "training.learning_rate=0.5",
            "model=convlstm_small",
        ],
        "B": [
            "data.size=40",
            "training.max_epochs=2",
            "training.learning_rate=0.1",
            "model=shi2015",
        ],
    }
    assert list(overrides_by_model(FILE | {"only": ["B", "A"]}, [])) == ["B", "A"]
    assert list(overrides_by_model(FILE | {"only": "B"}, [])) == ["B"]


@pytest.mark.parametrize(
    ("changed", "typed", "message"),
    [
        (
            {"models": {}},
            [],
            r"models is \{\}, expected models by name .*, as in conf/compare.yaml",
        ),
        ({"models": ["A"]}, [], "expected models by name"),
        ({"seeds": []}, [], r"seeds is \[\], expected a list of whole numbers"),
        ({"seeds": [1.5]}, [], "expected a list of whole numbers"),
        ({"seeds": [1, 1]}, [], "expected at least 1, and different numbers of 0 or more"),
        ({"seeds": [-1]}, [], "and different numbers of 0 or more"),
        ({"parallel": 0}, [], "parallel is 0 and seeds is"),
        ({"parallel": "two"}, [], "parallel is 'two', expected a whole number"),
        ({"only": ["C"]}, [], "only names 'C'; the models here are A, B"),
        ({"only": []}, [], "expected a list of names"),
        ({"common": "x=1"}, [], "expected a list of KEY=VALUE"),
        (
            {"models": {"a/b": []}},
            [],
            "a model is called 'a/b'; expected a plain name for its folder",
        ),
        ({"models": {"A": "model=unet"}}, [], "models.A is 'model=unet', expected a list such as"),
        ({}, ["seed=3"], "'seed=3' cannot be given to a training: the comparison sets it itself"),
        ({}, ["model=unet"], "'model=unet' cannot be given to a training"),
        ({"models": {"A": ["output_dir=x"]}}, [], "'output_dir=x' cannot be given to a training"),
        ({}, ["resume=x"], "'resume=x' cannot be given to a training"),
    ],
)
def test_a_comparison_that_cannot_be_made_is_refused(changed, typed, message):
    with pytest.raises(ValueError, match=message):
        overrides_by_model(FILE | changed, typed)


def configuration(**changes):
    parts = {
        "task": 1,
        "data": {"size": 64, "test_from": None},
        "scores": 2,
        "baselines": {"persistence": {}},
        "training": {"max_epochs": 3},
        "loss": 4,
        "transform": 5,
    }
    return parts | changes


def test_the_place_of_a_run_and_the_cuts_it_found_in_its_data_make_no_difference():
    stored = configuration(output_dir="/a", data={"size": 64, "test_from": "2020-06-01T02:35:00"})
    assert first_difference(stored, configuration(output_dir=None)) is None
    assert (
        first_difference(
            stored, configuration(output_dir=None, data={"size": 64, "test_from": "2021-01-01"})
        )
        == "data.test_from"
    )
    assert (
        first_difference(
            stored, configuration(output_dir=None, training={"max_epochs": 3, "workers": 1})
        )
        == "training.workers"
    )


def test_a_run_folder_of_other_settings_is_refused(tmp_path):
    (tmp_path / "config.yaml").touch()
    other = (
        [Run("A", 1, tmp_path, [], configuration())],
        lambda path: configuration(training={"max_epochs": 4}),
    )
    refuse_other_settings(*other)  # a training that failed before its first checkpoint is made anew
    (tmp_path / "forecaster.json").touch()
    with pytest.raises(
        ValueError,
        match=r"was made with another training\.max_epochs than is asked for now; choose another "
        r"output_dir",
    ):
        refuse_other_settings(*other)


def test_models_must_have_the_same_data_and_another_training_is_said():
    assert training_differences(
        {"A": configuration(), "B": configuration(training={"max_epochs": 4})}
    ) == ["B is not trained as A is: training.max_epochs differs."]
    with pytest.raises(
        ValueError, match=r"B has another data\.size than A; all models need the same data"
    ):
        training_differences(
            {"A": configuration(), "B": configuration(data={"size": 32, "test_from": None})}
        )
    with pytest.raises(
        ValueError, match="a model is called 'persistence', which is the name of another row"
    ):
        training_differences({"A": configuration(), "persistence": configuration()})


def test_a_comparison_needs_no_baselines():
    assert (
        training_differences(
            {"A": configuration(baselines=None), "B": configuration(baselines=None)}
        )
        == []
    )


TINY = [
    "data.train_sequences=4",
    "data.validation_sequences=2",
    "data.test_sequences=3",
    "data.size=32",
    "task.context_length=2",
    "task.forecast_length=2",
    "training.max_epochs=2",
    "training.accelerator=cpu",
    "training.precision=float32",
]
SMALL, WIDE = (
    f'models.ConvLSTM=["model=convlstm_small","model.hidden_channels=[{width}]"]'
    for width in (2, 3)
)
MODELS = [SMALL, WIDE.replace("models.ConvLSTM", "+models.Wide")]


@pytest.fixture(scope="module", autouse=True)
def without_pictures():
    """They are drawn in other tests, and take longer than these trainings."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("curves.training_curve", "curves.score_curves", "maps.sequence_picture"):
            patch.setattr(f"nowcast.drawing.{name}", lambda *_, **__: None)
        yield


def read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def compare(folder, *arguments):
    main(
        [
            "compare",
            f"output_dir={folder}",
            *MODELS,
            "only=[ConvLSTM,Wide]",
            "seeds=[1,2]",
            *TINY,
            *arguments,
        ]
    )


def started(capsys):
    """The runs that were made, in their order."""
    return re.findall(r"^job \d+: (\w+, seed \d)$", capsys.readouterr().out, re.MULTILINE)


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("a, comparison")
    compare(folder)
    return folder


def test_every_model_and_seed_is_an_ordinary_run_and_all_scores_are_in_one_table(compared):
    rows = read(compared / "comparison.csv")
    assert {(row["model"], row["seed"]) for row in rows} == {
        (model, seed) for model in ("ConvLSTM", "Wide", "persistence") for seed in "12"
    }
    for model in ("ConvLSTM", "Wide"):
        for seed in "12":
            own = {
                (row["score"], row["lead"]): row["value"]
                for row in read(compared / model / f"seed-{seed}" / "evaluation" / "scores.csv")
                if row["model"] == "ConvLSTM"
            }
            assert {
                (row["score"], row["lead"]): row["value"]
                for row in rows
                if (row["model"], row["seed"]) == (model, seed)
            } == own
    weights = checkpoints.load(compared / "Wide" / "seed-1" / "checkpoints" / "last.ckpt")[
        "state_dict"
    ]
    assert {row["parameters"] for row in rows if row["model"] == "Wide"} == {
        str(sum(weight.numel() for weight in weights.values()))
    }
    text = (compared / "comparison.txt").read_text()
    assert (
        "mean over 2 seeds" in text
        and "persistence" in text
        and "Wide: experiment=comparison data.train_sequences=4" in text
    )


def test_the_seeds_make_different_models_of_one_kind_judged_on_the_same_cases(compared):
    mse = {
        (row["model"], row["seed"]): row["value"]
        for row in read(compared / "comparison.csv")
        if row["score"] == "mse" and not row["lead"]
    }
    assert mse["ConvLSTM", "1"] != mse["ConvLSTM", "2"]
    assert mse["persistence", "1"] == mse["persistence", "2"]


def test_what_is_finished_is_not_trained_again_and_what_is_missing_is(compared, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(compared, copy)
    shutil.rmtree(copy / "Wide" / "seed-1")
    shutil.rmtree(copy / "ConvLSTM" / "seed-2" / "evaluation")
    weights = copy / "ConvLSTM" / "seed-2" / "model.safetensors"
    before = weights.stat().st_mtime_ns
    capsys.readouterr()
    compare(copy)
    assert started(capsys) == ["Wide, seed 1", "ConvLSTM, seed 2"]
    assert (copy / "ConvLSTM" / "seed-2" / "evaluation" / "scores.csv").is_file()
    assert weights.stat().st_mtime_ns == before
    assert (copy / "comparison.csv").read_text() == (compared / "comparison.csv").read_text()


def test_an_interrupted_comparison_goes_on_where_it_was_and_ends_with_the_same_numbers(
    compared, tmp_path, capsys, monkeypatch
):
    """Two runs are missing, Wide 1 and ConvLSTM 2; Ctrl-C comes in the second epoch of the latter."""
    from nowcast.training.module import TrainingModule

    original, calls = TrainingModule.on_train_epoch_start, []

    def interrupted(self):
        calls.append(self.current_epoch)
        if len(calls) == 4:
            raise KeyboardInterrupt
        original(self)

    copy = tmp_path / "copy"
    for run in ("ConvLSTM/seed-1", "Wide/seed-2"):
        shutil.copytree(compared / run, copy / run)
    monkeypatch.setattr(TrainingModule, "on_train_epoch_start", interrupted)
    with pytest.raises(SystemExit) as caught:
        compare(copy)
    assert caught.value.code == 130 and calls == [0, 1, 0, 1]
    assert "interrupted; go on with: nowcast compare" in capsys.readouterr().out
    monkeypatch.setattr(TrainingModule, "on_train_epoch_start", original)
    compare(copy)
    assert started(capsys) == ["ConvLSTM, seed 2"]
    assert (copy / "comparison.csv").read_text() == (compared / "comparison.csv").read_text()


def test_scores_made_on_other_data_are_not_mixed_in(compared, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(compared, copy)
    main(["evaluate", f"run={copy}/Wide/seed-1", "data.size=64"])
    with pytest.raises(SystemExit):
        compare(copy)
    assert (
        f"{copy}/Wide/seed-1/evaluation/scores.csv holds other scores of persistence than the "
        "other models' do" in capsys.readouterr().err
    )


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        main(["compare", *(str(argument) for argument in arguments)])
    assert caught.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_other_settings_in_the_same_folder_are_refused(compared, capsys):
    line = refused(
        capsys, f"output_dir={compared}", *MODELS, "seeds=[1,2]", *TINY, "data.digits_per_frame=1"
    )
    assert (
        line == f"nowcast compare: error: {compared}/ConvLSTM/seed-1 was made with another "
        "data.digits_per_frame than is asked for now; choose another output_dir."
    )


def test_a_model_that_fails_is_named_at_the_end_and_does_not_lose_the_others(tmp_path, capsys):
    wrong = '+models.wrong=["model=convlstm_small","model.hidden_channels=[0]"]'
    line = refused(
        capsys,
        f"output_dir={tmp_path}",
        wrong,
        SMALL,
        "only=[wrong,ConvLSTM]",
        "seeds=[1]",
        *TINY,
        "training.max_epochs=1",
    )
    assert (
        line
        == "nowcast compare: error: 1 of 2 trainings failed: wrong, seed 1: hidden_channels is "
        "[0]; it must be at least 1, one number per layer."
    )
    assert {row["model"] for row in read(tmp_path / "comparison.csv")} == {
        "ConvLSTM",
        "persistence",
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["only=[None]"], "only names 'None'"),
        (["training.max_epoch=3"], "max_epoch"),
        (["modles.x=[]"], "modles"),
        (["seeds=3"], "expected a list of whole numbers"),
        (["--fast"], "there is no option '--fast'"),
        (["experiment=no"], "no"),
    ],
)
def test_a_mistake_is_told_before_any_training(arguments, message, capsys, tmp_path):
    assert message in refused(capsys, f"output_dir={tmp_path}/x", *arguments)
    assert not (tmp_path / "x").exists()


def test_the_composed_configuration_is_shown_with_what_goes_to_every_training(capsys):
    main(["compare", "--cfg", "training.max_epochs=7", "parallel=2"])
    text = capsys.readouterr().out
    assert (
        "common:\n- experiment=comparison\n- training.max_epochs=7\n" in text
        and "parallel: 2" in text
    )


def test_a_time_is_the_same_with_and_without_its_seconds():
    stored = {"data": {"test_from": "2010-08-26T05:30:00", "crop": 96}}
    assert first_difference(stored, {"data": {"test_from": "2010-08-26T05:30", "crop": 96}}) is None
    other = {"data": {"test_from": "2010-08-26T05:35", "crop": 96}}
    assert first_difference(stored, other) == "data.test_from"


def test_trainings_run_side_by_side_by_joblib_and_write_into_their_folders(tmp_path):
    done = subprocess.run(
        [
            *(sys.executable, "-m", "nowcast", "compare", f"output_dir={tmp_path}/x", "parallel=2"),
            *("only=[ConvLSTM]", SMALL, "seeds=[1,2]", *TINY),
        ],
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "2 jobs, 2 at a time" in done.stdout and "job 1: ConvLSTM, seed 2" in done.stdout
    for seed in (1, 2):
        words = (tmp_path / "x" / "ConvLSTM" / f"seed-{seed}" / "log.txt").read_text()
        assert "parameters, run folder" in words and "parameters, run folder" not in done.stdout
    assert {row["seed"] for row in read(tmp_path / "x" / "comparison.csv")} == {"1", "2"}


def finished(folder, **settings):
    """A folder that looks like a run that is finished; what it was made with."""
    (folder / "evaluation").mkdir(parents=True)
    for name in ("config.yaml", SETTINGS_FILE, "evaluation/scores.csv"):
        (folder / name).touch()
    return {"name": "train", "seed": 1, "output_dir": str(folder)} | settings


def rows_of(*folders, stored, overrides=None):
    """Row -> folders and seeds, and the notes, of what is found in some folders."""

    def read_settings(path, seed):
        found = stored[path]
        return found if seed is None else found | {"seed": seed}

    found = found_in(folders, stored=read_settings, overrides=(overrides or {}).get)
    rows = {}
    for run in found.runs:
        rows.setdefault(run.model, []).append((run.folder.name, run.seed))
    return rows, found.notes


def test_rows_are_called_by_the_overrides_that_not_all_runs_have(tmp_path):
    stored, overrides = {}, {}
    for number in range(12):  # 2 stands before 10
        folder, rate = tmp_path / str(number), 0.01 * (1 + number % 2)
        stored[folder] = finished(folder, seed=1 + number // 2, rate=rate)
        overrides[folder] = [f"seed={1 + number // 2}", "size=3", f"rate={rate}"]
    rows, notes = rows_of(tmp_path, stored=stored, overrides=overrides)
    assert rows == {
        "rate=0.01": [(str(2 * index), 1 + index) for index in range(6)],
        "rate=0.02": [(str(2 * index + 1), 1 + index) for index in range(6)],
    }
    assert notes == []


def test_rows_without_overrides_are_called_by_the_settings_in_which_they_differ(tmp_path):
    stored = {
        tmp_path / "a": finished(tmp_path / "a", model={"width": 3, "kind": "x"}),
        tmp_path / "b": finished(tmp_path / "b", model={"width": 4, "kind": "x"}),
    }
    none = {path: [] for path in stored}
    rows, _ = rows_of(tmp_path, stored=stored, overrides=none)
    assert rows == {"train model.width=3": [("a", 1)], "train model.width=4": [("b", 1)]}
    assert rows_of(tmp_path / "a", stored=stored, overrides=none)[0] == {"train": [("a", 1)]}


def test_runs_of_a_comparison_are_called_by_its_models(tmp_path):
    stored = {}
    for model in ("B", "A"):
        for seed in (1, 2):
            folder = tmp_path / model / f"seed-{seed}"
            stored[folder] = finished(folder, seed=seed, model=model)
    rows, _ = rows_of(tmp_path, stored=stored, overrides={path: [] for path in stored})
    assert rows == {name: [("seed-1", 1), ("seed-2", 2)] for name in ("A", "B")}


def test_what_is_no_finished_run_is_named_with_what_to_type(tmp_path):
    stored = {tmp_path / "a": finished(tmp_path / "a")}
    stored[tmp_path / "twice"] = finished(tmp_path / "twice")
    (tmp_path / "notes").mkdir()
    (tmp_path / ".submitit").mkdir()
    for name in ("begun", "empty", "trained"):
        (tmp_path / name / "checkpoints").mkdir(parents=True)
        (tmp_path / name / "config.yaml").touch()
    (tmp_path / "begun" / "checkpoints" / "last.ckpt").touch()
    (tmp_path / "trained" / SETTINGS_FILE).touch()
    _, notes = rows_of(tmp_path, stored=stored, overrides={path: [] for path in stored})
    assert notes == [
        f"{tmp_path}/begun is left out: it is not finished; type nowcast train "
        f"resume={tmp_path}/begun.",
        f"{tmp_path}/empty is left out: it has no checkpoint.",
        f"{tmp_path}/notes is left out: it contains no run.",
        f"{tmp_path}/trained is left out: it was not evaluated; type nowcast evaluate "
        f"run={tmp_path}/trained.",
        f"{tmp_path}/twice is left out: it repeats {tmp_path}/a.",
    ]


def test_finished_runs_of_different_tasks_are_no_table_and_other_data_are_said():
    found = {"A": configuration(), "B": configuration(data={"size": 32, "test_from": None})}
    assert differences_of_finished(found) == ["B is not trained as A is: data.size differs."]
    with pytest.raises(ValueError, match="B has another task than A, so their scores cannot stand"):
        differences_of_finished({"A": configuration(), "B": configuration(task=7)})


def test_models_are_compared_in_the_training_that_their_learning_rates_were_chosen_for():
    overrides = overrides_by_model(plain(compose("compare", [])), [])["ConvLSTM"]
    settings = plain(compose("train", overrides))
    assert settings["training"]["optimizer"] == "adam"
    assert settings["training"]["batch_size"] == 8 and settings["training"]["max_epochs"] == 9
    assert settings["data"]["train_sequences"] == 1000
    other = overrides_by_model(plain(compose("compare", [])), ["experiment=shi2015_moving_mnist"])
    assert plain(compose("train", other["ConvLSTM"]))["training"]["optimizer"] == "rmsprop"
