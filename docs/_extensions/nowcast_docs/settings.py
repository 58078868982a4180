"""Directives that describe what can be typed: the choices of a group, and the keys of a command.

All of it is read when the site is built: choices, keys and values from the files in conf/, what
they mean from the docstrings of the classes and from the comments in those files. A key without a
sentence is a warning, with which the build fails.
"""

import inspect
import re
from collections.abc import Iterable
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from nowcast.cli import USAGE, config, docstrings
from nowcast.cli import conf_files as configuration
from nowcast.cli.conf_files import File, Key, Node
from nowcast.cli.help import EXAMPLES, options_of, usage_of
from nowcast_docs import markup
from nowcast_docs.classes import (
    ClassInUse,
    classes_of,
    defaults_of,
    described_classes,
    keys_of,
    recognised_by,
    type_of,
    value_text,
)

OBJECT = "setting"
_logger = logging.getLogger(__name__)


class _Described(SphinxDirective):
    """What both directives share."""

    required_arguments = 1

    def depend_on(self, files: Iterable[File], classes: Iterable[type] = ()) -> None:
        """Read the page again when one of its sources changes."""
        for file in files:
            self.env.note_dependency(str(file.path))
        for cls in classes:
            self.env.note_dependency(inspect.getsourcefile(cls))

    def section(self, title: list[nodes.Node], ident: str, label: str = "") -> nodes.section:
        """A section with its title, that can be linked to as ``label``."""
        section = nodes.section(ids=[ident], names=[ident])
        section += nodes.title("", "", *title)
        if label:
            text = "".join(node.astext() for node in title)
            domain = self.env.domains.standard_domain
            domain.note_hyperlink_target(label, self.env.docname, ident, text)
        self.state.document.note_explicit_target(section)
        return section

    def setting(
        self, typed: str, name: str, values: dict[str, list[str]], kind: str, text: list[str]
    ) -> addnodes.desc:
        """A key with what it is where it is not typed, its type and its meaning.

        Args:
            typed: the key as it is typed.
            name: by which it is known, unique in the site.
            values: each with the places that have it; all of them: an empty list.
            kind: its type; "" where it is not known.
            text: what it means, in paragraphs.
        """
        ident = f"setting-{name.replace('.', '-').lower()}"
        signature = addnodes.desc_signature("", "", ids=[ident], classes=["setting"])
        signature += addnodes.desc_name(typed, typed)
        for value, places in values.items():
            signature += _value(value, places)
        if kind:
            signature += nodes.inline("", kind, classes=["setting-type"])
        if not any(text):
            _logger.warning("%s has no sentence", name, location=self.get_location())
        content = addnodes.desc_content("", *markup.paragraphs(text, described_classes()))
        self.env.domains.standard_domain.note_object(OBJECT, name, ident, location=signature)
        self.state.document.note_explicit_target(signature)
        described = addnodes.desc("", signature, content, domain="std", objtype=OBJECT)
        described["classes"] += ["std", OBJECT]
        return described

    def class_settings(self, one: ClassInUse, prefix: str) -> list[nodes.Node]:
        """The settings of a class, typed behind a prefix."""
        found: list[nodes.Node] = []
        for key in keys_of(one):
            values = defaults_of(one, key)
            if len(values) == 1:
                values = dict.fromkeys(values, [])
            meaning = [markup.sentence(text) for text in docstrings.meaning(one.cls, key)]
            name = f"{one.cls.__name__}.{key}"
            kind = type_of(one.cls, key)
            found.append(self.setting(f"{prefix}{key}", name, values, kind, meaning))
        return found

    def command_keys(self, file: File, keys: Iterable[Key]) -> list[nodes.Node]:
        """The keys of a file that no class takes."""
        found: list[nodes.Node] = []
        for key in keys:
            shown = {} if isinstance(key.value, dict) else {value_text(key.value): []}
            meaning = [markup.sentence(key.comment)]
            found.append(self.setting(key.name, f"{file.name}.{key.name}", shown, "", meaning))
        return found


def _value(value: str, places: list[str]) -> nodes.inline:
    """= value, or (a, b): = value where only some have it."""
    found = nodes.inline(classes=["setting-value"])
    if value == "???":
        found += nodes.emphasis("", "must be given")
    else:
        found += [nodes.Text("= "), nodes.literal(value, value)]
    if places:
        found += nodes.inline("", f" {', '.join(places)}", classes=["setting-places"])
    return found


class GroupDirective(_Described):
    """``nowcast-group`` describes the choices of a group and the classes that they name."""

    def run(self) -> list[nodes.Node]:
        """The nodes of the group."""
        group = self.arguments[0]
        files = configuration.choices(group)
        # an experiment puts together what other groups describe
        classes = [] if group == "experiment" else classes_of(group, files)
        self.depend_on(files, [one.cls for one in classes])
        found: list[nodes.Node] = []
        for one in classes:
            found.append(self._class(group, one, files))
        without = [file for file in files if not (file.nodes and classes)]
        found += [self._file(group, file) for file in without]
        if group == "baselines":
            found.insert(0, self._baselines(files))
        return found

    def _baselines(self, files: list[File]) -> nodes.definition_list:
        """Which baselines each choice has."""
        found = nodes.definition_list()
        for file in files:
            inherited = f"those of baselines={file.choices['']}, and " if "" in file.choices else ""
            names = ", ".join(node.path.rpartition(".")[2] for node in file.nodes)
            typed = f"baselines={file.name}"
            text = [nodes.paragraph("", f"{inherited}{names}"), *markup.comment(file.about)]
            term = nodes.term("", "", nodes.literal(typed, typed))
            found += nodes.definition_list_item("", term, nodes.definition("", *text))
        return found

    def _class(self, group: str, one: ClassInUse, files: list[File]) -> nodes.section:
        """The section of a class."""
        name = one.cls.__name__
        title: list[nodes.Node] = []
        if one.part:
            title = [nodes.literal("", f"{group}.{one.part}"), nodes.Text(f" ({name})")]
        else:
            for place in one.uses:
                title += [nodes.Text(", ")] if title else []
                typed = place if group == "baselines" else f"{group}={place}"
                title.append(nodes.literal("", typed))
        section = self.section(title, f"{group}-{name.lower()}", markup.label_of(name))
        section += self._origin(one.cls)
        section += markup.paragraphs(docstrings.parsed(one.cls.__doc__).text, described_classes())
        if group != "baselines" and not one.part:
            section += self._choices(group, [file for file in files if file.name in one.uses])
        keys = f"{group}." if group != "baselines" else ""
        prefix = f"{group}.{one.part}." if one.part else keys
        if group == "baselines":
            prefix = (
                f"baselines.{next(iter(one.uses))}." if len(one.uses) == 1 else "baselines.NAME."
            )
        section += self.class_settings(one, prefix)
        return section

    def _origin(self, cls: type) -> nodes.paragraph:
        whole = f"{cls.__module__}.{cls.__name__}"
        return nodes.paragraph("", "Class ", nodes.literal("", whole), classes=["setting-class"])

    def _choices(self, group: str, files: list[File]) -> list[nodes.Node]:
        """What the files say of themselves and bring along."""
        found: list[nodes.Node] = []
        for file in files:
            body = markup.comment(file.about)
            if file.choices:
                body.append(_brought(file))
            body += self.command_keys(file, file.keys)
            if not body:
                continue
            typed = f"{group}={file.name}"
            term = nodes.term("", "", nodes.literal("", typed))
            item = nodes.definition_list_item("", term, nodes.definition("", *body))
            if not (found and isinstance(found[-1], nodes.definition_list)):
                found.append(nodes.definition_list())
            found[-1] += item
        return found

    def _file(self, group: str, file: File) -> nodes.section:
        """The section of a file without classes of its own: what it sets, as it stands there."""
        section = self.section(
            [nodes.literal("", f"{group}={file.name}")], f"{group}-{file.name}", ""
        )
        section += markup.comment(file.about)
        section += nodes.literal_block(file.text, file.text, language="yaml")
        return section


def _brought(file: File) -> nodes.paragraph:
    """The choices that a file brings along."""
    found = nodes.paragraph("", "Brings along ")
    for number, (group, choice) in enumerate(file.choices.items()):
        typed = f"{group}={choice}"
        found += [nodes.Text(", ")] if number else []
        found += _group_link(group, typed)
    found += nodes.Text(".")
    return found


def _usage(file: File) -> nodes.definition_list:
    """How the command of a file is typed, and what that does, as the overview has it."""
    typed: list[list[str]] = []
    for line in usage_of(file.name.partition("_")[0], USAGE):
        left, _, right = line.strip().partition("   ")
        if line.startswith("  nowcast "):
            typed.append([left, right.strip()])
        else:
            typed[-1][1] = f"{typed[-1][1]} {line.strip()}".strip()
    found = nodes.definition_list(classes=["usage"])
    for left, right in typed:
        term = nodes.term("", "", nodes.literal("", left))
        text = nodes.paragraph("", "", *markup.inline(markup.sentence(right)))
        found += nodes.definition_list_item("", term, nodes.definition("", text))
    return found


def _group_link(group: str, text: str) -> addnodes.pending_xref:
    """A link to where a group is described."""
    link = {"refdomain": "std", "reftype": "ref", "reftarget": f"group-{group}"}
    literal = nodes.literal("", text)
    return addnodes.pending_xref("", literal, refexplicit=True, refwarn=True, **link)


class CommandDirective(_Described):
    """``nowcast-command`` describes the keys of a command, from its file in conf/."""

    def run(self) -> list[nodes.Node]:
        """The nodes of the command."""
        name = self.arguments[0]
        file = configuration.read(Path(config.folder() / f"{name}.yaml"))
        parts = [ClassInUse(docstrings.load(node.target), {"": node.values}) for node in file.nodes]
        self.depend_on([file], [one.cls for one in parts])
        about = list(file.about)
        about[:1] = [re.sub(r"^nowcast [^:]*: ?|^nowcast \w+$", "", line) for line in about[:1]]
        if about and about[0]:
            about[0] = about[0][0].upper() + about[0][1:]
        usage = _usage(file)
        said = markup.comment([line for line in about if line])
        if said and said[0].astext() in (item[-1].astext() for item in usage):
            del said[0]
        found = [usage, *said] if len(usage) else said
        of_hydra = "hydra/"  # its own groups, which Hydra describes
        groups = {
            group: choice
            for group, choice in file.choices.items()
            if group and not group.startswith(of_hydra)
        }
        if groups:
            text = nodes.paragraph("", "Groups: ")
            for number, (group, choice) in enumerate(groups.items()):
                text += [nodes.Text(", ")] if number else []
                text += _group_link(group, f"{group}={'null' if choice is None else choice}")
            text += nodes.Text(".")
            found.append(text)
        found += self.command_keys(file, file.keys)
        for node, one in zip(file.nodes, parts, strict=True):
            found += self._part(node, one)
        examples = EXAMPLES.get(file.name, ())
        if examples:
            text = "\n".join(examples)
            block = nodes.literal_block(text, text, language="bash")
            found += [nodes.paragraph("", "Examples:"), block]
        return found

    def _part(self, node: Node, one: ClassInUse) -> list[nodes.Node]:
        """The settings of a class that the command itself names."""
        name = one.cls.__name__
        target = nodes.target("", "", ids=[markup.label_of(name)])
        self.env.domains.standard_domain.note_hyperlink_target(
            markup.label_of(name), self.env.docname, markup.label_of(name), name
        )
        return [target, *self.class_settings(one, f"{node.path}.")]


class ReadersDirective(_Described):
    """``nowcast-readers`` lists the readers: what each reads, and what it recognises."""

    required_arguments = 0

    def run(self) -> list[nodes.Node]:
        """The table."""
        files = configuration.choices("reader")
        rows: list[list[list[nodes.Node]]] = []
        for one in classes_of("reader", files):
            if one.part:
                continue
            self.depend_on([], [one.cls])
            cells = [one.cls.format, recognised_by(one.cls)]
            rows.append([self._choices_of(one), *(markup.inline(cell) for cell in cells)])
        return [markup.table(["", "what it reads", "recognised by"], rows, "readers")]

    def _choices_of(self, one: ClassInUse) -> list[nodes.Node]:
        """Links to the section of a reader, by each of its choices."""
        found: list[nodes.Node] = []
        link = {"refdomain": "std", "reftype": "ref", "refexplicit": True, "refwarn": True}
        for place in one.uses:
            found += [nodes.Text(" ")] if found else []
            typed = nodes.literal("", f"reader={place}")
            label = markup.label_of(one.cls.__name__)
            found.append(addnodes.pending_xref("", typed, reftarget=label, **link))
        return found


class OptionsDirective(SphinxDirective):
    """``nowcast-options`` lists the options of a command that are Hydra's."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The table."""
        rows = [
            [[nodes.literal("", name)], markup.inline(text)]
            for name, text in options_of(self.arguments[0])
        ]
        return [markup.table(["option", "what it does"], rows, "options")]
