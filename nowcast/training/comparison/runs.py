"""The trainings of a comparison, and how they are finished."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import nowcast
from nowcast.forecasting.saving import SETTINGS_FILE
from nowcast.runtime.build import resolve
from nowcast.runtime.errors import UserError
from nowcast.runtime.threads import cores
from nowcast.training import checkpoints
from nowcast.training.comparison.settings import first_difference

COMMAND = (sys.executable, "-m", "nowcast")
LOG = "log.txt"
GRACE_SECONDS = 10  # in which a process that is asked to stop may do so by itself


class Run(NamedTuple):
    """One training, done or to be done.

    Args:
        model: its name in the comparison.
        seed: of its weights and samples.
        folder: its run folder.
        overrides: what it is called with.
        settings: the configuration that they make.
    """

    model: str
    seed: int
    folder: Path
    overrides: list[str]
    settings: dict

    def __str__(self) -> str:
        return f"{self.model}, seed {self.seed}"

    @property
    def scores(self) -> Path:
        """The table of its scores."""
        return self.folder / "evaluation" / "scores.csv"

    @property
    def is_partial(self) -> bool:
        """Whether its model has no forecast for some pixels.

        It and the baselines beside it are then judged on other pixels than the rest.
        """
        return resolve(self.settings["model"]["_target_"], "model").capabilities.partial

    def next_command(self) -> list[str] | None:
        """Arguments of the nowcast command that finishes it, None when it is finished."""
        if (self.folder / SETTINGS_FILE).is_file():
            if self.scores.is_file():
                return None
            return ["evaluate", f"run={self.folder}"]
        if checkpoints.any_in(self.folder / checkpoints.FOLDER):
            return ["train", f"resume={self.folder}"]
        return ["train", *self.overrides, f"output_dir={self.folder}"]


def refuse_other_settings(runs: list[Run], stored: Callable[[Path], dict]) -> None:
    """Refuse run folders that were made with other settings than are asked for now.

    Args:
        runs: what is asked for.
        stored: reads the configuration in a run folder.

    Raises:
        UserError: names the first such folder and setting.
    """
    for run in runs:
        has_weights = checkpoints.any_in(run.folder / checkpoints.FOLDER)
        if not has_weights and not (run.folder / SETTINGS_FILE).is_file():
            continue  # it is made anew
        if (run.folder / "config.yaml").is_file():
            where = first_difference(stored(run.folder), run.settings)
            if where:
                raise UserError(
                    f"{run.folder} was made with another {where} than is asked for now; choose "
                    "another output_dir."
                )


def finish_in_parallel(
    runs: list[Run], *, count: int, report: Callable[[str], None], options: Sequence[str] = ()
) -> list[str]:
    """Finish runs in processes, each with its share of the cores and a log file.

    All of them are stopped when this call is interrupted.

    Args:
        runs: those that are not finished.
        count: how many at a time.
        report: called with a sentence for each that starts or ends.
        options: further arguments of their commands, such as --config-dir.

    Returns:
        A sentence for each run that failed.

    Raises:
        UserError: a folder cannot be written to.
    """
    waiting, running, failed = list(runs), [], []
    # kill, too, is to stop the processes
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        while waiting or running:
            while waiting and len(running) < count:
                run = waiting.pop(0)
                process = _start(run, threads=max(1, cores() // count), options=options)
                running.append((run, process))
                report(f"{run}: started, see {run.folder / LOG}")
            time.sleep(0.1)
            for run, process in [pair for pair in running if pair[1].poll() is not None]:
                running.remove((run, process))
                if not process.returncode:
                    report(f"{run}: finished")
                else:
                    report(f"{run}: failed")
                    failed.append(f"{run}: {_last_line(run.folder / LOG)} ({run.folder / LOG})")
    finally:
        for _, process in running:
            process.terminate()
        for _, process in running:
            _end(process)
        signal.signal(signal.SIGTERM, before)
    return failed


def _start(run: Run, *, threads: int, options: Sequence[str]) -> subprocess.Popen:
    # the package need not be installed, nor be in the current folder
    paths = [str(Path(nowcast.__file__).parent.parent), os.environ.get("PYTHONPATH")]
    environment = {
        "OMP_NUM_THREADS": str(threads),
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }
    try:
        run.folder.mkdir(parents=True, exist_ok=True)
        log = (run.folder / LOG).open("a", encoding="utf-8")
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{run.folder / LOG} cannot be written: {reason}.") from error
    with log:
        return subprocess.Popen(
            [*COMMAND, *run.next_command(), *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | environment,
        )


def _end(process: subprocess.Popen) -> None:
    try:
        process.wait(timeout=GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it wrote nothing")
