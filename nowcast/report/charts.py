"""Charts as SVG, drawn here: small, with texts that stay texts, colours that follow the page's, and
titles on every point.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from markupsafe import Markup

from nowcast.evaluation.titles import number
from nowcast.report.axes import Axis
from nowcast.report.markup import coordinate, outline, shortened, straight, tag, text_at

COLOURS, DASHES = 8, 4  # of series; see report.css
REFERENCE = -1  # the number of the series that is no model, e.g. the observation
_WIDTH, _HEIGHT = 380, 236
_LEFT, _BOTTOM = 50.0, 38.0  # room for the numbers along the axes
_MOST_MARKERS = 24
_WIDE_BARS = 60  # more bars than this touch each other
_SHAPES = (  # markers, around 0
    "M-3.2 0a3.2 3.2 0 1 0 6.4 0a3.2 3.2 0 1 0-6.4 0z",
    "M-2.9-2.9h5.8v5.8h-5.8z",
    "M0-3.7L3.5 2.8h-7z",
    "M0-4L4 0 0 4-4 0z",
    "M0 3.7L3.5-2.8h-7z",
    "M-1.2-3.6h2.4v2.4h2.4v2.4h-2.4v2.4h-2.4v-2.4h-2.4v-2.4h2.4z",
    "M-3.4-2L-2-3.4 0-1.4 2-3.4 3.4-2 1.4 0 3.4 2 2 3.4 0 1.4-2 3.4-3.4 2-1.4 0z",
    "M0-4L1.1-1.3 4-1.2 1.7.6 2.5 3.4 0 1.8-2.5 3.4-1.7.6-4-1.2-1.1-1.3z",
)


@dataclass(frozen=True)
class Line:
    """A line of a chart.

    Args:
        name: whose it is.
        number: of the series, which gives colour, dashes and markers; ``REFERENCE``: none of them.
        x, y: (N,); NaN leaves a gap.
        low, high: ends of intervals, (N,), or None.
        texts: what is said of each point, N.
    """

    name: str
    number: int
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    texts: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Plot:
    """Room for a chart with two axes.

    Args:
        x, y: the axes.
        width, height: of the chart.
        top: room above the axes.
        right_margin: room right of them.
    """

    x: Axis
    y: Axis
    width: int = _WIDTH
    height: int = _HEIGHT
    top: float = 10.0
    right_margin: float = 12.0

    @property
    def right(self) -> float:
        """Where the x axis ends."""
        return self.width - self.right_margin

    @property
    def bottom(self) -> float:
        """Where the x axis lies."""
        return self.height - _BOTTOM

    def across(self, values) -> np.ndarray:
        """Places of values on the x axis."""
        return self.x.at(values, _LEFT, self.right)

    def down(self, values) -> np.ndarray:
        """Places of values on the y axis."""
        return self.y.at(values, self.bottom, self.top)

    def path(self, x, y) -> str:
        """A line through points that are given by their values."""
        return path(self.across(x), self.down(y))

    def horizontal(self, kind: str, value: float) -> Markup:
        """A line at a value of the y axis."""
        at = float(self.down(value))
        return straight(kind, _LEFT, self.right, at, at)

    def vertical(self, kind: str, value: float) -> Markup:
        """A line at a value of the x axis."""
        at = float(self.across(value))
        return straight(kind, at, at, self.top, self.bottom)

    def frame(self) -> list[Markup]:
        """Grid lines, numbers and labels."""
        parts = []
        for value, text in self.y.ticks:
            parts.append(self.horizontal("grid", value))
            parts.append(text_at(_LEFT - 6, float(self.down(value)) + 3.5, "tick end", text))
        for value, text in self.x.ticks:
            parts.append(self.vertical("grid", value))
            place = float(self.across(value))
            parts.append(text_at(place, self.bottom + 14, "tick middle", text))
        middle = (_LEFT + self.right) / 2
        parts.append(text_at(middle, self.height - 6, "axis middle", self.x.label))
        ends = [coordinate(end) for end in (_LEFT, self.top, self.bottom, self.right)]
        parts.append(outline("edge", "M{} {}V{}H{}".format(*ends)))
        if self.y.label:
            turned = f"translate(11 {coordinate((self.top + self.bottom) / 2)}) rotate(-90)"
            parts.append(tag("text", self.y.label, class_="axis middle", transform=turned))
        return parts

    def draw(self, *parts: Markup, description: str) -> Markup:
        """The chart as an image with a description."""
        return tag(
            "svg",
            *self.frame(),
            *parts,
            class_="chart",
            viewBox=f"0 0 {self.width} {self.height}",
            role="img",
            aria_label=description,
        )


def style(number: int) -> str:
    """Classes of a series: its colour and its dashes."""
    return "reference" if number == REFERENCE else f"s{number % COLOURS} d{number % DASHES}"


def marker(number: int, x: float, y: float, *, hollow: bool = False) -> Markup:
    """The marker of a series; hollow where colours begin again."""
    return tag(
        "path",
        class_="marker hollow" if hollow or number >= COLOURS else "marker",
        d=_SHAPES[number % len(_SHAPES)],
        transform=f"translate({coordinate(float(x))} {coordinate(float(y))})",
    )


def swatch(number: int) -> Markup:
    """How a series looks, for a legend."""
    parts = [outline("line", "M1 7H33")]
    if number != REFERENCE:
        parts.append(marker(number, 17.0, 7.0))
    look = f"swatch {style(number)}"
    return tag("svg", *parts, class_=look, viewBox="0 0 34 14", aria_hidden="true")


def path(x: np.ndarray, y: np.ndarray) -> str:
    """A line through places, with gaps where one is NaN."""
    pieces, pen = [], "M"
    for one, other in zip(x, y):
        if not (math.isfinite(one) and math.isfinite(other)):
            pen = "M"
            continue
        pieces.append(f"{pen}{coordinate(float(one))} {coordinate(float(other))}")
        pen = "L"
    return "".join(pieces)


def series(plot: Plot, line: Line, *, markers: bool = True) -> Markup:
    """A line with its band and its markers."""
    x, y = plot.across(line.x), plot.down(line.y)
    parts = []
    if line.low is not None:
        bands = _bands(x, plot.down(line.low), plot.down(line.high))
        parts += [outline("band", band) for band in bands]
    parts.append(outline("line", path(x, y)))
    if markers and line.number != REFERENCE:
        # a point without neighbours is seen by its marker alone
        known = np.concatenate([[False], np.isfinite(y), [False]])
        marked = ~known[:-2] & ~known[2:]
        marked[:: math.ceil(len(x) / _MOST_MARKERS)] = True
        marked &= np.isfinite(x) & np.isfinite(y)
        parts += [marker(line.number, *place) for place in zip(x[marked], y[marked])]
    return tag("g", *parts, class_=style(line.number))


def _bands(x: np.ndarray, low: np.ndarray, high: np.ndarray) -> list[str]:
    """Outlines of the runs of points that have intervals."""
    known = np.isfinite(x) & np.isfinite(low) & np.isfinite(high)
    bounds = np.flatnonzero(np.diff(np.concatenate([[False], known, [False]]).astype(int)))
    outlines = []
    for start, end in zip(bounds[::2], bounds[1::2]):
        # along the upper ends, and back along the lower ones
        run = slice(start, end)
        back = path(x[run][::-1], low[run][::-1]).replace("M", "L", 1)
        outlines.append(f"{path(x[run], high[run])}{back}Z")
    return outlines


def columns(plot: Plot, x: np.ndarray, texts: Sequence[str]) -> Markup:
    """What is said of all lines at each x, for whoever points at it."""
    places = plot.across(x)
    bounds = np.concatenate([[_LEFT], (places[1:] + places[:-1]) / 2, [plot.right]])
    parts = []
    for place, ends, text in zip(places, zip(bounds, bounds[1:]), texts):
        left, right = sorted(map(float, ends))  # wavelengths run from large to small
        area = {"x": left, "y": plot.top, "width": right - left, "height": plot.bottom - plot.top}
        cross = straight("cross", float(place), float(place), plot.top, plot.bottom)
        hit = tag("rect", class_="hit", **area)
        parts.append(tag("g", tag("title", text), hit, cross, class_="column"))
    return tag("g", *parts, class_="columns")


def lines_chart(
    title: str,
    lines: list[Line],
    *,
    x: Axis,
    y: Axis,
    x_labels: Sequence[str],
    form: Callable[[float], str] = number,
    rules: Sequence[float] = (),
) -> Markup:
    """Lines over one axis.

    Args:
        title: for the description that those who do not see it get.
        lines: with one x.
        x: axis.
        y: axis.
        x_labels: what each x is called.
        form: how a value is written.
        rules: values of horizontal lines.
    """
    plot = Plot(x, y)
    parts = [plot.horizontal("rule", value) for value in rules]
    if not any(np.isfinite(line.y).any() for line in lines):
        middle = (_LEFT + plot.right) / 2, (plot.top + plot.bottom) / 2
        parts.append(text_at(*middle, "axis middle", "undefined: no event"))
    # the first model is what the report is about: it lies above the others
    parts += [series(plot, line) for line in lines[::-1]]
    texts = [_said(lines, label, k, form) for k, label in enumerate(x_labels)]
    description = _description(title, lines, x_labels)
    return plot.draw(*parts, columns(plot, lines[0].x, texts), description=description)


def _said(lines: list[Line], label: str, k: int, form: Callable[[float], str]) -> str:
    """What is said of all lines at an x."""
    said = [label]
    for line in lines:
        text = f"{line.name}: {form(line.y[k])}"
        if line.low is not None and math.isfinite(line.low[k]):
            text += f" ({form(line.low[k])} to {form(line.high[k])})"
        said.append(text)
    return "\n".join(said)


def _description(title: str, lines: list[Line], x_labels: Sequence[str]) -> str:
    """A chart of lines in words: where each of them begins and ends."""
    said = []
    for line in lines:
        known = line.y[np.isfinite(line.y)]
        ends = f"{known[0]:.3g} to {known[-1]:.3g}" if known.size else "undefined"
        said.append(f"{shortened(line.name, 40)}: {ends}")
    return f"{title}, from {x_labels[0]} to {x_labels[-1]}. {'; '.join(said)}."


def points(plot: Plot, line: Line) -> Markup:
    """A path of points that are titled one by one, the first of them hollow."""
    x, y = plot.across(line.x), plot.down(line.y)
    known = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    parts = [outline("line thin", path(x, y))]
    for k in known:
        hollow = k == known[0] and len(known) > 1
        shape = marker(line.number, x[k], y[k], hollow=hollow)
        parts.append(tag("g", tag("title", line.texts[k]), shape, class_="point"))
    return tag("g", *parts, class_=style(line.number))


def bars(
    values: np.ndarray,
    *,
    x: Axis,
    y: Axis,
    description: str,
    texts: Sequence[str],
    number: int,
    rule: float,
) -> Markup:
    """Bars of values, one for each whole number from 0, and a line at ``rule``."""
    plot = Plot(x, y)
    bounds = plot.across(np.arange(len(values) + 1) - 0.5)
    # an ensemble of 100 members has bars of three pixels
    gap = 1.0 if len(values) < _WIDE_BARS else 0.0
    parts = []
    for left, right, value in zip(bounds, bounds[1:], values):
        if math.isfinite(value):
            top, width = float(plot.down(value)), max(float(right - left) - 2 * gap, 0.5)
            area = {"x": float(left) + gap, "width": width, "y": top, "height": plot.bottom - top}
            parts.append(tag("rect", class_="bar", **area))
    return plot.draw(
        tag("g", *parts, class_=style(number)),
        plot.horizontal("rule", rule),
        columns(plot, np.arange(len(values)), texts),
        description=description,
    )


def interval_picture(value: float, low: float, high: float, *, reach: float, mark: str) -> Markup:
    """A difference as a dot with its interval across a line at 0; better is to the right.

    Args:
        value: of the difference, signed so that more is better.
        low: end of its interval, NaN where there is none.
        high: the other end.
        reach: the difference at the right end.
        mark: its class.
    """
    if not math.isfinite(value) or not reach > 0:
        return Markup()

    def at(number: float) -> float:
        return 60 + 56 * max(-1.0, min(1.0, number / reach))

    parts = [outline("zero", "M60 1V17")]
    if math.isfinite(low):
        left, right = coordinate(at(low)), coordinate(at(high))
        parts.append(outline("whisker", f"M{left} 9H{right}M{left} 5v8M{right} 5v8"))
    parts.append(tag("circle", class_="dot", cx=at(value), cy=9, r=3.4))
    look = f"interval {mark}"
    return tag("svg", *parts, class_=look, viewBox="0 0 120 18", aria_hidden="true")
