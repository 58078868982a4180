"""A score: how large the area of rain is that was forecast, compared with the one that came."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nowcast import Statistic
from nowcast.evaluation.statistics.scores import Score, ratio


@dataclass(frozen=True)
class WetArea(Statistic):
    """Forecast area over observed area, where the rain reaches a threshold.

    Args:
        threshold: rain rate [mm/h].
    """

    scores = {"wet_area": Score("near 1", title="wet area, forecast / observed")}

    threshold: float = 1.0

    def of(self, forecast: np.ndarray, observation: np.ndarray) -> dict[str, np.ndarray]:
        """(B, T, H, W) each -> numbers of pixels by lead, (T,)."""
        known = ~np.isnan(forecast) & ~np.isnan(observation)
        found = {}
        for name, field in (("forecast", forecast), ("observed", observation)):
            found[name] = (known & (field >= self.threshold)).sum(axis=(0, 2, 3))
        return found

    def values(self, sums: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The ratio by lead, (..., T)."""
        return {"wet_area": ratio(sums["forecast"], sums["observed"])}
