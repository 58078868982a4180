"""FC-LSTM: the fully connected LSTM that Shi et al. 2015 (arXiv 1506.04214) compare their ConvLSTM
with.

    i_t = sigmoid(Wxi x_t + Whi h_{t-1} + w_ci . c_{t-1} + b_i)
    f_t = sigmoid(Wxf x_t + Whf h_{t-1} + w_cf . c_{t-1} + b_f)
    c_t = f_t . c_{t-1} + i_t . tanh(Wxc x_t + Whc h_{t-1} + b_c)
    o_t = sigmoid(Wxo x_t + Who h_{t-1} + w_co . c_t + b_o)
    h_t = o_t . tanh(c_t)

W are full matrices, . is a product by element: the peepholes w are diagonal, one number per unit.
Axes: B batch, T time, C channels, H rows, W columns, D inputs, F hidden units. The four gates lie
along one axis in the order i, f, c, o.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nowcast.models.convolutions import settings_text
from nowcast.models.network import Network, check_at_least, precisely
from nowcast.models.tiles import cut, put_together

State = tuple[Tensor, Tensor]
"""Hidden state h and cell state c, both (B, F); c is always float32 or wider."""


class FCLSTMLayer(nn.Module):
    """A fully connected LSTM layer over a sequence.

    Args:
        inputs: D; 0 for a layer that has no input at all (an unconditioned forecaster's first
            layer).
        units: F.

    Weights start uniform in +-1/sqrt(their inputs), biases and peepholes at 0, as in the paper.
    """

    def __init__(self, inputs: int, units: int):
        super().__init__()
        self.inputs, self.units = inputs, units
        self.input_weight = nn.Parameter(torch.empty(4 * units, inputs)) if inputs else None
        self.state_weight = nn.Parameter(torch.empty(4 * units, units))
        self.bias = nn.Parameter(torch.zeros(4 * units))
        self.peephole = nn.Parameter(torch.zeros(3, units))
        self.reset_parameters()

    def extra_repr(self) -> str:
        """What it was made with."""
        return settings_text(self, "inputs", "units")

    def reset_parameters(self) -> None:
        """Draw the weights anew, e.g. after ``to_empty``, from torch's generator."""
        nn.init.zeros_(self.bias)
        nn.init.zeros_(self.peephole)
        for weight in (self.input_weight, self.state_weight):
            if weight is not None:
                nn.init.uniform_(weight, -(weight.shape[1] ** -0.5), weight.shape[1] ** -0.5)

    def step(self, from_input: Tensor, state: State, weight: Tensor, peephole: Tensor) -> State:
        """Advance one timestep.

        Args:
            from_input: the input's share of the gates, bias included: (B, 4F) or (4F,).
            state: h and c, (B, F) each.
            weight: (4F, F), the layer's own, read once a sequence: a parametrization computes it
                whenever it is asked for.
            peephole: (3, F), the same.

        Returns:
            The new state; its h is the layer's output.
        """
        h, c = state
        gates = F.linear(h, weight) + from_input
        i, f, g, o = gates.to(c.dtype).chunk(4, dim=1)
        w_i, w_f, w_o = peephole
        c = torch.sigmoid(f + w_f * c) * c + torch.sigmoid(i + w_i * c) * torch.tanh(g)
        return (torch.sigmoid(o + w_o * c) * torch.tanh(c)).to(weight.dtype), c

    def forward(
        self, inputs: Tensor | None, state: State | None, length: int
    ) -> tuple[Tensor, State]:
        """Run the layer.

        Args:
            inputs: (B, T, D); None for a layer without an input.
            state: where to start; None for zeros.
            length: T; 0 gives no outputs and the state unchanged.

        Returns:
            Outputs of every step (B, T, F), and the final state.
        """
        bias, weight, peephole = self.bias, self.state_weight, self.peephole
        if state is None:
            zeros = torch.zeros(
                inputs.shape[0], self.units, dtype=weight.dtype, device=weight.device
            )
            state = (zeros, zeros.to(torch.promote_types(zeros.dtype, torch.float32)))
        if length == 0:
            return state[0].unsqueeze(1)[:, :0], state
        if inputs is None:
            from_inputs = [bias] * length
        else:  # the products of all steps in one call, before the recurrence
            from_inputs = F.linear(inputs, self.input_weight, bias).unbind(1)
        outputs = []
        for from_input in from_inputs:
            state = self.step(from_input, state, weight, peephole)
            outputs.append(state[0])
        return torch.stack(outputs, dim=1), state


class FCLSTM(Network):
    """Encoder-forecaster of fully connected LSTM layers, whose units see every pixel alike and know
    no neighbourhood.

    The forecaster's layers come in the encoder's order and start from its final states, layer by
    layer; the first of them has no input. A fully connected layer over the last layer's hidden
    state gives a frame; the first frame is read from the encoder's final state, so T frames take T
    - 1 forecaster steps.

    Its matrices fix the size of what it sees. Frames of another size, such as radar images, are cut
    into tiles, which are forecast each on its own and put together again: any height and width
    works (padded to whole tiles), but nothing moves from one tile into the next.

    Args:
        hidden_channels: units of every layer; the paper's FC-LSTM-2048-2048 is [2048, 2048].
        tile: side of a tile in pixels; 64 takes Moving MNIST whole, as in the paper.
        output: "sigmoid" (values in (0, 1)) or "linear".
        output_bias: where the head's bias starts.
        observed_channel: give the network the observed mask as a second input channel.
    """

    label = "FC-LSTM"
    SETTINGS = ("hidden_channels", "tile", "output_bias")

    def __init__(
        self,
        hidden_channels: list[int],
        *,
        tile: int = 64,
        output: str = "sigmoid",
        output_bias: float = 0.0,
        observed_channel: bool = False,
    ):
        check_at_least(1, hidden_channels=hidden_channels, tile=tile)
        super().__init__(multiple=tile, output=output, observed_channel=observed_channel)
        self.hidden_channels, self.tile, self.output_bias = list(hidden_channels), tile, output_bias

        def stack(first: int) -> nn.ModuleList:
            inputs = [first, *hidden_channels[:-1]]
            return nn.ModuleList(
                FCLSTMLayer(i, units) for i, units in zip(inputs, hidden_channels, strict=True)
            )

        self.encoder = stack(self.channels * tile**2)
        self.forecaster = stack(0)
        self.head = nn.Linear(hidden_channels[-1], tile**2)
        nn.init.uniform_(
            self.head.weight, -(self.head.in_features**-0.5), self.head.in_features**-0.5
        )
        nn.init.constant_(self.head.bias, output_bias)

    def unroll(self, frames: Tensor, forecast_length: int) -> Tensor:
        """(B, T, C, H, W) -> raw (B, forecast_length, 1, H, W)."""
        sequence = cut(frames, self.tile).flatten(2)
        states = []
        for layer in self.encoder:
            sequence, state = layer(sequence, None, frames.shape[1])
            states.append(state)
        first = states[-1][0].unsqueeze(1)
        sequence = None
        for layer, state in zip(self.forecaster, states, strict=True):
            sequence, _ = layer(sequence, state, forecast_length - 1)
        raw = precisely(self.head, torch.cat([first, sequence], dim=1))
        return put_together(raw.unflatten(2, (1, self.tile, self.tile)), *frames.shape[-2:])
