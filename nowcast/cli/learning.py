"""Commands that train and measure: train, compare, benchmark."""

import os
import shlex
import sys
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

import nowcast
from nowcast.cli import config as configuration
from nowcast.cli.common import (
    new_folder,
    plain_or_shown,
    print_line,
    settings_of,
    shown,
    track,
    write_config,
)
from nowcast.cli.effects import refuse_without_effect
from nowcast.cli.verifying import check_evaluation, evaluate, judge_run, list_files
from nowcast.forecasting.forecaster import SETTINGS_FILE, Forecaster
from nowcast.runtime.build import part
from nowcast.runtime.errors import Terminated, UserError, first_line
from nowcast.runtime.files import replacing
from nowcast.runtime.processes import Processes
from nowcast.runtime.world import SCRIPT, World, check_devices, started_world

AUTO = "auto"  # in place of a folder: resume=auto


def train(arguments: list[str]) -> None:
    """Train a model, keep the best weights, evaluate it on the test part; in as many processes as
    devices, the first of which writes and speaks.
    """
    world = started_world()
    if (
        world.starter == SCRIPT
        # nobody may be there: what was left in the environment of a shell is told without waiting
        # for others
    ):
        _check_devices(world, _training_config([item for item in arguments if item != "--cfg"])[0])
    with Processes(
        world, say=lambda text: sys.stderr.write(f"nowcast train: {text}\n")
    ) as processes:
        if processes.first:
            trained = _train_first(arguments, processes)
        else:
            trained = None
            _train_along(processes)
    if trained is not None:
        _keep(*trained)


def _train_along(processes: Processes) -> None:
    """Train as one of the processes that write nothing; what to train comes from the first one."""
    from nowcast.training import loop as training

    order = processes.receive()
    if order is None:
        return
    processes.met()
    settings = order["settings"]
    _seed(settings["seed"])
    data, loss, plan = (part(settings, name) for name in ("data", "loss", "training"))
    forecaster = Forecaster.from_settings(settings, precision=plan.precision)
    before = None if order["before"] is None else training.Training(**order["before"])
    how = {
        "folder": Path(settings["output_dir"]),
        "seed": settings["seed"],
        "resume": order["resume"],
        "before": before,
    }
    training.fit(forecaster, data, loss=loss, settings=plan, processes=processes, **how)


def _train_first(arguments: list[str], processes: Processes):
    """Prepare a training, and train; the configuration and its settings, the forecaster, data and
    history. None: there was nothing to train.
    """
    from nowcast.benchmark.models import parameters
    from nowcast.training import checkpoints
    from nowcast.training import loop as training

    config, before = _training_config(arguments)
    if config is None:
        return None
    resume = before is not None
    settings = configuration.plain(config)
    if {"/", "\\"} & set(str(settings["name"])) or settings["name"] in ("", ".", ".."):
        raise UserError(
            f"name is {settings['name']!r}; a plain name for the folder under runs/ is needed. "
            "output_dir takes a path."
        )
    folder = Path(settings["output_dir"])
    _seed(settings["seed"])
    data, loss, plan = (part(settings, name) for name in ("data", "loss", "training"))
    count = _check_devices(processes.world, config)
    forecaster = Forecaster.from_settings(settings, precision=plan.precision)
    _refuse_without_effect(config, settings, arguments)
    if settings.get("start_from") is not None and not resume:
        forecaster.take_weights(
            Forecaster.load(configuration.run_folder(settings["start_from"])),
            settings["start_from"],
        )
    for name in ("train", "validation", "test"):
        data.part(name)  # too little data is told before training, not after
    check_evaluation(settings, forecaster, data)
    if hasattr(data, "edges"):
        for name, edge in data.edges().items():
            config.data[name] = edge
    started = checkpoints.any_in(folder / training.CHECKPOINTS) or (folder / SETTINGS_FILE).exists()
    if not resume and started:
        go_on = (
            f", or go on with it: {_resume(folder)}"
            if checkpoints.any_in(folder / training.CHECKPOINTS)
            else ""
        )
        raise UserError(f"{folder} already holds a run; choose another output_dir{go_on}")
    print_line(
        f"nowcast {nowcast.__version__}: {parameters(forecaster.model):,} parameters, run folder "
        f"{folder}"
    )
    if not resume:
        write_config(config, folder)
    processes.start(count, ["train", *arguments])
    so_far = None if before is None else asdict(before)
    processes.give({"settings": configuration.plain(config), "resume": resume, "before": so_far})

    def begun(changes: list[str]) -> None:
        """Only now is a changed setting written down: all is accepted, and the next step is made
        with it.
        """
        if resume:
            write_config(config, folder, notes=changes)
        for sentence in changes:
            print_line(sentence)

    how = {
        "folder": folder,
        "seed": settings["seed"],
        "resume": resume,
        "before": before,
        "begun": begun,
    }
    try:
        processes.met()
        history = training.fit(
            forecaster, data, loss=loss, settings=plan, processes=processes, **how
        )
    except (KeyboardInterrupt, Terminated) as stop:
        what = (
            "interrupted"
            if isinstance(stop, KeyboardInterrupt)
            else "the step is finished and saved"
        )
        saved = checkpoints.any_in(folder / training.CHECKPOINTS)
        print_line(
            f"{what}; go on with: {_resume(folder)}"
            if saved
            else f"{what} before the first checkpoint; the same command starts anew"
        )
        raise
    return config, forecaster, data, history


def _keep(config, forecaster: Forecaster, data, history) -> None:
    """Write a training's forecaster and curve, and evaluate it."""
    from nowcast.drawing import plotting

    settings = configuration.plain(config)
    folder = Path(settings["output_dir"])
    write_config(config, folder)
    forecaster.save(folder)
    epochs = list(range(1, len(history.train_loss) + 1))
    plotting.training_curve(
        epochs,
        history.train_loss,
        history.validation_loss,
        folder / "training.png",
        validation_csi=history.validation_csi,
    )
    judge_run(
        settings,
        forecaster,
        data,
        folder / "evaluation",
        run=folder,
        command=shlex.join(["nowcast", "evaluate", f"run={folder}"]),
    )
    list_files(folder)


def _resume(folder: Path) -> str:
    """The command that goes on with a run, as it is typed in a shell."""
    return shlex.join(["nowcast", "train", f"resume={folder}"])


def compare(arguments: list[str]) -> None:
    """Train several models with several seeds, and show them side by side."""
    from nowcast.training import comparison

    known = set(configuration.compose("compare", []))
    own = [item for item in arguments if comparison.key(item).split(".")[0] in known]
    typed = [item for item in settings_of(arguments) if item not in own]
    config = configuration.compose("compare", own)
    settings = configuration.plain(config)
    overrides = comparison.plan(settings, typed)
    config.common = [configuration.literal(item) for item in (*settings["common"], *typed)]
    if shown(config, arguments):
        return
    for model, items in overrides.items():
        _refuse_in_comparison(model, items, typed)
    folder = Path(settings["output_dir"] or new_folder("comparison"))
    runs = _runs_of(overrides, settings["seeds"], folder)
    notes = comparison.differences({run.model: run.settings for run in runs[: len(overrides)]})
    comparison.refuse_others(runs, lambda path: configuration.plain(configuration.load(path)))
    write_config(config, folder, name="comparison.yaml")
    unfinished = [run for run in runs if comparison.step_to_finish(run)]
    print_line(
        f"nowcast {nowcast.__version__}: {len(runs)} trainings, {len(runs) - len(unfinished)} of "
        f"them finished, in {folder}"
    )
    count = settings["parallel"]
    try:
        failed = (
            _one_by_one(unfinished)
            if count == 1
            else comparison.in_parallel(unfinished, count=count, report=print_line)
        )
    except KeyboardInterrupt:
        again = [item for item in arguments if not item.startswith("output_dir=")]
        print_line(
            "interrupted; go on with: "
            f"{shlex.join(['nowcast', 'compare', *again, f'output_dir={folder}'])}"
        )
        raise
    lead_minutes = part(runs[0].settings, "task").lead_minutes
    results = comparison.results(runs, parameters=_parameters, lead_minutes=lead_minutes)
    if results:
        comparison.write_csv(results, folder / "comparison.csv", lead_minutes=lead_minutes)
        calls = [f"{model}: {shlex.join(items)}" for model, items in overrides.items()]
        _write_and_print(
            comparison.table(results, first=runs[0].model),
            [comparison.MEANING, *comparison.judged_apart(runs), *calls, *notes],
            folder / "comparison.txt",
        )
        print_line(
            f"in {folder}\n  comparison.txt, comparison.csv (every score by lead time), "
            "comparison.yaml, and a run folder for each model and seed"
        )
    if failed:
        raise UserError(f"{len(failed)} of {len(runs)} trainings failed: {'; '.join(failed)}")


def _refuse_in_comparison(model: str, overrides: list[str], typed: list[str]) -> None:
    """Refuse a setting of every training that one model would not read; told before the first
    training, not after some.
    """
    config = configuration.compose("train", overrides)
    try:
        _refuse_without_effect(
            config, configuration.plain(config), [item for item in overrides if item in typed]
        )
    except UserError as error:
        raise UserError(
            f"{model}: {error} Give it in models.NAME to the models that read it."
        ) from error


def benchmark(arguments: list[str]) -> None:
    """Measure what nowcast, or a part of it, costs on this machine."""
    os.environ.setdefault(
        "KINETO_LOG_LEVEL", "99"
    )  # torch's profiler reads it when it is loaded, and else writes of a GPU that it does not find
    settings = plain_or_shown("benchmark", arguments)
    if settings is None:
        return
    from nowcast.benchmark.measuring import Host, Report, write

    measured = part(settings, "what")
    path = Path(settings["output_dir"] or new_folder("benchmark")) / "benchmark.json"
    write(
        path, settings, Report([], [])
    )  # a folder that cannot be written to is told before, not after
    host = Host(
        lambda overrides: configuration.plain(configuration.compose("train", overrides)),
        configuration.choices,
        track("measuring"),
    )
    report = measured.run(host)
    for table in report.tables:
        Console().print(table)
    for sentence in (
        *(f"{name} could not be measured: {reason}" for name, reason in report.failed.items()),
        *report.sentences,
    ):
        print_line(sentence)
    write(path, settings, report)
    print_line(f"wrote {path}")


def _check_devices(world: World, config) -> int:
    """How many processes a configuration trains in; those that were started have to be as many."""
    from nowcast.training import processes as training_processes

    if config is None:
        return 1
    plan = part(configuration.plain(config), "training")
    count = training_processes.device_count(plan.accelerator, plan.devices)
    check_devices(world, count, plan.devices)
    return count


def _training_config(arguments: list[str]):
    """The configuration to train with (None: it was only to be shown), and of an old run that goes
    on the training settings it had (else None).
    """
    resumed = [item.partition("=")[2] for item in arguments if item.startswith("resume=")]
    if "" in resumed:
        raise UserError("resume is empty; give the run folder to go on with, or auto.")
    if len(resumed) > 1:
        raise UserError(f"resume was given {len(resumed)} times; one run goes on at a time.")
    rest = [item for item in settings_of(arguments) if not item.startswith("resume=")]
    if resumed and resumed[-1] == AUTO:
        config, before = _newest_or_new(configuration.compose("train", rest))
    elif resumed:
        other = [item for item in rest if not item.startswith("training.")]
        if other:
            raise UserError(
                f"{other[0]!r} would make another experiment of a run that goes on; only "
                "training.* can be changed."
            )
        config = configuration.load(resumed[-1])
        before = part(configuration.plain(config), "training")
        configuration.override(config, rest)
        config.output_dir = configuration.literal(str(Path(resumed[-1]).absolute()))
    else:
        config, before = configuration.compose("train", rest), None
    if shown(config, arguments):
        return None, None
    if config.output_dir is None:
        config.output_dir = configuration.literal(str(new_folder(config.name)))
    return config, before


def _refuse_without_effect(config, settings: dict, arguments: list[str]) -> None:
    """Refuse a typed setting of a training that nothing would read."""
    resumed = next((item for item in arguments if item.startswith("resume=")), None)
    typed = [item for item in settings_of(arguments) if not item.startswith("resume=")]
    found = configuration.typed_settings(config, typed)
    refuse_without_effect(
        "train" if resumed in (None, f"resume={AUTO}") else "resume", settings, found
    )
    for key in ("output_bias", "observed_channel"):  # of which parts of the configuration are made
        if key in found and not configuration.is_referred_to(config, key):
            raise UserError(
                f"{key}={found[key]} would have no effect: the model here does not take it; see "
                "model.* in --cfg."
            )
    if "name" in found and found.get("output_dir") is not None and not resumed:
        raise UserError(
            f"name={found['name']} would have no effect: it names the folder under runs/, and "
            "output_dir is given; type one of them."
        )


def _newest_or_new(config):
    """The configuration of the run to go on with, and its training settings; the one that came, and
    None, where there is no such run.

    That is the run in output_dir, or where none is given the newest unfinished one of that name.
    The training may be given anew.

    Raises:
        UserError: that run was made with other settings.
    """
    from nowcast.training import checkpoints, comparison
    from nowcast.training.loop import CHECKPOINTS

    given = config.output_dir is not None
    folders = (
        [Path(config.output_dir)]
        if given
        else sorted((Path("runs").absolute() / str(config.name)).glob("*"), reverse=True)
    )
    found = next(
        (
            folder
            for folder in folders
            if checkpoints.any_in(folder / CHECKPOINTS)
            and (given or not (folder / SETTINGS_FILE).exists())
        ),
        None,
    )
    if found is None:
        return config, None
    stored = configuration.load(found)
    before = part(configuration.plain(stored), "training")
    own, asked = (
        {key: value for key, value in configuration.plain(one).items() if key != "training"}
        for one in (stored, config)
    )
    where = comparison.difference(own, asked)
    if where:
        raise UserError(
            f"{found} was made with another {where} than is asked for now; give its settings, or "
            "another output_dir."
        )
    stored.training, stored.output_dir = config.training, configuration.literal(str(found))
    return stored, before


def _runs_of(overrides: dict[str, list[str]], seeds: list[int], folder: Path) -> list:
    """The trainings of a comparison; every model comes with the first seed before any comes with
    the second.
    """
    from nowcast.training.comparison import Run

    composed = {model: configuration.compose("train", items) for model, items in overrides.items()}
    runs = []
    for seed in seeds:
        for model, config in composed.items():
            config.seed = seed
            place = folder / model / f"seed-{seed}"
            runs.append(
                Run(
                    model,
                    seed,
                    place,
                    [*overrides[model], f"seed={seed}"],
                    configuration.plain(config),
                )
            )
    return runs


def _one_by_one(runs: list) -> list[str]:
    """Finish the runs of a comparison in this process; a sentence for each that failed."""
    from nowcast.training.comparison import step_to_finish

    failed = []
    for run in runs:
        command, *arguments = step_to_finish(run)
        print_line(f"{run}: nowcast {shlex.join([command, *arguments])}")
        try:
            {"train": train, "evaluate": evaluate}[command](arguments)
        # whatever a model or the machine refuses does not keep the other models from it
        except Exception as error:
            failed.append(f"{run}: {first_line(error)}")
    return failed


def _parameters(settings: dict) -> int:
    """Number of trained weights of the model of a configuration."""
    import torch

    from nowcast.benchmark.models import parameters

    with torch.device("meta"):
        return parameters(part(settings, "model"))


def _write_and_print(table, sentences: list[str], path: Path) -> None:
    """A table and what is to be said of it, on the terminal and as a file."""
    Console().print(table)
    for sentence in sentences:
        print_line(sentence)
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        Console(file=file, width=160).print(table)
        file.writelines(f"{sentence}\n" for sentence in sentences)


def _seed(seed) -> None:
    import torch

    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**63:
        raise UserError(f"seed is {seed!r}; a whole number, 0 or more and below 2^63, is needed.")
    torch.manual_seed(seed)
