"""What a statistic is: the contract of everything that scores forecasts.

Axes: B batch, M members, T lead times, H rows, W columns; ``...`` are axes of resamples.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from nowcast.evaluation.statistics.by_functional import Forecast, field_of
from nowcast.evaluation.statistics.scores import Score, judged_by, register
from nowcast.evaluation.statistics.sums import ScoredSums, ScoreKey, Sums, Values, with_overall
from nowcast.runtime.errors import UserError

if TYPE_CHECKING:
    from nowcast.evaluation.statistics.aggregates import AggregateScores

NamedValues = Mapping[ScoreKey, np.ndarray] | Mapping[str, np.ndarray]
"""Scores by a ``ScoreKey``, or by their name where there is no threshold and no window."""


class Statistic(ABC):
    """Sums over forecasts and observations, and the scores made of them (as weatherbenchX's
    ``Metric``).

    Scores are functions of sums: sums are added over batches, processes and machines, and divided
    once. Intervals come from the same sums, drawn block by block.

    Attributes:
        quantity: what it scores, "rain_rate" [mm/h] or "grey_level" in [0, 1].
        scores: what tables and reports must know of its scores, by name: the better direction,
            title and unit. A score that is not described is written to scores.csv alone.
        pooled: whether a score over all leads is made of the sums of all leads; else it is the mean
            (or sum) of the leads.
        functional: which number of a distribution ``of`` is given, see
            ``nowcast.types.functional``: the one that the scores reward, such as "mean" for squared
            and "median" for absolute errors. A model of a single field is that field.
        several: whether batches of a distribution are given whole, as ``ByFunctional``, because
            the scores reward several.
    """

    functional: ClassVar[str] = "mean"
    several: ClassVar[bool] = False
    quantity: ClassVar[str] = "rain_rate"
    scores: ClassVar[Mapping[str, Score]] = {}
    pooled: ClassVar[bool] = False

    def __init_subclass__(cls, **arguments: Any):
        super().__init_subclass__(**arguments)
        register(cls.scores, cls.__name__)

    @abstractmethod
    def of(self, forecast: np.ndarray, observation: np.ndarray) -> dict[str, np.ndarray]:
        """Sums over a batch of cases.

        Args:
            forecast: physical values, (B, T, H, W) float32; NaN where missing.
            observation: the same; a pixel counts where both are numbers.

        Returns:
            Arrays by name that add up over batches; the leads are the last axis.
        """

    @abstractmethod
    def values(self, sums: Mapping[str, np.ndarray]) -> NamedValues:
        """Scores by lead, (..., T), of sums (..., T); NaN where a score is undefined."""

    def overall(self, sums: Mapping[str, np.ndarray]) -> NamedValues:
        """Scores over all leads, (..., 1), where they are not the mean or the sum of the leads."""
        if not self.pooled:
            return {}
        return self.values({name: array.sum(-1, keepdims=True) for name, array in sums.items()})

    @property
    def functionals(self) -> tuple[str, ...]:
        """What is asked of a model that predicts a distribution; the mean says where it has a
        forecast.
        """
        return tuple(dict.fromkeys(["mean", self.functional]))

    def judged_by(self, score: str) -> str:
        """The functional that a score is of, as tables say it: "mean", "decision" ..., or
        "distribution" where all of it is scored.
        """
        return judged_by(score) or self.functional

    def probabilities(self) -> "Statistic | None":
        """The statistic of probabilities, whose ``of`` gets them in shape (B, K, T, H, W); None:
        there are no scores of probabilities.
        """
        return None

    def ensemble(self, members: int) -> "Statistic | None":
        """The statistic of ensembles of so many members, whose ``of`` gets forecasts of shape
        (B, M, T, H, W); None: there are no scores of ensembles.
        """
        return None

    def aggregates(self, members: int) -> "AggregateScores | None":
        """The scores of accumulations and of means in boxes, of ensembles of so many members (1: of
        a single field); None: there are none.
        """
        return None

    def sums(self, forecast_length: int) -> Sums:
        """Empty sums, which batches of ``forecast_length`` leads are added to."""
        return StatisticSums(self)

    def scored(self, sums: Mapping[str, np.ndarray], forecast_length: int) -> Values:
        """Scores by lead and, last, over all leads, (..., T + 1).

        Raises:
            UserError: the scores of a statistic of another package have another number of leads.
        """
        values = _with_keys(self.values(sums))
        for key, by_lead in values.items():
            if np.ndim(by_lead) == 0 or by_lead.shape[-1] != forecast_length:
                raise UserError(
                    f"{type(self).__name__} has values of shape {np.shape(by_lead)} for the score "
                    f"{key.score!r}; expected {forecast_length} leads on the last axis."
                )
        return with_overall(values, _with_keys(self.overall(sums)))


class StatisticSums:
    """Adds up what ``Statistic.of`` returns.

    Args:
        statistic: gives the sums of each batch.
        totals: to begin with.
    """

    def __init__(self, statistic: Statistic, totals: Mapping[str, np.ndarray] | None = None):
        self.statistic, self._totals = statistic, dict(totals or {})

    def add(self, forecast: Forecast, observation: np.ndarray) -> None:
        """Add a batch, see ``Statistic.of``."""
        batch = self.statistic.of(field_of(forecast, self.statistic.functional), observation)
        self._totals = (self + StatisticSums(self.statistic, batch)).totals()

    def __add__(self, other: Self) -> Self:
        if not (self._totals and other._totals):
            return type(self)(self.statistic, self._totals or other._totals)
        both = {name: array + other._totals[name] for name, array in self._totals.items()}
        return type(self)(self.statistic, both)

    def totals(self) -> dict[str, np.ndarray]:
        """The sums so far as float64."""
        return {name: np.asarray(array, np.float64) for name, array in self._totals.items()}


class SummedStatistic(Statistic):
    """A statistic whose sums are accumulated by an object of its own, which keeps more digits than
    adding arrays, or works in place; those of nowcast are.
    """

    @abstractmethod
    def sums(self, forecast_length: int) -> ScoredSums:
        """Empty sums, which batches of ``forecast_length`` leads are added to."""

    def of(self, forecast: np.ndarray, observation: np.ndarray) -> dict[str, np.ndarray]:
        """Sums over a batch of cases, see ``Statistic.of``."""
        sums = self.sums(observation.shape[1])
        sums.add(forecast, observation)
        return sums.totals()

    def values(self, sums: Mapping[str, np.ndarray]) -> Values:
        """Scores by lead, see ``Statistic.values``."""
        empty: Any = self.sums(1)
        return empty.values(sums)  # they do not depend on the number of leads


def _with_keys(values: NamedValues) -> Values:
    """The same with a ``ScoreKey`` where only a name is given."""
    return {
        ScoreKey(key) if isinstance(key, str) else ScoreKey(*key): value
        for key, value in values.items()
    }
