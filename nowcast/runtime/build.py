"""Objects from settings held as data: {"_target_": "nowcast.baselines.persistence.Persistence",
...}.

Only public classes defined in the right part of the nowcast package can be named, no functions, so
settings from a stranger run no code of theirs; every setting is compared with the signature, so a
misspelled one is refused wherever it was written.
"""

import importlib
import inspect
import math
import sys
import types
import typing

from nowcast.runtime.errors import UserError
from nowcast.runtime.renamed import renamed

_PARTS = {  # where the class of each part of a configuration may come from
    "task": ("nowcast.types.task.",),
    "transform": ("nowcast.types.transform.",),
    "data": ("nowcast.data.",),
    "model": ("nowcast.models.", "nowcast.baselines."),
    "loss": ("nowcast.training.losses.",),
    "scores": ("nowcast.evaluation.statistics.",),
    "training": ("nowcast.training.settings.",),
    "evaluation": ("nowcast.evaluation.plan.",),
    "reader": ("nowcast.readers.",),
    "regrid": ("nowcast.data.regrid.",),
    "tolerance": ("nowcast.types.tolerance.",),
    "what": ("nowcast.benchmark.",),
    "operation": ("nowcast.forecasting.watch.",),
}
_ALLOWED = tuple(dict.fromkeys(room for rooms in _PARTS.values() for room in rooms))


def resolve(target: str, where: str):
    """The class a ``_target_`` names, also by a name that it had before."""
    target = renamed(target)
    module_name, _, name = target.rpartition(".") if isinstance(target, str) else ("", "", "")
    if not f"{module_name}.".startswith(_ALLOWED) or name.startswith("_"):
        raise UserError(
            f"{where}: _target_ {target!r} is not a part of nowcast; accepted are its public "
            f"classes in {', '.join(name.rstrip('.') for name in _ALLOWED)}."
        )
    try:
        found = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError):
        raise UserError(f"{where}: this version of nowcast has no {target}.") from None
    if not inspect.isclass(found) or not f"{found.__module__}.".startswith(f"{module_name}."):
        raise UserError(f"{where}: {target} is not a class defined there.")
    return found


def build(settings, where: str = "settings"):
    """Turn settings into objects, innermost first.

    Args:
        settings: plain data, or a configuration of omegaconf (as Hydra passes to its applications);
            every dictionary with a ``_target_`` becomes the object it names.
        where: the place in the configuration, for messages.

    Raises:
        UserError: an unknown target, an unknown or missing setting, one of another type than
            annotated, or a value the constructor refuses.
    """
    settings = plain_data(settings)
    if isinstance(settings, list):
        return [build(item, f"{where}[{i}]") for i, item in enumerate(settings)]
    if not isinstance(settings, dict):
        return settings
    built = {
        key: build(value, f"{where}.{key}") for key, value in settings.items() if key != "_target_"
    }
    if "_target_" not in settings:
        return built
    target = resolve(settings["_target_"], where)
    parameters = {
        key: p
        for key, p in inspect.signature(target).parameters.items()
        if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    }
    unknown = [str(key) for key in built if key not in parameters]
    missing = [
        key
        for key, p in parameters.items()
        if p.default is p.empty and (key not in built or built[key] == "???")
    ]
    if unknown:
        raise UserError(
            f"{where} has no setting {', '.join(map(repr, unknown))}; {target.__name__} takes "
            f"{', '.join(parameters) or 'none'}."
        )
    if missing:
        raise UserError(
            f"{where} needs {', '.join(map(repr, missing))} (for {target.__name__}); set it, "
            f"e.g. {where}.{missing[0]}=..."
        )
    hints = typing.get_type_hints(target.__init__)
    for key, value in built.items():
        if key in hints and not fits(value, hints[key]):
            wanted = (
                hints[key].__name__
                if inspect.isclass(hints[key]) and not typing.get_args(hints[key])
                else hints[key]
            )
            finite = " (finite)" if isinstance(value, float) and not math.isfinite(value) else ""
            raise UserError(f"{where}.{key} is {value!r}, but {wanted}{finite} is needed.")
    return target(**built)


def part(settings: dict, name: str, *, kind: str | None = None):
    """Build one named part of a configuration.

    Args:
        settings: the configuration.
        name: the part; also its kind, which says where its class may come from, unless ``kind`` is
            given.

    Raises:
        UserError: it is not there or names no class, and as ``build``.
    """
    node = plain_data(settings).get(name)
    kind = kind or name
    if not isinstance(node, dict) or "_target_" not in node:
        raise UserError(
            f"{name} is {node!r}, but settings with a _target_ are needed, as in the files in "
            f"conf/{kind}/."
        )
    if not str(renamed(node["_target_"])).startswith(_PARTS[kind]):
        rooms = " or ".join(room.rstrip(".") for room in _PARTS[kind])
        raise UserError(
            f"{name}: _target_ {node['_target_']!r} is not a part of {rooms}, "
            f"where a {kind} comes from."
        )
    return build(node, name)


def plain_data(settings):
    """Settings as dictionaries and lists, also where a Hydra application has them as an omegaconf
    configuration.

    Raises:
        UserError: such a configuration has a reference that leads nowhere, or a setting that must
            be given.
    """
    omegaconf = sys.modules.get("omegaconf")  # who has such a configuration has loaded it
    if omegaconf is None or not omegaconf.OmegaConf.is_config(settings):
        return settings
    try:
        return omegaconf.OmegaConf.to_container(settings, resolve=True, throw_on_missing=True)
    except omegaconf.errors.OmegaConfBaseException as error:
        reason = " ".join(str(error).split())
        raise UserError(f"the settings cannot be read as plain data: {reason}") from error


def fits(value, hint) -> bool:
    """Whether a value from a configuration is of an annotated type; numbers must be finite, a whole
    number is a float, too.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, argument) for argument in arguments)
    if origin in (list, tuple):
        return isinstance(value, (list, tuple)) and all(fits(item, arguments[0]) for item in value)
    if hint in (int, float):
        return (
            isinstance(value, (int, hint)) and not isinstance(value, bool) and math.isfinite(value)
        )
    return isinstance(value, hint) if inspect.isclass(hint) else True
