"""Cases as pictures inside the page: PNG files with a palette of the rain classes, as data URIs.

Missing pixels are hatched in grey (in orange where the picture itself is grey), never white.
"""

import base64
import hashlib
import io
import math
from dataclasses import replace

import numpy as np

from nowcast.drawing import cells
from nowcast.drawing.coastlines import lines_on
from nowcast.drawing.colours import GREY_MISSING_COLOUR, MISSING_COLOUR, RAIN_COLOURS, rain_classes
from nowcast.evaluation.results import ShownCase
from nowcast.evaluation.table import evenly, lead_label
from nowcast.report.charts import path
from nowcast.report.document import Animation, Frame, Panel
from nowcast.types.frames import Grid

BUDGET = 6_000_000  # bytes of all pictures, before base64 makes them a third larger
SIDES = (
    512,
    384,
    256,
    171,
    128,
    86,
    64,
    43,
)  # pixels of the longer side, of which the first is taken with which they fit; results keep 512
_SMALLEST_WIDTH = 240  # CSS pixels of a picture on the page
_HATCH = 7  # pixels from one line to the next
_PRINTED = 4
_GREYS = 250
_LONGEST_LINES = 150_000  # characters of coastlines


def animations(
    cases: list[ShownCase], *, grey: bool, lead_minutes: float | None, lines: dict[str, str]
) -> tuple[list[Animation], int]:
    """Cases as animations, and the longer side of their pictures at most: as large as fits into the
    budget.

    Args:
        cases: to show; the last ones are left out where even the smallest pictures do not fit.
        grey: whether their values are grey levels, not rain rates.
        lead_minutes: minutes of one step, None to count frames.
        lines: takes the coastlines that they refer to, as SVG paths by id.
    """
    made: list[Animation] = []
    for side in SIDES:
        made, left = [], BUDGET
        for case in cases:
            animation, size = _animation(case, side, grey, lead_minutes, left)
            left -= size
            if left < 0:
                break
            made.append(animation)
        else:
            break
    found = []
    for case, animation in zip(cases, made):
        drawn, bar = _map(case.grid, *animation.pixels[::-1])
        name = f"lines-{hashlib.sha256(drawn.encode()).hexdigest()[:12]}" if drawn else ""
        lines |= {name: drawn} if drawn else {}
        found.append(replace(animation, lines=name, bar=bar))
    return found, side


def _animation(
    case: ShownCase, side: int, grey: bool, lead_minutes: float | None, budget: int
) -> tuple[Animation, int]:
    """An animation, and the bytes of its pictures; where they pass the budget, it is not whole."""
    height, width = _size(case.observation.shape[1:], side)
    first = 1 - len(case.context)
    panels, spent = [], 0
    for name, fields, start in (
        ("observation", [*case.context, *case.observation], first),
        *((name, values, 1) for name, values in case.forecasts.items()),
    ):
        frames = []
        for step, values in enumerate(fields, start=start):
            picture = (grey_png if grey else rain_png)(cells.shrink(values, height, width))
            spent += len(picture)
            if spent > budget:
                return Animation(case.title, panels, (1, 1), (1, 1), not grey), spent
            frames.append(
                Frame(
                    step,
                    lead_label(step, lead_minutes) if step else _ANALYSIS[lead_minutes is None],
                    _uri(picture),
                )
            )
        panels.append(Panel(name, frames))
    wide = max(_SMALLEST_WIDTH, width)
    shown = (wide, max(1, round(wide * height / width / cells.cell_aspect(case.grid))))
    steps = sorted({1, *(k + 1 for k in evenly(len(case.observation), _PRINTED))})
    return Animation(
        case.title, panels, shown, (width, height), not grey, printed=steps[-_PRINTED:]
    ), spent


_ANALYSIS = ("analysis time", "last frame of the context")


def _size(shape: tuple[int, int], side: int) -> tuple[int, int]:
    """Height and width of pictures whose longer side is at most so long: whole numbers of pixels
    become one.
    """
    step = math.ceil(max(shape) / side)
    return tuple(max(1, math.ceil(length / step)) for length in shape)


def _uri(picture: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"


def rain_png(values: np.ndarray) -> bytes:
    """Rain rates [mm/h], (H, W), in the colours of their classes."""
    classes = rain_classes(values)
    missing = len(RAIN_COLOURS)
    return _png(
        _hatched(classes, classes == missing, missing),
        [*RAIN_COLOURS, MISSING_COLOUR, MISSING_COLOUR - 35],
        bits=4,
    )


def grey_png(values: np.ndarray) -> bytes:
    """Grey values in [0, 1] (clipped), (H, W)."""
    levels = np.round(np.nan_to_num(values).clip(0, 1) * (_GREYS - 1)).astype(np.uint8)
    ramp = np.repeat(np.linspace(0, 255, _GREYS).round().astype(np.uint8)[:, None], 3, 1)
    return _png(
        _hatched(levels, np.isnan(values), _GREYS),
        [*ramp, GREY_MISSING_COLOUR, GREY_MISSING_COLOUR // 2],
        bits=8,
    )


def _hatched(indices: np.ndarray, missing: np.ndarray, index: int) -> np.ndarray:
    """Missing pixels have an index, and the one after it on lines across."""
    rows, columns = np.indices(indices.shape, sparse=True)
    lines = (rows + columns) % _HATCH == 0
    return np.where(missing, index + lines, indices).astype(np.uint8)


def _png(indices: np.ndarray, palette, *, bits: int) -> bytes:
    from PIL import Image

    image = Image.fromarray(indices)
    image.putpalette(np.array(palette, np.uint8).tobytes())
    file = io.BytesIO()
    image.save(file, format="PNG", bits=bits, compress_level=9)
    return file.getvalue()


def _map(grid: Grid | None, height: int, width: int) -> tuple[str, tuple[float, str] | None]:
    """Coastlines as an SVG path in the pixels of a picture, and a scale bar."""
    if grid is None:
        return "", None
    grid = cells.resampled(grid, height, width)
    lines = "".join(path(*(line.T + 0.5)) for line in lines_on(grid))
    kilometres = cells.cell_kilometres(grid)[1]
    bar = None
    if kilometres > 0:
        length, label = cells.scale_bar(0.35 * width * kilometres)
        bar = (length / kilometres, label)
    return lines if len(lines) <= _LONGEST_LINES else "", bar
