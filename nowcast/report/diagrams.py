"""Two sections that show what a score alone hides: performance diagrams, and spectra."""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from nowcast.evaluation.statistics.sums import ScoreKey
from nowcast.evaluation.summary_scores import SummaryScores
from nowcast.report import axes, charts, scoring
from nowcast.report.charts import Line, Plot
from nowcast.report.document import Figure, Figures, Section, Tab, Tabs, soft
from nowcast.report.markup import outline, tag, text_at

_OF_EVENTS = {
    "success_ratio": "success ratio",
    "pod": "POD",
    "csi": "CSI",
    "frequency_bias": "frequency bias",
}
_BIASES = (0.25, 0.5, 1, 1.5, 2, 4)  # of the dashed lines
_WAVELENGTHS = [2**k for k in range(1, 13)]  # pixels, along the axis
_HIGHEST_SHARE = 2.0  # of the observed power: more is cut off, so that less is seen well
_SHARES = (1.0, 0.5)  # as much power as observed; half of it: the effective resolution


def diagram(scores: SummaryScores) -> Section | None:
    """Performance diagrams (Roebber 2009), one for each threshold."""
    tabs = []
    ratios = [key for key in scores.keys if key.score == "success_ratio" and key.window == 1]
    for threshold in sorted({key.threshold for key in ratios}):
        figure = _performance(scores, threshold)
        tabs.append(Tab(scores.threshold_text(threshold), [Figures([figure], wide=True)]))
    if not tabs:
        return None
    words = soft(
        "Each line runs from the first lead (hollow) to the last, whose interval is drawn. Up and "
        "right is better: grey curves have the same CSI. Dashed lines have the same frequency "
        "bias: above 1 too many events are forecast, below it too few."
    )
    items = [scoring.legend(scores), words, Tabs("Threshold", tabs)]
    return Section("diagram", "Performance diagram", items)


def _performance(scores: SummaryScores, threshold: float) -> Figure:
    keys = [ScoreKey(score, threshold, 1) for score in _OF_EVENTS]
    x = axes.linear(0, 1, "success ratio (1 − false alarm ratio)")
    plot = Plot(x, axes.linear(0, 1, "probability of detection"), 540, 490, 22.0, 48.0)
    by_model, rows = [], []
    for model in scores.models_with(keys[0]):
        estimates = [scores.estimates[model][key] for key in keys]
        texts = []
        for lead in range(scores.leads):
            cells = [scoring.value_cell(estimate, lead) for estimate in estimates]
            rows.append([model, scores.lead_text(lead), *cells])
            said = [f"{name} {cell.text}" for name, cell in zip(_OF_EVENTS.values(), cells)]
            said[-1] = said[-1].removeprefix("frequency ")
            texts.append("\n".join([f"{model}, {scores.lead_text(lead)}", *said]))
        ratio, detected = estimates[:2]
        series = scoring.series_number(scores, model)
        line = Line(model, series, ratio.value[:-1], detected.value[:-1], texts=texts)
        last = scores.leads - 1
        across = plot.path([ratio.low[last], ratio.high[last]], [detected.value[last]] * 2)
        along = plot.path([ratio.value[last]] * 2, [detected.low[last], detected.high[last]])
        whiskers = outline("whisker", across + along)
        by_model.append(tag("g", whiskers, class_=charts.style(series)) + charts.points(plot, line))
    columns = ["model", "lead", *_OF_EVENTS.values()]
    title = f"Events {scores.threshold_text(threshold)}"
    parts = [*_isolines(plot), *by_model[::-1]]  # the first model lies above the others
    kind = "Performance diagram of "
    return scoring.points_figure(title, plot, parts, columns, rows, kind)


def _isolines(plot: Plot) -> list[Markup]:
    """Lines of one CSI, and of one frequency bias."""
    parts = []
    for csi in np.arange(1, 10) / 10:
        ratio = np.linspace(csi, 1, 60)
        # 1 / CSI = 1 / success ratio + 1 / POD - 1
        detected = np.minimum(1 / np.maximum(1 / csi + 1 - 1 / ratio, 1e-9), 1)
        parts.append(outline("isoline", plot.path(ratio, detected)))
        x, y = float(plot.across(ratio[-1])) - 3, float(plot.down(detected[-1])) - 3
        parts.append(text_at(x, y, "isolabel end", f"{csi:.1f}"))
    for bias in _BIASES:
        ratio = min(1.0, 1 / bias)
        parts.append(outline("biasline", plot.path([0, ratio], [0, ratio * bias])))
        x, y = float(plot.across(ratio)), float(plot.down(ratio * bias))
        if bias >= 1:  # the line ends at the top, else at the right
            parts.append(text_at(x, y - 5, "isolabel middle", f"bias {bias:g}"))
        else:
            parts.append(text_at(x + 4, y + 3.5, "isolabel start", f"bias {bias:g}"))
    return parts


def spectra(scores: SummaryScores) -> Section | None:
    """Power by wavelength, its share of the observed one, and the effective resolution by lead."""
    widths = sorted({key.window for key in scores.keys if key.score == "power_observation"})
    if len(widths) < 2:  # one wavelength is no spectrum
        return None
    tabs = []
    # blur grows with the lead: the first, a middle and the last one show how
    for lead in sorted({0, scores.leads // 2, scores.leads - 1}):
        observed = _spectrum(scores, scores.results.models[0], "power_observation", widths, lead)
        lines = []
        for model in scores.results.models:
            power = _spectrum(scores, model, "power_forecast", widths, lead)
            series = scoring.series_number(scores, model)
            lines.append(Line(model, series, np.array(widths, np.float64), power))
        figures = [_power(scores, observed, lines, lead), _share(scores, observed, lines, lead)]
        tabs.append(Tab(scores.lead_text(lead).capitalize(), [Figures(figures)]))
    words = soft(
        "Where a forecast has less power than the observation, it lacks structure of that size: it "
        "is blurred, whatever its CSI. The rules of the second chart are as much power as "
        "observed, and half of it: the effective resolution is the shortest wavelength down to "
        "which a forecast has at least half."
    )
    items = [scoring.legend(scores, reference="observation"), words, Tabs("Lead time", tabs)]
    resolved = scores.known([ScoreKey("effective_resolution")])
    if resolved:
        items.append(Figures([scoring.curve(scores, key) for key in resolved]))
    return Section("spectra", "Spectra", items)


def _spectrum(
    scores: SummaryScores, model: str, score: str, widths: Sequence[int], lead: int
) -> np.ndarray:
    """Power by wavelength; NaN where there is none, which has no place on an axis of ratios."""
    power = np.full(len(widths), np.nan)
    for k, width in enumerate(widths):
        estimate = scores.estimates[model].get(ScoreKey(score, None, width))
        if estimate is not None and estimate.value[lead] > 0:
            power[k] = estimate.value[lead]
    return power


def _power(scores: SummaryScores, observed: np.ndarray, lines: list[Line], lead: int) -> Figure:
    lines = [Line("observation", charts.REFERENCE, lines[0].x, observed), *lines]
    values = np.concatenate([line.y for line in lines])
    low, high = 1.0, 10.0  # of dry fields, which have no power
    if np.isfinite(values).any():
        low, high = np.nanmin(values), np.nanmax(values)
    return _wave_figure(
        scores, "Power [dB²]", lines, axes.logarithmic(low / 1.5, high * 1.5, ""), lead
    )


def _share(scores: SummaryScores, observed: np.ndarray, lines: list[Line], lead: int) -> Figure:
    lines = [Line(line.name, line.number, line.x, line.y / observed) for line in lines]
    values = np.minimum(np.concatenate([line.y for line in lines]), _HIGHEST_SHARE)
    y = axes.around(values, "", including=(1.0,))
    return _wave_figure(scores, "Share of the observed power", lines, y, lead, _SHARES)


def _wave_figure(
    scores: SummaryScores,
    title: str,
    lines: list[Line],
    y: axes.Axis,
    lead: int,
    rules: Sequence[float] = (),
) -> Figure:
    title = f"{title} at {scores.lead_text(lead)}"
    shortest, longest = lines[0].x[0], lines[0].x[-1]
    ticks = [width for width in _WAVELENGTHS if shortest * 0.7 <= width <= longest * 1.4]
    x = axes.logarithmic(longest * 1.1, shortest / 1.1, "wavelength [pixels]", ticks=ticks)
    widths = [f"{width:g}" for width in lines[0].x]
    labels = [f"{width} pixels" for width in widths]
    chart = charts.lines_chart(title, lines, x=x, y=y, x_labels=labels, rules=rules)
    return Figure(title, chart, scoring.values_of_lines(title, x.label, widths, lines))
