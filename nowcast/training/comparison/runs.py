"""The trainings of a comparison: each is an ordinary run folder."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from nowcast.forecasting.saving import SETTINGS_FILE
from nowcast.runtime.build import resolve
from nowcast.runtime.errors import UserError
from nowcast.training import checkpoints
from nowcast.training.comparison.settings import first_difference

SCORES = Path("evaluation") / "scores.csv"
"""In a run folder: the table of its scores."""


class Run(NamedTuple):
    """One training, done or to be done.

    Args:
        model: its name in the comparison.
        seed: of its weights and samples.
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

    @property
    def scores(self) -> Path:
        """The table of its scores."""
        return self.folder / SCORES

    @property
    def is_partial(self) -> bool:
        """Whether its model has no forecast for some pixels.

        It and the baselines beside it are then judged on other pixels than the rest.
        """
        return resolve(self.settings["model"]["_target_"], "model").capabilities.partial

    @property
    def is_finished(self) -> bool:
        """Whether it is trained and evaluated."""
        return (self.folder / SETTINGS_FILE).is_file() and self.scores.is_file()


def refuse_other_settings(runs: list[Run], stored: Callable[[Path], dict]) -> None:
    """Refuse run folders that were made with other settings than are asked for now.

    Args:
        runs: what is asked for.
        stored: reads the configuration in a run folder.

    Raises:
        UserError: names the first such folder and setting.
    """
    for run in runs:
        has_weights = checkpoints.any_in(run.folder / checkpoints.FOLDER)
        if not has_weights and not (run.folder / SETTINGS_FILE).is_file():
            continue  # it is made anew
        if (run.folder / "config.yaml").is_file():
            where = first_difference(stored(run.folder), run.settings)
            if where:
                raise UserError(
                    f"{run.folder} was made with another {where} than is asked for now; choose "
                    "another output_dir."
                )
