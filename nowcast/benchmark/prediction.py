"""What a forecast costs, from the newest radar file to the published NetCDF, beside extrapolation
and S-PROG by pysteps.
"""

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
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
    "percentile. Model is the network, or the motion and extrapolation of pysteps. Everything that "
    "pysteps does is called like a model of nowcast: the same files read, the same file written."
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
        records, failed = [], {}
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for implementation in host.progress(IMPLEMENTATIONS):
                try:
                    run = self._saved(implementation, host, folder)
                except MissingDependency as error:
                    failed[implementation] = str(error)
                    continue
                records += self._records_of(implementation, run, folder, failed)
        facts = {
            "context_length": records[0]["context_length"],
            "busy_processes": self.busy_processes,
        }
        return Report(records, [self._table(records)], [MEANING, COLD], failed, facts)

    def _saved(self, implementation: str, host: Host, folder: Path) -> Path:
        """A run folder of an implementation; nowcast's comes first, and the radar files for all
        with it.
        """
        run = folder / implementation
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
        forecaster.save(run)
        return run

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

    def _records_of(
        self, implementation: str, run: Path, folder: Path, failed: dict[str, str]
    ) -> list[dict]:
        forecaster = Forecaster.load(run)
        if implementation == NOWCAST and torch.cuda.is_available():
            forecaster.model.cuda()
        precisions: set[str] = set()
        forecaster.model.register_forward_pre_hook(
            lambda model, _: precisions.add(_precision(model))
        )
        repeats = self.repeats if implementation == NOWCAST else self.pysteps_repeats
        seconds = self._repeated(forecaster, implementation, folder, repeats)
        cold, memory, refused = cold_start(
            [
                f"run={run}",
                f"input={folder / 'radar'}",
                f"output={folder / f'{implementation}-cold.nc'}",
                f"forecast_length={self.forecast_length}",
                f"thresholds={list(self.thresholds)}",
            ]
        )
        if refused is None:
            seconds["cold_start"] = [cold]
        else:
            failed[f"cold start of {implementation}"] = refused
        length = forecaster.task.context_length
        return [
            {
                "case": f"{self.rows}x{self.columns}, {length} to {self.forecast_length} frames",
                "implementation": implementation,
                "precision": " and ".join(sorted(precisions)),
                "phase": phase,
                "milliseconds": 1000 * float(np.median(found)),
                "p95_milliseconds": 1000 * float(np.percentile(found, 95)),
                "peak_memory_mb": None if memory is None else memory / MEGABYTE,
                "repeats": len(found),
                "context_length": length,
            }
            for phase, found in seconds.items()
        ]

    def _repeated(
        self, forecaster: Forecaster, implementation: str, folder: Path, repeats: int
    ) -> dict[str, list[float]]:
        """Seconds of every repeat, by phase: alone, then beside busy processes."""
        radar, output = folder / "radar", folder / f"{implementation}.nc"
        length = forecaster.task.context_length

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

        once()
        seconds = _timed(once, repeats)
        seconds["rest"] = list(np.subtract(seconds["whole"], seconds["network"]))
        if self.busy_processes:
            with busy_processes(self.busy_processes):
                beside = _timed(once, self.busy_repeats)
            for phase in ("whole", "network"):
                seconds[f"busy_{phase}"] = beside[phase]
        return seconds

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
        return grid(heading, headings, [*rows, memory])


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
