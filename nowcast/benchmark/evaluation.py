"""What the scores of rain cost: time beside pysteps' verification functions on the same fields,
memory against the length of the test set.

Axes: B cases, T leads, H rows, W columns, K thresholds.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from nowcast.baselines.extrapolation import quiet
from nowcast.baselines.persistence import Persistence
from nowcast.benchmark import pysteps_scores as theirs
from nowcast.benchmark.measuring import (
    MEGABYTE,
    Host,
    Report,
    check_settings,
    grid,
    measure_together,
    number,
    title,
)
from nowcast.benchmark.rain import moving_rain
from nowcast.benchmark.resident import peak_resident
from nowcast.data.base import Cases
from nowcast.evaluation.plan import EvaluationPlan
from nowcast.evaluation.running import evaluate
from nowcast.evaluation.source import ModelSource
from nowcast.evaluation.statistics.ensemble import EnsembleSums
from nowcast.evaluation.statistics.rain import FractionSums, PixelSums
from nowcast.evaluation.statistics.spectrum import SpectrumSums, decibels
from nowcast.evaluation.statistics.structure import StructureSums
from nowcast.forecasting.forecaster import Forecaster
from nowcast.runtime.build import part
from nowcast.runtime.errors import MissingDependency
from nowcast.types.task import Task
from nowcast.types.transform import Identity

TOLERANCE = 1e-5  # relative: pysteps adds float32 fields in float32, nowcast in float64
CONTEXT = 2
WINDOWS = (4, 16)  # pixels
SAL_SIDE = 8  # a field of an eighth of the sides: pysteps' SAL takes minutes for a whole one
PARTS = ("pixels", "neighbourhoods", "spectra", "SAL", "ensemble")
COUNTED = (
    "Persistence is scored part by part; nowcast and pysteps' own functions take turns. pixels: "
    "all scores of events, errors and correlations of nowcast "
    f"against det_cat_fct ({', '.join(theirs.EVENT_SCORES.values())}) for every threshold and "
    f"det_cont_fct ({', '.join(theirs.ERROR_SCORES.values())}). "
    f"neighbourhoods: FSS by threshold and window {WINDOWS}, against fss. spectra: against "
    f"rapsd. SAL: on fields of an {SAL_SIDE}th of the sides, against sal. "
    "ensemble: all its scores, against CRPS, rankhist, reldiag, ROC_curve, ensemble_skill and "
    "ensemble_spread."
)
MEANING = (
    "The difference is the largest between two values of the same definition, relative to the "
    "larger; pysteps adds float32 fields in float32. Not compared, because "
    "defined otherwise: where pixels are missing, HSS (pysteps counts them as correct "
    "negatives), FSS (pysteps counts them as dry) and SAL (it takes them as dry); spectra (by "
    "ring, not by band); S and L (objects by its storm "
    "detection); ranks (ties are drawn, dry pixels left out), reliability and ROC (probabilities "
    "in ten bins), spread (of the field's mean)."
)
_OTHERWISE_WITH_GAPS = ("hss", "fss", "sal")
MEMORY = (
    "Memory is the resident memory of the whole process, libraries included, at its peak in "
    "`evaluate`, in 1e6 bytes."
)


@dataclass(frozen=True)
class Evaluation:
    """Scoring of rain forecasts.

    Args:
        rows, columns: size of the fields [pixels].
        forecast_length: leads of a case.
        members: of the ensemble.
        cases: of the shorter test set whose memory is measured; the longer has four times as many.
        seconds: of every timing; there are at least three repeats.
    """

    rows: int = 1200
    columns: int = 1100
    forecast_length: int = 2
    members: int = 10
    cases: int = 4
    seconds: float = 5.0

    def __post_init__(self):
        check_settings(self)

    def run(self, host: Host) -> Report:
        """Measure; without pysteps its side is left out, with a sentence."""
        scores = part(host.settings_of(["data=radar", "data.archive=none"]), "scores")
        memory = self._memory(scores, host)  # first: later, the process keeps what pysteps took
        failed: dict[str, str] = {}
        records = []
        for case, gaps in host.progress([("all observed", False), ("79 % observed", True)]):
            loads = self._loads(gaps, scores.thresholds)
            for name in PARTS:
                records += self._speed(case, name, *loads[name], failed)
        records += memory
        facts = {
            "thresholds": list(scores.thresholds),
            "windows": list(WINDOWS),
            "tolerance": TOLERANCE,
        }
        return Report(
            records,
            [self._speed_table(records), self._memory_table(records)],
            [COUNTED, MEANING, MEMORY],
            failed,
            facts,
        )

    def _loads(
        self, gaps: bool, thresholds: tuple[float, ...]
    ) -> dict[str, tuple[Callable, Callable]]:
        """By part: what nowcast does, and what pysteps does, given its modules; both return (score,
        threshold, lead) -> value.
        """
        length = self.forecast_length
        rain = moving_rain(1 + length, self.rows, self.columns, gaps=gaps)
        f, o = np.repeat(rain[:1], length, 0), rain[1:]
        small = [
            field[:, : -(-self.rows // SAL_SIDE), : -(-self.columns // SAL_SIDE)]
            if not gaps
            else field[:, ::SAL_SIDE, ::SAL_SIDE]
            for field in (f, o)
        ]
        factors = np.random.default_rng(0).uniform(0.5, 1.5, self.members).astype(np.float32)
        members = factors[:, None, None, None] * f
        return {
            "pixels": (
                lambda: _scored(PixelSums(thresholds, length), f, o),
                lambda pysteps: theirs.pixels(pysteps, f, o, thresholds),
            ),
            "neighbourhoods": (
                lambda: _scored(FractionSums(thresholds, WINDOWS, length), f, o),
                lambda pysteps: theirs.fractions(pysteps, f, o, thresholds, WINDOWS),
            ),
            "spectra": (
                lambda: _scored(SpectrumSums(length), f, o),
                lambda pysteps: theirs.spectra(
                    pysteps, lambda field: decibels(field, np.isnan(field)), f, o
                ),
            ),
            "SAL": (
                lambda: _scored(StructureSums(length), *small),
                lambda pysteps: theirs.structure(pysteps, *small),
            ),
            "ensemble": (
                lambda: _scored(EnsembleSums(thresholds, self.members, length), members, o),
                lambda pysteps: theirs.ensembles(pysteps, members, o, thresholds),
            ),
        }

    def _speed(
        self, case: str, name: str, ours: Callable, other: Callable, failed: dict[str, str]
    ) -> list[dict]:
        steps = {"nowcast": ours}
        try:
            pysteps = theirs.load_pysteps()

            def step() -> dict[tuple, float]:
                with quiet():
                    return other(pysteps)

            expected, steps["pysteps"] = step(), step
        except MissingDependency as error:
            failed[f"pysteps' {name}"] = str(error)
        milliseconds = measure_together(steps, torch.device("cpu"), seconds=self.seconds)
        records = [
            {
                "case": case,
                "part": name,
                "implementation": by,
                "precision": "float32",
                "phase": "scores",
                "milliseconds": value,
            }
            for by, value in milliseconds.items()
        ]
        if "pysteps" in steps:
            known = {
                key: value
                for key, value in expected.items()
                if not (case != "all observed" and key[0].startswith(_OTHERWISE_WITH_GAPS))
            }
            difference = largest_difference(ours(), known) if known else None
            records[0] |= {
                "times_faster": milliseconds["pysteps"] / milliseconds["nowcast"],
                "largest_difference": None
                if difference is None or math.isinf(difference)
                else difference,
            }
            if difference is not None and not difference <= TOLERANCE:
                failed[f"agreement ({name}, {case})"] = (
                    f"a score differs from pysteps' by {difference:.2g} of its size, more than "
                    f"{TOLERANCE:g}"
                )
        return records

    def _memory(self, scores, host: Host) -> list[dict]:
        rain = moving_rain(CONTEXT + self.forecast_length, self.rows, self.columns)
        persistence = {
            "persistence": Forecaster(
                Persistence(), Identity(), Task(CONTEXT, self.forecast_length)
            )
        }

        def milliseconds_of(cases: int) -> float:
            start = time.perf_counter()
            source = ModelSource(
                persistence, _Cases(rain, cases), forecast_length=self.forecast_length
            )
            evaluate(
                source,
                {},
                scores,
                plan=EvaluationPlan(workers=0, cache=None, show=False),
                settings={},
            )
            return 1000 * (time.perf_counter() - start)

        milliseconds_of(self.cases)  # what libraries and the allocator keep from their first calls
        records = []
        for count in host.progress([self.cases, 4 * self.cases]):
            memory, milliseconds = peak_resident(lambda count=count: milliseconds_of(count))
            records.append(
                {
                    "case": f"{count} cases",
                    "implementation": "nowcast",
                    "precision": "float32",
                    "phase": "evaluate",
                    "milliseconds": milliseconds,
                    "peak_memory_mb": None if memory is None else memory / MEGABYTE,
                }
            )
        return records

    def _speed_table(self, records: list[dict]):
        timed = {
            (record["case"], record["part"], record["implementation"]): record
            for record in records
            if record["phase"] == "scores"
        }
        rows = []
        for (case, name, by), record in timed.items():
            if by == "nowcast":
                other = timed.get((case, name, "pysteps"), {}).get("milliseconds")
                rows.append(
                    [
                        case,
                        name,
                        number(record["milliseconds"], "{:.3g}"),
                        number(other, "{:.3g}"),
                        number(record.get("times_faster"), "{:.1f}"),
                        number(record.get("largest_difference"), "{:.1e}"),
                    ]
                )
        heading = title(
            f"A case of {self.forecast_length} leads of {self.rows}x{self.columns}, "
            f"{self.members} members"
        )
        return grid(
            heading,
            [
                "pixels",
                "scores",
                "nowcast\n[ms]",
                "pysteps\n[ms]",
                "times\nfaster",
                "largest\ndifference",
            ],
            rows,
        )

    def _memory_table(self, records: list[dict]):
        rows = [
            [
                record["case"],
                number(record["peak_memory_mb"], "{:,.1f}"),
                number(record["milliseconds"] / 1000, "{:.3g}"),
            ]
            for record in records
            if record["phase"] == "evaluate"
        ]
        return grid(
            "Evaluation of persistence", ["test set", "peak memory\n[MB]", "time\n[s]"], rows
        )


class _Cases(Cases):
    """A test set of so many cases, each made when it is asked for: the same rain, shifted."""

    def __init__(self, rain: np.ndarray, count: int):
        self.rain, self.count = rain, count

    def __len__(self) -> int:
        return self.count

    def case(self, epoch: int, index: int) -> np.ndarray:
        return np.roll(self.rain, index, axis=2)


def _scored(sums, forecast: np.ndarray, observation: np.ndarray) -> dict[tuple, float]:
    """(score, threshold, lead) -> value, of a forecast, (T, H, W) or (M, T, H, W), added to empty
    sums.
    """
    sums.add(forecast[None], observation[None])
    return {
        (f"fss {key.window}" if key.score == "fss" else key.score, key.threshold, lead): float(
            value
        )
        for key, by_lead in sums.values(sums.totals()).items()
        for lead, value in enumerate(by_lead, start=1)
    }


def largest_difference(ours: dict[tuple, float], others: dict[tuple, float]) -> float:
    """Largest difference of two values of one score, relative to the larger; values of both that
    are undefined agree.

    Args:
        ours, others: (score, threshold, lead) -> value; only the keys of ``others`` are compared.
    """
    largest = 0.0
    for key, value in others.items():
        if math.isnan(value) and math.isnan(ours[key]):
            continue
        if math.isnan(value) or math.isnan(ours[key]):
            return math.inf
        largest = max(largest, abs(value - ours[key]) / (max(abs(value), abs(ours[key])) or 1))
    return largest
