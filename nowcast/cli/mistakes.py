"""What Hydra says of a mistake, in one line that says what to type instead."""

import re
from difflib import SequenceMatcher, get_close_matches

from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nowcast.cli.composing import HYDRA
from nowcast.cli.groups import chosen, groups, is_group, refuse_no_choice, settings_of
from nowcast.cli.hydra_values import not_of_its_type
from nowcast.cli.places import choices, composed
from nowcast.runtime.distribution import install_hint
from nowcast.runtime.errors import UserError

_NEEDS = f"needs {{}}, which is not installed; type: {install_hint('sweep')}"
# last parts of settings that other programs call otherwise
_ELSEWHERE = {
    "lr": "learning_rate",
    "epochs": "max_epochs",
    "num_epochs": "max_epochs",
    "bs": "batch_size",
    "wd": "weight_decay",
}
_OPEN = ("hydra.job.env_set.", "hydra.callbacks.")  # parts to which users add
_OF_PLUGINS = {
    "hydra/launcher/joblib": "hydra-joblib-launcher",
    "hydra/launcher/submitit_local": "hydra-submitit-launcher",
    "hydra/launcher/submitit_slurm": "hydra-submitit-launcher",
    "hydra/sweeper/optuna": "hydra-optuna-sweeper",
}
_TOGETHER = (
    "; two chosen parts do not go together: loss=balanced_error, for instance, weighs rain rates "
    "and needs data=radar, and nowcast's networks need data that set observed_channel and "
    "output_bias."
)
_REFERENCE = (
    "; a reference names a setting, e.g. ${seed}, and --cfg job shows all (a \\ before the $ makes "
    "it text)."
)
_MOST = 4  # choices that are named
_OF_CHOICES = ("transform.", "task", "observed_channel", "output_bias")
"""Beginnings of the keys to which one part of a configuration refers in another."""


def leaves(settings: dict, before: str = "") -> list[str]:
    """Names of all single settings, e.g. "model.hidden_channels"."""
    names = []
    for name, value in settings.items():
        if isinstance(value, dict):
            names += leaves(value, f"{before}{name}.")
        else:
            names.append(f"{before}{name}")
    return names


def explained(name: str, overrides: list[str], error: Exception) -> str:
    """What Hydra says of an override, in words that help where the mistake is a key or a sign
    before it.

    Args:
        name: of the command.
        overrides: in Hydra's grammar.
        error: what composing them raised.
    """
    for item in overrides:
        key, _, value = item.lstrip("+~").partition("=")
        group = key.partition("@")[0]
        if item.startswith("+") and is_group(group):
            return f"{item!r} adds a choice that is there already; type {group}={value}."
    try:
        refuse_no_choice(overrides)
    except UserError as no_choice:
        return str(no_choice)
    text = one_sentence(error)
    merging = re.match(r"Error merging override (.*)", text)
    if merging and error.__cause__ is not None:
        return _of_merging(name, overrides, merging[1], error.__cause__)
    found = re.match(r"Could not override '([^']*)'", text)
    no_group = re.search(r"Could not override '([^'@]*)'\. No match in the defaults list", text)
    if no_group and not is_group(no_group[1]):
        near = get_close_matches(no_group[1].lstrip("/"), groups(), n=2)
        if near:
            return f"there is no group {no_group[1]!r} here; did you mean {' or '.join(near)}?"
    if found is None:
        return _of_choice(text)
    return _no_such_setting(name, found[1], chosen(overrides))


def _composed(name: str, choice: list[str], *, with_hydra: bool = False) -> DictConfig:
    """The configuration with what was chosen, as far as that can be composed."""
    try:
        return composed(name, choice, with_hydra=with_hydra)
    except (HydraException, OmegaConfBaseException, ValueError):
        return composed(name, [], with_hydra=with_hydra)


def _of_merging(name: str, overrides: list[str], item: str, reason: BaseException) -> str:
    """A sentence on a value of another type than that of the setting."""
    config = _composed(name, chosen(overrides), with_hydra=True)
    return not_of_its_type(item, one_sentence(reason), config)


def _of_choice(text: str) -> str:
    """A sentence on a choice that is not there, with those that it may have been meant for, or what
    to install where a plug-in brings it.
    """
    found = re.match(r"Could not find '([^']*)'", text)
    if found is None:
        return text
    group, _, choice = found[1].rpartition("/")
    package = _OF_PLUGINS.get(found[1])
    if package is not None:
        return f"{group}={choice} {_NEEDS.format(package)}"
    available = re.search(r"Available options in '[^']*': (.*)", text)
    near = get_close_matches(choice, available[1].split(), n=2) if available else []
    hint = f"; did you mean {' or '.join(f'{group}={name}' for name in near)}?" if near else ""
    return f"{text}{hint}"


def _no_such_setting(name: str, key: str, choice: list[str]) -> str:
    """That there is no setting of that name, with those that it may have been meant for.

    Args:
        name: of the command.
        key: as typed.
        choice: what was chosen beside it, which decides on the settings that are there.
    """
    if key.startswith(_OPEN):
        return f"there is no setting {key!r} here yet; type +{key}=... to add it."
    sentence = f"there is no setting {key!r} here"
    place, _, last = key.partition("@")[0].rpartition(".")
    for item in choice:
        if item.startswith("~") and place == item[1:].partition("=")[0]:
            return f"{sentence}: {item} takes all of {place} away; type one of them."
    of_hydra = key.startswith((f"{HYDRA}.", f"{HYDRA}/"))
    config = _composed(name, choice, with_hydra=of_hydra)
    inside = OmegaConf.select(config, place, throw_on_missing=False) if place else config
    near = _near(name, key, config)
    if not isinstance(inside, DictConfig):
        same = _last_part(key)  # where another program has that setting in another place
        alike = [other for other in near if other.endswith(f".{same}")]
        if not alike:
            return _no_such_setting(name, place, choice)
        return f"{sentence}; did you mean {' or '.join(alike)}?"
    owners = _choices_with(place, last)
    if owners:
        return f"{sentence}; {_of_others(last, owners, choice)}"
    if near:
        return f"{sentence}; did you mean {' or '.join(near)}?"
    names = ", ".join(sorted(str(other) for other in inside if other != "_target_")) or "none"
    accepted = f"{place} has {names}" if place else f"accepted are {names}"
    others = choices(place) if place else []
    more = f"; another choice such as {place}={others[0]} has other settings" if others else ""
    return f"{sentence}; {accepted}{more}."


def _choices_with(place: str, last: str) -> list[str]:
    """The choices of a group that have a setting, e.g. hydra/launcher=joblib."""
    group = place.replace(".", "/")
    if not place or not is_group(group):
        return []
    return [f"{group}={name}" for name, keys in settings_of(group).items() if last in keys]


def _of_others(last: str, owners: list[str], choice: list[str]) -> str:
    """That a setting is of other choices of a group than the one that counts."""
    group = owners[0].partition("=")[0]
    shown = ", ".join(owners[:_MOST]) + (", ..." if len(owners) > _MOST else "")
    typed = [item for item in choice if item.startswith(f"{group}=")]
    if typed:
        return f"{last} is of {shown}, and {typed[-1]} has none."
    return f"{last} is of {shown}; type {'it' if len(owners) == 1 else 'one of them'}, too."


def _near(name: str, key: str, config: DictConfig) -> list[str]:
    """Up to three settings that a key may have been meant for."""
    everywhere = [*leaves(OmegaConf.to_container(config, resolve=False)), *map(str, config)]
    everywhere = [other for other in everywhere if not other.endswith("_target_")]
    if key.startswith(f"{HYDRA}/"):
        everywhere = [f"{HYDRA}/{group}" for group in config.hydra]
    elif key.startswith(f"{HYDRA}."):
        everywhere = [other for other in everywhere if other.startswith(f"{HYDRA}.")]
    everywhere += ["experiment"] if name == "train" else []
    everywhere = list(dict.fromkeys(everywhere))
    last = _last_part(key)
    place = key.rpartition(".")[0]
    near = [other for other in everywhere if other.rpartition(".")[0] == place]
    near = [other for other in near if _begins_like(other.rpartition(".")[2], last)]
    near += get_close_matches(key, everywhere, n=3, cutoff=0.7)
    near += [other for other in everywhere if other.endswith(f".{last}")]
    return list(dict.fromkeys(near))[:3]


def _begins_like(name: str, typed: str) -> bool:
    """Whether what was typed is about the beginning of a name, as hiden of hidden_channels."""
    beginning = name[: len(typed) + 1]
    return len(typed) > 3 and SequenceMatcher(None, typed, beginning).ratio() > 0.85


def _last_part(key: str) -> str:
    """The name of a setting without its place, as it is called here."""
    last = key.partition("@")[0].rpartition(".")[2]
    return _ELSEWHERE.get(last, last)


def one_sentence(error: BaseException, config: DictConfig | None = None) -> str:
    """What Hydra or OmegaConf says, in one line without their advice to programmers.

    Args:
        error: theirs.
        config: to which the nearest keys belong where a reference leads nowhere.
    """
    if isinstance(error, OverrideParseException):
        return _unread(error.override)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    noise = (
        r"(full_key:|object_type=|reference_type=|Set the environment|Config search "
        r"path|provider=|To append to your config|See https|Use --multirun)"
    )
    text = " ".join(line for line in lines if not re.match(noise, line))[:400]
    text = re.sub(r"^In '[^']*': (?=Could not find)", "", text)
    text = re.sub(r" ?To append to your (default list|config) use .*", "", text)
    found = re.match(r"Interpolation key '([^']*)' not found", text)
    if found and found[1].startswith(_OF_CHOICES):
        text += _TOGETHER
    elif found and config is not None:
        keys = leaves(OmegaConf.to_container(config, resolve=False))
        near = [f"${{{key}}}" for key in get_close_matches(found[1], keys, n=3)]
        text += f"; did you mean {' or '.join(near)}?" if near else _REFERENCE
    return text


def _unread(item: str) -> str:
    """That a setting cannot be read, and what to type instead."""
    key, equals, value = item.partition("=")
    if equals and (key != key.strip() or value != value.lstrip()):
        return f"{item!r} has spaces around the =; type {key.strip()}={value.strip()} without them."
    for opening, closing in ("()", "[]", "{}"):
        if value.count(opening) != value.count(closing):
            return (
                f"{item!r} cannot be read: it has {value.count(opening)} {opening} and "
                f"{value.count(closing)} {closing}."
            )
    return (
        f"{item!r} cannot be read; a value with spaces, commas, brackets or quotes is typed in two "
        f"pairs of quotes, as in {key}=\"'a, b'\"."
    )
