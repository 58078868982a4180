"""Writing the page and its data, so that a browser never meets half a forecast.

    index.html  page.css  page.js            installed from this package
    page/latest.json                         what there is and how it is coded; written last
    page/lines-<grid>.json                   coastlines and borders, once per grid
    page/<analysis time>-<time made>/<layer>-<n>.bin     one field a file: one byte a pixel, rows from north, deflated (zlib)

A byte of an amount (rain rate, depth) is 0 for a pixel that was not observed, 1 below 0.1 (dry),
else 2 + k for the k-th of 254 steps: each is at most 3 % wide, and colour classes begin where a
step begins, so that the browser's colours are exactly those of the pictures. A byte of a
probability is 0 for no forecast, else 1 + per cent.
"""

import hashlib
import json
import re
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from importlib import resources
from itertools import pairwise
from pathlib import Path

import numpy as np

from nowcast.drawing.cells import cell_kilometres, resampled, shrink
from nowcast.drawing.coastlines import lines_on
from nowcast.drawing.colours import MISSING_COLOUR, RAIN_CLASSES, RAIN_COLOURS
from nowcast.forecasting.products import PROBABILITY_SOURCES, Products
from nowcast.runtime.errors import UserError
from nowcast.runtime.files import replacing
from nowcast.types.arrays import as_numbers
from nowcast.types.frames import Frames, Grid

STEP = 1.03
"""No step of the amount scale is wider than this ratio."""
MOST_PIXELS = 1000
"""Longest side of a field on the page; larger grids become means over blocks."""
KEPT = 3
"""Forecasts whose data stay in the folder, the newest among them, so that a page being viewed does
not break.
"""

_FILES = ("index.html", "page.css", "page.js")
_STAMP = re.compile(r"\d{8}T\d{6}Z(-\d{20})?")
_PERCENT_CLASSES = (10, 30, 50, 70, 90)
_PERCENT_COLOURS = (
    (255, 255, 255),
    (253, 228, 190),
    (250, 184, 110),
    (228, 122, 56),
    (176, 66, 22),
    (100, 28, 6),
)


def amount_edges() -> np.ndarray:
    """Lower edges of the steps of the amount scale, (254,) float32: 0.1, 0.103, ... 0.5, ... 50,
    ...; every class edge is among them.
    """
    parts = []
    for low, high in pairwise(RAIN_CLASSES):
        steps = int(np.ceil(np.log(high / low) / np.log(STEP)))
        parts.append(low * (high / low) ** (np.arange(steps) / steps))
    above = 254 - sum(map(len, parts))
    return np.concatenate([*parts, RAIN_CLASSES[-1] * STEP ** np.arange(above)]).astype(np.float32)


def amounts(values: np.ndarray) -> np.ndarray:
    """Rain rates [mm/h] or depths [mm], any shape -> uint8 as the module says."""
    values = as_numbers(values, "amounts of rain")
    return np.where(
        np.isnan(values), 0, np.searchsorted(amount_edges(), values, side="right") + 1
    ).astype(np.uint8)


def percents(values: np.ndarray) -> np.ndarray:
    """Probabilities 0 to 1, any shape -> uint8: 0 for NaN, else 1 + per cent."""
    values = as_numbers(values, "probabilities")
    return np.where(np.isnan(values), 0, np.round(100 * np.nan_to_num(values)) + 1).astype(np.uint8)


def install(folder: str | Path) -> None:
    """Write index.html, page.css and page.js into a folder, each only where it differs.

    Raises:
        UserError: the folder cannot be written to.
    """
    for name in _FILES:
        content, path = (resources.files(__package__) / name).read_bytes(), Path(folder) / name
        try:
            same = path.read_bytes() == content
        except OSError:
            same = False
        if not same:
            _write(path, content)


def publish(
    products: Products, folder: str | Path, *, status: dict, context: Frames | None = None
) -> None:
    """Write the data of one forecast for the page, name it in page/latest.json at last, and remove
    the data of old ones.

    Args:
        products: the forecast and what was derived from it.
        folder: where the page is (see ``install``).
        status: what is to be said beside it; plain values for JSON, shown until status.json comes.
        context: the frames it was made from, shown before the forecast.

    Raises:
        UserError: the folder cannot be written to, or the context lies on another grid.
    """
    forecast, page = products.forecast, Path(folder) / "page"
    difference = None if context is None else forecast.grid.difference(context.grid)
    if difference:
        raise UserError(
            f"the context lies on another grid than the forecast: {difference}; give the frames "
            "the forecast was made from."
        )
    made = datetime.now(UTC)
    stamp = f"{np.datetime_as_string(forecast.analysis_time, 's').replace('-', '').replace(':', '')}Z-{made:%Y%m%d%H%M%S%f}"
    height, width = _page_size(forecast.grid)
    grid = (
        resampled(forecast.grid, height, width)
        if (height, width) != forecast.grid.shape
        else forecast.grid
    )
    layers, fields = _layers(products, context)
    _write_fields(fields, (height, width), page / stamp)
    lines = _write_lines(grid, page)
    manifest = {
        "version": 1,
        "made": made.isoformat(timespec="microseconds"),
        "analysis_time": _utc(forecast.analysis_time),
        "folder": stamp,
        "frames": _frame_times(products, context),
        "observed_frames": 0 if context is None else len(context),
        "old_after_seconds": int(max(1200, 4 * _step_seconds(products))),
        "grid": _grid_facts(forecast.grid, grid),
        "view": _view(products, context, (height, width)),
        "lines": lines,
        "layers": layers,
        "scales": {"amount": _amount_scale(), "percent": _percent_scale()},
        "probabilities": PROBABILITY_SOURCES[products.probability_source],
        "missing_colour": MISSING_COLOUR.tolist(),
        "status": status,
    }
    _write(page / "latest.json", json.dumps(manifest, allow_nan=False).encode())
    _remove_old(page, stamp, lines)


def _write(path: Path, content: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def _utc(time: np.datetime64) -> str:
    return f"{np.datetime_as_string(time, 's')}Z"


def _page_size(grid: Grid) -> tuple[int, int]:
    """(height, width) of a field on the page, the longer side at most ``MOST_PIXELS``."""
    scale = min(1.0, MOST_PIXELS / max(grid.shape))
    return tuple(max(1, round(n * scale)) for n in grid.shape)


def _step_seconds(products: Products) -> float:
    return float(products.forecast.lead_times[0] / np.timedelta64(1, "s"))


def _frame_times(products: Products, context: Frames | None) -> list[dict]:
    """Lead and valid time of every frame, the observed ones first."""
    start = products.forecast.analysis_time
    times = [*([] if context is None else context.times), *products.forecast.valid_times]
    return [
        {"lead_seconds": int((time - start) / np.timedelta64(1, "s")), "valid_time": _utc(time)}
        for time in times
    ]


def _layers(products: Products, context: Frames | None) -> tuple[list[dict], dict]:
    """What the page can show, and the field of every file: (values (H, W), coder) by name.

    A layer has one file name per frame; None for observed frames where only the future is known.
    """
    observed = [] if context is None else list(context.values)
    series = [("rate", "Rain rate", "mm/h", "amount", [*observed, *products.forecast.values])]
    series += [
        (
            "depth",
            "Rain since the analysis time",
            "mm",
            "amount",
            [*[None] * len(observed), *products.depth],
        )
    ]
    series += [
        (
            f"probability{k}",
            f"Probability ≥ {threshold:g} mm/h",
            "%",
            "percent",
            [*[None] * len(observed), *probability],
        )
        for k, (threshold, probability) in enumerate(zip(products.thresholds, products.probability))
    ]
    coder = {"amount": amounts, "percent": percents}
    layers, fields = [], {}
    for name, title, unit, scale, frames in series:
        files = [None if field is None else f"{name}-{i}.bin" for i, field in enumerate(frames)]
        fields |= {file: (field, coder[scale]) for file, field in zip(files, frames) if file}
        layers.append({"name": name, "title": title, "unit": unit, "scale": scale, "files": files})
    return layers, fields


def _write_fields(fields: dict, size: tuple[int, int], folder: Path) -> None:
    """All files of a forecast into a new folder that then takes its name; it is there for no other
    forecast.
    """

    def packed(item) -> tuple[str, bytes]:
        name, (field, coder) = item
        field = shrink(field, *size) if field.shape != size else field
        return name, zlib.compress(coder(field).tobytes(), 4)

    new = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=".new-", dir=folder.parent))
        new.chmod(0o755)
        with ThreadPoolExecutor(2) as pool:
            for name, content in pool.map(packed, fields.items()):
                (new / name).write_bytes(content)
        new.rename(folder)
    except OSError as error:
        if new is not None:
            shutil.rmtree(new, ignore_errors=True)
        raise UserError(
            f"the page data in {folder} could not be written: {error.strerror or error}."
        ) from error


def _write_lines(grid: Grid, page: Path) -> str:
    """Coastlines and borders in tenths of a pixel, column and row by turns; the name of their file."""
    key = hashlib.sha256(
        repr(
            (grid.crs, *(float(c[i]) for c in (grid.x, grid.y) for i in (0, -1)), grid.shape)
        ).encode()
    ).hexdigest()[:12]
    path = page / f"lines-{key}.json"
    if not path.is_file():
        lines = {
            kind: [
                np.round(10 * line).astype(int).ravel().tolist()
                for line in lines_on(grid, kinds=(kind,), tolerance=0.25)
            ]
            for kind in ("coast", "border")
        }
        _write(path, json.dumps(lines, separators=(",", ":")).encode())
    return path.name


def _grid_facts(source: Grid, shown: Grid) -> dict:
    tall, wide = cell_kilometres(shown)
    known = tall > 0 and wide > 0
    return {
        "height": shown.shape[0],
        "width": shown.shape[1],
        "source": source.describe(),
        "reduced": shown.shape != source.shape,
        "cell_km": [tall, wide] if known else None,
        "aspect": wide / tall if known and 0.05 < wide / tall < 20 else 1.0,
    }


def _view(products: Products, context: Frames | None, size: tuple[int, int]) -> list[int]:
    """The box around everything observed, in pixels of the page: left, top, right, bottom."""
    fields = products.forecast.values if context is None else context.values
    seen = ~np.isnan(fields[-1]) if len(fields) else np.zeros(size, bool)
    if not seen.any():
        return [0, 0, size[1], size[0]]
    (top, bottom), (left, right) = (
        (line.argmax(), len(line) - line[::-1].argmax()) for line in (seen.any(1), seen.any(0))
    )
    rows, columns = (have / n for have, n in zip(size, seen.shape))
    return [
        int(left * columns),
        int(top * rows),
        int(np.ceil(right * columns)),
        int(np.ceil(bottom * rows)),
    ]


def _amount_scale() -> dict:
    """Edges and shown values of the codes 2 to 255, the colour class of every code, the legend."""
    edges = amount_edges().astype(np.float64)
    shown = np.sqrt(edges * np.append(edges[1:], edges[-1] * STEP))
    classes = np.searchsorted(np.float32(RAIN_CLASSES), edges.astype(np.float32), side="right")
    return {
        "edges": [float(f"{edge:.6g}") for edge in edges],
        "values": [float(f"{value:.5g}") for value in shown],
        "classes": [-1, 0, *classes.tolist()],
        "legend": [{"from": edge} for edge in (0, *RAIN_CLASSES)],
        "colours": RAIN_COLOURS.tolist(),
    }


def _percent_scale() -> dict:
    classes = np.searchsorted(_PERCENT_CLASSES, np.arange(101), side="right")
    return {
        "edges": list(range(1, 101)),
        "values": list(range(1, 101)),
        "classes": [-1, *classes.tolist()],
        "legend": [{"from": edge} for edge in (0, *_PERCENT_CLASSES)],
        "colours": [list(colour) for colour in _PERCENT_COLOURS],
    }


def _old(page: Path, stamp: str, lines: str) -> Iterator[Path]:
    """What nothing refers to any more: old forecasts, what a stopped process left behind, lines of
    another grid.
    """
    forecasts = sorted(
        (path for path in page.iterdir() if _STAMP.fullmatch(path.name) and path.name != stamp),
        key=lambda path: path.name.partition("-")[2],
    )
    yield from forecasts[: len(forecasts) - KEPT + 1]
    for left in (".new-*", ".old-*", ".latest.json.*", ".lines-*"):
        yield from page.glob(left)
    yield from (path for path in page.glob("lines-*.json") if path.name != lines)


def _remove_old(page: Path, stamp: str, lines: str) -> None:
    with suppress(OSError):  # the forecast is published; what cannot be removed now goes next time
        for path in list(_old(page, stamp, lines)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
