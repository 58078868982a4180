"""Forecasts in operation: one for every cycle, published whole, with a status that says what it is
worth.
"""

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC
from pathlib import Path

import numpy as np

from nowcast import page
from nowcast.data.cadence import on_time
from nowcast.data.members import short_name
from nowcast.forecasting.calibration import checked_hours
from nowcast.forecasting.clock import Clock
from nowcast.forecasting.decision import Decision, decide
from nowcast.forecasting.fallback import can_extrapolate, context_of, forecast_by
from nowcast.forecasting.first_look import FirstLook
from nowcast.forecasting.forecast_folder import ForecastFolder
from nowcast.forecasting.forecaster import Forecaster
from nowcast.forecasting.incoming import Incoming
from nowcast.forecasting.products import checked_thresholds, derive
from nowcast.forecasting.recalibration import rates_to_ask
from nowcast.forecasting.schedule import Schedule
from nowcast.forecasting.status import StatusFiles, add_reason, iso
from nowcast.forecasting.watch_calibration import WatchCalibration
from nowcast.output.origin import origin_attributes
from nowcast.output.writers import WRITERS
from nowcast.runtime.errors import UserError, first_line
from nowcast.runtime.files import locked
from nowcast.types.frames import Forecast, Frames
from nowcast.types.functional import Functional

LOCK = ".lock"
_MOST_PASSED_OVER = 300  # cycles that each get a status when they were slept through; more are one


@dataclass(frozen=True)
class Operation:
    """How a watch works.

    Args:
        cadence_minutes: between two cycles; None: the timestep of the run, of one for any cadence
            that of the frames. Cycles begin at whole multiples, moved to where the radar's times
            are.
        deadline_minutes: after a cycle's time its forecast is made from what is there; None: one
            cadence.
        max_age_minutes: a forecast is not made from frames further behind its cycle.
        poll_seconds: between two looks into the folder.
        keep: forecasts that stay in the output folder; older ones are deleted.
        formats: suffixes without the dot of the files that are written, the first one is what
            `latest` points to.
        thresholds: rain rates [mm/h] that probabilities are given for.
        page: whether the web page and its data are kept up to date in the output folder.
        point: which number of the predicted distribution is published, see ``Forecaster``; None:
            the mean.
        calibration: how many of the last hours the probabilities of heavy rain are calibrated by,
            see ``calibration``; None: they are published as predicted.
    """

    cadence_minutes: float | None = None
    deadline_minutes: float | None = None
    max_age_minutes: float = 30
    poll_seconds: float = 2.0
    keep: int = 288
    formats: list[str] = ("nc",)
    thresholds: list[float] = (0.1, 1.0, 5.0)
    page: bool = True
    point: str | None = None
    calibration: float | None = None

    def __post_init__(self):
        if self.point is not None:
            Functional.parse(self.point)
        if self.calibration is not None:
            checked_hours(self.calibration)
        for name in ("cadence_minutes", "deadline_minutes", "max_age_minutes", "poll_seconds"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1e6:
                raise UserError(f"{name} is {value!r}; expected a number above 0.")
        if self.cadence_minutes is not None and (60 * self.cadence_minutes) % 1:
            raise UserError(
                f"cadence_minutes is {self.cadence_minutes!r}; expected a whole number of "
                "seconds, e.g. 5."
            )
        if self.keep < 1:
            raise UserError(f"keep is {self.keep}; at least 1 forecast must stay.")
        checked_thresholds(self.thresholds)
        accepted, chosen = [suffix[1:] for suffix in WRITERS], set(self.formats)
        if not chosen or not chosen <= set(accepted) or len(chosen) < len(self.formats):
            raise UserError(
                f"formats is {list(self.formats)!r}; expected one or more of "
                f"{', '.join(accepted)}, each once."
            )


class Watch:
    """Waits for frames, forecasts when one came or when it is too late to wait, and publishes.

    Args:
        incoming: gives the frames.
        forecaster: the network.
        output: folder of the forecasts, `latest`, the status and the page.
        operation: how.
        clock: the time.
        run: name of the forecaster, for the files.
        model_sha256: of its weights.
        report: called with the status of every cycle, see ``status.line``.
        notice: called with words about a folder that no forecast can come from, see
            ``first_look``; they stand in the status, too. None: nobody is told.
    """

    def __init__(
        self,
        incoming: Incoming,
        forecaster: Forecaster,
        output: Path,
        operation: Operation,
        *,
        clock: Clock,
        run: str = "",
        model_sha256: str | None = None,
        report: Callable[[dict], None] = lambda record: None,
        notice: Callable[[str], None] | None = None,
    ):
        self.incoming, self.forecaster, self.operation = incoming, forecaster, operation
        self.clock, self.report, self.notice = clock, report, notice
        self.model = {"model": run, "model_sha256": model_sha256}
        self.extrapolates = can_extrapolate()
        self.problems: dict[np.datetime64, str] = {}  # of frames without an observation
        self.folder = ForecastFolder(Path(output), operation.formats, operation.keep)
        self.status = StatusFiles(self.folder.path, clock)
        self.schedule = Schedule(
            forecaster.task.timedelta,
            cadence_minutes=operation.cadence_minutes,
            deadline_minutes=operation.deadline_minutes,
            max_age_minutes=operation.max_age_minutes,
        )
        self.calibration = None
        if operation.calibration is not None:
            self.calibration = WatchCalibration(
                operation.calibration, forecaster, self.folder.path, model_sha256 or run
            )
        self.first_look = FirstLook(incoming.files.pattern, self.schedule.max_age)

    def run(self) -> None:
        """Until the clock is stopped; what is being published then is published.

        Raises:
            UserError: the output folder cannot be written to, or another watch works there.
        """
        output = self.folder.path
        busy = (
            f"another nowcast watch publishes to {output}; stop it, or take another output folder."
        )
        with locked(output / LOCK, busy=busy, unwritable=f"{output} cannot be written to"):
            self.folder.open()
            if self.operation.page:
                page.install(output)
            reason = "; ".join(["started; no cycle is over yet", *self._opened_calibration()])
            started = {"state": "running", "outcome": "none", "reason": reason}
            self.status.write(started, latest=self.folder.latest, log=False)
            while not self.clock.stopped:
                self.step()
                self.clock.wait(self.operation.poll_seconds)
            stopped = self.status.last | {"state": "stopped"}
            del stopped["updated"]
            with contextlib.suppress(UserError):
                self.status.write(stopped, latest=self.folder.latest, log=False)

    def _opened_calibration(self) -> list[str]:
        """Take up what was learnt before; a sentence, also for the terminal, where there is
        something that cannot be used.
        """
        problem = None if self.calibration is None else self.calibration.open()
        if problem is not None and self.notice is not None:
            self.notice(problem)
        return [] if problem is None else [problem]

    def step(self) -> None:
        """One look into the folder, and a forecast if it is time for one."""
        now, incoming, schedule = self.clock.now(), self.incoming, self.schedule
        arrivals = incoming.look(now)
        if self.forecaster.follow(incoming.frames, incoming.tolerance):
            incoming.timestep = schedule.timestep = self.forecaster.task.timedelta
        self.status.add_rejected(arrivals.rejected)
        meant = self._meant_times()
        usable = self._usable(meant)
        current = schedule.current(now, incoming.frames, incoming.tolerance)
        self._say_what_is_amiss(current, now)
        arrived = {meant.get(time, time) for time in arrivals.times}
        due, newest = schedule.due(now, current, usable, arrived)
        if due is None:
            return
        self._conclude_passed_over(due)
        if newest is not None:
            schedule.analysed = newest
        try:
            record = self._cycle(due, usable)
        except Exception as error:  # a watch ends when it is stopped, and not before
            record = _none(f"no forecast could be published: {first_line(error)}")
        self._conclude(due, record)

    def _say_what_is_amiss(self, current: np.datetime64, now: np.datetime64) -> None:
        """Tell at once of a folder that no forecast can come from."""
        if self.notice is None or self.schedule.analysed is not None:
            return  # the statuses of the cycles say the rest
        words = self.first_look.words(self.incoming, current, now, self.status.rejected)
        if words is None:
            return
        times = {name: self.status.last[name] for name in ("analysis_time", "next_expected")}
        record = {"state": "running"} | times | _none(words)
        try:
            self.status.write(record, latest=self.folder.latest, log=False)
        except UserError as error:
            add_reason(self.status.last, f"the status could not be written: {error}")
        with contextlib.suppress(OSError):  # whoever read the words may be gone
            self.notice(words)

    def _conclude_passed_over(self, due: np.datetime64) -> None:
        """A status for each cycle before the one that is due; of very many, one for all."""
        cycles = self.schedule.passed_over(due)
        if len(cycles) > _MOST_PASSED_OVER:
            count = f"{len(cycles)} cycles since {iso(cycles[0])} were passed over"
            reason = f"{count}: the clock was set, or the machine slept"
            self._conclude(due - self.schedule.cadence, _none(reason))
            return
        reason = f"passed over: the cycle of {iso(due)} came due before it was judged"
        for cycle in cycles:
            self._conclude(cycle, _none(reason))

    def _meant_times(self) -> dict[np.datetime64, np.datetime64]:
        """The cycle's time that each frame is meant for: frames that are some seconds late belong
        to the cadence, too.
        """
        times, step = sorted(self.incoming.frames), self.forecaster.task.timedelta
        regular = on_time(np.array(times, "datetime64[s]"), step, self.incoming.tolerance)
        return dict(zip(times, regular))

    def _usable(self, meant: dict[np.datetime64, np.datetime64]) -> dict[np.datetime64, Frames]:
        """Frames with an observation in them, by the times they are meant for; the others are a
        problem that has a name.
        """
        nearest: dict[np.datetime64, Frames] = {}
        for taken, frames in self.incoming.frames.items():
            other = nearest.get(meant[taken])
            distance = abs(taken - meant[taken])
            if other is None or distance < abs(other.times[0] - meant[taken]):
                nearest[meant[taken]] = frames
        usable = {t: frames for t, frames in nearest.items() if not np.isnan(frames.values).all()}
        problems = self.problems | dict.fromkeys(nearest, "contains no observation")
        first = min(usable, default=None)
        self.problems = {
            time: text
            for time, text in problems.items()
            if time not in usable and (first is None or time >= first)
        }
        return usable

    def _conclude(self, cycle: np.datetime64, record: dict) -> None:
        """The status of a cycle; what was rejected since the last one stands in it."""
        self.schedule.judged = max(self.schedule.judged, cycle)
        times = {"analysis_time": iso(cycle), "next_expected": iso(cycle + self.schedule.cadence)}
        record = {"state": "running"} | times | record
        try:
            self.status.write(record, latest=self.folder.latest, log=True)
        # A full disk must not end the watch: the next cycle may find room again.
        except (UserError, OSError) as error:
            add_reason(self.status.last, f"the status could not be written: {error}")
        self.status.rejected = []
        with contextlib.suppress(OSError):  # whoever read the words may be gone
            self.report(self.status.last)

    def _cycle(self, cycle: np.datetime64, usable: Mapping[np.datetime64, Frames]) -> dict:
        """Forecast and publish, or give the reason for none; what the status says of it."""
        calibration = self.calibration
        if calibration is not None:
            calibration.observe(usable, cycle)
        decision, refusal = decide(
            usable,
            cycle,
            self.forecaster.task,
            max_age=self.schedule.max_age,
            problems=self.problems,
            can_extrapolate=self.extrapolates,
        )
        if decision is None:
            return _none(refusal)
        begun = time.perf_counter()
        decision, context, forecast = self._forecast(decision, usable)
        made = time.perf_counter()
        times = [moment for moment in decision.times if moment in usable]
        seen = Frames(np.concatenate([usable[t].values for t in times]), times, context.grid)
        products = derive(forecast, seen, thresholds=self.operation.thresholds)
        if calibration is not None and calibration.has_learnt():
            products = replace(products, probability_source="calibrated")
        inputs = [(short_name(usable[moment].source), moment) for moment in times]
        now = self.clock.now()
        origin = origin_attributes(
            **self.model,
            analysis_time=decision.analysis_time,
            inputs=inputs,
            method=decision.method,
            fallback_reason=decision.reason,
            calibration=None if calibration is None else calibration.words(),
            now=now.astype("datetime64[us]").item().replace(tzinfo=UTC),
        )
        title = {"title": "Precipitation nowcast"}
        failed = self.folder.publish(products, cycle, title | origin)
        written = time.perf_counter()
        is_own = decision.method == "nowcast" and decision.analysis_time == cycle
        age = float((now - decision.analysis_time) / np.timedelta64(60, "s"))
        record = {
            "outcome": "forecast" if is_own else "fallback",
            "method": decision.method,
            "reason": "; ".join(filter(None, [decision.reason, *failed])) or None,
            "forecast": self.folder.latest,
            "forecast_analysis_time": iso(decision.analysis_time),
            "data_age_minutes": round(age, 1),
            "inputs": [{"file": name, "time": iso(moment)} for name, moment in inputs],
            "seconds": {"forecast": round(made - begun, 2), "write": round(written - made, 2)},
        }
        self._keep_calibration(record)
        if self.operation.page:
            try:
                page.publish(products, self.folder.path, status=record, context=seen)
            except Exception as error:  # the forecast itself is published
                reason = f"the page could not be brought up to date: {first_line(error)}"
                add_reason(record, reason)
        return record

    def _keep_calibration(self, record: dict) -> None:
        """Write what was learnt into the folder, and say in the status how it was used."""
        if self.calibration is None:
            return
        self.calibration.save()
        record["calibration"] = self.calibration.status()
        for problem in self.calibration.taken_problems():
            add_reason(record, problem)

    def _forecast(
        self, decision: Decision, usable: Mapping[np.datetime64, Frames]
    ) -> tuple[Decision, Frames, Forecast]:
        """The forecast that was decided on; where it fails, persistence."""
        try:
            context = context_of(decision, usable, self.forecaster.task)
            forecast = self._forecast_by(decision, context)
        except Exception as error:  # whatever a network or a library refuses, there is an answer
            reason = f"{decision.method} failed: {first_line(error)}"
            times, length = (decision.analysis_time,), decision.forecast_length
            decision = Decision("persistence", times, (), length, reason)
            context = context_of(decision, usable, self.forecaster.task)
            forecast = forecast_by(decision, context, self.forecaster)
        return decision, context, forecast

    def _forecast_by(self, decision: Decision, context: Frames) -> Forecast:
        """The forecast that was decided on, the model's own calibrated where that is wanted."""
        thresholds, point = self.operation.thresholds, self.operation.point
        is_calibrated = self.calibration is not None and decision.method == "nowcast"
        asked = rates_to_ask(thresholds, point) if is_calibrated else thresholds
        forecast = forecast_by(decision, context, self.forecaster, thresholds=asked, point=point)
        return self.calibration.corrected(forecast, thresholds) if is_calibrated else forecast


def _none(reason: str) -> dict:
    """The outcome of a cycle without a forecast."""
    return {"outcome": "none", "reason": reason}
