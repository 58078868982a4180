"""The network that moves with the rain.

Axes: B batch, T time, C channels, H rows, W columns; h and w those of its cells.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nowcast.models.base import Capabilities, ForecastModel
from nowcast.models.convlstm import ConvLSTM
from nowcast.models.convolutions import Conv2d, ConvTranspose2d, a_tensor_of, settings_text
from nowcast.models.lagrangian.context import AlignedContext, aligned_context, motion_on_cells
from nowcast.models.lagrangian.distribution import RainDistribution, RateLadder
from nowcast.models.lagrangian.evolution import RainInMotion, knots_up_to
from nowcast.models.lagrangian.maps import averaged_to, gaussian_means
from nowcast.models.lagrangian.scales import Scales, changes_of, scales_of
from nowcast.models.lagrangian.settings import SETTINGS, RainScale
from nowcast.models.network import check_at_least, check_context, precisely
from nowcast.runtime.errors import UserError
from nowcast.types.scale import Scale

_LEAST_HIGHEST = 10.0  # mm/h
_KEPT_FRAMES = [0, 1, -1]  # of ``recent``: the last, the one before it, the mean of all before


class LagrangianConvLSTM(ForecastModel):
    """Probabilities of rain and a forecast, from context frames of any cadence and grid spacing.

    Args:
        hidden_channels: of the three ConvLSTM layers, from cells of 4, 8 and 16 km.
        knee: of the transform, ``nowcast.types.transform.LogRainRate`` [mm/h].
        ceiling: of the transform [mm/h].
        levels: rates whose exceedance it predicts [mm/h], ascending; in between, and beyond the
            last, the logit is linear in the logarithm of the rate.
        regression_window: standard deviation [km] of the windows in which it is estimated how the
            details and patterns up to 16 km go on; null: of the whole field together.

    Attributes:
        settings: what else was chosen.

    Raises:
        UserError: another number of layers, or levels or a window that are none.
    """

    capabilities = Capabilities(
        needs_scale=True, any_scale=True, probabilistic=True, members=True, partial=True
    )
    context_length = 2
    begins_with_other = ("levels", "regression_window")

    def __init__(
        self,
        hidden_channels: list[int],
        *,
        knee: float,
        ceiling: float,
        levels: Sequence[float] = SETTINGS.levels,
        regression_window: float | None = None,
    ):
        super().__init__()
        check_at_least(1, hidden_channels=hidden_channels)
        if len(hidden_channels) != 3:
            raise UserError(
                "expected three hidden_channels, for cells of 4, 8 and 16 km, got "
                f"{hidden_channels}."
            )
        _refuse_wrong_levels(levels, ceiling)
        if regression_window is not None and not _between(4, regression_window, 200):
            raise UserError(
                f"model.regression_window is {regression_window!r}; expected 4 to 200 km, or null."
            )
        self.hidden_channels, self.knee, self.ceiling = list(hidden_channels), knee, ceiling
        self.settings = SETTINGS.with_levels(levels, regression_window)
        first, second, third = hidden_channels
        scalars = self.settings.scalars
        inputs = self.settings.frame_fields + scalars
        self.enter = Conv2d(inputs, first, 3, padding=1)
        self.encoder = _layers((first, first), (second, second), (third, third))
        down = [Conv2d(first, second, 3, 2, 1), Conv2d(second, third, 3, 2, 1)]
        self.down = nn.ModuleList(down)
        self.forecaster = _layers((first + scalars, first), (second, second), (scalars, third))
        up = [ConvTranspose2d(second, first, 4, 2, 1), ConvTranspose2d(third, second, 4, 2, 1)]
        self.up = nn.ModuleList(up)
        self.outputs = self.settings.outputs
        self.refine = Conv2d(first + inputs, first, 3, padding=1)
        self.head = Conv2d(first, self.outputs, 1)
        self.log_lifetimes = nn.Parameter(torch.tensor(self.settings.lifetimes).log())
        self._start_from_extrapolation()

    def extra_repr(self) -> str:
        """What it was made with."""
        own = settings_text(self, "hidden_channels", "knee", "ceiling")
        chosen = settings_text(self.settings, "levels", "regression_window")
        return f"{own}, {chosen}"

    @torch.no_grad()
    def take_weights(self, other: ForecastModel) -> None:
        """Begin with the weights of another of its kind, also of one with fewer levels: those
        beyond its last begin as its logits go on, linear in the logarithm of the rate.

        Raises:
            UserError: the other's levels are not the first of these.
        """
        known, own = other.settings.levels, self.settings.levels
        if own[: len(known)] != known:
            raise UserError(
                f"expected weights of the levels {list(own)}, or of the first of them, got those "
                f"of {list(known)}; give model.levels={list(known)}, with others after them."
            )
        weights = other.state_dict()
        for name in ("head.weight", "head.bias"):
            weights[name] = self._with_levels_after(weights[name], len(known))
        self.load_state_dict(weights)

    def _with_levels_after(self, rows: Tensor, known: int) -> Tensor:
        """Rows of a head for so many levels, (outputs, ...), with those of the levels after them:
        each drop to the next level is that to the one before, as long as the steps are.
        """
        constants, gains, rest = rows.split([known, known, len(rows) - 2 * known])
        steps = self.levels.diff()
        for level in range(known, len(self.levels)):
            longer = steps[level - 1] / steps[level - 2]
            last = constants[-1:]
            if rows.dim() == 1:  # the bias, about which the drop is a softplus
                next_constant = torch.log(torch.expm1(longer * F.softplus(last)))
            else:
                next_constant = longer * last
            constants = torch.cat([constants, next_constant])
            gains = torch.cat([gains, longer * gains[-1:]])
        return torch.cat([constants, gains, rest])

    @property
    def levels(self) -> Tensor:
        """The rain rates whose exceedance the network predicts, normalised, (L,); made anew
        whenever it is asked for, so that it is right after ``to_empty``, too.
        """
        weight, rates = a_tensor_of(self), torch.tensor(self.settings.levels)
        dtype = torch.promote_types(weight.dtype, torch.float32)
        return self._rain_scale.normalised(rates).to(weight.device, dtype)

    @property
    def _rain_scale(self) -> RainScale:
        return RainScale(self.knee, self.ceiling)

    @torch.no_grad()
    def _start_from_extrapolation(self) -> None:
        """Let the head begin with what the regression says: probabilities rise with the rain's
        logarithm, about each level.
        """
        settings, levels = self.settings, self.levels
        nn.init.normal_(self.head.weight, std=0.02)
        steps = settings.steepness * levels.diff()
        gains, weights = torch.zeros(len(levels)), torch.zeros(settings.coefficients)
        gains[0], weights[: settings.scales] = settings.steepness / settings.sharpness, 1.0
        drops = steps + torch.log(-torch.expm1(-steps))  # softplus of it is the step
        constants = torch.cat([-settings.steepness * levels[:1], drops])
        self.head.bias.copy_(torch.cat([constants, gains, weights]))

    def forward(
        self,
        context: Tensor,
        forecast_length: int,
        observed: Tensor | None = None,
        scale: Scale | None = None,
    ) -> RainDistribution:
        """Predict the frames that follow.

        Args:
            context: (B, T, 1, H, W), normalised; T at least 2.
            forecast_length: number of frames, at least 1.
            observed: boolean mask of the context's shape; None means all of it.
            scale: minutes between frames and kilometres between pixels; None: 5 and 1.

        Returns:
            The distribution of the rain of (B, forecast_length, 1, H, W); NaN where the rain comes
            from outside the grid or was not observed.

        Raises:
            UserError: a context of another shape, or too short a one, or a mask that is not of it.
        """
        check_context(self, context, forecast_length, observed)
        rain = self._rain_in_motion(context, forecast_length, observed, scale or Scale(5.0, 1.0))
        ever = None if observed is None else observed[:, :, 0].any(dim=1)
        ladder = RateLadder.of(self.levels, self._rain_scale, self.settings)
        return RainDistribution(rain, ladder, ever)

    def _rain_in_motion(
        self, context: Tensor, forecast_length: int, observed: Tensor | None, scale: Scale
    ) -> RainInMotion:
        """What all leads are made of: the context without gradients, the network with them."""
        # half a precision would leave 8 bits, and motion is made of small differences
        wide = context.to(torch.promote_types(context.dtype, torch.float32))
        with torch.no_grad():
            aligned = aligned_context(wide, observed, scale, self.settings)
            scales = scales_of(aligned, self._wet(), self.settings)
            cells, scalars = self._cells(aligned), self._scalars(aligned, scales)
            details = [mean[:, _KEPT_FRAMES] for mean in scales.fine]
            patterns = [mean[:, _KEPT_FRAMES] for mean in scales.wide[1:]]
            stationary = self._stationary(aligned)
            motion, motion_side = motion_on_cells(aligned)
        knots = knots_up_to(forecast_length)
        return RainInMotion(
            grid=aligned.grid,
            height=context.shape[-2],
            width=context.shape[-1],
            motion=motion,
            motion_side=motion_side,
            timestep=aligned.timestep,
            details=torch.cat([*details, aligned.ever_seen], dim=1),
            patterns=torch.cat(patterns, dim=1),
            stationary=stationary,
            coarse=self._coarse(cells, scalars, aligned.timestep, knots),
            knots=knots,
            regression=scales.regression,
            evolved=scales.local.evolved(forecast_length),
            log_lifetimes=self.log_lifetimes,
            settings=self.settings,
        )

    def _wet(self) -> Tensor | float:
        """The normalised rain rate from which on a pixel is wet."""
        return self.levels[0] if torch.compiler.is_exporting() else float(self.levels[0])

    def _stationary(self, context: AlignedContext) -> Tensor:
        """What stays where it is, whatever moves over it, (B, 1, h, w): the mean of all frames."""
        frames, mask = context.frames, context.mask
        count = mask.sum(dim=1, keepdim=True).clamp(min=1)
        mean = (frames * mask).sum(dim=1, keepdim=True) / count
        narrowest = context.grid.widths(self.settings.detail_widths[:1])
        return gaussian_means(mean, mask.amax(dim=1, keepdim=True), narrowest)[1]

    def _cells(self, context: AlignedContext) -> Tensor:
        """What the network sees of each frame, (B, T, C, h, w): mean, spread, share observed, and
        shares of the pixels that reach some levels.
        """
        aligned, seen, cell = context.aligned, context.seen, context.grid.cell
        known = F.avg_pool2d(seen, cell)
        fields = [aligned, aligned.square()]
        for level in self.settings.shares:
            fields.append((aligned >= (1 - 1e-5) * self.levels[level]).to(aligned.dtype))
        means = [F.avg_pool2d(field * seen, cell) / known.clamp(min=1e-3) for field in fields]
        mean, square, *shares = means
        spread = (square - mean.square()).clamp(min=1e-6).sqrt()
        return torch.stack([4 * mean, 4 * spread, known, *shares], dim=2)

    def _scalars(self, context: AlignedContext, scales: Scales) -> Tensor:
        """What it sees beside them, (B, C, h, w): motion, cadence, spacing, the regression, and the
        changes from frame to frame.
        """
        cell, regression = context.grid.cell, scales.local
        changes = changes_of(scales.fine, context.ever_seen, cell)
        size = changes.shape[-2:]
        cadence = torch.log(context.timestep / 5)
        spacing = torch.log(context.spacing * cell / self.settings.cell)
        forgetting = (1 - regression.correlation + 1e-3).log() / 3
        numbers = [torch.stack([cadence, spacing], dim=1)[:, :, None, None]]
        numbers += [forgetting, regression.tendency]
        maps = [number.expand(-1, -1, *size) for number in numbers]
        return torch.cat([averaged_to(context.speed, size), *maps, changes], dim=1)

    def _coarse(self, cells: Tensor, scalars: Tensor, timestep: Tensor, knots: list[int]) -> Tensor:
        """The network proper: its answer for each cell at some leads, (B, K, outputs, h, w)."""
        (batch, length), number, given = cells.shape[:2], len(knots), cells.dtype
        dtype = a_tensor_of(self.enter).dtype
        cells, scalars, timestep = cells.to(dtype), scalars.to(dtype), timestep.to(dtype)
        past = torch.arange(1 - length, 1, device=cells.device, dtype=dtype)
        inputs = torch.cat([cells, _timed(scalars, timestep, past)], dim=2)
        sequence = _leaky(self.enter(inputs.flatten(0, 1))).unflatten(0, (batch, length))
        states = []
        for index, layer in enumerate(self.encoder):
            if index:
                halved = _leaky(self.down[index - 1](sequence.flatten(0, 1)))
                sequence = halved.unflatten(0, (batch, length))
            sequence, state = layer(sequence)
            states.append(state)
        future = _timed(scalars, timestep, torch.tensor(knots, device=cells.device, dtype=dtype))
        sequence = F.avg_pool2d(future.flatten(0, 1), 4).unflatten(0, (batch, number))
        for index in (2, 1, 0):
            sequence, _ = self.forecaster[index](sequence, states[index])
            if index:
                doubled = _leaky(self.up[index - 1](sequence.flatten(0, 1)))
                sequence = doubled.unflatten(0, (batch, number))
            if index == 1:
                sequence = torch.cat([sequence, future], dim=2)
        last = cells[:, -1:].expand(-1, number, -1, -1, -1)
        hidden = _leaky(self.refine(torch.cat([sequence, last, future], dim=2).flatten(0, 1)))
        return precisely(self.head, hidden).unflatten(0, (batch, number)).to(given)


def _between(low: float, value: object, high: float) -> bool:
    """Whether a value is a number within limits."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and low <= value <= high


def _refuse_wrong_levels(levels: object, ceiling: float) -> None:
    given = list(levels) if isinstance(levels, Sequence) else []
    numbers = all(_between(0, level, ceiling) for level in given)
    limits = [0.0, *given, ceiling] if numbers else []
    ascending = all(lower < upper for lower, upper in pairwise(limits))
    if len(given) < 4 or not numbers or not ascending or given[-1] < _LEAST_HIGHEST:
        raise UserError(
            f"model.levels is {levels!r}; expected at least four rates, ascending, between 0 and "
            f"the transform's ceiling, {ceiling:g} mm/h, the last of them at least "
            f"{_LEAST_HIGHEST:g} mm/h: the distribution ends a little beyond it."
        )


def _layers(*channels: tuple[int, int]) -> nn.ModuleList:
    """ConvLSTM layers of these input and hidden channels."""
    kernels = {"input_kernel": 3, "state_kernel": 3}
    return nn.ModuleList(
        ConvLSTM(inputs, hidden, **kernels, forget_bias=1.0) for inputs, hidden in channels
    )


def _leaky(maps: Tensor) -> Tensor:
    return F.leaky_relu(maps, 0.2)


def _timed(scalars: Tensor, timestep: Tensor, steps: Tensor) -> Tensor:
    """Scalars (B, S, h, w) with the minutes to each step (N,): (B, N, S + 1, h, w)."""
    minutes = torch.log1p((timestep[:, None] * steps).abs() / 10)
    extra = minutes[:, :, None, None, None].expand(-1, -1, 1, *scalars.shape[-2:])
    return torch.cat([scalars[:, None].expand(-1, len(steps), -1, -1, -1), extra], dim=2)
