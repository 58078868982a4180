"""Recurrent networks that read a frame, write the next one and read that: what they share, and how
they meet the truth in training.

Axes: B batch, T time, C channels, H rows, W columns; p is the patch size, C' = C p^2 the channels
of a folded frame, H' = H / p, W' = W / p.
"""

import math

import torch
from torch import Tensor, nn

from nowcast.models.base import Capabilities
from nowcast.models.convolutions import Conv2d, ordered_once
from nowcast.models.network import Network, check_at_least, check_mask, fold, unfold
from nowcast.runtime.errors import UserError

SAMPLING = ("none", "forward", "reverse")


class Autoregressive(Network):
    """Read the context frame by frame, then go on with the network's own output; a subclass defines
    ``initial_state`` and ``step``.

    A network that has only ever read the truth does not know its own mistakes.
    ``scheduled_sampling``, the call in training, lets it read the truth or its own last forecast by
    chance, one draw per sample and frame; the chance follows the share of the training that is
    done:

    - "none": no chance, the call of ``forward``: the truth in the context, the own forecast after
      it.
    - "forward": scheduled sampling (Bengio et al. 2015, arXiv 1506.03099). The context is the
      truth; a later frame is with a chance that falls linearly from 1 to 0 at ``sampling_until``.
    - "reverse": reverse scheduled sampling (PredRNN-v2, Wang et al. 2022, arXiv 2103.09504). Up to
      half of ``sampling_until`` every frame but the first is the truth with a chance of 0.5. From
      there to ``sampling_until`` the chance of a context frame is 1 - 0.5 exp(-(progress -
      sampling_until / 2) / (sampling_until / 10)), that of a later frame falls linearly from 0.5 to
      0. Then as "none".

    The reference (run.py of thuml/predrnn-pytorch) counts iterations, 80,000 in all: "forward" ends
    at 50,000, "reverse" has its phases at 25,000 and 50,000, and the constant of its exponential is
    5,000. As shares of 80,000 these are 0.625, 0.3125 and 0.625, and 0.0625. Its "forward"
    subtracts 1 / 50,000 before it draws and so is one iteration ahead of this one. OpenSTL has the
    same numbers of iterations, however long it trains; the authors' script for PredRNN-v2 on Moving
    MNIST has a constant of 2,500.

    Args:
        patch: p; frames of any size are padded to a multiple of it and cut back.
        sampling: "none", "forward" or "reverse".
        sampling_until: share of the training after which no future frame is the truth any more.
        output, observed_channel: as in ``Network``.

    Attributes:
        folded_channels: C', the channels of what ``step`` reads.
    """

    SETTINGS = ("patch", "sampling", "sampling_until")
    capabilities = Capabilities(scheduled_sampling=True)

    def __init__(
        self,
        *,
        patch: int,
        sampling: str,
        sampling_until: float,
        output: str,
        observed_channel: bool,
    ):
        check_at_least(1, patch=patch)
        if not 0 <= sampling_until <= 1:
            raise UserError(
                f"sampling_until is {sampling_until}; a share of the training, from 0 to 1, is "
                "needed."
            )
        if sampling not in SAMPLING:
            raise UserError(f"sampling is {sampling!r}; accepted are {', '.join(SAMPLING)}.")
        super().__init__(multiple=patch, output=output, observed_channel=observed_channel)
        self.patch, self.sampling, self.sampling_until = patch, sampling, sampling_until
        self.folded_channels = self.channels * patch**2

    def initial_state(self, batch: int, height: int, width: int):
        """Whatever ``step`` carries along, before the first frame; for maps of H' rows and W'
        columns.
        """
        raise NotImplementedError

    def step(self, frame: Tensor, state) -> tuple[Tensor, object]:
        """One frame further.

        Args:
            frame: (B, C', H', W'), folded.
            state: from ``initial_state`` or the step before.

        Returns:
            The next frame, folded and before the activation, (B, p^2, H', W'); and the new state.
        """
        raise NotImplementedError

    def unroll(self, frames: Tensor, forecast_length: int) -> Tensor:
        """(B, T, C, H, W) -> raw (B, forecast_length, 1, H, W); any T."""
        with ordered_once():
            return self._follow(frames, frames.shape[1] + forecast_length - 1)[:, -forecast_length:]

    def scheduled_sampling(
        self, window: Tensor, observed: Tensor | None, context_length: int, progress: float
    ) -> Tensor:
        """Forecast every frame of a training window from those before it, be they the truth or
        forecasts.

        A frame of the truth goes in as it does in ``forward``: 0 where it was not observed, and its
        mask beside it where the network has an observed channel. Draws come from torch's global
        generator on the window's device.

        Args:
            window: (B, T, 1, H, W), normalised: context and target, T at least 2.
            observed: boolean mask of the window's shape; None means all of it.
            context_length: how many of the T frames are context, from 1 to T - 1.
            progress: share of the training that is done, 0 to 1.

        Returns:
            Forecasts of frames 2 to T, (B, T - 1, 1, H, W), float32; none depends on the frame it
            is of, or a later one.

        Raises:
            UserError: a window of another shape, or a context that is not a part of it.
        """
        if (
            window.ndim != 5
            or window.shape[2] != 1
            or 0 in window.shape
            or not 1 <= context_length < window.shape[1]
        ):
            raise UserError(
                f"a window of shape {tuple(window.shape)} with {context_length} context frames "
                "came; "
                "(B, T, 1, H, W) without an empty axis, and from 1 to T - 1 of its frames as "
                "context, are needed."
            )
        check_mask(observed, window)
        length = window.shape[1] - 1
        if self.sampling == "none":
            window, observed = (
                None if frames is None else frames[:, :context_length]
                for frames in (window, observed)
            )
            truth = None
        else:
            context_share, future_share = self.truth_shares(progress)
            draws = torch.rand(
                len(window), length, device=window.device
            )  # the first is of a frame that is always the truth
            truth = torch.cat(
                [
                    draws[:, :context_length] < context_share,
                    draws[:, context_length:] < future_share,
                ],
                dim=1,
            )
        with ordered_once():
            raw = self._follow(self.frames(window, observed), length, truth)
        return self.finish(raw, *window.shape[-2:])

    def truth_shares(self, progress: float) -> tuple[float, float]:
        """The chance that the truth goes in: of a context frame after the first, and of a future
        frame.
        """
        end = self.sampling_until
        if self.sampling == "none" or progress >= end:
            return 1.0, 0.0
        if self.sampling == "forward":
            return 1.0, 1 - progress / end
        past = max(0.0, progress - end / 2)
        return 1 - 0.5 * math.exp(-past / (end / 10)), 0.5 - past / end

    def _follow(self, frames: Tensor, length: int, truth: Tensor | None = None) -> Tensor:
        """The raw frames that follow each of ``length`` frames, one network step for each.

        Args:
            frames: (B, T, C, H, W); beyond its end the network reads its own output.
            length: number of network steps.
            truth: (B, length) boolean, T = length or more: where a frame is read and not the
                network's own output; the first is always read. None reads all there are.
        """
        folded = fold(frames, self.patch)
        state = self.initial_state(folded.shape[0], *folded.shape[-2:])
        followers = []
        for index in range(length):
            if index == 0 or (truth is None and index < folded.shape[1]):
                frame = folded[:, index]
            else:
                frame = self.as_input(
                    followers[-1]
                )  # folding keeps the channels' order, so a folded frame can be completed, too
                if truth is not None:
                    frame = torch.where(truth[:, index, None, None, None], folded[:, index], frame)
            follower, state = self.step(frame, state)
            followers.append(follower)
        return unfold(torch.stack(followers, dim=1), self.patch)


def head(hidden_channels: int, patch: int, bias: float | None) -> Conv2d:
    """The last convolution, 1x1, to a folded frame; ``bias`` is where its bias starts, None for no
    bias at all.
    """
    convolution = Conv2d(hidden_channels, patch**2, 1, bias=bias is not None)
    if bias is not None:
        nn.init.constant_(convolution.bias, bias)
    return convolution
