"""Two sections that show what a score alone hides: performance diagrams, and spectra."""

import math

import numpy as np

from nowcast.evaluation.statistics.sums import ScoreKey
from nowcast.evaluation.table import lead_label
from nowcast.report import axes, charts
from nowcast.report.charts import Line, Plot
from nowcast.report.document import Figure, Figures, Section, Tab, Table, Tabs, Words
from nowcast.report.markup import tag
from nowcast.report.scoring import Scoring, number


def diagram(scoring: Scoring) -> Section | None:
    """Performance diagrams (Roebber 2009), one for each threshold."""
    tabs = []
    for threshold in sorted(
        {key.threshold for key in scoring.keys if key.score == "success_ratio" and key.window == 1}
    ):
        tabs.append(
            Tab(
                scoring.threshold(threshold),
                [Figures([_performance(scoring, threshold)], wide=True)],
            )
        )
    if not tabs:
        return None
    words = [
        "Each line runs from the first lead (hollow) to the last, whose interval is drawn. Up "
        "and right is better: grey curves have the same CSI. "
        "Dashed lines have the same frequency bias: above 1 too many events are forecast, below "
        "it too few."
    ]
    return Section(
        "diagram",
        "Performance diagram",
        [scoring.legend(), Words(words, "soft"), Tabs("Threshold", tabs)],
    )


def _performance(scoring: Scoring, threshold: float) -> Figure:
    keys = [
        ScoreKey(score, threshold, 1) for score in ("success_ratio", "pod", "csi", "frequency_bias")
    ]
    plot = Plot(
        axes.linear(0, 1, "success ratio (1 − false alarm ratio)"),
        axes.linear(0, 1, "probability of detection"),
        540,
        490,
        top=22.0,
        beside=48.0,
    )
    parts, rows = _isolines(plot), []
    for model in scoring.models_with(keys[0])[::-1]:
        ratio, detected, csi, bias = (scoring.estimates[model][key] for key in keys)
        texts = [
            f"{model}, {scoring.lead(k)}\nsuccess ratio {number(ratio.value[k])}\nPOD "
            f"{number(detected.value[k])}\nCSI {number(csi.value[k])}\nbias "
            f"{number(bias.value[k])}"
            for k in range(scoring.leads)
        ]
        line = Line(
            model, scoring.group.number(model), ratio.value[:-1], detected.value[:-1], texts=texts
        )
        last = scoring.leads - 1
        x, y = (
            plot.across([ratio.low[last], ratio.value[last], ratio.high[last]]),
            plot.down([detected.low[last], detected.value[last], detected.high[last]]),
        )
        whiskers = tag(
            "path",
            class_="whisker",
            d=charts.path(x[[0, 2]], y[[1, 1]]) + charts.path(x[[1, 1]], y[[0, 2]]),
        )
        parts += [tag("g", whiskers, class_=charts.style(line.number)), *charts.points(plot, line)]
    for model in scoring.models_with(keys[0]):
        estimates = [scoring.estimates[model][key] for key in keys]
        rows += [
            [
                model,
                scoring.lead(k),
                *(scoring.value(key, estimate, k) for key, estimate in zip(keys, estimates)),
            ]
            for k in range(scoring.leads)
        ]
    title = f"Events {scoring.threshold(threshold)}"
    table = Table(
        title, ["model", "lead", "success ratio", "POD", "CSI", "frequency bias"], rows, folded=True
    )
    return Figure(
        title,
        plot.draw(
            *parts,
            description=f"Performance diagram of {title}; the numbers are in the table below.",
        ),
        "",
        table,
    )


def _isolines(plot: Plot) -> list:
    """Lines of one CSI, and of one frequency bias."""
    parts = []
    for csi in np.arange(1, 10) / 10:
        ratio = np.linspace(csi, 1, 60)
        detected = 1 / np.maximum(1 / csi + 1 - 1 / ratio, 1e-9)
        x, y = plot.across(ratio), plot.down(np.minimum(detected, 1))
        parts += [
            tag("path", class_="isoline", d=charts.path(x, y)),
            tag(
                "text", f"{csi:.1f}", class_="isolabel end", x=float(x[-1]) - 3, y=float(y[-1]) - 3
            ),
        ]
    for bias in (0.25, 0.5, 1, 1.5, 2, 4):
        end = min(1.0, 1 / bias)
        x, y = plot.across([0, end]), plot.down([0, end * bias])
        parts.append(tag("path", class_="biasline", d=charts.path(x, y)))
        above = bias >= 1
        parts.append(
            tag(
                "text",
                f"bias {bias:g}",
                class_=f"isolabel {'middle' if above else 'start'}",
                x=float(x[1]) + (0 if above else 4),
                y=float(y[1]) + (-5 if above else 3.5),
            )
        )
    return parts


def spectra(scoring: Scoring) -> Section | None:
    """Power by wavelength, its share of the observed one, and the effective resolution by lead."""
    widths = sorted({key.window for key in scoring.keys if key.score == "power_observation"})
    if len(widths) < 2:
        return None
    leads = sorted({0, scoring.leads // 2, scoring.leads - 1})
    tabs = [
        Tab(
            lead_label(lead + 1, scoring.lead_minutes).capitalize(),
            [Figures([_power(scoring, widths, lead), _share(scoring, widths, lead)])],
        )
        for lead in leads
    ]
    items = [
        scoring.legend(reference="observation"),
        Words(
            [
                "Where a forecast has less power than the observation, it lacks structure of "
                "that size: it is blurred, whatever its CSI. "
                "The rules of the second chart are as much power as observed, and half of it: "
                "the effective resolution is the shortest wavelength down to which a forecast "
                "has at least half."
            ],
            "soft",
        ),
        Tabs("Lead time", tabs),
    ]
    resolved = ScoreKey("effective_resolution")
    if resolved in scoring.keys:
        items.append(Figures([scoring.curve(resolved)]))
    return Section("spectra", "Spectra", items)


def _wave_axis(widths) -> axes.Axis:
    ticks = [2**k for k in range(1, 13) if widths[0] * 0.7 <= 2**k <= widths[-1] * 1.4]
    return axes.logarithmic(widths[-1] * 1.1, widths[0] / 1.1, "wavelength [pixels]", ticks=ticks)


def _spectrum(scoring: Scoring, model: str, score: str, widths, lead: int) -> np.ndarray:
    found = (scoring.estimates[model].get(ScoreKey(score, None, width)) for width in widths)
    power = np.array([math.nan if estimate is None else estimate.value[lead] for estimate in found])
    return np.where(power > 0, power, np.nan)


def _power(scoring: Scoring, widths, lead: int) -> Figure:
    x = np.array(widths, np.float64)
    models = scoring.results.models
    lines = [
        Line(
            "observation",
            charts.REFERENCE,
            x,
            _spectrum(scoring, models[0], "power_observation", widths, lead),
        )
    ]
    lines += [
        Line(
            model,
            scoring.group.number(model),
            x,
            _spectrum(scoring, model, "power_forecast", widths, lead),
        )
        for model in models
    ]
    values = np.concatenate([line.y for line in lines])
    finite = values[np.isfinite(values)]
    low, high = (finite.min(), finite.max()) if finite.size else (1.0, 10.0)
    return _wave_chart(
        scoring, "Power [dB²]", lines, axes.logarithmic(low / 1.5, high * 1.5, ""), lead
    )


def _share(scoring: Scoring, widths, lead: int) -> Figure:
    x = np.array(widths, np.float64)
    observed = _spectrum(scoring, scoring.results.models[0], "power_observation", widths, lead)
    lines = [
        Line(
            model,
            scoring.group.number(model),
            x,
            _spectrum(scoring, model, "power_forecast", widths, lead) / observed,
        )
        for model in scoring.results.models
    ]
    y = axes.around(np.minimum(np.concatenate([line.y for line in lines]), 2.0), "", holding=(1.0,))
    return _wave_chart(scoring, "Share of the observed power", lines, y, lead, rules=(1.0, 0.5))


def _wave_chart(
    scoring: Scoring, title: str, lines: list[Line], y: axes.Axis, lead: int, rules=()
) -> Figure:
    x = lines[0].x
    texts = [
        "\n".join([f"{width:g} pixels", *(f"{line.name}: {number(line.y[k])}" for line in lines)])
        for k, width in enumerate(x)
    ]
    title = f"{title} at {lead_label(lead + 1, scoring.lead_minutes)}"
    chart = charts.lines_chart(
        lines,
        x=_wave_axis(list(x)),
        y=y,
        rules=rules,
        texts=texts,
        description=charts.description_of(title, lines, f"{x[0]:g} pixels", f"{x[-1]:g} pixels"),
    )
    rows = [[f"{width:g}", *(number(line.y[k]) for line in lines)] for k, width in enumerate(x)]
    return Figure(
        title,
        chart,
        "",
        Table(title, ["wavelength [pixels]", *(line.name for line in lines)], rows, folded=True),
    )
