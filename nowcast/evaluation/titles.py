"""Scores, leads and numbers in words, and which values are better: what all tables, pictures and
reports share.
"""

import math
from collections.abc import Mapping

from nowcast.evaluation.intervals import Estimate
from nowcast.evaluation.statistics.scores import DIRECTIONS, ScoreRow, about
from nowcast.evaluation.statistics.sums import ScoreKey

_OF_ACCUMULATIONS = {"mm/h": "mm", "mm²/h²": "mm²"}  # units by those of rates
_MOST_THRESHOLDS = 3
AGGREGATED = ("crps", "mse", "mae", "spread_skill", "brier_skill")
"""The main scores of accumulations and of boxes, for tables."""
_ACRONYM = 4  # letters up to which the name of a score is written in capitals


def score_title(
    score: str,
    threshold: float | None,
    window: int | None = None,
    box: float | None = None,
    accumulation: float | None = None,
    cost_loss: float | None = None,
    *,
    unit: str = "mm/h",
) -> str:
    """CSI >= 1 mm/h, FSS >= 1 mm/h, 5 px, CRPS of 60 min, 16 km boxes, cross-entropy, ...

    Args:
        score: its name.
        threshold: of an event; None: without.
        window: width of a neighbourhood [pixels].
        box: side of the boxes whose means are scored [km].
        accumulation: minutes over which rain is accumulated.
        cost_loss: cost-loss ratio.
        unit: of the threshold of rates, see ``unit_of``; that of accumulations is mm.
    """
    name = about(score).title
    if not name:
        name = score.upper() if len(score) <= _ACRONYM else score.replace("_", " ")
    if threshold is not None:
        name = f"{name} ≥ {threshold:g} {unit if accumulation is None else 'mm'}"
    if cost_loss is not None:
        name = f"{name}, cost-loss ratio {cost_loss:g}"
    if accumulation is not None:
        name = f"{name}{' of' if threshold is None else ' in'} {accumulation:g} min"
    if box is not None:
        name = f"{name}, {box:g} km boxes"
    if window and score.startswith(("fss", "power")):
        return f"{name}, {window} px"
    return f"{name}, largest of {window} px" if window and window > 1 else name


def score_unit(key: ScoreKey, *, rain: bool) -> str:
    """The unit of a score of rain, or of grey levels; "" if it has none."""
    unit = about(key.score).unit_for(rain=rain)
    return unit if key.accumulation is None else _OF_ACCUMULATIONS.get(unit, unit)


def unit_of(lead_minutes: float | None) -> str:
    """The unit of thresholds: of rain, or of the grey levels of frames without times."""
    return "of 255" if lead_minutes is None else "mm/h"


def lead_label(step: int, lead_minutes: float | None) -> str:
    """+15 min, or frame 3; −15 min and frame −2 before the analysis time."""
    if lead_minutes is None:
        return f"frame {step}".replace("-", "−")
    return f"{'+' if step > 0 else ''}{step * lead_minutes:g} min".replace("-", "−")


def evenly(count: int, most: int) -> list[int]:
    """At most ``most`` of the indices 0 to count - 1, equally spaced, always with the last."""
    return list(range(count - 1, -1, -math.ceil(count / most)))[::-1]


def thresholds_shown(rows: list[ScoreRow]) -> list[float]:
    """At most three thresholds: lowest, middle, highest of those that had events at every lead."""
    # of a score that is undefined without events; counts never are
    events = [row for row in rows if row.threshold is not None and row.score == "csi"]
    defined = {row.threshold for row in events if row.lead is None and not math.isnan(row.value)}
    return at_most_three(sorted(defined or {row.threshold for row in events}))


def at_most_three(found: list[float]) -> list[float]:
    """The lowest, a middle and the highest of ascending numbers."""
    if len(found) <= _MOST_THRESHOLDS:
        return found
    last = len(found) - 1
    return [found[round(i * last / (_MOST_THRESHOLDS - 1))] for i in range(_MOST_THRESHOLDS)]


def digits(value: float) -> str:
    """About four significant digits; a dash where undefined."""
    if math.isnan(value):
        return "–"
    size = abs(value)
    if 0 < size < 0.001:
        return f"{value:.1e}"
    if size >= 100:
        return f"{value:.1f}"
    return f"{value:.2f}" if size >= 10 else f"{value:.3f}"


def signed(value: float) -> str:
    """The same of a difference, with its sign."""
    return f"{'+' if value > 0 else ''}{digits(value)}".replace("-", "−")


def best_models(score: str, values: Mapping[str, float]) -> set[str]:
    """The models with the best value as it is printed; none where all are alike, or no direction is
    the better one.

    Args:
        score: its name.
        values: by model; NaN is not compared.
    """
    known = {model: value for model, value in values.items() if not math.isnan(value)}
    printed = {model: digits(value) for model, value in known.items()}
    if not about(score).better or len(set(printed.values())) < 2:
        return set()
    best = printed[min(known, key=lambda model: _penalty(score, known[model]))]
    return {model for model, text in printed.items() if text == best}


def _penalty(score: str, value: float) -> float:
    """The smaller, the better."""
    better = about(score).better
    if better == "near 1":
        return abs(math.log(value)) if value > 0 else math.inf
    if better == "near 0":
        return abs(value)
    return value if better == "lower" else -value


def verdict(key: ScoreKey, estimate: Estimate, place: int = -1) -> str:
    """better, worse or open, of a difference at a lead or (last) over all; empty where there is no
    interval or no better direction.

    Args:
        key: which score.
        estimate: of the difference.
        place: index of the lead.
    """
    better = about(key.score).better
    if math.isnan(estimate.low[place]) or better not in ("higher", "lower"):
        return ""
    if not estimate.differs[place]:
        return "open"
    return "better" if (estimate.value[place] > 0) == (better == "higher") else "worse"


def direction(score: str) -> str:
    """Which values of a score are better, in words; empty where none is."""
    return DIRECTIONS[about(score).better]


def number(value: float) -> str:
    """About four significant digits, with a real minus; a dash where undefined."""
    return digits(float(value)).replace("-", "−")


def outcome(key: ScoreKey, difference: Estimate, index: int) -> str:
    """What a difference says at a lead or (last index) over all: "better" or "worse" where its
    interval leaves out 0, "not significant" where it does not, "no interval", "undefined".
    """
    if math.isnan(difference.value[index]):
        return "undefined"
    word = verdict(key, difference, index)
    if word in ("", "better", "worse"):
        return word or "no interval"
    return "not significant"
