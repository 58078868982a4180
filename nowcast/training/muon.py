"""Muon: an optimiser that steps along momentum whose matrices are made orthogonal (Jordan et al.
2024, kellerjordan.github.io/posts/muon).

Adam scales every number of a gradient by itself. The gradient of a convolution is, as a matrix from
what one output sees to the outputs, nearly of low rank: a few directions have almost all of it, and
the others are learnt late. An orthogonal matrix goes equally far in all of them.
"""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.optim import Optimizer

# Rounds of x -> a x + b x^3 + c x^5 bring singular values near 1, and with these numbers of Jordan
# et al. the small ones as fast as can be. They make five; after three a step is as good here.
_ROUNDS, _A, _B, _C = 3, 3.4445, -4.7750, 2.0315
_ADAM_SHARE = 0.25  # of the learning rate: with it biases keep pace with convolutions


class Muon(Optimizer):
    """Steps along orthogonal momentum for convolutions, Adam for all other parameters.

    ``torch.optim.Muon`` takes matrices alone and leaves the rest to another optimiser. Here the
    weight of a convolution is one, (F, C, k, l) -> (F, C k l).

    Args:
        parameters: to train; those with four axes are convolutions.
        lr: learning rate: how far a step goes in every direction of a convolution's input; Adam's
            is a quarter of it.
        momentum: share of the past gradients that is kept, with Nesterov's look ahead.
        betas: of Adam.
        eps: of Adam.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 1e-3,
        *,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure=None):
        """One step; parameters without a gradient stay as they are.

        Args:
            closure: computes the loss and its gradients, called before the step.

        Returns:
            What the closure returned.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                if parameter.ndim == 4:
                    self._follow_momentum(parameter, group)
                else:
                    self._follow_adam(parameter, group)
        return loss

    def _follow_momentum(self, weight: Tensor, group: dict) -> None:
        """A step of the weight of a convolution."""
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        momentum, share = state["momentum"], group["momentum"]
        momentum.mul_(share).add_(weight.grad)
        ahead = weight.grad.add(momentum, alpha=share)
        update = orthogonal(ahead.flatten(1))
        # a matrix with more rows than columns makes many outputs of few inputs: the root lets each
        # of them change as much as the outputs of a wide one
        size = max(1.0, update.shape[0] / update.shape[1]) ** 0.5
        weight.sub_(update.view_as(weight), alpha=group["lr"] * size)

    def _follow_adam(self, parameter: Tensor, group: dict) -> None:
        """A step of any other parameter."""
        state = self.state[parameter]
        if not state:
            state["step"] = 0
            state["mean"], state["square"] = (torch.zeros_like(parameter) for _ in range(2))
        state["step"] += 1
        (first, second), gradient = group["betas"], parameter.grad
        state["mean"].lerp_(gradient, 1 - first)
        state["square"].lerp_(gradient.square(), 1 - second)
        mean = state["mean"] / (1 - first ** state["step"])
        root = (state["square"] / (1 - second ** state["step"])).sqrt()
        parameter.sub_(mean / (root + group["eps"]), alpha=_ADAM_SHARE * group["lr"])


def orthogonal(matrices: Tensor) -> Tensor:
    """The nearly orthogonal matrix of the same rows and columns' directions, (..., A, B).

    U S V^T becomes U S' V^T with S' between 0.7 and 1.2 for all but the very smallest of S. The
    rounds are done on the small square matrix M M^T.
    """
    tall = matrices.shape[-2] > matrices.shape[-1]
    wide = matrices.mT if tall else matrices
    wide = wide / wide.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-12)
    gram = wide @ wide.mT
    identity = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    factor = identity
    for _ in range(_ROUNDS):
        round_ = _A * identity + _B * gram + _C * gram @ gram
        factor = round_ @ factor
        gram = round_ @ gram @ round_
    result = factor @ wide
    return result.mT if tall else result
