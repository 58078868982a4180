"""What a report consists of, before it is HTML: sections of sentences, tables, figures, tabs and
cases. report.html writes each of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup


class Item:
    """Something that a section consists of; report.html has a macro for each kind."""

    @property
    def kind(self) -> str:
        """The name of its class in small letters."""
        return type(self).__name__.lower()


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Args:
        text: what it says.
        note: in small letters after it, e.g. an interval.
        mark: "better", "worse" or "open" (of a difference that is not significant), "best",
            "useful", or "h0" to "h10" (colour of a value from 0 to 1); several with spaces.
        picture: an SVG before it.
    """

    text: str
    note: str = ""
    mark: str = ""
    picture: Markup = Markup()


@dataclass(frozen=True)
class Table(Item):
    """A table.

    Args:
        caption: what it contains.
        columns: headings, the one of the row headings first.
        rows: cells or texts, the row's heading first.
        folded: whether it is opened by a click.
    """

    caption: str
    columns: list[str]
    rows: list[list[Cell | str]]
    folded: bool = False


@dataclass(frozen=True)
class Tables(Item):
    """Small tables side by side."""

    tables: list[Table]


@dataclass(frozen=True)
class Figure:
    """A chart.

    Args:
        title: above it.
        svg: the chart.
        table: its numbers.
        note: next to the title, e.g. which direction is the better one.
    """

    title: str
    svg: Markup
    table: Table
    note: str = ""


@dataclass(frozen=True)
class Figures(Item):
    """Charts side by side; wide ones take more room."""

    figures: list[Figure]
    wide: bool = False


@dataclass(frozen=True)
class Legend(Item):
    """Which line is whose: (swatch, name) each."""

    entries: list[tuple[Markup, str]]


@dataclass(frozen=True)
class Words(Item):
    """Sentences.

    Args:
        sentences: each a paragraph, or an item.
        style: "" for paragraphs, "soft" for small ones, "list", or "warning" for a list that must
            not be missed.
    """

    sentences: Sequence[str]
    style: str = ""


def soft(*sentences: str) -> Words:
    """Sentences as one paragraph in small letters."""
    return Words([" ".join(sentences)], "soft")


@dataclass(frozen=True)
class Verdict:
    """What an evaluation says of a model against another, in words.

    Args:
        title: against which one.
        lines: (mark, heading, sentence): ("better", "Better", "CSI ≥ 1 mm/h, MAE").
    """

    title: str
    lines: list[tuple[str, str, str]]


@dataclass(frozen=True)
class Verdicts(Item):
    """Verdicts side by side."""

    verdicts: list[Verdict]


@dataclass(frozen=True)
class Facts(Item):
    """Pairs of a name and what it is."""

    pairs: list[tuple[str, str]]


@dataclass(frozen=True)
class Code(Item):
    """A text as it is, opened by a click where it has a title."""

    text: str
    title: str = ""


@dataclass(frozen=True)
class Heading(Item):
    """A heading inside a section."""

    text: str


@dataclass(frozen=True)
class Tab:
    """One of several tabs."""

    name: str
    items: list[Item]


@dataclass(frozen=True)
class Tabs(Item):
    """Items of which one is seen at a time; printed, all of them are.

    Args:
        label: what is chosen, e.g. "Threshold".
        tabs: two or more; of one, its items are shown without a tab.
    """

    label: str
    tabs: list[Tab]


@dataclass(frozen=True)
class Frame:
    """One picture of an animation.

    Args:
        step: 1 is the first lead, 0 the analysis time.
        label: of the step.
        source: the picture as a data URI.
    """

    step: int
    label: str
    source: str


@dataclass(frozen=True)
class Panel:
    """The frames of one source."""

    name: str
    frames: list[Frame]


@dataclass(frozen=True)
class Animation(Item):
    """A case as frames that run side by side.

    Args:
        title: which case.
        panels: the observations first.
        size: width and height of a picture on the page, in the proportions of the earth.
        pixels: width and height in the pixels of the pictures, in which ``lines`` are given.
        rain: whether the colours are those of the rain classes.
        lines: id of the coastlines and borders; empty: none.
        bar: length of a scale bar in pixels and what it says.
        printed: steps that are shown on paper.
    """

    title: str
    panels: list[Panel]
    size: tuple[int, int]
    pixels: tuple[int, int]
    rain: bool
    lines: str = ""
    bar: tuple[float, str] | None = None
    printed: list[int] = field(default_factory=list)

    @property
    def steps(self) -> list[tuple[int, str]]:
        """All steps with their labels."""
        labels = {frame.step: frame.label for panel in self.panels for frame in panel.frames}
        return sorted(labels.items())


@dataclass(frozen=True)
class Section:
    """A part of the report with a place in its list of contents."""

    id: str
    title: str
    items: list[Item]
