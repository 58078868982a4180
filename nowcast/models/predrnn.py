"""PredRNN: LSTM layers that share a second memory, which zigzags through them (Wang et al. 2022,
arXiv 2103.09504).

    i = sigmoid(Wxi * x + Whi * h)        i' = sigmoid(Wxi' * x + Wmi * m)
    f = sigmoid(Wxf * x + Whf * h + 1)    f' = sigmoid(Wxf' * x + Wmf * m + 1)
    g = tanh(Wxg * x + Whg * h)           g' = tanh(Wxg' * x + Wmg * m)
    c <- f . c + i . g                    m <- f' . m + i' . g'
    o = sigmoid(Wxo * x + Who * h + Wco * [c, m])
    h <- o . tanh(W1 * [c, m])

h and c are of the layer and the step before, m comes from the layer below at the same step, and in
the lowest layer from the top one at the step before. * is a convolution with zero "same" padding
(W1 is 1x1), . a product by element. Axes: B batch, T time, C channels, F hidden channels, H rows, W
columns. Along the channels of a convolution's output the gates lie in the order i, f, g, i', f',
g', o, as in the authors' code (thuml/predrnn-pytorch) and in OpenSTL.
"""

import torch
from torch import Tensor, nn

from nowcast.models.autoregressive import Autoregressive, head
from nowcast.models.convolutions import Conv2d, a_tensor_of, settings_text
from nowcast.models.network import check_at_least, precisely
from nowcast.runtime.errors import UserError

FORGET_BIAS = 1.0
"""Constant added in both forget gates: memories begin by keeping most of what they hold."""

State = tuple[list[tuple[Tensor, Tensor]], Tensor]
"""h and c of every layer, and the memory m the top layer left; all (B, F, H, W) and float32 or
wider.
"""


class SpatioTemporalCell(nn.Module):
    """One step of one layer.

    Args:
        input_channels: C of the input.
        hidden_channels: F of h, c and m.
        kernel: side of the convolutions.
        layer_norm: normalise what every k x k convolution gives over channels and map, as an option
            of the authors' code. Theirs learns a gain and a bias for each pixel, which ties a
            network to one size of frame; here they are for each channel.
    """

    def __init__(
        self,
        input_channels: int,
        hidden_channels: int,
        *,
        kernel: int = 5,
        layer_norm: bool = False,
    ):
        super().__init__()

        def convolution(inputs: int, gates: int) -> nn.Module:
            outputs = gates * hidden_channels
            plain = Conv2d(inputs, outputs, kernel, padding="same", bias=False)
            return nn.Sequential(plain, nn.GroupNorm(1, outputs)) if layer_norm else plain

        self.input_channels, self.hidden_channels, self.kernel, self.layer_norm = (
            input_channels,
            hidden_channels,
            kernel,
            layer_norm,
        )
        self.from_input = convolution(input_channels, 7)
        self.from_hidden = convolution(hidden_channels, 4)
        self.from_memory = convolution(hidden_channels, 3)
        self.from_memories = convolution(2 * hidden_channels, 1)
        self.merge = Conv2d(2 * hidden_channels, hidden_channels, 1, bias=False)

    def extra_repr(self) -> str:
        """What it was made with; what is the default is left out."""
        return settings_text(self, "input_channels", "hidden_channels", "kernel", "layer_norm")

    def forward(
        self, inputs: Tensor, h: Tensor, c: Tensor, m: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Input (B, C, H, W) and the states (B, F, H, W) -> the new h, c and m."""
        one, three = self.hidden_channels, 3 * self.hidden_channels
        x_c, x_m, x_o = self.from_input(inputs).to(c.dtype).split([three, three, one], dim=1)
        h_c, h_o = self.from_hidden(h).to(c.dtype).split([three, one], dim=1)
        c = _update(c, x_c + h_c)
        m = _update(m, x_m + self.from_memory(m).to(c.dtype))
        memories = torch.cat([c, m], dim=1)
        o = torch.sigmoid(x_o + h_o + self.from_memories(memories).to(c.dtype))
        return o * torch.tanh(self.merge(memories).to(c.dtype)), c, m


def _update(memory: Tensor, gates: Tensor) -> Tensor:
    """An LSTM's memory (B, F, H, W) one step further, by its gates before their activation (B, 3F,
    H, W).
    """
    i, f, g = gates.chunk(3, dim=1)
    return torch.sigmoid(f + FORGET_BIAS) * memory + torch.sigmoid(i) * torch.tanh(g)


class PredRNN(Autoregressive):
    """Layers of spatio-temporal LSTM cells and a 1x1 convolution from the hidden state of the top
    one to the next frame.

    The loss that keeps the two memories apart in PredRNN-v2 (memory decoupling) is left out, as in
    OpenSTL's PredRNN; its reverse scheduled sampling is ``sampling="reverse"``. The authors feed
    back their output without an activation (``output="linear"``).

    Args:
        hidden_channels: one number per layer, all the same, since m passes through all layers, e.g.
            [128, 128, 128, 128].
        kernel: side of the convolutions.
        patch: p; frames are folded p x p into channels.
        layer_norm: as in ``SpatioTemporalCell``.
        sampling, sampling_until: how training meets the truth, see ``Autoregressive``.
        output: "sigmoid" (values in (0, 1)) or "linear".
        output_bias: where the bias of the last convolution starts; None for none, as in OpenSTL.
        observed_channel: give the network the observed mask as a second input channel.
    """

    SETTINGS = ("hidden_channels", "kernel", "layer_norm", *Autoregressive.SETTINGS, "output_bias")

    def __init__(
        self,
        hidden_channels: list[int],
        *,
        kernel: int = 5,
        patch: int = 4,
        layer_norm: bool = False,
        sampling: str = "forward",
        sampling_until: float = 0.625,
        output: str = "sigmoid",
        output_bias: float | None = 0.0,
        observed_channel: bool = False,
    ):
        check_at_least(1, hidden_channels=hidden_channels, kernel=kernel)
        if len(set(hidden_channels)) > 1:
            raise UserError(
                f"hidden_channels is {hidden_channels}, but all layers of a PredRNN share a "
                "memory; give each the same number."
            )
        super().__init__(
            patch=patch,
            sampling=sampling,
            sampling_until=sampling_until,
            output=output,
            observed_channel=observed_channel,
        )
        self.hidden_channels, self.kernel, self.layer_norm, self.output_bias = (
            list(hidden_channels),
            kernel,
            layer_norm,
            output_bias,
        )
        inputs = [self.folded_channels, *hidden_channels[:-1]]
        cells = (
            SpatioTemporalCell(i, hidden, kernel=kernel, layer_norm=layer_norm)
            for i, hidden in zip(inputs, hidden_channels, strict=True)
        )
        self.cells = nn.ModuleList(cells)
        self.head = head(hidden_channels[-1], patch, output_bias)

    def initial_state(self, batch: int, height: int, width: int) -> State:
        """Zeros for every layer and for m."""
        weight = a_tensor_of(self.head)
        zeros = torch.zeros(
            batch, self.hidden_channels[0], height, width, dtype=weight.dtype, device=weight.device
        )
        return [(zeros, zeros) for _ in self.cells], zeros

    def step(self, frame: Tensor, state: State) -> tuple[Tensor, State]:
        """A folded frame and the state -> the next frame, raw, and the new state."""
        layers, m = state
        hidden, new = frame, []
        for cell, (h, c) in zip(self.cells, layers, strict=True):
            hidden, c, m = cell(hidden, h, c, m)
            new.append((hidden, c))
        return precisely(self.head, hidden), (new, m)
