"""What the network says of the rain: at each pixel and lead, how probable each rate is.

Axes: B batch, M members, K thresholds, L levels, R rates, T lead times, H rows, W columns.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from nowcast.models.lagrangian.ensemble import ScaleNoise, middles_of_equal_shares, ranked
from nowcast.models.lagrangian.evolution import FieldOfPixels, RainInMotion
from nowcast.models.lagrangian.settings import LagrangianSettings, RainScale
from nowcast.models.network import check_at_least, without_autocast
from nowcast.models.prediction import Answers, LogitPrediction
from nowcast.models.steps_in_time import loops_stay
from nowcast.models.yes_no import where_forecast
from nowcast.types.functional import Functional

_GAUSS_LEGENDRE = ((-math.sqrt(0.6), 5 / 9), (0.0, 8 / 9), (math.sqrt(0.6), 5 / 9))


class RateLadder(NamedTuple):
    """The rates on which means and quantiles are computed.

    Args:
        levels: (L,) those of the network's own logits, normalised.
        rates: (R,) those that the mean is made of, normalised.
        of_mean: (1, R), what the probability of each counts in the mean rain rate [mm/h].
        bends: (N,), the levels and the ends of the distribution, normalised: in between the logit
            is linear, so that they are all that a quantile needs.
        settings: of the network.
        scale: between normalised rates and mm/h.
    """

    levels: Tensor
    rates: Tensor
    of_mean: Tensor
    bends: Tensor
    scale: RainScale
    settings: LagrangianSettings

    @classmethod
    def of(cls, levels: Tensor, scale: RainScale, settings: LagrangianSettings) -> "RateLadder":
        """Of the normalised levels of some settings."""
        bends = _between_bends(settings, settings.highest)
        rates, of_mean = _quadrature(_between_bends(settings, settings.hail_cap), scale)
        constants = [scale.normalised(torch.tensor(rates)), torch.tensor([of_mean])]
        constants.append(scale.normalised(torch.tensor(bends)))
        return cls(levels, *(constant.to(levels) for constant in constants), scale, settings)

    def weights(self, levels: Tensor, dtype: torch.dtype) -> Tensor:
        """The matrix (K, L) that makes logits at some levels (K,), normalised, of the network's."""
        own = self.levels
        above = (own < levels[:, None]).sum(dim=1, keepdim=True).clamp(1, len(own) - 1)
        share = (levels[:, None] - own[above - 1]) / (own[above] - own[above - 1])
        share = share.to(dtype)
        weights = torch.zeros(len(levels), len(own), dtype=dtype, device=levels.device)
        return weights.scatter(1, above - 1, 1 - share).scatter(1, above, share)


def _between_bends(settings: LagrangianSettings, end: float) -> list[float]:
    """Rates [mm/h] between which the logit is linear, from the lowest to an end."""
    last = min(end, settings.highest)
    within = [level for level in settings.levels if settings.lowest < level < last]
    return [settings.lowest, *within, last]


def _quadrature(bends: list[float], scale: RainScale) -> tuple[list[float], list[float]]:
    """Rates [mm/h], and what the probability of each counts in the mean: what reaches the lowest
    has at least that, and the rest is the integral over the rates.

    By the rule of Gauss and Legendre with three rates between two bends, in the logarithm of the
    rate, in which the logit is linear: exact to 0.1 %, where a trapezium rule of as many rates
    makes the mean 3 % too large.
    """
    rates, weights = [bends[0]], [bends[0]]
    for low, high in pairwise(math.log1p(rate / scale.knee) for rate in bends):
        half, middle = (high - low) / 2, (high + low) / 2
        for place, share in _GAUSS_LEGENDRE:
            rate = scale.knee * math.expm1(middle + half * place)
            rates.append(rate)
            weights.append(half * share * (rate + scale.knee))
    return rates, weights


class RainDistribution(LogitPrediction):
    """The distribution of the rain at each pixel and lead.

    What all leads share is computed with the prediction, the rest lead by lead when it is asked
    for, so that a large grid needs no more memory than a lead. The distribution ends at the highest
    rate of the settings, 100 mm/h as it comes.

    Args:
        rain: what all leads are made of.
        ladder: of rates.
        ever: (B, H, W) booleans, where any frame was observed; None: everywhere.
    """

    def __init__(self, rain: RainInMotion, ladder: RateLadder, ever: Tensor | None):
        self._rain, self._ladder, self._ever = rain, ladder, ever

    def point(self, functional: str | Functional | None = None) -> Tensor:
        """One forecast, (B, T, 1, H, W), NaN where there is none.

        Args:
            functional: "mean": of the rain rate, normalised; also where None is given. "median" and
                "quantile:P": of the distribution, 0 below its first rate. "event:V": V where
                forecasting it promises the best expected CSI over the field, elsewhere 0;
                "event:V@P": V where its probability is at least P.
        """
        asked = [Functional.parse(functional or "mean")]
        if loops_stay():
            field_of = self._asked(asked, ())
            frames = self._rain.leads_in_a_loop(
                lambda logits, known: self._decided(asked, field_of(logits, known, None))[:, 0]
            )
            return frames.transpose(0, 1)[:, :, None]
        return self._of_each_lead(asked)[:, 0, :, None]

    def exceedance(self, thresholds: Sequence[float] | Tensor) -> Tensor:
        """(B, K, T, 1, H, W), NaN where there is no forecast."""
        return self._of_each_lead([], thresholds)[:, :, :, None]

    def answers(
        self,
        functionals: Sequence[str | Functional | None],
        thresholds: Sequence[float] | Tensor = (),
    ) -> Answers:
        """All of them in one pass over the leads, see ``Prediction.answers``."""
        asked = [Functional.parse(functional or "mean") for functional in functionals]
        found = self._of_each_lead(asked, thresholds)[:, :, :, None]
        points = list(found[:, : len(asked)].unbind(dim=1))
        return Answers(points, found[:, len(asked) :] if len(thresholds) else None)

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
        noise = ScaleNoise(
            count, rain.regression, rain.timestep, rain.size, rain.grid, ladder.settings, generator
        )
        weights = self._weights_of(ladder.bends)

        def members_of(logits: Tensor, known: Tensor, drawn: Tensor) -> Tensor:
            at_bends = _product(weights, logits)
            members = middles_of_equal_shares(at_bends, ladder.bends, count)
            return _where(known, ranked(members, drawn))

        leads = list(rain.leads(rain.pixels(), members_of, noise))
        return torch.stack(leads, dim=2)[:, :, :, None]

    def exceedance_logits(
        self, levels: Tensor, *, every: int = 1, first: tuple[int, int] = (0, 0)
    ) -> tuple[Tensor, Tensor]:
        """See ``LogitPrediction``."""
        weights, rain = self._weights_of(levels), self._rain

        def logits_of(found: Tensor, known: Tensor, _: Tensor | None) -> Tensor:
            return torch.cat([_product(weights, found), known[:, None]], dim=1)

        leads = torch.stack(list(rain.leads(rain.pixels(every, first), logits_of)), dim=2)
        return leads[:, :-1], leads[:, -1] > 0.5

    def _of_each_lead(
        self, functionals: Sequence[Functional], thresholds: Sequence[float] | Tensor = ()
    ) -> Tensor:
        """The functionals and, after them, the probabilities of thresholds, (B, any, T, H, W)."""
        pixels, field_of = self._rain.pixels(), self._asked(functionals, thresholds)
        leads = [self._decided(functionals, field) for field in self._rain.leads(pixels, field_of)]
        return torch.stack(leads, dim=2)

    def _weights_of(self, levels: Tensor) -> Tensor:
        return self._ladder.weights(levels, self._rain.dtype)

    def _asked(
        self, functionals: Sequence[Functional], thresholds: Sequence[float] | Tensor
    ) -> FieldOfPixels:
        """What makes the functionals and, after them, the probabilities of thresholds as one field,
        NaN where nothing is known; of an event its probability.

        The constants that it needs are made here: none can be made in the loop of a graph.
        """
        ladder, names = self._ladder, [functional.name for functional in functionals]
        values = [functional.level for functional in functionals if functional.name == "event"]
        values += torch.as_tensor(thresholds).tolist()
        of_values = self._weights_of(torch.tensor(values).to(ladder.levels)) if values else None
        of_mean, of_rates, of_bends = ladder.of_mean, None, None
        if "mean" in names:
            of_mean, of_rates = of_mean.to(self._rain.dtype), self._weights_of(ladder.rates)
        if {"median", "quantile"} & set(names):
            of_bends = self._weights_of(ladder.bends)

        def field_of(logits: Tensor, known: Tensor, _: Tensor | None) -> Tensor:
            chances, found = iter(()), []
            if of_values is not None:
                chances = iter(_chances(of_values, logits).unbind(dim=1))
            for functional in functionals:
                if functional.name == "event":
                    found.append(next(chances))
                elif functional.name == "mean":
                    mean = _product(of_mean, _chances(of_rates, logits))[:, 0]
                    found.append(ladder.scale.normalised(mean))
                else:
                    at_bends = _product(of_bends, logits)
                    found.append(quantile(at_bends, functional.level, ladder.bends))
            return _where(known, torch.stack([*found, *chances], dim=1))

        return field_of

    def _decided(self, functionals: Sequence[Functional], field: Tensor) -> Tensor:
        """What ``_asked`` makes of a lead, (B, any, H, W), with yes or no where events were asked
        for, which the whole field decides.
        """
        if all(functional.name != "event" for functional in functionals):
            return field
        known, fields = ~field[:, 0].isnan(), list(field.unbind(dim=1))
        for place, functional in enumerate(functionals):
            if functional.name == "event":
                decides = self._deciding(known)
                yes = where_forecast(fields[place], known, functional.probability, decides)
                fields[place] = torch.where(yes, functional.level, 0.0)
        return _where(known, torch.stack(fields, dim=1))

    def _deciding(self, known: Tensor) -> Tensor:
        """Which pixels decide where an event is forecast: what carries rain where no radar looks
        decides nothing.
        """
        return known if self._ever is None else known & self._ever


def _where(known: Tensor, field: Tensor) -> Tensor:
    """A field (B, any, H, W) with NaN where nothing is known, (B, H, W)."""
    if torch.compiler.is_exporting():
        return torch.where(known[:, None], field, torch.nan)
    # a sum is made ten times as fast as a choice with a number
    return field + torch.zeros_like(field[:, 0]).masked_fill_(~known, torch.nan)[:, None]


def _chances(weights: Tensor, logits: Tensor) -> Tensor:
    """The probabilities (B, K, H, W) of the levels of ``RateLadder.weights``."""
    return torch.sigmoid(_product(weights, logits))


def _product(weights: Tensor, logits: Tensor) -> Tensor:
    """A matrix (K, L) with maps (B, L, H, W): (B, K, H, W)."""
    with without_autocast(logits.device.type):
        return (weights @ logits.flatten(2)).unflatten(2, logits.shape[2:])


def quantile(logits: Tensor, share: float, rates: Tensor) -> Tensor:
    """The normalised rain rate that this share of the distribution lies below, (B, H, W), of logits
    (B, N, H, W) that fall from rate to rate (N,), linearly in between; 0 where that is below the
    first of them.
    """
    margins = logits - math.log((1 - share) / share)
    here, above = margins[:, :-1], margins[:, 1:]
    # of each step from rate to rate, how much of it lies below
    reached = (here / (here - above).clamp(min=1e-6)).clamp(0, 1) * rates.diff()[:, None, None]
    return rates[0] * (margins[:, 0] >= 0) + reached.sum(dim=1)
