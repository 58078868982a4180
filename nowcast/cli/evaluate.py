"""nowcast evaluate: scores of a trained model, or of forecasts of any system, beside baselines."""

import os
import platform
import shlex
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from omegaconf import DictConfig, OmegaConf, open_dict
from rich.console import Console

import nowcast
from nowcast.cli import config as configuration
from nowcast.cli.common import (
    list_files,
    new_folder,
    plain_or_shown,
    print_line,
    settings_of,
    shown,
    track,
)
from nowcast.cli.effects import refuse_without_effect
from nowcast.cli.evaluated_models import EvaluatedModels, runs_typed
from nowcast.cli.experiment import RAIN, Evaluation, refuse_other_quantity
from nowcast.data.base import DataSet
from nowcast.evaluation.results import Results
from nowcast.evaluation.source import ForecastSource
from nowcast.forecasting.forecaster import Forecaster
from nowcast.runtime.build import as_settings, build_part
from nowcast.runtime.errors import UserError
from nowcast.runtime.files import replacing, require_writable

_LIBRARIES = ("torch", "numpy", "scipy", "pysteps", "opencv-python-headless")
_FILE_WIDTH = 140  # columns of the tables in scores.txt
_CHANGEABLE = ("data", "scores", "baselines", "evaluation")  # of a run; the rest was trained
_CHANGEABLE_OF_TASK = ("task.timestep=", "task.forecast_length=")
_SPLIT_BOUNDS = ("validation_from", "test_from")
_OLD_SCALE_SETTINGS = ("kilometres_per_pixel", "timestep")  # of STEPS and LINDA in older runs


def evaluate(arguments: list[str]) -> None:
    """Score a trained model, or forecasts of any system, beside the baselines."""
    if any(item.startswith("forecasts=") for item in arguments):
        _evaluate_forecasts(arguments)
    else:
        _evaluate_run(arguments)


def _evaluate_run(arguments: list[str]) -> None:
    """Score the model of a run."""
    of_task = [item for item in arguments if item.startswith("task.")]
    changed, own = [], []
    for item in arguments:
        if item in of_task:
            continue
        (changed if _group_of(item) in _CHANGEABLE else own).append(item)
    runs, own = runs_typed(own)
    command = configuration.plain(configuration.compose("evaluate", settings_of(own)))
    models = EvaluatedModels.load(runs or [command["run"]], command["precision"])
    config = _evaluation_config(configuration.load(models.leading_folder), changed)
    # what the model was made for, whatever became of config.yaml
    config.task = models.leading.settings["task"]
    if of_task:
        _change_task(models.leading, config, of_task)
    models.follow_leading()
    config.task.context_length = models.context_length
    if shown(config, arguments):
        return
    settings = configuration.plain(config)
    data = build_part(settings, "data")
    typed = configuration.typed_settings(config, [*changed, *of_task])
    refuse_without_effect("evaluate", settings, typed)
    folder = command["output_dir"]
    if folder is None:
        folder = models.own_folder or new_folder("evaluation")
    typed_words = shlex.join([*(item for item in arguments if item not in of_task), *of_task])
    evaluate_run(
        Evaluation.of(settings, build_part(settings, "task")),
        models.by_name,
        data,
        Path(folder),
        facts={"model": models.folders, "command": f"nowcast evaluate {typed_words}"},
        data_settings=settings["data"],
    )
    list_files(Path(folder))


def _change_task(forecaster: Forecaster, config: DictConfig, typed: list[str]) -> None:
    """Another cadence or length for a model that is made for any.

    Raises:
        UserError: it is not, or something else was typed.
    """
    allowed = all(item.startswith(_CHANGEABLE_OF_TASK) for item in typed)
    if not (forecaster.any_cadence and allowed):
        raise UserError(
            f"{typed[0]!r} would change what the model was made for; only task.timestep and "
            "task.forecast_length of one for any cadence (run=shipped) can be changed."
        )
    configuration.override(config, typed)
    task = OmegaConf.to_container(config.task, resolve=True)
    forecaster.task = build_part({"task": task}, "task")


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
    refuse_other_quantity(build_part(settings, "scores"), RAIN)
    members = build_part(settings, "evaluation").members
    if members:
        raise UserError(
            f"evaluation.members is {members}, but the members of forecasts in files are those "
            "that the files hold; leave it at 0."
        )
    inputs = opened_inputs(expand_inputs(settings["forecasts"]))
    with Archive(settings["observations"]) as archive:
        source = ForecastFiles(
            inputs.paths,
            archive,
            Unpacking(build_part(settings, "reader"), inputs.refused),
            name=name,
            context_length=settings["context_length"],
            skip=settings["skip_unreadable"],
            tolerance=build_part(settings, "tolerance"),
        )
        settings["task"] = as_settings(source.task)
        evaluation = Evaluation.of(settings, source.task)
        folder = Path(settings["output_dir"] or new_folder("evaluation"))
        facts = {
            "model": f"{source.count} forecasts of {name}",
            "data": settings["observations"],
            "command": f"nowcast evaluate {shlex.join(arguments)}",
            "left_out": source.left_out + evaluation.baselines.left_out,
        }
        _write_evaluation(evaluation, source, folder, facts)
    list_files(folder)


def _group_of(item: str) -> str:
    """The group that a typed setting is of: "baselines" of ~baselines.linda."""
    return item.partition("=")[0].lstrip("+~").split(".")[0]


def _evaluation_config(stored: DictConfig, overrides: list[str]) -> DictConfig:
    """A run's configuration, with other data where asked for."""
    _bring_up_to_date(stored)
    chosen = {item.partition("=")[0] for item in overrides} & set(_CHANGEABLE)
    if not chosen:
        configuration.override(stored, overrides)
        return stored
    # what is composed anew; settings of the rest change what is stored
    groups = chosen | ({"scores", "baselines"} if "data" in chosen else set())
    typed = [item for item in overrides if _group_of(item) in groups]
    fresh = configuration.compose("train", [*_kind_of_data(stored, chosen), *typed])
    if "data" in chosen:
        given = {item.partition("=")[0].lstrip("+~") for item in typed}
        for bound in _SPLIT_BOUNDS:  # other data are cut where the run's were, unless given
            if bound in fresh.data and bound in stored.data and f"data.{bound}" not in given:
                fresh.data[bound] = stored.data[bound]
        if "data.test_from" in given and fresh.data.get("validation_from") is None:
            # nothing is validated here: what comes before the test is not looked at
            fresh.data.validation_from = fresh.data.test_from
    for name in sorted(groups):
        OmegaConf.update(stored, name, fresh[name], merge=False, force_add=True)
    configuration.override(stored, [item for item in overrides if item not in typed])
    return stored


def _kind_of_data(stored: DictConfig, chosen: set[str]) -> list[str]:
    """The override with which the groups composed anew are those of the run's kind of data."""
    of_digits = OmegaConf.select(stored, "data._target_") == "nowcast.data.moving_mnist.MovingMnist"
    return [] if "data" in chosen or of_digits else ["data=radar"]


def _bring_up_to_date(stored: DictConfig) -> None:
    """Give the configuration of a run of an older nowcast what it lacks, in place."""
    with open_dict(stored):
        for node in (stored.get("baselines") or {}).values():
            if str(node.get("_target_")).endswith((".Steps", ".Linda")):
                for key in _OLD_SCALE_SETTINGS:  # now each case brings its scale
                    node.pop(key, None)
    if "evaluation" not in stored:
        usual = configuration.compose("train", []).evaluation
        OmegaConf.update(stored, "evaluation", usual, merge=False, force_add=True)


def evaluate_run(
    evaluation: Evaluation,
    models: dict[str, Forecaster],
    data: DataSet,
    folder: Path,
    *,
    facts: dict,
    data_settings: dict,
) -> None:
    """Evaluate models over the test part of a data set.

    Args:
        evaluation: how.
        models: by name; the first one is compared with all others.
        data: whose test cases they forecast.
        folder: for the files.
        facts: what is noted with the results beside what is known here: model and command.
        data_settings: of the data set, as data.
    """
    models = evaluation.named_apart(models)
    more = {
        "own_models": list(models),
        "data": _data_in_words(data_settings),
        "part": "test",
        "left_out": evaluation.baselines.left_out,
    }
    _write_evaluation(evaluation, evaluation.source_of(models, data), folder, facts | more)


def _write_evaluation(
    evaluation: Evaluation, source: ForecastSource, folder: Path, facts: dict
) -> None:
    """Run an evaluation; write what it found into a folder, and print the tables."""
    for sentence in facts["left_out"]:
        print_line(sentence)
    require_writable(folder)
    results = evaluation.run(source, progress=track("evaluating"))
    results.facts.update(
        facts,
        first_case=source.title(0),
        last_case=source.title(source.count - 1),
        versions=_versions(),
        machine=f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
        f"{platform.system()}",
        baselines=evaluation.baselines.settings,
    )
    results.save(folder)
    _write_tables(results, folder)


def _write_tables(results: Results, folder: Path) -> None:
    """Scores and differences as CSV, curves, a case as a picture, and tables as text."""
    from nowcast.drawing.curves import score_curves
    from nowcast.evaluation.results_text import sentences_of, tables_of, text_of
    from nowcast.evaluation.score_files import write_csv, write_differences

    lead_minutes, model = results.task.lead_minutes, results.models[0]
    rows = {name: results.rows(name) for name in results.models}
    differences = {other: results.differences(model, other) for other in results.baselines}
    write_csv(rows, folder / "scores.csv", lead_minutes=lead_minutes)
    write_differences(differences, folder / "differences.csv", lead_minutes=lead_minutes)
    score_curves(rows, folder / "scores.png", lead_minutes=lead_minutes)
    _draw_case(results, folder / "forecast.png")
    with replacing(folder / "scores.txt") as path:
        path.write_text(f"{text_of(results, _FILE_WIDTH)}\n", encoding="utf-8")
    console = Console()  # at last: whoever reads it may go away
    console.print(*tables_of(results, console.width), sep="\n")
    for sentence in sentences_of(results):
        print_line(sentence)


def _draw_case(results: Results, path: Path) -> None:
    """Picture of the typical case: context, observation and every forecast."""
    from nowcast.drawing.maps import sequence_picture
    from nowcast.evaluation.titles import lead_label

    case = next((case for case in results.shown if case.kind == "typical"), None)
    if case is None:
        path.unlink(missing_ok=True)  # of an earlier evaluation
        return
    task = results.task
    rows = {"context": case.context, "observation": case.observation} | case.forecasts

    def labels(steps: range) -> list[str]:
        return [lead_label(step, task.lead_minutes) for step in steps]

    column_labels = dict.fromkeys(rows, labels(range(1, task.forecast_length + 1)))
    column_labels["context"] = labels(range(1 - task.context_length, 1))
    grey = task.quantity == "grey_level"
    sequence_picture(
        rows,
        path,
        column_labels=column_labels,
        kind="grey" if grey else "rain",
        title=f"{'Moving MNIST' if grey else 'Rain rate'}, {case.title}",
        grid=case.grid,
    )


def _data_in_words(node: dict) -> str:
    """The data of a configuration in one line."""
    kind = str(node.get("_target_", "")).rpartition(".")[2]
    shown_settings = []
    for key, value in node.items():
        if key not in ("_target_", "task") and value is not None:
            shown_settings.append(f"{key}={value}")
    return f"{kind}: {', '.join(shown_settings)}"


def _versions() -> dict[str, str]:
    """Versions of what computed the numbers."""
    found = {"nowcast": nowcast.__version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
