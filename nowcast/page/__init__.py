"""A page that shows the newest forecast: plain files that any web server can give out, and a small
server for them.
"""

from nowcast.page.writing import install, publish

__all__ = ["install", "publish"]
