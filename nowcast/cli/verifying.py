"""The commands that judge: evaluate, and report, which shows what it found."""

import os
import platform
import re
import shlex
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from omegaconf import OmegaConf, open_dict
from rich.console import Console

import nowcast
from nowcast.cli import config as configuration
from nowcast.cli.common import (
    load,
    new_folder,
    plain_or_shown,
    print_line,
    settings_of,
    shown,
    track,
)
from nowcast.cli.effects import refuse_without_effect
from nowcast.forecasting.forecaster import Forecaster
from nowcast.runtime.build import part
from nowcast.runtime.errors import MissingDependency, UserError
from nowcast.runtime.files import replacing, require_writable

_LIBRARIES = ("torch", "numpy", "scipy", "pysteps", "opencv-python-headless")
_TOLD_NOW = ("kilometres_per_pixel", "timestep")
_TYPED_ANEW = (
    "data",
    "scores",
    "baselines",
    "evaluation",
)  # what evaluate changes of a run; the rest of it is what was trained


def evaluate(arguments: list[str]) -> None:
    """Score a trained model, or forecasts of any system, beside the baselines."""
    if any(item.startswith("forecasts=") for item in arguments):
        return _evaluate_forecasts(arguments)
    of_task = [item for item in arguments if item.startswith("task.")]
    arguments = [item for item in arguments if item not in of_task]
    own = [item for item in arguments if _part_of(item) not in _TYPED_ANEW]
    command = configuration.compose("evaluate", settings_of(own))
    typed, precision = (configuration.plain(command)[name] for name in ("run", "precision"))
    run = configuration.run_folder(typed)
    forecaster = load(run, precision)
    config = _evaluation_config(
        configuration.load(run), [item for item in arguments if item not in own]
    )
    if of_task and not (
        forecaster.any_cadence
        and all(item.startswith(("task.timestep=", "task.forecast_length=")) for item in of_task)
    ):
        raise UserError(
            f"{of_task[0]!r} would change what the model was made for; only task.timestep and "
            "task.forecast_length of one for any cadence (run=shipped) can be changed."
        )
    config.task = forecaster.settings[
        "task"
    ]  # what the model was made for, whatever became of config.yaml
    configuration.override(config, of_task)
    forecaster.task = part({"task": OmegaConf.to_container(config.task, resolve=True)}, "task")
    if shown(config, arguments):
        return None
    settings = configuration.plain(config)
    changed = [item for item in arguments if item not in own]
    data = part(settings, "data")
    refuse_without_effect(
        "evaluate", settings, configuration.typed_settings(config, [*changed, *of_task])
    )
    folder = Path(
        command.output_dir
        or (new_folder("evaluation") if typed == configuration.SHIPPED else run / "evaluation")
    )
    judge_run(
        settings,
        forecaster,
        data,
        folder,
        run=run,
        command=f"nowcast evaluate {shlex.join([*arguments, *of_task])}",
    )
    list_files(folder)


def _evaluate_forecasts(arguments: list[str]) -> None:
    """Score forecasts that any system wrote as NetCDF."""
    from nowcast.data.archive import Archive
    from nowcast.data.inputs import expand_inputs
    from nowcast.data.reading import opened_inputs
    from nowcast.data.unpacking import Unpacking
    from nowcast.evaluation.external import ForecastFiles

    settings = plain_or_shown("evaluate_forecasts", arguments)
    if settings is None:
        return
    name = settings["name"]
    if name in settings["baselines"]:
        raise UserError(f"name is {name!r}, as a baseline's; choose another for the forecasts.")
    _check_quantity(part(settings, "scores"), "rain_rate")
    if part(settings, "evaluation").members:
        raise UserError(
            f"evaluation.members is {settings['evaluation']['members']}, but the members of "
            "forecasts in files are those that the files hold; leave it at 0."
        )
    inputs = opened_inputs(expand_inputs(settings["forecasts"]))
    reader = Unpacking(part(settings, "reader"), inputs.refused)
    with Archive(settings["observations"]) as archive:
        source = ForecastFiles(
            inputs.paths,
            archive,
            reader,
            name=name,
            context_length=settings["context_length"],
            skip=settings["skip_unreadable"],
            tolerance=part(settings, "tolerance"),
        )
        settings["task"] = _task_settings(source.task)
        baselines, left_out = _baselines(settings, source.task)
        folder = Path(settings["output_dir"] or new_folder("evaluation"))
        facts = {
            "model": f"{source.count} forecasts of {name}",
            "data": settings["observations"],
            "command": f"nowcast evaluate {shlex.join(arguments)}",
            "left_out": source.left_out + left_out,
        }
        _judge(source, baselines, settings, folder, facts)
    list_files(folder)


def _task_settings(task) -> dict:
    return {
        "_target_": "nowcast.types.task.Task",
        "context_length": task.context_length,
        "forecast_length": task.forecast_length,
        "timestep": task.timestep,
        "quantity": task.quantity,
    }


def _part_of(item: str) -> str:
    """The part of the configuration that a typed setting is of: "baselines" of ~baselines.linda."""
    return item.partition("=")[0].lstrip("+~").split(".")[0]


def _evaluation_config(stored, overrides: list[str]):
    """A run's configuration, with other data where asked for."""
    anew = {item.partition("=")[0] for item in overrides} & set(_TYPED_ANEW)
    with open_dict(stored):
        for node in (
            stored.get("baselines") or {}
        ).values():  # of a run of an older nowcast: now they are told the scale of each case
            for key in (
                _TOLD_NOW if str(node.get("_target_")).endswith((".Steps", ".Linda")) else ()
            ):
                node.pop(key, None)
    if "evaluation" not in stored:  # a run of an older nowcast
        OmegaConf.update(
            stored,
            "evaluation",
            configuration.compose("train", []).evaluation,
            merge=False,
            force_add=True,
        )
    if not anew:
        configuration.override(stored, overrides)
        return stored
    groups = anew | (
        {"scores", "baselines"} if "data" in anew else set()
    )  # what is composed anew; settings of the rest change what is stored
    typed = [item for item in overrides if _part_of(item) in groups]
    rest = [item for item in overrides if item not in typed]
    radar = (
        []
        if "data" in anew
        or OmegaConf.select(stored, "data._target_") == "nowcast.data.moving_mnist.MovingMnist"
        else ["data=radar"]
    )
    fresh = configuration.compose("train", [*radar, *typed])
    if "data" in anew:
        told = {item.partition("=")[0].lstrip("+~") for item in typed}
        for edge in (
            "validation_from",
            "test_from",
        ):  # other data are cut where the run's were, unless told otherwise
            if edge in fresh.data and edge in stored.data and f"data.{edge}" not in told:
                fresh.data[edge] = stored.data[edge]
    for name in sorted(groups):
        OmegaConf.update(stored, name, fresh[name], merge=False, force_add=True)
    configuration.override(stored, rest)
    return stored


def judge_run(
    settings: dict, forecaster: Forecaster, data, folder: Path, *, run: str | Path, command: str
) -> None:
    """Scores of a forecaster and its baselines over the test part, as files in a folder and as
    tables on the terminal.
    """
    baselines, left_out = _baselines(settings, forecaster.task)
    source = _source(settings, forecaster, data)
    facts = {
        "model": str(run),
        "data": _data_in_words(settings["data"]),
        "part": "test",
        "command": command,
        "left_out": left_out,
    }
    _judge(source, baselines, settings, folder, facts)


def check_evaluation(settings: dict, forecaster: Forecaster, data) -> None:
    """Evaluate one case, so that whatever could not be evaluated is told before the training and
    not after it.
    """
    from dataclasses import replace

    from nowcast.evaluation.running import evaluate as run

    plan = replace(part(settings, "evaluation"), workers=0, cache=None, show=False)
    baselines, _ = _baselines(settings, forecaster.task)
    run(
        _source(settings, forecaster, data, limit=1),
        baselines,
        part(settings, "scores"),
        plan=plan,
        settings=_kept(settings),
        strict=True,
    )


def _source(settings: dict, forecaster: Forecaster, data, *, limit: int | None = None):
    from nowcast.evaluation.running import Source

    task = forecaster.task
    _check_quantity(part(settings, "scores"), task.quantity)
    members = part(settings, "evaluation").members
    return Source(
        {"nowcast": forecaster},
        data.part("test"),
        forecast_length=task.forecast_length,
        members=members,
        limit=limit,
    )


def _check_quantity(scores, quantity: str) -> None:
    """Refuse scores of something else."""
    if scores.quantity != quantity:
        raise UserError(
            f"scores judges {scores.quantity}, but the task forecasts {quantity}; leave scores "
            "to data=."
        )


def _kept(settings: dict) -> dict:
    """What is kept of the settings with the results."""
    return {name: settings[name] for name in ("task", "scores")}


def _judge(
    source, baselines: dict[str, Forecaster], settings: dict, folder: Path, facts: dict
) -> None:
    """Run an evaluation; write and print what it found."""
    from nowcast.drawing import plotting
    from nowcast.evaluation.running import evaluate as run
    from nowcast.evaluation.table import difference_table, text_tables, write_csv, write_differences

    for sentence in facts["left_out"]:
        print_line(sentence)
    plan, lead_minutes = part(settings, "evaluation"), part(settings, "task").lead_minutes
    require_writable(folder)
    results = run(
        source,
        baselines,
        part(settings, "scores"),
        plan=plan,
        settings=_kept(settings),
        progress=track("evaluating"),
    )
    results.facts.update(
        facts,
        first_case=source.title(0),
        last_case=source.title(source.count - 1),
        versions=_versions(),
        machine=f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
        f"{platform.system()}",
        baselines=settings["baselines"],
    )
    results.save(folder)
    rows = {model: results.rows(model) for model in results.models}
    judged = results.models[0]
    found = {other: results.differences(judged, other) for other in results.baselines}
    write_csv(rows, folder / "scores.csv", lead_minutes=lead_minutes)
    write_differences(found, folder / "differences.csv", lead_minutes=lead_minutes)
    plotting.score_curves(rows, folder / "scores.png", lead_minutes=lead_minutes)
    _draw_case(source, results, folder / "forecast.png")
    differences = (
        [difference_table(judged, found, lead_minutes=lead_minutes)]
        if found and results.has_intervals
        else []
    )
    sentences = _sentences(results)
    with replacing(folder / "scores.txt") as path, path.open("w", encoding="utf-8") as file:
        Console(file=file, width=140).print(
            *text_tables(rows, lead_minutes=lead_minutes, pooled=results.pooled, width=140),
            *differences,
            sep="\n",
        )
        file.writelines(f"{sentence}\n" for sentence in sentences)
    console = Console()  # at last: whoever reads it may go away
    console.print(
        *text_tables(rows, lead_minutes=lead_minutes, pooled=results.pooled, width=console.width),
        *differences,
        sep="\n",
    )
    for sentence in sentences:
        print_line(sentence)


def _sentences(results) -> list[str]:
    """What is to be said of the tables."""
    facts, level = results.facts, f"{100 * results.resampling.level:g} %"
    found = [
        f"{results.cases} test cases; every score over the pixels that were observed and that "
        "all of the models above forecast."
    ]
    if facts["no_pixels"]:
        found.append(f"{facts['no_pixels']} of them had no such pixel, and count nowhere.")
    for model, failed in facts["failures"].items():
        found.append(
            f"{model} failed in {failed['cases']} cases, and persistence stood in for it; the "
            f"first reason: {failed['reason']}"
        )
    if results.has_intervals:
        found.append(
            f"Intervals hold {level} of {results.resampling.draws} draws of {facts['block_rule']}."
        )
    return found + results.conclusion()


def _draw_case(source, results, path: Path) -> None:
    """Picture of the typical case: context, observation and every forecast."""
    from nowcast.drawing import plotting
    from nowcast.evaluation.table import lead_label

    case = next((case for case in results.shown if case.kind == "typical"), None)
    if case is None:
        path.unlink(missing_ok=True)  # of an earlier evaluation
        return
    task = results.task
    rows = {"context": case.context, "observation": case.observation} | case.forecasts
    future = [lead_label(step, task.lead_minutes) for step in range(1, task.forecast_length + 1)]
    labels = dict.fromkeys(rows, future)
    labels["context"] = [
        lead_label(step, task.lead_minutes) for step in range(1 - task.context_length, 1)
    ]
    grey = task.quantity == "grey_level"
    plotting.sequence_picture(
        rows,
        path,
        column_labels=labels,
        kind="grey" if grey else "rain",
        title=f"{'Moving MNIST' if grey else 'Rain rate'}, {case.title}",
        grid=case.grid,
    )


def _data_in_words(node: dict) -> str:
    """The data of a configuration in one line."""
    kind = str(node.get("_target_", "")).rpartition(".")[2]
    shown = {
        key: value
        for key, value in node.items()
        if key not in ("_target_", "task") and value is not None
    }
    return f"{kind}: {', '.join(f'{key}={value}' for key, value in shown.items())}"


def _versions() -> dict[str, str]:
    """Versions of what computed the numbers."""
    found = {"nowcast": nowcast.__version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _baselines(settings: dict, task) -> tuple[dict[str, Forecaster], list[str]]:
    """Baselines by name, and a sentence for each that cannot run here.

    They work on physical values.
    """
    from nowcast.types.transform import Identity

    nodes, found, left_out = settings.get("baselines") or {}, {}, []
    if not isinstance(nodes, dict) or {"_target_", "nowcast"} & set(nodes):
        raise UserError(
            f"baselines is {nodes!r}, but models with names other than nowcast are needed, as in "
            "conf/baselines/radar.yaml."
        )
    for name, node in nodes.items():
        try:
            found[name] = Forecaster(
                part(nodes, name, kind="model"), Identity(), task, settings={"model": node}
            )
        except MissingDependency as error:
            left_out.append(f"{name} is left out: {error}")
    return found, left_out


def report(arguments: list[str]) -> None:
    """Show evaluations as one HTML file."""
    typed = [item.removeprefix("run=") for item in arguments if item.startswith("run=")]
    config = configuration.compose(
        "report", [item for item in settings_of(arguments) if not item.startswith("run=")]
    )
    folders = _folders(typed[-1]) if typed else []
    if folders:
        config.run = [configuration.literal(folder) for folder in folders]
    if OmegaConf.is_missing(config, "output"):
        config.output = configuration.literal(str(Path(*folders[:1]) / "report.html"))
    if shown(config, arguments):
        return
    settings = configuration.plain(config)
    output = Path(settings["output"]).expanduser()
    if output.suffix.lower() not in (".html", ".htm"):
        raise UserError(
            f"output is {output}, but the report is an HTML file: give a name that ends in .html."
        )
    from nowcast import report as reports

    reports.write([Path(folder).expanduser() for folder in settings["run"]], output)
    print_line(
        f"{output}: {output.stat().st_size / 1e6:.1f} MB; it opens in any browser, without a "
        "network"
    )


def _folders(typed: str) -> list[str]:
    """DIR, or the folders of [DIR1,DIR2], which may stand in quotes."""
    if Path(typed).expanduser().exists() or not (typed.startswith("[") and typed.endswith("]")):
        names = [typed]
    else:
        names = [
            "".join(found).strip()
            for found in re.findall(r"""\s*(?:"([^"]*)"|'([^']*)'|([^,]+))""", typed[1:-1])
        ]
    if not names or not all(names):
        raise UserError(
            f"run is {typed!r}; give the folder of a run, or several as 'run=[DIR1,DIR2]'."
        )
    return names


def list_files(folder: Path) -> None:
    """What lies in a run or evaluation folder, and what it is for."""
    from nowcast.evaluation.results import FILE
    from nowcast.forecasting.forecaster import SETTINGS_FILE, WEIGHTS_FILE

    about = {
        "config.yaml": "the whole configuration",
        SETTINGS_FILE: f"with {WEIGHTS_FILE} all that `nowcast predict` and `nowcast evaluate` need",
        "training.png": "training and validation loss by epoch",
        "logs": "the same for TensorBoard and as CSV",
        "checkpoints": "to go on training: nowcast train resume=...",
        "scores.csv": "every score by lead time, with intervals",
        "differences.csv": "the paired differences from every baseline",
        "scores.txt": "the tables above",
        "scores.png": "curves by lead time",
        "forecast.png": "a typical case: context, observation, forecasts",
        FILE: "all sums by block of cases, from which every score and interval can be made again",
    }
    print_line(f"in {folder}")
    found = {
        path.name: path.relative_to(folder)
        for path in (*folder.glob("*"), *folder.glob("evaluation/*"))
    }
    for name, meaning in about.items():
        if name in found:
            print_line(f"  {str(found[name]):26} {meaning}")
