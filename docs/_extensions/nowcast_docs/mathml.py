"""Formulas as MathML, which browsers draw themselves: no script, no font, nothing to load.

The translation from LaTeX is that of docutils. A formula that it does not know is a warning, with
which the build fails.
"""

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging

NAME = "mathml"
_logger = logging.getLogger(__name__)


def _translated(node: nodes.Element, *, as_block: bool) -> str:
    try:
        return tex2mathml(node.astext(), as_block=as_block)
    except MathError as error:
        _logger.warning("the formula %s: %s", node.astext(), error, location=node)
        return f"<code>{node.astext()}</code>"


def _visit_inline(translator, node: nodes.math) -> None:
    translator.body.append(_translated(node, as_block=False))
    raise nodes.SkipNode


def _visit_block(translator, node: nodes.math_block) -> None:
    formula = _translated(node, as_block=True)
    # tabindex: a formula wider than a phone is scrolled, also by the keys
    translator.body.append(f'<div class="math" tabindex="0">{formula}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Make it the renderer ``html_math_renderer = "mathml"``."""
    app.add_html_math_renderer(NAME, (_visit_inline, None), (_visit_block, None))
