"""Which trainings lie in some folders, and what to call them side by side."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nowcast.forecasting.saving import SETTINGS_FILE
from nowcast.runtime.errors import UserError, first_line
from nowcast.training import checkpoints
from nowcast.training.comparison.runs import Run
from nowcast.training.comparison.settings import first_difference, overridden_key

_DEEPEST = 3  # folders below one that was named in which runs are looked for
_OF_A_RUN = ("evaluation", "checkpoints", "logs")
_CONFIG = "config.yaml"
_SEED_FOLDER = re.compile(r"seed-\d+")  # of nowcast compare: MODEL/seed-1
_NOT_IN_NAMES = ("seed", "output_dir", "name")
_MOST_DIFFERENCES = 3  # settings that a row is called by
_ABSENT = "(none)"


@dataclass
class Found:
    """The runs in some folders.

    Args:
        runs: finished ones, each called by what makes it another one.
        notes: a sentence for each folder that is left out.
    """

    runs: list[Run] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Stored:
    """A finished run.

    Args:
        folder: of the run.
        seed: it was trained with.
        settings: its configuration, as with seed 0.
        overrides: that it was called with.
    """

    folder: Path
    seed: int
    settings: dict
    overrides: list[str]


def found_in(
    folders: Sequence[Path],
    *,
    stored: Callable[[Path, int | None], dict],
    overrides: Callable[[Path], list[str]],
) -> Found:
    """The finished runs in folders of runs, of multiruns and of comparisons.

    Args:
        folders: where to look.
        stored: reads the configuration in a run folder; with another seed, where one is given.
        overrides: reads what a run was called with; none where that is not known.

    Raises:
        UserError: a folder is not there, or none contains a finished run.
    """
    found, finished = Found(), []
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"runs names {folder}, which is not a folder.")
        for place in _candidates(folder, found.notes):
            run = Run("", 0, place, [], {})
            if not run.is_finished:
                found.notes.append(f"{place} is left out: {_unfinished(place)}.")
                continue
            try:
                seed, settings = stored(place, None)["seed"], stored(place, 0)
            except (UserError, KeyError) as error:
                found.notes.append(f"{place} is left out: {first_line(error)}")
                continue
            finished.append(_Stored(place, seed, settings, overrides(place)))
    rows = _rows(finished)
    for name, members in zip(_names(rows), rows, strict=True):
        seeds: dict[int, Path] = {}
        for one in members:
            same = seeds.setdefault(one.seed, one.folder)
            if same != one.folder:
                found.notes.append(f"{one.folder} is left out: it repeats {same}.")
                continue
            found.runs.append(Run(name, one.seed, one.folder, one.overrides, one.settings))
    if not found.runs:
        why = f" {found.notes[0]}" if found.notes else ""
        names = ", ".join(map(str, folders))
        raise UserError(f"there is no finished run in {names}.{why}")
    return found


def _unfinished(place: Path) -> str:
    if (place / SETTINGS_FILE).is_file():
        return f"it was not evaluated; type nowcast evaluate run={place}"
    if checkpoints.any_in(place / checkpoints.FOLDER):
        return f"it is not finished; type nowcast train resume={place}"
    return "it has no checkpoint"


def _candidates(folder: Path, notes: list[str]) -> Iterator[Path]:
    """Folders that look like runs, in their order; what does not is noted."""
    if _looks_like_a_run(folder):
        yield folder
        return
    for place in _inside(folder):
        runs = list(_runs_below(place, _DEEPEST))
        if not runs:
            notes.append(f"{place} is left out: it contains no run.")
        yield from runs


def _runs_below(folder: Path, depth: int) -> Iterator[Path]:
    if _looks_like_a_run(folder):
        yield folder
    elif depth > 1:
        for place in _inside(folder):
            yield from _runs_below(place, depth - 1)


def _inside(folder: Path) -> list[Path]:
    """The folders in a folder; 2 stands before 10."""
    places = [path for path in folder.iterdir() if path.is_dir() and path.name[0] != "."]
    places = [path for path in places if path.name not in _OF_A_RUN]
    return sorted(places, key=lambda path: _natural(path.name))


def _natural(name: str) -> list[tuple[int, int, str]]:
    parts = re.split(r"(\d+)", name)
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts if part]


def _looks_like_a_run(folder: Path) -> bool:
    return (folder / _CONFIG).is_file() or (folder / SETTINGS_FILE).is_file()


def _rows(finished: list[_Stored]) -> list[list[_Stored]]:
    """The runs that differ in their seed alone, together."""
    rows: list[list[_Stored]] = []
    for one in finished:
        for members in rows:
            if first_difference(_compared(members[0]), _compared(one)) is None:
                members.append(one)
                break
        else:
            rows.append([one])
    return rows


def _compared(run: _Stored) -> dict:
    return {key: value for key, value in run.settings.items() if key not in _NOT_IN_NAMES}


def _names(rows: list[list[_Stored]]) -> list[str]:
    """What to call each row: its model in a comparison, else the overrides that not all have."""
    if all(_SEED_FOLDER.fullmatch(one.folder.name) for members in rows for one in members):
        names = [members[0].folder.parent.name for members in rows]
        if len(set(names)) == len(names):
            return names
    common = set.intersection(*(set(_own(members[0])) for members in rows)) if rows else set()
    names = []
    for members in rows:
        own = [item for item in _own(members[0]) if item not in common]
        names.append(" ".join(own) or str(members[0].settings.get("name", "run")))
    if len(set(names)) == len(names):
        return names
    flat = [_flat(_compared(members[0])) for members in rows]
    return [
        _by_difference(name, own, flat) if names.count(name) > 1 else name
        for name, own in zip(names, flat, strict=True)
    ]


def _own(run: _Stored) -> list[str]:
    """The overrides of a run that say what it is."""
    return [item for item in run.overrides if overridden_key(item) not in _NOT_IN_NAMES]


def _by_difference(name: str, own: dict, everybody: list[dict]) -> str:
    """A name, with the settings in which the runs differ."""
    keys = list(dict.fromkeys(key for flat in everybody for key in flat))
    differing = []
    for key in keys:
        values = {repr(flat.get(key, _ABSENT)) for flat in everybody}
        if len(values) > 1 and key in own:
            differing.append(f"{key}={own[key]}")
    return " ".join([name, *differing[:_MOST_DIFFERENCES]])


def _flat(settings: dict, before: str = "") -> dict[str, object]:
    """Single settings by their whole names."""
    found: dict[str, object] = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{before}{key}.")
        else:
            found[f"{before}{key}"] = value
    return found
