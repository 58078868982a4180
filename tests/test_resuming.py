"""A run goes on under other settings: each of them acts from there on, or is refused before
anything is written.
"""

import ast
import dataclasses
import math
import shlex
import shutil
from pathlib import Path

import pytest
import torch

import nowcast
from nowcast import cli
from nowcast.cli import config as configuration
from nowcast.data.moving_mnist import MovingMnist
from nowcast.forecasting.forecaster import Forecaster
from nowcast.runtime.errors import Terminated, UserError
from nowcast.training import checkpoints, resuming
from nowcast.training.callbacks import Termination
from nowcast.training.loop import fit
from nowcast.training.losses import CrossEntropy
from nowcast.training.module import TrainingModule
from nowcast.training.optimizers import cosine_share
from nowcast.training.settings import TrainingSettings
from nowcast.types.task import Task

SETTINGS = {
    "task": {
        "_target_": "nowcast.types.task.Task",
        "context_length": 2,
        "forecast_length": 2,
        "timestep": 1,
        "quantity": "grey_level",
    },
    "transform": {"_target_": "nowcast.types.transform.Identity"},
    "model": {
        "_target_": "nowcast.models.encoder_forecaster.EncoderForecaster",
        "hidden_channels": [2],
        "input_kernel": 3,
        "state_kernel": 3,
        "patch": 8,
    },
}
PLAN = {
    "batch_size": 2,
    "precision": "float32",
    "accelerator": "cpu",
    "schedule": "cosine",
    "learning_rate": 0.01,
}
STEPS = 4  # in an epoch of 8 sequences


class Interrupted(Exception):
    """A process that dies."""


def run(folder, *, epochs, resume=False, begun=None, before=None, **settings):
    torch.manual_seed(1)
    forecaster = Forecaster.from_settings(SETTINGS)
    task = Task(2, 2, 1, "grey_level")
    data = MovingMnist(task, 1, train_sequences=8, validation_sequences=2, fixed=False)
    plan = TrainingSettings(max_epochs=epochs, **(PLAN | settings))
    return fit(
        forecaster,
        data,
        loss=CrossEntropy(),
        settings=plan,
        folder=folder,
        seed=1,
        resume=resume,
        begun=begun,
        before=before,
    ), forecaster


def state(folder):
    """Every file of a run, and its bytes."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def watched(monkeypatch):
    """What every step is made with: learning rates, size of the batch, norm of the gradient that
    clips, precision.
    """
    seen, original = [], TrainingModule.training_step

    def step(self, batch, index):
        trainer = self.trainer
        group = trainer.optimizers[0].param_groups[0]
        (schedule,) = (found.scheduler for found in trainer.lr_scheduler_configs)
        seen.append(
            {
                "rate": group["lr"],
                "base": (group["initial_lr"], schedule.base_lrs[0]),
                "batch": len(batch),
                "clip": trainer.gradient_clip_val,
                "fused": bool(group["fused"]) if "fused" in group else None,
                "precision": trainer.precision,
                "skipped": self.settings.skipped,
                "workers": trainer.train_dataloader.num_workers,
                "keys": batch.key.tolist(),
                "progress": (self.global_step + self.shift) / trainer.estimated_stepping_batches,
                "epoch": self.current_epoch,
            }
        )
        return original(self, batch, index)

    monkeypatch.setattr(TrainingModule, "training_step", step)
    return seen


@pytest.fixture(scope="module")
def one_epoch(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    run(folder, epochs=1, schedule="constant")
    return folder


@pytest.fixture
def begun(one_epoch, tmp_path):
    """A run of one whole epoch with a constant learning rate."""
    return shutil.copytree(one_epoch, tmp_path / "begun")


def cut(folder, after, watched, **settings):
    """A run of three epochs that SIGTERM ends after so many steps."""
    original = Termination.on_train_batch_end

    def asked(self, trainer, module, outputs, batch, index):
        self.requested = self.requested or trainer.global_step == after
        return original(self, trainer, module, outputs, batch, index)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Termination, "on_train_batch_end", asked)
        with pytest.raises(Terminated):
            run(folder, epochs=3, **settings)
    watched.clear()


ACTING = {  # a changed setting -> what every step after the resume is made with
    "learning_rate": (0.002, {"rate": 0.002, "base": (0.002, 0.002)}),
    "gradient_clip": (0.5, {"clip": 0.5, "fused": False}),
    "batch_size": (4, {"batch": 4}),
    "precision": ("bf16-mixed", {"precision": "bf16-mixed"}),
    "skipped": (1, {"skipped": 1}),
    "workers": (1, {"workers": 1}),
}


@pytest.mark.parametrize("name", ACTING)
def test_a_changed_setting_is_what_every_step_after_the_resume_is_made_with(begun, watched, name):
    value, expected = ACTING[name]
    told = []
    run(begun, epochs=2, resume=True, begun=told.extend, schedule="constant", **{name: value})
    assert watched and all(
        step[key] == found for step in watched for key, found in expected.items()
    )
    assert "from epoch 1, step 4 on: training.max_epochs=2 in place of 1" in told
    before = PLAN.get(name, getattr(TrainingSettings, name))
    assert any(
        f"training.{name}={value} in place of {'null' if before is None else before}" in sentence
        for sentence in told
    )


def test_a_changed_learning_rate_goes_on_along_the_schedule(tmp_path, watched):
    cut(tmp_path, 5, watched)
    run(tmp_path, epochs=3, resume=True, learning_rate=0.001)
    expected = [0.001 * cosine_share(3 * STEPS, step) for step in range(5, 3 * STEPS)]
    assert [step["rate"] for step in watched] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("first", "second"), [("cosine", "constant"), ("constant", "cosine")])
def test_another_schedule_acts_from_the_next_step_on(tmp_path, watched, first, second):
    run(tmp_path, epochs=1, schedule=first)
    watched.clear()
    run(tmp_path, epochs=3, resume=True, schedule=second)
    shares = [
        cosine_share(3 * STEPS, step) if second == "cosine" else 1.0
        for step in range(STEPS, 3 * STEPS)
    ]
    assert [step["rate"] for step in watched] == pytest.approx(
        [0.01 * share for share in shares], rel=1e-12
    )


def test_more_epochs_stretch_the_schedule_from_the_next_step_on(tmp_path, watched):
    cut(tmp_path, 5, watched)
    run(tmp_path, epochs=6, resume=True)
    expected = [0.01 * cosine_share(6 * STEPS, step) for step in range(5, 6 * STEPS)]
    assert [step["rate"] for step in watched] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("clip", [None, 1.0])
def test_a_gradient_is_clipped_from_the_resume_on_whether_or_not_the_optimizer_was_fused(
    tmp_path, clip
):
    run(tmp_path, epochs=1, schedule="constant", gradient_clip=1.0 if clip is None else None)
    history, _ = run(tmp_path, epochs=2, schedule="constant", gradient_clip=clip, resume=True)
    assert len(history.train_loss) == 2 and all(map(math.isfinite, history.train_loss))


@pytest.mark.parametrize(("size", "batches"), [(4, 2), (1, 8), (3, 3)])
def test_another_batch_size_begins_the_epoch_that_had_begun_anew_and_keeps_the_place_in_the_schedule(
    tmp_path, watched, size, batches
):
    cut(tmp_path, 6, watched)  # the second step of the second epoch
    told = []
    history, _ = run(tmp_path, epochs=3, resume=True, batch_size=size, begun=told.extend)
    by_epoch = {epoch: [step for step in watched if step["epoch"] == epoch] for epoch in (1, 2)}
    assert {epoch: len(steps) for epoch, steps in by_epoch.items()} == {1: batches, 2: batches}
    for epoch, steps in by_epoch.items():
        assert sorted(key for step in steps for key in step["keys"]) == [
            [epoch, index] for index in range(8)
        ]
    assert [step["progress"] for step in watched] == pytest.approx(
        [place / (3 * batches) for place in range(batches, 3 * batches)]
    )
    assert watched[-1]["rate"] == pytest.approx(0.01 * cosine_share(3 * batches, 3 * batches - 1))
    assert "epoch 1 begins anew, as its batches are others now" in told
    assert len(history.train_loss) == len(history.validation_loss) == 3


def test_a_run_whose_batch_size_changed_goes_on_bit_for_bit_when_it_is_resumed_once_more(
    tmp_path, watched
):
    for name in ("once", "twice"):
        run(tmp_path / name, epochs=1)
    _, once = run(tmp_path / "once", epochs=3, resume=True, batch_size=4)
    run(tmp_path / "twice", epochs=2, resume=True, batch_size=4)
    watched.clear()
    _, twice = run(tmp_path / "twice", epochs=3, resume=True, batch_size=4)
    assert [step["progress"] for step in watched] == pytest.approx([4 / 6, 5 / 6])
    assert watched[0]["rate"] == pytest.approx(0.01 * cosine_share(6, 4))


def test_another_patience_acts_from_the_resume_on(tmp_path):
    flat = {
        "schedule": "constant",
        "learning_rate": 1e-12,
    }  # no epoch is better than the first by much
    run(tmp_path, epochs=2, patience=5, **flat)
    name = "EarlyStopping"
    before = next(
        value
        for key, value in checkpoints.load(tmp_path / "checkpoints" / "last.ckpt")[
            "callbacks"
        ].items()
        if name in key
    )
    history, _ = run(tmp_path, epochs=30, patience=2, resume=True, **flat)
    after = next(
        value
        for key, value in checkpoints.load(tmp_path / "checkpoints" / "last.ckpt")[
            "callbacks"
        ].items()
        if name in key
    )
    assert (
        (before["patience"], after["patience"]) == (5, 2)
        and after["wait_count"] == 2
        and len(history.train_loss) < 30
    )


def test_patience_can_be_given_to_a_run_without_one_and_taken_from_a_run_that_it_ended(tmp_path):
    flat = {"schedule": "constant", "learning_rate": 1e-12}
    run(tmp_path, epochs=1, **flat)
    history, _ = run(tmp_path, epochs=30, patience=1, resume=True, **flat)
    ended = len(history.train_loss)
    assert ended < 30
    with pytest.raises(
        UserError,
        match="training.max_epochs would have no effect: no step is left .* patience of 1 epochs "
        "has ended it; give a larger training.patience, too",
    ):
        run(tmp_path, epochs=40, patience=1, resume=True, **flat)
    history, _ = run(tmp_path, epochs=ended + 1, patience=None, resume=True, **flat)
    assert len(history.train_loss) == ended + 1


REFUSED = {  # what is changed -> the sentence
    "optimizer": (
        {"epochs": 2, "optimizer": "rmsprop"},
        "was trained with training.optimizer=adam, whose averages of gradients rmsprop cannot go "
        "on with",
    ),
    "select_threshold": ({"epochs": 2, "select": "csi"}, "use training.select=validation_loss"),
    "no step left": (
        {"epochs": 1, "learning_rate": 0.5},
        "training.learning_rate would have no effect: no step is left .* its 1 epochs are done; "
        "give a larger training.max_epochs, too",
    ),
    "precision of nothing": (
        {"epochs": 1, "precision": "bf16-mixed"},
        "training.precision would have no effect",
    ),
    "batch size of nothing": (
        {"epochs": 1, "batch_size": 8},
        "training.batch_size would have no effect",
    ),
    "workers of nothing": ({"epochs": 1, "workers": 2}, "training.workers would have no effect"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_run_cannot_go_on_with_is_refused_before_anything_is_written(begun, name):
    settings, message = REFUSED[name]
    before = state(begun)
    with pytest.raises(UserError, match=message):
        run(
            begun,
            resume=True,
            **({"schedule": "constant"} | settings),
            begun=lambda _: pytest.fail("nothing begins"),
        )
    assert state(begun) == before


def test_every_setting_of_a_training_stands_in_its_checkpoints_and_is_compared_on_resume(begun):
    kept = checkpoints.load(begun / "checkpoints" / "last.ckpt")[resuming.SETTINGS]
    assert set(kept) == {field.name for field in dataclasses.fields(TrainingSettings)} | {
        "processes"
    }


def test_a_checkpoint_of_an_older_nowcast_has_the_settings_of_its_configuration(tmp_path, watched):
    run(tmp_path, epochs=1, schedule="constant")
    path = tmp_path / "checkpoints" / "last.ckpt"
    content = checkpoints.load(path)
    older = {
        name: value
        for name, value in content.items()
        if name not in (resuming.SETTINGS, resuming.SHIFT)
    }
    checkpoints.save(older, path)
    told, plan = [], TrainingSettings(max_epochs=1, **(PLAN | {"schedule": "constant"}))
    run(
        tmp_path,
        epochs=2,
        resume=True,
        schedule="constant",
        batch_size=8,
        before=plan,
        begun=told.extend,
    )
    assert (
        any("training.batch_size=8 in place of 2" in sentence for sentence in told)
        and watched[-1]["progress"] == 0.5
    )


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "muon"])
def test_without_changes_nothing_is_told_and_the_weights_are_those_of_an_uninterrupted_run(
    tmp_path, watched, optimizer
):
    _, whole = run(tmp_path / "whole", epochs=3, optimizer=optimizer)
    cut(tmp_path / "cut", 6, watched, optimizer=optimizer)
    told = []
    _, resumed = run(
        tmp_path / "cut", epochs=3, resume=True, begun=told.append, optimizer=optimizer
    )
    assert told == [[]]
    first, second = (forecaster.model.state_dict() for forecaster in (whole, resumed))
    assert all(torch.equal(first[name], second[name]) for name in first)


# a part of each message that names a setting of the training, or resume -> the test in which the
# advice is followed
ADVICES = {
    "try a lower training.learning_rate": "test_a_training_that_diverged_goes_on_with_what_its_message_advises",
    "training.gradient_clip=1.": "test_a_training_that_diverged_goes_on_with_what_its_message_advises",
    "Train again with a lower training.learning_rate": "no run folder has such weights: they are "
    "never saved",
    "training.workers=0 shows what is wrong": "test_a_changed_setting_is_what_every_step_after_the_resume_is_made_with",
    "training.max_epochs=": "test_a_changed_setting_is_what_every_step_after_the_resume_is_made_with",
    "would have no effect: no step is left": "test_what_a_run_cannot_go_on_with_is_refused_before_anything_is_written",
    "resume with the run's own training.select settings": "test_what_a_run_cannot_go_on_with_is_refused_before_anything_is_written",
    "was trained with training.optimizer=": "test_what_a_run_cannot_go_on_with_is_refused_before_anything_is_written",
    "use training.select=validation_loss": "test_training",
    "training.select=validation_loss.": "test_training",
    "which the transform makes": "test_training",
    "cannot be used here": "test_training",
    "and go on with resume": "test_checkpoints",
    "resume when they can be read": "test_unreadable::test_a_file_of_a_run_that_cannot_be_read_now_is_not_called_damaged_and_nothing_is_to_be_made_anew",
    "to resume from": "test_training::test_there_must_be_something_to_resume_from",
    "already holds a run": "test_a_folder_is_only_advised_to_be_resumed_where_that_works",
    "nowcast train resume=DIR": "test_settings",
    "only training.* can be changed": "test_a_changed_setting_is_what_every_step_after_the_resume_is_made_with",
    "resume is empty": "test_cli",
    "resume was given": "test_settings",
    "--package takes a part of the configuration": "test_settings",
    "a whole number, at least": "test_training::test_wrong_settings_are_refused",
    "expected a number above 0": "test_training::test_wrong_settings_are_refused",
    "accepted are ": "test_training::test_wrong_settings_are_refused",
    ", but training.devices is ": "test_processes::test_processes_that_would_each_train_for_themselves_are_refused",
    "to train in one process, or start several with": "test_processes::test_an_environment_that_cannot_be_used_is_refused_with_what_to_set",
    "this process was not started by srun": "test_processes::test_an_environment_that_cannot_be_used_is_refused_with_what_to_set",
    "cannot work together here; start them with torchrun": "test_processes::test_an_environment_that_cannot_be_used_is_refused_with_what_to_set",
    "as each of them computes all the time": "test_processes::test_more_processes_on_a_cpu_than_cores_are_refused",
    "one process trains on one device": "test_processes::test_python_code_trains_in_one_process",
    "resume= cannot be given to a comparison": "test_hydra_application::test_other_commands_take_of_hydras_words_what_has_a_meaning",
    "which are not composed anew; type --cfg job": "test_hydra_application::test_what_has_no_meaning_is_refused_with_the_reason",
    "with --multirun type resume=auto": "test_multirun::test_a_second_multirun_into_a_folder_with_runs_is_refused_and_goes_on_with_resume",
    "or go on with them: type resume=auto": "test_multirun::test_a_second_multirun_into_a_folder_with_runs_is_refused_and_goes_on_with_resume",
    "resume=auto cannot go on with jobs of": "test_multirun::test_a_multirun_that_cannot_work_is_one_line_before_anything_is_written",
    "give one training.select for all": "test_multirun::test_a_multirun_that_cannot_work_is_one_line_before_anything_is_written",
    "training.devices=N for several processes of one training": "test_multirun::test_a_multirun_that_cannot_work_is_one_line_before_anything_is_written",
}


def messages():
    """The texts of all errors of the package that name a setting of the training, or resume."""
    for path in sorted(Path(nowcast.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                text = "".join(
                    part.value
                    for part in ast.walk(node.exc)
                    if isinstance(part, ast.Constant) and isinstance(part.value, str)
                )
                if "training." in text or "resume" in text:
                    yield pytest.param(text, id=f"{path.name}:{node.lineno}")


@pytest.mark.parametrize("text", list(messages()))
def test_a_message_that_advises_a_setting_is_in_the_table_of_those_that_were_tried(text):
    assert any(part in text for part in ADVICES), text


def test_a_training_that_diverged_goes_on_with_what_its_message_advises(tmp_path, monkeypatch):
    run(tmp_path, epochs=1, schedule="constant", learning_rate=0.5)
    original = CrossEntropy.__call__

    def diverging(self, *arguments):
        found = original(self, *arguments)
        return found * math.nan if settings["learning_rate"] > 0.1 else found

    monkeypatch.setattr(CrossEntropy, "__call__", diverging)
    settings = {"learning_rate": 0.5, "skipped": 1}
    with pytest.raises(
        UserError,
        match="The last checkpoint is intact. .* try a lower training.learning_rate, or "
        "training.gradient_clip=1",
    ):
        run(tmp_path, epochs=3, schedule="constant", resume=True, **settings)
    settings |= {"learning_rate": 0.01, "gradient_clip": 1.0}
    history, _ = run(tmp_path, epochs=3, schedule="constant", resume=True, **settings)
    assert len(history.train_loss) == 3 and all(map(math.isfinite, history.train_loss))


def test_a_folder_is_only_advised_to_be_resumed_where_that_works(one_epoch, tmp_path):
    folder = shutil.copytree(one_epoch, tmp_path / "a run")
    with pytest.raises(UserError, match="is not a finished run folder") as caught:
        Forecaster.load(folder)
    command = str(caught.value).partition("finish this run with: ")[2].rstrip(".")
    assert shlex.split(command) == ["nowcast", "train", f"resume={folder}"]
    shutil.rmtree(folder / "checkpoints")
    with pytest.raises(UserError, match="Give the folder that `nowcast train` printed.$"):
        Forecaster.load(folder)


SMALL = [
    "data.train_sequences=4",
    "data.validation_sequences=2",
    "data.test_sequences=3",
    "model=convlstm_small",
    "model.hidden_channels=[2]",
    "model.patch=8",
    "training.accelerator=cpu",
    "training.precision=float32",
    "training.schedule=constant",
    "training.batch_size=2",
]


def test_a_configuration_says_what_was_changed_and_from_where_on(tmp_path, capsys):
    folder = tmp_path / "a run"
    cli.run(["train", f"output_dir={folder}", *SMALL, "training.max_epochs=1"])
    config = folder / "config.yaml"
    first, files = config.read_text(), state(folder)
    for typed, message in (
        (["training.optimizer=rmsprop", "training.max_epochs=2"], "averages of gradients"),
        (["training.learning_rate=0.1"], "no step is left"),
        (["training.select_threshold=3", "training.max_epochs=2"], "training.select=csi"),
        (["training.nonsense=1"], "cannot be applied"),
        (["model.patch=2"], "only training.* can be changed"),
        (["name=x"], "only training.* can be changed"),
    ):
        with pytest.raises(UserError, match=message):
            cli.run(["train", f"resume={folder}", *typed])
        assert state(folder) == files
    cli.run(["train", f"resume={folder}", "training.max_epochs=2", "training.learning_rate=0.002"])
    cli.run(
        [
            "train",
            "resume=auto",
            f"output_dir={folder}",
            *SMALL,
            "training.max_epochs=3",
            "training.learning_rate=0.001",
            "training.patience=9",
        ]
    )
    lines = config.read_text().splitlines()
    assert [line for line in lines if line.startswith("# ")] == [
        "# from epoch 1, step 2 on: training.max_epochs=2 in place of 1",
        "# from epoch 1, step 2 on: training.learning_rate=0.002 in place of 0.04",
        "# from epoch 2, step 4 on: training.max_epochs=3 in place of 2",
        "# from epoch 2, step 4 on: training.learning_rate=0.001 in place of 0.002",
        "# from epoch 2, step 4 on: training.patience=9 in place of null",
    ]
    assert (
        "# from" not in first
        and "from epoch 2, step 4 on: training.patience=9" in capsys.readouterr().out
    )
    stored = configuration.plain(configuration.load(folder))["training"]
    assert (stored["max_epochs"], stored["learning_rate"], stored["patience"]) == (3, 0.001, 9)
    files = state(folder)
    assert "nothing is left to train" not in capsys.readouterr().out
    cli.run(["train", f"resume={folder}"])
    assert "nothing is left to train, and it is evaluated again" in capsys.readouterr().out
    assert config.read_bytes() == files[config]
