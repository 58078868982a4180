"""One training of a multirun: what Hydra's launchers call, in this process or in another one.

It is loaded in processes that joblib or a cluster started; torch and all else are loaded when the
job begins.
"""

import os
import socket
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import DictConfig

from nowcast.cli.common import print_line
from nowcast.cli.hydra_state import released
from nowcast.cli.typed_paths import as_typed_here
from nowcast.runtime.errors import Terminated, UserError, first_line, one_line
from nowcast.runtime.threads import cores, wait_asleep
from nowcast.training.comparison.settings import overridden_key

LOG = "log.txt"
"""In a run folder: what a job said that had no terminal of its own."""

REQUEUED = "SLURM_RESTART_COUNT"  # set by Slurm for a job that it starts once more

_ended: list[str] = []  # why this process begins no further job


def _this_process() -> tuple[str, int]:
    return socket.gethostname(), os.getpid()


@dataclass
class Job:
    """A training as Hydra runs it; it can be pickled.

    Args:
        goes_on: whether what is in its folder goes on (resume=auto).
        keys: the settings in which the jobs differ.
        titles: what each job is called, by its number; none: by those settings.
        home: the folder that relative paths are of.
        together: how many of them run at once on this machine, each with its share of the cores.
        starter: host and process that began the multirun.
    """

    goes_on: bool = False
    keys: tuple[str, ...] = ()
    titles: tuple[str, ...] = ()
    home: str = field(default_factory=os.getcwd)
    together: int = 1
    starter: tuple[str, int] = field(default_factory=_this_process)

    def __call__(self, config: DictConfig) -> float:
        """Train, or go on, in the folder of the job.

        Returns:
            The score that selected the weights: the validation loss, or with training.select=csi
            the CSI.

        Raises:
            UserError: it failed; where it had no terminal, for whatever reason.
        """
        from hydra.core.hydra_config import HydraConfig

        hydra = HydraConfig.get()
        folder, number = Path(hydra.runtime.output_dir), hydra.job.num
        chdir, typed = bool(hydra.job.chdir), list(hydra.overrides.task)
        if _this_process() == self.starter:
            print_line(f"\njob {number}: {self.label(number, typed)}".rstrip())
            return self._trained(config, folder, chdir=chdir)
        if _ended:
            raise UserError(_ended[0])
        with self._elsewhere(folder, number):
            return self._trained(config, folder, chdir=chdir)

    def label(self, number: int, typed: Sequence[str]) -> str:
        """What makes a job another one than the others, e.g. "seed=1 model=predrnn"."""
        if self.titles:
            return self.titles[number]
        return " ".join(_as_typed(item) for item in typed if overridden_key(item) in self.keys)

    def _trained(self, config: DictConfig, folder: Path, *, chdir: bool) -> float:
        from nowcast.cli.train import train_as_job

        goes_on = self.goes_on or int(os.environ.get(REQUEUED, "0") or 0) > 0
        home = self.home if chdir else None
        with released():
            return train_as_job(config, folder, goes_on=goes_on, home=home)

    @contextmanager
    def _elsewhere(self, folder: Path, number: int) -> Iterator[None]:
        """A job in a process of its own, whose words go into a file in its folder."""
        from nowcast.runtime import environment

        environment.settle()
        wait_asleep()
        self._share_cores()
        log = folder / LOG
        try:
            with _written_to(log):
                try:
                    yield
                except BaseException as error:
                    if isinstance(error, Exception) and not isinstance(error, UserError):
                        traceback.print_exc()
                    sys.stderr.write(f"nowcast train: {_reason(error)}\n")
                    raise
        except Exception as error:  # some cannot be passed on to another process
            print_line(f"job {number}: failed, see {log}")
            raise UserError(one_line(first_line(error))) from None
        except (KeyboardInterrupt, Terminated, SystemExit) as stop:
            _ended.append(_reason(stop))
            raise UserError(_ended[0]) from None
        print_line(f"job {number}: finished")

    def _share_cores(self) -> None:
        """Compute with a share of this machine's cores."""
        if self.together > 1:
            import torch

            share = max(1, cores() // self.together)
            torch.set_num_threads(min(share, torch.get_num_threads()))


def _as_typed(item: str) -> str:
    """KEY=VALUE without the quotes of Hydra's grammar, and a path from the current folder on."""
    key, _, value = item.partition("=")
    if len(value) > 1 and value[0] == value[-1] == "'":
        value = value[1:-1].replace("\\'", "'").replace("\\\\", "\\")
    return as_typed_here(f"{key}={value}") if value else item


def _reason(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, (Terminated, SystemExit)):
        return "terminated"
    return f"error: {one_line(error)}"


@contextmanager
def _written_to(path: Path) -> Iterator[None]:
    """A block in which all that this process writes to the terminal goes into a file instead."""
    with ExitStack() as stack:
        file = stack.enter_context(path.open("a", encoding="utf-8"))
        for stream, number in ((sys.stdout, 1), (sys.stderr, 2)):
            stream.flush()
            before = os.dup(number)
            os.dup2(file.fileno(), number)
            stack.callback(_back, stream, before, number)
        yield


def _back(stream, before: int, number: int) -> None:
    stream.flush()
    os.dup2(before, number)
    os.close(before)
