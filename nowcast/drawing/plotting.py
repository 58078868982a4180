"""Pictures: PNG files of rain fields and score curves, animated GIFs of a forecast. Units and UTC
times on every one.

Where the grid is known, coastlines, borders and a scale bar are drawn over the rain.

Everything is drawn through matplotlib's objects or Pillow: no window, no global state, safe in
threads and loops.
"""

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nowcast.drawing.coastlines import cell_kilometres, lines_on, resampled
from nowcast.evaluation.statistics.scores import BETTER, ScoreRow
from nowcast.evaluation.table import evenly, score_title, thresholds_shown, unit_of
from nowcast.runtime.environment import loaded_without
from nowcast.runtime.errors import UserError
from nowcast.runtime.files import replacing
from nowcast.types.arrays import as_numbers, unmasked
from nowcast.types.frames import Forecast, Frames, Grid

RAIN_CLASSES = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
"""Lower edges of the colour classes [mm/h]; a rain rate on an edge belongs to the class above it.
"""

# From light to dark; neighbours stay 12 CIELAB units apart for every kind of colour blindness. Grey
# is kept for "not observed".
RAIN_COLOURS = np.array(
    [
        [255, 255, 255],
        [198, 230, 245],
        [143, 200, 235],
        [84, 163, 219],
        [35, 122, 196],
        [80, 50, 160],
        [165, 20, 95],
        [110, 0, 25],
        [30, 0, 5],
    ],
    np.uint8,
)
"""RGB of dry (below the first edge) and of the classes."""
MISSING_COLOUR = np.array([190, 190, 190], np.uint8)
"""RGB of pixels that were not observed."""
GREY_MISSING_COLOUR = np.array([230, 120, 20], np.uint8)
"""The same in grey pictures."""

_MOST_COLUMNS = 10
_MOST_MEMBERS = 3  # in a picture
_PANEL = 1.5  # inches, the longer side of one field
_DPI = 120
_LINES = [
    ("#0072B2", "o", "-"),
    ("#D55E00", "s", "--"),
    ("#009E73", "^", "-."),
    ("#CC79A7", "D", ":"),
    ("#000000", "v", "-"),
    ("#56B4E9", "P", "--"),
    ("#E69F00", "X", "-."),
    ("#7F7F7F", "*", ":"),
]  # Okabe and Ito


def rain_classes(values: np.ndarray) -> np.ndarray:
    """Colour class of rain rates [mm/h], any shape -> uint8: 0 dry, 1 to 8 the classes, 9 not
    observed (NaN).
    """
    values = as_numbers(values, "rain rates")
    return np.where(
        np.isnan(values),
        len(RAIN_COLOURS),
        np.searchsorted(np.float32(RAIN_CLASSES), values, side="right"),
    ).astype(np.uint8)


def rain_colours(values: np.ndarray) -> np.ndarray:
    """Rain rates [mm/h], any shape -> RGB uint8, one axis more."""
    return np.vstack([RAIN_COLOURS, MISSING_COLOUR])[rain_classes(values)]


def grey_colours(values: np.ndarray) -> np.ndarray:
    """Grey values in [0, 1] (clipped), any shape -> RGB uint8, one axis more."""
    values = as_numbers(values, "grey values")
    grey = np.round(np.nan_to_num(values).clip(0, 1) * 255).astype(np.uint8)
    return np.where(
        np.isnan(values)[..., None], GREY_MISSING_COLOUR, np.repeat(grey[..., None], 3, -1)
    )


def shrink(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Means over blocks, (H, W) -> at most (height, width); NaN where less than half a block was
    observed.
    """
    edges = [
        np.arange(min(n, most)) * n // min(n, most)
        for n, most in zip(values.shape, (height, width))
    ]
    sizes = np.outer(*(np.diff(edge, append=n) for edge, n in zip(edges, values.shape)))

    def blocks(array):
        return np.add.reduceat(np.add.reduceat(array, edges[0], axis=0), edges[1], axis=1)

    observed = ~np.isnan(values)
    count = blocks(observed.astype(np.float64))
    mean = blocks(np.where(observed, values, 0.0).astype(np.float64)) / np.maximum(count, 1)
    return np.where(count * 2 >= sizes, mean, np.nan).astype(np.float32)


def _observed_part(fields: Sequence[np.ndarray]) -> tuple[slice, slice]:
    """Rows and columns around everything observed in any of the fields, each (H, W); all of them
    where nothing was.
    """
    seen = np.zeros(fields[0].shape, bool)
    for field in fields:
        seen |= ~np.isnan(field)
    if not seen.any():
        return slice(None), slice(None)
    return tuple(
        slice(index.min(), index.max() + 1)
        for index in (np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0)))
    )


def cell_aspect(grid: Grid | None) -> float:
    """Width over height of a cell on the earth, in the middle of a grid: 0.6 for degrees at 53
    north; 1 where the two hardly differ.
    """
    tall, wide = (1.0, 1.0) if grid is None else cell_kilometres(grid)
    aspect = wide / tall if tall > 0 else 1.0
    return aspect if 0.05 < aspect < 20 and abs(aspect - 1) > 0.03 else 1.0


def scale_bar(kilometres: float) -> tuple[float, str]:
    """The longest of 1, 2, 5, 10, 20, ... km that is no longer than this, and its label."""
    power = 10.0 ** math.floor(math.log10(kilometres))
    length = power * max(step for step in (1, 2, 5) if step <= kilometres / power + 1e-9)
    return length, f"{length:g} km"


def _part_of(grid: Grid, part: tuple[slice, slice]) -> Grid:
    """The grid of some rows and columns."""
    return Grid(grid.crs, grid.x[part[1]], grid.y[part[0]])


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
    colours = {"rain": rain_colours, "grey": grey_colours}.get(kind)
    if colours is None:
        raise UserError(f"pictures of kind {kind!r} are unknown; 'rain' and 'grey' can be drawn.")
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
    wrong = [name for name in rows if len(column_labels.get(name, ())) != len(rows[name])]
    if wrong:
        name = wrong[0]
        raise UserError(
            f"row {name!r} has {len(rows[name])} frames and {len(column_labels.get(name, ()))} "
            "column labels; give one per frame."
        )
    part = _observed_part([field for fields in rows.values() for field in fields])
    _draw_rows(
        {name: unmasked(fields, name)[:, *part] for name, fields in rows.items()},
        path,
        column_labels,
        colours,
        title,
        None if grid is None else _part_of(grid, part),
    )


def _draw_rows(rows, path, column_labels, colours, title, grid) -> None:
    """The layout of ``sequence_picture``, in inches from the top left corner."""
    chosen = {name: evenly(len(fields), _MOST_COLUMNS) for name, fields in rows.items()}
    labels = {name: [column_labels[name][i] for i in index] for name, index in chosen.items()}
    names = {name: textwrap.fill(name.replace("_", " "), 15) for name in rows}
    gap, columns = 0.06, max(map(len, chosen.values()))
    panel_h, panel_w = _panel_size(next(iter(rows.values())).shape[1:], cell_aspect(grid))
    pixels = (math.ceil(panel_h * _DPI), math.ceil(panel_w * _DPI))
    line_map = None if grid is None else _LineMap(grid, *pixels)
    left = 0.2 + 0.085 * max(len(line) for name in names.values() for line in name.split("\n"))
    width = max(left + columns * (panel_w + gap) + 0.1, _legend_width(colours) + 0.3)
    title = textwrap.fill(title, max(20, int((width - 0.2) / 0.085)))
    y, previous, tops = 0.18 + 0.19 * len(title.split("\n")), None, {}
    for name in rows:
        if labels[name] != previous:
            y += 0.08 + 0.145 * max(label.count("\n") + 1 for label in labels[name])
        tops[name], previous = y, labels[name]
        y += panel_h + gap
    # The legend goes beside a short row where there is room, else below everything.
    beside = [
        name
        for name in rows
        if (columns - len(chosen[name])) * (panel_w + gap) > _legend_width(colours) + 0.3
        and panel_h > 0.5
    ]
    height = y + (0.05 if beside else 0.5)
    figure = _figure(width, height)
    figure.text(0.1 / width, 1 - 0.09 / height, title, fontsize=11, fontweight="bold", va="top")
    previous = None
    for name, fields in rows.items():
        figure.text(
            (left - 0.1) / width,
            1 - (tops[name] + panel_h / 2) / height,
            names[name],
            fontsize=9,
            ha="right",
            va="center",
        )
        for column, index in enumerate(chosen[name]):
            axes = _axes(figure, left + column * (panel_w + gap), tops[name], panel_w, panel_h)
            axes.imshow(
                colours(shrink(unmasked(fields[index], name), *pixels)),
                interpolation="nearest",
                aspect="auto",
                extent=(-0.5, pixels[1] - 0.5, pixels[0] - 0.5, -0.5),
            )
            if line_map is not None:
                line_map.draw(axes, bar=column == 0)
            if labels[name] != previous:
                axes.set_title(labels[name][column], fontsize=8, pad=3)
        previous = labels[name]
    if beside:
        shift = left + len(chosen[beside[0]]) * (panel_w + gap)
        _legend(
            figure,
            shift + (width - shift - _legend_width(colours)) / 2,
            tops[beside[0]] + panel_h / 2 - 0.2,
            colours,
        )
    else:
        _legend(
            figure, left if left + _legend_width(colours) < width else 0.15, height - 0.42, colours
        )
    _save(figure, path)


def _panel_size(shape: tuple[int, int], aspect: float) -> tuple[float, float]:
    """Height and width of a field in inches; the width leaves room for a label."""
    height, width = shape[0], shape[1] * aspect
    scale = _PANEL / max(height, width)
    return max(height * scale, 0.3), max(width * scale, 0.75)


class _LineMap:
    """Coastlines, borders and a scale bar for panels of one size; read once, drawn into each."""

    def __init__(self, grid: Grid, height: int, width: int):
        grid = resampled(grid, height, width)
        self.lines = {kind: lines_on(grid, kinds=(kind,)) for kind in ("coast", "border")}
        self.kilometres, self.width, self.height = cell_kilometres(grid)[1], width, height

    def draw(self, axes, *, bar: bool) -> None:
        """A dark line on a light one: seen on every colour."""
        from matplotlib.collections import LineCollection

        for kind, width, strength in (("border", 0.45, 0.6), ("coast", 0.6, 0.85)):
            axes.add_collection(
                LineCollection(
                    self.lines[kind], linewidths=width + 0.9, colors="white", alpha=0.35 * strength
                ),
                autolim=False,
            )
            axes.add_collection(
                LineCollection(
                    self.lines[kind], linewidths=width, colors="#303030", alpha=strength
                ),
                autolim=False,
            )
        if bar and self.kilometres > 0:
            length, label = scale_bar(0.4 * self.width * self.kilometres)
            x, y = 0.04 * self.width, self.height - 7
            axes.add_collection(
                LineCollection(
                    [[(x, y), (x + length / self.kilometres, y)]],
                    linewidths=3.4,
                    colors="white",
                    capstyle="butt",
                )
            )
            axes.add_collection(
                LineCollection(
                    [[(x, y), (x + length / self.kilometres, y)]],
                    linewidths=1.6,
                    colors="black",
                    capstyle="butt",
                )
            )
            axes.text(
                x,
                y - 4,
                label,
                fontsize=6,
                va="bottom",
                bbox={"facecolor": "white", "alpha": 0.6, "pad": 0.6, "linewidth": 0},
            )


def _legend_width(colours) -> float:
    return 5.1 if colours is rain_colours else 2.4


def _legend(figure, x: float, y: float, colours) -> None:
    """Colour boxes with their meaning, 0.4 inches high, the corner at (x, y) inches."""
    entries = (
        [("dry", 0.5), *((f"{edge:g}", 0.36) for edge in RAIN_CLASSES)]
        if colours is rain_colours
        else [("0", 0.2), *[("", 0.2)] * 3, ("grey value  ", 0.2), *[("", 0.2)] * 3, ("1", 0.2)]
    )
    palette = (
        RAIN_COLOURS if colours is rain_colours else grey_colours(np.linspace(0, 1, len(entries)))
    )
    right = x
    for (label, width), colour in zip(entries, palette):
        _axes(figure, right, y, width, 0.17).set_facecolor(colour / 255)
        # An edge is written under the left end of its box: the class begins there.
        centred = colours is not rain_colours or label == "dry"
        _text(figure, right + (width / 2 if centred else 0), y + 0.2, label, ha="center")
        right += width
    if colours is rain_colours:
        _text(figure, right + 0.07, y + 0.02, "mm/h", ha="left")
        _axes(figure, right + 0.75, y, 0.36, 0.17).set_facecolor(MISSING_COLOUR / 255)
        _text(figure, right + 0.93, y + 0.2, "not observed", ha="center")


def _figure(width: float, height: float, **options):
    loaded_without("matplotlib", "MPLBACKEND")
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=_DPI, facecolor="white", **options)


def _axes(figure, x: float, y: float, width: float, height: float):
    """Empty framed axes placed in inches from the top left corner."""
    w, h = figure.get_size_inches()
    axes = figure.add_axes(
        (x / w, 1 - (y + height) / h, width / w, height / h), xticks=[], yticks=[]
    )
    for spine in axes.spines.values():
        spine.set(linewidth=0.6, color="#666666")
    return axes


def _text(figure, x: float, y: float, text: str, **options) -> None:
    w, h = figure.get_size_inches()
    figure.text(x / w, 1 - y / h, text, fontsize=8, va="top", **options)


def _save(figure, path: str | Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def _minutes(time: np.timedelta64) -> str:
    """+15 min, 0 min, −20 min."""
    return f"{time / np.timedelta64(60, 's'):+g} min".replace("-", "−").replace("+0 min", "0 min")


def _clock(time: np.datetime64) -> str:
    """08:15 UTC."""
    return f"{str(time)[11:16]} UTC"


def forecast_strip(context: Frames, forecast: Forecast, path: str | Path) -> None:
    """Draw what was observed above what is forecast, and the first members of an ensemble, with
    lead times and valid times, as one PNG file.
    """
    members = (
        {}
        if forecast.members is None
        else {
            f"member {number}": fields
            for number, fields in enumerate(forecast.members[:_MOST_MEMBERS], start=1)
        }
    )
    labels = {
        "observed": [f"{_minutes(t - forecast.analysis_time)}\n{_clock(t)}" for t in context.times],
        "forecast": [
            f"{_minutes(lead)}\n{_clock(t)}"
            for lead, t in zip(forecast.lead_times, forecast.valid_times)
        ],
    }
    labels |= dict.fromkeys(members, labels["forecast"])
    day = str(forecast.analysis_time)[:10]
    sequence_picture(
        {"observed": context.values, "forecast": forecast.values, **members},
        path,
        column_labels=labels,
        kind="rain",
        grid=forecast.grid,
        title=f"Rain rate forecast from {day} {_clock(forecast.analysis_time)}",
    )


def forecast_animation(context: Frames, forecast: Forecast, path: str | Path) -> None:
    """Animate the observed and then the forecast frames as a GIF file that loops, with a pause on
    the last frame.

    Cropped to what was observed. Grids larger than about 600 pixels (fewer in long animations) are
    drawn as means over blocks, small ones enlarged.
    """
    day_and_clock = [f"{str(t)[:10]}  {_clock(t)}" for t in context.times]
    headings = [(f"observed {_clock(t)}", text) for t, text in zip(context.times, day_and_clock)]
    headings += [
        (
            f"forecast {_minutes(lead)}, valid {_clock(t)}",
            f"{str(t)[:10]}, from {_clock(forecast.analysis_time)}",
        )
        for lead, t in zip(forecast.lead_times, forecast.valid_times)
    ]
    fields = [*context.values, *forecast.values]
    part = _observed_part(fields)
    _write_gif(
        [field[part] for field in fields],
        headings,
        path,
        observed_frames=len(context),
        grid=_part_of(forecast.grid, part),
    )


# A GIF holds indices into one palette: rain classes, not observed, accents of the two phases, greys
# for text, and for every
# class of the map the tones of a line that covers a quarter, half, ... of a pixel: dark on light
# classes, light on dark ones.
_OBSERVED, _FORECAST, _LATER, _INK, _PAPER, _LINE = 10, 11, 12, 16, 31, 32
_TONES = 4
_GIF_PALETTE = np.zeros((_LINE + 10 * _TONES, 3), np.uint8)
_GIF_PALETTE[:13] = [*RAIN_COLOURS, MISSING_COLOUR, [70, 70, 70], [213, 94, 0], [215, 215, 215]]
_GIF_PALETTE[_INK:_LINE] = np.linspace(0, 255, 16).round()[:, None]
_LINE_COLOURS = np.where((_GIF_PALETTE[:10] @ [0.3, 0.59, 0.11] > 90)[:, None], 40, 225)
_GIF_PALETTE[_LINE:] = (
    (
        _GIF_PALETTE[:10, None]
        + (_LINE_COLOURS - _GIF_PALETTE[:10].astype(float))[:, None]
        * (0.85 * np.linspace(0, 1, _TONES + 1)[1:, None])
    )
    .round()
    .reshape(-1, 3)
)
_GIF_SIDE, _GIF_PIXELS = (
    600,
    12_000_000,
)  # longest side of the map; pixels of all maps together, about 3 MB
_GIF_MILLISECONDS = (350, 450, 2000)  # observed, forecast, last
_GIF_MARGIN, _GIF_HEADER, _GIF_FOOTER, _GIF_WIDTH = 12, 62, 76, 470


def _write_gif(
    fields: list[np.ndarray],
    headings: list[tuple[str, str]],
    path: str | Path,
    *,
    observed_frames: int,
    grid: Grid,
) -> None:
    """Fields [mm/h], each (H, W), under two heading lines each; the first ``observed_frames`` are
    marked as observed.
    """
    from PIL import Image

    height, width = _gif_size(grid, min(_GIF_SIDE, int((_GIF_PIXELS / len(fields)) ** 0.5)))
    shown = resampled(grid, height, width)
    tones, kilometres = _line_tones(shown), cell_kilometres(shown)[1]
    images = []
    for i, (field, heading) in enumerate(zip(fields, headings)):
        classes = _gif_map(field, height, width)
        image = Image.fromarray(
            _gif_frame(
                np.where(tones > 0, _LINE + classes * _TONES + tones - 1, classes).astype(np.uint8),
                heading,
                i,
                len(fields),
                observed_frames,
                kilometres,
            )
        )
        image.putpalette(_GIF_PALETTE.tobytes())
        images.append(image)
    observed, forecast, last = _GIF_MILLISECONDS
    durations = (
        [observed] * observed_frames + [forecast] * (len(fields) - observed_frames - 1) + [last]
    )
    with replacing(path) as temporary:
        images[0].save(
            temporary,
            format="GIF",
            save_all=True,
            append_images=images[1:],
            duration=durations,
            loop=0,
            optimize=False,
        )


def _gif_size(grid: Grid, side: int) -> tuple[int, int]:
    """Height and width of the map: at most ``side``, small grids enlarged by a whole number, cells
    as wide as they are on the earth.
    """
    height, width = grid.shape[0], grid.shape[1] * cell_aspect(grid)
    longest = max(height, width)
    scale = side / longest if longest > side else max(1, min(side, 480) // math.ceil(longest))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _gif_map(field: np.ndarray, height: int, width: int) -> np.ndarray:
    """Colour classes of a field in so many pixels."""
    classes = rain_classes(shrink(field, height, width))
    return classes[
        np.ix_(*(np.arange(n) * have // n for n, have in zip((height, width), classes.shape)))
    ]


def _line_tones(grid: Grid) -> np.ndarray:
    """How much of every pixel coastlines and borders cover, (H, W) uint8: 0 nothing, ``_TONES`` all
    of it.
    """
    from PIL import Image, ImageDraw

    fine = 4
    paper = Image.new("L", (grid.shape[1] * fine, grid.shape[0] * fine), 0)
    draw = ImageDraw.Draw(paper)
    for kind, ink in (("border", 130), ("coast", 230)):
        for line in lines_on(grid, kinds=(kind,), tolerance=0.25):
            draw.line(
                [tuple(point) for point in ((line + 0.5) * fine).tolist()], fill=ink, width=fine
            )
    covered = np.asarray(paper.reduce(fine), np.float32) / 255
    return np.round(covered * _TONES).astype(np.uint8)


def _gif_frame(
    classes: np.ndarray,
    heading: tuple[str, str],
    index: int,
    frames: int,
    observed_frames: int,
    kilometres: float,
) -> np.ndarray:
    """Palette indices of one whole frame: heading, map in a border of its phase, time line, legend
    with a scale bar.
    """
    h, w = classes.shape
    margin, width = _GIF_MARGIN, max(w + 6, _GIF_WIDTH) + 2 * _GIF_MARGIN
    frame = np.full((_GIF_HEADER + h + 6 + _GIF_FOOTER, width), _PAPER, np.uint8)
    phase = _OBSERVED if index < observed_frames else _FORECAST
    frame[margin : _GIF_HEADER - 8, margin : margin + 6] = phase
    x = (width - w) // 2
    frame[_GIF_HEADER : _GIF_HEADER + h + 6, x - 3 : x + w + 3] = phase
    frame[_GIF_HEADER + 3 : _GIF_HEADER + 3 + h, x : x + w] = classes
    texts = [
        (margin + 14, 8, heading[0], 20),
        (margin + 14, 36, f"rain rate [mm/h]  {heading[1]}", 13),
    ]
    y = _GIF_HEADER + h + 6
    edges = np.linspace(margin, width - margin, frames + 1).round().astype(int)
    for i, (start, end) in enumerate(zip(edges, edges[1:])):
        colour = _LATER if i > index else _OBSERVED if i < observed_frames else _FORECAST
        frame[y + 8 : y + 14, start : max(end - 2, start + 1)] = colour
    texts += _gif_legend(frame, y + 26)
    if kilometres > 0:
        length, label = scale_bar(90 * kilometres)
        pixels = round(length / kilometres)
        right = x + w + 3
        frame[_GIF_HEADER - 12 : _GIF_HEADER - 9, right - pixels : right] = _OBSERVED
        frame[_GIF_HEADER - 15 : _GIF_HEADER - 6, [right - pixels, right - 1]] = _OBSERVED
        texts.append((right - pixels / 2, _GIF_HEADER - 17, label, 11, "ms"))
    return _with_texts(frame, texts)


def _gif_legend(frame: np.ndarray, y: int) -> list[tuple]:
    """Draw the colour boxes into the frame; what is to be written under them."""
    x, texts = _GIF_MARGIN, []
    for colour, (label, step) in enumerate(
        [("dry", 52), *((f"{edge:g}", 36) for edge in RAIN_CLASSES), ("not observed", 70)]
    ):
        x += 50 if colour == len(RAIN_COLOURS) else 0
        frame[y : y + 20, x : x + step + 1] = _OBSERVED
        frame[y + 1 : y + 19, x + 1 : x + step] = colour
        centre = x if 0 < colour < len(RAIN_COLOURS) else x + step // 2
        texts.append((centre, y + 23, label, 12, "ma"))
        x += step
    return [*texts, (x - 70 - 45, y + 2, "mm/h", 12, "la")]


def _with_texts(frame: np.ndarray, texts: list[tuple]) -> np.ndarray:
    """Write (x, y, text, size, anchor) in black, smoothed with the greys of the palette."""
    from PIL import Image, ImageDraw, ImageFont

    matplotlib = loaded_without("matplotlib", "MPLBACKEND")

    font = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    paper = Image.new("L", frame.shape[::-1], 255)
    draw = ImageDraw.Draw(paper)
    for x, y, text, size, *anchor in texts:
        draw.text(
            (x, y),
            text,
            fill=0,
            font=ImageFont.truetype(str(font), size),
            anchor=anchor[0] if anchor else "la",
        )
    ink = np.asarray(paper)
    return np.where(ink < 255, _INK + ink // 16, frame).astype(np.uint8)


def score_curves(
    rows_by_model: dict[str, list[ScoreRow]], path: str | Path, *, lead_minutes: float | None
) -> None:
    """Draw the main scores by lead time, one small panel each, as a PNG file.

    Args:
        rows_by_model: the rows of every model, made with the same settings.
        path: the file to write.
        lead_minutes: minutes of one step, None to count frames.

    Raises:
        UserError: there is no score by lead time in the rows.
    """
    panels = _panels([row for rows in rows_by_model.values() for row in rows])
    if not panels:
        raise UserError(
            "there is no score by lead time to draw; give the rows of at least one verified model."
        )
    columns = min(len(panels), 3)
    lines = math.ceil(len(panels) / columns)
    figure = _figure(
        3.4 * columns, 2.2 * lines + 0.6 + 0.2 * (len(rows_by_model) // 4), layout="constrained"
    )
    all_axes = np.atleast_1d(figure.subplots(lines, columns, sharex=True, squeeze=False)).ravel()
    for axes, (score, threshold) in zip(all_axes, panels):
        _score_panel(axes, rows_by_model, score, threshold, lead_minutes)
    for i, axes in enumerate(all_axes):
        axes.set_visible(i < len(panels))
        if len(panels) - columns <= i < len(panels):
            axes.xaxis.set_tick_params(labelbottom=True)
            axes.set_xlabel("frame" if lead_minutes is None else "lead time [min]")
    handles = {
        line.get_label(): line
        for line in all_axes[0].get_lines()
        if not line.get_label().startswith("_")
    }
    figure.legend(
        handles.values(),
        handles.keys(),
        loc="outside upper center",
        ncols=4,
        frameon=False,
        fontsize=9,
    )
    _save(figure, path)


def _panels(rows: list[ScoreRow]) -> list[tuple[str, float | None]]:
    """Which scores are drawn: three event scores for each of three thresholds, then the others."""
    present = {(row.score, row.threshold) for row in rows if row.lead is not None}
    events = [
        (score, threshold)
        for threshold in thresholds_shown(rows)
        for score in ("csi", "far", "frequency_bias")
    ]
    others = [
        (score, None)
        for score in ("cross_entropy", "mae", "mse", "correlation", "ssim", "ssim_range2", "psnr")
    ]
    return [panel for panel in events + others if panel in present]


def _score_panel(axes, rows_by_model, score, threshold, lead_minutes) -> None:
    for (model, rows), (colour, marker, style) in zip(
        rows_by_model.items(), _LINES * len(rows_by_model)
    ):
        points = sorted(
            (
                row.lead * (lead_minutes or 1),
                *(
                    value if math.isfinite(value) else math.nan
                    for value in (row.value, row.low, row.high)
                ),
            )
            for row in rows
            if _is_of(row, score, threshold)
        )
        leads, values, low, high = zip(*points)
        axes.plot(
            leads,
            values,
            color=colour,
            marker=marker,
            linestyle=style,
            markersize=3.5,
            linewidth=1.3,
            label=model,
        )
        axes.fill_between(leads, low, high, color=colour, alpha=0.15, linewidth=0)
    if score == "frequency_bias":
        axes.axhline(1, color="#999999", linewidth=0.8, zorder=0)
    if score == "cross_entropy":
        _floor(axes, rows_by_model, lead_minutes)
    _limit(
        axes,
        [
            value
            for rows in rows_by_model.values()
            for row in rows
            if _is_of(row, score, threshold)
            for value in (row.value, row.high)
        ],
        score,
    )
    units = {"cross_entropy": " [nats]", "psnr": " [dB]"} | (
        {} if lead_minutes is None else {"mae": " [mm/h]", "mse": " [mm²/h²]"}
    )
    axes.set_title(
        f"{score_title(score, threshold, unit=unit_of(lead_minutes))}{units.get(score, '')}",
        fontsize=9,
        loc="left",
    )
    direction = {"higher": "↑ better", "lower": "↓ better", "near 1": "1 is best"}[BETTER[score]]
    axes.set_title(direction, fontsize=7.5, loc="right", color="#555555")
    axes.tick_params(labelsize=8)
    axes.grid(color="#e5e5e5", linewidth=0.6)


def _is_of(row: ScoreRow, score: str, threshold: float | None) -> bool:
    """Whether a row is a point of a panel: at a lead, pixel by pixel."""
    return (
        row.lead is not None
        and (row.score, row.threshold) == (score, threshold)
        and row.window in (None, 1)
    )


def _limit(axes, values: list[float], score: str) -> None:
    """The value axis from 0 (correlations may lie lower, PSNR starts anywhere) to a little above
    the largest value.
    """
    finite = [value for value in values if math.isfinite(value)] + (
        [1.0] if score == "frequency_bias" else []
    )
    if not any(math.isfinite(value) for value in values):
        axes.text(
            0.5,
            0.5,
            "undefined: no event",
            transform=axes.transAxes,
            ha="center",
            va="center",
            fontsize=8,
            color="#777777",
        )
    if score != "psnr":
        axes.set_ylim(min([0, *finite]) * 1.1, (max([0, *finite]) or 1) * 1.06)


def _floor(axes, rows_by_model, lead_minutes) -> None:
    """What a perfect forecast costs, as a dotted line."""
    rows = next(iter(rows_by_model.values()))
    points = sorted(
        (row.lead * (lead_minutes or 1), row.value)
        for row in rows
        if row.score == "cross_entropy_floor" and row.lead is not None
    )
    if points:
        axes.plot(
            *zip(*points), color="#999999", linestyle=(0, (1, 1)), linewidth=1.3, label="_floor"
        )
        axes.annotate(
            "perfect forecast",
            points[-1],
            xytext=(0, 4),
            textcoords="offset points",
            ha="right",
            fontsize=7.5,
            color="#777777",
        )


def likeness(
    records: list[dict],
    path: str | Path,
    *,
    wavelengths: np.ndarray,
    rates: Sequence[float],
    sizes: Sequence[str],
) -> None:
    """Statistics of several sets of rain beside each other, the first one drawn thick.

    Args:
        records: of ``nowcast benchmark what=synthetic``: "case", "exceedance" by rate, "power" by
            wavelength, "correlation" by size and lead; None where there is no number.
        path: the picture.
        wavelengths: of the power [pixels].
        rates: of the exceedance [mm/h].
        sizes: names of the sizes.
    """
    figure = _figure(13, 7.6, layout="constrained")
    axes = figure.subplots(2, 3).ravel()
    for index, record in enumerate(records):
        colour, _, style = _LINES[index % len(_LINES)]
        line = {
            "color": colour,
            "linestyle": style,
            "linewidth": 2.6 if index == 0 else 1.3,
            "label": record["case"],
        }
        axes[0].loglog(rates, [share or np.nan for share in record["exceedance"]], **line)
        axes[1].loglog(
            wavelengths, [np.nan if power is None else power for power in record["power"]], **line
        )
        for place, correlations in zip(axes[2:], record["correlation"]):
            place.plot(
                np.arange(1, len(correlations) + 1),
                [np.nan if value is None else value for value in correlations],
                **line,
            )
    axes[0].set(title="share of the area at or above a rate", xlabel="mm/h")
    axes[1].set(title="power of 10 log10 of the rate [dB²]", xlabel="wavelength [pixels]")
    for place, size in zip(axes[2:], sizes):
        place.set(
            title=f"correlation along the motion, {size}", xlabel="frames ahead", ylim=(-0.05, 1.02)
        )
    for place in axes:
        place.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    _save(figure, path)


def training_curve(
    epochs: Sequence[int],
    train_loss: Sequence[float],
    validation_loss: Sequence[float],
    path: str | Path,
    *,
    validation_csi: Sequence[float] = (),
) -> None:
    """Draw the losses by epoch, and the CSI of the validation where that chose the weights, and
    mark the epoch whose weights were kept, as a PNG file; NaN leaves a gap.

    Raises:
        UserError: no epoch, or sequences of different length.
    """
    if not len(epochs) or not len(epochs) == len(train_loss) == len(validation_loss):
        raise UserError(
            f"{len(epochs)} epochs, {len(train_loss)} training losses and {len(validation_loss)} "
            "validation losses came; "
            "give one or more of each, equally many."
        )
    from matplotlib.ticker import MaxNLocator

    figure = _figure(6.4, 3.6, layout="constrained")
    axes = figure.subplots()
    for losses, label, (colour, marker, style) in zip(
        (train_loss, validation_loss), ("training", "validation"), _LINES
    ):
        axes.plot(
            epochs,
            losses,
            color=colour,
            marker=marker,
            linestyle=style,
            markersize=3,
            linewidth=1.4,
            label=label,
        )
    finite = [value for value in (*train_loss, *validation_loss) if math.isfinite(value)]
    if finite and min(finite) > 0 and max(finite) > 20 * min(finite):
        axes.set_yscale("log")
    title = "Loss by epoch"
    scored = len(validation_csi) == len(epochs) and np.nan_to_num(validation_csi).max() > 0
    if scored:
        best = int(np.nanargmax(validation_csi))
        beside = axes.twinx()
        beside.plot(
            epochs,
            validation_csi,
            color=_LINES[2][0],
            marker=_LINES[2][1],
            linestyle=_LINES[2][2],
            markersize=3,
            linewidth=1.4,
        )
        beside.plot(
            epochs[best],
            validation_csi[best],
            "o",
            markersize=10,
            markerfacecolor="none",
            color="black",
        )
        beside.set_ylabel("CSI", color=_LINES[2][0])
        title = (
            f"Loss and CSI by epoch: best CSI {validation_csi[best]:.4g} at epoch {epochs[best]}"
        )
    elif np.isfinite(validation_loss).any():
        best = int(np.nanargmin(np.where(np.isfinite(validation_loss), validation_loss, np.nan)))
        axes.plot(
            epochs[best],
            validation_loss[best],
            "o",
            markersize=10,
            markerfacecolor="none",
            color="black",
            label="best",
        )
        title += f": best validation {validation_loss[best]:.4g} at epoch {epochs[best]}"
    axes.set_title(title, fontsize=10, loc="left")
    axes.set(xlabel="epoch", ylabel="loss")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(color="#e5e5e5", linewidth=0.6)
    axes.legend(frameon=False)
    _save(figure, path)
