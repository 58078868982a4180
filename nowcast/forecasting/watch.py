"""Forecasts in operation: one for every cycle, published whole, with a status that says what it is
worth.
"""

import contextlib
import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path

import numpy as np

from nowcast import page
from nowcast.data.cadence import on_time, regular_phase
from nowcast.data.members import short_name
from nowcast.forecasting.clock import Clock
from nowcast.forecasting.decision import Plan, decide
from nowcast.forecasting.fallback import can_extrapolate, context_of, forecast_by
from nowcast.forecasting.forecaster import Forecaster
from nowcast.forecasting.incoming import Incoming
from nowcast.forecasting.products import checked_thresholds, derive
from nowcast.output.provenance import provenance
from nowcast.output.publish import WRITERS, writer_for
from nowcast.runtime.errors import UserError, first_line
from nowcast.runtime.files import locked, replacing
from nowcast.types.frames import Frames

STATUS, LOG, LOCK = "status.json", "status.jsonl", ".lock"
_PUBLISHED = re.compile(
    rf"forecast_(\d{{8}}T\d{{6}}Z)(_\d+(min|s))?({'|'.join(map(re.escape, WRITERS))})", re.ASCII
)
_OWN_LEFTOVERS = re.compile(
    r"\.(forecast_\d{8}T\d{6}Z(_\d+(min|s))?|status\.json|latest|index\.html|page\.(css|js))\..*",
    re.ASCII,
)  # of a process that was killed while writing
_LARGEST_LOG = 10 * 2**20  # bytes; then it becomes status.jsonl.1
_MOST_REJECTED = 20  # in a status
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
    """

    cadence_minutes: float | None = None
    deadline_minutes: float | None = None
    max_age_minutes: float = 30
    poll_seconds: float = 2.0
    keep: int = 288
    formats: list[str] = ("nc",)
    thresholds: list[float] = (0.1, 1.0, 5.0)
    page: bool = True

    def __post_init__(self):
        for name in ("cadence_minutes", "deadline_minutes", "max_age_minutes", "poll_seconds"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1e6:
                raise UserError(f"{name} is {value!r}; a number above 0 is needed.")
        if self.cadence_minutes is not None and self.cadence_minutes * 60 != int(
            self.cadence_minutes * 60
        ):
            raise UserError(
                f"cadence_minutes is {self.cadence_minutes!r}; a whole number of seconds is "
                "needed, e.g. 5."
            )
        if self.keep < 1:
            raise UserError(f"keep is {self.keep}; at least 1 forecast must stay.")
        accepted = [suffix[1:] for suffix in WRITERS]
        checked_thresholds(self.thresholds)
        if (
            not self.formats
            or not set(self.formats) <= set(accepted)
            or len(set(self.formats)) < len(self.formats)
        ):
            raise UserError(
                f"formats is {list(self.formats)!r}; one or more of {', '.join(accepted)} are "
                "needed, each once."
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
        report: takes the status of every cycle; `line` makes a sentence of it.
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
    ):
        self.incoming, self.forecaster, self.output, self.operation, self.clock = (
            incoming,
            forecaster,
            Path(output),
            operation,
            clock,
        )
        self.model, self.report = {"model": run, "model_sha256": model_sha256}, report
        self.max_age = np.timedelta64(round(60 * operation.max_age_minutes), "s")
        self.extrapolates = can_extrapolate()
        self.problems: dict[np.datetime64, str] = {}
        self.rejected: list[tuple[str, str]] = []
        self.analysed: np.datetime64 | None = (
            None  # the newest frame that a forecast was tried from
        )
        self.judged: np.datetime64 | None = None  # the last cycle with a status
        self.latest: str | None = None

    @property
    def cadence(self) -> np.timedelta64:
        """Between two cycles."""
        return np.timedelta64(
            round(60 * (self.operation.cadence_minutes or self.forecaster.task.timestep)), "s"
        )

    @property
    def deadline(self) -> np.timedelta64:
        """From a cycle's time until a forecast is made from what is there."""
        return (
            np.timedelta64(round(60 * self.operation.deadline_minutes), "s")
            if self.operation.deadline_minutes
            else self.cadence
        )

    def run(self) -> None:
        """Until the clock is stopped; what is being published then is published.

        Raises:
            UserError: the output folder cannot be written to, or another watch works there.
        """
        busy = (
            f"another nowcast watch publishes to {self.output}; stop it, or take another "
            "output folder."
        )
        with locked(
            self.output / LOCK, busy=busy, unwritable=f"{self.output} cannot be written to"
        ):
            for path in self.output.iterdir():
                if _OWN_LEFTOVERS.fullmatch(path.name):
                    _remove(path)
            if self.operation.page:
                page.install(self.output)
            links = [self.output / f"latest.{suffix}" for suffix in self.operation.formats]
            self.latest = next(
                (os.readlink(link) for link in links if link.is_symlink() and link.exists()), None
            )
            self._write_status(
                {"state": "running", "outcome": "none", "reason": "started; no cycle is over yet"},
                log=False,
            )
            while not self.clock.stopped:
                self.step()
                self.clock.wait(self.operation.poll_seconds)
            with contextlib.suppress(UserError):
                self._write_status(
                    {name: value for name, value in self._last.items() if name != "updated"}
                    | {"state": "stopped"},
                    log=False,
                )

    def step(self) -> None:
        """One look into the folder, and a forecast if it is time for one."""
        now = self.clock.now()
        news = self.incoming.look(now)
        if self.forecaster.follow(self.incoming.frames, self.incoming.tolerance):
            self.incoming.timestep = self.forecaster.task.timedelta
        self.rejected = [*self.rejected, *news.rejected][-_MOST_REJECTED:]
        meant = self._meant_times()
        usable = self._usable(meant)
        current = self._cycle_of(now.astype("datetime64[s]"))
        if self.judged is None or self.judged > current:
            self.judged = (
                current - self.cadence
                # what was before this process began is not its business; nor was a clock that ran
                # ahead
            )
        if self.analysed is not None and self.analysed > current:
            self.analysed = None
        newest = max(
            (
                moment
                for moment in usable
                if moment <= current
                and current - moment <= self.max_age
                and self._begins_a_cycle(moment, current)
            ),
            default=None,
        )
        due = (
            newest
            if newest is not None
            and self._is_news(newest, tuple(meant.get(time, time) for time in news.times))
            else self._overdue(current, now)
        )
        if due is None:
            return
        passed_over = self._unjudged(due)
        if len(passed_over) > _MOST_PASSED_OVER:
            reason = (
                f"{len(passed_over)} cycles since {_iso(passed_over[0])} were passed over: "
                "the clock was set, or the machine slept"
            )
            passed_over = []
            self._conclude(due - self.cadence, {"outcome": "none", "reason": reason})
        for cycle in passed_over:
            self._conclude(
                cycle,
                {
                    "outcome": "none",
                    "reason": f"passed over: the cycle of {_iso(due)} came due before it was judged",
                },
            )
        self.analysed = newest if newest is not None else self.analysed
        self._cycle(due, usable)

    def _begins_a_cycle(self, moment: np.datetime64, current: np.datetime64) -> bool:
        """Whether a frame's time is a cycle; where a cycle is every so many frames, those between
        have no forecast of their own.
        """
        none, frames = np.timedelta64(0, "s"), self.forecaster.task.timedelta
        return (
            self.cadence <= frames
            or self.cadence % frames != none
            or (current - moment) % self.cadence == none
        )

    def _is_news(self, newest: np.datetime64, came: tuple) -> bool:
        """Whether a frame deserves a forecast of its own: it is newer than the last analysis, or
        that one's frame was replaced.
        """
        return (
            self.analysed is None
            or newest > self.analysed
            or (newest == self.analysed and newest in came)
        )

    def _unjudged(self, before: np.datetime64) -> list[np.datetime64]:
        """Cycles that have no status yet and lie before one, oldest first."""
        count = int((before - self.judged) // self.cadence) + 1
        cycles = [before - step * self.cadence for step in range(count, 0, -1)]
        return [cycle for cycle in cycles if cycle > self.judged]

    def _overdue(self, current: np.datetime64, now: np.datetime64) -> np.datetime64 | None:
        """The newest cycle whose deadline has passed, if it has no status."""
        newest = (
            current - max(0, -int((now - self.deadline - current) // self.cadence)) * self.cadence
        )
        return newest if newest > self.judged else None

    def _meant_times(self) -> dict[np.datetime64, np.datetime64]:
        """The cycle's time that each frame is meant for: frames that are some seconds late belong
        to the cadence, too.
        """
        times = sorted(self.incoming.frames)
        return dict(
            zip(
                times,
                on_time(
                    np.array(times, "datetime64[s]"),
                    self.forecaster.task.timedelta,
                    self.incoming.tolerance,
                ),
            )
        )

    def _usable(self, meant: dict[np.datetime64, np.datetime64]) -> dict[np.datetime64, Frames]:
        """Frames with an observation in them, by the times they are meant for; the others are a
        problem that has a name.
        """
        usable, nearest = {}, {}
        for taken, frames in self.incoming.frames.items():
            moment = meant[taken]
            if moment not in nearest or abs(taken - moment) < abs(
                nearest[moment].times[0] - moment
            ):
                nearest[moment] = frames
        for moment, frames in nearest.items():
            if np.isnan(frames.values).all():
                self.problems[moment] = "holds no observation"
            else:
                usable[moment] = frames
                self.problems.pop(moment, None)
        kept = min(usable, default=None)
        self.problems = {
            moment: text for moment, text in self.problems.items() if kept is None or moment >= kept
        }
        return usable

    def _cycle_of(self, now: np.datetime64) -> np.datetime64:
        """The newest cycle that has begun: cycles are where the radar's times are."""
        times = np.array(list(self.incoming.frames), "datetime64[s]")
        step = self.cadence.astype(np.int64)
        phase = regular_phase(
            times, min(self.cadence, self.forecaster.task.timedelta), self.incoming.tolerance
        ).astype(np.int64)
        seconds = now.astype(np.int64)
        return np.datetime64(int(seconds - (seconds - phase) % step), "s")

    def _cycle(self, cycle: np.datetime64, usable: dict[np.datetime64, Frames]) -> None:
        """The forecast of a cycle, or the reason for none."""
        try:
            plan, refusal = decide(
                usable,
                cycle,
                self.forecaster.task,
                max_age=self.max_age,
                problems=self.problems,
                can_extrapolate=self.extrapolates,
            )
            record = (
                self._publish(cycle, plan, usable)
                if plan is not None
                else {"outcome": "none", "reason": refusal}
            )
        except Exception as error:  # a watch ends when it is told to, and not before
            record = {
                "outcome": "none",
                "reason": f"no forecast could be published: {first_line(error)}",
            }
        self._conclude(cycle, record)

    def _conclude(self, cycle: np.datetime64, record: dict) -> None:
        """The status of a cycle; what was rejected since the last one stands in it."""
        self.judged = max(self.judged, cycle)
        record = {
            "state": "running",
            "analysis_time": _iso(cycle),
            "next_expected": _iso(cycle + self.cadence),
        } | record
        try:
            self._write_status(record)
        except (
            UserError,
            OSError,
        ) as error:  # a full disk must not end the watch: the next cycle may find room again
            self._last |= {
                "reason": "; ".join(
                    filter(
                        None, [self._last["reason"], f"the status could not be written: {error}"]
                    )
                )
            }
        self.rejected = []
        with contextlib.suppress(OSError):  # whoever read the words may be gone
            self.report(self._last)

    def _publish(
        self, cycle: np.datetime64, plan: Plan, usable: dict[np.datetime64, Frames]
    ) -> dict:
        """Forecast and write; what the status says of it."""
        clock = [time.perf_counter()]
        try:
            context = context_of(plan, usable, self.forecaster.task)
            forecast = forecast_by(
                plan, context, self.forecaster, thresholds=self.operation.thresholds
            )
        except Exception as error:  # whatever a network or a library refuses, there is an answer
            plan = Plan(
                "persistence",
                (plan.analysis_time,),
                (),
                plan.forecast_length,
                f"{plan.method} failed: {first_line(error)}",
            )
            context = context_of(plan, usable, self.forecaster.task)
            forecast = forecast_by(plan, context, self.forecaster)
        clock.append(time.perf_counter())
        seen = Frames(
            np.concatenate([usable[t].values for t in plan.times if t in usable]),
            [t for t in plan.times if t in usable],
            context.grid,
        )
        products = derive(forecast, seen, thresholds=self.operation.thresholds)
        inputs = [
            (short_name(usable[moment].source), moment) for moment in plan.times if moment in usable
        ]
        now = self.clock.now()
        attributes = {"title": "Precipitation nowcast"} | provenance(
            **self.model,
            analysis_time=plan.analysis_time,
            inputs=inputs,
            method=plan.method,
            fallback_reason=plan.reason,
            now=now.astype("datetime64[us]").item().replace(tzinfo=UTC),
        )
        self._prune(keep=self.operation.keep - 1)  # first, so that a full disk finds room
        written, failed = [], []
        for suffix in self.operation.formats:
            path = self.output / f"forecast_{_compact(cycle)}.{suffix}"
            try:
                files = writer_for(path)(products, path, attributes=attributes)
                written += [file.name for file in files]
                if len(files) == 1:
                    self._point_latest_to(files[0].name)
            # whatever a format's library refuses: the others are there, and a folder that knows no
            # links has the forecasts
            except Exception as error:
                failed.append(f"{suffix}: {first_line(error)}")
        if not written:
            raise UserError("; ".join(failed))
        for path in self._forecasts().get(_compact(cycle), []):
            if path.name not in written:
                _remove(path)  # of an earlier forecast of this cycle, with more lead times
        for link in self.output.glob("latest.*"):
            if link.is_symlink() and os.readlink(link) not in written:
                _remove(link)  # of a format that is not written any more, or was not this time
        clock.append(time.perf_counter())
        self.latest = written[0]
        self._prune(keep=self.operation.keep)
        fallback = plan.method != "nowcast" or plan.analysis_time != cycle
        record = {
            "outcome": "fallback" if fallback else "forecast",
            "method": plan.method,
            "reason": "; ".join(filter(None, [plan.reason, *failed])) or None,
            "forecast": written[0],
            "forecast_analysis_time": _iso(plan.analysis_time),
            "data_age_minutes": round(
                float((now - plan.analysis_time) / np.timedelta64(60, "s")), 1
            ),
            "inputs": [{"file": name, "time": _iso(moment)} for name, moment in inputs],
            "seconds": {
                "forecast": round(clock[1] - clock[0], 2),
                "write": round(clock[2] - clock[1], 2),
            },
        }
        if self.operation.page:
            try:
                page.publish(products, self.output, status=record, context=seen)
            except Exception as error:  # the forecast itself is published
                record["reason"] = "; ".join(
                    filter(
                        None,
                        [
                            record["reason"],
                            f"the page could not be brought up to date: {first_line(error)}",
                        ],
                    )
                )
        return record

    def _point_latest_to(self, name: str) -> None:
        """`latest.SUFFIX` becomes a link to a forecast, in one step."""
        link = self.output / f"latest{Path(name).suffix}"
        new = link.with_name(f".{link.name}.new")
        new.unlink(missing_ok=True)
        os.symlink(name, new)
        os.replace(new, link)

    def _forecasts(self) -> dict[str, list[Path]]:
        """Files of forecasts in the output folder, by the cycle in their names."""
        found = {}
        for path in self.output.iterdir():
            match = _PUBLISHED.fullmatch(path.name)
            if match and path.is_file() and not path.is_symlink():
                found.setdefault(match[1], []).append(path)
        return found

    def _prune(self, *, keep: int) -> None:
        """Delete the oldest forecasts, and nothing else; what `latest` leads to stays until there
        is a newer one.
        """
        found = self._forecasts()
        current = {
            os.readlink(link) for link in self.output.glob("latest.*") if link.is_symlink()
        } | {self.latest}
        for stamp in sorted(found)[: max(0, len(found) - keep)]:
            for path in found[stamp]:
                if path.name not in current:
                    _remove(path)

    def _write_status(self, record: dict, *, log: bool = True) -> None:
        """status.json for whoever looks, and a line in status.jsonl for whoever looks back."""
        empty = dict.fromkeys(
            (
                "analysis_time",
                "method",
                "reason",
                "forecast",
                "forecast_analysis_time",
                "data_age_minutes",
                "next_expected",
            )
        )
        rejected = [
            {"file": _text(name), "reason": _text(reason)} for name, reason in self.rejected
        ]
        record = {
            "version": 1,
            "updated": _iso(self.clock.now().astype("datetime64[s]")),
            **empty,
            "rejected": rejected,
            "latest": self.latest,
        } | record
        self._last = record
        text = json.dumps(record)
        with replacing(self.output / STATUS) as path:
            path.write_text(text + "\n", encoding="utf-8")
        if not log:
            return
        path = self.output / LOG
        if path.exists() and path.stat().st_size > _LARGEST_LOG:
            os.replace(path, path.with_name(f"{LOG}.1"))
        with path.open("ab+") as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
            half = file.read(1) not in (
                b"\n",
                b"",
            )  # of a process that was killed, or a disk that was full
            file.write((b"\n" if half else b"") + text.encode() + b"\n")


def _remove(path: Path) -> None:
    """Delete a file; one that cannot be deleted stays."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def _iso(moment: np.datetime64) -> str:
    return f"{moment.astype('datetime64[s]')}Z"


def _compact(moment: np.datetime64) -> str:
    return str(moment.astype("datetime64[s]")).replace("-", "").replace(":", "") + "Z"


def _text(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()


def line(record: dict) -> str:
    """A status in one line."""
    made = (
        f"{record['method']} -> {record['forecast']}" if record.get("forecast") else "no forecast"
    )
    return f"{record['analysis_time']} {record['outcome']}: {made}" + (
        f" ({_text(record['reason'])})" if record.get("reason") else ""
    )
