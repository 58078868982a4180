"""Which runs can be compared, and their results as one."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nowcast.evaluation.results import Results, ShownCase
from nowcast.evaluation.summary_scores import SummaryScores
from nowcast.report.runs import Run
from nowcast.runtime.files import typed_run

_ADDED = ("accumulations", "accumulation_thresholds", "boxes", "cost_loss")
"""Settings of scores of rain that add scores, and leave the others as they are."""


@dataclass(frozen=True)
class Group:
    """Runs that were evaluated on the same pixels with the same scores, as one.

    Args:
        runs: of the group.
        scores: of all their models; its own models are those of the runs, in their order.
    """

    runs: list[Run]
    scores: SummaryScores


def groups(runs: Sequence[Run]) -> list[tuple[Group, str]]:
    """Runs in groups that can be compared, each with a sentence that says why it is not part of the
    first; empty for the first.
    """
    found: list[tuple[list[Run], str]] = []
    for run in runs:
        reasons = [difference(members[0], run) for members, _ in found]
        if "" in reasons:  # no reason against the first of that group
            found[reasons.index("")][0].append(run)
        else:
            found.append(([run], reasons[0] if reasons else ""))
    return [(Group(members, _scores(members)), reason) for members, reason in found]


def difference(one: Run, other: Run) -> str:
    """Why two runs cannot be compared, in a sentence; empty where they can."""
    first, second = one.results, other.results
    names = f"{other.name} and {one.name}"
    conclusion = "their numbers do not belong in one table."
    both = _how_to_evaluate_both(one, other)
    if first.settings["task"] != second.settings["task"]:
        return f"{names} have different tasks: {conclusion}"
    if _without_aggregates(first) != _without_aggregates(second):
        return f"{names} have different scores: {conclusion}"
    if first.blocks != second.blocks:
        return f"{names} were evaluated on different cases: {conclusion}"
    # equal counts of what was observed: the same pixels of the same observations
    mine, theirs = _observed(first), _observed(second)
    same = mine.keys() == theirs.keys() and all(
        np.allclose(mine[key], theirs[key], rtol=1e-9, atol=0, equal_nan=True) for key in mine
    )
    if same:
        return ""
    fewer, more = (other, one) if _pixels(second) <= _pixels(first) else (one, other)
    if not _is_part(_observed(fewer.results), _observed(more.results)):
        return f"{names} were evaluated on different observations: {conclusion}{both}"
    share = 100 * (1 - _pixels(fewer.results) / _pixels(more.results))
    return (
        f"{names} were evaluated on different pixels, {fewer.name} on {share:.2g} % fewer: "
        f"{_who_has_no_forecast(fewer, more)} has no forecast for some, such as where rain comes "
        f"from outside the grid; {conclusion}{both}"
    )


def _without_aggregates(results: Results) -> dict:
    """The settings of its scores, without those that only add scores to the others: older
    evaluations do not have them, and can be compared in all else.
    """
    return {name: value for name, value in results.settings["scores"].items() if name not in _ADDED}


def _aggregates_of(results: Results) -> list:
    return [results.settings["scores"].get(name) for name in _ADDED]


def _pixels(results: Results) -> float:
    """Pixels that were compared with a threshold, over all leads, cases and thresholds."""
    found = _observed(results)
    return sum(float(np.nansum(value)) for key, value in found.items() if key[0] == "all")


def _is_part(fewer: dict, more: dict) -> bool:
    """Whether pixels and events can be some of the others: nowhere more, and somewhere fewer."""
    counts = [key for key in fewer if key[0] in ("all", "events") and key in more]
    nowhere_more = all(np.all(fewer[key] <= more[key]) for key in counts)
    return nowhere_more and any(np.any(fewer[key] < more[key]) for key in counts)


def _who_has_no_forecast(fewer: Run, more: Run) -> str:
    """The models of a run that may lack forecasts for pixels that another run has."""
    own = [model for model in fewer.results.baselines if model not in more.results.baselines]
    return " or ".join([f"the model of {fewer.name}", *own])


def _how_to_evaluate_both(one: Run, other: Run) -> str:
    """The command that evaluates the models of two runs on the same cases and pixels, as words to
    add; none where one is no model's.
    """
    typed = []
    for run in (one, other):
        facts = run.results.facts if isinstance(run.results.facts, dict) else {}
        folder = Path(str(facts.get("model") or ""))
        if not facts.get("model") or not folder.is_dir():
            return ""
        typed.append(typed_run(folder))
    words = shlex.quote(f"run=[{','.join(typed)}]")
    return f" Evaluate both at once, on the pixels that both forecast: nowcast evaluate {words}"


def _observed(results: Results) -> dict:
    """What of the scores is a property of the observations and of the pixels that count, alone."""
    values = results.values(results.models[0])
    found = {}
    for key, value in values.items():
        if key.score == "hits":
            misses, false_alarms, correct_negatives = (
                values[key._replace(score=score)]
                for score in ("misses", "false_alarms", "correct_negatives")
            )
            found["events", key] = value + misses
            found["all", key] = value + misses + false_alarms + correct_negatives
        if key.score in ("cross_entropy_floor", "power_observation", "fss_random"):
            found[key] = value
    return found


def _scores(runs: Sequence[Run]) -> SummaryScores:
    if len(runs) == 1:
        results = runs[0].results
        return SummaryScores(results, own_models(results))
    return SummaryScores(_merged(runs), [run.name for run in runs])


def own_models(results: Results) -> list[str]:
    """The models that an evaluation is about: the first one, or those of several runs that were
    evaluated together.
    """
    facts = results.facts if isinstance(results.facts, dict) else {}
    names = facts.get("own_models")
    known = [name for name in names if name in results.models] if isinstance(names, list) else []
    return known if known[:1] == results.models[:1] else results.models[:1]


def _merged(runs: Sequence[Run]) -> Results:
    """One set of results of several runs, whose own models are called like the runs.

    A baseline that has the same totals in two of them is one; others of one name get that of their
    run, too.
    """
    totals = {run.name: run.results.totals[run.results.models[0]] for run in runs}
    ensembles, members, shown, probabilities, aggregates = {}, {}, {}, {}, {}
    distributions = []
    # whose accumulations and boxes are shown; those of others are not the same
    leading = next((run.results for run in runs if run.results.aggregates), runs[0].results)
    for run in runs:
        results = run.results
        names = {results.models[0]: run.name}
        for model in results.baselines:
            names[model] = _baseline_name(model, run, totals)
            totals[names[model]] = results.totals[model]
        ensembles |= _renamed(results.ensembles, names)
        members |= _renamed(results.members, names)
        probabilities |= _renamed(results.probabilities, names)
        distributions += [names[model] for model in results.distributions]
        if _aggregates_of(results) == _aggregates_of(leading):
            aggregates |= _renamed(results.aggregates, names)
        for case in results.shown:
            forecasts = _renamed(case.forecasts, names)
            kind = f"{case.kind} of {run.name}"
            _merge_case(shown, replace(case, kind=kind, forecasts=forecasts))
    first = runs[0].results
    facts = dict(first.facts) if isinstance(first.facts, dict) else {}
    return replace(
        first,
        settings=leading.settings,
        totals=totals,
        ensembles=ensembles,
        members=members,
        shown=list(shown.values()),
        probabilities=probabilities,
        aggregates=aggregates,
        facts=facts | {"distributions": distributions},
        statistic=first.statistic if leading is first else None,
    )


def _renamed(by_model: Mapping[str, object], names: Mapping[str, str]) -> dict:
    return {names[model]: value for model, value in by_model.items() if model in names}


def _baseline_name(model: str, run: Run, totals: dict) -> str:
    """The name of a baseline among the models of several runs."""
    if model not in totals or _equal(totals[model], run.results.totals[model]):
        return model
    name = f"{run.name}: {model}"
    while name in totals:  # a run may itself be called so
        name += "'"
    return name


def _equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(
        np.array_equal(one[name], other[name], equal_nan=True) for name in one
    )


def _merge_case(shown: dict[str, ShownCase], case: ShownCase) -> None:
    """Add a case, or its forecasts to the same case of another run."""
    # the title names the analysis time, and the groups have the same cases
    same = shown.setdefault(case.title, case)
    alike = (
        same.observation.shape == case.observation.shape
        and same.context.shape == case.context.shape
    )
    if alike:
        shown[case.title] = replace(same, forecasts=case.forecasts | same.forecasts)
