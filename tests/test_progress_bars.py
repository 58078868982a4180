"""How far a training is: a bar on a terminal, a line that fills up in a notebook, else a log."""

import io
from types import SimpleNamespace

import torch

from nowcast.runtime.progress import tracked
from nowcast.training import progress_bars
from nowcast.training.progress_bars import EpochBars, EpochLines, EpochLog, progress_bar


def at_the_end_of_an_epoch(**logged: float) -> tuple:
    """A trainer and a module after 4 steps with losses that add up to 2."""
    metrics = {name: torch.tensor(value) for name, value in logged.items()}
    trainer = SimpleNamespace(
        is_global_zero=True, current_epoch=1, max_epochs=3, callback_metrics=metrics
    )
    return trainer, SimpleNamespace(sums=torch.tensor([2.0, 4.0]))


def test_a_log_gets_one_line_an_epoch_with_its_losses_and_no_control_characters(capsys):
    trainer, module = at_the_end_of_an_epoch(validation_loss=0.25, validation_csi=0.125)
    log = EpochLog()
    log.on_train_epoch_start(trainer)
    for index in range(4):
        log.on_train_batch_end(trainer, module, None, None, index)
    log.on_train_epoch_end(trainer, module)
    written = capsys.readouterr()
    assert written.out == "epoch 2/3: train 0.5, validation 0.25, CSI 0.125 (0 s)\n"
    assert written.err == ""


def test_only_the_first_of_several_processes_writes_a_log(capsys):
    trainer, module = at_the_end_of_an_epoch(validation_loss=0.25)
    trainer.is_global_zero = False
    EpochLog().on_train_epoch_end(trainer, module)
    assert capsys.readouterr().out == ""


def test_a_training_goes_on_where_nobody_can_read_its_log(monkeypatch):
    class Closed:
        def write(self, text):
            raise BrokenPipeError

    for stdout in (Closed(), None):
        monkeypatch.setattr("sys.stdout", stdout)
        EpochLog().on_train_epoch_end(*at_the_end_of_an_epoch())


class Stream(io.StringIO):
    """A stream that says whether it is a terminal."""

    def __init__(self, terminal: bool):
        super().__init__()
        self.isatty = lambda: terminal


def test_the_kind_of_progress_is_that_of_where_it_is_read(monkeypatch):
    monkeypatch.delenv("JPY_PARENT_PID", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")  # makes no terminal of a pipe
    monkeypatch.setattr("sys.stdout", Stream(terminal=False))
    assert isinstance(progress_bar(), EpochLog)
    monkeypatch.setattr("sys.stdout", Stream(terminal=True))
    assert isinstance(progress_bar(), EpochBars)
    monkeypatch.setenv("JPY_PARENT_PID", "1")  # what ! starts in a cell of a notebook
    assert isinstance(progress_bar(), EpochLog)
    monkeypatch.setattr(progress_bars, "in_notebook", lambda: True)
    assert isinstance(progress_bar(), EpochLines)


def test_counted_work_of_a_moment_writes_nothing_into_a_pipe_and_a_bar_on_a_terminal(monkeypatch):
    monkeypatch.delenv("JPY_PARENT_PID", raising=False)
    for terminal in (False, True):
        stream = Stream(terminal)
        monkeypatch.setattr("sys.stderr", stream)
        assert list(tracked([3, 4], "counting")) == [3, 4]
        assert ("counting" in stream.getvalue()) == terminal
        assert bool(stream.getvalue()) == terminal


class StoppedClock:
    """Seconds that pass when a test lets them."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr("time.monotonic", lambda: self.now)


def test_long_work_writes_a_line_every_half_minute_into_a_pipe(monkeypatch):
    monkeypatch.delenv("JPY_PARENT_PID", raising=False)
    stream = Stream(terminal=False)
    monkeypatch.setattr("sys.stderr", stream)
    clock = StoppedClock(monkeypatch)
    for _ in tracked(list(range(7)), "evaluating"):
        clock.now += 12
    assert stream.getvalue() == "evaluating 3/7, 36 s\nevaluating 6/7, 72 s\n"


def test_an_epoch_that_a_resumed_training_goes_on_in_has_the_seconds_since_then(
    monkeypatch, capsys
):
    trainer, module = at_the_end_of_an_epoch(validation_loss=0.25)
    monkeypatch.setattr(EpochLog, "total_train_batches", 4)
    clock, log = StoppedClock(monkeypatch), EpochLog()
    clock.now = 50_000.0  # since the machine began
    log.on_train_start(trainer)
    clock.now += 7
    log.on_train_batch_end(trainer, module, None, None, 3)
    log.on_train_epoch_end(trainer, module)
    assert capsys.readouterr().out == "epoch 2/3: train 0.5, validation 0.25 (7 s)\n"


def test_a_log_of_a_long_epoch_has_its_steps_too(monkeypatch, capsys):
    trainer, module = at_the_end_of_an_epoch(validation_loss=0.25)
    monkeypatch.setattr(EpochLog, "total_train_batches", 4)
    clock, log = StoppedClock(monkeypatch), EpochLog()
    log.on_train_epoch_start(trainer)
    for index in range(4):
        clock.now += 20
        log.on_train_batch_end(trainer, module, None, None, index)
    log.on_train_epoch_end(trainer, module)
    assert capsys.readouterr().out.splitlines() == [
        "epoch 2/3: step 2/4, 40 s",
        "epoch 2/3: train 0.5, validation 0.25 (80 s)",
    ]
