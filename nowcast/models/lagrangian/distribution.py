"""What the network says of the rain: at each pixel and lead, how probable each rate is.

Axes: B batch, M members, K thresholds, L levels, R rates, T lead times, H rows, W columns.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nowcast.models.lagrangian.ensemble import ScaleNoise, ranked
from nowcast.models.lagrangian.evolution import RainInMotion
from nowcast.models.lagrangian.maps import stripes
from nowcast.models.lagrangian.settings import LagrangianSettings, RainScale
from nowcast.models.network import check_at_least, without_autocast
from nowcast.models.prediction import Functional, LogitPrediction
from nowcast.models.steps_in_time import loops_stay

FieldOfLead = Callable[[Tensor, Tensor], Tensor]
"""Makes a field (B, any, H, W) of a lead's logits (B, L, H, W) and known pixels (B, H, W)."""


class RateLadder(NamedTuple):
    """The rates on which means and quantiles are computed.

    Args:
        levels: (L,) those of the network's own logits, normalised.
        physical: (R, 1, 1) in mm/h.
        normalised: (R,).
        scale: between the two.
        settings: of the network.
    """

    levels: Tensor
    physical: Tensor
    normalised: Tensor
    scale: RainScale
    settings: LagrangianSettings

    @classmethod
    def of(
        cls, levels: Tensor, rates: Tensor, scale: RainScale, settings: LagrangianSettings
    ) -> "RateLadder":
        """Of the normalised levels and rates of some settings."""
        physical = torch.tensor(settings.rates, device=rates.device)[:, None, None]
        return cls(levels, physical, rates, scale, settings)

    def weights(self, levels: Tensor, dtype: torch.dtype) -> Tensor:
        """The matrix (K, L) that makes logits at some levels (K,), normalised, of the network's."""
        own = self.levels
        above = (own < levels[:, None]).sum(dim=1, keepdim=True).clamp(1, len(own) - 1)
        share = (levels[:, None] - own[above - 1]) / (own[above] - own[above - 1])
        share = share.to(dtype)
        weights = torch.zeros(len(levels), len(own), dtype=dtype, device=levels.device)
        return weights.scatter(1, above - 1, 1 - share).scatter(1, above, share)

    def stripes(self, fields: Tensor) -> tuple[Tensor, ...]:
        """Some rows of fields (..., H, W) at a time, see ``maps.stripes``."""
        return stripes(fields, fields.shape[-1], self.settings.stripe)


class RainDistribution(LogitPrediction):
    """The distribution of the rain at each pixel and lead.

    What all leads share is computed with the prediction, the rest lead by lead when it is asked
    for, so that a large grid needs no more memory than a lead. The distribution ends at the last
    rate of the settings, 50 mm/h.

    Args:
        rain: what all leads are made of.
        ladder: of rates.
        newest: (B, H, W), what was observed last at each pixel, normalised.
        ever: (B, H, W) booleans, where any frame was observed; None: everywhere.
    """

    def __init__(self, rain: RainInMotion, ladder: RateLadder, newest: Tensor, ever: Tensor | None):
        self._rain, self._ladder, self._newest, self._ever = rain, ladder, newest, ever

    def point(self, functional: str | None = None) -> Tensor:
        """One forecast, (B, T, 1, H, W), NaN where there is none.

        Args:
            functional: None: between median and mean, on that side of some rain rates which
                promises the better CSI, the forecast that is published. "mean": of the rain rate,
                normalised. "median" and "quantile:P": of the distribution, 0 below its first rate.
                "event:V": V where forecasting it promises the best expected CSI over the field, as
                the published forecast decides it; elsewhere 0.
        """
        field = self._decided() if functional is None else self._functional(functional)
        if loops_stay():
            frames = self._rain.leads_in_a_loop(
                lambda logits, known: _where(known > 0.5, field(logits, known > 0.5))[:, 0]
            )
            return frames.transpose(0, 1)[:, :, None]
        (frames,) = self._of_each_lead(field)
        return frames[:, 0, :, None]

    def exceedance(self, thresholds: Sequence[float] | Tensor) -> Tensor:
        """(B, K, T, 1, H, W), NaN where there is no forecast."""
        (probabilities,) = self._of_each_lead(self._probabilities(thresholds))
        return probabilities[:, :, :, None]

    def point_and_exceedance(self, thresholds: Sequence[float] | Tensor) -> tuple[Tensor, Tensor]:
        """Both in one pass over the leads."""
        fields = self._decided(), self._probabilities(thresholds)
        frames, probabilities = self._of_each_lead(*fields)
        return frames[:, 0, :, None], probabilities[:, :, :, None]

    def members(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Scenarios of equal chance, which at each pixel and lead are the middles of equal shares
        of its distribution.

        Which member has which share is drawn: noise of every scale, in the frame that moves with
        the rain, ranks the members at each pixel. So members belong together in space and time, and
        what they say of a pixel is exactly what the network says.

        Args:
            count: M, at least 1.
            generator: of the draws; None: torch's own.

        Returns:
            (B, M, T, 1, H, W), float32, NaN as in ``point``.

        Raises:
            UserError: fewer than 1.
        """
        check_at_least(1, members=count)
        rain, ladder = self._rain, self._ladder
        noise = ScaleNoise(count, rain.regression, rain.size, rain.grid, ladder.settings, generator)
        weights, shares = self._rate_weights(), [(member + 0.5) / count for member in range(count)]
        frames = []
        for logits, known, drawn in rain.leads(rain.pixels(), noise):
            rows = []
            for part, ranks in zip(ladder.stripes(logits), ladder.stripes(drawn), strict=True):
                part = _product(weights, part)
                quantiles = [quantile(part, share, ladder.normalised) for share in shares]
                rows.append(ranked(torch.stack(quantiles, dim=1), ranks))
            frames.append(_where(known > 0.5, torch.cat(rows, dim=-2)))
        return torch.stack(frames, dim=2)[:, :, :, None]

    def exceedance_logits(
        self, levels: Tensor, *, every: int = 1, first: tuple[int, int] = (0, 0)
    ) -> tuple[Tensor, Tensor]:
        """See ``LogitPrediction``."""
        weights = self._ladder.weights(levels, self._rain.dtype)
        logits, known = [], []
        for found, seen, _ in self._rain.leads(self._rain.pixels(every, first)):
            logits.append(_product(weights, found))
            known.append(seen > 0.5)
        return torch.stack(logits, dim=2), torch.stack(known, dim=1)

    def _of_each_lead(self, *fields: FieldOfLead) -> list[Tensor]:
        """What some functions make of the logits and the known pixels of each lead, (B, any, T, H,
        W) each.
        """
        found = [[] for _ in fields]
        for logits, share_known, _ in self._rain.leads(self._rain.pixels()):
            known = share_known > 0.5
            for leads, field in zip(found, fields, strict=True):
                leads.append(_where(known, field(logits, known)))
        return [torch.stack(leads, dim=2) for leads in found]

    def _rate_weights(self) -> Tensor:
        """Of the logits at the rates; made before a loop, in which no constant can be made."""
        return self._ladder.weights(self._ladder.normalised, self._rain.dtype)

    def _probabilities(self, thresholds: Sequence[float] | Tensor) -> FieldOfLead:
        device = self._newest.device
        levels = torch.as_tensor(thresholds, dtype=torch.float32, device=device)
        weights = self._ladder.weights(levels, self._rain.dtype)
        return lambda logits, known: torch.sigmoid(_product(weights, logits))

    def _decided(self) -> FieldOfLead:
        weights = self._rate_weights()

        def field(logits: Tensor, known: Tensor) -> Tensor:
            decides = self._deciding(known)
            return decided(logits, decides, self._newest, self._ladder, weights)[:, None]

        return field

    def _deciding(self, known: Tensor) -> Tensor:
        """Which pixels decide where rain is forecast: what carries rain where no radar looks
        decides nothing.
        """
        return known if self._ever is None else known & self._ever

    def _functional(self, text: str) -> FieldOfLead:
        name, level = Functional.parse(text)
        ladder = self._ladder
        if name == "event":
            return self._event(level)
        weights = self._rate_weights()
        if name == "mean":

            def field(logits: Tensor, known: Tensor) -> Tensor:
                probability = torch.sigmoid(_product(weights, logits))
                return ladder.scale.normalised(mean_rate(probability, ladder))[:, None]

        else:

            def field(logits: Tensor, known: Tensor) -> Tensor:
                return quantile(_product(weights, logits), level, ladder.normalised)[:, None]

        return field

    def _event(self, level: float) -> FieldOfLead:
        value = torch.tensor([level], dtype=torch.float32, device=self._newest.device)
        weights = self._ladder.weights(value, self._rain.dtype)
        settings = self._ladder.settings

        def field(logits: Tensor, known: Tensor) -> Tensor:
            probability, decides = torch.sigmoid(_product(weights, logits)), self._deciding(known)
            now = reached(self._newest, value, decides)
            expected = torch.where(decides[:, None], probability, 0.0).sum((2, 3))
            scaling = area_scaling(now, expected, settings)[:, 0]
            least = best_probability(probability[:, 0], decides, scaling, settings)
            return torch.where(probability >= least[:, None, None, None], level, 0.0)

        return field


def _where(known: Tensor, field: Tensor) -> Tensor:
    """A field (B, any, H, W) with NaN where nothing is known, (B, H, W)."""
    return torch.where(known[:, None], field, torch.nan)


def _product(weights: Tensor, logits: Tensor) -> Tensor:
    """A matrix (K, L) with maps (B, L, H, W): (B, K, H, W)."""
    with without_autocast(logits.device.type):
        return (weights @ logits.flatten(2)).unflatten(2, logits.shape[2:])


def quantile(logits: Tensor, share: float, rates: Tensor) -> Tensor:
    """The normalised rain rate that this share of the distribution lies below, (B, H, W), of logits
    (B, R, H, W) at rates (R,); 0 where that is below the first of them.
    """
    margins = logits - math.log((1 - share) / share)
    if torch.compiler.is_exporting():
        # all levels at once: what a higher level says is the larger value
        above = torch.cat([margins[:, 1:], margins[:, -1:]], dim=1)
        steps = torch.cat([rates.diff(), rates.new_zeros(1)])[:, None, None]
        reach = (margins / (margins - above).clamp(min=1e-6)).clamp(0, 1) * steps
        return torch.where(margins >= 0, rates[:, None, None] + reach, 0.0).amax(dim=1)
    value, margins = torch.zeros_like(logits[:, 0]), margins.unbind(dim=1)
    for level, start in enumerate(rates):
        above = min(level + 1, len(rates) - 1)
        reach = (margins[level] / (margins[level] - margins[above]).clamp(min=1e-6)).clamp(0, 1)
        value = torch.where(margins[level] >= 0, start + reach * (rates[above] - start), value)
    return value


def mean_rate(probability: Tensor, ladder: RateLadder, *, below_first: float = 1.0) -> Tensor:
    """The mean rain rate [mm/h], (B, H, W), of probabilities (B, R, H, W) that rates are reached.

    Args:
        probability: falls from rate to rate.
        ladder: the rates.
        below_first: how much of the first rate a pixel has that reaches it, beside what is above;
            what does not reach it has no rain.
    """
    first = ladder.settings.rates[0]
    trapezia = ((probability[:, 1:] + probability[:, :-1]) * ladder.physical.diff(dim=0)).sum(dim=1)
    return 0.5 * (2 * below_first * first * probability[:, 0] + trapezia)


def decided(
    logits: Tensor, decides: Tensor, newest: Tensor, ladder: RateLadder, weights: Tensor
) -> Tensor:
    """The forecast that is published, (B, H, W): between median and mean, of weak rain the median,
    kept on that side of some rates which promises the better CSI.

    Args:
        logits: (B, L, H, W).
        decides: (B, H, W), the pixels that decide: where there is a forecast, and was an
            observation.
        newest: (B, H, W), what was observed last at each pixel, normalised.
        ladder: the rates that the forecast is made of.
        weights: (R, L) of their logits.
    """
    settings = ladder.settings
    rows = [torch.sigmoid(_product(weights, part)) for part in ladder.stripes(logits)]
    now, expected = 0, 0
    for part, known, before in zip(
        rows, ladder.stripes(decides), ladder.stripes(newest), strict=True
    ):
        now = now + reached(before, ladder.normalised, known)
        expected = expected + torch.where(known[:, None], part, 0.0).sum((2, 3))
    scaling, least = area_scaling(now, expected, settings), {}
    for rate, share in settings.decisions:
        level = settings.rates.index(rate)
        probability = torch.cat([part[:, level] for part in rows], dim=1)
        least[level] = best_probability(
            probability, decides, scaling[:, level], settings, given=share
        )[:, None, None]
    values = [_on_the_better_side(part, scaling, least, ladder) for part in rows]
    return torch.cat(values, dim=1)


def _on_the_better_side(
    probability: Tensor, scaling: Tensor, least: dict[int, Tensor], ladder: RateLadder
) -> Tensor:
    """Some rows of ``decided``, (B, H', W).

    Args:
        probability: (B, R, H', W).
        scaling: (B, R) of the probabilities.
        least: of some rates, by their place, the probability from which on each is forecast.
        ladder: the rates.
    """
    scaled = (probability * scaling[:, :, None, None]).clamp(max=1)
    mean = ladder.scale.normalised(mean_rate(scaled, ladder, below_first=0.5))
    median = quantile(torch.logit(scaled, eps=1e-6), 0.5, ladder.normalised)
    weakest = next(iter(least))
    heavy = probability[:, weakest] >= least[weakest]
    weight = torch.where(heavy, ladder.settings.mean_weight, 0.0).to(mean.dtype)
    value = torch.lerp(median, mean, weight)
    for level, enough in least.items():
        rate = ladder.normalised[level]
        above, below = value.clamp(min=(1 + 1e-5) * rate), value.clamp(max=(1 - 1e-4) * rate)
        value = torch.where(probability[:, level] >= enough, above, below)
    return value.clamp(0, 1)


def reached(values: Tensor, rates: Tensor, known: Tensor) -> Tensor:
    """How many of the known pixels (B, H, W) reach each of some rates (K,): (B, K)."""
    reaches = values[:, None] >= (1 - 1e-5) * rates[:, None, None]
    return (reaches & known[:, None]).sum((2, 3))


def area_scaling(now: Tensor, expected: Tensor, settings: LagrangianSettings) -> Tensor:
    """What the probabilities of a rate are multiplied with, any shape, from the pixels that reach
    it now and those expected to.

    The climate of a place need not be the one that the network learnt: half of the way (by a
    geometric mean) is gone to the area that reaches the rate now, by no more than a factor of 2.
    """
    most = settings.most_scaling
    return (now.clamp(min=1) / expected.clamp(min=1)).sqrt().clamp(1 / most, most)


def best_probability(
    probability: Tensor,
    known: Tensor,
    scaling: Tensor,
    settings: LagrangianSettings,
    *,
    given: float = 0.0,
) -> Tensor:
    """The probability of a rate, (B,), from which on forecasting it promises the best CSI over a
    field.

    Of the pixels whose probability is at least t, sum p are expected to be hits, so that the
    expected critical success index is sum p (of those) / (their number + sum p (of the others)); t
    is the highest at which that is within ``given`` of its maximum.

    Args:
        probability: (B, H, W).
        known: (B, H, W), the pixels that count.
        scaling: (B,), of the probabilities, see ``area_scaling``.
        settings: of the network.
        given: share of the maximum.
    """
    bins = settings.probability_bins
    middle = (torch.arange(bins, device=known.device) + 0.5) / bins
    number = _histogram(probability, known, bins)
    chosen, hits = (sums.flip(1).cumsum(dim=1).flip(1) for sums in (number, number * middle))
    expected = scaling[:, None] * hits[:, :1]
    hits = torch.minimum(scaling[:, None] * hits, chosen)
    index = hits / (chosen + expected - hits).clamp(min=1e-6)
    near = index >= (1 - given) * index.amax(dim=1, keepdim=True)
    best = torch.where(near, torch.arange(bins, device=known.device), 0).amax(dim=1)
    least = torch.maximum(best / bins, settings.least_probability / scaling)
    return least.clamp(max=settings.enough_probability).to(probability.dtype)


def _histogram(probability: Tensor, known: Tensor, bins: int) -> Tensor:
    """How many of the known pixels (B, H, W) have each probability, (B, bins), float64."""
    batch = probability.shape[0]
    place = torch.where(known, (probability * bins).long().clamp(max=bins - 1), bins)
    place = place + torch.arange(batch, device=known.device)[:, None, None] * (bins + 1)
    place, total = place.flatten(), batch * (bins + 1)
    if torch.compiler.is_exporting():  # how long bincount's result is depends on its values
        counted = place.new_zeros(total).scatter_add(0, place, torch.ones_like(place))
    else:
        counted = torch.bincount(place, minlength=total)
    return counted.view(batch, bins + 1)[:, :bins].to(torch.float64)
