"""Values that Hydra's own settings can have (hydra.KEY=VALUE), typed or in a file of one's own."""

import re
from dataclasses import fields
from difflib import get_close_matches

from hydra.conf import HydraConf, JobConf
from omegaconf import DictConfig, OmegaConf

from nowcast.cli.composing import HYDRA
from nowcast.cli.groups import choices_of
from nowcast.runtime.errors import UserError

_CHOSEN = ("launcher", "sweeper")  # of which Hydra takes anything, and needs one with a class
_EXAMPLES = {"launcher": "joblib", "sweeper": "optuna"}
_NEEDED = (  # what OmegaConf says of a value, and what is needed
    (r"is not a valid bool", "true or false is needed"),
    (r"could not be converted to Integer", "a whole number is needed"),
    (r"could not be converted to Float", "a number is needed"),
    (r"Cannot convert .* to string", "a text is needed"),
    (r"field .* is not Optional|Incompatible value 'None'", "a value is needed"),
)
_WHOLE_NUMBERS = (  # of launchers and sweepers, with the lowest
    ("sweeper", "n_trials", 1),
    ("sweeper", "n_jobs", 1),
    ("sweeper", "max_batch_size", 1),
    ("launcher", "timeout_min", 1),
    ("launcher", "cpus_per_task", 1),
    ("launcher", "tasks_per_node", 1),
    ("launcher", "nodes", 1),
    ("launcher", "array_parallelism", 1),
    ("launcher", "mem_gb", 1),
    ("launcher", "gpus_per_node", 0),
    ("launcher", "max_num_timeout", 0),
)


def refuse_odd_hydra(node: DictConfig) -> None:
    """Refuse what Hydra's part of a configuration cannot be, wherever it was written.

    Args:
        node: that part.

    Raises:
        UserError: says what to type.
    """
    for name in _CHOSEN:
        part = None if OmegaConf.is_missing(node, name) else node[name]
        if not isinstance(part, DictConfig) or "_target_" not in part:
            raise UserError(_not_chosen(f"{HYDRA}/{name}", part, _EXAMPLES[name]))
    _refuse_other_keys(node)
    verbose = node.verbose
    names_loggers = OmegaConf.is_list(verbose) and all(isinstance(one, str) for one in verbose)
    if not isinstance(verbose, bool | str) and not names_loggers:
        raise UserError(
            f"hydra.verbose is {verbose}; true, false, or names of loggers such as "
            "[hydra,nowcast] are needed."
        )


def _not_chosen(group: str, value, example: str) -> str:
    """That a group is set like a single setting."""
    names = choices_of(group)
    name = value if value in names else example
    return (
        f"{group.replace('/', '.')} is {value!r}, but it is chosen as a group; type {group}={name} "
        f"(accepted are {', '.join(names)})."
    )


def _refuse_other_keys(node: DictConfig) -> None:
    """Refuse what was added to Hydra's part by +hydra.KEY=VALUE and nothing reads."""
    of_part = [field.name for field in fields(HydraConf)]
    of_job = [field.name for field in fields(JobConf)]
    of_part.append("env")  # of its group of that name
    for place, part, known in (("hydra", node, of_part), ("hydra.job", node.job, of_job)):
        unknown = sorted(set(map(str, part)) - set(known))
        if unknown:
            near = get_close_matches(unknown[0], known, n=3) or sorted(known)
            raise UserError(
                f"there is no setting '{place}.{unknown[0]}'; did you mean "
                f"{' or '.join(f'{place}.{name}' for name in near[:3])}?"
            )


def not_of_its_type(item: str, reason: str, config: DictConfig) -> str:
    """A sentence on an override that cannot be merged.

    Args:
        item: as typed.
        reason: what OmegaConf says.
        config: without that override, with Hydra's part.
    """
    key, _, value = item.lstrip("+").partition("=")
    said = f"{key} is {value!r}" if value != "null" else f"{key} is null"
    node = OmegaConf.select(config, key, throw_on_missing=False)
    group = key.replace(".", "/")
    if isinstance(node, DictConfig) and choices_of(group):
        names = choices_of(group)
        return f"{said}, but it is chosen as a group; type {group}=NAME with one of " + (
            f"{', '.join(names)}."
        )
    if isinstance(node, DictConfig):
        names = [str(name) for name in node if name != "_target_"]
        typed = f"{key}.{names[0]}=..." if names else f"+{key}.NAME=..."
        known = f" ({', '.join(names)})" if names else ""
        return f"{said}, but it consists of settings of its own{known}; type {typed}"
    for pattern, needed in _NEEDED:
        if re.search(pattern, reason):
            return f"{said}; {needed}."
    accepted = re.search(r"expected one of \[(.*?)\]", reason)
    if accepted:
        return f"{said}; accepted are {accepted[1]}."
    return f"{said}: {reason}"


def refuse_out_of_range(hydra: DictConfig) -> None:
    """Refuse numbers of a launcher or a sweeper with which it would end before its first job.

    Raises:
        UserError: names the setting and the lowest value.
    """
    for part, name, lowest in _WHOLE_NUMBERS:
        value = OmegaConf.select(hydra, f"{part}.{name}", throw_on_missing=False)
        if isinstance(value, int) and value < lowest:
            raise UserError(
                f"hydra.{part}.{name} is {value}; a whole number, {lowest} or more, is needed."
            )
    jobs = OmegaConf.select(hydra, "launcher.n_jobs", throw_on_missing=False)
    if jobs == 0:
        raise UserError(
            "hydra.launcher.n_jobs is 0; a whole number from 1, or -1 for one job on each core, is "
            "needed."
        )
