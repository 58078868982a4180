"""From radar files to a published forecast in a tiny size: what is measured, what is said, what is
refused.
"""

import json
import math
import mmap
import os
import sys

import numpy as np
import pytest

from nowcast.baselines.persistence import Persistence
from nowcast.benchmark.measuring import Host, resident
from nowcast.benchmark.prediction import Prediction, cold_start
from nowcast.benchmark.rain import moving_rain, write_radar_files
from nowcast.cli import config, main
from nowcast.data.inputs import read_frames
from nowcast.forecasting import prediction
from nowcast.forecasting.forecaster import Forecaster
from nowcast.output.netcdf import read_forecast
from nowcast.readers.auto import Auto
from nowcast.types.task import Task
from nowcast.types.transform import Identity
from tests.factories import times

SETTINGS = config.plain(
    config.compose(
        "train", ["experiment=radar_quickstart", "data.archive=none", "model.hidden_channels=[2]"]
    )
)
HOST = Host(lambda overrides: SETTINGS, config.choices)
TINY = Prediction(
    rows=24,
    columns=20,
    forecast_length=2,
    repeats=2,
    pysteps_repeats=1,
    busy_processes=1,
    busy_repeats=2,
)
BUSY = {"busy_whole", "busy_network"}
PHASES = {"read", "network", "transform", "derive", "write", "whole", "rest", "cold_start"} | BUSY


@pytest.fixture(scope="module")
def report():
    return TINY.run(HOST)


def test_every_part_is_measured_and_the_parts_make_the_whole(report):
    ours = {
        record["phase"]: record
        for record in report.records
        if record["implementation"] == "nowcast"
    }
    assert set(ours) == PHASES
    assert list(ours["whole"]) == [
        "case",
        "implementation",
        "precision",
        "phase",
        "milliseconds",
        "p95_milliseconds",
        "peak_memory_mb",
        "repeats",
        "context_length",
    ]
    assert ours["whole"]["case"] == "24x20, 4 to 2 frames" and ours["whole"]["repeats"] == 2
    assert all(
        0 <= record["milliseconds"] <= record["p95_milliseconds"] for record in ours.values()
    )
    assert ours["rest"]["milliseconds"] < ours["whole"]["milliseconds"]
    assert ours["cold_start"]["milliseconds"] > 100  # Python and torch alone take longer
    if sys.platform.startswith("linux"):
        assert 100 < ours["whole"]["peak_memory_mb"] < 5000


def test_forecasts_are_made_once_more_beside_busy_processes_which_are_then_gone(report):
    import subprocess

    busy = [
        record
        for record in report.records
        if record["phase"] in BUSY and record["implementation"] == "nowcast"
    ]
    assert len(busy) == 2 and all(
        record["repeats"] == 2 and record["milliseconds"] > 0 for record in busy
    )
    assert report.facts["busy_processes"] == 1
    found = subprocess.run(
        ["pgrep", "-P", str(os.getpid()), "-f", "os.getppid"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.stdout == ""


def test_a_number_of_busy_processes_below_0_is_refused():
    with pytest.raises(
        ValueError, match="busy_processes is -1; expected a whole number, at least 0"
    ):
        Prediction(busy_processes=-1)


def test_pysteps_is_measured_on_the_same_files(report):
    pytest.importorskip("pysteps")
    pytest.importorskip("cv2")
    assert report.failed == {}
    for name in ("pysteps_extrapolation", "pysteps_sprog"):
        assert {
            record["phase"] for record in report.records if record["implementation"] == name
        } == PHASES


def test_the_table_has_the_share_of_the_time_that_sprog_takes(report):
    pytest.importorskip("pysteps")
    pytest.importorskip("cv2")
    whole = {
        record["implementation"]: record["milliseconds"]
        for record in report.records
        if record["phase"] == "whole"
    }
    cells = [list(column.cells) for column in report.tables[0].columns]
    row = cells[0].index("share of S-PROG's time")
    assert cells[1][row] == f"{whole['nowcast'] / whole['pysteps_sprog']:.2f}"
    assert cells[5][row] == "1.00"


def test_what_needs_pysteps_is_left_out_without_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    report = Prediction(rows=24, columns=20, forecast_length=1, repeats=1, busy_processes=0).run(
        HOST
    )
    assert {record["implementation"] for record in report.records} == {"nowcast"}
    assert not BUSY & {
        record["phase"] for record in report.records
    }  # with no busy process nothing is measured beside it
    assert (
        set(report.failed) == {"pysteps_extrapolation", "pysteps_sprog"}
        and "optical flow needs pysteps" in report.failed["pysteps_sprog"]
    )


def test_a_fresh_process_that_fails_says_why(tmp_path):
    seconds, _, refused = cold_start([f"run={tmp_path}", "input=none", f"output={tmp_path}/f.nc"])
    assert seconds == 0 and "is not a finished run folder" in refused


def test_a_run_trained_on_other_data_is_refused(tmp_path):
    Forecaster.from_settings(
        config.plain(config.compose("train", ["model.hidden_channels=[2,2]"]))
    ).save(tmp_path)
    with pytest.raises(
        ValueError,
        match="was trained on grey_level; expected a run trained on radar, to measure predictions",
    ):
        Prediction(str(tmp_path), rows=8, columns=8).run(HOST)


def test_rain_for_benchmarks_is_a_fifth_wet_bounded_moving_and_the_same_for_the_same_seed():
    rain = moving_rain(3, 90, 80, seed=4)
    seen = ~np.isnan(rain[0])
    assert seen.mean() == pytest.approx(math.pi / 4, abs=0.02) and seen[45].all()
    assert (np.isnan(rain) == ~seen).all() and rain.dtype == np.float32
    values = rain[:, seen]
    assert 0.12 < (values[0] >= 0.1).mean() < 0.28 and values.max() <= 100
    assert ((values == 0) | (values >= np.float32(0.1))).all()
    np.testing.assert_array_equal(rain, moving_rain(3, 90, 80, seed=4))
    assert (values[0] != moving_rain(1, 90, 80, seed=5)[0, seen]).any()
    filled = np.nan_to_num(rain)
    moved = [
        np.corrcoef(np.roll(filled[0], shift, (0, 1)).ravel(), filled[2].ravel())[0, 1]
        for shift in ((0, 0), (3, 6), (-3, -6))
    ]
    assert moved[1] == max(moved) > 0.6  # 1.4 rows and 3.2 columns a frame


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux reports it")
def test_resident_memory_contains_what_was_written_to():
    before = resident("self")
    # pages that the process does not have yet, as what was freed before may be
    fresh = mmap.mmap(-1, 400_000_000)
    np.frombuffer(fresh, np.uint8).fill(1)
    assert resident("self") - before > 300_000_000
    assert resident("self", peak=True) >= resident("self")


def test_where_the_system_does_not_report_it_there_is_no_memory(monkeypatch, tmp_path):
    monkeypatch.setattr("nowcast.benchmark.measuring._PROCESSES", tmp_path / "none")
    assert resident("self") is None


def test_synthetic_radar_files_read_back_to_half_a_decibel(tmp_path):
    rain, moments = moving_rain(2, 30, 20), times(0, 5)
    frames = read_frames(write_radar_files(rain, moments, tmp_path), reader=Auto())
    assert (frames.times == moments).all() and frames.grid.spacing == pytest.approx((1000, 1000))
    assert (np.isnan(frames.values) == np.isnan(rain)).all() and (
        (frames.values == 0) == (rain == 0)
    ).all()
    wet = rain > 0
    assert (
        np.abs(10 * np.log10(frames.values[wet] / rain[wet])).max() < 0.25 / 1.6 + 1e-3
    )  # half a step of reflectivity, in decibels of rain rate


def test_publishing_returns_the_seconds_of_its_parts_and_keeps_the_context(tmp_path, monkeypatch):
    # read until 2 s, the model from 3 to 7, restored until 7.5, all of the forecast until 8,
    # derived until 11, written at 18
    clock = iter([0, 2, 3, 7, 7.5, 7.5, 8, 11, 18])
    monkeypatch.setattr(prediction.time, "perf_counter", lambda: next(clock))
    rain, moments = moving_rain(3, 12, 10), times(0, 5, 10)
    frames = read_frames(write_radar_files(rain, moments, tmp_path), reader=Auto())
    published = prediction.publish(
        Forecaster(Persistence(), Identity(), Task(2, 4)),
        lambda: frames,
        tmp_path / "f.nc",
        run="a run",
    )
    assert published.seconds == {"read": 2, "network": 4, "transform": 2, "derive": 3, "write": 7}
    assert (published.context.times == moments[1:]).all()
    np.testing.assert_array_equal(
        read_forecast(tmp_path / "f.nc").values, published.forecast.values
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rows": 0}, "rows is 0; expected a whole number"),
        ({"repeats": 2.5}, "repeats is 2.5; expected a whole number"),
    ],
)
def test_a_load_that_makes_no_sense_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Prediction(**settings)


@pytest.mark.parametrize("shipped", [False, True])
def test_the_command_measures_a_trained_run(shipped, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")  # seconds of a busy machine are wide
    run = config.run_folder("shipped") if shipped else tmp_path / "a run, trained"
    if not shipped:
        Forecaster.from_settings(SETTINGS).save(run)
    changes = [
        "trained=shipped" if shipped else f"trained={run}",
        "rows=24",
        "columns=20",
        "forecast_length=1",
        "repeats=1",
        "pysteps_repeats=1",
        "busy_repeats=1",
    ]
    main(
        [
            "benchmark",
            "what=prediction",
            f"output_dir={tmp_path}/out",
            *(f"what.{change}" for change in changes),
        ]
    )
    content = json.loads((tmp_path / "out" / "benchmark.json").read_text())
    assert (
        content["settings"]["what"]["trained"] == str(run)
        and content["settings"]["context_length"] == 4
    )
    assert all(math.isfinite(record["p95_milliseconds"]) for record in content["records"])
    text = capsys.readouterr().out
    assert (
        "4 → 1 frames of 24x20" in text
        and "file to published NetCDF" in text
        and "cold start without model" in text
        and "beside 2 busy processes" in text
    )
