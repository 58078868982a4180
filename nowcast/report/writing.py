"""From evaluations to one HTML file that needs no network and lets nothing of its content run."""

import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from markupsafe import Markup

from nowcast.drawing.colours import RAIN_CLASSES, RAIN_COLOURS
from nowcast.evaluation.summary_scores import SummaryScores
from nowcast.report import runs as of_runs
from nowcast.report.aggregates import aggregates
from nowcast.report.diagrams import diagram, spectra
from nowcast.report.document import Section, Tab, Tabs, soft
from nowcast.report.ensembles import ensembles
from nowcast.report.groups import Group, groups
from nowcast.report.markup import clean, tag, text_at
from nowcast.report.pictures import animations
from nowcast.report.probabilities import probabilities
from nowcast.report.reproduction import reproduction
from nowcast.report.runs import Run
from nowcast.report.sections import by_event, curves, scales, training
from nowcast.report.summary import summary
from nowcast.runtime.errors import UserError
from nowcast.runtime.files import replacing

_HERE = Path(__file__).parent
_LEGEND_STEP = 36  # pixels of a colour class


def write(runs: Sequence[Path], output: Path, *, say: Callable[[str], None] | None = None) -> Path:
    """Write the report on evaluations.

    Args:
        runs: folders of runs or evaluations.
        output: the HTML file.
        say: takes a sentence for each run that stands apart from the first, with the reason.

    Raises:
        UserError: a folder without an evaluation that can be read, or a file that cannot be
            written.
    """
    loaded = of_runs.load([Path(run) for run in runs])
    written = write_runs(loaded, output)
    if say is not None:
        for _, reason in groups(loaded):
            if reason:
                say(f"not compared: {reason}")
    return written


def write_runs(runs: Sequence[Run], output: Path) -> Path:
    """Write the report on evaluations that are in memory.

    Args:
        runs: the evaluations.
        output: the HTML file.

    Raises:
        UserError: no run, two of one name, or results that cannot be shown.
    """
    names = [run.name for run in runs]
    if not runs or len(set(names)) < len(names):
        raise UserError(f"expected one run or more with different names to report on, got {names}.")
    for run in runs:
        of_runs.check(run.results, run.name)
    page = html(runs)  # before the old report is touched
    with replacing(output) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return Path(output)


def html(runs: Sequence[Run]) -> str:
    """The whole page."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    found = groups(runs)
    # all cases of one grid share their coastlines, which are long
    lines: dict[str, str] = {}
    sections = []
    for number, (group, _) in enumerate(found, start=1):
        sections += _sections(group, number if len(found) > 1 else None, lines)
    sections += [training(runs), reproduction(runs)]
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,  # a misspelled name fails instead of leaving a gap
        trim_blocks=True,
        lstrip_blocks=True,
        # names of models and files come from anywhere
        finalize=lambda value: value if isinstance(value, Markup) else clean(value),
    )
    style = (_HERE / "report.css").read_text(encoding="utf-8")
    script = (_HERE / "report.js").read_text(encoding="utf-8")
    subject = runs[0].name if len(runs) == 1 else f"{len(runs)} runs"
    rendered = environment.get_template("report.html").render(
        title=f"{subject}: forecasts verified",
        sections=[section for section in sections if section is not None],
        not_compared=[reason for _, reason in found if reason],
        style=Markup(style),
        script=Markup(script),
        policy=_policy(style, script),
        legend=_rain_legend(),
        lines=lines,
    )
    return rendered.lstrip()


def _policy(style: str, script: str) -> str:
    """What the page may do: show its own pictures, and run and style itself with exactly these two
    blocks.
    """
    hashes = []
    for text in (style, script):
        digest = hashlib.sha256(text.encode()).digest()
        hashes.append(f"'sha256-{base64.b64encode(digest).decode()}'")
    return (
        "default-src 'none'; img-src data:; style-src {}; script-src {}; base-uri 'none'; "
        "form-action 'none'"
    ).format(*hashes)


def _sections(group: Group, number: int | None, lines: dict[str, str]) -> list[Section]:
    """All sections about the scores of a group; of several groups, with the group's number, each
    says whose it is.
    """
    scores = group.scores
    made = [summary(group)]
    sections = (
        *(curves, scales, diagram, spectra),
        *(probabilities, ensembles, aggregates, by_event),
    )
    made += [make(scores) for make in sections]
    made.append(cases(scores, lines))
    sections = [section for section in made if section is not None]
    if number is None:
        return sections
    of = ", ".join(run.name for run in group.runs)
    return [
        replace(section, id=f"{section.id}-{number}", title=f"{section.title}: {of}")
        for section in sections
    ]


def cases(scores: SummaryScores, lines: dict[str, str]) -> Section | None:
    """The worst, a typical and the best case as animations; ``lines`` takes their coastlines."""
    shown = scores.results.shown
    if not shown:
        return None
    grey = scores.results.task.quantity == "grey_level"
    made, side = animations(shown, grey=grey, lead_minutes=scores.lead_minutes, lines=lines)
    chosen = f"by the squared error of {scores.own_models[0]}"
    # see ``nowcast.evaluation.running``, which chose them
    if scores.baselines:
        chosen += f" relative to {scores.baselines[0]}'s"
    sentences = [f"The worst, a typical and the best case {chosen}."]
    if max(max(case.observation.shape[1:]) for case in shown) > side:
        sentences.append(
            f"Pictures are means over squares of cells, so that they are at most {side} pixels "
            "wide and high."
        )
    if len(made) < len(shown):
        sentences.append(
            f"{len(shown) - len(made)} of {len(shown)} cases are left out: their pictures would "
            "make this file too large."
        )
    sentences.append(
        "Hatched: not observed, or no forecast. Choose a picture's time with the slider, the "
        "arrow keys, or Play."
    )
    items = [soft(*sentences)]
    if made:  # tabs of nothing could not be chosen
        tabs = [Tab(case.kind.capitalize(), [one]) for case, one in zip(shown, made)]
        items.append(Tabs("Case", tabs))
    return Section("cases", "Cases", items)


def _rain_legend() -> Markup:
    """The rain classes with their colours."""
    labels = ["dry", *(f"{bound:g}" for bound in RAIN_CLASSES)]
    parts = []
    for k, (label, colour) in enumerate(zip(labels, RAIN_COLOURS)):
        x, fill = k * _LEGEND_STEP + 1, "#{:02x}{:02x}{:02x}".format(*colour)
        box = {"x": x, "y": 1, "width": _LEGEND_STEP, "height": 14}
        parts.append(tag("rect", **box, fill=fill, class_="class"))
        parts.append(text_at(x, 28, "tick middle" if k else "tick", label))
    right = len(labels) * _LEGEND_STEP
    parts.append(text_at(right + 8, 12, "tick", "mm/h"))
    return tag(
        "svg",
        *parts,
        class_="rain",
        viewBox=f"0 0 {right + 44} 32",
        role="img",
        aria_label=f"Rain classes: dry, then from {', '.join(labels[1:])} mm/h",
    )
