"""The sections with charts of scores by lead, by threshold and scale, by event, and of the
training.
"""

import math

import numpy as np

from nowcast.evaluation.statistics.scores import BETTER
from nowcast.evaluation.statistics.sums import ScoreKey
from nowcast.evaluation.table import score_title, unit_of
from nowcast.report import axes, charts
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
)
from nowcast.report.runs import Run
from nowcast.report.scoring import Scoring, best_of, number

_BY_THRESHOLD = ("csi", "pod", "far", "frequency_bias", "hss")
_WITHOUT = (
    "csi_mean",
    "cross_entropy",
    "mae",
    "mse",
    "correlation",
    "mean_error",
    "b_mae",
    "b_mse",
    "ssim",
    "ssim_range2",
    "psnr",
    "sal_structure",
    "sal_amplitude",
    "sal_location",
)
_MOST_EVENTS = 400


def curves(scoring: Scoring) -> Section | None:
    """Scores by lead, for each threshold and of the whole field."""
    tabs = []
    for threshold in sorted(
        {key.threshold for key in scoring.keys if key.score == "csi" and key.window == 1}
    ):
        keys = [ScoreKey(score, threshold, 1) for score in _BY_THRESHOLD]
        tabs.append(
            Tab(
                scoring.threshold(threshold),
                [Figures([scoring.curve(key) for key in keys if key in scoring.keys])],
            )
        )
    whole = [
        key
        for score in _WITHOUT
        for key in (ScoreKey(score), ScoreKey(score, None, 1))
        if key in scoring.keys
    ]
    if whole:
        tabs.insert(0, Tab("Whole field", [Figures([scoring.curve(key) for key in whole])]))
    if not tabs:
        return None
    band = (
        f"Bands are {100 * scoring.results.resampling.level:g} % intervals."
        if scoring.results.has_intervals
        else "There is one block of cases: no intervals."
    )
    reference = "perfect forecast" if ScoreKey("cross_entropy_floor") in scoring.keys else ""
    return Section(
        "leads",
        "By lead time",
        [
            scoring.legend(reference=reference),
            Words([f"{band} Point at a chart to read its numbers."], "soft"),
            Tabs("Threshold", tabs),
        ],
    )


def scales(scoring: Scoring) -> Section | None:
    """FSS by neighbourhood, and CSI of the largest values of blocks, by threshold and width."""
    tabs = []
    for score, meaning in (("fss", "FSS"), ("csi", "CSI")):
        widths = sorted({key.window for key in scoring.keys if key.score == score and key.window})
        thresholds = sorted(
            {
                key.threshold
                for key in scoring.keys
                if key.score == score and key.window and key.threshold is not None
            }
        )
        if len(widths) < 2 and score == "csi" or not widths or not thresholds:
            continue
        for name, place in scoring.scopes:
            tables = [
                _scale_table(scoring, score, model, thresholds, widths, place, name)
                for model in scoring.results.models
                if ScoreKey(score, thresholds[0], widths[0]) in scoring.estimates[model]
            ]
            tabs.append(Tab(f"{meaning} {name}", [Tables(tables)]))
    if not tabs:
        return None
    words = [
        "Wider neighbourhoods forgive misplaced rain: FSS compares the shares of events in them, "
        "CSI the largest value of each block."
    ]
    if any(key.score == "fss" for key in scoring.keys):
        words.append(
            "A tick marks an FSS that reaches the useful one, halfway between a random forecast "
            "and a perfect one."
        )
    return Section(
        "scales", "By threshold and scale", [Words([" ".join(words)], "soft"), Tabs("Score", tabs)]
    )


def _scale_table(
    scoring: Scoring, score: str, model: str, thresholds, widths, place: int, name: str
) -> Table:
    rows = []
    for threshold in thresholds:
        cells = []
        useful = scoring.estimates[model].get(ScoreKey("fss_useful", threshold))
        for width in widths:
            estimate = scoring.estimates[model].get(ScoreKey(score, threshold, width))
            if estimate is None:
                cells.append("")
                continue
            value = float(estimate.value[place])
            reaches = score == "fss" and useful is not None and value >= float(useful.value[place])
            shade = "" if math.isnan(value) else f"h{round(10 * min(max(value, 0), 1))}"
            cells.append(
                Cell(
                    number(value),
                    "✓" if reaches else "",
                    f"{shade} {'useful' if reaches else ''}".strip(),
                )
            )
        if score == "fss" and useful is not None:
            cells.append(number(useful.value[place]))
        rows.append([scoring.threshold(threshold), *cells])
    heads = [
        "threshold",
        *(f"{width} px" for width in widths),
        *(["useful from"] if score == "fss" else []),
    ]
    return Table(f"{model}: {score.upper()} {name}", heads, rows)


def by_event(scoring: Scoring) -> Section | None:
    """The main scores of each event, and in how many of them a judged model is the better one."""
    results = scoring.results
    if len(results.events) < 2:
        return None
    events = results.events[:_MOST_EVENTS]
    alone = {event: results.of_event(event) for event in events}
    values = {
        event: {model: found.values(model) for model in results.models}
        for event, found in alone.items()
    }
    tabs = []
    for key in scoring.main:
        rows = []
        for event in events:
            found = {
                model: float(values[event][model][key][-1]) for model in scoring.models_with(key)
            }
            best = best_of(key.score, found)
            rows.append(
                [
                    event,
                    str(alone[event].cases),
                    *(
                        Cell(number(found[model]), "", "best" if model in best else "")
                        if model in found
                        else ""
                        for model in results.models
                    ),
                ]
            )
        table = Table(
            f"{scoring.title(key)} of each event, over all leads",
            ["event", "cases", *results.models],
            rows,
        )
        tabs.append(
            Tab(
                score_title(*key, unit=unit_of(scoring.lead_minutes)),
                [Words(_counted(scoring, key, values), "list"), table],
            )
        )
    words = [
        "How often a model is the better one says more about other events than how large the "
        "mean difference is."
    ]
    if len(results.events) > len(events):
        words.append(f"The first {len(events)} of {len(results.events)} events are shown.")
    return Section("events", "By event", [Words([" ".join(words)], "soft"), Tabs("Score", tabs)])


def _counted(scoring: Scoring, key: ScoreKey, values: dict) -> list[str]:
    """Nowcast is better than persistence in 7 of 9 events."""
    found = []
    for model in scoring.group.judged:
        for other in scoring.opponents(model):
            pairs = [
                (of[model][key][-1], of[other][key][-1])
                for of in values.values()
                if key in of[model] and key in of[other]
            ]
            known = [
                (mine, theirs)
                for mine, theirs in pairs
                if math.isfinite(mine) and math.isfinite(theirs)
            ]
            better = sum(
                (mine > theirs) if BETTER[key.score] == "higher" else (mine < theirs)
                for mine, theirs in known
            )
            undefined = (
                f"; in {len(pairs) - len(known)} the score is undefined"
                if len(known) < len(pairs)
                else ""
            )
            found.append(
                f"{model} is better than {other} in {better} of {len(known)} events{undefined}."
            )
    return found


def training(runs: list[Run]) -> Section | None:
    """Losses by epoch of the runs that were trained."""
    figures = []
    for run in runs:
        if run.training is None:
            continue
        of = f", {run.name}" if len(runs) > 1 else ""
        curves_ = {"training": run.training.train_loss, "validation": run.training.validation_loss}
        figures.append(_epochs(run, curves_, f"Loss by epoch{of}", np.nanargmin))
        if np.isfinite(run.training.validation_csi).any():
            figures.append(
                _epochs(
                    run,
                    {"validation CSI": run.training.validation_csi},
                    f"CSI of the validation by epoch{of}",
                    np.nanargmax,
                )
            )
    if not figures:
        return None
    legend = Legend([(charts.swatch(0), "training"), (charts.swatch(1), "validation")])
    words = Words(
        [
            "The weights of one epoch were kept: the one with the best validation, by the loss "
            "or by the CSI, as the settings say. "
            "A validation loss that rises while the training loss falls is overfitting."
        ],
        "soft",
    )
    return Section("training", "Training", [legend, words, Figures(figures)])


def _epochs(run: Run, values: dict[str, np.ndarray], title: str, best) -> Figure:
    x = run.training.epochs.astype(np.float64)
    lines = [Line(name, 0 if name == "training" else 1, x, array) for name, array in values.items()]
    known = np.concatenate([line.y[np.isfinite(line.y)] for line in lines])
    wide = known.size and known.min() > 0 and known.max() > 20 * known.min()
    y = (
        axes.logarithmic(known.min() / 1.2, known.max() * 1.2, "")
        if wide
        else axes.around(known, "", zero=False)
    )
    texts = [
        "\n".join([f"epoch {epoch:g}", *(f"{line.name}: {line.y[k]:.5g}" for line in lines)])
        for k, epoch in enumerate(x)
    ]
    judged = lines[-1].y
    note = ""
    if np.isfinite(judged).any():
        place = int(best(judged))
        note = f"best validation {judged[place]:.4g} at epoch {x[place]:g}"
    chart = charts.lines_chart(
        lines,
        x=axes.steps(list(x), [f"{epoch:g}" for epoch in x], "epoch"),
        y=y,
        texts=texts,
        description=charts.description_of(title, lines, f"epoch {x[0]:g}", f"epoch {x[-1]:g}"),
    )
    rows = [
        [f"{epoch:g}", *(f"{line.y[k]:.5g}" if math.isfinite(line.y[k]) else "–" for line in lines)]
        for k, epoch in enumerate(x)
    ]
    return Figure(
        title,
        chart,
        note,
        Table(title, ["epoch", *(line.name for line in lines)], rows, folded=True),
    )
