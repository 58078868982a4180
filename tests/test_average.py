"""The mean of the weights over the steps: what is validated, selected and saved."""

import pytest
import torch

from nowcast.runtime.errors import Terminated
from nowcast.training import checkpoints
from nowcast.training.callbacks import WEIGHTS, Termination
from nowcast.training.module import TrainingModule
from tests.test_resuming import Interrupted, run

FLAT = {"schedule": "constant", "learning_rate": 0.05}


def flat(state):
    return torch.cat([value.flatten() for value in state.values()])


def of_model(content, name="state_dict"):
    return flat(content[name])


def last(folder):
    return checkpoints.load(folder / "checkpoints" / "last.ckpt")


@pytest.fixture
def after_steps(monkeypatch):
    """The weights of the model before every step of a training, and in every validation."""
    seen = {"steps": [], "validations": []}
    for name, where in (("training_step", "steps"), ("validation_step", "validations")):
        original = getattr(TrainingModule, name)

        def watched(self, batch, index, original=original, where=where):
            seen[where].append(flat(self.state_dict()).clone())
            return original(self, batch, index)

        monkeypatch.setattr(TrainingModule, name, watched)
    return seen


def test_the_mean_counts_each_step_so_many_times_as_the_next_and_is_validated_and_saved(
    tmp_path, after_steps
):
    """Four steps an epoch: what is validated after it is (0.5^3 w1 + 0.5^2 w2 + 0.5 w3 + w4) over
    the sum of these factors, w1 being the weights after the first step.
    """
    run(tmp_path, epochs=2, average=0.5, **FLAT)
    weights = after_steps["steps"][1:]  # after the first, the second, ...
    factors = torch.tensor([0.125, 0.25, 0.5, 1.0])
    mean = (factors[:, None] * torch.stack(weights[:4])).sum(0) / factors.sum()
    assert torch.allclose(after_steps["validations"][0], mean, atol=1e-6)
    assert not torch.allclose(mean, weights[3], atol=1e-3)
    # the second epoch goes on from the weights themselves
    assert torch.equal(after_steps["steps"][4], weights[3])
    saved = last(tmp_path)
    assert torch.equal(of_model(saved), after_steps["validations"][1])
    assert not torch.equal(of_model(saved, WEIGHTS), of_model(saved))


def test_the_forecaster_ends_with_the_best_mean(tmp_path):
    history, forecaster = run(tmp_path, epochs=3, average=0.7, **FLAT)
    best = checkpoints.load(tmp_path / "checkpoints" / "best.ckpt")
    assert torch.equal(flat(forecaster.model.state_dict()), of_model(best))
    assert best["history"][1][-1] == min(history.validation_loss)
    plain, _ = run(tmp_path / "plain", epochs=3, **FLAT)
    assert plain.train_loss == history.train_loss  # the steps are those without a mean
    assert plain.validation_loss != history.validation_loss


@pytest.mark.parametrize("step", [3, 4, 6])
def test_a_run_with_a_mean_that_dies_goes_on_bit_for_bit(tmp_path, monkeypatch, step):
    history, whole = run(tmp_path / "whole", epochs=3, average=0.9, **FLAT)
    steps, original = [], TrainingModule.training_step

    def dying(self, batch, index):
        steps.append(index)
        if len(steps) == step:
            raise Interrupted
        return original(self, batch, index)

    monkeypatch.setattr(TrainingModule, "training_step", dying)
    settings = {"epochs": 3, "average": 0.9, **FLAT}
    if step > 4:  # before that there is no checkpoint
        with pytest.raises(Interrupted):
            run(tmp_path / "cut", **settings)
    monkeypatch.setattr(TrainingModule, "training_step", original)
    if step <= 4:
        stop_after(step, tmp_path / "cut", settings)
    resumed_history, resumed = run(tmp_path / "cut", resume=True, workers=1, **settings)
    assert torch.equal(flat(resumed.model.state_dict()), flat(whole.model.state_dict()))
    assert resumed_history == history
    for name in ("state_dict", WEIGHTS):
        assert torch.equal(
            of_model(last(tmp_path / "cut"), name), of_model(last(tmp_path / "whole"), name)
        )


def stop_after(step, folder, settings):
    """SIGTERM comes in a step: after step 4, the last of an epoch, step 3 is what is saved."""
    original = Termination.on_train_batch_end

    def asked(self, trainer, module, outputs, batch, index):
        self.requested = self.requested or trainer.global_step == step
        return original(self, trainer, module, outputs, batch, index)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Termination, "on_train_batch_end", asked)
        with pytest.raises(Terminated):
            run(folder, **settings)
    assert last(folder)["global_step"] == 3


def test_a_mean_can_be_given_to_a_run_without_one_and_begins_with_the_next_step(
    tmp_path, after_steps
):
    told = []
    run(tmp_path, epochs=1, **FLAT)
    run(tmp_path, epochs=2, resume=True, average=0.5, begun=told.extend, **FLAT)
    assert "from epoch 1, step 4 on: training.average=0.5 in place of null" in told
    weights = [*after_steps["steps"][5:], of_model(last(tmp_path), WEIGHTS)]
    factors = torch.tensor([0.125, 0.25, 0.5, 1.0])
    mean = (factors[:, None] * torch.stack(weights)).sum(0) / factors.sum()
    assert torch.allclose(of_model(last(tmp_path)), mean, atol=1e-6)


def test_without_its_mean_a_run_goes_on_from_the_weights_of_its_last_step(tmp_path, after_steps):
    run(tmp_path, epochs=1, average=0.5, **FLAT)
    weights = of_model(last(tmp_path), WEIGHTS)
    told = []
    run(tmp_path, epochs=2, resume=True, begun=told.extend, **FLAT)
    assert "from epoch 1, step 4 on: training.average=null in place of 0.5" in told
    assert torch.equal(after_steps["steps"][4], weights) and WEIGHTS not in last(tmp_path)
    run(tmp_path / "plain", epochs=2, **FLAT)
    assert torch.equal(of_model(last(tmp_path)), of_model(last(tmp_path / "plain")))


def test_a_checkpoint_from_before_there_was_a_mean_says_that_there_was_none(tmp_path):
    run(tmp_path, epochs=1, **FLAT)
    path = tmp_path / "checkpoints" / "last.ckpt"
    content = checkpoints.load(path)
    del content["training"]["average"]
    checkpoints.save(content, path)
    for name in ("best.ckpt", "previous.ckpt"):
        (path.parent / name).unlink(missing_ok=True)
    told = []
    run(tmp_path, epochs=2, resume=True, average=0.9, begun=told.extend, **FLAT)
    assert "from epoch 1, step 4 on: training.average=0.9 in place of null" in told
