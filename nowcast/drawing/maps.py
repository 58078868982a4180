"""Fields side by side as a PNG file, with coastlines, borders and a scale bar where the
grid is known.
"""

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nowcast.drawing import cells, colours, figures
from nowcast.drawing.panels import (
    RAIN_LEGEND,
    LineMap,
    empty_axes,
    grey_legend,
    rain_legend,
    text_at,
)
from nowcast.evaluation.titles import evenly
from nowcast.runtime.errors import UserError
from nowcast.types.arrays import unmasked
from nowcast.types.frames import Forecast, Frames, Grid
from nowcast.types.functional import in_words

_MOST_COLUMNS = 10
_MOST_MEMBERS = 3  # more would make the picture of an ensemble longer than a screen

# Of the layout, in inches. Widths of texts are estimates on the wide side: matplotlib knows them
# only once the figure, whose size depends on them, is drawn.
_PANEL = 1.5  # the longer side of one field
_SMALLEST_PANEL = (0.3, 0.75)  # height and width: room for a label
_GAP = 0.06
_NAME_LETTER, _TITLE_LINE, _LABEL_LINE = 0.085, 0.19, 0.145
_NAME_COLUMNS = 15  # letters of a line of a row's name


def clock_text(time: np.datetime64) -> str:
    """08:15 UTC."""
    return f"{str(time)[11:16]} UTC"


def minutes_text(span: np.timedelta64) -> str:
    """+15 min, 0 min, −20 min."""
    return f"{span / np.timedelta64(60, 's'):+g} min".replace("-", "−").replace("+0 min", "0 min")


def forecast_strip(context: Frames, forecast: Forecast, path: str | Path) -> None:
    """Draw what was observed above what is forecast, and the first members of an ensemble, with
    lead times and valid times, as one PNG file.
    """
    leads = zip(forecast.lead_times, forecast.valid_times)
    labels = {
        "observed": [
            f"{minutes_text(time - forecast.analysis_time)}\n{clock_text(time)}"
            for time in context.times
        ],
        "forecast": [f"{minutes_text(lead)}\n{clock_text(time)}" for lead, time in leads],
    }
    rows = {"observed": context.values, "forecast": forecast.values}
    if forecast.members is not None:
        for number, fields in enumerate(forecast.members[:_MOST_MEMBERS], start=1):
            rows[f"member {number}"] = fields
            labels[f"member {number}"] = labels["forecast"]
    day, clock = str(forecast.analysis_time)[:10], clock_text(forecast.analysis_time)
    sequence_picture(
        rows,
        path,
        column_labels=labels,
        kind="rain",
        grid=forecast.grid,
        title=f"Rain rate forecast from {day} {clock}{_of_point(forecast)}",
    )


def _of_point(forecast: Forecast) -> str:
    """Which number of the predicted distribution is drawn, behind a title."""
    return f", {in_words(forecast.point)}" if forecast.point else ""


def sequence_picture(
    rows: dict[str, np.ndarray],
    path: str | Path,
    *,
    column_labels: dict[str, Sequence[str]],
    kind: str,
    title: str,
    grid: Grid | None = None,
) -> None:
    """Draw sequences of fields one below the other, at most ten evenly chosen frames of each,
    cropped to what was observed.

    Args:
        rows: fields by name, each (T, H, W) with one H and W; a shorter row leaves its last cells
            empty.
        path: the PNG file to write.
        column_labels: by the same names, one label per frame; drawn once for neighbouring rows that
            share them.
        kind: ``rain`` for rain rates [mm/h], ``grey`` for grey values in [0, 1].
        title: one line above it all.
        grid: where the pixels are; coastlines, borders and a scale bar are drawn where it is given.

    Raises:
        UserError: an unknown kind, no frame, fields of different size or another size than the
            grid's, or labels that do not match the frames.
    """
    figure = _sequence_figure(rows, column_labels=column_labels, kind=kind, title=title, grid=grid)
    figures.save(figure, path)


def forecast_figure(forecast: Forecast, path: str | Path | None = None):
    """The fields of a forecast on a map, as a ``matplotlib.figure.Figure``.

    Args:
        forecast: what is drawn, at most ten of its lead times.
        path: a PNG file to write it to; None: none.
    """
    day, clock = str(forecast.analysis_time)[:10], clock_text(forecast.analysis_time)
    figure = _sequence_figure(
        {"forecast": forecast.values},
        column_labels={"forecast": [minutes_text(lead) for lead in forecast.lead_times]},
        kind="rain",
        title=f"Rain rate forecast from {day} {clock}{_of_point(forecast)}",
        grid=forecast.grid,
    )
    if path is not None:
        figures.save(figure, path)
    return figure


def frames_figure(frames: Frames, path: str | Path | None = None):
    """Observed fields on a map, as a ``matplotlib.figure.Figure``.

    Args:
        frames: what is drawn, at most ten of them.
        path: a PNG file to write it to; None: none.

    Raises:
        UserError: there is no frame.
    """
    if not len(frames):
        raise UserError("there is no frame to draw; expected at least one.")
    day = str(frames.times[0])[:10]
    several_days = day != str(frames.times[-1])[:10]
    labels = [
        f"{str(time)[5:10]}\n{clock_text(time)}" if several_days else clock_text(time)
        for time in frames.times
    ]
    figure = _sequence_figure(
        {"observed": frames.values},
        column_labels={"observed": labels},
        kind="rain",
        title=f"Rain rate from {day} {clock_text(frames.times[0])}",
        grid=frames.grid,
    )
    if path is not None:
        figures.save(figure, path)
    return figure


def _sequence_figure(
    rows: dict[str, np.ndarray],
    *,
    column_labels: dict[str, Sequence[str]],
    kind: str,
    title: str,
    grid: Grid | None,
):
    """See ``sequence_picture``."""
    if kind not in _LEGENDS:
        raise UserError(f"pictures of kind {kind!r} are unknown; 'rain' and 'grey' can be drawn.")
    _check(rows, column_labels, grid)
    window = cells.observed_window([field for fields in rows.values() for field in fields])
    grid = None if grid is None else cells.cropped(grid, window)
    shown = []
    for name, fields in rows.items():
        index = evenly(len(fields), _MOST_COLUMNS)
        wrapped = textwrap.fill(name.replace("_", " "), _NAME_COLUMNS)
        fields = [unmasked(fields[i], name)[window] for i in index]
        shown.append(_Row(wrapped, fields, [column_labels[name][i] for i in index]))
    return _drawn(shown, _LEGENDS[kind], title, grid)


def _check(
    rows: dict[str, np.ndarray], column_labels: dict[str, Sequence[str]], grid: Grid | None
) -> None:
    shapes = {name: np.shape(fields) for name, fields in rows.items()}
    sequences = all(len(shape) == 3 and 0 not in shape for shape in shapes.values())
    if not rows or not sequences or len({shape[1:] for shape in shapes.values()}) > 1:
        raise UserError(
            f"rows of shapes {shapes} cannot be drawn; each must be (frames, height, width) with "
            "one height and width."
        )
    shape = next(iter(shapes.values()))[1:]
    if grid is not None and shape != grid.shape:
        raise UserError(
            f"the rows have {shape} pixels, but the grid has {grid.shape}; give the grid of the "
            "fields."
        )
    for name, fields in rows.items():
        labels = len(column_labels.get(name, ()))
        if labels != len(fields):
            raise UserError(
                f"row {name!r} has {len(fields)} frames and {labels} column labels; give one per "
                "frame."
            )


@dataclass(frozen=True)
class _Row:
    """What is drawn of a sequence: its name in lines, the chosen fields and their labels."""

    name: str
    fields: list[np.ndarray]
    labels: list[str]


@dataclass(frozen=True)
class _Legend:
    """What the colours of a kind of picture mean.

    Args:
        colour: fields (H, W) -> RGB.
        width: of the legend [inches].
        draw: draws it into a figure, its upper left corner at x and y [inches].
    """

    colour: Callable[[np.ndarray], np.ndarray]
    width: float
    draw: Callable


class _Layout:
    """Where everything goes, in inches from the upper left corner."""

    def __init__(self, rows: list[_Row], legend: _Legend, title: str, aspect: float):
        self.rows, self.legend = rows, legend
        self.panel_height, self.panel_width = _panel_size(rows[0].fields[0].shape, aspect)
        self.columns = max(len(row.fields) for row in rows)
        longest = max(len(line) for row in rows for line in row.name.split("\n"))
        self.left = 0.2 + _NAME_LETTER * longest
        self.width = max(self.column(self.columns) + 0.1, legend.width + 0.3)
        self.title = textwrap.fill(title, max(20, int((self.width - 0.2) / _NAME_LETTER)))
        self.tops, y = [], 0.18 + _TITLE_LINE * len(self.title.split("\n"))
        for index, row in enumerate(rows):
            if self.is_labelled(index):
                y += 0.08 + _LABEL_LINE * max(label.count("\n") + 1 for label in row.labels)
            self.tops.append(y)
            y += self.panel_height + _GAP
        self.legend_row = self._row_with_room()
        self.height = y + (0.5 if self.legend_row is None else 0.05)

    def column(self, index: int) -> float:
        """The left side of a column."""
        return self.left + index * (self.panel_width + _GAP)

    def is_labelled(self, index: int) -> bool:
        """Whether the labels of a row are drawn: not where the row above it has the same."""
        return index == 0 or self.rows[index].labels != self.rows[index - 1].labels

    def _row_with_room(self) -> int | None:
        """The first row that is short enough to leave room for the legend."""
        for index, row in enumerate(self.rows):
            free = (self.columns - len(row.fields)) * (self.panel_width + _GAP)
            if free > self.legend.width + 0.3 and self.panel_height > 0.5:
                return index
        return None

    def legend_corner(self) -> tuple[float, float]:
        """The legend goes right of a short row where there is room, else below everything."""
        if self.legend_row is None:
            fits = self.left + self.legend.width < self.width
            return self.left if fits else 0.15, self.height - 0.42
        x = self.column(len(self.rows[self.legend_row].fields))
        x += (self.width - x - self.legend.width) / 2
        return x, self.tops[self.legend_row] + self.panel_height / 2 - 0.2


def _panel_size(shape: tuple[int, int], aspect: float) -> tuple[float, float]:
    """Height and width of a field."""
    height, width = shape[0], shape[1] * aspect
    scale = _PANEL / max(height, width)
    return max(height * scale, _SMALLEST_PANEL[0]), max(width * scale, _SMALLEST_PANEL[1])


def _drawn(rows: list[_Row], legend: _Legend, title: str, grid: Grid | None):
    """The figure of ``sequence_picture``."""
    layout = _Layout(rows, legend, title, cells.cell_aspect(grid))
    sides = np.array([layout.panel_height, layout.panel_width])
    pixels = tuple(np.ceil(sides * figures.DPI).astype(int).tolist())
    line_map = None if grid is None else LineMap(cells.resampled(grid, *pixels))
    figure = figures.new_figure(layout.width, layout.height)
    text_at(figure, 0.1, 0.09, layout.title, fontsize=11, fontweight="bold")
    for index, (row, top) in enumerate(zip(rows, layout.tops)):
        middle = top + layout.panel_height / 2
        text_at(figure, layout.left - 0.1, middle, row.name, fontsize=9, ha="right", va="center")
        for column, (field, label) in enumerate(zip(row.fields, row.labels)):
            size = layout.panel_width, layout.panel_height
            axes = empty_axes(figure, layout.column(column), top, *size)
            image = legend.colour(cells.shrink(field, *pixels))
            extent = (-0.5, pixels[1] - 0.5, pixels[0] - 0.5, -0.5)
            axes.imshow(image, interpolation="nearest", aspect="auto", extent=extent)
            if line_map is not None:
                line_map.draw(axes, bar=column == 0)
            if layout.is_labelled(index):
                axes.set_title(label, fontsize=8, pad=3)
    legend.draw(figure, *layout.legend_corner())
    return figure


_LEGENDS = {
    "rain": _Legend(colours.rain_colours, RAIN_LEGEND, rain_legend),
    "grey": _Legend(colours.grey_colours, 2.4, grey_legend),
}
