"""Scores as functions of sums. Every function takes numbers or arrays of one shape; a score is NaN
where it is undefined.

Definitions follow Wilks, "Statistical Methods in the Atmospheric Sciences", chapter 9.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nowcast.runtime.errors import UserError
from nowcast.types.arrays import as_numbers


class ScoreRow(NamedTuple):
    """One score of one model.

    Args:
        score: its name; what is known of it says ``about``.
        threshold: rain rate an event reaches [mm/h]; None for scores without events.
        window: width of the neighbourhood in pixels (1 = pixel by pixel); None for scores without
            events.
        lead: the forecast step, 1 to T; None = over all leads: their mean (cross-entropy: their
            sum), or what the sums of all leads give.
        value: NaN where undefined.
        low, high: ends of its interval; NaN where there is none.
        functional: which number of the model's distribution it is of, see ``Results.judged_by``;
            "field" of a single field, "" where it is not known.
        box: side of the boxes whose means are scored [km]; None: single pixels are.
        accumulation: minutes over which rain is accumulated; None: rain rates are scored.
        cost_loss: the cost-loss ratio of the user, of economic values.
    """

    score: str
    threshold: float | None
    window: int | None
    lead: int | None
    value: float
    low: float = math.nan
    high: float = math.nan
    functional: str = ""
    box: float | None = None
    accumulation: float | None = None
    cost_loss: float | None = None


@dataclass(frozen=True)
class Score:
    """What tables, pictures and reports must know of a score.

    Args:
        better: the better direction, "higher", "lower", "near 1" or "near 0"; "": of what is no
            score, such as counts and properties of the observations alone.
        title: what it is called; "": by its name, in capitals if that has up to four letters.
        unit: "" if it has none.
        grey_unit: the same for grey levels; None: as ``unit``.
        summed: whether its value over all leads is the sum of the leads; else it is their mean.
        shown: whether tables on the terminal show it; all are in scores.csv.
        judged_by: the number of a distribution that it is of: "mean", "median", "decision" (the
            yes/no forecast), "distribution" (all of it); "": what its statistic says.
    """

    better: str = ""
    title: str = ""
    unit: str = ""
    grey_unit: str | None = None
    summed: bool = False
    shown: bool = True
    judged_by: str = ""

    def __post_init__(self):
        if self.better not in DIRECTIONS:
            raise UserError(
                f"better is {self.better!r}; expected {', '.join(filter(None, DIRECTIONS))} or an "
                "empty text where no direction is the better one."
            )

    def unit_for(self, *, rain: bool) -> str:
        """Its unit in scores of rain, or of grey levels."""
        return self.unit if rain or self.grey_unit is None else self.grey_unit


DIRECTIONS = {
    "higher": "higher is better",
    "lower": "lower is better",
    "near 1": "1 is best",
    "near 0": "0 is best",
    "": "",
}
"""The directions that are better, and how they are put into words."""

SCORES = {
    "csi": Score("higher"),
    "pod": Score("higher"),
    "far": Score("lower"),
    "success_ratio": Score("higher", shown=False),
    "hss": Score("higher"),
    "ets": Score("higher", shown=False),
    "peirce": Score("higher", shown=False),
    "sedi": Score("higher", shown=False),
    "f1": Score("higher", title="F1", shown=False),
    "accuracy": Score("higher", shown=False),
    "frequency_bias": Score("near 1"),
    "hits": Score(summed=True, shown=False),
    "misses": Score(summed=True, shown=False),
    "false_alarms": Score(summed=True, shown=False),
    "correct_negatives": Score(summed=True, shown=False),
    "fss": Score("higher"),
    "fss_useful": Score(title="FSS useful from", shown=False),
    "fss_random": Score(title="FSS random", shown=False),
    "mae": Score("lower", unit="mm/h", grey_unit=""),
    "mse": Score("lower", unit="mm²/h²", grey_unit=""),
    "rmse": Score("lower", unit="mm/h", grey_unit=""),
    "mean_error": Score("near 0", unit="mm/h", grey_unit=""),
    "b_mse": Score("lower", title="B-MSE"),
    "b_mae": Score("lower", title="B-MAE"),
    "sal_structure": Score("near 0", title="SAL structure"),
    "sal_amplitude": Score("near 0", title="SAL amplitude"),
    "sal_location": Score("lower", title="SAL location"),
    "sal_structure_size": Score("lower", title="|SAL structure|", shown=False),
    "sal_amplitude_size": Score("lower", title="|SAL amplitude|", shown=False),
    "sal_cases": Score(title="SAL cases", shown=False),
    "power_forecast": Score(unit="dB²", shown=False),
    "power_observation": Score(unit="dB²", shown=False),
    "effective_resolution": Score("lower", unit="px"),
    "crps": Score("lower", unit="mm/h", grey_unit=""),
    "crps_fair": Score("lower", title="CRPS, fair", unit="mm/h", grey_unit="", shown=False),
    "spread": Score(unit="mm/h", grey_unit="", shown=False),
    "rmse_of_mean": Score(
        "lower", title="RMSE of the mean", unit="mm/h", grey_unit="", shown=False
    ),
    "spread_skill": Score("near 1", title="spread / RMSE of the mean"),
    "brier": Score("lower", title="Brier score", shown=False),
    "brier_reliability": Score("lower", title="Brier reliability", shown=False),
    "brier_resolution": Score("higher", title="Brier resolution", shown=False),
    "brier_uncertainty": Score(title="Brier uncertainty", shown=False),
    "brier_skill": Score("higher", title="Brier skill score"),
    "roc_area": Score("higher", title="ROC area"),
    "fss_probability": Score("higher", title="FSS of the probability"),
    "economic_value": Score("higher", title="economic value", shown=False),
    "decision_probability": Score(title="probability of a yes", shown=False),
    "csi_mean": Score("higher", title="CSI, mean of the thresholds"),
    "correlation": Score("higher"),
    "uncentred_correlation": Score("higher", shown=False),
    "cross_entropy": Score("lower", title="cross-entropy", unit="nats", summed=True),
    "cross_entropy_floor": Score(title="cross-entropy floor", unit="nats", summed=True),
    "ssim": Score("higher"),
    "ssim_range2": Score("higher", title="SSIM (data range 2)"),
    "psnr": Score("higher", unit="dB"),
}
"""The scores that nowcast computes; those of other packages are said by their ``Statistic``."""

JUDGED_BY = {
    "decision": (
        "csi",
        "pod",
        "far",
        "success_ratio",
        "hss",
        "ets",
        "peirce",
        "sedi",
        "f1",
        "accuracy",
        "frequency_bias",
        "hits",
        "misses",
        "false_alarms",
        "correct_negatives",
        "fss",
        "csi_mean",
    ),
    "median": ("mae", "b_mae"),
    "distribution": (
        "crps",
        "crps_fair",
        "spread",
        "spread_skill",
        "brier",
        "brier_reliability",
        "brier_resolution",
        "brier_uncertainty",
        "brier_skill",
        "roc_area",
        "fss_probability",
        "economic_value",
        "decision_probability",
    ),
}
"""The number of a distribution that a score rewards; of all others it is the mean."""

_added: dict[str, Score] = {}  # what the statistics of other packages say of their scores


def register(scores: Mapping[str, Score], statistic: str) -> None:
    """Make the scores of a statistic known by their names; done when its class is defined.

    Raises:
        UserError: a name that stands for something else already.
    """
    for name, score in scores.items():
        known = (SCORES | _added).setdefault(name, score)
        if known != score:
            raise UserError(
                f"{statistic} describes its score {name!r} as {score}, but that name stands for "
                f"{known}; choose another name."
            )
        _added[name] = score


def about(score: str) -> Score:
    """What is known of a score by its name; of one that nobody described, that it is not shown."""
    return SCORES.get(score) or _added.get(score) or Score(shown=False)


def judged_by(score: str) -> str:
    """The number of a distribution that a score rewards: "mean", "median", "decision",
    "distribution", or what its statistic says; "" where nothing is said.
    """
    for functional, scores in JUDGED_BY.items():
        if score in scores:
            return functional
    return about(score).judged_by or ("mean" if score in SCORES else "")


def added_scores() -> list[str]:
    """The scores of statistics of other packages that tables and reports show."""
    return [name for name, score in _added.items() if score.shown and name not in SCORES]


def ratio(numerator, denominator):
    """Numerator / denominator in float64, NaN where the denominator is 0."""
    numerator, denominator = np.broadcast_arrays(*_numbers(numerator, denominator))
    undefined = np.full(numerator.shape, np.nan)
    return np.divide(numerator, denominator, out=undefined, where=denominator != 0)


def _numbers(*counts) -> list[np.ndarray]:
    """Counts as float64: products of pixel counts pass 2^63 after about 3e9 pixels."""
    return [as_numbers(count, "the counts of a score", np.float64) for count in counts]


def csi(hits, misses, false_alarms):
    """Critical success index h / (h + m + f)."""
    return ratio(hits, hits + misses + false_alarms)


def pod(hits, misses):
    """Probability of detection h / (h + m)."""
    return ratio(hits, hits + misses)


def far(hits, false_alarms):
    """False alarm ratio f / (h + f)."""
    return ratio(false_alarms, hits + false_alarms)


def frequency_bias(hits, misses, false_alarms):
    """Forecast events per observed event, (h + f) / (h + m)."""
    return ratio(hits + false_alarms, hits + misses)


def hss(hits, misses, false_alarms, correct_negatives):
    """Heidke skill score 2 (h r - f m) / ((h + m)(m + r) + (h + f)(f + r)); 0 is chance."""
    h, m, f, r = _numbers(hits, misses, false_alarms, correct_negatives)
    return ratio(2 * (h * r - f * m), (h + m) * (m + r) + (h + f) * (f + r))


def success_ratio(hits, false_alarms):
    """Share of the forecast events that were observed, h / (h + f) = 1 - FAR."""
    return ratio(hits, hits + false_alarms)


def accuracy(hits, misses, false_alarms, correct_negatives):
    """Share of right answers, (h + r) / n; on rare events, the forecast "never" has a high one."""
    return ratio(hits + correct_negatives, hits + misses + false_alarms + correct_negatives)


def f1(hits, misses, false_alarms):
    """F1, the harmonic mean of POD and success ratio: 2 h / (2 h + m + f)."""
    return ratio(2 * hits, 2 * hits + misses + false_alarms)


def ets(hits, misses, false_alarms, correct_negatives):
    """Equitable threat score (Gilbert skill score): the CSI without the hits of chance, h_chance =
    (h + m)(h + f) / n.
    """
    h, m, f, r = _numbers(hits, misses, false_alarms, correct_negatives)
    chance = ratio((h + m) * (h + f), h + m + f + r)
    return ratio(h - chance, h + m + f - chance)


def peirce(hits, misses, false_alarms, correct_negatives):
    """Peirce (Hanssen-Kuipers) skill score POD - POFD, with POFD = f / (f + r)."""
    return ratio(hits, hits + misses) - ratio(false_alarms, false_alarms + correct_negatives)


def sedi(hits, misses, false_alarms, correct_negatives):
    """Symmetric extremal dependence index (Ferro and Stephenson 2011); it does not fade as events
    become rare. NaN where POD or POFD is 0 or 1.
    """
    pod_, pofd = ratio(hits, hits + misses), ratio(false_alarms, false_alarms + correct_negatives)
    with np.errstate(divide="ignore", invalid="ignore"):
        a, b, c, d = np.log(pofd), np.log(pod_), np.log1p(-pofd), np.log1p(-pod_)
        denominator = a + b + c + d
        return np.where(np.isfinite(denominator), (a - b - c + d) / denominator, np.nan)


def fss(products, squares):
    """Fractions skill score 2 sum Sf So / (sum Sf^2 + sum So^2), see
    ``nowcast.evaluation.statistics.neighbourhood``; 1 is perfect.
    """
    return ratio(2 * products, squares)


def economic_value(hits, misses, false_alarms, pixels, cost_loss: float):
    """Potential economic value (Richardson 2000, Q. J. R. Meteorol. Soc. 126): the share of what a
    perfect forecast would save that this one saves, for a user who protects at a cost, and loses
    where an event comes without protection; 1 is perfect, 0 is knowing the climate alone: always
    or never protecting, whichever is cheaper.

    Args:
        hits: of the forecasts that the user acts on.
        misses: of the same.
        false_alarms: of the same.
        pixels: all.
        cost_loss: the cost as a share of the loss.
    """
    events = hits + misses
    climate = np.minimum(cost_loss * pixels, events)
    expense = cost_loss * (hits + false_alarms) + misses
    return ratio(climate - expense, climate - cost_loss * events)
