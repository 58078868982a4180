"""nowcast demo: an hour of real radar, forecast and compared with what came; nothing but the radar
is stored.
"""

import csv
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from factories import shared_data
from PIL import Image

from nowcast.baselines.advection import Advection
from nowcast.baselines.extrapolation import Extrapolation
from nowcast.cli import demo as command
from nowcast.cli import main
from nowcast.data.archive import Archive
from nowcast.demo import forecasting
from nowcast.demo.hour import ARCHIVE
from nowcast.evaluation.results import Results
from nowcast.forecasting.forecaster import Forecaster
from nowcast.output.netcdf import read_attributes, read_products
from nowcast.runtime.files import SHIPPED
from nowcast.types.task import Task
from nowcast.types.transform import Identity

SHA256 = "7246c8d945f61226793e38876e699d5840c8eef07785c5f2f075a250bef9e01e"


@pytest.fixture
def no_pysteps(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)


@pytest.fixture(scope="module")
def found():
    return forecasting.demonstrate(Forecaster.load(SHIPPED))


def hour():
    with Archive(ARCHIVE) as archive:
        return archive.frames(0, len(archive))


def csi(forecast, observation, threshold):
    """Of one field, over the pixels that both have."""
    known = ~np.isnan(forecast) & ~np.isnan(observation)
    said, was = forecast[known] >= threshold, observation[known] >= threshold
    return (said & was).sum() / (said | was).sum()


def test_the_hour_is_twelve_frames_that_are_whole_and_less_than_a_megabyte():
    frames = hour()
    assert hashlib.sha256(ARCHIVE.read_bytes()).hexdigest() == SHA256
    assert ARCHIVE.stat().st_size < 1_000_000
    assert frames.values.shape == (12, 360, 360) and not np.isnan(frames.values).any()
    assert str(frames.times[0]) == "2017-08-16T00:55:00"
    assert set(np.diff(frames.times)) == {np.timedelta64(300, "s")}
    about = ARCHIVE.with_name("README.md").read_text()
    assert "Deutscher Wetterdienst" in about and "CC BY 4.0" in about


def test_the_crop_is_the_box_with_the_most_rain_of_those_that_were_observed_throughout():
    from nowcast import read

    whole = read(shared_data() / "radar" / "dwd" / "20170816" / "yw")
    side = 360

    def boxes(field):
        sums = np.pad(field.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
        return sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]

    unseen = boxes(np.isnan(whole.values).any(axis=0).astype(float))
    rain = np.where(unseen < 0.5, boxes(np.nan_to_num(whole.values).sum(axis=0, dtype=float)), -1)
    row, column = np.unravel_index(np.argmax(rain), rain.shape)
    frames = hour()
    expected = whole.values[:, row : row + side, column : column + side]
    np.testing.assert_array_equal(frames.values, expected)
    np.testing.assert_allclose(frames.grid.x, whole.grid.x[column : column + side])
    np.testing.assert_allclose(frames.grid.y, whole.grid.y[row : row + side])


def test_four_frames_are_seen_and_the_eight_that_came_are_never_looked_at(found, monkeypatch):
    assert len(found.context) == 4 and len(found.came) == 8
    frames = hour()
    changed = np.array(frames.values)
    changed[4:] = 0
    other = type(frames)(changed, frames.times, frames.grid)
    monkeypatch.setattr(Archive, "frames", lambda *_: other)
    again = forecasting.demonstrate(Forecaster.load(SHIPPED))
    np.testing.assert_array_equal(again.products.forecast.values, found.products.forecast.values)
    for name, values in found.others.items():
        np.testing.assert_array_equal(again.others[name], values)


def test_scores_are_those_of_the_forecasts_over_the_pixels_that_all_of_them_have(found):
    fields = {forecasting.OWN: found.products.forecast.values, **found.others}
    missing = np.logical_or.reduce([np.isnan(values) for values in fields.values()])
    for name, values in fields.items():
        scores = found.results.values(name)
        if name == forecasting.OWN:  # each score of the number that it rewards; the map is the mean
            key = next(k for k in scores if k.score == "mse")
            errors = np.where(missing, np.nan, (values - found.came.values) ** 2)
            np.testing.assert_allclose(scores[key][:-1], np.nanmean(errors, axis=(1, 2)), rtol=1e-5)
            continue
        for threshold in (1, 10):
            key = next(k for k in scores if k[:2] == ("csi", threshold) and k.window in (None, 1))
            by_hand = [
                csi(np.where(gone, np.nan, field), came, threshold)
                for field, came, gone in zip(values, found.came.values, missing)
            ]
            np.testing.assert_allclose(scores[key][:-1], by_hand, rtol=1e-6)
        key = next(k for k in scores if k.score == "mae")
        errors = np.where(missing, np.nan, np.abs(values - found.came.values))
        np.testing.assert_allclose(scores[key][:-1], np.nanmean(errors, axis=(1, 2)), rtol=1e-5)


def test_without_pysteps_nowcast_s_own_motion_stands_in_place_of_extrapolation(no_pysteps):
    found = forecasting.demonstrate(Forecaster.load(SHIPPED))
    assert list(found.others) == [forecasting.ADVECTION, forecasting.PERSISTENCE]
    assert found.results.models == ["nowcast", "advection", "persistence"]
    assert forecasting.full_name("advection") == "advection (without pysteps)"


def test_pysteps_and_nowcast_s_own_motion_carry_the_hour_to_nearly_the_same_place():
    pytest.importorskip("pysteps")
    pytest.importorskip("cv2")
    frames = hour()
    task = Task(4, 8, 5)
    fields = {
        name: Forecaster(model, Identity(), task)(frames[:4], 8).values
        for name, model in (("pysteps", Extrapolation()), ("own", Advection()))
    }
    for lead, came in enumerate(frames.values[4:]):
        theirs, ours = fields["pysteps"][lead], fields["own"][lead]
        known = ~np.isnan(theirs) & ~np.isnan(ours)
        assert known.mean() > 0.85  # what comes from outside the grid is missing in both
        scores = [csi(np.where(known, field, np.nan), came, 1.0) for field in (theirs, ours)]
        assert scores[1] == pytest.approx(scores[0], abs=0.04)
        still = csi(np.where(known, frames.values[3], np.nan), came, 1.0)
        assert min(scores) > still + 0.02


def test_the_command_leaves_picture_page_scores_forecast_and_radar(tmp_path, capsys):
    folder = tmp_path / "a demo, [1] é"
    main(["demo", f"output_dir={folder}"])
    out = capsys.readouterr().out
    assert out.startswith("An hour of radar over southern Germany (data: Deutscher Wetterdienst,")
    assert "One hour is a demonstration, not a verdict" in out and f"in {folder}\n" in out
    assert sorted(path.name for path in folder.iterdir()) == [
        "demo.html",
        "demo.png",
        "forecast.nc",
        "radar.nc",
        "scores.csv",
        "scores.txt",
    ]
    with Image.open(folder / "demo.png") as picture:
        assert picture.size[0] >= 1260 and picture.size[1] == 1010  # wider for a longer name
    page = (folder / "demo.html").read_text(encoding="utf-8")
    facts = json.loads(re.search(r'id="data">(.*?)</script>', page, re.S)[1])
    assert [layer["title"] for layer in facts["layers"]][:2] == [
        "Nowcast, mean",
        "What came (radar)",
    ]
    assert facts["archived"] and "Deutscher Wetterdienst" in facts["about"][0][1]
    assert read_products(folder / "forecast.nc").thresholds == (0.1, 1.0, 5.0)
    assert "Deutscher Wetterdienst" in read_attributes(folder / "forecast.nc")["title"]
    assert (folder / "radar.nc").read_bytes() == ARCHIVE.read_bytes()
    with (folder / "scores.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["score"] == "mae" and not row["lead"]]
    for row in rows:  # what is printed is what is computed
        assert re.search(rf"{row['model']} .* {float(row['value']):.3f}", out)
    assert "nowcast predict input='radar/*.h5'" in out.splitlines()[-3]


def test_the_next_commands_that_it_prints_are_commands_with_settings_that_exist():
    from nowcast.cli import config

    for line in command._NEXT.splitlines()[1:]:
        words = line.split("#")[0].split()
        assert words[0] == "nowcast"
        typed = [word.replace("'", "") for word in words[2:]]
        config.compose(words[1], typed)


def test_the_model_is_not_said_to_be_best_where_it_is_not():
    from nowcast.evaluation.statistics.scores import ScoreRow

    def row(score, threshold, value):
        return ScoreRow(score, threshold, None, None, value, np.nan, np.nan)

    ours = [row("csi", 1.0, 0.5), row("csi", 10.0, 0.1), row("mae", None, 2.0)]
    others = [row("csi", 1.0, 0.4), row("csi", 10.0, 0.2), row("mae", None, 1.0)]
    first, _ = command._sentences({"nowcast": ours, "persistence": others})
    assert first == (
        "Best over all leads: nowcast in CSI ≥ 1 mm/h; persistence in CSI ≥ 10 mm/h, MAE."
    )


def test_two_that_begin_in_the_same_second_have_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "new_folder", lambda kind: tmp_path / kind / "now")
    folders = [command._folder(None) for _ in range(3)]
    assert [folder.name for folder in folders] == ["now", "now_2", "now_3"]
    assert all(folder.is_dir() for folder in folders)


def test_the_whole_hour_can_be_evaluated_by_hand_with_its_only_case_as_the_test(tmp_path):
    typed = ["run=shipped", "data=radar", f"data.archive={ARCHIVE}", "task.forecast_length=8"]
    typed += ["data.test_from=2017-08-16T00:55", "baselines=persistence", "evaluation.cache=null"]
    main(["evaluate", *typed, "evaluation.workers=0", f"output_dir={tmp_path}/e"])
    results = Results.load(tmp_path / "e")
    assert results.cases == 1 and results.task.forecast_length == 8


def test_it_runs_from_a_folder_and_with_a_home_that_cannot_be_written_to_and_without_a_network(
    tmp_path,
):
    # /proc takes no folder of anybody, root included
    (tmp_path / "sitecustomize.py").write_text(
        "import socket\n"
        "def refused(*_, **__):\n"
        "    raise OSError('no network here')\n"
        "socket.socket.connect = socket.getaddrinfo = refused\n"
    )
    root = str(Path(__file__).parents[1])
    variables = os.environ | {
        "HOME": "/proc/nohome",
        "TMPDIR": str(tmp_path),
        "PYTHONPATH": os.pathsep.join([str(tmp_path), root]),
    }
    for name in ("MPLCONFIGDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        variables.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-m", "nowcast", "demo"],
        cwd="/proc",
        env=variables,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    folder = Path(re.search(r"^in (.*)$", done.stdout, re.M)[1])
    assert folder.parent == tmp_path and (folder / "demo.png").is_file()


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("output_dir={file}/below", "cannot be written"),
        ("open=maybe", "open is 'maybe'; expected true or false"),
        ("input=x.nc", "there is no setting 'input' here"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, capsys, typed, said):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as caught:
        main(["demo", typed.format(file=tmp_path / "file")])
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
