"""Scores as functions of sums. Every function takes numbers or arrays of one shape; a score is NaN
where it is undefined.

Definitions follow Wilks, "Statistical Methods in the Atmospheric Sciences", chapter 9.
"""

import math
from typing import NamedTuple

import numpy as np

from nowcast.types.arrays import as_numbers


class ScoreRow(NamedTuple):
    """One score of one model.

    Args:
        score: its name, a key of ``BETTER``.
        threshold: rain rate an event reaches [mm/h]; None for scores without events.
        window: width of the neighbourhood in pixels (1 = pixel by pixel); None for scores without
            events.
        lead: the forecast step, 1 to T; None = over all leads: their mean (cross-entropy: their
            sum), or what the sums of all leads give.
        value: NaN where undefined.
        low, high: ends of its interval; NaN where there is none.
    """

    score: str
    threshold: float | None
    window: int | None
    lead: int | None
    value: float
    low: float = math.nan
    high: float = math.nan


BETTER = {
    "csi": "higher",
    "pod": "higher",
    "far": "lower",
    "success_ratio": "higher",
    "hss": "higher",
    "ets": "higher",
    "peirce": "higher",
    "sedi": "higher",
    "f1": "higher",
    "accuracy": "higher",
    "frequency_bias": "near 1",
    "hits": "",
    "misses": "",
    "false_alarms": "",
    "correct_negatives": "",
    "fss": "higher",
    "fss_useful": "",
    "fss_random": "",
    "mae": "lower",
    "mse": "lower",
    "rmse": "lower",
    "mean_error": "near 0",
    "b_mse": "lower",
    "b_mae": "lower",
    "sal_structure": "near 0",
    "sal_amplitude": "near 0",
    "sal_location": "lower",
    "sal_structure_size": "lower",
    "sal_amplitude_size": "lower",
    "sal_cases": "",
    "power_forecast": "",
    "power_observation": "",
    "effective_resolution": "lower",
    "crps": "lower",
    "crps_fair": "lower",
    "spread": "",
    "rmse_of_mean": "lower",
    "spread_skill": "near 1",
    "brier": "lower",
    "brier_reliability": "lower",
    "brier_resolution": "higher",
    "brier_uncertainty": "",
    "brier_skill": "higher",
    "roc_area": "higher",
    "csi_mean": "higher",
    "correlation": "higher",
    "uncentred_correlation": "higher",
    "cross_entropy": "lower",
    "cross_entropy_floor": "",
    "ssim": "higher",
    "ssim_range2": "higher",
    "psnr": "higher",
}
"""Which direction of a score is the better one; empty for what is no score: counts, and properties
of the observations alone.
"""

SUMMED_OVER_LEADS = (
    "cross_entropy",
    "cross_entropy_floor",
    "hits",
    "misses",
    "false_alarms",
    "correct_negatives",
)
"""Scores and counts whose value over all leads is the sum of the leads; all others take the mean.
"""


def ratio(numerator, denominator):
    """Numerator / denominator in float64, NaN where the denominator is 0."""
    numerator, denominator = np.broadcast_arrays(
        *(
            as_numbers(part, "the counts of a score", np.float64)
            for part in (numerator, denominator)
        )
    )
    return np.divide(
        numerator, denominator, out=np.full(numerator.shape, np.nan), where=denominator != 0
    )


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
    """Heidke skill score 2 (h r - f m) / ((h + m)(m + r) + (h + f)(f + r)); 0 is chance, 1 perfect."""
    # Products of pixel counts pass 2**63 after about 3e9 pixels: float64 before multiplying.
    h, m, f, r = (
        as_numbers(count, "counts", np.float64)
        for count in (hits, misses, false_alarms, correct_negatives)
    )
    return ratio(2 * (h * r - f * m), (h + m) * (m + r) + (h + f) * (f + r))


def success_ratio(hits, false_alarms):
    """Share of the forecast events that came, h / (h + f) = 1 - FAR."""
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
    h, m, f, r = (
        as_numbers(count, "counts", np.float64)
        for count in (hits, misses, false_alarms, correct_negatives)
    )
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
        logarithms = np.log(pofd), np.log(pod_), np.log1p(-pofd), np.log1p(-pod_)
        numerator, denominator = (
            logarithms[0] - logarithms[1] - logarithms[2] + logarithms[3],
            sum(logarithms),
        )
        return np.where(np.isfinite(denominator), numerator / denominator, np.nan)


def fss(products, squares):
    """Fractions skill score 2 sum Sf So / (sum Sf^2 + sum So^2), see
    ``nowcast.evaluation.statistics.neighbourhood``; 1 is perfect.
    """
    return ratio(2 * products, squares)
