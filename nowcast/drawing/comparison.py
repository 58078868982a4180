"""What was seen, what came, and what each of several forecasts said: one picture."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nowcast.drawing import cells, colours, figures
from nowcast.drawing.panels import LineMap, empty_axes, standing_rain_legend, text_at
from nowcast.runtime.errors import UserError
from nowcast.types.arrays import unmasked
from nowcast.types.frames import Grid

# Of the layout, in inches.
_PANEL = 1.72  # the longer side of one field
_GAP, _WIDE_GAP = 0.07, 0.3  # between panels; between what was seen and what came
_LEFT, _EDGE = 1.25, 0.14  # at least, of the names of the rows; around it all
_BESIDE = 0.12  # between the names and the panels
_TOP, _LABELS, _BOTTOM = 0.6, 0.36, 0.3  # of the title, of the columns' labels, of the note

_NAME_SIZE, _BELOW_SIZE = 10, 8  # points


@dataclass(frozen=True)
class Comparison:
    """What is drawn.

    Args:
        seen: the last frame before the forecasts [mm/h], (H, W), NaN = not observed.
        came: what was observed at some lead times, (T, H, W).
        forecasts: by name, (T, H, W), NaN = no forecast.
        grid: where the pixels are.
        labels: of what was seen and of each lead time.
        captions: by the same names, a text for each field, such as a score.
        best: at each lead time the names of the forecasts whose caption is the best.
        below: by the same names, what stands in small letters below a name.
    """

    seen: np.ndarray
    came: np.ndarray
    forecasts: Mapping[str, np.ndarray]
    grid: Grid
    labels: Sequence[str]
    captions: Mapping[str, Sequence[str]]
    best: Sequence[Collection[str]]
    below: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self):
        shapes = {np.shape(fields) for fields in (self.came, *self.forecasts.values())}
        wanted = (len(self.labels) - 1, *self.grid.shape)
        if shapes != {wanted} or np.shape(self.seen) != self.grid.shape:
            raise UserError(
                f"expected fields of shape {wanted} (lead times that are labelled, rows and "
                f"columns of the grid), got {sorted(shapes)} and {np.shape(self.seen)}."
            )


def comparison_picture(
    compared: Comparison, path: str | Path, *, title: str, subtitle: str, note: str
) -> None:
    """Draw what was seen and what came above each forecast, as one PNG file.

    Args:
        compared: the fields.
        path: the file to write.
        title: one line above it all.
        subtitle: a line below it.
        note: a line at the bottom, for the source of the data.
    """
    height, width = _panel_size(compared.grid)
    left = _names_width(compared)
    leads, rows = len(compared.labels) - 1, 1 + len(compared.forecasts)
    right = left + (1 + leads) * width + _WIDE_GAP + (leads - 1) * _GAP
    tall = _TOP + _LABELS + rows * (height + _GAP) + _BOTTOM
    figure = figures.new_figure(right + _EDGE, tall)
    text_at(figure, _EDGE, 0.12, title, fontsize=13, fontweight="bold")
    text_at(figure, _EDGE, 0.38, subtitle, fontsize=9, color="#404040")
    text_at(figure, _EDGE, tall - 0.2, note, fontsize=7.5, color="#404040")
    panels = _Panels(figure, compared.grid, height, width)
    top = _TOP + _LABELS

    def column(lead: int) -> float:
        return left + width + _WIDE_GAP + lead * (width + _GAP)

    panels.draw(compared.seen, left, top, label=compared.labels[0], bar=True)
    _row_name(figure, left, top + height / 2, "radar")
    for lead, (values, label) in enumerate(zip(compared.came, compared.labels[1:])):
        panels.draw(values, column(lead), top, label=label)
    for row, (name, fields) in enumerate(compared.forecasts.items(), start=1):
        y = top + row * (height + _GAP)
        _row_name(figure, left, y + height / 2, name, compared.below.get(name, ""))
        for lead, values in enumerate(fields):
            axes = panels.draw(values, column(lead), y)
            _caption(axes, compared.captions[name][lead], bold=name in compared.best[lead])
    standing_rain_legend(figure, left + 0.1, top + height + 0.45)
    text_at(figure, left + 0.1, top + height + 0.22, "rain rate [mm/h]", fontsize=8)
    figures.save(figure, path)


def _panel_size(grid: Grid) -> tuple[float, float]:
    """Height and width of a field."""
    height, width = grid.shape[0], grid.shape[1] * cells.cell_aspect(grid)
    scale = _PANEL / max(height, width)
    return height * scale, width * scale


class _Panels:
    """Draws fields of one grid into panels of one size."""

    def __init__(self, figure, grid: Grid, height: float, width: float):
        self.figure, self.height, self.width = figure, height, width
        sides = np.ceil(np.array([height, width]) * figures.DPI).astype(int)
        self.pixels = tuple(sides.tolist())
        self.lines = LineMap(cells.resampled(grid, *self.pixels))

    def draw(self, values: np.ndarray, x: float, y: float, *, label: str = "", bar: bool = False):
        """A field at a place; its axes."""
        axes = empty_axes(self.figure, x, y, self.width, self.height)
        image = colours.rain_colours(cells.shrink(unmasked(values, "a field"), *self.pixels))
        rows, columns = self.pixels
        extent = (-0.5, columns - 0.5, rows - 0.5, -0.5)
        axes.imshow(image, interpolation="nearest", aspect="auto", extent=extent)
        self.lines.draw(axes, bar=bar)
        if label:
            axes.set_title(label, fontsize=9, pad=4)
        return axes


def _names_width(compared: Comparison) -> float:
    """How much room the names of the rows need."""
    from matplotlib.textpath import TextPath

    texts = [(name, _NAME_SIZE) for name in compared.forecasts]
    texts += [(text, _BELOW_SIZE) for text in compared.below.values()]
    lines = [(line, size) for text, size in texts for line in text.split("\n") if line.strip()]
    points = [TextPath((0, 0), line, size=size).get_extents().width for line, size in lines]
    return max(_LEFT, _EDGE + max(points, default=0.0) / 72 + _BESIDE)


def _row_name(figure, left: float, y: float, name: str, below: str = "") -> None:
    """The name of a row, right-aligned beside its middle."""
    x, lines = left - _BESIDE, name.count("\n") + 1
    text_at(figure, x, y, name, fontsize=_NAME_SIZE, ha="right", va="center")
    y += 0.09 * lines + 0.06
    text_at(
        figure, x, y, below, fontsize=_BELOW_SIZE, color="#404040", ha="right", linespacing=1.35
    )


def _caption(axes, text: str, *, bold: bool) -> None:
    """A text in the upper left corner of a panel."""
    box = {"facecolor": "white", "alpha": 0.85, "pad": 1.5, "linewidth": 0}
    place = {"transform": axes.transAxes, "va": "top", "ha": "left"}
    weight = "bold" if bold else "normal"
    axes.text(0.03, 0.97, text, fontsize=8, fontweight=weight, bbox=box, **place)
