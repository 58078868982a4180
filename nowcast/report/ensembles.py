"""The section of ensembles: spread and skill, and ranks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nowcast.evaluation.statistics.ensemble import EnsembleSums
from nowcast.evaluation.statistics.sums import ScoreKey
from nowcast.evaluation.summary_scores import SummaryScores
from nowcast.evaluation.titles import number
from nowcast.report import axes, charts, scoring
from nowcast.report.document import Figure, Figures, Heading, Section, Table, soft

_SCORES = ("crps", "crps_fair", "spread", "rmse_of_mean", "spread_skill")
FLAT = (
    "Flat is right. High at both ends: the observation is often outside of the ensemble, whose "
    "spread is too small. Sloping: the ensemble is too wet or too dry. Where members and "
    "observation are alike (all dry), the ranks between them share the pixel."
)
"""What rank histograms say."""


@dataclass(frozen=True)
class Ensemble:
    """What is known of the members of a model.

    Args:
        model: its name.
        series: number of its series.
        sums: from which ranks are made.
        totals: of all leads together, each with one lead.
        last: of the last lead alone.
    """

    model: str
    series: int
    sums: EnsembleSums
    totals: Mapping[str, np.ndarray]
    last: Mapping[str, np.ndarray]


def ensembles(scores: SummaryScores) -> Section | None:
    """What is said of ensembles: spread and skill, and ranks."""
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
        ranks.append(rank_figure(ensemble, ensemble.totals, "all leads"))
        if scores.leads > 1:
            ranks.append(rank_figure(ensemble, ensemble.last, scores.last_lead_text))
    items = [
        scoring.legend(scores, [ensemble.model for ensemble in found]),
        soft(f"{', '.join(counts)}."),
        Heading("Spread and skill"),
        _curves(scores, [ScoreKey(score) for score in _SCORES]),
        Heading("Ranks of the observation among the members"),
        soft(FLAT),
        Figures(ranks),
    ]
    return Section("ensembles", "Ensembles", items)


def _ensembles(scores: SummaryScores) -> list[Ensemble]:
    results, found = scores.results, []
    for model in results.models:
        if model not in results.members or model not in results.ensembles:
            continue
        by_lead = {name: array.sum(0) for name, array in results.ensembles[model].items()}
        # counts of all leads add up to those of one forecast of one lead
        found.append(
            Ensemble(
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


def rank_figure(ensemble: Ensemble, totals: Mapping[str, np.ndarray], scope: str) -> Figure:
    """Where the observation stands among the members."""
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
