"""Forecasts that move: GIF files, drawn pixel by pixel with Pillow, so that a rain class has
exactly its colour.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nowcast.drawing import cells
from nowcast.drawing.coastlines import lines_on
from nowcast.drawing.colours import MISSING_COLOUR, RAIN_CLASSES, RAIN_COLOURS, rain_classes
from nowcast.drawing.maps import clock_text, minutes_text
from nowcast.runtime.environment import loaded_without
from nowcast.runtime.files import replacing
from nowcast.types.frames import Forecast, Frames, Grid
from nowcast.types.functional import in_words

# A GIF contains indices into one palette: rain classes, not observed, accents of the two phases,
# greys for text, and for every class of the map the tones of a line that covers a quarter, half,
# ... of a pixel: dark on light classes, light on dark ones.
_CLASSES = len(RAIN_COLOURS) + 1
_OBSERVED, _FORECAST, _LATER, _INK, _PAPER, _LINE = 10, 11, 12, 16, 31, 32
_TONES = 4

_LONGEST_SIDE = 600  # pixels of the map
_SMALL_SIDE = 480  # small maps are enlarged up to this
_MOST_PIXELS = 12_000_000  # of all maps together, about 3 MB
_OBSERVED_MS, _FORECAST_MS, _LAST_MS = 350, 450, 2000
_MARGIN, _HEADER, _FOOTER, _NARROWEST = 12, 62, 76, 470  # pixels around the map
_BORDER = 3  # pixels around the map in the colour of its phase
_FINER = 4  # lines are drawn on so many times more pixels, to know how much of one they cover


class _Text(NamedTuple):
    """A text of a frame: its place in pixels, height, and Pillow's anchor (left, ascender)."""

    x: float
    y: float
    text: str
    size: int
    anchor: str = "la"


@dataclass(frozen=True)
class _Film:
    """What all frames have in common: how many there are and are observed, km of a pixel."""

    frames: int
    observed: int
    kilometres: float

    def phase(self, index: int) -> int:
        """The colour of an observed or of a forecast frame."""
        return _OBSERVED if index < self.observed else _FORECAST


def forecast_animation(context: Frames, forecast: Forecast, path: str | Path) -> None:
    """Animate the observed and then the forecast frames as a GIF file that loops, with a pause on
    the last frame.

    Cropped to what was observed. Grids larger than about 600 pixels (fewer in long animations) are
    drawn as means over blocks, small ones enlarged.
    """
    headings = []
    for time in context.times:
        clock = clock_text(time)
        headings.append((f"observed {clock}", f"{str(time)[:10]}  {clock}"))
    start = clock_text(forecast.analysis_time)
    for lead, time in zip(forecast.lead_times, forecast.valid_times):
        first = f"forecast {minutes_text(lead)}, valid {clock_text(time)}"
        headings.append((first, _second_heading(forecast.point, str(time)[:10], start)))
    fields = [*context.values, *forecast.values]
    window = cells.observed_window(fields)
    grid = cells.cropped(forecast.grid, window)
    height, width = _size(grid, min(_LONGEST_SIDE, int((_MOST_PIXELS / len(fields)) ** 0.5)))
    grid = cells.resampled(grid, height, width)
    tones = _line_tones(grid)
    film = _Film(len(fields), len(context), cells.cell_kilometres(grid)[1])
    frames = []
    for index, (field, heading) in enumerate(zip(fields, headings)):
        classes = _enlarged(rain_classes(cells.shrink(field[window], height, width)), height, width)
        lines = (_LINE + classes * _TONES + tones - 1).astype(np.uint8)
        frames.append(_frame(np.where(tones > 0, lines, classes), heading, index, film))
    _write(frames, film, path)


def _second_heading(point: str, day: str, start: str) -> str:
    """Of which day a forecast is, from when, and which number of its distribution; no longer than
    what is left beside the scale bar.
    """
    words = in_words(point)
    if point.startswith("event"):
        return words
    return ", ".join(filter(None, [day, f"from {start}", words]))


def _write(frames: list[np.ndarray], film: _Film, path: str | Path) -> None:
    from PIL import Image

    images = [Image.fromarray(frame) for frame in frames]
    palette = _palette().tobytes()
    for image in images:
        image.putpalette(palette)
    forecast = film.frames - film.observed
    durations = [_OBSERVED_MS] * film.observed + [_FORECAST_MS] * (forecast - 1) + [_LAST_MS]
    options = {"duration": durations, "loop": 0, "optimize": False}
    with replacing(path) as temporary:
        images[0].save(temporary, format="GIF", save_all=True, append_images=images[1:], **options)


def _palette() -> np.ndarray:
    """RGB of every index, uint8."""
    palette = np.zeros((_LINE + _CLASSES * _TONES, 3), np.uint8)
    accents = [[70, 70, 70], [213, 94, 0], [215, 215, 215]]
    palette[: _LATER + 1] = [*RAIN_COLOURS, MISSING_COLOUR, *accents]
    palette[_INK:_LINE] = np.linspace(0, 255, 16).round()[:, None]
    ground = palette[:_CLASSES].astype(float)
    is_light = ground @ [0.3, 0.59, 0.11] > 90
    line = np.where(is_light, 40, 225)[:, None]
    strength = 0.85 * np.linspace(0, 1, _TONES + 1)[1:, None]
    tones = ground[:, None] + (line - ground)[:, None] * strength
    palette[_LINE:] = tones.round().reshape(-1, 3)
    return palette


def _size(grid: Grid, side: int) -> tuple[int, int]:
    """Height and width of the map: at most ``side``, small grids enlarged by a whole number, cells
    as wide as they are on the earth.
    """
    height, width = grid.shape[0], grid.shape[1] * cells.cell_aspect(grid)
    longest = max(height, width)
    scale = side / longest
    if longest <= side:
        scale = max(1, min(side, _SMALL_SIDE) // math.ceil(longest))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _enlarged(classes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Every cell repeated until there are (height, width)."""
    rows = np.arange(height) * classes.shape[0] // height
    columns = np.arange(width) * classes.shape[1] // width
    return classes[np.ix_(rows, columns)]


def _line_tones(grid: Grid) -> np.ndarray:
    """How much of every pixel coastlines and borders cover, (H, W) uint8: 0 nothing, ``_TONES`` all
    of it.
    """
    from PIL import Image, ImageDraw

    height, width = grid.shape
    paper = Image.new("L", (width * _FINER, height * _FINER), 0)
    draw = ImageDraw.Draw(paper)
    for kind, ink in (("border", 130), ("coast", 230)):
        for line in lines_on(grid, kinds=(kind,), tolerance=0.25):
            points = ((line + 0.5) * _FINER).ravel().tolist()
            draw.line(points, fill=ink, width=_FINER)
    covered = np.asarray(paper.reduce(_FINER), np.float32) / 255
    return np.round(covered * _TONES).astype(np.uint8)


def _frame(classes: np.ndarray, heading: tuple[str, str], index: int, film: _Film) -> np.ndarray:
    """Palette indices of one whole frame: heading, map in a border of its phase, time line, legend
    with a scale bar.
    """
    height, width = classes.shape
    whole_width = max(width + 2 * _BORDER, _NARROWEST) + 2 * _MARGIN
    bottom, left = _HEADER + height + 2 * _BORDER, (whole_width - width) // 2
    frame = np.full((bottom + _FOOTER, whole_width), _PAPER, np.uint8)
    frame[_MARGIN : _HEADER - 8, _MARGIN : _MARGIN + 6] = film.phase(index)
    frame[_HEADER:bottom, left - _BORDER : left + width + _BORDER] = film.phase(index)
    top = _HEADER + _BORDER
    frame[top : top + height, left : left + width] = classes
    _draw_time_line(frame, bottom + 8, index, film)
    texts = [
        _Text(_MARGIN + 14, 8, heading[0], 20),
        _Text(_MARGIN + 14, 36, f"rain rate [mm/h]  {heading[1]}", 13),
        *_draw_legend(frame, bottom + 26),
    ]
    if film.kilometres > 0:
        texts.append(_draw_scale_bar(frame, left + width + _BORDER, film.kilometres))
    return _with_texts(frame, texts)


def _draw_time_line(frame: np.ndarray, top: int, index: int, film: _Film) -> None:
    """One bar for each frame of the animation; those that come later are pale."""
    bounds = np.linspace(_MARGIN, frame.shape[1] - _MARGIN, film.frames + 1).round().astype(int)
    for step, (start, end) in enumerate(zip(bounds, bounds[1:])):
        colour = _LATER if step > index else film.phase(step)
        frame[top : top + 6, start : max(end - 2, start + 1)] = colour


def _draw_scale_bar(frame: np.ndarray, right: int, kilometres: float) -> _Text:
    """Draw the bar above the right end of the map; what is to be written on it."""
    length, label = cells.scale_bar(90 * kilometres)
    pixels = round(length / kilometres)
    frame[_HEADER - 12 : _HEADER - 9, right - pixels : right] = _OBSERVED
    frame[_HEADER - 15 : _HEADER - 6, [right - pixels, right - 1]] = _OBSERVED
    return _Text(right - pixels / 2, _HEADER - 17, label, 11, "ms")


def _draw_legend(frame: np.ndarray, y: int) -> list[_Text]:
    """Draw the colour boxes into the frame; what is to be written under them."""
    texts = []

    def draw_box(x: int, width: int, colour: int, label: str, label_x: int) -> int:
        frame[y : y + 20, x : x + width + 1] = _OBSERVED
        frame[y + 1 : y + 19, x + 1 : x + width] = colour
        texts.append(_Text(label_x, y + 23, label, 12, "ma"))
        return x + width

    x = draw_box(_MARGIN, 52, 0, "dry", _MARGIN + 26)
    for colour, bound in enumerate(RAIN_CLASSES, start=1):
        x = draw_box(x, 36, colour, f"{bound:g}", x)
    texts.append(_Text(x + 5, y + 2, "mm/h", 12))
    draw_box(x + 50, 70, len(RAIN_COLOURS), "not observed", x + 50 + 35)
    return texts


def _with_texts(frame: np.ndarray, texts: list[_Text]) -> np.ndarray:
    """Write in black, smoothed with the greys of the palette."""
    from PIL import Image, ImageDraw, ImageFont

    matplotlib = loaded_without("matplotlib", "MPLBACKEND")

    # the font that comes with matplotlib: the same on every machine
    font = str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")
    paper = Image.new("L", frame.shape[::-1], 255)
    draw = ImageDraw.Draw(paper)
    for x, y, text, size, anchor in texts:
        draw.text((x, y), text, fill=0, font=ImageFont.truetype(font, size), anchor=anchor)
    ink = np.asarray(paper)
    return np.where(ink < 255, _INK + ink // 16, frame).astype(np.uint8)
