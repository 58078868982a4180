"""What stands in conf/: the choices of each group, the keys of each command, and their comments.

A comment at the top of a file says what the file is for, one behind a key what the key means.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from nowcast.cli.places import folder

GLOBAL = "# @package _global_"
_COMMENT = re.compile(r"\s*#\s?(.*)")


@dataclass(frozen=True)
class Key:
    """A key that no class takes: one that a command reads itself, or that others refer to.

    Args:
        name: dotted, as it is typed.
        value: what the file has; "???" must be given.
        comment: what stands behind it.
    """

    name: str
    value: Any
    comment: str


@dataclass(frozen=True)
class Node:
    """Settings of one class.

    Args:
        path: where they stand, e.g. "reader.values".
        target: the class.
        values: what the file has for them, by key; without settings of nested classes.
    """

    path: str
    target: str
    values: dict[str, Any]


@dataclass(frozen=True)
class File:
    """A file in conf/.

    Args:
        path: of the file.
        about: its first comment, line by line.
        text: all behind that comment.
        choices: groups and choices that it brings along, in order.
        keys: without a class.
        nodes: with a class.
    """

    path: Path
    about: list[str]
    text: str
    choices: dict[str, str | None]
    keys: list[Key]
    nodes: list[Node]

    @property
    def name(self) -> str:
        """What is typed to choose it."""
        return self.path.stem


@cache
def read(path: Path) -> File:
    """A file of the configuration."""
    lines = path.read_text().splitlines()
    group = "" if path.parent == folder() or GLOBAL in lines else path.parent.name
    header = []
    for line in lines:
        if not line.startswith("#"):
            break
        if line != GLOBAL:
            header.append(line[1:].removeprefix(" "))
    text = "\n".join(line for line in lines if line != GLOBAL)
    behind = "\n".join(text.splitlines()[len(header) :]).strip()
    tree = yaml.compose("\n".join(lines))
    reading = _Reading(lines)
    content = yaml.safe_load("\n".join(lines))
    choices = _choices(content.pop("defaults", []))
    if tree is not None:
        reading.mapping(tree, group, content)
    return File(path, header, behind, choices, reading.keys, reading.nodes)


def _choices(defaults: list) -> dict[str, str | None]:
    """Groups and choices of a defaults list; a plain name is a choice of the file's own group."""
    found: dict[str, str | None] = {}
    for item in defaults:
        if isinstance(item, str) and item != "_self_":
            found[""] = item
        elif isinstance(item, dict):
            for group, choice in item.items():
                found[group.removeprefix("override ").lstrip("/")] = choice
    return found


class _Reading:
    """Collects the keys and nodes of a file.

    Args:
        lines: of the file.
    """

    def __init__(self, lines: list[str]):
        self.lines = lines
        self.keys: list[Key] = []
        self.nodes: list[Node] = []

    def mapping(self, tree: yaml.MappingNode, path: str, content: dict) -> None:
        """A mapping: settings of a class where it names one, else keys."""
        target = content.get("_target_")
        values = {}
        for key_node, value_node in tree.value:
            key = key_node.value
            if key in ("_target_", "defaults"):
                continue
            value, whole = content[key], f"{path}.{key}".lstrip(".")
            if isinstance(value, dict) and (_has_class(value) or target is None):
                if value_node.start_mark.line > key_node.end_mark.line and not _has_class(value):
                    self.keys.append(Key(whole, value, self._comment(key_node, key_node)))
                else:
                    self.mapping(value_node, whole, value)
            elif target is None:
                self.keys.append(Key(whole, value, self._comment(key_node, value_node)))
            else:
                values[key] = value
        if target is not None:
            self.nodes.append(Node(path, target, values))

    def _comment(self, key: yaml.Node, value: yaml.Node) -> str:
        """What stands behind a key and, in lines of their own that are further in, below it."""
        mark = value.end_mark if isinstance(value, yaml.ScalarNode) else key.end_mark
        if isinstance(value, yaml.SequenceNode) and value.flow_style:
            mark = value.end_mark
        found = _COMMENT.search(self.lines[mark.line], mark.column)
        if found is None:
            return ""
        words = [found[1]]
        for line in self.lines[mark.line + 1 :]:
            more = _COMMENT.fullmatch(line)
            if more is None or not line.startswith(" " * (key.start_mark.column + 1)):
                break
            words.append(more[1])
        return " ".join(words)


def _has_class(value: Any) -> bool:
    """Whether a class is named in it."""
    return isinstance(value, dict) and (
        "_target_" in value or any(_has_class(item) for item in value.values())
    )


def groups() -> list[str]:
    """The groups that can be chosen from."""
    return sorted(path.name for path in folder().iterdir() if path.is_dir())


def choices(group: str) -> list[File]:
    """The files of a group, by name."""
    return [read(path) for path in sorted((folder() / group).glob("*.yaml"))]


def commands() -> list[File]:
    """The files of the commands, by name."""
    return [read(path) for path in sorted(folder().glob("*.yaml"))]


def nodes_of(files: list[File]) -> Iterator[tuple[File, Node]]:
    """Each node of some files with its file."""
    for file in files:
        for node in file.nodes:
            yield file, node
