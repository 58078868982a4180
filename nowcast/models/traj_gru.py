"""TrajGRU: a GRU whose recurrent connections follow flows it makes itself (Shi et al. 2017, arXiv
1706.03458).

    U_t = Fo * leaky(Fx * x_t + Fh * h_{t-1} + b_F) + b_o
    R h = sum over l of R_l warp(h_{t-1}, U_{t,l}) + b_R
    r, u, c and h_t: as in ``conv_gru``, with this R h in place of R * h_{t-1} + b_R

U has 2L channels: L flows of two components, in pixels; R_l are 1x1 convolutions.

Where a ConvGRU looks at k x k fixed neighbours, a TrajGRU looks at L places of its own choice
(links). F* are 5x5 convolutions; Fo starts at 0, so a fresh layer is a GRU with 1x1 connections.
Axes as in ``conv_gru``.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nowcast.models.conv_gru import INPUT_KERNEL, GatedCell, gated, initialise, leaky, unroll
from nowcast.models.convolutions import Conv2d, settings_text
from nowcast.models.network import check_at_least

FLOW_CHANNELS = 32
FLOW_KERNEL = 5


def warp(values: Tensor, flow: Tensor) -> Tensor:
    """Move a map along flows: the pixel at (row, column) comes from (row - flow's y, column -
    flow's x), bilinearly, 0 outside.

    So a flow is a motion, as in the authors' code (equation 4 of the paper has the other sign). A
    flow of 0 is the identity: bit by bit where the sides are powers of two, else to the rounding of
    positions that grid_sample wants between -1 and 1.

    Args:
        values: (B, F, H, W).
        flow: (B, 2L, H, W) in pixels, in the order x1, y1, x2, y2, ...; x to the right, y down.

    Returns:
        (B, F, L, H, W).
    """
    height, width = values.shape[-2:]
    flow = flow.to(values.dtype)
    # Positions in units of the map's sides, corners outside the outermost pixels: unlike
    # align_corners=True this needs no division
    # by W - 1, so maps one pixel wide work.
    columns = torch.arange(width, device=flow.device, dtype=flow.dtype) + 0.5
    rows = torch.arange(height, device=flow.device, dtype=flow.dtype)[:, None] + 0.5
    x = 2 / width * (columns - flow[:, 0::2]) - 1
    y = 2 / height * (rows - flow[:, 1::2]) - 1
    grid = torch.stack([x, y], dim=-1).flatten(
        1, 2
    )  # (B, L H, W, 2): all flows in one call, the map is not copied L times
    return F.grid_sample(values, grid, align_corners=False).unflatten(2, (-1, height))


class TrajGRUCell(GatedCell):
    """One step of a TrajGRU.

    Args:
        input_channels: C of the input; 0 for a cell that has no input at all (a forecaster's first
            layer).
        hidden_channels: F.
        links: L, the number of flows.
    """

    def __init__(self, input_channels: int, hidden_channels: int, *, links: int = 13):
        super().__init__()
        check_at_least(0, input_channels=input_channels)
        check_at_least(1, hidden_channels=hidden_channels, links=links)
        self.input_channels, self.hidden_channels, self.links = (
            input_channels,
            hidden_channels,
            links,
        )
        self.gates = 3 * hidden_channels
        flow_kernel = {"kernel_size": FLOW_KERNEL, "padding": FLOW_KERNEL // 2}
        self.from_input = (
            Conv2d(input_channels, self.gates, INPUT_KERNEL, padding=INPUT_KERNEL // 2)
            if input_channels
            else None
        )
        self.from_state = Conv2d(links * hidden_channels, self.gates, 1)
        self.flow_from_input = (
            Conv2d(input_channels, FLOW_CHANNELS, **flow_kernel) if input_channels else None
        )
        self.flow_from_state = Conv2d(hidden_channels, FLOW_CHANNELS, **flow_kernel)
        self.flow_output = Conv2d(FLOW_CHANNELS, 2 * links, **flow_kernel)
        self.apply(initialise)
        nn.init.zeros_(self.flow_output.weight)

    def extra_repr(self) -> str:
        """What it was made with; what is the default is left out."""
        return settings_text(self, "input_channels", "hidden_channels", "links")

    def convolve_input(self, inputs: Tensor) -> Tensor:
        """The input's share of gates and flow network, (N, C, H, W) -> (N, 3F + 32, H, W), for any
        number of steps at once.
        """
        return torch.cat([self.from_input(inputs), self.flow_from_input(inputs)], dim=1)

    def flows(self, from_input: Tensor | None, h: Tensor) -> Tensor:
        """The flows (B, 2L, H, W) along which h moves; ``from_input`` is the input's share (B, 32,
        H, W) or None.
        """
        features = self.flow_from_state(h)
        return self.flow_output(leaky(features if from_input is None else from_input + features))

    def step(self, from_input: Tensor | None, h: Tensor) -> Tensor:
        """Advance h, (B, F, H, W), by one timestep; ``from_input`` comes from ``convolve_input``,
        or is None without an input.
        """
        gates, features = (
            (None, None)
            if from_input is None
            else from_input.split([self.gates, FLOW_CHANNELS], dim=1)
        )
        linked = warp(h, self.flows(features, h)).flatten(1, 2)  # channel f L + l
        return gated(gates, self.from_state(linked), h)


class TrajGRU(nn.Module):
    """A TrajGRU layer over a sequence; arguments as for ``TrajGRUCell``."""

    def __init__(self, input_channels: int, hidden_channels: int, *, links: int = 13):
        super().__init__()
        self.cell = TrajGRUCell(input_channels, hidden_channels, links=links)

    def forward(
        self, inputs: Tensor | None, state: Tensor | None = None, *, length: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Run the layer; arguments, returns and errors as for ``conv_gru.unroll``."""
        return unroll(self.cell, inputs, state, length)
