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
from contextlib import contextmanager
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
# seconds in which processes that start at the same time have found each other, also on a busy
# machine
_MEETING = 300.0
_ATTEMPT = timedelta(seconds=10)  # of a connection
_GROUP = timedelta(
    minutes=30
    # torch's own: one process may need longer than another to make its data ready; the watcher
    # knows if it is lost
)
# seconds that the first process has to end by itself once another one failed: it may be writing a
# checkpoint
_LAST_STEPS = 20.0
_LEAVING = 2.0  # the same of the others, which write nothing
_CLEANING = 0.5  # seconds that Python may take for its own end in a process that nobody waits for
_WORD = 5.0  # seconds in which a broken connection is explained by the process that broke it
_LOST, _FIRST_LOST = (
    -1,
    -2,
)  # in place of a rank: a process ended without a word, and the one that speaks did
_FAILED, _ORDER, _NOTHING = "failed", "order", "nothing"
_BROKEN = (
    "gloo",
    "nccl",
    "connection",
    "socket",
    "broken pipe",
    "tcpstore",
    "recv",
)  # words of errors of a connection


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
        package = str(
            Path(nowcast.__file__).parent.parent
        )  # need not be installed, nor be in the current folder
        path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
        shared = {
            "PYTHONPATH": path,
            MARK: "1",
            "WORLD_SIZE": str(count),
            "LOCAL_WORLD_SIZE": str(count),
        }
        shared |= {"MASTER_ADDR": self.world.address, "MASTER_PORT": str(self.world.port)}
        with _without_interrupts():
            for rank in range(1, count):
                environment = os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
                arguments = [sys.executable, "-m", "nowcast", *command]
                self._children.append(
                    subprocess.Popen(arguments, stdin=subprocess.DEVNULL, env=environment)
                )

    def give(self, order: dict) -> None:
        """Tell the other processes what to do; what JSON can express."""
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
        from torch.distributed import TCPStore

        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(
                signal.SIGTERM, _terminate
            )  # else this process alone would end, without a word to the others
        world = self.world
        serves = self.first and not (
            world.starter == TORCHRUN and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        )
        end = time.monotonic() + _MEETING
        while self.store is None:
            try:
                self.store = TCPStore(
                    world.address,
                    world.port,
                    is_master=serves,
                    timeout=_ATTEMPT,
                    wait_for_workers=False,
                )
            except Exception as error:  # a port that is taken, or nobody there yet
                if self._is_orphan():
                    raise SystemExit(EXIT_ERROR) from error
                if not serves and time.monotonic() < end:
                    continue
                what = (
                    "cannot be used"
                    if serves
                    else f"was not answered by the first process within {_MEETING:g} s"
                )
                raise UserError(
                    f"{world.address}:{world.port}, where the {world.size} processes of this "
                    f"training meet, {what} ({first_line(error)[:200]}); "
                    "set another MASTER_PORT, or unset WORLD_SIZE RANK LOCAL_RANK if no "
                    "processes were started."
                ) from error
        self.store.set_timeout(_GROUP)
        if serves and not world.port:
            self.world = replace(world, port=self.store.port)
        self._watcher = threading.Thread(target=self._watch, name="processes", daemon=True)
        self._watcher.start()

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
        everybody = [f"here/{rank}" for rank in range(self.world.size)]
        if self._wait_for(lambda: self.store.check(everybody), seconds=_MEETING):
            return
        absent = [rank for rank in range(self.world.size) if not self.store.check([f"here/{rank}"])]
        raise UserError(
            f"of {self.world.size} processes that are to train together, "
            f"{', '.join(map(str, absent))} did not come within {_MEETING:g} s; "
            "start all of them (torchrun, srun), or unset WORLD_SIZE RANK LOCAL_RANK or "
            "SLURM_NTASKS to train in one."
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
        return (
            Failure(**json.loads(self.store.get(_FAILED))) if self.store.check([_FAILED]) else None
        )

    def _report(self, failure: Failure) -> Failure:
        """Enter a failure; the one that counts, which another process may have entered before."""
        return Failure(
            **json.loads(self.store.compare_set(_FAILED, "", json.dumps(asdict(failure))))
        )

    def _end_well(self) -> None:
        self._say_farewell("left")
        if self.first:
            self.store.set(_NOTHING, "")
            self._all_left(
                "left", _LAST_STEPS
            )  # it serves the store, without which the others would take it for lost

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
        except (
            RuntimeError
        ):  # the first process is gone, and with it the store; it may have said why
            failure = self._seen or self._first_lost()
            heard = failure.rank != _FIRST_LOST or self.world.rank > 1
        expected = (
            isinstance(error, (UserError, KeyboardInterrupt, Terminated, SystemExit))
            or failure.rank != self.world.rank
        )
        if not expected:
            traceback.print_exception(error)
        elif not heard:
            raise failure.error() from error
        self._say_farewell("seen", "gone")
        raise SystemExit(failure.code) from error

    def _say_farewell(self, *words: str) -> None:
        """Enter that nothing more will come from here; the first process may end this one from now
        on.
        """
        for worker in (
            multiprocessing.active_children()
        ):  # that prepare batches; they would notice only after seconds that they are not needed
            worker.terminate()
        try:
            for word in words:
                self.store.set(f"{word}/{self.world.rank}", "")
        except RuntimeError:  # nobody listens any more
            pass

    def _explained(self, error: BaseException) -> Failure:
        """The failure that an error of this process stands for; a broken connection is only what is
        seen of it here.
        """
        if _is_of_a_connection(error):
            self._until(lambda: self._failure() is not None, _WORD)
        return self._report(self._own(error))

    def _own(self, error: BaseException) -> Failure:
        rank, size = self.world.rank, self.world.size
        codes = {KeyboardInterrupt: EXIT_INTERRUPTED, Terminated: EXIT_TERMINATED}
        code = next((code for kind, code in codes.items() if isinstance(error, kind)), EXIT_ERROR)
        if isinstance(error, UserError):
            return Failure(rank, code, str(error))
        if _is_of_a_connection(
            error
        ):  # counts as a failure of another process, so that no traceback is shown
            lost = (
                f"a process of {size} was lost ({first_line(error)[:200]}); checkpoints that "
                "were saved are intact."
            )
            return Failure(_LOST, code, lost)
        return Failure(
            rank,
            code,
            f"process {rank} of {size} failed: {type(error).__name__}: {first_line(error)[:300]}",
        )

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
                if (
                    self._seen is not None
                    and not self._ending
                    and signal.getsignal(signal.SIGTERM) is _terminate
                ):
                    signal.pthread_kill(
                        threading.main_thread().ident, signal.SIGTERM
                    )  # wakes it; there is nothing to save yet, or any more
            elif time.monotonic() - since > (
                _LAST_STEPS if self.first or self._ending else _LEAVING
            ):
                self._give_up(self._seen)

    def _look(self, store) -> Failure | None:
        """A failure somewhere; that it was seen here is entered."""
        size = self.world.size
        try:
            for rank, child in enumerate(self._children, start=1):
                if child.poll() and not store.check([_FAILED]):
                    code = (
                        EXIT_TERMINATED if child.returncode == -signal.SIGTERM else EXIT_ERROR
                    )  # it came before there was anything to save
                    lost = Failure(
                        _LOST,
                        code,
                        f"process {rank} of {size} was lost ({_how(child.returncode)}); "
                        "checkpoints that were saved are intact.",
                    )
                    store.compare_set(_FAILED, "", json.dumps(asdict(lost)))
            if self._is_orphan():
                return self._first_lost()
            if not store.check([_FAILED]):
                return None
            failure = Failure(**json.loads(store.get(_FAILED)))
            store.set(
                f"seen/{self.world.rank}", ""
            )  # after which the first process, and the store, may be gone
            return failure
        except RuntimeError:  # nobody answers any more
            return None if self._closing.is_set() else self._first_lost()

    def _first_lost(self) -> Failure:
        return Failure(
            _FIRST_LOST,
            EXIT_ERROR,
            f"the first of {self.world.size} processes was lost; checkpoints that were saved are "
            "intact.",
        )

    def _give_up(self, failure: Failure) -> None:
        """End this process, whose main thread waits for something that will not come."""
        for child in self._children:
            child.kill()
        speaks = self.first or (failure.rank == _FIRST_LOST and self.world.rank == 1)
        if speaks:
            self._say(
                {EXIT_INTERRUPTED: "interrupted", EXIT_TERMINATED: "terminated"}.get(
                    failure.code, f"error: {one_line(failure.text)}"
                )
            )
        os._exit(failure.code)


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
