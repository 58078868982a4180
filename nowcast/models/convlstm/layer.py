"""A ConvLSTM layer: a cell over a whole sequence.

Where nothing watches its steps, a sequence is one differentiable function (``recurrence``); else
the steps are made one by one, and the cell is called as a module where it has hooks or is another.

Axes: B batch, T time, C input channels, F hidden channels, H rows, W columns.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recompute

from nowcast.models.convlstm.cell import ConvLSTMCell, DropoutMasks, State, Weights
from nowcast.models.convlstm.recurrence import wide_type, working_type
from nowcast.models.convolutions import a_tensor_of, settings_text
from nowcast.models.steps_in_time import follow, is_free
from nowcast.runtime import torch_private
from nowcast.runtime.errors import UserError


class ConvLSTM(nn.Module):
    """A ConvLSTM layer over a sequence.

    The input convolutions of all steps run in one call before the recurrence. A cell with hooks
    (``spectral_norm``, ``weight_norm`` and pruning are some) is called once for every step instead.

    Args:
        input_channels: C; 0 for a layer without an input.
        hidden_channels: F.
        cell: all other settings of ``ConvLSTMCell``.
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
            raise UserError(f"checkpoint is {checkpoint}; expected 0, or a number of steps.")
        self.cell = ConvLSTMCell(input_channels, hidden_channels, **cell)
        self.go_backwards, self.stateful = go_backwards, stateful
        self.channels_last, self.checkpoint = channels_last, checkpoint
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
        if (inputs is None) != (self.cell.input_channels == 0):
            raise UserError(
                f"expected {'an input' if self.cell.input_channels else 'no input'} for a ConvLSTM "
                f"of {self.cell.input_channels} input channels, got "
                f"{'none' if inputs is None else 'one'}."
            )
        if state is None:
            state = self._state_kept()
        elif self.channels_last:
            state = tuple(part.movedim(-1, -3) for part in state)
        at_rest = state is None
        if inputs is not None:
            inputs = self._steps_first(inputs)
            if length not in (None, inputs.shape[0]):
                raise UserError(
                    f"length is {length}, but the input has {inputs.shape[0]} steps; give length "
                    "only where there is no input."
                )
            length = inputs.shape[0]
            state = state or self.cell.initial_state(inputs.shape[1], *inputs.shape[-2:])
        elif state is None or length is None or length < 0:
            raise UserError(
                "a ConvLSTM without input expected a state to start from and a length of at least "
                f"0, got {'no state' if state is None else 'a state'} and {length}."
            )
        self._check_state(inputs, state)
        mask = self._mask_by_step(mask, state[0].shape[0], length)
        outputs, state = self._run(_Sequence(inputs, length, mask), state, at_rest)
        if self.stateful:
            self._kept = tuple(part.detach() for part in state)
        if self.channels_last:
            outputs, *state = (values.movedim(-3, -1) for values in (outputs, *state))
        return outputs, tuple(state)

    def _state_kept(self) -> State | None:
        """Where the last call of a stateful layer ended, if there was one."""
        if not self.stateful or self._kept is None:
            return None
        weight = a_tensor_of(self.cell)
        # the layer may have moved since, or have run in inference mode
        h, c = (part.to(weight.device).clone() for part in self._kept)
        return h.to(weight.dtype), c.to(wide_type(weight))

    def _steps_first(self, inputs: Tensor) -> Tensor:
        """Inputs as they come -> (T, B, C, H, W), in the order of reading."""
        wanted = self.cell.input_channels
        axes = f"B, T, H, W, {wanted}" if self.channels_last else f"B, T, {wanted}, H, W"
        channels = inputs.shape[-1 if self.channels_last else 2] if inputs.ndim == 5 else None
        if channels != wanted or 0 in (inputs.shape[0], *inputs.shape[2:]):
            raise UserError(
                f"expected an input ({axes}), none of them 0 but T, got {tuple(inputs.shape)}."
            )
        inputs = (inputs.movedim(-1, 2) if self.channels_last else inputs).transpose(0, 1)
        return inputs.flip(0) if self.go_backwards else inputs

    def _check_state(self, inputs: Tensor | None, state: State) -> None:
        """Refuse a state that is not of the input's batch and size."""
        if inputs is None:
            batch, size = state[0].shape[0], state[0].shape[2:]
        else:
            batch, size = inputs.shape[1], self.cell.state_size(*inputs.shape[-2:])
        wanted = (batch, self.cell.hidden_channels, *size)
        if any(tuple(part.shape) != wanted for part in state):
            hint = "; call reset_state() before sequences of another size" if self.stateful else ""
            raise UserError(
                f"expected a state (B, F, H, W) of shape {wanted}, got {tuple(state[0].shape)} and "
                f"{tuple(state[1].shape)}{hint}."
            )

    def _mask_by_step(self, mask: Tensor | None, batch: int, length: int) -> Tensor | None:
        """A mask (B, T) -> (T, B, 1, 1, 1), in the order of reading."""
        if mask is None:
            return None
        if mask.dtype != torch.bool or mask.shape != (batch, length):
            raise UserError(
                f"expected a boolean mask of shape {(batch, length)}, got one of shape "
                f"{tuple(mask.shape)} and type {mask.dtype}."
            )
        return (mask.flip(1) if self.go_backwards else mask).T[:, :, None, None, None]

    def _run(self, sequence: "_Sequence", state: State, at_rest: bool) -> tuple[Tensor, State]:
        """Outputs (B, T, F, H', W') and the final state; ``at_rest``: the state is of zeros."""
        inputs, length, mask = sequence
        weight = a_tensor_of(self.cell)
        dtype = working_type(weight)
        if length == 0:
            h = state[0].to(dtype)
            return h.unsqueeze(1)[:, :0], (h, state[1])
        if mask is not None and inputs is not None:
            # before any arithmetic: the gradient of a product with NaN or infinity is NaN, even
            # where it is masked later
            inputs = torch.where(mask, inputs, 0.0)
            sequence = sequence._replace(inputs=inputs)
        masks = self.cell.dropout_masks(None if inputs is None else inputs[0], state)
        # Read here and not in a block, which may run again when parameters that were lent for this
        # call are back in their places.
        weights = self.cell.weights() if _is_as_written(self.cell) else None
        start = state[0].to(dtype), state[1].to(wide_type(weight))
        if is_free(length):
            return self._free(sequence, start, masks, weights)
        fused = mask is None and weights is not None and self.cell.can_run(masks)
        fused = fused and _all_plain(inputs, *state, *weights)
        return self._in_blocks(sequence, start, masks, weights, at_rest and fused, fused)

    def _in_blocks(
        self,
        sequence: "_Sequence",
        state: State,
        masks: DropoutMasks | None,
        weights: Weights | None,
        at_rest: bool,
        fused: bool,
    ) -> tuple[Tensor, State]:
        """The steps in blocks, of which each is computed once more for its gradient where
        ``checkpoint`` says so.
        """
        again = self.checkpoint > 0 and torch.is_grad_enabled()
        size = self.checkpoint if again else sequence.length
        block = self._fused if fused else self._block
        outputs, last = [], torch.zeros_like(state[0])
        for start in range(0, sequence.length, size):
            part = sequence.part(start, min(start + size, sequence.length))
            begin = None if at_rest and not start else state
            if again:
                found = recompute(
                    *(block, part, begin, last, masks, weights),
                    use_reentrant=False,
                    preserve_rng_state=weights is None,
                )
            else:
                found = block(part, begin, last, masks, weights)
            result, state, last = found
            outputs.append(result)
        return (outputs[0] if len(outputs) == 1 else torch.cat(outputs)).transpose(0, 1), state

    def _fused(
        self,
        sequence: "_Sequence",
        state: State | None,
        last: Tensor,
        masks: DropoutMasks | None,
        weights: Weights,
    ) -> tuple[Tensor, State, Tensor]:
        """As ``_block``, in one function; None for a state of zeros."""
        outputs, state = self.cell.run(sequence.inputs, state, sequence.length, masks, weights)
        return outputs, state, last

    def _block(
        self,
        sequence: "_Sequence",
        state: State,
        last: Tensor,
        masks: DropoutMasks | None,
        weights: Weights | None,
    ) -> tuple[Tensor, State, Tensor]:
        """Some steps, and the output before them -> outputs (T, B, F, H', W'), final state, last
        output.
        """
        inputs, length, mask = sequence
        dtype = state[0].dtype
        frames = [None] * length if inputs is None else inputs
        if weights is not None and inputs is not None:
            frames = self.cell.convolve_input(inputs, masks, weights).unbind(0)
        outputs = []
        for step, frame in enumerate(frames):
            h, c = self._step(frame, state, masks, weights)
            new = h.to(dtype), c
            if mask is None:
                state, last = new, new[0]
            else:
                last = torch.where(mask[step], new[0], last)
                state = tuple(
                    torch.where(mask[step], *parts) for parts in zip(new, state, strict=True)
                )
            outputs.append(last)
        return torch.stack(outputs), state, last

    def _step(
        self,
        frame: Tensor | None,
        state: State,
        masks: DropoutMasks | None,
        weights: Weights | None,
    ) -> State:
        """One step from the input's share of the gates; without weights the cell is called as a
        module, from the input itself.
        """
        if weights is not None:
            return self.cell.step(frame, state, masks, weights)
        return self.cell(frame, state) if masks is None else self.cell(frame, state, masks)

    def _free(
        self,
        sequence: "_Sequence",
        state: State,
        masks: DropoutMasks | None,
        weights: Weights | None,
    ) -> tuple[Tensor, State]:
        """All steps for a graph that takes any length: outputs (B, T, F, H', W') and the final
        state.
        """
        inputs, length, mask = sequence
        dtype = state[0].dtype
        if inputs is None:
            frames = state[0].new_zeros(length)  # only its length counts
        elif weights is None:
            frames = inputs
        else:
            frames = self.cell.convolve_input(inputs, masks, weights)
        seen = mask
        if mask is None:
            seen = torch.ones(length, dtype=torch.bool, device=state[0].device)

        def step(
            carried: tuple[Tensor, ...], entries: tuple[Tensor, Tensor]
        ) -> tuple[tuple[Tensor, ...], Tensor]:
            *old, last = carried
            frame, seen_now = entries
            frame = None if inputs is None else frame
            h, c = self._step(frame, tuple(old), masks, weights)
            new = h.to(dtype), c
            if mask is None:
                return (*new, new[0]), new[0]
            last = torch.where(seen_now, new[0], last)
            kept = [torch.where(seen_now, *parts) for parts in zip(new, old, strict=True)]
            return (*kept, last), last

        (h, c, _), outputs = follow(step, (*state, torch.zeros_like(state[0])), (frames, seen))
        return outputs.transpose(0, 1), (h, c)


class _Sequence(NamedTuple):
    """What a layer reads.

    Args:
        inputs: (T, B, C, H, W), in the order of reading; None for a layer without an input.
        length: T.
        mask: (T, B, 1, 1, 1), where the input counts; None: everywhere.
    """

    inputs: Tensor | None
    length: int
    mask: Tensor | None

    def part(self, start: int, stop: int) -> "_Sequence":
        """Some of the steps."""
        steps = slice(start, stop)
        inputs = None if self.inputs is None else self.inputs[steps]
        return _Sequence(inputs, stop - start, None if self.mask is None else self.mask[steps])


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


def _all_plain(*tensors: Tensor | None) -> bool:
    return all(tensor is None or torch_private.is_plain(tensor) for tensor in tensors)
