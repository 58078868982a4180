"""A cycle always ends with a status: a forecast, one that is flagged as a fallback, or the reason
for none; what is published is whole.
"""

import json
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from factories import grid, times

from nowcast.baselines.persistence import Persistence
from nowcast.forecasting import fallback
from nowcast.forecasting.clock import Clock, SimulatedClock
from nowcast.forecasting.decision import frames_to_keep
from nowcast.forecasting.forecaster import Forecaster
from nowcast.forecasting.incoming import Incoming
from nowcast.forecasting.status import line
from nowcast.forecasting.watch import Operation, Watch
from nowcast.models.base import Capabilities, ForecastModel
from nowcast.models.prediction import SingleField
from nowcast.output.base import Writer
from nowcast.output.netcdf import read_attributes, read_forecast
from nowcast.output.writers import WRITERS
from nowcast.runtime.errors import MissingDependency, UserError
from nowcast.types.frames import Frames
from nowcast.types.task import Task
from nowcast.types.transform import Identity

TASK = Task(2, 3, 5)
NAN = np.nan


def read_text(path: Path) -> Frames:
    """A file with minutes and a value: one pixel of it, one dry and one missing."""
    try:
        minute, value = path.read_text().split(",")
    except ValueError:
        raise UserError(f"{path} is cut short") from None
    value = float(value)
    row = [value, 0 if value == value else NAN, NAN]
    return Frames([[row, row]], times(int(minute)), grid(2, 3), str(path))


@pytest.fixture(autouse=True)
def no_pysteps(monkeypatch):
    """Gaps are filled with means here, and nothing is extrapolated: the same with and without
    pysteps installed.
    """

    def missing():
        raise MissingDependency("no pysteps here")

    monkeypatch.setattr(fallback, "load_pysteps", missing)


class Place:
    """An incoming folder, an output folder and a clock that starts at 00:00 of the day."""

    def __init__(
        self,
        folder: Path,
        *,
        until: int = 60,
        forecaster: Forecaster | None = None,
        task: Task = TASK,
        notice=None,
        **operation,
    ):
        self.incoming, self.output = folder / "in", folder / "out"
        self.incoming.mkdir(exist_ok=True)
        self.clock = SimulatedClock(times(0)[0], times(until)[0])
        self.records = []
        source = Incoming(
            self.incoming,
            read_text,
            keep=frames_to_keep(task),
            switch_after=task.context_length,
            timestep=task.timedelta,
        )
        forecaster = forecaster or Forecaster(Persistence(), Identity(), task)
        settings = Operation(**{"poll_seconds": 10.0, "page": False} | operation)
        self.watch = Watch(
            source,
            forecaster,
            self.output,
            settings,
            clock=self.clock,
            run="run é",
            model_sha256="ab" * 32,
            report=self.records.append,
            notice=notice,
        )

    def comes(self, minute: float, frame: int, value: float = 1.0, name: str | None = None) -> None:
        """A file of a frame at a minute of the day."""
        path = self.incoming / (name or f"{frame:03}")
        self.clock.at(
            times(0)[0] + np.timedelta64(round(60 * minute), "s"),
            lambda: path.write_text(f"{frame},{value}"),
        )

    def outcomes(self) -> list[tuple[str, str, str | None]]:
        self.watch.run()
        return [
            (record["analysis_time"][11:16], record["outcome"], record["method"])
            for record in self.records
        ]


def test_every_frame_makes_a_forecast_as_soon_as_it_has_settled(tmp_path):
    place = Place(tmp_path, until=19)
    for frame in (0, 5, 10, 15):
        place.comes(frame + 1, frame, value=frame + 1)
    assert place.outcomes() == [
        ("00:00", "fallback", "persistence"),
        ("00:05", "forecast", "nowcast"),
        ("00:10", "forecast", "nowcast"),
        ("00:15", "forecast", "nowcast"),
    ]
    last = place.records[-1]
    assert (
        last["updated"] == "2020-06-01T00:16:10Z" and last["data_age_minutes"] == 1.2
    )  # it came at 00:16, and had settled a look later
    assert (
        last["next_expected"] == "2020-06-01T00:20:00Z"
        and last["reason"] is None
        and last["forecast_analysis_time"] == last["analysis_time"]
    )
    forecast = read_forecast(place.output / last["forecast"])
    np.testing.assert_array_equal(forecast.values[2], np.float32([[16, 0, NAN]] * 2))
    assert forecast.analysis_time == times(15)[0] and list(forecast.valid_times) == list(
        times(20, 25, 30)
    )


class AnyCadence(Persistence):
    capabilities = Capabilities(needs_scale=True, any_scale=True)

    def forward(self, context, forecast_length, observed=None, scale=None):
        self.timestep = scale.timestep.tolist()
        return super().forward(context, forecast_length, observed, scale)


@pytest.mark.parametrize(("step", "count"), [(2, 8), (6, 2), (10, 2), (15, 1)])
def test_a_model_for_any_cadence_follows_that_of_the_frames(tmp_path, step, count):
    forecaster = Forecaster(AnyCadence(), Identity(), TASK)
    place = Place(tmp_path, until=step * 6 + 2, forecaster=forecaster)
    place.watch.incoming.keep = frames_to_keep(TASK, slowest=15)
    for frame in range(0, step * 6 + 1, step):
        place.comes(frame + 0.5, frame, value=frame + 1)
    outcomes = [
        outcome
        for analysis, outcome, _ in place.outcomes()
        if int(analysis[:2]) * 60 + int(analysis[3:]) >= step
    ]
    assert outcomes == ["forecast"] * 6
    assert (
        forecaster.task.timestep == step
        and forecaster.model.timestep == [step]
        and place.watch.schedule.cadence == np.timedelta64(60 * step, "s")
    )
    forecast = read_forecast(place.output / place.records[-1]["forecast"])
    # as far ahead as the task, which is 3 steps of 5 minutes
    leads = [step * number for number in range(1, count + 1)]
    assert list(forecast.lead_times / np.timedelta64(60, "s")) == leads


def test_one_frame_that_is_missing_is_no_other_cadence(tmp_path):
    forecaster = Forecaster(AnyCadence(), Identity(), TASK)
    place = Place(tmp_path, until=42, forecaster=forecaster)
    for frame in (0, 5, 10, 20, 25, 30, 35, 40):
        place.comes(frame + 0.5, frame)
    place.outcomes()
    assert forecaster.task.timestep == 5


def test_what_is_published_says_where_it_comes_from(tmp_path):
    import h5py

    place = Place(tmp_path, until=9)
    place.comes(1, 0)
    place.comes(6, 5)
    place.outcomes()
    with h5py.File(place.output / "latest.nc") as file:
        assert (
            "probability" in " ".join(file)
            and "depth" in " ".join(file)
            and "fallback_reason" not in file.attrs
        )
    attributes = read_attributes(place.output / "latest.nc")
    assert (
        attributes["model"] == "run é"
        and attributes["model_sha256"] == "ab" * 32
        and attributes["method"] == "nowcast"
        and attributes["data_age_minutes"] == "1.2"
    )
    assert (
        attributes["input_files"]
        == "000 2020-06-01T00:00:00Z (6.2 min old); 005 2020-06-01T00:05:00Z (1.2 min old)"
    )


def test_a_frame_that_does_not_come_gives_a_flagged_forecast_at_the_deadline(tmp_path):
    place = Place(tmp_path, until=24)
    for frame in (0, 5, 10, 20):
        place.comes(frame + 1, frame, value=frame + 1)
    assert place.outcomes()[2:] == [
        ("00:10", "forecast", "nowcast"),
        ("00:15", "fallback", "nowcast"),
        ("00:20", "forecast", "nowcast"),
    ]
    record = next(
        record for record in place.records if record["analysis_time"] == "2020-06-01T00:15:00Z"
    )
    assert (
        record["updated"] == "2020-06-01T00:20:00Z"
        and record["forecast_analysis_time"] == "2020-06-01T00:10:00Z"
    )
    assert (
        record["reason"] == "the frame of 00:15 UTC did not come"
        and record["data_age_minutes"] == 10.0
    )
    forecast = read_forecast(place.output / record["forecast"])
    assert forecast.analysis_time == times(10)[0] and list(forecast.valid_times) == list(
        times(15, 20, 25, 30)
    )  # as far as the cycle's own would
    after = next(
        record for record in place.records if record["analysis_time"] == "2020-06-01T00:20:00Z"
    )
    assert (
        after["reason"]
        == "the frame of 00:15 UTC did not come; it was filled in between its neighbours"
    )


def test_a_late_frame_replaces_the_fallback_of_its_cycle_with_all_its_lead_times(tmp_path):
    place = Place(tmp_path, until=19, formats=["h5", "nc"])
    for minute, frame in ((1, 0), (6, 5), (16.5, 10)):
        place.comes(minute, frame)
    assert place.outcomes()[1:] == [
        ("00:05", "forecast", "nowcast"),
        ("00:10", "fallback", "nowcast"),
        ("00:10", "forecast", "nowcast"),
    ]
    assert (
        read_forecast(place.output / "forecast_20200601T001000Z.nc").analysis_time == times(10)[0]
    )
    names = sorted(path.name for path in place.output.glob("forecast_20200601T001000Z*.h5"))
    assert names == [
        f"forecast_20200601T001000Z_{lead:03}min.h5" for lead in (5, 10, 15)
    ]  # the fallback had one of 20 minutes, too


def test_a_later_deadline_waits_longer(tmp_path):
    place = Place(tmp_path, until=19, deadline_minutes=7)
    for minute, frame in ((1, 0), (6, 5), (16.5, 10)):
        place.comes(minute, frame)
    assert place.outcomes()[1:] == [
        ("00:05", "forecast", "nowcast"),
        ("00:10", "forecast", "nowcast"),
    ]


def test_a_frame_without_any_observation_is_missing_not_dry(tmp_path):
    place = Place(tmp_path, until=16)
    for frame, value in ((0, 1), (5, 2), (10, NAN)):
        place.comes(frame + 1, frame, value=value)
    place.outcomes()
    record = place.records[-1]
    assert (record["outcome"], record["reason"]) == (
        "fallback",
        "the frame of 00:10 UTC contains no observation",
    )
    np.testing.assert_array_equal(
        read_forecast(place.output / record["forecast"]).values[0], np.float32([[2, 0, NAN]] * 2)
    )


def test_a_dry_frame_is_a_frame(tmp_path):
    place = Place(tmp_path, until=14)
    for frame in (0, 5, 10):
        place.comes(frame + 1, frame, value=0)
    assert place.outcomes()[-1] == ("00:10", "forecast", "nowcast")
    np.testing.assert_array_equal(
        read_forecast(place.output / "latest.nc").values[0], np.float32([[0, 0, NAN]] * 2)
    )


def test_when_nothing_comes_any_more_the_last_forecast_stays_and_the_status_says_that_there_is_none(
    tmp_path,
):
    place = Place(tmp_path, until=31, max_age_minutes=12)
    for frame in (0, 5):
        place.comes(frame + 1, frame)
    outcomes = place.outcomes()
    assert [outcome for _, outcome, _ in outcomes[1:]] == [
        "forecast",
        "fallback",
        "fallback",
        "none",
        "none",
    ]
    assert os.readlink(place.output / "latest.nc") == "forecast_20200601T001500Z.nc"
    status = json.loads((place.output / "status.json").read_text())
    assert (
        status["forecast"] is None
        and status["latest"] == "forecast_20200601T001500Z.nc"
        and "at most 12 are accepted" in status["reason"]
    )


def test_rejected_files_stand_in_the_status_of_the_cycle_they_came_in(tmp_path):
    place = Place(tmp_path, until=14)
    for frame in (0, 5, 10):
        place.comes(frame + 1, frame)
    place.clock.at(times(7)[0], lambda: (place.incoming / "x\n<b>").write_text("rain"))
    place.outcomes()
    assert [record["rejected"] for record in place.records[1:]] == [
        [],
        [{"file": "x\n<b>", "reason": "x\n<b> is cut short"}],
    ]


def test_cycles_lie_where_the_times_of_the_radar_lie(tmp_path):
    place = Place(tmp_path, until=23)
    for frame in (2, 7, 12):
        place.comes(frame + 1, frame)
    assert place.outcomes()[-3:] == [
        ("00:07", "forecast", "nowcast"),
        ("00:12", "forecast", "nowcast"),
        ("00:17", "fallback", "nowcast"),
    ]


@pytest.mark.parametrize("cadence", [10, 15, 60])
def test_with_a_longer_cadence_than_the_frames_only_its_cycles_have_forecasts(tmp_path, cadence):
    place = Place(tmp_path, until=125, cadence_minutes=cadence, deadline_minutes=5)
    for frame in range(0, 125, 5):
        if frame != 60 or cadence == 60:
            place.comes(frame + 1, frame)
    outcomes = place.outcomes()
    assert [analysis for analysis, *_ in outcomes] == [
        f"{minute // 60:02}:{minute % 60:02}" for minute in range(0, 125, cadence)
    ]
    assert [analysis for analysis, outcome, _ in outcomes[1:] if outcome != "forecast"] == (
        [] if cadence == 60 else ["01:00"]
    )  # its frame did not come


def test_a_format_that_cannot_be_written_leaves_the_others(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise UserError("this projection has no name in a GeoTIFF")

    monkeypatch.setitem(WRITERS, ".tif", Writer("GeoTIFF", (".tif",), refuse))
    place = Place(tmp_path, until=4, formats=["tif", "nc"])
    place.comes(1, 0)
    assert place.outcomes() == [("00:00", "fallback", "persistence")]
    record = place.records[0]
    assert (
        record["forecast"].endswith(".nc")
        and record["latest"] == record["forecast"]
        and record["reason"].endswith("tif: this projection has no name in a GeoTIFF")
    )
    assert (place.output / "latest.nc").exists()


def test_one_forecast_is_kept_where_one_is_asked_for_and_a_new_watch_knows_the_latest(tmp_path):
    place = Place(tmp_path, until=14, keep=1)
    for frame in (0, 5, 10):
        place.comes(frame + 1, frame)
    place.outcomes()
    assert [path.name for path in place.output.glob("forecast_*")] == [
        "forecast_20200601T001000Z.nc"
    ]
    status = json.loads((place.output / "status.json").read_text())
    assert status["state"] == "stopped" and status["updated"] >= "2020-06-01T00:14"
    again = Place(tmp_path, until=0, keep=1)
    again.watch.run()
    assert again.watch.folder.latest == "forecast_20200601T001000Z.nc"


def test_a_line_of_the_log_that_was_cut_spoils_no_other(tmp_path):
    place = Place(tmp_path, until=4)
    place.output.mkdir()
    (place.output / "status.jsonl").write_text('{"half": ')
    place.comes(1, 0)
    place.outcomes()
    assert (
        json.loads((place.output / "status.jsonl").read_text().splitlines()[1])["analysis_time"]
        == "2020-06-01T00:00:00Z"
    )


def test_a_cadence_shorter_than_the_timestep_forecasts_from_interleaved_contexts(tmp_path):
    place = Place(tmp_path, until=24, task=Task(2, 3, 10), cadence_minutes=5)
    for frame in (0, 5, 10, 15, 20):
        place.comes(frame + 1, frame)
    assert place.outcomes()[-3:] == [
        ("00:10", "forecast", "nowcast"),
        ("00:15", "forecast", "nowcast"),
        ("00:20", "forecast", "nowcast"),
    ]


def test_a_machine_that_slept_judges_the_newest_cycle_and_says_which_it_passed_over(tmp_path):
    place = Place(tmp_path, until=60)
    for frame in (0, 5):
        place.comes(frame + 1, frame)
    with_clock = place.clock.wait
    place.clock.wait = lambda seconds: with_clock(
        1200 if place.clock.now() == times(8)[0] else seconds
    )
    outcomes = place.outcomes()
    reasons = [record["reason"] for record in place.records]
    index = next(
        i for i, reason in enumerate(reasons) if reason and reason.startswith("passed over")
    )
    assert outcomes[index : index + 3] == [
        ("00:10", "none", None),
        ("00:15", "none", None),
        ("00:20", "fallback", "nowcast"),
    ]
    assert (
        reasons[index]
        == "passed over: the cycle of 2020-06-01T00:20:00Z came due before it was judged"
    )


def test_an_old_folder_makes_no_forecast_that_looks_new(tmp_path):
    place = Place(tmp_path, until=6, max_age_minutes=30)
    for frame in (-120, -115, -110):
        (place.incoming / f"{frame}").write_text(f"{frame},1")
    assert {outcome for _, outcome, _ in place.outcomes()} == {"none"} and not list(
        place.output.glob("*.nc")
    )


def test_only_the_newest_forecasts_are_kept_and_nothing_else_is_deleted(tmp_path):
    place = Place(tmp_path, until=34, keep=2)
    place.output.mkdir()
    for name in ("forecast_notes.txt", "forecast_20200601T000000Z.nc.bak", "mine.nc"):
        (place.output / name).touch()
    for frame in range(0, 35, 5):
        place.comes(frame + 1, frame)
    place.outcomes()
    assert sorted(path.name for path in place.output.glob("*") if path.suffix != ".json") == [
        ".lock",
        "forecast_20200601T000000Z.nc.bak",
        "forecast_20200601T002500Z.nc",
        "forecast_20200601T003000Z.nc",
        "forecast_notes.txt",
        "latest.nc",
        "mine.nc",
        "status.jsonl",
    ]


def test_the_log_has_a_line_for_every_cycle_and_is_put_aside_when_it_is_large(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("nowcast.forecasting.status._LARGEST_LOG", 1500)
    place = Place(tmp_path, until=49)
    for frame in range(0, 50, 5):
        place.comes(frame + 1, frame)
    place.outcomes()
    lines = [
        json.loads(text)
        for name in ("status.jsonl.1", "status.jsonl")
        for text in (place.output / name).read_text().splitlines()
    ]
    assert [record["analysis_time"] for record in lines] == [
        record["analysis_time"] for record in place.records
    ][-len(lines) :] and len(lines) < len(place.records)
    status = json.loads((place.output / "status.json").read_text())
    assert status["state"] == "stopped" and status["analysis_time"] == "2020-06-01T00:45:00Z"


class Broken(ForecastModel):
    def forward(self, context, forecast_length, observed=None, scale=None):
        raise RuntimeError("out of memory\nwith details")


def test_a_network_that_fails_leaves_persistence_with_the_reason(tmp_path):
    place = Place(tmp_path, until=9, forecaster=Forecaster(Broken(), Identity(), TASK))
    for frame in (0, 5):
        place.comes(frame + 1, frame, value=4)
    assert place.outcomes()[-1] == ("00:05", "fallback", "persistence")
    assert place.records[-1]["reason"] == "nowcast failed: out of memory"
    np.testing.assert_array_equal(
        read_forecast(place.output / "latest.nc").values[0], np.float32([[4, 0, NAN]] * 2)
    )


def test_a_full_disk_is_a_reason_and_the_next_cycle_publishes_again(tmp_path, monkeypatch):
    place = Place(tmp_path, until=14)
    for frame in (0, 5, 10):
        place.comes(frame + 1, frame)
    from nowcast.forecasting import forecast_folder as module

    full, writer = [True], module.writer_for

    def writing(path):
        if full[0] and "0500Z" in str(path):
            raise UserError(f"{path} could not be written: No space left on device.")
        return writer(path)

    monkeypatch.setattr(module, "writer_for", writing)
    assert [outcome for _, outcome, _ in place.outcomes()] == ["fallback", "none", "forecast"]
    assert (
        "no forecast could be published: " in place.records[1]["reason"]
        and "No space left" in place.records[1]["reason"]
    )


def test_two_watches_do_not_share_a_folder(tmp_path):
    place, other = Place(tmp_path), Place(tmp_path)
    place.clock.at(
        times(1)[0],
        lambda: pytest.raises(UserError, other.watch.run).match(
            "another nowcast watch publishes to .*out; stop it"
        ),
    )
    place.watch.run()
    other.watch.run()  # the lock is free again


def test_an_output_that_is_no_folder_is_refused(tmp_path):
    place = Place(tmp_path)
    place.output.write_text("")
    with pytest.raises(UserError, match="out cannot be written to: "):
        place.watch.run()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"poll_seconds": 0}, "poll_seconds is 0; expected a number above 0"),
        ({"max_age_minutes": -5.0}, "max_age_minutes is -5.0"),
        ({"cadence_minutes": 0.123}, "expected a whole number of seconds"),
        ({"keep": 0}, "keep is 0; at least 1 forecast must stay"),
        ({"formats": []}, "formats is .*; expected one or more of nc, h5"),
        ({"formats": ["grib"]}, "one or more of nc, h5, hdf, tif"),
        ({"formats": ["nc", "nc"]}, "each once"),
        ({"thresholds": []}, "one or more positive thresholds"),
        ({"thresholds": [5.0, 1.0]}, "in ascending order, e.g. 0.1, 1, 5, got"),
    ],
)
def test_settings_that_make_no_operation_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        Operation(**settings)


def test_a_reader_that_polls_latest_never_meets_half_a_forecast(tmp_path):
    place = Place(tmp_path, until=200)
    for frame in range(0, 150, 5):
        place.comes(frame + 1, frame, value=frame + 1)
    seen, failures, running = set(), [], threading.Event()

    def poll():
        while not running.is_set():
            if not (place.output / "latest.nc").exists():
                continue  # nothing was published yet; from the first time on it never vanishes
            try:
                forecast = read_forecast(place.output / "latest.nc")
                seen.add(float(forecast.values[-1, 0, 0]))
            except UserError as error:
                failures.append(str(error))

    reader = threading.Thread(target=poll)
    reader.start()
    place.clock.at(times(151)[0], place.clock.stop)
    place.watch.run()
    running.set()
    reader.join()
    assert failures == [] and len(seen) > 3


def test_the_real_clock_tells_utc_and_wakes_when_it_is_stopped():
    clock = Clock()
    assert abs(clock.now() - np.datetime64(round(time.time() * 1000), "ms")) < np.timedelta64(
        2, "s"
    )
    threading.Timer(0.05, clock.stop).start()
    begun = time.monotonic()
    clock.wait(60)
    assert clock.stopped and time.monotonic() - begun < 30


def test_a_status_is_one_line_whatever_stands_in_it():
    record = {
        "analysis_time": "2020-06-01T00:05:00Z",
        "outcome": "fallback",
        "method": "persistence",
        "forecast": "forecast_20200601T000500Z.nc",
        "reason": "x",
    }
    assert (
        line(record)
        == "2020-06-01T00:05:00Z fallback: persistence -> forecast_20200601T000500Z.nc (x)"
    )
    assert (
        line({"analysis_time": "2020-06-01T00:05:00Z", "outcome": "none", "reason": "no frame"})
        == "2020-06-01T00:05:00Z none: no forecast (no frame)"
    )


def test_a_clock_that_ran_ahead_and_was_set_right_does_not_silence_the_watch(tmp_path):
    place = Place(tmp_path, until=31)
    for frame in (0, 5):
        place.comes(frame + 1, frame)
    watch, now = place.watch, place.clock.now
    place.clock.at(
        times(7)[0], lambda: setattr(place.clock, "now", lambda: now() + np.timedelta64(10, "D"))
    )
    place.clock.at(times(9)[0], lambda: setattr(place.clock, "now", now))
    place.outcomes()
    reasons = [record["reason"] or "" for record in place.records]
    assert (
        sum(
            "cycles since 2020-06-01T00:10:00Z were passed over: the clock was set" in reason
            for reason in reasons
        )
        == 1
        and len(place.records) < 20
    )
    assert [
        record["outcome"]
        for record in place.records
        if record["analysis_time"] in ("2020-06-01T00:15:00Z", "2020-06-01T00:20:00Z")
    ] == ["fallback"] * 2
    assert watch.schedule.judged == times(25)[0]


def test_a_reader_of_the_words_that_is_gone_and_a_log_that_cannot_be_written_do_not_end_the_watch(
    tmp_path,
):
    place = Place(tmp_path, until=14)
    for frame in (0, 5, 10):
        place.comes(frame + 1, frame)
    (place.output / "status.jsonl").mkdir(parents=True)
    seen = []

    def gone(record):
        seen.append(record)
        raise BrokenPipeError

    place.watch.report = gone
    place.watch.run()
    assert [record["outcome"] for record in seen] == [
        "fallback",
        "forecast",
        "forecast",
    ] and "the status could not be written: " in seen[-1]["reason"]


def test_a_page_that_cannot_be_written_leaves_the_forecast_a_forecast(tmp_path, monkeypatch):
    place = Place(tmp_path, until=9, page=True)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nowcast.forecasting.watch.page.publish", full)
    for frame in (0, 5):
        place.comes(frame + 1, frame)
    assert place.outcomes()[-1] == ("00:05", "forecast", "nowcast")
    assert (
        place.records[-1]["reason"].startswith("the page could not be brought up to date: ")
        and place.records[-1]["forecast"]
    )


def test_leftovers_of_a_killed_watch_go_and_what_others_call_alike_stays(tmp_path):
    place = Place(tmp_path, until=9, keep=1)
    place.output.mkdir()
    for name in (
        ".forecast_20200601T000000Z.nc.abcdefgh.nc",
        ".forecast_20200601T000000Z_005min.h5.abcdefgh.h5",
        ".page.js.abcdefgh.js",
        ".status.json.abcdefgh.json",
        "forecast_20190101T000000Z.png",
        ".forecasts",
    ):
        (place.output / name).touch()
    (place.output / "forecast_20190101T000000Z.nc").mkdir()
    for frame in (0, 5):
        place.comes(frame + 1, frame)
    assert place.outcomes()[-1] == ("00:05", "forecast", "nowcast")
    names = {path.name for path in place.output.iterdir()}
    assert {
        "forecast_20190101T000000Z.png",
        "forecast_20190101T000000Z.nc",
        ".forecasts",
        "forecast_20200601T000500Z.nc",
    } <= names
    assert not [name for name in names if "abcdefgh" in name]


def test_latest_of_a_format_that_is_not_written_any_more_goes(tmp_path):
    for formats in (["nc"], ["tif"]):
        place = Place(tmp_path, until=9, formats=formats)
        for frame in (0, 5):
            place.comes(frame + 1, frame)
        place.outcomes()
    assert [path.name for path in place.output.glob("latest.*")] == ["latest.tif"]


@pytest.mark.parametrize("seconds", [(0, 3, 1, 4, 2, 0), (2, 2, 2, 2, 2, 2), (15, 0, 14, 1, 15, 0)])
def test_frames_some_seconds_late_belong_to_their_cycles(tmp_path, seconds):
    def read(path):
        frames = read_text(path)
        return Frames(
            frames.values,
            frames.times + np.timedelta64(seconds[int(path.name) // 5], "s"),
            frames.grid,
            frames.source,
        )

    place = Place(tmp_path, until=29)
    place.watch.incoming.read = read
    for frame in range(0, 30, 5):
        place.comes(frame + 1, frame, value=frame + 1)
    assert place.outcomes()[-5:] == [
        (f"00:{minute:02}", "forecast", "nowcast") for minute in range(5, 30, 5)
    ]
    assert {record["analysis_time"][17:19] for record in place.records[-5:]} == {
        "02" if len(set(seconds)) == 1 else "00"
    }


def test_a_frame_as_late_as_half_a_minute_is_no_frame_of_the_cadence(tmp_path):
    def read(path):
        frames = read_text(path)
        return Frames(
            frames.values,
            frames.times + np.timedelta64(40 if path.name == "005" else 0, "s"),
            frames.grid,
            frames.source,
        )

    place = Place(tmp_path, until=19)
    place.watch.incoming.read = read
    for frame in range(0, 20, 5):
        place.comes(frame + 1, frame, value=frame + 1)
    place.outcomes()
    reasons = {record["analysis_time"][11:16]: record["reason"] for record in place.records}
    assert (
        reasons["00:10"]
        == "the frame of 00:05 UTC did not come; it was filled in between its neighbours"
        and reasons["00:15"] is None
    )


def test_a_network_whose_forecast_is_missing_everywhere_says_so_and_persistence_stands_in(tmp_path):
    class Nothing(Persistence):
        def forward(self, context, forecast_length, observed=None, scale=None):
            still = super().forward(context, forecast_length, observed, scale).point()
            return SingleField(torch.full_like(still, NAN))

    place = Place(tmp_path, until=9, forecaster=Forecaster(Nothing(), Identity(), TASK))
    place.comes(1, 0)
    place.comes(6, 5)
    assert place.outcomes()[-1] == ("00:05", "fallback", "persistence")
    assert (
        "is missing at every pixel and lead time: 4 of 6 pixels of the newest frame were "
        "observed, and Nothing has a value for none of them" in place.records[-1]["reason"]
    )


# ---------------------------------------------------------------- a folder that nothing can come of


def told(place):
    """(words, seconds after the start, status.json at that time) of each notice."""
    found, start = [], place.clock.now()

    def notice(words):
        status = json.loads((place.output / "status.json").read_text())
        seconds = (place.clock.now() - start) / np.timedelta64(1, "s")
        found.append((words, float(seconds), status))

    place.watch.notice = notice
    place.watch.run()
    return found


def test_old_frames_are_told_to_be_old_at_the_second_look_with_what_to_do(tmp_path):
    place = Place(tmp_path, until=9)
    place.clock.at(times(0)[0], lambda: None)
    for frame in (-180, -175, -170):
        (place.incoming / f"{frame}").write_text(f"{frame},1.0")
    ((words, seconds, status),) = told(place)
    assert words == (
        f"the newest frame in {place.incoming}, of 2020-05-31 21:10:00 UTC, is 2 hours old, and "
        "no forecast will come from it: frames may be 30 minutes behind "
        f"(operation.max_age_minutes). For old files: nowcast predict input={place.incoming} "
        "output=FILE.nc; for a whole archive of them: nowcast replay. Waiting for newer frames"
    )
    assert seconds == 10.0  # the first look sees the files, the second reads them
    assert (status["state"], status["outcome"], status["reason"]) == ("running", "none", words)
    assert "2020-05-31 21:10 UTC, is 170 minutes older" in place.records[-1]["reason"]


@pytest.mark.parametrize(
    ("minutes", "said"),
    [(-35, "35 minutes"), (-115, "115 minutes"), (-1440, "24 hours"), (-4323, "3 days")],
)
def test_an_age_is_told_in_minutes_hours_or_days(tmp_path, minutes, said):
    place = Place(tmp_path, until=2)
    (place.incoming / "a").write_text(f"{minutes},1.0")
    ((words, _, _),) = told(place)
    assert f"is {said} old" in words


def test_frames_that_a_forecast_comes_from_are_not_told_of(tmp_path):
    place = Place(tmp_path, until=2)
    (place.incoming / "a").write_text("-29,1.0")
    assert told(place) == []


def test_an_empty_folder_is_told_at_the_first_look_and_old_files_that_come_then_too(tmp_path):
    place = Place(tmp_path, until=4)
    place.comes(2, -600)
    (empty, first, status), (old, second, _) = told(place)
    assert empty == f"no file in {place.incoming} yet; waiting for radar files to arrive there"
    assert first == 0.0 and status["reason"] == empty and status["analysis_time"] is None
    assert "is 10 hours old" in old and second == 130.0


def test_files_that_cannot_be_read_are_told_with_the_reason_of_the_first(tmp_path):
    place = Place(tmp_path, until=1)
    for name in ("a", "b"):
        (place.incoming / name).write_text("1")
    ((words, _, status),) = told(place)
    assert words == (
        f"no frame could be taken from any of the 2 files in {place.incoming}: a is cut short. "
        "Waiting for others (nowcast info FILE says what a file contains)"
    )
    assert [item["file"] for item in status["rejected"]] == ["a", "b"]
    (place.incoming / "b").unlink()
    place = Place(tmp_path, until=1)
    assert told(place)[0][0].startswith(
        f"no frame could be taken from the one file in {place.incoming}"
    )


def test_a_file_that_is_still_coming_is_waited_for(tmp_path):
    place = Place(tmp_path, until=1)
    (place.incoming / "a").write_text("-600,1.0")
    for second in range(5, 65, 5):
        place.clock.at(
            times(0)[0] + np.timedelta64(second, "s"),
            lambda second=second: (place.incoming / "b").write_text("x" * second),
        )
    assert told(place) == []


def test_each_kind_is_told_once_and_nothing_more_once_a_forecast_was_made(tmp_path):
    place = Place(tmp_path, until=120)
    for frame in (0, 5):
        place.comes(frame + 1, frame)
    found = [words for words, _, _ in told(place)]
    assert len(found) == 1 and found[0].startswith("no file in")
    assert place.records[-1]["outcome"] == "none"  # the statuses of the cycles say the rest
