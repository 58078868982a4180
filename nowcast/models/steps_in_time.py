"""Steps through time that also run where the number of steps is not known yet: in a graph made by
``torch.export``.

A Python loop over a sequence is unrolled when a graph is made, and the graph then takes sequences
of that one length. Where the length is a symbol, torch's scan operator takes the loop's place: the
graph contains one step and takes any length, and the ONNX exporter makes a Scan node of it.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from nowcast.runtime import torch_private


def is_free(length: int | torch.SymInt) -> bool:
    """Whether a length is a symbol of a graph that ``torch.export`` is making, so that a loop of so
    many steps needs ``follow``.

    Without torch's scan operator no length is free: the loop is unrolled, and the graph takes one
    length.
    """
    return (
        torch_private.scan() is not None
        and isinstance(length, torch.SymInt)
        and torch.compiler.is_exporting()
    )


def loops_stay() -> bool:
    """Whether a graph is being made that can contain a loop, so that one of many operators is not
    unrolled but left to ``follow``.
    """
    return torch.compiler.is_exporting() and torch_private.scan() is not None


def follow(
    step: Callable[[tuple[Tensor, ...], tuple[Tensor, ...]], tuple[tuple[Tensor, ...], Tensor]],
    state: tuple[Tensor, ...],
    sequences: tuple[Tensor, ...],
) -> tuple[tuple[Tensor, ...], Tensor]:
    """Carry a state along sequences, with a length that is free; see ``is_free``.

    Args:
        step: takes the state and one entry of each sequence; returns the new state, of the same
            shapes and types, and an output.
        state: tensors to start from.
        sequences: tensors whose first axis is time, of one length.

    Returns:
        The final state, and the outputs of all steps, stacked along a new first axis.
    """

    def one(carried, entries):
        carried, output = step(carried, entries)
        return tuple(map(_copied, carried)), _copied(output)

    return torch_private.scan()(one, tuple(map(_copied, state)), sequences)


def repeated(step: Callable[[Tensor], Tensor], start: Tensor, times: int) -> Tensor:
    """A step done so many times, each on what the one before returned; in a graph as a loop, which
    contains the step once.

    Args:
        step: returns a tensor of the shape and type of what it takes.
        start: what the first step takes.
        times: at least 1.
    """
    if not loops_stay():
        for _ in range(times):
            start = step(start)
        return start

    def one(carried, entries):
        return (step(carried[0]),), entries[0]

    return follow(one, (start,), (start.new_zeros(times),))[0][0]


def _copied(tensor: Tensor) -> Tensor:
    """A copy in the plain order of memory: what a step returns may share no memory, and must lie as
    what it was given.
    """
    return tensor.clone(memory_format=torch.contiguous_format)
