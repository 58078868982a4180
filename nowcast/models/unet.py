"""U-Net (Ronneberger et al. 2015, arXiv 1505.04597) as a nowcasting network: context frames in,
forecast frames out, as channels.

Time is no axis to it; convolutions at several resolutions join all frames at once (Agrawal et al.
2019, arXiv 1912.12132; Trebing et al. 2021, arXiv 2007.04417). Axes: B batch, T time, C channels, H
rows, W columns.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nowcast.models.convolutions import Conv2d, ConvTranspose2d
from nowcast.models.network import Network, check_at_least, precisely

GROUP = 16  # channels normalised together, the best number of Wu and He 2018 (arXiv 1803.08494)


class UNet(Network):
    """Predict ``steps`` frames at once from the last ``context_length`` frames by one U-Net.

    Each level is two 3x3 convolutions, each with group normalisation (of one sample: no batch is
    too small) and ReLU. Between levels the map is halved by a maximum and doubled by a transposed
    2x2 convolution, the channels go the other way, and the map of the way down is put beside the
    one on the way up. A 1x1 convolution gives the frames. A longer forecast is made by feeding the
    network its own forecasts, a shorter one is cut.

    Args:
        context_length: frames it sees; of a longer context the last ones.
        steps: frames it predicts at once.
        base_channels: channels of the first level; every further level has twice as many.
        levels: how often the map is halved; frames of any size are padded to a multiple of 2 to
            this power and cut back.
        output: "sigmoid" (values in (0, 1)) or "linear".
        output_bias: where the last convolution's bias starts.
        observed_channel: give the network the observed mask of every frame as a further input
            channel.
    """

    label = "U-Net"
    SETTINGS = ("context_length", "steps", "base_channels", "levels", "output_bias")

    def __init__(
        self,
        *,
        context_length: int,
        steps: int,
        base_channels: int = 64,
        levels: int = 4,
        output: str = "sigmoid",
        output_bias: float = 0.0,
        observed_channel: bool = False,
    ):
        check_at_least(1, steps=steps, base_channels=base_channels, levels=levels)
        super().__init__(
            multiple=2**levels,
            output=output,
            observed_channel=observed_channel,
            context_length=context_length,
        )
        self.steps, self.base_channels, self.levels, self.output_bias = (
            steps,
            base_channels,
            levels,
            output_bias,
        )
        widths = [base_channels * 2**level for level in range(levels + 1)]
        inputs = [context_length * self.channels, *widths[:-1]]
        self.down = nn.ModuleList(
            double_convolution(i, o) for i, o in zip(inputs, widths, strict=True)
        )
        self.enlarge = nn.ModuleList(
            ConvTranspose2d(2 * width, width, 2, stride=2) for width in widths[-2::-1]
        )
        self.up = nn.ModuleList(double_convolution(2 * width, width) for width in widths[-2::-1])
        self.head = Conv2d(base_channels, steps, 1)
        nn.init.constant_(self.head.bias, output_bias)

    def unroll(self, frames: Tensor, forecast_length: int) -> Tensor:
        """(B, T, C, H, W) -> raw (B, forecast_length, 1, H, W)."""
        return self.in_blocks(self.block, frames[:, -self.context_length :], forecast_length)

    def block(self, frames: Tensor) -> Tensor:
        """(B, context_length, C, H, W) -> raw (B, steps, 1, H, W)."""
        x = self.down[0](frames.flatten(1, 2))
        skipped = []
        for level in self.down[1:]:
            skipped.append(x)
            x = level(F.max_pool2d(x, 2))
        for enlarge, level in zip(self.enlarge, self.up, strict=True):
            x = level(torch.cat([skipped.pop(), enlarge(x)], dim=1))
        return precisely(self.head, x).unsqueeze(2)


def double_convolution(inputs: int, outputs: int) -> nn.Sequential:
    """Twice a 3x3 convolution, normalisation (16 channels together, or all where 16 does not divide
    them) and ReLU.
    """
    groups = 1 if outputs % GROUP else outputs // GROUP
    layers = []
    for channels in (inputs, outputs):  # a normalisation has a bias of its own
        layers += [
            Conv2d(channels, outputs, 3, padding=1, bias=False),
            nn.GroupNorm(groups, outputs),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers)
