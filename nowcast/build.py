"""Objects from settings held as data: {"_target_": "nowcast.models.persistence.Persistence", ...}.

Only public classes and functions defined inside the nowcast package can be named, so settings from a stranger run no
code of theirs; every setting is compared with the signature, so a misspelled one is refused wherever it was written.
"""

import importlib
import inspect

from nowcast.errors import UserError

_ALLOWED = ("nowcast.task.", "nowcast.transform.", "nowcast.data.", "nowcast.models.", "nowcast.losses.", "nowcast.training.", "nowcast.verification.")


def resolve(target: str, where: str):
    """The class or function a ``_target_`` names."""
    module_name, _, name = target.rpartition(".") if isinstance(target, str) else ("", "", "")
    if not f"{module_name}.".startswith(_ALLOWED) or name.startswith("_"):
        raise UserError(f"{where}: _target_ {target!r} is not a part of nowcast; accepted are public names under {', '.join(_ALLOWED)}.")
    try:
        found = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError):
        raise UserError(f"{where}: this version of nowcast has no {target}.") from None
    if getattr(found, "__module__", None) != module_name or not callable(found):
        raise UserError(f"{where}: {target} is not a class or function defined there.")
    return found


def build(settings, where: str = "settings"):
    """Turn settings into objects, innermost first.

    Args:
        settings: plain data; every dictionary with a ``_target_`` becomes the object it names.
        where: the place in the configuration, for messages.

    Raises:
        UserError: an unknown target, an unknown or missing setting, or a value the constructor refuses.
    """
    if isinstance(settings, list):
        return [build(item, f"{where}[{i}]") for i, item in enumerate(settings)]
    if not isinstance(settings, dict):
        return settings
    built = {key: build(value, f"{where}.{key}") for key, value in settings.items() if key != "_target_"}
    if "_target_" not in settings:
        return built
    target = resolve(settings["_target_"], where)
    parameters = {key: p for key, p in inspect.signature(target).parameters.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    unknown = [str(key) for key in built if key not in parameters]
    missing = [key for key, p in parameters.items() if p.default is p.empty and (key not in built or built[key] == "???")]
    if unknown:
        raise UserError(f"{where} has no setting {', '.join(map(repr, unknown))}; {target.__name__} takes {', '.join(parameters) or 'none'}.")
    if missing:
        raise UserError(f"{where} needs {', '.join(map(repr, missing))} (for {target.__name__}); set it, e.g. {where}.{missing[0]}=...")
    try:
        return target(**built)
    except TypeError as error:
        raise UserError(f"{where}: {target.__name__} refused its settings: {error}.") from error
