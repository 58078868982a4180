"""Online calibration: how reliable the probabilities of heavy rain were in the last hours, and the
correction of the next forecast that follows from it.

K rates, P bins of the logit, T lead times, H rows, W columns of every n-th pixel.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from nowcast.forecasting.calibration_fit import (
    BINS,
    bins_of,
    brier_skill_of,
    corrections_of,
    counted,
    weight_of_pair,
)
from nowcast.forecasting.recalibration import NEUTRAL, RATES, UNTOUCHED, Corrections, recalibrated
from nowcast.models.base import ForecastModel
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Forecast, Frames, Grid

LONGEST = 72.0  # hours; further back was other weather, and the file would not stay small
_PIXEL_KM = 4.0  # between the pixels that are compared; neighbours say the same
_MOST_PIXELS = 30_000
_MINUTE = np.timedelta64(60, "s")


@dataclass(frozen=True, eq=False)
class Issued:
    """A forecast that waits for its observations.

    Args:
        valid_times: (T,).
        bins: of the probabilities as they were predicted and as they were issued, corrected,
            (2, K, T, H, W) uint8, see ``bins_of``.
    """

    valid_times: np.ndarray
    bins: np.ndarray


@dataclass(frozen=True, eq=False)
class Verified:
    """What was seen at one valid time.

    Args:
        forecasts: how many were compared with it.
        counts: of their probabilities, as predicted and as issued, (2, K, 2, P), see ``counted``.
    """

    forecasts: int
    counts: np.ndarray


@dataclass(eq=False)
class History:
    """What online calibration knows; it is kept across a restart, see ``calibration_file``.

    Args:
        model: whose forecasts these are.
        grid: of them; None: there was none yet.
        timestep: between observations.
        issued: by analysis time.
        verified: by valid time.
    """

    model: str = ""
    grid: Grid | None = None
    timestep: np.timedelta64 = np.timedelta64(0, "s")
    issued: dict[np.datetime64, Issued] = field(default_factory=dict)
    verified: dict[np.datetime64, Verified] = field(default_factory=dict)

    @property
    def stride(self) -> int:
        """Every how many pixels of each axis are compared."""
        size = math.prod(self.grid.shape)
        return max(
            1, round(_PIXEL_KM / self.grid.pixel_km), math.ceil(math.sqrt(size / _MOST_PIXELS))
        )

    def thinned(self, fields: np.ndarray) -> np.ndarray:
        """Every n-th pixel of some fields, (..., H, W)."""
        stride = self.stride
        rows, columns = (
            slice(min(stride // 2, size - 1), None, stride) for size in self.grid.shape
        )
        return fields[..., rows, columns]

    def is_of(self, grid: Grid, timestep: np.timedelta64) -> bool:
        """Whether forecasts on a grid and of a cadence belong to it."""
        return (
            self.grid is not None
            and timestep == self.timestep
            and (grid is self.grid or self.grid.difference(grid) is None)
        )


class OnlineCalibration:
    """Corrects forecasts by how reliable those of the last hours were.

    Args:
        hours: how far back observations count.
        model: name or checksum of the model; what was learnt of another says nothing of it.
        history: what is known already; None, or of another model: nothing.
    """

    def __init__(self, hours: float, *, model: str = "", history: History | None = None):
        self.hours = checked_hours(hours)
        is_known = history is not None and history.model == model
        self.history = history if is_known else History(model)
        self.corrections: Corrections = NEUTRAL
        self.ever = np.zeros((2, len(RATES), 2, BINS))
        """Counts of all that was seen since it was made, as of ``Verified``."""

    def observe(self, frames: Mapping[np.datetime64, Frames], until: np.datetime64) -> None:
        """Compare what was forecast with what has come.

        Args:
            frames: of one time each, by the times they are meant for; each time counts once.
            until: the present; what is of later has not happened yet.
        """
        history = self.history
        for time in sorted(set(frames) - set(history.verified)):
            if time > until or history.grid is None:
                continue
            found = [
                issued.bins[:, :, at]
                for begun, issued in history.issued.items()
                if begun < time
                for at in np.flatnonzero(issued.valid_times == time)
            ]
            if not found or not history.is_of(frames[time].grid, history.timestep):
                continue
            verified = _compared(found, self.history.thinned(frames[time].values[0]))
            history.verified[time] = verified
            self.ever += verified.counts
        self._forget(until)

    def correct(
        self, forecast: Forecast, thresholds: Sequence[float], timestep: np.timedelta64
    ) -> Forecast:
        """The forecast with corrected probabilities, and what follows from them; it will be
        compared with its observations when they come.

        Args:
            forecast: made with ``recalibration.rates_to_ask``.
            thresholds: rain rates [mm/h] whose probabilities it shall have.
            timestep: between observations.
        """
        if not self.history.is_of(forecast.grid, timestep):
            self.history = History(self.history.model, forecast.grid, timestep)
        counts, weight = self._weighted()
        self.corrections = corrections_of(counts, weight)
        corrected, issued = recalibrated(forecast, self.corrections, thresholds)
        numbers = [forecast.thresholds.index(rate) for rate in RATES]
        predicted = forecast.probability[numbers]
        bins = np.stack([bins_of(self.history.thinned(one)) for one in (predicted, issued)])
        self.history.issued[forecast.analysis_time] = Issued(forecast.valid_times, bins)
        return corrected

    def _forget(self, now: np.datetime64) -> None:
        """Leave out what is older than the hours, and forecasts that no observation comes for."""
        history = self.history
        oldest = now - np.timedelta64(round(3600 * self.hours), "s")
        history.verified = {t: seen for t, seen in history.verified.items() if oldest < t <= now}
        late = now - 12 * history.timestep  # a frame may still come so late
        history.issued = {
            begun: one for begun, one in history.issued.items() if one.valid_times[-1] > late
        }

    def _weighted(self) -> tuple[np.ndarray, float]:
        """Counts as they were predicted, (K, 2, P), each valid time as if of one forecast, and what
        a pair of them is worth.
        """
        history = self.history
        counts = np.zeros((len(RATES), 2, BINS))
        for seen in history.verified.values():
            counts += seen.counts[0] / seen.forecasts
        area = (history.stride * history.grid.pixel_km) ** 2
        return counts, weight_of_pair(area, history.timestep / _MINUTE)

    def status(self) -> dict:
        """What the last correction was made of, and what correcting brought, for status.json."""
        counts = np.zeros((2, len(RATES), 2, BINS))
        for seen in self.history.verified.values():
            counts += seen.counts
        pairs, events = np.moveaxis(counts[0].sum(axis=-1), -1, 0)
        skills = brier_skill_of(counts)
        return {
            "hours": self.hours,
            "observations": len(self.history.verified),
            "rates": [
                {
                    "rate": rate,
                    "pairs": int(pairs[k]),
                    "events": int(events[k]),
                    "bias": round(self.corrections[k].bias, 3),
                    "slope": round(self.corrections[k].slope, 3),
                    "brier_skill_predicted": _rounded(skills[0, k]),
                    "brier_skill": _rounded(skills[1, k]),
                }
                for k, rate in enumerate(RATES)
            ],
        }

    def words(self) -> str:
        """How the last forecast is calibrated, in a line, for its file."""
        seen = len(self.history.verified)
        begins = f"online, by the observations of the last {self.hours:g} h ({seen} of them)"
        if not seen:
            return f"{begins}: nothing is corrected yet"
        each = [
            f"from {rate:g} mm/h bias {one.bias:+.2f} and slope {one.slope:.2f}"
            for rate, one in zip(RATES, self.corrections, strict=True)
        ]
        return f"{begins}: of the logit, {', '.join(each)}; up to {UNTOUCHED:g} mm/h as predicted"


def refuse_without_probabilities(model: ForecastModel, hours: float) -> None:
    """Refuse to calibrate a model that predicts no probabilities.

    Raises:
        UserError: it predicts none.
    """
    if not model.capabilities.probabilistic:
        raise UserError(
            f"calibration is {hours:g} hours, but {model.label} predicts no probabilities that "
            "could be calibrated; expected a model that does (run=shipped), or calibration=null."
        )


def checked_hours(hours: float) -> float:
    """Hours of a calibration, or a UserError where they are none."""
    is_number = isinstance(hours, (int, float)) and not isinstance(hours, bool)
    if not is_number or not 0 < hours <= LONGEST:
        raise UserError(
            f"calibration is {hours!r}; expected how many of the last hours it learns from, above "
            f"0 and up to {LONGEST:g}, e.g. 6, or null for none."
        )
    return float(hours)


def _compared(forecasts: Sequence[np.ndarray], observation: np.ndarray) -> Verified:
    """Bins of the probabilities (2, K, H, W) of some forecasts of one time, and what was seen."""
    known = ~np.isnan(observation)
    counts = np.zeros((2, len(RATES), 2, BINS))
    for bins in forecasts:
        for kind, of_kind in enumerate(bins):
            for k, (of_rate, rate) in enumerate(zip(of_kind, RATES, strict=True)):
                counts[kind, k] += counted(of_rate, observation >= rate, known)
    return Verified(len(forecasts), counts)


def _rounded(value: float) -> float | None:
    """For JSON, which knows no NaN."""
    return None if math.isnan(value) else round(float(value), 4)
