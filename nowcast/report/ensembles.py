"""The section of ensembles: spread and skill, ranks, reliability and ROC."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nowcast.evaluation.statistics.ensemble import EnsembleSums
from nowcast.evaluation.statistics.sums import ScoreKey
from nowcast.evaluation.summary_scores import SummaryScores
from nowcast.evaluation.titles import number
from nowcast.report import axes, charts, scoring
from nowcast.report.charts import Line, Plot
from nowcast.report.document import Figure, Figures, Heading, Section, Tab, Table, Tabs, soft
from nowcast.report.markup import outline

_SCORES = ("crps", "crps_fair", "spread", "rmse_of_mean", "spread_skill")
_OF_EVENTS = ("brier_skill", "roc_area")
_SIZE = (380, 330)  # of the charts of probabilities


@dataclass(frozen=True)
class _Ensemble:
    """What is known of the members of a model.

    Args:
        model: its name.
        series: number of its series.
        sums: from which ranks and curves are made.
        totals: of all leads together, each with one lead.
        last: of the last lead alone.
    """

    model: str
    series: int
    sums: EnsembleSums
    totals: Mapping[str, np.ndarray]
    last: Mapping[str, np.ndarray]


def ensembles(scores: SummaryScores) -> Section | None:
    """What is said of ensembles: ranks, reliability, ROC, spread and skill."""
    found = _ensembles(scores)
    if not found:
        return None
    counts = [
        f"{ensemble.model} has {scores.results.members[ensemble.model]} members"
        for ensemble in found
    ]
    ranks = []
    for ensemble in found:
        # one chart of all leads may be flat where the first is too narrow and the last too wide
        ranks.append(_ranks(ensemble, ensemble.totals, "all leads"))
        if scores.leads > 1:
            ranks.append(_ranks(ensemble, ensemble.last, scores.last_lead_text))
    items = [
        scoring.legend(scores, [ensemble.model for ensemble in found]),
        soft(f"{', '.join(counts)}."),
        Heading("Spread and skill"),
        _curves(scores, [ScoreKey(score) for score in _SCORES]),
        Heading("Ranks of the observation among the members"),
        soft(
            "Flat is right. High at both ends: the observation is often outside of the ensemble, "
            "whose spread is too small. Sloping: the ensemble is too wet or too dry. Where members "
            "and observation are alike (all dry), the ranks between them share the pixel."
        ),
        Figures(ranks),
        Heading("Probabilities"),
        soft(
            "Forecast probability is the share of members that reach the threshold. On the "
            "diagonal of the first chart it comes true as often as it says. The second is the "
            "better, the further up and left it bends."
        ),
    ]
    tabs = []
    for k, threshold in enumerate(found[0].sums.thresholds):
        text = scores.threshold_text(threshold)
        curves = _curves(scores, [ScoreKey(score, threshold) for score in _OF_EVENTS])
        figures = [_reliability(found, k, text), _roc(found, k, text), *curves.figures]
        tabs.append(Tab(text, [Figures(figures)]))
    return Section("ensembles", "Ensembles", [*items, Tabs("Threshold", tabs)])


def _ensembles(scores: SummaryScores) -> list[_Ensemble]:
    results, found = scores.results, []
    for model in results.models:
        if model not in results.members or model not in results.ensembles:
            continue
        by_lead = {name: array.sum(0) for name, array in results.ensembles[model].items()}
        # counts of all leads add up to those of one forecast of one lead
        found.append(
            _Ensemble(
                model,
                scoring.series_number(scores, model),
                results.scores.ensemble(results.members[model]).sums(1),
                {name: array.sum(-1, keepdims=True) for name, array in by_lead.items()},
                {name: array[..., -1:] for name, array in by_lead.items()},
            )
        )
    return found


def _curves(scores: SummaryScores, keys: Sequence[ScoreKey]) -> Figures:
    return Figures([scoring.curve(scores, key) for key in scores.known(keys)])


def _ranks(ensemble: _Ensemble, totals: Mapping[str, np.ndarray], scope: str) -> Figure:
    shares = ensemble.sums.rank_histogram(totals)[..., 0]
    flat, title = 1 / len(shares), f"{ensemble.model}, {scope}"
    ranks = [str(rank) for rank in range(len(shares))]
    rows = [[rank, number(share)] for rank, share in zip(ranks, shares)]
    chart = charts.bars(
        shares,
        x=axes.steps(range(len(shares)), ranks, "members below the observation"),
        y=axes.around(shares, "share of pixels", including=(flat,)),
        texts=[f"rank {rank}\nshare {share}\nflat {number(flat)}" for rank, share in rows],
        number=ensemble.series,
        rule=flat,
        description=f"Rank histogram of {title}: from {rows[0][1]} in the lowest to {rows[-1][1]} "
        f"in the highest rank; flat would be {number(flat)}.",
    )
    table = Table(f"Rank histogram of {title}", ["rank", "share"], rows, folded=True)
    return Figure(title, chart, table, "flat is best")


def _reliability(found: Sequence[_Ensemble], k: int, threshold: str) -> Figure:
    lines, rows = [], []
    for ensemble in found:
        probability, frequency, share = ensemble.sums.reliability_curve(ensemble.totals, k)
        frequency, share = frequency[..., 0], share[..., 0]
        texts = []
        for numbers in zip(probability, frequency, 100 * share):
            forecast, observed, percent = map(number, numbers)
            rows.append([ensemble.model, forecast, observed, f"{percent} %"])
            said = f"forecast {forecast}\nobserved {observed}\nin {percent} % of the forecasts"
            texts.append(f"{ensemble.model}\n{said}")
        lines.append(Line(ensemble.model, ensemble.series, probability, frequency, texts=texts))
    columns = ["model", "forecast probability", "observed frequency", "share of the forecasts"]
    title = f"Reliability {threshold}, all leads"
    return _probability_figure(title, columns[1], columns[2], lines, columns, rows)


def _roc(found: Sequence[_Ensemble], k: int, threshold: str) -> Figure:
    lines, rows = [], []
    for ensemble in found:
        hits, alarms = (rate[..., 0] for rate in ensemble.sums.roc_curve(ensemble.totals, k))
        members = len(hits) - 1
        texts = []
        for n, rates in enumerate(zip(hits, alarms)):
            warned = f"{members - n} or more members" if n else "never"
            hit_rate, alarm_rate = map(number, rates)
            rows.append([ensemble.model, warned, hit_rate, alarm_rate])
            said = f"hit rate {hit_rate}\nfalse alarm rate {alarm_rate}"
            texts.append(f"{ensemble.model}, {warned}\n{said}")
        lines.append(Line(ensemble.model, ensemble.series, alarms, hits, texts=texts))
    columns = ["model", "warned at", "hit rate", "false alarm rate"]
    title = f"ROC {threshold}, all leads"
    return _probability_figure(title, columns[3], columns[2], lines, columns, rows)


def _probability_figure(
    title: str, x: str, y: str, lines: list[Line], columns: list[str], rows: list[list[str]]
) -> Figure:
    """Paths of points over two probabilities, with the diagonal."""
    plot = Plot(axes.linear(0, 1, x), axes.linear(0, 1, y), *_SIZE)
    diagonal = outline("biasline", plot.path([0, 1], [0, 1]))
    parts = [diagonal, *(charts.points(plot, line) for line in lines)]
    return scoring.points_figure(title, plot, parts, columns, rows)
