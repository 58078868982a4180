"""The status of a watch: status.json for whoever looks now, status.jsonl for whoever looks back."""

import json
import os
from pathlib import Path

import numpy as np

from nowcast.forecasting.clock import Clock
from nowcast.runtime.files import replacing

STATUS, LOG = "status.json", "status.jsonl"
_LARGEST_LOG = 10 * 2**20  # bytes; then it becomes status.jsonl.1
_MOST_REJECTED = 20  # in a status
_EMPTY = dict.fromkeys(
    (
        "analysis_time",
        "method",
        "reason",
        "forecast",
        "forecast_analysis_time",
        "data_age_minutes",
        "next_expected",
        "calibration",
    )
)


class StatusFiles:
    """Writes the status of a watch and its log.

    Args:
        folder: of both files.
        clock: the time.
    """

    def __init__(self, folder: Path, clock: Clock):
        self.folder, self.clock = folder, clock
        self.rejected: list[tuple[str, str]] = []  # since the last cycle: (file name, reason)
        self.last: dict = {}  # what was written

    def add_rejected(self, rejected: tuple[tuple[str, str], ...]) -> None:
        """Keep (file name, reason) of files for the next status; of many the last ones."""
        self.rejected = [*self.rejected, *rejected][-_MOST_REJECTED:]

    def write(self, record: dict, *, latest: str | None, log: bool) -> None:
        """Write a status.

        Args:
            record: what it says, beside what every status says.
            latest: name of the newest forecast.
            log: whether it is a line of the log, too.

        Raises:
            UserError: status.json cannot be written.
            OSError: the log cannot.
        """
        self.last = {
            "version": 1,
            "updated": iso(self.clock.now()),
            **_EMPTY,
            "rejected": [
                {"file": printable(name), "reason": printable(reason)}
                for name, reason in self.rejected
            ],
            "latest": latest,
        } | record
        text = json.dumps(self.last) + "\n"
        with replacing(self.folder / STATUS) as path:
            path.write_text(text, encoding="utf-8")
        if log:
            _append(self.folder / LOG, text.encode())


def _append(path: Path, row: bytes) -> None:
    """Add a row to a log, which is put aside when it is large."""
    if path.exists() and path.stat().st_size > _LARGEST_LOG:
        os.replace(path, path.with_name(f"{path.name}.1"))
    with path.open("ab+") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
        # The last row may be half a one, of a process that was killed, or a disk that was full.
        is_whole = file.read(1) in (b"\n", b"")
        file.write(row if is_whole else b"\n" + row)


def add_reason(record: dict, reason: str) -> None:
    """Say one thing more in the reason of a status."""
    record["reason"] = "; ".join(filter(None, [record["reason"], reason]))


def iso(moment: np.datetime64) -> str:
    """A UTC time to the second, e.g. 2020-06-01T00:05:00Z."""
    return f"{moment.astype('datetime64[s]')}Z"


def printable(text: str) -> str:
    """A text, names of files among them, that every terminal and file can take."""
    return text.encode(errors="backslashreplace").decode()


def line(record: dict) -> str:
    """A status in one line."""
    made = "no forecast"
    if record.get("forecast"):
        made = f"{record['method']} -> {record['forecast']}"
    reason = record.get("reason")
    because = f" ({printable(reason)})" if reason else ""
    return f"{record['analysis_time']} {record['outcome']}: {made}{because}"
