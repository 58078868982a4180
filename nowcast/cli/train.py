"""nowcast train: train a model, keep the best weights, evaluate it on the test part."""

import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

import nowcast
from nowcast.cli import config as configuration
from nowcast.cli.common import list_files, new_folder, print_line, settings_of, shown, write_config
from nowcast.cli.effects import refuse_without_effect
from nowcast.cli.evaluate import evaluate_run
from nowcast.cli.experiment import Evaluation, Experiment
from nowcast.cli.hydra_words import CFG
from nowcast.drawing.curves import training_curve
from nowcast.forecasting.saving import SETTINGS_FILE
from nowcast.runtime.build import build_part
from nowcast.runtime.errors import Terminated, UserError
from nowcast.runtime.processes import Processes
from nowcast.runtime.world import SCRIPT, World, check_devices, started_world
from nowcast.training import checkpoints
from nowcast.training.comparison.settings import first_difference
from nowcast.training.settings import TrainingSettings

if TYPE_CHECKING:
    from nowcast.training.loop import History  # brings Lightning, which --cfg does not wait for

_AUTO = "auto"  # in place of a folder: resume=auto
_RESUME = "resume="


def train(arguments: list[str]) -> None:
    """Train a model and evaluate it; in as many processes as devices, the first of which writes
    and speaks.
    """
    world = started_world()
    request = None
    if world.starter == SCRIPT:
        # perhaps nobody else is there: what was left in the environment of a shell is refused
        # before anyone is waited for
        request = Request.typed([item for item in arguments if item != CFG])
        request.check_devices(world)
    with Processes(world, say=_say) as processes:
        if not processes.first:
            _train_along(processes)
            return
        if request is None or CFG in arguments:
            request = Request.typed(arguments)
        if shown(request.config, arguments):
            return
        experiment, evaluation, history = _train_first(request, processes)
    _keep(request, experiment, evaluation, history)


def _say(text: str) -> None:
    sys.stderr.write(f"nowcast train: {text}\n")


@dataclass(frozen=True)
class Request:
    """What was asked for.

    Args:
        arguments: as typed.
        config: composed, or that of the run which goes on.
        before: the training settings that an old run had; None for a new one.
        resumed: what was typed after resume=; None: nothing.
    """

    arguments: list[str]
    config: DictConfig
    before: TrainingSettings | None = None
    resumed: str | None = None

    @classmethod
    def typed(cls, arguments: list[str]) -> "Request":
        """From what was typed.

        Raises:
            UserError: an unknown setting, a run that cannot go on, or one that was made otherwise.
        """
        typed = [item.removeprefix(_RESUME) for item in arguments if item.startswith(_RESUME)]
        if "" in typed:
            raise UserError("resume is empty; give the run folder to go on with, or auto.")
        if len(typed) > 1:
            raise UserError(f"resume was given {len(typed)} times; one run goes on at a time.")
        rest = [item for item in settings_of(arguments) if not item.startswith(_RESUME)]
        if not typed:
            return cls(arguments, configuration.compose("train", rest))
        resumed = typed[0]
        if resumed == _AUTO:
            config, before = _newest_or_new(configuration.compose("train", rest))
        else:
            config, before = _old_run(resumed, rest)
        return cls(arguments, config, before, resumed)

    @property
    def goes_on(self) -> bool:
        """Whether it is of a run that was begun before."""
        return self.before is not None

    @cached_property
    def folder(self) -> Path:
        """Of the run; a new one where none was given."""
        if self.config.output_dir is None:
            folder = new_folder(self.config.name)
            self.config.output_dir = configuration.literal(str(folder))
        return Path(configuration.plain(self.config)["output_dir"])

    @cached_property
    def settings(self) -> dict:
        """The configuration as data.

        Raises:
            UserError: a name that is no name of a folder, or a setting that was not given.
        """
        _ = self.folder
        settings = configuration.plain(self.config)
        name = str(settings["name"])
        if {"/", "\\"} & set(name) or name in ("", ".", ".."):
            raise UserError(
                f"name is {settings['name']!r}; a plain name for the folder under runs/ is needed. "
                "output_dir takes a path."
            )
        return settings

    def check_devices(self, world: World) -> int:
        """How many processes train; those that were started have to be as many."""
        from nowcast.training.processes import device_count

        plan = build_part(self.settings, "training")
        count = device_count(plan.accelerator, plan.devices)
        check_devices(world, count, plan.devices)
        return count

    def refuse_without_effect(self) -> None:
        """Refuse a typed setting that nothing would read."""
        typed = [item for item in settings_of(self.arguments) if not item.startswith(_RESUME)]
        rules = "train" if self.resumed in (None, _AUTO) else "resume"
        found = refuse_in_training(self.config, self.settings, typed, rules)
        both = "name" in found and found.get("output_dir") is not None
        if both and self.resumed is None:
            raise UserError(
                f"name={found['name']} would have no effect: it names the folder under runs/, and "
                "output_dir is given; type one of them."
            )

    def refuse_other_run(self) -> None:
        """Refuse a folder for a new run that contains one."""
        can_go_on = checkpoints.any_in(self.folder / checkpoints.FOLDER)
        if not self.goes_on and (can_go_on or (self.folder / SETTINGS_FILE).exists()):
            go_on = f", or go on with it: {_resume_command(self.folder)}" if can_go_on else ""
            raise UserError(f"{self.folder} already holds a run; choose another output_dir{go_on}")


def refuse_in_training(config: DictConfig, settings: dict, typed: list[str], rules: str) -> dict:
    """Refuse a typed setting of a training that nothing would read.

    Args:
        config: composed with what was typed.
        settings: the same as data.
        typed: KEY=VALUE.
        rules: "train", or "resume" for a run that goes on.

    Returns:
        Each setting that was typed, and its value.

    Raises:
        UserError: names the setting, with the reason.
    """
    found = configuration.typed_settings(config, typed)
    refuse_without_effect(rules, settings, found)
    for key in ("output_bias", "observed_channel"):  # of which parts of the configuration are made
        if key in found and not configuration.is_referred_to(config, key):
            raise UserError(
                f"{key}={found[key]} would have no effect: the model here does not take it; see "
                "model.* in --cfg."
            )
    return found


def _old_run(folder: str, typed: list[str]) -> tuple[DictConfig, TrainingSettings]:
    """The configuration of a run that goes on, and the training settings that it had."""
    other = [item for item in typed if not item.startswith("training.")]
    if other:
        raise UserError(
            f"{other[0]!r} would make another experiment of a run that goes on; only training.* "
            "can be changed."
        )
    config = configuration.load(folder)
    before = build_part(configuration.plain(config), "training")
    configuration.override(config, typed)
    config.output_dir = configuration.literal(str(Path(folder).absolute()))
    return config, before


def _newest_or_new(config: DictConfig) -> tuple[DictConfig, TrainingSettings | None]:
    """The configuration of the run to go on with, and the training settings that it had; the one
    that came, and None, where there is no such run.

    That is the run in output_dir, or where none is given the newest unfinished one of that name.
    The training may be given anew.

    Raises:
        UserError: that run was made with other settings.
    """
    given = config.output_dir is not None
    if given:
        folders = [Path(config.output_dir)]
    else:
        folders = sorted((Path("runs").absolute() / str(config.name)).glob("*"), reverse=True)
    for folder in folders:
        finished = (folder / SETTINGS_FILE).exists()
        if checkpoints.any_in(folder / checkpoints.FOLDER) and (given or not finished):
            break
    else:
        return config, None
    stored = configuration.load(folder)
    before = build_part(configuration.plain(stored), "training")
    own, asked = configuration.plain(stored), configuration.plain(config)
    where = first_difference(
        {key: value for key, value in own.items() if key != "training"},
        {key: value for key, value in asked.items() if key != "training"},
    )
    if where:
        raise UserError(
            f"{folder} was made with another {where} than is asked for now; give its settings, or "
            "another output_dir."
        )
    stored.training, stored.output_dir = config.training, configuration.literal(str(folder))
    return stored, before


def _resume_command(folder: Path) -> str:
    """The command that goes on with a run, as it is typed in a shell."""
    return shlex.join(["nowcast", "train", f"resume={folder}"])


def _train_first(
    request: Request, processes: Processes
) -> "tuple[Experiment, Evaluation, History]":
    """Prepare a training, and train, as the process that writes."""
    from nowcast.benchmark.models import parameters

    experiment = Experiment.of(request.settings)
    count = request.check_devices(processes.world)
    request.refuse_without_effect()
    if not request.goes_on:
        experiment.take_weights()
    experiment.check_data()
    evaluation = Evaluation.of(experiment.settings, experiment.forecaster.task)
    evaluation.check(experiment.forecaster, experiment.data)
    for name, bound in experiment.data.bounds().items():
        request.config.data[name] = bound
    experiment = replace(experiment, settings=configuration.plain(request.config))
    request.refuse_other_run()
    print_line(
        f"nowcast {nowcast.__version__}: {parameters(experiment.forecaster.model):,} parameters, "
        f"run folder {request.folder}"
    )
    if not request.goes_on:
        write_config(request.config, request.folder)
    processes.start(count, ["train", *request.arguments])
    before = None if request.before is None else asdict(request.before)
    order = {"settings": experiment.settings, "resume": request.goes_on, "before": before}
    processes.give(order)

    def begun(changes: list[str]) -> None:
        """Only now is a changed setting written down: all is accepted, and the next step is made
        with it.
        """
        if request.goes_on:
            write_config(request.config, request.folder, notes=changes)
        for sentence in changes:
            print_line(sentence)

    try:
        processes.met()
        history = _fit(experiment, processes, request.goes_on, request.before, begun)
    except (KeyboardInterrupt, Terminated) as stop:
        _say_how_to_go_on(request.folder, stop)
        raise
    return experiment, evaluation, history


def _fit(
    experiment: Experiment,
    processes: Processes,
    goes_on: bool,
    before: TrainingSettings | None,
    begun: Callable[[list[str]], None] | None = None,
) -> "History":
    """Train, in any process."""
    from nowcast.training.loop import fit

    return fit(
        experiment.forecaster,
        experiment.data,
        loss=experiment.loss,
        settings=experiment.training,
        processes=processes,
        folder=experiment.folder,
        seed=experiment.seed,
        resume=goes_on,
        before=before,
        begun=begun,
    )


def _train_along(processes: Processes) -> None:
    """Train as one of the processes that write nothing; what to train comes from the first one."""
    order = processes.receive()
    if order is None:
        return
    processes.met()
    before = None if order["before"] is None else TrainingSettings(**order["before"])
    _fit(Experiment.of(order["settings"]), processes, order["resume"], before)


def _say_how_to_go_on(folder: Path, stop: BaseException) -> None:
    """What was interrupted, and the command that goes on."""
    interrupted = isinstance(stop, KeyboardInterrupt)
    what = "interrupted" if interrupted else "the step is finished and saved"
    if checkpoints.any_in(folder / checkpoints.FOLDER):
        print_line(f"{what}; go on with: {_resume_command(folder)}")
    else:
        print_line(f"{what} before the first checkpoint; the same command starts anew")


def _keep(
    request: Request, experiment: Experiment, evaluation: Evaluation, history: "History"
) -> None:
    """Write a training's forecaster and curve, and evaluate it."""
    folder = experiment.folder
    write_config(request.config, folder)
    experiment.forecaster.save(folder)
    epochs = list(range(1, len(history.train_loss) + 1))
    training_curve(
        epochs,
        history.train_loss,
        history.validation_loss,
        folder / "training.png",
        validation_csi=history.validation_csi,
    )
    command = shlex.join(["nowcast", "evaluate", f"run={folder}"])
    evaluate_run(
        evaluation,
        experiment.forecaster,
        experiment.data,
        folder / "evaluation",
        facts={"model": str(folder), "command": command},
        data_settings=experiment.settings["data"],
    )
    list_files(folder)
