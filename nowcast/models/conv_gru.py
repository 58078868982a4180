"""ConvGRU: a GRU whose products are convolutions, with the leaky candidate of Shi et al. 2017
(arXiv 1706.03458).

    r_t = sigmoid(Wr * x_t + b_Wr + Rr * h_{t-1} + b_Rr)
    u_t = sigmoid(Wu * x_t + b_Wu + Ru * h_{t-1} + b_Ru)
    c_t = leaky(Wc * x_t + b_Wc + r_t . (Rc * h_{t-1} + b_Rc))
    h_t = u_t . h_{t-1} + (1 - u_t) . c_t

* is a convolution with zero "same" padding, . a product by element, leaky(z) is z above 0 and 0.2 z
  below. A layer without
input has no W and b_W. Axes: B batch, T time, C input channels, F hidden channels, H rows, W
columns. The gates lie along the channel axis in the order r, u, c. What cells of other recurrent
connections share stands here, too.
"""

from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nowcast.models.convolutions import Conv2d, a_tensor_of, ordered_once, settings_text
from nowcast.models.network import check_at_least
from nowcast.runtime.errors import UserError
from nowcast.runtime.torch_private import call_is_forward

INPUT_KERNEL = 3
SLOPE = 0.2


def leaky(values: Tensor) -> Tensor:
    """The activation of the whole network."""
    return F.leaky_relu(values, SLOPE)


def initialise(module: nn.Module) -> None:
    """Start a convolution as the authors did: MXNet's MSRAPrelu, i.e. He et al. 2015 (arXiv
    1502.01852) with the mean of fan-in and fan-out.

    Written for ``nn.Module.apply``; other modules are left alone. Biases start at 0.
    """
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        first, second, *sides = module.weight.shape
        nn.init.normal_(
            module.weight, std=(2 / (1 + SLOPE**2) / ((first + second) / 2 * prod(sides))) ** 0.5
        )
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def gated(from_input: Tensor | None, from_state: Tensor, h: Tensor) -> Tensor:
    """The new hidden state (B, F, H, W) from the input's and the old state's shares of the gates,
    (B, 3F, H, W) each.
    """
    r, u, candidate = from_state.to(h.dtype).chunk(3, dim=1)
    if from_input is None:
        candidate = torch.sigmoid(r) * candidate
    else:
        x_r, x_u, x_candidate = from_input.to(h.dtype).chunk(3, dim=1)
        u = x_u + u
        candidate = x_candidate + torch.sigmoid(x_r + r) * candidate
    return torch.lerp(leaky(candidate), h, torch.sigmoid(u))


class GatedCell(nn.Module):
    """One step of a recurrence whose input convolutions can be made for all steps at once; a
    subclass defines ``convolve_input`` and ``step``.
    """

    def convolve_input(self, inputs: Tensor) -> Tensor:
        """The input's share, (N, C, H, W) -> (N, any, H, W), for any number of steps at once."""
        raise NotImplementedError

    def step(self, from_input: Tensor | None, h: Tensor) -> Tensor:
        """Advance h, (B, F, H, W), by one timestep; ``from_input`` comes from ``convolve_input``,
        or is None without an input.
        """
        raise NotImplementedError

    def forward(self, inputs: Tensor | None, h: Tensor) -> Tensor:
        """One step from an input frame (B, C, H, W), or from None where the cell has no input."""
        return self.step(None if inputs is None else self.convolve_input(inputs), h)


class ConvGRUCell(GatedCell):
    """One step of a ConvGRU.

    Args:
        input_channels: C of the input; 0 for a cell that has no input at all (a forecaster's first
            layer).
        hidden_channels: F.
        state_kernel: side of the convolution on the hidden state, odd; that on the input is 3x3.
        dilation: distance of the state kernel's points.
    """

    def __init__(
        self, input_channels: int, hidden_channels: int, *, state_kernel: int = 5, dilation: int = 1
    ):
        super().__init__()
        check_at_least(0, input_channels=input_channels)
        check_at_least(1, hidden_channels=hidden_channels, dilation=dilation)
        if state_kernel < 1 or state_kernel % 2 == 0:
            raise UserError(
                f"state_kernel is {state_kernel}, but a ConvGRU kernel needs an odd side (1, 3, "
                "5, ...) to keep the map's size."
            )
        self.input_channels, self.hidden_channels = input_channels, hidden_channels
        self.state_kernel, self.dilation = state_kernel, dilation
        gates, padding = 3 * hidden_channels, dilation * (state_kernel // 2)
        self.from_input = (
            Conv2d(input_channels, gates, INPUT_KERNEL, padding=INPUT_KERNEL // 2)
            if input_channels
            else None
        )
        self.from_state = Conv2d(
            hidden_channels, gates, state_kernel, padding=padding, dilation=dilation
        )
        self.apply(initialise)

    def extra_repr(self) -> str:
        """What it was made with; what is the default is left out."""
        return settings_text(self, "input_channels", "hidden_channels", "state_kernel", "dilation")

    def convolve_input(self, inputs: Tensor) -> Tensor:
        """The input's share of the gates, (N, C, H, W) -> (N, 3F, H, W), for any number of steps at
        once.
        """
        return self.from_input(inputs)

    def step(self, from_input: Tensor | None, h: Tensor) -> Tensor:
        """Advance h, (B, F, H, W), by one timestep; ``from_input`` is (B, 3F, H, W) from
        ``convolve_input``, or None without an input.
        """
        return gated(from_input, self.from_state(h), h)


def unroll(
    cell: nn.Module, inputs: Tensor | None, state: Tensor | None, length: int | None
) -> tuple[Tensor, Tensor]:
    """Run a cell over a sequence; the input convolutions of all steps run in one call before the
    recurrence.

    A cell with hooks is called once for every step instead.

    Args:
        cell: a ConvGRUCell or TrajGRUCell.
        inputs: (B, T, C, H, W), any B, T, H, W; None for a cell without an input.
        state: where to start, (B, F, H, W), float32 or wider; None for zeros. Needed where there is
            no input.
        length: number of steps, at least 1, where there is no input.

    Returns:
        Outputs of every step (B, T, F, H, W), and the final state, which is the last of them.

    Raises:
        UserError: inputs and settings do not go together.
    """
    name = type(cell).__name__
    if (inputs is None) != (cell.input_channels == 0):
        raise UserError(
            f"this {name} has {cell.input_channels} input channels, but "
            f"{'no input' if inputs is None else 'an input'} came."
        )
    if inputs is None:
        if state is None or length is None or length < 1:
            raise UserError(
                f"a {name} without input needs a state to start from and a length of at least 1."
            )
        frames = [None] * length
    else:
        if inputs.ndim != 5 or inputs.shape[2] != cell.input_channels:
            raise UserError(
                f"an input of shape {tuple(inputs.shape)} came; (B, T, {cell.input_channels}, H, "
                "W) is needed."
            )
        batch, length, _, height, width = inputs.shape
        if state is None:
            weight = a_tensor_of(cell)
            state = torch.zeros(
                batch, cell.hidden_channels, height, width, dtype=weight.dtype, device=weight.device
            )
        frames = inputs.unbind(1)
    # not a wrapper around it, nor one with hooks
    if isinstance(cell, GatedCell) and call_is_forward(cell):
        step = cell.step
        if inputs is not None:
            steps_first = inputs.transpose(0, 1).flatten(0, 1)
            frames = cell.convolve_input(steps_first).unflatten(0, (length, batch)).unbind(0)
    else:
        step = cell
    outputs = []
    with ordered_once():
        for frame in frames:
            state = step(frame, state)
            outputs.append(state)
    return torch.stack(outputs, dim=1), state


class ConvGRU(nn.Module):
    """A ConvGRU layer over a sequence; arguments as for ``ConvGRUCell``."""

    def __init__(
        self, input_channels: int, hidden_channels: int, *, state_kernel: int = 5, dilation: int = 1
    ):
        super().__init__()
        self.cell = ConvGRUCell(
            input_channels, hidden_channels, state_kernel=state_kernel, dilation=dilation
        )

    def forward(
        self, inputs: Tensor | None, state: Tensor | None = None, *, length: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Run the layer; arguments, returns and errors as for ``unroll``."""
        return unroll(self.cell, inputs, state, length)
