"""How sure a score is: block bootstrap over days, events or groups of sequences, and paired
differences of two models.

Neighbouring radar frames are not independent, so whole blocks of cases are drawn with replacement,
and each model is scored on the same draws: the difference of two models is far better known than
either score. N blocks, S draws, T leads; ``T + 1`` are the leads and, last, the value over all of
them (their mean, or their sum where the score is one).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nowcast.evaluation.statistics.sums import ScoreKey, Values
from nowcast.runtime.errors import UserError

_DEFINED = 0.9  # share of the draws in which a score must be defined to have an interval
FEWEST_BLOCKS = 2


@dataclass(frozen=True)
class Resampling:
    """How intervals are made.

    Args:
        draws: S.
        level: share of the draws that an interval contains, the rest equally on both sides.
        seed: of the draws.

    Raises:
        UserError: no draws, or a level that is not between 0 and 1.
    """

    draws: int = 1000
    level: float = 0.95
    seed: int = 1

    def __post_init__(self):
        whole = isinstance(self.draws, int) and isinstance(self.seed, int)
        if not whole or not (
            100 <= self.draws <= 100_000 and 0 < self.level < 1 and self.seed >= 0
        ):
            raise UserError(
                "expected 100 to 100000 draws, a level between 0 and 1 and a seed of 0 or more for "
                f"intervals, got {self.draws!r} draws, level {self.level!r}, seed {self.seed!r}."
            )

    def weights(self, blocks: int) -> np.ndarray:
        """How often each block is drawn, (S, N) float64: N of them with replacement."""
        generator = np.random.default_rng(self.seed)
        drawn_blocks = generator.multinomial(blocks, np.full(blocks, 1 / blocks), size=self.draws)
        return drawn_blocks.astype(np.float64)

    def interval(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper end, (...), of samples (S, ...); NaN where fewer than 90 % of them are
        defined.
        """
        tails = (1 - self.level) / 2
        defined = np.isfinite(samples).mean(axis=0) >= _DEFINED
        known = np.where(np.isfinite(samples), samples, np.nan)
        ends = np.full((2, *samples.shape[1:]), np.nan)
        if defined.any():
            known = known[:, defined]
            # the same numbers, and much faster, where nothing is missing
            quantile = np.nanquantile if np.isnan(known).any() else np.quantile
            ends[:, defined] = quantile(known, (tails, 1 - tails), axis=0)
        return ends[0], ends[1]


@dataclass(frozen=True)
class Estimate:
    """A score, or the difference of two, with its interval.

    Args:
        value, low, high: (T + 1,); low and high are NaN where no interval can be given.
    """

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @property
    def differs(self) -> np.ndarray:
        """Of a difference: whether its interval leaves out 0, (T + 1,)."""
        return (self.low > 0) | (self.high < 0)


def drawn(totals: Mapping[str, np.ndarray], weights: np.ndarray) -> dict[str, np.ndarray]:
    """Totals of draws, (S, ...), of the totals of blocks, (N, ...)."""
    return {name: np.tensordot(weights, array, axes=1) for name, array in totals.items()}


def estimates(values: Values, samples: Values, resampling: Resampling) -> dict[ScoreKey, Estimate]:
    """Scores with their intervals.

    Args:
        values: (T + 1,) each, of ``with_overall``.
        samples: the same of draws, (S, T + 1) each.
        resampling: gives the level.
    """
    return {
        key: Estimate(value, *resampling.interval(samples[key])) for key, value in values.items()
    }


def minus(values: Values, others: Values) -> Values:
    """The differences of every score that both have."""
    return {key: value - others[key] for key, value in values.items() if key in others}
