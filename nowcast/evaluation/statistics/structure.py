"""Structure, amplitude and location (SAL, Wernli et al. 2008, Monthly Weather Review 136): whether
a field looks like the observed one.

H rows, W columns, T leads, N objects.
"""

from collections.abc import Mapping

import numpy as np
from scipy import ndimage

from nowcast.evaluation.statistics.by_functional import Forecast, field_of
from nowcast.evaluation.statistics.scores import ratio
from nowcast.evaluation.statistics.sums import AddedSums, ScoreKey, Values, fields_of
from nowcast.types.arrays import unmasked

FACTOR, QUANTILE = 1 / 15, 95.0
"""An object is a connected area above FACTOR times the QUANTILE-th percentile of the rainy pixels
(Wernli et al. 2009).
"""
WET = 0.1  # mm/h
_SCORES = (
    "sal_structure",
    "sal_amplitude",
    "sal_location",
    "sal_structure_size",
    "sal_amplitude_size",
)


class StructureSums(AddedSums):
    """Sums over the cases in which both fields have an object; one case is one field at one lead.

    S is -2 for objects that are too small or peaked and 2 for those that are too wide or flat, A
    the same for too little and too much rain, L is 0 for rain at the right place and up to 2. A
    pixel that is missing in one field is out of both. Objects are the paper's: connected areas (not
    over corners) above the threshold. pysteps finds them by its storm detection, a watershed with a
    smallest size, so that its S and the second part of its L differ; A and the first part of L are
    the same.

    Args:
        forecast_length: T.

    Attributes:
        by_lead: S, A and L, then |S| and |A|, (5, T).
        cases: (T,).
    """

    def __init__(self, forecast_length: int):
        self.by_lead, self.cases = np.zeros((5, forecast_length)), np.zeros(forecast_length)

    def add(self, forecast: Forecast, observation: np.ndarray) -> None:
        """Add a batch, see ``SumsTogether.add``."""
        for lead, f, o in fields_of(field_of(forecast, "mean"), observation):
            found = sal(f, o)
            if np.isfinite(found).all():
                self.by_lead[:, lead] += [*found, abs(found[0]), abs(found[1])]
                self.cases[lead] += 1

    def values(self, totals: Mapping[str, np.ndarray]) -> Values:
        """Means of S, A and L, and of |S| and |A|; how many cases had objects in both fields."""
        found = {
            ScoreKey(name): ratio(totals["by_lead"][..., i, :], totals["cases"])
            for i, name in enumerate(_SCORES)
        }
        return found | {ScoreKey("sal_cases"): totals["cases"]}


def sal(forecast: np.ndarray, observation: np.ndarray) -> tuple[float, float, float]:
    """S, A and L of two fields of rain rates [mm/h], (H, W), NaN = missing; NaN where one of them
    contains no rain.
    """
    forecast, observation = unmasked(forecast, "forecasts"), unmasked(observation, "observations")
    missing = np.isnan(forecast) | np.isnan(observation)
    fields = [np.where(missing, 0, field).astype(np.float64) for field in (forecast, observation)]
    objects = [_objects(field) for field in fields]
    if any(found is None for found in objects):
        return np.nan, np.nan, np.nan
    size = np.count_nonzero(~missing)
    (f_volume, f_centre, f_spread), (o_volume, o_centre, o_spread) = objects
    f_mean, o_mean = (field.sum() / size for field in fields)
    farthest = np.hypot(*forecast.shape)
    location = np.hypot(*(f_centre - o_centre)) / farthest + 2 * abs(f_spread - o_spread) / farthest
    return _normalised(f_volume, o_volume), _normalised(f_mean, o_mean), float(location)


def _normalised(forecast: float, observation: float) -> float:
    return float(2 * (forecast - observation) / (forecast + observation))


def _objects(field: np.ndarray) -> tuple[float, np.ndarray, float] | None:
    """Scaled volume V of the objects, the field's centre of mass, and the mean distance r of its
    objects from it; None without an object.
    """
    wet = field[field >= WET]
    if not wet.size:
        return None
    labels, count = ndimage.label(field > FACTOR * np.percentile(wet, QUANTILE))
    if not count:
        return None
    numbers = np.arange(1, count + 1)
    mass = ndimage.sum_labels(field, labels, numbers)
    peak = ndimage.maximum(field, labels, numbers)
    centres = np.array(ndimage.center_of_mass(field, labels, numbers))
    centre = np.array(ndimage.center_of_mass(field))
    spread = np.average(np.hypot(*(centres - centre).T), weights=mass)
    return float(np.average(mass / peak, weights=mass)), centre, float(spread)
