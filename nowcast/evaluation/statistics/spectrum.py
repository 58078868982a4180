"""Power by scale of forecast and observation: the spectra show the blurring that scores of events
reward.

T leads, F bands of wavelengths.
"""

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import scipy.fft

from nowcast.evaluation.statistics.by_functional import Forecast, field_of
from nowcast.evaluation.statistics.scores import ratio
from nowcast.evaluation.statistics.sums import AddedSums, ScoreKey, Values, fields_of

FLOOR = 0.1  # mm/h; weaker rain counts as dry
BANDS = 2.0 ** (1 + np.arange(23) / 2)
"""Edges of the bands of wavelengths, 2 to 4096 pixels, two an octave."""
CENTRES = np.sqrt(BANDS[1:] * BANDS[:-1])
"""Their centres [pixels], F."""


class SpectrumSums(AddedSums):
    """Radially averaged power spectral densities of 10 log10 of the rain rate, summed over cases by
    band of wavelengths.

    Rates below 0.1 mm/h are set to it; a pixel that is missing in one field is set to it in both. A
    case adds, to each band, the mean power of the waves in it, and only where its field is long
    enough for them.

    Args:
        forecast_length: T.

    Attributes:
        forecast_power, observation_power: (F, T).
        cases: that have waves in a band, (F, T).
    """

    def __init__(self, forecast_length: int):
        shape = (3, CENTRES.size, forecast_length)
        self.forecast_power, self.observation_power, self.cases = np.zeros(shape)

    def add(self, forecast: Forecast, observation: np.ndarray) -> None:
        """Add a batch, see ``SumsTogether.add``."""
        bands = bands_of(forecast.shape[-2:])
        for lead, f, o in fields_of(field_of(forecast, "mean"), observation):
            missing = np.isnan(f) | np.isnan(o)
            if missing.all():
                continue
            f_power, o_power = (power_by_band(decibels(field, missing), bands) for field in (f, o))
            self.forecast_power[:, lead] += f_power
            self.observation_power[:, lead] += o_power
            self.cases[:, lead] += bands[1] > 0

    def values(self, totals: Mapping[str, np.ndarray]) -> Values:
        """Mean power by wavelength [dB^2], and the effective resolution [pixels].

        The effective resolution is the shortest wavelength down to which, coming from the longest,
        the forecast has at least half of the observed power in every band.
        """
        f, o = (
            ratio(totals[name], totals["cases"]) for name in ("forecast_power", "observation_power")
        )
        # without rain there is nothing to resolve
        known = np.isfinite(f) & np.isfinite(o) & (o > 0)
        weak = known & (f < 0.5 * o)
        # in this band, or in one of longer waves
        lost = np.logical_or.accumulate(weak[..., ::-1, :], axis=-2)[..., ::-1, :]
        shortest = np.where(known & ~lost, BANDS[:-1, None], np.inf).min(-2)
        found = {}
        ever_known = np.moveaxis(known, -2, 0).reshape(CENTRES.size, -1).any(1)
        for band in np.flatnonzero(ever_known)[::-1]:
            width = round(float(CENTRES[band]))
            found[ScoreKey("power_forecast", None, width)] = f[..., band, :]
            found[ScoreKey("power_observation", None, width)] = o[..., band, :]
        resolution = np.where(np.isfinite(shortest), shortest, np.nan)
        return found | {ScoreKey("effective_resolution"): resolution}


def decibels(rain_rate: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """10 log10 of rain rates (H, W), of at least ``FLOOR``."""
    return 10 * np.log10(np.where(missing, FLOOR, np.maximum(rain_rate, FLOOR)).astype(np.float32))


@lru_cache(maxsize=16)
def bands_of(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """(band of each wave of ``rfft2`` of a field, F for those in none; number of waves of the whole
    spectrum in each band, (F,)).
    """
    across, down = np.fft.rfftfreq(shape[1]), np.fft.fftfreq(shape[0])
    frequency = np.hypot(down[:, None], across)
    with np.errstate(divide="ignore"):
        band = np.searchsorted(BANDS, (1 / frequency) * (1 + 1e-9), side="right") - 1
    # the mean of the field, and diagonals shorter than 2 pixels
    band = np.where((band < 0) | (band >= CENTRES.size), CENTRES.size, band)
    twins = np.broadcast_to(_twins(shape), band.shape)
    waves = np.bincount(band.ravel(), twins.ravel(), CENTRES.size + 1)[:-1]
    return band, waves


def _twins(shape: tuple[int, int]) -> np.ndarray:
    """How many waves of the whole spectrum each column of ``rfft2`` stands for."""
    columns = shape[1] // 2 + 1
    twins = np.full(columns, 2.0)
    twins[0] = 1
    if shape[1] % 2 == 0:
        twins[-1] = 1
    return twins


def power_by_band(field: np.ndarray, bands: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Mean power spectral density |FFT|^2 / (H W) of the waves of each band, (H, W) -> (F,); 0
    where there is no wave.
    """
    band, waves = bands
    transformed = scipy.fft.rfft2(field, workers=1)
    power = (transformed.real**2 + transformed.imag**2) * _twins(field.shape).astype(np.float32)
    total = np.bincount(band.ravel(), power.ravel(), CENTRES.size + 1)[:-1] / field.size
    return np.divide(total, waves, out=np.zeros(CENTRES.size), where=waves > 0)
