"""Training cases from several data sets with stated shares."""

from collections import Counter
from importlib.metadata import entry_points

import numpy as np
import pytest
import torch

from nowcast.cli import config
from nowcast.cli.effects import refuse_without_effect
from nowcast.data.base import Cases, DataSet
from nowcast.data.mixture import Mixture, Part
from nowcast.data.radar import Radar
from nowcast.data.radar_events import RadarEvents
from nowcast.data.sampling import EpochSampler, loader
from nowcast.data.synthetic_rain import SyntheticRain
from nowcast.evaluation.source import ModelSource
from nowcast.forecasting.forecaster import Forecaster
from nowcast.runtime import plugins
from nowcast.runtime.build import build
from nowcast.runtime.errors import UserError
from nowcast.training import checkpoints
from nowcast.training.loop import fit
from nowcast.training.losses import SquaredError
from nowcast.training.module import TrainingModule
from nowcast.training.settings import TrainingSettings
from nowcast.types.task import Task
from nowcast.types.transform import LogRainRate
from tests.factories import write_archive
from tests.test_plugins import forget, install

TASK = Task(2, 1, 5)


class Numbered(DataSet):
    """A data set of somebody else: its cases have numbers for values, and a size of their own."""

    def __init__(self, first, count, size=(4, 4), *, frames=3, scale=(5.0, 1.0), parts=None):
        self.first, self.count, self.size, self.frames = first, count, size, frames
        self.scale_of_cases = scale
        self.parts = parts or ("train", "validation", "test")

    def part(self, name):
        if name not in self.parts:
            raise UserError(f"there are no {name} cases here.")
        return NumberedCases(self)

    def bounds(self):
        return {"from": str(self.first)}


class NumberedCases(Cases):
    def __init__(self, data):
        self._data = data

    def __len__(self):
        return self._data.count

    def case(self, epoch, index):
        size = self._data.frames, *self._data.size
        return np.full(size, self._data.first + index + epoch / 1000, np.float32)

    def scale(self, epoch, index):
        return self._data.scale_of_cases


def mixture(parts, **settings):
    parts = {name: Part(data, share) for name, (data, share) in parts.items()}
    names = [name for name, part in parts.items() if part]
    chosen = {"validation": names, "test": names, "samples_per_epoch": 10}
    return Mixture(parts, TASK, 1, **(chosen | settings))


def values(cases, epoch=0):
    return [float(cases.case(epoch, index).flat[0]) for index in range(len(cases))]


def test_an_epoch_has_the_stated_share_of_each_part_and_so_many_cases_in_all():
    data = mixture({"a": (Numbered(0, 5), 0.7), "b": (Numbered(100, 8), 0.3)})
    assert data.counts == {"a": 7, "b": 3} and len(data.part("train")) == 10
    found = values(data.part("train"))
    assert sum(value < 100 for value in found) == 7
    thirds = {name: (Numbered(0, 2), 1 / 3) for name in "abc"}
    assert sorted(mixture(thirds).counts.values()) == [3, 3, 4]


def test_every_case_of_a_part_comes_once_before_one_comes_again():
    train = mixture({"a": (Numbered(0, 6), 0.4), "b": (Numbered(100, 8), 0.6)}).part("train")
    of_a = [value for epoch in range(3) for value in values(train, epoch) if value < 100]
    assert sorted(of_a[:6]) == [0, 1, 2, 3, 4, 5] and of_a[:6] != sorted(of_a[:6])
    # 12 cases in three epochs of 4: all six in its own epochs 0 and 1, in another order
    assert sorted(of_a[6:]) == pytest.approx([number + 0.001 for number in range(6)])
    assert [round(value) for value in of_a[6:]] != [round(value) for value in of_a[:6]]


def test_validation_and_test_are_the_cases_of_the_parts_that_are_named_one_after_another():
    parts = {"a": (Numbered(0, 2), 1.0), "b": (Numbered(100, 3), 0.0), "c": (Numbered(50, 1), 0.0)}
    data = mixture(parts, validation=["c", "b"], test=["b"])
    assert values(data.part("validation")) == [50, 100, 101, 102]
    test = data.part("test")
    assert values(test) == [100, 101, 102] and {test.source(index) for index in range(3)} == {"b"}
    assert set(map(round, values(data.part("train")))) == {0, 1}
    assert data.bounds() == {f"parts.{name}.data.from": str(parts[name][0].first) for name in parts}


def test_cases_of_one_size_share_batches_and_those_of_two_sizes_take_turns():
    def sizes(*of_parts):
        parts = {
            str(number): (Numbered(100 * number, 4, size), 1 / len(of_parts))
            for number, size in enumerate(of_parts)
        }
        train = mixture(parts, samples_per_epoch=12).part("train")
        batches = loader(train, LogRainRate(), context_length=2, batch_size=4, seed=1)
        return [(tuple(batch.target.shape[-2:]), int(batch.counts.sum())) for batch in batches]

    assert sizes((4, 4), (4, 4)) == [((4, 4), 4)] * 3
    # six each of two sizes: one full batch, and two cases in the second, filled up with two blanks
    found = sizes((4, 4), (6, 8))
    assert Counter(found) == {((4, 4), 4): 1, ((4, 4), 2): 1, ((6, 8), 4): 1, ((6, 8), 2): 1}
    assert found != sorted(found)


def test_a_sampler_of_several_kinds_gives_each_index_once_whatever_the_processes(monkeypatch):
    kinds = [0] * 7 + [1] * 4
    keys = {}
    for world in (1, 2):
        keys[world] = []
        for rank in range(world):
            monkeypatch.setattr("nowcast.data.sampling._process", lambda r=rank, w=world: (r, w))
            sampler = EpochSampler(11, seed=3, batch_size=4 // world, kinds=kinds)
            assert len(list(sampler)) == len(sampler) == 12 // world
            keys[world].append([index for _, index in sampler])
    together = [index for pair in zip(*keys[2], strict=True) for index in pair]
    assert together == keys[1][0]
    assert sorted(index for index in together if index >= 0) == list(range(11))
    for begin in (0, 4, 8):
        batch = [index if index >= 0 else -1 - index for index in together[begin : begin + 4]]
        assert len({kinds[index] for index in batch}) == 1
    monkeypatch.undo()
    in_order = EpochSampler(11, batch_size=4, kinds=kinds)
    assert [index for _, index in in_order] == [0, 1, 2, 3, 4, 5, 6, -7, 7, 8, 9, 10]


def test_radar_events_and_synthetic_rain_keep_their_own_grid_cadence_and_scale(tmp_path):
    rates = np.random.default_rng(1).random((20, 40, 44)).astype(np.float32)
    one = write_archive(tmp_path / "one.nc", rates, range(0, 100, 5))
    six = write_archive(tmp_path / "six.nc", rates, range(0, 120, 6))
    data = Mixture(
        {
            "synthetic": Part(SyntheticRain(TASK, 1, size=32, timesteps=[10.0]), 0.5),
            "radar": Part(Radar(one, TASK, 1, crop=36, crop_candidates=1), 0.25),
            "events": Part(RadarEvents(str(six), Task(2, 1, 6), validation=["six"], crop=40), 0.0),
            "other": Part(RadarEvents(str(one), TASK), 0.0),
            "left_out": None,
            "turned": Part(Radar(one, TASK, 2, crop=36, crop_candidates=1), 0.25),
        },
        TASK,
        1,
        validation=["events", "radar"],
        test=["other"],
        samples_per_epoch=8,
    )
    train = data.part("train")
    assert [train.size_of(index) for index in (0, 4, 6)] == [(32, 32), (36, 36), (36, 36)]
    assert [train.scale(0, index)[0] for index in (0, 4, 6)] == [10, 5, 5]
    assert [train.kind_of(index) for index in (0, 4, 6)] == [0, 1, 1]
    validation = data.part("validation")
    assert [validation.source(index) for index in (0, 64)] == ["events/six", "radar"]
    assert [validation.scale(0, index)[0] for index in (0, 64)] == [6, 5]
    test = data.part("test")
    assert test.grid_of(0).shape == (40, 44) and test.analysis_time(1) > test.analysis_time(0)
    assert ModelSource({}, test, forecast_length=1).title(0).startswith("other/one, analysis time")
    assert set(data.bounds()) == {
        f"parts.{name}.data.{bound}_from"
        for name in ("radar", "turned")
        for bound in ("validation", "test")
    }


A, B = (Numbered(0, 5), 0.5), (Numbered(100, 5), 0.5)
WRONG = {  # what cannot be mixed -> what is done, and the sentence
    "shares": (
        lambda: mixture({"a": A, "b": (Numbered(0, 5), 0.3)}),
        "data.parts have the shares a 0.5, b 0.3, together 0.8; expected 1",
    ),
    "a share below 0": (
        lambda: Part(A[0], -0.1),
        "data.parts.NAME.share is -0.1 for one of the parts; expected a number from 0 to 1",
    ),
    "a share of no case": (
        lambda: mixture({"a": (A[0], 0.99), "b": (B[0], 0.01)}),
        "data.parts.b.share=0.01 of data.samples_per_epoch=10 is no case; give more of one",
    ),
    "samples": (
        lambda: mixture({"a": A, "b": B}, samples_per_epoch=0),
        "data.samples_per_epoch is 0; expected a whole number of at least 1",
    ),
    "an idle part": (
        lambda: mixture({"a": (A[0], 1.0), "b": (B[0], 0.0)}, validation=["a"], test=["a"]),
        "nothing is taken from data.parts.b: its share is 0, .* Leave it out: ~data.parts.b",
    ),
    "an unknown name": (
        lambda: mixture({"a": A, "b": B}, validation=["mch"]),
        "data.validation names mch; expected different ones of data.parts: a, b",
    ),
    "a name twice": (
        lambda: mixture({"a": A, "b": B}, test=["a", "a"]),
        "data.test names a, a; expected different ones of data.parts: a, b",
    ),
    "no part": (
        lambda: Mixture({}, TASK, 1, test=["a"]),
        "expected different ones of data.parts: there is none",
    ),
    "no settings of a part": (
        lambda: Mixture({"a": {"share": 1.0}}, TASK, 1),
        "data.parts.a is .*; expected settings with _target_: nowcast.data.mixture.Part",
    ),
    "a mixture of mixtures": (
        lambda: mixture({"a": (mixture({"a": A, "b": B}), 1.0)}),
        "data.parts.a.data is Mixture; expected a data set, not a mixture of others",
    ),
    "no validation": (
        lambda: mixture({"a": A, "b": B}, validation=[]).part("validation"),
        r"data=mixture has no validation cases; name parts: data.validation=\[a,b\]",
    ),
    "an unknown part": (
        lambda: mixture({"a": A, "b": B}).part("rest"),
        "the part 'rest' is unknown; accepted are train, validation, test",
    ),
    "nothing to train on": (
        lambda: mixture({"a": A, "b": (Numbered(0, 5, parts=["test"]), 0.5)}).part("train"),
        "data.parts.b.data: there are no train cases here",
    ),
    "an empty part": (
        lambda: mixture({"a": A, "b": (Numbered(0, 0), 0.5)}).part("train"),
        "data.parts.b.data has no train case; leave it out, or set its share to 0",
    ),
    "another task": (
        lambda: mixture({"a": A, "b": (Numbered(0, 5, frames=7), 0.5)}).part("train"),
        "data.parts.b.data has train cases of 7 frames, but the task has 2 and 1; give it the same "
        "context_length and forecast_length",
    ),
    "a scale beside none": (
        lambda: mixture({"a": A, "b": (Numbered(0, 5, scale=None), 0.5)}).part("train"),
        "data.parts.b.data has no cadence and no grid spacing, but the train cases of other parts "
        "do; they cannot be mixed",
    ),
    "a test of another cadence": (
        lambda: mixture({"a": A, "b": (Numbered(0, 5, scale=(6.0, 1.0)), 0.5)}).part("test"),
        "data.test names b, whose frames come every 6 min, but scores are by lead times of "
        "task.timestep=5",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_mixed_is_one_line(name):
    wrong, message = WRONG[name]
    with pytest.raises(UserError, match=message) as error:
        wrong()
    assert "\n" not in str(error.value)


def test_the_settings_name_parts_shares_and_their_archives(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_archive(tmp_path / "a.nc", np.ones((100, 8, 8)), range(0, 500, 5))
    typed = ["data=mixture", "data.parts.radar.data.archive=a.nc"]
    settings = config.plain(config.compose("train", [*typed, "data.parts.radar.share=0.25"]))[
        "data"
    ]
    assert settings["parts"]["radar"]["data"]["archive"] == str(tmp_path / "a.nc")
    with pytest.raises(UserError, match="have the shares synthetic 0.7, radar 0.25, together 0.95"):
        build(settings, "data", kind="data")
    alone = ["~data.parts.radar", "data.validation=[synthetic]", "data.test=[synthetic]"]
    composed = config.compose("train", ["data=mixture", *alone, "data.parts.synthetic.share=1"])
    data = build(config.plain(composed)["data"], "data", kind="data")
    assert data.counts == {"synthetic": 800}
    left_out = config.plain(config.compose("train", [*typed, "data.parts.synthetic=null"]))["data"]
    left_out["parts"]["radar"]["share"] = 1.0
    assert build(left_out, "data", kind="data").counts == {"radar": 800}


def test_a_data_set_of_a_plug_in_is_a_part_like_any_other(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(install(tmp_path)))
    monkeypatch.setattr(plugins, "entry_points", entry_points)
    forget()
    try:
        task = {"_target_": "nowcast.types.task.Task", "context_length": 2, "forecast_length": 1}
        cells = {"_target_": "nowcast_fading.data.DriftingCells", "task": task, "size": 24}
        rain = {"_target_": "nowcast.data.synthetic_rain.SyntheticRain", "task": task, "seed": 1}
        part = "nowcast.data.mixture.Part"
        data = build(
            {
                "_target_": "nowcast.data.mixture.Mixture",
                "task": task,
                "seed": 1,
                "validation": ["cells"],
                "test": ["cells"],
                "samples_per_epoch": 8,
                "parts": {
                    "cells": {"_target_": part, "share": 0.5, "data": cells},
                    "rain": {"_target_": part, "share": 0.5, "data": rain | {"size": 32}},
                },
            },
            "data",
            kind="data",
        )
        assert [data.part("train").size_of(index) for index in (0, 4)] == [(24, 24), (32, 32)]
    finally:
        monkeypatch.undo()
        forget()


@pytest.mark.parametrize(
    "key", ["samples_per_epoch", "parts.radar.share", "parts.radar.data.crop", "validation"]
)
def test_what_only_changes_the_training_of_a_mixture_is_refused_by_an_evaluation(key):
    settings = config.plain(config.compose("train", ["data=mixture", "data.parts.radar=null"]))
    with pytest.raises(UserError, match=f"data.{key}=1 would have no effect: .* test part"):
        refuse_without_effect("evaluate", settings, {f"data.{key}": 1})
    refuse_without_effect("evaluate", settings, {"data.parts.radar.data.test_stride": 2})


SETTINGS = {
    "task": {
        "_target_": "nowcast.types.task.Task",
        "context_length": 2,
        "forecast_length": 1,
        "timestep": 5,
    },
    "transform": {"_target_": "nowcast.types.transform.LogRainRate"},
    "model": {
        "_target_": "nowcast.models.encoder_forecaster.EncoderForecaster",
        "hidden_channels": [2],
        "input_kernel": 3,
        "state_kernel": 3,
        "output": "linear",
    },
}


class Interrupted(Exception):
    """A process that dies."""


def run(folder, *, resume=False, workers=0, seed=1):
    torch.manual_seed(seed)
    forecaster = Forecaster.from_settings(SETTINGS)
    rain = SyntheticRain(TASK, seed, size=32, samples_per_epoch=5, renew=2, validation_samples=3)
    wide = SyntheticRain(TASK, seed + 1, size=40, samples_per_epoch=3, validation_samples=2)
    data = Mixture(
        {"rain": Part(rain, 0.6), "wide": Part(wide, 0.4)},
        TASK,
        seed,
        validation=["wide", "rain"],
        test=["rain"],
        samples_per_epoch=10,
    )
    plan = TrainingSettings(
        max_epochs=2, batch_size=4, precision="float32", accelerator="cpu", workers=workers
    )
    loss = SquaredError()
    history = fit(
        forecaster, data, loss=loss, settings=plan, folder=folder, seed=seed, resume=resume
    )
    return forecaster.model.state_dict(), history


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


def test_a_training_on_a_mixture_is_decided_by_its_seed_and_goes_on_bit_for_bit(
    tmp_path, monkeypatch
):
    """Six cases of one size and four of another in batches of 4 are three steps an epoch."""
    whole, history = run(tmp_path / "whole")
    steps, original = [], TrainingModule.training_step

    def dying(self, batch, index):
        steps.append(index)
        if len(steps) == 5:
            raise Interrupted
        return original(self, batch, index)

    monkeypatch.setattr(TrainingModule, "training_step", dying)
    with pytest.raises(Interrupted):
        run(tmp_path / "cut", workers=1)
    monkeypatch.setattr(TrainingModule, "training_step", original)
    resumed, resumed_history = run(tmp_path / "cut", resume=True, workers=1)
    assert same(resumed, whole) and resumed_history == history
    last = checkpoints.load(tmp_path / "whole" / "checkpoints" / "last.ckpt")
    assert last["global_step"] == 6
    other, _ = run(tmp_path / "other", seed=2)
    assert not same(other, whole)
