"""The encoder-forecaster of the HKO-7 benchmark (Shi et al. 2017, arXiv 1706.03458), of ConvGRU or
TrajGRU layers.

Axes: B batch, T time, C channels, H rows, W columns.
"""

from math import prod

import torch
from torch import Tensor, nn

from nowcast.models import free_sizes
from nowcast.models.conv_gru import ConvGRU, initialise, leaky
from nowcast.models.convolutions import Conv2d, ConvTranspose2d, settings_text
from nowcast.models.network import Network, check_at_least, precisely
from nowcast.models.traj_gru import TrajGRU
from nowcast.runtime.errors import UserError


class Hko7EncoderForecaster(Network):
    """Encode the context on ever coarser maps, forecast from the coarsest map back to the frame.

    Encoder, from the frame: strided convolution, recurrent layer, strided convolution, recurrent
    layer, ... Forecaster, from the top: recurrent layer without an input, transposed convolution,
    recurrent layer, transposed convolution, ..., and on the full map a 3x3 and a 1x1 convolution.
    Each of the forecaster's recurrent layers starts from the final state of the encoder's layer on
    the same map. LeakyReLU 0.2 follows every convolution but the last one.

    All lists have one entry per recurrent layer, from the frame up; frames are padded to a multiple
    of the product of the strides.

    Args:
        hidden_channels: of the recurrent layers.
        state_kernels: ConvGRU layers: side and dilation of the convolution on the hidden state.
            None for TrajGRU layers.
        links: TrajGRU layers: the number of flows. None for ConvGRU layers.
        down: kernel, stride and padding of the convolution below each recurrent layer of the
            encoder.
        up: kernel, stride and padding of the transposed convolution below each recurrent layer of
            the forecaster.
        frame_channels: channels of the first strided convolution, and of the convolutions on the
            forecaster's full map.
        coordinates: let the network see, beside the frame, the position of every pixel in the
            (padded) frame, x and y from -1 to 1, and a plane of ones, in whose place the observed
            mask stands where there is one: 4 channels either way.
        output: "sigmoid" (values in (0, 1)) or "linear" (as in the paper).
        output_bias: where the last bias starts, 0 in the paper; -5 under a sigmoid starts with
            almost empty frames.
        observed_channel: give the network the observed mask as an input channel.

    Raises:
        UserError: lists that do not fit together.
    """

    def __init__(
        self,
        hidden_channels: list[int],
        *,
        state_kernels: list[list[int]] | None,
        links: list[int] | None,
        down: list[list[int]],
        up: list[list[int]],
        frame_channels: int = 8,
        coordinates: bool = True,
        output: str = "sigmoid",
        output_bias: float = 0.0,
        observed_channel: bool = False,
    ):
        _check_layers(hidden_channels, state_kernels, links, down, up)
        check_at_least(1, hidden_channels=hidden_channels, frame_channels=frame_channels)
        super().__init__(
            multiple=prod(stride for _, stride, _ in down),
            output=output,
            observed_channel=observed_channel,
        )
        self.hidden_channels, self.state_kernels, self.links = (
            list(hidden_channels),
            state_kernels,
            links,
        )
        self.stages = {"down": down, "up": up}
        self.frame_channels, self.coordinates, self.output_bias = (
            frame_channels,
            coordinates,
            output_bias,
        )

        def layer(index: int, inputs: int) -> nn.Module:
            if links is not None:
                return TrajGRU(inputs, hidden_channels[index], links=links[index])
            side, dilation = state_kernels[index]
            return ConvGRU(inputs, hidden_channels[index], state_kernel=side, dilation=dilation)

        layers = range(len(hidden_channels))
        first = 4 if coordinates else self.channels
        between = [
            frame_channels,
            *hidden_channels[1:],
        ]  # channels between a recurrent layer and the map below it, both ways
        self.down = nn.ModuleList(
            Conv2d(inputs, between[i], *down[i])
            for i, inputs in enumerate([first, *hidden_channels[:-1]])
        )
        self.encoder = nn.ModuleList(layer(i, between[i]) for i in layers)
        self.forecaster = nn.ModuleList(
            layer(i, inputs) for i, inputs in enumerate([*between[1:], 0])
        )
        self.up = nn.ModuleList(
            ConvTranspose2d(hidden_channels[i], between[i], *up[i], bias=False) for i in layers
        )
        self.smooth = Conv2d(frame_channels, frame_channels, 3, padding=1)
        self.head = Conv2d(frame_channels, 1, 1)
        for part in (self.down, self.up, self.smooth, self.head):
            part.apply(initialise)
        nn.init.constant_(self.head.bias, output_bias)

    def extra_repr(self) -> str:
        """What it was made with; what is the default is left out."""
        names = (
            "hidden_channels",
            "state_kernels",
            "links",
            "frame_channels",
            "coordinates",
            "output",
            "output_bias",
            "observed_channel",
        )
        return settings_text(self, *names, **self.stages)

    def unroll(self, frames: Tensor, forecast_length: int) -> Tensor:
        """(B, T, C, H, W) -> raw (B, forecast_length, 1, H, W)."""
        batch = frames.shape[0]
        sequence = self.with_coordinates(frames) if self.coordinates else frames
        states = []
        for down, layer in zip(self.down, self.encoder, strict=True):
            sequence, state = layer(leaky(down(sequence.flatten(0, 1))).unflatten(0, (batch, -1)))
            states.append(state)
        sequence = None
        for up, layer, state in reversed(list(zip(self.up, self.forecaster, states, strict=True))):
            sequence, _ = layer(sequence, state, length=forecast_length)
            sequence = leaky(up(sequence.flatten(0, 1))).unflatten(0, (batch, -1))
        return precisely(self.head, leaky(self.smooth(sequence.flatten(0, 1)))).unflatten(
            0, (batch, -1)
        )

    def with_coordinates(self, frames: Tensor) -> Tensor:
        """(B, T, C, H, W) -> (B, T, 4, H, W): value, x, y, and the observed mask or ones."""
        value = frames[:, :, :1]
        mask = frames[:, :, 1:] if self.channels == 2 else torch.ones_like(value)
        places = free_sizes.places if torch.compiler.is_exporting() else _places
        x, y = places(frames.shape[-1], frames), places(frames.shape[-2], frames)[:, None]
        return torch.cat([value, x.expand_as(value), y.expand_as(value), mask], dim=2)


def _places(number: int, like: Tensor) -> Tensor:
    """Numbers from -1 to 1, (number,), of the type and device of a tensor."""
    return torch.linspace(-1, 1, number, device=like.device, dtype=like.dtype)


def _check_layers(
    hidden_channels: list, state_kernels: list | None, links: list | None, down: list, up: list
) -> None:
    """Refuse lists that do not describe a network.

    Raises:
        UserError: says which.
    """
    if (state_kernels is None) == (links is None):
        raise UserError(
            f"state_kernels is {state_kernels} and links is {links}; "
            "give the one for ConvGRU layers or the other for TrajGRU layers, and null for the "
            "rest."
        )
    name, cells = ("state_kernels", state_kernels) if links is None else ("links", links)
    lengths = [len(entries) for entries in (hidden_channels, cells, down, up)]
    if len(set(lengths)) > 1:
        raise UserError(
            f"hidden_channels, {name}, down and up have {lengths} entries; they need one each "
            "per layer."
        )
    for kernel in state_kernels or []:
        if len(kernel) != 2:
            raise UserError(
                f"state_kernels has an entry {kernel}, but [side, dilation] is needed, e.g. [5, 1]."
            )
    for smaller, larger in zip(down, up, strict=True):
        if not (
            _is_stage(smaller)
            and _is_stage(larger)
            and smaller[1] == larger[1] == larger[0] - 2 * larger[2]
        ):
            raise UserError(
                f"down has a stage {smaller} and up {larger}; each is [kernel, stride, padding], "
                "both of one stride, kernel - 2 * padding being the "
                "stride in up and 1 to the stride in down, so that a map is divided by the "
                "stride and multiplied again, e.g. [3, 2, 1] and [4, 2, 1]."
            )


def _is_stage(stage: list[int]) -> bool:
    """Whether it is [kernel, stride, padding] of a convolution that divides a map's side by its
    stride.
    """
    return len(stage) == 3 and stage[2] >= 0 and 1 <= stage[0] - 2 * stage[2] <= stage[1]
