"""What the scores of rain cost: time beside pysteps' verification functions on the same fields, memory against the length of the test set.

Axes: B cases, T leads, H rows, W columns, K thresholds.
"""

import contextlib
import io
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from nowcast.benchmark.measuring import MEGABYTE, Host, Report, check_settings, grid, measure_together, number, title
from nowcast.benchmark.rain import moving_rain
from nowcast.benchmark.resident import peak_resident
from nowcast.build import part
from nowcast.errors import MissingDependency
from nowcast.evaluation.plan import Plan
from nowcast.evaluation.running import Source, evaluate
from nowcast.forecaster import Forecaster
from nowcast.models.persistence import Persistence
from nowcast.task import Task
from nowcast.transform import Identity

TOLERANCE = 1e-5  # relative: pysteps adds float32 fields in float32, nowcast in float64
CONTEXT = 2
EVENT_SCORES = {"CSI": "csi", "POD": "pod", "FAR": "far", "HSS": "hss", "BIAS": "frequency_bias"}
"""pysteps' name -> nowcast's, of the scores of events that both compute."""
ERROR_SCORES = {"MAE": "mae", "MSE": "mse", "corr_p": "correlation"}
"""The same of the errors and correlations."""
COUNTED = (
    f"One case of persistence is scored: by nowcast with all its scores, by pysteps with det_cat_fct_accum for every lead and threshold and "
    f"det_cont_fct_accum for every lead ({', '.join([*EVENT_SCORES.values(), *ERROR_SCORES.values()])}; it has no uncentred correlation). They take turns."
)
MEANING = (
    "The difference is the largest between two values of the same score, relative to the larger; pysteps adds float32 fields in float32. "
    "Where pixels are missing, HSS is not compared: pysteps counts them as correct negatives."
)
MEMORY = "Memory is the resident memory of the whole process, libraries included, at its peak in `evaluate`, in 1e6 bytes."


@dataclass(frozen=True)
class Evaluation:
    """Scoring of rain forecasts.

    Args:
        rows, columns: size of the fields [pixels].
        forecast_length: leads of a case.
        cases: of the shorter test set whose memory is measured; the longer has four times as many.
        seconds: of every timing; there are at least three repeats.
    """

    rows: int = 1200
    columns: int = 1100
    forecast_length: int = 12
    cases: int = 4
    seconds: float = 5.0

    def __post_init__(self):
        check_settings(self)

    def run(self, host: Host) -> Report:
        """Measure; without pysteps its side is left out, with a sentence."""
        scores = part(host.settings_of(["data=radar", "data.archive=none"]), "scores")
        memory = self._memory(scores, host)  # first: later, the process keeps what pysteps took
        failed, records = {}, []
        for case, gaps in host.progress([("all observed", False), ("79 % observed", True)]):
            try:
                records += self._speed(case, gaps, scores, failed)
            except MissingDependency as error:
                failed["pysteps"] = str(error)
                records += self._speed(case, gaps, scores, failed, alone=True)
        records += memory
        facts = {"thresholds": list(scores.thresholds), "tolerance": TOLERANCE}
        return Report(records, [self._speed_table(records), self._memory_table(records)], [COUNTED, MEANING, MEMORY], failed, facts)

    def _speed(self, case: str, gaps: bool, scores, failed: dict[str, str], *, alone: bool = False) -> list[dict]:
        rain = moving_rain(1 + self.forecast_length, self.rows, self.columns, gaps=gaps)
        forecast, observation = np.repeat(rain[:1], self.forecast_length, 0), rain[1:]
        steps = {"nowcast": lambda: _by_nowcast(forecast, observation, scores)}
        if not alone:
            theirs = load_pysteps()
            steps["pysteps"] = lambda: _by_pysteps(forecast, observation, scores.thresholds, theirs)
        milliseconds = measure_together(steps, torch.device("cpu"), seconds=self.seconds)
        records = [{"case": case, "implementation": name, "precision": "float32", "phase": "scores", "milliseconds": value} for name, value in milliseconds.items()]
        if not alone:
            difference = largest_difference(steps["nowcast"](), steps["pysteps"](), without=("hss",) if gaps else ())
            records[0] |= {"times_faster": milliseconds["pysteps"] / milliseconds["nowcast"], "largest_difference": None if math.isinf(difference) else difference}
            if not difference <= TOLERANCE:
                failed[f"agreement ({case})"] = f"a score differs from pysteps' by {difference:.2g} of its size, more than {TOLERANCE:g}"
        return records

    def _memory(self, scores, host: Host) -> list[dict]:
        rain = moving_rain(CONTEXT + self.forecast_length, self.rows, self.columns)
        persistence = {"persistence": Forecaster(Persistence(), Identity(), Task(CONTEXT, self.forecast_length))}

        def milliseconds_of(cases: int) -> float:
            start = time.perf_counter()
            source = Source(persistence, _Cases(rain, cases), forecast_length=self.forecast_length)
            evaluate(source, {}, scores, plan=Plan(workers=0, cache=None, show=False), settings={})
            return 1000 * (time.perf_counter() - start)

        milliseconds_of(self.cases)  # what libraries and the allocator keep from their first calls
        records = []
        for count in host.progress([self.cases, 4 * self.cases]):
            memory, milliseconds = peak_resident(lambda count=count: milliseconds_of(count))
            records.append({"case": f"{count} cases", "implementation": "nowcast", "precision": "float32", "phase": "evaluate", "milliseconds": milliseconds,
                            "peak_memory_mb": None if memory is None else memory / MEGABYTE})
        return records

    def _speed_table(self, records: list[dict]):
        timed = [record for record in records if record["phase"] == "scores"]
        rows = []
        for record in (record for record in timed if record["implementation"] == "nowcast"):
            theirs = next((other["milliseconds"] for other in timed if other["case"] == record["case"] and other["implementation"] == "pysteps"), None)
            rows.append([record["case"], number(record["milliseconds"], "{:.3g}"), number(theirs, "{:.3g}"),
                         number(record.get("times_faster"), "{:.1f}"), number(record.get("largest_difference"), "{:.1e}")])
        heading = title(f"All scores of a case of {self.forecast_length} leads of {self.rows}x{self.columns}")
        return grid(heading, ["pixels", "nowcast\n[ms]", "pysteps\n[ms]", "times\nfaster", "largest\ndifference"], rows)

    def _memory_table(self, records: list[dict]):
        rows = [[record["case"], number(record["peak_memory_mb"], "{:,.1f}"), number(record["milliseconds"] / 1000, "{:.3g}")]
                for record in records if record["phase"] == "evaluate"]
        return grid("Evaluation of persistence", ["test set", "peak memory\n[MB]", "time\n[s]"], rows)


class _Cases:
    """A test set of so many cases, each made when it is asked for: the same rain, shifted."""

    def __init__(self, rain: np.ndarray, count: int):
        self.rain, self.count = rain, count

    def __len__(self) -> int:
        return self.count

    def case(self, epoch: int, index: int) -> np.ndarray:
        return np.roll(self.rain, index, axis=2)


def load_pysteps() -> dict[str, Callable]:
    """The verification functions of pysteps by name.

    Raises:
        MissingDependency: pysteps is not installed.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # pysteps announces its configuration file on import
            from pysteps.verification import detcatscores, detcontscores
    except ImportError as error:
        raise MissingDependency(f"the comparison needs pysteps ({error}); install it with: pip install 'nowcast[flow]' (it is built by a C compiler).") from error
    names = {f"det_{kind}_fct_{step}": module for kind, module in (("cat", detcatscores), ("cont", detcontscores)) for step in ("init", "accum", "compute")}
    return {name: getattr(module, name) for name, module in names.items()}


def _by_nowcast(forecast: np.ndarray, observation: np.ndarray, scores) -> dict[tuple, float]:
    """(score, threshold, lead) -> value, of (T, H, W)."""
    sums = scores.sums(len(forecast))
    sums.add(forecast[None], observation[None])
    return {(row.score, row.threshold, row.lead): row.value for row in sums.rows() if row.window in (None, 1)}


@np.errstate(divide="ignore", invalid="ignore")  # a score without events is undefined in both
def _by_pysteps(forecast: np.ndarray, observation: np.ndarray, thresholds: tuple[float, ...], functions: dict[str, Callable]) -> dict[tuple, float]:
    """The same by pysteps."""
    values = {}
    for lead, (f, o) in enumerate(zip(forecast, observation), start=1):
        for threshold in thresholds:
            # pysteps counts > threshold: from the next smaller float32 on, that is the same event.
            table = functions["det_cat_fct_init"](np.nextafter(np.float32(threshold), np.float32(0)))
            functions["det_cat_fct_accum"](table, f, o)
            found = functions["det_cat_fct_compute"](table, list(EVENT_SCORES))
            values |= {(EVENT_SCORES[name], threshold, lead): float(value) for name, value in found.items()}
        errors = functions["det_cont_fct_init"]()
        functions["det_cont_fct_accum"](errors, f, o)
        found = functions["det_cont_fct_compute"](errors, list(ERROR_SCORES))
        values |= {(ERROR_SCORES[name], None, lead): float(value) for name, value in found.items()}
    return values


def largest_difference(ours: dict[tuple, float], theirs: dict[tuple, float], *, without: tuple[str, ...] = ()) -> float:
    """Largest difference of two values of one score, relative to the larger; values of both that are undefined agree.

    Args:
        ours, theirs: (score, threshold, lead) -> value; only the keys of ``theirs`` are compared.
        without: scores that are not compared.
    """
    largest = 0.0
    for key, value in theirs.items():
        if key[0] in without or math.isnan(value) and math.isnan(ours[key]):
            continue
        if math.isnan(value) or math.isnan(ours[key]):
            return math.inf
        largest = max(largest, abs(value - ours[key]) / (max(abs(value), abs(ours[key])) or 1))
    return largest
