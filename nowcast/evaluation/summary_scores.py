"""The scores of an evaluation as a reader meets them: which are the main ones, their titles and
units, which model is best, what a difference says. No tables, no charts: ``nowcast.report`` and
others draw from it.
"""

import math
from collections.abc import Sequence
from functools import cached_property

from nowcast.evaluation.intervals import Estimate
from nowcast.evaluation.results import Results
from nowcast.evaluation.statistics.scores import about, added_scores
from nowcast.evaluation.statistics.sums import ScoreKey
from nowcast.evaluation.titles import (
    AGGREGATED,
    lead_label,
    score_title,
    score_unit,
    thresholds_shown,
    unit_of,
)

# The main scores besides CSI and FSS at the main thresholds.
_MAIN_SCORES = ("csi_mean", "crps", "cross_entropy", "mae", "mse", "ssim", "psnr", "correlation")
_RESOLVED = ScoreKey("effective_resolution")
# Forecasts are called smooth whose effective resolution is at least so many pixels, and so many
# times that of every baseline: below that, differences of two models are of other kinds.
_SMOOTH_PIXELS, _SMOOTH_RATIO = 4, 1.5


class SummaryScores:
    """The scores of models that were evaluated on the same cases.

    Args:
        results: of all models.
        own_models: names of those that the evaluation is about, in their order; all others are
            baselines (also single members of ensembles).
    """

    def __init__(self, results: Results, own_models: Sequence[str]):
        self.results, self.own_models = results, list(own_models)
        self.baselines = [model for model in results.models if model not in own_models]
        self.lead_minutes = results.task.lead_minutes
        self.leads = results.task.forecast_length
        self._differences: dict[tuple[str, str], dict[ScoreKey, Estimate]] = {}

    @cached_property
    def estimates(self) -> dict[str, dict[ScoreKey, Estimate]]:
        """Every score of every model with its interval."""
        return {model: self.results.estimates(model) for model in self.results.models}

    @cached_property
    def keys(self) -> list[ScoreKey]:
        """All scores that any model has."""
        found = (key for estimates in self.estimates.values() for key in estimates)
        return list(dict.fromkeys(found))

    @cached_property
    def thresholds(self) -> list[float]:
        """At most three thresholds: the lowest, a middle and the highest one with events at every
        lead.
        """
        return thresholds_shown(self.results.rows(self.results.models[0]))

    @cached_property
    def main(self) -> list[ScoreKey]:
        """The scores that a summary is about."""
        widest = max((key.window for key in self.keys if key.score == "fss"), default=None)
        wanted = [ScoreKey("csi", threshold, 1) for threshold in self.thresholds]
        wanted += [ScoreKey("fss", threshold, widest) for threshold in self.thresholds]
        wanted += map(ScoreKey, _MAIN_SCORES)
        wanted.append(ScoreKey("csi_mean", None, 1))
        added = added_scores()
        wanted += [key for key in self.keys if key.score in added]
        # of what people act on: the largest boxes' accumulations, and the pixels'
        sums = [key for key in self.keys if key.accumulation is not None and key.threshold is None]
        largest = max((key.box for key in sums if key.box is not None), default=None)
        wanted += [key for key in sums if key.score in AGGREGATED and key.box in (None, largest)]
        return self.known(wanted)

    def main_at(self, lead: int) -> list[ScoreKey]:
        """The main scores that stand at the index of a lead; accumulations end at one of their own,
        and stand with what is over all leads.
        """
        over_all = lead in (-1, self.leads)
        return [key for key in self.main if over_all or key.accumulation is None]

    def known(self, keys: Sequence[ScoreKey]) -> list[ScoreKey]:
        """Those of some scores that any model has."""
        return [key for key in keys if key in self.keys]

    def models_with(self, key: ScoreKey) -> list[str]:
        """The models that have a score."""
        return [model for model in self.results.models if key in self.estimates[model]]

    def differences(self, model: str, other: str) -> dict[ScoreKey, Estimate]:
        """Paired differences, model minus other, of every score that both have."""
        pair = (model, other)
        if pair not in self._differences:  # the bootstrap of a pair takes a second
            self._differences[pair] = self.results.differences(model, other)
        return self._differences[pair]

    def opponents(self, model: str) -> list[str]:
        """What a model of one's own is compared with: those before it, and the baselines."""
        return [*self.own_models[: self.own_models.index(model)], *self.baselines]

    def smooth_models(self) -> dict[str, float]:
        """Own models whose forecasts at the last lead are so smooth that some scores favour them,
        with the wavelength [pixels] below which they have less than half of the observed power.
        """
        resolved = {}
        for model in self.models_with(_RESOLVED):
            pixels = float(self.estimates[model][_RESOLVED].value[self.leads - 1])
            if math.isfinite(pixels):
                resolved[model] = pixels
        others = [resolved[model] for model in self.baselines if model in resolved]
        limit = _SMOOTH_RATIO * max(others, default=math.inf)
        own = {model: resolved[model] for model in self.own_models if model in resolved}
        return {
            model: pixels
            for model, pixels in own.items()
            if pixels >= _SMOOTH_PIXELS and pixels > limit
        }

    # ------------------------------------------------------------ in words

    def short_title(self, key: ScoreKey) -> str:
        """A score with its threshold and neighbourhood."""
        return score_title(*key, unit=unit_of(self.lead_minutes))

    def title(self, key: ScoreKey) -> str:
        """The same with its unit."""
        unit = score_unit(key, rain=self.lead_minutes is not None)
        return f"{self.short_title(key)} [{unit}]" if unit else self.short_title(key)

    def threshold_text(self, threshold: float) -> str:
        """≥ 1 mm/h."""
        return f"≥ {threshold:g} {unit_of(self.lead_minutes)}"

    def lead_text(self, index: int) -> str:
        """A lead by its index, the last index being all of them."""
        if index in (-1, self.leads):
            return "all leads"
        return lead_label(index + 1, self.lead_minutes)

    @property
    def last_lead_text(self) -> str:
        """The longest lead."""
        return self.lead_text(self.leads - 1)

    @property
    def scopes(self) -> list[tuple[str, int]]:
        """Over all leads, and at the last one: a name and the index."""
        found = [("over all leads", self.leads)]
        if self.leads > 1:
            found.append((f"at {self.last_lead_text}", self.leads - 1))
        return found

    def over_all_leads(self, score: str) -> str:
        """How a score over all leads comes about: pooled, sum or mean."""
        if self.results.pooled:
            return "pooled"
        return "sum" if about(score).summed else "mean"
