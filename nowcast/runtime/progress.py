"""How far the work is, on a terminal and in a notebook.

A terminal gets rich's bar. A notebook's output is no terminal, and rich would ask for ipywidgets
there: without them it shows nothing and warns. It gets a line of text instead, written anew over
itself, which every front end shows. A file or a pipe, where what moves the cursor is noise, gets a
line of its own every half minute of work that takes so long.
"""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from operator import length_hint
from typing import TextIO

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

_SECONDS = 0.5  # between two looks of the line; front ends repaint slowly
_BLOCKS = 20  # of a full bar
_SELDOM = 30.0  # seconds between two lines of a log


def in_notebook() -> bool:
    """Whether the program runs in a kernel of Jupyter, whose standard error is no terminal."""
    ipython = sys.modules.get("IPython")
    return hasattr(ipython, "get_ipython") and hasattr(ipython.get_ipython(), "kernel")


def on_terminal(stream: TextIO | None) -> bool:
    """Whether a person looks at a stream in a terminal, where bars can be drawn over themselves.

    FORCE_COLOR makes no terminal of a pipe; and what a cell of a notebook starts with ! gets a
    terminal that shows cursor movements as text.
    """
    started_by_notebook = "JPY_PARENT_PID" in os.environ
    return stream is not None and stream.isatty() and not started_by_notebook


class ProgressLine:
    """A line of progress on standard error, written over itself.

    Args:
        description: of the work.
    """

    def __init__(self, description: str):
        self.description = description
        self._begun, self._written, self._width = time.monotonic(), -_SECONDS, 0

    def show(self, done: int, total: int, note: str = "", *, now: bool = False) -> None:
        """Write the line anew, unless that was done a moment ago.

        Args:
            done: how much of the work.
            total: all of it.
            note: stands behind them.
            now: write it in any case.
        """
        seconds = time.monotonic() - self._begun
        if not now and done < total and seconds - self._written < _SECONDS:
            return
        self._written = seconds
        filled = _BLOCKS * done // total if total else _BLOCKS
        bar = "#" * filled + "." * (_BLOCKS - filled)
        line = f"{self.description} [{bar}] {done}/{total} {seconds:.0f} s {note}".rstrip()
        self._write(f"\r{line.ljust(self._width)}")
        self._width = len(line)

    def end(self) -> None:
        """Leave the line as it stands."""
        if self._width:
            self._write("\n")
        self._width = 0

    def _write(self, text: str) -> None:
        if sys.stderr is None:
            return
        with suppress(OSError):  # whoever looked is gone
            sys.stderr.write(text)
            sys.stderr.flush()


class ProgressLog:
    """Lines of progress for a file or a pipe, none of work that is done in half a minute.

    Args:
        description: of the work.
        to_output: on standard output, where a log has its other lines; else on standard error.
    """

    def __init__(self, description: str, *, to_output: bool = False):
        self.description, self.to_output = description, to_output
        self._begun = self._written = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether half a minute has passed since the last line."""
        return time.monotonic() - self._written >= _SELDOM

    def show(self, done: int, total: int) -> None:
        """Write a line, unless that was done in the last half minute, or all is done.

        Args:
            done: how much of the work.
            total: all of it.
        """
        if done >= total or not self.is_due:
            return
        self._written = time.monotonic()
        stream = sys.stdout if self.to_output else sys.stderr
        if stream is None:
            return
        with suppress(OSError):  # whoever looked is gone
            stream.write(
                f"{self.description} {done}/{total}, {self._written - self._begun:.0f} s\n"
            )
            stream.flush()


def tracked(items: Sequence, description: str) -> Iterator:
    """The items, with progress on standard error as they are taken."""
    total = length_hint(items)
    with counted(description, total) as shown:
        for done, item in enumerate(items, start=1):
            yield item
            shown(done, total)


@contextmanager
def counted(description: str, total: int) -> Iterator:
    """A function that is called as shown(done, total) and shows it on standard error."""
    if in_notebook():
        line = ProgressLine(description)
        try:
            line.show(0, total, now=True)
            yield line.show
        finally:
            line.end()
        return
    if not on_terminal(sys.stderr):
        yield ProgressLog(description).show
        return
    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=total)
        yield lambda done, total: bar.update(task, completed=done)
