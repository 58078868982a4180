"""Forecast files of any system against an archive."""

import h5netcdf
import numpy as np
import pytest

from nowcast.baselines.persistence import Persistence
from nowcast.data.archive import Archive
from nowcast.data.base import Cases
from nowcast.evaluation.external import ForecastFiles
from nowcast.evaluation.plan import EvaluationPlan
from nowcast.evaluation.running import evaluate
from nowcast.evaluation.source import ModelSource
from nowcast.evaluation.statistics.rain import RainScores
from nowcast.forecasting.forecaster import Forecaster
from nowcast.output.netcdf import write_forecast
from nowcast.readers.cf_netcdf import CfNetcdf
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Forecast
from nowcast.types.task import Task
from nowcast.types.transform import Identity
from tests.factories import LAEA, grid, times, write_archive

PLAN = EvaluationPlan(workers=0, cache=None, show=False)
TASK = Task(2, 3, 5)
RAIN = np.random.default_rng(5).gamma(0.5, 3, (8, 4, 6)).astype(np.float32)
SCORES = RainScores((0.5, 2.0))


@pytest.fixture
def archive(tmp_path):
    return Archive(write_archive(tmp_path / "observed.nc", RAIN, range(0, 40, 5)))


def write(folder, minute, values, *, on=None, step=5, leads=3):
    """A forecast of nowcast's own writing from the analysis time 2020-06-01 00:MM."""
    lead_times = np.arange(1, leads + 1) * np.timedelta64(60 * step, "s")
    path = folder / f"fc{minute:02d}.nc"
    write_forecast(
        Forecast(np.asarray(values, np.float32), times(minute)[0], lead_times, on or grid(4, 6)),
        path,
        attributes={},
    )
    return path


def write_foreign(
    path, values, minute, *, axis="ens_number", units="mm h-1", reference=True, south_first=True
):
    """An ensemble forecast as another system would write it: members first, y from south to north,
    seconds since the analysis time.
    """
    place, (members, leads) = grid(4, 6), values.shape[:2]
    with h5netcdf.File(path, "w") as file:
        file.dimensions = {axis: members, "time": leads, "y": 4, "x": 6}
        start = str(times(minute)[0]).replace("T", " ")
        clock = file.create_variable("time", ("time",), "i8", data=300 * np.arange(1, leads + 1))
        clock.attrs.update({"standard_name": "time", "units": f"seconds since {start}"})
        y = place.y[::-1] if south_first else place.y
        for name, data in (("y", y), ("x", place.x)):
            file.create_variable(name, (name,), "f8", data=data).attrs.update(
                {"standard_name": f"projection_{name}_coordinate", "units": "m"}
            )
        file.create_variable(axis, (axis,), "i4", data=np.arange(members))
        file.create_variable("laea", (), "i4").attrs.update({"proj4": LAEA})
        if reference:
            moment = file.create_variable("analysis", (), "i8", data=0)
            moment.attrs.update(
                {"standard_name": "forecast_reference_time", "units": f"seconds since {start}"}
            )
        rain = file.create_variable(
            "precip_intensity",
            (axis, "time", "y", "x"),
            "f4",
            data=values[:, :, ::-1] if south_first else values,
            fillvalue=np.float32(-9),
        )
        rain.attrs.update(
            {"standard_name": "rainfall_rate", "units": units, "grid_mapping": "laea"}
        )
    return path


def source(paths, archive, **options):
    return ForecastFiles(
        paths, archive, CfNetcdf(), **{"name": "theirs", "context_length": 2} | options
    )


def evaluated(source, baselines=None):
    settings = {
        "task": {
            "_target_": "nowcast.types.task.Task",
            "context_length": 2,
            "forecast_length": source.task.forecast_length,
            "timestep": 5,
        },
        "scores": {
            "_target_": "nowcast.evaluation.statistics.rain.RainScores",
            "thresholds": [0.5, 2.0],
        },
    }
    return evaluate(source, baselines or {}, SCORES, plan=PLAN, settings=settings)


class Windows(Cases):
    """The same cases as those of the files, for the model itself."""

    def __init__(self, starts):
        self.starts = starts

    def __len__(self):
        return len(self.starts)

    def case(self, epoch, index):
        return RAIN[self.starts[index] : self.starts[index] + 5]


def test_files_that_a_model_wrote_score_as_the_model_itself(tmp_path, archive):
    model = Forecaster(Persistence(), Identity(), TASK)
    paths = [
        write(tmp_path, 5 * last, np.repeat(RAIN[last : last + 1], 3, axis=0)) for last in (3, 1, 4)
    ]
    files = evaluated(source(paths, archive), {"persistence": model})
    settings = files.settings
    itself = evaluate(
        ModelSource({"theirs": model}, Windows([0, 2, 3]), forecast_length=3),
        {},
        SCORES,
        plan=PLAN,
        settings=settings,
    )
    assert files.cases == 3 and files.models == ["theirs", "persistence"]
    for name, array in itself.totals["theirs"].items():
        np.testing.assert_allclose(files.totals["theirs"][name].sum(0), array.sum(0), rtol=1e-12)
        np.testing.assert_array_equal(
            files.totals["persistence"][name], files.totals["theirs"][name]
        )


@pytest.mark.parametrize("reference", [True, False])
def test_an_ensemble_of_another_system_is_read_with_its_members_rows_and_times(
    tmp_path, archive, reference
):
    members = np.random.default_rng(1).gamma(0.5, 3, (4, 3, 4, 6)).astype(np.float32)
    members[1, 2, 0, 0] = np.nan
    path = write_foreign(
        tmp_path / "theirs.nc", np.where(np.isnan(members), -9, members), 15, reference=reference
    )
    batch = source([path], archive).batch([0], np.zeros(1, int))
    np.testing.assert_array_equal(batch.members["theirs"][0], members)
    np.testing.assert_allclose(
        batch.forecasts["theirs"][0], members.mean(0), rtol=1e-6
    )  # NaN where a member is missing
    np.testing.assert_array_equal(batch.context[0], RAIN[2:4])
    np.testing.assert_array_equal(batch.observation[0], RAIN[4:7])


def test_units_are_those_of_the_file(tmp_path, archive):
    path = write_foreign(
        tmp_path / "theirs.nc", np.full((1, 3, 4, 6), 1e-6, np.float32), 15, units="m s-1"
    )
    assert source([path], archive).batch([0], np.zeros(1, int)).forecasts[
        "theirs"
    ] == pytest.approx(3.6)


def test_a_lead_time_without_a_frame_is_not_observed_and_reported(tmp_path, archive):
    paths = [
        write(tmp_path, minute, np.ones((3, 4, 6))) for minute in (10, 30)
    ]  # the archive ends at 35 minutes
    files = source(paths, archive)
    assert files.left_out == [
        "in 1 of 2 forecasts some lead times have no frame in the archive; they count as not "
        "observed."
    ]
    assert evaluated(files).totals["theirs"]["pixels.pixels"].sum(0).tolist() == [48, 24, 24]


def test_a_forecast_that_nothing_was_observed_of_is_not_evaluated_and_reported(tmp_path, archive):
    paths = [write(tmp_path, minute, np.ones((3, 4, 6))) for minute in (10, 50)]
    files = source(paths, archive)
    assert files.count == 1 and files.left_out == [
        "1 of 2 forecasts have no observation at any lead time and are not evaluated."
    ]
    with pytest.raises(
        UserError,
        match="contains no frame for any lead time of the 1 forecasts: observations from "
        "2020-06-01T00:00:00",
    ):
        source(paths[1:], archive)


def test_context_that_the_archive_lacks_is_missing_for_the_baselines(tmp_path, archive):
    path = write(tmp_path, 0, np.ones((3, 4, 6)))
    batch = source([path], archive).batch([0], np.zeros(1, int))
    assert np.isnan(batch.context[0, 0]).all() and (batch.context[0, 1] == RAIN[0]).all()


def test_files_that_do_not_fit_are_refused_or_where_asked_for_left_out(tmp_path, archive):
    good = write(tmp_path, 10, np.ones((3, 4, 6)))
    elsewhere = write(tmp_path, 15, np.ones((3, 4, 6)), on=grid(4, 6, left=1000.0))
    (tmp_path / "text.nc").write_text("no NetCDF")
    with pytest.raises(
        UserError,
        match="lies on another grid than .*: x from 1500 to 6500 against 500|grid than .*"
        r"observed.nc: projection PROJCRS.* against \+proj=laea",
    ):
        source([good, elsewhere], archive)
    files = source([good, elsewhere, tmp_path / "text.nc"], archive, skip=True)
    assert files.count == 1 and files.left_out[0].startswith(
        "2 of 3 files were left out; the first: "
    )
    with pytest.raises(UserError, match="none of the 1 files can be read as a forecast; the first"):
        source([elsewhere], archive, skip=True)


def test_forecasts_of_other_lead_times_or_members_are_not_mixed(tmp_path, archive):
    first = write(tmp_path, 10, np.ones((3, 4, 6)))
    with pytest.raises(UserError, match="has leads 2, but .* has 3; evaluate them apart"):
        source([first, write(tmp_path, 15, np.ones((2, 4, 6)), leads=2)], archive)
    with pytest.raises(UserError, match="has timestep 10.0, but"):
        source([first, write(tmp_path, 15, np.ones((3, 4, 6)), step=10)], archive)
    with pytest.raises(UserError, match="has members 2, but"):
        source(
            [first, write_foreign(tmp_path / "b.nc", np.ones((2, 3, 4, 6), np.float32), 15)],
            archive,
        )
    with pytest.raises(
        UserError, match="are both forecasts of 2020-06-01T00:10:00 UTC; give those of one system"
    ):
        source(
            [first, write_foreign(tmp_path / "b.nc", np.ones((2, 3, 4, 6), np.float32), 10)],
            archive,
        )


def test_lead_times_that_are_not_equal_steps_are_refused(tmp_path, archive):
    path = tmp_path / "a.nc"
    write_forecast(
        Forecast(
            np.ones((2, 4, 6), np.float32),
            times(10)[0],
            np.array([300, 900], "timedelta64[s]"),
            grid(4, 6),
        ),
        path,
        attributes={},
    )
    with pytest.raises(
        UserError, match="has the lead times 5, 15 ... minutes; steps of one length"
    ):
        source([path], archive)


def test_an_analysis_time_that_cannot_be_told_or_is_too_late_is_refused(tmp_path, archive):
    path = write_foreign(tmp_path / "a.nc", np.ones((1, 1, 4, 6), np.float32), 10, reference=False)
    with pytest.raises(
        UserError, match="has neither a forecast_reference_time nor a second lead time"
    ):
        source([path], archive)
    path = write_foreign(tmp_path / "b.nc", np.ones((1, 3, 4, 6), np.float32), 10)
    with h5netcdf.File(path, "r+") as file:
        file["time"][:] = [0, 300, 600]
    with pytest.raises(
        UserError, match="not after its analysis time 2020-06-01T00:10:00 UTC; a forecast is needed"
    ):
        source([path], archive)


def test_several_fields_for_each_time_that_are_no_members_are_refused(tmp_path, archive):
    path = write_foreign(tmp_path / "a.nc", np.ones((2, 3, 4, 6), np.float32), 10, axis="height")
    with pytest.raises(
        UserError, match="has 2 fields along height for each time; a single one is needed"
    ):
        source([path], archive).batch([0], np.zeros(1, int))
