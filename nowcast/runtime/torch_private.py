"""Private functions of torch: every one that nowcast uses is named here and nowhere else.

They make the ConvLSTM fast, or say what watches a computation. A release of torch may rename or
drop any of them. So each is looked up when it is needed, and where it is missing the answer is the
one that stays right at the price of speed: something might be watching, a graph might be needed
again, an operator is not there. A test takes every one of them away and compares the values.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

_MISSING = (AttributeError, ImportError)
_PLAIN_TYPES = (Tensor, nn.Parameter)
_CPU_INFORMATION = Path("/proc/cpuinfo")


def dispatch_mode_active() -> bool:
    """Whether a mode such as ``FakeTensorMode`` or a tracer sees every operator; True where torch
    does not say.
    """
    try:
        from torch.utils._python_dispatch import _get_current_dispatch_mode

        return _get_current_dispatch_mode() is not None
    except _MISSING:
        return True


def transforms_active() -> bool:
    """Whether a transform of torch.func (vmap, grad, jvp) is at work; True where torch does not
    say.
    """
    try:
        return torch._C._are_functorch_transforms_active()
    except _MISSING:
        return True


def forward_derivatives_active() -> bool:
    """Whether a level of forward-mode derivatives is open; True where torch does not say."""
    try:
        return torch.autograd.forward_ad._current_level >= 0
    except _MISSING:
        return True


def scan() -> Callable | None:
    """Torch's scan operator, one step of a loop whose length is free in a graph; None where it has
    moved or gone.
    """
    try:
        from torch._higher_order_ops.scan import scan as operator

        return operator
    except _MISSING:
        return None


def is_batch(gradient: Tensor) -> bool:
    """Whether many gradients come as one tensor, as ``is_grads_batched`` sends them; True where
    torch does not say.
    """
    names = (
        "is_batchedtensor",
        "is_legacy_batchedtensor",
    )  # the second one goes when the old vmap does
    try:
        checks = [
            check
            for name in names
            if (check := getattr(torch._C._functorch, name, None)) is not None
        ]
    except _MISSING:
        return True
    return not checks or any(check(gradient) for check in checks)


def graph_is_kept() -> bool:
    """Within a backward pass: whether its graph is kept for another one, so that nothing of it may
    be overwritten; True where torch does not say.
    """
    try:
        return torch._C._autograd._get_current_graph_task_keep_graph()
    except _MISSING:
        return True


def call_is_forward(module: nn.Module) -> bool:
    """Whether a call of the module is its ``forward`` and nothing more; False where torch does not
    say.

    More are hooks of any kind, of the module or of all modules (``spectral_norm``, ``weight_norm``
    and pruning are hooks, too), and ``module.compile()``.
    """
    everywhere = torch.nn.modules.module
    kinds = ("forward_hooks", "forward_pre_hooks", "backward_hooks", "backward_pre_hooks")
    try:
        own = [getattr(module, f"_{kind}") for kind in kinds]
        shared = [getattr(everywhere, f"_global_{kind}") for kind in kinds]
        compiled = module._compiled_call_impl
    except _MISSING:
        return False
    return compiled is None and not any(own) and not any(shared)


def is_plain(tensor: Tensor) -> bool:
    """Whether a tensor is one of torch's own, not of a class that gives operators another meaning
    (DTensor, FakeTensor, LoRA weights).
    """
    return type(tensor) in _PLAIN_TYPES


def order_convolution_weight(weight: Tensor, padding: list[int], shape: list[int]) -> Tensor:
    """A weight (G, C, k, l) in the order that oneDNN wants for maps of a shape (B, C, H, W).

    Raises:
        AttributeError: this torch has no such function.
        RuntimeError: oneDNN does not take this type here.
    """
    return torch._C._nn.mkldnn_reorder_conv2d_weight(
        weight.to_mkldnn(), padding, [1, 1], [1, 1], 1, shape
    )


def convolve_ordered(
    maps: Tensor, weight: Tensor, bias: Tensor | None, padding: list[int]
) -> Tensor:
    """The convolution of maps (B, C, H, W) with a weight from ``order_convolution_weight``; errors
    as there.
    """
    return torch.ops.mkldnn._convolution_pointwise(
        maps, weight, bias, padding, [1, 1], [1, 1], 1, "none", [], ""
    )


def add_convolution_ordered(sums: Tensor, maps: Tensor, weight: Tensor, padding: list[int]) -> None:
    """Adds the same to sums (B, G, H, W) in place; errors as for ``order_convolution_weight``."""
    settings = (padding, [1, 1], [1, 1], 1, "add", 1.0, None, [], None)
    torch.ops.mkldnn._convolution_pointwise_.binary(sums, maps, weight, None, *settings)


def cpu_multiplies_bfloat16() -> bool:
    """Whether this processor has instructions for bfloat16 (AVX-512 BF16 or AMX); read from the
    system where torch does not say.
    """
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    checks = [check for name in names if (check := getattr(torch.cpu, name, None)) is not None]
    if checks:
        return any(check() for check in checks)
    try:
        flags = _CPU_INFORMATION.read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_tile" in flags
