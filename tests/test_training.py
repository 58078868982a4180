import functools
import math
import os
import signal

import numpy as np
import pytest
import torch

from nowcast.data.base import Cases, DataSet
from nowcast.data.moving_mnist import MovingMnist
from nowcast.data.sampling import EpochSampler
from nowcast.data.synthetic_rain import SyntheticRain
from nowcast.evaluation.statistics.rain import RainScores
from nowcast.forecasting.forecaster import Forecaster
from nowcast.models.autoregressive import Autoregressive
from nowcast.runtime.errors import Terminated
from nowcast.training import checkpoints, module, selection
from nowcast.training.loop import fit
from nowcast.training.losses import CRPS, CrossEntropy, ExceedanceError, PixelLoss, WeightedError
from nowcast.training.module import TrainingModule
from nowcast.training.optimizers import cosine_share
from nowcast.training.settings import TrainingSettings
from nowcast.training.trainer import lightning_precision
from nowcast.types.batch import Batch
from nowcast.types.task import Task

TASK = {
    "_target_": "nowcast.types.task.Task",
    "context_length": 2,
    "forecast_length": 2,
    "timestep": 1,
    "quantity": "grey_level",
}
SETTINGS = {
    "task": TASK,
    "transform": {"_target_": "nowcast.types.transform.Identity"},
    "model": {
        "_target_": "nowcast.models.encoder_forecaster.EncoderForecaster",
        "hidden_channels": [4],
        "input_kernel": 3,
        "state_kernel": 3,
    },
}


def data(**settings):
    sequences = {"train_sequences": 6, "validation_sequences": 4, "fixed": False} | settings
    return MovingMnist(Task(2, 2, 1, "grey_level"), 1, **sequences)


def run(
    folder,
    *,
    epochs=3,
    resume=False,
    seed=1,
    loss=None,
    source=None,
    model=None,
    task=None,
    transform=None,
    **settings,
):
    torch.manual_seed(seed)
    changes = {"model": model, "task": task, "transform": transform}
    forecaster = Forecaster.from_settings(
        SETTINGS | {name: value for name, value in changes.items() if value is not None}
    )
    plan = TrainingSettings(
        max_epochs=epochs,
        **(
            {"batch_size": 4, "precision": "float32", "accelerator": "cpu", "schedule": "cosine"}
            | settings
        ),
    )
    history = fit(
        forecaster,
        source or data(),
        loss=loss or CrossEntropy(),
        settings=plan,
        folder=folder,
        seed=seed,
        resume=resume,
    )
    return forecaster, history


def weights(forecaster):
    return torch.cat([weight.flatten() for weight in forecaster.model.state_dict().values()])


def test_training_lowers_the_loss_and_writes_checkpoints_and_logs(tmp_path):
    _, history = run(tmp_path, epochs=4, learning_rate=1e-2)
    assert len(history.train_loss) == len(history.validation_loss) == 4
    assert history.validation_loss[-1] < 0.98 * history.validation_loss[0]
    names = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert {"checkpoints/best.ckpt", "checkpoints/last.ckpt", "logs/version_0/metrics.csv"} <= names
    assert any("tfevents" in name for name in names)


def test_a_model_that_made_a_forecast_before_is_trained_in_training_mode(tmp_path, monkeypatch):
    modes, original = [], TrainingModule.training_step

    def watched(self, batch, index):
        modes.append(self.model.training)
        return original(self, batch, index)

    monkeypatch.setattr(TrainingModule, "training_step", watched)
    forecaster = Forecaster.from_settings(SETTINGS)
    forecaster.forecast_values(np.zeros((1, 2, 8, 8), np.float32))
    fit(
        forecaster,
        data(),
        loss=CrossEntropy(),
        settings=TrainingSettings(max_epochs=1, accelerator="cpu"),
        folder=tmp_path,
        seed=1,
    )
    assert modes == [True]


def test_two_runs_with_one_seed_are_identical_and_another_seed_is_not(tmp_path):
    first, second, third = (
        weights(run(tmp_path / str(i), seed=seed)[0]) for i, seed in enumerate((1, 1, 2))
    )
    assert torch.equal(first, second) and not torch.equal(first, third)


def test_two_workers_train_the_same_weights_as_none(tmp_path):
    assert torch.equal(weights(run(tmp_path / "a")[0]), weights(run(tmp_path / "b", workers=2)[0]))


LAYERS = {
    "_target_": "nowcast.models.encoder_forecaster.EncoderForecaster",
    "hidden_channels": [3],
    "input_kernel": 3,
    "state_kernel": 3,
}
DRAWING = {  # models and losses that draw at random in training
    "dropout": (LAYERS | {"dropout": 0.3}, None),
    "noise": (LAYERS | {"state_noise": 0.5}, CRPS(members=2)),
    "sampling": (
        {
            "_target_": "nowcast.models.convlstm_stack.ConvLSTMStack",
            "hidden_channels": [3],
            "kernel": 3,
            "sampling": "reverse",
            "sampling_until": 1.0,
        },
        None,
    ),
    "drop path": (
        {
            "_target_": "nowcast.models.simvp.SimVP",
            "context_length": 2,
            "spatial_channels": 4,
            "hidden_channels": 8,
            "blocks": 2,
            "drop_path": 0.5,
        },
        None,
    ),
}


@pytest.mark.parametrize("kind", DRAWING)
def test_a_resumed_run_draws_what_the_uninterrupted_one_drew_whatever_the_workers(
    tmp_path, monkeypatch, kind
):
    model, loss = DRAWING[kind]
    whole, history = run(tmp_path / "whole", model=model, loss=loss)
    steps, original = [], TrainingModule.training_step

    def dying(self, batch, index):
        steps.append(index)
        if len(steps) == 5:
            raise Interrupted
        return original(self, batch, index)

    monkeypatch.setattr(TrainingModule, "training_step", dying)
    with pytest.raises(Interrupted):
        run(tmp_path / "cut", model=model, loss=loss, workers=1)
    monkeypatch.setattr(TrainingModule, "training_step", original)
    resumed, resumed_history = run(tmp_path / "cut", model=model, loss=loss, resume=True)
    assert torch.equal(weights(resumed), weights(whole)) and resumed_history == history
    other, _ = run(tmp_path / "other", model=model, loss=loss, seed=2)
    assert not torch.equal(weights(other), weights(whole))


def test_scheduled_sampling_is_passed_how_far_the_training_is(tmp_path, monkeypatch):
    seen, original = [], Autoregressive.scheduled_sampling

    def watched(self, window, observed, context_length, progress):
        seen.append((context_length, progress))
        return original(self, window, observed, context_length, progress)

    monkeypatch.setattr(Autoregressive, "scheduled_sampling", watched)
    run(tmp_path, model=DRAWING["sampling"][0])
    assert seen == [(2, pytest.approx(step / 6)) for step in range(6)]


def test_a_loss_for_ensembles_gets_its_number_of_members(tmp_path, monkeypatch):
    seen, original = [], CRPS.compare
    monkeypatch.setattr(
        CRPS,
        "compare",
        lambda self, forecast, *rest: (
            seen.append(forecast.shape[1]) or original(self, forecast, *rest)
        ),
    )
    run(tmp_path, epochs=1, model=DRAWING["noise"][0], loss=CRPS(members=3))
    assert set(seen) == {3}


@pytest.mark.parametrize(
    ("model", "loss", "message"),
    [
        (
            LAYERS,
            CRPS(),
            "CRPS is a loss for ensembles, but this EncoderForecaster has no members; use "
            "model=convlstm_small model.state_noise=0.1",
        ),
        (
            DRAWING["drop path"][0],
            CRPS(),
            "but this SimVP has no members; use model=convlstm_small model.state_noise=0.1",
        ),
        (
            LAYERS | {"output": "linear"},
            None,
            "CrossEntropy needs values between 0 and 1, but this EncoderForecaster "
            "may predict others",
        ),
    ],
)
def test_a_model_and_a_loss_that_do_not_go_together_are_refused(tmp_path, model, loss, message):
    with pytest.raises(ValueError, match=message):
        run(tmp_path, model=model, loss=loss)


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("batches_before_the_end", [1, 3])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_killed_at_any_batch_and_resumed_equals_the_uninterrupted_one(
    tmp_path, monkeypatch, batches_before_the_end, workers
):
    """6 sequences in batches of 4 are 2 steps an epoch: the run dies in its second epoch (step 3)
    or third (step 5).
    """
    whole, whole_history = run(tmp_path / "whole")
    steps = []
    original = TrainingModule.training_step

    def dying(self, batch, index):
        steps.append(index)
        if len(steps) == 6 - batches_before_the_end:
            raise Interrupted
        return original(self, batch, index)

    monkeypatch.setattr(TrainingModule, "training_step", dying)
    with pytest.raises(Interrupted):
        run(tmp_path / "cut", workers=workers)
    monkeypatch.setattr(TrainingModule, "training_step", original)
    resumed, history = run(tmp_path / "cut", resume=True, seed=1, workers=workers)
    assert torch.equal(weights(resumed), weights(whole))
    assert history == whole_history
    last, last_whole = (
        checkpoints.load(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("cut", "whole")
    )
    for name, tensor in last["state_dict"].items():
        assert torch.equal(tensor, last_whole["state_dict"][name])
    assert last["global_step"] == last_whole["global_step"] == 6


def test_the_best_weights_are_kept_and_not_the_last(tmp_path):
    forecaster, history = run(tmp_path, epochs=6, learning_rate=0.3, schedule="constant")
    best = int(np.argmin(history.validation_loss))
    assert best < 5  # a rate this high does not improve every epoch
    checkpoint = checkpoints.load(tmp_path / "checkpoints" / "best.ckpt")
    assert checkpoint["epoch"] == best
    for name, tensor in forecaster.model.state_dict().items():
        assert torch.equal(tensor, checkpoint["state_dict"][f"model.{name}"])


def test_patience_stops_the_training_early(tmp_path):
    _, history = run(tmp_path, epochs=20, learning_rate=0.3, schedule="constant", patience=2)
    best = int(np.argmin(history.validation_loss))
    assert len(history.validation_loss) == best + 3 < 20


def test_a_training_that_ended_by_its_patience_is_not_gone_on_with(tmp_path):
    forecaster, history = run(
        tmp_path, epochs=20, learning_rate=0.3, schedule="constant", patience=2
    )
    again, same = run(
        tmp_path, epochs=20, learning_rate=0.3, schedule="constant", patience=2, resume=True
    )
    assert (
        same == history
        and torch.equal(weights(again), weights(forecaster))
        and not (tmp_path / "logs" / "version_1" / "metrics.csv").exists()
    )
    _, longer = run(
        tmp_path, epochs=20, learning_rate=0.3, schedule="constant", patience=3, resume=True
    )
    assert len(longer.validation_loss) > len(history.validation_loss)


def test_the_gradient_is_clipped_to_the_given_norm(tmp_path):
    """RMSProp's first step is lr * g / sqrt(0.1 g^2 + tiny): clipping shows only where g is tiny
    itself.
    """
    free, clipped = (
        weights(run(tmp_path / name, epochs=1, optimizer="rmsprop", **settings)[0])
        for name, settings in (("free", {}), ("clipped", {"gradient_clip": 1e-6}))
    )
    torch.manual_seed(1)
    start = weights(Forecaster.from_settings(SETTINGS))
    assert (clipped - start).abs().max() < 0.2 * (free - start).abs().max()


def test_bf16_mixed_trains_float32_weights_to_nearly_the_same_loss(tmp_path):
    exact, exact_history = run(tmp_path / "float32", epochs=2)
    mixed, mixed_history = run(tmp_path / "bf16", epochs=2, precision="bf16-mixed")
    assert weights(mixed).dtype == torch.float32
    assert not torch.equal(weights(exact), weights(mixed))
    assert mixed_history.validation_loss[-1] == pytest.approx(
        exact_history.validation_loss[-1], rel=0.02
    )


def test_auto_precision_asks_the_hardware(monkeypatch):
    for fast, precision in ((True, "bf16-mixed"), (False, "32-true")):
        monkeypatch.setattr(
            "nowcast.runtime.precision.bf16_is_fast", lambda device, fast=fast: fast
        )
        assert lightning_precision(TrainingSettings(max_epochs=1)) == precision


def test_a_cosine_schedule_warms_up_and_ends_at_zero():
    share = functools.partial(cosine_share, 100)
    assert [share(0), share(4), share(5)] == [0.2, 1.0, 1.0]
    assert share(52) == pytest.approx(0.5 * (1 + math.cos(math.pi * 47 / 95)))
    assert share(100) == 0


class Poisoned(DataSet, Cases):
    """Cases whose unobserved pixels hold NaN; which pixels those are is fixed, the rest is data."""

    def __init__(self, hidden):
        self.hidden = hidden

    def __len__(self):
        return 4

    def part(self, name):
        return self

    def case(self, epoch, index):
        generator = np.random.default_rng([epoch, index])
        values = generator.random((4, 8, 8), dtype=np.float32)
        values[generator.random(values.shape) < 0.3] = self.hidden
        return values


def test_nan_pixels_never_reach_a_weight(tmp_path):
    forecaster, history = run(tmp_path, source=Poisoned(np.nan), loss=WeightedError())
    assert torch.isfinite(weights(forecaster)).all() and np.isfinite(history.train_loss).all()
    filled, _ = run(tmp_path / "zero", source=Poisoned(0.0), loss=WeightedError())
    assert not torch.equal(
        weights(filled), weights(forecaster)
    )  # dry pixels count, missing ones do not


class Diverging(PixelLoss):
    """A squared error that is no finite number, or has no finite gradient, at some of its calls in
    training.
    """

    def __init__(self, *calls, of_gradient=False):
        self.calls, self.of_gradient, self.number = calls, of_gradient, 0

    def of(self, forecast, target, observed):
        loss = (forecast - target).square().mean()
        if not torch.is_grad_enabled() or not loss.requires_grad:
            return loss
        self.number += 1
        if self.number not in self.calls:
            return loss
        return loss + (forecast.sum() * 0).sqrt() * 1.0 if self.of_gradient else loss / 0


@pytest.mark.parametrize("of_gradient", [False, True])
def test_a_step_without_finite_numbers_is_left_out_and_told_of_with_its_samples(
    tmp_path, caplog, of_gradient
):
    forecaster, history = run(tmp_path, loss=Diverging(2, of_gradient=of_gradient))
    assert torch.isfinite(weights(forecaster)).all() and np.isfinite(history.train_loss).all()
    (line,) = [
        record.getMessage() for record in caplog.records if record.name == "nowcast.training.module"
    ]
    order = [index for _, index in EpochSampler(6, seed=1)]
    assert (
        line == "the loss or its gradient is no finite number in epoch 0, step 1, samples "
        f"{order[4]}, {order[5]}: the step is left out (1 of at most 5)"
    )
    plain, _ = run(tmp_path / "plain", loss=Diverging())
    assert not torch.equal(weights(plain), weights(forecaster))


def test_too_many_steps_without_finite_numbers_end_the_training_with_one_line(tmp_path):
    with pytest.raises(
        ValueError,
        match="in epoch 1, step 1, samples .*; 2 steps of this epoch were left out, and "
        "training.skipped allows 1. The last checkpoint is intact",
    ):
        run(tmp_path, loss=Diverging(3, 4), skipped=1)
    content = checkpoints.load(tmp_path / "checkpoints" / "last.ckpt")
    assert content["epoch"] == 0 and all(
        torch.isfinite(tensor).all() for tensor in content["state_dict"].values()
    )


class OnlyInTraining(PixelLoss):
    """No finite number in the validation."""

    def of(self, forecast, target, observed):
        return forecast.mean() * (1.0 if forecast.requires_grad else math.nan)


def test_a_validation_loss_that_is_no_finite_number_ends_the_training(tmp_path):
    with pytest.raises(ValueError, match="the validation loss is nan after epoch 0"):
        run(tmp_path, loss=OnlyInTraining())
    assert not list(tmp_path.rglob("*.ckpt"))


class Deadly(Poisoned):
    """One of the samples of the second epoch kills the process that makes it."""

    def case(self, epoch, index):
        if (epoch, index) == (1, 3) and torch.utils.data.get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().case(epoch, index)


def test_a_loader_process_that_dies_is_told_of_with_the_samples_it_was_at(tmp_path):
    with pytest.raises(
        ValueError,
        match=r"a process that prepares batches was lost in epoch 1 while samples (\d+, )*3(, "
        r"\d+)* were being prepared .*; the last checkpoint is intact",
    ):
        run(tmp_path, source=Deadly(np.nan), loss=WeightedError(), workers=1)
    assert checkpoints.load(tmp_path / "checkpoints" / "last.ckpt")["epoch"] == 0


def test_there_must_be_something_to_resume_from(tmp_path):
    with pytest.raises(
        ValueError, match="checkpoints has no checkpoint to resume from; start anew without resume"
    ):
        run(tmp_path, resume=True)


class StoppedAt(PixelLoss):
    """Sends SIGTERM to this process when a loss is computed for the n-th time, in training or in
    validation.
    """

    def __init__(self, training_call=None, validation_call=None):
        self.wanted, self.counts = (
            {True: training_call, False: validation_call},
            {True: 0, False: 0},
        )

    def of(self, forecast, target, observed):
        kind = forecast.requires_grad
        self.counts[kind] += 1
        if self.counts[kind] == self.wanted[kind]:
            os.kill(os.getpid(), signal.SIGTERM)
        return (forecast - target).square().mean()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Three steps an epoch, two of validation; and what becomes of a training on it that nobody
    stops.
    """
    source = data(train_sequences=12, validation_sequences=8)
    return source, *run(
        tmp_path_factory.mktemp("undisturbed"),
        epochs=3,
        loss=StoppedAt(),
        source=source,
        learning_rate=1e-2,
    )


@pytest.mark.parametrize(
    ("place", "step", "workers"),
    [
        ({"training_call": 1}, 1, 0),
        ({"training_call": 2}, 2, 2),
        ({"training_call": 3}, 2, 0),
        ({"training_call": 4}, 4, 0),
        ({"training_call": 6}, 5, 0),
        ({"validation_call": 1}, 2, 0),
        ({"validation_call": 4}, 5, 2),
    ],
)
def test_sigterm_saves_and_the_resumed_run_equals_the_uninterrupted_one(
    undisturbed, tmp_path, place, step, workers
):
    """In the last step of an epoch, and in the validation after it, the step before the last is
    what was saved.
    """
    source, whole, history = undisturbed
    with pytest.raises(Terminated):
        run(
            tmp_path / "cut",
            epochs=3,
            loss=StoppedAt(**place),
            source=source,
            learning_rate=1e-2,
            workers=workers,
        )
    assert checkpoints.load(tmp_path / "cut" / "checkpoints" / "last.ckpt")["global_step"] == step
    resumed, resumed_history = run(
        tmp_path / "cut",
        epochs=3,
        loss=StoppedAt(),
        source=source,
        resume=True,
        learning_rate=1e-2,
        workers=workers,
    )
    assert torch.equal(weights(resumed), weights(whole))
    assert resumed_history == history
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": "sgd"}, "training.optimizer is 'sgd'; accepted are adam, rmsprop"),
        ({"schedule": "step"}, "training.schedule is 'step'"),
        (
            {"precision": "fp16"},
            "training.precision is 'fp16'; accepted are auto, float32, bf16-mixed",
        ),
        ({"max_epochs": 0}, "training.max_epochs is 0"),
        ({"batch_size": 2.5}, "training.batch_size is 2.5"),
        ({"workers": -1}, "training.workers is -1"),
        ({"skipped": -1}, "training.skipped is -1; expected a whole number, at least 0"),
        ({"learning_rate": 0}, "training.learning_rate is 0; expected a number above 0"),
        ({"learning_rate": None}, "training.learning_rate is None"),
        ({"select": "pod"}, "training.select is 'pod'; accepted are validation_loss, csi"),
        ({"select_threshold": 0}, "training.select_threshold is 0; expected a number"),
        ({"gradient_clip": -1}, "training.gradient_clip is -1"),
        ({"patience": "x"}, "training.patience is 'x'"),
        ({"average": 0}, "training.average is 0; expected a number above 0"),
        ({"average": 1}, "training.average is 1; expected a number above 0 and below 1"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        TrainingSettings(**({"max_epochs": 1} | settings))


def test_a_moved_run_folder_is_resumed_with_its_best_so_far(tmp_path):
    _, before = run(tmp_path / "old", epochs=3)
    (tmp_path / "old").rename(tmp_path / "new")
    forecaster, history = run(
        tmp_path / "new", epochs=4, resume=True, learning_rate=1e-12, schedule="constant"
    )
    assert (
        history.validation_loss[:3] == before.validation_loss and len(history.validation_loss) == 4
    )
    assert checkpoints.load(tmp_path / "new" / "checkpoints" / "best.ckpt")["epoch"] in (2, 3)
    assert not (tmp_path / "old").exists()


def test_resuming_a_finished_run_changes_nothing(tmp_path):
    first, history = run(tmp_path)
    again, history_again = run(tmp_path, resume=True)
    assert torch.equal(weights(first), weights(again)) and history == history_again


def test_fewer_epochs_than_there_were_are_refused(tmp_path):
    run(tmp_path, epochs=3)
    with pytest.raises(
        ValueError,
        match="has 3 epochs behind it, more than training.max_epochs=2; give a larger number",
    ):
        run(tmp_path, epochs=2, resume=True)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_training_in_three_pieces_equals_one_in_a_single_piece(tmp_path, workers):
    whole, whole_history = run(tmp_path / "whole", epochs=5, schedule="constant", learning_rate=0.1)
    for epochs in (2, 3, 5):
        pieces, history = run(
            tmp_path / "cut",
            epochs=epochs,
            resume=epochs > 2,
            workers=workers,
            schedule="constant",
            learning_rate=0.1,
        )
    assert torch.equal(weights(pieces), weights(whole)) and history == whole_history


def test_a_damaged_checkpoint_is_passed_over_and_told_of(tmp_path, caplog):
    whole, history = run(tmp_path / "whole", epochs=4)
    run(tmp_path / "cut", epochs=4)
    folder = tmp_path / "cut" / "checkpoints"
    (folder / "best.ckpt").unlink()
    last = folder / "last.ckpt"
    last.write_bytes(last.read_bytes()[:-200])
    resumed, resumed_history = run(tmp_path / "cut", epochs=4, resume=True)
    (line,) = [
        record.getMessage() for record in caplog.records if record.name == "nowcast.training.loop"
    ]
    assert (
        line
        == f"{last} is damaged, or not of this run: its SHA-256 is not in manifest.json beside "
        "it. Going on from previous.ckpt, of step 6."
    )
    assert torch.equal(weights(resumed), weights(whole)) and resumed_history == history
    for path in folder.glob("*.ckpt"):
        path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(
        ValueError,
        match="has no checkpoint to resume from: .*last.ckpt is damaged.*previous.ckpt is "
        "damaged.*start anew",
    ):
        run(tmp_path / "cut", resume=True)


def test_a_checkpoint_of_another_model_is_refused(tmp_path, monkeypatch):
    run(tmp_path, epochs=1)
    monkeypatch.setitem(SETTINGS, "model", SETTINGS["model"] | {"hidden_channels": [5]})
    with pytest.raises(ValueError, match="contains the weights of another model"):
        run(tmp_path, epochs=2, resume=True)


@pytest.mark.parametrize(
    "settings", [{"accelerator": "abacus"}, {"devices": "many"}, {"devices": 0}]
)
def test_a_device_that_is_not_here_is_one_line(tmp_path, settings):
    with pytest.raises(ValueError, match="training.accelerator=.* cannot be used here: "):
        run(tmp_path, epochs=1, **settings)


class Rain(DataSet, Cases):
    """Cases of 8x8 pixels that stay as they are but for a little noise, from 0 to 40 mm/h, a tenth
    of them missing.
    """

    def __init__(self, cases=5, heaviest=40.0):
        self.cases, self.heaviest = cases, heaviest

    def __len__(self):
        return self.cases

    def part(self, name):
        return self

    def case(self, epoch, index):
        generator = np.random.default_rng([epoch, index])
        values = (
            self.heaviest * generator.random((1, 8, 8)) ** 3 * generator.uniform(0.9, 1, (4, 8, 8))
        )
        return np.where(generator.random(values.shape) < 0.1, np.nan, values).astype(np.float32)


def rain_run(folder, **settings):
    """As ``run``, of rain [mm/h], with the weights of the best CSI at 10 mm/h."""
    rain = {
        "task": TASK | {"timestep": 5, "quantity": "rain_rate"},
        "transform": {"_target_": "nowcast.types.transform.FlooredLogRainRate"},
    }
    chosen = {"select": "csi", "source": Rain(), "loss": WeightedError(), "learning_rate": 0.1}
    return run(folder, **(rain | chosen | settings))


def test_the_csi_that_selects_is_that_of_the_forecasts_in_mm_per_hour_over_all_validation_cases(
    tmp_path,
):
    """Five cases in batches of four; the score is compared with the one that evaluation would give
    the weights that were kept.
    """
    forecaster, history = rain_run(tmp_path, epochs=12)
    values = np.stack([Rain().case(0, index) for index in range(5)])
    sums, forecaster.precision = RainScores([10.0]).sums(2), "float32"
    sums.add(forecaster.forecast_values(values[:, :2]), values[:, 2:])
    hits, misses, false_alarms = (
        int(sums.totals()[f"pixels.{name}"].sum()) for name in ("hits", "misses", "false_alarms")
    )
    assert hits > 20 and misses > 20
    assert (
        max(history.validation_csi)
        == hits / (hits + misses + false_alarms)
        > history.validation_csi[0]
    )


def scripted(monkeypatch, counts):
    """Validation batches whose hits, misses and false alarms are these, one after the other."""
    script = iter(counts)
    monkeypatch.setattr(module, "contingency", lambda *_: torch.tensor(next(script)))


def kept_epoch(folder):
    return checkpoints.load(folder / "checkpoints" / "best.ckpt")["epoch"]


def test_hits_misses_and_false_alarms_are_summed_over_batches_and_divided_once(
    tmp_path, monkeypatch
):
    scripted(monkeypatch, [(1, 0, 0), (10, 80, 10)])
    _, history = rain_run(tmp_path, epochs=1)
    assert history.validation_csi == [11 / 101]  # the mean of 1/1 and 10/100 would be 0.55


def test_the_weights_of_the_highest_csi_are_kept_and_patience_counts_from_them(
    tmp_path, monkeypatch
):
    hits = [3, 1, 7, 7, 5, 9]
    scripted(monkeypatch, [(h, 10 - h, 0) for h in hits])
    _, history = rain_run(tmp_path, epochs=6, patience=2, source=Rain(4))
    assert history.validation_csi == [0.3, 0.1, 0.7, 0.7, 0.5]
    assert kept_epoch(tmp_path) == 2


def test_as_long_as_no_event_is_hit_the_validation_loss_decides(tmp_path, monkeypatch):
    scripted(monkeypatch, [(0, 5, 0)] * 4)
    _, history = rain_run(tmp_path / "none", epochs=4, source=Rain(4))
    assert history.validation_csi == [0, 0, 0, 0]
    assert kept_epoch(tmp_path / "none") == int(np.argmin(history.validation_loss)) > 0
    scripted(monkeypatch, [(0, 0, 0), (1, 99, 0), (0, 0, 0), (0, 0, 0)])
    _, history = rain_run(tmp_path / "one", epochs=4, source=Rain(4))
    assert history.validation_csi == pytest.approx(
        [math.nan, 0.01, math.nan, math.nan], nan_ok=True
    )
    assert kept_epoch(tmp_path / "one") == 1


def test_the_csi_stands_beside_the_losses_in_the_logs(tmp_path):
    _, history = rain_run(tmp_path, epochs=2)
    header, *lines = (tmp_path / "logs" / "version_0" / "metrics.csv").read_text().splitlines()
    column = header.split(",").index("validation_csi")
    logged = [float(line.split(",")[column]) for line in lines if line.split(",")[column]]
    assert logged == pytest.approx(history.validation_csi, rel=1e-6)


def test_a_resumed_run_selects_by_its_csi_as_the_uninterrupted_one(tmp_path):
    whole, whole_history = rain_run(tmp_path / "whole", epochs=8, schedule="constant")
    for epochs in (3, 8):
        pieces, history = rain_run(
            tmp_path / "cut", epochs=epochs, schedule="constant", resume=epochs > 3
        )
    assert torch.equal(weights(pieces), weights(whole)) and history == whole_history
    assert (
        kept_epoch(tmp_path / "cut")
        == kept_epoch(tmp_path / "whole")
        == int(np.argmax(history.validation_csi))
    )


def test_a_run_goes_on_with_its_own_selection_only(tmp_path):
    rain_run(tmp_path, epochs=1)
    for changed, criterion in (
        ({"select": "validation_loss"}, "not by the validation loss"),
        ({"select_threshold": 5.0}, "not by the CSI at 5 mm/h"),
    ):
        with pytest.raises(
            ValueError,
            match=f"has its best weights by the CSI at 10 mm/h, {criterion}; resume with the "
            "run's own training.select",
        ):
            rain_run(tmp_path, epochs=2, resume=True, **changed)


def test_members_are_not_judged_one_by_one_but_by_the_forecast_that_is_published(
    tmp_path, monkeypatch
):
    shapes, original = [], module.contingency
    monkeypatch.setattr(
        module,
        "contingency",
        lambda forecast, *rest: shapes.append(tuple(forecast.shape)) or original(forecast, *rest),
    )
    rain_run(tmp_path, epochs=1, model=DRAWING["noise"][0], loss=CRPS(members=3))
    assert shapes == [(4, 2, 1, 8, 8), (1, 2, 1, 8, 8)]


def test_an_observation_on_the_threshold_is_an_event():
    """10 mm/h, normalised and restored in float32, may be 9.999999 mm/h."""
    forecaster = Forecaster.from_settings(
        SETTINGS
        | {
            "task": TASK | {"quantity": "rain_rate"},
            "transform": {"_target_": "nowcast.types.transform.FlooredLogRainRate"},
        }
    )
    cases = np.full((1, 4, 1, 3), 10.0, np.float32)
    cases[0, 2:, 0, 1:] = 9.9999, np.nan

    class Given(Cases):
        def __len__(self):
            return 1

        def case(self, epoch, index):
            return cases[index]

    event = selection.normalised_event(forecaster, 10.0, Given())
    values, observed = forecaster.transform.normalise(cases[:, 2:])
    batch = Batch(values, values, torch.ones_like(observed), observed)

    def counts(forecast):
        return selection.contingency(forecast, batch, event).tolist()

    assert counts(values) == [2, 0, 0]
    assert counts(torch.zeros_like(values)) == [0, 2, 0]
    assert counts(torch.ones_like(values)) == [2, 0, 2]
    assert counts(torch.full_like(values, math.nan)) == [0, 0, 0]  # no forecast is no dry one


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"task": TASK, "source": None},
            "training.select=csi counts rain, but the task forecasts grey_level; use "
            "training.select=validation_loss",
        ),
        (
            {"select_threshold": 200.0},
            "training.select_threshold is 200 mm/h, which the transform makes 150 mm/h; choose "
            "one between its limits",
        ),
        (
            {"select_threshold": 0.1},
            "training.select_threshold is 0.1 mm/h, which the transform makes 0 mm/h",
        ),
        (
            {"source": Rain(heaviest=9.0)},
            "none of the 5 validation cases has rain of 10 mm/h to forecast; choose a lower "
            "training.select_threshold",
        ),
    ],
)
def test_a_csi_that_cannot_select_is_refused_before_the_training(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        rain_run(tmp_path, **settings)
    assert not list(tmp_path.rglob("*.ckpt"))


RAIN_TASK = {
    "_target_": "nowcast.types.task.Task",
    "context_length": 3,
    "forecast_length": 3,
    "timestep": 5,
}
LAGRANGIAN = {
    "_target_": "nowcast.models.lagrangian.LagrangianConvLSTM",
    "hidden_channels": [4, 4, 4],
    "knee": 0.1,
    "ceiling": 100.0,
}
LOG = {"_target_": "nowcast.types.transform.LogRainRate", "knee": 0.1, "ceiling": 100.0}


def synthetic_run(folder, *, epochs=3, **settings):
    source = SyntheticRain(
        Task(3, 3, 5),
        1,
        size=48,
        timesteps=[5.0, 10.0],
        samples_per_epoch=8,
        renew=2,
        validation_samples=4,
        missing=0.3,
    )
    loss = ExceedanceError(0.1, 100.0, [0.1, 1.0, 5.0], [1.0, 1.0, 1.0])
    return run(
        folder,
        epochs=epochs,
        loss=loss,
        source=source,
        model=LAGRANGIAN,
        task=RAIN_TASK,
        transform=LOG,
        learning_rate=1e-2,
        **settings,
    )


def test_the_lagrangian_model_learns_from_synthetic_rain_and_goes_on_as_if_never_interrupted(
    tmp_path,
):
    def last(name):
        state = checkpoints.load(tmp_path / name / "checkpoints" / "last.ckpt")["state_dict"]
        return torch.cat([value.flatten() for value in state.values()])

    _, history = synthetic_run(tmp_path / "whole")
    assert min(history.train_loss[1:]) < history.train_loss[0]
    synthetic_run(tmp_path / "parts", epochs=2, schedule="constant")
    synthetic_run(tmp_path / "parts", schedule="constant", resume=True)
    synthetic_run(tmp_path / "straight", schedule="constant", workers=1)
    assert torch.equal(last("parts"), last("straight")) and not torch.equal(
        last("whole"), last("straight")
    )


def test_a_loss_of_probabilities_and_a_model_without_them_are_refused(tmp_path):
    with pytest.raises(
        ValueError, match="do not go together: loss=exceedance_error is for models of probabilities"
    ):
        run(tmp_path, loss=ExceedanceError(0.1, 100.0, [1.0], [1.0]))


def test_the_csi_of_a_model_of_probabilities_is_that_of_its_forecast(tmp_path):
    _, history = synthetic_run(tmp_path, epochs=1, select="csi", select_threshold=0.5)
    assert 0 < history.validation_csi[0] < 1


def test_the_last_checkpoint_is_that_of_the_last_epoch_whatever_the_best_one_is(tmp_path):
    _, history = run(tmp_path, epochs=6, learning_rate=0.3, schedule="constant")
    assert np.argmin(history.validation_loss) < 5
    epochs = {
        name: checkpoints.load(tmp_path / "checkpoints" / f"{name}.ckpt")["epoch"]
        for name in ("best", "last")
    }
    assert epochs == {"best": np.argmin(history.validation_loss), "last": 5}


def test_a_run_resumed_with_more_epochs_ends_its_schedule_with_them(tmp_path):
    run(tmp_path, epochs=2)
    run(tmp_path, epochs=4, resume=True)
    rates = checkpoints.load(tmp_path / "checkpoints" / "last.ckpt")["lr_schedulers"][0]["_last_lr"]
    assert rates == [pytest.approx(0, abs=1e-9)]
