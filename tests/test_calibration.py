"""Probabilities of heavy rain are corrected by how reliable they were, and everything that follows
from them with them.
"""

import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from factories import grid, times

from nowcast.baselines.persistence import Persistence
from nowcast.forecasting import watch_calibration
from nowcast.forecasting.calibration import OnlineCalibration, refuse_without_probabilities
from nowcast.forecasting.calibration_file import FILE, load_history, save_history
from nowcast.forecasting.calibration_fit import (
    BINS,
    CENTRES,
    bins_of,
    brier_skill_of,
    corrections_of,
    counted,
    mean_probability_of,
)
from nowcast.forecasting.forecaster import Forecaster
from nowcast.forecasting.recalibration import (
    NEUTRAL,
    RATES,
    RUNGS,
    Correction,
    probability_of,
    rates_to_ask,
    recalibrated,
    without_correction,
)
from nowcast.forecasting.replay import OPERATION, calibration_table, replay
from nowcast.forecasting.watch import Operation
from nowcast.forecasting.watch_calibration import WatchCalibration
from nowcast.models.base import Capabilities, ForecastModel
from nowcast.models.prediction import Prediction
from nowcast.output.netcdf import read_attributes, read_products
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Forecast, Frames
from nowcast.types.functional import Functional
from nowcast.types.task import Task
from nowcast.types.transform import Identity

STEP = np.timedelta64(300, "s")
UP = tuple(Correction(math.log(4), 1.0, 0.0) for _ in RATES)  # odds times four


class Exponential(Prediction):
    """Rates that are reached with the probability exp(-rate / scale)."""

    def __init__(self, scale):
        self.scale = scale

    def point(self, functional=None):
        name, level, probability = Functional.parse(functional or "mean")
        if name == "mean":
            return self.scale
        if name == "event":
            return level * (self.exceedance([level])[:, 0] >= probability)
        return -self.scale * math.log(1 - level)

    def exceedance(self, thresholds):
        limits = torch.as_tensor(thresholds, dtype=torch.float32)
        return torch.exp(-limits[:, None, None, None, None] / self.scale[:, None].clamp(min=1e-3))

    def members(self, count, generator=None):
        shares = (torch.arange(count) + 0.5) / count
        return torch.stack([self.point(f"quantile:{share}") for share in shares.tolist()], dim=1)


class Persisting(ForecastModel):
    """The newest rates are the scales of what comes."""

    capabilities = Capabilities(probabilistic=True, members=True)
    context_length = 2

    def forward(self, context, forecast_length, observed=None, scale=None):
        return Exponential(context[:, -1:].expand(-1, forecast_length, -1, -1, -1).clone())


def forecast_of(scale=4.0, *, point=None, members=0, thresholds=(0.1, 1.0, 5.0)):
    """From two frames with one rate everywhere but for a missing pixel."""
    forecaster = Forecaster(Persisting(), Identity(), Task(2, 3, 5))
    values = np.full((2, 4, 5), scale, np.float32)
    values[:, 0, 0] = np.nan
    frames = Frames(values, times(0, 5), grid(4, 5))
    asked = rates_to_ask(thresholds, point)
    return forecaster(frames, thresholds=asked, point=point, members=members)


def counts_of(bias, slope, pairs=1e6):
    """Pairs of every probability, and the events of a truth that differs by bias and slope."""
    happens = probability_of(bias + slope * CENTRES)
    one = np.stack([np.full(BINS, pairs), pairs * happens])
    return np.stack([one] * len(RATES))


def test_corrections_that_change_nothing_give_the_forecast_back():
    for point in ("mean", "median", "quantile:0.9"):
        forecast = forecast_of(point=point, members=5)
        same, _ = recalibrated(forecast, NEUTRAL, (0.1, 1.0, 5.0))
        assert same.thresholds == (0.1, 1.0, 5.0) and same.probability.shape == (3, 3, 4, 5)
        before = without_correction(forecast, (0.1, 1.0, 5.0))
        np.testing.assert_allclose(same.values, before.values, rtol=1e-5)
        np.testing.assert_allclose(same.members, before.members, rtol=1e-5)
        np.testing.assert_allclose(same.probability, before.probability, rtol=1e-5)


def test_odds_of_heavy_rain_are_multiplied_and_those_up_to_2_5_mm_h_stay():
    forecast = forecast_of(4.0)
    corrected, of_rates = recalibrated(forecast, UP, (1.0, 2.5, 5.0))
    before = np.exp(-np.array([1.0, 2.5, 5.0]) / 4.0)
    odds = 4 * before[2] / (1 - before[2])
    expected = [*before[:2], min(odds / (1 + odds), before[1])]
    np.testing.assert_allclose(corrected.probability[:, 0, 1, 1], expected, rtol=1e-5)
    odds = 4 * np.exp(-20 / 4) / (1 - np.exp(-20 / 4))
    np.testing.assert_allclose(of_rates[2, 0, 1, 1], odds / (1 + odds), rtol=1e-5)
    assert np.isnan(corrected.probability[:, :, 0, 0]).all()
    assert np.isnan(corrected.values[:, 0, 0]).all()


def test_no_rate_is_more_probable_than_a_lower_one_however_different_their_corrections():
    thresholds = (0.5, 2.5, 3.0, 5.0, 6.0, 8.0, 10.0, 12.0, 20.0, 25.0, 50.0, 60.0)
    random = np.random.default_rng(1)
    for _ in range(50):
        corrections = tuple(
            Correction(random.uniform(-2, 2), random.uniform(0.5, 1.5), random.uniform(-4, 0))
            for _ in RATES
        )
        forecast = forecast_of(random.uniform(1, 15), thresholds=thresholds)
        corrected, _ = recalibrated(forecast, corrections, thresholds)
        chances = corrected.probability[:, 0, 1, 1]
        assert (np.diff(chances) <= 1e-7).all() and 0 <= chances[-1] <= chances[0] <= 1


def test_mean_grows_by_the_area_between_the_curves_and_follows_sums_of_any_point():
    forecast = forecast_of(4.0, point="median", members=0)
    corrected, _ = recalibrated(forecast, UP, RUNGS)
    more = corrected.probability[:, 0, 1, 1] - np.exp(-np.array(RUNGS) / 4)
    area = np.trapezoid(more, RUNGS)
    assert area > 0.5
    np.testing.assert_allclose(corrected.expected[0, 1, 1], 4 + area, rtol=1e-5)
    mean, _ = recalibrated(forecast_of(4.0), UP, RUNGS)
    np.testing.assert_allclose(mean.values[0, 1, 1], 4 + area, rtol=1e-5)


def test_a_median_becomes_the_rate_that_is_now_half_probable():
    before = forecast_of(10.0, point="median")
    down = tuple(Correction(-math.log(4), 1.0, 0.0) for _ in RATES)
    corrected, _ = recalibrated(before, down, (5.0,))
    assert before.values[0, 1, 1] == pytest.approx(10 * math.log(2), rel=1e-5)
    asked = forecast_of(10.0, thresholds=(float(corrected.values[0, 1, 1]),))
    at_median, _ = recalibrated(asked, down, asked.thresholds)
    place = asked.thresholds.index(float(corrected.values[0, 1, 1]))
    assert at_median.probability[place, 0, 1, 1] == pytest.approx(0.5, abs=0.01)
    assert 2.5 < corrected.values[0, 1, 1] < 0.7 * before.values[0, 1, 1]


def test_the_share_of_members_that_reach_a_rate_is_its_corrected_probability():
    corrected, of_rates = recalibrated(forecast_of(8.0, members=200), UP, RATES)
    shares = (corrected.members[:, 0, 1, 1][:, None] >= RATES).mean(axis=0)
    np.testing.assert_allclose(shares, of_rates[:, 0, 1, 1], atol=0.006)


def test_a_yes_no_forecast_is_decided_by_the_corrected_probability():
    before = forecast_of(4.0, point="event:5@0.4")  # exp(-5 / 4) = 0.29
    corrected, _ = recalibrated(before, UP, (5.0,))
    assert before.values[0, 1, 1] == 0 and corrected.values[0, 1, 1] == 5
    assert np.isnan(corrected.values[0, 0, 0])


def test_nothing_seen_corrects_nothing_and_a_few_pairs_change_little():
    nothing = corrections_of(np.zeros((len(RATES), 2, BINS)), 1.0)
    assert nothing == NEUTRAL
    few = corrections_of(counts_of(1.0, 0.7, pairs=0.02), 1.0)[0]
    many = corrections_of(counts_of(1.0, 0.7), 1.0)[0]
    assert 0 < few.bias < 0.2 and 0.97 < few.slope < 1
    assert many.bias == pytest.approx(1.0 - 0.3 * many.centre, abs=0.05)
    assert many.slope == pytest.approx(0.7, abs=0.02)


def test_correction_outside_2_per_mille_and_98_per_cent_is_that_at_the_ends():
    flat = Correction(0.0, 0.5, -2.0)
    shifts = flat.shift(np.array([-12.0, -6.2, -2.0, 4.0, 12.0]))
    np.testing.assert_allclose(shifts, [2.1, 2.1, 0.0, -3.0, -3.0])


def test_brier_skill_and_mean_of_counts_are_those_of_the_pairs():
    random = np.random.default_rng(3)
    chance = random.uniform(0.01, 0.9, 20_000)
    event = random.uniform(size=chance.size) < chance
    counts = counted(bins_of(chance), event, np.ones(chance.size, bool))
    rate = event.mean()
    skill = 1 - np.mean((chance - event) ** 2) / (rate * (1 - rate))
    assert brier_skill_of(counts) == pytest.approx(skill, abs=0.002)
    assert mean_probability_of(counts) == pytest.approx(chance.mean(), abs=0.002)
    assert np.isnan(brier_skill_of(np.zeros((2, BINS))))
    assert bins_of(np.array([np.nan]))[0] == 255


def one_frame(rate, minute, place=None):
    place = place or grid(4, 5)
    return Frames(np.full((1, *place.shape), rate, np.float32), times(minute), place)


def observed(minutes, rate=8.0):
    return {times(minute)[0]: one_frame(rate, minute) for minute in minutes}


def begun(hours=6.0, history=None):
    """A calibration with one forecast of 00:05 for 00:10 to 00:20."""
    calibration = OnlineCalibration(hours, model="ab", history=history)
    calibration.correct(forecast_of(4.0), (5.0,), STEP)
    return calibration


def test_only_forecasts_made_before_a_time_that_has_passed_are_compared_and_once():
    calibration = begun()
    calibration.observe(observed([0, 5, 10, 15, 20]), times(15)[0])
    assert list(calibration.history.verified) == list(times(10, 15))
    calibration.observe(observed([0, 5, 10, 15, 20], rate=0.0), times(20)[0])
    status = calibration.status()
    assert status["observations"] == 3
    # the first frame of a time counts: 8 mm/h at 00:10 and 00:15, at one pixel of 4 x 5 at 4 km
    assert [row["pairs"] for row in status["rates"]] == [3, 3, 3]
    assert [row["events"] for row in status["rates"]] == [2, 0, 0]


def test_heavier_rain_than_forecast_makes_the_next_forecast_more_probable():
    calibration = begun()
    forecast = forecast_of(4.0)
    calibration.observe(observed([10, 15, 20]), times(20)[0])
    corrected = calibration.correct(forecast, (1.0, 5.0), STEP)
    assert calibration.corrections[0].bias > 0 > calibration.corrections[1].bias
    assert corrected.probability[1, 0, 1, 1] > np.exp(-5 / 4)
    assert corrected.probability[0, 0, 1, 1] == pytest.approx(np.exp(-1 / 4))
    assert "3 of them" in calibration.words() and "from 5 mm/h bias +0." in calibration.words()


def test_what_is_older_than_the_hours_is_forgotten():
    calibration = begun(hours=0.5)
    calibration.observe(observed([10, 15, 20]), times(20)[0])
    calibration.observe({}, times(41)[0])
    assert list(calibration.history.verified) == list(times(15, 20))
    calibration.observe({}, times(120)[0])
    assert calibration.history.verified == {} and calibration.history.issued == {}
    calibration.correct(forecast_of(4.0), (5.0,), STEP)
    assert calibration.corrections == NEUTRAL and "nothing is corrected" in calibration.words()


def test_another_grid_or_cadence_begins_anew():
    calibration = begun()
    calibration.observe(observed([10]), times(10)[0])
    elsewhere = grid(4, 5, left=50_000.0)
    calibration.observe({times(15)[0]: one_frame(8.0, 15, elsewhere)}, times(15)[0])
    assert list(calibration.history.verified) == list(times(10))
    calibration.correct(forecast_of(4.0), (5.0,), 2 * STEP)
    assert calibration.history.verified == {} and len(calibration.history.issued) == 1


def test_what_was_learnt_lives_on_in_its_file(tmp_path):
    calibration = begun()
    calibration.observe(observed([10]), times(10)[0])
    save_history(calibration.history, tmp_path)
    history, problem = load_history(tmp_path)
    assert problem is None
    again = OnlineCalibration(6.0, model="ab", history=history)
    for one in (calibration, again):
        one.observe(observed([15, 20], rate=30.0), times(20)[0])
    assert again.status()["rates"] == calibration.status()["rates"]
    assert again.status()["observations"] == 3
    other = OnlineCalibration(6.0, model="cd", history=history)
    assert other.history.verified == {} and other.history.model == "cd"


def test_a_calibration_file_that_cannot_be_used_is_one_sentence(tmp_path):
    assert load_history(tmp_path) == (None, None)
    save_history(OnlineCalibration(6.0).history, tmp_path)
    assert not (tmp_path / FILE).exists()  # nothing is known yet
    save_history(begun().history, tmp_path)
    whole = (tmp_path / FILE).read_bytes()
    with np.load(tmp_path / FILE) as stored:
        arrays = dict(stored)
    changes = {
        "version": np.int64(2),
        "rates": np.array([1.0, 2.0, 3.0]),
        "bins": arrays["bins"][..., :0],
        "timestep": -arrays["timestep"],
        "analysis_times": np.array([object()]),
    }
    messages = []
    for name, value in changes.items():
        np.savez(tmp_path / FILE, **arrays | {name: value})
        messages.append(load_history(tmp_path))
    bare = io.BytesIO()
    np.save(bare, np.zeros(3))
    for content in (whole[:1000], b"", b"no archive", bare.getvalue()):
        (tmp_path / FILE).write_bytes(content)
        messages.append(load_history(tmp_path))
    assert all(history is None for history, _ in messages)
    assert all("\n" not in text and "starts afresh" in text for _, text in messages)
    said = " ".join(text for _, text in messages)
    assert "it has version 2, expected 1" in said and "its arrays do not fit together" in said
    assert "it is of the rates [1.0, 2.0, 3.0], expected" in said
    assert "its numbers are impossible" in said and "unsafely" not in said


def test_contents_that_cannot_be_and_single_changed_bytes_never_stop_a_watch(tmp_path):
    save_history(begun().history, tmp_path)
    whole = bytearray((tmp_path / FILE).read_bytes())
    with np.load(tmp_path / FILE) as stored:
        arrays = dict(stored)
    for name, value in {
        "bins": np.full_like(arrays["bins"], 200),
        "timestep": np.timedelta64("NaT", "s"),
        "verified_counts": np.full_like(arrays["verified_counts"], 2**32 - 1),
    }.items():
        if np.size(arrays[name]):
            np.savez(tmp_path / FILE, **arrays | {name: value})
            history, text = load_history(tmp_path)
            assert history is None and "its numbers are impossible" in text, name
    for place in range(0, len(whole), 7):
        changed = whole.copy()
        changed[place] ^= 0xFF
        (tmp_path / FILE).write_bytes(changed)
        history, text = load_history(tmp_path)
        assert history is not None or "starts afresh" in text


def test_hours_that_are_none_and_models_without_probabilities_are_refused():
    for hours in (0, -1, 1000, "6", True, math.nan):
        with pytest.raises(UserError, match="expected how many of the last hours it learns from"):
            Operation(calibration=hours)
    with pytest.raises(UserError, match="predicts no probabilities that could be calibrated"):
        refuse_without_probabilities(Persistence(), 6.0)
    refuse_without_probabilities(Persisting(), 6.0)


def made_up(count):
    """Rain of 6 mm/h everywhere, which stays."""
    values = np.full((count, 24, 30), 6.0, np.float32)
    return Frames(values, times(*range(0, 5 * count, 5)), grid(24, 30))


def replayed(tmp_path, count=14, **operation):
    records, watches = [], []
    forecaster = Forecaster(Persisting(), Identity(), Task(2, 3, 5))
    replay(
        made_up(count),
        forecaster,
        tmp_path / "out",
        every=0,
        operation=replace(OPERATION, **operation),
        on_record=records.append,
        on_end=watches.append,
    )
    return records, watches[0]


def test_a_replay_learns_that_it_always_rains_and_says_so_in_status_and_files(tmp_path):
    records, watch = replayed(tmp_path, calibration=1.0)
    made = [record for record in records if record["outcome"] == "forecast"]
    first, last = (record["calibration"]["rates"][0] for record in (made[0], made[-1]))
    assert first["pairs"] == 0 and first["bias"] == 0 and first["slope"] == 1
    assert last["rate"] == 5 and last["pairs"] == last["events"] > 100 and last["bias"] > 0.2
    chances = []
    for record in (made[0], made[-1]):
        products = read_products(tmp_path / "out" / record["forecast"])
        chances.append(products.probability[2, 0, 3, 3])
    assert chances[0] == pytest.approx(math.exp(-5 / 6), abs=0.005) and chances[1] > chances[0]
    assert products.probability_source == "calibrated"
    words = read_attributes(tmp_path / "out" / made[-1]["forecast"])["calibration"]
    assert words.startswith("online, by the observations of the last 1 h")
    assert (tmp_path / "out" / FILE).exists()
    shown = calibration_table(watch.calibration.online)
    assert shown.row_count == 3 and shown.columns[0]._cells[0] == "5 mm/h"


def test_a_watch_takes_up_what_another_process_learnt_of_the_same_model(tmp_path):
    _, watch = replayed(tmp_path, calibration=1.0)
    learnt = watch.calibration.online.history
    again = WatchCalibration(1.0, watch.forecaster, tmp_path / "out", learnt.model)
    assert again.open() is None
    assert list(again.online.history.verified) == list(learnt.verified)
    other = WatchCalibration(1.0, watch.forecaster, tmp_path / "out", "of other weights")
    assert "is of another model; it starts afresh" in other.open()
    assert other.online.history.verified == {}
    (tmp_path / "out" / FILE).write_bytes(b"half a fi")
    assert "cannot be used" in again.open() and again.online.history.verified == {}


def test_without_calibration_the_status_has_none_and_there_is_no_file(tmp_path):
    records, _ = replayed(tmp_path, count=5)
    assert all(record["calibration"] is None for record in records)
    assert not (tmp_path / "out" / FILE).exists()
    log = (tmp_path / "out" / "status.jsonl").read_text().splitlines()
    assert all(json.loads(row)["calibration"] is None for row in log)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("observe", "observations could not be compared: no luck"),
        ("correct", "the forecast is not calibrated: no luck"),
    ],
)
def test_a_calibration_that_fails_leaves_the_forecast_as_it_was_predicted(
    tmp_path, monkeypatch, broken, said
):
    def fails(*_):
        raise RuntimeError("no luck")

    monkeypatch.setattr(OnlineCalibration, broken, fails)
    records, _ = replayed(tmp_path, count=5, calibration=1.0)
    last = [record for record in records if record["outcome"] == "forecast"][-1]
    assert last["reason"] == said
    products = read_products(tmp_path / "out" / last["forecast"])
    assert products.probability[2, 0, 3, 3] == pytest.approx(math.exp(-5 / 6), abs=0.005)


def test_a_forecast_file_without_room_for_what_was_learnt_is_still_published(tmp_path, monkeypatch):
    def full(*_):
        raise UserError("the disk is full")

    monkeypatch.setattr(watch_calibration, "save_history", full)
    records, _ = replayed(tmp_path, count=5, calibration=1.0)
    last = [record for record in records if record["outcome"] == "forecast"][-1]
    assert last["reason"] == "the calibration could not be kept: the disk is full"


def test_a_forecast_carries_its_own_probabilities_alone_when_it_is_not_corrected():
    forecast = without_correction(forecast_of(4.0), (1.0, 5.0))
    assert isinstance(forecast, Forecast) and forecast.thresholds == (1.0, 5.0)
    np.testing.assert_allclose(forecast.probability[:, 0, 1, 1], np.exp([-0.25, -1.25]), rtol=1e-5)
