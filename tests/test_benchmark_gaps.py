"""What a missing frame costs, on rain whose motion is known."""

import json

import numpy as np
import pytest

from nowcast.benchmark.gaps import OLDER, Gaps, forecasts_around_a_gap
from nowcast.cli import main
from nowcast.forecasting.forecaster import Forecaster
from nowcast.runtime.errors import UserError
from tests.factories import write_archive

SETTINGS = {
    "task": {
        "_target_": "nowcast.types.task.Task",
        "context_length": 3,
        "forecast_length": 2,
        "timestep": 5,
    },
    "transform": {"_target_": "nowcast.types.transform.Identity"},
    "model": {"_target_": "nowcast.baselines.persistence.Persistence"},
}


def wandering(frames, side=64):
    """Four cells that move two pixels to the right in a frame."""
    y, x = np.mgrid[:side, :side]
    blobs = (
        sum(
            np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 18)
            for cx, cy in ((12, 15), (30, 22), (18, 45), (36, 50))
        ).astype(np.float32)
        * 10
    )
    return np.stack([np.roll(blobs, 2 * index, axis=1) for index in range(frames)])


@pytest.fixture
def run(tmp_path):
    Forecaster.from_settings(SETTINGS, precision="float32").save(tmp_path / "run")
    return tmp_path / "run"


def test_every_way_starts_from_the_frames_it_says():
    pytest.importorskip("cv2")
    pytest.importorskip("pysteps")
    values = wandering(OLDER + 3)
    forecasts = forecasts_around_a_gap(
        values, Forecaster.from_settings(SETTINGS, precision="float32")
    )
    for name, newest in (
        ("complete", 4),
        ("filled in along the motion", 4),
        ("left missing", 4),
        ("persistence", 4),
        ("one step older", 3),
        ("two steps older", 2),
    ):
        np.testing.assert_array_equal(
            forecasts[name], np.stack([values[newest]] * 2), err_msg=name
        )  # the network persists here
    truth = np.roll(values[4], 4, axis=1)
    assert (
        np.nanmean(np.abs(forecasts["extrapolation across the gap"][1] - truth))
        < 0.4 * np.abs(values[4] - truth).mean()
    )


def test_the_benchmark_prints_and_stores_a_score_for_every_way(run, tmp_path, capsys):
    pytest.importorskip("cv2")
    pytest.importorskip("pysteps")
    archive = write_archive(tmp_path / "a.nc", wandering(10), range(0, 50, 5))
    main(
        [
            "benchmark",
            "what=gaps",
            f"what.trained={run}",
            f"what.archive={archive}",
            "what.start=2020-06-01T00:05",
            "what.stride=1",
            f"output_dir={tmp_path}/out",
        ]
    )
    stored = json.loads((tmp_path / "out" / "benchmark.json").read_text())
    records = {record["case"]: record for record in stored["records"]}
    assert (
        len(records) == 8 and stored["settings"]["cases"] == 3
    )  # frames 1 to 9 hold three windows of 7
    assert (
        records["extrapolation across the gap"]["mse"]
        < records["persistence"]["mse"]
        < records["one step older"]["mse"]
    )
    assert records["complete"] | {"case": ""} == records["persistence"] | {"case": ""}
    assert "filled in along the motion" in capsys.readouterr().out


def test_what_it_cannot_work_with_is_refused(run, tmp_path):
    pytest.importorskip("cv2")
    pytest.importorskip("pysteps")
    with pytest.raises(UserError, match="what.trained and what.archive must be given"):
        Gaps().run(None)
    archive = write_archive(tmp_path / "a.nc", wandering(6), range(0, 30, 5))
    with pytest.raises(
        UserError, match="a.nc holds no 7 frames in a row every 5 minutes; give a longer archive"
    ):
        Gaps(trained=str(run), archive=str(archive)).run(None)
    short = SETTINGS | {"task": SETTINGS["task"] | {"context_length": 2}}
    Forecaster.from_settings(short, precision="float32").save(tmp_path / "short")
    with pytest.raises(
        UserError,
        match="short reads 2 frames of rain_rate; a run on rain rates with at least 3 is needed",
    ):
        Gaps(trained=str(tmp_path / "short"), archive=str(archive)).run(None)
