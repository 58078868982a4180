"""Scores of rain forecasts [mm/h]: event scores by threshold and neighbourhood, errors and
correlations, all by lead time.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nowcast.evaluation.statistics.aggregates import AggregateScores, aggregations_of
from nowcast.evaluation.statistics.balanced import BalancedSums
from nowcast.evaluation.statistics.base import SummedStatistic
from nowcast.evaluation.statistics.by_functional import functionals_of
from nowcast.evaluation.statistics.ensemble import EnsembleScores
from nowcast.evaluation.statistics.neighbourhood import LARGEST_WINDOW, FractionSums
from nowcast.evaluation.statistics.pixels import PixelSums
from nowcast.evaluation.statistics.pools import LARGEST_POOL, PoolSums
from nowcast.evaluation.statistics.probability import ProbabilityScores
from nowcast.evaluation.statistics.spectrum import SpectrumSums
from nowcast.evaluation.statistics.structure import StructureSums
from nowcast.evaluation.statistics.sums import SumsTogether
from nowcast.runtime.errors import UserError

_THRESHOLDS = {"thresholds": "rain rates in mm/h", "accumulation_thresholds": "accumulations in mm"}
_SIZES = {
    "accumulations": (10_000, "minutes"),
    "boxes": (10_000, "kilometres"),
    "cost_loss": (1, "cost-loss ratios"),
}
"""What must be below what, and what it is."""


@dataclass(frozen=True)
class RainScores(SummedStatistic):
    """Which rain scores to compute.

    Args:
        thresholds: rain rates [mm/h], ascending; an event is a rain rate ``>=`` one of them.
        windows: widths [pixels], ascending, of the neighbourhoods of the fractions skill score;
            none: it is left out.
        pools: widths [pixels], ascending, of the blocks whose largest rates are compared, for all
            event scores; none: they are left out.
        sal: whether structure, amplitude and location (Wernli et al. 2008) are computed.
        spectra: whether power spectra and the effective resolution are computed.
        accumulations: minutes, ascending, up to which rain is added up and scored [mm], by pixel
            and in boxes; none: they are left out.
        accumulation_thresholds: accumulations [mm], ascending; an event is one ``>=`` them.
        boxes: sides [km], ascending, of the boxes whose mean rates and accumulations are scored;
            none: they are left out.
        cost_loss: cost-loss ratios, ascending, of the users for whom economic values are computed;
            none: they are left out.

    Raises:
        UserError: thresholds that are empty, not ascending, not positive or not finite; windows or
            pools that are no ascending widths; the same of the other settings.
    """

    several: ClassVar[bool] = True
    thresholds: tuple[float, ...] = (0.1, 0.5, 1, 2, 5, 10)
    windows: tuple[int, ...] = ()
    pools: tuple[int, ...] = (4, 16)
    sal: bool = False
    spectra: bool = False
    accumulations: tuple[float, ...] = ()
    accumulation_thresholds: tuple[float, ...] = (1, 5, 10, 20)
    boxes: tuple[float, ...] = ()
    cost_loss: tuple[float, ...] = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)

    def __post_init__(self):
        for name, unit in _THRESHOLDS.items():
            checked = _checked_thresholds(name, vars(self)[name], unit)
            object.__setattr__(self, name, checked)
        for name, (most, unit) in _SIZES.items():
            checked = _checked_sizes(name, vars(self)[name], most, unit)
            object.__setattr__(self, name, checked)
        windows = _checked_widths("windows", self.windows, 1, LARGEST_WINDOW)
        object.__setattr__(self, "windows", windows)
        pools = _checked_widths("pools", self.pools, 2, LARGEST_POOL)
        object.__setattr__(self, "pools", pools)

    def sums(self, forecast_length: int) -> SumsTogether:
        """Empty sums for forecasts of ``forecast_length`` leads."""
        parts = {
            "pixels": PixelSums(self.thresholds, forecast_length, self.cost_loss),
            "balanced": BalancedSums(forecast_length),
        }
        if self.windows:
            parts["fractions"] = FractionSums(self.thresholds, self.windows, forecast_length)
        if self.pools:
            parts["pools"] = PoolSums(self.thresholds, self.pools, forecast_length)
        if self.sal:
            parts["structure"] = StructureSums(forecast_length)
        if self.spectra:
            parts["spectra"] = SpectrumSums(forecast_length)
        return SumsTogether(forecast_length, parts)

    @property
    def functionals(self) -> tuple[str, ...]:
        """The mean, the median, and yes or no at every threshold."""
        return functionals_of(self.thresholds)

    def probabilities(self) -> ProbabilityScores:
        """Scores of probabilities of the same thresholds."""
        return ProbabilityScores(self.thresholds, self.windows, self.cost_loss)

    def ensemble(self, members: int) -> EnsembleScores:
        """Scores of ensembles of so many members, at the same thresholds."""
        return EnsembleScores(self.thresholds, members, self.cost_loss)

    def aggregates(self, members: int) -> AggregateScores | None:
        """Scores of accumulations and of means in boxes, of so many members."""
        wanted = aggregations_of(self.accumulations, self.boxes)
        if not wanted:
            return None
        limits = self.thresholds, self.accumulation_thresholds
        return AggregateScores(wanted, *limits, members, self.cost_loss)


def _are_numbers(given) -> bool:
    return isinstance(given, (list, tuple)) and all(
        isinstance(one, (int, float)) and not isinstance(one, bool) for one in given
    )


def _checked_thresholds(name: str, given, unit: str) -> tuple[float, ...]:
    """Thresholds as floats, if they are positive and ascending.

    Raises:
        UserError: they are not.
    """
    numbers = _are_numbers(given)
    # Compared as float32, like the rain rates: two thresholds that agree there would be one.
    ascending = np.array([0.0, *given, np.inf], np.float32) if numbers else np.zeros(2)
    if not numbers or not given or not (ascending[1:] > ascending[:-1]).all():
        raise UserError(
            f"{name} are {given!r}; give one or more positive {unit}, ascending, e.g. [0.1, 1, 5]."
        )
    return tuple(float(t) for t in given)


def _checked_sizes(name: str, given, most: float, unit: str) -> tuple[float, ...]:
    """Numbers of a setting, if they are above 0, below a limit, and ascending.

    Raises:
        UserError: they are not.
    """
    ascending = _are_numbers(given) and list(given) == sorted({x for x in given if 0 < x < most})
    if not ascending:
        raise UserError(
            f"{name} is {given!r}; give {unit} above 0 and below {most:g}, ascending, or [] for "
            "none."
        )
    return tuple(float(one) for one in given)


def _checked_widths(name: str, widths, smallest: int, largest: int) -> tuple[int, ...]:
    """Widths of a setting, if they are whole numbers in a range, ascending.

    Raises:
        UserError: they are not.
    """
    whole = isinstance(widths, (list, tuple)) and all(
        isinstance(w, int) and not isinstance(w, bool) for w in widths
    )
    if not whole or list(widths) != sorted({w for w in widths if smallest <= w <= largest}):
        raise UserError(
            f"{name} are {widths!r}; give widths in whole pixels from {smallest} to {largest}, "
            "ascending, e.g. [4, 16], or [] for none."
        )
    return tuple(widths)
