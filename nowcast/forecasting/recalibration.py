"""A forecast whose probabilities of heavy rain are corrected, with all that follows from them.

R rungs, T lead times, H rows, W columns, N pixels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from nowcast.models.yes_no import where_forecast
from nowcast.types.frames import Forecast
from nowcast.types.functional import Functional

RATES = (5.0, 10.0, 20.0)
"""Rain rates [mm/h] whose probabilities have a correction of their own; between two of them it
changes with the logarithm of the rate, above the last it stays the same.
"""
UNTOUCHED = 2.5
"""The rain rate [mm/h] up to which nothing is corrected: from here to the first of ``RATES`` the
correction comes in, so that the distribution stays continuous.
"""
RUNGS = (UNTOUCHED, 3.5, 5.0, 7.0, 10.0, 14.0, 20.0, 30.0, 50.0)
"""Rain rates [mm/h] at which the corrected distribution is computed; between them the logit of the
probability is linear in the logarithm of the rate.
"""
_LEAST = 1e-6  # of a probability; up to it, and from one minus it on, it stays as it is
_WORTH = 1e-3  # of the probability of the first rung; pixels below it stay as they are
_SURE = math.log(1 / _LEAST - 1)
_LOG_RUNGS = np.log(RUNGS)
_ALIKE = 1e-6  # logits closer than that are the same: a rate cannot be found between them


@dataclass(frozen=True)
class Correction:
    """Of the probability p of one rate: logit p' = logit p + bias + (slope - 1) (logit p - centre).

    Outside ``SPAN`` the correction is what it is at its ends, so that a slope that was learnt
    where there is rain does not bring rain to everywhere else.

    Args:
        bias: by how much the logit moves at the centre.
        slope: of the corrected logit over the predicted one, above 0.
        centre: a logit, in the middle of the forecasts that say most.
    """

    bias: float = 0.0
    slope: float = 1.0
    centre: float = 0.0

    SPAN = (-6.2, 4.0)
    """Logits between which the slope counts: probabilities of 0.2 to 98 %."""

    def shift(self, logit: np.ndarray) -> np.ndarray:
        """What is added to predicted logits."""
        return self.bias + (self.slope - 1) * (np.clip(logit, *self.SPAN) - self.centre)


Corrections = tuple[Correction, ...]
"""One for each of ``RATES``."""

NEUTRAL: Corrections = tuple(Correction() for _ in RATES)
"""Corrections that change nothing."""


def rates_to_ask(thresholds: Sequence[float], point: str | None) -> tuple[float, ...]:
    """The rain rates whose probabilities a forecast must bring along to be corrected.

    Args:
        thresholds: those that are wanted of it in the end.
        point: which number of the distribution it is.
    """
    wanted = {*RUNGS, *map(float, thresholds)}
    functional = Functional.parse(point or "mean")
    if functional.name == "event":
        wanted.add(functional.level)
    return tuple(sorted(wanted))


def logit_of(probability: np.ndarray) -> np.ndarray:
    """Logits, finite also of 0 and 1; NaN of NaN."""
    p = np.clip(probability, _LEAST, 1 - _LEAST)
    return np.log(p) - np.log1p(-p)


def probability_of(logit: np.ndarray) -> np.ndarray:
    """Probabilities of logits."""
    return 1 / (1 + np.exp(-logit))


def recalibrated(
    forecast: Forecast, corrections: Corrections, thresholds: Sequence[float]
) -> tuple[Forecast, np.ndarray]:
    """Correct a forecast: its probabilities, and its mean, quantiles, yes/no fields and members
    with them.

    The probabilities at the rungs are corrected, and none may be larger than that of a lower rate.
    The mean changes by the area between both curves; a quantile or a member becomes the rate that
    is now as probable as it was before, so that members keep their order and their places.

    Args:
        forecast: of a model with probabilities, asked for ``rates_to_ask(thresholds, point)``.
        corrections: one for each of ``RATES``.
        thresholds: rain rates [mm/h] whose probabilities the corrected forecast has.

    Returns:
        The corrected forecast, and its probabilities of ``RATES``, (len(RATES), T, H, W).
    """
    functional = Functional.parse(forecast.point or "mean")
    values, expected = forecast.values.copy(), forecast.expected
    expected = None if expected is None else expected.copy()
    members = None if forecast.members is None else forecast.members.copy()
    asked = dict(zip(forecast.thresholds, forecast.probability, strict=True))
    probability = np.stack([asked[float(threshold)] for threshold in (*thresholds, *RATES)])
    for lead in range(len(values)):
        curve = _Curve.of({rate: fields[lead] for rate, fields in asked.items()}, corrections)
        for chance, rate in zip(probability[:, lead], (*thresholds, *RATES), strict=True):
            chance[curve.where] = curve.probability(float(rate))
        if functional.name == "event":
            chance = asked[functional.level][lead].copy()
            chance[curve.where] = curve.probability(functional.level)
            values[lead] = _decided(chance, functional)
        else:
            change = curve.mean if functional.name == "mean" else curve.moved
            values[lead][curve.where] = change(values[lead][curve.where])
        if expected is not None:
            expected[lead][curve.where] = curve.mean(expected[lead][curve.where])
        for member in () if members is None else members[:, lead]:
            member[curve.where] = curve.moved(member[curve.where])
    count = len(thresholds)
    corrected = replace(
        forecast,
        values=values,
        expected=expected,
        members=members,
        probability=probability[:count] if count else None,
        thresholds=tuple(float(threshold) for threshold in thresholds),
    )
    return corrected, probability[count:]


def without_correction(forecast: Forecast, thresholds: Sequence[float]) -> Forecast:
    """A forecast as it was predicted, with the probabilities of some of its thresholds alone."""
    wanted = [forecast.thresholds.index(float(threshold)) for threshold in thresholds]
    return replace(
        forecast,
        probability=forecast.probability[wanted] if wanted else None,
        thresholds=tuple(float(threshold) for threshold in thresholds),
    )


@dataclass(frozen=True)
class _Curve:
    """The distribution of a lead before and after its correction, at the N pixels where the first
    of the rungs is as probable as ``_WORTH``.

    Args:
        where: these pixels, (H, W) booleans.
        predicted: probabilities by rate, (N,), without correction.
        before: logits of those of ``RUNGS``, (R, N).
        after: the same corrected, which fall from rung to rung.
        corrections: one for each of ``RATES``.
    """

    where: np.ndarray
    predicted: dict[float, np.ndarray]
    before: np.ndarray
    after: np.ndarray
    corrections: Corrections

    @classmethod
    def of(cls, fields: dict[float, np.ndarray], corrections: Corrections) -> "_Curve":
        """Of the probabilities of a lead by rate, (H, W)."""
        where = fields[UNTOUCHED] >= _WORTH
        predicted = {rate: field[where] for rate, field in fields.items()}
        before = logit_of(np.stack([predicted[rung] for rung in RUNGS]))
        moved = [_shifted(x, rung, corrections) for x, rung in zip(before, RUNGS, strict=True)]
        after = np.minimum.accumulate(np.stack(moved), axis=0)
        return cls(where, predicted, before, after, corrections)

    def probability(self, rate: float) -> np.ndarray:
        """That a rate is reached, (N,)."""
        if rate <= UNTOUCHED:
            return self.predicted[rate]
        if rate > RUNGS[-1]:
            logit = _shifted(logit_of(self.predicted[rate]), rate, self.corrections)
            return probability_of(np.minimum(logit, self.after[-1]))
        above = int(np.searchsorted(RUNGS, rate))
        return probability_of(_between(self.after[above - 1 : above + 1], above, math.log(rate)))

    def mean(self, before: np.ndarray) -> np.ndarray:
        """The mean rain rate, (N,), from that without correction."""
        more = probability_of(self.after) - probability_of(self.before)
        return np.maximum(before + np.trapezoid(more, RUNGS, axis=0), 0)

    def moved(self, rates: np.ndarray) -> np.ndarray:
        """Rates that are now as probable as some rates (N,) were before."""
        log_rate = np.log(np.maximum(rates, UNTOUCHED))
        above = np.clip(np.searchsorted(RUNGS, rates), 1, len(RUNGS) - 1)
        logit = _between(_pair(self.before, above), above, log_rate)
        reached = (self.after >= logit).sum(axis=0)
        above = np.clip(reached, 1, len(RUNGS) - 1)
        low, high = _pair(self.after, above)
        share = (low - logit) / np.maximum(low - high, _ALIKE)
        start = _LOG_RUNGS[above - 1]
        found = np.exp(start + np.clip(share, 0, 1) * (_LOG_RUNGS[above] - start))
        # beyond the last rung nothing is known of the shape: rates there move with the last rung
        beyond = np.maximum(rates / RUNGS[-1], 1)
        return np.where(rates > UNTOUCHED, found * beyond, rates)


def _shifted(logit: np.ndarray, rate: float, corrections: Corrections) -> np.ndarray:
    """Logits of a rate with the correction of its neighbours among ``RATES``."""
    rates = (UNTOUCHED, *RATES)
    place = float(np.interp(math.log(rate), np.log(rates), np.arange(len(rates))))
    below, share = int(place), place % 1
    moved = logit.copy()
    for number, weight in ((below, 1 - share), (below + 1, share)):
        if number > 0 and weight > 0:  # at the first of these rates nothing is corrected
            moved += weight * corrections[number - 1].shift(logit)
    is_sure = np.abs(logit) >= _SURE
    return np.where(is_sure, logit, moved)


def _pair(logits: np.ndarray, above: np.ndarray) -> np.ndarray:
    """Logits at the rungs below and above, (2, N)."""
    return np.take_along_axis(logits, np.stack([above - 1, above]), axis=0)


def _between(pair: np.ndarray, above: np.ndarray | int, log_rate: np.ndarray | float) -> np.ndarray:
    """Logits at a rate between two rungs."""
    start, end = _LOG_RUNGS[above - 1], _LOG_RUNGS[above]
    share = np.clip((log_rate - start) / (end - start), 0, 1)
    return pair[0] + share * (pair[1] - pair[0])


def _decided(probability: np.ndarray, functional: Functional) -> np.ndarray:
    """The yes/no field of an event, (H, W), NaN where there is no probability."""
    chance = torch.from_numpy(probability)
    known = ~chance.isnan()
    yes = where_forecast(chance[None], known[None], functional.probability)[0].numpy()
    return np.where(known.numpy(), np.where(yes, functional.level, 0), np.nan)
