"""ConvLSTM: an LSTM whose products are convolutions (Shi et al. 2015, arXiv 1506.04214).

    i_t = sigmoid(Wxi * x_t + Whi * h_{t-1} + w_ci . c_{t-1} + b_i)
    f_t = sigmoid(Wxf * x_t + Whf * h_{t-1} + w_cf . c_{t-1} + b_f)
    c_t = f_t . c_{t-1} + i_t . tanh(Wxc * x_t + Whc * h_{t-1} + b_c)
    o_t = sigmoid(Wxo * x_t + Who * h_{t-1} + w_co . c_t + b_o)
    h_t = o_t . tanh(c_t)

* is a convolution with zero "same" padding, . a product by element. Axes: B batch, T time, C input channels,
F hidden channels, H rows, W columns. The four gates lie along the channel axis in the order i, f, c, o.
The peepholes w are one number per hidden channel, so that a layer runs at any height and width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nowcast.errors import UserError

State = tuple[Tensor, Tensor]
"""Hidden state h and cell state c, both (B, F, H, W); c is always float32 or wider."""


class ConvLSTMCell(nn.Module):
    """One step of a ConvLSTM.

    Args:
        input_channels: C of the input; 0 for a cell that has no input at all (an unconditioned forecaster's first layer).
        hidden_channels: F.
        input_kernel: side of the convolution on the input, odd; unused without an input.
        state_kernel: side of the convolution on the hidden state, odd.
        peephole: let the gates see the cell state, by one weight per hidden channel.

    Weights start uniform in +-1/sqrt(their input channels), biases and peepholes at 0, as in the paper.
    """

    def __init__(self, input_channels: int, hidden_channels: int, *, input_kernel: int = 5, state_kernel: int = 5, peephole: bool = True):
        super().__init__()
        for name, side in (("input_kernel", input_kernel), ("state_kernel", state_kernel)):
            if side < 1 or side % 2 == 0:
                raise UserError(f"{name} is {side}, but a ConvLSTM kernel needs an odd side (1, 3, 5, ...) to keep the map's size.")
        if input_channels < 0 or hidden_channels < 1:
            raise UserError(f"a ConvLSTM needs input_channels >= 0 and hidden_channels >= 1; {input_channels} and {hidden_channels} came.")
        self.input_channels, self.hidden_channels = input_channels, hidden_channels
        gates = 4 * hidden_channels
        shape = (gates, input_channels, input_kernel, input_kernel)
        self.input_weight = nn.Parameter(torch.empty(shape)) if input_channels else None
        self.state_weight = nn.Parameter(torch.empty(gates, hidden_channels, state_kernel, state_kernel))
        self.bias = nn.Parameter(torch.zeros(gates))
        self.peephole = nn.Parameter(torch.zeros(3, hidden_channels)) if peephole else None
        for weight in (self.input_weight, self.state_weight):
            if weight is not None:
                nn.init.uniform_(weight, -(weight.shape[1] ** -0.5), weight.shape[1] ** -0.5)

    def convolve_input(self, inputs: Tensor) -> Tensor:
        """The input's share of the gates, bias included: (N, C, H, W) -> (N, 4F, H, W), for any number of steps at once."""
        return F.conv2d(inputs, self.input_weight, self.bias, padding=self.input_weight.shape[-1] // 2)

    def initial_state(self, batch: int, height: int, width: int) -> State:
        """A zero state on the device of the weights."""
        zeros = self.bias.new_zeros(batch, self.hidden_channels, height, width)
        return zeros, zeros

    def step(self, from_input: Tensor, state: State) -> State:
        """Advance one timestep.

        Args:
            from_input: (B, 4F, H, W) from ``convolve_input``, or (4F, 1, 1): the bias alone.
            state: h and c, (B, F, H, W) each.

        Returns:
            The new state; its h is the cell's output.
        """
        h, c = state
        gates = F.conv2d(h, self.state_weight, padding=self.state_weight.shape[-1] // 2) + from_input
        i, f, g, o = gates.to(c.dtype).chunk(4, dim=1)
        if self.peephole is not None:
            w_i, w_f, w_o = self.peephole[:, :, None, None]
            i, f = i + w_i * c, f + w_f * c
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        if self.peephole is not None:
            o = o + w_o * c
        return torch.sigmoid(o) * torch.tanh(c), c

    def forward(self, inputs: Tensor | None, state: State) -> State:
        """One step from an input frame (B, C, H, W), or from None where the cell has no input."""
        return self.step(self.bias[:, None, None] if inputs is None else self.convolve_input(inputs), state)


class ConvLSTM(nn.Module):
    """A ConvLSTM layer over a sequence; arguments as for ``ConvLSTMCell``.

    The input convolutions of all steps run in one call before the recurrence.
    """

    def __init__(self, input_channels: int, hidden_channels: int, *, input_kernel: int = 5, state_kernel: int = 5, peephole: bool = True):
        super().__init__()
        self.cell = ConvLSTMCell(
            input_channels, hidden_channels, input_kernel=input_kernel, state_kernel=state_kernel, peephole=peephole
        )

    def forward(self, inputs: Tensor | None, state: State | None = None, *, length: int | None = None) -> tuple[Tensor, State]:
        """Run the layer.

        Args:
            inputs: (B, T, C, H, W), any B, T, H, W; None for a layer without an input.
            state: where to start; None for zeros. Needed where there is no input.
            length: number of steps where there is no input; 0 gives no outputs and the state unchanged.

        Returns:
            Outputs of every step (B, T, F, H, W), and the final state.

        Raises:
            UserError: inputs and settings do not go together.
        """
        if (inputs is None) != (self.cell.input_channels == 0):
            raise UserError(f"this ConvLSTM has {self.cell.input_channels} input channels, but {'no input' if inputs is None else 'an input'} came.")
        if inputs is None:
            if state is None or length is None:
                raise UserError("a ConvLSTM without input needs a state to start from and a length.")
            from_inputs = [self.cell.bias[:, None, None]] * length
        else:
            if inputs.ndim != 5 or inputs.shape[2] != self.cell.input_channels:
                raise UserError(f"an input of shape {tuple(inputs.shape)} came; (B, T, {self.cell.input_channels}, H, W) is needed.")
            batch, length, _, height, width = inputs.shape
            steps_first = inputs.transpose(0, 1).reshape(length * batch, -1, height, width)
            from_inputs = self.cell.convolve_input(steps_first).unflatten(0, (length, batch)).unbind(0)
            state = state or self.cell.initial_state(batch, height, width)
        outputs = []
        for from_input in from_inputs:
            state = self.cell.step(from_input, state)
            outputs.append(state[0])
        if not outputs:
            return state[0].unsqueeze(1)[:, :0], state
        return torch.stack(outputs, dim=1), state
