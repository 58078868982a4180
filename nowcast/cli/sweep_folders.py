"""The folders that the jobs of a multirun write to, known before the first of them begins."""

import os
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from nowcast.cli.application import Application
from nowcast.cli.folders import SUBDIR, SWEEP
from nowcast.cli.mistakes import one_sentence
from nowcast.cli.request import holds_run, refuse_other_settings
from nowcast.cli.sweep_checks import Jobs
from nowcast.forecasting.saving import SETTINGS_FILE
from nowcast.runtime.errors import UserError
from nowcast.training import checkpoints

_BY_NUMBER = "${hydra.job.num}"
_DEEPEST = 3  # folders below that of a multirun in which hydra.sweep.subdir may put a run


def folders_of_jobs(app: Application, of_all: DictConfig, jobs: Jobs, more: list[str]) -> list[str]:
    """The run folder of each job, in that of the multirun.

    Args:
        app: Hydra.
        of_all: Hydra's part of the configuration of the multirun.
        jobs: what is known of them.
        more: overrides of Hydra's own.

    Raises:
        UserError: two jobs would write to one folder.
    """
    pattern = OmegaConf.to_container(of_all.sweep, resolve=False)["subdir"]
    if pattern == _BY_NUMBER:
        return [str(number) for number in range(len(jobs.known))]
    seen: dict[str, str] = {}
    found = []
    for number, job in enumerate(jobs.known):
        config = app.compose(RunMode.RUN, [*job.overrides, *more])
        folder = _of_job(config, number)
        place = os.path.normpath(folder)
        if place in seen:
            raise UserError(
                f"{SUBDIR} puts two jobs, {seen[place]} and {job.label}, into one folder, "
                f"{folder!r}; let it hold what they differ in, such as "
                f"'{SUBDIR}=${{hydra.job.override_dirname}}', or leave it out."
            )
        seen[place] = job.label
        found.append(folder)
    if (jobs.continuous or not jobs.are_all) and "${" not in str(pattern):
        raise UserError(
            f"{SUBDIR} is {pattern!r} for all jobs, which need a folder each; type "
            f"'{SUBDIR}={pattern}/{_BY_NUMBER}', or leave it out."
        )
    return found


def _of_job(config: DictConfig, number: int) -> str:
    """The folder of a job, with references of Hydra's followed."""
    with read_write(config.hydra), open_dict(config.hydra):
        config.hydra.job.num, config.hydra.job.id = number, str(number)
    HydraConfig.instance().set_config(config)
    try:
        return str(OmegaConf.select(config, SUBDIR, throw_on_missing=True))
    except OmegaConfBaseException as error:
        raise UserError(f"{SUBDIR}: {one_sentence(error, config)}") from error


def refuse_other_runs(folder: Path, places: list[str], jobs: Jobs) -> None:
    """Refuse jobs that are to go on with runs that were made otherwise.

    Args:
        folder: of the multirun.
        places: of the jobs, in it.
        jobs: what is known of them; nothing is refused where that is not all.
    """
    if not jobs.are_all:
        return
    for place, job in zip(places, jobs.known, strict=True):
        if holds_run(folder / place):
            refuse_other_settings(folder / place, job.settings)


def refuse_runs_in(folder: Path) -> None:
    """Refuse a folder that has runs already: the new ones would be among them."""
    for depth in range(1, _DEEPEST + 1):
        for place in folder.glob("/".join("*" * depth)):
            if (place / SETTINGS_FILE).is_file() or checkpoints.any_in(place / checkpoints.FOLDER):
                raise UserError(
                    f"{folder} already holds runs, such as {place.relative_to(folder)}; choose "
                    f"another {SWEEP}, or go on with them: type resume=auto, too."
                )
