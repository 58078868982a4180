"""The report: one HTML file that says what an evaluation found, and opens without a network.

May import ``evaluation``, ``drawing`` (coastlines, colours) and what they may. Read ``writing``
first, which puts the sections together, then ``document``, of what a section consists. A new
section is a function that returns a ``Section`` or None, in the file of its subject, and a line in
``writing``; its charts come from ``charts`` and ``scoring``, its HTML from ``report.html``.
"""

from nowcast.report.runs import Run
from nowcast.report.writing import write, write_runs

__all__ = ["Run", "write", "write_runs"]
