"""Scores of several models side by side: a CSV file for programs, tables for the terminal.

Rows carry the lead as the forecast step 1 to T; files and tables show minutes where
``lead_minutes`` (the minutes of one step) is given, and frame numbers where it is None.
"""

import csv
import math
from pathlib import Path

from nowcast.evaluation.intervals import Estimate
from nowcast.evaluation.statistics.scores import ScoreRow, about
from nowcast.evaluation.statistics.sums import ScoreKey
from nowcast.runtime.errors import UserError
from nowcast.runtime.files import replacing

_TITLES, _NARROW = (
    46,
    12,
)  # columns of the titles of scores with their direction, and of a model at least
_COLUMNS = ("model", "score", "threshold", "window", "lead", "value", "low", "high")
_OVERALL = (
    "csi",
    "pod",
    "far",
    "hss",
    "frequency_bias",
    "fss",
    "mae",
    "mse",
    "rmse",
    "mean_error",
    "correlation",
    "b_mse",
    "b_mae",
    "effective_resolution",
    "sal_structure",
    "sal_amplitude",
    "sal_location",
    "csi_mean",
    "crps",
    "spread_skill",
    "brier_skill",
    "roc_area",
    "cross_entropy",
    "cross_entropy_floor",
    "ssim",
    "ssim_range2",
    "psnr",
)
_BY_LEAD = ("csi", "csi_mean", "correlation", "cross_entropy", "mse", "crps", "ssim")
_OVER_ALL = {
    False: "mean of the leads (cross-entropy: sum)",
    True: "from the counts of all leads together",
}  # by whether it is pooled


def write_csv(
    rows_by_model: dict[str, list[ScoreRow]], path: str | Path, *, lead_minutes: float | None
) -> None:
    """Write one line per score: model, score, threshold [mm/h], window [pixels], lead, value (all
    digits) and the ends of its interval (empty: none).

    Args:
        rows_by_model: the rows of every model.
        path: the file to write.
        lead_minutes: minutes of one step: the lead column is in minutes; None: it is the frame
            number. Empty = over all leads.
    """
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for model, rows in rows_by_model.items():
            for row in rows:
                lead = None if row.lead is None else _plain(row.lead * (lead_minutes or 1))
                ends = ["" if math.isnan(end) else repr(float(end)) for end in (row.low, row.high)]
                writer.writerow(
                    [
                        model,
                        row.score,
                        _plain(row.threshold),
                        row.window,
                        lead,
                        repr(float(row.value)),
                        *ends,
                    ]
                )


def write_differences(
    by_baseline: dict[str, dict[ScoreKey, Estimate]],
    path: str | Path,
    *,
    lead_minutes: float | None,
) -> None:
    """Write one line per paired difference, model minus baseline: baseline, score, threshold,
    window, lead, difference, low, high.

    Args:
        by_baseline: the differences from every baseline, by lead and over all.
        path: the file to write.
        lead_minutes: as for ``write_csv``.
    """
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("baseline", *_COLUMNS[1:5], "difference", "low", "high"))
        for baseline, found in by_baseline.items():
            for key, estimate in found.items():
                for step, numbers in enumerate(
                    zip(estimate.value, estimate.low, estimate.high), start=1
                ):
                    lead = (
                        None if step == estimate.value.size else _plain(step * (lead_minutes or 1))
                    )
                    ends = [
                        "" if math.isnan(number) else repr(float(number)) for number in numbers[1:]
                    ]
                    writer.writerow(
                        [
                            baseline,
                            key.score,
                            _plain(key.threshold),
                            key.window,
                            lead,
                            repr(float(numbers[0])),
                            *ends,
                        ]
                    )


def read_csv(path: str | Path, *, lead_minutes: float | None) -> dict[str, list[ScoreRow]]:
    """Read what ``write_csv`` wrote with the same ``lead_minutes``.

    Raises:
        UserError: the file is missing, has other columns, or a line that is no score.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            lines = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as a table of scores: {error}.") from None
    if not lines or tuple(lines[0]) != _COLUMNS:
        raise UserError(
            f"{path} is no table of scores: its columns are {lines[0] if lines else 'missing'}, "
            f"not {list(_COLUMNS)}."
        )
    rows_by_model = {}
    for number, line in enumerate(lines[1:], start=2):
        try:
            model, score, threshold, window, lead, *numbers = line
            value, low, high = (float(number) if number else math.nan for number in numbers)
            row = ScoreRow(
                score,
                float(threshold) if threshold else None,
                int(window) if window else None,
                _step(lead, lead_minutes),
                value,
                low,
                high,
            )
        except ValueError as error:
            raise UserError(f"{path}, line {number} is no score: {error}.") from None
        rows_by_model.setdefault(model, []).append(row)
    return rows_by_model


def _plain(number: float | None) -> str | None:
    """A number in its shortest exact form: 5, 0.1."""
    return None if number is None else repr(int(number) if number == int(number) else float(number))


def _step(lead: str, lead_minutes: float | None) -> int | None:
    if not lead:
        return None
    step = float(lead) / (lead_minutes or 1)
    if not math.isclose(step, round(step), abs_tol=1e-6):
        raise ValueError(f"lead {lead} is no multiple of {lead_minutes or 1:g}")
    return round(step)


def text_tables(
    rows_by_model: dict[str, list[ScoreRow]],
    *,
    lead_minutes: float | None,
    pooled: bool = False,
    width: int = 80,
) -> list:
    """Tables for a terminal: all scores over all leads (where there are more models than fit beside
    each other, the main ones, a line for each model), and the main ones by lead time.

    Args:
        rows_by_model: the rows of every model, made with the same settings.
        lead_minutes: minutes of one step, None to count frames.
        pooled: whether scores over all leads are made from the sums of all leads, see
            ``Results.pooled``; else they are the mean of the leads.
        width: columns of the terminal, 80 or more.

    Returns:
        ``rich.table.Table``, the last one by lead time; ``*`` marks the best of several models.
    """
    unit = unit_of(lead_minutes)
    beside = sum(max(min(len(model), _NARROW), 8) + 2 for model in rows_by_model)
    over_all = (
        [_overall_table(rows_by_model, unit, pooled)]
        if _TITLES + beside <= width
        else _model_tables(rows_by_model, unit, pooled, width)
    )
    return [*over_all, _lead_table(rows_by_model, lead_minutes)]


def lead_label(step: int, lead_minutes: float | None) -> str:
    """+15 min, or frame 3; −15 min and frame −2 before the analysis time."""
    text = (
        f"frame {step}"
        if lead_minutes is None
        else f"{'+' if step > 0 else ''}{step * lead_minutes:g} min"
    )
    return text.replace("-", "−")


def score_title(
    score: str, threshold: float | None, window: int | None = None, *, unit: str = "mm/h"
) -> str:
    """CSI >= 1 mm/h, FSS >= 1 mm/h, 5 px, cross-entropy, ...

    Args:
        score: its name.
        threshold: of an event; None: without.
        window: width of a neighbourhood [pixels].
        unit: of the threshold, see ``unit_of``.
    """
    name = about(score).title or (score.upper() if len(score) <= 4 else score.replace("_", " "))
    kind = "" if score.startswith(("fss", "power")) else "largest of "
    size = (
        f", {kind}{window} px"
        if window and (score.startswith(("fss", "power")) or window > 1)
        else ""
    )
    return f"{name}{size}" if threshold is None else f"{name} ≥ {threshold:g} {unit}{size}"


def unit_of(lead_minutes: float | None) -> str:
    """The unit of thresholds: of rain, or of the grey levels of frames without times."""
    return "of 255" if lead_minutes is None else "mm/h"


def evenly(count: int, most: int) -> list[int]:
    """At most ``most`` of the indices 0 to count - 1, equally spaced, always with the last."""
    return list(range(count - 1, -1, -math.ceil(count / most)))[::-1]


def thresholds_shown(rows: list[ScoreRow], most: int = 3) -> list[float]:
    """At most three thresholds: lowest, middle and highest of those that had events at every lead."""
    events = [
        row for row in rows if row.threshold is not None and row.score == "csi"
    ]  # counts are never undefined
    found = sorted(
        {row.threshold for row in events if row.lead is None and not math.isnan(row.value)}
        or {row.threshold for row in events}
    )
    if len(found) <= most:
        return found
    return [found[round(i * (len(found) - 1) / (most - 1))] for i in range(most)]


def _values(rows_by_model: dict[str, list[ScoreRow]]) -> dict[tuple, dict[str, float]]:
    """(score, threshold, window, lead) -> {model: value}, in the order of the rows."""
    values = {}
    for model, rows in rows_by_model.items():
        for row in rows:
            values.setdefault(row[:4], {})[model] = row.value
    return values


def _marks(rows_by_model: dict[str, list[ScoreRow]]) -> str:
    """What the marks in the tables mean."""
    undefined = any(math.isnan(row.value) for rows in rows_by_model.values() for row in rows)
    return "* best" + ("   – undefined: no event at some lead" if undefined else "")


def _overall_table(rows_by_model: dict[str, list[ScoreRow]], unit: str, pooled: bool):
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        title=f"Over all leads: {_OVER_ALL[pooled]}",
        caption=_marks(rows_by_model),
        box=SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("score", no_wrap=True)
    table.add_column("better", no_wrap=True)
    for model in rows_by_model:
        table.add_column(escape(model), justify="right", overflow="fold")
    previous = None
    for (score, threshold, window, lead), by_model in _values(rows_by_model).items():
        if (
            lead is not None
            or score not in _OVERALL
            or (score not in ("csi", "fss") and (window or 1) > 1)
        ):
            continue
        if threshold != previous and previous is not None:
            table.add_section()
        previous = threshold
        table.add_row(
            score_title(score, threshold, window, unit=unit),
            about(score).better,
            *_marked(score, by_model, rows_by_model),
        )
    return table


def _model_tables(
    rows_by_model: dict[str, list[ScoreRow]], unit: str, pooled: bool, width: int
) -> list:
    """The main scores over all leads, a line for each model, in as many tables as the width asks
    for.
    """
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    values = {
        key[:3]: by_model for key, by_model in _values(rows_by_model).items() if key[3] is None
    }
    shown = [None, *thresholds_shown([row for rows in rows_by_model.values() for row in rows])]
    widest = max((window for score, _, window in values if score == "fss"), default=None)
    keys = [
        (score, threshold, window)
        for score, threshold, window in values
        if threshold in shown
        and (
            window in (None, 1)
            and score in (*_BY_LEAD, "mae")
            or score == "fss"
            and window == widest
        )
    ]
    names = max(map(len, rows_by_model))
    each = max(1, (width - min(names, width // 3) - 4) // 13)
    tables = []
    for start in range(0, len(keys), each):
        some = keys[start : start + each]
        last = start + each >= len(keys)
        table = Table(
            title=None if start else f"Over all leads: {_OVER_ALL[pooled]}",
            caption=f"{_marks(rows_by_model)}   every score: scores.csv" if last else None,
            box=SIMPLE_HEAD,
            title_justify="left",
            caption_justify="left",
        )
        table.add_column("model", overflow="fold")
        for score, threshold, window in some:
            table.add_column(
                score_title(score, threshold, window, unit=unit),
                justify="right",
                overflow="fold",
                min_width=8,
                max_width=11,
            )
        columns = [_marked(key[0], values[key], rows_by_model) for key in some]
        for i, model in enumerate(rows_by_model):
            table.add_row(escape(model), *(column[i] for column in columns))
        tables.append(table)
    return tables


def _lead_table(rows_by_model: dict[str, list[ScoreRow]], lead_minutes: float | None):
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    values = _values(rows_by_model)
    all_rows = [row for rows in rows_by_model.values() for row in rows]
    steps = sorted({row.lead for row in all_rows if row.lead is not None})
    steps = [steps[i] for i in evenly(len(steps), 5)]
    shown = [None, *thresholds_shown(all_rows)]
    title = "By frame" if lead_minutes is None else "By lead time, in minutes"
    table = Table(
        title=title,
        caption=_marks(rows_by_model),
        box=SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("score", no_wrap=True)
    table.add_column("model", overflow="fold")
    for step in steps:
        table.add_column(
            f"{step}" if lead_minutes is None else f"+{step * lead_minutes:g}",
            justify="right",
            no_wrap=True,
        )
    cases = dict.fromkeys(
        key[:3] for key in values if key[0] in _BY_LEAD and key[1] in shown and key[2] in (None, 1)
    )
    for score, threshold, window in sorted(
        cases, key=lambda case: (_BY_LEAD.index(case[0]), case[1] or 0)
    ):
        columns = [
            _marked(score, values.get((score, threshold, window, step), {}), rows_by_model)
            for step in steps
        ]
        for i, model in enumerate(rows_by_model):
            table.add_row(
                score_title(score, threshold, unit=unit_of(lead_minutes)) if i == 0 else "",
                escape(model),
                *(column[i] for column in columns),
            )
        table.add_section()
    return table


def difference_table(
    model: str, by_baseline: dict[str, dict[ScoreKey, Estimate]], *, lead_minutes: float | None
):
    """A ``rich.table.Table`` of the main scores' paired differences over all leads, with intervals
    and what they say.

    Args:
        model: name of the judged model.
        by_baseline: its differences from every baseline.
        lead_minutes: minutes of one step, None to count frames.
    """
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        title=f"{escape(model)} minus the baseline, over all leads",
        caption="better, worse: the interval leaves out 0   open: it does not",
        box=SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("score", no_wrap=True)
    table.add_column("baseline", overflow="fold")
    for heading in ("difference", "interval", "means"):
        table.add_column(heading, justify="left" if heading == "means" else "right", no_wrap=True)
    keys = [
        key
        for key in next(iter(by_baseline.values()))
        if key.score in (*_BY_LEAD, "fss", "mae") and key.window in (None, 1)
    ]
    for key in keys:
        for i, (baseline, found) in enumerate(by_baseline.items()):
            table.add_row(
                "" if i else score_title(*key, unit=unit_of(lead_minutes)),
                escape(baseline),
                *(_difference(key, found[key]) if key in found else ("–", "", "")),
            )
        table.add_section()
    return table


def verdict(key: ScoreKey, estimate: Estimate, place: int = -1) -> str:
    """better, worse or open, of a difference at a lead or (last) over all; empty where there is no
    interval or no better direction.

    Args:
        key: which score.
        estimate: of the difference.
        place: index of the lead.
    """
    value, low = estimate.value[place], estimate.low[place]
    if math.isnan(low) or about(key.score).better not in ("higher", "lower"):
        return ""
    if not estimate.differs[place]:
        return "open"
    return "better" if (value > 0) == (about(key.score).better == "higher") else "worse"


def _difference(key: ScoreKey, estimate: Estimate) -> tuple[str, str, str]:
    """The difference over all leads, its interval, and what it means."""
    value, low, high = (array[-1] for array in (estimate.value, estimate.low, estimate.high))
    if math.isnan(value):
        return "–", "", ""
    return (
        signed(value),
        "" if math.isnan(low) else f"{signed(low)} to {signed(high)}",
        verdict(key, estimate),
    )


def signed(value: float) -> str:
    return f"{'+' if value > 0 else ''}{digits(value)}".replace("-", "−")


def _marked(score: str, by_model: dict[str, float], models) -> list[str]:
    """The values as text in the order of the models; the best (all that print like it) with a star."""
    texts = [digits(by_model.get(model, math.nan)) for model in models]
    penalties = {
        digits(value): penalty(score, value) for value in by_model.values() if not math.isnan(value)
    }
    if not about(score).better or len(texts) < 2 or len(penalties) < 2:
        return texts
    best = min(penalties, key=penalties.get)
    return [f"[bold]{text}*[/bold]" if text == best else text for text in texts]


def penalty(score: str, value: float) -> float:
    """The smaller, the better."""
    better = about(score).better
    if better == "near 1":
        return abs(math.log(value)) if value > 0 else math.inf
    if better == "near 0":
        return abs(value)
    return value if better == "lower" else -value


def digits(value: float) -> str:
    """About four significant digits; a dash where undefined."""
    if math.isnan(value):
        return "–"
    if 0 < abs(value) < 0.001:
        return f"{value:.1e}"
    return f"{value:.{1 if abs(value) >= 100 else 2 if abs(value) >= 10 else 3}f}"
