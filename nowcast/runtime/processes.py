"""Processes that work on one thing: they start together, know what the others do, and end together.

The first process (rank 0) speaks for all of them: where another one fails, it passes its error on
and ends without a word, and the first process raises that error as its own. So a mistake is one
line with one exit code, whoever found it. They talk through torch's key-value store, which the
first process serves (under torchrun its agent does); a thread in each looks into it, so that a
process that waits for one that is gone does not wait for ever.
"""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path

import nowcast
from nowcast.runtime.errors import (
    EXIT_ERROR,
    EXIT_INTERRUPTED,
    EXIT_TERMINATED,
    Terminated,
    UserError,
    first_line,
    one_line,
)
from nowcast.runtime.world import ALONE, MARK, OURS, TORCHRUN, World

_LOOK = 0.2  # seconds between looks at what the others do
# Seconds in which processes that start at the same time have found each other, also on a busy
# machine.
_MEETING = 300.0
_ATTEMPT = timedelta(seconds=10)  # of a connection
# Torch's own: one process may need longer than another to make its data ready; the watcher knows if
# it is lost.
_GROUP = timedelta(minutes=30)
# Seconds that the first process has to end by itself once another one failed: it may be writing a
# checkpoint.
_LAST_STEPS = 20.0
_LEAVING = 2.0  # the same of the others, which write nothing
_CLEANING = 0.5  # seconds that Python may take for its own end in a process that nobody waits for
_WORD = 5.0  # seconds in which a broken connection is explained by the process that broke it
# In place of a rank: a process ended without a word, and the one that speaks did.
_LOST, _FIRST_LOST = -1, -2
_FAILED, _ORDER, _NOTHING = "failed", "order", "nothing"  # keys of the store
# Words of errors of a connection.
_BROKEN = ("gloo", "nccl", "connection", "socket", "broken pipe", "tcpstore", "recv")
_INTACT = "checkpoints that were saved are intact."


@dataclass(frozen=True)
class Failure:
    """Why a process ended.

    Args:
        rank: the process that failed first; ``_LOST`` or ``_FIRST_LOST``, where it could not say
            so.
        code: with which all of them exit.
        text: a sentence.
    """

    rank: int
    code: int
    text: str

    def error(self) -> BaseException:
        """The exception for it, in another process than the one that failed."""
        if self.code == EXIT_INTERRUPTED:
            return KeyboardInterrupt()
        return Terminated() if self.code == EXIT_TERMINATED else UserError(self.text)


class Processes:
    """The processes of a training, as a context: whatever happens inside to one of them ends all of
    them.

    Args:
        world: what this process was started as.
        say: called with the end of a line on the terminal where the process that has to write it is
            stuck, before it ends at once.
    """

    def __init__(self, world: World, *, say: Callable[[str], None]):
        self.world, self._say = world, say
        self.store = None
        self._children: list[subprocess.Popen] = []
        self._parent = os.getppid()
        self._seen: Failure | None = None  # what the watcher found
        self._ending = False  # on its way out, with an error that is being passed on
        self._closing = threading.Event()
        self._watcher: threading.Thread | None = None
        self._before = None
        if world.size > 1:
            self._meet()

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.world.rank == 0

    def start(self, count: int, command: list[str]) -> None:
        """Become the first of ``count`` processes; the others are started here, and meet this one
        as ``world.started_world`` finds them.

        Args:
            count: number of processes; nothing is started where this one is not alone, or to stay
                alone.
            command: arguments of nowcast.
        """
        if self.world.starter != ALONE or count == 1:
            return
        self.world = World(0, count, 0, count, OURS)
        self._meet()
        # The package need not be installed, nor be in the current folder.
        package = str(Path(nowcast.__file__).parent.parent)
        shared = os.environ | {
            "PYTHONPATH": os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")])),
            MARK: "1",
            "WORLD_SIZE": str(count),
            "LOCAL_WORLD_SIZE": str(count),
            "MASTER_ADDR": self.world.address,
            "MASTER_PORT": str(self.world.port),
        }
        arguments = [sys.executable, "-m", "nowcast", *command]
        with _without_interrupts():
            for rank in map(str, range(1, count)):
                environment = shared | {"RANK": rank, "LOCAL_RANK": rank}
                child = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, env=environment)
                self._children.append(child)

    def give(self, order: dict) -> None:
        """Pass an order, which JSON can express, on to the other processes."""
        if self.world.size > 1:
            self.store.set(_ORDER, json.dumps(order))

    def receive(self) -> dict | None:
        """What the first process gave; None where it ended without giving anything."""
        self._wait_for(lambda: self.store.check([_ORDER]) or self.store.check([_NOTHING]))
        return json.loads(self.store.get(_ORDER)) if self.store.check([_ORDER]) else None

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, kind, error: BaseException | None, trace) -> None:
        if self.world.size == 1:
            return
        self._ending = True
        try:
            if error is None:
                self._end_well()
            elif self.first:
                self._fail_first(error)
            else:
                self._fail_other(error)
        finally:
            _leave_group()
            self._closing.set()
            self._watcher.join(_WORD)
            self._end_children()
            if self._before is not None:
                signal.signal(signal.SIGTERM, self._before)

    def _meet(self) -> None:
        """Connect to the store of the processes, and begin to look after them."""
        if threading.current_thread() is threading.main_thread():
            # Else this process alone would end, without a word to the others.
            self._before = signal.signal(signal.SIGTERM, _terminate)
        of_agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        serves = self.first and not (self.world.starter == TORCHRUN and of_agent)
        self.store = self._connected(serves)
        self.store.set_timeout(_GROUP)
        if serves and not self.world.port:
            self.world = replace(self.world, port=self.store.port)
        self._watcher = threading.Thread(target=self._watch, name="processes", daemon=True)
        self._watcher.start()

    def _connected(self, serves: bool):
        """The store, which this process serves, or which another one does soon."""
        from torch.distributed import TCPStore

        address, port, size = self.world.address, self.world.port, self.world.size
        end = time.monotonic() + _MEETING
        while True:
            try:
                return TCPStore(
                    address, port, is_master=serves, timeout=_ATTEMPT, wait_for_workers=False
                )
            except Exception as error:  # a port that is taken, or nobody there yet
                if self._is_orphan():
                    raise SystemExit(EXIT_ERROR) from error
                if not serves and time.monotonic() < end:
                    continue
                what = f"was not answered by the first process within {_MEETING:g} s"
                if serves:
                    what = "cannot be used"
                raise UserError(
                    f"{address}:{port}, where the {size} processes of this training meet, {what} "
                    f"({first_line(error)[:200]}); set another MASTER_PORT, or unset WORLD_SIZE "
                    "RANK LOCAL_RANK if no processes were started."
                ) from error

    def _is_orphan(self) -> bool:
        """Whether the process that started this one is gone."""
        return self.world.starter == OURS and not self.first and os.getppid() != self._parent

    def met(self) -> None:
        """Wait until all processes are here.

        Raises:
            UserError: one of them did not come.
        """
        if self.world.size == 1:
            return
        self.store.set(f"here/{self.world.rank}", "")
        size = self.world.size
        everybody = [f"here/{rank}" for rank in range(size)]
        if self._wait_for(lambda: self.store.check(everybody), seconds=_MEETING):
            return
        absent = [str(rank) for rank in range(size) if not self.store.check([everybody[rank]])]
        raise UserError(
            f"of {size} processes that are to train together, {', '.join(absent)} did not come "
            f"within {_MEETING:g} s; start all of them (torchrun, srun), or unset WORLD_SIZE RANK "
            "LOCAL_RANK or SLURM_NTASKS to train in one."
        )

    def _wait_for(self, condition: Callable[[], bool], *, seconds: float = float("inf")) -> bool:
        """Whether a condition was met in time; a failure elsewhere ends the waiting with its
        exception.
        """
        end = time.monotonic() + seconds
        while not condition():
            failure = self._failure()
            if failure is not None:
                raise failure.error()
            if time.monotonic() > end:
                return False
            time.sleep(_LOOK / 4)
        return True

    def _failure(self) -> Failure | None:
        """The first failure of all processes."""
        return _of_text(self.store.get(_FAILED)) if self.store.check([_FAILED]) else None

    def _report(self, failure: Failure) -> Failure:
        """Enter a failure; the one that counts, which another process may have entered before."""
        return _of_text(self.store.compare_set(_FAILED, "", json.dumps(asdict(failure))))

    def _end_well(self) -> None:
        self._say_farewell("left")
        if self.first:
            self.store.set(_NOTHING, "")
            # It serves the store, without which the others would take it for lost.
            self._all_left("left", _LAST_STEPS)

    def _fail_first(self, error: BaseException) -> None:
        failure = self._explained(error)
        # Else they would take the end of the store for that of this process; one that was lost will
        # never say it.
        self._all_left("seen", _LEAVING if failure.rank == _LOST else _WORD)
        if self._children:
            self._all_left("gone", _LEAVING + _LOOK)
        if failure.rank != 0:
            raise failure.error() from error

    def _fail_other(self, error: BaseException) -> None:
        """End without a word, if the first process has taken it over; an error that nobody expected
        shows where it came from.
        """
        try:
            failure = self._explained(error)
            heard = self._until(lambda: self.store.check(["seen/0"]), _WORD)
        # The first process is gone, and with it the store; it may have said why.
        except RuntimeError:
            failure = self._seen or self._first_lost()
            heard = failure.rank != _FIRST_LOST or self.world.rank > 1
        is_known = isinstance(error, (UserError, KeyboardInterrupt, Terminated, SystemExit))
        if not is_known and failure.rank == self.world.rank:
            traceback.print_exception(error)
        elif not heard:
            raise failure.error() from error
        self._say_farewell("seen", "gone")
        raise SystemExit(failure.code) from error

    def _say_farewell(self, *words: str) -> None:
        """Enter that nothing more will come from here; the first process may end this one from now
        on.
        """
        # They prepare batches, and would notice only after seconds that they are not needed.
        for worker in multiprocessing.active_children():
            worker.terminate()
        with suppress(RuntimeError):  # nobody listens any more
            for word in words:
                self.store.set(f"{word}/{self.world.rank}", "")

    def _explained(self, error: BaseException) -> Failure:
        """The failure that an error of this process stands for; a broken connection is only what is
        seen of it here.
        """
        if _is_of_a_connection(error):
            self._until(lambda: self._failure() is not None, _WORD)
        return self._report(self._own(error))

    def _own(self, error: BaseException) -> Failure:
        rank, size, text = self.world.rank, self.world.size, str(error)
        code = EXIT_ERROR
        if isinstance(error, KeyboardInterrupt):
            code = EXIT_INTERRUPTED
        elif isinstance(error, Terminated):
            code = EXIT_TERMINATED
        if _is_of_a_connection(error):
            # Counts as a failure of another process, so that no traceback is shown.
            rank, text = (
                _LOST,
                f"a process of {size} was lost ({first_line(error)[:200]}); {_INTACT}",
            )
        elif not isinstance(error, UserError):
            what = f"{type(error).__name__}: {first_line(error)[:300]}"
            text = f"process {rank} of {size} failed: {what}"
        return Failure(rank, code, text)

    def _all_left(self, word: str, seconds: float) -> None:
        """Wait until every other process has said a word, or is gone."""

        def silent(rank: int) -> bool:
            ended = self._children and self._children[rank - 1].poll() is not None
            return not ended and not self.store.check([f"{word}/{rank}"])

        self._until(lambda: not any(silent(rank) for rank in range(1, self.world.size)), seconds)

    @staticmethod
    def _until(condition: Callable[[], bool], seconds: float) -> bool:
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                return False
            time.sleep(_LOOK / 4)
        return True

    def _end_children(self) -> None:
        """Wait for the processes that were started here; those that do not end by themselves are
        ended.
        """
        self._until(lambda: all(child.poll() is not None for child in self._children), _CLEANING)
        for child in self._children:
            if child.poll() is None:
                child.kill()
            child.wait()

    def _watch(self) -> None:
        """In a thread: look at the others until this process ends by itself, or has to be ended."""
        store, since = self.store.clone(), 0.0  # a connection of its own
        while not self._closing.wait(_LOOK):
            if self._seen is None:
                self._seen = self._look(store)
                since = time.monotonic()
                waits = signal.getsignal(signal.SIGTERM) is _terminate and not self._ending
                if self._seen is not None and waits:
                    # Wakes it; there is nothing to save yet, or any more.
                    signal.pthread_kill(threading.main_thread().ident, signal.SIGTERM)
                continue
            allowed = _LAST_STEPS if self.first or self._ending else _LEAVING
            if time.monotonic() - since > allowed:
                self._give_up(self._seen)

    def _look(self, store) -> Failure | None:
        """A failure somewhere; that it was seen here is entered."""
        try:
            for rank, child in enumerate(self._children, start=1):
                if child.poll() and not store.check([_FAILED]):
                    lost = self._lost(rank, child.returncode)
                    store.compare_set(_FAILED, "", json.dumps(asdict(lost)))
            if self._is_orphan():
                return self._first_lost()
            if not store.check([_FAILED]):
                return None
            failure = _of_text(store.get(_FAILED))
            # After which the first process, and the store, may be gone.
            store.set(f"seen/{self.world.rank}", "")
            return failure
        except RuntimeError:  # nobody answers any more
            return None if self._closing.is_set() else self._first_lost()

    def _lost(self, rank: int, code: int) -> Failure:
        """The failure of a process that was started here and ended without a word."""
        text = f"process {rank} of {self.world.size} was lost ({_how(code)}); {_INTACT}"
        # SIGTERM came before there was anything to save.
        return Failure(_LOST, EXIT_TERMINATED if code == -signal.SIGTERM else EXIT_ERROR, text)

    def _first_lost(self) -> Failure:
        text = f"the first of {self.world.size} processes was lost; {_INTACT}"
        return Failure(_FIRST_LOST, EXIT_ERROR, text)

    def _give_up(self, failure: Failure) -> None:
        """End this process, whose main thread waits for something that will not come."""
        for child in self._children:
            child.kill()
        if self.first or (failure.rank == _FIRST_LOST and self.world.rank == 1):
            signals = {EXIT_INTERRUPTED: "interrupted", EXIT_TERMINATED: "terminated"}
            self._say(signals.get(failure.code, f"error: {one_line(failure.text)}"))
        os._exit(failure.code)


def _of_text(text: bytes | str) -> Failure:
    """A failure that the store has as JSON."""
    return Failure(**json.loads(text))


def _leave_group() -> None:
    """Forget torch's group of processes: what comes after a training is done by one process."""
    import torch

    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _terminate(number: int, frame) -> None:
    """SIGTERM, as long as there is nothing to save."""
    raise Terminated


@contextmanager
def _without_interrupts():
    """Processes started meanwhile take no notice of Ctrl-C, which a terminal sends to all: the
    first one does, and ends the others.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _how(code: int) -> str:
    """How a process ended, in words."""
    if code > 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def _is_of_a_connection(error: BaseException) -> bool:
    """Whether an error says no more than that another process does not answer."""
    if not isinstance(error, RuntimeError):
        return False
    text = str(error).lower()
    return type(error).__name__.startswith("Dist") or any(word in text for word in _BROKEN)
