"""Scores as CSV files, for programs.

Rows carry the lead as the forecast step 1 to T; files have minutes where ``lead_minutes`` (the
minutes of one step) is given, and frame numbers where it is None.
"""

import csv
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from nowcast.evaluation.intervals import Estimate
from nowcast.evaluation.statistics.scores import ScoreRow
from nowcast.evaluation.statistics.sums import ScoreKey, row_of
from nowcast.runtime.errors import UserError
from nowcast.runtime.files import replacing

_FIRST_COLUMNS = ("model", "score", "threshold", "window", "lead", "value", "low", "high")
"""All columns of tables that older versions wrote."""
_SECOND_COLUMNS = (*_FIRST_COLUMNS, "functional")
_LATER = ("box", "accumulation", "cost_loss")
_COLUMNS = (*_SECOND_COLUMNS, *_LATER)
_DIFFERENCES = (
    *("baseline", "score", "threshold", "window", "lead", "difference", "low", "high"),
    *_LATER,
)


def write_csv(
    rows_by_model: dict[str, list[ScoreRow]], path: str | Path, *, lead_minutes: float | None
) -> None:
    """Write one line per score: model, score, threshold [mm/h; mm of accumulations], window
    [pixels], lead, value (all digits), the ends of its interval (empty: none), which number of the
    model's distribution it is of ("field": the model predicts one field), the side of the boxes
    whose means are scored [km], the minutes over which rain is accumulated, and the cost-loss ratio
    (empty: none of it).

    Args:
        rows_by_model: the rows of every model.
        path: the file to write.
        lead_minutes: minutes of one step: the lead column is in minutes; None: it is the frame
            number. Empty = over all leads.
    """
    lines = [(model, row) for model, rows in rows_by_model.items() for row in rows]
    _write(path, _COLUMNS, lines, lead_minutes)


def write_differences(
    by_baseline: dict[str, dict[ScoreKey, Estimate]],
    path: str | Path,
    *,
    lead_minutes: float | None,
) -> None:
    """Write one line per paired difference, model minus baseline: baseline, score, threshold,
    window, lead, difference, low, high, box, accumulation, cost-loss ratio.

    Args:
        by_baseline: the differences from every baseline, by lead and over all.
        path: the file to write.
        lead_minutes: as for ``write_csv``.
    """
    lines = []
    for baseline, found in by_baseline.items():
        for key, estimate in found.items():
            leads = [*range(1, estimate.value.size), None]
            for lead, *ends in zip(leads, estimate.value, estimate.low, estimate.high):
                if key.stands_at(lead, lead_minutes):
                    lines.append((baseline, row_of(key, lead, *ends)))
    _write(path, _DIFFERENCES, lines, lead_minutes)


def _write(
    path: str | Path,
    columns: Sequence[str],
    lines: Iterable[tuple[str, ScoreRow]],
    lead_minutes: float | None,
) -> None:
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for name, row in lines:
            lead = None if row.lead is None else _plain(row.lead * (lead_minutes or 1))
            ends = ["" if math.isnan(end) else repr(float(end)) for end in (row.low, row.high)]
            value = repr(float(row.value))
            threshold = _plain(row.threshold)
            functional = [row.functional] if "functional" in columns else []
            later = [_plain(number) for number in (row.box, row.accumulation, row.cost_loss)]
            writer.writerow(
                [name, row.score, threshold, row.window, lead, value, *ends, *functional, *later]
            )


def read_csv(path: str | Path, *, lead_minutes: float | None) -> dict[str, list[ScoreRow]]:
    """Read what ``write_csv`` wrote with the same ``lead_minutes``, also that of older versions.

    Raises:
        UserError: the file is missing, has other columns, or a line that is no score.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            lines = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as a table of scores: {error}.") from None
    if not lines or tuple(lines[0]) not in (_COLUMNS, _SECOND_COLUMNS, _FIRST_COLUMNS):
        raise UserError(
            f"{path} is no table of scores: its columns are {lines[0] if lines else 'missing'}, "
            f"not {list(_COLUMNS)}."
        )
    rows_by_model = {}
    for number, line in enumerate(lines[1:], start=2):
        try:
            if len(line) < len(lines[0]):
                raise ValueError(f"not enough values: {len(line)}, not {len(lines[0])}")
            model, row = _model_and_row(line, lead_minutes)
        except ValueError as error:
            raise UserError(f"{path}, line {number} is no score: {error}.") from None
        rows_by_model.setdefault(model, []).append(row)
    return rows_by_model


def _model_and_row(line: list[str], lead_minutes: float | None) -> tuple[str, ScoreRow]:
    model, score, threshold, window, lead, *numbers = line[: len(_FIRST_COLUMNS)]
    functional = "".join(line[len(_FIRST_COLUMNS) : len(_SECOND_COLUMNS)])
    later = [float(number) if number else None for number in line[len(_SECOND_COLUMNS) :]]
    value, low, high = (float(number) if number else math.nan for number in numbers)
    key = ScoreKey(
        score, float(threshold) if threshold else None, int(window) if window else None, *later
    )
    step = _step(lead, lead_minutes) if lead else None
    return model, row_of(key, step, value, low, high, functional)


def _plain(number: float | None) -> str | None:
    """A number in its shortest exact form: 5, 0.1."""
    return None if number is None else repr(int(number) if number == int(number) else float(number))


def _step(lead: str, lead_minutes: float | None) -> int:
    step = float(lead) / (lead_minutes or 1)
    if not math.isclose(step, round(step), abs_tol=1e-6):
        raise ValueError(f"lead {lead} is no multiple of {lead_minutes or 1:g}")
    return round(step)
