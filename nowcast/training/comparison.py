"""Several models, each trained with several seeds: which trainings are to be made, and what came
out, side by side.

Every training is an ordinary run folder, OUTPUT/MODEL/seed-N.
"""

import csv
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

import nowcast
from nowcast.evaluation.statistics.scores import ScoreRow, about
from nowcast.evaluation.table import read_csv, score_title, thresholds_shown
from nowcast.forecasting.saving import SETTINGS_FILE
from nowcast.runtime.build import fits, resolve
from nowcast.runtime.errors import UserError
from nowcast.runtime.files import replacing
from nowcast.runtime.threads import cores
from nowcast.training import checkpoints
from nowcast.training.loop import CHECKPOINTS

# the name of the trained model in a run's table of scores; all others there are baselines
TRAINED = "nowcast"
SHARED = (
    "task",
    "data",
    "scores",
    "baselines",
)  # parts of a configuration that must be equal for all models
NOTED = ("training", "loss", "transform")  # parts that should be
COMMAND = (sys.executable, "-m", "nowcast")
LOG = "log.txt"
MEANING = (
    "The intervals are over seeds (initial weights, training samples); all runs are tested "
    "on the same cases."
)
LEVEL = 0.95
_COLUMNS = ("model", "seed", "parameters", "score", "threshold", "window", "lead", "value")
_SHOWN = ("csi", "correlation", "cross_entropy", "mse", "mae", "ssim")
_FROM_DATA = ("validation_from", "test_from")  # null when asked for, a time in a run's folder
_GRACE = 10  # seconds in which a process that is told to stop may do so by itself


class Run(NamedTuple):
    """One training, done or to be done.

    Args:
        model, seed: what is trained.
        folder: its run folder.
        overrides: what it is called with.
        settings: the configuration that they make.
    """

    model: str
    seed: int
    folder: Path
    overrides: list[str]
    settings: dict

    def __str__(self) -> str:
        return f"{self.model}, seed {self.seed}"


class Result(NamedTuple):
    """Scores of one model trained with one seed, or of a baseline beside it (which has no
    parameters).

    Args:
        model, seed, parameters, rows: what they are of, and the scores.
        apart: the model that left out pixels, so that these scores are of the other pixels alone;
            None: they are of all.
    """

    model: str
    seed: int
    parameters: int
    rows: list[ScoreRow]
    apart: str | None = None


def key(override: str) -> str:
    """What an override of the command line changes: model.links for +model.links=3."""
    return override.partition("=")[0].lstrip("+~")


def plan(settings: dict, typed: list[str]) -> dict[str, list[str]]:
    """Which models are trained, and with which overrides; the first of them is what the others are
    compared with.

    Args:
        settings: those of conf/compare.yaml.
        typed: overrides for every training, after those in ``common``; of several for one key the
            last counts, a model's own before all.

    Raises:
        UserError: a setting of another type, a name that is no model's or no folder's, an override
            that the comparison sets itself.
    """
    models, only, common = settings["models"], settings["only"], settings["common"]
    only = [only] if isinstance(only, str) else only
    wanted = {
        "models": (models, dict, "models by name (only=[...] picks from them)"),
        "only": (only, list[str] | None, "a list of names"),
        "common": (common, list[str], "a list of KEY=VALUE"),
        "seeds": (settings["seeds"], list[int], "a list of whole numbers"),
        "parallel": (settings["parallel"], int, "a whole number"),
    }
    for name, (value, hint, text) in wanted.items():
        if not fits(value, hint) or (name != "common" and value in ({}, [])):
            raise UserError(
                f"{name} is {value!r}, but {text} must be given, as in conf/compare.yaml."
            )
    parallel, seeds = settings["parallel"], settings["seeds"]
    if parallel < 1 or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise UserError(
            f"parallel is {parallel} and seeds is {seeds}; at least 1, and different numbers of "
            "0 or more, are needed."
        )
    unknown = [name for name in only or () if name not in models]
    if unknown:
        raise UserError(
            f"only names {', '.join(map(repr, unknown))}; the models here are {', '.join(models)}."
        )
    found = {
        name: _overrides(name, models[name], [*common, *typed])
        for name in dict.fromkeys(only or models)
    }
    for item in typed:
        if all(key(item) in map(key, models[name]) for name in found):
            raise UserError(
                f"{item} would have no effect: every model here has its own {key(item)}, which "
                "counts before all; "
                f"type models={{NAME: [{item}]}} to replace them, as in conf/compare.yaml."
            )
    return found


def _overrides(name: str, own: list[str], common: list[str]) -> list[str]:
    if {"/", "\\"} & set(str(name)) or name in ("", ".", "..") or not isinstance(name, str):
        raise UserError(f"a model is called {name!r}; a plain name for its folder is needed.")
    if not fits(own, list[str]):
        raise UserError(
            f"models.{name} is {own!r}, but a list such as [model=convlstm_small] is needed."
        )
    for item in (*common, *own):
        if key(item) in ("seed", "output_dir", "resume", "name") or (
            key(item) == "model" and item in common
        ):
            raise UserError(
                f"{item!r} cannot be given to a training: the comparison sets it itself; see "
                "models, seeds and output_dir in its --cfg."
            )
    return list({key(item): item for item in (*common, *own)}.values())


def difference(stored, asked, where: str = "") -> str | None:
    """The first setting in which two configurations differ, None where they agree.

    The run folder's own place does not count, nor do the cuts between the parts of the data that a
    run found itself.
    """
    if not isinstance(stored, dict) or not isinstance(asked, dict):
        return None if stored == asked else where
    for name in sorted({*stored, *asked}, key=str):
        place = f"{where}.{name}" if where else str(name)
        if place == "output_dir" or (
            where == "data" and name in _FROM_DATA and asked.get(name, "") is None
        ):
            continue
        found = (
            place
            if (name in stored) != (name in asked)
            else difference(stored[name], asked[name], place)
        )
        if found:
            return found
    return None


def differences(asked: dict[str, dict]) -> list[str]:
    """A sentence for each model that is trained otherwise than the first one.

    Args:
        asked: name -> configuration, all with one seed.

    Raises:
        UserError: the models have different tasks, data, scores or baselines, or one has the name
            of a baseline.
    """
    (first, reference), *others = asked.items()
    taken = [name for name in asked if name == TRAINED or name in (reference["baselines"] or {})]
    if taken:
        raise UserError(
            f"a model is called {taken[0]!r}, which is the name of another row of the table; "
            "give it another one."
        )
    sentences = []
    for name, settings in others:
        for part in (*SHARED, *NOTED):
            where = difference(reference[part], settings[part], part)
            if where and part in SHARED:
                raise UserError(
                    f"{name} has another {where} than {first}; all models need the same data. "
                    "Give a setting for all of them in common."
                )
            if where:
                sentences.append(f"{name} is not trained as {first} is: {where} differs.")
    return sentences


def refuse_others(runs: list[Run], stored: Callable[[Path], dict]) -> None:
    """Refuse run folders that were made with other settings than are asked for now.

    Args:
        runs: what is asked for.
        stored: reads the configuration in a run folder.

    Raises:
        UserError: names the first such folder and setting.
    """
    for run in runs:
        begun = (
            checkpoints.any_in(run.folder / CHECKPOINTS) or (run.folder / SETTINGS_FILE).is_file()
        )  # else it is made anew
        if begun and (run.folder / "config.yaml").is_file():
            where = difference(stored(run.folder), run.settings)
            if where:
                raise UserError(
                    f"{run.folder} was made with another {where} than is asked for now; choose "
                    "another output_dir."
                )


def step_to_finish(run: Run) -> list[str] | None:
    """Arguments of the nowcast command that finishes a run: train, go on, or evaluate; None when it
    is finished.
    """
    if (run.folder / SETTINGS_FILE).is_file():
        return None if _scores(run).is_file() else ["evaluate", f"run={run.folder}"]
    if checkpoints.any_in(run.folder / CHECKPOINTS):
        return ["train", f"resume={run.folder}"]
    return ["train", *run.overrides, f"output_dir={run.folder}"]


def _scores(run: Run) -> Path:
    return run.folder / "evaluation" / "scores.csv"


def in_parallel(
    runs: list[Run], *, count: int, report: Callable[[str], None], options: Sequence[str] = ()
) -> list[str]:
    """Finish runs in processes, at most ``count`` at a time, each with its share of the cores;
    their output goes to log files.

    All of them are stopped when this call is interrupted.

    Args:
        runs: those that are not finished.
        count: how many at a time.
        report: called with a sentence for each that starts or ends.
        options: further arguments of their commands, such as --config-dir.

    Returns:
        A sentence for each run that failed.

    Raises:
        UserError: a folder cannot be written to.
    """
    waiting, running, failed = list(runs), [], []
    before = signal.signal(
        signal.SIGTERM, signal.default_int_handler
    )  # kill, too, is to stop the processes
    try:
        while waiting or running:
            while waiting and len(running) < count:
                run = waiting.pop(0)
                process = _start(run, threads=max(1, cores() // count), options=options)
                running.append((run, process))
                report(f"{run}: started, see {run.folder / LOG}")
            time.sleep(0.1)
            for run, process in [pair for pair in running if pair[1].poll() is not None]:
                running.remove((run, process))
                report(f"{run}: {'failed' if process.returncode else 'finished'}")
                if process.returncode:
                    failed.append(f"{run}: {_last_line(run.folder / LOG)} ({run.folder / LOG})")
    finally:
        for _, process in running:
            process.terminate()
        for _, process in running:
            _end(process)
        signal.signal(signal.SIGTERM, before)
    return failed


def _start(run: Run, *, threads: int, options: Sequence[str]) -> subprocess.Popen:
    package = str(
        Path(nowcast.__file__).parent.parent
    )  # need not be installed, nor be in the current folder
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    try:
        run.folder.mkdir(parents=True, exist_ok=True)
        log = (run.folder / LOG).open("a", encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"{run.folder / LOG} cannot be written: {error.strerror or error}."
        ) from error
    with log:
        return subprocess.Popen(
            [*COMMAND, *step_to_finish(run), *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": path},
        )


def _end(process: subprocess.Popen) -> None:
    try:
        process.wait(timeout=_GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _last_line(path: Path) -> str:
    lines = [
        line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()
    ]
    return next((line for line in reversed(lines) if line), "it ended without a word")


def is_partial(run: Run) -> bool:
    """Whether the model has no forecast for some pixels, so that it and the baselines beside it are
    judged on others than the rest.
    """
    return resolve(run.settings["model"]["_target_"], "model").capabilities.partial


def judged_apart(runs: list[Run]) -> list[str]:
    """A sentence where some of the models are judged on fewer pixels than others."""
    partial = list(dict.fromkeys(run.model for run in runs if is_partial(run)))
    if not partial or len({run.model for run in runs}) == 1:
        return []
    return [
        f"{', '.join(partial)} {'has' if len(partial) == 1 else 'have'} no forecast for some "
        "pixels (what comes from outside the grid), and the scores there, and of the baselines "
        "beside, are of the other pixels alone: compare each model with its own baselines, not "
        "with models that are judged on others."
    ]


def results(
    runs: list[Run], *, parameters: Callable[[dict], int], lead_minutes: float | None
) -> list[Result]:
    """What the finished ones among runs are worth: the models in the order of the runs, then the
    baselines, once per seed.

    Args:
        runs: done or not.
        parameters: counts those of the model of a configuration.
        lead_minutes: minutes of one step, None to count frames.

    Raises:
        UserError: a table of scores is damaged, or not all were made on the same cases.
    """
    trained, baselines = {}, {}
    for run in runs:
        if step_to_finish(run) is None:
            apart = run.model if is_partial(run) else None
            for name, rows in read_csv(_scores(run), lead_minutes=lead_minutes).items():
                if name == TRAINED:
                    trained[run.model, run.seed] = Result(
                        run.model, run.seed, parameters(run.settings), rows, apart
                    )
                    continue
                name = f"{name} beside {apart}" if apart else name
                if repr(
                    baselines.setdefault(
                        (name, run.seed), Result(name, run.seed, 0, rows, apart)
                    ).rows
                ) != repr(rows):  # NaN equals nothing but its text
                    raise UserError(
                        f"{_scores(run)} holds other scores of {name} than the other models' do, "
                        "so it was evaluated on other data; "
                        f"delete {_scores(run).parent} and compare again."
                    )
    order = list(dict.fromkeys(run.model for run in runs))
    return [
        *sorted(trained.values(), key=lambda result: order.index(result.model)),
        *sorted(baselines.values(), key=lambda result: result.model),
    ]


def interval(values: list[float]) -> tuple[float, float]:
    """Mean, and half the width of its 95 % interval by Student's t; the latter is NaN for a single
    value.
    """
    from scipy.stats import t

    values = np.asarray(values, dtype=np.float64)
    with np.errstate(invalid="ignore"):  # infinite scores
        mean, count = float(values.mean()), len(values)
        if count < 2:
            return mean, math.nan
        return mean, float(
            t.ppf((1 + LEVEL) / 2, count - 1) * values.std(ddof=1) / math.sqrt(count)
        )


def paired(values: dict[int, float], reference: dict[int, float]) -> tuple[float, float] | None:
    """``interval`` of value minus reference over the seeds that both have; None where they share
    none.
    """
    shared = [values[seed] - reference[seed] for seed in values if seed in reference]
    return interval(shared) if shared else None


def write_csv(results: list[Result], path: Path, *, lead_minutes: float | None) -> None:
    """One line per score: model, seed, parameters, score, threshold [mm/h], window [pixels], lead
    [minutes, or frames], value.

    An empty lead is over all leads. Baselines have no parameters.
    """
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for result in results:
            for row in result.rows:
                lead = None if row.lead is None else f"{row.lead * (lead_minutes or 1):g}"
                threshold = None if row.threshold is None else f"{row.threshold:g}"
                writer.writerow(
                    [
                        result.model,
                        result.seed,
                        result.parameters,
                        row.score,
                        threshold,
                        row.window,
                        lead,
                        repr(float(row.value)),
                    ]
                )


def table(results: list[Result], *, first: str):
    """A ``rich.table.Table``, one row per model: each score over all leads as its mean over the
    seeds and the 95 % interval.

    In the second line of a row stands the difference to the first model, seed by seed, with its
    interval.

    Args:
        results: of all models and seeds, baselines included.
        first: the model that the others are compared with.
    """
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    shown = _shown([row for result in results for row in result.rows])
    values = _by_model(results)
    counts = {
        model: len({result.seed for result in results if result.model == model}) for model in values
    }
    apart = {result.model: result.apart for result in results}
    most, unequal = max(counts.values()), len(set(counts.values())) > 1
    several = most > 1
    title = (
        "Over all leads: "
        f"{f'mean over {most} seeds ± 95 % interval (Student)' if several else 'one seed, so without intervals'}"
    )
    caption = (
        f"second line: minus {first}, seed by "
        f"seed{'; * the 95 % interval of this difference excludes 0 (not corrected for the number of differences)' if several else ''}"
    )
    result = Table(
        title=title,
        caption=caption,
        box=SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
        show_lines=True,
        pad_edge=False,
    )
    result.add_column("model", no_wrap=True)
    for heading in (
        "parameters",
        *["seeds"] * unequal,
        *(f"{score_title(*case[:2])}{_arrow(case[0])}" for case in shown),
    ):
        result.add_column(
            heading, justify="right", overflow="fold", no_wrap=heading == "parameters"
        )
    for model, scores in values.items():
        parameters = next(result.parameters for result in results if result.model == model)
        alike = model != first and apart[model] == apart.get(first)
        cells = [
            _cell(scores.get(case, {}), values.get(first, {}).get(case, {}) if alike else {})
            for case in shown
        ]
        result.add_row(
            escape(model),
            f"{parameters:,}" if parameters else "",
            *[f"{counts[model]}"] * unequal,
            *cells,
        )
    return result


def _shown(rows: list[ScoreRow]) -> list[tuple]:
    """(score, threshold, window) of the columns: the main scores, at most three thresholds, the
    smallest window.
    """
    thresholds = [None, *thresholds_shown(rows)]
    cases = {
        row[:3]
        for row in rows
        if row.lead is None and row.score in _SHOWN and row.threshold in thresholds
    }
    smallest: dict[tuple, tuple] = {}
    for case in sorted(cases, key=lambda case: (_SHOWN.index(case[0]), case[1] or 0, case[2] or 0)):
        smallest.setdefault(case[:2], case)
    return list(smallest.values())


def _by_model(results: list[Result]) -> dict[str, dict[tuple, dict[int, float]]]:
    """Model -> (score, threshold, window) -> seed -> value over all leads."""
    values: dict[str, dict[tuple, dict[int, float]]] = {}
    for result in results:
        for row in result.rows:
            if row.lead is None:
                values.setdefault(result.model, {}).setdefault(row[:3], {})[result.seed] = row.value
    return values


def _cell(values: dict[int, float], reference: dict[int, float]) -> str:
    """120.4 ±3.1, and below it the difference."""
    if not values:
        return "–"
    mean = _text(*interval(list(values.values())))
    change = paired(values, reference)
    if change is None:
        return mean
    sure = "*" if abs(change[0]) > change[1] else ""
    return f"{mean}\n{_text(*change, signed=True)}{sure}"


def _text(mean: float, half: float, *, signed: bool = False) -> str:
    """A number with its interval, which has two digits; four digits where there is no interval."""
    if math.isnan(mean):
        return "–"
    if half <= 1e-9 * abs(mean):  # a rounding error of equal values
        half = 0.0
    scale = half if 0 < half < math.inf else 0.01 * abs(mean)
    decimals = max(0, 1 - math.floor(math.log10(scale))) if 0 < scale < math.inf else 0
    text = f"{mean:{'+' if signed else ''}.{decimals}f}".replace("-", "−")
    if math.isnan(half):
        return text
    return f"{text} ±{half:.{decimals if half else 0}f}"


def _arrow(score: str) -> str:
    return {"higher": " ↑", "lower": " ↓"}.get(about(score).better, "")
