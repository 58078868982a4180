"""The recipe of the Italian Civil Protection from files to a forecast, on tiny ones."""

import csv

import numpy as np
import pytest
import xarray

from nowcast.cli import config, main
from nowcast.data.archive import Archive
from nowcast.data.examples import moving_rain, write_civil_protection_files
from nowcast.runtime.build import build
from nowcast.runtime.distribution import install_hint

TINY = [
    "experiment=civil_protection",
    "task.context_length=3",
    "task.forecast_length=2",
    "data.crop=24",
    "data.samples_per_epoch=4",
    "data.validation_samples=8",
    "data.test_stride=2",
    "model.hidden_channels=[4]",
    "training.max_epochs=1",
    "training.batch_size=2",
    "training.workers=0",
    "training.accelerator=cpu",
    "training.precision=float32",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("recipe")


@pytest.fixture(scope="module")
def archive(folder):
    write_civil_protection_files(folder / "sri", frames=40, shape=(64, 48), seed=4)
    main(
        [
            "convert",
            "reader=civil_protection",
            f"input={folder / 'sri'}",
            f"output={folder / 'italy.nc'}",
        ]
    )
    return folder / "italy.nc"


@pytest.fixture(scope="module")
def run(folder, archive):
    main(["train", *TINY, f"data.archive={archive}", f"output_dir={folder / 'run'}"])
    return folder / "run"


def scores(run):
    with open(run / "evaluation" / "scores.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_reader_knows_unit_missing_value_time_and_grid_of_the_files(archive):
    opened = Archive(archive)
    assert (str(opened.times[0]), str(opened.times[-1]), len(opened)) == (
        "2026-11-25T00:00:00",
        "2026-11-25T03:15:00",
        40,
    )
    assert opened.grid.x[[0, -1]].tolist() == [-599_500, -552_500] and opened.grid.y[
        [0, -1]
    ].tolist() == [649_500, 586_500]
    rain, values = np.round(next(moving_rain(64, 48, seed=4)), 2), opened.read(0, 1)[0]
    observed = ~np.isnan(values)
    assert 0.4 < observed.mean() < 0.6 and np.array_equal(values[observed], rain[observed])


def test_the_table_holds_the_thresholds_and_windows_of_the_recipe(run):
    rows = scores(run)
    assert sorted({float(row["threshold"]) for row in rows if row["score"] == "csi"}) == [
        1,
        5,
        10,
        20,
        50,
    ]
    windows = {
        (float(row["threshold"]), int(row["window"])) for row in rows if row["score"] == "fss"
    }
    assert windows == {
        (threshold, window) for threshold in (1, 5, 10, 20, 50) for window in (1, 5, 10, 20)
    }
    assert {row["model"] for row in rows} >= {"ConvLSTM", "persistence"}
    persistence = {
        int(row["window"]): float(row["value"])
        for row in rows
        if (row["model"], row["score"], row["threshold"], row["lead"])
        == ("persistence", "fss", "1", "5")
    }
    assert (
        0 < persistence[1] < persistence[5] < persistence[10] < persistence[20] < 1
    )  # rain that moves 3.5 pixels
    assert "FSS ≥ 1 mm/h, 20 px" in (run / "evaluation" / "scores.txt").read_text(encoding="utf-8")


def test_s_prog_stands_in_the_table(run):
    pytest.importorskip("pysteps", reason=f"pysteps is not here: {install_hint('flow')}")
    values = [
        float(row["value"])
        for row in scores(run)
        if (row["model"], row["score"], row["threshold"], row["window"], row["lead"])
        == ("sprog", "csi", "1", "1", "5")
    ]
    assert len(values) == 1 and 0 < values[0] < 1


def test_the_weights_are_chosen_by_the_csi_at_10_mm_per_hour(run):
    settings = config.plain(config.load(run))
    assert (settings["training"]["select"], settings["training"]["select_threshold"]) == ("csi", 10)
    assert (
        "validation_csi" in (run / "logs" / "version_0" / "metrics.csv").read_text().splitlines()[0]
    )


def test_a_forecast_from_the_files_has_no_rain_below_the_floor(folder, run):
    main(
        [
            "predict",
            f"run={run}",
            "reader=civil_protection",
            f"input={folder / 'sri'}",
            f"output={folder / 'forecast.nc'}",
            "pictures=false",
        ]
    )
    with xarray.open_dataset(folder / "forecast.nc") as forecast:
        rain = forecast["rainfall_rate"].values
        assert forecast["time"].values[-1] == np.datetime64("2026-11-25T03:25")
    assert rain.shape[-3:] == (2, 64, 48) and 0.4 < np.isnan(rain).mean() < 0.6
    assert not ((rain > 0) & (rain < 0.19)).any()


def test_the_recipe_is_the_one_of_the_civil_protection(archive):
    settings = config.plain(
        config.compose("train", ["experiment=civil_protection", f"data.archive={archive}"])
    )
    task, transform = build(settings["task"]), build(settings["transform"])
    assert (task.context_length, task.forecast_length, task.timestep) == (12, 12, 5)
    assert transform.restore(
        transform.normalise(np.array([0.19, 0.2, 10]))[0]
    ).tolist() == pytest.approx([0, 0.2, 10])
    assert list(settings["baselines"]) == ["persistence", "extrapolation", "sprog"]
