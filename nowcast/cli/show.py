"""nowcast show: a forecast, an archive or radar files as a page in the browser."""

import os
import shlex
import sys
import tempfile
import webbrowser
from pathlib import Path

from nowcast.cli.common import files_and_settings, plain_or_shown, print_line
from nowcast.page.opened import open_files
from nowcast.page.single_file import check_page_path, write_page
from nowcast.runtime.build import build_part, is_of_type
from nowcast.runtime.errors import UserError
from nowcast.runtime.files import is_one_of

# programs that webbrowser may choose and that show text in the terminal, where there is no map
_IN_TERMINALS = ("www-browser", "links", "elinks", "lynx", "w3m")


def show(arguments: list[str]) -> None:
    """Write a page of what a file contains, and open it where there is a browser."""
    files, rest = files_and_settings("show", arguments, "forecast.nc")
    beside = {"input": str(files[0])} if files else None
    settings = plain_or_shown("show", rest, beside=beside, optional=("output",))
    if settings is None:
        return
    if not is_of_type(settings["open"], bool):
        raise UserError(f"open is {settings['open']!r}; expected true or false.")
    if not is_of_type(settings["last"], int) or settings["last"] < 1:
        raise UserError(f"last is {settings['last']!r}; expected a whole number of frames from 1.")
    output = checked_page(settings["output"])
    if output is not None and is_one_of(output, files):
        raise UserError(f"{output} is the file to be shown; give the page another path.")
    opened = open_files(
        str(_meant(files[0])),
        reader=build_part(settings, "reader"),
        last=settings["last"],
        tolerance=build_part(settings, "tolerance"),
    )
    if output is None:
        name = files[0].stem if files[0].exists() else "page"  # of a pattern or a list
        output = Path(tempfile.mkdtemp(prefix="nowcast-show-")) / f"{name or 'page'}.html"
    write_page(opened.content, output, title=opened.title, about=opened.about)
    print_line(f"wrote {output}")
    if settings["open"] and not open_in_browser(output):
        advice = f"open the file in one, or type: nowcast serve {shlex.quote(str(output))}"
        print_line(f"no browser could be opened here; {advice}")


def _meant(typed: Path) -> Path:
    """The file that is shown: of the folder of a demonstration its forecast.

    Raises:
        UserError: what was typed is a page already, or the folder of a run.
    """
    if typed.suffix.lower() in (".html", ".htm") and typed.is_file():
        raise UserError(
            f"{typed} is a page already; open it in a browser, or type: nowcast serve "
            f"{shlex.quote(str(typed))}"
        )
    if (typed / "config.yaml").is_file():
        run = shlex.quote(f"run={typed}")
        raise UserError(
            f"{typed} is the folder of a run, not a forecast; type nowcast predict {run} "
            f"input=FILES output=now.nc, and show now.nc, or nowcast report {run} for its scores."
        )
    made_by_demo = (typed / "demo.html").is_file() and (typed / "forecast.nc").is_file()
    return typed / "forecast.nc" if made_by_demo else typed


def checked_page(page: str | None) -> Path | None:
    """The path of a page to be written; None where none was asked for.

    Raises:
        UserError: it is not that of an HTML file.
    """
    if page is None:
        return None
    check_page_path(page)
    return Path(page)


def open_in_browser(path: Path) -> bool:
    """Open a file in the browser of this machine's display, and say whether that began."""
    needs_display = sys.platform not in ("darwin", "win32")
    variables = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    if needs_display and not any(os.environ.get(name) for name in variables):
        return False
    try:
        browser = webbrowser.get()
        if getattr(browser, "name", "") in _IN_TERMINALS:
            return False
        return browser.open(path.resolve().as_uri())
    except (webbrowser.Error, OSError):
        return False
