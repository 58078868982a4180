"""What the commands share: settings, files typed as they are, signals, words on the terminal."""

import os
import signal
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import track as progress_of

from nowcast import config as configuration
from nowcast.errors import UserError
from nowcast.files import replacing

if TYPE_CHECKING:
    from nowcast.forecaster import Forecaster  # brings torch, which not every command waits for


def plain_or_shown(name: str, arguments: list[str]) -> dict | None:
    """The settings of a command; None where they were only to be shown."""
    config = configuration.compose(name, [item for item in arguments if item != "--cfg"])
    if "--cfg" in arguments:
        sys.stdout.write(configuration.text(config))
        return None
    return configuration.plain(config)


def files_and_settings(command: str, arguments: list[str], example: str) -> tuple[list[Path], list[str]]:
    """The one file that is typed as it is, and the KEY=VALUE settings."""
    files = [item for item in arguments if item != "--cfg" and (Path(item).exists() or "=" not in item)]
    if len(files) != 1 and "--cfg" not in arguments:
        raise UserError(f"{command} takes one file, e.g. nowcast {command} {example}; {len(files)} came.")
    return [Path(item) for item in files], [item for item in arguments if item not in files]


def stop_on_signals(stop: Callable[[], None]) -> None:
    """SIGTERM and Ctrl-C end a service when what it does is done; the second one at once.

    Args:
        stop: called once, in a thread of its own: inside a signal, what it locks may be locked already by the code that the signal came in.
    """
    reading, writing = os.pipe()

    def wait_and_stop():
        os.read(reading, 1)
        stop()

    def handle(number, frame):
        signal.signal(number, lambda *_: os._exit(128 + number))
        os.write(writing, b"!")

    threading.Thread(target=wait_and_stop, name="stop on signals", daemon=True).start()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)


def new_folder(kind: str) -> Path:
    """runs/KIND/TIME."""
    return Path("runs").absolute() / kind / datetime.now(UTC).strftime("%Y-%m-%d_%H-%M-%S")


def write_config(config, folder: Path, *, name: str = "config.yaml") -> None:
    """A configuration as a file in a folder."""
    with replacing(folder / name) as path:
        path.write_text(configuration.text(config), encoding="utf-8")


def load(run: str | Path, precision: str | None) -> "Forecaster":
    """A run's forecaster, on the GPU where there is one."""
    import torch

    from nowcast.forecaster import Forecaster

    forecaster = Forecaster.load(run, precision=precision)
    if torch.cuda.is_available():
        forecaster.model.cuda()
    return forecaster


def track(description: str):
    return lambda items: progress_of(items, description=description, console=Console(stderr=True), transient=True)


def print_line(text: str) -> None:
    """A line on the terminal; whoever read it may be gone, or its disk full, and the work goes on."""
    if sys.stdout is None:  # closed before Python began
        return
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python fails once more at its end
    except OSError:
        pass
