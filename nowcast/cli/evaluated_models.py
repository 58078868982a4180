"""The models of one run, or of several, that are evaluated together."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nowcast.cli import config as configuration
from nowcast.cli.common import load, typed_folders
from nowcast.cli.experiment import model_name
from nowcast.forecasting.forecaster import Forecaster
from nowcast.report.runs import distinct_names
from nowcast.runtime.errors import UserError
from nowcast.runtime.files import comes_along, run_folder

_RUN = "run="


def runs_typed(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The runs of run='[DIR1,DIR2]', and the arguments with the first of them alone; no runs, and
    the arguments as they are, where no list was typed.
    """
    typed = [item.removeprefix(_RUN) for item in arguments if item.startswith(_RUN)]
    runs = typed_folders("run", typed[-1]) if typed else []
    if len(runs) < 2:
        return [], arguments
    rest = [item for item in arguments if not item.startswith(_RUN)]
    return runs, [*rest, f"{_RUN}{runs[0]}"]


@dataclass(frozen=True)
class EvaluatedModels:
    """Models of runs that forecast the same cases.

    Args:
        runs: their folders as typed; the words "shipped" and "zero_shot": models that come
            with nowcast.
        by_name: their forecasters, in the same order, by the names that tables have.
    """

    runs: list[str]
    by_name: dict[str, Forecaster]

    @classmethod
    def load(cls, runs: Sequence[str], precision: str | None) -> "EvaluatedModels":
        """Load the models.

        Args:
            runs: folders, or words.
            precision: of the networks; None: as each run says.

        Raises:
            UserError: a folder is no run, or named twice.
        """
        folders = [run_folder(run).resolve() for run in runs]
        for run, folder in zip(runs, folders, strict=True):
            if folders.count(folder) > 1:
                raise UserError(f"run names {run} twice; name each run once.")
        forecasters = [load(run_folder(run), precision) for run in runs]
        names = [_name(runs[0], forecasters[0])] if len(runs) == 1 else distinct_names(folders)
        return cls(list(runs), dict(zip(names, forecasters, strict=True)))

    @property
    def _leading_index(self) -> int:
        """Of the run that says what is forecast: the first that was trained for it, since the
        shipped model takes any data.
        """
        trained = [number for number, run in enumerate(self.runs) if not comes_along(run)]
        return trained[0] if trained else 0

    @property
    def leading(self) -> Forecaster:
        """The model whose task, data and scores count, where nothing else is typed."""
        return list(self.by_name.values())[self._leading_index]

    @property
    def leading_folder(self) -> Path:
        """The folder of its run."""
        return run_folder(self.runs[self._leading_index])

    @property
    def own_folder(self) -> Path | None:
        """Where the evaluation goes where nothing else is typed: into the run, if it is one of
        one's own alone; None: into a new folder.
        """
        alone = len(self.runs) == 1 and not comes_along(self.runs[0])
        return run_folder(self.runs[0]) / "evaluation" if alone else None

    @property
    def context_length(self) -> int:
        """Frames that the model with the longest context needs."""
        return max(forecaster.task.context_length for forecaster in self.by_name.values())

    @property
    def folders(self) -> str:
        """Of all runs, in words."""
        return ", ".join(str(run_folder(run)) for run in self.runs)

    def follow_leading(self) -> None:
        """Let all models forecast what the leading one does.

        Raises:
            UserError: one is made for another quantity, timestep or number of frames, and cannot.
        """
        task = self.leading.task
        for run, forecaster in zip(self.runs, self.by_name.values(), strict=True):
            own = forecaster.task
            if forecaster.any_cadence and own.quantity == task.quantity:
                length, timestep = task.forecast_length, task.timestep
                forecaster.task = replace(own, forecast_length=length, timestep=timestep)
            elif replace(own, context_length=task.context_length) != task:
                raise UserError(
                    f"run={run} forecasts {_in_words(own)}, but {self.runs[self._leading_index]} "
                    f"forecasts {_in_words(task)}; models in one table must forecast the same. "
                    "Evaluate each alone."
                )


def _name(run: str, forecaster: Forecaster) -> str:
    """What the model of a run is called."""
    if comes_along(run):
        return run
    return model_name(configuration.load(run_folder(run)).get("name"), forecaster)


def _in_words(task) -> str:
    return f"{task.forecast_length} frames of {task.quantity} every {task.timestep:g} minutes"
