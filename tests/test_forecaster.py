import json

import numpy as np
import pytest
import safetensors.torch
import torch

from nowcast.baselines.persistence import Persistence
from nowcast.forecasting.forecaster import Forecaster
from nowcast.models.base import Capabilities, ForecastModel
from nowcast.models.lagrangian import LagrangianConvLSTM
from nowcast.models.prediction import SingleField
from nowcast.types.frames import Frames, Grid
from nowcast.types.scale import Scale
from nowcast.types.task import Task
from nowcast.types.transform import Identity, LogRainRate
from tests.factories import grid, times

SETTINGS = {
    "task": {
        "_target_": "nowcast.types.task.Task",
        "context_length": 3,
        "forecast_length": 2,
        "timestep": 5,
    },
    "transform": {"_target_": "nowcast.types.transform.LogRainRate", "knee": 0.5, "ceiling": 150.0},
    "model": {
        "_target_": "nowcast.models.encoder_forecaster.EncoderForecaster",
        "hidden_channels": [4, 4],
        "input_kernel": 3,
        "state_kernel": 3,
        "patch": 4,
        "observed_channel": True,
    },
}


def forecaster():
    torch.manual_seed(3)
    return Forecaster.from_settings(SETTINGS)


def rain(frames=3, height=6, width=9):
    return np.random.default_rng(0).gamma(0.3, 4, (frames, height, width)).astype(np.float32)


def frames(values, minutes=(0, 5, 10)):
    return Frames(values, times(*minutes), grid(*values.shape[1:]), "radar.nc")


def persistence(context_length=2):
    return Forecaster(Persistence(), Identity(), Task(context_length, 2, 5))


def test_frames_in_forecast_out_with_times_and_grid():
    values = rain()
    forecast = persistence()(frames(values), 3)
    np.testing.assert_array_equal(forecast.values, np.repeat(values[-1:], 3, axis=0))
    assert forecast.analysis_time == times(10)[0]
    assert (forecast.valid_times == times(15, 20, 25)).all()
    assert forecast.grid.difference(grid(6, 9)) is None


def test_the_newest_frames_are_the_context():
    values = rain(5)
    whole = forecaster()(frames(values, (0, 10, 15, 20, 25)))
    part = forecaster()(frames(values[2:], (15, 20, 25)))
    np.testing.assert_array_equal(whole.values, part.values)


def test_a_pixel_never_observed_stays_missing_and_one_observed_once_does_not():
    values = rain()
    values[:, 2, 3] = np.nan
    values[1:, 4, 5] = np.nan
    forecast = forecaster()(frames(values)).values
    assert np.isnan(forecast[:, 2, 3]).all() and np.isnan(forecast).sum() == 2


def test_what_a_missing_pixel_held_before_cannot_be_seen_in_the_forecast():
    with_zero, with_nan = rain(), rain()
    with_zero[0, 2, 3], with_nan[0, 2, 3] = 0, np.nan
    missing, dry = (forecaster()(frames(values)).values for values in (with_nan, with_zero))
    assert not np.isnan(missing).any()
    assert (missing != dry).any()  # the network is told which of the two it is


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (1, 30), (64, 64)])
def test_any_grid_size_and_any_horizon_come_back(size):
    forecast = forecaster()(frames(rain(3, *size)), 7)
    assert (
        forecast.values.shape == (7, *size)
        and (forecast.values >= 0).all()
        and (forecast.values <= 150).all()
    )


def test_saved_and_loaded_again_the_forecast_is_bit_identical(tmp_path):
    made = forecaster()
    made.save(tmp_path / "run")
    loaded = Forecaster.load(tmp_path / "run")
    assert (loaded(frames(rain())).values == made(frames(rain())).values).all()
    assert loaded.task == made.task and loaded.transform == made.transform
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "forecaster.json",
        "model.safetensors",
    ]


def test_without_settings_nothing_can_be_saved(tmp_path):
    with pytest.raises(ValueError, match="was made without its settings, so it cannot be saved"):
        persistence().save(tmp_path)


@pytest.mark.parametrize(
    ("minutes", "message"),
    [
        (
            (0, 10, 15),
            "radar.nc: a forecast from .*T00:15:00 UTC needs 3 frames in a row every 5 minutes, "
            "but only the last 2 are: the one before comes 10 minutes earlier",
        ),
        ((0, 5, 15), "only the last 1 is: the one before comes 10 minutes earlier"),
        ((0, 15, 30), "the one before comes 15 minutes earlier"),
    ],
)
def test_a_gap_in_the_context_is_refused(minutes, message):
    with pytest.raises(ValueError, match=message):
        forecaster()(frames(rain(), minutes))


def test_too_few_frames_are_refused():
    with pytest.raises(
        ValueError,
        match="needs 3 frames in a row every 5 minutes, but only the last 2 are: there is none "
        "before",
    ):
        forecaster()(frames(rain(2), (0, 5)))


@pytest.mark.parametrize("missing", [[0, 1, 2], [2]])
def test_a_newest_frame_without_any_observed_pixel_is_refused(missing):
    values = rain(3, 4, 4)
    values[missing] = np.nan
    with pytest.raises(
        ValueError, match="no pixel of the newest frame, of 2020-06-01T00:10:00 UTC, was observed"
    ):
        forecaster()(frames(values))


@pytest.mark.parametrize("length", [0, -1, 100_000_000])
def test_an_absurd_forecast_length_is_refused(length):
    with pytest.raises(
        ValueError, match="a forecast of .* frames was asked for; 1 to 1000 are accepted"
    ):
        forecaster()(frames(rain()), length)


@pytest.mark.parametrize("members", [0, -1, 10**9])
def test_an_absurd_number_of_members_is_refused(members):
    with pytest.raises(
        ValueError, match=f"{members} members were asked for; 1 to 1000 are accepted"
    ):
        forecaster().forecast_members(np.zeros((1, 3, 4, 4), np.float32), members)


def test_more_values_than_memory_holds_are_refused_before_anything_is_made():
    context = np.broadcast_to(np.float32(0), (1, 3, 10_000, 10_000))
    with pytest.raises(
        ValueError,
        match="a forecast of 1 x 1 x 1000 x 10000 x 10000 values .* was asked for; 2147483648 "
        "values are accepted at once",
    ):
        forecaster().forecast_values(context, 1000)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match="is not a finished run folder: it contains no forecaster.json"
    ):
        Forecaster.load(tmp_path)


def changed(folder, **changes):
    forecaster().save(folder)
    path = folder / "forecaster.json"
    settings = json.loads(path.read_text()) | changes
    path.write_text(
        json.dumps({key: value for key, value in settings.items() if value is not None})
    )
    return folder


def test_a_run_of_another_format_says_which_nowcast_wrote_it(tmp_path):
    with pytest.raises(
        ValueError,
        match="was written in run format 99 by nowcast 9.0, but nowcast .* reads format 1",
    ):
        Forecaster.load(changed(tmp_path, format=99, nowcast="9.0"))


def test_a_run_that_lacks_a_part_is_damaged(tmp_path):
    with pytest.raises(ValueError, match="is damaged: it lacks transform"):
        Forecaster.load(changed(tmp_path, transform=None))


def test_settings_that_are_no_json_are_damaged(tmp_path):
    forecaster().save(tmp_path)
    (tmp_path / "forecaster.json").write_text("{")
    with pytest.raises(ValueError, match="forecaster.json is damaged"):
        Forecaster.load(tmp_path)


@pytest.mark.parametrize("text", ["[" * 100_000, " " * 2**20 + "{}"])
def test_settings_nested_without_end_or_very_long_are_damaged(tmp_path, text):
    forecaster().save(tmp_path)
    (tmp_path / "forecaster.json").write_text(text)
    with pytest.raises(ValueError, match="forecaster.json is damaged"):
        Forecaster.load(tmp_path)


def test_weights_that_are_no_file_are_not_read(tmp_path):
    forecaster().save(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "model.safetensors").symlink_to("/dev/zero")
    with pytest.raises(
        ValueError, match="model.safetensors is not a regular file; it cannot contain weights"
    ):
        Forecaster.load(tmp_path)


@pytest.mark.parametrize(
    "model",
    [
        {"_target_": "os.system", "command": "touch HACKED"},
        {
            "_target_": "nowcast.evaluation.score_files.write_csv",
            "rows_by_model": {},
            "path": "HACKED",
            "lead_minutes": None,
        },
    ],
)
def test_a_run_folder_cannot_name_code_to_run(tmp_path, monkeypatch, model):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="is not a part of nowcast"):
        Forecaster.load(changed(tmp_path, model=model))
    assert not (tmp_path / "HACKED").exists()


@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "pickle"])
def test_damaged_weights_are_refused(tmp_path, damage):
    forecaster().save(tmp_path)
    path = tmp_path / "model.safetensors"
    content = path.read_bytes()
    path.unlink()
    if damage == "pickle":
        torch.save({"a": torch.zeros(1)}, path)
    elif damage != "missing":
        path.write_bytes(content[:-100] if damage == "truncated" else b"")
    with pytest.raises(ValueError, match="cannot be read as weights"):
        Forecaster.load(tmp_path)


def test_a_weight_that_changed_on_the_disk_is_noticed(tmp_path):
    forecaster().save(tmp_path)
    path = tmp_path / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        ValueError,
        match="model.safetensors is damaged, or not the file that forecaster.json was written "
        "for: it has another SHA-256",
    ):
        Forecaster.load(tmp_path)


def test_weights_that_are_not_finite_are_neither_saved_nor_used(tmp_path):
    made = forecaster()
    made.save(tmp_path / "run")
    with torch.no_grad():
        next(made.model.parameters()).fill_(float("nan"))
    with pytest.raises(
        ValueError,
        match="contain numbers that are not finite; such a model is neither saved nor used",
    ):
        made.save(tmp_path / "new")
    assert not (tmp_path / "new").exists()
    changed(tmp_path / "run", weights_sha256=None)
    safetensors.torch.save_file(
        {name: tensor.contiguous() for name, tensor in made.model.state_dict().items()},
        tmp_path / "run" / "model.safetensors",
    )
    with pytest.raises(ValueError, match="contain numbers that are not finite"):
        Forecaster.load(tmp_path / "run")


def test_weights_of_another_model_are_refused(tmp_path):
    changed(tmp_path, weights_sha256=None)
    safetensors.torch.save_file({"other": torch.zeros(2)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="does not belong to the model"):
        Forecaster.load(tmp_path)


class AnyScale(ForecastModel):
    """Persistence that remembers the scale it was given."""

    capabilities = Capabilities(needs_scale=True, any_scale=True)

    def forward(self, context, forecast_length, observed=None, scale=None):
        self.timestep, self.spacing = scale.timestep.tolist(), scale.spacing.tolist()
        return SingleField(context[:, -1:].expand(-1, forecast_length, -1, -1, -1))


def test_a_model_for_any_scale_is_given_minutes_and_kilometres_and_forecasts_at_the_frames_cadence():
    model = AnyScale()
    forecast = Forecaster(model, Identity(), Task(2, 2, 5))(frames(rain(), (0, 10, 20)))
    assert model.timestep == [10.0] and model.spacing == pytest.approx([grid(6, 9).pixel_km])
    assert (forecast.valid_times == times(30)).all()  # ten minutes ahead, as two steps of five are
    longer = Forecaster(model, Identity(), Task(2, 2, 5))(frames(rain(), (0, 10, 20)), 3)
    assert (longer.valid_times == times(30, 40, 50)).all()
    Forecaster(model, Identity(), Task(2, 2, 5)).forecast_values(
        np.zeros((2, 2, 4, 4)), scale=Scale.of_samples([(5, 1), (6, 0.5)])
    )
    assert (model.timestep, model.spacing) == ([5.0, 6.0], [1.0, 0.5])


def test_a_model_for_any_scale_refuses_to_guess_it():
    with pytest.raises(
        ValueError, match="must know the minutes between frames and the kilometres between pixels"
    ):
        Forecaster(AnyScale(), Identity(), Task(2, 2, 5)).forecast_values(np.zeros((1, 2, 4, 4)))


def test_a_model_for_any_scale_refuses_frames_too_far_apart():
    with pytest.raises(
        ValueError,
        match="lie 60 minutes apart; this model forecasts from frames every 2 to 15 minutes",
    ):
        Forecaster(AnyScale(), Identity(), Task(2, 2, 5))(frames(rain(), (0, 60, 120)))


def test_a_model_for_any_scale_refuses_pixels_too_far_apart():
    coarse = Grid(
        "+proj=aeqd +lat_0=51 +lon_0=1.4 +units=km", 30.0 * np.arange(9), -30.0 * np.arange(6)
    )
    with pytest.raises(
        ValueError, match="lie 30 km apart; this model forecasts on grids of 0.25 to 5 km"
    ):
        Forecaster(AnyScale(), Identity(), Task(2, 2, 5))(
            Frames(rain(), times(0, 5, 10), coarse, "radar.nc")
        )
    with pytest.raises(
        ValueError, match="lie 30 km apart"
    ):  # also of one frame, whose cadence nobody knows
        Forecaster(AnyScale(), Identity(), Task(2, 2, 5))(
            Frames(rain(), times(0, 5, 10), coarse, "radar.nc")[-1:]
        )


def lagrangian():
    torch.manual_seed(0)
    return Forecaster(
        LagrangianConvLSTM([2, 2, 2], knee=0.1, ceiling=100.0),
        LogRainRate(0.1, 100.0),
        Task(3, 2, 5),
    )


def test_probabilities_are_of_their_thresholds_and_missing_where_the_forecast_is():
    values = rain(3, 24, 30)
    values[:, :, 20:] = np.nan
    forecast = lagrangian()(frames(values), thresholds=[0.5, 5])
    assert forecast.thresholds == (0.5, 5.0) and forecast.probability.shape == (2, 2, 24, 30)
    assert (np.isnan(forecast.probability) == np.isnan(forecast.values)).all() and np.isnan(
        forecast.values[:, :, 20:]
    ).all()
    assert (
        lagrangian()(frames(values)).probability is None
        and persistence()(frames(values), thresholds=[1]).probability is None
    )
    for wrong in (["a"], [5, 1], [-1]):
        with pytest.raises(ValueError, match="one or more positive thresholds"):
            lagrangian()(frames(values), thresholds=wrong)


def test_members_are_drawn_anew_for_each_context_and_alike_for_the_same():
    model, values = lagrangian(), rain(3, 24, 30)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one = model(frames(values), members=4).members
    assert torch.equal(torch.get_rng_state(), before) and one.shape == (4, 2, 24, 30)
    torch.manual_seed(6)
    np.testing.assert_array_equal(model(frames(values), members=4).members, one)
    assert not np.array_equal(model(frames(2 * values), members=4).members, 2 * one)


@pytest.mark.parametrize(
    ("minutes", "step"),
    [
        ((0, 10, 20), 10),
        ((0, 5, 10, 20, 25, 30), 5),
        ((0, 60, 120), 5),
        ((0, 5, 15), 5),
        ((0,), 5),
        ((), 5),
    ],
)
def test_a_model_for_any_cadence_takes_the_usual_step_of_the_frames(minutes, step):
    model = Forecaster(AnyScale(), Identity(), Task(2, 2, 5))
    assert model.follow(times(*minutes)) == (step != 5) and model.task.timestep == step
    assert not persistence().follow(times(0, 10, 20)) and not persistence().any_cadence


def test_a_loaded_model_is_in_evaluation_mode_so_that_dropout_does_not_act(tmp_path):
    settings = {**SETTINGS, "model": {**SETTINGS["model"], "dropout": 0.5}}
    made = Forecaster.from_settings(settings)
    assert made.model.training  # as a new module of torch is: it is to be trained
    made.save(tmp_path)
    model = Forecaster.load(tmp_path).model
    assert not any(module.training for module in model.modules())
    context = torch.rand(1, 3, 1, 16, 16)
    first, second = (model(context, 2).point() for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_what_is_no_rain_on_a_grid_is_refused_with_what_forecasts_it():
    tensor = torch.rand(1, 3, 1, 8, 8)
    with pytest.raises(ValueError, match="expected Frames, .*, got Tensor; arrays are forecast by"):
        forecaster()(tensor)
    digits = Forecaster(Persistence(), Identity(), Task(2, 2, 1, "grey_level"))
    with pytest.raises(ValueError, match="this model forecasts grey_level, .* with forecaster.fo"):
        digits(frames(rain()))
    values = digits.forecast_values(rain()[None, :2] > 1)  # what the message advises
    assert values.shape == (1, 2, 6, 9) and forecaster().model(tensor, 7).point().shape[1] == 7


def test_a_forecaster_says_what_it_is():
    assert repr(forecaster()) == (
        "<Forecaster: EncoderForecaster, 3 frames of rain_rate -> 2 every 5 min>"
    )
    digits = Forecaster(Persistence(), Identity(), Task(2, 4, 1, "grey_level"))
    assert repr(digits) == "<Forecaster: Persistence, 2 frames of grey_level -> 4>"


def test_one_frame_is_and_two_frames_are_too_few():
    with pytest.raises(ValueError, match="but only the last 1 is: there is none before"):
        forecaster()(frames(rain(1), (0,)))
