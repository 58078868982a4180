"""Figures in tables stay on one line: a wide table then scrolls, instead of breaking them."""

import re

from docutils import nodes
from sphinx.application import Sphinx

_FIGURES = re.compile(r"(?:[\d\s.,/%±+−–():*<=≥x-]|\b(?:to|e|km|mm/h|ms|MB|GB|s|min|h|M|G)\b)+")
_LONGEST = 36  # characters; longer ones are better broken


def _mark(app: Sphinx, document: nodes.document) -> None:
    for entry in document.findall(nodes.entry):
        text = entry.astext()
        figures = len(text) <= _LONGEST and any(map(str.isdigit, text))
        if figures and _FIGURES.fullmatch(text):
            entry["classes"].append("figures")


def setup(app: Sphinx) -> None:
    """Mark the cells when a page was read."""
    app.connect("doctree-read", _mark)
