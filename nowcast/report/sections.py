"""The sections with charts of scores by lead, by threshold and scale, by event, and of the
training.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from nowcast.evaluation.statistics.scores import about, added_scores
from nowcast.evaluation.statistics.sums import ScoreKey, Values
from nowcast.evaluation.summary_scores import SummaryScores
from nowcast.evaluation.titles import best_models, number
from nowcast.report import axes, charts, scoring
from nowcast.report.charts import Line
from nowcast.report.document import (
    Cell,
    Figure,
    Figures,
    Legend,
    Section,
    Tab,
    Table,
    Tables,
    Tabs,
    Words,
    soft,
)
from nowcast.report.runs import Run

_OF_EVENTS = ("csi", "pod", "far", "frequency_bias", "hss")
_OF_ERRORS = (
    "csi_mean",
    "cross_entropy",
    "mae",
    "mse",
    "correlation",
    "mean_error",
    "b_mae",
    "b_mse",
)
_OF_STRUCTURE = ("ssim", "ssim_range2", "psnr", "sal_structure", "sal_amplitude", "sal_location")
_OF_SCALES = {"fss": "FSS", "fss_probability": "FSS of the probability", "csi": "CSI"}
_MOST_EVENTS = 400  # a table of ten years' days would make the file too large
_LARGE_RANGE = 20  # largest over smallest loss from which the axis is logarithmic


def curves(scores: SummaryScores) -> Section | None:
    """Scores by lead, for each threshold and of the whole field."""
    tabs = []
    wanted = []
    for score in (*_OF_ERRORS, *_OF_STRUCTURE):
        wanted += [ScoreKey(score), ScoreKey(score, None, 1)]
    added = added_scores()
    wanted += [key for key in scores.keys if key.score in added]
    _add_curves(tabs, "Whole field", scores, wanted)
    events = [key for key in scores.keys if key.score == "csi" and key.window == 1]
    for threshold in sorted({key.threshold for key in events}):
        wanted = [ScoreKey(score, threshold, 1) for score in _OF_EVENTS]
        _add_curves(tabs, scores.threshold_text(threshold), scores, wanted)
    if not tabs:
        return None
    bands = "There is one block of cases: no intervals."
    if scores.results.has_intervals:
        bands = f"Bands are {100 * scores.results.resampling.level:g} % intervals."
    has_floor = ScoreKey("cross_entropy_floor") in scores.keys
    items = [
        scoring.legend(scores, reference="perfect forecast" if has_floor else ""),
        soft(bands, "Point at a chart to read its numbers."),
        Tabs("Threshold", tabs),
    ]
    return Section("leads", "By lead time", items)


def _add_curves(
    tabs: list[Tab], name: str, scores: SummaryScores, wanted: Sequence[ScoreKey]
) -> None:
    """Add a tab with those of the curves that there are, if any."""
    figures = [scoring.curve(scores, key) for key in scores.known(wanted)]
    if figures:
        tabs.append(Tab(name, [Figures(figures)]))


def scales(scores: SummaryScores) -> Section | None:
    """FSS by neighbourhood, and CSI of the largest values of blocks, by threshold and width."""
    tabs = []
    for score, name in _OF_SCALES.items():
        of_score = [key for key in scores.keys if key.score == score and key.window]
        widths = sorted({key.window for key in of_score})
        thresholds = sorted({key.threshold for key in of_score if key.threshold is not None})
        # CSI by pixels alone is shown elsewhere
        if len(widths) < (2 if score == "csi" else 1) or not thresholds:
            continue
        models = scores.models_with(ScoreKey(score, thresholds[0], widths[0]))
        for scope, lead in scores.scopes:
            tables = []
            for model in models:
                caption = f"{model}: {name} {scope}"
                tables.append(_scale_table(scores, score, model, thresholds, widths, lead, caption))
            tabs.append(Tab(f"{name} {scope}", [Tables(tables)]))
    if not tabs:
        return None
    words = [
        "Wider neighbourhoods forgive misplaced rain: FSS compares the shares of events in them, "
        "CSI the largest value of each block."
    ]
    if any(key.score == "fss" for key in scores.keys):
        words.append(
            "A tick marks an FSS that reaches the useful one, halfway between a random forecast "
            "and a perfect one."
        )
    return Section("scales", "By threshold and scale", [soft(*words), Tabs("Score", tabs)])


def _scale_table(
    scores: SummaryScores,
    score: str,
    model: str,
    thresholds: Sequence[float],
    widths: Sequence[int],
    lead: int,
    caption: str,
) -> Table:
    estimates = scores.estimates[model]
    rows = []
    for threshold in thresholds:
        useful = math.nan
        if score != "csi" and ScoreKey("fss_useful", threshold) in estimates:
            useful = float(estimates[ScoreKey("fss_useful", threshold)].value[lead])
        row = [scores.threshold_text(threshold)]
        for width in widths:
            estimate = estimates.get(ScoreKey(score, threshold, width))
            row.append("" if estimate is None else _scale_cell(float(estimate.value[lead]), useful))
        if score != "csi":
            row.append(number(useful))
        rows.append(row)
    columns = ["threshold", *(f"{width} px" for width in widths)]
    if score != "csi":
        columns.append("useful from")
    return Table(caption, columns, rows)


def _scale_cell(value: float, useful: float) -> Cell:
    """A value in the shade of its size, with a tick where it reaches the useful one."""
    marks = []
    if not math.isnan(value):
        marks.append(f"h{round(10 * min(max(value, 0), 1))}")
    if value >= useful:  # never where either is undefined
        return Cell(number(value), "✓", " ".join([*marks, "useful"]))
    return Cell(number(value), "", " ".join(marks))


def by_event(scores: SummaryScores) -> Section | None:
    """The main scores of each event, and in how many of them an own model is the better one."""
    results = scores.results
    if len(results.events) < 2:  # of one, the summary has said it all
        return None
    events = {event: results.of_event(event) for event in results.events[:_MOST_EVENTS]}
    values: dict[str, dict[str, Values]] = {}
    for model in results.models:
        values[model] = {event: found.values(model) for event, found in events.items()}
    cases = {event: str(found.cases) for event, found in events.items()}
    tabs = []
    for key in scores.main:
        won = Words(_wins(scores, key, values), "list")
        table = _event_table(scores, key, cases, values)
        tabs.append(Tab(scores.short_title(key), [won, table]))
    words = [
        "How often a model is the better one says more about other events than how large the "
        "mean difference is."
    ]
    if len(results.events) > len(events):
        words.append(f"The first {len(events)} of {len(results.events)} events are shown.")
    return Section("events", "By event", [soft(*words), Tabs("Score", tabs)])


def _event_table(
    scores: SummaryScores,
    key: ScoreKey,
    cases: dict[str, str],
    values: dict[str, dict[str, Values]],
) -> Table:
    models = scores.results.models
    rows = []
    for event, count in cases.items():
        found = {model: float(values[model][event][key][-1]) for model in scores.models_with(key)}
        marks = dict.fromkeys(best_models(key.score, found), "best")
        cells = dict.fromkeys(models, "")  # empty where a model has no such score
        for model, value in found.items():
            cells[model] = Cell(number(value), "", marks.get(model, ""))
        rows.append([event, count, *cells.values()])
    caption = f"{scores.title(key)} of each event, over all leads"
    return Table(caption, ["event", "cases", *models], rows)


def _wins(scores: SummaryScores, key: ScoreKey, values: dict[str, dict[str, Values]]) -> list[str]:
    """Nowcast is better than persistence in 7 of 9 events."""
    found = []
    sign = 1 if about(key.score).better == "higher" else -1
    of_model = {}
    for model in scores.models_with(key):
        of_model[model] = np.array([float(of[key][-1]) for of in values[model].values()])
    for model in scores.own_models:
        for other in scores.opponents(model):
            events, known, better = 0, 0, 0
            if model in of_model and other in of_model:
                pair = np.array([of_model[model], of_model[other]])
                # an event in which a score is undefined is no win of either
                events, pair = pair.shape[1], pair[:, np.isfinite(pair).all(0)]
                known, better = pair.shape[1], int((sign * pair[0] > sign * pair[1]).sum())
            sentence = f"{model} is better than {other} in {better} of {known} events"
            if known < events:
                sentence += f"; in {events - known} the score is undefined"
            found.append(f"{sentence}.")
    return found


def training(runs: Sequence[Run]) -> Section | None:
    """Losses by epoch of the runs that were trained."""
    figures = []
    for run in runs:
        history = run.training
        if history is None:
            continue
        of = f", {run.name}" if len(runs) > 1 else ""
        epochs = history.epochs.astype(np.float64)
        losses = [
            Line("training", 0, epochs, history.train_loss),
            Line("validation", 1, epochs, history.validation_loss),
        ]
        figures.append(_epochs_figure(f"Loss by epoch{of}", losses, np.nanargmin))
        if np.isfinite(history.validation_csi).any():
            csi = [Line("validation CSI", 1, epochs, history.validation_csi)]
            title = f"CSI of the validation by epoch{of}"
            figures.append(_epochs_figure(title, csi, np.nanargmax))
    if not figures:
        return None
    legend = Legend([(charts.swatch(0), "training"), (charts.swatch(1), "validation")])
    words = soft(
        "The weights of one epoch were kept: the one with the best validation, by the loss or by "
        "the CSI, as the settings say. A validation loss that rises while the training loss falls "
        "is overfitting."
    )
    return Section("training", "Training", [legend, words, Figures(figures)])


def _epochs_figure(
    title: str, lines: list[Line], best_of: Callable[[np.ndarray], np.intp]
) -> Figure:
    x, validation = lines[-1].x, lines[-1].y
    values = np.concatenate([line.y for line in lines])
    values = values[np.isfinite(values)]
    y = axes.around(values, "", zero=False)
    if values.size and 0 < _LARGE_RANGE * values.min() < values.max():
        y = axes.logarithmic(values.min() / 1.2, values.max() * 1.2, "")
    note = ""
    if np.isfinite(validation).any():
        best = int(best_of(validation))
        note = f"best validation {validation[best]:.4g} at epoch {x[best]:g}"
    epochs = [f"{epoch:g}" for epoch in x]
    chart = charts.lines_chart(
        title,
        lines,
        x=axes.steps(x, epochs, "epoch"),
        y=y,
        x_labels=[f"epoch {epoch}" for epoch in epochs],
        form=_loss_text,
    )
    table = scoring.values_of_lines(title, "epoch", epochs, lines, _loss_text)
    return Figure(title, chart, table, note)


def _loss_text(value: float) -> str:
    return f"{value:.5g}" if math.isfinite(value) else "–"
