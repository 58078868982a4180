"""What pictures of maps are put together from: panels placed in inches, coastlines, a scale bar,
legends.
"""

import numpy as np

from nowcast.drawing import cells, colours
from nowcast.drawing.coastlines import lines_on
from nowcast.types.frames import Grid

LEGEND_BOX = 0.17
"""Height of the colour boxes of a legend [inches]."""
RAIN_LEGEND = 5.1
"""Width of the legend of rain rates [inches]."""

# width [points] and strength of lines over a field; each lies on a wider light one
_LINE_LOOKS = {"border": (0.45, 0.6), "coast": (0.6, 0.85)}


class LineMap:
    """Coastlines, borders and a scale bar for panels of one size; read once, drawn into each."""

    def __init__(self, grid: Grid):
        self.lines = {kind: lines_on(grid, kinds=(kind,)) for kind in _LINE_LOOKS}
        self.kilometres = cells.cell_kilometres(grid)[1]
        self.height, self.width = grid.shape

    def draw(self, axes, *, bar: bool) -> None:
        """A dark line on a light one: seen on every colour."""
        from matplotlib.collections import LineCollection

        def add(lines, width: float, colour: str, **options) -> None:
            options = {"linewidths": width, "colors": colour} | options
            axes.add_collection(LineCollection(lines, **options), autolim=False)

        for kind, (width, strength) in _LINE_LOOKS.items():
            add(self.lines[kind], width + 0.9, "white", alpha=0.35 * strength)
            add(self.lines[kind], width, "#303030", alpha=strength)
        if not (bar and self.kilometres > 0):
            return
        length, label = cells.scale_bar(0.4 * self.width * self.kilometres)
        x, y = 0.04 * self.width, self.height - 7
        line = [[(x, y), (x + length / self.kilometres, y)]]
        add(line, 3.4, "white", capstyle="butt")
        add(line, 1.6, "black", capstyle="butt")
        box = {"facecolor": "white", "alpha": 0.6, "pad": 0.6, "linewidth": 0}
        axes.text(x, y - 4, label, fontsize=6, va="bottom", bbox=box)


def rain_legend(figure, x: float, y: float) -> None:
    """Colour boxes of the rain classes; the lower bound of each stands under its left end."""
    left = coloured_box(figure, x, y, 0.5, colours.RAIN_COLOURS[0])
    text_at(figure, x + 0.25, y + 0.2, "dry", ha="center")
    for bound, colour in zip(colours.RAIN_CLASSES, colours.RAIN_COLOURS[1:]):
        text_at(figure, left, y + 0.2, f"{bound:g}", ha="center")
        left = coloured_box(figure, left, y, 0.36, colour)
    text_at(figure, left + 0.07, y + 0.02, "mm/h", ha="left")
    coloured_box(figure, left + 0.75, y, 0.36, colours.MISSING_COLOUR)
    text_at(figure, left + 0.93, y + 0.2, "not observed", ha="center")


def standing_rain_legend(figure, x: float, y: float) -> None:
    """The same from bottom to top, the lower bound of each class beside its lower end."""
    width, height, tall = 0.3, LEGEND_BOX, 1.7 * LEGEND_BOX  # the last for words in it
    right = x + width + 0.07
    for bound, colour in zip(colours.RAIN_CLASSES[::-1], colours.RAIN_COLOURS[:0:-1]):
        empty_axes(figure, x, y, width, height).set_facecolor(colour / 255)
        y += height
        text_at(figure, right, y, f"{bound:g}", va="center")
    empty_axes(figure, x, y, width, tall).set_facecolor(colours.RAIN_COLOURS[0] / 255)
    text_at(figure, right, y + 0.6 * tall, "dry", va="center")
    y += tall + 0.1
    empty_axes(figure, x, y, width, height).set_facecolor(colours.MISSING_COLOUR / 255)
    text_at(figure, right, y + height / 2, "no forecast", va="center")


def grey_legend(figure, x: float, y: float) -> None:
    """Boxes from black to white."""
    labels = {0: "0", 4: "grey value  ", 8: "1"}
    for index, colour in enumerate(colours.grey_colours(np.linspace(0, 1, 9))):
        right = coloured_box(figure, x, y, 0.2, colour)
        text_at(figure, x + 0.1, y + 0.2, labels.get(index, ""), ha="center")
        x = right


def coloured_box(figure, x: float, y: float, width: float, colour: np.ndarray) -> float:
    """Draw a box of a legend, and return its right side."""
    empty_axes(figure, x, y, width, LEGEND_BOX).set_facecolor(colour / 255)
    return x + width


def empty_axes(figure, x: float, y: float, width: float, height: float):
    """Framed axes placed in inches from the upper left corner."""
    w, h = figure.get_size_inches()
    place = (x / w, 1 - (y + height) / h, width / w, height / h)
    axes = figure.add_axes(place, xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(linewidth=0.6, color="#666666")
    return axes


def text_at(figure, x: float, y: float, text: str, **options) -> None:
    """A text whose upper left corner lies so many inches from that of the figure."""
    w, h = figure.get_size_inches()
    figure.text(x / w, 1 - y / h, text, **{"fontsize": 8, "va": "top"} | options)
