"""nowcast compare: several models with several seeds, side by side; trained here, or found."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from hydra.types import RunMode
from omegaconf import OmegaConf
from rich.console import Console

import nowcast
from nowcast.cli import config as configuration
from nowcast.cli import places
from nowcast.cli.application import Launches, application
from nowcast.cli.common import new_folder, print_line, shown, typed_folders, write_config
from nowcast.cli.folders import SWEEP
from nowcast.cli.hydra_keys import plain_key, refuse_unread_job_name, with_logging
from nowcast.cli.hydra_words import Words
from nowcast.cli.job import Job
from nowcast.cli.launching import launched_elsewhere
from nowcast.cli.quoting import in_grammar, literal, quoted
from nowcast.cli.request import refuse_in_training
from nowcast.runtime.build import build_part
from nowcast.runtime.errors import Terminated, UserError, first_line, one_line
from nowcast.runtime.files import replacing
from nowcast.training.comparison import table as comparison
from nowcast.training.comparison.finding import found_in
from nowcast.training.comparison.runs import Run, refuse_other_settings
from nowcast.training.comparison.settings import (
    differences_of_finished,
    overridden_key,
    overrides_by_model,
    training_differences,
)

_RUNS = "runs="
_BY_JOBLIB = "hydra/launcher=joblib"
_SAME_CASES = "name runs that were tested on the same cases"


def compare(arguments: list[str]) -> None:
    """Show several models with several seeds side by side; train those that are not trained."""
    words = Words.of(arguments)
    if words.resumed is not None:
        raise UserError(
            f"resume={words.resumed} cannot be given to a comparison, which goes on by itself with "
            "what is in its output_dir."
        )
    known = set(configuration.compose("compare", []))
    own, typed = [], []
    for item in words.settings:
        (own if overridden_key(item).split(".")[0] in known else typed).append(item)
    folders = [item.removeprefix(_RUNS) for item in own if item.startswith(_RUNS)]
    if folders and folders[-1] != "null":
        _show_found(words, own, typed, folders[-1])
    else:
        _train_and_show(words, own, typed)


def _show_found(words: Words, own: list[str], typed: list[str], value: str) -> None:
    """Show the finished runs of some folders."""
    idle = [*typed, *words.of_hydra]
    idle += [item for item in own if not item.startswith((_RUNS, "output_dir="))]
    if idle:
        raise UserError(
            f"{idle[0]} would have no effect: runs={value} names trainings that are there, and "
            "nothing is trained; leave one of them out."
        )
    folders = [Path(name).expanduser().absolute() for name in typed_folders("runs", value)]
    config = configuration.compose("compare", [item for item in own if not item.startswith(_RUNS)])
    config.runs = [literal(str(folder)) for folder in folders]
    if shown(config, words.options):
        return
    found = found_in(folders, stored=_stored, overrides=_overrides_of)
    by_model = {run.model: run.settings for run in reversed(found.runs)}
    names = list(dict.fromkeys(run.model for run in found.runs))
    notes = differences_of_finished({name: by_model[name] for name in names})
    notes += [f"{name}: {_places_of(found.runs, name)}" for name in names]
    given = configuration.plain(config)["output_dir"]
    alone = folders[0] if len(folders) == 1 and found.runs[0].folder != folders[0] else None
    folder = Path(given) if given else alone or new_folder("comparison")
    _show(found.runs, folder, [*notes, *found.notes], advice=_SAME_CASES)


def _stored(folder: Path, seed: int | None) -> dict:
    """The configuration of a run as data; with another seed, where one is given."""
    config = configuration.load(folder)
    if seed is not None:
        config.seed = seed
    return configuration.plain(config)


def _overrides_of(folder: Path) -> list[str]:
    """What a run was called with, where Hydra wrote it down."""
    path = folder / ".hydra" / "overrides.yaml"
    try:
        found = OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, ValueError):
        return []
    return [str(item) for item in found] if isinstance(found, list) else []


def _places_of(runs: Sequence[Run], model: str) -> str:
    """Where the runs of a row lie."""
    return ", ".join(str(run.folder) for run in runs if run.model == model)


def _train_and_show(words: Words, own: list[str], typed: list[str]) -> None:
    """Train what is not trained, and show all of it."""
    config = configuration.compose("compare", own)
    settings = configuration.plain(config)
    overrides = overrides_by_model(settings, typed)
    config.common = [literal(item) for item in (*settings["common"], *typed)]
    if shown(config, words.options):
        return
    launcher = _launcher(words, settings["parallel"])
    for model, items in overrides.items():
        _refuse_without_effect(model, items, typed)
    folder = Path(settings["output_dir"] or new_folder("comparison"))
    runs = _runs_of(overrides, settings["seeds"], folder)
    notes = training_differences({run.model: run.settings for run in runs[: len(overrides)]})
    refuse_other_settings(runs, lambda path: _stored(path, None))
    write_config(config, folder, name="comparison.yaml")
    unfinished = [run for run in runs if not run.is_finished]
    print_line(
        f"nowcast {nowcast.__version__}: {len(runs)} trainings, {len(runs) - len(unfinished)} of "
        f"them finished, in {folder}"
    )
    try:
        failed = _finish(unfinished, folder, launcher)
    except (KeyboardInterrupt, Terminated) as stop:
        what = "interrupted" if isinstance(stop, KeyboardInterrupt) else "terminated"
        again = [*own, *typed, *words.of_hydra]
        again = [item for item in again if not item.startswith("output_dir=")]
        again = [*places.options(), *again, f"output_dir={folder}"]
        print_line(f"{what}; go on with: {shlex.join(['nowcast', 'compare', *again])}")
        raise
    calls = [f"{model}: {shlex.join(items)}" for model, items in overrides.items()]
    _show(runs, folder, [*calls, *notes])
    if failed:
        raise UserError(f"{len(failed)} of {len(runs)} trainings failed: {'; '.join(failed)}")


def _launcher(words: Words, parallel: int) -> list[str]:
    """Settings of Hydra's for the launcher that trains.

    Raises:
        UserError: a mistake in them, or a launcher that is not installed.
    """
    found, chosen = in_grammar(words.of_hydra), None
    for item in found:
        if plain_key(item) == "hydra.launcher":
            chosen = item
    if parallel > 1 and chosen not in (None, _BY_JOBLIB):
        raise UserError(
            f"parallel={parallel} would have no effect: {chosen} says itself how many trainings "
            "run at once; leave it out."
        )
    if parallel > 1:
        found += [] if chosen else [_BY_JOBLIB]
        found.append(f"hydra.launcher.n_jobs={parallel}")
    configuration.compose_typed("train", found)
    return with_logging(found)


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


def _finish(runs: list[Run], folder: Path, launcher: list[str]) -> list[str]:
    """Finish some runs by a launcher of Hydra; a sentence for each that failed."""
    if not runs:
        return []
    jobs = []
    for run in runs:
        place = quoted(literal(str(run.folder.relative_to(folder))))
        jobs.append([*in_grammar(run.overrides), f"hydra.sweep.subdir={place}"])
    job = Job(goes_on=True, titles=tuple(map(str, runs)))
    launches = Launches(lambda *launch: launched_elsewhere(job, *launch))
    with application("train") as app:
        typed = [*launcher, f"{SWEEP}={quoted(literal(str(folder)))}"]
        config = app.compose(RunMode.MULTIRUN, typed)
        refuse_unread_job_name(config, typed)
        try:
            app.launch(config, job, launches, jobs)
        except Exception as error:
            if launches.done:
                raise
            # what a launcher could not start, or lost; what is finished is shown all the same
            return [f"{one_line(first_line(error))} ({type(error).__name__})"]
    return [
        f"{run}: {one_line(first_line(returned.error))}"
        for run, returned in zip(runs, launches.done, strict=True)
        if returned.error is not None
    ]


def _show(runs: list[Run], folder: Path, notes: list[str], **how) -> None:
    """The table of the runs that are finished, on the terminal and as files."""
    lead_minutes = build_part(runs[0].settings, "task").lead_minutes
    results = comparison.results_of(runs, parameters=_parameters, lead_minutes=lead_minutes, **how)
    if not results:
        return
    comparison.write_csv(results, folder / "comparison.csv", lead_minutes=lead_minutes)
    table = comparison.table(results, first=runs[0].model)
    sentences = [comparison.MEANING, *comparison.note_on_pixels(runs)]
    sentences += [*comparison.note_on_functionals(results), *notes]
    Console().print(table)
    for sentence in sentences:
        print_line(sentence)
    path = folder / "comparison.txt"
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        Console(file=file, width=160).print(table)
        file.writelines(f"{sentence}\n" for sentence in sentences)
    print_line(f"in {folder}\n  comparison.txt, comparison.csv (every score by lead time)")


def _parameters(settings: dict) -> int:
    """Number of trained weights of the model of a configuration."""
    import torch

    from nowcast.benchmark.models import parameters

    with torch.device("meta"):
        return parameters(build_part(settings, "model"))
