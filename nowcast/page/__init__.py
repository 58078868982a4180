"""A page that shows the newest forecast: plain files that any web server can give out, and a small
server for them.

May import ``drawing`` (coastlines, colours), ``forecasting.products`` and what they may. Read
``writing`` first (what lies where, and in which order it is written), then ``coding`` (what a byte
of a field means); ``server`` stands alone. A new layer is an entry in ``writing``; ``page.js``
shows whatever layers it finds.
"""

from nowcast.page.writing import install, publish

__all__ = ["install", "publish"]
