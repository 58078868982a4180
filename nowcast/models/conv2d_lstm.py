"""A stack of Conv2D layers and an LSTM: convolutions see each frame, a memory without convolution
joins the frames.

Axes: B batch, T time, C channels, H rows, W columns; N tiles, U hidden units, c and s channels and
side of the smallest map.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from nowcast.models.convolutions import Conv2d, ConvTranspose2d, a_tensor_of
from nowcast.models.network import Network, check_at_least
from nowcast.models.tiles import cut, put_together
from nowcast.runtime.errors import UserError

SLOPE = 0.2  # of the leaky ReLUs


class Conv2dLSTM(Network):
    """Strided convolutions frame by frame, an LSTM over the flattened maps, transposed convolutions
    back to frames.

    The convolutions are the same for every frame and know nothing of time; the LSTM, PyTorch's own,
    knows nothing of where a pixel lies. Encoder and forecaster are two LSTMs with weights of their
    own. The forecaster starts from the encoder's final states, layer by layer, and gets at every
    step the same input: the encoder's last hidden state, the summary of the context. It never sees
    its own frames.

    Flattening fixes the size of what it sees. Frames of another size, such as radar images, are cut
    into tiles, which are forecast each on its own and put together again: any height and width
    works (padded to whole tiles), but nothing moves from one tile into the next.

    Args:
        conv_channels: channels of the encoder's 3x3 convolutions of stride 2, e.g. [16, 32, 32,
            16]; each halves the map, and the decoder's 4x4 transposed convolutions go the way back.
        hidden_units: U, of every LSTM layer.
        layers: LSTM layers in the encoder, and in the forecaster.
        tile: side of a tile in pixels, a multiple of 2 to the number of convolutions.
        output: "sigmoid" (values in (0, 1)) or "linear".
        output_bias: where the last convolution's bias starts.
        observed_channel: give the network the observed mask as a second input channel.
    """

    label = "Conv2D-LSTM"
    SETTINGS = ("conv_channels", "hidden_units", "layers", "tile", "output_bias")

    def __init__(
        self,
        conv_channels: list[int],
        *,
        hidden_units: int,
        layers: int = 1,
        tile: int = 64,
        output: str = "sigmoid",
        output_bias: float = 0.0,
        observed_channel: bool = False,
    ):
        check_at_least(
            1, conv_channels=conv_channels, hidden_units=hidden_units, layers=layers, tile=tile
        )
        super().__init__(multiple=tile, output=output, observed_channel=observed_channel)
        self.tile, shrink = tile, 2 ** len(conv_channels)
        self.conv_channels, self.hidden_units, self.layers, self.output_bias = (
            list(conv_channels),
            hidden_units,
            layers,
            output_bias,
        )
        if tile % shrink:
            raise UserError(
                f"tile is {tile}, but {len(conv_channels)} strided convolutions need a multiple "
                f"of {shrink}; change it, or the number of conv_channels."
            )
        channels, side = conv_channels[-1], tile // shrink
        self.convolutions = nn.Sequential()
        for i, o in pairwise([self.channels, *conv_channels]):
            self.convolutions.extend([Conv2d(i, o, 3, stride=2, padding=1), nn.LeakyReLU(SLOPE)])
        self.encoder = nn.LSTM(channels * side**2, hidden_units, layers, batch_first=True)
        self.forecaster = nn.LSTM(hidden_units, hidden_units, layers, batch_first=True)
        self.decoder = nn.Sequential(
            nn.Linear(hidden_units, channels * side**2), nn.Unflatten(1, (channels, side, side))
        )
        for i, o in pairwise([*reversed(conv_channels), 1]):
            self.decoder.extend(
                [nn.LeakyReLU(SLOPE), ConvTranspose2d(i, o, 4, stride=2, padding=1)]
            )
        nn.init.constant_(self.decoder[-1].bias, output_bias)

    def unroll(self, frames: Tensor, forecast_length: int) -> Tensor:
        """(B, T, C, H, W) -> raw (B, forecast_length, 1, H, W)."""
        tiles = cut(frames, self.tile)
        maps = self.convolutions(tiles.flatten(0, 1))  # N T, c, s, s
        _, (h, c) = remember(self.encoder, maps.flatten(1).unflatten(0, tiles.shape[:2]))
        summary = h[-1].unsqueeze(1).expand(-1, forecast_length, -1)
        hidden, _ = remember(self.forecaster, summary, (h, c))
        raw = self.decoder(hidden.flatten(0, 1)).unflatten(0, hidden.shape[:2])
        return put_together(raw, *frames.shape[-2:])


def remember(
    lstm: nn.LSTM, sequence: Tensor, state: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Run an LSTM in the precision of its weights: under autocast it would keep its cell state in
    half precision.
    """
    if not torch.is_autocast_enabled(sequence.device.type):
        return lstm(sequence, state)
    with torch.autocast(sequence.device.type, enabled=False):
        return lstm(sequence.to(a_tensor_of(lstm).dtype), state)
