"""Online calibration in a watch: read at its start, kept after every cycle, and left out, with the
reason in the status, where anything about it fails.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from nowcast.forecasting.calibration import OnlineCalibration, refuse_without_probabilities
from nowcast.forecasting.calibration_file import load_history, save_history
from nowcast.forecasting.forecaster import Forecaster
from nowcast.forecasting.recalibration import without_correction
from nowcast.runtime.errors import first_line
from nowcast.types.frames import Forecast, Frames


class WatchCalibration:
    """Online calibration of the forecasts of a watch.

    Args:
        hours: how far back observations count.
        forecaster: whose forecasts they are.
        folder: of the watch; the file lies there.
        model: name or checksum of the weights.

    Attributes:
        problems: what failed since they were taken last.

    Raises:
        UserError: the model predicts no probabilities, or hours that are none.
    """

    def __init__(self, hours: float, forecaster: Forecaster, folder: Path, model: str):
        refuse_without_probabilities(forecaster.model, hours)
        self.online = OnlineCalibration(hours, model=model)
        self.forecaster, self.folder = forecaster, folder
        self.problems: list[str] = []
        self._is_corrected = False

    def open(self) -> str | None:
        """Take up what another process left; a sentence where that cannot be used."""
        history, problem = load_history(self.folder)
        model = self.online.history.model
        self.online = OnlineCalibration(self.online.hours, model=model, history=history)
        if history is not None and history.model != model:
            return f"the calibration in {self.folder} is of another model; it starts afresh"
        return problem

    def observe(self, frames: Mapping[np.datetime64, Frames], until: np.datetime64) -> None:
        """Compare what was forecast with the frames that have come, see ``OnlineCalibration``."""
        self._is_corrected = False
        try:
            self.online.observe(frames, until)
        except Exception as error:  # a forecast without calibration is better than none
            self.problems.append(f"observations could not be compared: {first_line(error)}")

    def corrected(self, forecast: Forecast, thresholds: Sequence[float]) -> Forecast:
        """The forecast corrected, or as it is where that fails; with probabilities of the
        thresholds alone.
        """
        try:
            found = self.online.correct(forecast, thresholds, self.forecaster.task.timedelta)
        except Exception as error:  # a forecast without calibration is better than none
            self.problems.append(f"the forecast is not calibrated: {first_line(error)}")
            return without_correction(forecast, thresholds)
        self._is_corrected = True
        return found

    def save(self) -> None:
        """Write what is known into the folder."""
        try:
            save_history(self.online.history, self.folder)
        except Exception as error:  # a full disk may find room again
            self.problems.append(f"the calibration could not be kept: {first_line(error)}")

    def status(self) -> dict | None:
        """What status.json says of the last forecast; None where it is not calibrated."""
        return self.online.status() if self._is_corrected else None

    def words(self) -> str | None:
        """The same in a line, for the forecast's file."""
        return self.online.words() if self._is_corrected else None

    def has_learnt(self) -> bool:
        """Whether anything is known that the last forecast was corrected by."""
        return self._is_corrected and bool(self.online.history.verified)

    def taken_problems(self) -> list[str]:
        """The problems, which are said once."""
        problems, self.problems = self.problems, []
        return problems
