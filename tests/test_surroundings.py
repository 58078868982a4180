"""Commands called from Python: mistakes are exceptions, and the calling program finds its own state
again.
"""

import importlib.util
import io
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import warnings

import matplotlib
import numpy as np
import pytest
import torch

from nowcast.cli import main, run
from nowcast.forecasting.forecaster import Forecaster
from nowcast.runtime import progress
from nowcast.runtime.errors import Terminated, UserError
from nowcast.runtime.files import SHIPPED, run_folder
from nowcast.runtime.surroundings import SIGNALS, left_as_it_was, signal_handlers
from nowcast.training.module import TrainingModule
from tests.factories import write_archive

SMALL = [
    "data.train_sequences=4",
    "data.validation_sequences=2",
    "data.test_sequences=3",
    "model=convlstm_small",
    "model.hidden_channels=[2]",
    "model.patch=8",
    "training.max_epochs=1",
    "training.accelerator=cpu",
    "training.precision=float32",
]


def state():
    """All of a program that a command must leave as it was."""
    loggers = {
        name: logging.getLogger(name)
        for name in (
            "",
            "lightning",
            "lightning.pytorch",
            "lightning.fabric",
            "matplotlib",
            "somebody",
        )
    }
    return {
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "logging": {
            name: (list(logger.handlers), logger.level, logger.propagate, logger.disabled)
            for name, logger in loggers.items()
        },
        "warnings": (list(warnings.filters), warnings.showwarning),
        "signals": {number: signal.getsignal(number) for number in SIGNALS},
        "torch": (
            torch.get_default_dtype(),
            torch.get_num_threads(),
            torch.are_deterministic_algorithms_enabled(),
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.get_float32_matmul_precision(),
            torch.backends.cudnn.benchmark,
            torch.get_default_device(),
        ),
        "random": torch.get_rng_state().tolist(),
        "matplotlib": dict.copy(matplotlib.rcParams),
        "streams": (sys.stdout, sys.stderr, sys.argv[:]),
    }


@pytest.fixture
def theirs(monkeypatch):
    """A program whose settings are all its own."""
    handler = logging.StreamHandler(io.StringIO())
    logging.getLogger("somebody").addHandler(handler)
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        signal.signal(number, lambda *_: None)
    monkeypatch.setenv("LOCAL_SETTING", "theirs")
    monkeypatch.setitem(matplotlib.rcParams, "font.size", 17.0)
    torch.set_float32_matmul_precision("high")
    torch.use_deterministic_algorithms(True, warn_only=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="theirs")
        yield
    torch.use_deterministic_algorithms(False)
    torch.set_float32_matmul_precision("highest")
    logging.getLogger("somebody").removeHandler(handler)
    for number, found in before.items():
        signal.signal(number, found)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    rows, columns = np.mgrid[:40, :40]
    frames = [8 * np.exp(-((rows - 20) ** 2 + (columns - 8 - t) ** 2) / 30) for t in range(8)]
    return write_archive(
        tmp_path_factory.mktemp("rain") / "a.nc",
        np.stack(frames).astype(np.float32),
        range(0, 40, 5),
    )


@pytest.mark.parametrize("kind", ["as usual", "float64", "no_grad", "inference_mode"])
def test_training_from_python_leaves_the_program_as_it_was_whatever_its_settings(
    tmp_path, monkeypatch, theirs, kind
):
    monkeypatch.chdir(tmp_path)
    torch.set_default_dtype(torch.float64 if kind == "float64" else torch.float32)
    mode = {"no_grad": torch.no_grad, "inference_mode": torch.inference_mode}.get(
        kind, torch.enable_grad
    )
    try:
        with mode():
            before = state()
            run(["train", *SMALL])
            after = state()
    finally:
        torch.set_default_dtype(torch.float32)
    assert {name: value for name, value in after.items() if value != before[name]} == {}
    (folder,) = (tmp_path / "runs" / "train").iterdir()
    weights = Forecaster.load(folder).model.state_dict().values()
    assert all(weight.dtype == torch.float32 for weight in weights)


@pytest.mark.parametrize("command", ["predict", "convert", "check", "info", "mistake"])
def test_other_commands_leave_the_program_as_it_was(tmp_path, theirs, archive, command):
    typed = {
        "predict": ["predict", f"input={archive}", f"output={tmp_path}/a.nc", "forecast_length=2"],
        "convert": ["convert", f"input={archive}", f"output={tmp_path}/b.nc"],
        "check": ["check", str(archive)],
        "info": ["info", str(archive)],
        "mistake": ["predict", f"input={archive}", f"output={tmp_path}/a.txt"],
    }
    before = state()
    try:
        run(typed[command])
    except UserError:
        assert command in ("mistake", "convert")  # an archive is no radar file
    after = state()
    assert {name: value for name, value in after.items() if value != before[name]} == {}


MISTAKES = [
    ["trian"],
    ["train", "training.max_epochs=0"],
    ["train", "--multirun", "resume=/none"],
    ["predict", "input=/none.h5", "output=a.nc"],
    ["evaluate", "run=/none"],
    ["convert", "input=/none/*.h5", "output=a.nc"],
    ["info", "/none"],
    ["serve", "/none"],
    ["watch", "input=/none", "output=/tmp/none"],
    ["report", "run=/none"],
    ["compare", "only=[none]"],
    ["benchmark", "what=none"],
    ["check", "/none"],
    ["replay", "input=/none.nc", "output=/tmp/none"],
]


@pytest.mark.parametrize("typed", MISTAKES, ids=" ".join)
def test_a_mistake_is_an_exception_in_python_and_exit_code_2_on_the_command_line(typed, capsys):
    with pytest.raises(UserError) as caught:
        run(typed)
    assert capsys.readouterr().err == "" and isinstance(caught.value, Exception)
    with pytest.raises(SystemExit) as ended:
        main(typed)
    assert ended.value.code == 2 and " ".join(str(caught.value).split()) in capsys.readouterr().err


@pytest.mark.parametrize("stop", [KeyboardInterrupt, Terminated])
def test_an_interruption_stays_itself_and_signals_are_answered_as_before(
    tmp_path, monkeypatch, theirs, stop
):
    number = signal.SIGINT if stop is KeyboardInterrupt else signal.SIGTERM
    if stop is KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    original = TrainingModule.training_step

    def step(self, batch, index):
        os.kill(os.getpid(), number)
        return original(self, batch, index)

    monkeypatch.setattr(TrainingModule, "training_step", step)
    before = state()["signals"]
    with pytest.raises(stop):
        run(["train", f"output_dir={tmp_path}/run", *SMALL, "training.batch_size=1"])
    assert state()["signals"] == before


def in_thread(work):
    """What a function returns, or raises, in another thread."""
    found = []

    def caught():
        try:
            found.append(work())
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=caught)
    thread.start()
    thread.join(240)
    (only,) = found
    if isinstance(only, BaseException):
        raise only
    return only


def test_commands_run_outside_the_main_thread(tmp_path, archive):
    in_thread(lambda: run(["train", f"output_dir={tmp_path}/run", *SMALL]))
    in_thread(
        lambda: run(
            [
                "predict",
                f"input={archive}",
                f"output={tmp_path}/a.nc",
                "forecast_length=2",
                "pictures=false",
            ]
        )
    )
    assert (tmp_path / "run" / "forecaster.json").is_file() and (tmp_path / "a.nc").is_file()


def test_commands_in_several_threads_at_once_leave_the_program_as_it_was(tmp_path, theirs, archive):
    torch.set_default_dtype(torch.float64)
    failed = []

    def work(number):
        try:
            run(
                [
                    "predict",
                    f"input={archive}",
                    f"output={tmp_path}/{number}.nc",
                    f"forecast_length={1 + 2 * number}",
                    "pictures=false",
                ]
            )
        except Exception as error:
            failed.append(error)

    try:
        before = state()
        threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(240)
        after = state()
    finally:
        torch.set_default_dtype(torch.float32)
    assert failed == [] and len(list(tmp_path.glob("*.nc"))) == 3
    assert {name: value for name, value in after.items() if value != before[name]} == {}


def test_services_run_outside_the_main_thread_and_leave_its_signals_alone(
    tmp_path, capsys, monkeypatch
):
    from nowcast.cli import forecasting

    stops, original = [], forecasting.stopped_by_signals

    def kept(stop):
        stops.append(stop)
        return original(stop)

    monkeypatch.setattr(forecasting, "stopped_by_signals", kept)
    (tmp_path / "index.html").write_text("a page")
    before = state()["signals"]
    thread = threading.Thread(target=run, args=(["serve", str(tmp_path), "port=0"],))
    thread.start()
    while not stops and thread.is_alive():
        time.sleep(0.02)
    assert thread.is_alive() and state()["signals"] == before
    stops[0]()
    thread.join(30)
    assert not thread.is_alive() and "serving" in capsys.readouterr().out


def test_signal_handlers_come_back_also_after_an_error():
    before = {number: signal.getsignal(number) for number in SIGNALS}
    with pytest.raises(ZeroDivisionError), signal_handlers(lambda *_: None):
        assert all(signal.getsignal(number) is not before[number] for number in SIGNALS)
        raise ZeroDivisionError
    assert {number: signal.getsignal(number) for number in SIGNALS} == before


def test_whatever_a_block_changes_is_as_it_was_after_it():
    before = state()
    with left_as_it_was():
        os.environ["NEW"] = "1"
        os.environ.pop("PATH")
        logging.root.addHandler(logging.NullHandler())
        logging.root.setLevel(1)
        logging.disable(50)
        warnings.simplefilter("ignore")
        torch.set_default_dtype(torch.float64)
        torch.use_deterministic_algorithms(True)
        torch.manual_seed(7)
        torch.set_num_threads(torch.get_num_threads() + 1)
        torch.backends.cudnn.benchmark = True
        matplotlib.rcParams["font.size"] = 3
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
    assert state() == before and logging.root.manager.disable == 0


def test_the_shipped_model_is_loaded_by_its_name_and_a_folder_of_that_name_by_its_path(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert Forecaster.load("shipped").any_cadence and run_folder(SHIPPED).is_dir()
    for folder in ("./shipped", tmp_path / "shipped", run_folder("elsewhere")):
        with pytest.raises(UserError, match="is not a finished run folder"):
            Forecaster.load(folder)


class Kernel:
    """What IPython's shell looks like inside a kernel of Jupyter."""

    kernel = object()


@pytest.fixture
def notebook(monkeypatch):
    from types import SimpleNamespace

    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=Kernel))


def test_a_line_of_progress_is_written_over_itself_and_ends_full(notebook, monkeypatch, capsys):
    monkeypatch.setattr(progress, "_SECONDS", 0.0)
    assert list(progress.tracked(["a", "b", "c"], "reading")) == ["a", "b", "c"]
    with progress.counted("converting", 2) as shown:
        shown(1, 2)
        shown(2, 2)
    lines = capsys.readouterr().err
    assert lines.count("\n") == 2 and "\x1b" not in lines
    assert [part.split("]")[1].split()[0] for part in lines.split("\r")[1:]] == [
        "0/3",
        "1/3",
        "2/3",
        "3/3",
        "0/2",
        "1/2",
        "2/2",
    ]


def test_training_in_a_notebook_shows_every_epoch_with_its_losses(notebook, tmp_path, capsys):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*ipywidgets.*")
        run(["train", f"output_dir={tmp_path}/run", *SMALL, "training.max_epochs=2"])
    lines = capsys.readouterr().err
    for epoch in (1, 2):
        assert f"epoch {epoch}/2 [####################] 1/1" in lines
    assert lines.count("validation ") == 2 and lines.count("train ") >= 2


CELLS = """
from nowcast.cli import run
from nowcast.runtime.errors import UserError
---
run(["train", "output_dir=run", {small}])
---
try:
    run(["predict", "input=none.nc", "output=a.nc"])
except UserError as error:
    print("a mistake:", error)
---
import threading
thread = threading.Thread(target=run, args=(["info", "run/config.yaml"],))
run(["info", "none.nc"])
"""


@pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("nbclient", "ipykernel", "nbformat")),
    reason="nbclient and ipykernel are not installed",
)
def test_a_notebook_shows_progress_and_mistakes_in_a_real_kernel(tmp_path):
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    cells = CELLS.format(small=", ".join(map(repr, SMALL))).split("---\n")
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client = NotebookClient(
        book, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    with pytest.raises(CellExecutionError, match="UserError"):
        client.execute()
    texts = ["".join(output.get("text", "") for output in cell.outputs) for cell in book.cells]
    errors = "".join(
        output.text for output in book.cells[1].outputs if output.get("name") == "stderr"
    )
    assert "epoch 1/1 [####################] 1/1" in errors and "validation" in errors
    assert "ipywidgets" not in "".join(texts) and "Warning" not in errors
    assert "a mistake:" in texts[2] and "none.nc" in texts[2]
    assert book.cells[3].outputs[-1].ename == "UserError"


LEFT = """
import multiprocessing, random
from nowcast.runtime.surroundings import left_as_it_was

random.seed(3)
before = random.getstate()
with left_as_it_was():
    random.random()
    multiprocessing.Queue()
assert random.getstate() == before
assert multiprocessing.get_start_method(allow_none=True) is None
multiprocessing.set_start_method("spawn")
with left_as_it_was():
    multiprocessing.Queue()
assert multiprocessing.get_start_method() == "spawn"
"""


def test_pythons_random_numbers_and_the_start_of_its_processes_stay_the_callers():
    subprocess.run([sys.executable, "-c", LEFT], check=True, timeout=60)


def test_a_command_among_several_processes_of_the_caller_is_refused_by_an_exception_in_each(
    monkeypatch, capsys
):
    for name, value in {
        "WORLD_SIZE": "2",
        "RANK": "1",
        "LOCAL_RANK": "1",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "1",
        "TORCHELASTIC_RUN_ID": "q",
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(
        UserError, match="info runs in one process, but torchrun stands for 2 of them"
    ):
        run(["info", "a.nc"])
    with pytest.raises(SystemExit, match="2"):
        main(["info", "a.nc"])
    assert capsys.readouterr().err == ""  # the first process says it
