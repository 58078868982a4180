"""Commands that train and measure: train, compare, benchmark."""

import os
import shlex
import sys
from pathlib import Path

from rich.console import Console

import nowcast
from nowcast import config as configuration
from nowcast.build import part
from nowcast.cli.common import new_folder, plain_or_shown, print_line, track, write_config
from nowcast.cli.verifying import check_evaluation, evaluate, judge_run, list_files
from nowcast.errors import Terminated, UserError, first_line
from nowcast.files import replacing
from nowcast.forecaster import SETTINGS_FILE, Forecaster
from nowcast.runtime.processes import Processes
from nowcast.runtime.world import SCRIPT, World, check_devices, started_world

AUTO = "auto"  # in place of a folder: resume=auto


def train(arguments: list[str]) -> None:
    """Train a model, keep the best weights, evaluate it on the test part; in as many processes as devices, the first of which writes and speaks."""
    world = started_world()
    if world.starter == SCRIPT:  # nobody may be there: what was left in the environment of a shell is told without waiting for others
        _check_devices(world, _training_config([item for item in arguments if item != "--cfg"])[0])
    with Processes(world, say=lambda text: sys.stderr.write(f"nowcast train: {text}\n")) as processes:
        if processes.first:
            trained = _train_first(arguments, processes)
        else:
            trained = None
            _train_along(processes)
    if trained is not None:
        _keep(*trained)


def _train_along(processes: Processes) -> None:
    """Train as one of the processes that write nothing; what to train comes from the first one."""
    from nowcast import training

    order = processes.receive()
    if order is None:
        return
    processes.met()
    settings = order["settings"]
    _seed(settings["seed"])
    data, loss, plan = (part(settings, name) for name in ("data", "loss", "training"))
    forecaster = Forecaster.from_settings(settings, precision=plan.precision)
    how = {"folder": Path(settings["output_dir"]), "seed": settings["seed"], "resume": order["resume"]}
    training.fit(forecaster, data, loss=loss, settings=plan, processes=processes, **how)


def _train_first(arguments: list[str], processes: Processes):
    """Prepare a training, and train; the configuration and its settings, the forecaster, data and history. None: there was nothing to train."""
    from nowcast import checkpoints, training
    from nowcast.benchmark.models import parameters

    config, resume = _training_config(arguments)
    if config is None:
        return None
    settings = configuration.plain(config)
    if {"/", "\\"} & set(str(settings["name"])) or settings["name"] in ("", ".", ".."):
        raise UserError(f"name is {settings['name']!r}; a plain name for the folder under runs/ is needed. output_dir takes a path.")
    folder = Path(settings["output_dir"])
    _seed(settings["seed"])
    data, loss, plan = (part(settings, name) for name in ("data", "loss", "training"))
    count = _check_devices(processes.world, config)
    forecaster = Forecaster.from_settings(settings, precision=plan.precision)
    if settings.get("start_from") is not None and not resume:
        forecaster.take_weights(Forecaster.load(configuration.run_folder(settings["start_from"])), settings["start_from"])
    for name in ("train", "validation", "test"):
        data.part(name)  # too little data is told before training, not after
    check_evaluation(settings, forecaster, data)
    if hasattr(data, "edges"):
        for name, edge in data.edges().items():
            config.data[name] = edge
    started = checkpoints.any_in(folder / training.CHECKPOINTS) or (folder / SETTINGS_FILE).exists()
    if not resume and started:
        raise UserError(f"{folder} already holds a run; choose another output_dir, or go on with it: resume={folder}")
    print_line(f"nowcast {nowcast.__version__}: {parameters(forecaster.model):,} parameters, run folder {folder}")
    if not resume:
        write_config(config, folder)
    processes.start(count, ["train", *arguments])
    processes.give({"settings": configuration.plain(config), "resume": resume})
    try:
        processes.met()
        history = training.fit(forecaster, data, loss=loss, settings=plan, folder=folder, seed=settings["seed"], resume=resume, processes=processes)
    except KeyboardInterrupt:
        print_line(f"interrupted; go on with: nowcast train resume={folder}")
        raise
    except Terminated:
        if checkpoints.any_in(folder / training.CHECKPOINTS):
            print_line(f"the step is finished and saved; go on with: nowcast train resume={folder}")
        raise
    return config, forecaster, data, history


def _keep(config, forecaster: Forecaster, data, history) -> None:
    """Write a training's forecaster and curve, and evaluate it."""
    from nowcast import plotting

    settings = configuration.plain(config)
    folder = Path(settings["output_dir"])
    write_config(config, folder)
    forecaster.save(folder)
    epochs = list(range(1, len(history.train_loss) + 1))
    plotting.training_curve(epochs, history.train_loss, history.validation_loss, folder / "training.png", validation_csi=history.validation_csi)
    judge_run(settings, forecaster, data, folder / "evaluation", run=folder, command=f"nowcast evaluate run={folder}")
    list_files(folder)


def compare(arguments: list[str]) -> None:
    """Train several models with several seeds, and show them side by side."""
    from nowcast import comparison

    known = set(configuration.compose("compare", []))
    own = [item for item in arguments if comparison.key(item).split(".")[0] in known]
    typed = [item for item in arguments if item not in own and item != "--cfg"]
    config = configuration.compose("compare", own)
    settings = configuration.plain(config)
    overrides = comparison.plan(settings, typed)
    config.common = [configuration.literal(item) for item in (*settings["common"], *typed)]
    if "--cfg" in arguments:
        sys.stdout.write(configuration.text(config))
        return
    folder = Path(settings["output_dir"] or new_folder("comparison"))
    runs = _runs_of(overrides, settings["seeds"], folder)
    notes = comparison.differences({run.model: run.settings for run in runs[: len(overrides)]})
    comparison.refuse_others(runs, lambda path: configuration.plain(configuration.load(path)))
    write_config(config, folder, name="comparison.yaml")
    unfinished = [run for run in runs if comparison.step_to_finish(run)]
    print_line(f"nowcast {nowcast.__version__}: {len(runs)} trainings, {len(runs) - len(unfinished)} of them finished, in {folder}")
    count = settings["parallel"]
    try:
        failed = _one_by_one(unfinished) if count == 1 else comparison.in_parallel(unfinished, count=count, report=print_line)
    except KeyboardInterrupt:
        again = [item for item in arguments if not item.startswith("output_dir=")]
        print_line(f"interrupted; go on with: {shlex.join(['nowcast', 'compare', *again, f'output_dir={folder}'])}")
        raise
    lead_minutes = part(runs[0].settings, "task").lead_minutes
    results = comparison.results(runs, parameters=_parameters, lead_minutes=lead_minutes)
    if results:
        comparison.write_csv(results, folder / "comparison.csv", lead_minutes=lead_minutes)
        calls = [f"{model}: {shlex.join(items)}" for model, items in overrides.items()]
        _write_and_print(comparison.table(results, first=runs[0].model), [comparison.MEANING, *comparison.judged_apart(runs), *calls, *notes], folder / "comparison.txt")
        print_line(f"in {folder}\n  comparison.txt, comparison.csv (every score by lead time), comparison.yaml, and a run folder for each model and seed")
    if failed:
        raise UserError(f"{len(failed)} of {len(runs)} trainings failed: {'; '.join(failed)}")


def benchmark(arguments: list[str]) -> None:
    """Measure what nowcast, or a part of it, costs on this machine."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # torch's profiler reads it when it is loaded, and else writes of a GPU that it does not find
    settings = plain_or_shown("benchmark", arguments)
    if settings is None:
        return
    from nowcast.benchmark.measuring import Host, Report, write

    measured = part(settings, "what")
    path = Path(settings["output_dir"] or new_folder("benchmark")) / "benchmark.json"
    write(path, settings, Report([], []))  # a folder that cannot be written to is told before, not after
    host = Host(lambda overrides: configuration.plain(configuration.compose("train", overrides)), configuration.choices, track("measuring"))
    report = measured.run(host)
    for table in report.tables:
        Console().print(table)
    for sentence in (*(f"{name} could not be measured: {reason}" for name, reason in report.failed.items()), *report.sentences):
        print_line(sentence)
    write(path, settings, report)
    print_line(f"wrote {path}")
    if report.draw is not None:
        report.draw(path.with_suffix(".png"))
        print_line(f"wrote {path.with_suffix('.png')}")


def _check_devices(world: World, config) -> int:
    """How many processes a configuration trains in; those that were started have to be as many."""
    from nowcast import training_processes

    if config is None:
        return 1
    plan = part(configuration.plain(config), "training")
    count = training_processes.device_count(plan.accelerator, plan.devices)
    check_devices(world, count, plan.devices)
    return count


def _training_config(arguments: list[str]):
    """The configuration to train with (None: it was only to be shown), and whether an old run goes on."""
    resumed = [item.partition("=")[2] for item in arguments if item.startswith("resume=")]
    if "" in resumed:
        raise UserError("resume is empty; give the run folder to go on with, or auto.")
    rest = [item for item in arguments if not item.startswith("resume=") and item != "--cfg"]
    if resumed and resumed[-1] == AUTO:
        config, going_on = _newest_or_new(configuration.compose("train", rest))
    elif resumed:
        going_on = True
        other = [item for item in rest if not item.startswith("training.")]
        if other:
            raise UserError(f"{other[0]!r} would make another experiment of a run that goes on; only training.* can be changed.")
        config = configuration.load(resumed[-1])
        configuration.override(config, rest)
        config.output_dir = configuration.literal(str(Path(resumed[-1]).absolute()))
    else:
        config, going_on = configuration.compose("train", rest), False
    if "--cfg" in arguments:
        sys.stdout.write(configuration.text(config))
        return None, False
    if config.output_dir is None:
        config.output_dir = configuration.literal(str(new_folder(config.name)))
    return config, going_on


def _newest_or_new(config):
    """The configuration of the run to go on with, and True; the one that came, and False, where there is no such run.

    That is the run in output_dir, or where none is given the newest unfinished one of that name. The training may be given anew.

    Raises:
        UserError: that run was made with other settings.
    """
    from nowcast import checkpoints, comparison
    from nowcast.training import CHECKPOINTS

    given = config.output_dir is not None
    folders = [Path(config.output_dir)] if given else sorted((Path("runs").absolute() / str(config.name)).glob("*"), reverse=True)
    found = next((folder for folder in folders if checkpoints.any_in(folder / CHECKPOINTS) and (given or not (folder / SETTINGS_FILE).exists())), None)
    if found is None:
        return config, False
    stored = configuration.load(found)
    own, asked = ({key: value for key, value in configuration.plain(one).items() if key != "training"} for one in (stored, config))
    where = comparison.difference(own, asked)
    if where:
        raise UserError(f"{found} was made with another {where} than is asked for now; give its settings, or another output_dir.")
    stored.training, stored.output_dir = config.training, configuration.literal(str(found))
    return stored, True


def _runs_of(overrides: dict[str, list[str]], seeds: list[int], folder: Path) -> list:
    """The trainings of a comparison; every model comes with the first seed before any comes with the second."""
    from nowcast.comparison import Run

    composed = {model: configuration.compose("train", items) for model, items in overrides.items()}
    runs = []
    for seed in seeds:
        for model, config in composed.items():
            config.seed = seed
            place = folder / model / f"seed-{seed}"
            runs.append(Run(model, seed, place, [*overrides[model], f"seed={seed}"], configuration.plain(config)))
    return runs


def _one_by_one(runs: list) -> list[str]:
    """Finish the runs of a comparison in this process; a sentence for each that failed."""
    from nowcast.comparison import step_to_finish

    failed = []
    for run in runs:
        command, *arguments = step_to_finish(run)
        print_line(f"{run}: nowcast {shlex.join([command, *arguments])}")
        try:
            {"train": train, "evaluate": evaluate}[command](arguments)
        except Exception as error:  # whatever a model or the machine refuses does not keep the other models from it
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
