"""Drawings of the structure, as SVG in the page: they have the colours of the theme, light and
dark, are narrow enough for a phone, and need no program to be drawn.
"""

from html import escape

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from nowcast_docs import markup, structure

_WIDTH = 360  # of a drawing, in its own units: pixels on a phone
_MARGIN = 8
_LINE = 17
_AXIS = 84  # where the path runs; the names of its steps stand on the right of it
_CHARACTER = 7.1  # width of a letter of a name, in the monospaced type


def path_of_data() -> str:
    """The path of the data, from the file above to what is published below."""
    parts: list[str] = []
    top = 4
    for stage in structure.PATH:
        if stage.made_by:
            parts += [_arrow(_AXIS, top, top + 34), _label(stage.made_by, top + 21)]
            top += 38
        height = 14 + _LINE * (1 + len(stage.text))
        parts.append(_stage(stage, top, height))
        top += height
    return _svg("The path of the data", top + 4, parts, _in_words())


def _in_words() -> str:
    """The same for those who cannot see it."""
    steps = [f"{stage.made_by} makes {stage.title}" for stage in structure.PATH if stage.made_by]
    return f"From a {structure.PATH[0].title}: {'; '.join(steps)}."


def _stage(stage: structure.Stage, top: float, height: float) -> str:
    box = _rectangle("box", 30, top, _WIDTH - 60, height)
    lines = [_text(stage.title, _WIDTH / 2, top + 20, weight="600")]
    for number, line in enumerate(stage.text, start=1):
        lines.append(_text(line, _WIDTH / 2, top + 20 + _LINE * number, size=12, kind="muted"))
    drawn = box + "".join(lines)
    return f'<a href="{escape(stage.link)}">{drawn}</a>' if stage.link else drawn


def import_order() -> str:
    """The layers of the package, each of which imports only from those above it."""
    layers, apart = structure.import_order()
    parts: list[str] = []
    top = 4.0
    for number, names in enumerate(layers):
        if number:
            parts.append(_arrow(_WIDTH / 2, top + 16, top + 1))
            top += 18
        rows = _rows(names)
        separate = len(apart & set(names)) > 1
        height = 10 + 30 * len(rows) + (_LINE if separate else 0)
        parts.append(_rectangle("band", _MARGIN, top, _WIDTH - 2 * _MARGIN, height))
        for place, row in enumerate(rows):
            parts += _boxes(row, top + 8 + 30 * place)
        if separate:
            words = "these know nothing of each other"
            parts.append(_text(words, _WIDTH / 2, top + height - 6, size=11, kind="muted"))
        top += height
    said = "; then ".join(", ".join(names) for names in layers)
    return _svg("The order of imports", top + 4, parts, f"First what imports nothing: {said}.")


def _width_of(name: str) -> float:
    return len(name) * _CHARACTER + 16


def _rows(names: tuple[str, ...]) -> list[list[str]]:
    """Names in rows that fit the width."""
    rows: list[list[str]] = [[]]
    for name in names:
        wide = sum(_width_of(one) + 8 for one in [*rows[-1], name])
        if rows[-1] and wide > _WIDTH - 4 * _MARGIN:
            rows.append([])
        rows[-1].append(name)
    return rows


def _boxes(names: list[str], top: float) -> list[str]:
    """A row of boxes, in the middle."""
    whole = sum(_width_of(name) for name in names) + 8 * (len(names) - 1)
    left = (_WIDTH - whole) / 2
    parts: list[str] = []
    for name in names:
        width = _width_of(name)
        parts.append(_rectangle("box", left, top, width, 24))
        parts.append(_text(name, left + width / 2, top + 16, size=11.5, kind="code"))
        left += width + 8
    return parts


def _rectangle(kind: str, left: float, top: float, width: float, height: float) -> str:
    place = f'x="{left:g}" y="{top:g}" width="{width:g}" height="{height:g}"'
    return f'<rect class="{kind}" {place} rx="6"/>'


def _text(
    text: str, x: float, y: float, *, size: float = 14, kind: str = "", weight: str = "400"
) -> str:
    style = f'font-size="{size:g}" font-weight="{weight}" text-anchor="middle"'
    return f'<text class="{kind}" x="{x:g}" y="{y:g}" {style}>{escape(text)}</text>'


def _label(text: str, y: float) -> str:
    """The name of a step, on the right of its arrow."""
    return f'<text x="{_AXIS + 14}" y="{y:g}" font-size="12.5">{escape(text)}</text>'


def _arrow(x: float, start: float, end: float) -> str:
    step = 6 if end > start else -6
    line = f'<path class="arrow" d="M{x:g} {start:g}V{end - step:g}"/>'
    head = f"M{x - 5:g} {end - step:g}H{x + 5:g}L{x:g} {end:g}Z"
    return f'{line}<path class="head" d="{head}"/>'


def _svg(title: str, height: float, parts: list[str], words: str) -> str:
    ident = title.lower().replace(" ", "-")
    return (
        f'<svg class="drawing" viewBox="0 0 {_WIDTH} {height:g}" width="{_WIDTH * 1.25:g}" '
        f'role="group" aria-labelledby="{ident}-title {ident}-words">'
        f'<title id="{ident}-title">{escape(title)}</title>'
        f'<desc id="{ident}-words">{escape(words)}</desc>{"".join(parts)}</svg>'
    )


DRAWINGS = {"path-of-data": path_of_data, "import-order": import_order}


class DrawingDirective(SphinxDirective):
    """``nowcast-drawing`` puts one of ``DRAWINGS`` into the page."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The drawing."""
        self.env.note_dependency(str(structure.ORDER))
        return [nodes.raw("", DRAWINGS[self.arguments[0]](), format="html")]


class RoomsDirective(SphinxDirective):
    """``nowcast-rooms`` lists the folders of the package with what they are for."""

    def run(self) -> list[nodes.Node]:
        """The table."""
        rows: list[list[list[nodes.Node]]] = []
        for name, text in structure.rooms().items():
            file = structure.PACKAGE.joinpath(*name.split("."), "__init__.py")
            self.env.note_dependency(str(file))
            rows.append([[nodes.literal("", name)], markup.inline(text)])
        return [markup.table(["room", "what it is for"], rows, "rooms")]
