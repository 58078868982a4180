"""What Lightning needs to train in several processes, and sums over them.

The processes are those of ``nowcast.runtime.processes``.
"""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributed import PrefixStore

from nowcast.runtime.errors import UserError, first_line
from nowcast.runtime.processes import Processes
from nowcast.runtime.threads import cores
from nowcast.runtime.world import World
from nowcast.training.lightning_names import (
    ClusterEnvironment,
    CPUAccelerator,
    DDPStrategy,
    Trainer,
)
from nowcast.training.losses.base import counting_with
from nowcast.types.batch import Batch

_ON_PURPOSE = (  # warnings of Lightning and torch about choices that were made here on purpose
    ".*does not have many workers.*",
    ".*Checkpoint directory .* exists.*",
    ".*is smaller than the logging interval.*",
    ".*treespec.*",
    ".*dataloader is not resumable.*",
    ".*callbacks used to create the checkpoint.*",
    ".*sync_dist=True.*",  # what is logged is a sum over the processes already
    ".*`srun` command is available.*",
    ".*Grad strides do not match bucket view.*",
)


def device_count(accelerator: str, devices: str | int) -> int:
    """How many devices of this machine Lightning takes two settings for.

    Raises:
        UserError: they are not there, or more processes than the cores can serve.
    """
    try:
        with quiet():
            trainer = Trainer(
                accelerator=accelerator,
                devices=devices,
                plugins=[_Environment(World())],
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
    except Exception as error:  # Lightning refuses in many ways what this machine does not have
        raise UserError(
            f"training.accelerator={accelerator} with training.devices={devices} cannot be used "
            f"here: {first_line(error)}"
        ) from error
    count, most = trainer.num_devices, max(2, cores())
    if isinstance(trainer.accelerator, CPUAccelerator) and count > most:
        raise UserError(
            f"training.devices={devices} would start {count} processes on the {cores()} cores of "
            f"this machine; expected at most {most}, as each of them computes all the time."
        )
    return count


def trainer_options(processes: Processes | None) -> dict:
    """Arguments of Lightning's Trainer that make it train in these processes; None: in one."""
    if processes is None or processes.world.size == 1:
        return {"plugins": [_Environment(World())]}
    world = processes.world
    return {
        "plugins": [_Environment(world)],
        "strategy": _Strategy(processes),
        "num_nodes": world.machines,
    }


def total(values: Tensor) -> Tensor:
    """The sum of a tensor over all processes, in each of them; the tensor where there is one."""
    if _count() == 1:
        return values
    values = values.detach().clone()  # all_reduce writes the sum into it
    torch.distributed.all_reduce(values)
    return values


def gathered(value) -> list:
    """The value of each process, in their order, in all of them; any object."""
    values = [value]
    if _count() > 1:
        values = [None] * _count()
        torch.distributed.all_gather_object(values, value)
    return values


class SharedLoss(NamedTuple):
    """The loss of a batch that several processes share.

    Args:
        own: that of this process, with its gradient, so scaled that the mean over the processes is
            that of their batches as one.
        whole: that of all of them.
        samples: how many it is of.
    """

    own: Tensor
    whole: float
    samples: int


def shared_loss(compute: Callable[[], Tensor], batch: Batch) -> SharedLoss:
    """The loss of a batch of this process, and of the batches of all processes as one.

    Args:
        compute: gives the loss of this process; called once.
        batch: that it is of.
    """
    # samples that fill up a batch count for nothing
    processes, size = _count(), int(batch.counts.sum())
    if processes == 1:
        loss = compute()
        return SharedLoss(loss, loss.item(), size)
    counts = size > 0  # else the batch is there only to keep pace with the others
    device, counted = batch.context.device, []

    def mean(count: Tensor) -> Tensor:
        counted.append(count)
        return total(count.to(device, torch.float64) * counts) / processes

    with counting_with(mean):
        loss = compute()
    if not counted:
        # a loss of somebody else, which does not say what it divides by; samples weigh alike then
        weight = size * counts / mean(torch.tensor(size))
        loss = loss * weight.to(loss.dtype)
    samples = loss.new_tensor(size * counts, dtype=torch.float64)
    sum_of_losses, samples = total(torch.stack([loss.detach().double(), samples])).tolist()
    return SharedLoss(loss, sum_of_losses / processes, round(samples))


def _count() -> int:
    """Number of processes that train together."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_world_size()
    return 1


class _Environment(ClusterEnvironment):
    """A world that is known; Lightning is not to look for another one in the environment."""

    def __init__(self, world: World):
        super().__init__()
        self._world = world

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        return self._world.address

    @property
    def main_port(self) -> int:
        return self._world.port

    @staticmethod
    def detect() -> bool:
        return True

    def world_size(self) -> int:
        return self._world.size

    # Lightning would set both from devices and num_nodes; the processes know them already
    def set_world_size(self, size: int) -> None:
        """It is what it is."""

    def global_rank(self) -> int:
        return self._world.rank

    def set_global_rank(self, rank: int) -> None:
        """It is what it is."""

    def local_rank(self) -> int:
        return self._world.local_rank

    def node_rank(self) -> int:
        return self._world.rank // self._world.local_size


class _Strategy(DDPStrategy):
    """Gradients are averaged over the processes, which have met already.

    A parameter that a step does not use gets no gradient, as in one process; which ones these are
    may differ from step to step (scheduled sampling, a loss of one head), so they are looked for in
    each.
    """

    def __init__(self, processes: Processes):
        super().__init__(find_unused_parameters=True)
        self._processes = processes

    def _configure_launcher(self) -> None:
        """Nothing is to be launched: the processes are there.

        Lightning refuses its own launcher in a notebook.
        """
        self._launcher = None

    def setup_distributed(self) -> None:
        """Connect the processes through the store they have; Lightning finds that done then."""
        if not torch.distributed.is_initialized():
            world = self._processes.world
            backend = "nccl" if self.root_device.type == "cuda" else "gloo"
            torch.distributed.init_process_group(
                backend,
                store=PrefixStore("group", self._processes.store),
                rank=world.rank,
                world_size=world.size,
            )
        super().setup_distributed()


@contextmanager
def quiet() -> Iterator[None]:
    """Lightning without its banners, tips and warnings about choices made here on purpose."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for message in _ON_PURPOSE:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        logger.setLevel(level)
