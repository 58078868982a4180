"""What the commands share: settings, files typed as they are, signals, words on the terminal."""

import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from nowcast.cli import config as configuration
from nowcast.cli.effects import refuse_without_effect
from nowcast.cli.hydra_words import CFG, PACKAGE, RESOLVE
from nowcast.cli.typed_paths import as_typed_here
from nowcast.runtime.errors import UserError
from nowcast.runtime.files import replacing
from nowcast.runtime.progress import tracked
from nowcast.runtime.surroundings import signal_handlers

if TYPE_CHECKING:
    from nowcast.forecasting.forecaster import (
        Forecaster,
    )  # brings torch, which not every command waits for

_NAME = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)'|([^,]+))""")  # in a list, perhaps in quotes
_STOP, _DONE = b"s", b"d"  # what a thread that waits for a signal is woken with


def plain_or_shown(
    name: str, arguments: list[str], *, beside: dict | None = None, optional: Sequence[str] = ()
) -> dict | None:
    """The settings of a command; None where they were only to be shown.

    Args:
        name: of the command.
        arguments: as typed.
        beside: what else was typed that decides whether a setting acts.
        optional: settings that other commands must be given, and that may be null here.

    Raises:
        UserError: a mistake, or a setting that would have no effect.
    """
    typed = settings_of(arguments)
    config = configuration.compose(name, typed)
    if shown(config, arguments):
        return None
    settings = configuration.plain(config, optional=optional)
    refuse_without_effect(
        name, settings | (beside or {}), configuration.typed_settings(config, typed)
    )
    return settings


def settings_of(arguments: list[str]) -> list[str]:
    """What was typed but for the options that ``shown`` looks for."""
    return [
        item
        for item in arguments
        if item not in (CFG, RESOLVE) and not item.startswith(f"{PACKAGE}=")
    ]


def shown(config, arguments: list[str]) -> bool:
    """Whether the configuration was only to be shown, which is done then."""
    if CFG not in arguments:
        return False
    package = next(
        (item.partition("=")[2] for item in arguments if item.startswith(f"{PACKAGE}=")), None
    )
    sys.stdout.write(configuration.text(config, resolve=RESOLVE in arguments, package=package))
    return True


def files_and_settings(
    command: str, arguments: list[str], example: str
) -> tuple[list[Path], list[str]]:
    """The one file that is typed as it is, and the KEY=VALUE settings."""
    files = [item for item in settings_of(arguments) if Path(item).exists() or "=" not in item]
    if len(files) != 1 and CFG not in arguments:
        advice = _how_to_type(files, arguments, lists=command == "info")
        raise UserError(
            f"{command} takes one file, e.g. nowcast {command} {example}; "
            f"{len(files)} came{advice}."
        )
    return [Path(item) for item in files], [item for item in arguments if item not in files]


def _how_to_type(files: list[str], arguments: list[str], *, lists: bool) -> str:
    """What to do where a command takes one file and another number came, as words to add."""
    typed = [item.removeprefix("input=") for item in arguments if item.startswith("input=")]
    if not files and typed:
        return f": type the file without input=, as in '{typed[0]}'"
    if len(files) > 1 and lists:
        shown = ",".join(files[:2]) + (",..." if len(files) > 2 else "")
        return f": give several as a list or a pattern, in quotes: '[{shown}]' or '*.h5'"
    return ""


@contextmanager
def stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """A block in which SIGTERM and Ctrl-C end a service when what it does is done; the second one
    at once.

    Outside the main thread, where Python has no signal handlers, the calling program answers them.

    Args:
        stop: called once, in a thread of its own: inside a signal, what it locks may be locked
            already by the code that the signal came in.
    """
    reading, writing = os.pipe()

    def wait_and_stop():
        if os.read(reading, 1) == _STOP:
            stop()

    def handle(number, frame):
        signal.signal(number, lambda *_: os._exit(128 + number))
        os.write(writing, _STOP)

    waiting = threading.Thread(target=wait_and_stop, name="stop on signals", daemon=True)
    waiting.start()
    try:
        with signal_handlers(handle):
            yield
    finally:
        os.write(writing, _DONE)
        waiting.join()
        for end in (reading, writing):
            os.close(end)


def typed_folders(key: str, typed: str) -> list[str]:
    """DIR, or the folders of [DIR1,DIR2], which may stand in quotes.

    Args:
        key: the setting, for messages.
        typed: its value.

    Raises:
        UserError: a list without folders, or with an empty one.
    """
    is_list = typed.startswith("[") and typed.endswith("]")
    if Path(typed).expanduser().exists() or not is_list:
        names = [typed]
    else:
        names = ["".join(found).strip() for found in _NAME.findall(typed[1:-1])]
    if not names or not all(names):
        raise UserError(
            f"{key} is {typed!r}; give the folder of a run, or several as '{key}=[DIR1,DIR2]'."
        )
    return names


def new_folder(kind: str) -> Path:
    """runs/KIND/TIME, which is not there yet."""
    return claimed_by_time(Path("runs").absolute() / kind, claim=False)


def claimed_by_time(parent: Path, *, claim: bool = True) -> Path:
    """A new folder called by the time, UTC; TIME-2 and so on where there is one.

    Args:
        parent: the folder that it lies in.
        claim: make it, so that nobody else gets it, too.
    """
    time = datetime.now(UTC).strftime("%Y-%m-%d_%H-%M-%S")
    folder, number = parent / time, 1
    while True:
        if not folder.exists():
            if not claim:
                return folder
            with suppress(FileExistsError):  # somebody made it a moment ago
                folder.mkdir(parents=True)
                return folder
        number += 1
        folder = parent / f"{time}-{number}"


def write_config(
    config, folder: Path, *, name: str = "config.yaml", notes: Sequence[str] = ()
) -> None:
    """A configuration as a file in a folder; notes stand above it, below those that stood there."""
    kept = []
    if (folder / name).is_file():
        lines = (folder / name).read_text(encoding="utf-8", errors="replace").splitlines()
        kept = list(takewhile(lambda line: line.startswith("# "), lines))
    header = "".join(f"{line}\n" for line in [*kept, *(f"# {note}" for note in notes)])
    with replacing(folder / name) as path:
        path.write_text(header + configuration.text(config), encoding="utf-8")


def load(run: str | Path, precision: str | None) -> "Forecaster":
    """A run's forecaster, on the GPU where there is one."""
    from nowcast.forecasting.forecaster import Forecaster
    from nowcast.runtime.precision import fastest_device

    forecaster = Forecaster.load(run, precision=precision)
    forecaster.model.to(fastest_device())
    return forecaster


def list_files(folder: Path) -> None:
    """What lies in a run or evaluation folder, and what it is for."""
    from nowcast.evaluation.results import FILE
    from nowcast.forecasting.saving import SETTINGS_FILE, WEIGHTS_FILE

    about = {
        "config.yaml": "the whole configuration",
        SETTINGS_FILE: f"with {WEIGHTS_FILE} all that nowcast predict and evaluate need",
        "training.png": "training and validation loss by epoch",
        "logs": "the same for TensorBoard and as CSV",
        "checkpoints": "to go on training: nowcast train resume=...",
        "scores.csv": "every score by lead time, with intervals",
        "differences.csv": "the paired differences from every baseline",
        "scores.txt": "the tables above",
        "scores.png": "curves by lead time",
        "forecast.png": "a typical case: context, observation, forecasts",
        FILE: "all sums by block of cases, from which every score and interval can be made again",
    }
    print_line(f"in {folder}")
    found = {
        path.name: path.relative_to(folder)
        for path in (*folder.glob("*"), *folder.glob("evaluation/*"))
    }
    for name, meaning in about.items():
        if name in found:
            print_line(f"  {str(found[name]):26} {meaning}")


def track(description: str):
    """A function that shows how many of some items are done as they are taken."""
    return lambda items: tracked(items, description)


def print_line(text: str) -> None:
    """A line on the terminal, with paths as they are typed from here; whoever reads it may be gone,
    or its disk full: the work goes on.
    """
    if sys.stdout is None:  # closed before Python began
        return
    try:
        sys.stdout.write(f"{as_typed_here(text)}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # else Python fails once more at its end
    except OSError:
        pass
