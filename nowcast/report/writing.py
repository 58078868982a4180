"""From evaluations to one HTML file that needs no network and lets nothing of its content run."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from markupsafe import Markup

from nowcast.drawing.colours import RAIN_CLASSES, RAIN_COLOURS
from nowcast.report import runs as of_runs
from nowcast.report.diagrams import diagram, spectra
from nowcast.report.document import Section, Tab, Tabs, Words
from nowcast.report.ensembles import ensembles
from nowcast.report.markup import clean, tag
from nowcast.report.pictures import animations
from nowcast.report.provenance import provenance
from nowcast.report.runs import Group, Run
from nowcast.report.scoring import Scoring
from nowcast.report.sections import by_event, curves, scales, training
from nowcast.report.summary import summary
from nowcast.runtime.errors import UserError
from nowcast.runtime.files import replacing

_HERE = Path(__file__).parent


def write(runs: Sequence[Path], output: Path) -> Path:
    """Write the report on evaluations.

    Args:
        runs: folders of runs or evaluations.
        output: the HTML file.

    Raises:
        UserError: a folder without an evaluation that can be read, or a file that cannot be
            written.
    """
    return write_runs(of_runs.load([Path(run) for run in runs]), output)


def write_runs(runs: Sequence[Run], output: Path) -> Path:
    """Write the report on evaluations that are in memory; arguments as for ``write``.

    Raises:
        UserError: no run, two of one name, or results that cannot be shown.
    """
    runs = list(runs)
    names = [run.name for run in runs]
    if not runs or len(set(names)) < len(names):
        raise UserError(
            f"a report on {names} was asked for; one run or more with different names are needed."
        )
    for run in runs:
        of_runs.check(run.results, run.name)
    page = html(runs)
    with replacing(output) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return Path(output)


def html(runs: Sequence[Run]) -> str:
    """The whole page."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    found = of_runs.groups(list(runs))
    lines: dict[str, str] = {}
    sections = [
        section
        for number, (group, _) in enumerate(found)
        for section in _sections(group, number, len(found), lines)
    ]
    sections += [section for section in (training(list(runs)), provenance(list(runs))) if section]
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: value if isinstance(value, Markup) else clean(value),
    )
    style, script = (
        (_HERE / name).read_text(encoding="utf-8") for name in ("report.css", "report.js")
    )
    title = (
        f"{runs[0].name}: forecasts verified"
        if len(runs) == 1
        else f"{len(runs)} runs: forecasts verified"
    )
    rendered = environment.get_template("report.html").render(
        title=title,
        sections=sections,
        apart=[reason for _, reason in found if reason],
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
    hashes = (
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for text in (style, script)
    )
    return (
        "default-src 'none'; img-src data:; style-src {}; script-src {}; base-uri 'none'; "
        "form-action 'none'"
    ).format(*hashes)


def _sections(group: Group, number: int, count: int, lines: dict[str, str]) -> list[Section]:
    """All sections about the scores of a group; of several groups, each says whose it is."""
    scoring = Scoring(group)
    made = [
        summary(scoring),
        curves(scoring),
        scales(scoring),
        diagram(scoring),
        spectra(scoring),
        ensembles(scoring),
        by_event(scoring),
        cases(scoring, lines),
    ]
    sections = [section for section in made if section is not None]
    if count == 1:
        return sections
    of = ", ".join(run.name for run in group.runs)
    return [
        replace(section, id=f"{section.id}-{number + 1}", title=f"{section.title}: {of}")
        for section in sections
    ]


def cases(scoring: Scoring, lines: dict[str, str]) -> Section | None:
    """The worst, a typical and the best case as animations; ``lines`` takes their coastlines."""
    shown = scoring.results.shown
    if not shown:
        return None
    grey = scoring.task.quantity == "grey_level"
    made, side = animations(shown, grey=grey, lead_minutes=scoring.lead_minutes, lines=lines)
    reference = scoring.group.references[0] if scoring.group.references else None
    chosen = f"by the squared error of {scoring.group.judged[0]}" + (
        f" relative to {reference}'s" if reference else ""
    )
    sentences = [f"The worst, a typical and the best case {chosen}."]
    largest = max(max(case.observation.shape[1:]) for case in shown)
    if largest > side:
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
    tabs = [Tab(case.kind.capitalize(), [animation]) for case, animation in zip(shown, made)]
    return Section(
        "cases",
        "Cases",
        [Words([" ".join(sentences)], "soft"), *([Tabs("Case", tabs)] if tabs else [])],
    )


def _rain_legend() -> Markup:
    """The rain classes with their colours."""
    step, labels = 36, ["dry", *(f"{edge:g}" for edge in RAIN_CLASSES)]
    parts = []
    for k, (label, colour) in enumerate(zip(labels, RAIN_COLOURS)):
        parts.append(
            tag(
                "rect",
                x=k * step + 1,
                y=1,
                width=step,
                height=14,
                fill="#{:02x}{:02x}{:02x}".format(*colour),
                class_="class",
            )
        )
        parts.append(
            tag("text", label, x=k * step + 1, y=28, class_="tick middle" if k else "tick")
        )
    parts.append(tag("text", "mm/h", x=len(labels) * step + 8, y=12, class_="tick"))
    return tag(
        "svg",
        *parts,
        class_="rain",
        viewBox=f"0 0 {len(labels) * step + 44} 32",
        role="img",
        aria_label=f"Rain classes: dry, then from {', '.join(labels[1:])} mm/h",
    )
