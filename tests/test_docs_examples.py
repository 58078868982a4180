"""The examples of the documentation run, and what they make is what they say."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from nowcast.forecasting.forecaster import Forecaster

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"


def example(name: str):
    """An example as a module."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_members_are_blended_by_pysteps_with_a_numerical_forecast(capsys):
    pytest.importorskip("pysteps")
    blending = example("blending_with_pysteps")
    forecaster = Forecaster.load("shipped")
    frames = blending.observed_frames(forecaster.task.context_length, size=64)
    numerical = blending.numerical_forecast(frames, steps=4)
    ensemble = blending.blended(frames, forecaster, numerical, members=2)
    assert ensemble.dims == ("realization", "time", "y", "x") and ensemble.shape == (2, 4, 64, 64)
    assert ensemble.attrs["units"] == "mm h-1" and "forecast_reference_time" in ensemble.coords
    values = ensemble.values
    assert np.isfinite(values).all() and values.min() == 0 and 1 < values.max() < 100
    assert not np.array_equal(values[0], values[1])

    def distance(one, other):
        return float(np.nanmean(np.abs(one - other)))

    nowcast = forecaster(frames, 4, members=2).members
    assert distance(values[:, 0], nowcast[:, 0]) < distance(values[:, 0], numerical[1])
    assert distance(nowcast[:, 0], numerical[1]) > distance(values[:, 0], numerical[1])
