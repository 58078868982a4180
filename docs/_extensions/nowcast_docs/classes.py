"""The classes that conf/ names, with their settings, what these are where nothing is typed, their
types and what they mean.
"""

import inspect
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import yaml

from nowcast.cli import conf_files as configuration
from nowcast.cli import docstrings
from nowcast.cli.conf_files import File

_MODULE = re.compile(r"\b(?:\w+\.)+(?=\w)")


@dataclass
class ClassInUse:
    """A class with all the places where conf/ names it.

    Args:
        cls: the class.
        uses: settings by where they stand, e.g. {"convlstm_small": {"patch": 4, ...}}.
        part: the key that it stands under where it is part of another, e.g. "values"; else "".
    """

    cls: type
    uses: dict[str, dict[str, Any]] = field(default_factory=dict)
    part: str = ""


def classes_of(group: str, files: Iterable[File]) -> list[ClassInUse]:
    """The classes that the files of a group name, those first that are no part of another.

    A class that a file of the group chooses, and another has as a part, too, is described as it is
    chosen.
    """
    found: dict[str, ClassInUse] = {}
    named = []
    for file, node in configuration.nodes_of(list(files)):
        rest = node.path.removeprefix(group).lstrip(".")
        part = "" if group == "baselines" else rest
        named.append((part, rest if group == "baselines" else file.name, node))
    for part, use, node in sorted(named, key=lambda one: bool(one[0])):
        one = found.setdefault(node.target, ClassInUse(docstrings.load(node.target), part=part))
        if bool(part) == bool(one.part):
            one.uses[use] = node.values
    return sorted(found.values(), key=lambda one: bool(one.part))


@cache
def described_classes() -> frozenset[str]:
    """The names of all classes that have a section."""
    files = [file for group in configuration.groups() for file in configuration.choices(group)]
    nodes_ = configuration.nodes_of([*files, *configuration.commands()])
    return frozenset(node.target.rpartition(".")[2] for _, node in nodes_)


def keys_of(one: ClassInUse) -> list[str]:
    """The settings of a class: those of its constructor, and what the files give."""
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(one.cls).parameters.values()
    names = [parameter.name for parameter in parameters if parameter.kind not in kinds]
    given = [key for values in one.uses.values() for key in values]
    return list(dict.fromkeys([*names, *given]))


def type_of(cls: type, key: str) -> str:
    """The type of a setting, as short as it can be written; empty where there is none."""
    parameter = inspect.signature(cls).parameters.get(key)
    if parameter is None or parameter.annotation is parameter.empty:
        return ""
    annotation = parameter.annotation
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return _MODULE.sub("", text)


def value_text(value: Any) -> str:
    """A value as it is typed."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...").strip("'") or '""'


def defaults_of(one: ClassInUse, key: str) -> dict[str, list[str]]:
    """What a setting is where nothing is typed: values, each with the places that have it."""
    default = getattr(inspect.signature(one.cls).parameters.get(key), "default", inspect._empty)
    found: dict[str, list[str]] = {}
    for place, values in one.uses.items():
        if key in values:
            value = values[key]
        elif default is inspect.Parameter.empty or "factory" in repr(default):
            continue  # of a part with a section of its own
        else:
            value = default
        found.setdefault(value_text(_plain(value)), []).append(place)
    return found


def _plain(value: Any) -> Any:
    """A default as a file would have it."""
    return list(value) if isinstance(value, tuple) else value


def recognised_by(reader: type) -> str:
    """What a reader recognises a file by, from the docstring of its ``recognises``."""
    text = " ".join(inspect.getdoc(reader.recognises).split())
    sentence = text.partition(".  ")[0].removeprefix("Whether ").replace("; never raises", "")
    return sentence[0].upper() + sentence[1:]
