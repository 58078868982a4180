"""A day of radar through the watch with a fault in one frame of six: every cycle has a status, the
documented outcome, and the next one is whole.
"""

import json

import numpy as np
import pytest
from factories import grid, shared_data, times

from nowcast.baselines.persistence import Persistence
from nowcast.forecasting.forecaster import Forecaster
from nowcast.forecasting.replay import FAULTS, Cycle, replay, table
from nowcast.output.netcdf import read_forecast
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Frames
from nowcast.types.task import Task
from nowcast.types.transform import Identity


def made_up(count):
    """Rain that wanders to the right over a field whose left edge is never observed."""
    field = np.zeros((24, 30), np.float32)
    field[8:14, 4:10] = np.arange(1, 7)[:, None]
    values = np.stack([np.roll(field, 1 + index % 20, axis=1) for index in range(count)])
    values[:, :, 0] = np.nan
    return Frames(values, times(*range(0, 5 * count, 5)), grid(24, 30))


def judged(frames, tmp_path, context_length=4):
    records = []
    forecaster = Forecaster(Persistence(), Identity(), Task(context_length, 3, 5))
    return replay(frames, forecaster, tmp_path / "out", on_record=records.append), records


def test_every_kind_of_fault_has_its_documented_outcome_and_the_next_cycle_is_a_forecast(tmp_path):
    frames = made_up(4 + 6 * len(FAULTS) + 1)
    cycles, records = judged(frames, tmp_path)
    assert [cycle.fault for cycle in cycles if cycle.fault] == list(FAULTS)
    assert [(cycle.fault, cycle.outcomes) for cycle in cycles if not cycle.as_documented] == []
    for before, cycle in zip(cycles, cycles[1:]):
        assert before.fault is None or (cycle.fault is None and cycle.outcomes == ("forecast",))
    statuses = {record["analysis_time"] for record in records}
    assert {f"{cycle.time}Z" for cycle in cycles} <= statuses
    logged = [
        json.loads(text)["analysis_time"]
        for text in (tmp_path / "out" / "status.jsonl").read_text().splitlines()
    ]
    assert logged == [record["analysis_time"] for record in records]


def test_no_forecast_of_a_replay_is_dry_where_nothing_was_observed(tmp_path):
    cycles, _ = judged(made_up(40), tmp_path)
    forecasts = [read_forecast(path) for path in sorted((tmp_path / "out").glob("forecast_*.nc"))]
    assert len(forecasts) >= len(cycles)
    assert all(
        np.isnan(forecast.values[:, :, 0]).all() and (forecast.values[:, 10, 1:] > 0).any()
        for forecast in forecasts
    )


def test_a_replay_without_faults_is_all_forecasts(tmp_path):
    forecaster = Forecaster(Persistence(), Identity(), Task(2, 3, 5))
    cycles = replay(made_up(9), forecaster, tmp_path / "out", every=0)
    assert [cycle.outcomes for cycle in cycles] == [("forecast",)] * 7


def test_an_archived_frame_that_nobody_observed_is_expected_to_be_a_fallback(tmp_path):
    frames = made_up(16)
    values = frames.values.copy()
    values[[9, 12]] = np.nan
    cycles, _ = judged(Frames(values, frames.times, frames.grid), tmp_path)
    assert (
        all(cycle.as_documented for cycle in cycles)
        and [cycle.outcomes for cycle in cycles].count(("fallback",)) >= 2
    )


def test_a_field_one_column_wide_can_be_replayed_with_every_fault(tmp_path):
    frames = made_up(4 + 2 * len(FAULTS) + 1)
    forecaster = Forecaster(Persistence(), Identity(), Task(4, 3, 5))
    column = Frames(
        frames.values[:, :, 5:6],
        frames.times,
        type(frames.grid)(frames.grid.crs, frames.grid.x[5:6], frames.grid.y),
    )
    cycles = replay(column, forecaster, tmp_path / "out", every=2)
    assert [cycle.fault for cycle in cycles if cycle.fault] == list(FAULTS)
    assert all(cycle.as_documented for cycle in cycles if cycle.fault == "other grid")


def test_real_frames_of_a_day_with_faults(tmp_path):
    from nowcast.data.inputs import read_frames
    from nowcast.readers.knmi_hdf5 import KnmiHdf5

    paths = sorted((shared_data() / "radar/knmi/20100826").glob("*.h5"))[:18]
    frames = read_frames(paths, reader=KnmiHdf5())
    cut = Frames(
        frames.values[:, 200:260, 300:370],
        frames.times,
        type(frames.grid)(frames.grid.crs, frames.grid.x[300:370], frames.grid.y[200:260]),
    )
    cycles, _ = judged(cut, tmp_path)
    assert [cycle.fault for cycle in cycles if cycle.fault] == ["missing", "late"] and all(
        cycle.as_documented for cycle in cycles
    )


def test_the_table_counts_cycles_by_fault():
    from rich.console import Console

    at = times(0)[0]
    cycles = [
        Cycle(at, None, ("forecast",), ("forecast",), ()),
        Cycle(at, "missing", ("fallback",), ("none",), ()),
        Cycle(at, None, ("forecast",), ("forecast",), ()),
    ]
    with (console := Console(width=120)).capture() as text:
        console.print(table(cycles))
    lines = [line.split("│")[1:-1] for line in text.get().splitlines() if "│" in line]
    assert [[cell.strip() for cell in line] for line in lines] == [
        ["none", "2", "forecast", "2 of 2", "–"],
        ["missing", "1", "fallback", "0 of 1", "1 of 1"],
    ]


def test_what_cannot_be_replayed_is_refused(tmp_path):
    forecaster = Forecaster(Persistence(), Identity(), Task(4, 3, 5))
    with pytest.raises(UserError, match="expected more than 4 frames, all 5 minutes apart, got 4"):
        replay(made_up(4), forecaster, tmp_path / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x").touch()
    with pytest.raises(UserError, match="out is not empty; a replay needs a folder of its own"):
        replay(made_up(9), forecaster, tmp_path / "out")
