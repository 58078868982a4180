"""What a docstring says: its text, and a sentence for each argument (Google style)."""

import importlib
import inspect
import re
import sys
from dataclasses import dataclass, field

_SECTION = re.compile(r"(Args|Attributes|Raises|Returns|Yields):")
_ITEM = re.compile(r"    (?! )([\w*]+(?:, [\w*]+)*): (.*)")
_ELSEWHERE = re.compile(r"(?:as (?:in|of|for)|see|settings of) ``?([\w.]+)``?")


@dataclass(frozen=True)
class Docstring:
    """A docstring in parts.

    Args:
        text: all outside the sections, in paragraphs.
        arguments: what each one means, by name.
    """

    text: list[str] = field(default_factory=list)
    arguments: dict[str, str] = field(default_factory=dict)


def parsed(docstring: str | None) -> Docstring:
    """The text and the arguments of a docstring."""
    text: list[str] = []
    arguments: dict[str, str] = {}
    section = ""
    names: list[str] = []
    for line in inspect.cleandoc(docstring or "").splitlines():
        head, item = _SECTION.fullmatch(line), _ITEM.fullmatch(line)
        if head:
            section, names = head[1], []
        elif line and not line.startswith(" "):
            section = ""
        if section == "":
            text.append(line)
        elif section == "Args" and item:
            names = [name.lstrip("*") for name in item[1].split(", ")]
            arguments |= dict.fromkeys(names, item[2])
        elif section == "Args" and line.strip():
            arguments |= {name: f"{arguments[name]} {line.strip()}" for name in names}
    return Docstring(_paragraphs(text), arguments)


def _paragraphs(lines: list[str]) -> list[str]:
    """Lines as paragraphs; a list has its points as paragraphs that begin with "- "."""
    found: list[str] = []
    within = False
    for line in lines:
        stripped = line.strip()
        starts = not within or stripped.startswith(("- ", "* "))
        if stripped and starts:
            found.append(stripped)
        elif stripped:
            found[-1] += f" {stripped}"
        within = bool(stripped)
    return found


def load(target: str) -> type:
    """The class that a dotted name stands for."""
    module, _, name = target.rpartition(".")
    return getattr(importlib.import_module(module), name)


def meaning(cls: type, key: str, *, depth: int = 2) -> list[str]:
    """What a setting of a class means, in paragraphs: what its docstring says, and where that sends
    the reader to another class what that one says; empty where nothing says it.

    Args:
        cls: the class; those that it derives from are asked after it.
        key: the setting.
        depth: how many times to follow a docstring to another one.
    """
    for one in cls.__mro__:
        arguments = parsed(vars(one).get("__doc__")).arguments
        # a class that hands settings on, as ConvLSTM does to its cell, says so of these
        handed_on = "" if key in arguments else arguments.get("cell", "")
        said = arguments.get(key, handed_on)
        other = _ELSEWHERE.search(said)
        more = meaning(_named(other[1], one), key, depth=depth - 1) if other and depth else []
        if more and (handed_on or _ELSEWHERE.match(said)):
            return more
        if said and not handed_on:
            return [said, *more]
    return []


def _named(name: str, beside: type) -> type:
    """The class that a docstring names: by its whole name, or as the module of another knows it;
    ``object`` where it names none.
    """
    if "." in name and name.rpartition(".")[0] in sys.modules:
        found = getattr(sys.modules[name.rpartition(".")[0]], name.rpartition(".")[2], None)
    else:
        found = getattr(inspect.getmodule(beside), name, None)
    return found if inspect.isclass(found) else object
