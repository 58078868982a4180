"""The documentation site: Sphinx with MyST Markdown; its tutorials are executed.

    pip install -e '.[docs]' && sphinx-build -W -b html docs site

`-D nb_execution_mode=off` leaves the tutorials as they are written, in a minute less.
"""

import sys
from pathlib import Path

import nowcast

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_extensions"))

project = "nowcast"
author = "the nowcast developers"
release = version = nowcast.__version__
language = "en"
smartquotes = False  # -- and quotes in the text are what is typed

extensions = [
    "myst_nb",
    "executed_pages",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "nowcast_docs.extension",
]
exclude_patterns = ["_build", "_extensions", "examples", "jupyter_execute"]

# Markdown
myst_enable_extensions = ["attrs_block", "attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_timeout = 300
nb_execution_in_temp = True
nb_execution_raise_on_error = True
# of code that is not executed nobody says in which language it is
suppress_warnings = ["myst-nb.lexer"]
nb_ipywidgets_js = {}  # nothing is loaded from elsewhere

# The reference: public names, as they are imported
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
autodoc_preserve_defaults = True
default_role = "code"
python_maximum_signature_line_length = 72
python_use_unqualified_type_names = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
add_module_names = False

# Every reference to something of nowcast must lead somewhere; what other projects document is not
# on this site, and is not looked up on theirs: a build needs no network.
nitpicky = True
nitpick_ignore = [("py:class", "nowcast.models.convlstm.cell.DropoutMasks")]  # internal
nitpick_ignore_regex = [("py:.*", r"(?!nowcast\b).*")]

html_theme = "pydata_sphinx_theme"
html_title = "nowcast"
html_static_path = ["_static"]
html_css_files = ["nowcast.css"]
html_favicon = "_static/favicon.svg"
html_extra_path = ["_extra"]  # 404.html
html_math_renderer = "mathml"
html_copy_source = False
html_use_index = False  # the search knows every name
html_domain_indices = False
html_show_sourcelink = False
html_sidebars = {"index": []}
html_theme_options = {
    "logo": {
        "image_light": "_static/nowcast-light.svg",
        "image_dark": "_static/nowcast-dark.svg",
        "text": "nowcast",
        "alt_text": "",
    },
    "show_prev_next": False,
    "show_toc_level": 2,
    "navbar_align": "left",
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
    "search_bar_text": "Search",
}
