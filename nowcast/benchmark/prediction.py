"""What a forecast costs, from the newest radar file to the published NetCDF, beside extrapolation
and S-PROG by pysteps.
"""

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from nowcast.benchmark.competing import busy_processes
from nowcast.benchmark.measuring import MEGABYTE, Host, Report, check_settings, grid, number, title
from nowcast.benchmark.rain import moving_rain, write_radar_files
from nowcast.benchmark.resident import resident
from nowcast.drawing.animation import forecast_animation
from nowcast.drawing.maps import forecast_strip
from nowcast.forecasting.forecaster import Forecaster
from nowcast.forecasting.prediction import Published, newest_frames, publish
from nowcast.readers.auto import Auto
from nowcast.runtime.errors import MissingDependency, UserError

NOWCAST, EXTRAPOLATION, SPROG = IMPLEMENTATIONS = (
    "nowcast",
    "pysteps_extrapolation",
    "pysteps_sprog",
)
_PYSTEPS = {
    EXTRAPOLATION: {
        "_target_": "nowcast.baselines.extrapolation.Extrapolation",
        "motion_frames": 3,
    },
    SPROG: {"_target_": "nowcast.baselines.sprog.Sprog", "cascade_levels": 6},
}
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
    "imports": "  of which imports",
    "picture": "picture, afterwards",
    "animation": "animation, afterwards",
}
_BUSY = {
    "whole": "busy_whole",
    "network": "busy_network",
}  # phases that are measured beside busy processes, too
MEANING = (
    "Times are from repeats in one process after one that does not count: median and 95th "
    "percentile. Model is the network, or the motion and extrapolation of "
    "pysteps. Everything that pysteps does is called like a model of nowcast: the same files "
    "read, the same file written."
)
COLD = (
    "Cold start: a fresh process of `nowcast predict` from its start until the NetCDF lies "
    "there, without the time of its model; memory: the resident "
    "memory of that process at its peak, with the pictures that it draws after it, in 1e6 bytes."
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
        if implementation != NOWCAST:
            settings = Forecaster.load(folder / NOWCAST).settings
            model, identity = (
                _PYSTEPS[implementation],
                {"_target_": "nowcast.types.transform.Identity"},
            )
            Forecaster.from_settings(settings | {"model": model, "transform": identity}).save(run)
            return run
        if self.trained is None:
            torch.manual_seed(0)
            forecaster = Forecaster.from_settings(
                host.settings_of(["experiment=radar_quickstart", "data.archive=none"])
            )
        else:
            forecaster = Forecaster.load(self.trained)
        task = forecaster.task
        if task.quantity != "rain_rate":
            raise UserError(
                f"{self.trained} was trained on {task.quantity}; a run trained on radar is "
                "needed to measure predictions."
            )
        forecaster.save(run)
        (folder / "radar").mkdir()
        rain = moving_rain(task.context_length, self.rows, self.columns)
        write_radar_files(
            rain, _FIRST + np.arange(task.context_length) * task.timedelta, folder / "radar"
        )
        return run

    def _records_of(
        self, implementation: str, run: Path, folder: Path, failed: dict[str, str]
    ) -> Iterator[dict]:
        forecaster = Forecaster.load(run)
        if implementation == NOWCAST and torch.cuda.is_available():
            forecaster.model.cuda()
        precisions: set[str] = set()
        forecaster.model.register_forward_pre_hook(
            lambda model, _: precisions.add(_precision(model))
        )
        length = forecaster.task.context_length
        radar, output = folder / "radar", folder / f"{implementation}.nc"
        seconds: dict[str, list[float]] = {}

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
        for _ in range(self.repeats if implementation == NOWCAST else self.pysteps_repeats):
            start = time.perf_counter()
            published = once()
            parts = published.seconds | {"whole": time.perf_counter() - start}
            parts["rest"] = parts["whole"] - parts["network"]
            for name, value in parts.items():
                seconds.setdefault(name, []).append(value)
        if self.busy_processes:
            seconds |= self._beside_busy_processes(once)
        if implementation == NOWCAST:
            for name, draw, suffix in (
                ("picture", forecast_strip, ".png"),
                ("animation", forecast_animation, ".gif"),
            ):
                draw(
                    published.context, published.forecast, output.with_suffix(suffix)
                )  # matplotlib is loaded, its fonts are found
                start = time.perf_counter()
                draw(published.context, published.forecast, output.with_suffix(suffix))
                seconds[name] = [time.perf_counter() - start]
            seconds["imports"] = [_seconds_of("--version") for _ in range(min(3, self.repeats))]
        cold, memory, refused = cold_start(
            [
                f"run={run}",
                f"input={radar}",
                f"output={folder / f'{implementation}-cold.nc'}",
                f"forecast_length={self.forecast_length}",
                f"thresholds={list(self.thresholds)}",
            ]
        )
        if refused is None:
            seconds["cold_start"] = [cold]
        else:
            failed[f"cold start of {implementation}"] = refused
        for phase, found in seconds.items():
            yield {
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

    def _beside_busy_processes(
        self, forecast_once: Callable[[], Published]
    ) -> dict[str, list[float]]:
        """Seconds of the same forecast, whole and of its model, while other processes compute."""
        seconds = {phase: [] for phase in _BUSY.values()}
        with busy_processes(self.busy_processes):
            for _ in range(self.busy_repeats):
                start = time.perf_counter()
                published = forecast_once()
                seconds[_BUSY["whole"]].append(time.perf_counter() - start)
                seconds[_BUSY["network"]].append(published.seconds["network"])
        return seconds

    def _labels(self) -> dict[str, str]:
        """What the rows of the table are called, by phase."""
        beside = f"beside {self.busy_processes} busy processes"
        busy = {_BUSY["whole"]: beside, _BUSY["network"]: f"  {_ROWS['network'].strip()}"}
        return _ROWS | (busy if self.busy_processes else {})

    def _table(self, records: list[dict]):
        found = {(record["implementation"], record["phase"]): record for record in records}
        present = [name for name in IMPLEMENTATIONS if (name, "whole") in found]
        rows = []
        for phase, label in self._labels().items():
            cells = [label]
            for name in present:
                record = found.get((name, phase), {})
                cells.append(
                    number(record.get("milliseconds", 0) / 1000 if record else None, "{:.2f}")
                )
                cells.append(
                    number(
                        record["p95_milliseconds"] / 1000 if record.get("repeats", 1) > 1 else None,
                        "{:.2f}",
                    )
                )
            rows.append(cells)
        memory = [number(found[name, "whole"]["peak_memory_mb"], "{:,.0f}") for name in present]
        rows.append(
            ["memory at the peak [MB]", *(cell for value in memory for cell in (value, ""))]
        )
        headings = [f"{name.removeprefix('pysteps_')}\n[s]" for name in present]
        context = records[0]["context_length"]
        heading = title(
            f"{context} → {self.forecast_length} frames of {self.rows}x{self.columns}",
            f"model in {found[NOWCAST, 'whole']['precision']}; extrapolation and S-PROG: pysteps",
        )
        return grid(heading, ["", *(cell for text in headings for cell in (text, "p95"))], rows)


def cold_start(arguments: list[str]) -> tuple[float, int | None, str | None]:
    """Run `nowcast predict` with these arguments in a fresh process.

    Returns:
        seconds from its start until the NetCDF lies there, without the time of the model; bytes of
        resident memory at its peak (None where the system does not tell); and what it said if it
        failed (None: it did not).
    """
    output = Path(next(item for item in arguments if item.startswith("output=")).partition("=")[2])
    memory = published = None
    with tempfile.TemporaryFile("w+") as said:
        start = time.perf_counter()
        child = subprocess.Popen(
            [sys.executable, "-m", "nowcast", "predict", *arguments],
            stdout=said,
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
        said.seek(0)
        text = said.read().strip()
    model = re.search(r"network ([0-9.]+) s", text)
    if child.returncode != 0 or published is None or model is None:
        return (
            0.0,
            memory,
            " ".join(text.splitlines()[-1:]) or f"it ended with code {child.returncode}",
        )
    return published - float(model[1]), memory, None


def _seconds_of(*arguments: str) -> float:
    """A fresh process of nowcast from start to end."""
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "nowcast", *arguments], stdout=subprocess.DEVNULL, check=True
    )
    return time.perf_counter() - start


def _precision(model: torch.nn.Module) -> str:
    """What a model that is being called computes in."""
    device = next(model.parameters(), torch.empty(0)).device.type
    return (
        str(torch.get_autocast_dtype(device)).removeprefix("torch.")
        if torch.is_autocast_enabled(device)
        else "float32"
    )
