"""What a distribution forecasts, by the functional that each score rewards (Gneiting 2011, Journal
of the American Statistical Association 106): its mean for squared errors, its median for absolute
ones, yes or no for events, its probabilities for scores of all of it.

B cases, T leads, H rows, W columns, K thresholds.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nowcast.types.arrays import unmasked


@dataclass(frozen=True, eq=False)
class ByFunctional:
    """A forecast as a distribution.

    Args:
        fields: by functional ("mean", "median", "event:0.5" ...), physical values, (B, T, H, W)
            float32, NaN = no forecast; of an event whether it is forecast, booleans.
        thresholds: K physical values.
        probability: that each of them is reached, (B, K, T, H, W).
    """

    fields: Mapping[str, np.ndarray]
    thresholds: tuple[float, ...] = ()
    probability: np.ndarray | None = None

    @property
    def mean(self) -> np.ndarray:
        """The mean, which says where there is a forecast, too."""
        return self.fields["mean"]

    @property
    def shape(self) -> tuple[int, ...]:
        """(B, T, H, W)."""
        return self.mean.shape

    @property
    def ndim(self) -> int:
        """4."""
        return self.mean.ndim

    def __len__(self) -> int:
        return len(self.mean)

    def __getitem__(self, cases: Any) -> "ByFunctional":
        """Some of the cases."""
        fields = {name: values[cases] for name, values in self.fields.items()}
        probability = None if self.probability is None else self.probability[cases]
        return ByFunctional(fields, self.thresholds, probability)

    def field(self, functional: str) -> np.ndarray:
        """One functional, (B, T, H, W) float32; of an event its value where it is forecast, and
        elsewhere 0.
        """
        values = self.fields[functional]
        if values.dtype != bool:
            return values
        level = float(functional.partition(":")[2].partition("@")[0])
        event = np.where(values, np.float32(level), np.float32(0))
        return np.where(np.isnan(self.mean), np.float32(np.nan), event)


Forecast = np.ndarray | ByFunctional
"""Of a batch: a model's single field, (B, T, H, W), which is its answer to whatever is asked, or
what its distribution says.
"""


def event(threshold: float) -> str:
    """The functional that scores of an event reward."""
    return f"event:{threshold:g}"


def functionals_of(thresholds: Sequence[float]) -> tuple[str, ...]:
    """What scores of rain reward: the mean, the median, and yes or no at every threshold."""
    return ("mean", "median", *map(event, thresholds))


def field_of(forecast: Forecast, functional: str) -> np.ndarray:
    """The field that is judged, (B, T, H, W): that of the functional, or the single one."""
    return forecast.field(functional) if isinstance(forecast, ByFunctional) else forecast


def event_fields(
    forecast: Forecast, thresholds: Sequence[float]
) -> Iterator[tuple[slice, np.ndarray]]:
    """(which thresholds, the field that is judged at them); a single field at all of them."""
    if not isinstance(forecast, ByFunctional):
        yield slice(None), forecast
        return
    for k, threshold in enumerate(thresholds):
        yield slice(k, k + 1), forecast.field(event(threshold))


def without_mask(forecast: Any, name: str) -> Forecast:
    """Without a mask: NaN where values are masked."""
    return forecast if isinstance(forecast, ByFunctional) else unmasked(forecast, name)
