"""Optimisers and the schedule of the learning rate."""

import functools
import math
from collections.abc import Iterable

import torch

from nowcast.training.muon import Muon
from nowcast.training.settings import TrainingSettings

WARMUP = 0.05  # share of the training in which the learning rate rises to its full value


def optimizer_of(
    parameters: Iterable[torch.nn.Parameter], settings: TrainingSettings
) -> torch.optim.Optimizer:
    """The optimiser of a training."""
    rate = settings.learning_rate
    if settings.optimizer == "rmsprop":
        return torch.optim.RMSprop(parameters, lr=rate, alpha=0.9, eps=1e-6)
    if settings.optimizer == "muon":
        return Muon(parameters, lr=rate)
    # one pass over all weights; Lightning does not clip the gradients of such an optimiser
    fused = settings.gradient_clip is None
    return torch.optim.Adam(parameters, lr=rate, fused=fused)


def schedule_of(
    optimizer: torch.optim.Optimizer, settings: TrainingSettings, *, steps: int, shift: int
) -> torch.optim.lr_scheduler.LambdaLR:
    """The learning rate by step.

    Args:
        optimizer: whose rate it is.
        settings: of the training.
        steps: of the whole training.
        shift: added to the steps made, see ``nowcast.training.resuming``.
    """
    share = _constant
    if settings.schedule == "cosine":
        share = functools.partial(cosine_share, steps, shift=shift)
    return torch.optim.lr_scheduler.LambdaLR(optimizer, share)


def _constant(step: int) -> float:
    return 1.0


def cosine_share(total: int, step: int, *, shift: int = 0) -> float:
    """Share of the full learning rate at a step: a linear warm-up, then a cosine down to 0.

    It is 0 at ``total`` steps. Not kept in a checkpoint, so that a resumed run with more or fewer
    epochs gets down to 0, too.
    """
    step += shift
    warmup = max(1, round(WARMUP * total))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * min(1, (step - warmup) / max(1, total - warmup))))


def lay_like_parameters(states: dict[int, dict], parameters: list[torch.nn.Parameter]) -> None:
    """Lay what an optimiser remembers of each parameter in memory as the parameter lies.

    Values stay, ``states`` is changed in place. A fused optimiser walks through both in the order
    of memory. Checkpoints of earlier versions have weights, and so what is remembered of them, with
    the channels last.

    Args:
        states: number of a parameter -> what is remembered of it, as in
            ``Optimizer.state_dict()["state"]``.
        parameters: in the optimiser's order.
    """
    for index, remembered in states.items():
        parameter = parameters[index]
        for name, value in remembered.items():
            if not isinstance(value, torch.Tensor) or value.shape != parameter.shape:
                continue  # the number of steps
            if value.stride() != parameter.stride():
                laid = torch.empty_like(parameter, dtype=value.dtype, device=value.device)
                remembered[name] = laid.copy_(value)
