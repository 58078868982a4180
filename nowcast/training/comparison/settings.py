"""Which trainings a comparison is made of, and what must be equal in them."""

from difflib import get_close_matches

import numpy as np

from nowcast.runtime.build import is_of_type
from nowcast.runtime.errors import UserError

# parts of a configuration that must be equal for all models, and those that should be
_MUST_BE_EQUAL = ("task", "data", "scores", "baselines")
_SHOULD_BE_EQUAL = ("training", "loss", "transform")
_OF_THE_TEST = ("task", "scores")  # without which scores of finished runs mean other things
_SET_HERE = ("seed", "output_dir", "resume", "name")  # of a training, by the comparison
_FROM_DATA = ("validation_from", "test_from")  # null when asked for, a time in a run's folder


def overridden_key(override: str) -> str:
    """What an override of the command line changes: model.links for +model.links=3."""
    return override.partition("=")[0].lstrip("+~")


def overrides_by_model(settings: dict, typed: list[str]) -> dict[str, list[str]]:
    """Which models are trained, and with which overrides.

    Args:
        settings: those of conf/compare.yaml.
        typed: overrides for every training, after those in ``common``; of several for one key the
            last counts, a model's own before all.

    Returns:
        Overrides by name; the first model is what the others are compared with.

    Raises:
        UserError: a setting of another type, a name that is no model's or no folder's, an override
            that the comparison sets itself.
    """
    only = settings["only"]
    if isinstance(only, str):
        only = [only]
    _check(settings | {"only": only})
    models, common = settings["models"], [*settings["common"], *typed]
    unknown = [name for name in only or () if name not in models]
    if unknown:
        near = get_close_matches(unknown[0], models, n=2)
        meant = f"did you mean {' or '.join(near)}? The" if near else "the"
        names = ", ".join(map(repr, unknown))
        raise UserError(f"only names {names}; {meant} models here are {', '.join(models)}.")
    chosen = {name: models[name] for name in only or models}
    overrides = {name: _overrides(name, own, common) for name, own in chosen.items()}
    for item in typed:
        key = overridden_key(item)
        if all(key in map(overridden_key, own) for own in chosen.values()):
            raise UserError(
                f"{item} would have no effect: every model here has its own {key}, which counts "
                f"before all; type models.NAME=\"['{item}']\" to replace them, as in "
                "conf/compare.yaml."
            )
    return overrides


def _check(settings: dict) -> None:
    """Refuse settings of another type or range than those of conf/compare.yaml."""
    expected = {
        "models": (dict, "models by name (only=[...] picks from them)"),
        "only": (list[str] | None, "a list of names"),
        "common": (list[str], "a list of KEY=VALUE"),
        "seeds": (list[int], "a list of whole numbers"),
        "parallel": (int, "a whole number"),
    }
    for name, (hint, text) in expected.items():
        value = settings[name]
        if not is_of_type(value, hint) or (name != "common" and value in ({}, [])):
            raise UserError(f"{name} is {value!r}, expected {text}, as in conf/compare.yaml.")
    parallel, seeds = settings["parallel"], settings["seeds"]
    if parallel < 1 or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise UserError(
            f"parallel is {parallel} and seeds is {seeds}; expected at least 1, and different "
            "numbers of 0 or more."
        )


def _overrides(name: str, own: list[str], common: list[str]) -> list[str]:
    """Those of one model, one for each key."""
    if not isinstance(name, str) or {"/", "\\"} & set(name) or name in ("", ".", ".."):
        raise UserError(f"a model is called {name!r}; expected a plain name for its folder.")
    if not is_of_type(own, list[str]):
        raise UserError(
            f"models.{name} is {own!r}, expected a list such as [model=convlstm_small]."
        )
    for item in (*common, *own):
        key = overridden_key(item)
        if key in _SET_HERE or (key == "model" and item in common):
            raise UserError(
                f"{item!r} cannot be given to a training: the comparison sets it itself; see "
                "models, seeds and output_dir in its --cfg."
            )
    return list({overridden_key(item): item for item in (*common, *own)}.values())


def first_difference(stored, asked, where: str = "") -> str | None:
    """The first setting in which two configurations differ, None where they agree.

    The run folder's own path does not count, nor do the bounds between the parts of the data that a
    run found itself.
    """
    if stored == asked:
        return None
    if not isinstance(stored, dict) or not isinstance(asked, dict):
        return where
    for name in sorted({*stored, *asked}, key=str):
        place = f"{where}.{name}".lstrip(".")
        found_by_run = where == "data" and name in _FROM_DATA and asked.get(name, "") is None
        if place == "output_dir" or found_by_run:
            continue
        if (name in stored) != (name in asked):
            return place
        if name in _FROM_DATA and _are_one_time(stored[name], asked[name]):
            continue
        found = first_difference(stored[name], asked[name], place)
        if found:
            return found
    return None


def _are_one_time(one, other) -> bool:
    """Whether two texts name one time, such as 2010-08-26T04:00 and the same with seconds."""
    try:
        return bool(np.datetime64(one, "s") == np.datetime64(other, "s"))
    except (TypeError, ValueError):
        return False


def training_differences(asked: dict[str, dict]) -> list[str]:
    """A sentence for each model that is trained otherwise than the first one.

    Args:
        asked: name -> configuration, all with one seed.

    Raises:
        UserError: the models have different tasks, data, scores or baselines, or one has the name
            of a baseline.
    """
    (first, reference), *others = asked.items()
    for name in asked:
        if name in (reference["baselines"] or {}):
            raise UserError(
                f"a model is called {name!r}, which is the name of another row of the table; "
                "give it another one."
            )
    sentences = []
    for name, settings in others:
        where = _differs(reference, settings, _MUST_BE_EQUAL)
        if where:
            raise UserError(
                f"{name} has another {where[0]} than {first}; all models need the same data. "
                "Give a setting for all of them in common."
            )
        for place in _differs(reference, settings, _SHOULD_BE_EQUAL):
            sentences.append(f"{name} is not trained as {first} is: {place} differs.")
    return sentences


def differences_of_finished(found: dict[str, dict]) -> list[str]:
    """A sentence for each model that was trained with other data or otherwise than the first one.

    Args:
        found: name -> configuration of a run that is finished, all with one seed.

    Raises:
        UserError: they forecast different things, or have different scores.
    """
    (first, reference), *others = found.items()
    sentences = []
    for name, settings in others:
        where = _differs(reference, settings, _OF_THE_TEST)
        if where:
            raise UserError(
                f"{name} has another {where[0]} than {first}, so their scores cannot stand side by "
                "side; name runs of one task."
            )
        for place in _differs(reference, settings, ("data", *_SHOULD_BE_EQUAL)):
            sentences.append(f"{name} is not trained as {first} is: {place} differs.")
    return sentences


def _differs(reference: dict, settings: dict, parts: tuple[str, ...]) -> list[str]:
    """The first setting of each part in which two configurations differ."""
    found = [first_difference(reference.get(part), settings.get(part), part) for part in parts]
    return [place for place in found if place]
