"""Tables and charts of scores."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from markupsafe import Markup

from nowcast.evaluation.intervals import Estimate
from nowcast.evaluation.statistics.scores import about
from nowcast.evaluation.statistics.sums import ScoreKey
from nowcast.evaluation.summary_scores import SummaryScores
from nowcast.evaluation.titles import best_models, direction, number, outcome, signed
from nowcast.report import axes, charts
from nowcast.report.charts import Line, Plot
from nowcast.report.document import Cell, Figure, Legend, Table

MARKS = {"not significant": "open", "no interval": "unknown"}
"""Classes of the page for outcomes that are not called like their class."""
_RULES = {"near 1": (1.0,), "near 0": (0.0,)}  # lines at the best value
_SIGNS = {"higher": 1, "lower": -1}


def legend(
    scores: SummaryScores, models: Sequence[str] | None = None, *, reference: str = ""
) -> Legend:
    """Which line is whose, of some models or of all."""
    entries = [(charts.swatch(charts.REFERENCE), reference)] if reference else []
    for model in scores.results.models if models is None else models:
        entries.append((charts.swatch(series_number(scores, model)), model))
    return Legend(entries)


def series_number(scores: SummaryScores, model: str) -> int:
    """Of the series of a model, which gives its colour everywhere in the report."""
    return scores.results.models.index(model)


def value_cell(estimate: Estimate, lead: int, mark: str = "") -> Cell:
    """A score at a lead, with its interval."""
    return Cell(number(estimate.value[lead]), _interval(estimate, lead, number), mark)


def _interval(estimate: Estimate, lead: int, form: Callable[[float], str]) -> str:
    """0.1 to 0.2; empty where there is none."""
    low, high = float(estimate.low[lead]), float(estimate.high[lead])
    return "" if math.isnan(low) else f"{form(low)} to {form(high)}"


def values_table(
    scores: SummaryScores, keys: Sequence[ScoreKey], lead: int, caption: str, folded: bool = False
) -> Table:
    """Scores by model at a lead; the best are marked."""
    models = scores.results.models
    rows = []
    for key in keys:
        found = {model: scores.estimates[model][key] for model in scores.models_with(key)}
        values = {model: float(estimate.value[lead]) for model, estimate in found.items()}
        marks = dict.fromkeys(best_models(key.score, values), "best")
        cells = dict.fromkeys(models, "")
        for model, estimate in found.items():
            cells[model] = value_cell(estimate, lead, marks.get(model, ""))
        rows.append([Cell(scores.title(key), direction(key.score)), *cells.values()])
    return Table(caption, ["score", *models], rows, folded)


def curve(scores: SummaryScores, key: ScoreKey) -> Figure:
    """A score by lead time."""
    minutes = np.arange(1, scores.leads + 1) * (scores.lead_minutes or 1.0)
    lines = []
    for model in scores.models_with(key):
        estimate = scores.estimates[model][key]
        ends = np.array([estimate.value, estimate.low, estimate.high])[:, :-1]
        ends = np.where(np.isfinite(ends), ends, np.nan)
        lines.append(Line(model, series_number(scores, model), minutes, *ends))
    floor = ScoreKey("cross_entropy_floor")
    if key.score == "cross_entropy" and floor in scores.keys:
        # what a perfect forecast costs: the observation has noise of its own
        values = scores.estimates[scores.results.models[0]][floor].value[:-1]
        lines.append(Line("perfect forecast", charts.REFERENCE, minutes, values))
    rules = _RULES.get(about(key.score).better, ())
    title = scores.title(key)
    label = "frame" if scores.lead_minutes is None else "lead time [min]"
    chart = charts.lines_chart(
        title,
        lines,
        x=axes.steps(minutes, [f"{value:g}" for value in minutes], label),
        y=axes.around(_range(lines), "", zero=key.score != "psnr", including=rules),
        x_labels=[scores.lead_text(lead) for lead in range(scores.leads)],
        rules=rules,
    )
    return Figure(title, chart, _lead_table(scores, key, title), direction(key.score))


def _lead_table(scores: SummaryScores, key: ScoreKey, caption: str) -> Table:
    """A score by lead time and model."""
    models = scores.models_with(key)
    rows = []
    for lead in range(scores.leads + 1):
        cells = [value_cell(scores.estimates[model][key], lead) for model in models]
        rows.append([scores.lead_text(lead), *cells])
    # a mean of leads is another number than a score of all counts together
    rows[-1][0] = f"all leads ({scores.over_all_leads(key.score)})"
    return Table(caption, ["lead", *models], rows, folded=True)


def _range(lines: Sequence[Line]) -> np.ndarray:
    """Values that an axis must show: all lines, and of their intervals what is not far beyond."""
    values = np.concatenate([line.y for line in lines])
    values = values[np.isfinite(values)]
    if not values.size:
        return values
    low, high = values.min(), values.max()
    # an interval ten times as wide as all values would make them one line
    room = max(high - low, abs(high), 1e-12)
    ends = [[line.low, line.high] for line in lines if line.low is not None]
    ends = np.ravel(ends) if ends else values
    return np.concatenate([values, np.clip(ends[np.isfinite(ends)], low - room, high + room)])


def points_figure(
    title: str,
    plot: Plot,
    parts: Sequence[Markup],
    columns: list[str],
    rows: list[list],
    kind: str = "",
) -> Figure:
    """Paths of points over two axes that are no time, with their numbers.

    Args:
        title: of the figure.
        plot: its axes.
        parts: what is drawn, see ``charts.points``.
        columns: headings of the table.
        rows: of the table.
        kind: of chart, for the description.
    """
    description = f"{kind}{title}; the numbers are in the table below."
    svg = plot.draw(*parts, description=description)
    return Figure(title, svg, Table(title, columns, rows, folded=True))


def values_of_lines(
    caption: str, heading: str, x_labels: Sequence[str], lines: Sequence[Line], form=number
) -> Table:
    """The numbers of lines over one axis."""
    rows = []
    for k, label in enumerate(x_labels):
        rows.append([label, *(form(line.y[k]) for line in lines)])
    return Table(caption, [heading, *(line.name for line in lines)], rows, folded=True)


def difference_cell(key: ScoreKey, estimate: Estimate, lead: int, reach: float) -> Cell:
    """A difference with its interval as a picture and as numbers.

    Args:
        key: of the score.
        estimate: of the difference.
        lead: its index.
        reach: the largest difference of the row.
    """
    value, low, high = (float(ends[lead]) for ends in (estimate.value, estimate.low, estimate.high))
    if math.isnan(value):
        return Cell("undefined", "no event")
    word = outcome(key, estimate, lead)
    mark = "" if word == "no interval" else MARKS.get(word, word)
    between = _interval(estimate, lead, signed)
    sign = _SIGNS.get(about(key.score).better)
    if sign is None:
        return Cell(signed(value), between, mark)
    ends = sorted((sign * low, sign * high))
    picture = charts.interval_picture(sign * value, *ends, reach=reach, mark=mark or "open")
    return Cell(signed(value), between, mark, picture)
