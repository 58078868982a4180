"""Evaluations to report on, and which of them can be compared."""

import csv
import math
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from nowcast.evaluation.results import Results, ShownCase
from nowcast.runtime.errors import UserError, first_line

_LARGEST_TEXT = 2**20  # bytes of a configuration that are read
_MOST_EPOCHS = 100_000


@dataclass(frozen=True)
class Training:
    """How a training went, by epoch; NaN where a number is not known.

    Args:
        epochs: as they are counted, from 1.
        train_loss, validation_loss, validation_csi: (epochs,).
    """

    epochs: np.ndarray
    train_loss: np.ndarray
    validation_loss: np.ndarray
    validation_csi: np.ndarray


@dataclass(frozen=True)
class Run:
    """An evaluation and what lies beside it.

    Args:
        name: by which it is told from others.
        results: what was found.
        folder: where it was read from, as typed; empty: nowhere.
        config: its configuration as text, where there is one.
        training: its training, where there is one.
    """

    name: str
    results: Results
    folder: str = ""
    config: str = ""
    training: Training | None = None


@dataclass(frozen=True)
class Group:
    """Runs that were judged on the same pixels with the same scores, as one.

    Args:
        runs: they.
        results: of all their models.
        judged: names of the runs' own models in ``results``, in the order of the runs.
        references: names of all other models: baselines, and single members of ensembles.
    """

    runs: list[Run]
    results: Results
    judged: list[str]
    references: list[str]

    def number(self, model: str) -> int:
        """Of the series of a model, which gives its colour."""
        return self.results.models.index(model)


def load(folders: list[Path]) -> list[Run]:
    """Read runs from their folders.

    Raises:
        UserError: no folder, the same one twice, or one without an evaluation that can be read.
    """
    if not folders:
        raise UserError(
            "there is no run to report on; give the folder of one, or several as run=[DIR1,DIR2]."
        )
    places = [_run_folder(Path(folder)) for folder in folders]
    for place in places:
        if [other.resolve() for other in places].count(place.resolve()) > 1:
            raise UserError(f"{place} is named twice; name each run once.")
    return [
        Run(name, Results.load(folder), str(folder), _text(place / "config.yaml"), _training(place))
        for folder, place, name in zip(folders, places, _names(places))
    ]


def _run_folder(folder: Path) -> Path:
    """The folder of a run, also where its evaluation was named."""
    return (
        folder.parent
        if folder.resolve().name == "evaluation" and (folder.parent / "config.yaml").is_file()
        else folder
    )


def _names(places: list[Path]) -> list[str]:
    """The last parts of paths, as many as tell them apart."""
    parts = [place.resolve().parts for place in places]
    for count in range(1, max(map(len, parts)) + 1):
        names = ["/".join(one[-count:]) for one in parts]
        if len(set(names)) == len(names):
            return names
    raise AssertionError("different paths have different names")


def check(results: Results, name: str) -> None:
    """Whether the arrays of results are what their scores and pictures need.

    Raises:
        UserError: they are not.
    """
    lacks = ""
    try:
        for model in results.models:
            results.values(model)
        if not results.models or not results.cases:
            lacks = "it holds no model or no case"
        elif not all(_fits(case, results) for case in results.shown):
            lacks = "a case to look at lacks frames"
    except (
        UserError,
        ArithmeticError,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
    ) as error:
        lacks = first_line(error)
    if lacks:
        raise UserError(f"the evaluation {name} cannot be shown ({lacks}); evaluate again.")


def _fits(case: ShownCase, results: Results) -> bool:
    """Whether the fields of a case are of one size, and as many as the task says."""
    shape = case.observation.shape
    fields = [case.observation, *case.forecasts.values()]
    return (
        len(shape) == 3
        and all(shape)
        and shape[0] == results.task.forecast_length
        and all(one.shape == shape for one in fields)
        and case.context.ndim == 3
        and case.context.shape[1:] == shape[1:]
        and (case.grid is None or case.grid.shape == shape[1:])
    )


def _text(path: Path) -> str:
    """A text file; empty where there is none."""
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST_TEXT).decode("utf-8", errors="replace")
    except OSError:
        return ""


def _training(folder: Path) -> Training | None:
    """The losses that Lightning wrote, of all parts of a training that was resumed; None where
    there are none.
    """
    by_epoch: dict[int, dict[str, float]] = {}
    for path in sorted(
        folder.glob("logs/version_*/metrics.csv"),
        key=lambda path: (len(path.parent.name), path.parent.name),
    ):
        for row in _rows(path):
            epoch = _number(row.get("epoch"))
            if not (0 <= epoch < _MOST_EPOCHS):
                continue
            found = {
                name: _number(row.get(name))
                for name in ("train_loss_epoch", "validation_loss", "validation_csi")
            }
            by_epoch.setdefault(int(epoch), {}).update(
                {name: value for name, value in found.items() if math.isfinite(value)}
            )
    epochs = sorted(epoch for epoch, found in by_epoch.items() if found)
    if not epochs:
        return None
    columns = (
        [by_epoch[epoch].get(name, math.nan) for epoch in epochs]
        for name in ("train_loss_epoch", "validation_loss", "validation_csi")
    )
    return Training(np.array(epochs) + 1, *(np.array(column) for column in columns))


def _rows(path: Path) -> list[dict]:
    try:
        with path.open(newline="", encoding="utf-8", errors="replace") as file:
            return [row for row in csv.DictReader(file)]
    except (OSError, csv.Error):
        return []


def _number(text) -> float:
    try:
        return float(text)
    except (TypeError, ValueError):
        return math.nan


def groups(runs: list[Run]) -> list[tuple[Group, str]]:
    """Runs in groups that can be compared, each with a sentence that says why it is not part of the
    first; empty for the first.
    """
    found: list[tuple[list[Run], str]] = []
    for run in runs:
        reasons = [difference(members[0], run) for members, _ in found]
        if "" in reasons:
            found[reasons.index("")][0].append(run)
        else:
            found.append(([run], reasons[0] if reasons else ""))
    return [(_group(members), reason) for members, reason in found]


def difference(one: Run, other: Run) -> str:
    """Why two runs cannot be compared, in a sentence; empty where they can."""
    first, second = one.results, other.results
    names = f"{other.name} and {one.name}"
    for part, word in (("task", "different tasks"), ("scores", "different scores")):
        if first.settings[part] != second.settings[part]:
            return f"{names} have {word}: their numbers do not belong in one table."
    if first.blocks != second.blocks:
        return f"{names} were judged on different cases: their numbers do not belong in one table."
    mine, theirs = _observed(first), _observed(second)
    if mine.keys() != theirs.keys() or not all(
        np.allclose(mine[key], theirs[key], rtol=1e-9, atol=0, equal_nan=True) for key in mine
    ):
        return (
            f"{names} were judged on different observations, or on different pixels of the same "
            "ones, because a baseline of one of them has no forecast for some: "
            "their numbers do not belong in one table. Evaluate both with the same baselines."
        )
    return ""


def _observed(results: Results) -> dict:
    """What of the scores is a property of the observations, and of the pixels that are judged,
    alone.
    """
    values = results.values(results.models[0])
    found = {}
    for key, hits in values.items():
        if key.score == "hits":
            events = hits + values[key._replace(score="misses")]
            found |= {
                ("events", key): events,
                ("all", key): events
                + values[key._replace(score="false_alarms")]
                + values[key._replace(score="correct_negatives")],
            }
        if key.score in ("cross_entropy_floor", "power_observation", "fss_random"):
            found[key] = values[key]
    return found


@dataclass
class _Merged:
    """What is collected from several runs, by the new names of the models."""

    totals: dict = field(default_factory=dict)
    ensembles: dict = field(default_factory=dict)
    members: dict = field(default_factory=dict)
    shown: dict = field(default_factory=dict)


def _group(runs: list[Run]) -> Group:
    """One set of results of several runs.

    A baseline that has the same totals in two of them is one; other names are told apart by their
    run's.
    """
    if len(runs) == 1:
        results = runs[0].results
        return Group(runs, results, results.models[:1], results.baselines)
    judged = [run.name for run in runs]
    merged = _Merged({run.name: run.results.totals[run.results.models[0]] for run in runs})
    for run in runs:
        names = {run.results.models[0]: run.name}
        for model in run.results.baselines:
            names[model] = _baseline_name(model, run, merged.totals)
            merged.totals[names[model]] = run.results.totals[model]
        merged.ensembles |= {
            names[model]: totals for model, totals in run.results.ensembles.items()
        }
        merged.members |= {names[model]: count for model, count in run.results.members.items()}
        for case in run.results.shown:
            _merge_case(merged.shown, replace(case, kind=f"{case.kind} of {run.name}"), names)
    results = replace(
        runs[0].results,
        totals=merged.totals,
        ensembles=merged.ensembles,
        members=merged.members,
        shown=list(merged.shown.values()),
    )
    return Group(runs, results, judged, [model for model in results.models if model not in judged])


def _baseline_name(model: str, run: Run, totals: dict) -> str:
    """The name of a baseline among the models of several runs."""
    if model not in totals or _equal(totals[model], run.results.totals[model]):
        return model
    name = f"{run.name}: {model}"
    while name in totals:
        name += "'"
    return name


def _equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(
        np.array_equal(one[name], other[name], equal_nan=True) for name in one
    )


def _merge_case(shown: dict, case: ShownCase, names: dict[str, str]) -> None:
    """Add a case, or its forecasts to the same case of another run."""
    forecasts = {names[model]: values for model, values in case.forecasts.items() if model in names}
    same = shown.get(case.title)
    if same is None:
        shown[case.title] = replace(case, forecasts=forecasts)
    elif (
        same.observation.shape == case.observation.shape
        and same.context.shape == case.context.shape
    ):
        shown[case.title] = replace(same, forecasts=forecasts | same.forecasts)
