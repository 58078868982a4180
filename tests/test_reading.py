"""A file may crash, hang or bloat the process that reads it, and nothing else."""

import ctypes
import os
import time
from pathlib import Path

import numpy as np
import pytest
from factories import grid, times, write_knmi

from nowcast.data import reading
from nowcast.data.reading import ReadingProcess, in_order
from nowcast.readers.knmi_hdf5 import KnmiHdf5
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Frames


class Moody:
    """A reader that does what the name of the file says."""

    def read(self, path):
        name = Path(path).name
        if name == "crash":
            ctypes.string_at(0)
        if name == "hang":
            time.sleep(600)
        if name == "bloat":
            np.ones(2**34)
        if name == "surprise":
            raise ZeroDivisionError("no such thing")
        if name == "refuse":
            raise UserError("refuse: not today")
        source = str(os.getpid()) if name == "process" else name
        return Frames(
            np.array([[[1.5, np.nan, 0]]]), times(5), grid(1, 3), source, "rain depth in 5 min"
        )


class Large:
    """A reader of 240 MB."""

    def read(self, path):
        return Frames(
            np.zeros((60, 1024, 1024), np.float32), times(*range(60)), grid(1024, 1024), path
        )


def test_frames_come_back_as_the_reader_gave_them(tmp_path):
    path = write_knmi(tmp_path / "a é\n.h5", [[0, 1, 72], [65535, 65534, 1000]])
    with ReadingProcess(KnmiHdf5()) as process:
        here, there = KnmiHdf5().read(path), process.read(path)
    np.testing.assert_array_equal(there.values, here.values)
    assert list(there.times) == list(here.times) and there.grid.difference(here.grid) is None
    assert (there.source, there.quantity) == (here.source, here.quantity)


def test_one_process_reads_many_files_and_refusals_do_not_end_it():
    with ReadingProcess(Moody()) as process:
        first = int(process.read("process").source)
        with pytest.raises(UserError, match="refuse: not today"):
            process.read("refuse")
        with pytest.raises(
            UserError,
            match="surprise cannot be read .ZeroDivisionError: no such thing.; it is damaged or "
            "of another format",
        ):
            process.read("surprise")
        assert int(process.read("process").source) == first != os.getpid()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "crash",
            "crash ended the process that read it .by signal SIGSEGV.; it is damaged or hostile",
        ),
        (
            "hang",
            "hang could not be read within 3 seconds; the machine or the disk is busy, or it is "
            "damaged or hostile",
        ),
        ("bloat", "bloat needs more memory than a radar file may take|by signal SIGKILL"),
    ],
)
def test_a_file_that_crashes_hangs_or_bloats_is_an_error_and_the_next_one_is_read(name, message):
    with ReadingProcess(Moody(), seconds=3) as process:
        with pytest.raises(UserError, match=message):
            process.read(name)
        process.seconds = 60
        assert process.read("fine").values[0, 0, 0] == 1.5


def test_large_frames_take_the_memory_of_one_copy_and_a_large_file_more_time(tmp_path, monkeypatch):
    monkeypatch.setenv(
        "OPENBLAS_NUM_THREADS", "1"
    )  # each of its threads takes 40 MB of address space
    with ReadingProcess(
        Large(), memory_mb=750
    ) as process:  # of which Python, numpy and PROJ take some 400
        assert process.read("large").values.nbytes == 240 * 2**20
    (tmp_path / "large").write_bytes(bytes(4 * 10**6))
    with open(tmp_path / "holes", "wb") as file:
        file.truncate(10**12)
    assert (
        reading.seconds_for(tmp_path / "large") == 122
        and reading.seconds_for(tmp_path / "holes") < 121
        and reading.seconds_for(tmp_path / "none") == 120
    )


def test_no_process_is_left_behind():
    process = ReadingProcess(Moody())
    number = int(process.read("process").source)
    os.kill(number, 0)
    process.close()
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)


@pytest.mark.parametrize("workers", [0, 3])
def test_results_come_in_the_order_of_the_paths_and_refusals_are_results(workers):
    paths = [Path(name) for name in ("a", "refuse", "b", "c", "d", "e", "refuse", "f", "g")]
    results = list(in_order(paths, Moody(), lambda frames: frames.source, workers=workers))
    assert [str(path) for path, _ in results] == [str(path) for path in paths]
    assert [str(result) for _, result in results] == [
        "a",
        "refuse: not today",
        "b",
        "c",
        "d",
        "e",
        "refuse: not today",
        "f",
        "g",
    ]


class Sleepy:
    """A reader that takes a while for all but the first file."""

    def read(self, path):
        if Path(path).name != "first":
            time.sleep(60)
        return Frames(np.zeros((1, 1, 3)), times(5), grid(1, 3), "", "rain depth in 5 min")


def test_files_that_nobody_waits_for_any_more_end_their_processes_and_close_each_pipe_once(
    monkeypatch,
):
    """Else a pipe was closed by the thread that read from it and by the one that gave up."""
    wrong, close, removed = [], os.close, reading.remove_folders_of

    def noted(number):
        try:
            close(number)
        except OSError as error:
            wrong.append(error)

    monkeypatch.setattr(reading.os, "close", noted)
    # both threads come to the end of the same process meanwhile
    monkeypatch.setattr(
        reading, "remove_folders_of", lambda number: (time.sleep(0.3), removed(number))
    )
    paths = [Path(name) for name in ("first", "a", "b", "c", "d")]
    results = in_order(paths, Sleepy(), lambda frames: frames.source, workers=2)
    begun = time.monotonic()
    assert next(results) == (Path("first"), "")
    results.close()
    time.sleep(1)  # for threads that may still be about it
    assert wrong == [] and time.monotonic() - begun < 50


class Talkative:
    """A reader whose answer is 5 MB of text, which a pipe does not contain."""

    def read(self, path):
        return "x" * 5_000_000 if path == "much" else "fine"


def test_a_file_with_too_long_an_answer_is_refused_at_once_and_the_next_one_is_read(monkeypatch):
    monkeypatch.setattr(reading, "_MOST_HEADER_BYTES", 2**20)
    with ReadingProcess(Talkative(), seconds=60) as process:
        assert process.read("a") == "fine"
        began = time.monotonic()
        with pytest.raises(UserError, match="much gave more than 1 MB of what describes it"):
            process.read("much")
        assert time.monotonic() - began < 30
        assert process.read("a") == "fine"


class Closing:
    """A reader that closes the pipe to whoever asks, and lives on."""

    def read(self, path):
        os.closerange(3, 64)
        time.sleep(600)


def test_a_process_that_answers_no_more_and_lives_on_is_ended(monkeypatch):
    monkeypatch.setattr(reading, "_ENDING_SECONDS", 0.2)
    with ReadingProcess(Closing(), seconds=60) as process:
        with pytest.raises(UserError, match="a ended the process that read it .by signal SIGKILL."):
            process.read("a")


def test_a_process_that_died_while_nobody_asked_costs_no_file():
    with ReadingProcess(Moody()) as process:
        number = int(process.read("process").source)
        os.kill(number, 9)
        process._process.wait()
        assert int(process.read("process").source) != number


def test_a_process_that_cannot_be_started_is_told(monkeypatch):
    def refuse(*_, **__):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("nowcast.data.reading.subprocess.Popen", refuse)
    with pytest.raises(
        UserError,
        match="no process to read radar files could be started .Resource temporarily "
        "unavailable.; the file was not read",
    ):
        ReadingProcess(Moody()).read("fine")
