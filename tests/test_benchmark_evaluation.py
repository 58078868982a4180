"""The scores beside pysteps', and the memory of an evaluation, in a tiny size."""

import json
import math
import mmap
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from nowcast.benchmark import evaluation, pysteps_scores
from nowcast.benchmark.evaluation import Evaluation, largest_difference
from nowcast.benchmark.measuring import Host
from nowcast.benchmark.rain import moving_rain
from nowcast.benchmark.resident import peak_resident, resident
from nowcast.cli import config, main
from nowcast.runtime.errors import MissingDependency

HOST = Host(lambda overrides: config.plain(config.compose("train", overrides)), config.choices)
TINY = Evaluation(rows=20, columns=16, forecast_length=2, members=2, cases=1, seconds=0)


def test_scores_agree_with_pysteps_on_fields_with_and_without_gaps():
    pytest.importorskip("pysteps")
    report = Evaluation(rows=60, columns=50, forecast_length=3, members=3, cases=1, seconds=0).run(
        HOST
    )
    # SAL has a test of its own: without scikit-image pysteps has none, and on so few pixels one of
    # the two may find no object
    assert set(report.failed) <= {"pysteps' SAL", "agreement (SAL, all observed)"}
    ours = [
        record
        for record in report.records
        if record["phase"] == "scores" and record["implementation"] == "nowcast"
    ]
    assert [(record["case"], record["part"]) for record in ours] == [
        (case, name) for case in ("all observed", "79 % observed") for name in evaluation.PARTS
    ]
    differences = {
        (record["case"], record["part"]): record.get("largest_difference") for record in ours
    }
    compared = {key for key, value in differences.items() if value is not None} - {
        ("all observed", "SAL")
    }
    assert compared == {
        ("all observed", "pixels"),
        ("79 % observed", "pixels"),
        ("all observed", "neighbourhoods"),
        ("all observed", "ensemble"),
        ("79 % observed", "ensemble"),
    }
    assert all(0 <= differences[key] <= 1e-5 for key in compared)
    assert all(record["times_faster"] > 0 for record in ours if record["part"] != "SAL")


def test_the_amplitude_of_sal_agrees_with_pysteps():
    pytest.importorskip("pysteps")
    pytest.importorskip("skimage")
    report = Evaluation(
        rows=160, columns=160, forecast_length=2, members=2, cases=1, seconds=0
    ).run(HOST)
    (record,) = (
        record
        for record in report.records
        if record.get("part") == "SAL"
        and record["implementation"] == "nowcast"
        and record["case"] == "all observed"
    )
    assert 0 <= record["largest_difference"] <= 1e-5


def test_a_score_that_differs_is_told(monkeypatch):
    pytest.importorskip("pysteps")
    monkeypatch.setitem(pysteps_scores.EVENT_SCORES, "BIAS", "csi")
    assert (
        "a score differs from pysteps' by"
        in TINY.run(HOST).failed["agreement (pixels, all observed)"]
    )


def test_without_pysteps_nowcast_is_measured_alone(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "pysteps"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pysteps", None)
    report = TINY.run(HOST)
    assert {record["implementation"] for record in report.records} == {"nowcast"}
    assert (
        "the comparison needs pysteps" in report.failed["pysteps' pixels"]
        and "pip install 'nowcast[flow]'" in report.failed["pysteps' SAL"]
    )
    assert [record["phase"] for record in report.records] == ["scores"] * 10 + ["evaluate"] * 2


def test_without_scikit_image_the_sal_of_pysteps_is_left_out():
    def sal(f, o):
        raise RuntimeError(
            "scikit-image package is required for thunderstorm DATing but it is not installed"
        )

    field = np.ones((1, 8, 8), np.float32)
    with pytest.raises(
        MissingDependency,
        match="pysteps' SAL needs scikit-image .*; install it with: pip install scikit-image",
    ):
        pysteps_scores.structure(SimpleNamespace(sal=SimpleNamespace(sal=sal)), field, field)


def test_the_largest_difference_is_relative_and_undefined_agrees_with_undefined_only():
    nan = math.nan
    ours = {
        ("csi", 1.0, 1): 0.5,
        ("mae", None, 1): 2.0,
        ("pod", 1.0, 1): nan,
        ("far", 1.0, 1): 0.0,
        ("own", None, 1): 7.0,
    }
    others = {
        ("csi", 1.0, 1): 0.4,
        ("mae", None, 1): 2.2,
        ("pod", 1.0, 1): nan,
        ("far", 1.0, 1): 0.0,
    }
    assert largest_difference(ours, others) == pytest.approx(0.2)
    assert largest_difference(ours, others | {("far", 1.0, 1): nan}) == math.inf


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="other systems do not tell the peak of a process"
)
def test_resident_memory_at_the_peak_holds_what_was_written_to():
    before, _ = peak_resident(lambda: 0.0)
    fresh = mmap.mmap(
        -1, 400_000_000
    )  # pages that the process does not hold yet, as what was freed before may be

    def write():
        np.frombuffer(fresh, np.uint8).fill(1)
        return 7.0

    memory, result = peak_resident(write)
    assert result == 7 and memory - before > 300_000_000


def test_where_the_system_does_not_tell_there_is_no_memory_and_the_step_is_made(
    monkeypatch, tmp_path
):
    monkeypatch.setattr("nowcast.benchmark.resident._PROCESSES", tmp_path / "none")
    assert resident("self") is None and peak_resident(lambda: 3.0) == (None, 3.0)
    report = TINY.run(HOST)
    assert [
        record["peak_memory_mb"] for record in report.records if record["phase"] == "evaluate"
    ] == [None, None]


def test_rain_for_benchmarks_is_a_fifth_wet_bounded_moving_and_the_same_for_the_same_seed():
    rain = moving_rain(3, 90, 80, seed=4, gaps=False)
    assert rain.dtype == np.float32 and 0.15 < (rain[0] >= 0.1).mean() < 0.25 and rain.max() <= 100
    assert ((rain == 0) | (rain >= np.float32(0.1))).all()
    np.testing.assert_array_equal(rain, moving_rain(3, 90, 80, seed=4, gaps=False))
    assert (rain[0] != moving_rain(1, 90, 80, seed=5, gaps=False)[0]).any()
    moved = [
        np.corrcoef(np.roll(rain[0], (r, c), (0, 1)).ravel(), rain[2].ravel())[0, 1]
        for r, c in ((0, 0), (3, 6), (-3, -6))
    ]
    assert moved[1] == max(moved) > 0.6  # 1.4 rows and 3.2 columns a frame
    gaps = np.isnan(moving_rain(2, 90, 80, seed=4))
    assert (
        gaps.mean() == pytest.approx(1 - math.pi / 4, abs=0.02)
        and (gaps[0] == gaps[1]).all()
        and not gaps[0, 45].any()
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rows": 0}, "rows is 0; a whole number"),
        ({"cases": 1.5}, "cases is 1.5; a whole number"),
        ({"seconds": -1}, "seconds is -1; a number"),
    ],
)
def test_a_load_that_makes_no_sense_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Evaluation(**settings)


def test_the_command_prints_and_writes_time_and_memory(tmp_path, capsys):
    changes = ["rows=20", "columns=16", "forecast_length=2", "members=2", "cases=1", "seconds=0"]
    main(
        [
            "benchmark",
            "what=evaluation",
            f"output_dir={tmp_path}/out",
            *(f"what.{change}" for change in changes),
        ]
    )
    content = json.loads((tmp_path / "out" / "benchmark.json").read_text())
    assert (
        content["settings"]["thresholds"] == [0.1, 0.5, 1, 2, 5, 10]
        and content["settings"]["tolerance"] == 1e-5
    )
    memory = [record for record in content["records"] if record["phase"] == "evaluate"]
    assert [record["case"] for record in memory] == ["1 cases", "4 cases"] and all(
        record["milliseconds"] > 0 for record in memory
    )
    text = capsys.readouterr().out
    assert (
        "A case of 2 leads of 20x16, 2 members" in text
        and "Evaluation of persistence" in text
        and "peak memory" in text
    )
