"""Sums that add up over batches, workers and processes, and the scores made of them.

Every kind of sums does four things: ``add`` a batch of fields, ``a + b``, ``totals`` (all of it as
arrays that add up, which is what is stored and resampled) and ``values`` (scores of such arrays,
also of many resamples at once). T leads; ``...`` are axes of resamples.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import ClassVar, NamedTuple, Protocol, Self

import numpy as np

from nowcast.evaluation.statistics.scores import SUMMED_OVER_LEADS, ScoreRow
from nowcast.runtime.errors import UserError
from nowcast.types.arrays import unmasked


class ScoreKey(NamedTuple):
    """What a score is of: its name, the threshold [mm/h] and the width of the neighbourhood
    [pixels] (None: without).
    """

    score: str
    threshold: float | None = None
    window: int | None = None


Values = dict[ScoreKey, np.ndarray]
"""Scores by lead, (..., T)."""


class Sums(Protocol):
    """What all sums offer."""

    def add(self, forecast: np.ndarray, observation: np.ndarray) -> None:
        """Add a batch of fields, (B, T, H, W) each, NaN = missing; ``nowcast.evaluation.statistics.ensemble``
        takes members, (B, M, T, H, W).
        """

    def __add__(self, other: Self) -> Self:
        """The sums of both."""

    def totals(self) -> dict[str, np.ndarray]:
        """All of it as float64 arrays that add up, the same names and shapes whatever was added."""

    def values(self, totals: Mapping[str, np.ndarray]) -> Values:
        """The scores of totals with axes of resamples in front."""

    def rows(self) -> list[ScoreRow]:
        """All scores by lead, then over all leads. Sums whose value over all leads is neither the
        mean nor the sum of the leads also have ``overall(totals)``, which gives it.
        """


def with_overall(values: Values, overall: Values | None = None) -> Values:
    """Scores by lead, (..., T), with the value over all leads, (..., T + 1): where it is not given,
    (..., 1), their mean, or their sum for those of ``SUMMED_OVER_LEADS``.
    """
    given = overall or {}

    def last(key: ScoreKey, by_lead: np.ndarray) -> np.ndarray:
        if key in given:
            return given[key]
        return (
            by_lead.sum(-1, keepdims=True)
            if key.score in SUMMED_OVER_LEADS
            else by_lead.mean(-1, keepdims=True)
        )

    with np.errstate(invalid="ignore"):
        return {
            key: np.concatenate([by_lead, last(key, by_lead)], axis=-1)
            for key, by_lead in values.items()
        }


def rows_of_values(values: Values, overall: Values | None = None) -> list[ScoreRow]:
    """Rows of scores by lead, (T,) each, and over all leads, see ``with_overall``."""
    found = []
    for key, by_lead in with_overall(values, overall).items():
        leads = [*range(1, by_lead.size), None]
        found += [ScoreRow(*key, lead, float(value)) for lead, value in zip(leads, by_lead)]
    return found


def check_shapes(
    forecast: np.ndarray, observation: np.ndarray, leads: int, *, axis: str = "leads"
) -> None:
    """Whether a batch can be verified.

    Args:
        forecast, observation: should be (B, T, H, W) both.
        leads: T.
        axis: what the leads are called in the message.

    Raises:
        UserError: they have other shapes.
    """
    if forecast.shape != observation.shape or forecast.ndim != 4 or forecast.shape[1] != leads:
        raise UserError(
            f"a forecast of shape {forecast.shape} and an observation of shape "
            f"{observation.shape} came; both must be (batch, {leads} {axis}, height, width)."
        )


def without_masks(forecast, observation) -> tuple[np.ndarray, np.ndarray]:
    """Both as plain arrays, NaN where they are masked; arrays that are so already come back as they
    are.
    """
    return unmasked(forecast, "forecasts"), unmasked(observation, "observations")


def fields_of(
    forecast: np.ndarray, observation: np.ndarray
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """The single fields of a batch: index of the lead, forecast and observation, (H, W) each, of
    (B, T, H, W).
    """
    for case in zip(*without_masks(forecast, observation)):
        for lead, (f, o) in enumerate(zip(*case)):
            yield lead, f, o


@dataclass
class AddedSums:
    """Base of sums that are added field by field: dataclasses of arrays, with the settings that
    ``SETTINGS`` names.
    """

    SETTINGS: ClassVar[tuple[str, ...]] = ()

    def __add__(self, other: Self) -> Self:
        check_alike(self, other)
        return type(self)(
            **self._settings(),
            **{name: array + getattr(other, name) for name, array in self._arrays().items()},
        )

    def totals(self) -> dict[str, np.ndarray]:
        """The arrays as float64, by name."""
        return {name: np.asarray(array, np.float64) for name, array in self._arrays().items()}

    def rows(self) -> list[ScoreRow]:
        """All scores by lead, then over all leads."""
        return rows_of_values(self.values(self.totals()))

    def _settings(self) -> dict:
        return {name: getattr(self, name) for name in self.SETTINGS}

    def _arrays(self) -> dict[str, np.ndarray]:
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in self.SETTINGS}


def check_alike(one: AddedSums, other: AddedSums) -> None:
    """Whether two sums can be added.

    Raises:
        UserError: they were made with other settings, or for another number of leads.
    """

    def described(sums: AddedSums) -> str:
        shapes = [array.shape for array in sums._arrays().values()]
        settings = "".join(
            f", {name} {list(value) if isinstance(value, tuple) else value}"
            for name, value in sums._settings().items()
        )
        return f"{shapes[0][-1]} leads{settings}", shapes

    (mine, my_shapes), (theirs, their_shapes) = described(one), described(other)
    if type(one) is not type(other) or mine != theirs or my_shapes != their_shapes:
        raise UserError(
            f"sums over {mine} cannot be added to sums over {theirs}; verify both with the same "
            "settings."
        )


@dataclass
class SumsTogether:
    """Several sums over the same fields.

    Args:
        leads: T.
        parts: name -> sums.
    """

    leads: int
    parts: dict[str, Sums]

    def add(self, forecast: np.ndarray, observation: np.ndarray) -> None:
        """Add a batch to all of them.

        Args:
            forecast, observation: rain rate [mm/h], (B, T, H, W) float32, NaN = missing. A pixel
                counts only where both hold a number.

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
        return type(self)(
            self.leads, {name: sums + other.parts[name] for name, sums in self.parts.items()}
        )

    def totals(self) -> dict[str, np.ndarray]:
        """The arrays of all parts, named PART.ARRAY."""
        return {
            f"{part}.{name}": array
            for part, sums in self.parts.items()
            for name, array in sums.totals().items()
        }

    def values(self, totals: Mapping[str, np.ndarray]) -> Values:
        """The scores of all parts."""
        found = {}
        for part, sums in self.parts.items():
            found |= sums.values(
                {
                    name.partition(".")[2]: array
                    for name, array in totals.items()
                    if name.partition(".")[0] == part
                }
            )
        return dict(sorted(found.items(), key=lambda item: _place(item[0])))

    def rows(self) -> list[ScoreRow]:
        """All scores by lead, then over all leads: threshold by threshold, then those without
        events.
        """
        rows = [row for sums in self.parts.values() for row in sums.rows()]
        return sorted(rows, key=lambda row: _place(row))


def _place(key) -> tuple:
    """Sorts scores by threshold, those without a threshold last; otherwise they keep their order."""
    return key.threshold is None, key.threshold or 0.0
