"""The picture of the demonstration: what was seen, what came, and what each forecast said."""

from pathlib import Path

import numpy as np

from nowcast.demo.forecasting import OWN, Demonstration, full_name
from nowcast.demo.hour import PLACE, SOURCE
from nowcast.drawing.comparison import Comparison, comparison_picture
from nowcast.drawing.maps import clock_text, minutes_text
from nowcast.evaluation.statistics.sums import Values
from nowcast.evaluation.titles import best_models, digits, evenly

_LEADS = 4  # that are drawn
_THRESHOLD = 1.0  # mm/h, of the score in the corners


def draw(demonstration: Demonstration, path: Path) -> None:
    """Draw it as a PNG file."""
    forecast, came = demonstration.products.forecast, demonstration.came
    shown = evenly(len(came), _LEADS)
    fields = {OWN: forecast.values, **demonstration.others}
    values = _scores(demonstration, list(fields))
    labels = [f"seen\n{clock_text(forecast.analysis_time)}"]
    for lead in shown:
        minutes = minutes_text(forecast.lead_times[lead])
        labels.append(f"{minutes}\n{clock_text(came.times[lead])}")
    best = []
    for lead in shown:
        of_lead = {name: float(of_name[lead]) for name, of_name in values.items()}
        best.append({full_name(name, between="\n") for name in best_models("csi", of_lead)})
    compared = Comparison(
        seen=demonstration.context.values[-1],
        came=came.values[shown],
        forecasts={
            full_name(name, between="\n"): of_name[shown] for name, of_name in fields.items()
        },
        grid=forecast.grid,
        labels=labels,
        captions={
            full_name(name, between="\n"): [f"CSI {digits(of_name[lead])}" for lead in shown]
            for name, of_name in values.items()
        },
        best=best,
        below=_below(demonstration, list(fields)),
    )
    day = np.datetime64(forecast.analysis_time, "D").item()
    comparison_picture(
        compared,
        path,
        title=f"An hour of radar over {PLACE}, and what three forecasts made of it",
        subtitle=f"{day.day} {day:%B %Y}. Above: what came. Below: forecasts from what was seen "
        f"until {clock_text(forecast.analysis_time)}, with their CSI at {_THRESHOLD:g} mm/h "
        "(1 is perfect; the best is bold)",
        note=f"Data: {SOURCE}. Coastlines and borders: GSHHG. Made by: nowcast demo",
    )


def _below(demonstration: Demonstration, names: list[str]) -> dict[str, str]:
    """Scores over all leads, in words below the name of each forecast."""
    found = {}
    for name in names:
        values = demonstration.results.values(name)
        csi, error = _of(values, "csi", _THRESHOLD)[-1], _of(values, "mae", None)[-1]
        lines = f"CSI {digits(float(csi))}\nMAE {digits(float(error))} mm/h"
        found[full_name(name, between="\n")] = lines
    return found


def _of(values: Values, score: str, threshold: float | None) -> np.ndarray:
    """A score pixel by pixel, by lead and over all, (T + 1,)."""
    key = next(key for key in values if key[:2] == (score, threshold) and key.is_of_pixels)
    return values[key]


def _scores(demonstration: Demonstration, names: list[str]) -> dict[str, np.ndarray]:
    """The score in the corners by forecast, (T,)."""
    results = demonstration.results
    return {name: _of(results.values(name), "csi", _THRESHOLD)[:-1] for name in names}
