"""What came out of the trainings of a comparison: every score, and the main ones side by side."""

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from nowcast.evaluation.score_files import read_csv
from nowcast.evaluation.statistics.scores import ScoreRow, about
from nowcast.evaluation.statistics.sums import key_of
from nowcast.evaluation.titles import score_title, thresholds_shown
from nowcast.runtime.errors import UserError
from nowcast.runtime.files import replacing
from nowcast.training.comparison.runs import Run

MEANING = (
    "The intervals are over seeds (initial weights, training samples); all runs are tested "
    "on the same cases."
)
LEVEL = 0.95  # of the intervals
_COLUMNS = (
    "model",
    "seed",
    "parameters",
    "score",
    "threshold",
    "window",
    "lead",
    "value",
    "functional",
    "box",
    "accumulation",
    "cost_loss",
)
_SHOWN = ("csi", "correlation", "cross_entropy", "mse", "mae", "ssim")
_DIRECTIONS = {"higher": " ↑", "lower": " ↓"}

Values = dict[int, float]
"""A score over all leads by seed."""


class Result(NamedTuple):
    """Scores of one model trained with one seed, or of a baseline beside it.

    Args:
        model: the name of its row.
        seed: of the training.
        parameters: number of trained weights; 0 for a baseline.
        rows: its scores.
        pixels_of: the model that has no forecast for some pixels, so that these scores are of the
            other pixels alone; None: they are of all.
    """

    model: str
    seed: int
    parameters: int
    rows: list[ScoreRow]
    pixels_of: str | None = None


def results_of(
    runs: list[Run],
    *,
    parameters: Callable[[dict], int],
    lead_minutes: float | None,
    advice: str = "delete {folder} and compare again",
) -> list[Result]:
    """Scores of the finished ones among runs.

    Args:
        runs: done or not.
        parameters: counts those of the model of a configuration.
        lead_minutes: minutes of one step, None to count frames.
        advice: what to do with the evaluation in a {folder} that was made on other data.

    Returns:
        The models in the order of the runs, then the baselines, once per seed.

    Raises:
        UserError: a table of scores is damaged, or not all were made on the same cases.
    """
    trained, baselines = [], {}
    for run in runs:
        if not run.is_finished:
            continue
        pixels_of, beside = None, ""
        if run.is_partial:
            pixels_of, beside = run.model, f" beside {run.model}"
        by_name = read_csv(run.scores, lead_minutes=lead_minutes)
        own = next(iter(by_name), None)  # the trained model stands first, whatever it is called
        for name, rows in by_name.items():
            if name == own:
                count = parameters(run.settings)
                trained.append(Result(run.model, run.seed, count, rows, pixels_of))
                continue
            result = Result(name + beside, run.seed, 0, rows, pixels_of)
            known = baselines.setdefault((result.model, run.seed), result)
            if _values_of(known.rows) != _values_of(rows):
                raise UserError(
                    f"{run.scores} holds other scores of {result.model} than the other models' "
                    "do, so it was evaluated on other data; "
                    f"{advice.format(folder=run.scores.parent)}."
                )
    order = list(dict.fromkeys(run.model for run in runs))
    trained.sort(key=lambda result: order.index(result.model))
    return trained + sorted(baselines.values(), key=lambda result: result.model)


def _values_of(rows: list[ScoreRow]) -> str:
    """All of some scores but what they are of, which older files do not say; NaN equals nothing but
    its text.
    """
    return repr([row._replace(functional="") for row in rows])


def note_on_functionals(results: list[Result]) -> list[str]:
    """By which numbers of their distributions models are judged, and a warning where files of
    older versions, which judged one field, stand beside them; nothing where none predicts one.
    """
    said = {result.model: {row.functional for row in result.rows} for result in results}
    unsaid = [model for model, functionals in said.items() if functionals == {""}]
    judged = [model for model, functionals in said.items() if functionals - {"", "field"}]
    if not judged:
        return []
    sentences = [
        f"{', '.join(judged)}: each score is of the number of the predicted distribution that it "
        "rewards (comparison.csv says which); a model of one field is that field everywhere."
    ]
    if unsaid:
        sentences.append(
            f"{', '.join(unsaid)}: evaluated by an older nowcast, which judged one field whatever "
            "the model predicts; evaluate again (nowcast evaluate run=FOLDER) to compare."
        )
    return sentences


def note_on_pixels(runs: list[Run]) -> list[str]:
    """A sentence where some of the models are judged on fewer pixels than others."""
    partial = list(dict.fromkeys(run.model for run in runs if run.is_partial))
    if not partial or len({run.model for run in runs}) == 1:
        return []
    have = "has" if len(partial) == 1 else "have"
    return [
        f"{', '.join(partial)} {have} no forecast for some pixels (what comes from outside the "
        "grid), and the scores there, and of the baselines beside, are of the other pixels alone: "
        "compare each model with its own baselines, not with models that are judged on others."
    ]


def interval(values: list[float]) -> tuple[float, float]:
    """Mean, and half the width of its 95 % interval by Student's t; NaN for a single value."""
    from scipy.stats import t

    values = np.asarray(values, dtype=np.float64)
    with np.errstate(invalid="ignore"):  # infinite scores
        mean, count = float(values.mean()), len(values)
        if count < 2:
            return mean, math.nan
        error_of_mean = values.std(ddof=1) / math.sqrt(count)
        return mean, float(t.ppf((1 + LEVEL) / 2, count - 1) * error_of_mean)


def paired_interval(values: Values, reference: Values) -> tuple[float, float] | None:
    """``interval`` of value minus reference over the seeds that both have; None where none is."""
    differences = [values[seed] - reference[seed] for seed in values if seed in reference]
    return interval(differences) if differences else None


def write_csv(results: list[Result], path: Path, *, lead_minutes: float | None) -> None:
    """Write a line per score: model, seed, parameters, score, threshold, window, lead, value, and
    which number of a distribution it is of; box, accumulation and cost-loss ratio, if it is of one.

    The threshold is in mm/h (of accumulations in mm), the window in pixels, the box in km, the
    accumulation and the lead in minutes, or frames; an empty lead is over all leads. Baselines have
    no parameters.
    """
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for result in results:
            for row in result.rows:
                lead = None if row.lead is None else f"{row.lead * (lead_minutes or 1):g}"
                threshold = None if row.threshold is None else f"{row.threshold:g}"
                of_row = (row.score, threshold, row.window, lead, repr(float(row.value)))
                later = (row.box, row.accumulation, row.cost_loss)
                numbers = [None if number is None else f"{number:g}" for number in later]
                writer.writerow([*result[:3], *of_row, row.functional, *numbers])


def table(results: list[Result], *, first: str) -> Table:
    """One row per model: each score over all leads as its mean over the seeds and the interval.

    In the second line of a row stands the difference to the first model, seed by seed, with its
    interval.

    Args:
        results: of all models and seeds, baselines included.
        first: the model that the others are compared with.
    """
    by_model: dict[str, list[Result]] = {}
    for result in results:
        by_model.setdefault(result.model, []).append(result)
    columns = _columns([row for result in results for row in result.rows])
    counts = [len(found) for found in by_model.values()]
    with_counts = min(counts) < max(counts)
    shown = _empty_table(columns, first, seeds=max(counts), with_counts=with_counts)
    reference = by_model.get(first, [])
    for model, found in by_model.items():
        parameters, pixels_of = found[0].parameters, found[0].pixels_of
        cells = [escape(model), f"{parameters:,}" if parameters else ""]
        if with_counts:
            cells.append(str(len(found)))
        compared = reference
        if not reference or model == first or pixels_of != reference[0].pixels_of:
            compared = []  # a difference over other pixels would say nothing
        for column in columns:
            cells.append(_cell(_values(found, column), _values(compared, column)))
        shown.add_row(*cells)
    return shown


def _empty_table(columns: list[tuple], first: str, *, seeds: int, with_counts: bool) -> Table:
    """The table without its rows.

    Args:
        columns: see ``_columns``.
        first: the model that the others are compared with.
        seeds: the most that a model has.
        with_counts: whether there is a column for the number of seeds.
    """
    means = "one seed, so without intervals"
    caption = f"second line: minus {first}, seed by seed"
    if seeds > 1:
        means = f"mean over {seeds} seeds ± 95 % interval (Student)"
        caption += (
            "; * the 95 % interval of this difference excludes 0 (not corrected for the number of "
            "differences)"
        )
    shown = Table(
        title=f"Over all leads: {means}",
        caption=caption,
        box=SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
        show_lines=True,
        pad_edge=False,
    )
    shown.add_column("model", no_wrap=True)
    shown.add_column("parameters", justify="right", overflow="fold", no_wrap=True)
    if with_counts:
        shown.add_column("seeds", justify="right", overflow="fold")
    for score, threshold, _ in columns:
        title = score_title(score, threshold) + _DIRECTIONS.get(about(score).better, "")
        title = title.replace("cross-entropy", "cross-\nentropy")  # else folded within a word
        shown.add_column(title, justify="right", overflow="fold")
    return shown


def _columns(rows: list[ScoreRow]) -> list[tuple]:
    """(score, threshold, window) of the main scores, few thresholds and the smallest window."""
    thresholds = [None, *thresholds_shown(rows)]
    found: dict[tuple, tuple] = {}
    overall = {row[:3] for row in rows if _is_of_table(row) and row.score in _SHOWN}
    for column in sorted(overall, key=_place_in_table):
        if column[1] in thresholds:
            found.setdefault(column[:2], column)
    return list(found.values())


def _is_of_table(row: ScoreRow) -> bool:
    """Whether a row is of rain rates over all leads, and not of accumulations or boxes."""
    return row.lead is None and not key_of(row).is_aggregated


def _place_in_table(column: tuple) -> tuple:
    score, threshold, window = column
    return _SHOWN.index(score), threshold or 0, window or 0


def _values(results: list[Result], column: tuple) -> Values:
    """A score of a model over all leads by seed."""
    return {
        result.seed: row.value
        for result in results
        for row in result.rows
        if _is_of_table(row) and row[:3] == column
    }


def _cell(values: Values, reference: Values) -> str:
    """120.4 ±3.1, and below it the difference."""
    if not values:
        return "–"
    mean = _text(*interval(list(values.values())))
    change = paired_interval(values, reference)
    if change is None:
        return mean
    difference, half = change
    cell = f"{mean}\n{_text(difference, half, sign='+')}"
    return f"{cell}*" if abs(difference) > half else cell  # *: significant


def _text(mean: float, half: float, *, sign: str = "") -> str:
    """A number with its interval, which has two digits; four digits where there is no interval."""
    if math.isnan(mean):
        return "–"
    if half <= 1e-9 * abs(mean):  # a rounding error of equal values
        half = 0.0
    scale, decimals = 0.01 * abs(mean), 0
    if 0 < half < math.inf:
        scale = half
    if 0 < scale < math.inf:
        decimals = max(0, 1 - math.floor(math.log10(scale)))
    text = f"{mean:{sign}.{decimals}f}".replace("-", "−")
    if math.isnan(half):
        return text
    return f"{text} ±{half:.{decimals}f}" if half else f"{text} ±0"
