"""The last section: where the numbers come from, and how to make them again."""

import json
import shlex

import nowcast
from nowcast.evaluation.statistics.scores import BETTER
from nowcast.report.document import Code, Facts, Heading, Section, Table, Words
from nowcast.report.runs import Run

_MOST = 5000  # characters of one fact
_TOLD = ("left_out", "failures", "versions", "command", "baselines")  # elsewhere in the report
_MEANINGS = [
    (
        "CSI",
        "hits / (hits + misses + false alarms): of all pixels with rain in forecast or "
        "observation, the share with both",
    ),
    (
        "POD, FAR, success ratio",
        "share of the observed events that were forecast; share of the forecast events that did "
        "not come; 1 − FAR",
    ),
    ("frequency bias", "forecast events per observed event"),
    ("HSS, ETS", "share of right answers, or CSI, beyond what chance gives"),
    ("FSS", "agreement of the shares of events in neighbourhoods; 1 is perfect"),
    (
        "MAE, MSE, B-MAE, B-MSE",
        "mean absolute and squared error; B: heavy rain weighs more (HKO-7)",
    ),
    ("SAL", "structure, amplitude and location of rain objects; 0 is perfect"),
    (
        "CRPS",
        "error of an ensemble's distribution, in the unit of the rain; of one forecast it is the "
        "MAE",
    ),
    (
        "Brier skill, ROC area",
        "of probabilities: improvement over the base rate; how well they tell events from others",
    ),
]


def provenance(runs: list[Run]) -> Section:
    """Facts, versions, settings and commands of all runs, and what the scores mean."""
    items = []
    for run in runs:
        facts = (
            run.results.facts
            if isinstance(run.results.facts, dict)
            else {"facts": run.results.facts}
        )
        if len(runs) > 1:
            items.append(Heading(run.name))
        pairs = [
            (str(name).replace("_", " "), _text(value))
            for name, value in facts.items()
            if name not in _TOLD
        ]
        versions = facts.get("versions")
        if versions:
            pairs.append(
                (
                    "versions",
                    ", ".join(f"{name} {_text(version)}" for name, version in versions.items())
                    if isinstance(versions, dict)
                    else _text(versions),
                )
            )
        items += [Facts(pairs), *_blocks(run)]
        command = facts.get("command")
        if command:
            items += [Words(["The evaluation was made with"]), Code(_text(command))]
        items.append(
            Code(
                json.dumps(run.results.settings, indent=1, ensure_ascii=False, default=str),
                "Task and scores",
            )
        )
        if facts.get("baselines"):
            items.append(
                Code(
                    json.dumps(facts["baselines"], indent=1, ensure_ascii=False, default=str),
                    "Baselines",
                )
            )
        if run.config:
            items.append(Code(run.config, "The whole configuration (config.yaml)"))
    folders = [run.folder for run in runs if run.folder]
    if folders:
        together = f"[{','.join(folders)}]" if len(folders) > 1 else folders[0]
        items += [
            Words([f"This report was made by nowcast {nowcast.__version__} with"]),
            Code(f"nowcast report run={shlex.quote(together)}"),
        ]
    items.append(
        Table(
            "What the scores mean",
            ["score", "meaning"],
            [list(pair) for pair in _MEANINGS],
            folded=True,
        )
    )
    directions = [[score, direction] for score, direction in BETTER.items() if direction]
    items.append(Table("Which direction is better", ["score", "better"], directions, folded=True))
    return Section("provenance", "Data, settings, versions", items)


def _blocks(run: Run) -> list[Table]:
    """The blocks that intervals are drawn from."""
    blocks = run.results.blocks
    return [
        Table(
            f"The {len(blocks)} blocks of cases",
            ["block", "event", "cases"],
            [[block.label, block.event, str(block.cases)] for block in blocks],
            folded=True,
        )
    ]


def _text(value) -> str:
    """A fact in words: text as it is, all else as JSON."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _MOST else f"{text[:_MOST]}… ({len(text) - _MOST} more characters)"
