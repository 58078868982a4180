"""Writing the page and its data into a folder, so that a browser never meets half a forecast.

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
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

from nowcast.forecasting.products import Products
from nowcast.page.coding import packed
from nowcast.page.content import PageContent, forecast_content, lines, page_grid, utc
from nowcast.runtime.errors import UserError
from nowcast.runtime.files import replacing
from nowcast.types.frames import Frames, Grid

MOST_PIXELS = 1000
"""Longest side of a field on the page; larger grids become means over blocks."""
KEPT = 3
"""Forecasts whose data stay in the folder, the newest among them, so that a page being viewed does
not break.
"""

_FILES = ("index.html", "page.css", "page.js")
_STAMP = re.compile(r"\d{8}T\d{6}Z(-\d{20})?")
_LEVEL = 4  # of deflate: a watch has other things to do


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
    content, page = forecast_content(products, context), Path(folder) / "page"
    grid = page_grid(content.grid, MOST_PIXELS)
    made = datetime.now(UTC)
    start = utc(content.analysis_time).replace("-", "").replace(":", "")
    stamp = f"{start}-{made:%Y%m%d%H%M%S%f}"
    _write_fields(content, grid.shape, page / stamp)
    named = _write_lines(grid, page)
    manifest = content.facts(grid) | {
        "made": made.isoformat(timespec="microseconds"),
        "folder": stamp,
        "lines": named,
        "status": status,
    }
    _write(page / "latest.json", json.dumps(manifest, allow_nan=False).encode())
    _remove_old(page, stamp, named)


def _write(path: Path, content: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def _write_fields(content: PageContent, size: tuple[int, int], folder: Path) -> None:
    """All files of a forecast into a new folder that then takes its name; it is there for no other
    forecast.
    """
    new = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=".new-", dir=folder.parent))
        new.chmod(0o755)  # mkdtemp's is for its owner alone, and a web server may be another user
        for name, field in packed(content.files()[1], size, level=_LEVEL):
            (new / name).write_bytes(field)
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
        _write(path, json.dumps(lines(grid), separators=(",", ":")).encode())
    return path.name


def _old(page: Path, stamp: str, named: str) -> Iterator[Path]:
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
    yield from (path for path in page.glob("lines-*.json") if path.name != named)


def _remove_old(page: Path, stamp: str, named: str) -> None:
    with suppress(OSError):  # the forecast is published; what cannot be removed now goes next time
        for path in list(_old(page, stamp, named)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
