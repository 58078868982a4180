"""Tests of the tests: nowcast is broken on purpose, each time in a copy, and the battery must notice.

``python -m tests.battery --breakages``. What is installed is never changed.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

import nowcast
from nowcast.cli import config as configuration

_SECONDS = 600.0
_IN_PLACE = """

from contextlib import contextmanager


@contextmanager
def _in_place(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    yield path
"""


@dataclass(frozen=True)
class Breakage:
    """What a hurried colleague would write.

    Args:
        name: of it.
        file: path below the package.
        old, new: text that stands there at least once, and what replaces its first occurrence.
        guarantee: that must not hold any more.
        end: text put at the end of the file.
    """

    name: str
    file: str
    old: str
    new: str
    guarantee: str
    end: str = ""


BREAKAGES = (
    Breakage(
        "checkpoints are written in place",
        "training/checkpoints.py",
        "with replacing(path) as temporary:",
        "with _in_place(path) as temporary:",
        "kills-while-saving",
        _IN_PLACE,
    ),
    Breakage(
        "missing data become numbers (nan_to_num)",
        "types/transform.py",
        "torch.from_numpy(np.equal(values, values))",
        "torch.ones(values.shape, dtype=torch.bool)",
        "missing-is-never-dry",
    ),
    Breakage(
        "the mask is dropped from the loss",
        "training/losses/base.py",
        "self.of(*without_hidden(forecast, target, observed), observed)",
        "self.of(forecast, target, torch.ones_like(observed))",
        "poison",
    ),
    Breakage(
        "files are renamed without a flush",
        "runtime/files.py",
        "        _flush(temporary)\n",
        "",
        "flushed-before-renamed",
    ),
    Breakage(
        "checkpoints are unpickled (weights_only=False)",
        "training/checkpoints.py",
        "        length = int.from_bytes(",
        "        return torch.load(path, weights_only=False)\n        length = int.from_bytes(",
        "hostile-models",
    ),
    Breakage(
        "the order of files is taken for that of time",
        "data/inputs.py",
        "times = np.array(sorted(kept))",
        "times = np.array(list(kept))",
        "order-grids-names",
    ),
    Breakage(
        "the clock is taken for the analysis time",
        "forecasting/forecaster.py",
        "            context.times[-1],\n            task.lead_times(length),",
        '            np.datetime64("now", "s"),\n            task.lead_times(length),',
        "missing-is-never-dry",
    ),
)


def main() -> int:
    """Break, try and show; 0 where the battery noticed everything, and the unbroken copy passes."""
    table = Table(title="tests.battery --breakages", title_style="")
    for name, justify in (
        ("what is broken", "left"),
        ("guarantee", "left"),
        ("noticed", "left"),
        ("seconds", "right"),
    ):
        table.add_column(name, justify=justify)
    wrong = 0
    for breakage in BREAKAGES:
        began = time.monotonic()
        sound, broken = (_holds(breakage, broken=broken) for broken in (False, True))
        noticed = sound and not broken
        wrong += not noticed
        table.add_row(
            breakage.name,
            breakage.guarantee,
            "yes" if noticed else "NO" if sound else "NO: it fails unbroken, too",
            f"{time.monotonic() - began:.0f}",
        )
        sys.stderr.write(f"{breakage.name}: {'noticed' if noticed else 'NOT NOTICED'}\n")
    Console().print(table)
    return 1 if wrong else 0


def _holds(breakage: Breakage, *, broken: bool) -> bool:
    """Whether the guarantee holds in a copy of nowcast."""
    with tempfile.TemporaryDirectory(prefix="nowcast-breakage-") as folder:
        _copy_to(Path(folder))
        if broken:
            _break(Path(folder) / "nowcast" / breakage.file, breakage)
        # the copy comes first on the path of the battery and of all processes that it starts
        environment = os.environ | {"PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-m", "tests.battery", "--fast", "--only", breakage.guarantee]
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                timeout=_SECONDS,
            )
        except subprocess.TimeoutExpired:
            return False
        if done.returncode not in (0, 1):
            raise RuntimeError(
                f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-500:]}"
            )
        return done.returncode == 0


def _copy_to(folder: Path) -> None:
    """nowcast, its conf/ and this battery, as they lie in a checkout."""
    without = shutil.ignore_patterns("__pycache__")
    package = Path(nowcast.__file__).parent
    shutil.copytree(package, folder / "nowcast", ignore=without)
    shutil.copytree(Path(__file__).parent, folder / "tests" / "battery", ignore=without)
    if not (package / "conf").is_dir():
        shutil.copytree(configuration.folder(), folder / "conf")


def _break(file: Path, breakage: Breakage) -> None:
    text = file.read_text(encoding="utf-8")
    if breakage.old not in text:
        raise RuntimeError(
            f"{breakage.file} does not contain {breakage.old!r} any more; bring the breakage "
            f"{breakage.name!r} up to date"
        )
    changed = text.replace(breakage.old, breakage.new, 1) + breakage.end
    file.write_text(changed, encoding="utf-8")
