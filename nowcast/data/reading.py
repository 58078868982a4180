"""Reading radar files in a process of their own, which can be killed: a file may crash or hang the
library that reads it.

The process gets the reader and the paths from here, see ``nowcast.data.serving``.
"""

import json
import os
import pickle
import select
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

import numpy as np

from nowcast.data.containers import Listing, OpenedInputs, open_containers, stored_size
from nowcast.data.private_folder import remove_folders_of
from nowcast.data.serving import KINDS, LENGTH, from_messages, send
from nowcast.runtime.environment import cleaned
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Frames

_SECONDS = 120.0  # a small file that takes longer to read is given up
_SLOWEST = 2e6  # bytes a second that a file of many frames is read with, at least
# address space of a reading process; a file that claims more is refused by the operating system
_MEMORY_MB = 8192
_MOST_HEADER_BYTES = 2**26
_ENDING_SECONDS = 10.0  # a process whose pipe is closed ends in a moment


class TooSlow(UserError):
    """A file that was given up because reading it took too long."""


class _TooMuch(Exception):
    """An answer that is longer than any radar file has reason for."""


class ReadingProcess:
    """A reader that lives in another process, with the same ``read``; started on first use, and
    anew after it was lost.

    Args:
        reader: has ``read(path)``, which returns Frames (a ``readers.base.Reader``) or text.
        seconds: a file that takes longer is given up; None: 2 minutes, and more for large files.
        memory_mb: address space the process may have.
    """

    def __init__(self, reader, *, seconds: float | None = None, memory_mb: int = _MEMORY_MB):
        self.reader, self.seconds, self.memory_mb = reader, seconds, memory_mb
        self._process = self._requests = self._answers = None

    def __enter__(self) -> "ReadingProcess":
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def read(self, path: str | Path) -> Frames | str:
        """As the reader's own.

        Raises:
            UserError: as the reader's own; also a file that crashed the process, or took too long
                or too much memory.
        """
        if self._process is not None and self._process.poll() is not None:
            self.close()  # it died while nobody asked it, so that is not this file's fault
        if self._process is None:
            self._start()
        seconds = seconds_for(path) if self.seconds is None else self.seconds
        try:
            answer = self._ask(path, time.monotonic() + seconds)
        except TimeoutError:
            self.close()
            raise TooSlow(
                f"{path} could not be read within {seconds:g} seconds; the machine or the disk is "
                "busy, or it is damaged or hostile: try again, or leave it out."
            ) from None
        except BaseException:
            self.close()  # whatever it is doing, nobody waits for it any more
            raise
        if isinstance(answer, UserError):
            raise answer
        return answer

    def close(self) -> None:
        """Kill the process; the next read starts another one."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        # a killed process cannot tidy up itself
        remove_folders_of(process.pid)
        os.close(self._requests)
        os.close(self._answers)

    def interrupt(self) -> None:
        """End the process while another thread waits for its answer: that thread is told, and
        closes what it uses.
        """
        process = self._process
        if process is not None:
            process.kill()

    def _start(self) -> None:
        theirs_in, self._requests = os.pipe()
        self._answers, theirs_out = os.pipe()
        program = (
            f"import sys; sys.path[:] = {sys.path!r}; from nowcast.data.serving import "
            f"serve; serve({theirs_in}, {theirs_out}, {self.memory_mb})"
        )
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", program],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs_in, theirs_out),
                start_new_session=True,  # Ctrl-C is for this process, which then ends the other
                env=cleaned(os.environ),
            )
        except OSError as error:
            os.close(self._requests)
            os.close(self._answers)
            raise UserError(
                f"no process to read radar files could be started ({error.strerror or error}); "
                "the file was not read."
            ) from error
        finally:
            os.close(theirs_in)
            os.close(theirs_out)
        send(self._requests, pickle.dumps(self.reader))

    def _ask(self, path: str | Path, deadline: float) -> Frames | str | UserError:
        """What the process answers, a UserError where the reader raised one."""
        try:
            send(self._requests, os.fsencode(path))
            header = json.loads(self._receive(deadline, most=_MOST_HEADER_BYTES))
            if "error" in header:
                return KINDS.get(header.get("kind"), UserError)(header["error"])
            if "text" in header:
                return header["text"]
            arrays = []
            for dtype, shape in header["arrays"]:
                arrays.append(np.frombuffer(self._receive(deadline), dtype).reshape(shape))
            return from_messages(header, arrays)
        except _TooMuch:
            raise UserError(
                f"{path} gave more than {_MOST_HEADER_BYTES // 2**20} MB of what describes it; it "
                "is damaged or hostile, leave it out; an archive of very many files, unpack."
            ) from None
        except (BrokenPipeError, EOFError):
            raise _lost(path, self._ended()) from None

    def _ended(self) -> int:
        """The exit code of a process whose pipe is closed; one that lives on is killed."""
        try:
            return self._process.wait(timeout=_ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _receive(self, deadline: float, *, most: int | None = None) -> bytearray:
        (size,) = LENGTH.unpack(self._bytes(LENGTH.size, deadline))
        if most is not None and size > most:
            raise _TooMuch
        return self._bytes(size, deadline)

    def _bytes(self, size: int, deadline: float) -> bytearray:
        received = bytearray()
        while len(received) < size:
            if not select.select([self._answers], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise TimeoutError
            part = os.read(self._answers, min(size - len(received), 2**20))
            if not part:
                raise EOFError
            received += part
        return received


def seconds_for(path: str | Path) -> float:
    """How long a file may take, which may have very many frames; one that is not there, the
    shortest time.
    """
    return _SECONDS + stored_size(path) / _SLOWEST


def _lost(path: str | Path, code: int) -> UserError:
    """What it means that a process ended while it read a file."""
    reason = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
    advice = "it is damaged or hostile, leave it out"
    if code == -signal.SIGKILL:  # nothing in a file does that
        advice = (
            "somebody or the system ended it, perhaps for want of memory: try again with more "
            "memory or fewer workers"
        )
    return UserError(f"{path} ended the process that read it ({reason}); {advice}.")


def opened_inputs(
    paths: Iterable[Path], *, separately: bool = True, digests: bool = False
) -> OpenedInputs:
    """Files, and the members of the archives among them; see ``nowcast.data.containers``.

    Args:
        paths: files.
        separately: whether archives are looked into in a process that can be killed; else in this
            one.
        digests: whether the SHA-256 of each member is needed, too.
    """
    listing = Listing(digests)
    if not separately:
        return open_containers(paths, listing)
    with ReadingProcess(listing) as process:
        return open_containers(paths, process)


def in_order(
    paths: Iterable[Path],
    reader,
    prepare: Callable[[Frames], object] = lambda frames: frames,
    *,
    workers: int = 0,
) -> Iterator[tuple[Path, object]]:
    """(path, what is made of its frames) for each path in its order; a UserError is a result.

    Args:
        paths: files; no more than twice the workers are read ahead.
        reader: of the files; with workers, in a `ReadingProcess`.
        prepare: what is made of the frames of a file, in this process; may raise a UserError.
        workers: number of processes; 0: everything in this one.
    """

    def result(of, path):
        try:
            return prepare(of.read(path))
        except UserError as error:
            return error

    if workers == 0:
        yield from ((path, result(reader, path)) for path in paths)
        return
    processes = [ReadingProcess(reader) for _ in range(workers)]
    free = SimpleQueue()
    for process in processes:
        free.put(process)

    nobody_waits = threading.Event()

    def with_a_free_process(path):
        process = free.get()
        try:
            return path, None if nobody_waits.is_set() else result(process, path)
        finally:
            free.put(process)

    pool, ahead = ThreadPoolExecutor(workers), deque()
    try:
        for path in paths:
            ahead.append(pool.submit(with_a_free_process, path))
            # results wait for their turn: of few files, or frames would fill the memory
            if len(ahead) > 2 * workers:
                yield ahead.popleft().result()
        for future in ahead:
            yield future.result()
    finally:
        nobody_waits.set()
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.interrupt()
        pool.shutdown(wait=True)  # no thread uses a pipe any more that is closed now
        for process in processes:
            process.close()
