"""Frames and forecasts in a few lines, as a notebook or a debugger shows them: what they are, not
their millions of values.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from nowcast.types.functional import in_words

_MINUTE = np.timedelta64(60, "s")
_NAME = 13  # columns of the names


def of_frames(frames: Any) -> str:
    """``nowcast.types.frames.Frames`` in lines: how many, of which times, on which grid."""
    entries = {
        "times": _period(frames.times),
        "grid": frames.grid.describe(),
        "quantity": frames.quantity,
    }
    if frames.source:
        entries["source"] = frames.source
    return _in_lines(f"<Frames: {len(frames)} fields of rain rate [mm/h]>", entries)


def of_forecast(forecast: Any) -> str:
    """``nowcast.types.frames.Forecast`` in lines: from when, how far, what comes with it."""
    entries = {
        "analysis time": f"{forecast.analysis_time} UTC",
        "lead times": _span(forecast.lead_times / _MINUTE),
        "grid": forecast.grid.describe(),
    }
    if forecast.point:
        entries["values"] = in_words(forecast.point)
    if forecast.members is not None:
        entries["members"] = str(len(forecast.members))
    if forecast.probability is not None:
        thresholds = ", ".join(f"{threshold:g}" for threshold in forecast.thresholds)
        entries["probability"] = f"of {thresholds} mm/h or more"
    count = len(forecast.lead_times)
    return _in_lines(f"<Forecast: {count} fields of rain rate [mm/h]>", entries)


def _in_lines(heading: str, entries: Mapping[str, str]) -> str:
    lines = [f"  {name:{_NAME}} {text}" for name, text in entries.items()]
    return "\n".join([heading, *lines])


def _period(times: np.ndarray) -> str:
    """The first and the last time, and the usual step between two."""
    if times.size < 2:
        return "none" if not times.size else f"{times[0]} UTC"
    steps, counts = np.unique(np.diff(times), return_counts=True)
    usual = f"every {steps[counts.argmax()] / _MINUTE:g} min"
    if len(steps) > 1:
        usual += ", with gaps or odd times"
    return f"{times[0]} to {times[-1]} UTC, {usual}"


def _span(minutes: np.ndarray) -> str:
    if minutes.size < 2:
        return "none" if not minutes.size else f"{minutes[0]:g} min"
    return f"{minutes[0]:g} to {minutes[-1]:g} min"
