"""Guarantees of operation: a day with faults, a week of cycles, a reader that looks all the time,
grids of any size.
"""

import os
import threading
from pathlib import Path

import numpy as np

from nowcast.benchmark.measuring import resident
from nowcast.runtime.files import SHIPPED, run_folder
from nowcast.types.scale import Scale
from tests.battery import workers
from tests.battery.foreign import archive
from tests.battery.stage import Outcome, Stage, frames, network, rain

_MOST_GROWTH = 1e6  # bytes in 1,000 cycles; in fewer, too, where a page more or less is no growth


def replay(stage: Stage) -> Outcome:
    """An answer by the deadline: a day of cycles with a fault in every sixth frame, each with a
    status and the documented outcome.
    """
    from nowcast.forecasting.replay import replay as live_through

    outcome = Outcome()
    cycles = live_through(
        frames(rain(4 + stage.number(36, 288))), network(), stage.folder / "out", every=6
    )
    for cycle in cycles:
        outcome.count(
            cycle.as_documented,
            f"{cycle.time}, {cycle.fault}: {cycle.outcomes} instead of {cycle.expected}",
        )
    return outcome


def soak(stage: Stage) -> Outcome:
    """A week without growth: of memory no more than 1 MB in 1,000 cycles, of file handles and
    threads nothing.
    """
    from nowcast.data.archive import Archive
    from nowcast.forecasting.prediction import publish

    outcome, count, forecaster = Outcome(), stage.number(150, 2016), network()
    settled = count // 3
    with Archive(archive(stage.folder / "radar.nc", rain(12))) as source:
        for cycle in range(count):
            publish(
                forecaster,
                lambda cycle=cycle: source.frames(cycle % 8, cycle % 8 + 4),
                stage.folder / f"{cycle % 12}.nc",
                thresholds=[1.0],
            )
            outcome.count(True, "")
            if cycle == settled:
                before = _holdings()
        after = _holdings()
    growth = (after[0] - before[0]) / max(count - settled, 1000) * 1000
    if growth > _MOST_GROWTH or after[1:] != before[1:]:
        outcome.failures.append(
            f"memory grew by {growth:,.0f} bytes in 1,000 cycles; handles and threads "
            f"{before[1:]}, then {after[1:]}"
        )
    outcome.note = f"{growth / 1e6:+.2f} MB in 1,000 cycles"
    return outcome


def _holdings() -> tuple[int, int, int]:
    """Memory [bytes], open files and threads of this process."""
    return (
        resident("self") or 0,
        len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0,
        threading.active_count(),
    )


def publishing(stage: Stage) -> Outcome:
    """No half-written forecast: one file is published again and again while another process reads
    it all the time.
    """
    from dataclasses import replace

    from nowcast.output.netcdf import write_forecast

    outcome, path = Outcome(), stage.folder / "forecast.nc"
    forecast = network()(frames(rain(4, 60, 60)))
    with stage.process(workers.read_over_and_over, path) as (process, pipe):
        for number in range(stage.number(30, 200)):
            write_forecast(
                replace(forecast, values=np.full_like(forecast.values, number)), path, attributes={}
            )
            outcome.count(True, "")
        pipe.send("stop")
        whole, wrong = pipe.recv() if pipe.poll(60) else (0, ["the reader gave no answer"])
    outcome.failures.extend(wrong)
    if not whole:
        outcome.failures.append("the reader read nothing")
    outcome.note = f"read {whole} times"
    return outcome


def grids(stage: Stage) -> Outcome:
    """Any grid: from 1x1 to 16x16, and random ones."""
    from nowcast.forecasting.forecaster import Forecaster

    outcome = Outcome()
    sizes = [(height, width) for height in range(1, 17) for width in range(1, 17)]
    random = [tuple(int(side) for side in stage.generator.integers(17, 300, 2)) for _ in range(60)]
    shipped = Forecaster.load(run_folder(SHIPPED))
    for forecaster, name, chosen in (
        (network(), "a small network", sizes + random),
        (
            shipped,
            "the shipped model",
            sizes[:: stage.number(37, 1)] + random[: stage.number(4, 60)],
        ),
    ):
        length = forecaster.task.context_length
        for height, width in chosen:
            values = np.full((1, length, height, width), 2.0, np.float32)
            made = forecaster.forecast_values(values, 2, scale=Scale(5.0, 1.0))
            there = np.isfinite(made)
            outcome.count(
                made.shape == (1, 2, height, width) and there.any() and (made[there] >= 0).all(),
                f"{name}, {height}x{width}: {made.shape}, {there.mean():.0%} finite",
            )
    return outcome
