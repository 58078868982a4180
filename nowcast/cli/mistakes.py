"""What Hydra says of a mistake, in one line that says what to type instead."""

import re
from difflib import get_close_matches

from omegaconf import DictConfig, OmegaConf

from nowcast.cli.composing import HYDRA
from nowcast.cli.places import choices, composed, search_folders
from nowcast.runtime.distribution import install_hint

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
    """
    for item in overrides:
        key, _, value = item.lstrip("+~").partition("=")
        group = key.partition("@")[0]
        if item.startswith("+") and any((place / group).is_dir() for place in search_folders()):
            return f"{item!r} adds a choice that is there already; type {group}={value}."
    text = one_sentence(error)
    found = re.match(r"Could not override '([^']*)'", text)
    if found is None:
        return _of_choice(text)
    return _no_such_setting(name, found[1])


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


def _has(name: str, group: str, choice: str, setting: str) -> bool:
    """Whether a choice of a group has a setting of that name."""
    try:
        config = composed(name, [f"{group}={choice}"])
    except Exception:  # of Hydra's own, where a choice does not go with the command
        return False
    inside = OmegaConf.select(config, group, throw_on_missing=False)
    # what must still be given is there, too, which "in" of OmegaConf denies
    return isinstance(inside, DictConfig) and setting in list(inside)


def _no_such_setting(name: str, key: str) -> str:
    """That there is no setting of that name, with those that it may have been meant for."""
    if key.startswith(_OPEN):
        return f"there is no setting {key!r} here yet; type +{key}=... to add it."
    of_hydra = key.startswith((f"{HYDRA}.", f"{HYDRA}/"))
    config = composed(name, [], with_hydra=of_hydra)
    place, _, last = key.partition("@")[0].rpartition(".")
    inside = OmegaConf.select(config, place, throw_on_missing=False) if place else config
    everywhere = [*leaves(OmegaConf.to_container(config, resolve=False)), *map(str, config)]
    everywhere = [other for other in everywhere if not other.endswith("_target_")]
    if key.startswith(f"{HYDRA}/"):
        everywhere = [f"{HYDRA}/{group}" for group in config.hydra]
    elif of_hydra:
        everywhere = [other for other in everywhere if other.startswith(f"{HYDRA}.")]
    everywhere += ["experiment"] if name == "train" else []
    last = _ELSEWHERE.get(last, last)
    alike = [other for other in everywhere if other.endswith(f".{last}")]
    near = get_close_matches(key, everywhere, n=3, cutoff=0.7)
    near += [other for other in alike if other not in near]
    if not isinstance(inside, DictConfig) and not alike:
        return _no_such_setting(name, place)
    sentence = f"there is no setting {key!r} here"
    if near:
        return f"{sentence}; did you mean {' or '.join(near[:3])}?"
    names = ", ".join(sorted(str(other) for other in inside if other != "_target_")) or "none"
    accepted = f"{place} has {names}" if place else f"accepted are {names}"
    others = choices(place) if place else []
    # one that has the setting says more than any
    others = [other for other in others if _has(name, place, other, last)] or others
    more = f"; another choice such as {place}={others[0]} has other settings" if others else ""
    return f"{sentence}; {accepted}{more}."


def one_sentence(error: Exception) -> str:
    """What Hydra or OmegaConf says, in one line without their advice to programmers."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    noise = (
        r"(full_key:|object_type=|reference_type=|Set the environment|Config search "
        r"path|provider=|To append to your config|See https|Use --multirun)"
    )
    text = " ".join(line for line in lines if not re.match(noise, line))[:400]
    text = re.sub(r"^In '[^']*': (?=Could not find)", "", text)
    text = re.sub(r" ?To append to your (default list|config) use .*", "", text)
    if text.startswith("Interpolation key"):
        text += (
            "; two chosen parts do not go together: loss=balanced_error, for instance, weighs "
            "rain rates and needs data=radar, and nowcast's networks need data that set "
            "observed_channel and output_bias."
        )
    return text
