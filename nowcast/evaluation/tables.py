"""Scores of several models side by side, as tables for the terminal.

Rows carry the lead as the forecast step 1 to T; tables show minutes where ``lead_minutes`` (the
minutes of one step) is given, and frame numbers where it is None.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nowcast.evaluation.intervals import Estimate
from nowcast.evaluation.statistics.scores import ScoreRow, about, added_scores
from nowcast.evaluation.statistics.sums import ScoreKey, key_of
from nowcast.evaluation.titles import (
    AGGREGATED,
    at_most_three,
    best_models,
    digits,
    evenly,
    score_title,
    signed,
    thresholds_shown,
    unit_of,
    verdict,
)

if TYPE_CHECKING:
    from rich.table import Table

_TITLES = 46  # columns of the titles of scores with their direction
_FUNCTIONAL = 14  # columns of the number of a distribution that a score is of
_NARROWEST, _NARROW = 8, 12  # columns of a model that must at least, and need at most, be there
_SCORE_COLUMN = 13  # columns of a score in the tables with a line for each model
_MOST_LEADS = 5
_NAME = 13  # columns of a model's name that are never folded: that of "extrapolation"
_BY_LEAD = ("csi", "csi_mean", "correlation", "cross_entropy", "mse", "crps", "ssim")

Rows = dict[str, list[ScoreRow]]
"""Rows of every model, made with the same settings."""
_ByModel = dict[str, float]  # a score of every model that has it


def text_tables(
    rows_by_model: Rows, *, lead_minutes: float | None, pooled: bool = False, width: int = 80
) -> list["Table"]:
    """Tables for a terminal: all scores over all leads (where there are more models than fit beside
    each other, the main ones, a line for each model), and the main ones by lead time.

    Args:
        rows_by_model: the rows of every model, made with the same settings.
        lead_minutes: minutes of one step, None to count frames.
        pooled: whether scores over all leads are made from the sums of all leads, see
            ``Results.pooled``; else they are the mean of the leads.
        width: columns of the terminal, 80 or more.

    Returns:
        One by lead time after those over all leads, and last those of accumulations and boxes;
        ``*`` marks the best of several models.
    """
    unit = unit_of(lead_minutes)
    titles = _TITLES + (_FUNCTIONAL if _functionals(rows_by_model) else 0)
    side_by_side = sum(max(min(len(model), _NARROW), _NARROWEST) + 2 for model in rows_by_model)
    if titles + side_by_side <= width:
        over_all = [_overall_table(rows_by_model, unit, pooled)]
    else:
        over_all = _model_tables(rows_by_model, unit, pooled, width)
    by_lead = lead_table(rows_by_model, lead_minutes=lead_minutes)
    return [*over_all, by_lead, *aggregated_tables(rows_by_model, lead_minutes)]


def _new_table(title: str | None, caption: str | None) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    return Table(
        title=title, caption=caption, box=SIMPLE_HEAD, title_justify="left", caption_justify="left"
    )


def _escaped(model: str) -> str:
    """The name of a model, without markup."""
    from rich.markup import escape

    return escape(model)


def _values(rows_by_model: Rows) -> dict[tuple[ScoreKey, int | None], _ByModel]:
    """By score and lead, in the order of the rows."""
    values: dict[tuple[ScoreKey, int | None], _ByModel] = {}
    for model, rows in rows_by_model.items():
        for row in rows:
            values.setdefault((key_of(row), row.lead), {})[model] = row.value
    return values


def _over_all(rows_by_model: Rows) -> dict[ScoreKey, _ByModel]:
    """The values over all leads."""
    values = _values(rows_by_model)
    return {key: by_model for (key, lead), by_model in values.items() if lead is None}


def _functionals(rows_by_model: Rows) -> dict[str, str]:
    """By score, which number of their distribution the models that predict one are judged by; empty
    where none does.
    """
    found = {}
    for rows in rows_by_model.values():
        for row in rows:
            if row.functional not in ("", "field"):
                found[row.score] = row.functional
    return found if set(found.values()) - {"distribution"} else {}


def _over_all_title(rows_by_model: Rows, pooled: bool) -> str:
    """How the leads were taken together."""
    if pooled:
        return "Over all leads: from the counts of all leads together"
    summed = any(row.score == "cross_entropy" for rows in rows_by_model.values() for row in rows)
    return f"Over all leads: mean of the leads{' (cross-entropy: sum)' if summed else ''}"


def _explain_marks(table: "Table", more: str = "") -> None:
    """Say under a table what the marks in it mean."""
    undefined = any(digits(math.nan) in column.cells for column in table.columns)
    table.caption = "* best" + ("   – undefined: no event at some lead" if undefined else "") + more


def _marked(score: str, by_model: _ByModel, models: Rows) -> list[str]:
    """The values as text in the order of the models; the best, as it is printed, with a star."""
    best = best_models(score, by_model)
    texts = []
    for model in models:
        text = digits(by_model.get(model, math.nan))
        texts.append(f"[bold]{text}*[/bold]" if model in best else text)
    return texts


def _overall_table(rows_by_model: Rows, unit: str, pooled: bool) -> "Table":
    """All scores, a column for each model."""
    table = _new_table(_over_all_title(rows_by_model, pooled), None)
    table.add_column("score", no_wrap=True)
    table.add_column("better", no_wrap=True)
    functionals = _functionals(rows_by_model)
    if functionals:
        table.add_column("judged by", no_wrap=True)
    for model in rows_by_model:
        table.add_column(_escaped(model), justify="right", overflow="fold")
    previous = None
    for key, by_model in _over_all(rows_by_model).items():
        wide = (key.window or 1) > 1 and key.score not in ("csi", "fss", "fss_probability")
        if wide or key.is_aggregated or not about(key.score).shown:
            continue
        if previous not in (None, key.threshold):
            table.add_section()
        previous = key.threshold
        title = score_title(*key, unit=unit)
        about_score = [about(key.score).better]
        if functionals:
            about_score.append(functionals.get(key.score, ""))
        table.add_row(title, *about_score, *_marked(key.score, by_model, rows_by_model))
    _explain_marks(table)
    return table


def _model_tables(rows_by_model: Rows, unit: str, pooled: bool, width: int) -> list["Table"]:
    """The main scores over all leads, a line for each model, in as many tables as the width asks
    for.
    """
    values = _over_all(rows_by_model)
    keys = _main_keys(rows_by_model, values)
    names = min(max(map(len, rows_by_model)), width // 3)
    each = max(1, (width - names - 4) // _SCORE_COLUMN)
    tables = []
    for start in range(0, len(keys), each):
        title = None if start else _over_all_title(rows_by_model, pooled)
        table = _new_table(title, None)
        table.add_column("model", overflow="fold")
        columns = []
        for key in keys[start : start + each]:
            heading = score_title(*key, unit=unit)
            table.add_column(heading, justify="right", overflow="fold", min_width=8, max_width=11)
            columns.append(_marked(key.score, values[key], rows_by_model))
        for model, *texts in zip(rows_by_model, *columns):
            table.add_row(_escaped(model), *texts)
        tables.append(table)
    for table in tables[-1:]:
        _explain_marks(table, "   every score: scores.csv")
    return tables


def _main_keys(rows_by_model: Rows, values: dict[ScoreKey, _ByModel]) -> list[ScoreKey]:
    """The main scores pixel by pixel, and FSS of the widest window, at the main thresholds."""
    thresholds = [None, *thresholds_shown([row for rows in rows_by_model.values() for row in rows])]
    widest = max((key.window for key in values if key.score == "fss"), default=None)
    main = {*_BY_LEAD, "mae", *added_scores()}
    keys = []
    for key in values:
        of_pixels = key.is_of_pixels and key.score in main
        of_widest = key.score == "fss" and key.window == widest
        if key.threshold in thresholds and (of_pixels or of_widest):
            keys.append(key)
    return keys


def lead_table(
    rows_by_model: Rows,
    *,
    lead_minutes: float | None,
    scores: Sequence[str] = _BY_LEAD,
    thresholds: Sequence[float] | None = None,
    over_all: bool = False,
) -> "Table":
    """The main scores by lead time, a line for each model.

    Args:
        rows_by_model: the rows of every model, made with the same settings.
        lead_minutes: minutes of one step, None to count frames.
        scores: names of the scores, in the order of the table.
        thresholds: of the events; None: the lowest, a middle and the highest that had some.
        over_all: whether the last column has the value over all leads.
    """
    values = _values(rows_by_model)
    all_rows = [row for rows in rows_by_model.values() for row in rows]
    steps = sorted({row.lead for row in all_rows if row.lead is not None})
    steps = [steps[i] for i in evenly(len(steps), _MOST_LEADS)]
    columns: list[int | None] = [*steps, None] if over_all else list(steps)
    title = "By frame" if lead_minutes is None else "By lead time, in minutes"
    table = _new_table(title, None)
    table.add_column("score", no_wrap=True)
    longest = min(max(map(len, rows_by_model)), _NAME)
    table.add_column("model", overflow="fold", min_width=longest)
    for step in steps:
        heading = f"{step}" if lead_minutes is None else f"+{step * lead_minutes:g}"
        table.add_column(heading, justify="right", no_wrap=True)
    if over_all:
        table.add_column("all leads", justify="right", no_wrap=True)
    if thresholds is None:
        thresholds = thresholds_shown(all_rows)
    order = [*scores, *added_scores()]
    keys = {
        key: None
        for key, _ in values
        if key.score in order and key.threshold in (None, *thresholds) and key.is_of_pixels
    }
    for key in sorted(keys, key=lambda key: (order.index(key.score), key.threshold or 0)):
        found = [_marked(key.score, values.get((key, step), {}), rows_by_model) for step in columns]
        title = score_title(key.score, key.threshold, unit=unit_of(lead_minutes))
        for model, *texts in zip(rows_by_model, *found):
            table.add_row(title, _escaped(model), *texts)
            title = ""  # once for all models
        table.add_section()
    _explain_marks(table)
    return table


def aggregated_tables(rows_by_model: Rows, lead_minutes: float | None) -> list["Table"]:
    """The main scores of each accumulation, and of mean rates in boxes over all leads: a line for
    each model, a column for each size of boxes.

    Args:
        rows_by_model: the rows of every model, made with the same settings.
        lead_minutes: minutes of one step, None to count frames.
    """
    by_minutes: dict[float | None, dict[ScoreKey, _ByModel]] = {}
    for (key, lead), by_model in _values(rows_by_model).items():
        if key.is_aggregated and key.score in AGGREGATED and (key.accumulation or lead is None):
            by_minutes.setdefault(key.accumulation, {})[key] = by_model
    order = sorted(by_minutes, key=lambda minutes: (minutes is None, minutes))
    unit = unit_of(lead_minutes)
    return [
        _aggregated_table(by_minutes[minutes], minutes, rows_by_model, unit) for minutes in order
    ]


def _aggregated_table(
    values: dict[ScoreKey, _ByModel], minutes: float | None, models: Rows, unit: str
) -> "Table":
    """Of one accumulation [mm], or of rates in boxes."""
    title = "Mean rates in boxes, over all leads: mean of the leads"
    if minutes is not None:
        title = f"Accumulations of the first {minutes:g} minutes, in mm"
    table = _new_table(title, None)
    table.add_column("score", no_wrap=True)
    table.add_column("model", overflow="fold", min_width=min(max(map(len, models)), _NAME))
    boxes = list(dict.fromkeys(key.box for key in values))
    for box in boxes:
        heading = "pixels" if box is None else f"{box:g} km boxes"
        table.add_column(heading, justify="right", no_wrap=True)
    defined = {
        key.threshold
        for key, by_model in values.items()
        if not all(map(math.isnan, by_model.values()))
    }
    thresholds = [None, *at_most_three(sorted(defined - {None}))]
    wanted = dict.fromkeys(key[:2] for key in values if key.threshold in thresholds)
    for score, threshold in sorted(wanted, key=lambda one: (AGGREGATED.index(one[0]), one[1] or 0)):
        keys = [ScoreKey(score, threshold, box=box, accumulation=minutes) for box in boxes]
        by_box = [values.get(key, {}) for key in keys]
        columns = [_marked(score, by_model, models) for by_model in by_box]
        title = score_title(score, threshold, unit=unit if minutes is None else "mm")
        for model, *texts in zip(models, *columns):
            if any(model in by_model for by_model in by_box):  # a single field has no spread
                table.add_row(title, _escaped(model), *texts)
                title = ""  # once for all models
        table.add_section()
    _explain_marks(table)
    return table


def difference_table(
    model: str, by_baseline: dict[str, dict[ScoreKey, Estimate]], *, lead_minutes: float | None
) -> "Table":
    """The main scores' paired differences over all leads, with intervals and what they say.

    Args:
        model: name of the model.
        by_baseline: its differences from every baseline.
        lead_minutes: minutes of one step, None to count frames.
    """
    table = _new_table(
        f"{_escaped(model)} minus the baseline, over all leads",
        "better, worse: the interval leaves out 0   open: it does not",
    )
    table.add_column("score")
    longest = min(max(map(len, by_baseline)), _NAME)
    table.add_column("baseline", overflow="fold", min_width=longest)
    for heading in ("difference", "interval", "means"):
        table.add_column(heading, justify="left" if heading == "means" else "right", no_wrap=True)
    shown = (*_BY_LEAD, "fss", "mae", *added_scores())
    for key in next(iter(by_baseline.values())):
        of_sums = key.accumulation is not None and key.threshold is None and key.score in AGGREGATED
        if not of_sums and (key.score not in shown or not key.is_of_pixels):
            continue
        title = score_title(*key, unit=unit_of(lead_minutes))
        for baseline, found in by_baseline.items():
            if key in found or not key.is_aggregated:  # single members have no sums
                table.add_row(title, _escaped(baseline), *_difference(key, found.get(key)))
                title = ""  # once for all baselines
        table.add_section()
    return table


def _difference(key: ScoreKey, estimate: Estimate | None) -> tuple[str, str, str]:
    """The difference over all leads, its interval, and what it means."""
    if estimate is None or math.isnan(estimate.value[-1]):
        return "–", "", ""
    value, low, high = estimate.value[-1], estimate.low[-1], estimate.high[-1]
    interval = "" if math.isnan(low) else f"{signed(low)} to {signed(high)}"
    return signed(value), interval, verdict(key, estimate)
