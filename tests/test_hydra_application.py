"""One training as a job of Hydra: its words, folders, files and callbacks, on tiny data."""

import logging
import os
import shutil
import threading
from pathlib import Path

import hydra
import pytest
import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback

from nowcast.cli import config as configuration
from nowcast.cli import hydra_private, main, run, train
from nowcast.cli.common import claimed_by_time
from nowcast.cli.hydra_state import own_hydra, released
from nowcast.runtime.errors import UserError
from tests.test_multirun import TINY, refused


class Trained(Exception):
    """What stands in for a training, and ends it."""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current folder."""
    folder = tmp_path / "a folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def jobs(monkeypatch):
    """Trainings that are prepared and then only noted: (folder, settings) of each."""
    found = []

    def finish(prepared, processes, stack):
        found.append((prepared.request.folder, prepared.experiment.settings))
        logging.getLogger("mine").debug("a word of a library")
        stack.close()
        return 1.0

    monkeypatch.setattr(train, "finish", finish)
    return found


@pytest.mark.parametrize(
    ("typed", "folder"),
    [
        (["hydra.run.dir=x y,z=[é]"], "x y,z=[é]"),
        (["output_dir=x y,z=[é]"], "x y,z=[é]"),
        (["hydra.run.dir=x", "output_dir=x"], "x"),
        (["hydra.run.dir='x,y'"], "x,y"),
        (["hydra.run.dir=${name}/s${seed}", "name=n", "seed=7"], "n/s7"),
        (["hydra.run.dir=in/${hydra:job.name}", "hydra.job.name=j"], "in/j"),
        (["hydra.run.dir=x/${hydra:job.override_dirname}"], None),
    ],
)
def test_the_run_folder_is_the_one_that_was_typed(here, jobs, typed, folder):
    main(["train", *typed, *TINY])
    ((found, settings),) = jobs
    expected = found if folder is None else here / folder
    assert found == expected and settings["output_dir"] == str(expected)
    kept = yaml.safe_load((found / ".hydra" / "hydra.yaml").read_text())["hydra"]
    assert kept["run"]["dir"] == kept["runtime"]["output_dir"] == str(found)
    assert yaml.safe_load((found / ".hydra" / "overrides.yaml").read_text())[-1] == TINY[-1]


def test_of_several_output_dir_the_last_one_counts_as_of_any_setting(here, jobs):
    main(["train", "output_dir=a", "output_dir=b", *TINY])
    assert jobs[0][0] == here / "b"


def test_what_a_job_fills_in_is_left_open_where_all_of_hydra_is_resolved(here, capsys):
    for part in ("hydra", "all"):
        main(["train", "--cfg", part, "--resolve"])
        shown = yaml.safe_load(capsys.readouterr().out)["hydra"]
        assert shown["job"]["num"] == "???" and shown["sweep"]["subdir"] == "???"
        assert shown["run"]["dir"].startswith(f"{here}/runs/train/20")


def test_a_wrong_key_in_a_file_of_ones_own_is_refused_where_it_is_shown(here, capsys):
    (here / "mine" / "experiment").mkdir(parents=True)
    path = here / "mine" / "experiment" / "wrong.yaml"
    path.write_text("# @package _global_\ntraining: {max_epoch: 1}\n")
    assert refused(capsys, "--config-dir=mine", "experiment=wrong", "--cfg").startswith(
        "training has no setting 'max_epoch'; did you mean max_epochs? TrainingSettings takes"
    )


def test_what_a_file_of_ones_own_lacks_or_misspells_is_named(here, capsys):
    (here / "mine" / "experiment").mkdir(parents=True)
    for name, text in (
        ("bare", "seed: 3\n"),
        ("odd", "# @package _global_\ndefaults:\n  - override /modell: predrnn\n"),
    ):
        (here / "mine" / "experiment" / f"{name}.yaml").write_text(text)
    typed = "--config-dir=mine"
    assert refused(capsys, typed, "experiment=bare") == (
        "mine/experiment/bare.yaml lacks its first line '# @package _global_', so that its "
        "settings stand below 'experiment'; add it."
    )
    assert refused(capsys, typed, "experiment=odd") == (
        "there is no group 'modell' here; did you mean model?"
    )


def test_a_time_in_the_folder_is_that_of_now(here, jobs):
    main(["train", "hydra.run.dir=a/${now:%Y}/x", *TINY])
    assert jobs[0][0].parent.name.startswith("20")


def test_two_trainings_that_begin_in_the_same_second_get_two_folders(tmp_path):
    found = [claimed_by_time(tmp_path / "runs") for _ in range(3)]
    assert len(set(found)) == 3 and all(path.is_dir() for path in found)


def test_hydras_files_have_the_configuration_of_the_run(here):
    main(["train", "output_dir=x", "seed='${oc.decode:${oc.env:SEED,5}}'", *TINY])
    stored, of_hydra = (here / "x" / name / "config.yaml" for name in ("", ".hydra"))
    assert stored.read_text() == of_hydra.read_text()
    settings = configuration.plain(configuration.load(here / "x"))
    assert settings["seed"] == settings["data"]["seed"] == 5
    assert "seed: 5\n" in stored.read_text() and "seed: ${seed}" in stored.read_text()
    assert sorted(path.name for path in (here / "x" / ".hydra").iterdir()) == [
        "config.yaml",
        "hydra.yaml",
        "overrides.yaml",
    ]


def test_references_to_the_job_are_what_they_were_in_the_stored_configuration(here, jobs):
    (here / "mine").mkdir()
    (here / "mine" / "referring.yaml").write_text(
        "defaults: [train, _self_]\nname: ${hydra:job.name}\n"
        "data: {digits_folder: '${hydra:runtime.output_dir}/digits'}\n"
    )
    main(["train", "--config-dir=mine", "--config-name=referring", "output_dir=y", *TINY])
    settings = jobs[-1][1]
    assert settings["name"] == "train"
    assert settings["data"]["digits_folder"] == f"{here}/y/digits"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["hydra.run.dir=x", "output_dir=y"], "both name the same folder; type one of them"),
        (["hydra.run.dir=${nothing}/x"], "hydra.run.dir: Interpolation key 'nothing' not found"),
        (["seed=${sead}"], "Interpolation key 'sead' not found; did you mean ${seed}"),
        (["seed=${nothing}"], "a reference names a setting, e.g. ${seed}, and --cfg job shows all"),
        (["hydra.job.chdir=maybe"], "hydra.job.chdir is 'maybe'; true or false is needed."),
        (["hydra.output_subdir=[a]"], "hydra.output_subdir is '[a]'; a text is needed."),
        (["hydra.verbose=3"], "hydra.verbose is 3; true, false, or names of loggers such as"),
        (["hydra.run=x"], "it consists of settings of its own (dir); type hydra.run.dir=..."),
        (["hydra.callbacks=null"], "hydra.callbacks is null, but it consists of settings of its"),
        (["hydra.job.env_set=null"], "type +hydra.job.env_set.NAME=..."),
        (["hydra.job_logging=null"], "type hydra/job_logging=NAME with one of default, disabled"),
        (["model=null"], "'model=null' chooses nothing; type model=NAME with one of conv2d_lstm"),
        (["experiment=null"], "smoke; leave experiment out for none."),
        (["seed = 3"], "'seed = 3' has spaces around the =; type seed=3 without them."),
        (["seed=a:b$d'"], "a value with spaces, commas, brackets or quotes is typed in two pairs"),
        (["model=unet", "model.hiden=2"], "model has base_channels, context_length, levels"),
        (["+training.max_epoch=1", "--cfg"], "training has no setting 'max_epoch'; did you mean"),
        (["hydra.job.chdr=true"], "there is no setting 'hydra.job.chdr' here; did you mean"),
        (["hydra/job_loging=none"], "did you mean hydra/job_logging"),
        (["hydra/job_logging=noen"], "did you mean hydra/job_logging=none"),
        (["+hydra.x=3"], "there is no setting 'hydra.x'; did you mean"),
        (["hydra.job.num=3"], "'hydra.job.num=3' would have no effect: Hydra fills it in itself"),
        (["hydra.runtime.cwd=x"], "would have no effect: Hydra fills it in itself"),
        (["hydra.help.header=x"], "--help is made from nowcast's files"),
        (["hydra.sweep.dir=x"], "it acts on the jobs of a multirun; type --multirun, too"),
        (["hydra/sweeper=optuna"], "it acts on the jobs of a multirun; type --multirun, too"),
        (["hydra/launcher=joblib"], "it starts the jobs of a multirun; type --multirun, too"),
        (["hydra.mode=SOON"], "accepted are RUN and MULTIRUN"),
        (["seed=1,2"], "to train with each value type --multirun, too"),
        (["--experimental-rerun", "x.pickle"], "it would run whatever code a pickled file"),
        (["--resolve"], "--resolve goes with --cfg, which shows the configuration; type both"),
        (["--package", "data"], "--package goes with --cfg"),
        (["--package"], "--package takes a part of the configuration"),
        (["--cfg", "job", "--info"], "--cfg and --info cannot be done at once; type one of them"),
        (["--cfg=foo"], "--cfg 'foo': accepted are job, hydra, all."),
        (["--info", "defaultss"], "--info 'defaultss': accepted are all, config, defaults, "),
        (["--info", "defaultss"], "searchpath; did you mean defaults?"),
        (["--cfg", "jbo"], "--cfg 'jbo': accepted are job, hydra, all; did you mean job?"),
        (["--info=foo"], "--info 'foo': accepted are all, config, defaults"),
        (["--config-name"], "--config-name takes a name, e.g. --config-name train"),
        (["--config-path"], "--config-path takes a folder, e.g. --config-path conf"),
        (["-cn", "trian"], "--config-name trian: there is no trian.yaml; did you mean train?"),
        (["-cn", "zzz"], "there is no zzz.yaml; give its folder by --config-dir"),
        (["-cn", "a", "-cn", "b"], "--config-name was given 2 times; one is needed"),
        (["-cn", "predict"], "the configuration"),
        (["--config-path", "nowhere"], "--config-path nowhere is not a folder"),
        (["--config-path", "."], "--config-path . has no train.yaml; --config-path takes a folder"),
        (["hydra.searchpath=[nowhere]"], "--config-dir nowhere is not a folder"),
        (["hydra.searchpath=nowhere"], "is not a list of folders; type --config-dir FOLDER"),
        (["hydra.searchpath=[pkg://no.such]"], "but no such package is installed"),
        (["--fast"], "there is no option '--fast'; settings are given as KEY=VALUE"),
        (["resume=x", "--info"], "which are not composed anew; type --cfg job"),
        (
            ["+hydra.callbacks.x._target_=no.such"],
            "hydra.callbacks: Error locating target 'no.such'",
        ),
        (["hydra.job.env_set.X=1"], "here yet; type +hydra.job.env_set.X=... to add it"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_has_no_meaning_is_refused_with_the_reason(here, capsys, typed, said):
    assert said in refused(capsys, *typed)
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["predict", "--multirun"], "this command runs one job"),
        (["demo", "opn=true"], "there is no setting 'opn' here; did you mean open?"),
        (["compare", "-m"], "there is no -m here: this command runs one job"),
        (["predict", "--hydra-help"], "type nowcast train --hydra-help"),
        (["predict", "--cfg", "hydra"], "nowcast predict is not run by Hydra. Type --cfg job"),
        (["predict", "hydra.verbose=true"], "this command logs nothing"),
        (["predict", "hydra.run.dir=x"], "nowcast predict has no run folder; type output=PATH"),
        (["evaluate", "hydra.run.dir=${x}"], "the folder is taken as it is typed"),
        (["predict", "hydra.x=3"], "only trainings (nowcast train, nowcast compare) are run by"),
        (["compare", "hydra.sweep.subdir=x"], "makes its jobs of models and seeds"),
        (["compare", "hydra.mode=RUN"], "a comparison is a multirun already"),
        (["compare", "resume=auto"], "goes on by itself with what is in its output_dir"),
        (["compare", "runs=x", "seeds=[1]"], "seeds=[1] would have no effect: runs=x names"),
        (["compare", "runs=x", "data.size=3"], "data.size=3 would have no effect"),
        (["compare", "runs=nowhere"], "which is not a folder"),
        (["compare", "runs=."], "there is no finished run in"),
        (
            ["compare", "parallel=2", "hydra/launcher=submitit_local"],
            "hydra/launcher=submitit_local says itself how many trainings run at once",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_other_commands_take_of_hydras_words_what_has_a_meaning(here, typed, said):
    with pytest.raises(UserError) as caught:
        run(typed)
    assert said in str(caught.value) and list(here.iterdir()) == []


def test_the_current_folder_of_a_job_can_be_its_run_folder(here, monkeypatch):
    seen = []
    original = train._fit

    def fit(*arguments):
        seen.append(os.getcwd())
        return original(*arguments)

    monkeypatch.setattr(train, "_fit", fit)
    main(["train", "output_dir=x", "hydra.job.chdir=true", "+hydra.job.env_set.MINE=3", *TINY])
    assert seen == [f"{here}/x"] and os.getcwd() == str(here) and "MINE" not in os.environ
    stored = configuration.plain(configuration.load(here / "x"))
    assert stored["evaluation"]["cache"] == "runs/cache"  # as typed, though it was found from there
    assert (here / "x" / "evaluation" / "scores.csv").is_file() and not (here / "x" / "x").exists()


def test_a_job_finds_the_variables_that_it_was_given(here, monkeypatch):
    seen = []
    monkeypatch.setattr(train, "prepare", lambda *_: seen.append(os.environ["MINE"]) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(["train", "+hydra.job.env_set.MINE=3", *TINY])
    assert seen == ["3"]


def test_nothing_of_hydras_stands_on_the_terminal_or_in_the_folder_unless_it_is_asked_for(
    here, jobs, capfd
):
    main(["train", "output_dir=quiet", *TINY])
    assert capfd.readouterr() == ("", "") and not (here / "quiet" / "train.log").exists()
    before = list(logging.root.handlers), logging.root.level
    main(["train", "output_dir=loud", "hydra.verbose=true", "hydra.job.name=mine", *TINY])
    assert "[DEBUG] - a word of a library" in capfd.readouterr().out
    assert "a word of a library" in (here / "loud" / "mine.log").read_text()
    main(["train", "output_dir=plain", "hydra/job_logging=default", *TINY])
    assert (here / "plain" / "train.log").exists()
    assert (list(logging.root.handlers), logging.root.level) == before


@pytest.mark.parametrize("more", [[], ["--multirun", "seed=1,2"]])
def test_a_name_of_the_job_that_nothing_reads_is_refused(here, jobs, more):
    with pytest.raises(UserError, match="'hydra.job.name=mine' would have no effect: no folder"):
        run(["train", "output_dir=x", "hydra.job.name=mine", *more, *TINY])
    assert not (here / "x").exists() and not jobs


def test_the_log_of_the_calling_program_goes_on(here, jobs, tmp_path):
    handler = logging.FileHandler(tmp_path / "theirs.log", mode="w")
    logging.getLogger("theirs").addHandler(handler)
    try:
        run(["train", "output_dir=x", "hydra/job_logging=default", *TINY])
        logging.getLogger("theirs").warning("still here")
    finally:
        logging.getLogger("theirs").removeHandler(handler)
        handler.close()
    assert (tmp_path / "theirs.log").read_text() == "still here\n"


def test_hydra_writes_no_folder_of_its_own_where_none_is_wanted(here, jobs):
    main(["train", "output_dir=x", "hydra.output_subdir=null", *TINY])
    assert list((here / "x").iterdir()) == []


class Telling(Callback):
    """A callback of Hydra that changes the training before it begins."""

    def __init__(self, path):
        self.path = Path(path)

    def on_run_start(self, config, **_):
        config.seed = 9

    def on_job_end(self, config, job_return, **_):
        self.path.write_text(f"{config.seed} {job_return.status.name}")


def test_callbacks_may_change_what_is_trained(here, jobs):
    target = "_target_:tests.test_hydra_application.Telling"
    main(["train", "output_dir=x", f"+hydra.callbacks.mine={{{target},path:'{here}/told'}}", *TINY])
    assert jobs[0][1]["seed"] == 9 and (here / "told").read_text() == "9 COMPLETED"


def test_a_configuration_of_ones_own_can_be_the_one_to_begin_with(here, jobs, capsys):
    (here / "mine" / "model").mkdir(parents=True)
    (here / "mine" / "own.yaml").write_text("defaults: [train, _self_]\nseed: 4\nname: own\n")
    (here / "mine" / "now.yaml").write_text("defaults: [predict, _self_]\nforecast_length: 2\n")
    shutil.copy(configuration.folder() / "model" / "unet.yaml", here / "mine" / "model" / "my.yaml")
    typed = ["-cd", "mine", "-cn", "own.yaml"]
    main(["train", *typed, "--cfg", "job"])
    assert "name: own\nseed: 4\n" in capsys.readouterr().out
    main(["predict", "--config-dir=mine", "--config-name=now", "--cfg"])
    assert "forecast_length: 2\n" in capsys.readouterr().out
    main(["train", *typed, *TINY])
    assert jobs[0][0].parent == here / "runs" / "own" and jobs[0][1]["seed"] == 4
    main(["train", f"hydra.searchpath=[file://{here}/mine]", "model=my", "--cfg"])
    assert "nowcast.models.unet.UNet" in capsys.readouterr().out
    assert "did you mean training.max_epochs" in refused(capsys, *typed, "training.max_epoch=3")


def test_another_folder_can_stand_in_place_of_nowcasts_own(here, jobs, capsys):
    shutil.copytree(configuration.folder(), here / "conf2")
    text = (here / "conf2" / "train.yaml").read_text().replace("seed: 1 ", "seed: 11 ")
    (here / "conf2" / "train.yaml").write_text(text)
    main(["train", "--config-path", "conf2", "output_dir=x", *TINY])
    assert jobs[0][1]["seed"] == 11
    assert configuration.plain(configuration.compose("train", []))["seed"] == 1


def test_a_run_goes_on_as_a_job_of_hydra_whose_files_stay(here, capsys):
    main(["train", "output_dir=x", *TINY])
    before = {path: path.read_bytes() for path in (here / "x" / ".hydra").iterdir()}
    assert refused(capsys, "resume=x", "hydra.run.dir=y") == (
        "hydra.run.dir=y is another folder than that of the run that goes on, x; leave it out."
    )
    main(["train", "resume=x", "training.max_epochs=2", "hydra.run.dir=x"])
    assert {path: path.read_bytes() for path in (here / "x" / ".hydra").iterdir()} == before
    assert configuration.plain(configuration.load("x"))["training"]["max_epochs"] == 2
    main(["train", "resume=auto", "output_dir=x", *TINY, "training.max_epochs=3"])
    assert configuration.plain(configuration.load("x"))["training"]["max_epochs"] == 3


def test_a_traceback_is_shown_where_it_is_asked_for_as_of_hydra(here, capsys, monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(SystemExit):
        main(["train", "trainin=3"])
    text = capsys.readouterr().err
    assert text.startswith("Traceback") and text.endswith("did you mean training?\n")


def test_a_folder_that_cannot_be_written_to_is_one_line(capsys, monkeypatch):
    monkeypatch.chdir("/proc")
    line = refused(capsys, *TINY)
    assert line.startswith("/proc/runs") and "check the path and its permissions" in line


# ---------------------------------------------------------------- inside other programs


def state():
    """What of Hydra somebody around us may use."""
    return GlobalHydra.instance().hydra, HydraConfig.instance().cfg


def test_during_a_training_an_application_around_finds_its_own_hydra(here, monkeypatch, tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "train.yaml").write_text("mine: 3\n")
    seen = []
    monkeypatch.setattr(train, "finish", lambda *_: seen.append((state(), hydra.compose("train"))))
    with hydra.initialize_config_dir(str(tmp_path / "theirs"), version_base="1.2"):
        before = state()
        run(["train", "output_dir=x", *TINY])
        assert state() == before and seen == [(before, {"mine": 3})]
    assert (here / "x" / ".hydra" / "config.yaml").is_file()


def test_code_of_a_job_can_ask_hydra_for_its_folder(here, monkeypatch):
    seen = []

    def finish(*_):
        seen.append(HydraConfig.get().runtime.output_dir)

    monkeypatch.setattr(train, "finish", finish)
    run(["train", "output_dir=x", *TINY])
    assert seen == [f"{here}/x"] and not HydraConfig.initialized()


def test_trainings_in_several_threads_do_not_wait_for_each_other(here, monkeypatch):
    """Each waits in its training until both are there."""
    meeting, seen = threading.Barrier(2, timeout=120), []

    def finish(prepared, *_):
        meeting.wait()
        seen.append(prepared.request.settings["seed"])

    monkeypatch.setattr(train, "finish", finish)
    typed = [["train", f"output_dir=x{seed}", f"seed={seed}", *TINY] for seed in (1, 2)]
    threads = [threading.Thread(target=run, args=(one,)) for one in typed]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(240)
    assert sorted(seen) == [1, 2] and state() == (None, None)
    for seed in (1, 2):
        kept = yaml.safe_load((here / f"x{seed}" / ".hydra" / "config.yaml").read_text())
        assert kept["seed"] == seed


def test_outside_of_hydra_nothing_is_released():
    with released():
        pass
    with own_hydra(), released():
        assert state() == (None, None)


def test_without_private_names_of_hydra_a_training_runs_and_the_rest_is_refused(
    here, jobs, monkeypatch, capsys
):
    for name in ("Callbacks", "Hydra", "get_args_parser"):
        monkeypatch.setattr(hydra_private, name, None)
    main(["train", "output_dir=x", *TINY])
    assert len(jobs) == 1
    target = "+hydra.callbacks.mine={_target_:tests.test_hydra_application.Telling,path:x}"
    assert "hydra.callbacks cannot be called with this version" in refused(capsys, target, *TINY)
    assert "this version of Hydra shows no help of its own" in refused(capsys, "--hydra-help")
    with pytest.raises(UserError, match="this version of Hydra completes in another way"):
        run(["-sc", "install=bash"])


def test_without_the_store_of_resolvers_they_are_left_alone(monkeypatch):
    from omegaconf.basecontainer import BaseContainer

    monkeypatch.delattr(BaseContainer, "_resolvers")
    assert hydra_private.resolvers() is None
    hydra_private.put_resolvers(None)
