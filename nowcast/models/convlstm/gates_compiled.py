"""The gates in C, compiled on first use by the system's compiler for this processor.

That takes about a second, and the library is kept in ``$XDG_CACHE_HOME/nowcast``
(``~/.cache/nowcast``). Without a compiler, or with the environment variable
``NOWCAST_GATES=torch``, torch does the same in more passes over memory.
"""

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from nowcast.models.convlstm.equations import Plain
from nowcast.runtime.threads import in_new_thread

SOURCE = Path(__file__).with_name("gates.c")
FLAGS = [
    "-std=gnu11",
    "-O3",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fPIC",
    "-Wno-unknown-pragmas",
]
WISHES = [  # the first that works
    ["-march=native", "-mprefer-vector-width=512", "-fopenmp"],
    ["-march=native", "-fopenmp"],
    ["-march=native"],
    [],
]
COMPILERS = ("cc", "gcc", "clang")
TYPES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}


class Compiled:
    """The functions of gates.c; its calls are those of ``nowcast.models.convlstm.gates``.

    Args:
        library: the shared library.

    Raises:
        OSError: it cannot be loaded here.
    """

    name = "C"

    def __init__(self, library: Path):
        handle = ctypes.CDLL(str(library))
        size, pointer = ctypes.c_ssize_t, ctypes.c_void_p
        number, whole = ctypes.c_float, ctypes.c_int
        self._functions = {}
        for dtype, name in TYPES.items():
            forward, backward = handle[f"gates_forward_{name}"], handle[f"gates_backward_{name}"]
            forward.argtypes = [size, size, *[pointer] * 8, number, whole]
            backward.argtypes = [size, size, *[pointer] * 8, number, pointer, whole]
            forward.restype = backward.restype = None
            self._functions[dtype] = forward, backward

    def parts(self, before: Tensor) -> int:
        """Rows of ``zero_sums``."""
        return torch.get_num_threads()

    def forward(self, conv, add, keep, before, after, h, peephole, forget_offset) -> None:
        """One step."""
        tensors = (conv, add, keep, before, after, h, *_zeros(peephole, h))
        self._functions[h.dtype][0](
            *before.shape, *map(_address, tensors), forget_offset, torch.get_num_threads()
        )

    def backward(self, z, before, dh, more_dh, dc, dz, peephole, forget_offset, sums) -> None:
        """The gradient of one step."""
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
    for command in _compilers():
        try:
            version = subprocess.run(
                [*command, "--version"], capture_output=True, check=True, timeout=60
            ).stdout
        except (OSError, subprocess.SubprocessError):
            continue
        for wishes in WISHES:
            parts = [SOURCE.read_bytes(), version, _processor(), torch.__version__.encode()]
            parts += map(str.encode, wishes)
            key = hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
            for folder in (_cache_folder, _temporary_folder):
                try:
                    found = _library(folder() / f"gates-{key}.so", [*command, *FLAGS, *wishes])
                except (OSError, RuntimeError, AttributeError, subprocess.SubprocessError):
                    continue  # no home, no room, no compiler, a library that lacks something
                if in_new_thread(partial(_agrees, found)):
                    return found
    return None


def _compilers() -> list[list[str]]:
    """The commands that may compile, the user's own first."""
    chosen = os.environ.get("CC", "").split()
    found = [[path] for path in map(shutil.which, COMPILERS) if path]
    return [chosen, *found] if chosen else found


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
    folder = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (folder if folder.is_absolute() else Path.home() / ".cache") / "nowcast"


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
        object_file, linked = f"{folder}/gates.o", f"{folder}/gates.so"
        without_openmp = [item for item in command if item != "-fopenmp"]
        for call in (
            [*command, "-c", str(SOURCE), "-o", object_file],
            [*without_openmp, "-shared", object_file, "-o", linked],
        ):
            subprocess.run(call, capture_output=True, check=True, timeout=300)
        os.replace(linked, library)


def _processor() -> bytes:
    """What distinguishes processors that one home folder may meet: a library made for one is not
    run on another.
    """
    machine, path = platform.machine().encode(), Path("/proc/cpuinfo")
    if not path.is_file():
        return machine + platform.processor().encode()
    kinds = (b"model name", b"flags", b"Features", b"CPU part")
    lines = path.read_bytes().split(b"\n\n")[0].splitlines()
    return machine + b"".join(line for line in lines if line.startswith(kinds))


def _agrees(found: Compiled) -> bool:
    """Whether a library computes, in both types and both directions, what torch does, so that a
    wrong compiler does no harm.
    """
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu")

    for dtype, tolerance in ((torch.float32, 1e-4), (torch.bfloat16, 0.05)):
        conv, add, dh = draw(5, 68).to(dtype), draw(5, 68).to(dtype), draw(5, 17).to(dtype)
        before, dc, peephole = draw(5, 17), draw(5, 17), draw(3, 17)
        results = []
        for kernel in (found, Plain):
            z, after, h = torch.empty_like(conv), torch.empty_like(before), torch.empty_like(dh)
            gradient, sums = dc.clone(), before.new_zeros(kernel.parts(before), 7 * 17)
            kernel.forward(conv, add, z, before, after, h, peephole, 0.5)
            kernel.backward(z, before, dh, None, gradient, z, peephole, 0.5, sums)
            results.append((after, h, gradient, z, sums.sum(0)))
        for one, other in zip(*results, strict=True):
            if not torch.allclose(one, other, rtol=tolerance, atol=tolerance):
                return False
    return True
