"""Charts as SVG, drawn here: small, with texts that stay texts, colours that follow the page's, and
titles on every point.
"""

import math
from dataclasses import dataclass, field

import numpy as np
from markupsafe import Markup

from nowcast.report.axes import Axis
from nowcast.report.markup import place, shortened, tag

COLOURS, DASHES = 8, 4  # of series; see report.css
REFERENCE = -1  # the number of the series that is no model, e.g. the observation
_WIDTH, _HEIGHT = 380, 236
_LEFT, _BOTTOM = 50, 38
_MOST_MARKERS = 24
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
        beside: room right of them.
    """

    x: Axis
    y: Axis
    width: int = _WIDTH
    height: int = _HEIGHT
    top: float = 10.0
    beside: float = 12.0

    @property
    def left(self) -> float:
        """Where the y axis stands."""
        return float(_LEFT)

    @property
    def right(self) -> float:
        """Where the x axis ends."""
        return self.width - self.beside

    @property
    def bottom(self) -> float:
        """Where the x axis lies."""
        return float(self.height - _BOTTOM)

    def across(self, values) -> np.ndarray:
        """Places of values on the x axis."""
        return self.x.at(values, self.left, self.right)

    def down(self, values) -> np.ndarray:
        """Places of values on the y axis."""
        return self.y.at(values, self.bottom, self.top)

    def frame(self) -> list[Markup]:
        """Grid lines, numbers and labels."""
        parts = []
        for value, text in self.y.ticks:
            at = float(self.down(value))
            parts += [
                tag("line", class_="grid", x1=self.left, x2=self.right, y1=at, y2=at),
                tag("text", text, class_="tick end", x=self.left - 6, y=at + 3.5),
            ]
        for value, text in self.x.ticks:
            at = float(self.across(value))
            parts += [
                tag("line", class_="grid", x1=at, x2=at, y1=self.top, y2=self.bottom),
                tag("text", text, class_="tick middle", x=at, y=self.bottom + 14),
            ]
        middle = (self.left + self.right) / 2
        parts.append(tag("text", self.x.label, class_="axis middle", x=middle, y=self.height - 6))
        parts.append(
            tag(
                "path",
                class_="edge",
                d=f"M{place(self.left)} {place(self.top)}V{place(self.bottom)}H{place(self.right)}",
            )
        )
        if self.y.label:
            at = (self.top + self.bottom) / 2
            parts.append(
                tag(
                    "text",
                    self.y.label,
                    class_="axis middle",
                    transform=f"translate(11 {place(at)}) rotate(-90)",
                )
            )
        return parts

    def draw(self, *parts, description: str) -> Markup:
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
    """The marker of a series."""
    hollow = hollow or number >= COLOURS
    return tag(
        "path",
        class_="marker hollow" if hollow else "marker",
        d=_SHAPES[number % len(_SHAPES)],
        transform=f"translate({place(float(x))} {place(float(y))})",
    )


def swatch(number: int) -> Markup:
    """How a series looks, for a legend."""
    parts = [
        tag("path", class_="line", d="M1 7H33"),
        *([] if number == REFERENCE else [marker(number, 17.0, 7.0)]),
    ]
    return tag(
        "svg", *parts, class_=f"swatch {style(number)}", viewBox="0 0 34 14", aria_hidden="true"
    )


def path(x: np.ndarray, y: np.ndarray) -> str:
    """A line through places, with gaps where one is NaN."""
    pieces, pen = [], "M"
    for one, other in zip(x, y):
        if not (math.isfinite(one) and math.isfinite(other)):
            pen = "M"
            continue
        pieces.append(f"{pen}{place(float(one))} {place(float(other))}")
        pen = "L"
    return "".join(pieces)


def series(plot: Plot, line: Line, *, markers: bool = True) -> Markup:
    """A line with its band and its markers."""
    x, y = plot.across(line.x), plot.down(line.y)
    parts = []
    if line.low is not None:
        parts += [
            tag("path", class_="band", d=outline)
            for outline in _bands(x, plot.down(line.low), plot.down(line.high))
        ]
    parts.append(tag("path", class_="line", d=path(x, y)))
    if markers and line.number != REFERENCE:
        every = math.ceil(len(x) / _MOST_MARKERS)
        lonely = _alone(y)
        parts += [
            marker(line.number, a, b)
            for k, (a, b) in enumerate(zip(x, y))
            if math.isfinite(a) and math.isfinite(b) and (k % every == 0 or lonely[k])
        ]
    return tag("g", *parts, class_=style(line.number))


def _alone(y: np.ndarray) -> np.ndarray:
    """Points without a neighbour, which no line would show."""
    known = np.concatenate([[False], np.isfinite(y), [False]])
    return ~known[:-2] & ~known[2:]


def _bands(x: np.ndarray, low: np.ndarray, high: np.ndarray) -> list[str]:
    """Outlines of the runs of points that have intervals."""
    known = np.isfinite(x) & np.isfinite(low) & np.isfinite(high)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], known, [False]]).astype(int)))
    outlines = []
    for start, end in zip(edges[::2], edges[1::2]):
        there, back = slice(start, end), slice(end - 1, start - 1 if start else None, -1)
        outlines.append(
            f"{path(x[there], high[there])}{path(x[back], low[back]).replace('M', 'L', 1)}Z"
        )
    return outlines


def columns(plot: Plot, x: np.ndarray, texts: list[str]) -> Markup:
    """What is said of all lines at a place, for whoever points at it."""
    places = plot.across(x)
    edges = np.concatenate([[plot.left], (places[1:] + places[:-1]) / 2, [plot.right]])
    parts = []
    for at, left, right, text in zip(
        places, np.minimum(edges[:-1], edges[1:]), np.maximum(edges[:-1], edges[1:]), texts
    ):
        area = tag(
            "rect",
            class_="hit",
            x=float(left),
            y=plot.top,
            width=float(right - left),
            height=float(plot.bottom - plot.top),
        )
        parts.append(
            tag(
                "g",
                tag("title", text),
                area,
                tag(
                    "line", class_="cross", x1=float(at), x2=float(at), y1=plot.top, y2=plot.bottom
                ),
                class_="column",
            )
        )
    return tag("g", *parts, class_="columns")


def lines_chart(
    lines: list[Line],
    *,
    x: Axis,
    y: Axis,
    description: str,
    texts: list[str],
    rules: tuple[float, ...] = (),
    markers: bool = True,
) -> Markup:
    """Lines over one axis.

    Args:
        lines: with one x.
        x, y: axes.
        description: for those who do not see it.
        texts: what is said of all lines at each x.
        rules: values of horizontal lines.
        markers: whether the points of lines are marked.
    """
    plot = Plot(x, y)
    parts = []
    for value in rules:
        at = float(plot.down(value))
        parts.append(tag("line", class_="rule", x1=plot.left, x2=plot.right, y1=at, y2=at))
    if not any(np.isfinite(line.y).any() for line in lines):
        parts.append(
            tag(
                "text",
                "undefined: no event",
                class_="axis middle",
                x=(plot.left + plot.right) / 2,
                y=(plot.top + plot.bottom) / 2,
            )
        )
    parts += [series(plot, line, markers=markers) for line in lines[::-1]]
    return plot.draw(*parts, columns(plot, lines[0].x, texts), description=description)


def points(plot: Plot, line: Line) -> list[Markup]:
    """A path of points that are titled one by one: the first hollow, the last with its interval."""
    x, y = plot.across(line.x), plot.down(line.y)
    known = [k for k in range(len(x)) if math.isfinite(x[k]) and math.isfinite(y[k])]
    parts = [tag("path", class_="line thin", d=path(x, y))]
    for k in known:
        parts.append(
            tag(
                "g",
                tag("title", line.texts[k]),
                marker(line.number, x[k], y[k], hollow=k == known[0] and len(known) > 1),
                class_="point",
            )
        )
    return [tag("g", *parts, class_=style(line.number))]


def bars(
    values: np.ndarray,
    *,
    x: Axis,
    y: Axis,
    description: str,
    texts: list[str],
    number: int,
    rule: float,
) -> Markup:
    """Bars of values, one for each whole number from 0, and a line at ``rule``."""
    plot = Plot(x, y)
    edges = plot.across(np.arange(len(values) + 1) - 0.5)
    gap = 1.0 if len(values) < 60 else 0.0
    parts = []
    for left, right, value in zip(edges, edges[1:], values):
        if math.isfinite(value):
            top = float(plot.down(value))
            parts.append(
                tag(
                    "rect",
                    class_="bar",
                    x=float(left) + gap,
                    width=max(float(right - left) - 2 * gap, 0.5),
                    y=top,
                    height=plot.bottom - top,
                )
            )
    at = float(plot.down(rule))
    return plot.draw(
        tag("g", *parts, class_=style(number)),
        tag("line", class_="rule", x1=plot.left, x2=plot.right, y1=at, y2=at),
        columns(plot, np.arange(len(values)), texts),
        description=description,
    )


def interval_picture(value: float, low: float, high: float, *, reach: float, mark: str) -> Markup:
    """A difference as a dot with its interval beside a line at 0; better is to the right.

    Args:
        value, low, high: signed so that more is better.
        reach: the difference at the right end.
        mark: its class.
    """
    if not math.isfinite(value) or not reach > 0:
        return Markup()

    def at(number: float) -> float:
        return 60 + 56 * max(-1.0, min(1.0, number / reach))

    whisker = (
        [
            tag(
                "path",
                class_="whisker",
                d=f"M{place(at(low))} 9H{place(at(high))}M{place(at(low))} 5v8M{place(at(high))} "
                "5v8",
            )
        ]
        if math.isfinite(low)
        else []
    )
    parts = [
        tag("path", class_="zero", d="M60 1V17"),
        *whisker,
        tag("circle", class_="dot", cx=at(value), cy=9, r=3.4),
    ]
    return tag("svg", *parts, class_=f"interval {mark}", viewBox="0 0 120 18", aria_hidden="true")


def description_of(title: str, lines: list[Line], first: str, last: str) -> str:
    """A chart of lines in words: where each of them begins and ends."""
    said = []
    for line in lines:
        known = np.flatnonzero(np.isfinite(line.y))
        said.append(
            f"{shortened(line.name, 40)}: "
            + (f"{line.y[known[0]]:.3g} to {line.y[known[-1]]:.3g}" if known.size else "undefined")
        )
    return f"{title}, from {first} to {last}. {'; '.join(said)}."
