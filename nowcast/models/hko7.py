"""The encoder-forecaster of the HKO-7 benchmark (Shi et al. 2017, arXiv 1706.03458), of ConvLSTM,
ConvGRU or TrajGRU layers.

Axes: B batch, T time, C channels, H rows, W columns; p is the patch size.
"""

from collections.abc import Callable
from math import prod

import torch
from torch import Tensor, nn

from nowcast.models import free_sizes
from nowcast.models.conv_gru import ConvGRU, initialise, leaky
from nowcast.models.convlstm.layer import ConvLSTM
from nowcast.models.convolutions import Conv2d, ConvTranspose2d, settings_text
from nowcast.models.network import Network, check_at_least, fold, precisely, unfold
from nowcast.models.traj_gru import TrajGRU
from nowcast.runtime.errors import UserError

_LSTM_INPUT_KERNEL = 3  # of ConvLSTM layers, as of the paper's ConvGRU layers


class Hko7EncoderForecaster(Network):
    """Encode the context on ever coarser maps, forecast from the coarsest map back to the frame.

    Encoder, from the frame: strided convolution, recurrent layer, strided convolution, recurrent
    layer, ... Forecaster, from the top: recurrent layer without an input, transposed convolution,
    recurrent layer, transposed convolution, ..., and on the full map a 3x3 and a 1x1 convolution.
    Each of the forecaster's recurrent layers starts from the final state of the encoder's layer on
    the same map. LeakyReLU 0.2 follows every convolution but the last one.

    All lists have one entry per recurrent layer, from the frame up; frames are padded to a multiple
    of the patch size times the product of the strides. All layers are of one kind: one of
    ``lstm_kernels``, ``state_kernels`` and ``links`` is given. The paper has ConvGRU and TrajGRU
    layers and no patches.

    Args:
        hidden_channels: of the recurrent layers.
        state_kernels: ConvGRU layers: side and dilation of the convolution on the hidden state.
        links: TrajGRU layers: the number of flows.
        lstm_kernels: ConvLSTM layers, as in ``nowcast.models.convlstm``: side of the convolution on
            the hidden state.
        down: kernel, stride and padding of the convolution below each recurrent layer of the
            encoder.
        up: kernel, stride and padding of the transposed convolution below each recurrent layer of
            the forecaster.
        frame_channels: channels of the first strided convolution, and of the convolutions on the
            forecaster's full map.
        patch: p; frames are folded p x p into channels first, so that the full map has as many
            fewer rows and columns, and unfolded last.
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

    SETTINGS = (
        "hidden_channels",
        "state_kernels",
        "links",
        "lstm_kernels",
        "frame_channels",
        "patch",
        "coordinates",
        "output_bias",
    )

    def __init__(
        self,
        hidden_channels: list[int],
        *,
        state_kernels: list[list[int]] | None = None,
        links: list[int] | None = None,
        lstm_kernels: list[int] | None = None,
        down: list[list[int]],
        up: list[list[int]],
        frame_channels: int = 8,
        patch: int = 1,
        coordinates: bool = True,
        output: str = "sigmoid",
        output_bias: float = 0.0,
        observed_channel: bool = False,
    ):
        kinds = {"state_kernels": state_kernels, "links": links, "lstm_kernels": lstm_kernels}
        _check_layers(hidden_channels, kinds, down, up)
        check_at_least(
            1, hidden_channels=hidden_channels, frame_channels=frame_channels, patch=patch
        )
        super().__init__(
            multiple=patch * prod(stride for _, stride, _ in down),
            output=output,
            observed_channel=observed_channel,
        )
        self.hidden_channels, self.stages = list(hidden_channels), {"down": down, "up": up}
        self.state_kernels, self.links, self.lstm_kernels = state_kernels, links, lstm_kernels
        self.frame_channels, self.patch = frame_channels, patch
        self.coordinates, self.output_bias = coordinates, output_bias

        layers = range(len(hidden_channels))
        first = (4 if coordinates else self.channels) * patch**2
        # channels between a recurrent layer and the map below it, both ways
        between = [frame_channels, *hidden_channels[1:]]
        self.down = nn.ModuleList(
            Conv2d(inputs, between[i], *down[i])
            for i, inputs in enumerate([first, *hidden_channels[:-1]])
        )
        self.encoder = nn.ModuleList(self._layer(i, between[i]) for i in layers)
        self.forecaster = nn.ModuleList(
            self._layer(i, inputs) for i, inputs in enumerate([*between[1:], 0])
        )
        self.up = nn.ModuleList(
            ConvTranspose2d(hidden_channels[i], between[i], *up[i], bias=False) for i in layers
        )
        self.smooth = Conv2d(frame_channels, frame_channels, 3, padding=1)
        self.head = Conv2d(frame_channels, patch**2, 1)
        for part in (self.down, self.up, self.smooth, self.head):
            part.apply(initialise)
        nn.init.constant_(self.head.bias, output_bias)

    @property
    def label(self) -> str:
        """The kind of its layers."""
        if self.lstm_kernels is not None:
            return "ConvLSTM"
        return "TrajGRU" if self.links is not None else "ConvGRU"

    def _layer(self, index: int, inputs: int) -> nn.Module:
        """A recurrent layer of the map of that number, with so many input channels."""
        hidden = self.hidden_channels[index]
        if self.lstm_kernels is not None:
            side = self.lstm_kernels[index]
            return ConvLSTM(inputs, hidden, input_kernel=_LSTM_INPUT_KERNEL, state_kernel=side)
        if self.links is not None:
            return TrajGRU(inputs, hidden, links=self.links[index])
        side, dilation = self.state_kernels[index]
        return ConvGRU(inputs, hidden, state_kernel=side, dilation=dilation)

    def extra_repr(self) -> str:
        """What it was made with; what is the default is left out."""
        return settings_text(self, *self.SETTINGS, "output", "observed_channel", **self.stages)

    def unroll(self, frames: Tensor, forecast_length: int) -> Tensor:
        """(B, T, C, H, W) -> raw (B, forecast_length, 1, H, W)."""
        sequence = self.with_coordinates(frames) if self.coordinates else frames
        if self.patch > 1:
            sequence = fold(sequence, self.patch)
        states = []
        for down, layer in zip(self.down, self.encoder, strict=True):
            sequence, state = layer(_frame_by_frame(sequence, down, leaky))
            states.append(state)
        sequence = None
        for up, layer, state in reversed(list(zip(self.up, self.forecaster, states, strict=True))):
            sequence, _ = layer(sequence, state, length=forecast_length)
            sequence = _frame_by_frame(sequence, up, leaky)
        raw = _frame_by_frame(sequence, self._read)
        return unfold(raw, self.patch) if self.patch > 1 else raw

    def _read(self, maps: Tensor) -> Tensor:
        """The full map (N, C, H, W) -> raw frames, folded (N, p^2, H, W)."""
        return precisely(self.head, leaky(self.smooth(maps)))

    def with_coordinates(self, frames: Tensor) -> Tensor:
        """(B, T, C, H, W) -> (B, T, 4, H, W): value, x, y, and the observed mask or ones."""
        value = frames[:, :, :1]
        mask = frames[:, :, 1:] if self.channels == 2 else torch.ones_like(value)
        places = free_sizes.places if torch.compiler.is_exporting() else _places
        x, y = places(frames.shape[-1], frames), places(frames.shape[-2], frames)[:, None]
        return torch.cat([value, x.expand_as(value), y.expand_as(value), mask], dim=2)


def _frame_by_frame(sequence: Tensor, *parts: Callable[[Tensor], Tensor]) -> Tensor:
    """Parts of a network on each frame of a sequence, one part after the other.

    Time goes before the batch: in this order recurrent layers read and write, so that nothing is
    copied on the way from one to the next.

    Args:
        sequence: (B, T, C, H, W).
        parts: maps (T B, ...) -> maps (T B, ...).

    Returns:
        (B, T, C', H', W').
    """
    batch = sequence.shape[0]
    maps = sequence.transpose(0, 1).flatten(0, 1)
    for part in parts:
        maps = part(maps)
    return maps.unflatten(0, (-1, batch)).transpose(0, 1)


def _places(number: int, like: Tensor) -> Tensor:
    """Numbers from -1 to 1, (number,), of the type and device of a tensor."""
    return torch.linspace(-1, 1, number, device=like.device, dtype=like.dtype)


def _check_layers(
    hidden_channels: list, kinds: dict[str, list | None], down: list, up: list
) -> None:
    """Refuse lists that do not describe a network.

    Args:
        hidden_channels: of the layers.
        kinds: the settings of each kind of layer, of which one is used.
        down: stages of the encoder.
        up: stages of the forecaster.

    Raises:
        UserError: says which.
    """
    given = [name for name, entries in kinds.items() if entries is not None]
    if len(given) != 1:
        values = ", ".join(f"{name} is {entries}" for name, entries in kinds.items())
        raise UserError(
            f"{values}; give state_kernels for ConvGRU layers, links for TrajGRU layers or "
            "lstm_kernels for ConvLSTM layers, and null for the rest."
        )
    name = given[0]
    lengths = [len(entries) for entries in (hidden_channels, kinds[name], down, up)]
    if len(set(lengths)) > 1:
        raise UserError(
            f"hidden_channels, {name}, down and up have {lengths} entries; they need one each "
            "per layer."
        )
    for kernel in kinds["state_kernels"] or []:
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
