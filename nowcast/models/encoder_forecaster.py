"""The encoder-forecaster of Shi et al. 2015, figure 3, made of ConvLSTM layers.

Axes: B batch, M member, T time, C channels, H rows, W columns; p is the patch size, C' = C p^2 the
channels of a folded frame.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nowcast.models.base import Capabilities
from nowcast.models.convlstm.cell import State
from nowcast.models.convlstm.layer import ConvLSTM
from nowcast.models.convolutions import Conv2d
from nowcast.models.network import (
    Network,
    check_at_least,
    check_context,
    fold,
    precisely,
    unfold,
    without_autocast,
)
from nowcast.models.prediction import DrawnEnsemble, Prediction
from nowcast.runtime.torch_private import call_is_forward
from nowcast.types.scale import Scale

_USUAL_MEMBERS = 20  # as many as pysteps' STEPS has, of which means and probabilities are made


class EncoderForecaster(Network):
    """Encode the context into the states of a stack of ConvLSTM layers, unroll a second stack from
    them.

    Frames are folded p x p into channels. The forecaster's layers come in the encoder's order and
    start from its final states, layer by layer; the first of them has no input. A 1x1 convolution
    over the hidden states of all layers gives a frame; the first frame is read from the encoder's
    final states, so T frames take T - 1 forecaster steps.

    Args:
        hidden_channels: one number per layer, e.g. [128, 64, 64].
        input_kernel: side of the input convolutions.
        state_kernel: side of the convolutions on the hidden state.
        patch: p; frames of any size are padded to a multiple of it and cut back.
        peephole, norm_groups, forget_bias, initialisation, checkpoint: of every layer, as in
            ``ConvLSTM``.
        dropout: share of each layer's input that is dropped in training; each gate has its own
            mask, constant over time.
        state_noise: standard deviation, to begin with, of the noise by which members differ, on the
            encoder's final states; it is then learnt for every channel of h and c. 0 for a network
            without members.
        output: "sigmoid" (values in (0, 1)) or "linear".
        output_bias: where the head's bias starts. 0 in the paper; -5 under a sigmoid starts with
            almost empty frames, which a network would else spend its first hundreds of steps to
            learn.
        observed_channel: give the network the observed mask as a second input channel.
    """

    label = "ConvLSTM"
    SETTINGS = ("hidden_channels", "patch", "state_noise", "output_bias")
    capabilities = Capabilities(any_length=True)

    def __init__(
        self,
        hidden_channels: list[int],
        *,
        input_kernel: int = 5,
        state_kernel: int = 5,
        patch: int = 4,
        peephole: bool = True,
        norm_groups: int = 0,
        forget_bias: float = 0.0,
        dropout: float = 0.0,
        initialisation: str = "paper",
        checkpoint: int = 0,
        state_noise: float = 0.0,
        output: str = "sigmoid",
        output_bias: float = 0.0,
        observed_channel: bool = False,
    ):
        check_at_least(1, hidden_channels=hidden_channels, patch=patch)
        check_at_least(0, state_noise=state_noise)
        super().__init__(multiple=patch, output=output, observed_channel=observed_channel)
        self.patch, self.hidden_channels, self.state_noise, self.output_bias = (
            patch,
            list(hidden_channels),
            state_noise,
            output_bias,
        )
        layer = {
            "input_kernel": input_kernel,
            "state_kernel": state_kernel,
            "peephole": peephole,
            "norm_groups": norm_groups,
        }
        layer |= {
            "forget_bias": forget_bias,
            "dropout": dropout,
            "initialisation": initialisation,
            "checkpoint": checkpoint,
        }

        def stack(first: int) -> nn.ModuleList:
            inputs = [first, *hidden_channels[:-1]]
            return nn.ModuleList(
                ConvLSTM(i, hidden, **layer)
                for i, hidden in zip(inputs, hidden_channels, strict=True)
            )

        self.encoder = stack(self.channels * patch**2)
        self.forecaster = stack(0)
        self.head = Conv2d(sum(hidden_channels), patch**2, 1)
        nn.init.uniform_(
            self.head.weight, -(self.head.in_channels**-0.5), self.head.in_channels**-0.5
        )
        nn.init.constant_(self.head.bias, output_bias)
        noises = (
            [torch.full((2, hidden), float(state_noise)) for hidden in hidden_channels]
            if state_noise
            else []
        )
        self.noise = nn.ParameterList(noises)
        self.capabilities = replace(self.capabilities, members=bool(state_noise))

    def unroll(self, frames: Tensor, forecast_length: int) -> Tensor:
        """(B, T, C, H, W) -> raw (B, forecast_length, 1, H, W)."""
        return self._decode(self._encode(frames), forecast_length)

    def forward(
        self,
        context: Tensor,
        forecast_length: int,
        observed: Tensor | None = None,
        scale: Scale | None = None,
    ) -> Prediction:
        """As ``Network.forward``; a network with state noise predicts members, which differ by the
        noise on the states that they start from, beside the forecast without noise.
        """
        if not len(self.noise):
            return super().forward(context, forecast_length, observed)
        check_context(self, context, forecast_length, observed)
        states, size = self._encode(self.frames(context, observed)), context.shape[-2:]

        def best() -> Tensor:
            return self.finish(self._decode(states, forecast_length), *size)

        def draw(members: int, generator: torch.Generator | None) -> Tensor:
            raw = self._decode(self._noisy(states, members, generator), forecast_length)
            return self.finish(raw.unflatten(0, (len(context), members)), *size)

        return DrawnEnsemble(draw, _USUAL_MEMBERS, best)

    def _noisy(
        self, states: list[State], members: int, generator: torch.Generator | None
    ) -> list[State]:
        """States (B, F, H', W') of each layer, with noise: (B M, F, H', W')."""
        found = []
        for state, scales in zip(states, self.noise, strict=True):
            noisy = []
            for values, scale in zip(state, scales, strict=True):
                many = values.repeat_interleave(members, dim=0)
                noise = torch.empty_like(many).normal_(generator=generator)
                noisy.append(many + scale[:, None, None] * noise)
            found.append(tuple(noisy))
        return found

    def _encode(self, frames: Tensor) -> list[State]:
        """(B, T, C, H, W) -> the final state of each layer."""
        sequence = fold(frames, self.patch)
        states = []
        for layer in self.encoder:
            sequence, state = layer(sequence)
            states.append(state)
        return states

    def _decode(self, states: list[State], forecast_length: int) -> Tensor:
        """States to start from -> raw (B, forecast_length, 1, H, W)."""
        first, rest, sequence = [], [], None
        for state, layer in zip(states, self.forecaster, strict=True):
            sequence, _ = layer(sequence, state, length=forecast_length - 1)
            first.append(state[0])
            rest.append(sequence.flatten(0, 1))
        batch = first[0].shape[0]
        raw = [
            self._read(first).unsqueeze(1),
            self._read(rest).unflatten(0, (batch, forecast_length - 1)),
        ]
        return unfold(torch.cat(raw, dim=1), self.patch)

    def _read(self, hidden: list[Tensor]) -> Tensor:
        """The head on hidden states of all layers (N, F, H, W), without laying them side by side
        first -> (N, p^2, H, W).
        """
        if type(self.head) is not Conv2d or not call_is_forward(
            self.head
        ):  # it is more than its weights
            return precisely(self.head, torch.cat(hidden, dim=1))
        weights = self.head.weight.flatten(1).split([part.shape[1] for part in hidden], dim=1)
        with without_autocast(
            hidden[0].device.type
        ):  # channels lie last, so that a 1x1 convolution is a matrix product
            parts = [
                F.linear(part.movedim(1, -1).to(weight.dtype), weight)
                for part, weight in zip(hidden, weights, strict=True)
            ]
        return (sum(parts) + self.head.bias).movedim(-1, 1)
