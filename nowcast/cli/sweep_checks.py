"""What can be known of the jobs of a multirun before the first of them begins."""

import itertools
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict

from nowcast.cli import config as configuration
from nowcast.cli.application import Application
from nowcast.cli.experiment import Evaluation, check_seed
from nowcast.cli.folders import refuse_other_name
from nowcast.cli.hydra_keys import plain_key
from nowcast.cli.hydra_values import refuse_out_of_range
from nowcast.cli.mistakes import one_sentence
from nowcast.cli.request import refuse_in_training
from nowcast.runtime.build import build_part
from nowcast.runtime.errors import UserError
from nowcast.training.settings import TrainingSettings

OPTUNA = "hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper"
"""Target of hydra/sweeper=optuna."""

_MOST = 100  # combinations that are all checked; of more each value once
_SLURM = "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher"
_LOCAL = "hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher"


@dataclass(frozen=True)
class OneJob:
    """A job that can begin, as far as that is known.

    Args:
        overrides: each with one value, without those of Hydra's own.
        label: the values that other jobs have otherwise, e.g. "seed=1 model=unet".
        settings: its whole configuration as data.
        training: how it is trained.
    """

    overrides: list[str]
    label: str
    settings: dict
    training: TrainingSettings

    @property
    def name(self) -> str:
        """The setting of that name, which its folder may be called by."""
        return str(self.settings["name"])


@dataclass(frozen=True)
class Jobs:
    """What is known of the jobs.

    Args:
        known: all of them, or where they are many some in which each value occurs.
        are_all: whether those are all.
        keys: in which they differ.
        continuous: whether a setting may have any value of an interval.
    """

    known: list[OneJob]
    are_all: bool
    keys: tuple[str, ...]
    continuous: bool

    @property
    def trainings(self) -> list[TrainingSettings]:
        """How they are trained, each different one once."""
        found: list[TrainingSettings] = []
        for job in self.known:
            found += [] if job.training in found else [job.training]
        return found


def beforehand(app: Application, typed: list[str], params: list[str]) -> Jobs:
    """Compose and check jobs, all where they are few.

    Args:
        app: Hydra.
        typed: all overrides, in Hydra's grammar.
        params: those of hydra.sweeper.params, wherever they were written.

    Raises:
        UserError: a mistake, in the words of the job that has it.
    """
    of_hydra = [item for item in typed if plain_key(item).startswith("hydra.")]
    ours = [item for item in typed if item not in of_hydra]
    overrides = _parsed(app, [*params, *ours])
    last = {item.get_key_element(): item for item in overrides}  # the one that counts
    for item in last.values():
        _refuse_a_value_twice(item)
    _refuse_fractions(last.values())
    values = {key: _values(item) for key, item in last.items()}
    swept = [item.key_or_group for item in last.values() if item.is_sweep_override()]
    keys = tuple(dict.fromkeys(swept))
    combinations, are_all = _combinations(values)
    known, parts = [], JobParts()
    for combination in combinations:
        label = " ".join(item for item in combination if item.partition("=")[0] in keys)
        try:
            settings = _settings([*combination, *of_hydra])
            training = parts.checked(settings)
        except UserError as error:
            many = not known and len(combinations) > 1
            if many and _fails_alike([*combinations[-1], *of_hydra], parts, error):
                raise
            raise UserError(f"{label}: {error}" if label else str(error)) from error
        known.append(OneJob(combination, label, settings, training))
    _refuse_twins(known)
    continuous = any(item.is_interval_sweep() for item in last.values())
    return Jobs(known, are_all, keys, continuous)


def _refuse_fractions(overrides: Iterable[Override]) -> None:
    """Refuse an interval of seeds, which would have any value between its ends."""
    for item in overrides:
        if item.is_interval_sweep() and item.key_or_group == "seed":
            start, end = (f"{value:g}" for value in (item.value().start, item.value().end))
            if not isinstance(item.value().start, int):
                raise UserError(
                    f"{item.input_line!r} has fractions, and a seed is a whole number; type "
                    f"'seed=int(interval({start},{end}))', or 'seed=range({start},{end})'."
                )


def _fails_alike(overrides: list[str], parts: "JobParts", error: UserError) -> bool:
    """Whether another job has the same mistake, which then is in what was typed for all."""
    try:
        parts.checked(_settings(overrides))
    except UserError as other:
        return str(other) == str(error)
    return False


def _refuse_a_value_twice(item: Override) -> None:
    """Refuse seed=1,1, which would train the same twice."""
    if not item.is_sweep_override() or item.is_interval_sweep():
        return
    found = list(item.sweep_string_iterator())
    twice = [value for value in found if found.count(value) > 1]
    if twice:
        raise UserError(
            f"{item.input_line!r} has {twice[0]} more than once, which would train the same again; "
            "give each value once."
        )


def _refuse_twins(known: list[OneJob]) -> None:
    """Refuse jobs that differ in what was typed, and not in what it means."""
    for job, other in itertools.combinations(known, 2):
        if job.settings == other.settings:
            raise UserError(
                f"{job.label} and {other.label} mean the same training; leave one of them out."
            )


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
        if item.is_delete() and item.value() is None:
            return [key]
        return [f"{key}={item.get_value_element_as_str()}"]
    if item.is_interval_sweep():
        sweep: IntervalSweep = item.value()
        return [f"{key}={value}" for value in (sweep.start, sweep.end)]
    found = [f"{key}={value}" for value in item.sweep_string_iterator()]
    if not found:
        raise UserError(f"{item.input_line!r} has no value; give at least one.")
    return found


def _combinations(values: dict[str, list[str]]) -> tuple[list[list[str]], bool]:
    """Overrides of jobs, and whether they are all: of many each value occurs once."""
    count = 1
    for found in values.values():
        count *= len(found)
    if count <= _MOST:
        return [list(found) for found in itertools.product(*values.values())], True
    usual = {key: found[0] for key, found in values.items()}
    jobs = [list(usual.values())]
    for key, found in values.items():
        jobs += [list((usual | {key: value}).values()) for value in found[1:]]
    return jobs, False


def _settings(overrides: list[str]) -> dict:
    """The configuration of a job as data; what it would refuse itself is refused here."""
    config = configuration.compose_typed("train", overrides)
    with open_dict(config):
        del config["hydra"]
    settings = configuration.plain(config)
    refuse_other_name(settings["name"])
    check_seed(settings["seed"])
    ours = [item for item in overrides if not plain_key(item).startswith("hydra.")]
    refuse_in_training(config, settings, ours, "train")
    return settings


@dataclass
class JobParts:
    """The parts of jobs, each built once for all that have the same settings.

    Args:
        built: by its settings.
    """

    built: dict[str, Any] = field(default_factory=dict)

    def checked(self, settings: dict) -> TrainingSettings:
        """Build what a training is made of, as far as that takes no time and no memory.

        Returns:
            How it is trained.

        Raises:
            UserError: a part that cannot be built.
        """
        data = {"data": settings["data"]}
        if "memory_mb" in data["data"]:  # which frames are kept is of no interest here
            data["data"] = data["data"] | {"memory_mb": 0}
        self._part(data, "data")
        for name in ("loss", "transform", "model"):
            self._part(settings, name)
        key = f"evaluation: {[settings[name] for name in ('task', 'scores')]} " + str(
            settings.get("baselines")
        )
        if key not in self.built:
            self.built[key] = Evaluation.of(settings, self._part(settings, "task"))
        return self._part(settings, "training")

    def _part(self, settings: dict, name: str) -> Any:
        import torch

        key = f"{name}: {settings[name]}"
        if key not in self.built:
            with torch.device("meta"):  # weights without memory
                self.built[key] = build_part(settings, name)
        return self.built[key]


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
    refuse_out_of_range(config.hydra)
    if kind == OPTUNA:
        _check_direction(sweeper, jobs.trainings)
        _check_storage(sweeper)
    if launcher["_target_"] == _SLURM and shutil.which("sbatch") is None:
        raise UserError(
            "hydra/launcher=submitit_slurm needs Slurm, but there is no command sbatch here; type "
            "it on a machine of the cluster, or hydra/launcher=submitit_local to run all jobs here."
        )
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
