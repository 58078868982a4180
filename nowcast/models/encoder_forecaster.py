"""The encoder-forecaster of Shi et al. 2015, figure 3, made of ConvLSTM layers.

Axes: B batch, T time, C channels, H rows, W columns; p is the patch size, C' = C p^2 the channels of a folded frame.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nowcast.models.convlstm import ConvLSTM
from nowcast.models.network import Network, at_least


class EncoderForecaster(Network):
    """Encode the context into the states of a stack of ConvLSTM layers, unroll a second stack from them.

    Frames are folded p x p into channels. The forecaster's layers come in the encoder's order and start from its final
    states, layer by layer; the first of them has no input. A 1x1 convolution over the hidden states of all layers gives
    a frame; the first frame is read from the encoder's final states, so T frames take T - 1 forecaster steps.

    Args:
        hidden_channels: one number per layer, e.g. [128, 64, 64].
        input_kernel: side of the input convolutions.
        state_kernel: side of the convolutions on the hidden state.
        patch: p; frames of any size are padded to a multiple of it and cut back.
        peephole: as in ``ConvLSTMCell``.
        output: "sigmoid" (values in (0, 1)) or "linear".
        output_bias: where the head's bias starts. 0 in the paper; -5 under a sigmoid starts with almost empty frames, which
            a network would else spend its first hundreds of steps to learn.
        observed_channel: give the network the observed mask as a second input channel.
    """

    def __init__(
        self,
        hidden_channels: list[int],
        *,
        input_kernel: int = 5,
        state_kernel: int = 5,
        patch: int = 4,
        peephole: bool = True,
        output: str = "sigmoid",
        output_bias: float = 0.0,
        observed_channel: bool = False,
    ):
        at_least(1, hidden_channels=hidden_channels, patch=patch)
        super().__init__(multiple=patch, output=output, observed_channel=observed_channel)
        self.patch = patch
        kernels = {"input_kernel": input_kernel, "state_kernel": state_kernel, "peephole": peephole}

        def stack(first: int) -> nn.ModuleList:
            inputs = [first, *hidden_channels[:-1]]
            return nn.ModuleList(ConvLSTM(i, hidden, **kernels) for i, hidden in zip(inputs, hidden_channels, strict=True))

        self.encoder = stack(self.channels * patch**2)
        self.forecaster = stack(0)
        self.head = nn.Conv2d(sum(hidden_channels), patch**2, 1)
        nn.init.uniform_(self.head.weight, -(self.head.in_channels**-0.5), self.head.in_channels**-0.5)
        nn.init.constant_(self.head.bias, output_bias)
        self.to(memory_format=torch.channels_last)  # the layout convolutions are fast in, on CPUs and GPUs

    def unroll(self, frames: Tensor, forecast_length: int) -> Tensor:
        """(B, T, C, H, W) -> raw (B, forecast_length, 1, H, W)."""
        sequence = F.pixel_unshuffle(frames.flatten(0, 1), self.patch).unflatten(0, frames.shape[:2])
        states = []
        for layer in self.encoder:
            sequence, state = layer(sequence)
            states.append(state)
        hidden = [h.unsqueeze(1) for h, _ in states]
        sequence = None
        for index, layer in enumerate(self.forecaster):
            sequence, _ = layer(sequence, states[index], length=forecast_length - 1)
            hidden[index] = torch.cat([hidden[index], sequence], dim=1)
        raw = self.head(torch.cat(hidden, dim=2).flatten(0, 1))
        return F.pixel_shuffle(raw, self.patch).unflatten(0, (-1, forecast_length))
