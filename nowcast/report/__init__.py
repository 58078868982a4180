"""The report: one HTML file that says what an evaluation found, and opens without a network."""

from nowcast.report.runs import Run
from nowcast.report.writing import write, write_runs

__all__ = ["Run", "write", "write_runs"]
