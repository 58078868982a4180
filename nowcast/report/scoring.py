"""The scores of a report: which are the main ones, and tables and charts of them."""

import math
from collections.abc import Iterable
from functools import cached_property

import numpy as np

from nowcast.evaluation.intervals import Estimate
from nowcast.evaluation.statistics.scores import BETTER, SUMMED_OVER_LEADS
from nowcast.evaluation.statistics.sums import ScoreKey
from nowcast.evaluation.table import (
    digits,
    lead_label,
    penalty,
    score_title,
    signed,
    thresholds_shown,
    unit_of,
)
from nowcast.report import axes, charts
from nowcast.report.charts import Line
from nowcast.report.document import Cell, Figure, Legend, Table
from nowcast.report.runs import Group

_OTHERS = ("csi_mean", "crps", "cross_entropy", "mae", "mse", "ssim", "psnr", "correlation")
_UNITS = {
    "cross_entropy": "nats",
    "cross_entropy_floor": "nats",
    "psnr": "dB",
    "effective_resolution": "px",
    "power_forecast": "dB²",
    "power_observation": "dB²",
}
_RAIN_UNITS = {
    "mae": "mm/h",
    "rmse": "mm/h",
    "mse": "mm²/h²",
    "mean_error": "mm/h",
    "crps": "mm/h",
    "crps_fair": "mm/h",
    "spread": "mm/h",
    "rmse_of_mean": "mm/h",
}
DIRECTIONS = {
    "higher": "higher is better",
    "lower": "lower is better",
    "near 1": "1 is best",
    "near 0": "0 is best",
    "": "",
}


class Scoring:
    """The scores of a group of runs in the words and numbers of the report.

    Args:
        group: the runs.
    """

    def __init__(self, group: Group):
        self.group, self.results = group, group.results
        self.task = self.results.task
        self.lead_minutes = self.task.lead_minutes
        self.leads = self.task.forecast_length

    @cached_property
    def estimates(self) -> dict[str, dict[ScoreKey, Estimate]]:
        """Every score of every model with its interval."""
        return {model: self.results.estimates(model) for model in self.results.models}

    @cached_property
    def keys(self) -> list[ScoreKey]:
        """All scores that any model has."""
        return list(
            dict.fromkeys(key for estimates in self.estimates.values() for key in estimates)
        )

    @cached_property
    def thresholds(self) -> list[float]:
        """At most three thresholds: the lowest, a middle and the highest one with events at every
        lead.
        """
        return thresholds_shown(self.results.rows(self.results.models[0]))

    @cached_property
    def main(self) -> list[ScoreKey]:
        """The scores that verdicts are about."""
        windows = {key.window for key in self.keys if key.score == "fss"}
        events = [
            ScoreKey(score, threshold, window)
            for score, window in (("csi", 1), ("fss", max(windows, default=None)))
            for threshold in self.thresholds
        ]
        return [
            key
            for key in (
                *events,
                *(ScoreKey(score) for score in _OTHERS),
                ScoreKey("csi_mean", None, 1),
            )
            if key in self.keys
        ]

    def title(self, key: ScoreKey) -> str:
        """A score with its threshold, neighbourhood and unit."""
        title = score_title(*key, unit=unit_of(self.lead_minutes))
        unit = _UNITS.get(key.score) or (
            _RAIN_UNITS.get(key.score) if self.lead_minutes is not None else None
        )
        return f"{title} [{unit}]" if unit else title

    def threshold(self, threshold: float) -> str:
        """≥ 1 mm/h."""
        return f"≥ {threshold:g} {unit_of(self.lead_minutes)}"

    def lead(self, place: int) -> str:
        """A lead by its index, the last index being all of them."""
        return (
            "all leads" if place in (-1, self.leads) else lead_label(place + 1, self.lead_minutes)
        )

    @property
    def scopes(self) -> list[tuple[str, int]]:
        """Over all leads, and at the last one: a name and the index."""
        return [
            ("over all leads", self.leads),
            *(
                [(f"at {lead_label(self.leads, self.lead_minutes)}", self.leads - 1)]
                if self.leads > 1
                else []
            ),
        ]

    def models_with(self, key: ScoreKey) -> list[str]:
        """The models that have a score."""
        return [model for model in self.results.models if key in self.estimates[model]]

    def legend(self, models: Iterable[str] | None = None, *, reference: str = "") -> Legend:
        """Which line is whose."""
        entries = [
            (charts.swatch(self.group.number(model)), model)
            for model in (self.results.models if models is None else models)
        ]
        return Legend(
            [*([(charts.swatch(charts.REFERENCE), reference)] if reference else []), *entries]
        )

    def value(self, key: ScoreKey, estimate: Estimate, place: int, *, mark: str = "") -> Cell:
        """A score at a lead as a cell."""
        return Cell(number(estimate.value[place]), _between(estimate, place, number), mark)

    def values_table(
        self, keys: list[ScoreKey], place: int, caption: str, *, folded: bool = False
    ) -> Table:
        """Scores by model at a lead; the best are marked."""
        rows = []
        for key in keys:
            found = {model: self.estimates[model][key] for model in self.models_with(key)}
            best = best_of(
                key.score,
                {model: float(estimate.value[place]) for model, estimate in found.items()},
            )
            cells = [
                self.value(key, found[model], place, mark="best" if model in best else "")
                if model in found
                else ""
                for model in self.results.models
            ]
            rows.append([Cell(self.title(key), DIRECTIONS[BETTER.get(key.score, "")]), *cells])
        return Table(caption, ["score", *self.results.models], rows, folded)

    def lead_axis(self) -> axes.Axis:
        """The leads as an axis."""
        x = self.lead_values
        return axes.steps(
            x,
            [f"{value:g}" for value in x],
            "frame" if self.lead_minutes is None else "lead time [min]",
        )

    @property
    def lead_values(self) -> np.ndarray:
        """Minutes of the leads, or their numbers."""
        return np.arange(1, self.leads + 1) * (self.lead_minutes or 1.0)

    def curve(self, key: ScoreKey) -> Figure:
        """A score by lead time."""
        lines = []
        for model in self.models_with(key):
            estimate = self.estimates[model][key]
            value, low, high = (
                np.where(np.isfinite(array[:-1]), array[:-1], np.nan)
                for array in (estimate.value, estimate.low, estimate.high)
            )
            lines.append(Line(model, self.group.number(model), self.lead_values, value, low, high))
        floor = self._floor(key)
        drawn = [*lines, *floor]
        rules = {"near 1": (1.0,), "near 0": (0.0,)}.get(BETTER.get(key.score, ""), ())
        y = axes.around(_range(drawn), "", zero=key.score not in ("psnr",), holding=rules)
        title = self.title(key)
        chart = charts.lines_chart(
            drawn,
            x=self.lead_axis(),
            y=y,
            rules=rules,
            texts=[self._told(drawn, k) for k in range(self.leads)],
            description=charts.description_of(
                title, drawn, self.lead(0), self.lead(self.leads - 1)
            ),
        )
        return Figure(
            title, chart, DIRECTIONS[BETTER.get(key.score, "")], self.lead_table(key, title)
        )

    def _floor(self, key: ScoreKey) -> list[Line]:
        """What a perfect forecast costs in cross-entropy."""
        floor = ScoreKey("cross_entropy_floor")
        if key.score != "cross_entropy" or floor not in self.keys:
            return []
        return [
            Line(
                "perfect forecast",
                charts.REFERENCE,
                self.lead_values,
                self.estimates[self.results.models[0]][floor].value[:-1],
            )
        ]

    def _told(self, lines: list[Line], k: int) -> str:
        """What is said of all lines at a lead."""
        said = [self.lead(k)]
        for line in lines:
            between = (
                f" ({number(line.low[k])} to {number(line.high[k])})"
                if line.low is not None and math.isfinite(line.low[k])
                else ""
            )
            said.append(f"{line.name}: {number(line.y[k])}{between}")
        return "\n".join(said)

    def lead_table(self, key: ScoreKey, caption: str) -> Table:
        """A score by lead time and model."""
        models = self.models_with(key)
        rows = [
            [
                self.lead(place),
                *(self.value(key, self.estimates[model][key], place) for model in models),
            ]
            for place in range(self.leads + 1)
        ]
        rows[-1][0] = (
            "all leads "
            f"({'pooled' if self.results.pooled else 'sum' if key.score in SUMMED_OVER_LEADS else 'mean'})"
        )
        return Table(caption, ["lead", *models], rows, folded=True)

    @cached_property
    def _differences(self) -> dict[tuple[str, str], dict[ScoreKey, Estimate]]:
        return {}

    def differences(self, model: str, other: str) -> dict[ScoreKey, Estimate]:
        """Paired differences of two models."""
        pair = (model, other)
        if pair not in self._differences:
            self._differences[pair] = self.results.differences(model, other)
        return self._differences[pair]

    def opponents(self, model: str) -> list[str]:
        """Whom a judged model is compared with: the runs before it, and the baselines."""
        before = self.group.judged[: self.group.judged.index(model)]
        return [*before, *self.group.references]


def _between(estimate: Estimate, place: int, text) -> str:
    """0.1 to 0.2, or nothing."""
    low, high = float(estimate.low[place]), float(estimate.high[place])
    return "" if math.isnan(low) else f"{text(low)} to {text(high)}"


def number(value: float) -> str:
    """About four significant digits, with a real minus; a dash where undefined."""
    return digits(float(value)).replace("-", "−")


def difference_cell(key: ScoreKey, estimate: Estimate, place: int, word: str, reach: float) -> Cell:
    """A difference with its interval as a picture and as numbers.

    Args:
        key: of the score.
        estimate: of the difference.
        place: index of the lead.
        word: better, worse, open or nothing.
        reach: the largest difference of the row.
    """
    value, low, high = (
        float(array[place]) for array in (estimate.value, estimate.low, estimate.high)
    )
    if math.isnan(value):
        return Cell("undefined", "no event")
    sign = {"higher": 1, "lower": -1}.get(BETTER.get(key.score, ""), 0)
    picture = (
        charts.interval_picture(
            sign * value, *sorted((sign * low, sign * high)), reach=reach, mark=word or "open"
        )
        if sign
        else ""
    )
    return Cell(signed(value), _between(estimate, place, signed), word, picture)


def best_of(score: str, values: dict[str, float]) -> set[str]:
    """The models with the best value as it is printed; none where all are alike, or nothing is the
    better direction.
    """
    penalties = (
        {model: penalty(score, value) for model, value in values.items() if not math.isnan(value)}
        if BETTER.get(score)
        else {}
    )
    printed = {model: digits(values[model]) for model in penalties}
    if len(set(printed.values())) < 2:
        return set()
    best = printed[min(penalties, key=penalties.get)]
    return {model for model, text in printed.items() if text == best}


def _range(lines: list[Line]) -> np.ndarray:
    """Values that an axis must show: all lines, and of their intervals what is not far beyond them."""
    values = np.concatenate([line.y for line in lines])
    finite = values[np.isfinite(values)]
    if not finite.size:
        return finite
    ends = np.concatenate(
        [np.ravel(end) for line in lines if line.low is not None for end in (line.low, line.high)]
        or [finite]
    )
    room = max(finite.max() - finite.min(), abs(finite.max()), 1e-12)
    return np.concatenate(
        [finite, np.clip(ends[np.isfinite(ends)], finite.min() - room, finite.max() + room)]
    )
