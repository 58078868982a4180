"""Guarantee of a machine that others use, too: a watch beside busy processes keeps its deadline."""

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from nowcast.benchmark.measuring import busy_processes
from nowcast.benchmark.rain import moving_rain, write_radar_files
from nowcast.runtime.threads import cores
from tests.battery.stage import Outcome, Stage

_DEADLINE = 60.0  # seconds from a frame to its forecast; a fifth of the usual cadence
_TIMESTEP = np.timedelta64(5, "m")
_CONTEXT_LENGTH = 4  # of the shipped model


def busy_machine(stage: Stage) -> Outcome:
    """A forecast within a minute of its frame, beside twice as many busy processes as cores."""
    outcome = Outcome()
    rows, columns = stage.number(120, 640), stage.number(120, 710)
    count = stage.number(2, 12)
    rain = moving_rain(_CONTEXT_LENGTH + count, rows, columns)
    newest = np.datetime64(int(time.time()) // 300 * 300, "s")
    times = newest + np.arange(1 - _CONTEXT_LENGTH, 1) * _TIMESTEP
    incoming, output = stage.folder / "incoming", stage.folder / "forecasts"
    incoming.mkdir()
    write_radar_files(rain[:_CONTEXT_LENGTH], times, incoming)
    seconds = []
    with busy_processes(2 * cores()), _watch(incoming, output) as process:
        for number in range(count):
            if number:  # the newest frame comes once more, with other rain: a new forecast is due
                write_radar_files(rain[_CONTEXT_LENGTH + number :][:1], times[-1:], incoming)
            start = time.monotonic()
            record = _forecast_number(number, output, process, seconds=2 * _DEADLINE)
            seconds.append(time.monotonic() - start)
            if number == 0:
                seconds.pop()  # this one waited for the process to start
            made = record is not None and (record["outcome"], record["method"]) == (
                "forecast",
                "nowcast",
            )
            outcome.count(
                made and max(seconds, default=0.0) <= _DEADLINE, f"forecast {number}: {record}"
            )
    outcome.note = f"{np.median(seconds):.1f} s from frame to forecast, at most {max(seconds):.1f}"
    return outcome


@contextmanager
def _watch(incoming: Path, output: Path):
    """`nowcast watch` of the shipped model in a process of its own, as operators start it."""
    settings = [f"input={incoming}", f"output={output}", "operation.poll_seconds=0.5"]
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    process = subprocess.Popen(
        [sys.executable, "-m", "nowcast", "watch", *settings],
        stdout=subprocess.DEVNULL,
        env=environment,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _forecast_number(number: int, output: Path, process, *, seconds: float) -> dict | None:
    """The status of the forecast with that number; None where it does not come in time."""
    deadline = time.monotonic() + seconds
    log = output / "status.jsonl"
    while time.monotonic() < deadline and process.poll() is None:
        lines = log.read_text(encoding="utf-8").splitlines() if log.is_file() else []
        made = [record for record in map(json.loads, lines) if record["outcome"] != "none"]
        if len(made) > number:
            return made[number]
        time.sleep(0.1)
    return None
