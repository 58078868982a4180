"""The scores beside pysteps', and the memory of an evaluation, in a tiny size."""

import json
import math
import mmap
import sys

import numpy as np
import pytest

from nowcast import config
from nowcast.benchmark import evaluation
from nowcast.benchmark.evaluation import Evaluation, largest_difference
from nowcast.benchmark.measuring import Host
from nowcast.benchmark.rain import moving_rain
from nowcast.benchmark.resident import peak_resident, resident
from nowcast.cli import main

HOST = Host(lambda overrides: config.plain(config.compose("train", overrides)), config.choices)
TINY = Evaluation(rows=20, columns=16, forecast_length=2, cases=1, seconds=0)


def test_scores_agree_with_pysteps_on_fields_with_and_without_gaps():
    pytest.importorskip("pysteps")
    report = Evaluation(rows=60, columns=50, forecast_length=3, cases=1, seconds=0).run(HOST)
    assert report.failed == {}
    ours = [record for record in report.records if record["phase"] == "scores" and record["implementation"] == "nowcast"]
    assert [record["case"] for record in ours] == ["all observed", "79 % observed"]
    assert all(0 <= record["largest_difference"] <= 1e-5 for record in ours)
    assert all(record["times_faster"] > 0 for record in ours)


def test_a_score_that_differs_is_told(monkeypatch):
    pytest.importorskip("pysteps")
    monkeypatch.setitem(evaluation.EVENT_SCORES, "BIAS", "csi")
    assert "a score differs from pysteps' by" in TINY.run(HOST).failed["agreement (all observed)"]


def test_without_pysteps_nowcast_is_measured_alone(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "pysteps"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pysteps", None)
    report = TINY.run(HOST)
    assert {record["implementation"] for record in report.records} == {"nowcast"}
    assert "the comparison needs pysteps" in report.failed["pysteps"] and "pip install 'nowcast[flow]'" in report.failed["pysteps"]
    assert [record["phase"] for record in report.records] == ["scores", "scores", "evaluate", "evaluate"]


def test_the_largest_difference_is_relative_and_undefined_agrees_with_undefined_only():
    nan = math.nan
    ours = {("csi", 1.0, 1): 0.5, ("mae", None, 1): 2.0, ("pod", 1.0, 1): nan, ("hss", 1.0, 1): 1.0, ("far", 1.0, 1): 0.0, ("own", None, 1): 7.0}
    theirs = {("csi", 1.0, 1): 0.4, ("mae", None, 1): 2.2, ("pod", 1.0, 1): nan, ("hss", 1.0, 1): 9.0, ("far", 1.0, 1): 0.0}
    assert largest_difference(ours, theirs, without=("hss",)) == pytest.approx(0.2)
    assert largest_difference(ours, theirs | {("far", 1.0, 1): nan}) == math.inf


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems do not tell the peak of a process")
def test_resident_memory_at_the_peak_holds_what_was_written_to():
    before, _ = peak_resident(lambda: 0.0)
    fresh = mmap.mmap(-1, 400_000_000)  # pages that the process does not hold yet, as what was freed before may be

    def write():
        np.frombuffer(fresh, np.uint8).fill(1)
        return 7.0

    memory, result = peak_resident(write)
    assert result == 7 and memory - before > 300_000_000


def test_where_the_system_does_not_tell_there_is_no_memory_and_the_step_is_made(monkeypatch, tmp_path):
    monkeypatch.setattr("nowcast.benchmark.resident._PROCESSES", tmp_path / "none")
    assert resident("self") is None and peak_resident(lambda: 3.0) == (None, 3.0)
    report = TINY.run(HOST)
    assert [record["peak_memory_mb"] for record in report.records if record["phase"] == "evaluate"] == [None, None]


def test_rain_for_benchmarks_is_a_fifth_wet_bounded_moving_and_the_same_for_the_same_seed():
    rain = moving_rain(3, 90, 80, seed=4, gaps=False)
    assert rain.dtype == np.float32 and 0.15 < (rain[0] >= 0.1).mean() < 0.25 and rain.max() <= 100
    assert ((rain == 0) | (rain >= np.float32(0.1))).all()
    np.testing.assert_array_equal(rain, moving_rain(3, 90, 80, seed=4, gaps=False))
    assert (rain[0] != moving_rain(1, 90, 80, seed=5, gaps=False)[0]).any()
    moved = [np.corrcoef(np.roll(rain[0], (r, c), (0, 1)).ravel(), rain[2].ravel())[0, 1] for r, c in ((0, 0), (3, 6), (-3, -6))]
    assert moved[1] == max(moved) > 0.6  # 1.4 rows and 3.2 columns a frame
    gaps = np.isnan(moving_rain(2, 90, 80, seed=4))
    assert gaps.mean() == pytest.approx(1 - math.pi / 4, abs=0.02) and (gaps[0] == gaps[1]).all() and not gaps[0, 45].any()


@pytest.mark.parametrize(("settings", "message"), [({"rows": 0}, "rows is 0; a whole number"), ({"cases": 1.5}, "cases is 1.5; a whole number"), ({"seconds": -1}, "seconds is -1; a number")])
def test_a_load_that_makes_no_sense_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Evaluation(**settings)


def test_the_command_prints_and_writes_time_and_memory(tmp_path, capsys):
    changes = ["rows=20", "columns=16", "forecast_length=2", "cases=1", "seconds=0"]
    main(["benchmark", "what=evaluation", f"output_dir={tmp_path}/out", *(f"what.{change}" for change in changes)])
    content = json.loads((tmp_path / "out" / "benchmark.json").read_text())
    assert content["settings"]["thresholds"] == [0.1, 0.5, 1, 2, 5, 10] and content["settings"]["tolerance"] == 1e-5
    memory = [record for record in content["records"] if record["phase"] == "evaluate"]
    assert [record["case"] for record in memory] == ["1 cases", "4 cases"] and all(record["milliseconds"] > 0 for record in memory)
    text = capsys.readouterr().out
    assert "All scores of a case of 2 leads of 20x16" in text and "Evaluation of persistence" in text and "peak memory" in text
