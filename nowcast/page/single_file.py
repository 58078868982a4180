"""The page as one HTML file with its data inside: nothing is fetched, so that it works from a disk,
from a mail and from any web server.

What a name or a file says is data for the script, which puts it in as text. The page may run and
style itself with exactly the script and the style sheet of this package: their hashes stand in its
Content-Security-Policy.
"""

import base64
import hashlib
import json
import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

from nowcast.page.coding import packed
from nowcast.page.content import PageContent, lines, page_grid
from nowcast.page.writing import MOST_PIXELS
from nowcast.runtime.errors import UserError
from nowcast.runtime.files import replacing
from nowcast.types.frames import Grid

MOST_BYTES = 9_000_000
"""Of all fields, deflated: a third more in the file, which can be mailed and opened on a phone."""

_LEVEL = 6  # of deflate: 9 takes twice the time for 3 % less
_SMALLEST = 100  # pixels: the longest side is never made shorter
_MARGIN = 0.93  # smaller fields deflate a little worse for each of their pixels
_LINES = ("Coastlines and borders", "GSHHG (Wessel and Smith 1996)")
_WAITING = "Loading. If this stays, scripts are switched off in this browser, or it is too old."
_SUFFIXES = (".html", ".htm")

About = Sequence[tuple[str, str]]
"""What is said of a forecast beside it: names and texts, such as ("Model", "shipped")."""


def write_page(
    content: PageContent, path: str | Path, *, title: str, about: About = (), archived: bool = False
) -> Path:
    """Write a page with all its data as one HTML file.

    A grid of more than 1000 pixels to a side, or whose fields would make a file of more than about
    12 MB, is shown as means over blocks of its pixels, and says so.

    Args:
        content: what it shows.
        path: the file to write, FILE.html; it appears complete or not at all.
        title: above it all.
        about: what is said of it.
        archived: whether it is of the past on purpose: its age is not shown.

    Raises:
        UserError: another suffix, or a file that cannot be written.
    """
    check_page_path(path)
    grid, fields = _fields(content)
    facts = content.facts(grid) | {
        "made": datetime.now(UTC).isoformat(timespec="microseconds"),
        "title": title,
        "about": [list(pair) for pair in (*about, ("Grid", _size_of(content.grid)), _LINES)],
        "archived": archived,
        "lines": lines(grid),
        "fields": {name: base64.b64encode(field).decode() for name, field in fields.items()},
    }
    page = _assembled(json.dumps(facts, allow_nan=False, separators=(",", ":")))
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return Path(path)


def _size_of(grid: Grid) -> str:
    """How many cells of which size, without the projection."""
    return grid.describe().partition(", ")[0]


def check_page_path(path: str | Path) -> None:
    """Refuse a page that is not to be an HTML file.

    Raises:
        UserError: the path has another suffix.
    """
    if Path(path).suffix.lower() not in _SUFFIXES:
        raise UserError(f"{path} is not the name of an HTML page; expected one that ends in .html.")


def _fields(content: PageContent) -> tuple[Grid, dict[str, bytes]]:
    """(the grid of the page, its fields by name), on a coarser grid where they would be too
    large.
    """
    most, fields = MOST_PIXELS, content.files()[1]
    while True:
        grid = page_grid(content.grid, most)
        found = dict(packed(fields, grid.shape, level=_LEVEL))
        size, side = sum(map(len, found.values())), max(grid.shape)
        if size <= MOST_BYTES or side <= _SMALLEST:
            return grid, found
        most = max(_SMALLEST, int(side * _MARGIN * math.sqrt(MOST_BYTES / size)))


def _assembled(facts: str) -> str:
    """The page from the files of this package, with its facts as JSON."""

    def content(name: str) -> str:
        return (resources.files(__package__) / name).read_text(encoding="utf-8")

    page, style, script = (content(name) for name in ("index.html", "page.css", "page.js"))
    # neither the end of an element nor a comment can stand in the data
    data = facts.replace("<", "\\u003c")
    at_the_end = (
        f'<script type="application/json" id="data">{data}</script>\n'
        f"<script>{script}</script>\n</body>"
    )
    for pattern, wanted in (
        (r'(?<="Content-Security-Policy" content=")[^"]*', _policy(style, script)),
        (r'<link rel="stylesheet" href="page.css">', f"<style>{style}</style>"),
        (r'<script src="page.js" defer></script>\n', ""),
        (r'(?<=<p id="message-text">)[\s\S]*?(?=</p>)', _WAITING),
        (r"</body>", at_the_end),
    ):
        page = re.sub(pattern, lambda _, text=wanted: text, page, count=1)
    return page


def _policy(style: str, script: str) -> str:
    """What the page may do: show itself, and run and style itself with exactly these two."""
    hashes = []
    for text in (style, script):
        digest = hashlib.sha256(text.encode()).digest()
        hashes.append(f"'sha256-{base64.b64encode(digest).decode()}'")
    return (
        "default-src 'none'; img-src data:; style-src {}; script-src {}; base-uri 'none'; "
        "form-action 'none'"
    ).format(*hashes)
