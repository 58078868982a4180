"""A stack of ConvLSTM layers that reads its own forecasts: the "ConvLSTM-S" of OpenSTL (Tan et al.
2023, arXiv 2306.11249).
"""

from torch import Tensor, nn

from nowcast.models.autoregressive import Autoregressive, head
from nowcast.models.convlstm.cell import ConvLSTMCell, State
from nowcast.models.network import check_at_least, precisely


class ConvLSTMStack(Autoregressive):
    """ConvLSTM layers, one above the other, and a 1x1 convolution from the hidden state of the top
    one to the next frame.

    The same weights read the context and make the forecast; compare ``EncoderForecaster``, which
    has a second stack for that. No peepholes, no biases in the layers, weights that start as those
    of ``torch.nn.Conv2d``: as in OpenSTL. OpenSTL's cell has 851,968 more parameters in each layer
    that it never uses, and feeds back its output without an activation (``output="linear"``).

    Args:
        hidden_channels: one number per layer, e.g. [128, 128, 128, 128].
        kernel: side of all convolutions in the layers.
        patch: p; frames are folded p x p into channels.
        forget_bias: constant added in the forget gate. OpenSTL's cell holds a 1 for it, as
            PredRNN's does, but its equations leave it out: 0 is what OpenSTL computes.
        sampling, sampling_until: how training meets the truth, see ``Autoregressive``.
        output: "sigmoid" (values in (0, 1)) or "linear".
        output_bias: where the bias of the last convolution starts; None for none, as in OpenSTL.
        observed_channel: give the network the observed mask as a second input channel.
    """

    SETTINGS = ("hidden_channels", "kernel", "forget_bias", *Autoregressive.SETTINGS, "output_bias")

    def __init__(
        self,
        hidden_channels: list[int],
        *,
        kernel: int = 5,
        patch: int = 4,
        forget_bias: float = 0.0,
        sampling: str = "forward",
        sampling_until: float = 0.625,
        output: str = "sigmoid",
        output_bias: float | None = 0.0,
        observed_channel: bool = False,
    ):
        check_at_least(1, hidden_channels=hidden_channels, kernel=kernel)
        super().__init__(
            patch=patch,
            sampling=sampling,
            sampling_until=sampling_until,
            output=output,
            observed_channel=observed_channel,
        )
        self.hidden_channels, self.kernel, self.forget_bias, self.output_bias = (
            list(hidden_channels),
            kernel,
            forget_bias,
            output_bias,
        )
        settings = {
            "input_kernel": kernel,
            "state_kernel": kernel,
            "peephole": False,
            "bias": False,
            "forget_bias": forget_bias,
        }
        inputs = [self.folded_channels, *hidden_channels[:-1]]
        self.cells = nn.ModuleList(
            ConvLSTMCell(i, hidden, **settings)
            for i, hidden in zip(inputs, hidden_channels, strict=True)
        )
        for weight in self.cells.parameters():
            nn.init.kaiming_uniform_(
                weight, a=5**0.5
            )  # what torch.nn.Conv2d does: uniform in +-1/sqrt(input channels x kernel area)
        self.head = head(hidden_channels[-1], patch, output_bias)

    def initial_state(self, batch: int, height: int, width: int) -> list[State]:
        """Zeros for every layer."""
        return [cell.initial_state(batch, height, width) for cell in self.cells]

    def step(self, frame: Tensor, state: list[State]) -> tuple[Tensor, list[State]]:
        """A folded frame and the layers' states -> the next frame, raw, and the new states."""
        hidden, new = frame, []
        for cell, old in zip(self.cells, state, strict=True):
            new.append(cell(hidden, old))
            hidden = new[-1][0]
        return precisely(self.head, hidden), new
