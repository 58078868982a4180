"""What the network says of the rain: at each pixel and lead, how probable each rate is.

Axes: B batch, M members, K thresholds, L levels, R rates, T lead times, H rows, W columns.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nowcast.models.lagrangian.ensemble import ScaleNoise, middles_of_equal_shares, ranked
from nowcast.models.lagrangian.evolution import RainInMotion
from nowcast.models.lagrangian.maps import stripes
from nowcast.models.lagrangian.settings import LagrangianSettings, RainScale
from nowcast.models.network import check_at_least, without_autocast
from nowcast.models.prediction import Answers, LogitPrediction
from nowcast.models.steps_in_time import loops_stay
from nowcast.models.yes_no import where_forecast
from nowcast.types.functional import Functional

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
            field = self._asked(asked, ())
            frames = self._rain.leads_in_a_loop(
                lambda logits, known: _where(known > 0.5, field(logits, known > 0.5))[:, 0]
            )
            return frames.transpose(0, 1)[:, :, None]
        return self._of_each_lead(self._asked(asked, ()))[:, 0, :, None]

    def exceedance(self, thresholds: Sequence[float] | Tensor) -> Tensor:
        """(B, K, T, 1, H, W), NaN where there is no forecast."""
        return self._of_each_lead(self._asked([], thresholds))[:, :, :, None]

    def answers(
        self,
        functionals: Sequence[str | Functional | None],
        thresholds: Sequence[float] | Tensor = (),
    ) -> Answers:
        """All of them in one pass over the leads, see ``Prediction.answers``."""
        asked = [Functional.parse(functional or "mean") for functional in functionals]
        found = self._of_each_lead(self._asked(asked, thresholds))[:, :, :, None]
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
        # logits are linear between the levels: no other rate has to be looked at
        levels, first, last = ladder.levels, ladder.normalised[:1], ladder.normalised[-1:]
        rates = torch.cat([first, levels[(levels > first) & (levels < last)], last])
        weights, frames = ladder.weights(rates, rain.dtype), []
        for logits, known, drawn in rain.leads(rain.pixels(), noise):
            rows = []
            for part, ranks in zip(ladder.stripes(logits), ladder.stripes(drawn), strict=True):
                middles = middles_of_equal_shares(_product(weights, part), rates, count)
                rows.append(ranked(middles, ranks))
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

    def _of_each_lead(self, field: FieldOfLead) -> Tensor:
        """What a function makes of the logits and the known pixels of each lead, (B, any, T, H,
        W).
        """
        leads = []
        for logits, share_known, _ in self._rain.leads(self._rain.pixels()):
            known = share_known > 0.5
            leads.append(_where(known, field(logits, known)))
        return torch.stack(leads, dim=2)

    def _rate_weights(self) -> Tensor:
        """Of the logits at the rates; made before a loop, in which no constant can be made."""
        return self._ladder.weights(self._ladder.normalised, self._rain.dtype)

    def _asked(
        self, functionals: Sequence[Functional], thresholds: Sequence[float] | Tensor
    ) -> FieldOfLead:
        """The functionals and, after them, the probabilities of thresholds, as one field of a
        lead.
        """
        device, events = self._ladder.levels.device, [f for f in functionals if f.name == "event"]
        values = torch.tensor([event.level for event in events], dtype=torch.float32, device=device)
        limits = torch.as_tensor(thresholds, dtype=torch.float32, device=device)
        of_values = self._ladder.weights(torch.cat([values, limits]), self._rain.dtype)
        of_rates = None
        if len(events) < len(functionals):
            of_rates = self._rate_weights()

        def field(logits: Tensor, known: Tensor) -> Tensor:
            probability = torch.sigmoid(_product(of_values, logits))
            on_ladder = (
                iter(()) if of_rates is None else self._on_ladder(functionals, logits, of_rates)
            )
            chances, found = iter(probability.unbind(dim=1)), []
            for functional in functionals:
                if functional.name != "event":
                    found.append(next(on_ladder))
                    continue
                decides = self._deciding(known)
                yes = where_forecast(next(chances), known, functional.probability, decides)
                found.append(torch.where(yes, functional.level, 0.0))
            return torch.stack([*found, *chances], dim=1)

        return field

    def _on_ladder(
        self, functionals: Sequence[Functional], logits: Tensor, weights: Tensor
    ) -> Iterator[Tensor]:
        """Means and quantiles among some functionals, (B, H, W) each, from the logits of a lead."""
        ladder, wanted = self._ladder, [f for f in functionals if f.name != "event"]
        rows = []
        for part in ladder.stripes(logits):
            of_rates, found = _product(weights, part), []
            for functional in wanted:
                if functional.name == "mean":
                    mean = mean_rate(torch.sigmoid(of_rates), ladder)
                    found.append(ladder.scale.normalised(mean))
                else:
                    found.append(quantile(of_rates, functional.level, ladder.normalised))
            rows.append(torch.stack(found, dim=1))
        yield from torch.cat(rows, dim=-2).unbind(dim=1)

    def _deciding(self, known: Tensor) -> Tensor:
        """Which pixels decide where an event is forecast: what carries rain where no radar looks
        decides nothing.
        """
        return known if self._ever is None else known & self._ever


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


def mean_rate(probability: Tensor, ladder: RateLadder) -> Tensor:
    """The mean rain rate [mm/h], (B, H, W), of probabilities (B, R, H, W) that rates are reached;
    what does not reach the first of them has no rain.

    Args:
        probability: falls from rate to rate.
        ladder: the rates.
    """
    trapezia = ((probability[:, 1:] + probability[:, :-1]) * ladder.physical.diff(dim=0)).sum(dim=1)
    return ladder.settings.rates[0] * probability[:, 0] + 0.5 * trapezia
