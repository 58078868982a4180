"""A ConvLSTM over a whole sequence as one differentiable function: what makes the layer fast.

Its numbers are those of the steps one by one. What differs is the work around the convolutions:

- the input convolutions of all steps are one call, and so are, on the way back, the gradients of
  both weights and of the input;
- the gates are one pass over memory forward and one backward (``nowcast.models.convlstm.gates``);
- everything lies in memory with its channels last, written where the next reader wants it: nothing
  is stacked, split or copied;
- weights are cast once a call, not once a step, where autocast asks for bfloat16; c stays float32;
- the backward pass keeps x, z (what enters the gates), c and h of every step, and overwrites z with
  its gradient.

Axes: B batch, T time, C input channels, F hidden channels, H rows, W columns (of the state), N = B
H W.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nowcast.models.convlstm import gates
from nowcast.models.convlstm.equations import equations
from nowcast.models.convlstm.packed import Packed, Settings, convolution_backward, same_padding
from nowcast.models.network import without_autocast
from nowcast.runtime.torch_private import graph_is_kept, is_batch


class Arguments(NamedTuple):
    """What is differentiated; T is at least 1.

    inputs are (T, B, C, H', W'), padded unless ``Settings.padding`` does it; input_weight (4F, C /
    groups, k, l); bias (4F,); state_weight (4F, F, k, l), k and l odd; peephole (3, F); h and c (B,
    F, H, W). All but state_weight may be None: no inputs take h and c to start from, and no h and c
    mean zeros.
    """

    inputs: Tensor | None
    input_weight: Tensor | None
    bias: Tensor | None
    state_weight: Tensor
    peephole: Tensor | None
    h: Tensor | None
    c: Tensor | None


def run(
    arguments: Arguments, length: int, settings: Settings
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """All steps of a ConvLSTM with tanh and sigmoid.

    Returns:
        Outputs (T, B, F, H, W), and the final state. Outputs and h are of the type the convolutions
        ran in (bfloat16 under its autocast), c of float32 or wider.
    """
    dtype, device = working_type(arguments.state_weight), arguments.state_weight.device.type
    if arguments.inputs is not None:  # in one pass into the order that the convolutions want
        kind = dtype if dtype != arguments.state_weight.dtype else arguments.inputs.dtype
        ordered = arguments.inputs.permute(0, 1, 3, 4, 2).to(
            kind, memory_format=torch.contiguous_format
        )
        arguments = arguments._replace(inputs=ordered.permute(0, 1, 4, 2, 3))
    with without_autocast(device):
        if torch.is_grad_enabled() and any(
            part is not None and part.requires_grad for part in arguments
        ):
            usable = (
                part.clone() if part is not None and part.is_inference() else part
                for part in arguments
            )
            outputs, h, c = _Recurrence.apply(length, settings, dtype, *usable)
        else:
            outputs, h, c = _forward(arguments, length, settings, dtype, keep=False)[:3]
    return outputs, (h, c)


class _Recurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx, length, settings, dtype, *arguments):
        outputs, h, c, *kept = _forward(Arguments(*arguments), length, settings, dtype, keep=True)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*arguments, *kept)
        ctx.settings, ctx.dtype, ctx.size = settings, dtype, h.shape[2:]
        return outputs, h, c

    @staticmethod
    def backward(ctx, *gradients):
        *arguments, z, states, cells = ctx.saved_tensors
        arguments, needs = Arguments(*arguments), Arguments(*ctx.needs_input_grad[3:])
        if torch.is_grad_enabled() or any(
            gradient is not None and is_batch(gradient) for gradient in gradients
        ):  # create_graph=True: these gradients will be differentiated again; or many at once
            found = _differentiable_gradients(
                arguments, needs, gradients, len(z), ctx.settings, ctx.dtype
            )
        else:
            found = _gradients(arguments, needs, gradients, (z, states, cells), ctx)
        return None, None, None, *found


def _forward(
    arguments: Arguments, length: int, settings: Settings, dtype: torch.dtype, *, keep: bool
):
    """Outputs, final h and c; where ``keep``, also z (T, N, 4F), and h and c before the first and
    after every step (T + 1, N, F).
    """
    inputs, input_weight, bias, state_weight, peephole, h, c = arguments
    features, wide = state_weight.shape[1], wide_type(state_weight)
    bias = None if bias is None else bias.to(dtype)
    if inputs is None:
        batch, size, from_input = len(h), h.shape[2:], None
        z = h.new_empty(length, batch * size.numel(), 4 * features, dtype=dtype) if keep else None
    else:
        flat = inputs.flatten(0, 1)
        maps = F.conv2d(
            flat,
            _cast(input_weight, dtype),
            bias,
            settings.stride,
            settings.padding,
            settings.dilation,
            settings.groups,
        )
        batch, size, bias = inputs.shape[1], maps.shape[2:], None
        from_input = _rows(maps).view(length, -1, 4 * features)
        z = from_input if keep else None
    rows = batch * size.numel()
    states = state_weight.new_empty(length + 1, rows, features, dtype=dtype)
    cells = state_weight.new_empty(length + 1 if keep else 1, rows, features, dtype=wide)
    for first, value in ((states[0], h), (cells[0], c)):
        first.zero_() if value is None else first.copy_(_rows(value))
    wide_peephole = None if peephole is None else peephole.to(wide)
    convolution = Packed(state_weight.to(dtype), torch.Size([batch, features, *size]))
    for step in range(length):
        maps = _maps(states[step], size)
        before, after = (cells[step], cells[step + 1]) if keep else (cells[0], cells[0])
        add = None if from_input is None else from_input[step]
        at_rest = step == 0 and h is None  # a convolution of zeros is zero
        if at_rest or (add is not None and convolution.add_to(_maps(add, size), maps)):
            conv = kept = (
                None  # what enters the gates is all in ``add``, which is z where it is kept
            )
        else:
            conv, kept = _rows(convolution(maps, bias)), None if z is None else z[step]
        h_after, offset = states[step + 1], settings.forget_offset
        gates.forward(conv, add, kept, before, after, h_after, wide_peephole, offset)
    outputs = states[1:].view(length, batch, *size, features).permute(0, 1, 4, 2, 3)
    final = _maps(states[-1], size).clone(), _maps(cells[-1], size).clone()
    return outputs, *final, *((z, states, cells) if keep else ())


def _gradients(
    arguments: Arguments,
    needs: Arguments,
    gradients: tuple,
    kept: tuple[Tensor, Tensor, Tensor],
    ctx,
) -> Arguments:
    """Gradients of the arguments that need one, from those of outputs, h and c."""
    inputs, input_weight, _, state_weight, peephole, h, _ = arguments
    z, states, cells = kept
    d_outputs, d_h, d_c = gradients
    size, features = ctx.size, states.shape[-1]
    shape = torch.Size([states.shape[1] // size.numel(), features, *size])
    convolution = Packed(state_weight.to(ctx.dtype), shape)
    if d_outputs is not None:
        d_outputs = (
            d_outputs.permute(0, 1, 3, 4, 2).to(ctx.dtype).contiguous().view(len(z), -1, features)
        )
    d_state = None if d_h is None else _rows(d_h.to(ctx.dtype)).contiguous()
    if d_c is None:
        d_cell = torch.zeros_like(cells[0])
    else:
        d_cell = _rows(d_c.to(cells.dtype)).clone(memory_format=torch.contiguous_format)
    dz = torch.empty_like(z) if graph_is_kept() else z
    wide_peephole = None if peephole is None else peephole.to(cells.dtype)
    sums, offset = gates.zero_sums(cells[0]), ctx.settings.forget_offset
    for step in reversed(range(len(z))):
        d_output, before = None if d_outputs is None else d_outputs[step], cells[step]
        at_step = z[step], before, d_output, d_state, d_cell, dz[step]
        gates.backward(*at_step, wide_peephole, offset, sums)
        d_state = None
        if step or needs.h:
            d_state = _rows(convolution.gradient(_maps(dz[step], size)))
    found = dict.fromkeys(Arguments._fields)
    if needs.state_weight:
        first = 0 if h is not None else 1  # no weight has met a state of zeros
        found["state_weight"] = torch.zeros_like(state_weight)
        if len(z) > first:
            d_maps = _maps(dz[first:].flatten(0, 1), size)
            maps = _maps(states[first : len(z)].flatten(0, 1), size)
            weight, sides = convolution.weight, convolution.settings
            found["state_weight"] = convolution_backward(
                d_maps, maps, weight, sides, (False, True)
            )[1]
    if needs.inputs or needs.input_weight:
        flat = inputs.flatten(0, 1)
        wanted = needs.inputs, needs.input_weight
        d_inputs, found["input_weight"] = convolution_backward(
            _maps(dz.flatten(0, 1), size),
            flat,
            _cast(input_weight, ctx.dtype),
            ctx.settings,
            wanted,
        )
        found["inputs"] = d_inputs.unflatten(0, inputs.shape[:2]) if needs.inputs else None
    sums = sums.sum(0)
    found["bias"], found["peephole"] = sums[: 4 * features], sums[4 * features :].view(3, -1)
    found["h"], found["c"] = None if d_state is None else _maps(d_state, size), _maps(d_cell, size)
    for name, needed, value in zip(Arguments._fields, needs, arguments, strict=True):
        if not needed:
            found[name] = None
            continue
        found[name] = found[name].to(value.dtype)
        if name in ("input_weight", "state_weight"):  # as the weights themselves lie
            found[name] = found[name].contiguous()
    return Arguments(**found)


def _differentiable_gradients(
    arguments: Arguments,
    needs: Arguments,
    gradients: tuple,
    length: int,
    settings: Settings,
    dtype: torch.dtype,
) -> list:
    """The same from the steps one by one in operations that torch can differentiate again; slow,
    for second derivatives and many gradients at once.
    """
    with torch.enable_grad():
        inputs, input_weight, bias, state_weight, peephole, h, c = arguments
        cast = [
            part if part is None else part.to(dtype)
            for part in (inputs, input_weight, bias, state_weight)
        ]
        wide_peephole = (
            None if peephole is None else peephole.to(wide_type(state_weight))[:, :, None, None]
        )
        if inputs is not None:
            from_input = F.conv2d(
                cast[0].flatten(0, 1),
                cast[1],
                cast[2],
                settings.stride,
                settings.padding,
                settings.dilation,
                settings.groups,
            ).unflatten(0, inputs.shape[:2])
        if h is None:
            state = [
                state_weight.new_zeros(
                    inputs.shape[1], state_weight.shape[1], *from_input.shape[-2:]
                )
            ] * 2
        else:
            state = [h, c]
        state, outputs = [state[0].to(dtype), state[1].to(wide_type(state_weight))], []
        for step in range(length):
            z = F.conv2d(
                state[0],
                cast[3],
                cast[2] if inputs is None else None,
                padding=same_padding(state_weight),
            )
            z = z if inputs is None else z + from_input[step]
            new_h, new_c = equations(
                z.to(wide_type(state_weight)).chunk(4, dim=1),
                state[1],
                wide_peephole,
                settings.forget_offset,
            )
            state = [new_h.to(dtype), new_c]
            outputs.append(state[0])
        results = torch.stack(outputs), *state
    given = [
        (result, gradient)
        for result, gradient in zip(results, gradients, strict=True)
        if gradient is not None
    ]
    wanted = [part for part, need in zip(arguments, needs, strict=True) if need]
    found = iter(
        torch.autograd.grad(
            [result for result, _ in given],
            wanted,
            [gradient for _, gradient in given],
            create_graph=torch.is_grad_enabled(),
            allow_unused=True,
        )
    )
    return [next(found) if need else None for need in needs]


def _cast(weight: Tensor, dtype: torch.dtype) -> Tensor:
    return weight.to(dtype, memory_format=torch.channels_last)


def wide_type(weight: Tensor) -> torch.dtype:
    """The type of c beside a weight: float32 or wider."""
    return torch.promote_types(weight.dtype, torch.float32)


def working_type(weight: Tensor) -> torch.dtype:
    """The type that convolutions with a weight run in, and that outputs and h have: autocast's
    where it is on, else the weight's.
    """
    device = weight.device.type
    if weight.dtype == torch.float64 or not torch.amp.is_autocast_available(device):
        return weight.dtype
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype


def _rows(maps: Tensor) -> Tensor:
    """(M, C, H, W) -> (M H W, C), without a copy where channels lie last in memory."""
    return maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])


def _maps(rows: Tensor, size: torch.Size) -> Tensor:
    """(M H W, C) -> (M, C, H, W), the same memory."""
    return rows.view(-1, *size, rows.shape[-1]).permute(0, 3, 1, 2)
