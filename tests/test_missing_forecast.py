"""A forecast that is missing, everywhere or at some lead times, says so: in Python, in the file,
and on the terminal.
"""

import h5py
import numpy as np
import pytest
from factories import grid, times, write_archive
from test_forecaster import SETTINGS

from nowcast.baselines.persistence import Persistence
from nowcast.cli import main
from nowcast.data import inspection
from nowcast.forecasting.forecaster import Forecaster
from nowcast.forecasting.prediction import notes
from nowcast.models.prediction import SingleField
from nowcast.output.contents import Contents
from nowcast.output.geotiff import write_geotiff
from nowcast.output.netcdf import read_attributes, write_forecast
from nowcast.output.odim import write_odim
from nowcast.readers.auto import Auto
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Forecast, Frames
from nowcast.types.task import Task
from nowcast.types.transform import Identity

NAN = np.nan
LEADS = np.arange(1, 5) * np.timedelta64(300, "s")


class FadesAway(Persistence):
    """Persistence whose fields are missing after so many lead times."""

    kept = 0

    def forward(self, context, forecast_length, observed=None, scale=None):
        forecast = super().forward(context, forecast_length, observed, scale).point().clone()
        forecast[:, self.kept :] = NAN
        return SingleField(forecast)


def fading(kept: int) -> Forecaster:
    model = FadesAway()
    model.kept = kept
    return Forecaster(model, Identity(), Task(2, 4, 5))


def two_frames(values=1.0) -> Frames:
    return Frames(np.full((2, 2, 3), values), times(0, 5), grid())


def test_a_forecaster_refuses_to_return_nothing_and_says_what_was_observed():
    message = (
        "the forecast from 2020-06-01T00:05:00 UTC is missing at every pixel and lead "
        "time: 6 of 6 pixels of the newest frame were observed, and FadesAway has a value "
        "for none"
    )
    with pytest.raises(UserError, match=message):
        fading(0)(two_frames())
    with pytest.raises(
        UserError,
        match="no pixel of the newest frame, of 2020-06-01T00:05:00 UTC, was observed; there is "
        "nothing to forecast from",
    ):
        fading(4)(two_frames(NAN))
    forecast = fading(3)(two_frames())
    assert forecast.is_missing.tolist() == [False, False, False, True]
    assert notes(two_frames(), forecast) == [
        "1 of 4 fields are missing at every pixel, the first at +20 min"
    ]
    assert notes(two_frames(), fading(4)(two_frames())) == []


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ((), None),
        ((0, 1, 2, 3), "no pixel has a forecast at any lead time"),
        ((2, 3), "no pixel has a forecast at 2 of 4 lead times: +15, +20 min"),
    ],
)
def test_every_format_says_where_a_forecast_is_missing(tmp_path, missing, said):
    rasterio = pytest.importorskip("rasterio")
    values = np.ones((4, 2, 3))
    values[list(missing)] = NAN
    forecast = Forecast(values, times(0)[0], LEADS, grid())
    write_forecast(forecast, tmp_path / "f.nc", attributes={})
    assert read_attributes(tmp_path / "f.nc").get("missing_forecast") == said
    with h5py.File(write_odim(forecast, tmp_path / "f.h5", attributes={})[0]) as file:
        found = file["how"].attrs.get("missing_forecast")
        assert (found and found.decode()) == said
    write_geotiff(forecast, tmp_path / "f.tif", attributes={})
    with rasterio.open(tmp_path / "f.tif") as file:
        assert file.tags().get("missing_forecast") == said
    text = Contents(Auto()).read(tmp_path / "f.nc")
    assert said is None or said in text
    assert ("nothing: no pixel has a forecast at any lead time" in text) == (len(missing) == 4)


def test_predict_says_what_of_its_input_and_forecast_is_missing(tmp_path, capsys):
    Forecaster.from_settings(SETTINGS).save(tmp_path / "run")
    values = np.ones((3, 8, 8))
    values[0] = NAN
    main(
        [
            "predict",
            f"run={tmp_path}/run",
            f"input={write_archive(tmp_path / 'a.nc', values, [0, 5, 10])}",
            f"output={tmp_path}/f.nc",
            "pictures=false",
            "thresholds=[]",
        ]
    )
    assert (
        "1 of 3 input frames contain no observation, the first of 2020-06-01 00:00 UTC"
        in capsys.readouterr().out
    )
    with pytest.raises(SystemExit):
        main(
            [
                "predict",
                f"run={tmp_path}/run",
                f"input={write_archive(tmp_path / 'b.nc', np.full((3, 8, 8), NAN), [0, 5, 10])}",
                f"output={tmp_path}/g.nc",
                "pictures=false",
            ]
        )
    assert (
        "no pixel of the newest frame, of 2020-06-01T00:10:00 UTC, was observed"
        in capsys.readouterr().err
        and not (tmp_path / "g.nc").exists()
    )


def test_info_counts_frames_in_which_nothing_was_observed(tmp_path):
    values = np.ones((3, 2, 3))
    values[1] = NAN
    assert "empty       1 frames without any observation" in inspection.info(
        write_archive(tmp_path / "a.nc", values, [0, 5, 10])
    )
    assert "empty" not in inspection.info(
        write_archive(tmp_path / "b.nc", np.ones((3, 2, 3)), [0, 5, 10])
    )
