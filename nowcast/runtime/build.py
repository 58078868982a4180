"""Objects from settings that are data: {"_target_": "nowcast.baselines.persistence.Persistence"}.

Only public classes can be named, no functions: those of nowcast in the room that its kind comes
from, and those of installed plug-ins (``nowcast.runtime.plugins``) that keep the contract of the
kind. So settings from a stranger run no code of theirs. Every setting is compared with the
signature, so a misspelled one is refused wherever it was written.
"""

import importlib
import inspect
import math
import sys
import types
import typing
from collections.abc import Iterable
from dataclasses import dataclass, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path

from nowcast.runtime.errors import UserError, first_line
from nowcast.runtime.plugins import plugin_of, plugins
from nowcast.runtime.renamed import renamed


@dataclass(frozen=True)
class _Kind:
    """Where the classes of a part of a configuration come from.

    Args:
        rooms: modules and packages of nowcast that they are in.
        contract: the class that those of plug-ins derive from; "": plug-ins have none.
    """

    rooms: tuple[str, ...]
    contract: str = ""


_KINDS = {
    "task": _Kind(("nowcast.types.task",)),
    "transform": _Kind(("nowcast.types.transform",)),
    "data": _Kind(("nowcast.data",), "nowcast.data.base.DataSet"),
    "model": _Kind(("nowcast.models", "nowcast.baselines"), "nowcast.models.base.ForecastModel"),
    "loss": _Kind(("nowcast.training.losses",), "nowcast.training.losses.base.TrainingLoss"),
    "scores": _Kind(
        ("nowcast.evaluation.statistics",), "nowcast.evaluation.statistics.base.Statistic"
    ),
    "training": _Kind(("nowcast.training.settings",)),
    "evaluation": _Kind(("nowcast.evaluation.plan",)),
    "reader": _Kind(("nowcast.readers",), "nowcast.readers.base.Reader"),
    "regrid": _Kind(("nowcast.data.regrid",)),
    "tolerance": _Kind(("nowcast.types.tolerance",)),
    "what": _Kind(("nowcast.benchmark",)),
    "operation": _Kind(("nowcast.forecasting.watch",)),
}


def _loaded(target: str) -> type | None:
    """The public class of a dotted name that is defined in the module or package it names."""
    module_name, _, name = target.rpartition(".")
    found = vars(importlib.import_module(module_name))[name]
    own = inspect.isclass(found) and f"{found.__module__}.".startswith(f"{module_name}.")
    return found if own and not name.startswith("_") else None


def resolve(target: str, where: str, *, kind: str | None = None, within: str = "") -> type:
    """The class that a ``_target_`` names, also by a name that it had before.

    Args:
        target: module and class.
        where: the place in the configuration, for messages.
        kind: what it has to be, e.g. "model"; None: anything that a configuration can name.
        within: the class whose setting it is, see ``build``.

    Raises:
        UserError: there is no such class, or it is not of that kind.
    """
    target = renamed(target)
    kinds = _KINDS if kind is None else {kind: _KINDS[kind]}
    rooms = [room for one in kinds.values() for room in one.rooms]
    text = target if isinstance(target, str) else ""
    plugin = plugin_of(text)
    if plugin is None and not text.startswith(tuple(f"{room}." for room in rooms)):
        raise UserError(f"{where}: _target_ {target!r} {_not_accepted(rooms, kind)}")
    try:
        found = _loaded(text)
    except ModuleNotFoundError as error:
        if error.name and not text.startswith(error.name):
            raise UserError(f"{where}: {target} cannot be loaded: {error}.") from error
        raise UserError(f"{where}: this version of {_owner(plugin)} has no {target}.") from None
    except KeyError:
        raise UserError(f"{where}: this version of {_owner(plugin)} has no {target}.") from None
    except Exception as error:  # whatever somebody's module raises when it is loaded
        raise UserError(f"{where}: {target} cannot be loaded: {first_line(error)}.") from error
    if found is None:
        raise UserError(f"{where}: {target} is not a class defined there.")
    if inspect.isabstract(found):
        raise UserError(f"{where}: {target} is a contract; expected a class that keeps it.")
    part_of_another = kind is None and plugin is not None and plugin.has(within)
    if plugin is not None and not part_of_another:
        _refuse_other_kind(found, kinds, where)
    return found


def _owner(plugin) -> str:
    return "nowcast" if plugin is None else f"the plug-in {plugin.name} ({plugin.version})"


def _not_accepted(rooms: list[str], kind: str | None) -> str:
    """Why a class is refused, and which are accepted."""
    accepted = ", ".join(dict.fromkeys(rooms))
    names = ", ".join(plugin.name for plugin in plugins()) or "none is installed"
    what = "" if kind is None else f", where a {kind} comes from"
    return (
        f"is not a part of nowcast, nor of an installed plug-in ({names}); accepted are the public "
        f"classes in {accepted}{what}, and those of plug-ins."
    )


def _refuse_other_kind(found: type, kinds: dict[str, _Kind], where: str) -> None:
    """Refuse a plug-in's class that keeps none of the contracts."""
    contracts = [kind.contract for kind in kinds.values() if kind.contract]
    for contract in contracts:
        base = _loaded(contract)
        if base is not None and issubclass(found, base):
            return
    wanted = " or ".join(contracts) or "a class of nowcast itself"
    raise UserError(f"{where}: expected a class that derives from {wanted}, got {found.__name__}.")


def build(settings, where: str = "settings", *, kind: str | None = None, within: str = ""):
    """Turn settings into objects, innermost first.

    Args:
        settings: plain data, or a configuration of omegaconf (as Hydra passes to its applications);
            every dictionary with a ``_target_`` becomes the object it names.
        where: the place in the configuration, for messages.
        kind: what has to come out, e.g. "model"; None: whatever the settings name.
        within: the class whose setting it is; one of a plug-in may be given any class of its own.

    Raises:
        UserError: an unknown target, an unknown or missing setting, one of another type than
            annotated, or a value the constructor refuses.
    """
    settings = plain_data(settings)
    if isinstance(settings, list):
        return [build(item, f"{where}[{i}]", within=within) for i, item in enumerate(settings)]
    if not isinstance(settings, dict):
        return settings
    owner = str(settings.get("_target_", within))
    built = {}
    for key, value in settings.items():
        if key != "_target_":
            built[key] = build(value, f"{where}.{key}", within=owner)
    if "_target_" not in settings:
        return built
    target = resolve(settings["_target_"], where, kind=kind, within=within)
    _check_settings(target, built, where)
    return target(**built)


def refuse_unknown(target: type, settings: Iterable[str], where: str) -> None:
    """Refuse settings that a class does not take, with the one that was meant.

    Args:
        target: the class.
        settings: their names.
        where: the place in the configuration, for messages.

    Raises:
        UserError: names the unknown ones, and what is accepted.
    """
    parameters = _parameters(target)
    unknown = [str(key) for key in settings if key not in parameters]
    if unknown:
        near = get_close_matches(unknown[0], parameters, n=3)
        meant = f"did you mean {' or '.join(near)}? " if near else ""
        raise UserError(
            f"{where} has no setting {', '.join(map(repr, unknown))}; {meant}{target.__name__} "
            f"takes {', '.join(parameters) or 'none'}."
        )


def _parameters(target: type) -> dict[str, inspect.Parameter]:
    """What a class can be given by name."""
    found = {}
    for name, parameter in inspect.signature(target).parameters.items():
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            found[name] = parameter
    return found


def _check_settings(target: type, settings: dict, where: str) -> None:
    """Refuse settings that a class does not take, lacks, or takes in another type."""
    parameters = _parameters(target)
    refuse_unknown(target, settings, where)
    needed = [
        name for name, parameter in parameters.items() if parameter.default is parameter.empty
    ]
    missing = [name for name in needed if settings.get(name, "???") == "???"]
    if missing:
        raise UserError(
            f"{where} needs {', '.join(map(repr, missing))} (for {target.__name__}); set it, "
            f"e.g. {where}.{missing[0]}=..."
        )
    try:
        hints = typing.get_type_hints(target.__init__)
    except NameError:  # of a type that is imported for type checkers alone
        hints = {}
    for key, value in settings.items():
        if key in hints and not is_of_type(value, hints[key]):
            raise UserError(
                f"{where}.{key} is {value!r}, but {_wanted(value, hints[key])} is needed."
            )


def _wanted(value, hint) -> str:
    """A type in words, for a message about a value that is not of it."""
    is_plain = inspect.isclass(hint) and not typing.get_args(hint)
    finite = " (finite)" if isinstance(value, float) and not math.isfinite(value) else ""
    return f"{hint.__name__ if is_plain else hint}{finite}"


def build_part(settings: dict, name: str, *, kind: str | None = None):
    """Build one named part of a configuration.

    Args:
        settings: the configuration.
        name: the part.
        kind: what it has to be, e.g. "model"; None: what its name says.

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
    return build(node, name, kind=kind)


def target_of(part) -> str:
    """The name of an object's class, as settings have it."""
    return f"{type(part).__module__}.{type(part).__qualname__}"


def as_settings(part) -> dict:
    """An object as data that it can be built from again: its class, and the settings it was made
    with.

    Raises:
        UserError: a setting that is no plain data, such as an array.
    """
    if is_dataclass(part):
        settings = {
            field_.name: getattr(part, field_.name) for field_ in fields(part) if field_.init
        }
    else:
        settings = vars(part)
    where = type(part).__name__
    plain = {name: _plain(value, f"{where}.{name}") for name, value in settings.items()}
    return {"_target_": target_of(part)} | plain


def _plain(value, where: str):
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item, where) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, Path):
        return str(value)
    if is_dataclass(value):
        return as_settings(value)
    raise UserError(
        f"expected plain data (numbers, texts, lists of them) for the setting {where}, got "
        f"{type(value).__name__}: it is kept with what is made."
    )


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


def is_of_type(value, hint) -> bool:
    """Whether a value from a configuration is of an annotated type; numbers must be finite, a whole
    number is a float, too.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(is_of_type(value, argument) for argument in arguments)
    if origin in (list, tuple):
        return isinstance(value, (list, tuple)) and all(
            is_of_type(item, arguments[0]) for item in value
        )
    if hint in (int, float):
        return (
            isinstance(value, (int, hint)) and not isinstance(value, bool) and math.isfinite(value)
        )
    try:
        return isinstance(value, hint) if inspect.isclass(hint) else True
    except TypeError:  # typing.Any, and protocols that are not made for it
        return True
