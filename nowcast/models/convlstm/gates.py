"""The gates of a ConvLSTM in one pass over memory: in C on a CPU, in Triton on a GPU, in torch
where there is neither.

Axes: N rows (one for each pixel of each sequence), F hidden channels; the four gates lie side by
side in the order i, f, c, o.

The C file is compiled on first use by the system's compiler for this processor, which takes about a
second, and kept in ``$XDG_CACHE_HOME/nowcast`` (``~/.cache/nowcast``). Without a compiler, or with
the environment variable ``NOWCAST_GATES=torch``, torch does the same in more passes.
"""

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

SOURCE = Path(__file__).with_name("gates.c")
FLAGS = [
    "-std=gnu11",
    "-O3",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fPIC",
    "-Wno-unknown-pragmas",
]
WISHES = [
    ["-march=native", "-mprefer-vector-width=512", "-fopenmp"],
    ["-march=native", "-fopenmp"],
    ["-march=native"],
    [],
]  # the first that works
COMPILERS = ("cc", "gcc", "clang")
TYPES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}


def equations(
    gates: tuple[Tensor, ...],
    c: Tensor,
    peephole: Tensor | None,
    forget_offset: float,
    gate_activation: Callable = torch.sigmoid,
    activation: Callable = torch.tanh,
) -> tuple[Tensor, Tensor]:
    """One step of a ConvLSTM from what enters its gates; see ``nowcast.models.convlstm.cell``.

    Args:
        gates: i, f, c and o, of one shape each.
        c: the cell state before, of that shape.
        peephole: three weights that spread over that shape, along the first axis; or None.
        forget_offset: is added to f.

    Returns:
        The new h and c, in the type of c.
    """
    i, f, g, o = gates
    if forget_offset:
        f = f + forget_offset
    if peephole is not None:
        i, f = i + peephole[0] * c, f + peephole[1] * c
    c = gate_activation(f) * c + gate_activation(i) * activation(g)
    if peephole is not None:
        o = o + peephole[2] * c
    return gate_activation(o) * activation(c), c


def forward(
    conv: Tensor | None,
    add: Tensor | None,
    keep: Tensor | None,
    before: Tensor,
    after: Tensor,
    h: Tensor,
    peephole: Tensor | None,
    forget_offset: float,
) -> None:
    """One step.

    Args:
        conv, add: what enters the gates is their sum; (N, 4F), contiguous, of one type; one of them
            may be None.
        keep: (N, 4F), gets that sum; may be ``add``; None where no backward pass will come.
        before: cell state (N, F), float32 or wider.
        after: (N, F), gets the new one; may be ``before``.
        h: (N, F), gets the new hidden state.
        peephole: (3, F) in the type of the cell state, or None.
        forget_offset: as for ``equations``.
    """
    kernel = _kernel(before, h) or Plain
    kernel.forward(conv, add, keep, before, after, h, peephole, forget_offset)


def backward(
    z: Tensor,
    before: Tensor,
    dh: Tensor | None,
    more_dh: Tensor | None,
    dc: Tensor,
    dz: Tensor,
    peephole: Tensor | None,
    forget_offset: float,
    sums: Tensor,
) -> None:
    """The gradient of one step.

    Args:
        z: what entered the gates, kept by ``forward``.
        before: the cell state before the step.
        dh, more_dh: gradient of h (N, F), the sum of the two; either may be None.
        dc: gradient of the new cell state (N, F), becomes that of ``before``.
        dz: (N, 4F), gets the gradient of z; may be z.
        peephole, forget_offset: as for ``forward``.
        sums: from ``zero_sums``; the gradients of bias and peepholes are added to it.
    """
    kernel = _kernel(before, z) or Plain
    kernel.backward(z, before, dh, more_dh, dc, dz, peephole, forget_offset, sums)


def zero_sums(before: Tensor) -> Tensor:
    """Where ``backward`` adds up: (parts, 7F), bias first, then peepholes; the gradient is the sum
    over the first axis.
    """
    return before.new_zeros((_kernel(before, before) or Plain).parts(before), 7 * before.shape[1])


def implementation(device: torch.device) -> str:
    """What computes the gates in float32 and bfloat16 on a device: "C", "Triton" or "torch"."""
    probe = torch.empty(0, device=device, dtype=torch.float32)
    return (_kernel(probe, probe) or Plain).name


def _kernel(c: Tensor, z: Tensor):
    """What can work on tensors of these types, or None; only real memory has an address."""
    if c.dtype != torch.float32 or z.dtype not in TYPES or type(c) is not Tensor:
        return None
    if c.device.type == "cpu":
        return compiled()
    return _triton() if c.device.type == "cuda" else None


class Plain:
    """The same in torch's operators, for any device and type."""

    name = "torch"

    @staticmethod
    def parts(before: Tensor) -> int:
        return 1

    @staticmethod
    def forward(conv, add, keep, before, after, h, peephole, forget_offset) -> None:
        parts = [part.to(before.dtype) for part in (conv, add) if part is not None]
        z = parts[0] if len(parts) == 1 else parts[0] + parts[1]
        if keep is not None:
            keep.copy_(z)
        new_h, new_c = equations(z.chunk(4, dim=1), before, peephole, forget_offset)
        after.copy_(new_c)
        h.copy_(new_h)

    @staticmethod
    def backward(z, before, dh, more_dh, dc, dz, peephole, forget_offset, sums) -> None:
        with torch.enable_grad():
            inputs = [
                z.detach().to(before.dtype).requires_grad_(),
                before.detach().requires_grad_(),
            ]
            if peephole is not None:
                inputs.append(peephole.detach().requires_grad_())
            h, c = equations(
                inputs[0].chunk(4, dim=1),
                inputs[1],
                inputs[2] if peephole is not None else None,
                forget_offset,
            )
        parts = [part.to(h.dtype) for part in (dh, more_dh) if part is not None]
        gradient = (
            torch.zeros_like(h)
            if not parts
            else parts[0]
            if len(parts) == 1
            else parts[0] + parts[1]
        )
        from_z, from_before, *from_peephole = torch.autograd.grad([h, c], inputs, [gradient, dc])
        features = before.shape[1]
        sums[0, : 4 * features] += from_z.sum(0)
        if from_peephole:
            sums[0, 4 * features :] += from_peephole[0].flatten()
        dz.copy_(from_z)
        dc.copy_(from_before)


class Compiled:
    """The functions of gates.c.

    Args:
        library: the shared library.

    Raises:
        OSError: it cannot be loaded here.
    """

    name = "C"

    def __init__(self, library: Path):
        handle = ctypes.CDLL(str(library))
        size, pointer, number, whole = (
            ctypes.c_ssize_t,
            ctypes.c_void_p,
            ctypes.c_float,
            ctypes.c_int,
        )
        self._functions = {}
        for dtype, name in TYPES.items():
            forward, backward = (
                getattr(handle, f"gates_forward_{name}"),
                getattr(handle, f"gates_backward_{name}"),
            )
            forward.argtypes = [size, size, *[pointer] * 8, number, whole]
            backward.argtypes = [size, size, *[pointer] * 8, number, pointer, whole]
            forward.restype = backward.restype = None
            self._functions[dtype] = forward, backward

    def parts(self, before: Tensor) -> int:
        return torch.get_num_threads()

    def forward(self, conv, add, keep, before, after, h, peephole, forget_offset) -> None:
        tensors = (conv, add, keep, before, after, h, *_zeros(peephole, h))
        self._functions[h.dtype][0](
            *before.shape, *map(_address, tensors), forget_offset, torch.get_num_threads()
        )

    def backward(self, z, before, dh, more_dh, dc, dz, peephole, forget_offset, sums) -> None:
        tensors = (z, before, dh, more_dh, dc, dz, *_zeros(peephole, before))
        self._functions[z.dtype][1](
            *before.shape, *map(_address, tensors), forget_offset, _address(sums), len(sums)
        )


def _zeros(peephole: Tensor | None, like: Tensor) -> tuple[Tensor, Tensor]:
    """Peepholes, zeros for none; and zeros for a row of gates that is not there."""
    zeros = like.new_zeros(4 * like.shape[1], dtype=torch.float32)
    return zeros if peephole is None else peephole.contiguous(), zeros


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


@functools.cache
def compiled() -> Compiled | None:
    """gates.c as a library, compiled now or by an earlier run; None where that cannot be done."""
    if os.environ.get("NOWCAST_GATES") == "torch" or os.name != "posix":
        return None
    for command in filter(
        None,
        (
            os.environ.get("CC", "").split(),
            *([found] for found in map(shutil.which, COMPILERS) if found),
        ),
    ):
        try:
            version = subprocess.run(
                [*command, "--version"], capture_output=True, check=True, timeout=60
            ).stdout
        except (OSError, subprocess.SubprocessError):
            continue
        for wishes in WISHES:
            key = hashlib.sha256(
                b"\0".join(
                    [
                        SOURCE.read_bytes(),
                        version,
                        _processor(),
                        torch.__version__.encode(),
                        *map(str.encode, wishes),
                    ]
                )
            ).hexdigest()[:16]
            for folder in (_cache_folder, _temporary_folder):
                try:
                    found = _library(folder() / f"gates-{key}.so", [*command, *FLAGS, *wishes])
                except (
                    OSError,
                    RuntimeError,
                    AttributeError,
                    subprocess.SubprocessError,
                ):  # no home, no room, no compiler, a library that lacks something
                    continue
                if apart(lambda found=found: _agrees(found)):
                    return found
    return None


def apart(function: Callable[[], bool]) -> bool:
    """Call a function in a thread of its own: the caller's inference mode, autocast, checkpointing
    and tracing, whatever it is in the middle of, stay outside.
    """
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(function).result()


def _library(path: Path, command: list[str]) -> Compiled:
    """A library from a folder that nobody else can write to; one that is not there, or damaged, is
    made anew.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for place in filter(Path.exists, (path.parent, path)):
        status = place.stat()
        if status.st_uid != os.geteuid() or status.st_mode & 0o022:
            raise OSError(f"{place} can be changed by others")
    if path.is_file():
        try:
            return Compiled(path)
        except (OSError, AttributeError):
            path.unlink()
    _compile(command, path)
    return Compiled(path)


def _cache_folder() -> Path:
    """The user's cache; by the rules of XDG a relative one does not count."""
    told = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(told) if Path(told).is_absolute() else Path.home() / ".cache") / "nowcast"


def _temporary_folder() -> Path:
    """A folder that lives as long as this process."""
    return Path(_temporary().name)


@functools.cache
def _temporary() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="nowcast-")


def _compile(command: list[str], library: Path) -> None:
    """Compile and link apart: linked without its own OpenMP, the library uses the one that torch
    has loaded, and its threads.
    """
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        for arguments in (
            ["-c", str(SOURCE), "-o", f"{folder}/gates.o"],
            ["-shared", f"{folder}/gates.o", "-o", f"{folder}/gates.so"],
        ):
            options = (
                [item for item in command if item != "-fopenmp"]
                if "-shared" in arguments
                else command
            )
            subprocess.run([*options, *arguments], capture_output=True, check=True, timeout=300)
        os.replace(f"{folder}/gates.so", library)


def _processor() -> bytes:
    """What distinguishes processors that one home folder may meet: a library made for one is not
    run on another.
    """
    path = Path("/proc/cpuinfo")
    lines = (
        path.read_bytes().split(b"\n\n")[0].splitlines()
        if path.is_file()
        else [platform.processor().encode()]
    )
    return b"".join(
        [
            platform.machine().encode(),
            *(
                line
                for line in lines
                if line.startswith((b"model name", b"flags", b"Features", b"CPU part"))
                or not path.is_file()
            ),
        ]
    )


def _agrees(found: Compiled) -> bool:
    """Whether a library computes, in both types and both directions, what torch does, so that a
    wrong compiler does no harm.
    """
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu")

    for dtype, tolerance in ((torch.float32, 1e-4), (torch.bfloat16, 0.05)):
        conv, add, dh, before, dc, peephole = (
            draw(5, 68).to(dtype),
            draw(5, 68).to(dtype),
            draw(5, 17).to(dtype),
            draw(5, 17),
            draw(5, 17),
            draw(3, 17),
        )
        results = []
        for kernel in (found, Plain):
            z, after, h, gradient, sums = (
                torch.empty_like(conv),
                torch.empty_like(before),
                torch.empty_like(dh),
                dc.clone(),
                before.new_zeros(kernel.parts(before), 7 * 17),
            )
            kernel.forward(conv, add, z, before, after, h, peephole, 0.5)
            kernel.backward(z, before, dh, None, gradient, z, peephole, 0.5, sums)
            results.append((after, h, gradient, z, sums.sum(0)))
        if not all(
            torch.allclose(*pair, rtol=tolerance, atol=tolerance)
            for pair in zip(*results, strict=True)
        ):
            return False
    return True


@functools.cache
def _triton():
    """The same in Triton, which comes with torch for CUDA; None without it."""
    if os.environ.get("NOWCAST_GATES") == "torch":
        return None
    try:
        from nowcast.models.convlstm import gates_triton
    except ImportError:
        return None
    return gates_triton.Fused()
