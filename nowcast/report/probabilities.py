"""Pictures of probabilities: reliability, ROC and economic value; and the section of those of rates
by pixel.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nowcast.evaluation.statistics.ensemble import EnsembleSums
from nowcast.evaluation.statistics.probability import ProbabilitySums
from nowcast.evaluation.statistics.scores import economic_value
from nowcast.evaluation.statistics.sums import ScoreKey
from nowcast.evaluation.summary_scores import SummaryScores
from nowcast.evaluation.titles import number
from nowcast.report import axes, charts, scoring
from nowcast.report.charts import Line, Plot
from nowcast.report.document import Figure, Figures, Section, Tab, Tabs, soft
from nowcast.report.markup import outline

_OF_EVENTS = ("brier_skill", "roc_area")
_SIZE = (380, 330)  # of the charts of probabilities
_COUNTS = ("hits", "misses", "false_alarms", "correct_negatives")
_RATIOS = (0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8)  # cost-loss ratios that are written out

RELIABILITY = (
    "On the diagonal of the first chart a probability comes true as often as it says. The second "
    "is the better, the further up and left it bends. The third says what a forecast is worth to a "
    "user who protects where the probability is at least the cost of doing so, as a share of the "
    "loss that it prevents: 1 is a perfect forecast, 0 the climate alone, and below 0, drawn at 0, "
    "nobody should act on it. A model of one field has the same yes and no for every user."
)


@dataclass(frozen=True)
class Probabilities:
    """What is known of the probabilities of a model.

    Args:
        model: its name.
        series: number of its series.
        sums: from which curves are made.
        totals: of all leads together, each with one lead.
        is_single: whether it is a single field, whose probabilities are 0 and 1.
    """

    model: str
    series: int
    sums: EnsembleSums | ProbabilitySums
    totals: Mapping[str, np.ndarray]
    is_single: bool = False


def probabilities(scores: SummaryScores) -> Section | None:
    """What is said of probabilities of rain rates by pixel, of members or of a distribution."""
    found = _of_rates(scores)
    if not found:
        return None
    tabs = []
    for k, threshold in enumerate(found[0].sums.thresholds):
        title = scores.threshold_text(threshold)
        text = f"{title}, all leads"
        keys = scores.known([ScoreKey(score, threshold) for score in _OF_EVENTS])
        figures = [
            reliability(found, k, text),
            roc(found, k, text),
            _value_of_rates(scores, found, k, text),
            *(scoring.curve(scores, key) for key in keys),
        ]
        tabs.append(Tab(title, [Figures(figures)]))
    words = (
        "Forecast probability is what a distribution says, or the share of members that reach the "
        f"threshold. {RELIABILITY}"
    )
    items = [scoring.legend(scores), soft(words), Tabs("Threshold", tabs)]
    return Section("probabilities", "Probabilities", items)


def _of_rates(scores: SummaryScores) -> list[Probabilities]:
    """The models with probabilities of rain rates, or with members."""
    results, found = scores.results, []
    for model in results.models:
        if model in results.probabilities:
            sums, totals = results.scores.probabilities().sums(1), results.probabilities[model]
        elif model in results.ensembles and model in results.members:
            sums = results.scores.ensemble(results.members[model]).sums(1)
            totals = results.ensembles[model]
        else:
            continue
        # counts of all leads add up to those of one forecast of one lead
        together = {name: array.sum(0).sum(-1, keepdims=True) for name, array in totals.items()}
        found.append(Probabilities(model, scoring.series_number(scores, model), sums, together))
    return found


def reliability(found: Sequence[Probabilities], k: int, threshold: str) -> Figure:
    """Observed frequency by forecast probability of threshold k."""
    lines, rows = [], []
    for one in found:
        if one.is_single:
            continue
        probability, frequency, share = one.sums.reliability_curve(one.totals, k)
        frequency, share = frequency[..., 0], share[..., 0]
        probability = probability.reshape(frequency.shape)
        ever = share > 0
        texts = []
        for numbers in zip(probability[ever], frequency[ever], 100 * share[ever]):
            forecast, observed, percent = map(number, numbers)
            rows.append([one.model, forecast, observed, f"{percent} %"])
            said = f"forecast {forecast}\nobserved {observed}\nin {percent} % of the forecasts"
            texts.append(f"{one.model}\n{said}")
        lines.append(Line(one.model, one.series, probability[ever], frequency[ever], texts=texts))
    columns = ["model", "forecast probability", "observed frequency", "share of the forecasts"]
    title = f"Reliability {threshold}"
    return _probability_figure(title, columns[1], columns[2], lines, columns, rows)


def roc(found: Sequence[Probabilities], k: int, threshold: str) -> Figure:
    """Hit rate by false alarm rate of threshold k."""
    lines, rows = [], []
    for one in found:
        if one.is_single:
            continue
        hits, alarms = (rate[..., 0] for rate in one.sums.roc_curve(one.totals, k))
        texts = []
        for rates, warned in zip(zip(hits, alarms), ["never", *one.sums.warned_from[::-1]]):
            hit_rate, alarm_rate = map(number, rates)
            rows.append([one.model, warned, hit_rate, alarm_rate])
            said = f"hit rate {hit_rate}\nfalse alarm rate {alarm_rate}"
            texts.append(f"{one.model}, {warned}\n{said}")
        lines.append(Line(one.model, one.series, alarms, hits, texts=texts))
    columns = ["model", "warned at", "hit rate", "false alarm rate"]
    title = f"ROC {threshold}"
    return _probability_figure(title, columns[3], columns[2], lines, columns, rows)


def _value_of_rates(
    scores: SummaryScores, found: Sequence[Probabilities], k: int, text: str
) -> Figure:
    """Economic values of threshold k, also of models of one field."""
    lines, threshold = [], found[0].sums.thresholds[k]
    by_model = {one.model: one for one in found}
    for model in scores.results.models:
        series = scoring.series_number(scores, model)
        if model in by_model:
            lines.append(_value_line(by_model[model], k))
            continue
        keys = [ScoreKey(count, threshold, 1) for count in _COUNTS]
        if not all(key in scores.estimates[model] for key in keys):
            continue
        counts = [scores.estimates[model][key].value[:-1].sum() for key in keys]
        pixels = sum(counts)
        values = [float(economic_value(*counts[:3], pixels, ratio)) for ratio in _RATIOS]
        lines.append(Line(model, series, np.array(_RATIOS), np.array(values)))
    return value_figure(lines, text)


def _value_line(one: Probabilities, k: int) -> Line:
    values = [float(one.sums.economic_value(one.totals, k, ratio)[0]) for ratio in _RATIOS]
    return Line(one.model, one.series, np.array(_RATIOS), np.array(values))


def values_of(found: Sequence[Probabilities], k: int, text: str) -> Figure:
    """Economic values of threshold k."""
    return value_figure([_value_line(one, k) for one in found], text)


def value_figure(lines: list[Line], threshold: str) -> Figure:
    """Economic value by cost-loss ratio."""
    title = f"Economic value {threshold}"
    labels = [f"{ratio:g}" for ratio in _RATIOS]
    chart = charts.lines_chart(
        title,
        lines,
        x=axes.logarithmic(_RATIOS[0], _RATIOS[-1], "cost-loss ratio", ticks=_TICKS),
        y=axes.linear(0, 1, "economic value"),
        x_labels=[f"cost-loss ratio {label}" for label in labels],
    )
    table = scoring.values_of_lines(title, "cost-loss ratio", labels, lines)
    return Figure(title, chart, table, "higher is better")


def _probability_figure(
    title: str, x: str, y: str, lines: list[Line], columns: list[str], rows: list[list[str]]
) -> Figure:
    """Paths of points over two probabilities, with the diagonal."""
    plot = Plot(axes.linear(0, 1, x), axes.linear(0, 1, y), *_SIZE)
    diagonal = outline("biasline", plot.path([0, 1], [0, 1]))
    parts = [diagonal, *(charts.points(plot, line) for line in lines)]
    return scoring.points_figure(title, plot, parts, columns, rows)
