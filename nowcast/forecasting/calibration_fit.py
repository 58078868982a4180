"""How reliable probabilities were, counted, and the correction that follows from it.

K rates, P bins of the logit.
"""

import numpy as np

from nowcast.forecasting.recalibration import Correction, Corrections, logit_of, probability_of

BINS, _WIDTH = 128, 0.125
"""Of logits from -8 to 8."""
MISSING = 255
"""In place of a bin's number: no forecast."""
CENTRES = (np.arange(BINS) - (BINS - 1) / 2) * _WIDTH
"""The logits that the bins stand for, (P,)."""

PIECE = 6_000.0
"""km² minutes for which neighbouring pixels and times count as one: the forecasts of a cell of rain
are right or wrong together.
"""
BIAS_SPREAD, SLOPE_SPREAD = 0.5, 0.15
"""How far (one standard deviation) a correction may be expected to lie from none before anything
was seen.
"""
_STEPS = 20  # of Newton's method; it is there after five or so
_MOST_BIAS, _SLOPES = 2.0, (0.5, 1.5)


def bins_of(probability: np.ndarray) -> np.ndarray:
    """Numbers of the bins of probabilities, uint8; ``MISSING`` of NaN."""
    place = np.floor(logit_of(probability) / _WIDTH + BINS / 2)
    known = ~np.isnan(place)
    found = np.clip(np.where(known, place, 0), 0, BINS - 1).astype(np.uint8)
    return np.where(known, found, np.uint8(MISSING))


def counted(bins: np.ndarray, event: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Pairs and, of them, events in each bin, (2, P).

    Args:
        bins: of the forecasts, from ``bins_of``.
        event: booleans of the same shape, whether the rate was reached.
        known: where there is an observation.
    """
    known = known & (bins != MISSING)
    here, event = bins[known], event[known]
    return np.stack(
        [np.bincount(here, minlength=BINS), np.bincount(here[event], minlength=BINS)]
    ).astype(np.float64)


def corrections_of(counts: np.ndarray, weight: float) -> Corrections:
    """The corrections that some pairs ask for.

    Logistic recalibration (Cox 1958, Biometrika 45) of each rate, with a prior around no
    correction: bias and slope are the most probable ones of both together, so that few pairs, which
    say little, change little.

    Args:
        counts: of each rate, see ``counted``, (K, 2, P).
        weight: independent pairs that a pair is worth, see ``weight_of_pair``.
    """
    return tuple(_fitted(*(weight * of_rate)) for of_rate in counts)


def weight_of_pair(area_km2: float, minutes: float) -> float:
    """How many independent pairs a pair is worth.

    Args:
        area_km2: that one pixel stands for.
        minutes: between two observations, of which each counts once, however many forecasts there
            were of it.
    """
    return area_km2 * minutes / PIECE


def _fitted(pairs: np.ndarray, events: np.ndarray) -> Correction:
    """Bias and slope of one rate from its bins, (P,) each, by Newton's method."""
    usual = np.clip(CENTRES, *Correction.SPAN)
    chance = probability_of(CENTRES)
    says = pairs * chance * (1 - chance)
    if not says.sum() > 0:
        return Correction()
    centre = float((says * usual).sum() / says.sum())
    features = np.stack([np.ones(BINS), usual - centre])
    prior = np.array([BIAS_SPREAD, SLOPE_SPREAD]) ** -2.0
    found = np.zeros(2)
    for _ in range(_STEPS):
        chance = probability_of(CENTRES + found @ features)
        slope = features @ (events - pairs * chance) - prior * found
        curvature = (features * (pairs * chance * (1 - chance))) @ features.T + np.diag(prior)
        step = np.linalg.solve(curvature, slope)
        found = found + np.clip(step, -0.5, 0.5)
        if np.abs(step).max() < 1e-9:
            break
    bias = float(np.clip(found[0], -_MOST_BIAS, _MOST_BIAS))
    return Correction(bias, float(np.clip(1 + found[1], *_SLOPES)), centre)


def brier_of(counts: np.ndarray) -> np.ndarray:
    """Brier scores of some counts (..., 2, P); NaN without pairs."""
    chance, (pairs, events) = probability_of(CENTRES), np.moveaxis(counts, -2, 0)
    squares = (pairs * chance**2 - 2 * events * chance + events).sum(axis=-1)
    total = pairs.sum(axis=-1)
    return np.divide(squares, total, out=np.full(total.shape, np.nan), where=total > 0)


def mean_probability_of(counts: np.ndarray) -> np.ndarray:
    """Mean probability of some counts (..., 2, P); NaN without pairs."""
    pairs = counts[..., 0, :]
    total = pairs.sum(axis=-1)
    expected = (pairs * probability_of(CENTRES)).sum(axis=-1)
    return np.divide(expected, total, out=np.full(total.shape, np.nan), where=total > 0)


def brier_skill_of(counts: np.ndarray) -> np.ndarray:
    """Their Brier skill over the base rate, which is that of the same pairs; NaN without events."""
    pairs, events = np.moveaxis(counts, -2, 0).sum(axis=-1)
    rate = np.divide(events, pairs, out=np.zeros(pairs.shape), where=pairs > 0)
    usual = rate * (1 - rate)
    skill = np.full(usual.shape, np.nan)
    return np.divide(usual - brier_of(counts), usual, out=skill, where=usual > 0)
