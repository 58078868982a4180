"""Writing the page and its data, so that a browser never meets half a forecast.

index.html  page.css  page.js            installed from this package
page/latest.json                         what there is and how it is coded; written last
page/lines-<grid>.json                   coastlines and borders, once per grid
page/<analysis time>-<time made>/<layer>-<n>.bin     one field a file: one byte a pixel (see
                                         ``coding``), rows from north, deflated (zlib)
"""

import hashlib
import json
import re
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

import numpy as np

from nowcast.drawing.cells import cell_kilometres, observed_window, resampled, shrink
from nowcast.drawing.coastlines import lines_on
from nowcast.drawing.colours import MISSING_COLOUR
from nowcast.forecasting.products import PROBABILITY_SOURCES, Products
from nowcast.page.coding import amount_scale, amounts, percent_scale, percents
from nowcast.runtime.errors import UserError
from nowcast.runtime.files import replacing
from nowcast.types.frames import Forecast, Frames, Grid

MOST_PIXELS = 1000
"""Longest side of a field on the page; larger grids become means over blocks."""
KEPT = 3
"""Forecasts whose data stay in the folder, the newest among them, so that a page being viewed does
not break.
"""

_VERSION = 1  # of latest.json: page.js reads this one alone
_FILES = ("index.html", "page.css", "page.js")
_STAMP = re.compile(r"\d{8}T\d{6}Z(-\d{20})?")
_CODERS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {"amount": amounts, "percent": percents}
_LINE_TOLERANCE = 0.25  # pixels: the page can be enlarged
_PATIENCE_SECONDS, _PATIENCE_STEPS = 1200, 4  # without a new forecast, until one is called old
_ASPECTS = (0.05, 20)  # an aspect outside of these is of a projection far from its centre


@dataclass(frozen=True)
class _Layer:
    """What the page can show.

    Args:
        name: of the layer, with which the names of its files begin.
        title: above its legend.
        unit: of its values.
        scale: how its values are coded, a key of ``_CODERS``.
        fields: one (H, W) per frame; None for observed frames where only the future is known.
    """

    name: str
    title: str
    unit: str
    scale: str
    fields: Sequence[np.ndarray | None]

    def files(self) -> list[str | None]:
        """The name of the file of each frame; None where there is no field."""
        return [
            None if field is None else f"{self.name}-{index}.bin"
            for index, field in enumerate(self.fields)
        ]

    def facts(self) -> dict:
        """What the page is to know of it."""
        named = {"name": self.name, "title": self.title, "unit": self.unit, "scale": self.scale}
        return named | {"files": self.files()}


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
        status: what is to be said about it; plain values for JSON, shown until status.json comes.
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
    grid = _page_grid(forecast.grid)
    observed, times = [], []
    if context is not None:
        observed, times = list(context.values), list(context.times)
    made, layers = datetime.now(UTC), _layers(products, observed)
    start = _utc(forecast.analysis_time).replace("-", "").replace(":", "")
    stamp = f"{start}-{made:%Y%m%d%H%M%S%f}"
    _write_fields(layers, grid.shape, page / stamp)
    lines = _write_lines(grid, page)
    step = float(forecast.lead_times[0] / np.timedelta64(1, "s"))
    manifest = {
        "version": _VERSION,
        "made": made.isoformat(timespec="microseconds"),
        "analysis_time": _utc(forecast.analysis_time),
        "folder": stamp,
        "frames": _frame_times(forecast, times),
        "observed_frames": len(observed),
        "old_after_seconds": int(max(_PATIENCE_SECONDS, _PATIENCE_STEPS * step)),
        "grid": _grid_facts(forecast.grid, grid),
        "view": _view([*forecast.values, *observed][-1], grid.shape),
        "lines": lines,
        "layers": [layer.facts() for layer in layers],
        "scales": {"amount": amount_scale(), "percent": percent_scale()},
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


def _page_grid(grid: Grid) -> Grid:
    """The pixels of a field on the page, the longer side at most ``MOST_PIXELS``."""
    scale = MOST_PIXELS / max(grid.shape)
    if scale >= 1:
        return grid
    return resampled(grid, *(max(1, round(count * scale)) for count in grid.shape))


def _frame_times(forecast: Forecast, observed: Sequence[np.datetime64]) -> list[dict]:
    """Lead and valid time of every frame, the observed ones first."""
    frames = []
    for time in (*observed, *forecast.valid_times):
        lead = (time - forecast.analysis_time) / np.timedelta64(1, "s")
        frames.append({"lead_seconds": int(lead), "valid_time": _utc(time)})
    return frames


def _layers(products: Products, observed: Sequence[np.ndarray]) -> list[_Layer]:
    unknown = [None] * len(observed)
    rates = [*observed, *products.forecast.values]
    since = "Rain since the analysis time"
    layers = [
        _Layer("rate", "Rain rate", "mm/h", "amount", rates),
        _Layer("depth", since, "mm", "amount", [*unknown, *products.depth]),
    ]
    for k, (threshold, fields) in enumerate(zip(products.thresholds, products.probability)):
        title = f"Probability ≥ {threshold:g} mm/h"
        layers.append(_Layer(f"probability{k}", title, "%", "percent", [*unknown, *fields]))
    return layers


def _write_fields(layers: Sequence[_Layer], size: tuple[int, int], folder: Path) -> None:
    """All files of a forecast into a new folder that then takes its name; it is there for no other
    forecast.
    """
    fields = [
        (name, field, _CODERS[layer.scale])
        for layer in layers
        for name, field in zip(layer.files(), layer.fields)
        if name
    ]

    def packed(item) -> tuple[str, bytes]:
        name, field, coded = item
        return name, zlib.compress(coded(shrink(field, *size)).tobytes(), 4)

    new = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=".new-", dir=folder.parent))
        new.chmod(0o755)  # mkdtemp's is for its owner alone, and a web server may be another user
        with ThreadPoolExecutor(2) as pool:
            for name, content in pool.map(packed, fields):
                (new / name).write_bytes(content)
        new.rename(folder)
    except OSError as error:
        if new is not None:
            shutil.rmtree(new, ignore_errors=True)
        raise UserError(
            f"the page data in {folder} could not be written: {error.strerror or error}."
        ) from error


def _write_lines(grid: Grid, page: Path) -> str:
    """Coastlines and borders in tenths of a pixel, column and row by turns, as a file; its name."""
    ends = [float(axis[index]) for axis in (grid.x, grid.y) for index in (0, -1)]
    key = hashlib.sha256(repr((grid.crs, *ends, grid.shape)).encode()).hexdigest()[:12]
    path = page / f"lines-{key}.json"
    if not path.is_file():
        lines = {}
        for kind in ("coast", "border"):
            found = lines_on(grid, kinds=(kind,), tolerance=_LINE_TOLERANCE)
            lines[kind] = [np.round(10 * line).astype(int).ravel().tolist() for line in found]
        _write(path, json.dumps(lines, separators=(",", ":")).encode())
    return path.name


def _grid_facts(source: Grid, shown: Grid) -> dict:
    tall, wide = cell_kilometres(shown)
    known = tall > 0 and wide > 0
    usable = known and _ASPECTS[0] < wide / tall < _ASPECTS[1]
    return {
        "height": shown.shape[0],
        "width": shown.shape[1],
        "source": source.describe(),
        "reduced": shown.shape != source.shape,
        "cell_km": [tall, wide] if known else None,
        "aspect": wide / tall if usable else 1.0,
    }


def _view(field: np.ndarray, size: tuple[int, int]) -> list[int]:
    """What is observed in a field, in pixels of the page: left, top, right, bottom."""
    ends = []
    for span, length, pixels in zip(observed_window([field]), field.shape, size):
        start, stop, _ = span.indices(length)
        ends.append((int(start * (pixels / length)), int(np.ceil(stop * (pixels / length)))))
    (top, bottom), (left, right) = ends
    return [left, top, right, bottom]


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
