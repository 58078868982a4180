"""Cases as pictures inside the page: PNG files with a palette of the rain classes, as data URIs.

Missing pixels are hatched in grey (in orange where the picture itself is grey), never white.
"""

import base64
import hashlib
import io
import math
from collections.abc import Sequence

import numpy as np

from nowcast.drawing import cells, colours
from nowcast.drawing.coastlines import lines_on
from nowcast.evaluation.results import ShownCase
from nowcast.evaluation.titles import evenly, lead_label
from nowcast.report.charts import path
from nowcast.report.document import Animation, Frame, Panel
from nowcast.types.frames import Grid

BUDGET = 6_000_000  # bytes of all pictures, before base64 makes them a third larger
# pixels of the longer side, of which the first is taken with which they fit; results keep 512
SIDES = (512, 384, 256, 171, 128, 86, 64, 43)
_SMALLEST_WIDTH = 240  # CSS pixels of a picture on the page
_HATCH = 7  # pixels from one line to the next
_PRINTED = 4
_GREYS = 250
_LONGEST_LINES = 150_000  # characters of coastlines


def animations(
    cases: Sequence[ShownCase], *, grey: bool, lead_minutes: float | None, lines: dict[str, str]
) -> tuple[list[Animation], int]:
    """Cases as animations, and the longer side of their pictures at most: as large as fits into the
    budget.

    Args:
        cases: to show; the last ones are left out where even the smallest pictures do not fit.
        grey: whether their values are grey levels, not rain rates.
        lead_minutes: minutes of one step, None to count frames.
        lines: takes the coastlines that they refer to, as SVG paths by id.
    """
    for side in SIDES:
        fitting, left = [], BUDGET
        for case in cases:
            panels, left = _panels(case, side, grey, lead_minutes, left)
            if left < 0:
                break
            fitting.append(panels)
        if len(fitting) == len(cases):  # else the next side; of the smallest, those that fit
            break
    made = [_animation(case, panels, side, grey, lines) for case, panels in zip(cases, fitting)]
    return made, side


def _panels(
    case: ShownCase, side: int, grey: bool, lead_minutes: float | None, left: int
) -> tuple[list[Panel], int]:
    """The frames of a case, and how many bytes they leave; where that is below 0, some are not
    there.
    """
    size = _size(case.observation.shape[1:], side)
    draw = grey_png if grey else rain_png
    fields = {"observation": [*case.context, *case.observation], **case.forecasts}
    panels = []
    for name, values in fields.items():
        frames = []
        # all end at the last lead, the observation begins with the context
        for step, field in enumerate(values, start=1 + len(case.observation) - len(values)):
            picture = draw(cells.shrink(field, *size))
            left -= len(picture)
            if left < 0:
                return panels, left
            source = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
            frames.append(Frame(step, _step_label(step, lead_minutes), source))
        panels.append(Panel(name, frames))
    return panels, left


def _step_label(step: int, lead_minutes: float | None) -> str:
    if step:
        return lead_label(step, lead_minutes)
    return "last frame of the context" if lead_minutes is None else "analysis time"


def _animation(
    case: ShownCase, panels: list[Panel], side: int, grey: bool, lines: dict[str, str]
) -> Animation:
    height, width = _size(case.observation.shape[1:], side)
    wide = max(_SMALLEST_WIDTH, width)
    tall = max(1, round(wide * height / width / cells.cell_aspect(case.grid)))
    steps = sorted({1, *(k + 1 for k in evenly(len(case.observation), _PRINTED))})
    drawn, bar = _map(case.grid, height, width)
    name = ""
    if drawn:
        name = f"lines-{hashlib.sha256(drawn.encode()).hexdigest()[:12]}"
        lines[name] = drawn
    return Animation(
        case.title,
        panels,
        (wide, tall),
        (width, height),
        rain=not grey,
        lines=name,
        bar=bar,
        printed=steps[-_PRINTED:],
    )


def _size(shape: tuple[int, int], side: int) -> tuple[int, int]:
    """Height and width of pictures whose longer side is at most so long: whole numbers of pixels
    become one.
    """
    step = math.ceil(max(shape) / side)
    return max(1, math.ceil(shape[0] / step)), max(1, math.ceil(shape[1] / step))


def rain_png(values: np.ndarray) -> bytes:
    """Rain rates [mm/h], (H, W), in the colours of their classes."""
    classes, missing = colours.rain_classes(values), colours.MISSING_COLOUR
    return _png(classes, np.isnan(values), [*colours.RAIN_COLOURS, missing, missing - 35], bits=4)


def grey_png(values: np.ndarray) -> bytes:
    """Grey values in [0, 1] (clipped), (H, W)."""
    levels = np.round(np.nan_to_num(values).clip(0, 1) * (_GREYS - 1)).astype(np.uint8)
    ramp = np.repeat(np.linspace(0, 255, _GREYS).round().astype(np.uint8)[:, None], 3, 1)
    missing = colours.GREY_MISSING_COLOUR
    return _png(levels, np.isnan(values), [*ramp, missing, missing // 2], bits=8)


def _png(indices: np.ndarray, missing: np.ndarray, palette: list, *, bits: int) -> bytes:
    """A picture whose palette ends with the colour of missing pixels and that of lines across
    them.
    """
    from PIL import Image

    rows, columns = np.indices(indices.shape, sparse=True)
    hatched = len(palette) - 2 + ((rows + columns) % _HATCH == 0)
    image = Image.fromarray(np.where(missing, hatched, indices).astype(np.uint8))
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
    if len(lines) > _LONGEST_LINES:  # of Norway's fjords, say: the rain is what matters
        lines = ""
    kilometres = cells.cell_kilometres(grid)[1]
    if not kilometres > 0:
        return lines, None
    length, label = cells.scale_bar(0.35 * width * kilometres)
    return lines, (length / kilometres, label)
