"""The public names: what a program or a notebook does in a line each."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest
from factories import grid, write_archive, write_knmi

import nowcast
from nowcast import UserError
from nowcast.data.moving_mnist import MovingMnist
from nowcast.models.prediction import SingleField
from nowcast.output.netcdf import read_forecast
from nowcast.readers.geotiff import GeoTiff
from nowcast.runtime.build import as_settings


def test_importing_nowcast_loads_neither_torch_nor_numpy_nor_hydra():
    program = "import sys, nowcast; print({'torch', 'numpy', 'hydra', 'h5py'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr


def test_every_public_name_is_there_documented_and_listed():
    assert nowcast.__all__ == sorted(nowcast.__all__) and len(nowcast.__all__) <= 24
    for name in nowcast.__all__:
        assert getattr(nowcast, name).__doc__ and name in dir(nowcast)
    with pytest.raises(AttributeError, match="module 'nowcast' has no attribute 'Nowcast'"):
        _ = nowcast.Nowcast


def test_frames_are_read_converted_and_forecast_and_the_forecast_is_written_and_drawn(tmp_path):
    archive = write_archive(tmp_path / "a.nc", moving_rain(8), range(0, 40, 5))
    frames = nowcast.read(archive)
    assert len(frames) == 8 and len(nowcast.read(str(archive), last=3)) == 3
    np.testing.assert_array_equal(nowcast.read(archive, last=3).values, frames.values[-3:])
    with nowcast.open_archive(archive) as opened:
        assert (opened.times == frames.times).all()
    forecaster = nowcast.Forecaster(Last(), nowcast_identity(), nowcast.Task(2, 3, 5))
    forecast = forecaster(frames)
    (path,) = forecast.save(tmp_path / "now.nc", attributes={"title": "a test"})
    np.testing.assert_array_equal(read_forecast(path).values, forecast.values)
    figure = forecast.plot(tmp_path / "now.png")
    assert figure.axes and (tmp_path / "now.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="ends in '.xyz'; a forecast can be written as"):
        forecast.save(tmp_path / "now.xyz")


def test_files_are_converted_once_and_again_only_what_is_new(tmp_path):
    counts = np.arange(3 * 6 * 5, dtype=np.uint8).reshape(3, 6, 5)
    for number, values in enumerate(counts):
        interval = {
            f"product_datetime_{end}": f"26-AUG-2010;00:{5 * minutes:02d}:00.000".encode()
            for end, minutes in (("start", number), ("end", number + 1))
        }
        write_knmi(tmp_path / f"{number}.h5", values, **interval)
    first = nowcast.convert(str(tmp_path / "[01].h5"), tmp_path / "a.nc")
    again = nowcast.convert(str(tmp_path / "*.h5"), tmp_path / "a.nc")
    assert (first.added, again.added, again.frames) == (2, 1, 3)
    straight, archived = nowcast.read(tmp_path / "*.h5"), nowcast.read(tmp_path / "a.nc")
    np.testing.assert_array_equal(straight.values, archived.values)


def test_a_model_is_evaluated_beside_baselines_over_the_newest_part_of_an_archive(tmp_path):
    archive = write_archive(tmp_path / "a.nc", moving_rain(30), range(0, 150, 5))
    forecaster = nowcast.Forecaster(Last(), nowcast_identity(), nowcast.Task(2, 3, 5))
    results = nowcast.evaluate(forecaster, archive, test_from=np.datetime64("2020-06-01T01:00"))
    assert results.models == ["model", "persistence"]
    found = {
        model: [row.value for row in results.rows(model) if row.score == "mae" and row.lead is None]
        for model in results.models
    }
    assert found["model"] == found["persistence"] and found["model"][0] > 0
    with pytest.raises(ValueError, match="a baseline is called 'model'"):
        nowcast.evaluate(forecaster, archive, baselines={"model": Last()})


def test_probabilities_are_written_or_refused_but_never_lost(tmp_path):
    frames = nowcast.Frames(np.ones((1, 4, 5)), [np.datetime64("2024-05-01T12:00")], grid(4, 5))
    forecast = nowcast.Forecast(
        frames.values,
        frames.times[0],
        [np.timedelta64(5, "m")],
        frames.grid,
        probability=np.full((1, 1, 4, 5), 0.25),
        thresholds=(2.0,),
    )
    forecast.save(tmp_path / "now.nc")
    with h5py.File(tmp_path / "now.nc") as file:
        assert file["threshold"][()] == [2.0] and (file["probability"][()] == 25).all()
    with pytest.raises(UserError, match="GeoTIFF has no place for probabilities"):
        forecast.save(tmp_path / "now.tif")
    with pytest.raises(UserError, match="is not the name of a PNG file"):
        forecast.plot(tmp_path / "now.pdf")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nowcast.read("a.h5", last=0), "last is 0; expected a whole number of frames"),
        (lambda: nowcast.read("a.h5", reader="knmi"), "reader is 'knmi'; expected an object"),
        (
            lambda: nowcast.convert("a.h5", "b.nc", reader=nowcast.Reader),
            "expected an object of a class",
        ),
        (lambda: nowcast.evaluate("runs/x"), "evaluate needs what is forecast beside the model"),
        (lambda: nowcast.load("shipped", device="abacus"), "device 'abacus' cannot be used here"),
    ],
)
def test_a_wrong_argument_is_said_at_once(call, message):
    with pytest.raises(UserError, match=message):
        call()


def test_what_a_model_returns_is_compared_with_the_contract(tmp_path):
    class Bare(nowcast.ForecastModel):
        def forward(self, context, forecast_length, observed=None, scale=None):
            return context[:, -1:]

    archive = write_archive(tmp_path / "a.nc", moving_rain(30), range(0, 150, 5))
    forecaster = nowcast.Forecaster(Bare(), nowcast_identity(), nowcast.Task(2, 3, 5))
    with pytest.raises(UserError, match="Bare returned Tensor; expected a Prediction"):
        forecaster(nowcast.read(archive, last=2))
    with pytest.raises(UserError, match="the baseline last is .*; expected a ForecastModel"):
        nowcast.evaluate(forecaster, archive, baselines={"last": Last})


def test_settings_of_an_object_are_plain_data_or_refused():
    coding = as_settings(GeoTiff())["values"]
    assert coding["_target_"] == "nowcast.readers.decoding.Coding"

    @dataclass
    class Odd:
        weights: object

    assert as_settings(Odd((1, {"a": Path("x")})))["weights"] == [1, {"a": "x"}]
    with pytest.raises(
        UserError, match="expected plain data .* for the setting Odd.weights, got ndarray"
    ):
        as_settings(Odd(np.ones(3)))


def moving_rain(frames: int) -> np.ndarray:
    """A round cell that moves one pixel to the east in each frame, (frames, 20, 40) mm/h."""
    rows, columns = np.mgrid[:20, :40]
    cells = [
        8 * np.exp(-(((columns - 4 - k) / 4) ** 2 + ((rows - 10) / 4) ** 2)) for k in range(frames)
    ]
    return np.round(np.array(cells), 2)


class Last(nowcast.ForecastModel):
    """The last frame again and again."""

    def forward(self, context, forecast_length, observed=None, scale=None):
        return SingleField(context[:, -1:].expand(-1, forecast_length, -1, -1, -1))


def nowcast_identity():
    from nowcast.types.transform import Identity

    return Identity()


def test_a_model_is_evaluated_on_the_test_part_of_a_data_set_by_the_scores_of_its_quantity():
    task = nowcast.Task(3, 2, 1, "grey_level")
    digits = MovingMnist(task, seed=1, test_sequences=4)
    forecaster = nowcast.Forecaster(Last(), nowcast_identity(), task)
    results = nowcast.evaluate(forecaster, digits)
    assert results.cases == 4 and results.models == ["model", "persistence"]
    rows = {row.score: row.value for row in results.rows("model") if row.lead is None}
    assert {"ssim", "mse", "cross_entropy"} < set(rows)
    case = digits.part("test").case(0, 0)
    assert np.isfinite(case).all() and rows["mse"] > 0
    for wrong in ({"stride": 2}, {"test_from": "2024-01-01"}):
        with pytest.raises(UserError, match="test_from and stride choose the windows of an arch"):
            nowcast.evaluate(forecaster, digits, **wrong)
