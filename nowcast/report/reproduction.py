"""The last section: where the numbers come from, and how to make them again."""

import json
import shlex
from collections.abc import Sequence

import nowcast
from nowcast.evaluation.statistics.scores import SCORES
from nowcast.report.document import Code, Facts, Heading, Item, Section, Table, Words
from nowcast.report.runs import Run

_LONGEST = 5000  # characters of one fact
_SHOWN_ELSEWHERE = ("own_models", "left_out", "failures", "versions", "command", "baselines")
_MEANINGS = {
    "CSI": "hits / (hits + misses + false alarms): of all pixels with rain in forecast or "
    "observation, the share with both",
    "POD, FAR, success ratio": "share of the observed events that were forecast; share of the "
    "forecast events that did not come; 1 − FAR",
    "frequency bias": "forecast events per observed event",
    "HSS, ETS": "share of right answers, or CSI, beyond what chance gives",
    "FSS": "agreement of the shares of events in neighbourhoods; 1 is perfect",
    "MAE, MSE, B-MAE, B-MSE": "mean absolute and squared error; B: heavy rain weighs more (HKO-7)",
    "SAL": "structure, amplitude and location of rain objects; 0 is perfect",
    "CRPS": "error of an ensemble's distribution, in the unit of the rain; of one forecast it is "
    "the MAE",
    "Brier skill, ROC area": "of probabilities: improvement over the base rate; how well they "
    "distinguish events from others",
}


def reproduction(runs: Sequence[Run]) -> Section:
    """Facts, versions, settings and commands of all runs, and what the scores mean."""
    items = []
    for run in runs:
        if len(runs) > 1:
            items.append(Heading(run.name))
        items += _of_run(run)
    folders = [run.folder for run in runs if run.folder]
    if folders:  # what was in memory cannot be reported on again
        together = f"[{','.join(folders)}]" if len(folders) > 1 else folders[0]
        items.append(Words([f"This report was made by nowcast {nowcast.__version__} with"]))
        items.append(Code(f"nowcast report run={shlex.quote(together)}"))
    meanings = [[score, meaning] for score, meaning in _MEANINGS.items()]
    items.append(Table("What the scores mean", ["score", "meaning"], meanings, folded=True))
    directions = [[name, score.better] for name, score in SCORES.items() if score.better]
    items.append(Table("Which direction is better", ["score", "better"], directions, folded=True))
    return Section("provenance", "Data, settings, versions", items)


def _of_run(run: Run) -> list[Item]:
    facts = run.results.facts
    if not isinstance(facts, dict):  # an evaluation may come from anybody
        facts = {"facts": facts}
    pairs = [
        (str(name).replace("_", " "), _text(value))
        for name, value in facts.items()
        if name not in _SHOWN_ELSEWHERE
    ]
    versions = facts.get("versions")
    if isinstance(versions, dict):
        versions = ", ".join(f"{name} {_text(version)}" for name, version in versions.items())
    if versions:
        pairs.append(("versions", _text(versions)))
    blocks = [[block.label, block.event, str(block.cases)] for block in run.results.blocks]
    caption = f"The {len(blocks)} blocks of cases"
    items = [Facts(pairs), Table(caption, ["block", "event", "cases"], blocks, folded=True)]
    if facts.get("command"):
        items += [Words(["The evaluation was made with"]), Code(_text(facts["command"]))]
    items.append(Code(_json(run.results.settings, indent=1), "Task and scores"))
    if facts.get("baselines"):
        items.append(Code(_json(facts["baselines"], indent=1), "Baselines"))
    if run.config:
        items.append(Code(run.config, "The whole configuration (config.yaml)"))
    return items


def _text(value) -> str:
    """A fact in words: text as it is, all else as JSON."""
    text = value if isinstance(value, str) else _json(value)
    left_out = len(text) - _LONGEST
    return text if left_out <= 0 else f"{text[:_LONGEST]}… ({left_out} more characters)"


def _json(value, **options) -> str:
    return json.dumps(value, ensure_ascii=False, default=str, **options)
