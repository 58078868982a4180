"""What a frame that did not come costs: forecasts in every way a watch could go on without it,
beside the one from complete frames.
"""

from dataclasses import dataclass

import numpy as np

from nowcast.baselines.extrapolation import carried, load_pysteps, motion_of
from nowcast.benchmark.measuring import Host, Report, check_settings, grid, number, title
from nowcast.data.archive import Archive
from nowcast.data.windows import utc_time, window_starts
from nowcast.evaluation.statistics.rain import RainScores
from nowcast.evaluation.statistics.sums import SumsTogether
from nowcast.forecasting.fallback import between
from nowcast.forecasting.forecaster import Forecaster
from nowcast.runtime.errors import UserError
from nowcast.types.task import Task

MEANING = (
    "The frame before the newest is missing. Scores are of the same pixels and cases for all "
    "rows, means over the leads. "
    "A watch fills in one missing frame along the motion; where the newest is missing, it "
    "forecasts from the one before."
)
OLDER = 2  # frames before the context that the older contexts need


@dataclass(frozen=True)
class Gaps:
    """Forecasts with a gap in the context.

    Args:
        trained: a run folder.
        archive: what to forecast.
        start: UTC; frames before it are left out, e.g. those of the training; None: all of them
            count.
        thresholds: rain rates [mm/h] of the CSI.
        stride: of every so many cases one is taken.
    """

    trained: str | None = None
    archive: str | None = None
    start: str | None = None
    thresholds: list[float] = (0.5, 1.0)
    stride: int = 2

    def __post_init__(self):
        check_settings(self)

    def run(self, host: Host) -> Report:
        """Forecast every case in every way; needs pysteps."""
        if self.trained is None or self.archive is None:
            raise UserError(
                "what.trained and what.archive must be given: a run folder, and an archive it "
                "was not trained on."
            )
        load_pysteps()
        forecaster = Forecaster.load(self.trained)
        task = forecaster.task
        if task.context_length < 3 or task.quantity != "rain_rate":
            raise UserError(
                f"{self.trained} reads {task.context_length} frames of {task.quantity}; a run on "
                "rain rates with at least 3 is needed."
            )
        sums: dict[str, SumsTogether] = {}
        with Archive(self.archive) as archive:
            window = Task(task.context_length + OLDER, task.forecast_length, task.timestep)
            archive.use_one_of_each_time(task.timedelta)
            first = None if self.start is None else utc_time("what.start", self.start)
            starts = window_starts(archive.times, window, start=first, tolerance=archive.tolerance)[
                :: self.stride
            ]
            if not len(starts):
                raise UserError(
                    f"{self.archive} holds no {window.window_length} frames in a row every "
                    f"{task.timestep:g} minutes; give a longer archive."
                )
            for start in host.progress(starts):
                self._add(sums, archive.read(start, start + window.window_length), forecaster)
        records = [self._record(name, total) for name, total in sums.items()]
        return Report(
            records, [self._table(records, len(starts))], [MEANING], {}, {"cases": len(starts)}
        )

    def _add(
        self, sums: dict[str, SumsTogether], values: np.ndarray, forecaster: Forecaster
    ) -> None:
        """One case, (OLDER + context + target, H, W)."""
        length = forecaster.task.forecast_length
        observation = values[-length:]
        forecasts = forecasts_around_a_gap(values[:-length], forecaster)
        known = np.logical_and.reduce([~np.isnan(forecast) for forecast in forecasts.values()])
        observation = np.where(known, observation, np.nan)
        for name, forecast in forecasts.items():
            sums.setdefault(name, RainScores(tuple(self.thresholds)).sums(length)).add(
                forecast[None], observation[None]
            )

    def _record(self, name: str, total: SumsTogether) -> dict:
        means = {}
        for row in total.rows():
            if row.lead is None and row.score in ("csi", "mse"):
                means[f"csi_{row.threshold:g}" if row.score == "csi" else "mse"] = (
                    None if np.isnan(row.value) else float(row.value)
                )
        return {
            "case": name,
            "implementation": "nowcast",
            "precision": "float32",
            "phase": "forecast",
            "milliseconds": None,
        } | means

    def _table(self, records: list[dict], cases: int):
        csi = [f"csi_{threshold:g}" for threshold in self.thresholds]
        rows = [
            [record["case"], *(number(record[name], "{:.3f}") for name in (*csi, "mse"))]
            for record in records
        ]
        headings = [
            "forecast",
            *(f"CSI {threshold:g} mm/h" for threshold in self.thresholds),
            "MSE",
        ]
        return grid(title(f"A missing frame, {cases} cases"), headings, rows)


def forecasts_around_a_gap(values: np.ndarray, forecaster: Forecaster) -> dict[str, np.ndarray]:
    """Forecasts (T, H, W) [mm/h] by name, from OLDER + context_length frames of which the last but
    one counts as missing.
    """
    context, length = values[OLDER:], forecaster.task.forecast_length

    def network(frames: np.ndarray, older: int = 0) -> np.ndarray:
        return forecaster.forecast_values(frames[None], length + older)[0, older:]

    def with_gap(frame) -> np.ndarray:
        changed = context.copy()
        changed[-2] = frame
        return network(changed)

    motion = motion_of(context[[-3, -1]]) / 2
    return {
        "complete": network(context),
        "filled in along the motion": with_gap(between(context[-3], context[-1])),
        "filled in, mean": with_gap((context[-3] + context[-1]) / 2),
        "left missing": with_gap(np.nan),
        "one step older": network(values[OLDER - 1 : -1], 1),
        "two steps older": network(values[OLDER - 2 : -2], 2),
        "extrapolation across the gap": carried(context[-1], motion, length),
        "persistence": np.repeat(context[-1:], length, axis=0),
    }
