"""A ConvLSTM that moves with the rain: what the motion explains is left to the motion, the network
learns what changes on the way.

The context's motion is estimated (``nowcast.models.motion``) and its frames are brought to where
their rain is at the analysis time. In that frame, on cells of about 4 km, an encoder-forecaster of
three ConvLSTM layers on ever coarser maps reads them and tells for every lead what has become of
the rain: how probable it is that the rate exceeds each of some levels. It starts from what the
context itself says: each scale, from details of a kilometre to patterns of a hundred, goes on as a
regression on the last two frames has it, for large patterns keep growing or decaying for tens of
minutes. What of it holds at a place and a lead, the network says. The result is sampled where each
pixel's rain departed from, so that rain of any speed is displaced without blur, and the network is
told the minutes and kilometres of the frames, so that it serves any cadence and grid spacing.

Axes: B batch, T time, C channels, H rows, W columns, K levels.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nowcast.models.base import Capabilities, ForecastModel
from nowcast.models.convlstm.gates import apart
from nowcast.models.convlstm.layer import ConvLSTM
from nowcast.models.convolutions import Conv2d, ConvTranspose2d, a_tensor_of, settings_text
from nowcast.models.free_sizes import missing
from nowcast.models.motion import (
    a_step_further,
    at,
    averaged,
    averaged_to,
    departure,
    departures,
    motion_between,
    places,
    smooth_both,
)
from nowcast.models.network import at_least, check_mask, precisely, without_autocast
from nowcast.models.prediction import LogitPrediction
from nowcast.models.steps_in_time import follow, loops_stay
from nowcast.runtime.errors import UserError
from nowcast.types.scale import Scale

LEVELS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""Rain rates [mm/h] whose exceedance the network tells; in between, and beyond the last, the logit
is linear in the logarithm of the rate.
"""
_RATES = (
    0.1,
    0.2,
    0.3,
    0.5,
    0.7,
    1.0,
    1.5,
    2.0,
    3.0,
    5.0,
    7.0,
    10.0,
    15.0,
    20.0,
    30.0,
    50.0,
)  # mm/h, of which means and medians are made
_DECISIONS = {
    0.5: 0.0,
    1.0: 0.0,
    2.0: 0.0,
    5.0: 0.05,
    # mm/h, ascending, and the share of the best expected CSI that is given for a smaller area, and
    # so for smaller errors
}
# weight of the mean where the first of these is reached; the rest, and all of weaker rain, is the
# median's: squared errors are small there
_MEAN = 0.75
_BINS = 200  # of probabilities
_MOST = 0.6  # probability that is always enough
# and, after the probabilities were scaled, below which a rate is not forecast: its CSI is next to
# nothing then, and the errors are large
_FEWEST = 0.1
_STEEPNESS = 20.0  # of the logits to begin with
_CELL = 4.0  # km, of the network
_FINE = 0.6  # km, of the details; much finer grids are averaged to about it
_MOTION = 1.0  # km, of the grid on which the motion is looked for
_WINDOW = 24.0  # km: standard deviation of the smallest window in which it is looked for
_SMALLEST = 8  # pixels to a side of a grid on which it is looked for, but for the finest
_COARSEST = 16.0  # km, of the grid on which it is looked for first
# km, of the grid on which the members' noise of the details is drawn; that of wider scales is drawn
# on cells
_NOISE = 2.0
_DETAILS = (1.0, 2.5)  # km: widths of the means that separate the details of a frame
_PATTERNS = (6.0, 16.0, 40.0, 100.0)  # km, of its larger patterns, on the cells
_LIFETIMES = (
    4.0,
    12.0,
    35.0,
    110.0,
    300.0,
    600.0,
    1200.0,
)  # minutes, of details, patterns and the rest, to begin with
_SCALES = len(_LIFETIMES)
# of the scales, up to 16 km: how they change is seen within the rain; of wider ones there is too
# little in there
_NARROW = 4
_OUTSIDE = 0.02  # what a dry pixel counts there
_STRIPE = (
    2**15
    # pixels of a forecast that each core of a CPU makes at a time: what is worked on stays in its
    # caches
)
# minutes, in which the weight of the frame before the last falls by e at the most: how strong a
# tendency can be
_MEMORY = 47.0
# share of the newest frame's observed pixels that the frames before must have in common with it
_OVERLAP = 0.01
_BANDS = (
    3 * _SCALES
)  # of each scale: as the regression forecasts it, what its tendency adds, and the frames before
_COEFFICIENTS = _BANDS + 1
_SHARES = (
    0,
    1,
    2,
    3,
)  # levels: of each cell the network sees which share of its pixels reaches them
_SEEN = 3 + len(_SHARES)  # fields of a frame that it sees
_BLUNTING = 35.0  # minutes, after which the probabilities' steepness is halved, to begin with
_CHANGES = 3  # scales of which the network is told how much they changed from frame to frame
_SCALARS = (
    5 + 3 * _CHANGES + 2 * _SCALES
    # what the network is told of motion, cadence, spacing, lead, of the changes, and of the
    # regression
)
_SHARPNESS = 10.0  # of the details, so that coefficients near 1 are useful ones


class LagrangianConvLSTM(ForecastModel):
    """Probabilities of rain and a forecast, from context frames of any cadence and grid spacing.

    Args:
        hidden_channels: of the three ConvLSTM layers, from cells of 4, 8 and 16 km.
        knee, ceiling: of the transform, ``nowcast.types.transform.LogRainRate`` [mm/h].

    Raises:
        UserError: another number of layers.
    """

    capabilities = Capabilities(
        needs_scale=True, any_scale=True, probabilistic=True, members=True, partial=True
    )
    context_length = 2

    def __init__(self, hidden_channels: list[int], *, knee: float, ceiling: float):
        super().__init__()
        at_least(1, hidden_channels=hidden_channels)
        if len(hidden_channels) != 3:
            raise UserError(
                f"hidden_channels is {hidden_channels}; three numbers are needed, for cells of "
                "4, 8 and 16 km."
            )
        self.hidden_channels, self.knee, self.ceiling = list(hidden_channels), knee, ceiling
        first, second, third = hidden_channels
        inputs = _SEEN + _SCALARS
        self.enter = Conv2d(inputs, first, 3, padding=1)
        self.encoder = nn.ModuleList(
            [_layer(first, first), _layer(second, second), _layer(third, third)]
        )
        self.down = nn.ModuleList(
            [
                Conv2d(first, second, 3, stride=2, padding=1),
                Conv2d(second, third, 3, stride=2, padding=1),
            ]
        )
        self.forecaster = nn.ModuleList(
            [_layer(first + _SCALARS, first), _layer(second, second), _layer(_SCALARS, third)]
        )
        self.up = nn.ModuleList(
            [ConvTranspose2d(second, first, 4, 2, 1), ConvTranspose2d(third, second, 4, 2, 1)]
        )
        self.outputs = 2 * len(LEVELS) + _COEFFICIENTS
        self.refine = Conv2d(first + inputs, first, 3, padding=1)
        self.head = Conv2d(first, self.outputs, 1)
        self.log_lifetimes = nn.Parameter(torch.tensor(_LIFETIMES).log())
        self._start_from_extrapolation()

    def extra_repr(self) -> str:
        """What it was made with."""
        return settings_text(self, "hidden_channels", "knee", "ceiling")

    @property
    def levels(self) -> Tensor:
        """``LEVELS``, normalised, (6,); made anew whenever it is asked for, so that it is right
        after ``to_empty``, too.
        """
        return self._constants(LEVELS)

    @property
    def rates(self) -> Tensor:
        """The rates of which means and medians are made, normalised."""
        return self._constants(_RATES)

    def _constants(self, rates: Sequence[float]) -> Tensor:
        weight = a_tensor_of(self)
        return self._normalised(torch.tensor(rates)).to(
            weight.device, torch.promote_types(weight.dtype, torch.float32)
        )

    @torch.no_grad()
    def _start_from_extrapolation(self) -> None:
        """Let the head begin with what the regression says: probabilities rise with the rain's
        logarithm, about each level.
        """
        nn.init.normal_(self.head.weight, std=0.02)
        steps = _STEEPNESS * self.levels.diff()
        gains, weights = torch.zeros(len(LEVELS)), torch.zeros(_COEFFICIENTS)
        gains[0], weights[:_SCALES] = _STEEPNESS / _SHARPNESS, 1.0
        drops = steps + torch.log(-torch.expm1(-steps))  # softplus of it is the step
        self.head.bias.copy_(torch.cat([-_STEEPNESS * self.levels[:1], drops, gains, weights]))

    def forward(
        self,
        context: Tensor,
        forecast_length: int,
        observed: Tensor | None = None,
        scale: Scale | None = None,
    ) -> "RainDistribution":
        """Predict the frames that follow.

        Args:
            context: (B, T, 1, H, W), normalised; T at least 2.
            forecast_length: number of frames, at least 1.
            observed: boolean mask of the context's shape; None means all of it.
            scale: minutes between frames and kilometres between pixels; None: 5 and 1.

        Returns:
            The distribution of the rain of (B, forecast_length, 1, H, W); NaN where the rain comes
            from outside the grid or was not observed.
        """
        _check(context, forecast_length, observed)
        return RainDistribution(self, context, forecast_length, observed, scale or Scale(5.0, 1.0))

    def frames_and_probabilities(
        self,
        context: Tensor,
        forecast_length: int,
        observed: Tensor | None,
        scale: Scale,
        levels: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """The forecast, (B, forecast_length, 1, H, W), and the probabilities that a pixel reaches
        each of some levels, (K,) normalised: (B, K, forecast_length, 1, H, W).
        """
        timestep, spacing = scale.timestep, scale.spacing
        frames, probabilities = [], []
        newest = (
            context[:, -1, 0] if observed is None else _newest(context[:, :, 0], observed[:, :, 0])
        )
        ever = None if observed is None else observed[:, :, 0].any(dim=1)
        if levels is None and loops_stay():
            frames = self._leads_of_a_graph(
                context, forecast_length, observed, timestep, spacing, ever, newest
            )
            return frames, None
        for logits, known in self.leads(
            context, forecast_length, observed, timestep=timestep, spacing=spacing
        ):
            known = known > 0.5
            frames.append(self._frame(logits, known, ever, newest, self._rates(logits.dtype)))
            if levels is not None:
                probabilities.append(
                    torch.where(
                        known[:, None], torch.sigmoid(self.interpolated(logits, levels)), torch.nan
                    )
                )
        frames = torch.stack(frames, dim=1)[:, :, None]
        if levels is None:
            return frames, None
        return frames, torch.stack(probabilities, dim=2)[:, :, :, None]

    def _frame(
        self, logits: Tensor, known: Tensor, ever: Tensor | None, newest: Tensor, rates: "_Rates"
    ) -> Tensor:
        """The forecast of a lead, (B, H, W), NaN where nothing is known, from its logits; ``ever``:
        where any frame was observed.
        """
        seen = (
            known if ever is None else known & ever
        )  # what carries rain where no radar looks decides nothing
        return torch.where(known, self._decide(logits, seen, newest, rates), torch.nan)

    def _leads_of_a_graph(
        self,
        context: Tensor,
        forecast_length: int,
        observed: Tensor | None,
        timestep: Tensor | float,
        spacing: Tensor | float,
        ever: Tensor | None,
        newest: Tensor,
    ) -> Tensor:
        """``forward`` as a loop over the leads, which a graph contains once."""
        rain = self._moving(context, forecast_length, observed, timestep=timestep, spacing=spacing)
        told = torch.stack([rain.told(lead) for lead in range(1, forecast_length + 1)])
        minutes = (
            rain.timestep
            * torch.arange(
                1, forecast_length + 1, dtype=rain.timestep.dtype, device=context.device
            )[:, None]
        )
        step, rates = (
            departure(rain.motion),
            self._rates(rain.details.dtype),
        )  # constants within a loop could not be functionalised

        def one(
            carried: tuple[Tensor, ...], entries: tuple[Tensor, ...]
        ) -> tuple[tuple[Tensor, ...], Tensor]:
            (back,), (told, evolved, minutes) = carried, entries
            wide = torch.cat([told, rain.patterns], dim=1)
            logits, known = self._at_lead(
                rain, back, wide, evolved, minutes, rain.y, rain.stationary
            )
            return (a_step_further(step, back),), self._frame(
                logits, known > 0.5, ever, newest, rates
            )

        return follow(one, (step,), (told, rain.evolved, minutes))[1].transpose(0, 1)[:, :, None]

    def ensemble(
        self,
        context: Tensor,
        forecast_length: int,
        observed: Tensor | None = None,
        *,
        members: int,
        timestep: Tensor | float = 5.0,
        spacing: Tensor | float = 1.0,
    ) -> Tensor:
        """Scenarios of equal chance, which at each pixel and lead are the middles of M equal shares
        of its distribution.

        Which member has which share is drawn: noise of every scale, in the frame that moves with
        the rain, as strong as the scale is in the last frame and lasting as long as it did in the
        context (the noise of STEPS, Bowler et al. 2006), ranks the members at each pixel (as in
        ensemble copula coupling, Schefzik et al. 2013). So members hang together in space and time,
        and what they say of a pixel is exactly what the network says. Drawn from torch's generator.

        Args:
            context, forecast_length, observed, timestep, spacing: as for ``forward``.
            members: M, at least 1.

        Returns:
            (B, M, forecast_length, 1, H, W), float32, NaN as in ``forward``.
        """
        at_least(1, members=members)
        frames = []
        for logits, known, noise in self._leads(
            context, forecast_length, observed, timestep=timestep, spacing=spacing, members=members
        ):
            parts, rates = [], self._rates(logits.dtype)
            for part, drawn in zip(
                _stripes(logits, logits.shape[-1]), _stripes(noise, logits.shape[-1])
            ):
                part = _product(rates.weights, part)
                quantiles = torch.stack(
                    [
                        _quantile(part, (member + 0.5) / members, rates.normalised)
                        for member in range(members)
                    ],
                    dim=1,
                )
                parts.append(quantiles.gather(1, drawn.argsort(dim=1).argsort(dim=1)))
            frames.append(torch.where(known[:, None] > 0.5, torch.cat(parts, dim=-2), torch.nan))
        return torch.stack(frames, dim=2)[:, :, :, None]

    def exceedance(
        self,
        context: Tensor,
        forecast_length: int,
        observed: Tensor | None,
        levels: Tensor,
        *,
        timestep: Tensor | float = 5.0,
        spacing: Tensor | float = 1.0,
        every: int = 1,
        first: tuple[int, int] = (0, 0),
    ) -> tuple[Tensor, Tensor]:
        """Logits of the probability that a pixel exceeds each of some levels, for training and for
        probabilities.

        Args:
            context, forecast_length, observed, timestep, spacing: as for ``forward``.
            levels: (K,) normalised rain rates.
            every, first: only every so many pixels of each row and column, from a row and a column
                on.

        Returns:
            (B, K, forecast_length, H', W') logits, and (B, forecast_length, H', W') booleans: where
            there is a forecast.
        """
        found = list(
            self.leads(
                context,
                forecast_length,
                observed,
                timestep=timestep,
                spacing=spacing,
                every=every,
                first=first,
            )
        )
        return torch.stack(
            [self.interpolated(logits, levels) for logits, _ in found], dim=2
        ), torch.stack([known > 0.5 for _, known in found], dim=1)

    def interpolated(self, logits: Tensor, levels: Tensor) -> Tensor:
        """Logits at the network's own levels, (B, len(LEVELS), H, W), finite, at others (K,): (B,
        K, H, W).
        """
        return _product(self._interpolation(levels, logits.dtype), logits)

    def _interpolation(self, levels: Tensor, dtype: torch.dtype) -> Tensor:
        """The matrix (K, len(LEVELS)) that makes logits at some levels (K,) of those at the
        network's own.
        """
        own = self.levels
        place = (own < levels[:, None]).sum(dim=1, keepdim=True).clamp(1, len(LEVELS) - 1)
        share = ((levels[:, None] - own[place - 1]) / (own[place] - own[place - 1])).to(dtype)
        weights = torch.zeros(len(levels), len(LEVELS), dtype=dtype, device=levels.device)
        return weights.scatter(1, place - 1, 1 - share).scatter(1, place, share)

    def _rates(self, dtype: torch.dtype) -> "_Rates":
        """Of logits of some type."""
        normalised = self.rates
        physical = torch.tensor(_RATES, device=normalised.device)[:, None, None]
        return _Rates(physical, normalised, self._interpolation(normalised, dtype))

    def leads(
        self,
        context: Tensor,
        forecast_length: int,
        observed: Tensor | None = None,
        *,
        timestep: Tensor | float = 5.0,
        spacing: Tensor | float = 1.0,
        every: int = 1,
        first: tuple[int, int] = (0, 0),
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Logits at the network's levels, (B, len(LEVELS), H', W'), and how much of each pixel is
        known, (B, H', W') in [0, 1], lead by lead.
        """
        for logits, known, _ in self._leads(
            context,
            forecast_length,
            observed,
            timestep=timestep,
            spacing=spacing,
            every=every,
            first=first,
        ):
            yield logits, known

    def _leads(
        self,
        context: Tensor,
        forecast_length: int,
        observed: Tensor | None,
        *,
        timestep: Tensor | float,
        spacing: Tensor | float,
        every: int = 1,
        first: tuple[int, int] = (0, 0),
        members: int = 0,
    ) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        """As ``leads``, and with members noise, (B, M, H', W'), of which only the order of the
        members at a pixel means something.
        """
        rain = self._moving(
            context,
            forecast_length,
            observed,
            timestep=timestep,
            spacing=spacing,
            every=every,
            first=first,
        )
        noise = (
            None
            if members == 0
            else _Noise(members, rain.correlation, rain.strength, rain.size, rain.spacing)
        )
        for lead, back in enumerate(departures(rain.motion, forecast_length), start=1):
            wide = torch.cat([rain.told(lead), rain.patterns], dim=1)
            drawn = () if noise is None else noise.next()
            found = []
            for y, stationary in zip(
                _stripes(rain.y, rain.x.shape[-1]), _stripes(rain.stationary, rain.x.shape[-1])
            ):
                found.append(
                    self._at_lead(
                        rain,
                        back,
                        wide,
                        rain.evolved[lead - 1],
                        rain.timestep * lead,
                        y,
                        stationary,
                        drawn,
                    )
                )
            logits, known, *drawn = (torch.cat(parts, dim=-2) for parts in zip(*found))
            yield logits, known, sum(drawn) if drawn else None

    def _moving(
        self,
        context: Tensor,
        forecast_length: int,
        observed: Tensor | None,
        *,
        timestep: Tensor | float,
        spacing: Tensor | float,
        every: int = 1,
        first: tuple[int, int] = (0, 0),
    ) -> "_Moving":
        """What all leads are made of."""
        context = context.to(
            torch.promote_types(context.dtype, torch.float32)
        )  # half a precision would leave 8 bits, and motion is made of small differences
        batch, length, _, height, width = context.shape
        nominal = spacing
        timestep, spacing = (
            torch.as_tensor(value, dtype=context.dtype, device=context.device).expand(batch)
            for value in (timestep, spacing)
        )
        with torch.no_grad():
            mask = (
                torch.ones_like(context[:, :, 0])
                if observed is None
                else observed[:, :, 0].to(context.dtype)
            )
            frames = torch.where(mask > 0, context[:, :, 0], 0.0)
            typical = self._typical(spacing, nominal)
            finer = max(1, round(_FINE / typical))  # pixels to one of the working grid
            cell = max(1, round(_CELL / typical / finer))
            frames, mask = averaged(*_padded(frames, mask, finer * cell * 4), finer, multiple=finer)
            spacing, size = spacing * finer, frames.shape[-2:]
            motion, coarser = self._motion(frames, mask, typical * finer, 4 * cell)
            aligned, seen = [frames[:, -1]], [mask[:, -1]]
            for lag, back in enumerate(departures(motion, length - 1), start=1):
                x, y = places(*size, like=frames)
                moved = coarser * at(back, x, y, size, beyond="border")
                before = torch.stack(
                    [frames[:, -1 - lag] * mask[:, -1 - lag], mask[:, -1 - lag]], dim=1
                )
                earlier, known = at(before, x + moved[:, 0], y + moved[:, 1], size).unbind(dim=1)
                aligned.append(earlier / known.clamp(min=0.5) * (known > 0.5))
                seen.append((known > 0.5).to(known.dtype))
            aligned, seen = torch.stack(aligned[::-1], dim=1), torch.stack(seen[::-1], dim=1)
            ever = seen.amax(dim=1, keepdim=True)
            recent = _recent(aligned, seen)
            fine = _means(recent, ever, [width / (typical * finer) for width in _DETAILS])
            wide = _means(
                *averaged(recent, ever, cell, multiple=cell),
                [width / (typical * finer * cell) for width in _PATTERNS],
            )
            correlation, tendency, strength = _regression(
                fine,
                [averaged(fine[-1], ever, cell, multiple=cell)[0], *wide[1:]],
                aligned,
                seen,
                cell,
                timestep,
                self._wet(),
            )
            changes = _changes(torch.stack(fine, dim=1), ever, cell)
            carried = [0, 1, -1]
            details = torch.cat([*(scale[:, carried] for scale in fine), ever], dim=1)
            patterns = torch.cat([scale[:, carried] for scale in wide[1:]], dim=1)
            stays = (frames * mask).sum(dim=1, keepdim=True) / mask.sum(dim=1, keepdim=True).clamp(
                min=1
            )
            stationary = _means(
                stays, mask.amax(dim=1, keepdim=True), [_DETAILS[0] / (typical * finer)]
            )[1]
            speed = motion * (coarser * spacing / timestep)[:, None, None, None]  # 60 km/h
            scale = torch.stack([torch.log(timestep / 5), torch.log(spacing * cell / _CELL)], dim=1)
            shape = changes.shape[-2:]
            alike = torch.cat([(1 - correlation + 1e-3).log() / 3, tendency], dim=1)
            told = torch.cat([scale, alike], dim=1)[:, :, None, None].expand(-1, -1, *shape)
            scalars = torch.cat([averaged_to(speed, shape), told, changes], dim=1)
            cells = self._cells(aligned, seen, cell)
            x, y = places(height, width, like=frames, every=every, first=first, per_pixel=finer)
            stationary = torch.cat(
                [at(stationary, x, rows, size) for rows in _stripes(y, x.shape[-1])], dim=-2
            )
        knots = _knots(forecast_length)
        coarse = self._coarse(cells, scalars, timestep, knots)
        return _Moving(
            motion,
            coarser,
            timestep,
            typical * finer,
            details,
            patterns,
            stationary,
            x,
            y,
            coarse,
            knots,
            correlation,
            strength,
            _evolved(correlation, tendency, forecast_length),
        )

    def _at_lead(
        self,
        rain: "_Moving",
        back: Tensor,
        wide: Tensor,
        evolved: Tensor,
        minutes: Tensor,
        y: Tensor,
        stationary: Tensor,
        drawn: Sequence[Tensor] = (),
    ) -> tuple[Tensor, ...]:
        """Logits and how much is known, (B, H'), at the pixels of some rows y, and what is carried
        with them.

        Args:
            back: one of ``departures``.
            wide: what the network tells of the lead, and the patterns.
            evolved: of the lead, (3, B, scales).
            minutes: to the lead, (B,).
            stationary: (B, 1, H', W').
            drawn: further fields (B, M, h, w).
        """
        moved = rain.coarser * at(back, rain.x, y, rain.size, beyond="border")
        departed = rain.x + moved[:, 0], y + moved[:, 1]
        fine, known = at(rain.details, *departed, rain.size).split(
            [rain.details.shape[1] - 1, 1], dim=1
        )
        wide = at(wide, *departed, rain.size, beyond="border")
        logits = self._logits(fine, known, wide, evolved, stationary, minutes[:, None, None, None])
        return (
            logits,
            known[:, 0],
            *(at(part, *departed, rain.size, beyond="border") for part in drawn),
        )

    def _typical(self, spacing: Tensor, nominal: Tensor | float) -> float:
        """The kilometres between pixels that the grids are laid out for, of (B,), or of the number
        that it was made of.

        Raises:
            UserError: a graph is being made, of which they would have to be an input.
        """
        if not torch.compiler.is_exporting():
            return _geometric_mean(spacing)
        if isinstance(nominal, Tensor):
            raise UserError(
                "the spacing came as a tensor, but the grids of an exported LagrangianConvLSTM "
                "are laid out for one spacing; give a number, e.g. spacing=1.0."
            )
        return apart(
            lambda: _geometric_mean(
                torch.full((1,), float(nominal), dtype=torch.float32, device="cpu")
            )
        )  # to the last digit: widths are rounded

    def _wet(self) -> Tensor | float:
        """The normalised rain rate from which on a pixel is wet."""
        return self.levels[0] if torch.compiler.is_exporting() else float(self.levels[0])

    def _motion(
        self, frames: Tensor, mask: Tensor, spacing: float, multiple: int
    ) -> tuple[Tensor, int]:
        """The motion on a grid of about a kilometre, in its pixels a frame, and how many pixels of
        the frames make one of them.
        """
        coarser = max(1, round(_MOTION / spacing))
        means, weights = averaged(frames, mask, coarser, multiple=multiple)
        multiple = multiple // coarser if multiple % coarser == 0 else 1
        levels = 1 + max(0, round(math.log2(_COARSEST / (spacing * coarser))))
        return motion_between(
            means,
            weights,
            window=_WINDOW / (spacing * coarser),
            levels=levels,
            smallest=_SMALLEST,
            multiple=multiple,
        ), coarser

    def _cells(self, aligned: Tensor, seen: Tensor, cell: int) -> Tensor:
        """What the network sees of each frame, (B, T, C, h, w): mean, spread, share observed, and
        shares of the pixels that reach some levels.
        """
        known = F.avg_pool2d(seen, cell)
        reached = [
            (aligned >= (1 - 1e-5) * self.levels[level]).to(aligned.dtype) for level in _SHARES
        ]
        mean, square, *shares = (
            F.avg_pool2d(field * seen, cell) / known.clamp(min=1e-3)
            for field in (aligned, aligned.square(), *reached)
        )
        return torch.stack(
            [4 * mean, 4 * (square - mean.square()).clamp(min=1e-6).sqrt(), known, *shares], dim=2
        )

    def _coarse(self, cells: Tensor, scalars: Tensor, timestep: Tensor, knots: list[int]) -> Tensor:
        """What is told of each cell at some leads: (B, K, outputs, h, w)."""
        (batch, length), number, given = cells.shape[:2], len(knots), cells.dtype
        cells, scalars, timestep = (
            values.to(a_tensor_of(self.enter).dtype) for values in (cells, scalars, timestep)
        )

        def timed(fields: Tensor, steps: Tensor) -> Tensor:
            """Scalars (B, S, h, w) with the minutes to each step (N,): (B, N, S + 1, h, w)."""
            minutes = torch.log1p((timestep[:, None] * steps).abs() / 10)
            extra = minutes[:, :, None, None, None].expand(-1, -1, 1, *fields.shape[-2:])
            return torch.cat([fields[:, None].expand(-1, len(steps), -1, -1, -1), extra], dim=2)

        past = torch.arange(1 - length, 1, device=cells.device, dtype=cells.dtype)
        future = torch.tensor(knots, device=cells.device, dtype=cells.dtype)
        sequence = F.leaky_relu(
            self.enter(torch.cat([cells, timed(scalars, past)], dim=2).flatten(0, 1)), 0.2
        ).unflatten(0, (batch, length))
        states = []
        for index, layer in enumerate(self.encoder):
            sequence, state = layer(sequence)
            states.append(state)
            if index < len(self.down):
                sequence = F.leaky_relu(self.down[index](sequence.flatten(0, 1)), 0.2).unflatten(
                    0, (batch, length)
                )
        told = timed(scalars, future)
        sequence = F.avg_pool2d(told.flatten(0, 1), 4).unflatten(0, (batch, number))
        for index in (2, 1, 0):
            sequence, _ = self.forecaster[index](sequence, states[index])
            if index:
                sequence = F.leaky_relu(self.up[index - 1](sequence.flatten(0, 1)), 0.2).unflatten(
                    0, (batch, number)
                )
            if index == 1:
                sequence = torch.cat([sequence, told], dim=2)
        last = cells[:, -1:].expand(-1, number, -1, -1, -1)
        hidden = F.leaky_relu(
            self.refine(torch.cat([sequence, last, told], dim=2).flatten(0, 1)), 0.2
        )
        return precisely(self.head, hidden).unflatten(0, (batch, number)).to(given)

    def _logits(
        self,
        fine: Tensor,
        known: Tensor,
        wide: Tensor,
        evolved: Tensor,
        stationary: Tensor,
        minutes: Tensor,
    ) -> Tensor:
        """Logits at the levels from what the cells tell and the context by scale, at the places
        that the rain of some pixels comes from: they fall from level to level.

        Args:
            fine: (B, 3 * (details + 1), H, W), of each of the details' means, the frame itself
                first, the last frame, the one before it, and the mean of all before it.
            known: (B, 1, H, W), how much of them is observed: 0 where nothing is.
            wide: (B, outputs + 3 * patterns, H, W), what the cells tell, and the means of the
                patterns.
            evolved: (3, B, scales), see ``_evolved``.
            stationary: (B, 1, H, W).
            minutes: to the lead, (B, 1, 1, 1).
        """
        levels = len(LEVELS)
        constant, gain, weights, patterns = wide.split(
            [levels, levels, _COEFFICIENTS, 3 * len(_PATTERNS)], dim=1
        )
        frame = (
            fine[:, :3] / known.clamp(min=0.5)
            # beside what is not observed, and is 0 there; the means are made of what is observed
            # alone
        )
        scales = torch.cat([frame, fine[:, 3:], patterns], dim=1).unflatten(1, (-1, 3))
        mean = scales[:, -1, :1]  # that the last scale goes back to
        bands = torch.cat([scales[:, :-1] - scales[:, 1:], scales[:, -1:] - mean[:, None]], dim=1)
        left = torch.exp(-minutes / self.log_lifetimes.exp()[:, None, None])
        ahead, before, without = evolved[..., None, None]
        last, previous, earlier = bands.unbind(dim=2)
        forecast = ahead * last + before * previous
        tendency = forecast - without * last
        forecast = torch.cat([forecast[:, :-1], forecast[:, -1:] + mean], dim=1)
        value = _SHARPNESS * (
            (weights[:, :-1] * torch.cat([forecast, tendency, left * earlier], dim=1)).sum(
                dim=1, keepdim=True
            )
            + weights[:, -1:] * stationary
        )
        steepness = 1 / (1 + minutes / _BLUNTING)
        first, drops = (constant + gain * value).split([1, levels - 1], dim=1)
        return steepness * torch.cat([first, first - F.softplus(drops).cumsum(dim=1)], dim=1)

    def _decide(self, logits: Tensor, known: Tensor, newest: Tensor, rates: "_Rates") -> Tensor:
        """The forecast, (B, H, W): between median and mean, of weak rain the median, kept on that
        side of some rates which promises the better CSI.

        Args:
            logits: (B, len(LEVELS), H, W).
            known: (B, H, W), the pixels that decide: where there is a forecast, and was an
                observation.
            newest: (B, H, W), what was observed last at each pixel, normalised.
            rates: those that the forecast is made of.
        """
        width = logits.shape[-1]
        parts = [
            torch.sigmoid(_product(rates.weights, part)) for part in _stripes(logits, width)
        ]  # probabilities of all rates
        now, expected = 0, 0
        for part, decides, before in zip(parts, _stripes(known, width), _stripes(newest, width)):
            now = now + (
                (before[:, None] >= (1 - 1e-5) * rates.normalised[:, None, None]) & decides[:, None]
            ).sum((2, 3))
            expected = expected + torch.where(decides[:, None], part, 0.0).sum((2, 3))
        scale, least = _scale(now, expected), {}
        for rate, given in _DECISIONS.items():
            level = _RATES.index(rate)
            least[level] = _least(
                torch.cat([part[:, level] for part in parts], dim=1),
                known,
                scale[:, level],
                given=given,
            )[:, None, None]
        weakest = next(iter(least))
        values = []
        for part in parts:
            scaled = (part * scale[:, :, None, None]).clamp(max=1)
            mean = 0.5 * (
                _RATES[0] * scaled[:, 0]
                + ((scaled[:, 1:] + scaled[:, :-1]) * rates.physical.diff(dim=0)).sum(dim=1)
            )
            value = torch.lerp(
                _quantile(torch.logit(scaled, eps=1e-6), 0.5, rates.normalised),
                self._normalised(mean),
                torch.where(part[:, weakest] >= least[weakest], _MEAN, 0.0).to(mean.dtype),
            )
            for level, enough in least.items():
                value = torch.where(
                    part[:, level] >= enough,
                    value.clamp(min=(1 + 1e-5) * rates.normalised[level]),
                    value.clamp(max=(1 - 1e-4) * rates.normalised[level]),
                )
            values.append(value.clamp(0, 1))
        return torch.cat(values, dim=1)

    def _normalised(self, rates: Tensor) -> Tensor:
        """Of rain rates [mm/h], any shape."""
        return torch.log1p(rates / self.knee) / math.log1p(self.ceiling / self.knee)


class RainDistribution(LogitPrediction):
    """What the network says of the rain: at each pixel and lead, how probable each rate is.

    Made lead by lead whenever it is asked for, so that a large grid needs no more memory than a
    lead.

    Args:
        network: whose distribution it is.
        context, forecast_length, observed, scale: as it was called with.
    """

    def __init__(
        self,
        network: LagrangianConvLSTM,
        context: Tensor,
        forecast_length: int,
        observed: Tensor | None,
        scale: Scale,
    ):
        self._network, self._scale = network, scale
        self._call = context, forecast_length, observed

    def point(self, functional: str | None = None) -> Tensor:
        """The forecast that decides between rain rates by their probabilities, or a functional,
        (B, T, 1, H, W).
        """
        if functional is not None:
            raise UserError(f"the functional {functional} is not predicted yet.")
        return self._network.frames_and_probabilities(*self._call, self._scale)[0]

    def point_and_exceedance(self, thresholds: Sequence[float] | Tensor) -> tuple[Tensor, Tensor]:
        """Both in one pass over the leads."""
        levels = torch.as_tensor(thresholds, dtype=torch.float32, device=self._call[0].device)
        return self._network.frames_and_probabilities(*self._call, self._scale, levels)

    def exceedance(self, thresholds: Sequence[float] | Tensor) -> Tensor:
        """(B, K, T, 1, H, W), NaN where there is no forecast."""
        return self.point_and_exceedance(thresholds)[1]

    def members(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """(B, M, T, 1, H, W), see ``LagrangianConvLSTM.ensemble``."""
        scale = {"timestep": self._scale.timestep, "spacing": self._scale.spacing}
        return self._network.ensemble(*self._call, members=count, **scale)

    def exceedance_logits(
        self, levels: Tensor, *, every: int = 1, first: tuple[int, int] = (0, 0)
    ) -> tuple[Tensor, Tensor]:
        """See ``LogitPrediction``."""
        scale = {"timestep": self._scale.timestep, "spacing": self._scale.spacing}
        return self._network.exceedance(*self._call, levels, **scale, every=every, first=first)


def _check(context: Tensor, forecast_length: int, observed: Tensor | None) -> None:
    """Refuse a call that cannot be answered."""
    if (
        context.ndim != 5
        or context.shape[2] != 1
        or context.shape[1] < 2
        or 0 in context.shape
        or forecast_length < 1
    ):
        raise UserError(
            f"a context of shape {tuple(context.shape)} and a forecast length of "
            f"{forecast_length} came; "
            "(B, T, 1, H, W) with T at least 2 and no empty axis, and at least 1 are needed."
        )
    check_mask(observed, context)


class _Rates(NamedTuple):
    """The rates ``_RATES``: in mm/h, (R, 1, 1); normalised, (R,); and the matrix that makes their
    logits of the network's own, (R, len(LEVELS)).
    """

    physical: Tensor
    normalised: Tensor
    weights: Tensor


def _product(weights: Tensor, logits: Tensor) -> Tensor:
    """A matrix (K, L) with maps (B, L, H, W): (B, K, H, W)."""
    with without_autocast(logits.device.type):
        return (weights @ logits.flatten(2)).unflatten(2, logits.shape[2:])


def _quantile(logits: Tensor, share: float, rates: Tensor) -> Tensor:
    """The normalised rain rate that this share of the distribution lies below, (B, H, W), of logits
    at rates (R,); 0 where that is below the first of them.
    """
    margins = logits - math.log((1 - share) / share)
    if (
        torch.compiler.is_exporting()
    ):  # all levels at once: what a higher level says is the larger value
        above = torch.cat([margins[:, 1:], margins[:, -1:]], dim=1)
        steps = torch.cat([rates.diff(), rates.new_zeros(1)])[:, None, None]
        reach = (margins / (margins - above).clamp(min=1e-6)).clamp(0, 1) * steps
        return torch.where(margins >= 0, rates[:, None, None] + reach, 0.0).amax(dim=1)
    value, margins = torch.zeros_like(logits[:, 0]), margins.unbind(dim=1)
    for level, start in enumerate(rates):
        above = min(level + 1, len(_RATES) - 1)
        reach = (margins[level] / (margins[level] - margins[above]).clamp(min=1e-6)).clamp(0, 1) * (
            rates[above] - start
        )
        value = torch.where(margins[level] >= 0, start + reach, value)
    return value


class _Moving(NamedTuple):
    """What a context says, brought to where its rain is at the analysis time: what the leads are
    made of.

    Args:
        motion: (B, 2, h, w) of its own grid.
        coarser: pixels of the working grid to one of it.
        timestep: (B,) minutes.
        spacing: kilometres between points of the working grid.
        details: (B, 3 * (details + 1) + 1, rows and columns of the working grid), the last field
            where anything is known.
        patterns: (B, 3 * patterns, ...), on the cells.
        stationary: (B, 1, H', W'), what stays at each pixel of the forecast.
        x, y: of those pixels, (1, 1, W') and (1, H', 1), on the working grid.
        coarse: (B, K, outputs, ...), what the network tells at the knots, on the cells.
        knots: the K leads.
        correlation, strength: of each scale, (B, scales), see ``_regression``.
        evolved: (leads, 3, B, scales), see ``_evolved``.
    """

    motion: Tensor
    coarser: int
    timestep: Tensor
    spacing: float
    details: Tensor
    patterns: Tensor
    stationary: Tensor
    x: Tensor
    y: Tensor
    coarse: Tensor
    knots: list[int]
    correlation: Tensor
    strength: Tensor
    evolved: Tensor

    @property
    def size(self) -> torch.Size:
        """Rows and columns of the working grid."""
        return self.details.shape[-2:]

    def told(self, lead: int) -> Tensor:
        """What the network tells of a lead, (B, outputs, ...)."""
        after = next(index for index, knot in enumerate(self.knots) if knot >= lead)
        share = (
            (self.knots[after] - lead) / (self.knots[after] - self.knots[after - 1])
            if after
            else 0.0
        )
        return (
            self.coarse[:, after]
            if share == 0
            else torch.lerp(self.coarse[:, after], self.coarse[:, after - 1], share)
        )


def _stripes(fields: Tensor, width: int) -> tuple[Tensor, ...]:
    """Fields (..., H, any) of so many columns in parts of some rows, a like number for each core of
    a CPU; on other devices in one part.
    """
    if fields.device.type != "cpu" or torch.compiler.is_exporting():
        return (fields,)
    return fields.split(max(1, _STRIPE // max(1, width)) * torch.get_num_threads(), dim=-2)


def _scale(now: Tensor, expected: Tensor) -> Tensor:
    """What the probabilities of a rate are multiplied with, any shape, from the pixels that reach
    it now and those expected to.

    The climate of a place need not be the one that the network learnt: half of the way (by a
    geometric mean) is gone to the area that reaches the rate now, by no more than a factor of 2.
    """
    return (now.clamp(min=1) / expected.clamp(min=1)).sqrt().clamp(0.5, 2.0)


def _least(probability: Tensor, known: Tensor, scale: Tensor, *, given: float = 0.0) -> Tensor:
    """The probability of a rate, (B,), from which on forecasting it promises the best CSI over a
    field.

    Of the pixels whose probability is at least t, sum p are expected to be hits, so that the
    expected critical success index is sum p (of those) / (their number + sum p (of the others)); t
    is the highest at which that is within ``given`` of its maximum, but not below ``_FEWEST`` when
    it is scaled.

    Args:
        probability, known: (B, H, W).
        scale: (B,), of the probabilities, see ``_scale``.
        given: share of the maximum.
    """
    batch = probability.shape[0]
    place = torch.where(
        known, (probability * _BINS).long().clamp(max=_BINS - 1), _BINS
    ) + torch.arange(batch, device=known.device)[:, None, None] * (_BINS + 1)
    number = (
        _counted(place.flatten(), batch * (_BINS + 1))
        .view(batch, _BINS + 1)[:, :_BINS]
        .to(torch.float64)
    )
    middle = (torch.arange(_BINS, device=known.device) + 0.5) / _BINS
    chosen, hits = (sums.flip(1).cumsum(dim=1).flip(1) for sums in (number, number * middle))
    expected = scale[:, None] * hits[:, :1]
    hits = torch.minimum(scale[:, None] * hits, chosen)
    index = hits / (chosen + expected - hits).clamp(min=1e-6)
    near = index >= (1 - given) * index.amax(dim=1, keepdim=True)
    best = torch.where(near, torch.arange(_BINS, device=known.device), 0).amax(dim=1)
    return torch.maximum(best / _BINS, _FEWEST / scale).clamp(max=_MOST).to(probability.dtype)


def _counted(places: Tensor, number: int) -> Tensor:
    """How often each of the numbers from 0 up to, but not including, ``number`` occurs in places,
    (N,) -> (number,).
    """
    if torch.compiler.is_exporting():  # how long bincount's result is depends on its values
        return places.new_zeros(number).scatter_add(0, places, torch.ones_like(places))
    return torch.bincount(places, minlength=number)


def _layer(inputs: int, hidden: int) -> ConvLSTM:
    return ConvLSTM(inputs, hidden, input_kernel=3, state_kernel=3, forget_bias=1.0)


def _geometric_mean(spacing: Tensor) -> float:
    return float(spacing.log().mean().exp())


def _padded(frames: Tensor, mask: Tensor, multiple: int) -> tuple[Tensor, Tensor]:
    """Frames and mask, (B, T, H, W), with unobserved pixels below and to the right."""
    below, right = (missing(side, multiple) for side in frames.shape[-2:])
    return F.pad(frames, (0, right, 0, below)), F.pad(mask, (0, right, 0, below))


def _newest(frames: Tensor, observed: Tensor) -> Tensor:
    """What was observed last at each pixel, 0 where nothing was: (B, T, H, W) -> (B, H, W)."""
    newest = torch.zeros_like(frames[:, 0])
    for frame, seen in zip(frames.unbind(dim=1), observed.unbind(dim=1)):
        newest = torch.where(seen, frame, newest)
    return newest


def _recent(aligned: Tensor, seen: Tensor) -> Tensor:
    """The last frame, up to two before it, and the mean of all before it, each in place of one that
    was not observed: (B, T, H, W) -> (B, 3 or 4, H, W).
    """
    count = seen[:, :-1].sum(dim=1)
    before = (aligned[:, :-1] * seen[:, :-1]).sum(dim=1) / count.clamp(min=1)
    found = [torch.where(seen[:, -1] > 0.5, aligned[:, -1], before)]
    for lag in range(2, min(3, aligned.shape[1]) + 1):
        found.append(torch.where(seen[:, -lag] > 0.5, aligned[:, -lag], found[-1]))
    return torch.stack([*found, torch.where(count > 0.5, before, found[0])], dim=1)


def _regression(
    fine: list[Tensor],
    wide: list[Tensor],
    aligned: Tensor,
    seen: Tensor,
    cell: int,
    timestep: Tensor,
    wet: Tensor | float,
) -> tuple[Tensor, Tensor]:
    """How each scale goes on: autoregression of second order along the motion, as in S-PROG (Seed
    2003), from the last three frames.

    Rain grows and decays with a memory, and what the motion missed goes on, too: large patterns
    keep their tendency for tens of minutes. Where one of the three frames is missing there is no
    tendency, and where the newest overlaps with none the scales last as long as rain usually does.

    Args:
        fine, wide: fields and their ever wider means, (B, F, H, W) each and on the cells (B, F, h,
            w), as of ``_recent``; the first of ``wide`` is the last of ``fine``.
        aligned, seen: (B, T, H, W) frames and where they were observed.
        cell: pixels to a side of a cell.
        timestep: (B,) minutes.
        wet: from which value on a pixel is wet.

    Returns:
        the correlation with the frame before, the weight in the next frame of the one before the
        last, and the last frame's variance, (B, scales) each.
    """
    bands = [*(a - b for a, b in pairwise(fine)), *(a - b for a, b in pairwise(wide)), wide[-1]]

    def found_from(lags: list[int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Correlations and variance by scale from the newest frame and those before it, and whether
        they overlap enough to tell any, (B, 1).
        """
        places = [-1 - lag for lag in lags]
        known = seen[:, places].amin(dim=1, keepdim=True)
        within = (
            known
            * (aligned[:, places].amin(dim=1, keepdim=True) >= (1 - 1e-5) * wet).to(known.dtype)
            + _OUTSIDE * known
        )
        coarse = F.avg_pool2d(within, cell), F.avg_pool2d(known, cell)
        weights = (
            [within] * (len(fine) - 1)
            + [coarse[0]] * (_NARROW - len(fine) + 1)
            + [coarse[1]] * (_SCALES - _NARROW)
        )
        one, two, strength = _correlations_of_all([band[:, lags] for band in bands], weights)
        return (
            one,
            two,
            strength,
            (known.sum((2, 3)) > 0) & (known.sum((2, 3)) >= _OVERLAP * seen[:, -1:].sum((2, 3))),
        )

    frames = min(3, aligned.shape[1])
    one, two, strength, enough = found_from(list(range(frames)))
    for lag in range(1, frames):  # a frame is missing: the newest with one of the others alone
        if torch.compiler.is_exporting() or not enough.all():
            other, _, variance, overlap = found_from([0, lag])
            other = other.clamp(min=0) ** (1 / lag)
            one, two, strength = (
                torch.where(enough, kept, new)
                for kept, new in ((one, other), (two, other.square()), (strength, variance))
            )
            enough = enough | overlap
    lasting = torch.exp(
        -timestep[:, None] / torch.tensor(_LIFETIMES, dtype=one.dtype, device=one.device)
    )
    one, two = torch.where(enough, one, lasting), torch.where(enough, two, lasting.square())
    one = one.clamp(0.0, 0.9995)
    two = torch.maximum(two, 2 * one.square() - 1)
    longest = -torch.exp(-timestep / _MEMORY)[:, None]
    second = torch.maximum((two - one.square()) / (1 - one.square()), longest).clamp(max=0.5)
    return one, second, strength


def _correlations_of_all(
    bands: list[Tensor], weights: list[Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """``_correlations`` of each scale, (B, scales) each; in a graph, which that keeps short, of all
    that share a grid at once.
    """
    if not torch.compiler.is_exporting():
        found = [_correlations(band, weight) for band, weight in zip(bands, weights, strict=True)]
    else:
        fine = len(_DETAILS)
        found = []
        for some in (slice(0, fine), slice(fine, None)):
            fields, weight = torch.cat(bands[some]), torch.cat(weights[some])
            batches = [
                values.unflatten(0, (len(bands[some]), -1))
                for values in _correlations(fields, weight)
            ]
            found += zip(*batches)
    one, two, strength = (torch.stack(values, dim=1) for values in zip(*found))
    return one, two, strength


def _correlations(fields: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of frames (B, F, H, W), the newest first, with those one and two before them, and the
    newest's variance, (B,) each; of two frames alone, as if they had no tendency.
    """
    given = fields.dtype
    # other runtimes sum a large map one by one: float32 would leave 3 digits of what is missing to
    # a correlation of 1
    if torch.compiler.is_exporting():
        fields, weight = fields.double(), weight.double()
    total = weight.sum((2, 3), keepdim=True).clamp(min=1e-6)
    rest = fields - (weight * fields).sum((2, 3), keepdim=True) / total
    covariance = torch.einsum("bihw,bjhw->bij", weight * rest, rest).double() / total[
        :, 0
    ].double() + 1e-12 * torch.eye(fields.shape[1], device=fields.device)
    square = torch.diagonal(covariance, dim1=1, dim2=2)
    one = (
        covariance.diagonal(offset=1, dim1=1, dim2=2).sum(dim=1)
        / (square[:, :-1].sum(dim=1) * square[:, 1:].sum(dim=1)).sqrt()
    )
    two = (
        covariance[:, 0, 2] / (square[:, 0] * square[:, 2]).sqrt()
        if fields.shape[1] > 2
        else one.square()
    )
    return one.to(given), two.to(given), square[:, 0].to(given)


def _evolved(correlation: Tensor, second: Tensor, length: int) -> Tensor:
    """What is left of the last frame and of the one before it at each lead, and of the last frame
    had it no tendency: (length, 3, B, scales).

    Args:
        correlation, second: as ``_regression`` returns them.
        length: number of leads.
    """
    first = correlation * (1 - second)  # the weight of the last frame in the next
    ahead, before = [torch.ones_like(first), first], [torch.zeros_like(first), second]
    for _ in range(length - 1):
        ahead.append(first * ahead[-1] + second * ahead[-2])
        before.append(first * before[-1] + second * before[-2])
    return torch.stack(
        [
            torch.stack([a, b, correlation**lead])
            for lead, (a, b) in enumerate(zip(ahead[1:], before[1:]), start=1)
        ]
    )


class _Noise:
    """Noise of each scale for each member, in the frame that moves with the rain: it grows from
    nothing as the scale forgets its last frame.

    Args:
        members: M.
        correlation, strength: of each scale, (B, scales), from ``_regression``. What is smaller
            than a kilometre or so is left out: a forecast says nothing of its place, and it would
            make all else ragged.
        size: of the working grid.
        spacing: kilometres between its points.
    """

    def __init__(
        self,
        members: int,
        correlation: Tensor,
        strength: Tensor,
        size: tuple[int, int],
        spacing: float,
    ):
        self._correlation, self._strength = correlation[:, 1:], strength[:, 1:].clamp(min=0).sqrt()
        self._grids = []
        for side, widths in ((_NOISE, _DETAILS[1:]), (_CELL, _PATTERNS)):
            side = max(1, round(side / spacing))
            self._grids.append(
                (
                    (members, *(-(-length // side) for length in size)),
                    [width / (spacing * side) for width in widths],
                )
            )
        self._state = [0.0] * self._correlation.shape[1]

    def next(self) -> tuple[Tensor, Tensor]:
        """Of the next lead, in two parts, each on a grid of its own over the same area, which
        belong together by their sum: (B, M, h, w).
        """
        for scale, (state, draw) in enumerate(zip(self._state, self._draw())):
            kept = self._correlation[:, scale, None, None, None]
            self._state[scale] = kept * state + (1 - kept.square()).sqrt() * draw / draw.std(
                (1, 2, 3), keepdim=True
            ).clamp(min=1e-6)
        detail, *patterns = (
            strength[:, None, None, None] * state
            for strength, state in zip(self._strength.unbind(dim=1), self._state)
        )
        return detail, sum(patterns)

    def _draw(self) -> list[Tensor]:
        """Fresh noise of each scale: what lies between the means of two widths, and at last the
        widest mean.
        """
        drawn = []
        for shape, widths in self._grids:
            white = torch.randn(
                len(self._correlation),
                *shape,
                dtype=self._correlation.dtype,
                device=self._correlation.device,
            )
            means = _means(white, torch.ones_like(white[:, :1]), widths)
            drawn += [a - b for a, b in pairwise(means)]
        return [*drawn, means[-1]]


def _means(fields: Tensor, known: Tensor, widths: list[float]) -> list[Tensor]:
    """Fields (B, C, H, W) and their Gaussian means of ever larger widths [pixels] over what is
    known, (B, 1, H, W).
    """
    means = [fields]
    for width in widths:
        values, weights = smooth_both(fields * known, known, width)
        means.append(values / weights.clamp(min=1e-3))
    return means


def _changes(details: Tensor, known: Tensor, cell: int) -> Tensor:
    """How strong each fine scale of the last frame is and how far it lies from the frames before,
    in each cell and everywhere: (B, 3 * _CHANGES, h, w).

    Of rain that lasts the frames differ little once they are aligned: it is the lifetime that
    S-PROG estimates, for each place.

    Args:
        details: fields and their means, (B, _CHANGES, F, H, W), of the fields the last frame first
            and the mean of those before last.
        known: (B, 1, H, W).
        cell: pixels to a side of a cell.
    """
    bands = torch.cat([details[:, :-1] - details[:, 1:], details[:, -1:]], dim=1)[:, :, [0, -1]]
    squares = (
        torch.cat([bands[:, :, 0].square(), (bands[:, :, 0] - bands[:, :, 1]).square()], dim=1)
        * known
    )
    local = F.avg_pool2d(squares, cell) / F.avg_pool2d(known, cell).clamp(min=1e-3)
    strength, change = (squares.sum((2, 3)) / known.sum((2, 3)).clamp(min=1) + 1e-6).split(
        _CHANGES, dim=1
    )
    ratio = 0.5 * torch.log(change / strength)[:, :, None, None].expand(-1, -1, *local.shape[-2:])
    return torch.cat([10 * (local + 1e-6).sqrt(), ratio], dim=1)


def _knots(length: int) -> list[int]:
    """Leads at which the network is asked, 1, 2, 3, 5, 8, 12, ... up to a forecast's length at
    least; in between, its answers are interpolated.
    """
    knots = [1, 2]
    while knots[-1] < length:
        knots.append(knots[-1] + len(knots) - 1)
    return knots
