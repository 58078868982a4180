"""Paths in what the commands print, as people type them."""

import os
import re
from pathlib import Path


def as_typed_here(text: str) -> str:
    """A text in which paths below the current folder begin there."""
    try:
        here = Path.cwd()
    except FileNotFoundError:  # it was deleted
        return text
    if here == Path(here.anchor):
        return text
    # only where a path can begin: another one may end in the same words
    return re.sub(rf"(?<![^\s'\"=(\[,]){re.escape(str(here) + os.sep)}", "", text)
