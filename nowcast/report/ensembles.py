"""The section of ensembles: spread and skill, ranks, reliability and ROC."""

import numpy as np

from nowcast.evaluation.statistics.sums import ScoreKey
from nowcast.report import axes, charts
from nowcast.report.charts import Line, Plot
from nowcast.report.document import Figure, Figures, Heading, Section, Tab, Table, Tabs, Words
from nowcast.report.markup import tag
from nowcast.report.scoring import Scoring, number

_SCORES = ("crps", "crps_fair", "spread", "rmse_of_mean", "spread_skill")


def ensembles(scoring: Scoring) -> Section | None:
    """What is said of ensembles: ranks, reliability, ROC, spread and skill."""
    results = scoring.results
    models = [
        model for model in results.models if model in results.members and model in results.ensembles
    ]
    if not models:
        return None
    pooled, last = {}, {}
    for model in models:
        totals = {name: array.sum(0) for name, array in results.ensembles[model].items()}
        pooled[model] = {name: array.sum(-1, keepdims=True) for name, array in totals.items()}
        last[model] = {name: array[..., -1:] for name, array in totals.items()}
    sums = {model: results.scores.ensemble(results.members[model]).sums(1) for model in models}
    scopes = [
        ("all leads", pooled),
        *([(scoring.lead(scoring.leads - 1), last)] if scoring.leads > 1 else []),
    ]
    members = ", ".join(f"{model} has {results.members[model]} members" for model in models)
    items = [
        scoring.legend(models),
        Words([f"{members}."], "soft"),
        Heading("Spread and skill"),
        Figures(
            [scoring.curve(ScoreKey(score)) for score in _SCORES if ScoreKey(score) in scoring.keys]
        ),
        Heading("Ranks of the observation among the members"),
        Words(
            [
                "Flat is right. High at both ends: the observation is often outside of the "
                "ensemble, whose spread is too small. Sloping: the ensemble is too wet or too "
                "dry. "
                "Where members and observation are alike (all dry), the ranks between them share "
                "the pixel."
            ],
            "soft",
        ),
        Figures(
            [
                _ranks(scoring, model, sums[model].rank_histogram(totals[model])[..., 0], name)
                for model in models
                for name, totals in scopes
            ]
        ),
    ]
    thresholds = sums[models[0]].thresholds
    tabs = []
    for k, threshold in enumerate(thresholds):
        keys = [
            key
            for key in (ScoreKey("brier_skill", threshold), ScoreKey("roc_area", threshold))
            if key in scoring.keys
        ]
        tabs.append(
            Tab(
                scoring.threshold(threshold),
                [
                    Figures(
                        [
                            _reliability(scoring, models, sums, pooled, k),
                            _roc(scoring, models, sums, pooled, k),
                            *(scoring.curve(key) for key in keys),
                        ]
                    )
                ],
            )
        )
    items += [
        Heading("Probabilities"),
        Words(
            [
                "Forecast probability is the share of members that reach the threshold. On the "
                "diagonal of the first chart it comes true as often as it says. "
                "The second is the better, the further up and left it bends."
            ],
            "soft",
        ),
        Tabs("Threshold", tabs),
    ]
    return Section("ensembles", "Ensembles", items)


def _ranks(scoring: Scoring, model: str, shares: np.ndarray, name: str) -> Figure:
    flat = 1 / len(shares)
    title = f"{model}, {name}"
    x = axes.steps(
        list(range(len(shares))),
        [str(rank) for rank in range(len(shares))],
        "members below the observation",
    )
    texts = [
        f"rank {rank}\nshare {number(share)}\nflat {number(flat)}"
        for rank, share in enumerate(shares)
    ]
    chart = charts.bars(
        shares,
        x=x,
        y=axes.around(shares, "share of pixels", holding=(flat,)),
        texts=texts,
        number=scoring.group.number(model),
        rule=flat,
        description=f"Rank histogram of {title}: from {number(shares[0])} in the lowest to "
        f"{number(shares[-1])} in the highest rank; flat would be {number(flat)}.",
    )
    return Figure(
        title,
        chart,
        "flat is best",
        Table(
            f"Rank histogram of {title}",
            ["rank", "share"],
            [[str(rank), number(share)] for rank, share in enumerate(shares)],
            folded=True,
        ),
    )


def _reliability(scoring: Scoring, models, sums, totals, k: int) -> Figure:
    plot = Plot(
        axes.linear(0, 1, "forecast probability"), axes.linear(0, 1, "observed frequency"), 380, 330
    )
    parts, rows = [_diagonal(plot)], []
    for model in models:
        probability, frequency, share = sums[model].reliability_curve(totals[model], k)
        frequency, share = frequency[..., 0], share[..., 0]
        texts = [
            f"{model}\nforecast {number(p)}\nobserved {number(f)}\nin {number(100 * s)} % of the "
            "forecasts"
            for p, f, s in zip(probability, frequency, share)
        ]
        parts += charts.points(
            plot, Line(model, scoring.group.number(model), probability, frequency, texts=texts)
        )
        rows += [
            [model, number(p), number(f), f"{number(100 * s)} %"]
            for p, f, s in zip(probability, frequency, share)
        ]
    title = f"Reliability {scoring.threshold(sums[models[0]].thresholds[k])}, all leads"
    table = Table(
        title,
        ["model", "forecast probability", "observed frequency", "share of the forecasts"],
        rows,
        folded=True,
    )
    return Figure(
        title,
        plot.draw(*parts, description=f"{title}; the numbers are in the table below."),
        "",
        table,
    )


def _roc(scoring: Scoring, models, sums, totals, k: int) -> Figure:
    plot = Plot(axes.linear(0, 1, "false alarm rate"), axes.linear(0, 1, "hit rate"), 380, 330)
    parts, rows = [_diagonal(plot)], []
    for model in models:
        hits, alarms = (rate[..., 0] for rate in sums[model].roc_curve(totals[model], k))
        count = len(hits) - 1
        warned = ["never"] + [f"{count - n} or more members" for n in range(1, count + 1)]
        texts = [
            f"{model}, {text}\nhit rate {number(h)}\nfalse alarm rate {number(f)}"
            for text, h, f in zip(warned, hits, alarms)
        ]
        parts += charts.points(
            plot, Line(model, scoring.group.number(model), alarms, hits, texts=texts)
        )
        rows += [[model, text, number(h), number(f)] for text, h, f in zip(warned, hits, alarms)]
    title = f"ROC {scoring.threshold(sums[models[0]].thresholds[k])}, all leads"
    table = Table(title, ["model", "warned at", "hit rate", "false alarm rate"], rows, folded=True)
    return Figure(
        title,
        plot.draw(*parts, description=f"{title}; the numbers are in the table below."),
        "",
        table,
    )


def _diagonal(plot: Plot):
    return tag("path", class_="biasline", d=charts.path(plot.across([0, 1]), plot.down([0, 1])))
