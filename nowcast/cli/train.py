"""nowcast train: train a model, keep the best weights, evaluate it on the test part."""

import math
import os
import shlex
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.utils import env_override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

import nowcast
from nowcast.cli import config as configuration
from nowcast.cli.application import Application, application, with_settings, without_hydra
from nowcast.cli.common import list_files, print_line, shown, write_config
from nowcast.cli.evaluate import evaluate, evaluate_run
from nowcast.cli.experiment import Evaluation, Experiment, model_name
from nowcast.cli.folders import RUN, folder_of, has_name, set_run_folder
from nowcast.cli.hydra_keys import plain_key, refuse_unread_job_name, with_logging
from nowcast.cli.hydra_state import released
from nowcast.cli.hydra_words import AUTO, CFG, Words
from nowcast.cli.places import has_own_files
from nowcast.cli.quoting import fixed, in_grammar
from nowcast.cli.request import Request, resume_command
from nowcast.drawing.curves import training_curve
from nowcast.runtime.errors import Terminated, UserError
from nowcast.runtime.processes import Processes
from nowcast.runtime.world import SCRIPT, World, started_world
from nowcast.training import checkpoints
from nowcast.training.comparison.runs import SCORES
from nowcast.training.settings import TrainingSettings

if TYPE_CHECKING:
    from nowcast.training.history import History  # brings torch, which --cfg does not wait for


def train(arguments: list[str]) -> None:
    """Train a model and evaluate it; in as many processes as devices, the first of which writes
    and speaks.
    """
    words = Words.of(arguments)
    if words.multirun or _is_multirun_by_file(words):
        from nowcast.cli.sweep import sweep

        sweep(words)
        return
    world = started_world()
    if world.starter == SCRIPT:
        # perhaps nobody else is there: what was left in the environment of a shell is refused
        # before anyone is waited for
        _asked(words).check_devices(world)
    with ExitStack() as stack:
        processes = stack.enter_context(Processes(world, say=say))
        if not processes.first:
            train_along(processes)
        elif CFG in words.options:
            shown(_asked(words).config, words.options)
        else:
            _train_first(words, processes, stack)


def _is_multirun_by_file(words: Words) -> bool:
    """Whether hydra.mode=MULTIRUN stands in a configuration file of one's own, as it often does in
    one for a search.
    """
    if not has_own_files() or words.options or words.of_old_run:
        return False
    try:
        composed = configuration.compose_typed("train", fixed([*words.settings, *words.of_hydra]))
    except UserError:  # said by what composes all of it
        return False
    return composed.hydra.mode == RunMode.MULTIRUN


def say(text: str) -> None:
    """A line on standard error, where the process that writes is stuck."""
    sys.stderr.write(f"nowcast train: {text}\n")


def _asked(words: Words) -> Request:
    """What was typed, without a folder where none was."""
    if words.of_old_run:
        return Request.of_run(words.resumed, words.settings)
    composed = configuration.compose("train", [*words.settings, *words.of_hydra])
    return Request(composed, words.settings)


def _train_first(words: Words, processes: Processes, stack: ExitStack) -> None:
    """Train as a job of Hydra, in the process that writes.

    All that can be refused is refused before Hydra writes anything into the run folder.
    """
    with application("train") as app:
        request, config = _job_of_run(app, words) if words.of_old_run else _new_job(app, words)
        if config.hydra.job.chdir:
            request = replace(request, home=os.getcwd())
        with released(), env_override(config.hydra.job.env_set):
            prepared = prepare(request, processes.world)
        set_run_folder(config, request.folder)
        with_settings(config, request.config)

        def task(_: DictConfig) -> float:
            with released():
                return finish(prepared, processes, stack)

        app.run(config, task)


def _new_job(app: Application, words: Words) -> tuple[Request, DictConfig]:
    """A training that is composed from what was typed, and the configuration of its job."""
    typed = in_grammar([*words.settings, *words.of_hydra])
    configuration.compose_typed("train", typed)  # a mistake is one line, with the nearest keys
    config = app.compose(RunMode.RUN, with_logging(typed))
    refuse_unread_job_name(config, typed)
    folder, by_time = folder_of(config, RUN)
    named = has_name(config, RUN)
    set_run_folder(config, folder)
    app.begin(config)
    composed, resumed = without_hydra(config), words.resumed
    request = Request.of(composed, words.settings, folder, by_time=by_time, resumed=resumed)
    return replace(request, has_name=named), config


def _job_of_run(app: Application, words: Words) -> tuple[Request, DictConfig]:
    """A run that goes on; .hydra in its folder stays as it was."""
    typed = in_grammar(words.of_hydra)
    configuration.compose_typed("train", typed)
    request = Request.of_run(words.resumed, words.settings)
    config = app.compose(RunMode.RUN, [*with_logging(typed), "hydra.output_subdir=null"])
    refuse_unread_job_name(config, typed)
    if any(plain_key(item) == RUN for item in typed):
        folder, _ = folder_of(config, RUN)
        if folder != request.folder:
            raise UserError(
                f"{RUN}={folder} is another folder than that of the run that goes on, "
                f"{request.folder}; leave it out."
            )
    set_run_folder(config, request.folder)
    app.begin(config)
    return request, config


def train_as_job(config: DictConfig, folder: Path, *, goes_on: bool, home: str | None) -> float:
    """Train as one job of several.

    Args:
        config: of the job, without Hydra's part.
        folder: of its run.
        goes_on: whether a run that is there goes on; one that is finished is left as it is.
        home: the folder that relative paths are of, where it is not the current one.

    Returns:
        The score that selected the weights.
    """
    request = Request.of(config, [], folder, resumed=AUTO if goes_on else None)
    request = replace(request, home=home, of_multirun=True)
    if request.is_finished:
        return _score_of_finished(request)
    world = started_world()
    with ExitStack() as stack:
        processes = stack.enter_context(Processes(world, say=say))
        if not processes.first:
            train_along(processes)
            return math.nan
        return finish(prepare(request, world), processes, stack)


def _score_of_finished(request: Request) -> float:
    """The score of a run that is finished; it is evaluated where that was not done."""
    from nowcast.training.history import history_of

    print_line(f"{request.folder} is finished")
    if not (request.folder / SCORES).is_file():
        evaluate([f"run={request.folder}"])
    try:
        return history_of(request.folder).score
    except UserError as error:  # somebody removed what is not needed any more
        print_line(f"its score is not known: {error}")
        return math.nan


@dataclass(frozen=True)
class Prepared:
    """A training that can begin: nothing of it was refused.

    Args:
        request: what was asked for.
        experiment: its parts.
        evaluation: that follows.
        count: processes that train.
    """

    request: Request
    experiment: Experiment
    evaluation: Evaluation
    count: int


def prepare(request: Request, world: World) -> Prepared:
    """Build all parts of a training, and refuse what cannot work; nothing is written but the empty
    folder of a new run.
    """
    experiment = Experiment.of(request.settings)
    count = request.check_devices(world)
    request.refuse_without_effect()
    if not request.goes_on:
        experiment.take_weights()
    experiment.check_data()
    evaluation = Evaluation.of(experiment.settings, experiment.forecaster.task)
    evaluation.check(experiment.forecaster, experiment.data)
    for name, bound in experiment.data.bounds().items():
        OmegaConf.update(request.config.data, name, bound)
    request.refuse_other_run()
    request.claim()
    experiment = replace(experiment, settings=request.settings, folder=request.folder)
    return Prepared(request, experiment, evaluation, count)


def finish(prepared: Prepared, processes: Processes, stack: ExitStack) -> float:
    """Train and evaluate, as the process that writes.

    Args:
        prepared: what to train.
        processes: that train together.
        stack: which holds them; it is closed when the training is done, so that they need not wait
            for the evaluation.

    Returns:
        The score that selected the weights.
    """
    from nowcast.benchmark.models import parameters

    request, experiment = prepared.request, prepared.experiment
    count = parameters(experiment.forecaster.model)
    print_line(
        f"nowcast {nowcast.__version__}: {count:,} parameter{'s' * (count != 1)}, "
        f"run folder {request.folder}"
    )
    if request.is_finished:
        print_line("it is trained to its end: nothing is left to train, and it is evaluated again")
    if not request.goes_on:
        write_config(request.config, request.folder)
    processes.start(prepared.count, ["train"])
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
        if not request.of_multirun:
            _say_how_to_go_on(request.folder, stop)
        raise
    stack.close()
    _keep(prepared, history)
    return history.score


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


def train_along(processes: Processes) -> None:
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
        print_line(f"{what}; go on with: {resume_command(folder)}")
    else:
        print_line(f"{what} before the first checkpoint; the same command starts anew")


def _keep(prepared: Prepared, history: "History") -> None:
    """Write a training's forecaster and curve, and evaluate it."""
    experiment = prepared.experiment
    folder = experiment.folder
    write_config(prepared.request.config, folder)
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
        prepared.evaluation,
        {model_name(experiment.settings["name"], experiment.forecaster): experiment.forecaster},
        experiment.data,
        folder / "evaluation",
        facts={"model": str(folder), "command": command},
        data_settings=experiment.settings["data"],
    )
    list_files(folder)
