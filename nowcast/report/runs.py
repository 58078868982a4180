"""Evaluations to report on, and what lies next to them in the folders of runs."""

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nowcast.evaluation.results import Results, ShownCase
from nowcast.runtime.errors import UserError, first_line

_LARGEST_TEXT = 2**20  # bytes of a configuration that are read
_MOST_EPOCHS = 100_000
# columns of Lightning's metrics.csv, in the order of ``TrainingHistory``
_COLUMNS = ("train_loss_epoch", "validation_loss", "validation_csi")


@dataclass(frozen=True)
class TrainingHistory:
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
    """An evaluation and what lies next to it.

    Args:
        name: by which it is distinguished from others.
        results: what was found.
        folder: where it was read from, as typed; empty: nowhere.
        config: its configuration as text, where there is one.
        training: its training, where there is one.
    """

    name: str
    results: Results
    folder: str = ""
    config: str = ""
    training: TrainingHistory | None = None


def load(folders: Sequence[Path]) -> list[Run]:
    """Read runs from their folders.

    Raises:
        UserError: no folder, the same one twice, or one without an evaluation that can be read.
    """
    if not folders:
        raise UserError(
            "there is no run to report on; give the folder of one, or several as run=[DIR1,DIR2]."
        )
    run_folders = [_run_folder(Path(folder)) for folder in folders]
    # the same folder by two spellings is the same run
    whole = [folder.resolve() for folder in run_folders]
    for folder in run_folders:
        if whole.count(folder.resolve()) > 1:
            raise UserError(f"{folder} is named twice; name each run once.")
    runs = []
    for given, folder, name in zip(folders, run_folders, distinct_names(whole)):
        config = _text(folder / "config.yaml")
        runs.append(Run(name, Results.load(given), str(given), config, _history(folder)))
    return runs


def _run_folder(folder: Path) -> Path:
    """The folder of a run, also where its evaluation was named."""
    run = folder.parent
    is_evaluation = folder.resolve().name == "evaluation" and (run / "config.yaml").is_file()
    return run if is_evaluation else folder


def distinct_names(folders: Sequence[Path]) -> list[str]:
    """The last parts of paths, as many as distinguish them."""
    # "run" is enough for most; "first/run" and "second/run" where two are called alike
    for count in range(1, max(len(folder.parts) for folder in folders) + 1):
        names = ["/".join(folder.parts[-count:]) for folder in folders]
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
            lacks = "it has no model or no case"
        elif not all(_is_whole(case, results) for case in results.shown):
            lacks = "a case to look at lacks frames"
    except (
        UserError,
        ArithmeticError,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
    ) as error:
        lacks = first_line(error)  # whatever arrays of anybody's file may lead to
    if lacks:
        raise UserError(f"the evaluation {name} cannot be shown ({lacks}); evaluate again.")


def _is_whole(case: ShownCase, results: Results) -> bool:
    """Whether the fields of a case are of one size, and as many as the task says."""
    shape = case.observation.shape
    return (
        len(shape) == 3
        and all(shape)
        and shape[0] == results.task.forecast_length
        and all(forecast.shape == shape for forecast in case.forecasts.values())
        and case.context.ndim == 3
        and case.context.shape[1:] == shape[1:]
        and (case.grid is None or case.grid.shape == shape[1:])
    )


def _text(path: Path) -> str:
    """A text file; empty where there is none."""
    try:
        with path.open("rb") as file:
            # whatever lies there under this name: the report must come about
            return file.read(_LARGEST_TEXT).decode("utf-8", errors="replace")
    except OSError:
        return ""


def _history(folder: Path) -> TrainingHistory | None:
    """The losses that Lightning wrote, of all parts of a training that was resumed; None where
    there are none.
    """
    by_epoch: dict[int, list[float]] = {}
    # version_10 comes after version_9
    parts = sorted(folder.glob("logs/version_*"), key=lambda part: (len(part.name), part.name))
    for part in parts:
        for epoch, *numbers in _epoch_rows(part / "metrics.csv"):
            if not 0 <= epoch < _MOST_EPOCHS:  # also NaN, of a damaged line
                continue
            # each line has the numbers of one logger; a resumed epoch counts as it was last
            found = by_epoch.setdefault(int(epoch), [math.nan] * len(_COLUMNS))
            for k, number in enumerate(numbers):
                if math.isfinite(number):
                    found[k] = number
    epochs = [epoch for epoch in sorted(by_epoch) if not np.isnan(by_epoch[epoch]).all()]
    if not epochs:
        return None
    return TrainingHistory(np.array(epochs) + 1, *np.array([by_epoch[epoch] for epoch in epochs]).T)


def _epoch_rows(path: Path) -> Iterator[list[float]]:
    """Epoch and numbers of every line of a table, as far as it can be read."""
    try:
        with path.open(newline="", encoding="utf-8", errors="replace") as file:
            for row in csv.DictReader(file):
                yield [_number(row.get(name)) for name in ("epoch", *_COLUMNS)]
    except (OSError, csv.Error):
        return


def _number(text: str | None) -> float:
    try:
        return float(text)
    except (TypeError, ValueError):
        return math.nan
