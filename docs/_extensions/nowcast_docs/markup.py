"""Nodes from the plain text of docstrings and comments: paragraphs, points of lists, code."""

import re

from docutils import nodes
from sphinx import addnodes

import nowcast

_CODE = re.compile(r"``(.+?)``|`(.+?)`")


def label_of(name: str) -> str:
    """The label of the section of a class whose settings are described."""
    return f"class-{name.lower()}"


def inline(
    text: str, classes: frozenset[str] = frozenset(), *, links: bool = True
) -> list[nodes.Node]:
    """Text with its code; the names of classes that are described somewhere lead there.

    Args:
        text: of a docstring or a comment.
        classes: names with a section of their own, see ``label_of``.
        links: whether names lead to where they are described.
    """
    found: list[nodes.Node] = []
    end = 0
    for match in _CODE.finditer(text):
        if match.start() > end:
            found.append(nodes.Text(text[end : match.start()]))
        code = match[1] or match[2]
        found.append(_code(code, classes) if links else nodes.literal(code, code))
        end = match.end()
    if end < len(text):
        found.append(nodes.Text(text[end:]))
    return found


def _code(text: str, classes: frozenset[str]) -> nodes.Node:
    literal = nodes.literal(text, text)
    name = text.rpartition(".")[2]
    if name in classes:
        link = {"refdomain": "std", "reftype": "ref", "reftarget": label_of(name)}
        return addnodes.pending_xref("", literal, refexplicit=True, refwarn=True, **link)
    if name in nowcast.__all__ and text in (name, f"nowcast.{name}"):
        link = {"refdomain": "py", "reftype": "obj", "reftarget": f"nowcast.{name}"}
        return addnodes.pending_xref("", literal, refexplicit=True, refwarn=True, **link)
    return literal


def paragraphs(texts: list[str], classes: frozenset[str] = frozenset()) -> list[nodes.Node]:
    """Paragraphs; those that begin with "- " are the points of a list."""
    found: list[nodes.Node] = []
    for text in texts:
        if text.startswith(("- ", "* ")):
            if not (found and isinstance(found[-1], nodes.bullet_list)):
                found.append(nodes.bullet_list(bullet="-"))
            point = nodes.paragraph("", "", *inline(text[2:], classes))
            found[-1] += nodes.list_item("", point)
        else:
            found.append(nodes.paragraph("", "", *inline(text, classes)))
    return found


def sentence(text: str) -> str:
    """Text that begins with a capital and ends with a full stop."""
    text = text.strip()
    if not text:
        return ""
    ended = text if text.endswith((".", "!", "?", ":")) else f"{text}."
    first = ended.split(maxsplit=1)[0].rstrip(",;:.")
    is_word = first.isalpha() and first.islower() and first not in ("null", "true", "false")
    return ended[0].upper() + ended[1:] if is_word else ended


def comment(lines: list[str]) -> list[nodes.Node]:
    """The comment at the top of a file: sentences, and commands on lines that are further in."""
    found: list[nodes.Node] = []
    for line in lines:
        if line.startswith(" "):
            found.append(nodes.literal_block(line.strip(), line.strip(), language="bash"))
        elif found and isinstance(found[-1], nodes.paragraph):
            found[-1] += [nodes.Text(" "), *inline(line)]
        else:
            found.append(nodes.paragraph("", "", *inline(line)))
    for paragraph in found:
        if isinstance(paragraph, nodes.paragraph) and not paragraph.astext().endswith((".", ":")):
            paragraph += nodes.Text(".")
    return found


def table(head: list[str], rows: list[list[list[nodes.Node]]], name: str) -> nodes.table:
    """A table.

    Args:
        head: the titles of its columns.
        rows: the cells, each a list of inline nodes.
        name: its class, for the style sheet.
    """
    group = nodes.tgroup(cols=len(head))
    group += [nodes.colspec(colwidth=1) for _ in head]
    top, body = nodes.thead(), nodes.tbody()
    top += _row([[nodes.Text(title)] for title in head])
    body += [_row(row) for row in rows]
    group += [top, body]
    return nodes.table("", group, classes=[name])


def _row(cells: list[list[nodes.Node]]) -> nodes.row:
    row = nodes.row()
    row += [nodes.entry("", nodes.paragraph("", "", *cell)) for cell in cells]
    return row
