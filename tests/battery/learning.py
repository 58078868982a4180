"""Guarantees of training: killed, stopped, diverged or out of disk, nothing is lost and nothing is
pretended.
"""

import os
import resource
import signal
import time
from hashlib import sha256
from pathlib import Path

import numpy as np

from nowcast.runtime.errors import UserError
from tests.battery import workers
from tests.battery.stage import Outcome, Stage

_PATIENCE = 60.0  # seconds for anything that a small training does
_OTHER = Path("/dev/shm")  # another file system than that of temporary files, where there is one


def kill_and_resume(stage: Stage) -> Outcome:
    """Resume is exact: trainings killed at random moments end with the weights of the uninterrupted
    one.
    """
    outcome, (expected, seconds) = Outcome(), _uninterrupted(stage)
    for case in range(stage.number(6, 25)):
        folder, count = stage.folder / f"killed-{case}", (0, 2)[case % 2]
        with stage.process(workers.train, folder, count) as (process, pipe):
            _heard(pipe, "begun")
            time.sleep(stage.generator.uniform(0, seconds))
            process.kill()
            process.join()
        found = _finished(stage, folder, count)
        outcome.count(
            found == expected,
            f"case {case}, {count} workers: other weights than the uninterrupted training",
        )
    return outcome


def termination(stage: Stage) -> Outcome:
    """SIGTERM saves and says so: exit code 143 within 10 seconds, and an exact resume."""
    outcome, epochs = Outcome(), 12
    expected = _finished(stage, stage.folder / "whole", 0, epochs)
    for case in range(stage.number(5, 20)):
        folder, count = stage.folder / f"terminated-{case}", (0, 2)[case % 2]
        with stage.process(workers.train, folder, count, epochs) as (process, pipe):
            _heard(pipe, "begun")
            _wait_for((folder / "checkpoints" / "last.ckpt").exists)
            time.sleep(stage.generator.uniform(0, 0.3))
            began = time.monotonic()
            os.kill(process.pid, signal.SIGTERM)
            process.join(_PATIENCE)
            took = time.monotonic() - began
        outcome.count(
            process.exitcode == 143 and took < 10,
            f"case {case}: exit code {process.exitcode} after {took:.1f} s",
        )
        found = _finished(stage, folder, count, epochs)
        outcome.count(
            found == expected,
            f"case {case}, {count} workers: other weights than the uninterrupted training",
        )
    return outcome


def kills_while_saving(stage: Stage) -> Outcome:
    """A checkpoint survives kill -9: whatever was said to be saved is there and whole, on two file
    systems.
    """
    from nowcast.training import checkpoints

    outcome, kills = Outcome(), stage.number(40, 300)
    folders = [stage.folder / "saved"]
    if (
        _OTHER.is_dir()
        and os.access(_OTHER, os.W_OK)
        and os.stat(_OTHER).st_dev != os.stat(stage.folder).st_dev
    ):
        folders.append(_OTHER / f"nowcast-battery-{os.getpid()}")
    said = dict.fromkeys(folders, 0)
    try:
        for case in range(kills):
            folder = folders[case % len(folders)]
            with stage.process(workers.save_for_ever, folder) as (process, pipe):
                said[folder] = max(said[folder], pipe.recv() if pipe.poll(_PATIENCE) else 0)
                time.sleep(stage.generator.uniform(0, 0.02))
                process.kill()
                process.join()
                while pipe.poll():
                    try:
                        said[folder] = max(said[folder], pipe.recv())
                    except EOFError:
                        break
            try:
                found = checkpoints.newest(folder)
            except UserError as error:
                outcome.count(False, f"kill {case}: {error}")
                continue
            step = found.content["global_step"]
            whole = bool((found.content["state_dict"]["weight"] == step).all())
            outcome.count(
                step >= said[folder] and whole and not found.passed_over,
                f"kill {case}: step {step} found, {said[folder]} was saved; {found.passed_over}",
            )
    finally:
        for folder in folders[1:]:
            _remove(folder)
    outcome.note = f"{len(folders)} file systems"
    return outcome


def full_disk(stage: Stage) -> Outcome:
    """A full disk costs nothing that was there: writing fails at a byte, the checkpoint before it
    loads.
    """
    from nowcast.training import checkpoints

    outcome, path = Outcome(), stage.folder / "full" / checkpoints.LAST
    checkpoints.save(workers.state(1), path)
    size = path.stat().st_size
    ignored, limits = (
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN),
        resource.getrlimit(resource.RLIMIT_FSIZE),
    )
    for offset in np.linspace(0, size - 1, 20).astype(int).tolist():
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (offset, limits[1]))
            outcome.refused(lambda: checkpoints.save(workers.state(2), path), f"offset {offset}")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        found = checkpoints.newest(path.parent)
        if found.content["global_step"] != 1 or list(path.parent.glob(".*")):
            outcome.failures.append(
                f"offset {offset}: step {found.content['global_step']} found, or something "
                "half-written is left"
            )
    signal.signal(signal.SIGXFSZ, ignored)
    outcome.note = "by a limit on the size of files"
    return outcome


def divergence(stage: Stage) -> Outcome:
    """Divergence never reaches the disk: a loss that is no number from a step on ends in a clear
    stop, with finite numbers in every file.
    """
    from nowcast.training import checkpoints

    outcome = Outcome()
    for step in np.linspace(0, 24, stage.number(5, 20)).astype(int).tolist():
        folder = stage.folder / f"diverged-{step}"
        with stage.process(workers.train, folder, 0, 5, step) as (process, pipe):
            _heard(pipe, "begun")
            sentence = pipe.recv() if pipe.poll(_PATIENCE) else "no word"
            process.join(_PATIENCE)
        files = sorted(folder.glob("checkpoints/*.ckpt"))
        finite = all(
            bool(tensor.isfinite().all())
            for path in files
            for tensor in checkpoints.load(path)["state_dict"].values()
        )
        stopped = (
            process.exitcode == 2
            and "no finite number in epoch" in sentence
            and "samples" in sentence
            or (step >= 20 and sentence == "done")
        )
        outcome.count(
            finite and stopped,
            f"from step {step} on: exit code {process.exitcode}, {sentence!r}, finite: {finite}",
        )
    return outcome


def flushed_before_renamed(stage: Stage) -> Outcome:
    """What is renamed into place was flushed before, and its folder after: no power cut leaves an
    empty file under a good name.
    """
    from nowcast.output.netcdf import write_forecast
    from nowcast.training import checkpoints
    from tests.battery.stage import frames, network, rain

    outcome, calls = Outcome(), []
    flush, rename = os.fsync, os.replace

    def flushed(descriptor):
        calls.append(("flush", os.fstat(descriptor).st_ino))
        return flush(descriptor)

    def renamed(source, target, **options):
        calls.append(
            (
                "rename",
                os.stat(source).st_ino,
                os.stat(Path(target).parent).st_ino,
                Path(target).name,
            )
        )
        return rename(source, target, **options)

    forecaster = network()
    forecast = forecaster(frames(rain(4)))
    os.fsync, os.replace = flushed, renamed
    try:
        for _ in range(2):
            checkpoints.save(workers.state(1), stage.folder / "flushed" / checkpoints.LAST)
            forecaster.save(stage.folder / "flushed")
            write_forecast(forecast, stage.folder / "flushed" / "forecast.nc", attributes={})
    finally:
        os.fsync, os.replace = flush, rename
    for place, call in enumerate(calls):
        if call[0] == "rename":
            _, file, folder, name = call
            outcome.count(
                ("flush", file) in calls[:place] and ("flush", folder) in calls[place:],
                f"{name} was renamed without a flush",
            )
    if not outcome.cases:
        outcome.failures.append("nothing was renamed")
    return outcome


def _uninterrupted(stage: Stage) -> tuple[str, float]:
    """Digest of the weights of a training that nobody disturbs, and the seconds it took from its
    beginning on; the second of two, which is warm.
    """
    if not hasattr(stage, "reference"):
        for attempt in range(2):
            began = time.monotonic()
            digest = _finished(stage, stage.folder / f"whole-{attempt}", 0)
        stage.reference = digest, time.monotonic() - began
    return stage.reference


def _finished(stage: Stage, folder: Path, count: int, epochs: int = 5) -> str | None:
    """Train a run to its end; the digest of its weights, None where that failed."""
    with stage.process(workers.train, folder, count, epochs) as (process, pipe):
        process.join(_PATIENCE)
    path = folder / "model.safetensors"
    return (
        sha256(path.read_bytes()).hexdigest() if process.exitcode == 0 and path.is_file() else None
    )


def _heard(pipe, word: str) -> None:
    """Wait for a word of a process."""
    if not pipe.poll(_PATIENCE) or pipe.recv() != word:
        raise RuntimeError(f"a process did not say {word!r} within {_PATIENCE:g} s")


def _wait_for(condition) -> None:
    end = time.monotonic() + _PATIENCE
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
