"""The first section: which models were evaluated on what, how they compare, and what may be
concluded from it.
"""

import math
from collections.abc import Sequence

from nowcast.evaluation.results_text import judged_in_words
from nowcast.evaluation.statistics.scores import about
from nowcast.evaluation.statistics.sums import ScoreKey
from nowcast.evaluation.summary_scores import SummaryScores
from nowcast.evaluation.titles import direction, outcome
from nowcast.report import scoring
from nowcast.report.document import (
    Cell,
    Facts,
    Heading,
    Item,
    Section,
    Tab,
    Table,
    Tabs,
    Verdict,
    Verdicts,
    Words,
    soft,
)
from nowcast.report.groups import Group

_OUTCOMES = ("better", "worse", "not significant", "no interval", "undefined")
_SHOWN_ELSEWHERE = (
    "power_",
    "fss_",
    "cross_entropy_floor",
    "economic_value",
)  # beginnings of names of scores


def summary(group: Group) -> Section:
    """Verdicts in words and as tables, and what they are worth."""
    scores = group.scores
    conclusion = Words(scores.results.conclusion(), "list")
    items = [Facts(_facts(group)), Heading("What may be concluded"), conclusion]
    cautions = _cautions(group)
    if cautions:
        items.append(Words(cautions, "warning"))
    for model in scores.own_models:
        if scores.opponents(model):
            items += _compared(scores, model)
    tabs = []
    for scope, lead in scores.scopes:
        caption = f"The main scores of all models {scope}, with intervals"
        table = scoring.values_table(scores, scores.main_at(lead), lead, caption)
        tabs.append(Tab(scope.capitalize(), [table]))
    items += [Heading("Scores of all models"), soft(_how(scores)), Tabs("Leads", tabs)]
    rest = [
        key
        for key in scores.keys
        if key not in scores.main and not key.score.startswith(_SHOWN_ELSEWHERE)
    ]
    if rest:
        caption = "Every other score over all leads"
        items.append(scoring.values_table(scores, rest, scores.leads, caption, folded=True))
    return Section("summary", "Summary", items)


def _facts(group: Group) -> list[tuple[str, str]]:
    """Which models were evaluated on what."""
    scores, results = group.scores, group.scores.results
    facts = _dictionary(group.runs[0].results.facts)

    def known(*names: str) -> list[str]:
        return [str(facts[name]) for name in names if facts.get(name)]

    model = ", ".join(scores.own_models)
    if len(group.runs) == 1:
        model = " · ".join([model, *known("model")])
    # one case has one time
    period = " – ".join(dict.fromkeys(known("first_case", "last_case")))
    events = "sequences that are independent of each other"
    if results.by_time:
        events = f"{len(results.events)}"
    intervals = "none: there is one block of cases"
    if results.has_intervals:
        drawn_from = facts.get("block_rule") or f"{len(results.blocks)} blocks"
        level = f"{100 * results.resampling.level:g} %"
        intervals = f"{level} of {results.resampling.draws} draws of {drawn_from}"
    leads = f"{scores.leads} frames"
    if scores.lead_minutes is not None:
        longest = scores.leads * scores.lead_minutes
        leads = f"{scores.leads} leads, {scores.lead_minutes:g} to {longest:g} min"
    pairs = [
        ("model", model),
        ("baselines", ", ".join(scores.baselines) or "none"),
        ("data", " · ".join(known("data", "part"))),
        ("cases", f"{results.cases} ({period})" if period else f"{results.cases}"),
        ("events", events),
        ("intervals", intervals),
        ("forecast", f"{results.task.context_length} frames of context, {leads}"),
        ("made", "".join(known("created"))),
    ]
    return [(name, text) for name, text in pairs if text]


def _dictionary(value) -> dict:
    """Facts as they should be: an evaluation may come from anybody."""
    return value if isinstance(value, dict) else {}


def _cautions(group: Group) -> list[str]:
    """What a reader must know besides the numbers."""
    found = []
    for run in group.runs:
        facts, of = _dictionary(run.results.facts), ""
        if len(group.runs) > 1:
            of = f" ({run.name})"
        for model, failure in _dictionary(facts.get("failures")).items():
            failed = _dictionary(failure)
            if failed.get("cases"):
                found.append(
                    f"{model} failed in {failed['cases']} of {run.results.cases} cases{of}, and "
                    "persistence stood in for it; the first reason: "
                    f"{failed.get('reason') or 'unknown'}"
                )
        if facts.get("no_pixels"):
            found.append(
                f"{facts['no_pixels']} of {run.results.cases} cases{of} had no pixel that was "
                "observed and that all models forecast; they count nowhere."
            )
        left_out = facts.get("left_out") or []
        for sentence in left_out if isinstance(left_out, list) else [left_out]:
            found.append(f"{sentence}{of}")
    for model, wavelength in group.scores.smooth_models().items():
        found.append(
            f"At {group.scores.last_lead_text}, forecasts of {model} have less than half of the "
            f"observed power at wavelengths below {wavelength:.3g} pixels: they are smoother than "
            "the observations and than every baseline. MAE, MSE and correlation favour smooth "
            "forecasts; see the spectra."
        )
    return found


def _compared(scores: SummaryScores, model: str) -> list[Item]:
    """A model against others: in words, then as a table."""
    opponents = scores.opponents(model)
    tabs = []
    for scope, lead in scores.scopes:
        verdicts = []
        for other in opponents:
            lines = _in_words(scores, model, other, lead)
            verdicts.append(Verdict(f"against {other}, {scope}", lines))
        caption = f"{model} minus the others, {scope}"
        table = _differences_table(scores, model, opponents, lead, caption)
        tabs.append(Tab(scope.capitalize(), [Verdicts(verdicts), table]))
    meaning = "There is no interval: which of these differences are more than chance is not known."
    if scores.results.has_intervals:
        meaning = (
            "better and worse: the interval of the paired difference leaves out 0. not "
            "significant: it does not, so that the difference may be chance. In the small pictures "
            "the line is no difference, and right of it is better; each row has its own scale."
        )
    others = "the others" if len(opponents) > 1 else opponents[0]
    return [Heading(f"{model} against {others}"), Tabs("Leads", tabs), soft(meaning)]


def _in_words(
    scores: SummaryScores, model: str, other: str, lead: int
) -> list[tuple[str, str, str]]:
    """The main scores by what their differences say."""
    found: dict[str, list[str]] = {word: [] for word in _OUTCOMES}  # the good ones first
    differences = scores.differences(model, other)
    for key in scores.main_at(lead):
        if key in differences and about(key.score).better in ("higher", "lower"):
            found[outcome(key, differences[key], lead)].append(scores.short_title(key))
    return [
        (scoring.MARKS.get(word, word), f"{word.capitalize()} ({len(titles)})", _listed(titles))
        for word, titles in found.items()
        if titles
    ]


def _listed(titles: Sequence[str]) -> str:
    """CSI ≥ 0.1, 1 and 5 mm/h, MAE: thresholds of one score together."""
    together: dict[str, list[str]] = {}
    for title in titles:
        score, sign, rest = title.partition(" ≥ ")
        together.setdefault(score, []).append(f"{sign}{rest}".removeprefix(" "))
    return ", ".join(f"{score} {', '.join(rest)}".strip() for score, rest in together.items())


def _differences_table(
    scores: SummaryScores, model: str, opponents: Sequence[str], lead: int, caption: str
) -> Table:
    """Paired differences from all opponents."""
    rows = []
    for key in scores.main_at(lead):
        estimate = scores.estimates[model].get(key)
        if estimate is None:
            continue
        found = {other: scores.differences(model, other).get(key) for other in opponents}
        sizes = [0.0]  # so that there is a largest one where all are undefined
        for difference in found.values():
            if difference is not None:
                ends = (difference.value, difference.low, difference.high)
                sizes += [abs(float(end[lead])) for end in ends]
        reach = max(size for size in sizes if math.isfinite(size))
        row = [Cell(scores.title(key), _strict_direction(key)), scoring.value_cell(estimate, lead)]
        for difference in found.values():
            if difference is None:
                row.append("")
            else:
                row.append(scoring.difference_cell(key, difference, lead, reach))
        rows.append(row)
    return Table(caption, ["score", model, *(f"minus {other}" for other in opponents)], rows)


def _strict_direction(key: ScoreKey) -> str:
    """Which difference is better; of a score that is best at 1 or 0, its sign does not say."""
    return direction(key.score) if about(key.score).better in ("higher", "lower") else ""


def _how(scores: SummaryScores) -> str:
    """How the value over all leads comes about."""
    over = "Over all leads means the mean of the leads"
    if any(about(key.score).summed and key.score.startswith("cross") for key in scores.keys):
        over += " (cross-entropy: their sum)"
    if scores.results.pooled:
        over = "Counts of all leads are added before they are divided"
    text = (
        f"Counts and errors are summed over all cases of a lead and divided once. {over}. A "
        "pixel counts where it was observed and every model has a forecast; an event is a value at "
        "or above the threshold; best values are bold."
    )
    return " ".join([text, *judged_in_words(scores.results)])
