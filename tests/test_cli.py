"""The commands as they are typed, from raw files to a forecast, on small data."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import xarray
import yaml
from PIL import Image

from nowcast.cli import main
from nowcast.data.archive import Archive
from nowcast.evaluation.results import Results
from nowcast.evaluation.statistics.sums import ScoreKey
from nowcast.forecasting.forecaster import Forecaster
from nowcast.training import checkpoints
from tests.factories import write_archive, write_knmi
from tests.factories_results import results

SMALL = [
    "data.train_sequences=4",
    "data.validation_sequences=2",
    "data.test_sequences=3",
    "model=convlstm_small",
    "model.hidden_channels=[4]",
    "training.max_epochs=1",
    "training.accelerator=cpu",
    "training.precision=float32",
]
RADAR = [
    "data=radar",
    "data.crop=16",
    "data.samples_per_epoch=4",
    "data.validation_samples=2",
    "task.context_length=3",
    "task.forecast_length=2",
    "model.hidden_channels=[4]",
    "model.observed_channel=true",
    "training.max_epochs=1",
    "training.accelerator=cpu",
    "training.batch_size=2",
    "baselines=persistence",
    "evaluation.cache=null",
]


def refused(capsys, *arguments):
    """The one line on stderr of a command that fails with exit code 2."""
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    assert caught.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def moving_rain(frames=40, height=24, width=30):
    rows, columns = np.mgrid[:height, :width]
    values = [
        12 * np.exp(-((rows - 12) ** 2 + (columns - t % width) ** 2) / 18) for t in range(frames)
    ]
    rain = np.where(np.stack(values) < 0.1, 0, values).astype(np.float32)
    rain[:, :4, :5] = np.nan
    return rain


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("with space, comma = [sign] é")


@pytest.fixture(scope="module")
def archive(folder):
    return write_archive(folder / "radar [1].nc", moving_rain(), range(0, 200, 5))


@pytest.fixture(scope="module")
def mnist_run(folder):
    main(["train", f"output_dir={folder}/mnist run", *SMALL])
    return folder / "mnist run"


@pytest.fixture(scope="module")
def radar_run(folder, archive):
    main(["train", f"output_dir={folder}/radar run", f"data.archive={archive}", *RADAR])
    return folder / "radar run"


def scores(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_training_leaves_everything_in_one_folder(mnist_run):
    files = {str(path.relative_to(mnist_run)) for path in mnist_run.rglob("*") if path.is_file()}
    assert {
        "config.yaml",
        "forecaster.json",
        "model.safetensors",
        "training.png",
        "checkpoints/last.ckpt",
        "checkpoints/best.ckpt",
        "evaluation/scores.csv",
        "evaluation/scores.txt",
        "evaluation/scores.png",
        "evaluation/forecast.png",
    } <= files


def test_the_score_file_is_tidy_and_holds_the_baseline_beside_the_model(mnist_run):
    rows = scores(mnist_run / "evaluation" / "scores.csv")
    assert list(rows[0]) == [
        "model",
        "score",
        "threshold",
        "window",
        "lead",
        "value",
        "low",
        "high",
        "functional",
        "box",
        "accumulation",
        "cost_loss",
    ]
    assert {row["model"] for row in rows} == {"ConvLSTM", "persistence"}
    leads = [row["lead"] for row in rows if row["model"] == "ConvLSTM" and row["score"] == "mse"]
    assert sorted(leads, key=lambda lead: int(lead or 0)) == ["", *map(str, range(1, 6))]
    by_lead = [
        float(row["value"])
        for row in rows
        if row["model"] == "persistence" and row["score"] == "mse" and row["lead"]
    ]
    overall = next(
        float(row["value"])
        for row in rows
        if row["model"] == "persistence" and row["score"] == "mse" and not row["lead"]
    )
    assert overall == pytest.approx(np.mean(by_lead))


def test_evaluating_again_gives_the_same_numbers(mnist_run, folder):
    main(["evaluate", f"run={mnist_run}", f"output_dir={folder}/again"])
    assert (folder / "again" / "scores.csv").read_text() == (
        mnist_run / "evaluation" / "scores.csv"
    ).read_text()


def test_evaluation_takes_a_file_in_the_layout_of_mnist_test_seq(mnist_run, folder):
    sequences = np.zeros((20, 2, 64, 64), np.uint8)
    sequences[:5, :, 10:20, 10:20] = 255
    path = folder / "mnist, test=seq.npy"
    np.save(path, sequences)
    main(["evaluate", f"run={mnist_run}", f"data.test_file={path}", f"output_dir={folder}/file"])
    rows = {
        (row["model"], row["score"], row["lead"]): float(row["value"])
        for row in scores(folder / "file" / "scores.csv")
    }
    assert (
        rows["persistence", "mse", ""] == rows["persistence", "mse", "1"] == 100
    )  # 10 x 10 pixels that vanished


def test_a_model_can_be_evaluated_on_other_data_of_its_kind(radar_run, folder):
    other = write_archive(folder / "other.nc", moving_rain(height=20, width=40), range(0, 200, 5))
    main(["evaluate", f"run={radar_run}", f"data.archive={other}", f"output_dir={folder}/other"])
    rows = scores(folder / "other" / "scores.csv")
    assert {row["model"] for row in rows} == {"ConvLSTM", "persistence"}
    assert {row["lead"] for row in rows} == {"", "5", "10"}


def test_a_model_can_be_evaluated_on_whole_events_of_several_archives(radar_run, folder, capsys):
    for number, (height, width) in enumerate(((20, 40), (24, 24))):
        write_archive(
            folder / "events" / f"event {number}.nc",
            moving_rain(height=height, width=width)[:12],
            range(0, 60, 5),
        )
    typed = [
        f"run={radar_run}",
        "data=radar_events",
        f"data.archives={folder}/events/*.nc",
        "baselines=persistence",
        f"output_dir={folder}/of events",
    ]
    main(["evaluate", *typed, "evaluation.cache=null"])
    out = " ".join(capsys.readouterr().out.split())
    assert "16 test cases" in out and "The cases are of 2 events" in out
    found = Results.load(folder / "of events")
    assert found.events == [
        "event 0: 2020-06-01 00:10 to 00:45",
        "event 1: 2020-06-01 00:10 to 00:45",
    ] and found.facts["first_case"].startswith("event 0, analysis time")
    assert found.of_event(found.events[1]).totals["ConvLSTM"]["pixels.pixels"].sum() == 8 * 2 * (
        24 * 24 - 20
    )
    rows = list(csv.reader((folder / "of events" / "differences.csv").open()))
    assert rows[0] == [
        "baseline",
        "score",
        "threshold",
        "window",
        "lead",
        "difference",
        "low",
        "high",
        "box",
        "accumulation",
        "cost_loss",
    ] and {row[0] for row in rows[1:]} == {"persistence"}


def test_a_run_is_trained_further_on_some_events_and_tested_on_another(radar_run, folder, capsys):
    for hour, name in enumerate(("a", "b", "c")):
        write_archive(
            folder / "three" / f"{name}.nc",
            moving_rain(height=24, width=30)[:12],
            range(60 * hour, 60 * hour + 60, 5),
        )
    data = [
        "data=radar_events",
        f"data.archives={folder}/three/*.nc",
        "data.test=[c]",
        "data.validation=[b]",
        "data.crop=16",
        "data.samples_per_epoch=4",
        "data.validation_samples=2",
    ]
    common = [*[item for item in RADAR if not item.startswith("data")], *data]
    main(
        [
            "train",
            f"start_from={radar_run}",
            "training.learning_rate=1e-9",
            f"output_dir={folder}/further",
            *common,
        ]
    )
    before, after = (
        Forecaster.load(run).model.state_dict() for run in (radar_run, folder / "further")
    )
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in before)
    found = Results.load(folder / "further" / "evaluation")
    assert [event[:13] for event in found.events] == ["2020-06-01 02"]
    capsys.readouterr()
    said = refused(
        capsys,
        "train",
        f"start_from={radar_run}",
        "model.hidden_channels=[3]",
        f"output_dir={folder}/none",
        *[item for item in common if item != "model.hidden_channels=[4]"],
    )
    assert (
        "has another model" in said
        and "its weights cannot begin it" in said
        and not (folder / "none").exists()
    )


def test_forecasts_that_predict_wrote_can_be_judged_as_files(radar_run, archive, folder, capsys):
    for minute in (30, 45):
        main(
            [
                "predict",
                f"run={radar_run}",
                f"input={archive}",
                f"output={folder}/fc/{minute}.nc",
                f"analysis_time=2020-06-01T00:{minute}",
                "pictures=false",
                "thresholds=[]",
            ]
        )
    main(
        [
            "evaluate",
            f"forecasts={folder}/fc/*.nc",
            f"observations={archive}",
            "name=ours",
            "baselines=persistence",
            f"output_dir={folder}/of files",
            "evaluation.cache=null",
        ]
    )
    assert "2 test cases" in capsys.readouterr().out
    found, forecaster = Results.load(folder / "of files"), Forecaster.load(radar_run)
    observed, error = Archive(archive), []
    for start in (4, 7):  # the context of 00:30 begins at 00:20
        values = observed.read(start, start + 5)
        error.append(np.abs(forecaster.forecast_values(values[None, :3])[0] - values[3:]))
    assert found.models == ["ours", "persistence"]
    expected = np.nanmean(np.stack(error), axis=(0, 2, 3))
    assert found.values("ours")[ScoreKey("mae")][:2] == pytest.approx(expected, rel=1e-4)


def test_edges_of_the_test_part_that_are_typed_count_also_where_they_are_null(
    radar_run, archive, capsys
):
    main(["evaluate", f"run={radar_run}", "data=radar", f"data.archive={archive}", "--cfg"])
    kept = yaml.safe_load(capsys.readouterr().out)["data"]
    main(
        [
            "evaluate",
            f"run={radar_run}",
            "data=radar",
            f"data.archive={archive}",
            "data.test_from=null",
            "--cfg",
        ]
    )
    assert kept["test_from"] is not None and yaml.safe_load(capsys.readouterr().out)[
        "data"
    ] == kept | {"test_from": None}


def test_what_cannot_be_evaluated_is_one_line(radar_run, archive, folder, capsys):
    assert "matches no file" in refused(
        capsys, "evaluate", f"forecasts={folder}/none*.nc", f"observations={archive}"
    )
    assert "name is 'persistence', as a baseline's; choose another" in refused(
        capsys,
        "evaluate",
        f"forecasts={archive}",
        f"observations={archive}",
        "name=persistence",
        "baselines=persistence",
    )
    assert "observations must be given" in refused(capsys, "evaluate", f"forecasts={archive}")
    assert "scores judges grey_level, but the task forecasts rain_rate" in refused(
        capsys, "evaluate", f"forecasts={archive}", f"observations={archive}", "scores=sevir"
    )
    assert (
        "evaluation.members is 20, but the members of forecasts in files are those that the "
        "files hold"
        in refused(
            capsys,
            "evaluate",
            f"forecasts={archive}",
            f"observations={archive}",
            "evaluation.members=20",
        )
    )
    (folder / "a file").touch()
    assert "a file cannot be written to: File exists" in refused(
        capsys,
        "evaluate",
        f"run={radar_run}",
        "baselines=persistence",
        f"output_dir={folder}/a file",
        "data.test_stride=100000",
    )
    assert "has no event for the train part" in refused(
        capsys, "train", "data=radar_events", f"data.archives={archive}", "baselines=persistence"
    )
    assert "data: test_stride 0 is out of range" in refused(
        capsys,
        "evaluate",
        f"run={radar_run}",
        "data=radar_events",
        f"data.archives={archive}",
        "data.test_stride=0",
    )
    short = write_archive(folder / "short.nc", moving_rain()[:4], range(0, 20, 5))
    assert (
        "has 4 frames, but a case needs 5 in a row every 5 min; the longest gap-free run is 4. "
        "Leave it out."
        in refused(
            capsys, "evaluate", f"run={radar_run}", "data=radar_events", f"data.archives={short}"
        )
    )


def test_data_of_another_kind_are_refused(mnist_run, archive, capsys):
    line = refused(capsys, "evaluate", f"run={mnist_run}", "data=radar", f"data.archive={archive}")
    assert "radar archives contain rain rates, but the task forecasts grey_level" in line


def test_resuming_goes_on_to_more_epochs_and_equals_an_uninterrupted_run(folder):
    constant = [
        *SMALL,
        "training.schedule=constant",
    ]  # a cosine knows how long the training was to be
    main(["train", f"output_dir={folder}/three", *constant, "training.max_epochs=3"])
    main(["train", f"output_dir={folder}/one", *constant, "training.max_epochs=1"])
    main(["train", f"resume={folder}/one", "training.max_epochs=3"])
    assert (folder / "one" / "model.safetensors").read_bytes() == (
        folder / "three" / "model.safetensors"
    ).read_bytes()


def test_resume_auto_starts_a_run_and_goes_on_with_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    constant = [*SMALL, "training.schedule=constant", "training.max_epochs=3"]
    main(["train", "output_dir=whole", *constant])
    # Lightning is loaded by the tests that train, and not to collect the others
    from nowcast.training.module import TrainingModule

    original, steps = TrainingModule.training_step, []

    def terminating(self, batch, index):
        steps.append(index)
        if len(steps) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, batch, index)

    monkeypatch.setattr(TrainingModule, "training_step", terminating)
    typed = ["train", "resume=auto", "name=cluster", *constant, "training.batch_size=2"]
    with pytest.raises(SystemExit) as caught:
        main(typed)
    assert caught.value.code == 143 and "nowcast train: terminated" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert "was made with another data.train_sequences than is asked for now" in refused(
        capsys, *typed, "data.train_sequences=6"
    )
    main(typed)
    (run,) = (tmp_path / "runs" / "cluster").iterdir()
    main(["train", "output_dir=straight", *constant, "training.batch_size=2"])
    assert (run / "model.safetensors").read_bytes() == (
        tmp_path / "straight" / "model.safetensors"
    ).read_bytes()
    main([*typed, f"output_dir={run}", "training.max_epochs=4"])
    assert len(checkpoints.load(run / "checkpoints" / "last.ckpt")["history"][0]) == 4


def test_predict_writes_a_cf_file_with_the_same_grid_a_picture_and_an_animation(
    radar_run, archive, folder
):
    output = folder / "out" / "forecast 1.nc"
    main(
        ["predict", f"run={radar_run}", f"input={archive}", f"output={output}", "forecast_length=5"]
    )
    with xarray.open_dataset(output, engine="h5netcdf") as data:
        assert data.rainfall_rate.shape == (5, 24, 30) and data.rainfall_rate.units == "mm h-1"
        assert str(data.forecast_reference_time.values)[:16] == "2020-06-01T03:15"
        assert [str(t)[11:16] for t in data.time.values] == [
            "03:20",
            "03:25",
            "03:30",
            "03:35",
            "03:40",
        ]
        assert (
            np.isnan(data.rainfall_rate.values[:, :4, :5]).all()
            and np.isnan(data.rainfall_rate.values).sum() == 5 * 20
        )
    assert Image.open(output.with_suffix(".png")).size[0] > 300
    assert Image.open(output.with_suffix(".gif")).n_frames == 3 + 5


def test_a_forecast_replaces_neither_a_radar_file_by_its_animation_nor_an_archive(
    radar_run, archive, folder, tmp_path, capsys
):
    shutil.copy(archive, tmp_path / "other.nc")
    assert "other.nc is an archive of radar frames, which a forecast must not replace" in refused(
        capsys, "predict", f"run={radar_run}", f"input={archive}", f"output={tmp_path / 'other.nc'}"
    )
    (tmp_path / "radar.gif").write_bytes(b"an observation")
    message = refused(
        capsys,
        "predict",
        f"run={radar_run}",
        f"input={tmp_path / 'radar.gif'}",
        f"output={tmp_path / 'radar.nc'}",
    )
    assert (
        "radar.gif is one of the input files" in message
        and (tmp_path / "radar.gif").read_bytes() == b"an observation"
    )


def test_predict_in_python_and_on_the_command_line_agree_to_the_bit(radar_run, archive, folder):
    output = folder / "same.nc"
    main(
        [
            "predict",
            f"run={radar_run}",
            f"input={archive}",
            f"output={output}",
            "analysis_time=2020-06-01T02:00Z",
            "pictures=false",
        ]
    )
    with Archive(archive) as source:
        index = int(np.flatnonzero(source.times == np.datetime64("2020-06-01T02:00"))[0])
        forecast = Forecaster.load(radar_run)(source.frames(index - 2, index + 1))
    with h5py.File(output) as file:
        values = file["rainfall_rate"][()]
    seen = ~np.isnan(forecast.values)
    assert (values[seen] == forecast.values[seen]).all()
    assert not output.with_suffix(".png").exists()


def knmi_files(folder, count=6):
    rain = np.random.default_rng(0).integers(0, 40, (count, 24, 30))
    for index in range(count):
        end = f"26-AUG-2010;00:{5 * index + 5:02}:00.000"
        start = f"26-AUG-2010;00:{5 * index:02}:00.000"
        folder.mkdir(exist_ok=True)
        write_knmi(
            folder / f"RAD,{index} [a].h5",
            rain[index],
            product_datetime_start=start,
            product_datetime_end=end,
        )
    return folder


def test_raw_files_and_their_archive_give_the_same_forecast(radar_run, folder):
    raw = knmi_files(folder / "raw files")
    main(["convert", f"input={raw}/*.h5", f"output={folder}/raw.nc", "reader=knmi_hdf5"])
    for name, source in (("a", f"{raw}/*.h5"), ("b", raw), ("c", folder / "raw.nc")):
        main(
            [
                "predict",
                f"run={radar_run}",
                f"input={source}",
                f"output={folder}/{name}.nc",
                "pictures=false",
            ]
        )
    fields = []
    for name in "abc":
        with h5py.File(folder / f"{name}.nc") as file:
            fields.append(file["rainfall_rate"][()])
    assert fields[0].shape == (2, 24, 30)
    np.testing.assert_array_equal(fields[0], fields[1])
    np.testing.assert_array_equal(fields[0], fields[2])


def live_files(folder, count=3):
    """Files of the last frames every five minutes, the newest of the cycle that has begun; (their
    paths, its time).
    """
    folder.mkdir()
    newest = np.datetime64(int(time.time()) // 300 * 300, "s")
    paths = []
    for index in range(count):
        start, end = (
            (newest - (count - index) * np.timedelta64(300, "s") + step)
            .item()
            .strftime("%d-%b-%Y;%H:%M:%S.000")
            .upper()
            .encode()
            for step in (np.timedelta64(0), np.timedelta64(300, "s"))
        )
        rain = np.random.default_rng(index).integers(0, 40, (24, 30))
        paths.append(
            write_knmi(
                folder / f"{index}.h5", rain, product_datetime_start=start, product_datetime_end=end
            )
        )
    return paths, newest


def wait_for(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)


def test_watch_publishes_what_arrives_ends_on_sigterm_and_its_page_is_served(radar_run, tmp_path):
    paths, newest = live_files(tmp_path / "raw")
    incoming, output = tmp_path / "incoming, é", tmp_path / "out"
    incoming.mkdir()
    command = [
        sys.executable,
        "-m",
        "nowcast",
        "watch",
        f"run={radar_run}",
        f"input={incoming}",
        f"output={output}",
        "operation.poll_seconds=0.3",
        "operation.deadline_minutes=60",
    ]
    with open(tmp_path / "log", "w") as log:
        watch = subprocess.Popen(command, cwd=Path(__file__).parents[1], stdout=log, stderr=log)
    try:
        wait_for(lambda: (output / "status.json").exists())
        for path in paths:  # as a slow copy would
            with open(incoming / path.name, "wb") as file:
                content = path.read_bytes()
                file.write(content[: len(content) // 2])
                file.flush()
                time.sleep(0.2)
                file.write(content[len(content) // 2 :])
        wait_for(lambda: json.loads((output / "status.json").read_text())["outcome"] == "forecast")
        watch.send_signal(signal.SIGTERM)
        assert watch.wait(timeout=60) == 0
    finally:
        watch.kill()
    status = json.loads((output / "status.json").read_text())
    assert (
        status["state"] == "stopped"
        and status["forecast_analysis_time"] == f"{newest}Z"
        and status["method"] == "nowcast"
    )
    assert "stopped" in (tmp_path / "log").read_text().splitlines()[-1]
    with h5py.File(output / "latest.nc") as file:
        assert file["rainfall_rate"].shape == (2, 24, 30) and len(file.attrs["model_sha256"]) == 64
    serve = subprocess.Popen(
        [sys.executable, "-m", "nowcast", "serve", str(output), "port=0"],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        address = serve.stdout.readline().split(" at ")[1].split(";")[0]
        with urllib.request.urlopen(address + "status.json", timeout=30) as answer:
            assert json.load(answer) == status
        serve.send_signal(signal.SIGINT)
        assert serve.wait(timeout=30) == 0
    finally:
        serve.kill()


def test_replay_shows_every_cycle_and_its_table(radar_run, archive, tmp_path, capsys):
    main(["replay", f"run={radar_run}", f"input={archive}", f"output={tmp_path}/out", "every=9"])
    text = capsys.readouterr().out
    assert (
        "37 cycles, each with a status and the documented outcome" in text
        and text.count(" forecast: nowcast -> forecast_20200601T") >= 30
    )
    assert (
        "2020-06-01T00:55:00Z fallback: nowcast -> forecast_20200601T005500Z.nc (the frame of "
        "00:55 UTC did not come)" in text
    )


def test_check_names_the_parts_and_takes_its_settings(archive, capsys):
    main(
        [
            "check",
            str(archive),
            "context_length=3",
            "forecast_length=2",
            "test_from=2020-06-01T03:00",
        ]
    )
    text = capsys.readouterr().out
    assert (
        "windows of 3 + 2 frames every 5 min; the longest gap-free run is 40 frames" in text
        and "test: 0 windows, 4 frames, from 2020-06-01T03:00:00" in text
    )


@pytest.mark.parametrize(
    ("name", "written"), [("f.tif", ["f.tif"]), ("f.h5", ["f_005min.h5", "f_010min.h5"])]
)
def test_the_suffix_of_the_output_chooses_its_format(radar_run, archive, tmp_path, name, written):
    main(
        [
            "predict",
            f"run={radar_run}",
            f"input={archive}",
            f"output={tmp_path}/{name}",
            "pictures=false",
        ]
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == written


@pytest.mark.parametrize(
    ("name", "file"), [("f.nc", "f.nc"), ("f.h5", "f_005min.h5"), ("f.tif", "f.tif")]
)
def test_a_forecast_is_never_taken_for_an_observation(
    radar_run, archive, tmp_path, capsys, name, file
):
    main(
        [
            "predict",
            f"run={radar_run}",
            f"input={archive}",
            f"output={tmp_path}/{name}",
            "pictures=false",
        ]
    )
    line = refused(
        capsys, "convert", f"input={tmp_path}/{file}", f"output={tmp_path}/a.nc", "workers=0"
    )
    assert "is a forecast" in line and not (tmp_path / "a.nc").exists()


def test_probabilities_are_those_of_the_thresholds_and_none_without_them(
    radar_run, archive, tmp_path
):
    for name, thresholds in (("a", "[0.3,2]"), ("b", "[]")):
        main(
            [
                "predict",
                f"run={radar_run}",
                f"input={archive}",
                f"output={tmp_path}/{name}.nc",
                f"thresholds={thresholds}",
                "pictures=false",
            ]
        )
    with (
        xarray.open_dataset(tmp_path / "a.nc", engine="h5netcdf", decode_timedelta=False) as a,
        xarray.open_dataset(tmp_path / "b.nc", engine="h5netcdf", decode_timedelta=False) as b,
    ):
        np.testing.assert_array_equal(a.rainfall_rate, b.rainfall_rate)
        assert any(list(np.ravel(a[name])) == [0.3, 2.0] for name in a.variables)
        assert set(b.data_vars) < set(a.data_vars)


def test_unreadable_files_are_told_after_a_conversion(folder, tmp_path, capsys):
    raw = tmp_path / "raw"
    shutil.copytree(knmi_files(tmp_path / "all", 3), raw)
    (raw / "notes.txt").write_text("rain")
    main(["convert", f"input={raw}", f"output={raw}/a.nc", "reader=knmi_hdf5", "workers=1"])
    text = capsys.readouterr()
    assert text.out.startswith("wrote ") and "3 frames, 2010-08-26T00:05:00" in text.out
    assert (
        "1 of 4 files could not be read and are listed in" in text.err
        and "a.nc.quarantine.csv" in text.err
    )
    (raw / "notes.txt").unlink()
    main(["convert", f"input={raw}", f"output={raw}/a.nc", "reader=knmi_hdf5"])
    assert capsys.readouterr().out.startswith("nothing new for ")
    assert sorted(path.suffix for path in raw.iterdir()) == [".h5", ".h5", ".h5", ".nc"]


def test_info_says_what_an_archive_holds(archive, capsys):
    main(["info", str(archive)])
    text = capsys.readouterr().out
    assert (
        "2020-06-01T00:00:00" in text
        and "24 x 30 cells of 1000 x 1000 metre" in text
        and "5 min" in text
    )
    assert "2.78 % of the pixels" in text  # missing: 4 x 5 of 24 x 30


def test_help_version_and_the_composed_configuration_are_shown(capsys, mnist_run):
    for arguments, expected in (
        ([], "usage: nowcast COMMAND"),
        (["train", "--help"], "radar_quickstart"),
        (["--version"], "nowcast 0."),
        (["train", "--cfg", "seed=77"], "seed: 77"),
        (["predict", "--cfg"], "analysis_time: null"),
        (["convert", "--cfg"], "input: ???"),
        (["benchmark", "--help"], "*layer, models, prediction, training"),
        (["benchmark", "--cfg"], "_target_: nowcast.benchmark."),
        (["benchmark", "--cfg", "what=models", "what.batch_size=9"], "batch_size: 9"),
        (["evaluate", f"run={mnist_run}", "--cfg", "data.size=80"], "size: 80"),
    ):
        main(arguments)
        assert expected in capsys.readouterr().out


def test_train_py_is_the_same_as_nowcast_train():
    script = Path(__file__).parents[1] / "train.py"
    result = subprocess.run([sys.executable, script, "seed=-1"], capture_output=True, text=True)
    assert result.returncode == 2
    assert (
        result.stderr
        == "nowcast train: error: seed is -1; a whole number, 0 or more and below 2^63, is "
        "needed.\n"
    )


def test_a_reader_of_the_words_that_is_gone_does_not_end_the_work():
    program = (
        "from nowcast.cli.common import print_line\nimport sys, "
        "time\nprint_line('one')\nsys.stdin.readline()\nprint_line('two')\nprint_line('three')\nsys.stderr.write('done')"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"one\n"
    process.stdout.close()
    process.stdin.write(b"\n")
    process.stdin.close()
    assert process.stderr.read() == b"done" and process.wait() == 0


def test_an_unknown_command_is_refused(capsys):
    assert (
        refused(capsys, "trian")
        == "nowcast trian: error: there is no command 'trian'; did you mean train? accepted are "
        "demo, train, evaluate, report, predict, show, convert, info, check, watch, replay, serve, compare, "
        "benchmark."
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["run={mnist}", "input={archive}", "output=x.nc"],
            "grey_level (Moving MNIST); expected a run trained on radar (data=radar), or run=shipped",
        ),
        (
            ["run={radar}", "input={archive}", "output=x.png"],
            "a forecast can be written as .nc (NetCDF)",
        ),
        (
            ["run={radar}", "input={archive}", "output=x.nc", "forecast_length=0"],
            "a forecast of 0 frames was asked for",
        ),
        (
            ["run={radar}", "input={archive}", "output=x.nc", "analysis_time=noon"],
            "analysis_time is 'noon'; a UTC time such as",
        ),
        (
            ["run={radar}", "input={archive}", "output=x.nc", "analysis_time=2020-06-01T01:02"],
            "has no frame at the analysis time 2020-06-01 01:02 UTC; the newest before it is "
            "2020-06-01 01:00 UTC",
        ),
        (
            ["run={radar}", "input={archive}", "output=x.nc", "analysis_time=2019-01-01"],
            "has no frame at the analysis time 2019-01-01 00:00 UTC; all frames are later",
        ),
        (
            ["run={radar}", "input={archive}", "output=x.nc", "analysis_time=2020-06-01T00:05"],
            "but only the last 2 are: there is none before",
        ),
        (["run={radar}", "input=/no/such/*.h5", "output=x.nc"], "matches no file"),
        (["run=/no/run", "input={archive}", "output=x.nc"], "is not a finished run folder"),
        (["run={radar}", "input={archive}"], "output must be given"),
        (["run={radar}", "input=null", "output=x.nc"], "input must be given"),
        (
            ["run={radar}", "input={archive}", "output=x.nc", "pictures=abc"],
            "frames, true or false, a list of rain rates, and a whole number, 0 for none",
        ),
        (
            ["run={radar}", "input={archive}", "output=x.nc", "forecast_length=100000000"],
            "1 to 1000 are accepted",
        ),
        (["run={radar}", "input={archive}", "output={archive}"], "is one of the input files"),
        (["run={radar}", "input={empty}", "output=x.nc"], "empty.h5"),
        (["run={radar}", "input={foreign}", "output=x.nc"], "foreign.h5"),
        (["run={radar}", "input={truncated}", "output=x.nc"], "truncated.nc"),
        (["run={radar}", "input={archive}", "output={archive}/x.nc"], "cannot be written"),
        (["run={radar}", "input={archive}", "output=x.nc", "members=3"], "members"),
    ],
)
def test_a_prediction_that_cannot_be_made_is_one_line_and_leaves_nothing(
    arguments, message, mnist_run, radar_run, archive, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.h5").touch()
    (tmp_path / "foreign.h5").write_text("radar")
    (tmp_path / "truncated.nc").write_bytes(Path(archive).read_bytes()[:-5000])
    names = {
        name: tmp_path / f"{name}.{'nc' if name == 'truncated' else 'h5'}"
        for name in ("empty", "foreign", "truncated")
    }
    before = sorted(tmp_path.iterdir())
    typed = [
        argument.format(mnist=mnist_run, radar=radar_run, archive=archive, **names)
        for argument in arguments
    ]
    assert message in refused(capsys, "predict", *typed)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["convert", "input=/no/such", "output=a.nc"], "matches no file"),
        (["convert", "input=x", "output=a.h5"], "ends in .nc"),
        (["convert", "input=x", "output=a.nc", "reader=nexrad"], "nexrad"),
        (
            ["watch", "run=r", "input=a", "output=b", "reading_seconds=0"],
            "reading_seconds is 0; expected a number of seconds above 0",
        ),
        (["watch", "run=r", "input=a", "output=a"], "give them a folder of their own"),
        (["watch", "run=r", "input=./**/*.h5", "output=deep/er"], "would be found as input"),
        (["watch", "run=r", "input=./*/*.h5", "output=deep"], "would be found as input"),
        (
            ["watch", "run=r", "input=/no/such/*.h5", "output=b"],
            "but there is no folder /no/such; make it, or mend the setting",
        ),
        (
            ["replay", "run=r", "input=a", "output=b", "every=-1"],
            "every is -1; expected a whole number, 0 for no faults",
        ),
        (
            ["serve", "/no/such"],
            "/no/such does not exist; give the folder that nowcast watch writes to",
        ),
        (["serve", ".", "port=x"], "port is 'x'; expected an address and a number"),
        (
            ["watch", "run=r", "input=a", "output=b", "operation.keep=0"],
            "keep is 0; at least 1 forecast must stay",
        ),
        (["benchmark", "what=layers"], "what/layers"),
        (
            ["benchmark", "what=models", "what.models=[convlstm_small,none_such]"],
            "expected a list of these: ",
        ),
        (["benchmark", "what=models", "what.models=3"], "what.models is 3, but list[str]"),
        (["benchmark", "what=models", "what.models=[]"], "models is []; expected a list of these"),
        (
            ["benchmark", "what=models", "what.precision=fp8"],
            "precision is 'fp8'; accepted are auto",
        ),
        (["benchmark", "what=models", "what.batch=3"], "batch"),
        (["benchmark", "what=models", "what.seconds=x"], "what.seconds is 'x', but float"),
        (["info"], "info takes one file, e.g. nowcast info data/knmi.nc; 0 came"),
        (
            ["check", "a.nc", "b.nc"],
            "check takes one file, e.g. nowcast check data/knmi.nc; 2 came",
        ),
        (
            ["info", "a.h5", "b.h5"],
            "2 came: give several as a list or a pattern, in quotes: '[a.h5,b.h5]' or '*.h5'",
        ),
        (["info", *"abcd"], "4 came: give several as a list or a pattern, in quotes: '[a,b,...]'"),
        (["info", "input=n.nc"], "0 came: type the file without input=, as in 'n.nc'"),
        (["check", "input=n.nc", "timestep=5"], "0 came: type the file without input="),
        (
            ["convert", "input=.", "output=a.nc", "workers=two"],
            "see conf/convert.yaml for what is accepted",
        ),
        (["info", "/no/such.nc"], "/no/such.nc"),
        (["train", "resume=/no/run"], "is not a run folder"),
        (["train", "resume="], "resume is empty"),
        (["train", "resume=/no/run", "data.size=40"], "only training.* can be changed"),
        (["train", "name=../esc"], "a plain name for the folder"),
        (["train", "scores=rain"], "scores judges rain_rate, but the task forecasts grey_level"),
        (["train", "data=radar", "experiment=none"], "none"),
        (["evaluate"], "run must be given"),
        (["train", "experiment=radar_quickstart"], "data.archive must be given"),
        (["train", "training.precision=fp8"], "training.precision is 'fp8'"),
        (["train", "seed=x"], "seed is 'x'"),
        (["train", "model.hiden_channels=[3]"], "hiden_channels"),
        (["train", "model.patch=0"], "patch is 0; it must be at least 1"),
        (["train", "data=radar", "data.archive=/no/such.nc"], "/no/such.nc"),
        (["train", "data.train_sequences=1.5"], "data.train_sequences is 1.5, but int is needed"),
        (
            ["train", "data.shared_digits=abc"],
            "data.shared_digits is 'abc', but int | None is needed",
        ),
        (["train", "data.seed=-3"], "data.seed is -3"),
        (["train", "data.task=abc"], "data.task is 'abc', but Task is needed"),
        (["train", "seed=99999999999999999999999"], "below 2^63"),
        (["train", "task.timestep=inf"], "task.timestep is inf"),
        (
            ["train", "model.output_bias=nan"],
            "model.output_bias is nan, but float (finite) is needed",
        ),
        (["train", "model=3"], "'model=3' chooses nothing; type model=NAME with one of"),
        (["train", "loss=null"], "'loss=null' chooses nothing; type loss=NAME with one of"),
        (["train", "baselines=3"], "'baselines=3' chooses nothing; type baselines=NAME"),
        (
            ["train", "+baselines._target_=x"],
            "but models by names are needed, as in conf/baselines/radar.yaml",
        ),
        (
            ["train", "baselines.persistence=null"],
            "persistence is None, but settings with a _target_",
        ),
        (["train", "~model"], "the configuration lacks 'model'"),
        (["train", "~seed"], "the configuration lacks 'seed'"),
        (["train", "~baselines"], "the configuration lacks 'baselines'"),
        (["train", "seed=???"], "seed"),
        (["train", "training.max_epochs=${nonexist}"], "nonexist"),
        (["train", "=3"], "is not of the form KEY=VALUE"),
        (["train", "training.patience=2.5"], "training.patience is 2.5, but int | None is needed"),
        (["train", "training.accelerator=foo"], "cannot be used here"),
        (["train", "training.devices=[5]"], "training.devices is [5]"),
        (
            ["train", "model.hidden_channels=3"],
            "model.hidden_channels is 3, but list[int] is needed",
        ),
    ],
)
def test_a_command_that_cannot_run_is_one_line(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in refused(capsys, *arguments)
    assert not list(tmp_path.rglob("*.nc")) and not list(tmp_path.rglob("*.ckpt"))


def test_an_archive_too_short_for_a_part_is_refused_before_training(tmp_path, capsys):
    short = write_archive(tmp_path / "short.nc", moving_rain(8), range(0, 40, 5))
    line = refused(capsys, "train", f"output_dir={tmp_path}/run", f"data.archive={short}", *RADAR)
    assert "part of" in line and "the longest gap-free run is" in line
    assert not (tmp_path / "run").exists()


def test_a_baseline_that_cannot_run_is_told_before_training(archive, tmp_path, capsys):
    pytest.importorskip("cv2")
    pytest.importorskip("pysteps")
    typed = [word for word in RADAR if not word.startswith("baselines=")] + [
        "task.context_length=1",
        f"output_dir={tmp_path}/run",
        f"data.archive={archive}",
    ]
    assert "expected at least 2 context frames" in refused(capsys, "train", *typed)
    assert not (tmp_path / "run").exists()


def test_a_run_keeps_its_split_so_that_its_training_data_never_become_a_test(
    radar_run, archive, tmp_path, capsys
):
    from nowcast.cli import config

    assert (
        config.plain(config.load(radar_run))["data"]["test_from"] == "2020-06-01T02:35:00"
    )  # 80 % of 0 to 195 minutes
    early = write_archive(tmp_path / "early.nc", moving_rain(20), range(0, 100, 5))
    for typed in ([f"data.archive={early}"], ["data=radar", f"data.archive={early}"]):
        assert "the test part of" in refused(
            capsys, "evaluate", f"run={radar_run}", *typed, f"output_dir={tmp_path}/x"
        )


def test_a_task_changed_by_hand_in_the_configuration_does_not_change_the_model(mnist_run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(mnist_run, copy)
    text = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(text.replace("forecast_length: 5", "forecast_length: 2"))
    main(["evaluate", f"run={copy}"])
    assert (copy / "evaluation" / "scores.csv").read_text() == (
        mnist_run / "evaluation" / "scores.csv"
    ).read_text()


def test_a_folder_left_by_a_failed_start_can_be_used_again(tmp_path, capsys):
    assert "cannot be used here" in refused(
        capsys, "train", f"output_dir={tmp_path}/run", *SMALL, "training.accelerator=foo"
    )
    main(["train", f"output_dir={tmp_path}/run", *SMALL])
    assert (tmp_path / "run" / "forecaster.json").is_file()


def test_ctrl_c_in_training_says_how_to_go_on(tmp_path, capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("nowcast.training.module.TrainingModule.validation_step", interrupted)
    with pytest.raises(SystemExit) as caught:
        main(["train", f"output_dir={tmp_path}/run", *SMALL])
    assert caught.value.code == 130
    assert (
        "interrupted before the first checkpoint; the same command starts anew"
        in capsys.readouterr().out
    )


def test_a_finished_run_is_not_overwritten(mnist_run, capsys):
    assert "already holds a run; choose another output_dir" in refused(
        capsys, "train", f"output_dir={mnist_run}", *SMALL
    )


def test_a_run_of_another_version_is_refused(radar_run, archive, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(radar_run, copy)
    settings = json.loads((copy / "forecaster.json").read_text())
    (copy / "forecaster.json").write_text(json.dumps(settings | {"format": 2, "nowcast": "3.0"}))
    assert "was written in run format 2 by nowcast 3.0" in refused(
        capsys, "predict", f"run={copy}", f"input={archive}", f"output={tmp_path}/x.nc"
    )


def test_a_run_folder_can_be_moved(radar_run, archive, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(radar_run, moved)
    for unneeded in ("checkpoints", "logs", "evaluation"):
        shutil.rmtree(moved / unneeded)
    (moved / "config.yaml").unlink()
    main(
        ["predict", f"run={moved}", f"input={archive}", f"output={tmp_path}/x.nc", "pictures=false"]
    )
    assert (tmp_path / "x.nc").stat().st_size > 1000


def test_without_pysteps_the_optical_flow_row_is_left_out_and_said(
    radar_run, folder, capsys, monkeypatch
):
    monkeypatch.setitem(sys.modules, "cv2", None)
    archive = write_archive(folder / "more.nc", moving_rain(), range(0, 200, 5))
    main(
        [
            "evaluate",
            f"run={radar_run}",
            "data=radar",
            f"data.archive={archive}",
            f"output_dir={folder}/without",
        ]
    )
    assert "extrapolation is left out: optical flow needs pysteps" in " ".join(
        capsys.readouterr().out.split()
    )
    assert {row["model"] for row in scores(folder / "without" / "scores.csv")} == {
        "ConvLSTM",
        "persistence",
    }


def test_an_interrupt_is_one_line_with_the_usual_exit_code(monkeypatch, capsys):
    def interrupted(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("nowcast.cli.radar.info", interrupted)
    with pytest.raises(SystemExit) as caught:
        main(["info", "x"])
    assert caught.value.code == 130 and capsys.readouterr().err == "nowcast info: interrupted\n"


# ---------------------------------------------------------------- report


def test_report_shows_one_run_or_several_typed_in_any_way(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("a run", "b,c", "d"):
        results().save(tmp_path / name / "evaluation")
    main(["report", "run=a run"])
    assert "report.html: 0." in capsys.readouterr().out
    assert "a run" in (tmp_path / "a run" / "report.html").read_text(encoding="utf-8")
    main(["report", "run=[a run, 'b,c',d/evaluation]", "output=out/ünï ${x}.html"])
    page = (tmp_path / "out" / "ünï ${x}.html").read_text(encoding="utf-8")
    assert "3 runs: forecasts verified" in page and all(
        name in page for name in ("a run", "b,c", "evaluation")
    )
    main(["report", "run=b,c", "output=one.htm"])
    assert (tmp_path / "one.htm").is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "run must be given"),
        (["run=no"], "no contains no evaluation.h5; make it with: nowcast evaluate run=no"),
        (["run="], "run is ''; give the folder of a run, or several as"),
        (["run=[]"], "run is '[]'; give the folder of a run"),
        (["run=[a,a]"], "is named twice; name each run once"),
        (
            ["run=a", "output=x.pdf"],
            "but the report is an HTML file: give a name that ends in .html",
        ),
        (["run=a", "format=pdf"], "format"),
        (["run=a", "output="], "output is empty"),
    ],
)
def test_a_wrong_report_is_refused_in_one_line(tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)
    results().save(tmp_path / "a")
    assert said in refused(capsys, "report", *arguments)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["evaluation.h5"]


def test_the_shipped_model_forecasts_from_any_archive_without_a_run(archive, tmp_path, capsys):
    main(
        [
            "predict",
            f"input={archive}",
            f"output={tmp_path}/f.nc",
            "forecast_length=2",
            "thresholds=[0.2,5]",
            "pictures=false",
        ]
    )
    with xarray.open_dataset(tmp_path / "f.nc", engine="h5netcdf") as forecast:
        assert dict(forecast.sizes)["time"] == 2 and float(forecast.rainfall_rate.max()) > 1
        assert forecast.attrs["model"] == "shipped" and "references" not in forecast.attrs
        probability = forecast.probability
        assert (
            probability.attrs["comment"]
            == "of the pixel itself, as the model learnt it; see its model card for how "
            "reliable; in steps of 0.01"
        )
        known = forecast.rainfall_rate.notnull()
        assert (probability.notnull() == known).all() and (probability[0] >= probability[1]).where(
            known, True
        ).all()
        assert (
            float(probability[0].where(forecast.rainfall_rate >= 0.2).mean())
            > 0.5
            > float(probability[0].where(forecast.rainfall_rate < 0.2).mean())
        )
    assert "2 fields up to" in capsys.readouterr().out


def test_the_shipped_model_writes_scenarios_that_can_be_judged_as_an_ensemble(
    archive, tmp_path, capsys
):
    main(
        [
            "predict",
            f"input={archive}",
            f"output={tmp_path}/f.nc",
            "analysis_time=2020-06-01T00:30",
            "forecast_length=2",
            "members=4",
            "pictures=false",
        ]
    )
    with xarray.open_dataset(tmp_path / "f.nc", engine="h5netcdf") as forecast:
        members = forecast.rainfall_rate_members
        assert (
            members.sizes["realization"] == 4
            and (members.notnull().all("realization") == forecast.rainfall_rate.notnull()).all()
        )
        assert float(members.std("realization").max()) > 0.1
    judged = [
        "evaluate",
        f"forecasts={tmp_path}/f.nc",
        f"observations={archive}",
        "name=theirs",
        "baselines=persistence",
        "scores.thresholds=[0.5]",
    ]
    main([*judged, "reader.variable=rainfall_rate_members", f"output_dir={tmp_path}/e"])
    main([*judged, f"output_dir={tmp_path}/single"])
    scores = [
        {
            row["score"]
            for row in csv.DictReader((tmp_path / name / "scores.csv").open())
            if row["model"] == "theirs" and not row["box"] and not row["accumulation"]
        }
        for name in ("e", "single")
    ]
    assert "crps" in scores[0] and "crps" not in scores[1] and "mae" in scores[1]
    capsys.readouterr()
    for given, said in (
        (
            "output=f.h5 members=3",
            "members=3 cannot be written as .h5; give output=FILE.nc, or members=0",
        ),
        ("output=f.nc members=-1", "members is -1"),
        ("output=f.nc members=1.5", "members is 1.5"),
        ("output=f.nc members=2000", "1 to 1000 are accepted"),
    ):
        assert said in refused(
            capsys,
            "predict",
            f"input={archive}",
            *given.replace("output=", f"output={tmp_path}/new_").split(),
        )
    assert not list(tmp_path.glob("new_*"))


@pytest.mark.parametrize("data", [[], ["data=radar_events", "data.archives=a.nc"]])
def test_a_single_baseline_can_be_left_out_of_an_evaluation(data, capsys):
    main(
        [
            "evaluate",
            "run=shipped",
            *data,
            "baselines=all",
            "~baselines.linda",
            "baselines.steps.members=7",
            "--cfg",
        ]
    )
    shown = yaml.safe_load(capsys.readouterr().out)["baselines"]
    assert "linda" not in shown and "anvil" in shown and shown["steps"]["members"] == 7


def test_the_shipped_model_is_judged_on_archives_at_their_cadence(archive, tmp_path, capsys):
    main(
        [
            "evaluate",
            "run=shipped",
            "data=radar_events",
            f"data.archives={archive}",
            "task.forecast_length=2",
            "baselines=persistence",
            "scores.thresholds=[0.5]",
            "evaluation.members=5",
            f"output_dir={tmp_path}/e",
        ]
    )
    rows = list(csv.DictReader((tmp_path / "e" / "scores.csv").open()))
    assert (
        {row["model"] for row in rows} == {"shipped", "shipped member", "persistence"}
        and "crps" in {row["score"] for row in rows}
        and {row["lead"] for row in rows} == {"", "5", "10"}
    )
    capsys.readouterr()
    assert "needs 6 in a row every 10 min" in refused(
        capsys,
        "evaluate",
        "run=shipped",
        "data=radar_events",
        f"data.archives={archive}",
        "task.timestep=10",
        "task.forecast_length=2",
    )


def test_models_of_several_runs_are_evaluated_together_on_the_pixels_that_all_forecast(
    radar_run, mnist_run, folder, tmp_path, capsys
):
    typed = ["scores.thresholds=[0.5]", "scores.windows=[]", "scores.pools=[]"]
    # the shipped model needs 4 frames of context, the run 3, and what is forecast is the run's
    main(["evaluate", f"run=[shipped,'{radar_run}']", *typed, f"output_dir={tmp_path}/both"])
    rows = scores(tmp_path / "both" / "scores.csv")
    assert list(dict.fromkeys(row["model"] for row in rows)) == [
        "shipped",
        "radar run",
        "persistence",
    ]
    assert {row["lead"] for row in rows} == {"", "5", "10"}

    def pixels(model):
        counts = ("hits", "misses", "false_alarms", "correct_negatives")
        return sum(
            float(row["value"])
            for row in rows
            if row["model"] == model and row["score"] in counts and row["lead"] == "10"
        )

    assert pixels("shipped") == pixels("radar run") == pixels("persistence") > 0
    main(["report", f"run={tmp_path}/both", f"output={tmp_path}/both.html"])
    text = (tmp_path / "both.html").read_text()
    assert "not compared" not in capsys.readouterr().out and "shipped, radar run" in text
    both = f"run=['{radar_run}','{mnist_run}']"
    assert "models in one table must forecast the same" in refused(capsys, "evaluate", both)
    twice = f"run=['{radar_run}','{radar_run}/.']"
    assert "twice; name each run once" in refused(capsys, "evaluate", twice)


def test_a_model_is_called_by_its_run_or_its_class_and_never_as_a_baseline(mnist_run, tmp_path):
    def first(name):
        copy = tmp_path / name
        shutil.copytree(mnist_run, copy)
        config = (copy / "config.yaml").read_text()
        (copy / "config.yaml").write_text(
            re.sub("^name: .*", f"name: {name}", config, flags=re.MULTILINE)
        )
        main(["evaluate", f"run={copy}", "evaluation.show=false"])
        assert Results.load(copy).facts["own_models"] == Results.load(copy).models[:1]
        return Results.load(copy).models

    assert first("trend net") == ["trend net", "persistence"]
    assert first("smoke") == ["ConvLSTM", "persistence"]  # an experiment with any model
    assert first("persistence") == ["persistence (run)", "persistence"]


def test_what_a_model_was_made_for_cannot_be_changed_in_its_evaluation(radar_run, capsys):
    for run, item in ((radar_run, "task.timestep=10"), ("shipped", "task.context_length=2")):
        assert (
            "would change what the model was made for; only task.timestep and task.forecast_length"
            in refused(capsys, "evaluate", f"run={run}", item)
        )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("wrote {here}/a.nc: 3 frames", "wrote a.nc: 3 frames"),
        ("run=[{here}/a,{here}/b c]", "run=[a,b c]"),
        ("nowcast train 'resume={here}/runs/it is'", "nowcast train 'resume=runs/it is'"),
        ("in {here}", "in {here}"),
        ("wrote /backup{here}/a.nc", "wrote /backup{here}/a.nc"),
        ("wrote {here}2/a.nc", "wrote {here}2/a.nc"),
    ],
)
def test_paths_below_the_current_folder_are_printed_as_they_are_typed(
    text, shown, tmp_path, monkeypatch, capsys
):
    from nowcast.cli.common import print_line

    monkeypatch.chdir(tmp_path)
    print_line(text.format(here=tmp_path))
    assert capsys.readouterr().out == shown.format(here=tmp_path) + "\n"


def test_paths_are_printed_whole_at_the_root_and_where_the_current_folder_is_gone(
    tmp_path, monkeypatch, capsys
):
    from nowcast.cli.common import print_line

    gone = tmp_path / "gone"
    gone.mkdir()
    for here in (gone, Path("/")):
        monkeypatch.chdir(here)
        if here == gone:
            gone.rmdir()
        print_line(f"wrote {tmp_path}/a.nc")
        assert capsys.readouterr().out == f"wrote {tmp_path}/a.nc\n"


def test_an_error_names_a_file_as_it_was_typed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.nc").write_text("no archive")
    refused(capsys, "check", "old.nc")
    with pytest.raises(SystemExit):
        main(["predict", "run=runs/none", "input=old.nc", "output=now.nc"])
    error = capsys.readouterr().err
    assert error.startswith("nowcast predict: error: runs/none") and str(tmp_path) not in error
