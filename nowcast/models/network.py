"""What all networks share at their borders: frames in, frames out.

Axes: B batch, T time, C channels, H rows, W columns.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nowcast.models import free_sizes
from nowcast.models.base import ForecastModel
from nowcast.models.convolutions import a_tensor_of, settings_text
from nowcast.models.prediction import Prediction, SingleField
from nowcast.runtime.errors import UserError
from nowcast.types.scale import Scale

OUTPUTS = ("sigmoid", "linear")


def check_at_least(minimum: float, **settings: float) -> None:
    """Refuse a setting, or a number in a list of them, below ``minimum``.

    Raises:
        UserError: names the setting.
    """
    for name, value in settings.items():
        numbers = value if isinstance(value, (list, tuple)) else [value]
        if not numbers or any(number < minimum for number in numbers):
            raise UserError(
                f"{name} is {value}; it must be at least "
                f"{minimum}{', one number per layer' if numbers is value else ''}."
            )


def check_context(
    model: ForecastModel, context: Tensor, forecast_length: int, observed: Tensor | None
) -> None:
    """Refuse a call of a model that cannot be answered.

    Raises:
        UserError: a context of another shape, or too short a one, or a mask that is not of it.
    """
    if context.ndim != 5 or context.shape[2] != 1 or 0 in context.shape or forecast_length < 1:
        raise UserError(
            "expected a context (B, T, 1, H, W) without an empty axis and a forecast length of at "
            f"least 1, got {tuple(context.shape)} and {forecast_length}."
        )
    if context.shape[1] < model.context_length:
        raise UserError(
            f"{type(model).__name__} expected at least {model.context_length} context frames, got "
            f"{context.shape[1]}."
        )
    check_mask(observed, context)


def check_mask(observed: Tensor | None, frames: Tensor) -> None:
    """Refuse a mask that is not one of these frames.

    Raises:
        UserError: another shape, or not boolean.
    """
    if observed is not None and (observed.shape != frames.shape or observed.dtype != torch.bool):
        raise UserError(
            f"expected a boolean observed mask of the shape of the frames, {tuple(frames.shape)}, "
            f"got one of shape {tuple(observed.shape)} and type {observed.dtype}."
        )


def fold(frames: Tensor, patch: int) -> Tensor:
    """Fold p x p pixels into channels, channel by channel: (B, T, C, H, W) -> (B, T, C p^2, H / p,
    W / p).
    """
    return F.pixel_unshuffle(frames.flatten(0, 1), patch).unflatten(0, frames.shape[:2])


def unfold(folded: Tensor, patch: int) -> Tensor:
    """(B, T, C p^2, H / p, W / p) -> (B, T, C, H, W); undoes ``fold``."""
    return F.pixel_shuffle(folded.flatten(0, 1), patch).unflatten(0, folded.shape[:2])


def without_autocast(device_type: str):
    """A context in which operations run in the types their tensors have; a device that knows no
    autocast needs none.

    Nor does a graph that is being made: ``nowcast.forecasting.export`` makes it without autocast,
    and each context would become a graph of its own.
    """
    if torch.compiler.is_exporting() or not torch.amp.is_autocast_available(device_type):
        return nullcontext()
    return torch.autocast(device_type, enabled=False)


def precisely(module: nn.Module, values: Tensor) -> Tensor:
    """A last layer in the type of its weights, also under autocast: bfloat16 would leave 8 bits of
    a forecast.
    """
    with without_autocast(values.device.type):
        return module(values.to(a_tensor_of(module).dtype))


def _padded(fields: Tensor, below: int, right: int, *, repeat: bool) -> Tensor:
    """Maps (N, C, H, W) with rows below and columns to the right: the outermost pixel again, or
    zeros.
    """
    if torch.compiler.is_exporting():
        return free_sizes.padded(fields, below, right, repeat=repeat)
    return F.pad(fields, (0, right, 0, below), mode="replicate" if repeat else "constant")


class Network(ForecastModel):
    """From context frames to the frames that follow; a subclass defines ``unroll``.

    Done here, once for every network: the call is checked; what was not observed is 0, whatever
    stood there; the mask becomes a second channel where asked for; frames are padded to a size the
    network can divide (the outermost pixels repeat, unobserved), its raw output is cut back and
    activated.

    Args:
        multiple: heights and widths are padded to multiples of it.
        output: "sigmoid" (values in (0, 1)) or "linear".
        observed_channel: give the network the observed mask as a second input channel.
        context_length: the number of context frames the network is made for, or 1 for any; of a
            longer context it sees the last ones.

    Attributes:
        channels: C of the frames ``unroll`` gets, 1 or 2.
    """

    SETTINGS: ClassVar[tuple[str, ...]] = ()
    """Attributes called as arguments of the subclass's constructor, to be shown beside those of
    this one.
    """

    def __init__(
        self, *, multiple: int, output: str, observed_channel: bool, context_length: int = 1
    ):
        super().__init__()
        if output not in OUTPUTS:
            raise UserError(f"output is {output!r}; accepted are {' and '.join(OUTPUTS)}.")
        check_at_least(1, context_length=context_length)
        self.multiple, self.output, self.context_length = multiple, output, context_length
        self.channels = 2 if observed_channel else 1
        self.capabilities = replace(self.capabilities, unit_range=output == "sigmoid")
        self.observed_channel = observed_channel

    def extra_repr(self) -> str:
        """What it was made with; what is the default is left out.

        A subclass names its settings in ``SETTINGS``.
        """
        return settings_text(self, *self.SETTINGS, "output", "observed_channel")

    def unroll(self, frames: Tensor, forecast_length: int) -> Tensor:
        """The network proper.

        Args:
            frames: (B, T, channels, H, W); H and W are multiples of ``multiple``.
            forecast_length: at least 1.

        Returns:
            (B, forecast_length, 1, H, W), before the activation.
        """
        raise NotImplementedError

    def forward(
        self,
        context: Tensor,
        forecast_length: int,
        observed: Tensor | None = None,
        scale: Scale | None = None,
    ) -> Prediction:
        """Predict the frames that follow.

        Args:
            context: (B, T, 1, H, W), normalised; any B, H, W, and any T that is at least
                ``context_length``.
            forecast_length: number of frames to predict, at least 1; need not be the one trained
                with.
            observed: boolean mask of the context's shape; None means all of it.
            scale: not looked at: a network knows the scale that it was trained with.

        Returns:
            A prediction of (B, forecast_length, 1, H, W), float32.

        Raises:
            UserError: a context of another shape, or too short a one, or a mask that is not of it.
        """
        check_context(self, context, forecast_length, observed)
        raw = self.unroll(self.frames(context, observed), forecast_length)
        return SingleField(self.finish(raw, *context.shape[-2:]))

    def frames(self, values: Tensor, observed: Tensor | None) -> Tensor:
        """What the network sees of frames: (B, T, 1, H, W) -> (B, T, channels, H', W'), H' and W'
        multiples of ``multiple``.
        """
        batch = values.shape[0]
        if observed is not None:
            values = torch.where(observed, values, 0.0)
        more = [free_sizes.missing(side, self.multiple) for side in values.shape[-2:]]
        padded = _padded(values.flatten(0, 1), *more, repeat=True)
        if self.channels == 2:
            mask = torch.ones_like(values) if observed is None else observed.to(values.dtype)
            padded = torch.cat([padded, _padded(mask.flatten(0, 1), *more, repeat=False)], dim=1)
        return padded.unflatten(0, (batch, -1))

    def finish(self, raw: Tensor, height: int, width: int) -> Tensor:
        """Raw output (..., H', W') -> values (..., height, width), float32."""
        exporting = torch.compiler.is_exporting()
        raw = (
            free_sizes.cropped(raw, height, width) if exporting else raw[..., :height, :width]
        ).float()
        return torch.sigmoid(raw) if self.output == "sigmoid" else raw

    def as_input(self, raw: Tensor) -> Tensor:
        """A raw output frame (B, 1, H', W') as the network's next input frame (B, channels, H',
        W'), all of it observed.
        """
        value = torch.sigmoid(raw) if self.output == "sigmoid" else raw
        return value if self.channels == 1 else torch.cat([value, torch.ones_like(value)], dim=1)

    def in_blocks(
        self, block: Callable[[Tensor], Tensor], frames: Tensor, forecast_length: int
    ) -> Tensor:
        """A forecast of any length where a fixed number of frames is predicted at once.

        Args:
            block: frames (B, T, C, H, W) -> raw frames that follow (B, steps, 1, H, W).
            frames: (B, T, C, H, W); fed-back frames push out the oldest of them.
            forecast_length: more than ``steps``: the network goes on from its own forecasts; fewer:
                cut.

        Returns:
            Raw (B, forecast_length, 1, H, W).
        """
        raw = [block(frames)]
        while len(raw) * raw[0].shape[1] < forecast_length:
            fed = self.as_input(raw[-1].flatten(0, 1)).unflatten(0, raw[-1].shape[:2])
            frames = torch.cat([frames, fed], dim=1)[:, -frames.shape[1] :]
            raw.append(block(frames))
        return torch.cat(raw, dim=1)[:, :forecast_length]
