"""What is done around a launch of jobs: their share of the cores, their words, and their end."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from hydra.plugins.launcher import Launcher

import nowcast
from nowcast.cli.common import print_line
from nowcast.cli.job import LOG, Job
from nowcast.runtime.errors import Terminated
from nowcast.runtime.threads import cores

_GRACE_SECONDS = 10  # in which a process that is asked to stop may do so by itself
_BASIC = "hydra._internal.core_plugins.basic_launcher"
_JOBLIB = "hydra_plugins.hydra_joblib_launcher"
_SUBMITIT = "hydra_plugins.hydra_submitit_launcher"


@contextmanager
def launched_elsewhere(
    job: Job, launcher: Launcher, overrides: Sequence[Sequence[str]], first: int
) -> Iterator[None]:
    """A block in which a launcher runs jobs.

    Args:
        job: what it runs.
        launcher: any of Hydra's.
        overrides: of each job.
        first: the number of the first one.
    """
    module = type(launcher).__module__
    if module.startswith(_BASIC):
        yield
        return
    job.together, where = _together(launcher, len(overrides))
    print_line(f"{len(overrides)} jobs, {where}; what each of them says is in its {LOG}")
    for number, items in enumerate(overrides, start=first):
        print_line(f"job {number}: {job.label(number, items)}")
    # the package need not be installed, nor be in the current folder
    package = str(Path(nowcast.__file__).parent.parent)
    paths = [package, os.environ.get("PYTHONPATH")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    with _stopped_together():
        yield


def _together(launcher: Launcher, count: int) -> tuple[int, str]:
    """How many jobs run at once on this machine, and where they run, in words."""
    module = type(launcher).__module__
    if module.startswith(_JOBLIB):
        asked = launcher.joblib.get("n_jobs", -1)
        at_once = min(count, asked if asked > 0 else max(1, cores() + 1 + asked))
        return at_once, f"{at_once} at a time"
    if module.startswith(_SUBMITIT) and type(launcher).__name__ == "LocalLauncher":
        return count, "all at once on this machine"
    return 1, f"by the {type(launcher).__name__}"


@contextmanager
def _stopped_together() -> Iterator[None]:
    """A block in which SIGTERM lets the processes of this one save what they do, and ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield  # where Python has no signal handlers
        return

    def stop(number, frame):
        signal.signal(number, signal.SIG_DFL)  # a second one ends this process at once
        end = time.monotonic() + _GRACE_SECONDS
        running, started = multiprocessing.active_children(), _started_by_submitit()
        for pid in [*(process.pid for process in running), *started]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        for process in running:
            process.join(max(0.0, end - time.monotonic()))
        while started & _started_by_submitit() and time.monotonic() < end:
            time.sleep(0.1)
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _started_by_submitit() -> set[int]:
    """Processes of this one that run jobs for submitit on this machine; they would outlive it.

    Where the system does not list them there are none.
    """
    found = set()
    for path in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):
            for pid in path.read_text().split():
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if any(word.startswith(b"submitit.") for word in words):
                    found.add(int(pid))
    return found
