"""Scores of what people act on: rain that falls up to a lead time, and means over boxes.

B cases, M members, T leads, H rows, W columns.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from nowcast.evaluation.statistics.ensemble import EnsembleSums
from nowcast.evaluation.statistics.scores import ratio
from nowcast.evaluation.statistics.sums import ScoreKey, Values, with_overall
from nowcast.runtime.errors import UserError

_OF_SEVERAL_MEMBERS = ("crps_fair", "spread", "spread_skill", "rmse_of_mean")
_WHOLE = 1e-6  # steps by which minutes may miss a lead time


@dataclass(frozen=True)
class Aggregation:
    """How fields are taken together before they are scored.

    Args:
        box: side of the boxes whose means are taken [km]; None: single pixels stay.
        minutes: up to which rain is added up [mm]; None: rain rates [mm/h] stay, lead by lead.
    """

    box: float | None = None
    minutes: float | None = None

    def leads(self, forecast_length: int, timestep: float) -> int:
        """How many lead times are added up; 0 where none of them ends after so many minutes."""
        steps = self.minutes / timestep
        whole = round(steps)
        return whole if abs(steps - whole) < _WHOLE and 1 <= whole <= forecast_length else 0

    def width(self, spacing: float) -> int:
        """Of a box in whole pixels, the nearest number; 0 where a box is less than half a pixel."""
        return math.floor(self.box / spacing + 0.5)

    def __str__(self) -> str:
        parts = []
        if self.minutes is not None:
            parts.append(f"sum{self.minutes:g}")
        if self.box is not None:
            parts.append(f"box{self.box:g}")
        return "_".join(parts)


def aggregations_of(
    accumulations: tuple[float, ...], boxes: tuple[float, ...]
) -> tuple[Aggregation, ...]:
    """Accumulations by pixel and in boxes, and rain rates in boxes."""
    found = []
    for minutes in accumulations:
        found += [Aggregation(box, minutes) for box in (None, *boxes)]
    return (*found, *(Aggregation(box=box) for box in boxes))


def accumulated(rates: np.ndarray, leads: int, timestep: float) -> np.ndarray:
    """Rain of the first lead times [mm], (..., T, H, W) -> (..., 1, H, W); NaN where a rate is."""
    total = rates[..., :leads, :, :].sum(-3, keepdims=True)
    return total * np.float32(timestep / 60)


def box_means(values: np.ndarray, known: np.ndarray, width: int) -> np.ndarray:
    """Means over boxes side by side, of the pixels that are known; NaN where fewer than half are.

    Boxes that the lower or right edge cuts are left out.

    Args:
        values: (..., H, W); numbers where known.
        known: booleans, (..., H, W), with as many axes as the values or fewer.
        width: of a box [pixels].

    Returns:
        (..., H // width, W // width) float32.
    """
    if width == 1:
        return np.where(known, values, np.float32(np.nan))
    height, across = (side // width for side in values.shape[-2:])
    inside = (..., slice(height * width), slice(across * width))

    def boxed(field: np.ndarray, kind: type) -> np.ndarray:
        parts = field[inside].reshape(*field.shape[:-2], height, width, across, width)
        return parts.sum((-3, -1), dtype=kind)

    number = boxed(known, np.int64)
    total = boxed(np.where(known, values, np.float32(0)), np.float64)
    means = total / np.maximum(number, 1)
    return np.where(2 * number >= width * width, means, np.nan).astype(np.float32)


class AggregatedSums(EnsembleSums):
    """Sums over aggregated fields: of the members, of their median, and of the mean that the model
    forecasts, which need not be that of the members.

    Args:
        thresholds: K values [mm/h or mm].
        members: M; 1 of a single field.
        forecast_length: T.
        cost_loss: cost-loss ratios of economic values.

    Attributes:
        absolute_error: sum of |median - observation|, (T,).
        mean_squared_error: sum of (mean - observation)^2, (T,).
        mean_error: sum of mean - observation, (T,).
    """

    def __init__(
        self,
        thresholds: tuple[float, ...],
        members: int,
        forecast_length: int,
        cost_loss: tuple[float, ...] = (),
    ):
        super().__init__(thresholds, members, forecast_length, cost_loss)
        self.absolute_error, self.mean_squared_error, self.mean_error = np.zeros(
            (3, forecast_length)
        )

    def add_aggregated(
        self, mean: np.ndarray, members: np.ndarray, observation: np.ndarray
    ) -> None:
        """Add aggregated fields, which are numbers at the same places, (B, T, H, W) each, members
        (B, M, T, H, W).
        """
        self.add(members, observation)
        median = np.median(members, axis=1)
        away = mean.astype(np.float64) - observation
        off = np.abs(median.astype(np.float64) - observation)
        known = ~np.isnan(away)
        axes = (0, 2, 3)
        self.mean_error += away.sum(axes, where=known)
        self.mean_squared_error += (away * away).sum(axes, where=known)
        self.absolute_error += off.sum(axes, where=known)

    def values(self, totals: Mapping[str, np.ndarray]) -> Values:
        """Scores of the members, and errors of their median and of the mean. Of a single field the
        CRPS is its absolute error, and there is no spread.
        """
        found = super().values(totals)
        if self.members == 1:
            for score in _OF_SEVERAL_MEMBERS:
                del found[ScoreKey(score)]
        n = totals["pixels"]
        mse = ratio(totals["mean_squared_error"], n)
        return found | {
            ScoreKey("mae"): ratio(totals["absolute_error"], n),
            ScoreKey("mse"): mse,
            ScoreKey("rmse"): np.sqrt(mse),
            ScoreKey("mean_error"): ratio(totals["mean_error"], n),
        }


@dataclass(frozen=True)
class AggregateScores:
    """Scores of accumulations and of means in boxes.

    Args:
        aggregations: which ones.
        thresholds: of rain rates [mm/h].
        accumulation_thresholds: of accumulations [mm].
        members: M; 1 of a single field.
        cost_loss: cost-loss ratios of economic values.
    """

    aggregations: tuple[Aggregation, ...]
    thresholds: tuple[float, ...]
    accumulation_thresholds: tuple[float, ...]
    members: int
    cost_loss: tuple[float, ...] = ()

    def sums(self, forecast_length: int) -> "AggregateSums":
        """Empty sums for forecasts of ``forecast_length`` leads."""
        return AggregateSums(
            forecast_length, {one: self.part(one, forecast_length) for one in self.aggregations}
        )

    def part(self, aggregation: Aggregation, forecast_length: int) -> AggregatedSums:
        """Empty sums of one aggregation; an accumulation has one lead."""
        thresholds, leads = self.thresholds, forecast_length
        if aggregation.minutes is not None:
            thresholds, leads = self.accumulation_thresholds, 1
        return AggregatedSums(thresholds, self.members, leads, self.cost_loss)

    def scored(
        self, totals: Mapping[str, np.ndarray], forecast_length: int, timestep: float
    ) -> Values:
        """Scores by lead and, last, over all leads, (..., T + 1). Of an accumulation they stand at
        the lead where it ends and at the last place, and are NaN elsewhere.

        Args:
            totals: of ``AggregateSums``.
            forecast_length: T.
            timestep: minutes of a lead.
        """
        found: Values = {}
        for aggregation in self.aggregations:
            values = self.part(aggregation, 1).values(totals_of(totals, aggregation))
            if aggregation.minutes is None:
                values = with_overall(values)
            else:
                leads = aggregation.leads(forecast_length, timestep)
                if not leads:
                    continue
                values = _at_lead(values, leads, forecast_length)
            for key, value in values.items():
                named = key._replace(box=aggregation.box, accumulation=aggregation.minutes)
                found[named] = value
        return found


def totals_of(totals: Mapping[str, np.ndarray], aggregation: Aggregation) -> dict[str, np.ndarray]:
    """Of the totals of all aggregations those of one."""
    start = f"{aggregation}."
    return {
        name.removeprefix(start): array for name, array in totals.items() if name.startswith(start)
    }


def _at_lead(values: Values, lead: int, forecast_length: int) -> Values:
    """Values of one lead, (..., 1), among T leads and as the value over all, (..., T + 1)."""
    found = {}
    for key, value in values.items():
        placed = np.full((*value.shape[:-1], forecast_length + 1), np.nan)
        placed[..., [lead - 1, -1]] = value
        found[key] = placed
    return found


class AggregateSums:
    """Sums over all aggregations of one model.

    Args:
        forecast_length: T.
        parts: the sums of each aggregation.
    """

    def __init__(self, forecast_length: int, parts: Mapping[Aggregation, AggregatedSums]):
        self.forecast_length, self.parts = forecast_length, dict(parts)

    def add(
        self,
        mean: np.ndarray,
        members: np.ndarray | None,
        observation: np.ndarray,
        *,
        timestep: float,
        spacing: float,
    ) -> None:
        """Add cases of one scale.

        Args:
            mean: rain rate [mm/h], (B, T, H, W), NaN = missing; of a single field the field.
            members: (B, M, T, H, W); None: a single field is scored as an ensemble of one.
            observation: (B, T, H, W).
            timestep: minutes between leads.
            spacing: kilometres between pixels.
        """
        members = mean[:, None] if members is None else members
        known = ~(np.isnan(observation) | np.isnan(mean) | np.isnan(members).any(axis=1))
        for aggregation, sums in self.parts.items():
            fields, counted = (mean, members, observation), known
            if aggregation.minutes is not None:
                leads = aggregation.leads(self.forecast_length, timestep)
                if not leads:
                    continue
                fields = [accumulated(field, leads, timestep) for field in fields]
                counted = known[:, :leads].all(axis=1, keepdims=True)
            width = 1 if aggregation.box is None else aggregation.width(spacing)
            if width < 1 or min(mean.shape[-2:]) < width:
                continue
            mean_of, members_of, observed = fields
            sums.add_aggregated(
                box_means(mean_of, counted, width),
                box_means(members_of, counted[:, None], width),
                box_means(observed, counted, width),
            )

    def __add__(self, other: Self) -> Self:
        """The sums of both.

        Raises:
            UserError: they are of other aggregations.
        """
        if self.parts.keys() != other.parts.keys():
            raise UserError(
                f"sums of {', '.join(map(str, self.parts))} cannot be added to sums of "
                f"{', '.join(map(str, other.parts))}; verify both with the same settings."
            )
        both = {one: sums + other.parts[one] for one, sums in self.parts.items()}
        return type(self)(self.forecast_length, both)

    def totals(self) -> dict[str, np.ndarray]:
        """The arrays of all aggregations, named AGGREGATION.ARRAY."""
        found = {}
        for aggregation, sums in self.parts.items():
            found |= {f"{aggregation}.{name}": array for name, array in sums.totals().items()}
        return found
