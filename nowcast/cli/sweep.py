"""nowcast train --multirun: several trainings by Hydra's sweepers and launchers."""

import logging
import re
import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nowcast.cli import places
from nowcast.cli.application import Application, Launches, application
from nowcast.cli.common import claimed_by_time, print_line
from nowcast.cli.folders import SWEEP, folder_of
from nowcast.cli.hydra_keys import plain_key, refuse_unread_job_name, with_logging
from nowcast.cli.hydra_values import refuse_odd_hydra
from nowcast.cli.hydra_words import AUTO, Words
from nowcast.cli.job import Job
from nowcast.cli.launching import launched_elsewhere
from nowcast.cli.mistakes import explained, one_sentence
from nowcast.cli.quoting import in_grammar, literal, quoted
from nowcast.cli.sweep_checks import OPTUNA, beforehand, check_sweeper, refuse_swept_hydra
from nowcast.cli.sweep_folders import folders_of_jobs, refuse_other_runs, refuse_runs_in
from nowcast.cli.sweep_summary import failures, show
from nowcast.runtime.errors import Terminated, UserError
from nowcast.runtime.world import refuse_many

_ADVICE = "each of its trainings can share its work by training.devices=N."
_BASIC = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"


@dataclass(frozen=True)
class _Plan:
    """A multirun that can begin.

    Args:
        config: of all its jobs, as sweepers and launchers read it.
        folder: of all its runs.
        keys: the settings in which the jobs differ.
    """

    config: DictConfig
    folder: Path
    keys: tuple[str, ...]


def sweep(words: Words) -> None:
    """Train once for each combination of the values that were typed, or as often as a sweeper of
    Hydra's says.

    Raises:
        UserError: a mistake, before anything is written; or jobs that failed, after all others.
    """
    refuse_many("train --multirun", _ADVICE)
    if words.of_old_run:
        raise UserError(
            f"resume={words.resumed} goes on with one run; with --multirun type resume=auto, and "
            f"{SWEEP}=DIR for the folder whose runs go on."
        )
    with application("train") as app:
        plan = _planned(app, words)
        job = Job(goes_on=words.resumed == AUTO, keys=plan.keys)
        launches = Launches(lambda *launch: launched_elsewhere(job, *launch))
        try:
            with _quiet_sweepers(plan.config):
                app.sweep(plan.config, job, launches)
        except (KeyboardInterrupt, Terminated) as stop:
            _say_how_to_go_on(words, plan, stop)
            raise
        except Exception as error:
            if not launches.failed:
                raise _of_hydra(error, plan.folder) from error
            show(launches.done, plan.folder, job)
            raise UserError(failures(launches.done, plan.folder, job)) from error
        show(launches.done, plan.folder, job)
        if launches.failed:  # as many as the sweeper allows
            print_line(failures(launches.done, plan.folder, job))


def _planned(app: Application, words: Words) -> _Plan:
    """Check all that can be known before the first job."""
    settings = [item for item in words.settings if not item.startswith("output_dir=")]
    folder_typed = [item for item in words.settings if item.startswith("output_dir=")]
    goes_on = words.resumed == AUTO
    typed = in_grammar([*settings, *words.of_hydra], sweeps=True)
    refuse_swept_hydra(app, typed)
    composed = _composed(app, with_logging(typed))
    refuse_unread_job_name(composed, [*typed, *folder_typed])
    of_all = composed.hydra
    params = OmegaConf.select(of_all.sweeper, "params") or {}
    jobs = beforehand(app, typed, [f"{key}={value}" for key, value in params.items()])
    of_hydra = [item for item in typed if plain_key(item).startswith("hydra.")]
    more = [*in_grammar(folder_typed), *of_hydra]
    first = app.compose(RunMode.RUN, [*jobs.known[0].overrides, *more])
    if len({job.name for job in jobs.known}) > 1:
        first.name = "train"
    folder, by_time = folder_of(first, SWEEP)
    check_sweeper(first, jobs, goes_on=goes_on, basic=_BASIC)
    places_of_jobs = folders_of_jobs(app, of_all, jobs, more)
    begun = _newest_like(of_all, folder.parent) if by_time and goes_on else None
    if goes_on and (begun or not by_time):
        refuse_other_runs(begun or folder, places_of_jobs, jobs)
    if not goes_on:
        refuse_runs_in(folder)
    if by_time:
        folder = begun or claimed_by_time(folder.parent)
    kept = [item for item in with_logging(typed) if plain_key(item) != SWEEP]
    kept.append(f"{SWEEP}={quoted(literal(str(folder)))}")
    return _Plan(_composed(app, kept), folder, jobs.keys)


def _composed(app: Application, typed: list[str]) -> DictConfig:
    """The configuration of all jobs.

    Hydra composes it without the choices that are swept over, which may bring along a setting that
    was typed: such a one is added.
    """
    typed = list(typed)
    while True:
        try:
            config = app.compose(RunMode.MULTIRUN, typed)
            refuse_odd_hydra(config.hydra)
            return config
        except UserError:
            raise
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            # ValueError: a group set to null
            found = re.match(r"Could not override '([^']*)'", str(error))
            key = found[1] if found and not found[1].startswith("hydra") else None
            added = [item for item in typed if key and item.startswith(f"{key}=")]
            if not added:
                raise UserError(explained("train", typed, error)) from error
            typed = [f"++{item}" if item in added else item for item in typed]


@contextmanager
def _quiet_sweepers(config: DictConfig) -> Iterator[None]:
    """A block in which sweepers do not say what is said here in one line; unless Hydra's lines are
    wanted, too.
    """
    if config.hydra.hydra_logging.root is not None:
        yield
        return
    silent = logging.NullHandler()  # without a handler, warnings go to standard error
    for name in ("hydra", "hydra_plugins"):
        logging.getLogger(name).addHandler(silent)
    with ExitStack() as stack:
        if config.hydra.sweeper["_target_"] == OPTUNA:
            from optuna import logging as of_optuna

            stack.callback(of_optuna.set_verbosity, of_optuna.get_verbosity())
            of_optuna.set_verbosity(of_optuna.WARNING)
        try:
            yield
        finally:
            for name in ("hydra", "hydra_plugins"):
                logging.getLogger(name).removeHandler(silent)


def _newest_like(of_hydra: DictConfig, parent: Path) -> Path | None:
    """The newest folder of a multirun with the same words; None where there is none."""
    for path in sorted(parent.glob("*/multirun.yaml"), reverse=True):
        try:
            stored = OmegaConf.select(OmegaConf.load(path), "hydra.overrides.task")
        except (OSError, ValueError, yaml.YAMLError, OmegaConfBaseException):
            continue  # half-written, or of somebody else
        if stored == of_hydra.overrides.task:
            return path.parent
    return None


def _of_hydra(error: Exception, folder: Path) -> Exception:
    """An error that no job made, as a user sees it."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, (HydraException, OmegaConfBaseException)):
        return UserError(one_sentence(error))
    kind = type(error).__name__
    sentence = f"the multirun in {folder} ended: {one_sentence(error)} ({kind})"
    return UserError(sentence)


def _say_how_to_go_on(words: Words, plan: _Plan, stop: BaseException) -> None:
    """What was interrupted, and the command that goes on."""
    what = "interrupted" if isinstance(stop, KeyboardInterrupt) else "terminated"
    if plan.config.hydra.launcher["_target_"].endswith(".SlurmLauncher"):
        print_line(
            f"{what}; jobs that are queued stay so (squeue shows, scancel ends them). What "
            f"they made: {shlex.join(['nowcast', 'compare', f'runs={plan.folder}'])}"
        )
        return
    if plan.config.hydra.sweeper["_target_"] != _BASIC:
        print_line(f"{what}; the runs so far are in {plan.folder}")
        return
    settings = [item for item in words.settings if not item.startswith("output_dir=")]
    of_hydra = [item for item in words.of_hydra if plain_key(item) != SWEEP]
    typed = [*places.options(), *settings, *of_hydra, f"{SWEEP}={plan.folder}", "resume=auto"]
    print_line(f"{what}; go on with: {shlex.join(['nowcast', 'train', '--multirun', *typed])}")
