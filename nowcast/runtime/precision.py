"""Which device and which precision are fast here.

That is bfloat16 for convolutions and matrix products where the hardware multiplies it fast, else
float32.
"""

import torch

from nowcast.runtime.errors import UserError
from nowcast.runtime.torch_private import cpu_multiplies_bfloat16

PRECISIONS = ("float32", "bf16-mixed")


def fastest_device() -> torch.device:
    """A GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def bf16_is_fast(device_type: str) -> bool:
    """Whether this machine has instructions that multiply bfloat16 faster than float32."""
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device_type == "cpu" and cpu_multiplies_bfloat16()


def precision_of(precision: str, device_type: str) -> str:
    """What "auto" means on "cuda" or "cpu": "float32" or "bf16-mixed"; any other precision means
    itself.
    """
    if precision != "auto":
        return precision
    return "bf16-mixed" if bf16_is_fast(device_type) else "float32"


def check_precision(precision: str, where: str = "precision") -> None:
    """Refuse what is no precision.

    Raises:
        UserError: names the setting.
    """
    if precision not in ("auto", *PRECISIONS):
        raise UserError(f"{where} is {precision!r}; accepted are auto, {', '.join(PRECISIONS)}.")


def autocast(device_type: str, precision: str) -> torch.autocast:
    """The precision as Lightning applies it: weights stay float32 and are cast where they are used.

    Args:
        device_type: "cuda" or "cpu".
        precision: "float32" or "bf16-mixed".
    """
    return torch.autocast(
        device_type, torch.bfloat16, enabled=precision == "bf16-mixed", cache_enabled=False
    )
