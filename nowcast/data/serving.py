"""The process that reads radar files for another one: a reader comes first, then paths; what it
sends back is JSON and the bytes of arrays, never a pickle.
"""

import ctypes
import json
import os
import pickle
import signal
import struct
import sys
from collections.abc import Iterator

import numpy as np

from nowcast.runtime.errors import IsForecast, Unavailable, UserError, first_line
from nowcast.types.frames import Frames, Grid

_PARENT_DEATH_SIGNAL = 1  # prctl's PR_SET_PDEATHSIG
LENGTH = struct.Struct("<Q")  # before each message
KINDS = {kind.__name__: kind for kind in (UserError, Unavailable, IsForecast)}
"""Of errors that the process tells of, by name; any other is a plain one."""


def send(pipe: int, message: bytes | memoryview) -> None:
    """Its length and itself; without a copy, as it may be gigabytes."""
    for data in (memoryview(LENGTH.pack(len(message))), memoryview(message)):
        while data:
            data = data[os.write(pipe, data) :]


def serve(requests: int, answers: int, memory_mb: int) -> None:
    """Answer until nobody asks any more.

    Args:
        requests: pipe to read from.
        answers: pipe to write to.
        memory_mb: address space this process may have.
    """
    import resource

    if sys.platform == "linux":
        # ends with its parent, even if that is killed
        ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_AS, (memory_mb * 2**20, memory_mb * 2**20))
    # a crash on a hostile file leaves no image of the memory behind
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with os.fdopen(requests, "rb") as file:
        reader = pickle.loads(_next(file))
        while (path := _next(file)) is not None:
            for message in _answer(reader, os.fsdecode(path)):
                send(answers, message)


def _next(file) -> bytes | None:
    head = file.read(LENGTH.size)
    return file.read(LENGTH.unpack(head)[0]) if len(head) == LENGTH.size else None


def _answer(reader, path: str) -> Iterator[bytes | memoryview]:
    """A header as JSON, then the bytes of the arrays that it describes."""
    arrays = []
    try:
        found = reader.read(path)
        if isinstance(found, str):
            header = {"text": found}
        else:
            header, arrays = _as_messages(found)
    except UserError as error:
        header = {"error": str(error), "kind": type(error).__name__}
    except MemoryError:
        header = {
            "error": f"{path} needs more memory than a radar file may take; it is very large, "
            "damaged or hostile: split it by time, or leave it out."
        }
    except Exception as error:
        # a library's own exception that a reader did not foresee is a bad file, too
        header = {
            "error": f"{path} cannot be read ({type(error).__name__}: {first_line(error)}); it is "
            "damaged or of another format."
        }
    yield json.dumps(header).encode()
    for array in arrays:
        yield memoryview(array.reshape(-1).view(np.uint8))


def _as_messages(frames: Frames) -> tuple[dict, list[np.ndarray]]:
    grid, times = frames.grid, frames.times.astype(np.int64)
    parts = (frames.values, times, grid.x, grid.y, frames.discarded)
    arrays = [np.ascontiguousarray(array) for array in parts]
    header = {
        "crs": grid.crs,
        "source": frames.source,
        "quantity": frames.quantity,
        "remarks": frames.remarks,
        "arrays": [(array.dtype.str, array.shape) for array in arrays],
    }
    return header, arrays


def from_messages(header: dict, arrays: list[np.ndarray]) -> Frames:
    """The frames that a process sent."""
    values, times, x, y, discarded = arrays
    grid, times = Grid(header["crs"], x, y), times.astype("datetime64[s]")
    source, quantity, remarks = header["source"], header["quantity"], tuple(header["remarks"])
    return Frames(values, times, grid, source, quantity, discarded, remarks)
