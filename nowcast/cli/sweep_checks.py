"""What can be known of the jobs of a multirun before the first of them begins."""

import itertools
from dataclasses import dataclass
from importlib.metadata import version

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict

from nowcast.cli import config as configuration
from nowcast.cli.application import Application
from nowcast.cli.experiment import check_seed
from nowcast.cli.folders import refuse_other_name
from nowcast.cli.hydra_keys import plain_key
from nowcast.cli.mistakes import one_sentence
from nowcast.cli.request import refuse_in_training
from nowcast.runtime.build import build_part
from nowcast.runtime.errors import UserError
from nowcast.training.settings import TrainingSettings

OPTUNA = "hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper"
"""Target of hydra/sweeper=optuna."""

_MOST = 100  # combinations that are all checked; of more each value once
_LOCAL = "hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher"


@dataclass(frozen=True)
class Jobs:
    """What is known of the jobs.

    Args:
        first: overrides of one of them.
        names: that the jobs have.
        trainings: their settings, each different one once.
        continuous: whether a setting may have any value of an interval.
    """

    first: list[str]
    names: set[str]
    trainings: list[TrainingSettings]
    continuous: bool


def beforehand(
    app: Application, typed: list[str], params: list[str]
) -> tuple[Jobs, tuple[str, ...]]:
    """Compose and check jobs, all where they are few.

    Args:
        app: Hydra.
        typed: all overrides, in Hydra's grammar.
        params: those of hydra.sweeper.params, wherever they were written.

    Returns:
        What is known of the jobs, and the keys in which they differ.

    Raises:
        UserError: a mistake, in the words of the job that has it.
    """
    of_hydra = [item for item in typed if plain_key(item).startswith("hydra.")]
    ours = [item for item in typed if item not in of_hydra]
    overrides = _parsed(app, [*params, *ours])
    last = {item.get_key_element(): item for item in overrides}  # the one that counts
    values = {key: _values(item) for key, item in last.items()}
    keys = [item.key_or_group for item in last.values() if item.is_sweep_override()]
    names, trainings = set(), []
    combinations = _combinations(values)
    for combination in combinations:
        try:
            name, training = _checked([*combination, *of_hydra])
        except UserError as error:
            label = " ".join(item for item in combination if item.partition("=")[0] in keys)
            raise UserError(f"{label}: {error}" if label else str(error)) from error
        names.add(name)
        trainings += [] if training in trainings else [training]
    continuous = any(item.is_interval_sweep() for item in last.values())
    return Jobs(combinations[0], names, trainings, continuous), tuple(dict.fromkeys(keys))


def _parsed(app: Application, items: list[str]) -> list[Override]:
    try:
        return OverridesParser.create(config_loader=app.loader).parse_overrides(items)
    except HydraException as error:
        raise UserError(one_sentence(error)) from error


def refuse_swept_hydra(app: Application, typed: list[str]) -> None:
    """Refuse several values for a setting of Hydra's own."""
    for item in _parsed(app, typed):
        if item.is_sweep_override() and item.is_hydra_override():
            raise UserError(
                f"{item.input_line!r} gives several values, but settings of Hydra's own are those "
                f"of all jobs; where a list is meant type {item.key_or_group}=[A,B]."
            )


def _values(item: Override) -> list[str]:
    """Each value of an override as an override of one; of an interval its ends."""
    key = item.get_key_element()
    if not item.is_sweep_override():
        value = "" if item.is_delete() and item.value() is None else item.get_value_element_as_str()
        return [f"{key}={value}" if value else key]
    if item.is_interval_sweep():
        sweep: IntervalSweep = item.value()
        return [f"{key}={value}" for value in (sweep.start, sweep.end)]
    found = [f"{key}={value}" for value in item.sweep_string_iterator()]
    if not found:
        raise UserError(f"{item.input_line!r} has no value; give at least one.")
    return found


def _combinations(values: dict[str, list[str]]) -> list[list[str]]:
    """Overrides of jobs: all combinations, or where they are many each value once."""
    count = 1
    for found in values.values():
        count *= len(found)
    if count <= _MOST:
        return [list(found) for found in itertools.product(*values.values())]
    usual = {key: found[0] for key, found in values.items()}
    jobs = [list(usual.values())]
    for key, found in values.items():
        jobs += [list((usual | {key: value}).values()) for value in found[1:]]
    return jobs


def _checked(overrides: list[str]) -> tuple[str, TrainingSettings]:
    """The name and the training of a job, which are refused here where they would be later."""
    config = configuration.compose_typed("train", overrides)
    with open_dict(config):
        del config["hydra"]
    settings = configuration.plain(config)
    refuse_other_name(settings["name"])
    check_seed(settings["seed"])
    ours = [item for item in overrides if not plain_key(item).startswith("hydra.")]
    refuse_in_training(config, settings, ours, "train")
    return str(settings["name"]), build_part(settings, "training")


def check_sweeper(config: DictConfig, jobs: Jobs, *, goes_on: bool, basic: str) -> None:
    """Refuse a sweeper, or a launcher, that would do something else than is meant.

    Args:
        config: of a job, with Hydra's part.
        jobs: what is known of all.
        goes_on: whether runs that are there go on.
        basic: the target of Hydra's basic sweeper.

    Raises:
        UserError: says what to type.
    """
    sweeper, launcher = config.hydra.sweeper, config.hydra.launcher
    kind = sweeper["_target_"]
    if kind == basic and jobs.continuous:
        raise UserError(
            "interval(A,B) has no single values, which the basic sweeper needs; type "
            "hydra/sweeper=optuna, too, or choice(A,B,C), or range(A,B,STEP)."
        )
    if kind != basic and goes_on:
        raise UserError(
            f"resume=auto cannot go on with jobs of {kind.rpartition('.')[2]}, which draws other "
            "values for a job each time; leave it out, and give hydra.sweep.dir a new folder. "
            "(hydra.sweeper.storage=sqlite:///FILE.db with hydra.sweeper.study_name=NAME goes on "
            "with a study of Optuna.)"
        )
    if kind == OPTUNA:
        _check_direction(sweeper, jobs.trainings)
        _check_storage(sweeper)
    if launcher["_target_"] == _LOCAL and launcher["tasks_per_node"] > 1:
        raise UserError(
            "hydra.launcher.tasks_per_node would train the same job several times here; type "
            "training.devices=N for several processes of one training."
        )


def _check_storage(sweeper: DictConfig) -> None:
    """Refuse a database that the Optuna of Hydra's sweeper cannot write to."""
    if sweeper.storage is not None and not version("sqlalchemy").startswith("1."):
        raise UserError(
            f"hydra.sweeper.storage={sweeper.storage} needs SQLAlchemy 1, and "
            f"{version('sqlalchemy')} is installed; type: pip install 'sqlalchemy<2'"
        )


def _check_direction(sweeper: DictConfig, trainings: list[TrainingSettings]) -> None:
    """Refuse a search for the worst weights."""
    directions = sweeper.direction
    if OmegaConf.is_list(directions):
        raise UserError(
            f"hydra.sweeper.direction is {list(directions)}, but a training returns one score; "
            "give one direction."
        )
    direction = getattr(directions, "name", str(directions))
    criteria = {training.criterion: training.monitor[1] for training in trainings}
    if len(set(criteria.values())) > 1:
        raise UserError(
            f"the jobs select their weights by {' and by '.join(criteria)}, which cannot be "
            "compared; give one training.select for all."
        )
    (criterion, best), *_ = criteria.items()
    wanted = "maximize" if best == "max" else "minimize"
    if direction != wanted:
        better = "higher" if best == "max" else "lower"
        raise UserError(
            f"hydra.sweeper.direction is {direction}, but a job returns {criterion}, and a "
            f"{better} one is better; type hydra.sweeper.direction={wanted}."
        )
