"""What came out of a multirun: every job with its score, and which is the best."""

import math
import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nowcast.cli.application import Returned
from nowcast.cli.common import print_line
from nowcast.cli.job import Job
from nowcast.runtime.errors import first_line, one_line

_REASONS = 3  # failed jobs whose reasons stand in one line
_DIGITS = 5


def show(done: Sequence[Returned], folder: Path, job: Job) -> None:
    """Print the jobs with their scores, and the command that puts them side by side.

    Args:
        done: what the jobs returned.
        folder: of all of them.
        job: what they had in common.
    """
    if not done:
        return
    scores = [None if returned.error else _number(returned.return_value) for returned in done]
    criteria = {_criterion(returned) for returned in done}
    one = len(criteria) == 1
    heading, is_higher_better = criteria.pop() if one else ("score", False)
    best = _best(scores, is_higher_better) if one else None
    arrow = (" ↑" if is_higher_better else " ↓") if one else ""
    shown = Table(box=SIMPLE_HEAD, pad_edge=False)
    shown.add_column("job", justify="right")
    shown.add_column("settings", overflow="fold")
    shown.add_column(heading + arrow, justify="right")
    shown.add_column("run folder", overflow="fold")
    for index, (returned, score) in enumerate(zip(done, scores, strict=True)):
        value = "failed" if returned.error else _text(score)
        mark = "  best" if index == best and len(done) > 1 else ""
        place = os.path.relpath(returned.folder, folder)
        label = escape(_shortened(job.label(_job_number(returned), returned.overrides))) or "–"
        shown.add_row(str(_job_number(returned)), label, value + mark, escape(place))
    print_line(f"\n{len(done)} job{'s' if len(done) > 1 else ''} in {folder}")
    Console().print(shown)
    if any(score is not None for score in scores):
        command = shlex.join(["nowcast", "compare", f"runs={folder}"])
        print_line(f"side by side: {command}")


def _shortened(label: str) -> str:
    """Settings with as many digits as the scores have; all of them stand in the run folders."""
    return re.sub(r"(?<==)-?\d+\.\d{6,}(?:e-?\d+)?(?= |$)", _rounded, label)


def _rounded(number: re.Match) -> str:
    return f"{float(number[0]):.{_DIGITS}g}"


def failures(done: Sequence[Returned], folder: Path, job: Job) -> str:
    """The jobs that failed, in one line, each with its settings, its folder and the reason."""
    failed = [returned for returned in done if returned.error is not None]
    parts = []
    for returned in failed[:_REASONS]:
        label = job.label(_job_number(returned), returned.overrides)
        settings = f" ({label})" if label else ""
        reason = one_line(first_line(returned.error)).rstrip(".")
        parts.append(f"job {_job_number(returned)}{settings} in {returned.folder}: {reason}")
    if len(failed) > _REASONS:
        parts.append(f"and {len(failed) - _REASONS} more")
    return f"{len(failed)} of {len(done)} jobs failed: {'; '.join(parts)}."


def _job_number(returned: Returned) -> int:
    return returned.hydra_cfg.hydra.job.num


def _number(value) -> float:
    return math.nan if value is None else float(value)


def _criterion(returned: Returned) -> tuple[str, bool]:
    """What a job's score is, and whether a higher one is better."""
    training = returned.cfg.training
    if training.select == "csi":
        return f"CSI ≥ {training.select_threshold:g} mm/h", True
    return "validation loss", False


def _best(scores: list[float | None], is_higher_better: bool) -> int | None:
    """The index of the best score; None where there is none."""
    known = [(score, index) for index, score in enumerate(scores) if not _is_missing(score)]
    if not known:
        return None
    sign = -1 if is_higher_better else 1
    return min(known, key=lambda pair: (sign * pair[0], pair[1]))[1]


def _is_missing(score: float | None) -> bool:
    return score is None or math.isnan(score)


def _text(score: float) -> str:
    return "–" if math.isnan(score) else f"{score:.{_DIGITS}g}"
