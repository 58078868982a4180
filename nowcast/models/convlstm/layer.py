"""ConvLSTM: an LSTM whose products are convolutions (Shi et al. 2015, arXiv 1506.04214).

    i_t = sigmoid(Wxi * x_t + Whi * h_{t-1} + w_ci . c_{t-1} + b_i)
    f_t = sigmoid(Wxf * x_t + Whf * h_{t-1} + w_cf . c_{t-1} + b_f)
    c_t = f_t . c_{t-1} + i_t . tanh(Wxc * x_t + Whc * h_{t-1} + b_c)
    o_t = sigmoid(Wxo * x_t + Who * h_{t-1} + w_co . c_t + b_o)
    h_t = o_t . tanh(c_t)

* is a convolution, . a product by element. Axes: B batch, T time, C input channels, F hidden
  channels, H rows, W
columns. The four gates lie along the channel axis in the order i, f, c, o. The peepholes w are one
number per hidden channel, so that a layer runs at any height and width. What Keras' ConvLSTM2D
computes is here, every option of it, equal in value and gradient (regularisers and constraints
belong to the training, other initialisers to the caller; of its activations there are six);
``keras_weights`` carries weights in both directions.
"""

from collections.abc import Callable
from functools import partial
from numbers import Integral
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recompute

from nowcast.models.convlstm import recurrence
from nowcast.models.convlstm.gates import equations
from nowcast.models.convlstm.recurrence import wide_type, working_type
from nowcast.models.convolutions import a_tensor_of, ordered, settings_text
from nowcast.models.steps_in_time import follow, is_free
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
        stride, dilation: of the input convolution, height and width or one number; not both above
            1.
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
        if input_channels < 0 or hidden_channels < 1:
            raise UserError(
                "a ConvLSTM needs input_channels >= 0 and hidden_channels >= 1; "
                f"{input_channels} and {hidden_channels} came."
            )
        pairs = {
            "input_kernel": input_kernel,
            "state_kernel": state_kernel,
            "stride": stride,
            "dilation": dilation,
        }
        self.input_kernel, self.state_kernel, self.stride, self.dilation = (
            _pair(name, value) for name, value in pairs.items()
        )
        if max(self.stride) > 1 and max(self.dilation) > 1:
            raise UserError(
                f"stride is {stride} and dilation is {dilation}; only one of them can be above 1."
            )
        choices = {
            "padding": (padding, ("same", "valid")),
            "initialisation": (initialisation, ("paper", "keras")),
        }
        choices |= {
            "activation": (activation, ACTIVATIONS),
            "gate_activation": (gate_activation, ACTIVATIONS),
        }
        for name, (value, accepted) in choices.items():
            if value not in accepted:
                raise UserError(f"{name} is {value!r}; accepted are {', '.join(accepted)}.")
        for name, value in (("dropout", dropout), ("state_dropout", state_dropout)):
            if not 0 <= value < 1:
                raise UserError(
                    f"{name} is {value}; a share from 0 up to, but not including, 1 is needed."
                )
        if norm_groups < 0 or (norm_groups and hidden_channels % norm_groups):
            raise UserError(
                f"norm_groups is {norm_groups}; 0, or a number that divides the "
                f"{hidden_channels} hidden channels, is needed."
            )
        self.input_channels, self.hidden_channels, self.padding = (
            input_channels,
            hidden_channels,
            padding,
        )
        self.activation, self.gate_activation = (
            ACTIVATIONS[activation],
            ACTIVATIONS[gate_activation],
        )
        self._names = {"activation": activation, "gate_activation": gate_activation}
        self.initialisation, self.forget_bias = initialisation, forget_bias
        self.norm_groups, self.dropout, self.state_dropout = norm_groups, dropout, state_dropout
        self.forget_offset = 0.0 if bias else forget_bias
        gates = 4 * hidden_channels
        self.input_weight = (
            nn.Parameter(torch.empty(gates, input_channels, *self.input_kernel))
            if input_channels
            else None
        )
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
            rows = torch.empty(
                self.state_weight[0].numel(),
                len(self.state_weight),
                dtype=self.state_weight.dtype,
                device=self.state_weight.device,
            )
            nn.init.orthogonal_(rows)
            self.state_weight.copy_(rows.T.reshape(self.state_weight.shape))

    def extra_repr(self) -> str:
        """What it was made with; activations by name, and what is the default left out."""
        names = (
            "input_kernel",
            "state_kernel",
            "stride",
            "padding",
            "dilation",
            "activation",
            "gate_activation",
            "forget_bias",
        )
        names += ("norm_groups", "dropout", "state_dropout", "initialisation")
        found = {"bias": self.bias is not None, "peephole": self.peephole is not None}
        return settings_text(
            self, "input_channels", "hidden_channels", *names, **self._names, **found
        )

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

        from_input = draw(inputs, self.dropout) if self.dropout and inputs is not None else None
        return DropoutMasks(
            from_input, draw(state[0], self.state_dropout) if self.state_dropout else None
        )

    def state_size(self, height: int, width: int) -> tuple[int, int]:
        """H' and W' of the state for inputs of H and W; without an input they are the same.

        Raises:
            UserError: inputs smaller than what a "valid" convolution needs.
        """
        if self.input_weight is None:
            return height, width
        if self.padding == "same":
            return (height - 1) // self.stride[0] + 1, (width - 1) // self.stride[
                1
            ] + 1  # ceil; an ONNX division rounds to zero
        reach = [d * (k - 1) + 1 for k, d in zip(self.input_kernel, self.dilation, strict=True)]
        if height < reach[0] or width < reach[1]:
            raise UserError(
                f"maps of {height} x {width} came, but valid padding needs at least {reach[0]} x "
                f"{reach[1]}; padding='same' takes any size."
            )
        return (height - reach[0]) // self.stride[0] + 1, (width - reach[1]) // self.stride[1] + 1

    def initial_state(self, batch: int, height: int, width: int) -> State:
        """A zero state for inputs of that size, on the device of the weights."""
        weight = a_tensor_of(self)
        h = torch.zeros(
            batch,
            self.hidden_channels,
            *self.state_size(height, width),
            dtype=weight.dtype,
            device=weight.device,
        )
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
        prepared, settings = (
            (None, recurrence.Settings(forget_offset=self.forget_offset))
            if inputs is None
            else self._prepared(inputs, masks)
        )
        arguments = recurrence.Arguments(
            prepared,
            weights.input,
            weights.bias,
            weights.state,
            weights.peephole,
            *(state or (None, None)),
        )
        return recurrence.run(arguments, length, settings)

    def forward(
        self, inputs: Tensor | None, state: State, masks: DropoutMasks | None = None
    ) -> State:
        """One step from an input frame (B, C, H, W), or from None where the cell has no input.

        Dropout acts only through ``masks``, which the caller draws once for a sequence.
        """
        weights = self.weights()
        return self.step(
            None if inputs is None else self.convolve_input(inputs, masks, weights),
            state,
            masks,
            weights,
        )


class ConvLSTM(nn.Module):
    """A ConvLSTM layer over a sequence.

    The input convolutions of all steps run in one call before the recurrence. A cell with hooks
    (``spectral_norm``, ``weight_norm`` and pruning are some) is called once for every step instead.

    Args:
        input_channels, hidden_channels, **cell: as for ``ConvLSTMCell``.
        go_backwards: read the input from its last step to its first; outputs come in that order.
        stateful: where no state is given, go on from the end of the last call (its gradient ends
            there); see ``reset_state``.
        channels_last: inputs, outputs and states have their channels on the last axis, as is Keras'
            habit.
        checkpoint: 0 keeps what the backward pass needs of every step; N keeps only the states
            between blocks of N steps and computes each block once more, for less memory in
            training.
    """

    def __init__(
        self,
        input_channels: int,
        hidden_channels: int,
        *,
        go_backwards: bool = False,
        stateful: bool = False,
        channels_last: bool = False,
        checkpoint: int = 0,
        **cell,
    ):
        super().__init__()
        if checkpoint < 0:
            raise UserError(f"checkpoint is {checkpoint}; 0, or a number of steps, is needed.")
        self.cell = ConvLSTMCell(input_channels, hidden_channels, **cell)
        self.go_backwards, self.stateful, self.channels_last, self.checkpoint = (
            go_backwards,
            stateful,
            channels_last,
            checkpoint,
        )
        self._kept: State | None = None

    def extra_repr(self) -> str:
        """What it was made with; what is the default is left out."""
        return settings_text(self, "go_backwards", "stateful", "channels_last", "checkpoint")

    def reset_state(self) -> None:
        """Forget where the last call of a stateful layer ended; the next one starts from zeros."""
        self._kept = None

    def forward(
        self,
        inputs: Tensor | None,
        state: State | None = None,
        *,
        length: int | None = None,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """Run the layer.

        Args:
            inputs: (B, T, C, H, W), any B, T, H, W; None for a layer without an input. No step
                leaves the state as it is.
            state: where to start; None for zeros. Needed where there is no input.
            length: number of steps where there is no input; 0 gives no outputs and the state
                unchanged.
            mask: (B, T) boolean; at a step that is False, state and output of the step before are
                repeated (an output of zeros before the first step), whatever the input is there.

        Returns:
            Outputs of every step (B, T, F, H', W'), and the final state. Outputs and h have the
            type that the convolutions run in (that of the weights, or autocast's), c is float32 or
            wider. Where gradients are wanted, outputs must not be changed in place (torch refuses
            it): they are what the backward pass needs.

        Raises:
            UserError: inputs and settings do not go together.
        """
        at_rest = False
        if (inputs is None) != (self.cell.input_channels == 0):
            raise UserError(
                f"this ConvLSTM has {self.cell.input_channels} input channels, but "
                f"{'no input' if inputs is None else 'an input'} came."
            )
        if state is None and self.stateful and self._kept is not None:
            weight = a_tensor_of(
                self.cell
            )  # the layer may have moved since, or have run in inference mode
            h, c = (part.to(weight.device).clone() for part in self._kept)
            state = h.to(weight.dtype), c.to(wide_type(weight))
        elif state is not None and self.channels_last:
            state = tuple(part.movedim(-1, -3) for part in state)
        if inputs is not None:
            inputs = self._steps_first(inputs)
            if length not in (None, inputs.shape[0]):
                raise UserError(
                    f"length is {length}, but the input has {inputs.shape[0]} steps; give length "
                    "only where there is no input."
                )
            length, at_rest = inputs.shape[0], state is None
            state = state or self.cell.initial_state(inputs.shape[1], *inputs.shape[-2:])
        elif state is None or length is None or length < 0:
            raise UserError(
                "a ConvLSTM without input needs a state to start from and a length of at least "
                f"0; {'no state' if state is None else 'a state'} and {length} came."
            )
        self._check(inputs, state)
        if mask is not None:
            if mask.dtype != torch.bool or mask.shape != (state[0].shape[0], length):
                raise UserError(
                    f"a mask of shape {tuple(mask.shape)} and type {mask.dtype} came; a boolean "
                    f"one of shape {(state[0].shape[0], length)} is needed."
                )
            mask = (mask.flip(1) if self.go_backwards else mask).T[:, :, None, None, None]
        outputs, state = self._run(inputs, state, length, mask, at_rest)
        if self.stateful:
            self._kept = tuple(part.detach() for part in state)
        if self.channels_last:
            outputs, *state = (values.movedim(-3, -1) for values in (outputs, *state))
        return outputs, tuple(state)

    def _steps_first(self, inputs: Tensor) -> Tensor:
        """Inputs as they come -> (T, B, C, H, W), in the order of reading."""
        axes = ("B, T, H, W, {}" if self.channels_last else "B, T, {}, H, W").format(
            self.cell.input_channels
        )
        channels = inputs.shape[-1 if self.channels_last else 2] if inputs.ndim == 5 else None
        if channels != self.cell.input_channels or 0 in (inputs.shape[0], *inputs.shape[2:]):
            raise UserError(
                f"an input of shape {tuple(inputs.shape)} came; ({axes}), none of them 0 but T, "
                "is needed."
            )
        inputs = (inputs.movedim(-1, 2) if self.channels_last else inputs).transpose(0, 1)
        return inputs.flip(0) if self.go_backwards else inputs

    def _check(self, inputs: Tensor | None, state: State) -> None:
        batch, size = (
            (state[0].shape[0], state[0].shape[2:])
            if inputs is None
            else (inputs.shape[1], self.cell.state_size(*inputs.shape[-2:]))
        )
        wanted = (batch, self.cell.hidden_channels, *size)
        if any(tuple(part.shape) != wanted for part in state):
            hint = "; call reset_state() before sequences of another size" if self.stateful else ""
            raise UserError(
                f"a state of shapes {tuple(state[0].shape)} and {tuple(state[1].shape)} came; "
                f"{wanted} (B, F, H, W) is needed{hint}."
            )

    def _run(
        self, inputs: Tensor | None, state: State, length: int, mask: Tensor | None, at_rest: bool
    ) -> tuple[Tensor, State]:
        kind = working_type(a_tensor_of(self.cell))
        if length == 0:
            h = state[0].to(kind)
            return h.unsqueeze(1)[:, :0], (h, state[1])
        if (
            mask is not None and inputs is not None
            # before any arithmetic: the gradient of a product with NaN or infinity is NaN, even
            # where it is masked later
        ):
            inputs = torch.where(mask, inputs, 0.0)
        masks = self.cell.dropout_masks(None if inputs is None else inputs[0], state)
        # Read here and not in a block, which may run again when parameters that were lent for this
        # call are back in their places.
        weights = self.cell.weights() if _is_as_written(self.cell) else None
        if is_free(length):
            resting = state[0].to(kind), state[1].to(wide_type(a_tensor_of(self.cell)))
            return self._free(inputs, resting, length, mask, masks, weights)
        again = self.checkpoint > 0 and torch.is_grad_enabled()
        size = self.checkpoint if again else length
        fused = (
            mask is None
            and weights is not None
            and self.cell.can_run(masks)
            and _all_plain(inputs, *state, *weights)
        )
        block = self._fused if fused else self._block
        state = state[0].to(kind), state[1].to(wide_type(a_tensor_of(self.cell)))
        outputs, last = [], torch.zeros_like(state[0])
        for start in range(0, length, size):
            steps = slice(start, min(start + size, length))
            begin = None if at_rest and fused and not start else state
            parts = (
                None if inputs is None else inputs[steps],
                begin,
                last,
                steps.stop - start,
                None if mask is None else mask[steps],
            )
            call = (block, *parts, masks, weights)
            result, state, last = (
                recompute(*call, use_reentrant=False, preserve_rng_state=weights is None)
                if again
                else block(*call[1:])
            )
            outputs.append(result)
        return (outputs[0] if len(outputs) == 1 else torch.cat(outputs)).transpose(0, 1), state

    def _fused(
        self,
        inputs: Tensor | None,
        state: State | None,
        last: Tensor,
        length: int,
        mask: None,
        masks: DropoutMasks | None,
        weights: Weights,
    ):
        """As ``_block``, in one function; None for a state of zeros."""
        return *self.cell.run(inputs, state, length, masks, weights), last

    def _block(
        self,
        inputs: Tensor | None,
        state: State,
        last: Tensor,
        length: int,
        mask: Tensor | None,
        masks: DropoutMasks | None,
        weights: Weights | None,
    ):
        """Some steps: inputs (T, B, C, H, W) and the output before them -> outputs (T, B, F, H',
        W'), final state, last output.

        Without weights the cell is called as a module, one step at a time.
        """
        kind = state[0].dtype
        frames = [None] * length if inputs is None else inputs
        if weights is not None and inputs is not None:
            frames = self.cell.convolve_input(inputs, masks, weights).unbind(0)
        given = () if masks is None else (masks,)
        outputs = []
        for step, frame in enumerate(frames):
            h, c = (
                self.cell(frame, state, *given)
                if weights is None
                else self.cell.step(frame, state, masks, weights)
            )
            new = h.to(kind), c
            if mask is None:
                state, last = new, new[0]
            else:
                last = torch.where(mask[step], new[0], last)
                state = tuple(
                    torch.where(mask[step], *parts) for parts in zip(new, state, strict=True)
                )
            outputs.append(last)
        return torch.stack(outputs), state, last

    def _free(
        self,
        inputs: Tensor | None,
        state: State,
        length: torch.SymInt,
        mask: Tensor | None,
        masks: DropoutMasks | None,
        weights: Weights | None,
    ) -> tuple[Tensor, State]:
        """All steps for a graph that takes any length: inputs (T, B, C, H, W) -> outputs (B, T, F,
        H', W') and the final state.

        Without weights the cell is called as a module, as in ``_block``.
        """
        kind = state[0].dtype
        if inputs is None:
            frames = state[0].new_zeros(length)  # only its length counts
        elif weights is None:
            frames = inputs
        else:
            frames = self.cell.convolve_input(inputs, masks, weights)
        if mask is None:
            seen = torch.ones(length, dtype=torch.bool, device=state[0].device)
        else:
            seen = mask
        given = () if masks is None else (masks,)

        def step(
            carried: tuple[Tensor, ...], entries: tuple[Tensor, Tensor]
        ) -> tuple[tuple[Tensor, ...], Tensor]:
            *old, last = carried
            frame, seen_now = entries
            frame = None if inputs is None else frame
            if weights is None:
                h, c = self.cell(frame, tuple(old), *given)
            else:
                h, c = self.cell.step(frame, tuple(old), masks, weights)
            new = h.to(kind), c
            if mask is None:
                return (*new, new[0]), new[0]
            last = torch.where(seen_now, new[0], last)
            kept = [torch.where(seen_now, *parts) for parts in zip(new, old, strict=True)]
            return (*kept, last), last

        (h, c, _), outputs = follow(step, (*state, torch.zeros_like(state[0])), (frames, seen))
        return outputs.transpose(0, 1), (h, c)


def _is_as_written(cell: nn.Module) -> bool:
    """Whether a call of a cell is ``ConvLSTMCell.forward`` as it stands here; else a layer has to
    call it, step by step.

    Not so with hooks of any kind, ``compile()``, a wrapper around it, or where a subclass or the
    instance itself brings another ``forward``.
    """
    names = ("forward", "step", "convolve_input")
    own = all(
        getattr(type(cell), name, None) is getattr(ConvLSTMCell, name) and name not in vars(cell)
        for name in names
    )
    return own and torch_private.call_is_forward(cell)


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


def _all_plain(*tensors: Tensor | None) -> bool:
    return all(tensor is None or torch_private.is_plain(tensor) for tensor in tensors)


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
            f"{name} is {value}; a whole number from 1, or two of them for rows and columns, is "
            "needed."
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
    free = any(
        isinstance(missing, torch.SymInt) for missing in (rows, columns)
    )  # odd at one size, even at another
    if not free and rows % 2 == columns % 2 == 0:
        return maps, (rows // 2, columns // 2)
    return F.pad(maps, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)), (0, 0)


def _missing(side: int, kernel: int, stride: int, dilation: int) -> int:
    """What a side lacks so that a convolution gives ceil(side / stride)."""
    reach = dilation * (kernel - 1)
    if stride == 1:
        return reach  # of any side, also of one that a graph leaves free
    return torch.sym_max(0, (side - 1) // stride * stride + reach + 1 - side)
