"""An evaluation as text: the tables, and what is to be said of them."""

import io
from typing import TYPE_CHECKING

from nowcast.evaluation.tables import difference_table, text_tables

if TYPE_CHECKING:
    from rich.table import Table

    from nowcast.evaluation.results import Results


def tables_of(results: "Results", width: int) -> list["Table"]:
    """Scores over all leads and by lead time, and the differences from the baselines where there
    are intervals.

    Args:
        results: of which they are.
        width: columns of the terminal, 80 or more.
    """
    lead_minutes, model = results.task.lead_minutes, results.models[0]
    rows = {name: results.rows(name) for name in results.models}
    tables = text_tables(rows, lead_minutes=lead_minutes, pooled=results.pooled, width=width)
    if results.baselines and results.has_intervals:
        differences = {other: results.differences(model, other) for other in results.baselines}
        tables.append(difference_table(model, differences, lead_minutes=lead_minutes))
    return tables


def sentences_of(results: "Results") -> list[str]:
    """What is to be said of the tables: how many cases, what failed, what may be concluded."""
    facts, level = results.facts, f"{100 * results.resampling.level:g} %"
    found = [
        f"{results.cases} test cases; every score over the pixels that were observed and that "
        "all of the models above forecast."
    ]
    found += judged_in_words(results) + _sums_left_out(results)
    if facts.get("no_pixels"):
        found.append(f"{facts['no_pixels']} of them had no such pixel, and count nowhere.")
    for model, failed in facts.get("failures", {}).items():
        found.append(
            f"{model} failed in {failed['cases']} cases, and persistence stood in for it; the "
            f"first reason: {failed['reason']}"
        )
    if results.has_intervals and "block_rule" in facts:
        found.append(
            f"Intervals hold {level} of {results.resampling.draws} draws of {facts['block_rule']}."
        )
    return found + results.conclusion()


def _sums_left_out(results: "Results") -> list[str]:
    """Which accumulations were asked for and cannot be made of these lead times."""
    scored = results.scores.aggregates(1) if results.aggregates else None
    if scored is None:
        return []
    task, found = results.task, []
    for aggregation in scored.aggregations:
        minutes = aggregation.minutes
        if minutes and not aggregation.leads(task.forecast_length, task.timestep):
            found.append(
                f"No lead time ends after {minutes:g} minutes: rain is not added up over them."
            )
    return list(dict.fromkeys(found))


def judged_in_words(results: "Results") -> list[str]:
    """By which numbers of their distributions models are judged; nothing where none has one."""
    models = results.distributions
    if not models or not results.scores.several:
        return []
    predict = "predicts a distribution" if len(models) == 1 else "predict distributions"
    return [
        f"{', '.join(models)} {predict}, and each score is of the number that it rewards: squared "
        "errors and correlations of the mean, absolute errors of the median, CSI and other scores "
        "of events of the yes/no forecast from the probability that promises the best CSI. A model "
        "of one field is that field everywhere."
    ]


def text_of(results: "Results", width: int = 80) -> str:
    """Tables and sentences, as ``nowcast evaluate`` prints them."""
    from rich.console import Console

    file = io.StringIO()
    Console(file=file, width=width, color_system=None).print(*tables_of(results, width), sep="\n")
    lines = [line.rstrip() for line in file.getvalue().splitlines()]
    return "\n".join([*lines, *sentences_of(results)])
