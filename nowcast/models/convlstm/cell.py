"""ConvLSTM: an LSTM whose products are convolutions (Shi et al. 2015, arXiv 1506.04214).

    i_t = sigmoid(Wxi * x_t + Whi * h_{t-1} + w_ci . c_{t-1} + b_i)
    f_t = sigmoid(Wxf * x_t + Whf * h_{t-1} + w_cf . c_{t-1} + b_f)
    c_t = f_t . c_{t-1} + i_t . tanh(Wxc * x_t + Whc * h_{t-1} + b_c)
    o_t = sigmoid(Wxo * x_t + Who * h_{t-1} + w_co . c_t + b_o)
    h_t = o_t . tanh(c_t)

* is a convolution, . a product by element. Axes: B batch, T time, C input channels, F hidden
channels, H rows, W columns. The four gates lie along the channel axis in the order i, f, c, o. The
peepholes w are one number per hidden channel, so that a layer runs at any height and width. What
Keras' ConvLSTM2D computes is here, every option of it, equal in value and gradient (regularisers
and constraints belong to the training, other initialisers to the caller; of its activations there
are six); ``keras_weights`` carries weights in both directions.
"""

from collections.abc import Callable
from functools import partial
from numbers import Integral
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nowcast.models.convlstm import recurrence
from nowcast.models.convlstm.equations import equations
from nowcast.models.convlstm.recurrence import wide_type
from nowcast.models.convolutions import a_tensor_of, ordered, settings_text
from nowcast.runtime import torch_private
from nowcast.runtime.errors import UserError

State = tuple[Tensor, Tensor]
"""Hidden state h and cell state c, both (B, F, H', W'), the size the input convolution gives; c is
always float32 or wider.
"""

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "hard_sigmoid": F.hardsigmoid,  # min(max(x / 6 + 1/2, 0), 1), as in Keras 3
    "relu": F.relu,
    "leaky_relu": partial(F.leaky_relu, negative_slope=0.2),
    "linear": torch.clone,
}


class DropoutMasks(NamedTuple):
    """What is dropped, the same at every timestep: one mask for each gate, (B, 4C, H, W) and (B,
    4F, H', W'); None drops nothing.
    """

    input: Tensor | None
    state: Tensor | None


class Weights(NamedTuple):
    """A cell's weights as one call reads them: a parametrization computes them anew whenever they
    are asked for.
    """

    input: Tensor | None
    state: Tensor
    bias: Tensor | None
    peephole: Tensor | None
    gain: Tensor | None


class ConvLSTMCell(nn.Module):
    """One step of a ConvLSTM.

    Weights are contiguous, as those of torch's own layers; the order that convolutions are fast in
    is made in each call.

    Args:
        input_channels: C of the input; 0 for a cell that has no input at all (an unconditioned
            forecaster's first layer).
        hidden_channels: F.
        input_kernel: height and width, or one number for both, of the convolution on the input;
            unused without an input.
        state_kernel: the same for the convolution on the hidden state, which keeps the map's size.
        stride: of the input convolution, height and width or one number.
        dilation: the same; not both above 1.
        padding: of the input convolution, "same" (zeros, the odd one at the end) or "valid".
        activation: of the candidate and of the cell state on its way out, one of ``ACTIVATIONS``.
        gate_activation: of the gates i, f, o.
        bias: one per gate and channel.
        forget_bias: where the forget gate's bias starts (Keras: 1); without a bias, a constant in
            its place.
        peephole: let the gates see the cell state, by one weight per hidden channel.
        norm_groups: 0 for none. Else what enters the gates is normalised over the map and the
            channels of a group, for every sample; each gate's channels form so many groups (1:
            layer normalisation), a gain is learnt for each channel, and the bias is added after it.
        dropout: share of the input dropped in training; each gate has its own mask, constant over
            time.
        state_dropout: the same for the hidden state on its way into the convolution.
        initialisation: "paper": weights uniform in +-1/sqrt(their input channels) as in Shi et al.
            2015; "keras": Glorot uniform for the input, orthogonal for the state, each over the
            block of four gates. Biases and peepholes start at 0, gains at 1.

    Raises:
        UserError: a setting outside what is accepted.
    """

    def __init__(
        self,
        input_channels: int,
        hidden_channels: int,
        *,
        input_kernel: int | tuple[int, int] = 5,
        state_kernel: int | tuple[int, int] = 5,
        stride: int | tuple[int, int] = 1,
        padding: str = "same",
        dilation: int | tuple[int, int] = 1,
        activation: str = "tanh",
        gate_activation: str = "sigmoid",
        bias: bool = True,
        forget_bias: float = 0.0,
        peephole: bool = True,
        norm_groups: int = 0,
        dropout: float = 0.0,
        state_dropout: float = 0.0,
        initialisation: str = "paper",
    ):
        super().__init__()
        _check_channels(input_channels, hidden_channels, norm_groups)
        for name, share in (("dropout", dropout), ("state_dropout", state_dropout)):
            if not 0 <= share < 1:
                raise UserError(f"{name} is {share}; expected a share from 0 to less than 1.")
        for name, value, accepted in (
            ("padding", padding, ("same", "valid")),
            ("initialisation", initialisation, ("paper", "keras")),
            ("activation", activation, ACTIVATIONS),
            ("gate_activation", gate_activation, ACTIVATIONS),
        ):
            if value not in accepted:
                raise UserError(f"{name} is {value!r}; accepted are {', '.join(accepted)}.")
        self.input_kernel = _pair("input_kernel", input_kernel)
        self.state_kernel = _pair("state_kernel", state_kernel)
        self.stride, self.dilation = _pair("stride", stride), _pair("dilation", dilation)
        if max(self.stride) > 1 and max(self.dilation) > 1:
            raise UserError(
                f"stride is {stride} and dilation is {dilation}; only one of them can be above 1."
            )
        self.input_channels, self.hidden_channels = input_channels, hidden_channels
        self.padding, self.norm_groups = padding, norm_groups
        self.activation = ACTIVATIONS[activation]
        self.gate_activation = ACTIVATIONS[gate_activation]
        self._names = {"activation": activation, "gate_activation": gate_activation}
        self.initialisation, self.forget_bias = initialisation, forget_bias
        self.dropout, self.state_dropout = dropout, state_dropout
        self.forget_offset = 0.0 if bias else forget_bias
        gates = 4 * hidden_channels
        self.input_weight = None
        if input_channels:
            self.input_weight = nn.Parameter(torch.empty(gates, input_channels, *self.input_kernel))
        self.state_weight = nn.Parameter(torch.empty(gates, hidden_channels, *self.state_kernel))
        self.bias = nn.Parameter(torch.zeros(gates)) if bias else None
        self.peephole = nn.Parameter(torch.zeros(3, hidden_channels)) if peephole else None
        self.gain = nn.Parameter(torch.ones(gates)) if norm_groups else None
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw the weights anew, e.g. after ``to_empty``, from torch's generator."""
        how = self.initialisation
        if self.bias is not None:
            self.bias.zero_()
            self.bias[self.hidden_channels : 2 * self.hidden_channels] = self.forget_bias
        for weight, start in ((self.peephole, 0.0), (self.gain, 1.0)):
            if weight is not None:
                weight.fill_(start)
        for weight in (self.input_weight, self.state_weight):
            if weight is not None and how == "paper":
                nn.init.uniform_(weight, -(weight.shape[1] ** -0.5), weight.shape[1] ** -0.5)
        if how == "keras":
            if self.input_weight is not None:
                nn.init.xavier_uniform_(self.input_weight)
            weight = self.state_weight
            shape = weight[0].numel(), len(weight)
            rows = torch.empty(shape, dtype=weight.dtype, device=weight.device)
            nn.init.orthogonal_(rows)
            self.state_weight.copy_(rows.T.reshape(self.state_weight.shape))

    def extra_repr(self) -> str:
        """What it was made with; activations by name, and what is the default left out."""
        channels = ("input_channels", "hidden_channels")
        sides = ("input_kernel", "state_kernel", "stride", "padding", "dilation")
        others = ("forget_bias", "norm_groups", "dropout", "state_dropout", "initialisation")
        found = {"bias": self.bias is not None, "peephole": self.peephole is not None}
        names = (*channels, *sides, *self._names, *others)
        return settings_text(self, *names, **self._names, **found)

    def weights(self) -> Weights:
        """The weights, each read once."""
        return Weights(self.input_weight, self.state_weight, self.bias, self.peephole, self.gain)

    def convolve_input(
        self, inputs: Tensor, masks: DropoutMasks | None = None, weights: Weights | None = None
    ) -> Tensor:
        """The input's share of the gates, for any number of steps at once.

        Args:
            inputs: (B, C, H, W), or (T, B, C, H, W).
            masks: from ``dropout_masks``.
            weights: from ``weights``, where they were read before.

        Returns:
            (..., B, 4F, H', W'), the bias included unless it comes after a normalisation.
        """
        weights = weights or self.weights()
        bias = None if self.norm_groups else weights.bias
        maps, settings = self._prepared(inputs, masks)
        convolved = F.conv2d(
            maps.flatten(0, -4),
            ordered(weights.input),
            bias,
            settings.stride,
            settings.padding,
            settings.dilation,
            settings.groups,
        )
        return convolved.unflatten(0, inputs.shape[:-3])

    def _prepared(
        self, inputs: Tensor, masks: DropoutMasks | None
    ) -> tuple[Tensor, recurrence.Settings]:
        """Inputs (..., B, C, H, W) as the convolution takes them, masked and padded, and how it is
        to treat them.
        """
        groups, padding = 1, (0, 0)
        if masks is not None and masks.input is not None:
            inputs, groups = torch.cat([inputs] * 4, dim=-3) * masks.input, 4
        if self.padding == "same":
            inputs, padding = _pad_same(inputs, self.input_kernel, self.stride, self.dilation)
        return inputs, recurrence.Settings(
            self.stride, padding, self.dilation, groups, self.forget_offset
        )

    def dropout_masks(self, inputs: Tensor | None, state: State) -> DropoutMasks | None:
        """Draw the masks of one sequence, shaped after one input (B, C, H, W) and a state; None
        where nothing is dropped.

        They come from torch's generator; entries are 0 or 1 / (1 - share).
        """
        if not self.training or not (self.dropout or self.state_dropout):
            return None

        def draw(like: Tensor, share: float) -> Tensor:
            return F.dropout(torch.ones_like(like).repeat(1, 4, 1, 1), share)

        drops_input = self.dropout and inputs is not None
        from_input = draw(inputs, self.dropout) if drops_input else None
        from_state = draw(state[0], self.state_dropout) if self.state_dropout else None
        return DropoutMasks(from_input, from_state)

    def state_size(self, height: int, width: int) -> tuple[int, int]:
        """H' and W' of the state for inputs of H and W; without an input they are the same.

        Raises:
            UserError: inputs smaller than what a "valid" convolution needs.
        """
        if self.input_weight is None:
            return height, width
        if self.padding == "same":
            # rounded up; an ONNX division rounds to zero
            return (height - 1) // self.stride[0] + 1, (width - 1) // self.stride[1] + 1
        reach = [d * (k - 1) + 1 for k, d in zip(self.input_kernel, self.dilation, strict=True)]
        if height < reach[0] or width < reach[1]:
            raise UserError(
                f"expected maps of at least {reach[0]} x {reach[1]} for valid padding, got "
                f"{height} x {width}; padding='same' takes any size."
            )
        return (height - reach[0]) // self.stride[0] + 1, (width - reach[1]) // self.stride[1] + 1

    def initial_state(self, batch: int, height: int, width: int) -> State:
        """A zero state for inputs of that size, on the device of the weights."""
        weight = a_tensor_of(self)
        shape = batch, self.hidden_channels, *self.state_size(height, width)
        h = torch.zeros(shape, dtype=weight.dtype, device=weight.device)
        return h, h.to(wide_type(weight))

    def step(
        self,
        from_input: Tensor | None,
        state: State,
        masks: DropoutMasks | None = None,
        weights: Weights | None = None,
    ) -> State:
        """Advance one timestep.

        Args:
            from_input: (B, 4F, H', W') from ``convolve_input``; None without an input.
            state: h and c, (B, F, H', W') each.
            masks: from ``dropout_masks``.
            weights: from ``weights``, where they were read before.

        Returns:
            The new state; its h is the cell's output.
        """
        h, c = state
        _, weight, bias, peephole, gain = weights or self.weights()
        groups = 1
        if masks is not None and masks.state is not None:
            h, groups = torch.cat([h] * 4, dim=1) * masks.state, 4
        h, padding = _pad_same(h, self.state_kernel)
        early = bias if from_input is None and not self.norm_groups else None
        gates = F.conv2d(h, ordered(weight), early, padding=padding, groups=groups)
        if from_input is not None:
            gates = gates + from_input
        gates = gates.to(c.dtype)
        if self.norm_groups:
            gates = _normalise(gates, 4 * self.norm_groups) * gain[:, None, None]
            gates = gates if bias is None else gates + bias[:, None, None]
        peephole = None if peephole is None else peephole[:, :, None, None]
        h, c = equations(
            gates.chunk(4, dim=1),
            c,
            peephole,
            self.forget_offset,
            self.gate_activation,
            self.activation,
        )
        return h.to(weight.dtype), c

    def can_run(self, masks: DropoutMasks | None) -> bool:
        """Whether ``run`` computes what this cell does.

        It is no work for tracers, transforms and forward-mode derivatives, which follow common
        operators only.
        """
        plain = (
            self.activation is torch.tanh
            and self.gate_activation is torch.sigmoid
            and not self.norm_groups
            and (masks is None or masks.state is None)
        )
        return plain and not _followed() and all(side % 2 for side in self.state_kernel)

    def run(
        self,
        inputs: Tensor | None,
        state: State | None,
        length: int,
        masks: DropoutMasks | None = None,
        weights: Weights | None = None,
    ) -> tuple[Tensor, State]:
        """Many steps as one function, see ``nowcast.models.convlstm.recurrence``, where ``can_run``
        says so.

        Args:
            inputs: (T, B, C, H, W), or None.
            state: h and c; None for zeros, only with inputs.
            length: T, at least 1.
            masks: from ``dropout_masks``.
            weights: from ``weights``, where they were read before.

        Returns:
            Outputs (T, B, F, H', W'), and the final state.
        """
        weights = weights or self.weights()
        prepared, settings = None, recurrence.Settings(forget_offset=self.forget_offset)
        if inputs is not None:
            prepared, settings = self._prepared(inputs, masks)
        h, c = state or (None, None)
        arguments = recurrence.Arguments(
            prepared, weights.input, weights.bias, weights.state, weights.peephole, h, c
        )
        return recurrence.run(arguments, length, settings)

    def forward(
        self, inputs: Tensor | None, state: State, masks: DropoutMasks | None = None
    ) -> State:
        """One step from an input frame (B, C, H, W), or from None where the cell has no input.

        Dropout acts only through ``masks``, which the caller draws once for a sequence.
        """
        weights = self.weights()
        from_input = None
        if inputs is not None:
            from_input = self.convolve_input(inputs, masks, weights)
        return self.step(from_input, state, masks, weights)


def _check_channels(input_channels: int, hidden_channels: int, norm_groups: int) -> None:
    """Refuse numbers of channels that no cell has."""
    if input_channels < 0 or hidden_channels < 1:
        raise UserError(
            "a ConvLSTM expected input_channels >= 0 and hidden_channels >= 1, got "
            f"{input_channels} and {hidden_channels}."
        )
    if norm_groups < 0 or (norm_groups and hidden_channels % norm_groups):
        raise UserError(
            f"norm_groups is {norm_groups}; expected 0, or a number that divides the "
            f"{hidden_channels} hidden channels."
        )


def _followed() -> bool:
    """Whether something follows operators one by one, as tracers, compilers, transforms and
    forward-mode derivatives do.
    """
    if (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or torch_private.forward_derivatives_active()
    ):
        return True
    return torch_private.dispatch_mode_active() or torch_private.transforms_active()


def _normalise(maps: Tensor, groups: int) -> Tensor:
    """Zero mean and unit variance in each group of channels; F.group_norm, without its refusal of a
    single value.
    """
    return torch.group_norm(maps, groups, None, None, 1e-5, torch.backends.cudnn.enabled)


def _pair(name: str, value) -> tuple[int, int]:
    """One number or two -> (rows, columns)."""
    pair = tuple(value) if isinstance(value, (list, tuple)) else (value, value)
    if len(pair) != 2 or any(not isinstance(side, Integral) or side < 1 for side in pair):
        raise UserError(
            f"{name} is {value}; expected a whole number from 1, or two of them for rows and "
            "columns."
        )
    return pair


def _pad_same(
    maps: Tensor,
    kernel: tuple[int, int],
    stride: tuple[int, int] = (1, 1),
    dilation: tuple[int, int] = (1, 1),
):
    """Maps (..., H, W) and the padding a convolution has to add, so that H' = ceil(H / stride); an
    odd zero goes to the end.
    """
    sides = zip(maps.shape[-2:], kernel, stride, dilation, strict=True)
    rows, columns = (_missing(*side) for side in sides)
    # in a graph it may be odd at one size, even at another
    free = isinstance(rows, torch.SymInt) or isinstance(columns, torch.SymInt)
    if not free and rows % 2 == columns % 2 == 0:
        return maps, (rows // 2, columns // 2)
    return F.pad(maps, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)), (0, 0)


def _missing(side: int, kernel: int, stride: int, dilation: int) -> int:
    """What a side lacks so that a convolution gives ceil(side / stride)."""
    reach = dilation * (kernel - 1)
    if stride == 1:
        return reach  # of any side, also of one that a graph leaves free
    return torch.sym_max(0, (side - 1) // stride * stride + reach + 1 - side)
