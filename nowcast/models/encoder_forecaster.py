"""The encoder-forecaster of Shi et al. 2015, figure 3, made of ConvLSTM layers.

Axes: B batch, T time, C channels, H rows, W columns; p is the patch size, C' = C p^2 the channels of a folded frame.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nowcast.errors import UserError
from nowcast.models.convlstm import ConvLSTM


class EncoderForecaster(nn.Module):
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
        super().__init__()
        if not hidden_channels:
            raise UserError("hidden_channels is empty; give one number per layer, e.g. [64, 64].")
        if output not in ("sigmoid", "linear"):
            raise UserError(f"output is {output!r}; accepted are sigmoid and linear.")
        if patch < 1:
            raise UserError(f"patch is {patch}; it must be at least 1.")
        self.patch, self.output, self.observed_channel = patch, output, observed_channel
        folded = (2 if observed_channel else 1) * patch**2
        kernels = {"input_kernel": input_kernel, "state_kernel": state_kernel, "peephole": peephole}

        def stack(first: int) -> nn.ModuleList:
            inputs = [first, *hidden_channels[:-1]]
            return nn.ModuleList(ConvLSTM(i, hidden, **kernels) for i, hidden in zip(inputs, hidden_channels, strict=True))

        self.encoder = stack(folded)
        self.forecaster = stack(0)
        self.head = nn.Conv2d(sum(hidden_channels), patch**2, 1)
        nn.init.uniform_(self.head.weight, -(self.head.in_channels**-0.5), self.head.in_channels**-0.5)
        nn.init.constant_(self.head.bias, output_bias)
        self.to(memory_format=torch.channels_last)  # the layout convolutions are fast in, on CPUs and GPUs

    def forward(self, context: Tensor, forecast_length: int, observed: Tensor | None = None) -> Tensor:
        """Predict the frames that follow.

        Args:
            context: (B, T, 1, H, W), normalised; any B, T, H, W.
            forecast_length: number of frames to predict, at least 1; need not be the one trained with.
            observed: boolean mask of the context's shape; None means all of it.

        Returns:
            (B, forecast_length, 1, H, W), float32.
        """
        if context.ndim != 5 or context.shape[2] != 1 or forecast_length < 1:
            raise UserError(
                f"a context of shape {tuple(context.shape)} and a forecast length of {forecast_length} came; "
                "(B, T, 1, H, W) and at least 1 are needed."
            )
        height, width = context.shape[-2:]
        sequence = self._fold(context, observed)
        states = []
        for layer in self.encoder:
            sequence, state = layer(sequence)
            states.append(state)
        hidden = [h.unsqueeze(1) for h, _ in states]
        sequence = None
        for index, layer in enumerate(self.forecaster):
            sequence, _ = layer(sequence, states[index], length=forecast_length - 1)
            hidden[index] = torch.cat([hidden[index], sequence], dim=1)
        frames = self.head(torch.cat(hidden, dim=2).flatten(0, 1)).float()
        frames = F.pixel_shuffle(frames, self.patch)[..., :height, :width].unflatten(0, (-1, forecast_length))
        return torch.sigmoid(frames) if self.output == "sigmoid" else frames

    def _fold(self, context: Tensor, observed: Tensor | None) -> Tensor:
        """(B, T, 1, H, W) -> (B, T, C', ceil(H/p), ceil(W/p)); beyond the edge the outermost pixels repeat, unobserved."""
        batch = context.shape[0]
        below, right = (-context.shape[-2] % self.patch, -context.shape[-1] % self.patch)
        frames = F.pad(context.flatten(0, 1), (0, right, 0, below), mode="replicate")
        if self.observed_channel:
            mask = torch.ones_like(context) if observed is None else observed.to(context.dtype)
            frames = torch.cat([frames, F.pad(mask.flatten(0, 1), (0, right, 0, below))], dim=1)
        return F.pixel_unshuffle(frames, self.patch).unflatten(0, (batch, -1))
