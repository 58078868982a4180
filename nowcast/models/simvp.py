"""SimVP with gated spatiotemporal attention (Gao et al. 2022, arXiv 2206.05099; Tan et al. 2022,
arXiv 2211.12509).

Time is no axis to its translator: the maps of all context frames are stacked as channels. Details
are those of the authors' OpenSTL (model type gSTA). Axes: B batch, T time, C channels, H rows, W
columns; S = spatial_channels.
"""

import math

import torch
from torch import Tensor, nn

from nowcast.models.convolutions import Conv2d, settings_text
from nowcast.models.network import Network, check_at_least, precisely
from nowcast.runtime.errors import UserError
from nowcast.runtime.torchvision_parts import torchvision_part

MLP_RATIO = 8
LAYER_SCALE = 1e-2
FIRST_DROP_PATH = 1e-2  # of the first block, whatever the last one's


class SimVP(Network):
    """Predict as many frames as it sees: a spatial encoder, a translator over all frames at once, a
    spatial decoder.

    Encoder and decoder are 3x3 convolutions on each frame, every second of them halving or doubling
    the map; the last decoder layer adds the first encoder layer's map. A longer forecast is made by
    feeding the network its own forecasts, a shorter one is cut.

    Args:
        context_length: frames it sees, of a longer context the last ones; also the frames it
            predicts at once.
        spatial_channels: S, even; OpenSTL's hid_S.
        hidden_channels: channels of the translator's blocks; OpenSTL's hid_T.
        spatial_layers: convolutions in the encoder and in the decoder, even; OpenSTL's N_S. Frames
            of any size are padded to a multiple of 2 to half this number and cut back.
        blocks: gated attention blocks in the translator, at least 2; OpenSTL's N_T.
        drop_path: how often the last block's residuals are left out in training. The rate changes
            evenly from 0.01 in the first block to this one, as in OpenSTL; 0 leaves out nothing
            (there, it is 0.01 in the first block even then).
        output: "sigmoid" (values in (0, 1)) or "linear".
        output_bias: where the last convolution's bias starts.
        observed_channel: give the network the observed mask as a second input channel.

    Raises:
        UserError: an odd number where an even one is needed, a drop_path outside [0, 1).
        MissingDependency: torchvision does not load.
    """

    SETTINGS = (
        "context_length",
        "spatial_channels",
        "hidden_channels",
        "spatial_layers",
        "blocks",
        "drop_path",
        "output_bias",
    )

    def __init__(
        self,
        *,
        context_length: int,
        spatial_channels: int = 64,
        hidden_channels: int = 512,
        spatial_layers: int = 4,
        blocks: int = 8,
        drop_path: float = 0.0,
        output: str = "sigmoid",
        output_bias: float = 0.0,
        observed_channel: bool = False,
    ):
        check_at_least(
            2, spatial_channels=spatial_channels, spatial_layers=spatial_layers, blocks=blocks
        )
        check_at_least(1, hidden_channels=hidden_channels)
        if spatial_channels % 2 or spatial_layers % 2:
            raise UserError(
                f"spatial_channels and spatial_layers are {spatial_channels} and "
                f"{spatial_layers}; both must be even."
            )
        if not 0 <= drop_path < 1:
            raise UserError(
                f"drop_path is {drop_path}, but a share of at least 0 and less than 1 is needed."
            )
        super().__init__(
            multiple=2 ** (spatial_layers // 2),
            output=output,
            observed_channel=observed_channel,
            context_length=context_length,
        )
        self.spatial_channels, self.hidden_channels, self.spatial_layers = (
            spatial_channels,
            hidden_channels,
            spatial_layers,
        )
        self.blocks, self.drop_path, self.output_bias = blocks, drop_path, output_bias
        inputs = [self.channels] + [spatial_channels] * (spatial_layers - 1)
        self.encoder = nn.ModuleList(
            spatial_layer(i, spatial_channels, stride=1 + index % 2)
            for index, i in enumerate(inputs)
        )
        self.decoder = nn.ModuleList(
            spatial_layer(spatial_channels, spatial_channels, enlarge=index % 2 == 0)
            for index in range(spatial_layers)
        )
        stacked = context_length * spatial_channels
        widths = [stacked, *[hidden_channels] * (blocks - 1), stacked]
        self.translator = nn.Sequential()
        for index in range(blocks):
            rate = (
                FIRST_DROP_PATH + (drop_path - FIRST_DROP_PATH) * index / (blocks - 1)
                if drop_path
                else 0.0
            )
            self.translator.append(GatedAttention(widths[index], rate))
            if widths[index] != widths[index + 1]:
                self.translator.append(nn.Conv2d(widths[index], widths[index + 1], 1))
        self.head = Conv2d(spatial_channels, 1, 1)
        nn.init.constant_(self.head.bias, output_bias)

    def unroll(self, frames: Tensor, forecast_length: int) -> Tensor:
        """(B, T, C, H, W) -> raw (B, forecast_length, 1, H, W)."""
        return self.in_blocks(self.block, frames[:, -self.context_length :], forecast_length)

    def block(self, frames: Tensor) -> Tensor:
        """(B, context_length, C, H, W) -> raw (B, context_length, 1, H, W)."""
        first = x = self.encoder[0](frames.flatten(0, 1))
        for layer in self.encoder[1:]:
            x = layer(x)
        stacked = x.unflatten(0, frames.shape[:2]).flatten(1, 2)  # B, T S, H', W'
        x = self.translator(stacked).unflatten(1, (frames.shape[1], -1)).flatten(0, 1)
        for layer in self.decoder[:-1]:
            x = layer(x)
        return precisely(self.head, self.decoder[-1](x + first)).unflatten(0, frames.shape[:2])


def spatial_layer(
    inputs: int, outputs: int, *, stride: int = 1, enlarge: bool = False
) -> nn.Sequential:
    """A 3x3 convolution, normalisation in two groups, SiLU; ``enlarge`` doubles the map by folding
    channels out.
    """
    convolution = Conv2d(inputs, 4 * outputs if enlarge else outputs, 3, stride=stride, padding=1)
    nn.init.trunc_normal_(convolution.weight, std=0.02)
    nn.init.zeros_(convolution.bias)
    fold_out = [nn.PixelShuffle(2)] if enlarge else []
    return nn.Sequential(convolution, *fold_out, nn.GroupNorm(2, outputs), nn.SiLU())


class GatedAttention(nn.Module):
    """Large-kernel gated attention, then a convolutional perceptron, each normalised, scaled and
    added to its input.

    Args:
        channels: of the input and of the output.
        drop_path: how often each of the two is left out of a sample in training.
    """

    def __init__(self, channels: int, drop_path: float):
        super().__init__()
        wide = MLP_RATIO * channels
        self.attention_norm = nn.BatchNorm2d(channels)
        self.enter = nn.Sequential(Conv2d(channels, channels, 1), nn.GELU())
        # 5x5 and then every third of 19x19 pixels: a 21x21 kernel in two cheap parts
        self.gate = nn.Sequential(
            Conv2d(channels, channels, 5, padding=2, groups=channels),
            Conv2d(channels, channels, 7, padding=9, dilation=3, groups=channels),
            Conv2d(channels, 2 * channels, 1),
        )
        self.leave = Conv2d(channels, channels, 1)
        self.attention_scale = nn.Parameter(torch.full((channels, 1, 1), LAYER_SCALE))
        self.perceptron_norm = nn.BatchNorm2d(channels)
        self.perceptron = nn.Sequential(
            Conv2d(channels, wide, 1),
            Conv2d(wide, wide, 3, padding=1, groups=wide),
            nn.GELU(),
            Conv2d(wide, channels, 1),
        )
        self.perceptron_scale = nn.Parameter(torch.full((channels, 1, 1), LAYER_SCALE))
        operators = torchvision_part("ops", "the model SimVP")
        self.drop_path, self.channels = operators.StochasticDepth(drop_path, "row"), channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = module.weight[0, 0].numel() * module.out_channels // module.groups
                nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
                nn.init.zeros_(module.bias)

    def extra_repr(self) -> str:
        """What it was made with; its drop_path is a module, and shown as one."""
        return settings_text(self, "channels")

    def attention(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W): the input plus what passes the gate."""
        values, gate = self.gate(self.enter(x)).chunk(2, dim=1)
        return x + self.leave(values * torch.sigmoid(gate))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        x = x + self.drop_path(self.attention_scale * self.attention(self.attention_norm(x)))
        return x + self.drop_path(self.perceptron_scale * self.perceptron(self.perceptron_norm(x)))
