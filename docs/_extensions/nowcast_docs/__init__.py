"""What the site of nowcast makes from the code while it is built.

``extension`` is what Sphinx loads. ``settings``: commands, choices and keys, from conf/ and the
docstrings of the classes. ``scores``: every score with its formula (``formulas``). ``drawing``: the
path of the data and the import order (``structure``). ``pages``: the pages of a folder as cards.
``mathml``: formulas without a script. ``classes``, ``formulas``, ``score_runs`` and ``structure``
know nothing of Sphinx.
"""
