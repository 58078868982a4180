"""What a forecast costs, from the newest radar file to the published NetCDF, beside extrapolation
and S-PROG by pysteps.
"""

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from nowcast.benchmark.measuring import (
    MEGABYTE,
    Host,
    Report,
    busy_processes,
    check_settings,
    grid,
    number,
    resident,
    title,
)
from nowcast.benchmark.rain import moving_rain, write_radar_files
from nowcast.forecasting.forecaster import Forecaster
from nowcast.forecasting.prediction import Published, newest_frames, publish
from nowcast.readers.auto import Auto
from nowcast.runtime.errors import MissingDependency, UserError

NOWCAST = "nowcast"
_PYSTEPS = {
    "pysteps_extrapolation": {
        "_target_": "nowcast.baselines.extrapolation.Extrapolation",
        "motion_frames": 3,
    },
    "pysteps_sprog": {"_target_": "nowcast.baselines.sprog.Sprog", "cascade_levels": 6},
}
_SPROG = "pysteps_sprog"
IMPLEMENTATIONS = (NOWCAST, *_PYSTEPS)
_FIRST = np.datetime64("2026-01-01T00:00:00", "s")
_ROWS = {
    "whole": "file to published NetCDF",
    "read": "  reading the frames",
    "network": "  model",
    "transform": "  to tensors and back",
    "derive": "  accumulation, probabilities",
    "write": "  writing the NetCDF",
    "rest": "everything but the model",
    "cold_start": "cold start without model",
    "busy_whole": "beside {} busy processes",
    "busy_network": "  model",
}
"""Phase -> what its row of the table is called."""

MEANING = (
    "Times are from repeats in one process after one that does not count: median and 95th "
    "percentile. The methods take turns, so that all see the same machine, and the share of "
    "S-PROG's time is that of the medians. Model is the network, or the motion and extrapolation "
    "of pysteps. Everything that pysteps does is called like a model of nowcast: the same files "
    "read, the same file written."
)
COLD = (
    "Cold start: a fresh process of `nowcast predict` from its start until the NetCDF lies there, "
    "without the time of its model; memory: the resident memory of that process at its peak, with "
    "the pictures that it draws after it, in 1e6 bytes."
)


@dataclass(frozen=True)
class Prediction:
    """Forecasts of synthetic rain in ODIM_H5 files, one file a frame.

    Args:
        trained: a run folder whose forecaster is measured, for the command also "shipped"; None:
            the default radar network with the weights it begins with.
        rows, columns: size of the grid [pixels of 1 km].
        forecast_length: frames out; the forecaster says how many go in.
        repeats: of nowcast's forecast.
        pysteps_repeats: of each of pysteps' forecasts.
        thresholds: rain rates [mm/h] of the probabilities that are published with the accumulated
            rain; empty: rain rates alone.
        busy_processes: other processes that compute all the time while every forecast is made once
            more; 0: none is.
        busy_repeats: of each of these forecasts.
    """

    trained: str | None = None
    rows: int = 1200
    columns: int = 1100
    forecast_length: int = 24
    repeats: int = 20
    pysteps_repeats: int = 3
    thresholds: list[float] = (0.1, 1.0, 5.0)
    busy_processes: int = 2
    busy_repeats: int = 3

    def __post_init__(self):
        check_settings(self, may_be_0=("busy_processes",))

    def run(self, host: Host) -> Report:
        """Measure; what pysteps lacks is left out, with a sentence.

        Raises:
            UserError: a run that was not trained on rain.
        """
        records, failed, runs = [], {}, {}
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for implementation in IMPLEMENTATIONS:
                try:
                    self._save(implementation, host, folder)
                    runs[implementation] = self._run_of(implementation, folder)
                    runs[implementation].once()
                except MissingDependency as error:
                    failed[implementation] = str(error)
                    runs.pop(implementation, None)
            self._take_turns(runs, host)
            for implementation, run in host.progress(runs.items()):
                self._measure_beside_others(implementation, run, folder, failed)
                records += self._records_of(implementation, run)
        facts = {
            "context_length": records[0]["context_length"],
            "busy_processes": self.busy_processes,
        }
        return Report(records, [self._table(records)], [MEANING, COLD], failed, facts)

    def _save(self, implementation: str, host: Host, folder: Path) -> None:
        """Write a run folder of an implementation; nowcast's comes first, and the radar files for
        all with it.
        """
        if implementation == NOWCAST:
            forecaster = self._forecaster(host)
            (folder / "radar").mkdir()
            length = forecaster.task.context_length
            times = _FIRST + np.arange(length) * forecaster.task.timedelta
            rain = moving_rain(length, self.rows, self.columns)
            write_radar_files(rain, times, folder / "radar")
        else:
            settings = Forecaster.load(folder / NOWCAST).settings
            settings["model"] = _PYSTEPS[implementation]
            settings["transform"] = {"_target_": "nowcast.types.transform.Identity"}
            forecaster = Forecaster.from_settings(settings)
        forecaster.save(folder / implementation)

    def _forecaster(self, host: Host) -> Forecaster:
        if self.trained is None:
            torch.manual_seed(0)
            return Forecaster.from_settings(
                host.settings_of(["experiment=radar_quickstart", "data.archive=none"])
            )
        forecaster = Forecaster.load(self.trained)
        if forecaster.task.quantity != "rain_rate":
            raise UserError(
                f"{self.trained} was trained on {forecaster.task.quantity}; expected a run trained "
                "on radar, to measure predictions."
            )
        return forecaster

    def _run_of(self, implementation: str, folder: Path) -> "_Run":
        forecaster = Forecaster.load(folder / implementation)
        if implementation == NOWCAST and torch.cuda.is_available():
            forecaster.model.cuda()
        radar, output = folder / "radar", folder / f"{implementation}.nc"
        length = forecaster.task.context_length
        precisions: set[str] = set()
        forecaster.model.register_forward_pre_hook(
            lambda model, _: precisions.add(_precision(model))
        )

        def once() -> Published:
            return publish(
                forecaster,
                lambda: newest_frames(
                    radar, context_length=length, reader=Auto(), outputs=[output]
                ),
                output,
                forecast_length=self.forecast_length,
                run=implementation,
                thresholds=self.thresholds,
            )

        return _Run(once, length, precisions)

    def _take_turns(self, runs: dict[str, "_Run"], host: Host) -> None:
        """Repeat every forecast; between two of pysteps' there are as many of nowcast as of its
        repeats fall to each of theirs.
        """
        rounds = self.pysteps_repeats if len(runs) > 1 else 1
        for turn in host.progress(range(rounds)):
            ours = self.repeats * (turn + 1) // rounds - self.repeats * turn // rounds
            for implementation, run in runs.items():
                run.repeat(ours if implementation == NOWCAST else 1)

    def _measure_beside_others(
        self, implementation: str, run: "_Run", folder: Path, failed: dict[str, str]
    ) -> None:
        """Beside busy processes, and in a process of its own."""
        if self.busy_processes:
            with busy_processes(self.busy_processes):
                beside = _timed(run.once, self.busy_repeats)
            for phase in ("whole", "network"):
                run.seconds[f"busy_{phase}"] = beside[phase]
        cold, run.memory, refused = cold_start(
            [
                f"run={folder / implementation}",
                f"input={folder / 'radar'}",
                f"output={folder / f'{implementation}-cold.nc'}",
                f"forecast_length={self.forecast_length}",
                f"thresholds={list(self.thresholds)}",
            ]
        )
        if refused is None:
            run.seconds["cold_start"] = [cold]
        else:
            failed[f"cold start of {implementation}"] = refused

    def _records_of(self, implementation: str, run: "_Run") -> list[dict]:
        length, memory, seconds = run.context_length, run.memory, dict(run.seconds)
        seconds["rest"] = list(np.subtract(seconds["whole"], seconds["network"]))
        return [
            {
                "case": f"{self.rows}x{self.columns}, {length} to {self.forecast_length} frames",
                "implementation": implementation,
                "precision": " and ".join(sorted(run.precisions)),
                "phase": phase,
                "milliseconds": 1000 * float(np.median(found)),
                "p95_milliseconds": 1000 * float(np.percentile(found, 95)),
                "peak_memory_mb": None if memory is None else memory / MEGABYTE,
                "repeats": len(found),
                "context_length": length,
            }
            for phase, found in seconds.items()
        ]

    def _table(self, records: list[dict]):
        found = {(record["implementation"], record["phase"]): record for record in records}
        present = [name for name in IMPLEMENTATIONS if (name, "whole") in found]
        rows = []
        for phase, label in _ROWS.items():
            if (NOWCAST, phase) not in found and phase.startswith("busy"):
                continue
            cells = [label.format(self.busy_processes)]
            for name in present:
                cells += _cells(found.get((name, phase)))
            rows.append(cells)
        memory = ["memory at the peak [MB]"]
        headings = [""]
        for name in present:
            memory += [number(found[name, "whole"]["peak_memory_mb"], "{:,.0f}"), ""]
            headings += [f"{name.removeprefix('pysteps_')}\n[s]", "p95"]
        context = records[0]["context_length"]
        heading = title(
            f"{context} → {self.forecast_length} frames of {self.rows}x{self.columns}",
            f"model in {found[NOWCAST, 'whole']['precision']}; extrapolation and S-PROG: pysteps",
        )
        return grid(heading, headings, [*rows, *_shares(found, present), memory])


@dataclass(eq=False)
class _Run:
    """An implementation that is measured.

    Args:
        once: makes and publishes a forecast.
        context_length: frames that it is made from.
        precisions: that its model computed in.
        seconds: of every repeat, by phase.
        memory: bytes at the peak of a process of its own; None: not known.
    """

    once: Callable[[], Published]
    context_length: int
    precisions: set[str]
    seconds: dict[str, list[float]] = field(default_factory=dict)
    memory: int | None = None

    def repeat(self, count: int) -> None:
        """Measure some forecasts more."""
        for phase, found in _timed(self.once, count).items():
            self.seconds.setdefault(phase, []).extend(found)


def _shares(found: dict[tuple[str, str], dict], present: list[str]) -> list[list[str]]:
    """Rows of the table: each method's time as a share of S-PROG's, where that was measured."""
    rows = []
    for phase, label in (("whole", "share of S-PROG's time"), ("network", "  model")):
        if (_SPROG, phase) not in found:
            continue
        cells = [label]
        for name in present:
            share = found[name, phase]["milliseconds"] / found[_SPROG, phase]["milliseconds"]
            cells += [f"{share:.2f}", ""]
        rows.append(cells)
    return rows


def _timed(forecast_once: Callable[[], Published], repeats: int) -> dict[str, list[float]]:
    """Seconds of every repeat, by phase."""
    seconds: dict[str, list[float]] = {}
    for _ in range(repeats):
        start = time.perf_counter()
        published = forecast_once()
        whole = time.perf_counter() - start
        for phase, value in (published.seconds | {"whole": whole}).items():
            seconds.setdefault(phase, []).append(value)
    return seconds


def _cells(record: dict | None) -> list[str]:
    """Median and 95th percentile in seconds; a single repeat has no percentile."""
    if record is None:
        return ["–", "–"]
    percentile = record["p95_milliseconds"] / 1000 if record["repeats"] > 1 else None
    return [f"{record['milliseconds'] / 1000:.2f}", number(percentile, "{:.2f}")]


def cold_start(arguments: list[str]) -> tuple[float, int | None, str | None]:
    """Run `nowcast predict` with these arguments in a fresh process.

    Returns:
        seconds from its start until the NetCDF lies there, without the time of the model; bytes of
        resident memory at its peak (None where the system does not report it); and its last line
        if it failed (None: it did not).
    """
    output = Path(next(item for item in arguments if item.startswith("output=")).partition("=")[2])
    memory = published = None
    with tempfile.TemporaryFile("w+") as printed:
        start = time.perf_counter()
        child = subprocess.Popen(
            [sys.executable, "-m", "nowcast", "predict", *arguments],
            stdout=printed,
            stderr=subprocess.STDOUT,
        )
        try:
            while child.poll() is None:
                if published is None and output.exists():
                    published = time.perf_counter() - start
                memory = resident(child.pid, peak=True) or memory
                time.sleep(0.005)
        finally:  # Ctrl-C ends both
            child.kill()
            child.wait()
        if published is None and output.exists():
            published = time.perf_counter() - start
        printed.seek(0)
        text = printed.read().strip()
    model = re.search(r"network ([0-9.]+) s", text)
    if child.returncode != 0 or published is None or model is None:
        reason = text.splitlines()[-1] if text else f"it ended with code {child.returncode}"
        return 0.0, memory, reason
    return published - float(model[1]), memory, None


def _precision(model: torch.nn.Module) -> str:
    """What a model that is being called computes in."""
    device = next(model.parameters(), torch.empty(0)).device.type
    if not torch.is_autocast_enabled(device):
        return "float32"
    return str(torch.get_autocast_dtype(device)).removeprefix("torch.")
