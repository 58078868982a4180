"""The section of accumulations and of means in boxes."""

from collections.abc import Sequence

import numpy as np

from nowcast.evaluation.statistics.aggregates import AggregateScores, Aggregation, totals_of
from nowcast.evaluation.statistics.sums import ScoreKey
from nowcast.evaluation.summary_scores import SummaryScores
from nowcast.evaluation.titles import AGGREGATED, at_most_three
from nowcast.report import scoring
from nowcast.report.document import Figures, Item, Section, Tab, Tabs, soft
from nowcast.report.ensembles import FLAT, Ensemble, rank_figure
from nowcast.report.probabilities import RELIABILITY, Probabilities, reliability, roc, values_of

_BY_LEAD = ("crps", "mse", "spread_skill")


def aggregates(scores: SummaryScores) -> Section | None:
    """What is said of rain that falls up to a lead time, and of mean rates in boxes."""
    results = scores.results
    if not results.aggregates:
        return None
    tabs = []
    for aggregation in results.scores.aggregates(1).aggregations:
        items = _items(scores, aggregation)
        if items:
            tabs.append(Tab(_name(aggregation).capitalize(), items))
    if not tabs:
        return None
    words = (
        "What people act on: how much falls up to a lead time, and what falls on a box on average. "
        "Boxes lie side by side; one counts where at least half of its pixels do, and its mean is "
        "that of the same pixels in forecast and observation. A model of one field is an ensemble "
        "of one: its CRPS is its absolute error. A distribution without members is its mean."
    )
    items = [scoring.legend(scores), soft(words), soft(RELIABILITY), soft(FLAT)]
    return Section("aggregates", "Accumulations and boxes", [*items, Tabs("Of", tabs)])


def _name(aggregation: Aggregation) -> str:
    """What it is called."""
    parts = ["mean rate" if aggregation.minutes is None else f"{aggregation.minutes:g} min"]
    parts.append("pixels" if aggregation.box is None else f"{aggregation.box:g} km boxes")
    return ", ".join(parts)


def _items(scores: SummaryScores, aggregation: Aggregation) -> list[Item]:
    """Table and charts of one aggregation; nothing where no lead time ends with it."""
    place = {"box": aggregation.box, "accumulation": aggregation.minutes}
    keys = scores.known([ScoreKey(score, **place) for score in AGGREGATED])
    if not keys:
        return []
    known = sorted(_thresholds(scores, aggregation))
    keys += scores.known([ScoreKey("brier_skill", one, **place) for one in known])
    name = _name(aggregation)
    found: list[Item] = [scoring.values_table(scores, keys, scores.leads, f"Scores of {name}")]
    if aggregation.minutes is None:
        curves = scores.known([ScoreKey(score, **place) for score in _BY_LEAD])
        found.append(Figures([scoring.curve(scores, key) for key in curves]))
    models = _models(scores, aggregation)
    charts = [rank_figure(_ensemble(one), one.totals, name) for one in models if not one.is_single]
    for threshold in at_most_three(known):
        k = models[0].sums.thresholds.index(threshold)
        unit = "mm/h" if aggregation.minutes is None else "mm"
        scope = ", all leads" if aggregation.minutes is None else ""
        text = f"≥ {threshold:g} {unit}, {name}{scope}"
        if not all(one.is_single for one in models):
            charts += [reliability(models, k, text), roc(models, k, text)]
        charts.append(values_of(models, k, text))
    return [*found, Figures(charts)]


def _thresholds(scores: SummaryScores, aggregation: Aggregation) -> set[float]:
    """Those that were reached."""
    found = set()
    for key in scores.keys:
        here = (key.box, key.accumulation) == (aggregation.box, aggregation.minutes)
        if (
            here
            and key.score == "brier_skill"
            and any(
                np.isfinite(scores.estimates[model][key].value[-1])
                for model in scores.models_with(key)
            )
        ):
            found.add(key.threshold)
    return found


def _models(scores: SummaryScores, aggregation: Aggregation) -> Sequence[Probabilities]:
    """What is known of every model that has sums of it, all leads together."""
    results, found = scores.results, []
    for model in results.models:
        if model not in results.aggregates:
            continue
        members = results.members.get(model, 1)
        made: AggregateScores = results.scores.aggregates(members)
        totals = totals_of(results.aggregates[model], aggregation)
        together = {name: array.sum(0).sum(-1, keepdims=True) for name, array in totals.items()}
        series, sums = scoring.series_number(scores, model), made.part(aggregation, 1)
        found.append(Probabilities(model, series, sums, together, members == 1))
    return found


def _ensemble(one: Probabilities) -> Ensemble:
    return Ensemble(one.model, one.series, one.sums, one.totals, one.totals)
