"""The documentation site: Sphinx with MyST Markdown; its tutorials are executed."""

import sys
from pathlib import Path

import nowcast

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "nowcast"
author = "the nowcast developers"
release = version = nowcast.__version__

extensions = [
    "myst_nb",
    "executed_pages",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
]
exclude_patterns = ["_build", "_extensions", "examples"]

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_timeout = 300
nb_execution_in_temp = True
nb_execution_raise_on_error = True

html_theme = "pydata_sphinx_theme"
html_static_path = ["_static"]
html_title = "nowcast"
html_theme_options = {"show_prev_next": False}
