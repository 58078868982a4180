"""nowcast compare: train several models with several seeds, and show them side by side."""

import shlex
from pathlib import Path

from rich.console import Console

import nowcast
from nowcast.cli import config as configuration
from nowcast.cli.common import new_folder, print_line, settings_of, shown, write_config
from nowcast.cli.evaluate import evaluate
from nowcast.cli.train import refuse_in_training, train
from nowcast.runtime.build import build_part
from nowcast.runtime.errors import UserError, first_line
from nowcast.runtime.files import replacing
from nowcast.training.comparison import table as comparison
from nowcast.training.comparison.runs import Run, finish_in_parallel, refuse_other_settings
from nowcast.training.comparison.settings import (
    overridden_key,
    overrides_by_model,
    training_differences,
)

_COMMANDS = {"train": train, "evaluate": evaluate}


def compare(arguments: list[str]) -> None:
    """Train several models with several seeds, and show them side by side."""
    known = set(configuration.compose("compare", []))
    own = [item for item in arguments if overridden_key(item).split(".")[0] in known]
    typed = [item for item in settings_of(arguments) if item not in own]
    config = configuration.compose("compare", own)
    settings = configuration.plain(config)
    overrides = overrides_by_model(settings, typed)
    config.common = [configuration.literal(item) for item in (*settings["common"], *typed)]
    if shown(config, arguments):
        return
    for model, items in overrides.items():
        _refuse_without_effect(model, items, typed)
    folder = Path(settings["output_dir"] or new_folder("comparison"))
    runs = _runs_of(overrides, settings["seeds"], folder)
    notes = training_differences({run.model: run.settings for run in runs[: len(overrides)]})
    refuse_other_settings(runs, lambda path: configuration.plain(configuration.load(path)))
    write_config(config, folder, name="comparison.yaml")
    unfinished = [run for run in runs if run.next_command()]
    print_line(
        f"nowcast {nowcast.__version__}: {len(runs)} trainings, {len(runs) - len(unfinished)} of "
        f"them finished, in {folder}"
    )
    try:
        failed = _finish(unfinished, settings["parallel"])
    except KeyboardInterrupt:
        again = [item for item in arguments if not item.startswith("output_dir=")]
        command = shlex.join(["nowcast", "compare", *again, f"output_dir={folder}"])
        print_line(f"interrupted; go on with: {command}")
        raise
    calls = [f"{model}: {shlex.join(items)}" for model, items in overrides.items()]
    _show(runs, folder, [*calls, *notes])
    if failed:
        raise UserError(f"{len(failed)} of {len(runs)} trainings failed: {'; '.join(failed)}")


def _refuse_without_effect(model: str, overrides: list[str], typed: list[str]) -> None:
    """Refuse a setting of every training that one model would not read; before the first training,
    not after some.
    """
    config = configuration.compose("train", overrides)
    of_all = [item for item in overrides if item in typed]
    try:
        refuse_in_training(config, configuration.plain(config), of_all, "train")
    except UserError as error:
        raise UserError(
            f"{model}: {error} Give it in models.NAME to the models that read it."
        ) from error


def _runs_of(overrides: dict[str, list[str]], seeds: list[int], folder: Path) -> list[Run]:
    """The trainings of a comparison; every model comes with the first seed before any comes with
    the second.
    """
    composed = {model: configuration.compose("train", items) for model, items in overrides.items()}
    runs = []
    for seed in seeds:
        for model, config in composed.items():
            config.seed = seed
            place, typed = folder / model / f"seed-{seed}", [*overrides[model], f"seed={seed}"]
            runs.append(Run(model, seed, place, typed, configuration.plain(config)))
    return runs


def _finish(runs: list[Run], parallel: int) -> list[str]:
    """Finish some runs; a sentence for each that failed."""
    if parallel == 1:
        return _one_by_one(runs)
    options = configuration.own_folder_options()
    return finish_in_parallel(runs, count=parallel, report=print_line, options=options)


def _one_by_one(runs: list[Run]) -> list[str]:
    """Finish the runs of a comparison in this process; a sentence for each that failed."""
    failed = []
    for run in runs:
        command, *arguments = run.next_command()
        print_line(f"{run}: nowcast {shlex.join([command, *arguments])}")
        try:
            _COMMANDS[command](arguments)
        # whatever a model or the machine refuses does not keep the other models from it
        except Exception as error:
            failed.append(f"{run}: {first_line(error)}")
    return failed


def _show(runs: list[Run], folder: Path, notes: list[str]) -> None:
    """The table of the runs that are finished, on the terminal and as files."""
    lead_minutes = build_part(runs[0].settings, "task").lead_minutes
    results = comparison.results_of(runs, parameters=_parameters, lead_minutes=lead_minutes)
    if not results:
        return
    comparison.write_csv(results, folder / "comparison.csv", lead_minutes=lead_minutes)
    table = comparison.table(results, first=runs[0].model)
    sentences = [comparison.MEANING, *comparison.note_on_pixels(runs), *notes]
    Console().print(table)
    for sentence in sentences:
        print_line(sentence)
    path = folder / "comparison.txt"
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        Console(file=file, width=160).print(table)
        file.writelines(f"{sentence}\n" for sentence in sentences)
    print_line(
        f"in {folder}\n  comparison.txt, comparison.csv (every score by lead time), "
        "comparison.yaml, and a run folder for each model and seed"
    )


def _parameters(settings: dict) -> int:
    """Number of trained weights of the model of a configuration."""
    import torch

    from nowcast.benchmark.models import parameters

    with torch.device("meta"):
        return parameters(build_part(settings, "model"))
