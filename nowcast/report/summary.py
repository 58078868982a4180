"""The first sections: what was judged on what, how the models compare, and what may be concluded
from it.
"""

import math

from nowcast.evaluation.statistics.scores import BETTER, SUMMED_OVER_LEADS
from nowcast.evaluation.statistics.sums import ScoreKey
from nowcast.evaluation.table import score_title, unit_of, verdict
from nowcast.report.document import (
    Cell,
    Facts,
    Heading,
    Section,
    Tab,
    Table,
    Tabs,
    Verdict,
    Verdicts,
    Words,
)
from nowcast.report.scoring import Scoring, difference_cell

_WORDS = (
    ("better", "Better"),
    ("worse", "Worse"),
    ("open", "Open"),
    ("unknown", "No interval"),
    ("undefined", "Undefined"),
)
_RESOLVED = ScoreKey("effective_resolution")


def summary(scoring: Scoring) -> Section:
    """Verdicts in words and as tables, and what they are worth."""
    items = [
        Facts(_facts(scoring)),
        Heading("What may be concluded"),
        Words(scoring.results.conclusion(), "list"),
    ]
    cautions = _cautions(scoring)
    if cautions:
        items.append(Words(cautions, "warning"))
    for model in scoring.group.judged:
        opponents = scoring.opponents(model)
        if opponents:
            items += _compared(scoring, model, opponents)
    tabs = [
        Tab(
            name.capitalize(),
            [
                scoring.values_table(
                    scoring.main, place, f"The main scores of all models {name}, with intervals"
                )
            ],
        )
        for name, place in scoring.scopes
    ]
    items += [Heading("Scores of all models"), Words([_how(scoring)], "soft"), Tabs("Leads", tabs)]
    rest = [
        key
        for key in scoring.keys
        if key not in scoring.main
        and not key.score.startswith(("power_", "fss_", "cross_entropy_floor"))
    ]
    if rest:
        items.append(
            scoring.values_table(
                rest, scoring.leads, "Every other score over all leads", folded=True
            )
        )
    return Section("summary", "Summary", items)


def _facts(scoring: Scoring) -> list[tuple[str, str]]:
    """What was judged on what."""
    results, task, facts = (
        scoring.results,
        scoring.task,
        [_dictionary(run.results.facts) for run in scoring.group.runs],
    )
    one = facts[0]
    minutes = scoring.lead_minutes
    leads = (
        f"{task.forecast_length} frames"
        if minutes is None
        else f"{task.forecast_length} leads, {minutes:g} to {task.forecast_length * minutes:g} min"
    )
    period = " – ".join(
        dict.fromkeys(str(one[name]) for name in ("first_case", "last_case") if one.get(name))
    )
    blocks = f"{len(results.blocks)} blocks"
    pairs = [
        (
            "judged",
            ", ".join(scoring.group.judged)
            if len(facts) > 1
            else " · ".join(str(part) for part in (results.models[0], one.get("model")) if part),
        ),
        ("beside", ", ".join(scoring.group.references) or "nothing"),
        ("data", " · ".join(str(one[name]) for name in ("data", "part") if one.get(name))),
        ("cases", f"{results.cases}{f' ({period})' if period else ''}"),
        (
            "events",
            f"{len(results.events)}"
            if results.by_time
            else "sequences that are independent of each other",
        ),
        (
            "intervals",
            f"{100 * results.resampling.level:g} % of {results.resampling.draws} draws of "
            f"{one.get('block_rule') or blocks}"
            if results.has_intervals
            else "none: there is one block of cases",
        ),
        ("forecast", f"{task.context_length} frames of context, {leads}"),
        ("made", str(one.get("created") or "")),
    ]
    return [(name, text) for name, text in pairs if text]


def _dictionary(value) -> dict:
    return value if isinstance(value, dict) else {}


def _cautions(scoring: Scoring) -> list[str]:
    """What a reader must know beside the numbers."""
    found = []
    for run in scoring.group.runs:
        facts, of = (
            _dictionary(run.results.facts),
            f" ({run.name})" if len(scoring.group.runs) > 1 else "",
        )
        for model, failed in _dictionary(facts.get("failures")).items():
            failed = _dictionary(failed)
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
        left_out = facts.get("left_out")
        found += [
            f"{sentence}{of}"
            for sentence in (
                left_out if isinstance(left_out, list) else [left_out] if left_out else []
            )
        ]
    found += _blurred(scoring)
    return found


def _blurred(scoring: Scoring) -> list[str]:
    """Which judged models are so smooth that some scores favour them."""
    found = []
    for model in scoring.group.judged:
        estimate = scoring.estimates[model].get(_RESOLVED)
        others = [
            float(scoring.estimates[other][_RESOLVED].value[scoring.leads - 1])
            for other in scoring.group.references
            if _RESOLVED in scoring.estimates[other]
        ]
        if estimate is None:
            continue
        reached = float(estimate.value[scoring.leads - 1])
        if (
            math.isfinite(reached)
            and reached >= 4
            and all(reached > 1.5 * other for other in others if math.isfinite(other))
            and any(map(math.isfinite, others))
        ):
            found.append(
                f"At {scoring.lead(scoring.leads - 1)}, forecasts of {model} hold less than half "
                f"of the observed power at wavelengths below {reached:.3g} pixels: they are "
                "smoother than the observations and than every baseline. MAE, MSE and "
                "correlation favour smooth forecasts; see the spectra."
            )
    return found


def _compared(scoring: Scoring, model: str, opponents: list[str]) -> list:
    """A judged model against others: in words, then as a table."""
    items = [Heading(f"{model} against {'the others' if len(opponents) > 1 else opponents[0]}")]
    tabs = []
    for name, place in scoring.scopes:
        verdicts = [
            Verdict(f"against {other}, {name}", _in_words(scoring, model, other, place))
            for other in opponents
        ]
        tabs.append(
            Tab(
                name.capitalize(),
                [Verdicts(verdicts), _table(scoring, model, opponents, name, place)],
            )
        )
    items.append(Tabs("Leads", tabs))
    items.append(
        Words(
            [
                "better and worse: the interval of the paired difference leaves out 0. open: it "
                "does not, so that the difference may be chance. "
                "In the small pictures the line is no difference, and right of it is better; "
                "each row has its own scale."
                if scoring.results.has_intervals
                else "There is no interval: which of these differences are more than chance is "
                "not known."
            ],
            "soft",
        )
    )
    return items


def _in_words(scoring: Scoring, model: str, other: str, place: int) -> list[tuple[str, str, str]]:
    """The main scores by what their differences say."""
    found: dict[str, list[str]] = {name: [] for name, _ in _WORDS}
    differences = scoring.differences(model, other)
    for key in scoring.main:
        if key not in differences or BETTER.get(key.score) not in ("higher", "lower"):
            continue
        word = verdict(key, differences[key], place)
        if math.isnan(differences[key].value[place]):
            word = "undefined"
        found[word or "unknown"].append(score_title(*key, unit=unit_of(scoring.lead_minutes)))
    return [
        (mark, f"{title} ({len(found[mark])})", _listed(found[mark]))
        for mark, title in _WORDS
        if found[mark]
    ]


def _listed(titles: list[str]) -> str:
    """CSI ≥ 0.1, 1 and 5 mm/h, MAE: thresholds of one score together."""
    together: dict[str, list[str]] = {}
    for title in titles:
        score, sign, rest = title.partition(" ≥ ")
        together.setdefault(score, []).append(f"{sign}{rest}".removeprefix(" "))
    return ", ".join(f"{score} {', '.join(rest)}".strip() for score, rest in together.items())


def _table(scoring: Scoring, model: str, opponents: list[str], name: str, place: int) -> Table:
    """Paired differences from all opponents."""
    rows = []
    for key in scoring.main:
        estimate = scoring.estimates[model].get(key)
        if estimate is None:
            continue
        found = {
            other: scoring.differences(model, other)[key]
            for other in opponents
            if key in scoring.differences(model, other)
        }
        sizes = [
            abs(float(array[place]))
            for difference in found.values()
            for array in (difference.value, difference.low, difference.high)
        ]
        reach = max((size for size in sizes if math.isfinite(size)), default=0.0)
        cells = [
            difference_cell(key, found[other], place, verdict(key, found[other], place), reach)
            if other in found
            else ""
            for other in opponents
        ]
        rows.append(
            [
                Cell(
                    scoring.title(key),
                    {"higher": "higher is better", "lower": "lower is better"}.get(
                        BETTER.get(key.score, ""), ""
                    ),
                ),
                scoring.value(key, estimate, place),
                *cells,
            ]
        )
    return Table(
        f"{model} minus the others, {name}",
        ["score", model, *(f"minus {other}" for other in opponents)],
        rows,
    )


def _how(scoring: Scoring) -> str:
    """How the value over all leads comes about."""
    summed = (
        " (cross-entropy: their sum)"
        if any(
            key.score in SUMMED_OVER_LEADS and key.score.startswith("cross") for key in scoring.keys
        )
        else ""
    )
    over = (
        "Counts of all leads are added before they are divided"
        if scoring.results.pooled
        else f"Over all leads means the mean of the leads{summed}"
    )
    return (
        f"Counts and errors are summed over all cases of a lead and divided once. {over}. A "
        "pixel counts where it was observed and every model has a forecast; "
        "an event is a value at or above the threshold; best values are bold."
    )
