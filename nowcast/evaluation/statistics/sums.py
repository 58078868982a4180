"""Sums that add up over batches, workers and processes, underneath the statistics of nowcast.

``add`` a batch of fields, ``a + b``, and ``totals``: all of it as arrays that add up, which is what
is stored and resampled. ``values`` are the scores of such arrays, also of many resamples at once.
T leads; ``...`` are axes of resamples.
"""

import math
from collections.abc import Iterator, Mapping
from copy import copy
from typing import Any, NamedTuple, Protocol, Self

import numpy as np

from nowcast.evaluation.statistics.by_functional import Forecast, without_mask
from nowcast.evaluation.statistics.scores import ScoreRow, about
from nowcast.runtime.errors import UserError
from nowcast.types.arrays import unmasked


class ScoreKey(NamedTuple):
    """What a score is of.

    Args:
        score: its name.
        threshold: of an event [mm/h], of accumulations [mm]; None: without.
        window: width of a neighbourhood [pixels]; None: without.
        box: side of the boxes whose means are scored [km]; None: single pixels are.
        accumulation: minutes over which rain is accumulated, from the analysis time on; None: rain
            rates are scored.
        cost_loss: what protection costs, as a share of the loss that it prevents; None: of scores
            in which no user decides.
    """

    score: str
    threshold: float | None = None
    window: int | None = None
    box: float | None = None
    accumulation: float | None = None
    cost_loss: float | None = None

    @property
    def is_aggregated(self) -> bool:
        """Whether it is of boxes or of accumulations."""
        return self.box is not None or self.accumulation is not None

    @property
    def is_of_pixels(self) -> bool:
        """Whether it is of rain rates pixel by pixel, with no neighbourhood, and of no one user."""
        return not self.is_aggregated and self.window in (None, 1) and self.cost_loss is None

    def stands_at(self, lead: int | None, timestep: float | None) -> bool:
        """Whether tables have it at a lead of so many minutes (None: over all leads): an
        accumulation stands where it ends, and everything else everywhere.
        """
        if self.accumulation is None:
            return True
        return lead is not None and math.isclose(lead * (timestep or 1), self.accumulation)


def row_of(
    key: ScoreKey,
    lead: int | None,
    value: float,
    low: float = math.nan,
    high: float = math.nan,
    functional: str = "",
) -> ScoreRow:
    """A score at a lead (None: over all leads) as a row of a table."""
    score, threshold, window, *more = key
    return ScoreRow(score, threshold, window, lead, value, low, high, functional, *more)


def key_of(row: ScoreRow) -> ScoreKey:
    """What a row is of."""
    return ScoreKey(row.score, row.threshold, row.window, row.box, row.accumulation, row.cost_loss)


Values = dict[ScoreKey, np.ndarray]
"""Scores by lead, (..., T)."""


class Sums(Protocol):
    """What accumulates the sums of a statistic."""

    def add(self, forecast: np.ndarray, observation: np.ndarray) -> None:
        """Add a batch, (B, T, H, W) each (of ensembles (B, M, T, H, W)), NaN = missing; statistics
        of ``several`` functionals also take a forecast by functional.
        """

    def __add__(self, other: Self) -> Self:
        """The sums of both."""

    def totals(self) -> dict[str, np.ndarray]:
        """All of it as float64 arrays that add up, the same names and shapes whatever was added."""


class ScoredSums(Sums, Protocol):
    """Sums that also know the scores made of them; those of nowcast do."""

    def values(self, totals: Mapping[str, np.ndarray]) -> Values:
        """The scores by lead of totals with axes of resamples in front."""


def with_overall(values: Values, overall: Values | None = None) -> Values:
    """Scores by lead, (..., T), with the value over all leads, (..., T + 1): where it is not given,
    (..., 1), their mean, or their sum for those that are ``summed``.
    """
    given, found = overall or {}, {}
    with np.errstate(invalid="ignore"):
        for key, by_lead in values.items():
            pooled = np.sum if about(key.score).summed else np.mean
            last = given[key] if key in given else pooled(by_lead, axis=-1, keepdims=True)
            found[key] = np.concatenate([by_lead, last], axis=-1)
    return found


def check_shapes(
    forecast: np.ndarray, observation: np.ndarray, leads: int, *, axis: str = "leads"
) -> None:
    """Whether a batch can be verified.

    Args:
        forecast: should be (B, T, H, W).
        observation: should be so, too.
        leads: T.
        axis: what the leads are called in the message.

    Raises:
        UserError: they have other shapes.
    """
    if forecast.shape != observation.shape or forecast.ndim != 4 or forecast.shape[1] != leads:
        raise UserError(
            f"expected a forecast and an observation of shape (batch, {leads} {axis}, height, "
            f"width), got {forecast.shape} and {observation.shape}."
        )


def without_masks(forecast, observation) -> tuple[Any, np.ndarray]:
    """Both as plain arrays, NaN where they are masked; arrays that are so already, and forecasts by
    functional, come back as they are.
    """
    return without_mask(forecast, "forecasts"), unmasked(observation, "observations")


def fields_of(
    forecast: np.ndarray, observation: np.ndarray
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """The single fields of a batch: index of the lead, forecast and observation, (H, W) each, of
    (B, T, H, W).
    """
    for case in zip(*without_masks(forecast, observation)):
        for lead, (f, o) in enumerate(zip(*case)):
            yield lead, f, o


class AddedSums:
    """Base of sums: of its attributes the arrays add up, and all others are settings."""

    def __add__(self, other: Self) -> Self:
        """The sums of both.

        Raises:
            UserError: they were made with other settings, or for another number of leads.
        """
        self._check_alike(other)
        total = copy(self)
        for name, array in self._arrays().items():
            # of one number, too, a sum stays an array
            setattr(total, name, np.asarray(array + vars(other)[name]))
        return total

    def totals(self) -> dict[str, np.ndarray]:
        """The arrays as float64, by name."""
        return {name: np.asarray(array, np.float64) for name, array in self._arrays().items()}

    def _arrays(self) -> dict[str, np.ndarray]:
        return {name: value for name, value in vars(self).items() if isinstance(value, np.ndarray)}

    def _check_alike(self, other: "AddedSums") -> None:
        mine, theirs = self._described(), other._described()
        if type(self) is not type(other) or mine != theirs or self._shapes() != other._shapes():
            raise UserError(
                f"sums over {mine} cannot be added to sums over {theirs}; verify both with the "
                "same settings."
            )

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: array.shape for name, array in self._arrays().items()}

    def _described(self) -> str:
        arrays = self._arrays()
        settings = "".join(
            f", {name} {list(value) if isinstance(value, tuple) else value}"
            for name, value in vars(self).items()
            if name not in arrays
        )
        return f"{next(iter(arrays.values())).shape[-1]} leads{settings}"


class SumsTogether:
    """Several sums over the same fields.

    Args:
        leads: T.
        parts: name -> sums.
    """

    def __init__(self, leads: int, parts: Mapping[str, AddedSums]):
        self.leads, self.parts = leads, dict(parts)

    def add(self, forecast: Forecast, observation: np.ndarray) -> None:
        """Add a batch to all of them.

        Args:
            forecast: rain rate [mm/h], (B, T, H, W) float32, NaN = missing; or a distribution's by
                functional, of which each takes what it rewards.
            observation: rain rates; a pixel counts only where both are numbers.

        Raises:
            UserError: shapes that do not agree, or an infinite rain rate.
        """
        forecast, observation = without_masks(forecast, observation)
        check_shapes(forecast, observation, self.leads)
        for sums in self.parts.values():
            sums.add(forecast, observation)

    def __add__(self, other: Self) -> Self:
        if self.parts.keys() != other.parts.keys():
            raise UserError(
                f"sums of {', '.join(self.parts)} cannot be added to sums of "
                f"{', '.join(other.parts)}; verify both with the same settings."
            )
        both = {name: sums + other.parts[name] for name, sums in self.parts.items()}
        return type(self)(self.leads, both)

    def totals(self) -> dict[str, np.ndarray]:
        """The arrays of all parts, named PART.ARRAY."""
        found = {}
        for part, sums in self.parts.items():
            found |= {f"{part}.{name}": array for name, array in sums.totals().items()}
        return found

    def values(self, totals: Mapping[str, np.ndarray]) -> Values:
        """The scores of all parts: threshold by threshold, then those without events."""
        by_part: dict[str, dict[str, np.ndarray]] = {part: {} for part in self.parts}
        for name, array in totals.items():
            part, _, own_name = name.partition(".")
            by_part[part][own_name] = array
        found = {}
        for part, sums in self.parts.items():
            found |= sums.values(by_part[part])
        # a stable sort: what has the same threshold keeps its order
        order = sorted(found, key=lambda key: (key.threshold is None, key.threshold or 0.0))
        return {key: found[key] for key in order}
